"""Charts with matplotlib: the results that lie nowhere on an image."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from hrviz import results as r
from hrviz.views import colour, ticks
from hrviz.views import tree as trees

THEME = colour.THEMES["light"]
ABOVE = 256  # times the highest level: what lies above is of no interest to it
BELOW = 0.46  # of an image's height: what the icicle under it takes


@singledispatch
def draw(result: r.Result, ax: Axes, base: Any = None) -> None:
    """Draw a chart into `ax`."""
    raise TypeError(f"{type(result).__name__} is no chart")


@draw.register
def _(result: r.Prediction, ax: Axes, base: Any = None) -> None:
    names, at = list(result.values), np.arange(len(result.values))
    lengths = colour.lengths(result.values)
    ax.barh(at, lengths, color=colour.class_colour(0), height=0.6)
    for k, name in enumerate(names):
        text = colour.number(result.values[name])
        if name in result.truth:
            ax.plot([result.truth[name]] * 2, [k - 0.38, k + 0.38], color=THEME.text, lw=2)
            text += f"  (truth {colour.number(result.truth[name])})"
        ax.annotate(
            text,
            (max(lengths[k], 0), k),
            (4, 0),
            "data",
            "offset points",
            va="center",
            fontsize=8,
            color=THEME.text,
        )
    ax.set_yticks(at, list(colour.words(names).values()), fontsize=9)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.margins(x=0.35)
    ax.set_xlabel(result.unit)
    ax.spines[["top", "right"]].set_visible(False)
    if result.source:
        ax.set_title(result.source, loc="right", fontsize=8, color=THEME.muted)


@draw.register
def _(result: r.Curve, ax: Axes, base: Any = None) -> None:
    for place, (name, y) in enumerate(result.series.items()):
        style = ticks.line_style(name, place, THEME)
        ink, name_ = style.colour, ticks.title(name)
        if result.bars:
            step = float(np.diff(result.x).min()) if len(result.x) > 1 else 1.0
            width = 0.8 * step / len(result.series)
            offset = (place - (len(result.series) - 1) / 2) * width
            ax.bar(result.x + offset, y, width, color=ink, label=name_)
            continue
        known = np.isfinite(y) & ((y > 0) & (result.x > 0) if result.log else True)
        ax.plot(
            result.x[known],  # a point that lacks leaves no gap
            y[known],
            color=ink,
            marker="os^Dv<>"[place % 7] if len(result.x) <= colour.MARKED else None,
            ms=4,
            lw=1.8,
            ls=(0, style.dash) if style.dash else "-",
            label=name_,
        )
        if style.hatch:
            ax.fill_between(result.x, 0, y, color=ink, alpha=0.12, lw=0)
        if name in result.bands:
            ax.fill_between(result.x, *result.bands[name].T, color=ink, alpha=0.18, lw=0)
    if result.log:
        ax.set_xscale("log")
        ax.set_yscale("log")
    _levels(result, ax)
    _marks(result, ax)
    ax.set_xlabel(result.x_label)
    ax.set_ylabel(result.y_label)
    ax.grid(color=THEME.line, lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    for which, label in (("x", result.x_label), ("y", result.y_label)):
        _axis(ax, which, label, result.log)
    ax.legend(fontsize=8, frameon=False)
    ax.set_title(result.tag, loc="right", fontsize=8, color=THEME.muted)


def _axis(ax: Axes, which: str, label: str, log: bool) -> None:
    """Round numbers with units, as many as there is room for."""
    box = ax.get_window_extent()
    room = box.width / 45 if which == "x" else box.height / 30
    most = max(3, min(ticks.MOST, int(room * 100 / ax.figure.dpi)))
    low, high = getattr(ax, f"get_{which}lim")()
    found = ticks.axis(label, low, high, log, most)
    if found is None:
        return
    getattr(ax, f"set_{which}ticks")(found.at, found.texts)
    getattr(ax, f"set_{which}label")(found.label)
    getattr(ax, f"{which}axis").minorticks_off()


def _levels(result: r.Curve, ax: Axes) -> None:
    """Lines across with their names, and a ring wherever a curve meets one."""
    levels = sorted(result.levels.items(), key=lambda level: level[1])
    for _, y in levels:
        ax.axhline(y, color=THEME.muted, lw=1, ls=(0, (5, 3)), zorder=1)
    if result.log and levels and ax.get_ylim()[1] > ABOVE * levels[-1][1]:
        ax.set_ylim(top=ABOVE * levels[-1][1])
    ends = ax.get_ylim()
    least = 11 / (ax.get_window_extent().height * 72 / ax.figure.dpi)
    alone = ticks.apart([y for _, y in levels], *ends, result.log, least)
    for (name, y), left in zip(levels, alone, strict=True):
        ax.annotate(name, (0 if left else 1, y), (2 if left else -2, 2), ("axes fraction", "data"),
                    "offset points", ha="left" if left else "right", fontsize=7.5, color=THEME.muted, zorder=5,
                    path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
    met = False
    for place, (name, values) in enumerate(result.series.items()):
        ink = ticks.line_style(name, place, THEME).colour
        for _, y in levels:
            at = ticks.crossings(result.x.astype(float), values, y, result.log)
            ax.plot(
                at,
                [y] * len(at),
                "o",
                ms=7 if len(levels) < 3 else 4.5,
                mfc="white",
                mec=ink,
                mew=1.8,
                zorder=4,
            )
            met = met or bool(at)
    if met:
        ax.plot([], [], "o", ms=6, mfc="white", mec=THEME.muted, mew=1.6, label="limit reached")


def _marks(result: r.Curve, ax: Axes) -> None:
    """Lines upwards with their names; at the right end to their left, and below where curves rise."""
    for name, x in result.marks.items():
        ax.axvline(x, color=THEME.muted, lw=1, ls=(0, (4, 3)))
        late = ax.transAxes.inverted().transform(ax.transData.transform((x, 1)))[0] > 0.75
        ax.annotate(name, (x, 0 if late else 1), (-3 if late else 3, 4 if late else -3),
                    ("data", "axes fraction"), "offset points", va="bottom" if late else "top",
                    ha="right" if late else "left", fontsize=8, color=THEME.muted)  # fmt: skip


def icicle(tree: r.ZoomTree, ax: Axes) -> None:
    """The tree under its image: depth downwards, each cell as wide as its subtree has leaves."""
    below = ax.inset_axes((0, -BELOW, 1, BELOW - 0.12))
    below.set_title(" \u00b7 ".join(trees.totals(tree)), fontsize=8, loc="left", color=THEME.text)
    below.axis("off")
    if not tree.nodes:
        below.text(0, 1, "No decision: nothing was looked at.", va="top", fontsize=8, color=THEME.muted)  # fmt: skip
        return
    cells = trees.icicle(tree)
    rim = 0.6 if len(cells) <= trees.LARGE else 0.0
    decisions = np.array([node.decision for node in tree.nodes])
    for style in trees.present(tree):
        at = cells[decisions == style.name]
        boxes = [Rectangle((left, depth), right - left, 1) for left, right, depth in at]
        below.add_collection(
            PatchCollection(boxes, facecolor=(*colour.rgb(style.colour), 0.3 if style.hatch and rim else 0.8),
                            edgecolor=style.colour if rim and style.hatch else "#FFFFFF", lw=rim, hatch=style.hatch * 2 if rim else None)
        )  # fmt: skip
    leaves, depths = int(cells[:, 1].max()), int(cells[:, 2].max()) + 1
    below.set_xlim(0, leaves)
    below.set_ylim(depths, 0)
    for text, (left, right, depth) in zip(trees.texts(tree), cells, strict=True):
        if depths <= 7 and text and (right - left) / leaves > 0.01 + 0.014 * len(text):
            below.text((left + right) / 2, depth + 0.5, text, ha="center", va="center", fontsize=6, color=THEME.text,
                       bbox={"fc": "#FFFFFFC0", "ec": "none", "pad": 0.6})  # fmt: skip


@draw.register
def _(result: r.Cost, ax: Axes, base: Any = None) -> None:
    ax.axis("off")
    rows = [
        (q.name.replace("_", " "), colour.amount(q.value, q.unit), q.tag) for q in result.quantities
    ]
    if not rows:
        return
    table = ax.table(
        [*rows],
        colLabels=["quantity", "value", "how known"],
        loc="center",
        cellLoc="right",
        colLoc="right",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.4)
    for cell in table.get_celld().values():
        cell.set_edgecolor(THEME.line)

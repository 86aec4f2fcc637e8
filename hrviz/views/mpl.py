"""Results with matplotlib: one axes a result, or a filmstrip of all steps."""

from __future__ import annotations

import io
import os
import textwrap
from functools import singledispatch
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.views import _base, colour
from hrviz.views import _mpl_charts as charts
from hrviz.views import tree as trees
from hrviz.views.html import comparison_html, run_html
from hrviz.views.layers import (
    Dots,
    Grid,
    Layer,
    Lines,
    Raster,
    Rectangles,
    Tree,
    extent,
    layers,
    on_output,
)

__all__ = ["comparison_html", "draw", "figure", "png", "run_html", "save"]

OVERLAY = 0.65  # opacity of maps over a picture
THEME = colour.THEMES["light"]


def draw(result: r.Result, ax: Axes | None = None, base: Any = None) -> Axes:
    """Draw one result.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Default a new figure's.
    base : Image or ImageView, optional
        Drawn beneath geometric results, as a thumbnail.

    Returns
    -------
    Axes
        In level-0 pixels (x right, y down) for geometric results.
    """
    if ax is None:
        ax = Figure(figsize=(5, 4.2), layout="constrained").add_subplot()
    _draw(result, ax, base)
    return ax


def figure(run: Any, image: Any = None, columns: int = 3) -> Figure:
    """A filmstrip: every step of a run (or of an iterable of steps), its note as caption."""
    steps: list[r.Step] = list(getattr(run, "steps", run))
    if isinstance(getattr(run, "steps", None), dict):
        steps = list(run.steps.values())
    region = getattr(run, "region", None)
    base = image.view(region) if region is not None and hasattr(image, "view") else image
    columns = max(1, min(columns, len(steps)))
    rows = max(1, -(-len(steps) // columns))
    out = Figure(
        figsize=(4.2 * columns, 4.1 * rows), layout="constrained", facecolor=THEME.background
    )
    for place, step in enumerate(steps):
        ax = draw(step.result, out.add_subplot(rows, columns, place + 1), base)
        ax.set_title(step.name, loc="left", fontsize=11, fontweight="bold", color=THEME.text)
        if step.note:
            caption = "\n".join(textwrap.wrap(step.note, 52)[:3])
            ax.annotate(
                caption,
                (0, -charts.BELOW if isinstance(step.result, r.ZoomTree) else 0),
                (0, -38 if isinstance(step.result, r.Curve | r.Prediction) else -8),  # below labels
                "axes fraction",
                "offset points",
                va="top",
                fontsize=8.5,
                color=THEME.muted,
                annotation_clip=False,
            )
    return out


def png(result: r.Result, base: Any = None, dpi: int = 100) -> bytes:
    """One result as a PNG."""
    ax = draw(result, base=base)
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png", dpi=dpi)  # type: ignore[union-attr]
    return buffer.getvalue()


def save(result: r.Result, path: str | os.PathLike[str], base: Any = None) -> None:
    """Write one result as a PNG, whole or not at all."""
    data = png(result, base)
    r.write_whole(Path(path), lambda file: file.write(data))


@singledispatch
def _draw(result: r.Result, ax: Axes, base: Any) -> None:
    """Geometric results: the base, then the layers."""
    parts = [p for p in layers(result) if not isinstance(p, Raster) or p.visible]
    window = extent(parts)
    if base is not None:
        pixels, window = _base.thumbnail(base)
        _rgb(ax, pixels, window)
    for part in parts:
        _layer(part, ax, base is not None)
    if window is not None:
        ax.set_xlim(window.x0, window.x1)
        ax.set_ylim(window.y1, window.y0)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(THEME.line)


@_draw.register
def _(result: r.Picture | r.HeatMap, ax: Axes, base: Any) -> None:
    parts = on_output(result)
    if not parts:
        _draw.dispatch(r.Result)(result, ax, base)
        return
    for part in parts:
        _layer(part, ax, False)
    window = extent(parts[:1])
    assert window is not None
    ax.set_xlim(0, window.x1)
    ax.set_ylim(window.y1, 0)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(THEME.line)
    ax.annotate(
        f"{window.x1:.0f} x {window.y1:.0f} px",
        (0.99, 0.01),
        xycoords="axes fraction",
        ha="right",
        fontsize=7,
        backgroundcolor="#FFFFFFC0",
    )


@_draw.register
def _(result: r.TokenPattern, ax: Axes, base: Any) -> None:
    _draw.dispatch(r.Result)(result, ax, base)
    inset = ax.inset_axes((0.68, 0.02, 0.3, 0.3))
    inset.imshow(result.mask, cmap=ListedColormap(["#FFFFFF", "#1B1E22"]), vmin=0, vmax=1)
    inset.set_xticks([])
    inset.set_yticks([])
    inset.set_title(
        "who attends to whom", fontsize=7, pad=2, color=THEME.text, backgroundcolor="#FFFFFFB0"
    )


@_draw.register
def _(result: r.ZoomTree, ax: Axes, base: Any) -> None:
    """Boxes on the image, totals, and the icicle below."""
    ax.set_anchor("N")
    _draw.dispatch(r.Result)(result, ax, base)
    charts.icicle(result, ax)


for _kind in (r.Prediction, r.Curve, r.Cost):
    _draw.register(_kind, charts.draw)


# -- layers -----------------------------------------------------------------------------------
@singledispatch
def _layer(part: Layer, ax: Axes, over: bool) -> None:
    raise TypeError(f"no way to draw {type(part).__name__}")


def _rgb(ax: Axes, pixels: np.ndarray, box: Box) -> None:
    ax.imshow(pixels, extent=(box.x0, box.x1, box.y1, box.y0), interpolation="antialiased")


def _map(raster: Raster | Dots) -> Colormap:
    if raster.lut == "diverging":
        return LinearSegmentedColormap.from_list("hrviz", list(colour.DIVERGING))
    if isinstance(raster, Raster) and raster.lut == "labels":
        return ListedColormap([s.colour for s in raster.classes] or ["#000000"])
    return mpl.colormaps[raster.lut]


@_layer.register
def _(part: Raster, ax: Axes, over: bool) -> None:
    part = part.thinned()
    if part.lut == "rgb":
        _rgb(ax, part.values, part.box)
        return
    labels = part.lut == "labels"
    values = np.ma.masked_equal(part.values, 0) if labels else part.values
    low, high = (-0.5, len(part.classes) - 0.5) if labels else (part.low, part.high)
    b = part.box
    shown = ax.imshow(
        values,
        cmap=_map(part),
        norm=Normalize(low, high),
        alpha=OVERLAY if over else 1,
        extent=(b.x0, b.x1, b.y1, b.y0),
        interpolation="bilinear" if part.smooth else "nearest",
    )
    if labels:
        present = np.unique(part.values)
        _legend(ax, [s for k, s in enumerate(part.classes) if k and k in present])
        return
    _bar(ax, shown, f"{part.label} ({part.unit})" if part.unit else part.label)
    if part.source:
        ax.annotate(
            part.source,
            (0.01, 0.99),
            xycoords="axes fraction",
            va="top",
            fontsize=7,
            color=THEME.text,
            backgroundcolor="#FFFFFFC0",
        )


@_layer.register
def _(part: Lines, ax: Axes, over: bool) -> None:
    ax.add_collection(
        LineCollection(
            [p[:, ::-1] for p in part.polylines], colors=part.colour, linewidths=part.width
        )
    )
    if part.whole:  # folded cells: their number
        _legend(ax, [colour.Style(part.label, part.colour)])


@_layer.register
def _(part: Grid, ax: Axes, over: bool) -> None:
    ink = part.colour if over else THEME.accent
    ax.add_collection(
        LineCollection([p[:, ::-1] for p in part.polylines()], colors=ink, linewidths=0.8)
    )
    if "cropped" in part.label:
        ax.set_xlabel(part.label, fontsize=8, color=THEME.muted)


@_layer.register
def _(part: Rectangles, ax: Axes, over: bool) -> None:
    many = len(part.boxes) > 400
    for style, at in part.groups():
        patches = [Rectangle((x0, y0), x1 - x0, y1 - y0) for y0, x0, y1, x1 in part.boxes[at]]
        if over:  # a dark rim: seen on white tissue and on black sea alike
            ax.add_collection(
                PatchCollection(
                    patches,
                    facecolor="none",
                    edgecolor="#000000",
                    lw=0.8 if many else 2.6,
                    alpha=0.55,
                )
            )
        ax.add_collection(
            PatchCollection(
                patches,
                facecolor=(*colour.rgb(style.colour), 0.12),
                edgecolor=style.colour,
                lw=0.5 if many else 1.4,
                hatch=style.hatch * 2 or None,
                linestyle=(0, style.dash) if style.dash else "-",
            )
        )
    if part.scores is not None and len(part.boxes) <= 60:
        for (y0, x0, _, _), score in zip(part.boxes, part.scores, strict=True):
            if np.isfinite(score):
                _tag(ax, f"{score:.2f}", x0, y0)
    _legend(ax, [style for style, _ in part.groups() if style.name])


def _tag(ax: Axes, text: str, x: float, y: float) -> None:
    """A few letters in the left upper corner of a box."""
    ax.annotate(
        text,
        (x, y),
        (1, -1),
        textcoords="offset points",
        va="top",
        fontsize=6,
        color="#FFFFFF",
        clip_on=True,
        bbox={"fc": "#101214C0", "ec": "none", "pad": 0.8},
    )


@_layer.register
def _(part: Tree, ax: Axes, over: bool) -> None:
    many, leaf = len(part.boxes) > trees.LARGE, ~part.inner
    for group, width in ((~leaf, 0.5), (leaf, 0.6 if many else 1.5)):
        for style, at in part.groups():
            own = at[group[at]]
            rims = [Rectangle((x0, y0), x1 - x0, y1 - y0) for y0, x0, y1, x1 in part.boxes[own]]
            looks: dict[str, Any] = {"facecolor": "none", "lw": width}
            if over and not many:  # a dark rim: seen on white tissue and on black sea alike
                dark: dict[str, Any] = {
                    **looks,
                    "edgecolor": "#000000",
                    "alpha": 0.5,
                    "lw": width + 1,
                }
                ax.add_collection(PatchCollection(rims, **dark))
            if group is leaf and not many:
                looks |= {"hatch": style.hatch or None}
                looks |= {"linestyle": (0, style.dash) if style.dash else "-"}
            ax.add_collection(PatchCollection(rims, edgecolor=style.colour, **looks))
    told = [] if many else [k for k in np.flatnonzero(leaf) if part.labels[k]]
    for k in told[:60]:
        y0, x0 = part.boxes[k, :2]
        _tag(ax, part.labels[k], x0, y0)
    _legend(ax, [style for style, _ in part.groups()])


@_layer.register
def _(part: Dots, ax: Axes, over: bool) -> None:
    y, x = part.points[:, 0], part.points[:, 1]
    common: dict[str, Any] = {
        "s": part.size**2 / (2 if part.size >= 8 else 5),
        "edgecolors": "#000000",
        "linewidths": 0.5 if part.size >= 8 else 0.15,
        "zorder": 3,
    }
    if part.kinds is None and part.values is not None:
        shown = ax.scatter(
            x, y, c=part.values, cmap=_map(part), vmin=part.low, vmax=part.high, **common
        )
        _bar(ax, shown, part.label)
        return
    kinds = np.zeros(len(x), int) if part.kinds is None else part.kinds
    ax.scatter(x, y, c=[part.styles[k].colour for k in kinds], **common)
    _legend(ax, [s for k, s in enumerate(part.styles) if s.name and k in kinds])


def _bar(ax: Axes, shown: Any, label: str) -> None:
    """A colour bar beside the picture, as high as it is."""
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes((1.02, 0, 0.035, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(label, fontsize=8)


def _legend(ax: Axes, styles: list[colour.Style]) -> None:
    if not styles:
        return
    handles = [
        Patch(
            facecolor=(*colour.rgb(s.colour), 0.35),
            edgecolor=s.colour,
            label=s.name,
            hatch=s.hatch * 2 or None,
            linestyle=(0, s.dash) if s.dash else "-",
        )
        for s in styles[:10]
    ]
    ax.legend(
        handles=handles, fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1.02)
    )

"""Charts of the Memory page: growth with budgets, what memory holds, one step's timeline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hrviz.cost.curves import LIMIT, Fit
from hrviz.cost.devices import DEVICES
from hrviz.cost.latency import Latency
from hrviz.cost.latency import curve as timed
from hrviz.cost.measure import Measure
from hrviz.cost.study import QUANTITIES, Point, Study
from hrviz.results import Curve
from hrviz.views import colour, plotly, ticks
from hrviz.views.costs import KINDS

TOP = 512 * 2**30  # bytes up to which the memory chart is drawn at first: beyond any device
ROW = 17  # px between texts that would cover each other
PX_A_TEXT = 72
GLYPHS = "●■▲◆▼✚✖"  # as `plotly.SYMBOLS`


def place_of(study_names: Sequence[str], name: str) -> int:
    """Which line a subject has: its symbol follows from that."""
    return list(study_names).index(name)


def ink(name: str, place: int, look: colour.Theme, text: bool = False) -> str:
    """Colour of a subject in all charts of the page; of text about it, so that it can be read."""
    return plotly.legible(ticks.line_style(name, place, look).colour, look, 4.5 if text else 3.5)


def ends(
    study: Study, found: Mapping[tuple[str, int], Fit], budget: int
) -> dict[str, tuple[float, bool]]:
    """Largest side that a budget holds by subject, and whether it was searched for.

    Before the search has come to a subject, it is read off the line between points. 0 where nothing
    fits, inf where memory does not grow into the budget.
    """
    out = {}
    x = np.array(study.sides, float)
    for name in study.points:
        fit = found.get((name, budget))
        if fit is not None:
            out[name] = (math.inf if fit.resolution > 0.99 * LIMIT else float(fit.resolution), True)
            continue
        y = study.values(name)
        known = np.isfinite(y)
        if not known.any():
            continue
        met = ticks.crossings(x, y, float(budget), True)
        if met:
            out[name] = (met[0], False)
        elif y[known][0] > budget:
            out[name] = (0.0, False)
        elif known.all():
            out[name] = (math.inf, False)
    return out


def growth(
    study: Study, of: str, budget: int, title: str, met: Mapping[str, tuple[float, bool]], side: int,
    chosen: str, theme: colour.ThemeName,
) -> go.Figure:  # fmt: skip
    """A quantity against the side of the image, log against log; the budget and where it ends.

    Parameters
    ----------
    study : Study
    of : str
        Of `QUANTITIES`.
    budget : int, bytes
    title : str
        Of the budget.
    met : mapping
        As `ends` has it.
    side : int, px
        Where the breakdown is taken.
    chosen : str
        Subject whose line is drawn wider.
    theme : {'dark', 'light'}
    """
    look = colour.THEMES[theme]
    drawn = study.curve(of)
    known = {n: y for n, y in drawn.series.items() if (np.nan_to_num(y) > 0).any()}
    memory = of == "needed"
    if known:
        out = plotly.figure(replace(drawn, series=known), theme)
    else:  # the frame alone, until the first point comes
        empty = Curve(drawn.x, {" ": np.full(len(drawn.x), np.nan)}, drawn.x_label, drawn.y_label, log=True)  # fmt: skip
        out = plotly.figure(empty, theme)
    names = list(study.points)
    dashes = _dashes(names, look)
    for trace, name in zip(out.data, known, strict=False):
        place = place_of(names, name)
        wide = name == chosen
        trace.update(
            customdata=[[name, s] for s in study.sides], marker={"size": 9 if wide else 7, "symbol": plotly.SYMBOLS[place % len(plotly.SYMBOLS)], "color": ink(name, place, look)},
            line={"dash": dashes[name], "width": 3.5 if wide else 2, "color": ink(name, place, look)},
            text=[_told(p, of, study.setting.batch) for p in study.points[name]],
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        )  # fmt: skip
    low, high = _span(known, memory, budget)
    label, unit = QUANTITIES[of]
    _frame(out, look, (study.sides[0], study.sides[-1]), (low, high), f"{label} ({unit})" if unit else label)  # fmt: skip
    _budgets(out, look, budget, title, memory, high)
    _rings(out, study, known, of, budget, met, look, (low, high))
    out.add_vline(side, line={"color": look.muted, "width": 1, "dash": "2px,3px"}, layer="below")
    return out


def _dashes(names: Sequence[str], look: colour.Theme) -> dict[str, str]:
    """Of lines whose colours are hardly told apart, the later ones are dashed."""
    out: dict[str, str] = {}
    tones = {n: np.array(colour.rgb(ink(n, k, look))) for k, n in enumerate(names)}
    for k, name in enumerate(names):
        near = sum(float(np.abs(tones[name] - tones[other]).max()) < 0.2 for other in names[:k])
        out[name] = ("solid", "8px,3px", "2px,3px")[near % 3]
    return out


def _told(point: Point | None, of: str, batch: int) -> str:
    """What hovering says of a point: the quantity first, then the rest."""
    if point is None:
        return ""
    label, unit = QUANTITIES[of]
    lines = [f"<b>{colour.number(point.side)} px</b>", f"{label} <b>{ticks.amount(getattr(point, of), unit)}</b>"]  # fmt: skip
    if of == "needed":
        lines.append(f"of that tensors {ticks.amount(point.peak, 'B')}, reserved {ticks.amount(point.reserved, 'B')}")  # fmt: skip
    if of == "flops":
        lines.append(f"= {ticks.amount(point.flops / 2, '')} multiply-accumulates \u00d7 2")
    if of == "pixels":
        lines.append(f"given to networks {ticks.amount(point.network_pixels, 'px')}")
    lines.append(f"{point.tag}, batch {batch}; click for its timeline")
    return "<br>".join(lines)


def _span(series: Mapping[str, np.ndarray], memory: bool, budget: int) -> tuple[float, float]:
    """Ends of the y axis: of memory fixed above, so that it does not jump while points come."""
    known = np.concatenate([y[np.isfinite(y) & (y > 0)] for y in series.values()] or [np.zeros(0)])
    if memory:
        low = min(float(known.min()) if known.size else 2.0**28, budget / 4)
        return 2.0 ** math.floor(math.log2(low / 1.1)), max(TOP, budget * 3.0)
    if not known.size:
        return 1.0, 1e3
    return float(known.min()) / 1.6, float(known.max()) * 1.6


def _frame(
    out: go.Figure, look: colour.Theme, x: tuple[float, float], y: tuple[float, float], label: str
) -> None:
    """Axes whose marks go on beyond what is seen at first, for those who drag or zoom out."""
    out.update_layout(
        margin={"l": 8, "r": 16, "t": 16, "b": 8}, showlegend=False, dragmode="pan", uirevision=label,
        hoverlabel={"bgcolor": look.panel, "bordercolor": look.line, "font": {"color": look.text, "size": 12}},
        font={"family": "system-ui, sans-serif"}, clickmode="event+select",
    )  # fmt: skip
    at = [2.0**k for k in range(4, 22)]
    small = {"size": 12}
    out.update_xaxes(
        range=[math.log10(x[0] / 1.1), math.log10(x[1] * 1.1)], tickvals=at, ticktext=[ticks.side(v) for v in at],
        title={"text": "side of the square image (px)", "font": small, "standoff": 8}, automargin=True, zeroline=False,
        tickfont=small, minor={"ticks": ""},
    )  # fmt: skip
    found = ticks.axis(label, y[0], y[1], True, 12)
    marks = {"tickvals": found.at, "ticktext": found.texts} if found else {}
    out.update_yaxes(
        range=[math.log10(v) for v in y], title={"text": found.label if found else label, "font": small, "standoff": 8},
        automargin=True, zeroline=False, tickfont=small, minor={"ticks": ""}, **marks,
    )  # fmt: skip


def _budgets(
    out: go.Figure, look: colour.Theme, budget: int, title: str, memory: bool, high: float
) -> None:
    """Memory of devices across; what is above the chosen one is shaded."""
    if not memory:
        return
    texts: dict[str, Any] = {"xref": "paper", "x": 0, "xanchor": "left", "yanchor": "bottom", "showarrow": False, "bgcolor": look.background, "opacity": 0.9, "borderpad": 1}  # fmt: skip
    for d in DEVICES.values():
        if d.bytes == budget or d.bytes > high:
            continue
        out.add_hline(d.bytes, line={"color": look.line, "width": 1, "dash": "5px,4px"}, layer="below")  # fmt: skip
        out.add_annotation(y=math.log10(d.bytes), text=d.title, font={"size": 11, "color": look.muted}, **texts)  # fmt: skip
    out.add_hrect(budget, high * 64, fillcolor=look.panel, opacity=0.55, line_width=0, layer="below")  # fmt: skip
    out.add_hline(budget, line={"color": look.text, "width": 2}, layer="below")
    out.add_annotation(y=math.log10(budget), text=f"<b>{title}</b>", font={"size": 12, "color": look.text}, **texts)  # fmt: skip


def _rings(
    out: go.Figure, study: Study, series: Mapping[str, np.ndarray], of: str, budget: int,
    met: Mapping[str, tuple[float, bool]], look: colour.Theme, y: tuple[float, float],
) -> None:  # fmt: skip
    """A ring with its side where a line leaves the budget; in charts of other quantities too."""
    names = list(study.points)
    found = []
    for name in series:
        at, exact = met.get(name, (math.inf, False))
        if not study.sides[0] <= at <= study.sides[-1] * 1.1:
            continue
        value = float(budget) if of == "needed" else _between(study, series[name], at)
        if value == value:
            found.append((at, value, name, exact))
    found.sort()
    width = 920 / math.log2(study.sides[-1] / study.sides[0] * 1.2)  # px an octave, about
    taken: list[tuple[float, float, int]] = []
    for at, value, name, exact in found:
        tone = ink(name, place_of(names, name), look)
        said = ink(name, place_of(names, name), look, True)
        text = f"{'' if exact else '≈ '}{colour.number(at if exact else float(f'{at:.2g}'))} px"
        height = math.log(value) * 480 / math.log(y[1] / y[0])
        level = 0
        while any(abs(math.log2(at / x)) * width < PX_A_TEXT and abs(height - h) < 30 and level == used for x, h, used in taken):  # fmt: skip
            level += 1
        taken.append((at, height, level))
        out.add_scatter(
            x=[at], y=[value], mode="markers", showlegend=False, name=ticks.title(name), customdata=[[name, 0]],
            marker={"size": 13, "color": look.background, "line": {"color": tone, "width": 2.5}},
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            text=[f"the largest image that fits: <b>{text}</b>{'' if exact else ', read off the line'}"],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
        out.add_annotation(
            x=math.log10(at), y=math.log10(value), text=f"<b>{text}</b>", font={"size": 12, "color": said}, bgcolor=look.background, opacity=0.95,
            borderpad=1, showarrow=level > 0, arrowhead=0, arrowwidth=1, arrowcolor=tone, ax=0, ay=-20 - ROW * level,
            yshift=0 if level else 18, xanchor="center",
        )  # fmt: skip


def _between(study: Study, y: np.ndarray, at: float) -> float:
    """Value of a line at a side, log against log."""
    x = np.log(np.array(study.sides, float))
    known = np.isfinite(y) & (y > 0)
    if not known.any():
        return math.nan
    return float(np.exp(np.interp(math.log(at), x[known], np.log(y[known]))))


def times(
    rows: Sequence[Latency], names: Sequence[str], sides: Sequence[int], theme: colour.ThemeName
) -> go.Figure:
    """Measured times with their spread; those left out have none."""
    look = colour.THEMES[theme]
    there = [r for r in rows if r.repeats]
    drawn = timed(sides, there)
    out = plotly.figure(drawn, theme)
    subjects = {f"{r.subject} on {r.device}": r.subject for r in there}
    titles = {line: f"{ticks.title(s)}" for line, s in subjects.items()}
    for trace in out.data:
        name = subjects.get(str(trace.name))
        if name is None or trace.mode is None:
            continue
        tone = ink(name, place_of(names, name), look)
        trace.update(name=titles[str(trace.name)], line={"color": tone, "width": 2},
                     marker={"color": tone, "size": 7, "symbol": plotly.SYMBOLS[place_of(names, name) % len(plotly.SYMBOLS)]})  # fmt: skip
    for line, trace in zip(drawn.series, [t for t in out.data if t.fill == "toself"], strict=False):
        tone = ink(subjects[line], place_of(names, subjects[line]), look)
        red, green, blue = (round(255 * v) for v in colour.rgb(tone))
        trace.update(fillcolor=f"rgba({red},{green},{blue},0.18)")
    values = np.concatenate([[r.low, r.high] for r in there])
    _frame(out, look, (min(sides), max(sides)), (float(values.min()) / 1.6, float(values.max()) * 1.6), "time of one pass (s)")  # fmt: skip
    return out


# -- the panel below -----------------------------------------------------------------------------
def breakdown(
    points: Sequence[Point], names: Sequence[str], budget: int, title: str, theme: colour.ThemeName
) -> go.Figure:
    """What memory holds at the peak, one stacked bar a subject; long ones are cut at the budget's end."""
    look = colour.THEMES[theme]
    out = go.Figure()
    longest = max((p.peak for p in points), default=1)
    cut = min(longest * 1.02, 2.0 * budget)
    rows = [f"{GLYPHS[place_of(names, p.subject) % len(GLYPHS)]} {ticks.title(p.subject)}" for p in points]  # fmt: skip
    for kind, (tone, hatch) in KINDS.items():
        values = [p.split.get(kind, 0) for p in points]
        shade = plotly.legible(tone, look, 1.6)
        if not any(values):
            continue
        out.add_bar(
            y=rows, x=values, orientation="h", name=kind, customdata=[[p.subject, p.side] for p in points],
            marker={"color": shade, "pattern": {"shape": hatch[:1], "size": 5, "solidity": 0.25, "fgcolor": look.background, "bgcolor": shade}, "line": {"width": 0}},
            text=[ticks.amount(v, "B") for v in values], textposition="none",
            hovertemplate=kind + " %{text}<extra>%{y}</extra>",
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        )  # fmt: skip
    for row, p in zip(rows, points, strict=True):
        over = p.peak > cut
        out.add_annotation(
            y=row, x=min(p.peak, cut), text=f" {ticks.amount(p.peak, 'B')}{' →' if over else ''}", showarrow=False,
            xanchor="right" if p.peak > 0.85 * cut else "left", font={"size": 11, "color": look.text},
            bgcolor=look.background if p.peak > 0.85 * cut else None, opacity=0.9,
        )  # fmt: skip
    if budget < cut:
        out.add_vline(budget, line={"color": look.text, "width": 2},
                      annotation={"text": title, "font": {"size": 11, "color": look.text}, "bgcolor": look.background, "yanchor": "bottom", "opacity": 0.9}, annotation_position="bottom right")  # fmt: skip
    _low(out, look)
    found = ticks.axis("memory of tensors at the peak (B)", 0.0, cut, False)
    out.update_layout(barmode="stack", bargap=0.35, showlegend=True,
                      legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}, "traceorder": "normal"})  # fmt: skip
    out.update_xaxes(range=[0, cut], title=None, **({"tickvals": found.at, "ticktext": found.texts} if found else {}))  # fmt: skip
    out.update_yaxes(autorange="reversed", gridcolor="rgba(0,0,0,0)")
    return out


def timeline(measure: Measure, tone: str, theme: colour.ThemeName) -> go.Figure:
    """Memory after each operator of one call; phases apart, the peak marked with where it is."""
    look = colour.THEMES[theme]
    line = measure.timeline
    out = go.Figure()
    red, green, blue = (round(255 * v) for v in colour.rgb(tone))
    out.add_scatter(
        x=line.operators, y=line.bytes, mode="lines", line={"color": tone, "width": 1.5, "shape": "hv"},
        fill="tozeroy", fillcolor=f"rgba({red},{green},{blue},0.22)", showlegend=False,
        text=[ticks.amount(v, "B") for v in line.bytes], hovertemplate="operator %{x}<br>%{text}<extra></extra>",
    )  # fmt: skip
    last = max(line.operators, default=1)
    starts = sorted(line.phases.items(), key=lambda item: item[1])
    for k, (phase, first) in enumerate(starts):
        end = starts[k + 1][1] if k + 1 < len(starts) else last
        out.add_vrect(first, end, fillcolor=look.panel if k % 2 else look.background, opacity=1, line_width=0, layer="below")  # fmt: skip
        wide = end - first > 0.06 * last
        out.add_annotation(x=first if wide else end, y=1, yref="paper", yanchor="bottom", xanchor="left" if wide else "right",
                           text=phase, showarrow=False, font={"size": 11, "color": look.muted})  # fmt: skip
    at, peak = measure.peak_operator, measure.peak
    left = at < last / 2
    out.add_scatter(x=[at], y=[peak], mode="markers", showlegend=False, hoverinfo="skip",
                    marker={"size": 11, "color": look.background, "line": {"color": look.accent, "width": 2.5}})  # fmt: skip
    out.add_annotation(
        x=at, y=peak, text=f"<b>{ticks.amount(peak, 'B')}</b> {measure.peak_at.operator}", showarrow=False,
        xanchor="left" if left else "right", xshift=10 if left else -10, yanchor="middle", font={"size": 12, "color": look.text},
        bgcolor=look.background, opacity=0.9,
    )  # fmt: skip
    _low(out, look)
    high = max(line.bytes, default=1) * 1.12
    found = ticks.axis("memory (B)", 0.0, high, False, 5)
    out.update_xaxes(
        title={"text": "operator", "font": {"size": 11}, "standoff": 4}, range=[0, last]
    )
    out.update_yaxes(range=[0, high], **({"tickvals": found.at, "ticktext": found.texts} if found else {}))  # fmt: skip
    return out


def _low(out: go.Figure, look: colour.Theme) -> None:
    """A low chart in the page's dress."""
    out.update_layout(
        paper_bgcolor=look.background, plot_bgcolor=look.background, font={"color": look.text, "size": 12, "family": "system-ui, sans-serif"},
        margin={"l": 8, "r": 16, "t": 24, "b": 8}, dragmode=False,
        hoverlabel={"bgcolor": look.panel, "bordercolor": look.line, "font": {"color": look.text, "size": 12}},
    )  # fmt: skip
    out.update_xaxes(gridcolor=look.line, zeroline=False, automargin=True, tickfont={"size": 11})
    out.update_yaxes(gridcolor=look.line, zeroline=False, automargin=True, tickfont={"size": 11})


def cell(met: tuple[float, bool] | None, unknown: str = "–") -> str:
    """The largest side in short: searched for, or about."""
    if met is None:
        return unknown
    at, exact = met
    if not at:
        return "does not fit"
    if math.isinf(at):
        return "any size"
    return f"{colour.number(at)} px" if exact else f"≈ {colour.number(float(f'{at:.2g}'))} px"

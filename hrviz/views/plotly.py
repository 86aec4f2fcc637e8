"""Results with plotly: zoomable figures with values on hover, dark or light."""

from __future__ import annotations

import colorsys
import math
from functools import singledispatch
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.views import _base, colour, ticks
from hrviz.views import tree as trees
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

VALUES = 2**19  # pixels of a map sent to the browser
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")


def figure(result: r.Result, theme: colour.ThemeName = "dark", base: Any = None) -> go.Figure:
    """One result as a plotly figure.

    Parameters
    ----------
    result : Result
    theme : {'dark', 'light'}
    base : Image or ImageView, optional
        Shown beneath geometric results, as a thumbnail.

    Returns
    -------
    plotly Figure
        Axes in level-0 pixels, y down, for geometric results.
    """
    look = colour.THEMES[theme]
    out = go.Figure()
    out.update_layout(
        paper_bgcolor=look.background,
        plot_bgcolor=look.background,
        margin={"l": 8, "r": 8, "t": 24, "b": 8},
        font={"color": look.text, "size": 12},
        colorway=list(colour.CLASSES),
        hovermode="closest",
        legend={
            "orientation": "h",
            "yanchor": "top",
            "y": -0.03,
            "x": 0,
            "bgcolor": "rgba(0,0,0,0)",
        },
    )
    _draw(result, out, look, base)
    return out


def low(figure: go.Figure, height: int) -> go.Figure:
    """A chart as a low strip, `height` pixels high: legend to the right, little around it."""
    legend = {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top", "font": {"size": 11}}
    figure.update_layout(
        height=height, legend=legend, margin={"l": 8, "r": 8, "t": 8, "b": 8}, bargap=0.35
    )
    figure.update_xaxes(automargin=True, title={"standoff": 4, "font": {"size": 11}})
    figure.update_yaxes(automargin=True, title={"standoff": 4, "font": {"size": 11}})
    return figure


def legible(ink: str, look: colour.Theme, least: float = 3.0) -> str:
    """`ink`, made lighter or darker until a line of it is seen on the theme's background.

    Examples
    --------
    >>> legible("#E69F00", colour.THEMES["dark"]), legible("#000000", colour.THEMES["dark"])
    ('#E69F00', '#666666')
    """
    dark = _luminance(look.background) < 0.5
    h, lightness, s = colorsys.rgb_to_hls(*colour.rgb(ink))
    while _contrast(ink, look.background) < least and 0 < lightness + dark < 2:
        lightness = min(1.0, max(0.0, lightness + (0.02 if dark else -0.02)))
        ink = "#" + "".join(f"{round(255 * v):02X}" for v in colorsys.hls_to_rgb(h, lightness, s))
    return ink


def _luminance(ink: str) -> float:
    """Relative luminance of sRGB, 0 to 1."""
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour.rgb(ink))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(a: str, b: str) -> float:
    """As WCAG has it, 1 to 21."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@singledispatch
def _draw(result: r.Result, out: go.Figure, look: colour.Theme, base: Any) -> None:
    parts = [p for p in layers(result) if not isinstance(p, Raster) or p.visible]
    window = extent(parts)
    if base is not None:
        pixels, window = _base.thumbnail(base)
        _picture(out, pixels, window)
    for part in parts:
        _layer(part, out, look, base is not None)
    if window is not None:
        _image_axes(out, window)


def _image_axes(out: go.Figure, window: Box) -> None:
    out.update_xaxes(range=[window.x0, window.x1], visible=False, constrain="domain")
    out.update_yaxes(
        range=[window.y1, window.y0], visible=False, scaleanchor="x", constrain="domain"
    )


def _picture(out: go.Figure, pixels: np.ndarray, box: Box, layer: str = "below") -> None:
    out.add_layout_image(
        source=_base.data_url(pixels, "JPEG"),
        xref="x",
        yref="y",
        x=box.x0,
        y=box.y0,
        sizex=box.width,
        sizey=box.height,
        sizing="stretch",
        layer=layer,
    )
    # layout images alone leave the axes without data: two invisible corners
    out.add_trace(
        go.Scatter(
            x=[box.x0, box.x1],
            y=[box.y0, box.y1],
            mode="markers",
            marker_opacity=0,
            hoverinfo="skip",
            showlegend=False,
        )
    )


def _on_output(result: r.Result, out: go.Figure, look: colour.Theme) -> None:
    """What lies on a method's output, in the output's own pixels."""
    parts = on_output(result)
    for part in parts:
        _layer(part, out, look, False)
    window = extent(parts[:1])
    assert window is not None
    _image_axes(out, window)


@_draw.register
def _(result: r.Picture | r.HeatMap, out: go.Figure, look: colour.Theme, base: Any) -> None:
    if on_output(result):
        _on_output(result, out, look)
    else:
        _draw.dispatch(r.Result)(result, out, look, base)


@_draw.register
def _(result: r.TokenPattern, out: go.Figure, look: colour.Theme, base: Any) -> None:
    _draw.dispatch(r.Result)(result, out, look, base)
    step = max(1, len(result.mask) // 512)
    out.add_trace(
        go.Heatmap(
            z=result.mask[::step, ::step].astype(np.uint8),
            xaxis="x2",
            yaxis="y2",
            zmin=0,
            zmax=1,
            colorscale=[[0, look.panel], [1, look.accent]],
            showscale=False,
            name="pattern",
            hovertemplate="query %{y}, key %{x}<extra></extra>",
        )
    )
    out.update_layout(
        xaxis={"domain": [0, 0.62]},
        xaxis2={
            "domain": [0.66, 1],
            "anchor": "y2",
            "title": "key token",
            "visible": True,
            "range": None,
        },
        yaxis2={
            "anchor": "x2",
            "title": "query token",
            "visible": True,
            "autorange": "reversed",
            "scaleanchor": "x2",
            "constrain": "domain",
            "range": None,
        },
    )


@_draw.register
def _(result: r.ZoomTree, out: go.Figure, look: colour.Theme, base: Any) -> None:
    """Boxes on the image and the icicle beside it; totals above."""
    _draw.dispatch(r.Result)(result, out, look, base)
    styles = [colour.DECISIONS[node.decision] for node in result.nodes]
    roots = sum(node.parent is None for node in result.nodes) > 1  # plotly wants a single one
    texts = [sentence.replace(" \u00b7 ", "<br>").replace(": ", "<br>", 1)
             for sentence in (trees.sentence(n, result.score_label) for n in result.nodes)]  # fmt: skip
    parts = [(str(n.id), "all" if n.parent is None and roots else "" if n.parent is None else str(n.parent), name, s.colour, text)
             for n, name, s, text in zip(result.nodes, trees.texts(result), styles, texts, strict=True)]  # fmt: skip
    parts = [("all", "", "", look.panel, "all"), *parts] if roots else parts
    ids, parents, names, inks, told = zip(*parts, strict=True) if parts else ((),) * 5
    few = len(ids) <= trees.LARGE
    marker: dict[str, Any] = {"colors": inks, "line": {"width": 0.5 if few else 0, "color": look.background}}  # fmt: skip
    if few:
        shapes = [""] * roots + [s.hatch for s in styles]
        marker["pattern"] = {"shape": shapes, "size": 6, "solidity": 0.15, "fgcolor": look.background, "bgcolor": inks}  # fmt: skip
    values = np.ones(len(ids))
    values[np.isin(ids, parents)] = 0  # as wide as its children together
    out.add_trace(
        go.Icicle(
            ids=ids, parents=parents, labels=names, values=values, hovertext=told, hoverinfo="text", sort=False,
            marker=marker, leaf_opacity=1, tiling={"orientation": "v"}, root_color="rgba(0,0,0,0)", pathbar_visible=False,
            textfont={"size": 10, "color": "#101214"}, domain={"x": [0.62, 1], "y": [0, 1]},
        )
    )  # fmt: skip
    out.update_layout(
        xaxis_domain=[0, 0.6], uniformtext={"minsize": 8, "mode": "hide"}, margin_t=40,
        title={"text": " \u00b7 ".join(trees.totals(result)), "font": {"size": 12}, "x": 0.01, "y": 0.98, "yanchor": "top"},
    )  # fmt: skip


@_draw.register
def _(result: r.Prediction, out: go.Figure, look: colour.Theme, base: Any) -> None:
    names = list(result.values)
    words = colour.words(names)
    out.add_trace(
        go.Bar(
            y=[words[n] for n in names],
            x=colour.lengths(result.values),
            orientation="h",
            name=result.source or "predicted",
            text=[colour.number(v) for v in result.values.values()],
            textposition="outside",
            cliponaxis=False,
            marker_color=colour.class_colour(0),
        )
    )
    if result.truth:
        known = [n for n in names if n in result.truth]
        out.add_trace(
            go.Scatter(
                y=[words[n] for n in known],
                x=[result.truth[n] for n in known],
                mode="markers",
                name="truth",
                marker={"symbol": "line-ns-open", "size": 22, "color": look.text},
            )
        )
    out.update_xaxes(title=result.unit, gridcolor=look.line)
    out.update_yaxes(autorange="reversed")


@_draw.register
def _(result: r.Curve, out: go.Figure, look: colour.Theme, base: Any) -> None:
    from hrviz.method import METHODS

    x_unit, y_unit = ticks.split(result.x_label)[1], ticks.split(result.y_label)[1]
    for place, (name, y) in enumerate(result.series.items()):
        style = ticks.line_style(name, place, look)
        if name in METHODS:  # 'saliency-sampler' is no saliency
            style = colour.Style(name, style.colour)
        ink, title = legible(style.colour, look), ticks.title(name)
        if result.bars:
            out.add_trace(go.Bar(x=result.x, y=y, name=title, marker_color=ink))
            continue
        red, green, blue = (round(255 * v) for v in colour.rgb(ink))
        at = [f"{colour.number(v)} {x_unit}".strip() for v in result.x]
        out.add_trace(
            go.Scatter(
                x=result.x,
                y=y,
                mode="lines" if len(result.x) > colour.MARKED else "lines+markers",
                name=title,
                line={"color": ink, "dash": ",".join(f"{d}px" for d in style.dash) or "solid"},
                fill="tozeroy" if style.hatch else None,
                fillcolor=f"rgba({red},{green},{blue},0.12)",
                marker_symbol=SYMBOLS[place % len(SYMBOLS)],
                connectgaps=True,  # a point that lacks leaves no gap
                text=[f"{a}<br>{ticks.amount(v, y_unit) if y_unit else colour.number(v)}"
                      for a, v in zip(at, y, strict=True)],
                hovertemplate="%{text}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
        if name in result.bands:
            low, high = result.bands[name].T
            out.add_scatter(x=np.r_[result.x, result.x[::-1]], y=np.r_[high, low[::-1]], mode="lines", line_width=0, fill="toself",
                            fillcolor=f"rgba({red},{green},{blue},0.18)", hoverinfo="skip", showlegend=False)  # fmt: skip
    for name, v in result.marks.items():
        out.add_vline(v, line={"color": look.muted, "width": 1, "dash": "4px,3px"})
        out.add_annotation(x=math.log10(v) if result.log else v, y=1, yref="y domain", xanchor="left", yanchor="top",
                           text=name, showarrow=False, font={"size": 11, "color": look.muted})  # fmt: skip
    kind = "log" if result.log else "linear"
    out.update_xaxes(title=result.x_label, gridcolor=look.line, type=kind)
    out.update_yaxes(title=result.y_label, gridcolor=look.line, type=kind)
    if not result.bars:
        _levels(result, out, look)
        for which, label, values in (
            ("x", result.x_label, [result.x]),
            ("y", result.y_label, [*result.series.values(), np.array([*result.levels.values()])]),
        ):
            _axis(out, which, label, np.concatenate(values).astype(float), result.log)
    out.update_layout(legend_y=-0.2, showlegend=True, legend_title=result.tag)


def _axis(out: go.Figure, which: str, label: str, values: np.ndarray, log: bool) -> None:
    """Round numbers with units where the values are such."""
    known = values[np.isfinite(values) & ((values > 0) if log else True)]
    if not known.size:
        return
    low, high = float(known.min()), float(known.max())
    found = ticks.axis(label, low / 1.2 if log else low, high * 1.2 if log else high, log)
    if found is not None:
        marked = {"tickvals": found.at, "ticktext": found.texts, "title": found.label}
        (out.update_xaxes if which == "x" else out.update_yaxes)(minor={"ticks": ""}, **marked)


def _freer_end(result: r.Curve, level: float) -> bool:
    """Whether curves are farther from a level at their left ends than at their right ones."""
    ends = []
    for values in result.series.values():
        known = values[np.isfinite(values) & ((values > 0) if result.log else True)]
        if len(known):
            ends.append(known[[0, -1]])
    if not ends:
        return False
    apart = np.array(ends, float) / level if result.log else np.array(ends, float) - level
    nearest = np.abs(np.log(apart) if result.log else apart).min(0)
    return bool(nearest[0] > nearest[1])


def _levels(result: r.Curve, out: go.Figure, look: colour.Theme) -> None:
    """Lines across with their names inside, and a ring wherever a curve meets one."""
    for name, y in result.levels.items():
        out.add_hline(y, line={"color": look.muted, "width": 1, "dash": "5px,3px"}, layer="below")
        # plotly takes an annotation's place on a log axis as a power of ten; below the line, as the
        # highest level may be the end of the axis
        left = _freer_end(result, y)
        out.add_annotation(x=0 if left else 1, xref="x domain", xanchor="left" if left else "right",
                           y=math.log10(y) if result.log else y, yanchor="top",
                           text=name, showarrow=False, font={"size": 11, "color": look.muted})  # fmt: skip
    for place, (name, values) in enumerate(result.series.items()):
        ink = legible(ticks.line_style(name, place, look).colour, look)
        for level, y in result.levels.items():
            at = ticks.crossings(result.x.astype(float), values, y, result.log)
            if at:
                told = [f"{level}<br>up to {colour.number(v)}" for v in at]
                ring = {"size": 11, "color": look.background, "line": {"color": ink, "width": 2}}
                out.add_scatter(x=at, y=[y] * len(at), mode="markers", marker=ring, text=told,
                                name=ticks.title(name), showlegend=False, legendgroup=f"ring-{name}",
                                hovertemplate="%{text}<extra>%{fullData.name}</extra>")  # fmt: skip


@_draw.register
def _(result: r.Cost, out: go.Figure, look: colour.Theme, base: Any) -> None:
    rows = [
        (q.name.replace("_", " "), colour.amount(q.value, q.unit), q.tag, q.note)
        for q in result.quantities
    ]
    out.add_trace(
        go.Table(
            header={
                "values": ["quantity", "value", "how known", "note"],
                "fill_color": look.panel,
                "align": ["left", "right", "left", "left"],
                "line_color": look.line,
            },
            cells={
                "values": [list(c) for c in zip(*rows, strict=True)] or [[], [], [], []],
                "fill_color": look.background,
                "line_color": look.line,
                "height": 26,
                "align": ["left", "right", "left", "left"],
            },
        )
    )


# -- layers -----------------------------------------------------------------------------------
@singledispatch
def _layer(part: Layer, out: go.Figure, look: colour.Theme, over: bool) -> None:
    raise TypeError(f"no way to draw {type(part).__name__}")


def _scale(raster: Raster | Dots) -> Any:
    if raster.lut == "diverging":
        last = len(colour.DIVERGING) - 1
        return [[k / last, c] for k, c in enumerate(colour.DIVERGING)]
    if isinstance(raster, Raster) and raster.lut == "labels":
        n = len(raster.classes)
        return [[(k + end) / n, s.colour] for k, s in enumerate(raster.classes) for end in (0, 1)]
    return raster.lut.capitalize()


@_layer.register
def _(part: Raster, out: go.Figure, look: colour.Theme, over: bool) -> None:
    part = part.thinned(VALUES)
    if part.lut == "rgb":
        _picture(out, part.values, part.box, "above" if over else "below")
        return
    h, w = part.values.shape
    sy, sx = part.box.height / h, part.box.width / w
    labels = part.lut == "labels"
    values = (
        np.where(part.values == 0, np.nan, part.values.astype(np.float32))
        if labels
        else part.values
    )
    low, high = (-0.5, len(part.classes) - 0.5) if labels else (part.low, part.high)
    unit = f" {part.unit}" if part.unit else ""
    bar: dict[str, Any] = {
        "title": {
            "text": f"{part.label} ({part.unit})" if unit else part.label,
            "side": "right",
            "font": {"size": 11},
        },
        "thickness": 10,
        "len": 0.8,
    }
    if labels:
        bar |= {
            "tickvals": list(range(len(part.classes))),
            "ticktext": [s.name for s in part.classes],
        }
    out.add_trace(
        go.Heatmap(
            z=values.astype(np.float32),
            x0=part.box.x0 + sx / 2,
            dx=sx,
            y0=part.box.y0 + sy / 2,
            dy=sy,
            colorscale=_scale(part),
            zmin=low,
            zmax=high,
            opacity=0.65 if over else 1,
            colorbar=bar,
            name=part.label,
            zsmooth="fast" if part.smooth and w * h < 2**16 else False,
            hovertemplate="x %{x:.0f}, y %{y:.0f}<br>%{z:.4g}" + unit + "<extra></extra>",
        )
    )


def _trace(out: go.Figure, polylines: Any, ink: str, width: float, name: str, **more: Any) -> None:
    """Polylines as one trace, with a gap (NaN) between them."""
    gap = np.full((1, 2), np.nan)
    flat = np.concatenate([gap, *(piece for line in polylines for piece in (line, gap))])[1:]
    more = {"hoverinfo": "skip", "showlegend": bool(name)} | more
    line = {"color": ink, "width": width, "dash": more.pop("dash", "solid")}
    out.add_scatter(x=flat[:, 1], y=flat[:, 0], mode="lines", name=name, line=line, **more)


@_layer.register
def _(part: Lines | Grid, out: go.Figure, look: colour.Theme, over: bool) -> None:
    lines = part.polylines() if isinstance(part, Grid) else part.polylines
    width = 1.0 if isinstance(part, Grid) else part.width
    _trace(out, lines, part.colour if over else look.accent, width, part.label)


@_layer.register
def _(part: Rectangles, out: go.Figure, look: colour.Theme, over: bool) -> None:
    closed = part.corners()[:, [0, 1, 2, 3, 0]]
    for style, at in part.groups():
        red, green, blue = (round(255 * v) for v in colour.rgb(style.colour))
        more: dict[str, Any] = {"dash": ",".join(f"{d}px" for d in style.dash) or "solid"}
        if len(at) <= 2000:  # beyond, filling and texts are slow
            more |= {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},0.12)"}
            more |= {
                "hoverinfo": "text",
                "text": [t for k in at for t in [_told(part, k, style)] * 6],
            }
        _trace(out, closed[at], style.colour, 1.8, style.name or part.label, **more)


def _told(part: Rectangles, k: int, style: colour.Style) -> str:
    words = [style.name, part.labels[k] if part.labels else ""]
    if part.scores is not None and np.isfinite(part.scores[k]):
        words.append(f"score {part.scores[k]:.3g}")
    return "<br>".join(w for w in words if w)


@_layer.register
def _(part: Tree, out: go.Figure, look: colour.Theme, over: bool) -> None:
    """Nodes that were looked into thin, leaves as they were decided."""
    closed = part.corners()[:, [0, 1, 2, 3, 0]]
    leaf, many = ~part.inner, len(part.boxes) > 2000  # then texts are slow
    label = part.tree.score_label
    texts = [trees.sentence(node, label).replace(" \u00b7 ", "<br>") for node in part.tree.nodes]
    for style, at in part.groups():
        named = True  # one entry of the legend a decision
        for own, width in ((at[~leaf[at]], 0.7), (at[leaf[at]], 0.8 if many else 1.8)):
            if not own.size:
                continue
            more: dict[str, Any] = {"dash": ",".join(f"{d}px" for d in style.dash) or "solid"}
            if not many:
                red, green, blue = (round(255 * v) for v in colour.rgb(style.colour))
                more |= {
                    "fill": "toself",
                    "fillcolor": f"rgba({red},{green},{blue},{0.15 if width > 1 and style.hatch else 0})",
                }
                more |= {"hoverinfo": "text", "text": [texts[k] for k in own for _ in range(6)]}
            _trace(
                out, closed[own], style.colour, width, style.name, legendgroup=style.name, **more
            )
            out.data[-1].showlegend, named = named, False


@_layer.register
def _(part: Dots, out: go.Figure, look: colour.Theme, over: bool) -> None:
    y, x = part.points[:, 0], part.points[:, 1]
    marker: dict[str, Any] = {"size": part.size, "line": {"color": "#000000", "width": 0.5}}
    if part.kinds is None and part.values is not None:
        marker |= {
            "color": part.values,
            "colorscale": _scale(part),
            "cmin": part.low,
            "cmax": part.high,
            "colorbar": {"thickness": 10, "len": 0.8},
        }
        out.add_scatter(x=x, y=y, mode="markers", name=part.label, marker=marker, showlegend=False)
        return
    kinds = np.zeros(len(x), int) if part.kinds is None else part.kinds
    for k, style in enumerate(part.styles):
        at = kinds == k
        if at.any():
            name = style.name or part.label
            ink = marker | {"color": style.colour}
            out.add_scatter(x=x[at], y=y[at], mode="markers", name=name, marker=ink)

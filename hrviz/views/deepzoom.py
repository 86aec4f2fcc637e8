"""Results as overlays of the deep-zoom viewer: its JSON contract, in level-0 (x, y).

Maps travel as 8-bit indices (0: no data, 1..255: a linear range); colour map, threshold and
opacity are applied in the browser. Zarr canvases are served as tiles through the viewer's routes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, Literal

import numpy as np

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.viewer.maps import to_index
from hrviz.views import _base, outputs
from hrviz.views import tree as trees
from hrviz.views.layers import Dots, Grid, Layer, Lines, Raster, Rectangles, Tree, layers, on_output

WHOLE = 2**21  # a map above this many pixels goes as tiles, not as one PNG
CLASS_TOP = 254  # class k is index k + 1


def overlay(
    result: r.Result,
    id: str,
    *,
    opacity: float = 0.65,
    visible: bool = True,
    label: str | None = None,
    version: int | str = 0,
    tiled: bool | None = None,
    view: str = "",
) -> list[dict[str, Any]]:
    """A result as viewer overlays, bottom first; none for charts.

    Parameters
    ----------
    result : Result
    id : str
        Stays the same while the overlay is updated; parts get '-1', '-2', ... appended.
    opacity : float
        Of maps; lines and boxes are opaque.
    label : str, optional
        Default the layer's own.
    version : int or str
        Of a growing canvas: a new one makes the browser ask again.
    tiled : bool, optional
        Serve maps as tiles (needs the routes). Default: canvases and maps above 2 Mpx.
    view : str
        Id of the view of the output pane that shows the same tree: its data travel with that alone.
    """
    out = []
    for place, part in enumerate(layers(result)):
        body = _layer(part, version, tiled)
        shown = visible and getattr(part, "visible", True)
        head = {"id": id if place == 0 else f"{id}-{place}", "visible": shown,
                "opacity": opacity if isinstance(part, Raster) else 1.0}  # fmt: skip
        head["label"] = label or part.label or id
        if view and isinstance(part, Tree):
            body = {"kind": "tree", "view": view, "classes": body["classes"]}
        out.append(head | _kind(result, body))
    return out


def output(result: r.Result, title: str, even: str = "") -> dict[str, Any]:
    """One view of the linked pane: an output picture, a map over the output, or a tree.

    Parameters
    ----------
    result : Picture, HeatMap or ZoomTree
        A map needs its grid.
    title : str
    even : str
        Id of the view that shows the same region by uniform downsampling: from it, the pane can
        animate to this one.
    """
    if isinstance(result, r.ZoomTree):
        (part,) = layers(result)
        return {"title": title, "kind": "tree", "tree": _layer(part, 0, None)}
    grid = getattr(result, "grid", None)
    out: dict[str, Any] = {"title": title, "grid": None, "box": None}
    if grid is not None:
        out["grid"] = nodes(grid.nodes) | {"region": rect(grid.box)}
    if isinstance(result, r.HeatMap):
        (part,) = on_output(result)
        assert isinstance(part, Raster) and grid is not None
        out["map"] = {"lut": part.lut, "vmin": part.low, "vmax": part.high, "label": part.label,
                      "unit": part.unit}  # fmt: skip
        return out | {
            "png": _base.data_url(index(part.thinned())), "height": grid.size[0], "width": grid.size[1],
        }  # fmt: skip
    assert isinstance(result, r.Picture)
    out["height"], out["width"] = result.array.shape[:2]
    out["png"] = _base.data_url(result.uint8, "JPEG")
    if result.box is not None:
        out["box"] = rect(result.box)
    if result.boxes is not None:
        out["boxes"] = _xywh(result.boxes)
    return out | ({"even": even} if even else {})


def pane(
    steps: Mapping[str, r.Step], chosen: str = "", make: Callable[..., dict[str, Any]] = output
) -> dict[str, Any] | None:
    """All views of the linked pane and which of them are shown; None without any.

    Parameters
    ----------
    steps : mapping of name to Step
    chosen : str
        The step the user looks at: if it is shown beside the image, it is shown now.
    make : callable
        `output`, or one that keeps what it made.
    """
    even, main = outputs.uniform(steps), next(iter(outputs.pictures(steps)), "")
    views = [
        make(step.result, name.capitalize(), even if name == main else "")
        | {"id": name, "short": outputs.SHORT.get(name, name.capitalize())}
        for name, step in outputs.views(steps).items()
    ]
    return {"views": views, "shown": outputs.shown(steps, chosen)} if views else None


def rect(box: Box) -> dict[str, float]:
    """A box as {x, y, w, h}."""
    return {"x": box.x0, "y": box.y0, "w": box.width, "h": box.height}


def nodes(array: np.ndarray) -> dict[str, Any]:
    """Grid nodes as {ny, nx, nodes: [x, y, x, y, ...]}."""
    ny, nx = array.shape[:2]
    return {"ny": ny, "nx": nx, "nodes": _flat(array.reshape(-1, 2))}


def _flat(points: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in points[:, ::-1].ravel()]


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    """Boxes (n, 4) as [x, y, w, h]."""
    y0, x0, y1, x1 = boxes.T
    found: list[list[float]] = np.stack([x0, y0, x1 - x0, y1 - y0], 1).round(2).tolist()
    return found


def _kind(result: r.Result, body: dict[str, Any]) -> dict[str, Any]:
    """The read map has a kind of its own: tiles coloured by level."""
    if not isinstance(result, r.ReadMap):
        return body
    levels = result.tiles[:, 4].astype(int)
    rects = [[*box, int(k)] for box, k in zip(body["boxes"], levels, strict=True)]
    return {"kind": "tiles", "rects": rects}


def index(raster: Raster) -> np.ndarray:
    """8-bit indices of a raster in memory: 0 no data, 1..255 its range; labels k + 1."""
    return to_index(raster.values, *_encoded(raster))


def _encoded(raster: Raster) -> tuple[float, float]:
    return (0.0, float(CLASS_TOP)) if raster.lut == "labels" else (raster.low, raster.high)


@singledispatch
def _layer(part: Layer, version: int | str, tiled: bool | None) -> dict[str, Any]:
    raise TypeError(f"no way to draw {type(part).__name__}")


@_layer.register
def _(part: Raster, version: int | str, tiled: bool | None) -> dict[str, Any]:
    if part.lut == "rgb":  # pictures lie in the output pane; here only where they lie
        b = part.box
        return {"kind": "boxes", "boxes": [[b.x0, b.y0, b.width, b.height]]}
    low, high = _encoded(part)
    body: dict[str, Any] = {
        "kind": "raster", "lut": part.lut, "vmin": low, "vmax": high, "unit": part.unit,
        "threshold": None, "smooth": part.smooth, "source": part.source,
    }  # fmt: skip
    if part.lut == "labels":
        body["classes"] = [{"value": k, "name": s.name, "color": s.colour}
                           for k, s in enumerate(part.classes) if k]  # fmt: skip
    h, w = part.values.shape
    if tiled or (tiled is None and (part.lazy or h * w > WHOLE)):
        from hrviz.viewer.registry import register_map

        reduce: Literal["nearest", "mean"] = "nearest" if part.lut == "labels" else "mean"
        return body | {
            "map": register_map(part.values, part.box, low, high, version, reduce=reduce),
            "box": rect(part.box),
        }
    part = part.thinned()
    return body | {"png": _base.data_url(index(part)), "box": rect(part.box)}


@_layer.register
def _(part: Grid, version: int | str, tiled: bool | None) -> dict[str, Any]:
    body = {"kind": "grid"} | nodes(part.nodes)
    return body if part.box is None else body | {"region": rect(part.box)}


@_layer.register
def _(part: Rectangles, version: int | str, tiled: bool | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": "boxes",
        "boxes": _xywh(part.boxes),
        "colors": [int(k) for k in part.kinds],
    }
    body["classes"] = [
        {"name": s.name, "color": s.colour}
        | ({"dash": list(s.dash)} if s.dash else {})
        | ({"hatch": s.hatch} if s.hatch else {})
        for s in part.styles
    ]
    if any(part.labels):
        body["labels"] = list(part.labels)
    if part.scores is not None:
        body["scores"] = [round(float(v), 4) if np.isfinite(v) else None for v in part.scores]
    return body


@_layer.register
def _(part: Tree, version: int | str, tiled: bool | None) -> dict[str, Any]:
    """Nodes in the order decided; `why` are indices into `reasons`, `parents` into the nodes."""
    nodes = part.tree.nodes
    body = _layer.dispatch(Rectangles)(part, version, tiled)
    place = {node.id: k for k, node in enumerate(nodes)}
    reasons = {reason: k for k, reason in enumerate(dict.fromkeys(n.reason for n in nodes))}
    if any(n.tag for n in nodes):
        body["labels"] = [n.tag for n in nodes]
    else:
        body.pop("labels", None)
    if part.scores is not None:  # they may all be small, such as attention
        body["scores"] = [None if n.score is None else float(f"{n.score:.4g}") for n in nodes]
    return body | {
        "kind": "tree", "source": part.tree.source, "score_label": part.tree.score_label,
        "parents": [-1 if n.parent is None else place[n.parent] for n in nodes],
        "cells": trees.icicle(part.tree).tolist(),
        "reasons": list(reasons), "why": [reasons[n.reason] for n in nodes],
        "draws": [n.draws for n in nodes], "downsamples": [round(n.downsample, 3) for n in nodes],
        "pixels": [round(n.pixels) for n in nodes], "calls": [n.calls for n in nodes],
        "exhaustive": part.tree.exhaustive_pixels,
    }  # fmt: skip


@_layer.register
def _(part: Dots, version: int | str, tiled: bool | None) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": "points", "points": _flat(part.points), "radius": part.size / 2}
    if part.kinds is not None:
        body["point_classes"] = [int(k) for k in part.kinds]
        body["classes"] = [{"name": s.name, "color": s.colour} for s in part.styles]
    if part.values is not None:
        body |= {"values": [round(float(v), 5) for v in part.values], "lut": part.lut, "unit": part.unit,
                 "vmin": part.low, "vmax": part.high}  # fmt: skip
    elif part.kinds is None:
        body["color"] = part.styles[0].colour
    return body


@_layer.register
def _(part: Lines, version: int | str, tiled: bool | None) -> dict[str, Any]:
    return {
        "kind": "lines",
        "polylines": [np.round(p[:, ::-1], 2).tolist() for p in part.polylines],
        "color": part.colour,
        "width": part.width,
        "whole": part.whole,
    }

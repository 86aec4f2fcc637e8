"""Results as overlays of the deep-zoom viewer: its JSON contract, in level-0 (x, y).

Maps travel as 8-bit indices (0: no data, 1..255: a linear range); colour map, threshold and
opacity are applied in the browser. Zarr canvases are served as tiles through the viewer's routes.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Literal

import numpy as np

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.viewer.maps import to_index
from hrviz.views import _base
from hrviz.views.layers import Dots, Grid, Layer, Lines, Raster, Rectangles, layers

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
    """
    out = []
    for place, part in enumerate(layers(result)):
        body = _layer(part, version, tiled)
        shown = visible and getattr(part, "visible", True)
        head = {"id": id if place == 0 else f"{id}-{place}", "visible": shown,
                "opacity": opacity if isinstance(part, Raster) else 1.0}  # fmt: skip
        head["label"] = label or part.label or id
        out.append(head | _kind(result, body))
    return out


def output(picture: r.Picture, title: str) -> dict[str, Any]:
    """A method's output picture for the linked pane: pixels, and where each one is from."""
    h, w = picture.array.shape[:2]
    grid, box = picture.grid, picture.box
    return {
        "png": _base.data_url(picture.uint8, "JPEG"),
        "width": w,
        "height": h,
        "grid": None if grid is None else nodes(grid.nodes),
        "title": title,
        "box": None if box is None else rect(box),
    }


def rect(box: Box) -> dict[str, float]:
    """A box as {x, y, w, h}."""
    return {"x": box.x0, "y": box.y0, "w": box.width, "h": box.height}


def nodes(array: np.ndarray) -> dict[str, Any]:
    """Grid nodes as {ny, nx, nodes: [x, y, x, y, ...]}."""
    ny, nx = array.shape[:2]
    return {"ny": ny, "nx": nx, "nodes": _flat(array.reshape(-1, 2))}


def _flat(points: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in points[:, ::-1].ravel()]


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
    return {"kind": "grid"} | nodes(part.nodes)


@_layer.register
def _(part: Rectangles, version: int | str, tiled: bool | None) -> dict[str, Any]:
    y0, x0, y1, x1 = part.boxes.T
    boxes = np.stack([x0, y0, x1 - x0, y1 - y0], 1).round(2).tolist()
    body: dict[str, Any] = {"kind": "boxes", "boxes": boxes, "colors": [int(k) for k in part.kinds]}
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
def _(part: Dots, version: int | str, tiled: bool | None) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": "points", "points": _flat(part.points), "radius": part.size / 2}
    if part.kinds is not None:
        body["point_classes"] = [int(k) for k in part.kinds]
        body["classes"] = [{"name": s.name, "color": s.colour} for s in part.styles]
    if part.values is not None:
        body |= {"values": [round(float(v), 5) for v in part.values], "lut": "viridis", "unit": "",
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
    }

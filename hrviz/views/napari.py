"""Results as napari layers: `(data, keywords, type)` tuples, aligned with the level-0 image.

napari puts pixel *centres* at whole coordinates, we at +0.5: our point p is napari's p - 0.5 when
the level-0 layer has scale 1 and no translation. A raster of box (y0, ...) and `h` rows has scale
s = height / h and its first centre at y0 + s/2 - 0.5.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.views import colour
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

LayerData = tuple[Any, dict[str, Any], str]
SHAPES = 600  # above, a Shapes layer is slow: edges go to a Vectors layer
GAP = 0.05  # between the region and an output shown beside it, share of the width
HEAT = 0.6
FACES = {
    "skipped by score": 0.35,
    "skipped by budget": 0.25,
    "suppressed": 0.3,
    "memory only": 0.15,
}


def layer_data(result: r.Result, name: str, column: int = 0) -> list[LayerData]:
    """A result as napari LayerDataTuples, level-0 pixels.

    Parameters
    ----------
    result : Result
    name : str
        Of the layers; where a result has several, their labels are appended.
    column : int
        Where a result lies on a method's output: the how-manieth output beside the region.

    Returns
    -------
    list of (data, keywords, type)
        Charts have none. A warped picture is placed beside its region, to the right, at its height.
        Every layer carries `metadata['hrviz']`: the step name, and lines their width in pixels.
    """
    if parts := on_output(result):
        return _beside(result, parts, name, column)
    if isinstance(result, r.AttentionMap) and result.weights.shape[0] * result.weights.shape[1] > 1:
        return [_attention(result, name)]
    parts = layers(result)
    box = extent(parts) or Box(0, 0, 1, 1)
    plain = 0 if isinstance(result, r.WarpGrid | r.Picture) else len(parts) - 1
    out = []
    for place, part in enumerate(parts):
        data, keywords, kind = _layer(part, max(box.height, box.width))
        title = name if place == plain else f"{name}: {part.label}"
        meta = {"hrviz": name} | keywords.pop("metadata", {})
        out.append((data, {"name": title, "metadata": meta} | keywords, kind))
    return out


def placed(box: Box, shape: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    """Napari's scale and translate of a raster `(h, w)` that covers `box`."""
    sy, sx = box.height / shape[0], box.width / shape[1]
    return {"scale": (sy, sx), "translate": (box.y0 + sy / 2 - 0.5, box.x0 + sx / 2 - 0.5)}


def colormap(lut: str) -> Any:
    """A colour map as napari takes it."""
    if lut == "diverging":
        stops = np.array([(*colour.rgb(c), 1.0) for c in colour.DIVERGING])
        return {"name": "hrviz diverging", "colors": stops}
    return lut


def _beside(result: r.Result, parts: list[Layer], name: str, column: int) -> list[LayerData]:
    """What lies on an output, as large as its region, in the column to the right; boxes over it."""
    grid: r.WarpGrid | None = getattr(result, "grid", None)
    whole = extent(parts[:1])
    assert whole is not None
    scale, corner = 1.0, np.zeros(2)
    if grid is not None:
        box = grid.box
        scale = box.height / whole.height
        step = whole.width * scale + GAP * box.width
        corner = np.array([box.y0, box.x1 + GAP * box.width + column * step])
    out = []
    for part in parts:
        placed_part = _moved(part, scale, corner)
        data, keywords, kind = _layer(placed_part, whole.height * scale)
        title = name if part is parts[0] else f"{name}: {part.label}"
        meta = {"hrviz": name} | keywords.pop("metadata", {})
        out.append((data, {"name": title, "metadata": meta} | keywords, kind))
    return out


def _moved(part: Layer, scale: float, corner: np.ndarray) -> Layer:
    """A raster or boxes in output pixels, scaled and moved into the image's coordinates."""
    at = (*corner, *corner)
    if isinstance(part, Raster):
        return replace(part, box=Box(*(np.array(part.box) * scale + at)))
    assert isinstance(part, Rectangles)
    return replace(part, boxes=part.boxes * scale + at)


def _attention(result: r.AttentionMap, name: str) -> LayerData:
    """All layers and heads, as two sliders of the viewer."""
    place = placed(result.box, result.weights.shape[2:])
    high = float(result.weights.max()) or 1.0
    return (
        result.weights.astype(np.float32),
        {
            "name": name, "colormap": "magma", "blending": "additive", "opacity": HEAT,
            "contrast_limits": (0.0, high), "interpolation2d": "nearest",
            "scale": (1, 1, *place["scale"]), "translate": (0, 0, *place["translate"]),
            "metadata": {"hrviz": name}, "axis_labels": ("layer", "head", "y", "x"),
        },
        "image",
    )  # fmt: skip


@singledispatch
def _layer(part: Layer, side: float) -> LayerData:
    raise TypeError(f"no way to draw {type(part).__name__}")


@_layer.register
def _(part: Raster, side: float) -> LayerData:
    part = part.thinned()
    place: dict[str, Any] = placed(part.box, part.values.shape) | {"visible": part.visible}
    meta = {"unit": part.unit, "source": part.source, "label": part.label}
    if part.lut == "rgb":
        return part.values, place | {"rgb": True, "metadata": meta}, "image"
    if part.lut == "labels":
        colours: dict[int | None, Any] = {0: "transparent", None: "transparent"}
        colours |= {k: s.colour for k, s in enumerate(part.classes) if k}
        meta["classes"] = ", ".join(s.name for s in part.classes)
        return (
            part.values.astype(np.uint8 if len(part.classes) < 256 else np.int32),
            place | {"opacity": HEAT, "colormap": colours, "metadata": meta},
            "labels",
        )
    return (
        part.values.astype(np.float32, copy=False),
        place
        | {
            "colormap": colormap(part.lut), "opacity": HEAT,
            "contrast_limits": (part.low, part.high),
            "interpolation2d": "linear" if part.smooth else "nearest", "metadata": meta,
            "blending": "translucent_no_depth",
        },
        "image",
    )  # fmt: skip


def _vectors(polylines: list[np.ndarray] | tuple[np.ndarray, ...]) -> np.ndarray:
    """Segments of polylines as napari vectors: (n, start/direction, 2)."""
    if not len(polylines):
        return np.empty((0, 2, 2))
    starts = np.concatenate([p[:-1] for p in polylines])
    steps = np.concatenate([np.diff(p, axis=0) for p in polylines])
    return np.stack([starts - 0.5, steps], 1)


def _line_layer(polylines: Any, ink: str, width: float, side: float) -> LayerData:
    return (
        _vectors(polylines),
        {
            "edge_color": ink, "edge_width": width * side / 900, "length": 1,
            "vector_style": "line", "metadata": {"pixels": width},
        },
        "vectors",
    )  # fmt: skip


@_layer.register
def _(part: Lines, side: float) -> LayerData:
    return _line_layer(part.polylines, part.colour, part.width, side)


@_layer.register
def _(part: Grid, side: float) -> LayerData:
    # vectors, not shapes: 31 x 31 nodes are updated in 26 ms instead of 80
    return _line_layer(part.polylines(), part.colour, 1.0, side)


@_layer.register
def _(part: Rectangles, side: float) -> LayerData:
    corners = part.corners()
    inks = np.array([(*colour.rgb(c), 1.0) for c in part.colours]).reshape(-1, 4)
    if len(corners) > SHAPES:
        closed = list(corners[:, [0, 1, 2, 3, 0]])
        data, keywords, kind = _line_layer(closed, part.colours[0], 1.5, side)
        return data, keywords | {"edge_color": np.repeat(inks, 4, axis=0)}, kind
    faces = inks * (1, 1, 1, 0.12)
    names = [part.styles[k].name for k in part.kinds]
    return (
        list(corners - 0.5),
        {
            "shape_type": "rectangle", "edge_color": inks, "face_color": faces,
            "edge_width": 1.5 * side / 900, "metadata": {"pixels": 1.5},
            "features": {
                "kind": names,
                "score": np.full(len(names), np.nan) if part.scores is None else part.scores,
                "reason": list(part.labels) or [""] * len(names),
            },
        },
        "shapes",
    )  # fmt: skip


@_layer.register
def _(part: Tree, side: float) -> LayerData:
    """Nodes in the order decided; `metadata['inks']` are their edges' colours and faces' opacities.

    A face is the denser the less was looked at, for napari has no hatches.
    """
    data, keywords, kind = _layer.dispatch(Rectangles)(part, side)
    nodes, leaf = part.tree.nodes, ~part.inner
    inks = np.array([(*colour.rgb(c), 1.0) for c in part.colours]).reshape(-1, 4)
    inks[~leaf, 3] = 0.55
    faces = np.array([FACES.get(n.decision, 0.0) for n in nodes]) * leaf
    features: dict[str, Any] = {
        "decision": [n.decision for n in nodes],
        "score": np.array([np.nan if n.score is None else n.score for n in nodes], float),
        "reason": [n.reason for n in nodes], "pixels": np.array([n.pixels for n in nodes], float),
        "calls": np.array([n.calls for n in nodes], int), "tag": list(part.labels),
    }  # fmt: skip
    meta = keywords["metadata"] | {"tree": part.tree, "inks": inks, "faces": faces}
    if kind == "shapes":
        text = {"string": "{tag}", "size": 9, "color": "white", "anchor": "upper_left"}
        keywords |= {"edge_color": inks, "text": text}
        keywords["face_color"] = inks * (1, 1, 1, 0) + faces[:, None] * (0, 0, 0, 1)
    else:
        features = {name: np.repeat(values, 4) for name, values in features.items()}
        keywords["edge_color"] = np.repeat(inks, 4, axis=0)
    return data, keywords | {"metadata": meta, "features": features}, kind


@_layer.register
def _(part: Dots, side: float) -> LayerData:
    n = len(part.points)
    keywords: dict[str, Any] = {
        "size": part.size * side / 900, "border_color": "black", "border_width": 0.08,
        "metadata": {"pixels": part.size},
    }  # fmt: skip
    if part.kinds is not None:
        keywords["face_color"] = np.array(
            [(*colour.rgb(part.styles[k].colour), 1.0) for k in part.kinds]
        ).reshape(-1, 4)
    elif part.values is not None and n:
        keywords |= {
            "features": {"value": part.values}, "face_color": "value",
            "face_colormap": colormap(part.lut),
            "face_contrast_limits": (part.low, part.high),
        }  # fmt: skip
    else:
        keywords["face_color"] = part.styles[0].colour
    return part.points - 0.5, keywords, "points"

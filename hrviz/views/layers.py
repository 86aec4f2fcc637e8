"""Every geometric result as a few primitives in level-0 pixels; front ends draw only these.

`layers(result)` is a single dispatch on the result type. Points are (y, x), boxes half-open, pixel
centres at +0.5. Charts (Prediction, Curve, Cost) have no layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

import numpy as np

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.views import tree as trees
from hrviz.views.colour import THEMES, Lut, Style, class_colour, level_colour, number

FOLD = "#E5484D"  # cells of a grid that turn over
WIDTHS = 6  # thickest edge of a graph, screen px
MANY = 400  # points above which they are drawn smaller
LIMIT = 2**22  # pixels of a raster a front end may hold


@dataclass(frozen=True, eq=False)
class Raster:
    """A map or picture over a box.

    Parameters
    ----------
    values : ndarray or zarr array
        `(h, w)` numbers or labels, or `(h, w, 3)` uint8 for lut 'rgb'.
    box : Box
    lut : str
        viridis, magma, cividis, diverging, labels or rgb.
    low, high : float
        Range of the colours.
    label, unit, source : str
    smooth : bool
        Whether interpolating between values is honest.
    classes : tuple of Style
        Of labels; class 0 is transparent.
    visible : bool
        Whether it is shown at first.
    """

    values: Any
    box: Box
    lut: Lut
    low: float = 0.0
    high: float = 255.0
    label: str = ""
    unit: str = ""
    smooth: bool = False
    classes: tuple[Style, ...] = ()
    source: str = ""
    visible: bool = True

    @property
    def lazy(self) -> bool:
        """Whether the values lie in a store and are read piece by piece."""
        return not isinstance(self.values, np.ndarray)

    def thinned(self, limit: int = LIMIT) -> Raster:
        """In memory, at most about `limit` pixels: every step-th value, box fitted to them."""
        h, w = self.values.shape[:2]
        step = max(1, int(np.ceil(np.sqrt(h * w / limit))))
        if step == 1:
            return replace(self, values=np.asarray(self.values[:, :]))
        rows, columns = (slice(min(step // 2, n - 1), n, step) for n in (h, w))
        values = np.asarray(self.values[rows, columns])
        sy, sx = self.box.height / h * step, self.box.width / w * step
        box = Box(
            self.box.y0,
            self.box.x0,
            self.box.y0 + values.shape[0] * sy,
            self.box.x0 + values.shape[1] * sx,
        )
        return replace(self, values=values, box=box)


@dataclass(frozen=True, eq=False)
class Lines:
    """Polylines `(n, 2)` as (y, x), of one colour; width in screen pixels."""

    polylines: tuple[np.ndarray, ...]
    colour: str
    width: float = 1.5
    label: str = ""
    whole: bool = False  # tells of a whole warp: not drawn while its grid is on the way from even


@dataclass(frozen=True, eq=False)
class Rectangles:
    """Boxes `(n, 4)`, each of a kind: an index into `styles` (colour, dash, hatch, name)."""

    boxes: np.ndarray
    kinds: np.ndarray
    styles: tuple[Style, ...]
    labels: tuple[str, ...] = ()
    scores: np.ndarray | None = None
    label: str = ""

    @property
    def colours(self) -> tuple[str, ...]:
        return tuple(self.styles[k].colour for k in self.kinds)

    @property
    def dash(self) -> tuple[tuple[float, ...], ...]:
        return tuple(self.styles[k].dash for k in self.kinds)

    def corners(self) -> np.ndarray:
        """Corners `(n, 4, 2)` as (y, x), clockwise from the left upper one."""
        y0, x0, y1, x1 = self.boxes.T
        return np.stack([y0, x0, y0, x1, y1, x1, y1, x0], 1).reshape(-1, 4, 2)

    def groups(self) -> list[tuple[Style, np.ndarray]]:
        """Style and indices of its boxes, styles without boxes left out."""
        found = [(s, np.flatnonzero(self.kinds == k)) for k, s in enumerate(self.styles)]
        return [(style, at) for style, at in found if at.size]


@dataclass(frozen=True, eq=False)
class Tree(Rectangles):
    """A zoom tree's boxes; its kinds are those decisions that occur. Parents come first."""

    tree: r.ZoomTree = field(default_factory=lambda: r.ZoomTree(()))

    @property
    def inner(self) -> np.ndarray:
        """Which nodes have children: bool (n,)."""
        return trees.inner(self.tree)


@dataclass(frozen=True, eq=False)
class Dots:
    """Points `(n, 2)`, coloured by value (`low`..`high` of `lut`), by kind, or all alike.

    `size` is the diameter in screen pixels.
    """

    points: np.ndarray
    values: np.ndarray | None = None
    kinds: np.ndarray | None = None
    styles: tuple[Style, ...] = (Style("", class_colour(0)),)
    low: float = 0.0
    high: float = 1.0
    size: float = 8.0
    label: str = ""
    lut: Lut = "viridis"
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Grid:
    """A warped grid, nodes `(ny, nx, 2)` as (y, x); `box` is the region it would cover evenly."""

    nodes: np.ndarray
    colour: str = THEMES["dark"].accent
    label: str = "sampling grid"
    box: Box | None = None

    def polylines(self) -> list[np.ndarray]:
        """Rows, then columns."""
        return [*self.nodes, *self.nodes.transpose(1, 0, 2)]


Layer = Raster | Lines | Rectangles | Dots | Grid


def extent(parts: list[Layer]) -> Box | None:
    """The smallest box around the layers; None when there is nothing."""
    corners: list[np.ndarray] = []
    for part in parts:
        match part:
            case Raster():
                corners.append(np.reshape(part.box, (2, 2)))
            case Rectangles():
                corners.append(part.boxes.reshape(-1, 2))
            case Dots():
                corners.append(part.points)
            case Grid():
                corners.append(part.nodes.reshape(-1, 2))
            case Lines():
                corners.extend(part.polylines)
    points = np.concatenate(corners) if corners else np.empty((0, 2))
    if not len(points):
        return None
    (y0, x0), (y1, x1) = points.min(0), points.max(0)
    return Box(float(y0), float(x0), float(y1), float(x1))


def _classes(names: tuple[str, ...], first: int = 0) -> tuple[Style, ...]:
    return tuple(Style(name, class_colour(k + first)) for k, name in enumerate(names))


@singledispatch
def layers(result: r.Result) -> list[Layer]:
    """Primitives of a result, bottom first; empty for charts.

    Examples
    --------
    >>> from hrviz.results import Boxes
    >>> part, = layers(Boxes(np.array([[0., 0., 4., 8.]])))
    >>> part.boxes.tolist()
    [[0.0, 0.0, 4.0, 8.0]]
    """
    return []


@layers.register
def _(result: r.Picture) -> list[Layer]:
    if result.box is not None:
        return _drawn_over(result, result.box)
    return layers(result.grid) if result.grid is not None else []


def _drawn_over(result: r.Picture, box: Box) -> list[Layer]:
    """A picture stretched over a box, and the boxes drawn on it."""
    out: list[Layer] = [Raster(result.uint8, box, "rgb", label="picture", smooth=True)]
    if result.boxes is not None:
        h, w = result.array.shape[:2]
        scale = np.array([box.height / h, box.width / w] * 2)
        at = result.boxes * scale + (box.y0, box.x0, box.y0, box.x0)
        out.append(Rectangles(at, np.zeros(len(at), int), _classes(("",)), label="boxes"))
    return out


def on_output(result: r.Result) -> list[Layer]:
    """Primitives of what lies on a method's output, in the output's own pixels; else empty.

    That is a picture without a box, with the boxes drawn on it, and a map with a grid.

    Examples
    --------
    >>> picture = r.Picture(np.zeros((4, 6, 3)), boxes=np.array([[0., 1., 2., 3.]]))
    >>> raster, boxes = on_output(picture)
    >>> raster.box, boxes.boxes.tolist()
    (Box(y0=0, x0=0, y1=4, x1=6), [[0.0, 1.0, 2.0, 3.0]])
    """
    if isinstance(result, r.Picture) and result.box is None:
        return _drawn_over(result, Box(0, 0, *result.array.shape[:2]))
    if isinstance(result, r.HeatMap) and result.grid is not None:
        return [_map(result, Box(0, 0, *result.grid.size))]
    return []


@layers.register
def _(result: r.HeatMap) -> list[Layer]:
    if result.grid is not None:  # it lies on the output, beside the image
        return []
    return [_map(result, result.box)]


def _map(result: r.HeatMap, box: Box) -> Raster:
    low, high = result.range
    diverging = result.scale == "diverging"
    return Raster(
        result.values, box, "diverging" if diverging else "viridis", low, high,
        result.label, result.unit, smooth=not diverging, source=result.source,
    )  # fmt: skip


@layers.register
def _(result: r.LabelMap) -> list[Layer]:
    styles = _classes(result.classes)
    return [
        Raster(result.labels, result.box, "labels", 0, max(1, len(styles) - 1), "classes",
               classes=styles, source=result.source)
    ]  # fmt: skip


def attention(result: r.AttentionMap, layer: int = -1, head: int | None = None) -> r.HeatMap:
    """One layer's attention as a heat map: of one head, or the mean of all."""
    weights = result.weights[layer]
    values = weights.mean(0) if head is None else weights[head]
    number_of = layer % len(result.weights) + 1
    which = f"mean of {len(weights)} heads" if head is None else f"head {head + 1}"
    return r.HeatMap(
        values.astype(np.float32), result.box, f"attention, layer {number_of}, {which}",
        "share" if result.normalised else "", source=result.source,
    )  # fmt: skip


@layers.register
def _(result: r.AttentionMap) -> list[Layer]:
    (raster,) = layers(attention(result))
    assert isinstance(raster, Raster)
    return [replace(raster, lut="magma", smooth=False)]


@layers.register
def _(result: r.WarpGrid) -> list[Layer]:
    cropped = result.summary()["cropped"]
    label = "sampling grid" + (f", {cropped:.1%} cropped" if cropped > 5e-5 else "")
    out: list[Layer] = [Grid(result.nodes, label=label, box=result.box)]
    cells = np.argwhere(result.folded())
    if len(cells):
        ring = np.array([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)])
        at = cells[:, None] + ring
        rings = result.nodes[at[..., 0], at[..., 1]]
        told = f"{len(cells)} folded cell{'s' if len(cells) > 1 else ''}"
        out.append(Lines(tuple(rings), FOLD, 2.0, told, whole=True))
    return out


@layers.register
def _(result: r.Boxes) -> list[Layer]:
    n = len(result.boxes)
    kinds = np.zeros(n, int) if result.labels is None else result.labels.astype(int)
    count = max(len(result.classes), int(kinds.max(initial=0)) + 1)
    names = result.classes + ("",) * (count - len(result.classes))
    return [Rectangles(result.boxes, kinds, _classes(names), scores=result.scores, label="boxes")]


@layers.register
def _(result: r.Points) -> list[Layer]:
    low, high = _range(result.values)
    kinds = None if result.labels is None else result.labels.astype(int)
    count = 1 if kinds is None else max(len(result.classes), int(kinds.max(initial=0)) + 1)
    names = result.classes + ("",) * (count - len(result.classes))
    lut: Lut = "viridis"
    if low < 0 < high:  # signed values, such as log2 magnification: neutral at 0
        lut, high = "diverging", max(-low, high)
        low = -high
    size = 8.0 if len(result.points) <= MANY else 5.0
    return [
        Dots(
            result.points,
            result.values,
            kinds,
            _classes(names),
            low,
            high,
            size,
            result.label,
            lut,
            result.unit,
        )
    ]


@layers.register
def _(result: r.ZoomTree) -> list[Layer]:
    nodes, styles = result.nodes, trees.present(result)
    names = [style.name for style in styles]
    scores = [np.nan if n.score is None else n.score for n in nodes]
    return [
        Tree(
            np.array([n.box for n in nodes], float).reshape(-1, 4),
            np.array([names.index(n.decision) for n in nodes], int),
            tuple(styles),
            tuple(trees.name(n) for n in nodes),
            np.array(scores) if any(n.score is not None for n in nodes) else None,
            "zoom tree",
            result,
        )
    ]


@layers.register
def _(result: r.Graph) -> list[Layer]:
    low, high = _range(result.values)
    return [
        *_edges(result),
        Dots(result.nodes, result.values, low=low, high=high, size=7, label="nodes"),
    ]


def _edges(result: r.Graph) -> list[Lines]:
    """Edges in one width, or in few widths from thin to thick with their weight."""
    edges, accent = [result.nodes[e] for e in result.edges], THEMES["dark"].accent
    if result.weights is None or not result.weights.any():
        return [Lines(tuple(edges), accent, 1.0, "edges")]
    top = float(result.weights.max())
    part = np.ceil(result.weights / top * WIDTHS).astype(int).clip(1)
    return [
        Lines(
            tuple(edges[k] for k in np.flatnonzero(part == width)), accent, float(width),
            f"edges of weight up to {top * width / WIDTHS:.2g}",
        )
        for width in np.unique(part)
    ]  # fmt: skip


@layers.register
def _(result: r.TokenPattern) -> list[Layer]:
    return [tokens(result)]


def tokens(result: r.TokenPattern, query: int | None = None) -> Rectangles:
    """The tokens, with those that one of them (default: the middle one) attends to."""
    boxes = np.asarray(result.tokens, float)
    if query is None:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        query = int(np.argmin(((centres - centres.mean(0)) ** 2).sum(1)))
    kinds = np.where(result.mask[query], 1, 0)
    kinds[query] = 2
    styles = (
        Style("not attended", "#9AA0A8", (2, 3)),
        Style("attended", "#56B4E9", (), "/"),
        Style("query token", "#E69F00", (), "x"),
    )
    return Rectangles(boxes, kinds, styles, label="tokens")


@layers.register
def _(result: r.Partition) -> list[Layer]:
    styles = _classes(result.names)
    boxes = np.asarray(result.boxes, float)
    return [Rectangles(boxes, result.assignment.astype(int), styles, label="parts")]


@layers.register
def _(result: r.Compressed) -> list[Layer]:
    out: list[Layer] = []
    if result.reconstruction is not None and result.reconstruction.box is not None:
        picture = result.reconstruction
        out = [Raster(picture.uint8, picture.box, "rgb", label="reconstruction", smooth=True)]  # type: ignore[arg-type]
    strength = np.sqrt((result.representation.astype(np.float32) ** 2).mean(2))
    low, high = _range(strength)
    return [
        *out,
        Raster(strength, result.box, "cividis", low, high, "representation", "rms of channels",
               visible=not out),
    ]  # fmt: skip


@layers.register
def _(result: r.ReadMap) -> list[Layer]:
    levels = result.tiles[:, 4].astype(int)
    styles = tuple(Style(f"level {k}", level_colour(k)) for k in range(levels.max(initial=0) + 1))
    return [
        Rectangles(result.tiles[:, :4], levels, styles, label=f"{number(len(levels))} tiles read")
    ]


def _range(values: np.ndarray | None) -> tuple[float, float]:
    if values is None or not np.isfinite(values).any():
        return 0.0, 1.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (low, high) if high > low else (low, low + 1.0)

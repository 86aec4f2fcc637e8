"""Shapes on the image: boxes, points, graphs, tokens, partitions, representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.geometry import Box
from hrviz.results.base import Result, check_box, check_named, finite, require

if TYPE_CHECKING:
    from hrviz.results.pictures import Picture


@dataclass(frozen=True, eq=False)
class Boxes(Result):
    """Boxes on the image with scores and classes.

    Parameters
    ----------
    boxes : ndarray float64, (n, 4)
        (y0, x0, y1, x1), level-0 pixels, half-open.
    scores : ndarray, (n,), or None
    labels : ndarray int, (n,), or None
        Index into `classes`.
    classes : tuple of str
    """

    boxes: np.ndarray
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        b = self.boxes
        require(b.ndim == 2 and b.shape[1] == 4, f"boxes are (n, 4), not {b.shape}")
        finite(b, "boxes")
        require(
            bool((b[:, 2:] >= b[:, :2]).all()), "boxes are (y0, x0, y1, x1) with y1>=y0, x1>=x0"
        )
        for name, v in (("scores", self.scores), ("labels", self.labels)):
            require(v is None or v.shape == (len(b),), f"{name} has one entry a box")
        if self.labels is not None and self.classes:
            check_named(self.labels, self.classes, "label of a box")

    def summary(self) -> dict[str, Any]:
        areas = (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])
        out: dict[str, Any] = {"count": len(self.boxes), "area_px": float(areas.sum())}
        if self.scores is not None and len(self.boxes):
            out["score_max"] = float(self.scores.max())
        return out


@dataclass(frozen=True, eq=False)
class Points(Result):
    """Points on the image: float64 (n, 2) as (y, x), with a value and a class each.

    `label` and `unit` say what the values are.
    """

    points: np.ndarray
    values: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    label: str = "points"
    unit: str = ""

    def __post_init__(self) -> None:
        p = self.points
        require(p.ndim == 2 and p.shape[1] == 2, f"points are (n, 2), not {p.shape}")
        finite(p, "points")
        for name, v in (("values", self.values), ("labels", self.labels)):
            require(v is None or v.shape == (len(p),), f"{name} has one entry a point")
        if self.labels is not None and self.classes:
            check_named(self.labels, self.classes, "label of a point")

    def summary(self) -> dict[str, Any]:
        return {"count": len(self.points)}


@dataclass(frozen=True, eq=False)
class Graph(Result):
    """Nodes on the image joined by edges: nodes (n, 2) as (y, x), edges (m, 2) of node indices.

    `values` (n,) colour the nodes; `weights` (m,), not negative, are drawn as widths of the edges.
    """

    nodes: np.ndarray
    edges: np.ndarray
    values: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        require(self.nodes.ndim == 2 and self.nodes.shape[1] == 2, "graph nodes are (n, 2)")
        finite(self.nodes, "graph")
        e = self.edges
        require(
            e.ndim == 2 and e.shape[1] == 2 and e.dtype.kind in "iu", "edges are (m, 2) integers"
        )
        require(
            e.size == 0 or (e.min() >= 0 and e.max() < len(self.nodes)), "edges name real nodes"
        )
        require(self.values is None or self.values.shape == (len(self.nodes),), "one value a node")
        if self.weights is not None:
            require(self.weights.shape == (len(e),), "a graph has one weight an edge")
            finite(self.weights, "weights of a graph")
            require(not (self.weights < 0).any(), "weights of a graph are not negative")

    def summary(self) -> dict[str, Any]:
        out: dict[str, Any] = {"nodes": len(self.nodes), "edges": len(self.edges)}
        if self.weights is not None and self.weights.size:
            out["weight_max"] = float(self.weights.max())
        return out


@dataclass(frozen=True, eq=False)
class TokenPattern(Result):
    """Which tokens attend to which: tokens are boxes (n, 4) on the image, mask (n, n) bool."""

    tokens: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.tokens)
        require(self.tokens.shape == (n, 4) and n > 0, "tokens are boxes (n, 4)")
        require(self.mask.shape == (n, n) and self.mask.dtype == bool, "mask is (n, n) bool")

    def summary(self) -> dict[str, Any]:
        return {"tokens": len(self.tokens), "pairs": int(self.mask.sum()),
                "share": float(self.mask.mean())}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Partition(Result):
    """The image cut into boxes (n, 4), each assigned to one of `names` (assignment (n,) int)."""

    boxes: np.ndarray
    assignment: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.boxes)
        require(self.boxes.shape == (n, 4), f"boxes are (n, 4), not {self.boxes.shape}")
        require(
            self.assignment.shape == (n,) and self.assignment.dtype.kind in "iu", "one name a box"
        )
        check_named(self.assignment, self.names, "assignment")

    def summary(self) -> dict[str, Any]:
        counts = np.bincount(self.assignment, minlength=len(self.names))
        return {"boxes": len(self.boxes)} | {
            f"count_{name}": int(c) for name, c in zip(self.names, counts, strict=True)
        }


@dataclass(frozen=True, eq=False)
class Compressed(Result):
    """A compressed representation: array (h, w, c), its size in bytes, and the original's.

    Parameters
    ----------
    representation : ndarray, (h, w, c)
    box : Box
    bytes_before, bytes_after : int
    reconstruction : Picture or None
    """

    representation: np.ndarray
    box: Box
    bytes_before: int
    bytes_after: int
    reconstruction: Picture | None = None

    def __post_init__(self) -> None:
        require(self.representation.ndim == 3, "a representation is (h, w, c)")
        finite(self.representation, "representation")
        require(self.bytes_before > 0 and self.bytes_after > 0, "sizes are positive")
        check_box(self.box, "compressed")

    def summary(self) -> dict[str, Any]:
        return {
            "shape": list(self.representation.shape), "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "ratio": round(self.bytes_before / self.bytes_after, 3),
        }  # fmt: skip

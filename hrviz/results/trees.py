"""`ZoomTree`: what was looked at, in the order decided, and what each look cost.

One record for all methods that zoom, skip or sample, so that one view draws them all: boxes on the
image, and the same tree as an icicle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hrviz.geometry import Box
from hrviz.results.base import RECORDS, Result, require

DECISIONS = (
    "processed", "zoomed", "sampled", "skipped by score", "skipped by budget", "suppressed",
    "memory only",
)  # fmt: skip
INSIDE = 1.0  # level-0 px by which a child may lie outside its parent: boxes are rounded


@dataclass(frozen=True)
class Node:
    """One look at a box, and what was decided there.

    Parameters
    ----------
    id : int
    parent : int or None
    box : Box
        Level-0 pixels, half-open, cut to the image.
    downsample : float
        Level-0 pixels per pixel that was read (or would have been).
    decision : str
        One of `DECISIONS`.
    score : float or None
        What it was decided by; the tree says what that is.
    reason : str
        One short sentence: why it was decided so.
    tag : str
        Few letters for the box itself: a network's name, a count.
    draws : int
        How often a sampling method drew it.
    pixels : float
        Pixels asked of the image for this look.
    calls : int
        Network evaluations on it.
    """

    id: int
    parent: int | None
    box: Box
    downsample: float
    decision: str
    score: float | None = None
    reason: str = ""
    tag: str = ""
    draws: int = 0
    pixels: float = 0.0
    calls: int = 0

    def __post_init__(self) -> None:
        require(self.decision in DECISIONS, f"decision {self.decision!r} is none of {DECISIONS}")
        require(self.score is None or self.score == self.score, f"node {self.id} has a NaN score")
        require(
            self.pixels >= 0 and self.calls >= 0 and self.draws >= 0,
            f"node {self.id} has a negative cost",
        )


@dataclass(frozen=True, eq=False)
class ZoomTree(Result):
    """Boxes looked at, in the order decided, each inside its parent.

    Parameters
    ----------
    nodes : tuple of Node
    score_label : str
        What the nodes' scores are: 'p(zoom)', 'attention', 'predicted count'.
    exhaustive_pixels, exhaustive_calls : float
        What looking everywhere at the finest detail would take; 0 where that has no sense.
    source : str
        Badge of what decided: 'trained: ...', 'oracle: ...', 'stand-in: ...'.
    """

    nodes: tuple[Node, ...]
    score_label: str = "score"
    exhaustive_pixels: float = 0.0
    exhaustive_calls: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        boxes: dict[int, Box] = {}
        for node in self.nodes:
            require(node.id not in boxes, f"node {node.id} appears twice")
            require(
                node.parent is None or node.parent in boxes, f"node {node.id} precedes its parent"
            )
            if node.parent is not None:
                around = boxes[node.parent].grown(INSIDE)
                b = node.box
                require(
                    b.y0 >= around.y0 and b.x0 >= around.x0 and b.y1 <= around.y1 and b.x1 <= around.x1,
                    f"node {node.id} lies outside its parent {node.parent}",
                )  # fmt: skip
            boxes[node.id] = node.box

    @property
    def pixels(self) -> float:
        """Pixels asked of the image by all nodes."""
        return sum(node.pixels for node in self.nodes)

    @property
    def calls(self) -> int:
        """Network evaluations of all nodes."""
        return sum(node.calls for node in self.nodes)

    def depths(self) -> dict[int, int]:
        """Depth of each node by id; roots are at 0."""
        out: dict[int, int] = {}
        for node in self.nodes:
            out[node.id] = 0 if node.parent is None else out[node.parent] + 1
        return out

    def children(self) -> dict[int | None, list[Node]]:
        """Nodes under each parent, in order; roots under None."""
        out: dict[int | None, list[Node]] = {}
        for node in self.nodes:
            out.setdefault(node.parent, []).append(node)
        return out

    def totals(self) -> dict[str, float]:
        """The three totals that are always shown: pixels, calls, share of the exhaustive pixels."""
        out: dict[str, float] = {"pixels_asked": self.pixels, "network_calls": self.calls}
        if self.exhaustive_pixels:
            out["share_of_exhaustive"] = self.pixels / self.exhaustive_pixels
        return out

    def summary(self) -> dict[str, Any]:
        names = [node.decision for node in self.nodes]
        counts = {d: names.count(d) for d in DECISIONS if d in names}
        depth = max(self.depths().values(), default=0)
        out: dict[str, Any] = {"nodes": len(names)} | counts | {"depth": depth} | self.totals()
        if self.exhaustive_calls:
            out["exhaustive_calls"] = self.exhaustive_calls
        return out | ({"source": self.source} if self.source else {})


RECORDS["Node"] = Node

"""`Growing`: how a zooming method builds its tree, every look with what it really read.

A method looks (`look`), decides, and adds a node for it (`add`) that takes over the pixels asked
since the node before. So the costs in the tree add up to the view's own read accounting.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.results import Node, ZoomTree


@dataclass
class Growing:
    """A zoom tree under way.

    Attributes
    ----------
    view : ImageView
        What is looked at; all reads go through it.
    score_label, source : str
        As in `ZoomTree`.
    exhaustive_pixels, exhaustive_calls : float
        As in `ZoomTree`.
    nodes : list of Node
        In the order decided.
    """

    view: ImageView
    score_label: str = "score"
    source: str = ""
    exhaustive_pixels: float = 0.0
    exhaustive_calls: float = 0.0
    nodes: list[Node] = field(default_factory=list)
    _before: float = 0.0

    def __post_init__(self) -> None:
        self._before = self.view.reads.pixels_requested

    def look(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Area-averaged RGB of `box` at `size`, float32 `(h, w, 3)` in 0..1; checks for cancelling.

        Beyond the image it is white, as glass is.
        """
        current().check()
        return self.view.read(size, box)

    def add(
        self,
        parent: int | None,
        box: Box,
        downsample: float,
        decision: str,
        *,
        score: float | None = None,
        reason: str = "",
        tag: str = "",
        draws: int = 0,
        pixels: float | None = None,
        calls: int = 0,
    ) -> int:
        """Append a node, cut to the view; returns its id.

        `pixels` is by default what was asked of the image since the node before. Where many looks
        come before their nodes, take `pending` after each look and give each node its own.
        """
        if pixels is None:
            pixels = self.pending()
        low, high = self.view.box[:2], self.view.box[2:]
        # a box wholly outside becomes a line on the view's rim, which is inside its parent as well
        cut = Box(*(float(min(max(v, low[k % 2]), high[k % 2])) for k, v in enumerate(box)))
        score = None if score is None else float(score)
        node = Node(
            len(self.nodes), parent, cut, float(downsample), decision, score, reason, tag,
            int(draws), float(pixels), int(calls),
        )  # fmt: skip
        self.nodes.append(node)
        return node.id

    def pending(self) -> float:
        """Pixels asked of the image since the last call; they are then accounted for."""
        now = float(self.view.reads.pixels_requested)
        asked, self._before = now - self._before, now
        return asked

    def change(self, id: int, **changes: object) -> None:
        """Change a node whose decision came after its look; its place in the order stays."""
        self.nodes[id] = replace(self.nodes[id], **changes)  # type: ignore[arg-type]

    def tree(self) -> ZoomTree:
        """The tree so far, which later nodes do not change."""
        return ZoomTree(
            tuple(self.nodes), self.score_label, float(self.exhaustive_pixels),
            float(self.exhaustive_calls), self.source,
        )  # fmt: skip

"""A hierarchical graph under way: regions looked at, who was cut from whom, and what to cut next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.zooming import stand_ins
from hrviz.methods.zooming.growing import Growing

NETWORK = "needle-graph"
BADGE = f"trained: {NETWORK}"
AT_ONCE = 64  # regions in one call
QUADRANTS = ((0, 0), (0, 1), (1, 0), (1, 1))


def quadrant(box: Box, row: int, column: int) -> Box:
    """One of the 2 x 2 equal parts of a box."""
    y, x = box.centre
    y0, y1 = ((box.y0, y), (y, box.y1))[row]
    x0, x1 = ((box.x0, x), (x, box.x1))[column]
    return Box(y0, x0, y1, x1)


@dataclass
class ZoomRun:
    """Regions of a view, level by level.

    Attributes
    ----------
    view : ImageView
    side : int
        D: px a side that every region is read at.
    levels : int
        R.
    threshold : float
        Least p(zoom) to zoom into a node.
    source : {'trained', 'edges', 'truth'}
        What decides.
    networks : bool
        Whether there is a network to encode regions.
    growing : Growing
    boxes, pixels, parents, levels_of : list
        Of each node, in the order looked at.
    p : list of float
        p(zoom) of each node; NaN where it was not asked for.
    h : Tensor or None
        Features (n, H) of the nodes.
    """

    view: ImageView
    side: int
    levels: int
    threshold: float
    source: str
    networks: bool
    growing: Growing
    boxes: list[Box] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    levels_of: list[int] = field(default_factory=list)
    p: list[float] = field(default_factory=list)
    h: Any = None

    def grow(self) -> Iterator[float]:
        """Look, decide and cut, level by level; yields the share done after each."""
        fresh = self._look([(-1, self.view.box)], 1)
        for level in range(1, self.levels):
            self._decide(fresh, level)
            cut = []
            for n in fresh:
                if self.p[n] >= self.threshold:
                    cut += [(n, quadrant(self.boxes[n], *at)) for at in QUADRANTS]
                self._tell(n, level)
            yield level / self.levels
            fresh = self._look(cut, level + 1)
            if not fresh:
                break
        yield 1.0

    def _look(self, cut: list[tuple[int, Box]], level: int) -> list[int]:
        """Read regions, add their nodes and encode them; returns their numbers."""
        first = len(self.boxes)
        for parent, box in cut:
            self.pixels.append(self.growing.look(box, (self.side, self.side)))
            self.growing.add(
                None if parent < 0 else parent, box, max(box.height, box.width) / self.side,
                "processed", tag=str(level), reason=f"Level {level}: looked at, a leaf of the graph.",
                calls=int(self.networks),
            )  # fmt: skip
            self.boxes.append(box)
            self.parents.append(parent)
            self.levels_of.append(level)
            self.p.append(np.nan)
        fresh = list(range(first, len(self.boxes)))
        if fresh and self.networks:
            self._encode(fresh)
        return fresh

    def _encode(self, fresh: list[int]) -> None:
        import torch

        for start in range(0, len(fresh), AT_ONCE):
            batch = np.stack([self.pixels[n] for n in fresh[start : start + AT_ONCE]])
            current().add("network_pixels", batch.size // 3)
            x = torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
            h = nets.run(NETWORK, x, "encode")
            self.h = h if self.h is None else torch.cat([self.h, h])

    def _decide(self, fresh: list[int], level: int) -> None:
        """p(zoom) of the level's nodes: 1 for the root, else of GAT_node or of a stand-in."""
        if level == 1:
            self.p[0] = 1.0
            return
        if self.source == "trained":
            import torch

            net: Any = nets.load(NETWORK)
            with torch.no_grad():
                p = net.node(self.h, self.edges()).softmax(1)[:, 1].double().numpy()
            for n in fresh:
                self.p[n] = float(p[n])
        elif self.source == "truth":
            for n in fresh:
                self.p[n] = float(stand_ins.sought(self.view, self.boxes[n]).any())
        else:
            energies = np.array([stand_ins.edge_energy(self.pixels[n]).mean() for n in fresh])
            for n, p in zip(fresh, stand_ins.standing_out(energies), strict=True):
                self.p[n] = float(p)

    def _tell(self, n: int, level: int) -> None:
        """Put a node's decision into the tree."""
        zoomed = self.p[n] >= self.threshold
        why = (
            "the whole image is always zoomed into" if level == 1
            else f"p(zoom) {self.p[n]:.2f}, {'zoomed into' if zoomed else 'left'}"
        )  # fmt: skip
        self.growing.change(
            n, decision="zoomed" if zoomed else "skipped by score", score=self.p[n],
            reason=f"Level {level}: {why}.",
        )  # fmt: skip

    def edges(self) -> Any:
        """Adjacency of the graph so far, Tensor int64 (2, m): parents, children and self loops."""
        import torch

        from hrviz.nets.zoom_graph import adjacency

        return adjacency(torch.tensor(self.parents))

    def answer(self) -> tuple[np.ndarray, np.ndarray]:
        """Class logits (classes,) of GAT_graph, and alpha (n,): how much a parent listens to node n.

        The root's alpha is its own, of its self loop.
        """
        import torch

        net: Any = nets.load(NETWORK)
        edges = self.edges()
        with torch.no_grad():
            logits = net.whole(self.h, edges)[0].double().numpy()
            weights = net.attention(self.h, edges).double().numpy()
        parents = np.array(self.parents)
        alpha = np.empty(len(parents))
        for (start, end), weight in zip(edges.T.tolist(), weights, strict=True):
            if parents[start] == end or (start == end and parents[start] < 0):
                alpha[start] = weight
        return logits, alpha

    def exhaustive_pixels(self) -> float:
        """Pixels of the image that reading all regions of level R asks for."""
        finest = max(self.view.height, self.view.width) / (self.side * 2 ** (self.levels - 1))
        finer = [d for d in self.view.image.downsamples if d <= max(1.0, finest)]
        return self.view.box.area / max(finer) ** 2

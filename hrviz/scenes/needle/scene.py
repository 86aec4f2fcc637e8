"""`scene:needle`: objects of a chosen share of the image on a background, among look-alikes.

The needle-in-a-haystack experiment with every dial: what is sought, how small a part of the image
it is (down to 10^-10), how many there are, how many look-alikes of the same colour and area
surround it, how faint it is, and how large the image is. Below a certain ratio every method that
looks at a thumbnail fails; the dial shows where.

What stands in for what: shapes are drawn, `contrast` is the opacity with which needles and
look-alikes lie over the background, and all of them have the same area and (cells) mean colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.method import Control
from hrviz.scenes._paint import Canvas, Ink, turned
from hrviz.scenes.needle.ground import ground
from hrviz.scenes.needle.shapes import NEEDLES, Shape, colours, scale_for, stain, tight_box
from hrviz.scenes.noise import Raster
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene
from hrviz.scenes.truth import Objects, Truth

MOST_FILLED = 0.25  # of the image by objects and the room around them

NeedleObject = Annotated[
    Literal["disc", "cross", "digit", "cell", "car", "sign"],
    Control("What is to be found; look-alikes have its colour and area.", title="Needle"),
]
Haystack = Annotated[
    Literal["noise", "tissue", "field", "plain"],
    Control("What it lies on; 'tissue' and 'field' only resemble a slide and farmland."),
]
Ratio = Annotated[
    float,
    Control("Up: a larger needle, as area of one needle over area of the image.", 1e-10, 0.1, 1e-10,
            log=True, title="Object-to-image ratio"),
]  # fmt: skip
Count = Annotated[int, Control("Up: more needles; 0 is a haystack without.", 0, 100, 1)]
Distractors = Annotated[int, Control("Up: more look-alikes of another shape.", 0, 1000, 1)]
Contrast = Annotated[float, Control("Up: needles and look-alikes stand out more.", 0.0, 1.0, 0.01)]
Presence = Annotated[
    Literal["always", "half", "replaced"],
    Control(
        "Whether the needles are there: always, or by the seed in half of the pictures; 'replaced' "
        "puts look-alikes in their place where they are not, so that counting objects tells nothing.",
        basic=False,
    ),
]


@dataclass(frozen=True)
class Planted:
    """Where every object is: needles first, then look-alikes; level-0 px.

    Parameters
    ----------
    shapes : tuple of Shape
    scales, angles : numpy.ndarray
        (n,) px and radians.
    centres : numpy.ndarray
        float64 (n, 2), (y, x).
    boxes : numpy.ndarray
        float64 (n, 4), tight.
    needles : int
        How many of them are needles.
    """

    shapes: tuple[Shape, ...]
    scales: np.ndarray
    angles: np.ndarray
    centres: np.ndarray
    boxes: np.ndarray
    needles: int

    def near(self, box: Box) -> np.ndarray:
        """Indices of objects whose box touches `box`, in order."""
        b = self.boxes
        touch = (b[:, 0] < box.y1) & (b[:, 2] > box.y0) & (b[:, 1] < box.x1) & (b[:, 3] > box.x0)
        return np.flatnonzero(touch)


def plant(
    kind: str, height: int, width: int, area: float, count: int, distractors: int, seed: int,
    replaced: bool = False,
) -> Planted:  # fmt: skip
    """Place needles, then look-alikes, apart from each other; needles do not depend on the rest.

    With `replaced` the look-alike that is nearest to it in shape lies where a needle would.
    """
    needle, alikes = NEEDLES[kind]
    needle = alikes[0] if replaced else needle
    shapes, scales, angles, boxes = [], [], [], []
    centres = np.empty((count + distractors, 2))
    reach = np.empty(count + distractors)
    for k in range(count + distractors):
        rng = np.random.default_rng([seed, k if k < count else 10_000 + k - count, 77])
        shape = needle if k < count else alikes[int(rng.integers(len(alikes)))]
        angle = float(rng.uniform(-0.3, 0.3) if shape.upright else rng.uniform(-np.pi, np.pi))
        scale = scale_for(shape, area)
        v0, u0, v1, u1 = tight_box(shape, scale, angle)
        if v1 - v0 > height or u1 - u0 > width:
            raise HrvizError(
                f"a {shape.name} of {area:.4g} px is {u1 - u0:.0f} x {v1 - v0:.0f} px and does not "
                f"fit into {width}x{height}: choose a smaller ratio or a squarer image"
            )
        reach[k] = 1.05 * max(-v0, -u0, v1, u1) * 2**0.5
        for _ in range(400):
            y, x = rng.uniform(-v0, height - v1), rng.uniform(-u0, width - u1)
            apart = np.hypot(centres[:k, 0] - y, centres[:k, 1] - x) > reach[:k] + reach[k]
            if apart.all():
                break
        else:
            raise HrvizError(
                f"count={count} and distractors={distractors} of {area:.4g} px each do not fit into "
                f"{width}x{height} without touching: choose fewer, or a smaller ratio"
            )
        centres[k] = y, x
        shapes.append(shape)
        scales.append(scale)
        angles.append(angle)
        boxes.append((y + v0, x + u0, y + v1, x + u1))
    return Planted(
        tuple(shapes), np.array(scales), np.array(angles), centres,
        np.array(boxes).reshape(-1, 4), 0 if replaced else count,
    )  # fmt: skip


class NeedleTruth(Truth):
    """Where needles (class 1) and look-alikes (class 2) are, exactly."""

    def __init__(self, planted: Planted, kind: str, height: int, width: int) -> None:
        self._planted = planted
        self._full = Box(0.0, 0.0, float(height), float(width))
        self.labels = ("absent", "present")
        self.label = "present" if planted.needles else "absent"
        self.classes = {0: "background", 1: kind, 2: "look-alike"}
        self.objects = {1: kind, 2: "look-alike"}
        self.kinds = dict(self.objects)
        self.knows = frozenset({"label", "mask", "points", "boxes"})

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Class at the pixel centres of a raster over a box, uint8 `size` (see `Truth.mask`)."""
        height, width = size
        out = np.zeros((height, width), np.uint8)
        sy, sx = (box[2] - box[0]) / height, (box[3] - box[1]) / width
        known = self._planted
        for k in known.near(Box(*box)):
            y0, x0, y1, x1 = known.boxes[k]
            i0, i1 = max(int((y0 - box[0]) / sy) - 1, 0), min(int((y1 - box[0]) / sy) + 2, height)
            j0, j1 = max(int((x0 - box[1]) / sx) - 1, 0), min(int((x1 - box[1]) / sx) + 2, width)
            if i0 >= i1 or j0 >= j1:
                continue
            cy, cx = known.centres[k]
            v = (box[0] + (np.arange(i0, i1) + 0.5) * sy - cy).astype(np.float32)[:, None]
            u = (box[1] + (np.arange(j0, j1) + 0.5) * sx - cx).astype(np.float32)[None]
            v, u = turned(v, u, float(known.angles[k]))
            inside = known.shapes[k].outline(v, u, float(known.scales[k])) < 0
            out[i0:i1, j0:j1][inside] = 1 if k < known.needles else 2
        return out

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Origins of the objects in a box, float64 (n, 2) (y, x), and classes int64 (n,)."""
        y0, x0, y1, x1 = self._full if box is None else box
        c = self._planted.centres
        inside = (c[:, 0] >= y0) & (c[:, 0] < y1) & (c[:, 1] >= x0) & (c[:, 1] < x1)
        return c[inside], self._kinds(np.flatnonzero(inside))

    def boxes(self, box: Box | None = None) -> Objects:
        """Objects that touch a box (all without one), largest first."""
        known = self._planted
        found = known.near(self._full if box is None else Box(*box))
        boxes = known.boxes[found]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        order = np.argsort(-area, kind="stable")
        return Objects(boxes[order], self._kinds(found[order]), dict(self.objects))

    def _kinds(self, index: np.ndarray) -> np.ndarray:
        return np.where(index < self._planted.needles, 1, 2).astype(np.int64)


@scene("needle", title="Needle in a haystack", tasks=("classification", "detection", "search"),
       small={"width": 1024, "height": 1024, "ratio": 1e-3, "distractors": 10, "presence": "half"})  # fmt: skip
class NeedleScene(Scene):
    """Objects of any relative size on a background of any size.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000.
    seed : int
    object : {'disc', 'cross', 'digit', 'cell', 'car', 'sign'}
    background : {'noise', 'tissue', 'field', 'plain'}
    ratio : float
        Area of one needle over the area of the image.
    count, distractors : int
        Needles and look-alikes.
    contrast : float
        Opacity of both, 0 to 1.
    presence : {'always', 'half', 'replaced'}
        'half': half of the seeds have no needle, for data sets; 'replaced': those have
        look-alikes in the needles' places.

    Raises
    ------
    HrvizError
        When a needle would be smaller than a pixel, or the objects do not fit.
    """

    version = 2  # 2: look-alikes of cells have the cells' mean colour; stain varies
    cached_blocks = 48

    def __init__(
        self,
        *,
        width: Width = 20_000,
        height: Height = 20_000,
        seed: SceneSeed = 7,
        object: NeedleObject = "disc",
        background: Haystack = "noise",
        ratio: Ratio = 1e-5,
        count: Count = 1,
        distractors: Distractors = 40,
        contrast: Contrast = 0.9,
        presence: Presence = "always",
    ) -> None:
        area = ratio * width * height
        if count and area < 1:
            raise HrvizError(
                f"ratio={ratio:g} of {width}x{height} is {area:.2g} px, less than one: choose a ratio "
                f"of at least {1 / (width * height):.2g}, or a larger size"
            )
        if (count + distractors) * ratio > MOST_FILLED:
            raise HrvizError(
                f"count={count} and distractors={distractors} would fill "
                f"{(count + distractors) * ratio:.0%} of the image: choose a ratio of at most "
                f"{MOST_FILLED / (count + distractors):.2g}, or fewer"
            )
        there = presence == "always" or bool(np.random.default_rng([seed, 5]).integers(2))
        replaced = presence == "replaced" and not there
        needles = count if there or replaced else 0
        self._planted = plant(object, height, width, area, needles, distractors, seed, replaced)
        self.setup(
            {"width": width, "height": height, "seed": seed, "object": object,
             "background": background, "ratio": ratio, "count": count,
             "distractors": distractors, "contrast": contrast, "presence": presence},
            facts={"scene": "needle (drawn)", "seed": str(seed), "object": object,
                   "side of an object": f"about {area**0.5:.3g} px"},
        )  # fmt: skip
        self._look = (background, seed, max(width, height), contrast)
        kinds = NEEDLES[object][0], *NEEDLES[object][1]
        paints = {k.name: c for k, c in zip(kinds, colours(object, round(area)), strict=True)}
        self._colours = [
            paints[shape.name] * stain(object, seed, k)
            for k, shape in enumerate(self._planted.shapes)
        ]
        self.truth = NeedleTruth(self._planted, object, height, width)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        background, seed, side, contrast = self._look
        span = BLOCK * downsample
        y, x = row * span, column * span
        half = downsample / 2
        raster = Raster(y + half, x + half, BLOCK, BLOCK, downsample, downsample, downsample)
        canvas = Canvas(ground(background, seed, side, raster), y, x, downsample)
        known = self._planted
        for k in known.near(Box(y, x, y + span, x + span).grown(downsample)):
            shape, scale = known.shapes[k], float(known.scales[k])
            angle, colour = float(known.angles[k]), self._colours[k]

            def draw(
                ink: Ink, shape: Shape = shape, scale: float = scale, angle: float = angle,
                colour: np.ndarray = colour,
            ) -> None:  # fmt: skip
                v, u = turned(ink.v, ink.u, angle)
                under = ink.rgb.copy()
                shape.paint(ink, v, u, scale, colour)
                ink.rgb += np.float32(contrast - 1) * (ink.rgb - under)

            cy, cx = known.centres[k]
            y0, x0, y1, x1 = known.boxes[k]
            canvas.stamp((cy, cx), (y0 - cy, x0 - cx, y1 - cy, x1 - cx), draw)
        return canvas.pixels()

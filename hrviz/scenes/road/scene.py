"""`scene:road`: a road in perspective with one small speed-limit sign, or none.

The traffic-sign task of the attention-sampling papers: a photograph of a Swedish road, 960 px high
and 1280 wide, and the question which speed limit it shows, 50, 70, 80 km/h or none. The sign covers
a thousandth of the image by default. It can be read at full resolution and no longer at a quarter
of it, where it is still seen to be a sign: a method has to look closer at the right place.

What stands in for what: everything is drawn, in perspective and with haze, from a seed. The plate
is white where Sweden's is yellow. Where there is no speed limit the same post carries another
sign, so the post gives nothing away. Boxes are those of whole plates and cars; nothing but thin
posts stands in front of them. Papers: Katharopoulos and Fleuret, ICML 2019; Larsson and Felsberg,
SCIA 2011 (the data set).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np

from hrviz.geometry import Box
from hrviz.method import Control
from hrviz.scenes._paint import Canvas, Ink
from hrviz.scenes.noise import Raster, octaves
from hrviz.scenes.road.backdrop import backdrop
from hrviz.scenes.road.signs import LIMITS
from hrviz.scenes.road.things import detail_of, paint, shadow
from hrviz.scenes.road.world import OBJECTS, Thing, World, class_of
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene
from hrviz.scenes.truth import Objects, Truth

SpeedSign = Annotated[
    Literal["random", "none", "50", "70", "80"],
    Control(
        "Which speed limit; 'random' lets the seed choose, each as often.", title="Speed limit"
    ),
]
SignRatio = Annotated[
    float,
    Control("Up: a larger sign, as area of its box over area of the image.", 0.0001, 0.2, 0.0001,
            log=True, title="Object-to-image ratio"),
]  # fmt: skip
RoadClutter = Annotated[int, Control("Up: more other signs and cars.", 0, 40, 1)]


class RoadTruth(Truth):
    """The speed limit, and where plates and cars are; `mask` is 1 on the speed-limit sign."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.labels = ("none", 50, 70, 80)
        self.label = int(world.sign) if world.sign in LIMITS else "none"
        self.classes = {0: "background", 1: "speed-limit sign"}
        self.objects = dict(OBJECTS)
        self.kinds, self.unit = dict(OBJECTS), "km/h" if self.label != "none" else ""
        self.knows = frozenset({"label", "mask", "points", "boxes"})

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """1 where a raster's pixel centres lie on the speed-limit sign (see `Truth.mask`)."""
        height, width = size
        if self.label == "none":
            return np.zeros(size, np.uint8)
        sign = self._world.sign_box
        (cy, cx), r = sign.centre, sign.height / 2
        y = box[0] + (np.arange(height) + 0.5) * (box[2] - box[0]) / height - cy
        x = box[1] + (np.arange(width) + 0.5) * (box[3] - box[1]) / width - cx
        return (y[:, None] ** 2 + x[None] ** 2 < r * r).astype(np.uint8)

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Centres of plates and cars in a box, float64 (n, 2) (y, x), and classes int64 (n,)."""
        found = self._targets()
        centres = np.array([b.centre for b, _ in found], np.float64).reshape(-1, 2)
        kinds = np.array([k for _, k in found], np.int64)
        if box is not None:
            y, x = centres.T
            inside = (y >= box[0]) & (y < box[2]) & (x >= box[1]) & (x < box[3])
            centres, kinds = centres[inside], kinds[inside]
        return centres, kinds

    def boxes(self, box: Box | None = None) -> Objects:
        """Plates and cars that touch a box (all without one), largest first."""
        found = [
            (b, k) for b, k in self._targets() if box is None or b.intersect(Box(*box)).area > 0
        ]
        return Objects(
            np.array([b for b, _ in found], np.float64).reshape(-1, 4),
            np.array([k for _, k in found], np.int64),
            dict(self.objects),
        )

    def _targets(self) -> list[tuple[Box, int]]:
        found = [(t.target, class_of(t)) for t in self._world.things if t.target is not None]
        return sorted(found, key=lambda item: -item[0].area)


@scene("road", title="Road with a speed limit", tasks=("classification", "detection"),
       small={"width": 1280, "height": 960})  # fmt: skip
class RoadScene(Scene):
    """A road with at most one speed-limit sign.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000.
    seed : int
    sign : {'random', 'none', '50', '70', '80'}
        'random': each of the four, by seed.
    ratio : float
        Area of the sign's box over the area of the image, 0.0001 to 0.2.
    clutter : int
        How many other signs, boards and cars at most; those that find no free place are left out.

    Raises
    ------
    HrvizError
        When the sign does not fit into a very narrow image.
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 1280,
        height: Height = 960,
        seed: SceneSeed = 7,
        sign: SpeedSign = "random",
        ratio: SignRatio = 0.001,
        clutter: RoadClutter = 8,
    ) -> None:
        drawn = int(np.random.default_rng([seed, 50]).integers(4))
        shown = ("none", *LIMITS)[drawn] if sign == "random" else sign
        side = math.sqrt(ratio * width * height)
        self.world = World(height, width, seed, shown, side, clutter)
        self.setup(
            {"width": width, "height": height, "seed": seed, "sign": sign, "ratio": ratio,
             "clutter": clutter},
            facts={"scene": "road (drawn)", "seed": str(seed), "side of the sign": f"{side:.4g} px"},
        )  # fmt: skip
        self.truth = RoadTruth(self.world)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        span = BLOCK * downsample
        y, x = row * span, column * span
        world = self.world
        canvas = Canvas(backdrop(world, y, x, BLOCK, downsample), y, x, downsample)
        window = Box(y, x, y + span, x + span).grown(downsample)
        for thing in world.things:
            shadow(canvas, thing, world.weather)
        for thing in world.things:
            if thing.box.intersect(window).area == 0:
                continue

            def draw(ink: Ink, thing: Thing = thing) -> None:
                paint(ink, thing, world.weather)

            v0, u0, v1, u1 = (edge * thing.metre for edge in thing.size)
            canvas.stamp((thing.y, thing.x), (v0, u0, v1, u1), draw, detail_of(thing))
        canvas.rgb += self._lens(y, x, downsample)
        return canvas.pixels()

    def _lens(self, y: float, x: float, pixel: float) -> np.ndarray:
        """What the camera adds: grain, and light that falls off towards the corners."""
        world, half = self.world, pixel / 2
        raster = Raster(y + half, x + half, BLOCK, BLOCK, pixel, pixel, pixel)
        ys, xs = raster.axes()
        dy, dx = ys / world.height - 0.5, xs / world.width - 0.5
        corner = (dy**2 + dx**2).astype(np.float32) * np.float32(-26)
        return corner + octaves(
            raster, [(4, 0.9, world.seed * 31 + 7), (8, 0.4, world.seed * 31 + 8)]
        )

"""`scene:crowd`: a city square full of people, still or walking, with everybody counted.

A raised camera looks over a paved square with trees, lamps, market stalls and a fountain to a row
of houses and an avenue. Near people are hundreds of pixels tall, those in the avenue a few: a
gigapixel crowd photograph in which lowered resolution loses the far ones first. The truth knows
every head, every box and who is who from frame to frame.

What stands in for what: the people are drawn figures (eight kinds of dress, eight headings, eight
steps of a stride, any colours and sizes), not photographs. Everybody follows a lane or stands; nobody
gives way, so in a dense crowd bodies may touch. The lens is shifted, as in photographs of
buildings: verticals are vertical, and people are seen level however steep the view.

A film is the same square at other times: `scene:crowd?frames=250#t=12`. Positions are a function of
the time, so any frame costs what the first one costs. Figures are averaged over the pixels of each
level (see `atlas.py`), the paving and walls are integrated exactly (see `backdrop.py`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated

import numpy as np

from hrviz.image.readers.base import check_index
from hrviz.method import Control
from hrviz.scenes._paint import Canvas
from hrviz.scenes.crowd import furniture
from hrviz.scenes.crowd.atlas import SHARP, atlas
from hrviz.scenes.crowd.backdrop import draw_backdrop
from hrviz.scenes.crowd.camera import AIR, haze
from hrviz.scenes.crowd.population import FRAME_RATE, Crowd, Population, population
from hrviz.scenes.crowd.splat import lay_large, lay_small, shade, shadow_reach
from hrviz.scenes.crowd.square import Square, square
from hrviz.scenes.crowd.truth import CrowdTruth
from hrviz.scenes.scene import Height, Scene, SceneSeed, Width, scene

_KEPT = 32  # backdrops, for the next frame

People = Annotated[int, Control("Up: a denser crowd.", 0, 100_000, 1, log=False)]
Frames = Annotated[
    int, Control("Up: a longer film, at 25 frames a second.", 1, 10_000, 1, log=True, basic=False)
]
Sun = Annotated[
    float, Control("Up: darker shadows; 0 is an overcast day without any.", 0.0, 1.0, 0.05)
]


@scene("crowd", title="Crowd", tasks=("counting", "detection", "tracking"),
       small={"width": 1536, "height": 1024, "people": 300})  # fmt: skip
class CrowdScene(Scene):
    """A square full of people, lazily computed.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000. People at the lower edge are 500 px tall in a picture 8,000 px
        high and grow with the square root of its height; a wider picture shows more of the square.
    seed : int
        Another seed, another square and other people.
    people : int
        On and around the square, 0 to 100,000; a few walk in and out at the sides: `truth.label`
        counts those in the picture.
    frames : int
        Length of the film along axis 't', 25 a second.
    sun : float
        Depth of the shadows, 0 to 1.
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 12_000,
        height: Height = 8_000,
        seed: SceneSeed = 7,
        people: People = 3_000,
        frames: Frames = 1,
        sun: Sun = 0.8,
    ) -> None:
        self.setup(
            {"width": width, "height": height, "seed": seed, "people": people, "frames": frames,
             "sun": sun},
            facts={"scene": "crowd (drawn figures)", "seed": str(seed), "people": str(people)},
        )  # fmt: skip
        self._plan = square(height, width, seed)
        self._base = self.uri
        if frames > 1:
            self.axes, self.frame_rate = {"t": frames}, FRAME_RATE
        self.move_to({})

    def move_to(self, at: Mapping[str, int]) -> None:
        """Become the picture at another index (before anything is read)."""
        from hrviz.image.readers import with_index

        self.at = check_index(self.name, self.axes, at)
        self._frame = self.at.get("t", 0)
        self.uri = with_index(self._base, self.at)
        self.identity = f"{self.uri}&version={self.version}"
        p = self.params
        height, width = int(p["height"]), int(p["width"])
        self._crowd_lock = threading.Lock()
        self._crowd: Crowd | None = None
        self.truth = CrowdTruth(height, width, self.crowd)

    def crowd(self) -> Crowd:
        """Everybody at this frame."""
        with self._crowd_lock:
            if self._crowd is None:
                self._crowd = self._people().at(self._frame)
            return self._crowd

    def _people(self) -> Population:
        p = self.params
        return population(int(p["height"]), int(p["width"]), int(p["seed"]), int(p["people"]))

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        n, pixel = self.block, downsample
        y0, x0 = row * n * pixel, column * n * pixel
        rgb = _backdrop(self._plan, float(self.params["sun"]), y0, x0, n, pixel)
        canvas = Canvas(rgb, y0, x0, pixel)
        self._lay_people(canvas, n)
        return canvas.pixels()

    def _lay_people(self, canvas: Canvas, n: int) -> None:
        """Shadows on the ground, then people and things, far to near."""
        crowd, plan, pixel = self.crowd(), self._plan, canvas.pixel
        camera, known = plan.camera, atlas(plan.sun)
        corner = np.array([canvas.y, canvas.x])
        window = np.array([canvas.y, canvas.x, canvas.y + n * pixel, canvas.x + n * pixel])
        if self.params["sun"] > 0:
            flat = (crowd.feet[:, 0] - camera.horizon) / camera.focal
            v0, x0, v1, x1 = shadow_reach(plan.sun)
            y, x, m = crowd.feet[:, 0], crowd.feet[:, 1], crowd.scale
            near = (
                (y - v1 * m * flat < window[2]) & (y - v0 * m * flat > window[0])
                & (x + x0 * m < window[3]) & (x + x1 * m > window[1])
            )  # fmt: skip
            who = np.flatnonzero(near)
            dark = shade(known, plan.sun, n, (crowd.feet[who] - corner) / pixel,
                         crowd.scale[who] / pixel, flat[who], crowd.key[who])  # fmt: skip
            if dark is not None:
                for c in range(3):
                    canvas.rgb[c] *= 1 - dark * np.float32(
                        self.params["sun"] * (1 - furniture.SHADE[c])
                    )
        boxes = crowd.boxes
        near = (boxes[:, :2] < window[2:] + pixel).all(1) & (boxes[:, 2:] > window[:2] - pixel).all(
            1
        )
        who = np.flatnonzero(near)
        palette = self._people().palette[crowd.track[who]]
        air = haze(crowd.z[who], camera)[:, None, None]
        palette = (palette + air * (AIR - palette)).astype(np.float32)
        feet, scale = (crowd.feet[who] - corner) / pixel, crowd.scale[who] / pixel
        local = (boxes[who] - np.tile(corner, 2)) / pixel
        small = camera.focal / crowd.z[who] / pixel <= SHARP
        depth = -crowd.z[who]

        def people(a: int, b: int) -> None:
            last = a + int(small[a:b].sum())  # the farther ones
            lay_small(canvas.rgb, known, feet[a:last], scale[a:last], local[a:last],
                      crowd.key[who[a:last]], palette[a:last])  # fmt: skip
            for k in range(last, b):
                lay_large(
                    canvas.rgb,
                    plan.sun,
                    feet[k],
                    float(scale[k]),
                    int(crowd.key[who[k]]),
                    palette[k],
                )

        done = 0
        for thing in furniture.things_in(plan, canvas):
            upto = int(np.searchsorted(depth, -thing.z))
            people(done, upto)
            done = upto
            furniture.draw_thing(canvas, plan, thing)
        people(done, len(who))


class _Backdrops:
    """The last backdrops: every frame of a film stands before the same ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, plan: Square, sun: float, y0: float, x0: float, n: int, pixel: float
    ) -> np.ndarray:
        """A new float32 copy of a block's backdrop with the shadows of things."""
        key = (plan.camera, plan.seed, sun, y0, x0, n, pixel)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            canvas = Canvas(draw_backdrop(plan, y0, x0, n, pixel), y0, x0, pixel)
            if sun > 0:
                furniture.draw_shadows(canvas, plan, sun)
            found = canvas.rgb.astype(np.float16)
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return found.astype(np.float32)


_backdrop = _Backdrops().get

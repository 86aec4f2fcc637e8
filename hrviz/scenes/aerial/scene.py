"""`scene:aerial`: city, suburbs, fields, woods, water and airports from above.

Streets follow a gently bent lattice; every cell is a suburb, a street block, an industrial estate,
a park or fields, by how urban a smooth noise says the place is. Rivers, lakes and woods are noise
contours. The sun stands in the north-west, so that shadows fall to the south-east. Cars of
4.5 x 1.8 m and airports of kilometres in one picture are the two scales of You Only Look Twice.

What stands in for what: a drawing with known truth. Street blocks come from a small library (so
that coarse levels can show pictures of them), differ by cell in their cars, and are not a real city.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from hrviz.method import Control
from hrviz.scenes.aerial import ground
from hrviz.scenes.aerial.airport import draw_airport
from hrviz.scenes.aerial.boats import boats_near, draw_boats
from hrviz.scenes.aerial.gather import gather
from hrviz.scenes.aerial.things import Pen
from hrviz.scenes.aerial.truth import AerialTruth
from hrviz.scenes.aerial.world import World
from hrviz.scenes.noise import Raster, octaves
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene

Gsd = Annotated[
    float,
    Control("Up: a pixel covers more ground, things look smaller.", 0.1, 2.0, 0.05, unit="m/px",
            title="Ground sampling distance"),
]  # fmt: skip
City = Annotated[float, Control("Up: more of the land is built up.", 0.0, 1.0, 0.05)]
Cars = Annotated[float, Control("Up: more cars on streets and car parks.", 0.0, 1.0, 0.05)]
Boats = Annotated[float, Control("Up: more boats on the water.", 0.0, 1.0, 0.05)]
HasAirport = Annotated[
    Literal["random", "yes", "no"],
    Control("Whether there is an airport: by chance, at least one, or none."),
]


@scene("aerial", title="Aerial image", tasks=("detection", "segmentation", "counting"),
       small={"width": 2048, "height": 2048, "city": 0.8, "airport": "no"})  # fmt: skip
class AerialScene(Scene):
    """A landscape from above, lazily computed.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000 (checked by `open_scene`).
    seed : int
        Another seed, another landscape.
    gsd : float
        Metres a level-0 pixel, 0.1 to 2.
    city : float
        Share of the land that is built up, 0 to 1.
    cars : float
        0: none; 1: car parks are nearly full.
    boats : float
        0: none; 1: many.
    airport : {'random', 'yes', 'no'}
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 30_000,
        height: Height = 30_000,
        seed: SceneSeed = 38,
        gsd: Gsd = 0.3,
        city: City = 0.5,
        cars: Cars = 0.8,
        boats: Boats = 0.5,
        airport: HasAirport = "random",
    ) -> None:
        self.setup(
            {"width": width, "height": height, "seed": seed, "gsd": gsd, "city": city,
             "cars": cars, "boats": boats, "airport": airport},
            pixel_size=gsd * 1e6,
            facts={
                "scene": "aerial (synthetic)",
                "ground sampling distance": f"{gsd:g} m",
                "seed": str(seed),
                "built-up share": f"{city:g}",
            },
        )  # fmt: skip
        self.gsd, self.cars, self.boats = gsd, cars, boats
        self.world = World(height * gsd, width * gsd, seed, city, airport)
        self.truth = AerialTruth(self.world, gsd, cars, boats)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        mpp = downsample * self.gsd
        many = 2 if mpp > 150 else 1  # pixels of a whole cell: several points each
        step, n = mpp / many, BLOCK * many
        y0, x0 = row * BLOCK * mpp, column * BLOCK * mpp
        raster = Raster(y0 + step / 2, x0 + step / 2, n, n, step, step, step)
        picture = self._draw(raster, (y0, x0), step)
        if many > 1:
            picture = picture.reshape(3, BLOCK, many, BLOCK, many).mean(axis=(2, 4))
        out = np.empty((BLOCK, BLOCK, 3), np.uint8)
        for c in range(3):
            out[..., c] = (picture[c] + 0.5).clip(0, 255)
        return out

    def _draw(self, raster: Raster, corner: tuple[float, float], mpp: float) -> np.ndarray:
        world, n = self.world, raster.nx
        g = ground.survey(world, raster)
        leaves = octaves(raster, world.parts(((5.0, 0.6, 100), (2.0, 0.7, 101), (0.9, 0.5, 102))))
        picture = ground.paint(world, g, raster, self.cars)
        picture *= ground.town_tint(world, raster)
        ground.paint_streets(picture, world, g, raster, self.cars)
        ground.paint_woods(picture, world, g, raster, leaves)
        ground.paint_water(picture, world, g, raster)
        box = (corner[0], corner[1], corner[0] + n * mpp, corner[1] + n * mpp)
        pen = Pen(picture, corner, mpp, leaves if mpp < 2 else None)
        if mpp < 12:
            margin = 90.0
            around = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
            draw_boats(pen, boats_near(world, around, self.boats, marinas=mpp < 6))
            if mpp < ground.COARSE:
                pen.everything(gather(world, around, self.cars))
        for airport in world.airports_near(box):
            draw_airport(pen, airport, raster, self.cars)
        if mpp <= 1.0:  # what a sensor adds
            grain = ((2.0, 0.016, 103), (6.0, 0.016, 104))
            parts = [(w * self.gsd, size, world.salt(k)) for w, size, k in grain]
            picture *= 1 + octaves(raster, parts)
        return picture

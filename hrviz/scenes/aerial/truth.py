"""What is where in an aerial image: objects, land cover and airports, exact and lazy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.scenes.aerial import lots
from hrviz.scenes.aerial.airport import Fleet, aircraft_outline, airport_box, runway_classes
from hrviz.scenes.aerial.boats import HULL, boat_polygons, boats_near
from hrviz.scenes.aerial.gather import fleets, gather
from hrviz.scenes.aerial.ground import COARSE, class_raster
from hrviz.scenes.aerial.shapes import quads
from hrviz.scenes.aerial.things import Things
from hrviz.scenes.aerial.world import World
from hrviz.scenes.noise import Raster
from hrviz.scenes.truth import Objects, Truth

OBJECTS = {1: "car", 2: "boat", 3: "aircraft", 4: "building", 5: "airport", 6: "runway"}
CLASSES = {0: "other", lots.ROAD: "road or car park", lots.BUILDING: "building",
           lots.WATER: "water", lots.GREEN: "field or grass", lots.WOOD: "wood",
           lots.RUNWAY: "runway or apron"}  # fmt: skip
MAX_AREA = 16e6  # square metres of a window whose small objects are listed
_REACH = 45.0  # m: half of the largest building or boat


class AerialTruth(Truth):
    """Ground truth of `scene:aerial`; everything in level-0 pixels, (y, x).

    Attributes
    ----------
    label : str
        'airport' or 'no airport'.
    """

    def __init__(self, world: World, gsd: float, cars: float, boats: float) -> None:
        self._world, self._gsd, self._cars, self._boats = world, gsd, cars, boats
        self.label = "airport" if world.airports else "no airport"
        self.labels = ("no airport", "airport")
        self.classes, self.objects = dict(CLASSES), dict(OBJECTS)
        self.kinds = {1: OBJECTS[1]}
        self.knows = frozenset({"label", "mask", "points", "boxes"})

    def _metres(self, box: Box | None, what: str) -> tuple[float, float, float, float]:
        full = Box(0.0, 0.0, self._world.height / self._gsd, self._world.width / self._gsd)
        box = full if box is None else Box(*box).intersect(full)
        area = box.area * self._gsd**2
        if area > MAX_AREA:
            side = int(MAX_AREA**0.5 / self._gsd) // 100 * 100
            raise HrvizError(
                f"the box has {area / 1e6:.0f} square kilometres and {what} are listed for at most "
                f"{MAX_AREA / 1e6:.0f}: ask for a smaller box, e.g. {side} x {side} px"
            )
        y0, x0, y1, x1 = (float(v) * self._gsd for v in box)
        return y0, x0, y1, x1

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the cars in a box (the whole image without one).

        Returns
        -------
        points : numpy.ndarray
            float64 (n, 2), (y, x).
        kinds : numpy.ndarray
            int64 (n,): 1 everywhere, the class of cars in `objects`.

        Raises
        ------
        HrvizError
            When the box has more than 16 square kilometres.
        """
        asked = self._metres(box, "cars")
        cars = self._all_cars(asked)
        return cars[:, :2] / self._gsd, np.ones(len(cars), np.int64)

    def _all_cars(self, asked: tuple[float, float, float, float]) -> np.ndarray:
        wide = (asked[0] - 9, asked[1] - 9, asked[2] + 9, asked[3] + 9)
        parts = [gather(self._world, wide, self._cars).cars]
        parts += [f.things.cars for f in fleets(self._world, wide, self._cars)]
        cars = np.concatenate(parts)
        y, x = cars[:, 0], cars[:, 1]
        return cars[(y >= asked[0]) & (y < asked[2]) & (x >= asked[1]) & (x < asked[3])]

    def boxes(self, box: Box | None = None) -> Objects:
        """Objects that touch a box (all without one), largest first.

        In a box of more than 16 square kilometres only airports and runways are listed.
        """
        gsd = self._gsd
        full = Box(0.0, 0.0, self._world.height / gsd, self._world.width / gsd)
        given = full if box is None else Box(*box).intersect(full)
        asked = (given.y0 * gsd, given.x0 * gsd, given.y1 * gsd, given.x1 * gsd)
        found: list[tuple[int, np.ndarray]] = []
        if given.area * gsd**2 <= MAX_AREA:
            wide = (asked[0] - _REACH, asked[1] - _REACH, asked[2] + _REACH, asked[3] + _REACH)
            found += self._small(wide)
        for airport in self._world.airports_near(asked):
            fence, runway = airport_box(airport)
            found += [(5, fence[None]), (6, runway[None])]
        boxes = np.concatenate([np.empty((0, 4)), *(b for _, b in found)])
        classes = np.concatenate([np.empty(0, np.int64), *(np.full(len(b), c) for c, b in found)])
        high = np.array([self._world.height, self._world.width] * 2)
        boxes = np.clip(boxes, 0, high)
        touch = (boxes[:, 2:] > asked[:2]).all(axis=1) & (boxes[:, :2] < asked[2:]).all(axis=1)
        touch &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, classes = boxes[touch], classes[touch].astype(np.int64)
        order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")
        return Objects(boxes[order] / gsd, classes[order], dict(self.objects))

    def _small(self, area: tuple[float, float, float, float]) -> list[tuple[int, np.ndarray]]:
        world, cars = self._world, self._cars
        here = [gather(world, area, cars)]
        ports: list[Fleet] = fleets(world, area, cars)
        every = Things.join([*here, *(f.things for f in ports)])
        boats = boats_near(
            world, (area[0] - 40, area[1] - 40, area[2] + 40, area[3] + 40), self._boats
        )
        aircraft = np.concatenate([np.empty((0, 6)), *(f.aircraft for f in ports)])
        cars_at, buildings = every.cars, every.buildings
        return [
            (1, _around(quads(cars_at[:, 0], cars_at[:, 1], cars_at[:, 4] / 2, cars_at[:, 5] / 2,
                              cars_at[:, 2]))),
            (2, _around(boat_polygons(boats.boats, HULL))),
            (3, _around(aircraft_outline(aircraft))),
            (4, _around(quads(buildings[:, 0], buildings[:, 1], buildings[:, 2], buildings[:, 3],
                              buildings[:, 4]))),
        ]  # fmt: skip

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Land cover at the pixel centres of a regular raster over a box.

        Parameters
        ----------
        box : Box
            Any box; outside the image is 0.
        size : (int, int)
            Height and width of the raster.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width), keys of `classes`. Where pixels are larger than 2.4 m, streets
            and houses inside the blocks are known to 2 m.
        """
        height, width = size
        out = np.zeros((height, width), np.uint8)
        sy, sx = (box[2] - box[0]) / height, (box[3] - box[1]) / width
        for i in range(0, height, 512):
            for j in range(0, width, 512):
                ny, nx = min(512, height - i), min(512, width - j)
                y, x = box[0] + (i + 0.5) * sy, box[1] + (j + 0.5) * sx
                raster = Raster(y * self._gsd, x * self._gsd, ny, nx, sy * self._gsd,
                                sx * self._gsd, 0.0)  # fmt: skip
                out[i : i + ny, j : j + nx] = self._classes(raster)
        return out

    def _classes(self, raster: Raster) -> np.ndarray:
        world = self._world
        ys, xs = raster.axes()
        out = class_raster(world, raster)
        area = (float(ys[0, 0]), float(xs[0, 0]), float(ys[-1, 0]), float(xs[0, -1]))
        wide = (area[0] - _REACH, area[1] - _REACH, area[2] + _REACH, area[3] + _REACH)
        if max(raster.step, raster.step_x) < COARSE:
            _stamp(out, raster, gather(world, wide, 0.0).buildings)
        for airport in world.airports_near(wide):
            runway_classes(out, airport, ys, xs)
        for port in fleets(world, wide, 0.0):
            _stamp(out, raster, port.things.buildings)
        out[((ys < 0) | (ys >= world.height)) | ((xs < 0) | (xs >= world.width))] = 0
        return out


def _around(corners: np.ndarray) -> np.ndarray:
    """Upright boxes (n, 4) of polygons (n, k, 2)."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)


def _stamp(out: np.ndarray, raster: Raster, buildings: np.ndarray) -> None:
    """Mark the footprints of buildings in a mask."""
    ys, xs = raster.axes()
    index: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.searchsorted
    for b in buildings:
        r = np.hypot(b[2], b[3])
        i0, i1 = index(ys[:, 0], np.array([b[0] - r, b[0] + r]))
        j0, j1 = index(xs[0], np.array([b[1] - r, b[1] + r]))
        if i0 == i1 or j0 == j1:
            continue
        dy, dx = ys[i0:i1] - b[0], xs[:, j0:j1] - b[1]
        cos, sin = np.cos(b[4]), np.sin(b[4])
        inside = (np.abs(dx * cos + dy * sin) < b[2]) & (np.abs(dy * cos - dx * sin) < b[3])
        out[i0:i1, j0:j1][inside] = lots.BUILDING

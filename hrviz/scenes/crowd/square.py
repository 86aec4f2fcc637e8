"""The plan of the square: what stands where, where people walk in lanes, where there is room.

Fixed for a picture's size and seed; the people (`population.py`) move in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.scenes.crowd.camera import AVENUE, Camera

SAMPLES = 256  # of a lane
TONES = 10  # shapes and colours of things of one kind
_CELLS = 350  # of the map of what is taken, from the camera to the facades


@dataclass(frozen=True)
class Lane:
    """A closed way: people go along it and come back on its other side.

    Parameters
    ----------
    points : numpy.ndarray
        float64 (SAMPLES + 1, 2): X, Z at equal distances along it; the last is the first.
    length : float
        Metres.
    half : float
        Half its width, metres.
    """

    points: np.ndarray
    length: float
    half: float


@dataclass(frozen=True)
class Thing:
    """Something that stands on the square.

    Parameters
    ----------
    kind : str
        'tree', 'lamp', 'stall' or 'fountain'.
    x, z : float
        Metres.
    size : float
        Factor on its usual size.
    tone : float
        k / `TONES`: chooses its shape and colour.
    """

    kind: str
    x: float
    z: float
    size: float
    tone: float

    @property
    def radius(self) -> float:
        """Of the ground it takes, metres."""
        return {"tree": 0.7, "lamp": 0.35, "stall": 2.1, "fountain": 6.2}[self.kind] * self.size


class Square:
    """Things, lanes and free ground of a scene.

    Attributes
    ----------
    camera : Camera
    seed : int
    sun : float
        -1: light from the left, 1: from the right.
    avenue : (float, float)
        Left and right side of the street behind the square, metres.
    lanes : list of Lane
    things : list of Thing
        Farthest first.
    """

    def __init__(self, camera: Camera, seed: int) -> None:
        self.camera, self.seed = camera, seed
        rng = np.random.default_rng([seed, 1])
        self.sun = -1.0 if rng.random() < 0.5 else 1.0
        middle = rng.uniform(-4, 4)
        self.avenue = (middle - 11.0, middle + 11.0)
        self._cell = camera.far / _CELLS
        side = float(camera.half_width(np.asarray(camera.far))) * 1.05 + 3
        self._left = -side
        self._taken = np.zeros((_CELLS + 1, math.ceil(2 * side / self._cell) + 1), np.uint8)
        self.lanes = self._lanes(np.random.default_rng([seed, 2]))
        self.things = self._things(np.random.default_rng([seed, 3]))

    # -- what is where ----------------------------------------------------------------------
    def _index(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self._taken.shape
        i = (z / self._cell).astype(np.intp).clip(0, rows - 1)
        return i, ((x - self._left) / self._cell).astype(np.intp).clip(0, columns - 1)

    def taken(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """0 free ground, 1 a lane, 2 a thing (uint8, as many as points)."""
        return np.asarray(self._taken[self._index(x, z)])

    def inside(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Whether points lie on the square and, almost, in the picture."""
        camera = self.camera
        room = camera.half_width(z) * 1.02 + 0.2
        return np.asarray((np.abs(x) < room) & (z > camera.near * 0.98) & (z < camera.far * 0.97))

    def _mark(self, x: float, z: float, radius: float, value: int) -> None:
        n = max(1, math.ceil(radius / self._cell))
        k = np.arange(-n, n + 1) * (radius / n)
        dx, dz = (a.ravel() for a in np.meshgrid(k, k))
        near = dx**2 + dz**2 <= radius**2 * 1.1
        i, j = self._index(x + dx[near], z + dz[near])
        self._taken[i, j] = np.maximum(self._taken[i, j], value)

    # -- making the plan --------------------------------------------------------------------
    def depth(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Random depths on the square: denser near the camera than far from it."""
        low, high = self.camera.near * 1.01, self.camera.far * 0.96
        p = 0.5
        return np.asarray((low**p + rng.random(n) * (high**p - low**p)) ** (1 / p))

    def _lanes(self, rng: np.random.Generator) -> list[Lane]:
        camera = self.camera
        # The longest lanes, and how many it takes, grow with the square.
        longest = max(45.0, 0.16 * camera.far)
        wanted = int(np.clip(26 * camera.width / camera.height * (longest / 60) ** 0.5, 24, 600))
        lanes: list[Lane] = []
        for _ in range(12 * wanted):
            if len(lanes) == wanted:
                break
            z = float(self.depth(rng, 1)[0])
            room = float(camera.half_width(np.asarray(z)))
            x = rng.uniform(-1, 1) * room
            long = rng.uniform(0.2, 0.8) * min(room, longest)
            wide = rng.random() < 0.4
            narrow = rng.uniform(6.0, 16.0) if wide else rng.uniform(3.2, 5.5)
            tilt = rng.normal(0, 0.22) if rng.random() < 0.65 else rng.uniform(0, np.pi)
            bend = rng.uniform(-0.15, 0.15)
            a, b = _stadium(long - narrow, narrow)
            b = b + bend * a * a / long
            px = x + a * np.cos(tilt) - b * np.sin(tilt)
            pz = z + a * np.sin(tilt) + b * np.cos(tilt)
            if long > 1.5 * narrow and self.inside(px, pz).all():
                lanes.append(
                    _lane(px, pz, rng.uniform(0.7, 1.5) + (0.25 * narrow if wide else 0.0))
                )
        for lane in lanes:
            for x, z in lane.points[:: max(1, int(SAMPLES * lane.half / lane.length))]:
                self._mark(x, z, lane.half, 1)
        left, right = self.avenue
        middle = (left + right) / 2
        for low, high in ((0.99, 0.45 * AVENUE), (0.7, 0.85 * AVENUE)):
            low, high = low * camera.far, high * camera.far
            a, b = _stadium((high - low) / 2 - 6.0, 6.0)
            lanes.append(_lane(middle + b, (low + high) / 2 + a, 3.0))
        return lanes

    def _things(self, rng: np.random.Generator) -> list[Thing]:
        camera = self.camera
        things: list[Thing] = []

        def stand(kind: str, x: float, z: float, size: float = 1.0, force: bool = False) -> bool:
            thing = Thing(kind, x, z, size, float(rng.integers(TONES)) / TONES)
            angle = np.arange(16) * (np.pi / 8)
            ring = [(x + r * np.cos(angle), z + r * np.sin(angle)) for r in (0.0, thing.radius)]
            free = all(self.taken(*p).max() == 0 and self.inside(*p).all() for p in ring)
            if free or force:
                things.append(thing)
                self._mark(x, z, thing.radius + 0.4, 2)
            return free

        for _ in range(60):  # one fountain, in the middle distance
            z = camera.near * rng.uniform(3.0, 6.5)
            x = rng.uniform(-0.6, 0.6) * float(camera.half_width(np.asarray(z)))
            if stand("fountain", x, z):
                break
        side = float(camera.half_width(np.asarray(camera.far)))
        for x in np.arange(-side, side, 11.0):  # a row of trees and lamps before the facades
            if not self.avenue[0] - 3 < x < self.avenue[1] + 3:
                stand("tree", x, camera.far * 0.955, float(rng.uniform(0.85, 1.15)))
                stand("lamp", x + 5.5, camera.far * 0.945)
        aspect = camera.width / camera.height
        for kind, n, near in (("stall", 16, 3.2), ("tree", 14, 3.0), ("lamp", 14, 1.9)):
            for _ in range(int(np.clip(n * aspect / 1.5, 4, 400))):
                z = camera.near * (near + (11.0 - near) * float(rng.random()))
                x = rng.uniform(-1, 1) * float(camera.half_width(np.asarray(z)))
                if kind != "stall":
                    stand(kind, x, z, float(rng.uniform(0.85, 1.2)) if kind == "tree" else 1.0)
                elif stand(kind, x, z):  # stalls stand in rows
                    for k in range(1, int(rng.integers(2, 5))):
                        if not stand(kind, x + 5.0 * k, z):
                            break
        return sorted(things, key=lambda t: -t.z)


def _stadium(straight: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A closed way with two straight sides of twice `straight` and round ends."""
    turn = np.linspace(0, np.pi, 33)
    a = np.concatenate([straight + radius * np.sin(turn), -straight - radius * np.sin(turn)])
    b = np.concatenate([radius * np.cos(turn), -radius * np.cos(turn)])
    return np.append(a, a[0]), np.append(b, b[0])


def _lane(x: np.ndarray, z: np.ndarray, half: float) -> Lane:
    """A closed curve at equal distances along it."""
    along = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(z)).cumsum()])
    even = np.linspace(0, along[-1], SAMPLES + 1)
    points = np.stack([np.interp(even, along, x), np.interp(even, along, z)], axis=-1)
    return Lane(points, float(along[-1]), half)


@lru_cache(maxsize=8)
def square(height: int, width: int, seed: int) -> Square:
    """The plan of a scene, made once for all its frames."""
    return Square(Camera(height, width), seed)

"""The plan of a road scene: camera, weather, and what stands where, in metres.

The camera looks along the road from `EYE` m above it: a thing `Z` m away appears `focal / Z` px per
metre large and stands `EYE` such metres below the horizon. `X` is to the right of the camera, which
drives in the right lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.scenes.road.signs import LIMITS, OTHERS, plate_box

EYE = 1.4
LANE = 3.5
LEFT_EDGE, RIGHT_EDGE = -1.5 * LANE, 0.5 * LANE
PLATE = 0.64  # m across the plate of the speed-limit sign
CAR_WIDTH, CAR_HEIGHT = 1.86, 1.5

#: Names of what `truth.boxes` lists; 1 to 3 are the speed limits.
OBJECTS = {1: "speed limit 50", 2: "speed limit 70", 3: "speed limit 80", 4: "other sign", 5: "car"}

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """Colours of one kind of day."""

    top: Colour
    low: Colour
    cloud: Colour
    cloudy: float
    light: Colour
    grass: Colour
    dry: Colour
    shadow: float


WEATHERS = (
    Weather((72, 128, 196), (196, 216, 230), (250, 250, 250), 0.0, (1.0, 1.0, 1.0),
            (92, 122, 54), (158, 152, 84), 0.42),
    Weather((96, 130, 176), (244, 214, 172), (255, 236, 214), 0.15, (1.06, 0.96, 0.84),
            (98, 112, 50), (176, 146, 78), 0.45),
    Weather((148, 162, 178), (206, 212, 216), (232, 234, 236), 0.75, (0.88, 0.90, 0.93),
            (84, 106, 56), (136, 132, 82), 0.18),
    Weather((58, 112, 186), (180, 206, 220), (246, 248, 250), -0.35, (1.02, 1.0, 0.96),
            (110, 128, 58), (186, 168, 90), 0.45),
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """Something that stands on the ground.

    Parameters
    ----------
    kind : str
        Which drawing.
    y, x : float
        Where it meets the ground, level-0 px.
    metre : float
        px per metre there.
    away : float
        Distance Z in metres, for the haze.
    key : int
        Decides its details.
    size : tuple of float
        v0, u0, v1, u1 of what it covers, metres relative to (y, x).
    target : Box or None
        What `truth.boxes` says of it.
    """

    kind: str
    y: float
    x: float
    metre: float
    away: float
    key: int
    size: tuple[float, float, float, float]
    target: Box | None = None

    @property
    def box(self) -> Box:
        v0, u0, v1, u1 = (s * self.metre for s in self.size)
        return Box(self.y + v0, self.x + u0, self.y + v1, self.x + u1)


@dataclass
class World:
    """Everything that a seed decides. `things` are ordered from far to near."""

    height: int
    width: int
    seed: int
    sign: str
    diameter: float
    clutter: int
    horizon: float = 0.0
    vanish: float = 0.0
    focal: float = 0.0
    bend: float = 0.0
    weather: Weather = WEATHERS[0]
    things: list[Thing] = field(default_factory=list)
    sign_box: Box = field(init=False)
    right_edge: float = RIGHT_EDGE
    other: str = OTHERS[0]

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 51])
        h, w = self.height, self.width
        self.horizon = h * rng.uniform(0.42, 0.50)
        self.vanish = w * rng.uniform(0.36, 0.50)
        self.focal = 0.95 * min(w, 1.6 * h)
        self.bend = w * rng.uniform(-0.10, 0.10)
        self.weather = WEATHERS[int(rng.integers(len(WEATHERS)))]
        d = self.diameter
        if d > 0.9 * min(h, w):
            raise HrvizError(
                f"a sign of {d:.0f} px does not fit into {w}x{h}: choose a smaller ratio or a "
                "squarer image"
            )
        self._erect_sign(rng)
        self._populate(np.random.default_rng([self.seed, 52]))
        self.things.sort(key=lambda t: -t.away)

    def middle(self, y: np.ndarray | float) -> np.ndarray:
        """Position x of X = 0 on the rows y at and below the horizon, level-0 px."""
        fall = np.exp(-(np.asarray(y, np.float64) - self.horizon) / (0.07 * self.height))
        return np.asarray(self.vanish + self.bend * fall)

    def ground(self, across: float, away: float) -> tuple[float, float, float]:
        """y, x of a place on the ground, and px per metre there."""
        metre = self.focal / away
        y = self.horizon + EYE * metre
        return y, float(self.middle(y)) + across * metre, metre

    def _erect_sign(self, rng: np.random.Generator) -> None:
        """The sign of interest beside the right lane, as far away as its size says."""
        d = self.diameter
        metre = d / PLATE
        away = self.focal / metre
        y, middle, _ = self.ground(0.0, away)
        room = (self.width - 0.6 * d - middle) / metre
        across = min(RIGHT_EDGE + rng.uniform(1.0, 1.8), room)
        self.right_edge = min(RIGHT_EDGE, across - 0.7)
        half = d / 2
        cx = float(np.clip(middle + across * metre, half, self.width - half))
        up = rng.uniform(2.05, 2.35) * metre
        cy = float(np.clip(y - up, half, self.height - half))
        self.sign_box = Box(cy - half, cx - half, cy + half, cx + half)
        self.other = OTHERS[int(rng.integers(len(OTHERS)))]
        kind = self.other if self.sign == "none" else self.sign
        v0, u0, v1, u1 = plate_box(kind)
        target = Box(cy + v0 * half, cx + u0 * half, cy + v1 * half, cx + u1 * half)
        reach = (cy - half - y) / metre, -half / metre, 0.08, half / metre
        self.things.append(Thing(f"sign {kind}", y, cx, metre, away, 0, reach, target))

    def _populate(self, rng: np.random.Generator) -> None:
        """Signs, cars, then trees, houses and poles where they hide none of those."""
        for _ in range(self.clutter):
            for _ in range(12):
                if self._free(thing := self._clutter(rng)):
                    self.things.append(thing)
                    break
        in_view = [(t.box.grown(0.2 * t.metre), t.away) for t in self.things]
        for thing in self._scenery(rng):
            if all(thing.away > z or thing.box.intersect(box).area == 0 for box, z in in_view):
                self.things.append(thing)

    def _free(self, thing: Thing) -> bool:
        """Whether a sign or car is in the picture and overlaps no other (post included)."""
        box = thing.box
        inside = box.y0 >= 0 and box.x0 >= 0 and box.y1 <= self.height and box.x1 <= self.width
        return inside and all(
            box.grown(0.1 * thing.metre).intersect(t.box).area == 0 for t in self.things
        )

    def _clutter(self, rng: np.random.Generator) -> Thing:
        away = math.exp(rng.uniform(math.log(13), math.log(110)))
        key = int(rng.integers(2**31))
        if rng.random() < 0.35:
            return self._car(rng, away, key)
        left = rng.random() < 0.5
        across = LEFT_EDGE - rng.uniform(0.9, 3) if left else self.right_edge + rng.uniform(0.9, 4)
        y, x, metre = self.ground(across, away)
        if rng.random() < 0.22:  # a board with a place's name
            size = (-3.4, -1.5, 0.08, 1.5)
            target = Box(y - 3.4 * metre, x - 1.5 * metre, y - 2.4 * metre, x + 1.5 * metre)
            return Thing("board", y, x, metre, away, key, size, target)
        kind = OTHERS[int(rng.integers(len(OTHERS)))]
        half, up = PLATE / 2 * rng.uniform(0.9, 1.3), rng.uniform(2.0, 2.5)
        v0, u0, v1, u1 = (e * half for e in plate_box(kind))
        target = Box(y + (v0 - up) * metre, x + u0 * metre, y + (v1 - up) * metre, x + u1 * metre)
        return Thing(
            f"sign {kind}", y, x, metre, away, key, (-up - half, -half, 0.08, half), target
        )

    def _car(self, rng: np.random.Generator, away: float, key: int) -> Thing:
        """Oncoming in the left lane, or seen from behind in ours."""
        oncoming = rng.random() < 0.6
        y, x, metre = self.ground((-LANE if oncoming else 0.0) + rng.uniform(-0.25, 0.25), away + 6)
        half = CAR_WIDTH / 2
        target = Box(y - CAR_HEIGHT * metre, x - half * metre, y, x + half * metre)
        size = (-CAR_HEIGHT - 0.05, -half - 0.4, 0.35, half + 0.4)
        kind = "car front" if oncoming else "car back"
        return Thing(kind, y, x, metre, away + 6, key, size, target)

    def _scenery(self, rng: np.random.Generator) -> list[Thing]:
        out = []

        def stand(
            kind: str, across: float, away: float, size: tuple[float, float, float, float]
        ) -> None:
            y, x, metre = self.ground(across, away)
            key = int(rng.integers(2**31))
            thing = Thing(kind, y, x, metre, away, key, size)
            if thing.box.x1 > 0 and thing.box.x0 < self.width:
                out.append(thing)

        spruces = rng.uniform(0.2, 0.8)
        for _ in range(int(rng.integers(26, 60))):
            side = 1 if rng.random() < 0.5 else -1
            away = math.exp(rng.uniform(math.log(24), math.log(320)))
            edge = RIGHT_EDGE if side > 0 else -LEFT_EDGE
            across = side * (edge + 4.5 + rng.exponential(14) + 0.05 * away)
            if rng.random() < spruces:
                tall = rng.uniform(8, 17)
                stand("spruce", across, away, (-tall, -0.24 * tall, 0.3, 0.24 * tall))
            else:
                tall = rng.uniform(5, 12)
                stand("tree", across, away, (-tall, -0.46 * tall, 0.3, 0.46 * tall))
        for _ in range(int(rng.integers(20, 50))):
            side = 1 if rng.random() < 0.5 else -1
            edge = RIGHT_EDGE if side > 0 else -LEFT_EDGE
            away = math.exp(rng.uniform(math.log(9), math.log(120)))
            low = rng.uniform(0.4, 1.5)
            across = side * (edge + 2.6 + rng.exponential(7))
            stand("bush", across, away, (-low, -1.1 * low, 0.1, 1.1 * low))
        for _ in range(int(rng.integers(0, 4))):
            side = 1 if rng.random() < 0.5 else -1
            away = rng.uniform(55, 190)
            stand("house", side * rng.uniform(14, 40) + (-2 if side < 0 else 2), away,
                  (-7.2, -5.6, 0.3, 5.6))  # fmt: skip
        if rng.random() < 0.7:
            first = rng.uniform(10, 35)
            for k in range(12):
                stand("pole", LEFT_EDGE - 4.2, first + 34 * k, (-8.2, -1.0, 0.3, 1.0))
        first = rng.uniform(6, 20)
        for k in range(10):
            for across in (LEFT_EDGE - 0.75, self.right_edge + 0.6):
                stand("delineator", across, first + 24 * k, (-1.0, -0.12, 0.05, 0.12))
        return out


def class_of(thing: Thing) -> int:
    """Key in `OBJECTS` of a thing with a target."""
    kind = thing.kind.removeprefix("sign ")
    if kind in LIMITS:
        return 1 + LIMITS.index(kind)
    return 5 if kind.startswith("car") else 4

"""Airports: runway, taxiways, apron with aircraft on their stands, terminal, car park.

An airport is rigid: all lengths are metres from its centre, v across and u along the runway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.scenes.aerial import lots
from hrviz.scenes.aerial.shapes import SHADOW, SHADOW_LENGTH, Layer
from hrviz.scenes.aerial.things import SHADE, Pen, Things
from hrviz.scenes.aerial.world import AIRPORT_HALF, Airport
from hrviz.scenes.noise import Raster, octaves, uniform

REACH = math.hypot(*AIRPORT_HALF)
RUNWAY = (-330.0, 0.0, 1400.0, 23.0)  # v, u, half length along u, half width
_TAXI = (-150.0, 0.0, 1400.0, 11.5)
_TARMAC, _CONCRETE = np.array([88.0, 89.0, 92.0]), np.array([164.0, 162.0, 156.0])
_TAXIWAY = np.array([112.0, 112.0, 112.0])
_WHITE, _YELLOW = np.array([224.0, 224.0, 220.0]), np.array([206.0, 178.0, 84.0])
_GRASS = np.array([122.0, 132.0, 84.0], np.float32)
_LIVERIES = np.array([(232, 234, 236), (240, 240, 238), (226, 230, 236), (214, 218, 224)], float)
_TAILS = np.array([(40, 66, 128), (168, 40, 44), (32, 110, 92), (214, 150, 40), (90, 92, 100),
                   (120, 160, 206)], float)  # fmt: skip


@dataclass(frozen=True)
class Fleet:
    """What stands on an airport, in metres of the world.

    Attributes
    ----------
    aircraft : numpy.ndarray
        (n, 6): y, x, direction of the nose, length, livery and tail as numbers in [0, 1).
    things : Things
        Terminal, hangars, cars.
    """

    aircraft: np.ndarray
    things: Things


def _world(airport: Airport, table: np.ndarray, turn: int | None) -> np.ndarray:
    """Rows that start with (v, u) to places (y, x)."""
    out = table.copy()
    cos, sin = math.cos(airport.turn), math.sin(airport.turn)
    v, u = table[:, 0], table[:, 1]
    out[:, 0] = airport.y + v * cos + u * sin
    out[:, 1] = airport.x + u * cos - v * sin
    if turn is not None:
        out[:, turn] += airport.turn
    return out


@lru_cache(maxsize=64)
def fleet(airport: Airport, cars: float) -> Fleet:
    """Aircraft, buildings and cars of an airport."""
    rng = np.random.default_rng(airport.key)
    planes: list[tuple[float, ...]] = []
    long = rng.uniform(380, 640)
    piers = [p for p in (-0.62, 0.0, 0.62) if rng.random() < 0.8 or p == 0.0]
    site = lots.Lot(((0, 0, 0), 0))
    lots.flat_roof(site, rng, 262, 0, long, 30, 18, (196, 198, 200))
    for s in np.arange(-long + 40, long - 20, 80):
        site.details.append((262, s, 22, 18, 0.0, (150, 166, 178)))
    for p in piers:
        u = p * long
        lots.flat_roof(site, rng, 168, u, 13, 64, 13, (188, 190, 192))
        for side in (-1, 1):
            for v in (118.0, 166.0, 214.0):
                if rng.random() < 0.78:
                    size = rng.uniform(34, 44)
                    planes.append((v, u + side * (20 + size / 2), 0.0 if side < 0 else np.pi, size))
    for u in np.arange(-long + 20, long - 10, 58).tolist():
        if all(abs(u - p * long) > 82 for p in piers) and rng.random() < 0.75:
            size = rng.uniform(36, 62)
            planes.append((226 - size / 2, u, np.pi / 2, size))
    # Taxiing, and one on the runway now and then.
    planes.append((_TAXI[0], rng.uniform(-900, 900), rng.choice([0.0, np.pi]), 38.0))
    if rng.random() < 0.6:
        planes.append((RUNWAY[0], rng.uniform(-1100, -500), 0.0, 44.0))
    for k, u in enumerate((long + 130, long + 250, -long - 150)):
        lots.flat_roof(site, rng, 150, u, 48, 36, 22, (178 + 6 * k, 182, 186))
        for du in (-24, 24):
            if rng.random() < 0.6:
                planes.append((92, u + du, rng.choice([-1, 1]) * np.pi / 2, rng.uniform(18, 30)))
    site.rounds.append((236.0, long + 30, 7.0, 42.0, (206, 206, 202), 0.0))
    lots.parking(site, 312, -long, 312 + 102, long, 0.8, rng)
    for u in np.arange(-long - 300, long + 300, 11).tolist():
        for v in (424.0, 306.0):
            if rng.random() < 0.6 and (v > 400 or abs(u) > long + 20):
                lots.tree(site, rng, v, u + rng.uniform(-3, 3))
    drawn = np.array([(*c, (k * 0.618034) % 1) for k, c in enumerate(site.cars)], float)
    drawn = drawn.reshape(-1, 7)
    number = np.arange(len(drawn)).astype(np.uint32) * np.uint32(2654435761)
    number ^= np.uint32(airport.key)
    keep = uniform(number, 1) < drawn[:, 3] * cars
    drawn[:, 6] = uniform(number, 2)

    def table(rows: list[list[float]], k: int) -> np.ndarray:
        return np.array(rows, float).reshape(-1, k)

    things = Things(
        _world(airport, table([[*b[:7], *b[7]] for b in site.buildings], 10), 4),
        _world(airport, table([[*r[:4], *r[4], r[5]] for r in site.rounds], 8), None),
        _world(airport, drawn[keep], 2),
        _world(airport, table([[*m[:5], *m[5]] for m in site.marks], 8), 4),
        _world(airport, table([[*m[:5], *m[5]] for m in site.details], 8), 4),
    )
    rows = np.array(planes, float).reshape(-1, 4)
    rows = np.hstack([rows, rng.random((len(rows), 2))])
    return Fleet(_world(airport, rows, 2), things)


@lru_cache(maxsize=64)
def _paving(airport: Airport) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pavements and their markings: (rectangles y, x, a, b, turn; colours) from bottom to top."""
    rv, ru, rl, rw = RUNWAY
    tv, tu, tl, tw = _TAXI
    base: list[tuple] = []
    mark: list[tuple] = []
    for u in np.linspace(-rl + 60, rl - 60, 6):
        base.append(((rv + tv) / 2, u, (tv - rv) / 2, 11.5, np.pi / 2, *_TAXIWAY))
        mark.append(((rv + tv) / 2, u, (tv - rv) / 2, 0.2, np.pi / 2, *_YELLOW))
    for u in (-900.0, -420.0, 60.0, 540.0, 980.0):
        base.append(((tv + 70) / 2, u, (70 - tv) / 2, 11.5, np.pi / 2, *_TAXIWAY))
        mark.append(((tv + 70) / 2, u, (70 - tv) / 2, 0.2, np.pi / 2, *_YELLOW))
    base.append((165, 0, 1050, 100, 0.0, *_CONCRETE))
    for s in np.arange(-1040, 1050, 30.0):  # joints of the slabs
        mark.append((165, s, 100, 0.12, np.pi / 2, *(_CONCRETE * 0.9)))
    for s in np.arange(75, 262, 30.0):
        mark.append((s, 0, 1050, 0.12, 0.0, *(_CONCRETE * 0.9)))
    base.append((362, 0, 690, 55, 0.0, 112, 111, 112))
    base.append((528, 0, 112, 9, np.pi / 2, *_TARMAC))
    mark.append((528, 0, 112, 0.15, np.pi / 2, *_WHITE))
    base.append((tv, tu, tl, tw, 0.0, *_TAXIWAY))
    mark.append((tv, tu, tl, 0.2, 0.0, *_YELLOW))
    base.append((rv, ru, rl + 60, rw + 7, 0.0, *(_TARMAC * 1.12)))
    base.append((rv, ru, rl, rw, 0.0, *_TARMAC))
    for side in (-1, 1):
        mark.append((rv + side * (rw - 1), ru, rl, 0.45, 0.0, *_WHITE))
        for k in range(-6, 6):  # threshold
            mark.append((rv + (k + 0.5) * 3.4, side * (rl - 24), 15, 0.9, 0.0, *_WHITE))
        for k in range(3):  # touchdown zone
            for v in (-9.0, 9.0):
                far = rl - 300 - 150 * k
                mark.append((rv + v, side * far, 22 if k == 0 else 11, 2.6 - 0.5 * k, 0.0, *_WHITE))
        # Rubber of landings.
        mark.append((rv, side * (rl - 380), 190, 5.0, 0.0, *(_TARMAC * 0.78)))
    for u in np.arange(-rl + 75, rl - 60, 50):
        mark.append((rv, u, 15, 0.45, 0.0, *_WHITE))
    out = []
    for rows in (base, mark):
        table = _world(airport, np.array(rows, float), 4)
        out.append((table[:, :5], table[:, 5:]))
    return tuple(out)


def draw_airport(pen: Pen, airport: Airport, raster: Raster, cars: float) -> None:
    """Paint an airport over whatever is there."""
    side = math.ceil(2 * REACH / pen.mpp) + 4
    if side >= pen.n:
        _draw_airport(pen, airport, raster, cars)
        return
    # Small in this block: painted on a cut-out of it, which may stick out of the block.
    i = math.floor((airport.y - pen.corner[0]) / pen.mpp) - side // 2
    j = math.floor((airport.x - pen.corner[1]) / pen.mpp) - side // 2
    i0, i1, j0, j1 = max(i, 0), min(i + side, pen.n), max(j, 0), min(j + side, pen.n)
    if i1 <= i0 or j1 <= j0:
        return
    cut = np.zeros((3, side, side), np.float32)
    cut[:, i0 - i : i1 - i, j0 - j : j1 - j] = pen.picture[:, i0:i1, j0:j1]
    corner = (pen.corner[0] + i * pen.mpp, pen.corner[1] + j * pen.mpp)
    part = Raster(raster.y + i * pen.mpp, raster.x + j * pen.mpp, side, side, raster.step,
                  raster.step_x, raster.box)  # fmt: skip
    _draw_airport(Pen(cut, corner, pen.mpp, None), airport, part, cars)
    pen.picture[:, i0:i1, j0:j1] = cut[:, i0 - i : i1 - i, j0 - j : j1 - j]


def _draw_airport(pen: Pen, airport: Airport, raster: Raster, cars: float) -> None:
    ys, xs = raster.axes()
    outside = airport.outside(ys, xs).astype(np.float32)
    if outside.min() > raster.box:
        return
    cover = np.clip(0.5 - outside / max(raster.box, 2.0), 0, 1)
    v, _ = airport.local(ys, xs)
    mown = 1 + 0.03 * np.sin(v * (2 * np.pi / 26)) * np.sinc(raster.box / 26)
    tone = octaves(raster, [(120.0, 0.05, airport.key & 0xFFFF), (23.0, 0.03, 7), (4.0, 0.02, 8)])
    for c in range(3):
        pen.picture[c] += cover * (_GRASS[c] * mown * (1 + tone) - pen.picture[c])
    mpp, worn = pen.mpp, 1 + octaves(raster, [(60.0, 0.02, 9), (9.0, 0.02, 11), (2.0, 0.02, 12)])
    for k, (shape, colour) in enumerate(_paving(airport)):
        order = [slice(i, i + 1) for i in range(len(shape))] if k == 0 else [slice(None)]
        for part in order:  # pavements overlap: one over the other
            layer, s = Layer(pen.n), shape[part]
            y, x = pen.at(s)
            layer.rectangles(y, x, s[:, 2] / mpp, s[:, 3] / mpp, s[:, 4], colour[part])
            found = layer.sums()
            if found is not None:
                over = np.maximum(found[0], 1)
                pen.picture *= 1 - found[0] / over
                pen.picture += found[1] / over * worn
    if mpp > 60:
        return
    here = fleet(airport, cars)
    pen.everything(here.things)
    draw_aircraft(pen, here.aircraft)


#: Half outlines in lengths of the aircraft, (forward, right), mirrored; convex pieces.
_WING = np.array([(0.10, 0.05), (-0.10, 0.49), (-0.15, 0.49), (-0.08, 0.05)])
_TAIL = np.array([(-0.37, 0.02), (-0.46, 0.18), (-0.495, 0.18), (-0.47, 0.02)])
_BODY = np.array([(0.38, -0.052), (-0.30, -0.052), (-0.30, 0.052), (0.38, 0.052)])
_NOSE = np.array([(0.38, -0.052), (0.38, 0.052), (0.46, 0.035), (0.50, 0.0), (0.46, -0.035)])
_REAR = np.array([(-0.30, 0.052), (-0.30, -0.052), (-0.50, -0.014), (-0.50, 0.014)])
_ENGINE = np.array([(0.10, 0.15), (0.10, 0.19), (-0.01, 0.19), (-0.01, 0.15)])
_FIN = np.array([(-0.36, -0.008), (-0.49, -0.012), (-0.49, 0.012), (-0.36, 0.008)])


def aircraft_polygons(aircraft: np.ndarray, shape: np.ndarray, mirror: bool) -> np.ndarray:
    """A convex piece (k, 2) of all aircraft in metres of the world, (n, k, 2)."""
    cos, sin = np.cos(aircraft[:, 2])[:, None], np.sin(aircraft[:, 2])[:, None]
    f = shape[:, 0] * aircraft[:, 3:4]
    r = (-shape[:, 1] if mirror else shape[:, 1]) * aircraft[:, 3:4]
    return np.stack(
        [aircraft[:, :1] + f * sin + r * cos, aircraft[:, 1:2] + f * cos - r * sin], axis=-1
    )


def aircraft_outline(aircraft: np.ndarray) -> np.ndarray:
    """Corners of all pieces of all aircraft in metres of the world, (n, k, 2)."""
    pieces = (_BODY, _NOSE, _REAR, _WING, _TAIL)
    corners = [aircraft_polygons(aircraft, p, m) for p in pieces for m in (False, True)]
    return np.concatenate(corners, axis=1)


def draw_aircraft(pen: Pen, aircraft: np.ndarray) -> None:
    """Aircraft with the shadow of their wings."""
    if not len(aircraft):
        return
    corner = np.array(pen.corner)
    hull = _LIVERIES[(aircraft[:, 4] * len(_LIVERIES)).astype(int)]
    tail = _TAILS[(aircraft[:, 5] * len(_TAILS)).astype(int)]

    def piece(shape: np.ndarray, mirror: bool = False) -> np.ndarray:
        return np.asarray((aircraft_polygons(aircraft, shape, mirror) - corner) / pen.mpp)

    def layer(parts: list[tuple[np.ndarray, np.ndarray]]) -> Layer:
        made = Layer(pen.n)
        for corners, colour in parts:
            made.polygons(corners, colour)
        return made

    body = [(_BODY, hull), (_NOSE, hull), (_REAR, hull)]
    wings = [(_WING, hull * 0.9), (_TAIL, hull * 0.88)]
    one = np.ones((len(aircraft), 1))
    offset = SHADOW * SHADOW_LENGTH * 4.5 / pen.mpp
    cast = [(piece(s) + offset, one) for s, _ in (*body, *wings)]
    cast += [(piece(s, True) + offset, one) for s, _ in wings]
    layer(cast).darken(pen.picture, SHADE)
    engines = [(piece(_ENGINE, m), hull * 0.62) for m in (False, True)]
    layer(engines).onto(pen.picture)
    both = [(piece(s, m), c) for s, c in wings for m in (False, True)]
    layer(both).onto(pen.picture)
    layer([(piece(s), c) for s, c in body]).onto(pen.picture)
    narrow = _BODY * (0.98, 0.45)
    layer([(piece(narrow), np.minimum(hull * 1.06, 250))]).onto(pen.picture)
    layer([(piece(_FIN), tail)]).onto(pen.picture)


def airport_box(airport: Airport) -> tuple[np.ndarray, np.ndarray]:
    """Upright boxes (y0, x0, y1, x1) in metres of the fence and of the runway."""
    out = []
    rv, ru, rl, rw = RUNWAY
    for v0, u0, v1, u1 in (
        (-AIRPORT_HALF[0], -AIRPORT_HALF[1], AIRPORT_HALF[0], AIRPORT_HALF[1]),
        (rv - rw, ru - rl, rv + rw, ru + rl),
    ):
        corners = np.array([(v0, u0), (v0, u1), (v1, u1), (v1, u0)])
        placed = _world(airport, corners, None)
        out.append(np.concatenate([placed.min(axis=0), placed.max(axis=0)]))
    return out[0], out[1]


def runway_classes(out: np.ndarray, airport: Airport, ys: np.ndarray, xs: np.ndarray) -> None:
    """Grass and pavements of an airport in a mask, at points ys (n, 1) and xs (1, m)."""
    i0, i1 = np.searchsorted(ys[:, 0], [airport.y - REACH, airport.y + REACH])
    j0, j1 = np.searchsorted(xs[0], [airport.x - REACH, airport.x + REACH])
    if i0 == i1 or j0 == j1:
        return
    ys, xs, out = ys[i0:i1], xs[:, j0:j1], out[i0:i1, j0:j1]
    inside = airport.outside(ys, xs) < 0
    out[inside] = lots.GREEN
    shape, _ = _paving(airport)[0]
    for y, x, a, b, turn in shape:
        cos, sin = math.cos(turn), math.sin(turn)
        dy, dx = ys - y, xs - x
        on = (np.abs(dx * cos + dy * sin) < a) & (np.abs(dy * cos - dx * sin) < b)
        out[on & inside] = lots.RUNWAY

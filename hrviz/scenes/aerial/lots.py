"""What stands on a cell: a small library of street blocks, the same in every picture.

A lot is a cell of `CELL` x `CELL` metres with its corner at (0, 0): streets, lawns and car parks as
upright rectangles painted in order, and buildings, trees, cars and markings as arrays. Which lot a
cell gets is the seed's choice. Because there are few, coarse levels show small pictures of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np

from hrviz.scenes.aerial.world import CELL, CITY, DOWNTOWN, FIELD, INDUSTRY, PARK, SUBURB

ROAD, BUILDING, WATER, GREEN, WOOD, RUNWAY = 1, 2, 3, 4, 5, 6
ASPHALT = (98, 98, 101)
PAVING = (166, 162, 154)
LAWN = (104, 121, 72)
POOL = (92, 168, 186)
GABLE, FLAT = 0, 1
EDGE = 10.0  # half the street between two cells and its pavement
_TILES = ((148, 92, 72), (132, 84, 68), (160, 108, 84), (112, 92, 80), (104, 102, 104),
          (86, 84, 88), (128, 122, 116), (146, 128, 108))  # fmt: skip
_FLATS = ((186, 182, 174), (160, 156, 150), (136, 132, 128), (206, 203, 196), (118, 114, 112),
          (172, 158, 138), (150, 140, 128), (142, 106, 90))  # fmt: skip
_CROWNS = ((62, 84, 46), (72, 94, 52), (54, 74, 44), (84, 102, 56), (92, 98, 52))
CAR = (4.5, 1.8)


@dataclass
class Lot:
    """Things on a cell, in metres from its corner.

    Attributes
    ----------
    base : tuple
        Colour of the ground, and its class of the mask.
    ground : list
        (v0, u0, v1, u1, colour, class), painted in order.
    buildings : list
        (v, u, half along, half across, turn, height, kind, colour).
    rounds : list
        (v, u, r, height, colour, leafy): trees and tanks.
    cars : list
        (v, u, turn, chance, length, width): places where one may stand.
    marks : list
        (v, u, half along, half across, turn, colour) painted on the ground.
    details : list
        The same, on top of flat roofs.
    """

    base: tuple[tuple[int, int, int], int]
    ground: list[tuple] = field(default_factory=list)
    buildings: list[tuple] = field(default_factory=list)
    rounds: list[tuple] = field(default_factory=list)
    cars: list[tuple] = field(default_factory=list)
    marks: list[tuple] = field(default_factory=list)
    details: list[tuple] = field(default_factory=list)

    def turned(self) -> Lot:
        """The same with v and u exchanged."""
        quarter = np.pi / 2
        return Lot(
            self.base,
            [(u0, v0, u1, v1, *r) for v0, u0, v1, u1, *r in self.ground],
            [(u, v, a, b, quarter - t, *r) for v, u, a, b, t, *r in self.buildings],
            [(u, v, *r) for v, u, *r in self.rounds],
            [(u, v, quarter - t, *r) for v, u, t, *r in self.cars],
            [(u, v, a, b, quarter - t, c) for v, u, a, b, t, c in self.marks],
            [(u, v, a, b, quarter - t, c) for v, u, a, b, t, c in self.details],
        )


def _pick(rng: np.random.Generator, palette: tuple, spread: float = 9.0) -> tuple:
    colour = np.array(palette[rng.integers(len(palette))]) + rng.normal(0, spread)
    return tuple(np.clip(colour + rng.normal(0, spread / 3, 3), 20, 235))


def tree(lot: Lot, rng: np.random.Generator, v: float, u: float, r: float | None = None) -> None:
    """A tree of radius `r`, or of any."""
    r = rng.uniform(1.8, 4.6) if r is None else r
    lot.rounds.append((v, u, r, 1.5 * r, _pick(rng, _CROWNS, 6), 1.0))


def _avenue(lot: Lot, rng: np.random.Generator, v: float, share: float, step: float = 13) -> None:
    """Street trees along u."""
    for u in np.arange(16, CELL - 12, step):
        if rng.random() < share:
            tree(lot, rng, v, u + rng.uniform(-2, 2), rng.uniform(2.0, 3.6))


def _kerb_cars(lot: Lot, v: float, u0: float, u1: float, chance: float) -> None:
    for u in np.arange(u0 + 5, u1 - 5, 6.2):
        lot.cars.append((v, u, 0.0, chance, *CAR))


def parking(
    lot: Lot, v0: float, u0: float, v1: float, u1: float, chance: float, rng: np.random.Generator
) -> None:
    """A car park with double rows of bays along u and aisles between."""
    lot.ground.append((v0, u0, v1, u1, (112, 111, 112), ROAD))
    v = v0 + 1.5
    while v + 16.5 <= v1 + 1.5:
        for dv, turn in ((2.4, np.pi / 2), (13.6, -np.pi / 2)):
            for u in np.arange(u0 + 2.6, u1 - 2.4, 2.6):
                wobble = rng.normal(0, 0.12, 2)
                turned = turn + rng.normal(0, 0.02)
                lot.cars.append((v + dv + wobble[0], u + wobble[1], turned, chance, *CAR))
                lot.marks.append((v + dv, u - 1.3, 2.4, 0.07, turn, (214, 214, 210)))
        v += 16.0


def _gable(
    lot: Lot, v: float, u: float, a: float, b: float, turn: float, height: float, colour: tuple
) -> None:
    lot.buildings.append((v, u, a, b, turn, height, GABLE, colour))


def flat_roof(
    lot: Lot, rng: np.random.Generator, v: float, u: float, a: float, b: float, height: float,
    colour: tuple | None = None, turn: float = 0.0,
) -> None:  # fmt: skip
    """A flat roof with its machines."""
    colour = _pick(rng, _FLATS) if colour is None else colour
    lot.buildings.append((v, u, a, b, turn, height, FLAT, colour))
    for _ in range(int(rng.integers(1, 5 + int(a * b / 90)))):
        size = rng.uniform(0.7, 2.4, 2)
        dv, du = rng.uniform(-0.75, 0.75, 2) * (b - 2, a - 2)
        shade = rng.choice([78, 120, 196, 216])
        lot.details.append((v + dv, u + du, *size, turn, (shade, shade, shade + 3)))


def _suburb(rng: np.random.Generator) -> Lot:
    lot = Lot((LAWN, GREEN))
    streets = (62.0, 178.0)
    gardens = []
    # Four rows of houses, two on each street, whose gardens meet in the middle.
    for v, side, street in (
        (36.0, -1, 62.0),
        (91.0, 1, 62.0),
        (149.0, -1, 178.0),
        (204.0, 1, 178.0),
    ):
        u = EDGE + 2
        while u < CELL - EDGE - 14:
            width = min(rng.uniform(17, 29), CELL - EDGE - 2 - u)
            green = np.array(LAWN) + rng.normal(0, 9) + rng.normal(0, 4, 3) * (1.6, 1, 0.6)
            deep = v + side * (25 if abs(v - 120) > 50 else 29)
            gardens.append((*_span(street, deep), u, u + width, tuple(green), GREEN))
            u += width
            _house(lot, rng, v, side, street, u - width, width)
    lot.ground = [(v0, u0, v1, u1, c, k) for v0, v1, u0, u1, c, k in [*gardens, *lot.ground]]
    for street in streets:
        lot.ground.append((street - 5.4, 0, street + 5.4, CELL, PAVING, ROAD))
        lot.ground.append((street - 3.6, 0, street + 3.6, CELL, ASPHALT, ROAD))
        for side in (-1, 1):
            _kerb_cars(lot, street + side * 2.6, EDGE, CELL - EDGE, 0.16)
            _avenue(lot, rng, street + side * 6.4, rng.uniform(0.1, 0.5))
    return lot


def _span(a: float, b: float) -> tuple[float, float]:
    return min(a, b), max(a, b)


def _house(
    lot: Lot, rng: np.random.Generator, v: float, side: int, street: float, u: float, width: float
) -> None:
    middle = u + width / 2
    at = v - side * rng.uniform(1, 6)
    a, b = min(rng.uniform(5.5, 9.5), width / 2 - 2.2), rng.uniform(4.2, 6.2)
    turn = rng.normal(0, 0.03) + (np.pi / 2 if rng.random() < 0.3 and width > 20 else 0.0)
    colour, height = _pick(rng, _TILES), rng.uniform(5, 8.5)
    drive = u + width - rng.uniform(3.2, 4.6)
    lot.ground.append((*_span(street, at), drive - 1.6, drive + 1.6, _pick(rng, (PAVING,), 10), 0))
    for k in range(2):
        lot.cars.append((street + side * (9.0 + 5.6 * k), drive, np.pi / 2, 0.38, *CAR))
    _gable(lot, at, middle - 1.2, a, b, turn, height, colour)
    if rng.random() < 0.45:  # a wing across the house
        _gable(lot, at + side * b * 0.7, middle - 1.2 + rng.choice([-1, 1]) * a * 0.5,
               b * 0.9, a * 0.38, turn + np.pi / 2, height * 0.9, colour)  # fmt: skip
    garden = v + side * 14
    if rng.random() < 0.15:
        pool = middle + rng.uniform(-3, 3)
        lot.ground.append((garden - 4, garden + 4, pool - 5, pool + 5, PAVING, 0))
        lot.ground.append((garden - 2.4, garden + 2.4, pool - 3.6, pool + 3.6, POOL, 0))
    elif rng.random() < 0.3:
        shed = _pick(rng, _TILES)
        _gable(lot, garden + side * 5, u + 4, 2.2, 1.6, 0.0, 2.5, shed)
    for _ in range(int(rng.integers(2, 8))):
        tree(lot, rng, garden + rng.uniform(-7, 12) * side, u + rng.uniform(2, width - 2))
    if rng.random() < 0.5:  # a hedge between neighbours
        for w in np.arange(4, 22, 1.5):
            r = rng.uniform(0.8, 1.2)
            lot.rounds.append((v + side * w, u + 0.5, r, 1.4, _pick(rng, _CROWNS, 4), 1.0))
    if rng.random() < 0.35:
        tree(lot, rng, at - side * (b + 4.5), u + rng.uniform(3, width - 7))


def _blocks(rng: np.random.Generator, lot: Lot, rows: int, columns: int, street: float) -> list:
    """Divide a cell by inner streets; returns the blocks (v0, u0, v1, u1)."""

    def cuts(n: int) -> list[tuple[float, float]]:
        inner = np.sort((np.arange(1, n) / n + rng.uniform(-0.06, 0.06, n - 1)) * CELL)
        edges = [EDGE, *inner, CELL - EDGE]
        gaps = [0.0, *[street / 2 + 2.5] * (n - 1), 0.0]
        return [(edges[k] + gaps[k], edges[k + 1] - gaps[k + 1]) for k in range(n)]

    vs, us = cuts(rows), cuts(columns)
    for before, after in pairwise(vs):
        v = (before[1] + after[0]) / 2
        lot.ground.append((v - street / 2, 0, v + street / 2, CELL, ASPHALT, ROAD))
        lot.marks.extend((v, u, 1.5, 0.08, 0.0, (206, 204, 196)) for u in np.arange(14, 228, 7))
        for side in (-1, 1):
            _kerb_cars(lot, v + side * (street / 2 - 1.2), EDGE + 3, CELL - EDGE - 3, 0.55)
            _avenue(lot, rng, v + side * (street / 2 + 1.4), rng.uniform(0, 0.6))
    for before, after in pairwise(us):
        u = (before[1] + after[0]) / 2
        lot.ground.append((0, u - street / 2, CELL, u + street / 2, ASPHALT, ROAD))
    # Nobody parks on a crossing.
    crossings = [(b[1] + a[0]) / 2 for b, a in pairwise(us)]
    lot.cars = [c for c in lot.cars if all(abs(c[1] - u) > street / 2 + 5 for u in crossings)]
    return [(v0, u0, v1, u1) for v0, v1 in vs for u0, u1 in us]


def _city(rng: np.random.Generator) -> Lot:
    lot = Lot((PAVING, 0))
    columns = 3 if rng.random() < 0.4 else 2
    for v0, u0, v1, u1 in _blocks(rng, lot, int(rng.integers(2, 4)), columns, 9.0):
        if rng.random() < 0.06:
            _square(lot, rng, v0, u0, v1, u1)
            continue
        if rng.random() < 0.10:
            lot.ground.append((v0, u0, v1, u1, (150, 147, 141), 0))
            parking(lot, v0 + 2, u0 + 2, v1 - 2, u1 - 2, 0.62, rng)
            continue
        deep = min(rng.uniform(12, 16), (v1 - v0) / 2 - 3)
        court = (128, 128, 104) if rng.random() < 0.6 else (140, 136, 130)
        lot.ground.append((v0 + 4, u0 + 4, v1 - 4, u1 - 4, court, 0))
        for v in (v0 + deep / 2, v1 - deep / 2):
            _row(lot, rng, u0, u1, v, deep, along_v=False)
        if v1 - v0 > 2 * deep + 22:
            for u in (u0 + deep / 2, u1 - deep / 2):
                _row(lot, rng, v0 + deep, v1 - deep, u, deep, along_v=True)
        _courtyard(lot, rng, v0 + deep, u0 + deep, v1 - deep, u1 - deep)
    return lot


def _courtyard(
    lot: Lot, rng: np.random.Generator, v0: float, u0: float, v1: float, u1: float
) -> None:
    """Sheds, workshops, lawns and trees behind the houses."""
    if v1 - v0 < 10 or u1 - u0 < 10:
        return
    lot.ground.append(
        (v0 + 3, u0 + 3, v1 - 3, u1 - 3, _pick(rng, ((112, 122, 80), (146, 142, 134))), 0)
    )
    split = (u0 + u1) / 2 + rng.uniform(-4, 4)
    lot.ground.append(
        (v0 + 3, split, v1 - 3, u1 - 3, _pick(rng, ((118, 126, 84), (134, 131, 126))), 0)
    )
    if v1 - v0 > 34 and u1 - u0 > 34:
        for v in np.arange(v0 + 16, v1 - 14, 24):
            u = rng.uniform(u0 + 17, u1 - 17)
            a, b = rng.uniform(7, 11), rng.uniform(4.5, 7)
            if rng.random() < 0.5:
                _gable(
                    lot,
                    v,
                    u,
                    a,
                    b,
                    rng.choice([0.0, np.pi / 2]),
                    rng.uniform(4, 9),
                    _pick(rng, _TILES),
                )
            else:
                flat_roof(lot, rng, v, u, a, b, rng.uniform(3.5, 9))
    for _ in range(int((v1 - v0) * (u1 - u0) / 110)):
        tree(lot, rng, rng.uniform(v0 + 3, v1 - 3), rng.uniform(u0 + 3, u1 - 3))


def _row(
    lot: Lot, rng: np.random.Generator, a: float, b: float, at: float, deep: float, *, along_v: bool
) -> None:
    """Houses wall to wall from a to b along v or u; `at` is the other coordinate of their middles."""
    p = a
    tiled = rng.random() < 0.55
    while b - p > 5:
        width = rng.uniform(9, 22)
        if b - p - width < 8:
            width = b - p
        if rng.random() > 0.04:
            v, u = (p + width / 2, at) if along_v else (at, p + width / 2)
            half, turn = width / 2 - 0.15, np.pi / 2 if along_v else 0.0
            height = rng.uniform(11, 19)
            if tiled and rng.random() < 0.8:
                _gable(lot, v, u, half, deep / 2, turn, height, _pick(rng, _TILES, 11))
            else:
                flat_roof(lot, rng, v, u, half, deep / 2, height, turn=turn)
        p += width


def _square(lot: Lot, rng: np.random.Generator, v0: float, u0: float, v1: float, u1: float) -> None:
    lot.ground.append((v0, u0, v1, u1, (112, 126, 78), GREEN))
    v, u = (v0 + v1) / 2, (u0 + u1) / 2
    lot.ground.append((v - 1.5, u0, v + 1.5, u1, (184, 174, 150), 0))
    lot.ground.append((v0, u - 1.5, v1, u + 1.5, (184, 174, 150), 0))
    lot.rounds.append((v, u, 5.0, 0.4, (188, 180, 160), 0.0))
    lot.rounds.append((v, u, 3.4, 0.0, (88, 130, 142), 0.0))
    for _ in range(int((v1 - v0) * (u1 - u0) / 110)):
        tv, tu = rng.uniform(v0 + 3, v1 - 3), rng.uniform(u0 + 3, u1 - 3)
        if min(abs(tv - v), abs(tu - u)) > 4:
            tree(lot, rng, tv, tu, rng.uniform(2.5, 4.8))


def _downtown(rng: np.random.Generator) -> Lot:
    lot = Lot((PAVING, 0))
    for v0, u0, v1, u1 in _blocks(rng, lot, 2, 2, 13.0):
        kind = rng.random()
        if kind < 0.12:
            _square(lot, rng, v0, u0, v1, u1)
            continue
        lot.ground.append((v0, u0, v1, u1, _pick(rng, ((176, 172, 164), (156, 152, 148))), 0))
        n = 1 if kind < 0.3 else 2
        sv, su = (v1 - v0) / n, (u1 - u0) / n
        for i in range(n):
            for j in range(n):
                v, u = v0 + (i + 0.5) * sv, u0 + (j + 0.5) * su
                if n == 2 and rng.random() < 0.12:
                    parking(lot, v - sv / 2 + 3, u - su / 2 + 3, v + sv / 2 - 3, u + su / 2 - 3,
                             0.7, rng)  # fmt: skip
                    continue
                a, b = su / 2 * rng.uniform(0.68, 0.95), sv / 2 * rng.uniform(0.68, 0.95)
                height = rng.uniform(18, 40)
                colour = _pick(rng, _FLATS)
                flat_roof(lot, rng, v, u, a, b, height, colour)
                if rng.random() < 0.6:  # a tower on a podium
                    shade = _pick(rng, ((150, 158, 166), (120, 128, 136), (190, 186, 178)))
                    flat_roof(lot, rng, v, u, a * rng.uniform(0.5, 0.8), b * rng.uniform(0.5, 0.8),
                          height + rng.uniform(15, 50), shade)  # fmt: skip
        for _ in range(8):
            tree(lot, rng, rng.choice([v0 + 1, v1 - 1]), rng.uniform(u0, u1), rng.uniform(1.8, 3))
    return lot


def _industry(rng: np.random.Generator) -> Lot:
    lot = Lot(((150, 148, 142), 0))
    white = ((206, 206, 204), (182, 186, 188), (158, 164, 168), (196, 188, 174), (120, 136, 148))
    for v0, u0, v1, u1 in _blocks(rng, lot, 2, int(rng.integers(1, 3)), 10.0):
        middle = u0 + (u1 - u0) * rng.uniform(0.42, 0.62)
        left, right = (u0 + 3, middle - 3), (middle + 3, u1 - 3)
        if rng.random() < 0.5:
            left, right = right, left
        lot.ground.append((v0, u0, v1, u1, (134, 136, 110), GREEN))
        lot.ground.append((v0 + 4, u0 + 4, v1 - 4, u1 - 4, (142, 140, 136), 0))
        v, u = (v0 + v1) / 2, sum(left) / 2
        a, b = (left[1] - left[0]) / 2 - 5, (v1 - v0) / 2 - rng.uniform(7, 12)
        if rng.random() < 0.2:  # tanks
            for tv in np.arange(v0 + 16, v1 - 12, 24):
                for tu in np.arange(left[0] + 12, left[1] - 10, 24):
                    r = rng.uniform(7.5, 10)
                    lot.rounds.append((tv, tu, r, 9.0, _pick(rng, ((214, 212, 206),), 8), 0.0))
        else:
            colour = _pick(rng, white)
            flat_roof(lot, rng, v, u, a, b, rng.uniform(8, 14), colour)
            # Skylights, and lorries at the gates.
            for s in np.arange(-b + 5, b - 3, 8):
                shade = tuple(np.array(colour) * 0.86)
                lot.details.append((v + s, u, a - 3, 0.7, 0.0, shade))
            gates = left[1] if left[0] < right[0] else left[0]
            toward = 1 if left[0] < right[0] else -1
            for tv in np.arange(v - b + 4, v + b - 3, 4.4):
                lot.cars.append((tv, gates - toward * 0.5, 0.0, 0.3, 9.0, 2.5))
        lot.ground.append((v0 + 4, right[0], v1 - 4, right[1], (120, 119, 118), ROAD))
        parking(lot, v0 + 7, right[0] + 2, v1 - 6, right[1] - 2, rng.uniform(0.45, 0.85), rng)
        for w in np.arange(u0 + 4, u1 - 3, 9):
            tree(lot, rng, v0 + 1.5, w + rng.uniform(-2, 2), rng.uniform(1.5, 2.6))
    return lot


def _park(rng: np.random.Generator) -> Lot:
    lot = Lot(((108, 126, 74), GREEN))
    v, u = rng.uniform(80, 160, 2)
    path = (190, 178, 150)
    lot.ground.append((v - 2, EDGE, v + 2, CELL - EDGE, path, 0))
    lot.ground.append((EDGE, u - 2, CELL - EDGE, u + 2, path, 0))
    fv, fu = (v + CELL) / 2, u / 2
    taken = []
    if CELL - v > 90 and u > 100:
        _pitch(lot, fv, fu)
        taken.append((fv - 40, fu - 58, fv + 40, fu + 58))
    pv, pu, r = v / 2, (u + CELL) / 2, rng.uniform(16, 24)
    for k in range(7):
        angle = k * 0.9
        lot.rounds.append((pv + 0.6 * r * np.sin(angle), pu + r * np.cos(angle),
                           r * rng.uniform(0.5, 0.8), 0.0, (70, 94, 92), 0.0))  # fmt: skip
    taken.append((pv - 1.7 * r, pu - 2 * r, pv + 1.7 * r, pu + 2 * r))
    for _ in range(420):
        tv, tu = rng.uniform(EDGE + 2, CELL - EDGE - 2, 2)
        grove = np.sin(tv / 21 + 1) * np.sin(tu / 27 + 2) + rng.normal(0, 0.25)
        free = all(not (a < tv < c and b < tu < d) for a, b, c, d in taken)
        if free and grove > 0.15 and abs(tv - v) > 4 and abs(tu - u) > 4:
            tree(lot, rng, tv, tu, rng.uniform(2.4, 5.0))
    return lot


def _pitch(lot: Lot, v: float, u: float) -> None:
    """A football pitch of 105 x 68 m, scaled to fit, mown in stripes."""
    a, b, white = 48.0, 31.0, (226, 228, 220)
    for k in range(12):
        shade = (92, 128, 66) if k % 2 else (104, 140, 74)
        left = u - a + k * a / 6
        lot.ground.append((v - b, left, v + b, left + a / 6, shade, GREEN))
    for dv, du, p, q in ((-b, 0, a, 0.12), (b, 0, a, 0.12), (0, -a, 0.12, b), (0, a, 0.12, b),
                         (0, 0, 0.12, b), (0, -a + 15, 0.12, 18), (0, a - 15, 0.12, 18),
                         (-18, -a + 7.5, 7.5, 0.12), (18, -a + 7.5, 7.5, 0.12),
                         (-18, a - 7.5, 7.5, 0.12), (18, a - 7.5, 7.5, 0.12)):  # fmt: skip
        lot.marks.append((v + dv, u + du, p, q, 0.0, white))


_MAKERS = {SUBURB: _suburb, CITY: _city, DOWNTOWN: _downtown, INDUSTRY: _industry, PARK: _park}


@lru_cache(maxsize=128)
def lot(zone: int, variant: int) -> Lot:
    """The lot of a zone's variant; odd variants are turned by exchanging v and u."""
    if zone == FIELD:
        return Lot(((0, 0, 0), GREEN))
    made = _MAKERS[zone](np.random.default_rng([2024, zone, variant]))
    return made.turned() if variant % 2 else made

"""Everything that stands or drives in a window, as arrays of metres; and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.scenes.aerial import lots
from hrviz.scenes.aerial.shapes import SHADOW, SHADOW_LENGTH, Layer, quads
from hrviz.scenes.aerial.world import CELL, Cell
from hrviz.scenes.noise import uniform

#: Columns of the tables below; all places and lengths in metres.
#: buildings: y, x, half along, half across, turn, height, kind, red, green, blue
#: rounds: y, x, radius, height, red, green, blue, leafy
#: cars: y, x, turn, chance of standing there, length, width, a number in [0, 1) for its colour
#: marks, details: y, x, half along, half across, turn, red, green, blue
_COLUMNS = {"buildings": 10, "rounds": 8, "cars": 7, "marks": 8, "details": 8}
TALL = 24.0  # m: buildings that cast their shadow on others
_FINE = 0.9  # m/px up to which cars have windows
_PAINTS = np.array(
    [(226, 226, 224), (232, 232, 230), (186, 188, 190), (150, 152, 156), (104, 106, 110),
     (58, 60, 64), (40, 42, 46), (62, 80, 116), (52, 68, 98), (142, 52, 46), (168, 66, 54),
     (168, 152, 120), (84, 102, 92), (206, 198, 182), (120, 126, 134), (214, 190, 92)],
    float,
)  # fmt: skip
_GLASS = np.array([46.0, 52.0, 60.0])
SHADE = np.array([0.46, 0.50, 0.58])


@dataclass
class Things:
    """Tables of things, one row each (see `_COLUMNS`)."""

    buildings: np.ndarray
    rounds: np.ndarray
    cars: np.ndarray
    marks: np.ndarray
    details: np.ndarray

    @staticmethod
    def join(parts: Iterable[Things]) -> Things:
        parts = list(parts)
        return Things(
            *(
                np.concatenate([np.empty((0, k)), *(getattr(p, name) for p in parts)])
                for name, k in _COLUMNS.items()
            )
        )


@lru_cache(maxsize=128)
def on_lot(zone: int, variant: int) -> Things:
    """The things of a lot in its own coordinates, (v, u) in metres."""
    made = lots.lot(zone, variant)

    def table(rows: list[list[float]], k: int) -> np.ndarray:
        return np.array(rows, float).reshape(-1, k)

    return Things(
        table([[*b[:7], *b[7]] for b in made.buildings], 10),
        table([[*r[:4], *r[4], r[5]] for r in made.rounds], 8),
        table([[*c[:4], c[4], c[5], (k * 0.618034) % 1] for k, c in enumerate(made.cars)], 7),
        table([[*m[:5], *m[5]] for m in made.marks], 8),
        table([[*m[:5], *m[5]] for m in made.details], 8),
    )


def on_cell(cell: Cell, cars: float) -> Things:
    """The things of a cell where they are in the world; nothing in water, woods or an airport."""
    lot = on_lot(cell.zone, cell.variant)
    free = min(cell.water.min(), cell.wood.min()) > 40
    out = []
    for name in _COLUMNS:
        table = getattr(lot, name).copy()
        v, u = table[:, 0].copy(), table[:, 1].copy()
        if name == "cars":
            number = np.arange(len(table)).astype(np.uint32) * np.uint32(2654435761)
            draw = number ^ np.uint32(cell.key)
            keep = uniform(draw, 1) < table[:, 3] * cars
            table, v, u = table[keep], v[keep], u[keep]
            table[:, 6] = uniform(draw[keep], 2)
        if not free:
            water, wood = cell.place(v, u, cell.water, cell.wood)
            reach = {"buildings": 16.0, "marks": 5.0, "details": 16.0}.get(name, 6.0)
            keep = (water > 12 + reach) & (wood > reach)
            table, v, u = table[keep], v[keep], u[keep]
        table[:, 0], table[:, 1] = cell.place(v, u, cell.y, cell.x)
        turn, scale = cell.bend(v, u)
        if name == "cars":
            table[:, 2] += turn
        else:  # streets and gardens are stretched by the bend: so are houses, but not cars
            table[:, 2] *= scale
        if name in ("buildings", "marks", "details"):
            table[:, 3] *= scale
            table[:, 4] += turn
        out.append(table)
    return Things(*out)


_EDGE_LANES = ((-5.2, np.pi), (-1.8, np.pi), (1.8, 0.0), (5.2, 0.0))


def edge_cars(cell: Cell, kinds: tuple[int, int], cars: float) -> np.ndarray:
    """Cars on the streets along the two edges of a cell at u = 0 and v = 0.

    `kinds` of the two: 0 no street, 1 a country road, 2 a street of four lanes.
    """
    rows = []
    for edge, kind in enumerate(kinds):
        if kind == 0:
            continue
        lanes = _EDGE_LANES if kind == 2 else ((-1.6, np.pi), (1.6, 0.0))
        for lane, (offset, heading) in enumerate(lanes):
            slots = np.arange(12, dtype=np.uint32)
            salt = (97 * edge + 31 * lane + 5) & 0xFFFF
            draw = (slots * np.uint32(40503) + np.uint32(salt)) * np.uint32(2654435761)
            draw = draw ^ np.uint32(cell.key)
            there = uniform(draw, 3) < (0.34 if kind == 2 else 0.05) * cars
            along = 16 + (slots[there] + 0.7 * uniform(draw[there], 4)) * 17.5
            across = np.full(len(along), offset)
            right = np.pi / 2 - heading if edge == 0 else heading
            # Traffic keeps to the right: along v the sides change over.
            v, u = (along, -across) if edge == 0 else (across, along)
            lorry = uniform(draw[there], 6) < 0.07
            rows.append(
                np.stack(
                    [v, u, np.full(len(v), right), np.ones(len(v)), np.where(lorry, 10.0, 4.5),
                     np.where(lorry, 2.5, 1.8), uniform(draw[there], 5)], axis=-1,
                )
            )  # fmt: skip
    table = np.concatenate([np.empty((0, 7)), *rows])
    v, u = table[:, 0], table[:, 1]
    water, wood = cell.place(v, u, cell.water, cell.wood)
    keep = (water > 16) & (wood > 8)
    table = table[keep]
    v, u = table[:, 0].copy(), table[:, 1].copy()
    table[:, 0], table[:, 1] = cell.place(v, u, cell.y, cell.x)
    table[:, 2] += cell.bend(v, u)[0]
    return table


class Pen:
    """Draws things onto a block: metres to pixels of the block.

    Parameters
    ----------
    picture : numpy.ndarray
        float32 (3, n, n), changed in place.
    corner : (float, float)
        Place of the block's corner, metres (y, x).
    mpp : float
        Metres a pixel.
    leaves : numpy.ndarray or None
        (n, n) noise that frays the crowns of trees.
    """

    def __init__(
        self,
        picture: np.ndarray,
        corner: tuple[float, float],
        mpp: float,
        leaves: np.ndarray | None = None,
    ) -> None:
        self.picture, self.corner, self.mpp, self.leaves = picture, corner, mpp, leaves
        self.n = picture.shape[-1]

    def at(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (table[:, 0] - self.corner[0]) / self.mpp, (table[:, 1] - self.corner[1]) / self.mpp

    def shift(self, height: np.ndarray) -> np.ndarray:
        return height[:, None] * (SHADOW * SHADOW_LENGTH / self.mpp)

    def marks(self, table: np.ndarray, strength: float = 0.8) -> None:
        """Flat rectangles."""
        layer, (y, x) = Layer(self.n), self.at(table)
        shown = np.full(len(table), strength)
        layer.rectangles(
            y, x, table[:, 2] / self.mpp, table[:, 3] / self.mpp, table[:, 4], table[:, 5:8], shown
        )
        layer.onto(self.picture)

    def everything(self, things: Things) -> None:
        """Shadows, then cars, low roofs, trees, then what is tall with its own shadow."""
        self.marks(things.marks)
        tall = things.buildings[:, 5] > TALL
        low = things.buildings[~tall]
        shadow = Layer(self.n)
        self._cast(shadow, low)
        self._round_shadows(shadow, things.rounds)
        self._car_shadows(shadow, things.cars)
        shadow.darken(self.picture, SHADE)
        self.cars(things.cars)
        self._roofs(low)
        if self.mpp < 4:
            on_tall = self._on(things.details, things.buildings[tall])
            self._details(things.details[~on_tall])
        self._rounds(things.rounds)
        if tall.any():
            for from_, to in ((TALL, 45.0), (45.0, 1e9)):
                pick = tall & (things.buildings[:, 5] > from_) & (things.buildings[:, 5] <= to)
                shadow = Layer(self.n)
                self._cast(shadow, things.buildings[pick])
                shadow.darken(self.picture, SHADE)
                self._roofs(things.buildings[pick])
            if self.mpp < 4:
                self._details(things.details[on_tall])

    @staticmethod
    def _on(details: np.ndarray, buildings: np.ndarray) -> np.ndarray:
        """Which details lie on one of the buildings."""
        on = np.zeros(len(details), bool)
        for b in buildings:
            dy, dx = details[:, 0] - b[0], details[:, 1] - b[1]
            cos, sin = np.cos(b[4]), np.sin(b[4])
            on |= (np.abs(dx * cos + dy * sin) < b[2]) & (np.abs(dy * cos - dx * sin) < b[3])
        return on

    def _corners(self, table: np.ndarray) -> np.ndarray:
        y, x = self.at(table)
        return quads(y, x, table[:, 2] / self.mpp, table[:, 3] / self.mpp, table[:, 4])

    def _cast(self, layer: Layer, buildings: np.ndarray) -> None:
        one = np.ones((len(buildings), 1))
        layer.polygons(self._corners(buildings), one, self.shift(buildings[:, 5]))

    def _round_shadows(self, layer: Layer, rounds: np.ndarray) -> None:
        high = rounds[rounds[:, 3] > 0.2]
        y, x = self.at(high)
        shift = self.shift(high[:, 3]) * np.where(high[:, 7:] > 0, 0.55, 0.8)
        r = high[:, 2] / self.mpp
        layer.rounds(y + shift[:, 0], x + shift[:, 1], r, np.ones((len(high), 1)),
                     ragged=self.leaves, strength=np.where(high[:, 7] > 0, 0.85, 1.0))  # fmt: skip

    def _car_shadows(self, layer: Layer, cars: np.ndarray) -> None:
        if self.mpp > 1.3:
            return
        y, x = self.at(cars)
        shift = self.shift(np.full(len(cars), 0.75))
        length, width = cars[:, 4] / 2 / self.mpp, cars[:, 5] / 2 / self.mpp
        layer.rectangles(y + shift[:, 0], x + shift[:, 1], length, width, cars[:, 2],
                         np.ones((len(cars), 1)), np.full(len(cars), 0.8))  # fmt: skip

    def cars(self, cars: np.ndarray) -> None:
        """Bodies; near enough, with windows and roofs."""
        paint = _PAINTS[(cars[:, 6] * len(_PAINTS)).astype(int).clip(0, len(_PAINTS) - 1)]
        y, x = self.at(cars)
        turn, length, width = cars[:, 2], cars[:, 4] / 2 / self.mpp, cars[:, 5] / 2 / self.mpp
        fine = self.mpp < _FINE
        # What the windows cover, where they are too small to draw.
        body = paint if fine else paint * 0.66 + _GLASS * 0.34
        layer = Layer(self.n)
        layer.rectangles(y, x, length, width, turn, body, cars[:, 3])
        layer.onto(self.picture)
        if not fine:
            return
        cos, sin = np.cos(turn), np.sin(turn)
        for forward, half, across, colour in (
            (-0.07, 0.62, 0.84, _GLASS[None] * np.ones((len(cars), 1))),
            (-0.10, 0.36, 0.76, np.minimum(paint * 1.06, 250)),
        ):
            layer = Layer(self.n)
            layer.rectangles(y + forward * length * sin, x + forward * length * cos, half * length,
                             across * width, turn, colour, cars[:, 3])  # fmt: skip
            layer.onto(self.picture)

    def _roofs(self, buildings: np.ndarray) -> None:
        layer = Layer(self.n)
        flat = buildings[buildings[:, 6] == lots.FLAT]
        layer.polygons(self._corners(flat), flat[:, 7:10] * (0.84 if self.mpp < 1.6 else 0.97))
        gable = buildings[buildings[:, 6] == lots.GABLE]
        for side in (-1.0, 1.0):
            half = gable.copy()
            out_y, out_x = side * np.cos(gable[:, 4]), -side * np.sin(gable[:, 4])
            half[:, 0] += out_y * gable[:, 3] / 2
            half[:, 1] += out_x * gable[:, 3] / 2
            half[:, 3] /= 2
            lit = 1 - 0.26 * (out_y * SHADOW[0] + out_x * SHADOW[1])
            layer.polygons(self._corners(half), gable[:, 7:10] * lit[:, None])
        layer.onto(self.picture)
        if self.mpp < 1.6 and len(flat):  # a parapet: the roof proper lies inside its rim
            inner = flat.copy()
            inner[:, 2:4] = np.maximum(inner[:, 2:4] - 0.7, 0.5)
            layer = Layer(self.n)
            layer.polygons(self._corners(inner), flat[:, 7:10])
            layer.onto(self.picture)

    def _details(self, table: np.ndarray) -> None:
        if self.mpp < 1.3:
            shadow = Layer(self.n)
            small = table[table[:, 2] < 4]
            shadow.polygons(self._corners(small), np.ones((len(small), 1)),
                            self.shift(np.full(len(small), 1.2)))  # fmt: skip
            shadow.darken(self.picture, SHADE * 1.2)
        self.marks(table, 1.0)

    def _rounds(self, rounds: np.ndarray) -> None:
        for leafy, domed in ((0, 0.10), (1, 0.24)):
            some = rounds[rounds[:, 7] == leafy]
            y, x = self.at(some)
            layer = Layer(self.n)
            layer.rounds(y, x, some[:, 2] / self.mpp, some[:, 4:7], domed=domed,
                         ragged=self.leaves if leafy else None)  # fmt: skip
            layer.onto(self.picture)


@lru_cache(maxsize=256)
def lot_ground(zone: int, variant: int) -> tuple[np.ndarray, np.ndarray]:
    """Ground of a lot: rectangles (n, 4) as v0, u0, v1, u1, and colours with class (n, 4)."""
    made = lots.lot(zone, variant)
    base = [(0.0, 0.0, CELL, CELL, *made.base), *made.ground]
    rows = np.array([g[:4] for g in base], float)
    return rows, np.array([[*g[4], g[5]] for g in base], float)

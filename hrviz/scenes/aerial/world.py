"""The plan of the landscape: bent lattice of streets, town and country, water, woods, airports.

Streets follow a lattice of cells of `CELL` metres that is gently bent: a place (y, x) in metres has
lattice coordinates (v, u) = (y, x) + smooth noise. Each cell has a zone by how urban the noise says
it is. Water and woods are the insides of noise contours. All of it is a function of place and seed.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hrviz.scenes.noise import Raster, lattice_hash, mix, octaves, uniform

CELL = 240.0
NODES = 4  # nodes a side where a cell's bend and surroundings are known exactly
ZONES = ("field", "suburb", "city", "downtown", "industry", "park")
FIELD, SUBURB, CITY, DOWNTOWN, INDUSTRY, PARK = range(6)
VARIANTS = (1, 20, 20, 12, 12, 6)
AIRPORT_CELL = 7000.0
AIRPORT_HALF = (640.0, 1750.0)  # across and along the runway, m
_COLUMN = np.uint32(0x85EBCA6B)
_BEND = ((4200.0, 250.0, 10), (1300.0, 42.0, 11))
_RIVER = ((9000.0, 1.0, 20), (3000.0, 0.30, 21), (1000.0, 0.07, 22), (300.0, 0.012, 23))
_LAKE = ((5200.0, 1.0, 30), (1700.0, 0.32, 31), (500.0, 0.07, 32))
_WOOD = ((3300.0, 0.9, 40), (1000.0, 0.6, 41), (320.0, 0.28, 42), (110.0, 0.09, 43))
_URBAN = ((6500.0, 1.0, 50), (2200.0, 0.4, 51))
_INDUSTRY = ((2600.0, 1.0, 55),)


def lattice_row(iy: np.ndarray, salt: int) -> np.ndarray:
    """The part of `noise.lattice_hash` that belongs to the row."""
    return mix(iy.astype(np.uint32) + np.uint32(salt * 0x9E3779B1 & 0xFFFFFFFF))


def scattered(y: np.ndarray, x: np.ndarray, parts: list[tuple[float, float, int]]) -> np.ndarray:
    """`noise.octaves` at scattered points, without averaging over a footprint, float64."""
    out = np.zeros(y.shape)
    for wavelength, amplitude, salt in parts:
        taps, nodes = [], []
        for p in (y / wavelength, x / wavelength):
            i = np.floor(p)
            t = p - i
            taps.append(
                ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
            )
            nodes.append(i.astype(np.int64))
        # The hash of `lattice_hash`, with its halves computed once for the four taps.
        rows = [lattice_row(nodes[0] + (a - 1), salt) for a in range(4)]
        columns = [(nodes[1] + (b - 1)).astype(np.uint32) * _COLUMN for b in range(4)]
        for a in range(4):
            for b in range(4):
                value = uniform(mix(rows[a] ^ columns[b]))
                out += taps[0][a] * taps[1][b] * (value - 0.5) * (7.2 * amplitude / 36)
    return out


@dataclass(frozen=True)
class Cell:
    """One cell of the lattice: what is on it, and where its `NODES` x `NODES` nodes lie.

    Attributes
    ----------
    zone, variant : int
    key : int
        uint32 hash of the cell.
    y, x : numpy.ndarray
        Nodes in metres, (NODES, NODES), rows along v.
    water, wood : numpy.ndarray
        At the nodes: about the distance in metres to the shore and to the edge of the wood,
        negative inside.
    """

    zone: int
    variant: int
    key: int
    y: np.ndarray
    x: np.ndarray
    water: np.ndarray
    wood: np.ndarray

    def place(self, v: np.ndarray, u: np.ndarray, *fields: np.ndarray) -> list[np.ndarray]:
        """Bilinear values at places (v, u) in metres from the cell's corner."""
        step = CELL / (NODES - 1)
        p, q = v / step, u / step
        i, j = p.astype(int).clip(0, NODES - 2), q.astype(int).clip(0, NODES - 2)
        s, t = p - i, q - j
        return [
            (f[i, j] * (1 - t) + f[i, j + 1] * t) * (1 - s)
            + (f[i + 1, j] * (1 - t) + f[i + 1, j + 1] * t) * s
            for f in fields
        ]

    def bend(self, v: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far the bend turns things at places of the cell, radians, and how it scales them."""
        d = 1.0
        y0, x0 = self.place(v, u - d, self.y, self.x)
        y1, x1 = self.place(v, u + d, self.y, self.x)
        y2, x2 = self.place(v - d, u, self.y, self.x)
        y3, x3 = self.place(v + d, u, self.y, self.x)
        turn = (np.arctan2(y1 - y0, x1 - x0) - np.arctan2(x3 - x2, y3 - y2)) / 2
        area = (y3 - y2) * (x1 - x0) - (y1 - y0) * (x3 - x2)
        return turn, np.sqrt(np.abs(area)) / (2 * d)


@dataclass(frozen=True)
class Airport:
    """An airport: its centre in metres, the direction of its runway and a hash."""

    y: float
    x: float
    turn: float
    key: int

    def local(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres across and along the runway from the centre."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        dy, dx = y - self.y, x - self.x
        return dy * cos - dx * sin, dx * cos + dy * sin

    def outside(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Distance to the fence in metres, negative inside."""
        v, u = self.local(y, x)
        p, q = np.abs(v) - AIRPORT_HALF[0], np.abs(u) - AIRPORT_HALF[1]
        return np.where(
            (p > 0) & (q > 0), np.hypot(np.maximum(p, 0), np.maximum(q, 0)), np.maximum(p, q)
        )


class World:
    """The plan.

    Parameters
    ----------
    height, width : float
        Of the picture, metres.
    seed : int
    city : float
        Share of the land that is built up.
    airport : str
        'random', 'yes' (at least one) or 'no'.
    """

    def __init__(self, height: float, width: float, seed: int, city: float, airport: str) -> None:
        self.height, self.width, self.seed, self.city = height, width, seed, city
        share = min(max(city, 1e-4), 1 - 1e-4)
        self.threshold = -NormalDist().inv_cdf(share) * math.hypot(1.0, 0.4)
        self.airports = self._airports(airport)
        self._cells: OrderedDict[tuple[int, int], Cell] = OrderedDict()
        self._lock = threading.Lock()

    def salt(self, number: int) -> int:
        return (self.seed * 1_000_003 + number * 7919 + 17) & 0x7FFFFFFF

    def parts(self, parts: tuple[tuple[float, float, int], ...]) -> list[tuple[float, float, int]]:
        return [(w, size, self.salt(number)) for w, size, number in parts]

    def _shifted(
        self, parts: tuple[tuple[float, float, int], ...], by: int
    ) -> list[tuple[float, float, int]]:
        return [(w, size, self.salt(number + by)) for w, size, number in parts]

    def bend(self, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
        """Lattice coordinates minus place over a raster (metres): (dv, du), float32."""
        return octaves(raster, self._shifted(_BEND, 0)), octaves(raster, self._shifted(_BEND, 2))

    def unbend(self, v: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places (y, x) in metres of lattice coordinates."""
        y, x = v.copy(), u.copy()
        for _ in range(6):
            y, x = (
                v - scattered(y, x, self._shifted(_BEND, 0)),
                u - scattered(y, x, self._shifted(_BEND, 2)),
            )
        return y, x

    # The same formulas serve rasters and scattered points: `noise` is either.

    @staticmethod
    def _water(river: np.ndarray, lake: np.ndarray) -> np.ndarray:
        bank = (np.abs(river) - 0.028) * 3600
        return np.minimum(bank, (1.55 - lake) * 1700)

    def water(self, raster: Raster) -> np.ndarray:
        """About the distance to the shore in metres, negative on water."""
        return self._water(octaves(raster, self.parts(_RIVER)), octaves(raster, self.parts(_LAKE)))

    def water_at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self._water(scattered(y, x, self.parts(_RIVER)), scattered(y, x, self.parts(_LAKE)))

    @staticmethod
    def _wood(wood: np.ndarray, urban: np.ndarray) -> np.ndarray:
        return (1.2 + np.clip(8.0 * (urban + 0.15), 0, 3) - wood) * 300

    def wood(self, raster: Raster) -> np.ndarray:
        """About the distance to the edge of the wood in metres, negative inside."""
        urban = octaves(raster, self.parts(_URBAN)) - np.float32(self.threshold)
        return self._wood(octaves(raster, self.parts(_WOOD)), urban)

    def wood_at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        urban = scattered(y, x, self.parts(_URBAN)) - self.threshold
        return self._wood(scattered(y, x, self.parts(_WOOD)), urban)

    def zones(self, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Zone, variant and key of cells: scattered (n,) and (n,), or a table's rows and columns.

        A table is asked for by `i` (n, 1) and `j` (1, m) of consecutive cells.
        """
        if i.ndim == 2 and i.shape[0] * j.shape[1] > 4000:
            # Rasters are faster; their last digits depend on the window, which no picture shows.
            first = ((int(i[0, 0]) + 0.5) * CELL, (int(j[0, 0]) + 0.5) * CELL)
            table = Raster(*first, i.shape[0], j.shape[1], CELL, CELL, 0.0)
            urban = octaves(table, self.parts(_URBAN)).astype(float) - self.threshold
            industry = octaves(table, self.parts(_INDUSTRY)).astype(float)
        else:
            i, j = np.broadcast_arrays(i, j)
            v, u = (i + 0.5) * CELL, (j + 0.5) * CELL
            urban = scattered(v, u, self.parts(_URBAN)) - self.threshold
            industry = scattered(v, u, self.parts(_INDUSTRY))
        key = lattice_hash(i, j, self.salt(60))
        e = urban + 0.12 * (uniform(key, 1) - 0.5)
        zone = np.searchsorted([0.0, 0.42, 1.15], e, side="right")
        zone = np.where((e > 0.08) & (e < 1.0) & (industry > 1.5), INDUSTRY, zone)
        zone = np.where((zone > 0) & (uniform(key, 2) < 0.05), PARK, zone)
        count = np.array(VARIANTS)[zone]
        variant = (uniform(key, 3) * count).astype(int)
        # Neighbours in a row take turns through the variants: no two alike side by side.
        variant = (variant // 3 * 3 + (i + 2 * j) % 3) % count
        return zone, variant, key

    def cells(self, box: tuple[float, float, float, float]) -> dict[tuple[int, int], Cell]:
        """Cells that may touch a box (y0, x0, y1, x1) of places in metres."""
        y0, x0, y1, x1 = box
        n = max(3, math.ceil(max(y1 - y0, x1 - x0) / 120))
        step_y, step_x = (y1 - y0) / (n - 1), (x1 - x0) / (n - 1)
        raster = Raster(y0, x0, n, n, step_y, step_x, 0.0)
        dv, du = self.bend(raster)
        ys, xs = raster.axes()
        v, u = ys + dv, xs + du
        i0, i1 = math.floor((v.min() - 8) / CELL), math.floor((v.max() + 8) / CELL)
        j0, j1 = math.floor((u.min() - 8) / CELL), math.floor((u.max() + 8) / CELL)
        wanted = [(i, j) for i in range(i0, i1 + 1) for j in range(j0, j1 + 1)]
        with self._lock:
            found = {k: self._cells[k] for k in wanted if k in self._cells}
        missing = [k for k in wanted if k not in found]
        if missing:
            made = self._make(missing)
            with self._lock:
                self._cells |= made
                while len(self._cells) > 1500:
                    self._cells.popitem(last=False)
            found |= made
        near = {}
        for k in wanted:
            cell = found[k]
            if (
                cell.y.max() > y0 - 8 and cell.y.min() < y1 + 8
                and cell.x.max() > x0 - 8 and cell.x.min() < x1 + 8
            ):  # fmt: skip
                near[k] = cell
        return near

    def _make(self, indices: list[tuple[int, int]]) -> dict[tuple[int, int], Cell]:
        ij = np.array(indices)
        zone, variant, key = self.zones(ij[:, 0], ij[:, 1])
        at = np.arange(NODES) * (CELL / (NODES - 1))
        v = np.broadcast_to(ij[:, 0, None, None] * CELL + at[:, None], (len(ij), NODES, NODES))
        u = np.broadcast_to(ij[:, 1, None, None] * CELL + at[None, :], v.shape)
        y, x = self.unbend(v, u)
        water, wood = self.water_at(y, x), self.wood_at(y, x)
        for airport in self.airports:
            outside = airport.outside(y, x)
            water, wood = np.minimum(water, outside), np.where(outside < 60, 999.0, wood)
        return {
            k: Cell(int(zone[n]), int(variant[n]), int(key[n]), y[n], x[n], water[n], wood[n])
            for n, k in enumerate(indices)
        }

    def _airports(self, choice: str) -> list[Airport]:
        if choice == "no":
            return []
        reach = math.hypot(*AIRPORT_HALF)
        pitch = AIRPORT_CELL
        rows, columns = np.meshgrid(
            np.arange(math.floor(-reach / pitch), math.floor((self.height + reach) / pitch) + 1),
            np.arange(math.floor(-reach / pitch), math.floor((self.width + reach) / pitch) + 1),
            indexing="ij",
        )
        i, j = rows.ravel(), columns.ravel()
        key = lattice_hash(i, j, self.salt(70))
        low = (reach + 40) / pitch  # an airport stays in its own large cell
        best = np.full(i.shape, -np.inf)
        y, x = np.zeros(i.shape), np.zeros(i.shape)
        for k in range(6):
            py = (i + low + (1 - 2 * low) * uniform(key, 10 + k)) * pitch
            px = (j + low + (1 - 2 * low) * uniform(key, 30 + k)) * pitch
            urban = scattered(py, px, self.parts(_URBAN)) - self.threshold
            score = np.minimum(self.water_at(py, px), 900) - 500 * np.abs(urban)
            better = score > best
            y, x, best = np.where(better, py, y), np.where(better, px, x), np.maximum(best, score)
        turn = (uniform(key, 4).astype(float) - 0.5) * 2.6
        there = np.asarray(uniform(key, 5) < 0.22)
        inside = (y > 0) & (y < self.height) & (x > 0) & (x < self.width)
        if choice == "yes" and not (there & inside).any():
            if inside.any():
                there = there | (np.arange(len(i)) == np.argmax(np.where(inside, best, -np.inf)))
            else:
                middle = Airport(self.height / 2, self.width / 2, float(turn[0]), int(key[0]))
                return [middle]
        out = [Airport(float(y[n]), float(x[n]), float(turn[n]), int(key[n]))
               for n in np.flatnonzero(there)]  # fmt: skip
        # Only those that touch the picture.
        ys, xs = np.linspace(0, self.height, 65)[:, None], np.linspace(0, self.width, 65)[None, :]
        return [a for a in out if a.outside(ys, xs).min() < 0]

    def airports_near(self, box: tuple[float, float, float, float]) -> list[Airport]:
        """Airports that may touch a box of places."""
        r = math.hypot(*AIRPORT_HALF)
        y0, x0, y1, x1 = box
        return [
            a for a in self.airports
            if y0 - r < a.y < y1 + r and x0 - r < a.x < x1 + r
        ]  # fmt: skip

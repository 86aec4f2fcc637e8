"""Boats on rivers and lakes: under way with a wake, at anchor, and moored at piers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrviz.scenes.aerial.shapes import Layer
from hrviz.scenes.aerial.things import SHADE, Pen
from hrviz.scenes.aerial.world import World
from hrviz.scenes.noise import lattice_hash, uniform

_PITCH, _MARINA = 110.0, 1100.0
_HULLS = np.array([(234, 234, 230), (222, 226, 228), (206, 196, 176), (190, 72, 58), (60, 84, 120),
                   (238, 236, 226)], float)  # fmt: skip
#: Outlines in lengths of the boat, (forward, right); half beams.
HULL = np.array([(0.5, 0.0), (0.28, 0.13), (-0.5, 0.12), (-0.5, -0.12), (0.28, -0.13)])
_DECK = np.array([(0.16, 0.07), (-0.30, 0.08), (-0.30, -0.08), (0.16, -0.07)])
_WAKE = np.array([(-0.45, 0.10), (-0.45, -0.10), (-7.0, -0.85), (-7.0, 0.85)])


@dataclass(frozen=True)
class Boats:
    """Boats and piers in metres of the world.

    Attributes
    ----------
    boats : numpy.ndarray
        (n, 6): y, x, heading, length, 1 with a wake, a number in [0, 1) for its colour.
    piers : numpy.ndarray
        (m, 5): y, x, half along, half across, turn.
    """

    boats: np.ndarray
    piers: np.ndarray


def boats_near(
    world: World, box: tuple[float, float, float, float], amount: float, marinas: bool = True
) -> Boats:
    """Boats whose centre is in a box, and piers that may touch it; without `marinas` only those under way or at anchor."""
    free = _free_boats(world, box, amount)
    moored, piers = np.empty((0, 6)), np.empty((0, 5))
    if marinas:
        moored, piers = _marinas(world, box, amount)
    boats = np.concatenate([free, moored])
    keep = (
        (boats[:, 0] >= box[0]) & (boats[:, 0] < box[2])
        & (boats[:, 1] >= box[1]) & (boats[:, 1] < box[3])
    )  # fmt: skip
    return Boats(boats[keep], piers)


def _candidates(
    world: World, box: tuple[float, float, float, float], pitch: float, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    i = np.arange(math.floor(box[0] / pitch), math.floor(box[2] / pitch) + 1)
    j = np.arange(math.floor(box[1] / pitch), math.floor(box[3] / pitch) + 1)
    key = lattice_hash(i[:, None], j[None, :], world.salt(number))
    y = (i[:, None] + 0.15 + 0.7 * uniform(key, 1).astype(float)) * pitch
    x = (j[None, :] + 0.15 + 0.7 * uniform(key, 2).astype(float)) * pitch
    return y.ravel(), x.ravel(), key.ravel()


def _dry(world: World, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Within an airport, which lies over the water."""
    out = np.zeros(y.shape, bool)
    for airport in world.airports:
        out |= airport.outside(y, x) < 12
    return out


def _free_boats(world: World, box: tuple[float, float, float, float], amount: float) -> np.ndarray:
    y, x, key = _candidates(world, box, _PITCH, 110)
    draw = uniform(key, 3)
    keep = draw < 0.5 * amount
    y, x, key = y[keep], x[keep], key[keep]
    depth = -world.water_at(y, x)
    keep = (depth > 40) & ~_dry(world, y, x)
    y, x, key, depth = y[keep], x[keep], key[keep], depth[keep]
    kind = uniform(key, 4)
    length = 6.0 + 9.0 * uniform(key, 5).astype(float) ** 2
    large = (kind < 0.10) & (depth > 70)
    length = np.where(large, 45 + 70 * uniform(key, 5), length)
    wake = (kind > 0.55) & ~large
    heading = uniform(key, 6).astype(float) * 2 * np.pi
    return np.stack([y, x, heading, length, wake.astype(float), uniform(key, 7)], axis=-1)


def _marinas(
    world: World, box: tuple[float, float, float, float], amount: float
) -> tuple[np.ndarray, np.ndarray]:
    """Piers at right angles to the shore near a few points of a wide lattice."""
    reach = 260.0
    wide = (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach)
    y, x, key = _candidates(world, wide, _MARINA, 111)
    keep = uniform(key, 3) < 0.7
    y, x, key = y[keep], x[keep], key[keep]
    if len(y):
        near = np.abs(world.water_at(y, x)) < 170
        y, x, key = y[near], x[near], key[near]
    boats, piers = [np.empty((0, 6))], [np.empty((0, 5))]
    if len(y):
        for _ in range(5):  # to the shore, along the slope
            w, gy, gx = _slope(world, y, x)
            g = np.maximum(gy**2 + gx**2, 0.05)
            y, x = y - w * gy / g, x - w * gx / g
        w, gy, gx = _slope(world, y, x)
        for n in np.flatnonzero((np.abs(w) < 3) & ~_dry(world, y, x)):
            out = math.atan2(-gy[n], -gx[n])  # into the water
            some_boats, some_piers = _marina(world, y[n], x[n], out, int(key[n]), amount)
            boats.append(some_boats)
            piers.append(some_piers)
    return np.concatenate(boats), np.concatenate(piers)


def _slope(world: World, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = 6.0
    return (
        world.water_at(y, x),
        (world.water_at(y + d, x) - world.water_at(y - d, x)) / (2 * d),
        (world.water_at(y, x + d) - world.water_at(y, x - d)) / (2 * d),
    )


def _marina(
    world: World, y: float, x: float, out: float, key: int, amount: float
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(key)
    cos, sin = math.cos(out), math.sin(out)
    piers, boats = [], []
    for side in (np.arange(int(rng.integers(2, 6))) - 1.5) * 40:
        long = rng.uniform(45, 85)
        middle = long / 2 - 10
        tip_y, tip_x = y + sin * long + cos * side, x + cos * long - sin * side
        if world.water_at(np.array([tip_y]), np.array([tip_x]))[0] > -8:
            continue
        piers.append((y + sin * middle + cos * side, x + cos * middle - sin * side,
                      long / 2 + 8, 1.3, out))  # fmt: skip
        for p in np.arange(12, long - 3, 4.6):
            for flank in (-1, 1):
                length = rng.uniform(7, 12)
                draws = rng.random(2)
                s = side + flank * (1.8 + length / 2)
                if draws[0] < 0.35 + 0.6 * amount and amount > 0:
                    heading = out + flank * np.pi / 2
                    boats.append((y + sin * p + cos * s, x + cos * p - sin * s, heading, length,
                                  0.0, draws[1]))  # fmt: skip
    moored = np.array(boats, float).reshape(-1, 6)
    if len(moored):
        moored = moored[world.water_at(moored[:, 0], moored[:, 1]) < -4]
    return moored, np.array(piers, float).reshape(-1, 5)


def boat_polygons(boats: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """A piece of all boats in metres of the world, (n, k, 2)."""
    cos, sin = np.cos(boats[:, 2])[:, None], np.sin(boats[:, 2])[:, None]
    narrow = np.where(boats[:, 3:4] > 30, 0.62, 1.25)  # large ones are slim
    f, r = shape[:, 0] * boats[:, 3:4], shape[:, 1] * boats[:, 3:4] * narrow
    return np.stack([boats[:, :1] + f * sin + r * cos, boats[:, 1:2] + f * cos - r * sin], axis=-1)


def draw_boats(pen: Pen, here: Boats) -> None:
    """Wakes, piers, hulls and decks."""
    corner = np.array(pen.corner)

    def piece(boats: np.ndarray, shape: np.ndarray) -> np.ndarray:
        return np.asarray((boat_polygons(boats, shape) - corner) / pen.mpp)

    boats, piers = here.boats, here.piers
    moving = boats[boats[:, 4] > 0]
    if len(moving):
        foam = np.tile([206.0, 216.0, 218.0], (len(moving), 1))
        for stretch, strength in ((1.0, 0.05), (0.8, 0.06), (0.6, 0.07), (0.42, 0.08), (0.26, 0.12),
                                  (0.12, 0.25)):  # fmt: skip
            shape = _WAKE.copy()
            shape[2:, 0] *= stretch
            shape[2:, 1] *= 0.35 + 0.65 * stretch
            layer = Layer(pen.n)
            layer.polygons(piece(moving, shape), foam, strength=np.full(len(moving), strength))
            layer.onto(pen.picture)
    if len(piers):
        layer = Layer(pen.n)
        y, x = pen.at(piers)
        plank = np.tile([172.0, 160.0, 140.0], (len(piers), 1))
        layer.rectangles(y, x, piers[:, 2] / pen.mpp, piers[:, 3] / pen.mpp, piers[:, 4], plank)
        layer.onto(pen.picture)
    if not len(boats):
        return
    paint = _HULLS[(boats[:, 5] * len(_HULLS)).astype(int).clip(0, len(_HULLS) - 1)]
    shadow = Layer(pen.n)
    shadow.polygons(piece(boats, HULL), np.ones((len(boats), 1)),
                    pen.shift(0.12 * boats[:, 3]))  # fmt: skip
    shadow.darken(pen.picture, SHADE)
    layer = Layer(pen.n)
    layer.polygons(piece(boats, HULL), paint)
    layer.onto(pen.picture)
    if pen.mpp < 2:
        layer = Layer(pen.n)
        layer.polygons(piece(boats, _DECK), paint * 0.55 + np.array([70.0, 66.0, 58.0]) * 0.6)
        layer.onto(pen.picture)

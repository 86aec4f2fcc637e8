"""The Landolt-C task: which side is a small red ring open to, in a large cluttered picture?

Everything about it is small on purpose except what decides: a gap of 5 px in 256. A ring is easy to
find at any resolution (it is the only red thing) and impossible to read at 20 px: what sampling by
saliency is for. The clutter holds no periodic detail, whose aliases would let point sampling read
what it cannot resolve.
"""

from __future__ import annotations

import math

import numpy as np

SIDE = 256  # px of a picture
RING = 22.0  # outer diameter, px
GAP = 5.0  # width of the gap, and of the stroke, px
DIRECTIONS = ("right", "down", "left", "up")
MARGIN = 20  # px between the ring's centre and the border, at least
SHAPES = 60  # pieces of clutter


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures with one ring each.

    Parameters
    ----------
    count, seed : int
        Picture i depends on both `seed` and i alone.

    Returns
    -------
    images : ndarray uint8, (count, SIDE, SIDE, 3)
    sides : ndarray int64, (count,)
        Index into `DIRECTIONS`.
    centres : ndarray float64, (count, 2)
        Of the rings, (y, x) in pixels, pixel centres at +0.5.
    """
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    sides = np.empty(count, np.int64)
    centres = np.empty((count, 2))
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        sides[i] = rng.integers(4)
        centres[i] = rng.uniform(MARGIN, SIDE - MARGIN, 2)
        images[i] = _picture(rng, int(sides[i]), centres[i])
    return images, sides, centres


def _picture(rng: np.random.Generator, side: int, centre: np.ndarray) -> np.ndarray:
    picture = _ground(rng)
    for _ in range(SHAPES):
        _shape(picture, rng)
    _ring(picture, side, centre)
    picture += rng.normal(0, 0.02, (SIDE, SIDE, 1)).astype(np.float32)
    return np.asarray((picture * 255 + 0.5).clip(0, 255), np.uint8)


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Smooth texture in greys, greens and blues at four scales, float32 (SIDE, SIDE, 3)."""
    from hrviz.results import interpolation

    tone = np.zeros((SIDE, SIDE, 3))
    for cells, strength in ((4, 0.10), (12, 0.08), (40, 0.06), (100, 0.05)):
        spread = interpolation(cells, SIDE)
        coarse = rng.normal(0, strength, (cells, cells, 3))
        tone += np.einsum("ia,jb,abc->ijc", spread, spread, coarse, optimize=True)
    return np.asarray(np.array([0.36, 0.45, 0.48]) + tone, np.float32).clip(0, 1)


def _shape(picture: np.ndarray, rng: np.random.Generator) -> None:
    """One ellipse or bar, never red, anywhere; anti-aliased."""
    length, width = rng.uniform(3, 14), rng.uniform(1.2, 6)
    y, x = rng.uniform(0, SIDE, 2)
    turn = rng.uniform(0, math.pi)
    red = rng.uniform(0.1, 0.5)
    colour = np.array([red, *rng.uniform(max(red, 0.25), 0.9, 2)], np.float32)
    window, dy, dx = _window(y, x, length + 2)
    along, across = (
        dx * math.cos(turn) + dy * math.sin(turn),
        dy * math.cos(turn) - dx * math.sin(turn),
    )
    if rng.random() < 0.5:
        inside = (1 - np.hypot(along / length, across / width)) * width
    else:
        inside = np.minimum(length - np.abs(along), width / 2 - np.abs(across))
    cover = np.clip(inside + 0.5, 0, 1)[..., None].astype(np.float32)
    picture[window] += cover * (colour - picture[window])


def _ring(picture: np.ndarray, side: int, centre: np.ndarray) -> None:
    """The ring: outer diameter RING, stroke and gap GAP, open to one side; anti-aliased."""
    window, dy, dx = _window(float(centre[0]), float(centre[1]), RING / 2 + 2)
    r = np.hypot(dy, dx)
    stroke = np.minimum(RING / 2 - r, r - (RING / 2 - GAP))
    along, across = ((dx, dy), (dy, dx), (-dx, dy), (-dy, dx))[side]
    gap = np.minimum(GAP / 2 - np.abs(across), along)
    cover = np.clip(stroke + 0.5, 0, 1) * (1 - np.clip(gap + 0.5, 0, 1))
    red = np.array([0.86, 0.10, 0.10], np.float32)
    picture[window] += cover[..., None].astype(np.float32) * (red - picture[window])


def _window(y: float, x: float, reach: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """A window around a place, and how far each of its pixel centres lies from the place."""
    rows, columns = (
        np.arange(max(0, math.floor(v - reach)), min(SIDE, math.ceil(v + reach))) for v in (y, x)
    )
    where = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return where, (rows + 0.5 - y)[:, None], (columns + 0.5 - x)[None]

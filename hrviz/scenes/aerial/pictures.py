"""Pictures kept in memory: crowns of a wood, and each street block as it looks from afar.

Also how the ground of a street block is painted, near and far.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from hrviz.scenes.aerial import lots
from hrviz.scenes.aerial.shapes import SHADOW
from hrviz.scenes.aerial.things import Pen, Things, lot_ground, on_lot
from hrviz.scenes.aerial.world import CELL

LOT_TEXELS = 128  # a lot's small picture
ROAD = np.array([104, 104, 106], np.float32)


def road_from_afar(cars: float) -> np.ndarray:
    """Mean colour (3,) of a wide street with its cars."""
    return np.asarray(ROAD + (126 - ROAD) * np.float32(0.34 * cars * 8.1 / (17.5 * 3.5)))


def lay(picture: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Cover a picture (3, ...) with a colour (3,) or (3, ...) in place."""
    if not cover.any():
        return
    for c in range(3):
        picture[c] += cover * (colour[c] - picture[c])


def band(distance: np.ndarray, half: float, soft: float) -> np.ndarray:
    """Share of pixels `soft` wide within `half` of a line, from the distance of their centres."""
    return np.clip((half - distance) / np.float32(soft) + 0.5, 0, min(1.0, 2 * half / soft))


@lru_cache(maxsize=1)
def wood_tile() -> tuple[np.ndarray, ...]:
    """Crowns seen from above, a seamless 256 m tile of 0.5 m texels, and its mip levels (k, k, 3)."""
    rng = np.random.default_rng(5)
    n, pitch = 512, 13
    m = round(n / pitch)
    height = np.zeros((n, n), np.float32)
    tone = np.zeros((n, n), np.float32)
    jitter = rng.uniform(-0.48, 0.48, (m, m, 2)) * pitch
    radius = rng.uniform(0.55, 0.95, (m, m)) * pitch
    hue = rng.normal(0, 1, (m, m))
    scale = n / m
    frayed = rng.normal(0, 1, (n, n)).astype(np.float32)
    frayed = np.real(np.fft.ifft2(np.fft.fft2(frayed) * np.exp(
        -2 * ((np.fft.fftfreq(n)[:, None] * 7) ** 2 + (np.fft.fftfreq(n)[None] * 7) ** 2)
    ))).astype(np.float32)  # fmt: skip
    frayed /= frayed.std()
    for i in range(m):
        for j in range(m):
            cy, cx = (i + 0.5) * scale + jitter[i, j, 0], (j + 0.5) * scale + jitter[i, j, 1]
            r = radius[i, j]
            rows = np.arange(math.floor(cy - r), math.ceil(cy + r) + 1)
            columns = np.arange(math.floor(cx - r), math.ceil(cx + r) + 1)
            d2 = ((rows[:, None] + 0.5 - cy) ** 2 + (columns[None] + 0.5 - cx) ** 2) / r**2
            where = np.ix_(rows % n, columns % n)
            dome = np.sqrt(np.clip(1 - d2, 0, 1)) * r * (1 + 0.15 * hue[i, j])
            dome = dome * (1 + 0.14 * frayed[where]) * (d2 < 1)
            higher = dome > height[where]
            height[where] = np.where(higher, dome, height[where])
            tone[where] = np.where(higher, hue[i, j], tone[where])
    slope = (np.roll(height, 1, 0) - np.roll(height, -1, 0)) * SHADOW[0]
    slope = slope + (np.roll(height, 1, 1) - np.roll(height, -1, 1)) * SHADOW[1]
    light = np.clip(0.86 - 0.16 * slope, 0.45, 1.35) * (0.55 + 0.45 * np.clip(height / 9, 0, 1))
    green = np.array([66.0, 86.0, 50.0]) + tone[..., None] * np.array([7.0, 4.0, 2.0])
    level = (green * light[..., None]).astype(np.float32)
    levels = [level]
    while level.shape[0] > 1:
        level = level.reshape(level.shape[0] // 2, 2, -1, 2, 3).mean(axis=(1, 3))
        levels.append(level)
    return tuple(levels)


def look_up(mips: tuple[np.ndarray, ...], level: float, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear values (3, ...) of the mip `level` at texel coordinates of the finest; seamless."""
    k = min(max(round(level), 0), len(mips) - 1)
    tile = mips[k]
    n = tile.shape[0]
    v, u = y / 2**k - 0.5, x / 2**k - 0.5
    i, j = np.floor(v), np.floor(u)
    s, t = (v - i).astype(np.float32)[..., None], (u - j).astype(np.float32)[..., None]
    i, j = i.astype(np.int32), j.astype(np.int32)
    i0, i1, j0, j1 = i % n, (i + 1) % n, j % n, (j + 1) % n
    top = tile[i0, j0] * (1 - t) + tile[i0, j1] * t
    bottom = tile[i1, j0] * (1 - t) + tile[i1, j1] * t
    return np.moveaxis(top * (1 - s) + bottom * s, -1, 0)


def lot_colours(
    number: np.ndarray, v: np.ndarray, u: np.ndarray, mpp: float, cars: float
) -> np.ndarray:
    """Colours (3, n) of lots from afar.

    Parameters
    ----------
    number : numpy.ndarray
        100 zone + variant, (n,).
    v, u : numpy.ndarray
        Texel coordinates in the lots' finest pictures, (n,).
    mpp : float
        Metres a pixel.
    """
    kinds, which = np.unique(number, return_inverse=True)
    pictures = [lot_picture(int(k) // 100, int(k) % 100, cars) for k in kinds]
    level = math.log2(mpp / (CELL / LOT_TEXELS))
    k = min(max(round(level), 0), len(pictures[0]) - 1)
    tiles = np.stack([p[k] for p in pictures])
    n = tiles.shape[1]
    p, q = v / 2**k - 0.5, u / 2**k - 0.5
    i, j = np.floor(p), np.floor(q)
    s, t = (p - i)[:, None], (q - j)[:, None]
    i, j = i.astype(np.int32), j.astype(np.int32)
    i0, i1 = i.clip(0, n - 1), (i + 1).clip(0, n - 1)
    j0, j1 = j.clip(0, n - 1), (j + 1).clip(0, n - 1)
    top = tiles[which, i0, j0] * (1 - t) + tiles[which, i0, j1] * t
    bottom = tiles[which, i1, j0] * (1 - t) + tiles[which, i1, j1] * t
    return np.asarray((top * (1 - s) + bottom * s).T)


@lru_cache(maxsize=400)
def lot_picture(zone: int, variant: int, cars: float) -> tuple[np.ndarray, ...]:
    """A lot from afar, float32 (k, k, 3), finest first."""
    n = LOT_TEXELS
    picture = np.zeros((3, n, n), np.float32)
    step = CELL / n
    at = (np.arange(n) + 0.5) * step
    paint_lot(picture, at[:, None], at[None, :], zone, variant, step)
    edge = np.minimum(at, CELL - at)
    edge = np.minimum(edge[:, None], edge[None, :])
    for half, colour in ((10.0, np.array(lots.PAVING, np.float32)), (7.0, road_from_afar(cars))):
        lay(picture, np.clip((half - edge) / step + 0.5, 0, 1), colour)
    made = on_lot(zone, variant)
    # Neighbours cast shadows over the street: houses at the far edges stand here once more.
    tables = []
    for name in ("buildings", "rounds", "cars", "marks", "details"):
        table = getattr(made, name).copy()
        if name == "cars":
            table[:, 3] *= cars
        copies = [table]
        for v, u in ((CELL, 0.0), (0.0, CELL), (CELL, CELL)) if name == "buildings" else ():
            near = table[(table[:, 0] > v - 70) & (table[:, 1] > u - 70)].copy()
            near[:, 0] -= v
            near[:, 1] -= u
            copies.append(near)
        tables.append(np.concatenate(copies))
    Pen(picture, (0.0, 0.0), step).everything(Things(*tables))
    level = np.ascontiguousarray(np.moveaxis(picture, 0, -1))
    levels = [level]
    while level.shape[0] > 1:
        level = level.reshape(level.shape[0] // 2, 2, -1, 2, 3).mean(axis=(1, 3))
        levels.append(level)
    return tuple(levels)


@lru_cache(maxsize=400)
def lot_classes(zone: int, variant: int) -> np.ndarray:
    """Mask classes of a lot from afar, uint8 (2 k, 2 k), at texel centres."""
    n = LOT_TEXELS
    at = (np.arange(n) + 0.5) * (CELL / n)
    out = np.zeros((n, n), np.uint8)
    paint_classes(out, at[:, None], at[None, :], zone, variant)
    for b in on_lot(zone, variant).buildings:
        dv, du = at[:, None] - b[0], at[None, :] - b[1]
        cos, sin = np.cos(b[4]), np.sin(b[4])
        inside = (np.abs(du * cos + dv * sin) < b[2]) & (np.abs(dv * cos - du * sin) < b[3])
        out[inside] = lots.BUILDING
    return out


def paint_lot(
    picture: np.ndarray, v: np.ndarray, u: np.ndarray, zone: int, variant: int, soft: float
) -> None:
    """Paint a lot's ground where (v, u) are in it; `picture` (3, ny, nx), v and u broadcast."""
    rows, colours = lot_ground(zone, variant)
    reach = 1.5 * soft
    v0, v1, u0, u1 = v.min(), v.max(), u.min(), u.max()
    for (a, b, c, d), colour in zip(rows, colours, strict=True):
        if a > v1 + reach or c < v0 - reach or b > u1 + reach or d < u0 - reach:
            continue
        window = _window(v, u, a - reach, b - reach, c + reach, d + reach)
        if window is None:
            continue
        vw, uw = _cut(v, window), _cut(u, window)
        cover = band(np.abs(vw - (a + c) / 2), (c - a) / 2, soft)
        cover = cover * band(np.abs(uw - (b + d) / 2), (d - b) / 2, soft)
        lay(picture[(slice(None), *window)], cover, colour)


def paint_classes(out: np.ndarray, v: np.ndarray, u: np.ndarray, zone: int, variant: int) -> None:
    """The classes of a lot's ground at points (v, u), into uint8 `out`."""
    rows, colours = lot_ground(zone, variant)
    for (a, b, c, d), colour in zip(rows, colours, strict=True):
        inside = (v >= a) & (v < c) & (u >= b) & (u < d)
        out[np.broadcast_to(inside, out.shape)] = int(colour[3])


def _cut(a: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    rows = window[0] if a.shape[0] > 1 else slice(None)
    columns = window[1] if a.shape[1] > 1 else slice(None)
    return a[rows, columns]


def _window(
    v: np.ndarray, u: np.ndarray, v0: float, u0: float, v1: float, u1: float
) -> tuple[slice, slice] | None:
    """Rows and columns that may hold points of a box; the fields are monotone but bent."""
    if v.shape[1] == 1:
        rows = np.asarray((v[:, 0] > v0) & (v[:, 0] < v1))
        columns = np.asarray((u[0] > u0) & (u[0] < u1))
    else:
        # Every eighth line is enough to find the extent, with a margin of that many.
        sparse = np.asarray((v[::8, ::8] > v0 - 8) & (v[::8, ::8] < v1 + 8))
        sparse &= (u[::8, ::8] > u0 - 8) & (u[::8, ::8] < u1 + 8)
        rows, columns = np.asarray(sparse.any(axis=1)), np.asarray(sparse.any(axis=0))
    i, j = np.flatnonzero(rows), np.flatnonzero(columns)
    if not len(i) or not len(j):
        return None
    k = 1 if v.shape[1] == 1 else 8
    return (
        slice(max(int(i[0]) * k - k + 1, 0), int(i[-1]) * k + k),
        slice(max(int(j[0]) * k - k + 1, 0), int(j[-1]) * k + k),
    )

"""Haystacks: backgrounds for any window of an image of any size, each pixel an area average."""

from __future__ import annotations

import math

import numpy as np

from hrviz.scenes._paint import cover
from hrviz.scenes.noise import Raster, lattice_hash, octaves, uniform
from hrviz.scenes.tissue import stain


def salt(seed: int, number: int) -> int:
    """A number of its own for each use of the noise."""
    return (seed * 1_000_003 + number * 7919) & 0x7FFFFFFF


def ground(kind: str, seed: int, side: int, raster: Raster) -> np.ndarray:
    """Background float32 (3, ny, nx), 0 to 255, of an image whose longer side is `side` px."""
    return _GROUNDS[kind](seed, side, raster)


def _pink(seed: int, raster: Raster, number: int, longest: float, size: float) -> np.ndarray:
    """Noise of all wavelengths from 4 px to `longest`, the long ones strongest."""
    waves = [2.0**k for k in range(2, 17) if 2.0**k <= max(longest, 8)]
    return octaves(
        raster,
        [
            (w, size * max(0.80 ** (len(waves) - k - 1), 0.18), salt(seed, number + k))
            for k, w in enumerate(waves)
        ],
    )


def _tinted(base: tuple[float, ...], *parts: tuple[np.ndarray, tuple[float, ...]]) -> np.ndarray:
    out = np.empty((3, *parts[0][0].shape), np.float32)
    for c in range(3):
        out[c] = base[c]
        for field, colour in parts:
            out[c] += field * np.float32(colour[c])
    return out


def _plain(seed: int, side: int, raster: Raster) -> np.ndarray:
    """Paper: nearly one colour, with slow unevenness and grain."""
    slow = octaves(raster, [(side / 2, 1.0, salt(seed, 1)), (side / 5, 0.5, salt(seed, 2))])
    grain = octaves(raster, [(4, 1.0, salt(seed, 3)), (8, 1.0, salt(seed, 4))])
    return _tinted((222, 218, 208), (slow, (4, 4, 5)), (grain, (1.6, 1.6, 1.6)))


def _noise(seed: int, side: int, raster: Raster) -> np.ndarray:
    """Clouds of all sizes: there is structure at whatever scale one looks."""
    light = _pink(seed, raster, 10, side / 3, 17.0)
    warm = _pink(seed, raster, 40, side / 3, 5.5)
    return _tinted((134, 138, 136), (light, (1, 1, 1)), (warm, (1.5, 0.1, -1.5)))


def _tissue(seed: int, side: int, raster: Raster) -> np.ndarray:
    """Pink fibres along a flow, as in a stained slide; no cells: those are needles."""
    turn = 2 * math.pi * ((seed * 0.618) % 1)
    cos, sin = math.cos(turn), math.sin(turn)
    y = np.arange(raster.ny, dtype=np.float32)[:, None] * np.float32(raster.step)
    x = np.arange(raster.nx, dtype=np.float32)[None] * np.float32(raster.step_x)
    across: np.ndarray = np.float32(
        (cos * raster.y + sin * raster.x) % stain.PERIOD[0]
    ) * np.ones_like(y)
    along: np.ndarray = np.float32(
        (cos * raster.x - sin * raster.y) % stain.PERIOD[1]
    ) * np.ones_like(y)
    waves = ((8192, 1900), (2048, 420), (512, 90), (128, 14))
    across = across + np.float32(cos) * y + np.float32(sin) * x
    across = across + octaves(
        raster, [(w, a, salt(seed, 60 + k)) for k, (w, a) in enumerate(waves)]
    )
    along = along - np.float32(sin) * y + np.float32(cos) * x
    along = along + octaves(raster, [(4096, 900, salt(seed, 70))])
    texture = stain.fibres(across, along, raster.box)
    tone = octaves(raster, [(4096, 0.10, salt(seed, 71)), (1024, 0.08, salt(seed, 72)),
                            (16, 0.05, salt(seed, 73))])  # fmt: skip
    dark = texture.real * np.float32(0.8) + tone
    out = np.empty((3, raster.ny, raster.nx), np.float32)
    for c in range(3):
        pale, deep = stain.FIBRE_PALE[c], stain.FIBRE_DARK[c]
        out[c] = (pale + dark * (deep - pale)) * (1 - texture.imag) + texture.imag * 0.97
    return out * np.float32(243)


_CROPS = np.array(
    [(116, 134, 76), (141, 152, 84), (168, 160, 98), (150, 126, 90), (96, 122, 72), (184, 172, 118),
     (128, 144, 96)], np.float32
)  # fmt: skip


def _field(seed: int, side: int, raster: Raster) -> np.ndarray:
    """Farmland from above: parcels with furrows, hedges between them."""
    pixel = raster.box
    tall, wide = side / 9, side / 6
    bend = octaves(raster, [(side / 3, tall * 0.35, salt(seed, 80))])
    lean = octaves(raster, [(side / 3, tall * 0.35, salt(seed, 81))])
    ys, xs = raster.axes()
    y, x = (ys + bend).astype(np.float32), (xs + lean).astype(np.float32)
    row = np.floor(y / np.float32(tall))
    to_row = y / np.float32(tall) - row - np.float32(0.5)
    beside = row + np.where(to_row > 0, 1, -1)

    def shifted(r: np.ndarray) -> np.ndarray:
        offset = uniform(lattice_hash(r, np.zeros_like(r), salt(seed, 82)))
        return x / np.float32(wide) + offset * 3

    across = shifted(row)
    column = np.floor(across)
    to_column = across - column - np.float32(0.5)
    gap_row = (np.float32(0.5) - np.abs(to_row)) * np.float32(tall)
    gap_column = (np.float32(0.5) - np.abs(to_column)) * np.float32(wide)
    nearer = gap_row < gap_column
    other_row = np.where(nearer, beside, row)
    other_column = np.where(
        nearer, np.floor(shifted(beside)), column + np.where(to_column > 0, 1, -1)
    )
    gap = np.minimum(gap_row, gap_column)
    key = lattice_hash(row.astype(np.int64), column.astype(np.int64), salt(seed, 83))
    # Only pixels that an edge runs through show some of the parcel beyond.
    edge = np.nonzero(gap < pixel / 2)
    beyond = lattice_hash(
        other_row[edge].astype(np.int64), other_column[edge].astype(np.int64), salt(seed, 83)
    )
    share = np.float32(0.5) - gap[edge] / np.float32(pixel)
    period = max(side / 400, 16.0)
    phase = np.where(uniform(key, 1) < 0.5, y, x) * np.float32(2 * math.pi / period)
    furrow = np.sin(phase) * np.float32(np.sinc(pixel / period) * 6)
    mottle = _pink(seed, raster, 85, side / 8, 6.0)
    light = 0.92 + 0.16 * uniform(key, 2)
    light_beyond = 0.92 + 0.16 * uniform(beyond, 2)
    hedge = side / 1400
    line = np.clip((hedge + pixel / 2 - gap) / pixel, 0, min(1.0, 2 * hedge / pixel))
    shade = cover(gap - 2.2 * hedge, max(pixel, 3 * hedge)) * np.float32(0.22)
    crop = (uniform(key, 3) * len(_CROPS)).astype(np.intp)
    crop_beyond = (uniform(beyond, 3) * len(_CROPS)).astype(np.intp)
    out = np.empty((3, raster.ny, raster.nx), np.float32)
    for c in range(3):
        part = _CROPS[:, c].take(crop) * light
        part[edge] += share * (_CROPS[:, c].take(crop_beyond) * light_beyond - part[edge])
        part += furrow + mottle
        part *= 1 - shade
        green = np.float32((62, 84, 52)[c]) + mottle
        out[c] = part + line * (green - part)
    return out


_GROUNDS = {"noise": _noise, "tissue": _tissue, "field": _field, "plain": _plain}

"""Noise that has the same value wherever it is asked from: hashes of integer lattices.

Every random thing of a scene is a function of integer lattice coordinates, a salt and the seed, so
a window anywhere in a gigapixel slide is computed alone and fits its neighbours. Smooth noise puts
hashed values on a lattice of period `wavelength` and joins them by cubic B-splines. The raster
asked for is regular, so the interpolation is separable: two small matrix products instead of a hash
per pixel. The spline weights are averaged over the footprint of a pixel, so that coarse levels of
the pyramid are the area average of the finer ones: antialiased by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_A, _B = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_SMALL = 260_000  # multiplications: OpenBLAS keeps products up to 2^18 in the calling thread


def mix(h: np.ndarray) -> np.ndarray:
    """Scramble uint32 values (the `lowbias32` finaliser): each input bit moves every output bit."""
    h = h ^ (h >> np.uint32(16))
    h = h * _A
    h ^= h >> np.uint32(15)
    h *= _B
    h ^= h >> np.uint32(16)
    return h


def lattice_hash(iy: np.ndarray, ix: np.ndarray, salt: int) -> np.ndarray:
    """uint32 hash of integer lattice points; `iy` and `ix` broadcast (give (n, 1) and (1, m))."""
    rows = mix(iy.astype(np.uint32) + np.uint32(salt * 0x9E3779B1 & 0xFFFFFFFF))
    columns = ix.astype(np.uint32) * np.uint32(0x85EBCA6B)
    return mix(rows ^ columns)


def uniform(h: np.ndarray, draw: int = 0) -> np.ndarray:
    """float32 in [0, 1) from hashes; each `draw` number gives an independent value."""
    if draw:
        h = mix(h + np.uint32(draw * 0xC2B2AE35 & 0xFFFFFFFF))
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


@dataclass(frozen=True)
class Raster:
    """A regular raster in level-0 coordinates: sample (i, j) sits at (y + i step, x + j step_x).

    Parameters
    ----------
    y, x : float
        Position of the first sample (a pixel centre).
    ny, nx : int
    step, step_x : float
        Distance of samples along y and along x.
    box : float
        Side of the square each sample averages over; 0 for point samples.
    """

    y: float
    x: float
    ny: int
    nx: int
    step: float
    step_x: float
    box: float

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of rows (ny, 1) and columns (1, nx), float64."""
        return (
            (self.y + self.step * np.arange(self.ny))[:, None],
            (self.x + self.step_x * np.arange(self.nx))[None, :],
        )

    def nearest(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the sample nearest to each point, clipped to the raster."""
        i = np.rint((y - self.y) / self.step).astype(np.intp)
        j = np.rint((x - self.x) / self.step_x).astype(np.intp)
        return i.clip(0, self.ny - 1), j.clip(0, self.nx - 1)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a @ b` in pieces too small for the BLAS to share among threads.

    Its threads wait for each other by spinning, which on a busy machine costs several times the
    product, and their number would decide how sums are split: pieces give the same bits anywhere.
    """
    side = max(8, math.isqrt(_SMALL // a.shape[1]))
    if max(a.shape[0], b.shape[1]) <= side:
        return np.asarray(a @ b)
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    for i in range(0, a.shape[0], side):
        for j in range(0, b.shape[1], side):
            out[i : i + side, j : j + side] = a[i : i + side] @ b[:, j : j + side]
    return out


def _band_rows(w: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`w @ values` for spline weights: a few rows of `w` touch only a few rows of `values`."""
    out = np.empty((w.shape[0], values.shape[1]), np.float32)
    for i in range(0, w.shape[0], 32):
        part = w[i : i + 32]
        first = int(np.flatnonzero(part[0])[0])
        last = int(np.flatnonzero(part[-1])[-1]) + 1
        out[i : i + 32] = product(part[:, first:last], values[first:last])
    return out


@lru_cache(maxsize=96)
def _spline_matrix(n: int, start: float, step: float, box: float) -> np.ndarray:
    """Weights (n, m) of lattice nodes floor(start) - 2 + (0..m-1), in lattice units."""
    subs = 1 if box < 0.1 else 4
    offset = ((np.arange(subs) + 0.5) / subs - 0.5) * box
    p = (start + step * np.arange(n))[:, None] + offset + 2.0
    base = np.floor(p).astype(np.intp)
    t = p - base
    m = int(base.max()) + 3
    weights = np.zeros((n, m))
    rows = np.broadcast_to(np.arange(n)[:, None], base.shape)
    taps = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for k, tap in enumerate(taps):
        np.add.at(weights, (rows, base + k - 1), tap / (6 * subs))
    out = np.ascontiguousarray(weights, dtype=np.float32)
    out.setflags(write=False)
    return out


def _axis(
    origin: float, n: int, step: float, wavelength: float, box: float
) -> tuple[int, np.ndarray]:
    start = origin / wavelength
    whole = int(np.floor(start))
    frac = round(start - whole, 9)
    return whole - 2, _spline_matrix(n, frac, step / wavelength, box / wavelength)


def octaves(raster: Raster, parts: Iterable[tuple[float, float, int]]) -> np.ndarray:
    """Sum of smooth noises `(wavelength, amplitude, salt)`, float32 (ny, nx).

    Each has mean 0 and standard deviation about `amplitude` before averaging over `raster.box`.
    Octaves finer than a sample's footprint have averaged out and are left out.
    """
    left, right, fine = [], [], []
    finest = max(raster.box, raster.step / 2, raster.step_x / 2)
    for wavelength, amplitude, salt in parts:
        if wavelength < finest:
            continue
        iy, wy = _axis(raster.y, raster.ny, raster.step, wavelength, raster.box)
        ix, wx = _axis(raster.x, raster.nx, raster.step_x, wavelength, raster.box)
        rows = np.arange(iy, iy + wy.shape[1])[:, None]
        columns = np.arange(ix, ix + wx.shape[1])[None, :]
        values = uniform(lattice_hash(rows, columns, salt)) - np.float32(0.5)
        values *= np.float32(7.2 * amplitude)
        if max(wy.shape[1], wx.shape[1]) > 48:
            fine.append(_band_rows(wx, _band_rows(wy, values).T).T)
        else:
            left.append(product(wy, values))
            right.append(wx)
    # One product for all long octaves: they are summed where they are multiplied.
    if left:
        out = product(np.hstack(left), np.hstack(right).T)
    else:
        out = np.zeros((raster.ny, raster.nx), np.float32)
    for octave in fine:
        out += octave
    return out


def spline_noise(raster: Raster, wavelength: float, salt: int) -> np.ndarray:
    """Smooth noise of one wavelength, mean 0 and standard deviation about 1 (see `octaves`)."""
    return octaves(raster, [(wavelength, 1.0, salt)])


def upsample(grid: np.ndarray, n: int, factor: int, margin: int) -> np.ndarray:
    """The inner n x n pixels of a field on a grid `factor` coarser with `margin` extra nodes.

    Bilinear; with an integer factor each pixel has one of `factor` fixed positions between nodes.
    """
    m = n // factor
    if factor == 1:
        return grid[margin : margin + n, margin : margin + n]
    grid = grid[margin - 1 : margin + m + 1, margin - 1 : margin + m + 1]
    rows = np.empty((m, factor, m + 2), np.float32)
    out = np.empty((n, m, factor), np.float32)
    steps = [((k + 0.5) / factor + 0.5) for k in range(factor)]  # from the node before, 0.5 to 1.5
    for k, p in enumerate(steps):
        i, t = int(p), np.float32(p % 1)
        rows[:, k] = grid[i : i + m] * (1 - t) + grid[i + 1 : i + 1 + m] * t
    flat = rows.reshape(n, m + 2)
    for k, p in enumerate(steps):
        i, t = int(p), np.float32(p % 1)
        out[:, :, k] = flat[:, i : i + m] * (1 - t) + flat[:, i + 1 : i + 1 + m] * t
    return out.reshape(n, n)

"""Vessels as capsules of changing radius: where pixels are in them, at any zoom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hrviz.scenes.noise import Raster

_CHUNK = 200_000
_LARGE = 24


@dataclass(frozen=True)
class Strokes:
    """Pieces of vessels in level-0 pixels.

    Parameters
    ----------
    start, end : numpy.ndarray
        float64 (n, 2), (y, x).
    r0, r1 : numpy.ndarray
        Radii at both ends (n,).
    s0, s1 : numpy.ndarray
        How visible the vessel is at both ends, 0 to 1 (n,).
    """

    start: np.ndarray
    end: np.ndarray
    r0: np.ndarray
    r1: np.ndarray
    s0: np.ndarray
    s1: np.ndarray

    def __getitem__(self, index: np.ndarray) -> Strokes:
        return Strokes(
            self.start[index], self.end[index], self.r0[index], self.r1[index],
            self.s0[index], self.s1[index],
        )  # fmt: skip

    def near(self, raster: Raster) -> Strokes:
        """Those that may touch a raster's samples."""
        r = np.maximum(self.r0, self.r1)[:, None] + max(raster.step, raster.step_x)
        low, high = np.minimum(self.start, self.end) - r, np.maximum(self.start, self.end) + r
        last = (raster.y + raster.step * raster.ny, raster.x + raster.step_x * raster.nx)
        touch = (high > (raster.y, raster.x)).all(axis=1) & (low < last).all(axis=1)
        return self[np.flatnonzero(touch)]

    def samples(self, raster: Raster) -> Iterator[tuple[np.ndarray, ...]]:
        """Samples in reach of each piece: flat index, distance to its axis, radius, visibility."""
        near = self.near(raster)
        if not len(near.r0):
            return
        scale, first = np.array([raster.step, raster.step_x]), np.array([raster.y, raster.x])
        r = np.maximum(near.r0, near.r1)[:, None] + max(raster.step, raster.step_x)
        low = np.floor((np.minimum(near.start, near.end) - r - first) / scale).astype(np.int64)
        high = np.ceil((np.maximum(near.start, near.end) + r - first) / scale).astype(np.int64) + 1
        low, high = np.maximum(low, 0), np.minimum(high, (raster.ny, raster.nx))
        size = (high - low).max(axis=1)
        for n in np.unique(size[size > 0]):
            group = np.flatnonzero((size == n) & (high > low).all(axis=1))
            chunk = 1 if n > _LARGE else max(1, _CHUNK // int(n) ** 2)
            for k in range(0, len(group), chunk):
                which = group[k : k + chunk]
                ny, nx = (high[which] - low[which]).max(axis=0) if chunk == 1 else (n, n)
                yield near._part(which, low, high, int(ny), int(nx), raster)

    def _part(
        self, which: np.ndarray, low: np.ndarray, high: np.ndarray, ny: int, nx: int, raster: Raster
    ) -> tuple[np.ndarray, ...]:
        rows, columns = low[which, :1] + np.arange(ny), low[which, 1:] + np.arange(nx)
        ok = (rows < high[which, :1])[:, :, None] & (columns < high[which, 1:])[:, None, :]
        a, b = self.start[which], self.end[which]
        dy = (raster.y + rows * raster.step - a[:, :1]).astype(np.float32)[:, :, None]
        dx = (raster.x + columns * raster.step_x - a[:, 1:]).astype(np.float32)[:, None, :]
        along = (b - a).astype(np.float32)
        square = np.maximum((along**2).sum(axis=1), 1e-12)
        py, px = (along[:, k, None, None] for k in (0, 1))
        t = np.clip((dy * py + dx * px) / square[:, None, None], 0, 1)
        d = np.hypot(dy - t * py, dx - t * px)
        ends = np.stack([self.r0, self.r1, self.s0, self.s1], axis=-1)[which].astype(np.float32)
        r0, r1, s0, s1 = (ends[:, k, None, None] for k in range(4))
        r, s = r0 + t * (r1 - r0), s0 + t * (s1 - s0)
        flat = rows[:, :, None] * raster.nx + columns[:, None, :]
        return flat[ok], d[ok], r[ok], s[ok]

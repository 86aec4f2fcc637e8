"""Lobulated outlines, R(theta) = r (1 + sum a_k cos(k theta + phi_k)), and their signed distances.

Glands, lobules, lymphoid aggregates, tumour nests and the pieces of tissue are all such blobs. A
few numbers describe each, so a list of them is enough to draw any window at any scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrviz.scenes.noise import Raster

FAR = np.float32(1e6)
CERTAIN = 1500.0  # px outside an outline up to which `distance` is right; nobody asks farther


@dataclass(frozen=True)
class Blobs:
    """Closed outlines around centres, in level-0 pixels.

    Parameters
    ----------
    y, x, r : numpy.ndarray
        Centres and mean radii, float64 (n,).
    harmonics : numpy.ndarray
        complex64 (n, k): a_k exp(i phi_k) of harmonics 2, 3, ...; sum of |a_k| stays below 1.
    """

    y: np.ndarray
    x: np.ndarray
    r: np.ndarray
    harmonics: np.ndarray

    @classmethod
    def none(cls, k: int) -> Blobs:
        """An empty list of outlines with `k` harmonics."""
        return cls(np.empty(0), np.empty(0), np.empty(0), np.empty((0, k), np.complex64))

    def __len__(self) -> int:
        return len(self.r)

    def __getitem__(self, index: np.ndarray | slice) -> Blobs:
        return Blobs(self.y[index], self.x[index], self.r[index], self.harmonics[index])

    @property
    def reach(self) -> np.ndarray:
        """Radius that no outline leaves, (n,)."""
        return np.asarray(self.r * (1 + np.abs(self.harmonics).sum(axis=1)))

    @property
    def area(self) -> np.ndarray:
        """Enclosed areas, exact for the formula, (n,)."""
        return np.asarray(np.pi * self.r**2 * (1 + (np.abs(self.harmonics) ** 2).sum(axis=1) / 2))

    def near(self, y0: float, x0: float, y1: float, x1: float, margin: float = 0.0) -> Blobs:
        """Those that may touch the box grown by `margin`."""
        m = self.reach + margin
        touch = (self.y + m > y0) & (self.y - m < y1) & (self.x + m > x0) & (self.x - m < x1)
        return self[touch]

    def radius(self, unit: np.ndarray) -> np.ndarray:
        """Outline radius in directions `unit` = exp(i theta), (n, m) complex64 -> (n, m)."""
        total = np.zeros_like(unit)
        for k in range(self.harmonics.shape[1] - 1, -1, -1):
            total = (total + self.harmonics[:, k, None]) * unit
        return np.asarray((1 + (total * unit).real) * self.r[:, None].astype(np.float32))

    def distance(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Signed distance (negative inside) of scattered points to their nearest blob, (m,).

        Right up to `CERTAIN` px outside an outline; beyond it may be `FAR`.
        """
        best = np.full(y.shape, FAR, np.float32)
        # Neighbouring blobs go together, and only with the points near them: a slide's worth of
        # blobs and points would otherwise meet each other one by one.
        together = self[np.lexsort((self.x, np.floor(self.y / 8000)))]
        order = np.argsort(y, kind="stable")
        ys, xs = y[order], x[order]
        for start in range(0, len(together), 16):
            part = together[slice(start, start + 16)]
            m = float(part.reach.max()) + CERTAIN
            first = np.searchsorted(ys, part.y.min() - m, "left")
            last = np.searchsorted(ys, part.y.max() + m, "right")
            near = first + np.flatnonzero(
                (xs[first:last] > part.x.min() - m) & (xs[first:last] < part.x.max() + m)
            )
            if not near.size:
                continue
            d = (xs[near] - part.x[:, None]) + 1j * (ys[near] - part.y[:, None])
            d = d.astype(np.complex64)
            r = np.abs(d)
            unit = d / np.maximum(r, 1e-3)
            at = order[near]
            best[at] = np.minimum(best[at], (r - part.radius(unit)).min(axis=0, initial=FAR))
        return best


def field(
    blobs: Blobs, raster: Raster, warp: np.ndarray | None, margin: float, warp_reach: float = 0.0
) -> np.ndarray | None:
    """Signed distance to the nearest blob on a raster, float32; None where none is within `margin`.

    Parameters
    ----------
    warp : numpy.ndarray or None
        complex64 displacement (x + iy) of each sample, at most about `warp_reach` long: sample p is
        looked up at p + warp(p). It roughens the outlines without a second shape model.
    margin : float
        How far outside an outline its distance must still be right; `FAR` beyond.
    """
    ys, xs = raster.axes()
    blobs = blobs.near(ys[0, 0], xs[0, 0], ys[-1, 0], xs[0, -1], margin + warp_reach)
    if not len(blobs):
        return None
    out = np.full(raster.ny * raster.nx, FAR, np.float32)
    m = blobs.reach + margin + warp_reach
    i0 = np.ceil((blobs.y - m - raster.y) / raster.step).astype(np.int64)
    i1 = np.floor((blobs.y + m - raster.y) / raster.step).astype(np.int64)
    j0 = np.ceil((blobs.x - m - raster.x) / raster.step_x).astype(np.int64)
    j1 = np.floor((blobs.x + m - raster.x) / raster.step_x).astype(np.int64)
    i0, j0 = i0.clip(0), j0.clip(0)
    i1, j1 = i1.clip(max=raster.ny - 1), j1.clip(max=raster.nx - 1)
    height, width = i1 - i0 + 1, j1 - j0 + 1
    keep = (height > 0) & (width > 0)
    size = np.where(keep, 2 ** np.ceil(np.log2(np.maximum(np.maximum(height, width), 2))), 0)
    for s in np.unique(size[size > 0]).astype(int):
        group = np.flatnonzero(size == s)
        chunk = max(1, 60_000 // (s * s))
        for k in range(0, len(group), chunk):
            g = group[k : k + chunk]
            h, w = int(height[g].max()), int(width[g].max())
            rows, columns = i0[g, None] + np.arange(h), j0[g, None] + np.arange(w)
            inside = (rows <= i1[g, None])[:, :, None] & (columns <= j1[g, None])[:, None, :]
            rows, columns = rows.clip(max=raster.ny - 1), columns.clip(max=raster.nx - 1)
            dy = (raster.y - blobs.y[g])[:, None] + rows * raster.step
            dx = (raster.x - blobs.x[g])[:, None] + columns * raster.step_x
            flat = (rows[:, :, None] * raster.nx + columns[:, None, :])[inside]
            d = np.empty(inside.shape, np.complex64)
            d.real, d.imag = dx[:, None, :], dy[:, :, None]
            if warp is not None:
                d[inside] += warp.ravel()[flat]
            r = np.abs(d)
            unit = d / np.maximum(r, np.float32(1e-3))
            sdf = r - blobs[g].radius(unit.reshape(len(g), -1)).reshape(r.shape)
            np.minimum.at(out, flat, sdf[inside])
    return out.reshape(raster.ny, raster.nx)


def harmonics(rng_unit: np.ndarray, rng_phase: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """complex64 coefficients from uniform draws (n, k) and the largest amplitude of each."""
    size = (0.35 + 0.65 * rng_unit) * amplitudes
    return np.asarray(size * np.exp(2j * np.pi * rng_phase), dtype=np.complex64)

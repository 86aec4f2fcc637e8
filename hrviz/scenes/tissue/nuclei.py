"""Cell nuclei: where they are, and how they are drawn at every scale.

Each population lives on a jittered, staggered lattice with one candidate a cell; glands carry
theirs in rings. While a nucleus is larger than about two pixels it is an antialiased ellipse with
chromatin, a membrane and (in tumour) nucleoli; below, it is a rectangle of its area, shared out
over the pixels it covers. Both conserve area, so the mean light of all levels agrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrviz.scenes.noise import Raster, lattice_hash, uniform


@dataclass
class Nuclei:
    """Ellipses in level-0 pixels, all arrays (n,) float32 but the positions (float64).

    Parameters
    ----------
    y, x : numpy.ndarray
        Centres.
    a, b : numpy.ndarray
        Half axes, along and across `angle`.
    angle : numpy.ndarray
        Direction of `a`, radians from the x axis towards y.
    dark : numpy.ndarray
        Amount of hematoxylin, 0 (pale) to 1 (black-blue).
    open_ : numpy.ndarray
        0 for smooth dense chromatin, 1 for a vesicular nucleus: pale inside, dark rim, nucleoli.
    key : numpy.ndarray
        uint32 hash for whatever else differs between nuclei.
    """

    y: np.ndarray
    x: np.ndarray
    a: np.ndarray
    b: np.ndarray
    angle: np.ndarray
    dark: np.ndarray
    open_: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, keep: np.ndarray) -> Nuclei:
        return Nuclei(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    @property
    def tone(self) -> np.ndarray:
        """Mean darkness: what rim, open chromatin and nucleoli average to."""
        mean = self.dark * (1.032 - 0.18 * self.open_) + 0.012 * self.open_
        return np.asarray(np.minimum(mean, 1))

    @staticmethod
    def join(parts: list[Nuclei]) -> Nuclei:
        """All nuclei of several populations."""
        names = Nuclei.__dataclass_fields__
        return Nuclei(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def candidates(
    box: tuple[float, float, float, float],
    pitch: float,
    jitter: float,
    salt: int,
    where: tuple[np.ndarray, Raster] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, x, key) of the lattice candidates whose centre is in the box, flat.

    Parameters
    ----------
    where : (numpy.ndarray, Raster), optional
        Only candidates near True samples of this mask; it saves work, the caller still selects.
    """
    y0, x0, y1, x1 = box
    row_pitch = pitch * 0.8660254
    iy = np.arange(math.floor(y0 / row_pitch) - 1, math.floor(y1 / row_pitch) + 2)[:, None]
    ix = np.arange(math.floor(x0 / pitch) - 2, math.floor(x1 / pitch) + 2)[None, :]
    if where is not None:
        mask, raster = where
        i, j = raster.nearest((iy[:, 0] + 0.5) * row_pitch, (ix[0] + 0.75) * pitch)
        rows, columns = np.nonzero(mask[i][:, j])
        iy, ix = iy[rows, 0], ix[0, columns]
    key = lattice_hash(iy, ix, salt)
    y = (iy + 0.5 + (uniform(key, 1) - 0.5) * np.float32(2 * jitter)) * row_pitch
    x = (ix + 0.5 + 0.5 * (iy & 1) + (uniform(key, 2) - 0.5) * np.float32(2 * jitter)) * pitch
    keep = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    return y[keep], x[keep], key[keep]


def fibroblasts(y: np.ndarray, x: np.ndarray, key: np.ndarray, angle: np.ndarray) -> Nuclei:
    """Spindles along the fibres; one in six is a plump round stromal cell."""
    plump = uniform(key, 3) < 0.16
    a = np.where(plump, 14.0, 17.0 + 13.0 * uniform(key, 4)).astype(np.float32)
    b = np.where(plump, 11.0, 4.2 + 3.2 * uniform(key, 5)).astype(np.float32)
    dark = 0.50 + 0.38 * uniform(key, 6)
    turn = (uniform(key, 7) - 0.5) * np.float32(0.6)
    return Nuclei(y, x, a, b, angle + turn, dark, 0.35 * plump.astype(np.float32), key)


def lymphocytes(y: np.ndarray, x: np.ndarray, key: np.ndarray) -> Nuclei:
    """Small, round, dark."""
    a = 11.8 + 3.0 * uniform(key, 3)
    b = a * (0.84 + 0.16 * uniform(key, 4))
    dark = 0.66 + 0.26 * uniform(key, 6)
    return Nuclei(y, x, a, b, uniform(key, 7) * np.float32(np.pi), dark, np.zeros_like(a), key)


def tumour_cells(y: np.ndarray, x: np.ndarray, key: np.ndarray) -> Nuclei:
    """Large, of all sizes and shapes, most vesicular with nucleoli, some black."""
    size = uniform(key, 3)
    a = 16.5 + 9.0 * size + np.where(uniform(key, 8) > 0.94, np.float32(9.0), np.float32(0.0))
    b = a * (0.62 + 0.34 * uniform(key, 4))
    black = uniform(key, 9) > 0.80
    dark = np.where(black, 0.86, 0.50 + 0.26 * uniform(key, 6)).astype(np.float32)
    open_ = np.where(black, 0.1, 0.65 + 0.35 * uniform(key, 5)).astype(np.float32)
    return Nuclei(y, x, a, b, uniform(key, 7) * np.float32(np.pi), dark, open_, key)


def splat(
    nuclei: Nuclei, origin: tuple[float, float], n: int, pixel: float, grain: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Cover (0..1) and cover-weighted darkness of n x n pixels of side `pixel` from `origin`.

    Parameters
    ----------
    grain : numpy.ndarray or None
        (n, n) noise that becomes chromatin texture.
    """
    cover = np.zeros(n * n, np.float64)
    dark = np.zeros(n * n, np.float64)
    if len(nuclei):
        cy, cx = (nuclei.y - origin[0]) / pixel, (nuclei.x - origin[1]) / pixel
        if pixel <= 16:
            _ellipses(nuclei, cy, cx, n, pixel, cover, dark)
        else:
            _squares(nuclei, cy, cx, n, pixel, cover, dark)
    c: np.ndarray = cover.astype(np.float32).reshape(n, n)
    d: np.ndarray = dark.astype(np.float32).reshape(n, n)
    # Overlaps do not make a pixel darker than the nuclei in it.
    over = np.maximum(c, 1)
    c, d = c / over, d / over
    if pixel >= 32:  # the overlaps of crowded nuclei, which such pixels no longer see
        thinner = 1 - np.float32(0.065) * c
        c, d = c * thinner, d * thinner
    if grain is not None:
        d = np.clip(d * (1 + 0.20 * grain), 0, c)
    return c, d


def _ellipses(
    nuclei: Nuclei,
    cy: np.ndarray,
    cx: np.ndarray,
    n: int,
    pixel: float,
    cover: np.ndarray,
    dark: np.ndarray,
) -> None:
    soft = max(0.93, 2.6 / pixel)  # a little less than a pixel comes nearest to area coverage
    reach = nuclei.a * np.float32(1.1 if pixel <= 4 else 1.0) / pixel + max(soft - 1, 0.0) / 2
    near = reach + 1
    inside = (cy > -near) & (cy < n + near) & (cx > -near) & (cx < n + near)
    half = np.ceil(reach).astype(np.int32)
    flats: list[np.ndarray] = []
    alphas: list[np.ndarray] = []
    tones: list[np.ndarray] = []
    for h in np.unique(half[inside]):
        group = np.flatnonzero(inside & (half == h))
        chunk = max(1, 120_000 // int(2 * h + 1) ** 2)
        for k in range(0, len(group), chunk):
            g = group[k : k + chunk]
            q = nuclei[g]
            iy, ix = np.floor(cy[g]).astype(np.int32), np.floor(cx[g]).astype(np.int32)
            rows = iy[:, None] + np.arange(-h, h + 1, dtype=np.int32)
            columns = ix[:, None] + np.arange(-h, h + 1, dtype=np.int32)
            v = (rows + 0.5 - cy[g, None]).astype(np.float32)[:, :, None]
            u = (columns + 0.5 - cx[g, None]).astype(np.float32)[:, None, :]
            cos, sin = np.cos(q.angle)[:, None, None], np.sin(q.angle)[:, None, None]
            a, b = (q.a / pixel)[:, None, None], (q.b / pixel)[:, None, None]
            along, across = (u * cos + v * sin) / a, (v * cos - u * sin) / b
            if pixel <= 4:  # a dent and a bulge: no nucleus is an ellipse
                across = across + (0.16 * (_draw(q, 20) - 0.5) * 2) * (along * along - 0.5)
            rho2 = along * along + across * across
            slope = np.sqrt((along / a) ** 2 + (across / b) ** 2) + np.float32(1e-6)
            rho = np.sqrt(rho2)
            distance = rho * (rho - 1) / slope
            alpha = np.clip(0.5 - distance / soft, 0, 1)
            if pixel >= 4:
                area = np.float32(np.pi) * a * b
                alpha *= area / np.maximum(alpha.sum(axis=(1, 2), keepdims=True), 1e-3)
            tone = q.tone[:, None, None] if pixel > 2 else q.dark[:, None, None]
            tone = np.broadcast_to(tone, alpha.shape)
            if pixel <= 2:
                opened = q.open_[:, None, None]
                rim = np.clip(1 - np.abs(rho - 0.88) * 6.5, 0, 1)
                tone = tone * (1 - 0.30 * opened + (0.12 + 0.45 * opened) * rim)
                for s in (0, 1):
                    ny, nx = _draw(q, 21 + 2 * s) - 0.5, _draw(q, 22 + 2 * s) - 0.5
                    d2 = ((along - nx) * a) ** 2 + ((across - ny) * b) ** 2
                    size = (2.2 + 2.6 * _draw(q, 25 + s)) / pixel
                    spot = np.clip(0.5 + (size - np.sqrt(d2)) / (1.6 * soft), 0, 1)
                    there = (opened > 0.5) & (_draw(q, 27 + s) < (0.85, 0.4)[s])
                    tone = tone + 0.34 * spot * there
                tone = np.minimum(tone, 1)
            ok = (rows >= 0) & (rows < n)
            ok = ok[:, :, None] & ((columns >= 0) & (columns < n))[:, None, :] & (alpha > 0)
            flat = (rows[:, :, None] * n + columns[:, None, :])[ok]
            alpha_in = alpha[ok]
            flats.append(flat)
            alphas.append(alpha_in)
            tones.append(alpha_in * tone[ok])
    if flats:
        where = np.concatenate(flats)
        cover += np.bincount(where, np.concatenate(alphas), n * n)
        dark += np.bincount(where, np.concatenate(tones), n * n)


def _draw(nuclei: Nuclei, number: int) -> np.ndarray:
    return uniform(nuclei.key, number)[:, None, None]


def _squares(
    nuclei: Nuclei,
    cy: np.ndarray,
    cx: np.ndarray,
    n: int,
    pixel: float,
    cover: np.ndarray,
    dark: np.ndarray,
) -> None:
    """Each nucleus as an upright rectangle of its area and extent: exact coverage, separable."""
    a, b, cos, sin = nuclei.a, nuclei.b, np.cos(nuclei.angle), np.sin(nuclei.angle)
    hx, hy = np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)
    scale = np.sqrt(np.float32(np.pi) * a * b / (4 * hx * hy)) / np.float32(pixel)
    tone = nuclei.tone
    weights_y, rows = _overlaps(cy, hy * scale, n)
    weights_x, columns = _overlaps(cx, hx * scale, n)
    for wy, row in zip(weights_y, rows, strict=True):
        for wx, column in zip(weights_x, columns, strict=True):
            weight = wy * wx
            ok = np.flatnonzero(weight)
            flat, weight = row[ok] * n + column[ok], weight[ok]
            cover += np.bincount(flat, weight, n * n)
            dark += np.bincount(flat, weight * tone[ok], n * n)


def _overlaps(c: np.ndarray, half: np.ndarray, n: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Lengths that intervals share with the pixels they touch, and those pixels (0 outside)."""
    low, high = c - half, c + half
    first = np.floor(low)
    weights, pixels = [], []
    for k in range(math.ceil(2 * float(half.max(initial=0.0))) + 1):
        edge = first + k
        length = np.maximum(np.minimum(high, edge + 1) - np.maximum(low, edge), 0)
        weights.append(np.where((edge >= 0) & (edge < n), length, 0))
        pixels.append(edge.clip(0, n - 1).astype(np.intp))
    return weights, pixels

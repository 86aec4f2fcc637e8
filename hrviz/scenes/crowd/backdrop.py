"""Sky and paving, and the houses behind: all that does not move, as averages over pixels.

The paving is a periodic pattern on
the ground; its integral is taken at the edges of a pixel as they fall on the ground, so that rows
near the horizon, whose pixels are metres deep, do not flicker.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hrviz.scenes.crowd.camera import AIR, AVENUE, haze
from hrviz.scenes.crowd.houses import draw_avenue, draw_city, draw_facades, pulses, span
from hrviz.scenes.crowd.square import Square
from hrviz.scenes.noise import Raster, lattice_hash, octaves, uniform

SLAB = 0.8  # metres
_TILE = 60  # slabs after which their tones repeat
_JOINT = 0.022
_FIELD = 15 * SLAB  # bands of darker slabs enclose fields


def draw_backdrop(plan: Square, y0: float, x0: float, n: int, pixel: float) -> np.ndarray:
    """Block of n x n pixels whose first corner is (y0, x0), float32 (3, n, n)."""
    camera = plan.camera
    rgb = np.zeros((3, n, n), np.float32)
    y = y0 + pixel * np.arange(n + 1)
    x = x0 + pixel * np.arange(n + 1)
    if y[0] < camera.row(camera.far * AVENUE):
        _sky(rgb, plan, y0, x0, n, pixel)
    if y[-1] > camera.horizon:
        _paving(rgb, plan, y, x, pixel)
    if y[0] < camera.row(camera.far):
        draw_city(rgb, plan, y, x)
        draw_avenue(rgb, plan, y, x)
        draw_facades(rgb, plan, y, x)
    return rgb


def _sky(rgb: np.ndarray, plan: Square, y0: float, x0: float, n: int, pixel: float) -> None:
    camera = plan.camera
    t = ((y0 + pixel * (np.arange(n) + 0.5)) / camera.horizon).clip(0, 1).astype(np.float32)
    raster = Raster(y0 + pixel / 2, x0 + pixel / 2, n, n, pixel, pixel, pixel)
    size = camera.height * 0.1
    salt = plan.seed * 101
    parts = [(size * 2.0**-k, 0.6**k, salt + k) for k in range(4)]
    wide = Raster(raster.y * 2.6, raster.x, n, n, pixel * 2.6, pixel, pixel)
    cloud = ((octaves(wide, parts) - 0.35) * 0.55).clip(0, 0.8) * (1 - 0.5 * t)[:, None]
    for c, (top, low) in enumerate(((118, 208), (158, 218), (206, 230))):
        blue = (top + (low - top) * t**0.8)[:, None]
        rgb[c] = blue + cloud * (248 - blue)


class _Stones:
    """Tones of the slabs and stains, periodic, as integrals."""

    def __init__(self) -> None:
        k = np.arange(_TILE)
        tone = uniform(lattice_hash(k[:, None], k[None, :], 901)).astype(float) - 0.5
        checks = ((k[:, None] // 15 + k[None, :] // 15) % 2 - 0.5) * 0.5
        self.slabs = _integral(tone * 0.075 + checks * 0.045)
        rng = np.random.default_rng(11)
        f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, :])
        f[0, 0] = np.inf
        noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((128, 128))) / f**1.1, s=(128, 128))
        self.stains = _integral(noise / noise.std() * 0.028)


def _integral(tile: np.ndarray) -> np.ndarray:
    out = np.zeros((tile.shape[0] + 1, tile.shape[1] + 1))
    out[1:, 1:] = (tile - tile.mean()).cumsum(0).cumsum(1)
    return out


@lru_cache(maxsize=1)
def _stones() -> _Stones:
    return _Stones()


def _ground_mean(
    table: np.ndarray, size: float, z: np.ndarray, x: np.ndarray, soft: float
) -> np.ndarray:
    """Means of a periodic pattern over pixels on the ground, float32 (rows, columns).

    Parameters
    ----------
    table : numpy.ndarray
        Integral (m + 1, m + 1) of one period (of mean 0) with texels of `size` metres.
    z : numpy.ndarray
        (rows, 2): nearer and farther edge of each row, metres.
    x : numpy.ndarray
        (rows, 2): column j of a row covers x[0] + (j to j + 1) x[1].
    soft : float
        Least width of the mean in texels: 0 shows the texels' edges.
    """
    m = len(table) - 1
    rows = [_wrapped(table, p) for p in _spread(z / size, soft)]
    deep = np.diff(np.stack(_spread(z / size, soft)), axis=0)[0][:, None]
    line = (rows[1] - rows[0]) / deep
    n = len(line)
    columns = np.arange(n + 1)
    step = x[:, 1:] / size
    widen = np.maximum(soft - step, 0) / 2

    def at(p: np.ndarray) -> np.ndarray:
        turns = np.floor(p / m)
        p = p - turns * m
        k = np.minimum(p.astype(np.int32), m - 1)
        t = (p - k).astype(np.float32)
        flat = line.astype(np.float32).ravel()
        k += (np.arange(n, dtype=np.int32) * (m + 1))[:, None]
        a = flat.take(k)
        a += t * (flat.take(k + 1) - a)
        if np.any(line[:, m]):
            a += (turns * line[:, m:]).astype(np.float32)
        return a

    edges = x[:, :1] / size + columns * step
    if soft:
        out = at(edges[:, 1:] + widen) - at(edges[:, :-1] - widen)
    else:
        out = np.diff(at(edges), axis=1)
    out /= (step + 2 * widen).astype(np.float32)
    return out


def _spread(z: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    widen = np.maximum(soft - (z[:, 1] - z[:, 0]), 0) / 2
    return z[:, 0] - widen, z[:, 1] + widen


def _wrapped(table: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Rows of a periodic integral at positions in texels."""
    m = len(table) - 1
    turns = np.floor(p / m)
    p = p - turns * m
    k = np.minimum(p.astype(np.intp), m - 1)
    t = (p - k)[:, None]
    return np.asarray(table[k] * (1 - t) + table[k + 1] * t + turns[:, None] * table[m])


def _paving(rgb: np.ndarray, plan: Square, y: np.ndarray, x: np.ndarray, pixel: float) -> None:
    stones, camera = _stones(), plan.camera
    n = len(y) - 1
    first = camera.row(camera.far * 14)
    rise = np.maximum(y, first) - camera.horizon
    depth = camera.focal * camera.up / rise
    z = np.stack([depth[1:], depth[:-1]], axis=-1)
    z[:, 1] = np.maximum(z[:, 1], z[:, 0] + 1e-6)
    middle = camera.focal * camera.up / ((rise[1:] + rise[:-1]) / 2)
    metre = middle / camera.focal  # metres a pixel of level 0, across
    xs = np.stack([(x[0] - camera.cx) * metre, pixel * metre], axis=-1)
    tone = 1 + _ground_mean(stones.slabs, SLAB, z, xs, 0.0)
    tone += _ground_mean(stones.stains, 0.9, z, xs, 2.0)
    tone += _ground_mean(stones.stains, 5.3, z, xs, 2.0)
    if pixel <= 8:
        parts = [
            (w, 0.012, plan.seed + 40 + k) for k, w in enumerate((2.0, 4.0, 8.0)) if w >= pixel
        ]
        raster = Raster(y[0] + pixel / 2, x[0] + pixel / 2, n, n, pixel, pixel, pixel)
        tone += octaves(raster, parts)
    edges = xs[:, :1] + np.arange(n + 1) * xs[:, 1:]

    def lines(period: float, width: float) -> np.ndarray:
        """Share of pixels on lines along both axes."""
        along = pulses(depth[::-1], period, -width / 2, width)[::-1].astype(np.float32)
        p = ((edges + width / 2) / period).astype(np.float64)
        whole = np.floor(p)
        filled = whole * width + np.minimum((p - whole) * period, width)
        across = (np.diff(filled, axis=1) / xs[:, 1:]).astype(np.float32)
        return np.asarray(1 - (1 - along[:, None]) * (1 - across))

    band = lines(_FIELD, SLAB)
    joint = lines(SLAB, _JOINT)
    tone *= 1 - 0.3 * joint
    air = haze(middle, camera).astype(np.float32)[:, None]
    shown = span(y, first, np.inf).astype(np.float32)[:, None]
    for c, (stone, dark) in enumerate(((190, 148), (181, 132), (166, 120))):
        colour = tone * (stone + band * np.float32(dark - stone))
        colour += air * (np.float32(AIR[c]) - colour)
        rgb[c] += shown * (colour - rgb[c])

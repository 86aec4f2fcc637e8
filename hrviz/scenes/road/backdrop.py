"""Sky, hills, fields and the road itself, for one block: everything that does not stand up.

The ground is textured in metres: row by row, because all pixels of a row are equally far away.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hrviz.scenes.noise import Raster, octaves
from hrviz.scenes.road.world import EYE, LANE, LEFT_EDGE, World

_N = 256
HAZE = 700.0  # m over which colours fade to the sky's


def backdrop(world: World, y: float, x: float, n: int, pixel: float) -> np.ndarray:
    """Float32 (3, n, n), 0 to 255, of the block whose corner is (y, x) level-0 px."""
    raster = Raster(y + pixel / 2, x + pixel / 2, n, n, pixel, pixel, pixel)
    rgb = np.empty((3, n, n), np.float32)
    split = int(np.clip(np.ceil((world.horizon - y) / pixel), 0, n))
    if split:
        rows = Raster(raster.y, raster.x, split, n, pixel, pixel, pixel)
        rgb[:, :split] = _sky(world, rows)
        _hills(world, rows, rgb[:, :split])
    if split < n:
        top = y + split * pixel
        rgb[:, split:] = _ground(world, top, x, n - split, n, pixel)
    return rgb


def _salt(world: World, number: int) -> int:
    return (world.seed * 1_000_003 + number * 7919) & 0x7FFFFFFF


def _sky(world: World, raster: Raster) -> np.ndarray:
    """Blue that pales towards the horizon, and clouds lit from above."""
    day, side = world.weather, float(world.height)
    up = ((world.horizon - raster.axes()[0]) / world.horizon).clip(0, 1).astype(np.float32)
    # Clouds are wide and flat, and flatter near the horizon.
    flat = Raster(raster.y * 2.6, raster.x, raster.ny, raster.nx, raster.step * 2.6, raster.step_x,
                  raster.box)  # fmt: skip
    waves = [side / 2**k for k in range(1, 14) if side / 2**k >= 4]
    parts = [(w, 0.62 * 0.60**k, _salt(world, 10 + k)) for k, w in enumerate(waves)]
    billow = octaves(flat, parts) + np.float32(day.cloudy)
    thick = ((billow - 0.25) * 1.05).clip(0, 1)
    thick = thick * thick * (3 - 2 * thick) * (0.25 + 0.75 * np.sqrt(up))
    shade = np.float32(1) - np.float32(0.15) * (billow - 0.55).clip(0, 1)
    out = np.empty((3, raster.ny, raster.nx), np.float32)
    pale = (1 - up) ** 1.7
    for c in range(3):
        clear = day.top[c] + pale * np.float32(day.low[c] - day.top[c])
        out[c] = clear + thick * (np.float32(day.cloud[c]) * shade - clear)
    return out


def _hills(world: World, raster: Raster, rgb: np.ndarray) -> None:
    """Blue ridges, then wooded ones, each nearer, darker and rougher."""
    day, side = world.weather, float(world.height)
    ys = raster.axes()[0]
    layers = (  # height of the ridge, longest wave, roughness, distance in m, colour
        (0.085, 0.60, 0.42, 2600.0, (70, 92, 112)),
        (0.050, 0.36, 0.46, 1300.0, (62, 86, 82)),
        (0.030, 0.22, 0.62, 620.0, (48, 70, 46)),
    )
    for k, (rise, wave, rough, away, colour) in enumerate(layers):
        top = world.horizon - (rise * 2.1) * side
        if ys[-1, 0] < top - raster.step:
            continue
        row = Raster(0.5, raster.x, 1, raster.nx, raster.step, raster.step_x, raster.box)
        waves = [side * wave / 2**i for i in range(12) if side * wave / 2**i >= 3]
        parts = [(w, 0.30 * rise * side * rough**i, _salt(world, 40 + 20 * k + i))
                 for i, w in enumerate(waves)]  # fmt: skip
        ridge = np.float32(world.horizon - 0.55 * rise * side) - octaves(row, parts)
        slope = np.gradient(ridge[0]) / raster.step_x if raster.nx > 1 else np.zeros(1)
        below = (ys.astype(np.float32) - ridge) / np.sqrt(1 + slope**2).astype(np.float32)
        cover = (0.5 + below / np.float32(raster.step)).clip(0, 1)
        fog = 1 - np.exp(-away / (2.6 * HAZE))
        depth = (below / np.float32(rise * side)).clip(0, 1) * np.float32(0.25)
        leaves = [w for w in (side / 90, side / 200, side / 400) if w >= 3]
        mottle = octaves(raster, [(w, 5 * (1 - fog), _salt(world, 100 + 9 * k + i))
                                  for i, w in enumerate(leaves)])  # fmt: skip
        for c in range(3):
            tone = colour[c] * day.light[c]
            tone = tone + (fog + depth * (1 - fog)) * np.float32(day.low[c] - tone) + mottle
            rgb[c] += cover * (tone - rgb[c])


@lru_cache(maxsize=1)
def table() -> np.ndarray:
    """Periodic smooth noise (256, 257), about two nodes a wave; the first column comes again."""
    rng = np.random.default_rng(11)
    f = np.hypot(np.fft.fftfreq(_N)[:, None], np.fft.rfftfreq(_N)[None])
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((_N, _N))) * np.exp(-((f / 0.28) ** 2)))
    noise = (noise / noise.std()).astype(np.float32)
    out = np.concatenate([noise, noise[:, :1]], axis=1)
    out.setflags(write=False)
    return out


def _grain(away: np.ndarray, across: np.ndarray, wave: float, shift: int) -> np.ndarray:
    """Noise of one wavelength on the ground at rows `away` (n,) and places `across` (n, m), m."""
    t = table()
    v = away * (2 / wave) + shift * 37
    i = np.floor(v)
    f = (v - i).astype(np.float32)[:, None]
    i0 = i.astype(np.int64) & (_N - 1)
    rows = t[i0] * (1 - f) + t[(i0 + 1) & (_N - 1)] * f
    u = across * np.float32(2 / wave) + np.float32(shift * 53)
    j = np.floor(u)
    g = u - j
    index = (j.astype(np.int32) & (_N - 1)) + (np.arange(len(v), dtype=np.int32) * (_N + 1))[
        :, None
    ]
    flat = rows.ravel()
    a = flat.take(index)
    return a + (flat.take(index + 1) - a) * g


def _dashes(near: np.ndarray, far: np.ndarray, period: float, on: float) -> np.ndarray:
    """Share of each interval of distance that dashes of length `on` cover, exact."""

    def total(z: np.ndarray) -> np.ndarray:
        return np.floor(z / period) * on + np.minimum(z % period, on)

    return ((total(far) - total(near)) / (far - near)).astype(np.float32)[:, None]


def _ground(world: World, y: float, x: float, ny: int, nx: int, pixel: float) -> np.ndarray:
    """Fields, verge, asphalt and its markings."""
    day = world.weather
    below = y - world.horizon + (np.arange(ny) + 0.5) * pixel
    low, high = below - pixel / 2, below + pixel / 2
    below, low = np.maximum(below, 0.3), np.maximum(low, 0.1)
    high = np.maximum(high, 0.2)
    metre = below / EYE
    away = world.focal / metre
    near, far = world.focal * EYE / high, world.focal * EYE / low
    dx = (pixel / metre).astype(np.float32)[:, None]  # footprint of a pixel in metres
    dz = (far - near)[:, None]
    middle = world.middle(world.horizon + below)
    xs = x + (np.arange(nx) + 0.5) * pixel
    across = ((xs[None] - middle[:, None]) / metre[:, None]).astype(np.float32)

    def grain(wave: float, shift: int) -> np.ndarray | float:
        # What a pixel's footprint has averaged out; along the road it is much longer than across.
        left = np.exp(-((dx / wave) ** 2) - (dz / (5 * wave)) ** 2).astype(np.float32)
        seen = left[:, 0] > 0.02
        if not seen.any():
            return 0.0
        first = int(np.argmax(seen))
        out = np.zeros_like(across)
        out[first:] = _grain(away[first:], across[first:], wave, shift + world.seed % 97)
        out[first:] *= left[first:]
        return out

    broad = grain(90.0, 1) + 0.7 * grain(22.0, 2)
    tuft = 0.9 * grain(5.0, 3) + grain(1.3, 4)
    blade = grain(0.32, 5) + 0.8 * grain(0.09, 6)
    off = np.maximum(np.float32(LEFT_EDGE) - across, across - np.float32(world.right_edge))
    far_off = ((off - 9) / 14).clip(0, 1)
    straw = (0.30 + 0.42 * broad * (0.4 + 0.6 * far_off) + 0.05 * tuft).clip(0, 1)
    ditch = np.exp(-(((off - 2.3) / 0.9) ** 2)) * np.float32(0.22)
    lit = 1 + 0.04 * tuft + 0.02 * blade + _blades(world, y, x, ny, nx, pixel, below) - ditch
    worn = 0.045 * grain(9.0, 7) + 0.022 * grain(0.6, 8) + 0.02 * grain(0.12, 9)
    worn = worn + 0.045 * grain(0.03, 10)
    tracks = sum(
        np.exp(-(((across - np.float32(m)) / 0.36) ** 2))
        for m in (-LANE - 0.8, -LANE + 0.8, -0.8, 0.8)
    )
    asphalt = 1 + worn - 0.075 * tracks
    shoulder = _between(across, dx, LEFT_EDGE - 0.55, world.right_edge + 0.55, 0.35)
    paved = _between(across, dx, LEFT_EDGE, world.right_edge)
    dash = _dashes(near, far, 12.0, 3.0)
    edge_dash = _dashes(near, far, 3.0, 1.0)
    paint = _between(across, dx, -LANE / 2 - 0.06, -LANE / 2 + 0.06) * dash
    paint = paint + _between(across, dx, LEFT_EDGE + 0.22, LEFT_EDGE + 0.34) * edge_dash
    paint = (
        paint + _between(across, dx, world.right_edge - 0.34, world.right_edge - 0.22) * edge_dash
    )
    paint = paint * np.float32(0.88)
    fog = (1 - np.exp(-away / HAZE)).astype(np.float32)[:, None]
    sheen = np.exp(-away / 60.0).astype(np.float32)[:, None] * np.float32(0.10)
    out = np.empty((3, ny, nx), np.float32)
    for c in range(3):
        part = (day.grass[c] + straw * np.float32(day.dry[c] - day.grass[c])) * lit
        part += shoulder * ((138, 130, 118)[c] * (1 + 0.8 * worn + 0.1 * blade) - part)
        part += paved * ((112, 112, 116)[c] * (asphalt - sheen) - part)
        part += paint * (np.float32((232, 230, 222)[c]) * (1 + worn) - part)
        part *= np.float32(day.light[c])
        out[c] = part + fog * (np.float32(day.low[c]) - part)
    return out


def _blades(
    world: World, y: float, x: float, ny: int, nx: int, pixel: float, below: np.ndarray
) -> np.ndarray:
    """Upright streaks of light and shade: blades of grass, taller towards the camera."""
    tall = 0.42  # width of a streak over its height
    raster = Raster((y + pixel / 2) * tall, x + pixel / 2, ny, nx, pixel * tall, pixel, pixel)
    side = float(world.height)
    near = (below / (0.5 * side)).clip(0, 1).astype(np.float32)[:, None]
    out = np.zeros((ny, nx), np.float32)
    for k, wave in enumerate((side / 130, side / 210, side / 320, side / 700, side / 1500)):
        if wave >= 2.5:  # the finer the streaks, the farther away
            place = np.exp(-(((near - (0.75 - 0.25 * min(k, 2))) / 0.35) ** 2))
            out += place * octaves(raster, [(wave, 0.055, _salt(world, 130 + k))])
    return out


def _between(
    across: np.ndarray, dx: np.ndarray, left: float, right: float, soft: float = 0.0
) -> np.ndarray:
    """Share of each pixel's width between two lines along the road, exact for `soft` 0."""
    half = np.maximum(dx, np.float32(soft)) / 2
    start = np.maximum(across - half, np.float32(left))
    end = np.minimum(across + half, np.float32(right))
    return ((end - start) / (2 * half)).clip(0, 1)

"""Houses, near and far, as products of one-dimensional coverages: exact averages of pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hrviz.scenes.crowd.camera import AIR, AVENUE, Camera, haze
from hrviz.scenes.crowd.square import Square
from hrviz.scenes.noise import lattice_hash, uniform

_WALLS = np.array([[214, 196, 160], [205, 172, 138], [198, 190, 176], [222, 210, 184], [188, 150, 124],
                   [212, 186, 170], [226, 218, 204], [200, 180, 140]], float)  # fmt: skip
_ROOFS = np.array([[122, 84, 70], [96, 98, 106], [140, 98, 78], [86, 84, 88]], float)
_AWNINGS = np.array(
    [[150, 52, 48], [58, 92, 84], [206, 190, 158], [54, 66, 96], [190, 140, 62]], float
)


def pulses(edges: np.ndarray, period: float, start: float, width: float) -> np.ndarray:
    """Share of the gaps between edges that lies in [start, start + width) + k period."""
    p = (edges - start) / period
    whole = np.floor(p)
    filled = whole * width + np.minimum((p - whole) * period, width)
    return np.asarray(np.diff(filled) / np.maximum(np.diff(edges), 1e-12))


def span(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """Share of the gaps between edges that lies in [low, high)."""
    return np.asarray(np.diff(edges.clip(low, max(low, high))) / np.diff(edges))


def _lay(rgb: np.ndarray, rows: np.ndarray, columns: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour over the product of two coverages."""
    i, j = np.flatnonzero(rows), np.flatnonzero(columns)
    if not len(i) or not len(j):
        return
    a, b = slice(i[0], i[-1] + 1), slice(j[0], j[-1] + 1)
    share = (rows[a, None] * columns[None, b]).astype(np.float32)
    for c in range(3):
        below = rgb[c, a, b]
        below += share * (np.float32(colour[c]) - below)


def _roofs(plan: Square, layer: int, x: np.ndarray, scale: float, width: float) -> list[tuple]:
    """Houses of a row that columns touch: left, right (px), and their hash."""
    camera = plan.camera
    step = width * scale
    k0 = int(np.floor((x[0] - camera.cx) / step)) - 1
    k1 = int(np.floor((x[-1] - camera.cx) / step)) + 1
    ks = np.arange(k0, k1 + 2)
    h = lattice_hash(ks[None], np.array([[layer]]), plan.seed + 7)[0]
    left = camera.cx + (ks + (uniform(h, 1) - 0.5) * 0.5) * step
    return [(left[i], left[i + 1], h[i : i + 1]) for i in range(len(ks) - 1)]


def draw_city(rgb: np.ndarray, plan: Square, y: np.ndarray, x: np.ndarray) -> None:
    """Roofs behind the square, each row paler than the one before it."""
    camera = plan.camera
    left, right = plan.avenue
    near = camera.focal / camera.far
    street = span(x, camera.cx + left * near, camera.cx + right * near)
    for layer, (times, width) in enumerate(((5.0, 26.0), (3.2, 22.0), (1.9, 18.0))):
        z = times * camera.far
        scale = camera.focal / z
        gap = span(x, camera.cx + left * scale, camera.cx + right * scale)
        air = min(0.9, 0.25 + float(haze(z, camera)))
        tall = _tallest(camera)
        for a, b, h in _roofs(plan, layer, x, scale, width):
            u = float(uniform(h, 2)[0])
            top = camera.row(z) - scale * tall * (
                0.85 + 0.4 * u + (0.7 if u > 0.95 else 0) + 0.12 * times
            )
            colour = _WALLS[int(h[0]) % len(_WALLS)] * (0.72 + 0.14 * float(uniform(h, 3)[0]))
            columns = span(x, a, b) * (1 - gap)
            roof = _ROOFS[int(h[0] >> 4) % len(_ROOFS)]
            low = top + scale * 4
            _lay(rgb, span(y, top, low), columns, roof + air * (AIR - roof))
            _lay(rgb, span(y, low, camera.row(z)), columns, colour + air * (AIR - colour))
            # In high pictures one looks over the houses: roofs, not paving, lie behind them.
            _lay(
                rgb,
                span(y, camera.row(z), camera.row(camera.far)),
                columns * (1 - street),
                roof + air * (AIR - roof),
            )
            if scale > 0.5:
                dark = colour * 0.72
                rows = pulses(y, 3.6 * scale, low + scale, 1.7 * scale) * span(
                    y, low, camera.row(z)
                )
                _lay(
                    rgb,
                    rows,
                    pulses(x, 2.8 * scale, a, 1.1 * scale) * columns,
                    dark + air * (AIR - dark),
                )


def _tallest(camera: Camera) -> float:
    """Height of the highest facades, metres: they leave room for the sky."""
    room = (camera.row(camera.far) - 0.05 * camera.height) / float(
        camera.scale(np.asarray(camera.far))
    )
    return min(26.0, room)


def draw_avenue(rgb: np.ndarray, plan: Square, y: np.ndarray, x: np.ndarray) -> None:
    """The walls of the street, which run to the vanishing point, and a house at its end."""
    camera = plan.camera
    end = camera.far * AVENUE
    left, right = plan.avenue
    tall = _tallest(camera) * 0.85
    scale = camera.focal / end
    wall = np.array([200.0, 184.0, 160.0])
    air = float(haze(end, camera))
    rows = span(y, camera.row(end) - scale * 30, camera.row(end))
    columns = span(x, camera.cx + left * scale, camera.cx + right * scale)
    _lay(rgb, rows, columns, wall + air * (AIR - wall))
    near = camera.focal / camera.far
    for side, tone in ((left, 0.92 + 0.1 * plan.sun), (right, 0.92 - 0.1 * plan.sun)):
        a, b = sorted((camera.cx + side * near, camera.cx + side * scale))
        columns = span(x, a, b)
        j = np.flatnonzero(columns)
        if not len(j):
            continue
        part = slice(j[0], j[-1] + 1)
        middle = ((x[1:] + x[:-1]) / 2)[part].clip(a, b) - camera.cx
        z = side * camera.focal / np.where(np.abs(middle) < 1e-9, 1e-9, middle)
        metre = camera.focal / z  # px a metre on the wall, falling towards the end
        top, foot = camera.horizon + metre * (camera.up - tall), camera.horizon + metre * camera.up
        pixel = y[1] - y[0]
        cover = ((np.minimum(y[1:, None], foot) - np.maximum(y[:-1, None], top)) / pixel).clip(0, 1)
        cover *= columns[None, part]
        high = (foot[None] - y[:, None]) / metre  # height on the wall at the edges of rows
        floors = _pulses2(high[::-1], 3.5, 1.1, 1.7)[::-1] * (high[:-1] < tall)
        ends = side * camera.focal / (x[part.start : part.stop + 1].clip(a, b) - camera.cx)
        ends = np.sort(ends)
        panes = pulses(ends, 3.2, 0.8, 1.3)
        if abs(z[0] - ends[0]) > abs(z[0] - ends[-1]):
            panes = panes[::-1]
        air_z = haze(z, camera)
        for c in range(3):
            body = wall[c] * tone * (1 - 0.42 * floors * panes)
            body += air_z * (AIR[c] - body)
            below = rgb[c][:, part]
            below += (cover * (body - below)).astype(np.float32)


def _pulses2(edges: np.ndarray, period: float, start: float, width: float) -> np.ndarray:
    p = (edges - start) / period
    whole = np.floor(p)
    filled = whole * width + np.minimum((p - whole) * period, width)
    return np.diff(filled, axis=0) / np.maximum(np.diff(edges, axis=0), 1e-9)


def draw_facades(rgb: np.ndarray, plan: Square, y: np.ndarray, x: np.ndarray) -> None:
    """The houses along the far side of the square."""
    camera = plan.camera
    m = camera.focal / camera.far
    foot = camera.row(camera.far)
    left, right = (camera.cx + side * m for side in plan.avenue)
    air = float(haze(camera.far, camera))
    light = -plan.sun

    def dim(colour: np.ndarray, tone: float = 1.0) -> np.ndarray:
        return np.asarray(colour * tone + air * (AIR - colour * tone))

    for a, b, h in _roofs(plan, 9, x, m, 15.0):
        if a < left < b or a < right < b or left < (a + b) / 2 < right:  # corner houses
            if (a + b) / 2 < (left + right) / 2:
                b = left if a < left else a
            else:
                a = right if b > right else b
        if b - a < 2 * m or (a >= left and b <= right):
            continue
        if b <= x[0] or a >= x[-1]:
            continue
        _house(rgb, y, x, (a, b), foot, m, h, _tallest(camera), dim, light)
    curb = 1 - span(x, left, right)
    _lay(rgb, span(y, foot - 0.25 * m, foot + 0.12 * m), curb, dim(np.array([120.0, 114.0, 106.0])))


def _house(
    rgb: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    sides: tuple[float, float],
    foot: float,
    m: float,
    h: np.ndarray,
    tallest: float,
    dim: Callable[..., np.ndarray],
    light: float,
) -> None:
    """One house between two columns: `m` px a metre, `h` its hash, `dim` colours in the haze."""
    a, b = sides
    columns = span(x, a, b)
    u = [float(uniform(h, k)[0]) for k in range(2, 10)]
    wall = _WALLS[int(h[0]) % len(_WALLS)] * (0.94 + 0.1 * u[0])
    storeys = max(2, round(tallest * (0.55 + 0.33 * u[1]) / 3.6))
    storey = 3.6 * min(1.0, tallest * 0.88 / (3.6 * storeys))
    top = foot - storeys * storey * m
    roof = 2.0 + 2.0 * u[2]
    tile = _ROOFS[int(h[0] >> 5) % len(_ROOFS)]
    inner = span(x, a + 0.5 * m, b - 0.5 * m)
    _lay(rgb, span(y, top - roof * m, top), inner, dim(tile))
    _lay(rgb, span(y, top - roof * m, top - (roof - 0.25) * m), inner, dim(tile, 1.15))
    chimney = a + (0.2 + 0.6 * u[3]) * (b - a)
    _lay(rgb, span(y, top - (roof + 1.4) * m, top - 0.5 * roof * m), span(x, chimney, chimney + 0.9 * m),
         dim(tile, 0.9))  # fmt: skip
    if u[4] > 0.4:  # dormers
        bay = (b - a) / max(2, round((b - a) / m / 4.5))
        spots = pulses(x, bay, a + bay / 2 - 0.7 * m, 1.4 * m) * inner
        _lay(rgb, span(y, top - 1.9 * m, top), spots, dim(wall, 1.04))
        panes = pulses(x, bay, a + bay / 2 - 0.45 * m, 0.9 * m) * inner
        _lay(rgb, span(y, top - 1.6 * m, top - 0.3 * m), panes, dim(np.array([84.0, 96.0, 110.0])))
    _lay(rgb, span(y, top, foot), columns, dim(wall))
    shadow_side = span(x, b - 0.35 * m, b) if light > 0 else span(x, a, a + 0.35 * m)
    _lay(rgb, span(y, top, foot), shadow_side, dim(wall, 0.86))
    _lay(rgb, span(y, top - 0.25 * m, top + 0.3 * m), columns, dim(wall, 1.1))
    _lay(rgb, span(y, top + 0.3 * m, top + 0.6 * m), columns, dim(wall, 0.8))
    bays = max(2, round((b - a) / m / (2.5 + 0.9 * u[5])))
    bay = (b - a) / bays
    body = span(y, top, foot - storey * m)
    sill, pane = 0.95 * m, 1.85 * m
    starts = foot - storey * m  # windows hang from the floors, counted from the ground floor up
    frame_rows = pulses(y, storey * m, starts - sill - pane - 0.18 * m, pane + 0.36 * m) * body
    frame_columns = pulses(x, bay, a + bay / 2 - 0.68 * m, 1.36 * m) * columns
    _lay(rgb, frame_rows, frame_columns, dim(wall, 1.14))
    rows = pulses(y, storey * m, starts - sill - pane, pane) * body
    glass = np.array([74.0, 86.0, 102.0]) * (0.85 + 0.3 * u[6])
    panes = pulses(x, bay, a + bay / 2 - 0.5 * m, 1.0 * m) * columns
    _lay(rgb, rows, panes, dim(glass))
    _lay(rgb, rows, pulses(x, bay, a + bay / 2 - 0.05 * m, 0.1 * m) * columns, dim(wall, 1.1))
    reveal = pulses(y, storey * m, starts - sill - pane, 0.22 * m) * body
    _lay(rgb, reveal, panes, dim(glass, 0.7))
    if u[7] > 0.55:  # shutters
        for side in (-0.95, 0.55):
            green = np.array([[92, 112, 98], [110, 84, 66], [96, 110, 126]], float)[
                int(h[0] >> 9) % 3
            ]
            _lay(rgb, rows, pulses(x, bay, a + bay / 2 + side * m, 0.4 * m) * columns, dim(green))
    _lay(rgb, span(y, starts - 0.28 * m, starts), columns, dim(wall, 1.08))
    shops = pulses(x, bay, a + 0.45 * m, bay - 0.9 * m) * columns
    _lay(rgb, span(y, foot - 2.75 * m, foot - 0.3 * m), shops, dim(np.array([62.0, 64.0, 68.0])))
    cloth = _AWNINGS[int(h[0] >> 12) % len(_AWNINGS)]
    if int(h[0] >> 15) % 3:
        awning = pulses(x, bay, a + 0.25 * m, bay - 0.5 * m) * columns
        _lay(rgb, span(y, foot - 3.0 * m, foot - 2.1 * m), awning, dim(cloth))
        if int(h[0] >> 17) % 2:
            stripes = pulses(x, 0.7 * m, a, 0.35 * m) * awning
            _lay(
                rgb,
                span(y, foot - 3.0 * m, foot - 2.1 * m),
                stripes,
                dim(np.array([234.0, 230.0, 220.0])),
            )
        _lay(rgb, span(y, foot - 2.1 * m, foot - 1.95 * m), awning, dim(cloth, 0.7))

"""Laying people on a block: shadows first, then small figures by the thousand, then large ones.

Small figures become fragments (pixel, share covered, colour), sorted by pixel and laid far to near
in one go; large ones are drawn shape by shape.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hrviz.scenes.crowd.atlas import (
    GROUND,
    GROUND_COLUMNS,
    GROUND_ROWS,
    GROUND_X,
    GROUND_Z,
    LEFT,
    SHARP,
    TOP_V,
    Atlas,
)
from hrviz.scenes.crowd.figure import PARTS, outline_of, shapes
from hrviz.scenes.crowd.shape import paint

_BATCH = 250_000  # fragments made at a time
_SIDES = np.array([2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 96, 128, 256, 512])


def shadow_reach(sun: float) -> tuple[float, float, float, float]:
    """v0, x0, v1, x1 around the feet that a shadow stays in: depth (v) and width, metres."""
    high = GROUND_Z + GROUND_ROWS / GROUND
    wide = GROUND_X + GROUND_COLUMNS / GROUND
    left, right = (GROUND_X, wide) if sun < 0 else (-wide, -GROUND_X)
    return GROUND_Z, left, high, right


def _integral(table: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear look-up in integrals (h, w, c) or one a row (n, h, w, c) at (n, p) x (n, q) points."""
    n, h, w = table.shape[0], table.shape[-3], table.shape[-2]
    y, x = y.clip(0, h - 1), x.clip(0, w - 1)
    i, j = np.minimum(y.astype(np.intp), h - 2), np.minimum(x.astype(np.intp), w - 2)
    fy = (y - i).astype(np.float32)[:, :, None, None]
    fx = (x - j).astype(np.float32)[:, None, :, None]
    flat = table.reshape(-1, table.shape[-1])
    base = (np.arange(n)[:, None, None] * h + i[:, :, None]) * w + j[:, None, :]
    top = flat.take(base, 0)
    top += fx * (flat.take(base + 1, 0) - top)
    base += w
    low = flat.take(base, 0)
    low += fx * (flat.take(base + 1, 0) - low)
    top += fy * (low - top)
    return top


def shade(
    known: Atlas, sun: float, n: int, feet: np.ndarray, scale: np.ndarray, flat: np.ndarray,
    keys: np.ndarray,
) -> np.ndarray | None:  # fmt: skip
    """How much of each pixel of a block lies in people's shadow, float32 (n, n).

    Parameters
    ----------
    feet : numpy.ndarray
        (m, 2): (y, x) in pixels of the block.
    scale : numpy.ndarray
        Pixels a metre.
    flat : numpy.ndarray
        Foreshortening of the ground: rows a metre away over columns a metre aside.
    """
    if not len(keys):
        return None
    keys = outline_of(keys)
    known.need_shadows(keys)
    reach = np.array(shadow_reach(sun))
    y0 = feet[:, 0] - reach[2] * scale * flat
    y1 = feet[:, 0] - reach[0] * scale * flat
    x0, x1 = feet[:, 1] + reach[1] * scale, feet[:, 1] + reach[3] * scale
    light = np.zeros(n * n)
    large = scale > GROUND
    for k in np.flatnonzero(large):
        _shade_one(known.shadows[keys[k]], light.reshape(n, n), sun, feet[k], scale[k], flat[k],
                   (y0[k], x0[k], y1[k], x1[k]))  # fmt: skip
    rest = np.flatnonzero(~large)
    table = known.shadows[..., None]
    for chosen, i, j, inside in _patches(rest, np.stack([y0, x0, y1, x1], axis=-1), n):
        m, f = scale[chosen][:, None], flat[chosen][:, None]
        v = ((feet[chosen, :1] - i) / (m * f) - GROUND_Z) * GROUND
        u = (-sun * (j - feet[chosen, 1:]) / m - GROUND_X) * GROUND
        sums = _integral(table[keys[chosen]], v, u)[..., 0]
        part = sums[:, 1:, 1:] - sums[:, :-1, 1:] - sums[:, 1:, :-1] + sums[:, :-1, :-1]
        area = (m * m * f / GROUND**2)[:, :, None]
        share = np.abs(part) * area.astype(np.float32)
        pixel = (i[:, :-1, None] * n + j[:, None, :-1])[inside]
        loss = np.log1p(-share[inside].clip(0, 0.98))
        light += np.bincount(pixel, loss, n * n)
    return (1 - np.exp(light)).reshape(n, n).astype(np.float32)


def _shade_one(
    table: np.ndarray, light: np.ndarray, sun: float, feet: np.ndarray, scale: float, flat: float,
    box: tuple[float, ...],
) -> None:  # fmt: skip
    """One large shadow: its integral is separable, rows then columns; softened by two texels."""
    n = len(light)
    i0, i1 = max(int(box[0]), 0), min(int(box[2]) + 1, n)
    j0, j1 = max(int(box[1]), 0), min(int(box[3]) + 1, n)
    if i0 >= i1 or j0 >= j1:
        return
    v = ((feet[0] - np.arange(i0, i1) - 0.5) / (scale * flat) - GROUND_Z) * GROUND
    u = (-sun * (np.arange(j0, j1) + 0.5 - feet[1]) / scale - GROUND_X) * GROUND
    rows = _mean(table, v, max(1.6, GROUND / (scale * flat)))
    part = _mean(rows.T, u, max(1.6, GROUND / scale)).T
    light[i0:i1, j0:j1] += np.log1p(-part.clip(0, 0.98))


def _mean(table: np.ndarray, at: np.ndarray, width: float) -> np.ndarray:
    """Means over `width` texels around `at`, along the first axis of an integral."""
    ends = []
    for p in (at - width / 2, at + width / 2):
        p = p.clip(0, len(table) - 1)
        k = np.minimum(p.astype(np.intp), len(table) - 2)
        t = (p - k).astype(np.float32)[:, None]
        ends.append(table[k] * (1 - t) + table[k + 1] * t)
    return (ends[1] - ends[0]) / np.float32(width)


def _patches(
    rest: np.ndarray, boxes: np.ndarray, n: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Groups of persons whose boxes cover as many pixels.

    Yields their indices (g,), the first pixel of each row (g, h + 1) and column (g, w + 1) of their
    patches, and which pixels lie in the block, (g, h, w).
    """
    y0, x0, y1, x1 = boxes.T
    i0, j0 = np.floor(y0[rest]), np.floor(x0[rest])
    tall = np.searchsorted(_SIDES, np.ceil(y1[rest]) - i0)
    wide = np.searchsorted(_SIDES, np.ceil(x1[rest]) - j0)
    kind = tall * 64 + wide
    for value in np.unique(kind):
        h, w = int(_SIDES[value // 64]), int(_SIDES[value % 64])
        members = np.flatnonzero(kind == value)
        for part in np.array_split(members, max(1, len(members) * h * w // _BATCH)):
            i = (i0[part, None] + np.arange(h + 1)).astype(np.int64)
            j = (j0[part, None] + np.arange(w + 1)).astype(np.int64)
            good_i, good_j = (i[:, :-1] >= 0) & (i[:, :-1] < n), (j[:, :-1] >= 0) & (j[:, :-1] < n)
            yield rest[part], i, j, good_i[:, :, None] & good_j[:, None, :]


def lay_small(
    rgb: np.ndarray, known: Atlas, feet: np.ndarray, scale: np.ndarray, boxes: np.ndarray,
    keys: np.ndarray, palettes: np.ndarray,
) -> None:  # fmt: skip
    """Lay figures of at most `SHARP` px a metre on a block (3, n, n) in place, farthest first.

    `feet`, `boxes` and `scale` are in pixels of the block; `palettes` is (m, PARTS, 3).
    """
    if not len(keys):
        return
    known.need_figures(keys)
    n = rgb.shape[1]
    pixels, orders, shares, colours = [], [], [], []
    for chosen, i, j, inside in _patches(np.arange(len(keys)), boxes, n):
        m = scale[chosen][:, None]
        v = ((i - feet[chosen, :1]) / m - TOP_V) * SHARP
        x = ((j - feet[chosen, 1:]) / m - LEFT) * SHARP
        sums = _integral(known.figures[keys[chosen]], v, x)
        part = sums[:, 1:, 1:] - sums[:, :-1, 1:] - sums[:, 1:, :-1] + sums[:, :-1, :-1]
        part *= (m * m / SHARP**2).astype(np.float32)[:, :, None, None]
        seen = inside & (part[..., PARTS] > 0.002)
        who = np.broadcast_to(chosen[:, None, None], seen.shape)[seen]
        weight = part[seen]
        pixel = np.broadcast_to(i[:, :-1, None] * n + j[:, None, :-1], seen.shape)[seen]
        colour = np.matmul(weight[:, None, :PARTS], palettes[who])[:, 0]
        pixels.append(pixel)
        orders.append(who)
        shares.append(weight[:, PARTS])
        colours.append(colour)
    compose(rgb, *(np.concatenate(a) for a in (pixels, orders, shares, colours)))


def compose(
    rgb: np.ndarray, pixel: np.ndarray, order: np.ndarray, share: np.ndarray, colour: np.ndarray
) -> None:
    """Lay fragments over a block in place; of one pixel, higher `order` is nearer.

    `colour` (m, 3) is already multiplied by `share`.
    """
    if not len(pixel):
        return
    n = rgb.shape[1]
    by = np.argsort(pixel * (int(order.max()) + 1) + order)
    pixel, share, colour = pixel[by], share[by].clip(0, 0.9995), colour[by]
    through = np.log1p(-share.astype(np.float64))
    total = through.cumsum()
    last = np.flatnonzero(np.append(pixel[1:] != pixel[:-1], True))
    first = np.concatenate([[0], last[:-1] + 1])
    after = np.repeat(total[last], last - first + 1) - total  # what the nearer ones let through
    weight = np.exp(after)[:, None] * colour
    sums = np.add.reduceat(weight, first, axis=0)
    left = np.exp(total[last] - total[first] + through[first])
    flat = rgb.reshape(3, n * n)
    where = pixel[last]
    for c in range(3):
        flat[c, where] = flat[c, where] * left + sums[:, c]


def lay_large(
    rgb: np.ndarray, sun: float, feet: np.ndarray, scale: float, key: int, palette: np.ndarray
) -> None:
    """Draw one figure on a block (3, n, n) in place."""
    parts = shapes(key)
    if scale < 2 * SHARP:  # faces and buckles would be specks
        parts = tuple(s for s in parts if not s.fine)
    paint(rgb, parts, palette, (float(feet[0]), float(feet[1])), scale, sun)

"""Many small shapes at once, antialiased: convex polygons, rectangles and round things.

Shapes come as arrays in pixels of the block, (y, x). Those of about one size are evaluated together
on little patches; large ones alone, cut to the block. Each shape conserves its area when it is
smaller than a pixel, and shapes of one layer add up, so that common edges do not show and coarse
levels are about the mean of fine ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

#: Unit vector in which shadows fall (y, x), and length of the shadow of one metre of height.
SHADOW = np.array([0.62, 0.78])
SHADOW_LENGTH = 0.9
_LARGE = 20  # half patch side from which shapes are drawn one by one
_CHUNK = 150_000


def quads(
    y: np.ndarray, x: np.ndarray, along: np.ndarray, across: np.ndarray, turn: np.ndarray
) -> np.ndarray:
    """Corners (n, 4, 2) of rectangles from centres, half lengths and the direction of `along`."""
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    a = along[:, None] * np.array([1.0, 1.0, -1.0, -1.0])
    b = across[:, None] * np.array([-1.0, 1.0, 1.0, -1.0])
    return np.stack([y[:, None] + a * sin + b * cos, x[:, None] + a * cos - b * sin], axis=-1)


def planes(corners: np.ndarray) -> np.ndarray:
    """Outward half-planes (n, k, 3) as (ny, nx, c) of convex polygons (n, k, 2): ny y + nx x < c."""
    step = np.roll(corners, -1, axis=1) - corners
    area = (
        corners[..., 1] * np.roll(corners[..., 0], -1, axis=1)
        - np.roll(corners[..., 1], -1, axis=1) * corners[..., 0]
    ).sum(axis=1)
    sign = np.where(area > 0, 1.0, -1.0)[:, None]
    length = np.maximum(np.hypot(step[..., 0], step[..., 1]), 1e-9)
    ny, nx = -step[..., 1] / length * sign, step[..., 0] / length * sign
    c = ny * corners[..., 0] + nx * corners[..., 1]
    # An edge of no length (a triangle given as four corners) binds nothing.
    c = np.where(length < 1e-6, 1e9, c)
    return np.stack([ny, nx, c], axis=-1)


def areas(corners: np.ndarray) -> np.ndarray:
    """Areas (n,) of polygons (n, k, 2)."""
    y, x = corners[..., 0], corners[..., 1]
    cross = x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y
    return np.asarray(np.abs(cross.sum(axis=1)) / 2)


class Layer:
    """Cover and colour of the shapes of one layer over an n x n block, (row, column) of pixels."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._flat: list[np.ndarray] = []
        self._alpha: list[np.ndarray] = []
        self._colour: list[np.ndarray] = []

    def _add(self, flat: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
        self._flat.append(flat)
        self._alpha.append(alpha)
        self._colour.append(colour)

    def polygons(
        self,
        corners: np.ndarray,
        colour: np.ndarray,
        shift: np.ndarray | None = None,
        strength: np.ndarray | None = None,
    ) -> None:
        """Convex polygons (n, k, 2), swept along `shift` (n, 2) where given (a cast shadow).

        `colour` is (n, 3), or (n, 1) for layers that only darken; `strength` (n,) scales cover.
        """
        if not len(corners):
            return
        sides, area, low, high = planes(corners), areas(corners), corners, corners
        if shift is not None:
            reach = sides[..., 0] * shift[:, :1] + sides[..., 1] * shift[:, 1:]
            sides = sides.copy()
            sides[..., 2] += np.maximum(reach, 0)
            size = np.maximum(np.hypot(shift[:, 0], shift[:, 1]), 1e-9)[:, None]
            across = np.stack([-shift[:, 1], shift[:, 0]], axis=-1) / size
            reach = (corners * across[:, None]).sum(axis=-1)
            side = np.stack([np.c_[across, reach.max(1)], np.c_[-across, -reach.min(1)]], axis=1)
            sides = np.concatenate([sides, side], axis=1)
            area = area + size[:, 0] * (reach.max(1) - reach.min(1))
            low, high = np.minimum(corners, corners + shift[:, None]), high
            high = np.maximum(corners, corners + shift[:, None])
        self._draw(low.min(axis=1), high.max(axis=1), _Polygons(sides), area, colour, strength)

    def rectangles(
        self,
        y: np.ndarray,
        x: np.ndarray,
        along: np.ndarray,
        across: np.ndarray,
        turn: np.ndarray,
        colour: np.ndarray,
        strength: np.ndarray | None = None,
    ) -> None:
        """Oriented rectangles of half lengths `along` and `across`; any thinness."""
        if not len(y):
            return
        cos, sin = np.cos(turn), np.sin(turn)
        hy = np.abs(along * sin) + np.abs(across * cos) + 0.5
        hx = np.abs(along * cos) + np.abs(across * sin) + 0.5
        low, high = np.stack([y - hy, x - hx], -1), np.stack([y + hy, x + hx], -1)
        shape = _Rectangles(np.stack([y, x, along, across, cos, sin], axis=-1))
        self._draw(low, high, shape, None, colour, strength)

    def rounds(
        self,
        y: np.ndarray,
        x: np.ndarray,
        r: np.ndarray,
        colour: np.ndarray,
        *,
        domed: float = 0.0,
        ragged: np.ndarray | None = None,
        strength: np.ndarray | None = None,
    ) -> None:
        """Discs; `domed` lights the side to the sun; `ragged` is an (n, n) noise for leaves."""
        if not len(y):
            return
        shape = _Rounds(np.stack([y, x, r], axis=-1), domed, ragged)
        low, high = np.stack([y - r, x - r], -1), np.stack([y + r, x + r], -1)
        self._draw(low, high, shape, np.pi * r**2, colour, strength)

    def _draw(
        self,
        low: np.ndarray,
        high: np.ndarray,
        shape: Callable[..., tuple[np.ndarray, np.ndarray | None]],
        area: np.ndarray | None,
        colour: np.ndarray,
        strength: np.ndarray | None,
    ) -> None:
        n = self.n
        seen = np.asarray(((high > -1) & (low < n + 1)).all(axis=1))
        half = np.ceil((high - low).max(axis=1) / 2).astype(int) + 1
        for which in _groups(half, seen):
            h = int(half[which[0]])
            if h > _LARGE:
                y0, x0 = np.maximum(np.floor(low[which[0]]).astype(int) - 1, 0)
                y1, x1 = np.minimum(np.ceil(high[which[0]]).astype(int) + 1, n)
                if y1 <= y0 or x1 <= x0:
                    continue
                rows, columns = np.arange(y0, y1)[None], np.arange(x0, x1)[None]
            else:
                centre = np.floor((low[which] + high[which]) / 2).astype(int)
                rows = centre[:, :1] + np.arange(-h, h + 1)
                columns = centre[:, 1:] + np.arange(-h, h + 1)
            ok = ((rows >= 0) & (rows < n))[:, :, None] & ((columns >= 0) & (columns < n))[:, None]
            flat = rows[:, :, None] * n + columns[:, None, :]
            base = np.stack([rows[:, 0], columns[:, 0]], axis=-1)
            v = np.arange(rows.shape[1], dtype=np.float32)[None, :, None] + np.float32(0.5)
            u = np.arange(columns.shape[1], dtype=np.float32)[None, None, :] + np.float32(0.5)
            alpha, tone = shape(which, base, v, u, np.where(ok, flat, 0))
            if area is not None and h <= 6:
                total = alpha.sum(axis=(1, 2))
                alpha = alpha * (area[which] / np.maximum(total, 1e-6))[:, None, None]
            if strength is not None:
                alpha = alpha * strength[which][:, None, None]
            ok &= alpha > 0
            owner = which[np.nonzero(ok)[0]]
            weight = alpha[ok].astype(np.float32)
            shade = weight if tone is None else weight * tone[ok]
            tints = np.stack([channel[owner] * shade for channel in colour.T.astype(np.float32)])
            self._add(flat[ok], weight, tints)

    def sums(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Cover (n, n) and cover-weighted colour (channels, n, n); None when nothing was drawn."""
        if not self._flat:
            return None
        flat, n = np.concatenate(self._flat), self.n
        cover = np.bincount(flat, np.concatenate(self._alpha), n * n).astype(np.float32)
        colour = np.concatenate(self._colour, axis=1)
        sums = np.empty((len(colour), n * n), np.float32)
        for c, channel in enumerate(colour):
            sums[c] = np.bincount(flat, channel, n * n)
        return cover.reshape(n, n), sums.reshape(-1, n, n)

    def onto(self, picture: np.ndarray) -> None:
        """Cover a picture (3, n, n) in place."""
        found = self.sums()
        if found is not None:
            cover, colour = found
            over = np.maximum(cover, 1)
            picture *= 1 - cover / over
            picture += colour / over

    def darken(self, picture: np.ndarray, tint: np.ndarray) -> None:
        """Multiply a picture (3, n, n) in place by `tint` (3,) where the layer covers it."""
        found = self.sums()
        if found is not None:
            cover = np.minimum(found[0], 1)
            for c in range(3):
                picture[c] *= 1 - cover * np.float32(1 - tint[c])


def _groups(half: np.ndarray, seen: np.ndarray) -> Iterator[np.ndarray]:
    where = np.flatnonzero(seen)
    if not len(where):
        return
    order = where[np.argsort(half[where], kind="stable")]
    sizes, starts = np.unique(half[order], return_index=True)
    for h, which in zip(sizes, np.split(order, starts[1:]), strict=True):
        chunk = 1 if h > _LARGE else max(1, _CHUNK // int(2 * h + 1) ** 2)
        for k in range(0, len(which), chunk):
            yield which[k : k + chunk]


class _Polygons:
    def __init__(self, sides: np.ndarray) -> None:
        self.sides = sides

    def __call__(
        self, which: np.ndarray, base: np.ndarray, v: np.ndarray, u: np.ndarray, flat: np.ndarray
    ) -> tuple[np.ndarray, None]:
        sides = self.sides[which]
        c = sides[..., 2] - sides[..., 0] * base[:, :1] - sides[..., 1] * base[:, 1:]
        ny, nx, c = (
            a.astype(np.float32)[..., None, None] for a in (sides[..., 0], sides[..., 1], c)
        )
        distance = ny[:, 0] * v + (nx[:, 0] * u - c[:, 0])
        for k in range(1, sides.shape[1]):
            np.maximum(distance, ny[:, k] * v + (nx[:, k] * u - c[:, k]), out=distance)
        return np.clip(np.float32(0.5) - distance, 0, 1), None


class _Rectangles:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __call__(
        self, which: np.ndarray, base: np.ndarray, v: np.ndarray, u: np.ndarray, flat: np.ndarray
    ) -> tuple[np.ndarray, None]:
        values = self.values[which]
        values[:, :2] -= base
        y, x, a, b, cos, sin = (values[:, k, None, None].astype(np.float32) for k in range(6))
        dy, dx = v - y, u - x
        along = np.clip(a + np.float32(0.5) - np.abs(dx * cos + dy * sin), 0, np.minimum(2 * a, 1))
        along *= np.clip(b + np.float32(0.5) - np.abs(dy * cos - dx * sin), 0, np.minimum(2 * b, 1))
        return along, None


class _Rounds:
    def __init__(self, values: np.ndarray, domed: float, ragged: np.ndarray | None) -> None:
        self.values, self.domed, self.ragged = values, np.float32(domed), ragged

    def __call__(
        self, which: np.ndarray, base: np.ndarray, v: np.ndarray, u: np.ndarray, flat: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        values = self.values[which]
        values[:, :2] -= base
        y, x, r = (values[:, k, None, None].astype(np.float32) for k in range(3))
        dy, dx = v - y, u - x
        distance = np.sqrt(dy * dy + dx * dx) - r
        tone = None
        if self.domed:
            sun = dy * np.float32(SHADOW[0]) + dx * np.float32(SHADOW[1])
            tone = 1 - self.domed * np.clip(sun / np.maximum(r, 1), -1, 1)
        if self.ragged is not None:
            leaf = self.ragged.ravel()[flat] * np.minimum(r / 4, 1)
            distance = distance + leaf * r * np.float32(0.16)
            tone = leaf * np.float32(0.16) + (1 if tone is None else tone)
        return np.clip(np.float32(0.5) - distance, 0, 1), tone

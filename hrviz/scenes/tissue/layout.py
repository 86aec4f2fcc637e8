"""Where things lie on the slide: pieces of tissue, lobules, lymphoid aggregates and tumour nests.

Pieces and nests are explicit lists drawn once from the seed. Lobules and aggregates are too many
for that on a large slide: a coarse lattice with one hashed candidate a cell gives them on demand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from hrviz.scenes.noise import Raster, lattice_hash, octaves, uniform
from hrviz.scenes.tissue.blobs import Blobs, field, harmonics

MAP = 384  # longest side of the coarse maps of the slide that planning works on
LOBULE_PITCH, LYMPH_PITCH = 8200, 4600
MAX_NESTS = 1500
WARP_REACH = 170.0
_NEST_SHAPE = np.array([0.20, 0.13, 0.10, 0.09, 0.07, 0.05])


@dataclass(frozen=True)
class Layout:
    """Everything large about one slide; cheap to make, computed on first use.

    Parameters
    ----------
    height, width : int
        Level-0 pixels.
    seed : int
    tumour : float
        Wanted tumour area as a fraction of the tissue area (inside outer tissue edges, holes too).
    """

    height: int
    width: int
    seed: int
    tumour: float

    def salt(self, number: int) -> int:
        """Independent hash streams: one for each use."""
        return (self.seed * 1009 + number) & 0x7FFFFFFF

    @cached_property
    def pieces(self) -> Blobs:
        """Pieces of tissue as circles with lobes; `tissue` roughens their edges."""
        rng = np.random.default_rng([self.seed, 1])
        h, w = float(self.height), float(self.width)
        if max(h, w) <= 12_000:  # a field of view rather than a slide: mostly tissue
            n, cover = 1, 0.62
        else:
            n, cover = int(rng.integers(3, 6)), 0.52
        mean = math.sqrt(cover * h * w / n / math.pi)
        r = mean * (rng.uniform(0.7, 1.25, n) if n > 1 else np.ones(1))
        r = np.minimum(np.sort(r)[::-1], 0.43 * max(min(h, w), mean))
        ys, xs = [h / 2], [w / 2]
        if n > 1:
            ys, xs = [], []
        for k in range(len(ys), n):
            cy, cx = rng.uniform(0, h, 600), rng.uniform(0, w, 600)
            edge = np.minimum(np.minimum(cy, h - cy), np.minimum(cx, w - cx)) / r[k] - 1.05
            score = np.minimum(edge, 0.12)
            for y, x, other in zip(ys, xs, r, strict=False):
                gap = (np.hypot(cy - y, cx - x) - other - r[k]) / r[k] - 0.10
                score = np.minimum(score, np.minimum(gap, 0.15) * 0.8)
            best = int(np.argmax(score + rng.uniform(0, 0.01, 600)))
            ys.append(float(cy[best]))
            xs.append(float(cx[best]))
        shape = np.array([0.30, 0.15, 0.11, 0.07, 0.05, 0.04])
        coefficients = harmonics(rng.random((n, 6)), rng.random((n, 6)), shape)
        return Blobs(np.array(ys), np.array(xs), r, coefficients)

    def tissue(self, raster: Raster) -> np.ndarray:
        """Signed distance (px, negative inside) to the outer edge of the tissue."""
        largest = float(self.pieces.r.max())
        reach = 0.6 * largest + 8 * raster.step
        distance = field(self.pieces, raster, None, reach)
        if distance is None:
            return np.full((raster.ny, raster.nx), 1e6, np.float32)
        parts = []
        wavelength, k = 2.0 ** math.floor(math.log2(max(largest, 64.0))), 0
        while wavelength >= 32:
            size = wavelength * (0.16 if wavelength > 600 else 0.19)
            if size > raster.box / 2:
                parts.append((wavelength, size, self.salt(10 + k)))
            wavelength, k = wavelength / 2, k + 1
        distance += octaves(raster, parts)
        return distance

    @cached_property
    def map_raster(self) -> Raster:
        """The coarse raster that covers the slide once."""
        step = max(self.height, self.width) / MAP
        ny, nx = max(1, round(self.height / step)), max(1, round(self.width / step))
        sy, sx = self.height / ny, self.width / nx
        return Raster(sy / 2, sx / 2, ny, nx, sy, sx, max(sy, sx))

    @cached_property
    def depth(self) -> np.ndarray:
        """Distance (px) of each map cell to the nearest glass; 0 on glass."""
        raster = self.map_raster
        inside = np.pad(self.tissue(raster) < 0, 1)
        depth = ndimage.distance_transform_edt(inside, (raster.step, raster.step_x))
        return np.asarray(depth[1:-1, 1:-1], np.float32)

    @cached_property
    def tissue_area(self) -> float:
        """Square pixels inside the outer tissue edges."""
        cell = self.map_raster.step * self.map_raster.step_x
        return float(np.count_nonzero(self.depth)) * cell

    def depth_at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Depth inside the tissue at scattered points, from the map."""
        i, j = self.map_raster.nearest(y, x)
        return np.asarray(self.depth[i, j])

    def _scattered(
        self,
        box: tuple[float, float, float, float],
        pitch: int,
        salt: int,
        share: float,
        radii: tuple[float, float, float],
        shape: np.ndarray,
    ) -> Blobs:
        """Blobs of a hashed lattice whose cells touch `box` grown by a cell (all that reach it)."""
        y0, x0, y1, x1 = box
        iy = np.arange(math.floor(y0 / pitch) - 1, math.floor(y1 / pitch) + 2)[:, None]
        ix = np.arange(math.floor(x0 / pitch) - 1, math.floor(x1 / pitch) + 2)[None, :]
        h = lattice_hash(iy, ix, self.salt(salt))
        present = uniform(h, 1) < share
        iy, ix = np.broadcast_to(iy, h.shape)[present], np.broadcast_to(ix, h.shape)[present]
        h = h[present]
        low, high, power = radii
        r = low + (high - low) * uniform(h, 2).astype(np.float64) ** power
        room = np.maximum(0.5 - 0.75 * r / pitch, 0.08)
        y = (iy + 0.5 + (uniform(h, 3) - 0.5) * 2 * room) * pitch
        x = (ix + 0.5 + (uniform(h, 4) - 0.5) * 2 * room) * pitch
        n = len(shape)
        a = np.stack([uniform(h, 10 + k) for k in range(n)], axis=-1).reshape(-1, n)
        p = np.stack([uniform(h, 30 + k) for k in range(n)], axis=-1).reshape(-1, n)
        blobs = Blobs(y, x, r, harmonics(a, p, shape))
        return blobs[self.depth_at(y, x) > np.minimum(0.5 * blobs.r, 300)]

    def lobules(self, box: tuple[float, float, float, float]) -> Blobs:
        """Groups of glands."""
        shape = np.array([0.18, 0.14, 0.10, 0.08])
        return self._scattered(box, LOBULE_PITCH, 101, 0.62, (1100, 3000, 1.4), shape)

    def aggregates(self, box: tuple[float, float, float, float]) -> Blobs:
        """Lymphoid aggregates: the distractors."""
        shape = np.array([0.16, 0.11, 0.08, 0.05, 0.04])
        return self._scattered(box, LYMPH_PITCH, 102, 0.30, (110, 950, 3.0), shape)

    @cached_property
    def nests(self) -> Blobs:
        """Tumour nests, largest first; their areas add up to what was asked."""
        goal = self.tumour * self.tissue_area
        if goal < 1:
            return Blobs.none(len(_NEST_SHAPE))
        rng = np.random.default_rng([self.seed, 2])
        lobed = float(np.clip(1.25 - 2.0 * self.tumour, 0.35, 1.0))
        radii = _nest_radii(rng, goal)
        n = len(radii)
        coefficients = harmonics(rng.random((n, 6)), rng.random((n, 6)), _NEST_SHAPE * lobed)
        placed = self._place(rng, radii, coefficients)
        if not len(placed):
            return Blobs.none(len(_NEST_SHAPE))
        # What could not be placed is made up by growing all nests a little, overlaps and all.
        return Blobs(
            placed.y, placed.x, placed.r * math.sqrt(goal / placed.area.sum()), placed.harmonics
        )

    def _place(self, rng: np.random.Generator, radii: np.ndarray, shapes: np.ndarray) -> Blobs:
        """Centres for nests, largest first: around a few foci, inside tissue, apart if possible."""
        depth, raster = self.depth, self.map_raster
        rows, columns = np.nonzero(depth > 0)
        if not len(rows):
            return Blobs.none(len(_NEST_SHAPE))
        spread = 0.5 + 3 * self.tumour
        heads = max(2, min(9, len(radii) // 9))
        ys, xs, rs = np.empty(0), np.empty(0), np.empty(0)
        kept: list[int] = []
        for k, wanted in enumerate(radii):
            r = float(wanted)
            for attempt in range(7):
                free = k < heads or rng.random() < 0.14 + self.tumour or attempt > 3
                if free or not len(ys):
                    pick = rng.integers(0, len(rows), 48)
                    y = raster.y + (rows[pick] + rng.random(48) - 0.5) * raster.step
                    x = raster.x + (columns[pick] + rng.random(48) - 0.5) * raster.step_x
                else:
                    head = rng.integers(0, min(heads, len(ys)), 48)
                    far = rs[head] * 1.3 + r + rng.exponential(1800 * spread + 3 * r, 48)
                    angle = rng.uniform(0, 2 * np.pi, 48)
                    y, x = ys[head] + far * np.sin(angle), xs[head] + far * np.cos(angle)
                score = self.depth_at(y, x) - 1.15 * r - 0.7 * raster.step
                if len(ys):
                    gap = np.hypot(y[:, None] - ys, x[:, None] - xs) - 1.12 * (rs + r) - 20
                    score = np.minimum(score, gap.min(axis=1))
                good = np.flatnonzero(score > 0)
                if len(good):
                    # A focus goes as deep as it can; a satellite takes the first free place.
                    best = good[np.argmax(score[good])] if k < heads else good[0]
                    ys, xs = np.append(ys, y[best]), np.append(xs, x[best])
                    rs = np.append(rs, r)
                    kept.append(k)
                    break
                r *= 0.86
        if not kept:  # tissue thinner than any nest: the deepest spot takes one
            deepest = int(np.argmax(depth[rows, columns]))
            ys = np.array([raster.y + rows[deepest] * raster.step])
            xs = np.array([raster.x + columns[deepest] * raster.step_x])
            rs, kept = np.array([float(depth.max())]), [0]
        return Blobs(ys, xs, rs, shapes[kept])


def _nest_radii(rng: np.random.Generator, goal: float) -> np.ndarray:
    """Mean radii (px), largest first: three foci and a power law of small nests, as metastases."""
    largest = max(min(4000.0, math.sqrt(0.26 * goal / math.pi)), 30.0)
    smallest = min(115.0, 0.6 * largest)
    if goal < 12 * math.pi * 115.0**2:  # room for a few nests only: then of the usual small size
        n = max(1, round(goal / (math.pi * 125.0**2)))
        shares = np.sort(rng.uniform(0.5, 1.8, n))[::-1]
        return np.asarray(np.sqrt(goal * shares / shares.sum() / math.pi))
    exponent = -1.6
    for _ in range(60):
        u = rng.random(4 * MAX_NESTS)
        a, b = smallest**exponent, largest**exponent
        r = (a + u * (b - a)) ** (1 / exponent)
        heads = largest * np.array([1.0, 0.62, 0.45])
        r = np.concatenate([heads, r])
        total = np.cumsum(np.pi * r**2 * 1.03)
        n = int(np.searchsorted(total, goal)) + 1
        if n <= MAX_NESTS:
            return np.asarray(np.sort(r[:n])[::-1])
        smallest, largest = smallest * 1.3, largest * 1.12
    return np.asarray(np.sort(r[:MAX_NESTS])[::-1])

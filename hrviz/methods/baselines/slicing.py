"""Where patches lie: slices of a picture with overlap, counted and placed as SAHI does.

A tile of t px repeats o = int(ratio t) px of the one before, so tiles start every t - o px; the last
one is moved back to end at the border and keeps its size. Along L px there are

    n = 1 if L <= t, else ceil((L - o) / (t - o))

tiles; a picture smaller than a tile is one clipped tile (Akyon et al., ICIP 2022, and their package).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView

MAX_PATCHES = 200_000
MAX_AUTOMATIC = 2**22  # px of one automatic slice, as the network sees it


def count(length: float, tile: float, overlap: float) -> int:
    """How many tiles cover a length.

    Examples
    --------
    >>> count(640, 256, 51), count(2160, 512, 102) * count(3840, 512, 102)
    (3, 60)
    """
    if length <= tile:
        return 1
    return math.ceil((length - overlap) / (tile - overlap) - 1e-9)


def starts(length: float, tile: float, overlap: float) -> np.ndarray:
    """Where tiles begin, float64 (n,); the last is moved back inside.

    Examples
    --------
    >>> starts(10, 4, 1).tolist()
    [0.0, 3.0, 6.0]
    """
    at = np.arange(count(length, tile, overlap)) * (tile - overlap)
    return np.minimum(at, max(0.0, length - tile)).astype(np.float64)


def automatic(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """SAHI's slices by the picture's size: their (height, width) and their overlap in px.

    The longer side is cut twice as often as the shorter. Up to 2^19 px there is one slice; then 1 x 2
    with an overlap of 0.8, from 2^21 px on 2 x 4 and beyond 2^24 px 4 x 8 with 0.4, where a slice is
    that part of the picture (overlap makes more of them).

    Examples
    --------
    >>> automatic(1080, 1920)
    ((1080, 960), (864, 768))
    >>> automatic(4096, 4096)
    ((2048, 2048), (819, 819))
    """
    power = max(math.ceil(math.log2(height * width)), 0) - 1
    if power <= 18:
        return (height, width), (0, 0)
    parts, ratio = (1, 0.8) if power < 21 else (2, 0.4) if power < 24 else (4, 0.4)
    tile = (
        max(1, height // (parts * 2 if height > width else parts)),
        max(1, width // (parts * 2 if width > height else parts)),
    )
    return tile, (int(tile[0] * ratio), int(tile[1] * ratio))


@dataclass(frozen=True)
class Grid:
    """Tiles over a length and a width: the product of two rows of starts.

    Parameters
    ----------
    size : (float, float)
        Height and width of what is covered.
    tile : (float, float)
    rows, columns : ndarray float64
        Starts along y and x.
    """

    size: tuple[float, float]
    tile: tuple[float, float]
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(
        cls, size: tuple[float, float], tile: tuple[float, float], overlap: tuple[float, float]
    ) -> Grid:
        """Tiles of one size and overlap over a height and a width."""
        rows, columns = (starts(n, t, o) for n, t, o in zip(size, tile, overlap, strict=True))
        return cls(size, tile, rows, columns)

    @property
    def boxes(self) -> np.ndarray:
        """All tiles row by row, (n, 4), cut to what is covered."""
        y, x = (a.ravel() for a in np.meshgrid(self.rows, self.columns, indexing="ij"))
        ends = (
            np.minimum(y + self.tile[0], self.size[0]),
            np.minimum(x + self.tile[1], self.size[1]),
        )
        return np.stack([y, x, *ends], 1)

    @property
    def ratio(self) -> float:
        """Pixels of all tiles over pixels covered: what overlap costs."""
        boxes = self.boxes
        return float((boxes[:, 2:] - boxes[:, :2]).prod(1).sum() / (self.size[0] * self.size[1]))

    @cached_property
    def shared(self) -> np.ndarray:
        """Share of each tile that other tiles cover too, (n,)."""
        alone = [
            _alone(at, tile, length)
            for at, tile, length in zip(
                (self.rows, self.columns), self.tile, self.size, strict=True
            )
        ]
        return 1 - np.outer(*alone).ravel()

    @cached_property
    def middles(self) -> tuple[np.ndarray, np.ndarray]:
        """Where one tile's own part ends and the next one's begins: the middles of overlaps."""
        return tuple(
            (at[1:] + at[:-1] + tile) / 2
            for at, tile in ((self.rows, self.tile[0]), (self.columns, self.tile[1]))
        )

    @property
    def own(self) -> np.ndarray:
        """Each tile's own part, (n, 4): together they cover everything once."""
        ends = [np.r_[0.0, m, n] for m, n in zip(self.middles, self.size, strict=True)]
        y0, x0 = (a.ravel() for a in np.meshgrid(ends[0][:-1], ends[1][:-1], indexing="ij"))
        y1, x1 = (a.ravel() for a in np.meshgrid(ends[0][1:], ends[1][1:], indexing="ij"))
        return np.stack([y0, x0, y1, x1], 1)

    def owners(self, points: np.ndarray) -> np.ndarray:
        """The one tile that counts what lies at each point (n, 2): its own part holds it."""
        row = np.searchsorted(self.middles[0], points[:, 0], "right")
        column = np.searchsorted(self.middles[1], points[:, 1], "right")
        return np.asarray(row * len(self.columns) + column)

    def cut(self, boxes: np.ndarray) -> np.ndarray:
        """Which boxes (n, 4) no single tile holds whole."""
        whole = np.ones(len(boxes), bool)
        for axis, at in enumerate((self.rows, self.columns)):
            # the last tile that starts at or before the box reaches farthest
            last = np.clip(np.searchsorted(at, boxes[:, axis], "right") - 1, 0, None)
            whole &= boxes[:, axis + 2] <= at[last] + self.tile[axis] + 1e-9
        return ~whole

    def seam_distance(self, points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Distance of a raster of points (rows, columns) to the nearest border between tiles.

        Infinite where there is none.
        """
        along = []
        for axis, (at, tile) in enumerate(
            ((self.rows, self.tile[0]), (self.columns, self.tile[1]))
        ):
            edges = np.r_[at[1:], at[:-1] + tile]
            if len(edges):
                near = np.abs(points[axis][:, None] - edges).min(1)
            else:
                near = np.full(len(points[axis]), np.inf)
            along.append(near)
        return np.asarray(np.minimum(along[0][:, None], along[1]))


def _alone(at: np.ndarray, tile: float, length: float) -> np.ndarray:
    """Share of each tile along one axis that no other covers."""
    low, high = at, np.minimum(at + tile, length)
    before = np.r_[-np.inf, high[:-1]]
    after = np.r_[low[1:], np.inf]
    alone = np.minimum(high, after) - np.maximum(low, before)
    return np.asarray(np.clip(alone, 0, None) / np.maximum(high - low, 1e-12))


@dataclass(frozen=True)
class Plan:
    """Where the patches of a view lie.

    Parameters
    ----------
    boxes : ndarray float64, (n, 4)
        Level-0 pixels, each a whole patch: one beyond the region where that is smaller than a patch.
    patch : (int, int)
        Height and width of a patch in pixels of its own.
    downsample : int
    grid : Grid
        The same in level-0 pixels from the region's corner.
    """

    boxes: np.ndarray
    patch: tuple[int, int]
    downsample: int
    grid: Grid

    @classmethod
    def of(
        cls,
        view: ImageView,
        patch: int,
        downsample: int,
        overlap: float,
        *,
        whole: int = 2,
        slices: str = "by patch size",
    ) -> Plan:
        """Patches of a view.

        Parameters
        ----------
        patch : int
            Side in pixels at `downsample`.
        overlap : float
            Share of a patch that the next one repeats.
        whole : int
            Patches start every so many of their pixels, rounded down: 2 where the answer has half of
            the resolution, so that answers lie on each other; 1 is SAHI's rule.
        slices : {'by patch size', 'automatic'}

        Raises
        ------
        HrvizError
            More than 200,000 patches, or automatic slices above 4 Mpx.
        """
        if slices == "automatic":
            size = tuple(max(1, round(n / downsample)) for n in (view.height, view.width))
            sides, common = automatic(*size)
            sides = tuple(-(-n // whole) * whole for n in sides)  # type: ignore[assignment]
            if sides[0] * sides[1] > MAX_AUTOMATIC:
                raise HrvizError(
                    f"automatic slices of this region are {sides[1]:,} x {sides[0]:,} px and at most 4 Mpx "
                    "go to the network at once: choose slices 'by patch size', or a larger downsample"
                )
        else:
            sides, common = (patch, patch), (int(overlap * patch),) * 2
        steps = tuple(
            # whole pixels of the answer: patches lie on the image's own pixels and are read unblurred
            side if not o else max(1, (side - o) // whole) * whole
            for side, o in zip(sides, common, strict=True)
        )
        span = tuple(float(n * downsample) for n in sides)
        repeated = tuple(float((n - s) * downsample) for n, s in zip(sides, steps, strict=True))
        extent = view.height, view.width
        total = math.prod(count(*part) for part in zip(extent, span, repeated, strict=True))
        if total > MAX_PATCHES:
            raise HrvizError(
                f"patches of {patch} px at downsample {downsample} would be {total:,}; at "
                f"most {MAX_PATCHES:,} are cut: choose a larger patch or downsample, or a smaller region"
            )
        grid = Grid.of(extent, span, repeated)  # type: ignore[arg-type]
        corner = grid.boxes[:, :2] + np.array(view.box[:2])
        return cls(np.concatenate([corner, corner + span], 1), sides, downsample, grid)

    def distance(self, box: Box, shape: tuple[int, int]) -> np.ndarray:
        """Distance of each pixel of a map over `box` to the nearest seam, in patch pixels."""
        y, x = (
            low - start + (np.arange(n) + 0.5) * side / n
            for low, start, n, side in (
                (box.y0, self.boxes[:, 0].min(), shape[0], box.height),
                (box.x0, self.boxes[:, 1].min(), shape[1], box.width),
            )
        )
        return self.grid.seam_distance((y, x)) / self.downsample

"""Where the Zoom-In network looks: views, tiles of the view's pixels, sub-tiles of a tile's pixels.

All boxes are level-0 pixels, half-open, and may lie partly outside the image. Pixel (i, j) of a view
with h x w pixels over H x W has its centre at ((i + 0.5) H / h, (j + 0.5) W / w). The paper maps
corners to corners instead (pixel 1 to 1, pixel h to H): `paper_location` gives that map, which
`mapping='paper'` uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box

MOST_POSITIONS = 2**22  # pixels of the low-resolution view


def paper_location(i: np.ndarray | int, size: int, view: int) -> np.ndarray:
    """Level-0 row (from 1) of view row i (from 1): floor(1 + (i - 1)(H - 1) / (h - 1)).

    Raises
    ------
    HrvizError
        A view of one row, for which the map divides by zero.

    Examples
    --------
    >>> paper_location(np.arange(1, 9), 500, 50).tolist()
    [1, 11, 21, 31, 41, 51, 62, 72]
    """
    if view < 2:
        raise HrvizError(
            "the paper's map needs a view of at least 2 pixels a side: choose a larger scale"
        )
    return np.asarray(np.floor(1 + (np.asarray(i) - 1) * (size - 1) / (view - 1)).astype(int))


@dataclass(frozen=True)
class Stages:
    """The geometry of both stages over a region.

    Parameters
    ----------
    region : Box
        What is classified.
    first, second : float
        Scales s1 of the region's view and s2 of a tile's view, above 0, at most 1.
    tile : (int, int), px
        Height h1 and width w1 of a tile at full resolution.
    subtile : int, px
        Side h2 of a sub-tile at full resolution.
    mapping : {'centres', 'paper'}
    """

    region: Box
    first: float
    second: float
    tile: tuple[int, int]
    subtile: int
    mapping: str = "centres"

    def __post_init__(self) -> None:
        h, w = self.view
        if h * w > MOST_POSITIONS:
            raise HrvizError(
                f"a view at scale {self.first:g} has {h * w:,} pixels; at most {MOST_POSITIONS:,} are "
                "attended to: choose a lower first scale or a smaller region"
            )

    @property
    def view(self) -> tuple[int, int]:
        """Height and width of the view V(x, s1)."""
        return (
            max(1, math.floor(self.first * self.region.height + 1e-9)),
            max(1, math.floor(self.first * self.region.width + 1e-9)),
        )

    @property
    def tile_view(self) -> tuple[int, int]:
        """Height u and width v of a tile's view: floor(s2 h1), as the published code has it."""
        u, v = (max(1, math.floor(self.second * side + 1e-9)) for side in self.tile)
        return u, v

    def _places(self, index: np.ndarray, low: float, length: float, n: int) -> np.ndarray:
        if self.mapping == "paper" and n > 1:
            return low + paper_location(np.asarray(index) + 1, round(length), n) - 0.5
        return np.asarray(low + (np.asarray(index) + 0.5) * length / n)

    def tiles(self, positions: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) of the tiles at flat positions (n,) of the view."""
        h, w = self.view
        row, column = np.divmod(np.asarray(positions), w)
        y = self._places(row, self.region.y0, self.region.height, h)
        x = self._places(column, self.region.x0, self.region.width, w)
        return _around(y, x, *self.tile)

    def subtiles(self, tile: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) of sub-tiles at flat positions (n,) of a tile's view."""
        u, v = self.tile_view
        row, column = np.divmod(np.asarray(positions), v)
        y = self._places(row, tile[0], tile[2] - tile[0], u)
        x = self._places(column, tile[1], tile[3] - tile[1], v)
        return _around(y, x, self.subtile, self.subtile)

    @property
    def exhaustive(self) -> int:
        """Sub-tiles that the sums of equation 5 run over."""
        h, w = self.view
        u, v = self.tile_view
        return h * w * u * v


def paper_tile(region: Box, first: float) -> tuple[int, int]:
    """A tile of s1 H x s1 W px: what the paper's memory formula takes for granted."""
    return max(1, round(first * region.height)), max(1, round(first * region.width))


def _around(y: np.ndarray, x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes whose edges lie on pixels, centred as closely as that allows."""
    top, left = np.floor(y - height / 2 + 0.5), np.floor(x - width / 2 + 0.5)
    return np.stack([top, left, top + height, left + width], 1)


def memory(
    stages: Stages, draws: int, unique: float, one_stage: float | None = None
) -> dict[str, float]:
    """Input pixels held at the peak of inference, as the paper counts them.

    Parameters
    ----------
    stages : Stages
    draws : int
        N.
    unique : float
        N', distinct tiles among them.
    one_stage : float, optional
        Scale s of one-stage attention sampling to compare with; default s2, as in the paper.

    Returns
    -------
    dict
        one_stage: s^2 HW + N h2 w2. all_tiles: s1^2 HW + N' u v + N h2 w2, with all views of tiles
        held at once, as the paper's formula has it. tile_by_tile: with one of them, as it is done.

    Examples
    --------
    >>> needle = Stages(Box(0, 0, 1024, 1024), 0.25, 0.5, (256, 256), 32)
    >>> found = memory(needle, 30, 15)
    >>> [round(v) for v in found.values()]
    [292864, 342016, 112640]
    """
    area = stages.region.area
    (h, w), (u, v) = stages.view, stages.tile_view
    subtiles = draws * stages.subtile**2
    scale = stages.second if one_stage is None else one_stage
    return {
        "one_stage": scale**2 * area + subtiles,
        "all_tiles": h * w + unique * u * v + subtiles,
        "tile_by_tile": h * w + u * v + subtiles,
    }

"""Which tiles there are: a power-of-two pyramid for maps, the file's own levels and grids for images.

Level 0 is the coarsest and fits in one tile, level `top` the finest. Tile (x, y) of a level covers
the level-0 box `[y h d, (y + 1) h d) x [x w d, (x + 1) w d)` clipped to the plane, so the tiles of a
level cover the plane exactly once. Nothing outside is ever drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TILE = 512
NATIVE = (128, 2048)  # stored tiles of this side are handed out as they are
GAP = 2.5  # between levels farther apart than this, one is put that is made from the finer


class TileError(LookupError):
    """No such tile: a level or position outside the pyramid."""


@dataclass(frozen=True)
class Pyramid:
    """Addresses of the tiles of a height x width plane.

    Parameters
    ----------
    height, width : int
        In pixels of the finest level.
    tile : int
        Side of a tile in pixels.

    Examples
    --------
    >>> p = Pyramid(height=1000, width=1500, tile=512)
    >>> p.top, p.grid(p.top), p.window(2, 2, 1)
    (2, (2, 3), (512, 1000, 1024, 1500))
    """

    height: int
    width: int
    tile: int = TILE

    @property
    def top(self) -> int:
        """The finest level's number; level 0 fits in one tile."""
        return max(0, math.ceil(math.log2(max(self.height, self.width) / self.tile)))

    def downsample(self, z: int) -> int:
        if not 0 <= z <= self.top:
            raise TileError(f"level {z} does not exist: levels are 0 to {self.top}")
        return 1 << (self.top - z)

    def grid(self, z: int) -> tuple[int, int]:
        """Rows and columns of tiles at level z."""
        step = self.tile * self.downsample(z)
        return -(-self.height // step), -(-self.width // step)

    def window(self, z: int, x: int, y: int) -> tuple[int, int, int, int]:
        """Rows and columns (y0, y1, x0, x1) of the finest level under tile (x, y) of level z."""
        rows, columns = self.grid(z)
        if not (0 <= y < rows and 0 <= x < columns):
            raise TileError(
                f"tile x={x} y={y} does not exist at level {z}: it has {columns} x {rows} tiles"
            )
        step = self.tile * self.downsample(z)
        return (
            y * step,
            min((y + 1) * step, self.height),
            x * step,
            min((x + 1) * step, self.width),
        )

    def size(self, z: int, x: int, y: int) -> tuple[int, int]:
        """Height and width of the tile's picture; the last ones of a row or column are smaller."""
        y0, y1, x0, x1 = self.window(z, x, y)
        d = self.downsample(z)
        return -(-(y1 - y0) // d), -(-(x1 - x0) // d)


@dataclass(frozen=True)
class TileLevel:
    """One level as the viewer sees it.

    Parameters
    ----------
    downsample : float
        Level-0 pixels a pixel of this level.
    tile : (int, int)
        Height and width of a tile in pixels of this level.
    stored : int or None
        Index of the image's level whose own compressed tiles are this level's tiles.
    """

    downsample: float
    tile: tuple[int, int]
    stored: int | None = None


class ImagePyramid:
    """The levels of an image: stored ones at their own scale, gaps filled, down to a single tile.

    Where the stored tiles are compressed as a browser can show them, the level has their grid; else
    tiles near 512 px that are made of whole stored tiles, so that nothing is decoded twice.

    Parameters
    ----------
    height, width : int
        In level-0 pixels.
    levels : sequence of Level
        Finest first.
    passes : sequence of bool
        Which of `levels` hand out their compressed tiles.
    side : int
        About the side of tiles that are made.
    """

    def __init__(
        self,
        height: int,
        width: int,
        levels: Sequence[Any],
        passes: Sequence[bool],
        side: int = TILE,
    ) -> None:
        self.height, self.width = height, width
        finest_first: list[TileLevel] = []
        for number, (level, native) in enumerate(zip(levels, passes, strict=True)):
            d = float(level.downsample)
            while finest_first and d / finest_first[-1].downsample > GAP:
                finest_first.append(TileLevel(finest_first[-1].downsample * 2, (side, side)))
            th, tw = (int(n) for n in level.tile)
            if native:
                finest_first.append(TileLevel(d, (th, tw), number))
            else:
                finest_first.append(TileLevel(d, (near(th, side), near(tw, side))))
        while not self._single(finest_first[-1]):
            finest_first.append(TileLevel(finest_first[-1].downsample * 2, (side, side)))
        self.levels = tuple(reversed(finest_first))
        self._grids = tuple(
            (
                math.ceil(height / (level.tile[0] * level.downsample) - 1e-9),
                math.ceil(width / (level.tile[1] * level.downsample) - 1e-9),
            )
            for level in self.levels
        )

    def _single(self, level: TileLevel) -> bool:
        th, tw = level.tile
        return self.height <= th * level.downsample and self.width <= tw * level.downsample

    @property
    def top(self) -> int:
        """The finest level's number; level 0 fits in one tile."""
        return len(self.levels) - 1

    def grid(self, z: int) -> tuple[int, int]:
        """Rows and columns of tiles at level z."""
        if not 0 <= z < len(self.levels):
            raise TileError(f"level {z} does not exist: levels are 0 to {self.top}")
        return self._grids[z]

    def check(self, z: int, x: int, y: int) -> None:
        """Refuse what is outside."""
        rows, columns = self.grid(z)
        if not (0 <= y < rows and 0 <= x < columns):
            raise TileError(
                f"tile x={x} y={y} does not exist at level {z}: it has {columns} x {rows} tiles"
            )

    def window(self, z: int, x: int, y: int) -> tuple[float, float, float, float]:
        """Level-0 rows and columns (y0, y1, x0, x1) under tile (x, y) of level z."""
        self.check(z, x, y)
        level = self.levels[z]
        sy, sx = level.tile[0] * level.downsample, level.tile[1] * level.downsample
        return y * sy, min((y + 1) * sy, self.height), x * sx, min((x + 1) * sx, self.width)

    def size(self, z: int, x: int, y: int) -> tuple[int, int]:
        """Height and width of the tile's picture; the last ones of a row or column are smaller."""
        y0, y1, x0, x1 = self.window(z, x, y)
        d = self.levels[z].downsample
        return math.ceil((y1 - y0) / d - 1e-9), math.ceil((x1 - x0) / d - 1e-9)

    def describe(self) -> list[list[float]]:
        """`[downsample, tile width, tile height, columns, rows]` of each level, coarsest first."""
        out: list[list[float]] = []
        for z, level in enumerate(self.levels):
            rows, columns = self.grid(z)
            out.append([level.downsample, level.tile[1], level.tile[0], columns, rows])
        return out


def near(stored: int, side: int = TILE) -> int:
    """The multiple of a stored tile's side nearest to `side`; `side` where it is no such part."""
    if not 64 <= stored <= 1024:
        return side
    return stored * max(1, round(side / stored))

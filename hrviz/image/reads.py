"""Read accounting: which stored tiles a method touched, and how many pixels that makes.

The footprint is what the method asked for, whether or not a cache had it, so it is the same on
every run. Reads of a virtual level count on the stored level it is made from.
"""

from __future__ import annotations

import threading
from typing import Any

from hrviz.image.readers.base import Level


class ReadLog:
    """Tiles of stored levels that were read, and pixels that were asked for.

    Attributes
    ----------
    tiles : dict of int to set of (int, int)
        Level index to (row, column) of the stored tiles touched at least once.
    requested : dict of int to int
        Level index to pixels asked for, counted again each time they are asked for.
    """

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self.levels = levels
        self.tiles: dict[int, set[tuple[int, int]]] = {}
        self.requested: dict[int, int] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def record(self, level: int, y: int, x: int, height: int, width: int) -> None:
        """Count a window of a stored level (in pixels of that level)."""
        th, tw = self.levels[level].tile
        tiles = {
            (row, column)
            for row in range(y // th, (y + height - 1) // th + 1)
            for column in range(x // tw, (x + width - 1) // tw + 1)
        }
        self.record_tiles(level, tiles, height * width)

    def record_tiles(self, level: int, tiles: set[tuple[int, int]], pixels: int) -> None:
        with self._lock:
            self.tiles.setdefault(level, set()).update(tiles)
            self.requested[level] = self.requested.get(level, 0) + pixels

    def merge(self, other: ReadLog) -> None:
        for level, tiles in other.tiles.items():
            self.record_tiles(level, tiles, other.requested.get(level, 0))

    def tile_pixels(self, level: int, row: int, column: int) -> int:
        """Pixels of one stored tile, the last row and column cut to the level."""
        info = self.levels[level]
        return min(info.tile[0], info.height - row * info.tile[0]) * min(
            info.tile[1], info.width - column * info.tile[1]
        )

    @property
    def tiles_read(self) -> int:
        return sum(len(tiles) for tiles in self.tiles.values())

    @property
    def pixels_read(self) -> int:
        """Pixels of all distinct tiles touched: what had to be fetched and decoded once."""
        return sum(
            self.tile_pixels(level, row, column)
            for level, tiles in self.tiles.items()
            for row, column in tiles
        )

    @property
    def pixels_requested(self) -> int:
        return sum(self.requested.values())

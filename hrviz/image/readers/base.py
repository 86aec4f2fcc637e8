"""What a file format has to offer: levels, and a window of one level. Everything else is `Image`'s.

To add a format: one file in this folder with a subclass of `Reader` and a line in `__init__.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Level:
    """One stored resolution.

    Parameters
    ----------
    height, width : int
        In pixels of this level.
    downsample : float
        Level-0 pixels per pixel of this level (1 for the finest).
    tile : (int, int)
        Height and width of the stored tile: what one fetch costs at least.
    """

    height: int
    width: int
    downsample: float
    tile: tuple[int, int]


def nominal_downsample(full: tuple[int, int], level: tuple[int, int]) -> float:
    """Downsample of a stored level from its size, `(height, width)` each.

    Writers round level sizes up or down, so the ratio of sizes is not the factor they used: 2967 px
    halved are 1484 or 1483. If an integer factor explains both axes it is taken, else the mean ratio.
    """
    ratio = (full[0] / level[0] + full[1] / level[1]) / 2
    factor = round(ratio)
    if factor >= 1 and all(
        f // factor - 1 <= n <= -(-f // factor) + 1 and abs(n * factor - f) < 2 * factor
        for f, n in zip(full, level, strict=True)
    ):
        return float(factor)
    return float(ratio)


class Reader(ABC):
    """A lazy source of pixels: opening reads headers only, `read` decodes what is asked.

    Attributes
    ----------
    uri : str
        As the user wrote it; opening it again gives the same image.
    name : str
        Short name for people (file name, scene name).
    levels : tuple of Level
        Finest first; `levels[0].downsample == 1`.
    channels : int
        1 (grey), 3 (RGB), 4 (RGBA) or more (multi-channel).
    dtype : numpy.dtype
    pixel_size : float or None
        Micrometres a level-0 pixel, where the file says.
    metadata : dict
        Facts for people: format, vendor, objective...
    identity : str
        Changes whenever pixels may have changed (path + size + mtime, or the scene's full address).
    truth : object or None
        Ground truth of procedural scenes (see `hrviz.scenes`).
    """

    uri: str
    name: str
    levels: tuple[Level, ...]
    channels: int
    dtype: np.dtype[Any]
    pixel_size: float | None = None
    metadata: dict[str, str]
    identity: str
    truth: Any = None

    @abstractmethod
    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Pixels of one window of one level, `(height, width, channels)` of `dtype`.

        The window lies inside the level (`Image` clips). Must be callable from several threads.
        """

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """The stored tile as (bytes, MIME type) when a browser can show it unchanged, else None."""
        return None

    def close(self) -> None:  # noqa: B027 - most readers hold nothing
        """Release file handles; reading afterwards is an error."""

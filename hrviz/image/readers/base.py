"""What a file format has to offer: levels, and a window of one level. Everything else is `Image`'s.

To add a format: one file in this folder with a subclass of `Reader` and a line in `__init__.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from hrviz.errors import HrvizError


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


@dataclass(frozen=True)
class Channel:
    """One channel of a fluorescence image, as shown.

    Parameters
    ----------
    name : str
        E.g. 'DAPI'.
    colour : (int, int, int)
        RGB of full intensity, 0 to 255.
    limits : (float, float) or None
        Values shown as black and full colour; None: percentiles of the coarsest level.
    active : bool
        Shown at first.
    """

    name: str
    colour: tuple[int, int, int]
    limits: tuple[float, float] | None = None
    active: bool = True


@dataclass(frozen=True)
class Extent:
    """Where an image lies on the Earth.

    Parameters
    ----------
    crs : str
        Coordinate reference system, e.g. 'EPSG:32618'.
    transform : tuple of 6 floats
        (a, b, c, d, e, f): east = a x + b y + c, north = d x + e y + f, with x and y in level-0
        pixels (corners at whole numbers).
    bounds : tuple of 4 floats
        West, south, east, north in units of the CRS.
    geographic : tuple of 4 floats or None
        The same in degrees (WGS 84), where it can be told.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    bounds: tuple[float, float, float, float]
    geographic: tuple[float, float, float, float] | None = None


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


def check_index(name: str, axes: Mapping[str, int], at: Mapping[str, int]) -> dict[str, int]:
    """Index on every axis, 0 where `at` says nothing.

    Raises
    ------
    HrvizError
        For an axis that is not there, or an index beyond it.
    """
    for axis, n in at.items():
        if axis not in axes:
            has = ", ".join(f"{a} (0 to {m - 1})" for a, m in axes.items()) or "none"
            raise HrvizError(f"{name} has no axis {axis!r}: its axes are {has}")
        if not 0 <= n < axes[axis]:
            raise HrvizError(f"{name} has no {axis}={n}: choose 0 to {axes[axis] - 1}")
    return {axis: at.get(axis, 0) for axis in axes}


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
    channel_info : tuple of Channel or None
        For fluorescence: how each channel is composited. None: grey, RGB or RGBA.
    axes : dict of str to int
        Lengths of the axes beside y, x and channel ('t' of videos, 'z' of stacks); empty for a
        picture. A reader is always one picture: the one at `at`.
    at : dict of str to int
        Index on each of `axes`. The address of another index ends in `#t=12` or `#t=3&z=5`.
    frame_rate : float or None
        Pictures a second along 't'.
    extent : Extent or None
        Of georeferenced images.
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
    channel_info: tuple[Channel, ...] | None = None
    axes: Mapping[str, int] = MappingProxyType({})
    at: Mapping[str, int] = MappingProxyType({})
    frame_rate: float | None = None
    extent: Extent | None = None

    @abstractmethod
    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Pixels of one window of one level, `(height, width, channels)` of `dtype`.

        The window lies inside the level (`Image` clips). Must be callable from several threads.
        """

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """The stored tile as (bytes, MIME type) when a browser can show it unchanged, else None."""
        return None

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """`compressed_tile` without waiting for a disk.

        Raises
        ------
        BlockingIOError
            When it would have to wait, or cannot tell: call `compressed_tile` in a thread.
        """
        raise BlockingIOError

    def notes(self) -> list[str]:
        """Sentences about what reading has found so far: missing chunks, dropped frames..."""
        return []

    def close(self) -> None:  # noqa: B027 - most readers hold nothing
        """Release file handles; reading afterwards is an error."""

"""Images from arrays: a reader whose every pixel is known, and an `Image` over it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from hrviz.image import Image
from hrviz.image.readers.base import Level, Reader
from hrviz.image.resample import halve

_NUMBER = itertools.count()


class ArrayReader(Reader):
    """A pyramid held in memory.

    Parameters
    ----------
    array : ndarray, (h, w, c)
    halved : int
        How many stored levels are added, each by 2 x 2 means of the one before.
    tile : (int, int)
    levels : list of ndarray, optional
        The stored levels below the first, with their downsamples, instead of halved ones.
    """

    def __init__(
        self,
        array: np.ndarray,
        halved: int = 0,
        tile: tuple[int, int] = (64, 64),
        levels: list[tuple[float, np.ndarray]] | None = None,
        truth: Any = None,
        pixel_size: float | None = None,
    ) -> None:
        number = next(_NUMBER)
        self.uri, self.name, self.identity = f"array:{number}", f"array {number}", f"array:{number}"
        self.arrays = [array]
        downsamples = [1.0]
        for downsample, level in levels or []:
            downsamples.append(downsample)
            self.arrays.append(level)
        for _ in range(halved):
            downsamples.append(downsamples[-1] * 2)
            self.arrays.append(halve(self.arrays[-1]))
        self.levels = tuple(
            Level(a.shape[0], a.shape[1], d, tile)
            for a, d in zip(self.arrays, downsamples, strict=True)
        )
        self.channels, self.dtype = array.shape[2], array.dtype
        self.metadata, self.truth, self.pixel_size = {}, truth, pixel_size
        self.reads: list[tuple[int, int, int, int, int]] = []

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        self.reads.append((level, y, x, height, width))
        part = self.arrays[level][y : y + height, x : x + width]
        assert part.shape[:2] == (height, width), "a reader is only asked for what is there"
        return part.copy()


def image_of(array: np.ndarray, **options: Any) -> Image:
    """An `Image` over an array (h, w, c) or (h, w)."""
    return Image(ArrayReader(array if array.ndim == 3 else array[..., None], **options))

"""Levels of an image as lazy arrays: what napari slices, and dask arrays over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.reads import ReadLog

if TYPE_CHECKING:
    import dask.array as da

    from hrviz.image.image import Image

CHUNK = 1024  # dask and napari chunks near this side (measured optimum, DESIGN)


class Lazy:
    """What array libraries ask of a lazy array besides its pixels."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]


class LevelArray(Lazy):
    """One level as a lazy array `(y, x, channel)`: what dask and napari slice.

    Has `shape`, `dtype`, `ndim`, `chunks` (zarr style) and `__getitem__` with slices and integers.
    """

    def __init__(self, image: Image, level: int, log: ReadLog | None = None) -> None:
        info = image.levels_info[level]
        self._image, self._level, self._log = image, level, log
        self.shape = (info.height, info.width, image.channels)
        self.dtype = image.dtype
        self.ndim = 3
        th, tw = info.tile
        self.chunks = (
            min(info.height, max(th, CHUNK // th * th)),
            min(info.width, max(tw, CHUNK // tw * tw)),
            image.channels,
        )

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = key[:at] + (slice(None),) * (4 - len(key)) + key[at + 1 :]
        key = key + (slice(None),) * (3 - len(key))
        if len(key) > 3:
            raise IndexError(f"a level has 3 axes (y, x, channel), not {len(key)}")
        rows, columns = (_range(k, n) for k, n in zip(key[:2], self.shape[:2], strict=True))
        window = self._image.window(
            self._level,
            rows.start,
            columns.start,
            max(0, rows.stop - rows.start),
            max(0, columns.stop - columns.start),
            self._log,
        )
        inner = tuple(0 if not isinstance(k, slice) else slice(None, None, k.step) for k in key[:2])
        return window[(*inner, key[2])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.nbytes > 2**28:
            raise HrvizError(
                f"level {self._level} is {self.shape[1]} x {self.shape[0]} pixels and is never "
                "loaded whole: slice it, or use a coarser level"
            )
        return self[:, :].astype(dtype or self.dtype)


def _range(key: Any, n: int) -> slice:
    if isinstance(key, slice):
        start, stop, step = key.indices(n)
        if step < 1:
            raise IndexError("negative steps are not supported on lazy levels")
        return slice(start, stop)
    index = int(key)
    index += n if index < 0 else 0
    if not 0 <= index < n:
        raise IndexError(f"index {key} is outside 0..{n - 1}")
    return slice(index, index + 1)


def dask_levels(image: Image, log: ReadLog | None) -> list[da.Array]:
    """Levels as dask arrays whose reads are counted in `log` too."""
    import dask.array as da

    out = []
    for level in range(len(image.levels_info)):
        array = LevelArray(image, level, log)
        out.append(
            da.from_array(
                array,
                chunks=array.chunks,
                name=f"hrviz-{abs(hash((image.identity, level, id(log)))):x}",
                asarray=False,
                inline_array=True,
                meta=np.empty((0, 0, 0), image.dtype),
            )
        )
    return out

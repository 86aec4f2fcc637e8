"""NumPy .npy through a memory map: windows read only the pages of the file they touch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.array_axes import displayable, guess_axes, to_picture
from hrviz.image.readers.base import Level, Reader, check_index
from hrviz.image.readers.sniff import first_line, refuse_shrunk, short

TILE = 512


class NpyReader(Reader):
    """An array saved by `numpy.save`, C or Fortran order.

    The shape tells the axes (see `array_axes.guess_axes`): (y, x); (y, x, c) and (c, y, x) with at
    most 4 channels; (t, y, x); (t, z, y, x); (t, y, x, c); (t, c, y, x); (t, z, y, x, c);
    (t, c, z, y, x). Truth values become 0 and 255.

    Parameters
    ----------
    path : Path
        An existing file.
    uri : str
        As the user wrote it.
    at : mapping of str to int
        Index on 't' and 'z'.

    Raises
    ------
    HrvizError
        For pickled objects, complex numbers, records, shapes that are no picture, truncated files.
    """

    def __init__(self, path: Path, uri: str, at: Mapping[str, int]) -> None:
        self.uri, self.name, self._path = uri, path.name, path
        status = path.stat()
        self._file = status.st_dev, status.st_ino
        shape, fortran, dtype, start = self._header()
        self._check(shape, dtype, status.st_size, start)
        axes = guess_axes(shape)
        if axes is None:
            raise HrvizError(
                f"{short(path)} is an array of {len(shape)} axes ({' x '.join(map(str, shape))}); "
                "save one of (y, x), (y, x, c), (c, y, x), (t, y, x) or (t, z, y, x), with c at "
                "most 4"
            )
        self._axes = axes
        self.axes = {a: n for a, n in zip(axes, shape, strict=True) if a not in "yxc"}
        self.at = check_index(self.name, self.axes, at)
        index = "&".join(f"{a}={n}" for a, n in sorted(self.at.items()) if n)
        self.identity = f"{path}:{status.st_size}:{status.st_mtime_ns}" + (
            f"#{index}" if index else ""
        )
        self._end = start + math.prod(shape) * dtype.itemsize
        self._pixels: np.ndarray | None = np.load(path, mmap_mode="r", allow_pickle=False)
        size = dict(zip(axes, shape, strict=True))
        height, width, self.channels = size["y"], size["x"], size.get("c", 1)
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
        self.levels = (Level(height, width, 1.0, (min(height, TILE), min(width, TILE))),)
        order = "Fortran order (columns first)" if fortran else "C order"
        self.metadata = {
            "format": f"NumPy array of {dtype}, {order}",
            "axes": f"{', '.join(axes)} ({' x '.join(map(str, shape))}), told from the shape",
        }

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype, int]:
        """Shape, whether in Fortran order, dtype, and where the data start."""
        with self._path.open("rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version)
                if read is None:  # 3.0 differs from 2.0 in names of record fields only
                    raise ValueError(f"version {version[0]}.{version[1]} of the format")
                return *read(file), file.tell()
            except Exception as error:
                raise HrvizError(
                    f"{short(self._path)}: its NumPy header cannot be read ({first_line(error)}); "
                    "the file is damaged or truncated: save it again with numpy.save"
                ) from error

    def _check(self, shape: tuple[int, ...], dtype: np.dtype, size: int, start: int) -> None:
        where = short(self._path)
        if dtype.hasobject:
            raise HrvizError(
                f"{where} is a NumPy array of Python objects, a pickle, which hrviz never loads "
                "because loading one runs its code; save numbers: numpy.save('a.npy', "
                "array.astype('float32'))"
            )
        if dtype.kind not in "buif" or dtype.itemsize > 8:
            raise HrvizError(
                f"{where} has values of type {dtype if dtype.names is None else 'record'}; save "
                "real numbers of at most 64 bit, e.g. numpy.abs(array) or array.astype('float32')"
            )
        if len(shape) < 2 or min(shape) < 1:
            raise HrvizError(
                f"{where} has no picture (shape {shape}); save an array with at least one row and "
                "one column"
            )
        needed = start + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise HrvizError(
                f"{where} is truncated: its shape needs {needed:,} bytes and the file has {size:,} "
                f"({needed - size:,} bytes missing); copy or save it again"
            )

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of the array, copied out of the memory map."""
        pixels = self._pixels
        if pixels is None:
            raise HrvizError(f"{self.name} is closed; open it again")
        refuse_shrunk(self._path, self._file, self._end)
        parts: dict[str, Any] = {"y": slice(y, y + height), "x": slice(x, x + width)}
        parts |= {"c": slice(None), **self.at}
        window = np.array(pixels[tuple(parts[a] for a in self._axes)], copy=True)
        return displayable(to_picture(window, self._axes))

    def close(self) -> None:
        """Release the memory map."""
        self._pixels = None

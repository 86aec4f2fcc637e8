"""Where a TIFF level's pixels are: pages, planes and the grid of stored tiles or strips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.raster import max_pixels
from hrviz.image.readers.sniff import short
from hrviz.image.readers.tiff_header import refuse_truncated

BIG_SEGMENT = 4_000_000
"""Pixels of a stored tile or strip above which it is kept decoded and read in parts."""


class Plane(NamedTuple):
    """Where one page (or one of its separate sample planes) is, and which channels it fills."""

    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    first: int  # index of its first segment
    channels: slice
    tables: bytes | None
    pixels: np.ndarray | None  # memory map (y, x, sample) where stored plainly


class StoredLevel(NamedTuple):
    """One resolution: its key page, planes and grid of stored segments (tiles or strips)."""

    page: Any
    planes: tuple[Plane, ...]
    samples: int
    segment: tuple[int, int]
    across: int

    @property
    def fetch(self) -> tuple[int, int]:
        """What one fetch costs: the stored tile; a block of thin strips; a part of a huge piece."""
        height, width = self.page.imagelength, self.page.imagewidth
        th, tw = self.segment
        if self.planes[0].pixels is not None or th * tw > BIG_SEGMENT:
            return min(height, 1024), min(width, 1024)
        if not self.page.is_tiled:
            return min(height, th * max(1, 64 // th)), width
        return th, tw


def stored_level(
    series: Any, file: Any, path: Path, size: int, where: Mapping[str, int] | None = None
) -> StoredLevel:
    """Layout of one resolution of a series of `file`, which has `size` bytes, at an index of it.

    Raises
    ------
    HrvizError
        When bytes or tiles are missing, planes lie in other files, or a tile is too large.
    """
    page = series.keyframe
    height, width = page.imagelength, page.imagewidth
    if min(height, width) < 1:
        raise HrvizError(f"{short(path)} has no pixels ({width} x {height})")
    rows, columns = page.chunks[1 if page.tiledepth > 1 else 0 :][:2]
    across = -(-width // columns)
    samples = page.samplesperpixel
    separate = page.planarconfig == 2 and samples > 1
    expected = across * -(-height // rows) * (samples if separate else 1)
    planes: list[Plane] = []
    for number, index in enumerate(_channel_pages(series, where or {})):
        frame, start = _frame(series, index, file, path)
        offsets, counts = frame.dataoffsets, frame.databytecounts
        pixels = None
        if start is not None:
            refuse_truncated(path, size, start + page.nbytes)
            kind = np.dtype(page.dtype).newbyteorder(file.byteorder)
            pixels = np.memmap(path, dtype=kind, mode="r", offset=start, shape=page.shaped)
        else:
            _check_limit(page, path, (rows, columns))
            ends = np.asarray(offsets, np.int64) + np.asarray(counts, np.int64)
            refuse_truncated(path, size, int(ends.max(initial=0)))
            if len(offsets) < expected or len(counts) < expected:
                raise HrvizError(
                    f"{short(path)}: its header lists {min(len(offsets), len(counts))} of "
                    f"{expected} tiles; the file is damaged: copy it again"
                )
        for s in range(samples if separate else 1):
            at = slice(s, s + 1) if separate else slice(number * samples, (number + 1) * samples)
            part = None if pixels is None else pixels[s, 0]
            first = s * (len(offsets) // samples)
            planes.append(Plane(offsets, counts, first, at, frame.jpegtables, part))
    return StoredLevel(page, tuple(planes), planes[-1].channels.stop, (rows, columns), across)


def _frame(series: Any, index: int, file: Any, path: Path) -> tuple[Any, int | None]:
    """The page of a plane, and where its pixels start if they can be memory-mapped."""
    page = series.keyframe
    together = series.dataoffset is not None and page.is_final  # ImageJ: one page stands for all
    frame = page if together else series[index]
    if frame is None or frame.parent.filehandle is not file.filehandle:
        raise HrvizError(
            f"{short(path)} keeps its planes in several files, which is not supported; join them: "
            "bfconvert FILE joined.ome.tif"
        )
    if together:
        return page, series.dataoffset + index * page.nbytes
    return frame, frame.dataoffsets[0] if frame.is_final else None


def _check_limit(page: Any, path: Path, segment: tuple[int, int]) -> None:
    pixels = segment[0] * segment[1] * page.tiledepth
    limit = max_pixels()
    size = 0 if page.dtype is None else np.dtype(page.dtype).itemsize * page.samplesperpixel
    if pixels * max(1, size / 3) > limit:  # a limit in pixels of 8-bit RGB
        raise HrvizError(
            f"{short(path)} is stored in compressed pieces of {pixels / 1e6:.0f} megapixels "
            f"({segment[1]} x {segment[0]}), each decoded whole: at most {limit / 1e6:.0f} are "
            "allowed; re-save it in tiles (vips tiffsave FILE image.tif --tile --pyramid) or raise "
            "HRVIZ_MAX_PIXELS"
        )


def _lead(series: Any) -> list[tuple[str, int]]:
    """Axes of a series that are spread over pages, slowest first: a letter each, and the length.

    'c' are the channels; a letter that comes twice (axes nobody named) is replaced by a free one.
    """
    page = series.keyframe
    if not series.axes.endswith(page.axes):
        return []
    found: dict[str, int] = {}
    count = len(series.axes) - len(page.axes)
    for letter, n in zip(series.axes[:count].lower(), series.shape[:count], strict=True):
        free = (a for a in (letter, *"qrsuvw") if a.isalpha() and a not in found and a not in "yx")
        found[next(free)] = n
    return list(found.items())


def _channels_in_pages(series: Any) -> bool:
    return series.keyframe.samplesperpixel == 1


def other_axes(series: Any) -> dict[str, int]:
    """Lengths of the axes beside y, x and the channels, by letter."""
    return {
        a: int(n)
        for a, n in _lead(series)
        if n > 1 and not (a == "c" and _channels_in_pages(series))
    }


def _channel_pages(series: Any, at: Mapping[str, int]) -> list[int]:
    """Indices of the pages to read: all of C, the one at `at` of every other axis before Y."""
    pages, stride = [0], 1
    for axis, n in reversed(_lead(series)):
        if axis == "c" and _channels_in_pages(series):
            pages = [page + c * stride for c in range(n) for page in pages]
        else:
            step = min(at.get(axis, 0), n - 1) * stride
            pages = [page + step for page in pages]
        stride *= n
    return pages

"""JPEG 2000 (.jp2, .j2k) through GDAL's OpenJPEG driver: windows and the format's own resolutions.

A wavelet codestream holds every halving of the image and is cut into code-blocks: OpenJPEG decodes
the blocks under a window at the resolution asked for, and GDAL keeps no more than that in memory.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Extent, Level, Reader, nominal_downsample
from hrviz.image.readers.sniff import first_line, short

# Failures become our sentences; with no handler GDAL's own lines would print beside them.
logging.getLogger("rasterio").addHandler(logging.NullHandler())

_HANDLES = 4  # threads that decode one file at once
_DRIVER = "JP2OpenJPEG"
MAX_BLOCKS = 2_000_000
"""Code-blocks of one tile: OpenJPEG lists them all (about 300 bytes each) to decode any of them."""

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # nothing but the file itself is looked at
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_CACHEMAX": 64,  # MB; tiles are cached by `Image`
    "CPL_LOG": os.devnull,  # OpenJPEG's own threads print beside what they raise
}


class Jpeg2000Reader(Reader):
    """Grey, RGB and multi-channel JPEG 2000 of 1 to 32 bit.

    Parameters
    ----------
    path : Path
        An existing file.
    uri : str
        As the user wrote it.

    Raises
    ------
    HrvizError
        Without rasterio or its OpenJPEG driver, or when the header is damaged.
    """

    def __init__(self, path: Path, uri: str) -> None:
        self.uri, self.name, self._path = uri, path.name, path
        status = path.stat()
        self.identity = f"{path}:{status.st_size}:{status.st_mtime_ns}"
        self._lock, self._slots = threading.Lock(), threading.BoundedSemaphore(_HANDLES)
        self._free: list[dict[int, Any]] = []
        self._closed = False
        self._require_driver()
        _check_codestream(path)
        try:
            with self._handle() as datasets:
                self._setup(datasets)
        except Exception as error:
            self.close()
            if isinstance(error, HrvizError):
                raise
            raise HrvizError(
                f"{short(path)}: its JPEG 2000 header cannot be read ({first_line(error)}); the "
                "file is damaged or truncated: copy or download it again"
            ) from error

    def _require_driver(self) -> None:
        try:
            import rasterio
        except ImportError:
            raise HrvizError(
                f"{short(self._path)}: JPEG 2000 is read with rasterio, which is not installed; "
                "pip install 'hrviz[formats]'"
            ) from None
        with rasterio.Env() as environment:
            if _DRIVER not in environment.drivers():
                raise HrvizError(
                    f"{short(self._path)}: this build of rasterio reads no JPEG 2000; install the "
                    "one from PyPI (pip install --force-reinstall rasterio) or convert the file: "
                    "opj_decompress -i FILE -o image.tif"
                )

    @contextmanager
    def _handle(self) -> Iterator[dict[int, Any]]:
        """Datasets by level that nobody else uses meanwhile: GDAL's are not thread-safe."""
        import rasterio

        with self._slots, rasterio.Env(**_OPTIONS):
            with self._lock:
                if self._closed:
                    raise HrvizError(f"{self.name} is closed; open it again")
                datasets = self._free.pop() if self._free else {}
            try:
                yield datasets
            finally:
                with self._lock:
                    keep = not self._closed
                    if keep:
                        self._free.append(datasets)
                if not keep:
                    _close(datasets)

    def _dataset(self, datasets: dict[int, Any], level: int) -> Any:
        import warnings

        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        if level not in datasets:
            options = {} if level == 0 else {"overview_level": level - 1}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                datasets[level] = rasterio.open(self._path, driver=_DRIVER, **options)
        return datasets[level]

    def _setup(self, datasets: dict[int, Any]) -> None:
        full = self._dataset(datasets, 0)
        levels: list[Level] = []
        for number in range(1 + len(full.overviews(1))):
            data = self._dataset(datasets, number)
            (th, tw), (h, w) = data.block_shapes[0], data.shape
            tile = (min(th, 1024, h), min(tw, 1024, w))
            levels.append(Level(h, w, nominal_downsample(full.shape, (h, w)), tile))
        self.levels = tuple(levels)
        self._colours(full)
        bits = full.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        depth = f"{bits or 8 * np.dtype(full.dtypes[0]).itemsize} bit"
        self.metadata = {"format": f"JPEG 2000, {depth}, {len(levels)} resolutions"}
        if not self.dtype.itemsize > 1 and bits and int(bits) < 8:
            self._gain = 255 // (2 ** int(bits) - 1)
        self._place(full)

    def _colours(self, data: Any) -> None:
        from rasterio.enums import ColorInterp

        self.dtype = np.result_type(*data.dtypes)
        if self.dtype.kind not in "uif":
            raise HrvizError(
                f"{short(self._path)} has pixels of type {self.dtype}; save it as TIFF"
            )
        self._gain, self._table, self._grey_alpha = 1, None, False
        self.channels = data.count
        meaning = data.colorinterp
        if data.count == 1 and meaning[0] is ColorInterp.palette:
            table = np.zeros((1 << 8 * self.dtype.itemsize, 3), np.uint8)
            for value, colour in data.colormap(1).items():
                table[value] = colour[:3]
            self._table, self.channels, self.dtype = table, 3, np.dtype(np.uint8)
        elif data.count == 2 and meaning[1] is ColorInterp.alpha:
            self._grey_alpha, self.channels = True, 4

    def _place(self, data: Any) -> None:
        """Where a GeoJP2 lies; else the capture resolution that the file gives."""
        tags = data.tags()
        factor = {"2": 25400.0, "3": 10000.0}.get(str(tags.get("TIFFTAG_RESOLUTIONUNIT"))[:1])
        try:
            density = [float(tags[f"TIFFTAG_{a}RESOLUTION"]) for a in "XY"]
        except (KeyError, ValueError):
            density = []
        if factor and density and min(density) > 0:
            size = sum(factor / d for d in density) / 2
            if not any(abs(25400 / size - dpi) < 0.2 for dpi in (72, 96)):  # writers' defaults
                self.pixel_size = size
        crs, transform = data.crs, data.transform
        if not crs or transform.is_identity:
            return
        geographic = None
        try:
            from rasterio.warp import transform_bounds

            geographic = tuple(transform_bounds(crs, "EPSG:4326", *data.bounds))
        except Exception:  # a CRS without a way to degrees still has its own coordinates
            self.metadata["projection"] = "not convertible to degrees"
        self.extent = Extent(crs.to_string(), tuple(transform[:6]), tuple(data.bounds), geographic)
        if crs.is_projected:
            unit = crs.linear_units_factor[1]
            self.pixel_size = (abs(transform.a) + abs(transform.e)) / 2 * unit * 1e6

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a resolution, decoding the code-blocks it touches.

        Raises
        ------
        HrvizError
            When they cannot be decoded; names level and window.
        """
        from rasterio.windows import Window

        try:
            with self._handle() as datasets:
                data = self._dataset(datasets, level)
                pixels = np.moveaxis(data.read(window=Window(x, y, width, height)), 0, -1)
        except HrvizError:
            raise
        except Exception as error:
            raise HrvizError(
                f"{short(self._path)}: level {level}, window of {width} x {height} at row {y}, "
                f"column {x} cannot be decoded ({first_line(error.__cause__ or error)}); the file "
                "is truncated or damaged: copy or download it again"
            ) from error
        if self._table is not None:
            return self._table[pixels[..., 0]]
        if self._gain > 1:
            pixels = pixels * pixels.dtype.type(self._gain)
        if self._grey_alpha:
            pixels = pixels[..., [0, 0, 0, 1]]
        return np.ascontiguousarray(pixels, dtype=self.dtype)

    def close(self) -> None:
        """Close GDAL's datasets; those in use are closed when their read ends."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for datasets in free:
            _close(datasets)


def _close(datasets: dict[int, Any]) -> None:
    for data in datasets.values():
        data.close()


def _check_codestream(path: Path) -> None:
    """Refuse a header that would have OpenJPEG allocate memory without bound; reads a few bytes.

    Raises
    ------
    HrvizError
        When there is no codestream, or its tiles have too many code-blocks.
    """
    with path.open("rb") as file:
        data = file.read(2)
        file.seek(0)
        if data != b"\xff\x4f":
            _seek_codestream(file, path)
        head = file.read(2**16)
    try:
        (siz, _, _, x1, y1, x0, y0, tw, th) = struct.unpack(">HHHIIIIII", head[2:32])
        (components,) = struct.unpack(">H", head[40:42])
        wide, high = _code_block(head)
    except (struct.error, ValueError, IndexError):
        siz = 0
    if siz != 0xFF51 or not (x0 < x1 and y0 < y1 and tw and th and components):
        raise HrvizError(
            f"{short(path)}: its JPEG 2000 header cannot be read; the file is damaged or "
            "truncated: copy or download it again"
        )
    tw, th = min(tw, x1 - x0), min(th, y1 - y0)
    # all resolutions together have a third more than the finest
    blocks = -(-tw // wide) * -(-th // high) * components * 4 // 3
    if blocks > MAX_BLOCKS:
        raise HrvizError(
            f"{short(path)} is stored in tiles of {tw} x {th} pixels with {blocks / 1e6:.0f} "
            f"million code-blocks, at most {MAX_BLOCKS / 1e6:.0f} million are read; encode it in "
            "tiles: opj_compress -i FILE -o tiled.jp2 -t 4096,4096"
        )


def _seek_codestream(file: Any, path: Path) -> None:
    """Go to the contiguous codestream box of a JP2."""
    end = path.stat().st_size
    while file.tell() + 8 <= end:
        start = file.tell()
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if kind == b"jp2c":
            return
        if length < 8:
            return
        file.seek(min(start + length, end))


def _code_block(head: bytes) -> tuple[int, int]:
    """Width and height of the smallest code-blocks: the nominal size, or half a precinct."""
    at = 2
    while at + 4 <= len(head):
        marker, length = struct.unpack(">HH", head[at : at + 4])
        if marker == 0xFF52:
            style, levels, x, y = head[at + 4], head[at + 9], head[at + 10], head[at + 11]
            x, y = x + 2, y + 2
            if style & 1:
                sizes = head[at + 14 : at + 15 + levels]
                x = min([x, *(max(0, (s & 15) - 1) for s in sizes)])
                y = min([y, *(max(0, (s >> 4) - 1) for s in sizes)])
            return 1 << min(x, 10), 1 << min(y, 10)
        if marker in (0xFF90, 0xFFD9) or length < 2:
            break
        at += 2 + length
    raise ValueError("no coding style")

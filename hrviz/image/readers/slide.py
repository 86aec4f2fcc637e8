"""Whole slides through OpenSlide: Aperio, Hamamatsu, MIRAX, Leica, Ventana, Zeiss, Philips, ...

Aperio slides with JPEG tiles keep OpenSlide's metadata but their pixels are read as what they are,
tiled TIFF: the same pixels in less than half the time, and exact on coarse levels too. OpenSlide
addresses every level in level-0 pixels and divides by the mean ratio of the sizes; at ratios such
as 4.0001 a window lands between the level's pixels and is interpolated.
"""

from __future__ import annotations

import contextlib
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Level, Reader, nominal_downsample
from hrviz.image.readers.sniff import first_line, short
from hrviz.image.readers.tiff import TiffReader

_CACHE_BYTES = 32 << 20
_SIDES = ("height", "width")
_MOST_TILE = 2**26  # pixels; OpenSlide ends the whole process where it gets no memory for one
_MOST_PARTS = 100_000
# How many files, images or levels the text of a slide promises; OpenSlide allocates by them.
_COUNTS = re.compile(
    rb"^\s*(NoJpegColumns|NoJpegRows|NoLayers|IMAGENUMBER_[XY]|(?:NON)?HIER_COUNT|"
    rb"(?:NON)?HIER_\d+_COUNT|FILE_COUNT|CameraImageDivisionsPerSide)\s*=\s*\+?(\d+)",
    re.MULTILINE,
)
# Names of the slide's other files, which lie beside its text.
_FILES = re.compile(
    rb"^\s*(ImageFile[^=\s]*|MapFile|MacroImage|OptimisationFile|INDEXFILE|FILE_\d+)\s*=(.*[/\\].*)$",
    re.MULTILINE,
)


def detect(path: Path) -> str | None:
    """OpenSlide's vendor, or None for no slide; plain tiled TIFF is left to tifffile."""
    try:
        vendor = openslide.OpenSlide.detect_format(str(path))
    except Exception:
        return None
    return None if vendor in (None, "generic-tiff") else str(vendor)


class SlideReader(Reader):
    """A slide of a vendor's format, read as RGB on the slide's background colour.

    Parameters
    ----------
    path : Path
        An existing file.
    uri : str
        As the user wrote it.
    vendor : str
        What `detect` found.

    Raises
    ------
    HrvizError
        When OpenSlide cannot open it, or bytes are missing.
    """

    channels = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, uri: str, vendor: str) -> None:
        self.uri, self.name, self._path = uri, path.name, path
        status = path.stat()
        self.identity = f"{path}:{status.st_size}:{status.st_mtime_ns}"
        self._lock = threading.Lock()
        self._slide: Any = None
        self._pixels: TiffReader | None = None
        try:
            self._slide = self._open()
            self._setup(vendor)
        except Exception as error:
            self.close()
            if isinstance(error, HrvizError):
                raise
            raise HrvizError(
                f"{short(path)}: OpenSlide cannot open this {vendor} slide ({first_line(error)}); "
                "copy it again with all its files"
            ) from error

    def _open(self) -> Any:
        _check_text(self._path)
        slide = openslide.OpenSlide(str(self._path))
        slide.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
        return slide

    def _setup(self, vendor: str) -> None:
        facts = dict(self._slide.properties)
        width, height = self._slide.dimensions
        self._factors = [float(f) for f in self._slide.level_downsamples]
        levels = []
        for i, (w, h) in enumerate(self._slide.level_dimensions):
            if not (0 < w < 2**31 and 0 < h < 2**31):  # where damaged tiles are said to lie
                raise ValueError(f"level {i} is {w} x {h} pixels")
            th, tw = (int(facts.get(f"openslide.level[{i}].tile-{s}", 512)) for s in _SIDES)
            if th * tw > _MOST_TILE:
                raise HrvizError(
                    f"{short(self._path)} is stored in tiles of {tw} x {th} pixels, each decoded "
                    f"whole: at most {_MOST_TILE / 1e6:.0f} megapixels are read; it is damaged, or "
                    "export it again in smaller tiles"
                )
            scale = nominal_downsample((height, width), (h, w))
            levels.append(Level(h, w, scale, _fetch(th, tw)))
        self.levels = tuple(levels)
        sizes = [_positive(facts.get(f"openslide.mpp-{axis}")) for axis in "xy"]
        known = [s for s in sizes if s is not None]
        self.pixel_size = sum(known) / len(known) if known else None
        colour = facts.get("openslide.background-color", "ffffff")
        self._background = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], np.uint16)
        names = sorted(self._slide.associated_images)
        profile = int(facts.get("openslide.icc-size", 0) or 0) > 0
        self.metadata = {
            "format": f"{vendor} slide (OpenSlide)",
            "vendor": vendor,
            "objective": f"{facts.get('openslide.objective-power', 'unknown')} x",
            "colour profile": "ICC, not applied" if profile else "none",
            "associated images": ", ".join(names) or "none",
        }
        scanned = [facts.get(f"openslide.bounds-{part}") for part in ("width", "height", "x", "y")]
        if all(scanned):
            self.metadata["scanned"] = "{} x {} px from x={}, y={}".format(*scanned)
        if vendor == "aperio":
            self._pixels = self._as_tiff()

    def _as_tiff(self) -> TiffReader | None:
        """The same levels as a tiled TIFF, if that is what the slide is.

        A truncated file raises here, when the slide is opened. OpenSlide fills tiles that were
        never written from coarser levels, so slides with such tiles stay with it.
        """
        try:
            reader = TiffReader(self._path, self.uri)
        except HrvizError as error:
            if "truncated" in str(error):
                raise
            return None
        same = [(a.height, a.width) for a in self.levels] == [
            (b.height, b.width) for b in reader.levels
        ]
        if same and reader.channels == 3 and reader.dtype == np.uint8 and reader.complete_jpeg():
            return reader
        reader.close()
        return None

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a level as RGB.

        Raises
        ------
        HrvizError
            When a tile cannot be decoded.
        """
        if self._pixels is not None:
            return self._pixels.read(level, y, x, height, width)
        slide = self._slide
        if slide is None:
            raise HrvizError(f"{self.name} is closed; open it again")
        factor = self._factors[level]
        try:
            rgba = np.asarray(
                slide.read_region((round(x * factor), round(y * factor)), level, (width, height))
            )
        except Exception as error:
            self._reopen(slide)
            raise HrvizError(
                f"{short(self._path)}: level {level}, window of {width} x {height} at row {y}, "
                f"column {x} cannot be decoded ({first_line(error)}); the slide is damaged: "
                "copy it again"
            ) from error
        if rgba[..., 3].min(initial=255) == 255:
            return np.ascontiguousarray(rgba[..., :3])
        alpha = rgba[..., 3:].astype(np.uint16)
        mixed = rgba[..., :3] * alpha + self._background * (255 - alpha)
        return ((mixed + 127) // 255).astype(np.uint8)

    def _reopen(self, failed: Any) -> None:
        # After one error an OpenSlide handle refuses everything; other places may well be fine.
        with self._lock, contextlib.suppress(Exception):
            if self._slide is failed:
                self._slide = self._open()

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """The stored JPEG tile of an Aperio slide, see `TiffReader.compressed_tile`."""
        if self._pixels is None or self._pixels.levels[level].tile != self.levels[level].tile:
            return None
        return self._pixels.compressed_tile(level, row, column)

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """See `TiffReader.compressed_tile_now`."""
        if self._pixels is None or self._pixels.levels[level].tile != self.levels[level].tile:
            return None
        return self._pixels.compressed_tile_now(level, row, column)

    def close(self) -> None:
        """Release the slide's handles."""
        with self._lock:
            slide, self._slide = self._slide, None
        if self._pixels is not None:
            self._pixels.close()
        if slide is not None:
            slide.close()


def _check_text(path: Path) -> None:
    """Refuse the text of a VMS, VMU or MIRAX slide with too many parts, or parts in other folders.

    Raises
    ------
    HrvizError
        Names the entry and its value.
    """
    suffix = path.suffix.lower()
    text = {".vms": path, ".vmu": path, ".mrxs": path.with_suffix("") / "Slidedat.ini"}.get(suffix)
    if text is None or not text.is_file():
        return
    with text.open("rb") as file:
        content = file.read(2**20)
    for name, count in _COUNTS.findall(content):
        if len(count) > 9 or int(count) > _MOST_PARTS:
            raise HrvizError(
                f"{short(text)} says {name.decode()}={count[:20].decode()}, at most {_MOST_PARTS:,} "
                "are read; it is damaged: copy the slide again with all its files"
            )
    for name, value in _FILES.findall(content):
        raise HrvizError(
            f"{short(text)} says {name.decode(errors='replace')}="
            f"{value.strip()[:60].decode(errors='replace')}, which does not lie beside it; it is "
            "damaged or hostile: copy the slide again with all its files"
        )


def _fetch(height: int, width: int) -> tuple[int, int]:
    """The stored tile; several of the slivers between a JPEG's restart markers; parts of a huge one."""
    if not (0 < height <= 2048 and 0 < width <= 2048):
        return 1024, 1024
    if height * width >= 64 * 64:
        return height, width
    return height * -(-256 // height), width * -(-256 // width)


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or 0)
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None

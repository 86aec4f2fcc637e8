"""What a TIFF's header says beside the pixels: colours, pixel size, whether bytes are missing."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.sniff import short

JPEG_FAMILY = (6, 7, 33007, 34892)
"""Compressions whose decoder turns YCbCr into RGB by itself."""

MAX_CHANNELS = 1024
"""More than any camera has; above it a header is damaged."""

_TO_UM = {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400.0} | dict.fromkeys(
    ("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", r"\u00b5m", "micron", "microns"), 1.0
)

_TYPE_BYTES = {2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8, 18: 8}
# Description, offsets and sizes of strips and tiles, palette, SubIFDs, JPEG tables.
_NEEDED = (270, 273, 279, 320, 324, 325, 330, 347)

Convert = Callable[[np.ndarray], np.ndarray]


class Colour(NamedTuple):
    """How stored samples become channels; `convert` is None where they are the channels."""

    channels: int
    dtype: np.dtype[Any]
    convert: Convert | None
    note: str | None = None


def colour_of(page: Any, samples: int, path: Path) -> Colour:
    """Channels, dtype and conversion for `samples` stored samples a pixel.

    Raises
    ------
    HrvizError
        For complex numbers, CIE L*a*b* and absurd channel counts.
    """
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        raise HrvizError(
            f"{short(path)} has pixels of a type hrviz does not read "
            f"({page.dtype or page.bitspersample}); convert it to 8 or 16 bit integers or float32"
        )
    if samples > MAX_CHANNELS:
        raise HrvizError(
            f"{short(path)} has {samples} channels, at most {MAX_CHANNELS} are read; it is "
            "damaged, or save the channels of interest on their own"
        )
    dtype = np.dtype(page.dtype).newbyteorder("=")
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8 * dtype.itemsize
    photometric = int(page.photometric)
    if photometric in (8, 9, 10):
        raise HrvizError(f"{short(path)} is stored as CIE L*a*b*; convert it to RGB")
    indexed = photometric == 3 and samples == 1 and dtype.kind in "bu" and dtype.itemsize <= 2
    if indexed and page.colormap is not None:
        return Colour(3, np.dtype("u1"), _palette(page.colormap, dtype), "palette, shown as RGB")
    if photometric == 5 and samples >= 4 and dtype.kind == "u":
        return Colour(3, dtype, _cmyk, "CMYK, shown as RGB without its ink profile")
    if photometric == 6 and samples == 3 and dtype == np.uint8:
        # WebP, JPEG XL and JPEG 2000 codecs and the JPEG family give RGB.
        if page.compression in (*JPEG_FAMILY, 33005, 34712, 50001, 50002, 52546):
            return Colour(3, dtype, None)
        return Colour(3, dtype, _ycbcr, "YCbCr, shown as RGB")
    convert = _grey(dtype, bits, invert=photometric == 0)
    shown = np.dtype("u1") if dtype.kind == "b" else dtype
    if photometric in (0, 1) and samples == 2 and page.extrasamples[:1] in ((1,), (2,)):
        return Colour(4, shown, _with_alpha(convert), "grey with opacity, shown as RGBA")
    return Colour(
        samples, shown, convert, "white is zero, shown inverted" if photometric == 0 else None
    )


def _grey(dtype: np.dtype[Any], bits: int, *, invert: bool) -> Convert | None:
    if dtype.kind == "b":
        return lambda raw: np.where(raw != invert, np.uint8(255), np.uint8(0))
    if dtype.kind != "u":
        return None
    top = 2**bits - 1
    scale = 255 // top if bits < 8 else 1
    if not invert and scale == 1:
        return None
    kind = dtype.type
    if invert:
        return lambda raw: (kind(top) - raw) * kind(scale)
    return lambda raw: raw * kind(scale)


def _palette(colormap: Any, dtype: np.dtype[Any]) -> Convert:
    table = np.asarray(colormap).T
    # The standard says 16 bit entries; some writers put 8 bit ones.
    table = (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8)
    rows = 1 << (8 * dtype.itemsize)
    table = np.pad(table, ((0, max(0, rows - len(table))), (0, 0)))

    def colours(raw: np.ndarray) -> np.ndarray:
        index = raw[..., 0].view(np.uint8) if raw.dtype == bool else raw[..., 0]
        found: np.ndarray = table[index]
        return found

    return colours


def _cmyk(raw: np.ndarray) -> np.ndarray:
    top = np.iinfo(raw.dtype).max
    ink = raw.astype(np.float32) / top
    rgb: np.ndarray = np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:4]) * top)
    return rgb.astype(raw.dtype)


def _ycbcr(raw: np.ndarray) -> np.ndarray:
    y, cb, cr = (raw[..., i].astype(np.float32) - (128 if i else 0) for i in range(3))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    clipped: np.ndarray = np.clip(np.rint(rgb), 0, 255)
    return clipped.astype(np.uint8)


def _with_alpha(convert: Convert | None) -> Convert:
    def rgba(raw: np.ndarray) -> np.ndarray:
        grey = raw[..., :1] if convert is None else convert(raw[..., :1])
        return np.concatenate([grey, grey, grey, raw[..., 1:2]], axis=-1)

    return rgba


def pixel_size(file: Any, page: Any) -> tuple[float | None, str | None]:
    """Micrometres a pixel, and a note where the file's own number was not believed.

    72 and 96 pixels an inch are what writers put when they know nothing: a scale bar from them
    would be wrong on every photo, so they count as unknown.
    """
    if file.is_ome and file.ome_metadata:
        tag = r'<(?:\w+:)?Pixels\b[^>]*\bPhysicalSize%s="([^"]+)"'
        sizes = []
        for axis in "XY":
            found = re.search(tag % axis, file.ome_metadata)
            unit = re.search(tag % f"{axis}Unit", file.ome_metadata)
            per_unit = _TO_UM.get(unit[1] if unit else "um")
            if found and per_unit:
                sizes.append(_number(found[1]) * per_unit)
        if sizes:
            return _believable(sum(sizes) / len(sizes)), None
    if page.is_svs:
        mpp = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description)
        return (_believable(_number(mpp[1])) if mpp else None), None
    factor = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit or 1))
    if file.is_imagej and file.imagej_metadata:
        factor = _TO_UM.get(str(file.imagej_metadata.get("unit", "")).lower(), factor)
    if factor is None or 282 not in page.tags or 283 not in page.tags:
        return None, None
    densities = [float(v) for v in page.resolution]
    if min(densities) <= 0 or densities == [1.0, 1.0]:
        return None, None
    size = sum(factor / d for d in densities) / 2
    dpi = 25400 / size
    if any(abs(dpi - default) < 0.2 for default in (72, 96)):
        return None, f"{dpi:.0f} dpi, a writer's default: not taken for a pixel size"
    return _believable(size), None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _believable(size: float) -> float | None:
    return size if 0 < size < 1e9 else None


def check_directories(file: Any, path: Path, size: int) -> None:
    """Refuse a file whose directories lead beyond its end; reads a few bytes.

    tifffile only logs this and goes on with the pages it has, which would silently lose levels or
    channels. The first and the last directory are looked at: writers append.
    """
    tiff, handle = file.tiff, file.filehandle
    handle.seek(8 if tiff.version == 43 else 4)
    first = handle.read(tiff.offsetsize)
    if len(first) < tiff.offsetsize:
        raise HrvizError(f"{short(path)} is truncated in its first bytes; copy it again")
    refuse_truncated(path, size, struct.unpack(tiff.offsetformat, first)[0] + tiff.tagnosize)
    if not len(file.pages):
        raise HrvizError(f"{short(path)} is a TIFF without images; write it again")
    if file.is_ndpi:  # 64 bit offsets in a 32 bit layout: OpenSlide's, and checked by it
        return
    for offset in {file.pages[0].offset, file.pages[len(file.pages) - 1].offset}:
        refuse_truncated(path, size, _end_of_directory(tiff, handle, offset))
    refuse_truncated(path, size, max(file.pages[0].subifds or (0,)))


def _end_of_directory(tiff: Any, handle: Any, offset: int) -> int:
    """Furthest byte that a directory's needed tags and its pointer to the next one lead to."""
    handle.seek(offset)
    (count,) = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))
    data = handle.read(count * tiff.tagsize + tiff.offsetsize)
    end = offset + tiff.tagnosize + count * tiff.tagsize + tiff.offsetsize
    if len(data) < count * tiff.tagsize + tiff.offsetsize:
        return int(end)
    order, word = tiff.byteorder, tiff.offsetformat[-1]
    for code, kind, number, value in struct.iter_unpack(
        f"{order}HH{word}{word}", data[: -tiff.offsetsize]
    ):
        length = number * _TYPE_BYTES.get(kind, 0)
        if code in _NEEDED and length > tiff.offsetsize:
            end = max(end, value + length)
    (following,) = struct.unpack(tiff.offsetformat, data[-tiff.offsetsize :])
    return int(max(end, following))


def refuse_truncated(path: Path, size: int, end: int) -> None:
    """Raise where the file ends before `end`."""
    if end > size:
        raise HrvizError(
            f"{short(path)} is truncated or damaged: its header points to byte {end:,} and the "
            f"file has {size:,} ({end - size:,} bytes missing); copy or download it again"
        )

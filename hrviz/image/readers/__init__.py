"""Readers: one file a format. `open_reader` looks at the content and picks one.

To add a format: a file here with a subclass of `Reader`, its magic bytes in `sniff.py`, and a line
in `open_reader`. The heavy libraries (OpenSlide, tifffile, Pillow) are imported when first used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from hrviz.errors import HrvizError
from hrviz.image.readers import sniff
from hrviz.image.readers.base import (
    Channel,
    Extent,
    Level,
    Reader,
    check_index,
    nominal_downsample,
)

__all__ = [
    "Channel",
    "Extent",
    "Level",
    "Reader",
    "nominal_downsample",
    "open_reader",
    "split_address",
    "with_index",
]


def split_address(uri: str) -> tuple[str, dict[str, int]]:
    """An address without its index, and the index: `film.mp4#t=12` is frame 12.

    A '#' that is part of a file's name stays: only `#axis=N&axis=N` at the end is an index.

    Examples
    --------
    >>> split_address("stack.ome.tif#t=3&z=5"), split_address("slide #2.svs")
    (('stack.ome.tif', {'t': 3, 'z': 5}), ('slide #2.svs', {}))
    """
    found = re.fullmatch(r"(.*)#([a-z]=[0-9]{1,9}(?:&[a-z]=[0-9]{1,9})*)", uri, re.DOTALL)
    if not found:
        return uri, {}
    pairs = (pair.split("=") for pair in found[2].split("&"))
    return found[1], {axis: int(n) for axis, n in pairs}


def with_index(uri: str, at: Mapping[str, int]) -> str:
    """The address of the picture at this index; zeros are left out."""
    base, old = split_address(uri)
    parts = [f"{axis}={n}" for axis, n in sorted((old | dict(at)).items()) if n]
    return base + ("#" + "&".join(parts) if parts else "")


def open_reader(uri: str | os.PathLike[str]) -> Reader:
    """Open an image by its path or scene address; headers only, no pixels.

    Parameters
    ----------
    uri : str or path
        A file (`~` is expanded), an OME-Zarr or DICOM folder, the http(s), s3 or other fsspec
        address of a Zarr, `scene:name?key=value`, or `data:name` for a file fetched with
        `hrviz data fetch`; `#t=12&z=3` at the end chooses a picture of a video or a stack.

    Returns
    -------
    Reader

    Raises
    ------
    HrvizError
        One sentence: what was given, what is allowed, the next step.

    Examples
    --------
    >>> open_reader("none/slide.svs")
    Traceback (most recent call last):
    hrviz.errors.HrvizError: none/slide.svs does not exist, nor does its folder; check the path
    """
    text = os.fspath(uri)
    base, at = split_address(text)
    if base.startswith("data:"):
        from hrviz.data import fetched

        base = str(fetched(base.removeprefix("data:")))
    if base.startswith("scene:"):
        from hrviz.scenes import open_scene

        reader: Reader = open_scene(base, at)
    elif sniff.is_address(base):
        from hrviz.image.readers.zarr import ZarrReader

        reader = ZarrReader(base, text, at)
    else:
        reader = _open_local(sniff.local_path(base), text, at)
    check_index(reader.name, reader.axes, at)
    return reader


def _open_local(path: Path, uri: str, at: Mapping[str, int]) -> Reader:
    """A file or folder of this machine. `at` goes to the formats that have more axes."""
    kind = sniff.content(path)
    if kind == "zarr":
        from hrviz.image.readers.zarr import ZarrReader

        return ZarrReader(str(path), uri, at)
    if kind == "dicom":
        from hrviz.image.readers.dicom import DicomReader

        return DicomReader(path, uri, at)
    if kind == "tiff" or path.suffix.lower() in sniff.SLIDE_SUFFIXES:
        slide = _open_slide(path, uri, kind)
        if slide is not None:
            return slide
    if kind == "tiff":
        from hrviz.image.readers import geotiff

        if geotiff.is_georeferenced(path):
            return geotiff.open_geotiff(path, uri, at)
        from hrviz.image.readers.tiff import TiffReader

        return TiffReader(path, uri, at)
    if kind == "npy":
        from hrviz.image.readers.npy import NpyReader

        return NpyReader(path, uri, at)
    if kind == "jpeg2000":
        from hrviz.image.readers.jpeg2000 import Jpeg2000Reader

        return Jpeg2000Reader(path, uri)
    if kind == "video":
        from hrviz.image.readers.video import VideoReader

        return VideoReader(path, uri, at)
    if kind in sniff.RASTER_KINDS:
        from hrviz.image.readers.raster import RasterReader

        return RasterReader(path, uri, kind)
    raise sniff.refuse(path, kind)


def _open_slide(path: Path, uri: str, kind: str) -> Reader | None:
    """The OpenSlide reader where the file has a vendor format; None leaves it to other readers."""
    suffix = path.suffix.lower()
    try:
        from hrviz.image.readers.slide import SlideReader, detect
    except ImportError:
        # A TIFF inside needs no OpenSlide; other slide formats do, unless the content is no slide.
        if kind in ("tiff", "text", "pickle") or suffix not in sniff.SLIDE_SUFFIXES:
            return None
        raise HrvizError(
            f"{sniff.short(path)}: {suffix[1:].upper()} slides are read with OpenSlide, which is "
            "not installed; pip install 'hrviz[slides]'"
        ) from None
    vendor = detect(path)
    if vendor is None and suffix == ".mrxs" and kind == "jpeg":
        raise HrvizError(
            f"{sniff.short(path)}: an MRXS slide is a file and a folder; put the folder "
            f"{path.stem} (with Slidedat.ini) beside it"
        )
    if vendor is None:
        return None
    try:
        return SlideReader(path, uri, vendor)
    except HrvizError:
        if kind != "tiff":
            raise
    # OpenSlide refuses: tifffile opens it, or says in bytes what is missing.
    return None

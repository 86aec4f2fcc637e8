"""Readers: one file a format. `open_reader` looks at the content and picks one.

To add a format: a file here with a subclass of `Reader`, its magic bytes in `sniff.py`, and a line
in `open_reader`. The heavy libraries (OpenSlide, tifffile, Pillow) are imported when first used.
"""

from __future__ import annotations

import os
from pathlib import Path

from hrviz.errors import HrvizError
from hrviz.image.readers import sniff
from hrviz.image.readers.base import Level, Reader, nominal_downsample

__all__ = ["Level", "Reader", "nominal_downsample", "open_reader"]


def open_reader(uri: str | os.PathLike[str]) -> Reader:
    """Open an image by its path or scene address; headers only, no pixels.

    Parameters
    ----------
    uri : str or path
        A file (`~` is expanded) or `scene:name?key=value`.

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
    if text.startswith("scene:"):
        from hrviz.scenes import open_scene

        scene: Reader = open_scene(text)
        return scene
    path = sniff.local_path(text)
    kind = sniff.content(path)
    if kind in ("tiff", "dicom") or path.suffix.lower() in sniff.SLIDE_SUFFIXES:
        slide = _open_slide(path, text, kind)
        if slide is not None:
            return slide
    if kind == "tiff":
        from hrviz.image.readers.tiff import TiffReader

        return TiffReader(path, text)
    if kind in sniff.RASTER_KINDS:
        from hrviz.image.readers.raster import RasterReader

        return RasterReader(path, text, kind)
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

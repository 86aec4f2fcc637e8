"""JPEG tiles of slides made into JPEG files that a browser shows, without decoding them."""

from __future__ import annotations

import io
import os
import weakref
from pathlib import Path

import numpy as np

# APP14 "Adobe", transform 0: the three components are R, G, B. Without it every decoder takes them
# for Y, Cb, Cr, and an Aperio slide turns green and pink.
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def standalone_jpeg(tile: bytes, tables: bytes | None, *, rgb: bool) -> bytes:
    """A stored tile with the file's shared tables put in, and marked as RGB where it is.

    Parameters
    ----------
    tile : bytes
        An abbreviated JPEG stream, from SOI.
    tables : bytes or None
        Tag JPEGTables: SOI, quantisation and Huffman tables, EOI.
    rgb : bool
        The components are RGB, not YCbCr.
    """
    marked = b"Adobe" in tile[:64] or b"JFIF" in tile[:64]
    marker = _ADOBE_RGB if rgb and not marked else b""
    return b"\xff\xd8" + marker + (tables[2:-2] if tables else b"") + tile[2:]


def shows(data: bytes, expected: np.ndarray) -> bool:
    """Whether a plain decoder gets the expected pixels; decoders differ by rounding only."""
    from PIL import JpegImagePlugin

    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
            pixels = np.asarray(image)
    except Exception:
        return False
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape != expected.shape:
        return False
    return float(np.abs(pixels.astype(np.int16) - expected).mean()) < 1.5


class StoredBytes:
    """Pieces of a file by offset, from any thread, without a lock, and without waiting if asked.

    Parameters
    ----------
    path : Path
        A local file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._close = weakref.finalize(self, os.close, self._file)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes.

        Raises
        ------
        ValueError
            When the file ends before.
        """
        data = os.pread(self._file, count, offset)
        if len(data) < count:
            raise ValueError(f"{count - len(data)} bytes missing")
        return data

    def read_now(self, offset: int, count: int) -> bytes:
        """`count` bytes that the operating system holds in memory.

        Raises
        ------
        BlockingIOError
            When a disk must be waited for, or the system cannot tell (then all are read so).
        """
        data = bytearray(count)
        try:
            got = os.preadv(self._file, [data], offset, os.RWF_NOWAIT)
        except (AttributeError, OSError):
            raise BlockingIOError from None
        if got < count:
            raise BlockingIOError
        return bytes(data)

    def close(self) -> None:
        """Release the file."""
        self._close()

"""PNG, JPEG, BMP, WebP and GIF through Pillow: decoded whole, once, at the first read.

These formats have no windows, so the size is bounded (`HRVIZ_MAX_PIXELS`, default 256 megapixels).
JPEG can be decoded straight at 1/2, 1/4 and 1/8 of its size (scaled inverse DCT); those are offered
as stored levels, so that a first view of a large photo needs no full decode.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Level, Reader
from hrviz.image.readers.sniff import first_line, short

_BAND = 512  # rows

# EXIF orientation -> (transpose, flip rows, flip columns) that make the picture upright.
_ORIENTATION = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

# Pillow mode -> (mode to convert to, channels, dtype)
_MODES: dict[str, tuple[str, int, str]] = {
    "1": ("L", 1, "uint8"),
    "L": ("L", 1, "uint8"),
    "LA": ("RGBA", 4, "uint8"),
    "La": ("RGBA", 4, "uint8"),
    "P": ("RGB", 3, "uint8"),
    "PA": ("RGBA", 4, "uint8"),
    "RGB": ("RGB", 3, "uint8"),
    "RGBX": ("RGB", 3, "uint8"),
    "RGBA": ("RGBA", 4, "uint8"),
    "RGBa": ("RGBA", 4, "uint8"),
    "CMYK": ("RGB", 3, "uint8"),
    "YCbCr": ("RGB", 3, "uint8"),
    "I": ("I", 1, "int32"),
    "I;16": ("I;16", 1, "uint16"),
    "I;16B": ("I;16B", 1, "uint16"),
    "I;16L": ("I;16L", 1, "uint16"),
    "F": ("F", 1, "float32"),
}


def max_pixels() -> int:
    """Largest picture (or strip) decoded at once: `HRVIZ_MAX_PIXELS`, else 128 megapixels."""
    text = os.environ.get("HRVIZ_MAX_PIXELS", "")
    if not text:
        return 128_000_000
    try:
        return max(1, int(float(text)))
    except (ValueError, OverflowError):
        raise HrvizError(
            f"HRVIZ_MAX_PIXELS={text!r} is not a number of pixels; set e.g. "
            "HRVIZ_MAX_PIXELS=500000000"
        ) from None


class RasterReader(Reader):
    """A picture without windows, kept decoded after the first read.

    Parameters
    ----------
    path : Path
        An existing file.
    uri : str
        As the user wrote it.
    kind : {"png", "jpeg", "bmp", "webp", "gif"}
        What its first bytes say.
    """

    def __init__(self, path: Path, uri: str, kind: str) -> None:
        self.uri, self.name = uri, path.name
        self._path, self._kind = path, kind
        self._lock = threading.Lock()
        self._decoded: dict[int, np.ndarray] = {}
        self._closed = False
        status = path.stat()
        self.identity = f"{path}:{status.st_size}:{status.st_mtime_ns}"
        try:
            with self._image() as image:
                self._setup(image)
        except HrvizError:
            raise
        except Exception as error:
            raise HrvizError(
                f"{short(path)}: its {kind.upper()} header cannot be read ({first_line(error)}); "
                "the file is damaged: copy or download it again"
            ) from error

    def _image(self) -> Any:
        # The plugin classes, not Image.open: that one has a process-wide pixel limit and warns.
        from PIL import (
            BmpImagePlugin,
            GifImagePlugin,
            JpegImagePlugin,
            PngImagePlugin,
            WebPImagePlugin,
        )

        plugin: Any = {
            "png": PngImagePlugin.PngImageFile,
            "jpeg": JpegImagePlugin.JpegImageFile,
            "bmp": BmpImagePlugin.BmpImageFile,
            "webp": WebPImagePlugin.WebPImageFile,
            "gif": GifImagePlugin.GifImageFile,
        }[self._kind]
        return plugin(str(self._path))

    def _setup(self, image: Any) -> None:
        width, height = image.size
        limit = max_pixels()
        if width < 1 or height < 1:
            raise HrvizError(f"{short(self._path)} has no pixels ({width} x {height})")
        if width * height > limit:
            raise HrvizError(
                f"{short(self._path)} has {width * height / 1e6:.0f} megapixels and "
                f"{self._kind.upper()} is decoded whole: at most {limit / 1e6:.0f} are allowed; "
                "convert it to a tiled TIFF (vips tiffsave FILE image.tif --tile --pyramid "
                "--compression jpeg) or raise HRVIZ_MAX_PIXELS"
            )
        if self._most_pixels() < width * height:
            raise HrvizError(
                f"{short(self._path)} is truncated or damaged: it says {width} x {height} pixels, "
                f"more than its {self._path.stat().st_size:,} bytes can hold; copy or download it "
                "again"
            )
        if image.mode not in _MODES:
            raise HrvizError(
                f"{short(self._path)} has pixels of type {image.mode}; save it as RGB or grey"
            )
        self._mode, self.channels, dtype = _MODES[image.mode]
        if image.mode == "P" and "transparency" in image.info:
            self._mode, self.channels = "RGBA", 4
        self.dtype = np.dtype(dtype)
        # A PNG may carry EXIF behind its pixels; looking for it there would decode them all.
        known = self._kind != "png" or "exif" in image.info
        orientation = image.getexif().get(0x0112, 1) if known else 1
        self._turn = _ORIENTATION.get(orientation, _ORIENTATION[1])
        scales = [1]
        if self._kind == "jpeg":
            # A flip would shift a rounded-up level by part of a pixel: only whole multiples then.
            scales += [
                s
                for s in (2, 4, 8)
                if max(width, height) // s >= 256
                and min(width, height) >= s
                and (not any(self._turn[1:]) or (width % s == 0 and height % s == 0))
            ]
        levels = []
        for s in scales:
            h, w = -(-height // s), -(-width // s)
            h, w = (w, h) if self._turn[0] else (h, w)
            levels.append(Level(h, w, float(s), (min(h, 1024), min(w, 1024))))
        self.levels = tuple(levels)
        self.metadata = {"format": f"{self._kind.upper()} (decoded whole at the first read)"}
        if any(self._turn):
            self.metadata["orientation"] = "turned upright as EXIF says"
        if getattr(image, "n_frames", 1) > 1:
            self.metadata["frames"] = f"{image.n_frames}: the first one is shown"
        if self._kind == "png" and self._png_depth() == 16 and self.dtype == np.uint8:
            self.metadata["depth"] = "16 bit, shown with 8 (convert to TIFF to keep 16)"

    def _most_pixels(self) -> int:
        """More pixels than a file of this size and kind can hold, however simple they are."""
        size = self._path.stat().st_size
        if self._kind == "png":  # deflate: at most 1032 bytes from one; 1 bit a pixel
            return size * 1032 * 8
        if self._kind == "jpeg":  # one bit for each block of 8 x 8
            return size * 8 * 64 + 64 * 2**17  # and what a rim of blocks may overhang
        return size * {"gif": 4096, "bmp": 128}.get(self._kind, 2**24)

    def _png_depth(self) -> int:
        with self._path.open("rb") as file:
            return file.read(25)[24]

    def _decode(self, level: int) -> np.ndarray:
        info = self.levels[level]
        with self._image() as image:
            if level:
                scale = int(info.downsample)
                image.draft(None, (image.size[0] // scale, image.size[1] // scale))
            image.load()
            pixels = np.empty((image.height, image.width, self.channels), self.dtype)
            # in bands: Pillow's own pixels take four bytes each, once is enough
            for top in range(0, image.height, _BAND):
                band = image.crop((0, top, image.width, min(image.height, top + _BAND)))
                band = band if band.mode == self._mode else band.convert(self._mode)
                pixels[top : top + _BAND] = np.asarray(band).reshape(
                    band.height, band.width, self.channels
                )
        transpose, rows, columns = self._turn
        if transpose:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
        if pixels.shape != (info.height, info.width, self.channels):
            raise ValueError(f"decoded to {pixels.shape}")
        return np.ascontiguousarray(pixels, dtype=self.dtype)

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a level; the first read of a level decodes all of it.

        Raises
        ------
        HrvizError
            When the file is truncated or damaged: never a half-grey picture.
        """
        with self._lock:
            if self._closed:
                raise HrvizError(f"{self.name} is closed; open it again")
            pixels = self._decoded.get(level)
            if pixels is None:
                try:
                    pixels = self._decode(level)
                except Exception as error:
                    raise HrvizError(
                        f"{short(self._path)} cannot be decoded ({first_line(error)}): it is "
                        "truncated or damaged; copy or download it again"
                    ) from error
                self._decoded[level] = pixels
        return pixels[y : y + height, x : x + width].copy()

    def close(self) -> None:
        """Forget the decoded pixels."""
        with self._lock:
            self._closed = True
            self._decoded.clear()

"""Encoded tiles of images for the deep-zoom viewer: the file's own where they can pass, else JPEG."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np

from hrviz.geometry import Box
from hrviz.viewer.pyramid import NATIVE, TILE, ImagePyramid, TileError

QUALITY = 85
CACHE_BYTES = 64 * 2**20
SHOWN = ("image/jpeg", "image/png", "image/webp")

__all__ = ["ENCODED", "DisplayImage", "ImageTiles", "TileError", "TileLRU", "encode_jpeg"]


class DisplayImage(Protocol):
    """What the viewer asks of an image; `hrviz.image.Image` offers it."""

    height: int
    width: int
    name: str
    identity: str
    pixel_size: float | None

    @property
    def levels_info(self) -> tuple[Any, ...]: ...
    def rgb(self, box: Box, size: tuple[int, int]) -> np.ndarray: ...
    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None: ...
    def compressed_tile_now(
        self, level: int, row: int, column: int
    ) -> tuple[bytes, str] | None: ...


class TileLRU:
    """Least-recently-used cache of encoded tiles, bounded in bytes; a tile is made once at a time.

    Parameters
    ----------
    max_bytes : int
        Bound on the sum of the lengths of the kept tiles.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._tiles: OrderedDict[Hashable, tuple[bytes, str]] = OrderedDict()
        self._pending: dict[Hashable, Future[tuple[bytes, str]]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tiles)

    def peek(self, key: Hashable) -> tuple[bytes, str] | None:
        """What is kept under `key`, at once."""
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
            return found

    def get(self, key: Hashable, make: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """(bytes, MIME type) under `key`; callers that come while it is made share the result.

        Raises
        ------
        Exception
            What `make` raised, in every waiting caller; nothing is kept then.
        """
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
                return found
            future = self._pending.get(key)
            mine = future is None
            if future is None:
                future = self._pending[key] = Future()
        if not mine:
            return future.result()
        try:
            tile = make()
        except BaseException as error:
            with self._lock:
                del self._pending[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._pending[key]
            if len(tile[0]) <= self.max_bytes:
                self._tiles[key] = tile
                self.bytes += len(tile[0])
                while self.bytes > self.max_bytes:
                    _, old = self._tiles.popitem(last=False)
                    self.bytes -= len(old[0])
        future.set_result(tile)
        return tile


ENCODED = TileLRU()
"""Encoded tiles of all images and maps of this process."""


def encode_jpeg(rgb: np.ndarray) -> bytes:
    """JPEG of quality 85 of uint8 `(h, w, 3)`."""
    rgb = np.ascontiguousarray(rgb)
    try:
        from imagecodecs import jpeg_encode
    except ImportError:
        from PIL import Image as PILImage

        out = io.BytesIO()
        PILImage.fromarray(rgb).save(out, "JPEG", quality=QUALITY)
        return out.getvalue()
    return bytes(jpeg_encode(rgb, level=QUALITY))


class ImageTiles:
    """Encoded tiles of one image.

    Parameters
    ----------
    image : Image
    cache : TileLRU, optional
        Of tiles that had to be made; default the process's. Tiles that pass through are not kept
        twice: the operating system keeps the file.
    passing : bool
        Whether the file's own compressed tiles are handed out.
    side : int
        About the side of tiles that are made.
    """

    def __init__(
        self,
        image: DisplayImage,
        cache: TileLRU | None = None,
        *,
        passing: bool = True,
        side: int = TILE,
    ) -> None:
        self.image = image
        self.cache = ENCODED if cache is None else cache
        self.identity = hashlib.sha256(image.identity.encode()).hexdigest()[:12]
        levels = image.levels_info
        passes = [passing and self._passes(number) for number in range(len(levels))]
        self.pyramid = ImagePyramid(image.height, image.width, levels, passes, side)
        self._whole = tuple(self._whole_tiles(z) for z in range(self.pyramid.top + 1))

    def _passes(self, number: int) -> bool:
        """Whether a level's compressed tiles can be shown; its first tile stands for all."""
        level = self.image.levels_info[number]
        th, tw = level.tile
        if not (NATIVE[0] <= th <= NATIVE[1] and NATIVE[0] <= tw <= NATIVE[1]):
            return False
        if level.height < th or level.width < tw:
            return False
        try:
            found = self.image.compressed_tile(number, 0, 0)
        except Exception:  # a damaged first tile: the others are decoded, and say what is wrong
            return False
        return found is not None and found[1] in SHOWN

    @property
    def geometry(self) -> dict[str, Any]:
        """What the viewer needs to address tiles; `url` is added by the route registry."""
        return {
            "id": self.identity,
            "width": self.image.width,
            "height": self.image.height,
            "maxLevel": self.pyramid.top,
            "levels": self.pyramid.describe(),
            "pixel_size": self.image.pixel_size,
            "name": self.image.name,
        }

    def key(self, z: int, x: int, y: int) -> Hashable:
        """Under which the tile is kept and made only once at a time."""
        return (self.image.identity, z, x, y)

    def now(self, z: int, x: int, y: int) -> tuple[bytes, str] | None:
        """The tile if it can be had without decoding and without waiting for a disk.

        Raises
        ------
        TileError
            Outside the pyramid.
        BlockingIOError
            It passes through, but the disk must be waited for.
        """
        stored = self._stored(z, x, y)
        if stored is not None:
            found = self.image.compressed_tile_now(stored, y, x)
            if found is not None:
                return found
        return self.cache.peek(self.key(z, x, y))

    def get(self, z: int, x: int, y: int) -> tuple[bytes, str]:
        """(bytes, MIME type) of tile (x, y) of level z.

        Raises
        ------
        TileError
            Outside the pyramid.
        """
        stored = self._stored(z, x, y)
        if stored is not None:
            found = self.image.compressed_tile(stored, y, x)
            if found is not None:
                return found
        return self.cache.get(self.key(z, x, y), lambda: self.make(z, x, y))

    def make(self, z: int, x: int, y: int) -> tuple[bytes, str]:
        """Decode, resample and encode a tile."""
        y0, y1, x0, x1 = self.pyramid.window(z, x, y)
        size = self.pyramid.size(z, x, y)
        return encode_jpeg(self.image.rgb(Box(y0, x0, y1, x1), size)), "image/jpeg"

    def _stored(self, z: int, x: int, y: int) -> int | None:
        """The image's level whose compressed tile this one is, if it lies inside whole.

        Tiles at the right and bottom are padded in the file: those are made, clipped.
        """
        self.pyramid.check(z, x, y)
        rows, columns = self._whole[z]
        return self.pyramid.levels[z].stored if y < rows and x < columns else None

    def _whole_tiles(self, z: int) -> tuple[int, int]:
        """Rows and columns of stored tiles of a level that lie inside it and the image whole."""
        level = self.pyramid.levels[z]
        if level.stored is None:
            return 0, 0
        info, d = self.image.levels_info[level.stored], level.downsample
        return (
            int(min(info.height, self.image.height / d + 1e-9) // level.tile[0]),
            int(min(info.width, self.image.width / d + 1e-9) // level.tile[1]),
        )

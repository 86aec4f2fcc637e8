"""Tiles for the deep-zoom viewer: a power-of-two pyramid over any `Image`, and over result rasters.

Level `top` is level 0 of the image (downsample 1), level 0 is the coarsest and fits in one tile;
level z has downsample ``2 ** (top - z)``. Tile (x, y) covers the level-0 box
``[y t d, (y + 1) t d) x [x t d, (x + 1) t d)`` clipped to the image, so the tiles of a level cover
the image exactly once. Nothing outside the image is ever drawn.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from hrviz.geometry import Box

TILE = 512
MAP_TILE = 256
QUALITY = 85
CACHE_BYTES = 64 * 2**20
STRIP_BYTES = 16 * 2**20  # a lazy raster is reduced in strips of at most about this size

Reduce = Literal["mean", "nearest"]


class _Level(Protocol):
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def downsample(self) -> float: ...
    @property
    def tile(self) -> tuple[int, int]: ...


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


class TileError(LookupError):
    """No such tile: a level or position outside the pyramid."""


@dataclass(frozen=True)
class Pyramid:
    """Addresses of the tiles of a height x width plane.

    Parameters
    ----------
    height, width : int
        In pixels of the finest level.
    tile : int
        Side of a tile in pixels.

    Examples
    --------
    >>> p = Pyramid(height=1000, width=1500, tile=512)
    >>> p.top, p.grid(p.top), p.window(2, 2, 1)
    (2, (2, 3), (512, 1000, 1024, 1500))
    """

    height: int
    width: int
    tile: int = TILE

    @property
    def top(self) -> int:
        """The finest level's number; level 0 fits in one tile."""
        return max(0, math.ceil(math.log2(max(self.height, self.width) / self.tile)))

    def downsample(self, z: int) -> int:
        if not 0 <= z <= self.top:
            raise TileError(f"level {z} does not exist: levels are 0 to {self.top}")
        return 1 << (self.top - z)

    def grid(self, z: int) -> tuple[int, int]:
        """Rows and columns of tiles at level z."""
        step = self.tile * self.downsample(z)
        return -(-self.height // step), -(-self.width // step)

    def window(self, z: int, x: int, y: int) -> tuple[int, int, int, int]:
        """Rows and columns (y0, y1, x0, x1) of the finest level under tile (x, y) of level z."""
        rows, columns = self.grid(z)
        if not (0 <= y < rows and 0 <= x < columns):
            raise TileError(
                f"tile x={x} y={y} does not exist at level {z}: it has {columns} x {rows} tiles"
            )
        step = self.tile * self.downsample(z)
        return (
            y * step,
            min((y + 1) * step, self.height),
            x * step,
            min((x + 1) * step, self.width),
        )

    def size(self, z: int, x: int, y: int) -> tuple[int, int]:
        """Height and width of the tile's picture; the last ones of a row or column are smaller."""
        y0, y1, x0, x1 = self.window(z, x, y)
        d = self.downsample(z)
        return -(-(y1 - y0) // d), -(-(x1 - x0) // d)


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


def encode_png(index: np.ndarray) -> bytes:
    """Fast greyscale PNG of uint8 `(h, w)`: the pixel values are the indices, exactly."""
    from PIL import Image as PILImage

    out = io.BytesIO()
    PILImage.fromarray(np.ascontiguousarray(index)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def to_index(values: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """Values to 8-bit indices: 0 where not finite, 1..255 linear from `vmin` to `vmax` (clipped).

    For labels 0..254 pass ``vmin=0, vmax=254``: the index is then the label plus one, exactly.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    span = vmax - vmin if vmax > vmin else 1.0
    scaled = np.where(finite, (values - vmin) * (254.0 / span), 0.0)
    index = np.clip(np.rint(scaled), 0, 254).astype(np.uint8) + np.uint8(1)
    return np.where(finite, index, np.uint8(0)).astype(np.uint8)


def from_index(index: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """The inverse of `to_index`, to half a step of ``(vmax - vmin) / 254``; NaN where 0."""
    values = vmin + (index.astype(np.float64) - 1) * ((vmax - vmin) / 254)
    return np.where(index == 0, np.nan, values)


class ImageTiles:
    """Encoded tiles of one image.

    Parameters
    ----------
    image : Image
    tile : int, optional
        Side of a tile; default the side of the stored tiles where the file's own compressed tiles
        can be handed out (square, 256 to 1024 px), else 512.
    cache : TileLRU, optional
        Default the process's.
    """

    def __init__(
        self, image: DisplayImage, tile: int | None = None, cache: TileLRU | None = None
    ) -> None:
        self.image = image
        self.cache = ENCODED if cache is None else cache
        stored = tuple(image.levels_info[0].tile)
        passes = (
            stored[0] == stored[1]
            and 256 <= stored[0] <= 1024
            and image.compressed_tile(0, 0, 0) is not None
        )
        self.pyramid = Pyramid(
            image.height, image.width, tile or (int(stored[0]) if passes else TILE)
        )
        self._passes = passes and self.pyramid.tile == stored[0]

    @property
    def geometry(self) -> dict[str, Any]:
        """What the viewer needs to address tiles; `url` is added by the route registry."""
        identity = hashlib.sha256(self.image.identity.encode()).hexdigest()[:12]
        return {
            "id": identity,
            "width": self.image.width,
            "height": self.image.height,
            "tile": self.pyramid.tile,
            "maxLevel": self.pyramid.top,
            "pixel_size": self.image.pixel_size,
            "name": self.image.name,
        }

    def get(self, z: int, x: int, y: int) -> tuple[bytes, str]:
        """(bytes, MIME type) of tile (x, y) of level z.

        Raises
        ------
        TileError
            Outside the pyramid.
        """
        y0, y1, x0, x1 = self.pyramid.window(z, x, y)
        size = self.pyramid.size(z, x, y)

        def make() -> tuple[bytes, str]:
            stored = self._stored(z, x, y)
            if stored is not None:
                return stored
            return encode_jpeg(self.image.rgb(Box(y0, x0, y1, x1), size)), "image/jpeg"

        return self.cache.get((self.image.identity, self.pyramid.tile, z, x, y), make)

    def _stored(self, z: int, x: int, y: int) -> tuple[bytes, str] | None:
        """The file's own compressed tile, if it covers the very same box and pixels."""
        if not self._passes:
            return None
        t, d = self.pyramid.tile, self.pyramid.downsample(z)
        for number, level in enumerate(self.image.levels_info):
            if level.downsample != d or tuple(level.tile) != (t, t):
                continue
            # the tiles at the right and bottom are padded in the file: those are rendered, clipped
            inside = (y + 1) * t <= level.height and (x + 1) * t <= level.width
            if not inside or self.pyramid.size(z, x, y) != (t, t):
                return None
            found = self.image.compressed_tile(number, y, x)
            ok = found is not None and found[1] in ("image/jpeg", "image/png", "image/webp")
            return found if ok else None
        return None


class MapTiles:
    """Index tiles of a result raster, of which only the asked window is ever read.

    Parameters
    ----------
    array : 2-D array, numpy or zarr-like
        `shape` and slicing with steps are enough. NaN is 'no data'.
    box : Box
        Where it lies, in level-0 pixels.
    vmin, vmax : float
        Values of indices 1 and 255.
    reduce : {'mean', 'nearest'}
        How coarser levels are made; 'nearest' for labels. The mean ignores NaN.
    tile : int
    """

    def __init__(
        self,
        array: Any,
        box: Box | tuple[float, float, float, float],
        vmin: float,
        vmax: float,
        *,
        reduce: Reduce = "mean",
        tile: int = MAP_TILE,
    ) -> None:
        if len(array.shape) != 2:
            raise ValueError(f"a map has two axes, this array has {len(array.shape)}")
        self.array, self.box = array, Box(*box)
        self.vmin, self.vmax, self.reduce = float(vmin), float(vmax), reduce
        self.pyramid = Pyramid(int(array.shape[0]), int(array.shape[1]), tile)

    @property
    def geometry(self) -> dict[str, Any]:
        b = self.box
        return {
            "width": self.pyramid.width,
            "height": self.pyramid.height,
            "tile": self.pyramid.tile,
            "maxLevel": self.pyramid.top,
            "box": {"x": b.x0, "y": b.y0, "w": b.width, "h": b.height},
            "vmin": self.vmin,
            "vmax": self.vmax,
        }

    def index(self, z: int, x: int, y: int) -> np.ndarray:
        """uint8 indices `(h, w)` of tile (x, y) of level z."""
        return to_index(self.values(z, x, y), self.vmin, self.vmax)

    def png(self, z: int, x: int, y: int) -> bytes:
        return encode_png(self.index(z, x, y))

    def values(self, z: int, x: int, y: int) -> np.ndarray:
        """float64 values of tile (x, y) of level z, reduced."""
        y0, y1, x0, x1 = self.pyramid.window(z, x, y)
        step = self.pyramid.downsample(z)
        if step == 1:
            return np.asarray(self.array[y0:y1, x0:x1], dtype=np.float64)
        if self.reduce == "nearest":
            middle = step // 2
            rows = slice(min(y0 + middle, y1 - 1), y1, step)
            columns = slice(min(x0 + middle, x1 - 1), x1, step)
            picked = np.asarray(self.array[rows, columns], dtype=np.float64)
            # a last block thinner than half a step has no middle: its size comes from the edge
            h, w = self.pyramid.size(z, x, y)
            return np.pad(picked, ((0, h - picked.shape[0]), (0, w - picked.shape[1])), mode="edge")
        out = np.empty(self.pyramid.size(z, x, y))
        strip = max(1, STRIP_BYTES // (8 * step * (x1 - x0)))  # rows of the result at a time
        for first in range(0, len(out), strip):
            top, bottom = y0 + first * step, min(y0 + (first + strip) * step, y1)
            window = np.asarray(self.array[top:bottom, x0:x1], dtype=np.float64)
            out[first : first + strip] = _block_mean(window, step)
        return out


def _block_mean(window: np.ndarray, step: int) -> np.ndarray:
    """Mean of step x step blocks, NaN ignored; the last ones may be smaller."""
    finite = np.isfinite(window)
    edges = [np.arange(0, n, step) for n in window.shape]

    def total(values: np.ndarray) -> np.ndarray:
        rows = np.add.reduceat(values, edges[0], axis=0)
        return np.add.reduceat(rows, edges[1], axis=1)

    count = total(finite.astype(np.float64))
    if finite.all():
        whole: np.ndarray = total(window) / count
        return whole
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: np.ndarray = total(np.where(finite, window, 0.0)) / count
    return mean

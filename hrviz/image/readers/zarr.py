"""OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), plates, collections and bare arrays, local or remote.

Only metadata is read on opening. A window is read chunk by chunk by zarr-python, several at a time;
chunks that are not there are shown as the array's fill value, counted, and told by `notes`.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import zarr
from zarr.storage import StorePath

from hrviz.errors import HrvizError
from hrviz.image.readers.array_axes import displayable, guess_axes, to_picture
from hrviz.image.readers.base import Level, Reader, check_index, nominal_downsample
from hrviz.image.readers.raster import max_pixels
from hrviz.image.readers.sniff import first_line, local_path
from hrviz.image.readers.zarr_bounds import bounded
from hrviz.image.readers.zarr_metadata import (
    Node,
    as_list,
    check_array,
    find_image,
    find_nodes,
    shard_chunk,
)
from hrviz.image.readers.zarr_ome import (
    Multiscale,
    check_channels,
    parse_channels,
    parse_multiscale,
    pixel_size,
)
from hrviz.image.readers.zarr_store import open_store

MOST_TILE = 2048
SMALL_TILE = 512  # smaller chunks are read several at a time
_NO_CHUNK = 2**64 - 1  # how a shard's index says that a chunk was not written


class StoredArray(NamedTuple):
    """One resolution: its array, where it lies, its chunks (inside shards) and shards."""

    array: Any
    path: str
    axes: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None

    def size(self, axis: str) -> int:
        """Length of an axis, 1 where there is none."""
        return int(self.array.shape[self.axes.index(axis)]) if axis in self.axes else 1

    def chunk(self, axis: str) -> int:
        """Chunk length along y or x."""
        return self.chunks[self.axes.index(axis)]


class ZarrReader(Reader):
    """The first multiscale image of a Zarr, or a bare array.

    Parameters
    ----------
    address : str
        A local folder, or an address fsspec understands (http://, https://, s3://, memory://).
    uri : str
        As the user wrote it.
    at : mapping of str to int
        Index on t, z and other axes beside y, x and c.

    Raises
    ------
    HrvizError
        When nothing is there, the server does not answer in about 10 seconds, or the metadata is
        damaged, hostile (paths that leave the folder, pickles) or beyond the limits.
    """

    def __init__(self, address: str, uri: str, at: Mapping[str, int]) -> None:
        try:
            place = urlsplit(address)
        except ValueError as error:
            raise HrvizError(
                f"{address[:80]} is no address ({first_line(error)}); give the http(s):// or s3:// "
                "address of a Zarr folder, or a path"
            ) from None
        if place.scheme == "file":
            address = str(local_path(url2pathname(place.path)))
        self.uri = uri
        self._lock, self._big_lock = threading.Lock(), threading.Lock()
        self._big: tuple[Any, np.ndarray] | None = None
        self._seen: list[set[int]] = []
        self._gaps: list[set[int]] = []
        self._closed = False
        self._store = open_store(address)
        self.name = self._store.address.rstrip("/").split("/")[-1]
        self._store.begin()
        try:
            self._setup(address, at)
        except HrvizError:
            raise
        except Exception as error:
            raise HrvizError(
                f"{self._store.address}: its Zarr metadata cannot be used ({first_line(error)}); "
                "it is damaged, or of a version that hrviz does not know"
            ) from error
        self._store.ready()

    # -- opening --------------------------------------------------------------------------------
    def _setup(self, address: str, at: Mapping[str, int]) -> None:
        store = self._store
        node, note = find_image(store)
        image = None
        if node.array is None:
            image = parse_multiscale(store, node)
            nodes = find_nodes(store, image.paths, node.version)
            paths, axes = image.paths, image.axes
        else:
            nodes, paths = [node], (node.path,)
            axes = self._bare_axes(node)
        arrays = [self._open(n, p, axes) for n, p in zip(nodes, paths, strict=True)]
        arrays.sort(key=lambda a: -a.size("y") * a.size("x"))
        first = arrays[0]
        self.dtype = np.dtype(first.array.dtype).newbyteorder("=")
        if self.dtype.kind == "b":
            self.dtype = np.dtype(np.uint8)
        self.channels = first.size("c")
        check_channels(store, self.channels)
        self.axes = {a: first.size(a) for a in axes if a not in "yxc"}
        self.at = check_index(self.name, self.axes, at)
        self._setup_levels(arrays)
        if image is not None:
            self.pixel_size, scale_note = pixel_size(image)
            self.channel_info = parse_channels(node.ome, self.channels, self.dtype)
        else:
            scale_note = None
        self.metadata = self._facts(image, node, note, scale_note)
        raw = b"".join(n.raw for n in (node, *nodes) if n is not None)
        self.identity = (
            f"{address}:{hashlib.sha256(raw).hexdigest()[:16]}:{self._modified(address)}"
        )
        index = "&".join(f"{a}={n}" for a, n in sorted(self.at.items()) if n)
        self.identity += f"#{index}" if index else ""

    def _bare_axes(self, node: Node) -> str:
        """Axes of an array without image metadata: by its dimension names, else by its shape."""
        shape = check_array(self._store, node, node.path)["shape"]
        names = as_list((node.array or {}).get("dimension_names"))
        names = names or as_list(node.attributes.get("_ARRAY_DIMENSIONS"))
        letters = "".join(str(n).lower()[:1] for n in names)
        named = len(letters) == len(shape) == len(set(letters)) and {"y", "x"} <= set(letters)
        axes = letters if named and letters.isalpha() else guess_axes(shape)
        if axes is None:
            raise HrvizError(
                f"{self._store.address} is an array of {len(shape)} axes "
                f"({' x '.join(map(str, shape))}) without names; give one of (y, x), (y, x, c), "
                "(t, y, x), (t, z, y, x) or write it as OME-Zarr"
            )
        return axes

    def _open(self, node: Node | None, path: str, axes: str) -> StoredArray:
        """An array of checked metadata; nothing is fetched."""
        meta = dict(check_array(self._store, node, path))
        if len(meta["shape"]) != len(axes):
            raise HrvizError(
                f"{self._store.address}: array {path} has {len(meta['shape'])} axes and its image "
                f"{len(axes)} ({', '.join(axes)}); it is damaged: write it again"
            )
        array = bounded(zarr.Array.from_dict(StorePath(self._store, path), meta))
        inner = shard_chunk(meta)
        if inner is None:
            return StoredArray(array, path, axes, tuple(array.chunks), None)
        outer = tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
        self._watch_index(meta, path, math.prod(outer) // math.prod(inner))
        return StoredArray(array, path, axes, tuple(inner), outer)

    def _watch_index(self, meta: Mapping[str, Any], path: str, chunks: int) -> None:
        """Have the store keep the indexes of shards, where they are written in the usual way."""
        (config,) = (c["configuration"] for c in meta["codecs"] if c["name"] == "sharding_indexed")
        names = [c["name"] for c in config["index_codecs"]]
        endian = config["index_codecs"][0].get("configuration", {}).get("endian")
        if names[0] == "bytes" and endian == "little" and names[1:] in ([], ["crc32c"]):
            size = chunks * 16 + 4 * (len(names) - 1)
            self._store.shard_index[path] = size, config.get("index_location", "end") == "end"

    def _setup_levels(self, arrays: Sequence[StoredArray]) -> None:
        full = (arrays[0].size("y"), arrays[0].size("x"))
        self._arrays: list[StoredArray] = []
        levels: list[Level] = []
        for stored in arrays:
            h, w = stored.size("y"), stored.size("x")
            same = stored.size("c") == self.channels and stored.array.dtype == arrays[0].array.dtype
            last = (levels[-1].height, levels[-1].width) if levels else (h + 1, w + 1)
            if not same or h > last[0] or w > last[1] or (h, w) == last:
                continue
            tile = tuple(_tile(stored.chunk(a), n) for a, n in (("y", h), ("x", w)))
            levels.append(Level(h, w, nominal_downsample(full, (h, w)), (tile[0], tile[1])))
            self._arrays.append(stored)
            self._seen.append(set())
            self._gaps.append(set())
        self.levels = tuple(levels)

    def _facts(
        self, image: Multiscale | None, node: Node, note: str | None, scale: str | None
    ) -> dict[str, str]:
        first = self._arrays[0]
        kind = (
            f"OME-Zarr {image.version} (Zarr {node.version})"
            if image
            else f"Zarr {node.version} array"
        )
        facts = {"format": f"{kind}, chunks of {' x '.join(map(str, first.chunks))}"}
        if first.shards:
            facts["format"] += f" in shards of {' x '.join(map(str, first.shards))}"
        facts["axes"] = f"{', '.join(first.axes)} ({' x '.join(map(str, first.array.shape))})"
        if image and image.name and image.name not in ("/", self.name):
            facts["image"] = image.name[:80]
        if note:
            facts["shown"] = note
        if scale:
            facts["scale"] = scale
        return facts

    def _modified(self, address: str) -> int:
        """Newest change of a local Zarr's own folders (chunks rewritten in place do not show)."""
        if self._store.remote:
            return 0
        root = Path(address)
        parts = [root, *(root / s.path for s in self._arrays)]
        files = [p / name for p in parts for name in ("zarr.json", ".zarray", ".zattrs")]
        return max(p.stat().st_mtime_ns for p in (*parts, *files) if p.exists())

    # -- reading --------------------------------------------------------------------------------
    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a level, decoding the chunks it touches; missing ones are the fill value.

        Raises
        ------
        HrvizError
            When a chunk cannot be decoded (names level, row and column) or fetched.
        """
        if self._closed:
            raise HrvizError(f"{self.name} is closed; open it again")
        stored = self._arrays[level]
        ch, cw = stored.chunk("y"), stored.chunk("x")
        whole = min(ch, stored.size("y")) * min(cw, stored.size("x"))
        if (
            whole <= MOST_TILE**2
            or whole * self.channels > max_pixels()
            or height > ch
            or width > cw
        ):
            return self._window(level, y, x, height, width)
        # a chunk larger than a tile: kept decoded while its tiles are asked for
        out = np.empty((height, width, self.channels), self.dtype)
        for row, column in product(
            range(y // ch, (y + height - 1) // ch + 1), range(x // cw, (x + width - 1) // cw + 1)
        ):
            ty, tx = row * ch, column * cw
            chunk = self._whole_chunk(level, row, column)
            y0, y1 = max(y, ty), min(y + height, ty + chunk.shape[0])
            x0, x1 = max(x, tx), min(x + width, tx + chunk.shape[1])
            out[y0 - y : y1 - y, x0 - x : x1 - x] = chunk[y0 - ty : y1 - ty, x0 - tx : x1 - tx]
        return out

    def _whole_chunk(self, level: int, row: int, column: int) -> np.ndarray:
        with self._big_lock:  # one at a time: a second thread waits and finds it decoded
            key = (level, row, column)
            if self._big is None or self._big[0] != key:
                self._big = None
                stored, info = self._arrays[level], self.levels[level]
                ch, cw = stored.chunk("y"), stored.chunk("x")
                h, w = min(ch, info.height - row * ch), min(cw, info.width - column * cw)
                self._big = key, self._window(level, row * ch, column * cw, h, w)
            return self._big[1]

    def _window(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        stored = self._arrays[level]
        selection = self._selection(stored, y, x, height, width)
        try:
            pixels = np.asarray(stored.array[selection])
        except HrvizError:
            raise
        except Exception as error:
            row, column = self._first_damaged(stored, y, x, height, width)
            raise HrvizError(
                f"{self._store.address}: level {level}, chunk row {row}, column {column} cannot be "
                f"decoded ({first_line(error)}); the file is damaged: copy it again"
            ) from error
        self._count(level, selection)
        return displayable(to_picture(pixels, stored.axes))

    def _selection(
        self, stored: StoredArray, y: int, x: int, height: int, width: int
    ) -> tuple[Any, ...]:
        parts: dict[str, Any] = {"y": slice(y, y + height), "x": slice(x, x + width)}
        parts["c"] = slice(0, self.channels)
        for axis, n in self.axes.items():
            # coarser levels may have fewer planes: the one that covers the middle of this one
            parts[axis] = int((self.at[axis] + 0.5) * stored.size(axis) / n)
        return tuple(parts[a] for a in stored.axes)

    def _first_damaged(
        self, stored: StoredArray, y: int, x: int, height: int, width: int
    ) -> tuple[int, int]:
        """Row and column of the first chunk of a window that cannot be read."""
        ch, cw = stored.chunk("y"), stored.chunk("x")
        rows = range(y // ch, (y + height - 1) // ch + 1)
        columns = range(x // cw, (x + width - 1) // cw + 1)
        for row, column in product(rows, columns):
            y0, x0 = max(y, row * ch), max(x, column * cw)
            try:
                stored.array[self._selection(stored, y0, x0, 1, 1)]
            except Exception:
                return row, column
        return rows[0], columns[0]

    # -- missing chunks -------------------------------------------------------------------------
    def _count(self, level: int, selection: tuple[Any, ...]) -> None:
        """Note which of the chunks of a window, just read, were there."""
        stored = self._arrays[level]
        grid = [-(-n // c) for n, c in zip(stored.array.shape, stored.chunks, strict=True)]
        seen, gaps = [], []
        indexes: dict[str, np.ndarray | None] = {}
        for chunk in _touched(selection, stored.chunks):
            number = 0
            for at, n in zip(chunk, grid, strict=True):
                number = number * n + at
            seen.append(number)
            if self._is_absent(stored, chunk, indexes):
                gaps.append(number)
        with self._lock:
            self._seen[level].update(seen)
            self._gaps[level].update(gaps)

    def _is_absent(
        self, stored: StoredArray, chunk: tuple[int, ...], indexes: dict[str, np.ndarray | None]
    ) -> bool:
        outer, inside = chunk, None
        if stored.shards:
            per = [s // c for s, c in zip(stored.shards, stored.chunks, strict=True)]
            outer = tuple(n // p for n, p in zip(chunk, per, strict=True))
            inside = tuple(n % p for n, p in zip(chunk, per, strict=True))
        name = stored.array.metadata.encode_chunk_key(outer)
        key = f"{stored.path}/{name}" if stored.path else name
        if key in self._store.absent or inside is None:
            return key in self._store.absent
        if key not in indexes:
            raw = self._store.index(key)
            indexes[key] = None
            if raw is not None:
                count = math.prod(per) * 2
                indexes[key] = np.frombuffer(raw, "<u8", count).reshape(*per, 2)
        index = indexes[key]
        return index is not None and int(index[inside][0]) == _NO_CHUNK

    def notes(self) -> list[str]:
        """How many of the chunks read so far were missing."""
        with self._lock:
            missing, read = (sum(map(len, sets)) for sets in (self._gaps, self._seen))
        if not missing:
            return []
        fill = self._arrays[0].array.fill_value
        fill = 0 if fill is None else fill
        return [
            f"{missing} of the {read} chunks read so far {'is' if missing == 1 else 'are'} missing "
            f"and shown as gaps (value {fill:g})"
        ]

    def close(self) -> None:
        """Forget what is decoded; reading afterwards is an error."""
        self._closed = True
        self._big = None


def _tile(chunk: int, size: int) -> int:
    """What one fetch takes of an axis: a chunk, several small ones, or a part of a huge one."""
    if chunk > MOST_TILE:
        return min(MOST_TILE, size)
    return min(size, chunk * max(1, min(8, SMALL_TILE // chunk)))


def _touched(selection: tuple[Any, ...], chunks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Chunk coordinates under a selection of integers and slices."""
    spans = (
        range(s.start // c, (s.stop - 1) // c + 1) if isinstance(s, slice) else (s // c,)
        for s, c in zip(selection, chunks, strict=True)
    )
    return product(*spans)

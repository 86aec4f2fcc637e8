"""Chunks of a Zarr that would not fit in memory once decoded are refused before they are decoded.

A few kilobytes can decode to gigabytes. What a chunk may decode to is known, its shape says it:
codecs that write the decoded size first are asked for it, the others are decoded up to the bound.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr
from numcodecs.abc import Codec as Numcodec  # type: ignore[import-untyped]
from zarr.abc.codec import BytesBytesCodec
from zarr.core.buffer import Buffer

_SLACK = 1 << 16  # check sums, and filters that write a little more than they read


def bounded(array: zarr.Array) -> zarr.Array:
    """The same array, whose chunks decode to no more than their shape says.

    Parameters
    ----------
    array : zarr.Array
        Of Zarr 2 or 3; what is in shards is bounded, too.

    Returns
    -------
    zarr.Array
        Reading a chunk beyond its bound raises ValueError.
    """
    meta: Any = array.metadata
    if meta.zarr_format == 3:
        meta = replace(meta, codecs=tuple(_bounded_v3(c) for c in meta.codecs))
    else:
        most = _most(math.prod(meta.chunks) * np.dtype(array.dtype).itemsize)
        meta = replace(
            meta,
            compressor=meta.compressor and _Bounded(meta.compressor, most),
            filters=meta.filters and tuple(_Bounded(f, most) for f in meta.filters),
        )
    return zarr.Array(zarr.AsyncArray(metadata=meta, store_path=array.store_path))


def _most(size: int) -> int:
    return size + size // 8 + _SLACK


class _Bounded(Numcodec):
    """A Zarr 2 codec with a bound; encodes as before."""

    codec_id = "bounded"

    def __init__(self, inner: Any, most: int) -> None:
        self._inner, self._most = inner, most

    def decode(self, buf: Any, out: Any = None) -> Any:
        data = np.ascontiguousarray(buf).tobytes()
        decoded = decode_within(self._inner, data, self._most)
        return self._inner.decode(buf, out) if decoded is None else decoded

    def encode(self, buf: Any) -> Any:
        return self._inner.encode(buf)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._inner.get_config()
        return config


@dataclass(frozen=True)
class _BoundedBytes(BytesBytesCodec):
    """A Zarr 3 codec with a bound; everything else is the inner codec's."""

    inner: Any
    is_fixed_size = False

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: Any) -> Buffer:
        size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        decoded = await asyncio.to_thread(
            decode_within, self.inner, chunk_data.to_bytes(), _most(size)
        )
        if decoded is not None:
            return chunk_spec.prototype.buffer.from_bytes(decoded)
        found: Buffer = await self.inner._decode_single(chunk_data, chunk_spec)
        return found

    def evolve_from_array_spec(self, array_spec: Any) -> _BoundedBytes:
        return _BoundedBytes(self.inner.evolve_from_array_spec(array_spec))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        size: int = self.inner.compute_encoded_size(input_byte_length, chunk_spec)
        return size

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = self.inner.to_dict()
        return found


def _bounded_v3(codec: Any) -> Any:
    if isinstance(codec, BytesBytesCodec):
        return codec if type(codec).__name__ == "Crc32cCodec" else _BoundedBytes(codec)
    inner = getattr(codec, "codecs", None)  # of shards
    return codec if inner is None else replace(codec, codecs=tuple(map(_bounded_v3, inner)))


# -- codecs -------------------------------------------------------------------------------------
def decode_within(codec: Any, data: bytes, most: int) -> bytes | None:
    """Decode up to `most` bytes, or None where the codec itself will not go beyond them.

    Parameters
    ----------
    codec : object
        Of numcodecs or zarr-python.
    data : bytes
        What is stored.
    most : int

    Raises
    ------
    ValueError
        When more than `most` bytes would come out.
    """
    name = codec.codec_id if isinstance(codec, Numcodec) else codec.to_dict()["name"]
    name = name.removeprefix("numcodecs.")
    if name in _SIZES:
        size = _SIZES[name](data)
        if size is not None and size > most:
            raise _too_large(most)
        if name == "zstd" and size is None:
            import imagecodecs

            return bytes(imagecodecs.zstd_decode(data, out=most))
        return None
    if name in ("gzip", "zlib", "bz2", "lzma"):
        return _stream(lambda: _decoder(name, codec), data, most, again=name in ("gzip", "bz2"))
    return None


def _too_large(most: int) -> ValueError:
    return ValueError(f"it decodes to more than the {most - _SLACK:,} bytes of its shape")


def _decoder(name: str, codec: Any) -> Any:
    if name == "bz2":
        return bz2.BZ2Decompressor()
    if name == "lzma":
        config = getattr(codec, "codec_config", None) or codec.get_config()
        kind = config.get("format", lzma.FORMAT_XZ)
        return lzma.LZMADecompressor(
            format=kind, filters=config.get("filters") if kind == lzma.FORMAT_RAW else None
        )
    return zlib.decompressobj(wbits=31 if name == "gzip" else 15)


def _stream(make: Callable[[], Any], data: bytes, most: int, *, again: bool) -> bytes:
    """What a decoder of the standard library gives, of one stream or of several (`again`)."""
    parts: list[bytes] = []
    size = 0
    while data:
        decoder = make()
        part = decoder.decompress(data, most + 1 - size)
        size += len(part)
        if size > most:
            raise _too_large(most)
        if not decoder.eof:
            raise ValueError("its last bytes are missing")
        parts.append(part)
        data = decoder.unused_data.lstrip(b"\0") if again else b""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _zstd_size(data: bytes) -> int | None:
    """Of the first frame, where its header says it (RFC 8878, 3.1.1.1)."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        return 0  # no frame: the decoder says so
    flag = data[4]
    single, width = flag >> 5 & 1, (0, 2, 4, 8)[flag >> 6]
    if not width and not single:
        return None
    width = width or 1
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[flag & 3]
    size = int.from_bytes(data[start : start + width], "little")
    return size + 256 if width == 2 else size


_SIZES: dict[str, Callable[[bytes], int | None]] = {
    "blosc": lambda data: int.from_bytes(data[4:8], "little"),
    "lz4": lambda data: int.from_bytes(data[:4], "little"),
    "zstd": _zstd_size,
}

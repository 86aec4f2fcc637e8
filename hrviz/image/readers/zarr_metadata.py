"""A Zarr's own metadata: groups and arrays, and which of them is the image to show.

Everything here comes from a file that anybody may have written: paths stay below the folder that
was opened, codecs that run code (pickle) are not on the list, sizes are checked before anything is
allocated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrviz.errors import HrvizError
from hrviz.image.readers.raster import max_pixels
from hrviz.image.readers.zarr_store import WatchedStore

MAX_CHUNKS_A_SHARD = 2**20

# numpy bytes -> numpy bytes only: nothing that builds Python objects (pickle, vlen, json, msgpack)
_SAFE = frozenset(
    (
        *("adler32", "astype", "bitround", "blosc", "bz2", "crc32", "crc32c", "delta"),
        *("fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma", "packbits"),
        *("quantize", "shuffle", "zlib", "zstd"),
    )
)
_SAFE_V3 = frozenset(("bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"))
_TYPES_V3 = frozenset(
    ["bool", *(f"{k}{n}" for k in ("int", "uint") for n in (8, 16, 32, 64))]
    + [f"float{n}" for n in (16, 32, 64)]
)


@dataclass(frozen=True)
class Node:
    """A group or array: its path below the store, Zarr version, attributes, and raw metadata."""

    path: str
    version: int
    attributes: Mapping[str, Any]
    array: Mapping[str, Any] | None
    raw: bytes

    @property
    def ome(self) -> Mapping[str, Any]:
        """OME metadata: of version 0.5 under 'ome', before among the attributes."""
        inner = self.attributes.get("ome")
        return inner if isinstance(inner, dict) else self.attributes


_NAMES = {2: (".zarray", ".zattrs", ".zgroup"), 3: ("zarr.json",)}


def find_nodes(
    store: WatchedStore, paths: Sequence[str], version: int | None = None
) -> list[Node | None]:
    """The groups or arrays at `paths`, fetched together; None where there is none."""
    names = _NAMES[version] if version else (*_NAMES[3], *_NAMES[2])
    keys = [f"{path}/{name}" if path else name for path in paths for name in names]
    raw = store.documents(keys)
    out = []
    for i, path in enumerate(paths):
        at = slice(i * len(names), (i + 1) * len(names))
        found = {
            name: (_json(store, key, data), data)
            for name, key, data in zip(names, keys[at], raw[at], strict=True)
            if data is not None
        }
        out.append(_node(path, found))
    return out


def _node(path: str, found: Mapping[str, tuple[dict[str, Any], bytes]]) -> Node | None:
    if not found:
        return None
    everything = b"".join(data for _, data in found.values())
    if "zarr.json" in found:
        meta = found["zarr.json"][0]
        attributes = meta.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        is_array = meta.get("node_type") == "array"
        return Node(path, 3, attributes, meta if is_array else None, everything)
    attributes = found[".zattrs"][0] if ".zattrs" in found else {}
    return Node(path, 2, attributes, found.get(".zarray", (None,))[0], everything)


def _json(store: WatchedStore, key: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        looks = "a web page" if data.lstrip()[:1] == b"<" else "no JSON object"
        raise HrvizError(
            f"{store.address}: {key} is not Zarr metadata ({looks}); check the address, or copy "
            "the folder again"
        )
    return value


def safe_path(store: WatchedStore, text: Any, what: str) -> str:
    """A path as metadata gives it, which must stay below its group.

    Raises
    ------
    HrvizError
        For '..', absolute paths, addresses and anything that is not text.
    """
    ok = isinstance(text, str) and re.fullmatch(r"[^\\:?#%\0-\x1f]{1,500}", text)
    if not ok or any(part in ("", ".", "..") for part in text.split("/")):
        raise HrvizError(
            f"{store.address}: its {what} path {str(text)[:60]!r} does not stay inside the Zarr; "
            "it is damaged or hostile: write it again with paths such as 0"
        )
    return str(text)


def find_image(store: WatchedStore) -> tuple[Node, str | None]:
    """The node of the image to show, and what it is of: a plate, a collection, labels.

    Raises
    ------
    HrvizError
        When there is no Zarr, or none with an image in a known place.
    """
    node = find_nodes(store, [""])[0]
    if node is None:
        raise _nothing_there(store)
    note = None
    for _ in range(4):  # plate -> well -> field, or collection -> image
        if node.array is not None or node.ome.get("multiscales"):
            return node, note
        inner, what = _first_inside(store, node)
        path = f"{node.path}/{inner}" if node.path else inner
        found = find_nodes(store, [path], node.version)[0]
        if found is None:
            raise HrvizError(
                f"{store.address} is a Zarr group without an OME image (no multiscales metadata, "
                f"and nothing at {path}); give the path of an array or image inside it"
            )
        note = note or what.format(path=path)
        node = found
    raise HrvizError(f"{store.address}: no image within four groups; give the path of the image")


def _first_inside(store: WatchedStore, node: Node) -> tuple[str, str]:
    """Path of the first image or group of a container, and how to say that."""
    ome = node.ome
    for key, list_of, what in (
        ("plate", "wells", "the first field of the first well of a plate is shown"),
        ("well", "images", "the first field of a well is shown ({path})"),
    ):
        part = ome.get(key)
        if isinstance(part, dict):
            entries = part.get(list_of)
            first = entries[0] if isinstance(entries, list) and entries else None
            if not isinstance(first, dict):
                raise HrvizError(
                    f"{store.address} is a {key} without {list_of}; give the path of an image in it"
                )
            return safe_path(store, first.get("path"), key), what
    labels = ome.get("labels")
    if isinstance(labels, list) and labels:
        return safe_path(store, labels[0], "label"), "the first of the label images is shown"
    if ome.get("bioformats2raw.layout") or node.attributes.get("bioformats2raw.layout"):
        return "0", "the first image of a collection is shown ({path})"
    return "0", "a group without image metadata: {path} in it is shown"


def _nothing_there(store: WatchedStore) -> HrvizError:
    if store.denied:
        return HrvizError(
            f"{store.address}: access is denied (403); check the address and your permission to "
            "read it (for a public bucket: FSSPEC_S3_ANON=true)"
        )
    if store.remote:
        return HrvizError(
            f"{store.address} has no Zarr (no zarr.json, .zgroup or .zarray); check the address: "
            "only Zarr is opened remotely, download other files and open the copy"
        )
    return HrvizError(
        f"{store.address} has no Zarr metadata (zarr.json, .zgroup or .zarray); copy the whole "
        "folder again, with its hidden files"
    )


# -- arrays -------------------------------------------------------------------------------------
def check_array(store: WatchedStore, node: Node | None, path: str) -> Mapping[str, Any]:
    """Metadata of an array that is safe to open: known types and codecs, sane sizes.

    Raises
    ------
    HrvizError
        When it is absent, or anything about it is out of bounds.
    """
    where = f"{store.address}: array {path}" if path else store.address
    if node is None or node.array is None:
        raise HrvizError(
            f"{where} is listed in the metadata and is not there; copy or download it again"
        )
    meta = node.array
    shape = whole_numbers(meta.get("shape"))
    if node.version == 2:
        chunks = whole_numbers(meta.get("chunks"))
        parts = [meta.get("compressor"), *as_list(meta.get("filters"))]
        codecs = [p.get("id") if isinstance(p, dict) else p for p in parts if p is not None]
        allowed: frozenset[str] = _SAFE
        dtype = meta.get("dtype")
        known = re.fullmatch(r"[<>|=]?[buif]\d{1,2}", str(dtype)) is not None
    else:
        grid = meta.get("chunk_grid")
        config = grid.get("configuration") if isinstance(grid, dict) else None
        chunks = whole_numbers(config.get("chunk_shape") if isinstance(config, dict) else None)
        codecs = _codecs_v3(meta.get("codecs"))
        allowed = _SAFE_V3 | {f"numcodecs.{name}" for name in _SAFE}
        dtype = meta.get("data_type")
        known = str(dtype) in _TYPES_V3
    if shape is None or chunks is None or len(shape) != len(chunks) or not 2 <= len(shape) <= 8:
        raise HrvizError(
            f"{where} has a shape or chunks that are no whole numbers ({str(meta.get('shape'))[:60]}"
            "); it is damaged: write it again"
        )
    if min(shape) < 1 or min(chunks) < 1:
        raise HrvizError(f"{where} has no pixels (shape {' x '.join(map(str, shape))})")
    if max(shape) >= 2**53:
        raise HrvizError(f"{where} has a shape beyond any image; it is damaged: write it again")
    if not known:
        raise HrvizError(
            f"{where} has pixels of type {str(dtype)[:40]}; hrviz reads whole numbers of 8 to 64 "
            "bit, floats and truth values: write it again as one of these"
        )
    for codec in codecs:
        if codec not in allowed:
            raise HrvizError(
                f"{where} is stored with the codec {str(codec)[:40]!r}, which hrviz does not load; "
                "write it again with zstd, gzip or blosc"
            )
    inner = shard_chunk(meta) if node.version == 3 else None
    _check_chunks(where, chunks, inner)
    return meta


def _check_chunks(where: str, chunks: list[int], inner: list[int] | None) -> None:
    limit = max_pixels()
    size = math.prod(inner or chunks)
    if size > limit:
        raise HrvizError(
            f"{where} is stored in chunks of {size / 1e6:.0f} megapixels, each decoded whole: at "
            f"most {limit / 1e6:.0f} are allowed; write it again in chunks of about 1024 x 1024 "
            "or raise HRVIZ_MAX_PIXELS"
        )
    if inner is not None:
        sane = len(inner) == len(chunks) and min(inner) >= 1
        if not sane or math.prod(chunks) // math.prod(inner) > MAX_CHUNKS_A_SHARD:
            raise HrvizError(
                f"{where} has shards that cannot be read (shape {chunks}, chunks {inner}; at most "
                f"{MAX_CHUNKS_A_SHARD:,} chunks a shard); write it again"
            )


def shard_chunk(meta: Mapping[str, Any]) -> list[int] | None:
    """Chunk shape inside the shards of a v3 array, or None where it has none."""
    for codec in as_list(meta.get("codecs")):
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            config = codec.get("configuration")
            return whole_numbers(config.get("chunk_shape") if isinstance(config, dict) else None)
    return None


def _codecs_v3(codecs: Any, depth: int = 0) -> list[Any]:
    """Names of codecs, those inside shards too."""
    found: list[Any] = []
    for codec in as_list(codecs):
        name = codec.get("name") if isinstance(codec, dict) else codec
        found.append(name)
        if name == "sharding_indexed" and isinstance(codec, dict) and depth < 1:
            config = codec.get("configuration")
            if isinstance(config, dict):
                found += _codecs_v3(config.get("codecs"), depth + 1)
                found += _codecs_v3(config.get("index_codecs"), depth + 1)
        elif name == "sharding_indexed" and depth:
            found.append("sharding_indexed in sharding_indexed")
    return found


def whole_numbers(value: Any) -> list[int] | None:
    """A JSON list of integers, or None."""
    ok = isinstance(value, list) and all(type(n) is int for n in value)
    return list(value) if ok else None


def as_list(value: Any) -> list[Any]:
    """A JSON list; empty for anything else."""
    return value if isinstance(value, list) else []

"""What the server holds, under opaque ids: images and maps, and the signed addresses to ask for them.

Custom routes get none of Streamlit's protections, so they bring their own: an address holds an
opaque random id and an expiry, signed with a secret made when the process starts. The registries
are bounded, least recently used out first.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

from hrviz.geometry import Box
from hrviz.viewer.maps import MapTiles, Reduce
from hrviz.viewer.tiles import DisplayImage, ImageTiles

PREFIX = "/hrviz/v1"
LIFETIME = 12 * 3600.0  # seconds an address is good for
MAX_IMAGES, MAX_MAPS = 32, 256
_SECRET = secrets.token_bytes(32)
T = TypeVar("T")


# -- tokens -----------------------------------------------------------------------------------
def _signature(payload: str) -> str:
    digest = hmac.digest(_SECRET, payload.encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:18]).decode()


def make_token(identifier: str, expires: float) -> str:
    """`id.expiry.signature`; `expires` in seconds since the epoch."""
    payload = f"{identifier}.{int(expires):x}"
    return f"{payload}.{_signature(payload)}"


def read_token(token: str, now: float | None = None) -> str | None:
    """The id a token was made for; None when it is forged, damaged or out of date."""
    identifier, expires = _signed(token)
    return identifier if expires > (time.time() if now is None else now) else None


@lru_cache(maxsize=1024)
def _signed(token: str) -> tuple[str | None, int]:
    """Id and expiry of a token that was signed here; a viewer shows the same one for each tile."""
    payload, _, signature = token.rpartition(".")
    if not payload or not hmac.compare_digest(signature.encode(), _signature(payload).encode()):
        return None, 0
    identifier, _, expiry = payload.partition(".")
    return identifier, int(expiry, 16)


# -- registry ---------------------------------------------------------------------------------
@dataclass
class _Entry(Generic[T]):
    value: T
    key: Any
    token: str = ""
    expires: float = 0.0
    owner: Any = field(default=None, repr=False)  # keeps `key` unique while it is an id()


class Registry(Generic[T]):
    """Values under opaque ids, least recently used out first; the same key keeps its address."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._ids: dict[Any, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: Any, make: Callable[[], T], owner: Any = None) -> tuple[T, str]:
        """The value under `key` (made if new) and a token good for at least half a lifetime."""
        with self._lock:
            identifier = self._ids.get(key)
            if identifier is None:
                identifier = secrets.token_urlsafe(12)
                self._entries[identifier] = _Entry(make(), key, owner=owner)
                self._ids[key] = identifier
                while len(self._entries) > self.size:
                    _, old = self._entries.popitem(last=False)
                    del self._ids[old.key]
            entry = self._entries[identifier]
            self._entries.move_to_end(identifier)
            if entry.expires < time.time() + LIFETIME / 2:
                entry.expires = time.time() + LIFETIME
                entry.token = make_token(identifier, entry.expires)
            return entry.value, entry.token

    def get(self, identifier: str) -> T | None:
        with self._lock:
            entry = self._entries.get(identifier)
            if entry is None:
                return None
            self._entries.move_to_end(identifier)
            return entry.value

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._ids.clear()


IMAGES: Registry[ImageTiles] = Registry(MAX_IMAGES)
MAPS: Registry[MapTiles] = Registry(MAX_MAPS)


def register_image(image: DisplayImage) -> dict[str, Any]:
    """Make an image servable; the same image (by identity) keeps its address.

    Returns
    -------
    dict
        `{id, width, height, maxLevel, levels, pixel_size, name, url}`: the viewer's `image`.
    """
    tiles, token = IMAGES.add(image.identity, lambda: ImageTiles(image))
    return tiles.geometry | {"url": f"{PREFIX}/image/{token}"}


def register_map(
    array: Any,
    box: Box | tuple[float, float, float, float],
    vmin: float,
    vmax: float,
    version: int | str = 0,
    *,
    reduce: Reduce = "mean",
) -> dict[str, Any]:
    """Make a raster servable as 8-bit index tiles.

    Parameters
    ----------
    array : 2-D array, numpy or zarr-like
        Kept and read when a tile is asked: it may still be growing.
    box : Box
        Where it lies, (y0, x0, y1, x1) in level-0 pixels.
    vmin, vmax : float
        The linear range of indices 1..255; 0 is 'no data' (NaN).
    version : int or str
        A new one when the content changed. The address differs, so the browser asks again.
    reduce : {'mean', 'nearest'}
        How coarser levels are made; 'nearest' for labels.

    Returns
    -------
    dict
        `{width, height, tile, maxLevel, box, vmin, vmax, version, url}`: a raster overlay's `map`.
    """
    box = Box(*box)
    key = (id(array), box, float(vmin), float(vmax), reduce)
    tiles, token = MAPS.add(
        key, lambda: MapTiles(array, box, vmin, vmax, reduce=reduce), owner=array
    )
    return tiles.geometry | {"version": version, "url": f"{PREFIX}/map/{token}/{version}"}


# -- who may ask ------------------------------------------------------------------------------
def allowed_host(header: str | None) -> bool:
    """Whether a Host header names this machine, or a name in HRVIZ_ALLOWED_HOSTS."""
    return _allowed(header, os.environ.get("HRVIZ_ALLOWED_HOSTS", ""))


@lru_cache(maxsize=256)
def _allowed(header: str | None, names: str) -> bool:
    host = (header or "").strip().lower()
    if not host.endswith("]"):
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            host = name
    extra = {h.strip().lower() for h in names.split(",")}
    return host in {"localhost", "127.0.0.1", "[::1]"} | (extra - {""}) or "*" in extra

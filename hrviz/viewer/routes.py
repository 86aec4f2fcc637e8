"""ASGI routes under `/hrviz/v1/`: tiles of registered images and maps, and the viewer's module.

Custom routes get none of Streamlit's protections, so they bring their own: an address holds an
opaque random id and an expiry, signed with a secret made when the process starts; the Host header
is checked (a page elsewhere that rebinds its name to this machine gets nothing); only GET and HEAD.

Answers are in the process: a registry maps ids to images and maps, bounded, least recently used
out first. Handlers are plain `def`: Starlette runs them in its thread pool.
"""

from __future__ import annotations

import base64
import hmac
import logging
import os
import secrets
import socket
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hrviz.geometry import Box
from hrviz.viewer.assets import viewer_hash, viewer_js
from hrviz.viewer.tiles import ENCODED, DisplayImage, ImageTiles, MapTiles, Reduce, TileError

PREFIX = "/hrviz/v1"
LIFETIME = 12 * 3600.0  # seconds an address is good for
MAX_IMAGES, MAX_MAPS = 32, 256
IMMUTABLE = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}
log = logging.getLogger("hrviz.viewer")
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
    payload, _, signature = token.rpartition(".")
    if not payload or not hmac.compare_digest(signature.encode(), _signature(payload).encode()):
        return None
    identifier, _, expiry = payload.partition(".")
    return identifier if int(expiry, 16) > (time.time() if now is None else now) else None


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
        `{id, width, height, tile, maxLevel, pixel_size, name, url}`: the viewer's `image`.
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


# -- handlers ---------------------------------------------------------------------------------
def allowed_host(header: str | None) -> bool:
    """Whether a Host header names this machine, or a name in HRVIZ_ALLOWED_HOSTS."""
    host = (header or "").strip().lower()
    if not host.endswith("]"):
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            host = name
    extra = {h.strip().lower() for h in os.environ.get("HRVIZ_ALLOWED_HOSTS", "").split(",")}
    return host in {"localhost", "127.0.0.1", "[::1]"} | (extra - {""}) or "*" in extra


def _refuse(status: int, sentence: str) -> Response:
    return PlainTextResponse(
        sentence,
        status,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def _guarded(handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Host check before, one plain sentence instead of a trace after."""

    def guarded(request: Request) -> Response:
        if not allowed_host(request.headers.get("host")):
            return _refuse(
                403, "This host name is not served: add it to HRVIZ_ALLOWED_HOSTS and start again."
            )
        try:
            return handler(request)
        except TileError as error:
            return _refuse(404, f"{str(error).capitalize()}.")
        except Exception as error:
            log.exception("tile %s failed", request.url.path.rsplit("/", 3)[-3:])
            first = next(iter(str(error).splitlines()), "") or type(error).__name__
            return _refuse(500, f"This tile could not be made: {first.rstrip('.')}.")

    return guarded


def _serve(request: Request, registry: Registry[T]) -> T | Response:
    identifier = read_token(request.path_params["token"])
    if identifier is None:
        return _refuse(403, "This address is not valid or has expired: reload the page.")
    found = registry.get(identifier)
    if found is None:
        return _refuse(404, "This picture is no longer held by the server: reload the page.")
    return found


@_guarded
def image_tile(request: Request) -> Response:
    """`GET /hrviz/v1/image/{token}/{z}/{x}_{y}.jpg`."""
    found = _serve(request, IMAGES)
    if isinstance(found, Response):
        return found
    p = request.path_params
    data, mime = found.get(p["z"], p["x"], p["y"])
    return Response(data, media_type=mime, headers=IMMUTABLE)


@_guarded
def map_tile(request: Request) -> Response:
    """`GET /hrviz/v1/map/{token}/{version}/{z}/{x}_{y}.png`."""
    found = _serve(request, MAPS)
    if isinstance(found, Response):
        return found
    p = request.path_params
    z, x, y = p["z"], p["x"], p["y"]
    found.pyramid.window(z, x, y)  # a tile outside is refused before anything is kept
    key = (p["token"], p["version"], z, x, y)
    data, mime = ENCODED.get(key, lambda: (found.png(z, x, y), "image/png"))
    return Response(data, media_type=mime, headers=IMMUTABLE)


@_guarded
def health(request: Request) -> Response:
    """`GET /hrviz/v1/health`: what is held, in numbers."""
    body = {"status": "ok", "images": len(IMAGES), "maps": len(MAPS), "tile_bytes": ENCODED.bytes}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


@_guarded
def viewer_module(request: Request) -> Response:
    """`GET /hrviz/v1/static/{hash}/viewer.js`: the viewer, cached for ever under its hash."""
    if request.path_params["hash"] != viewer_hash():
        return _refuse(404, "The viewer was updated: reload the page.")
    return Response(viewer_js(), media_type="text/javascript", headers=IMMUTABLE)


def module_url() -> str:
    """Address of the viewer's ES module, relative to the server's root."""
    return f"{PREFIX}/static/{viewer_hash()}/viewer.js"


def routes() -> list[Route]:
    """The viewer's routes, for `st.App(..., routes=routes())` or any Starlette app."""
    return [
        Route(PREFIX + "/image/{token}/{z:int}/{x:int}_{y:int}.jpg", image_tile, methods=["GET"]),
        Route(
            PREFIX + "/map/{token}/{version}/{z:int}/{x:int}_{y:int}.png", map_tile, methods=["GET"]
        ),
        Route(PREFIX + "/static/{hash}/viewer.js", viewer_module, methods=["GET"]),
        Route(PREFIX + "/health", health, methods=["GET"]),
    ]


# -- latency ----------------------------------------------------------------------------------
def tcp_nodelay_on_listening_sockets() -> int:
    """Switch TCP_NODELAY on for all listening sockets of this process; returns how many.

    Notes
    -----
    `streamlit run` (and uvicorn in some set-ups) makes its socket with protocol 0, and asyncio sets
    TCP_NODELAY on accepted connections only where the protocol says TCP. Nagle's algorithm and the
    peer's delayed acknowledgement then hold each small answer back: 44 ms a tile on a keep-alive
    connection instead of 1 ms. Accepted sockets inherit the option from the listening one, so
    setting it there is enough. Nothing hands us that socket, so the open file descriptors are
    searched (not the garbage collector's objects: holding a tuple that another thread is just
    building makes that thread fail).
    """
    count = 0
    folder = next((f for f in (Path("/proc/self/fd"), Path("/dev/fd")) if f.is_dir()), None)
    for name in os.listdir(folder) if folder else []:  # noqa: PTH208 - names, not paths
        with suppress(OSError, ValueError):
            number = int(name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as thing:
                if thing.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                if thing.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    thing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    count += 1
    return count


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """A lifespan for `st.App` or Starlette: fast tiles whatever server runs the app.

    Some servers listen only after the lifespan has started, so it is done again shortly after.
    """
    import asyncio

    tcp_nodelay_on_listening_sockets()

    async def again() -> None:
        for pause in (0.2, 1.0, 3.0):
            await asyncio.sleep(pause)
            tcp_nodelay_on_listening_sockets()

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

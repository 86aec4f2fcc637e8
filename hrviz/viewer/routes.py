"""ASGI routes under `/hrviz/v1/`: tiles of registered images and maps, and the viewer's module.

The Host header is checked (a page elsewhere that rebinds its name to this machine gets nothing);
only GET and HEAD. Image tiles have a lane of their own (`image_route`); the handlers here are plain
`def`: Starlette runs them in its thread pool.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hrviz.viewer.assets import viewer_hash, viewer_js
from hrviz.viewer.image_route import CACHE_CONTROL, IMAGE_TILES, TileLane, tile_address
from hrviz.viewer.pyramid import TileError
from hrviz.viewer.registry import (
    IMAGES,
    MAPS,
    MAX_IMAGES,
    MAX_MAPS,
    PREFIX,
    Registry,
    allowed_host,
    make_token,
    read_token,
    register_image,
    register_map,
)
from hrviz.viewer.sockets import tcp_nodelay_on_listening_sockets
from hrviz.viewer.tiles import ENCODED
from hrviz.viewer.work import WORK

__all__ = [
    "IMAGES",
    "MAPS",
    "MAX_IMAGES",
    "MAX_MAPS",
    "PREFIX",
    "allowed_host",
    "lifespan",
    "make_token",
    "middleware",
    "module_url",
    "read_token",
    "register_image",
    "register_map",
    "routes",
    "tcp_nodelay_on_listening_sockets",
]

IMMUTABLE = {"Cache-Control": CACHE_CONTROL, "X-Content-Type-Options": "nosniff"}
log = logging.getLogger("hrviz.viewer")
T = TypeVar("T")


# -- handlers ---------------------------------------------------------------------------------
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
def map_tile(request: Request) -> Response:
    """`GET /hrviz/v1/map/{token}/{version}/{z}/{x}_{y}.png`."""
    found = _serve(request, MAPS)
    if isinstance(found, Response):
        return found
    p = request.path_params
    z, x, y = tile_address(p["place"], ".png")
    found.pyramid.window(z, x, y)  # a tile outside is refused before anything is kept
    key = (p["token"], p["version"], z, x, y)
    data, mime = ENCODED.get(key, lambda: (found.png(z, x, y), "image/png"))
    return Response(data, media_type=mime, headers=IMMUTABLE)


@_guarded
def health(request: Request) -> Response:
    """`GET /hrviz/v1/health`: what is held, in numbers."""
    body = {"status": "ok", "images": len(IMAGES), "maps": len(MAPS), "tile_bytes": ENCODED.bytes,
            "tiles_made": WORK.made, "tiles_shared": WORK.shared, "tiles_dropped": WORK.dropped,
            "tiles_waiting": WORK.waiting}  # fmt: skip
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
        Route(PREFIX + "/image/{rest:path}", IMAGE_TILES),
        Route(PREFIX + "/map/{token}/{version}/{place:path}", map_tile, methods=["GET"]),
        Route(PREFIX + "/static/{hash}/viewer.js", viewer_module, methods=["GET"]),
        Route(PREFIX + "/health", health, methods=["GET"]),
    ]


def middleware() -> list[Middleware]:
    """For `st.App(..., middleware=middleware())`: image tiles before all other layers."""
    return [Middleware(TileLane)]


# -- latency ----------------------------------------------------------------------------------
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

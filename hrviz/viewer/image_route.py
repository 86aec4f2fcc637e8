"""The lane of image tiles: a bare ASGI endpoint, because per-request layers cost more than the tile.

`GET /hrviz/v1/image/{token}/{z}/{x}_{y}.jpg`. A tile that passes through or is cached is answered
in the event loop at once; others are made by `work` in threads, shared between askers and dropped
when all of them have gone. Handing out a stored tile costs some 20 microseconds, a web framework's
middlewares and routing several times that, so `TileLane` sits in front of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hrviz.viewer.pyramid import TileError
from hrviz.viewer.registry import IMAGES, PREFIX, allowed_host, read_token
from hrviz.viewer.tiles import ImageTiles
from hrviz.viewer.work import WORK, Busy, Job, TileWork

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

CACHE_CONTROL = "private, max-age=31536000, immutable"
IMAGE = PREFIX + "/image/"
_FIXED = [(b"cache-control", CACHE_CONTROL.encode()), (b"x-content-type-options", b"nosniff")]
log = logging.getLogger("hrviz.viewer")


class _Refusal(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence


class ImageTileApp:
    """Answers for image tiles.

    Parameters
    ----------
    work : TileWork, optional
        Default the process's.
    """

    def __init__(self, work: TileWork | None = None) -> None:
        self.work = WORK if work is None else work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            headers = _headers(scope)
            tiles, z, x, y = _locate(scope, headers)
            tag = f'"{tiles.identity}-{z}-{x}-{y}"'.encode()
            tiles.pyramid.check(z, x, y)  # a tile outside is 404, whatever the browser holds
            if tag in headers.get(b"if-none-match", b""):
                await _send(send, 304, [*_FIXED, (b"etag", tag)], b"")
                return
            found = await self._tile(tiles, z, x, y, receive)
            if found is None:  # nobody is there any more
                return
            data, mime = found
            own = [
                *_FIXED,
                (b"content-type", mime.encode()),
                (b"content-length", str(len(data)).encode()),
                (b"etag", tag),
            ]
            await _send(send, 200, own, b"" if scope["method"] == "HEAD" else data)
        except _Refusal as refusal:
            await _refuse(send, refusal.status, refusal.sentence)
        except TileError as error:
            await _refuse(send, 404, f"{str(error).capitalize()}.")
        except Busy as error:
            await _refuse(send, 503, f"The server is busy ({error}): try again in a moment.")
        except Exception as error:
            log.exception("tile %s failed", scope["path"].rsplit("/", 3)[-3:])
            first = next(iter(str(error).splitlines()), "") or type(error).__name__
            await _refuse(send, 500, f"This tile could not be made: {first.rstrip('.')}.")

    async def _tile(
        self, tiles: ImageTiles, z: int, x: int, y: int, receive: Receive
    ) -> tuple[bytes, str] | None:
        try:
            found = tiles.now(z, x, y)
        except BlockingIOError:
            job = self.work.submit((tiles.key(z, x, y), "stored"), lambda: tiles.get(z, x, y))
            return await self._wait(job, receive)
        if found is not None:
            return found
        job = self.work.submit(tiles.key(z, x, y), lambda: tiles.get(z, x, y))
        made = await self._wait(job, receive)
        if made is not None:
            self._ring(tiles, z, x, y)
        return made

    async def _wait(self, job: Job, receive: Receive) -> tuple[bytes, str] | None:
        """The job's tile, or None when the browser closed the request first."""
        tile: asyncio.Future[tuple[bytes, str]] = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((tile, gone), return_when=asyncio.FIRST_COMPLETED)
            return tile.result() if tile.done() else None
        finally:
            gone.cancel()
            self.work.leave(job)

    def _ring(self, tiles: ImageTiles, z: int, x: int, y: int) -> None:
        """Wish for the neighbours: together, of all tiles asked, the ring around the viewport."""
        rows, columns = tiles.pyramid.grid(z)
        for row in range(max(0, y - 1), min(rows, y + 2)):
            for column in range(max(0, x - 1), min(columns, x + 2)):
                key = tiles.key(z, column, row)
                if tiles.cache.peek(key) is None:
                    self.work.ahead(key, _getter(tiles, z, column, row))


def _getter(tiles: ImageTiles, z: int, x: int, y: int) -> Callable[[], tuple[bytes, str]]:
    return lambda: tiles.get(z, x, y)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    wanted = (b"host", b"if-none-match")
    return {name: value for name, value in scope["headers"] if name in wanted}


def _locate(scope: Scope, headers: dict[bytes, bytes]) -> tuple[ImageTiles, int, int, int]:
    if not allowed_host(headers.get(b"host", b"").decode("latin-1")):
        raise _Refusal(
            403, "This host name is not served: add it to HRVIZ_ALLOWED_HOSTS and start again."
        )
    if scope["method"] not in ("GET", "HEAD"):
        raise _Refusal(405, "Only GET is served here.")
    token, _, place = scope["path"].partition(IMAGE)[2].partition("/")
    identifier = read_token(token)
    if identifier is None:
        raise _Refusal(403, "This address is not valid or has expired: reload the page.")
    tiles = IMAGES.get(identifier)
    if tiles is None:
        raise _Refusal(404, "This picture is no longer held by the server: reload the page.")
    return tiles, *tile_address(place, ".jpg")


def tile_address(place: str, suffix: str) -> tuple[int, int, int]:
    """Level, column and row of `LEVEL/COLUMN_ROW.suffix`.

    Raises
    ------
    TileError
        When it is not that.
    """
    level, _, name = place.partition("/")
    column, _, row = name.removesuffix(suffix).partition("_")
    numbers = (level, column, row)
    if not name.endswith(suffix) or not all(
        n.isascii() and n.isdigit() and len(n) < 10 for n in numbers
    ):
        raise TileError(f"no such tile: an address ends in LEVEL/COLUMN_ROW{suffix}")
    z, x, y = (int(n) for n in numbers)
    return z, x, y


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = sentence.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await _send(send, status, headers, body)


IMAGE_TILES = ImageTileApp()
"""The process's endpoint."""


class TileLane:
    """ASGI middleware: image tiles are answered here, everything else goes on to the app."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or pass on one connection."""
        if scope["type"] == "http" and scope["path"].startswith(IMAGE):
            await IMAGE_TILES(scope, receive, send)
        else:
            await self.app(scope, receive, send)

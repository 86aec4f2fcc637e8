"""Where the bytes of a Zarr come from: a folder or any fsspec address, watched while it is read.

Reading through `WatchedStore` costs no request more than reading without it: it notes which keys
were not there, bounds how long an answer is waited for, turns every failure into one sentence, and
makes sense of servers that ignore byte ranges.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import stat
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import loop as zarr_loop
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from hrviz.errors import HrvizError
from hrviz.image.readers.sniff import IMAGE_SUFFIXES, first_line, short

OPEN_SECONDS = 9.0
"""For all metadata together: opening ends in an image or a sentence by then."""

IDLE_SECONDS = 8.0
"""Silence of an HTTP server that ends a read; a slow transfer that goes on is waited for."""

READ_SECONDS = 60.0
"""For one chunk, whatever the server does."""

REST_SECONDS = 5.0
"""After a server did not answer, its next requests fail at once for so long."""

MAX_METADATA = 2**26
MAX_FILE = 2**30
INDEX_BYTES = 2**25  # shard indexes kept

_FILES = (
    *IMAGE_SUFFIXES,
    *(".jp2", ".j2k", ".npy", ".mp4", ".mov", ".mkv", ".avi", ".webm", ".czi", ".nd2", ".lif"),
)


class WatchedStore(WrapperStore[Store]):
    """A read-only store that knows what it did not find.

    Attributes
    ----------
    address : str
        Folder or address, without credentials or query, for sentences.
    remote : bool
    absent : set of str
        Keys asked for and not found.
    denied : bool
        Whether some of them were refused rather than absent (403).
    shard_index : dict of str to (int, bool)
        For sharded arrays by path: bytes of a shard's index, and whether it is at the end.
    """

    def __init__(self, store: Store, address: str = "", remote: bool = False) -> None:
        super().__init__(store)
        self.address, self.remote = address, remote
        self.absent: set[str] = set()
        self.denied = False
        self.shard_index: dict[str, tuple[int, bool]] = {}
        self._indexes: OrderedDict[str, Any] = OrderedDict()
        self._deadline: float | None = None
        self._silent: tuple[float, HrvizError] | None = None

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """As `Store.get`; None also where access to this key alone is refused.

        Raises
        ------
        HrvizError
            When the server cannot be reached, does not answer in time, or fails.
        """
        size, at_end = self._index_of(key)
        wanted = SuffixByteRequest(size) if at_end else RangeByteRequest(0, size)
        if size and byte_range == wanted and key in self._indexes:
            self._indexes.move_to_end(key)
            return self._indexes[key]
        value = await self._answer(key, prototype, byte_range)
        if value is None:
            self.absent.add(key)
            return None
        value = _part(value, byte_range)
        if size and (byte_range is None or byte_range == wanted) and len(value) >= size:
            self._keep(key, _part(value, wanted))
        return value

    async def _answer(self, key: str, prototype: Any, byte_range: Any) -> Any:
        seconds = READ_SECONDS
        if self._deadline is not None:
            seconds = max(0.05, self._deadline - time.monotonic())
        if isinstance(self._store, LocalStore):
            self._check_file(self._store.root / key, key, whole=byte_range is None)
        started = time.monotonic()
        # a window asks for many chunks: the others do not wait for the same silence one by one
        if self._silent is not None and started < self._silent[0]:
            raise HrvizError(str(self._silent[1]))
        try:
            async with asyncio.timeout(seconds if self.remote else None):
                return await self._store.get(key, prototype, byte_range)
        except TimeoutError as error:
            waited = max(1, round(time.monotonic() - started))
            silence = HrvizError(
                f"{self.host} does not answer (waited {waited} s); check the address and the "
                "connection, or try again later"
            )
            self._silent = time.monotonic() + REST_SECONDS, silence
            raise silence from error
        except PermissionError as error:
            if not self.remote:
                raise HrvizError(
                    f"{self.address}: {key} may not be read by this user; allow it: chmod -R u+rX"
                ) from error
            self.denied = True  # object stores answer so for what is not there
            return None
        except Exception as error:
            status = getattr(error, "status", None)
            if status in (401, 403, 410):
                self.denied = status != 410
                return None
            raise HrvizError(self._sentence(error, status)) from error

    def _check_file(self, path: Path, key: str, *, whole: bool) -> None:
        """Refuse what would be read without end: a pipe, a device, a file beyond any chunk."""
        try:
            status = path.stat()
        except OSError:  # reading says what is wrong
            return
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise HrvizError(
                f"{self.address}: {key} is not a regular file; copy or download the Zarr again"
            )
        if whole and status.st_size > MAX_FILE:
            raise HrvizError(
                f"{self.address}: {key} has {status.st_size:,} bytes, at most {MAX_FILE:,} are read "
                "at once; write it again in smaller chunks"
            )

    def _sentence(self, error: Exception, status: Any) -> str:
        if not self.remote:
            reason = getattr(error, "strerror", None) or first_line(error)
            return f"{self.address} cannot be read ({reason}); check the disk or copy it again"
        if isinstance(status, int) and status:
            return (
                f"{self.host} answers with error {status} for {self.address}; try again later, or "
                "download the folder and open the copy"
            )
        if isinstance(error, OSError):
            return (
                f"{self.host} cannot be reached ({first_line(error)}); check the address and the "
                "connection"
            )
        return (
            f"{self.address} cannot be read ({type(error).__name__}: {first_line(error)}); check "
            "the address and your access to it"
        )

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc or self.address

    # -- shards ---------------------------------------------------------------------------------
    def _index_of(self, key: str) -> tuple[int, bool]:
        for path, index in self.shard_index.items():
            if key.startswith(f"{path}/" if path else "c"):
                return index
        return 0, True

    def _keep(self, key: str, index: Any) -> None:
        self._indexes[key] = index
        size = len(index)
        while len(self._indexes) > max(1, INDEX_BYTES // size):
            self._indexes.popitem(last=False)

    def index(self, key: str) -> bytes | None:
        """The index of a shard that was just read."""
        found = self._indexes.get(key)
        return None if found is None else found.to_bytes()

    # -- metadata -------------------------------------------------------------------------------
    def documents(self, keys: Sequence[str]) -> list[bytes | None]:
        """Small files, fetched together; None where there is none."""

        async def all_of_them() -> list[Any]:
            await self._ensure_open()
            prototype = default_buffer_prototype()
            return list(await asyncio.gather(*(self.get(k, prototype) for k in keys)))

        out = []
        for key, found in zip(keys, sync(all_of_them()), strict=True):
            if found is not None and len(found) > MAX_METADATA:
                raise HrvizError(
                    f"{self.address}: {key} has {len(found):,} bytes, at most {MAX_METADATA:,} "
                    "are read as metadata; it is damaged, or open one image inside"
                )
            out.append(None if found is None else found.to_bytes())
        return out

    def begin(self) -> None:
        """From now to `ready`, all answers together are bounded by `OPEN_SECONDS`."""
        self._deadline = time.monotonic() + OPEN_SECONDS

    def ready(self) -> None:
        self._deadline = None
        self.absent.clear()


def _part(value: Any, byte_range: Any) -> Any:
    """The bytes asked for, also where a server ignored the range and sent everything."""
    if isinstance(byte_range, SuffixByteRequest) and len(value) > byte_range.suffix:
        return value[len(value) - byte_range.suffix :]
    if isinstance(byte_range, RangeByteRequest) and len(value) > byte_range.end - byte_range.start:
        return value[byte_range.start : byte_range.end]
    return value


def open_store(address: str) -> WatchedStore:
    """The store at a local folder or an fsspec address; nothing is read yet.

    Raises
    ------
    HrvizError
        For addresses that name a single file, and where fsspec or its backend is missing.
    """
    if "://" not in address:
        return WatchedStore(LocalStore(address, read_only=True), short(Path(address)))
    scheme, rest = address.split("://", 1)
    scheme = scheme.lower()
    address = f"{scheme}://{rest}"
    shown = _without_secrets(address)
    suffix = Path(urlsplit(address).path.rstrip("/")).suffix.lower()
    if suffix in _FILES:
        raise HrvizError(
            f"{shown} is a single file, and only Zarr is opened from an address; download it and "
            "open the copy"
        )
    try:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations
    except ImportError:
        raise HrvizError(
            f"{shown}: addresses are opened with fsspec, which is not installed; pip install "
            "'hrviz[formats]'"
        ) from None
    options: dict[str, Any] = {"asynchronous": True, "skip_instance_cache": True}
    if scheme in ("http", "https"):
        try:
            import aiohttp
        except ImportError:
            raise HrvizError(
                f"{shown}: http addresses are opened with aiohttp, which is not installed; pip "
                "install aiohttp"
            ) from None
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=IDLE_SECONDS, sock_read=IDLE_SECONDS
        )
        options["client_kwargs"] = {"timeout": timeout}
    try:
        system, path = url_to_fs(address.rstrip("/"), **options)
    except ImportError as error:
        module = str(known_implementations.get(scheme, {}).get("class", "")).split(".")[0]
        step = f"pip install {module}" if module and module != "fsspec" else first_line(error)
        raise HrvizError(
            f"{shown}: {scheme}:// addresses need a package that is not installed; {step}"
        ) from None
    except Exception as error:
        raise HrvizError(
            f"{shown} cannot be opened ({first_line(error)}); give the http(s):// or s3:// address "
            "of a Zarr folder, or a path"
        ) from None
    if not system.async_impl:
        from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

        system = AsyncFileSystemWrapper(system, asynchronous=True)
    store = WatchedStore(FsspecStore(system, read_only=True, path=path), shown, remote=True)
    # Zarr's event loop ends at exit: sessions still open then are closed by _close_all before it
    weakref.finalize(store, _close_session, system).atexit = False
    _OPEN[id(system)] = system
    return store


_OPEN: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # equal ones, too


def _close_session(system: Any, wait: float | None = None) -> None:
    """Close an HTTP session where it lives: in Zarr's event loop."""
    session, running = getattr(system, "_session", None), zarr_loop[0]
    if session is None or running is None or not running.is_running():
        return
    system._session = None
    closing = asyncio.run_coroutine_threadsafe(session.close(), running)
    if wait:
        with contextlib.suppress(Exception):
            closing.result(wait)


def _close_all() -> None:
    """At exit, before Zarr's own end: give up what is still waited for, then close the sessions."""
    running = zarr_loop[0]
    if running is None or not running.is_running():
        return

    async def give_up() -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=1.0)

    if _OPEN:
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(give_up(), running).result(2.0)
    for system in list(_OPEN.values()):
        _close_session(system, wait=1.0)


atexit.register(_close_all)


def _without_secrets(address: str) -> str:
    """An address as it may be shown: no user, password or signed query."""
    parts = urlsplit(address)
    host = parts.netloc.rsplit("@", 1)[-1]
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")

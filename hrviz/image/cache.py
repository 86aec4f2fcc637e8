"""A byte-bounded cache of decoded tiles, shared by all images of the process.

Memory is bounded here and nowhere else: whatever the size of the image, at most
`HRVIZ_CACHE_BYTES` (default 256 MiB) of decoded tiles are kept, the least recently used go first.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class TileCache:
    """Least-recently-used cache of arrays, bounded in bytes; each tile is computed once at a time.

    Parameters
    ----------
    max_bytes : int
        Bound on the sum of `nbytes`. A single larger tile is handed out but not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._tiles: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._pending: dict[Hashable, threading.Event] = {}

    def get(self, key: Hashable, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The tile under `key`; `compute` runs at most once at a time for a key."""
        while True:
            with self._lock:
                tile = self._tiles.get(key)
                if tile is not None:
                    self._tiles.move_to_end(key)
                    return tile
                event = self._pending.get(key)
                if event is None:
                    event = self._pending[key] = threading.Event()
                    break
            event.wait()
        try:
            tile = compute()
            tile.setflags(write=False)
            with self._lock:
                if tile.nbytes <= self.max_bytes:
                    self._tiles[key] = tile
                    self.bytes += tile.nbytes
                    while self.bytes > self.max_bytes:
                        _, old = self._tiles.popitem(last=False)
                        self.bytes -= old.nbytes
            return tile
        finally:
            with self._lock:
                del self._pending[key]
            event.set()

    def clear(self) -> None:
        with self._lock:
            self._tiles.clear()
            self.bytes = 0


TILES = TileCache(int(os.environ.get("HRVIZ_CACHE_BYTES", 256 * 2**20)))

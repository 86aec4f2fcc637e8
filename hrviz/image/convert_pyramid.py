"""A pyramid in one pass over its finest level: every tile is read once and its 2 x 2 means passed up.

Tiles come in Z-order, so that the four that make a coarser tile come soon after each other: what is
held are the tiles being worked on and a few unfinished ones a level, whatever the image's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from hrviz.errors import Cancelled
from hrviz.image.resample import halve

COARSEST = 1024  # the last level is one block, at most this many pixels a side


class Place(NamedTuple):
    """A block: level (0 is the finest written), row and column."""

    level: int
    row: int
    column: int


class Sink(Protocol):
    """Where blocks go. `encode` is called from several threads, `put` from one, in order."""

    def encode(self, place: Place, pixels: np.ndarray) -> Any: ...

    def put(self, place: Place, data: Any) -> None: ...


@dataclass(frozen=True)
class Pyramid:
    """Sizes of the levels and of the blocks they are written in.

    Parameters
    ----------
    height, width : int
        Of the finest level.
    block : int
        Side of a block, even.
    stop : int
        The last level is the first with both sides at most this.
    """

    height: int
    width: int
    block: int
    stop: int
    sizes: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        sizes = [(self.height, self.width)]
        while max(sizes[-1]) > self.stop:
            h, w = sizes[-1]
            sizes.append((-(-h // 2), -(-w // 2)))
        object.__setattr__(self, "sizes", tuple(sizes))

    def grid(self, level: int) -> tuple[int, int]:
        """Rows and columns of blocks."""
        h, w = self.sizes[level]
        return -(-h // self.block), -(-w // self.block)

    def window(self, place: Place) -> tuple[int, int, int, int]:
        """(y, x, height, width) of a block in pixels of its level, cut to the level."""
        h, w = self.sizes[place.level]
        y, x = place.row * self.block, place.column * self.block
        return y, x, min(self.block, h - y), min(self.block, w - x)

    @property
    def blocks(self) -> int:
        """Of all levels."""
        return sum(rows * columns for rows, columns in map(self.grid, range(len(self.sizes))))


def z_order(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Every (row, column) of a grid, quadrant by quadrant.

    Examples
    --------
    >>> list(z_order(2, 3))
    [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]
    """

    def visit(row: int, column: int, side: int) -> Iterator[tuple[int, int]]:
        if row >= rows or column >= columns:
            return
        if side == 1:
            yield row, column
            return
        half = side // 2
        for down, right in ((0, 0), (0, half), (half, 0), (half, half)):
            yield from visit(row + down, column + right, half)

    side = 1
    while side < max(rows, columns):
        side *= 2
    return visit(0, 0, side)


def row_by_row(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Every (row, column) of a grid, for sources whose stored pieces span the whole width."""
    return ((row, column) for row in range(rows) for column in range(columns))


def build(
    pyramid: Pyramid,
    read: Callable[[int, int, int, int], np.ndarray],
    sink: Sink,
    *,
    order: Callable[[int, int], Iterator[tuple[int, int]]] = z_order,
    workers: int = 1,
    done: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Fill `sink` with every block of every level.

    Parameters
    ----------
    pyramid : Pyramid
    read : callable
        `(y, x, height, width)` to pixels `(height, width, channels)` of the finest level; called
        once for every block, from several threads.
    sink : Sink
    order : callable
        `z_order` or `row_by_row`.
    workers : int
        Threads; at most twice as many blocks are under way.
    done : callable
        Called after every block.
    cancelled : callable, optional
        Asked before every block.

    Raises
    ------
    Cancelled
    """
    last = len(pyramid.sizes) - 1
    parents: dict[Place, _Parent] = {}

    def work(place: Place, pixels: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
        if pixels is None:
            pixels = read(*pyramid.window(place))
        return sink.encode(place, pixels), halve(pixels) if place.level < last else None

    leaves = (Place(0, *at) for at in order(*pyramid.grid(0)))
    pending: deque[tuple[Place, Future[tuple[Any, np.ndarray | None]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="hrviz-convert")
    try:
        while True:
            while len(pending) < 2 * workers and (leaf := next(leaves, None)) is not None:
                pending.append((leaf, pool.submit(work, leaf, None)))
            if not pending:
                return
            if cancelled is not None and cancelled():
                raise Cancelled
            place, future = pending.popleft()
            data, half = future.result()
            sink.put(place, data)
            done()
            if half is None:
                continue
            up = Place(place.level + 1, place.row // 2, place.column // 2)
            parent = parents.get(up) or parents.setdefault(up, _Parent(pyramid, up, half))
            if parent.add(place, half):
                pending.append((up, pool.submit(work, up, parents.pop(up).pixels)))
    finally:
        pool.shutdown(cancel_futures=True)


class _Parent:
    """A coarser block that waits for some of its four finer ones."""

    def __init__(self, pyramid: Pyramid, place: Place, half: np.ndarray) -> None:
        _, _, h, w = pyramid.window(place)
        self.pixels = np.empty((h, w, half.shape[2]), half.dtype)
        self.side = pyramid.block // 2
        rows, columns = pyramid.grid(place.level - 1)
        self.missing = min(2, rows - 2 * place.row) * min(2, columns - 2 * place.column)

    def add(self, child: Place, half: np.ndarray) -> bool:
        """Put a child's means in its quadrant; True when it was the last one."""
        y, x = child.row % 2 * self.side, child.column % 2 * self.side
        self.pixels[y : y + half.shape[0], x : x + half.shape[1]] = half
        self.missing -= 1
        return self.missing == 0

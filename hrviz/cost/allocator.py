"""The CUDA caching allocator, modelled: what a sequence of tensors takes from the device.

torch does not give memory back to the device when a tensor dies: it keeps it for the next one. What
the device misses is therefore more than what the tensors hold. The rules (torch's
`c10/cuda/CUDACachingAllocator`, default settings, one stream):

- a request is rounded up to 512 B;
- requests up to 1 MiB are cut from segments of 2 MiB; up to 10 MiB, from segments of 20 MiB; larger
  ones get a segment of their own, rounded up to 2 MiB. Small and large ones never share;
- the smallest free block that is large enough is taken, of equal ones the one at the lowest address;
- its rest is cut off and stays free: if it has 512 B (small), or more than 1 MiB (large);
- a block given back merges with free neighbours in its segment;
- where the device is full, segments that are free as a whole go back to it, and it is tried again.

`allocated` is what blocks in use take (`torch.cuda.memory_allocated`), `reserved` what segments
take (`torch.cuda.memory_reserved`).

Notes
-----
Segments are assumed to lie at rising addresses, in the order they were taken. Not modelled:
expandable segments, several streams, the settings of PYTORCH_CUDA_ALLOC_CONF.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MIB = 2**20
BLOCK = 512  # every request is a multiple
SMALL = MIB  # requests up to it come from small segments
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
LARGE = 10 * MIB  # requests from here on get their own segment
ROUND_LARGE = 2 * MIB


class OutOfMemory(Exception):
    """The device cannot give another segment."""


class Peaks(NamedTuple):
    """Most bytes at any time, in blocks in use and in segments."""

    allocated: int
    reserved: int


class _Block:
    """A piece of a segment; knows its neighbours in it."""

    __slots__ = ("address", "after", "before", "free", "size", "small")

    def __init__(self, address: int, size: int, small: bool) -> None:
        self.address, self.size, self.small = address, size, small
        self.free = False
        self.before: _Block | None = None
        self.after: _Block | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.size, self.address


class _Pool:
    """Free blocks, the smallest first, and of equal ones the one at the lowest address."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, int]] = []
        self.blocks: dict[int, _Block] = {}  # by address

    def add(self, block: _Block) -> None:
        block.free = True
        insort(self.keys, block.key)
        self.blocks[block.address] = block

    def remove(self, block: _Block) -> None:
        block.free = False
        del self.keys[bisect_left(self.keys, block.key)]
        del self.blocks[block.address]

    def best(self, size: int) -> _Block | None:
        """Take out the best block for a request; None where none is large enough."""
        at = bisect_left(self.keys, (size, -1))
        if at == len(self.keys):
            return None
        block = self.blocks[self.keys[at][1]]
        self.remove(block)
        return block


class CachingAllocator:
    """Takes and gives back memory as torch does on a CUDA device.

    Parameters
    ----------
    capacity : int, optional
        Bytes that the device can give; default unlimited.

    Attributes
    ----------
    allocated, reserved : int
        Bytes in blocks in use and in segments, now.
    peaks : Peaks
        The most there were.

    Examples
    --------
    >>> memory = CachingAllocator()
    >>> memory.take("a", 1)
    >>> memory.take("b", 2**20 + 1)
    >>> memory.allocated, memory.reserved  # 512 B of 2 MiB, 1 MiB + 512 B of 20 MiB
    (1049600, 23068672)
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.allocated = self.reserved = 0
        self.peaks = Peaks(0, 0)
        self._pools = {True: _Pool(), False: _Pool()}
        self._used: dict[object, _Block] = {}
        self._end = 0  # address of the next segment

    def take(self, name: object, nbytes: int) -> None:
        """Memory for a tensor; nothing for an empty one.

        Raises
        ------
        OutOfMemory
            When the device is full.
        """
        if nbytes == 0:
            return
        size = -(-nbytes // BLOCK) * BLOCK
        small = size <= SMALL
        pool = self._pools[small]
        block = pool.best(size) or self._segment(size, small)
        rest = block.size - size
        if rest >= BLOCK if small else rest > SMALL:
            pool.add(self._cut(block, size))
        self._used[name] = block
        self.allocated += block.size
        self.peaks = Peaks(
            max(self.peaks.allocated, self.allocated), max(self.peaks.reserved, self.reserved)
        )

    def give(self, name: object) -> None:
        """Give a tensor's memory back."""
        block = self._used.pop(name, None)
        if block is None:  # an empty tensor
            return
        self.allocated -= block.size
        pool = self._pools[block.small]
        if block.after is not None and block.after.free:
            pool.remove(block.after)
            self._join(block, block.after)
        if block.before is not None and block.before.free:
            pool.remove(block.before)
            block = self._join(block.before, block)
        pool.add(block)

    def empty_cache(self) -> None:
        """Give all segments back to the device in which nothing is used."""
        for pool in self._pools.values():
            whole = [b for b in pool.blocks.values() if b.before is None and b.after is None]
            for block in whole:
                pool.remove(block)
                self.reserved -= block.size

    def _segment(self, request: int, small: bool) -> _Block:
        if small:
            size = SMALL_SEGMENT
        elif request < LARGE:
            size = LARGE_SEGMENT
        else:
            size = -(-request // ROUND_LARGE) * ROUND_LARGE
        if self.capacity is not None and self.reserved + size > self.capacity:
            self.empty_cache()
            if self.reserved + size > self.capacity:
                raise OutOfMemory
        self.reserved += size
        block = _Block(self._end, size, small)
        self._end += size
        return block

    @staticmethod
    def _cut(block: _Block, size: int) -> _Block:
        """Shorten a block; its rest."""
        rest = _Block(block.address + size, block.size - size, block.small)
        rest.before, rest.after = block, block.after
        if rest.after is not None:
            rest.after.before = rest
        block.after, block.size = rest, size
        return rest

    @staticmethod
    def _join(first: _Block, second: _Block) -> _Block:
        """Two neighbours become the first."""
        first.size += second.size
        first.after = second.after
        if first.after is not None:
            first.after.before = first
        return first


def replay(
    events: Iterable[int], nbytes: Sequence[int], capacity: int | None = None
) -> Peaks | None:
    """Peaks of a sequence of tensors.

    Parameters
    ----------
    events : iterable of int
        k where tensor k is made, ~k (that is -k-1) where it dies.
    nbytes : sequence of int
        Of each tensor.
    capacity : int, optional
        Bytes of the device; default unlimited.

    Returns
    -------
    Peaks or None
        None where the device is too small.

    Examples
    --------
    >>> replay([0, ~0, 1], [2**20, 2**20])  # the second takes the place of the first
    Peaks(allocated=1048576, reserved=2097152)
    >>> replay([0, 1], [11 * 2**20, 11 * 2**20], capacity=20 * 2**20) is None
    True
    """
    memory = CachingAllocator(capacity)
    try:
        for event in events:
            if event >= 0:
                memory.take(event, nbytes[event])
            else:
                memory.give(~event)
    except OutOfMemory:
        return None
    return memory.peaks


def needed(
    events: Sequence[int], nbytes: Sequence[int], peaks: Peaks, tolerance: float = 0.005
) -> int:
    """The smallest device on which a sequence runs, if need be by giving free segments back.

    Between the peaks allocated and reserved; found by bisection.

    Parameters
    ----------
    events, nbytes
        As in `replay`.
    peaks : Peaks
        What `replay` says.
    tolerance : float
        The result is at most by this share too large.

    Examples
    --------
    >>> # 16 MiB are kept, and given back when 18 are asked for
    >>> sequence = [0, ~0, 1], [16 * MIB, 18 * MIB]
    >>> peaks = replay(*sequence)
    >>> peaks.reserved / MIB, needed(*sequence, peaks) / MIB
    (34.0, 18.0)
    """
    low, high = peaks
    if replay(events, nbytes, low) is not None:
        return low
    while high - low > tolerance * high:
        middle = (low + high) // 2
        if replay(events, nbytes, middle) is None:
            low = middle
        else:
            high = middle
    return high

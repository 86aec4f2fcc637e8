"""The model of the CUDA caching allocator against sequences worked out by hand and a naive copy."""

from __future__ import annotations

import random

import pytest

from hrviz.cost.allocator import MIB, CachingAllocator, OutOfMemory, Peaks, needed, replay

KIB = 1024


@pytest.mark.parametrize(
    ("request_", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),  # the last that is small
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),  # its own segment, in steps of 2 MiB
        (11 * MIB + 3, 12 * MIB, 12 * MIB),  # a rest of less than 1 MiB is not cut off
        (13 * MIB - 512, 14 * MIB - MIB - 512, 14 * MIB),  # 1 MiB + 512 B is
        (13 * MIB, 14 * MIB, 14 * MIB),  # 1 MiB is not
    ],
)
def test_one_request(request_: int, allocated: int, reserved: int) -> None:
    assert replay([0], [request_]) == Peaks(allocated, reserved)


def test_nothing_takes_nothing() -> None:
    assert replay([0, ~0], [0]) == Peaks(0, 0)


def test_small_ones_share_a_segment_and_the_best_gap_is_taken() -> None:
    memory = CachingAllocator()
    for name, size in (("a", 600 * KIB), ("b", 200 * KIB), ("c", 300 * KIB), ("d", 100 * KIB)):
        memory.take(name, size)
    assert (memory.allocated, memory.reserved) == (1200 * KIB, 2 * MIB)  # 848 KiB are left
    memory.give("a")  # free: 600 at 0, 848 at the end
    memory.give("c")  # and 300 in between
    memory.take("e", 250 * KIB)  # into the 300, of which 50 stay
    memory.take("f", 800 * KIB)  # only the end holds it, of which 48 stay
    memory.take("g", 600 * KIB)
    assert (memory.allocated, memory.reserved) == (1950 * KIB, 2 * MIB)
    memory.take("h", 49 * KIB)
    memory.take("i", 48 * KIB)  # full but for 1 KiB
    assert memory.reserved == 2 * MIB
    memory.take("j", 1025)
    assert memory.reserved == 4 * MIB


def test_neighbours_merge_whatever_the_order() -> None:
    for order in ("abc", "acb", "bac", "bca", "cab", "cba"):
        memory = CachingAllocator()
        for name in "abc":
            memory.take(name, 6 * MIB)  # 18 of 20 MiB: one segment
        for name in order:
            memory.give(name)
        assert (memory.allocated, memory.reserved) == (0, 20 * MIB)
        memory.take("all", 20 * MIB)  # fits again, as a whole
        assert memory.reserved == 20 * MIB, order


def test_segments_never_merge_with_each_other() -> None:
    memory = CachingAllocator()
    for name in "ab":
        memory.take(name, 12 * MIB)
        assert memory.peaks.reserved == memory.reserved
    for name in "ab":
        memory.give(name)
    memory.take("c", 14 * MIB)
    assert memory.reserved == 38 * MIB


def test_large_rests_serve_large_requests_only() -> None:
    memory = CachingAllocator()
    memory.take("a", 30 * MIB)
    memory.give("a")
    memory.take("b", 28 * MIB)  # 2 MiB stay free
    memory.take("c", 512)  # small: not from there
    assert memory.reserved == 32 * MIB
    memory.take("d", MIB + 512)  # large: from there, whole: less than 1 MiB would stay
    assert (memory.allocated, memory.reserved) == (30 * MIB + 512, 32 * MIB)


def test_a_full_device_gets_free_segments_back_first() -> None:
    memory = CachingAllocator(capacity=30 * MIB)
    memory.take("a", 16 * MIB)
    memory.give("a")
    memory.take("b", 18 * MIB)  # 16 are kept: 34 is too much, so they go back
    assert (memory.reserved, memory.peaks.reserved) == (18 * MIB, 18 * MIB)
    with pytest.raises(OutOfMemory):
        memory.take("c", 14 * MIB)
    assert replay([0, ~0, 1], [16 * MIB, 18 * MIB], 30 * MIB) == Peaks(18 * MIB, 18 * MIB)
    assert replay([0, 1], [16 * MIB, 18 * MIB], 30 * MIB) is None


def test_what_a_device_needs() -> None:
    # 12, then 14 in its place, then 16: 42 are kept, 16 suffice
    events, sizes = [0, ~0, 1, ~1, 2, ~2], [12 * MIB, 14 * MIB, 16 * MIB]
    peaks = replay(events, sizes)
    assert peaks == Peaks(16 * MIB, 42 * MIB)
    assert needed(events, sizes, peaks) == 16 * MIB
    # 30 MiB, of which a piece stays in use: the segment cannot go back, so 28 more need 58
    events, sizes = [0, ~0, 1, 2], [30 * MIB, 4 * MIB, 28 * MIB]
    peaks = replay(events, sizes)
    assert peaks == Peaks(32 * MIB, 58 * MIB)
    assert 0.99 * 58 * MIB < needed(events, sizes, peaks) <= 58 * MIB


class Naive:
    """Segments as lists of [size, who]; every search is linear."""

    def __init__(self) -> None:
        self.segments: list[tuple[bool, list[list]]] = []
        self.peaks = (0, 0)

    def take(self, who: object, n: int) -> None:
        n = max(1, (n + 511) // 512) * 512
        small = n <= MIB
        fits = [
            (block[0], s, sum(b[0] for b in blocks[:i]), i)
            for s, (kind, blocks) in enumerate(self.segments)
            for i, block in enumerate(blocks)
            if kind == small and block[1] is None and block[0] >= n
        ]
        if not fits:
            whole = 2 * MIB if small else 20 * MIB if n < 10 * MIB else -(-n // (2 * MIB)) * 2 * MIB
            self.segments.append((small, [[whole, None]]))
            fits = [(whole, len(self.segments) - 1, 0, 0)]
        size, s, _, i = min(fits)
        rest = size - n
        blocks = self.segments[s][1]
        cut = rest >= 512 if small else rest > MIB
        blocks[i : i + 1] = [[n, who], [rest, None]] if cut else [[size, who]]
        used = sum(b[0] for _, bs in self.segments for b in bs if b[1] is not None)
        reserved = sum(b[0] for _, bs in self.segments for b in bs)
        self.peaks = (max(self.peaks[0], used), max(self.peaks[1], reserved))

    def give(self, who: object) -> None:
        for _, blocks in self.segments:
            for block in blocks:
                if block[1] == who:
                    block[1] = None
            joined: list[list] = []
            for block in blocks:
                if joined and joined[-1][1] is None and block[1] is None:
                    joined[-1][0] += block[0]
                else:
                    joined.append(block)
            blocks[:] = joined


@pytest.mark.parametrize("seed", range(6))
def test_against_a_naive_copy(seed: int) -> None:
    draw = random.Random(seed)
    fast, slow, alive = CachingAllocator(), Naive(), []
    for k in range(400):
        if alive and draw.random() < 0.48:
            who = alive.pop(draw.randrange(len(alive)))
            fast.give(who)
            slow.give(who)
        else:
            n = int(2 ** draw.uniform(0, 25))
            fast.take(k, n)
            slow.take(k, n)
            alive.append(k)
        assert tuple(fast.peaks) == slow.peaks

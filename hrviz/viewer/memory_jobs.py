"""Studies that several tabs of the app look at: the same is metered once, and for nobody no more.

The worker does one after another, so a study whose tab was closed would hold up all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from hrviz.cost.latency_job import LatencyJob
from hrviz.cost.study_job import StudyJob

GONE = 8.0  # seconds after which a tab that did not ask for its job is taken to be closed


class Runs(Protocol):
    """A job in the background."""

    done: bool
    cancelled: bool
    error: str | None

    def cancel(self) -> None: ...


J = TypeVar("J", bound=Runs)


@dataclass
class _Entry(Generic[J]):
    job: J
    seen: dict[Hashable, float] = field(default_factory=dict)


class Shared(Generic[J]):
    """Jobs by what they are asked, for all tabs of the server."""

    def __init__(self, most: int = 16) -> None:
        self._entries: dict[str, _Entry[J]] = {}
        self._lock = threading.Lock()
        self._most = most

    def get(self, wanted: str, tab: Hashable, make: Callable[[], J]) -> J:
        """The job that does this; a new one from `make` unless there is one that was not stopped."""
        with self._lock:
            self._sweep()
            entry = self._entries.pop(wanted, None)
            if entry is None or entry.job.cancelled or entry.job.error:
                entry = _Entry(make())
            self._entries[wanted] = entry  # the last asked for is the last forgotten
            entry.seen[tab] = time.monotonic()
            while len(self._entries) > self._most:
                oldest = self._entries.pop(next(iter(self._entries)))
                oldest.job.cancel()
            return entry.job

    def touch(self, wanted: str, tab: Hashable) -> None:
        """Say that a tab still waits for it."""
        with self._lock:
            if wanted in self._entries:
                self._entries[wanted].seen[tab] = time.monotonic()
            self._sweep()

    def leave(self, wanted: str, tab: Hashable) -> None:
        """Say that a tab does not wait any more; stops what nobody else waits for."""
        with self._lock:
            entry = self._entries.get(wanted)
            if entry is not None:
                entry.seen.pop(tab, None)
            self._sweep()

    def _sweep(self) -> None:
        now = time.monotonic()
        for wanted, entry in list(self._entries.items()):
            if entry.job.done:
                continue
            if all(now - at > GONE for at in entry.seen.values()):
                entry.job.cancel()
                del self._entries[wanted]


STUDIES: Shared[StudyJob] = Shared()
CLOCKS: Shared[LatencyJob] = Shared()

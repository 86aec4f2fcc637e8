"""Makes tiles in threads: each once however many ask, what nobody waits for any more never.

Urgent jobs go in the order they came; those whose askers have all gone (the browser moved on and
closed its request) are dropped before they start. Jobs ahead of need, the ring around what is
looked at, run one at a time and only while nothing urgent waits.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

MAX_WAITING = 4096
MAX_AHEAD = 96


class Busy(RuntimeError):
    """More tiles are asked than could be made in any useful time."""


class Job:
    """One tile on its way. `future` holds what `make` gives; `waiters` is how many want it."""

    __slots__ = ("future", "key", "make", "started", "waiters")

    def __init__(self, key: Hashable, make: Callable[[], Any]) -> None:
        self.key, self.make = key, make
        self.future: Future[Any] = Future()
        self.waiters = 0
        self.started = False


class TileWork:
    """A few threads and two queues.

    Parameters
    ----------
    threads : int, optional
        Default one a core, at least two, at most eight. Decoding and encoding release the GIL.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or max(2, min(8, os.cpu_count() or 2))
        self._condition = threading.Condition()
        self._urgent: OrderedDict[Hashable, Job] = OrderedDict()
        self._ahead: OrderedDict[Hashable, Job] = OrderedDict()
        self._running: dict[Hashable, Job] = {}
        self._running_ahead = 0
        self._workers: list[threading.Thread] = []
        self.made = self.shared = self.dropped = 0

    def submit(self, key: Hashable, make: Callable[[], Any]) -> Job:
        """A job for `key`: the one already under way, or a new one. Pair it with `leave`.

        Raises
        ------
        Busy
            Thousands of jobs are waiting.
        """
        with self._condition:
            job = self._running.get(key) or self._urgent.get(key)
            if job is None:
                job = self._ahead.pop(key, None)  # now somebody waits for it
                if job is None:
                    if len(self._urgent) >= MAX_WAITING:
                        raise Busy(f"{MAX_WAITING} tiles are waiting")
                    job = Job(key, make)
                self._urgent[key] = job
                self._wake()
            else:
                self.shared += 1
            job.waiters += 1
            return job

    def leave(self, job: Job) -> None:
        """One asker has its answer or has gone; the last one takes a waiting job with it."""
        with self._condition:
            job.waiters -= 1
            if job.waiters <= 0 and not job.started and self._urgent.pop(job.key, None) is job:
                self.dropped += 1
                job.future.cancel()

    def ahead(self, key: Hashable, make: Callable[[], Any]) -> None:
        """Make it when there is nothing better to do; the newest wishes first, old ones forgotten."""
        with self._condition:
            if key in self._running or key in self._urgent or key in self._ahead:
                return
            self._ahead[key] = Job(key, make)
            while len(self._ahead) > MAX_AHEAD:
                self._ahead.popitem(last=False)
            self._wake()

    @property
    def waiting(self) -> int:
        """Urgent jobs that have not started."""
        return len(self._urgent)

    def _wake(self) -> None:
        if len(self._workers) < self.threads:
            name = f"hrviz-tiles-{len(self._workers)}"
            worker = threading.Thread(target=self._work, name=name, daemon=True)
            self._workers.append(worker)
            worker.start()
        self._condition.notify()

    def _next(self) -> tuple[Job, bool] | None:
        if self._urgent:
            return self._urgent.popitem(last=False)[1], False
        if self._ahead and self._running_ahead == 0:
            return self._ahead.popitem(last=True)[1], True
        return None

    def _work(self) -> None:
        while True:
            with self._condition:
                while (taken := self._next()) is None:
                    self._condition.wait()
                job, ahead = taken
                job.started = True
                self._running[job.key] = job
                self._running_ahead += ahead
            try:
                result, error = job.make(), None
            except BaseException as problem:
                result, error = None, problem
            with self._condition:
                del self._running[job.key]
                self._running_ahead -= ahead
                self.made += 1
                if self._ahead or self._urgent:
                    self._condition.notify()
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)


WORK = TileWork()
"""The process's threads for tiles."""

"""What runs, studies and timings in the background share: progress, cancelling, how a worker answers.

Studies and timings run in a worker process of their own: tracing networks is pure Python, and would hold up tiles in a
thread of the server, and runs of methods in their worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from hrviz.errors import Cancelled, HrvizError

if TYPE_CHECKING:
    from hrviz.worker import WorkerProcess

log = logging.getLogger("hrviz")


@dataclass(eq=False, kw_only=True)
class Background:
    """Work done elsewhere, polled by a front end.

    Attributes
    ----------
    version : int
        Rises whenever something new is known.
    progress : float
    done, cancelled : bool
    error : str or None
        One sentence.
    """

    version: int = 0
    progress: float = 0.0
    done: bool = False
    cancelled: bool = False
    error: str | None = None
    started: float = field(default_factory=time.monotonic)
    _finished: threading.Event = field(default_factory=threading.Event, repr=False)
    _on_cancel: Callable[[], None] | None = field(default=None, repr=False)

    def cancel(self) -> None:
        """Ask it to stop; it does at its next check: a tile, a batch, a point."""
        if not self.done:
            self.cancelled = True
            if self._on_cancel is not None:
                self._on_cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is done, or for so many seconds; whether it is done."""
        return self._finished.wait(timeout)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the progress so far; None before 5 %."""
        if self.done or self.progress < 0.05:
            return None
        return (time.monotonic() - self.started) * (1 - self.progress) / self.progress

    def told(self, parts: dict[str, Any]) -> None:
        """Take in one message; `progress` and `version` follow by themselves."""
        raise TypeError(f"{type(self).__name__} takes no messages")

    def _end(self, run: Any, error: str | None) -> None:
        self.error = error
        self.done = True
        if run is not None or (error is None and not self.cancelled):
            self.progress = 1.0
        self.version += 1
        self._finished.set()


@dataclass(eq=False)
class _Follow:
    """Turns the worker's messages into the state of the work; as `hrviz.worker.Tracker` does of runs."""

    job: Background

    def step(self, parts: dict[str, Any]) -> None:
        self.job.told(parts)
        self.job.progress = parts["progress"]
        self.job.version += 1

    def end(self, answer: dict[str, Any]) -> None:
        self.job._end(None, answer.get("text"))


@cache
def process() -> WorkerProcess:
    """The worker that studies and timings share: what is timed is not held up by tracing."""
    from hrviz.worker import WorkerProcess

    return WorkerProcess()


def start(job: Background, spec: dict[str, Any]) -> None:
    """Send work to the other process; `spec` has one key that `hrviz.worker.perform` knows."""
    process().send(spec, _Follow(job))


def answer(
    work: Callable[[Callable[[], None]], None], what: str, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """The worker's side: do it, and say in one sentence what went wrong.

    Parameters
    ----------
    work : callable
        Of a function that it calls often, which raises when the work is cancelled.
    what : str
        Such as 'metering'.
    """

    def check() -> None:
        if cancelled():
            raise Cancelled

    try:
        work(check)
    except (Cancelled, BrokenPipeError):  # or the front end is gone
        return {"kind": "cancelled"}
    except HrvizError as error:
        return {"kind": "error", "text": str(error)}
    except Exception as error:
        log.exception("%s failed", what)
        return {"kind": "error", "text": f"{what} failed: {type(error).__name__}: {error}"}
    return {"kind": "done"}

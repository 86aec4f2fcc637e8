"""A study in the background, as front ends want it: progress, points as they come, budgets, cancelling.

It runs in a worker process of its own: tracing networks is pure Python, and would hold up tiles in a
thread of the server, and runs of methods in their worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from hrviz.cost import study
from hrviz.cost.curves import Fit
from hrviz.errors import Cancelled, HrvizError

if TYPE_CHECKING:
    from hrviz.worker import WorkerProcess

log = logging.getLogger("hrviz")
NORMAL = study.Setting()


@dataclass(eq=False)
class StudyJob:
    """What is known so far of a study that runs elsewhere.

    Attributes
    ----------
    study : Study
        With None where a point is not there yet.
    fits : dict of (str, int) to Fit
        Subject's name and budget in bytes to the largest image; after all points.
    version : int
        Rises whenever something new is known.
    progress : float
    done, cancelled : bool
    error : str or None
        One sentence.
    """

    study: study.Study
    budgets: tuple[int, ...]
    fits: dict[tuple[str, int], Fit] = field(default_factory=dict)
    version: int = 0
    progress: float = 0.0
    done: bool = False
    cancelled: bool = False
    error: str | None = None
    started: float = field(default_factory=time.monotonic)
    _finished: threading.Event = field(default_factory=threading.Event, repr=False)
    _on_cancel: Callable[[], None] | None = field(default=None, repr=False)

    def cancel(self) -> None:
        """Ask it to stop; it does before the next point."""
        if not self.done:
            self.cancelled = True
            if self._on_cancel is not None:
                self._on_cancel()

    def wait(self, timeout: float | None = None) -> bool:
        return self._finished.wait(timeout)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the progress so far; None before 5 %."""
        if self.done or self.progress < 0.05:
            return None
        return (time.monotonic() - self.started) * (1 - self.progress) / self.progress

    def _end(self, run: Any, error: str | None) -> None:
        self.error = error
        self.done = True
        if error is None and not self.cancelled:
            self.progress = 1.0
        self.version += 1
        self._finished.set()


@dataclass(eq=False)
class _Follow:
    """Turns the worker's messages into the state of the job; as `hrviz.worker.Tracker` does of runs."""

    job: StudyJob

    def step(self, parts: dict[str, Any]) -> None:
        job = self.job
        if "point" in parts:
            name, k = parts["name"], parts["index"]
            row = list(job.study.points[name])
            row[k] = parts["point"]
            points = {**job.study.points, name: tuple(row)}
            job.study = replace(job.study, points=points, problems=parts["problems"])
        else:
            job.fits = {**job.fits, (parts["name"], parts["budget"]): parts["fit"]}
        job.progress = parts["progress"]
        job.version += 1

    def end(self, answer: dict[str, Any]) -> None:
        self.job._end(None, answer.get("text"))


@cache
def _process() -> WorkerProcess:
    from hrviz.worker import WorkerProcess

    return WorkerProcess()


def submit(
    names: Sequence[str],
    sides: Sequence[int] = study.SIDES,
    setting: study.Setting = NORMAL,
    budgets: Sequence[int] = (),
) -> StudyJob:
    """Start a study in the background; bad input is refused at once with `HrvizError`.

    Parameters
    ----------
    names, sides, setting
        As in `hrviz.cost.study.grow`.
    budgets : sequence of int, bytes
        For each of them and each subject the largest image, after the points.
    """
    known = list(dict.fromkeys(study.find(n).name for n in names))
    if any(not b > 0 for b in budgets):
        raise HrvizError("a budget of 0 bytes or less holds nothing: choose one above 0, such as 11 GB")  # fmt: skip
    start = study.prepared(known, sides, setting)
    job = StudyJob(start, tuple(budgets))
    spec = {"study": {"names": known, "sides": start.sides, "setting": setting, "budgets": job.budgets}}  # fmt: skip
    _process().send(spec, _Follow(job))
    return job


def perform(
    spec: dict[str, Any], tell: Callable[[dict[str, Any]], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """The worker's side: every point and fit is told as it is known."""
    names, sides, budgets = spec["names"], spec["sides"], spec["budgets"]
    setting = spec["setting"]
    total = len(names) * (len(sides) + len(budgets))
    done = 0

    def check() -> None:
        if cancelled():
            raise Cancelled

    def point(found: study.Study) -> None:
        nonlocal done
        k, n = divmod(done, len(names))
        name = names[n]
        done += 1
        tell({"name": name, "index": k, "point": found.points[name][k],
              "problems": found.problems, "progress": done / total})  # fmt: skip

    try:
        found = study.grow(names, sides, setting, point, check)
        for budget in budgets:
            for name in names:
                done += 1
                if not any(found.points[name]):  # refused at every side
                    continue
                try:
                    fit = study.largest(name, budget, setting, check=check)
                except HrvizError:  # no small size that it takes
                    continue
                tell({"name": name, "budget": budget, "fit": fit, "progress": done / total})
    except Cancelled:
        return {"kind": "cancelled"}
    except HrvizError as error:
        return {"kind": "error", "text": str(error)}
    except Exception as error:
        log.exception("a study failed")
        return {"kind": "error", "text": f"metering failed: {type(error).__name__}: {error}"}
    return {"kind": "done"}

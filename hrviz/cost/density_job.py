"""`density` in the background, as front ends want it: progress, what is known so far, cancelling."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hrviz import run as runs
from hrviz.cost.density import STEP, Density, prepare, stream
from hrviz.errors import Cancelled, HrvizError
from hrviz.image import Image, open_image
from hrviz.method import Method
from hrviz.run import Job, Run

log = logging.getLogger("hrviz")
POLL = 0.05  # seconds between looks at a run


@dataclass
class DensityJob(Job):
    """A `density` in the background: its runs go where runs of front ends go (`hrviz.run.submit`).

    Attributes
    ----------
    density : Density or None
        What is known so far.
    """

    density: Density | None = None
    _asked: Density | None = field(default=None, repr=False)

    def work(self) -> None:
        """Everything, one run after another; called in a thread of its own."""
        start = self._asked
        assert start is not None
        try:
            for found in stream(start, self._one):
                self.density = found
                self.steps[STEP] = found.step
                self.progress = found.progress
                self.version += 1
            self._end(None, None)
        except Cancelled:
            self._end(None, None)
        except HrvizError as error:
            self._end(None, str(error))
        except Exception as error:
            log.exception("density of %s failed", self.method.name)
            self._end(None, f"{self.method.name} failed: {type(error).__name__}: {error}")

    def _one(self, image: Image) -> Run:
        assert self._asked is not None
        done, runs_in_all = self.progress, len(self._asked.series)
        inner = runs.submit(self.method, image, None, self.params)
        while not inner.wait(POLL):
            if self.cancelled:
                inner.cancel()
                raise Cancelled
            self.progress = max(self.progress, done + inner.progress / runs_in_all)
        if inner.error:
            raise HrvizError(inner.error)
        if inner.run is None or self.cancelled:
            raise Cancelled
        return inner.run


def submit(
    method: str | Method,
    values: Sequence[Any] | None = None,
    *,
    image: str | None = None,
    seeds: int = 1,
    params: Mapping[str, Any] | None = None,
) -> DensityJob:
    """Start a `density` in the background; bad input is refused at once with `HrvizError`."""
    found = prepare(method, values, image=image, seeds=seeds, params=params)
    region = open_image(found.series.scene.uri).box
    job = DensityJob(found.method, found.params, region, _asked=found)
    threading.Thread(target=job.work, name="hrviz-density", daemon=True).start()
    return job

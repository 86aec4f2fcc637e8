"""Runs on a dask cluster instead of the local worker process, when HRVIZ_SCHEDULER names one.

The same job description goes to a worker there; steps come back through a `distributed.Queue`,
cancelling through a `distributed.Variable`. Workers need hrviz, the image under the same address,
and, for maps of whole slides, the folder of the front end (a shared file system).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hrviz.errors import HrvizError
from hrviz.worker import Tracker, perform, specify

if TYPE_CHECKING:
    from hrviz.image import ImageView
    from hrviz.run import Job, Run

POLL = 0.25  # seconds between looks at the cancel flag: each is a round trip


class Cluster:
    """A `hrviz.worker.Remote` on a dask scheduler.

    Parameters
    ----------
    address : str
        E.g. 'tcp://scheduler:8786'.

    Raises
    ------
    HrvizError
        `distributed` is not installed, or nobody answers there.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise HrvizError(
                "HRVIZ_SCHEDULER needs 'pip install hrviz[cluster]', or unset it"
            ) from None
        try:
            self.client = Client(address, timeout=10, set_as_default=False)
        except OSError:
            raise HrvizError(
                f"no dask scheduler answers at {address}: start one or unset HRVIZ_SCHEDULER"
            ) from None

    def submit(
        self,
        job: Job,
        view: ImageView,
        focus: tuple[float, float] | None,
        remember: Callable[[Run], None],
    ) -> None:
        from distributed import Queue, Variable

        name = f"hrviz-{uuid.uuid4().hex}"
        stop = Variable(name, client=self.client)
        stop.set(False)
        job._on_cancel = lambda: stop.set(True)
        queue = Queue(name, client=self.client)
        future = self.client.submit(_on_worker, specify(job, view, focus), name, pure=False)
        tracker = Tracker(job, view, remember)
        threading.Thread(target=self._follow, args=(tracker, queue, future), daemon=True).start()

    def _follow(self, tracker: Tracker, queue: Any, future: Any) -> None:
        while True:
            try:
                kind, body = queue.get(timeout=1)
            except TimeoutError:
                if future.done() and not queue.qsize():
                    tracker.job._end(None, f"the cluster lost the job: {future.exception()}")
                    return
                continue
            if kind == "end":
                tracker.end(body)
                return
            tracker.step(body)


def _on_worker(spec: dict[str, Any], name: str) -> None:
    """On the cluster: run the job, put every step and the answer into the queue."""
    from distributed import Queue, Variable

    queue, stop = Queue(name), Variable(name)
    looked = [0.0, False]

    def cancelled() -> bool:
        if not looked[1] and time.monotonic() - looked[0] > POLL:
            looked[:] = [time.monotonic(), bool(stop.get())]
        return bool(looked[1])

    answer = perform(spec, lambda parts: queue.put(("step", parts)), cancelled)
    queue.put(("end", answer))

"""Runs on a dask cluster, when HRVIZ_SCHEDULER or `--scheduler` names one.

A method that cuts its work into items (`Context.map`) stays with the front end, and its items are
tasks of the cluster: several are under way, dask does those of a lost worker again, and results are
taken in order, so they are the same to the bit as those of a run here. Any other network goes as
one task; its steps come back through a `distributed.Queue`, cancelling through a
`distributed.Variable`. Workers need hrviz and the image under the same address; a whole task whose
map goes to disk also needs the front end's folder (a shared file system).
"""

from __future__ import annotations

import pickle
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrviz import context as surroundings
from hrviz.context import Context
from hrviz.cost import memory
from hrviz.cost.flops import counting
from hrviz.cost.operations import count
from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.worker import Tracker, perform, specify

if TYPE_CHECKING:
    from hrviz.image import Image, ImageView
    from hrviz.image.reads import ReadLog
    from hrviz.method import Method
    from hrviz.run import Job, Measured, Run

POLL = 0.25  # seconds between looks at the cancel flag: each is a round trip
PATIENCE = 30.0  # seconds without any worker before a run gives up
AHEAD = 4  # items under way for every thread of the cluster


@dataclass(frozen=True)
class Account:
    """What one item took on its worker."""

    reads: ReadLog
    operations: Mapping[str, float]
    counts: Mapping[str, float]
    networks: Mapping[str, tuple[int, str, str]]
    peak_bytes: int | None


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
        if not re.fullmatch(r"(tcp|tls|wss?|ucx)://\S+:\d+/?|inproc://\S+", address):
            raise HrvizError(
                f"{address!r} is no address of a dask scheduler: give e.g. tcp://localhost:8786"
            )
        self.address = address
        try:
            from distributed import Client
        except ImportError:
            raise HrvizError(
                "a dask scheduler needs 'pip install hrviz[cluster]', or unset HRVIZ_SCHEDULER"
            ) from None
        try:
            self.client = Client(address, timeout=10, set_as_default=False)
        except OSError:
            raise HrvizError(
                f"no dask scheduler answers at {address}: start one or unset HRVIZ_SCHEDULER"
            ) from None

    # -- a run cut into items -------------------------------------------------------------------
    def map(
        self,
        function: Callable[[ImageView, Any], Any],
        view: ImageView,
        items: Iterable[Any],
        context: Context,
    ) -> Iterator[Any]:
        """`Context.map` on the cluster.

        Raises
        ------
        HrvizError
            No workers for 30 s, a scheduler that went away, or an item that ends every worker.
        Cancelled
        """
        image = _pickled(view.image)
        source = iter(items)
        pending: deque[Any] = deque()
        try:
            while True:
                room = AHEAD * max(1, self._threads()) - len(pending)
                for item in _first(source, room):
                    pending.append(
                        self.client.submit(
                            _on_item, image, tuple(view.box), function, item, context.device,
                            pure=False,
                        )
                    )  # fmt: skip
                if not pending:
                    return
                result, account = self._result(pending[0], context)
                pending.popleft().release()
                _add(account, view, context)
                yield result
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel(list(pending), force=True)

    def _result(self, future: Any, context: Context) -> Any:
        from distributed import KilledWorker

        lonely = _Patience(self)
        while True:
            context.check()
            try:
                return future.result(timeout=POLL)
            except TimeoutError:
                lonely.check()
            except KilledWorker:
                raise HrvizError(
                    f"a batch ended every worker of {self.address} that tried it (most often for "
                    "want of memory): choose a smaller batch or patch, or give workers more memory"
                ) from None
            except ImportError as error:
                raise HrvizError(
                    f"the workers of {self.address} have no {error.name}: install hrviz there as "
                    "here"
                ) from None

    def _threads(self) -> int:
        """Threads of all workers now."""
        try:
            return sum(self.client.nthreads().values())
        except Exception:
            raise HrvizError(
                f"the dask scheduler at {self.address} went away: start it and apply again"
            ) from None

    # -- a run as one task ----------------------------------------------------------------------
    def submit(
        self,
        job: Job,
        view: ImageView,
        focus: tuple[float, float] | None,
        remember: Callable[[Run], None],
    ) -> None:
        from hrviz import run

        if run.is_spread(job.method):
            context = Context(
                device=specify(job, view, focus)["device"], cancelled=lambda: job.cancelled,
                focus=focus, scheduler=self.address,
            )  # fmt: skip
            threading.Thread(
                target=run._run_in_thread, args=(job, view, focus, context), daemon=True
            ).start()
            return
        follow = self._start(Tracker(job, view, remember), focus)
        threading.Thread(target=follow, daemon=True).start()

    def apply(
        self,
        method: Method,
        view: ImageView,
        params: dict[str, Any],
        context: Context,
        on_step: Callable[[Measured], None] | None,
    ) -> Run:
        """Run a method as one task of the cluster, and wait for it.

        Raises
        ------
        HrvizError
            What the method says, or what became of the cluster.
        Cancelled
        """
        from hrviz.run import Job

        job = Job(method, params, view.box)
        follow = self._start(_Telling(job, view, on_step), context.focus, context.device)
        try:
            follow(context.cancelled)
        except BaseException:
            job.cancel()
            raise
        if job.run is not None:
            return job.run
        raise HrvizError(job.error) if job.error else Cancelled

    def _start(
        self, tracker: Tracker, focus: tuple[float, float] | None, device: str | None = None
    ) -> Callable[..., None]:
        """Send a job off; returns what follows it to its end."""
        from distributed import Queue, Variable

        job = tracker.job
        name = f"hrviz-{uuid.uuid4().hex}"
        stop = Variable(name, client=self.client)
        stop.set(False)
        job._on_cancel = lambda: stop.set(True)
        queue = Queue(name, client=self.client)
        spec = specify(job, tracker.view, focus)
        spec["image"] = _absolute(spec["image"])
        spec["device"] = device or spec["device"]
        future = self.client.submit(_on_worker, spec, name, pure=False)

        def follow(cancelled: Callable[[], bool] = lambda: False) -> None:
            try:
                self._follow(tracker, queue, future, cancelled)
            except HrvizError as error:
                job._end(None, str(error))

        return follow

    def _follow(
        self, tracker: Tracker, queue: Any, future: Any, cancelled: Callable[[], bool]
    ) -> None:
        from hrviz.run import Recorder

        lonely = _Patience(self)
        while True:
            if cancelled():
                tracker.job.cancel()
            try:
                kind, body = pickle.loads(queue.get(timeout=1))
            except TimeoutError:
                if future.done() and not queue.qsize():
                    tracker.job._end(None, f"the cluster lost the job: {future.exception()}")
                    return
                lonely.check()
                continue
            if kind == "end":
                tracker.end(body)
                return
            if kind == "begin":  # again, if its worker was lost
                tracker.recorder = Recorder()
            else:
                tracker.step(body)


class _Patience:
    """Waits for workers, but not for ever."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.since = cluster, time.monotonic()

    def check(self) -> None:
        if self.cluster._threads():
            self.since = time.monotonic()
        elif time.monotonic() - self.since > PATIENCE:
            raise HrvizError(
                f"the dask scheduler at {self.cluster.address} has no workers: start some with "
                f"'dask worker {self.cluster.address}' and apply again"
            )


class _Telling(Tracker):
    """A tracker that tells the steps to somebody besides."""

    def __init__(
        self, job: Job, view: ImageView, on_step: Callable[[Measured], None] | None
    ) -> None:
        super().__init__(job, view, lambda run: None)
        self.on_step = on_step

    def step(self, parts: dict[str, Any]) -> None:
        from hrviz.worker import unpack

        super().step(parts)
        if self.on_step is not None:
            self.on_step(unpack(parts))


_CONNECTED: dict[str, Cluster] = {}


def connect(address: str) -> Cluster:
    """The cluster at an address, connected once a process.

    Raises
    ------
    HrvizError
        When nobody answers there.
    """
    known = _CONNECTED.get(address)
    if known is None or known.client.status != "running":
        known = _CONNECTED[address] = Cluster(address)
    return known


def _first(source: Iterator[Any], n: int) -> Iterator[Any]:
    for _ in range(n):
        try:
            yield next(source)
        except StopIteration:
            return


def _add(account: Account, view: ImageView, context: Context) -> None:
    """Enter what an item took on its worker, as if it had run here."""
    view.reads.merge(account.reads)
    for operator, flops in account.operations.items():
        count(operator, flops)
    for name, amount in account.counts.items():
        if name == "network_memory":  # a maximum, not a sum
            context.counts[name] = max(context.counts.get(name, 0.0), amount)
        else:
            context.add(name, amount)
    context.networks.update(account.networks)
    if account.peak_bytes is not None:
        peak = context.counts.get("worker_memory", 0.0)
        context.counts["worker_memory"] = max(peak, account.peak_bytes)


def _absolute(uri: str) -> str:
    """An address that means the same in another process's folder."""
    from hrviz.image.readers import sniff, split_address

    base = split_address(uri)[0]
    if base.startswith(("scene:", "data:")) or sniff.is_address(base):
        return uri
    return str(Path(base).expanduser().absolute()) + uri[len(base) :]


def _pickled(image: Image) -> bytes:
    """How workers open an image: by its address, with the channels that are shown."""
    make, (uri, *settings) = image.__reduce__()
    return pickle.dumps((image.identity, make, (_absolute(uri), *settings)))


# -- on the workers -----------------------------------------------------------------------------
@lru_cache(maxsize=8)
def _opened(image: bytes) -> Image:
    """An image kept open between items; a changed file has another identity."""
    _, make, arguments = pickle.loads(image)
    opened: Image = make(*arguments)
    return opened


def _on_item(
    image: bytes,
    box: tuple[float, float, float, float],
    function: Callable[[ImageView, Any], Any],
    item: Any,
    device: str,
) -> tuple[Any, Account]:
    """One item of `Cluster.map`, with what it took."""
    view = _opened(image).view(Box(*box))
    context = Context(device=device)
    memory.load_torch()
    start = memory.resident_bytes()
    can_reset = memory.reset_peak()
    token = surroundings._CONTEXT.set(context)
    try:
        with counting(True) as operations:
            result = function(view, item)
    finally:
        surroundings._CONTEXT.reset(token)
    peak = memory.peak_bytes() if can_reset else None
    rise = None if peak is None or start is None else max(0, peak - start)
    return result, Account(view.reads, operations, context.counts, context.networks, rise)


def _on_worker(spec: dict[str, Any], name: str) -> None:
    """A whole job: put every step and the answer into the queue."""
    from distributed import Queue, Variable

    queue, stop = Queue(name), Variable(name)
    looked = [0.0, False]

    def tell(kind: str, body: Any) -> None:
        queue.put(pickle.dumps((kind, body)))  # left to itself, it makes lists of our tuples

    tell("begin", None)

    def cancelled() -> bool:
        if not looked[1] and time.monotonic() - looked[0] > POLL:
            looked[:] = [time.monotonic(), bool(stop.get())]
        return bool(looked[1])

    tell("end", perform(spec, lambda parts: tell("step", parts), cancelled))

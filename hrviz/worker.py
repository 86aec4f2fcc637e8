"""The process that networks run in, so that the server's threads stay free for tiles.

One worker is kept warm: `python -m hrviz.worker`, spoken to over its pipes with length-prefixed
pickles of our own (both ends are this program). It runs one job at a time; a cancelled one stops at
its next check. If HRVIZ_SCHEDULER names a dask scheduler, jobs go there instead (`hrviz.cluster`).
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.results import Cost, ReadMap, Result, Step

if TYPE_CHECKING:
    from hrviz.image import ImageView
    from hrviz.run import Job, Measured, Run

log = logging.getLogger("hrviz")


class Remote(Protocol):
    """Somewhere else to run: the worker process, or a cluster."""

    def submit(
        self,
        job: Job,
        view: ImageView,
        focus: tuple[float, float] | None,
        remember: Callable[[Run], None],
    ) -> None: ...


def _send(pipe: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message, protocol=5)
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


def pack(m: Measured) -> dict[str, Any]:
    """A measured step as plain parts (a Zarr canvas goes by its address)."""
    return {
        "name": m.step.name, "note": m.step.note, "progress": m.step.progress,
        "parts": m.step.result.to_parts(), "seconds": m.seconds, "flops": m.flops,
        "peak_bytes": m.peak_bytes,
    }  # fmt: skip


def unpack(parts: dict[str, Any]) -> Measured:
    """The inverse of `pack`."""
    from hrviz.run import Measured

    step = Step(parts["name"], Result.from_parts(*parts["parts"]), parts["note"], parts["progress"])
    return Measured(step, parts["seconds"], parts["flops"], parts["peak_bytes"])


def perform(
    spec: dict[str, Any], tell: Callable[[dict[str, Any]], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run the job that `spec` describes, telling every step; the answer ends the job."""
    if "study" in spec:
        from hrviz.cost import study_job

        return study_job.perform(spec["study"], tell, cancelled)
    if "latency" in spec:
        from hrviz.cost import latency_job

        return latency_job.perform(spec["latency"], tell, cancelled)
    from hrviz.context import Context
    from hrviz.run import apply

    context = Context(
        device=spec["device"], cancelled=cancelled, focus=spec["focus"], folder=spec["folder"]
    )
    try:
        image = _open(spec["image"], spec["identity"])
        if spec["channels"] is not None:
            image = image.with_channels(*spec["channels"])
        run = apply(
            spec["method"], image.view(Box(*spec["region"])), context=context,
            on_step=lambda m: tell(pack(m)), **spec["params"],
        )  # fmt: skip
    except Cancelled:
        return {"kind": "cancelled"}
    except HrvizError as error:
        return {"kind": "error", "text": str(error)}
    except Exception as error:
        log.exception("%s failed", spec["method"])
        return {
            "kind": "error",
            "text": f"{spec['method']} failed: {type(error).__name__}: {error}",
        }
    return {"kind": "done", "cost": run.cost.to_parts(), "reads": run.reads.to_parts()}


@lru_cache(maxsize=8)
def _open(uri: str, identity: str) -> Any:
    """An image kept open between jobs; a changed file has another identity and is opened again."""
    from hrviz.image import open_image

    return open_image(uri)


def specify(job: Job, view: ImageView, focus: tuple[float, float] | None) -> dict[str, Any]:
    """What a remote needs to run a job, as plain values."""
    from hrviz.run import workspace

    return {
        "method": job.method.name, "image": view.image.uri, "identity": view.image.identity,
        "channels": view.image.channel_choice, "region": tuple(view.box),
        "params": job.params, "focus": focus, "folder": workspace(),
        "device": os.environ.get("HRVIZ_DEVICE", "cpu"),
    }  # fmt: skip


class Follows(Protocol):
    """Turns the messages of a remote job into the state of what a front end polls."""

    job: Any

    def step(self, parts: dict[str, Any]) -> None: ...

    def end(self, answer: dict[str, Any]) -> None: ...


class Tracker:
    """Turns the messages of one remote job into the state of its `Job`."""

    def __init__(self, job: Job, view: ImageView, remember: Callable[[Run], None]) -> None:
        from hrviz.run import Recorder

        self.job, self.view, self.remember = job, view, remember
        self.recorder = Recorder()

    def step(self, parts: dict[str, Any]) -> None:
        m = unpack(parts)
        self.recorder.add(m)
        self.job._step(m)

    def end(self, answer: dict[str, Any]) -> None:
        from hrviz.run import Run

        if answer["kind"] != "done":
            self.job._end(None, answer.get("text"))
            return
        cost, reads = (Result.from_parts(*answer[k]) for k in ("cost", "reads"))
        assert isinstance(cost, Cost) and isinstance(reads, ReadMap)
        run = Run(
            self.job.method, self.view.image.uri, self.view.box, self.job.params,
            tuple(self.recorder.measured.values()), cost, reads,
        )  # fmt: skip
        self.remember(run)
        self.job._end(run, None)


class WorkerProcess:
    """The front side: starts the process when first needed, restarts it when it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._jobs: dict[int, tuple[subprocess.Popen[bytes], Follows]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """The running process; importing torch there takes seconds, so start it early."""
        with self._lock:
            return self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            if self._process is None:
                atexit.register(self.stop)
            process = subprocess.Popen(
                [sys.executable, "-m", "hrviz.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._process = process
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return self._process

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def submit(
        self,
        job: Job,
        view: ImageView,
        focus: tuple[float, float] | None,
        remember: Callable[[Run], None],
    ) -> None:
        self.send(specify(job, view, focus), Tracker(job, view, remember))

    def send(self, spec: dict[str, Any], tracker: Follows) -> None:
        """Start the job that `spec` describes; its messages go to `tracker`."""
        number = next(self._ids)
        with self._lock:
            process = self._start()
            self._jobs[number] = process, tracker
        tracker.job._on_cancel = lambda: self._tell(process, ("cancel", number))
        self._tell(process, ("run", number, spec))

    def _tell(self, process: subprocess.Popen[bytes], message: Any) -> None:
        try:
            with self._lock:
                assert process.stdin is not None
                _send(process.stdin, message)  # type: ignore[arg-type]
        except OSError:
            self._lose(process)

    def _lose(self, process: subprocess.Popen[bytes]) -> None:
        """Fail the jobs of a process that ended, and only those: a new one may run already."""
        with self._lock:
            lost = {n: tracker for n, (owner, tracker) in self._jobs.items() if owner is process}
            for number in lost:
                del self._jobs[number]
            if self._process is process:
                self._process = None
        for tracker in lost.values():
            tracker.job._end(
                None,
                "the worker process stopped (most often it ran out of memory): choose a smaller "
                "output or region and apply again",
            )

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        try:
            while True:
                kind, number, body = _receive(process.stdout)  # type: ignore[arg-type]
                if number not in self._jobs:
                    continue
                _, tracker = self._jobs[number]
                try:
                    if kind == "step":
                        tracker.step(body)
                        continue
                    tracker.end(body)
                except Exception as error:
                    log.exception("a result could not be read")
                    tracker.job._end(None, f"the result could not be read: {error}")
                with self._lock:
                    self._jobs.pop(number, None)
        except (EOFError, OSError):
            self._lose(process)
            process.wait()


@cache
def remote() -> Remote:
    """Where networks run: the cluster HRVIZ_SCHEDULER names, else the worker process."""
    address = os.environ.get("HRVIZ_SCHEDULER")
    if address:
        from hrviz.cluster import Cluster

        return Cluster(address)
    return WorkerProcess()


def main() -> None:
    """The worker's side: read jobs and cancellations, run jobs one by one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the front end, which then stops us
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up between the messages
    sys.stdout = sys.stderr
    jobs: queue.Queue[tuple[int, dict[str, Any]] | None] = queue.Queue()
    stopped: set[int] = set()

    def read() -> None:
        try:
            while True:
                kind, number, *rest = _receive(sys.stdin.buffer)
                if kind == "run":
                    jobs.put((number, rest[0]))
                else:
                    stopped.add(number)
        except (EOFError, OSError):
            jobs.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        import torch

        torch.set_num_threads(int(os.environ.get("HRVIZ_THREADS", min(4, os.cpu_count() or 1))))
    except ImportError:
        pass
    while (job := jobs.get()) is not None:
        number, spec = job

        def tell(parts: dict[str, Any], number: int = number) -> None:
            _send(out, ("step", number, parts))

        def cancelled(number: int = number) -> bool:
            return number in stopped

        answer = {"kind": "cancelled"} if cancelled() else perform(spec, tell, cancelled)
        try:
            _send(out, ("end", number, answer))
        except BrokenPipeError:  # the front end is gone
            return


if __name__ == "__main__":
    main()

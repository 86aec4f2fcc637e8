"""Runs methods: binds parameters, times and measures every step, counts reads, caches, cancels.

`apply` runs here and now. `submit` runs in the background (closed-form methods in a thread,
networks in a worker process) and gives a `Job` that front ends poll. `compare` runs several methods
on one region and tabulates them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hrviz import context as surroundings
from hrviz.context import Context
from hrviz.cost import memory
from hrviz.cost.background import Background
from hrviz.cost.flops import counting
from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.image import Image, ImageView, open_image
from hrviz.method import METHODS, Method
from hrviz.results import Cost, Quantity, ReadMap, Step, json_text, write_whole

log = logging.getLogger("hrviz")


@dataclass(frozen=True)
class Measured:
    """A step with what it took: seconds, FLOPs, rise of resident memory (None if not known)."""

    step: Step
    seconds: float
    flops: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    method : Method
    image : str
        Address of the image.
    region : Box
        What the method ran on, level-0 pixels.
    params : dict
        All parameters, as used.
    measured : tuple of Measured
        Every step's last state, in order.
    cost : Cost
    reads : ReadMap
    cached : bool
        Whether it came from the cache (its cost is then that of the first time).
    """

    method: Method
    image: str
    region: Box
    params: dict[str, Any]
    measured: tuple[Measured, ...]
    cost: Cost
    reads: ReadMap
    cached: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(m.step for m in self.measured)

    def __getitem__(self, name: str) -> Any:
        """The result of the step called `name`."""
        for step in self.steps:
            if step.name == name:
                return step.result
        raise KeyError(f"{self.method.name} has no step {name!r}: {[s.name for s in self.steps]}")

    def describe(self) -> dict[str, Any]:
        """JSON-able: what `hrviz apply --json` prints."""
        return {
            "method": self.method.name,
            "image": self.image,
            "region": self.region.format(),
            "params": self.params,
            "steps": [
                {
                    "name": m.step.name,
                    "type": type(m.step.result).__name__,
                    "note": m.step.note,
                    "seconds": round(m.seconds, 6),
                    "flops": m.flops,
                    "summary": m.step.result.summary(),
                }
                for m in self.measured
            ],
            "cost": self.cost.summary(),
            "reads": self.reads.summary(),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write run.json, every step's result (JSON + npz) and a picture of each (PNG)."""
        from hrviz.views import mpl

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number, step in enumerate(self.steps):
                stem = f"{number:02d}-{step.name.replace(' ', '-')}"
                step.result.save(folder / stem)
                mpl.save(step.result, folder / f"{stem}.png")
            text = json_text(self.describe())
            write_whole(folder / "run.json", lambda file: file.write(text.encode()))
        except OSError as error:
            raise HrvizError(
                f"cannot write to {folder}: {error.strerror}; choose another folder"
            ) from None
        return folder

    def _repr_html_(self) -> str:
        from hrviz.views import mpl

        return mpl.run_html(self)


def key(
    method: Method, image: Image, region: Box, params: Mapping[str, Any], device: str = "cpu"
) -> str:
    """Content address of a run: image identity, method, parameters, weights, device."""
    from hrviz.nets import fingerprint

    files = [
        Path(v).expanduser().stat().st_mtime_ns
        for p in method.params
        if p.kind == "file" and (v := params[p.name])
    ]
    parts = [
        image.identity, method.name, list(region), sorted(params.items()), files, fingerprint(), device,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


class _RunCache:
    """The last runs, bounded in number and bytes."""

    def __init__(self, count: int = 64, max_bytes: int = 2**28) -> None:
        self.count, self.max_bytes = count, max_bytes
        self._runs: OrderedDict[str, tuple[Run, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Run | None:
        with self._lock:
            if name not in self._runs:
                return None
            self._runs.move_to_end(name)
            run = self._runs[name][0]
        return Run(**{**vars(run), "cached": True})

    def put(self, name: str, run: Run) -> None:
        size = sum(sum(a.nbytes for a in s.result.to_parts()[1].values()) for s in run.steps)
        with self._lock:
            self._runs[name] = (run, size)
            while len(self._runs) > self.count or (
                len(self._runs) > 1 and sum(s for _, s in self._runs.values()) > self.max_bytes
            ):
                self._runs.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._runs.clear()


CACHE = _RunCache()


@cache
def workspace() -> Path:
    """Folder of this process for Zarr canvases; removed when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="hrviz-", ignore_cleanup_errors=True)
    _KEEP.append(folder)
    return Path(folder.name)


_KEEP: list[Any] = []  # the folder lives as long as its TemporaryDirectory object


def stream(
    method: Method, view: ImageView, params: Mapping[str, Any], context: Context
) -> Iterator[Measured]:
    """Run a method on a view, yielding each step with what it took.

    The context is set only while the method works, never while the caller does, so that several
    streams may be interleaved. Raises `Cancelled` when the context says so.
    """
    bound = method.bind(params)
    network = method.network(bound)
    if network:
        memory.load_torch()
    steps = method.function(view, **bound)
    start = memory.resident_bytes()
    try:
        while True:
            context.check()
            can_reset = memory.reset_peak()
            token = surroundings._CONTEXT.set(context)
            clock = time.perf_counter()
            try:
                with counting(network) as operations:
                    step = next(steps, None)
            finally:
                surroundings._CONTEXT.reset(token)
            seconds = time.perf_counter() - clock
            peak = memory.peak_bytes() if can_reset else None
            rise = None if peak is None or start is None else max(0, peak - start)
            if step is None:
                return
            yield Measured(step, seconds, sum(operations.values()), rise)
    finally:
        steps.close()  # type: ignore[attr-defined]


class Recorder:
    """Collects measured steps into a `Run`: the last state of each name, costs added up."""

    def __init__(self) -> None:
        self.measured: OrderedDict[str, Measured] = OrderedDict()
        self.peak: int | None = None

    def add(self, m: Measured) -> None:
        before = self.measured.get(m.step.name)
        if before is not None:
            peaks = [p for p in (before.peak_bytes, m.peak_bytes) if p is not None]
            m = Measured(
                m.step, m.seconds + before.seconds, m.flops + before.flops, max(peaks, default=None)
            )
        self.measured[m.step.name] = m
        if m.peak_bytes is not None:
            self.peak = max(self.peak or 0, m.peak_bytes)

    def cost(self, view: ImageView, context: Context) -> Cost:
        total = [
            Quantity("seconds", sum(m.seconds for m in self.measured.values()), "s", "measured"),
            Quantity(
                "flops", sum(m.flops for m in self.measured.values()), "FLOP", "measured",
                "operators counted as they ran; 1 MAC = 2 FLOP",
            ),
            Quantity("pixels_read", view.reads.pixels_read, "px", "measured", "distinct stored tiles"),
            Quantity("pixels_requested", view.reads.pixels_requested, "px", "measured"),
            Quantity("tiles_read", view.reads.tiles_read, "tiles", "measured"),
        ]  # fmt: skip
        if self.peak is not None:
            total.append(
                Quantity(
                    "peak_memory",
                    self.peak,
                    "B",
                    "measured",
                    "rise of the process's resident memory",
                )
            )
        if context.networks:
            parameters = sum(n for n, _, _ in context.networks.values())
            names = ", ".join(context.networks)
            total.append(Quantity("parameters", parameters, "", "measured", names))
        for name, unit, tag, note in (
            ("network_pixels", "px", "measured", "pixels that went through the task network"),
            (
                "network_memory",
                "B",
                "predicted",
                "largest network call, fp32, without allocator rounding",
            ),
            (
                "worker_memory",
                "B",
                "measured",
                "largest rise of a cluster worker's resident memory in one batch",
            ),
        ):
            if name in context.counts:
                total.append(Quantity(name, context.counts[name], unit, tag, note))  # type: ignore[arg-type]
        return Cost(tuple(total), device=context.device)


def _view(image: Image | ImageView | str | os.PathLike[str], region: Any) -> ImageView:
    if isinstance(image, ImageView):
        return ImageView(image.image, image.box if region is None else region)
    if not isinstance(image, Image):
        image = open_image(image)
    if isinstance(region, str):
        region = Box.parse(region)
    return ImageView(image, region)


def apply(
    method: str | Method,
    image: Image | ImageView | str | os.PathLike[str],
    region: Box | tuple[float, float, float, float] | str | None = None,
    *,
    on_step: Callable[[Measured], None] | None = None,
    context: Context | None = None,
    **params: Any,
) -> Run:
    """Run one method here and now.

    Parameters
    ----------
    method : str
        Name or alias, e.g. 'saliency-sampler' or 'learning-to-zoom'.
    image : Image, ImageView or address
    region : Box, optional
        (y0, x0, y1, x1), or text 'x,y,w,h', in level-0 pixels; default the whole image.
    on_step : callable, optional
        Told every step as it comes.
    context : Context, optional
        Device, cancellation, folder, and the dask scheduler whose workers run the networks.
        Default: the CPU, and the scheduler that HRVIZ_SCHEDULER names, if any.
    **params
        The method's parameters.

    Returns
    -------
    Run

    Raises
    ------
    HrvizError
        One sentence, when an input cannot be used.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("uniform-downsampling", "scene:tissue?size=4096x4096", task="none", size=256)
    >>> run["downsampled"].array.shape
    (256, 256, 3)
    """
    found = METHODS.find(method)
    view = _view(image, region)
    bound = found.bind(params)
    context = context or Context(scheduler=os.environ.get("HRVIZ_SCHEDULER"))
    name = key(found, view.image, view.box, bound, context.device)
    if (cached := CACHE.get(name)) is not None:
        for m in cached.measured if on_step else ():
            on_step(m)  # type: ignore[misc]
        return cached
    context.folder = context.folder or workspace()
    if context.scheduler and found.network(bound):
        from hrviz.cluster import connect

        cluster = connect(context.scheduler)
        if not is_spread(found):
            run = cluster.apply(found, view, bound, context, on_step)
            CACHE.put(name, run)
            return run
        context.elsewhere = cluster.map
    recorder = Recorder()
    for m in stream(found, view, bound, context):
        recorder.add(m)
        if on_step is not None:
            on_step(m)
    run = Run(
        found, view.image.uri, view.box, bound, tuple(recorder.measured.values()),
        recorder.cost(view, context), ReadMap.from_log(view.reads),
    )  # fmt: skip
    CACHE.put(name, run)
    return run


def is_spread(method: Method) -> bool:
    """Whether a method cuts its work into items that a cluster runs (`hrviz.context.spread`)."""
    return bool(getattr(method.function, "spread", False))


# --------------------------------------------------------------------------- background
@dataclass
class Job(Background):
    """A run in the background, polled by a front end.

    Attributes
    ----------
    steps : dict of str to Step
        Latest state of each step, in order; `version` rises with each. Of `progress`, finished steps count
        whole, the running one by its own.
    run : Run or None
        When it ended well.
    """

    method: Method
    params: dict[str, Any]
    region: Box
    steps: dict[str, Step] = field(default_factory=dict)
    run: Run | None = None

    def _step(self, m: Measured) -> None:
        self.steps[m.step.name] = m.step
        self.progress = m.step.progress if m.step.progress < 1 else self.progress
        self.version += 1

    def _end(self, run: Run | None, error: str | None) -> None:
        self.run = run
        if run is not None:
            self.steps = {s.name: s for s in run.steps}
        super()._end(run, error)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="hrviz-run")


def submit(
    method: str | Method,
    image: Image,
    region: Box | tuple[float, float, float, float] | None = None,
    params: Mapping[str, Any] | None = None,
    focus: tuple[float, float] | None = None,
) -> Job:
    """Run a method in the background; bad input is refused at once with `HrvizError`.

    Networks run in a worker process (or on the dask cluster that HRVIZ_SCHEDULER names), so that
    tiles keep flowing; the rest in a thread.
    """
    found = METHODS.find(method)
    view = _view(image, region)
    bound = found.bind(params or {})
    job = Job(found, bound, view.box)
    network = found.network(bound)
    device = os.environ.get("HRVIZ_DEVICE", "cpu") if network else "cpu"
    name = key(found, view.image, view.box, bound, device)
    if (cached := CACHE.get(name)) is not None:
        job._end(cached, None)
        return job
    if network:
        from hrviz.worker import remote

        def remember(run: Run) -> None:
            CACHE.put(name, run)

        remote().submit(job, view, focus, remember)
        return job
    _threads().submit(_run_in_thread, job, view, focus)
    return job


def _run_in_thread(
    job: Job,
    view: ImageView,
    focus: tuple[float, float] | None,
    context: Context | None = None,
) -> None:
    context = context or Context(cancelled=lambda: job.cancelled, focus=focus)
    try:
        job._end(apply(job.method, view, on_step=job._step, context=context, **job.params), None)
    except Cancelled:
        job._end(None, None)
    except HrvizError as error:
        job._end(None, str(error))
    except Exception as error:
        log.exception("%s failed", job.method.name)
        job._end(None, f"{job.method.name} failed: {type(error).__name__}: {error}")


# --------------------------------------------------------------------------- comparing
@dataclass(frozen=True)
class Comparison:
    """Several runs on one region."""

    runs: tuple[Run, ...]

    def table(self) -> list[dict[str, Any]]:
        """One row a run: the method, its scores against truth where known, its costs."""
        rows = []
        for run in self.runs:
            row: dict[str, Any] = {"method": run.method.name}
            for step in run.steps:
                if step.name == "score":
                    row |= step.result.summary()
            row |= {q.name: q.value for q in run.cost.quantities}
            rows.append(row)
        return rows

    def describe(self) -> dict[str, Any]:
        return {"runs": [run.describe() for run in self.runs], "table": self.table()}

    def _repr_html_(self) -> str:
        from hrviz.views import mpl

        return mpl.comparison_html(self)


def compare(
    image: Image | ImageView | str | os.PathLike[str],
    methods: Sequence[str | Method],
    region: Box | tuple[float, float, float, float] | str | None = None,
    *,
    device: str = "cpu",
    scheduler: str | None = None,
    **params: Any,
) -> Comparison:
    """Run several methods on one region; a parameter goes to every method that has it.

    Networks run on `device`; on the workers of a dask cluster when `scheduler`, or else
    HRVIZ_SCHEDULER, names one.

    Raises
    ------
    HrvizError
        Also when a parameter belongs to none of the methods.
    """
    if not methods:
        raise HrvizError(f"nothing to compare: name at least one of {', '.join(METHODS)}")
    found = [METHODS.find(m) for m in methods]
    for name in params:
        if not any(name == p.name for m in found for p in m.params):
            raise HrvizError(f"none of {', '.join(m.name for m in found)} has a parameter {name!r}")
    view = _view(image, region)
    bound = [m.bind({k: v for k, v in params.items() if k in m.defaults}) for m in found]
    scheduler = scheduler or os.environ.get("HRVIZ_SCHEDULER")
    return Comparison(
        tuple(
            apply(m, view, context=Context(device=device, scheduler=scheduler), **b)
            for m, b in zip(found, bound, strict=True)
        )
    )

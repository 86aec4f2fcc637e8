"""How long networks and methods take on the device at hand: measured, never extrapolated.

A network is built without trained weights and fed random numbers: time depends on shapes alone. Of
a method, the calls that its cost model declares are timed one by one and added up, each as often as it is
made; reading the image and the method's own arithmetic are not in it. A side whose predicted memory
is not free, or that would take longer than a bound judged from the side before, is left out, and its
row says why.

Notes
-----
On a CPU the time is that of the threads which torch may use, with whatever else runs there. On CUDA the
device is waited for before the clock is read.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.cost import study
from hrviz.cost.study import Point, Setting
from hrviz.errors import HrvizError
from hrviz.results import Curve

if TYPE_CHECKING:
    import torch
    from torch import nn

    from hrviz.cost.study import Part

DEFAULT = Setting()
SECONDS = 20.0  # a side may take, all its passes together
REPEATS, WARM_UP = 5, 2
PROBE = 256  # px: a side whose time is known to be short, by which the first is judged
#: kernels on a CPU were seen to take up to half of their tensors' memory beside it
SPARE = 1.5


@dataclass(frozen=True)
class Latency:
    """Time of one subject at one side.

    Parameters
    ----------
    subject : str
    side : int, px
    median, low, high : float, s
        Over the repeats; low is the fastest, high the slowest. nan where it was left out.
    repeats : int
        Timed passes; fewer than asked for where the bound of time was reached, 0 where left out.
    device : str
        What it was measured on.
    reason : str
        One sentence: why it was left out; '' where it was not.
    """

    subject: str
    side: int
    median: float
    low: float
    high: float
    repeats: int
    device: str
    reason: str = ""

    def summary(self) -> dict[str, Any]:
        """JSON-able: nothing where there is no time."""
        out = asdict(self) | {"tag": "measured"}
        return {k: None if v != v else v for k, v in out.items()}


def latency(
    name: str,
    sides: Sequence[int] = study.SIDES,
    setting: Setting = DEFAULT,
    *,
    repeats: int = REPEATS,
    warm_up: int = WARM_UP,
    seconds: float = SECONDS,
    device: str = "",
    on_point: Callable[[Latency], None] | None = None,
    check: Callable[[], None] | None = None,
) -> list[Latency]:
    """Time a network or a method at several sides of a square image.

    Parameters
    ----------
    name : str
        As in `hrviz.cost.study`.
    sides : sequence of int, px
        A network whose stride does not divide a side is timed at the nearest multiple, which its row
        says.
    setting : Setting
    repeats, warm_up : int
        Timed passes, and passes before them that are not timed.
    seconds : float
        Bound on all passes of a side together. A side expected to take longer is left out.
    device : str
        Torch device; '' for CUDA where there is one, else the CPU.
    on_point : callable, optional
        Told each row as it is known.
    check : callable, optional
        Called before each pass; raises to cancel.

    Returns
    -------
    list of Latency
        One a side, the smallest first.

    Raises
    ------
    HrvizError
        One sentence: no such subject or device, repeats below 1, what `study` refuses.

    Examples
    --------
    >>> row, = latency("efficientnet-b0", (32,), repeats=2, device="cpu")
    >>> row.side, row.repeats, 0 < row.low <= row.median <= row.high < 20
    (32, 2, True)
    """
    for what, value, least in (("repeats", repeats, 1), ("warm_up", warm_up, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise HrvizError(f"{what}={value} is out of range: choose a whole number from {least}")
    if not seconds > 0:
        raise HrvizError(f"seconds={seconds:g} is out of range: choose more than 0")
    asked = study.prepared([name], sides, setting)
    (subject,) = asked.points
    clock = _Clock(subject, setting, _device(device), repeats, warm_up, seconds, check)
    out = []
    for side in asked.sides:
        row = clock.at(side)
        out.append(row)
        if on_point is not None:
            on_point(row)
    return out


def curve(sides: Sequence[int], rows: Sequence[Latency]) -> Curve:
    """Rows as a result that every front end draws; one line a subject and device, with its band.

    Parameters
    ----------
    sides : sequence of int, px
        The x axis; nan where there is no row, or one that was left out.
    rows : sequence of Latency
        At least one.
    """
    x = np.array(sorted({*sides, *(r.side for r in rows)}), float)
    series: dict[str, np.ndarray] = {}
    bands: dict[str, np.ndarray] = {}
    for row in rows:
        line = f"{row.subject} on {row.device}"
        y = series.setdefault(line, np.full(len(x), math.nan))
        ends = bands.setdefault(line, np.full((len(x), 2), math.nan))
        k = int(np.searchsorted(x, row.side))
        y[k], ends[k] = row.median, (row.low, row.high)
    return Curve(x, series, "side of the image (px)", "time (s)", log=True, tag="measured", bands=bands)  # fmt: skip


def describe(device: str) -> str:
    """What a torch device is, for people: a GPU's name, or the processor with its threads."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads != 1)}"


def free_bytes(device: str) -> float:
    """Memory that can still be taken; inf where the system does not tell.

    On a CPU, of the machine and of the control group that this process is in, whichever is less.
    """
    import torch

    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
        return float(free + reserved - used)
    found = [math.inf]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(float(line.split()[1]) * 1024)
    except OSError:
        pass
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(max(0.0, float(limit) - float((group / "memory.current").read_text())))
    except (OSError, ValueError):
        pass
    return min(found)


class _Left(Exception):
    """Why a side is left out, in one sentence."""


class _Clock:
    """Times one subject, side after side."""

    def __init__(
        self, subject: str, setting: Setting, device: str, repeats: int, warm_up: int,
        seconds: float, check: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        self.subject, self.setting, self.device = subject, setting, device
        self.repeats, self.warm_up, self.seconds = repeats, warm_up, seconds
        self.check = check or (lambda: None)
        self.name = describe(device)
        self.before: tuple[Point, float] | None = None  # and seconds of one pass there

    def at(self, side: int) -> Latency:
        """The row of one side."""
        self.check()
        side = self._near(side)
        try:
            point = study.at(self.subject, side, self.setting)
            self._refuse_large(point)
            if self.before is None:
                self._probe(point)
            self._refuse_long(point)
            low, middle, high, n = self._timed(point, self.repeats, self.warm_up)
        except (_Left, HrvizError) as why:
            return Latency(self.subject, side, math.nan, math.nan, math.nan, 0, self.name, str(why))
        self.before = point, middle
        return Latency(self.subject, side, middle, low, high, n, self.name)

    def _near(self, side: int) -> int:
        from hrviz.cost.models import MODELS

        step = study.step_of(self.subject, self.setting) if self.subject in MODELS else 1
        return max(step, round(side / step) * step)

    def _refuse_large(self, point: Point) -> None:
        if not point.parts:
            raise _Left(f"{self.subject} calls no network: time a run of it instead")
        takes = point.needed if self.device.startswith("cuda") else point.peak * SPARE
        free = free_bytes(self.device)
        if takes > free:
            raise _Left(
                f"{point.side} px would take {takes / 1e9:.3g} GB of memory, of which "
                f"{free / 1e9:.3g} GB are free: left out"
            )

    def _refuse_long(self, point: Point) -> None:
        """Judge by the side before: time grows at least as operations or as pixels do."""
        if self.before is None:
            return
        known, took = self.before
        expected = took * max(point.flops / max(known.flops, 1.0), point.network_pixels / max(known.network_pixels, 1.0), 1.0)  # fmt: skip
        # at least one pass to warm up and one that counts
        passes = min(2, self.repeats + self.warm_up)
        if expected * passes > self.seconds:
            raise _Left(
                f"{point.side} px would take about {expected:.3g} s a pass, judged from "
                f"{known.side} px, where at most {self.seconds:g} s are allowed for all passes: left out"
            )

    def _probe(self, point: Point) -> None:
        """Time a small side once, so that a first side that is large can be judged."""
        side = self._near(PROBE)
        if point.side <= side:
            return
        try:
            small = study.at(self.subject, side, self.setting)
            _, took, _, _ = self._timed(small, 1, 1)
        except (_Left, HrvizError):  # such as an output larger than this image
            return
        self.before = small, took

    def _timed(self, point: Point, repeats: int, warm_up: int) -> tuple[float, float, float, int]:
        """Fastest, median and slowest of all calls of the point together, and how many passes."""
        totals, fewest = np.zeros(3), repeats
        known: dict[Any, tuple[float, float, float, int]] = {}
        share = self.seconds / len(point.parts)
        for part in point.parts:
            key = part.call.network, part.measure.shape, part.call.part, part.measure.training
            if key not in known:
                known[key] = self._call(part, repeats, warm_up, share)
            *times, n = known[key]
            totals += part.call.times * np.array(times)
            fewest = min(fewest, n)
        return float(totals[0]), float(totals[1]), float(totals[2]), fewest

    def _call(self, part: Part, repeats: int, warm_up: int, seconds: float) -> tuple[float, float, float, int]:  # fmt: skip
        """Of one call once."""
        import torch

        times: list[float] = []
        try:
            step = ready(part, self.device)
            start = time.perf_counter()
            for k in range(-warm_up, repeats):
                self.check()
                if k < 0 and k > -warm_up and time.perf_counter() - start > seconds / 2:
                    continue  # warm enough: the rest of the time is for passes that count
                if times and time.perf_counter() - start > seconds:
                    break
                took = step()
                if k >= 0:
                    times.append(took)
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise _Left(f"the device ran out of memory in {part.call.network}: left out") from None  # fmt: skip
            first = str(error).strip().partition("\n")[0][:200].rstrip(". ")
            raise _Left(f"{part.call.network} does not run on this device: {first}") from None
        finally:
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
        return min(times), median(times), max(times), len(times)


def ready(part: Part, device: str) -> Callable[[], float]:
    """One pass or training step of a call, on random input; returns its seconds."""
    import torch

    from hrviz.cost.meter import DTYPES
    from hrviz.cost.trace import OPTIMISERS, loss

    measure, dtype = part.measure, DTYPES[part.measure.dtype]
    with torch.random.fork_rng(devices=[]):  # neither weights nor input disturb anyone's draws
        torch.manual_seed(0)
        module = _build(part, measure.shape[-1]).to(device, dtype)
        batch = torch.rand(measure.shape).to(device, dtype)
    module.train(measure.training).requires_grad_(measure.training)
    run: Callable[[torch.Tensor], Any] = module if part.call.part == "forward" else getattr(module, part.call.part)  # fmt: skip
    trained = [p for p in module.parameters() if p.requires_grad]
    stepper = OPTIMISERS[measure.optimiser](trained) if measure.optimiser else None

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    def once() -> float:
        wait()
        start = time.perf_counter()
        if not measure.training:
            with torch.no_grad():
                run(batch)
        else:
            value = loss(run(batch))
            assert value is not None  # the meter has refused it before
            value.backward()
            if stepper is not None:
                stepper.step()
            for p in trained:
                p.grad = None
        wait()
        return time.perf_counter() - start

    return once


def _build(part: Part, side: int) -> nn.Module:
    from hrviz import nets
    from hrviz.cost.models import MODELS

    name = part.call.network
    return MODELS[name].build(side) if name in MODELS else nets.blank(name)()


def _device(name: str) -> str:
    """A torch device that is there."""
    import torch

    if not name:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise HrvizError(
            f"device {name!r} is not there: choose cpu, or a machine with that device"
        ) from None
    return name


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine() or f"CPU ({os.cpu_count()} cores)"

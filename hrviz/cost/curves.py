"""How a network's cost grows with resolution, and the other way: the largest image that fits.

`scaling` names what is asked: a network of `hrviz.cost.models` by name, any torch module, or a
function that builds one for a resolution; inference or training; batch and dtype. It is then
metered where it is asked for (`at`, `curve`, `largest`), and what was metered is kept on disk by
its content: the network, the settings, torch's version and the meter's own source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.cost import kept
from hrviz.cost.measure import Measure
from hrviz.errors import HrvizError
from hrviz.results import Curve

if TYPE_CHECKING:
    from torch import nn

    from hrviz.cost.meter import Subject

RESOLUTIONS = (224, 512, 1024, 2048, 3072, 4096, 6144, 8192)
MEMORY = ("peak", "allocated", "needed", "reserved")
QUANTITIES = (*MEMORY, "flops", "parameters")
LIMIT = 2**20  # pixels a side; no image is larger
LAST = 3  # points that an exponent is fitted to


@dataclass(frozen=True)
class Fit:
    """The largest image that a budget allows.

    Parameters
    ----------
    resolution : int
        Side in pixels; 0 where not even the smallest fits.
    bytes : int
        Taken at it, or at the smallest where nothing fits.
    beyond : int or None
        Taken one step further; None where the limit of a million pixels was reached.
    budget : int
    """

    resolution: int
    bytes: int
    beyond: int | None
    budget: int


@dataclass(frozen=True)
class Growth:
    """Cost at several resolutions, the smallest first.

    Parameters
    ----------
    name : str
        Of the network.
    resolutions : tuple of int
        Sides in pixels.
    measures : tuple of Measure
    """

    name: str
    resolutions: tuple[int, ...]
    measures: tuple[Measure, ...]

    def values(self, of: str = "peak") -> np.ndarray:
        """One of `QUANTITIES`, (n,)."""
        if of not in QUANTITIES:
            raise HrvizError(f"{of!r} is not metered: choose {', '.join(QUANTITIES)}")
        return np.array([getattr(m, of) for m in self.measures], float)

    def exponent(self, of: str = "peak", last: int = LAST) -> float:
        """Of cost ~ resolution**p, that p: slope of the line through the last points, log against log.

        Full attention tends to 4, convolutions and fused attention's memory to 2, weights alone to
        0. nan where there are fewer than two points, or a cost of 0.
        """
        x, y = np.array(self.resolutions[-last:], float), self.values(of)[-last:]
        if len(x) < 2 or (y <= 0).any():
            return math.nan
        return float(np.polyfit(np.log(x), np.log(y), 1)[0])

    def curve(self, of: str = "peak") -> Curve:
        """As a result that every front end draws."""
        labels = dict.fromkeys(MEMORY, "bytes") | {"flops": "FLOPs", "parameters": "parameters"}
        y = {self.name: self.values(of)}
        return Curve(np.array(self.resolutions, float), y, "side in pixels", labels[of], log=True, tag="predicted")  # fmt: skip


@dataclass
class Scaling:
    """A network and how it is used; from `scaling`.

    Attributes
    ----------
    name : str
    build : callable
        Side in pixels to the network.
    stride : int
        Resolutions are multiples of it.
    fixed : bool
        The same network serves every resolution.
    content : str or None
        What the network is, for the disk; None keeps nothing there.
    channels, batch : int
    training, optimiser, dtype, part
        As in `hrviz.cost.meter.meter`.
    """

    name: str
    build: Callable[[int], nn.Module]
    stride: int = 1
    fixed: bool = False
    content: str | None = None
    channels: int = 3
    batch: int = 1
    training: bool = False
    optimiser: str | None = None
    dtype: str = "float32"
    part: str = "forward"
    _known: dict[int, Measure] = field(default_factory=dict, repr=False)
    _subject: Subject | None = field(default=None, repr=False)

    def at(self, resolution: int) -> Measure:
        """Cost at one resolution.

        Raises
        ------
        HrvizError
            One sentence: a resolution that the stride does not divide, or what `meter` refuses.
        """
        self.check(resolution)
        if resolution not in self._known:
            path = self._path(resolution)
            found = kept.read(path)
            if found is None:
                found = self._meter(resolution)
                kept.write(path, found)
            self._known[resolution] = found
        return self._known[resolution]

    def check(self, resolution: int) -> None:
        """Refuse what is not a multiple of the stride."""
        step = self.stride
        if resolution < 1 or resolution % step:
            near = max(step, round(resolution / step) * step)
            raise HrvizError(
                f"a resolution of {resolution} is not a multiple of {step}, the stride of "
                f"{self.name}: choose {near}"
            )

    def curve(
        self,
        resolutions: Sequence[int] = RESOLUTIONS,
        on_point: Callable[[Growth], None] | None = None,
    ) -> Growth:
        """Cost at several resolutions.

        Parameters
        ----------
        resolutions : sequence of int
            Sides in pixels.
        on_point : callable, optional
            Told all that is known after each.
        """
        sides = sorted(set(resolutions))
        if not sides:
            raise HrvizError("no resolution is given: choose at least one, such as 512")
        for side in sides:  # before any work
            self.check(side)
        found = Growth(self.name, (), ())
        for side in sides:
            measures = (*found.measures, self.at(side))
            found = Growth(self.name, (*found.resolutions, side), measures)
            if on_point is not None:
                on_point(found)
        return found

    def largest(self, budget: int, of: str = "needed") -> Fit:
        """The largest resolution whose memory a budget allows.

        Every step is metered; the growth met so far says where to look next. Memory is taken to
        grow with resolution.

        Parameters
        ----------
        budget : int
            Bytes.
        of : str
            'needed': what a device must have; 'reserved': what it must have for nothing to be given
            back and taken again, which costs time; 'allocated' or 'peak': what tensors alone take,
            with and without rounding.

        Raises
        ------
        HrvizError
            One sentence: a budget that is not above 0, or what `meter` refuses.
        """
        if of not in MEMORY:
            raise HrvizError(f"{of!r} is not memory: choose {', '.join(MEMORY)}")

        def takes(k: int) -> int:
            return int(getattr(self.at(k * self.stride), of))

        return search(takes, self.stride, budget, smallest(takes))

    def _meter(self, resolution: int) -> Measure:
        from hrviz.cost.meter import Subject

        subject = self._subject
        if subject is None:
            module = self.build
            subject = Subject(lambda: module(resolution), self.dtype, self.name)
            if self.fixed:
                self._subject = subject
        shape = (self.batch, self.channels, resolution, resolution)
        return subject.measure(shape, training=self.training, optimiser=self.optimiser, part=self.part)  # fmt: skip

    def _path(self, resolution: int) -> Path | None:
        asked = (
            resolution, self.channels, self.batch, self.training, self.optimiser, self.dtype,
            self.part,
        )  # fmt: skip
        return kept.path(self.content, asked)


def smallest(takes: Callable[[int], int]) -> int:
    """The first of 1, 2, 4, ... 64 strides that a network takes: some refuse a single pixel."""
    for k in (1, 2, 4, 8, 16, 32):
        try:
            takes(k)
        except HrvizError:
            continue
        return k
    takes(64)  # says what is wrong
    return 64


def search(takes: Callable[[int], int], stride: int, budget: int, smallest: int = 1) -> Fit:
    """The largest number of strides whose memory a budget allows.

    Parameters
    ----------
    takes : callable
        Strides to bytes; taken to grow with them.
    stride : int, px
    budget : int, bytes
    smallest : int
        Strides to begin with.

    Raises
    ------
    HrvizError
        A budget that is not above 0.

    Examples
    --------
    >>> search(lambda k: 100 + k * k, 32, 2600)
    Fit(resolution=1600, bytes=2600, beyond=2701, budget=2600)
    """
    if not budget > 0:
        raise HrvizError(
            f"a budget of {budget} bytes holds nothing: choose one above 0, such as 11 GB"
        )
    end = LIMIT // stride
    low, high = smallest, 0  # in strides: fits; does not (0: not known yet)
    taken = {low: takes(low)}
    if taken[low] > budget:
        return Fit(0, taken[low], taken[low], budget)
    push = 0  # how often the same side moved: look beyond the guess then
    while high != low + 1 and low < end:
        k = _guess(taken, low, high, end, budget)
        if high:
            k = min(max(k + (2 ** abs(push) - 1) * (1 if push > 0 else -1), low + 1), high - 1)
        taken[k] = takes(k)
        up = taken[k] <= budget
        low, high = (k, high) if up else (low, k)
        push = max(push, 0) + 1 if up else min(push, 0) - 1
    return Fit(low * stride, taken[low], taken.get(low + 1), budget)


def _guess(taken: dict[int, int], low: int, high: int, end: int, budget: int) -> int:
    """Where bytes = a + b k**2 through the two nearest points meets the budget."""
    if high:
        a, b = low, high
    elif len(taken) == 1:
        return min(end, 8 * low)
    else:
        a, b = sorted(taken)[-2:]
    slope = (taken[b] - taken[a]) / (b**2 - a**2)
    k = math.isqrt(int(max(0.0, a**2 + (budget - taken[a]) / slope))) if slope > 0 else end
    if high:
        return min(max(k, low + 1), high - 1)
    return min(max(k + 1, low + 1), 16 * low, end)


def scaling(
    network: str | nn.Module | Callable[[int], nn.Module],
    *,
    name: str = "",
    stride: int | None = None,
    content: str | None = None,
    channels: int = 3,
    batch: int = 1,
    training: bool = False,
    optimiser: str | None = None,
    dtype: str = "float32",
    part: str = "forward",
) -> Scaling:
    """Ask how a network's cost grows with the side of its square input.

    Parameters
    ----------
    network : str, torch.nn.Module or callable
        A name of `hrviz.cost.models.MODELS`, a module that takes any resolution, or a function from
        the side in pixels to a module.
    name : str, optional
        For legends and messages.
    stride : int, optional
        Resolutions must be multiples of it; default the named network's, else 1.
    content : str, optional
        What a function builds, in full: with it, what was metered is kept on disk. Named networks
        and modules whose code is in files need none.
    channels, batch : int
        Of the input.
    training, optimiser, dtype, part
        As in `hrviz.cost.meter.meter`.

    Raises
    ------
    HrvizError
        One sentence: no such network, a stride, batch or channels below 1.

    Examples
    --------
    >>> from torch import nn
    >>> growth = scaling(nn.Conv2d(3, 8, 3, padding=1)).curve((1000, 2000))
    >>> [m.peak for m in growth.measures], round(growth.exponent("flops"), 3)
    ([44000896, 176000896], 2.0)
    """
    from torch import nn

    for what, value in (("stride", stride), ("batch", batch), ("channels", channels)):
        if value is not None and value < 1:
            raise HrvizError(f"{what}={value} is out of range: choose 1 or more")
    asked: dict[str, Any] = {
        "channels": channels, "batch": batch, "training": training, "optimiser": optimiser,
        "dtype": dtype, "part": part,
    }  # fmt: skip
    if isinstance(network, str):
        from hrviz.cost.models import MODELS

        if network not in MODELS:
            raise HrvizError(f"{network!r} is not a named network: choose {', '.join(MODELS)}")
        known = MODELS[network]
        return Scaling(name or known.name, known.build, stride or known.stride, known.fixed,
                       f"named {known.name}", **asked)  # fmt: skip
    if isinstance(network, nn.Module):
        module = network
        content = content or kept.fingerprint(module)
        return Scaling(name or type(module).__name__, lambda _: module, stride or 1, True, content, **asked)  # fmt: skip
    if not callable(network):
        raise HrvizError(f"{network!r} is not a network: give a name, a torch.nn.Module or a function that builds one")  # fmt: skip
    return Scaling(name, network, stride or 1, False, content, **asked)

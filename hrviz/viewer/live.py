"""Runs as the app's pages use them: the newest parameters win, the last good result stays.

Nothing here knows Streamlit: a page calls `Live.apply` at every rerun and draws `Live.steps`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.method import METHODS, Method
from hrviz.results import (
    AttentionMap,
    Boxes,
    Curve,
    Graph,
    HeatMap,
    LabelMap,
    Partition,
    Points,
    Prediction,
    Result,
    Step,
    TokenPattern,
    WarpGrid,
    ZoomTree,
)  # fmt: skip
from hrviz.run import Job, Run, submit
from hrviz.views import outputs

INLINE_NETWORK = 0.25  # seconds a page waits before it polls instead
INLINE_CLOSED = 0.6
EAGER_AREA = 9e6  # network pixels up to which patch-by-patch baselines run unasked
GEOMETRIC = (WarpGrid, ZoomTree, Boxes, Partition, TokenPattern, Graph, Points)
MAPS = (HeatMap, LabelMap, AttentionMap)


def _signature(method: Method, image: Image, region: Box, params: Mapping[str, Any]) -> str:
    return repr((method.name, image.identity, tuple(region), sorted(params.items())))


@dataclass
class Live:
    """One slot on a page: at most one job under way, and the last good result.

    Attributes
    ----------
    job : Job or None
        The newest.
    run : Run or None
        The last that ended well.
    error : str or None
        One sentence about the newest.
    """

    job: Job | None = None
    run: Run | None = None
    error: str | None = None
    signature: str = ""
    _last: dict[str, Step] = field(default_factory=dict)

    def apply(
        self,
        method: Method,
        image: Image,
        region: Box,
        params: Mapping[str, Any],
        wait: float | None = None,
    ) -> None:
        """Run this unless it is what runs already; an older run is cancelled."""
        wanted = _signature(method, image, region, params)
        if wanted != self.signature:
            self.cancel()
            self.signature, self.error = wanted, None
            if self.method_name != method.name:
                self._last, self.run = {}, None
            try:
                self.job = submit(method, image, region, dict(params), region.centre)
            except HrvizError as error:
                self.job, self.error = None, str(error)
                return
            slow = method.network(method.bind(params))
            limit = wait if wait is not None else INLINE_NETWORK if slow else INLINE_CLOSED
            _first_look(self.job, limit, slow)
        self.collect()

    def wants(self, method: Method, image: Image, region: Box, params: Mapping[str, Any]) -> bool:
        """Whether `apply` with these would start something."""
        return _signature(method, image, region, params) != self.signature

    @property
    def method_name(self) -> str:
        return self.job.method.name if self.job else self.run.method.name if self.run else ""

    def collect(self) -> None:
        """Take over what the job has come to."""
        job = self.job
        if job is None or not job.done:
            return
        if job.run is not None and job.run is not self.run:
            self.run, self._last = job.run, {s.name: s for s in job.run.steps}
        self.error = job.error

    def cancel(self) -> None:
        if self.job is not None and not self.job.done:
            self.job.cancel()

    def stop(self) -> None:
        """The user's cancel: what is there stays, nothing starts again by itself."""
        self.cancel()
        if self.job is not None and not self.job.done:
            self.job.wait(0.5)

    @property
    def busy(self) -> bool:
        return self.job is not None and not self.job.done and not self.job.cancelled

    @property
    def stopped(self) -> bool:
        return self.job is not None and self.job.cancelled and self.job.run is None

    @property
    def steps(self) -> dict[str, Step]:
        """The newest state of each step; steps not there yet are those of the last good run."""
        if self.job is None or not self.job.steps:
            return dict(self._last)
        fresh = dict(self.job.steps)
        if self.job.done and self.job.run is not None:
            return fresh
        return {**self._last, **fresh}

    @property
    def version(self) -> str:
        """Changes with every new step."""
        return f"{id(self.job)}-{self.job.version if self.job else 0}"


def _first_look(job: Job, limit: float, slow: bool) -> None:
    """Wait for the end; of a network's run for the picture alone, which comes before the network."""
    end = time.monotonic() + limit
    while not job.wait(min(0.02, max(0.0, end - time.monotonic()))):
        seen = slow and outputs.views(dict(job.steps))
        if seen or time.monotonic() >= end:
            return


def telling(steps: Mapping[str, Step]) -> str:
    """The step that shows the idea at a glance: a tree, else a warp's grid, else the first geometric
    one, else the first map.

    Of several trees the last says most. Of several grids the last is the one that warps: those before
    it are its parts. A plain partition says less than the map that grows over it.
    """
    if grown := outputs.trees(steps):
        return list(grown)[-1]
    grids = [name for name, step in steps.items() if isinstance(step.result, WarpGrid)]
    if grids:
        return grids[-1]
    speaking = tuple(kind for kind in GEOMETRIC if kind is not Partition)
    for kinds in (speaking, MAPS, GEOMETRIC):
        for name, step in steps.items():
            if isinstance(step.result, kinds) and not outputs.on_output(step.result):
                return name
    return next(iter(steps), "")


def pictured(steps: Mapping[str, Step]) -> Step | None:
    """The step whose picture stands beside the viewer: the first warped one, else the last."""
    return next(iter(outputs.pictures(steps).values()), None)


def drawable(result: Result) -> bool:
    """Whether a result lies on the image."""
    return isinstance(result, (*GEOMETRIC, *MAPS)) and not outputs.on_output(result)


def charted(result: Result) -> bool:
    """Whether a result is a chart, shown under the viewer."""
    return isinstance(result, Curve | Prediction)


def without_networks(method: Method, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The nearest parameters that need no network, or None: the way out when weights are missing."""
    now = method.defaults | dict(params)
    choices = [p for p in method.params if p.kind == "choice"]
    trials: list[dict[str, Any]] = [{p.name: v} for p in choices for v in p.choices]
    trials += [{p.name: v, q.name: w} for p in choices for q in choices if p is not q
               for v in p.choices for w in q.choices]  # fmt: skip
    for trial in trials:
        drawn = set(trial.values()) & {"drawn", "file", "truth"}  # those need more than a choice
        if not drawn and not method.network(now | trial):
            return {**params, **trial}
    return None


def shared(params: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """Those of `params` that another method has too: the same output size, the same task."""
    out = {}
    for param in method.params:
        if param.name in ("size", "task") and param.name in params:
            out[param.name] = params[param.name]
    return out


def affordable(method: Method, region: Box, pixels: float = EAGER_AREA) -> dict[str, Any]:
    """What makes a method that looks at everything run unasked: the finest affordable downsample.

    Empty for methods without one. The choice is shown with the result.
    """
    for param in method.params:
        if param.name == "downsample" and param.kind == "choice":
            fits = [d for d in param.choices if region.area / d**2 <= pixels]
            return {"downsample": max(param.default, fits[0] if fits else param.choices[-1])}
    return {}


@dataclass
class Baselines:
    """The family 'baselines' beside a method: same region, same budget, one after the other."""

    slots: dict[str, Live] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    place: str = ""

    def apply(
        self, method: Method, image: Image, region: Box, params: Mapping[str, Any], idle: bool
    ) -> None:
        """Start what may start, if the page is `idle`; other regions make the old ones stale."""
        place = repr((image.identity, tuple(region), sorted(shared(params, method).items())))
        if place != self.place:
            for slot in self.slots.values():
                slot.cancel()
            self.place, self.slots, self.asked = place, {}, set()
        for other in self.names(method):
            slot = self.slots.setdefault(other.name, Live())
            slot.collect()
            if slot.signature or not idle or self.busy:
                continue
            bound = affordable(other, region) | shared(params, other)
            area = region.area / bound.get("downsample", 1) ** 2
            cheap = any(p.name == "size" for p in other.params) or area <= EAGER_AREA
            if cheap or other.name in self.asked:
                slot.apply(other, image, region, bound, wait=0.0)

    def pause(self) -> None:
        """Give way to what the user waits for; `apply` starts them again."""
        for slot in self.slots.values():
            if slot.busy:
                slot.cancel()
                slot.job, slot.signature = None, ""

    def names(self, method: Method) -> list[Method]:
        return [m for m in METHODS.values() if m.family == "baselines" and m.name != method.name]

    @property
    def busy(self) -> bool:
        return any(slot.busy for slot in self.slots.values())

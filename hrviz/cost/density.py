"""Cost against object density: what a zooming method saves, and when it no longer saves anything.

The survey's warning (III-B): a method that looks closer wherever there is something saves nothing
when there is something everywhere; a number of looks that is fixed in advance (K of GigaDet, the
budget of REMIX, N draws) bounds the cost instead. `density` makes it visible: a scene is opened
emptier and fuller, the method runs on each, and its tree of looks says what it took.

Reference is looking everywhere, as each tree defines it (`ZoomTree.exhaustive_pixels`,
`exhaustive_calls`). Where a single call sees everything calls cannot be compared; what went through
networks, as a share of those pixels, always can.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz import run as runs
from hrviz.context import Context
from hrviz.cost.dials import BOUNDS, Series, series, settings
from hrviz.errors import HrvizError
from hrviz.image import Image, open_image
from hrviz.method import METHODS, Method
from hrviz.results import Curve, Step
from hrviz.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = "cost against density"
PIXELS, CALLS, SEEN = "pixels read", "network calls", "pixels through networks"
LEVEL = 0.05  # a cost that varies by less stays as it is
GROWS = 1.2  # times as much at the fullest as at the emptiest, from which it grows


@dataclass(frozen=True)
class Point:
    """One run: how full the scene was, and what its tree took.

    Parameters
    ----------
    value : float
        Of the scene's parameter.
    seed : int
    objects : float
        True objects, or the share of the image that they cover.
    pixels, calls, seen : float
        Pixels asked of the image, network calls, pixels that went through networks.
    every_pixel, every_call : float
        The same for looking everywhere; every_call is 0 where that has no sense.
    """

    value: float
    seed: int
    objects: float
    pixels: float
    calls: float
    seen: float
    every_pixel: float
    every_call: float

    @classmethod
    def of(cls, value: float, seed: int, objects: float, run: Run) -> Point:
        """From a run with a tree."""
        tree = run["tree"]
        return cls(
            value, seed, objects, tree.pixels, tree.calls, run.cost.get("network_pixels") or 0.0,
            tree.exhaustive_pixels, tree.exhaustive_calls,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Density:
    """What a method took at several densities, the emptiest first.

    Attributes
    ----------
    method : Method
    params : dict
        All of the method's, as used.
    series : Series
        The scene, what was varied, and to which values.
    points : tuple of Point
        One a run so far; some values may still lack.
    """

    method: Method
    params: dict[str, Any]
    series: Series
    points: tuple[Point, ...]

    @property
    def progress(self) -> float:
        """Share of the runs that are done."""
        return len(self.points) / len(self.series)

    def _mean(self, of: Callable[[Point], float]) -> np.ndarray:
        """Over seeds, for each value."""
        values = sorted({p.value for p in self.points})
        return np.array([np.mean([of(p) for p in self.points if p.value == v]) for v in values])

    @property
    def shares(self) -> dict[str, np.ndarray]:
        """Of looking everywhere, (n,) each: pixels read, network calls where several see everything
        together, pixels through networks; the latter two where a network ran.
        """
        lines = {PIXELS: self._mean(lambda p: p.pixels / p.every_pixel)}
        if all(p.every_call > 1 for p in self.points):
            lines[CALLS] = self._mean(lambda p: p.calls / p.every_call)
        lines[SEEN] = self._mean(lambda p: p.seen / p.every_pixel)
        return {name: y for name, y in lines.items() if name == PIXELS or y.any()}

    @property
    def curve(self) -> Curve:
        """The shares against what is there; once where each call sees as much as any other."""
        lines, label = self.shares, self.series.dial.label
        if CALLS in lines and SEEN in lines and np.allclose(lines[SEEN], lines[CALLS], rtol=0.02):
            del lines[SEEN]
        return Curve(self._mean(lambda p: p.objects), lines, label, "share of looking everywhere")

    @property
    def growth(self) -> dict[str, float]:
        """Of each line that starts above 0: times as much at the fullest as at the emptiest."""
        return {k: float(y[-1] / y[0]) for k, y in self.curve.series.items() if y[0] > 0}

    @property
    def verdict(self) -> str:
        """'bounded' (by a parameter, or within 5 %), 'grows', or 'varies' without a trend."""
        if self.bound or self._level <= LEVEL:
            return "bounded"
        return "grows" if self._grown else "varies"

    @property
    def _grown(self) -> list[str]:
        """Lines that end more than a fifth above where they start."""
        return [name for name, y in self.curve.series.items() if y[-1] > GROWS * y[0]]

    @property
    def _level(self) -> float:
        """By how much a line varies at most, as a share of its highest value."""
        return max(float(np.ptp(y) / y.max()) if y.any() else 0.0 for y in self.curve.series.values())  # fmt: skip

    @property
    def bound(self) -> str:
        """The parameter that bounds the cost, as name=value; '' where none does."""
        name = BOUNDS.get(self.method.name)
        return f"{name}={self.params[name]:g}" if name else ""

    @property
    def note(self) -> str:
        """One sentence, from the numbers."""
        curve, growth = self.curve, self.growth
        low, high = (self._amount(float(x)) for x in curve.x[[0, -1]])
        span = f"from {low} to {high} {self.series.dial.things}"
        bound = f": bounded by {self.bound}" if self.bound else ""
        if self._grown:
            lines = curve.series
            told = [f"{growth[k]:.1f} times the {k}" if k in growth else f"{k} from none to {_share(lines[k][-1])}"
                    for k in self._grown]  # fmt: skip
            bound = f", at most what {self.bound} allows" if self.bound else ""
            return f"The cost grows {span}: {', '.join(told)}{bound}."
        if self._level <= LEVEL:
            words = f"within {max(self._level, 0.01):.0%}" if self._level > 0.001 else "the same"
            return f"The cost stays {words} {span}{bound}."
        told = [f"{_share(y.min())} to {_share(y.max())} {k}" for k, y in curve.series.items()]
        return f"The cost does not grow {span} ({', '.join(told)}, of looking everywhere){bound}."

    @property
    def step(self) -> Step:
        """What a front end shows; with progress below 1 while runs lack."""
        return Step(STEP, self.curve, self.note, self.progress)

    def _amount(self, x: float) -> str:
        return _share(x) if self.series.dial.covers else f"{x:.4g}"

    def describe(self) -> dict[str, Any]:
        """JSON-able: what `hrviz density --json` prints."""
        curve = self.curve
        return {
            "method": self.method.name, "image": self.series.scene.uri, "parameter": self.series.dial.name,
            "params": self.params, "verdict": self.verdict, "note": self.note, "bound": self.bound,
            "x_label": curve.x_label, "x": curve.x.tolist(),
            "shares": {name: y.tolist() for name, y in self.shares.items()},
            "growth": self.growth, "points": [vars(p) for p in self.points],
        }  # fmt: skip

    def figure(self) -> Figure:
        """The curve from 0 upwards with its sentence, by matplotlib."""
        from hrviz.views import mpl

        out = mpl.figure([self.step])
        out.axes[0].set_title(self.method.title, loc="left", fontsize=11, fontweight="bold")
        out.axes[0].set_ylim(bottom=0)
        return out

    def png(self) -> bytes:
        """The same as a PNG."""
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()

    _repr_png_ = png  # what Jupyter shows


def _share(x: float) -> str:
    return f"{100 * x:.2g}%" if x < 0.1 else f"{x:.0%}"


def has_tree(method: Method) -> bool:
    """Whether a method yields a tree of looks: its docstring names every step."""
    return re.search(r"^\s*tree : ZoomTree$", method.function.__doc__ or "", re.MULTILINE) is not None  # fmt: skip


def methods() -> list[Method]:
    """All methods whose cost against density can be looked at: those with a tree."""
    return [m for m in METHODS.values() if has_tree(m)]


def prepare(
    method: str | Method,
    values: Sequence[Any] | None = None,
    *,
    image: str | None = None,
    seeds: int = 1,
    params: Mapping[str, Any] | None = None,
) -> Density:
    """Check everything; a `Density` without points, for `stream`.

    Raises
    ------
    HrvizError
        One sentence: no such method, one without a tree, an image or a value that cannot be used.
    """
    found = METHODS.find(method)
    if not has_tree(found):
        raise HrvizError(
            f"{found.name} has no tree of looks that could grow with the objects: choose one of "
            f"{', '.join(m.name for m in methods())}"
        )
    scenes = series(found, image, values, seeds)
    return Density(found, settings(found, params or {}, scenes.dial), scenes, ())


def stream(start: Density, run: Callable[[Image], Run]) -> Iterator[Density]:
    """Run the method on one scene after another, yielding all that is known after each.

    Parameters
    ----------
    start : Density
        From `prepare`.
    run : callable
        The method's run on an image.
    """
    found = start
    for value in start.series.values:
        for k in range(start.series.seeds):
            image = open_image(start.series.address(value, k))
            objects = start.series.dial.present(image)
            point = Point.of(float(value), start.series.seed(k), objects, run(image))
            found = replace(found, points=(*found.points, point))
            yield found


def density(
    method: str | Method,
    values: Sequence[Any] | None = None,
    *,
    image: str | None = None,
    seeds: int = 1,
    context: Context | None = None,
    on_step: Callable[[Density], None] | None = None,
    **params: Any,
) -> Density:
    """Cost of a zooming method against how many objects there are.

    Parameters
    ----------
    method : str
        Name or alias of a method with a tree of looks.
    values : sequence of float, optional
        Of the scene's parameter that says how many objects there are; default about five.
    image : str, optional
        Address of a scene; default the method's example, or the same at a smaller size.
    seeds : int
        Scenes a value, over which is averaged.
    context : Context, optional
        Device and cancellation.
    on_step : callable, optional
        Told all that is known after each run.
    **params
        The method's parameters.

    Returns
    -------
    Density

    Raises
    ------
    HrvizError
        One sentence, when an input cannot be used.
    Cancelled
        When the context says so.

    Examples
    --------
    >>> import hrviz
    >>> found = hrviz.density("gigadet", (5, 50), image="scene:crowd?size=3000x2000", task="none", patches=4)
    >>> found.verdict, found.bound, [p.objects for p in found.points]
    ('bounded', 'patches=4', [5.0, 50.0])
    """
    context = context or Context(scheduler=os.environ.get("HRVIZ_SCHEDULER"))
    found = prepare(method, values, image=image, seeds=seeds, params=params)

    def run(of: Image) -> Run:
        context.check()
        fresh = replace(context, networks={}, counts={})  # each run counts its own
        return runs.apply(found.method, of, context=fresh, **found.params)

    last = found
    for last in stream(found, run):
        if on_step is not None:
            on_step(last)
    return last

"""What resolution costs, for networks and for methods alike: the numbers behind every cost page.

A subject is a network of `hrviz.cost.models.MODELS`, fed the whole square image, or a method of
`METHODS`, which feeds its networks what its cost model declares (`hrviz.cost.declared`). `at` meters
one subject at one side, `grow` several at several, `largest` turns the question round: the largest
square image that a budget holds. Everything is predicted with fake tensors; nothing is allocated and
no image is read.

Memory of a method: weights of all its networks are held; on top comes its largest call in
inference. A training step of a method that learns end to end ('together') holds what the forward passes
of all its calls keep until the backward pass; taken for it is the sum over calls of what each call's own
step takes above its weights. That counts each call's own peak, though they do not all come at once; gradients
of what one call hands to the next are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.cost import kept
from hrviz.cost.curves import LAST, MEMORY, Fit, search, smallest
from hrviz.cost.declared import Call
from hrviz.errors import HrvizError
from hrviz.results import Curve

if TYPE_CHECKING:
    from hrviz.cost.measure import Measure
    from hrviz.cost.meter import Subject as Metered
    from hrviz.method import Method
    from hrviz.results.base import Tag

SIDES = (512, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
#: quantity -> (axis label, unit, tag)
QUANTITIES = {
    "needed": ("memory needed", "B"),
    "peak": ("memory of tensors", "B"),
    "reserved": ("memory reserved", "B"),
    "allocated": ("memory allocated", "B"),
    "flops": ("operations", "FLOP"),
    "parameters": ("parameters", ""),
    "pixels": ("pixels read", "px"),
    "network_pixels": ("pixels given to networks", "px"),
}
START = 512  # px a side where the search for the largest image begins
#: what a side is rounded up to for a named network inside a method
STRIDE = 32


@dataclass(frozen=True)
class Setting:
    """How networks are used.

    Parameters
    ----------
    batch : int
        Images at once; of a method, each of its calls is that many times as large.
    dtype : str
        'float32', 'bfloat16' or 'float16'.
    training : bool
        A training step (forward, backward) instead of inference.
    optimiser : str or None
        'sgd', 'sgd-momentum' or 'adam': its step too; training only.
    network : str
        A network of `MODELS` in place of the task networks of methods; '' for their own.
    reduction : float
        Image pixels per output pixel, along a side, of methods that resample to one size, so that
        their output grows with the image; 0 for the size that their parameters say.
    params : dict
        Method name to parameters that differ from their defaults.
    """

    batch: int = 1
    dtype: str = "float32"
    training: bool = False
    optimiser: str | None = None
    network: str = ""
    reduction: float = 4.0
    params: dict[str, dict[str, Any]] = field(default_factory=dict, hash=False)

    def checked(self) -> Setting:
        """Itself; refuses in one sentence what has no sense."""
        from hrviz.cost.meter import DTYPES
        from hrviz.cost.models import MODELS
        from hrviz.cost.trace import OPTIMISERS

        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise HrvizError(f"batch={self.batch} is out of range: choose a whole number from 1")
        if self.dtype not in DTYPES:
            raise HrvizError(f"dtype={self.dtype!r} is not known: choose {', '.join(DTYPES)}")
        if self.optimiser is not None and self.optimiser not in OPTIMISERS:
            raise HrvizError(
                f"optimiser={self.optimiser!r} is not known: choose {', '.join(OPTIMISERS)} or none"
            )
        if self.optimiser is not None and not self.training:
            raise HrvizError(
                f"optimiser={self.optimiser!r} is of no use in inference: choose training"
            )
        if self.network and self.network not in MODELS:
            raise HrvizError(f"{self.network!r} is not a named network: choose {', '.join(MODELS)}")
        if not (self.reduction == 0 or 1 <= self.reduction <= 64):
            raise HrvizError(f"reduction={self.reduction:g} is out of range: choose 1 to 64, or 0 for the method's own size")  # fmt: skip
        return self


@dataclass(frozen=True)
class Part:
    """One call of a subject with what it costs; `times` as in `Call`."""

    call: Call
    measure: Measure


@dataclass(frozen=True)
class Point:
    """What a subject costs at one side of a square image.

    Parameters
    ----------
    subject : str
    side : int, px
    parameters, flops : float
        Of all its networks; of all their calls and the method's own arithmetic.
    peak, allocated, needed, reserved : int, bytes
        As in `hrviz.cost.measure.Measure`, of all networks together.
    pixels, network_pixels : float
        Asked of the image, and given to networks.
    split : dict of str to int
        `peak` by kind.
    parts : tuple of Part
        The largest call last.
    tag : str
        'predicted', or 'formula' where no network is called.
    """

    subject: str
    side: int
    parameters: float
    flops: float
    peak: int
    allocated: int
    needed: int
    reserved: int
    pixels: float
    network_pixels: float
    split: dict[str, int]
    parts: tuple[Part, ...]
    tag: str

    @property
    def largest(self) -> Part | None:
        """The call whose own peak is the highest; None without networks."""
        return max(self.parts, key=lambda p: p.measure.peak, default=None)

    def summary(self) -> dict[str, Any]:
        """JSON-able numbers."""
        return {
            "side": self.side, "parameters": int(self.parameters), "flops": self.flops,
            "peak": self.peak, "allocated": self.allocated, "needed": self.needed,
            "reserved": self.reserved, "pixels": self.pixels,
            "network_pixels": self.network_pixels, "split": self.split, "tag": self.tag,
        }  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What cost is asked of.

    Parameters
    ----------
    name, title : str
    group : str
        'network', or the family of the method.
    growth : str
        LaTeX.
    note : str
    exponents : dict of str to float
        What formulas say of side**p in the limit, by quantity: 'flops', 'peak'.
    """

    name: str
    title: str
    group: str
    growth: str
    note: str
    exponents: dict[str, float]


#: what the literature says of networks: operations and memory
_NETWORK_GROWTH = {
    "efficientnet": (r"O(HW)", 2.0, 2.0),
    "vit-b16": (r"O(n^2 d + n d^2),\; n = HW/16^2", 4.0, 4.0),
    "vit-b16-fused": (r"O(n^2 d + n d^2),\; n = HW/16^2", 4.0, 2.0),
}


def subjects() -> dict[str, Subject]:
    """All that cost can be asked of, networks first, by name."""
    from hrviz.cost.models import MODELS
    from hrviz.method import METHODS

    out = {}
    for m in MODELS.values():
        growth, flops, memory = next(
            (g for key, g in reversed(_NETWORK_GROWTH.items()) if m.name.startswith(key))
        )
        out[m.name] = Subject(m.name, m.title, "network", growth, "Fed the whole image.",
                              {"flops": flops, "peak": memory})  # fmt: skip
    for method in METHODS.values():
        model = method.cost
        if model is None:  # a test refuses that
            continue
        out[method.name] = Subject(
            method.name, method.title, method.family, model.growth, model.note,
            {"flops": model.exponent, "peak": model.memory_exponent},
        )  # fmt: skip
    return out


def find(name: str) -> Subject:
    """By name or a method's alias.

    Raises
    ------
    HrvizError
        One sentence with what there is.
    """
    from hrviz.cost.models import MODELS
    from hrviz.method import METHODS

    if name in MODELS:
        return subjects()[name]
    try:
        return subjects()[METHODS.find(name).name]
    except HrvizError as error:
        raise HrvizError(f"{error}; or a network: {', '.join(MODELS)}") from None


def step_of(name: str, setting: Setting) -> int:
    """Sides of a subject are multiples of this."""
    from hrviz.cost.models import MODELS

    if name in MODELS:
        return MODELS[name].stride
    return STRIDE


def at(name: str, side: int, setting: Setting = Setting()) -> Point:
    """What a subject costs at one side, predicted.

    Raises
    ------
    HrvizError
        One sentence: no such subject, a side its stride does not divide, a network that does not
        take what it would be given.
    """
    from hrviz.cost.models import MODELS

    setting.checked()
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise HrvizError(f"a side of {side} px is out of range: choose a whole number from 1")
    if name in MODELS:
        step = MODELS[name].stride
        if side % step:
            near = max(step, round(side / step) * step)
            raise HrvizError(f"a resolution of {side} is not a multiple of {step}, the stride of {name}: choose {near}")  # fmt: skip
        calls: Sequence[Call] = (Call(name, (1, 3, side, side), task=True),)
        return _point(name, side, calls, float(side) ** 2, 0.0, "apart", setting)
    from hrviz.method import METHODS

    method = METHODS.find(name)
    return of_region(method, side, side, bound(method, side, setting), setting)


def of_region(
    method: Method, height: int, width: int, params: dict[str, Any], setting: Setting = Setting()
) -> Point:
    """What a method costs on a region of height x width level-0 pixels, with these parameters."""
    model = method.cost
    assert model is not None
    calls = [_with(call, setting.network) for call in model.calls(params, height, width)]
    work = model.work(params, height, width) if model.work else 0.0
    pixels = model.pixels(params, height, width)
    side = max(height, width)
    return _point(method.name, side, calls, pixels, work, model.trained, setting)


def bound(method: Method, side: int, setting: Setting) -> dict[str, Any]:
    """A method's parameters at one side: defaults, what the setting changes, and `reduction`."""
    given = dict(setting.params.get(method.name, {}))
    out = method.bind(given)
    sized = method.cost.resized if method.cost else ""
    if sized in out and setting.reduction and sized not in given:
        out[sized] = max(1, round(side / setting.reduction))  # beyond the control's range too
    return out


def _with(call: Call, network: str) -> Call:
    """Another network in place of a task's, at its stride."""
    if not (network and call.task):
        return call
    n, _, h, w = call.shape
    side = -(-max(h, w) // STRIDE) * STRIDE  # named networks take square RGB pictures
    return replace(call, network=network, shape=(n, 3, side, side), part="forward")


def _point(
    name: str, side: int, calls: Sequence[Call], pixels: float, work: float, trained: str,
    setting: Setting,
) -> Point:  # fmt: skip
    b = setting.batch
    parts = [Part(c, _metered(c, (c.shape[0] * b, *c.shape[1:]), setting, trained)) for c in calls]
    weights: dict[str, int] = {}
    learned: dict[str, int] = {}
    for part in parts:
        key = part.call.network
        weights[key] = max(weights.get(key, 0), part.measure.split["weights"])
        learned[key] = max(learned.get(key, 0), part.measure.parameters)
    out: dict[str, int] = {}
    for of in MEMORY:
        above = [getattr(p.measure, of) - p.measure.split["weights"] for p in parts]
        total = float(max(above, default=0))
        if setting.training and trained == "together":
            held = [n * max(1.0, p.call.times) for n, p in zip(above, parts, strict=True) if p.call.trained]  # fmt: skip
            total = max(total, sum(held))
        out[of] = round(sum(weights.values()) + total)
    top = max(parts, key=lambda p: p.measure.peak, default=None)
    split = dict(top.measure.split) if top else {}
    if top:
        split["weights"] = sum(weights.values())
        split["activations"] += out["peak"] - sum(split.values())  # of the other calls
    return Point(
        subject=name, side=side, parameters=float(sum(learned.values())),
        flops=work + sum(p.call.times * p.measure.flops for p in parts),
        pixels=pixels * b,
        network_pixels=float(sum(
            p.call.times * b * p.call.shape[0] * math.prod(p.call.shape[2:])
            for p in parts if len(p.call.shape) == 4
        )),
        split=split, parts=tuple(parts), tag="predicted" if parts else "formula", **out,
    )  # fmt: skip


def _metered(call: Call, shape: tuple[int, ...], setting: Setting, trained: str) -> Measure:
    learns = setting.training and trained != "no" and call.trained
    optimiser = setting.optimiser if learns else None
    return metered(call.network, shape, call.part, learns, optimiser, setting.dtype)


@lru_cache(maxsize=4096)
def metered(
    network: str, shape: tuple[int, ...], part: str = "forward", training: bool = False,
    optimiser: str | None = None, dtype: str = "float32",
) -> Measure:  # fmt: skip
    """What one call of a network costs, by the name of its weights or of `MODELS`; kept on disk."""
    from hrviz import nets
    from hrviz.cost.models import MODELS

    named = network in MODELS
    content = f"named {network}" if named else f"weights {network} {nets.digest(network)}"
    path = kept.path(content, (list(shape), part, training, optimiser, dtype))
    found = kept.read(path)
    if found is None:
        resolution = shape[-1] if named and not MODELS[network].fixed else 0
        found = _subject(network, resolution, dtype).measure(
            shape, training=training, optimiser=optimiser, part=part
        )
        kept.write(path, found)
    return found


@lru_cache(maxsize=32)
def _subject(network: str, resolution: int, dtype: str) -> Metered:
    from hrviz import nets
    from hrviz.cost.meter import Subject as Metered
    from hrviz.cost.models import MODELS

    if network in MODELS:
        return Metered(lambda: MODELS[network].build(resolution), dtype, network)
    return Metered(nets.blank(network), dtype, network)


@dataclass(frozen=True)
class Study:
    """Costs of several subjects at several sides.

    Parameters
    ----------
    setting : Setting
    sides : tuple of int
        The smallest first.
    points : dict of str to tuple of Point or None
        By subject's name, one a side; None where it was not reached yet or `problems` says why not.
    problems : dict of str to str
        By subject's name, one sentence.
    """

    setting: Setting
    sides: tuple[int, ...]
    points: dict[str, tuple[Point | None, ...]]
    problems: dict[str, str] = field(default_factory=dict)

    def values(self, name: str, of: str = "needed") -> np.ndarray:
        """One of `QUANTITIES` of a subject, (sides,); nan where there is none."""
        if of not in QUANTITIES:
            raise HrvizError(f"{of!r} is not a cost: choose {', '.join(QUANTITIES)}")
        return np.array([getattr(p, of) if p else np.nan for p in self.points[name]], float)

    def exponent(self, name: str, of: str = "needed") -> float:
        """Slope of the line through the last points, log against log; nan where there is none."""
        y = self.values(name, of)
        known = np.flatnonzero(np.isfinite(y) & (y > 0))[-LAST:]
        if len(known) < 2:
            return math.nan
        return float(np.polyfit(np.log(np.array(self.sides, float)[known]), np.log(y[known]), 1)[0])

    def curve(self, of: str = "needed") -> Curve:
        """As a result that every front end draws; one line a subject."""
        label, unit = QUANTITIES[of]
        series = {name: self.values(name, of) for name in self.points}
        tags = {p.tag for row in self.points.values() for p in row if p}
        tag: Tag = "formula" if tags == {"formula"} else "predicted"
        return Curve(np.array(self.sides, float), series, "side of the image (px)",
                     f"{label} ({unit})" if unit else label, log=True, tag=tag)  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """One a subject and side, for tables, JSON and CSV."""
        return [{"name": name} | p.summary() for name, row in self.points.items() for p in row if p]


def prepared(names: Sequence[str], sides: Sequence[int], setting: Setting) -> Study:
    """The study before its first point; refuses in one sentence what cannot be metered."""
    setting.checked()
    if not names:
        raise HrvizError("nothing to meter: choose at least one method or network")
    if not sides:
        raise HrvizError("no resolution is given: choose at least one, such as 512")
    asked = tuple(sorted(set(sides)))
    if asked[0] < 1:
        raise HrvizError(f"a side of {asked[0]} px is out of range: choose a whole number from 1")
    known = list(dict.fromkeys(find(n).name for n in names))
    empty: tuple[Point | None, ...] = (None,) * len(asked)
    return Study(setting, asked, dict.fromkeys(known, empty))


def grow(
    names: Sequence[str],
    sides: Sequence[int] = SIDES,
    setting: Setting = Setting(),
    on_point: Callable[[Study], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Study:
    """Costs of several subjects at several sides; cheapest sides first, all subjects at each.

    Parameters
    ----------
    names : sequence of str
        Networks, methods or aliases.
    sides : sequence of int, px
        A network whose stride does not divide a side is metered at the nearest multiple instead, which
        its point says.
    on_point : callable, optional
        Told all that is known after each point.
    check : callable, optional
        Called before each point; raises to cancel.
    """
    from hrviz.cost.models import MODELS

    found = prepared(names, sides, setting)
    asked, known = found.sides, list(found.points)
    points: dict[str, list[Point | None]] = {n: [None] * len(asked) for n in known}
    problems: dict[str, str] = {}
    for k, side in enumerate(asked):
        for name in known:
            if check is not None:
                check()
            step = step_of(name, setting)
            near = max(step, round(side / step) * step) if name in MODELS else side
            try:
                points[name][k] = at(name, near, setting)
            except HrvizError as error:
                problems.setdefault(name, str(error))
            found = Study(setting, asked, {n: tuple(r) for n, r in points.items()}, dict(problems))
            if on_point is not None:
                on_point(found)
    return found


def largest(
    name: str,
    budget: int,
    setting: Setting = Setting(),
    of: str = "needed",
    check: Callable[[], None] | None = None,
) -> Fit:
    """The largest square image that a budget holds; `resolution` is the limit where memory does not grow.

    The limit is a million pixels a side, or the largest image that the subject takes; `beyond` is None
    there.

    Raises
    ------
    HrvizError
        One sentence: a budget that is not above 0, or what `at` refuses.
    """
    subject = find(name).name
    step = step_of(subject, setting)
    refused: set[int] = set()  # sides that are too large for the subject itself
    known: dict[int, int] = {}

    def needs(k: int) -> int:
        if check is not None:
            check()
        if k not in known:
            known[k] = int(getattr(at(subject, k * step, setting), of))
        return known[k]

    def takes(k: int) -> int:
        try:
            return needs(k)
        except HrvizError:
            refused.add(k)  # such as more patches than a method cuts
            return budget + 1

    usual = max(1, START // step)
    # networks refuse the smallest sides, each after it was traced
    first = usual if takes(usual) <= budget else smallest(needs)
    refused.clear()
    found = search(takes, step, budget, first)
    last = found.resolution // step
    return replace(found, beyond=None) if last + 1 in refused else found

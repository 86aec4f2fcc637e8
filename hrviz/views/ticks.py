"""Axes of charts for people: round numbers with units, what lines are called and how they look.

512 px, 1k, 2k; MiB and GiB; GFLOP. All front ends that draw a `Curve` read the same here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hrviz.views import colour

BINARY = tuple((2.0 ** (10 * k), f"{p}iB") for k, p in ((6, "E"), (5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "K")))  # fmt: skip
OPERATIONS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"))
PIXELS = ((1e12, "Tpx"), (1e9, "Gpx"), (1e6, "Mpx"))
COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "\u00b5s"))
MOST = 7  # texts along an axis
#: names of `hrviz.cost.models.MODELS` begin so: other lines need not load torch to know what they are
NETWORKS = ("efficientnet-", "vit-")
EFFICIENT = ("#4FA3DB", "#3F97D1", "#318BC7", "#257FBD", "#1C76B3", "#136CA8", "#0A629C", "#00578F")


@dataclass(frozen=True)
class Axis:
    """Where an axis is marked, and with which words.

    Parameters
    ----------
    label : str
        Without the unit where the texts have it.
    at : tuple of float
    texts : tuple of str
    """

    label: str
    at: tuple[float, ...]
    texts: tuple[str, ...]


def split(label: str) -> tuple[str, str]:
    """An axis's label into words and unit.

    Examples
    --------
    >>> split("memory needed (B)"), split("share of everywhere")
    (('memory needed', 'B'), ('share of everywhere', ''))
    """
    found = re.fullmatch(r"(.*\S)\s*\(([^()]+)\)", label)
    if found is None:
        return label, ""
    return found[1], {"bytes": "B", "FLOPs": "FLOP"}.get(found[2], found[2])


def amount(value: float, unit: str) -> str:
    """A value with its unit, three digits at most; `unit` '' counts things.

    Examples
    --------
    >>> amount(2.31 * 2**40, "B"), amount(1.5e15, "FLOP"), amount(63786960, "")
    ('2.31 TiB', '1.5 PFLOP', '63.8 M')
    """
    if value != value:
        return "no data"
    sizes = {"B": BINARY, "FLOP": OPERATIONS, "px": PIXELS, "": COUNTS, "s": SECONDS}.get(unit, ())
    size, name = next(((s, n) for s, n in sizes if abs(value) >= s), (1.0, unit))
    return f"{colour.number(float(f'{value / size:.3g}'))} {name}".strip()


def side(value: float) -> str:
    """A side in pixels on an axis: 512, 1k, 1.5k, 64k.

    Examples
    --------
    >>> [side(n) for n in (512, 1024, 1536, 65536, 1000)]
    ['512', '1k', '1.5k', '64k', '1000']
    """
    if value >= 1024 and value % 256 == 0:
        return f"{value / 1024:g}k"
    return f"{value:g}"


def axis(label: str, low: float, high: float, log: bool, most: int = MOST) -> Axis | None:
    """Marks for an axis from `low` to `high`; None where the unit needs no words of its own.

    Parameters
    ----------
    label : str
        With the unit in brackets behind it, if any: (B), (FLOP), (px), (s).
    low, high : float
    log : bool
    most : int
        Texts at most.
    """
    words, unit = split(label)
    sided = unit == "px" and not words.startswith("pixels")
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or (log and low <= 0):
        return None
    if log and (sided or unit == "B"):
        at = _octaves(low, high, most)
    elif log:
        at = _decades(low, high, most)
    elif unit in ("B", "FLOP"):
        at = _even(low, high, unit, most)
    else:
        return None
    if len(at) < 2:
        at = _even(low, high, unit, most)
    if sided:
        return Axis(label, tuple(at), tuple(side(v) for v in at))
    known = unit in ("B", "FLOP", "px", "s")
    texts = tuple(amount(v, unit if known else "") for v in at)
    return Axis(words if known else label, tuple(at), texts)


def _octaves(low: float, high: float, most: int) -> list[float]:
    """Powers of two, every first, second, third ...; at most so many."""
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    step = max(1, -(-(last - first + 1) // most))
    if step > 1:
        first = -(-first // step) * step
    return [2.0**k for k in range(first, last + 1, step)]


def _decades(low: float, high: float, most: int) -> list[float]:
    """1, 2, 5 of each power of ten, or fewer of them; at most so many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for heads, step in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 3), ((1,), 4), ((1,), 6)):
        begin = -(-first // step) * step
        at = [h * 10.0**k for k in range(begin, last + 1, step) for h in heads]
        at = [v for v in at if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(at) <= most:
            break
    return at


def _even(low: float, high: float, unit: str, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 of the unit that suits."""
    sizes = {"B": BINARY, "FLOP": OPERATIONS}.get(unit, ())
    size = next((s for s, _ in sizes if high >= s), 1.0)
    wanted = (high - low) / size / most
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= wanted) * size
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def crossings(x: np.ndarray, y: np.ndarray, level: float, log: bool) -> list[float]:
    """Where the line through the points meets a level; straight between points, or log against log.

    Examples
    --------
    >>> crossings(np.array([1.0, 2.0, 4.0]), np.array([1.0, np.nan, 16.0]), 4.0, True)
    [2.0]
    """
    known = np.isfinite(y) & ((x > 0) & (y > 0) if log else True)
    x, y = x[known], y[known]
    if log:
        if level <= 0:
            return []
        x, y, level = np.log(x), np.log(y), math.log(level)
    out = []
    for k in range(len(x) - 1):
        a, b = y[k] - level, y[k + 1] - level
        if a * b < 0 or (a == 0 and b != 0):
            at = float(x[k] + (x[k + 1] - x[k]) * a / (a - b))
            out.append(float(f"{math.exp(at):.6g}") if log else at)
    return out


def title(name: str, full: bool = False) -> str:
    """What a line is called: a method's or a named network's title, or its own name.

    'NAME: what of it' is taken apart.

    Parameters
    ----------
    name : str
    full : bool
        Of a network, say too that its classifier is left out.
    """
    from hrviz.method import METHODS

    if name in METHODS:
        return METHODS[name].title
    if name.startswith(NETWORKS):
        from hrviz.cost.models import MODELS

        if name in MODELS:
            found = MODELS[name].title
            return found if full else found.replace(" without its classifier", "")
    known, colon, rest = name.partition(": ")
    return f"{title(known, full)}: {rest}" if colon else name


def line_style(name: str, place: int, look: colour.Theme) -> colour.Style:
    """How a line is drawn: methods in their own colour, networks in theirs, others by `place`.

    EfficientNets are blue, darker the larger; vision transformers in the colour of text, the fused one
    dashed.
    """
    from hrviz.method import METHODS

    style = colour.line_style(name, place, look)
    if name in METHODS:
        return colour.Style(name, colour.method_colour(name), style.dash)  # no quantity's area fill
    if name.startswith("efficientnet-b") and name[-1:].isdigit():
        return colour.Style(name, EFFICIENT[int(name[-1]) % len(EFFICIENT)])
    if name.startswith("vit-"):
        return colour.Style(name, look.text, (5, 2) if name.endswith("fused") else ())
    return style


def apart(at: Sequence[float], low: float, high: float, log: bool, least: float) -> list[bool]:
    """Of marks along an axis, in order: which have room for their text; the others share a place.

    Parameters
    ----------
    at : sequence of float
        Sorted.
    low, high : float
        Ends of the axis.
    log : bool
    least : float
        Share of the axis that a text takes.
    """

    def share(v: float) -> float:
        if log:
            return math.log(v / low) / math.log(high / low)
        return (v - low) / (high - low)

    out: list[bool] = []
    last = -math.inf
    for value in at:
        out.append(share(value) - last >= least)
        if out[-1]:
            last = share(value)
    return out

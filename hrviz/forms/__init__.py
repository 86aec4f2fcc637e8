"""A declared parameter as a control: Streamlit, napari (magicgui), notebooks, command line, docs.

Each module builds all controls of any method or scene from its `Param`s alone; none knows one. What
they share is here: the order, the steps of sliders, the ladder of logarithmic ones, clamping.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hrviz.errors import HrvizError
from hrviz.method import Param

LONG = 5000  # positions; a slider with more cannot be set with a mouse
PICTURES = ("png", "jpg", "jpeg", "tif", "tiff", "npy")


class Declared(Protocol):
    """What has controls: a `Method` or a `SceneKind`."""

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> tuple[Param, ...]: ...


def bound(declared: Declared, values: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults overridden by `values`, each checked.

    Raises
    ------
    HrvizError
        For a name that is not declared, or a value out of range.
    """
    known = {p.name: p for p in declared.params}
    for name in values:
        if name not in known:
            raise HrvizError(
                f"{declared.name} has no parameter {name!r}: it has {', '.join(known)}"
            )
    return {n: p.check(values[n]) if n in values else p.default for n, p in known.items()}


def split(declared: Declared, values: Mapping[str, Any]) -> tuple[list[Param], list[Param]]:
    """Parameters that matter under `values`: basic ones, and those behind 'more'."""
    shown = [p for p in declared.params if p.relevant(values)]
    return [p for p in shown if p.control.basic], [p for p in shown if not p.control.basic]


def label(param: Param) -> str:
    """Title, unit and what 0 stands for, where that is no amount."""
    control = param.control
    told = [text for text in (control.unit, control.zero and f"0: {control.zero}") if text]
    return f"{param.title} ({'; '.join(told)})" if told else param.title


def span(param: Param) -> tuple[float, float, float]:
    """Minimum, maximum and step of a number."""
    low, high = param.control.minimum, param.control.maximum
    assert low is not None and high is not None
    fallback = 1.0 if param.kind == "integer" else (high - low) / 100
    return low, high, param.control.step or fallback


def long(param: Param) -> bool:
    """Whether the range has too many positions for a slider: a field to type into serves.

    Logarithmic sliders have few positions; whole numbers over many powers of ten (a picture's size)
    are typed all the same, because each one is meant exactly.
    """
    low, high, step = span(param)
    if param.control.log:
        return param.kind == "integer" and high / max(low, 1) > 10 * LONG
    return (high - low) / step > LONG


def ladder(param: Param, *more: float, count: int = 49) -> list[float]:
    """Positions of a logarithmic slider: both ends, the default, `more`, and even ratios between.

    Examples
    --------
    >>> from hrviz.method import Control
    >>> ladder(Param("t", "number", 1.0, Control("", 0.1, 10.0, log=True)), count=5)
    [0.1, 0.32, 1.0, 3.2, 10.0]
    """
    low, high, _ = span(param)
    first = low or 1e-6 * high
    rungs = {float(f"{v:.2g}") for v in np.geomspace(first, high, count)}
    rungs = {v for v in rungs if low < v < high} | {low, high, float(param.default), *more}
    if param.kind == "integer":
        return sorted({round(v) for v in rungs})
    return sorted(rungs)


def settled(param: Param, value: Any) -> Any:
    """A slider's value in the parameter's own type, rounding noise at the ends removed."""
    if param.kind in ("number", "integer"):
        low, high, _ = span(param)
        value = min(max(float(f"{value:.9g}"), low), high)
        value = round(value) if param.kind == "integer" else value
    return param.check(value)


@cache
def _uploads() -> Path:
    return Path(tempfile.mkdtemp(prefix="hrviz-uploads-"))  # private to this process's user


def saved(name: str, data: bytes) -> str:
    """An upload as a file named by its content, so that the same one gives the same run.

    Raises
    ------
    HrvizError
        When it is neither a picture nor an array.
    """
    suffix = Path(name).suffix.lower()
    if suffix[1:] not in PICTURES:
        raise HrvizError(
            f"{Path(name).name!r} is not one of {', '.join(PICTURES)}: choose another file"
        )
    path = _uploads() / f"{hashlib.sha256(data).hexdigest()[:24]}{suffix}"
    if not path.exists():
        path.write_bytes(data)
    return str(path)

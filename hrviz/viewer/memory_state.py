"""What the Memory page is asked: subjects, setting, budget, and what is looked at; as an address too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hrviz.cost.devices import DEVICES, GIB
from hrviz.errors import HrvizError

#: sides of the study: doubling, so that what is reduced by 2, 4, 8 is metered already
SIDES = tuple(2**k for k in range(9, 17))
FIRST = ("efficientnet-b7", "uniform-downsampling", "cutting-into-patches", "saliency-sampler", "zoom-in-network")  # fmt: skip
MOST = 10  # subjects at once
#: quantity -> what its button says; 'time' is measured, the others are predicted
OF = {
    "needed": "Memory", "flops": "Operations", "parameters": "Parameters", "pixels": "Pixels read",
    "time": "Time",
}  # fmt: skip
PANELS = ("Answer", "Table", "Devices", "Breakdown", "Timeline", "Assumptions")
VIEWS = ("Growth", "Figures of the survey")
FIGURES = {
    "operations": "2a Operations", "time": "2b Time", "memory": "2c Memory", "parameters": "2d Parameters",
    "cameras": "3 Cameras", "table": "Table I",
}  # fmt: skip
MINE = "mine"


@dataclass
class Asked:
    """One state of the page.

    Attributes
    ----------
    names : tuple of str
        Subjects.
    network : str
        In place of task networks of methods; '' for their own.
    reduction : float
    training : bool
    optimiser : str
        '' for none.
    batch : int
    dtype : str
    device : str
        Of `DEVICES`, or 'mine'.
    mine : float, GiB
    of : str
        Of `OF`.
    side : int, px
        Where the breakdown is taken.
    subject : str
        Whose timeline is shown; '' for the first.
    panel, view, figure : str
        What is shown.
    """

    names: tuple[str, ...] = FIRST
    network: str = "efficientnet-b7"
    reduction: float = 4.0
    training: bool = False
    optimiser: str = "adam"
    batch: int = 1
    dtype: str = "float32"
    device: str = "3090"
    mine: float = 16.0
    of: str = "needed"
    side: int = 4096
    subject: str = ""
    panel: str = PANELS[0]
    view: str = VIEWS[0]
    figure: str = "operations"

    @property
    def budget(self) -> int:
        """Bytes."""
        return round(self.mine * GIB) if self.device == MINE else DEVICES[self.device].bytes

    @property
    def budget_title(self) -> str:
        """'48 GiB (RTX A6000)', for sentences."""
        if self.device == MINE:
            return f"{self.mine:g} GiB"
        words = DEVICES[self.device].title.rsplit(" ", 2)
        return f"{self.budget / GIB:g} GiB ({words[0]})"

    def query(self) -> dict[str, str]:
        """What an address must hold, defaults left out."""
        plain = Asked()
        out = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value != getattr(plain, f.name):
                out[f.name] = _text(value)
        return out


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse(query: Mapping[str, str], known: Callable[[str], bool]) -> tuple[Asked, list[str]]:
    """The inverse of `Asked.query`; what cannot be used is told, and the default stands in for it.

    Parameters
    ----------
    query : mapping
        Without the prefix that the address has.
    known : callable
        Whether there is a subject of this name.

    Examples
    --------
    >>> asked, problems = parse({"batch": "8", "dtype": "int3"}, lambda name: True)
    >>> asked.batch, problems
    (8, ["The link's dtype was not used: 'int3' is not allowed"])
    """
    from hrviz.cost.study import Setting

    out, problems = Asked(), []
    rules: dict[str, Callable[[Any], bool]] = {
        "names": lambda v: bool(v) and all(map(known, v)) and len(v) <= MOST,
        "device": lambda v: v in (*DEVICES, MINE),
        "mine": lambda v: 0 < v < 1e6,
        "of": OF.__contains__,
        "side": SIDES.__contains__,
        "subject": known,
        "panel": PANELS.__contains__,
        "view": VIEWS.__contains__,
        "figure": FIGURES.__contains__,
        "dtype": lambda v: bool(Setting(dtype=v).checked()),
        "network": lambda v: bool(Setting(network=v).checked()),
        "batch": lambda v: bool(Setting(batch=v).checked()) and v <= 1024,
        "reduction": lambda v: bool(Setting(reduction=v).checked()),
        "optimiser": lambda v: bool(Setting(training=True, optimiser=v or None).checked()),
    }
    for f in fields(out):
        text = query.get(f.name)
        if text is None:
            continue
        try:
            value = _value(getattr(out, f.name), text)
            if not rules.get(f.name, lambda _: True)(value):
                raise ValueError
        except (ValueError, HrvizError):
            problems.append(f"The link's {f.name} was not used: {text[:80]!r} is not allowed")
            continue
        setattr(out, f.name, value)
    out.names = tuple(n for n in out.names if known(n))
    return out, problems


def _value(default: Any, text: str) -> Any:
    """`text` as what `default` is."""
    if isinstance(default, bool):
        return {"true": True, "false": False}[text] if text in ("true", "false") else _refuse()
    if isinstance(default, tuple):
        return tuple(dict.fromkeys(part for part in text.split(",") if part))
    return type(default)(text)


def _refuse() -> Any:
    raise ValueError

"""What surrounds a run: device, cancellation, where canvases go, and what networks were used.

Methods read it (`current()`); only `hrviz.run` sets it. It is a context variable, so runs in
different threads do not see each other's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from hrviz.errors import Cancelled


@dataclass
class Context:
    """Surroundings of one run.

    Attributes
    ----------
    device : str
        Torch device of networks.
    cancelled : callable
        Whether the user asked to stop.
    folder : Path or None
        Where Zarr canvases of whole-image maps are written.
    focus : (float, float) or None
        Centre of what the user looks at, (y, x): whole-image work starts there.
    networks : dict
        Filled by `hrviz.nets`: name to (parameters, weights hash, badge).
    counts : dict
        Filled by shared code: e.g. network_pixels.
    """

    device: str = "cpu"
    cancelled: Callable[[], bool] = lambda: False
    folder: Path | None = None
    focus: tuple[float, float] | None = None
    networks: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop: long loops call it."""
        if self.cancelled():
            raise Cancelled

    def add(self, name: str, amount: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + amount


_CONTEXT: ContextVar[Context | None] = ContextVar("hrviz_context", default=None)


def current() -> Context:
    """The running context, or a plain one outside any run."""
    return _CONTEXT.get() or Context()

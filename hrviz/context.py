"""What surrounds a run: device, cancellation, where canvases go, and what networks were used.

Methods read it (`current()`); only `hrviz.run` sets it. It is a context variable, so runs in
different threads do not see each other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hrviz.errors import Cancelled

if TYPE_CHECKING:
    from hrviz.image import ImageView

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
R = TypeVar("R")


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
    scheduler : str or None
        Address of a dask scheduler whose workers run networks; None: here.
    elsewhere : callable or None
        How `map` hands work to that cluster; set by `hrviz.run`.
    """

    device: str = "cpu"
    cancelled: Callable[[], bool] = lambda: False
    folder: Path | None = None
    focus: tuple[float, float] | None = None
    networks: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    scheduler: str | None = None
    elsewhere: Callable[..., Iterator[Any]] | None = None

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop: long loops call it."""
        if self.cancelled():
            raise Cancelled

    def add(self, name: str, amount: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + amount

    def map(
        self, function: Callable[[ImageView, T], R], view: ImageView, items: Iterable[T]
    ) -> Iterator[R]:
        """`function(view, item)` of every item, in the order of `items`.

        Here one by one, or on the workers of a dask cluster several at a time: the results are the
        same. A method that uses it for its networks is marked with `spread`.

        Parameters
        ----------
        function : callable
            Depends on nothing but its arguments, and can be pickled: a function of a module, or a
            `functools.partial` of one with small arguments.
        view : ImageView
            Reads through it are counted, wherever they happen.
        items : iterable
            What goes to the workers: keep each small.

        Raises
        ------
        Cancelled
            Between two items, when the user asked to stop.
        HrvizError
            When the cluster has no workers (left), or an item ends every worker that tries it.
        """
        if self.elsewhere is not None:
            yield from self.elsewhere(function, view, items, self)
            return
        for item in items:
            self.check()
            yield function(view, item)


def spread(function: F) -> F:
    """Mark a method whose networks run only through `Context.map`.

    On a cluster its own body stays with the front end, and the items go to the workers; a method
    without the mark goes there as one task.
    """
    function.spread = True  # type: ignore[attr-defined]
    return function


_CONTEXT: ContextVar[Context | None] = ContextVar("hrviz_context", default=None)


def current() -> Context:
    """The running context, or a plain one outside any run."""
    return _CONTEXT.get() or Context()

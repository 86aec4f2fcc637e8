"""Work outside a run's account: what is only compared with must not be paid for by the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hrviz.context import current
from hrviz.cost.operations import METER

T = TypeVar("T")


def aside(work: Callable[[], T]) -> T:
    """Do some work so that neither its operations, networks nor network pixels are counted.

    Reads are counted by views: work through `view.image.view(view.box)`.
    """
    from torch.utils._python_dispatch import _disable_current_modes

    context = current()
    counts, networks = dict(context.counts), dict(context.networks)
    token = METER.set(None)
    try:
        with _disable_current_modes():
            out = work()
    finally:
        METER.reset(token)
    context.counts.clear()
    context.counts.update(counts)
    context.networks.clear()
    context.networks.update(networks)
    return out

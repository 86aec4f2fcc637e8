"""Operations of the numpy parts: shared primitives say what they did, a running meter adds it up.

Methods hold no measuring code; the few primitives they share (resampling, sampling) call `count`,
which does nothing unless `hrviz.run` opened a meter in this context.
"""

from __future__ import annotations

from contextvars import ContextVar

METER: ContextVar[dict[str, float] | None] = ContextVar("hrviz_operations", default=None)


def count(operator: str, flops: float) -> None:
    """Add `flops` (1 multiply-accumulate = 2) of a numpy primitive to the meter, if one runs."""
    meter = METER.get()
    if meter is not None:
        meter[operator] = meter.get(operator, 0.0) + flops

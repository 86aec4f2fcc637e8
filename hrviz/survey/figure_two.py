"""The survey's Figure 2, computed anew: what a network costs as its input grows.

(a) operations and (c) memory of EfficientNet-B7 without its last layer, (d) parameters of ViT-B/16
are predicted; (b) time is measured on the device at hand. The survey drew them on an RTX A6000
(48 GB), which is marked, and printed no numbers to compare with.

Of ViT-B/16 only the learned positions grow, by 3 parameters a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from hrviz.cost import study
from hrviz.cost.devices import DEVICES
from hrviz.errors import HrvizError
from hrviz.results import Curve

CONVOLUTIONS, TOKENS = "efficientnet-b7", "vit-b16"
SIDES = (224, 512, 1024, 1536, 2048, 3072, 4096)
#: those that a CPU times within a minute or so
TIMED = (224, 352, 512, 768, 1024)
AXIS = "side of the image (px)"
CAPTION = (
    "What a larger input costs: operations (a), time of one pass (b) and GPU memory (c) of "
    "EfficientNet-B7 without its classifier, which takes any size; parameters (d) of ViT-B/16."
)


def figure_two(
    sides: Sequence[int] = SIDES,
    on_point: Callable[[dict[str, Curve]], None] | None = None,
    check: Callable[[], None] | None = None,
) -> dict[str, Curve]:
    """Operations and memory of EfficientNet-B7 in inference, and parameters of ViT-B/16; predicted.

    Parameters
    ----------
    sides : sequence of int, px
        Multiples of 32.
    on_point : callable, optional
        Told all that is known after each side.
    check : callable, optional
        Called before each metering; raises to cancel.

    Returns
    -------
    dict of str to Curve
        'operations' (FLOP, 1 multiply-accumulate = 2), 'memory' (bytes: of tensors alone, and what a
        device must have for them) and 'parameters', over `sides`; nan where not reached yet.

    Raises
    ------
    HrvizError
        One sentence: no sides, or one that is not a multiple of 32.
    """
    asked = _checked(sides)
    flops, peak, needed, parameters = (np.full(len(asked), math.nan) for _ in range(4))
    found = _curves(asked, flops, peak, needed, parameters)
    for k, side in enumerate(asked):
        if check is not None:
            check()
        point = study.at(CONVOLUTIONS, side)
        flops[k], peak[k], needed[k] = point.flops, point.peak, point.needed
        if check is not None:
            check()
        parameters[k] = study.at(TOKENS, side).parameters
        found = _curves(asked, flops, peak, needed, parameters)
        if on_point is not None:
            on_point(found)
    return found


def time(
    sides: Sequence[int] = TIMED,
    on_point: Callable[[Curve], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Curve:
    """Seconds of a forward pass of EfficientNet-B7 without its last layer, measured on this device.

    Parameters
    ----------
    sides, on_point, check
        As of `figure_two`.

    Returns
    -------
    Curve
        The median, and a band from the fastest to the slowest; nan where a side was left out because it
        would not fit or would take too long (`hrviz.cost.latency` says which).
    """
    from hrviz.cost.latency import Latency, curve, latency

    asked = _checked(sides)
    rows: list[Latency] = []

    def told(row: Latency) -> None:
        rows.append(row)
        if on_point is not None:
            on_point(curve(asked, rows))

    latency(CONVOLUTIONS, asked, on_point=told, check=check)
    return curve(asked, rows)


def _checked(sides: Sequence[int]) -> tuple[int, ...]:
    asked = study.prepared([CONVOLUTIONS, TOKENS], sides, study.Setting()).sides
    step = max(study.step_of(name, study.Setting()) for name in (CONVOLUTIONS, TOKENS))
    for side in asked:
        if side % step:
            near = max(step, round(side / step) * step)
            raise HrvizError(f"a side of {side} px is not a multiple of {step}: choose {near}")
    return asked


def _curves(
    sides: tuple[int, ...],
    flops: np.ndarray,
    peak: np.ndarray,
    needed: np.ndarray,
    parameters: np.ndarray,
) -> dict[str, Curve]:
    x, device = np.array(sides, float), DEVICES["a6000"]

    def drawn(series: dict[str, np.ndarray], label: str, levels: dict[str, float]) -> Curve:
        held = {name: y.copy() for name, y in series.items()}
        return Curve(x, held, AXIS, label, log=True, tag="predicted", levels=levels)

    memory = {f"{CONVOLUTIONS}: tensors": peak, f"{CONVOLUTIONS}: needed of a device": needed}
    return {
        "operations": drawn({CONVOLUTIONS: flops}, "operations (FLOP)", {}),
        "memory": drawn(memory, "memory (B)", {device.title: float(device.bytes)}),
        "parameters": drawn({TOKENS: parameters}, "parameters", {}),
    }

"""What a network really takes of a CUDA device: the caching allocator's own peaks.

Nothing of this runs without a GPU; predictions are in `hrviz.cost.meter`.
"""

from __future__ import annotations

from typing import NamedTuple

from hrviz.cost import latency, study
from hrviz.cost.study import Part, Setting
from hrviz.errors import HrvizError


class Taken(NamedTuple):
    """Bytes that torch's allocator gave at most, and that it took from the device at most."""

    allocated: int
    reserved: int


def present() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def peak(name: str, side: int, setting: Setting = latency.DEFAULT, device: str = "cuda") -> Taken:
    """`peak_of` a named network at one side of a square image.

    Parameters
    ----------
    name : str
        Of `hrviz.cost.models.MODELS`.
    side : int, px
    setting : Setting
    device : str

    Raises
    ------
    HrvizError
        As `peak_of`, and what `study.at` refuses.
    """
    (part,) = study.at(name, side, setting).parts
    return peak_of(part, device)


def peak_of(part: Part, device: str = "cuda") -> Taken:
    """Run a call once, or train its network for a step, and read the allocator's peaks.

    With an optimiser there are two steps, since what it keeps exists after the first only. In a
    process that has used the device before, blocks which are kept from then change `reserved`: for
    comparison call it in a new process.

    Parameters
    ----------
    part : Part
        The call, and what was metered of it, which says how it is used.
    device : str

    Raises
    ------
    HrvizError
        One sentence: no CUDA device, memory that does not suffice.
    """
    import torch

    if not present():
        raise HrvizError("there is no CUDA device here to measure on: predict with 'hrviz curve'")
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step = latency.ready(part, device)
        for _ in range(2 if part.measure.optimiser else 1):
            step()
    except torch.OutOfMemoryError:
        shape = " x ".join(map(str, part.measure.shape))
        raise HrvizError(
            f"{part.call.network} on {shape} does not fit {torch.cuda.get_device_name(device)}: "
            "choose a smaller input"
        ) from None
    return Taken(
        torch.cuda.max_memory_allocated(device) - before, torch.cuda.max_memory_reserved(device)
    )

"""Memory: measured of this process (resident peak), predicted of a network (fake tensors)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def resident_bytes() -> int | None:
    """Resident memory of this process now; None where the system does not tell."""
    return _status("VmRSS:")


def reset_peak() -> bool:
    """Make `peak_bytes` start from now; False where the system cannot (not Linux)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """Largest resident memory of this process since `reset_peak`."""
    return _status("VmHWM:")


def _status(name: str) -> int | None:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def load_torch() -> None:
    """Import what measuring a network needs, so that no run pays for it in time or memory."""
    import torch.utils.flop_counter  # noqa: F401

    import hrviz.cost.meter  # noqa: F401


def predict_inference(module: nn.Module, shape: tuple[int, ...], part: str = "forward") -> int:
    """Peak bytes of one forward pass without gradients, float32, as `hrviz.cost.meter` finds it.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it is.
    shape : tuple of int
        Of the input batch.
    part : str
        Method of the module that is called.

    Returns
    -------
    int
        Largest sum of live tensor storages (parameters, buffers, input, activations) at any
        operator. Workspaces of convolution libraries and allocator rounding are not included.
    """
    from hrviz.cost.meter import Subject

    return Subject(module).measure(shape, part=part).peak

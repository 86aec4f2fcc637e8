"""Memory: measured of this process (resident peak), predicted of a network (fake tensors)."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    import torch._subclasses.fake_tensor
    import torch.utils.flop_counter  # noqa: F401


def predict_inference(module: nn.Module, shape: tuple[int, ...], part: str = "forward") -> int:
    """Peak bytes of one forward pass without gradients, at any size, without allocating it.

    Parameters
    ----------
    module : torch.nn.Module
        Its real parameters are counted, not copied.
    shape : tuple of int
        Of the input batch, float32.
    part : str
        Method of the module that is called.

    Returns
    -------
    int
        Largest sum of live tensor storages (parameters, buffers, input, activations) at any
        operator. Workspaces of convolution libraries and allocator rounding are not included.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Live(TorchDispatchMode):
        """Adds each new storage an operator returns, takes it away when it dies."""

        def __init__(self) -> None:
            super().__init__()
            self.now = self.peak = 0
            self.seen: set[int] = set()

        def hold(self, tensor: torch.Tensor) -> None:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self.seen:
                return
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key, size)

        def _free(self, key: int, size: int) -> None:
            self.seen.discard(key)
            self.now -= size

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, torch.Tensor):
                    self.hold(leaf)
            return out

    # parameters become fake inside the mode; their bytes are the same
    weights = (*module.parameters(), *module.buffers())
    fixed = sum(t.nbytes for t in weights)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    live = Live()
    known = [fake.from_tensor(t) for t in weights]
    live.seen.update(t.untyped_storage()._cdata for t in known)  # views of them are not new
    device = weights[0].device if weights else torch.device("cpu")
    with torch.no_grad(), fake, live:
        batch = torch.empty(shape, device=device)
        (module if part == "forward" else getattr(module, part))(batch)
    return fixed + live.peak

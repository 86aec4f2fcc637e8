"""The meter: parameters, operations and memory of any network at any resolution, without a GPU.

The network is run on fake tensors (`FakeTensorMode`), which have a shape but no memory, on the fake
device 'cpu', and every tensor is followed (`hrviz.cost.trace`). So a network of 100 GB is metered on
a laptop, in about a second, whatever its input. What follows from the tensors is then played to a
model of the CUDA caching allocator (`hrviz.cost.allocator`).

Notes
-----
Predicted is the memory of tensors, which is exact: the same tracker on real tensors gives the same
bytes. What kernels take for themselves is not in it, see `Measure.excluded`. A fake device 'cuda'
would need CUDA.
"""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses import fake_tensor as fakes
from torch.utils._python_dispatch import _disable_current_modes

from hrviz.cost import trace
from hrviz.cost.allocator import needed, replay
from hrviz.cost.measure import KINDS, Held, Measure, Place, Timeline
from hrviz.errors import HrvizError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HELD = 12  # tensors named at the peak
BUCKETS = 200  # of the timeline, two points each
CONTROL_FLOW = (
    fakes.DataDependentOutputException,
    fakes.DynamicOutputShapeException,
)


class Subject:
    """A network that is metered, at one input after another: a fake copy of its own.

    Parameters
    ----------
    network : torch.nn.Module or callable
        A module, which is left as it is; or a function without arguments that builds one, which is
        called among fake tensors, so that not even the weights take memory.
    dtype : str
        'float32', 'bfloat16' or 'float16': of weights, input and what follows from them.
    name : str, optional
        What messages call it; default its class.

    Raises
    ------
    HrvizError
        One sentence: no such dtype, not a network, one that cannot be copied.
    """

    def __init__(
        self,
        network: nn.Module | Callable[[], nn.Module],
        dtype: str = "float32",
        name: str = "",
    ) -> None:
        if dtype not in DTYPES:
            raise HrvizError(f"dtype={dtype!r} is not known: choose {', '.join(DTYPES)}")
        self.dtype = dtype
        self._mode = fakes.FakeTensorMode(allow_non_fake_inputs=True)
        built = network if isinstance(network, nn.Module) else self._build(network)
        if not isinstance(built, nn.Module):
            raise HrvizError(
                f"{built!r} is not a network: give a torch.nn.Module or a function that builds one"
            )
        self.name = name or type(built).__name__
        if isinstance(built, torch.jit.ScriptModule):
            self.module, self._weights = self._script(built)
        else:
            self.module, self._weights = self._copy(built)

    def _build(self, build: Callable[[], nn.Module]) -> nn.Module:
        try:
            with _alone(), self._mode:
                return build()
        except Exception:  # such as numbers taken from a tensor: then with real weights
            try:
                return build()
            except HrvizError:
                raise
            except Exception as error:
                raise HrvizError(
                    f"the network cannot be built: {_first(error)}; give a module, or a function "
                    "without arguments that builds one"
                ) from error

    def _copy(self, module: nn.Module) -> tuple[nn.Module, list[torch.Tensor]]:
        """The same network with fake weights of our dtype, and these; nothing real is copied."""
        known: dict[int, Any] = {}
        tensors = [*module.parameters(), *module.buffers()]
        for part in module.modules():
            if (
                isinstance(part, nn.modules.lazy.LazyModuleMixin)
                and part.has_uninitialized_params()
            ):
                raise HrvizError(
                    f"{self.name} has layers without a size ({type(part).__name__}): run it once, "
                    "then meter it"
                )
            tensors += [t for t in vars(part).values() if isinstance(t, torch.Tensor)]
        if any(t.layout != torch.strided for t in tensors):
            raise HrvizError(f"{self.name} has sparse weights: make them dense to meter it")
        ours = all(getattr(t, "fake_mode", None) is self._mode for t in tensors)
        if ours and all(self._fits(t) for t in tensors):
            return module, tensors
        with _alone(), self._mode:
            for tensor in tensors:
                known[id(tensor)] = self._fake(tensor)
        weights = list(known.values())
        try:
            return copy.deepcopy(module, known), weights
        except Exception as error:
            raise HrvizError(
                f"{self.name} cannot be copied ({_first(error)}): give a function that builds it"
            ) from error

    def _fits(self, tensor: torch.Tensor) -> bool:
        return not tensor.is_floating_point() or tensor.dtype == DTYPES[self.dtype]

    def _fake(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = tensor.dtype if self._fits(tensor) else DTYPES[self.dtype]
        made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device="cpu")
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(made, requires_grad=tensor.requires_grad)
        return made

    def _script(self, module: torch.jit.ScriptModule) -> tuple[nn.Module, list[torch.Tensor]]:
        """A real copy, as TorchScript keeps its own weights; its fake ones are what is followed."""
        file = io.BytesIO()  # deepcopy makes weights that cannot be learned
        torch.jit.save(module, file)
        file.seek(0)
        copied = torch.jit.load(file, "cpu").to(DTYPES[self.dtype])
        tensors = (*copied.parameters(), *copied.buffers())
        return copied, [self._mode.from_tensor(t) for t in tensors]

    def measure(
        self,
        shape: Sequence[int],
        *,
        training: bool = False,
        optimiser: str | None = None,
        part: str = "forward",
    ) -> Measure:
        """Cost at one input; as `meter`."""
        shape = _checked(shape, training, optimiser)
        if not callable(getattr(self.module, part, None)):
            raise HrvizError(f"{self.name} has no method {part!r}: choose 'forward'")
        found = self._record(shape, training, optimiser, part)
        alive = found.alive_at_peak()
        split = np.bincount([found.kinds[k] for k in alive], [found.nbytes[k] for k in alive], len(KINDS))  # fmt: skip
        largest = sorted(alive, key=lambda k: (-found.nbytes[k], k))[:HELD]
        history = found.history()
        peaks = replay(*history)
        assert peaks is not None  # a device without an end
        used = set(found.flops) | {place.operator for place in found.operators}
        return Measure(
            shape=shape,
            dtype=self.dtype,
            training=training,
            optimiser=optimiser,
            parameters=sum(p.numel() for p in self.module.parameters()),
            flops=sum(found.flops.values()),
            flops_by_operator=dict(found.flops),
            peak=found.peak,
            split={kind: int(n) for kind, n in zip(KINDS, split, strict=True)},
            allocated=peaks.allocated,
            reserved=peaks.reserved,
            needed=needed(*history, peaks),
            operators=len(found.operators),
            peak_at=found.operators[found.peak_operator],
            peak_operator=found.peak_operator,
            held=tuple(
                Held(found.nbytes[k], KINDS[found.kinds[k]], found.places[k]) for k in largest
            ),
            timeline=_thinned(found.levels, found.phases),
            assumed=_assumed(used, training, optimiser, self.dtype),
            excluded=EXCLUDED,
        )

    def _record(
        self, shape: tuple[int, ...], training: bool, optimiser: str | None, part: str
    ) -> trace.Recording:
        tracker = trace.Tracker()
        try:
            with _alone(), self._mode:
                batch = torch.empty(shape, dtype=DTYPES[self.dtype])
                found = trace.record(
                    self.module, batch, training=training, optimiser=optimiser, part=part,
                    weights=self._weights, tracker=tracker,
                )  # fmt: skip
        except trace.NoGradient:
            raise HrvizError(
                f"no output of {self.name} depends on a parameter that can be learned: meter it "
                "with training=False"
            ) from None
        except HrvizError:
            raise
        except Exception as error:
            raise self._told(error, shape, tracker.last) from error
        if not found.operators:
            raise HrvizError(f"{self.name} does nothing with its input: there is no cost to meter")
        return found

    def _told(self, error: Exception, shape: tuple[int, ...], at: Place | None) -> HrvizError:
        """One sentence for what went wrong inside the network."""
        where = f" (in {at.module or 'the network itself'}, {at.source or at.operator})" if at else ""  # fmt: skip
        if isinstance(error, CONTROL_FLOW):
            return HrvizError(
                f"{self.name} decides by the values in its data{where}, by {_operator(error)}: "
                "meter its parts one by one, or a copy in which the branch is fixed"
            )
        unknown = isinstance(error, NotImplementedError) and "::" in str(error)
        if (
            unknown
            or isinstance(error, fakes.UnsupportedOperatorException)
            or "no fake impl" in str(error)
        ):
            return HrvizError(
                f"{self.name} uses {_operator(error)}{where}, which does not say its output's "
                "shape: register one with torch.library.register_fake, then meter it"
            )
        if "numpy" in str(error):
            return HrvizError(
                f"{self.name} takes its values out of torch{where}: meter a copy that works on "
                "tensors alone"
            )
        return HrvizError(
            f"{self.name} does not run on an input of {' x '.join(map(str, shape))}{where}: "
            f"{_first(error)}; choose an input that it takes"
        )


@contextmanager
def _alone() -> Iterator[None]:
    """Among no other modes, without torch's traces on standard error, and without the fast path of
    transformer layers, which hides their operators.
    """
    log, mha = logging.getLogger(fakes.__name__), torch.backends.mha
    disabled, fast = log.disabled, mha.get_fastpath_enabled()
    log.disabled = True
    mha.set_fastpath_enabled(False)
    try:
        # such as a counter of what really runs
        with _disable_current_modes(), warnings.catch_warnings():
            # torch's own deepcopy asks for it
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            yield
    finally:
        log.disabled = disabled
        mha.set_fastpath_enabled(fast)


def meter(
    network: nn.Module | Callable[[], nn.Module],
    shape: Sequence[int],
    *,
    training: bool = False,
    optimiser: str | None = None,
    dtype: str = "float32",
    part: str = "forward",
) -> Measure:
    """Predict what a network costs at one input, without a GPU and without taking the memory.

    Parameters
    ----------
    network : torch.nn.Module or callable
        A module, which is left as it is; or a function without arguments that builds one.
    shape : sequence of int
        Of the input batch.
    training : bool
        Forward, backward and, with an optimiser, its step; else forward without gradients. The loss
        is the mean of the outputs.
    optimiser : str, optional
        'sgd', 'sgd-momentum' or 'adam'; it has stepped before, so what it keeps exists.
    dtype : str
        'float32', 'bfloat16' or 'float16': of weights, input and what follows from them.
    part : str
        Method of the module that is called.

    Returns
    -------
    Measure

    Raises
    ------
    HrvizError
        One sentence: a network that decides by its data, an operator of somebody's own that does
        not tell its shape, an input that the network does not take, a dtype or optimiser that is
        not known.

    Examples
    --------
    >>> from torch import nn
    >>> found = meter(nn.Conv2d(3, 8, 3, padding=1), (1, 3, 1000, 1000))
    >>> found.parameters, found.flops  # 2 a multiply-accumulate
    (224, 432000000)
    >>> found.split["weights"], found.split["input"], found.split["activations"], found.peak
    (896, 12000000, 32000000, 44000896)
    """
    return Subject(network, dtype).measure(shape, training=training, optimiser=optimiser, part=part)


EXCLUDED = (
    "workspaces of kernels: on a CPU convolutions took 4 % (EfficientNet-B7) to 47 % (a small network) more than their tensors, matrix products nothing; on CUDA cuDNN's may differ and cuBLAS keeps 8 to 32 MiB",
    "the CUDA context and the driver: some hundred MB of a device before the first tensor",
)


def _assumed(used: set[str], training: bool, optimiser: str | None, dtype: str) -> tuple[str, ...]:
    fused = any("flash_attention" in name for name in used)
    out = ["convolutions: one kernel, without a workspace or a copy of its input in another layout"]
    if fused:
        out.append("attention: fused (flash), the matrix of tokens by tokens is never held")
    elif "_softmax" in used and used & {"bmm", "baddbmm"}:
        out.append("attention: explicit, the matrix of tokens by tokens is held as often as the network makes it")  # fmt: skip
    if dtype != "float32":
        out.append(f"{dtype}: weights, input and all that follows, not autocast with float32 weights")  # fmt: skip
    if training:
        out.append("loss: the mean of the outputs")
    if "native_dropout" in used:
        out.append("dropout: fused, a mask of one byte a value")
    if optimiser:
        out.append("optimiser: torch's foreach form, its default on CUDA; a step after the first")
    return tuple(out)


def _checked(shape: Sequence[int], training: bool, optimiser: str | None) -> tuple[int, ...]:
    sizes = tuple(shape)
    if not sizes or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        raise HrvizError(
            f"shape={shape!r} is not the shape of a batch: choose whole numbers from 1, such as "
            "(1, 3, 512, 512)"
        )
    if optimiser is not None and optimiser not in trace.OPTIMISERS:
        raise HrvizError(
            f"optimiser={optimiser!r} is not known: choose {', '.join(trace.OPTIMISERS)} or None"
        )
    if optimiser is not None and not training:
        raise HrvizError(
            f"optimiser={optimiser!r} is of no use without training: choose training=True"
        )
    return sizes


def _thinned(levels: list[int], phases: dict[str, int]) -> Timeline:
    """At most two points a bucket: where it is lowest and where highest, in order."""
    values = np.array(levels)
    keep = list(range(len(values)))
    if len(values) > 2 * BUCKETS:
        edges = np.linspace(0, len(values), BUCKETS + 1).astype(int)
        ends = {0, len(values) - 1}
        for a, b in pairwise(edges):
            ends |= {int(a + values[a:b].argmin()), int(a + values[a:b].argmax())}
        keep = sorted(ends)
    return Timeline(tuple(keep), tuple(int(values[k]) for k in keep), dict(phases))


def _operator(error: Exception) -> str:
    """Name of the operator that an error is about."""
    found = re.search(r"[a-z_0-9]+(?:::|\.)[A-Za-z_0-9]+", str(getattr(error, "func", "") or error))
    return found[0].replace(".", "::") if found else "an operator"


def _first(error: Exception) -> str:
    """First line of somebody else's message, and the next where it only announces that."""
    first, _, rest = str(error).strip().partition("\n")
    line = f"{first} {rest.strip().partition(chr(10))[0]}" if first.endswith(":") else first
    return (line or type(error).__name__)[:300].rstrip(". ")

"""Follows every tensor that a network makes: when it is taken, when it dies, who made it and why.

A dispatch mode sees each operator. The first time an operator returns a storage, its bytes are
added; when the storage dies they are taken away. What views share is counted once, work in place
adds nothing. The same tracker runs on real tensors and on fake ones, which have a size but no
memory: both give the same bytes (tested), so a network's memory is known without taking it.

The loss of a training step is the sum of the means of all outputs that need a gradient: it takes
next to no memory itself, as any loss that reduces its input to a number.

Notes
-----
What an operator takes and gives back inside itself (workspaces of convolutions and matrix products)
is not a tensor and is not seen. In training, dropout is run as `native_dropout`, whose mask is one
byte a value, as on CUDA; on the CPU torch would keep a mask of the input's type. Dropout inside fused
attention, which CUDA does there and the CPU cannot, is left out: it keeps nothing.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from inspect import signature
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hrviz.cost.backward import formulas
from hrviz.cost.measure import KINDS, Place

WEIGHTS, ACTIVATIONS, GRADIENTS, OPTIMISER, INPUT, OTHER = range(len(KINDS))
OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    # foreach is what torch chooses on CUDA; its temporaries are as large as the parameters
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, foreach=True),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, foreach=True),
}


@dataclass
class Recording:
    """What a run did, storage by storage; a storage is called by its number.

    Attributes
    ----------
    nbytes, kinds, places : list
        Of each storage: its size, index into `KINDS`, and where it was made.
    events : list of int
        In order: k where storage k is taken, ~k where it is given back.
    levels : list of int
        Bytes held after each operator of the recorded step.
    operators : list of Place
        The same operators.
    flops : Counter
        Of the recorded step, by operator.
    peak : int
        Most bytes held after any operator of the recorded step.
    peak_event, peak_operator : int
        How many events had happened then; which operator it was.
    phases : dict of str to int
        First operator of 'forward', 'backward' and 'optimiser'.
    marks : list of int
        With an optimiser, how many events there were: before it was prepared, before it made what
        it keeps, before the recorded step, and before its own part of that step.
    """

    nbytes: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    operators: list[Place] = field(default_factory=list)
    flops: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    peak_event: int = 0
    peak_operator: int = -1
    phases: dict[str, int] = field(default_factory=dict)
    marks: list[int] = field(default_factory=list)

    def history(self) -> tuple[list[int], list[int]]:
        """Events and sizes as an allocator sees them from the start.

        An optimiser makes what it keeps after the first backward pass, in the holes that it left;
        the second step is the recorded one. So a first step comes before: the recorded one again.
        """
        if not self.marks:
            return self.events, self.nbytes
        start, keeps, step, ends = self.marks
        sizes = list(self.nbytes)
        again: dict[int, int] = {}  # number in the recorded step: in the first
        first: list[int] = []
        for event in self.events[step:ends]:
            number = event if event >= 0 else ~event
            if event >= 0:
                again[number] = len(sizes)
                sizes.append(self.nbytes[number])
                first.append(again[number])
            elif number in again:
                first.append(~again.pop(number))
        # gradients in the place of those that the optimiser was prepared with
        stand_ins = {e for e in self.events[start:keeps] if e >= 0}
        prepared = [e for e in self.events[keeps:step] if (e if e >= 0 else ~e) not in stand_ins]
        freed = [~number for number in again.values()]
        return [*self.events[:start], *first, *prepared, *freed, *self.events[step:]], sizes

    def alive_at_peak(self) -> list[int]:
        """Numbers of the storages held at the peak."""
        alive: dict[int, None] = {}
        for event in self.events[: self.peak_event]:
            if event >= 0:
                alive[event] = None
            else:
                del alive[~event]
        return list(alive)


class Tracker(TorchDispatchMode):
    """Writes a `Recording` of all operators that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.out = Recording()
        self.now = 0
        self.recording = False
        self.kind = ACTIVATIONS
        self.phase = "forward"
        self.modules: list[str] = []
        self.last: Place | None = None
        # address of a storage: its number, and a weak reference that tells when it dies
        self._held: dict[int, tuple[int, Any]] = {}
        self._made: dict[int, Place] = {}  # number of an autograd node: the forward operator
        self._formulas = formulas()

    def hold(self, tensor: torch.Tensor, kind: int, place: Place | None = None) -> None:
        """Count a tensor's storage, unless it is counted already."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._held:
            return
        out, number, size = self.out, len(self.out.nbytes), storage.nbytes()
        out.nbytes.append(size)
        out.kinds.append(kind)
        out.places.append(place)
        out.events.append(number)
        self.now += size

        def free(_: Any) -> None:
            del self._held[address]
            out.events.append(~number)
            self.now -= size

        self._held[address] = (number, weakref.ref(storage, free))

    def relabel(self, tensor: torch.Tensor, kind: int) -> None:
        """Say what a counted tensor turned out to be."""
        held = self._held.get(tensor.untyped_storage()._cdata)
        if held is not None and self.out.kinds[held[0]] != WEIGHTS:
            self.out.kinds[held[0]] = kind

    def enter(self, phase: str, kind: int) -> None:
        """What follows belongs to another part of the step."""
        self.phase, self.kind = phase, kind
        if self.recording:
            self.out.phases[phase] = len(self.out.levels)

    @contextmanager
    def names(self, module: nn.Module) -> Iterator[None]:
        """Know which module runs; the module is as before afterwards."""
        handles: list[Any] = []
        for name, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue  # takes no hooks

            def push(*_: Any, name: str = name) -> None:
                self.modules.append(name)

            def pop(*_: Any) -> None:
                self.modules.pop()

            handles.append(part.register_forward_pre_hook(push))
            handles.append(part.register_forward_hook(pop, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _place(self, operator: str) -> Place:
        if self.phase == "forward" or self.modules:  # a module runs in backward when checkpointed
            place = Place(operator, self.modules[-1] if self.modules else "", _line(), self.phase)
            # the node of this operator has just been numbered
            self._made.setdefault(_sequence() - 1, place)
            return place
        node = torch._C._current_autograd_node() if self.phase == "backward" else None
        made = self._made.get(node._sequence_nr()) if node is not None else None
        if made is None:
            return Place(operator, "", "", self.phase)
        return Place(operator, made.module, made.source, self.phase)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace in ("prim", "profiler"):
            return func(*args, **kwargs)  # questions and remarks, no work
        place = self.last = self._place(func._schema.name.rpartition("::")[2])
        made = func(*args, **kwargs)
        kind = ACTIVATIONS if self.modules else self.kind
        leaves = (made,) if isinstance(made, torch.Tensor) else tree_leaves(made)
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor):
                self.hold(leaf, kind, place)
        if self.recording:
            out = self.out
            count = self._formulas.get(func._overloadpacket)
            if count is not None:
                out.flops[place.operator] += int(count(*args, **kwargs, out_val=made))
            if self.now > out.peak:
                out.peak, out.peak_event, out.peak_operator = self.now, len(out.events), len(out.levels)  # fmt: skip
            out.levels.append(self.now)
            out.operators.append(place)
        return made


_sequence: Callable[[], int] = torch._C._autograd._get_sequence_nr


def _line() -> str:
    """The line outside torch that runs now, as 'package.module:line'; '' where only torch's own run."""
    frame: FrameType | None = sys._getframe(3)  # of what called the operator
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if frame.f_code in _OURS:
            return ""
        if name not in ("torch", __name__) and not name.startswith("torch."):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class _AsOnCuda(TorchFunctionMode):
    """Dropout as CUDA does it: with a mask of bytes, and inside fused attention without any."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            x, p, training, inplace = _dropout(*args, **kwargs)
            if training and 0 < p < 1 and not inplace:
                return torch.native_dropout(x, p, True)[0]
        elif func is F.scaled_dot_product_attention:
            args, kwargs = args[:4], {**dict(zip(_AFTER_MASK, args[4:], strict=False)), **kwargs}
            kwargs["dropout_p"] = 0.0
        elif func is F.multi_head_attention_forward:  # what it calls does not come here
            bound = _ATTENTION.bind(*args, **kwargs)
            if not bound.arguments.get("need_weights", True):
                bound.arguments["dropout_p"] = 0.0
            args, kwargs = bound.args, bound.kwargs
        return func(*args, **kwargs)


_AFTER_MASK = ("dropout_p", "is_causal")
_ATTENTION = signature(F.multi_head_attention_forward)


def _dropout(
    input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> tuple[torch.Tensor, float, bool, bool]:
    return input, p, training, inplace


def loss(outputs: Any) -> torch.Tensor | None:
    """Sum of the means of all outputs that need a gradient; None where none does."""
    means = [
        t.float().mean()
        for t in tree_leaves(outputs)
        if isinstance(t, torch.Tensor) and t.requires_grad
    ]
    return sum(means[1:], means[0]) if means else None


class NoGradient(Exception):
    """No output of the network depends on a parameter that is trained."""


def record(
    module: nn.Module,
    batch: torch.Tensor,
    *,
    training: bool = False,
    optimiser: str | None = None,
    part: str = "forward",
    weights: Sequence[torch.Tensor] | None = None,
    tracker: Tracker | None = None,
) -> Recording:
    """Run a network once, or train it for a step, and follow its tensors.

    Parameters
    ----------
    module : torch.nn.Module
        Real, or fake inside a fake mode. It is set to train or eval, and trained in earnest: give a
        copy.
    batch : Tensor
    training : bool
        Forward, backward, and the optimiser's step where there is one; else forward without
        gradients.
    optimiser : str, optional
        One of `OPTIMISERS`. It has stepped before: what it keeps exists.
    part : str
        Method of the module that is called.
    weights : sequence of Tensor, optional
        What is held all the time; default parameters and buffers.
    tracker : Tracker, optional
        A new one, whose `last` operator tells where a failure happened.

    Returns
    -------
    Recording

    Raises
    ------
    NoGradient
        When there is nothing to train.
    """
    tracker = tracker or Tracker()
    for tensor in (*module.parameters(), *module.buffers()) if weights is None else weights:
        tracker.hold(tensor, WEIGHTS)
    tracker.hold(batch, INPUT)
    module.train(training)
    run = module if part == "forward" else getattr(module, part)
    with ExitStack() as stack:
        stack.enter_context(tracker.names(module))
        if not training:
            stack.enter_context(torch.no_grad())
            stack.enter_context(tracker)
            tracker.recording = True
            tracker.enter("forward", ACTIVATIONS)
            run(batch)
        else:
            trained = [p for p in module.parameters() if p.requires_grad]
            if not trained:
                raise NoGradient
            stack.enter_context(tracker)
            stepper = OPTIMISERS[optimiser](trained) if optimiser else None
            if stepper is not None:
                _prepare(tracker, trained, stepper)
            tracker.recording = True
            _step(tracker, run, batch, trained, stepper)
    return tracker.out


def _prepare(tracker: Tracker, trained: list[nn.Parameter], stepper: torch.optim.Optimizer) -> None:
    """Let the optimiser make what it keeps, from gradients of zero."""
    marks = tracker.out.marks
    tracker.enter("optimiser", OTHER)
    marks.append(len(tracker.out.events))
    for p in trained:
        p.grad = torch.zeros_like(p)
    marks.append(len(tracker.out.events))
    stepper.step()
    for tensor in tree_leaves([list(s.values()) for s in stepper.state.values()]):
        if isinstance(tensor, torch.Tensor):
            tracker.relabel(tensor, OPTIMISER)
    stepper.zero_grad(set_to_none=True)
    marks.append(len(tracker.out.events))


def _step(
    tracker: Tracker,
    run: Callable[[torch.Tensor], Any],
    batch: torch.Tensor,
    trained: list[nn.Parameter],
    stepper: torch.optim.Optimizer | None,
) -> None:
    with _AsOnCuda():
        tracker.enter("forward", ACTIVATIONS)
        value = loss(run(batch))
        if value is None:
            raise NoGradient
        tracker.enter("backward", GRADIENTS)
        value.backward()
    if stepper is not None:
        tracker.enter("optimiser", OTHER)
        tracker.out.marks.append(len(tracker.out.events))
        stepper.step()
    for p in trained:
        p.grad = None


_OURS = (record.__code__, _step.__code__)  # above them nothing belongs to the network

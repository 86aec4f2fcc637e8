"""What the meter finds: a network's parameters, operations and memory at one input, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

KINDS = ("weights", "activations", "gradients", "optimiser", "input", "other")


class Place(NamedTuple):
    """Where something happened.

    Attributes
    ----------
    operator : str
        Of ATen, such as 'convolution'.
    module : str
        Path of the innermost module; '' outside any. In the backward pass, of the module whose
        operator is differentiated.
    source : str
        'package.module:line' of the innermost line outside torch; '' where there is none.
    phase : str
        'forward', 'backward' or 'optimiser'.
    """

    operator: str
    module: str
    source: str
    phase: str


@dataclass(frozen=True)
class Held:
    """A tensor that is alive at the peak.

    Parameters
    ----------
    bytes : int
    kind : str
        One of `KINDS`.
    place : Place or None
        Where it was made; None for weights and the input.
    """

    bytes: int
    kind: str
    place: Place | None


@dataclass(frozen=True)
class Timeline:
    """Memory of one step against its operators, thinned so that the peak stays.

    Parameters
    ----------
    operators : tuple of int
        Which operator, counted from 0.
    bytes : tuple of int
        Held after it.
    phases : dict of str to int
        First operator of each of 'forward', 'backward', 'optimiser'.
    """

    operators: tuple[int, ...]
    bytes: tuple[int, ...]
    phases: dict[str, int]


@dataclass(frozen=True)
class Measure:
    """Cost of one forward pass or one training step.

    Parameters
    ----------
    shape : tuple of int
        Of the input batch.
    dtype : str
        Of weights, input and what follows from them.
    training : bool
        Forward, backward and, where there is an optimiser, its step; else forward alone.
    optimiser : str or None
    parameters : int
        Numbers that can be learned.
    flops : int
        Of that pass or step, 1 multiply-accumulate = 2. Convolutions, matrix products, attention,
        sampling and Fourier transforms; not norms, activations, softmax.
    flops_by_operator : dict of str to int
    peak : int
        Bytes of all tensors alive at the worst moment: what an allocator without waste would need.
    split : dict of str to int
        The same by `KINDS`, which add up to it. Weights: parameters and buffers. Activations: what
        the forward pass made. Gradients: what the backward pass made, of parameters and activations.
        Optimiser: what it keeps from step to step. Other: what its step takes meanwhile.
    allocated, reserved : int
        Peaks of the CUDA caching allocator, modelled: blocks in use, and segments taken from the
        device.
    needed : int
        The smallest device on which that allocator runs it: it gives free segments back when the
        device is full. Between `allocated` and `reserved`.
    operators : int
        How many ran.
    peak_at : Place
    peak_operator : int
        Its number in the timeline.
    held : tuple of Held
        The largest tensors at the peak, the largest first.
    timeline : Timeline
    assumed, excluded : tuple of str
        Sentences: which kernels are taken for granted, and what is not in the numbers.
    """

    shape: tuple[int, ...]
    dtype: str
    training: bool
    optimiser: str | None
    parameters: int
    flops: int
    flops_by_operator: dict[str, int]
    peak: int
    split: dict[str, int]
    allocated: int
    reserved: int
    needed: int
    operators: int
    peak_at: Place
    peak_operator: int
    held: tuple[Held, ...]
    timeline: Timeline
    assumed: tuple[str, ...]
    excluded: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `from_json` reads it back."""
        plain = asdict(self)
        for part in (plain, *plain["held"]):
            key = "peak_at" if part is plain else "place"
            part[key] = part[key] and list(part[key])
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Measure:
        """What `to_json` wrote."""
        line = plain["timeline"]
        changed = {
            "shape": tuple(plain["shape"]),
            "peak_at": Place(*plain["peak_at"]),
            "held": tuple(
                Held(h["bytes"], h["kind"], h["place"] and Place(*h["place"]))
                for h in plain["held"]
            ),
            "timeline": Timeline(tuple(line["operators"]), tuple(line["bytes"]), line["phases"]),
            "assumed": tuple(plain["assumed"]),
            "excluded": tuple(plain["excluded"]),
        }
        return cls(**plain | changed)

"""What the cost models of zooming methods share: calls in batches, and the first look of those that attend."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hrviz.cost.declared import Call, Params, stored
from hrviz.methods.zooming import attended


def aim(params: Params, automatic: str) -> str:
    """The task; `automatic`, that of the method's example, where none is named."""
    task = str(params["task"])
    return automatic if task == "automatic" else task


def searching(params: Params, kind: str) -> str | None:
    """Weights of a kind ('ats', ...) for the task asked for; None where no network searches."""
    asked = attended.SETS.get(aim(params, "cell search"))
    return f"{asked}-{kind}" if asked else None


def batched(
    network: str, count: float, most: int, shape: tuple[int, ...], part: str = "forward", *,
    task: bool = False, trained: bool = True,
) -> list[Call]:  # fmt: skip
    """Calls on `count` inputs of one shape, at most `most` at once.

    Parameters
    ----------
    network : str
    count : float
        Need not be whole where it is an expectation.
    most : int
    shape : tuple of int
        Of one input.
    part, task, trained
        As in `Call`.

    Examples
    --------
    >>> [(call.shape, call.times) for call in batched("net", 70, 32, (3, 8, 8))]
    [((32, 3, 8, 8), 2.0), ((6, 3, 8, 8), 1.0)]
    >>> [(call.shape, call.times) for call in batched("net", 1.5, 32, (48,))]
    [((2, 48), 0.75)]
    """
    full, rest = divmod(count, most)
    last = math.ceil(rest - 1e-9)
    sizes = [(most, float(full)), (last, rest / max(1, last))]
    return [
        Call(network, (n, *shape), times, part, task, trained) for n, times in sizes if n and times
    ]


def level(height: int, width: int, downsample: float) -> float:
    """Pixels of a whole region at the coarsest stored level that is no coarser than `downsample`.

    Examples
    --------
    >>> level(4096, 4096, 4.0) == 1024**2 == level(4096, 4096, 7.0) == level(4096, 4096, 64.0)
    True
    """
    size = max(1, int(height / downsample)), max(1, int(width / downsample))
    return stored(height, width, size)


@dataclass(frozen=True)
class Attending:
    """A small view whose positions compete for patches at full resolution.

    Attributes
    ----------
    network : str or None
        Name of the weights; None without a task.
    calls : list of Call
        Of the network on the view; none where a stand-in attends.
    positions : int
    patch : int, px
        Side, level 0.
    pixels, patch_pixels : float
        Asked of the image for the view, and for one patch that lies in the region.
    """

    network: str | None
    calls: list[Call]
    positions: int
    patch: int
    pixels: float
    patch_pixels: float

    @classmethod
    def of(cls, params: Params, height: int, width: int, kind: str) -> Attending:
        """From the parameters of attention sampling ('ats') or patch selection ('patch-selection')."""
        network = searching(params, kind)
        view = attended.size_of(height, width, params["scale"])
        shape = attended.positions(view)
        calls = []
        if network and params["saliency"] == "trained" and attended.knows(network, params["scale"]):
            calls = [Call(network, (1, 3, *view), part="look")]
        patch = params["patch"] or attended.default_patch(height, width, shape, network)
        return cls(
            network, calls, shape[0] * shape[1], patch, stored(height, width, view),
            float(min(patch, height) * min(patch, width)),
        )  # fmt: skip

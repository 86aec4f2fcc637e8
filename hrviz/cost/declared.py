"""What a method says of its own cost: which networks it calls on which inputs, and how that grows.

Every method file hands a `CostModel` to `@method(cost=...)`. From it the study (`hrviz.cost.study`)
meters the networks at the inputs they are really given, for an image of any size, without running
the method or reading a pixel. What a run did is the test: operations declared against operations
counted (`tests/cost/test_declared.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Params = Mapping[str, Any]
COARSEST = 1024  # px a side of the coarsest stored level, as scenes and converted images have it
#: How the numbers of a model stand to a run's.
Certainty = Literal["exact", "most", "expected"]
#: Whether a training step holds all calls of an image until its backward pass, or one after another;
#: or nothing of the method is trained.
Trained = Literal["together", "apart", "no"]


@dataclass(frozen=True)
class Call:
    """Calls of one network on batches of one shape.

    Parameters
    ----------
    network : str
        Name of bundled weights (`hrviz.nets.ARCHITECTURES`) or of `hrviz.cost.models.MODELS`.
    shape : tuple of int
        Of the batch, (n, channels, height, width) or whatever `part` takes.
    times : float
        How often for one image; need not be whole where it is an expectation.
    part : str
        Method of the network that is called.
    task : bool
        It is the task's network, for which another may be put to see what the method saves with that.
    trained : bool
        A training step goes through it.
    """

    network: str
    shape: tuple[int, ...]
    times: float = 1.0
    part: str = "forward"
    task: bool = False
    trained: bool = True


@dataclass(frozen=True)
class CostModel:
    """How a method's cost follows from its parameters and the size of what it is applied to.

    Parameters
    ----------
    calls : callable
        Of parameters (bound; 'automatic' is the task of the method's example) and height and width of
        the region in level-0 pixels: all network calls of one run, those of steps in `beside` not
        among them.
    pixels : callable
        Of the same: pixels asked of the image, at whatever level, each time counted.
    growth : str
        LaTeX: how operations or pixels grow, in the paper's or the fact sheet's letters.
    exponent : float
        p of operations ~ side**p for a large square image, all parameters fixed.
    memory_exponent : float
        p of memory ~ side**p likewise.
    holds_from : int, px
        Side from which both are right: beyond what bounds of views still let grow.
    resized : str
        Parameter that says the longer side of the output, of methods that resample the region to it; ''
        for others. A study may let it follow the image.
    work : callable, optional
        Of the same: FLOPs of the method's own arithmetic (a solver, a warp), where it has no network or
        they are not negligible.
    certainty : {'exact', 'most', 'expected'}
        Whether a run does just this, at most this, or this on average.
    beside : tuple of str
        Steps of a run that only compare (exact sums, redraws, the whole image at once): what they cost
        is not the method's and not declared.
    trained : {'together', 'apart', 'no'}
    note : str
        One sentence for people: what is taken for granted.
    """

    calls: Callable[[Params, int, int], Sequence[Call]]
    pixels: Callable[[Params, int, int], float]
    growth: str
    exponent: float = 0.0
    memory_exponent: float = 0.0
    holds_from: int = 8192
    resized: str = ""
    work: Callable[[Params, int, int], float] | None = None
    certainty: Certainty = "exact"
    beside: tuple[str, ...] = ()
    trained: Trained = "together"
    note: str = ""


def stored(height: float, width: float, size: tuple[int, int], image: float = 0.0) -> float:
    """Pixels read of a pyramid whose levels halve, to give a region as `size`: of the level just finer.

    Parameters
    ----------
    height, width : float, level-0 px
        Of the region.
    size : (int, int), px
    image : float, px
        Longer side of the whole image, which says how many levels there are (the coarsest has at most
        1,024 px a side); 0 where the region is the image.

    Examples
    --------
    >>> stored(8192, 8192, (512, 512)), stored(8192, 8192, (300, 300)), stored(400, 400, (100, 100))
    (1048576.0, 1048576.0, 160000.0)
    """
    longer = image or max(height, width)
    levels = 0
    while longer / 2**levels > COARSEST:
        levels += 1
    asked = math.floor(math.log2(max(1.0, min(height / size[0], width / size[1]))))
    shrunk = 2 ** min(levels, asked)
    return float(math.ceil(height / shrunk) * math.ceil(width / shrunk))

r"""REMIX: several detectors share one image, each the blocks where it pays, within a latency budget.

Where objects are large a light detector on a coarse block finds them; where they are small a block
is split, or given to a heavier one; where nobody was seen lately the block is skipped. Which network
looks where is planned exactly from three things: how well each network does on objects of each
size, how long it takes, and where objects of which size were in the frames before.

With :math:`\mathrm{AP}_n` the accuracy of network n by size as seen in its input and :math:`F_p` the
sizes in block p,

.. math:: \max \sum_p \lambda_p\, \mathrm{AP}_{n(p)} \cdot F_p
   \quad \text{subject to} \quad \sum_p L_{n(p)} \le T

over all partitions of a quadtree and all choices n(p), :math:`\lambda_p` being the block's share of
objects. While the film goes on, a block without detections is skipped for longer and longer, and a
controller gives the time saved back to the plan.

Paper: Jiang, Lin, Li, Shu, Liu, "Flexible high-resolution object detection on edge devices with tunable
latency", MobiCom 2021.

Notes
-----
The survey's outline and published notes are followed; the paper's own code is not public. Blocks are
quarters, not free cuts, and the plan is a Pareto programme that is exact for whole milliseconds
(`remix_plan`). Latencies are those recorded by `hrviz train crowd-profile` on the machine its table
names, in sequence (no batches), so that the same plan is made everywhere; what this run took is among
its costs. A box's score is the share of right boxes at that score on held-out crowds, so that those of
different detectors can be merged and the least score that is shown asks the same of all. An object
belongs to the block that holds its centre. Blocks are read with a margin,
where the paper pads by a fit of object size against position. With no history every block would be
worthless, so some even prior is added.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np

from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import task as tasks
from hrviz.methods.detection import SHOWN, score
from hrviz.methods.detection import calls as detecting
from hrviz.methods.zooming import remix_run
from hrviz.methods.zooming.costs import aim as aim_of
from hrviz.methods.zooming.remix_plan import SKIP, Leaf, Plans
from hrviz.methods.zooming.remix_profile import EDGES, profile
from hrviz.results import Curve, Prediction, Step

PeopleTask = Annotated[
    Literal["automatic", "person detection", "none"],
    Control("Whether detectors look at the blocks; 'none' only plans."),
]
History = Annotated[
    Literal["truth", "detections"],
    Control("Where objects were in the frames before: as the scene knows it (an oracle), or as the "
            "heaviest detector finds them."),
]  # fmt: skip
Budget = Annotated[
    float,
    Control("Latency a frame may take, by the recorded profile. Up: more and finer blocks.", 0.0, 2000.0,
            10.0, unit="ms", title="Latency budget"),
]  # fmt: skip
Depth = Annotated[
    int, Control("How often a block may be split. Up: finer plans.", 1, 5, 1, title="Splits")
]
Past = Annotated[
    int, Control("Frames before this one that tell where objects are.", 1, 8, 1, unit="frames")
]  # fmt: skip
Lag = Annotated[
    int, Control("Frames between two of those. Up: an older history, people have moved on.", 1, 25, 1,
                 unit="frames", basic=False),
]  # fmt: skip
Prior = Annotated[
    float, Control("Objects spread evenly over the image in the plan. Up: fewer blocks are skipped.",
                   0.0, 50.0, 0.5, unit="objects", basic=False),
]  # fmt: skip
Follow = Annotated[
    int, Control("Frames of the film that are gone through, up to the one shown, to see blocks skipped.",
                 1, 16, 1, unit="frames", basic=False),
]  # fmt: skip


@lru_cache(maxsize=64)
def _even(height: int, width: int, splits: int, budget: int) -> tuple[Leaf, ...]:
    """Blocks looked at by the plan for objects that are spread evenly."""
    nobody = remix_run.Objects(np.zeros((0, 4)), 1, "")
    region, known = Box(0.0, 0.0, float(height), float(width)), profile()
    value = remix_run.worth(region, nobody, known, splits, 1.0)
    leaves = Plans(value, remix_run.milliseconds(known), budget).best()[2]
    return tuple(leaf for leaf in leaves if leaf.network != SKIP)


def _framed(params: Params, height: int, width: int) -> Counter[tuple[str, Box, tuple[int, int]]]:
    """Detector, region of the image and input of each block; those of one size together."""
    known, region = profile(), Box(0.0, 0.0, float(height), float(width))
    out: Counter[tuple[str, Box, tuple[int, int]]] = Counter()
    for leaf in _even(height, width, params["splits"], round(params["budget"])):
        seen, size = remix_run.framed(region, leaf, known)
        out[known.detectors[leaf.network], Box(0, 0, seen.height, seen.width), size] += 1
    return out


def _calls(params: Params, height: int, width: int) -> list[Call]:
    if aim_of(params, "person detection") == "none":
        return []
    return [
        call for (network, _, size), times in _framed(params, height, width).items()
        for call in detecting("person detection", size, float(times), network=network)
    ]  # fmt: skip


def _pixels(params: Params, height: int, width: int) -> float:
    return sum(
        times * stored(seen.height, seen.width, size, max(height, width))
        for (_, seen, size), times in _framed(params, height, width).items()
    )


def _work(params: Params, height: int, width: int) -> float:
    """The plan, at most: 4^D - 1 fronts of T latencies merged, an addition and a comparison a pair."""
    return (4.0 ** params["splits"] - 1) * float(round(params["budget"]) + 1) ** 2


COST = CostModel(
    _calls, _pixels,
    growth=r"O(T) \text{ at any size, planning } O(4^D T^2)",
    work=_work, certainty="expected", beside=("history", "frames"), trained="apart",
    note="The plan is that for objects spread evenly; the budget bounds it, whatever the image's size.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Jiang et al., MobiCom 2021",
    aliases=("flexible-detection",),
    equation=r"\max_{\text{partition},\,n} \; \sum_p \lambda_p\, \mathrm{AP}_{n(p)} \cdot F_p \quad \text{s.t.} \quad \sum_p L_{n(p)} \le T",
    use_when="A fixed camera films crowds of mixed sizes, and every frame has a time limit.",
    avoid_when="There is no history to plan from, or objects of all sizes are everywhere.",
    network=lambda params: params["task"] != "none" or params["history"] == "detections",
    example="scene:crowd?size=3840x2160&people=300&frames=250&seed=3000000#t=50",
    cost=COST,
)
def remix(
    view: ImageView,
    *,
    task: PeopleTask = "automatic",
    budget: Budget = 500.0,
    splits: Depth = 3,
    history: History = "truth",
    past: Past = 2,
    lag: Lag = 5,
    prior: Prior = 4.0,
    follow: Follow = 1,
) -> Iterator[Step]:
    """Plan which detector looks at which block of `view` within a latency budget, and look.

    Parameters
    ----------
    view : ImageView
        A frame of a film; of a still its own truth is the history.
    task : str
    budget : float, ms
    splits : int
        Depth of the quadtree.
    history : {'truth', 'detections'}
    past, lag : int
        Frames that tell where objects are, and the frames between them.
    prior : float
        Objects spread evenly.
    follow : int
        Frames gone through with blocks skipped.

    Yields
    ------
    profile : Curve
        Accuracy against an object's side in the network's input, recorded.
    history : Points
        Where objects were, by the root of their area.
    partition : Partition
        Blocks by network.
    tree : ZoomTree
        The same as a tree, with what was read.
    blocks : Picture
        Those worth most, as networks receive them.
    plans : Curve
        Expected accuracy against latency: the best plans, and even ones.
    latency : Prediction
        Of the plan, by the recorded profile.
    frames : Curve
        Latency of each frame gone through, against the budget.
    boxes : Boxes
    prediction : Prediction
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        No profile.
    """
    known = profile()
    middle = np.sqrt(np.array(EDGES[1:-1]) * np.r_[EDGES[1] / 2, EDGES[1:-2]])
    lines = {}
    for name, row in zip(known.detectors, known.accuracy, strict=True):
        lines[name.removeprefix("crowd-detector-")] = row[: len(middle)]
    yield Step("profile", Curve(middle, lines, "side in the network's input (px)", "AP at IoU 0.5"),
               f"Recorded {known.date} on {known.device}.")  # fmt: skip
    aim = tasks.resolve(task, view.truth, among=("person detection",))
    past_objects = remix_run.history(view, history, past, lag, known)
    yield Step("history", past_objects.points(), past_objects.told)
    film = remix_run.Film(view, past_objects, known, splits, round(budget), prior)
    yield Step("partition", film.partition(), film.told)
    yield Step(
        "plans",
        film.curve(),
        "Best plans against even ones: every block of one size by one network.",
    )
    values = {"planned": float(film.latency), "budget": float(round(budget)), "expected_accuracy": film.value}  # fmt: skip
    yield Step("latency", Prediction(values, unit="ms", source=known.badge), film.spoken)
    if aim != "none" and follow > 1:
        for curve, done in film.follow(follow, lag):
            yield Step("frames", curve, "Blocks without detections are skipped for longer and longer.", done)  # fmt: skip
    seen = "looked at" if aim != "none" else "read, no network sees them"
    for tree, done in film.look(networks=aim != "none"):
        yield Step("tree", tree, f"{film.looked} of {film.blocks} blocks {seen}.", done)
    yield Step("blocks", film.sheet(), "The blocks worth most, as their networks receive them.")
    if aim == "none":
        return
    found = film.found()
    badge = "trained: " + " and ".join(sorted(set(known.detectors)))
    yield Step("boxes", found.result(("person",), badge), "Merged over blocks at IoU 0.5.")
    count = Prediction({"people": float(len(found.at_least(SHOWN).scores))}, source=badge)
    yield Step("prediction", count, "People found.")
    yield from score(view, found, aim, badge)

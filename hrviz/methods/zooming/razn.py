r"""RAZN: reinforced auto-zoom, window by window and level by level.

The region is cut into windows at a coarse level; a small policy network looks at each and decides
whether its answer would be better with more magnification. Where it breaks, the level's own
segmentation network answers at once; where it zooms, the same area is read at r times the resolution,
cut into r x r windows, and each of those is decided on again, at most m times.

With probability p of zooming at every level, one coarse window leads to

    policies: sum_(i<m) (p r^2)^i,     segmenters: (1 - p) sum_(i<m) (p r^2)^i + (p r^2)^m

calls, against r^(2m) for the finest level everywhere. Below p = 1 / r^2 the tree stays bounded
whatever m is. A policy is paid for its zooms by the relative improvement of the loss,
R = a (L(f_i) - L(f_(i+1))) / L(f_i) with a = 1 for zooming and 0 for breaking: losses 1.0 to 0.4, 0.5
to 0.6 and 0.2 to 0.1 pay 0.6, -0.2 and 0.5. The answers of a level i are enlarged r^(m-i) times and
stitched in the raster of the finest level.

Paper: Dong, Kampffmeyer, Liang, Wang, Dai, Xing, "Reinforced Auto-Zoom Net: Towards Accurate and Fast
Breast Cancer Segmentation in Whole-Slide Images", DLMIA at MICCAI 2018, pp. 317-325.

Notes
-----
The paper's backbones, levels and training schedule are not verified, and its reward is taken from a
secondary description. Ours: segmenters and policies of some 27,000 and 6,000 weights
(`hrviz.nets.razn`), for windows of 64 px at downsample 32, 16 and 8, so that r = 2 has three levels and
r = 4 two; a policy for every zoom; `hrviz train tissue-razn`. They are trained once each and not in
turn; the loss after a zoom is that of the whole tree below it, where the reward above has the next
level's own answer; and the policies pay a price of 0.05 a zoom, because the reward alone never speaks
against zooming. Networks see a fourth channel, 0 where a window hangs over the region's edge.

Levels of a pyramid rarely stand in the ratio r exactly: a window is then read from the next finer one
and averaged. What decides can also be the scene's truth (zoom where a window is mixed), the entropy of
the segmenter's own answer, or edge energy; each is named in the tree.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call, CostModel, Params
from hrviz.errors import HrvizError
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import task as tasks
from hrviz.methods.zooming.aside import aside
from hrviz.methods.zooming.costs import aim as aim_of
from hrviz.methods.zooming.costs import batched, level
from hrviz.methods.zooming.razn_run import BADGE, BATCH, SOURCES, Run
from hrviz.methods.zooming.razn_windows import ZOOMS, Ladder, policy, segmenter
from hrviz.results import Prediction, Step

Decides = Annotated[
    Literal["trained", "truth", "entropy", "edges"],
    Control(
        "What decides to zoom: the trained policies, the scene's truth (an oracle: zoom where a window "
        "is mixed), the entropy of the segmenter's answer, or edge energy.",
        title="Policy",
    ),
]
Ratio = Annotated[
    Literal[2, 4],
    Control("r. Up: each zoom magnifies more and opens r x r windows.", title="Ratio"),
]
Zooms = Annotated[int, Control("m. Up: a coarser start, deeper trees.", 0, 4, 1)]
Threshold = Annotated[
    float, Control("Least p(zoom) to zoom. Up: fewer zooms, coarser answers.", 0.05, 0.95, 0.05)
]
WindowPixels = Annotated[
    int,
    Control("Side of a window at its level. Up: more context, coarser decisions.", 32, 256, 32,
            unit="px", title="Window"),
]  # fmt: skip
Finest = Annotated[
    Literal[1, 2, 4, 8, 16],
    Control("Downsample of the last level. Up: less detail, fewer windows.", title="Finest level"),
]
Limit = Annotated[
    int,
    Control("Windows that may be opened by zooming. Up: deeper trees where much is asked for.",
            0, 20_000, 1, unit="windows", basic=False),
]  # fmt: skip
Stitching = Annotated[
    Literal["probabilities", "labels"],
    Control("How coarse answers are enlarged: probabilities bilinearly, or labels repeated.",
            basic=False),
]  # fmt: skip
Compare = Annotated[
    bool,
    Control("Also segment everything at the coarsest and at the finest level, to compare (not counted "
            "in the cost).", basic=False),
]  # fmt: skip
RaznTask = Annotated[
    Literal["automatic", "tumour segmentation", "none"],
    Control("Whether the segmentation networks run; automatic takes what the image is for.",
            title="Task network"),
]  # fmt: skip

TASK = "tumour segmentation"
MOST_ROOTS = 20_000
COMPARED = 600  # windows of the finest level up to which comparing is affordable
USUAL = 0.25  # of windows are zoomed into, where no policy is trained


def _windows(params: Params, height: int, width: int) -> tuple[Ladder, list[float], list[float]]:
    """Windows looked at, and those of them zoomed into, by level: as often as on held-out windows."""
    ladder = Ladder(params["window"], params["ratio"], params["zooms"], params["finest"])
    seen, zoomed = [float(ladder.windows(height, width, 0))], []
    for k in range(ladder.zooms):
        at = ladder.downsample(k), ladder.ratio
        share = nets.card(policy(*at))["held_out"]["zoomed"] if at in ZOOMS else USUAL
        zoomed.append(share * seen[k])
        seen.append(min(zoomed[k] * ladder.ratio**2, float(ladder.windows(height, width, k + 1))))
    kept = min(1.0, params["limit"] / max(1e-9, sum(seen[1:])))
    return ladder, [seen[0], *(kept * n for n in seen[1:])], [kept * n for n in zoomed] + [0.0]


def _calls(params: Params, height: int, width: int) -> list[Call]:
    if aim_of(params, TASK) == "none":
        return []
    ladder, seen, zoomed = _windows(params, height, width)
    shape = (4, ladder.window, ladder.window)
    out = []
    for k, (n, gone) in enumerate(zip(seen, zoomed, strict=True)):
        d, inner = ladder.downsample(k), k < ladder.zooms
        if inner and params["saliency"] == "trained":
            out += batched(policy(d, ladder.ratio), n, BATCH, shape)
        # of a batch only the windows that end here are segmented: all of them at most, for entropy always
        left = n if inner and params["saliency"] == "entropy" else n - gone
        most = min(BATCH, math.ceil(n))
        if left > 1e-9:
            out.append(Call(segmenter(d), (most, *shape), left / most, task=True))
    return out


def _pixels(params: Params, height: int, width: int) -> float:
    """Each level's windows as a share of those that cover the region."""
    ladder, seen, _ = _windows(params, height, width)
    return sum(
        n / ladder.windows(height, width, k) * level(height, width, ladder.downsample(k))
        for k, n in enumerate(seen)
    )


COST = CostModel(
    _calls, _pixels,
    growth=r"O\bigl(HW\, [(1-p) \sum_{i<m} (p r^2)^i + (p r^2)^m]\bigr)",
    exponent=2.0, certainty="expected", trained="apart",
    note="Windows are zoomed into as often as on held-out ones; where the limit of opened windows is "
    "reached, the rest ends at the coarsest level.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Dong et al., DLMIA at MICCAI 2018",
    aliases=("reinforced-auto-zoom", "reinforced-auto-zoom-net"),
    equation=r"\begin{aligned} R_i &= a_i\,\frac{L(f_i(x_i)) - L(f_{i+1}(\hat x_i))}{L(f_i(x_i))}, \quad a_i \in \{0, 1\} \\"
    r"\text{calls} &= (1-p)\sum_{i<m} (p r^2)^i + (p r^2)^m \;\le\; r^{2m} \end{aligned}",
    use_when="Most of the image is plain at low magnification, and the rest needs more of it.",
    avoid_when="Everything needs the finest level: then each window is looked at once too often.",
    network=lambda params: params["task"] != "none",
    example="scene:tissue?size=12288x12288&tumour=0.1",
    cost=COST,
)
def razn(
    view: ImageView,
    *,
    saliency: Decides = "trained",
    ratio: Ratio = 2,
    zooms: Zooms = 2,
    threshold: Threshold = 0.5,
    window: WindowPixels = 64,
    finest: Finest = 8,
    limit: Limit = 2000,
    stitching: Stitching = "probabilities",
    compare: Compare = True,
    task: RaznTask = "automatic",
) -> Iterator[Step]:
    """Segment `view` window by window, zooming where the policy expects a better answer.

    Parameters
    ----------
    view : ImageView
    saliency : {'trained', 'truth', 'entropy', 'edges'}
        What decides; without networks, 'trained' and 'entropy' fall back to 'edges'.
    ratio, zooms : int
        r and m.
    threshold : float
        Least p(zoom).
    window : int, px
        Side of a window at its level; the networks are trained for 64.
    finest : int
        Level-0 pixels per pixel of level m.
    limit : int
        Windows opened by zooming, at most; those of the coarsest level are always looked at.
    stitching : {'probabilities', 'labels'}
        Bilinear probabilities, or labels repeated.
    compare : bool
        Whether the score says what the coarsest and the finest level alone come to, where there are
        at most 600 of the finest windows.
    task : str

    Yields
    ------
    tree : ZoomTree
        Zoomed windows inside, segmented ones as leaves; grows from where the user looks.
    prediction : HeatMap
        Probability of tumour, stitched from all levels.
    levels : LabelMap
        Which level segmented each pixel.
    calls : Curve
        Expected calls a coarse window against p, and this run's.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        More than 20,000 windows at the coarsest level, levels that no network is trained for, or
        no truth to decide by.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("razn", "scene:tissue?size=2048x2048&tumour=0.2", task="none",
    ...                   saliency="truth")
    >>> run["tree"].source
    "oracle: the scene's truth"
    """
    ladder = Ladder(window, ratio, zooms, finest)
    aim = tasks.resolve(task, view.truth, among=(TASK,))
    decided = saliency if aim != "none" or saliency in ("truth", "edges") else "edges"
    if decided == "truth" and view.truth is None:
        raise HrvizError(f"{view.image.name} has no truth: choose another policy, such as trained")
    if aim != "none":
        ladder.check_networks(decided == "trained")
    if ladder.count(view, 0) > MOST_ROOTS:
        raise HrvizError(
            f"{ladder.count(view, 0):,} windows of {window} px at downsample {ladder.downsample(0)} would "
            f"cover this region, and at most {MOST_ROOTS:,} are looked at: choose more zooms, a coarser "
            "finest level, a larger window, or a smaller region"
        )
    run = Run(view, ladder, decided, threshold, limit, aim != "none", stitching == "probabilities")
    told = "" if decided == saliency else " Without networks edges decide instead."
    for done in run.go():
        tree = run.growing.tree()
        kept = sum(node.decision == "processed" for node in tree.nodes)
        cut = " The limit of opened windows is reached." if run.refused else ""
        note = f"{len(tree.nodes)} windows looked at, {kept} of them final.{cut}{told}"
        yield Step("tree", tree, note, done)
        if aim != "none":
            stitched = (
                "Every pixel as its leaf's network answered it, enlarged to the finest level."
            )
            yield Step("prediction", run.canvas.map(), stitched, done)
        shown = run.canvas.segmented_at(SOURCES[decided])
        yield Step("levels", shown, "Which level was good enough for the policy.", done)
    yield run.calls()
    if aim != "none" and view.truth is not None:
        yield from _score(run, compare)


def _score(run: Run, compare: bool) -> Iterator[Step]:
    """IoU against the truth beside the cost, and what single levels come to."""
    view, ladder = run.view, run.ladder
    tree = run.growing.tree()
    full = ladder.count(view, ladder.zooms)
    values: dict[str, float] = {
        "pixels_share": tree.totals().get("share_of_exhaustive", 0.0),
        "policy_calls": float(run.policy_calls),
        "segmenter_calls": float(run.segment_calls),
        "finest_calls": float(full),
    }
    told = f"Finest everywhere would be {full:,} calls: too many to compare here."
    if compare and full <= COMPARED:
        values |= {f"{name}_iou": found for name, found in _single_levels(run).items()}
        told = "The coarsest and the finest level alone are measured beside it, outside the cost."
    for step in tasks.score(view, run.canvas.map(), TASK):
        result = Prediction(_values(step.result) | values, source=BADGE)
        yield replace(step, result=result, note=f"{step.note} {told}")


def _values(result: Any) -> dict[str, float]:
    return dict(result.values)


def _single_levels(run: Run) -> dict[str, float]:
    """IoU of the coarsest and of the finest level on all their windows, outside the run's account."""
    view, ladder = run.view.image.view(run.view.box), run.ladder
    finest = Ladder(ladder.window, ladder.ratio, 0, ladder.finest)
    # as this run without any zoom, and as one that starts where it may end
    runs = {name: Run(view, levels, "truth", 1.0, 0, True, run.smooth)
            for name, levels in (("coarsest", ladder), ("finest", finest))}  # fmt: skip
    size = view.fit(min(tasks.RASTER, max(1, round(max(view.height, view.width)))))
    truth = view.truth.mask(view.box, size).ravel() > 0
    y = view.box.y0 + (np.arange(size[0]) + 0.5) * view.height / size[0]
    x = view.box.x0 + (np.arange(size[1]) + 0.5) * view.width / size[1]
    points = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    out = {}
    for name, single in runs.items():
        aside(lambda single=single: list(single.go()))  # type: ignore[misc]
        found = single.canvas.map().at(points) > 0.5
        either = int((found | truth).sum())
        out[name] = float((found & truth).sum() / either) if either else 1.0
    return out

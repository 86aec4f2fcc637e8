"""Cutting into patches: full detail everywhere, paid for patch by patch.

The region is cut into squares that fit the memory one by one, the network sees each of them at full
detail, and the answers are put together. Memory stays small; time and pixels read grow with the
area, and no patch knows what lies beyond its border unless it is given a halo.

A patch of P x P pixels at downsample d covers dP x dP of level 0 and repeats int(o P) of its pixels
from the one before (for maps, patches start at whole pixels of the answer); the last ones are moved
back inside the region. Each is read with a halo of h pixels around it that the network sees and the
answer drops. Where patches overlap, answers are aggregated: per pixel by mean, maximum, majority of
votes or a mean weighted by a Hann window; as a sum of per-patch areas (which counts overlaps twice, as
summing counts does, unless each patch counts only its own part); or as boxes merged by their overlap.

Objects are detected patch by patch and merged as SAHI does: GreedyNMM with intersection over the
smaller box of at least 0.5, and one more pass over the whole region, shrunk to a patch's size, for
what is larger than a patch.

Paper: the baseline of section III-B; for slicing and merging boxes, Akyon et al. (SAHI), ICIP 2022.

Notes
-----
The map of a large region is a Zarr canvas on disk that grows from where the user looks; memory is
bounded by a batch. Boxes of a segmentation are connected components of each patch's target above one
half, scored by their mean probability.

Detections are the bundled detectors' (`hrviz.nets.detector`), not those of SAHI's benchmarks. Its
automatic slices follow the picture's size alone; on gigapixel pictures they are larger than a network
can take, which is refused. Where the published code compares a grown box with > and all else with >=,
>= is taken throughout. The tree is flat: all patches under one root, which stands for all of them when
they are more than 2,000.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal, cast

import numpy as np

from hrviz.boxes import suppress
from hrviz.context import current, spread
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import detection
from hrviz.methods import task as tasks
from hrviz.methods.baselines import patch_detection
from hrviz.methods.baselines.canvas import Canvas, components
from hrviz.methods.baselines.merging import Merge, Metric, merge
from hrviz.methods.baselines.seam_error import seam_error, whole_answer, whole_size
from hrviz.methods.baselines.slicing import Plan
from hrviz.methods.downsampling.costs import Region, looked, looking
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import Boxes, Node, Partition, Prediction, Step, ZoomTree

__all__ = ["Canvas", "Plan", "cutting_into_patches", "suppress"]

PatchPixels = Annotated[
    int,
    Control("Side of a patch as the network sees it. Up: more context, more memory, fewer patches.",
            64, 1024, 32, unit="px", title="Patch size", when=(("slices", ("by patch size",)),)),
]  # fmt: skip
Slices = Annotated[
    Literal["by patch size", "automatic"],
    Control("Automatic takes SAHI's rule: 1 x 2 to 4 x 8 large slices with their own overlap, by the "
            "region's size.", basic=False),
]  # fmt: skip
Downsample = Annotated[
    Literal[1, 2, 4, 8, 16, 32],
    Control("Level-0 pixels per patch pixel. 1 is full detail; 2 needs a quarter of the patches."),
]
Overlap = Annotated[
    float, Control("Share of a patch that the next one repeats. Up: fewer cut objects, more work.",
                   0.0, 0.75, 0.05, when=(("slices", ("by patch size",)),)),
]  # fmt: skip
Halo = Annotated[
    int,
    Control("Context read around a patch that the answer drops. Up: fewer seams, more pixels read.",
            0, 128, 8, unit="px", basic=False),
]  # fmt: skip
Batch = Annotated[
    int, Control("Patches in one network call. Up: more memory, hardly slower.", 1, 64, 1,
                 unit="patches", basic=False),
]  # fmt: skip
_MAPS = (("task", ("automatic", *tasks.SEGMENTATIONS)),)
Aggregation = Annotated[
    Literal["mean", "hann", "maximum", "majority", "sum", "boxes"],
    Control("How the maps of patches become one answer; Hann trusts the middle of a patch, not its rim.",
            when=_MAPS),
]  # fmt: skip
_BOXES = (("task", ("automatic", *detection.DETECTORS, *tasks.SEGMENTATIONS)),)
MergeBoxes = Annotated[
    Merge,
    Control("How boxes of one object become one: grown over direct matches, over matches of matches too, or "
            "all but the best dropped.", basic=False, title="Merge boxes by", when=_BOXES),
]  # fmt: skip
Matching = Annotated[
    Metric,
    Control("Overlap as a share of the smaller box (IOS) also joins a cut part with its whole; of the union "
            "(IOU) it does not.", basic=False, title="Match by", when=_BOXES),
]  # fmt: skip
Suppression = Annotated[
    float,
    Control("Overlap from which two boxes are one object. Up: more boxes stay.",
            0.05, 0.95, 0.05, basic=False, title="Match threshold", when=_BOXES),
]  # fmt: skip
WholePass = Annotated[
    bool,
    Control("Detect once more in the whole region, shrunk to a patch's size: finds what is larger than a "
            "patch.", basic=False, title="Whole region too",
            when=(("task", ("automatic", *detection.DETECTORS)),)),
]  # fmt: skip
SeamError = Annotated[
    bool,
    Control("Run the network on the whole region as well (at most 4 Mpx) and show where patches differ.",
            basic=False, when=_MAPS),
]  # fmt: skip
PatchTask = Annotated[
    Literal[
        "automatic", "tumour segmentation", "vessel segmentation", "person detection",
        "sign detection", "none",
    ],
    Control("The network that sees the patches; automatic takes the one that the image is for.",
            title="Task network"),
]  # fmt: skip

SHEET, EDGE = 9, 256  # patches on the contact sheet, and px of each
MOST_NODES = 2000  # of the tree
MOST_YIELDS = 200  # of boxes while they grow


def _planned(params: Params, height: int, width: int) -> tuple[str, Plan, Region]:
    """The task, where patches lie, and the region."""
    aim = next(iter(tasks.SEGMENTATIONS)) if params["task"] == "automatic" else params["task"]
    region = Region(height, width)
    plan = Plan.of(
        cast(ImageView, region),  # of which a plan asks no more than the size
        params["patch"], params["downsample"], params["overlap"],
        whole=2 if aim in tasks.SEGMENTATIONS else 1, slices=params["slices"],
    )  # fmt: skip
    return aim, plan, region


def _seen(params: Params, aim: str, plan: Plan, region: Region) -> tuple[tuple[int, int], ...]:
    """Size of what a network sees of a patch, and of the whole region where it sees that too."""
    sides = plan.patch
    if aim in detection.DETECTORS:  # which is given no more than the region has
        extent = zip(plan.grid.tile, (region.height, region.width), strict=True)
        sides = tuple(max(1, round(min(pair) / plan.downsample)) for pair in extent)  # type: ignore[assignment]
    size = sides[0] + 2 * params["halo"], sides[1] + 2 * params["halo"]
    twice = aim in detection.DETECTORS and params["whole"] and len(plan.boxes) > 1
    return (size, region.within(max(plan.patch))) if twice else (size,)


def _calls(params: Params, height: int, width: int) -> list[Call]:
    aim, plan, region = _planned(params, height, width)
    n, (size, *whole) = len(plan.boxes), _seen(params, aim, plan, region)
    if aim in detection.DETECTORS:
        return detection.calls(aim, size, n) + [c for w in whole for c in detection.calls(aim, w)]
    full, rest = divmod(n, params["batch"])
    batches = ((params["batch"], full), (rest, 1))
    return [c for b, times in batches if b and times for c in tasks.calls(aim, size, b, times)]


def _pixels(params: Params, height: int, width: int) -> float:
    """Each patch and its halo, as far as they lie in the image, at the level just finer."""
    aim, plan, region = _planned(params, height, width)
    d, rim = plan.downsample, params["halo"] * plan.downsample
    rows, columns = (
        Counter(np.minimum(at + tile + rim, n) - np.maximum(at - rim, 0.0))
        for at, tile, n in zip(
            (plan.grid.rows, plan.grid.columns), plan.grid.tile, (height, width), strict=True
        )
    )
    total = sum(
        m * n * stored(h, w, (max(1, int(h // d)), max(1, int(w // d))), max(height, width))
        for h, m in rows.items()
        for w, n in columns.items()
    )
    if aim == "none":  # only shown
        return total * min(1.0, SHEET / len(plan.boxes))
    return total + looked(region, *_seen(params, aim, plan, region)[1:])


def _work(params: Params, height: int, width: int) -> float:
    aim, plan, region = _planned(params, height, width)
    size, *whole = _seen(params, aim, plan, region)
    return 0.0 if aim == "none" else len(plan.boxes) * looking(size) + looking(*whole)


COST = CostModel(
    _calls, _pixels, exponent=2.0, work=_work, trained="apart",
    beside=("patches", "seam error"),
    growth=r"O\!\left(HW / d^2 (1 - r)^2\right) \text{ at downsample } d \text{ and overlap } r,\; "
    r"\text{memory } O(P^2)",
    note="Memory is that of one batch of patches, and no larger for a larger image.",
)  # fmt: skip


@method(
    family="baselines",
    section="III-B",
    paper="the baseline throughout the survey; boxes: Akyon et al. (SAHI), ICIP 2022",
    aliases=("cip", "patches", "tiling"),
    equation=r"\begin{aligned} \hat y &= \operatorname{agg}_{k}\; f\!\left(I[\,\mathrm{box}_k \oplus h\,]\right) \\"
    r"K_y &= \left\lceil \frac{H/d - o}{P - o} \right\rceil, \; K_x \text{ alike},\; o = \lfloor rP \rfloor \end{aligned}",
    use_when="Detail decides, time is no concern, and nothing needs to be known beyond a patch.",
    avoid_when="The image is so large that every patch cannot be afforded, or context decides.",
    network=lambda params: params["task"] != "none",
    cost=COST,
)
@spread
def cutting_into_patches(
    view: ImageView,
    *,
    patch: PatchPixels = 512,
    slices: Slices = "by patch size",
    downsample: Downsample = 2,
    overlap: Overlap = 0.0,
    halo: Halo = 0,
    aggregation: Aggregation = "mean",
    merge_boxes: MergeBoxes = "GreedyNMM",
    metric: Matching = "IOS",
    nms: Suppression = 0.5,
    whole: WholePass = True,
    seam_map: SeamError = False,
    batch: Batch = 4,
    task: PatchTask = "automatic",
) -> Iterator[Step]:
    """Cut `view` into patches, run the task network on each, put the answers together.

    Parameters
    ----------
    view : ImageView
    patch : int, px
        Side of a patch at `downsample`.
    slices : {'by patch size', 'automatic'}
        Automatic: SAHI's slices and overlap by the region's size.
    downsample : int
        Level-0 pixels per patch pixel.
    overlap : float
        Share of a patch repeated by the next.
    halo : int, px
        Context around a patch, at `downsample`.
    aggregation : {'mean', 'hann', 'maximum', 'majority', 'sum', 'boxes'}
        Of a segmentation's maps.
    merge_boxes : {'GreedyNMM', 'NMM', 'NMS'}
    metric : {'IOS', 'IOU'}
    nms : float
        Overlap (>=) from which two boxes are one object's.
    whole : bool
        Detect in the whole region, shrunk to a patch's longer side, as well, where there are several
        patches.
    seam_map : bool
        Compare a segmentation with the network's answer to the whole region.
    batch : int
    task : str

    Yields
    ------
    partition : Partition
        The patches on the image.
    patches : Picture
        The first of them, as the network sees them.
    prediction : HeatMap or Boxes
        Grows batch by batch, those nearest to the user's focus first; boxes are merged at the end.
    tree : ZoomTree
        All patches under one root, with what each read.
    boxes : Boxes
        With aggregation 'boxes'.
    total : Prediction
        With aggregation 'sum': the target's area as the sum over patches, and each pixel once.
    seam error, error by distance : HeatMap, Curve
        With `seam_map`.
    patch boxes : Boxes
        What was found before merging.
    count : Prediction
        Objects summed over patches, counted by the patch that owns their centre, and merged.
    cut objects, seams : Boxes, Prediction
        True objects that no patch holds whole; how many of them are found, beside the others.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        More than 200,000 patches, automatic slices above 4 Mpx, a seam error of more than 4 Mpx.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("cip", "scene:tissue?size=3000x2000", patch=512, downsample=1,
    ...                   task="none")
    >>> run["partition"].summary()["boxes"]
    24
    """
    aim = tasks.resolve(task, view.truth, (*tasks.SEGMENTATIONS, *detection.DETECTORS))
    answers_lie_on = 2 if aim in tasks.SEGMENTATIONS else 1
    plan = Plan.of(view, patch, downsample, overlap, whole=answers_lie_on, slices=slices)
    partition = Partition(plan.boxes, np.zeros(len(plan.boxes), int), ("patch",))
    height, width = (n + 2 * halo for n in plan.patch)
    note = (
        f"{len(plan.boxes)} patches of {plan.patch[1]} x {plan.patch[0]} px, each read with {width} x {height} px; "
        f"overlaps make them {plan.grid.ratio:.2f} times the region."
    )
    yield Step("partition", partition, note)
    order = _nearest_first(plan.boxes, current().focus or view.box.centre)
    # shown only: where the network follows, its batches read them again and are what is counted
    shown = view if aim == "none" else view.image.view(view.box)
    asked: list[float] = []
    first = []
    for box in plan.boxes[order[:SHEET]]:
        before = shown.reads.pixels_requested
        first.append(_read(shown, box, downsample, halo))
        asked.append(shown.reads.pixels_requested - before)
    yield Step(
        "patches", sheet(first, edge=EDGE), "The first patches, as the network receives them."
    )
    if aim == "none":
        yield _tree(view, plan, order, asked, calls=0)
    elif aim in tasks.SEGMENTATIONS:
        size = whole_size(view, downsample) if seam_map else None
        yield from _segmented(
            view, plan, order, aim, halo, aggregation, batch, (merge_boxes, metric, nms), size
        )
    else:
        yield from _detected(view, plan, order, aim, halo, batch, (merge_boxes, metric, nms), whole)


Merging = tuple[Merge, Metric, float]


def _segmented(
    view: ImageView, plan: Plan, order: np.ndarray, task: str, halo: int, aggregation: str,
    batch: int, merging: Merging, whole: tuple[int, int] | None,
) -> Iterator[Step]:  # fmt: skip
    """Maps of patches, put together as asked; `whole` is the size at which all is seen at once."""
    asked = tasks.SEGMENTATIONS[task]
    canvas = Canvas(view, plan.downsample, aggregation, asked)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    total, once = 0.0, 0.0
    own = plan.grid.own + np.tile(view.box[:2], 2)
    pixels: list[float] = []
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    answer_all = partial(
        _answers, patch=plan.patch, downsample=plan.downsample, halo=halo, task=task
    )
    given = current().map(answer_all, view, (plan.boxes[k] for k in batches))
    for which, (answers, read) in zip(batches, given, strict=True):
        for k, answer in zip(which, answers, strict=True):
            box = plan.boxes[k]
            canvas.put(box, answer)
            if aggregation == "boxes":
                parts.append(components(answer, box, canvas.scale, view.box))
            elif aggregation == "sum":
                total += canvas.area(box, answer, np.r_[box[:2], np.minimum(box[2:], view.box[2:])])
                once += canvas.area(box, answer, own[k])
        pixels += read
        done = len(pixels)
        yield Step(
            "prediction", canvas.map(), f"{done} of {len(order)} patches done.", done / len(order)
        )
    if aggregation == "boxes":
        boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        found = merge(boxes, scores, np.zeros(len(boxes), int), *merging)
        kept = Boxes(found[0], found[1], classes=(asked.thing,), source=asked.badge)
        note = f"{len(found[0])} of {len(boxes)} boxes are left after {merging[0]}."
        yield Step("boxes", kept, note)
    if aggregation == "sum":
        um = view.pixel_size or 1.0
        name = f"{asked.thing} area"
        values = {name: total * um * um, f"{name}, each pixel once": once * um * um}
        area = Prediction(values, "um2" if view.pixel_size else "px", source=asked.badge)
        note = "Summed over patches what overlaps is counted twice; not where each counts its own part only."
        yield Step("total", area, note)
    root = 0.0
    if whole is not None:
        shown = view.image.view(view.box)  # to compare with only: not what the method reads
        answer = next(iter(current().map(partial(whole_answer, task=task), shown, [whole])))
        yield from seam_error(plan, canvas.map(), answer)
    yield _tree(view, plan, order, pixels, calls=1, root=root, source=asked.badge)
    yield from tasks.score(view, canvas.map(), task)


def _detected(
    view: ImageView, plan: Plan, order: np.ndarray, task: str, halo: int, batch: int,
    merging: Merging, whole: bool,
) -> Iterator[Step]:  # fmt: skip
    """Objects of patches, merged."""
    asked = detection.DETECTORS[task]
    pieces: list[patch_detection.Piece] = []
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    find = partial(
        patch_detection.detections, downsample=plan.downsample, halo=halo, network=asked.network
    )
    given = current().map(find, view, (plan.boxes[k] for k in batches))
    for number, piece in enumerate(given, 1):
        pieces += piece
        if number == len(batches) or number % -(-len(batches) // MOST_YIELDS):
            continue
        so_far = patch_detection.pooled([p.found for p in pieces])
        note = f"{len(pieces)} of {len(order)} patches done; not merged yet."
        share = len(pieces) / len(order)
        yield Step("prediction", so_far.result(asked.classes, asked.badge), note, share)
    found = patch_detection.pooled([p.found for p in pieces])
    patches = np.repeat(order, [len(p.found.scores) for p in pieces])
    extra = None
    if whole and len(order) > 1:
        side = max(plan.patch)
        see = partial(patch_detection.whole_view, network=asked.network)
        extra = next(iter(current().map(see, view, [side])))
    every = patch_detection.pooled([found] + ([extra.found] if extra else []))
    merged = detection.Found(*merge(*every, *merging))
    shown = every.result(asked.classes, asked.badge)
    note = f"{len(shown.boxes)} boxes of all patches{' and the whole region' if extra else ''}, before merging."
    yield Step("patch boxes", shown, note)
    final = merged.result(asked.classes, asked.badge)
    method_name, metric, threshold = merging
    note = f"{len(final.boxes)} of {len(shown.boxes)} boxes are left after {method_name} by {metric} >= {threshold:g}."
    yield Step("prediction", final, note)
    counts = [int((p.found.scores >= detection.SHOWN).sum()) for p in pieces]
    yield _tree(
        view, plan, order, [p.pixels for p in pieces], calls=1, root=extra.pixels if extra else 0.0,
        root_calls=int(extra is not None), source=asked.badge, counts=counts,
    )  # fmt: skip
    alone = detection.Found(*merge(*found, *merging)) if extra else merged
    yield patch_detection.count(view, plan.grid, found, patches, alone, task)
    yield from patch_detection.seams(view, plan.grid, merged, task)
    yield from detection.score(view, merged, task)


def _tree(
    view: ImageView, plan: Plan, order: np.ndarray, pixels: list[float], calls: int,
    root: float = 0.0, root_calls: int = 0, source: str = "", counts: list[int] | None = None,
) -> Step:  # fmt: skip
    """All patches under one root, in the order they were seen; too many are left to the root."""
    n, downsample = len(order), plan.downsample
    whole = max(view.height / plan.patch[0], view.width / plan.patch[1], float(downsample))
    label = "objects found" if counts else "score"
    if n > MOST_NODES:
        reason = f"Stands for {n:,} patches, too many to draw one by one."
        nodes = [Node(0, None, view.box, float(downsample), "processed", reason=reason,
                      pixels=float(root + sum(pixels)), calls=calls * n + root_calls)]  # fmt: skip
        note = f"{n:,} patches are more than the {MOST_NODES:,} that a tree shows: the root stands for all."
    else:
        reason = f"Cut into {n} patches" + (", and seen as a whole too." if root_calls else ".")
        nodes = [
            Node(0, None, view.box, whole, "zoomed", reason=reason, pixels=root, calls=root_calls)
        ]
        asked = [*pixels, *[0.0] * (n - len(pixels))]
        for place, k in enumerate(order):
            shared = plan.grid.shared[k]
            reason = f"Every patch is looked at; {shared:.0%} of this one others see too."
            tag, score = (str(counts[place]), float(counts[place])) if counts else ("", None)
            nodes.append(
                Node(place + 1, 0, Box(*map(float, plan.boxes[k])).intersect(view.box), float(downsample),
                     "processed", score, reason, tag, pixels=float(asked[place]), calls=calls)
            )  # fmt: skip
        note = "Nothing is skipped: a flat tree of all patches, nearest to the focus first."
    done = ZoomTree(tuple(nodes), label, view.height * view.width, n, source)
    return Step("tree", done, note)


def _nearest_first(boxes: np.ndarray, focus: tuple[float, float]) -> np.ndarray:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.argsort(((centre - np.asarray(focus)) ** 2).sum(1), kind="stable")


def _read(view: ImageView, box: np.ndarray, downsample: int, halo: int) -> np.ndarray:
    """One patch with its halo, float32; beyond the image it is white, as glass is."""
    height, width = (round((box[axis + 2] - box[axis]) / downsample) + 2 * halo for axis in (0, 1))
    return view.read((height, width), Box(*box).grown(halo * downsample))


def _answers(
    view: ImageView,
    boxes: np.ndarray,
    *,
    patch: tuple[int, int],
    downsample: int,
    halo: int,
    task: str = "tumour segmentation",
) -> tuple[np.ndarray, list[float]]:
    """The network's answers to one batch of patches, `(n, ceil(h/2), ceil(w/2))`, and pixels asked."""
    pixels, asked = [], []
    for box in boxes:
        before = view.reads.pixels_requested
        pixels.append(_read(view, box, downsample, halo))
        asked.append(float(view.reads.pixels_requested - before))
    rows, columns = (slice(halo // 2, halo // 2 + -(-n // 2)) for n in patch)
    answers = tasks.segment(np.stack(pixels), task)[:, rows, columns]
    return np.ascontiguousarray(answers), asked

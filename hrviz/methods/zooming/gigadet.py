"""GigaDet: count on a thumbnail where the objects are, and detect in the K fullest patches only.

A patch generation network sees the whole picture as a thumbnail and tells, for squares of four sizes
around every cell of 16 px, how many objects each holds. The fullest squares that do not overlap are cut
from full resolution, shrunk to the detector's input, and nothing else is looked at: whatever the
picture's size and however many objects there are, the detector runs K times.

With the thumbnail resized by z (short side 600, long at most 1000 px), candidates are squares of side
16 k / z, k = 1, 2, 4, 8, in full pixels. Candidate a holds

    Include: c(a) = #{b : b in a},   IOU: c(a) = sum_b |a n b| / |b|,
    IncludeIgnoreSmall: c(a) = #{b : b in a, h_b > 0.2 h_a}

objects b. The first is the survey's definition, the second what the authors' code takes by default.
Candidates with c < c_min go; of those that overlap by more than an IoU of 0.2 the fuller stays; the K
fullest are detected in, and the boxes of all merged by non-maximum suppression at 0.6. The detector's cost
is K 320^2 pixels: with K = 64, 1.63 % of a picture of 26,753 x 15,052 px.

Paper: Chen et al., "Towards real-time object detection in GigaPixel-level video",
Neurocomputing 2022.

Notes
-----
The patch generation network of the paper, VGG16 with a small head, is in
`hrviz.nets.patch_generation` with its published size; what runs is a small one with the same stride,
candidates and loss, trained on drawn crowds (`hrviz train gigadet-counts`). The detector is the light one
of SALISA in place of YOLOv5s, ranked down to a score of 0.05 instead of 0.001, with at most 500 boxes a
patch. Its input is letterboxed as published, but a patch smaller than the input is not enlarged, and
neither is a small picture's thumbnail. Patches are read from the pyramid level just finer than the
input, not from full resolution: the same averages for fewer pixels.

Three defects of the published code are corrected: rows are mapped to the picture with the height's
ratio (there with the width's, harmless only where the aspect is kept), each patch keeps its own count
through the suppression (there they are not re-indexed, so the scores shown belong to others), and a count
equal to the least one suffices (there counts must exceed 1, and patches with a single object are lost).

Sorting by count prefers large patches, in which each object is shrunk most. Where nothing says which
objects to look for, counts come from the scene's truth or from edge energy, and the tree names that.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import task as tasks
from hrviz.methods.detection import calls as detecting
from hrviz.methods.detection import score
from hrviz.methods.zooming import gigadet_steps as steps
from hrviz.methods.zooming import patch_counts as counting
from hrviz.methods.zooming.costs import aim as aim_of
from hrviz.methods.zooming.gigadet_steps import ASKED
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patch_counts import Counts, fallback, patch_counts
from hrviz.methods.zooming.patch_generation import (
    STRIDE,
    Candidates,
    Choice,
    Strategy,
    choose,
    thumbnail_size,
)
from hrviz.results import Picture, Prediction, Step

CountSource = Annotated[
    Literal["trained", "truth", "edges"],
    Control("What counts the objects of a candidate: the network, the scene's own truth (an oracle), or edge "
            "energy in its place.", title="Counts from"),
]  # fmt: skip
CountStrategy = Annotated[
    Strategy,
    Control("What counts as inside: objects wholly inside, each by its share inside (IOU), or wholly inside and "
            "higher than a fifth of the patch.", title="Count"),
]  # fmt: skip
Sizes = Annotated[
    Literal["1, 2, 4, 8", "1, 2, 4", "1, 2", "2, 4, 8", "4, 8", "8"],
    Control("Sides of candidates in cells of 16 thumbnail pixels; larger ones hold more, and shrink it more.",
            title="Scales"),
]  # fmt: skip
Most = Annotated[
    int, Control("Patches that the detector sees at most (K). Up: more is found, and the cost grows with it.",
                 1, 128, 1, unit="patches", title="Patches K", log=True),
]  # fmt: skip
Least = Annotated[
    float, Control("Objects that a patch must hold. Up: sparse patches are left out even where K would allow.",
                   0.0, 20.0, 0.25, title="Least count"),
]  # fmt: skip
PatchOverlap = Annotated[
    float, Control("IoU with a fuller patch above which a candidate is suppressed. Up: patches overlap more.",
                   0.0, 0.5, 0.05, title="NMS of patches"),
]  # fmt: skip
Input = Annotated[
    int, Control("Side to which a patch is shrunk for the detector. Up: smaller objects are found, cost grows with "
                 "the square.", 128, 1080, 8, unit="px", basic=False, title="Detector input"),
]  # fmt: skip
CrowdTask = Annotated[
    Literal["automatic", "person detection", "none"],
    Control("The detector that sees the patches; automatic takes it where the image is for it.",
            title="Task network"),
]  # fmt: skip

TILED = 320.0  # px of the tiles that looking everywhere would take


def _planned(params: Params, height: int, width: int) -> tuple[Candidates, int]:
    """Candidates, and how many of them are looked at, at most."""
    scales = tuple(int(k) for k in params["scales"].split(","))
    candidates = Candidates(thumbnail_size(height, width), scales)
    return candidates, min(params["patches"], int(candidates.inside.sum()))


def _calls(params: Params, height: int, width: int) -> list[Call]:
    candidates, most = _planned(params, height, width)
    if aim_of(params, "person detection") == "none":
        return []
    out = []
    if params["saliency"] == "trained" and min(candidates.cells) > 0:
        out.append(Call(counting.NETWORK, (1, 3, *candidates.size)))
    side = params["size"]
    return [*out, *detecting("person detection", (side, side), float(most))] if most else out


def _pixels(params: Params, height: int, width: int) -> float:
    """The thumbnail, and patches of the size that asks for most."""
    candidates, most = _planned(params, height, width)
    each = 0.0
    for scale in candidates.scales:
        h, w = (scale * STRIDE * n / own for n, own in zip((height, width), candidates.size, strict=True))  # fmt: skip
        box = Box(0, 0, min(h, height), min(w, width))
        shown = steps.crop_size(box, params["size"])
        each = max(each, stored(box.height, box.width, shown, max(height, width)))
    return stored(height, width, candidates.size) + most * each


COST = CostModel(
    _calls, _pixels,
    growth=r"O(600 \cdot 1000 + K \cdot 320^2)",
    certainty="most", trained="apart",
    note="K patches are taken, and of the size for which most pixels are read.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Chen et al., Neurocomputing 2022",
    aliases=("patch-generation",),
    equation=r"\begin{aligned} c(a) &= \sum_{b} \frac{|a \cap b|}{|b|} \quad\text{(or } \#\{b \subseteq a\}\text{)} \\"
    r"\mathcal P &= \operatorname{top}_K\,\operatorname{NMS}_{0.2}\{a : c(a) \ge c_{\min}\},\quad "
    r"\text{cost} = K \cdot 320^2 \end{aligned}",
    use_when="A thumbnail shows where objects crowd together, and time must not depend on how many there are.",
    avoid_when="Objects are spread evenly or alone matter: what lies outside the K patches is never seen.",
    network=lambda params: params["task"] != "none",
    example="scene:crowd?size=26753x15052&people=2000",
    cost=COST,
)
def gigadet(
    view: ImageView,
    *,
    saliency: CountSource = "trained",
    strategy: CountStrategy = "IOU",
    scales: Sizes = "1, 2, 4, 8",
    patches: Most = 16,
    least: Least = 1.0,
    overlap: PatchOverlap = 0.2,
    size: Input = 320,
    task: CrowdTask = "automatic",
) -> Iterator[Step]:
    """Count objects on a thumbnail of `view`, and run the detector in the K fullest patches.

    Parameters
    ----------
    view : ImageView
    saliency : {'trained', 'truth', 'edges'}
        Source of the counts, named in the tree. Without a task network 'trained' takes the truth, or
        edges where there is none.
    strategy : {'IOU', 'Include', 'IncludeIgnoreSmall'}
    scales : str
        Sides of candidates in cells of 16 px of the thumbnail.
    patches : int
        K, at most as many patches.
    least : float
        Objects in a patch (>=); one without any is never taken.
    overlap : float
        IoU above which the emptier of two patches is suppressed.
    size : int, px
        Side of the detector's input.
    task : str

    Yields
    ------
    thumbnail : Picture
        What the patch generation network sees.
    counts 16 px, counts 32 px, counts 64 px, counts 128 px : HeatMap
        Objects in the candidate around each cell, by its side in the thumbnail.
    tree : ZoomTree
        Candidates grouped by size, with what became of each; grows as patches are read.
    crops : Picture
        The first patches as the detector sees them, with what it found.
    coverage : Curve
        Share of the objects that 1, 2, ... patches hold, and of the pixels they cost.
    prediction : Boxes
        Level-0 pixels, merged.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("gigadet", "scene:crowd?size=3000x2000&people=200", task="none", patches=4)
    >>> run["tree"].source, run["tree"].summary()["processed"]
    ("oracle: the scene's truth", 4)
    """
    aim = tasks.resolve(task, view.truth, ("person detection",))
    source = fallback(view) if aim == "none" and saliency == "trained" else saliency
    candidates = Candidates(
        thumbnail_size(view.height, view.width), tuple(int(k) for k in scales.split(","))
    )
    growing = Growing(
        view, "predicted count", "", view.height * view.width,
        float(np.ceil(view.height / TILED) * np.ceil(view.width / TILED)),
    )  # fmt: skip
    pixels = growing.look(view.box, candidates.size)
    h, w = candidates.size
    note = f"All that the candidates are judged by: {w} x {h} px for {view.width:,.0f} x {view.height:,.0f}."
    yield Step("thumbnail", Picture(pixels, view.box), note)
    counted = patch_counts(view, pixels, candidates, strategy, source)
    growing.source = counted.source
    yield from steps.maps(view, candidates, counted)
    choice = choose(candidates, counted.counts, least, overlap, patches)
    groups = _groups(growing, candidates, counted, choice)
    looked: list[steps.Looked] = []
    planned = steps.decisions(candidates, counted.counts, choice, overlap, least)
    told = _told(candidates, choice, patches)
    for place, (index, decision, reason) in enumerate(planned):
        box = steps.full_box(view, candidates, index)
        count = float(counted.counts.ravel()[index])
        if decision == "processed":
            pixels = growing.look(box, steps.crop_size(box, size))
            if aim == "none":
                looked.append(steps.Looked(pixels, steps.NOTHING, steps.NOTHING))
            else:
                looked.append(steps.look(pixels, box, size))
        growing.add(
            groups[index // counted.counts[0].size], box, max(1.0, max(box.height, box.width) / size),
            decision, score=count, reason=reason, tag=f"{count:.3g}" if decision == "processed" else "",
            calls=int(decision == "processed" and aim != "none"),
        )  # fmt: skip
        if decision == "processed" and len(looked) % 4 == 0:
            yield Step("tree", growing.tree(), told, (place + 1) / (len(planned) + 1))
            if aim != "none":
                so_far = steps.merged(looked).result(ASKED.classes, ASKED.badge)
                note = f"{len(looked)} of {len(choice.chosen)} patches are looked at."
                yield Step("prediction", so_far, note, len(looked) / (len(choice.chosen) + 1))
    yield Step("tree", growing.tree(), told)
    if looked:
        note = "The first patches as the detector sees them, fullest first"
        note += "." if aim == "none" else ", with what it finds."
        yield Step("crops", steps.contact_sheet(looked), note)
    yield from steps.covered(view, candidates, counted, choice, size)
    if aim == "none":
        return
    found = steps.merged(looked)
    shown = found.result(ASKED.classes, ASKED.badge)
    note = (
        f"{len(shown.boxes)} people of {len(looked)} patches, merged at an IoU of {steps.MERGE:g}."
    )
    yield Step("prediction", shown, note)
    share = len(looked) * size**2 / (view.height * view.width)
    for step in score(view, found, "person detection"):
        assert isinstance(step.result, Prediction)
        values = step.result.values | {"share_of_pixels": share}
        yield replace(step, result=replace(step.result, values=values))


def _groups(growing: Growing, candidates: Candidates, counted: Counts, choice: Choice) -> list[int]:
    """Add the root, and a node under it for each size of candidates; returns the latter's ids."""
    view = growing.view
    zoom = view.height / candidates.size[0]
    ran = int(counted.source.startswith("trained"))
    reason = f"Counted on a thumbnail of {candidates.size[1]} x {candidates.size[0]} px."
    root = growing.add(None, view.box, zoom, "zoomed", reason=reason, calls=ran)
    cells = counted.counts[0].size
    out = []
    for k, scale in enumerate(candidates.scales):
        chosen = int((choice.chosen // max(cells, 1) == k).sum())
        number = int(candidates.inside[k].sum())
        side = scale * STRIDE * zoom
        reason = f"{chosen} of {number:,} squares of {side:,.0f} px are looked at."
        decision = "zoomed" if chosen else "skipped by score"
        out.append(
            growing.add(root, view.box, zoom, decision, reason=reason, tag=f"{side:,.0f} px")
        )
    return out


def _told(candidates: Candidates, choice: Choice, most: int) -> str:
    """The tree's note."""
    few, gone, beyond = (len(n) for n in (choice.few, choice.suppressed, choice.beyond))
    if not len(choice.chosen):
        return (
            f"No patch is selected: of {int(candidates.inside.sum()):,} candidates none holds enough; lower the least "
            "count or take a larger region."
        )
    return (
        f"{len(choice.chosen)} of at most {most} patches are taken; {few:,} candidates hold too little, {gone:,} overlap "
        f"a fuller one, {beyond:,} are beyond K (the fullest {steps.SHOWN_SKIPPED} of each kind and size are shown)."
    )

"""Objects found patch by patch: detected, merged, counted, and judged at the seams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hrviz.boxes import iou
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.baselines.slicing import Grid
from hrviz.methods.detection import DETECTORS, SHOWN, Found, detect, wanted, within
from hrviz.results import Boxes, Prediction, Step

HIT = 0.5  # IoU


@dataclass(frozen=True)
class Piece:
    """What one patch gave.

    Attributes
    ----------
    found : Found
        Level-0 pixels of the image.
    pixels : float
        Pixels asked of the image for it.
    """

    found: Found
    pixels: float


def detections(
    view: ImageView, boxes: np.ndarray, *, downsample: int, halo: int, network: str
) -> list[Piece]:
    """A detector's answers to patches.

    A patch beyond the region is cut to it. With a halo the detector sees further, and what has its
    centre there is left to the neighbour.
    """
    out = []
    for row in boxes:
        box = Box(*row).intersect(view.box)
        seen = box.grown(halo * downsample)
        before = view.reads.pixels_requested
        size = (max(1, round(seen.height / downsample)), max(1, round(seen.width / downsample)))
        found = detect(network, view.read(size, seen))
        scale = np.tile((seen.height / size[0], seen.width / size[1]), 2)
        placed = Found(
            found.boxes * scale + np.tile(seen[:2], 2), found.scores, found.labels
        )  # fmt: skip
        if halo:
            centres = (placed.boxes[:, :2] + placed.boxes[:, 2:]) / 2
            own = (centres >= box[:2]).all(1) & (centres < box[2:]).all(1)
            placed = Found(placed.boxes[own], placed.scores[own], placed.labels[own])
        out.append(Piece(within(placed, view.box), view.reads.pixels_requested - before))
    return out


def whole_view(view: ImageView, side: int, *, network: str) -> Piece:
    """The detector's answer to the whole view, shrunk so that its longer side is `side` px."""
    before = view.reads.pixels_requested
    size = view.fit(min(side, max(1, round(max(view.height, view.width)))))
    found = detect(network, view.read(size))
    scale = np.tile((view.height / size[0], view.width / size[1]), 2)
    placed = Found(found.boxes * scale + np.tile(view.box[:2], 2), found.scores, found.labels)
    return Piece(within(placed, view.box), view.reads.pixels_requested - before)


def pooled(found: list[Found]) -> Found:
    """All of them together."""
    if not found:
        return Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    return Found(*(np.concatenate(part) for part in zip(*found, strict=True)))


def count(
    view: ImageView, grid: Grid, found: Found, patches: np.ndarray, merged: Found, task: str
) -> Step:
    """How many objects there are, by three ways to add patches up.

    Parameters
    ----------
    found : Found
        From all patches, not merged.
    patches : ndarray int, (n,)
        Which patch each is from: index into the grid's tiles.
    merged : Found
    """
    asked = DETECTORS[task]
    sure = found.scores >= SHOWN
    boxes, patches = found.boxes[sure], patches[sure]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - view.box[:2]
    values = {
        "summed over patches": float(len(boxes)),
        "by the patch that owns the centre": float((grid.owners(centres) == patches).sum()),
        "after merging": float(len(merged.at_least(SHOWN).scores)),
    }
    truth = {}
    if view.truth is not None and {*asked.classes} & {*view.truth.objects.values()}:
        true = wanted(view, asked.classes)
        truth = dict.fromkeys(values, float((~true.ignored).sum()))
    note = (
        f"Patches add up to {grid.ratio:.2f} times the region, so objects in overlaps are summed again; counted only by "
        "the patch whose own part holds their centre, or merged, each is counted once."
    )
    return Step(
        "count", Prediction(values, unit=asked.thing, truth=truth, source=asked.badge), note
    )


def seams(view: ImageView, grid: Grid, found: Found, task: str) -> Iterator[Step]:
    """True objects that no patch holds whole, and how many of them are found, beside the others."""
    asked = DETECTORS[task]
    if view.truth is None or not {*asked.classes} & {*view.truth.objects.values()}:
        return
    true = wanted(view, asked.classes)
    boxes, labels = true.boxes[~true.ignored], true.labels[~true.ignored]
    if not len(boxes):
        return
    cut = grid.cut(boxes - np.tile(view.box[:2], 2))
    hit = hits(found.at_least(SHOWN), boxes, labels)
    shown = Boxes(boxes[cut], None, np.where(hit[cut], 0, 1), ("cut, found", "cut, missed"),
                  "oracle: the scene's truth")  # fmt: skip
    note = f"{int(cut.sum())} of {len(boxes)} true objects lie in no patch as a whole: a seam cuts them."
    yield Step("cut objects", shown, note)
    values = {"cut_objects": float(cut.sum()), "whole_objects": float((~cut).sum())}
    for name, which in (("cut", cut), ("whole", ~cut)):
        if which.any():
            values[f"{name}_recall"] = float(hit[which].mean())
    note = f"Found at IoU {HIT:g} and a score of {SHOWN:g}: objects cut by a seam beside those that are not."
    yield Step("seams", Prediction(values, source=asked.badge), note)


def hits(found: Found, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which true objects are found: bool (n,); each box takes one, best score first."""
    out = np.zeros(len(boxes), bool)
    for kind in np.unique(labels):
        own = np.flatnonzero(labels == kind)
        mine = found.labels == kind
        at, scores = found.boxes[mine], found.scores[mine]
        for k in np.argsort(-scores, kind="stable"):
            free = own[~out[own]]
            if not len(free):
                break
            common = iou(at[k : k + 1], boxes[free])[0]
            if common.max() >= HIT:
                out[free[common.argmax()]] = True
    return out

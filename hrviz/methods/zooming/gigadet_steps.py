"""What GigaDet shows and does with its candidates: maps, decisions, crops, coverage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hrviz.boxes import suppress
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.detection import DETECTORS, SHOWN, Found, detect, within
from hrviz.methods.zooming.patch_counts import Counts, true_boxes
from hrviz.methods.zooming.patch_generation import STRIDE, Candidates, Choice, coverage
from hrviz.results import Curve, HeatMap, Picture, Step

ASKED = DETECTORS["person detection"]
MERGE = 0.6  # IoU above which the lower of two boxes of different patches is dropped
MOST_BOXES = 500  # a patch
SHOWN_SKIPPED = 30  # skipped candidates of a size and a reason that the tree shows
CURVE = 128  # patches
SHEET, SIDE, GAP = 15, 192, 4  # crops on the contact sheet, px of each at most and between them
GREY = 0.45  # what fills the detector's input beside a patch


class Decision(NamedTuple):
    """What became of one candidate: its index, one of the tree's decisions, and why."""

    which: int
    decision: str
    reason: str


class Looked(NamedTuple):
    """A patch: its pixels, and what was found in pixels of it and of the image."""

    pixels: np.ndarray
    local: Found
    found: Found


NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def maps(view: ImageView, candidates: Candidates, counted: Counts) -> Iterator[Step]:
    """The counts of each size of candidates, over the cells that they are centred on."""
    rows, columns = candidates.cells
    y, x = view.height / candidates.size[0] * STRIDE, view.width / candidates.size[1] * STRIDE
    y0, x0 = view.box[:2]
    box = Box(y0, x0, y0 + rows * y, x0 + columns * x)
    for k, scale in enumerate(candidates.scales):
        inside = candidates.inside[k]
        if not inside.any():
            continue
        values = np.where(inside, counted.counts[k], np.nan).astype(np.float32)
        note = (
            f"{counted.unit.capitalize()} in the {scale * x:,.0f} px wide square around each cell "
            f"({counted.source}); empty where the square leaves the picture."
        )
        heat = HeatMap(values, box, "objects", counted.unit, low=0, source=counted.source)
        yield Step(f"counts {scale * STRIDE} px", heat, note)


def decisions(
    candidates: Candidates, counts: np.ndarray, choice: Choice, overlap: float, least: float
) -> list[Decision]:
    """Candidates as they are decided on, fullest first: all chosen ones, the fullest of the others."""
    size = counts[0].size
    kinds = (
        (choice.chosen, "processed", "Among the K fullest."),
        (choice.beyond, "skipped by budget", "Full enough, but K others are fuller."),
        (choice.suppressed, "suppressed", f"Overlaps a fuller one by an IoU above {overlap:g}."),
        (choice.few, "skipped by score", f"Holds fewer than {least:g}, or none."),
    )
    out = []
    for indices, decision, reason in kinds:
        most = len(indices) if decision == "processed" else SHOWN_SKIPPED
        for k in range(len(candidates.scales)):
            own = indices[indices // size == k][:most]
            out += [Decision(int(i), decision, reason) for i in own]
    return sorted(out, key=lambda d: -counts.ravel()[d.which])


def full_box(view: ImageView, candidates: Candidates, index: int) -> Box:
    """A candidate in level-0 pixels, whole ones, cut to the view; each axis by its own ratio."""
    scale = np.tile((view.height / candidates.size[0], view.width / candidates.size[1]), 2)
    box = candidates.boxes.reshape(-1, 4)[index] * scale + np.tile(view.box[:2], 2)
    return Box(*map(float, np.rint(box))).intersect(view.box)


def crop_size(box: Box, side: int) -> tuple[int, int]:
    """Pixels of a patch whose longer side is the detector's, its aspect kept; never enlarged."""
    shrink = min(1.0, side / max(box.height, box.width))
    return max(1, round(box.height * shrink)), max(1, round(box.width * shrink))


def look(pixels: np.ndarray, box: Box, side: int) -> Looked:
    """The detector's answer to a patch, letterboxed to side x side px."""
    h, w = pixels.shape[:2]
    framed = np.full((side, side, 3), GREY, np.float32)
    framed[:h, :w] = pixels
    local = within(detect(ASKED.network, framed, top=MOST_BOXES), (0, 0, h, w))
    scale = np.tile((box.height / h, box.width / w), 2)
    boxes = local.boxes * scale + np.tile(box[:2], 2)
    return Looked(pixels, local, Found(boxes, local.scores, local.labels))


def merged(looked: list[Looked]) -> Found:
    """All that was found, once: suppression over all patches."""
    parts = [one.found for one in looked] or [NOTHING]
    every = Found(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    kept = suppress(every.boxes, every.scores, MERGE)
    return Found(every.boxes[kept], every.scores[kept], every.labels[kept])


def contact_sheet(looked: list[Looked]) -> Picture:
    """Up to 15 patches side by side, fullest first, with what was found in them."""
    shown = looked[:SHEET]
    step = max(1, -(-max(max(one.pixels.shape[:2]) for one in shown) // SIDE))
    small = [one.pixels[::step, ::step] for one in shown]
    height, width = (max(p.shape[axis] for p in small) for axis in (0, 1))
    across = int(np.ceil(np.sqrt(len(small) * 1.5)))
    down = -(-len(small) // across)
    out = np.ones((down * (height + GAP) - GAP, across * (width + GAP) - GAP, 3), np.float32)
    boxes = []
    for i, (one, pixels) in enumerate(zip(shown, small, strict=True)):
        y, x = (
            n * (side + GAP) for n, side in zip(divmod(i, across), (height, width), strict=True)
        )
        out[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        boxes.append(one.local.at_least(SHOWN).boxes / step + (y, x, y, x))
    return Picture(out, boxes=np.concatenate(boxes))


def covered(
    view: ImageView, candidates: Candidates, counted: Counts, choice: Choice, side: int
) -> Iterator[Step]:
    """What 1, 2, ... patches hold of all objects, and what they cost: bounded by K, not by objects."""
    order = np.concatenate([choice.chosen, choice.beyond])[:CURVE]
    if not len(order):
        return
    lines = {f"{counted.unit}, as counted": coverage(candidates, counted.density, order)}
    true = true_boxes(view)
    if true is not None and len(true):
        held = np.zeros(len(true), bool)
        share = []
        for index in order:
            box = full_box(view, candidates, int(index))
            held |= (true[:, :2] >= box[:2]).all(1) & (true[:, 2:] <= box[2:]).all(1)
            share.append(held.mean())
        lines["true objects, whole in a patch"] = np.array(share)
    count = np.arange(1, len(order) + 1)
    lines["pixels of the detector"] = count * side**2 / (view.height * view.width)
    k = len(choice.chosen)
    known = lines[f"{counted.unit}, as counted"][k - 1]
    note = (
        f"K = {k} patches hold {known:.0%} of what is counted; the cost is a line that K alone bounds, however "
        "dense the crowd."
    )
    curve = Curve(count.astype(float), lines, "patches K", "share", tag="predicted")
    yield Step("coverage", curve, note)

"""Signs and cars on unseen road pictures: average precision pooled over pictures, for every warp.

One kind of detector throughout: `road-detector` for uniform pictures and patches, the same trained
further on warped pictures for FOVEA, through the un-zooming for LZU; 'uniform, FOVEA's detector' tells
what the further training is worth without a warp. The previous frame of these stills is their truth
moved as objects move between frames, a tenth of them missed. Seconds are those of sampling, detecting and carrying back.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import context
from hrviz.boxes import suppress
from hrviz.cost.flops import counting
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.detection import (
    DETECTORS,
    Found,
    Wanted,
    average_precision,
    detect,
    judge,
    wanted,
)
from hrviz.methods.downsampling.box_sources import box_saliency, zoom_nodes
from hrviz.methods.downsampling.fovea import ON_WARPED
from hrviz.methods.downsampling.kde import region_kde
from hrviz.methods.downsampling.sampler import grid_from_nodes, sample
from hrviz.methods.downsampling.unzoom import UNZOOMED, unzoomed_detections
from hrviz.methods.downsampling.warp import node_counts
from hrviz.results import WarpGrid
from hrviz.scenes import dataset
from hrviz.training.road_warped import ZOOMS, jittered

TASK = "sign detection"
ASKED = DETECTORS[TASK]
SIZES = (240, 320, 480, 640)
IMAGES = 24
PATCH, OVERLAP = 512, 64
RESAMPLES = 60
SOURCES = {
    "FOVEA": ("previous frame", "detections", "data set"),
    "LZU": ("data set", "detections"),
}


def uniform(view: ImageView, size: int, network: str) -> Found:
    """The whole picture at `size`, evenly."""
    even = WarpGrid.identity(view.box, view.fit(size))
    return detect(network, sample(view, even, "fair")).to_image(even)


def zoomed(view: ImageView, size: int, method: str, source: str) -> Found:
    """FOVEA or LZU as their pages run them."""
    nodes, fwhm = ZOOMS[{"FOVEA": "fovea", "LZU": "unzoom"}[method]]
    out, counts = view.fit(size), node_counts(view, nodes)
    if source == "previous frame":
        boxes = wanted(view, ASKED.classes).boxes
        rng = np.random.default_rng(int(boxes.sum()))
        moved = jittered(boxes, max(view.height, view.width), rng)
        values = region_kde(moved, view.box, counts)
    else:
        values = box_saliency(view, source, counts, task=TASK, size=out).values
    grid = grid_from_nodes(*zoom_nodes(values, fwhm, "reflect", "separable"), view.box, out)
    pixels = sample(view, grid, "fair")
    if method == "FOVEA":
        return detect(ON_WARPED[TASK], pixels).to_image(grid)
    found = unzoomed_detections(UNZOOMED[TASK], pixels, grid)[2]
    return found.to_image(WarpGrid.identity(view.box, out))


def patches(view: ImageView, size: int) -> Found:
    """Tiles of full resolution, their boxes merged by suppression."""
    starts = [
        sorted({*range(0, max(int(side) - size, 0), size - OVERLAP), max(int(side) - size, 0)})
        for side in (view.height, view.width)
    ]
    found = []
    for y, x in itertools.product(*starts):
        window = Box(y, x, min(y + size, view.box.y1), min(x + size, view.box.x1))
        one = detect(ASKED.network, view.read((int(window.height), int(window.width)), window))
        found.append(Found(one.boxes + np.array([y, x, y, x]), one.scores, one.labels))
    every = Found(*(np.concatenate(part) for part in zip(*found, strict=True)))
    kept = suppress(every.boxes, every.scores)
    return Found(every.boxes[kept], every.scores[kept], every.labels[kept])


def arms() -> list[tuple[str, int, Callable[[ImageView], Found]]]:
    """Name, size, and how to detect."""

    def bound(function: Any, *args: Any) -> Callable[[ImageView], Found]:
        return lambda view: function(view, *args)

    out: list[tuple[str, int, Callable[[ImageView], Found]]] = []
    for size in SIZES:
        out.append(("uniform", size, bound(uniform, size, ASKED.network)))
        out.append(("uniform, FOVEA's detector", size, bound(uniform, size, ON_WARPED[TASK])))
        out += [
            (f"{method}, {source}", size, bound(zoomed, size, method, source))
            for method, sources in SOURCES.items()
            for source in sources
        ]
    out.append(("uniform, full resolution", 1280, bound(uniform, 1280, ASKED.network)))
    out.append((f"patches of {PATCH} px, full resolution", PATCH, bound(patches, PATCH)))
    return out


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row an arm and size; spread is half the 95 % interval of AP50 over resampled pictures."""
    images = dataset("road", "unseen", 3 if quick else IMAGES)
    views = [image.view() for image in images]
    truth = [wanted(view, ASKED.classes) for view in views]
    chosen = arms()
    if quick:
        chosen = [arm for arm in chosen if arm[1] in (SIZES[0], PATCH)]
    found: dict[int, list[Found]] = {k: [] for k in range(len(chosen))}
    cost = [
        dict.fromkeys(("flops", "network_memory", "pixels_read", "seconds"), 0.0) for _ in chosen
    ]
    for _, _, detector in chosen:
        detector(views[0])  # weights are loaded once, not by the first picture
    for image in images:
        image.view().read((960, 1280))  # render once, so that seconds are not the scene's
        for k, (_, _, detector) in enumerate(chosen):
            view = image.view()
            surroundings = context.Context()
            token = context._CONTEXT.set(surroundings)
            clock = time.perf_counter()
            with counting(True) as operations:
                found[k].append(detector(view))
            cost[k]["seconds"] += (time.perf_counter() - clock) / len(images)
            context._CONTEXT.reset(token)
            cost[k]["flops"] += sum(operations.values()) / len(images)
            cost[k]["pixels_read"] += view.reads.pixels_read / len(images)
            cost[k]["network_memory"] = surroundings.counts["network_memory"]
    out = []
    for k, (arm, size, _) in enumerate(chosen):
        told = judge(found[k], truth)
        out.append(
            {"task": "road", "arm": arm, "size": size, "images": len(images), "ap50": told["ap50"],
             "limits_ap50": limits(found[k], truth), "small_ap50": told.get("small_ap50"),
             "small_recall": told.get("small_recall"), "spread": spread(found[k], truth)} | cost[k]
        )  # fmt: skip
    return out


def limits(found: list[Found], truth: list[Wanted]) -> float | None:
    """AP50 of the three speed limits, which must be read; None where there is none."""
    only = [
        Wanted(t.boxes[t.labels < 3], t.labels[t.labels < 3], t.ignored[t.labels < 3])
        for t in truth
    ]
    value = average_precision(found, only)
    return value if value == value else None


def spread(found: list[Found], truth: list[Wanted]) -> float:
    """1.96 standard deviations of AP50 over pictures drawn with replacement."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(found), size=len(found))
        values.append(average_precision([found[k] for k in drawn], [truth[k] for k in drawn]))
    return 1.96 * float(np.nanstd(values))

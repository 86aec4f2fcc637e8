"""`crowd-profile`: what REMIX plans with, measured: accuracy by object size, latency, right boxes by score.

Not weights but a table. Each bundled detector of people looks at held-out crowds in two sizes, part by
part, enlarged and downsampled by several factors as REMIX's blocks are; average precision at IoU 0.5
is taken in twelve ranges of an object's side as the network sees it, and the share of right boxes at
each score, not falling with it. Latency is the median over warm calls at each input size, on this
machine, whose name is kept with it.
"""

from __future__ import annotations

import itertools
import json
import math
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.methods.detection import Found, Wanted, average_precision, detect, match, wanted
from hrviz.methods.zooming.remix_profile import EDGES, FILE, INPUTS, SCORES
from hrviz.results import write_whole
from hrviz.training.crowd_detectors import CLASSES

FRAMES, PEOPLE = 3, (120, 400)  # of each size, with so many people
FRAME_SIZES = ((1080, 1920), (2160, 3840))
FACTORS = (0.5, 1.0, 2.0, 4.0)  # downsamples; below 1 enlarged
PART = 1920  # px: what a network is shown at once at most
CALLS = 9
SHAPE = 9 / 16  # height over width of blocks


def train(
    seed: int = 0,
    steps: int | None = None,
    report: Callable[[str], None] = print,
    write: bool = True,
) -> dict[str, Any]:
    """Measure and write the profile; `steps` below 50 looks at one crowd only."""
    import torch

    from hrviz.scenes import dataset

    quick = steps is not None and steps <= 50
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        count = 1 if quick else FRAMES
        sets = [
            dataset("crowd", "held-out", count, width=w, height=h, people=n)
            for h, w in FRAME_SIZES[: 1 if quick else None]
            for n in PEOPLE[: 1 if quick else None]
        ]
        views = [image.view() for images in sets for image in images]
        detectors = sorted({name for name, _ in INPUTS})
        looked = _look(detectors, views, report)
        accuracy = {name: _by_size(*looked[name]) for name in detectors}
        right = {name: _by_score(*looked[name]) for name in detectors}
        latency = [_latency(name, side, 2 if quick else CALLS) for name, side in INPUTS]
    finally:
        torch.set_num_threads(threads)
    facts = {
        "what": "average precision at IoU 0.5 by side of objects in network pixels, and seconds a call",
        "edges_px": [float(e) for e in EDGES],
        "inputs": [list(i) for i in INPUTS],
        "accuracy": accuracy,
        "scores": [float(v) for v in SCORES],
        "right": right,
        "seconds": [round(s, 5) for s in latency],
        "device": f"one thread of {platform.machine()} ({platform.system()})",
        "date": time.strftime("%Y-%m-%d"),
        "data": f"{len(views)} crowds of "
        + " and ".join(f"{w} x {h}" for h, w in FRAME_SIZES)
        + " px, scene:crowd split held-out, at downsamples "
        + ", ".join(f"{f:g}" for f in FACTORS),
        "seed": seed,
        "command": "hrviz train crowd-profile",
    }
    report(json.dumps({k: facts[k] for k in ("accuracy", "right", "seconds")}))
    if write:
        text = json.dumps(facts, indent=1) + "\n"
        write_whole(FILE, lambda file: file.write(text.encode()))
    return facts


Looked = dict[str, tuple[list[Found], list[Wanted]]]


def _look(detectors: list[str], views: list[Any], report: Callable[[str], None]) -> Looked:
    """What each detector finds in every part at every downsample, and what is there, in network px."""
    out: Looked = {name: ([], []) for name in detectors}
    for k, view in enumerate(views):
        for factor in FACTORS:
            n = math.ceil(view.width / factor / PART)
            for row, column in itertools.product(range(n), repeat=2):
                h, w = view.height / n, view.width / n
                part = view.image.view(Box(row * h, column * w, (row + 1) * h, (column + 1) * w))
                size = part.fit(round(w / factor))
                corner, scale = np.tile(part.box[:2], 2), np.tile(np.array(size) / (h, w), 2)
                true, pixels = wanted(part, CLASSES), part.read(size)
                boxes = (true.boxes - corner) * scale
                for name, (found, truth) in out.items():
                    found.append(detect(name, pixels, top=500))
                    truth.append(Wanted(boxes, true.labels, true.ignored))
        report(f"{k + 1} of {len(views)} crowds")
    return out


def _by_size(found: list[Found], truth: list[Wanted]) -> list[float | None]:
    """Average precision in each range of sides; None where nothing of that size was shown."""
    out: list[float | None] = []
    for low, high in itertools.pairwise(EDGES):
        value = average_precision(found, truth, sides=(low, high))
        out.append(None if value != value else round(value, 4))
    return out


def _by_score(found: list[Found], truth: list[Wanted]) -> list[float]:
    """Share of right boxes at each of `SCORES`, not falling with the score."""
    from scipy.optimize import isotonic_regression

    scores, hits = [], []
    for one, true in zip(found, truth, strict=True):
        hit, judged, _ = match(one, true, 0, 0.5, (0, np.inf))
        scores.append(one.scores[judged])
        hits.append(hit[judged])
    score, hit = np.concatenate(scores), np.concatenate(hits)
    if not len(score):
        return [0.0] * len(SCORES)
    score, place, count = np.unique(score, return_inverse=True, return_counts=True)
    right = isotonic_regression(np.bincount(place, hit) / count, weights=count).x
    return [round(float(v), 4) for v in np.interp(SCORES, score, right)]


def _latency(name: str, side: int, calls: int) -> float:
    """Median seconds of a call on a picture of `side` px, after one to warm up.

    Of the processor: on one thread that is the clock's, but other programs do not add to it.
    """
    pixels = np.full((round(side * SHAPE), side, 3), 0.5, np.float32)
    detect(name, pixels)
    spans = []
    for _ in range(calls):
        start = time.process_time()
        detect(name, pixels)
        spans.append(time.process_time() - start)
    return float(np.median(spans))

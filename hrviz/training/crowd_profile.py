"""`crowd-profile`: what REMIX plans with, measured: accuracy by object size, and latency, of detectors.

Not weights but a table. Each bundled detector of people looks at held-out crowds, downsampled by
several factors; average precision at IoU 0.5 is taken in twelve ranges of an object's side as the
network sees it. Latency is the median over warm calls at each input size, on this machine, whose
name is kept with it.
"""

from __future__ import annotations

import itertools
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz.methods.detection import Found, Wanted, average_precision, detect, wanted
from hrviz.methods.zooming.remix_profile import EDGES, FILE, INPUTS
from hrviz.results import write_whole
from hrviz.training.crowd_detectors import CLASSES

FRAMES, PEOPLE = 10, (120, 400)
SIZE = (1080, 1920)
FACTORS = (1.0, 1.5, 2.25, 3.4, 5.0)
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
            dataset("crowd", "held-out", count, width=SIZE[1], height=SIZE[0], people=n)
            for n in PEOPLE[: 1 if quick else None]
        ]
        views = [image.view() for images in sets for image in images]
        detectors = sorted({name for name, _ in INPUTS})
        accuracy = {name: _by_size(name, views, report) for name in detectors}
        latency = [_latency(name, side, 2 if quick else CALLS) for name, side in INPUTS]
    finally:
        torch.set_num_threads(threads)
    facts = {
        "what": "average precision at IoU 0.5 by side of objects in network pixels, and seconds a call",
        "edges_px": [float(e) for e in EDGES],
        "inputs": [list(i) for i in INPUTS],
        "accuracy": accuracy,
        "seconds": [round(s, 5) for s in latency],
        "device": f"one thread of {platform.machine()} ({platform.system()})",
        "date": time.strftime("%Y-%m-%d"),
        "data": f"{len(views)} crowds of {SIZE[1]} x {SIZE[0]} px, scene:crowd split held-out, at downsamples "
        + ", ".join(f"{f:g}" for f in FACTORS),
        "seed": seed,
        "command": "hrviz train crowd-profile",
    }
    report(json.dumps(facts["seconds"]))
    if write:
        text = json.dumps(facts, indent=1) + "\n"
        write_whole(FILE, lambda file: file.write(text.encode()))
    return facts


def _by_size(name: str, views: list[Any], report: Callable[[str], None]) -> list[float | None]:
    """Average precision in each range of sides; None where nothing of that size was shown."""
    found: list[Found] = []
    truth: list[Wanted] = []
    for view in views:
        true = wanted(view, CLASSES)
        for factor in FACTORS:
            size = view.fit(round(view.width / factor))
            scale = np.tile(np.array(size) / (view.height, view.width), 2)
            found.append(detect(name, view.read(size), top=500))
            truth.append(Wanted(true.boxes * scale, true.labels, true.ignored))
    out: list[float | None] = []
    for low, high in itertools.pairwise(EDGES):
        value = average_precision(found, truth, sides=(low, high))
        out.append(None if value != value else round(value, 4))
    report(f"{name}: {out}")
    return out


def _latency(name: str, side: int, calls: int) -> float:
    """Median seconds of a call on a picture of `side` px, after one to warm up."""
    pixels = np.full((round(side * SHAPE), side, 3), 0.5, np.float32)
    detect(name, pixels)
    spans = []
    for _ in range(calls):
        start = time.perf_counter()
        detect(name, pixels)
        spans.append(time.perf_counter() - start)
    return float(np.median(spans))

"""Where signs and cars tend to be on the procedural road, over its training pictures (`road-saliency`).

FOVEA's S_D: the kernel density of the boxes of all training pictures; nothing is learned by descent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.methods.downsampling.kde import region_kde
from hrviz.training.road_data import images

NODES = (61, 81)
PICTURES = 800


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Gather boxes, estimate their density, write it with its card; `steps` is how many pictures."""
    import torch

    from hrviz.nets.prior import FixedSaliency

    count = steps or PICTURES
    clock = time.perf_counter()
    total, boxes = np.zeros(NODES), 0
    for image in images("train", count):
        truth = image.truth.boxes()
        total += region_kde(truth.boxes, image.box, NODES) * len(truth)
        boxes += len(truth)
    report(f"{boxes} boxes of {count} pictures")
    net = FixedSaliency(*NODES)
    net.saliency.copy_(torch.from_numpy(total / total.sum()))
    facts = {
        "name": "road-saliency",
        "architecture": "hrviz.nets.prior.FixedSaliency",
        "config": {"rows": NODES[0], "columns": NODES[1]},
        "task": "where signs and cars tend to be on procedural road pictures (FOVEA's S_D)",
        "data": f"{boxes} boxes of {count} pictures of scene:road, split train",
        "training": "kernel density of the true boxes (b = 64, a = 1), no descent",
        "seed": seed,
        "steps": count,
        "seconds": round(time.perf_counter() - clock),
        "held_out": {"times_as_dense_as_even": round(_held_out(net), 3)},
        "command": f"hrviz train road-saliency --steps {count}",
        "licence": "BSD-3-Clause",
    }
    if write:
        nets.save("road-saliency", net, facts)
    return facts


def _held_out(net: Any) -> float:
    """Mean density at the centres of held-out objects, 1 for an even map."""
    import torch

    centres = []
    for image in images("held-out", 200):
        boxes = image.truth.boxes().boxes
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        centres.append(middle / (image.height, image.width))
    found = net(torch.from_numpy(np.concatenate(centres)))
    return float(found.mean() / net.saliency.mean())

"""The speed limit of unseen road frames: a spatial transformer's crop beside uniform and patches.

One reader for all. It was trained on crops around the sign, so uniform pictures are foreign to it even
where the sign could be read: its failure there is not uniform downsampling's alone (the road part's
detector, which has seen uniform pictures, is the fairer rival).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hrviz import nets
from hrviz.context import _CONTEXT, Context
from hrviz.cost.flops import counting
from hrviz.geometry import Box
from hrviz.run import CACHE, apply
from hrviz.scenes.dataset import dataset

SIZES = (96, 192)
READ = (72, 96)  # px, what the reader was trained on
TILE = (120, 160)  # px of the frame: a zoom of 8
EVEN = {"localisation": "sliders", "zoom": 1.0, "right": 0.0, "down": 0.0}
COSTS = ("flops", "network_memory", "pixels_read", "seconds")


def rows(quick: bool) -> list[dict[str, Any]]:
    """Accuracy (50, 70, 80 or none) with its 95 % half-width over frames, and where signs are."""
    frames = list(dataset("road", "unseen", 4 if quick else 40))
    out = []
    for size in SIZES[:1] if quick else SIZES:
        for arm, params in (("uniform", EVEN), ("spatial transformer, crop", {})):
            right, cost = [], dict.fromkeys(COSTS, 0.0)
            for frame in frames:
                CACHE.clear()
                run = apply("stn", frame, size=size, **params)
                right.append(run["score"].values["correct"])
                for name in COSTS:
                    cost[name] += (run.cost.get(name) or 0.0) / len(frames)
            out.append(_row(arm, size, right) | cost)
    found = [_patches(frame) for frame in frames]
    flops = float(np.mean([f for _, f in found]))
    out.append(
        _row("patches, zoom 8, half overlapping", READ[1], [r for r, _ in found]) | {"flops": flops}
    )
    return out


def _row(arm: str, size: int, right: list[float]) -> dict[str, Any]:
    share = float(np.mean(right))
    spread = 1.96 * (share * (1 - share) / len(right)) ** 0.5
    return {
        "task": "signs",
        "arm": arm,
        "size": size,
        "images": len(right),
        "accuracy": share,
        "spread": spread,
    }


def _patches(frame: Any) -> tuple[float, float]:
    """Whether the surest patch is right, and FLOPs: 'none' unless a limit has more than one half."""
    view = frame.view()
    corners = [
        (y, x)
        for y in range(0, int(view.height) - TILE[0] + 1, TILE[0] // 2)
        for x in range(0, int(view.width) - TILE[1] + 1, TILE[1] // 2)
    ]
    pixels = np.stack([view.read(READ, Box(y, x, y + TILE[0], x + TILE[1])) for y, x in corners])
    token = _CONTEXT.set(Context())
    try:
        with counting(True) as operations:
            logits = nets.run(
                "road-reader", torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
            )
    finally:
        _CONTEXT.reset(token)
    limits = logits.softmax(1)[:, 1:]
    best = divmod(int(limits.argmax()), limits.shape[1])
    said = ("50", "70", "80")[best[1]] if float(limits[best]) > 0.5 else "none"
    return float(said == str(frame.truth.label)), float(sum(operations.values()))

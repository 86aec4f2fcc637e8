"""Landolt-C rings: what saliency buys, and whether it can be learnt, at 32 and at 20 pixels a side.

Trains every arm of `hrviz.training.landolt` anew, with each seed, on the same pictures through the
same filter. `accuracy` (chance 0.25) is on held-out pictures, its spread the half of a 95 % interval
over all of them together with the difference of seeds; `area_zoom` is the median area magnification at
the ring, `peak_on_ring` the share of pictures whose saliency peaks on it.

Where a warp does not win: end to end at 20 px the thumbnail shows nothing that could be read, so the
task's loss has no gradient towards zooming in, with the blur trick or without; taught with the truth first,
or at 32 px, it does. At 32 px, where uniform pictures can be read in part, end to end depends on the seed:
either it finds the zoom, or it stays at uniform and is as good as uniform. In so short a training the
blur trick does harm there too: for half of it the ring cannot be read at any zoom that was found.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SEEDS = 2


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row an arm and size, over seeds."""
    from hrviz.training import landolt

    out = []
    for size in landolt.SIZES:
        for name in landolt.ARMS:
            if name == "taught at 32" and size == 32:
                continue  # it is 'end to end' there
            found = [
                landolt.run_arm(
                    name,
                    size,
                    seed=seed,
                    steps=4 if quick else landolt.STEPS,
                    report=lambda _: None,
                )
                for seed in range(1 if quick else SEEDS)
            ]
            out.append(summary([row for _, row in found]) | costs(found[0][0]))
    return out


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One arm over its seeds."""
    from hrviz.training import landolt

    accuracy = np.array([r["accuracy"] for r in runs])
    mean = float(accuracy.mean())
    # pictures are the same for all seeds: they do not average out, and training adds its own
    pictures = mean * (1 - mean) / landolt.HELD_OUT
    seeds = float(accuracy.var(ddof=1)) / len(runs) if len(runs) > 1 else 0.0
    return {
        "task": "ring opening", "arm": runs[0]["arm"], "size": runs[0]["size"],
        "images": landolt.HELD_OUT, "seeds": len(runs), "accuracy": mean,
        "lowest": float(accuracy.min()), "highest": float(accuracy.max()),
        "area_zoom": float(np.mean([r["area_zoom_median"] for r in runs])),
        "peak_on_ring": float(np.mean([r["peak_on_ring"] for r in runs])) if "peak_on_ring" in runs[0] else None,
        "spread": 1.96 * float(np.sqrt(pictures + seeds)),
        "seconds": float(np.mean([r["seconds"] for r in runs])),
    }  # fmt: skip


def costs(arm: Any) -> dict[str, Any]:
    """FLOPs and predicted memory of one picture through an arm's networks, and pixels read."""
    import torch

    from hrviz.cost.flops import counting
    from hrviz.cost.memory import predict_inference
    from hrviz.training.landolt_data import SIDE

    shape = (1, 3, arm.size, arm.size)
    parts = [n for n in (arm.classifier, arm.saliency) if n is not None]
    with counting(network=True) as operations, torch.no_grad():
        for part in parts:
            part(torch.zeros(shape))
    return {
        "flops": float(sum(operations.values())),
        "network_memory": float(max(predict_inference(part, shape) for part in parts)),
        "pixels_read": float(SIDE * SIDE),
    }

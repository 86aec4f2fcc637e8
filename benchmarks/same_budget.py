"""Which method finds more at the same network input? On unseen slides, against their truth.

For regions around lesions of slides whose seeds neither training nor the choice of recipes has seen every method gets the same
number of input pixels in one network call; patches cover the region with as many calls as it takes.
Prints IoU (pooled over regions), recall of all and of small lesions, and what it cost, as ratios to
uniform downsampling within this run.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.run import CACHE, apply
from hrviz.training.tissue_data import SIDE, slides

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("uniform-downsampling", {}),
    "learning to zoom, trained": ("saliency-sampler", {"saliency": "trained"}),
    "learning to zoom, truth": ("saliency-sampler", {"saliency": "truth"}),
    "patches at downsample 8": ("cutting-into-patches", {"downsample": 8, "halo": 32}),
}


def regions(span: int, count: int) -> list[tuple[Any, Box]]:
    """`count` regions around lesions of unseen slides."""
    rng = np.random.default_rng(5)
    found = slides("unseen", 4)
    out = []
    for i in range(count):
        slide = found[i % len(found)]
        boxes, _ = slide.truth.lesions()
        lesion = boxes[rng.integers(len(boxes))]
        corner = lesion[:2] - span * (0.2 + 0.6 * rng.random(2))
        corner = np.clip(corner, 0, SIDE - span).round()
        out.append((slide, Box(*corner, *(corner + span))))
    return out


def measure(
    span: int, size: int, count: int, arms: dict[str, tuple[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """One row an arm, pooled over regions."""
    rows = []
    for name, (method, params) in arms.items():
        budget = {"patch": size} if method == "cutting-into-patches" else {"size": size}
        common = union = 0.0
        found = {"lesion": [0.0, 0.0], "small_lesion": [0.0, 0.0]}
        cost = dict.fromkeys(
            ("pixels_read", "flops", "network_pixels", "network_memory", "seconds"), 0.0
        )
        for slide, box in regions(span, count):
            CACHE.clear()
            run = apply(method, slide, box, **budget, **params)
            values = run["score"].values
            mask = slide.truth.mask(box, (512, 512)) > 0
            at = np.stack(np.meshgrid(
                *(a0 + (np.arange(512) + 0.5) * span / 512 for a0 in box[:2]), indexing="ij"), -1)  # fmt: skip
            predicted = run["prediction"].at(at.reshape(-1, 2)).reshape(512, 512) > 0.5
            common += (mask & predicted).sum()
            union += (mask | predicted).sum()
            for kind, tally in found.items():
                n = values.get(f"{kind}s", 0.0)
                tally[0] += n * values.get(f"{kind}_recall", 0.0)
                tally[1] += n
            for quantity in cost:
                cost[quantity] += (run.cost.get(quantity) or 0.0) / count
        rows.append(
            {
                "arm": name,
                "span": span,
                "size": size,
                "regions": count,
                "iou": common / max(union, 1),
            }
            | {f"{k}_recall": t[0] / max(t[1], 1) for k, t in found.items()}
            | {f"{k}s": t[1] for k, t in found.items()}
            | cost
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=10)
    parser.add_argument("--spans", default="12000")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for span in map(int, options.spans.split(",")):
        rows += measure(span, options.size, options.regions, ARMS)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        f"{'region':>7} {'input':>6}  {'method':26} {'IoU':>6} {'recall':>7} {'small':>6}   pixels read, FLOPs, memory against uniform"
    )
    for row in rows:
        base = next(r for r in rows if r["span"] == row["span"])
        ratios = ", ".join(
            f"{row[k] / max(base[k], 1):.2f}x" for k in ("pixels_read", "flops", "network_memory")
        )
        print(f"{row['span']:7d} {row['size']:6d}  {row['arm']:26} {row['iou']:6.3f} {row['lesion_recall']:7.3f} "
              f"{row['small_lesion_recall']:6.3f} of {row['small_lesions']:.0f}   {ratios}")  # fmt: skip


if __name__ == "__main__":
    main()

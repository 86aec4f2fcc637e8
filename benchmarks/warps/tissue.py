"""Tumour outline on regions around lesions of unseen slides, by the same segmenter for every warp."""

from __future__ import annotations

from typing import Any

import numpy as np
from same_budget import regions

from hrviz.errors import HrvizError
from hrviz.run import CACHE, apply

SPAN = 12_000  # px: 3 mm, a region that a network input shows at a downsample of 30 to 125
SIZES = (96, 192, 384)
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("uniform-downsampling", {"filter": "mip-mapped"}),
    "uniform, area filter": ("uniform-downsampling", {"filter": "area"}),
    "learning to zoom, trained": ("saliency-sampler", {"saliency": "trained"}),
    "learning to zoom, edges": ("saliency-sampler", {"saliency": "edges"}),
    "learning to zoom, truth (oracle)": ("saliency-sampler", {"saliency": "truth"}),
    "exact CDF, trained saliency": ("exact-cdf", {"saliency": "trained"}),
    "learned deformation, trained": ("learned-deformation", {"saliency": "trained"}),
    "boundary sampling, trained": ("boundary-sampling", {"saliency": "trained"}),
    "boundary sampling, truth (oracle)": ("boundary-sampling", {"saliency": "truth"}),
    "cutting into patches, downsample 8": ("cutting-into-patches", {"downsample": 8, "halo": 32}),
}
COSTS = ("flops", "network_memory", "pixels_read", "seconds")


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row an arm and size: mean IoU, its paired gain on uniform, recall of small lesions.

    The spread is the 95 % interval over regions: of the gain, and for uniform itself of the IoU.
    """
    chosen = regions(SPAN, 3 if quick else 16)
    out = []
    even: dict[int, np.ndarray] = {}
    for size in SIZES[:1] if quick else SIZES:
        for arm, (method, params) in ARMS.items():
            patches = method == "cutting-into-patches"
            if patches and size != SIZES[1] and not quick:
                continue  # its cost is the region's, not the output's
            ious, small, found = [], 0.0, 0.0
            cost = dict.fromkeys(COSTS, 0.0)
            for slide, box in chosen:
                CACHE.clear()
                budget = {"patch": SIZES[1]} if patches else {"size": size}
                try:
                    run = apply(method, slide, box, **budget, **params)
                except HrvizError as error:  # weights that are not there, said and not hidden
                    print(f"{arm}: {error}")
                    break
                values = run["score"].values
                ious.append(values["iou"])
                small += values.get("small_lesions", 0.0)
                found += values.get("small_lesions", 0.0) * values.get("small_lesion_recall", 0.0)
                for name in COSTS:
                    cost[name] += (run.cost.get(name) or 0.0) / len(chosen)
            if len(ious) < len(chosen):
                continue
            if arm == "uniform":
                even[size] = np.array(ious)
            gains = np.array(ious) - even[size]
            of = np.array(ious) if arm == "uniform" else gains
            spread = 1.96 * float(np.std(of, ddof=1)) / len(ious) ** 0.5
            out.append(
                {"task": "tissue", "arm": arm, "size": size, "images": len(ious),
                 "iou": float(np.mean(ious)), "gain": float(gains.mean()), "spread": spread,
                 "small_lesion_recall": found / max(small, 1.0), "small_lesions": small} | cost
            )  # fmt: skip
    return out

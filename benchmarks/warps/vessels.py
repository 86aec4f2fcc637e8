"""Vessels of unseen retinas against output size, by the same segmenter for every warp."""

from __future__ import annotations

from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.run import CACHE, apply
from hrviz.scenes.dataset import dataset

SIDE = 1024  # px of an eye: thin vessels are below 4 px wide, more than half of all vessel pixels
SIZES = (96, 128, 192, 256)
PATCH = 128  # px, at full detail: 64 patches an eye, whatever the output size of the others
EVEN = "uniform, same filter"
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform, area": ("uniform-downsampling", {}),
    # an even grid through the warps' own filter and way back: what they are to be compared with
    EVEN: ("saliency-sampler", {"saliency": "edges", "strength": 0.0}),
    "learning to zoom, edges": ("saliency-sampler", {"saliency": "edges"}),
    "learned deformation, trained": ("learned-deformation", {"saliency": "trained"}),
    "learned deformation, trained, reflect": (
        "learned-deformation",
        {"saliency": "trained", "padding": "reflect"},
    ),
    "learned deformation, true edges (oracle)": ("learned-deformation", {"saliency": "truth"}),
    "boundary sampling, trained": ("boundary-sampling", {"saliency": "trained"}),
    "boundary sampling, truth (oracle)": ("boundary-sampling", {"saliency": "truth"}),
    "boundary sampling, truth, 32 nodes (oracle)": (
        "boundary-sampling",
        {"saliency": "truth", "samples": 32},
    ),
    "cutting into patches": ("cutting-into-patches", {"patch": PATCH, "downsample": 1, "halo": 16}),
}
METRICS = ("iou", "dice", "thin_recall")
COSTS = ("flops", "network_memory", "pixels_read", "seconds")


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row an arm and output size, over retinas that no recipe has seen.

    Metrics are means, with 95 % intervals over images; `gain` is the paired difference in IoU to
    uniform downsampling at the same size through the same filter. (Averaging areas that tile the
    picture is sharper than a mip-map read between its pixels; that is the filter's doing, not the
    grid's.) Pixels are computed before the clock runs. Patches do not depend on the output size:
    they have one row, with the patch as size.
    """
    images = list(dataset("vessels", "unseen", 3 if quick else 12, width=SIDE, height=SIDE))
    for image in images:
        for level in range(5):
            image.rgb(image.box, (SIDE >> level, SIDE >> level))
    out: list[dict[str, Any]] = []
    ious: dict[tuple[int, str], np.ndarray] = {}
    for size in SIZES[1:2] if quick else SIZES:
        for arm, (method, params) in ARMS.items():
            patches = method == "cutting-into-patches"
            if patches and size != PATCH:
                continue
            values, cost = [], np.zeros(len(COSTS))
            try:
                for image in images:
                    CACHE.clear()
                    run = apply(method, image, **({} if patches else {"size": size}), **params)
                    values.append([run["score"].values[m] for m in METRICS])
                    cost += [(run.cost.get(c) or 0.0) / len(images) for c in COSTS]
            except HrvizError as error:  # weights that are not there, said and not hidden
                print(f"{arm}: {error}")
                continue
            found = np.array(values)
            row: dict[str, Any] = {
                "task": "vessels",
                "arm": arm,
                "size": size,
                "images": len(found),
            }
            for k, metric in enumerate(METRICS):
                row |= {
                    metric: float(found[:, k].mean()),
                    f"{metric}_spread": _interval(found[:, k]),
                }
            out.append(row | dict(zip(COSTS, map(float, cost), strict=True)))
            ious[size, arm] = found[:, 0]
    for row in out:
        gain = ious[row["size"], row["arm"]] - ious[row["size"], EVEN]
        row |= {"gain": float(gain.mean()), "gain_spread": _interval(gain)}
    return out


def _interval(values: np.ndarray) -> float:
    """Half width of the 95 % interval of a mean."""
    return 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5

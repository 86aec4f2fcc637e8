"""Trains the road detector further on warped pictures: `road-detector-fovea`, `road-detector-unzoom`.

Both start from `road-detector` and see whole pictures of 320 to 576 px, warped as the methods warp
them. FOVEA's saliency is the kernel density of the true boxes, each moved by a random amount as
objects move between frames (published code adds twice a *normal* number less one half, which moves
all of them by -50 px on average; here the mean is 0). LZU's is the data set's for half of the pictures
and the same jittered boxes for the others.

Losses are taken in source space as far as sensible. LZU's heads answer in image space. FOVEA's
answer in the warped picture: background counts there by the area of the image that a cell stands for;
the L1 of log sizes does not change when both boxes are carried back by the same local scale.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hrviz import nets
from hrviz.methods.detection import Found, judge, wanted
from hrviz.methods.downsampling.box_sources import box_saliency, data_set, zoom_nodes
from hrviz.methods.downsampling.kde import region_kde
from hrviz.methods.downsampling.sampler import grid_from_nodes, sample
from hrviz.methods.downsampling.unzoom_features import take, unzoom_places
from hrviz.methods.downsampling.warp import node_counts
from hrviz.results import WarpGrid
from hrviz.training.road_data import CLASSES, images, kept
from hrviz.training.road_detector import BLOCKS, JUDGED, WIDTHS, fit

IMAGES, VARIANTS = 64, 3
SIZES = {320: 8, 448: 4, 576: 3}  # longer side -> pictures a batch
STEPS = {"fovea": 160, "unzoom": 260}
RATE = 8e-4
JITTER = 50 / 1920  # of the longer side, as in the paper
JUDGED_SIZE = 320
ZOOMS = {"fovea": (51, 4.0), "unzoom": (48, 10.0)}  # nodes and FWHM


class Warped(NamedTuple):
    """A warped picture uint8 (h, w, 3), its grid, boxes in its pixels, and classes."""

    pixels: np.ndarray
    grid: WarpGrid
    boxes: np.ndarray
    labels: np.ndarray


def train_fovea(**asked: Any) -> dict[str, Any]:
    """Recipe `road-detector-fovea`."""
    return _train("fovea", **asked)


def train_unzoom(**asked: Any) -> dict[str, Any]:
    """Recipe `road-detector-unzoom`."""
    return _train("unzoom", **asked)


def _train(
    kind: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    import torch

    from hrviz.nets.detector import SmallDetector

    steps = steps or STEPS[kind]
    quick = steps <= 50
    clock = time.perf_counter()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 2)
    sets = pictures(kind, 2 if quick else IMAGES, rng, report)
    net = SmallDetector(len(CLASSES), WIDTHS, BLOCKS)
    net.load_state_dict(nets.load("road-detector").state_dict())
    sides = [side for side in SIZES if sets[side]]

    def batch() -> tuple[np.ndarray, Any]:
        side = sides[int(rng.integers(len(sides)))]
        have = sets[side]
        chosen = [have[k] for k in rng.choice(len(have), min(SIZES[side], len(have)), False)]
        targets = torch.stack([net.targets(w.boxes, w.labels, w.grid.size) for w in chosen])
        extra = areas(chosen) if kind == "fovea" else places(chosen)
        return np.stack([w.pixels for w in chosen]), (targets, extra)

    fit(net, batch, steps, RATE, rng, report, _fovea_loss if kind == "fovea" else _unzoom_loss)
    name = f"road-detector-{kind}"
    whose = "jittered true boxes" if kind == "fovea" else "the data set (half) or jittered boxes"
    facts = {
        "name": name,
        "architecture": "hrviz.nets.detector.SmallDetector",
        "config": {"classes": len(CLASSES), "widths": WIDTHS, "blocks": BLOCKS},
        "classes": list(CLASSES),
        "task": "traffic signs and cars on warped procedural road pictures (synthetic: not for driving)",
        "data": f"{sum(map(len, sets.values()))} pictures of {min(SIZES)}-{max(SIZES)} px, warped by saliency of {whose}, "
        "scene:road split train",
        "training": "from road-detector; AdamW, one-cycle; "
        + ("background by image area, L1 of log sizes (free of local scale)" if kind == "fovea"
           else "features un-zoomed by the exact inverse, all losses in image space"),
        "stands_for": "Faster R-CNN R50-FPN of the paper (a compact detector without anchors instead)",
        "seed": seed,
        "steps": steps,
        "batch": str(SIZES),
        "seconds": round(time.perf_counter() - clock),
        "held_out": _judge(kind, net, report, quick),
        "command": f"hrviz train {name} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save(name, net, facts)
    return facts


def pictures(
    kind: str, count: int, rng: np.random.Generator, report: Callable[[str], None]
) -> dict[int, list[Warped]]:
    """Warped training pictures by their longer side, `VARIANTS` of each image."""
    out: dict[int, list[Warped]] = {side: [] for side in SIZES}
    nodes, fwhm = ZOOMS[kind]
    for k, image in enumerate(images("train", count)):
        view = image.view()
        truth = wanted(view, CLASSES)
        counts = node_counts(view, nodes)
        for variant in range(VARIANTS):
            if kind == "unzoom" and variant % 2 == k % 2:
                saliency = data_set(view, counts)
            else:
                moved = jittered(truth.boxes, max(view.height, view.width), rng)
                saliency = region_kde(moved, view.box, counts)
            side = list(SIZES)[variant % len(SIZES)]
            v, u = zoom_nodes(saliency, fwhm, "reflect", "separable")
            grid = grid_from_nodes(v, u, view.box, view.fit(side))
            pixels = np.rint(sample(view, grid, "fair") * 255).astype(np.uint8)
            lies = grid if kind == "fovea" else WarpGrid.identity(view.box, grid.size)
            boxes, labels = kept(
                lies.boxes_to_output(truth.boxes), truth.labels, np.zeros(2), np.ones(2), grid.size
            )
            out[side].append(Warped(pixels, grid, boxes, labels))
        if (k + 1) % 40 == 0:
            report(f"train: {k + 1} of {count} images warped")
    return out


def jittered(boxes: np.ndarray, longer: float, rng: np.random.Generator) -> np.ndarray:
    """Boxes moved as between frames: each by up to 50 px of a 1,920 px picture; a tenth is missed."""
    kept = boxes[rng.random(len(boxes)) > 0.1]
    return kept + np.tile(rng.uniform(-1, 1, (len(kept), 2)) * JITTER * longer, 2)


def areas(chosen: list[Warped]) -> Any:
    """Image area that each cell of the answers stands for, 1 as uniform: (n, 1, h/4, w/4)."""
    import torch

    from hrviz.nets.detector import STRIDE

    rows, columns = (-(-n // STRIDE) for n in chosen[0].grid.size)
    at = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns,
                     indexing="ij")  # fmt: skip
    each = np.stack([w.grid.determinant(*at) for w in chosen])[:, None]
    return torch.from_numpy(each.astype(np.float32))


def places(chosen: list[Warped]) -> list[Any]:
    """Where each level's cells lie in the warped pictures, a tensor (n, h, w, 2) a level."""
    import torch

    from hrviz.nets.detector import STRIDE

    depth = len(WIDTHS) - 1
    step = STRIDE << (depth - 1)
    h, w = (-(-n // step) * step for n in chosen[0].grid.size)
    return [
        torch.from_numpy(
            np.stack([unzoom_places(c.grid, (h // s, w // s), s) for c in chosen])
        ).float()
        for s in (STRIDE << k for k in range(depth))
    ]


def _fovea_loss(net: Any, x: Any, wanted: Any) -> Any:
    targets, weight = wanted
    return net.loss(net(x), targets, weight)


def _unzoom_loss(net: Any, x: Any, wanted: Any) -> Any:
    targets, at = wanted
    even = [take(f, p) for f, p in zip(net.levels(x), at, strict=True)]
    h, w = targets.shape[-2:]
    return net.loss(net.answer(even)[..., :h, :w], targets)


def _judge(kind: str, net: Any, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """Average precision on held-out pictures, with detections and data-set saliency as in use."""
    views = [i.view() for i in images("held-out", 2 if quick else JUDGED, clutter=8)]
    truth = [wanted(view, CLASSES) for view in views]
    out: dict[str, Any] = {"frames": len(views), "output_px": JUDGED_SIZE}
    for source in ("detections", "data set", "truth"):
        told = judge([_found(kind, net, view, source) for view in views], truth)
        for metric in ("ap50", "small_ap50"):
            out[f"{source.replace(' ', '_')}_{metric}"] = round(told[metric], 4)
    report(str(out))
    return out


def _found(kind: str, net: Any, view: Any, source: str) -> Found:
    """What a network in training finds, in level-0 pixels."""
    import torch

    from hrviz.nets.detector import decode

    (nodes, fwhm), size = ZOOMS[kind], view.fit(JUDGED_SIZE)
    asked = box_saliency(view, source, node_counts(view, nodes), task="sign detection", size=size)
    v, u = zoom_nodes(asked.values, fwhm, "reflect", "separable")
    grid = grid_from_nodes(v, u, view.box, size)
    pixels = sample(view, grid, "fair")
    x = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
    with torch.no_grad():
        if kind == "fovea":
            return Found(*decode(net(x))[0]).to_image(grid)
        at = places([Warped(pixels, grid, np.zeros((0, 4)), np.zeros(0, np.int64))])
        answer = net.answer([take(f, p) for f, p in zip(net.levels(x), at, strict=True)])
    return Found(*decode(answer)[0]).to_image(WarpGrid.identity(view.box, size))

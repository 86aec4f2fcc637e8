"""Trains learned deformation's saliency networks (`vessel-deformation`, `tissue-deformation`).

As in Jin et al. through the sampler, with two losses: the segmenter's cross-entropy on the deformed
picture against labels deformed by the same grid, and the edge loss, which pulls saliency to the edges
of the labels. The segmenter is the bundled one and is kept fixed, where the paper trains both, so that
all methods are judged by the same one. Labels are warped through the same mip-map as the picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.methods.downsampling.deformation import GAMMA, edge_loss, edge_target

SOURCE = 640  # px of a region that stands for full resolution
THUMBNAIL = 64
OUTPUT = 128  # px: the budget under which it learns to deform
REGIONS = 200
BATCH = 4
STEPS = 400
RATE = 3e-3
RADIUS = 15  # nodes: full width at half maximum of the kernel, and where it ends
WIDTHS = {"width": 24, "last": 12}
#: level-0 pixels a source pixel: slides; level-0 pixels of a region's side: eyes of 2048 px
SCALES = {"tissue": (3.0, 24.0), "vessels": (700.0, 2048.0)}


def _regions(
    scene: str, split: str, count: int, scenes: int, seed: int, report: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (n, SOURCE, SOURCE, 3) and masks bool (n, SOURCE, SOURCE)."""
    from hrviz.training import tissue_data, vessel_data

    rng = np.random.default_rng(seed)
    tissue = scene == "tissue"
    found = (tissue_data.slides if tissue else vessel_data.eyes)(split, scenes)
    images = np.empty((count, SOURCE, SOURCE, 3), np.uint8)
    masks = np.empty((count, SOURCE, SOURCE), bool)
    for i in range(count):
        image, scale = (
            found[i * scenes // count],
            float(np.exp(rng.uniform(*np.log(SCALES[scene])))),
        )
        if tissue:
            images[i], masks[i] = tissue_data.crop(image, rng, SOURCE, scale)
        else:
            box = vessel_data.place(rng, scale)
            images[i] = image.rgb(box, (SOURCE, SOURCE))
            masks[i] = image.truth.mask(box, (SOURCE, SOURCE)) > 0
        if (i + 1) % 50 == 0:
            report(f"{split}: {i + 1} of {count} regions")
    return images, masks


def positions(saliency: Any) -> Any:
    """Saliency `(n, ny, nx)` to sampling positions `(n, OUTPUT, OUTPUT, 2)` as (x, y) in -1..1."""
    import torch
    from torch.nn import functional as F

    from hrviz.methods.downsampling.sampler import saliency_nodes

    v, u = saliency_nodes(
        saliency / saliency.amax((1, 2), keepdim=True), RADIUS, "replicate", RADIUS
    )
    fine = F.interpolate(
        torch.stack([u, v], 1), (OUTPUT, OUTPUT), mode="bilinear", align_corners=True
    )
    return fine.permute(0, 2, 3, 1) * 2 - 1


def warp(x: Any, grid: Any, levels: int = 4) -> Any:
    """Mip-mapped sampling of `(n, c, h, w)`: pyramid levels blended by each pixel's footprint."""
    import torch
    from torch.nn import functional as F

    with torch.no_grad():
        down = (grid[:, 1:, :-1] - grid[:, :-1, :-1]).norm(dim=-1)
        right = (grid[:, :-1, 1:] - grid[:, :-1, :-1]).norm(dim=-1)
        side = F.pad(down.maximum(right)[:, None] * x.shape[-1] / 2, (0, 1, 0, 1), mode="replicate")
        lod = side.clamp(1, 2 ** (levels - 1)).log2()
    out: Any = 0
    for level in range(levels):
        weight = (1 - (lod - level).abs()).clamp(0)
        out = out + weight * F.grid_sample(
            x, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        x = F.avg_pool2d(x, 2)
    return out


def _targets(y: Any) -> Any:
    """Edge targets `(n, THUMBNAIL, THUMBNAIL)` of labels `(n, 1, h, w)`."""
    import torch
    from torch.nn import functional as F

    small = F.adaptive_avg_pool2d(y, THUMBNAIL)[:, 0].numpy()
    return torch.from_numpy(np.stack([edge_target(labels) for labels in small]))


def train(
    scene: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train on one scene, judge on its held-out ones, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.deformation import DeformationNet
    from hrviz.nets.deformation import saliency as softmax
    from hrviz.training.tissue_data import augment

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    segmenter = nets.load("tissue-segmenter" if scene == "tissue" else "vessel-segmenter")
    images, masks = _regions(
        scene, "train", BATCH if quick else REGIONS, 2 if quick else 10, seed, report
    )
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = DeformationNet(**WIDTHS)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    for step in range(steps):
        chosen = rng.choice(len(images), BATCH, replace=False)
        pixels, truth = augment(images[chosen], masks[chosen], rng)
        x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        y = torch.from_numpy(truth.astype(np.float32))[:, None]
        saliency = softmax(net(F.adaptive_avg_pool2d(x, THUMBNAIL)))
        edge = edge_loss(saliency, _targets(y))
        seen = warp(torch.cat([x, y], 1), positions(saliency))
        labels = F.avg_pool2d(seen[:, 3:], 2)
        task = F.binary_cross_entropy_with_logits(segmenter(seen[:, :3]), labels.clamp(0, 1))
        loss = task + edge
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {steps}: task {task.item():.3f}, edge {edge.item():.3f}")
    net.eval()
    metrics = _judge(net, scene, segmenter, report, quick)
    name = "tissue-deformation" if scene == "tissue" else "vessel-deformation"
    facts = {
        "name": name,
        "architecture": "hrviz.nets.deformation.DeformationNet",
        "config": WIDTHS,
        "task": f"where to look for outlines on a {THUMBNAIL} px thumbnail of scene:{scene}",
        "data": f"{len(images)} regions of {SOURCE} px of scene:{scene}, split 'train'",
        "training": f"segmenter's cross-entropy through the sampler (nodes {THUMBNAIL}, radius {RADIUS}, replicate, "
        f"output {OUTPUT} px) plus {GAMMA:g} x edge loss; segmenter fixed (the paper trains both)",
        "stands_for": "'fovsimple' of Jin et al. (379,273 parameters)",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": metrics,
        "command": f"hrviz train {name} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }
    if write:
        nets.save(name, net, facts)
    return facts


def _judge(
    net: Any, scene: str, segmenter: Any, report: Callable[[str], None], quick: bool
) -> dict[str, Any]:
    """Edge loss and IoU on held-out scenes: trained, even and oracle saliency.

    Answers are carried back by the grid's exact inverse and judged on 320 points a side of the region;
    what is cropped counts as not found.
    """
    import torch
    from torch.nn import functional as F

    from hrviz.nets.deformation import saliency as softmax

    images, masks = _regions(scene, "held-out", 2 if quick else 32, 2 if quick else 4, 98, report)
    out: dict[str, Any] = {"regions": len(images), "output_px": OUTPUT}
    for name in ("uniform", "trained", "edge_target"):
        losses, common, union = [], 0, 0
        for pixels, mask in zip(images, masks, strict=True):
            x = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
            target = _targets(torch.from_numpy(mask[None, None].astype(np.float32)))
            with torch.no_grad():
                if name == "trained":
                    s = softmax(net(F.adaptive_avg_pool2d(x, THUMBNAIL)))
                else:
                    s = target + 1e-6 if name == "edge_target" else torch.ones_like(target)
                losses.append(float(edge_loss(s, target)))
                answer = segmenter(warp(x, positions(s)))[0, 0].sigmoid().numpy()
            found, truth = _carried(answer, s[0].double().numpy()) > 0.5, mask[::2, ::2]
            common += int((found & truth).sum())
            union += int((found | truth).sum())
        out[f"{name}_edge_loss"] = round(float(np.mean(losses)), 3)
        out[f"{name}_iou"] = round(common / max(union, 1), 4)
    report(str(out))
    return out


def _carried(answer: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """An answer at half of OUTPUT at every second pixel of the region; NaN where it is cropped."""
    from scipy import ndimage

    from hrviz.geometry import Box
    from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes

    v, u = saliency_nodes(saliency, RADIUS, "replicate", RADIUS)
    grid = grid_from_nodes(v, u, Box(0, 0, SOURCE, SOURCE), (OUTPUT, OUTPUT))
    line = np.arange(0, SOURCE, 2) + 0.5
    points = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    at = grid.to_output(points)
    known = np.isfinite(at[:, 0])
    out = np.full(len(points), np.nan)
    out[known] = ndimage.map_coordinates(answer, at[known].T / 2 - 0.5, order=1, mode="nearest")
    return out.reshape(len(line), len(line))

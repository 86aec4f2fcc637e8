"""Trains Learning to Zoom's saliency network through the sampler (`tissue-saliency`).

As in Recasens et al. the task's loss alone moves it: thumbnail -> saliency -> grid -> warped picture
-> task network -> loss, with gradients through all of it. Two things differ and are said on the
card: the task network is the bundled segmenter, kept fixed so that all methods are judged with the
same one; and the first steps pull the saliency towards the truth's density (a warm start), because
gradients through four taps are local and a cold start on few steps stays near uniform.

The loss is an integral over the *image*: each output pixel's cross-entropy counts with the area it
stands for, else the sampler would learn to hide what is difficult. Within tumour, each lesion
counts with the square root of its area, else one large nest would rule and small ones, which are
what zooming is for, would not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.tissue_data import augment, crop, slides

SOURCE = 768  # px of the crop that stands for full resolution
THUMBNAIL = 128
OUTPUT = 160  # px: the budget under which it learns to zoom
CROPS = 220
SLIDES = 10
BATCH = 6
STEPS = 420
WARM = 120
RATE = 2e-3
NODES, FWHM, FLOOR = 31, 13.0, 0.1
SCALES = (3.0, 24.0)  # level-0 pixels per source pixel


def _crops(
    split: str, count: int, slide_count: int, seed: int, report: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = slides(split, slide_count)
    images = np.empty((count, SOURCE, SOURCE, 3), np.uint8)
    masks = np.empty((count, SOURCE, SOURCE), bool)
    for i in range(count):
        scale = float(np.exp(rng.uniform(*np.log(SCALES))))
        images[i], masks[i] = crop(found[i % len(found)], rng, SOURCE, scale)
        if (i + 1) % 60 == 0:
            report(f"{split}: {i + 1} of {count} crops")
    return images, masks


def lesion_weights(mask: np.ndarray) -> np.ndarray:
    """Weight of each tumour pixel, mean 1 over tumour: a lesion of area A counts as sqrt(A)."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if not count:
        return np.zeros(mask.shape, np.float32)
    areas = np.bincount(labels.ravel())
    areas[0] = 1
    weight = np.where(mask, 1 / np.sqrt(areas)[labels], 0)
    return (weight / weight[mask].mean()).astype(np.float32)


def grid_of(saliency: Any, fwhm: float = FWHM) -> Any:
    """Saliency `(n, ny, nx)` to sampling positions `(n, OUTPUT, OUTPUT, 2)` as (x, y) in -1..1."""
    import torch
    from torch.nn import functional as F

    from hrviz.methods.downsampling.sampler import saliency_nodes

    top = saliency.amax((1, 2), keepdim=True)
    shaped = (1 - FLOOR) * saliency / top + FLOOR * (saliency / top).mean((1, 2), keepdim=True)
    v, u = saliency_nodes(shaped, fwhm, "reflect")
    nodes = torch.stack([u, v], 1)
    fine = F.interpolate(nodes, (OUTPUT, OUTPUT), mode="bilinear", align_corners=True)
    return fine.permute(0, 2, 3, 1) * 2 - 1


def warp(x: Any, grid: Any) -> Any:
    """Mip-mapped sampling: three pyramid levels blended by each output pixel's footprint."""
    import torch
    from torch.nn import functional as F

    with torch.no_grad():
        step = (
            (grid[:, 1:, :-1] - grid[:, :-1, :-1])
            .norm(dim=-1)
            .maximum((grid[:, :-1, 1:] - grid[:, :-1, :-1]).norm(dim=-1))
        )
        side = F.pad(step[:, None] * SOURCE / 2, (0, 1, 0, 1), mode="replicate")
        lod = side.clamp(1, 4).log2()
    out: Any = 0
    for level in range(3):
        weight = (1 - (lod - level).abs()).clamp(0)
        out = out + weight * F.grid_sample(
            x, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        x = F.avg_pool2d(x, 2)
    return out


def area(grid: Any) -> Any:
    """Share of the image that each output pixel stands for, `(n, 1, OUTPUT, OUTPUT)`, mean 1."""
    from torch.nn import functional as F

    dx = F.pad(grid[:, :, 1:] - grid[:, :, :-1], (0, 0, 0, 1))
    dy = F.pad(grid[:, 1:] - grid[:, :-1], (0, 0, 0, 0, 0, 1))
    det = (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).clamp(0)
    return (det / det.mean((1, 2), keepdim=True).clamp(1e-9))[:, None]


def _loss(logits: Any, y: Any, weight: Any, lesions: Any = 1.0) -> Any:
    """Cross-entropy over the image's area, tumour (weighted by lesion) and rest counting half each."""
    from torch.nn import functional as F

    ce = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    positive, negative = weight * y * lesions, weight * (1 - y)
    return 0.5 * (ce * positive).sum() / (positive.sum() + 1) + 0.5 * (ce * negative).sum() / (
        negative.sum() + 1
    )


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge on held-out slides, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.saliency import SmallSaliencyNet, saliency_from_logits

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    segmenter = nets.load("tissue-segmenter")
    images, masks = _crops("train", 12 if quick else CROPS, 2 if quick else SLIDES, seed, report)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = SmallSaliencyNet()
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        chosen = rng.choice(len(images), BATCH, replace=False)
        pixels, truth = augment(images[chosen], masks[chosen], rng)
        x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        y = torch.from_numpy(truth.astype(np.float32))[:, None]
        lesions = torch.from_numpy(np.stack([lesion_weights(m) for m in truth]))[:, None]
        saliency = saliency_from_logits(net(F.adaptive_avg_pool2d(x, THUMBNAIL)), (NODES, NODES))
        if step < WARM:
            target = F.adaptive_avg_pool2d(lesions, NODES)[:, 0] + 0.02
            target = target / target.sum((1, 2), keepdim=True)
            loss = (target * (target.log() - (saliency + 1e-9).log())).sum((1, 2)).mean()
        else:
            grid = grid_of(saliency)
            logits = segmenter(warp(x, grid))
            logits = F.interpolate(logits, (OUTPUT, OUTPUT), mode="bilinear", align_corners=True)
            at = F.grid_sample(
                F.avg_pool2d(y, 3, 1, 1), grid, align_corners=True, padding_mode="border"
            )
            count = F.grid_sample(lesions, grid, align_corners=True, padding_mode="border")
            loss = _loss(logits, at, area(grid), count + 0.05)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.3f}")
    net.eval()
    metrics = _judge(net, segmenter, report, quick)
    facts = {
        "name": "tissue-saliency",
        "architecture": "hrviz.nets.saliency.SmallSaliencyNet",
        "config": {"width": 16},
        "task": "where to look for tumour on a 128 px thumbnail of a procedural slide's region",
        "data": f"{len(images)} crops of {SOURCE} px from scene:tissue seeds 10000.., downsample 3-24",
        "training": f"{min(WARM, steps)} warm-start steps towards the truth's density (by lesion), then the segmenter's "
        f"loss through the sampler (nodes {NODES}, FWHM {FWHM:g}, output {OUTPUT} px); segmenter fixed",
        "stands_for": "ResNet-18 saliency network of Recasens et al. (2,783,041 parameters)",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": metrics,
        "command": f"hrviz train tissue-saliency --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save("tissue-saliency", net, facts)
    return facts


def _judge(net: Any, segmenter: Any, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """Balanced loss and area-weighted IoU on held-out slides: trained, even and true saliency."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.saliency import saliency_from_logits

    images, masks = _crops("held-out", 6 if quick else 48, 2 if quick else 4, 98, report)
    out: dict[str, Any] = {"crops": len(images), "output_px": OUTPUT}
    for name in ("uniform", "trained", "truth"):
        losses, common, union = [], 0.0, 0.0
        for start in range(0, len(images), BATCH):
            x = torch.from_numpy(
                images[start : start + BATCH].transpose(0, 3, 1, 2).astype(np.float32) / 255
            )
            y = torch.from_numpy(masks[start : start + BATCH].astype(np.float32))[:, None]
            with torch.no_grad():
                if name == "trained":
                    s = saliency_from_logits(
                        net(F.adaptive_avg_pool2d(x, THUMBNAIL)), (NODES, NODES)
                    )
                elif name == "truth":
                    s = F.adaptive_avg_pool2d(y, NODES)[:, 0] + 1e-3
                else:
                    s = torch.ones(len(x), NODES, NODES)
                grid = grid_of(s)
                logits = segmenter(warp(x, grid))
                logits = F.interpolate(
                    logits, (OUTPUT, OUTPUT), mode="bilinear", align_corners=True
                )
                at = F.grid_sample(y, grid, align_corners=True, padding_mode="border")
                a = area(grid)
                losses.append(float(_loss(logits, at, a)))
                p, t = logits > 0, at > 0.5
                common += float((a * (p & t)).sum())
                union += float((a * (p | t)).sum())
        out[f"{name}_loss"] = round(float(np.mean(losses)), 4)
        out[f"{name}_iou"] = round(common / max(union, 1.0), 4)
    report(str(out))
    return out

"""Trains the tumour segmenter on random tissue scenes at all magnifications (`tissue-segmenter`).

One network serves every method, so it must work at whatever scale a method hands it: crops are
taken at downsamples from 1 to 48, evenly in the logarithm. Loss: cross-entropy plus soft Dice,
at the network's half resolution.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.tissue_data import augment, crop, slides

CROP = 192
CROPS = 1400
SLIDES = 14
BATCH = 12
STEPS = 1200
RATE = 2e-3
WIDTHS = [12, 24, 48, 64]
SCALES = (1.0, 48.0)


def _crops(
    split: str, count: int, slides_count: int, seed: int, report: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = slides(split, slides_count)
    images = np.empty((count, CROP, CROP, 3), np.uint8)
    masks = np.empty((count, CROP, CROP), bool)
    scales = np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), count))
    for i in range(count):
        images[i], masks[i] = crop(found[i % len(found)], rng, CROP, float(scales[i]))
        if (i + 1) % 200 == 0:
            report(f"{split}: {i + 1} of {count} crops")
    return images, masks, scales


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge on held-out slides, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.unet import SmallUNet

    steps = steps or STEPS
    count = CROPS if steps > 100 else 40
    clock = time.perf_counter()
    images, masks, _ = _crops("train", count, SLIDES if steps > 100 else 2, seed, report)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = SmallUNet(WIDTHS)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        chosen = rng.choice(count, BATCH, replace=False)
        pixels, truth = augment(images[chosen], masks[chosen], rng)
        x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        y = F.avg_pool2d(torch.from_numpy(truth.astype(np.float32))[:, None], 2)
        logits = net(x)
        p = logits.sigmoid()
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        loss = F.binary_cross_entropy_with_logits(logits, y) + 0.5 * dice
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.3f}")
    net.eval()
    metrics = _judge(net, report, quick=steps <= 100)
    facts = {
        "name": "tissue-segmenter",
        "architecture": "hrviz.nets.unet.SmallUNet",
        "config": {"widths": WIDTHS},
        "task": "tumour outline on H&E-like procedural slides (synthetic: not for diagnosis)",
        "data": f"{count} crops of {CROP} px from scene:tissue seeds 10000.., downsample 1-48",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": metrics,
        "command": f"hrviz train tissue-segmenter --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }
    if write:
        nets.save("tissue-segmenter", net, facts)
    return facts


def _judge(net: Any, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """IoU on held-out slides, by downsample: the whole point is that it falls."""
    import torch

    images, masks, scales = _crops("held-out", 30 if quick else 300, 2 if quick else 5, 99, report)
    out: dict[str, Any] = {"crops": len(images)}
    with torch.no_grad():
        p = torch.cat(
            [net(torch.from_numpy(b.transpose(0, 3, 1, 2).astype(np.float32) / 255)).sigmoid()
             for b in np.array_split(images, max(1, len(images) // 20))]
        )[:, 0].numpy()  # fmt: skip
    truth = masks[:, ::2, ::2]
    for low, high in ((1, 4), (4, 12), (12, 48)):
        chosen = (scales >= low) & (scales < high)
        if chosen.any():
            a, b = p[chosen] > 0.5, truth[chosen]
            out[f"iou_downsample_{low}_to_{high}"] = round(
                float((a & b).sum() / max(1, (a | b).sum())), 4
            )
    report(str(out))
    return out

"""Trains the vessel segmenter on random retinas at all resolutions (`vessel-segmenter`).

One network serves every method, so it must work at whatever scale a method hands it: crops are
taken so that the whole eye would be 128 to 2048 px wide, evenly in the logarithm. Loss:
cross-entropy plus soft Dice against the share of vessel in each pixel of the network's half
resolution; a twig that is thinner than a pixel is a small share, not a yes or no.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.tissue_data import augment
from hrviz.training.vessel_data import SIDE, eyes, place, share

CROP = 128
CROPS = 1300
EYES = 40
BATCH = 12
STEPS = 1000
RATE = 2e-3
WIDTHS = [12, 24, 48, 64]
SCALES = (128.0, 2048.0)  # px across the whole eye


def _crops(
    split: str, count: int, eye_count: int, seed: int, report: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures uint8 (n, CROP, CROP, 3), vessel share (n, CROP/2, CROP/2), px across the eye (n,)."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, CROP, CROP, 3), np.uint8)
    targets = np.empty((count, CROP // 2, CROP // 2), np.float32)
    across = np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), count))
    found = eyes(split, eye_count, lesions=0)
    # every third eye is ill: red dots and yellow grains are not vessels
    found[::3] = eyes(split, eye_count, lesions=60)[::3]
    # eye by eye, so that only one eye's tiles are in memory
    for k, index in enumerate(np.array_split(np.arange(count), eye_count)):
        for i in index:
            box = place(rng, CROP * SIDE / across[i])
            images[i] = found[k].rgb(box, (CROP, CROP))
            targets[i] = share(found[k], box, CROP // 2)
        if (k + 1) % 10 == 0:
            report(f"{split}: {k + 1} of {eye_count} eyes")
    return images, targets, across


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge on held-out eyes, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.unet import SmallUNet

    steps = steps or STEPS
    quick = steps <= 50
    count = 24 if quick else CROPS
    clock = time.perf_counter()
    images, targets, _ = _crops("train", count, 2 if quick else EYES, seed, report)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = SmallUNet(WIDTHS)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        chosen = rng.choice(count, BATCH, replace=False)
        pixels, truth = augment(images[chosen], targets[chosen], rng)
        x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        y = torch.from_numpy(truth)[:, None]
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
    metrics = _judge(net, report, quick)
    facts = {
        "name": "vessel-segmenter",
        "architecture": "hrviz.nets.unet.SmallUNet",
        "config": {"widths": WIDTHS},
        "task": "vessels of procedural retinas (synthetic: not for diagnosis)",
        "data": f"{count} crops of {CROP} px from scene:vessels, split 'train', whole eye 128-2048 px wide",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": metrics,
        "command": f"hrviz train vessel-segmenter --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }
    if write:
        nets.save("vessel-segmenter", net, facts)
    return facts


def _judge(net: Any, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """IoU on held-out eyes, by pixels across the eye, at the network's half resolution.

    A pixel of the answer is vessel in truth when more than half of it is.
    """
    import torch

    images, targets, across = _crops(
        "held-out", 12 if quick else 240, 2 if quick else 8, 99, report
    )
    out: dict[str, Any] = {"crops": len(images)}
    with torch.no_grad():
        p = torch.cat(
            [net(torch.from_numpy(b.transpose(0, 3, 1, 2).astype(np.float32) / 255)).sigmoid()
             for b in np.array_split(images, max(1, len(images) // 20))]
        )[:, 0].numpy()  # fmt: skip
    for low, high in ((128, 256), (256, 512), (512, 1024), (1024, 2048)):
        chosen = (across >= low) & (across < high)
        if chosen.any():
            a, b = p[chosen] > 0.5, targets[chosen] > 0.5
            out[f"iou_eye_{low}_to_{high}_px"] = round(
                float((a & b).sum() / max(1, (a | b).sum())), 4
            )
    report(str(out))
    return out

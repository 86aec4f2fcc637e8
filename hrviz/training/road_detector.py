"""Trains the detector of signs and cars on the procedural road, at all scales (`road-detector`).

One network serves every method that is judged by detection, so it must work at whatever scale a
method hands it: square crops at downsamples from 1 to 4 (1280 px to 320 px pictures), evenly in the
logarithm. Loss: CenterNet's focal loss, cross-entropy between classes at centres, and L1 of log sizes
and offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.road_data import CLASSES, coloured, crop, frames, images

WIDTHS, BLOCKS = [16, 32, 48, 64, 96], 1
FRAMES = 112
CROP = 160
SCALES = (1.0, 4.0)
BATCH = 16
STEPS = 1000
RATE = 2e-3
JUDGED = 24
SIZES = (320, 480, 640, 1280)


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge on held-out frames, write weights and card."""
    import torch

    from hrviz.nets.detector import SmallDetector

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    shown = frames("train", 4 if quick else FRAMES, report)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = SmallDetector(len(CLASSES), WIDTHS, BLOCKS)

    def batch() -> tuple[np.ndarray, Any]:
        drawn = [
            crop(shown[int(rng.integers(len(shown)))], rng, CROP, SCALES) for _ in range(BATCH)
        ]
        targets = [net.targets(boxes, labels, (CROP, CROP)) for _, boxes, labels in drawn]
        return np.stack([pixels for pixels, _, _ in drawn]), torch.stack(targets)

    fit(net, batch, steps, RATE, rng, report)
    facts = {
        "name": "road-detector",
        "architecture": "hrviz.nets.detector.SmallDetector",
        "config": {"classes": len(CLASSES), "widths": WIDTHS, "blocks": BLOCKS},
        "classes": list(CLASSES),
        "task": "traffic signs and cars on procedural road pictures (synthetic: not for driving)",
        "data": f"crops of {CROP} px at downsample {SCALES[0]:g}-{SCALES[1]:g} of {len(shown)} frames of 1280 x 960 px, "
        "scene:road split train",
        "training": "AdamW, one-cycle; focal loss of centres, cross-entropy of classes there, L1 of log sizes and offsets",
        "stands_for": "Faster R-CNN R50-FPN of FOVEA and LZU (a compact detector without anchors instead)",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": judge_uniform(net, report, quick),
        "command": f"hrviz train road-detector --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save("road-detector", net, facts)
    return facts


def fit(
    net: Any,
    batch: Callable[[], tuple[np.ndarray, Any]],
    steps: int,
    rate: float,
    rng: np.random.Generator,
    report: Callable[[str], None],
    loss_of: Callable[[Any, Any, Any], Any] = lambda net, x, targets: net.loss(net(x), targets),
) -> None:
    """Optimise; `batch` gives uint8 pictures (n, h, w, 3) and what `loss_of` compares with."""
    import torch

    net.train()
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        pixels, targets = batch()
        loss = loss_of(net, torch.from_numpy(coloured(pixels, rng)), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.3f}")
    net.eval()


def judge_uniform(net: Any, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """Average precision on held-out pictures by their longer side: the whole point is that it falls."""
    import torch

    from hrviz.methods.detection import Found, judge, wanted
    from hrviz.methods.downsampling.sampler import sample
    from hrviz.nets.detector import decode
    from hrviz.results import WarpGrid

    shown = images("held-out", 2 if quick else JUDGED, clutter=8)
    views = [image.view() for image in shown]
    truth = [wanted(view, CLASSES) for view in views]
    out: dict[str, Any] = {"frames": len(views)}
    for size in SIZES[:1] if quick else SIZES:
        found = []
        for view in views:
            grid = WarpGrid.identity(view.box, view.fit(size))
            pixels = sample(view, grid, "fair").transpose(2, 0, 1)[None].copy()
            with torch.no_grad():
                answer = decode(net(torch.from_numpy(pixels)))[0]
            found.append(Found(*answer).to_image(grid))
        told = judge(found, truth)
        out |= {f"{name}_{size}_px": round(told[name], 4) for name in ("ap50", "small_ap50")}
    report(str(out))
    return out

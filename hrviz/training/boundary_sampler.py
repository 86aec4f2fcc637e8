"""Trains the networks that place samples near boundaries (`boundary-sampler-tissue`, `-vessels`).

As in Marin et al. they are taught, not trained end to end: a thumbnail of 64 px goes in, and the mean
squared error to the grid of least energy (lambda 1, 8 x 8 nodes, solved from the true labels of the
same region) comes out. Regions and their targets are turned and mirrored together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.methods.downsampling.boundary import (
    boundary_map,
    cover,
    energy,
    even_nodes,
    nearest_boundary,
    solve,
)

RASTER = 128  # px on which boundaries are found
SMOOTHNESS = 1.0
REGIONS = 1500
BATCH = 32
STEPS = 1500
RATE = 3e-3
#: level-0 pixels of a region's side: slides, and shares of an eye of 2048 px
SPANS = {"tissue": (1500.0, 16_000.0), "vessels": (200.0, 2048.0)}

Regions = tuple[np.ndarray, np.ndarray]


def _regions(
    scene: str, split: str, count: int, scenes: int, seed: int, report: Callable[[str], None]
) -> Regions:
    """Thumbnails uint8 (n, 64, 64, 3) and nearest boundary points float64 (n, 8, 8, 2).

    Regions without any boundary are left out: their grid is even, nothing is to be learned.
    """
    from hrviz.nets.boundary import NODES, THUMBNAIL
    from hrviz.training import tissue_data, vessel_data

    rng = np.random.default_rng(seed)
    tissue = scene == "tissue"
    found = (tissue_data.slides if tissue else vessel_data.eyes)(split, scenes)
    images = np.empty((count, THUMBNAIL, THUMBNAIL, 3), np.uint8)
    nearest = np.empty((count, NODES, NODES, 2))
    fine = RASTER // THUMBNAIL
    for i in range(count):
        while True:
            image, span = (
                found[i * scenes // count],
                float(np.exp(rng.uniform(*np.log(SPANS[scene])))),
            )
            if tissue:
                pixels, mask = tissue_data.crop(image, rng, RASTER, span / RASTER)
            else:
                box = vessel_data.place(rng, span)
                pixels = image.rgb(box, (RASTER, RASTER))
                mask = image.truth.mask(box, (RASTER, RASTER)) > 0
            b = nearest_boundary(boundary_map(mask), (NODES, NODES))
            if b is not None:
                break
        small = pixels.reshape(THUMBNAIL, fine, THUMBNAIL, fine, 3).mean((1, 3))
        images[i], nearest[i] = np.rint(small), b
        if (i + 1) % 300 == 0:
            report(f"{split}: {i + 1} of {count} regions")
    return images, nearest


def turned(images: np.ndarray, grids: np.ndarray, rng: np.random.Generator) -> Regions:
    """Thumbnails (n, h, w, 3) and their grids (n, k, k, 2) under one of the square's 8 symmetries.

    A grid turns twice: its nodes change place, and the positions that they hold change too.
    """
    if rng.random() < 0.5:  # transpose
        images, grids = images.transpose(0, 2, 1, 3), grids.transpose(0, 2, 1, 3)[..., ::-1]
    for axis in (1, 2):
        if rng.random() < 0.5:  # mirror
            images, grids = np.flip(images, axis), np.flip(grids, axis).copy()
            grids[..., axis - 1] = 1 - grids[..., axis - 1]
    return images, grids


def train(
    scene: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train on one scene, judge on its held-out ones, write weights and card."""
    import torch

    from hrviz.nets.boundary import NODES, THUMBNAIL, SmallBoundaryNet

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    images, nearest = _regions(
        scene, "train", 12 if quick else REGIONS, 2 if quick else 16, seed, report
    )
    targets = np.stack([solve(b, SMOOTHNESS, (NODES, NODES)) for b in nearest])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = SmallBoundaryNet()
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    for step in range(steps):
        chosen = rng.choice(len(images), min(BATCH, len(images)), replace=False)
        pixels, target = turned(images[chosen], targets[chosen], rng)
        gain = rng.uniform(0.85, 1.15, (len(chosen), 1, 1, 3))
        shade = np.clip(1 - (1 - pixels / 255) * gain + rng.uniform(-0.05, 0.05, gain.shape), 0, 1)
        x = torch.from_numpy(np.ascontiguousarray(shade.transpose(0, 3, 1, 2), np.float32))
        y = torch.from_numpy(np.ascontiguousarray(target, np.float32))
        loss = ((net(x) - y) ** 2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.6f}")
    net.eval()
    metrics = _judge(net, scene, report, quick, targets.mean(0))
    name = f"boundary-sampler-{scene}"
    facts = {
        "name": name,
        "architecture": "hrviz.nets.boundary.SmallBoundaryNet",
        "config": {"width": 16},
        "task": f"where to sample near true outlines, from a {THUMBNAIL} px thumbnail of scene:{scene}",
        "data": f"{len(images)} regions of {SPANS[scene][0]:g}-{SPANS[scene][1]:g} px of scene:{scene}, split 'train'",
        "training": f"mean squared error to the grid of least energy (equation 4, lambda {SMOOTHNESS:g}, "
        f"{NODES} x {NODES} nodes, border nodes on their borders)",
        "stands_for": "MobileNetV2 of depth 0.25 and output stride 8 (Marin et al.)",
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
    net: Any, scene: str, report: Callable[[str], None], quick: bool, mean: np.ndarray
) -> dict[str, Any]:
    """Mean energy and squared error of held-out regions: this network, even, mean and best grid."""
    import torch

    from hrviz.nets.boundary import NODES

    images, nearest = _regions(
        scene, "held-out", 4 if quick else 200, 2 if quick else 6, 97, report
    )
    with torch.no_grad():
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
        answers = net(x).numpy()
    rows: dict[str, list[tuple[float, float]]] = {}
    for answer, b in zip(answers, nearest, strict=True):
        best = solve(b, SMOOTHNESS, (NODES, NODES))
        arms = {"trained": cover(answer), "even": even_nodes((NODES, NODES)),
                "mean_tensor": cover(mean), "best": best}  # fmt: skip
        for name, phi in arms.items():
            data, smooth = energy(phi, b)
            error = float(((phi - best) ** 2).mean())
            rows.setdefault(name, []).append((data + SMOOTHNESS * smooth, error))
    out: dict[str, Any] = {"regions": len(images)}
    for name, found in rows.items():
        e, error = np.mean(found, 0)
        out |= {
            f"{name}_energy": round(float(e), 4),
            f"{name}_rms_error": round(float(error) ** 0.5, 4),
        }
    report(str(out))
    return out

"""Trains R-net, which regresses what a closer look at a coarse detection is worth (`road-gain`).

Coarse: `road-detector` on road pictures of 240, 320 or 480 px; fine: the same at full resolution,
960 x 1280. The target of each coarse detection is the paper's gain, |g - p_l| - |g - p_h|; the loss is
its squared error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.geometry import Box

FRAMES = {"train": 130, "held-out": 40}
SIZES = (240, 320, 480)
HIDDEN = 64
BATCH, STEPS, RATE = 256, 1500, 2e-3


@dataclass(frozen=True)
class Looked:
    """One picture looked at coarsely: its proposals, and what a fine look would gain.

    Attributes
    ----------
    boxes : ndarray (n, 4)
        Level-0 pixels of a picture of 960 x 1280 px.
    features : ndarray (n, features)
    scores, gains : ndarray (n,)
    """

    boxes: np.ndarray
    features: np.ndarray
    scores: np.ndarray
    gains: np.ndarray


def looked_at(split: str, count: int, report: Callable[[str], None]) -> list[Looked]:
    """Proposals with features and true gains, of each picture at every one of `SIZES`.

    Kept in the cache folder: a second recipe starts at once.
    """
    import platformdirs

    from hrviz import __version__
    from hrviz.results import write_whole

    folder = platformdirs.user_cache_path("hrviz") / "road-gain"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{split}-{count}-{__version__}-{nets.card('road-detector')['steps']}.npz"
    names = ("boxes", "features", "scores", "gains")
    if not file.exists():
        made = _look(split, count, report)
        arrays = {f"{k}-{name}": getattr(one, name) for k, one in enumerate(made) for name in names}
        write_whole(file, lambda handle: np.savez(handle, **arrays))
    with np.load(file) as kept:
        return [
            Looked(*(kept[f"{k}-{name}"] for name in names)) for k in range(len(kept.files) // 4)
        ]


def _look(split: str, count: int, report: Callable[[str], None]) -> list[Looked]:
    from hrviz.methods.detection import detect, wanted
    from hrviz.methods.zooming.gain_sources import NETWORK, propose, true_gains
    from hrviz.training.road_data import CLASSES, images

    out = []
    for k, image in enumerate(images(split, count)):
        view = image.view()
        box = Box(*view.box)
        fine = detect(NETWORK, view.read((960, 1280)))
        truth = wanted(view, CLASSES)
        for size in SIZES:
            found, features = propose(view.read(view.fit(size)), box)
            gained = true_gains(found, fine, truth)
            out.append(Looked(found.boxes, features, found.scores.astype(np.float64), gained))
        if (k + 1) % 40 == 0:
            report(f"{split}: {k + 1} of {count} pictures")
    return out


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge on held-out pictures, write weights and card."""
    import torch

    from hrviz.nets.gain import GainNet

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    known, judged = (looked_at(split, 2 if quick else n, report) for split, n in FRAMES.items())
    x = torch.from_numpy(np.concatenate([one.features for one in known]))
    y = torch.from_numpy(np.concatenate([one.gains for one in known])).float()
    torch.manual_seed(seed)
    net = GainNet(x.shape[1], HIDDEN)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(x), (BATCH,))
        loss = (net(x[chosen]) - y[chosen]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.4f}")
    net.eval()
    facts = {
        "name": "road-gain",
        "architecture": "hrviz.nets.gain.GainNet",
        "config": {"features": int(x.shape[1]), "hidden": HIDDEN},
        "task": "accuracy gain of coarse detections of signs and cars (synthetic: not for driving)",
        "data": f"{len(x)} proposals on {len(known)} looks at scene:road split train, "
        f"{', '.join(map(str, SIZES))} px against 1280 px",
        "stands_for": "the paper's two layers of 4096 units on Fast R-CNN features",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": _judge(net, judged, report),
        "command": f"hrviz train road-gain --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save("road-gain", net, facts)
    return facts


def _judge(net: Any, looks: list[Looked], report: Callable[[str], None]) -> dict[str, float]:
    """Error and rank correlation with the true gains, and the error of always saying their mean."""
    import torch
    from scipy.stats import spearmanr

    true = np.concatenate([one.gains for one in looks])
    with torch.no_grad():
        told = net(torch.from_numpy(np.concatenate([one.features for one in looks]))).numpy()
    out = {
        "proposals": len(true),
        "mean_gain": true.mean(),
        "rmse": np.sqrt(((told - true) ** 2).mean()),
        "rmse_of_the_mean": true.std(),
        "spearman": spearmanr(told, true).statistic,
    }
    out = {k: round(float(v), 4) for k, v in out.items()}
    report(str(out))
    return out

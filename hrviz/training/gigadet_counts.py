"""Trains GigaDet's small patch generation network (`gigadet-counts`): a thumbnail in, counts out.

Thumbnails of the crowd's square (999 x 562 px, of pictures of 1,500 to 15,052 px height, with few and
many people) and the exact counts of every candidate for all three strategies, from the truth's boxes.
As published, a candidate is positive where its count is not 0, negative where it overlaps nobody by
an IoU of 0.3, and neither otherwise; the loss is smooth L1 with sigma 3. Instead of drawing 256
candidates 1:1, all take part and positive and negative ones weigh the same together. Counts of large
candidates reach hundreds, so the logarithm of one plus the count is learned.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.boxes import iou
from hrviz.methods.detection import wanted
from hrviz.methods.zooming.patch_generation import SCALES, STRATEGIES, STRIDE, Candidates, choose
from hrviz.scenes import dataset
from hrviz.training.road_detector import fit

NAME = "gigadet-counts"
SIZE = 562, 999  # of a thumbnail of 26,753 x 15,052 px
ASPECT = 26753 / 15052
HEIGHTS = (1500, 3000, 6000, 10_000, 15_052)
CROWDS = (150, 400, 1000, 2500, 6000)
COUNTS = {"train": 75, "held-out": 25}
CROP = 320  # px, whole cells
BATCH = 4
STEPS = 800
RATE = 3e-3
NEGATIVE = 0.3  # IoU with anybody, below which an empty candidate is a negative


@dataclass(frozen=True)
class Shown:
    """A thumbnail and what its candidates hold.

    Attributes
    ----------
    pixels : ndarray uint8, (562, 999, 3)
    counts : ndarray float32, (strategies, scales, rows, columns)
    weights : ndarray uint8, the same shape
        0 neither, 1 negative, 2 positive.
    """

    pixels: np.ndarray
    counts: np.ndarray
    weights: np.ndarray


def images(split: str, count: int) -> list[Any]:
    """Images of a split: every size of the square with every size of the crowd in turn."""
    out = []
    for k in range(count):
        height, people = HEIGHTS[k % len(HEIGHTS)], CROWDS[k // len(HEIGHTS) % len(CROWDS)]
        chosen = {"height": height, "width": int(height * ASPECT), "people": people}
        out.append(dataset("crowd", split, k + 1, **chosen)[k])  # type: ignore[arg-type]
    return out


def thumbnails(split: str, count: int, report: Callable[[str], None]) -> list[Shown]:
    """Rendered once, then from the cache folder; counts are taken anew."""
    import platformdirs

    from hrviz.results import write_whole

    chosen = images(split, count)
    folder = platformdirs.user_cache_path("hrviz") / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for k, image in enumerate(chosen):
        file = folder / f"thumbnail-{hashlib.sha256(image.identity.encode()).hexdigest()[:16]}.npy"
        if not file.exists():
            write_whole(file, partial(_save, pixels=image.rgb(image.box, SIZE)))
        out.append(labelled(np.load(file), image.view()))
        if (k + 1) % 10 == 0:
            report(f"{split}: {k + 1} of {count} thumbnails")
    return out


def _save(handle: Any, pixels: np.ndarray) -> None:
    np.save(handle, pixels)


def labelled(pixels: np.ndarray, view: Any) -> Shown:
    """A thumbnail with the counts of its candidates and what they are taken for."""
    truth = wanted(view, ("person",))
    boxes = truth.boxes[~truth.ignored] * np.tile(np.array(SIZE) / (view.height, view.width), 2)
    candidates = Candidates(SIZE)
    counts = np.stack([candidates.counts(boxes, s) for s in STRATEGIES])
    near = np.zeros(candidates.inside.size)
    flat = candidates.boxes.reshape(-1, 4)
    for start in range(0, len(boxes), 500):
        near = np.maximum(near, iou(flat, boxes[start : start + 500]).max(1, initial=0))
    empty = (near < NEGATIVE).reshape(candidates.inside.shape)
    weights = np.where(counts > 0, 2, np.where(empty, 1, 0)).astype(np.uint8)
    return Shown(pixels, counts.astype(np.float32), weights)


def crop(shown: Shown, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square part at whole cells, mirrored half of the time; candidates that leave it weigh 0."""
    n = CROP // STRIDE
    rows, columns = shown.counts.shape[2:]
    i, j = int(rng.integers(rows - n + 1)), int(rng.integers(columns - n + 1))
    pixels = shown.pixels[i * STRIDE : i * STRIDE + CROP, j * STRIDE : j * STRIDE + CROP]
    at = np.s_[:, :, i : i + n, j : j + n]
    counts, weights = shown.counts[at], shown.weights[at] * Candidates((CROP, CROP)).inside
    if rng.random() < 0.5:  # the grid of candidates is its own mirror image
        pixels, counts, weights = pixels[:, ::-1], counts[..., ::-1], weights[..., ::-1]
    return pixels, counts, weights


def loss_of(net: Any, x: Any, targets: tuple[Any, Any]) -> Any:
    """Smooth L1 of log counts; positive and negative candidates have half of the weight each."""
    from hrviz.nets.patch_generation import smooth_l1

    counts, weights = targets
    error = smooth_l1(net(x) - counts.log1p())
    parts = [
        (error * (weights == kind)).sum() / (weights == kind).sum().clamp(min=1) for kind in (1, 2)
    ]
    return sum(parts) / 2


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge on held-out pictures, write weights and card."""
    import torch

    from hrviz.nets.patch_generation import PatchGenerationNet

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    shown = thumbnails("train", 2 if quick else COUNTS["train"], report)
    report(f"{len(shown)} thumbnails after {time.perf_counter() - clock:.0f} s")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = PatchGenerationNet()

    def batch() -> tuple[np.ndarray, Any]:
        drawn = [crop(shown[int(rng.integers(len(shown)))], rng) for _ in range(BATCH)]
        pixels, counts, weights = (np.stack(part) for part in zip(*drawn, strict=True))
        return pixels, (torch.from_numpy(counts), torch.from_numpy(weights))

    fit(net, batch, steps, RATE, rng, report, loss_of)
    facts = {
        "name": NAME,
        "architecture": "hrviz.nets.patch_generation.PatchGenerationNet",
        "config": {},
        "strategies": list(STRATEGIES),
        "scales": list(SCALES),
        "task": "numbers of people in squares of a thumbnail (drawn figures: not for people)",
        "data": f"{len(shown)} thumbnails of 999 x 562 px, scene:crowd split train, 1,500 to 15,052 px high, "
        "150 to 6,000 people",
        "training": "AdamW, one-cycle; smooth L1 (sigma 3) of log(1 + count), positive and negative candidates "
        "weigh the same",
        "stands_for": "GigaDet's patch generation network on VGG16 (a small network with its stride, candidates and "
        "loss instead)",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": held_out(net, report, quick),
        "command": f"hrviz train {NAME} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save(NAME, net, facts)
    return facts


def held_out(net: Any, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """Of 'IOU' counts on held-out thumbnails: error by scale, and what the chosen patches hold.

    The last numbers are the people in the 16 patches chosen by predicted counts, as a share of those
    in the 16 chosen by true ones.
    """
    import torch

    shown = thumbnails("held-out", 1 if quick else COUNTS["held-out"], report)
    candidates = Candidates(SIZE)
    inside = candidates.inside
    errors, means, shares = [], [], []
    for one in shown:
        x = torch.from_numpy(one.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        with torch.no_grad():
            told = np.expm1(net(x)[0].clamp(min=0).numpy())
        which = STRATEGIES.index("IOU")
        found, true = told[which], one.counts[which]
        errors.append(
            [np.abs(f - t)[m].mean() for f, t, m in zip(found, true, inside, strict=True)]
        )
        means.append([t[m].mean() for t, m in zip(true, inside, strict=True)])
        held = [true.ravel()[choose(candidates, c, 0, 0.2, 16).chosen].sum() for c in (found, true)]
        shares.append(held[0] / held[1])
    out: dict[str, Any] = {"thumbnails": len(shown)}
    for k, scale in enumerate(SCALES):
        name = f"{scale * STRIDE}_px"
        out[f"mean_error_{name}"] = round(float(np.mean(errors, 0)[k]), 3)
        out[f"mean_count_{name}"] = round(float(np.mean(means, 0)[k]), 3)
    out["people_in_16_patches_of_best"] = round(float(np.mean(shares)), 4)
    report(str(out))
    return out

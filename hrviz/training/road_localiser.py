"""Trains a spatial transformer that finds and reads the speed limit (`road-localiser`, `road-reader`).

Thumbnail -> localiser -> theta = (s, t_x, t_y) -> crop of the full picture -> reader -> class. In two
stages, both on the card: a warm start, in which the localiser learns the sign's place from the truth
and the reader reads crops around it, and then the reader's loss alone, through the sampler, for both.
The warm start is needed because the gradient of a crop through
four taps is local: a crop that does not show the sign says nothing about where the sign is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.road_data import Frame, coloured, frames

CLASSES = ("none", "50", "70", "80")
THUMBNAIL = (300, 400)
INPUT = (72, 96)  # px that the reader sees
WINDOW = (384, 512)  # px of full resolution kept around a crop, for the sampler
FILL = 0.5  # share of the crop's height that a sign takes in the warm start
TRAIN, JUDGED = 200, 60
STEPS, WARM, BATCH, RATE = 560, 380, 8, 2e-3


def signs(split: str, count: int, report: Callable[[str], None]) -> list[Frame]:
    """Frames of a split, the four answers in turn by seed; `labels` 0..2 are the speed limits."""
    return frames(split, count, report)


def answer(frame: Frame) -> tuple[int, np.ndarray | None]:
    """Index into `CLASSES`, and the box of the speed-limit sign if there is one."""
    at = np.flatnonzero(frame.labels < 3)
    return (int(frame.labels[at[0]]) + 1, frame.boxes[at[0]]) if len(at) else (0, None)


def part(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """A part of the frame, 60 to 100 % of each side, that holds the sign: y0, x0, height, width."""
    _, box = answer(frame)
    full = np.array(frame.pixels.shape[:2], float)
    span = full * rng.uniform(0.6, 1.0)
    room = full - span
    low, high = np.zeros(2), room
    if box is not None:
        low, high = np.clip(box[2:] - span, 0, room), np.clip(box[:2], 0, room)
    corner = low + (np.maximum(high, low) - low) * rng.random(2)
    return np.concatenate([corner, span])


def thumbnail(frame: Frame, where: np.ndarray) -> np.ndarray:
    """A part of the frame as the localiser sees it, uint8."""
    from PIL import Image

    y, x, height, width = where
    kind = Image.Resampling.BOX
    picture = Image.fromarray(frame.pixels)
    return np.asarray(picture.resize(THUMBNAIL[::-1], kind, box=(x, y, x + width, y + height)))


def cut(frames_: list[Frame], parts: np.ndarray, theta: Any) -> Any:
    """Crops by theta (n, 3), `(n, 3, *INPUT)` in 0..1 before colouring: differentiable in theta.

    Four samples an output pixel are averaged, so that a large crop does not alias.
    """
    import torch
    from torch.nn import functional as F

    line = [(torch.arange(2 * n) + 0.5) / n - 1 for n in INPUT]
    y, x = torch.meshgrid(*line, indexing="ij")
    out = []
    for frame, (y0, x0, height, width), t in zip(frames_, parts, theta, strict=True):
        # level-0 positions, then relative to a window around the crop's centre
        py = y0 + (t[0] * y + t[2] + 1) / 2 * height
        px = x0 + (t[0] * x + t[1] + 1) / 2 * width
        full = frame.pixels.shape[:2]
        corner = [
            int(np.clip(float(p.detach().mean()) - n / 2, 0, m - n))
            for p, n, m in zip((py, px), WINDOW, full, strict=True)
        ]
        window = frame.pixels[corner[0] : corner[0] + WINDOW[0], corner[1] : corner[1] + WINDOW[1]]
        grid = torch.stack(
            [(px - corner[1]) / WINDOW[1] * 2 - 1, (py - corner[0]) / WINDOW[0] * 2 - 1], -1
        )
        pixels = torch.from_numpy(window.transpose(2, 0, 1).astype(np.float32))[None] / 255
        crop = F.grid_sample(pixels, grid[None], padding_mode="border", align_corners=False)
        out.append(F.avg_pool2d(crop, 2))
    return torch.cat(out)


def targets(frames_: list[Frame], parts: np.ndarray) -> tuple[Any, Any, Any]:
    """Classes (n,), true theta (n, 3), and whether there is a sign (n,)."""
    import torch

    kinds, thetas, known = [], [], []
    for frame, (y0, x0, height, width) in zip(frames_, parts, strict=True):
        kind, box = answer(frame)
        kinds.append(kind)
        known.append(box is not None)
        if box is None:
            thetas.append((0.1, 0.0, 0.0))
        else:
            cy, cx = (box[0] + box[2]) / 2 - y0, (box[1] + box[3]) / 2 - x0
            s = (box[2] - box[0]) / FILL / height
            thetas.append((s, cx / width * 2 - 1, cy / height * 2 - 1))
    return torch.tensor(kinds), torch.tensor(thetas, dtype=torch.float32), torch.tensor(known)


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train both, judge on held-out frames, write weights and cards; returns the localiser's."""
    import torch

    from hrviz.nets.transformer import Localiser, SignReader

    steps = steps or STEPS
    quick = steps <= 50
    warm = min(WARM, steps * WARM // STEPS)
    clock = time.perf_counter()
    shown = signs("train", 8 if quick else TRAIN, report)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    localiser, reader = Localiser(), SignReader(len(CLASSES))
    told: dict[str, Any] = {}
    both = [*localiser.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(both, RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.1
    )
    held = signs("held-out", 4 if quick else JUDGED, report)
    for step in range(steps):
        if step == warm:
            told |= {f"after_warm_start_{k}": v for k, v in judge(localiser, reader, held).items()}
            report(str(told))
        loss = _loss(localiser, reader, shown, rng, step < warm)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both, 5.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.3f}")
    told |= {f"end_to_end_{k}": v for k, v in judge(localiser, reader, held).items()}
    report(str(told))
    common = {
        "data": f"parts of {len(shown)} frames of 1280 x 960 px, scene:road split train; signs of 22 to 61 px",
        "training": f"{warm} steps with the sign's true place (localiser) and around it (reader), then "
        f"{steps - warm} with the reader's loss alone, through the crop",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": told | {"frames": len(held)},
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    card = {
        "name": "road-localiser",
        "architecture": "hrviz.nets.transformer.Localiser",
        "config": {"width": 16},
        "task": "where the speed-limit sign is, on a 400 x 300 px thumbnail of a procedural road",
        "stands_for": "the localisation network of a spatial transformer (Jaderberg et al., 2015)",
        "command": f"hrviz train road-localiser --seed {seed} --steps {steps}",
    } | common
    if write:
        nets.save("road-localiser", localiser, card)
        nets.save(
            "road-reader",
            reader,
            {
                "name": "road-reader",
                "architecture": "hrviz.nets.transformer.SignReader",
                "config": {"classes": len(CLASSES), "width": 16},
                "classes": list(CLASSES),
                "task": "which speed limit a crop of 96 x 72 px shows (synthetic: not for driving)",
                "stands_for": "the classifier behind the transformer",
                "command": f"hrviz train road-reader --seed {seed} --steps {steps}",
            }
            | common,
        )
    return card


def _loss(
    localiser: Any, reader: Any, shown: list[Frame], rng: np.random.Generator, warm: bool
) -> Any:
    import torch
    from torch.nn import functional as F

    from hrviz.nets.transformer import theta

    localiser.train()
    reader.train()
    drawn = [shown[k] for k in rng.choice(len(shown), BATCH, replace=False)]
    parts = np.stack([part(frame, rng) for frame in drawn])
    kinds, true, known = targets(drawn, parts)
    thumbs = np.stack([thumbnail(f, p) for f, p in zip(drawn, parts, strict=True)])
    logits = localiser(torch.from_numpy(coloured(thumbs, rng)))
    found = theta(logits)
    if not warm:
        return F.cross_entropy(reader(_tinted(cut(drawn, parts, found), rng)), kinds)
    h, w = logits.shape[-2:]
    cell = ((true[:, 2] + 1) / 2 * h).long().clamp(0, h - 1) * w + ((true[:, 1] + 1) / 2 * w).long().clamp(0, w - 1)  # fmt: skip
    loss = F.cross_entropy(logits[:, 0].flatten(1), cell, reduction="none")
    place = (found[:, 1:] - true[:, 1:]).abs().clamp(max=0.2).sum(1)
    near = (place < 0.15) & known
    size = (found[:, 0].log() - true[:, 0].log()).abs()
    located = (loss * known).sum() + (5 * place + size)[near].sum()
    # the reader is given places as good and as bad as the localiser's will be; what stands elsewhere
    # in a picture without a limit is none too
    jitter = torch.from_numpy(rng.normal(0, 1, true.shape).astype(np.float32))
    given = torch.where(known[:, None], true, found.detach())
    s = given[:, :1] * (0.25 * jitter[:, :1]).exp()
    given = torch.cat([s, given[:, 1:] + 0.12 * s * jitter[:, 1:]], 1)
    read = F.cross_entropy(reader(_tinted(cut(drawn, parts, given), rng)), kinds)
    return located / known.sum().clamp(min=1) + read


def _tinted(crops: Any, rng: np.random.Generator) -> Any:
    """Exposure and tint varied, as the thumbnail's are."""
    import torch

    gain = torch.from_numpy(rng.uniform(0.7, 1.3, (len(crops), 3, 1, 1)).astype(np.float32))
    return (crops * gain).clamp(0, 1)


def judge(localiser: Any, reader: Any, held: list[Frame]) -> dict[str, float]:
    """Accuracy of the whole, and share of crops that hold the sign's centre, on whole frames."""
    import torch

    from hrviz.nets.transformer import theta

    localiser.eval()
    reader.eval()
    right, hit, there, zoom = 0, 0, 0, []
    with torch.no_grad():
        for frame in held:
            where = np.array([[0.0, 0.0, *frame.pixels.shape[:2]]])
            kinds, true, known = targets([frame], where)
            x = thumbnail(frame, where[0]).astype(np.float32).transpose(2, 0, 1)[None] / 255
            found = theta(localiser(torch.from_numpy(x)))
            right += int(reader(cut([frame], where, found)).argmax(1) == kinds)
            if bool(known):
                there += 1
                hit += bool(((found[0, 1:] - true[0, 1:]).abs() < found[0, 0] * 0.75).all())
                zoom.append(1 / float(found[0, 0]))
    return {
        "accuracy": round(right / len(held), 4),
        "sign_in_crop": round(hit / max(there, 1), 4),
        "median_zoom": round(float(np.median(zoom)), 2) if zoom else 0.0,
    }

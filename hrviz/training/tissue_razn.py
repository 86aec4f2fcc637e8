"""Trains RAZN's segmenters and zooming policies on procedural tissue, level by level (`tissue-razn`).

Three levels, at downsample 32, 16 and 8. First a segmenter a level, on crops of windows' size; then,
with the segmenters held, a policy for every zoom there is (32 to 16, 16 to 8, and 32 to 8 for the
ratio 4), on slides that the segmenters have not seen. A policy's decision is a single step: it draws
zoom or break, is paid the relative improvement of the loss less a price, and learns by REINFORCE.

What differs from the paper: segmenters and policies are not trained in turn but once each, policies
from the finest zoom upwards. The loss after a zoom is that of the tree below, whose policy zooms on: by
the next level's own answer nothing would zoom from 32 to 16, which gains next to nothing, and 8, where
cells are seen and much is gained, would not be reached. A price is subtracted, since by the reward
alone nothing ever speaks against zooming; and EPS is added to the divisor, so that next to nothing of a
next to perfect answer is no gain.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.methods.zooming.razn_costs import reward
from hrviz.training.razn_data import (
    LEVELS,
    REGION,
    WINDOW,
    Region,
    cut_at,
    draw,
    hang_over,
    joined,
    regions,
    stained,
    tiles,
    turned,
    windows,
)

ZOOMS = ((16, 2), (32, 2), (32, 4))  # downsample to zoom from, and the ratio; the lowest first
SHIFTS = {16: 3, 32: 8}  # how often an area is cut into windows, by their level
REGIONS = {"segmenter": 16, "policy": 10, "held-out": 8}  # of each level
BATCH, STEPS, RATE = 24, 700, 4e-3
POLICY_BATCH, POLICY_STEPS, POLICY_RATE = 64, 350, 2e-3
EXPLORE = 0.1  # share of even chance mixed into the policies' draws
PRICE, EPS = 0.05, 0.05
HARD = (
    0.03  # loss from which a window is one of the hard ones, which are half of a policy's lessons
)
WIDTHS, POLICY_WIDTHS = [8, 16, 32], [8, 16, 24]


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train all networks, judge on held-out slides, write weights and a card each."""
    import torch

    from hrviz.nets.razn import WindowSegmenter, ZoomPolicy

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    wanted = {
        "segmenter": ("train", 0, LEVELS), "policy": ("train", 14, LEVELS[-1:]),
        "held-out": ("held-out", 0, LEVELS),
    }  # fmt: skip
    data = {
        name: regions(name, split, first, 1 if quick else REGIONS[name], report, levels)
        for name, (split, first, levels) in wanted.items()
    }
    report(f"rendered in {time.perf_counter() - clock:.0f} s")
    common = {
        "data": f"areas of {REGION} px of scene:tissue seeds 10000..: {REGIONS['segmenter']} at each level for the "
        f"segmenters, {REGIONS['policy']} others at downsample {LEVELS[-1]} for the policies",
        "seed": seed,
        "steps": steps,
        "command": f"hrviz train tissue-razn --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
        "stands_for": "the paper's networks, whose architecture is not verified",
    }
    segmenters: dict[int, Any] = {}
    policies: dict[tuple[int, int], Any] = {}
    cards: dict[str, tuple[dict[str, Any], Any]] = {}
    for level in LEVELS:
        net = WindowSegmenter(WIDTHS)
        _fit_segmenter(net, level, data["segmenter"], steps, rng, report)
        segmenters[level] = net
        cards[f"tissue-razn-f{level}"] = common | {
            "architecture": "hrviz.nets.razn.WindowSegmenter",
            "config": {"widths": WIDTHS},
            "task": f"tumour outline of windows at downsample {level} (synthetic: not for diagnosis)",
            "batch": BATCH,
            "held_out": _judge_segmenter(net, level, data["held-out"], report),
        }, net  # fmt: skip
    for level, ratio in ZOOMS:
        policy = ZoomPolicy(POLICY_WIDTHS)
        finest = LEVELS[-1]
        paid = _rewards(level, ratio, segmenters, policies, data["policy"][finest], rng,
                        1 if quick else SHIFTS[level])  # fmt: skip
        _fit_policy(policy, *paid, max(2, steps * POLICY_STEPS // STEPS), rng, report)
        known = _rewards(level, ratio, segmenters, policies, data["held-out"][finest], rng, 1)
        policies[level, ratio] = policy
        cards[_policy_name(level, ratio)] = common | {
            "architecture": "hrviz.nets.razn.ZoomPolicy",
            "config": {"widths": POLICY_WIDTHS},
            "task": f"whether to zoom from downsample {level} to {level // ratio} (synthetic)",
            "training": f"REINFORCE, one step; reward: relative gain of loss (eps {EPS}) less {PRICE}; "
            f"half of the windows with a loss of at least {HARD}",
            "batch": POLICY_BATCH,
            "held_out": _judge_policy(policy, *known, report),
        }, policy  # fmt: skip
    seconds = round(time.perf_counter() - clock)
    for name, (facts, net) in cards.items():
        if write:
            nets.save(name, net, {"name": name, **facts, "seconds": seconds})
    return {
        "name": "tissue-razn",
        "seconds": seconds,
        "held_out": {name: facts["held_out"] for name, (facts, _) in cards.items()},
    }


def _policy_name(level: int, ratio: int) -> str:
    return f"tissue-razn-g{level}x{ratio}"


def _losses(logits: Any, truth: Any, valid: Any) -> Any:
    """Cross-entropy of each window, the mean over its valid pixels; all (n, h, w)."""
    from torch.nn import functional as F

    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * valid
    return each.sum((1, 2)) / valid.sum((1, 2)).clamp_min(1e-6)


def _fit_segmenter(
    net: Any, level: int, areas: dict[int, list[Region]], steps: int,
    rng: np.random.Generator, report: Callable[[str], None],
) -> None:  # fmt: skip
    import torch
    from torch.nn import functional as F

    sources = [
        (r.pixels[level], r.masks[level])
        for d in LEVELS
        for r in areas[d]
        if level in r.pixels and len(r.pixels[level]) >= 2 * WINDOW
    ]
    weight = np.array([p.shape[0] ** 2 for p, _ in sources], float)
    net.train()
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        side = WINDOW if step % 4 else 2 * WINDOW
        drawn = [
            draw(sources[k][0], sources[k][1], side, rng)
            for k in rng.choice(len(sources), BATCH, p=weight / weight.sum())
        ]
        valid = hang_over(np.ones((BATCH, side, side), bool), rng)
        x = stained(windows(np.stack([p for p, _ in drawn]), valid), rng)
        y = torch.from_numpy(np.stack([m for _, m in drawn]).astype(np.float32))[:, None]
        x, y = turned(x, rng, y)
        inside = F.avg_pool2d(x[:, 3:], 2)
        y, logits = F.avg_pool2d(y, 2), net(x)
        p = logits.sigmoid() * inside
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + (y * inside).sum() + 1)
        loss = _losses(logits[:, 0], y[:, 0], inside[:, 0]).mean() + 0.5 * dice
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 150 == 0:
            report(f"f at {level}: step {step + 1} of {steps}: loss {loss.item():.3f}")
    net.eval()


def _rewards(
    level: int, ratio: int, segmenters: dict[int, Any], policies: dict[tuple[int, int], Any],
    areas: list[Region], rng: np.random.Generator, shifts: int,
) -> tuple[Any, np.ndarray, np.ndarray]:  # fmt: skip
    """Windows at a level, and on each the loss of f_i and the loss after zooming.

    Both are judged against the truth in the raster of the finest level's answers, to which coarser
    ones are enlarged (bilinear). Where there are policies for the levels below, they decide on.
    """
    import torch
    from torch.nn import functional as F

    fine = level // ratio
    shown, low, high = [], [], []
    for region in areas:
        for _ in range(shifts):
            offset = rng.integers(0, WINDOW, 2) if shifts > 1 else np.zeros(2, int)
            count = (region.pixels[level].shape[0] - int(offset.max())) // WINDOW
            corners = [
                offset + WINDOW * np.array([i, j]) for i in range(count) for j in range(count)
            ]
            valid = hang_over(np.ones((len(corners), WINDOW, WINDOW), bool), rng)
            x = windows(cut_at(region.pixels[level], corners, WINDOW), valid)
            inside = F.interpolate(
                x[:, 3:], scale_factor=level // min(region.pixels), mode="nearest"
            )
            parts = tiles(F.interpolate(x[:, 3:], scale_factor=ratio, mode="nearest"), ratio)
            with torch.no_grad():
                above = _answers(region, level, corners, valid, segmenters, {})
                below = _answers(
                    region, fine, _children(corners, ratio), parts[:, 0].numpy() > 0, segmenters,
                    policies,
                )  # fmt: skip
            whole = WINDOW * level // min(region.pixels)
            at = [c * level // min(region.pixels) for c in corners]
            truth = cut_at(region.masks[min(region.masks)], at, whole).astype(np.float32)
            y = F.avg_pool2d(torch.from_numpy(truth)[:, None], 2)[:, 0]
            mask = F.avg_pool2d(inside, 2)[:, 0]
            low.append(_losses(above[:, 0], y, mask).numpy())
            high.append(_losses(joined(below, ratio)[:, 0], y, mask).numpy())
            shown.append(x)
    return torch.cat(shown), np.concatenate(low), np.concatenate(high)


def _children(corners: list[np.ndarray], ratio: int) -> list[np.ndarray]:
    """Corners of the r x r windows under each window, in pixels of their own level."""
    return [
        c * ratio + WINDOW * np.array([i, j])
        for c in corners
        for i in range(ratio)
        for j in range(ratio)
    ]


def _answers(
    region: Region, level: int, corners: list[np.ndarray], valid: np.ndarray,
    segmenters: dict[int, Any], policies: dict[tuple[int, int], Any],
) -> Any:  # fmt: skip
    """Logits of windows in the finest raster, (n, 1, side, side); policies zoom where there are some."""
    import torch
    from torch.nn import functional as F

    x = windows(cut_at(region.pixels[level], corners, WINDOW), valid)
    out = torch.cat([segmenters[level](b) for b in x.split(128)])
    factor = level // min(region.pixels)
    if factor == 1:
        return out
    out = F.interpolate(out, scale_factor=factor, mode="bilinear")
    policy = policies.get((level, 2))
    zoomed = np.flatnonzero(policy(x).numpy() > 0) if policy is not None else np.zeros(0, int)
    if len(zoomed):
        children = _children([corners[k] for k in zoomed], 2)
        parts = tiles(F.interpolate(x[zoomed, 3:], scale_factor=2, mode="nearest"), 2)
        below = _answers(
            region, level // 2, children, parts[:, 0].numpy() > 0, segmenters, policies
        )
        out[torch.from_numpy(zoomed)] = joined(below, 2)
    return out


def _fit_policy(
    net: Any, x: Any, low: np.ndarray, high: np.ndarray, steps: int, rng: np.random.Generator,
    report: Callable[[str], None],
) -> None:  # fmt: skip
    """REINFORCE: log p of what was drawn, times what it was paid beyond the running mean."""
    import torch

    # a window that got far worse is no worse a lesson than one that got twice as bad
    paid = torch.from_numpy(np.maximum(reward(low, high, 1, EPS), -1.0) - PRICE).float()
    weight = np.where(
        low >= HARD, 0.5 / max(1, (low >= HARD).sum()), 0.5 / max(1, (low < HARD).sum())
    )
    net.train()
    optimiser = torch.optim.AdamW(net.parameters(), POLICY_RATE, weight_decay=1e-3)
    baseline = 0.0
    for step in range(steps):
        chosen = torch.from_numpy(rng.choice(len(x), POLICY_BATCH, p=weight / weight.sum()))
        (batch,) = turned(stained(x[chosen], rng), rng)
        p = (1 - EXPLORE) * net(batch).sigmoid() + EXPLORE / 2
        zoom = torch.bernoulli(p.detach())
        got = zoom * paid[chosen]
        log_p = torch.where(zoom > 0, p.log(), (1 - p).log())
        # the size of rewards differs between zooms; the step must not
        loss = -((got - baseline) * log_p).mean() / (float(np.std(paid.numpy())) + 1e-3)
        baseline += 0.1 * (float(got.mean()) - baseline)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % 150 == 0:
            report(
                f"policy: step {step + 1} of {steps}: paid {baseline:.3f}, zooms {zoom.mean():.2f}"
            )
    net.eval()


def _judge_segmenter(
    net: Any, level: int, areas: dict[int, list[Region]], report: Callable[[str], None]
) -> dict[str, float]:
    import torch

    both = either = 0
    for region in areas[level]:
        count = len(region.pixels[level]) // WINDOW
        corners = [WINDOW * np.array([i, j]) for i in range(count) for j in range(count)]
        pixels = cut_at(region.pixels[level], corners, WINDOW)
        with torch.no_grad():
            p = net(windows(pixels, np.ones(pixels.shape[:3], bool)))[:, 0] > 0
        truth = cut_at(region.masks[level], corners, WINDOW)[:, ::2, ::2]
        both += int((p.numpy() & truth).sum())
        either += int((p.numpy() | truth).sum())
    out = {"windows": len(corners) * len(areas[level]), "iou": round(both / max(1, either), 4)}
    report(f"f at {level}: {out}")
    return out


def _judge_policy(
    net: Any, x: Any, low: np.ndarray, high: np.ndarray, report: Callable[[str], None]
) -> dict[str, float]:
    import torch

    with torch.no_grad():
        p = torch.cat([net(b) for b in x.split(128)]).sigmoid().numpy()
    zoom = p > 0.5
    out = {
        "windows": len(p),
        "zoomed": zoom.mean(),
        "loss_never": low.mean(),
        "loss_always": high.mean(),
        "loss_policy": np.where(zoom, high, low).mean(),
        "loss_at_random": low.mean() + zoom.mean() * (high.mean() - low.mean()),
    }
    out = {k: round(float(v), 4) for k, v in out.items()}
    report(f"policy: {out}")
    return out

"""Trains the counting networks of Table I: for whole frames, for half and quarter size (`crowd-counter`).

One network is trained on crops, then on whole frames (crops alone leave a bias: there is more border in
them). From there three go on for equally many steps: `crowd-counter` on whole frames, and one each
on frames downsampled by 2 and by 4 a side (`crowd-counter-half`, `crowd-counter-quarter`), as the
survey fine-tunes SASNet for each size. Patches are counted by `crowd-counter` as it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training import crowd_counter_data as data

#: arm -> (name of its weights, by how much its input is smaller a side)
ARMS = {
    "original": ("crowd-counter", 1),
    "ud-4": ("crowd-counter-half", 2),
    "ud-16": ("crowd-counter-quarter", 4),
}
SIGMA, SIDE = 1.5, 9  # of the kernel laid on a head, px of the input at hand
STEPS, FULL, TUNED = 1000, 300, 500
CROP, BATCH = (64, 96), 8
BATCH_FULL = 2
RATE, RATE_FULL = 4e-3, 1e-3
WEIGHT_OF_COUNT = 0.02
FIRST = 4  # held-out frames whose counts a card tells, to be checked


def digest(kind: str) -> str:
    """Changes when a training would turn out differently: with its frames or its schedule."""
    facts = (
        data.key(kind, "train"), data.COUNTS["train"], SIGMA, SIDE, STEPS, FULL, TUNED, CROP, BATCH,
        BATCH_FULL, RATE, RATE_FULL, WEIGHT_OF_COUNT,
    )  # fmt: skip
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def kernel(sigma: float = 4.0, side: int = 15) -> np.ndarray:
    """Gaussian (side, side) about its middle pixel, of sum 1; the defaults are SASNet's."""
    a = np.exp(-0.5 * ((np.arange(side) - side // 2) / sigma) ** 2)
    k = np.outer(a, a)
    return np.asarray(k / k.sum())


def density(
    heads: np.ndarray, shape: tuple[int, int], sigma: float = 4.0, side: int = 15
) -> np.ndarray:
    """Target of a frame: a Gaussian on the pixel of each head, its integral the number of heads.

    Parameters
    ----------
    heads : numpy.ndarray
        (n, 2): (y, x) px, pixel centres at +0.5.
    shape : (int, int)
        (h, w) of the frame.
    sigma : float
        Of the Gaussian, px.
    side : int
        Of the window it is cut to, px, odd. Where the frame cuts it further, what is left is
        brought to 1 again.

    Returns
    -------
    numpy.ndarray
        float64 (h, w).

    Examples
    --------
    >>> target = density(np.array([[10.5, 10.5], [0.2, 0.2]]), (32, 32))
    >>> round(float(target[10, 10]), 10), round(float(target.sum()), 10)
    (0.0112604783, 2.0)
    """
    whole, half = kernel(sigma, side), side // 2
    out = np.zeros(shape)
    for y, x in np.floor(heads).astype(int).clip(0, np.array(shape) - 1):
        top, left = max(y - half, 0), max(x - half, 0)
        bottom, right = min(y + half + 1, shape[0]), min(x + half + 1, shape[1])
        part = whole[top - y + half : bottom - y + half, left - x + half : right - x + half]
        out[top:bottom, left:right] += part / part.sum()
    return out


def smaller(x: Any, factor: int) -> Any:
    """Images (n, c, h, w) downsampled by a whole factor a side: area means."""
    from torch.nn import functional as F

    return F.avg_pool2d(x, factor) if factor > 1 else x


def tensor(pixels: np.ndarray) -> Any:
    """Frames uint8 (n, h, w, 3) as a batch in 0..1."""
    import torch

    return torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255))


def hold_statistics(net: Any) -> None:
    """Let batch normalisation go on with what it has gathered, as it will when the network is used.

    How crowded a frame is shifts the statistics of a small batch, which then hide it.
    """
    from torch import nn

    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


class Trainer:
    """Fits networks to frames at one downsampling."""

    def __init__(
        self, frames: data.Frames, factor: int, seed: int, report: Callable[[str], None]
    ) -> None:
        import torch

        shape = (frames.pixels.shape[1] // factor, frames.pixels.shape[2] // factor)
        maps = [density(h / factor, shape, SIGMA, SIDE) for h in frames.heads]
        self.factor = factor
        self.x = smaller(tensor(frames.pixels), factor)
        self.y = torch.from_numpy(np.stack(maps).astype(np.float32))[:, None]
        self.rng = np.random.default_rng([seed, factor])
        self.report = report

    def batch(self, count: int, crop: tuple[int, int] | None) -> tuple[Any, Any]:
        """Frames or crops of them and their targets, each mirrored half of the time."""
        import torch

        pairs = []
        for k in self.rng.integers(len(self.x), size=count):
            x, y = self.x[k], self.y[k]
            if crop is not None:
                top, left = (
                    int(self.rng.integers(n - c + 1))
                    for n, c in zip(y.shape[1:], crop, strict=True)
                )
                window = (slice(None), slice(top, top + crop[0]), slice(left, left + crop[1]))
                x, y = x[window], y[window]
            turned = self.rng.random() < 0.5
            pairs.append((x.flip(2), y.flip(2)) if turned else (x, y))
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    def fit(
        self, net: Any, name: str, steps: int, rate: float, count: int,
        crop: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """AdamW with a one-cycle rate, on densities in heads a 100 px of the frame and on the count."""
        import torch

        net.train().requires_grad_(True)
        scale = 100 / self.factor**2
        optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rate, total_steps=max(steps, 2), pct_start=0.1
        )
        clock = time.perf_counter()
        for step in range(steps):
            if step == steps // 2:
                hold_statistics(net)
            x, y = self.batch(count, crop)
            out = net(x)
            off = (out.sum((1, 2, 3)) - y.sum((1, 2, 3))).abs().mean()
            loss = ((scale * (out - y)) ** 2).mean() + WEIGHT_OF_COUNT * off
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimiser.step()
            schedule.step()
            if (step + 1) % 200 == 0 or step + 1 == steps:
                spent = time.perf_counter() - clock
                self.report(
                    f"{name}, step {step + 1} of {steps}: loss {loss.item():.3f}, off {off.item():.2f}, {spent:.0f} s"
                )
        net.eval().requires_grad_(False)


def fitted(
    kind: str,
    *,
    seed: int,
    steps: int = STEPS,
    full: int = FULL,
    tuned: int = TUNED,
    report: Callable[[str], None] = print,
    count: int | None = None,
) -> dict[str, Any]:
    """Train all arms on frames of one kind; returns arm -> network.

    Parameters
    ----------
    kind : str
        Of `crowd_counter_data.KINDS`.
    seed : int
    steps, full, tuned : int
        On crops, on whole frames, and on each arm's own input.
    report : callable
    count : int, optional
        Frames to train on; default all.
    """
    import copy

    import torch

    from hrviz.nets.sasnet import CrowdCounter

    frames = data.frames(kind, "train", count, report)
    torch.manual_seed(seed)
    first, whole = CrowdCounter(), Trainer(frames, 1, seed, report)
    whole.fit(first, f"{kind} {seed} crops", steps, RATE, BATCH, CROP)
    whole.fit(first, f"{kind} {seed} whole", full, RATE_FULL, BATCH_FULL)
    out = {}
    for arm, (_, factor) in ARMS.items():
        net = copy.deepcopy(first)
        with torch.no_grad():  # a pixel holds so many pixels of the frame, and their heads
            for parameter in net.head.parameters():
                parameter.mul_(factor**2)
        trainer = whole if factor == 1 else Trainer(frames, factor, seed, report)
        trainer.fit(net, f"{kind} {seed} {arm}", tuned, RATE_FULL, BATCH_FULL)
        out[arm] = net
    return out


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train the three on frames of the square, judge on held-out ones, write weights and cards.

    `steps` are those on crops; the others are in proportion. Returns the card of `crowd-counter`.
    """
    steps = steps or STEPS
    full, tuned = (max(1, n * steps // STEPS) for n in (FULL, TUNED))
    quick = steps <= 50
    clock = time.perf_counter()
    found = fitted(
        "square", seed=seed, steps=steps, full=full, tuned=tuned, report=report,
        count=4 if quick else None,
    )  # fmt: skip
    seconds = round(time.perf_counter() - clock)
    judged = held_out(found, report, 2 if quick else None)
    cards = {}
    for arm, (name, factor) in ARMS.items():
        size = f"{data.SIZE[1] // factor} x {data.SIZE[0] // factor} px"
        cards[name] = {
            "name": name,
            "architecture": "hrviz.nets.sasnet.CrowdCounter",
            "config": {"widths": [12, 24, 48]},
            "task": f"people in procedural frames of a square of {size} (drawn figures: not for people)",
            "data": f"{data.COUNTS['train']} frames of {data.SIZE[1]} x {data.SIZE[0]} px, scene:crowd split train at one pixel in {data.STRIDE}"
            + (f", downsampled by {factor} a side" if factor > 1 else ""),
            "training": f"AdamW, one-cycle; {steps} steps on crops, {full} on whole frames, {tuned} on its own input; squared error of densities, absolute error of counts",
            "stands_for": "SASNet of the survey's Table I (a small U-Net instead)",
            "seed": seed,
            "steps": steps,
            "batch": BATCH,
            "seconds": seconds,
            "held_out": judged[arm],
            "command": f"hrviz train crowd-counter --seed {seed} --steps {steps}",
            "licence": "BSD-3-Clause",
        }
        if write:
            nets.save(name, found[arm], cards[name])
    return cards[ARMS["original"][0]]


def held_out(
    found: dict[str, Any], report: Callable[[str], None], count: int | None = None
) -> dict[str, dict[str, Any]]:
    """Mean absolute error and bias of each arm on held-out frames; the original's by patches too."""
    frames = data.frames("square", "held-out", count, report)
    out: dict[str, dict[str, Any]] = {}
    for arm, (_, factor) in ARMS.items():
        counted = counts(found[arm], frames.pixels, factor)
        out[arm] = {"frames": len(counted), "people": round(float(frames.counts.mean()), 1)}
        out[arm] |= errors(counted - frames.counts)
        out[arm]["first_counts"] = [round(float(v), 2) for v in counted[:FIRST]]
        if factor == 1:
            for cut in (2, 4):
                off = counts(found[arm], frames.pixels, cut=cut) - frames.counts
                out[arm] |= errors(off, f"cip_{cut * cut}_")
        report(f"{arm}: {out[arm]}")
    return out


def errors(off: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Mean absolute error and bias, as cards tell them."""
    mae, bias = float(np.abs(off).mean()), float(off.mean())
    return {f"{prefix}mae": round(mae, 2), f"{prefix}bias": round(bias, 2)}


def counts(
    net: Any, pixels: np.ndarray, factor: int = 1, cut: int = 1, halo: int = 0
) -> np.ndarray:
    """Heads that a network counts in frames, downsampled or in patches, float64 (n,).

    Parameters
    ----------
    net : torch.nn.Module
        A `CrowdCounter`.
    pixels : numpy.ndarray
        uint8 (n, h, w, 3).
    factor : int
        By how much frames are downsampled a side.
    cut, halo : int
        Patches a side and their surroundings, as `hrviz.nets.sasnet.in_patches` has them.
    """
    import torch

    from hrviz.nets.sasnet import in_patches

    with torch.no_grad():
        batches = (smaller(tensor(one[None]), factor) for one in pixels)
        found = [in_patches(net, x, cut, halo).sum(dtype=torch.float64).item() for x in batches]
    return np.array(found)

"""Trains PatchDrop on boards with one handwritten digit: two classifiers and a policy (`patch-drop`).

As published: the classifier of full pictures and the one of small pictures are trained first, then the
policy with the classifier frozen (REINFORCE, the thresholded policy's own reward as baseline, loss
averaged over patches, penalty -0.5), then policy and classifier together (loss summed over patches,
plus cross-entropy, penalty -10 as for CIFAR). Drawn from 0.8 s + 0.2 (1 - s).

Different from the paper, and said on the cards: small networks; the classifier is first trained on
crops around the digit (a quarter of the work, their place known from the scene's truth) and then on
pictures with random patches dropped, so that it does not take a missing patch for an object;
a larger learning rate and fewer steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.nets.patch_reward import FULL, GRID, SMALL
from hrviz.training.patch_drop_data import SCENE, Boards, boards

TRAIN, HELD_OUT = 2500, 400
ALPHA, EARLY, LATE = 0.8, -0.5, -10.0
STEPS, BATCH, RATE = 200, 48, 2e-3  # of the policy
CROP = 112
CONFIGS: dict[str, dict[str, Any]] = {
    "patch-drop-policy": {"widths": [16, 32, 48, 48, 24]},
    "patch-drop-classifier": {
        "classes": 10, "layers": [[12, 2], [24, 2], [48, 2], [64, 1], [96, 2]]
    },
    "patch-drop-low": {"classes": 10, "layers": [[16, 1], [32, 2], [48, 2], [64, 1]]},
}  # fmt: skip
TASKS = {
    "patch-drop-policy": "which of 4 x 4 patches of a board to look at closely",
    "patch-drop-classifier": "which digit a board shows, patches missing or not",
    "patch-drop-low": f"which digit a board of {SMALL} px shows",
}


def _tensor(pixels: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255


def small(x: Any) -> Any:
    """What the policy sees: area means, as a thumbnail of the picture has them."""
    from torch.nn import functional as F

    return F.avg_pool2d(x, FULL // SMALL)


def _fit(
    net: Any, draw: Callable[[np.random.Generator], tuple[Any, Any]], steps: int, rate: float,
    rng: np.random.Generator, report: Callable[[str], None], name: str,
) -> None:  # fmt: skip
    """Fit a classifier on batches that `draw` makes."""
    import torch
    from torch.nn import functional as F

    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.15
    )
    net.train()
    for step in range(steps):
        x, y = draw(rng)
        loss = F.cross_entropy(net(x), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"{name}, step {step + 1} of {steps}: loss {loss.item():.3f}")
    net.eval()


def _rolled(data: Boards, index: np.ndarray, rng: np.random.Generator) -> Any:
    """Boards moved around at random, what leaves on one side coming back on the other."""
    moved = [
        np.roll(data.pixels[k], rng.integers(0, FULL, 2), (0, 1)) for k in np.atleast_1d(index)
    ]
    return _tensor(np.stack(moved))


def _crops(data: Boards, index: np.ndarray, rng: np.random.Generator) -> Any:
    out = np.empty((len(index), CROP, CROP, 3), np.uint8)
    for n, k in enumerate(index):
        y0, x0, y1, x1 = data.boxes[k]
        corner = [
            int(rng.integers(max(0, int(np.ceil(high)) - CROP), min(FULL - CROP, int(low)) + 1))
            for low, high in ((y0, y1), (x0, x1))
        ]
        out[n] = data.pixels[k, corner[0] : corner[0] + CROP, corner[1] : corner[1] + CROP]
    return _tensor(out)


def explore(
    policy: Any, classifier: Any, x: Any, y: Any, penalty: float, generator: Any,
    mean: bool, together: bool,
) -> tuple[Any, dict[str, float]]:  # fmt: skip
    """One batch of the policy's training: the loss and what was seen.

    Parameters
    ----------
    policy, classifier : Module
    x : Tensor (n, 3, 224, 224)
    y : Tensor int64 (n,)
    penalty : float
        Reward of a wrong answer.
    generator : torch.Generator
    mean : bool
        Over patches, else their sum.
    together : bool
        Whether the classifier is trained too.
    """
    import torch
    from torch.nn import functional as F

    from hrviz.nets.patch_drop import masked, policy_loss
    from hrviz.nets.patch_reward import bounded, reward

    s = torch.sigmoid(policy(small(x)))
    q = bounded(s, ALPHA)
    drawn = torch.bernoulli(q.detach(), generator=generator)
    greedy = (s.detach() >= 0.5).float()
    with torch.no_grad():
        right = classifier(masked(x, greedy)).argmax(1) == y
        baseline = reward(greedy.mean(1), right.float(), penalty)
    with torch.set_grad_enabled(together):
        logits = classifier(masked(x, drawn))
    got = reward(drawn.mean(1), (logits.argmax(1) == y).float(), penalty)
    loss = policy_loss(q, drawn, got - baseline, mean)
    if together:
        loss = loss + F.cross_entropy(logits, y)
    seen = {"reward": float(baseline.mean()), "kept": float(greedy.sum(1).mean())}
    return loss, seen


def _policy_stage(
    policy: Any, classifier: Any, data: Boards, steps: int, penalty: float, rate: float,
    rng: np.random.Generator, generator: Any, report: Callable[[str], None], together: bool,
) -> None:  # fmt: skip
    import torch

    parameters = [*policy.parameters(), *(classifier.parameters() if together else ())]
    optimiser = torch.optim.Adam(parameters, rate)
    policy.train()
    classifier.eval()  # its batch normalisation stays: masks change from batch to batch
    for step in range(steps):
        index = rng.choice(len(data.labels), min(BATCH, len(data.labels)), replace=False)
        x, y = _rolled(data, index, rng), torch.from_numpy(data.labels[index])
        loss, seen = explore(
            policy, classifier, x, y, penalty, generator, not together, together
        )  # fmt: skip
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % 20 == 0:
            report(
                f"{'together' if together else 'policy'}, step {step + 1} of {steps}: reward "
                f"{seen['reward']:.3f}, {seen['kept']:.1f} of {GRID**2} kept"
            )
    policy.eval()


def judge(policy: Any, classifier: Any, low: Any, data: Boards) -> dict[str, float]:
    """Accuracy on boards: whole, small only, with the policy's patches, with as many at random."""
    import torch

    from hrviz.nets.patch_drop import masked

    generator = torch.Generator().manual_seed(0)
    right: dict[str, list[Any]] = {}
    kept = []
    for part in np.array_split(np.arange(len(data.labels)), max(1, len(data.labels) // 50)):
        x, y = _tensor(data.pixels[part]), torch.from_numpy(data.labels[part])
        with torch.no_grad():
            coarse = low(small(x))
            keep = (policy(small(x)) >= 0).float()
            order = torch.rand(keep.shape, generator=generator).argsort(1).argsort(1)
            chance = (order < keep.sum(1, keepdim=True)).float()
            chosen = classifier(masked(x, keep))
            answers = {
                "whole": classifier(x), "small_only": coarse, "patch_drop": chosen,
                "patch_drop_two_stream": chosen + coarse,
                "as_many_at_random": classifier(masked(x, chance)),
                "nothing_kept": classifier(masked(x, torch.zeros_like(keep))),
            }  # fmt: skip
        kept.append(keep.sum(1))
        for name, logits in answers.items():
            right.setdefault(name, []).append(logits.argmax(1) == y)
    out = {f"accuracy_{k}": round(float(torch.cat(v).float().mean()), 4) for k, v in right.items()}
    return out | {"patches_kept_of_16": round(float(torch.cat(kept).mean()), 3)}


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train all three networks, judge on held-out boards, write them; returns the policy's card."""
    import torch

    from hrviz.nets.patch_drop import PatchClassifier, SmallPolicy, masked

    steps = steps or STEPS
    quick = steps <= 50
    data = boards("train", 24 if quick else TRAIN, report)
    clock = time.perf_counter()
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    policy = SmallPolicy(**CONFIGS["patch-drop-policy"])
    classifier = PatchClassifier(**CONFIGS["patch-drop-classifier"])
    low = PatchClassifier(**CONFIGS["patch-drop-low"])

    def some(count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(len(data.labels), min(count, len(data.labels)), replace=False)

    def crops(rng: np.random.Generator) -> tuple[Any, Any]:
        index = some(64, rng)
        return _crops(data, index, rng), torch.from_numpy(data.labels[index])

    def with_holes(rng: np.random.Generator) -> tuple[Any, Any]:
        index = some(32, rng)
        shares = torch.from_numpy(rng.uniform(0.2, 1.2, (len(index), 1))).float().clamp_max(1)
        keep = torch.bernoulli(shares.expand(-1, GRID**2), generator=generator)
        x = masked(_rolled(data, index, rng), keep)
        return x, torch.from_numpy(data.labels[index])

    def thumbnails(rng: np.random.Generator) -> tuple[Any, Any]:
        index = some(64, rng)
        return small(_rolled(data, index, rng)), torch.from_numpy(data.labels[index])

    _fit(classifier, crops, 5 * steps // 2, 4e-3, rng, report, "classifier, crops")
    _fit(classifier, with_holes, 3 * steps // 5, 2e-3, rng, report, "classifier, random masks")
    _fit(low, thumbnails, steps, 4e-3, rng, report, "small pictures")
    _policy_stage(
        policy, classifier, data, steps, EARLY, RATE, rng, generator, report, together=False
    )
    held = boards("held-out", 12 if quick else HELD_OUT, report)
    early = judge(policy, classifier, low, held)
    report(f"policy alone: {early}")
    _policy_stage(
        policy, classifier, data, 3 * steps // 10, LATE, RATE / 4, rng, generator, report,
        together=True,
    )  # fmt: skip
    late = judge(policy, classifier, low, held)
    report(f"together: {late}")
    metrics = {"pictures": len(held.labels), **late} | {
        f"{k}_before_fine_tuning": v for k, v in early.items()
    }
    cards = {
        name: {
            "name": name,
            "architecture": f"hrviz.nets.patch_drop.{type(net).__name__}",
            "config": CONFIGS[name],
            "task": TASKS[name],
            "data": f"{len(data.labels)} scene:digits boards of {FULL} px (train seeds; {SCENE}), moved around at "
            "random; handwriting from MNIST's train share",
            "training": f"classifier on crops of {CROP} px around the digit, then with random patches at the mean colour; "
            f"policy by REINFORCE with self-critical baseline, {GRID} x {GRID} patches, alpha {ALPHA:g}, penalty {EARLY:g} "
            f"(classifier frozen, mean over patches), then {LATE:g} (together, sum over patches, plus cross-entropy)",
            "stands_for": "PatchDrop's ResNets of 4.9 M (policy) and 21.3 M parameters (hrviz.nets.patch_drop.paper_networks)",
            "seed": seed,
            "steps": steps,
            "batch": BATCH,
            "seconds": round(time.perf_counter() - clock),
            "held_out": metrics,
            "command": f"hrviz train patch-drop --seed {seed} --steps {steps}",
            "licence": "BSD-3-Clause",
        }
        for name, net in zip(CONFIGS, (policy, classifier, low), strict=True)
    }  # fmt: skip
    if write:
        for name, net in zip(CONFIGS, (policy, classifier, low), strict=True):
            nets.save(name, net, cards[name])
    return cards["patch-drop-policy"]

"""Trains RA-CNN on boards with one handwritten digit, from image labels alone (`recurrent-attention`).

In the order of the paper. The first scale learns to classify, and the others begin with its weights.
Each attention proposal network learns to propose half the side around the highest response of its scale
(no box of the scene is used), and the scale after it to classify what is proposed. Then in turn: proposals by
the ranking loss with the classifiers held fixed, classifiers by cross-entropy with the proposals held
fixed. Last the layer that fuses the three descriptors.

Different from the paper, and said on the card: small networks of 32 px, trained from scratch instead of
from ImageNet; each scale is trained on its own crops before the next proposals begin, since none is pretrained;
the descriptor is the strongest response instead of the mean; every scale reads its box from the board;
the ranking loss takes the coarser scale as a fixed reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.nets.patch_reward import FULL
from hrviz.training.patch_drop import _tensor
from hrviz.training.patch_drop_data import SCENE, Boards, boards

NAME = "recurrent-attention"
TRAIN, HELD_OUT = 2500, 400
CONFIG: dict[str, Any] = {
    "classes": 10, "side": 32, "widths": [12, 24, 36, 48, 48], "cells": 6, "hidden": 48
}  # fmt: skip
STEPS, BATCH = 400, 64  # steps of the first scale; the other stages are shares of it
ROUNDS = 2  # of alternating
SHARES = {"proposals": 0.4, "scale": 0.5, "rank": 0.1, "classify": 0.15, "fuse": 0.15}


class Course:
    """The network under training, its boards and its clock.

    Parameters
    ----------
    net : SmallRaCnn
    data : Boards
    rng : numpy.random.Generator
        Draws boards and moves them around.
    report : callable
    """

    def __init__(
        self, net: Any, data: Boards, rng: np.random.Generator, report: Callable[[str], None]
    ) -> None:
        import torch

        self.net, self.rng, self.report = net, rng, report
        self.pixels = torch.from_numpy(np.ascontiguousarray(data.pixels.transpose(0, 3, 1, 2)))
        self.labels = torch.from_numpy(data.labels)

    def draw(self) -> tuple[Any, Any]:
        """Boards (n, 3, 224, 224), moved around with what leaves coming back, and their digits (n,)."""
        import torch

        count = len(self.labels)
        index = self.rng.choice(count, min(BATCH, count), replace=False)
        shifts = self.rng.integers(0, FULL, (len(index), 2)).tolist()
        moved = [
            torch.roll(self.pixels[k], by, (1, 2)) for k, by in zip(index, shifts, strict=True)
        ]
        return torch.stack(moved).float() / 255, self.labels[index]

    def view(self, x: Any, s: int) -> Any:
        """What scale s sees of boards, proposals held fixed: (n, 3, side, side)."""
        import torch

        from hrviz.nets import recurrent_attention as ra

        self.net.eval()
        with torch.no_grad():
            box = x.new_tensor([[0.5, 0.5, 0.5]]).expand(len(x), 3)
            view = ra.seen(x, box, self.net.side)
            for k in range(s):
                own = ra.confined(self.net.proposals[k](self.net.features(k, view)))
                box = ra.within(box, own)
                view = ra.masked(ra.seen(x, box, self.net.side), own)
        return view

    def fit(
        self, parameters: Sequence[Any], loss: Callable[[Any, Any], Any], steps: int, rate: float, name: str,
    ) -> None:  # fmt: skip
        """Take `steps` on a loss of (boards, digits); other parameters stay as they are."""
        import torch

        optimiser = torch.optim.AdamW(parameters, rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rate, total_steps=steps, pct_start=0.15
        )
        value = 0.0
        for _ in range(steps):
            out = loss(*self.draw())
            optimiser.zero_grad(set_to_none=True)
            out.backward()
            optimiser.step()
            schedule.step()
            value = out.item()
        self.net.eval()
        self.report(f"{name}, {steps} steps: loss {value:.3f}")

    # ------------------------------------------------------------------ the stages
    def classify(self, scales: Sequence[int], steps: int, rate: float) -> None:
        """Cross-entropy of some scales, proposals held fixed (first half of equation 8)."""
        from torch.nn import functional as F

        net = self.net

        def loss(x: Any, y: Any) -> Any:
            views = [self.view(x, s) for s in scales]
            net.train()  # batch normalisation learns; `view` runs as it will be used
            answers = [net.split(net.scale(s, v))[0] for s, v in zip(scales, views, strict=True)]
            return sum(F.cross_entropy(a, y) for a in answers)

        parameters = [
            p for s in scales for part in (net.trunks[s], net.classifiers[s]) for p in part.parameters()
        ]  # fmt: skip
        self.fit(parameters, loss, steps, rate, f"classifiers {[s + 1 for s in scales]}")

    def begin(self, s: int, steps: int, rate: float = 3e-3) -> None:
        """Make the proposals of scale s those of its highest response."""
        import torch
        from torch.nn import functional as F

        from hrviz.nets.recurrent_attention import responding

        net = self.net

        def loss(x: Any, y: Any) -> Any:
            view = self.view(x, s)
            with torch.no_grad():
                features = net.features(s, view)
            return F.mse_loss(net.proposals[s](features), responding(features))

        self.fit([*net.proposals[s].parameters()], loss, steps, rate, f"proposals {s + 1}")

    def rank(self, steps: int, rate: float = 1e-4) -> None:
        """The ranking loss, classifiers held fixed (second half of equation 8)."""
        import torch

        from hrviz.nets.recurrent_attention import ranking_loss

        net = self.net

        def loss(x: Any, y: Any) -> Any:
            logits, _, _ = net(x)
            p = torch.softmax(logits, 2)[torch.arange(len(x)), :, y]
            return ranking_loss(p, reference=True).sum(1).mean()

        net.eval()
        self.fit([*net.proposals.parameters()], loss, steps, rate, "ranking")

    def fuse(self, steps: int, rate: float = 0.2) -> None:
        """The layer on the three descriptors, all else held fixed."""
        import torch
        from torch.nn import functional as F

        net = self.net

        def loss(x: Any, y: Any) -> Any:
            with torch.no_grad():
                _, _, descriptors = net(x)
            return F.cross_entropy(net.fuse(descriptors), y)

        net.eval()
        self.fit([*net.fusion.parameters()], loss, steps, rate, "fusion")


def judge(net: Any, data: Boards) -> dict[str, float]:
    """Accuracy of each scale and of all, how often the digit lies in each box, and the boxes' mean side.

    A digit counts as in a box when its own box lies there wholly, but for half a pixel of the board.
    """
    import torch

    found: dict[str, list[Any]] = {}
    for part in np.array_split(np.arange(len(data.labels)), max(1, len(data.labels) // 50)):
        x, y = _tensor(data.pixels[part]), torch.from_numpy(data.labels[part])
        with torch.no_grad():
            logits, boxes, descriptors = net(x)
            right = logits.argmax(2) == y[:, None]
            p = torch.softmax(logits, 2)[torch.arange(len(x)), :, y]
            answers = {"accuracy_fused": net.fuse(descriptors).argmax(1) == y}
        digit = torch.from_numpy(data.boxes[part])[:, None] / FULL
        low, high = boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + boxes[..., 2:]
        slack = 0.5 / FULL
        inside = ((digit[..., :2] >= low - slack) & (digit[..., 2:] <= high + slack)).all(2)
        for s in range(logits.shape[1]):
            answers[f"accuracy_scale_{s + 1}"] = right[:, s]
            if s:
                answers[f"digit_in_box_{s + 1}"] = inside[:, s]
                answers[f"side_of_box_{s + 1}"] = 2 * boxes[:, s, 2]
                answers[f"surer_than_scale_{s}"] = p[:, s] > p[:, s - 1]
        for name, values in answers.items():
            found.setdefault(name, []).append(values.float())
    return {k: round(float(torch.cat(v).mean()), 4) for k, v in sorted(found.items())}


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train all scales and proposals, judge on held-out boards, write them; returns the card."""
    import torch

    from hrviz.nets.recurrent_attention import MARGIN, SmallRaCnn

    steps = steps or STEPS
    quick = steps <= 50
    data = boards("train", 24 if quick else TRAIN, report)
    held = boards("held-out", 12 if quick else HELD_OUT, report)
    clock = time.perf_counter()
    torch.manual_seed(seed)
    net = SmallRaCnn(**CONFIG)
    course = Course(net, data, np.random.default_rng(seed), report)
    of = {name: max(2, round(share * steps)) for name, share in SHARES.items()}

    course.classify([0], steps, 4e-3)
    for s in (1, 2):
        net.trunks[s].load_state_dict(net.trunks[0].state_dict())
        net.classifiers[s].load_state_dict(net.classifiers[0].state_dict())
        course.begin(s - 1, of["proposals"])
        course.classify([s], of["scale"], 4e-3)
    early = judge(net, held)
    report(f"before alternating: {early}")
    for _ in range(ROUNDS):
        course.rank(of["rank"])
        course.classify([0, 1, 2], of["classify"], 1e-3)
    course.fuse(of["fuse"])
    late = judge(net, held)
    report(f"in the end: {late}")

    card = {
        "name": NAME,
        "architecture": "hrviz.nets.recurrent_attention.SmallRaCnn",
        "config": CONFIG,
        "task": "which digit a board shows, looking closer twice",
        "data": f"{len(data.labels)} scene:digits boards of {FULL} px (train seeds; {SCENE}), moved around at random; "
        "handwriting from MNIST's train share; image labels only",
        "training": f"scale 1 by cross-entropy; proposals towards half the side around the highest response; scales 2 and "
        f"3 by cross-entropy on what is proposed; then {ROUNDS} rounds of ranking loss (margin {MARGIN:g}, proposals only, the coarser scale a fixed reference) and "
        "cross-entropy (classifiers only); then the fusing layer",
        "stands_for": "RA-CNN's three VGG-19 trunks and two proposal networks, 266.2 M parameters with 200 classes "
        "(hrviz.nets.recurrent_attention.PaperRaCnn)",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": {"pictures": len(held.labels), **late}
        | {f"{k}_before_alternating": v for k, v in early.items() if "fused" not in k},
        "command": f"hrviz train {NAME} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save(NAME, net, card)
    return card

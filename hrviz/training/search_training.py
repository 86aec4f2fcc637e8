"""What the recipes of networks that search a picture share: batches, flips, the loop, the report.

A picture of `hrviz.training.search_data` is kept twice: as a small view, averaged once and held in
memory, and at full resolution in the cached file, from which only patches are taken. Training sees
flipped and turned pictures where their class does not change by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.methods.zooming.attended import STEP
from hrviz.methods.zooming.patches import origins
from hrviz.training.search_data import SETS, pictures

if TYPE_CHECKING:
    import torch

TURNED = (
    "needle",
    "cells",
    "colon",
    "crowded",
    "strewn",
    "sown",
    "aerial",
    "jammed",
)  # sets whose classes do not change when a picture is turned over
CLIP = 1.0
SOFT = 0.05  # label smoothing: small sets are fitted perfectly, and logits would grow without end
QUICK = 50  # steps up to which a recipe is only tried out, on few pictures


@dataclass(frozen=True)
class Batch:
    """Some pictures of a set, turned: `turns` (b, 3) bool are transposed, upside down, mirrored."""

    index: np.ndarray
    turns: np.ndarray
    view: torch.Tensor
    labels: torch.Tensor

    def only(self, i: int) -> Batch:
        """The i-th picture alone."""
        one = slice(i, i + 1)
        return Batch(self.index[one], self.turns[one], self.view[one], self.labels[one])


class Store:
    """One split of a set for training or judging.

    Parameters
    ----------
    name, split : str
        Of `hrviz.training.search_data.pictures`.
    downsample : int
        Full-resolution pixels per view pixel.
    count : int, optional
        Pictures; default all.
    """

    def __init__(
        self, name: str, split: Any, downsample: int = 4, count: int | None = None,
        report: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        found = pictures(name, split, count, report)
        self.pixels, self.labels = found.pixels, found.labels
        self.turned = name in TURNED
        n, h, w, _ = self.pixels.shape
        h, w = h // downsample * downsample, w // downsample * downsample
        self.views = np.empty((n, h // downsample, w // downsample, 3), np.uint8)
        for k in range(n):
            blocks = np.asarray(self.pixels[k, :h, :w], np.float32)
            blocks = blocks.reshape(h // downsample, downsample, w // downsample, downsample, 3)
            self.views[k] = np.rint(blocks.mean((1, 3)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures in full-resolution pixels."""
        h, w = self.pixels.shape[1:3]
        return int(h), int(w)

    def batch(self, index: np.ndarray, rng: np.random.Generator | None = None) -> Batch:
        """Pictures by index, turned at random with `rng`."""
        import torch

        turns = np.zeros((len(index), 3), bool)
        if rng is not None and self.turned:
            turns = rng.random(turns.shape) < 0.5
        views = np.stack([turn(self.views[k], t) for k, t in zip(index, turns, strict=True)])
        return Batch(index, turns, as_input(views), torch.from_numpy(self.labels[index]))

    def patches(self, batch: Batch, origins: np.ndarray, side: int) -> torch.Tensor:
        """Patches (b, n, 3, side, side) in 0..1 at origins (b, n, 2) of the turned pictures.

        Zero beyond the picture.
        """
        b, n = origins.shape[:2]
        out = np.zeros((b, n, side, side, 3), np.uint8)
        for i, (k, t) in enumerate(zip(batch.index, batch.turns, strict=True)):
            picture = turn(self.pixels[k], t)
            for j, (y, x) in enumerate(origins[i]):
                cut = picture[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
                top, left = max(-y, 0), max(-x, 0)
                out[i, j, top : top + cut.shape[0], left : left + cut.shape[1]] = cut
        return as_input(out.reshape(b * n, side, side, 3)).view(b, n, 3, side, side)


def turn(picture: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) transposed, upside down, mirrored, as `turns` says; a view, not a copy."""
    if turns[0]:
        picture = picture.transpose(1, 0, 2)
    return picture[:: -1 if turns[1] else 1, :: -1 if turns[2] else 1]


def as_input(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (n, h, w, 3) to float (n, 3, h, w) in 0..1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255


def stores(
    name: str, quick: bool, report: Callable[[str], None], downsample: int = 4
) -> dict[str, Store]:
    """The splits of a set; few pictures of each in a quick trial."""
    splits = ("train", "held-out", "unseen")
    return {s: Store(name, s, downsample, 6 if quick else None, report) for s in splits}


def positions(store: Store, patch: int) -> np.ndarray:
    """Patch origins (positions, 2) of all attention positions over a set's pictures."""
    h, w = store.views.shape[1:3]
    return origins((-(-h // STEP), -(-w // STEP)), (h, w), store.size, patch).reshape(-1, 2)


def fit(
    net: Any,
    store: Store,
    loss: Callable[[Batch, int], torch.Tensor],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    report: Callable[[str], None],
    check: Callable[[int], None] | None = None,
    weight_decay: float = 0.0,
) -> float:
    """Adam with a warm-up and a cosine end, gradients clipped; returns the seconds taken.

    Parameters
    ----------
    loss : callable
        Of a batch and the step.
    check : callable, optional
        Called every 150 steps with the steps done.
    """
    import torch

    clock = time.perf_counter()
    rng = np.random.default_rng(seed + 1)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.05, div_factor=5
    )
    net.train()
    recent: list[float] = []
    for step in range(steps):
        index = rng.choice(len(store), min(batch, len(store)), replace=False)
        value = loss(store.batch(index, rng), step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        recent.append(value.item())
        if (step + 1) % 50 == 0:
            took = time.perf_counter() - clock
            report(f"step {step + 1} of {steps}: loss {np.mean(recent[-50:]):.4f}, {took:.0f} s")
        if check is not None and (step + 1) % 150 == 0:
            net.eval()
            check(step + 1)
            net.train()
    net.eval()
    return time.perf_counter() - clock


def judge(
    store: Store, answer: Callable[[Batch, int], torch.Tensor], redraws: int, batch: int = 20
) -> dict[str, float]:
    """Accuracy on all pictures of a split: its mean and spread over redraws.

    Parameters
    ----------
    answer : callable
        Logits (b, classes) of a batch and the number of the redraw.
    """
    import torch

    shares = []
    with torch.no_grad():
        for redraw in range(redraws):
            right = 0
            for index in np.array_split(np.arange(len(store)), -(-len(store) // batch)):
                asked = store.batch(index)
                right += int((answer(asked, redraw).argmax(1) == asked.labels).sum())
            shares.append(right / len(store))
    out = {"accuracy": round(float(np.mean(shares)), 4), "pictures": len(store)}
    if redraws > 1:
        out |= {"spread_over_redraws": round(float(np.std(shares)), 4), "redraws": redraws}
    return out


def facts(name: str, set_: str, seed: int, steps: int, batch: int) -> dict[str, Any]:
    """What every card of these recipes says."""
    asked = SETS[set_]
    h, w = asked.size
    return {
        "name": name,
        "classes": list(asked.classes),
        "task": f"{' or '.join(asked.classes)}, from few patches of a picture (synthetic)",
        "data": f"{asked.counts['train']} pictures of {w} x {h} px, scene:{asked.scene} split train "
        f"({set_}), class labels only",
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "command": f"hrviz train {name} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }

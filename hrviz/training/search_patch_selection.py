"""Trains differentiable patch selection: the scorer learns through the perturbed top-k.

Patches of training are blends, those of a test the k best; the noise falls linearly to a tenth. From
a cold start that hardly learns: the scorer keeps to the positions that it happens to like, and blends
of many are too blurred to learn features from. So the first steps take a single noisy copy with wide
noise: nearly random patches, not blended, with which features are learnt first. Where a picture's class
hangs on few cells that is not enough (at chance after 900 steps; with features given but the scorer from
scratch 77 % after 600), so `start` gives both to begin with: the perturbed top-k then refines them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz import nets
from hrviz.training import search_training as shared
from hrviz.training.search_data import SETS

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Set, patch side and stride of the first convolution, k, noise, and how it is trained.

    `warm` steps take one noisy copy at `wide`, the rest the mean of `samples` at `sigma` and falling;
    `downsample` is full-resolution pixels per pixel of the view; `start` names the
    network of attention sampling whose attention, patch features and classifier training starts with.
    """

    set: str
    patch: int
    stride: int
    best: int
    steps: int
    warm: int = 300
    wide: float = 0.5
    sigma: float = 0.05
    samples: int = 100
    downsample: int = 4
    batch: int = 16
    rate: float = 2e-3
    jacobian: str = "full"
    pooling: str = "mean"
    start: str = ""


RECIPES = {
    "colon-patch-selection": Recipe(
        "colon", patch=48, stride=2, best=10, steps=300, warm=0, rate=5e-4, start="colon-ats"
    ),
}


def blended(store: shared.Store, batch: shared.Batch, y: Any, where: np.ndarray, side: int) -> Any:
    """Blends (b, k, 3, side, side) of patches by Y (b, k, m); only patches with a weight are read."""
    import torch

    out = []
    for i in range(len(batch.index)):
        used = torch.nonzero(y[i].detach().sum(0) > 0)[:, 0]
        patches = store.patches(batch.only(i), where[used.numpy()][None], side)[0]
        out.append(torch.einsum("ku,ucij->kcij", y[i][:, used], patches))
    return torch.stack(out)


def train(
    name: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool,
    start: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Train one network, judge on held-out and unseen pictures, write weights and card.

    `start` is a network of attention sampling in place of the recipe's.
    """
    import torch
    from torch.nn import functional as F

    from hrviz.nets.perturbed import PatchSelection, hard_top_k, perturbed_top_k

    recipe = RECIPES[name]
    steps = steps or recipe.steps
    warm = recipe.warm * steps // recipe.steps
    quick = steps <= shared.QUICK
    data = shared.stores(recipe.set, quick, report, recipe.downsample)
    torch.manual_seed(seed)
    classes = len(SETS[recipe.set].classes)
    config = {"classes": classes, "stride": recipe.stride, "patch": recipe.patch,
              "pooling": recipe.pooling}  # fmt: skip
    net = PatchSelection(**config)  # type: ignore[arg-type]
    other: Any = nets.load(recipe.start) if start is None and recipe.start else start
    if other is not None:
        net.scorer.load_state_dict(other.attention.state_dict())
        net.features.load_state_dict(other.features.state_dict())
        net.head.load_state_dict(other.head.state_dict())
    generator = torch.Generator().manual_seed(seed)
    where = shared.positions(data["train"], recipe.patch)

    def loss(batch: shared.Batch, step: int) -> torch.Tensor:
        done = (step - warm) / max(1, steps - warm)
        sigma, copies = recipe.sigma * max(0.1, 1 - done), recipe.samples
        if step < warm:
            sigma, copies = recipe.wide, 1
        s = net.scores(batch.view)
        y = perturbed_top_k(
            s, recipe.best, sigma, copies, generator, recipe.jacobian  # type: ignore[arg-type]
        )  # fmt: skip
        patches = blended(data["train"], batch, y, where, recipe.patch)
        return F.cross_entropy(net.decide(patches), batch.labels)

    def measure(split: str) -> dict[str, float]:
        def one(batch: shared.Batch, redraw: int) -> torch.Tensor:
            index = hard_top_k(net.scores(batch.view), recipe.best)
            patches = data[split].patches(batch, where[index.numpy()], recipe.patch)
            return net.decide(patches)

        return shared.judge(data[split], one, 1)

    seconds = shared.fit(
        net, data["train"], loss, steps=steps, batch=recipe.batch, rate=recipe.rate, seed=seed,
        report=report, check=lambda done: report(f"held out: {measure('held-out')}"),
    )  # fmt: skip
    card = shared.facts(name, recipe.set, seed, steps, recipe.batch) | {
        "architecture": "hrviz.nets.perturbed.PatchSelection",
        "config": config,
        "stands_for": "the networks of differentiable patch selection (Cordonnier et al., CVPR 2021)",
        "training": (
            f"{warm} steps with the {recipe.best} best of one noisy copy, sigma {recipe.wide}, then "
            if warm
            else ""
        )
        + f"blends of the {recipe.best} best of {recipe.samples} copies, sigma {recipe.sigma} falling to a "
        f"tenth, Jacobian {recipe.jacobian}; judged on the best themselves"
        + (
            f"; scorer, patch features and classifier started as those of {recipe.start}"
            if recipe.start
            else ""
        ),
        "best": recipe.best,
        "seconds": round(seconds),
        "held_out": measure("held-out"),
        "unseen": measure("unseen"),
    }
    report(str({k: card[k] for k in ("held_out", "unseen")}))
    if write:
        nets.save(name, net, card)
    return card

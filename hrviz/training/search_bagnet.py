"""Trains BagNets of three receptive fields on whole pictures at half resolution, from class labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hrviz import nets
from hrviz.training import search_training as shared
from hrviz.training.search_data import SETS

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Set, receptive field, and how it is trained."""

    set: str
    field: int
    steps: int = 240
    batch: int = 12
    rate: float = 4e-3


RECIPES = {f"colon-bagnet-{field}": Recipe("colon", field) for field in (9, 17, 33)}


def train(
    name: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train one network, judge on held-out and unseen pictures, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.bagnet import BagNet

    recipe = RECIPES[name]
    steps = steps or recipe.steps
    quick = steps <= shared.QUICK
    data = shared.stores(recipe.set, quick, report, downsample=2)
    torch.manual_seed(seed)
    config = {"classes": len(SETS[recipe.set].classes), "field": recipe.field}
    net = BagNet(config["classes"], config["field"])

    def loss(batch: shared.Batch, step: int) -> torch.Tensor:
        return F.cross_entropy(net(batch.view), batch.labels, label_smoothing=shared.SOFT)

    def measure(split: str) -> dict[str, float]:
        return shared.judge(data[split], lambda batch, _: net(batch.view), 1)

    seconds = shared.fit(
        net, data["train"], loss, steps=steps, batch=recipe.batch, rate=recipe.rate, seed=seed,
        report=report, check=lambda done: report(f"held out: {measure('held-out')}"),
    )  # fmt: skip
    card = shared.facts(name, recipe.set, seed, steps, recipe.batch) | {
        "architecture": "hrviz.nets.bagnet.BagNet",
        "config": config,
        "stands_for": "BagNet on ResNet-50 (Brendel and Bethge, ICLR 2019), with few channels",
        "training": f"whole pictures at half resolution, parts of {recipe.field} px",
        "seconds": round(seconds),
        "held_out": measure("held-out"),
        "unseen": measure("unseen"),
    }
    report(str({k: card[k] for k in ("held_out", "unseen")}))
    if write:
        nets.save(name, net, card)
    return card

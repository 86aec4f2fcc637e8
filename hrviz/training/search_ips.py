"""Trains iterative patch selection: all patches without gradients, the M that are left with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz import nets
from hrviz.methods.zooming.memory_loop import starts
from hrviz.training import search_training as shared
from hrviz.training.search_data import SETS

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Set, patch side, distance and stride, M, I, H, and how it is trained."""

    set: str
    patch: int
    step: int
    stride: int
    memory: int
    chunk: int
    steps: int
    heads: int = 4
    batch: int = 10
    rate: float = 2e-3


RECIPES = {
    "colon-ips": Recipe("colon", patch=48, step=48, stride=2, memory=16, chunk=64, steps=400),
}


def train(
    name: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train one network, judge on held-out and unseen pictures, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.iterative import IterativeSelection, select

    recipe = RECIPES[name]
    steps = steps or recipe.steps
    quick = steps <= shared.QUICK
    data = shared.stores(recipe.set, quick, report)
    torch.manual_seed(seed)
    classes = len(SETS[recipe.set].classes)
    config = {"classes": classes, "heads": recipe.heads, "memory": recipe.memory,
              "chunk": recipe.chunk, "stride": recipe.stride, "patch": recipe.patch,
              "step": recipe.step}  # fmt: skip
    net = IterativeSelection(**config)
    lines = [starts(n, recipe.patch, recipe.step).astype(int) for n in data["train"].size]
    where = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)

    def answer(batch: shared.Batch, store: shared.Store, order: np.ndarray) -> torch.Tensor:
        b, n = len(batch.index), len(where)
        patches = store.patches(batch, np.broadcast_to(where[order], (b, n, 2)), recipe.patch)

        def logits(start: int, stop: int) -> torch.Tensor:
            part = patches[:, start:stop]
            e = net.features(part.flatten(0, 1)).view(b, stop - start, -1)
            return net.pool.logits(e)

        *_, (kept, _) = select(n, recipe.memory, recipe.chunk, logits)
        chosen = patches[torch.arange(b)[:, None], kept]
        return net.decide(chosen)

    rng = np.random.default_rng(seed + 2)

    def loss(batch: shared.Batch, step: int) -> torch.Tensor:
        return F.cross_entropy(
            answer(batch, data["train"], rng.permutation(len(where))),
            batch.labels,
            label_smoothing=shared.SOFT,
        )

    def measure(split: str, redraws: int) -> dict[str, float]:
        def one(batch: shared.Batch, redraw: int) -> torch.Tensor:
            order = np.random.default_rng(redraw).permutation(len(where))
            return answer(batch, data[split], order)

        return shared.judge(data[split], one, redraws, batch=10)

    seconds = shared.fit(
        net, data["train"], loss, steps=steps, batch=recipe.batch, rate=recipe.rate, seed=seed,
        report=report, check=lambda done: report(f"held out: {measure('held-out', 1)}"),
    )  # fmt: skip
    card = shared.facts(name, recipe.set, seed, steps, recipe.batch) | {
        "architecture": "hrviz.nets.iterative.IterativeSelection",
        "config": config,
        "stands_for": "the networks of iterative patch selection (Bergner et al., ICLR 2023)",
        "training": f"{len(where)} patches of {recipe.patch} px, {recipe.step} px apart, in shuffled "
        f"order past a memory of {recipe.memory}, {recipe.heads} heads; redraws are orders",
        "seconds": round(seconds),
        "held_out": measure("held-out", 2),
        "unseen": measure("unseen", 3),
    }
    report(str({k: card[k] for k in ("held_out", "unseen")}))
    if write:
        nets.save(name, net, card)
    return card

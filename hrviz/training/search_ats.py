"""Trains attention sampling to find what decides a picture's class, from class labels alone.

The recipes differ in their pictures and sizes only (`RECIPES`). Attention learns through the sampled
expectation; nothing tells where the object is. Labels are not smoothed, unlike for BagNets and
iterative selection: smoothed by 0.05, attention stayed even, and 95 % were right instead of 99.8 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hrviz import nets
from hrviz.training import search_training as shared
from hrviz.training.search_data import SETS

if TYPE_CHECKING:
    import torch

REDRAWS = 5


@dataclass(frozen=True)
class Recipe:
    """Set, patch side and stride of the first convolution, draws, and how it is trained.

    `downsample` is full-resolution pixels per pixel of the view; `easier` names a set with more of what is
    sought, for `easier_steps` before: on `colon` alone one seed of three stayed at chance, and after
    200 such steps, in which even attention suffices, it hardly learnt where to look (0.76).
    """

    set: str
    patch: int
    stride: int
    draws: int
    steps: int
    batch: int = 16
    rate: float = 2e-3
    entropy: float = 1e-3
    downsample: int = 4
    gradient: str = "unbiased"
    easier: str = ""
    easier_steps: int = 200


RECIPES = {
    "colon-ats": Recipe(
        "colon", patch=48, stride=2, draws=10, steps=900, easier="crowded", easier_steps=60
    ),
}


def train(
    name: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool,
    keep: Callable[[Any], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train one network, judge on held-out and unseen pictures, write weights and card.

    `keep` is given the trained network.
    """
    import torch
    from torch.nn import functional as F

    from hrviz.nets.attention_sampling import AttentionSampling, entropy_term

    recipe = RECIPES[name]
    steps = steps or recipe.steps
    quick = steps <= shared.QUICK
    data = shared.stores(recipe.set, quick, report, recipe.downsample)
    torch.manual_seed(seed)
    classes = len(SETS[recipe.set].classes)
    config = {"classes": classes, "stride": recipe.stride, "patch": recipe.patch}
    net = AttentionSampling(**config)
    generator = torch.Generator().manual_seed(seed)

    def answer(batch: shared.Batch, store: shared.Store, generator: Any) -> tuple[Any, Any]:
        p, index = net.draw(batch.view, recipe.draws, generator)
        where = shared.positions(store, recipe.patch)  # easier pictures may have another size
        patches = store.patches(batch, where[index.numpy()], recipe.patch)
        return p, net.decide(p, index, patches, recipe.gradient)  # type: ignore[arg-type]

    def loss(batch: shared.Batch, step: int, store: shared.Store = data["train"]) -> torch.Tensor:
        p, logits = answer(batch, store, generator)
        return F.cross_entropy(logits, batch.labels) + recipe.entropy * entropy_term(p)

    def measure(split: str, redraws: int) -> dict[str, float]:
        def one(batch: shared.Batch, redraw: int) -> torch.Tensor:
            drawn = torch.Generator().manual_seed(100_003 * redraw + int(batch.index[0]))
            out: torch.Tensor = answer(batch, data[split], drawn)[1]
            return out

        return shared.judge(data[split], one, redraws)

    if recipe.easier:
        more = shared.Store(recipe.easier, "train", recipe.downsample, 6 if quick else None, report)
        shared.fit(
            net, more, lambda batch, step: loss(batch, step, more), seed=seed, report=report,
            steps=2 if quick else recipe.easier_steps, batch=min(recipe.batch, len(more)), rate=recipe.rate,
        )  # fmt: skip
    seconds = shared.fit(
        net, data["train"], loss, steps=steps, batch=recipe.batch, rate=recipe.rate, seed=seed,
        report=report, check=lambda done: report(f"held out: {measure('held-out', 1)}"),
    )  # fmt: skip
    card = shared.facts(name, recipe.set, seed, steps, recipe.batch) | {
        "architecture": "hrviz.nets.attention_sampling.AttentionSampling",
        "config": config,
        "stands_for": "the networks of attention sampling (Katharopoulos and Fleuret, ICML 2019), with "
        "more layers of attention and fewer of features",
        "training": f"{recipe.draws} patches of {recipe.patch} px drawn without replacement, gradient "
        f"{recipe.gradient}, entropy strength {recipe.entropy}"
        + (
            f"; {recipe.easier_steps} steps on the set '{recipe.easier}' before"
            if recipe.easier
            else ""
        ),
        "draws": recipe.draws,
        "seconds": round(seconds),
        "held_out": measure("held-out", REDRAWS),
        "unseen": measure("unseen", REDRAWS),
    }
    report(str({k: card[k] for k in ("held_out", "unseen")}))
    if keep is not None:
        keep(net)
    if write:
        nets.save(name, net, card)
    return card

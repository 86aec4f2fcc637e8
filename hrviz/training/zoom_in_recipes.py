"""Recipes of the Zoom-In networks: which pictures, scales and sizes each is trained with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.search_data import SETS, pictures
from hrviz.training.zoom_in import Material, Plan, Setting, accuracy, fit

REDRAWS = 5
QUICK = 50  # steps up to which a run is only tried


@dataclass(frozen=True)
class Stage:
    """Steps on an easier set, before the set itself.

    With `held`, attentions stay as they are: while features cannot tell what they see apart, the
    estimate of attention's gradient is noise, and attention is lost again. The stage is done again, going
    on from where it was, `tries` times at most, until `enough` of the held-out pictures are right: how
    long nothing is learnt at first differs much from seed to seed. With `shifted`, each picture is moved
    round by a random amount: a large sign of `road` always stands at the right border, and attention
    learnt the border.
    """

    set: str
    steps: int
    rate: float = 2e-3
    held: bool = False
    enough: float = 0.0
    tries: int = 1
    shifted: bool = False


@dataclass(frozen=True)
class Recipe:
    """One network: its set of pictures, where it looks, and how it is trained.

    `before` are stages with more of what is sought: while attention is
    even, one sub-tile of 27 px in twenty shows a cell of `colon`, and training on `colon` alone stayed at
    chance (700 steps). `start` names the network whose attentions training starts with: the ResNet's
    normalised features differ little at first, and it stayed at chance without (350 steps).
    """

    set: str
    setting: Setting
    plan: Plan
    extractor: str = "lenet"
    start: str = ""
    before: tuple[Stage, ...] = ()


RECIPES = {
    "colon-zoom-in": Recipe(
        "colon", Setting(10, 5, (50, 50), 27, 10), Plan(steps=600, rate=2e-3, contrastive=0.5),
        before=(Stage("crowded", 320),),
    ),
    "colon-zoom-in-resnet": Recipe(
        "colon", Setting(10, 5, (50, 50), 27, 10),
        Plan(steps=500, rate=2e-3, contrastive=0.5), "resnet", "colon-zoom-in",
    ),
}  # fmt: skip


def train(
    name: str,
    seed: int = 0,
    steps: int | None = None,
    report: Callable[[str], None] = print,
    write: bool = True,
    start: Any = None,
    keep: Callable[[Any], None] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train one network and write its weights and card; returns the card.

    `start` is a network in place of the recipe's; `keep` is given the trained one; `changes` replace
    parts of the recipe's `Plan`, for ablations.
    """
    import torch

    from hrviz.nets.zoom_in import ZoomIn

    recipe = RECIPES[name]
    plan = replace(recipe.plan, steps=steps or recipe.plan.steps, **changes)
    quick = plan.steps <= QUICK
    clock = time.perf_counter()
    asked = SETS[recipe.set]
    splits = [
        pictures(recipe.set, split, 24 if quick else None, report)
        for split in ("train", "held-out", "unseen")
    ]
    data = [Material(s.pixels, s.labels, recipe.setting) for s in splits]
    torch.manual_seed(seed)
    net = ZoomIn(len(asked.classes), recipe.extractor)  # type: ignore[arg-type]
    first: Any = nets.load(recipe.start) if start is None and recipe.start else start
    if first is not None:
        net.attention.load_state_dict(first.attention.state_dict())
        net.attention_on_tiles.load_state_dict(first.attention_on_tiles.state_dict())
    for stage in recipe.before:
        count = 24 if quick else None
        more = [pictures(stage.set, split, count, report) for split in ("train", "held-out")]
        easier = [
            Material(_moved_round(s.pixels, seed) if stage.shifted else s.pixels, s.labels, recipe.setting)
            for s in more
        ]  # fmt: skip
        warm = replace(plan, steps=2 if quick else stage.steps, rate=stage.rate, contrastive=0.0,
                       held=stage.held, enough=stage.enough)  # fmt: skip
        for again in range(1 if quick else stage.tries):
            report(f"{stage.set}: {warm.steps} steps")
            found = fit(net, easier[0], easier[1], warm, seed + 1000 * again, report)
            if max(h["held_out"] for h in found) >= stage.enough:
                break
    history = fit(net, data[0], data[1], plan, seed, report)
    mean, deviation = accuracy(net, data[2], REDRAWS, seed)
    facts = {
        "name": name,
        "architecture": "hrviz.nets.zoom_in.ZoomIn",
        "config": {"classes": len(asked.classes), "extractor": recipe.extractor},
        "classes": list(asked.classes),
        "setting": asdict(recipe.setting),
        "task": f"which of {', '.join(asked.classes)} a whole picture is (synthetic: not for diagnosis)",
        "data": f"{len(splits[0].labels)} pictures of {asked.size[1]} x {asked.size[0]} px, scene:{asked.scene} split "
        f"train, {asked.params}; class labels only",
        "training": f"both stages end to end, {recipe.setting.draws} draws, cross-entropy, entropy "
        f"{plan.entropy:g} fading out, contrastive {plan.contrastive:g} after {plan.warm_up:.0%} of the "
        "steps; Adam, one-cycle"
        + "".join(
            f"; before, {s.steps} steps on the set '{s.set}'"
            + (" with attentions held" if s.held else "")
            + (" and pictures shifted" if s.shifted else "")
            + (f", up to {s.tries} times" if s.tries > 1 else "")
            for s in recipe.before
        )
        + (f"; attentions started as those of {recipe.start}" if recipe.start else ""),
        "stands_for": "the Zoom-In network at its published size (Kong and Henao, CVPR 2022)",
        "seed": seed,
        "steps": plan.steps,
        "batch": plan.batch,
        "seconds": round(time.perf_counter() - clock),
        "held_out": {
            "accuracy": max(h["held_out"] for h in history), "pictures": len(splits[1].labels),
        },
        "unseen": {
            "accuracy": round(mean, 4), "sd_of_redraws": round(deviation, 4),
            "pictures": len(splits[2].labels), "redraws": REDRAWS,
        },
        "command": f"hrviz train {name} --seed {seed} --steps {plan.steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    report(f"unseen accuracy {mean:.3f}, standard deviation over redraws {deviation:.3f}")
    net.eval()
    if keep is not None:
        keep(net)
    if write:
        nets.save(name, net, facts)
    return facts


def _moved_round(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Pictures (n, h, w, 3), each shifted by a random amount; what leaves on one side comes in on the other."""
    rng = np.random.default_rng(seed)
    by = rng.integers(0, pixels.shape[1:3], size=(len(pixels), 2))
    moved = [np.roll(p, tuple(b), (0, 1)) for p, b in zip(pixels, by, strict=True)]
    return np.stack(moved)

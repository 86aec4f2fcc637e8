"""Trains AGDN's two branches and its fused classifier on capsule endoscopy (`endoscopy-agdn`).

Branch 1 learns to classify the whole picture at 128 x 128. What its last features answer to is the
saliency; the picture at 512 x 512 is warped by it to 128 x 128 for branch 2. As published, the warped
picture is a constant for the training (stop gradient): the sampler is not trained through, and the
attention comes from branch 1's own loss. Lesions cover 1/2000 to 1/100 of the picture, so that many
are a few pixels wide in branch 1's input.

Different from the paper, and said on the card: branches of fewer layers and channels without TLFA,
trained one after the other; features are pooled by their maximum, not their mean, before the
classifiers; and each place of branch 1's 8 x 8 features is also taught what lies there, and the
attention to lie on the lesion, from the scene's truth. In one short trial (250 steps) labels of
whole pictures alone left it at chance (accuracy 0.21 of 0.20), and with places
but without attention taught, the warp enlarged lesions by 1.5 in area only. No consistency (DAC) loss; the released training has none.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.scenes.dataset import FIRST_SEED
from hrviz.training.warping import even_nodes, warp

CLASSES = ("normal", "polyp", "ulcer", "bleeding", "angioectasia")
SOURCE = 512  # px of the picture that is warped
INPUT = 128  # px of both branches
PLACES = 8  # a side, of a branch's features
NODES, FWHM, CELLS = 31, 9.0, 30  # as published
SHARE = 0.5  # of the structured grid
FLOOR = 0.1  # even saliency mixed in, as the method does by default
RATIOS = (0.0005, 0.01)  # a lesion's share of the picture
TRAIN, HELD_OUT = 600, 200
BATCH, STEPS, RATE = 16, 900, 4e-3
CONFIG = {"classes": 5, "growth": 12, "blocks": [3, 5, 5], "channels": 24, "stride": 2}


@lru_cache(maxsize=3)
def pictures(split: str, count: int, side: int = SOURCE) -> tuple[np.ndarray, ...]:
    """Scenes of a split, one class after the other, with lesions of all sizes.

    Returns
    -------
    images : ndarray uint8, (count, side, side, 3)
    labels : ndarray int64, (count,)
        Index into `CLASSES`.
    ratios : ndarray float64, (count,)
        The lesion's share of the picture, evenly spread in the logarithm.
    boxes : ndarray float64, (count, 4)
        Around the lesion, (y0, x0, y1, x1) in pixels; NaN where there is none.
    """
    images, boxes = np.empty((count, side, side, 3), np.uint8), np.full((count, 4), np.nan)
    labels = np.arange(count) % len(CLASSES)
    low, high = np.log(RATIOS)
    ratios = np.exp(np.random.default_rng(FIRST_SEED[split]).uniform(low, high, count))
    for i in range(count):
        image = scene(split, i, CLASSES[labels[i]], ratios[i], side)
        images[i] = (image.view().read((side, side)) * 255 + 0.5).astype(np.uint8)
        if labels[i]:
            boxes[i] = image.truth.boxes().boxes[0]
    return images, labels, ratios, boxes


def places(labels: np.ndarray, boxes: np.ndarray, side: int = SOURCE) -> np.ndarray:
    """What lies at each place of branch 1's features, int64 (n, PLACES, PLACES): the lesion's class
    where it covers the place's centre, or is nearest to it; else 0.
    """
    out = np.zeros((len(labels), PLACES, PLACES), np.int64)
    at = np.arange(PLACES) + 0.5
    for i in np.flatnonzero(labels):
        y0, x0, y1, x1 = boxes[i] * PLACES / side
        rows, columns = (
            np.abs(at - (low + high) / 2) <= max(0.5, (high - low) / 2)
            for low, high in ((y0, y1), (x0, x1))
        )
        out[i, rows[:, None] & columns] = labels[i]
    return out


def scene(split: str, index: int, label: str, ratio: float, side: int) -> Any:
    """Picture `index` of a split as an image, drawn at `side` px (lengths follow the picture)."""
    from hrviz.image import open_image

    lesion = "none" if label == "normal" else label
    return open_image(
        f"scene:endoscopy?width={side}&height={side}&lesion={lesion}&ratio={ratio:.5f}"
        f"&seed={FIRST_SEED[split] + index}"
    )


def nodes_of(saliency: Any, share: float = SHARE) -> tuple[Any, Any]:
    """AGDN's grid: `share` of the structured one and the rest of the custom one (equations 5-8)."""
    from hrviz.methods.downsampling.sampler import saliency_nodes
    from hrviz.methods.downsampling.separable import mix, separable_nodes

    top = saliency.amax((1, 2), keepdim=True)
    shaped = saliency / top
    shaped = (1 - FLOOR) * shaped + FLOOR * shaped.mean((1, 2), keepdim=True)
    structured = separable_nodes(shaped, FWHM, "replicate", "max", (CELLS, CELLS))
    return mix(structured, saliency_nodes(shaped, FWHM, "replicate", CELLS), share)


def _tensor(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255


def even(images: np.ndarray) -> Any:
    """Uniformly downsampled pictures (n, 3, INPUT, INPUT), through the filter of the warped ones."""
    import torch

    return torch.cat([warp(_tensor(part), even_nodes(len(part), NODES), INPUT)
                      for part in np.array_split(images, -(-len(images) // 20))])  # fmt: skip


def warped(images: np.ndarray, saliency: Any, share: float = SHARE) -> Any:
    """Pictures warped by saliency at the nodes (n, NODES, NODES)."""
    import torch

    out = []
    for start in range(0, len(images), 20):
        part = slice(start, start + 20)
        out.append(warp(_tensor(images[part]), nodes_of(saliency[part], share), INPUT))
    return torch.cat(out)


def _turn(rng: np.random.Generator) -> Callable[[Any], Any]:
    """A random one of the eight flips and turns; there is no upright in the gut."""
    import torch

    flip, turns = rng.random() < 0.5, int(rng.integers(4))
    return lambda x: torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))


def _features(branch: Any, x: Any) -> Any:
    import torch

    with torch.no_grad():
        return torch.cat([branch(part) for part in x.split(40)])


def _fit(
    branch: Any, loss: Callable[[Any, Any, Any], Any], parameters: list[Any], x: Any, steps: int,
    rng: np.random.Generator, report: Callable[[str], None], name: str,
) -> None:  # fmt: skip
    """Fit a branch on pictures; `loss` of a batch's features, its indices and how it is turned."""
    import torch

    optimiser = torch.optim.AdamW(parameters, RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    for step in range(steps):
        chosen = torch.from_numpy(rng.choice(len(x), min(BATCH, len(x)), replace=False))
        turn = _turn(rng)
        found = loss(branch(turn(x[chosen])), chosen, turn)
        optimiser.zero_grad(set_to_none=True)
        found.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"{name}, step {step + 1} of {steps}: loss {found.item():.3f}")


def second_branch(
    net: Any, x: Any, features: Any, y: Any, steps: int, rng: np.random.Generator,
    report: Callable[[str], None], name: str,
) -> None:  # fmt: skip
    """Fit branch 2 and the fused classifier on pictures `x`, beginning with branch 1's weights."""
    from torch.nn import functional as F

    net.second.load_state_dict(net.first.state_dict())
    net.second_head.load_state_dict(net.first_head.state_dict())

    def loss(f: Any, chosen: Any, turn: Callable[[Any], Any]) -> Any:
        _, *answers = net.logits(features[chosen], f)
        return sum(F.cross_entropy(a, y[chosen], label_smoothing=0.1) for a in answers)

    own = [*net.second.parameters(), *net.second_head.parameters(), *net.fused_head.parameters()]
    net.second.train()
    _fit(net.second, loss, own, x, steps, rng, report, name)
    net.eval()


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train both branches and the fused classifier, judge on held-out pictures, write them."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.attention_guided import AttentionGuided, attention_of

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    images, labels, _, boxes = pictures("train", 20 if quick else TRAIN)
    report(f"{len(images)} pictures in {time.perf_counter() - clock:.0f} s")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = AttentionGuided(**CONFIG)  # type: ignore[arg-type]
    y = torch.from_numpy(labels)

    there = torch.from_numpy(places(labels, boxes))
    at_places = torch.nn.Conv2d(net.first.channels, len(CLASSES), 1)

    def cross_entropy(logits: Any, chosen: Any) -> Any:
        return F.cross_entropy(logits, y[chosen], label_smoothing=0.1)

    def first_loss(f: Any, chosen: Any, turn: Callable[[Any], Any]) -> Any:
        true = turn(there[chosen])
        local = F.cross_entropy(at_places(f), true, reduction="none")
        lesion = true > 0
        balanced = local[lesion].sum() / (lesion.sum() + 1) + local[~lesion].mean()
        share = (f.mean(1) * lesion).sum((1, 2)) / (f.mean(1).sum((1, 2)) + 1e-6)
        missed = -(share[lesion.any(2).any(1)] + 1e-4).log().sum() / len(f)
        return cross_entropy(net.first_head(f.amax((2, 3))), chosen) + balanced + 0.5 * missed

    x = even(images)
    own = [*net.first.parameters(), *net.first_head.parameters(), *at_places.parameters()]
    _fit(net.first, first_loss, own, x, steps // 2, rng, report, "branch 1")
    net.first.eval()
    features = _features(net.first, x)
    control = copy.deepcopy(net)
    close = warped(images, attention_of(features, (NODES, NODES)))
    second_branch(net, close, features, y, steps - steps // 2, rng, report, "branch 2")
    metrics = _judge(net, quick)
    rng = np.random.default_rng(seed + 2)
    second_branch(control, x, features, y, steps - steps // 2, rng, report, "control")
    metrics |= _judge_control(control, quick)
    report(str(metrics))
    facts = {
        "name": "endoscopy-agdn",
        "architecture": "hrviz.nets.attention_guided.AttentionGuided",
        "config": CONFIG,
        "task": "which lesion a synthetic frame of capsule endoscopy shows (not for diagnosis)",
        "data": f"{len(images)} scene:endoscopy pictures of {SOURCE} px, seeds {FIRST_SEED['train']}.., "
        f"lesions of {RATIOS[0]:g} to {RATIOS[1]:g} of the picture",
        "training": f"branch 1 at {INPUT} px, each place of its features and its attention taught by the truth too; "
        f"its attention warps the {SOURCE} px picture to {INPUT} px (structured share {SHARE:g}, floor {FLOOR:g}, FWHM {FWHM:g}, replicate) for branch 2, with stop gradient; branch 2 starts from branch 1",
        "stands_for": "AGDN with DenseNet branches of 381,390 parameters and TLFA (hrviz.nets.attention_guided.PaperBranch)",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": metrics,
        "command": f"hrviz train endoscopy-agdn --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save("endoscopy-agdn", net, facts)
    return facts


def _judge(net: Any, quick: bool) -> dict[str, Any]:
    """Accuracy on held-out pictures: both branches and both together, and other grids."""
    import torch

    from hrviz.nets.attention_guided import attention_of

    images, labels, ratios, _ = pictures("held-out", 10 if quick else HELD_OUT)
    y = torch.from_numpy(labels)
    small = torch.from_numpy(ratios < np.sqrt(RATIOS[0] * RATIOS[1])) & (y > 0)
    features = _features(net.first, even(images))
    saliency = attention_of(features, (NODES, NODES))
    out: dict[str, Any] = {"pictures": len(images), "chance": 0.2}

    def note(name: str, logits: Any) -> None:
        right = (logits.argmax(1) == y).float()
        out[name] = round(float(right.mean()), 4)
        if small.any():
            out[f"{name}_small_lesions"] = round(float(right[small].mean()), 4)

    for name, share in (("mix", SHARE), ("custom", 0.0), ("structured", 1.0)):
        second = _features(net.second, warped(images, saliency, share))
        with torch.no_grad():
            one, two, fused = net.logits(features, second)
        if name == "mix":
            note("branch_1", one)
        note(f"branch_2_{name}", two)
        note(f"fused_{name}", fused)
    return out


def _judge_control(net: Any, quick: bool) -> dict[str, Any]:
    """Held-out accuracy of a branch 2 that was trained as long, on uniform pictures."""
    import torch

    images, labels, _, _ = pictures("held-out", 10 if quick else HELD_OUT)
    x = even(images)
    with torch.no_grad():
        _, two, both = net.logits(_features(net.first, x), _features(net.second, x))
    return {f"{name}_uniform_control": round(float((a.argmax(1).numpy() == labels).mean()), 4)
            for name, a in (("branch_2", two), ("fused", both))}  # fmt: skip

"""`slide-zoom-in`: the Zoom-In network on whole slides of 1.6 gigapixels, with annotations.

The scales are those of the paper's Camelyon16 experiment (s1 = 1/32, s2 = 1/8, sub-tiles of 50 px, slides
of 45,056 x 35,840 px). Slides are computed as they are read, which is too slow for drawing new
sub-tiles at every step of an end-to-end training from slide labels. This is the paper's extension
to annotated slides, in three steps: both attentions are drawn towards the annotated share under each
position (cross-entropy; the paper's own loss for this is in a supplement that is not known here), then
sub-tiles are drawn by them as at inference, and extractor and classifier learn the slide's label from
their estimate and, sub-tile by sub-tile, whether they are annotated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.scenes.dataset import Split
from hrviz.training.zoom_in import Setting

NAME = "slide-zoom-in"
HEIGHT, WIDTH = 45_056, 35_840
SETTING = Setting(32, 8, (1408, 1120), 50, 24)
SHARES = (0.0, 0.003, 0.0, 0.01, 0.0, 0.03)  # of tumour in the tissue: every second slide is normal
SLIDES = {"train": 30, "held-out": 12, "unseen": 16}
TILES = 6  # around tumour, of every annotated training slide
CLASSES = ("normal", "tumour")
FIRST_STEPS, SECOND_STEPS, BAG_STEPS = 240, 400, 900
QUICK = 50


@dataclass
class Bag:
    """What inference draws from a slide: sub-tiles, their weights in the estimate, their truth."""

    pixels: np.ndarray  # float32 (n, h2, h2, 3)
    weights: np.ndarray  # (n,)
    annotated: np.ndarray  # share of tumour (n,)
    label: int


def slides(split: Split, count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[ImageView]:
    """Slides of a split, normal and with more or less tumour in turn."""
    from hrviz.scenes import dataset

    sets = {
        s: dataset("tissue", split, count, height=size[0], width=size[1], tumour=s)
        for s in set(SHARES)
    }
    return [sets[SHARES[k % len(SHARES)]][k].view() for k in range(count)]


def train(
    seed: int = 0,
    steps: int | None = None,
    report: Callable[[str], None] = print,
    write: bool = True,
) -> dict[str, Any]:
    """Train and write weights and card; `steps` scales all three parts (the last has 900)."""
    import torch

    from hrviz.nets.zoom_in import ZoomIn

    steps = steps or BAG_STEPS
    quick = steps <= QUICK
    clock = time.perf_counter()
    part = steps / BAG_STEPS
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = ZoomIn(2)
    size = (4096, 4096) if quick else (HEIGHT, WIDTH)
    count = {k: 4 if quick else n for k, n in SLIDES.items()}
    shown = slides("train", count["train"], size)
    _learn_first(net, shown, max(2, round(FIRST_STEPS * part)), rng, report)
    _learn_second(net, shown, max(2, round(SECOND_STEPS * part)), rng, report)
    draws = 4 if quick else SETTING.draws
    bags = [_bag(net, view, draws, rng, report) for view in shown]
    judged = [
        _bag(net, view, draws, rng, report) for view in slides("held-out", count["held-out"], size)
    ]
    held_out = _learn_bags(net, bags, judged, steps, rng, report)
    unseen = [
        _bag(net, view, draws, rng, report) for view in slides("unseen", count["unseen"], size)
    ]
    right = np.array([_probability(net, bag).argmax() == bag.label for bag in unseen])
    facts = {
        "name": NAME,
        "architecture": "hrviz.nets.zoom_in.ZoomIn",
        "config": {"classes": 2, "extractor": "lenet"},
        "classes": list(CLASSES),
        "setting": {"first": 32, "second": 8, "tile": list(SETTING.tile), "subtile": 50, "draws": SETTING.draws},
        "task": "whether a whole slide holds tumour (synthetic: not for diagnosis)",
        "data": f"{len(shown)} slides of {size[1]} x {size[0]} px, scene:tissue split train, tumour 0 to 3 % of the "
        "tissue, with their annotation",
        "training": "attentions by cross-entropy with the annotated share; extractor and classifier on sub-tiles "
        "that they draw, by slide label and annotation",
        "stands_for": "the Zoom-In network with pixel-level annotation on Camelyon16 (Kong and Henao, CVPR 2022)",
        "seed": seed,
        "steps": steps,
        "seconds": round(time.perf_counter() - clock),
        "held_out": {"accuracy": held_out, "slides": len(judged)},
        "unseen": {"accuracy": round(float(right.mean()), 4), "slides": len(unseen)},
        "command": f"hrviz train {NAME} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    report(str(facts["unseen"]))
    net.eval()
    if write:
        nets.save(NAME, net, facts)
    return facts


def _tensor(pixels: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _towards(log_p: Any, wanted: np.ndarray) -> Any:
    """Cross-entropy with an annotated share, normalised."""
    import torch

    target = torch.from_numpy(wanted.ravel() / wanted.sum()).float()
    return -(target * log_p).sum()


def _learn_first(net: Any, views: list[ImageView], steps: int, rng: np.random.Generator, report: Callable[[str], None]) -> None:  # fmt: skip
    """Alpha towards the annotation, on views of annotated slides, mirrored at random."""
    import torch

    shown = []
    for view in views:
        size = round(view.height) // SETTING.first, round(view.width) // SETTING.first
        mask = (view.truth.mask(view.box, size) > 0).astype(np.float64)
        if mask.any():
            shown.append(((view.read(size) * 255).astype(np.uint8), mask))
    report(f"{len(shown)} annotated slides read at 1/{SETTING.first}")
    optimiser = torch.optim.Adam(net.attention.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        pixels, mask = shown[rng.integers(len(shown))]
        turn, flip = int(rng.integers(4)), bool(rng.integers(2))
        pixels, mask = (np.rot90(a, turn) for a in (pixels, mask))
        pixels, mask = (a[::-1] if flip else a for a in (pixels, mask))
        scores = net.first(_tensor(pixels[None].astype(np.float32) / 255))
        loss = _towards(torch.log_softmax(scores.flatten(1), 1)[0], np.ascontiguousarray(mask))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 40 == 0:
            report(f"first attention, step {step + 1}: cross-entropy {loss.item():.2f}")


def _learn_second(net: Any, views: list[ImageView], steps: int, rng: np.random.Generator, report: Callable[[str], None]) -> None:  # fmt: skip
    """Beta towards the annotation, on tiles around tumour."""
    import torch

    shown = []
    size = SETTING.tile[0] // SETTING.second, SETTING.tile[1] // SETTING.second
    for view in views:
        boxes, areas = view.truth.lesions(view.box)
        if not len(boxes):
            continue
        chosen = rng.choice(len(boxes), TILES, p=np.sqrt(areas) / np.sqrt(areas).sum())
        for box in np.asarray(boxes)[chosen]:
            middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2 + rng.normal(0, 300, 2)
            y, x = np.round(middle - np.array(SETTING.tile) / 2)
            tile = Box(y, x, y + SETTING.tile[0], x + SETTING.tile[1])
            mask = (view.truth.mask(tile, size) > 0).astype(np.float64)
            if mask.any():
                shown.append((view.read(size, tile), mask))
    report(f"{len(shown)} tiles read at 1/{SETTING.second}")
    optimiser = torch.optim.Adam(net.attention_on_tiles.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        batch = [shown[k] for k in rng.integers(len(shown), size=4)]
        scores = net.second(_tensor(np.stack([p for p, _ in batch])))
        log_p = torch.log_softmax(scores.flatten(1), 1)
        losses = [_towards(log_p[k], mask) for k, (_, mask) in enumerate(batch)]
        loss = sum(losses) / len(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"second attention, step {step + 1}: cross-entropy {loss.item():.2f}")


def _bag(net: Any, view: ImageView, draws: int, rng: np.random.Generator, report: Callable[[str], None]) -> Bag:  # fmt: skip
    """Draw sub-tiles from a slide as inference does, with the attentions as they are."""
    import torch

    from hrviz.methods.zooming import draws as drawing_of
    from hrviz.methods.zooming.stages import Stages

    tile = min(SETTING.tile[0], round(view.height)), min(SETTING.tile[1], round(view.width))
    stages = Stages(view.box, 1 / SETTING.first, 1 / SETTING.second, tile, SETTING.subtile)
    with torch.no_grad():
        scores = net.first(_tensor(view.read(stages.view)[None]))[0].numpy()
        alpha = drawing_of.normalised(scores).ravel()
        sequence = drawing_of.draw(alpha, draws, rng, replacement=True).tolist()
        pixels, weights, annotated = [], [], []
        for position in dict.fromkeys(sequence):
            n = sequence.count(position)
            box = stages.tiles(np.array([position]))[0]
            seen = view.read(stages.tile_view, Box(*box))
            beta = drawing_of.normalised(net.second(_tensor(seen[None]))[0].numpy()).ravel()
            order = drawing_of.draw(beta, n, rng)
            squares = stages.subtiles(box, order)
            side = (SETTING.subtile, SETTING.subtile)
            pixels += [view.read(side, Box(*s)) for s in squares]
            own = drawing_of.terms(beta, order, np.eye(len(order))).mean(0)
            weights += (n / draws * own).tolist()
            annotated += [float((view.truth.mask(Box(*s), (10, 10)) > 0).mean()) for s in squares]
    label = CLASSES.index(str(view.truth.label))
    report(
        f"{view.image.name}: {CLASSES[label]}, {np.mean(np.array(annotated) > 0.5):.0%} of sub-tiles in tumour"
    )
    return Bag(np.stack(pixels), np.array(weights), np.array(annotated), label)


def _logits(net: Any, bag: Bag, chosen: np.ndarray | None = None) -> tuple[Any, Any]:
    """The slide's logits from a bag (or a part of it, evenly weighted), and each sub-tile's own."""
    import torch

    at = np.arange(len(bag.weights)) if chosen is None else chosen
    weights = bag.weights[at] if chosen is None else np.full(len(at), 1 / len(at))
    features = net.encode(_tensor(bag.pixels[at]))
    mean = (torch.from_numpy(weights).float()[:, None] * features).sum(0, keepdim=True)
    return net.classify(mean), net.classify(features)


def _probability(net: Any, bag: Bag) -> np.ndarray:
    import torch

    net.eval()
    with torch.no_grad():
        found = torch.softmax(_logits(net, bag)[0][0], 0).numpy()
    net.train()
    return np.asarray(found)


def _learn_bags(net: Any, bags: list[Bag], judged: list[Bag], steps: int, rng: np.random.Generator,
                report: Callable[[str], None]) -> float:  # fmt: skip
    """Extractor and classifier from bags; the state that is best on the held-out ones stays."""
    import torch
    from torch.nn import functional as F

    parameters = [*net.features.parameters(), *net.classifier.parameters()]
    optimiser = torch.optim.Adam(parameters, 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for step in range(steps):
        loss: Any = 0.0
        for k in rng.integers(len(bags), size=4):
            bag = bags[k]
            some = rng.choice(len(bag.weights), max(1, len(bag.weights) // 2), replace=False)
            turned = Bag(np.rot90(bag.pixels, int(rng.integers(4)), (1, 2)), bag.weights, bag.annotated, bag.label)  # fmt: skip
            whole, each = _logits(net, turned, some)
            own = torch.from_numpy((bag.annotated[some] > 0.5).astype(np.int64))
            loss = (
                loss
                + F.cross_entropy(whole, torch.tensor([bag.label]))
                + F.cross_entropy(each, own)
            )
        optimiser.zero_grad()
        (loss / 4).backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % max(1, steps // 9) == 0:
            right = float(np.mean([_probability(net, bag).argmax() == bag.label for bag in judged]))
            report(
                f"step {step + 1}: loss {float(loss.detach()) / 4:.3f}, held-out accuracy {right:.3f}"
            )
            if right >= best[0]:
                best = right, {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(best[1])
    return best[0]

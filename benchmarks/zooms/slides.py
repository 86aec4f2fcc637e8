"""The counterpart of the paper's Table 2: is there tumour in a slide of 1.6 gigapixels, or of ten?

Rows: a linear discriminant on the mean colour of a thumbnail; a convolutional network on a thumbnail (1/128), trained
on the same slides; as many sub-tiles as the Zoom-In network looks at, drawn evenly from the tissue and judged by its
own extractor and classifier; and the Zoom-In network (`slide-zoom-in`, trained with pixel annotations) as the product
runs it. Slides are those of the recipe: every second is normal, the others hold 0.3, 1 or 3 % of tumour. The paper's
memory (71.76 MB) is of its LeNet at the same scales.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from hrviz import nets
from hrviz.cost.memory import predict_inference
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.training import slide_zoom_in as recipe
from hrviz.training.search_training import as_input

from .baselines import WholeNet

THUMBNAIL = 128  # level-0 px per px
STEPS, BATCH = 400, 2
LARGE = (100_000, 100_000)
GLASS = 0.04  # saturation below which there is no tissue

Report = Callable[[str], None]


def rows(count: int, large: int, quick: bool, report: Report) -> list[dict[str, Any]]:
    """Judge on `count` unseen slides of 45,056 x 35,840 px, and Zoom-In on `large` larger ones."""
    size = (4096, 4096) if quick else (recipe.HEIGHT, recipe.WIDTH)
    unseen = recipe.slides("unseen", count, size)
    report(f"thumbnails of {len(unseen)} unseen slides")
    thumbs = [_thumbnail(v) for v in unseen]
    train = recipe.slides("train", 4 if quick else recipe.SLIDES["train"], size)
    report(f"thumbnails of {len(train)} training slides")
    learnt = [_thumbnail(v) for v in train]
    labels, truth = _labels(train), _labels(unseen)
    net, seconds = _thumbnail_net(learnt, labels, 4 if quick else STEPS, report)
    found = [
        _row("mean colour, linear", _by_colour(learnt, labels, thumbs) == truth),
        _row(f"CNN, thumbnail 1/{THUMBNAIL}", _judged(net, thumbs) == truth, seconds=seconds,
             memory=predict_inference(net, (1, 3, *thumbs[0].shape[:2])), share=1 / THUMBNAIL**2),
        _row("random sub-tiles of tissue, Zoom-In's classifier", _random(unseen, report) == truth,
             share=recipe.SETTING.draws * recipe.SETTING.subtile**2 / (size[0] * size[1])),
        _zoomed("Zoom-In (LeNet, pixel labels)", unseen, report),
    ]  # fmt: skip
    if large:
        bigger = recipe.slides("unseen", large, (8192, 8192) if quick else LARGE)
        found.append(_zoomed(f"Zoom-In, slides of {bigger[0].width / 1000:.0f} x {bigger[0].height / 1000:.0f} kpx", bigger, report))  # fmt: skip
    return found


def _row(arm: str, right: np.ndarray, **more: float) -> dict[str, Any]:
    n = len(right)
    p = (right.sum() + 2) / (n + 4)  # Agresti and Coull
    half = 1.96 * float(np.sqrt(p * (1 - p) / (n + 4)))
    return {"arm": arm, "accuracy": float(right.mean()), "spread": half, "slides": n, **more}


def _labels(views: list[ImageView]) -> np.ndarray:
    return np.array([recipe.CLASSES.index(str(v.truth.label)) for v in views])


def _thumbnail(view: ImageView) -> np.ndarray:
    size = round(view.height) // THUMBNAIL, round(view.width) // THUMBNAIL
    return (view.read(size) * 255).astype(np.uint8)


def _by_colour(learnt: list[np.ndarray], labels: np.ndarray, thumbs: list[np.ndarray]) -> np.ndarray:  # fmt: skip
    x, unseen = (
        np.column_stack([[t.mean((0, 1)) / 255 for t in some], np.ones(len(some))]) for some in (learnt, thumbs)
    )  # fmt: skip
    weights = np.linalg.lstsq(x, np.eye(2)[labels], rcond=None)[0]
    return np.asarray((unseen @ weights).argmax(1))


def _thumbnail_net(
    learnt: list[np.ndarray], labels: np.ndarray, steps: int, report: Report
) -> tuple[WholeNet, float]:
    torch.manual_seed(0)
    rng, net, clock = np.random.default_rng(0), WholeNet(2), time.perf_counter()
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    net.train()
    for step in range(steps):
        index = rng.choice(len(learnt), BATCH)
        flips = [slice(None, None, 1 - 2 * int(k)) for k in rng.integers(0, 2, 2)]
        x = as_input(np.stack([learnt[k][flips[0], flips[1]] for k in index]))
        loss = F.cross_entropy(net(x), torch.from_numpy(labels[index]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"thumbnail network, step {step + 1} of {steps}: loss {loss.item():.3f}")
    return net.eval(), time.perf_counter() - clock


@torch.no_grad()
def _judged(net: WholeNet, thumbs: list[np.ndarray]) -> np.ndarray:
    return np.array([int(net(as_input(t[None])).argmax()) for t in thumbs])


@torch.no_grad()
def _random(views: list[ImageView], report: Report) -> np.ndarray:
    """Zoom-In's answer when its sub-tiles are drawn evenly from the tissue."""
    net, s, out = nets.load(recipe.NAME), recipe.SETTING, []
    for k, view in enumerate(views):
        rng = np.random.default_rng(k)
        low = view.read((round(view.height) // s.first, round(view.width) // s.first))
        tissue = np.argwhere(low.max(2) - low.min(2) > GLASS)
        corners = (tissue[rng.integers(len(tissue), size=s.draws)] + 0.5) * s.first - s.subtile / 2
        pixels = [view.read((s.subtile,) * 2, Box(y, x, y + s.subtile, x + s.subtile)) for y, x in corners]  # fmt: skip
        features = net.encode(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous())
        out.append(int(net.classify(features.mean(0, keepdim=True)).argmax()))
        if (k + 1) % 10 == 0:
            report(f"random sub-tiles: {k + 1} of {len(views)} slides")
    return np.array(out)


def _zoomed(arm: str, views: list[ImageView], report: Report) -> dict[str, Any]:
    """The Zoom-In network as the product runs it."""
    import hrviz

    right, shares, memory, seconds, flops = [], [], [], [], []
    for k, view in enumerate(views):
        clock = time.perf_counter()
        run = hrviz.apply("zoom-in-network", view.image, task="slide label", draws=recipe.SETTING.draws, redraws=1)  # fmt: skip
        seconds.append(time.perf_counter() - clock)
        values = run["prediction"].values
        told = max(recipe.CLASSES, key=lambda name: values[name])
        right.append(told == str(view.truth.label))
        shares.append(run["tree"].totals()["share_of_exhaustive"])
        memory.append(run.cost["network_memory"].value)
        flops.append(run.cost["flops"].value)
        if (k + 1) % 5 == 0:
            report(f"{arm}: {k + 1} of {len(views)} slides, {np.mean(right):.0%} right")
    return _row(arm, np.array(right), memory=max(memory), share=float(np.mean(shares)),
                flops=float(np.mean(flops)), seconds_per_slide=float(np.median(seconds)))  # fmt: skip


def table(found: list[dict[str, Any]]) -> str:
    """Rows as text."""
    lines = [f"{'':50} {'accuracy':>8} {'+-':>6} {'slides':>6} {'network MB':>10} {'pixels':>9} {'GFLOP':>6} {'s':>5}"]  # fmt: skip
    for r in found:
        cells = [
            f"{r['arm']:50}",
            f"{r['accuracy']:8.3f}",
            f"{r['spread']:6.3f}",
            f"{r['slides']:6d}",
        ]
        for key, scale, form in (("memory", 1e-6, "10.2f"), ("share", 1, "9.3%"), ("flops", 1e-9, "6.2f"),
                                 ("seconds_per_slide", 1, "5.1f")):  # fmt: skip
            cells.append(
                format(r[key] * scale, form) if key in r else " " * int(form.split(".")[0])
            )
        lines.append(" ".join(cells))
    return "\n".join(lines)

"""How Zoom-In networks are trained: both stages end to end, from image labels alone.

Each step draws N tiles with replacement from alpha, looks at them at the second scale, draws as
many sub-tiles without replacement from each tile's beta as the tile was drawn, and classifies the
unbiased estimate of equation 5. Gradients of both attentions are those of the expectation (score
function, `hrviz.nets.sampling`). The loss is cross-entropy, minus an entropy term on both
attentions, and, after a warm-up, the contrastive loss: sub-tiles of positive images drawn from
1 - alpha and 1 - beta must be called negative. With annotations, alpha and beta are also drawn
towards the share of annotated pixels under each position (the paper's extension, whose loss is in
its supplement and not known here: cross-entropy is taken).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hrviz.nets.sampling import brackets, gumbel_top
from hrviz.nets.zoom_in import WIDTH, ZoomIn, entropy, inverted


@dataclass(frozen=True)
class Setting:
    """Scales and sizes of one trained network; each side a whole number of lattice steps.

    Parameters
    ----------
    first, second : int
        Level-0 pixels a pixel of the view (1/s1) and of a tile's view (1/s2); `first` is a multiple
        of `second`.
    tile : (int, int), px
        A multiple of `second`.
    subtile : int, px
    draws : int
    """

    first: int
    second: int
    tile: tuple[int, int]
    subtile: int
    draws: int


class Material:
    """Pictures with their views at both scales, from which tiles' views and sub-tiles are cut.

    Beyond a picture everything is white, as `ImageView.read` gives it.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, setting: Setting) -> None:
        self.pixels, self.setting = pixels, setting
        self.labels = torch.from_numpy(np.asarray(labels))
        n, h, w = pixels.shape[:3]
        a, b = setting.first, setting.second
        self.view = h // a, w // a
        rows, columns = self.view
        views = np.empty((n, 3, rows, columns), np.uint8)
        margin = tuple(side // 2 // b + 1 for side in setting.tile)
        lattice = np.full((n, 3, h // b + 2 * margin[0], w // b + 2 * margin[1]), 255, np.uint8)
        for k in range(n):
            views[k] = _reduced(pixels[k], a)
            inner = _reduced(pixels[k], b)
            lattice[
                k, :, margin[0] : margin[0] + inner.shape[1], margin[1] : margin[1] + inner.shape[2]
            ] = inner
        self.views, self.lattice, self.margin = (
            torch.from_numpy(views),
            torch.from_numpy(lattice),
            margin,
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def origins(self, positions: np.ndarray) -> np.ndarray:
        """Left upper corners (n, 2) of tiles at flat positions of the view, level-0 px."""
        row, column = np.divmod(positions, self.view[1])
        s = self.setting
        half = np.array(s.tile) / 2
        centre = np.stack([(row + 0.5) * s.first, (column + 0.5) * s.first], 1)
        return np.floor(centre - half + 0.5).astype(int)

    def tile_views(self, images: np.ndarray, positions: np.ndarray) -> Tensor:
        """Views (n, 3, u, v) in 0..1 of tiles at their positions."""
        b = self.setting.second
        u, v = (side // b for side in self.setting.tile)
        corner = self.origins(positions) // b + np.array(self.margin)
        return torch.stack([
            self.lattice[k, :, y : y + u, x : x + v]
            for k, (y, x) in zip(images, corner, strict=True)
        ]).float() / 255  # fmt: skip

    def subtiles(self, images: np.ndarray, tiles: np.ndarray, inside: np.ndarray) -> Tensor:
        """Sub-tiles (n, 3, h2, h2) in 0..1, at positions `inside` the views of tiles."""
        s = self.setting
        v = s.tile[1] // s.second
        row, column = np.divmod(inside, v)
        at = np.stack([(row + 0.5) * s.second, (column + 0.5) * s.second], 1) + self.origins(tiles)
        corner = np.floor(at - s.subtile / 2 + 0.5).astype(int)
        h, w = self.pixels.shape[1:3]
        out = np.full((len(images), s.subtile, s.subtile, 3), 255, np.uint8)
        for o, k, (y, x) in zip(out, images, corner, strict=True):
            y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + s.subtile, h), min(x + s.subtile, w)
            if y1 > y0 and x1 > x0:
                o[y0 - y : y1 - y, x0 - x : x1 - x] = self.pixels[k, y0:y1, x0:x1]
        return torch.from_numpy(out).permute(0, 3, 1, 2).float() / 255


def _reduced(pixels: np.ndarray, by: int) -> np.ndarray:
    """Area average by a whole factor, (3, h // by, w // by) uint8."""
    h, w = pixels.shape[0] // by, pixels.shape[1] // by
    cut = np.asarray(pixels[: h * by, : w * by], np.float32)
    mean = cut.reshape(h, by, w, by, 3).mean((1, 3))
    return np.asarray(np.round(mean).astype(np.uint8).transpose(2, 0, 1))


@dataclass
class Look:
    """One pass of a batch: logits (b, classes), log-probabilities of both stages, what was drawn.

    `mean` is the mean feature of all sub-tiles drawn.
    """

    logits: Tensor
    log_alpha: Tensor
    log_beta: Tensor
    owners: np.ndarray
    tiles: np.ndarray
    mean: Tensor


def look(
    net: ZoomIn,
    data: Material,
    images: np.ndarray,
    generator: torch.Generator,
    contrastive: bool = False,
    baseline: Tensor | None = None,
) -> Look:
    """Draw, estimate and classify a batch of images; `contrastive` draws where attention is low.

    `baseline` is a mean feature from earlier batches, which makes the gradient of both attentions
    vary less (`brackets`).
    """
    s = data.setting
    views = data.views[images].float() / 255
    log_alpha = torch.log_softmax(net.first(views).flatten(1), 1)
    drawn_from = inverted(log_alpha) if contrastive else log_alpha
    drawn = torch.multinomial(drawn_from.detach().exp(), s.draws, True, generator=generator)
    owners, tiles, counts = [], [], []
    for b, row in enumerate(drawn.numpy()):
        unique, count = np.unique(row, return_counts=True)
        owners += [b] * len(unique)
        tiles += unique.tolist()
        counts += count.tolist()
    owner, tile, count = np.array(owners), np.array(tiles), np.array(counts)
    log_beta = torch.log_softmax(net.second(data.tile_views(images[owner], tile)).flatten(1), 1)
    second_from = inverted(log_beta) if contrastive else log_beta
    most = int(min(count.max(), log_beta.shape[1]))
    order = gumbel_top(second_from, most, generator)
    kept = torch.arange(most)[None] < torch.from_numpy(count)[:, None]
    rows, places = np.nonzero(kept.numpy())
    inside = order.numpy()[rows, places]
    found = net.encode(data.subtiles(images[owner[rows]], tile[rows], inside))
    features = torch.zeros(len(tile), most, found.shape[1]).index_put(
        (torch.from_numpy(rows), torch.from_numpy(places)), found
    )
    shares = torch.from_numpy(count / s.draws)
    pooled = pool(drawn_from, second_from, owner, tile, order, kept, shares, features, baseline)
    return Look(net.classify(pooled), log_alpha, log_beta, owner, tile, found.detach().mean(0))


def pool(
    log_first: Tensor,
    log_second: Tensor,
    owner: np.ndarray,
    tile: np.ndarray,
    order: Tensor,
    kept: Tensor,
    shares: Tensor,
    features: Tensor,
    baseline: Tensor | None = None,
) -> Tensor:
    """The two-stage estimate of equation 5's sum, with an unbiased gradient in both attentions.

    Parameters
    ----------
    log_first : Tensor (b, h w)
        Log-probabilities that tiles were drawn from, with replacement.
    log_second : Tensor (t, u v)
        Of each distinct tile, that sub-tiles were drawn from, without replacement.
    owner, tile : ndarray of int (t,)
        Image and position of each distinct tile.
    order : Tensor int (t, n)
        Sub-tiles in the order drawn; `kept` (t, n) says which of them are used, the first of each.
    shares : Tensor (t,)
        n_c / N.
    features : Tensor (t, n, d)
    baseline : Tensor (d,), optional

    Returns
    -------
    Tensor (b, d)
    """
    each = brackets(log_second, order, features, baseline=baseline) * kept[..., None]
    mean = each.sum(1) / kept.sum(1, keepdim=True)
    chosen = log_first[torch.from_numpy(owner), torch.from_numpy(tile)]
    apart = mean.detach() if baseline is None else mean.detach() - baseline
    held = apart * (chosen - chosen.detach())[:, None]
    parts = shares[:, None].to(mean.dtype) * (mean + held)
    out = parts.new_zeros(len(log_first), parts.shape[1])
    return out.index_add(0, torch.from_numpy(owner), parts)


def accuracy(net: ZoomIn, data: Material, redraws: int = 1, seed: int = 0) -> tuple[float, float]:
    """Share of right answers, mean and standard deviation over redraws of all draws."""
    net.eval()
    shares = []
    with torch.no_grad():
        for r in range(redraws):
            generator = torch.Generator().manual_seed(seed + r)
            right = 0
            for start in range(0, len(data), 32):
                images = np.arange(start, min(start + 32, len(data)))
                logits = look(net, data, images, generator).logits
                right += int((logits.argmax(1) == data.labels[images]).sum())
            shares.append(right / len(data))
    net.train()
    return float(np.mean(shares)), float(np.std(shares))


def settle(
    net: ZoomIn, data: Material, batch: int, generator: torch.Generator, batches: int = 8
) -> None:
    """Mean and variance of normalised features anew, over sub-tiles as attention draws them now.

    While attention moves and contrastive draws look elsewhere, running ones lag behind: networks that
    were right on every picture judged by them fell to chance for a while. The LeNet has none.
    """
    normalised = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if not normalised:
        return
    usual = [m.momentum for m in normalised]
    for m in normalised:
        m.reset_running_stats()
        m.momentum = None  # the mean over all batches
    net.train()
    with torch.no_grad():
        for _ in range(batches):
            images = torch.randperm(len(data), generator=generator)[:batch].numpy()
            look(net, data, images, generator)
    for m, momentum in zip(normalised, usual, strict=True):
        m.momentum = momentum


@dataclass(frozen=True)
class Plan:
    """How long and how: steps, batch, rate, strength of the entropy and contrastive terms.

    With `held`, attentions stay as they are and only what looks at sub-tiles learns. The state with the
    best held-out accuracy is kept if that is at least `enough`, else the last: a training that has not
    begun to learn is no better at any of its steps, but nearer to it at the end.
    """

    steps: int = 900
    batch: int = 16
    rate: float = 1e-3
    entropy: float = 1e-2
    contrastive: float = 1.0
    warm_up: float = 0.3  # share of the steps before the contrastive loss starts
    held: bool = False
    enough: float = 0.0


def fit(
    net: ZoomIn,
    train: Material,
    held_out: Material,
    plan: Plan,
    seed: int,
    report: Callable[[str], None],
    annotations: tuple[Tensor, Callable[[np.ndarray, np.ndarray], Tensor]] | None = None,
) -> list[dict[str, float]]:
    """Train in place; the state with the best held-out accuracy stays (see `Plan`). Returns the history."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    attentions = [*net.attention.parameters(), *net.attention_on_tiles.parameters()]
    for parameter in attentions:
        parameter.requires_grad_(not plan.held)
    optimiser = torch.optim.Adam(net.parameters(), plan.rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=plan.steps, pct_start=0.1
    )
    history: list[dict[str, float]] = []
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    every = max(1, plan.steps // 12)
    seen = 0.0
    baseline = torch.zeros(WIDTH)
    for step in range(plan.steps):
        images = rng.choice(len(train), plan.batch, replace=False)
        labels = train.labels[images]
        found = look(net, train, images, generator, baseline=baseline)
        baseline = found.mean if step == 0 else 0.9 * baseline + 0.1 * found.mean
        loss = F.cross_entropy(found.logits, labels)
        fading = plan.entropy * (1 - step / plan.steps)
        loss = loss - fading * (entropy(found.log_alpha).mean() + entropy(found.log_beta).mean())
        positive = labels > 0
        if plan.contrastive and step >= plan.warm_up * plan.steps and bool(positive.any()):
            against = look(net, train, images[positive.numpy()], generator, True, baseline)
            loss = loss + plan.contrastive * F.cross_entropy(
                against.logits, torch.zeros(len(against.logits), dtype=torch.long)
            )
        if annotations is not None:
            first, second = annotations
            loss = loss + _towards(found.log_alpha, first[images])
            loss = loss + _towards(found.log_beta, second(images[found.owners], found.tiles))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        seen = 0.95 * seen + 0.05 * float(loss.detach()) if step else float(loss.detach())
        if (step + 1) % every == 0 or step + 1 == plan.steps:
            settle(net, train, plan.batch, torch.Generator().manual_seed(seed))
            right, _ = accuracy(net, held_out, seed=seed)
            history.append({"step": step + 1, "loss": seen, "held_out": right})
            report(f"step {step + 1}: loss {seen:.3f}, held-out accuracy {right:.3f}")
            if right >= best[0]:
                best = right, {k: v.clone() for k, v in net.state_dict().items()}
    if best[0] >= plan.enough:
        net.load_state_dict(best[1])
    for parameter in attentions:
        parameter.requires_grad_(True)
    return history


def _towards(log_p: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy between attention and the annotated share, of those with any annotation."""
    mass = wanted.sum(1)
    if not bool((mass > 0).any()):
        return log_p.new_zeros(())
    target = wanted[mass > 0] / mass[mass > 0][:, None]
    return -(target * log_p[mass > 0]).sum(1).mean()

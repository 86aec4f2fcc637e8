"""What methods that zoom are measured against: a network on everything, on less of it, on all patches.

`WholeNet` is the naive baseline of attention sampling's and the Zoom-In paper's colon experiments: a
ResNet of eight layers and 32 channels on the whole picture (1.81 G multiply-accumulates at 500 px; the
paper's table says 1.83 GFLOP). It is also run on the uniformly downsampled picture. `PatchVote` cuts
the picture into patches, classifies each of them, and takes the mean, or the largest, of their logits;
trained from the picture's class alone, its patches seen by the same features as iterative patch
selection's.

`by_colour` is a control: a linear discriminant on the mean colour of the picture. Where it is right, no
method needs to look for anything.

Trainings are short: every network sees the same number of pixels (`PIXELS`), at most `MOST_STEPS` batches, so full
pictures are seen a few hundred times and small ones thousands of times. That is equal effort, not equal steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrviz.methods.zooming.memory_loop import starts
from hrviz.nets.attention_sampling import PatchFeatures, TrafficFeatures
from hrviz.training import search_training as shared
from hrviz.training.search_data import SETS, pictures

PIXELS = 160e6  # network pixels of a training, forwards: at most some five minutes of one thread
MOST_STEPS = 600
RATE = 4e-3


class WholeNet(TrafficFeatures):
    """A picture (b, 3, h, w) of any size to logits: seven 3 x 3 convolutions, mean, linear."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.first(2 * x - 1))).relu()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class PatchVote(nn.Module):
    """All patches (n, 3, p, p) of a picture to its logits (1, classes).

    Parameters
    ----------
    pooling : {'mean', 'max'}
        Of the patches' logits.
    """

    def __init__(self, classes: int, stride: int, pooling: str, width: int = 32) -> None:
        super().__init__()
        self.features, self.head = PatchFeatures(width, stride), nn.Linear(width, classes)
        self.pooling = pooling

    def votes(self, patches: Tensor) -> Tensor:
        """Logits (n, classes) of patches."""
        out: Tensor = self.head(self.features(patches))
        return out

    def pool(self, votes: Tensor) -> Tensor:
        """Logits (b, classes) from votes (b, n, classes)."""
        return votes.mean(1) if self.pooling == "mean" else votes.amax(1)

    def forward(self, patches: Tensor) -> Tensor:
        return self.pool(self.votes(patches)[None])


class Even:
    """A split of a set, every picture averaged down to one size; the full size is not copied."""

    def __init__(
        self, name: str, split: Any, size: tuple[int, int], count: int | None,
        report: Callable[[str], None],
    ) -> None:  # fmt: skip
        found = pictures(name, split, count, report)
        self.labels, self.turned = found.labels, name in shared.TURNED
        self.views: np.ndarray = found.pixels
        if size != found.pixels.shape[1:3]:
            self.views = np.stack([smaller(p, size) for p in found.pixels])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: np.ndarray, rng: np.random.Generator | None = None) -> shared.Batch:
        """Pictures by index, turned at random with `rng`."""
        turns = np.zeros((len(index), 3), bool)
        if rng is not None and self.turned:
            turns = rng.random(turns.shape) < 0.5
        views = [shared.turn(self.views[k], t) for k, t in zip(index, turns, strict=True)]
        return shared.Batch(
            index, turns, shared.as_input(np.stack(views)), torch.from_numpy(self.labels[index])
        )


def smaller(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Area average of a picture (h, w, 3) uint8 to `size`."""
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    out = F.adaptive_avg_pool2d(x, size)[0].permute(1, 2, 0).round()
    return np.asarray(out.byte().numpy())


def steps_of(pixels: float, batch: int) -> int:
    """Steps until `PIXELS` are seen."""
    return int(min(MOST_STEPS, max(20, PIXELS // (pixels * batch))))


def whole(
    name: str, size: tuple[int, int], seed: int, steps: int | None, report: Callable[[str], None]
) -> tuple[WholeNet, dict[str, Any]]:
    """Train and judge the convolutional network on pictures of `size`."""
    torch.manual_seed(seed)
    net = WholeNet(len(SETS[name].classes))
    area = size[0] * size[1]
    batch = 2 if area > 6e5 else 4 if area > 2e5 else 8 if area > 3e4 else 16
    quick = steps is not None and steps <= shared.QUICK
    data = [Even(name, s, size, 6 if quick else None, report) for s in ("train", "unseen")]

    def loss(some: shared.Batch, step: int) -> Tensor:
        return F.cross_entropy(net(some.view), some.labels, label_smoothing=shared.SOFT)

    seconds = shared.fit(
        net, data[0], loss, steps=steps or steps_of(area, batch), batch=batch, rate=RATE, seed=seed,  # type: ignore[arg-type]
        report=report,
    )  # fmt: skip
    told = shared.judge(data[1], lambda some, _: net(some.view), 1, batch=4)  # type: ignore[arg-type]
    return net, {**told, "seconds": seconds}


def grid(name: str, patch: int) -> np.ndarray:
    """Corners (n, 2) of the patches that cover a picture of a set, the last moved back inside."""
    lines = [starts(n, patch, patch).astype(int) for n in SETS[name].size]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)


def vote(net: PatchVote, store: shared.Store, batch: shared.Batch, where: np.ndarray, patch: int) -> Tensor:  # fmt: skip
    """Logits (b, classes) of pictures from all their patches."""
    b, n = len(batch.index), len(where)
    patches = store.patches(batch, np.broadcast_to(where, (b, n, 2)), patch)
    return net.pool(net.votes(patches.flatten(0, 1)).view(b, n, -1))


def voting(
    name: str, patch: int, stride: int, pooling: str, seed: int, steps: int | None,
    report: Callable[[str], None],
) -> tuple[PatchVote, dict[str, Any]]:  # fmt: skip
    """Train and judge the classifier of patches."""
    torch.manual_seed(seed)
    net = PatchVote(len(SETS[name].classes), stride, pooling)
    where, batch = grid(name, patch), 8
    quick = steps is not None and steps <= shared.QUICK
    count = 6 if quick else None
    data = [shared.Store(name, s, 4, count, report) for s in ("train", "unseen")]

    def loss(some: shared.Batch, step: int) -> Tensor:
        return F.cross_entropy(
            vote(net, data[0], some, where, patch), some.labels, label_smoothing=shared.SOFT
        )

    # its first convolution strides, so a pixel costs less than one of `WholeNet`
    planned = steps_of(len(where) * patch**2 / 6, batch)
    seconds = shared.fit(
        net, data[0], loss, steps=steps or planned, batch=batch, rate=RATE / 2, seed=seed, report=report,
    )  # fmt: skip
    told = shared.judge(data[1], lambda some, _: vote(net, data[1], some, where, patch), 1, batch=4)
    return net, {**told, "seconds": seconds}


def by_colour(name: str, quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Accuracy on unseen pictures of a linear discriminant on their mean colour."""
    data = []
    for split, count in (("train", 160), ("unseen", SETS[name].counts["unseen"])):
        found = pictures(name, split, 12 if quick else count, report)  # type: ignore[arg-type]
        means = [np.asarray(p[::2, ::2], np.float64).mean((0, 1)) / 255 for p in found.pixels]
        data.append((np.column_stack([means, np.ones(len(means))]), found.labels))
    (x, labels), (unseen, truth) = data
    weights = np.linalg.lstsq(x, np.eye(len(SETS[name].classes))[labels], rcond=None)[0]
    right = (unseen @ weights).argmax(1) == truth
    return {"accuracy": float(right.mean()), "pictures": len(right)}

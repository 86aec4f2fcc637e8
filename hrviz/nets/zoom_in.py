"""The Zoom-In network's four parts (Kong and Henao, CVPR 2022), at the published sizes.

Two attention networks of three convolutions look at low-resolution views; a feature extractor looks
at full-resolution sub-tiles; a linear classifier sees the attended mean of their features. The
parts are called one by one (`first`, `second`, `encode`, `classify`), for no more than one view,
one tile or one batch of sub-tiles is ever in memory together.

Notes
-----
Sizes as in the published implementation, where they agree with the paper: attention 881 parameters
each, LeNet 45,984 or ResNet 133,296, classifier 48 x classes + classes. In that implementation the
first stage scores whole tiles of a grid; here, as in the paper's equation 1, it scores every pixel
of the view.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 48  # of the features
REACH = 3  # pixels a view attention sees beyond its own
Extractor = Literal["lenet", "resnet"]


class ViewAttention(nn.Sequential):
    """A view (b, 3, h, w) to one score a pixel (b, h, w): 3 x 3 convolutions 3-8-8-1."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(8, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(2 * x - 1)
        return out[:, 0]


class LeNet(nn.Sequential):
    """Sub-tiles (b, 3, h, w) to features (b, 48) of length 1."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 36, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(36, WIDTH, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(super().forward(2 * x - 1).mean((2, 3)), dim=1)


class _Block(nn.Module):
    """A residual block with its activation first; a 1 x 1 convolution where the stride is not 1."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.short = nn.Conv2d(WIDTH, WIDTH, 1, stride, bias=False) if stride > 1 else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, stride, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        out: Tensor = self.body(x) + self.short(x)
        return out


class ResNet(nn.Module):
    """Sub-tiles (b, 3, h, w) to features (b, 48) of length 1, through three residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(_Block(2), _Block(2), _Block(2))
        self.last = nn.Sequential(nn.BatchNorm2d(WIDTH), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out = self.last(self.blocks(self.stem(2 * x - 1)))
        return F.normalize(out.mean((2, 3)), dim=1)


EXTRACTORS = {"lenet": LeNet, "resnet": ResNet}


class ZoomIn(nn.Module):
    """All parts.

    Parameters
    ----------
    classes : int
    extractor : {'lenet', 'resnet'}
    """

    def __init__(self, classes: int = 2, extractor: Extractor = "lenet") -> None:
        super().__init__()
        self.attention = ViewAttention()
        self.attention_on_tiles = ViewAttention()
        self.features = EXTRACTORS[extractor]()
        self.classifier = nn.Linear(WIDTH, classes)

    def first(self, view: Tensor) -> Tensor:
        """Scores (b, h, w) of the view's pixels; their softmax is alpha (equation 1)."""
        out: Tensor = self.attention(view)
        return out

    def second(self, tiles: Tensor) -> Tensor:
        """Scores (b, u, v) of the pixels of tiles' views; the softmax of each is beta (equation 4)."""
        out: Tensor = self.attention_on_tiles(tiles)
        return out

    def encode(self, subtiles: Tensor) -> Tensor:
        """Features (b, 48) of full-resolution sub-tiles."""
        out: Tensor = self.features(subtiles)
        return out

    def classify(self, mean: Tensor) -> Tensor:
        """Logits (b, classes) from attended means of features."""
        out: Tensor = self.classifier(mean)
        return out

    def forward(self, subtiles: Tensor) -> Tensor:
        """Logits of sub-tiles each on its own: what one alone says."""
        return self.classify(self.encode(subtiles))


def entropy(log_p: Tensor) -> Tensor:
    """Entropy in nats of distributions (b, m), given as log-probabilities: (b,)."""
    return -(log_p.exp() * log_p).sum(1)


def inverted(log_p: Tensor) -> Tensor:
    """Log of (1 - p) / (m - 1): where contrastive samples are drawn from (it sums to 1)."""
    rest = torch.log1p(-log_p.exp().clamp(max=1 - 1e-6))
    return rest - torch.logsumexp(rest, 1, keepdim=True)

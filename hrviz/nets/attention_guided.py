"""AGDN's networks: two DenseNet branches and a third classifier on what both have seen.

At the paper's size (`PaperBranch`) a branch is a DenseNet-BC of growth 12 with blocks of 4, 8, 12 and
8 layers, compression 0.5 and 24 channels after the stem: a 128 x 128 picture becomes 201 x 8 x 8, with
381,390 parameters, not counting its three attention blocks (`LocalFeatureAttention`, TLFA in the
paper). `AttentionGuided` is the whole arrangement with branches of the same make; trained here with
fewer layers and channels and without TLFA.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class DenseLayer(nn.Module):
    """BN, ReLU, 1 x 1 to four times the growth; BN, ReLU, 3 x 3 to the growth; appended to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


class DeformableConv(nn.Module):
    """3 x 3 convolution whose nine taps move: offsets come from a 3 x 3 convolution of the input.

    Dai et al., ICCV 2017. Offsets start at zero, in pixels; taps are bilinear and zero outside.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(inputs, 18, 3, padding=1)
        nn.init.zeros_(self.offsets.weight)
        assert self.offsets.bias is not None
        nn.init.zeros_(self.offsets.bias)
        self.taps = nn.Conv2d(9 * inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        y, col = torch.meshgrid(
            torch.arange(h, device=x.device, dtype=x.dtype),
            torch.arange(w, device=x.device, dtype=x.dtype),
            indexing="ij",
        )
        moved = self.offsets(x).view(n, 9, 2, h, w)
        read = []
        for k in range(9):
            # pixel centres in -1..1 from edge to edge of the map
            v = (y + (k // 3 - 1) + moved[:, k, 0] + 0.5) / h * 2 - 1
            u = (col + (k % 3 - 1) + moved[:, k, 1] + 0.5) / w * 2 - 1
            read.append(F.grid_sample(x, torch.stack([u, v], -1), align_corners=False))
        out: torch.Tensor = self.taps(torch.cat(read, 1))
        return out


class LocalFeatureAttention(nn.Module):
    """TLFA: each place takes over features of places whose features co-vary with its own.

    y = x + gamma softmax(f C f^T) h with f = a deformable convolution to c = C/4 channels, h = a 1 x 1
    convolution, and C = (I - 1 1^T / c) / c, which takes each place's mean over channels away and so
    turns products into covariances. gamma starts at 0: the block begins as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = DeformableConv(channels, max(1, channels // 4))
        self.h = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = self.f(x).flatten(2).transpose(1, 2)
        f = f - f.mean(2, keepdim=True)  # centring is idempotent: f C f^T = (Cf)(Cf)^T / c
        likeness = (f @ f.transpose(1, 2) / f.shape[2]).softmax(2)
        carried = likeness @ self.h(x).flatten(2).transpose(1, 2)
        out: torch.Tensor = x + self.gamma * carried.transpose(1, 2).reshape(x.shape)
        return out


class Branch(nn.Module):
    """DenseNet-BC without a head: picture `(n, 3, h, w)` in 0..1 to features at 1/16 of its sides.

    Parameters
    ----------
    growth : int
    blocks : sequence of int
        Layers of each block; a transition (compression 0.5, average pooling) between two.
    channels : int
        After the stem.
    stride : int
        Of the stem's convolution: 1 in the paper.
    attention : bool
        TLFA after each block but the last.
    """

    def __init__(
        self,
        growth: int = 12,
        blocks: Sequence[int] = (4, 8, 12, 8),
        channels: int = 24,
        stride: int = 1,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride, 1, bias=False), nn.MaxPool2d(3, 2, 1)
        )
        parts: list[nn.Module] = []
        for k, layers in enumerate(blocks):
            for _ in range(layers):
                parts.append(DenseLayer(channels, growth))
                channels += growth
            if k == len(blocks) - 1:
                break
            if attention:
                parts.append(LocalFeatureAttention(channels))
            parts += [
                nn.BatchNorm2d(channels), nn.ReLU(),
                nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, ceil_mode=True),
            ]  # fmt: skip
            channels //= 2
        self.body = nn.Sequential(*parts)
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(self.stem(2 * x - 1)))


class PaperBranch(Branch):
    """A branch at the paper's size (untrained here: counted, not used for pictures)."""

    def __init__(self, attention: bool = True) -> None:
        super().__init__(12, (4, 8, 12, 8), 24, 1, attention)


class AttentionGuided(nn.Module):
    """Branch 1 on the whole picture, branch 2 on the warped one, a classifier on both.

    Parameters
    ----------
    classes : int
    **branch
        Of both branches, which do not share weights.
    """

    def __init__(
        self,
        classes: int = 5,
        growth: int = 12,
        blocks: Sequence[int] = (4, 8, 12, 8),
        channels: int = 24,
        stride: int = 1,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.first = Branch(growth, blocks, channels, stride, attention)
        self.second = Branch(growth, blocks, channels, stride, attention)
        features = self.first.channels
        self.first_head = nn.Linear(features, classes)
        self.second_head = nn.Linear(features, classes)
        self.fused_head = nn.Linear(2 * features, classes)

    def logits(self, one: torch.Tensor, two: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Of branch 1, branch 2 and both, `(n, classes)` each, from the features of the branches."""
        # the largest answer, not the mean: a lesion may fill less than one place of the map
        a, b = one.amax((2, 3)), two.amax((2, 3))
        return self.first_head(a), self.second_head(b), self.fused_head(torch.cat([a, b], 1))

    def forward(self, picture: torch.Tensor, warped: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.logits(self.first(picture), self.second(warped))


def attention_of(features: torch.Tensor, nodes: tuple[int, int]) -> torch.Tensor:
    """Saliency at the nodes `(n, ny, nx)` from features `(n, c, h, w)`, 0 to 1 in each picture.

    The mean over channels of the features after ReLU, stretched to 0..1, plus 1e-8, interpolated
    from the centres of the feature map's pixels to the nodes (first and last at the border).
    """
    mean = features.relu().mean(1)
    low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
    stretched = (mean - low) / (high - low).clamp(min=1e-12) + 1e-8
    rows, columns = (_to_nodes(m, n).to(mean) for m, n in zip(mean.shape[1:], nodes, strict=True))
    return rows @ stretched @ columns.T


def _to_nodes(pixels: int, nodes: int) -> torch.Tensor:
    at = (torch.linspace(0, 1, nodes) * pixels - 0.5).clamp(0, pixels - 1)
    return (1 - (at[:, None] - torch.arange(pixels)).abs()).clamp(min=0)

"""GigaDet's patch generation network: a thumbnail in, the number of objects in each candidate out.

`PaperPatchGeneration` has the published size: the thirteen convolutions of VGG16 (stride 16), a
3 x 3 convolution of 512 channels and a count for each of the four candidate sizes.
`PatchGenerationNet` is the small one that is trained here. It keeps the stride, the candidates and
the loss; its context comes from averaging its features over each candidate's own width, and it tells
the counts of all three strategies, as the logarithm of one plus the count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from hrviz.nets.unet import conv

STRIDE = 16
SIGMA = 3.0
VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: halved


class PaperPatchGeneration(nn.Module):
    """The published network: VGG16 up to its last ReLU, and a head of `scales` counts.

    Notes
    -----
    Input `(n, 3, h, w)`, normalised as VGG16's; output `(n, scales, h // 16, w // 16)`. The first ten
    layers of `features` are frozen when it is fine-tuned. No weights are bundled for it.
    """

    def __init__(self, scales: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in VGG:
            if width:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Conv2d(512, 512, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(512, scales, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.features(x))
        return out


class PatchGenerationNet(nn.Module):
    """A small one: four halvings, features averaged over each candidate, a head a size.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution.
    scales : sequence of int
        Sides of candidates in cells.
    strategies : int

    Notes
    -----
    Input `(n, 3, h, w)` in 0..1; output `(n, strategies, scales, h // 16, w // 16)`: log(1 + count).
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 48, 64),
        scales: Sequence[int] = (1, 2, 4, 8),
        strategies: int = 3,
    ) -> None:
        super().__init__()
        self.scales, self.strategies = tuple(scales), strategies
        inputs, trunk = 3, []
        for width in widths:
            trunk += [conv(inputs, width, 2), conv(width, width)]
            inputs = width
        self.trunk = nn.Sequential(*trunk)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, inputs, 1), nn.ReLU(inplace=True), nn.Conv2d(inputs, strategies, 1)
            )
            for _ in self.scales
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[-2] // STRIDE, x.shape[-1] // STRIDE
        features = self.trunk(2 * x - 1)[..., :rows, :columns]
        # a candidate of k cells around a cell's centre: k - 1 whole cells and two halves
        means = (
            F.avg_pool2d(features, 2 * (k // 2) + 1, 1, k // 2, count_include_pad=False)
            for k in self.scales
        )
        return torch.stack([head(m) for head, m in zip(self.heads, means, strict=True)], 2)


def smooth_l1(error: torch.Tensor) -> torch.Tensor:
    """Fast R-CNN's smooth L1 with sigma 3: 4.5 d^2 where |d| < 1/9, else |d| - 1/18."""
    d = error.abs()
    return torch.where(d < 1 / SIGMA**2, 0.5 * SIGMA**2 * d**2, d - 0.5 / SIGMA**2)

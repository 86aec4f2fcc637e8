"""Networks that place samples near boundaries (Marin et al.): at the paper's size, and a small one.

Both look at a 64 x 64 thumbnail and answer with an 8 x 8 sampling tensor: a shift at each node, added
to a learned mean tensor that starts evenly spread. Positions are (row, column) in 0..1; border nodes
are moved onto their borders afterwards (`hrviz.methods.downsampling.boundary.cover`).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from hrviz.nets.unet import conv

THUMBNAIL = 64
NODES = 8


def _mean(nodes: int) -> nn.Parameter:
    line = torch.linspace(0, 1, nodes)
    return nn.Parameter(torch.stack(torch.meshgrid(line, line, indexing="ij"), -1))


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al., CVPR 2018): widen, depthwise 3 x 3, narrow."""

    def __init__(self, inputs: int, outputs: int, widen: int, stride: int, dilation: int) -> None:
        super().__init__()
        wide = inputs * widen
        first = (
            []
            if widen == 1
            else [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(True)]
        )
        self.body = nn.Sequential(
            *first,
            nn.Conv2d(wide, wide, 3, stride, dilation, dilation, groups=wide, bias=False),
            nn.BatchNorm2d(wide), nn.ReLU6(True),
            nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return x + out if self.adds else out


class PaperBoundaryNet(nn.Module):
    """MobileNetV2 of depth 0.25 and output stride 8 (untrained here: counted, not used).

    Input `(n, 3, 64, 64)` in 0..1, output `(n, 8, 8, 2)`. After stride 8 strides become dilations.
    """

    #: widening, channels at depth 0.25 (multiples of 8), repeats, stride
    STAGES = ((1, 8, 1, 1), (6, 8, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1),
              (6, 40, 3, 2), (6, 80, 1, 1))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(True)
        ]  # fmt: skip
        inputs, reached, dilation = 8, 2, 1
        for widen, channels, repeats, stride in self.STAGES:
            for k in range(repeats):
                step = stride if k == 0 else 1
                grow = step if reached * step > 8 else 1
                step //= grow
                reached *= step
                layers.append(InvertedResidual(inputs, channels, widen, step, dilation))
                dilation *= grow
                inputs = channels
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(inputs, 2, 1)
        self.mean = _mean(NODES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shift: torch.Tensor = self.head(self.body(2 * x - 1))
        return shift.permute(0, 2, 3, 1) + self.mean


class SmallBoundaryNet(nn.Module):
    """Thumbnail to sampling tensor with few plain convolutions: what is trained here.

    Input `(n, 3, 64, 64)` in 0..1, output `(n, 8, 8, 2)`.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, width, 2), conv(width, width), conv(width, 2 * width, 2),
            conv(2 * width, 2 * width), conv(2 * width, 3 * width, 2),
            conv(3 * width, 3 * width), conv(3 * width, 3 * width),
        )  # fmt: skip
        # the nearest boundary may be anywhere: each node also hears what the thumbnail holds overall
        self.overall = nn.Linear(3 * width, 3 * width)
        self.head = nn.Conv2d(3 * width, 2, 1)
        self.mean = _mean(NODES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(2 * x - 1)
        x = F.relu(x + self.overall(x.mean((2, 3)))[:, :, None, None])
        shift: torch.Tensor = self.head(x)
        return shift.permute(0, 2, 3, 1) + self.mean

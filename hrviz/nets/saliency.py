"""Saliency networks of Learning to Zoom: at the paper's size, and a small one that is trained here.

`PaperSaliencyNet` is what Recasens et al. describe: ResNet-18 up to its third stage on a 224 x 224
thumbnail (256 x 14 x 14), ReLU, a 1 x 1 convolution to one channel, bilinear to 31 x 31, softmax:
2,782,784 + 257 parameters, 1.40 GMAC. `SmallSaliencyNet` is the same idea with few channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from hrviz.nets.unet import conv


class BasicBlock(nn.Module):
    """Residual block of ResNet-18 (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class PaperSaliencyNet(nn.Module):
    """The saliency network at the paper's size (untrained here: counted, not used for pictures).

    Input `(n, 3, h, w)`, pooled to 224 x 224; output `(n, nodes, nodes)`, each summing to 1.
    """

    def __init__(self, nodes: int = 31) -> None:
        super().__init__()
        self.nodes = nodes
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
            nn.MaxPool2d(3, 2, 1),
            BasicBlock(64, 64, 1), BasicBlock(64, 64, 1),
            BasicBlock(64, 128, 2), BasicBlock(128, 128, 1),
            BasicBlock(128, 256, 2), BasicBlock(256, 256, 1),
        )  # fmt: skip
        self.head = nn.Conv2d(256, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(x, (224, 224))
        x = self.head(F.relu(self.trunk(x)))
        x = F.interpolate(x, (self.nodes, self.nodes), mode="bilinear", align_corners=True)
        return x.flatten(1).softmax(1).view(-1, self.nodes, self.nodes)


class SmallSaliencyNet(nn.Module):
    """Thumbnail to saliency logits at a quarter of its resolution.

    Input `(n, 3, h, w)` in 0..1; output `(n, 1, h/4, w/4)`, to be resized to the nodes and put
    through a softmax (`saliency_from_logits`).
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, width, 2), conv(width, width), conv(width, 2 * width, 2),
            conv(2 * width, 2 * width), conv(2 * width, 2 * width),
        )  # fmt: skip
        self.head = nn.Conv2d(2 * width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(2 * x - 1))
        return out


def saliency_from_logits(logits: torch.Tensor, nodes: tuple[int, int]) -> torch.Tensor:
    """Logits `(n, 1, h, w)` to saliency `(n, ny, nx)`: averaged to the nodes, softmax over them."""
    logits = F.interpolate(logits, nodes, mode="bilinear", align_corners=True, antialias=False)
    return logits.flatten(1).softmax(1).view(-1, *nodes)

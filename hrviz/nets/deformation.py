"""The saliency network of learned deformation (Jin et al.): the paper's 'fovsimple', any width.

Three 3 x 3 convolutions without strides on a thumbnail, one saliency a pixel. At the paper's width
(192, 192, 24) it has 379,273 parameters and takes 3.10 GMAC at 64 x 128; what is trained here is the
same network with fewer channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)]


class DeformationNet(nn.Module):
    """Thumbnail to saliency logits at its own resolution.

    Parameters
    ----------
    width, last : int
        Channels of the first two convolutions, and of the third (the paper: 192 and 24).

    Notes
    -----
    Input `(n, 3, h, w)` in 0..1, output `(n, h, w)`; `saliency` of it sums to 1.
    """

    def __init__(self, width: int = 192, last: int = 24) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_layer(3, width), nn.ReLU6(True), *_layer(width, width), nn.ReLU6(True),
            *_layer(width, last), nn.ReLU(True),
        )  # fmt: skip
        self.head = nn.Conv2d(last, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(2 * x - 1))
        return out[:, 0]


def saliency(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over the pixels of each thumbnail, `(n, h, w)`."""
    return F.softmax(logits.flatten(1), 1).view_as(logits)

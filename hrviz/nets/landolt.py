"""Two small networks of the Landolt-C experiment: one reads the ring, one says where to look.

Their sizes, 24,068 and 2,849 parameters, are small enough that both train together through the
sampler in a minute or two of one thread.
"""

from __future__ import annotations

import torch
from torch import nn


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(True)
    )


class LandoltClassifier(nn.Module):
    """Pixels `(n, 3, t, t)` in 0..1 to logits `(n, 4)`: which side the ring is open to.

    Parameters
    ----------
    width : int
        Channels of the first of three convolutions; 24,068 parameters at 16.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(3, width), nn.MaxPool2d(2, ceil_mode=True),
            _conv(width, 2 * width), nn.MaxPool2d(2, ceil_mode=True),
            _conv(2 * width, 4 * width),
        )  # fmt: skip
        self.head = nn.Linear(4 * width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the largest response, wherever it is: the ring may lie anywhere
        out: torch.Tensor = self.head(self.body(2 * x - 1).amax((2, 3)))
        return out


class LandoltSaliency(nn.Module):
    """Thumbnail `(n, 3, t, t)` in 0..1 to saliency logits `(n, 1, t, t)` (2,849 parameters)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(3, width), _conv(width, width))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(2 * x - 1))
        return out

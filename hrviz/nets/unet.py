"""A small U-Net: the task network that every downsampling method feeds, so that they compare.

Encoder of strided 3 x 3 convolutions with batch normalisation, decoder of nearest upsampling and
skip connections (Ronneberger et al., MICCAI 2015, with far fewer channels). It answers at half the
input's resolution; that is where tumour outlines are judged, and it halves the memory.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)
    )


class SmallUNet(nn.Module):
    """Pixels to tumour logits.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/2, 1/4, 1/8, ... of the input's resolution.

    Notes
    -----
    Input `(n, 3, h, w)` in 0..1, any size of at least 16; output `(n, 1, ceil(h/2), ceil(w/2))`.
    """

    def __init__(self, widths: tuple[int, ...] | list[int] = (12, 24, 48, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        inputs = 3
        for width in widths:
            self.down.append(nn.Sequential(conv(inputs, width, 2), conv(width, width)))
            inputs = width
        self.up = nn.ModuleList(
            conv(below + here, here)
            for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = 2 * x - 1
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], 1))
        out: torch.Tensor = self.head(x)
        return out

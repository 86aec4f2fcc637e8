"""The two networks of each level of RAZN: one that segments a window, one that decides to zoom.

What the paper's networks look like could not be verified, so both are our own and small. Each sees
a fourth channel: 1 where a pixel lies in the region, 0 where the window hangs over its edge. What
hangs over is filled with 0 and has no part in the policy's pooling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from hrviz.nets.unet import SmallUNet, conv

CHANNELS = 4  # red, green, blue in 0..1, and whether the pixel lies in the region


class WindowSegmenter(SmallUNet):
    """f_i: a window's pixels to logits of the target.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/2, 1/4, ... of the input's resolution.

    Notes
    -----
    Input `(n, 4, h, w)` of at least 8 px a side; output `(n, 1, ceil(h/2), ceil(w/2))`.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32)) -> None:
        super().__init__(list(widths))
        self.down[0] = nn.Sequential(conv(CHANNELS, widths[0], 2), conv(widths[0], widths[0]))


class ZoomPolicy(nn.Module):
    """g_i: a window's pixels to the logit of p(zoom).

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/2, 1/4, ... of the input's resolution.
    hidden : int
        Units between the pooled features and the logit.

    Notes
    -----
    Input `(n, 4, h, w)` of any size; output `(n,)`. Mean and maximum are taken over the features of
    pixels that lie in the region.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 24), hidden: int = 16) -> None:
        super().__init__()
        inputs = (CHANNELS, *widths[:-1])
        self.trunk = nn.Sequential(*(conv(a, b, 2) for a, b in zip(inputs, widths, strict=True)))
        self.head = nn.Sequential(
            nn.Linear(2 * widths[-1], hidden), nn.ReLU(True), nn.Linear(hidden, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.trunk(2 * x - 1)
        # a cell counts as far as the pixels under it lie in the region
        inside = F.adaptive_avg_pool2d(x[:, 3:], features.shape[-2:])
        mean = (features * inside).sum((2, 3)) / inside.sum((2, 3)).clamp_min(1e-6)
        most = (features * inside).amax((2, 3))
        out: torch.Tensor = self.head(torch.cat([mean, most], 1))[:, 0]
        return out

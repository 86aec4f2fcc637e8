"""The two networks of dynamic zooming: R-net regresses gains, Q-net values windows.

`GainNet` is two fully connected layers on the feature of a proposal, as in the paper, which has 4096
units and as many inputs (`GainNet(4096, 4096)`: 16,785,409 weights); the bundled one is on the
features of a small detector. `WindowNet` is fully convolutional with one branch for each size of
windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

OUTSIDE = -1e9  # value of windows that would reach over the map's edge


class GainNet(nn.Module):
    """R-net: features of proposals `(n, features)` to gains `(n,)`."""

    def __init__(self, features: int = 4096, hidden: int = 4096) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(True), nn.Linear(hidden, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)[:, 0]
        return out


class WindowNet(nn.Module):
    """Q-net: accuracy-gain maps to the values of all windows of a few sizes.

    Parameters
    ----------
    sides : sequence of int
        Sides of the square windows in cells, one branch each; cut to the map where it is smaller.
    width : int
        Channels.

    Notes
    -----
    Input `(n, 3, h, w)`: the AG map in gain a cell, the same gains at their centres, and the price
    lambda divided by 5 everywhere. Windows are paid by centres, which the AG map alone does not
    tell: without them the reward would be no function of the state. Output `(n, sizes, h, w)`: the
    value of the window whose first cell is (i, j); `OUTSIDE` where it does not fit. A value is the
    window's reward at once, which is what greedy choice goes by, plus what the branch says to that
    and to the mean of the trunk's features over the window (at half the map's resolution): at first
    nothing.
    """

    def __init__(self, sides: Sequence[int] = (8, 16, 24), width: int = 16) -> None:
        super().__init__()
        self.sides = tuple(sides)
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(True),
            nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.ReLU(True),
            nn.Conv2d(width, width, 3, padding=4, dilation=4), nn.ReLU(True),
        )  # fmt: skip
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width + 2, 24, 1), nn.ReLU(True), nn.Conv2d(24, 1, 1))
            for _ in self.sides
        )
        for branch in self.branches:
            nn.init.zeros_(branch[2].weight)  # type: ignore[index]
            nn.init.zeros_(branch[2].bias)  # type: ignore[index]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, w = x.shape[-2:]
        # what a cell has to tell depends on how much there is: gains are small
        half = F.adaptive_avg_pool2d(x, ((h + 1) // 2, (w + 1) // 2))
        features = self.trunk(half * x.new_tensor([20.0, 10.0, 1.0])[:, None, None])
        features = F.interpolate(features, size=(h, w), mode="nearest")
        out = []
        for side, branch in zip(self.sides, self.branches, strict=True):
            a, b = min(side, h), min(side, w)
            gained = F.avg_pool2d(x[:, 1:2], (a, b), 1) * (a * b)
            share = 5 * x[:, 2:, : h - a + 1, : w - b + 1] * (a * b / (h * w))
            seen = torch.cat([F.avg_pool2d(features, (a, b), 1), gained, share], 1)
            value = gained - share + branch(seen)
            out.append(F.pad(value, (0, b - 1, 0, a - 1), value=OUTSIDE))
        return torch.cat(out, 1)

"""Crowd counting by density maps: SASNet at its published size, and the small counter trained here.

SASNet (Song et al., AAAI 2021) is VGG16-BN with a decoder; each of its five levels predicts a density
map and how much it trusts it, and the maps are added with the softmax of these confidences. The survey's
Table I was made with it. Here it is built for its cost, without weights (`hrviz.cost.meter`); what is
trained is `CrowdCounter`, a U-Net six hundred times smaller.

Paper: Q. Song et al., To Choose or to Fuse? Scale Selection for Crowd Counting, AAAI 2021.

Notes
-----
As published: confidences pass a sigmoid before the softmax, so that a weight lies between
1 / (1 + 4e) = 0.084 and e / (e + 4) = 0.405 and no level is ever chosen alone; densities are trained
a thousand times as large, so that the count is the sum over 1000.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from hrviz.errors import HrvizError
from hrviz.nets.unet import conv

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # VGG16: channels, convolutions
DECODED = (64, 64, 128, 256, 512)  # channels of the decoder's levels, the finest first
SCALE = 1000.0  # of SASNet's densities


def _plain(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    """Convolution with a bias, ReLU."""
    return [nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.ReLU(True)]


def _normed(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    """Convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(True)]


class _Density(nn.Module):
    """Density of one level from three receptive fields beside the features themselves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                *_normed(channels, channels // 2, 1), *_normed(channels // 2, channels, size)
            )
            for size in (1, 3, 5)
        )
        self.answer = nn.Sequential(*_plain(4 * channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.answer(torch.cat([*(b(x) for b in self.branches), x], 1))
        return out


class _Confidence(nn.Module):
    """Confidence in one level, 0 to 1, one for each 32 x 32 px of the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.answer = nn.Sequential(
            *_plain(channels, channels // 2, 1), nn.Conv2d(channels // 2, 1, 1)
        )

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return torch.sigmoid(self.answer(F.adaptive_avg_pool2d(x, size)))


class SASNet(nn.Module):
    """Pixels to a density map, fused from five scales.

    Notes
    -----
    Input `(n, 3, h, w)`, at least 32 px a side; output `(n, 1, h, w)`, `SCALE` times the heads of a
    pixel. 38,898,698 parameters; 696.770 GMAC at 768 x 1024 px.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        inputs = 3
        for channels, count in STAGES:
            layers: list[nn.Module] = []
            for _ in range(count):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(True)]  # fmt: skip
                inputs = channels
            self.encoder.append(nn.Sequential(*layers))
        self.decoder = nn.ModuleList()
        for level, out in enumerate(DECODED):
            coarsest = level == len(DECODED) - 1
            entering = STAGES[level][0] + (0 if coarsest else DECODED[level + 1])
            middle = 2 * out if level > 0 else out
            self.decoder.append(
                nn.Sequential(*_plain(entering, middle, 3), *_plain(middle, out, 3))
            )
        self.density = nn.ModuleList(_Density(c) for c in DECODED)
        self.confidence = nn.ModuleList(_Confidence(c) for c in DECODED)

    def levels(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Density and confidence of each level, the coarsest first, at their own resolutions."""
        size = x.shape[-2] // 32, x.shape[-1] // 32
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            x = stage(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        densities, confidences = [], []
        for level in reversed(range(len(DECODED))):
            skip = skips.pop()
            if level < len(DECODED) - 1:
                up = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
                skip = torch.cat([up, skip], 1)
            x = self.decoder[level](skip)
            densities.append(self.density[level](x))
            confidences.append(self.confidence[level](x, size))
        return densities, confidences

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[-2:]
        densities, confidences = self.levels(x)
        weight = fused([F.interpolate(c, size=size) for c in confidences])
        return (weight * torch.cat([F.interpolate(d, size=size) for d in densities], 1)).sum(
            1, keepdim=True
        )

    @staticmethod
    def count(density: torch.Tensor) -> torch.Tensor:
        """Heads in each image of a batch."""
        return density.sum((1, 2, 3)) / SCALE


def fused(confidences: list[torch.Tensor]) -> torch.Tensor:
    """Weights of the levels, (n, levels, h, w), from confidences after the sigmoid."""
    return torch.softmax(torch.cat(confidences, 1), 1)


class CrowdCounter(nn.Module):
    """Pixels to heads a pixel: a U-Net that keeps full resolution, for small people.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1, 1/2 and 1/4 of the input's resolution.

    Notes
    -----
    Input `(n, 3, h, w)` in 0..1; output `(n, 1, h, w)`, whose sum is the count. An output pixel sees
    no farther than `HALO` px, so that tiles cut with this halo, at multiples of `GRID` px, give exactly
    what the whole image gives.
    """

    HALO = 24
    GRID = 4

    def __init__(self, widths: tuple[int, int, int] | list[int] = (12, 24, 48)) -> None:
        super().__init__()
        a, b, c = widths
        self.down = nn.ModuleList(
            nn.Sequential(conv(i, o), conv(o, o)) for i, o in ((3, a), (a, b), (b, c))
        )
        self.up = nn.ModuleList((conv(c + b, b), conv(b + a, a)))
        self.head = nn.Conv2d(a, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = 2 * x - 1
        skips: list[torch.Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            skip = skips.pop()
            x = block(torch.cat([F.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip], 1))
        # Kept near 1 inside: a head spread over a few px is some hundredths a pixel.
        return self.head(x) / 100


def in_patches(
    count: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    cut: int,
    halo: int = 0,
) -> torch.Tensor:
    """Density of images cut into `cut` x `cut` disjoint patches, one pass after another.

    Parameters
    ----------
    count : callable
        `(n, 3, h, w)` to a density of the same size: a network.
    x : torch.Tensor
        (n, 3, h, w).
    cut : int
        Patches a side.
    halo : int
        Pixels of the surroundings that each pass is given too, and whose density is left out: 0 is
        cutting into patches as it is, `CrowdCounter.HALO` gives what the whole image gives.

    Raises
    ------
    HrvizError
        A halo or patches that do not lie on the network's grid of `CrowdCounter.GRID` px.
    """
    h, w = x.shape[-2:]
    grid = CrowdCounter.GRID
    if halo < 0 or halo % grid:
        raise HrvizError(
            f"halo={halo} is not a multiple of {grid} px, the network's grid: choose 0, {grid}, "
            f"{2 * grid}, ..."
        )
    if cut < 1 or (cut > 1 and (h % (cut * grid) or w % (cut * grid))):
        raise HrvizError(
            f"{cut} x {cut} patches of {h} x {w} px do not lie on the network's grid of {grid} px: "
            "choose sizes that do"
        )
    if cut == 1:
        return count(x)
    high, wide = h // cut, w // cut
    rows = []
    for top in range(0, h, high):
        row = []
        for left in range(0, w, wide):
            y, z = max(top - halo, 0), max(left - halo, 0)
            out = count(x[..., y : min(top + high + halo, h), z : min(left + wide + halo, w)])
            row.append(out[..., top - y : top - y + high, left - z : left - z + wide])
        rows.append(torch.cat(row, -1))
    return torch.cat(rows, -2)

"""Networks of published size that resolution is discussed on: EfficientNet-B0..B7 and ViT-B/16.

The survey shows the cost of resolution on them (Figure 2): operations, time and memory of
EfficientNet-B7 without its last layer, parameters of ViT-B/16. They are built here from the papers,
without trained weights: cost depends on shapes alone.

Papers: Tan and Le, EfficientNet, ICML 2019; Dosovitskiy et al., An Image is Worth 16x16 Words,
ICLR 2021.

Notes
-----
Convolutions pad themselves, k // 2 on each side. Implementations with a padding layer in front of a
convolution (TensorFlow's 'SAME') make a padded copy: same parameters, same operations, same shapes
where the stride of 32 divides the input, up to a tenth more memory in inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

# expansion, kernel, stride, output channels, repeats: the table of B0
STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip
# width, depth, resolution, dropout before the classifier
VARIANTS = {
    "b0": (1.0, 1.0, 224, 0.2), "b1": (1.0, 1.1, 240, 0.2), "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3), "b4": (1.4, 1.8, 380, 0.4), "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5), "b7": (2.0, 3.1, 600, 0.5),
}  # fmt: skip
DROP_PATH = 0.2  # of the last block; less towards the first


def _width(channels: int, factor: float) -> int:
    """To a multiple of 8, and not below 90 % of what was asked for."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _conv(i: int, o: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False)


class SqueezeExcite(nn.Module):
    """Weights each channel by what all channels are on average."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (n, c, h, w), weighted."""
        weight = self.expand(F.silu(self.reduce(F.adaptive_avg_pool2d(x, 1))))
        return torch.sigmoid(weight) * x


class MBConv(nn.Module):
    """Inverted bottleneck: widen, convolve each channel, weight the channels, narrow.

    Parameters
    ----------
    i, o : int
        Input and output channels.
    kernel, stride, expansion : int
    drop : float
        Probability that a picture skips the block in training.
    """

    def __init__(self, i: int, o: int, kernel: int, stride: int, expansion: int, drop: float):
        super().__init__()
        wide = i * expansion
        self.widen = nn.Sequential(_conv(i, wide), _norm(wide), nn.SiLU()) if wide != i else None
        self.depthwise = nn.Sequential(
            _conv(wide, wide, kernel, stride, groups=wide), _norm(wide), nn.SiLU()
        )
        self.excite = SqueezeExcite(wide, max(1, i // 4))
        self.narrow = nn.Sequential(_conv(wide, o), _norm(o))
        self.skips = stride == 1 and i == o
        self.drop = drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (n, i, h, w) to (n, o, h / stride, w / stride)."""
        y = x if self.widen is None else self.widen(x)
        y = self.narrow(self.excite(self.depthwise(y)))
        if not self.skips:
            return y
        if self.training and self.drop:
            keep = 1 - self.drop
            y = y / keep * torch.floor(keep + torch.rand(len(y), 1, 1, 1, dtype=y.dtype))
        return y + x


class EfficientNet(nn.Module):
    """EfficientNet of a published size.

    Parameters
    ----------
    variant : str
        'b0' to 'b7'.
    classes : int, optional
        Of the classifier; None for the features (n, c, h / 32, w / 32) that it would see.
    """

    def __init__(self, variant: str = "b7", classes: int | None = None) -> None:
        super().__init__()
        width, depth, _, dropout = VARIANTS[variant]
        channels = _width(32, width)
        self.stem = nn.Sequential(_conv(3, channels, 3, 2), _norm(channels), nn.SiLU())
        repeats = [math.ceil(depth * n) for *_, n in STAGES]
        blocks: list[nn.Module] = []
        for (expansion, kernel, stride, out, _), n in zip(STAGES, repeats, strict=True):
            wide = _width(out, width)
            for k in range(n):
                drop = DROP_PATH * len(blocks) / sum(repeats)
                blocks.append(MBConv(channels, wide, kernel, stride if k == 0 else 1, expansion, drop))  # fmt: skip
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        last = _width(1280, width)
        self.last = nn.Sequential(_conv(channels, last), _norm(last), nn.SiLU())
        self.head: nn.Module | None = None
        if classes is not None:
            self.head = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, classes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (n, 3, h, w) to features or logits (n, classes)."""
        y = self.last(self.blocks(self.stem(x)))
        return y if self.head is None else self.head(y)


class Attention(nn.Module):
    """Each token reads all tokens.

    Parameters
    ----------
    width, heads : int
    fused : bool
        Without ever holding the matrix of tokens by tokens (scaled_dot_product_attention); else with
        it, as first published.
    """

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.fused = heads, fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (b, n, width) to as many."""
        b, n, width = x.shape
        each = width // self.heads
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, each).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * each**-0.5) @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, n, width))


class Block(nn.Module):
    """Attention and a perceptron of four times the width, each after a norm and beside a skip."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attention = Attention(width, heads, fused)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (b, n, width) to as many."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Vision transformer on square pictures of one size; the default is ViT-B/16.

    Parameters
    ----------
    resolution : int
        Side of the pictures; a multiple of `patch`. Each patch has a learned position, which is all
        that grows with it: 3 parameters a pixel in ViT-B/16.
    patch, width, depth, heads : int
    fused : bool
        See `Attention`.
    classes : int, optional
        Of the classifier; None for the tokens (n, 1 + patches, width).
    """

    def __init__(
        self,
        resolution: int,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        fused: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, (resolution // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, fused) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, classes) if classes is not None else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (n, 3, resolution, resolution) to tokens or logits (n, classes)."""
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.cls.expand(len(y), -1, -1), y], 1) + self.position
        y = self.norm(self.blocks(y))
        return y if self.head is None else self.head(y[:, 0])


@dataclass(frozen=True)
class Named:
    """A network that cost is asked of by name.

    Parameters
    ----------
    name, title, paper : str
    build : callable
        Side of the input in pixels to the network.
    stride : int
        The side is a multiple of it.
    fixed : bool
        The same network serves every resolution.
    """

    name: str
    title: str
    paper: str
    build: Callable[[int], nn.Module]
    stride: int
    fixed: bool


def _efficient(variant: str) -> Named:
    return Named(
        f"efficientnet-{variant}", f"EfficientNet-{variant.upper()} without its classifier",
        "Tan and Le, ICML 2019", lambda _: EfficientNet(variant), 32, True,
    )  # fmt: skip


def _vit(name: str, attention: str, fused: bool) -> Named:
    return Named(
        name, f"ViT-B/16 without its classifier, {attention}", "Dosovitskiy et al., ICLR 2021",
        lambda resolution: ViT(resolution, fused=fused), 16, False,
    )  # fmt: skip


MODELS = {
    m.name: m
    for m in (
        *map(_efficient, VARIANTS),
        _vit("vit-b16", "attention as published", False),
        _vit("vit-b16-fused", "fused attention", True),
    )
}

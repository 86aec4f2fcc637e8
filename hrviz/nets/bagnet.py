"""BagNet: a convolutional network that sees small parts only, and adds up what each of them says.

Of the five 3 x 3 convolutions at growing strides the last ones may be 1 x 1: receptive fields of 33,
17 or 9 px (Brendel and Bethge, ICLR 2019). The logits of a picture are the mean of the logits of its
parts, so a map of them sums exactly to the answer. `PaperBagNet` has the sizes of the paper's
ResNet-50; `BagNet` is the small one that is trained here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: receptive field -> how many of the four stages begin with a 3 x 3 convolution
STAGES = {33: 4, 17: 3, 9: 2}
STRIDES = (2, 2, 2, 1)


def _conv(inputs: int, outputs: int, side: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, side, stride, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]  # fmt: skip


class BagNet(nn.Module):
    """Pictures (b, 3, h, w) in 0..1 to logits; nothing is padded.

    Parameters
    ----------
    classes : int
    field : {9, 17, 33}
        Receptive field, px.
    widths : sequence of int
        Channels of the first convolution and of the four stages.
    scale : float
        Input pixels per full-resolution pixel and axis that it is trained on.
    """

    def __init__(
        self, classes: int, field: int = 17, widths: tuple[int, ...] | list[int] = (12, 16, 24, 32, 32),
        scale: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        layers = _conv(3, widths[0], 3, 1)
        for stage, stride in enumerate(STRIDES):
            side = 3 if stage < STAGES[field] else 1
            layers += _conv(widths[stage], widths[stage + 1], side, stride)
            layers += _conv(widths[stage + 1], widths[stage + 1], 1, 1)
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], classes)
        self.field, self.scale = field, scale

    def evidence(self, pictures: Tensor) -> Tensor:
        """Logits of every part, (b, classes, h', w'); parts are 8 px apart."""
        features = self.body(2 * pictures - 1).movedim(1, -1)
        out: Tensor = self.head(features).movedim(-1, 1)
        return out

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (b, classes): the mean over parts."""
        return self.evidence(pictures).mean((2, 3))


class _Bottleneck(nn.Module):
    """1 x 1, then 3 x 3 or 1 x 1 without padding, then 1 x 1, around a cut shortcut."""

    def __init__(self, inputs: int, width: int, side: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(inputs, width, 1, 1), *_conv(width, width, side, stride),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != 4 * width:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out, short = self.body(x), self.short(x)
        h, w = out.shape[-2:]
        done: Tensor = (out + short[..., :h, :w]).relu()  # without padding the branch is smaller
        return done


class PaperBagNet(nn.Module):
    """The paper's size: ResNet-50 with 3 x 3 convolutions in the first block of some stages only."""

    def __init__(self, classes: int = 1000, field: int = 33) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 1, bias=False), *_conv(64, 64, 3, 1)]
        inputs = 64
        for stage, (blocks, stride) in enumerate(zip((3, 4, 6, 3), STRIDES, strict=True)):
            width = 64 * 2**stage
            for block in range(blocks):
                first = block == 0
                side = 3 if first and stage < STAGES[field] else 1
                layers.append(_Bottleneck(inputs, width, side, stride if first else 1))
                inputs = 4 * width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (b, classes)."""
        out: Tensor = self.head(self.body(pictures).mean((2, 3)))
        return out


def field_of(net: nn.Module, side: int = 96) -> int:
    """Receptive field in px, by the gradient of one middle part: slow, for tests."""
    x = torch.rand(1, 3, side, side, requires_grad=True)
    out = net(x)
    out[0, :, out.shape[2] // 2, out.shape[3] // 2].sum().backward()
    assert x.grad is not None
    touched = torch.nonzero(x.grad[0].abs().sum((0, 1)) > 0)
    return int(touched.max() - touched.min()) + 1

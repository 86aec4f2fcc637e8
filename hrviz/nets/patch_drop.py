"""Networks of PatchDrop: at the paper's sizes, small ones that are trained here, and its losses.

`PaperResNet` is the residual network (He et al., CVPR 2016) that Uzkent and Ermon use throughout;
`paper_networks` lists the four whose parameters are known. The small policy keeps one property that
theirs has to learn: what is decided for a patch depends on what lies in and around it, wherever that
is, since it ends in a convolution over the 4 x 4 patches instead of a fully connected layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrviz.nets.patch_reward import GRID, MEAN
from hrviz.nets.saliency import BasicBlock
from hrviz.nets.unet import conv

SPREAD = 0.073  # standard deviation of the training pictures


class PaperResNet(nn.Module):
    """ResNet of basic blocks at the paper's size (untrained here: counted, not used for pictures).

    Parameters
    ----------
    blocks : sequence of int
        In each of the four stages of 64, 128, 256 and 512 channels.
    outputs : int
        Patches of a policy, or classes.
    small : bool
        The stem for CIFAR (one 3 x 3 convolution) instead of the one for photographs.
    """

    def __init__(self, blocks: Sequence[int], outputs: int, small: bool) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small else (7, 2)
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)
        ]  # fmt: skip
        if not small:
            layers.append(nn.MaxPool2d(3, 2, 1))
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            for k in range(count):
                layers.append(BasicBlock(inputs, width, 2 if k == 0 and stage else 1))
                inputs = width
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.trunk(x).mean((2, 3)))
        return out


def paper_networks() -> dict[str, PaperResNet]:
    """The published networks by name, untrained."""
    return {
        "CIFAR policy": PaperResNet((1, 1, 1, 1), 16, small=True),
        "CIFAR-10 classifier": PaperResNet((3, 4, 6, 3), 10, small=True),
        "ImageNet policy": PaperResNet((2, 2, 2, 2), 16, small=False),
        "fMoW classifier": PaperResNet((3, 4, 6, 3), 62, small=False),
    }


class SmallPolicy(nn.Module):
    """Small picture to one logit a patch: keep it or drop it.

    Input `(n, 3, 56, 56)` in 0..1; output `(n, 16)`, row by row.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 48, 48, 24)) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.body = nn.Sequential(conv(3, a), conv(a, b, 2), conv(b, c), conv(c, d))
        self.around = conv(d, e)
        self.head = nn.Conv2d(e, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        cells = F.adaptive_max_pool2d(self.body((x - MEAN) / SPREAD), (GRID, GRID))
        out: Tensor = self.head(self.around(cells)).flatten(1)
        return out


class PatchClassifier(nn.Module):
    """Picture of any size, patches missing or not, to class logits.

    Parameters
    ----------
    classes : int
    layers : sequence of (int, int)
        Channels and stride of each 3 x 3 convolution.
    """

    def __init__(self, classes: int, layers: Sequence[Sequence[int]]) -> None:
        super().__init__()
        inputs = 3
        body = []
        for channels, stride in layers:
            body.append(conv(inputs, channels, stride))
            inputs = channels
        self.body = nn.Sequential(*body)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        # the strongest answer anywhere, not the mean: the object is a small part of the picture
        out: Tensor = self.head(self.body((x - MEAN) / SPREAD).amax((2, 3)))
        return out


def masked(x: Tensor, keep: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) with dropped patches at the mean colour; keep (n, P), P a square."""
    side = round(keep.shape[-1] ** 0.5)
    cells = keep.to(x.dtype).view(-1, 1, side, side)
    mask = F.interpolate(cells, x.shape[-2:], mode="nearest-exact")
    return x * mask + MEAN * (1 - mask)


def policy_loss(q: Tensor, keep: Tensor, advantage: Tensor, mean: bool) -> Tensor:
    """REINFORCE: minus the log-probability of what was drawn, times its advantage.

    Parameters
    ----------
    q : Tensor (n, P)
        Keep probabilities that were drawn from (after `bounded`).
    keep : Tensor (n, P)
        What was drawn.
    advantage : Tensor (n,)
        Reward less baseline; no gradient flows through it.
    mean : bool
        Mean over patches, as published for pretraining, else their sum, as for fine-tuning: the
        gradient of the first is P times smaller.
    """
    log_p = torch.distributions.Bernoulli(probs=q).log_prob(keep.to(q.dtype))
    each = -log_p * advantage.detach()[:, None]
    return each.mean() if mean else each.sum(1).mean()

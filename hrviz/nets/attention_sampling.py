"""Networks of attention sampling: one looks at a thumbnail, one at few patches, one decides.

The paper's networks at their real size (`TrafficAttention`, `TrafficFeatures`, `MnistAttention`,
`MnistFeatures`) and the small ones that are trained here (`ViewAttention`, `PatchFeatures`). All
attention networks answer with one logit a position; `attention` makes the distribution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrviz.nets.sampling import Gradient, expectation, gumbel_top

SMOOTH = 1e-4  # share of even attention, so that no position is impossible (the paper's, traffic)


def attention(logits: Tensor, temperature: float = 1.0, smooth: float = SMOOTH) -> Tensor:
    """Softmax over all positions of each map, mixed with an even share.

    Parameters
    ----------
    logits : Tensor (b, h, w)
    temperature : float
        Divides the logits.
    smooth : float
        Share s of a (1 - s) + s / n.

    Returns
    -------
    Tensor (b, h, w)
        Sums to 1 for each picture.
    """
    b, h, w = logits.shape
    p = (logits.flatten(1) / temperature).softmax(1)
    return (p * (1 - smooth) + smooth / (h * w)).view(b, h, w)


def entropy_term(p: Tensor) -> Tensor:
    """Mean of sum a log(a + 1e-6): added to the loss with a positive strength it evens attention."""
    flat = p.flatten(1)
    return (flat * (flat + 1e-6).log()).sum(1).mean()


class TrafficAttention(nn.Module):
    """The paper's attention for traffic signs: 6,321 parameters, no padding, receptive field 9.

    A view (b, 3, h, w) in 0..1 to logits (b, (h - 8) // 8, (w - 8) // 8): 288 x 384 to 35 x 47.
    """

    receptive_field = 9

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(True), nn.Conv2d(8, 16, 3), nn.ReLU(True),
            nn.Conv2d(16, 32, 3), nn.ReLU(True), nn.Conv2d(32, 1, 3), nn.MaxPool2d(8),
        )  # fmt: skip

    def forward(self, view: Tensor) -> Tensor:
        out: Tensor = self.body(view)[:, 0]
        return out


class MnistAttention(nn.Module):
    """The paper's attention for digits: 737 parameters, one channel, a logit a pixel of the view."""

    receptive_field = 0

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(),
            nn.Conv2d(8, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, view: Tensor) -> Tensor:
        out: Tensor = self.body(view)[:, 0]
        return out


class _Block(nn.Module):
    """Pre-activation residual block with stride 2 and a 1 x 1 shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.short = nn.Conv2d(width, width, 1, 2, bias=False)
        self.first = nn.Conv2d(width, width, 3, 2, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x).relu()
        out: Tensor = self.second(self.between(self.first(x)).relu()) + self.short(x)
        return out


class TrafficFeatures(nn.Module):
    """The paper's ResNet of 32 channels for patches of 100 px: (n, 3, p, p) to unit vectors (n, 32)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(*[_Block(width) for _ in range(3)])
        self.last = nn.BatchNorm2d(width)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.last(self.blocks(self.first(patches))).relu()
        return F.normalize(x.mean((2, 3)), dim=1)


class MnistFeatures(nn.Module):
    """The paper's network for patches of digits: (n, 1, p, p) to unit vectors (n, 32)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 7), nn.ReLU(True)]
        for _ in range(3):
            layers += [nn.Conv2d(width, width, 3), nn.ReLU(True)]
        self.body = nn.Sequential(*layers)

    def forward(self, patches: Tensor) -> Tensor:
        return F.normalize(self.body(patches).amax((2, 3)), dim=1)


def _he(module: nn.Module) -> None:
    """Activations keep their size without normalisation layers: batches here are few pictures."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ViewAttention(nn.Module):
    """A view (b, 3, h, w) in 0..1 to logits (b, h', w'), h' about h / 8: what is trained here.

    As the paper's traffic attention it ends in a maximum over neighbours; it pads, so that
    position i of n stands for the middle of the i-th of n equal parts of the view.
    """

    receptive_field = 0

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(True),
            nn.Conv2d(width, 16, 3, 2, 1), nn.ReLU(True),
            nn.Conv2d(16, 2 * width, 3, 1, 1), nn.ReLU(True),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.ReLU(True),
        )  # fmt: skip
        self.body.apply(_he)
        self.head = nn.Conv2d(2 * width, 1, 1)

    def forward(self, view: Tensor) -> Tensor:
        out: Tensor = F.max_pool2d(self.head(self.body(2 * view - 1)), 2, ceil_mode=True)[:, 0]
        return out


class PatchFeatures(nn.Module):
    """Patches (n, 3, p, p) in 0..1 to features (n, width), the largest response anywhere."""

    def __init__(self, width: int = 32, stride: int = 4, unit: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 7, stride, 3), nn.ReLU(True),
            nn.Conv2d(16, width, 3, 2, 1), nn.ReLU(True),
            nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(True),
            nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(True),
        )  # fmt: skip
        self.body.apply(_he)
        self.width, self.unit = width, unit

    def forward(self, patches: Tensor) -> Tensor:
        x = self.body(2 * patches - 1).amax((2, 3))
        return F.normalize(x, dim=1) * self.width**0.5 if self.unit else x


class AttentionSampling(nn.Module):
    """The small network that is trained: view attention, patch features, and a linear classifier.

    Parameters
    ----------
    classes : int
    width, stride : int
        Of `PatchFeatures`.
    patch : int
        Side in full-resolution pixels that it is trained on.
    scale : float
        View pixels per full-resolution pixel and axis that it is trained on.
    """

    def __init__(
        self, classes: int, width: int = 32, stride: int = 4, patch: int = 96, scale: float = 0.25
    ) -> None:
        super().__init__()
        self.attention, self.features = ViewAttention(), PatchFeatures(width, stride)
        self.head = nn.Linear(width, classes)
        self.patch, self.scale = patch, scale

    def look(self, view: Tensor) -> Tensor:
        """Attention logits (b, h', w') of views (b, 3, h, w)."""
        out: Tensor = self.attention(view)
        return out

    def encode(self, patches: Tensor) -> Tensor:
        """Features (n, width) of patches (n, 3, side, side)."""
        out: Tensor = self.features(patches)
        return out

    def classify(self, mean: Tensor) -> Tensor:
        """Logits (b, classes) from attended means (b, width) of features."""
        out: Tensor = self.head(mean)
        return out

    def forward(self, patches: Tensor) -> Tensor:
        """Logits of patches each on its own."""
        return self.classify(self.encode(patches))

    def draw(
        self, view: Tensor, n: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attention (b, h, w) and n drawn flat positions (b, n), without replacement, in order."""
        p = attention(self.look(view))
        return p, gumbel_top(p.flatten(1).log(), n, generator)

    def decide(
        self, p: Tensor, index: Tensor, patches: Tensor, gradient: Gradient = "unbiased"
    ) -> Tensor:
        """Logits (b, classes) from drawn patches (b, n, 3, side, side)."""
        b, n = index.shape
        features = self.encode(patches.flatten(0, 1)).view(b, n, -1)
        return self.classify(expectation(p.flatten(1).log(), index, features, gradient))

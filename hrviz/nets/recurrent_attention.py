"""RA-CNN: its attention (boxcar mask, zoom), its ranking loss, the published network and a small one.

A box of attention is a square in fractions of its picture's sides: centre (y, x) and half a side, each
in 0..1, as the attention proposal network (APN) gives it. `confined` keeps it within the picture and
above a smallest size; `boxcar` and `amplified` are equations 5 to 7 of the paper; `seen` is what a
scale reads of an image that is finer than its input.

Sizes are those of the published Caffe network, since the paper leaves them open: three VGG-19 trunks
(448 px, then 224 px), each pooled to 512 numbers and classified by one fully connected layer; an APN of
1024 tanh units and three sigmoids on a 14 x 14 map (conv5_4, halved by max-pooling at 448 px); and the
three descriptors together in one more layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrviz.nets.patch_drop import SPREAD
from hrviz.nets.patch_reward import MEAN
from hrviz.nets.unet import conv

SCALES = 3
MARGIN = 0.05  # by which the next scale shall be surer of the truth
SHARPNESS = 10.0  # k of the boxcar, per pixel
SMALLEST = 1 / 3  # of the half-side of the scale before
FIRST_HALF = 0.25  # an APN begins with a square of half the picture's side, so half of that
VGG19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)


# ------------------------------------------------------------------ attention
def confined(box: Tensor, smallest: float = SMALLEST) -> Tensor:
    """A proposal `(n, 3)` as a square inside its picture, fractions of the picture's sides.

    Its half-side lies between `smallest` times the picture's own (0.5) and all of it; the centre is
    then moved so that nothing lies outside.
    """
    half = box[:, 2].clamp(smallest / 2, 0.5)
    centre = torch.maximum(half[:, None], torch.minimum(box[:, :2], 1 - half[:, None]))
    return torch.cat([centre, half[:, None]], 1)


def boxcar(box: Tensor, size: tuple[int, int], sharpness: float = SHARPNESS) -> Tensor:
    """Equations 5 and 6: the mask `(n, h, w)` of boxes `(n, 3)` on pictures of `size` pixels.

    M(y, x) = [h(y - y0) - h(y - y1)] [h(x - x0) - h(x - x1)] with h(t) = 1 / (1 + exp(-k t)), at pixel
    centres (+0.5); k is `sharpness`, per pixel.
    """
    sides = []
    for axis, count in enumerate(size):
        at = torch.arange(count, device=box.device) + 0.5
        low, high = ((box[:, axis] + sign * box[:, 2]) * count for sign in (-1, 1))
        sides.append(
            torch.sigmoid(sharpness * (at - low[:, None]))
            - torch.sigmoid(sharpness * (at - high[:, None]))
        )
    return sides[0][:, :, None] * sides[1][:, None, :]


def amplified(x: Tensor, box: Tensor, side: int) -> Tensor:
    """Equation 7: the part `box` of pictures `(n, c, h, w)`, enlarged to `side` pixels bilinearly.

    As printed, output i lies at i / lambda pixels from the box's corner, lambda being the
    magnification. Differentiable with respect to both.
    """
    out = x
    for axis in (0, 1):
        count = x.shape[2 + axis]
        low = (box[:, axis] - box[:, 2]) * count
        step = 2 * box[:, 2] * count / side
        at = low[:, None] + step[:, None] * torch.arange(side, device=x.device)
        out = _weighted(out, _tents(at, count), axis)
    return out


def seen(x: Tensor, box: Tensor, side: int) -> Tensor:
    """The part `box` of pictures `(n, c, h, w)` at `side` pixels, as `ImageView.read` gives it.

    Shrinking, each pixel is the mean of the area it covers; enlarging, it is bilinear between pixel
    centres. Differentiable with respect to both.
    """
    out = x
    for axis in (0, 1):
        count = x.shape[2 + axis]
        low = ((box[:, axis] - box[:, 2]) * count)[:, None]
        step = (2 * box[:, 2] * count / side)[:, None]
        i = torch.arange(side, device=x.device)
        p = torch.arange(count, device=x.device)
        first = (low + step * i)[:, :, None]
        overlap = (
            torch.minimum(first + step[:, :, None], p + 1.0) - torch.maximum(first, p)
        ).clamp_min(0)
        means = overlap / overlap.sum(2, keepdim=True).clamp_min(1e-6)
        between = _tents(low + step * (i + 0.5) - 0.5, count)
        out = _weighted(out, torch.where(step[:, :, None] >= 1, means, between), axis)
    return out


def _tents(at: Tensor, count: int) -> Tensor:
    """Bilinear weights (n, m, count) of positions (n, m) in pixel indices; beyond the rim, the rim."""
    p = torch.arange(count, device=at.device)
    return (1 - (at.clamp(0, count - 1)[:, :, None] - p).abs()).clamp_min(0)


def _weighted(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Rows (axis 0) or columns (axis 1) of (n, c, h, w) combined by weights (n, out, in)."""
    if axis == 0:
        return weights[:, None] @ x
    return x @ weights.transpose(1, 2)[:, None]


def within(outer: Tensor, inner: Tensor) -> Tensor:
    """Boxes (n, 3) given in fractions of `outer` boxes, in fractions of the whole picture."""
    corner = outer[:, :2] - outer[:, 2:]
    return torch.cat([corner + 2 * outer[:, 2:] * inner[:, :2], 2 * outer[:, 2:] * inner[:, 2:]], 1)


# ------------------------------------------------------------------ losses
def ranking_loss(p: Tensor, margin: float = MARGIN, reference: bool = False) -> Tensor:
    """Equation 9: how far each scale fails to be surer of the truth than the one before.

    Parameters
    ----------
    p : Tensor (n, scales)
        Probability of the true class at each scale.
    margin : float
    reference : bool
        Take the scale before as a fixed reference. Without it no gradient reaches a middle scale while it
        fails against both its neighbours, and once it has passed the first it gains by being less sure.

    Returns
    -------
    Tensor (n, scales - 1)
        max(0, p_s - p_(s+1) + margin).
    """
    before = p[:, :-1].detach() if reference else p[:, :-1]
    return (before - p[:, 1:] + margin).clamp_min(0)


def responding(features: Tensor) -> Tensor:
    """Where an APN begins: boxes (n, 3) of half the side around the highest response.

    Parameters
    ----------
    features : Tensor (n, c, h, w)
        Of the last convolution; the response at a place is the sum over channels.
    """
    h, w = features.shape[2:]
    best = features.sum(1).flatten(1).argmax(1)
    y, x = (best // w + 0.5) / h, (best % w + 0.5) / w
    return confined(torch.stack([y, x, torch.full_like(y, FIRST_HALF)], 1))


# ------------------------------------------------------------------ as published
def vgg19() -> nn.Sequential:
    """The 16 convolutions of VGG-19 up to conv5_4, without the last pooling."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in VGG19:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(True)]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class PaperRaCnn(nn.Module):
    """RA-CNN at the published size (untrained here: counted, not used for pictures).

    Parameters
    ----------
    classes : int
    side : int
        Of the first scale's input, px; the others have half of it. 448 as published.
    """

    def __init__(self, classes: int, side: int = 448) -> None:
        super().__init__()
        self.closer = side // 2
        cells = side // 32
        self.trunks = nn.ModuleList(vgg19() for _ in range(SCALES))
        self.classifiers = nn.ModuleList(nn.Linear(512, classes) for _ in range(SCALES))
        self.proposals = nn.ModuleList(
            nn.Sequential(
                nn.Linear(512 * cells**2, 1024), nn.Tanh(), nn.Linear(1024, 3), nn.Sigmoid()
            )
            for _ in range(SCALES - 1)
        )
        self.fusion = nn.Linear(512 * SCALES, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of each scale (n, 3, classes), boxes (n, 2, 3) each within the scale before, fused logits."""
        logits, boxes, descriptors = [], [], []
        for s, (trunk, classify) in enumerate(zip(self.trunks, self.classifiers, strict=True)):
            features = trunk(x)
            descriptors.append(features.mean((2, 3)))
            logits.append(classify(descriptors[-1]))
            if s < SCALES - 1:
                cells = F.max_pool2d(features, 2) if s == 0 else features
                box = confined(self.proposals[s](cells.flatten(1)))
                size = x.shape[2], x.shape[3]
                x = amplified(x * boxcar(box, size)[:, None], box, self.closer)
                boxes.append(box)
        fused = self.fusion(torch.cat([F.normalize(d, dim=1) for d in descriptors], 1))
        return torch.stack(logits, 1), torch.stack(boxes, 1), fused


# ------------------------------------------------------------------ as trained here
class SmallRaCnn(nn.Module):
    """Three small trunks and two APNs: what is trained here.

    Each scale is called by itself (`first`, `second`, `third`), since what it sees is read from the
    image once the box is known; its answer is one row a picture (`split`). `fuse` classifies the three
    descriptors together.

    Parameters
    ----------
    classes : int
    side : int
        Of every scale's input, px; a multiple of 4.
    widths : sequence of int
        Channels of the convolutions; the second and the fourth halve the picture.
    cells, hidden : int
        Channels to which an APN squeezes the features, and its tanh units.
    """

    def __init__(
        self, classes: int, side: int, widths: Sequence[int] = (12, 24, 36, 48, 48), cells: int = 6,
        hidden: int = 48,
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes, self.side, self.width = classes, side, widths[-1]
        a, b, c, d, e = widths
        self.trunks = nn.ModuleList(
            nn.Sequential(conv(3, a), conv(a, b, 2), conv(b, c), conv(c, d, 2), conv(d, e))
            for _ in range(SCALES)
        )
        self.classifiers = nn.ModuleList(nn.Linear(e, classes) for _ in range(SCALES))
        self.proposals = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(e, cells, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(cells * (side // 4) ** 2, hidden), nn.Tanh(), nn.Linear(hidden, 3), nn.Sigmoid(),
            )
            for _ in range(SCALES - 1)
        )  # fmt: skip
        self.fusion = nn.Linear(e * SCALES, classes)

    def features(self, s: int, x: Tensor) -> Tensor:
        """Last convolution of scale s on pictures (n, 3, side, side) in 0..1."""
        out: Tensor = self.trunks[s]((x - MEAN) / SPREAD)
        return out

    def scale(self, s: int, x: Tensor) -> Tensor:
        features = self.features(s, x)
        # the strongest response anywhere, not the mean: the object is a small part of the picture
        descriptor = features.amax((2, 3))
        box = self.proposals[s](features) if s < SCALES - 1 else x.new_zeros(len(x), 3)
        return torch.cat([self.classifiers[s](descriptor), box, descriptor], 1)

    def first(self, x: Tensor) -> Tensor:
        """Scale 1: rows (n, classes + 3 + width) of pictures (n, 3, side, side)."""
        return self.scale(0, x)

    def second(self, x: Tensor) -> Tensor:
        """Scale 2."""
        return self.scale(1, x)

    def third(self, x: Tensor) -> Tensor:
        """Scale 3, whose box is zero: nothing follows."""
        return self.scale(2, x)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, classes), proposed boxes (n, 3) and descriptors (n, width) of a scale's rows."""
        logits, box, descriptor = rows.split([self.classes, 3, self.width], 1)
        return logits, box, descriptor

    def fuse(self, descriptors: Tensor) -> Tensor:
        """Logits (n, classes) of descriptors (n, 3 * width) side by side, each normalised to length 1."""
        each = F.normalize(descriptors.unflatten(1, (SCALES, self.width)), dim=2)
        out: Tensor = self.fusion(each.flatten(1))
        return out

    def forward(
        self, x: Tensor, smallest: float = SMALLEST, sharpness: float = SHARPNESS
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All scales on pictures (n, 3, h, w) that are finer than the input: what training runs.

        Returns
        -------
        logits : Tensor (n, 3, classes)
        boxes : Tensor (n, 3, 3)
            What each scale sees, in fractions of the picture; the first is all of it.
        descriptors : Tensor (n, 3 * width)
        """
        box = x.new_tensor([[0.5, 0.5, 0.5]]).expand(len(x), 3)
        view = seen(x, box, self.side)
        logits, boxes, descriptors = [], [], []
        for s in range(SCALES):
            boxes.append(box)
            answer, proposal, descriptor = self.split(self.scale(s, view))
            logits.append(answer)
            descriptors.append(descriptor)
            if s < SCALES - 1:
                own = confined(proposal, smallest)
                box = within(box, own)
                view = masked(seen(x, box, self.side), own, sharpness)
        return torch.stack(logits, 1), torch.stack(boxes, 1), torch.cat(descriptors, 1)


def masked(x: Tensor, box: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """What lies in a box (pictures (n, c, side, side) of it) under the boxcar of the scale before.

    The mask is that of equation 5 on the scale before, which has `side` pixels too, read where the
    pixels of `x` lie; what it takes away becomes the mean colour (zero after normalisation).
    """
    side = x.shape[-1]
    at = (torch.arange(side, device=x.device) + 0.5) / side
    # from the box's own rim, in pixels of the scale before: the same along both axes
    inside = 2 * box[:, 2:] * side * at
    rim = torch.sigmoid(sharpness * inside) - torch.sigmoid(
        sharpness * (inside - 2 * box[:, 2:] * side)
    )
    mask = (rim[:, :, None] * rim[:, None, :])[:, None]
    return MEAN + (x - MEAN) * mask

"""A compact detector without anchors: a heat map of centres, and at each a size and an offset.

In the manner of CenterNet (Zhou, Wang, Kraehenbuehl, "Objects as Points", 2019): an object is the
peak of its class's heat map, on a grid of a quarter of the input's resolution; the same place tells
the logarithm of its size and where in the cell its centre lies. The trunk halves the resolution step
by step; a feature pyramid adds the coarse levels, which see far, to the fine one, which sees small
things. Everything is convolution, so any size goes in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hrviz.boxes import suppress
from hrviz.nets.unet import conv

STRIDE = 4  # input pixels a cell of the output
SMALLEST_INPUT = 32
SIZES, OFFSETS = slice(-4, -2), slice(-2, None)  # channels of an answer, behind its classes
NARROWEST = 0.7  # cells: least standard deviation of a peak in the targets


class SmallDetector(nn.Module):
    """Pixels to heat-map logits, log sizes and centre offsets.

    Parameters
    ----------
    classes : int
    widths : sequence of int
        Channels at 1/2, 1/4, 1/8, ... of the input's resolution; at least two. More levels see
        farther, more channels know more.
    blocks : int
        Further 3 x 3 convolutions at every level from 1/4 on.

    Notes
    -----
    Input `(n, 3, h, w)` in 0..1 of any size (the rim is repeated up to what the strides need);
    output `(n, classes + 4, ceil(h/4), ceil(w/4))`: logits of each class's heat map, log of height
    and width in cells of 4 px, and the centre's (y, x) offset from the cell's centre in cells.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (16, 32, 48, 64, 96),
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.stem = conv(3, widths[0], 2)
        self.down = nn.ModuleList()
        inputs = widths[0]
        for width in widths[1:]:
            more = [conv(width, width) for _ in range(blocks)]
            self.down.append(nn.Sequential(conv(inputs, width, 2), *more))
            inputs = width
        neck = widths[1]
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[1:])
        self.joint = conv(neck, neck)
        self.head = nn.Sequential(conv(neck, neck), nn.Conv2d(neck, classes + 4, 1))
        nn.init.zeros_(self.head[1].bias)  # type: ignore[arg-type]
        # nearly every cell is background: start there, or the first steps only unlearn
        nn.init.constant_(self.head[1].bias[:classes], -2.2)  # type: ignore[index]

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features at 1/4, 1/8, ... of the (padded) input: what LZU un-zooms."""
        h, w = x.shape[-2:]
        step = 2 ** (len(self.down) + 1)
        short = [max(-(-n // step) * step, SMALLEST_INPUT) - n for n in (h, w)]
        x = F.pad(2 * x - 1, (0, short[1], 0, short[0]), mode="replicate")
        x = self.stem(x)
        out = []
        for block in self.down:
            x = block(x)
            out.append(x)
        return out

    def answer(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Feature pyramid and heads, from `levels` to `(n, classes + 4, h', w')` of the finest."""
        x: torch.Tensor = self.lateral[-1](levels[-1])
        for lateral, level in zip(list(self.lateral)[-2::-1], list(levels)[-2::-1], strict=True):
            x = F.interpolate(x, size=level.shape[-2:], mode="nearest") + lateral(level)
        out: torch.Tensor = self.head(self.joint(x))
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, w = (-(-n // STRIDE) for n in x.shape[-2:])
        return self.answer(self.levels(x))[..., :h, :w]

    def targets(
        self, boxes: np.ndarray, classes: np.ndarray, size: tuple[int, int]
    ) -> torch.Tensor:
        """What the network should answer to a picture with these objects.

        Parameters
        ----------
        boxes : ndarray, (n, 4)
            (y0, x0, y1, x1) in pixels of the picture. Those whose centre lies outside are left out.
        classes : ndarray int, (n,)
            From 0.
        size : (int, int)
            Height and width of the picture in pixels.

        Returns
        -------
        Tensor float32, (classes + 5, ceil(h/4), ceil(w/4))
            Heat maps in 0..1 (1 in the cell of a centre, Gaussian around it with a sixth of the box
            as standard deviation), log sizes, offsets, and the weight of sizes and offsets there.
        """
        h, w = (-(-n // STRIDE) for n in size)
        out = np.zeros((self.classes + 5, h, w), np.float32)
        rows, columns = np.arange(h) + 0.5, np.arange(w) + 0.5
        # the largest first: where two meet, the cell tells the smaller one's size
        order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
        for y0, x0, y1, x1, kind in np.column_stack([boxes, classes])[order]:
            cy, cx = (y0 + y1) / 2 / STRIDE, (x0 + x1) / 2 / STRIDE
            if not (0 <= cy < h and 0 <= cx < w):
                continue
            height, width = max(y1 - y0, 0.5) / STRIDE, max(x1 - x0, 0.5) / STRIDE
            sy, sx = max(height / 6, NARROWEST), max(width / 6, NARROWEST)
            i, j = int(cy), int(cx)
            peak = np.exp(-0.5 * ((rows - i - 0.5) / sy) ** 2)[:, None] * np.exp(
                -0.5 * ((columns - j - 0.5) / sx) ** 2
            )
            heat = out[int(kind)]
            np.maximum(heat, peak, out=heat)
            near = np.s_[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            values = out[self.classes :, *near]
            values[0], values[1] = np.log(height), np.log(width)
            values[2] = (cy - rows[near[0]])[:, None]
            values[3] = (cx - columns[near[1]])[None]
            values[4] = peak[near]
        return torch.from_numpy(out)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Focal loss of the heat maps (CenterNet, equation 1) plus L1 of log sizes and offsets.

        Where there are several classes, the cross-entropy between them at the centres is added: the
        heat maps alone tell things from background long before they tell 70 from 80.

        Parameters
        ----------
        outputs : Tensor, (n, classes + 4, h, w)
        targets : Tensor, (n, classes + 5, h, w)
            Stacked `targets`.
        weight : Tensor, optional, broadcast to (n, 1, h, w)
            Of each cell in the loss of the heat maps, e.g. the area it stands for.
        """
        n = self.classes
        logits, heat = outputs[:, :n], targets[:, :n]
        p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
        centre = (heat >= 1).float()
        focal = -(
            centre * (1 - p) ** 2 * p.log() + (1 - centre) * (1 - heat) ** 4 * p**2 * (1 - p).log()
        )
        if weight is not None:
            focal = focal * (centre + (1 - centre) * weight)
        found = centre.sum().clamp(min=1)
        share = targets[:, n + 4 :]
        error = (outputs[:, n:] - targets[:, n : n + 4]).abs()
        total: torch.Tensor = focal.sum() / found
        total = total + (error * share).sum() / share.sum().clamp(min=1)
        if n > 1:
            at = centre.amax(1) > 0
            kinds, told = centre.argmax(1)[at], logits.movedim(1, -1)[at]
            total = total + F.cross_entropy(told, kinds, reduction="sum") / found
        return total


def decode(
    outputs: torch.Tensor, top: int = 100, threshold: float = 0.05
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Objects in a network's answer: peaks of 3 x 3 cells, then suppression by overlap.

    Parameters
    ----------
    outputs : Tensor, (n, classes + 4, h, w)
    top : int
        At most as many objects a picture, the best.
    threshold : float
        Least score, 0 to 1.

    Returns
    -------
    list of (boxes float64 (k, 4), scores float32 (k,), classes int64 (k,)), best first
        Boxes (y0, x0, y1, x1) in input pixels.
    """
    heat = outputs[:, :-4].float().sigmoid()
    peak = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
    out = []
    for one, answer in zip(peak, outputs.double(), strict=True):
        h, w = one.shape[1:]
        scores, place = one.flatten().topk(min(top, one.numel()))
        scores, place = scores[scores >= threshold], place[scores >= threshold]
        kind, cell = place // (h * w), place % (h * w)
        at = answer.flatten(1)[:, cell]
        corner = torch.stack([cell // w, cell % w]) + 0.5
        centre = (corner + at[OFFSETS]) * STRIDE
        half = at[SIZES].clamp(-3, 8).exp() * (STRIDE / 2)
        boxes = torch.cat([centre - half, centre + half]).T.numpy()
        kept = suppress(boxes, scores.numpy())
        out.append((boxes[kept], scores.numpy()[kept], kind.numpy()[kept]))
    return out

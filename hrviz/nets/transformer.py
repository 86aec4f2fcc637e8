"""The two networks of a spatial transformer: one says where to crop, one reads the crop.

`Localiser` looks at a thumbnail and answers with a heat map and a map of sizes; theta = (s, t_x, t_y)
is read off around the heat map's peak by an expectation, so that the reader's loss reaches it.
`SignReader` classifies the crop.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from hrviz.nets.unet import conv

REACH = 3  # cells around the peak whose expectation is taken
SIZES = (0.03, 0.4)  # least and greatest s


class Localiser(nn.Module):
    """Thumbnail to where-logits and size-logits at a quarter of its resolution.

    Input `(n, 3, h, w)` in 0..1, output `(n, 2, ceil(h/4), ceil(w/4))`; `theta` turns it into crops.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            conv(3, width, 2), conv(width, 2 * width, 2), conv(2 * width, 2 * width)
        )
        self.coarse = nn.Sequential(conv(2 * width, 2 * width, 2), conv(2 * width, 2 * width))
        self.joint = conv(2 * width, 2 * width)
        self.head = nn.Conv2d(2 * width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(2 * x - 1)
        coarse = F.interpolate(self.coarse(fine), size=fine.shape[-2:], mode="nearest")
        out: torch.Tensor = self.head(self.joint(fine + coarse))
        return out


def theta(logits: torch.Tensor) -> torch.Tensor:
    """(s, t_x, t_y) of each crop, `(n, 3)`, in coordinates of -1..1 over the thumbnail's edges.

    The expectation of place and size over the cells within `REACH` of the peak. Of several peaks
    the highest alone counts: the mean of two signs is a place where there is none.
    """
    h, w = logits.shape[-2:]
    where, size = logits[:, 0].flatten(1), logits[:, 1].flatten(1)
    peak = where.detach().argmax(1, keepdim=True)
    cell = torch.arange(h * w, device=logits.device)[None]
    near = ((cell // w - peak // w).abs() <= REACH) & ((cell % w - peak % w).abs() <= REACH)
    p = where.masked_fill(~near, -torch.inf).softmax(1)
    y = ((cell // w).to(p.dtype) + 0.5) / h * 2 - 1
    x = ((cell % w).to(p.dtype) + 0.5) / w * 2 - 1
    low, high = SIZES
    s = low * (high / low) ** (p * size.sigmoid()).sum(1)
    return torch.stack([s, (p * x).sum(1), (p * y).sum(1)], 1)


class SignReader(nn.Module):
    """A crop to class logits: input `(n, 3, h, w)` in 0..1, output `(n, classes)`."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, width, 2), conv(width, 2 * width), conv(2 * width, 2 * width, 2),
            conv(2 * width, 3 * width), conv(3 * width, 4 * width, 2), conv(4 * width, 4 * width, 2),
        )  # fmt: skip
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the maximum keeps a sign wherever it is; the mean would drown it in its surroundings
        out: torch.Tensor = self.head(self.body(2 * x - 1).amax((2, 3)))
        return out

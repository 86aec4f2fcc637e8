"""A fixed saliency map as a network without parameters: what FOVEA calls S_D, and LZU zooms by."""

from __future__ import annotations

import torch
from torch import nn


class FixedSaliency(nn.Module):
    """A map over a whole picture, from edge to edge.

    Parameters
    ----------
    rows, columns : int

    Notes
    -----
    Input: places `(n, 2)` as (v, u) in 0..1; output `(n,)`, interpolated bilinearly.
    """

    saliency: torch.Tensor

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.register_buffer("saliency", torch.ones(rows, columns))

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        at = (2 * places.to(self.saliency) - 1).flip(-1)[None, None]
        found = nn.functional.grid_sample(
            self.saliency[None, None], at, align_corners=True, padding_mode="border"
        )
        return found[0, 0, 0]

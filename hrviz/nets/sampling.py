"""Sampled expectations with gradients: what networks that attend by sampling are trained through.

The same estimate as `hrviz.methods.zooming.draws`, on tensors. The value is unbiased either way;
the gradient with respect to the attention is only so with the score-function term
(`gradient='unbiased'`): differentiating the brackets alone is not enough, since what is drawn
depends on the attention too.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Gradient = Literal["unbiased", "none"]
LEAST = 1e-6  # of the mass left for late draws: below, their terms are all noise


def gumbel_top(log_p: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Indices (b, n) drawn without replacement from log-probabilities (b, m), in order."""
    noise = torch.rand(log_p.shape, generator=generator, dtype=log_p.dtype).clamp(1e-12, 1 - 1e-7)
    keys = log_p.detach() - torch.log(-torch.log(noise)).to(log_p.device)
    return keys.topk(min(n, log_p.shape[-1]), dim=-1).indices


def expectation(
    log_p: Tensor, index: Tensor, features: Tensor, gradient: Gradient = "unbiased",
    replacement: bool = False,
) -> Tensor:  # fmt: skip
    """Estimate of sum_c p_c f_c from the features of drawn positions, with gradients.

    Parameters
    ----------
    log_p : Tensor (b, m)
        Log-probabilities of all positions.
    index : Tensor int (b, n)
        What was drawn, in order.
    features : Tensor (b, n, d)
        Of the drawn positions.
    gradient : {'unbiased', 'none'}
        'none' leaves out the score-function term: of use at test time only.
    replacement : bool
        How it was drawn.

    Returns
    -------
    Tensor (b, d)
    """
    drawn = log_p.gather(1, index)
    if replacement:
        each, chance = features, drawn
    else:
        p = drawn.exp()
        left = (1 - (p.cumsum(1) - p)).clamp_min(LEAST)
        weighted = p[..., None] * features
        each = weighted.cumsum(1) - weighted + left[..., None] * features
        chance = (drawn - left.log()).cumsum(1)
    if gradient == "none":
        return each.mean(1)
    held = each.detach() * (chance - chance.detach())[..., None]
    return (each + held).mean(1)

"""Sampled expectations with gradients: what networks that attend by sampling are trained through.

The same estimate as `hrviz.methods.zooming.draws`, on tensors. The value is unbiased either way;
the gradient with respect to the attention is only so with the score-function term
(`gradient='unbiased'`): differentiating the brackets alone is not enough, since what is drawn
depends on the attention too. `gradient='as published'` is that of the library of attention sampling
(Katharopoulos and Fleuret): without replacement it is biased in the attention from two draws on, but
less noisy; in the features both are exact.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Gradient = Literal["unbiased", "as published", "none"]
LEAST = 1e-6  # of the mass left for late draws: below, their terms are all noise


def gumbel_top(log_p: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Indices (b, n) drawn without replacement from log-probabilities (b, m), in order."""
    noise = torch.rand(log_p.shape, generator=generator, dtype=log_p.dtype).clamp(1e-12, 1 - 1e-7)
    keys = log_p.detach() - torch.log(-torch.log(noise)).to(log_p.device)
    return keys.topk(min(n, log_p.shape[-1]), dim=-1).indices


def brackets(
    log_p: Tensor, index: Tensor, features: Tensor, gradient: Gradient = "unbiased",
    replacement: bool = False, baseline: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The terms of the estimate, one a draw: each alone has sum_c p_c f_c as its mean.

    Parameters
    ----------
    log_p : Tensor (b, m)
        Log-probabilities of all positions.
    index : Tensor int (b, n)
        What was drawn, in order.
    features : Tensor (b, n, d)
        Of the drawn positions.
    gradient : {'unbiased', 'as published', 'none'}
        'none' leaves out the score-function term: of use at test time only.
    replacement : bool
        How it was drawn.
    baseline : Tensor (d,), optional
        Taken from the features in the score-function term, such as a running mean of them: the
        gradient stays unbiased where it does not depend on these draws, and varies less.

    Returns
    -------
    Tensor (b, n, d)
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
        return each
    if gradient == "as published" and not replacement:
        return _published(drawn.exp(), features)
    apart = each.detach() if baseline is None else each.detach() - baseline
    return each + apart * (chance - chance.detach())[..., None]


def expectation(
    log_p: Tensor, index: Tensor, features: Tensor, gradient: Gradient = "unbiased",
    replacement: bool = False,
) -> Tensor:  # fmt: skip
    """Estimate of sum_c p_c f_c, (b, d): the mean of `brackets`, whose parameters it has."""
    return brackets(log_p, index, features, gradient, replacement).mean(1)


def _published(p: Tensor, features: Tensor) -> Tensor:
    """The brackets with the library's gradient in the drawn attention p (b, n).

    Bracket i pulls at p_i with E_i (1 - sum before) / p_i + (sum_{j<i} f_j - i f_i), i from 0.
    """
    held = p.detach()[..., None]
    left = (1 - (held.cumsum(1) - held)).clamp_min(LEAST)
    weighted = held * features
    each = weighted.cumsum(1) - weighted + left * features
    f = features.detach()
    place = torch.arange(f.shape[1], device=f.device, dtype=f.dtype)[:, None]
    pull = each.detach() * left / held + f.cumsum(1) - f - place * f
    return each + pull * (p[..., None] - held)

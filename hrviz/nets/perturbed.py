r"""Perturbed top-k: choosing the k best positions so that gradients reach the scores.

Noise is added to the scores many times and the k best positions taken, sorted by position; the mean
of the one-hot choices,

.. math:: Y = E[\mathrm{onehot}(\mathrm{top}_k(s + \sigma Z))], \qquad
          \frac{\partial Y_{k,i}}{\partial s_d} = \frac1\sigma E[\mathrm{onehot}_{k,i} Z_d],

is smooth in s (Berthet et al., NeurIPS 2020; Cordonnier et al., CVPR 2021). The public code of the
latter multiplies elementwise in its backward pass, so that only the diagonal d = i of the Jacobian
is left; 'as published code' does so too.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function

from hrviz.nets.attention_sampling import PatchFeatures, ViewAttention

Jacobian = Literal["full", "as published code"]
EPS = 1e-5


def normalised(scores: Tensor) -> Tensor:
    """Scores (b, m) shifted and scaled to 0..1 for each picture; all equal ones become 0."""
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return (scores - low) / (high - low + EPS)


def hard_top_k(scores: Tensor, k: int) -> Tensor:
    """Positions (b, k) of the best scores, sorted by position; at most as many as there are."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return best.sort(dim=1).values


class _Perturbed(Function):
    """Scores (b, m) to the mean choice Y (b, k, m)."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, noise: Tensor, k: int, sigma: float, jacobian: Jacobian
    ) -> Tensor:
        b, samples, m = noise.shape
        chosen = (scores[:, None] + sigma * noise).topk(k, dim=-1).indices.sort(dim=-1).values
        at = torch.arange(b * k, device=scores.device).view(b, 1, k) * m + chosen
        y = torch.bincount(at.flatten(), minlength=b * k * m).view(b, k, m).to(scores.dtype)
        ctx.save_for_backward(noise, chosen)
        ctx.sigma, ctx.jacobian = sigma, jacobian
        return y / samples

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        noise, chosen = ctx.saved_tensors
        samples, scale = noise.shape[1], 1 / (noise.shape[1] * ctx.sigma)
        # upstream at what each sample chose: (b, samples, k)
        at = upstream.gather(2, chosen.transpose(1, 2)).transpose(1, 2)
        if ctx.jacobian == "full":
            grad = torch.einsum("bs,bsm->bm", at.sum(2), noise)
        else:
            grad = torch.zeros_like(upstream[:, 0])
            own = at * noise.gather(2, chosen)
            grad.scatter_add_(
                1, chosen.flatten(1), own.reshape(len(own), samples * chosen.shape[2])
            )
        return grad * scale, None, None, None, None


def perturbed_top_k(
    scores: Tensor,
    k: int,
    sigma: float = 0.05,
    samples: int = 500,
    generator: torch.Generator | None = None,
    jacobian: Jacobian = "full",
    noise: Tensor | None = None,
) -> Tensor:
    """The mean choice of the k best positions under noise, differentiable in the scores.

    Parameters
    ----------
    scores : Tensor (b, m)
        Normalised, as a rule (`normalised`).
    k : int
        At most m are chosen.
    sigma : float
        Of the noise.
    samples : int
    jacobian : {'full', 'as published code'}
    noise : Tensor (b, samples, m), optional
        Standard normal; drawn when not given.

    Returns
    -------
    Tensor (b, k, m)
        Each row sums to 1: row j is where the j-th chosen position (by position) lies.
    """
    if noise is None:
        shape = (scores.shape[0], samples, scores.shape[1])
        noise = torch.randn(shape, generator=generator, dtype=scores.dtype).to(scores.device)
    out: Tensor = _Perturbed.apply(scores, noise, min(k, scores.shape[1]), sigma, jacobian)
    return out


class Mixer(nn.Module):
    """One transformer layer over the features of the chosen patches (b, k, width), then their mean."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layer(features)
        return out.mean(1)


class PatchSelection(nn.Module):
    """The small network that is trained: scorer, patch features, pooling, classifier.

    Parameters
    ----------
    classes : int
    pooling : {'mean', 'transformer'}
    width, stride : int
        Of `PatchFeatures`.
    patch : int
        Side in full-resolution pixels that it is trained on.
    scale : float
        View pixels per full-resolution pixel and axis that it is trained on.
    """

    def __init__(
        self, classes: int, pooling: str = "transformer", width: int = 32, stride: int = 4,
        patch: int = 96, scale: float = 0.25,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scorer, self.features = ViewAttention(), PatchFeatures(width, stride)
        self.mixer = Mixer(width) if pooling == "transformer" else None
        self.head = nn.Linear(width, classes)
        self.pooling, self.patch, self.scale = pooling, patch, scale

    def look(self, view: Tensor) -> Tensor:
        """Scores (b, h', w') of views (b, 3, h, w), as the network gives them."""
        out: Tensor = self.scorer(view)
        return out

    def forward(self, patches: Tensor) -> Tensor:
        """Logits (1, classes) from the chosen patches (k, 3, side, side) of one picture."""
        return self.decide(patches[None])

    def scores(self, view: Tensor) -> Tensor:
        """Normalised scores (b, m) of all positions, row by row."""
        return normalised(self.scorer(view).flatten(1))

    def decide(self, patches: Tensor) -> Tensor:
        """Logits (b, classes) from patches (b, k, 3, side, side), blended or not."""
        b, k = patches.shape[:2]
        features = self.features(patches.flatten(0, 1)).view(b, k, -1)
        pooled = features.mean(1) if self.mixer is None else self.mixer(features)
        out: Tensor = self.head(pooled)
        return out

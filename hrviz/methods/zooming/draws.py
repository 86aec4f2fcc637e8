r"""Drawing positions from an attention distribution, and estimating a sum from few of them.

Attention sampling, the Zoom-In network and their like replace the sum over all positions
:math:`F=\sum_c \beta_c f_c` by an estimate from n of them. Drawn one after another *without*
replacement as :math:`I_1, ..., I_n`, the estimate

.. math:: \hat F = \frac1n \sum_{i=1}^n \Bigl[\sum_{j<i} \beta_{I_j} f_{I_j}
          + \bigl(1 - \sum_{j<i} \beta_{I_j}\bigr) f_{I_i}\Bigr]

is unbiased: given the prefix, :math:`I_i` has probability :math:`\beta / (1 - \sum_{j<i}
\beta_{I_j})`, so each bracket has mean F. (The Zoom-In paper prints :math:`f(c'_j)` in the last
term of its equation 9, which is not unbiased; `tests/methods/test_draws.py` enumerates both.) The
order of the draws is part of the estimate: keep it. Everything here is float64 numpy; the same
with gradients is `hrviz.nets.sampling`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from hrviz.errors import HrvizError


def normalised(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of scores over all their entries, float64, same shape; sums to 1."""
    z = np.asarray(scores, np.float64) / temperature
    e = np.exp(z - z.max())
    return np.asarray(e / e.sum())


def draw(
    beta: np.ndarray, n: int, rng: np.random.Generator, replacement: bool = False
) -> np.ndarray:
    """Draw n positions from a distribution, in order.

    Without replacement by the Gumbel-top-n trick: keys log beta + G sorted downwards are distributed
    as drawing one after another. At most as many as have a positive probability.

    Parameters
    ----------
    beta : ndarray, any shape, not negative, sums to 1
    n : int
    rng : numpy Generator
    replacement : bool

    Returns
    -------
    ndarray of int
        Flat indices, in the order drawn.

    Raises
    ------
    HrvizError
        NaN or negative probabilities, all of them zero, or n < 1.
    """
    p = np.asarray(beta, np.float64).ravel()
    if not (np.isfinite(p).all() and (p >= 0).all() and p.sum() > 0):
        raise HrvizError("the attention is no distribution: it needs finite weights, one above 0")
    if n < 1:
        raise HrvizError(f"{n} positions cannot be drawn: choose 1 or more")
    p = p / p.sum()
    if replacement:
        return np.asarray(rng.choice(len(p), n, p=p))
    with np.errstate(divide="ignore"):
        keys = np.log(p) + rng.gumbel(size=len(p))
    order = np.argsort(-keys, kind="stable")
    return np.asarray(order[: min(n, int((p > 0).sum()))])


def terms(beta: np.ndarray, order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The brackets of the estimate, one a draw: each alone has the exact sum as its mean.

    Parameters
    ----------
    beta : ndarray (m,)
    order : ndarray of int (n,)
        Drawn without replacement, in order.
    values : ndarray (n,) or (n, d)
        Of the drawn positions, in the same order.

    Returns
    -------
    ndarray, shape of `values`
    """
    weights = np.asarray(beta, np.float64)[order]
    before = np.cumsum(weights) - weights
    v = np.asarray(values, np.float64)
    shape = (-1,) + (1,) * (v.ndim - 1)
    seen = np.cumsum(weights.reshape(shape) * v, axis=0) - weights.reshape(shape) * v
    return np.asarray(seen + (1 - before).reshape(shape) * v)


def estimate(
    beta: np.ndarray, order: np.ndarray, values: np.ndarray, replacement: bool = False
) -> np.ndarray:
    """Unbiased estimate of sum(beta * f) from the drawn positions' values; scalar or (d,)."""
    each = np.asarray(values, np.float64) if replacement else terms(beta, order, values)
    return np.asarray(each.mean(axis=0))


def sequences(beta: np.ndarray, n: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """All ordered draws of n without replacement with their probabilities (for small m)."""
    p = np.asarray(beta, np.float64)
    for order in itertools.permutations(range(len(p)), n):
        left, chance = 1.0, 1.0
        for k in order:
            chance *= p[k] / left if left > 0 else 0.0
            left -= p[k]
        yield order, chance

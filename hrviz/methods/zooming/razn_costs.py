"""What RAZN is paid for zooming, and what its zooming costs: formulas without networks."""

from __future__ import annotations

import numpy as np

EPS = 1e-6  # of the loss that the reward divides by: a perfect answer cannot be improved


def reward(
    low: np.ndarray, high: np.ndarray, zoomed: np.ndarray | int = 1, eps: float = EPS
) -> np.ndarray:
    """Relative improvement of the loss by zooming, a (L_i - L_(i+1)) / L_i; 0 without zooming.

    Parameters
    ----------
    low, high : ndarray, same shape, not negative
        Loss of f_i on the window, and of f_(i+1) on the same area at the next level.
    zoomed : ndarray or int
        The decisions a, 0 or 1.
    eps : float
        Added to the divisor, so that nothing is gained where L_i is 0.

    Returns
    -------
    ndarray float64

    Examples
    --------
    >>> reward(np.array([1.0, 0.5, 0.2]), np.array([0.4, 0.6, 0.1])).round(3).tolist()
    [0.6, -0.2, 0.5]
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    return np.asarray(zoomed * (low - high) / (low + eps))


def expected_calls(
    p: np.ndarray | float, ratio: int, zooms: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Network calls a window of the coarsest level leads to, when each zooms with probability p.

    With q = p r^2 windows a level coming from one: sum_(i<m) q^i calls of the policies and
    (1 - p) sum_(i<m) q^i + q^m of the segmenters, against r^(2m) of the finest level everywhere. Below
    p = 1 / r^2 the tree stays bounded however deep it may go.

    Parameters
    ----------
    p : float or ndarray
        Probability of zooming, the same at every level.
    ratio, zooms : int
        r and m.

    Returns
    -------
    policy, segmentation : ndarray, shape of `p`
    exhaustive : float

    Examples
    --------
    >>> policy, segmentation, exhaustive = expected_calls(0.5, 2, 2)
    >>> float(policy), float(segmentation), exhaustive
    (3.0, 5.5, 16.0)
    """
    p = np.asarray(p, np.float64)
    q = p * ratio**2
    policy = sum((q**i for i in range(zooms)), np.zeros_like(p))
    return policy, (1 - p) * policy + q**zooms, float(ratio ** (2 * zooms))

"""What PatchDrop's policy is paid and how it explores, as plain arithmetic on arrays or tensors;
and the sizes that its networks and the method share.

With P patches of which k are kept, R = 1 - (k/P)^2 where the answer is right and a penalty where it is
wrong. Keep probabilities s are drawn from as alpha s + (1 - alpha)(1 - s), so that none is ever sure.
"""

from __future__ import annotations

from typing import Any

GRID = 4  # patches a side, what all policies here are made for
FULL, SMALL = 224, 56  # px a side of what the classifier and the policy see (ImageNet, fMoW)
#: colour of a dropped patch, the mean of the training pictures: zero after normalisation
MEAN = 0.0575


def reward(share: Any, right: Any, penalty: float) -> Any:
    """R for the share k/P of patches kept and whether the answer is right (0 or 1), any shape alike.

    Examples
    --------
    >>> [reward(k / 16, right, -0.5) for k, right in ((0, 1), (8, 1), (4, 0), (16, 1))]
    [1.0, 0.75, -0.5, 0.0]
    """
    return right * (1 - share**2) + (1 - right) * penalty


def bounded(s: Any, alpha: float) -> Any:
    """Keep probabilities within 1 - alpha .. alpha, as drawn from.

    Examples
    --------
    >>> bounded(0.0, 0.8).__round__(2), bounded(1.0, 0.8), bounded(0.9, 0.5)
    (0.2, 0.8, 0.5)
    """
    return alpha * s + (1 - alpha) * (1 - s)

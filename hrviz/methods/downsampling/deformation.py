"""What learned deformation is taught besides the task: saliency should lie on the labels' edges.

The edge target is that of Jin et al. (ICLR 2022) to the letter, with two of its properties that one
would not guess: an edge answers only on the side of the higher label, with a strength that grows with
the difference of class numbers; and the filter leaves border pixels as they are, so that a label that
touches the border shows there unfiltered. `zero_border` takes the outer ring away.
"""

from __future__ import annotations

from typing import Any

import numpy as np

GAMMA = 100.0
EPS = 1e-12  # saliency is a softmax over thousands of pixels: its range is about 1e-4


def edge_target(labels: np.ndarray, zero_border: bool = False) -> np.ndarray:
    """Where saliency should lie, from labels on the thumbnail.

    Labels are scaled to 0..255, blurred (Gaussian, radius 1) and filtered with the 3 x 3 Laplacian
    [-1 -1 -1; -1 8 -1; -1 -1 -1], negative answers cut: Pillow's `GaussianBlur` and `FIND_EDGES`.

    Parameters
    ----------
    labels : ndarray, (h, w)
        Class numbers, or the share of a class. Constant labels have no edge.
    zero_border : bool
        Set the outer ring, which Pillow leaves unfiltered, to 0.

    Returns
    -------
    ndarray float32, (h, w), in 0..1
    """
    from PIL import Image, ImageFilter

    low, high = float(labels.min()), float(labels.max())
    if high <= low:
        return np.zeros(labels.shape, np.float32)
    scaled = ((labels.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
    picture = Image.fromarray(scaled).filter(ImageFilter.GaussianBlur(1))
    found = np.asarray(picture.filter(ImageFilter.FIND_EDGES), np.float32) / 255
    if zero_border:
        found[[0, -1]] = found[:, [0, -1]] = 0
    return found


def edge_loss(saliency: Any, target: Any) -> Any:
    """100 times the mean squared difference of saliency and target, each stretched to 0..1.

    Arrays or tensors of the same shape; the range is that of the whole batch, as in the authors'
    code. A constant map, which they divide by zero, becomes 0.
    """
    stretched = ((x - x.min()) / (x.max() - x.min() + EPS) for x in (saliency, target))
    a, b = stretched
    return GAMMA * ((a - b) ** 2).mean()

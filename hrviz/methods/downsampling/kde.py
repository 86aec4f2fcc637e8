"""Saliency from boxes: FOVEA's kernel density estimate, one Gaussian an object.

    s = sum over boxes of  a g / (1e-5 + sum g) + 1 / (2 p + 1)^2,
    g = exp(-((x - cx)^2 / (b w) + (y - cy)^2 / (b h)) / 2),

normalised to sum 1. The variance is b times the side, in px^2: a box of 100 px is spread by
sqrt(64 x 100) = 80 px. The second term is an even floor of one padded window (p cells of padding) a
box, so it grows with their number. No boxes: even.
"""

from __future__ import annotations

import numpy as np

from hrviz.cost.operations import count
from hrviz.geometry import Box

REFERENCE = 1920.0  # px: longer side of the paper's pictures, in which the bandwidth is given
NARROWEST = 1.0  # px: a box without width has no variance


def kde(
    boxes: np.ndarray,
    height: float,
    width: float,
    nodes: tuple[int, int],
    bandwidth: float = 64.0,
    amplitude: float = 1.0,
    cells: int | None = None,
) -> np.ndarray:
    """Saliency at nodes evenly spread over a picture, from edge to edge.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
        (y0, x0, y1, x1) in pixels of the picture; not altered. Sides below 1 px count as 1 px.
    height, width : float
        Of the picture, in the same pixels.
    nodes : (int, int)
        Rows and columns; node k of n lies at k / (n - 1) of the side.
    bandwidth, amplitude : float
        b in px, and a.
    cells : int, optional
        Padding p of the sampler; default the lesser number of nodes less one (FOVEA: 30).

    Returns
    -------
    ndarray float64, `nodes`, sum 1
    """
    ny, nx = nodes
    p = min(ny, nx) - 1 if cells is None else cells
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(boxes):
        return np.full(nodes, 1 / (ny * nx))
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    variance = bandwidth * np.maximum(side, NARROWEST)
    rows, columns = (
        np.exp(-0.5 * (np.linspace(0, full, n) - centre[:, k, None]) ** 2 / variance[:, k, None])
        for k, (full, n) in enumerate(((height, ny), (width, nx)))
    )
    # a Gaussian is a product of two lines: no box needs a map of its own
    share = amplitude / (1e-5 + rows.sum(1) * columns.sum(1))
    total = (rows * share[:, None]).T @ columns + len(boxes) / (2 * p + 1) ** 2
    count("box density", 2 * len(boxes) * (ny * nx + ny + nx))
    return np.asarray(total / total.sum())


def region_kde(
    boxes: np.ndarray,
    region: Box,
    nodes: tuple[int, int],
    bandwidth: float = 64.0,
    amplitude: float = 1.0,
) -> np.ndarray:
    """`kde` of boxes in level-0 pixels over a region of an image.

    Boxes are first scaled as if the region's longer side had 1,920 px, as in the paper: else the
    same bandwidth would mean another warp at every image size.
    """
    scale = REFERENCE / max(region.height, region.width)
    moved = (np.asarray(boxes, np.float64).reshape(-1, 4) - [region.y0, region.x0] * 2) * scale
    return kde(moved, region.height * scale, region.width * scale, nodes, bandwidth, amplitude)

"""Pictures through a grid in torch, for recipes whose grids lie between corner pixel centres.

Every output pixel is the mean of points x points bilinear reads spread over its own footprint: the
same filter for warped and uniform pictures, and gradients flow to the grid.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np


@lru_cache(maxsize=16)
def _spread(nodes: int, size: int, points: int) -> Any:
    """Matrix (size * points, nodes): where the points of each output pixel lie between nodes."""
    import torch

    at = (np.arange(size * points) + 0.5) / points - 0.5
    at = np.clip(at / (size - 1), 0, 1) * (nodes - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(nodes)))
    return torch.from_numpy(weights.astype(np.float32))


def warp(x: Any, nodes: tuple[Any, Any], size: int, points: int = 4) -> Any:
    """Pictures (n, c, h, w) by node positions (v, u), (n, ny, nx) each in 0..1, to (n, c, size, size)."""
    import torch
    from torch.nn import functional as F

    rows, columns = (_spread(n, size, points) for n in nodes[0].shape[-2:])
    v, u = (rows @ p @ columns.T for p in nodes)
    grid = torch.stack([u, v], -1) * 2 - 1
    fine = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return F.avg_pool2d(fine, points)


def even_nodes(count: int, nodes: int) -> tuple[Any, Any]:
    """Nodes of uniform downsampling, `(v, u)` of shape (count, nodes, nodes)."""
    import torch

    line = torch.linspace(0, 1, nodes)
    return line[:, None].expand(count, nodes, nodes), line.expand(count, nodes, nodes)

"""Un-zooming features: a network's maps of a warped picture, carried back to even spacing.

For every cell of the evenly spaced map the grid's exact inverse tells where in the warped picture it
is, and the features are interpolated there: along each axis for separable grids, by the bilinear cell
(a quadratic) for others. Where the grid does not reach, features are 0. Differentiable in the
features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hrviz.results import WarpGrid

if TYPE_CHECKING:
    import torch


def unzoom_places(
    grid: WarpGrid, size: tuple[int, int] | None = None, stride: int = 1
) -> np.ndarray:
    """Where in the warped picture each cell of an evenly spaced map lies.

    Parameters
    ----------
    grid : WarpGrid
    size : (int, int), optional
        Rows and columns of the map; default as many as the output has cells.
    stride : int
        Output pixels a cell: cell k stands for pixels k stride ... (k + 1) stride - 1 of the uniform
        picture of the same size, and of the warped one. Cells beyond the picture, which networks
        pad, repeat its rim.

    Returns
    -------
    ndarray float64, (rows, columns, 2)
        Index position (row, column) in the map of the warped picture; NaN where uncovered.
    """
    h, w = grid.size
    rows, columns = size or (-(-h // stride), -(-w // stride))
    y = np.minimum((np.arange(rows) + 0.5) * stride, h - 0.5)
    x = np.minimum((np.arange(columns) + 0.5) * stride, w - 0.5)
    even = WarpGrid.identity(grid.box, grid.size)
    at = even.to_image(np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2))
    return (grid.to_output(at) / stride - 0.5).reshape(rows, columns, 2)


def unzoom_features(
    features: torch.Tensor,
    grid: WarpGrid,
    size: tuple[int, int] | None = None,
    stride: int = 1,
) -> torch.Tensor:
    """Features of a warped picture, in even spacing over the region (LZU's un-zoom).

    Parameters
    ----------
    features : Tensor, (n, c, h, w)
        Of the picture that `grid` warped.
    grid : WarpGrid
    size : (int, int), optional
        Rows and columns wanted; default those of `features`.
    stride : int
        Pixels of the warped picture a cell.

    Returns
    -------
    Tensor, (n, c, *size)
        0 where the grid does not reach.
    """
    import torch

    rows, columns = size or features.shape[-2:]
    places = unzoom_places(grid, (rows, columns), stride)
    at = torch.from_numpy(places).to(features)
    return take(features, at[None].expand(len(features), *at.shape))


def take(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Features (n, c, h, w) at index positions (n, rows, columns, 2); 0 where those are NaN."""
    import torch
    from torch.nn import functional as F

    span = torch.tensor([max(n - 1, 1) for n in features.shape[-2:]]).to(places)
    known = places.isfinite().all(-1)
    at = (2 * places.nan_to_num() / span - 1).flip(-1)
    found = F.grid_sample(features, at, align_corners=True, padding_mode="border")
    return found * known[:, None]

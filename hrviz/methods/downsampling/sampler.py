"""The shared core of saliency warps: saliency at nodes to grid nodes, and sampling by a grid.

Equations 2 and 3 of the survey (Recasens et al., ECCV 2018): an output node reads the image at the
mean position of all nodes, weighted by saliency and a Gaussian of their distance,

    u = sum S k x' / sum S k,   v = sum S k y' / sum S k,   k(d) = exp(-4 ln 2 d^2 / FWHM^2),

with distances in nodes. The border needs padding, or the grid shrinks to the centre. Because the
Gaussian is a product of two 1-D ones and padding copies nodes, the whole operator is six small
matrices: with K the 1-D kernel and B the padding, M = K B and D = K diag(x) B give

    u = (M S D^T) / (M S M^T),   v = (D S M^T) / (M S M^T),

exactly the padded 2-D convolution, for numpy arrays and torch tensors (batched, differentiable)
alike.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from hrviz.cost.operations import count
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.results import WarpGrid, interpolation

if TYPE_CHECKING:
    import torch

    from hrviz.image import ImageView

    Array = TypeVar("Array", np.ndarray, torch.Tensor)

PaddingMode = Literal["none", "replicate", "reflect"]
TINY = 1e-30


@lru_cache(maxsize=256)
def _operators(
    n: int, fwhm: float, padding: PaddingMode, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """M = K B and D = K diag(x) B, (n, n) float64 each: mass and moment of the padded kernel."""
    p = 0 if padding == "none" else cells
    k = np.arange(-p, n + p)
    if padding == "replicate":
        source = np.clip(k, 0, n - 1)
    else:
        # reflect about the border node; cells up to n - 1, so one reflection is enough
        source = np.abs(k)
        source = np.where(source > n - 1, 2 * (n - 1) - source, source)
    pad = np.zeros((n + 2 * p, n))
    pad[np.arange(n + 2 * p), source] = 1
    distance = k[None, :] - np.arange(n)[:, None]
    kernel = np.exp(-4 * math.log(2) * distance**2 / fwhm**2)
    if padding != "none":
        # published code convolves with a (2p+1)-wide kernel: nothing beyond p nodes
        kernel = np.where(np.abs(distance) <= p, kernel, 0)
    position = k / (n - 1)  # continues outside 0..1 in the padding
    return kernel @ pad, (kernel * position) @ pad


def padding_cells(nodes: tuple[int, int], fwhm: float, padding: PaddingMode) -> tuple[int, int]:
    """Padding in nodes down and across: far enough for the kernel, at most n - 1 where reflection ends.

    Recasens' 30 for 31 nodes is n - 1 too; beyond about 3 FWHM the kernel is below 1e-10. A narrow
    region has few nodes across; that does not cut the kernel along its longer side.
    """
    reach = math.ceil(3 * fwhm)
    ends = (max(nodes) - 1,) * 2 if padding == "replicate" else (nodes[0] - 1, nodes[1] - 1)
    return max(1, min(ends[0], reach)), max(1, min(ends[1], reach))


def _matrices(
    ny: int, nx: int, fwhm: float, padding: PaddingMode, cells: int | None
) -> tuple[np.ndarray, ...]:
    """Mass, moment and own position of the nodes, down and across."""
    down, across = padding_cells((ny, nx), fwhm, padding) if cells is None else (cells, cells)
    return (
        *_operators(ny, fwhm, padding, down), np.arange(ny)[:, None] / (ny - 1),
        *_operators(nx, fwhm, padding, across), np.arange(nx) / (nx - 1),
    )  # fmt: skip


def saliency_nodes(
    saliency: Array, fwhm: float, padding: PaddingMode = "reflect", cells: int | None = None
) -> tuple[Array, Array]:
    """Where each node reads, from saliency at the nodes (equations 2 and 3).

    Parameters
    ----------
    saliency : ndarray or tensor, (..., ny, nx)
        Not negative; only its shape counts, not its scale.
    fwhm : float
        Full width at half maximum of the kernel, in nodes.
    padding : {'none', 'replicate', 'reflect'}
        'none' is the survey's literal sum over the image.
    cells : int, optional
        Padding in nodes; default `padding_cells`.

    Returns
    -------
    v, u : like `saliency`
        Row and column position in 0..1 (corner pixel centres), clamped.

    Raises
    ------
    HrvizError
        NaN, negative or all-zero saliency.
    """
    ny, nx = saliency.shape[-2:]
    matrices: Any = _matrices(ny, nx, fwhm, padding, cells)
    if isinstance(saliency, np.ndarray):
        if not np.isfinite(saliency).all():
            raise HrvizError(
                "the saliency map holds NaN or infinite values: mend it or choose another source"
            )
        if saliency.min() < 0:
            raise HrvizError(
                "the saliency map has negative values: shift it so that it starts at 0"
            )
        if not saliency.any():
            raise HrvizError(
                "the saliency map is zero everywhere: raise the floor or choose another source"
            )
        s: Any = saliency / saliency.max()
        count("saliency grid", 2 * 2 * 3 * (ny * ny * nx + ny * nx * nx))
    else:
        import torch

        s = saliency
        matrices = (torch.as_tensor(a, dtype=s.dtype, device=s.device) for a in matrices)
    my, dy, py, mx, dx, px = matrices
    right = s @ mx.T
    # nothing salient within a narrow kernel's reach (0/0): a little mass of its own keeps the node there
    mass = my @ right + TINY
    u = (my @ (s @ dx.T) + TINY * px) / mass
    v = (dy @ right + TINY * py) / mass
    return v.clip(0, 1), u.clip(0, 1)


def grid_from_nodes(v: np.ndarray, u: np.ndarray, box: Box, size: tuple[int, int]) -> WarpGrid:
    """A `WarpGrid` over `box` from node positions in 0..1 between its corner pixel centres."""
    y = box.y0 + 0.5 + v.astype(np.float64) * max(box.height - 1, 0)
    x = box.x0 + 0.5 + u.astype(np.float64) * max(box.width - 1, 0)
    return WarpGrid(np.stack([y, x], -1), box, size)


def footprint(grid: WarpGrid) -> np.ndarray:
    """Side, in level-0 pixels, of what each output pixel stands for: the largest stretch there.

    The larger singular value of the Jacobian (image pixels per output pixel), by central
    differences at the nodes, interpolated to `(h, w)` between them.
    """
    ny, nx = grid.nodes.shape[:2]
    h, w = grid.size
    down = np.gradient(grid.nodes, axis=0) * ((ny - 1) / max(h - 1, 1))
    right = np.gradient(grid.nodes, axis=1) * ((nx - 1) / max(w - 1, 1))
    a, b = (down * down).sum(-1), (right * right).sum(-1)
    c = (down * right).sum(-1)
    side = np.sqrt((a + b + np.sqrt((a - b) ** 2 + 4 * c * c)) / 2)
    return np.asarray(interpolation(ny, h) @ side @ interpolation(nx, w).T)


def sample(view: ImageView, grid: WarpGrid, sampling: str) -> np.ndarray:
    """The warped picture, float32 (h, w, 3): mip-mapped ('fair') or 4 taps ('as published')."""
    positions = grid.positions()
    side = footprint(grid) if sampling == "fair" else None
    return view.sample(positions[..., 0], positions[..., 1], side)

"""Separable grids: every row and column stays straight, x' depends on x alone and y' on y alone.

Two ways to get one from saliency S. The structured grid of AGDN and FOVEA (survey, equations 5 and 6)
runs the sampler of equations 2 and 3 along each axis, on a marginal of S:

    u(x) = sum_x' S(x') k(x, x') x' / sum_x' S(x') k(x, x'),   v(y) alike,

with S(x) = max_y S in AGDN and sum_y S in FOVEA. (Equation 6 is printed with x' in its numerator:
it must be y'.) The exact solution of equation 1 for S(x, y) = a(x) b(y) is the pair of inverse
cumulative distributions: output density is then exactly proportional to saliency, which the
sampler's answer, to the curvature of log S, is not.

A separable grid cannot fold, for any saliency: in 1-D the map is increasing for every log-concave
kernel. `mix` blends two grids (equations 7 and 8); the Jacobians are symmetric positive definite, and
so is every convex combination of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from hrviz.errors import HrvizError
from hrviz.methods.downsampling.sampler import TINY, PaddingMode, _matrices

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)

Marginal = Literal["sum", "max"]


def line_nodes(
    line: Array, fwhm: float, padding: PaddingMode = "reflect", cells: int | None = None
) -> Array:
    """Where each of n nodes on a line reads, 0..1: equations 2 and 3 in one dimension.

    Parameters
    ----------
    line : ndarray or tensor, (..., n)
        Saliency, not negative.
    fwhm : float
        Of the kernel, in nodes.
    padding : {'none', 'replicate', 'reflect'}
    cells : int, optional
        Padding in nodes; default as for a square grid of n nodes.
    """
    n = line.shape[-1]
    matrices: Any = _matrices(n, n, fwhm, padding, cells)[:3]
    s: Any = line
    if isinstance(line, np.ndarray):
        _check(line)
        s = line / line.max()
    else:
        import torch

        matrices = (torch.as_tensor(a, dtype=s.dtype, device=s.device) for a in matrices)
    mass, moment, own = matrices
    total = s @ mass.T + TINY
    return ((s @ moment.T + TINY * own.reshape(-1)) / total).clip(0, 1)


def separable_nodes(
    saliency: Array,
    fwhm: float,
    padding: PaddingMode = "reflect",
    marginal: Marginal = "sum",
    cells: tuple[int | None, int | None] = (None, None),
) -> tuple[Array, Array]:
    """The structured grid: `line_nodes` of both marginals, `(v, u)` of shape (..., ny, nx)."""
    if marginal == "sum":
        rows, columns = saliency.sum(-1), saliency.sum(-2)
    elif isinstance(saliency, np.ndarray):
        rows, columns = saliency.max(-1), saliency.max(-2)
    else:
        rows, columns = saliency.amax(-1), saliency.amax(-2)
    v = line_nodes(rows, fwhm, padding, cells[0])
    u = line_nodes(columns, fwhm, padding, cells[1])
    return spread(v, u)


def spread(v: Array, u: Array) -> tuple[Array, Array]:
    """Positions down (..., ny) and across (..., nx) as two grids (..., ny, nx)."""
    ny, nx = v.shape[-1], u.shape[-1]
    if isinstance(v, np.ndarray) and isinstance(u, np.ndarray):
        shape = (*v.shape[:-1], ny, nx)
        return np.broadcast_to(v[..., :, None], shape), np.broadcast_to(u[..., None, :], shape)
    return v[..., :, None].expand(*v.shape, nx), u[..., None, :].expand(*u.shape[:-1], ny, nx)


def cumulative_nodes(saliency: np.ndarray, nodes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The exact separable solution of equation 1: inverse cumulative distributions of the marginals.

    Parameters
    ----------
    saliency : ndarray, (h, w)
        Bins of equal size over the region, at any resolution. Bins without any saliency are
        squeezed to nothing; the map stays non-decreasing.
    nodes : (int, int)

    Returns
    -------
    v, u : ndarray, (ny, nx)
        0..1 from edge to edge of the region.
    """
    _check(saliency)
    return spread(
        inverse_cumulative(saliency.sum(1), np.linspace(0, 1, nodes[0])),
        inverse_cumulative(saliency.sum(0), np.linspace(0, 1, nodes[1])),
    )


def inverse_cumulative(line: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Position in 0..1 below which a `share` of the line's saliency lies; bins have even density."""
    total = np.concatenate([[0.0], np.cumsum(line, dtype=np.float64)])
    total /= total[-1]
    edges = np.linspace(0, 1, len(total))
    # empty bins at either end are cropped alike: interpolation alone would keep the last ones
    found = np.interp(share, total, edges)
    return np.minimum(found, edges[np.searchsorted(total, 1.0)])


def mix(one: tuple[Array, Array], other: tuple[Array, Array], share: float) -> tuple[Array, Array]:
    """`share` of grid `one` and the rest of `other` (equations 7 and 8, lambda = share)."""
    if not 0 <= share <= 1:
        raise HrvizError(f"share={share:g} is out of range: choose 0 to 1")
    return (
        share * one[0] + (1 - share) * other[0],
        share * one[1] + (1 - share) * other[1],
    )


def _check(saliency: np.ndarray) -> None:
    if not np.isfinite(saliency).all():
        raise HrvizError(
            "the saliency map holds NaN or infinite values: mend it or choose another source"
        )
    if saliency.min() < 0:
        raise HrvizError("the saliency map has negative values: shift it so that it starts at 0")
    if not saliency.any():
        raise HrvizError(
            "the saliency map is zero everywhere: raise the floor or choose another source"
        )

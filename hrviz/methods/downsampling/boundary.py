"""Sampling near semantic boundaries: boundaries, the nearest one to each node, and the best grid.

Marin et al. (ICCV 2019) place the nodes phi of a grid by minimising (survey, equation 4)

    E(phi) = sum_u |phi(u) - b(u)|^2 + lambda sum_{u ~ v} |phi(u) - phi(v)|^2,

where b(u) is the boundary point nearest to the even place of node u, and u ~ v are neighbours on the
grid, each pair counted once. Positions are (row, column) shares of the region, 0..1 between its
corner pixel centres. The grid has to cover the region: rows 0 and 1 on its first and last line of
nodes, columns alike, so that corners are fixed and border nodes slide along their border.

The two coordinates do not depend on each other, and each is a linear system on a rectangle, fixed at
two opposite sides and free at the others. A sine transform along the fixed direction and a cosine
transform along the free one make it diagonal, so the minimum is exact and takes microseconds.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy import fft, ndimage

from hrviz.errors import HrvizError


def boundary_map(
    labels: np.ndarray, ignore: int | None = None, target: Collection[int] | None = None
) -> np.ndarray:
    """Pixels whose label differs from that of the pixel above, below, left or right.

    Both sides of a boundary are marked.

    Parameters
    ----------
    labels : ndarray of int, (h, w)
    ignore : int, optional
        Pixels of this label are never boundary.
    target : collection of int, optional
        Only pixels of these classes are (the paper: people and vehicles).

    Returns
    -------
    ndarray of bool, (h, w)
    """
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        a, b = (np.moveaxis(x, axis, 0) for x in (labels, edge))
        differs = a[1:] != a[:-1]
        b[1:] |= differs
        b[:-1] |= differs
    if ignore is not None:
        edge &= labels != ignore
    if target is not None:
        edge &= np.isin(labels, list(target))
    return edge


def even_nodes(nodes: tuple[int, int]) -> np.ndarray:
    """Evenly spread nodes: float64 (ny, nx, 2), (row, column) in 0..1."""
    lines = (np.linspace(0, 1, n) for n in nodes)
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1)


def nearest_boundary(edge: np.ndarray, nodes: tuple[int, int]) -> np.ndarray | None:
    """b(u): the boundary pixel nearest to each evenly spread node, in pixels of `edge`.

    Parameters
    ----------
    edge : ndarray of bool, (h, w)
    nodes : (int, int)
        Rows and columns, at least 2 each.

    Returns
    -------
    ndarray float64, (ny, nx, 2), or None
        (row, column) in 0..1 of the raster's height and width; None where nothing is boundary.
    """
    if not edge.any():
        return None
    index = ndimage.distance_transform_edt(~edge, return_distances=False, return_indices=True)
    span = np.array(edge.shape) - 1
    row, column = (np.rint(even_nodes(nodes) * span)).astype(int).transpose(2, 0, 1)
    nearest = np.moveaxis(index[:, row, column], 0, -1)
    return np.asarray(nearest / np.maximum(span, 1))


def energy(phi: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Data and smoothness term of the energy; E is the first plus lambda times the second.

    Parameters
    ----------
    phi, b : ndarray, (ny, nx, 2)
    """
    smooth = (np.diff(phi, axis=0) ** 2).sum() + (np.diff(phi, axis=1) ** 2).sum()
    return float(((phi - b) ** 2).sum()), float(smooth)


def solve(b: np.ndarray | None, smoothness: float, nodes: tuple[int, int]) -> np.ndarray:
    """The grid of least energy that covers the region, exactly.

    Parameters
    ----------
    b : ndarray, (ny, nx, 2), or None
        Nearest boundary points; None (no boundary anywhere) gives the even grid.
    smoothness : float
        lambda, not negative.
    nodes : (int, int)

    Returns
    -------
    ndarray float64, (ny, nx, 2)
        (row, column) in 0..1.

    Raises
    ------
    HrvizError
        Negative or infinite lambda.
    """
    if not 0 <= smoothness < np.inf:
        raise HrvizError(f"smoothness={smoothness:g} is out of range: choose 0 or more")
    if b is None:
        return even_nodes(nodes)
    return np.stack(
        [_coordinate(b[..., 0], smoothness), _coordinate(b[..., 1].T, smoothness).T], -1
    )


def _coordinate(b: np.ndarray, smoothness: float) -> np.ndarray:
    """One coordinate, 0 on the first line and 1 on the last, free at both other sides.

    (1 + lambda deg) phi_i - lambda sum_neighbours phi_j = b_i, deg counting neighbours in the grid.
    """
    lines, along = b.shape
    out = np.empty(b.shape)
    out[0], out[-1] = 0, 1
    if lines == 2:
        return out
    known = b[1:-1].astype(np.float64)  # a copy: the fixed last line (1) joins the right side
    known[-1] += smoothness
    fixed = 2 - 2 * np.cos(np.pi * np.arange(1, lines - 1) / (lines - 1))
    free = 2 - 2 * np.cos(np.pi * np.arange(along) / along)
    waves = fft.dst(fft.dct(known, 2, axis=1, norm="ortho"), 1, axis=0, norm="ortho")
    waves /= 1 + smoothness * (fixed[:, None] + free)
    out[1:-1] = fft.idct(fft.idst(waves, 1, axis=0, norm="ortho"), 2, axis=1, norm="ortho")
    return out


def cover(phi: np.ndarray) -> np.ndarray:
    """A predicted grid with its border nodes moved onto their borders, the others into 0..1."""
    out = np.clip(phi.astype(np.float64), 0, 1)
    out[0, :, 0] = out[:, 0, 1] = 0
    out[-1, :, 0] = out[:, -1, 1] = 1
    return out


def carry_back(logits: np.ndarray, places: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Logits at scattered sample points, interpolated linearly over their Delaunay triangles.

    Parameters
    ----------
    logits : ndarray, (n,)
    places : ndarray, (n, 2)
        Where each was sampled, (y, x).
    at : ndarray, (m, 2)
        Where to interpolate; outside the triangles the nearest sample counts.

    Returns
    -------
    ndarray float64, (m,)
    """
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
    from scipy.spatial import QhullError

    nearest = NearestNDInterpolator(places, logits)
    try:
        out = LinearNDInterpolator(places, logits)(at)
    except QhullError:  # samples on one line have no triangles
        return np.asarray(nearest(at), float)
    outside = ~np.isfinite(out)
    out[outside] = nearest(at[outside])
    return np.asarray(out)

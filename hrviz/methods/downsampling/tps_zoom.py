"""From boxes of the last frame to a thin-plate zoom: saliency by size, grid, spline, and back.

What SALISA's frames need, kept apart from the film: `size_saliency` paints boxes, `TpsZoom` is the
saliency sampler's grid (equations 2 and 3) taken at control points, with the thin-plate spline through
them as THE map. The spline goes from output to image, so what is found on the warped picture is carried
back by evaluating it; nothing is inverted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrviz.geometry import Box
from hrviz.methods.downsampling.sampler import saliency_nodes
from hrviz.methods.downsampling.tps import ThinPlate, lattice
from hrviz.results import WarpGrid, interpolation
from hrviz.results.bilinear import around, rims

SMALL_SHARE = 0.0006  # of the frame's area: objects below it count as small
SMALL_VALUE, LARGE_VALUE = 1.0, 0.5
MESH = 65  # nodes along the longer side, on which the spline is drawn and sampled
EDGE = 9  # points a side of a box that are carried over


def size_saliency(
    boxes: np.ndarray,
    frame: Box,
    nodes: tuple[int, int],
    margin: float = 0.015,
    small_share: float = SMALL_SHARE,
) -> np.ndarray:
    """Saliency at the nodes, (ny, nx) float64: 1 on small objects, 0.5 on large ones, 0 elsewhere.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
        (y0, x0, y1, x1), level-0 px.
    frame : Box
        The region that is warped.
    nodes : (int, int)
    margin : float
        Added on every side, as a share of the frame's longer side: objects move until they are
        next seen.
    small_share : float
        Boxes of less than this share of the frame's area count as small.

    Notes
    -----
    A node takes the largest value among boxes, each times the share of the node's cell that it covers.
    These values are ours, chosen on held-out films: the paper does not print its own.
    """
    ny, nx = nodes
    if not len(boxes):
        return np.zeros(nodes)
    origin = np.array([frame.y0, frame.x0] * 2)
    small = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) < small_share * frame.area
    value = np.where(small, SMALL_VALUE, LARGE_VALUE)
    wide = margin * max(frame.height, frame.width)
    grown = boxes - origin + np.array([-wide, -wide, wide, wide])
    rows, columns = (
        _covered(grown[:, k] / side * (n - 1), grown[:, k + 2] / side * (n - 1), n)
        for k, side, n in ((0, frame.height, ny), (1, frame.width, nx))
    )
    out = np.zeros(nodes)
    for row, column in zip(rows * value[:, None], columns, strict=True):
        np.maximum(out, row[:, None] * column, out=out)
    return out


def _covered(low: np.ndarray, high: np.ndarray, n: int) -> np.ndarray:
    """Share of each of n cells (a node +- a half) between `low` and `high`, (boxes, n)."""
    at = np.arange(n)
    return np.clip(np.minimum(at + 0.5, high[:, None]) - np.maximum(at - 0.5, low[:, None]), 0, 1)


@dataclass(frozen=True)
class TpsZoom:
    """A thin-plate map from an output of `size` pixels into a region of the image.

    Parameters
    ----------
    plate : ThinPlate
        Over 0..1 of the output.
    coefficients : ndarray, (K + 3, 2)
        Of targets in 0..1 between the region's corner pixel centres.
    grid : WarpGrid
        The map on a fine mesh, clamped to the region: what samples the picture and is drawn.
    """

    plate: ThinPlate
    coefficients: np.ndarray
    grid: WarpGrid

    def to_image(self, pixels: np.ndarray) -> np.ndarray:
        """Image points (..., 2) of output pixel coordinates (..., 2): the spline itself, clamped."""
        place = np.clip(self.grid.places(pixels), 0, 1)
        found = self.plate.at(self.coefficients, place.reshape(-1, 2)).clip(0, 1)
        return _level0(found, self.grid.box).reshape(place.shape)

    def boxes_to_image(
        self, boxes: np.ndarray, outermost: bool = False, edge: int = EDGE
    ) -> np.ndarray:
        """Boxes (n, 4) in output pixels, in the image: the spline itself at `edge` points a side.

        Parameters
        ----------
        boxes : ndarray, (n, 4)
        outermost : bool
            Take the box around the curved quadrilateral, else the mean place of each of its edges.
        """
        if not len(boxes):
            return np.zeros((0, 4))
        points = self.to_image(rims(boxes, edge))
        return around(points) if outermost else mean_edges(points)

    def boxes_to_output(self, boxes: np.ndarray, edge: int = EDGE) -> np.ndarray:
        """Boxes (n, 4) of the image in output pixels, by the mean place of each edge; NaN where cropped.

        Through the exact inverse of the mesh: the spline's own needs Newton's method, which differs
        by less than a fifth of a pixel (a test says so) and takes a hundred times longer.
        """
        if not len(boxes):
            return np.zeros((0, 4))
        nodes = self.grid.nodes.reshape(-1, 2)
        points = np.clip(rims(boxes, edge), nodes.min(0), nodes.max(0))
        return mean_edges(self.grid.to_output(points.reshape(-1, 2)).reshape(points.shape))


def mean_edges(rims: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) from carried-over rims (n, 4 k, 2), each side the mean of its edge's points.

    Where a map shears, a thin upright box becomes a leaning one. The box around that is wider by
    the lean, there and again on the way back: of people 10 px wide and 30 px high half of the overlap
    is lost. The mean place of an edge is not moved by the lean. For separable maps both are the same.
    """
    top, bottom, left, right = np.split(rims, 4, axis=1)
    known = np.isfinite(rims).all((1, 2))
    weight = np.ones(top.shape[1])
    weight[[0, -1]] = 0.5  # the trapezoidal rule
    weight /= weight.sum()
    out = np.stack(
        [side[..., axis] @ weight for side, axis in ((top, 0), (left, 1), (bottom, 0), (right, 1))],
        1,
    )
    out[:, 2:] = np.maximum(out[:, 2:], out[:, :2])  # a fold turns a box over
    out[~known] = np.nan
    return out


def tps_zoom(
    saliency: np.ndarray, fwhm: float, points: tuple[int, int], box: Box, size: tuple[int, int]
) -> TpsZoom:
    """The spline through the saliency sampler's grid at `points` (rows, columns) control points.

    Parameters
    ----------
    saliency : ndarray, (ny, nx)
        Positive somewhere (`hrviz.methods.downsampling.sources.adjust`).
    fwhm : float
        Of the sampler's kernel, in nodes.
    points : (int, int)
        At least 2 x 2.
    box : Box
        The region.
    size : (int, int)
        Of the output in px.
    """
    ny, nx = saliency.shape
    rows, columns = interpolation(ny, points[0]), interpolation(nx, points[1])
    targets = np.stack(
        [(rows @ node @ columns.T).ravel() for node in saliency_nodes(saliency, fwhm, "reflect")],
        -1,
    )
    plate = ThinPlate(lattice(*points))
    return spline_zoom(plate, plate.fit(targets), box, size)


def spline_zoom(
    plate: ThinPlate, coefficients: np.ndarray, box: Box, size: tuple[int, int], mesh: int = MESH
) -> TpsZoom:
    """A spline with its mesh over `box`, nodes clamped to the corner pixel centres of the region."""
    longer = max(box.height, box.width)
    ny, nx = (max(2, round(mesh * side / longer)) for side in (box.height, box.width))
    nodes = plate.at(coefficients, lattice(ny, nx)).clip(0, 1)
    return TpsZoom(plate, coefficients, WarpGrid(_level0(nodes, box).reshape(ny, nx, 2), box, size))


def _level0(place: np.ndarray, box: Box) -> np.ndarray:
    """Positions (n, 2) in 0..1 between corner pixel centres as level-0 px."""
    span = np.maximum([box.height - 1, box.width - 1], 0)
    return np.asarray(np.array([box.y0, box.x0]) + 0.5 + place * span)

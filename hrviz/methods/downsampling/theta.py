"""Spatial transforms by their parameters: crop, affine, projective, and maps through control points.

A map goes backward, from the output to the image, both in -1..1 as (x, y) (Jaderberg et al. 2015).
Crop, affine and projective ones are 3 x 3 matrices H with H_33 = 1,

    x_s = (h1 x + h2 y + h3) / (h7 x + h8 y + 1),   y_s = (h4 x + h5 y + h6) / (h7 x + h8 y + 1),

so composition is the product and the inverse is the matrix inverse. The Jacobian's determinant is
det(H) / (h7 x + h8 y + 1)^3: constant for affine maps. Where the denominator changes sign the map
passes through infinity; such parameters are refused.
"""

from __future__ import annotations

import math

import numpy as np

from hrviz.errors import HrvizError

CORNERS = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def crop(s: float, x: float, y: float) -> np.ndarray:
    """The attention transform, equation 9: x_s = s x + t_x, y_s = s y + t_y."""
    return np.array([[s, 0.0, x], [0.0, s, y], [0.0, 0.0, 1.0]])


def turned(angle: float, shear: float, aspect: float) -> np.ndarray:
    """Rotation by `angle` degrees after a shear, as they look in pixels of a picture `aspect` wide.

    In coordinates of -1..1 a rotation of a wide picture would be a skew: lengths along x are `aspect`
    (width over height) times those along y.
    """
    a = math.radians(angle)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    turn = turn @ np.array([[1.0, shear], [0.0, 1.0]])
    out = np.eye(3)
    out[:2, :2] = turn * np.array([[1.0, 1 / aspect], [aspect, 1.0]])
    return out


def tilted(h7: float, h8: float) -> np.ndarray:
    """Perspective alone.

    Raises
    ------
    HrvizError
        When the denominator vanishes or changes sign within the output.
    """
    if abs(h7) + abs(h8) >= 1:
        raise HrvizError(
            f"perspective h7={h7:g}, h8={h8:g} puts the horizon into the picture (the denominator "
            "changes sign): choose values whose sizes add to less than 1"
        )
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [h7, h8, 1.0]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Image positions (..., 2) of output positions (..., 2), (x, y) in -1..1."""
    up = points @ matrix[:2, :2].T + matrix[:2, 2]
    return np.asarray(up / (points @ matrix[2, :2] + matrix[2, 2])[..., None])


def determinant(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Det of the Jacobian at output positions (..., 2)."""
    below = points @ matrix[2, :2] + matrix[2, 2]
    return np.asarray(np.linalg.det(matrix) / below**3)


def moved_inside(matrix: np.ndarray) -> np.ndarray:
    """The same map shifted, as little as need be, so that it reads inside -1..1.

    Along an axis on which it is larger than the image it is centred. A projective map takes the
    output to the quadrilateral of its corners, so these decide.
    """
    corners = apply(matrix, CORNERS)
    low, high = corners.min(0), corners.max(0)
    shift = np.where(
        high - low > 2, -(low + high) / 2, np.maximum(-1 - low, 0) + np.minimum(1 - high, 0)
    )
    move = np.eye(3)
    move[:2, 2] = shift
    return np.asarray(move @ matrix)


def inside(matrix: np.ndarray) -> bool:
    """Whether all of the output reads inside the image: for a crop |t| + s <= 1."""
    return bool((np.abs(apply(matrix, CORNERS)) <= 1 + 1e-9).all())


def shown(matrix: np.ndarray, raster: int = 64) -> float:
    """Share of the image that the output shows: through the exact inverse, on raster x raster points."""
    line = (np.arange(raster) + 0.5) / raster * 2 - 1
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    back = np.linalg.inv(matrix)
    # behind the horizon there is no output: the inverse's denominator has turned negative there
    ahead = (points @ back[2, :2] + back[2, 2]) * np.sign(np.linalg.det(back)) > 0
    at = apply(back, points[ahead])
    return float((np.abs(at) <= 1).all(1).sum() / len(points))


def from_saliency(saliency: np.ndarray) -> tuple[float, float, float]:
    """(s, t_x, t_y) of the crop on saliency's mass: centre at its mean, size after its spread.

    Even saliency spreads by 1 / sqrt(3) along each axis and gives s = 1, the whole image; s is the
    root mean square of both axes times sqrt(3), at least 0.02.
    """
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 if n > 1 else np.zeros(1) for n in saliency.shape)
    weight = saliency / saliency.sum()
    rows, columns = weight.sum(1), weight.sum(0)
    mean = float(columns @ x), float(rows @ y)
    spread = [
        float(p @ (at - m) ** 2) if len(at) > 1 else 1 / 3
        for p, at, m in ((columns, x, mean[0]), (rows, y, mean[1]))
    ]
    s = math.sqrt(3 * (spread[0] + spread[1]) / 2)
    return min(max(s, 0.02), 1.0), mean[0], mean[1]


def pushed(control: np.ndarray, push: tuple[float, float]) -> np.ndarray:
    """Control points (K, 2) as (v, u) in 0..1, moved by `push` (x, y) in -1..1 units in the middle.

    Less so towards the border, where (1 - x^2)(1 - y^2) is 0: the frame stays. On a 3 x 3 lattice
    only the centre moves.
    """
    at = 2 * control - 1
    weight = np.prod(1 - at**2, axis=1, keepdims=True)
    return control + weight * np.array([push[1], push[0]]) / 2


def piecewise_affine(targets: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """A mesh of triangles at output positions: (..., 2) from targets (rows, columns, 2).

    Every cell of the lattice is cut from its upper left to its lower right corner; each triangle is
    mapped affinely, so lines that cross from one to the next bend.
    """
    rows, columns = targets.shape[:2]
    j = np.minimum((v * (rows - 1)).astype(int), rows - 2)
    i = np.minimum((u * (columns - 1)).astype(int), columns - 2)
    t, s = (v * (rows - 1) - j)[..., None], (u * (columns - 1) - i)[..., None]
    a, b = targets[j, i], targets[j, i + 1]
    c, d = targets[j + 1, i], targets[j + 1, i + 1]
    return np.asarray(
        np.where(s >= t, a + s * (b - a) + t * (d - b), a + t * (c - a) + s * (d - c))
    )

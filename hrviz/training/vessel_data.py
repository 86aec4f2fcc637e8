"""Regions of procedural retinas with their truth, for training and for held-out evaluation.

Splits are those of `hrviz.scenes.dataset`: they share no seed. Vessels grow with the picture, so what
a network sees of them depends on pixels per eye, not on level-0 pixels: scales here are the longer
side that the whole eye would have at the crop's resolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.scenes.dataset import dataset

SIDE = 2048  # level-0 pixels of an eye


def eyes(split: Any, count: int, lesions: int = 0) -> list[Image]:
    """`count` retinas of a split, `SIDE` px square."""
    return list(dataset("vessels", split, count, width=SIDE, height=SIDE, lesions=lesions))


def place(rng: np.random.Generator, span: float) -> Box:
    """A square of `span` level-0 px somewhere in the eye, more often near its middle."""
    centre = SIDE * (0.5 + 0.36 * (rng.random(2) + rng.random(2) - 1))
    corner = np.clip(centre - span / 2, 0, SIDE - span).round()
    return Box(*corner, *(corner + span))


def share(image: Image, box: Box, size: int, fine: int = 4) -> np.ndarray:
    """Share of vessel (arteries and veins alike) in each of size x size squares, float32.

    The truth is known at points: `fine` x `fine` of them a square.
    """
    mask = image.truth.mask(box, (size * fine, size * fine)) > 0
    return mask.reshape(size, fine, size, fine).mean((1, 3), dtype=np.float32)

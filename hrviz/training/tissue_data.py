"""Crops of procedural tissue with their truth, for training and for held-out evaluation.

Training slides have seeds from 10,000, held-out ones (the cards' metrics, and what recipes were
chosen by) from 20,000, unseen ones (benchmarks) from 30,000. The app's default slide (seed 7) and
the tests' slides are in none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.image import Image, open_image

FIRST_SEED = {"train": 10_000, "held-out": 20_000, "unseen": 30_000}
SIDE = 60_000  # px: 15 mm, enough for lesions of all sizes


def slides(split: str, count: int) -> list[Image]:
    """`count` slides of a split, with more tumour than the default so that crops are balanced."""
    first = FIRST_SEED[split]
    return [
        open_image(f"scene:tissue?size={SIDE}x{SIDE}&seed={first + i}&tumour=0.02")
        for i in range(count)
    ]


def crop(
    image: Image, rng: np.random.Generator, side: int, downsample: float
) -> tuple[np.ndarray, np.ndarray]:
    """A square crop of `side` px at `downsample`: uint8 (side, side, 3) and mask (side, side).

    Half are placed so that a lesion is in view, a fifth so that a lymphoid aggregate is (what looks
    most like tumour from afar), the others anywhere on the slide.
    """
    span = side * downsample
    scene: Any = image.reader
    boxes, _ = image.truth.lesions(None)
    draw = rng.random()
    if draw > 0.8:
        around = np.asarray(rng.random(2) * (SIDE - 12_000))
        found = scene.layout.aggregates((*around, *(around + 12_000)))
        boxes = np.stack(
            [found.y - found.r, found.x - found.r, found.y + found.r, found.x + found.r], 1
        )
    if len(boxes) and not 0.5 < draw <= 0.8:
        lesion = boxes[rng.integers(len(boxes))]
        size = lesion[2:] - lesion[:2]
        centre = lesion[:2] + rng.random(2) * size
        corner = centre - span * (0.15 + 0.7 * rng.random(2))
    else:
        corner = rng.random(2) * (SIDE - span)
    corner = np.clip(corner, 0, max(0, SIDE - span)).round()
    box = Box(*corner, *(corner + span))
    return image.rgb(box, (side, side)), image.truth.mask(box, (side, side)) > 0


def augment(
    images: np.ndarray, masks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flips, quarter turns, and stain variation (each channel's contrast and brightness)."""
    if rng.random() < 0.5:
        images, masks = images[:, :, ::-1], masks[:, :, ::-1]
    turns = int(rng.integers(4))
    images, masks = np.rot90(images, turns, (1, 2)), np.rot90(masks, turns, (1, 2))
    gain = rng.uniform(0.85, 1.15, (len(images), 1, 1, 3)).astype(np.float32)
    shift = rng.uniform(-0.05, 0.05, (len(images), 1, 1, 3)).astype(np.float32)
    out = 1 - (1 - images.astype(np.float32) / 255) * gain + shift
    return np.clip(out, 0, 1), np.ascontiguousarray(masks)

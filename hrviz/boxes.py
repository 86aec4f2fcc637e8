"""Arithmetic of boxes (y0, x0, y1, x1) that networks, metrics and methods share."""

from __future__ import annotations

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box (n, 4); 0 where it has no extent."""
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area that each box of `a` (n, 4) has in common with each of `b` (m, 4): (n, m)."""
    height, width = (
        np.clip(
            np.minimum(a[:, None, axis + 2], b[None, :, axis + 2])
            - np.maximum(a[:, None, axis], b[None, :, axis]),
            0, None,
        )
        for axis in (0, 1)
    )  # fmt: skip
    return np.asarray(height * width)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of `a` with each of `b`: (n, m) in 0..1."""
    common = overlaps(a, b)
    union = areas(a)[:, None] + areas(b)[None] - common
    return np.asarray(common / np.maximum(union, 1e-12))


def ios(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over the smaller area of each box of `a` with each of `b`: (n, m) in 0..1."""
    smaller = np.minimum(areas(a)[:, None], areas(b)[None])
    return np.asarray(overlaps(a, b) / np.maximum(smaller, 1e-12))


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float = 0.6) -> np.ndarray:
    """Non-maximum suppression: indices kept, best first; none overlaps a better one by IoU > `most`.

    Examples
    --------
    >>> b = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [0, 20, 10, 30]], float)
    >>> suppress(b, np.array([0.6, 0.9, 0.5]), 0.5).tolist()
    [1, 2]
    """
    left = np.argsort(-scores, kind="stable")
    keep = []
    while left.size:  # row by row: thousands of boxes need no square of memory
        best, left = left[0], left[1:]
        keep.append(best)
        left = left[iou(boxes[best : best + 1], boxes[left])[0] <= most]
    return np.array(keep, np.int64)

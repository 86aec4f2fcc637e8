"""Arithmetic of boxes (y0, x0, y1, x1) that networks, metrics and methods share."""

from __future__ import annotations

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box (n, 4); 0 where it has no extent."""
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area that each box of `a` (n, 4) has in common with each of `b` (m, 4): (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0, None), axis=-1))


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of `a` with each of `b`: (n, m) in 0..1."""
    common = overlaps(a, b)
    union = areas(a)[:, None] + areas(b)[None] - common
    return np.asarray(common / np.maximum(union, 1e-12))


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float = 0.6) -> np.ndarray:
    """Non-maximum suppression: indices kept, best first; none overlaps a better one by IoU > `most`."""
    order = np.argsort(-scores, kind="stable")
    common = iou(boxes[order], boxes[order])
    alive = np.ones(len(order), bool)
    for k in range(len(order)):
        if alive[k]:
            alive[k + 1 :] &= common[k, k + 1 :] <= most
    return np.asarray(order[alive])

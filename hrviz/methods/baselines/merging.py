"""Boxes found in overlapping patches, made one: NMS, GreedyNMM and NMM as SAHI has them.

Two boxes match when their overlap reaches a threshold, as intersection over union (IOU) or over the
smaller area (IOS, which also matches a part of an object with the whole of it). NMS drops what
matches a better box. GreedyNMM grows the better box over its direct matches (union of the boxes, best
score); NMM over the matches of its matches too. Growing checks each match again, against the box grown
so far; what fails then is dropped.

Akyon et al., ICIP 2022, and their package. There the first comparison is >= and the second >; here both
are >=.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from hrviz.boxes import ios, iou

Merge = Literal["GreedyNMM", "NMM", "NMS"]
Metric = Literal["IOS", "IOU"]
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"IOS": ios, "IOU": iou}
BLOCK = 2**21  # pairs compared at once
Groups = dict[int, list[int]]


class Matches:
    """Which boxes match which, compared only where they come near each other along y.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
    metric : {'IOS', 'IOU'}
    threshold : float
        Least overlap of a match, above 0.
    """

    def __init__(self, boxes: np.ndarray, metric: str, threshold: float) -> None:
        n = len(boxes)
        order = np.argsort(boxes[:, 0], kind="stable")
        sorted_boxes = boxes[order]
        first, second = [], []
        rows = max(1, BLOCK // max(n, 1))
        for start in range(0, n, rows):
            block = sorted_boxes[start : start + rows]
            end = int(np.searchsorted(sorted_boxes[:, 0], block[:, 2].max(), "left"))
            near = METRICS[metric](block, sorted_boxes[start : max(end, start + 1)])
            i, j = np.nonzero(near >= threshold)
            later = j > i
            first.append(order[i[later] + start])
            second.append(order[j[later] + start])
        one, other = np.concatenate([*first, *second]), np.concatenate([*second, *first])
        by = np.lexsort((other, one))
        self._others = other[by].astype(int)
        self._at = np.searchsorted(one[by], np.arange(n + 1))

    def __getitem__(self, index: int) -> np.ndarray:
        return self._others[self._at[index] : self._at[index + 1]]


def groups(
    boxes: np.ndarray, scores: np.ndarray, method: str, metric: str, threshold: float
) -> Groups:
    """Each box that stays, best score first, with the indices of those that go into it.

    Examples
    --------
    >>> a = np.array([[90, 40, 102, 60], [95, 40, 107, 60], [100, 40, 112, 60], [200, 40, 220, 60.0]])
    >>> s = np.array([0.9, 0.8, 0.7, 0.6])
    >>> groups(a, s, "GreedyNMM", "IOS", 0.5), groups(a, s, "NMM", "IOS", 0.5)
    ({0: [1], 2: [], 3: []}, {0: [1, 2], 3: []})
    """
    if not len(boxes):
        return {}
    order = np.argsort(-scores, kind="stable")
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    matches = Matches(boxes, metric, threshold)
    keeper = np.full(len(boxes), -1)
    out: Groups = {}
    for k in order:
        if keeper[k] < 0:
            keeper[k], out[int(k)] = k, []
        elif method != "NMM":
            continue  # only a keeper's own matches go into it
        near = matches[k]
        free = near[keeper[near] < 0]
        free = free[np.argsort(rank[free])]
        keeper[free] = keeper[k]
        out[int(keeper[k])] += free.tolist()
    return out


def merge(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    method: Merge = "GreedyNMM",
    metric: Metric = "IOS",
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One box an object, class by class.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
    scores, labels : ndarray, (n,)
    method : {'GreedyNMM', 'NMM', 'NMS'}
    metric : {'IOS', 'IOU'}
    threshold : float
        Least overlap of two boxes of one object, above 0.

    Returns
    -------
    boxes, scores, labels
        Best score first.
    """
    boxes = np.array(boxes, np.float64)
    kept: list[int] = []
    for kind in np.unique(labels):
        own = np.flatnonzero(labels == kind)
        for keep, others in groups(boxes[own], scores[own], method, metric, threshold).items():
            one = int(own[keep])
            kept.append(one)
            if method != "NMS":
                boxes[one] = grown(boxes[one], boxes[own[others]], metric, threshold)
    order = np.array(kept, int)
    order = order[np.argsort(-scores[order], kind="stable")]
    return boxes[order], scores[order], labels[order]


def grown(box: np.ndarray, others: np.ndarray, metric: str, threshold: float) -> np.ndarray:
    """A box over those of the others that match it, each compared with what it has grown to.

    Parameters
    ----------
    box : ndarray, (4,)
    others : ndarray, (n, 4)
        In the order of merging.

    Examples
    --------
    >>> grown(np.array([90, 40, 102, 60.0]), np.array([[95, 40, 107, 60.0]]), "IOS", 0.5).tolist()
    [90.0, 40.0, 107.0, 60.0]
    """
    for other in others:
        if METRICS[metric](box[None], other[None])[0, 0] >= threshold:
            box = np.r_[np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])]
    return box

"""Merging of boxes: the published numbers, and pair-by-pair brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hrviz.boxes import ios, iou
from hrviz.geometry import Box
from hrviz.methods.baselines.merging import Matches, groups, grown, merge

#: a, b, c, d of the published run, here as (y0, x0, y1, x1)
ABCD = np.array([[40, 90, 60, 102], [40, 95, 60, 107], [40, 100, 60, 112], [40, 200, 60, 220]], float)  # fmt: skip
SCORES = np.array([0.9, 0.8, 0.7, 0.6])
NONE = np.zeros(4, int)


def test_overlaps_of_the_published_boxes() -> None:
    np.testing.assert_allclose(ios(ABCD, ABCD)[0, 1:3], [0.5833, 0.1667], atol=1e-4)
    np.testing.assert_allclose(ios(ABCD, ABCD)[1, 2], 0.5833, atol=1e-4)
    np.testing.assert_allclose(iou(ABCD, ABCD)[0, 1:3], [0.4118, 0.0909], atol=1e-4)


def test_the_published_merges() -> None:
    for method in ("NMS", "GreedyNMM", "NMM"):
        kept, scores, _ = merge(ABCD, SCORES, NONE, method, "IOU", 0.5)
        np.testing.assert_array_equal(kept, ABCD)
        assert scores.tolist() == SCORES.tolist()
    kept, _, _ = merge(ABCD, SCORES, NONE, "NMS", "IOS", 0.5)
    np.testing.assert_array_equal(kept, ABCD[[0, 2, 3]])
    assert groups(ABCD, SCORES, "GreedyNMM", "IOS", 0.5) == {0: [1], 2: [], 3: []}
    kept, _, _ = merge(ABCD, SCORES, NONE, "GreedyNMM", "IOS", 0.5)
    np.testing.assert_array_equal(kept[0], [40, 90, 60, 107])
    assert len(kept) == 3
    assert groups(ABCD, SCORES, "NMM", "IOS", 0.5) == {0: [1, 2], 3: []}
    kept, scores, _ = merge(ABCD, SCORES, NONE, "NMM", "IOS", 0.5)
    np.testing.assert_array_equal(kept, [[40, 90, 60, 112], ABCD[3]])
    assert scores.tolist() == [0.9, 0.6]
    grew = np.array([[40, 90, 60, 107.0]])
    assert ios(grew, ABCD[2:3])[0, 0] == pytest.approx(7 / 12)


def test_what_no_longer_matches_a_grown_box_is_dropped() -> None:
    """c matches b, not a grown over b by IOU: NMM takes it away, and the box does not grow."""
    a, b, c = np.array([[0, 0, 10, 100], [0, 30, 10, 130], [0, 60, 10, 160.0]])
    boxes, scores = np.stack([a, b, c]), np.array([0.9, 0.8, 0.7])
    assert iou(boxes, boxes)[0, 1] > 0.5 > iou(boxes, boxes)[0, 2]
    assert groups(boxes, scores, "NMM", "IOU", 0.5) == {0: [1, 2]}
    assert grown(a, boxes[1:2], "IOU", 0.5).tolist() == [0, 0, 10, 130]
    assert overlap([0, 0, 10, 130], c, "IOU") == 70 / 160
    assert merge(boxes, scores, np.zeros(3, int), "NMM", "IOU", 0.5)[0].tolist() == [
        [0, 0, 10, 130]
    ]
    assert len(merge(boxes, scores, np.zeros(3, int), "NMM", "IOU", 0.6)[0]) == 3


def test_the_threshold_itself_matches_and_classes_are_apart() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15.0]])  # IOS is exactly 0.5
    scores = np.array([0.5, 0.9])
    assert len(merge(boxes, scores, np.zeros(2, int), "NMS", "IOS", 0.5)[0]) == 1
    assert len(merge(boxes, scores, np.zeros(2, int), "NMS", "IOS", 0.5001)[0]) == 2
    kept, order, labels = merge(boxes, scores, np.array([0, 1]), "NMM", "IOS", 0.1)
    assert len(kept) == 2
    assert order.tolist() == [0.9, 0.5]
    assert labels.tolist() == [1, 0]
    nothing = merge(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), "GreedyNMM", "IOS", 0.5)
    assert [len(part) for part in nothing] == [0, 0, 0]


def overlap(a: Any, b: Any, metric: str) -> float:
    one, two = Box(*a), Box(*b)
    common = one.intersect(two).area
    below = min(one.area, two.area) if metric == "IOS" else one.area + two.area - common
    return common / below if below else 0.0


def brute(boxes: np.ndarray, scores: np.ndarray, method: str, metric: str, least: float) -> dict:
    """The rules pair by pair, in the order of scores."""
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    keeper: dict[int, int] = {}
    out: dict[int, list[int]] = {}
    for i in order:
        if i not in keeper:
            keeper[i] = i
            out[i] = []
        elif method != "NMM":
            continue
        for j in order:
            if j not in keeper and overlap(boxes[i], boxes[j], metric) >= least:
                keeper[j] = keeper[i]
                out[keeper[i]].append(j)
    return out


def crowd(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = np.round(rng.random((n, 2)) * 60)
    boxes = np.concatenate([corner, corner + np.round(1 + rng.random((n, 2)) * 25)], 1)
    return boxes, np.round(rng.random(n), 1)  # ties


@pytest.mark.parametrize("metric", ["IOS", "IOU"])
@pytest.mark.parametrize("method", ["NMS", "GreedyNMM", "NMM"])
@pytest.mark.parametrize("least", [0.05, 0.5, 0.95])
def test_groups_are_those_of_brute_force(method: str, metric: str, least: float) -> None:
    for seed in range(3):
        boxes, scores = crowd(seed)
        found = groups(boxes, scores, method, metric, least)
        assert found == brute(boxes, scores, method, metric, least)
        assert list(found) == sorted(found, key=lambda i: (-scores[i], i))


def test_matches_found_in_blocks_are_all_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, _ = crowd(5)
    monkeypatch.setattr("hrviz.methods.baselines.merging.BLOCK", 300)  # a few rows at once
    found = Matches(boxes, "IOU", 0.3)
    common = iou(boxes, boxes)
    for k in range(len(boxes)):
        near = set(np.flatnonzero(common[k] >= 0.3).tolist()) - {k}
        assert set(found[k].tolist()) == near


def test_many_boxes_need_no_square_of_memory() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((10_000, 2)) * 50_000
    boxes = np.concatenate([corner, corner + 30], 1)
    twice = np.concatenate([boxes, boxes + 3])
    scores = np.r_[np.full(10_000, 0.9), np.full(10_000, 0.5)]
    kept, _, _ = merge(twice, scores, np.zeros(20_000, int), "GreedyNMM", "IOS", 0.5)
    assert 9_900 < len(kept) <= 10_000

"""The score against hand-made truth: IoU and recall counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_images import image_of

from hrviz.geometry import Box
from hrviz.methods import task
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.warp import unwarp_map
from hrviz.results import HeatMap
from hrviz.scenes.truth import Truth


class Rectangles(Truth):
    """Truth made of rectangles (y0, x0, y1, x1)."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.known = [Box(*b) for b in boxes]
        self.classes, self.objects = {0: "other", 1: "tumour"}, {1: "tumour nest"}

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        y = (box.y0 + (np.arange(size[0]) + 0.5) * box.height / size[0])[:, None]
        x = (box.x0 + (np.arange(size[1]) + 0.5) * box.width / size[1])[None]
        out = np.zeros(size, np.uint8)
        for b in self.known:
            out[(y >= b.y0) & (y < b.y1) & (x >= b.x0) & (x < b.x1)] = 1
        return out

    def lesions(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        near = [b for b in self.known if b.intersect(Box(*box)).area > 0]
        return np.array(near, float).reshape(-1, 4), np.array([b.area for b in near])


def score(view: Any, values: np.ndarray, box: Box | None = None) -> dict[str, Any]:
    (step,) = task.score(view, HeatMap(values.astype(np.float32), box or view.box))
    return step.result.summary()


def view_of(*boxes: tuple[float, float, float, float], **options: Any) -> Any:
    return image_of(np.zeros((100, 100, 3), np.uint8), truth=Rectangles(*boxes), **options).view()


def test_iou_and_recall_by_hand() -> None:
    view = view_of((10, 10, 30, 30), (50, 50, 90, 90))
    predicted = np.zeros((100, 100))
    predicted[50:90, 50:75] = 0.9  # 1000 of 1600 px of the second, nothing of the first
    predicted[0:10, 0:10] = 0.8  # 100 px of nothing
    found = score(view, predicted)
    assert found["iou"] == pytest.approx(1000 / (400 + 1600 + 100))
    assert found["lesions"] == 2
    assert found["lesion_recall"] == 0.5
    assert found["false_positive_share"] == pytest.approx(0.01)
    # 0.2 mm at 0.25 um are 800 px across: both count as small
    assert found["small_lesions"] == 2
    assert found["small_lesion_recall"] == 0.5
    assert found["source"] == "trained: tissue-segmenter"


def test_more_than_half_of_a_lesion_must_be_found() -> None:
    view = view_of((20, 20, 60, 60))
    for columns, recall in ((19, 0), (21, 1)):
        predicted = np.zeros((100, 100))
        predicted[20:60, 20 : 20 + columns] = 1
        assert score(view, predicted)["lesion_recall"] == recall


def test_small_is_below_a_fifth_of_a_millimetre() -> None:
    # at 20 um a pixel, 0.2 mm are 10 px across: 78.5 px^2
    view = view_of((10, 10, 18, 18), (50, 50, 90, 90), pixel_size=20.0)
    predicted = np.zeros((100, 100))
    predicted[50:90, 50:90] = 1
    found = score(view, predicted)
    assert (found["lesions"], found["lesion_recall"]) == (2, 0.5)
    assert (found["small_lesions"], found["small_lesion_recall"]) == (1, 0)


def test_nothing_there_and_nothing_found_is_perfect() -> None:
    found = score(view_of(), np.zeros((10, 10)))
    assert found == {"iou": 1.0, "false_positive_share": 0.0, "source": task.BADGE}
    assert score(view_of(), np.ones((10, 10)))["iou"] == 0
    assert score(view_of(), np.ones((10, 10)))["false_positive_share"] == 1


def test_what_is_not_known_is_not_found() -> None:
    view = view_of((0, 0, 100, 50))
    assert score(view, np.full((5, 5), np.nan))["iou"] == 0
    assert score(view, np.ones((10, 10)), Box(0, 0, 50, 50))["iou"] == pytest.approx(0.5)


def test_a_lesion_cut_by_the_region_counts_with_the_part_inside() -> None:
    image = image_of(np.zeros((100, 100, 3), np.uint8), truth=Rectangles((0, 0, 100, 60)))
    view = image.view((0, 40, 100, 100))
    predicted = np.zeros((100, 60))
    predicted[:, :20] = 1
    found = score(view, predicted)
    assert found["iou"] == 1
    assert found["lesion_recall"] == 1


def test_no_truth_no_score() -> None:
    view = image_of(np.zeros((10, 10, 3), np.uint8)).view()
    assert list(task.score(view, HeatMap(np.zeros((2, 2)), view.box))) == []


@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
def test_unwarp_carries_an_answer_back_where_it_was_seen(size: tuple[int, int]) -> None:
    """The answer to a warped coordinate ramp, taken back, is the coordinate itself."""
    view = image_of(np.zeros((400, 500, 3), np.uint8)).view()
    rng = np.random.default_rng(0)
    v, u = saliency_nodes(rng.random((9, 11)) + 0.3, 6.0, "reflect")
    grid = grid_from_nodes(v, u, view.box, size)
    assert not grid.folded().any()
    ramp = grid.positions()  # what each output pixel shows, (y, x)
    h, w = size
    padded = np.pad(ramp, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    answer = padded.reshape(-(-h // 2), 2, -(-w // 2), 2, 2).mean((1, 3))
    for k in (0, 1):
        heat = unwarp_map(answer[..., k], grid, view, label="", source="", low=None, high=None)
        y = (np.arange(heat.values.shape[0]) + 0.5) * 400 / heat.values.shape[0]
        x = (np.arange(heat.values.shape[1]) + 0.5) * 500 / heat.values.shape[1]
        expected = np.meshgrid(y, x, indexing="ij")[k]
        error = (heat.values - expected)[20:-20, 20:-20]
        cell = max(400 / size[0], 500 / size[1])
        assert np.abs(error).max() < 0.25 * cell  # interpolation of a bent map
        assert abs(error.mean()) < 0.02 * cell  # and no shift


def test_a_scene_without_tumour_has_false_alarms_only() -> None:
    view = view_of((10, 10, 30, 30))
    view.truth.objects = {1: "car"}
    predicted = np.zeros((100, 100))
    predicted[:20, :50] = 0.9
    (step,) = task.score(view, HeatMap(predicted.astype(np.float32), view.box))
    assert step.result.values == {"false_positive_share": pytest.approx(0.1)}
    assert "no tumour" in step.note and "task to none" in step.note
    assert not task.suits(view.truth)
    assert task.suits(None)

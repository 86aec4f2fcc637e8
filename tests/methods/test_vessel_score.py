"""The vessel score against hand-made vessels: Dice, and recall of thin ones, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_images import image_of

from hrviz.geometry import Box
from hrviz.methods import task
from hrviz.results import HeatMap


class Bars:
    """Truth of upright bars (x0, x1, class) over the whole height: 1 artery, 2 vein."""

    objects: dict[int, str] = {1: "optic disc"}  # noqa: RUF012
    classes: dict[int, str] = {0: "other", 1: "artery", 2: "vein"}  # noqa: RUF012
    labels = ("healthy", "lesions")

    def __init__(self, *bars: tuple[float, float, int]) -> None:
        self.bars = bars

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        x = box.x0 + (np.arange(size[1]) + 0.5) * box.width / size[1]
        line = np.zeros(size[1], np.uint8)
        for x0, x1, kind in self.bars:
            line[(x >= x0) & (x < x1)] = kind
        return np.tile(line, (size[0], 1))


def score(view: Any, values: np.ndarray) -> dict[str, Any]:
    heat = HeatMap(values.astype(np.float32), view.box)
    (step,) = task.score(view, heat, "vessel segmentation")
    return step.result.summary()


def view_of(side: int, *bars: tuple[float, float, int]) -> Any:
    return image_of(np.zeros((side, side, 3), np.uint8), truth=Bars(*bars)).view()


def test_dice_and_recall_of_thin_vessels_by_hand() -> None:
    # 1024 px: thin is below 4 px; a thin artery of 2 px, a wide vein of 20
    view = view_of(1024, (100, 102, 1), (500, 520, 2))
    predicted = np.zeros((1024, 1024))
    predicted[:256, 100:102] = 1  # a quarter of the thin one
    predicted[:, 505:530] = 1  # 15 of 20 columns, and 10 of nothing
    found = score(view, predicted)
    hit = 256 * 2 + 1024 * 15
    both = 1024 * (2 + 20) + 256 * 2 + 1024 * 25
    assert found["dice"] == pytest.approx(2 * hit / both)
    assert found["iou"] == pytest.approx(hit / (both - hit))
    assert found["thin_recall"] == pytest.approx(0.25)
    assert found["thin_share"] == pytest.approx(2 / 22)
    assert found["false_positive_share"] == pytest.approx(10 / 1024)
    assert found["source"] == "trained: vessel-segmenter"
    assert "lesions" not in found


def test_width_is_counted_in_the_picture_not_in_the_region() -> None:
    """A closer look at the same vessel does not make it thick."""
    bars = ((100.0, 102.0, 1), (130.0, 135.0, 2))
    image = image_of(np.zeros((1024, 1024, 3), np.uint8), truth=Bars(*bars))
    for box in ((0, 0, 1024, 1024), (0, 64, 128, 192), (300, 90, 350, 140)):
        view = image.view(box)
        size = view.fit(1024)
        found = score(view, np.ones(size))
        assert found["thin_share"] == pytest.approx(2 / 7, abs=0.01)
        assert found["thin_recall"] == 1


def test_nothing_there_and_nothing_found_is_perfect() -> None:
    found = score(view_of(64), np.zeros((64, 64)))
    assert (found["dice"], found["iou"]) == (1, 1)
    assert "thin_recall" not in found
    assert score(view_of(64), np.ones((64, 64)))["dice"] == 0


@pytest.mark.parametrize("bar", range(1, 9))
@pytest.mark.parametrize("width", [1.0, 2.5, 4.0, 7.9])
def test_a_bar_is_thin_when_it_is_narrower_than_the_disc(bar: int, width: float) -> None:
    mask = np.zeros((40, 40), bool)
    mask[:, 15 : 15 + bar] = True
    narrow = task.thin(mask, width)
    if bar < width:
        np.testing.assert_array_equal(narrow, mask)
    elif bar >= width + 1:
        assert not narrow.any()


def test_opening_with_a_disc_by_brute_force() -> None:
    """Every disc that fits, one by one, on a random mask."""
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((8, 8)) < 0.6, np.ones((5, 5))).astype(bool)
    width = 7.0
    padded = np.pad(mask, 12, mode="edge")
    y, x = np.mgrid[: padded.shape[0], : padded.shape[1]]
    wide = np.zeros(padded.shape, bool)
    for cy, cx in np.argwhere(padded):
        distance = np.hypot(y - cy, x - cx)
        if padded[distance < width / 2 + 0.5 - 1e-9].all():
            wide |= distance < width / 2 + 0.5
    expected = (padded & ~wide)[12:-12, 12:-12]
    np.testing.assert_array_equal(task.thin(mask, width), expected)


@pytest.mark.slow
def test_the_recipe_runs() -> None:
    pytest.importorskip("torch")
    from hrviz.training import train

    told = train("vessel-segmenter", steps=12, report=lambda line: None, write=False)
    assert told["held_out"]["crops"] == 12
    assert all(0 <= v <= 1 for k, v in told["held_out"].items() if k.startswith("iou"))

"""FOVEA: kernel density and grids against the fact sheet, boxes there and back, its sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling.box_sources import box_saliency, data_set, zoom_nodes
from hrviz.methods.downsampling.kde import kde, region_kde
from hrviz.methods.downsampling.previous_frame import previous_boxes, previous_view
from hrviz.methods.downsampling.sampler import grid_from_nodes
from hrviz.methods.downsampling.separable import separable_nodes
from hrviz.training import train

from .oracle import brute_line, numbers, small_saliency

ROAD = "scene:road?size=1280x960&seed=3"
FILM = "scene:crowd?size=600x400&people=40&frames=4"


def g(values: np.ndarray) -> np.ndarray:
    return 2 * values - 1


# ------------------------------------------------------------------ the fact sheet's numbers
@pytest.mark.parametrize(
    ("padding", "x", "y"),
    [
        ("reflect", "-1 -0.58756 -0.22292 0.08584 0.33380 0.59515 1", "-1 -0.52100 -0.11686 0.36723 1"),
        ("replicate", "-0.96073 -0.58236 -0.22277 0.08584 0.33347 0.58515 0.92614",
         "-0.95201 -0.51009 -0.11655 0.35721 0.92066"),
    ],
)  # fmt: skip
def test_o1d_sum_marginals(padding: str, x: str, y: str) -> None:
    s = small_saliency()
    v, u = separable_nodes(s, 2.0, padding, "sum", (4, 4))  # type: ignore[arg-type]
    np.testing.assert_allclose(g(u[0]), numbers(x)[0], atol=6e-6)
    np.testing.assert_allclose(g(v[:, 0]), numbers(y)[0], atol=6e-6)
    np.testing.assert_allclose(u[2], brute_line(s.sum(0), 2.0, 4, padding), atol=1e-12)
    np.testing.assert_allclose(v[:, 3], brute_line(s.sum(1), 2.0, 4, padding), atol=1e-12)


def test_o9_density_of_one_box() -> None:
    box = np.array([[20.0, 60, 40, 100]])
    s = kde(box, 100, 150, (5, 7), 16, 1, 4)
    row = numbers("0.00962 0.02259 0.08208 0.15415 0.11719 0.03913 0.01185")[0]
    np.testing.assert_allclose(s[1], row, atol=6e-6)
    assert s.sum() == pytest.approx(1, abs=1e-12)
    assert s.min() == pytest.approx(0.00862, abs=6e-6)
    v, u = separable_nodes(s, 2.0, "reflect", "sum", (4, 4))
    x = numbers("-1 -0.50784 -0.20718 0.02266 0.24540 0.51533 1")[0]
    np.testing.assert_allclose(g(u[0]), x, atol=6e-6)
    np.testing.assert_allclose(g(v[:, 0]), numbers("-1 -0.49225 -0.17922 0.22920 1")[0], atol=6e-6)


def test_o9_no_box_is_even() -> None:
    np.testing.assert_array_equal(kde(np.zeros((0, 4)), 100, 150, (5, 7)), np.full((5, 7), 1 / 35))


def test_o9_the_default_fovea() -> None:
    """1920 x 1200, one box, 31 x 51 nodes, FWHM 4: nodes, zoom, the box in the frame and back."""
    s = kde(np.array([[500, 900, 560, 1000.0]]), 1200, 1920, (31, 51))
    v, u = separable_nodes(s, 4.0, "reflect", "sum", (30, 30))
    y, x = v[:, 0], u[0]
    expected = [-0.14018, -0.02884, -0.00394, 0.02105, 0.13915]
    np.testing.assert_allclose(g(x)[[20, 24, 25, 26, 30]], expected, atol=6e-6)
    at = np.linspace(0, 1, 960), np.linspace(0, 1, 600)
    zoom = [
        (1 / (n - 1) / np.diff(np.interp(t, np.linspace(0, 1, len(line)), line))).max()
        for n, t, line in zip((960, 600), at, (x, y), strict=True)
    ]
    np.testing.assert_allclose(zoom, [1.605, 2.014], atol=5e-3)
    # boxes by the paper's convention: position p of W at p / W
    place = np.linspace(0, 1, 51), np.linspace(0, 1, 31)
    columns = np.interp(np.array([900, 1000]) / 1920, x, place[0]) * 960
    rows = np.interp(np.array([500, 560]) / 1200, y, place[1]) * 600
    np.testing.assert_allclose(columns, [435.33, 514.71], atol=6e-3)
    np.testing.assert_allclose(rows, [235.33, 294.71], atol=6e-3)
    assert np.diff(columns)[0] * np.diff(rows)[0] / (50 * 30) == pytest.approx(3.143, abs=1e-3)
    back = np.interp(columns / 960, place[0], x) * 1920, np.interp(rows / 600, place[1], y) * 1200
    np.testing.assert_allclose(np.concatenate(back), [900, 1000, 500, 560], atol=1e-4)


# ------------------------------------------------------------------ the density
def test_density_against_the_formula_box_by_box() -> None:
    rng = np.random.default_rng(2)
    low = rng.random((6, 2)) * (300, 500)
    boxes = np.concatenate([low, low + rng.random((6, 2)) * 80], 1)
    ny, nx, p = 9, 13, 5
    expected = np.zeros((ny, nx))
    for y0, x0, y1, x1 in boxes:
        one = np.zeros((ny, nx))
        for j in range(ny):
            for i in range(nx):
                dy, dx = 400 * j / (ny - 1) - (y0 + y1) / 2, 600 * i / (nx - 1) - (x0 + x1) / 2
                one[j, i] = math.exp(
                    -0.5 * (dx**2 / (30 * max(x1 - x0, 1)) + dy**2 / (30 * max(y1 - y0, 1)))
                )
        expected += 2.5 * one / (1e-5 + one.sum()) + 1 / (2 * p + 1) ** 2
    expected /= expected.sum()
    np.testing.assert_allclose(kde(boxes, 400, 600, (ny, nx), 30, 2.5, p), expected, rtol=1e-10)


def test_boxes_are_not_altered_and_may_have_no_width() -> None:
    boxes = np.array([[100.0, 50, 100, 50], [20, 20, 60, 60]])
    before = boxes.copy()
    s = kde(boxes, 200, 300, (11, 17))
    np.testing.assert_array_equal(boxes, before)
    assert np.isfinite(s).all()
    wide = boxes + np.array([[-0.5, -0.5, 0.5, 0.5], [0, 0, 0, 0]])
    np.testing.assert_allclose(s, kde(wide, 200, 300, (11, 17)), rtol=1e-12)


def test_the_same_picture_at_any_size_has_the_same_density() -> None:
    box = np.array([[400, 600, 500, 800.0]])
    one = region_kde(box, Box(0, 0, 960, 1280), (21, 27))
    other = region_kde(box * 100 + 7, Box(7, 7, 96_007, 128_007), (21, 27))
    np.testing.assert_allclose(one, other, rtol=1e-9)


# ------------------------------------------------------------------ the method
def test_a_drawn_box_is_enlarged_and_comes_back() -> None:
    drawn = (400.0, 600.0, 440.0, 640.0)
    run = hrviz.apply("foveated-magnifier", ROAD, saliency="drawn", boxes=(drawn,), task="none")
    grid = run["grid"]
    assert grid.separable
    assert grid.covered() == pytest.approx(1, abs=1e-12)  # reflect: nothing is cropped
    assert not grid.folded().any()
    there = grid.boxes_to_output(np.array([drawn]))
    even = 40 * 511 / 1279
    assert (there[0, 2:] - there[0, :2] > 1.3 * even).all()
    np.testing.assert_allclose(grid.boxes_to_image(there), [drawn], atol=1e-4)
    assert run["saliency"].source == "drawn by the user"
    np.testing.assert_array_equal(run["boxes"].boxes, [drawn])


def test_replicate_crops_and_says_how_much() -> None:
    run = hrviz.apply("fovea", ROAD, saliency="truth", padding="replicate", task="none")
    cropped = run["grid"].summary()["cropped"]
    assert cropped > 0
    note = next(s.note for s in run.steps if s.name == "grid")
    assert f"{cropped:.1%} of the area is cropped" in note
    assert "take maxima" in note


def test_nothing_drawn_is_refused() -> None:
    with pytest.raises(HrvizError, match="no box is drawn"):
        hrviz.apply("fovea", ROAD, saliency="drawn", task="none")
    with pytest.raises(HrvizError, match="outside the region"):
        hrviz.apply(
            "fovea",
            ROAD,
            (0, 0, 100, 100),
            saliency="drawn",
            boxes=((200, 200, 300, 300),),
            task="none",
        )
    view = image_of(np.zeros((50, 60, 3), np.uint8)).view()
    with pytest.raises(HrvizError, match="has no truth"):
        box_saliency(view, "truth", (5, 6), task="none", size=(32, 32))


def test_the_data_set_knows_where_the_road_is() -> None:
    view = hrviz.open(ROAD).view()
    even = data_set(view, (31, 41))
    assert even.sum() == pytest.approx(1)
    horizon = slice(11, 18)  # signs and cars stand about the middle, none in the sky
    assert even[horizon].sum() > 4 * even[:7].sum()
    # a region has the part of the whole picture's map that lies over it
    part = data_set(hrviz.open(ROAD).view((480, 640, 960, 1280)), (16, 21))
    np.testing.assert_allclose(part, even[15:, 20:] / even[15:, 20:].sum(), rtol=1e-4)
    half = box_saliency(view, "truth", (31, 41), task="none", size=(96, 128), prior=0.5)
    own = box_saliency(view, "truth", (31, 41), task="none", size=(96, 128))
    np.testing.assert_allclose(half.values, (even + own.values) / 2, rtol=1e-9)


def test_the_frame_before() -> None:
    film = hrviz.open(FILM)
    third = film.at(t=3).view((0, 0, 400, 600))
    before = previous_view(third)
    assert before is not None
    assert before.image.index["t"] == 2
    assert before.reads is third.reads
    two = previous_view(third, 2)
    assert two is not None
    assert two.image.index["t"] == 1
    assert previous_view(film.view()) is None
    assert previous_boxes(hrviz.open(ROAD).view(), "sign detection", (96, 128)) is None
    asked = box_saliency(
        film.view(), "previous frame", (9, 13), task="person detection", size=(64, 96)
    )
    assert "no frame before" in asked.note
    np.testing.assert_allclose(asked.values, 1 / (9 * 13))


def test_even_saliency_where_no_detector_fits() -> None:
    run = hrviz.apply("fovea", "scene:tissue?size=600x400", saliency="detections", task="none")
    assert len(run["boxes"].boxes) == 0
    assert run["grid"].summary()["magnification_max"] == pytest.approx(1, abs=1e-6)


def test_structures() -> None:
    s = kde(np.array([[100, 300, 160, 360.0]]), 300, 400, (16, 21))
    v, u = zoom_nodes(s, 4.0, "reflect", "non-separable")
    bent = grid_from_nodes(v, u, Box(0, 0, 300, 400), (64, 86))
    assert not bent.separable
    straight = grid_from_nodes(
        *zoom_nodes(s, 4.0, "reflect", "separable"), Box(0, 0, 300, 400), (64, 86)
    )
    assert straight.separable


# ------------------------------------------------------------------ recipes
@pytest.mark.parametrize("name", ["road-detector", "road-detector-fovea", "road-saliency"])
def test_recipes_run(name: str) -> None:
    card = train(name, steps=2, write=False, report=lambda text: None)
    assert card["name"] == name
    assert card["steps"] == 2
    assert card["held_out"]


def test_jitter_has_no_drift() -> None:
    from hrviz.training.road_warped import JITTER, jittered

    boxes = np.tile([100.0, 200, 120, 240], (20_000, 1))
    moved = jittered(boxes, 1280, np.random.default_rng(0))
    shift = moved[:, :2] - boxes[0, :2]
    assert np.abs(shift).max() <= JITTER * 1280
    assert np.abs(shift.mean(0)).max() < 0.5
    np.testing.assert_allclose(moved[:, 2:] - moved[:, :2], [[20, 40]] * len(moved))

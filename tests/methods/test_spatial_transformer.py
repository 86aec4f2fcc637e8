"""Spatial transforms against the fact sheet's numbers (O10), brute force, and their exact inverses."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import image_of
from hypothesis import given, settings
from hypothesis import strategies as st

import hrviz
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling import theta
from hrviz.methods.downsampling.sampler import grid_from_nodes, sample
from hrviz.methods.downsampling.tps import lattice

SCENE = "scene:tissue?size=600x400&tumour=0.2"


def crop_run(region: tuple[int, ...] | None = None, **params: object) -> hrviz.run.Run:
    return hrviz.apply("stn", SCENE, region, localisation="sliders", task="none", size=64, **params)


# ------------------------------------------------------------------ O10
def test_o10_crop_where_corner_pixel_centres_are_the_corners() -> None:
    matrix = theta.crop(0.5, 0.25, -0.5)
    x, y = np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 3))
    at = theta.apply(matrix, np.stack([x, y], -1))
    np.testing.assert_allclose(at[0, :, 0], [-0.25, 0.25, 0.75])
    np.testing.assert_allclose(at[:, 0, 1], [-1, -0.5, 0])
    assert theta.inside(matrix)
    pixels = np.repeat(np.arange(25, dtype=np.uint8).reshape(5, 5, 1), 3, 2)
    view = image_of(pixels).view()
    grid = grid_from_nodes((at[..., 1] + 1) / 2, (at[..., 0] + 1) / 2, view.box, (3, 3))
    out = sample(view, grid, "as published")[..., 0] * 255
    np.testing.assert_allclose(out, [[1.5, 2.5, 3.5], [6.5, 7.5, 8.5], [11.5, 12.5, 13.5]], atol=1e-5)  # fmt: skip


def test_o10_the_other_convention_of_pixel_edges() -> None:
    """align_corners=False: the same matrix at pixel centres (k + 0.5) / n; torch says the same."""
    torch = pytest.importorskip("torch")
    line = (np.arange(3) + 0.5) / 3 * 2 - 1
    at = theta.apply(theta.crop(0.5, 0.25, -0.5), np.stack(np.meshgrid(line, line), -1))
    np.testing.assert_allclose(at[0, :, 0], [-0.08333, 0.25, 0.58333], atol=6e-6)
    np.testing.assert_allclose(at[:, 0, 1], [-0.83333, -0.5, -0.16667], atol=6e-6)
    matrix = torch.tensor([[[0.5, 0, 0.25], [0, 0.5, -0.5]]], dtype=torch.float64)
    for align in (False, True):
        expected = torch.nn.functional.affine_grid(matrix, (1, 1, 3, 3), align_corners=align)[0]
        line = np.linspace(-1, 1, 3) if align else (np.arange(3) + 0.5) / 3 * 2 - 1
        at = theta.apply(theta.crop(0.5, 0.25, -0.5), np.stack(np.meshgrid(line, line), -1))
        np.testing.assert_allclose(at, expected.numpy(), atol=1e-12)


def test_o10_homography() -> None:
    matrix = np.array([[1, 0.1, 0], [0, 1, 0], [0.2, 0, 1]])
    points = np.array([(-1, -1), (1, 1), (0.5, -0.5)])
    expected = [(-1.375, -1.25), (0.91667, 0.83333), (0.40909, -0.45455)]
    np.testing.assert_allclose(theta.apply(matrix, points), expected, atol=6e-6)
    step = 1e-6
    for point, det in zip(points, theta.determinant(matrix, points), strict=True):
        j = [
            (theta.apply(matrix, point + d) - theta.apply(matrix, point - d)) / (2 * step)
            for d in step * np.eye(2)
        ]
        assert det == pytest.approx(np.linalg.det(np.array(j)), rel=1e-6)


# ------------------------------------------------------------------ matrices
MATRICES = st.builds(
    lambda s, x, y, a, k, h7, h8: theta.crop(s, x, y) @ theta.turned(a, k, 1.5) @ theta.tilted(h7, h8),
    st.floats(0.05, 2), st.floats(-1, 1), st.floats(-1, 1), st.floats(-180, 180), st.floats(-1, 1),
    st.floats(-0.45, 0.45), st.floats(-0.45, 0.45),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(matrix=MATRICES, seed=st.integers(0, 1000))
def test_the_inverse_is_the_matrix_inverse(matrix: np.ndarray, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-1, 1, (30, 2))
    back = theta.apply(np.linalg.inv(matrix), theta.apply(matrix, points))
    np.testing.assert_allclose(back, points, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(matrix=MATRICES)
def test_moved_inside_reads_inside_where_there_is_room(matrix: np.ndarray) -> None:
    corners = theta.apply(matrix, theta.CORNERS)
    moved = theta.moved_inside(matrix)
    if (np.ptp(corners, axis=0) <= 2).all():
        assert theta.inside(moved)
    # only a shift: shape and size stay
    after = theta.apply(moved, theta.CORNERS)
    np.testing.assert_allclose(after - after[0], corners - corners[0], atol=1e-9)
    if theta.inside(matrix):
        np.testing.assert_allclose(moved, matrix, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(matrix=MATRICES)
def test_the_share_shown_is_that_of_the_quadrilateral(matrix: np.ndarray) -> None:
    """Against a polygon test on the corners' image, which shares nothing with the inverse."""
    from matplotlib.path import Path

    corners = theta.apply(matrix, theta.CORNERS)
    line = (np.arange(64) + 0.5) / 32 - 1
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    expected = Path(corners).contains_points(points).mean()
    assert theta.shown(matrix) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("h7", "h8"), [(0.6, 0.5), (1.0, 0.0), (0.0, -1.2)])
def test_a_horizon_in_the_picture_is_refused(h7: float, h8: float) -> None:
    with pytest.raises(HrvizError, match="denominator changes sign") as caught:
        theta.tilted(h7, h8)
    assert "\n" not in str(caught.value)


def test_rotation_is_one_in_pixels() -> None:
    """A quarter turn of a wide picture takes 10 px across to 10 px down."""
    aspect = 3.0
    turn = theta.turned(90, 0, aspect)
    across = theta.apply(turn, np.array([(1.0, 0.0)]))[0]
    np.testing.assert_allclose(across * (aspect, 1), (0, aspect), atol=1e-12)


# ------------------------------------------------------------------ from saliency
def test_even_saliency_is_the_whole_image() -> None:
    s, x, y = theta.from_saliency(np.ones((301, 401)))
    assert (s, x, y) == pytest.approx((1, 0, 0), abs=1e-4)


def test_a_crop_of_what_is_salient() -> None:
    """A block of a quarter of each side: exactly its own crop."""
    values = np.zeros((400, 400))
    values[50:150, 250:350] = 1
    assert theta.from_saliency(values) == pytest.approx((0.25, 0.5, -0.5), abs=1e-4)
    point = np.zeros((5, 5))
    point[2, 3] = 1
    assert theta.from_saliency(point) == pytest.approx((0.02, 0.4, 0))
    assert np.isfinite(theta.from_saliency(np.ones((1, 7)))).all()


# ------------------------------------------------------------------ control points
def test_only_the_centre_of_nine_moves() -> None:
    moved = 2 * (theta.pushed(lattice(3, 3), (0.4, -0.2)) - lattice(3, 3))
    assert moved[4] == pytest.approx((-0.2, 0.4))
    np.testing.assert_allclose(np.delete(moved, 4, 0), 0, atol=1e-12)


def test_piecewise_affine_is_affine_in_every_triangle() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((3, 4, 2))
    rows, columns = 2, 3
    for j, i in ((0, 0), (1, 2)):
        a, b = targets[j, i], targets[j, i + 1]
        c, d = targets[j + 1, i], targets[j + 1, i + 1]
        weights = rng.dirichlet(np.ones(3), 20)
        for corners, values in (
            ([(0, 0), (0, 1), (1, 1)], np.stack([a, b, d])),
            ([(0, 0), (1, 0), (1, 1)], np.stack([a, c, d])),
        ):
            place = weights @ np.array(corners) + (j, i)
            found = theta.piecewise_affine(targets, place[:, 0] / rows, place[:, 1] / columns)
            np.testing.assert_allclose(found, weights @ values, atol=1e-12)


# ------------------------------------------------------------------ the method
def test_a_crop_shows_its_box_and_nothing_else() -> None:
    run = crop_run(transform="crop", zoom=2, right=0.25, down=-0.5)
    assert run["theta"].values == pytest.approx(
        {"s": 0.5, "t_x": 0.25, "t_y": -0.5, "inside": 1, "shown": 0.25}
    )
    grid = run["grid"]
    assert grid.nodes.shape == (2, 2, 2)
    y0, x0, y1, x1 = run["crop"].boxes[0]
    # x runs over -0.25..0.75, y over -1..0, between corner pixel centres
    assert (x0, x1) == pytest.approx((0.375 * 599, 0.875 * 599 + 1))
    assert (y0, y1) == pytest.approx((0, 0.5 * 399 + 1))
    assert grid.covered() == pytest.approx(0.25)


def test_a_crop_beyond_the_border_is_moved_inside_and_says_so() -> None:
    run = crop_run(transform="crop", zoom=2, right=1, down=0)
    assert run["theta"].values["t_x"] == pytest.approx(0.5)
    assert "Moved" in next(s.note for s in run.steps if s.name == "theta")


def test_a_turned_whole_image_repeats_its_rim_and_says_so() -> None:
    run = crop_run(transform="affine", zoom=1, right=0, down=0, rotation=45)
    values = run["theta"].values
    assert values["inside"] == 0
    assert 0.5 < values["shown"] < 1
    assert "repeats its rim" in next(s.note for s in run.steps if s.name == "theta")
    assert run["grid"].nodes.shape[0] > 2


def test_the_warped_picture_is_the_map_applied_pixel_by_pixel() -> None:
    run = crop_run(
        transform="projective", zoom=3, right=0.1, down=0.1, nodes=63, sampling="as published"
    )
    h = dict(run["theta"].values)
    matrix = np.array([h[f"h{k}"] for k in range(1, 9)] + [1.0]).reshape(3, 3)
    grid = run["grid"]
    x, y = np.meshgrid(np.linspace(-1, 1, grid.size[1]), np.linspace(-1, 1, grid.size[0]))
    at = (theta.apply(matrix, np.stack([x, y], -1)) + 1) / 2 * (599, 399) + 0.5
    np.testing.assert_allclose(grid.positions()[..., ::-1], at, atol=0.15)


def test_a_spline_without_displacement_changes_nothing() -> None:
    for transform in ("piecewise affine", "thin-plate spline"):
        run = crop_run(transform=transform, displacement=0, points=5)
        grid = run["grid"]
        even = type(grid).identity(Box(0, 0, 400, 600), grid.size, grid.nodes.shape[:2])
        np.testing.assert_allclose(grid.nodes, even.nodes, atol=1e-8)


def test_a_far_displacement_folds_and_is_seen() -> None:
    square = {
        "transform": "thin-plate spline",
        "displacement": 1,
        "down": 0,
        "points": 3,
        "nodes": 63,
    }
    assert crop_run((0, 0, 400, 400), right=0.8, **square)["grid"].folded().sum() == 0
    assert crop_run((0, 0, 400, 400), right=0.9, **square)["grid"].folded().sum() > 0


def test_a_horizon_in_the_picture_is_one_sentence() -> None:
    with pytest.raises(HrvizError, match="add to less than 1"):
        crop_run(transform="projective", across=0.7, below=0.7)


@pytest.mark.slow
def test_recipe_runs() -> None:
    pytest.importorskip("torch")
    from hrviz.training import train

    card = train("road-localiser", steps=4, write=False, report=lambda text: None)
    assert {"end_to_end_accuracy", "after_warm_start_sign_in_crop"} <= set(card["held_out"])


def test_theta_follows_the_peak_and_its_gradient_the_neighbourhood() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.transformer import Localiser
    from hrviz.nets.transformer import theta as of_logits

    logits = torch.full((1, 2, 30, 40), -9.0, dtype=torch.float64)
    logits[0, 0, 12, 25] = 9.0
    logits[0, 0, 2, 3] = 8.0  # another peak, farther than the reach: it does not count
    logits[0, 1] = 0.0
    found = of_logits(logits)[0]
    assert found[1:].tolist() == pytest.approx([25.5 / 20 - 1, 12.5 / 15 - 1], abs=1e-6)
    assert float(found[0]) == pytest.approx((0.03 * 0.4) ** 0.5)
    logits.requires_grad_()
    of_logits(logits)[0, 1].backward()
    assert logits.grad[0, 0, 12, 24] < 0 < logits.grad[0, 0, 12, 26]
    assert logits.grad[0, 0, 2, 3] == 0
    assert Localiser()(torch.zeros(2, 3, 61, 83)).shape == (2, 2, 16, 21)

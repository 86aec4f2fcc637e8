"""Thin-plate splines against the fact sheet's numbers (O10), their definition, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling.sampler import saliency_nodes
from hrviz.methods.downsampling.tps import ThinPlate, lattice
from hrviz.methods.downsampling.tps_zoom import (  # fmt: skip
    TpsZoom,
    mean_edges,
    size_saliency,
    spline_zoom,
    tps_zoom,
)

from .oracle import small_saliency

SQUARE = 2 * lattice(3, 3) - 1  # on -1..1, (y, x)


def moved_centre(x: float, y: float) -> tuple[ThinPlate, np.ndarray]:
    plate = ThinPlate(SQUARE)
    targets = SQUARE.copy()
    targets[4] = (y, x)
    return plate, plate.fit(targets)


def test_o10_a_moved_centre() -> None:
    plate, fitted = moved_centre(0.4, -0.2)
    points = np.array([(0.5, 0.5), (0.25, -0.5), (-0.125, 0.25), (0.5, 1.0)])
    expected = [(0.65144, 0.42428), (-0.29487, 0.14744), (0.57632, -0.28816), (1.01861, 0.49069)]
    np.testing.assert_allclose(plate.at(fitted, points)[:, ::-1], expected, atol=6e-6)
    np.testing.assert_allclose(fitted[4, ::-1], (0.45545, -0.22772), atol=6e-6)
    np.testing.assert_allclose(fitted[9, ::-1], (0.21726, -0.10863), atol=6e-6)
    np.testing.assert_allclose(fitted[10:], np.eye(2), atol=1e-12)
    # of the mesh of 65 x 65 nodes; the spline itself stays a little farther from a fold
    assert spline_grid(plate, fitted).min() == pytest.approx(0.4879, abs=6e-5)
    det = np.linalg.det(plate.jacobian(fitted, 2 * lattice(65, 65) - 1))
    assert det.min() == pytest.approx(0.4957, abs=1e-4)


def spline_grid(plate: ThinPlate, fitted: np.ndarray, n: int = 65) -> np.ndarray:
    """Corner determinants of the bilinear mesh through n x n points over -1..1, 1 as the identity."""
    at = plate.at(fitted, 2 * lattice(n, n) - 1).reshape(n, n, 2) * (n - 1) / 2
    right, down = np.diff(at, axis=1), np.diff(at, axis=0)
    corners = [
        right[a, :, 1] * down[:, b, 0] - right[a, :, 0] * down[:, b, 1]
        for a in (slice(None, -1), slice(1, None))
        for b in (slice(None, -1), slice(1, None))
    ]
    return np.stack(corners)


def test_o10_the_centre_folds_beyond_0_820() -> None:
    assert spline_grid(*moved_centre(0.815, 0)).min() > 0
    assert spline_grid(*moved_centre(0.825, 0)).min() < 0


def test_o10_a_spline_through_the_samplers_nodes_wobbles_at_the_border() -> None:
    v, u = saliency_nodes(small_saliency(), 2.0, "reflect", 4)
    plate = ThinPlate(2 * lattice(5, 7) - 1)
    fitted = plate.fit(2 * np.stack([v.ravel(), u.ravel()], -1) - 1)
    found = plate.at(fitted, np.array([(-0.25, 1 / 6), (0.0, 0.5)]))[:, ::-1]
    np.testing.assert_allclose(found, [(0.22106, -0.33524), (0.44986, -0.15001)], atol=6e-6)
    border = plate.at(fitted, np.stack([np.linspace(-1, 1, 401), np.full(401, -1.0)], -1))[:, 1]
    assert border.max() == pytest.approx(-0.99741, abs=2e-4)  # inside: a sliver is cropped
    np.testing.assert_allclose(border[::100], -1, atol=1e-12)  # at the control points it is exact


def test_it_passes_through_its_targets_and_bends_least_at_infinity() -> None:
    rng = np.random.default_rng(0)
    control, targets = rng.random((12, 2)), rng.random((12, 2))
    plate = ThinPlate(control)
    fitted = plate.fit(targets)
    np.testing.assert_allclose(plate.at(fitted, control), targets, atol=1e-10)
    # the side conditions that make it a spline: forces and moments vanish
    np.testing.assert_allclose(fitted[:12].sum(0), 0, atol=1e-9)
    np.testing.assert_allclose(control.T @ fitted[:12], 0, atol=1e-9)


def test_affine_targets_bend_nothing() -> None:
    plate = ThinPlate(lattice(4, 5))
    matrix, shift = np.array([[1.2, -0.3], [0.4, 0.7]]), np.array([0.1, -2.0])
    fitted = plate.fit(lattice(4, 5) @ matrix.T + shift)
    np.testing.assert_allclose(fitted[:20], 0, atol=1e-12)
    points = np.random.default_rng(1).random((50, 2)) * 3 - 1
    np.testing.assert_allclose(plate.at(fitted, points), points @ matrix.T + shift, atol=1e-12)
    np.testing.assert_allclose(plate.jacobian(fitted, points), np.tile(matrix, (50, 1, 1)), atol=1e-11)  # fmt: skip


def test_another_library_agrees() -> None:
    from scipy.interpolate import RBFInterpolator

    rng = np.random.default_rng(2)
    control, targets, points = rng.random((20, 2)), rng.random((20, 2)), rng.random((100, 2))
    plate = ThinPlate(control)
    expected = RBFInterpolator(control, targets, kernel="thin_plate_spline")(points)
    np.testing.assert_allclose(plate.at(plate.fit(targets), points), expected, atol=1e-9)


def test_regularisation_lets_go_of_targets() -> None:
    targets = SQUARE.copy()
    targets[4] += 0.3
    misses = []
    for reg in (0.0, 0.1, 10.0):
        plate = ThinPlate(SQUARE, reg)
        misses.append(np.abs(plate.at(plate.fit(targets), SQUARE) - targets).max())
    assert misses[0] < 1e-12
    assert misses[0] < misses[1] < misses[2]


def test_jacobian_equals_differences() -> None:
    rng = np.random.default_rng(3)
    plate = ThinPlate(lattice(4, 4))
    fitted = plate.fit(lattice(4, 4) + 0.1 * rng.standard_normal((16, 2)))
    points = rng.random((30, 2))
    for axis in (0, 1):
        step = 1e-6 * np.eye(2)[axis]
        slope = (plate.at(fitted, points + step) - plate.at(fitted, points - step)) / 2e-6
        np.testing.assert_allclose(plate.jacobian(fitted, points)[:, :, axis], slope, atol=1e-7)
    at_control = plate.jacobian(fitted, lattice(4, 4))
    assert np.isfinite(at_control).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 8), columns=st.integers(3, 8))
def test_inverse_there_and_back(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    plate = ThinPlate(lattice(rows, columns))
    push = rng.uniform(-1, 1, (rows * columns, 2)) * 0.12 / [rows, columns]
    fitted = plate.fit(lattice(rows, columns) + push)
    points = rng.random((40, 2))
    found = plate.inverse(fitted, plate.at(fitted, points))
    np.testing.assert_allclose(found, points, atol=1e-7)


def test_what_the_spline_does_not_reach_has_no_inverse() -> None:
    plate = ThinPlate(lattice(3, 3))
    fitted = plate.fit(0.25 + 0.5 * lattice(3, 3))
    found = plate.inverse(fitted, np.array([(0.1, 0.5), (0.5, 0.5), (9.0, 9.0)]))
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_allclose(found[1], 0.5, atol=1e-9)


def test_torch_equals_numpy_with_gradients() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    plate = ThinPlate(lattice(3, 4))
    targets = rng.random((5, 12, 2))
    points = rng.random((9, 2))
    tensor = torch.from_numpy(targets).requires_grad_()
    found = plate.at(plate.fit(tensor), points)
    np.testing.assert_allclose(found.detach().numpy(), plate.at(plate.fit(targets), points), atol=1e-11)  # fmt: skip
    assert torch.autograd.gradcheck(lambda t: plate.at(plate.fit(t), points), (tensor[:1],))


@pytest.mark.parametrize("control", [np.zeros((2, 2)), np.stack([np.arange(5.0)] * 2, -1)])
def test_points_on_a_line_are_refused(control: np.ndarray) -> None:
    with pytest.raises(HrvizError, match="at least 3"):
        ThinPlate(control)


# ------------------------------------------------------------------ the zoom of a film
FRAME = Box(100, 50, 613, 818)


def zoom_of(seed: int = 0, floor: float = 0.2) -> TpsZoom:
    rng = np.random.default_rng(seed)
    corner = rng.random((30, 2)) * (400, 700) + (100, 50)
    boxes = np.concatenate([corner, corner + rng.uniform(8, 30, (30, 2))], 1)
    saliency = size_saliency(boxes, FRAME, (21, 31)) + floor
    return tps_zoom(saliency, 4.0, (11, 16), FRAME, (170, 256))


def dense_rim(box: np.ndarray, n: int = 400) -> np.ndarray:
    y0, x0, y1, x1 = box
    t = np.linspace(0, 1, n)
    ys, xs = y0 + (y1 - y0) * t, x0 + (x1 - x0) * t
    sides = [(np.full(n, y0), xs), (np.full(n, y1), xs), (ys, np.full(n, x0)), (ys, np.full(n, x1))]
    return np.stack([np.stack(side, -1) for side in sides])


def spline_by_hand(zoom: TpsZoom, pixels: np.ndarray) -> np.ndarray:
    """T written out point by point from its definition."""
    out = []
    for y, x in pixels.reshape(-1, 2):
        p = np.array([(y - 0.5) / (170 - 1), (x - 0.5) / (256 - 1)]).clip(0, 1)
        r = np.hypot(*(p - zoom.plate.control).T)
        u = np.where(r > 0, r**2 * np.log(np.where(r > 0, r, 1)), 0)
        w, a = zoom.coefficients[: len(r)], zoom.coefficients[len(r) :]
        place = (a[0] + p @ a[1:] + u @ w).clip(0, 1)
        out.append(np.array(FRAME[:2]) + 0.5 + place * (FRAME.height - 1, FRAME.width - 1))
    return np.array(out).reshape(pixels.shape)


def test_boxes_are_carried_back_by_the_spline_itself() -> None:
    zoom = zoom_of()
    boxes = np.array([(20.0, 30, 60, 50), (100, 100, 160, 140), (3, 200, 9, 250)])
    outer, mean = zoom.boxes_to_image(boxes, outermost=True), zoom.boxes_to_image(boxes)
    for k, box in enumerate(boxes):
        top, bottom, left, right = spline_by_hand(zoom, dense_rim(box))
        every = np.concatenate([top, bottom, left, right])
        # nine points a side miss an extreme between them by little
        np.testing.assert_allclose(outer[k, :2], every.min(0), atol=0.6)
        np.testing.assert_allclose(outer[k, 2:], every.max(0), atol=0.6)
        sides = [top[:, 0].mean(), left[:, 1].mean(), bottom[:, 0].mean(), right[:, 1].mean()]
        np.testing.assert_allclose(mean[k], sides, atol=0.3)


def test_the_mean_edge_keeps_thin_upright_boxes_and_the_outermost_does_not() -> None:
    """There by exact inverse, back by the spline: what is lost is what detectors pay."""
    from hrviz.boxes import iou

    zoom = zoom_of(3, floor=0.1)
    rng = np.random.default_rng(5)
    corner = rng.random((60, 2)) * (430, 700) + (120, 70)
    boxes = np.concatenate([corner, corner + np.array([30, 10])], 1)
    inside = zoom.boxes_to_output(boxes)
    known = np.isfinite(inside).all(1)
    assert known.all()
    mean = np.diag(iou(zoom.boxes_to_image(inside), boxes))
    outer_there = zoom.grid.boxes_to_output(boxes)
    outer = np.diag(iou(zoom.boxes_to_image(outer_there, outermost=True), boxes))
    assert np.median(mean) > 0.9
    assert np.median(outer) < np.median(mean) - 0.1


def test_edges_of_a_leaning_box() -> None:
    t = np.linspace(0, 1, 3)
    lean = lambda y, x: np.stack([y, x + 0.5 * y], -1)  # noqa: E731
    rims = np.concatenate(
        [lean(0 * t, 2 * t), lean(0 * t + 4, 2 * t), lean(4 * t, 0 * t), lean(4 * t, 0 * t + 2)]
    )[None]
    np.testing.assert_allclose(mean_edges(rims), [[0, 1, 4, 3]])
    rims[0, 0] = np.nan
    assert np.isnan(mean_edges(rims)).all()


def test_newtons_method_agrees_with_the_mesh() -> None:
    zoom = zoom_of(1)
    rng = np.random.default_rng(6)
    points = rng.random((100, 2)) * (450, 700) + (130, 80)
    span = np.array([FRAME.height - 1, FRAME.width - 1])
    newton = zoom.plate.inverse(zoom.coefficients, (points - 0.5 - np.array(FRAME[:2])) / span)
    mesh = zoom.grid.to_output(points)
    np.testing.assert_allclose(newton * (169, 255) + 0.5, mesh, atol=0.2)


def test_saliency_counts_small_boxes_twice_and_nothing_elsewhere() -> None:
    small, large = (150.0, 100, 170, 110), (300.0, 300, 500, 420)
    values = size_saliency(np.array([small, large]), FRAME, (17, 25), margin=0.03)
    assert values.max() == 1
    assert values[int(300 / 512 * 16) + 1, int(310 / 767 * 24)] == 0.5
    assert values[0, -1] == 0
    np.testing.assert_array_equal(size_saliency(np.zeros((0, 4)), FRAME, (5, 7)), np.zeros((5, 7)))


def test_even_saliency_is_uniform_downsampling() -> None:
    zoom = tps_zoom(np.ones((9, 13)), 4.0, (8, 12), FRAME, (60, 90))
    even = spline_zoom(zoom.plate, zoom.plate.fit(zoom.plate.control), FRAME, (60, 90))
    np.testing.assert_allclose(zoom.grid.nodes, even.grid.nodes, atol=1e-8)
    assert zoom.grid.covered() == pytest.approx(1)
    boxes = np.array([(5.0, 6, 20, 30)])
    np.testing.assert_allclose(zoom.boxes_to_output(zoom.boxes_to_image(boxes)), boxes, atol=1e-6)

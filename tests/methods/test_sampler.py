"""The saliency warp against equations 2-3 by brute force, published numbers, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import ArrayReader, image_of

from hrviz.cost.flops import counting
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling.sampler import (
    footprint,
    grid_from_nodes,
    padding_cells,
    saliency_nodes,
    sample,
)
from hrviz.results import WarpGrid

from .oracle import brute_line, brute_nodes, numbers, small_saliency

SMALL = small_saliency()


def g(values: np.ndarray) -> np.ndarray:
    """Positions in 0..1 as the fact sheet prints them, 2 u - 1."""
    return 2 * values - 1


def unit_grid(v: np.ndarray, u: np.ndarray, size: tuple[int, int] | None = None) -> WarpGrid:
    """A grid whose corner pixel centres are 1000 px apart (0.5 to 1000.5)."""
    return grid_from_nodes(v, u, Box(0, 0, 1001, 1001), size or v.shape)


# ------------------------------------------------------------------ against brute force
@pytest.mark.parametrize("padding", ["none", "replicate", "reflect"])
@pytest.mark.parametrize("fwhm", [1.0, 2.0, 4.5, 13.0])
@pytest.mark.parametrize("shape", [(5, 7), (9, 9), (11, 4)])
def test_equals_equations_2_and_3(padding: str, fwhm: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0] * 100 + int(fwhm * 2))
    saliency = rng.random(shape) ** 3 + 1e-3
    cells = min(padding_cells(shape, fwhm, padding))
    v, u = saliency_nodes(saliency, fwhm, padding, cells)
    expected_v, expected_u = brute_nodes(saliency, fwhm, padding, cells)
    np.testing.assert_allclose(v, expected_v, atol=1e-12)
    np.testing.assert_allclose(u, expected_u, atol=1e-12)


def test_six_small_matrices_equal_the_padded_2d_convolution() -> None:
    """The separable trick, against scipy's direct 2-D correlation at the paper's size."""
    from scipy.signal import correlate2d

    saliency = np.random.default_rng(3).random((31, 31))
    p, fwhm = 30, 13.0
    padded = np.pad(saliency, p, mode="edge")
    at = np.arange(-p, p + 1)
    kernel = np.exp(-4 * np.log(2) * (at[:, None] ** 2 + at[None] ** 2) / fwhm**2)
    position = np.arange(-p, 31 + p) / 30
    mass = correlate2d(padded, kernel, "valid")
    expected_u = correlate2d(padded * position[None], kernel, "valid") / mass
    expected_v = correlate2d(padded * position[:, None], kernel, "valid") / mass
    v, u = saliency_nodes(saliency, fwhm, "replicate", p)
    np.testing.assert_allclose(u, np.clip(expected_u, 0, 1), atol=1e-13)
    np.testing.assert_allclose(v, np.clip(expected_v, 0, 1), atol=1e-13)


def test_only_the_shape_of_saliency_counts() -> None:
    for scale in (1e-9, 1e9):
        for a, b in zip(
            saliency_nodes(SMALL, 2.0), saliency_nodes(SMALL * scale, 2.0), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=1e-12)


# ------------------------------------------------------------------ the fact sheet's numbers
def test_o1a_replicate_is_the_published_non_separable_grid() -> None:
    v, u = saliency_nodes(SMALL, 2.0, "replicate", 4)
    x = numbers(
        "-0.95382 -0.56766 -0.20658 0.09474 0.33348 0.57647 0.91433 |"
        "-0.95234 -0.56242 -0.19622 0.10431 0.33347 0.56676 0.90476 |"
        "-0.95731 -0.57520 -0.21481 0.09047 0.33348 0.58064 0.92039 |"
        "-0.96768 -0.60110 -0.25342 0.05972 0.33348 0.61115 0.95118 |"
        "-0.97679 -0.62282 -0.28565 0.03269 0.33347 0.63746 0.97479"
    )
    y = numbers(
        "-0.99453 -0.98690 -0.96814 -0.94283 -0.93014 -0.94297 -0.96800 |"
        "-0.50328 -0.50570 -0.50903 -0.51119 -0.51174 -0.51120 -0.50935 |"
        "-0.02479 -0.04732 -0.08991 -0.13612 -0.15649 -0.13604 -0.09236 |"
        "0.46384 0.43599 0.38495 0.32727 0.30043 0.32709 0.37921 |"
        "0.97702 0.96120 0.93313 0.90098 0.88554 0.90066 0.92829"
    )
    np.testing.assert_allclose(g(u), x, atol=6e-6)
    np.testing.assert_allclose(g(v), y, atol=6e-6)
    assert unit_grid(v, u).covered() == pytest.approx(0.89238, abs=6e-6)


def test_o1b_reflect_is_the_published_anti_crop_grid() -> None:
    v, u = saliency_nodes(SMALL, 2.0, "reflect", 4)
    np.testing.assert_allclose(
        g(u)[[1, 4]],
        numbers(
            "-1 -0.56764 -0.19506 0.10542 0.33383 0.57749 1 | -1 -0.61905 -0.27549 0.04061 0.33369 0.63530 1"
        ),
        atol=6e-6,
    )
    np.testing.assert_allclose(
        g(v)[[1, 3]],
        numbers(
            "-0.50576 -0.50898 -0.51654 -0.52394 -0.52693 -0.52405 -0.52004 |"
            "0.46057 0.44166 0.39408 0.33891 0.31293 0.33728 0.36644"
        ),
        atol=6e-6,
    )
    np.testing.assert_allclose(g(v)[[0, 4]], [[-1] * 7, [1] * 7], atol=1e-12)
    np.testing.assert_allclose(g(u)[:, [0, 6]], [[-1, 1]] * 5, atol=1e-12)
    fine = unit_grid(v, u, (9, 13)).positions()
    np.testing.assert_allclose(
        (fine[4, :, 1] - 0.5) / 500 - 1,
        numbers(
            "-1 -0.79035 -0.58070 -0.39780 -0.21490 -0.06219 0.09053 0.21217 0.33382 0.46249 0.59116 0.79558 1"
        )[0],
        atol=6e-6,
    )


def test_o1c_no_padding_is_the_surveys_literal_sum() -> None:
    v, u = saliency_nodes(SMALL, 2.0, "none")
    np.testing.assert_allclose(
        g(u)[1], [-0.82190, -0.54642, -0.19518, 0.10485, 0.33311, 0.55457, 0.78446], atol=6e-6
    )
    np.testing.assert_allclose(
        g(v)[:, 4], [-0.74456, -0.48805, -0.15579, 0.28080, 0.69560], atol=6e-6
    )


def test_o2_is_the_authors_own_grid_at_31_nodes() -> None:
    i, j = np.mgrid[:31, :31]
    saliency = 1 + 20 / (1 + ((i - 10.0) ** 2 + (j - 20.0) ** 2) / 16)
    v, u = saliency_nodes(saliency, 13.0, "replicate", 30)
    expected = {
        (0, 0): (-0.94086, -0.98089), (0, 30): (0.91319, -0.91319), (30, 0): (-0.97806, 0.97807),
        (30, 30): (0.98089, 0.94086), (0, 15): (0.09257, -0.87385), (15, 0): (-0.92758, -0.02590),
        (10, 20): (0.33548, -0.33547), (8, 17): (0.21727, -0.41586), (15, 15): (0.12221, -0.12220),
        (20, 25): (0.58985, 0.15365),
    }  # fmt: skip
    for (row, column), (x, y) in expected.items():
        assert g(u)[row, column] == pytest.approx(x, abs=2e-5)
        assert g(v)[row, column] == pytest.approx(y, abs=2e-5)
    # our default padding (30 cells here too) is the authors'
    for a, b in zip((v, u), saliency_nodes(saliency, 13.0, "replicate"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_o4_cell_magnification_and_jacobian() -> None:
    v, u = saliency_nodes(SMALL, 2.0, "reflect", 4)
    grid = unit_grid(v, u)
    np.testing.assert_allclose(
        grid.cell_magnification(),
        numbers(
            ".78253 .91882 1.15650 1.53478 1.43904 .82614 | .83596 1.01933 1.35693 1.86809 1.76016 1.00912 |"
            ".83623 .96190 1.13684 1.36775 1.30510 .88715 | .78302 .82488 .83881 .87293 .84282 .68953"
        ),
        atol=1e-5,
    )
    assert grid.covered() == pytest.approx(1, abs=1e-12)
    assert not grid.folded().any()


def test_o4_the_jacobian_is_the_covariance_over_the_kernels_variance() -> None:
    """The continuous map's Jacobian at nodes, by our own covariance, equals the sheet's (O1b)."""
    sigma2 = (2.0 / np.sqrt(8 * np.log(2))) ** 2
    padded = np.pad(SMALL, 4, mode="reflect")
    y, x = np.mgrid[-4:9, -4:11]
    for (i, j), (xx, xy, yy) in {
        (1, 4): (0.63595, -0.00001, 0.76505), (2, 3): (0.81116, -0.07630, 0.82363),
        (3, 6): (1.26690, 0, 1.09259),
    }.items():  # fmt: skip
        near = (np.abs(y - i) <= 4) & (np.abs(x - j) <= 4)
        w = padded * np.exp(-4 * np.log(2) * ((y - i) ** 2 + (x - j) ** 2) / 4.0) * near
        cov = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=w.ravel(), bias=True) / sigma2
        np.testing.assert_allclose([cov[0, 0], cov[0, 1], cov[1, 1]], [xx, xy, yy], atol=2e-4)


def test_o12_a_plateau_is_enlarged_at_its_rim_only() -> None:
    """1-D, n=101, S=10 on 30..70 else 1, FWHM 13, reflect; as a 2-D map that varies along x only."""
    line = np.where((np.arange(101) >= 30) & (np.arange(101) <= 70), 10.0, 1.0)
    v, u = saliency_nodes(np.tile(line, (101, 1)), 13.0, "reflect")
    np.testing.assert_allclose(u[50], brute_line(line, 13.0, 39, "reflect"), atol=1e-12)
    zoom = 1 / (np.gradient(u[50]) * 100)
    for node, expected in {50: 1.0028, 30: 1.7564, 26: 1.2531, 20: 0.6035, 5: 0.9991}.items():
        assert zoom[node] == pytest.approx(expected, abs=6e-4), node
    np.testing.assert_allclose(v[:, 3], np.linspace(0, 1, 101), atol=1e-12)


@pytest.mark.parametrize(
    ("spike", "expected"), [(1, 1.071), (10, 1.711), (100, 8.109), (1000, 72.09)]
)
def test_o12_a_spike_is_enlarged_in_proportion(spike: float, expected: float) -> None:
    line = np.ones(101)
    line[50] += spike
    _, u = saliency_nodes(np.tile(line, (101, 1)), 13.0, "reflect")
    assert 2 / ((u[50, 51] - u[50, 49]) * 100) == pytest.approx(expected, rel=1e-3)
    theory = 1 + spike / (13.0 / np.sqrt(8 * np.log(2)) * np.sqrt(2 * np.pi))
    assert theory == pytest.approx(expected, rel=0.02)


# ------------------------------------------------------------------ invariants
@pytest.mark.parametrize("padding", ["replicate", "reflect"])
@pytest.mark.parametrize("shape", [(2, 2), (5, 7), (31, 31), (2, 31), (63, 11)])
@pytest.mark.parametrize("fwhm", [1.0, 13.0, 20.0])
def test_o3_even_saliency_changes_nothing(
    padding: str, shape: tuple[int, int], fwhm: float
) -> None:
    v, u = saliency_nodes(np.full(shape, 0.3), fwhm, padding)
    np.testing.assert_allclose(u, np.broadcast_to(np.linspace(0, 1, shape[1]), shape), atol=1e-12)
    np.testing.assert_allclose(
        v, np.broadcast_to(np.linspace(0, 1, shape[0])[:, None], shape), atol=1e-12
    )


def test_reflect_shows_the_whole_region_and_replicate_crops() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        saliency = rng.random((9, 13)) ** 4 + 1e-4
        whole = unit_grid(*saliency_nodes(saliency, 3.0, "reflect"))
        assert whole.covered() == pytest.approx(1, abs=1e-12)
        part = unit_grid(*saliency_nodes(saliency, 3.0, "replicate"))
        assert part.covered() <= 1 + 1e-12


def sparse_folds(fwhm: float) -> int:
    """How many of 40 sparse saliency maps (5 % spikes of 100 on 1e-3) give a folded node mesh."""
    rng = np.random.default_rng(1)
    count = 0
    for _ in range(40):
        saliency = np.where(rng.random((15, 15)) < 0.05, 100.0, 1e-3)
        count += bool(unit_grid(*saliency_nodes(saliency, fwhm, "reflect")).folded().any())
    return count


def test_folds_come_where_the_fact_sheet_says() -> None:
    """Measured there: 12, 27, 5, 0 of 40 at FWHM 1, 2, 4, 13 (other draws here): none at 13."""
    assert sparse_folds(13.0) == 0
    assert 15 <= sparse_folds(2.0) <= 39
    assert sparse_folds(4.0) <= 15


def test_separable_saliency_never_folds() -> None:
    rng = np.random.default_rng(2)
    for fwhm in (1.0, 2.0, 5.0):
        saliency = np.outer(rng.random(12) ** 6 + 1e-3, rng.random(17) ** 6 + 1e-3)
        v, u = saliency_nodes(saliency, fwhm, "reflect")
        assert np.ptp(u, axis=0).max() < 1e-9
        assert np.ptp(v, axis=1).max() < 1e-9
        assert (np.diff(u[0]) > 0).all()
        assert not unit_grid(v, u).folded().any()


def test_two_swapped_nodes_are_two_folded_cells_without_negative_area() -> None:
    v, u = np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 4), indexing="ij")
    v[1, 1], v[1, 2] = v[1, 2].copy(), v[1, 1].copy()
    u[1, 1], u[1, 2] = u[1, 2].copy(), u[1, 1].copy()
    grid = unit_grid(v, u)
    assert grid.folded().sum() == 2
    assert (grid.cell_areas() < 0).sum() == 0
    assert np.abs(grid.cell_areas()).sum() == pytest.approx(1000**2)


def test_collapsed_border_cells_are_cropped_not_folded() -> None:
    v, u = np.meshgrid(
        np.linspace(0, 1, 5), np.clip(np.linspace(-0.25, 1.25, 7), 0, 1), indexing="ij"
    )
    grid = unit_grid(v, u)
    assert not grid.folded().any()
    assert np.isfinite(grid.cell_magnification()).all()
    assert np.isfinite(grid.magnification().values).all()


# ------------------------------------------------------------------ the inverse
def test_o5_inverse_of_the_non_separable_grid() -> None:
    v, u = saliency_nodes(SMALL, 2.0, "reflect", 4)
    y, x = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 13), indexing="ij")
    grid = grid_from_nodes(v, u, Box(0, 0, 1001, 1001), (9, 13))
    points = np.stack([(y + 1) * 500 + 0.5, (x + 1) * 500 + 0.5], -1).reshape(-1, 2)
    found = grid.inverse(points)
    assert np.isfinite(found).all()  # LZU's tolerances leave 4 of these 117 unfilled
    np.testing.assert_allclose(grid.at(found[:, 0], found[:, 1]), points, atol=1e-6 * 1000)
    row = g(found.reshape(9, 13, 2))[4]
    for column, (gx, gy) in {
        3: (-0.59018, 0.05868),
        6: (-0.08956, 0.12979),
        9: (0.54183, 0.15302),
    }.items():
        assert row[column, 1] == pytest.approx(gx, abs=6e-6)
        assert row[column, 0] == pytest.approx(gy, abs=6e-6)


def test_o5_inverse_of_a_separable_grid_is_interpolation() -> None:
    """FOVEA's sum marginals as rank-one saliency: the grid is separable, its inverse 1-D."""
    saliency = np.outer(SMALL.sum(1), SMALL.sum(0))
    v, u = saliency_nodes(saliency, 2.0, "reflect", 4)
    np.testing.assert_allclose(
        g(u)[0], [-1, -0.58756, -0.22292, 0.08584, 0.33380, 0.59515, 1], atol=6e-6
    )
    np.testing.assert_allclose(g(v)[:, 0], [-1, -0.52100, -0.11686, 0.36723, 1], atol=6e-6)
    grid = unit_grid(v, u)
    x = np.linspace(0, 1, 13)
    found = grid.inverse(np.stack([np.full(13, 500.5), 0.5 + x * 1000], -1))
    np.testing.assert_allclose(
        g(found[:, 1]),
        [-1, -0.86530, -0.73060, -0.58662, -0.43427, -0.27260, -0.09267, 0.10865, 0.33271, 0.54531,
         0.72555, 0.86277, 1],
        atol=6e-6,
    )  # fmt: skip
    np.testing.assert_allclose(found[:, 1], np.interp(x, u[0], np.linspace(0, 1, 7)), atol=1e-7)
    np.testing.assert_allclose(
        found[0, 0], np.interp(0.5, v[:, 0], np.linspace(0, 1, 5)), atol=1e-7
    )


def test_replicates_cropped_rim_is_nan_in_the_inverse() -> None:
    v, u = saliency_nodes(np.outer(SMALL.sum(1), SMALL.sum(0)), 2.0, "replicate", 4)
    grid = unit_grid(v, u)
    y, x = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 13), indexing="ij")
    found = grid.inverse(np.stack([y, x], -1).reshape(-1, 2) * 1000 + 0.5)
    assert np.isnan(found).any(1).sum() == 40  # of 117, as the sheet says: the whole border


@pytest.mark.parametrize("scale", [1.0, 1e-3, 2e5])
@pytest.mark.parametrize("offset", [0.0, 150_000.0])
def test_inverse_of_random_warps_at_any_scale(scale: float, offset: float) -> None:
    rng = np.random.default_rng(5)
    saliency = rng.random((11, 14)) ** 2 + 0.02
    v, u = saliency_nodes(saliency, 5.0, "reflect")
    box = Box(offset, offset / 2, offset + scale * 900 + 1, offset / 2 + scale * 1300 + 1)
    grid = grid_from_nodes(v, u, box, (64, 92))
    assert not grid.folded().any()
    at = rng.random((500, 2))
    found = grid.inverse(grid.at(at[:, 0], at[:, 1]))
    np.testing.assert_allclose(found, at, atol=1e-5 if scale < 1 and offset else 1e-7)
    assert np.isnan(grid.inverse(np.array([[box.y0 - 9e9, box.x0]]))).all()


# ------------------------------------------------------------------ torch
@pytest.mark.parametrize("padding", ["none", "replicate", "reflect"])
def test_torch_equals_numpy_in_batches(padding: str) -> None:
    torch = pytest.importorskip("torch")
    batch = np.random.default_rng(4).random((3, 6, 9)) + 0.01
    v, u = saliency_nodes(torch.from_numpy(batch), 3.0, padding)
    for k in range(3):
        expected = saliency_nodes(batch[k], 3.0, padding)
        np.testing.assert_allclose(v[k].numpy(), expected[0], atol=1e-12)
        np.testing.assert_allclose(u[k].numpy(), expected[1], atol=1e-12)


@pytest.mark.parametrize("padding", ["none", "replicate", "reflect"])
def test_gradient_equals_finite_differences(padding: str) -> None:
    torch = pytest.importorskip("torch")
    # clamped nodes have no gradient on one side: a mild saliency keeps replicate inside 0..1
    saliency = torch.from_numpy(1 + 0.1 * np.random.default_rng(8).random((4, 5))).requires_grad_()

    def inner(s: object) -> tuple[object, object]:
        v, u = saliency_nodes(s, 2.5, padding)
        return v[1:-1, 1:-1], u[1:-1, 1:-1]

    assert torch.autograd.gradcheck(inner, (saliency,), atol=1e-8, rtol=1e-6)


# ------------------------------------------------------------------ edge cases
@pytest.mark.parametrize(
    ("saliency", "words"),
    [
        (np.zeros((5, 5)), "zero everywhere"),
        (np.where(np.eye(5) > 0, np.nan, 1.0), "NaN"),
        (np.where(np.eye(5) > 0, np.inf, 1.0), "infinite"),
        (np.where(np.eye(5) > 0, -1.0, 1.0), "negative"),
    ],
)
def test_unusable_saliency_is_refused(saliency: np.ndarray, words: str) -> None:
    with pytest.raises(HrvizError, match=words) as caught:
        saliency_nodes(saliency, 4.0)
    assert "\n" not in str(caught.value)


def test_one_salient_node_draws_all_in_reach_and_leaves_the_rest_in_place() -> None:
    saliency = np.zeros((31, 31))
    saliency[10, 20] = 1
    wide_v, wide_u = saliency_nodes(saliency, 20.0, "replicate")
    np.testing.assert_allclose(wide_u, 20 / 30, atol=1e-9)  # unbounded zoom, as published
    np.testing.assert_allclose(wide_v, 10 / 30, atol=1e-9)
    v, u = saliency_nodes(saliency, 1.0, "reflect")  # reaches 3 nodes
    assert (u[10, 20], v[10, 20]) == pytest.approx((20 / 30, 10 / 30))
    np.testing.assert_allclose(u[30], np.linspace(0, 1, 31), atol=1e-9)
    np.testing.assert_allclose(v[:, 0], np.linspace(0, 1, 31), atol=1e-9)
    assert not unit_grid(v, u).folded().any()


def test_float32_saliency_agrees_to_2e_5() -> None:
    saliency = np.random.default_rng(1).random((31, 31)).astype(np.float32)
    for a, b in zip(
        saliency_nodes(saliency, 13.0), saliency_nodes(saliency.astype(float), 13.0), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_an_elongated_region_has_the_same_kernel_along_its_longer_side(padding: str) -> None:
    """A strip of 2 x 31 nodes must bend along x like a line of 31, not with a kernel cut at 1 node."""
    line = 1 + 9 * np.exp(-((np.arange(31) - 15.0) ** 2) / 20)
    _, u = saliency_nodes(np.tile(line, (2, 1)), 13.0, padding)
    np.testing.assert_allclose(u[0], brute_line(line, 13.0, 30, padding), atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 2)])
def test_tiny_images_and_regions(size: tuple[int, int]) -> None:
    view = image_of(np.full((*size, 3), 77, np.uint8)).view()
    v, u = saliency_nodes(np.random.default_rng(0).random((2, 3)), 2.0)
    grid = grid_from_nodes(v, u, view.box, (5, 4))
    assert np.isfinite(footprint(grid)).all()
    for sampling in ("fair", "as published"):
        np.testing.assert_allclose(sample(view, grid, sampling), 77 / 255, atol=1e-6)
    assert np.isfinite(grid.covered())
    assert grid.magnification().values.shape[0] >= 2
    assert all(np.isfinite(v) for v in grid.summary().values() if isinstance(v, float))


def test_an_identity_grid_larger_than_its_source_interpolates_between_pixel_centres() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[..., 0] = np.arange(5) * 50
    view = image_of(pixels).view()
    v, u = saliency_nodes(np.ones((4, 5)), 2.0)
    grid = grid_from_nodes(v, u, view.box, (7, 9))
    for sampling in ("fair", "as published"):
        out = sample(view, grid, sampling)
        expected = np.broadcast_to(np.linspace(0, 200, 9) / 255, (7, 9))
        np.testing.assert_allclose(out[..., 0], expected, atol=1e-6)


def test_footprint_is_the_larger_singular_value_of_the_jacobian() -> None:
    """Of a rotated and stretched affine grid the stretch is known exactly."""
    angle, stretch = 0.6, (3.0, 7.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    at = np.stack(np.meshgrid(np.arange(6), np.arange(8), indexing="ij"), -1) * 5.0
    nodes = at @ np.diag(stretch) @ turn.T + 100
    grid = WarpGrid(nodes, Box(0, 0, 400, 400), (26, 36))
    np.testing.assert_allclose(footprint(grid), 7.0, atol=1e-9)


def test_fair_sampling_averages_what_point_sampling_aliases() -> None:
    """A one-pixel checkerboard under an 8-fold reduction is grey, point sampled it is not."""
    y, x = np.mgrid[:256, :256]
    board = np.where((y + x) % 2, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    image = image_of(board, halved=3)
    v, u = saliency_nodes(np.ones((5, 5)), 2.0)
    grid = grid_from_nodes(v, u, image.box, (32, 32))
    fair = sample(image.view(), grid, "fair")
    assert np.abs(fair - 0.5).max() < 0.02
    assert sample(image.view(), grid, "as published").std() > 0.1


def test_operations_are_counted() -> None:
    with counting(network=False) as operations:
        saliency_nodes(np.ones((31, 31)), 13.0)
    assert operations["saliency grid"] > 0


def test_array_reader_is_a_reader() -> None:
    assert ArrayReader(np.zeros((3, 4, 1), np.uint8)).levels[0].width == 4


def test_fair_sampling_of_a_small_output_averages_beyond_the_coarsest_level() -> None:
    """A fine checkerboard becomes grey, however small the output: 1 px stripes, 1024 -> 16 px."""
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    view = image_of(stripes).view()
    assert len(view.image.levels_info) == 1  # nothing coarser is stored, and none is made
    even = WarpGrid.identity(view.box, (16, 16))
    np.testing.assert_allclose(sample(view, even, "fair"), 127.5 / 255, atol=0.01)
    assert sample(view, even, "as published").std() > 0.2  # four taps alias


def test_an_output_finer_than_the_image_reads_its_full_resolution() -> None:
    """Below one pixel the footprint's level is the finest: bilinear interpolation, no blur."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    view = image_of(pixels).view()
    grid = WarpGrid.identity(
        view.box, (15, 17)
    )  # twice as fine: every second pixel is a source pixel
    fine = sample(view, grid, "fair")
    np.testing.assert_allclose(fine[::2, ::2], pixels / 255, atol=1e-6)
    np.testing.assert_allclose(fine, sample(view, grid, "as published"), atol=1e-6)

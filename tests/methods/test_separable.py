"""Separable grids against equations 5-6 by brute force, published numbers, and exact integrals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hrviz
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling.exact_cdf import BINS, between, density
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.separable import (
    cumulative_nodes,
    inverse_cumulative,
    line_nodes,
    mix,
    separable_nodes,
)

from .oracle import brute_line, brute_nodes, numbers, small_saliency

SMALL = small_saliency()


def g(values: np.ndarray) -> np.ndarray:
    """Positions in 0..1 as the fact sheet prints them, 2 u - 1."""
    return 2 * values - 1


def folds(nodes: tuple[np.ndarray, np.ndarray]) -> int:
    grid = grid_from_nodes(*nodes, Box(0, 0, 1001, 1001), nodes[0].shape)
    return int(grid.folded().sum())


# ------------------------------------------------------------------ equations 5 and 6
@pytest.mark.parametrize("padding", ["replicate", "reflect"])
@pytest.mark.parametrize("fwhm", [1.0, 2.0, 4.5, 13.0])
@pytest.mark.parametrize("n", [3, 7, 31])
def test_a_line_equals_brute_force(padding: str, fwhm: float, n: int) -> None:
    line = np.random.default_rng(n).random(n) ** 3 + 1e-3
    cells = n - 1
    np.testing.assert_allclose(
        line_nodes(line, fwhm, padding, cells), brute_line(line, fwhm, cells, padding), atol=1e-12
    )


def test_a_line_without_padding_is_the_literal_sum() -> None:
    line = np.array([1.0, 5.0, 2.0, 0.5])
    at = np.arange(4)
    kernel = np.exp(-4 * np.log(2) * (at[:, None] - at) ** 2 / 2.5**2)
    expected = (kernel * line) @ (at / 3) / ((kernel * line).sum(1))
    np.testing.assert_allclose(line_nodes(line, 2.5, "none"), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("marginal", "padding", "x", "y"),
    [
        ("sum", "reflect", "-1 -0.58756 -0.22292 0.08584 0.33380 0.59515 1",
         "-1 -0.52100 -0.11686 0.36723 1"),
        ("sum", "replicate", "-0.96073 -0.58236 -0.22277 0.08584 0.33347 0.58515 0.92614",
         "-0.95201 -0.51009 -0.11655 0.35721 0.92066"),
        ("max", "replicate", "-0.94799 -0.54931 -0.17489 0.12076 0.33345 0.55009 0.88548",
         "-0.91262 -0.51207 -0.18166 0.26724 0.86708"),
    ],
)  # fmt: skip
def test_o1d_the_three_published_structured_grids(
    marginal: str, padding: str, x: str, y: str
) -> None:
    v, u = separable_nodes(SMALL, 2.0, padding, marginal, (4, 4))
    np.testing.assert_allclose(g(u), np.broadcast_to(numbers(x), (5, 7)), atol=6e-6)
    np.testing.assert_allclose(g(v).T, np.broadcast_to(numbers(y), (7, 5)), atol=6e-6)


def test_o1e_half_structured_half_custom() -> None:
    structured = separable_nodes(SMALL, 2.0, "replicate", "max", (4, 4))
    v, u = mix(structured, saliency_nodes(SMALL, 2.0, "replicate", 4), 0.5)
    x = numbers(
        "-0.95090 -0.55848 -0.19074 0.10775 0.33347 0.56328 0.89991 |"
        "-0.96239 -0.58606 -0.23027 0.07672 0.33346 0.59377 0.93014"
    )
    y = numbers("-0.10322 -0.11449 -0.13578 -0.15889 -0.16907 -0.15885 -0.13701")
    np.testing.assert_allclose(g(u)[[0, 4]], x, atol=6e-6)
    np.testing.assert_allclose(g(v)[2], y[0], atol=6e-6)


def test_rows_are_weighted_by_rows_not_as_equation_6_is_printed() -> None:
    """With x' in its numerator the row position of this column-wise map would follow the columns."""
    saliency = np.tile(1 + 9 * np.exp(-((np.arange(9) - 2.0) ** 2) / 2), (9, 1))
    for marginal in ("sum", "max"):
        v, u = separable_nodes(saliency, 2.0, "reflect", marginal)
        np.testing.assert_allclose(v[:, 0], np.linspace(0, 1, 9), atol=1e-12)
        assert np.abs(u[0] - np.linspace(0, 1, 9)).max() > 0.05


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_mixing_ends_at_its_two_grids(share: float) -> None:
    a = separable_nodes(SMALL, 2.0, "replicate", "max")
    b = saliency_nodes(SMALL, 2.0, "replicate")
    for mixed, expected in zip(mix(a, b, share), a if share else b, strict=True):
        np.testing.assert_array_equal(mixed, expected)


def test_a_share_beyond_1_is_refused() -> None:
    grid = separable_nodes(SMALL, 2.0)
    with pytest.raises(HrvizError, match="choose 0 to 1"):
        mix(grid, grid, 1.2)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6), ny=st.integers(2, 24), nx=st.integers(2, 24),
    fwhm=st.floats(1, 20), padding=st.sampled_from(["replicate", "reflect"]),
    marginal=st.sampled_from(["sum", "max"]), power=st.floats(0, 8),
)  # fmt: skip
def test_a_separable_grid_never_folds(
    seed: int, ny: int, nx: int, fwhm: float, padding: str, marginal: str, power: float
) -> None:
    saliency = np.random.default_rng(seed).random((ny, nx)) ** power + 1e-4
    v, u = separable_nodes(saliency, fwhm, padding, marginal)
    assert (np.diff(u[0]) >= -1e-12).all()
    assert (np.diff(v[:, 0]) >= -1e-12).all()
    assert folds((v, u)) == 0


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_mix_adds_no_folds(share: float) -> None:
    """None for random saliency at the paper's bandwidth; for sparse saliency the custom mesh may
    fold (not its continuous map), and mixing with the structured grid can only mend that."""
    rng = np.random.default_rng(7)
    for k in range(12):
        sparse = np.where(rng.random((31, 31)) < 0.05, 100.0, 1e-3)
        saliency = sparse if k % 2 else rng.random((31, 31)) ** 4 + 1e-3
        custom = saliency_nodes(saliency, 9.0, "replicate", 30)
        structured = separable_nodes(saliency, 9.0, "replicate", "max", (30, 30))
        assert folds(structured) == 0
        assert folds(mix(structured, custom, share)) <= (folds(custom) if k % 2 else 0)


# ------------------------------------------------------------------ equation 1
O13 = [0, 0.33553, 0.50277, 0.61031, 0.69427, 0.81168, 1]


def test_o13_inverse_cumulative_distribution() -> None:
    found = inverse_cumulative(SMALL.sum(0), np.linspace(0, 1, 7))
    np.testing.assert_allclose(found, O13, atol=6e-6)
    v, u = cumulative_nodes(SMALL, (5, 7))
    np.testing.assert_allclose(u, np.broadcast_to(O13, (5, 7)), atol=6e-6)
    assert v[0, 0] == 0
    assert v[-1, 0] == 1


def test_equation_1_holds_for_separable_saliency() -> None:
    """The saliency below every output node is x y, by adding up a fine raster."""
    rng = np.random.default_rng(4)
    saliency = np.outer(rng.random(12) + 0.05, rng.random(20) + 0.05)
    v, u = cumulative_nodes(saliency, (6, 9))
    fine = np.kron(saliency, np.ones((200, 200)))
    fine /= fine.sum()
    below = np.pad(fine.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    at = below[np.rint(v * 2400).astype(int), np.rint(u * 4000).astype(int)]
    np.testing.assert_allclose(at, np.outer(np.linspace(0, 1, 6), np.linspace(0, 1, 9)), atol=1e-3)


def test_density_is_proportional_to_saliency() -> None:
    """Each column of cells holds one share of saliency: density is saliency's mean over the cell."""
    line = np.random.default_rng(5).random(40) ** 3 + 0.01
    u = inverse_cumulative(line, np.linspace(0, 1, 11))
    total = np.concatenate([[0], np.cumsum(line)]) / line.sum()
    held = np.interp(u, np.linspace(0, 1, 41), total)
    np.testing.assert_allclose(np.diff(held), 0.1, atol=1e-12)


def test_o12_the_plateau_that_the_sampler_does_not_enlarge() -> None:
    """S = 10 on 30..70 of 101 nodes: 10 times the pixels here; the sampler, 1.0028 and 1.7564."""
    n = 101
    at = (np.arange(BINS * (n - 1)) + 0.5) / BINS
    bins = np.where((at > 29.5) & (at < 70.5), 10.0, 1.0)
    u = inverse_cumulative(bins, np.linspace(0, 1, n))
    series = density(bins, u, 13.0).series
    exact, sampled = series["exact CDF (equation 1)"], series["Gaussian sampler (equations 2-3)"]
    middle, outside = (int(BINS * (node + 0.5)) for node in (50, 5))
    assert exact[middle] / exact[outside] == pytest.approx(10, rel=1e-9)
    assert sampled[middle] == pytest.approx(1.0028, abs=2e-3)
    # the sheet's value at output node 30 is of both cells beside it, where that node reads
    rim = brute_line(
        np.where((np.arange(n) >= 30) & (np.arange(n) <= 70), 10.0, 1.0), 13.0, 39, "reflect"
    )[30]
    beside = np.searchsorted((np.arange(len(bins)) + 0.5) / len(bins), rim) + np.array([-1, 0])
    assert 2 / (1 / sampled[beside]).sum() == pytest.approx(1.7564, abs=2e-2)
    assert sampled[outside] == pytest.approx(0.9991, abs=2e-3)
    np.testing.assert_allclose(exact[[middle, outside]], series["saliency"][[middle, outside]])


def test_empty_bins_get_no_pixels_and_crash_nothing() -> None:
    line = np.array([0.0, 0, 1, 1, 0, 0, 0, 2, 0, 0])
    u = inverse_cumulative(line, np.linspace(0, 1, 101))
    assert (np.diff(u) >= 0).all()
    inside = ((u > 0.4001) & (u < 0.6999)) | (u < 0.1999)
    assert not inside.any()
    one = np.zeros((9, 9))
    one[3, 5] = 1
    v, u = cumulative_nodes(one, (7, 7))
    assert (v[1:-1] >= 3 / 9).all()
    assert (v[1:-1] <= 4 / 9).all()
    assert folds((np.array(v), np.array(u))) == 0
    with pytest.raises(HrvizError, match="zero everywhere"):
        cumulative_nodes(np.zeros((3, 3)), (5, 5))


def test_bins_between_nodes_keep_linear_maps() -> None:
    rows, columns = np.mgrid[:4, :6].astype(float)
    np.testing.assert_allclose(
        between(2 * rows + 3 * columns + 1), (2 * rows + 3 * columns + 1)[:-1, :-1] + 2.5
    )


def test_the_method_gives_drawn_columns_their_share() -> None:
    """With floor 0 and a box over all rows, the grid's columns lie in the box, evenly."""
    run = hrviz.apply(
        "inverse-cdf", "scene:tissue?size=1001x1001", saliency="drawn", floor=0.0, size=64,
        boxes=((0, 250, 1001, 750),), task="none",
    )  # fmt: skip
    x = run["grid"].nodes[0, :, 1]
    assert (x[1:-1] > 240).all()
    assert (x[1:-1] < 765).all()
    np.testing.assert_allclose(np.diff(x[3:-3]), np.diff(x[3:-3]).mean(), rtol=1e-6)


# ------------------------------------------------------------------ torch
@pytest.mark.parametrize("padding", ["none", "replicate", "reflect"])
@pytest.mark.parametrize("marginal", ["sum", "max"])
def test_torch_equals_numpy_in_batches(padding: str, marginal: str) -> None:
    torch = pytest.importorskip("torch")
    batch = np.random.default_rng(4).random((3, 6, 9)) + 0.01
    found = separable_nodes(torch.from_numpy(batch), 3.0, padding, marginal)
    for k in range(3):
        for a, b in zip(found, separable_nodes(batch[k], 3.0, padding, marginal), strict=True):
            np.testing.assert_allclose(a[k].numpy(), b, atol=1e-12)


@pytest.mark.parametrize("padding", ["none", "replicate", "reflect"])
def test_gradient_equals_finite_differences(padding: str) -> None:
    torch = pytest.importorskip("torch")
    # clamped nodes have no gradient on one side: a mild saliency keeps replicate inside 0..1
    saliency = torch.from_numpy(1 + 0.1 * np.random.default_rng(8).random((4, 5))).requires_grad_()

    def inner(s: object) -> tuple[object, object]:
        structured = separable_nodes(s, 2.5, padding, "sum")
        v, u = mix(structured, saliency_nodes(s, 2.5, padding), 0.5)
        return v[1:-1, 1:-1], u[1:-1, 1:-1]

    assert torch.autograd.gradcheck(inner, (saliency,), atol=1e-8, rtol=1e-6)


def test_rank_one_saliency_makes_both_grids_the_same() -> None:
    """Custom and structured grids agree when saliency is a product: sums are proportional to it."""
    saliency = np.outer(SMALL.sum(1), SMALL.sum(0))
    custom = brute_nodes(saliency, 2.0, "reflect", 4)
    for a, b in zip(separable_nodes(saliency, 2.0, "reflect", "sum", (4, 4)), custom, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_empty_bins_at_both_ends_are_cropped_alike() -> None:
    u = inverse_cumulative(np.array([0.0, 0.0, 1.0, 3.0, 0.0]), np.linspace(0, 1, 5))
    np.testing.assert_allclose(u, [0.4, 0.6, 0.6 + 0.2 / 3, 0.6 + 0.4 / 3, 0.8])

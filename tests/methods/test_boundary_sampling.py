"""Sampling near boundaries: the fact sheet's numbers (O6), optimality, constraints, the networks' size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling.boundary import (
    boundary_map,
    carry_back,
    cover,
    energy,
    even_nodes,
    nearest_boundary,
    solve,
)
from hrviz.methods.downsampling.sampler import grid_from_nodes

from .oracle import numbers

SQUARE = np.zeros((17, 17), int)
SQUARE[4:9, 9:14] = 1
#: the nearest boundary points as the sheet resolves ties
NEAREST = np.stack(
    [
        numbers(
            ".25 .25 .1875 .1875 .1875 | .25 .25 .25 .25 .25 | .5 .5 .5 .5 .5 |"
            ".5 .5 .5625 .5625 .5625 | .5 .5625 .5625 .5625 .5625"
        ),
        numbers(
            ".5 .5 .5625 .75 .8125 | .5 .5 .5 .75 .875 | .5 .5 .5 .75 .875 |"
            ".5 .5 .5625 .75 .8125 | .5 .5625 .5625 .75 .8125"
        ),
    ],
    -1,
)


def total(phi: np.ndarray, b: np.ndarray, smoothness: float) -> float:
    """Equation 4 as loops: every node, and every pair of neighbours once."""
    ny, nx, _ = phi.shape
    out = 0.0
    for j in range(ny):
        for i in range(nx):
            out += float(((phi[j, i] - b[j, i]) ** 2).sum())
            for k, m in ((j + 1, i), (j, i + 1)):
                if k < ny and m < nx:
                    out += smoothness * float(((phi[j, i] - phi[k, m]) ** 2).sum())
    return out


def sparse(b: np.ndarray, smoothness: float) -> np.ndarray:
    """The same minimum by a sparse direct solve of its normal equations, assembled pair by pair."""
    from scipy.sparse import lil_matrix
    from scipy.sparse.linalg import spsolve

    ny, nx, _ = b.shape
    out = np.empty(b.shape)
    for k in (0, 1):
        matrix, right = lil_matrix((ny * nx, ny * nx)), b[..., k].ravel().copy()
        for j in range(ny):
            for i in range(nx):
                n = j * nx + i
                line, last = ((j, ny - 1), (i, nx - 1))[k]
                if line in (0, last):
                    matrix[n, n], right[n] = 1, line / last
                    continue
                matrix[n, n] = 1
                for jj, ii in ((j - 1, i), (j + 1, i), (j, i - 1), (j, i + 1)):
                    if 0 <= jj < ny and 0 <= ii < nx:
                        matrix[n, n] += smoothness
                        matrix[n, jj * nx + ii] = -smoothness
        out[..., k] = spsolve(matrix.tocsr(), right).reshape(ny, nx)
    return out


# ------------------------------------------------------------------ O6
def test_o6_boundary_and_nearest_points() -> None:
    edge = boundary_map(SQUARE)
    assert edge.sum() == 36
    b = nearest_boundary(edge, (5, 5))
    assert b is not None
    # ties may fall elsewhere; distances may not
    even = even_nodes((5, 5))
    np.testing.assert_allclose(
        np.linalg.norm(b - even, axis=-1), np.linalg.norm(NEAREST - even, axis=-1), atol=1e-12
    )
    assert edge[tuple((b * 16).round().astype(int).transpose(2, 0, 1))].all()


def test_o6_the_grid_at_lambda_1() -> None:
    phi = solve(NEAREST, 1.0, (5, 5))
    np.testing.assert_allclose(
        phi[1:4, :, 0],
        numbers(
            ".23865 .23914 .24009 .24066 .24087 | .46545 .46694 .47067 .47231 .47284 |"
            ".65622 .65943 .67400 .67740 .67819"
        ),
        atol=6e-6,
    )
    np.testing.assert_allclose(
        phi[:, 1:4, 1],
        numbers(
            ".35119 .55605 .76782 | .34871 .54269 .76522 | .34965 .54349 .76560 |"
            ".35606 .55949 .76929 | .37117 .56613 .77136"
        ),
        atol=6e-6,
    )


@pytest.mark.parametrize(("smoothness", "expected"), [(1.0, 5.48462), (0.58579, 4.37893)])
def test_o6_energies(smoothness: float, expected: float) -> None:
    phi = solve(NEAREST, smoothness, (5, 5))
    data, smooth = energy(phi, NEAREST)
    assert data + smoothness * smooth == pytest.approx(expected, abs=6e-6)
    assert total(phi, NEAREST, smoothness) == pytest.approx(expected, abs=6e-6)


def test_o6_the_even_grid_has_more_energy_and_stiff_springs_come_near_it() -> None:
    even = even_nodes((5, 5))
    assert total(even, NEAREST, 1.0) == pytest.approx(5.72266, abs=6e-6)
    assert np.abs(solve(NEAREST, 100.0, (5, 5)) - even).max() < 0.0052


# ------------------------------------------------------------------ the minimum
@pytest.mark.parametrize("shape", [(5, 5), (2, 2), (2, 6), (3, 3), (3, 8), (9, 4), (20, 31)])
@pytest.mark.parametrize("smoothness", [0.0, 0.05, 1.0, 100.0])
def test_equals_a_sparse_direct_solve(shape: tuple[int, int], smoothness: float) -> None:
    b = np.random.default_rng(shape[0] * 7 + shape[1]).random((*shape, 2))
    np.testing.assert_allclose(solve(b, smoothness, shape), sparse(b, smoothness), atol=1e-9)


def test_any_change_that_still_covers_costs_energy() -> None:
    rng = np.random.default_rng(0)
    b = rng.random((7, 9, 2))
    phi = solve(b, 0.7, (7, 9))
    least = total(phi, b, 0.7)
    for _ in range(50):
        push = rng.normal(0, 10.0 ** -rng.integers(1, 4), phi.shape)
        push[[0, -1], :, 0] = push[:, [0, -1], 1] = 0
        assert total(phi + push, b, 0.7) > least


def test_the_gradient_is_zero_where_nodes_are_free() -> None:
    rng = np.random.default_rng(1)
    b = rng.random((6, 5, 2))
    phi = solve(b, 2.0, (6, 5))
    h = 1e-5
    for j in range(6):
        for i in range(5):
            for k, line, last in ((0, j, 5), (1, i, 4)):
                if line in (0, last):
                    continue
                push = np.zeros(phi.shape)
                push[j, i, k] = h
                slope = (total(phi + push, b, 2.0) - total(phi - push, b, 2.0)) / (2 * h)
                assert abs(slope) < 1e-8


def test_the_grid_covers_the_region_and_its_corners_stay() -> None:
    rng = np.random.default_rng(2)
    for smoothness in (0.05, 1.0, 50.0):
        phi = solve(rng.random((8, 12, 2)), smoothness, (8, 12))
        for k, line in ((0, phi), (1, phi.transpose(1, 0, 2))):
            np.testing.assert_array_equal(line[0, :, k], 0)
            np.testing.assert_array_equal(line[-1, :, k], 1)
        assert phi.min() >= 0
        assert phi.max() <= 1  # convex averages: no inequality is needed
        grid = grid_from_nodes(phi[..., 0], phi[..., 1], Box(0, 0, 501, 801), (64, 96))
        assert grid.covered() == pytest.approx(1, abs=1e-9)
        # border nodes do slide along their border
        assert np.ptp(phi[0, :, 1] - np.linspace(0, 1, 12)) > 1e-3


def test_border_nodes_of_a_predicted_grid_are_moved_onto_their_border() -> None:
    phi = cover(np.random.default_rng(3).normal(0.5, 1, (8, 8, 2)).astype(np.float32))
    assert phi.min() >= 0
    assert phi.max() <= 1
    np.testing.assert_array_equal(phi[[0, -1], :, 0], [[0] * 8, [1] * 8])
    np.testing.assert_array_equal(phi[:, [0, -1], 1], [[0, 1]] * 8)
    np.testing.assert_allclose(cover(even_nodes((5, 6))), even_nodes((5, 6)))


def test_lambda_out_of_range_is_refused() -> None:
    for bad in (-1.0, np.inf, np.nan):
        with pytest.raises(HrvizError, match="choose 0 or more"):
            solve(NEAREST, bad, (5, 5))


# ------------------------------------------------------------------ boundaries
def test_without_any_boundary_the_grid_is_even() -> None:
    for labels in (np.zeros((20, 30), int), np.full((4, 4), 3), np.zeros((1, 1), int)):
        edge = boundary_map(labels)
        assert not edge.any()
        assert nearest_boundary(edge, (5, 7)) is None
        np.testing.assert_array_equal(solve(None, 1.0, (5, 7)), even_nodes((5, 7)))


def test_nearest_points_of_a_picture_that_is_not_square() -> None:
    """The authors' code scales columns by the height; here brute force over all boundary pixels."""
    rng = np.random.default_rng(4)
    edge = rng.random((13, 31)) < 0.04
    b = nearest_boundary(edge, (4, 6))
    assert b is not None
    at = np.argwhere(edge)
    for (j, i), row, column in (
        ((j, i), round(j / 3 * 12), round(i / 5 * 30)) for j in range(4) for i in range(6)
    ):
        least = np.hypot(*(at - (row, column)).T).min()
        found = b[j, i] * (12, 30)
        assert np.hypot(*(found - (row, column))) == pytest.approx(least)
        assert edge[tuple(found.round().astype(int))]


def test_ignored_labels_and_target_classes() -> None:
    labels = np.array([[0, 0, 1, 1, 255, 255, 2, 2]])
    assert boundary_map(labels)[0].tolist() == [
        False, True, True, True, True, True, True, False,
    ]  # fmt: skip
    assert boundary_map(labels, ignore=255)[0].tolist() == [
        False, True, True, True, False, False, True, False,
    ]  # fmt: skip
    assert boundary_map(labels, target=(2,))[0].tolist() == [False] * 6 + [True, False]


def discs(rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros((192, 192), int)
    y, x = np.mgrid[:192, :192]
    for k in range(6):
        cy, cx = rng.random(2) * 192
        labels[np.hypot(y - cy, x - cx) < rng.uniform(12, 45)] = k + 1
    return labels


def test_fine_grids_fold_at_small_lambda() -> None:
    """The sheet, on other discs: at lambda 1, .3, .05 0, 0, 2 of 12 fold at 8 x 8, 1, 12, 12 at 32 x 32."""
    folds: dict[tuple[float, int], int] = {}
    for smoothness in (1.0, 0.3, 0.05):
        for n in (8, 32):
            for seed in range(12):
                b = nearest_boundary(boundary_map(discs(np.random.default_rng(seed))), (n, n))
                phi = solve(b, smoothness, (n, n))
                grid = grid_from_nodes(phi[..., 0], phi[..., 1], Box(0, 0, 193, 193), (64, 64))
                folds[smoothness, n] = folds.get((smoothness, n), 0) + bool(grid.folded().any())
    assert folds[1.0, 8] == folds[0.3, 8] == 0
    assert folds[1.0, 32] <= 4
    assert folds[0.3, 32] >= 10
    assert folds[0.05, 32] == 12
    assert folds[0.05, 8] < 12


# ------------------------------------------------------------------ interpolation back
def test_logits_come_back_linear_over_triangles() -> None:
    rng = np.random.default_rng(5)
    places = np.concatenate([rng.random((300, 2)), [[0, 0], [0, 1], [1, 0], [1, 1]]])
    at = rng.random((200, 2))
    plane = places @ (2.0, -3.0) + 0.5
    np.testing.assert_allclose(carry_back(plane, places, at), at @ (2.0, -3.0) + 0.5, atol=1e-9)
    # beyond the samples the nearest counts
    assert carry_back(plane, places, np.array([[-5.0, -5.0]]))[0] == pytest.approx(0.5)


def test_samples_on_a_line_have_no_triangles() -> None:
    places = np.stack([np.zeros(5), np.linspace(0, 1, 5)], -1)
    assert carry_back(np.arange(5.0), places, np.array([[0.4, 0.55]])).tolist() == [2.0]
    assert carry_back(np.array([7.0]), places[:1], np.array([[0.4, 0.55]])).tolist() == [7.0]


# ------------------------------------------------------------------ the method
class Halves:
    """Truth of a picture whose right part is tumour."""

    knows = frozenset({"mask"})
    objects: dict[int, str] = {1: "tumour nest"}  # noqa: RUF012
    classes: dict[int, str] = {}  # noqa: RUF012
    labels: tuple[Any, ...] = ()

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        x = box.x0 + (np.arange(size[1]) + 0.5) * box.width / size[1]
        return np.tile((x >= 60).astype(np.uint8), (size[0], 1))


def test_samples_gather_at_the_true_boundary() -> None:
    image = image_of(np.zeros((100, 200, 3), np.uint8), truth=Halves())
    run = hrviz.apply("marin", image, saliency="truth", samples=9, smoothness=0.1, task="none")
    assert run["boundaries"].source.startswith("oracle")
    grid = run["grid"]
    # the only boundary is the line x = 60: nodes come nearer to it than even ones (25 px apart)
    inner = grid.nodes[4, 1:-1, 1]
    assert (np.abs(inner - 60) < np.abs(np.linspace(0.5, 199.5, 9)[1:-1] - 60) + 1e-9).all()
    told = run["energy"].values
    assert told["energy"] == pytest.approx(told["data_term"] + told["smoothness_term"])
    assert told["energy"] == pytest.approx(told["least_energy"])
    assert told["energy"] < told["uniform_energy"]
    assert told["folded_cells"] == grid.folded().sum()


def test_nothing_to_see_gives_the_even_grid() -> None:
    image = image_of(np.full((64, 96, 3), 130, np.uint8))
    run = hrviz.apply("marin", image, saliency="edges", task="none")
    even = even_nodes((8, 8)) * (63, 95) + 0.5
    np.testing.assert_allclose(run["grid"].nodes, even, atol=1e-9)
    assert "energy" not in [s.name for s in run.steps]


def test_truth_without_outlines_is_refused() -> None:
    image = image_of(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(HrvizError, match="choose boundaries from edges or trained"):
        hrviz.apply("marin", image, saliency="truth", task="none")


# ------------------------------------------------------------------ networks
def test_the_paper_net_is_mobilenet_v2_at_depth_a_quarter() -> None:
    """Counted from the table of Sandler et al. (t, c, n, s), channels a quarter, at least 8."""
    torch = pytest.importorskip("torch")
    from hrviz.nets.boundary import PaperBoundaryNet, SmallBoundaryNet

    def quarter(c: int) -> int:
        new = max(8, int(c / 4 + 4) // 8 * 8)
        return new + 8 if new < 0.9 * c / 4 else new

    expected, inputs = 3 * 9 * quarter(32) + 2 * quarter(32), quarter(32)
    for t, c, n in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)):  # fmt: skip
        for _ in range(n):
            wide, outputs = t * inputs, quarter(c)
            if t > 1:
                expected += inputs * wide + 2 * wide
            expected += 9 * wide + 2 * wide + wide * outputs + 2 * outputs
            inputs = outputs
    expected += inputs * 2 + 2 + 8 * 8 * 2  # the head, and the mean tensor
    net = PaperBoundaryNet().eval()
    assert sum(p.numel() for p in net.parameters()) == expected
    x = torch.zeros(2, 3, 64, 64)
    with torch.no_grad():
        assert net(x).shape == (2, 8, 8, 2)
        assert SmallBoundaryNet().eval()(x).shape == (2, 8, 8, 2)
    np.testing.assert_allclose(net.mean.detach(), even_nodes((8, 8)), atol=1e-6)


def test_regions_and_grids_turn_together() -> None:
    """A grid that holds the even place of what a picture shows there does so after any turn."""
    from hrviz.training.boundary_sampler import turned

    rng = np.random.default_rng(6)
    places = even_nodes((8, 8))
    shape = rng.random((8, 8, 2)) * 0.02
    pixels = np.concatenate([places + shape, np.zeros((8, 8, 1))], -1)[None]
    for _ in range(20):
        image, grid = turned(pixels, (places + shape)[None], rng)
        # what the picture says of a node's old place is where the node's new grid value came from
        old = image[0, ..., :2]
        new = grid[0]
        k = 1 if np.allclose(np.abs(old[..., 0] - 0.5), np.abs(new[..., 0] - 0.5)) else 0
        swapped = old if k else old[..., ::-1]
        np.testing.assert_allclose(np.abs(swapped - 0.5), np.abs(new - 0.5), atol=1e-12)
        assert np.abs(new - even_nodes((8, 8))).max() < 0.03


def test_the_trained_net_comes_near_the_best_grid_on_unseen_tissue() -> None:
    """Between the even grid and the optimum, without having seen the labels."""
    pytest.importorskip("torch")
    from hrviz.scenes.dataset import dataset

    slides = dataset("tissue", "unseen", 3, width=3000, height=3000, tumour=0.2)
    told = [hrviz.apply("marin", s, size=64, task="none")["energy"].values for s in slides]
    mean = {k: np.mean([t[k] for t in told]) for k in told[0]}
    assert all(t["least_energy"] <= t["energy"] for t in told)
    excess, even = (mean[k] - mean["least_energy"] for k in ("energy", "uniform_energy"))
    assert excess < 0.8 * even


@pytest.mark.slow
@pytest.mark.parametrize("name", ["boundary-sampler-tissue", "boundary-sampler-vessels"])
def test_the_recipe_runs(name: str) -> None:
    pytest.importorskip("torch")
    from hrviz.training import train

    told = train(name, steps=12, report=lambda line: None, write=False)["held_out"]
    assert told["best_energy"] <= told["even_energy"]
    assert told["best_energy"] <= told["trained_energy"]

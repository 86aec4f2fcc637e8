"""Points, boxes and pictures carried through a grid in both directions: round trips and folds."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import image_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hrviz.geometry import Box
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.separable import separable_nodes
from hrviz.methods.downsampling.warp import profile, raster_places, samples, unwarp
from hrviz.results import WarpGrid

BOX = Box(100, 50, 1101, 1651)


def random_grid(seed: int, shape: tuple[int, int], fwhm: float, separable: bool) -> WarpGrid:
    rng = np.random.default_rng(seed)
    saliency = rng.random(shape) ** rng.uniform(0.5, 4) + 0.01
    nodes = separable_nodes if separable else saliency_nodes
    return grid_from_nodes(*nodes(saliency, fwhm, "reflect"), BOX, (160, 256))


def cell_by_cell(grid: WarpGrid, points: np.ndarray) -> np.ndarray:
    """The inverse by Newton's method in every cell: slow, and nothing shared with the code."""
    ny, nx = grid.nodes.shape[:2]
    out = np.full((len(points), 2), np.nan)
    for j in range(ny - 1):
        for i in range(nx - 1):
            a, b = grid.nodes[j, i], grid.nodes[j, i + 1]
            c, d = grid.nodes[j + 1, i], grid.nodes[j + 1, i + 1]
            ts = np.full((len(points), 2), 0.5)
            for _ in range(12):
                t, s = ts[:, :1], ts[:, 1:]
                value = a + t * (c - a) + s * (b - a) + t * s * (a - b - c + d)
                along_t = (c - a) + s * (a - b - c + d)
                along_s = (b - a) + t * (a - b - c + d)
                jacobian = np.stack([along_t, along_s], -1)
                ts = ts - np.linalg.solve(jacobian, (value - points)[..., None])[..., 0]
            inside = ((ts > -1e-7) & (ts < 1 + 1e-7)).all(1) & np.isnan(out[:, 0])
            out[inside] = (ts[inside] + (j, i)) / (ny - 1, nx - 1)
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    fwhm=st.floats(4.0, 16.0),
    separable=st.booleans(),
)
def test_there_and_back_to_a_millionth(
    seed: int, shape: tuple[int, int], fwhm: float, separable: bool
) -> None:
    grid = random_grid(seed, shape, fwhm, separable)
    if grid.folded().any():
        return  # then a point may have several places
    rng = np.random.default_rng(seed)
    place = rng.random((3000, 2))  # more than four a cell: the table of many points
    image = grid.at(place[:, 0], place[:, 1])
    np.testing.assert_allclose(grid.inverse(image), place, atol=1e-6)
    few = grid.inverse(image[:5])  # cell by cell
    np.testing.assert_allclose(few, place[:5], atol=1e-6)
    # and from the image: everything is covered, reflection pins the border
    points = (
        BOX[:2] + np.array([0.5, 0.5]) + rng.random((3000, 2)) * (BOX.height - 1, BOX.width - 1)
    )
    found = grid.inverse(points)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(grid.at(found[:, 0], found[:, 1]), points, atol=1e-6 * BOX.width)


def test_the_inverse_is_that_of_newtons_method_in_every_cell() -> None:
    grid = random_grid(3, (6, 7), 5.0, separable=False)
    assert not grid.separable
    rng = np.random.default_rng(0)
    points = BOX[:2] + np.array([1.0, 1.0]) + rng.random((400, 2)) * (BOX.height - 2, BOX.width - 2)
    np.testing.assert_allclose(grid.inverse(points), cell_by_cell(grid, points), atol=1e-9)


def brute_folds(grid: WarpGrid, n: int = 21) -> np.ndarray:
    """Cells with a negative Jacobian determinant anywhere on a dense lattice, by differences."""
    ny, nx = grid.nodes.shape[:2]
    out = np.zeros((ny - 1, nx - 1), bool)
    t = np.linspace(1e-4, 1 - 1e-4, n)
    step = 1e-5
    for j in range(ny - 1):
        for i in range(nx - 1):
            v, u = np.meshgrid((j + t) / (ny - 1), (i + t) / (nx - 1), indexing="ij")
            dv = grid.at(v + step / ny, u) - grid.at(v - step / ny, u)
            du = grid.at(v, u + step / nx) - grid.at(v, u - step / nx)
            det = dv[..., 0] * du[..., 1] - dv[..., 1] * du[..., 0]
            out[j, i] = (det < 0).any()
    return out


@pytest.mark.parametrize("seed", range(6))
def test_folds_are_found_where_the_determinant_is_negative(seed: int) -> None:
    rng = np.random.default_rng(seed)
    even = WarpGrid.identity(BOX, (64, 64), (6, 6)).nodes
    grid = WarpGrid(even + rng.normal(0, 90, even.shape), BOX, (64, 64))
    # corners see what the lattice may just miss, so found cells are a superset, barely
    found, brute = grid.folded(), brute_folds(grid)
    assert brute.any()
    assert (found | ~brute).all()
    assert (found & ~brute).sum() <= 1


def test_determinant_is_the_jacobians_and_its_mean_the_cells_area() -> None:
    grid = random_grid(5, (5, 8), 4.0, separable=False)
    t = (np.arange(50) + 0.5) / 50
    v, u = (2 + t) / 4, (3 + t) / 7  # the cell (2, 3)
    det = grid.determinant(*np.meshgrid(v, u, indexing="ij"))
    cells = grid.cell_areas()
    uniform = (BOX.height - 1) * (BOX.width - 1) / cells.size
    assert det.mean() == pytest.approx(cells[2, 3] / uniform, rel=1e-12)
    step = 1e-5
    dv = grid.at(np.array(0.6 + step), np.array(0.5)) - grid.at(np.array(0.6 - step), np.array(0.5))
    du = grid.at(np.array(0.6), np.array(0.5 + step)) - grid.at(np.array(0.6), np.array(0.5 - step))
    by_differences = (dv[0] * du[1] - dv[1] * du[0]) / (2 * step) ** 2
    area = (BOX.height - 1) * (BOX.width - 1)
    found = grid.determinant(np.array(0.6), np.array(0.5))
    assert found * area == pytest.approx(by_differences, rel=1e-6)


def test_boxes_go_both_ways() -> None:
    """Against the bounding box of a dense rim, in both directions."""
    grid = random_grid(8, (9, 9), 5.0, separable=False)
    boxes = np.array([[20.0, 30.0, 60.0, 90.0], [100.0, 5.0, 140.0, 25.0]])
    carried = grid.boxes_to_image(boxes)
    for box, found in zip(boxes, carried, strict=True):
        y, x = np.linspace(box[0], box[2], 2001), np.linspace(box[1], box[3], 2001)
        rim = np.concatenate(
            [np.stack(np.broadcast_arrays(*pair), -1)
             for pair in ((y, box[1]), (y, box[3]), (box[0], x), (box[2], x))]
        )  # fmt: skip
        dense = grid.to_image(rim)
        pixel = max(BOX.height / 160, BOX.width / 256)
        np.testing.assert_allclose(found[:2], dense.min(0), atol=0.6 * pixel)
        np.testing.assert_allclose(found[2:], dense.max(0), atol=0.6 * pixel)
        assert (found[:2] >= dense.min(0) - 1e-9).all()  # points of the rim, so never outside
        assert (found[2:] <= dense.max(0) + 1e-9).all()
    back = grid.boxes_to_output(carried)
    assert (back[:, :2] <= boxes[:, :2] + 1).all()  # a box around a box around it
    assert (back[:, 2:] >= boxes[:, 2:] - 1).all()


def test_boxes_through_a_separable_grid_are_exact() -> None:
    grid = random_grid(9, (11, 13), 5.0, separable=True)
    assert grid.separable
    boxes = np.array([[20.0, 30.0, 60.0, 90.0], [0.5, 0.5, 159.5, 255.5]])
    np.testing.assert_allclose(grid.boxes_to_output(grid.boxes_to_image(boxes)), boxes, atol=1e-9)
    np.testing.assert_allclose(
        grid.boxes_to_image(boxes)[1], [100.5, 50.5, 1100.5, 1650.5], atol=1e-9
    )


def test_a_cropped_box_is_not_a_number() -> None:
    y, x = np.linspace(300, 600, 3), np.linspace(200, 500, 3)
    grid = WarpGrid(np.stack(np.meshgrid(y, x, indexing="ij"), -1), BOX, (30, 30))
    assert np.isnan(grid.to_output(np.array([[150.0, 100.0]]))).all()
    inside = grid.boxes_to_output(np.array([[200.0, 300.0, 400.0, 400.0]]))
    np.testing.assert_allclose(inside, [[0.5, 0.5 + 29 / 3, 0.5 + 29 / 3, 0.5 + 58 / 3]])


def test_blend_goes_from_even_to_the_grid_without_folds() -> None:
    grid = random_grid(2, (12, 12), 6.0, separable=False)
    even = grid.blend(0)
    np.testing.assert_allclose(even.cell_magnification(), 1, rtol=1e-9)
    np.testing.assert_allclose(grid.blend(1).nodes, grid.nodes)
    for share in np.linspace(0, 1, 9):
        assert not grid.blend(share).folded().any()
        assert grid.blend(share).covered() == pytest.approx(1)
    with pytest.raises(Exception, match=r"share lies in 0\.\.1"):
        grid.blend(1.5)


@pytest.mark.parametrize("separable", [True, False])
def test_what_is_warped_and_carried_back_is_the_picture(separable: bool) -> None:
    """A linear ramp survives bilinear sampling there and back."""
    ramp = np.mgrid[:400, :600].astype(float)
    pixels = np.stack([ramp[0] / 400, ramp[1] / 600, 0 * ramp[0]], -1)
    view = image_of((pixels * 255).round().astype(np.uint8)).view()
    rng = np.random.default_rng(4)
    nodes = separable_nodes if separable else saliency_nodes
    v, u = nodes(rng.random((9, 13)) + 0.2, 6.0, "reflect")
    grid = grid_from_nodes(v, u, view.box, (200, 300))
    at = grid.positions()
    output = np.stack([at[..., 0] / 400, at[..., 1] / 600, 0 * at[..., 0]], -1).astype(np.float32)
    back = unwarp(output, grid, view, 150)
    h, w = back.shape[:2]
    expected = np.stack(
        np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij"), -1
    )
    np.testing.assert_allclose(back[2:-2, 2:-2, :2], expected[2:-2, 2:-2], atol=0.003)


def test_what_is_cropped_comes_back_grey() -> None:
    view = image_of(np.zeros((100, 100, 3), np.uint8)).view()
    v, u = np.meshgrid(np.linspace(0.3, 0.7, 4), np.linspace(0, 1, 4), indexing="ij")
    grid = grid_from_nodes(v, u, view.box, (50, 50))
    back = unwarp(np.zeros((50, 50, 3), np.float32), grid, view, 100)
    assert (back[:29] == 0.5).all() and (back[72:] == 0.5).all()
    assert (back[32:68] == 0).all()


def test_profile_and_samples_are_the_map_itself() -> None:
    grid = random_grid(1, (9, 9), 5.0, separable=True)
    curve = profile(grid, np.outer(np.ones(5), [1.0, 2, 4, 2, 1]))
    assert curve.series["saliency over x"].max() == 1
    np.testing.assert_allclose(curve.series["u(x), columns"][[0, -1]], [0.5 / 1601, 1600.5 / 1601])
    dots = samples(grid, 16)
    assert len(dots.points) == 16 * 10
    np.testing.assert_allclose(dots.points[0], grid.positions()[0, 0], atol=1e-9)
    np.testing.assert_allclose(dots.points[-1], grid.positions()[-1, -1], atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_one_pixel_regions_carry_back(size: tuple[int, int]) -> None:
    view = image_of(np.full((*size, 3), 60, np.uint8)).view()
    v, u = saliency_nodes(np.random.default_rng(0).random((3, 3)) + 0.1, 2.0)
    grid = grid_from_nodes(v, u, view.box, size)
    assert np.isfinite(raster_places(grid, view, 64)).all()


def test_mirrored_grids_invert_too() -> None:
    """A map that turns the picture over is folded everywhere, and still has its inverse."""
    even = WarpGrid.identity(BOX, (20, 20), (5, 5)).nodes
    grid = WarpGrid(even[:, ::-1].copy(), BOX, (20, 20))
    assert grid.folded().all()
    place = np.random.default_rng(0).random((50, 2))
    np.testing.assert_allclose(grid.inverse(grid.at(place[:, 0], place[:, 1])), place, atol=1e-7)


def test_what_is_cropped_has_no_magnification() -> None:
    y, x = np.linspace(300, 600, 3), np.linspace(200, 500, 3)
    grid = WarpGrid(np.stack(np.meshgrid(y, x, indexing="ij"), -1), BOX, (30, 30))
    heat = grid.magnification(64)
    h, w = heat.values.shape
    cy, cx = (
        BOX.y0 + (np.arange(h) + 0.5) * BOX.height / h,
        BOX.x0 + (np.arange(w) + 0.5) * BOX.width / w,
    )
    inside = ((cy > 330) & (cy < 570))[:, None] & ((cx > 240) & (cx < 460))[None]
    outside = ((cy < 270) | (cy > 630))[:, None] | ((cx < 165) | (cx > 535))[None]
    assert np.isnan(heat.values[outside]).all()
    # 300 x 300 px of 1000 x 1600: the linear zoom is the root of the ratio of areas
    np.testing.assert_allclose(
        heat.values[inside], 0.5 * np.log2(1000 * 1600 / (300 * 300)), atol=1e-9
    )

"""LZU: the inverse against the fact sheet and against root finding, features there and back."""

from __future__ import annotations

import numpy as np
import pytest

import hrviz
from hrviz.geometry import Box
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.separable import separable_nodes
from hrviz.methods.downsampling.unzoom_features import take, unzoom_features, unzoom_places
from hrviz.results import WarpGrid
from hrviz.training import train

from .oracle import numbers, small_saliency

torch = pytest.importorskip("torch")


def unit_grid(v: np.ndarray, u: np.ndarray, size: tuple[int, int]) -> WarpGrid:
    """Corner pixel centres 1000 px apart."""
    return grid_from_nodes(v, u, Box(0, 0, 1001, 1001), size)


def signed(places: np.ndarray) -> np.ndarray:
    """Index positions as the fact sheet prints them, -1..1 as (y, x)."""
    return 2 * places / (np.array(places.shape[:2]) - 1) - 1


# ------------------------------------------------------------------ the fact sheet's numbers
def test_o5_separable_inverse() -> None:
    v, u = separable_nodes(small_saliency(), 2.0, "reflect", "sum", (4, 4))
    places = signed(unzoom_places(unit_grid(v, u, (9, 13))))
    x = "-1 -0.86530 -0.73060 -0.58662 -0.43427 -0.27260 -0.09267 0.10865 0.33271 0.54531 0.72555 0.86277 1"
    y = "-1 -0.73904 -0.47401 -0.16472 0.12070 0.37891 0.60491 0.80245 1"
    np.testing.assert_allclose(places[3, :, 1], numbers(x)[0], atol=6e-6)
    np.testing.assert_allclose(places[:, 5, 0], numbers(y)[0], atol=6e-6)
    assert (places[4, 6, 1] + 1) / 2 == pytest.approx(0.45366, abs=6e-6)


def test_o5_replicate_leaves_the_cropped_rim_unfilled() -> None:
    v, u = separable_nodes(small_saliency(), 2.0, "replicate", "sum", (4, 4))
    assert np.isnan(unzoom_places(unit_grid(v, u, (9, 13)))).any(-1).sum() == 40


def test_o5_non_separable_inverse() -> None:
    v, u = saliency_nodes(small_saliency(), 2.0, "reflect", 4)
    grid = unit_grid(v, u, (9, 13))
    places = unzoom_places(grid)
    assert np.isfinite(places).all()  # the published tolerances leave 4 of 117
    row = signed(places)[4, [3, 6, 9]][:, ::-1]
    expected = numbers("-0.59018 0.05868 | -0.08956 0.12979 | 0.54183 0.15302")
    np.testing.assert_allclose(row, expected, atol=6e-6)
    even = WarpGrid.identity(grid.box, grid.size).positions()
    back = grid.to_image(places.reshape(-1, 2) + 0.5).reshape(even.shape)
    np.testing.assert_allclose(back, even, atol=1e-6 * 1000)


def test_straight_cells_are_all_filled() -> None:
    """Uniform 5 x 5 nodes to 7 x 7: with the published sign 14 of 49 stay empty, error 1.0."""
    even = np.meshgrid(*[np.linspace(0, 1, 5)] * 2, indexing="ij")
    grid = unit_grid(even[0], even[1], (7, 7))
    # not separable to the last bit, so that the cell-wise inverse is taken
    bent = WarpGrid(grid.nodes + np.array([0, 1e-5]), grid.box, grid.size)
    bent.nodes[2, 2, 0] += 1e-5
    assert not bent.separable
    places = unzoom_places(bent)
    assert np.isfinite(places[:, 1:]).all()
    own = np.stack(np.meshgrid(np.arange(7), np.arange(7), indexing="ij"), -1)
    np.testing.assert_allclose(places[:, 1:], own[:, 1:], atol=4e-7)


# ------------------------------------------------------------------ against other people's code
@pytest.mark.parametrize("seed", range(3))
def test_inverse_against_root_finding(seed: int) -> None:
    from scipy.optimize import fsolve

    rng = np.random.default_rng(seed)
    v, u = saliency_nodes(rng.random((6, 8)) + 0.2, 4.0, "reflect")
    grid = unit_grid(v, u, (16, 20))
    places = unzoom_places(grid, (5, 6), 3)
    even = WarpGrid.identity(grid.box, grid.size)
    for j, i in ((0, 0), (1, 4), (3, 2), (4, 5)):
        pixel = np.minimum((np.array([j, i]) + 0.5) * 3, np.array(grid.size) - 0.5)
        target = even.to_image(pixel[None])[0]
        root = fsolve(lambda p, t=target: grid.to_image(p[None])[0] - t, pixel, xtol=1e-10)
        np.testing.assert_allclose(places[j, i], root / 3 - 0.5, atol=1e-4)


def test_features_interpolate_as_scipy_does() -> None:
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(4)
    v, u = separable_nodes(small_saliency(), 2.0, "replicate", "sum", (4, 4))
    grid = unit_grid(v, u, (96, 128))
    features = rng.random((2, 3, 24, 32))
    out = unzoom_features(torch.from_numpy(features), grid, stride=4).numpy()
    places = unzoom_places(grid, (24, 32), 4)
    known = np.isfinite(places).all(-1)
    assert not known.all()
    for n in range(2):
        for c in range(3):
            at = np.nan_to_num(places).transpose(2, 0, 1)
            expected = map_coordinates(features[n, c], at, order=1, mode="nearest")
            np.testing.assert_allclose(out[n, c], np.where(known, expected, 0), atol=1e-12)


# ------------------------------------------------------------------ features there and back
def test_what_was_zoomed_comes_back_in_place() -> None:
    """The coordinate itself as a feature of the zoomed picture: un-zoomed it is evenly spaced."""
    rng = np.random.default_rng(1)
    v, u = separable_nodes(rng.random((15, 21)) ** 2 + 0.05, 4.0, "reflect", "sum")
    grid = unit_grid(v, u, (120, 160))
    zoomed = torch.from_numpy(grid.positions().transpose(2, 0, 1)[None].copy())
    even = WarpGrid.identity(grid.box, grid.size).positions()
    back = unzoom_features(zoomed, grid)[0].numpy().transpose(1, 2, 0)
    assert np.abs(back - even).max() < 0.25 * 1000 / 119  # bent between pixels, no shift
    assert abs((back - even).mean()) < 0.02 * 1000 / 119


def test_even_zoom_changes_nothing() -> None:
    features = torch.rand(2, 4, 8, 12, dtype=torch.float64)
    grid = WarpGrid.identity(Box(3, 5, 203, 305), (30, 45), (4, 5))
    out = unzoom_features(features, grid, stride=4)
    # 30 x 45 px at stride 4 are 8 x 12 cells, the last ones partly padding: those repeat the rim
    torch.testing.assert_close(out[..., :7, :11], features[..., :7, :11])


def test_gradients_flow_to_the_features() -> None:
    v, u = saliency_nodes(small_saliency(), 2.0, "replicate", 4)
    grid = unit_grid(v, u, (6, 7))
    features = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: unzoom_features(f, grid), (features,))
    # one grid a picture
    places = torch.from_numpy(unzoom_places(grid))
    both = take(features.expand(2, -1, -1, -1), torch.stack([places, places + 0.25]))
    torch.testing.assert_close(both[0], unzoom_features(features, grid)[0])
    assert not torch.equal(both[0], both[1])


# ------------------------------------------------------------------ the method
def test_boxes_are_in_image_space_from_the_start() -> None:
    run = hrviz.apply("lzu", "scene:road?size=1280x960&seed=3", size=480)
    zoomed, even = run["features zoomed"], run["features unzoomed"]
    assert zoomed.grid is not None
    assert even.grid is None
    assert zoomed.values.shape == even.values.shape == (90, 120)
    assert even.box == Box(0, 0, 960, 1280)
    assert run["prediction"].source == "trained: road-detector-unzoom"
    assert run["score"].values["objects"] > 0


def test_recipe_runs() -> None:
    card = train("road-detector-unzoom", steps=1, write=False, report=lambda text: None)
    assert card["held_out"]["frames"] == 2

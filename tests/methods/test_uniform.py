"""Uniform downsampling: exact block means, and the filters' answers to a single bright pixel."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz.methods.baselines.uniform_downsampling import uniform_downsampling


def shrink(array: np.ndarray, size: int, filter: str, **options: object) -> np.ndarray:
    view = image_of(array, **options).view()
    (step,) = uniform_downsampling.function(view, size=size, filter=filter, task="none")
    return step.result.array


@pytest.mark.parametrize("factor", [2, 4, 5, 8])
def test_area_is_the_exact_block_mean(factor: int) -> None:
    array = np.random.default_rng(factor).integers(0, 256, (120 * factor, 96 * factor, 3), np.uint8)
    exact = array.reshape(120, factor, 96, factor, 3).mean((1, 3)) / 255
    # 8 bit: half a grey of rounding (no pyramid below 1024 px; above, one more half a level)
    levels = max(0, int(np.ceil(np.log2(max(array.shape) / 1024))))
    np.testing.assert_allclose(
        shrink(array, 120, "area"), exact, atol=(0.5 + 0.5 * levels + 0.01) / 255
    )


def impulse(scale: int) -> np.ndarray:
    """[0, 0, 0, 8, 0, 0, 0, 0] along x, `scale` times as large, on 8 rows."""
    return np.tile(np.eye(8)[3] * 8 * scale, (8, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("filter", "expected", "tolerance"),
    [
        ("area", [2, 0], 0.02),
        ("bilinear", [0, 0], 1e-6),
        # Exact for 8 -> 2 is [1.42857, 0.85714]. Ours runs over twice the output (4 px), where the
        # pixel is one half of a pair: 12/7 and 4/7. The sum (the brightness) is the same.
        ("antialiased", [12 / 7, 4 / 7], 0.02),
    ],
)
def test_impulse(filter: str, expected: list[float], tolerance: float) -> None:
    got = uniform(impulse(30), filter) * 255 / 30
    np.testing.assert_allclose(got[0, :, 0], expected, atol=tolerance)
    if filter == "antialiased":
        np.testing.assert_allclose(got[0, :, 0], [1.42857, 0.85714], atol=0.29)
        assert got[0, :, 0].sum() == pytest.approx(1.42857 + 0.85714, abs=0.02)


def uniform(array: np.ndarray, filter: str) -> np.ndarray:
    """To 2 x 2 px: smaller than the parameter's range, so the body is called itself."""
    return shrink(array, 2, filter)


@pytest.mark.parametrize("filter", ["area", "antialiased", "bilinear"])
def test_a_view_smaller_than_the_output_is_left_as_it_is(filter: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    np.testing.assert_allclose(shrink(array, 512, filter) * 255, array, atol=0.51)


def test_antialiased_averages_where_bilinear_aliases() -> None:
    y, x = np.mgrid[:256, :256]
    board = np.where((y + x) % 2, 255, 0).astype(np.uint8)
    assert np.abs(shrink(board, 64, "antialiased") - 0.5).max() < 0.01
    assert np.abs(shrink(board, 64, "area") - 0.5).max() < 0.01
    assert np.abs(shrink(board, 64, "mip-mapped") - 0.5).max() < 0.01
    thin = np.where(x % 4 == 0, 255, 0).astype(np.uint8)  # lines 1 px wide, 4 px apart
    assert shrink(thin, 64, "area").mean() == pytest.approx(0.25, abs=0.01)
    assert shrink(thin, 64, "bilinear").mean() == pytest.approx(0, abs=0.01)


def test_pixels_read_are_at_most_four_times_the_output_whatever_the_size() -> None:
    for side in (4096, 65536, 200_000):
        run = hrviz.apply("ud", f"scene:tissue?size={side}x{side}&seed=3", size=512, task="none")
        assert run.reads.pixels_requested <= 4 * 512 * 512 * 1.02
        assert run["downsampled"].box == (0, 0, side, side)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3)])
@pytest.mark.parametrize("filter", ["area", "antialiased", "mip-mapped", "bilinear"])
def test_tiny_images(shape: tuple[int, int], filter: str) -> None:
    np.testing.assert_allclose(shrink(np.full(shape, 51, np.uint8), 64, filter), 0.2, atol=1e-6)


def test_mip_mapped_is_the_uniform_picture_of_every_warp() -> None:
    """The same filter as its rival: what a warp shows beside itself is this baseline."""
    scene = "scene:tissue?size=2048x1536"
    own = hrviz.apply("ud", scene, size=200, filter="mip-mapped", task="none")["downsampled"]
    warp = hrviz.apply("learning-to-zoom", scene, size=200, saliency="edges", task="none")
    np.testing.assert_array_equal(own.array, warp["uniform"].array)
    even = hrviz.apply(
        "learning-to-zoom", scene, size=200, saliency="edges", strength=0, task="none"
    )
    np.testing.assert_allclose(even["warped"].array, own.array, atol=1e-5)

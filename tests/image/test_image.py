"""`Image` over readers whose every pixel is known: averages, levels, coordinates, read accounting."""

from __future__ import annotations

import math
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fake_images import ArrayReader, image_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image, open_image
from hrviz.image.cache import TILES, TileCache
from hrviz.image.resample import halve

few = settings(max_examples=25, deadline=None, derandomize=True)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def axis_weights(start: float, stop: float, n_in: int, n_out: int) -> np.ndarray:
    """Oracle, pixel by pixel: overlaps of intervals when shrinking, linear between centres else."""
    out = np.zeros((n_out, n_in))
    step = (stop - start) / n_out
    for i in range(n_out):
        low, high = start + i * step, start + (i + 1) * step
        if step >= 1:
            for k in range(n_in):
                out[i, k] = max(0.0, min(high, k + 1) - max(low, k))
            out[i] /= out[i].sum()
        else:
            centre = min(max((low + high) / 2 - 0.5, 0), n_in - 1)
            k = min(int(centre), n_in - 2) if n_in > 1 else 0
            out[i, k] += 1 - (centre - k)
            if n_in > 1:
                out[i, k + 1] += centre - k
    return out


def brute_region(array: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    rows = axis_weights(box.y0, box.y1, array.shape[0], size[0])
    columns = axis_weights(box.x0, box.x1, array.shape[1], size[1])
    return np.einsum("ij,jkc,lk->ilc", rows, array.astype(float), columns)


# ------------------------------------------------------------------ regions
@few
@given(
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.05, 1), st.floats(0.05, 1)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_region_is_the_exact_area_average(
    where: tuple[float, float, float, float], size: tuple[int, int], dtype: str
) -> None:
    h, w = 83, 61
    array = (noise(h, w) / 255 * (1 if dtype == "float32" else np.iinfo(dtype).max)).astype(dtype)
    y0, x0 = where[0] * h, where[1] * w
    box = Box(y0, x0, y0 + where[2] * (h - y0), x0 + where[3] * (w - x0))
    got = image_of(array, tile=(16, 24)).region(box, size).astype(float)
    expected = brute_region(array, box, size)
    tolerance = {"uint8": 0.5001, "uint16": 0.53, "float32": 2e-6}[dtype]
    assert np.abs(got - expected).max() <= tolerance


def test_default_size_and_whole_pixels_are_untouched() -> None:
    array = noise(70, 90)
    image = image_of(array)
    np.testing.assert_array_equal(image.region(image.box), array)
    np.testing.assert_array_equal(image.region((3, 5, 20, 41)), array[3:20, 5:41])


def test_region_averages_hold_through_stored_and_virtual_levels() -> None:
    """Blocks of powers of two are exact block means whatever level serves them (1 grey a level)."""
    array = noise(2048, 1536, 1)
    for halved in (0, 1, 3):
        image = image_of(array, halved=halved, tile=(256, 128))
        for factor in (2, 4, 8, 32):
            got = image.region(image.box, (2048 // factor, 1536 // factor)).astype(float)
            exact = array.reshape(2048 // factor, factor, 1536 // factor, factor).mean((1, 3))
            assert np.abs(got - exact[..., None]).max() <= 0.5 + 0.5 * math.log2(factor)


@few
@given(
    st.tuples(st.floats(-60, 90), st.floats(-60, 70), st.floats(1, 200), st.floats(1, 200)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_beyond_the_image_is_white(
    where: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    h, w = 80, 60
    image = image_of(np.full((h, w, 3), 40, np.uint8))
    y0, x0, height, width = where
    got = image.region((y0, x0, y0 + height, x0 + width), size)
    y = y0 + (np.arange(size[0]) + 0.5) * height / size[0]
    x = x0 + (np.arange(size[1]) + 0.5) * width / size[1]
    inside = ((y > 1e-6) & (y < h - 1e-6))[:, None] & ((x > 1e-6) & (x < w - 1e-6))
    outside = ((y < -1e-6) | (y > h + 1e-6))[:, None] | ((x < -1e-6) | (x > w + 1e-6))
    assert (got[inside] == 40).all()
    assert (got[outside] == 255).all()


def test_fill_may_be_chosen_and_is_one_for_floats() -> None:
    assert image_of(np.zeros((4, 4, 1), np.float32)).region((-4, -4, 0, 0))[0, 0, 0] == 1
    assert image_of(np.zeros((4, 4, 1), np.uint16)).region((9, 9, 12, 12)).max() == 65535
    got = image_of(np.full((4, 4, 1), 9, np.uint8)).region((-4, 0, 4, 4), fill=3)
    np.testing.assert_array_equal(got[..., 0], [[3] * 4] * 4 + [[9] * 4] * 4)


def test_levels_whose_size_was_rounded_down_have_no_white_rim() -> None:
    """303 px at downsample 4 are stored as 75: the last 3 px of level 0 are not beyond the image."""
    array = np.full((303, 303, 3), 50, np.uint8)
    levels = [(2.0, array[:151, :151]), (4.0, array[:75, :75])]
    image = image_of(array, levels=levels)
    for n in range(60, 76):
        assert (image.region(image.box, (n, n)) == 50).all(), n
        reaching = image.region((-303, -303, 606, 606), (3 * n, 3 * n))
        assert (reaching[n : 2 * n, n : 2 * n] == 50).all(), n
    for box in ((300, 300, 308, 308), (302, 0, 310, 8), (301, 301, 301 + 12, 301 + 12)):
        assert image.region(box, (2, 2))[0, 0, 0] == (50 if box[0] + 2 < 303 else 255)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 0, 5), None), ((5, 5, 2, 9), None), ((0, 0, np.nan, 5), None), ((0, 0, np.inf, 5), None),
        ((0, 0, 5, 5), (0, 3)), ((0, 0, 5, 5), (10**5, 10**5)),
    ],
)  # fmt: skip
def test_impossible_regions_are_refused(
    box: tuple[float, ...], size: tuple[int, int] | None
) -> None:
    with pytest.raises(HrvizError) as caught:
        image_of(noise(9, 9)).region(box, size)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_windows_outside_a_level_are_refused() -> None:
    image = image_of(noise(9, 9))
    for window in ((0, -1, 0, 3, 3), (0, 0, 0, 10, 3), (0, 8, 8, 2, 1)):
        with pytest.raises(HrvizError, match="lies outside level 0"):
            image.window(*window)
    assert image.window(0, 3, 3, 0, 5).shape == (0, 5, 3)


# ------------------------------------------------------------------ levels
def test_virtual_levels_are_the_stored_level_halved() -> None:
    array = noise(3001, 1201, 3)
    image = image_of(array, tile=(200, 300))
    assert [(v.height, v.width, v.downsample) for v in image.levels_info] == [
        (3001, 1201, 1), (1501, 601, 2), (751, 301, 4),
    ]  # fmt: skip
    once = halve(array)
    np.testing.assert_array_equal(image.window(1, 0, 0, 1501, 601), once)
    np.testing.assert_array_equal(image.window(2, 0, 0, 751, 301), halve(once))
    np.testing.assert_array_equal(image.window(2, 700, 250, 51, 51), halve(once)[700:, 250:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32])
def test_halving_is_the_mean_of_what_is_there(dtype: type) -> None:
    rng = np.random.default_rng(0)
    high = 1 if dtype is np.float32 else np.iinfo(dtype).max
    low = -high if dtype is np.int16 else 0
    array = (low + rng.random((5, 7, 2)) * (high - low)).astype(dtype)
    expected = np.zeros((3, 4, 2))
    for i in range(3):
        for j in range(4):
            expected[i, j] = array[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].astype(float).mean((0, 1))
    tolerance = 1e-6 if dtype is np.float32 else 0.51
    assert np.abs(halve(array).astype(float) - expected).max() <= tolerance


@few
@given(st.floats(1, 5000), st.integers(0, 3))
def test_the_best_level_is_the_coarsest_that_is_fine_enough(downsample: float, halved: int) -> None:
    image = image_of(np.zeros((4100, 8, 1), np.uint8), halved=halved)
    level = image.best_level(downsample)
    fine = [d for d in image.downsamples if d <= downsample]
    assert image.downsamples[level] == max(fine)


# ------------------------------------------------------------------ coordinates
SPOTS = ((0, 0), (5, 9), (131, 77), (200, 255), (299, 405), (300, 406))
SHAPE = (301, 407)


def spotted(y: int, x: int) -> np.ndarray:
    array = np.zeros((*SHAPE, 3), np.uint8)
    array[y, x] = 255
    return array


def as_tiff(path: Path, array: np.ndarray) -> None:
    levels = [array, halve(array), halve(halve(array))]
    with tifffile.TiffWriter(path) as tiff:
        for i, level in enumerate(levels):
            tiff.write(level, tile=(64, 80), compression="zlib", subfiletype=int(i > 0),
                       photometric="rgb", metadata=None)  # fmt: skip


def as_strips(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array, rowsperstrip=10, compression="lzw", photometric="rgb")


def as_png(path: Path, array: np.ndarray) -> None:
    PILImage.fromarray(array).save(path)


def as_generic_slide(path: Path, array: np.ndarray) -> None:
    """A tiled TIFF with JPEG tiles, as scanners write it."""
    with tifffile.TiffWriter(path) as tiff:
        for i, level in enumerate([array, halve(array)]):
            tiff.write(level, tile=(64, 64), compression="jpeg", subfiletype=int(i > 0),
                       photometric="rgb", metadata=None, compressionargs={"level": 99})  # fmt: skip


WRITERS = {"tiff": as_tiff, "strips": as_strips, "png": as_png, "jpeg-tiles": as_generic_slide}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_bright_pixel_lies_where_it_should_at_every_level_of_every_reader(
    kind: str, tmp_path: Path
) -> None:
    """Centre of brightness (level-0 pixels) is the pixel's centre, to half a level pixel."""
    for n, (y, x) in enumerate(SPOTS):
        path = tmp_path / f"spot{n}.{'png' if kind == 'png' else 'tif'}"
        WRITERS[kind](path, spotted(y, x))
        image = open_image(path)
        assert (image.height, image.width) == SHAPE
        for level, info in enumerate(image.levels_info):
            pixels = image.window(level, 0, 0, info.height, info.width).astype(float).sum(2)
            pixels[pixels < pixels.max() / 2] = 0
            assert pixels.max() > 0
            row, column = np.unravel_index(pixels.argmax(), pixels.shape)
            d = info.downsample
            assert row * d <= y + 0.5 < (row + 1) * d
            assert column * d <= x + 0.5 < (column + 1) * d
        # and through a region of another scale, and through point sampling
        box = Box(max(0, y - 8), max(0, x - 8), min(SHAPE[0], y + 9), min(SHAPE[1], x + 9))
        fine = image.rgb(box, (round(box.height) * 3, round(box.width) * 3)).astype(float).sum(2)
        at = np.unravel_index(fine.argmax(), fine.shape)
        assert box.y0 + (at[0] + 0.5) / 3 == pytest.approx(y + 0.5, abs=0.4)
        assert box.x0 + (at[1] + 0.5) / 3 == pytest.approx(x + 0.5, abs=0.4)
        sampled = image.view().sample(np.array([y + 0.5]), np.array([x + 0.5]))
        assert sampled.min() > 0.9
        image.close()


def test_pixels_of_every_level_stand_at_their_centres() -> None:
    """A float ramp y + 0.5: pixel i of a level with downsample d is its centre, d (i + 0.5)."""
    y, x = np.mgrid[:2048, :1024]
    image = image_of(np.stack([y + 0.5, x + 0.5], -1).astype(np.float32), halved=1)
    assert image.stored_levels == 2
    for level, info in enumerate(image.levels_info):
        got = image.window(level, 0, 0, info.height, info.width)
        rows, columns = (info.downsample * (np.arange(n) + 0.5) for n in (info.height, info.width))
        np.testing.assert_allclose(
            got[..., 0], np.broadcast_to(rows[:, None], got.shape[:2]), atol=1e-2
        )
        np.testing.assert_allclose(got[..., 1], np.broadcast_to(columns, got.shape[:2]), atol=1e-2)


@few
@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 16))
def test_points_keep_their_place_across_levels(v: float, u: float, footprint: float) -> None:
    """A ramp that grows along y and x tells where it was read, whatever the footprint."""
    image = ramp()
    y, x = (f * (n - 2 * 16) + 16 for f, n in ((v, image.height), (u, image.width)))
    got = image.view().sample(np.array([y]), np.array([x]), np.array([footprint]))[0] * 255
    # one grey is 8 px (floor: 4 px low), each halving may round by half a grey
    assert got[0] * 8 + 4 == pytest.approx(y, abs=4 + 4 * 2 + 0.1)
    assert got[1] * 8 + 4 == pytest.approx(x, abs=4 + 4 * 2 + 0.1)


_RAMP: list[Image] = []


def ramp() -> Image:
    if not _RAMP:
        y, x = np.mgrid[:2000, :1800]
        _RAMP.append(image_of(np.stack([y // 8, x // 8, 0 * y], -1).astype(np.uint8), halved=2))
    return _RAMP[0]


@few
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0.5, 1e5), st.floats(0.5, 1e5))
def test_boxes_survive_scaling_and_text(y: float, x: float, h: float, w: float) -> None:
    box = Box(y, x, y + h, x + w)
    assert box.scaled(1 / 8).scaled(8) == pytest.approx(box)
    assert Box.parse(box.format()) == pytest.approx(box, rel=1e-4, abs=20)


# ------------------------------------------------------------------ read accounting
def brute_tiles(window: tuple[int, int, int, int], tile: tuple[int, int]) -> set[tuple[int, int]]:
    """Every pixel of a window, asked for its tile."""
    y, x, h, w = window
    return {(r // tile[0], c // tile[1]) for r in range(y, y + h) for c in range(x, x + w)}


def brute_pixels(image: Image, tiles: dict[int, set[tuple[int, int]]]) -> int:
    total = 0
    for level, found in tiles.items():
        info = image.levels_info[level]
        for row, column in found:
            rows = len(range(row * info.tile[0], min((row + 1) * info.tile[0], info.height)))
            total += rows * len(
                range(column * info.tile[1], min((column + 1) * info.tile[1], info.width))
            )
    return total


def tall(halved: int = 1) -> Image:
    return image_of(noise(2200, 330, 1, seed=4), halved=halved, tile=(90, 70))


@few
@given(st.data())
def test_windows_are_counted_exactly(data: st.DataObject) -> None:
    image = tall()
    view = image.view()
    tiles: dict[int, set[tuple[int, int]]] = {}
    pixels = 0
    for _ in range(3):
        level = data.draw(st.integers(0, len(image.levels_info) - 1))
        info = image.levels_info[level]
        y, x = data.draw(st.integers(0, info.height - 1)), data.draw(st.integers(0, info.width - 1))
        h = data.draw(st.integers(1, min(info.height - y, 200)))
        w = data.draw(st.integers(1, min(info.width - x, 200)))
        image.window(level, y, x, h, w, view.reads)
        # a virtual level is made of the stored pixels under it
        stored, factor = (
            min(level, image.stored_levels - 1),
            2 ** max(0, level - image.stored_levels + 1),
        )
        low = image.levels_info[stored]
        window = (y * factor, x * factor, min((y + h) * factor, low.height) - y * factor,
                  min((x + w) * factor, low.width) - x * factor)  # fmt: skip
        tiles.setdefault(stored, set()).update(brute_tiles(window, low.tile))
        pixels += window[2] * window[3]
    for log in (view.reads, image.reads):
        assert log.tiles == tiles
        assert log.pixels_requested == pixels
        assert log.tiles_read == sum(map(len, tiles.values()))
        assert log.pixels_read == brute_pixels(image, tiles)


@few
@given(st.data())
def test_a_region_counts_the_level_pixels_under_its_box(data: st.DataObject) -> None:
    image = tall()
    y0, x0 = data.draw(st.floats(0, 2000)), data.draw(st.floats(0, 300))
    box = Box(y0, x0, y0 + data.draw(st.floats(5, 200)), x0 + data.draw(st.floats(5, 30)))
    factor = data.draw(st.sampled_from([1, 2, 4]))
    size = (max(1, int(box.height / factor)), max(1, int(box.width / factor)))
    view = image.view()
    image.region(box, size, log=view.reads)
    (level,) = view.reads.tiles
    wanted = image.best_level(min(box.height / size[0], box.width / size[1]))
    assert level == min(wanted, image.stored_levels - 1)
    d, d0 = image.downsamples[wanted], image.downsamples[level]
    info, k = image.levels_info[level], round(d / d0)
    rows = (math.floor(box.y0 / d) * k, min(math.ceil(box.y1 / d - 1e-9) * k, info.height))
    columns = (math.floor(box.x0 / d) * k, min(math.ceil(box.x1 / d - 1e-9) * k, info.width))
    window = (rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])
    assert view.reads.tiles[level] == brute_tiles(window, info.tile)
    assert view.reads.pixels_requested == window[2] * window[3]


def test_dense_points_count_their_bounding_window_and_scattered_ones_their_tiles() -> None:
    image = image_of(noise(3000, 3000, 1), halved=2, tile=(100, 100))
    view = image.view()
    y, x = np.meshgrid(np.linspace(210, 390, 40), np.linspace(310, 390, 40), indexing="ij")
    view.sample(y, x)
    window = (209, 309, 182, 82)  # taps at floor(p - 0.5) and one further
    assert view.reads.tiles == {0: brute_tiles(window, (100, 100))}
    assert view.reads.pixels_requested == window[2] * window[3]
    view = image.view()
    corners = np.array([150.0, 2850.0])
    y, x = (a.ravel() for a in np.meshgrid(corners, corners))
    view.sample(y, x)
    assert view.reads.tiles == {0: {(1, 1), (1, 28), (28, 1), (28, 28)}}
    assert view.reads.pixels_read == 4 * 100 * 100


def test_mip_mapped_points_read_the_two_levels_around_their_footprint() -> None:
    image = image_of(noise(900, 900, 3), halved=3, tile=(100, 100))
    view = image.view()
    view.sample(np.array([450.0]), np.array([450.0]), np.array([3.0]))
    assert set(view.reads.tiles) == {1, 2}
    view = image.view()
    view.sample(np.array([450.0]), np.array([450.0]), np.array([4.0]))
    assert set(view.reads.tiles) == {2}  # exactly one level's pixels


def test_dask_levels_read_nothing_until_computed_and_count_what_is_sliced() -> None:
    reader = ArrayReader(noise(2100, 1300), halved=1, tile=(256, 256))
    image = Image(reader)
    view = image.view()
    levels = view.levels
    assert [level.shape for level in levels] == [(2100, 1300, 3), (1050, 650, 3), (525, 325, 3)]
    assert levels[0].dtype == np.uint8
    assert max(levels[0].chunks[0]) == 1024
    assert not reader.reads
    assert view.reads.pixels_requested == 0
    got = levels[0][1000:1100, 500:700].compute(scheduler="synchronous")
    np.testing.assert_array_equal(got, reader.arrays[0][1000:1100, 500:700])
    assert {level for level, *_ in reader.reads} == {0}
    assert view.reads.pixels_requested in (
        100 * 200,
        1024 * 1024 + 76 * 1024,
    )  # fused slice or chunks
    np.testing.assert_array_equal(
        levels[1].compute(scheduler="threads"), image.window(1, 0, 0, 1050, 650)
    )
    np.testing.assert_array_equal(
        levels[2].compute(scheduler="synchronous"), image.window(2, 0, 0, 525, 325)
    )
    # a virtual level was counted on the stored level
    assert set(view.reads.tiles) == {0, 1}


def test_reads_of_views_are_apart_and_the_images_are_all() -> None:
    image = image_of(noise(400, 400), tile=(100, 100))
    one, two = image.view((0, 0, 100, 100)), image.view((300, 300, 400, 400))
    one.read((100, 100))
    two.read((50, 50))
    assert one.reads.tiles == {0: {(0, 0)}}
    assert two.reads.tiles == {0: {(3, 3)}}
    assert image.reads.tiles == {0: {(0, 0), (3, 3)}}
    one.reads.merge(two.reads)
    assert one.reads.tiles_read == 2
    assert one.reads.pixels_requested == 20_000


def test_the_cache_hides_no_read() -> None:
    reader = ArrayReader(noise(200, 200), tile=(100, 100))
    image = Image(reader)
    for _ in range(3):
        image.window(0, 0, 0, 50, 50)
    assert len(reader.reads) == 1
    assert image.reads.pixels_requested == 3 * 2500
    assert image.reads.pixels_read == 10_000


# ------------------------------------------------------------------ cache and threads
@few
@given(st.lists(st.integers(0, 20), max_size=60))
def test_the_cache_keeps_its_bound_and_the_most_recent(keys: list[int]) -> None:
    cache = TileCache(1000)
    model: list[int] = []
    for key in keys:
        size = 100 + 40 * key
        tile = cache.get(key, lambda size=size: np.zeros(size, np.uint8))
        assert tile.nbytes == size
        if key in model:
            model.remove(key)
        model.append(key)
        while sum(100 + 40 * k for k in model) > 1000:
            model.pop(0)
        assert cache.bytes == sum(100 + 40 * k for k in model) <= 1000
        assert list(cache._tiles) == model


def test_a_tile_is_read_once_however_many_threads_want_it() -> None:
    calls: list[int] = []
    cache, started = TileCache(10**6), threading.Barrier(8)

    def compute() -> np.ndarray:
        calls.append(1)
        threading.Event().wait(0.05)
        return np.arange(9)

    def ask() -> None:
        started.wait()
        np.testing.assert_array_equal(cache.get("tile", compute), np.arange(9))

    run_threads([ask] * 8)
    assert len(calls) == 1


def test_a_failed_tile_is_tried_again() -> None:
    cache = TileCache(100)

    def fail() -> np.ndarray:
        raise OSError("bad sector")

    with pytest.raises(OSError, match="bad sector"):
        cache.get("tile", fail)
    assert cache.get("tile", lambda: np.ones(3)).sum() == 3


def run_threads(tasks: list) -> None:
    failed: list[BaseException] = []

    def guard(task: object) -> None:
        try:
            task()  # type: ignore[operator]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guard, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed, failed


def test_threads_read_the_right_pixels_under_a_tiny_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise(1500, 700)
    image = image_of(array, tile=(64, 64))
    small = halve(array)
    monkeypatch.setattr("hrviz.image.image.TILES", TileCache(64 * 64 * 3 * 6))

    def task(seed: int):
        def read() -> None:
            rng = np.random.default_rng(seed)
            for _ in range(8):
                y, x = int(rng.integers(0, 600)), int(rng.integers(0, 250))
                np.testing.assert_array_equal(
                    image.window(0, y, x, 99, 90), array[y : y + 99, x : x + 90]
                )
                np.testing.assert_array_equal(
                    image.window(1, y, x, 99, 90), small[y : y + 99, x : x + 90]
                )

        return read

    run_threads([task(seed) for seed in range(4)])
    assert image.reads.pixels_requested == 4 * 8 * (99 * 90 + 99 * 90 * 4)


def test_decoded_tiles_are_bounded_and_cannot_be_written() -> None:
    assert TILES.bytes <= TILES.max_bytes
    tile = image_of(noise(64, 64)).window(0, 0, 0, 64, 64)
    with pytest.raises(ValueError, match="read-only"):
        tile[0, 0] = 1


# ------------------------------------------------------------------ lazy arrays
def test_level_arrays_index_like_numpy() -> None:
    array = noise(300, 200, 4)
    lazy = image_of(array).arrays[0]
    assert (lazy.shape, lazy.ndim, lazy.dtype, len(lazy)) == (array.shape, 3, array.dtype, 300)
    assert lazy.nbytes == array.nbytes
    keys = [
        (slice(None),), slice(3, 9), 5, -1, (5, 7), (slice(2, 50, 7), slice(None, None, 3)),
        (..., 0), (slice(4, 8), ..., slice(1, 3)), (2, ..., 1), (slice(-20, None), -3, 2),
        (slice(8, 4), slice(None)), np.int64(4), (slice(None, 5), slice(190, 999)), ...,
        (slice(0, 4), slice(0, 4), [0, 2]),
    ]  # fmt: skip
    for key in keys:
        np.testing.assert_array_equal(lazy[key], array[key], err_msg=str(key))
    np.testing.assert_array_equal(np.asarray(lazy), array)
    for bad in (300, (0, 200), (-301, 0), (slice(None, None, -1),), (0, 0, 0, 0)):
        with pytest.raises(IndexError):
            lazy[bad]


def test_a_huge_level_is_never_loaded_whole() -> None:
    huge = open_image("scene:tissue?size=100000x100000").arrays[0]
    with pytest.raises(HrvizError, match="never loaded whole"):
        np.asarray(huge)


# ------------------------------------------------------------------ pickling, display
def test_images_pickle_by_address(tmp_path: Path) -> None:
    path = tmp_path / "spot.png"
    as_png(path, noise(40, 50))
    image = open_image(path)
    again = pickle.loads(pickle.dumps(image))
    assert again.identity == image.identity
    np.testing.assert_array_equal(again.region(again.box), image.region(image.box))
    view = image.view((3, 4, 20, 30))
    lazy = pickle.loads(pickle.dumps(view.levels[0]))
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), image.region(image.box))
    copy = pickle.loads(pickle.dumps(view))
    assert copy.box == view.box
    np.testing.assert_array_equal(copy.read((17, 26)), view.read((17, 26)))


def test_identity_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    as_png(path, noise(10, 10))
    first = open_image(path)
    as_png(path, noise(11, 10, seed=1))
    second = open_image(path)
    assert first.identity != second.identity
    np.testing.assert_array_equal(second.region(second.box), noise(11, 10, seed=1))


def test_repr_and_html_tell_what_it_is() -> None:
    image = image_of(noise(30, 50), pixel_size=0.25)
    assert repr(image).endswith(": 50 x 30 px, 3 channels uint8, 1 levels>")
    page = image._repr_html_()
    for part in ("50 x 30 px", "0.25 um", "data:image/png;base64,", "<table>"):
        assert part in page
    image.name = "<script>alert(1)</script>"
    assert "<script>" not in image._repr_html_()
    assert "of <script>" in repr(image.view())


def display(array: np.ndarray) -> np.ndarray:
    image = image_of(array)
    return image.rgb(image.box)


def test_display_of_every_kind_of_pixel() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    np.testing.assert_array_equal(display(grey), grey[..., None].repeat(3, 2))
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    np.testing.assert_array_equal(display(rgba)[0, :, 0], [255, 127, 0])  # over white
    wide = np.linspace(1000, 3000, 10_000).reshape(100, 100).astype(np.uint16)
    shown = display(wide)
    assert shown.min() == 0
    assert shown.max() == 255
    assert np.diff(shown[..., 0].ravel().astype(int)).min() >= 0
    two = display(np.full((2, 2, 2), 9, np.uint8))
    np.testing.assert_array_equal(two[0, 0], [9, 9, 9])  # green and magenta
    assert display(np.full((2, 2, 7), 9, np.uint8)).shape == (2, 2, 3)


def test_display_of_floats_with_holes() -> None:
    values = np.linspace(-3, 5, 400, dtype=np.float32).reshape(20, 20)
    values[3:5, 3:5] = np.nan
    shown = display(values)
    assert (shown[3:5, 3:5] == 0).all()
    assert shown.max() == 255
    values[0, 0], values[0, 1] = np.inf, -np.inf
    shown = display(values)
    assert shown[0, 0, 0] == 255
    assert shown[0, 1, 0] == 0
    assert display(np.full((4, 4), np.nan, np.float32)).max() == 0


def test_holes_do_not_spread_beyond_the_pixels_they_touch() -> None:
    values = np.ones((8, 8), np.float32)
    values[0:2, 0:2] = np.nan
    got = image_of(values).region((0, 0, 8, 8), (4, 4))[..., 0]
    assert np.isnan(got[0, 0])
    assert np.isfinite(got).sum() == 15


@pytest.mark.parametrize("array", [np.full((5, 5, 1), 1000, np.uint16), np.zeros((1, 1, 3), np.float32),
                                   np.full((1, 1, 3), 7, np.uint8), np.full((300, 1, 1), 5, np.int16)])  # fmt: skip
def test_constant_and_one_pixel_images_are_shown(array: np.ndarray) -> None:
    image = image_of(array)
    assert image.rgb(image.box).shape == (*array.shape[:2], 3)
    assert image.thumbnail(64).shape[2] == 3
    assert max(image.thumbnail(64).shape[:2]) == 64
    assert image._repr_html_()


def test_views_are_cut_to_the_image_and_refused_outside() -> None:
    image = image_of(noise(40, 60))
    assert image.view((-5, -5, 20, 100)).box == (0, 0, 20, 60)
    assert image.view().fit(30) == (20, 30)
    for box in ((50, 0, 60, 10), (-9, -9, 0, 5), (0, 60, 10, 70)):
        with pytest.raises(HrvizError, match="60 x 40 px"):
            image.view(box)
    with pytest.raises(HrvizError):
        image.view((float("nan"), 0, 10, 10))


def test_point_sampling_of_a_huge_region_is_refused_before_reading() -> None:
    view = open_image("scene:tissue?size=100000x100000").view()
    at = np.linspace(10, 99_990, 64)
    with pytest.raises(HrvizError, match="choose sampling 'fair'"):
        view.sample(*np.meshgrid(at, at, indexing="ij"))
    assert view.reads.pixels_requested == 0

"""Tiles: every level covers the plane exactly once, and each tile holds what it should."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from viewer_fakes import FakeImage

from hrviz.geometry import Box
from hrviz.viewer.maps import MapTiles, encode_png, from_index, to_index
from hrviz.viewer.pyramid import Pyramid, TileError
from hrviz.viewer.tiles import ImageTiles, TileLRU


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 5000), width=st.integers(1, 5000), tile=st.sampled_from([64, 240, 512])
)
def test_every_level_covers_the_plane_exactly_once(height: int, width: int, tile: int) -> None:
    pyramid = Pyramid(height, width, tile)
    assert pyramid.grid(0) == (1, 1)
    assert pyramid.downsample(pyramid.top) == 1
    for z in range(pyramid.top + 1):
        rows, columns = pyramid.grid(z)
        windows = [[pyramid.window(z, x, y) for x in range(columns)] for y in range(rows)]
        for line in windows:  # left to right without gap or overlap, to the very edge
            edges = [0] + [w[3] for w in line]
            assert [w[2] for w in line] == edges[:-1] and edges[-1] == width
        edges = [0] + [line[0][1] for line in windows]
        assert [line[0][0] for line in windows] == edges[:-1] and edges[-1] == height
        for y in range(rows):
            for x in range(columns):
                h, w = pyramid.size(z, x, y)
                assert 1 <= h <= tile and 1 <= w <= tile


@pytest.mark.parametrize("at", [(-1, 0, 0), (9, 0, 0), (3, 6, 0), (3, 0, -1), (0, 1, 0)])
def test_a_tile_outside_is_refused(at: tuple[int, int, int]) -> None:
    with pytest.raises(TileError, match="does not exist"):
        Pyramid(2003, 3001, 512).window(*at)


@pytest.mark.parametrize("at", [(3, 1, 1), (3, 5, 3), (2, 0, 1), (0, 0, 0)])
def test_a_tile_is_what_the_image_shows_in_its_box(at: tuple[int, int, int]) -> None:
    image = FakeImage()
    tiles = ImageTiles(image, cache=TileLRU())
    data, mime = tiles.get(*at)
    picture = np.asarray(PILImage.open(io.BytesIO(data))).astype(int)
    y0, y1, x0, x1 = tiles.pyramid.window(*at)
    expected = image.rgb(Box(y0, x0, y1, x1), tiles.pyramid.size(*at)).astype(int)
    assert mime == "image/jpeg"
    assert picture.shape == expected.shape
    assert np.abs(picture - expected)[..., :2].mean() < 8  # JPEG, beside a hard checker


def test_stored_tiles_pass_through_only_where_the_grids_are_the_same() -> None:
    image = FakeImage(stored=512)
    tiles = ImageTiles(image, cache=TileLRU())
    assert tiles.pyramid.levels[-1].tile == (512, 512)
    assert tiles.get(tiles.pyramid.top, 1, 2) == (b"stored 0 2 1", "image/jpeg")
    assert tiles.get(tiles.pyramid.top - 1, 0, 0) == (b"stored 1 0 0", "image/jpeg")
    assert not image.calls
    # the last column is padded in the file: rendered and clipped instead
    assert tiles.get(tiles.pyramid.top, 5, 0)[0].startswith(b"\xff\xd8")
    # small tiles are not worth a request each: made near 512 px, of whole stored tiles
    assert ImageTiles(FakeImage(stored=100)).pyramid.levels[-1].tile == (500, 500)


@settings(max_examples=30, deadline=None)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), seed=st.integers(0, 2**16))
def test_indices_keep_values_to_half_a_step(low: float, span: float, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(low, low + span, (7, 5))
    values[2, 3] = np.nan
    index = to_index(values, low, low + span)
    decoded = np.asarray(PILImage.open(io.BytesIO(encode_png(index))))
    assert np.array_equal(decoded, index)
    back = from_index(decoded, low, low + span)
    assert index[2, 3] == 0 and np.isnan(back[2, 3])
    assert np.nanmax(np.abs(back - values)) <= span / 254 / 2 * (1 + 1e-6) + 1e-9


def test_labels_are_exact() -> None:
    labels = np.arange(255)
    assert np.array_equal(to_index(labels, 0, 254), labels + 1)


@pytest.mark.parametrize("reduce", ["mean", "nearest"])
def test_map_tiles_join_to_the_reduced_raster(reduce: str) -> None:
    array = np.random.default_rng(0).random((701, 530))
    maps = MapTiles(array, Box(0, 0, 7010, 5300), 0, 1, reduce=reduce)  # type: ignore[arg-type]
    for z in range(maps.pyramid.top + 1):
        rows, columns = maps.pyramid.grid(z)
        joined = np.block([[maps.values(z, x, y) for x in range(columns)] for y in range(rows)])
        d = maps.pyramid.downsample(z)
        assert joined.shape == (-(-701 // d), -(-530 // d))
        block = array[:d, :d]
        expected = block.mean() if reduce == "mean" else array[d // 2, d // 2]
        assert joined[0, 0] == pytest.approx(expected)


def test_the_mean_ignores_no_data() -> None:
    array = np.full((512, 512), np.nan)
    array[0, 0] = 3.0
    values = MapTiles(array, Box(0, 0, 1, 1), 0, 4).values(0, 0, 0)
    assert values[0, 0] == 3.0 and np.isnan(values[0, 1])


def test_a_lazy_map_is_read_by_windows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy:
        shape = (20_000, 30_000)
        largest = 0

        def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
            shape = tuple(len(range(*k.indices(n))) for k, n in zip(key, self.shape, strict=True))
            self.largest = max(self.largest, shape[0] * shape[1])
            return np.zeros(shape, np.float32)

    monkeypatch.setattr("hrviz.viewer.maps.STRIP_BYTES", 2**20)
    lazy = Lazy()
    maps = MapTiles(lazy, Box(0, 0, 20_000, 30_000), 0, 1)
    assert maps.values(maps.pyramid.top, 3, 3).shape == (256, 256)
    assert lazy.largest == 256 * 256
    maps.values(maps.pyramid.top - 3, 0, 0)
    assert lazy.largest * 8 <= 2**20


def test_the_cache_is_bounded_and_makes_a_tile_once_at_a_time() -> None:
    cache = TileLRU(max_bytes=1000)
    for i in range(50):
        cache.get(i, lambda: (bytes(90), "x"))
    assert cache.bytes <= 1000 and len(cache) == 11
    made = []

    def slow() -> tuple[bytes, str]:
        made.append(1)
        time.sleep(0.05)
        return b"tile", "x"

    threads = [threading.Thread(target=cache.get, args=("same", slow)) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(made) == 1


def test_a_failed_tile_is_not_kept() -> None:
    cache = TileLRU()

    def broken() -> tuple[bytes, str]:
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        cache.get("a", broken)
    assert cache.get("a", lambda: (b"ok", "x")) == (b"ok", "x")

"""GeoTIFF: pixels against what rasterio was given or reads itself, places against their projection."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PILImage

import hrviz
from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import assert_reads, picture, windows

rasterio = pytest.importorskip("rasterio")
from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.transform import Affine, from_origin  # noqa: E402

UTM = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_200_000, 10, 10)}
RealData = Callable[[str], Path]


def write(path: Path, bands: np.ndarray, driver: str = "GTiff", **options: Any) -> Path:
    """A file of `bands` (band, y, x)."""
    mask = options.pop("mask", None)
    descriptions = options.pop("descriptions", ())
    colours = options.pop("colours", None)
    colormap = options.pop("colormap", None)
    count, height, width = bands.shape
    profile = UTM | {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver=driver, **(profile | options)) as file,
    ):
        if colours:
            file.colorinterp = colours
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
        if colormap:
            file.write_colormap(1, colormap)
        for number, text in enumerate(descriptions, 1):
            file.set_band_description(number, text)
    return path


def last(bands: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(bands, 0, -1))


def rgb(height: int = 150, width: int = 210, bands: int = 3) -> np.ndarray:
    return np.moveaxis(picture(height, width, bands), -1, 0)


def opened(path: Path) -> Any:
    reader = open_reader(path)
    assert type(reader).__name__ == "GeoTiffReader", reader.metadata
    return reader


def test_cog_levels_are_its_overviews(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", rgb(1100, 1300), "COG", blocksize=256, compress="deflate")
    reader = opened(path)
    assert [level.downsample for level in reader.levels] == [1, 2, 4, 8]
    assert {level.tile for level in reader.levels} == {(256, 256)}
    with tifffile.TiffFile(path) as stored:
        assert_reads(reader, tuple(level.asarray() for level in stored.series[0].levels))
    np.testing.assert_array_equal(reader.read(0, 0, 0, 1100, 1300), last(rgb(1100, 1300)))
    assert reader.metadata["format"] == "GeoTIFF, tiles of 256 x 256, compression deflate"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {}])
def test_numbers_come_as_stored(tmp_path: Path, dtype: str, layout: dict[str, Any]) -> None:
    grey = (rgb(130, 190, 1).astype(np.float64) * 113.5 - 9000 * (dtype[0] != "u")).astype(dtype)
    path = write(tmp_path / "a.tif", grey, compress="lzw", **layout)
    reader = opened(path)
    assert reader.dtype == dtype
    assert_reads(reader, (last(grey),))


def test_place(tmp_path: Path) -> None:
    reader = opened(write(tmp_path / "a.tif", rgb(100, 200)))
    assert reader.pixel_size == pytest.approx(10e6)
    extent = reader.extent
    assert extent.crs == "EPSG:32633"
    assert extent.transform == (10, 0, 500_000, 0, -10, 5_200_000)
    assert extent.bounds == (500_000, 5_199_000, 502_000, 5_200_000)
    west, south, east, north = extent.geographic
    # UTM's central meridian is where easting is 500 km; a degree of latitude is about 111.2 km
    assert west == pytest.approx(15, abs=0.001)
    assert east - west == pytest.approx(2 / (111.32 * math.cos(math.radians(46.95))), rel=0.01)
    assert north - south == pytest.approx(1 / 111.2, rel=0.01)
    assert north == pytest.approx(46.95, abs=0.02)
    facts = hrviz.open(tmp_path / "a.tif").facts()
    assert facts["ground sampling distance"] == "10 m"
    assert facts["pixel size"] == "10 m (image 2 km x 1 km)"
    assert "EPSG:32633" in facts["extent"]


def test_rotated(tmp_path: Path) -> None:
    turned = Affine.translation(1000, 2000) * Affine.rotation(30) * Affine.scale(0.5, -0.5)
    reader = opened(write(tmp_path / "a.tif", rgb(40, 80), transform=turned))
    assert reader.pixel_size == pytest.approx(0.5e6)
    corners = [turned * c for c in ((0, 0), (80, 0), (0, 40), (80, 40))]
    east, north = zip(*corners, strict=True)
    assert reader.extent.bounds == pytest.approx((min(east), min(north), max(east), max(north)))
    assert reader.extent.transform == pytest.approx(tuple(turned)[:6])
    assert_reads(reader, (last(rgb(40, 80)),))


@pytest.mark.parametrize(
    ("options", "size", "told"),
    [
        ({"crs": "EPSG:2263"}, 0.3048e6 * 1200 / 3937 / 0.3048 * 10, "3.05 m"),  # US survey feet
        (
            {"crs": "EPSG:3857", "transform": from_origin(0, 8_399_738, 1, 1)},
            1e6,
            "0.5 m (Web Mercator: 1 m)",
        ),
        (
            {"crs": "EPSG:4326", "transform": from_origin(10, 60, 0.001, 0.001)},
            None,
            "0.001 x 0.001 degrees, about 55.7 m x 111 m at the middle",
        ),
        ({"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 0.3, 0.3)}, 0.3e6, "0.3 m"),
        ({"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 30, 15)}, 22.5e6, "30 m x 15 m"),
    ],
)
def test_ground_sampling(
    tmp_path: Path, options: dict[str, Any], size: float | None, told: str
) -> None:
    reader = opened(write(tmp_path / "a.tif", rgb(20, 20), **options))
    assert reader.pixel_size == (None if size is None else pytest.approx(size))
    assert reader.metadata["ground sampling distance"] == told


def test_without_a_projection(tmp_path: Path) -> None:
    reader = opened(write(tmp_path / "a.tif", rgb(20, 20), crs=None))
    assert reader.pixel_size is None
    assert reader.extent.crs == "unknown system"
    assert reader.extent.geographic is None


@pytest.mark.parametrize("bands", [1, 3])
def test_mask_becomes_alpha(tmp_path: Path, bands: int) -> None:
    colour, mask = rgb(200, 300, bands), np.full((200, 300), 255, np.uint8)
    mask[50:90, 100:] = 0
    path = write(tmp_path / "a.tif", colour, mask=mask, tiled=True, blockxsize=64, blockysize=64)
    grey = np.repeat(last(colour), 3 // bands, axis=2)
    assert_reads(opened(path), (np.concatenate([grey, mask[..., None]], axis=2),))
    assert not Path(f"{path}.msk").exists()


def test_alpha_band(tmp_path: Path) -> None:
    bands = rgb(80, 90, 4)
    path = write(tmp_path / "a.tif", bands, photometric="rgb", alpha="yes")
    assert_reads(opened(path), (last(bands),))


def test_nodata_of_bytes_is_transparent(tmp_path: Path) -> None:
    bands = rgb(80, 90)
    bands[:, 10:20] = 0
    bands[0, 40:50] = 0  # valid: only one band is zero
    alpha = np.full((80, 90, 1), 255, np.uint8)
    alpha[10:20] = 0
    reader = opened(write(tmp_path / "a.tif", bands, nodata=0))
    assert_reads(reader, (np.concatenate([last(bands), alpha], axis=2),))
    assert reader.metadata["no data"] == "nodata value 0, shown as transparent"


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"),
    [
        ("float32", -9999, "float32"),
        ("float32", float("nan"), "float32"),
        ("int16", -32768, "float32"),
        ("uint16", 0, "float32"),
        ("int32", -1, "float64"),
    ],
)
def test_nodata_of_measurements_is_nan(
    tmp_path: Path, dtype: str, nodata: float, expected: str
) -> None:
    heights = (picture(80, 90, 1)[..., 0].astype(np.float64) * 12 + 1).astype(dtype)
    heights[20:40, 5:9] = nodata
    reader = opened(write(tmp_path / "a.tif", heights[None], nodata=nodata))
    full = heights.astype(expected)
    full[20:40, 5:9] = np.nan
    assert_reads(reader, (full[..., None],))
    low, high = hrviz.open(tmp_path / "a.tif").display_range
    assert low > 0
    assert high < 255 * 12 + 2


def test_palette(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(0, 6, (1, 60, 70)).astype(np.uint8)
    table = {i: (*(int(v) for v in rng.integers(0, 256, 3)), 255) for i in range(6)}
    colours = np.array([table[i] for i in range(6)], np.uint8)
    reader = opened(write(tmp_path / "a.tif", index, colormap=table))
    assert_reads(reader, (colours[index[0]][..., :3],))
    with_nodata = opened(write(tmp_path / "b.tif", index, colormap=table, nodata=2))
    colours[2, 3] = 0
    got = with_nodata.read(0, 0, 0, 60, 70)
    np.testing.assert_array_equal(got[..., 3], colours[index[0]][..., 3])
    shown = index[0] != 2
    np.testing.assert_array_equal(got[shown], colours[index[0]][shown])


def test_bilevel_and_white_is_zero(tmp_path: Path) -> None:
    bits = (picture(50, 60, 1)[..., 0] > 127).astype(np.uint8)[None]
    black_white = np.repeat(last(bits) * 255, 3, axis=2)  # GDAL tells it as a palette
    assert_reads(opened(write(tmp_path / "a.tif", bits, nbits=1)), (black_white,))
    grey = rgb(50, 60, 1)
    path = write(tmp_path / "b.tif", grey, photometric="miniswhite")
    assert_reads(opened(path), (255 - last(grey),))


def test_six_bands(tmp_path: Path) -> None:
    bands = rgb(70, 80, 6).astype(np.uint16) * 40
    names = ("coastal", "Blue", "green", "RED", "", "swir")
    reader = opened(write(tmp_path / "a.tif", bands, descriptions=names, interleave="band"))
    assert_reads(reader, (last(bands),))
    info = reader.channel_info
    assert [c.name for c in info] == ["coastal", "Blue", "green", "RED", "band 5", "swir"]
    assert [c.active for c in info] == [False, True, True, True, False, False]
    assert [info[i].colour for i in (3, 2, 1)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert len({c.colour for c in info}) == 6
    plain = opened(write(tmp_path / "b.tif", bands)).channel_info
    assert [c.active for c in plain] == [True, True, True, False, False, False]
    assert plain[0].colour == (255, 0, 0)


def test_four_bands_without_alpha_are_no_rgba(tmp_path: Path) -> None:
    bands = rgb(40, 50, 4)
    four = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
    path = write(tmp_path / "a.tif", bands, colours=four, descriptions=("", "", "", "infrared"))
    reader = opened(path)
    assert_reads(reader, (last(bands),))
    assert [c.active for c in reader.channel_info] == [True, True, True, False]
    masked = opened(write(tmp_path / "b.tif", bands, colours=four, nodata=7))
    full = last(bands).astype(np.float32)
    full[full == 7] = np.nan
    assert_reads(masked, (full,))


def test_bands_stored_backwards(tmp_path: Path) -> None:
    bands = rgb(40, 50)
    order = (ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    path = write(tmp_path / "a.tif", bands, colours=order, photometric="minisblack")
    assert_reads(opened(path), (last(bands[::-1]),))


def test_real_cog(real_data: RealData) -> None:
    path = real_data("rasterio_cogeo.tif")
    reader = opened(path)
    assert (len(reader.levels), reader.channels) == (7, 4)
    assert reader.metadata["ground sampling distance"] == "0.473 m (Web Mercator: 0.597 m)"
    for number, level in enumerate(reader.levels):
        options = {"overview_level": number - 1} if number else {}
        with rasterio.open(path, **options) as oracle:
            full = last(np.concatenate([oracle.read(), oracle.dataset_mask()[None]]))
        for y, x, h, w in windows(level.height, level.width):
            np.testing.assert_array_equal(
                reader.read(number, y, x, h, w), full[y : y + h, x : x + w]
            )


def test_real_landsat(real_data: RealData) -> None:
    path = real_data("rasterio_landsat_RGB.byte.tif")
    reader = opened(path)
    with rasterio.open(path) as oracle:
        full = last(np.concatenate([oracle.read(), oracle.dataset_mask()[None]]))
        bounds = tuple(oracle.bounds)
    assert_reads(reader, (full,))
    assert reader.extent.crs == "EPSG:32618"
    assert reader.extent.bounds == pytest.approx(bounds)
    assert reader.metadata["ground sampling distance"] == "300 m"
    assert reader.pixel_size == pytest.approx(300.04e6, rel=1e-4)


def test_jpeg_tiles_pass_through_where_nothing_is_masked(tmp_path: Path) -> None:
    colour, mask = rgb(512, 512), np.full((512, 512), 255, np.uint8)
    mask[300, 400] = 0
    jpeg = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True}
    size = {"blockxsize": 256, "blockysize": 256}
    reader = opened(write(tmp_path / "a.tif", colour, mask=mask, **jpeg, **size))
    tile = reader.compressed_tile(0, 0, 1)
    assert tile is not None
    assert tile[1] == "image/jpeg"
    shown = np.asarray(PILImage.open(io.BytesIO(tile[0]))).astype(int)
    assert np.abs(shown - reader.read(0, 0, 256, 256, 256)[..., :3]).mean() < 1.5
    assert reader.compressed_tile(0, 1, 1) is None
    assert opened(write(tmp_path / "b.tif", colour, **size)).compressed_tile(0, 0, 0) is None


def test_threads(tmp_path: Path) -> None:
    full = rgb(600, 700)
    path = write(tmp_path / "a.tif", full, "COG", blocksize=128, compress="zstd")
    reader, whole = opened(path), last(full)
    places = [(y, x) for y in range(0, 500, 50) for x in range(0, 600, 60)]
    with ThreadPoolExecutor(12) as pool:
        got = list(pool.map(lambda p: reader.read(0, *p, 90, 80), places))
    for (y, x), pixels in zip(places, got, strict=True):
        np.testing.assert_array_equal(pixels, whole[y : y + 90, x : x + 80])
    assert len(reader._free) <= 4
    reader.close()
    with pytest.raises(HrvizError, match="closed"):
        reader.read(0, 0, 0, 1, 1)


def test_sidecar_files_are_not_looked_at(tmp_path: Path) -> None:
    """A foreign .aux.xml, .tfw or .ovr beside the file changes nothing."""
    path = write(tmp_path / "a.tif", rgb(300, 300))
    expected = opened(path).extent
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n5\n5\n")
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>1,1,0,1,0,1</GeoTransform></PAMDataset>"
    )
    tifffile.imwrite(tmp_path / "a.tif.ovr", np.zeros((150, 150, 3), np.uint8), subfiletype=1)
    reader = opened(path)
    assert reader.extent == expected
    assert len(reader.levels) == 1


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", rgb(60, 70))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    reader = open_reader(path)
    assert type(reader).__name__ == "TiffReader"
    assert "pip install 'hrviz[formats]'" in reader.metadata["georeference"]
    assert_reads(reader, (last(rgb(60, 70)),))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "a.tif", rgb(300, 300), "COG", compress="deflate", blocksize=128)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(HrvizError, match="truncated"):
        open_reader(path)


def test_damaged_tile_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    path = write(tmp_path / "a.tif", rgb(128, 128), **options)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[3]
    data = bytearray(path.read_bytes())
    data[offset : offset + 60] = b"\xff" * 60
    path.write_bytes(data)
    reader = opened(path)
    with pytest.raises(HrvizError, match="level 0, window of 10 x 20 at row 70, column 80"):
        reader.read(0, 70, 80, 20, 10)
    np.testing.assert_array_equal(reader.read(0, 0, 0, 60, 60), last(rgb(128, 128))[:60, :60])
    assert capfd.readouterr().err == ""


def test_damaged_headers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Random bytes in the directory: it reads, or says one sentence, and nothing on stderr."""
    path = write(tmp_path / "a.tif", rgb(64, 64), nodata=3, compress="lzw")
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.offset
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(start, min(start + 400, len(data)), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            reader = open_reader(path)
            for number, level in enumerate(reader.levels):
                reader.read(number, 0, 0, min(level.height, 64), min(level.width, 64))
            reader.close()
        except HrvizError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


def test_complex_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, 8, 8), np.complex64))
    with pytest.raises(HrvizError, match=r"float32|8 or 16 bit"):
        open_reader(path)


def test_pieces_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", rgb(300, 300), compress="deflate", blockysize=300)
    monkeypatch.setenv("HRVIZ_MAX_PIXELS", "20000")
    with pytest.raises(HrvizError, match="HRVIZ_MAX_PIXELS"):
        open_reader(path)

"""Slides and real files: windows against OpenSlide, tifffile and Pillow."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hrviz.image.readers import open_reader

from .conftest import assert_reads, picture, windows

RealData = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("large_image_yb10kx5k.zstd.tiff", 5),
        ("openslide_boxes.tiff", 4),
        ("rasterio_cogeo.tif", 7),
        ("rasterio_landsat_RGB.byte.tif", 1),
    ],
)
def test_real_tiff(real_data: RealData, name: str, levels: int) -> None:
    path = real_data(name)
    reader = open_reader(path)
    assert len(reader.levels) == levels
    assert [level.downsample for level in reader.levels] == [2**i for i in range(levels)]
    with tifffile.TiffFile(path) as tiff:
        for number in range(levels):
            full = tiff.series[0].levels[number].asarray()
            level = reader.levels[number]
            for y, x, h, w in windows(level.height, level.width)[3:]:
                # georeferenced: an alpha beside RGB, and GDAL's JPEG decoder rounds differently
                got = reader.read(number, y, x, h, w)[..., :3].astype(int)
                apart = np.abs(got - full[y : y + h, x : x + w])
                assert apart.max() <= (12 if name == "rasterio_cogeo.tif" else 0)
                assert apart.mean() < 1


def test_real_slide(real_data: RealData) -> None:
    openslide = pytest.importorskip("openslide")
    path = real_data("CMU-1-Small-Region.svs")
    reader = open_reader(path)
    assert (reader.levels[0].height, reader.levels[0].width) == (2967, 2220)
    assert reader.levels[0].tile == (240, 240)
    assert reader.pixel_size == pytest.approx(0.499)
    assert reader.metadata["vendor"] == "aperio"
    assert reader.metadata["objective"] == "20 x"
    assert reader.metadata["associated images"] == "label, macro, thumbnail"
    slide = openslide.OpenSlide(str(path))
    for y, x, h, w in windows(2967, 2220, 10)[3:]:
        oracle = np.asarray(slide.read_region((x, y), 0, (w, h)))[..., :3]
        np.testing.assert_array_equal(reader.read(0, y, x, h, w), oracle)


def test_real_slide_through_openslide_itself(real_data: RealData) -> None:
    """The way all other vendors' slides are read, on the same file."""
    pytest.importorskip("openslide")
    path = real_data("CMU-1-Small-Region.svs")
    reader = open_reader(path)
    expected = {w: reader.read(0, *w) for w in windows(2967, 2220, 5)[3:]}
    reader._pixels = None  # type: ignore[attr-defined]
    for window, pixels in expected.items():
        np.testing.assert_array_equal(reader.read(0, *window), pixels)
    assert reader.compressed_tile(0, 0, 0) is None


def test_slide_levels_are_exact(tmp_path: Path) -> None:
    """Sizes rounded down make OpenSlide's factors 4.001: through it coarse windows are a blend."""
    pytest.importorskip("openslide")
    full = picture(1153, 1357)
    levels = [full, full[:1152:4, :1356:4], full[:1152:16, :1344:16]]
    path = tmp_path / "a.svs"
    text = "Aperio Image Library v1\r\n1357x1153 (256x256) JPEG/RGB Q=95|AppMag = 40|MPP = 0.25"
    options = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(levels[0], description=text, **options)  # type: ignore[arg-type]
        tiff.write(full[::8, ::8], description=text, photometric="rgb", rowsperstrip=16)
        for level in levels[1:]:
            tiff.write(level, description=text, **options)  # type: ignore[arg-type]
    reader = open_reader(path)
    assert reader.metadata["vendor"] == "aperio"
    assert [level.downsample for level in reader.levels] == [1, 4, 16]
    with tifffile.TiffFile(path) as stored:
        assert_reads(reader, tuple(level.asarray() for level in stored.series[0].levels))
    exact = [reader.read(i, 20, 30, 40, 40).astype(int) for i in range(3)]
    reader._pixels = None  # type: ignore[attr-defined]
    for number, pixels in enumerate(exact):
        through = reader.read(number, 20, 30, 40, 40)
        assert np.abs(through - pixels).mean() < (4 if number else 1e-9)


def test_real_slide_tiles_pass_through(real_data: RealData) -> None:
    """Aperio's RGB JPEG tiles, marked so that every JPEG decoder shows the right colours."""
    reader = open_reader(real_data("CMU-1-Small-Region.svs"))
    for row, column in ((0, 0), (5, 3), (11, 8)):
        tile = reader.compressed_tile(0, row, column)
        assert tile is not None
        shown = np.asarray(Image.open(io.BytesIO(tile[0]))).astype(int)
        assert np.abs(shown - reader.read(0, row * 240, column * 240, 240, 240)).mean() < 1.5
    assert reader.compressed_tile(0, 12, 0) is None


def test_slide_without_openslide(real_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SVS is a TIFF inside; tifffile reads it, with its pixel size."""
    path = real_data("CMU-1-Small-Region.svs")
    expected = open_reader(path).read(0, 1000, 700, 300, 200)
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.delitem(sys.modules, "hrviz.image.readers.slide", raising=False)
    reader = open_reader(path)
    assert type(reader).__name__ == "TiffReader"
    assert reader.pixel_size == pytest.approx(0.499)
    np.testing.assert_array_equal(reader.read(0, 1000, 700, 300, 200), expected)


@pytest.mark.parametrize("name", ["basemap_bmng.jpg", "coral_cat_1080p.jpg"])
def test_real_jpeg(real_data: RealData, name: str) -> None:
    path = real_data(name)
    reader = open_reader(path)
    with Image.open(path) as image:
        full = np.asarray(image)
    for y, x, h, w in windows(*full.shape[:2], 4):
        np.testing.assert_array_equal(reader.read(0, y, x, h, w), full[y : y + h, x : x + w])
    oracle = Image.fromarray(full)
    for number, level in enumerate(reader.levels[1:], 1):
        got = reader.read(number, 0, 0, level.height, level.width).astype(int)
        assert np.abs(got - np.asarray(oracle.reduce(int(level.downsample)))).mean() < 3

"""Windows against full decodes by other means: tifffile, Pillow and OpenSlide are the oracles."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import RASTERS, TIFFS, Written, assert_reads, picture, windows

RealData = Callable[[str], Path]


def test_tiff_windows(any_tiff: Written) -> None:
    reader = open_reader(any_tiff.path)
    assert len(reader.levels) == len(any_tiff.levels)
    assert_reads(reader, any_tiff.levels)
    assert reader.pixel_size == pytest.approx(any_tiff.pixel_size)
    reader.close()


def test_raster_windows(any_raster: Written) -> None:
    reader = open_reader(any_raster.path)
    assert_reads(reader, any_raster.levels)
    assert reader.pixel_size is None


def test_levels_and_tiles(pyramid: Written) -> None:
    reader = open_reader(str(pyramid.path))
    assert [level.downsample for level in reader.levels] == [1, 2, 4]
    assert {level.tile for level in reader.levels} == {(64, 80)}
    assert reader.uri == str(pyramid.path)
    assert reader.name == "pyramid.tif"
    assert "zlib" in reader.metadata["format"] or "deflate" in reader.metadata["format"]


def test_fetch_sizes(tmp_path: Path) -> None:
    """Plain strips are windows for free; compressed thin strips come in blocks of about 64 rows."""
    plain = open_reader(TIFFS["strips-plain"](tmp_path / "a.tif").path)
    assert plain.levels[0].tile == (150, 210)
    thin = open_reader(TIFFS["strips-lzw"](tmp_path / "b.tif").path)
    assert thin.levels[0].tile == (63, 210)
    assert "slow" in thin.metadata["layout"]


def test_huge_strip_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = np.tile(picture(100, 100), (21, 21, 1))
    path = tmp_path / "strip.tif"
    tifffile.imwrite(path, full, rowsperstrip=len(full), compression="zlib")
    reader = open_reader(path)
    assert reader.levels[0].tile == (1024, 1024)
    decoded = []
    bytes_of = reader._bytes  # type: ignore[attr-defined]
    monkeypatch.setattr(reader, "_bytes", lambda *a: decoded.append(1) or bytes_of(*a))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda y: reader.read(0, y, y, 64, 64), range(0, 2000, 200)))
    assert len(decoded) == 1
    for y, part in zip(range(0, 2000, 200), parts, strict=True):
        np.testing.assert_array_equal(part, full[y : y + 64, y : y + 64])


def test_other_axes_are_told(tmp_path: Path) -> None:
    stack = open_reader(TIFFS["imagej-tzcyx"](tmp_path / "stack.tif").path)
    assert "first of T, Z" in stack.metadata["axes"]


@pytest.mark.parametrize(("dpi", "expected"), [(72, None), (96, None), (1200, 25400 / 1200)])
def test_resolution_in_inches(tmp_path: Path, dpi: int, expected: float | None) -> None:
    """72 and 96 dpi are what writers put without knowing; others count."""
    path = tmp_path / "dpi.tif"
    tifffile.imwrite(path, picture(20, 20), resolution=(dpi, dpi), resolutionunit="INCH")
    reader = open_reader(path)
    assert reader.pixel_size == pytest.approx(expected)
    assert ("resolution" in reader.metadata) == (expected is None)


def test_many_threads(pyramid: Written) -> None:
    reader = open_reader(pyramid.path)
    jobs = [w for seed in range(8) for w in windows(301, 405, 8, seed)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda w: reader.read(0, *w), jobs))
    for (y, x, h, w), part in zip(jobs, got, strict=True):
        np.testing.assert_array_equal(part, pyramid.levels[0][y : y + h, x : x + w])


def test_identity_follows_the_file(tmp_path: Path) -> None:
    path = RASTERS["rgb.png"](tmp_path / "a.png").path
    link = tmp_path / "link.png"
    link.symlink_to(path)
    before = open_reader(path).identity
    assert open_reader(link).identity == before
    RASTERS["rgba.png"](path)
    assert open_reader(path).identity != before


def test_home_and_path_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RASTERS["rgb.png"](tmp_path / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_reader("~/a.png").name == "a.png"
    assert open_reader(Path("~/a.png")).name == "a.png"


def test_content_goes_before_suffix(tmp_path: Path) -> None:
    """A PNG that calls itself .svs, a TIFF that calls itself .jpg."""
    png = TIFFS["bigtiff"](tmp_path / "a.jpg")
    assert_reads(open_reader(png.path), png.levels)
    RASTERS["rgb.png"](tmp_path / "b.png").path.rename(tmp_path / "b.svs")
    assert open_reader(tmp_path / "b.svs").metadata["format"].startswith("PNG")


def test_raster_opens_by_its_header_alone(tmp_path: Path) -> None:
    path = RASTERS["rgb.png"](tmp_path / "a.png").path
    path.write_bytes(path.read_bytes()[:80])
    assert open_reader(path).levels[0].width == 210


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize("size", [(517, 1031), (512, 1024)])
def test_jpeg_coarse_levels_lie_on_the_fine_one(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    path = tmp_path / "a.jpg"
    image = Image.fromarray(picture(*size))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=90, exif=exif, subsampling=2)
    reader = open_reader(path)
    full = reader.levels[0]
    pixels = Image.fromarray(reader.read(0, 0, 0, full.height, full.width))
    assert len(reader.levels) == (3 if orientation == 1 or size == (512, 1024) else 1)
    for number, level in enumerate(reader.levels):
        reduced = np.asarray(pixels.reduce(int(level.downsample))).astype(int)
        got = reader.read(number, 0, 0, level.height, level.width)
        assert got.shape == reduced.shape
        assert np.abs(got - reduced).mean() < 3


def test_jpeg_tiles_pass_through(tmp_path: Path) -> None:
    """YCbCr tiles with shared tables become files; overhanging tiles are left to `read`."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(150, 210), tile=(64, 64), compression="jpeg", photometric="rgb")
    reader = open_reader(path)
    tile = reader.compressed_tile(0, 1, 2)
    assert tile is not None
    assert tile[1] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(tile[0]))).astype(int)
    assert np.abs(shown - reader.read(0, 64, 128, 64, 64)).mean() < 1.5
    assert reader.compressed_tile(0, 2, 0) is None
    assert reader.compressed_tile(0, 0, 3) is None
    plain = open_reader(TIFFS["bigtiff"](tmp_path / "b.tif").path)
    assert plain.compressed_tile(0, 0, 0) is None


def test_closed_reader_says_so(pyramid: Written, tmp_path: Path) -> None:
    plain = TIFFS["strips-plain"](tmp_path / "p.tif")
    png = RASTERS["rgb.png"](tmp_path / "p.png")
    for written in (pyramid, plain, png):
        reader = open_reader(written.path)
        reader.close()
        reader.close()
        with pytest.raises(HrvizError, match="closed"):
            reader.read(0, 0, 0, 4, 4)


def test_import_stays_light() -> None:
    """Nothing heavy before a file is opened."""
    code = (
        "import sys, hrviz.image.readers\n"
        "print([m for m in ('tifffile', 'openslide', 'zarr', 'PIL', 'imagecodecs') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

"""JPEG 2000: windows against the array encoded, resolutions against Pillow's own decoder."""

from __future__ import annotations

import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import assert_reads, picture, windows

imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'hrviz[formats]'")


def encoded(path: Path, array: np.ndarray, **options: Any) -> Path:
    kind = "j2k" if path.suffix == ".j2k" else "jp2"
    path.write_bytes(
        imagecodecs.jpeg2k_encode(array, level=0, reversible=True, codecformat=kind, **options)
    )
    return path


def refusal(path: Path) -> str:
    with pytest.raises(HrvizError) as caught:
        reader = open_reader(path)
        for number, level in enumerate(reader.levels):
            reader.read(number, 0, 0, level.height, level.width)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path.parent.parent) not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_windows(tmp_path: Path, suffix: str, channels: int, dtype: type) -> None:
    full = picture(201, 305, channels).astype(dtype)
    if dtype is np.uint16:
        full = full * np.uint16(257)
    array = full[..., 0] if channels == 1 else full
    reader = open_reader(encoded(tmp_path / f"a.{suffix}", array))
    assert reader.dtype == dtype
    assert_reads(reader, (full,))
    assert f"{8 * full.itemsize} bit" in reader.metadata["format"]
    assert reader.pixel_size is None
    assert reader.extent is None


def test_resolutions_are_the_files_own(tmp_path: Path) -> None:
    full = picture(1088, 1280)
    path = encoded(tmp_path / "a.jp2", full)
    reader = open_reader(path)
    assert [level.downsample for level in reader.levels] == [1, 2, 4, 8, 16]
    assert max(reader.levels[0].tile) <= 1024
    for number, level in enumerate(reader.levels):
        with Image.open(path) as oracle:
            oracle.reduce = number  # type: ignore[assignment]
            expected = np.asarray(oracle)
        assert expected.shape == (level.height, level.width, 3)
        for y, x, h, w in windows(level.height, level.width, 4):
            np.testing.assert_array_equal(
                reader.read(number, y, x, h, w), expected[y : y + h, x : x + w]
            )


def test_tiled(tmp_path: Path) -> None:
    """As Pillow writes tiles."""
    full = picture(700, 900)
    Image.fromarray(full).save(tmp_path / "a.jp2", tile_size=(256, 256), irreversible=False)
    reader = open_reader(tmp_path / "a.jp2")
    assert reader.levels[0].tile == (256, 256)
    assert_reads(reader, (full,))


def test_grey_with_opacity(tmp_path: Path) -> None:
    grey, alpha = picture(70, 90, 2).transpose(2, 0, 1)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    image.save(tmp_path / "a.jp2")
    reader = open_reader(tmp_path / "a.jp2")
    assert reader.channels == 4
    assert_reads(reader, (np.stack([grey, grey, grey, alpha], axis=-1),))


def test_only_the_window_is_decoded(tmp_path: Path) -> None:
    """A codestream that says 30,000 x 30,000 and holds nothing: a window costs a window."""
    path = encoded(tmp_path / "a.j2k", picture(64, 64, 1)[..., 0])
    resized(path, 30_000)
    reader = open_reader(path)
    assert reader.levels[0].height == 30_000
    assert len(reader.levels) == 4
    try:
        reader.read(0, 29_000, 29_000, 100, 100)
    except HrvizError as error:
        assert "cannot be decoded" in str(error)


def resized(path: Path, side: int) -> None:
    """Write another image and tile size into a codestream's header."""
    data = bytearray(path.read_bytes())
    data[8:16] = data[24:32] = struct.pack(">II", side, side)
    path.write_bytes(data)


def test_header_that_would_take_all_memory(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.j2k", picture(64, 64, 1)[..., 0])
    resized(path, 2**31 - 1)
    assert "code-blocks" in refusal(path)
    resized(path, 20_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\x52")
    data[at + 10 : at + 12] = b"\0\0"  # code-blocks of 4 x 4
    path.write_bytes(data)
    assert "code-blocks" in refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
def test_truncated_is_never_half_a_picture(tmp_path: Path, suffix: str, share: float) -> None:
    path = encoded(tmp_path / f"a.{suffix}", picture(600, 700))
    data = path.read_bytes()
    path.write_bytes(data[: max(20, int(len(data) * share))])
    assert "truncated" in refusal(path)


def test_damaged_headers_never_leave_a_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for suffix in ("jp2", "j2k"):
        path = encoded(tmp_path / f"a.{suffix}", picture(150, 140))
        whole = path.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for at in rng.integers(12, 200, 2):
                data[at] = rng.integers(256)
            path.write_bytes(data)
            try:
                reader = open_reader(path)
                for number, level in enumerate(reader.levels):
                    reader.read(number, 0, 0, min(level.height, 90), min(level.width, 90))
                reader.close()
            except HrvizError as error:
                assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


def test_many_threads(tmp_path: Path) -> None:
    full = picture(300, 400)
    reader = open_reader(encoded(tmp_path / "a.jp2", full))
    jobs = [w for seed in range(3) for w in windows(300, 400, 5, seed)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda w: reader.read(0, *w), jobs))
    for (y, x, h, w), part in zip(jobs, got, strict=True):
        np.testing.assert_array_equal(part, full[y : y + h, x : x + w])
    reader.close()
    with pytest.raises(HrvizError, match="closed"):
        reader.read(0, 0, 0, 4, 4)


def test_georeferenced(tmp_path: Path) -> None:
    import rasterio
    from rasterio.transform import from_origin

    path = tmp_path / "a.jp2"
    options: dict[str, Any] = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    size = {"width": 130, "height": 120, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_200_000, 10, 10)}
    with rasterio.open(path, "w", **options, **size, **place) as file:
        file.write(picture(120, 130, 1)[..., 0], 1)
    reader = open_reader(path)
    assert reader.extent is not None
    assert reader.extent.crs == "EPSG:32633"
    assert reader.extent.bounds == (500_000, 5_198_800, 501_300, 5_200_000)
    assert reader.extent.geographic is not None
    assert reader.extent.geographic[0] == pytest.approx(15, abs=0.02)
    assert reader.pixel_size == pytest.approx(1e7)


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoded(tmp_path / "a.jp2", picture(70, 80))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert "pip install 'hrviz[formats]'" in refusal(path)

"""Bad input: one line that names what was given and what to do, and never anything else."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import RASTERS, TIFFS, Written, picture


def refusal(uri: str | Path) -> str:
    """The sentence for `uri`, from opening or from reading every level once."""
    with pytest.raises(HrvizError) as caught:
        reader = open_reader(uri)
        for number, level in enumerate(reader.levels):
            reader.read(number, 0, 0, level.height, level.width)
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert "object at 0x" not in text
    assert len(text) < 400
    return text


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    RASTERS["rgb.png"](tmp_path / "slide_07.png")
    text = refusal(tmp_path / "slide_7.png")
    assert "slide_7.png does not exist; did you mean slide_07.png?" in text
    assert str(tmp_path) not in text
    assert "nor does its folder" in refusal(tmp_path / "none" / "a.png")
    assert "check the path" in refusal(tmp_path / "zzzzzzzzz")


def test_folder_lists_its_images(tmp_path: Path) -> None:
    assert "folder without images" in refusal(tmp_path)
    for i in range(5):
        RASTERS["rgb.png"](tmp_path / f"p{i}.png")
    assert "p0.png, p1.png, p2.png and 2 more" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://example.org/a.svs", "only Zarr is opened from an address; download it"),
        ("HTTP://example.org/x.TIF", "only Zarr is opened from an address; download it"),
        ("http://127.0.0.1:9/a.zarr", "127.0.0.1:9 cannot be reached"),
        ("nowhere://b/a.zarr", "give the http(s):// or s3:// address"),
    ],
)
def test_addresses(uri: str, expected: str) -> None:
    assert expected in refusal(uri)


def test_empty_zarr(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    assert "a.zarr has no Zarr metadata" in refusal(tmp_path / "a.zarr")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "zarr.json").write_text("{}")
    assert "without an OME image" in refusal(tmp_path / "b")


@pytest.mark.parametrize("uri", ["", "  ", "a\0b"])
def test_no_file_name(uri: str) -> None:
    assert "not a file name" in refusal(uri)


def test_name_too_long(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / ("x" * 5000))


def test_file_as_folder(tmp_path: Path) -> None:
    path = RASTERS["rgb.png"](tmp_path / "a.png").path
    assert "does not exist" in refusal(path / "b.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes need a Unix")
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in refusal(tmp_path / "pipe.png")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file"
)
def test_unreadable(tmp_path: Path) -> None:
    path = RASTERS["rgb.png"](tmp_path / "a.png").path
    path.chmod(0)
    assert "chmod u+r a.png" in refusal(path)


def test_unreadable_as_told_by_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = RASTERS["rgb.png"](tmp_path / "a.png").path

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "chmod u+r a.png" in refusal(path)


class Bomb:
    """Unpickling it would leave a trace."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickle_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pkl", "a.tif", "a"):
        Path(name).write_bytes(pickle.dumps(Bomb(), protocol))
        assert "never loads" in refusal(name)
    np.save("b.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    assert "NumPy array" in refusal("b.npy")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.tif", b"", "is empty"),
        ("a.svs", b"patient notes\n" * 9, "is text, not an image"),
        ("a.png", b"<html><body>404 not found</body></html>", "is text, not an image"),
        ("a.bin", bytes(range(256)) * 4, "in no format hrviz knows"),
        ("a.mrxs", bytes(range(256)) * 4, "in no format hrviz knows"),
        ("a.mrxs", b"\xff\xd8\xff\xe0" + bytes(200), "put the folder a"),
        ("a.mp4", b"\0\0\0\x20ftypisom" + bytes(64), "ffmpeg"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(64), "DICOM"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64), "JPEG 2000"),
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(64), "HEIF"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        ("a.zip", b"PK\x03\x04" + bytes(64), "unpack it"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "cannot be read"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(60), "cannot be read"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(60), "cannot be read"),
        ("a.bmp", b"BM" + bytes(60), "cannot be read"),
        ("a.tif", b"II*\0", "trunca"),
        ("a.tif", b"II*\0" + b"\xff" * 40, "truncated"),
        ("a.tif", b"II*\0\0\0\0\0" + bytes(40), "TIFF"),
    ],
)
def test_content(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    text = refusal(tmp_path / name)
    assert expected in text
    assert name in text


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["pyramid", "ome", "strips-plain", "strips-lzw", "imagej-tzcyx"])
def test_truncated_tiff(tmp_path: Path, kind: str, share: float) -> None:
    path = TIFFS[kind](tmp_path / "a.tif").path
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(HrvizError, match="truncated"):
        open_reader(path)


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "openslide_boxes.tiff"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_truncated_real_file(
    tmp_path: Path, real_data: Callable[[str], Path], name: str, share: float
) -> None:
    whole = real_data(name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "truncated" in refusal(path)


def test_truncation_counts_bytes(pyramid: Written) -> None:
    whole = pyramid.path.read_bytes()
    pyramid.path.write_bytes(whole[:-1000])
    assert f"has {len(whole) - 1000:,} (1,000 bytes missing)" in refusal(pyramid.path)


@pytest.mark.parametrize("kind", ["rgb.png", "rgb.jpg", "rgb.webp", "rgb.bmp", "palette.gif"])
def test_truncated_raster_is_never_half_a_picture(tmp_path: Path, kind: str) -> None:
    path = RASTERS[kind](tmp_path / kind).path
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "damaged" in refusal(path)


def test_truncated_jpeg_has_no_coarse_levels_either(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture(600, 800)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader = open_reader(path)
    for number in range(len(reader.levels)):
        for _ in range(2):
            with pytest.raises(HrvizError, match="truncated"):
                reader.read(number, 0, 0, 8, 8)


def test_damaged_tile_is_named_and_others_still_read(pyramid: Written) -> None:
    with tifffile.TiffFile(pyramid.path) as tiff:
        offset = tiff.pages[0].dataoffsets[7]
    data = bytearray(pyramid.path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    pyramid.path.write_bytes(data)
    reader = open_reader(pyramid.path)
    with pytest.raises(HrvizError, match=r"level 0, tile row 1, column 1 cannot be decoded"):
        reader.read(0, 70, 90, 10, 10)
    np.testing.assert_array_equal(reader.read(0, 0, 0, 60, 60), pyramid.levels[0][:60, :60])


def test_too_large_to_decode_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRVIZ_MAX_PIXELS", "20000")
    text = refusal(RASTERS["rgb.png"](tmp_path / "a.png").path)
    assert "vips tiffsave" in text
    assert "HRVIZ_MAX_PIXELS" in text
    assert "pieces of" in refusal(TIFFS["one-strip-zstd"](tmp_path / "a.tif").path)
    assert open_reader(TIFFS["strips-plain"](tmp_path / "b.tif").path).levels
    monkeypatch.setenv("HRVIZ_MAX_PIXELS", "many")
    assert "'many' is not a number" in refusal(tmp_path / "a.png")


def test_large_picture_opens_without_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Above Pillow's own warning limit (89 megapixels), below ours."""
    path = tmp_path / "big.png"
    Image.new("1", (10000, 9500)).save(path)
    assert open_reader(path).levels[0].width == 10000
    Image.new("1", (17000, 17000)).save(path)
    assert "289 megapixels" in refusal(path)
    assert not recwarn.list


def test_slide_formats_without_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.delitem(sys.modules, "hrviz.image.readers.slide", raising=False)
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    assert "pip install 'hrviz[slides]'" in refusal(tmp_path / "a.mrxs")
    (tmp_path / "a.svs").write_text("some notes, not a slide")
    assert "is text" in refusal(tmp_path / "a.svs")


def test_unsupported_tiff_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", np.ones((8, 8), np.complex64))
    assert "type hrviz does not read" in refusal(tmp_path / "c.tif")
    tifffile.imwrite(tmp_path / "l.tif", picture(8, 8), photometric="cielab")
    assert "convert it to RGB" in refusal(tmp_path / "l.tif")


@pytest.mark.parametrize("kind", ["pyramid", "ome", "strips-lzw", "bigtiff", "palette"])
def test_damaged_headers_never_leave_a_trace(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Random bytes in a header: it reads, or says one sentence; nothing else, nothing on stderr."""
    path = TIFFS[kind](tmp_path / "a.tif").path
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.offset
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(start, min(start + 250, len(data)), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            reader = open_reader(path)
            for number, level in enumerate(reader.levels):
                reader.read(number, 0, 0, min(level.height, 100), min(level.width, 100))
            reader.close()
        except HrvizError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""

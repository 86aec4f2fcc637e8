"""Converted pyramids: against the array they come from, their metadata read by the libraries themselves."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from fake_images import ArrayReader, image_of

from hrviz.cost import memory
from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.image import Image, open_image
from hrviz.image.convert import convert
from hrviz.image.convert_pyramid import Place, Pyramid, build, row_by_row, z_order
from hrviz.image.readers.base import Channel

from .conftest import picture


def means(array: np.ndarray) -> np.ndarray:
    """2 x 2 means pixel by pixel, of what is there, rounded as `convert` says."""
    h, w, channels = array.shape
    out = np.empty((-(-h // 2), -(-w // 2), channels), array.dtype)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            mean = array[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1), dtype=np.float64)
            if array.dtype.kind == "u":
                mean = np.floor(mean + 0.5)
            out[i, j] = np.rint(mean) if array.dtype.kind == "i" else mean
    return out


_KNOWN: dict[Any, list[np.ndarray]] = {}


def levels_of(array: np.ndarray, stop: int) -> list[np.ndarray]:
    key = array.tobytes(), array.shape, array.dtype.str, stop
    if key not in _KNOWN:
        out = _KNOWN[key] = [array]
        while max(out[-1].shape[:2]) > stop:
            out.append(means(out[-1]))
    return _KNOWN[key]


def assert_pyramid(path: Path, array: np.ndarray, stop: int, tolerance: float = 0) -> Image:
    """Level by level as brute force makes them, read by hrviz; returns the image."""
    image = open_image(path)
    expected = levels_of(array, stop)
    assert image.stored_levels == len(expected)
    for number, level in enumerate(expected):
        found = np.asarray(image.arrays[number][:, :])
        assert found.dtype == array.dtype
        np.testing.assert_allclose(found, level, rtol=0, atol=tolerance)
    return image


def fluorescence(array: np.ndarray, **options: Any) -> Image:
    """A multi-channel image with names, colours and contrast."""
    reader = ArrayReader(array, **options)
    colours = [(0, 96, 255), (0, 255, 0), (255, 160, 0), (255, 0, 255)]
    reader.channel_info = tuple(
        Channel(f"marker {i}", colours[i], (10.0 * i, 1000.0 + i), active=i != 2)
        for i in range(array.shape[2])
    )
    return Image(reader)


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


WIDE = np.arange(300 * 3).reshape(1, 300, 3).astype(np.uint8)
ARRAYS = {
    "rgb": picture(301, 205), "even": picture(256, 128), "grey": picture(150, 97, 1),
    "rgba": picture(131, 70, 4), "one pixel": picture(1, 1), "row": WIDE,
    "column": WIDE.transpose(1, 0, 2), "grey 16": picture(99, 140, 1).astype(np.uint16) * 257,
    "signed": picture(70, 131, 1).astype(np.int16) * 100 - 9000,
    "float": picture(90, 131, 1).astype(np.float32) / 7,
}  # fmt: skip
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "zarr": (".ome.zarr", {}),
    "shards": (".zarr", {"shard": 256}),
    "zarr deflate": (".zarr", {"compression": "deflate"}),
    "zarr none": (".zarr", {"compression": "none", "workers": 1}),
    "tiff zstd": (".tif", {"compression": "zstd"}),
    "tiff deflate": (".tiff", {"compression": "deflate", "workers": 1}),
    "tiff none": (".tif", {"compression": "none"}),
    "ome-tiff": (".ome.tif", {"compression": "zstd"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_lossless_formats_keep_every_pixel_and_coarser_levels_are_means(
    kind: str, way: str, tmp_path: Path
) -> None:
    suffix, options = WAYS[way]
    path = tmp_path / f"a{suffix}"
    assert convert(image_of(ARRAYS[kind], pixel_size=0.5), path, tile=64, **options) == path
    if "tif" in suffix and min(ARRAYS[kind].shape[:2]) == 1:  # tifffile finds no levels in lines
        image = open_image(path)
        np.testing.assert_array_equal(image.region(image.box), ARRAYS[kind])
    else:
        image = assert_pyramid(path, ARRAYS[kind], 64, 1e-5 if kind == "float" else 0)
    assert image.pixel_size == pytest.approx(0.5)
    assert image.channel_info is None
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif", ".tif"])
def test_fluorescence_keeps_channels_names_and_colours(suffix: str, tmp_path: Path) -> None:
    array = picture(140, 201, 4).astype(np.uint16) * 200
    source = fluorescence(array, pixel_size=0.325)
    image = assert_pyramid(convert(source, tmp_path / f"a{suffix}", tile=64), array, 64)
    assert image.channel_info is not None
    assert source.channel_info is not None
    assert [(c.name, c.colour) for c in image.channel_info] == [
        (c.name, c.colour) for c in source.channel_info
    ]
    assert image.pixel_size == pytest.approx(0.325)
    if suffix == ".ome.zarr":
        assert image.channel_info == source.channel_info, "with contrast, and which are shown"


# ------------------------------------------------------------------ metadata, by other libraries
def test_zarr_metadata_is_ome_zarr_0_5(tmp_path: Path) -> None:
    array = picture(200, 301, 2).astype(np.uint16) * 99
    path = convert(fluorescence(array, pixel_size=0.25), tmp_path / "a.zarr", tile=64)
    group = zarr.open_group(str(path), mode="r")
    assert group.metadata.zarr_format == 3
    ome = dict(group.attrs)["ome"]
    assert ome["version"] == "0.5"
    (scales,) = ome["multiscales"]
    assert [a["name"] for a in scales["axes"]] == ["c", "y", "x"]
    assert [a["type"] for a in scales["axes"]] == ["channel", "space", "space"]
    assert [a.get("unit") for a in scales["axes"]] == [None, "micrometer", "micrometer"]
    assert [d["path"] for d in scales["datasets"]] == ["0", "1", "2", "3"]
    expected = levels_of(array, 64)
    for k, dataset in enumerate(scales["datasets"]):
        stored = group[dataset["path"]]
        assert stored.metadata.dimension_names == ("c", "y", "x")
        assert stored.chunks == (1, 64, 64)
        np.testing.assert_array_equal(stored[...], expected[k].transpose(2, 0, 1))
        scale, shift = dataset["coordinateTransformations"]
        assert (scale["type"], shift["type"]) == ("scale", "translation")
        assert scale["scale"] == [1.0, 0.25 * 2**k, 0.25 * 2**k]
        # the first coarse pixel's centre lies between those of the pixels it is the mean of
        centres = 0.25 * np.arange(2**k)
        assert shift["translation"] == pytest.approx([0, centres.mean(), centres.mean()])
    channels = ome["omero"]["channels"]
    assert [c["label"] for c in channels] == ["marker 0", "marker 1"]
    assert [c["color"] for c in channels] == ["0060FF", "00FF00"]
    assert channels[1]["window"] == {"start": 10.0, "end": 1001.0, "min": 0.0, "max": 65535.0}
    assert all(c["active"] for c in channels)


def test_zarr_of_colours_has_all_colours_in_a_chunk_and_shards_where_asked(tmp_path: Path) -> None:
    image = image_of(picture(300, 400))
    whole = zarr.open_group(str(convert(image, tmp_path / "a.zarr", tile=64, shard=128)), mode="r")
    assert whole["0"].chunks == (3, 64, 64)
    assert whole["0"].shards == (3, 128, 128)
    ome = dict(whole.attrs)["ome"]
    assert [c["color"] for c in ome["omero"]["channels"]] == ["FF0000", "00FF00", "0000FF"]
    assert "unit" not in ome["multiscales"][0]["axes"][1]
    files = [p for p in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if p.is_file()]
    assert len(files) == math.ceil(300 / 128) * math.ceil(400 / 128)


def test_black_chunks_are_written_too(tmp_path: Path) -> None:
    image = open_image(convert(image_of(np.zeros((200, 200, 3), np.uint8)), tmp_path / "a.zarr"))
    assert image.region(image.box).max() == 0
    assert image.notes == []


def test_contrast_of_channels_without_limits_comes_from_the_pixels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(500, 900, (100, 100, 2)).astype(np.uint16)
    image = open_image(convert(image_of(array), tmp_path / "a.zarr"))
    assert image.channel_info is not None
    low, high = image.channel_info[0].limits or (0, 0)
    assert 500 <= low < 510
    assert 890 < high < 900


def test_tiff_structure_read_by_tifffile(tmp_path: Path) -> None:
    path = convert(image_of(picture(400, 500), pixel_size=0.5), tmp_path / "a.tif", tile=128)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert not tiff.is_ome
        assert len(tiff.pages) == 1
        assert [level.shape for level in tiff.series[0].levels] == [
            (400, 500, 3), (200, 250, 3), (100, 125, 3),
        ]  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        for k, part in enumerate([page, *page.pages]):
            assert part.tile == (128, 128)
            assert part.compression == tifffile.COMPRESSION.JPEG
            assert part.photometric == tifffile.PHOTOMETRIC.YCBCR
            assert part.subfiletype == int(k > 0)
            assert part.get_resolution("MICROMETER") == pytest.approx((2 / 2**k, 2 / 2**k))
            assert min(part.databytecounts) > 0
            size = path.stat().st_size
            ends = np.add(part.dataoffsets, part.databytecounts)
            assert ends.max() <= size


def test_ome_xml_read_by_tifffile(tmp_path: Path) -> None:
    array = picture(100, 130, 3).astype(np.uint16)
    path = convert(fluorescence(array, pixel_size=0.65), tmp_path / "a.ome.tif", tile=64)
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        assert series.axes == "CYX"
        assert len(series.levels) == 3
        np.testing.assert_array_equal(series.asarray(), array.transpose(2, 0, 1))
        np.testing.assert_array_equal(series.levels[1].asarray(), means(array).transpose(2, 0, 1))
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels["PhysicalSizeX"] == pytest.approx(0.65)
    assert pixels["PhysicalSizeXUnit"] == "µm"
    assert [c["Name"] for c in pixels["Channel"]] == ["marker 0", "marker 1", "marker 2"]
    green = int.from_bytes(bytes((0, 255, 0, 255)), "big", signed=True)
    assert pixels["Channel"][1]["Color"] == green
    rgb = convert(image_of(picture(80, 70)), tmp_path / "b.ome.tif", compression="zstd")
    with tifffile.TiffFile(rgb) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "YXS"
        np.testing.assert_array_equal(tiff.asarray(), picture(80, 70))


def test_libtiff_reads_it_too(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    for compression in ("jpeg", "zstd", "deflate", "none"):
        path = convert(
            image_of(picture(200, 150)), tmp_path / f"{compression}.tif", tile=64,
            compression=compression, quality=95,
        )  # fmt: skip
        with rasterio.open(path) as dataset:
            found = dataset.read().transpose(1, 2, 0)
        error = np.abs(found.astype(int) - picture(200, 150)).max()
        assert error <= (25 if compression == "jpeg" else 0)


# ------------------------------------------------------------------ JPEG
def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize(("quality", "least"), [(50, 28), (85, 33), (98, 42)])
def test_jpeg_is_close_at_every_level(quality: int, least: float, tmp_path: Path) -> None:
    array = picture(301, 405)
    path = convert(image_of(array), tmp_path / "a.tif", tile=64, quality=quality)
    image = open_image(path)
    assert "jpeg" in image.metadata["format"]
    for number, level in enumerate(levels_of(array, 64)):
        assert psnr(np.asarray(image.arrays[number][:, :]), level) > least


def test_jpeg_tiles_are_passed_to_browsers_unchanged(tmp_path: Path) -> None:
    image = open_image(convert(image_of(picture(300, 300)), tmp_path / "a.tif", tile=64))
    tile = image.compressed_tile(0, 1, 2)
    assert tile is not None
    assert tile[1] == "image/jpeg"


def test_jpeg_of_grey(tmp_path: Path) -> None:
    array = picture(150, 140, 1)
    path = convert(image_of(array), tmp_path / "a.tif", tile=64, compression="jpeg", quality=95)
    assert psnr(tifffile.imread(path)[..., None], array) > 35


# ------------------------------------------------------------------ what is converted
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_region_and_a_level(suffix: str, tmp_path: Path) -> None:
    array = picture(300, 400)
    image = image_of(array, halved=2, pixel_size=0.5)
    options: dict[str, Any] = {"tile": 64, "compression": "zstd"}
    path = convert(image, tmp_path / f"a{suffix}", region=(33, 57, 200, 290), **options)
    assert_pyramid(path, array[33:200, 57:290], 64)
    path = convert(image, tmp_path / f"b{suffix}", region="64,32,200,1000", level=1, **options)
    half = means(array)
    found = assert_pyramid(path, half[16:150, 32:132], 64)
    assert found.pixel_size == pytest.approx(1.0)
    path = convert(image, tmp_path / f"c{suffix}", region=Box(10.2, 10.2, 10.6, 10.7), **options)
    assert_pyramid(path, array[10:11, 10:11], 64)


def test_all_pictures_of_a_film_or_the_one_at_its_index(tmp_path: Path) -> None:
    stack = picture(70, 130, 12).transpose(2, 0, 1).reshape(3, 2, 2, 70, 130)
    source = tmp_path / "s.tif"
    tifffile.imwrite(source, stack, imagej=True, metadata={"axes": "TZCYX"})
    one = convert(f"{source}#t=2&z=1", tmp_path / "one.zarr", tile=64)
    assert_pyramid(one, stack[2, 1].transpose(1, 2, 0), 64)
    path = convert(source, tmp_path / "all.zarr", tile=64, all_planes=True)
    group = zarr.open_group(str(path), mode="r")
    assert [a["name"] for a in dict(group.attrs)["ome"]["multiscales"][0]["axes"]] == list("tczyx")
    np.testing.assert_array_equal(group["0"][...], stack.transpose(0, 2, 1, 3, 4))
    image = open_image(path)
    assert image.axes == {"t": 3, "z": 2}
    for t in range(3):
        for z in range(2):
            level = np.asarray(image.at(t=t, z=z).arrays[1][:, :])
            np.testing.assert_array_equal(level, means(stack[t, z].transpose(1, 2, 0)))


def test_a_film_keeps_its_time_step(tmp_path: Path) -> None:
    frames = picture(40, 50, 12).reshape(40, 50, 4, 3).transpose(2, 0, 1, 3)
    np.save(tmp_path / "film.npy", frames)
    image = open_image(tmp_path / "film.npy")
    image.frame_rate = 4.0
    path = convert(image, tmp_path / "film.zarr", all_planes=True)
    scales = dict(zarr.open_group(str(path), mode="r").attrs)["ome"]["multiscales"][0]
    assert scales["axes"][0] == {"name": "t", "type": "time", "unit": "second"}
    assert scales["datasets"][0]["coordinateTransformations"][0]["scale"][0] == 0.25


# ------------------------------------------------------------------ the machine below
@pytest.mark.parametrize("order", [z_order, row_by_row])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 8), (7, 1), (1, 9)])
def test_orders_have_every_block_once(grid: tuple[int, int], order: Any) -> None:
    found = list(order(*grid))
    assert Counter(found) == Counter((i, j) for i in range(grid[0]) for j in range(grid[1]))


class _Counting:
    """A sink that keeps nothing but what it was given, how often."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    def encode(self, place: Place, pixels: np.ndarray) -> int:
        return int(pixels.sum())

    def put(self, place: Place, data: Any) -> None:
        self.places.append(place)


def test_every_block_is_read_and_written_once_and_few_are_held() -> None:
    pyramid = Pyramid(64 * 40, 64 * 40, 64, 64)
    sink, reads = _Counting(), Counter[tuple[int, int]]()
    held, lock, most = [0], threading.Lock(), [0]

    class Block(np.ndarray):
        """Counts the blocks that are alive."""

        def __array_finalize__(self, other: Any) -> None:
            pass

        def __del__(self) -> None:
            with lock:
                held[0] -= self.base is None

    def read(y: int, x: int, h: int, w: int) -> np.ndarray:
        reads[y, x] += 1
        block = Block((h, w, 1), np.uint8)
        block[...] = 1
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        return block

    build(pyramid, read, sink, workers=3)
    assert set(reads.values()) == {1}
    assert len(reads) == 1600
    assert len(sink.places) == pyramid.blocks == len(set(sink.places))
    assert most[0] <= 12


def test_strips_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, picture(300, 700), rowsperstrip=16, compression="zlib")
    made = convert(path, tmp_path / "a.zarr", tile=64)
    assert_pyramid(made, picture(300, 700), 64)
    reader = ArrayReader(picture(300, 700), tile=(16, 700))
    convert(Image(reader), tmp_path / "b.zarr", tile=64)
    assert Counter(reader.reads).most_common(1)[0][1] == 1, "every strip is decoded once"


def test_the_file_does_not_depend_on_which_thread_was_first(tmp_path: Path) -> None:
    image = image_of(picture(500, 600))
    one, two = (
        convert(image, tmp_path / f"{n}.tif", tile=64, workers=5).read_bytes() for n in range(2)
    )
    assert one == two


# ------------------------------------------------------------------ nothing half-written
class Full(ArrayReader):
    """Something happens when the n-th window is read."""

    def __init__(self, array: np.ndarray, error: BaseException, after: int = 20) -> None:
        super().__init__(array)
        self.error, self.after = error, after

    def read(self, *window: int) -> np.ndarray:
        if len(self.reads) >= self.after:
            raise self.error
        return super().read(*window)


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(143), SystemExit),
        (HrvizError("tile 3 is damaged"), HrvizError),
        (MemoryError(), MemoryError),
    ],
)
def test_what_breaks_off_leaves_nothing(
    error: BaseException, seen: type[BaseException], suffix: str, tmp_path: Path
) -> None:
    with pytest.raises(seen):
        convert(Image(Full(picture(600, 600), error)), tmp_path / f"a{suffix}", tile=64)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_interrupted_by_its_callbacks(suffix: str, tmp_path: Path) -> None:
    told: list[float] = []

    def progress(share: float) -> None:
        told.append(share)
        if share > 0.5:
            raise KeyboardInterrupt

    image = image_of(picture(600, 600))
    with pytest.raises(KeyboardInterrupt):
        convert(image, tmp_path / f"a{suffix}", tile=64, progress=progress)
    assert told == sorted(told)
    assert told[-1] > 0.5 >= told[-2]
    with pytest.raises(Cancelled):
        convert(image, tmp_path / f"a{suffix}", tile=64, cancelled=lambda: True)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_interrupted_while_overwriting_keeps_the_old_one(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    convert(image_of(picture(100, 100)), path, compression="zstd", tile=64)
    with pytest.raises(KeyboardInterrupt):
        convert(Image(Full(picture(600, 600), KeyboardInterrupt())), path, tile=64, overwrite=True)
    assert_pyramid(path, picture(100, 100), 64)
    convert(image_of(picture(90, 80)), path, compression="zstd", tile=64, overwrite=True)
    assert_pyramid(path, picture(90, 80), 64)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_is_one_sentence(
    suffix: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [10]

    def fail(*args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))

    kind = "convert_zarr.ZarrSink" if suffix == ".zarr" else "convert_tiff.TiffSink"
    monkeypatch.setattr(f"hrviz.image.{kind}.put", fail)
    words = "no room left" if number == errno.ENOSPC else "could not be written"
    with pytest.raises(HrvizError, match=words):
        convert(image_of(picture(600, 600)), tmp_path / f"a{suffix}", tile=64)
    assert nothing_in(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are those of Linux")
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_write_that_the_system_refuses(suffix: str, tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from hrviz.cli import main\n"
        "sys.exit(main(['convert', 'scene:tissue?size=900x700', sys.argv[1], '--compression', 'none']))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / f"a{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("hrviz: ")
    assert done.stderr.count("\n") == 1
    assert "no room left" in done.stderr
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_killed_command_leaves_nothing(number: int, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "hrviz.cli", "convert", "scene:needle?size=90000x90000",
        str(tmp_path / "a.tif"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if not nothing_in(tmp_path):
            break
        time.sleep(0.1)
    assert all(p.suffix == ".part" for p in tmp_path.iterdir())
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert process.stderr is not None
    assert process.stderr.read() == "hrviz: stopped\n"
    process.stderr.close()
    assert nothing_in(tmp_path)


# ------------------------------------------------------------------ refusals
RGB = picture(100, 100)
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "suffix": ("a.gif", {}, ".gif"),
    "no suffix": ("a", {}, "without suffix"),
    "folder": ("b/a.tif", {}, "no folder"),
    "tile": ("a.tif", {"tile": 100}, "tile=100"),
    "tile too large": ("a.tif", {"tile": 8192}, "tile=8192"),
    "quality": ("a.tif", {"quality": 0}, "quality=0"),
    "level": ("a.tif", {"level": 1}, "levels 0 to 0"),
    "compression": ("a.tif", {"compression": "lzw"}, "jpeg, zstd, deflate, none"),
    "compression of zarr": ("a.zarr", {"compression": "jpeg"}, "choose zstd, deflate, none"),
    "shard of tiff": ("a.tif", {"shard": 1024}, "shards are for Zarr"),
    "shard": ("a.zarr", {"shard": 1536}, "shard=1536"),
    "all of tiff": ("a.tif", {"all_planes": True}, "one OME-Zarr only"),
    "all of one": ("a.zarr", {"all_planes": True}, "a single picture"),
    "region": ("a.tif", {"region": (200, 200, 300, 300)}, "lies outside"),
    "workers": ("a.tif", {"workers": 0}, "workers=0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, tmp_path: Path) -> None:
    name, options, words = REFUSED[case]
    with pytest.raises(HrvizError) as caught:
        convert(image_of(RGB), tmp_path / name, **options)
    assert words in str(caught.value)
    assert nothing_in(tmp_path)


def test_jpeg_is_for_8_bit_colours(tmp_path: Path) -> None:
    for array in (RGB.astype(np.uint16), picture(50, 50, 4), picture(50, 50, 2)):
        with pytest.raises(HrvizError, match="choose compression zstd"):
            convert(image_of(array), tmp_path / "a.tif", compression="jpeg")


def test_what_is_there_stays_unless_told_otherwise(tmp_path: Path) -> None:
    path = convert(image_of(RGB), tmp_path / "a.tif")
    before = path.read_bytes()
    for options in ({}, {"overwrite": True}):
        with pytest.raises(HrvizError, match=r"is the image itself|there already"):
            convert(path if options else image_of(RGB), path, **options)
    assert path.read_bytes() == before
    other = tmp_path / "documents.zarr"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    (tmp_path / "c.tif").mkdir()
    for name in ("documents.zarr", "c.tif"):
        with pytest.raises(HrvizError, match="another kind"):
            convert(image_of(RGB), tmp_path / name, overwrite=True)
    assert (other / "thesis.txt").read_text() == "years of work"


# ------------------------------------------------------------------ memory
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_memory_does_not_grow_with_the_image(suffix: str, tmp_path: Path) -> None:
    """16 times the pixels: the rise of resident memory stays below what one more band would take."""
    if not memory.reset_peak():
        pytest.skip("this system does not tell a process's peak memory")

    def rise(side: int) -> int:
        memory.reset_peak()
        before = memory.resident_bytes()
        path = convert(
            f"scene:needle?size={side}x{side}&background=plain", tmp_path / f"{side}{suffix}",
            workers=2,
        )  # fmt: skip
        assert open_image(path).width == side
        peak = memory.peak_bytes()
        assert before is not None
        assert peak is not None
        return peak - before

    rise(1024)  # libraries are loaded
    small, large = rise(2048), rise(8192)
    assert large < small + 48 * 2**20
    assert large < 8192 * 8192 * 3 / 2

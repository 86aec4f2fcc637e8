"""OME-Zarr and bare Zarr: what was written is read, locally and over HTTP; hostile ones are told."""

from __future__ import annotations

import functools
import http.server
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import hrviz
from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader
from hrviz.image.readers.zarr import ZarrReader

from .conftest import assert_reads, picture, windows

TYPES = {"t": "time", "c": "channel"}
SHAPE = (2, 3, 4, 150, 210)  # t, c, z, y, x
RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 5000, SHAPE).astype(np.uint16)


def ome(
    path: Path,
    levels: list[np.ndarray],
    axes: str,
    *,
    version: int = 2,
    unit: str | None = "micrometer",
    scale: float = 0.5,
    sharded: bool = False,
    omero: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write an OME-Zarr 0.4 (Zarr 2) or 0.5 (Zarr 3) with zarr-python alone."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    datasets = []
    for number, level in enumerate(levels):
        chunks = tuple(64 if a in "yx" else 1 for a in axes)
        settings: dict[str, Any] = {"chunks": chunks} | options
        if sharded:
            settings["shards"] = tuple(
                c * 2 if a in "yx" else c for a, c in zip(axes, chunks, strict=True)
            )
        if version == 2:
            settings["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        array = group.create_array(
            f"level{number}", shape=level.shape, dtype=level.dtype, **settings
        )
        array[...] = level
        factors = [scale * 2**number if a in "yx" else 1.0 for a in axes]
        datasets.append(
            {
                "path": f"level{number}",
                "coordinateTransformations": [{"type": "scale", "scale": factors}],
            }
        )
    units = {} if unit is None else {"unit": unit}
    described = [
        {"name": a, "type": TYPES.get(a, "space")} | (units if a in "yx" else {}) for a in axes
    ]
    multiscales = [{"axes": described, "datasets": datasets, "name": "cells"}]
    if version == 2:
        multiscales[0]["version"] = "0.4"
        group.attrs["multiscales"] = multiscales
        if omero:
            group.attrs["omero"] = omero
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales} | (
            {"omero": omero} if omero else {}
        )
    return path


def rgb(path: Path, **options: Any) -> tuple[Path, tuple[np.ndarray, ...]]:
    full = picture(301, 405)
    levels = (full, full[::2, ::2], full[::4, ::4])
    ome(path, [x.transpose(2, 0, 1) for x in levels], "cyx", **options)
    return path, levels


KINDS: list[dict[str, Any]] = [{"version": 2}, {"version": 3}, {"version": 3, "sharded": True}]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """`tmp_path` over HTTP; `.address` and `.asked` (the paths of all requests)."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        disable_nagle_algorithm = True  # else 40 ms a chunk

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def do_HEAD(self) -> None:
            asked.append("HEAD " + self.path)
            super().do_HEAD()

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # the default, 5, drops connections for a second

    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.address, server.asked = f"http://127.0.0.1:{server.server_port}", asked  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    server.server_close()


def refusal(uri: object) -> str:
    with pytest.raises(HrvizError) as caught:
        reader = open_reader(str(uri))
        for number, level in enumerate(reader.levels):
            reader.read(number, 0, 0, min(64, level.height), min(64, level.width))
    text = str(caught.value)
    assert "\n" not in text
    assert "object at 0x" not in text
    assert len(text) < 400
    return text


# -- what is written is read --------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_all_levels_and_windows(tmp_path: Path, kind: dict[str, Any]) -> None:
    path, levels = rgb(tmp_path / "a.zarr", **kind)
    reader = open_reader(path)
    assert_reads(reader, levels)
    assert [level.downsample for level in reader.levels] == [1, 2, 4]
    assert reader.pixel_size == pytest.approx(0.5)
    assert reader.channel_info is None
    assert reader.notes() == []
    assert ("0.4" if kind["version"] == 2 else "0.5") in reader.metadata["format"]


@pytest.mark.parametrize("kind", KINDS)
def test_five_axes(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = ome(tmp_path / "a.zarr", [STACK, STACK[..., ::2, ::2]], "tczyx", **kind)
    assert open_reader(path).axes == {"t": 2, "z": 4}
    seen = set()
    for t, z in ((0, 0), (1, 0), (0, 3), (1, 2)):
        reader = open_reader(f"{path}#t={t}&z={z}")
        assert reader.at == {"t": t, "z": z}
        planes = [STACK[t, :, z].transpose(1, 2, 0), STACK[t, :, z, ::2, ::2].transpose(1, 2, 0)]
        assert_reads(reader, tuple(planes))
        seen.add(reader.identity)
    assert len(seen) == 4
    assert "choose 0 to 3" in refusal(f"{path}#z=4")
    assert "no axis 'q'" in refusal(f"{path}#q=0")


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tyx", "yxc", "tzcyx"])
def test_any_subset_and_order_of_axes(tmp_path: Path, axes: str) -> None:
    sizes = {"t": 2, "c": 3, "z": 2, "y": 70, "x": 90}
    array = RNG.integers(0, 255, [sizes[a] for a in axes]).astype(np.uint16)
    path = ome(tmp_path / "a.zarr", [array], axes)
    at = {a: 1 for a in axes if a in "tz"}
    reader = open_reader(str(path) + ("#" + "&".join(f"{a}=1" for a in at) if at else ""))
    picked = array[tuple(1 if a in "tz" else slice(None) for a in axes)]
    left = [a for a in axes if a in "yxc"]
    picked = np.moveaxis(picked, left.index("c"), -1) if "c" in left else picked[..., None]
    assert_reads(reader, (picked,))


def test_planes_of_coarse_levels(tmp_path: Path) -> None:
    """A pyramid that halves z too: the coarse plane lies at the fine one's middle."""
    path = ome(tmp_path / "a.zarr", [STACK, STACK[:, :, 1::2, ::2, ::2]], "tczyx")
    for z, coarse in ((0, 0), (1, 0), (2, 1), (3, 1)):
        reader = open_reader(f"{path}#z={z}")
        expected = STACK[0, :, 1::2, ::2, ::2][:, coarse].transpose(1, 2, 0)
        np.testing.assert_array_equal(reader.read(1, 0, 0, 75, 105), expected)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("nanometer", 2.5e-4), ("micrometer", 0.25), ("millimeter", 250.0), (None, None)],
)
def test_units(tmp_path: Path, unit: str | None, expected: float | None) -> None:
    path = ome(tmp_path / "a.zarr", [picture(70, 80, 1)[..., 0]], "yx", unit=unit, scale=0.25)
    reader = open_reader(path)
    assert reader.pixel_size == pytest.approx(expected)
    assert ("no unit" in reader.metadata.get("scale", "")) == (unit is None)


def test_scale_of_the_whole_multiscale_multiplies(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.zarr", [picture(70, 80, 1)[..., 0]], "yx")
    attributes = json.loads((path / ".zattrs").read_text())
    whole = [{"type": "scale", "scale": [3.0, 3.0]}]
    attributes["multiscales"][0]["coordinateTransformations"] = whole
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert open_reader(path).pixel_size == pytest.approx(1.5)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u4", "i8", "f2", "f4", ">u2", ">f8"])
def test_types(tmp_path: Path, dtype: str) -> None:
    array = (RNG.random((70, 90)) * 100).astype(dtype)
    path = ome(tmp_path / "a.zarr", [array], "yx")
    expected = array.astype(np.uint8) * 255 if dtype == "bool" else array
    reader = open_reader(path)
    assert reader.dtype == expected.dtype.newbyteorder("=")
    assert_reads(reader, (expected[..., None],))


@pytest.mark.parametrize(
    ("shape", "version"), [((90, 130), 2), ((90, 130, 3), 3), ((3, 90, 130), 3), ((5, 90, 130), 2)]
)
def test_bare_arrays(tmp_path: Path, shape: tuple[int, ...], version: int) -> None:
    array = RNG.integers(0, 255, shape).astype(np.uint8)
    stored = zarr.create_array(tmp_path / "a.zarr", data=array, chunks=shape, zarr_format=version)
    assert stored.shape == shape
    expected = {2: array[..., None], 3: array}[array.ndim]
    if shape[0] == 3:
        expected = array.transpose(1, 2, 0)
    if shape[0] == 5:
        expected = array[0, ..., None]
    assert_reads(open_reader(tmp_path / "a.zarr"), (expected,))


def test_dimension_names_go_before_shapes(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (40, 50, 9)).astype(np.uint8)
    names = ["x", "y", "c"]
    zarr.create_array(tmp_path / "a.zarr", data=array, dimension_names=names)
    assert_reads(open_reader(tmp_path / "a.zarr"), (array.transpose(1, 0, 2),))


@pytest.mark.parametrize("version", [2, 3])
def test_plates_collections_and_labels(tmp_path: Path, version: int) -> None:
    array = picture(70, 80, 1)[..., 0]

    def container(path: Path, attributes: dict[str, Any]) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=version)
        group.attrs.update({"ome": attributes} if version == 3 else attributes)

    plate = tmp_path / "plate.zarr"
    container(plate, {"plate": {"wells": [{"path": "B/3"}], "version": "0.4"}})
    container(plate / "B" / "3", {"well": {"images": [{"path": "f1"}]}})
    ome(plate / "B" / "3" / "f1", [array], "yx", version=version)
    many = tmp_path / "many.zarr"
    container(many, {"bioformats2raw.layout": 3})
    ome(many / "0", [array], "yx", version=version)
    labels = tmp_path / "labels.zarr"
    container(labels, {"labels": ["nuclei"]})
    ome(labels / "nuclei", [array], "yx", version=version)
    for path, said in ((plate, "plate"), (many, "collection"), (labels, "label")):
        reader = open_reader(path)
        assert said in reader.metadata["shown"]
        assert_reads(reader, (array[..., None],))
    container(plate, {"plate": {"wells": []}})
    assert "plate without wells" in refusal(plate)
    container(many, {"something": 1})
    assert "without an OME image" in refusal(many)


# -- channels -----------------------------------------------------------------------------------
def test_omero_channels(tmp_path: Path) -> None:
    entries = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 10, "end": 900}},
        {"label": "GFP", "color": "00FF00", "window": {"start": 5, "end": 5}, "active": False},
        {"color": "not a colour"},
    ]
    path = ome(tmp_path / "a.zarr", [STACK], "tczyx", omero={"channels": entries})
    channels = open_reader(path).channel_info
    assert channels is not None
    assert [c.name for c in channels] == ["DAPI", "GFP", "channel 3"]
    assert [c.colour for c in channels[:2]] == [(0, 0, 255), (0, 255, 0)]
    assert [c.limits for c in channels] == [(10, 900), None, None]
    assert [c.active for c in channels] == [True, False, True]
    assert hrviz.open(str(path)).to_rgb(np.full((2, 2, 3), 900, np.uint16)).any()


@pytest.mark.parametrize(
    ("colours", "plain"),
    [([], True), (["FF0000", "00FF00", "0000FF"], True), (["0000FF", "00FF00", "FF0000"], False)],
)
def test_rgb_is_told_from_fluorescence(tmp_path: Path, colours: list[str], plain: bool) -> None:
    entries = [{"color": c, "window": {"start": 0, "end": 255}} for c in colours]
    path = ome(
        tmp_path / "a.zarr",
        [picture(70, 80).transpose(2, 0, 1)],
        "cyx",
        omero={"channels": entries},
    )
    assert (open_reader(path).channel_info is None) == plain


# -- missing and damaged chunks -----------------------------------------------------------------
def test_missing_chunks_are_gaps_and_told(tmp_path: Path) -> None:
    array = RNG.integers(1, 255, (256, 320)).astype(np.uint8)
    path = ome(tmp_path / "a.zarr", [array], "yx", fill_value=7)
    for name in ("1/2", "3/4"):
        (path / "level0" / name).unlink()
    expected = array.copy()
    expected[64:128, 128:192] = expected[192:256, 256:320] = 7
    reader = open_reader(path)
    assert_reads(reader, (expected[..., None],))
    assert reader.notes() == [
        "2 of the 20 chunks read so far are missing and shown as gaps (value 7)"
    ]
    reader = open_reader(path)
    reader.read(0, 64, 128, 10, 10)
    assert "1 of the 1 chunks read so far is missing" in reader.notes()[0]
    image = hrviz.open(str(path))
    image.region(image.box)
    assert "2 of the 20" in image.notes[0]


def test_missing_shards_and_chunks_inside(tmp_path: Path) -> None:
    array = RNG.integers(1, 255, (256, 256)).astype(np.uint8)
    path = ome(tmp_path / "a.zarr", [array], "yx", version=3, sharded=True)
    expected = array.copy()
    expected[128:, 128:] = 0
    (path / "level0" / "c" / "1" / "1").unlink()
    stored = zarr.open_array(path / "level0", mode="r+")
    stored[64:128, 0:64] = 0  # zarr does not write what is all fill value
    expected[64:128, 0:64] = 0
    for window in ((0, 0, 256, 256), (70, 3, 20, 130)):
        reader = open_reader(path)
        y, x, h, w = window
        np.testing.assert_array_equal(
            reader.read(0, *window)[..., 0], expected[y : y + h, x : x + w]
        )
        said = "5 of the 16" if h == 256 else "1 of the 3"
        assert said in reader.notes()[0]


def test_damaged_chunk_is_named(tmp_path: Path) -> None:
    path, levels = rgb(tmp_path / "a.zarr")
    (path / "level0" / "1" / "2" / "3").write_bytes(b"not zstd at all")
    reader = open_reader(path)
    with pytest.raises(HrvizError, match=r"level 0, chunk row 2, column 3 cannot be decoded"):
        reader.read(0, 100, 100, 100, 120)
    np.testing.assert_array_equal(reader.read(0, 0, 0, 100, 100), levels[0][:100, :100])


def test_chunks_larger_than_a_tile_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.arange(2100 * 2200, dtype=np.uint32).reshape(2100, 2200)
    zarr.create_array(tmp_path / "a.zarr", data=array, chunks=array.shape)
    reader = open_reader(tmp_path / "a.zarr")
    assert isinstance(reader, ZarrReader)
    assert reader.levels[0].tile == (2048, 2048)
    asked: list[object] = []
    window = reader._window
    monkeypatch.setattr(reader, "_window", lambda *a: asked.append(a) or window(*a))
    for y, x, h, w in windows(2100, 2200):
        np.testing.assert_array_equal(
            reader.read(0, y, x, h, w)[..., 0], array[y : y + h, x : x + w]
        )
    assert len(asked) == 1


def test_many_threads(tmp_path: Path) -> None:
    path, levels = rgb(tmp_path / "a.zarr", version=3, sharded=True)
    reader = open_reader(path)
    jobs = [w for seed in range(4) for w in windows(301, 405, 6, seed)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda w: reader.read(0, *w), jobs))
    for (y, x, h, w), part in zip(jobs, got, strict=True):
        np.testing.assert_array_equal(part, levels[0][y : y + h, x : x + w])


def test_identity_and_closing(tmp_path: Path) -> None:
    path, _ = rgb(tmp_path / "a.zarr")
    reader = open_reader(path)
    assert open_reader(path).identity == reader.identity
    attributes = json.loads((path / ".zattrs").read_text())
    (path / ".zattrs").write_text(json.dumps(attributes | {"more": 1}))
    assert open_reader(path).identity != reader.identity
    reader.close()
    with pytest.raises(HrvizError, match="closed"):
        reader.read(0, 0, 0, 4, 4)


# -- remote -------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_over_http(tmp_path: Path, serve: Any, kind: dict[str, Any]) -> None:
    """The standard library's server ignores byte ranges: shards are read all the same."""
    _, levels = rgb(tmp_path / "a.zarr", **kind)
    reader = open_reader(f"{serve.address}/a.zarr/")
    assert reader.name == "a.zarr"
    assert_reads(reader, levels)
    again = open_reader(f"{serve.address}/a.zarr")
    assert again.levels == reader.levels


@pytest.mark.parametrize("version", [2, 3])
def test_http_requests_are_few(tmp_path: Path, serve: Any, version: int) -> None:
    path, _ = rgb(tmp_path / "a.zarr", version=version)
    for chunk in (path / "level0").rglob("0/0"):
        if chunk.is_file():
            chunk.unlink()
    reader = open_reader(f"{serve.address}/a.zarr")
    assert len(serve.asked) <= 4 + 3 * (3 if version == 2 else 1)
    serve.asked.clear()
    reader.read(0, 0, 0, 64, 128)
    assert len(serve.asked) == len(set(serve.asked)) == 6  # 2 chunks of 3 channels, each once
    assert "3 of the 6 chunks" in reader.notes()[0]


def test_other_stores_of_fsspec() -> None:
    import fsspec

    array = picture(70, 80, 1)[..., 0]
    store = zarr.storage.FsspecStore.from_url("memory://hrviz/a.zarr")
    zarr.create_array(store, data=array, chunks=(32, 32))
    try:
        assert_reads(open_reader("memory://hrviz/a.zarr"), (array[..., None],))
    finally:
        fsspec.filesystem("memory").rm("/hrviz", recursive=True)


def test_file_addresses(tmp_path: Path) -> None:
    _, levels = rgb(tmp_path / "a b.zarr")
    assert_reads(open_reader((tmp_path / "a b.zarr").as_uri()), levels)


def test_nothing_there(tmp_path: Path, serve: Any) -> None:
    assert "no Zarr" in refusal(f"{serve.address}/none.zarr")
    (tmp_path / "page.zarr").mkdir()
    (tmp_path / "page.zarr" / "zarr.json").write_text("<!doctype html><title>hello</title>")
    assert "a web page" in refusal(f"{serve.address}/page.zarr")
    assert "127.0.0.1:9 cannot be reached" in refusal("http://127.0.0.1:9/a.zarr")
    assert "only Zarr is opened" in refusal("http://127.0.0.1:9/slide.svs")
    assert "download it" in refusal("s3://bucket/photo.jpg")
    assert "cannot be opened" in refusal("nonsense://bucket/a.zarr")


def test_credentials_are_never_shown() -> None:
    text = refusal("http://user:secret@127.0.0.1:9/a.zarr?token=hidden")
    assert "secret" not in text
    assert "hidden" not in text


def test_missing_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install s3fs" in refusal("s3://bucket/a.zarr")


@pytest.mark.parametrize("status", [403, 500])
def test_server_errors(status: int) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self.send_error(status)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    text = refusal(f"http://127.0.0.1:{server.server_port}/a.zarr")
    server.shutdown()
    server.server_close()
    assert "access is denied (403)" in text if status == 403 else "error 500" in text


@pytest.mark.quiet
def test_silent_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from hrviz.image.readers import zarr_store

    monkeypatch.setattr(zarr_store, "OPEN_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        started = time.monotonic()
        text = refusal(f"http://127.0.0.1:{listening.getsockname()[1]}/a.zarr")
    assert time.monotonic() - started < 3
    assert "does not answer (waited 1 s)" in text
    assert zarr_store.IDLE_SECONDS < 10


SILENT = """
import functools, http.server, sys, threading, time
import hrviz
from hrviz.image.readers import zarr_store

zarr_store.IDLE_SECONDS = 1.0

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): ...
    def do_GET(self):
        if "/level0/" in self.path and not "/.z" in self.path:
            time.sleep(60)
        super().do_GET()

http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
image = hrviz.open(f"http://127.0.0.1:{server.server_port}/a.zarr")
started = time.monotonic()
for _ in range(3):
    try:
        image.region((0, 0, 301, 405))
    except hrviz.HrvizError as error:
        print(error)
assert time.monotonic() - started < 4
"""


@pytest.mark.quiet
def test_server_that_falls_silent_while_reading(tmp_path: Path) -> None:
    """One sentence, soon, for each of many chunks; and nothing left over at exit."""
    rgb(tmp_path / "a.zarr")
    command = [sys.executable, "-c", SILENT, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("does not answer (waited 1 s)") == 3
    assert ended.stderr == ""


# -- hostile ------------------------------------------------------------------------------------
def bare(path: Path, **changes: Any) -> Path:
    """A Zarr 2 array's metadata without any chunk."""
    meta = {"zarr_format": 2, "shape": [100, 100], "chunks": [64, 64], "dtype": "<u2"}
    meta |= {"order": "C", "compressor": None, "filters": None, "fill_value": 3}
    path.mkdir(parents=True)
    (path / ".zarray").write_text(json.dumps(meta | changes))
    return path


@pytest.mark.quiet
def test_a_billion_pixels_a_side(tmp_path: Path) -> None:
    path = bare(tmp_path / "a.zarr", shape=[10**9, 10**9], chunks=[512, 512])
    started = time.monotonic()
    image = hrviz.open(str(path))
    assert image.window(0, 10**9 - 40, 10**9 - 50, 40, 50).shape == (40, 50, 1)
    assert (image.region((5e8, 5e8, 5e8 + 700, 5e8 + 700)) == 3).all()
    assert time.monotonic() - started < 5
    assert "4 of the 4" in image.notes[0] or "missing" in image.notes[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chunks": [10**6, 10**6]}, "megapixels"),
        ({"shape": [100, "100"]}, "no whole numbers"),
        ({"shape": [1.5, 100]}, "no whole numbers"),
        ({"shape": [True, 100]}, "no whole numbers"),
        ({"shape": "many"}, "no whole numbers"),
        ({"shape": [100]}, "no whole numbers"),
        ({"shape": [0, 100]}, "no pixels"),
        ({"shape": [-4, 100]}, "no pixels"),
        ({"chunks": [0, 64]}, "no pixels"),
        ({"shape": [2**70, 100]}, "beyond any image"),
        ({"dtype": "|O", "filters": [{"id": "pickle"}]}, "type |O"),
        ({"dtype": "<c8"}, "type <c8"),
        ({"dtype": [["a", "<u2"]]}, "pixels of type"),
        ({"filters": [{"id": "pickle", "protocol": 5}]}, "codec 'pickle'"),
        ({"compressor": {"id": "msgpack2"}}, "codec 'msgpack2'"),
        ({"compressor": 7}, "codec '7'"),
        ({"zarr_format": 9}, "Zarr metadata cannot be used"),
        ({"order": "Q"}, "Zarr metadata cannot be used"),
        ({"shape": [5] * 6, "chunks": [5] * 6}, "6 axes"),
    ],
)
def test_hostile_arrays(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(bare(tmp_path / "a.zarr", **changes))


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = bare(tmp_path / "a.zarr", filters=[{"id": "pickle"}])
    (path / "0.0").write_bytes(pickle.dumps(Bomb()))
    assert "does not load" in refusal(path)
    assert not Path("unpickled").exists()


def test_hostile_shards(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(128, 128), chunks=(32, 32), shards=(64, 64), dtype="u1")
    meta = json.loads((path / "zarr.json").read_text())
    meta["shape"] = [10**6, 10**6]
    meta["chunk_grid"]["configuration"]["chunk_shape"] = [320000, 320000]
    (path / "zarr.json").write_text(json.dumps(meta))
    assert "chunks a shard" in refusal(path)
    meta["codecs"][0]["configuration"]["codecs"].append({"name": "numcodecs.pickle"})
    (path / "zarr.json").write_text(json.dumps(meta))
    assert "numcodecs.pickle" in refusal(path)


@pytest.mark.parametrize(
    "inner", ["../../x", "/etc", "a/../../b", "..", "", "C:\\x", "%2e%2e/x", 7, None]
)
def test_paths_stay_inside(tmp_path: Path, inner: object) -> None:
    path, _ = rgb(tmp_path / "in" / "a.zarr")
    bare(tmp_path / "x")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"][1]["path"] = inner
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert "does not stay inside" in refusal(path)
    (path / ".zattrs").write_text(json.dumps({"plate": {"wells": [{"path": inner}]}}))
    assert "does not stay inside" in refusal(path)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("datasets", [], "lists 0 resolutions"),
        ("datasets", [{"path": "9"}], "is not there"),
        ("axes", [], "the axes none"),
        ("axes", ["y", "y", "x"], "needs y and x"),
        ("axes", ["c", "rows", "x"], "needs y and x"),
        ("axes", ["y", "x"], "3 axes and its image 2"),
    ],
)
def test_damaged_image_metadata(tmp_path: Path, key: str, value: object, expected: str) -> None:
    path, _ = rgb(tmp_path / "a.zarr")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0][key] = value
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert expected in refusal(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "7", "[" * 100_000])
def test_damaged_json(tmp_path: Path, content: str) -> None:
    path, _ = rgb(tmp_path / "a.zarr")
    (path / ".zattrs").write_text(content)
    assert "is not Zarr metadata" in refusal(path)


@pytest.mark.parametrize("version", [2, 3])
def test_random_metadata_never_leaves_a_trace(tmp_path: Path, version: int) -> None:
    path, _ = rgb(tmp_path / "a.zarr", version=version)
    files = [p for p in path.rglob("*") if p.name in ("zarr.json", ".zarray", ".zattrs")]
    rng = np.random.default_rng(1)
    for _ in range(60):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = b'0123456789{}[],":eE-aux/.'[rng.integers(25)]
        file.write_bytes(data)
        try:
            reader = open_reader(path)
            for number, level in enumerate(reader.levels):
                reader.read(number, 0, 0, min(level.height, 64), min(level.width, 64))
        except HrvizError as error:
            assert "\n" not in str(error)
        file.write_bytes(whole)

"""Paths and addresses made to harm, and files that are pulled away while they are read.

Each gives a picture or one sentence, within 10 s and 1 GiB, in a watched process (see `fuzz.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import TIFFS
from .fuzz import Watched
from .fuzz_seeds import FORMATS


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    process = Watched(tmp_path_factory.mktemp("hostile") / "errors.txt")
    yield process
    process.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="devices and named pipes need a Unix")
def test_devices_pipes_links_and_folders(watched: Watched, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.svs")
    (tmp_path / "zero.tif").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "b.svs").mkdir()
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr" / "zarr.json").symlink_to("/dev/zero")
    (tmp_path / "e").mkdir()
    os.mkfifo(tmp_path / "e" / "zarr.json")
    (tmp_path / "f").mkdir()
    os.mkfifo(tmp_path / "f" / "0.dcm")
    for name in ("a.svs", "zero.tif", "/dev/zero", "/dev/stdin"):
        assert "not a regular file" in watched.said(tmp_path / name)
    for name in ("loop.png", "b.svs", "d.zarr", "e", "f"):
        assert watched.said(tmp_path / name) != "picture"
    (tmp_path / "loop.zarr").mkdir()
    (tmp_path / "loop.zarr" / "0").symlink_to(tmp_path / "loop.zarr")
    assert watched.said(tmp_path / "loop.zarr") != "picture"


@pytest.mark.parametrize(
    "address",
    [
        "a" * 100_000,
        "/" * 100_000,
        "../" * 30_000 + "etc/passwd",
        "a\0.png",
        "\udcff.png",
        "\u202egnp.a",
        "\N{PILE OF POO}" * 3000,
        "~nobody-here/a.png",
        "~" * 5000,
        "scene:",
        "scene:../../etc/passwd",
        "scene:tissue?size=1e400x1e400",
        "scene:tissue?size=0x0",
        "scene:tissue?size=-5x5",
        "scene:tissue?size=nanxnan",
        f"scene:tissue?size={'9' * 5000}x5",
        "scene:tissue?size=1000000000x1000000000&seed=7",
        f"scene:tissue?size=600x600&seed={'9' * 5000}",
        "scene:tissue?size=600x600&seed=-1",
        "scene:tissue?size=600x600&" + "a=1&" * 20_000,
        "scene:tissue?size=600x600#t=5",
        "data:../../etc/passwd",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1:1/a.zarr",
        "ftp://127.0.0.1:1/a.zarr",
        "javascript:alert(1)",
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_addresses(watched: Watched, address: str) -> None:
    watched.said(address)


@pytest.mark.parametrize("t", ["24", "999999999", "-1", "1e3", "9" * 400, "\u0663", "1&t=2"])
def test_frames_that_are_not_there(watched: Watched, tmp_path: Path, t: str) -> None:
    pytest.importorskip("av")
    assert watched.said(f"{FORMATS['mp4'](tmp_path)}#t={t}") != "picture" or t == "1&t=2"


def test_chunk_of_any_size(watched: Watched, tmp_path: Path) -> None:
    """A chunk's file of 20 GB (with nothing in it), and metadata of as much."""
    path = FORMATS["zarr3"](tmp_path)
    chunk = next(p for p in sorted(path.rglob("0")) if p.is_file())
    os.truncate(chunk, 20 * 2**30)
    assert "at most 1,073,741,824 are read at once" in watched.said(path)
    os.truncate(path / "zarr.json", 20 * 2**30)
    assert watched.said(path) != "picture"


KEPT: dict[str, Callable[[Path], Path]] = {
    "tiles.tif": lambda f: TIFFS["pyramid"](f / "a.tif").path,
    "plain.tif": FORMATS["tiff-plain"],
    "strips.tif": FORMATS["tiff-strips"],
    "slide.svs": FORMATS["svs"],
    "picture.png": FORMATS["png"],
    "array.npy": FORMATS["npy"],
    "geo.tif": FORMATS["geotiff"],
    "frames.dcm": FORMATS["dicom"],
    "codestream.jp2": FORMATS["jp2"],
    "trestle.tif": FORMATS["trestle"],
    "film.mp4": FORMATS["mp4"],
}
READ = """
import sys
from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader
reader = open_reader(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
try:
    level = reader.levels[0]
    reader.read(0, 0, 0, level.height, level.width)
    reader.compressed_tile(0, 0, 0)
    print("pixels")
except HrvizError as error:
    print(error)
"""


@pytest.mark.parametrize("harm", ["shrinks", "empty", "deleted", "replaced"])
@pytest.mark.parametrize("name", KEPT)
def test_files_that_change_while_open(tmp_path: Path, name: str, harm: str) -> None:
    """Nothing is decoded before the harm is done; the process must outlive it."""
    package = {"geo": "rasterio", "codestream": "rasterio", "frames": "pydicom", "film": "av"}
    pytest.importorskip(package.get(name.split(".")[0], "numpy"))
    path = KEPT[name](tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", READ, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    if harm in ("shrinks", "empty"):
        os.truncate(path, path.stat().st_size // 20 if harm == "shrinks" else 0)
    else:
        path.unlink()
        if harm == "replaced":
            path.write_text("something else")
    out, errors = child.communicate("\n", timeout=30)
    assert child.returncode == 0, errors
    assert out.count("\n") == 1, out
    if harm in ("shrinks", "empty") and name != "film.mp4":
        assert out != "pixels\n"

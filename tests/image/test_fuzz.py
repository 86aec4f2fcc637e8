"""Damaged files of every format give a picture or a sentence: see `fuzz.py`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from .fuzz import CPU_SECONDS, Outcome, Watched
from .fuzz_seeds import FORMATS

QUICK, MANY = range(16), range(500)
NEEDS = {"geotiff": "rasterio", "cog": "rasterio", "jp2": "rasterio", "j2k": "rasterio"}
NEEDS |= dict.fromkeys(("dicom-slide",), "wsidicom")
NEEDS |= dict.fromkeys(("dicom", "dicom-jpeg", "dicom-rle"), "pydicom")
NEEDS |= dict.fromkeys(("mp4", "mov-hevc", "mkv", "avi", "webm"), "av")
NEEDS |= dict.fromkeys(("trestle", "philips", "leica", "ventana", "ndpi", "vms"), "openslide")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    process = Watched(tmp_path_factory.mktemp("fuzz") / "errors.txt")
    yield process
    process.close()


def fuzz(watched: Watched, name: str, seeds: range) -> list[Outcome]:
    package = NEEDS.get(name.removesuffix("-jpeg") if name.startswith("geo") else name)
    if package and find_spec(package) is None:
        pytest.skip(f"{name} needs {package}, which is not installed")
    outcomes = [watched.run(name, seed) for seed in seeds]
    failed = [f"fuzz.py {o.name} {o.seed}: {o.failed}" for o in outcomes if o.failed]
    assert not failed, "\n".join(failed)
    return outcomes


@pytest.mark.parametrize("name", FORMATS)
def test_a_few_damaged_files(watched: Watched, name: str) -> None:
    fuzz(watched, name, QUICK)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", FORMATS)
def test_many_damaged_files(watched: Watched, name: str) -> None:
    outcomes = fuzz(watched, name, MANY)
    pictures = sum(o.said == "picture" for o in outcomes)
    assert 0 < pictures < len(outcomes)  # the damage is neither harmless nor always fatal


def test_the_watcher_sees_what_it_is_for(tmp_path: Path) -> None:
    """A crash, a hang, too much memory and a trace are failures, and the next image is opened."""
    watched, sound = Watched(tmp_path / "errors.txt"), FORMATS["png"](tmp_path)
    for address, expected in (
        ("crash:", "died"),
        ("hang:", "hangs"),
        ("memory:", "took"),
        ("trace:", "ZeroDivisionError"),
    ):
        # only what never ends is kept waiting for briefly: a slow machine needs seconds to fill memory
        watched.cpu_seconds = 3 if address == "hang:" else CPU_SECONDS
        assert expected in watched.open(address).failed
        assert watched.open(sound).said == "picture"
    watched.close()

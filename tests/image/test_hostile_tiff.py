"""TIFFs made to harm: sizes and tables that lie, directories in circles, descriptions that lead away.

Each gives a picture or one sentence, within 10 s and 1 GiB, in a watched process (see `fuzz.py`).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hrviz.image.image import open_image

from .fuzz import Watched

BILLION = 10**9


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    process = Watched(tmp_path_factory.mktemp("hostile") / "errors.txt")
    yield process
    process.close()


WIDTHS = {1: "B", 2: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
SMALL: dict[int, tuple[int, list[int]]] = {
    256: (4, [64]),
    257: (4, [64]),
    258: (3, [8]),
    259: (3, [1]),
    262: (3, [1]),
    277: (3, [1]),
    322: (4, [64]),
    323: (4, [64]),
    324: (4, [8]),
    325: (4, [64]),
}


def directory(
    entries: dict[int, tuple[int, Any]], at: int, following: int = 0, *, big: bool = False
) -> bytes:
    """A directory to be put at `at`; values that do not fit lie behind it.

    An entry's value is a list of numbers, or `(count, number)` for a count that is a lie.
    """
    head, word, entry = ("<Q", "Q", 20) if big else ("<H", "I", 12)
    room = struct.calcsize(word)
    end = at + struct.calcsize(head) + entry * len(entries) + room
    out, rest = struct.pack(head, len(entries)), b""
    for code, (kind, value) in sorted(entries.items()):
        if isinstance(value, tuple):
            count, raw = value[0], struct.pack(f"<{word}", value[1])
        else:
            count, raw = len(value), struct.pack(f"<{len(value)}{WIDTHS[kind]}", *value)
        if len(raw) > room:
            raw, rest = struct.pack(f"<{word}", end + len(rest)), rest + raw
        out += struct.pack(f"<HH{word}", code, kind, count) + raw.ljust(room, b"\0")
    return out + struct.pack(f"<{word}", following) + rest


def tiff(
    path: Path, entries: dict[int, Any], following: int = 0, *, big: bool = False, tail: bytes = b""
) -> Path:
    """A TIFF of one directory, that starts at byte 16; `tail` is what the file ends with."""
    start = (
        struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 16)
    )
    body = directory(entries, 16, following, big=big)
    path.write_bytes(start.ljust(16, b"\0") + body + tail)
    return path


def tiled(**changes: Any) -> dict[int, Any]:
    """`SMALL` with other width, height, tile, ... by the names of their tags."""
    names = {
        "width": 256, "height": 257, "bits": 258, "coding": 259, "samples": 277, "tile_width": 322,
        "tile_height": 323, "offsets": 324, "counts": 325, "format": 339, "subifds": 330,
    }  # fmt: skip
    return SMALL | {names[name]: value for name, value in changes.items()}


def strips(entries: dict[int, Any]) -> dict[int, Any]:
    """The same in one strip instead of tiles."""
    rest = {k: v for k, v in entries.items() if k not in (322, 323, 324, 325)}
    return rest | {273: entries[324], 278: entries[257], 279: entries[325]}


HUGE = {"width": (4, [BILLION]), "height": (4, [BILLION])}
ZEROS = zlib.compress(bytes(64 * 64))
TIFF_CASES: dict[str, tuple[dict[int, Any], int, bytes]] = {
    "a billion a side": (tiled(**HUGE), 0, b""),
    "a billion a side, its tables a lie": (
        tiled(**HUGE, offsets=(4, (2**32 - 1, 8)), counts=(4, (2**32 - 1, 8))), 0, b"",
    ),
    "a billion a side in one tile": (
        tiled(**HUGE, tile_width=(4, [BILLION]), tile_height=(4, [BILLION]), coding=(3, [8])), 0, b"",
    ),
    "a billion a side in strips": (strips(tiled(**HUGE)), 0, b""),
    "a billion a side in packed strips": (strips(tiled(**HUGE, coding=(3, [8]))), 0, b""),
    "tiles of a million a side": (
        tiled(tile_width=(4, [10**6]), tile_height=(4, [10**6]), coding=(3, [8])), 0, b"",
    ),
    "tiles of a million a side, plain": (
        tiled(tile_width=(4, [10**6]), tile_height=(4, [10**6])), 0, b"",
    ),
    "an unwritten tile of 2 GB": (
        tiled(
            tile_width=(4, [16000]), tile_height=(4, [16000]), bits=(3, [64]), format=(3, [3]),
            coding=(3, [8]), offsets=(4, [0]), counts=(4, [0]),
        ), 0, b"",
    ),
    "tiles without size": (tiled(tile_width=(4, [0]), tile_height=(4, [0])), 0, b""),
    "no rows": (tiled(height=(4, [0])), 0, b""),
    "strips without rows": (strips(tiled()) | {278: (4, [0])}, 0, b""),
    "65,535 samples": (tiled(samples=(3, [65535]), coding=(3, [8])), 0, b""),
    "tile beyond the end": (tiled(offsets=(4, [2**32 - 9])), 0, b""),
    "next directory is this one": (tiled(), 16, b""),
    "next directory in the header": (tiled(), 1, b""),
    "SubIFD is this directory": (tiled(subifds=(4, [16])), 0, b""),
    "a million SubIFDs": (tiled(subifds=(4, (10**6, 16))), 0, bytes(4 * 10**6 + 20)),
    "a tile that grows a thousandfold": (
        tiled(coding=(3, [8]), offsets=(4, [300]), counts=(4, [970_000])),
        0,
        zlib.compress(bytes(10**9), 9).rjust(1_100_000, b"\0"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("case", TIFF_CASES)
def test_tiff(watched: Watched, tmp_path: Path, case: str, big: bool) -> None:
    entries, following, tail = TIFF_CASES[case]
    assert watched.said(tiff(tmp_path / "a.tif", entries, following, big=big, tail=tail))


def test_a_billion_pixels_a_side_is_told_as_such(watched: Watched, tmp_path: Path) -> None:
    text = watched.said(tiff(tmp_path / "a.tif", tiled(**HUGE)))
    assert "1 of 244140625000000 tiles" in text


def test_directories_in_a_circle(watched: Watched, tmp_path: Path) -> None:
    """Two directories, each the other's next; and a SubIFD whose SubIFD is the first."""
    first = directory(SMALL, 16, 400).ljust(384, b"\0")
    (tmp_path / "a.tif").write_bytes(
        struct.pack("<2sHI", b"II", 42, 16).ljust(16, b"\0")
        + first
        + directory(SMALL, 400, 16)
        + bytes(5000)
    )
    assert watched.said(tmp_path / "a.tif") == "picture"
    entries = tiled(subifds=(4, [400]))
    back = directory(tiled(subifds=(4, [16])), 400, 16)
    tiff(tmp_path / "b.tif", entries)
    (tmp_path / "b.tif").write_bytes(
        (tmp_path / "b.tif").read_bytes().ljust(400, b"\0") + back + bytes(5000)
    )
    assert watched.said(tmp_path / "b.tif")


def test_directories_without_end(watched: Watched, tmp_path: Path) -> None:
    """A BigTIFF directory of 2^63 entries, and a hundred thousand directories."""
    (tmp_path / "a.tif").write_bytes(
        struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2**63) + bytes(400)
    )
    assert watched.said(tmp_path / "a.tif") != "picture"
    size = len(directory(SMALL, 0))
    chain = b"".join(
        directory(SMALL, 16 + n * size, 16 + (n + 1) * size) for n in range(100_000)
    )  # the last one leads beyond the end
    (tmp_path / "b.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 16).ljust(16, b"\0") + chain)
    assert watched.said(tmp_path / "b.tif")


OME = (
    '<?xml version="1.0"?>{entities}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="64" '
    'SizeY="64" SizeZ="{z}" SizeC="1" SizeT="{t}"><Channel ID="Channel:0:0" Name="{name}" '
    'SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
)
LAUGHS = "<!DOCTYPE a [<!ENTITY l0 'ha'>" + "".join(
    f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        OME.format(entities="", z=BILLION, t=BILLION, name="a", data="<TiffData/>"),
        OME.format(entities="", z=1, t=1, name="a", data=f'<TiffData IFD="{BILLION}"/>'),
        OME.format(entities=LAUGHS + "]>", z=1, t=1, name="&l11;", data="<TiffData/>"),
        OME.format(
            entities="<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
            z=1, t=1, name="&x;", data="<TiffData/>",
        ),
        OME.format(
            entities="", z=1, t=1, name="a",
            data='<TiffData><UUID FileName="../secret.ome.tif">urn:uuid:1</UUID></TiffData>',
        ),
        f"ImageJ=1.53c\nimages={BILLION}\nslices={BILLION}\n",
        json.dumps({"shape": [BILLION, 64, 64]}),
    ],
    ids=["planes", "pages", "entities", "file-entity", "other-file", "imagej", "shaped"],
)  # fmt: skip
def test_tiff_descriptions(watched: Watched, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "secret.ome.tif", np.full((64, 64), 77, np.uint8))
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), description=text, metadata=None)
    answer = watched.said(path)
    assert "root:" not in answer
    if answer == "picture":
        image = open_image(path)
        assert not (image.thumbnail(64) == 77).any()
        assert "root:" not in str(image.facts())


def test_as_long_as_a_river(watched: Watched, tmp_path: Path) -> None:
    """192 x 16 million pixels in small tiles: an overview would ask for 800,000 of them."""
    entries = tiled(
        width=(4, [16_744_192]), height=(4, [192]), coding=(3, [8]),
        offsets=(4, [0] * 784_884), counts=(4, [0] * 784_884),
    )  # fmt: skip
    assert "no coarse levels stored" in watched.said(tiff(tmp_path / "a.tif", entries))

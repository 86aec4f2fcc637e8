"""Images made to harm: sizes beyond memory, data that unfolds without end, parts in other folders.

Each gives a picture or one sentence, within 10 s and 1 GiB, in a watched process (see `fuzz.py`).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zarr

from hrviz.errors import HrvizError
from hrviz.image.image import open_image

from .conftest import RASTERS, picture
from .fuzz import Watched
from .fuzz_seeds import FORMATS
from .test_zarr import ome

BILLION = 10**9


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    process = Watched(tmp_path_factory.mktemp("hostile") / "errors.txt")
    yield process
    process.close()


# -- pictures -----------------------------------------------------------------------------------
def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def jpeg_header(tmp_path: Path, side: int) -> bytes:
    data = bytearray(RASTERS["rgb.jpg"](tmp_path / "seed.jpg").path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def bmp_header(tmp_path: Path, width: int, height: int) -> bytes:
    data = bytearray(RASTERS["rgb.bmp"](tmp_path / "seed.bmp").path.read_bytes())
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def test_pictures_that_unfold(watched: Watched, tmp_path: Path) -> None:
    for name, data in {
        "a.png": png_header(100_000, 100_000),
        "b.png": png_header(2**31 - 1, 2**31 - 1, 16, 6),
        "c.jpg": jpeg_header(tmp_path, 65535),
        "d.bmp": bmp_header(tmp_path, 2**31 - 1, -(2**31) + 1),
        "e.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(60),
    }.items():
        (tmp_path / name).write_bytes(data)
        text = watched.said(tmp_path / name)
        assert "at most 128 are allowed" in text or "cannot be read" in text, text
    for name, data in {
        "f.png": png_header(12000, 9000),
        "g.jpg": jpeg_header(tmp_path, 11000),
    }.items():
        (tmp_path / name).write_bytes(data)  # allowed, and its pixels are not there
        text = watched.said(tmp_path / name)
        assert "cannot be decoded" in text or "more than its" in text, text


# -- Zarr ---------------------------------------------------------------------------------------
GIGA = 3 * 2**30


def deflate_bomb(wbits: int) -> bytes:
    """3 GiB of zeros as one stream: a block that ends on a whole byte, again and again."""
    packer = zlib.compressobj(9, wbits=wbits)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (GIGA // 2**24) + b"\x03\0" + bytes(8)


def zstd_bomb(*, sized: bool) -> bytes:
    """3 GiB of zeros as one frame of run-length blocks (RFC 8878), its size told or not."""
    blocks = GIGA // 2**17
    head = b"\x28\xb5\x2f\xfd" + (b"\xc0\x38" + struct.pack("<Q", GIGA) if sized else b"\x00\x38")
    header = 2**17 << 3 | 1 << 1
    body = b"".join(
        (header | (n == blocks - 1)).to_bytes(3, "little") + b"\0" for n in range(blocks)
    )
    return head + body


BOMBS: dict[str, Callable[[], bytes]] = {
    "zstd": lambda: zstd_bomb(sized=True),
    "zstd-unsized": lambda: zstd_bomb(sized=False),
    "gzip": lambda: deflate_bomb(31),
    "gzip-members": lambda: gzip.compress(bytes(2**24)) * 192,
    "zlib": lambda: deflate_bomb(15),
    "bz2": lambda: bz2.compress(bytes(2**26)) * 48,
    "lzma": lambda: lzma.compress(bytes(2**25), preset=0) * 96,
    "blosc": lambda: (
        b"\x02\x01\x21\x01" + struct.pack("<III", 2**31 - 100, 2**18, 200) + bytes(200)
    ),
    "lz4": lambda: struct.pack("<I", 2**31 - 100) + bytes(200),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_zarr_chunks_that_unfold(watched: Watched, tmp_path: Path, bomb: str) -> None:
    codec = bomb.split("-")[0]
    cases: list[tuple[int, dict[str, Any]]] = [(2, {"compressors": {"id": codec}})]
    if codec in ("zstd", "gzip", "blosc"):
        settings = {"level": 5} if codec == "gzip" else {}
        v3 = {"compressors": {"name": codec, "configuration": settings}}
        cases += [(3, v3), (3, v3 | {"shards": (128, 128)})]
    data = BOMBS[bomb]()
    for number, (version, options) in enumerate(cases):
        path = tmp_path / f"{number}.zarr"
        zarr.create_array(
            path, shape=(128, 128), chunks=(64, 64), dtype="u1", zarr_format=version, **options
        )[...] = 7
        assert watched.said(path) == "picture"
        if "shards" in options:  # an index in which every chunk is the bomb
            index = struct.pack("<QQ", 0, len(data)) * 4
            (path / "c" / "0" / "0").write_bytes(data + index + crc32c(index))
        elif version == 3:
            (path / "c" / "0" / "0").write_bytes(data)
        else:
            (path / "0.0").write_bytes(data)
        os.utime(path / ("zarr.json" if version == 3 else ".zarray"))
        text = watched.said(path)
        assert "decodes to more than the" in text or "too small" in text, text


def crc32c(data: bytes) -> bytes:
    from google_crc32c import value  # zarr-python's own

    return struct.pack("<I", value(data))


def test_zarr_of_missing_chunks_a_billion_a_side(watched: Watched, tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", shape=(BILLION, BILLION), chunks=(256, 256), dtype="u2", zarr_format=3
    )
    assert "zoom in, or make a pyramid" in watched.said(tmp_path / "a.zarr")
    image = open_image(tmp_path / "a.zarr")
    assert not image.window(0, 5 * 10**8, 5 * 10**8, 300, 300).any()
    assert "missing and shown as gaps" in image.notes[0]
    assert "at most 1 is read at once" in refusal(lambda: image.window(0, 0, 0, 10**6, 10**6))


def test_levels_out_of_proportion_are_not_levels(tmp_path: Path) -> None:
    """An array that is no coarser copy would have a view of everything read from the finest."""
    full = picture(300, 400)
    levels = [full, full[::2, ::2], full[::2, ::20]]
    path = ome(tmp_path / "a.zarr", [x.transpose(2, 0, 1) for x in levels], "cyx")
    image = open_image(path)
    assert [(v.height, v.width) for v in image.levels_info] == [(300, 400), (150, 200)]
    assert image.stored_levels == 2


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(HrvizError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- NumPy --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (%d, %d)}" % (BILLION, BILLION),
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (-1, -9)}",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (1e9, 9)}",
        b"{'descr': [('a', '<u2', (30000, 30000))], 'fortran_order': False, 'shape': (9, 9)}",
        b"{'descr': '|V%d', 'fortran_order': False, 'shape': (9, 9)}" % (2**31 - 1),
        b"{'descr': '|O', 'fortran_order': False, 'shape': (9, 9)}",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (9,) * 10**9}",
        b"__import__('os').mkdir('evaluated')",
        b"[" * 20_000,
        b"-" * 20_000 + b"1",
        b"9" * 60_000,
    ],
    ids=range(11),
)
def test_numpy_headers(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(
        b"\x93NUMPY\2\0" + struct.pack("<I", len(header) + 1) + header + b"\n" + bytes(9)
    )
    assert watched.said(path) != "picture"
    path.write_bytes(b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + header)
    assert watched.said(path) != "picture"
    assert not (tmp_path / "evaluated").exists()


# -- DICOM --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "values",
    [
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": 2**31 - 1},
        {"Rows": 16000, "Columns": 16000, "NumberOfFrames": 2**31 - 1},
        {"SamplesPerPixel": 3, "Rows": 16000, "Columns": 16000, "BitsAllocated": 32},
    ],
)
def test_dicom_sizes(watched: Watched, tmp_path: Path, values: dict[str, int]) -> None:
    pydicom = pytest.importorskip("pydicom")
    path = FORMATS["dicom"](tmp_path)
    data = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(data, name, value)
    data.save_as(path)
    assert watched.said(path)
    assert watched.said(f"{path}#t=1")
    assert watched.said(f"{path}#t=999999999")


@pytest.mark.parametrize("side", [10**6, 2**31, 2**32 - 1])
def test_dicom_slide_of_any_size(watched: Watched, tmp_path: Path, side: int) -> None:
    """The few frames that are there belong to a slide said to be huge."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("wsidicom")
    folder = FORMATS["dicom-slide"](tmp_path)
    data = pydicom.dcmread(folder / "0.dcm")
    data.TotalPixelMatrixRows = data.TotalPixelMatrixColumns = side
    data.save_as(folder / "0.dcm")
    assert watched.said(folder)
    (folder / "1.dcm").unlink()
    assert watched.said(folder)


def test_dicom_without_bottom(watched: Watched, tmp_path: Path) -> None:
    """Ten thousand sequences inside one another."""
    pytest.importorskip("pydicom")
    nest = (
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 2**32 - 1)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
    ) * 10_000
    whole = FORMATS["dicom"](tmp_path).read_bytes()
    at = whole.index(struct.pack("<HH2s", 0x0008, 0x0020, b"DA"))
    (tmp_path / "a.dcm").write_bytes(whole[:at] + nest + whole[at:])
    assert watched.said(tmp_path / "a.dcm") != "picture"


def test_dicom_that_unfolds(watched: Watched, tmp_path: Path) -> None:
    """3 GiB of zeros in the deflated coding, opened, and beside a sound slide in its folder."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("wsidicom")
    path = FORMATS["dicom"](tmp_path)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.save_as(path)
    start = 144 + data.file_meta.FileMetaInformationGroupLength
    path.write_bytes(path.read_bytes()[:start] + deflate_bomb(-15))
    assert "dcmconv" in watched.said(path)
    assert watched.said(FORMATS["dicom-slide"](tmp_path)) == "picture"


# -- JPEG 2000 ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("size", "tile", "components"),
    [
        ((BILLION, BILLION), (BILLION, BILLION), 3),
        ((BILLION, BILLION), (4096, 4096), 3),
        ((255, 255), (1, 1), 3),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 1), 3),
        ((200, 300), (200, 300), 16384),
        ((30_000, 30_000), (30_000, 30_000), 3),
    ],
)
def test_jpeg2000_sizes(
    watched: Watched, tmp_path: Path, size: tuple[int, int], tile: tuple[int, int], components: int
) -> None:
    pytest.importorskip("rasterio")
    for name in ("jp2", "j2k"):
        path = FORMATS[name](tmp_path)
        data = bytearray(path.read_bytes())
        at = data.index(b"\xff\x4f\xff\x51") + 2
        struct.pack_into(">II", data, at + 6, *size)
        struct.pack_into(">II", data, at + 22, *tile)
        struct.pack_into(">H", data, at + 38, components)
        path.write_bytes(data)
        assert watched.said(path)


# -- films --------------------------------------------------------------------------------------
def box(kind: bytes, data: bytearray) -> int:
    """Where the body of the first box of a kind starts."""
    return data.index(kind) + 4


def film_of(kind: str, value: int) -> Callable[[bytearray], None]:
    """A change to a number in a film's index."""

    def change(data: bytearray) -> None:
        if kind == "frame size":
            at = box(b"avc1", data) + 24
            struct.pack_into(">HH", data, at, value, value)
        elif kind == "constant sample size":
            struct.pack_into(">II", data, box(b"stsz", data) + 4, 1, value)
        elif kind == "samples":
            struct.pack_into(">I", data, box(b"stsz", data) + 8, value)
        elif kind == "times":
            struct.pack_into(">II", data, box(b"stts", data) + 8, value, 1)
        elif kind == "time entries":
            struct.pack_into(">I", data, box(b"stts", data) + 4, value)
        elif kind == "a chunk's samples":
            struct.pack_into(">I", data, box(b"stsc", data) + 12, value)
        elif kind == "time scale":
            struct.pack_into(">I", data, box(b"mdhd", data) + 12, value)
        elif kind == "rotation":
            struct.pack_into(">9i", data, box(b"tkhd", data) + 40, *[value] * 9)

    return change


@pytest.mark.parametrize("value", [0, 1, 65535, 170_000_000, 2**31 - 1])
@pytest.mark.parametrize(
    "kind",
    [
        *("frame size", "constant sample size", "samples", "times", "time entries"),
        *("a chunk's samples", "time scale", "rotation"),
    ],
)
def test_films(watched: Watched, tmp_path: Path, kind: str, value: int) -> None:
    pytest.importorskip("av")
    path = FORMATS["mp4"](tmp_path)
    data = bytearray(path.read_bytes())
    film_of(kind, min(value, 65535) if kind == "frame size" else value)(data)
    path.write_bytes(data)
    assert watched.said(path)
    assert watched.said(f"{path}#t=999999999") != "picture"


# -- slides in several files --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NoJpegRows=1", "NoJpegRows=1000000000"),
        ("NoLayers=1", "NoLayers=99999999999999999999"),
        ("NoJpegColumns=1", "NoJpegColumns = 500000"),
        ("ImageFile=full.jpg", "ImageFile=../full.jpg"),
        ("MapFile=map.jpg", "MapFile=/full.jpg"),
        ("MacroImage=macro.jpg", "MacroImage=..\\full.jpg"),
    ],
)
def test_vms(watched: Watched, tmp_path: Path, old: str, new: str) -> None:
    pytest.importorskip("openslide")
    folder = tmp_path / "served"
    folder.mkdir()
    path = FORMATS["vms"](folder)
    (tmp_path / "full.jpg").write_bytes((folder / "full.jpg").read_bytes())
    assert watched.said(path) == "picture"
    path.write_text(path.read_text().replace(old, new))
    assert f"a.vms says {new.split('=')[0].strip()}=" in watched.said(path)


def test_mirax(watched: Watched, tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    (tmp_path / "a").mkdir()
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    (tmp_path / "a" / "Slidedat.ini").write_text(
        "[GENERAL]\nSLIDE_VERSION=01.02\nSLIDE_ID=A\nIMAGENUMBER_X=9\nIMAGENUMBER_Y=9\n"
        "OBJECTIVE_MAGNIFICATION=20\nCameraImageDivisionsPerSide=1\n[HIERARCHICAL]\nHIER_COUNT=1\n"
        "NONHIER_COUNT=0\nINDEXFILE=Index.dat\nHIER_0_NAME=Slide zoom level\n"
        "HIER_0_COUNT=1000000000\n[DATAFILE]\nFILE_COUNT=1\nFILE_0=Data0000.dat\n"
    )
    assert "HIER_0_COUNT=1000000000" in watched.said(tmp_path / "a.mrxs")


def test_tiles_too_large_for_openslide(watched: Watched, tmp_path: Path) -> None:
    """OpenSlide ends the process when it gets no memory for a tile."""
    pytest.importorskip("openslide")
    path = FORMATS["trestle"](tmp_path)
    data = bytearray(path.read_bytes())
    entry = re.search(rb"\x42\x01[\x03\x04]\0\x01\0\0\0", data)  # tile width
    assert entry is not None
    struct.pack_into("<HHII", data, entry.start(), 322, 4, 1, BILLION)
    path.write_bytes(data)
    assert "1000000000" in watched.said(path)

"""Slides of seven formats, made here after OpenSlide's rules, against OpenSlide and the pixels written.

All go through OpenSlide itself (Aperio and DICOM have tests of their own); the pixels are those of
`FULL` and its every second row and column.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import picture, windows

openslide = pytest.importorskip("openslide")

FULL = picture(512, 768)
HALF = np.ascontiguousarray(FULL[::2, ::2])
SMALL = np.ascontiguousarray(FULL[::8, ::8])
TILES = {"tile": (128, 128), "photometric": "rgb", "metadata": None}


@dataclass(frozen=True)
class Slide:
    """What a slide's file says, and how far its pixels may be from `FULL`."""

    path: Path
    vendor: str
    mpp: float
    objective: str
    levels: int = 2
    origin: tuple[int, int] = (0, 0)  # y, x of FULL in level 0
    lossy: bool = False


def trestle(folder: Path) -> Slide:
    text = "Background Color=FFFFFF;Objective Power=40;OverlapsXY= 0 0 0 0"
    with tifffile.TiffWriter(folder / "a.tif") as tiff:
        tiff.write(
            FULL,
            software="MedScan 3.0",
            description=text,
            resolution=(0.25, 0.25),  # micrometres a pixel, against the tag's meaning
            resolutionunit="NONE",
            compression="lzw",
            **TILES,
        )
        tiff.write(HALF, software="MedScan 3.0", compression="lzw", **TILES)
    return Slide(folder / "a.tif", "trestle", 0.25, "40 x")


def _attribute(name: str, text: str) -> str:
    return f'<Attribute Name="{name}" Group="0x301D" Element="0x1001" PMSVR="IString">{text}</Attribute>'


def philips(folder: Path) -> Slide:
    spacing = [f"&quot;{mm}&quot; &quot;{mm}&quot;" for mm in (0.00025, 0.0005)]
    levels = "".join(
        '<DataObject ObjectType="PixelDataRepresentation">'
        + _attribute("DICOM_PIXEL_SPACING", spacing[n])
        + _attribute("PIIM_PIXEL_DATA_REPRESENTATION_NUMBER", str(n))
        + "</DataObject>"
        for n in (0, 1)
    )
    image = (
        '<DataObject ObjectType="DPScannedImage">'
        + _attribute("PIM_DP_IMAGE_TYPE", "WSI")
        + _attribute("DICOM_PIXEL_SPACING", spacing[0])
        + _attribute("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", f"<Array>{levels}</Array>")
        + "</DataObject>"
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        + _attribute("PIM_DP_SCANNED_IMAGES", f"<Array>{image}</Array>")
        + "</DataObject>"
    )
    options = TILES | {"compression": "jpeg", "compressionargs": {"level": 95}}
    with tifffile.TiffWriter(folder / "a.tiff") as tiff:
        tiff.write(FULL, software="Philips DP v1.0", description=text, **options)
        tiff.write(HALF, description="level=1", subfiletype=1, **options)
    return Slide(folder / "a.tiff", "philips", 0.25, "unknown x", lossy=True)


def leica(folder: Path) -> Slide:
    """The scan lies at a quarter of a collection twice its size; 500 nm a pixel."""
    width, height = 768 * 500, 512 * 500
    image = (
        '<image name="{name}"><device model="m" version="1"/><creationDate>d</creationDate>'
        '<view sizeX="{x}" sizeY="{y}" offsetX="{ox}" offsetY="{oy}"/><pixels>{levels}</pixels>'
        "<scanSettings><objectiveSettings><objective>{lens}</objective></objectiveSettings>"
        "<illuminationSettings><numericalAperture>0.4</numericalAperture>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings>"
        "</scanSettings></image>"
    )
    level = '<dimension r="0" ifd="{}" sizeX="{}" sizeY="{}"/>'
    macro = image.format(
        name="a", x=2 * width, y=2 * height, ox=0, oy=0, levels=level.format(0, 96, 64), lens=1
    )
    levels = level.format(1, 768, 512) + level.format(2, 384, 256)
    main = image.format(
        name="b", x=width, y=height, ox=width // 2, oy=height // 2, levels=levels, lens=20
    )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" '
        f'uuid="a"><collection name="c" sizeX="{2 * width}" sizeY="{2 * height}">'
        f"<barcode>1</barcode>{macro}{main}</collection></scn>"
    )
    with tifffile.TiffWriter(folder / "a.scn", bigtiff=True) as tiff:
        for number, pixels in enumerate((SMALL, FULL, HALF)):
            density = 10000 if number == 2 else 20000
            tiff.write(
                pixels,
                description=None if number else text,
                resolution=(density, density),
                resolutionunit="CENTIMETER",
                compression="lzw",
                **(TILES | {"tile": (128, 128) if number else (64, 64)}),
            )
    return Slide(folder / "a.scn", "leica", 0.5, "20 x", origin=(256, 384))


def ventana(folder: Path, *, joined: bool = True) -> Slide:
    """6 x 4 tiles, numbered from the lower left, every second row backwards, without overlaps."""

    def number(row: int, column: int) -> int:
        return row * 6 + (column if row % 2 == 0 else 5 - column) + 1

    joint = (
        '<TileJointInfo FlagJoined="1" Confidence="99" Direction="{}" Tile1="{}" Tile2="{}" '
        'OverlapX="0" OverlapY="0"/>'
    )
    joints = [
        joint.format("RIGHT", number(r, c), number(r, c + 1)) for r in range(4) for c in range(5)
    ]
    if joined:
        joints += [
            joint.format("UP", number(r, c), number(r + 1, c)) for r in range(3) for c in range(6)
        ]
    scan = b'<iScan Z-layers="1" Magnification="20" ScanRes="0.465"/>'
    stitched = (
        '<EncodeInfo Ver="2"><SlideStitchInfo><ImageInfo AOIScanned="1" Width="128" Height="128" '
        f'NumRows="4" NumCols="6" Pos-X="0" Pos-Y="0">{"".join(joints)}</ImageInfo></SlideStitchInfo>'
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    ).encode()
    with tifffile.TiffWriter(folder / "a.bif", bigtiff=True) as tiff:
        tiff.write(
            SMALL,
            description="Label Image",
            photometric="rgb",
            extratags=[(700, "B", len(scan), scan, True)],
            metadata=None,
        )
        for level, pixels in enumerate((FULL, HALF)):
            tiff.write(
                pixels,
                description=f"level={level} mag={20 >> level} quality=90",
                extratags=[] if level else [(700, "B", len(stitched), stitched, True)],
                compression="lzw",
                **TILES,
            )
    return Slide(folder / "a.bif", "ventana", 0.465, "20 x")


def ndpi(folder: Path) -> Slide:
    """One JPEG a level; OpenSlide adds levels that the JPEG decoder scales."""
    with tifffile.TiffWriter(folder / "a.ndpi") as tiff:
        for lens, pixels in ((20.0, FULL), (10.0, HALF), (-1.0, SMALL)):
            density = 1000 * abs(lens)
            tags: list[Any] = [(271, "s", 0, "Hamamatsu", True), (65420, "I", 1, 1, True)]
            tags += [(65421, "f", 1, lens, True)]
            tags += [(code, "i", 1, 0, True) for code in (65422, 65423, 65424)]
            tiff.write(
                pixels,
                rowsperstrip=len(pixels),
                resolution=(density, density),
                resolutionunit="CENTIMETER",
                software="NDP.scan",
                extratags=tags,
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 95},
                metadata=None,
            )
    return Slide(folder / "a.ndpi", "hamamatsu", 0.5, "20 x", levels=5, lossy=True)


def vms(folder: Path) -> Slide:
    """A text beside JPEG files with restart markers, between which tiles are."""
    options: Any = {"quality": 95, "subsampling": 0, "restart_marker_blocks": 8}
    Image.fromarray(FULL).save(folder / "full.jpg", **options)
    Image.fromarray(FULL[::4, ::4]).save(folder / "map.jpg", **options)
    Image.fromarray(SMALL).save(folder / "macro.jpg")
    (folder / "a.vms").write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\n"
        "ImageFile=full.jpg\nMapFile=map.jpg\nMacroImage=macro.jpg\nPhysicalWidth=384000\n"
        "PhysicalHeight=256000\nSourceLens=20\n"
    )
    return Slide(folder / "a.vms", "hamamatsu", 0.5, "20 x", levels=6, lossy=True)


def mirax(folder: Path) -> Slide:
    """A folder of three files beside the one opened: plan, index of pages, pictures in a row."""
    beside, tile, name = folder / "a", 128, "0123456789ABCDEF" * 2
    beside.mkdir()
    Image.fromarray(SMALL).save(folder / "a.mrxs", "JPEG")
    across = FULL.shape[1] // tile
    head = b"01.02" + name.encode()
    data, pages, starts = bytearray(head), bytearray(), []
    first = len(head) + 8 + 4 * 2  # after two roots and a pointer to each level
    plan = (
        f"[GENERAL]\nSLIDE_VERSION=01.02\nSLIDE_ID={name}\nIMAGENUMBER_X={across}\n"
        f"IMAGENUMBER_Y={FULL.shape[0] // tile}\nOBJECTIVE_MAGNIFICATION=20\n"
        "CameraImageDivisionsPerSide=1\n[HIERARCHICAL]\nHIER_COUNT=1\nNONHIER_COUNT=0\n"
        "INDEXFILE=Index.dat\nHIER_0_NAME=Slide zoom level\nHIER_0_COUNT=2\n"
        "HIER_0_VAL_0_SECTION=L0\nHIER_0_VAL_1_SECTION=L1\n"
        "[DATAFILE]\nFILE_COUNT=1\nFILE_0=Data0000.dat\n"
    )
    for level, full in enumerate((FULL, HALF)):
        records = []
        for y in range(0, full.shape[0], tile):
            for x in range(0, full.shape[1], tile):
                part = io.BytesIO()
                Image.fromarray(full[y : y + tile, x : x + tile]).save(part, "PNG")
                number = ((y // tile) * across + x // tile) << level  # of its first picture
                records.append((number, len(data), part.tell(), 0))
                data += part.getvalue()
        here = first + len(pages)
        starts.append(here)
        pages += struct.pack("<4i", 0, here + 8, len(records), 0)
        pages += b"".join(struct.pack("<4i", *record) for record in records)
        plan += (
            f"[L{level}]\nOVERLAP_X=0\nOVERLAP_Y=0\nIMAGE_FORMAT=PNG\nDIGITIZER_WIDTH={tile}\n"
            f"DIGITIZER_HEIGHT={tile}\nIMAGE_CONCAT_FACTOR={level}\n"
            f"IMAGE_FILL_COLOR_BGR=16777215\nMICROMETER_PER_PIXEL_X={0.5 * 2**level}\n"
            f"MICROMETER_PER_PIXEL_Y={0.5 * 2**level}\n"
        )
    roots = struct.pack("<4i", len(head) + 8, first + len(pages), *starts)
    (beside / "Index.dat").write_bytes(head + roots + pages + bytes(4))
    (beside / "Data0000.dat").write_bytes(data)
    (beside / "Slidedat.ini").write_text(plan)
    return Slide(folder / "a.mrxs", "mirax", 0.5, "20 x")


VENDORS: dict[str, Callable[[Path], Slide]] = {
    f.__name__: f for f in (trestle, philips, leica, ventana, ndpi, vms, mirax)
}


@pytest.fixture(params=sorted(VENDORS))
def slide(request: pytest.FixtureRequest, tmp_path: Path) -> Slide:
    return VENDORS[request.param](tmp_path)


def test_facts(slide: Slide) -> None:
    reader = open_reader(slide.path)
    assert type(reader).__name__ == "SlideReader"
    assert reader.metadata["vendor"] == slide.vendor
    assert reader.metadata["objective"] == slide.objective
    assert reader.pixel_size == pytest.approx(slide.mpp)
    assert [level.downsample for level in reader.levels] == [2**n for n in range(slide.levels)]
    assert all(128 <= side <= 1024 for level in reader.levels[:2] for side in level.tile)
    assert (reader.channels, reader.dtype) == (3, np.uint8)


def test_pixels_as_written(slide: Slide) -> None:
    reader = open_reader(slide.path)
    assert reader.levels[0].height >= 512
    for level, full in enumerate((FULL, HALF)):
        if level and slide.path.suffix == ".vms":
            break  # the JPEG decoder scales; there are no stored pixels to compare with
        oy, ox = (n >> level for n in slide.origin)
        for y, x, h, w in windows(*full.shape[:2]):
            got = reader.read(level, oy + y, ox + x, h, w).astype(int)
            apart = np.abs(got - full[y : y + h, x : x + w])
            if slide.lossy:
                assert apart.mean() < 4 or h * w < 64
            else:
                assert apart.max() == 0


def test_pixels_as_openslide_has_them(slide: Slide) -> None:
    reader, oracle = open_reader(slide.path), openslide.OpenSlide(str(slide.path))
    assert oracle.level_dimensions == tuple((v.width, v.height) for v in reader.levels)
    for level, info in enumerate(reader.levels):
        scale = int(info.downsample)
        for y, x, h, w in windows(info.height, info.width):
            rgba = np.asarray(oracle.read_region((x * scale, y * scale), level, (w, h)), int)
            alpha = rgba[..., 3:]
            expected = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255  # on white
            np.testing.assert_array_equal(reader.read(level, y, x, h, w), expected)


def test_around_the_scan_is_white_and_bounds_are_told(tmp_path: Path) -> None:
    reader = open_reader(leica(tmp_path).path)
    assert (reader.levels[0].height, reader.levels[0].width) == (1024, 1536)
    assert (reader.read(0, 0, 0, 200, 1536) == 255).all()
    assert reader.metadata["scanned"] == "768 x 512 px from x=384, y=256"
    assert reader.metadata["associated images"] == "macro"


def test_impossible_sizes_are_refused(tmp_path: Path) -> None:
    """Tiles whose places the file does not tell: OpenSlide gives a negative height."""
    path = ventana(tmp_path, joined=False).path
    slide = openslide.OpenSlide(str(path))
    assert min(slide.dimensions) < 0
    reader = open_reader(path)  # its pages are still a TIFF
    assert type(reader).__name__ == "TiffReader"


def test_pages_missing_from_vms(tmp_path: Path) -> None:
    path = vms(tmp_path).path
    (tmp_path / "full.jpg").unlink()
    with pytest.raises(HrvizError, match="copy it again with all its files"):
        open_reader(path)

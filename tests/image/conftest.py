"""Small image files of many kinds, written on the fly; each comes with the pixels expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from hrviz.image.readers import Reader


@dataclass(frozen=True)
class Written:
    """A file and what reading it must give, one array `(y, x, channel)` a level."""

    path: Path
    levels: tuple[np.ndarray, ...]
    pixel_size: float | None = None


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth picture with some grain, uint8 `(y, x, channel)`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(y / (9 + c) + c) + np.cos(x / (13 - c)) for c in range(channels)]
    smooth = 127 + 55 * np.stack(waves, axis=-1)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def windows(
    height: int, width: int, count: int = 6, seed: int = 0
) -> list[tuple[int, int, int, int]]:
    """The whole, both corners and random windows (y, x, height, width)."""
    rng = np.random.default_rng(seed)
    found = [(0, 0, 1, 1), (height - 1, width - 1, 1, 1), (0, 0, height, width)]
    for _ in range(count):
        h, w = (int(rng.integers(1, min(n, 200) + 1)) for n in (height, width))
        found.append((int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w))
    return found


def assert_reads(reader: Reader, levels: tuple[np.ndarray, ...]) -> None:
    """Every stored level gives the expected pixels in every window."""
    for number, full in enumerate(levels):
        level = reader.levels[number]
        assert (level.height, level.width, reader.channels) == full.shape
        for y, x, h, w in windows(level.height, level.width):
            got = reader.read(number, y, x, h, w)
            assert got.shape == (h, w, reader.channels)
            assert got.dtype == reader.dtype == reader.dtype.newbyteorder("=")
            np.testing.assert_array_equal(got, full[y : y + h, x : x + w])


def _pyramid(path: Path) -> Written:
    full = picture(301, 405)
    levels = (full, full[::2, ::2], full[::4, ::4])
    with tifffile.TiffWriter(path) as tiff:
        for i, level in enumerate(levels):
            tiff.write(
                level,
                tile=(64, 80),
                compression="zlib",
                predictor=True,
                subfiletype=1 if i else 0,
                resolution=(40000, 40000),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return Written(path, levels, 0.25)


def _ome(path: Path) -> Written:
    full = picture(200, 300, 4).astype(np.uint16) * 200
    planes = np.moveaxis(full, -1, 0)
    meta = {"axes": "CYX", "PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "µm"}
    meta |= {"PhysicalSizeY": 650.0, "PhysicalSizeYUnit": "nm"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(planes, tile=(64, 64), subifds=1, metadata=meta, photometric="minisblack")
        tiff.write(planes[:, ::2, ::2], tile=(64, 64), subfiletype=1, photometric="minisblack")
    return Written(path, (full, full[::2, ::2]), 0.65)


def _tzcyx(path: Path) -> Written:
    stack = picture(60, 70, 12).transpose(2, 0, 1).reshape(2, 2, 3, 60, 70)
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TZCYX"})
    return Written(path, (stack[0, 0].transpose(1, 2, 0),))


def _write(
    path: Path, array: np.ndarray, expected: np.ndarray | None = None, **kw: object
) -> Written:
    tifffile.imwrite(path, array, **kw)  # type: ignore[arg-type]
    expected = array if expected is None else expected
    return Written(path, (expected if expected.ndim == 3 else expected[..., None],))


def _palette(path: Path) -> Written:
    index = picture(50, 60, 1)[..., 0]
    table = np.random.default_rng(1).integers(0, 256, (3, 256)).astype(np.uint16)
    return _write(
        path, index, table.T[index].astype(np.uint8), photometric="palette", colormap=table * 257
    )


def _bilevel(path: Path) -> Written:
    bits = picture(50, 61, 1) > 127
    return _write(path, bits[..., 0], bits * np.uint8(255), photometric="minisblack")


def _miniswhite(path: Path) -> Written:
    grey = picture(50, 60, 1)
    return _write(path, grey[..., 0], 255 - grey, photometric="miniswhite")


def _cmyk(path: Path) -> Written:
    ink = picture(20, 30, 4)
    part = ink.astype(float) / 255
    rgb = np.rint((1 - part[..., :3]) * (1 - part[..., 3:]) * 255).astype(np.uint8)
    return _write(path, ink, rgb, photometric="separated")


def _sparse(path: Path) -> Written:
    full = picture(128, 128)
    full[64:, 64:] = 0
    tiles = (
        full[y : y + 64, x : x + 64] if y + x < 128 else None for y in (0, 64) for x in (0, 64)
    )
    tifffile.imwrite(path, tiles, shape=full.shape, dtype="u1", tile=(64, 64), photometric="rgb")
    return Written(path, (full,))


RGB = picture(150, 210)
GREY = picture(90, 130, 1)[..., 0]

TIFFS: dict[str, Callable[[Path], Written]] = {
    "pyramid": _pyramid,
    "ome": _ome,
    "imagej-tzcyx": _tzcyx,
    "palette": _palette,
    "bilevel": _bilevel,
    "miniswhite": _miniswhite,
    "cmyk": _cmyk,
    "sparse": _sparse,
    "strips-plain": lambda p: _write(p, RGB, rowsperstrip=7),
    "strips-lzw": lambda p: _write(p, RGB, rowsperstrip=7, compression="lzw"),
    "one-strip-zstd": lambda p: _write(p, RGB, rowsperstrip=150, compression="zstd"),
    "separate-plain": lambda p: _write(
        p, RGB.transpose(2, 0, 1), RGB, planarconfig="separate", photometric="rgb"
    ),
    "separate-tiles": lambda p: _write(
        p,
        RGB.transpose(2, 0, 1),
        RGB,
        planarconfig="separate",
        photometric="rgb",
        tile=(32, 48),
        compression="zlib",
    ),
    "grey-16": lambda p: _write(p, GREY.astype(np.uint16) * 257, tile=(32, 32)),
    "grey-16-big-endian": lambda p: _write(p, GREY.astype(np.uint16) * 251, byteorder=">"),
    "float": lambda p: _write(
        p, GREY.astype(np.float32) / 255, compression="zlib", predictor=3, tile=(32, 32)
    ),
    "int32": lambda p: _write(p, GREY.astype(np.int32) - 70000),
    "rgba": lambda p: _write(p, picture(70, 80, 4), extrasamples=["unassalpha"], photometric="rgb"),
    "five-channels": lambda p: _write(
        p, picture(70, 80, 5), photometric="minisblack", planarconfig="contig"
    ),
    "bigtiff": lambda p: _write(p, RGB, bigtiff=True, tile=(64, 64)),
    "one-pixel": lambda p: _write(p, np.array([[7]], np.uint8)),
    "one-row": lambda p: _write(p, np.arange(70000, dtype=np.uint16)[None] % 999),
    "one-column": lambda p: _write(p, (np.arange(3000) % 251).astype(np.uint8)[:, None]),
    "constant": lambda p: _write(p, np.full((300, 300, 3), 9, np.uint8), compression="zlib"),
    "wide": lambda p: _write(p, picture(3, 65535), compression="zlib"),
    "frames": lambda p: _write(
        p, picture(40, 50, 5).transpose(2, 0, 1), picture(40, 50, 5)[..., :1]
    ),
}


@pytest.fixture(params=sorted(TIFFS))
def any_tiff(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    """Each kind of TIFF in turn."""
    return TIFFS[request.param](tmp_path / f"{request.param}.tif")


@pytest.fixture
def pyramid(tmp_path: Path) -> Written:
    """A tiled TIFF with two sub-resolutions, 0.25 um a pixel."""
    return _pyramid(tmp_path / "pyramid.tif")


def _save(path: Path, image: Image.Image, expected: np.ndarray, **kw: object) -> Written:
    image.save(path, **kw)  # type: ignore[arg-type]
    return Written(path, (expected if expected.ndim == 3 else expected[..., None],))


def _indexed(path: Path, **kw: object) -> Written:
    image = Image.fromarray(RGB).quantize(16)
    mode = "RGBA" if kw else "RGB"
    written = _save(path, image, RGB, **kw)
    with Image.open(written.path) as saved:
        return Written(path, (np.asarray(saved.convert(mode)),))


def _grey_alpha(path: Path) -> Written:
    grey, alpha = GREY, picture(90, 130, 1, seed=3)[..., 0]
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    return _save(path, image, np.stack([grey, grey, grey, alpha], axis=-1))


def _jpeg(path: Path, orientation: int = 1, shape: tuple[int, int] = (150, 210)) -> Written:
    image = Image.fromarray(picture(*shape))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=95, exif=exif)
    with Image.open(path) as saved:
        return Written(path, (np.asarray(ImageOps.exif_transpose(saved)),))


RASTERS: dict[str, Callable[[Path], Written]] = {
    "rgb.png": lambda p: _save(p, Image.fromarray(RGB), RGB),
    "rgba.png": lambda p: _save(p, Image.fromarray(picture(60, 70, 4)), picture(60, 70, 4)),
    "grey.png": lambda p: _save(p, Image.fromarray(GREY), GREY),
    "grey-alpha.png": _grey_alpha,
    "grey-16.png": lambda p: _save(
        p, Image.fromarray(GREY.astype(np.uint16) * 257), GREY.astype(np.uint16) * 257
    ),
    "bilevel.png": lambda p: _save(
        p, Image.fromarray(GREY > 127), ((GREY > 127) * 255).astype(np.uint8)
    ),
    "palette.png": _indexed,
    "palette-transparent.png": lambda p: _indexed(p, transparency=3),
    "palette.gif": _indexed,
    "rgb.bmp": lambda p: _save(p, Image.fromarray(RGB), RGB),
    "rgb.webp": lambda p: _save(p, Image.fromarray(RGB), RGB, lossless=True),
    "rgb.jpg": _jpeg,
    "one-pixel.png": lambda p: _save(
        p, Image.new("RGB", (1, 1), (1, 2, 3)), np.array([[[1, 2, 3]]])
    ),
    "one-row.png": lambda p: _save(p, Image.fromarray(GREY[:1]), GREY[:1]),
    "wide.jpg": lambda p: _jpeg(p, 1, (3, 65500)),
    **{f"turned-{i}.jpg": (lambda p, i=i: _jpeg(p, i)) for i in range(2, 9)},
}


@pytest.fixture(params=sorted(RASTERS))
def any_raster(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    """Each kind of picture that Pillow reads in turn."""
    return RASTERS[request.param](tmp_path / request.param)

"""One small valid file of every format, for `fuzz.py` to damage and for the tests of hostile files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Maker = Callable[[Path], Path]
"""Writes a small valid image into an empty folder and returns the path to open."""


def _written(kinds: str, name: str, suffix: str = "") -> Maker:
    """One of the files of conftest.py."""

    def make(folder: Path) -> Path:
        from image import conftest

        path: Path = getattr(conftest, kinds)[name](folder / (name + suffix)).path
        return path

    return make


def _tiff(**options: Any) -> Maker:
    """Two pages or SubIFDs of a small RGB picture."""

    def make(folder: Path) -> Path:
        import tifffile

        from image.conftest import picture

        full = picture(192, 256)
        name, sub = options.get("name", "a.tif"), options.get("subifds", 0)
        settings = {k: v for k, v in options.items() if k not in ("name", "subifds", "bigtiff")}
        with tifffile.TiffWriter(folder / name, bigtiff=options.get("bigtiff", False)) as tiff:
            tiff.write(full, photometric="rgb", subifds=sub, **settings)
            settings.pop("description", None)
            tiff.write(full[::2, ::2], photometric="rgb", subfiletype=1, **settings)
        return folder / name

    return make


def _aperio(folder: Path) -> Path:
    text = "Aperio Image Library v11.2.1\n256x192 [0,0 256x192] (64x64) JPEG/RGB Q=90|MPP = 0.499"
    tiles = {"tile": (64, 64), "compression": "jpeg", "metadata": None}
    return _tiff(name="a.svs", description=text, **tiles)(folder)


def _group4(folder: Path) -> Path:
    from PIL import Image

    from image.conftest import picture

    bits = Image.fromarray(picture(150, 210, 1)[..., 0] > 127)
    bits.save(folder / "a.tif", compression="group4")
    return folder / "a.tif"


def _geotiff(driver: str, **options: Any) -> Maker:
    def make(folder: Path) -> Path:
        import numpy as np
        import rasterio
        from rasterio.transform import from_origin

        from image.conftest import picture

        bands = np.moveaxis(picture(300, 400), -1, 0)
        profile = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_200_000, 10, 10)}
        profile |= {"count": 3, "height": 300, "width": 400, "dtype": "uint8"}
        with rasterio.open(folder / "a.tif", "w", driver=driver, **profile, **options) as file:
            file.write(bands)
        return folder / "a.tif"

    return make


def _pillow(name: str, **options: Any) -> Maker:
    def make(folder: Path) -> Path:
        from PIL import Image

        from image.conftest import picture

        image = Image.fromarray(picture(300, 400))
        image = image.quantize(64) if options.pop("palette", False) else image
        image.save(folder / name, **options)
        return folder / name

    return make


def _jpeg2000(name: str, **options: Any) -> Maker:
    def make(folder: Path) -> Path:
        import imagecodecs

        from image.conftest import picture

        data = imagecodecs.jpeg2k_encode(
            picture(200, 300), level=20, codecformat=name.split(".")[1], **options
        )
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _npy(*shape: int) -> Maker:
    def make(folder: Path) -> Path:
        import numpy as np

        array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
        np.save(folder / "a.npy", array)
        return folder / "a.npy"

    return make


def _zarr(**options: Any) -> Maker:
    def make(folder: Path) -> Path:
        from image.test_zarr import rgb

        path: Path = rgb(folder / "a.zarr", **options)[0]
        return path

    return make


def _dicom_slide(folder: Path) -> Path:
    from image import test_dicom
    from image.conftest import picture

    full = picture(150, 210)
    for number in (0, 1):
        test_dicom.slide_level(
            folder / f"{number}.dcm", full[:: 1 + number, :: 1 + number], number, "1.2.3.4"
        )
    return folder


def _dicom(syntax: str = "") -> Maker:
    def make(folder: Path) -> Path:
        import numpy as np

        from image import test_dicom
        from image.conftest import picture

        path = folder / "a.dcm"
        data = test_dicom.blank(path, "1.2.840.10008.5.1.4.1.1.7")
        frames = np.stack([picture(90, 120, seed=n) for n in (0, 1)])
        test_dicom.pixels_of(data, frames, "RGB")
        if syntax == "jpeg":
            data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
            data.PhotometricInterpretation = "YBR_FULL_422"
            data.PixelData = test_dicom.encapsulate([test_dicom.jpeg(f) for f in frames])
            data["PixelData"].is_undefined_length = True
        data.save_as(path, enforce_file_format=True)
        if syntax == "rle":
            data.compress("1.2.840.10008.1.2.5")
            data.save_as(path, enforce_file_format=True)
        return path

    return make


def _film(name: str, codec: str, **options: str) -> Maker:
    def make(folder: Path) -> Path:
        from image import test_video

        return test_video.write(
            folder / name, test_video.scene(24), codec, **{"threads": "1", **options}
        )

    return make


def _vendor(name: str) -> Maker:
    def make(folder: Path) -> Path:
        from image.test_vendors import VENDORS

        return VENDORS[name](folder).path

    return make


TILES: dict[str, Any] = {"tile": (64, 64), "metadata": None}
FORMATS: dict[str, Maker] = {
    "svs": _aperio,
    "tiff-deflate": _written("TIFFS", "pyramid", ".tif"),
    "tiff-zstd": _tiff(**TILES, compression="zstd", predictor=True),
    "tiff-lzw": _tiff(**TILES, compression="lzw"),
    "tiff-lzma": _tiff(**TILES, compression="lzma"),
    "tiff-packbits": _tiff(**TILES, compression="packbits"),
    "tiff-webp": _tiff(**TILES, compression="webp"),
    "tiff-jpeg2000": _tiff(**TILES, compression="jpeg2000"),
    "tiff-jpeg": _tiff(**TILES, compression="jpeg", subsampling=(2, 2)),
    "tiff-plain": _tiff(metadata=None),
    "tiff-strips": _tiff(metadata=None, rowsperstrip=16, compression="lzw"),
    "tiff-group4": _group4,
    "tiff-float": _written("TIFFS", "float", ".tif"),
    "tiff-palette": _written("TIFFS", "palette", ".tif"),
    "imagej": _written("TIFFS", "imagej-tzcyx", ".tif"),
    "ome": _written("TIFFS", "ome", ".ome.tif"),
    "bigtiff": _tiff(**TILES, compression="zlib", bigtiff=True, subifds=1),
    "geotiff": _geotiff("GTiff", tiled=True, blockxsize=64, blockysize=64, compress="lzw"),
    "geotiff-jpeg": _geotiff("GTiff", compress="jpeg", photometric="ycbcr", nodata=0),
    "cog": _geotiff("COG", blocksize=128, compress="deflate"),
    "png": _pillow("a.png"),
    "png-palette": _pillow("a.png", palette=True),
    "jpeg": _pillow("a.jpg", quality=80),
    "jpeg-progressive": _pillow("a.jpg", quality=80, progressive=True),
    "bmp": _pillow("a.bmp"),
    "webp": _pillow("a.webp", quality=70),
    "webp-lossless": _pillow("a.webp", lossless=True),
    "gif": _pillow("a.gif", palette=True),
    "jp2": _jpeg2000("a.jp2"),
    "j2k": _jpeg2000("a.j2k", resolutions=3),
    "npy": _npy(60, 80),
    "npy-frames": _npy(4, 5, 60, 80),
    "zarr2": _zarr(version=2),
    "zarr3": _zarr(version=3),
    "zarr3-sharded": _zarr(version=3, sharded=True),
    "dicom-slide": _dicom_slide,
    "dicom": _dicom(),
    "dicom-jpeg": _dicom("jpeg"),
    "dicom-rle": _dicom("rle"),
    "mp4": _film("a.mp4", "libx264", g="12", bf="2"),
    "mov-hevc": _film("a.mov", "libx265", preset="ultrafast"),
    "mkv": _film("a.mkv", "libx264", g="12", bf="2"),
    "avi": _film("a.avi", "mpeg4", g="12", bf="2"),
    "webm": _film("a.webm", "libvpx-vp9", deadline="realtime"),
} | {name: _vendor(name) for name in ("trestle", "philips", "leica", "ventana", "ndpi", "vms")}

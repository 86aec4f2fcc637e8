"""Writing a pyramid as a tiled BigTIFF: tiles in any order, their places entered at the end.

tifffile writes all directories first, with no tiles in them; encoded tiles are appended as they come
and the tables of offsets and sizes are overwritten last. So the file is written once, front to back,
and nothing but the tables is held.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.image.composite import default_channels
from hrviz.image.convert_pyramid import Place, Pyramid
from hrviz.image.readers.base import Channel

ZSTD_LEVEL, DEFLATE_LEVEL = 5, 6
# Colour at full resolution: a stained slide has 38 dB at quality 80, but 34.5 at 95 with it halved.
SUBSAMPLING = (1, 1)


class TiffSink:
    """A new TIFF at `path`, one page for grey, RGB and RGBA, else one a channel with OME-XML.

    Parameters
    ----------
    path : Path
    pyramid : Pyramid
        Its blocks are the tiles; a multiple of 16 px.
    channels, dtype
        Of the pixels.
    channel_info : tuple of Channel or None
        None: grey, RGB or RGBA.
    pixel_size : float or None
        Micrometres.
    compression : {'jpeg', 'zstd', 'deflate', 'none'}
    quality : int
        Of JPEG.
    ome : bool
        Write OME-XML even where plain tags would do.
    name : str
        Of the image, in OME-XML.
    """

    def __init__(
        self,
        path: Path,
        pyramid: Pyramid,
        *,
        channels: int,
        dtype: np.dtype[Any],
        channel_info: tuple[Channel, ...] | None,
        pixel_size: float | None,
        compression: str,
        quality: int,
        ome: bool,
        name: str,
    ) -> None:
        self.path, self.pyramid, self.compression, self.quality = (
            path,
            pyramid,
            compression,
            quality,
        )
        self.dtype = dtype.newbyteorder("<")
        self.predictor = compression in ("zstd", "deflate") and dtype.kind in "iu"
        self.planes = channels if channel_info is not None or channels not in (1, 3, 4) else 0
        if self.planes and channel_info is None:
            channel_info = default_channels(channels, dtype)
        self.channels = channels
        metadata = _ome(name, pixel_size, channel_info, channels) if ome or self.planes else None
        self._write_directories(metadata, pixel_size)
        tables = [(rows * columns) for rows, columns in self._grids()]
        zeros = [array("Q", bytes(8 * n)) for n in tables]
        self.tables = [
            [(array("Q", z), array("Q", z)) for z in zeros] for _ in range(max(1, self.planes))
        ]
        self.file = path.open("r+b")
        self.file.seek(0, 2)

    def _grids(self) -> list[tuple[int, int]]:
        return [self.pyramid.grid(level) for level in range(len(self.pyramid.sizes))]

    def _write_directories(self, metadata: dict[str, Any] | None, pixel_size: float | None) -> None:
        import tifffile

        tile, sizes = self.pyramid.block, self.pyramid.sizes
        common: dict[str, Any] = {
            "dtype": self.dtype, "tile": (tile, tile), "software": "hrviz",
            "compression": {"none": None, "deflate": "zlib"}.get(self.compression, self.compression),
            "predictor": self.predictor,
            "photometric": "rgb" if not self.planes and self.channels > 1 else "minisblack",
        }  # fmt: skip
        if self.compression == "jpeg" and self.channels == 3:
            common["subsampling"] = SUBSAMPLING
        if not self.planes and self.channels == 4:
            common["extrasamples"] = ["unassalpha"]
        samples = () if self.planes or self.channels == 1 else (self.channels,)
        with tifffile.TiffWriter(
            self.path, bigtiff=True, byteorder="<", ome=metadata is not None
        ) as tiff:
            for level, (h, w) in enumerate(sizes):
                shape = (*((self.planes,) if self.planes else ()), h, w, *samples)
                size = pixel_size * 2**level if pixel_size else None
                tiff.write(
                    self._no_tiles(level), shape=shape,
                    subifds=len(sizes) - 1 if level == 0 else None, subfiletype=int(level > 0),
                    metadata=metadata if level == 0 else None,
                    resolution=(1e4 / size, 1e4 / size) if size else None,
                    resolutionunit="CENTIMETER" if size else None, **common,
                )  # fmt: skip

    def _no_tiles(self, level: int) -> Iterator[bytes]:
        """Empty tiles; where tifffile writes a page in one piece it wants all its bytes."""
        rows, columns = self.pyramid.grid(level)
        tile = self.pyramid.block
        if self.compression == "none" and self.pyramid.sizes[level] == (tile, tile):
            count = tile * tile * self.dtype.itemsize * (1 if self.planes else self.channels)
            return repeat(bytes(count), max(1, self.planes))
        return repeat(b"", rows * columns * max(1, self.planes))

    def encode(self, place: Place, pixels: np.ndarray) -> list[bytes]:
        """The bytes of a tile, one string a plane; tiles at the rim repeat their last pixels."""
        h, w, _ = pixels.shape
        tile = self.pyramid.block
        if (h, w) != (tile, tile):
            pixels = np.pad(pixels, ((0, tile - h), (0, tile - w), (0, 0)), mode="edge")
        pixels = pixels.astype(self.dtype, copy=False)
        if not self.planes:
            return [self._compress(pixels)]
        return [self._compress(pixels[..., i : i + 1]) for i in range(self.planes)]

    def _compress(self, pixels: np.ndarray) -> bytes:
        import imagecodecs

        pixels = np.ascontiguousarray(pixels)
        if self.compression == "jpeg":
            if pixels.shape[2] == 1:
                return bytes(imagecodecs.jpeg8_encode(pixels[..., 0], level=self.quality))
            return bytes(
                imagecodecs.jpeg8_encode(
                    pixels, level=self.quality, colorspace="RGB", outcolorspace="YCBCR",
                    subsampling=SUBSAMPLING,
                )
            )  # fmt: skip
        if self.predictor:
            pixels = imagecodecs.delta_encode(pixels, axis=1)
        if self.compression == "zstd":
            return bytes(imagecodecs.zstd_encode(pixels.tobytes(), level=ZSTD_LEVEL))
        if self.compression == "deflate":
            return bytes(imagecodecs.zlib_encode(pixels.tobytes(), level=DEFLATE_LEVEL))
        return pixels.tobytes()

    def put(self, place: Place, data: Sequence[bytes]) -> None:
        """Append a tile and remember where it went."""
        index = place.row * self.pyramid.grid(place.level)[1] + place.column
        for levels, part in zip(self.tables, data, strict=True):
            offsets, counts = levels[place.level]
            offsets[index], counts[index] = self.file.tell(), len(part)
            self.file.write(part)

    def finish(self) -> None:
        """Enter the places of all tiles."""
        import tifffile

        self.file.close()
        with tifffile.TiffFile(self.path, mode="r+") as tiff:
            for page, levels in zip(tiff.pages, self.tables, strict=True):
                for part, (offsets, counts) in zip(
                    (page, *(page.pages or ())), levels, strict=True
                ):
                    part.tags["TileOffsets"].overwrite(list(offsets), erase=False)
                    part.tags["TileByteCounts"].overwrite(list(counts), dtype="Q", erase=False)

    def close(self) -> None:
        self.file.close()


def _ome(
    name: str, pixel_size: float | None, channel_info: tuple[Channel, ...] | None, channels: int
) -> dict[str, Any]:
    """What tifffile makes OME-XML of."""
    planar = channel_info is not None
    metadata: dict[str, Any] = {
        "Name": name, "axes": "CYX" if planar else "YX" if channels == 1 else "YXS",
    }  # fmt: skip
    if pixel_size:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": pixel_size, f"PhysicalSize{axis}Unit": "µm"}
    if channel_info is not None:
        metadata["Channel"] = {
            "Name": [c.name for c in channel_info],
            "Color": [_signed(c.colour) for c in channel_info],
        }
    return metadata


def _signed(colour: tuple[int, int, int]) -> int:
    """Red, green, blue and full alpha as OME's signed 32-bit number."""
    return int.from_bytes(bytes((*colour, 255)), "big", signed=True)

"""Writing a pyramid as OME-Zarr 0.5 (Zarr 3), one picture or all of a stack or film."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.image.composite import Limits, percentile_limits
from hrviz.image.convert_pyramid import Place, Pyramid
from hrviz.image.readers.base import Channel

_PRIMARY = (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255)))
_TYPES = {"t": "time", "c": "channel"}


class ZarrSink:
    """A new OME-Zarr group at `path`, an array a level.

    Parameters
    ----------
    path : Path
    pyramid : Pyramid
        Its blocks are the shards, or the chunks where there are no shards.
    channels, dtype
        Of the pixels.
    channel_info : tuple of Channel or None
        None: grey, RGB or RGBA.
    axes : mapping of str to int
        Lengths of 't' and 'z' where all pictures are written; empty for one picture.
    pixel_size : float or None
        Micrometres.
    frame_rate : float or None
        Pictures a second along 't'.
    compression : {'zstd', 'deflate', 'none'}
    tile : int
        Side of a chunk.
    name : str
        Of the image.
    """

    def __init__(
        self,
        path: Path,
        pyramid: Pyramid,
        *,
        channels: int,
        dtype: np.dtype[Any],
        channel_info: tuple[Channel, ...] | None,
        axes: Mapping[str, int],
        pixel_size: float | None,
        frame_rate: float | None,
        compression: str,
        tile: int,
        name: str,
    ) -> None:
        import zarr
        from zarr.codecs import GzipCodec, ZstdCodec

        self.pyramid, self.channels, self.dtype = pyramid, channels, dtype
        self.channel_info, self.pixel_size = channel_info, pixel_size
        self.frame_rate, self.name = frame_rate, name
        self.letters = "".join(a for a in "tczyx" if a in axes or a in "cyx")
        self.index: Mapping[str, int] = {}
        self.coarsest: np.ndarray | None = None
        codec: Any = {"zstd": ZstdCodec(level=5), "deflate": GzipCodec(level=6)}.get(compression)
        # colours are looked at together, fluorescence channels one by one
        together = channels if channel_info is None else 1
        self.group = zarr.open_group(str(path), mode="w-", zarr_format=3)
        self.arrays: list[Any] = []
        for level, (h, w) in enumerate(pyramid.sizes):
            lengths = {"t": 1, "z": 1, **axes, "c": channels, "y": h, "x": w}
            chunk = {"t": 1, "z": 1, "c": together, "y": tile, "x": tile}
            shard = chunk | {"y": pyramid.block, "x": pyramid.block}
            self.arrays.append(
                self.group.create_array(
                    str(level),
                    shape=tuple(lengths[a] for a in self.letters),
                    chunks=tuple(chunk[a] for a in self.letters),
                    shards=tuple(shard[a] for a in self.letters) if pyramid.block > tile else None,
                    dtype=dtype,
                    compressors=codec,
                    fill_value=0,
                    dimension_names=tuple(self.letters),
                    config={"write_empty_chunks": True},  # a missing chunk would look like a loss
                )
            )

    def encode(self, place: Place, pixels: np.ndarray) -> None:
        """Write a block; chunks are files of their own, so threads do not meet."""
        y, x, h, w = self.pyramid.window(place)
        at = {"c": slice(None), "y": slice(y, y + h), "x": slice(x, x + w), **self.index}
        selection = tuple(at[a] for a in self.letters)
        self.arrays[place.level][selection] = pixels.transpose(2, 0, 1)
        if place.level == len(self.arrays) - 1 and self.coarsest is None:
            self.coarsest = pixels

    def put(self, place: Place, data: None) -> None:
        """Nothing is left to do."""

    def finish(self) -> None:
        """Write the image's metadata."""
        transforms = [self._transforms(level) for level in range(len(self.arrays))]
        ome: dict[str, Any] = {
            "version": "0.5",
            "multiscales": [
                {
                    "name": self.name,
                    "type": "mean",
                    "axes": [self._axis(a) for a in self.letters],
                    "datasets": [
                        {"path": str(level), "coordinateTransformations": t}
                        for level, t in enumerate(transforms)
                    ],
                }
            ],
        }
        channels = self._omero()
        if channels:
            ome["omero"] = {"channels": channels, "rdefs": {"model": "color"}}
        self.group.attrs["ome"] = ome

    def close(self) -> None:
        """Nothing is held open."""

    def _axis(self, letter: str) -> dict[str, str]:
        axis = {"name": letter, "type": _TYPES.get(letter, "space")}
        if letter in "yx" and self.pixel_size:
            axis["unit"] = "micrometer"
        if letter == "t" and self.frame_rate:
            axis["unit"] = "second"
        return axis

    def _transforms(self, level: int) -> list[dict[str, Any]]:
        """Scale and, as coordinates are those of pixel centres, half a pixel's shift a halving."""
        pixel = self.pixel_size or 1.0
        step = {"y": pixel * 2**level, "x": pixel * 2**level}
        if self.frame_rate:
            step["t"] = 1 / self.frame_rate
        shift = {"y": pixel * (2**level - 1) / 2, "x": pixel * (2**level - 1) / 2}
        return [
            {"type": "scale", "scale": [step.get(a, 1.0) for a in self.letters]},
            {"type": "translation", "translation": [shift.get(a, 0.0) for a in self.letters]},
        ]

    def _omero(self) -> list[dict[str, Any]]:
        """Names, colours and contrast; none for grey and RGBA, which viewers know by themselves."""
        assert self.coarsest is not None
        found = percentile_limits(self.coarsest)
        if self.channel_info is not None:
            return [
                self._channel(c.name, c.colour, c.limits or limits, c.active)
                for c, limits in zip(self.channel_info, found, strict=True)
            ]
        if self.channels != 3:
            return []
        whole = (0.0, 255.0) if self.dtype == np.uint8 else None
        common = whole or percentile_limits(self.coarsest.reshape(1, -1, 1))[0]
        return [self._channel(name, colour, common, True) for name, colour in _PRIMARY]

    def _channel(
        self, name: str, colour: tuple[int, int, int], limits: Limits, active: bool
    ) -> dict[str, Any]:
        low, high = limits
        if self.dtype.kind in "iu":
            info = np.iinfo(self.dtype)
            ends = float(info.min), float(info.max)
        else:
            ends = low, high
        return {
            "label": name, "color": bytes(colour).hex().upper(), "active": active,
            "coefficient": 1.0, "family": "linear", "inverted": False,
            "window": {"start": low, "end": high, "min": ends[0], "max": ends[1]},
        }  # fmt: skip

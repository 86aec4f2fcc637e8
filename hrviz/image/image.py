"""`Image`: a lazy pyramid over any reader, with virtual levels, a tile cache and read accounting."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image.cache import TILES
from hrviz.image.composite import (
    Limits,
    chosen_channels,
    composite,
    default_channels,
    percentile_limits,
)
from hrviz.image.lazy import LevelArray, dask_levels
from hrviz.image.readers import open_reader, with_index
from hrviz.image.readers.base import Level, Reader, check_index
from hrviz.image.reads import ReadLog
from hrviz.image.resample import halve, resample

if TYPE_CHECKING:
    import dask.array as da

    from hrviz.image.view import ImageView

COARSEST = 1024  # napari and thumbnails hold the coarsest level whole: keep it under this side
MAX_BENEATH = 2**31  # stored pixels under a window of a virtual level: about half a minute's work
FETCH = 2**14  # pixels decoded in the time that it takes to ask for a tile
MAX_WINDOW = 2**30  # bytes of one window: 64 megapixels of four channels of 32 bit


def open_image(uri: str | os.PathLike[str]) -> Image:
    """Open an image lazily: only headers are read.

    Parameters
    ----------
    uri : str or path
        A file (slide, TIFF, OME-TIFF, PNG, JPEG) or a procedural scene such as
        ``scene:tissue?size=100000x100000&seed=7``.

    Raises
    ------
    HrvizError
        One sentence: missing, empty, truncated or unknown file, bad scene address.
    """
    return Image(open_reader(os.fspath(uri)))


def _reopen(uri: str, active: tuple[int, ...], limits: dict[int, Limits]) -> Image:
    """An image with other channel settings, from its pickle."""
    return open_image(uri).with_channels(active, limits)


def _in_proportion(full: Level, level: Level) -> bool:
    """Whether a stored level has the shape of the full one, but for rounding and padding."""
    found = (level.height, level.width)
    expected = (full.height * level.width / full.width, full.width * level.height / full.height)
    return any(abs(f - e) <= 2 + e / 20 for f, e in zip(found, expected, strict=True))


class Image:
    """A lazy pyramid of any size.

    Attributes
    ----------
    levels_info : tuple of Level
        Stored levels, then virtual ones (halved on demand) down to at most 1024 px a side.
    height, width, channels : int
        Of the finest level.
    dtype : numpy.dtype
    pixel_size : float or None
        Micrometres a level-0 pixel.
    reads : ReadLog
        All reads through this object.
    truth : object or None
        Ground truth of procedural scenes.
    channel_info : tuple of Channel or None
        How the channels of a fluorescence image are composited.
    axes, index : dict of str to int
        Lengths of the axes beside y, x and channel ('t', 'z'), and where on them this picture is.
    frame_rate : float or None
        Pictures a second along 't'.
    extent : Extent or None
        Where a georeferenced image lies.

    Notes
    -----
    Pickles by address, so that workers reopen it. Thread-safe.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.uri, self.name, self.identity = reader.uri, reader.name, reader.identity
        self.channels, self.dtype = reader.channels, np.dtype(reader.dtype)
        self.pixel_size = reader.pixel_size
        self.metadata = dict(reader.metadata)
        self.truth = reader.truth
        self.channel_info = reader.channel_info
        if self.channel_info is None and self.channels == 2:
            self.channel_info = default_channels(2, self.dtype)
        self.channel_choice: tuple[tuple[int, ...], dict[int, Limits]] | None = None
        self.axes, self.index = dict(reader.axes), dict(reader.at)
        self.frame_rate, self.extent = reader.frame_rate, reader.extent
        levels = list(takewhile(partial(_in_proportion, reader.levels[0]), reader.levels))
        self.stored_levels = len(levels)
        while max(levels[-1].height, levels[-1].width) > COARSEST:
            last = levels[-1]
            levels.append(
                Level(-(-last.height // 2), -(-last.width // 2), last.downsample * 2, (512, 512))
            )
        self.levels_info = tuple(levels)
        self.height, self.width = levels[0].height, levels[0].width
        self.reads = ReadLog(self.levels_info)

    # -- identity ---------------------------------------------------------------------------
    def __reduce__(self) -> tuple[Any, ...]:
        if self.channel_choice is not None:
            return _reopen, (self.uri, *self.channel_choice)
        return open_image, (self.uri,)

    def __repr__(self) -> str:
        return (
            f"<Image {self.name}: {self.width} x {self.height} px, {self.channels} channels "
            f"{self.dtype}, {len(self.levels_info)} levels>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>"
            for k, v in self.facts().items()
        )
        data = base64.b64encode(self.thumbnail_png(256)).decode()
        return (
            '<div style="display:flex;gap:16px;align-items:flex-start">'
            f'<img alt="{html.escape(self.name)}" src="data:image/png;base64,{data}"/>'
            f"<table>{rows}</table></div>"
        )

    def facts(self) -> dict[str, str]:
        """What a person wants to know, as label and value with unit."""
        facts = {
            "name": self.name,
            "size": f"{self.width} x {self.height} px ({self.width * self.height / 1e9:.3g} gigapixel)",
            "channels": f"{self.channels}, {self.dtype}",
            "levels": f"{self.stored_levels} stored"
            + (
                f", {len(self.levels_info) - self.stored_levels} virtual"
                if len(self.levels_info) > self.stored_levels
                else ""
            ),
        }
        if self.pixel_size:
            mm_w, mm_h = (n * self.pixel_size / 1000 for n in (self.width, self.height))
            facts["pixel size"] = f"{self.pixel_size:.4g} um ({mm_w:.3g} x {mm_h:.3g} mm)"
        for axis, n in self.axes.items():
            facts[{"t": "time", "z": "focus"}.get(axis, axis)] = (
                f"{self.index[axis] + 1} of {n}"
                + (f", {self.frame_rate:.4g} a second" if axis == "t" and self.frame_rate else "")
            )
        if self.channel_info:
            facts["channels"] += ": " + ", ".join(c.name for c in self.channel_info)
        if self.extent:
            west, south, east, north = self.extent.bounds
            facts["extent"] = (
                f"{west:.10g} to {east:.10g} east, {south:.10g} to {north:.10g} north "
                f"({self.extent.crs})"
            )
        return facts | self.metadata

    @property
    def box(self) -> Box:
        return Box(0, 0, self.height, self.width)

    @property
    def notes(self) -> list[str]:
        """What reading has found so far, in sentences: missing chunks, dropped frames..."""
        return self.reader.notes()

    def at(self, **index: int) -> Image:
        """The picture at another index of `axes`: `film.at(t=12)`, `stack.at(z=3)`.

        Raises
        ------
        HrvizError
            For an axis the image does not have, or an index beyond it.
        """
        check_index(self.name, self.axes, index)
        there = open_image(with_index(self.uri, index))
        return there if self.channel_choice is None else there.with_channels(*self.channel_choice)

    # -- reading ----------------------------------------------------------------------------
    def _tile(self, level: int, row: int, column: int) -> np.ndarray:
        info = self.levels_info[level]
        th, tw = info.tile
        y, x = row * th, column * tw
        h, w = min(th, info.height - y), min(tw, info.width - x)

        def compute() -> np.ndarray:
            if level < self.stored_levels:
                return np.ascontiguousarray(self.reader.read(level, y, x, h, w))
            self._check_beneath(level, y, x, h, w)
            finer = self.levels_info[level - 1]
            source = self._assemble(
                level - 1,
                2 * y,
                2 * x,
                min(2 * h, finer.height - 2 * y),
                min(2 * w, finer.width - 2 * x),
            )
            return halve(source)

        return TILES.get((self.reader.identity, level, row, column), compute)

    def _check_beneath(self, level: int, y: int, x: int, height: int, width: int) -> None:
        stored, _, _, h, w = self.stored_window(level, y, x, height, width)
        th, tw = self.levels_info[stored].tile
        work = h * w * max(1.0, FETCH / (th * tw))
        if level >= self.stored_levels and work > MAX_BENEATH:
            raise HrvizError(
                f"{self.name} has no coarse levels stored, and this view would decode "
                f"{h * w / 1e9:.0f} gigapixels: zoom in, or make a pyramid with hrviz convert"
            )

    def _assemble(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        th, tw = self.levels_info[level].tile
        rows = range(y // th, (y + height - 1) // th + 1)
        columns = range(x // tw, (x + width - 1) // tw + 1)
        if len(rows) == len(columns) == 1:
            tile = self._tile(level, rows[0], columns[0])
            y, x = y - rows[0] * th, x - columns[0] * tw
            return tile[y : y + height, x : x + width]
        out = np.empty((height, width, self.channels), self.dtype)
        for row in rows:
            for column in columns:
                ty, tx = row * th, column * tw
                tile = self._tile(level, row, column)
                y0, y1 = max(y, ty), min(y + height, ty + tile.shape[0])
                x0, x1 = max(x, tx), min(x + width, tx + tile.shape[1])
                out[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - ty : y1 - ty, x0 - tx : x1 - tx]
        return out

    def stored_window(
        self, level: int, y: int, x: int, height: int, width: int
    ) -> tuple[int, int, int, int, int]:
        """The stored level and window that a window of any level is made from."""
        factor = 1
        while level >= self.stored_levels:
            level, factor = level - 1, factor * 2
        info = self.levels_info[level]
        y0, x0 = y * factor, x * factor
        y1 = min((y + height) * factor, info.height)
        x1 = min((x + width) * factor, info.width)
        return level, y0, x0, y1 - y0, x1 - x0

    def record(
        self, level: int, y: int, x: int, height: int, width: int, log: ReadLog | None
    ) -> None:
        """Count a window of any level in this image's log and in `log`."""
        stored = self.stored_window(level, y, x, height, width)
        self.reads.record(*stored)
        if log is not None:
            log.record(*stored)

    def window(
        self, level: int, y: int, x: int, height: int, width: int, log: ReadLog | None = None
    ) -> np.ndarray:
        """Pixels of a window of one level, which must lie inside it.

        Parameters
        ----------
        level : int
            Index into `levels_info`.
        y, x, height, width : int
            In pixels of that level.
        log : ReadLog, optional
            Counts the read besides the image's own `reads`.

        Returns
        -------
        ndarray, (height, width, channels)
            Read-only when it is a view of a cached tile.
        """
        info = self.levels_info[level]
        if y < 0 or x < 0 or y + height > info.height or x + width > info.width:
            raise HrvizError(
                f"window y={y} x={x} {height} x {width} lies outside level {level} of {self.name} "
                f"({info.height} x {info.width})"
            )
        if height <= 0 or width <= 0:
            return np.empty((max(height, 0), max(width, 0), self.channels), self.dtype)
        needed = height * width * self.channels * self.dtype.itemsize
        if needed > MAX_WINDOW:
            raise HrvizError(
                f"{width} x {height} pixels of level {level} of {self.name} are "
                f"{needed / 2**30:.1f} GiB, at most {MAX_WINDOW / 2**30:.0f} is read at once: "
                "choose a smaller box, or make a pyramid with hrviz convert"
            )
        self._check_beneath(level, y, x, height, width)
        pixels = self._assemble(level, y, x, height, width)
        self.record(level, y, x, height, width, log)
        return pixels

    def best_level(self, downsample: float) -> int:
        """The coarsest level that is at least as fine as `downsample`."""
        fits = [
            i
            for i, info in enumerate(self.levels_info)
            if info.downsample <= downsample * (1 + 1e-9)
        ]
        return max(fits, key=lambda i: self.levels_info[i].downsample, default=0)

    def region(
        self,
        box: Box | tuple[float, float, float, float],
        size: tuple[int, int] | None = None,
        *,
        fill: float | None = None,
        log: ReadLog | None = None,
    ) -> np.ndarray:
        """Any box of the image as `size` pixels, read from the best level.

        Parameters
        ----------
        box : Box
            (y0, x0, y1, x1) in level-0 pixels, fractional edges allowed, may reach outside.
        size : (int, int), optional
            Height and width of the result; default the box at level 0. At most 64 Mpx.
        fill : float, optional
            Value outside the image; default the largest of the dtype (white; 1 for floats).

        Returns
        -------
        ndarray, (height, width, channels), dtype of the image
            Exact area averages of the level read (never aliased); bilinear beyond level 0.
        """
        box = Box(*box)
        if not all(np.isfinite(box)) or box.height <= 0 or box.width <= 0:
            raise HrvizError(
                f"box {box.format()} (x,y,width,height) has no area: give positive sides"
            )
        if size is None:
            size = (max(1, round(box.height)), max(1, round(box.width)))
        h, w = (int(n) for n in size)
        if h < 1 or w < 1 or h * w > 2**26:
            raise HrvizError(
                f"{w} x {h} pixels cannot be read in one piece: choose at least 1 and at most "
                f"{2**26} pixels, or a coarser size"
            )
        level = self.best_level(min(box.height / h, box.width / w))
        info = self.levels_info[level]
        in_level = box.scaled(1 / info.downsample)
        # the image ends where level 0 ends: writers round the sizes of levels up or down
        inside = in_level.intersect(self.box.scaled(1 / info.downsample))
        if fill is None:
            fill = float(np.iinfo(self.dtype).max) if self.dtype.kind in "iu" else 1.0
        if inside.area <= 0:
            return np.full((h, w, self.channels), fill, self.dtype)
        # one pixel around it when enlarging, so that bilinear taps at the rim are the neighbours
        rim = 1 if in_level.height < h or in_level.width < w else 0
        y0 = max(0, min(int(np.floor(inside.y0)), info.height - 1) - rim)
        x0 = max(0, min(int(np.floor(inside.x0)), info.width - 1) - rim)
        y1 = min(info.height, int(np.ceil(inside.y1 - 1e-9)) + rim)
        x1 = min(info.width, int(np.ceil(inside.x1 - 1e-9)) + rim)
        window = self.window(level, y0, x0, max(1, y1 - y0), max(1, x1 - x0), log)
        if inside == in_level:
            rows = (inside.y0 - y0, inside.y1 - y0)
            columns = (inside.x0 - x0, inside.x1 - x0)
            return resample(window, rows, columns, (h, w))
        return self._padded(window, (y0, x0), in_level, (h, w), fill, info.downsample)

    def _padded(
        self,
        window: np.ndarray,
        origin: tuple[int, int],
        box: Box,
        size: tuple[int, int],
        fill: float,
        downsample: float,
    ) -> np.ndarray:
        """A box that reaches outside: output pixels whose centre lies outside get `fill`."""
        h, w = size
        sy, sx = box.height / h, box.width / w
        limits = (self.height / downsample, self.width / downsample)
        first = [max(0, int(np.ceil((0 - b) / s - 0.5))) for b, s in ((box.y0, sy), (box.x0, sx))]
        last = [
            min(n, int(np.floor((lim - b) / s - 0.5)) + 1)
            for b, s, lim, n in ((box.y0, sy, limits[0], h), (box.x0, sx, limits[1], w))
        ]
        out = np.full((h, w, self.channels), fill, self.dtype)
        if last[0] <= first[0] or last[1] <= first[1]:
            return out
        rows, columns = (
            (b + f * s - o, b + n * s - o)
            for b, s, f, n, o in (
                (box.y0, sy, first[0], last[0], origin[0]),
                (box.x0, sx, first[1], last[1], origin[1]),
            )
        )
        out[first[0] : last[0], first[1] : last[1]] = resample(
            window, rows, columns, (last[0] - first[0], last[1] - first[1])
        )
        return out

    @cached_property
    def display_range(self) -> tuple[float, float]:
        """Values shown as black and white: the dtype's for 8 bit, else 0.5 and 99.5 percentiles.

        Percentiles are those of the coarsest level (at most 1024 px a side).
        """
        if self.dtype == np.uint8:
            return 0.0, 255.0
        info = self.levels_info[-1]
        values = self.window(len(self.levels_info) - 1, 0, 0, info.height, info.width)
        return percentile_limits(values.reshape(1, -1, 1))[0]

    @property
    def channel_limits(self) -> tuple[Limits, ...]:
        """Values shown as black and full colour, one pair a channel of `channel_info`.

        The channel's own limits where it has some, else the 0.5 and 99.5 percentiles of its
        coarsest level (at most 1024 px a side).
        """
        given = [c.limits for c in self.channel_info or ()]
        return tuple(self._percentiles[i] if g is None else g for i, g in enumerate(given))

    @cached_property
    def _percentiles(self) -> list[Limits]:
        info = self.levels_info[-1]
        return percentile_limits(
            self.window(len(self.levels_info) - 1, 0, 0, info.height, info.width)
        )

    def with_channels(
        self,
        active: Sequence[int] | None = None,
        limits: Mapping[int, Limits] | None = None,
    ) -> Image:
        """The same fluorescence image with other channels shown, or other contrast.

        Parameters
        ----------
        active : sequence of int, optional
            Indices of the channels shown; default as now.
        limits : mapping of int to (float, float), optional
            Values shown as black and full colour of some channels; the others stay.

        Returns
        -------
        Image
            Shares the reader and all decoded tiles; its `identity` is another.

        Raises
        ------
        HrvizError
            For grey and RGB images, unknown channels, and limits without a range.
        """
        if self.channel_info is None:
            raise HrvizError(
                f"{self.name} is shown as {'grey' if self.channels == 1 else 'RGB'}: it has no "
                "channels to switch; open a fluorescence image (OME-TIFF, OME-Zarr)"
            )
        chosen = chosen_channels(self.name, self.channel_info, active, limits or {})
        image = Image(self.reader)
        if "_percentiles" in self.__dict__:
            image.__dict__["_percentiles"] = self._percentiles
        if chosen != image.channel_info:
            image.channel_info = chosen
            image.channel_choice = (
                tuple(i for i, c in enumerate(chosen) if c.active),
                {i: c.limits for i, c in enumerate(chosen) if c.limits is not None},
            )
            image.identity = f"{self.reader.identity}#channels={image.channel_choice}"
        return image

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """Native pixels `(h, w, channels)` to uint8 RGB: windowed, alpha over white, NaN black.

        Images with `channel_info` are composited: light of the active channels, added up.
        """
        if self.channel_info is not None:
            colours = [c.colour if c.active else None for c in self.channel_info]
            return composite(pixels, colours, self.channel_limits)
        if pixels.dtype != np.uint8:
            low, high = self.display_range
            finite = np.nan_to_num(pixels.astype(np.float32), nan=low, posinf=high, neginf=low)
            scaled = (finite - low) * (255 / (high - low))
            pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        if pixels.shape[2] == 3:
            return pixels
        if pixels.shape[2] == 1:
            return np.repeat(pixels, 3, axis=2)
        if pixels.shape[2] == 4:
            alpha = pixels[:, :, 3:].astype(np.uint16)
            over = pixels[:, :, :3] * alpha + 255 * (255 - alpha)
            return ((over + 127) // 255).astype(np.uint8)
        return pixels[:, :, :3]

    def rgb(
        self,
        box: Box | tuple[float, float, float, float],
        size: tuple[int, int] | None = None,
        log: ReadLog | None = None,
    ) -> np.ndarray:
        """`region` for display and for networks: uint8 RGB `(h, w, 3)`."""
        dark = None if self.channel_info is None else 0.0  # light on black: no white surround
        return self.to_rgb(self.region(box, size, fill=dark, log=log))

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """The stored tile as the file has it (bytes, MIME type), where a browser can show it."""
        return (
            self.reader.compressed_tile(level, row, column) if level < self.stored_levels else None
        )

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """`compressed_tile` without waiting for a disk; BlockingIOError where it would."""
        if level >= self.stored_levels:
            return None
        return self.reader.compressed_tile_now(level, row, column)

    # -- lazy arrays ------------------------------------------------------------------------
    @cached_property
    def arrays(self) -> list[LevelArray]:
        """The levels as sliceable lazy arrays (napari slices these directly)."""
        return [LevelArray(self, level) for level in range(len(self.levels_info))]

    @cached_property
    def levels(self) -> list[da.Array]:
        """The levels as dask arrays `(y, x, channel)`, finest first, chunks near 1024 px."""
        return dask_levels(self, None)

    @property
    def downsamples(self) -> tuple[float, ...]:
        return tuple(info.downsample for info in self.levels_info)

    # -- for people -------------------------------------------------------------------------
    def view(self, box: Box | tuple[float, float, float, float] | None = None) -> ImageView:
        """The whole image, or a box of it, as methods see it (with its own read accounting)."""
        from hrviz.image.view import ImageView

        return ImageView(self, box)

    def thumbnail(self, side: int = 256) -> np.ndarray:
        """uint8 RGB with the longer side `side` (at least 1 px on the shorter)."""
        scale = side / max(self.height, self.width)
        size = (max(1, round(self.height * scale)), max(1, round(self.width * scale)))
        return self.rgb(self.box, size)

    def thumbnail_png(self, side: int = 256) -> bytes:
        from PIL import Image as PILImage

        buffer = io.BytesIO()
        PILImage.fromarray(self.thumbnail(side)).save(buffer, "PNG")
        return buffer.getvalue()

    def close(self) -> None:
        self.reader.close()

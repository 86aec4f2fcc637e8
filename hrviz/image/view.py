"""`ImageView`: what a method gets, an image or the box of it that the user looks at.

It reads through the image (same cache, same levels), counts its reads in a log of its own, and
offers the two ways methods read: a rectangle at a size, and arbitrary points with a level of
detail each.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.cost.operations import count
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image.image import Image
from hrviz.image.lazy import dask_levels
from hrviz.image.readers.base import Level
from hrviz.image.reads import ReadLog
from hrviz.image.resample import halve

if TYPE_CHECKING:
    import dask.array as da

MAX_SAMPLE_BYTES = 2**30


class ImageView:
    """A box of an image, read lazily, every read counted.

    Parameters
    ----------
    image : Image
    box : Box, optional
        (y0, x0, y1, x1) in level-0 pixels; cut to the image. Default the whole image.

    Attributes
    ----------
    reads : ReadLog
        Reads through this view only.
    """

    def __init__(
        self, image: Image, box: Box | tuple[float, float, float, float] | None = None
    ) -> None:
        asked = image.box if box is None else Box(*box)
        cut = asked.intersect(image.box)
        if not (cut.height > 0 and cut.width > 0):
            raise HrvizError(
                f"region {asked.format()} (x,y,width,height) lies outside {image.name}, which is "
                f"{image.width} x {image.height} px: choose one inside"
            )
        self.image, self.box = image, cut
        self.reads = ReadLog(image.levels_info)

    def __repr__(self) -> str:
        return f"<ImageView {self.box.format()} of {self.image.name}>"

    @property
    def height(self) -> float:
        return self.box.height

    @property
    def width(self) -> float:
        return self.box.width

    @property
    def pixel_size(self) -> float | None:
        return self.image.pixel_size

    @property
    def truth(self) -> Any:
        return self.image.truth

    @cached_property
    def levels(self) -> list[da.Array]:
        """Dask arrays of the whole image's levels, reads counted here."""
        return dask_levels(self.image, self.reads)

    def fit(self, side: int) -> tuple[int, int]:
        """Output (height, width) with the longer side `side` and the aspect ratio of the view."""
        scale = side / max(self.height, self.width)
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    def read(self, size: tuple[int, int], box: Box | None = None) -> np.ndarray:
        """Area-averaged RGB of the view (or of `box`), float32 `(h, w, 3)` in 0..1."""
        box = self.box if box is None else box
        pixels = self.image.rgb(box, size, self.reads)
        count("resample", 2 * 4 * pixels.size)
        return pixels.astype(np.float32) / 255

    def sample(
        self, y: np.ndarray, x: np.ndarray, footprint: np.ndarray | None = None
    ) -> np.ndarray:
        """RGB at arbitrary points, bilinear, mip-mapped by their footprint.

        Parameters
        ----------
        y, x : ndarray, any shape
            Level-0 coordinates (pixel centres at +0.5); beyond the image the rim is repeated.
        footprint : ndarray, optional
            Side in level-0 pixels of the area each point stands for. The two pyramid levels around
            it are blended (trilinear), so a 100,000-pixel image costs tiles in proportion to the
            points, not to the image. None: point sampling from level 0, as published code does.

        Returns
        -------
        ndarray float32, shape of `y` + (3,), in 0..1

        Raises
        ------
        HrvizError
            When the points touch more tiles than 1 GiB, which only point sampling of a huge
            region does.
        """
        shape = np.shape(y)
        y, x = np.ravel(y).astype(np.float64), np.ravel(x).astype(np.float64)
        downsamples = np.array(self.image.downsamples)
        if footprint is not None:
            # the coarsest level is up to 1024 px: a small output needs its reductions too, or it aliases
            more = int(np.ceil(np.log2(max(float(np.max(footprint)) / downsamples[-1], 1))))
            more = min(more, len(self._reduced))
            downsamples = np.r_[downsamples, downsamples[-1] * 2.0 ** np.arange(1, more + 1)]
        if footprint is None:
            out = self._bilinear(0, y, x)
        else:
            side = np.clip(np.ravel(footprint), downsamples[0], downsamples[-1])
            fine = np.clip(np.searchsorted(downsamples, side, "right") - 1, 0, len(downsamples) - 1)
            coarse = np.minimum(fine + 1, len(downsamples) - 1)
            span = np.log2(downsamples[coarse] / downsamples[fine])
            part = np.where(
                span > 0, np.log2(side / downsamples[fine]) / np.where(span > 0, span, 1), 0
            )
            part = part.astype(np.float32)
            out = np.zeros((y.size, 3), np.float32)
            for level, weight in ((fine, 1 - part), (coarse, part)):
                for index in np.flatnonzero(np.bincount(level)):
                    at = np.flatnonzero((level == index) & (weight > 0))
                    if at.size == y.size:
                        out += weight[:, None] * self._bilinear(int(index), y, x)
                    elif at.size:
                        colour = self._bilinear(int(index), y[at], x[at])
                        colour *= weight[at, None]
                        out[at] += colour
        count("bilinear sampling", 8 * 3 * y.size * (1 if footprint is None else 2))
        return out.reshape(*shape, 3)

    @cached_property
    def _reduced(self) -> _Reduced:
        return _Reduced(self)

    def _bilinear(self, level: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Bilinear RGB of one level at level-0 points, reading only the tiles under the taps."""
        image = self.image
        beyond = level - len(image.levels_info)
        info = image.levels_info[level] if beyond < 0 else self._reduced.info(beyond)
        v = np.clip(y / info.downsample - 0.5, 0, info.height - 1)
        u = np.clip(x / info.downsample - 0.5, 0, info.width - 1)
        v0, u0 = v.astype(np.int64), u.astype(np.int64)
        v1, u1 = np.minimum(v0 + 1, info.height - 1), np.minimum(u0 + 1, info.width - 1)
        fv, fu = (v - v0)[:, None].astype(np.float32), (u - u0)[:, None].astype(np.float32)
        top, left = int(v0.min()), int(u0.min())
        height, width = int(v1.max()) - top + 1, int(u1.max()) - left + 1
        if beyond >= 0:
            pixels: Any = self._reduced[beyond].reshape(-1, 3).astype(np.float32)
            right, below = u1 - u0, (v1 - v0) * info.width
            first = v0 * info.width + u0
            taps: tuple[np.ndarray, ...] = (
                first, first + right, first + below, first + below + right
            )  # fmt: skip
        elif height * width <= max(4 * y.size, 2**20):
            # dense enough: one window, its pixels in a row
            block = image.to_rgb(image.window(level, top, left, height, width, self.reads))
            pixels = block.reshape(-1, 3).astype(np.float32)
            first = (v0 - top) * width + (u0 - left)
            right, below = u1 - u0, (v1 - v0) * width
            taps = (first, first + right, first + below, first + below + right)
        else:
            pixels, taps = self._atlas(level, (v0, v1), (u0, u1))
        a, b, c, d = (pixels.take(tap, axis=0) for tap in taps)
        # in place: these arrays are as large as the output, and allocation is half the time
        b -= a
        b *= fu
        b += a
        d -= c
        d *= fu
        d += c
        d -= b
        d *= fv
        d += b
        d *= 1 / 255
        return d

    def _atlas(
        self, level: int, rows: tuple[np.ndarray, ...], columns: tuple[np.ndarray, ...]
    ) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Tiles under scattered taps, stacked, with an index from tile to its place in the stack."""
        image, info = self.image, self.image.levels_info[level]
        th, tw = info.tile
        across = -(-info.width // tw)
        ids = np.unique(
            np.concatenate([(r // th) * across + c // tw for r in rows for c in columns])
        )
        if ids.size * th * tw * 3 > MAX_SAMPLE_BYTES:
            raise HrvizError(
                f"point sampling here would decode {ids.size} tiles ({ids.size * th * tw / 1e9:.1f} "
                "gigapixel): choose sampling 'fair' (mip-mapped) or a smaller region"
            )
        stack = np.zeros((ids.size, th, tw, 3), np.uint8)
        for slot, tile in enumerate(ids):
            row, column = divmod(int(tile), across)
            h, w = min(th, info.height - row * th), min(tw, info.width - column * tw)
            window = image.window(level, row * th, column * tw, h, w, self.reads)
            stack[slot, :h, :w] = image.to_rgb(window)
        taps = tuple(
            (np.searchsorted(ids, (r // th) * across + c // tw) * th + r % th) * tw + c % tw
            for r in rows
            for c in columns
        )
        return _Scaled(stack.reshape(-1, 3)), taps


class _Reduced:
    """The coarsest level halved again and again, down to one pixel: mip levels too small to store."""

    def __init__(self, view: ImageView) -> None:
        self.view, self.last = view, view.image.levels_info[-1]
        self.arrays: list[np.ndarray] = []

    def __len__(self) -> int:
        return max(0, int(np.ceil(np.log2(max(self.last.height, self.last.width)))))

    def __getitem__(self, index: int) -> np.ndarray:
        while len(self.arrays) <= index:
            if self.arrays:
                finer = self.arrays[-1]
            else:
                image, last = self.view.image, len(self.view.image.levels_info) - 1
                window = image.window(
                    last, 0, 0, self.last.height, self.last.width, self.view.reads
                )
                finer = image.to_rgb(window)
            self.arrays.append(halve(finer))
        return self.arrays[index]

    def info(self, index: int) -> Level:
        h, w = self[index].shape[:2]
        return Level(h, w, self.last.downsample * 2 ** (index + 1), (h, w))


class _Scaled:
    """uint8 pixels taken as float32: a stack of tiles is not converted whole."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def take(self, index: np.ndarray, axis: int) -> np.ndarray:
        return self.pixels.take(index, axis=axis).astype(np.float32)

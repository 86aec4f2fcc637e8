"""Tiles of result rasters: 8-bit indices that the viewer colours, made from the asked window only."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np

from hrviz.geometry import Box
from hrviz.viewer.pyramid import Pyramid

MAP_TILE = 256
STRIP_BYTES = 16 * 2**20  # a lazy raster is reduced in strips of at most about this size

Reduce = Literal["mean", "nearest"]


def encode_png(index: np.ndarray) -> bytes:
    """Fast greyscale PNG of uint8 `(h, w)`: the pixel values are the indices, exactly."""
    from PIL import Image as PILImage

    out = io.BytesIO()
    PILImage.fromarray(np.ascontiguousarray(index)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def to_index(values: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """Values to 8-bit indices: 0 where not finite, 1..255 linear from `vmin` to `vmax` (clipped).

    For labels 0..254 pass ``vmin=0, vmax=254``: the index is then the label plus one, exactly.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    span = vmax - vmin if vmax > vmin else 1.0
    scaled = np.where(finite, (values - vmin) * (254.0 / span), 0.0)
    index = np.clip(np.rint(scaled), 0, 254).astype(np.uint8) + np.uint8(1)
    return np.where(finite, index, np.uint8(0)).astype(np.uint8)


def from_index(index: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """The inverse of `to_index`, to half a step of ``(vmax - vmin) / 254``; NaN where 0."""
    values = vmin + (index.astype(np.float64) - 1) * ((vmax - vmin) / 254)
    return np.where(index == 0, np.nan, values)


class MapTiles:
    """Index tiles of a result raster, of which only the asked window is ever read.

    Parameters
    ----------
    array : 2-D array, numpy or zarr-like
        `shape` and slicing with steps are enough. NaN is 'no data'.
    box : Box
        Where it lies, in level-0 pixels.
    vmin, vmax : float
        Values of indices 1 and 255.
    reduce : {'mean', 'nearest'}
        How coarser levels are made; 'nearest' for labels. The mean ignores NaN.
    tile : int
    """

    def __init__(
        self,
        array: Any,
        box: Box | tuple[float, float, float, float],
        vmin: float,
        vmax: float,
        *,
        reduce: Reduce = "mean",
        tile: int = MAP_TILE,
    ) -> None:
        if len(array.shape) != 2:
            raise ValueError(f"a map has two axes, this array has {len(array.shape)}")
        self.array, self.box = array, Box(*box)
        self.vmin, self.vmax, self.reduce = float(vmin), float(vmax), reduce
        self.pyramid = Pyramid(int(array.shape[0]), int(array.shape[1]), tile)

    @property
    def geometry(self) -> dict[str, Any]:
        b = self.box
        return {
            "width": self.pyramid.width,
            "height": self.pyramid.height,
            "tile": self.pyramid.tile,
            "maxLevel": self.pyramid.top,
            "box": {"x": b.x0, "y": b.y0, "w": b.width, "h": b.height},
            "vmin": self.vmin,
            "vmax": self.vmax,
        }

    def index(self, z: int, x: int, y: int) -> np.ndarray:
        """uint8 indices `(h, w)` of tile (x, y) of level z."""
        return to_index(self.values(z, x, y), self.vmin, self.vmax)

    def png(self, z: int, x: int, y: int) -> bytes:
        return encode_png(self.index(z, x, y))

    def values(self, z: int, x: int, y: int) -> np.ndarray:
        """float64 values of tile (x, y) of level z, reduced."""
        y0, y1, x0, x1 = self.pyramid.window(z, x, y)
        step = self.pyramid.downsample(z)
        if step == 1:
            return np.asarray(self.array[y0:y1, x0:x1], dtype=np.float64)
        if self.reduce == "nearest":
            middle = step // 2
            rows = slice(min(y0 + middle, y1 - 1), y1, step)
            columns = slice(min(x0 + middle, x1 - 1), x1, step)
            picked = np.asarray(self.array[rows, columns], dtype=np.float64)
            # a last block thinner than half a step has no middle: its size comes from the edge
            h, w = self.pyramid.size(z, x, y)
            return np.pad(picked, ((0, h - picked.shape[0]), (0, w - picked.shape[1])), mode="edge")
        out = np.empty(self.pyramid.size(z, x, y))
        strip = max(1, STRIP_BYTES // (8 * step * (x1 - x0)))  # rows of the result at a time
        for first in range(0, len(out), strip):
            top, bottom = y0 + first * step, min(y0 + (first + strip) * step, y1)
            window = np.asarray(self.array[top:bottom, x0:x1], dtype=np.float64)
            out[first : first + strip] = _block_mean(window, step)
        return out


def _block_mean(window: np.ndarray, step: int) -> np.ndarray:
    """Mean of step x step blocks, NaN ignored; the last ones may be smaller."""
    finite = np.isfinite(window)
    edges = [np.arange(0, n, step) for n in window.shape]

    def total(values: np.ndarray) -> np.ndarray:
        rows = np.add.reduceat(values, edges[0], axis=0)
        return np.add.reduceat(rows, edges[1], axis=1)

    count = total(finite.astype(np.float64))
    if finite.all():
        whole: np.ndarray = total(window) / count
        return whole
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: np.ndarray = total(np.where(finite, window, 0.0)) / count
    return mean

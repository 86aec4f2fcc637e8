"""The region's map put together from patches, and parts of it found again as boxes.

Where patches overlap, values are combined as they come: a running mean, a maximum, votes, or a mean
weighted by a Hann window, in which a patch's middle counts and its rim hardly does:

    y = sum w_k y_k / sum w_k,   w(i, j) = sin^2(pi (i + 1/2) / n) sin^2(pi (j + 1/2) / n)

Taken at pixel centres the window is above 0 everywhere, so there is no 0 / 0 at the outer border, and
at an overlap of one half the weights add up to one.
"""

from __future__ import annotations

import shutil
import weakref
from typing import Any

import numpy as np

from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods import task as tasks
from hrviz.results import HeatMap

MEMORY_CANVAS = 2**20  # pixels; larger maps go to disk


def hann(height: int, width: int) -> np.ndarray:
    """Weights of an answer, float32 (height, width), above 0.

    Examples
    --------
    >>> (hann(1, 8)[0, :4] + hann(1, 8)[0, 4:]).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    return np.outer(rows, columns).astype(np.float32)


class Canvas:
    """The map so far: in memory when small, else Zarr on disk.

    Parameters
    ----------
    view : ImageView
    downsample : int
        Level-0 pixels a patch pixel; the network answers at half of that resolution.
    aggregation : str
    asked : Segmentation
    """

    def __init__(
        self,
        view: ImageView,
        downsample: int,
        aggregation: str,
        asked: tasks.Segmentation = tasks.SEGMENTATIONS["tumour segmentation"],
    ) -> None:
        self.box, self.aggregation, self.asked = view.box, aggregation, asked
        self.scale = 2 * downsample
        shape = (
            max(1, int(np.ceil(view.height / self.scale))), max(1, int(np.ceil(view.width / self.scale))),
        )  # fmt: skip
        # the sum of weights, or how many answers so far
        weights = "float32" if aggregation == "hann" else "uint8"
        self.values: Any
        self.seen: Any
        if shape[0] * shape[1] <= MEMORY_CANVAS:
            self.values = np.full(shape, np.nan, np.float32)
            self.seen = np.zeros(shape, weights)
        else:
            import tempfile

            import zarr

            place = tempfile.mkdtemp(prefix="patches-", dir=current().folder)
            if current().folder is None:  # outside any run nobody else tidies up
                weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
            self.values, self.seen = (
                zarr.create_array(f"{place}/{name}", shape=shape, chunks=(256, 256), dtype=dtype,
                                  fill_value=fill)
                for name, dtype, fill in (("values", "float32", np.nan), ("seen", weights, 0))
            )  # fmt: skip

    def area(self, box: np.ndarray, answer: np.ndarray, part: np.ndarray) -> float:
        """Level-0 pixels of the target in that part (4,) of one patch's answer."""
        rows, columns = (
            _inside(box[axis] + self.scale * np.arange(n + 1), part[axis], part[axis + 2])
            for axis, n in enumerate(answer.shape)
        )
        return float(rows @ (answer > 0.5) @ columns)

    def put(self, box: np.ndarray, answer: np.ndarray) -> None:
        """Combine one patch's answer with what is there."""
        row = round((box[0] - self.box.y0) / self.scale)
        column = round((box[1] - self.box.x0) / self.scale)
        weights = hann(*answer.shape) if self.aggregation == "hann" else None
        h = min(answer.shape[0], self.values.shape[0] - row)
        w = min(answer.shape[1], self.values.shape[1] - column)
        at = (slice(row, row + h), slice(column, column + w))
        answer = answer[:h, :w]
        if self.aggregation == "majority":
            answer = (answer > 0.5).astype(np.float32)
        before, seen = np.asarray(self.values[at]), np.asarray(self.seen[at])
        if weights is not None:
            total = seen + weights[:h, :w]
            now = np.where(seen > 0, before + (answer - before) * weights[:h, :w] / total, answer)
            self.values[at], self.seen[at] = now.astype(np.float32), total
            return
        if self.aggregation in ("maximum", "boxes"):
            now = np.fmax(before, answer)
        else:
            now = np.where(seen > 0, before + (answer - before) / (seen + 1.0), answer)
        self.values[at] = now.astype(np.float32)
        self.seen[at] = np.minimum(seen, 254) + 1

    def map(self) -> HeatMap:
        """What is known so far, as a result that later answers do not change under the viewer."""
        values = self.values.copy() if isinstance(self.values, np.ndarray) else self.values
        label = "share of votes" if self.aggregation == "majority" else self.asked.label
        return HeatMap(values, self.extent, label=label, low=0, high=1, source=self.asked.badge)

    @property
    def extent(self) -> Box:
        """What the map covers: whole pixels of it, so up to one beyond the region."""
        h, w = self.values.shape
        y0, x0 = self.box.y0, self.box.x0
        return Box(y0, x0, y0 + h * self.scale, x0 + w * self.scale)


def _inside(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """Length of each interval between edges that lies in [low, high)."""
    return np.diff(np.clip(edges, low, max(low, high)))


def components(
    answer: np.ndarray, box: np.ndarray, scale: int, region: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (level-0) and mean probabilities of the connected parts above one half, in the region.

    An answer's pixel is `scale` level-0 pixels wide; a patch larger than the region sees beyond it.
    """
    from scipy import ndimage

    h, w = (
        max(0, int(np.ceil((end - low) / scale)))
        for end, low in ((region.y1, box[0]), (region.x1, box[1]))
    )
    answer = answer[:h, :w]
    labels, count = ndimage.label(answer > 0.5)
    if not count:
        return np.zeros((0, 4)), np.zeros(0)
    found = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(labels)
    ]
    scores = ndimage.mean(answer, labels, np.arange(1, count + 1))
    offset = np.array([box[0], box[1], box[0], box[1]])
    boxes = np.array(found, float) * scale + offset
    ends = np.minimum([region.y1, region.x1], box[2:])
    return np.minimum(boxes, np.tile(ends, 2)), np.asarray(scores, float)

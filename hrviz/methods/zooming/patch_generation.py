"""GigaDet's patch candidates: where they lie, how many objects each holds, and which K are kept.

Everything is counted in pixels of the thumbnail that the patch generation network sees: squares of
16 px times 1, 2, 4 and 8 around the centres of its cells of 16 px. One that leaves the thumbnail is no
candidate. Coordinates are (y, x), boxes half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hrviz.boxes import suppress

STRIDE = 16  # thumbnail px a cell
SCALES = (1, 2, 4, 8)  # sides of candidates in cells
SHORT, LONG = 600, 1000  # the thumbnail's sides, at most
SMALL = 0.2  # of a patch's height: lower objects are ignored by IncludeIgnoreSmall
Strategy = Literal["Include", "IOU", "IncludeIgnoreSmall"]
STRATEGIES: tuple[Strategy, ...] = ("Include", "IOU", "IncludeIgnoreSmall")


def thumbnail_size(height: float, width: float) -> tuple[int, int]:
    """Height and width of the thumbnail: short side 600, long at most 1000, never enlarged.

    Examples
    --------
    >>> thumbnail_size(15052, 26753)
    (562, 999)
    """
    zoom = min(SHORT / min(height, width), LONG / max(height, width), 1.0)
    return max(1, int(height * zoom)), max(1, int(width * zoom))


@dataclass(frozen=True)
class Candidates:
    """All candidates of one thumbnail.

    Parameters
    ----------
    size : (int, int)
        Height and width of the thumbnail.
    scales : tuple of int
        Sides in cells.
    """

    size: tuple[int, int]
    scales: tuple[int, ...] = SCALES

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of whole cells."""
        return self.size[0] // STRIDE, self.size[1] // STRIDE

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the cells along y and x."""
        rows, columns = self.cells
        return STRIDE * (np.arange(rows) + 0.5), STRIDE * (np.arange(columns) + 0.5)

    @property
    def boxes(self) -> np.ndarray:
        """All squares: (scales, rows, columns, 4) as (y0, x0, y1, x1)."""
        y, x = self.centres
        half = STRIDE * np.array(self.scales)[:, None, None] / 2
        out = np.empty((len(self.scales), len(y), len(x), 4))
        out[..., 0], out[..., 2] = y[:, None] - half, y[:, None] + half
        out[..., 1], out[..., 3] = x - half, x + half
        return out

    @property
    def inside(self) -> np.ndarray:
        """Which of them lie in the thumbnail: bool (scales, rows, columns)."""
        boxes = self.boxes
        return np.asarray((boxes[..., :2] >= 0).all(-1) & (boxes[..., 2:] <= self.size).all(-1))

    def counts(self, boxes: np.ndarray, strategy: Strategy) -> np.ndarray:
        """How many objects each candidate holds: float64 (scales, rows, columns).

        'Include': objects wholly inside (the survey's definition). 'IOU', the published default: each
        object with the share of its area inside. 'IncludeIgnoreSmall': those wholly inside and higher
        than a fifth of the candidate. All are products of a condition on rows and one on columns, so
        one matrix product a scale gives them.

        Parameters
        ----------
        boxes : ndarray, (n, 4)
            Objects in thumbnail pixels.
        """
        boxes = np.asarray(boxes, float).reshape(-1, 4)
        out = np.zeros((len(self.scales), *self.cells))
        for k, scale in enumerate(self.scales):
            half = STRIDE * scale / 2
            kept = boxes
            if strategy == "IncludeIgnoreSmall":
                kept = boxes[boxes[:, 2] - boxes[:, 0] > SMALL * 2 * half]
            rows, columns = (
                _share(kept[:, axis], kept[:, axis + 2], centres, half, strategy)
                for axis, centres in enumerate(self.centres)
            )
            out[k] = rows.T @ columns
        return out


def _share(
    low: np.ndarray, high: np.ndarray, centres: np.ndarray, half: float, strategy: Strategy
) -> np.ndarray:
    """Share of each interval in [c - half, c + half) (or whether it is wholly inside): (n, centres)."""
    start, end = centres - half, centres + half
    if strategy == "IOU":
        common = np.minimum(high[:, None], end) - np.maximum(low[:, None], start)
        return np.asarray(np.clip(common, 0, None) / np.maximum(high - low, 1e-9)[:, None])
    return ((low[:, None] >= start) & (high[:, None] <= end)).astype(float)


@dataclass(frozen=True)
class Choice:
    """What became of the candidates; indices into the flattened grid, most objects first.

    Attributes
    ----------
    chosen : ndarray int
        The K that are looked at.
    beyond : ndarray int
        Kept by suppression, but more than K.
    suppressed : ndarray int
        Overlap a better candidate.
    few : ndarray int
        Hold fewer objects than asked for.
    """

    chosen: np.ndarray
    beyond: np.ndarray
    suppressed: np.ndarray
    few: np.ndarray


def choose(
    candidates: Candidates, counts: np.ndarray, least: float, overlap: float, most: int
) -> Choice:
    """Drop candidates with few objects, suppress overlapping ones, keep the `most` fullest.

    Parameters
    ----------
    counts : ndarray, (scales, rows, columns)
    least : float
        A candidate with fewer goes, and so does one with none.
    overlap : float
        IoU with a fuller candidate above which one is suppressed.
    most : int
        K.
    """
    flat, boxes = counts.ravel(), candidates.boxes.reshape(-1, 4)
    inside = np.flatnonzero(candidates.inside.ravel())
    order = inside[np.argsort(-flat[inside], kind="stable")]
    enough = (flat[order] >= least) & (flat[order] > 0)
    full = order[enough]
    kept = full[suppress(boxes[full], flat[full], overlap)]
    gone = full[~np.isin(full, kept)]
    return Choice(kept[:most], kept[most:], gone, order[~enough])


def coverage(candidates: Candidates, density: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Share of all objects that the first 1, 2, ... chosen candidates hold together.

    Parameters
    ----------
    density : ndarray, (rows, columns)
        Objects a cell; within a cell they count as spread evenly.
    order : ndarray int, (n,)
        Candidates as chosen.

    Returns
    -------
    ndarray float64, (n,)
    """
    # candidates end at whole or half cells, so halves of cells tell exactly
    halves = np.repeat(np.repeat(density, 2, 0), 2, 1) / 4
    total = max(float(density.sum()), 1e-12)
    covered = np.zeros(halves.shape, bool)
    out = np.empty(len(order))
    ends = np.rint(candidates.boxes.reshape(-1, 4)[order] / (STRIDE / 2)).astype(int)
    for k, (y0, x0, y1, x1) in enumerate(np.clip(ends, 0, None)):
        covered[y0:y1, x0:x1] = True
        out[k] = halves[covered].sum() / total
    return out

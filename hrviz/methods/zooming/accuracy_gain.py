r"""Accuracy gain: what a closer look at a coarse detection is worth, and windows that collect it.

A proposal k of the coarse detector with score :math:`p_{l,k}`, which the fine detector scores
:math:`p_{h,k}` and which is right (:math:`g_k = 1`) or wrong (0), has the gain

.. math:: \mathrm{gain}_k = |g_k - p_{l,k}| - |g_k - p_{h,k}|.

The accuracy-gain (AG) map spreads it evenly over the proposal's box. A window a of b of the image's B
pixels is rewarded with :math:`R(s, a) = \sum_{k \in a} \mathrm{gain}_k - \lambda\, b / B`, where k is
in a when its *centre* is: a proposal that lies in two windows by halves would else be paid twice, and
sums of the map and the reward would disagree. Everything is on a grid of cells over the region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hrviz.boxes import areas
from hrviz.geometry import Box


class Window(NamedTuple):
    """Cells [row, row + height) x [column, column + width)."""

    row: int
    column: int
    height: int
    width: int

    @property
    def cells(self) -> tuple[slice, slice]:
        return (
            slice(self.row, self.row + self.height),
            slice(self.column, self.column + self.width),
        )


def gains(right: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """|g - p_l| - |g - p_h| of each proposal: above 0 where the fine detector is nearer to the truth.

    Examples
    --------
    >>> gains(np.array([1, 0]), np.array([0.3, 0.7]), np.array([0.9, 0.2])).round(3).tolist()
    [0.6, 0.5]
    """
    return np.asarray(np.abs(right - low) - np.abs(right - high), np.float64)


def gain_map(
    boxes: np.ndarray, values: np.ndarray, box: Box, shape: tuple[int, int], alpha: float = 1.0
) -> np.ndarray:
    """The AG map: alpha * gain_k / b_k at every pixel of proposal k, summed, averaged over cells.

    Parameters
    ----------
    boxes : ndarray (n, 4)
        Level-0 pixels; b_k is their area.
    values : ndarray (n,)
    box : Box
        What the map covers.
    shape : (int, int)
        Cells down and across.
    alpha : float

    Returns
    -------
    ndarray float64, `shape`
        Times a cell's area and summed, it is alpha times the gain of proposals wholly inside.
    """
    origin, scale = np.array(box[:2]), np.array(shape) / (box.height, box.width)
    low, high = (boxes[:, :2] - origin) * scale, (boxes[:, 2:] - origin) * scale
    rows, columns = (
        np.clip(np.minimum(high[:, k, None], np.arange(n) + 1)
                - np.maximum(low[:, k, None], np.arange(n)), 0, None)
        for k, n in enumerate(shape)
    )  # fmt: skip
    weight = alpha * np.asarray(values, np.float64) / np.maximum(areas(boxes), 1e-9)
    return np.asarray(rows.T @ (columns * weight[:, None]))


def centre_map(
    boxes: np.ndarray, values: np.ndarray, box: Box, shape: tuple[int, int]
) -> np.ndarray:
    """Each gain in the cell of its proposal's centre: window sums of it are the reward's first part."""
    out = np.zeros(shape)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - box[:2]
    cell = np.floor(centre * np.array(shape) / (box.height, box.width)).astype(np.int64)
    cell = cell.clip(0, np.array(shape) - 1)
    np.add.at(out, (cell[:, 0], cell[:, 1]), values)
    return out


def window_sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sum of a map over every window of a size, by an integral image: (H - height + 1, W - width + 1).

    Examples
    --------
    >>> window_sums(np.arange(6.0).reshape(2, 3), 2, 2).tolist()
    [[8.0, 12.0]]
    """
    total = np.pad(np.asarray(values, np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(
        total[height:, width:] - total[:-height, width:] - total[height:, :-width]
        + total[:-height, :-width]
    )  # fmt: skip


@dataclass(frozen=True)
class State:
    """What is left to gain: the AG map and the same gains at their centres.

    Attributes
    ----------
    spread : ndarray (H, W)
        AG map in gain a cell (alpha = a cell's area): the state of the Q-network.
    centred : ndarray (H, W)
        `centre_map`: what windows are paid by.
    """

    spread: np.ndarray
    centred: np.ndarray

    @classmethod
    def of(cls, boxes: np.ndarray, values: np.ndarray, box: Box, shape: tuple[int, int]) -> State:
        """From proposals in a box."""
        cell = box.area / (shape[0] * shape[1])
        return cls(gain_map(boxes, values, box, shape, cell), centre_map(boxes, values, box, shape))

    def sizes(self, sides: tuple[int, ...]) -> list[tuple[int, int]]:
        """Square windows of these sides in cells, cut to the map where it is smaller."""
        h, w = self.spread.shape
        return [(min(side, h), min(side, w)) for side in sides]

    def rewards(self, size: tuple[int, int], price: float) -> np.ndarray:
        """R(s, a) of every window of a size; `price` is lambda."""
        share = size[0] * size[1] / self.spread.size
        return window_sums(self.centred, *size) - price * share

    def reward(self, window: Window, price: float) -> float:
        """R(s, a) of one window."""
        share = window.height * window.width / self.spread.size
        return float(self.centred[window.cells].sum() - price * share)

    def after(self, window: Window) -> State:
        """The state once a window is looked at: nothing is left to gain inside it."""
        spread, centred = self.spread.copy(), self.centred.copy()
        spread[window.cells] = centred[window.cells] = 0
        return State(spread, centred)


def best(values: list[np.ndarray], sizes: list[tuple[int, int]]) -> tuple[Window, float]:
    """The best window of several sizes from their values by place; the first of equals.

    Parameters
    ----------
    values : list of ndarray (H - height + 1, W - width + 1)
        A map for each of `sizes`.
    """
    tops = [float(v.max()) for v in values]
    k = int(np.argmax(tops))
    row, column = np.unravel_index(int(values[k].argmax()), values[k].shape)
    return Window(int(row), int(column), *sizes[k]), tops[k]


def greedy(state: State, sizes: list[tuple[int, int]], price: float) -> tuple[Window, float]:
    """The window with the best reward at once (gamma = 0)."""
    return best([state.rewards(size, price) for size in sizes], sizes)

"""Resampling of windows: exact area averaging when shrinking, bilinear when enlarging."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


@functools.lru_cache(maxsize=64)
def _weights(start: float, stop: float, n_in: int, n_out: int) -> Any:
    """Sparse (n_out, n_in): output pixel i as a mean of inputs over [start, stop) cut in n_out."""
    from scipy import sparse

    step = (stop - start) / n_out
    if step >= 1:
        edges = start + step * np.arange(n_out + 1)
        first = np.floor(edges[:-1] + 1e-9).astype(int)
        span = int(np.ceil(step)) + 1
        columns = first[:, None] + np.arange(span)
        overlap = np.minimum(edges[1:, None], columns + 1) - np.maximum(edges[:-1, None], columns)
        overlap = np.where((columns >= 0) & (columns < n_in), np.maximum(overlap, 0), 0)
        columns = np.clip(columns, 0, n_in - 1)
        overlap[overlap.sum(1) <= 0, 0] = 1  # wholly past a rounded-down rim: the last pixel
        weights = overlap / np.maximum(overlap.sum(1, keepdims=True), 1e-12)
    else:
        centres = start + step * (np.arange(n_out) + 0.5) - 0.5
        first = np.floor(centres).astype(int)
        fraction = centres - first
        columns = np.clip(np.stack([first, first + 1], 1), 0, n_in - 1)
        weights = np.stack([1 - fraction, fraction], 1)
    rows = np.repeat(np.arange(n_out), columns.shape[1])
    matrix = sparse.csr_matrix(
        (weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(n_out, n_in)
    )
    matrix.eliminate_zeros()  # 0 x NaN is NaN: a hole must not spread to pixels that do not touch it
    return matrix


def resample(
    window: np.ndarray,
    rows: tuple[float, float],
    columns: tuple[float, float],
    size: tuple[int, int],
) -> np.ndarray:
    """The part [rows) x [columns) of `window` as `size` pixels.

    Parameters
    ----------
    window : ndarray, (h, w, c)
    rows, columns : (float, float)
        Half-open range in window pixels, edges may be fractional and lie inside the window.
    size : (int, int)
        Output height and width.

    Returns
    -------
    ndarray, (height, width, c), of the dtype of `window`
        Shrinking: each output pixel is the mean over exactly the source area it covers (fractions
        of pixels weighted). Enlarging: bilinear between pixel centres.
    """
    h, w, c = window.shape
    n_out_y, n_out_x = size
    fy, fx = (rows[1] - rows[0]) / n_out_y, (columns[1] - columns[0]) / n_out_x
    whole = fy == 1 and fx == 1 and rows[0] % 1 == 0 and columns[0] % 1 == 0
    if whole and rows[1] <= h and columns[1] <= w:
        y, x = int(rows[0]), int(columns[0])
        return window[y : y + n_out_y, x : x + n_out_x]
    wy = _weights(float(rows[0]), float(rows[1]), h, n_out_y)
    wx = _weights(float(columns[0]), float(columns[1]), w, n_out_x)
    out = wy @ window.reshape(h, w * c).astype(np.float32)
    out = out.reshape(n_out_y, w, c).transpose(1, 0, 2).reshape(w, n_out_y * c)
    out = (wx @ out).reshape(n_out_x, n_out_y, c).transpose(1, 0, 2)
    if np.issubdtype(window.dtype, np.integer):
        info = np.iinfo(window.dtype)
        return np.clip(np.rint(out), info.min, info.max).astype(window.dtype)
    return np.ascontiguousarray(out.astype(window.dtype))


def halve(window: np.ndarray) -> np.ndarray:
    """2 x 2 means; an odd last row or column is averaged over what is there."""
    h, w, c = window.shape
    if h % 2 or w % 2:
        window = np.pad(window, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    h, w = window.shape[:2]
    blocks = window.reshape(h // 2, 2, w // 2, 2, c)
    if np.issubdtype(window.dtype, np.integer):
        # uint32 holds four 16-bit values; wider integers go through float64
        wide = np.uint32 if window.dtype.itemsize <= 2 and window.dtype.kind == "u" else np.float64
        total = blocks.sum(axis=(1, 3), dtype=wide)
        mean = (total + 2) // 4 if wide is np.uint32 else np.rint(total / 4)
        return mean.astype(window.dtype)
    return blocks.mean(axis=(1, 3)).astype(window.dtype)

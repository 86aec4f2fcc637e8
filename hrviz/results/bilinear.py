"""Geometry of piecewise-bilinear grids: interpolation, inverses of a line and of a cell, boxes."""

from __future__ import annotations

import numpy as np


def interpolation(nodes: int, size: int) -> np.ndarray:
    """Matrix (size, nodes) of linear interpolation from nodes to pixel centres, corner to corner."""
    position = np.linspace(0, 1, size) * (nodes - 1) if size > 1 else np.array([(nodes - 1) / 2])
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(nodes)))


def rims(boxes: np.ndarray, edge: int) -> np.ndarray:
    """Points on the rims of boxes (n, 4), `edge` a side: (n, 4 * edge, 2) as (y, x)."""
    y0, x0, y1, x1 = (np.asarray(boxes, float).reshape(-1, 4)[:, k, None] for k in range(4))
    t = np.linspace(0, 1, max(edge, 2))[None]
    y, x = y0 + (y1 - y0) * t, x0 + (x1 - x0) * t
    sides = [(y0 + 0 * t, x), (y1 + 0 * t, x), (y, x0 + 0 * t), (y, x1 + 0 * t)]
    return np.concatenate([np.stack(side, -1) for side in sides], axis=1)


def around(points: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) around point sets (n, k, 2); NaN points do not count."""
    low = np.fmin.reduce(points, axis=1)
    high = np.fmax.reduce(points, axis=1)
    return np.concatenate([low, high], axis=1)


def invert_line(nodes: np.ndarray, at: np.ndarray, eps: float) -> np.ndarray:
    """Position in 0..1 along increasing `nodes` of each value; NaN outside them.

    Clamping makes runs of equal nodes at either end: the innermost of each is the border.
    """
    place = np.linspace(0, 1, len(nodes))
    first = np.searchsorted(nodes, nodes[0], "right") - 1
    last = np.searchsorted(nodes, nodes[-1], "left")
    if first >= last:  # a region one pixel thick: its only place is the middle
        return np.where(np.abs(at - nodes[0]) <= 0.5, 0.5, np.nan)
    inner, where = nodes[first : last + 1], place[first : last + 1]
    slack = eps * (1 + abs(float(inner[-1] - inner[0])) / len(nodes))
    out = np.interp(at, inner, where)
    return np.where((at < inner[0] - slack) | (at > inner[-1] + slack), np.nan, out)


def invert_cell(
    cell: np.ndarray, y: np.ndarray, x: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """(t, s) in 0..1 of points in the cell with corners p00, p01, p10, p11 (rows t, columns s).

    `cell` is (4, 2), one for all points, or (4, 2, n), one for each.

    p = p00 + s b + t c + s t d; eliminating s leaves a quadratic in t. NaN outside the cell.
    """
    p00, p01, p10, p11 = cell
    b, c, d = p01 - p00, p10 - p00, p00 - p01 - p10 + p11
    my, mx = p00[0] - y, p00[1] - x
    qa = c[0] * d[1] - c[1] * d[0]
    qb = c[0] * b[1] - c[1] * b[0] + my * d[1] - mx * d[0]
    qc = my * b[1] - mx * b[0]
    best_t, best_s = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    with np.errstate(all="ignore"):
        linear = np.abs(qa) < 1e-12 * np.maximum(np.abs(qb), np.abs(qc))
        root = np.sqrt(np.maximum(qb * qb - 4 * qa * qc, 0))
        valid = linear | (qb * qb - 4 * qa * qc >= -1e-12 * qb * qb)
        half = -0.5 * (qb + np.where(qb >= 0, root, -root))  # the numerically stable pair
        for t in (np.where(linear, -qc / qb, qc / half), np.where(linear, np.nan, half / qa)):
            dy, dx = b[0] + t * d[0], b[1] + t * d[1]
            s = np.where(np.abs(dy) > np.abs(dx), -(my + t * c[0]) / dy, -(mx + t * c[1]) / dx)
            good = valid & (t >= -eps) & (t <= 1 + eps) & (s >= -eps) & (s <= 1 + eps)
            use = good & np.isnan(best_t)
            best_t, best_s = np.where(use, t, best_t), np.where(use, s, best_s)
    return np.clip(best_t, 0, 1), np.clip(best_s, 0, 1)

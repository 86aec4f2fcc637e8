"""Rounded trapezoids and ellipses: what figures are made of, and how they are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A rounded trapezoid around an axis, or an ellipse; and where it stands in painter's order.

    `a`, `b` are the ends of the axis (x, v), `wa`, `wb` half widths there, `corner` the radius of
    its corners; an ellipse has its centre at `a` and half axes `wa` (across) and `wb` (up).
    `solid` has the two ends in three dimensions (X, height, Z), for the shadow.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    wa: float
    wb: float
    corner: float
    part: int
    shade: float
    order: float
    ellipse: bool = False
    fine: bool = False
    solid: tuple[float, ...] = ()


def axis(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float, float]:
    """Length and direction (x, v) from one point to another; downwards where they are one."""
    length = math.hypot(b[0] - a[0], b[1] - a[1])
    if length < 1e-9:
        return 1e-9, 0.0, 1.0
    return length, (b[0] - a[0]) / length, (b[1] - a[1]) / length


def extent(s: Shape) -> tuple[float, float, float, float]:
    """v0, x0, v1, x1 of a shape."""
    if s.ellipse:
        return s.a[1] - s.wb, s.a[0] - s.wa, s.a[1] + s.wb, s.a[0] + s.wa
    _, ux, uv = axis(s.a, s.b)
    corners = []
    for end, w, way in ((s.a, s.wa, 1), (s.b, s.wb, -1)):
        r = min(s.corner, w)
        for side in (-1, 1):  # centres of the rounded corners
            x = end[0] + way * r * ux - side * (w - r) * uv
            v = end[1] + way * r * uv + side * (w - r) * ux
            corners += [(v - r, x - r), (v + r, x + r)]
    rows, columns = zip(*corners, strict=True)
    return min(rows), min(columns), max(rows), max(columns)


def paint(
    canvas: np.ndarray,
    parts: tuple[Shape, ...],
    palette: np.ndarray,
    at: tuple[float, float],
    scale: float,
    sun: float,
    covering: int | None = None,
) -> None:
    """Draw shapes on a canvas in place.

    Parameters
    ----------
    canvas : numpy.ndarray
        float32 (channels, h, w).
    parts : tuple of Shape
    palette : numpy.ndarray
        (PARTS, channels): what each part lays down.
    at : (float, float)
        The feet, (y, x) in pixels of the canvas.
    scale : float
        Canvas pixels a metre.
    sun : float
        -1 when light comes from the left, 1 from the right.
    covering : int, optional
        The channel that holds the share covered, which light does not change.
    """
    _, h, w = canvas.shape
    for s in parts:
        v0, x0, v1, x1 = extent(s)
        i0, i1 = max(int(at[0] + v0 * scale) - 2, 0), min(int(at[0] + v1 * scale) + 3, h)
        j0, j1 = max(int(at[1] + x0 * scale) - 2, 0), min(int(at[1] + x1 * scale) + 3, w)
        if i0 >= i1 or j0 >= j1:
            continue
        v = ((np.arange(i0, i1) + (0.5 - at[0])) / scale).astype(np.float32)[:, None]
        x = ((np.arange(j0, j1) + (0.5 - at[1])) / scale).astype(np.float32)[None, :]
        distance, across = _distance(s, v, x)
        share = (0.5 - distance * np.float32(scale)).clip(0, 1)
        colour = palette[s.part]
        light = np.float32(s.shade) * (1 + np.float32(0.17 * sun) * across)
        below = canvas[:, i0:i1, j0:j1]
        below *= 1 - share
        light = light * share
        for c in np.flatnonzero(colour):
            below[c] += share if c == covering else np.float32(colour[c]) * light


def _distance(s: Shape, v: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance, and where a point is across the shape (-1 left to 1 right)."""
    f = np.float32
    if s.ellipse:
        a, b = f(s.wb), f(s.wa)
        p, q = v - f(s.a[1]), x - f(s.a[0])
        k = np.sqrt((p / a) ** 2 + (q / b) ** 2)
        slope = np.sqrt((p / a**2) ** 2 + (q / b**2) ** 2)
        return np.maximum(k, f(1e-3)) * (k - 1) / np.maximum(slope, f(1e-5)), (q / b).clip(-1, 1)
    length, *way = axis(s.a, s.b)
    ux, uv = f(way[0]), f(way[1])
    p, q = v - f(s.a[1]), x - f(s.a[0])
    along = p * uv + q * ux
    side = q * uv - p * ux
    width = f(s.wa) + (along / f(length)).clip(0, 1) * f(s.wb - s.wa)
    du = np.abs(side) - (width - f(s.corner))
    dv = np.abs(along - f(length / 2)) - f(length / 2 - s.corner)
    outer = np.sqrt(np.maximum(du, 0) ** 2 + np.maximum(dv, 0) ** 2)
    distance = outer + np.minimum(np.maximum(du, dv), 0) - f(s.corner)
    turn = f(1) if uv >= 0 else f(-1)
    return distance, (turn * abs(uv) * side / np.maximum(width, f(1e-4))).clip(-1, 1)

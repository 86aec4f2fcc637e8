"""Traffic signs: plates of half height `r` px around their centre, and their tight boxes."""

from __future__ import annotations

import math

import numpy as np

from hrviz.scenes._paint import Ink, Point, disc, polygon, rectangle, text

LIMITS = ("50", "70", "80")
OTHERS = ("warning", "give way", "mandatory", "parking", "no entry", "crossing", "stop")

_RED, _WHITE, _BLACK = (190, 26, 34), (240, 239, 234), (22, 22, 24)
_BLUE, _YELLOW = (22, 78, 156), (246, 202, 52)
_UP: tuple[Point, ...] = ((-0.92, 0.0), (0.68, 0.96), (0.68, -0.96))
_DOWN: tuple[Point, ...] = tuple((-v, u) for v, u in _UP)
_OCTAGON: tuple[Point, ...] = tuple(
    (math.sin(math.pi * (k + 0.5) / 4) / math.cos(math.pi / 8),
     math.cos(math.pi * (k + 0.5) / 4) / math.cos(math.pi / 8)) for k in range(8)
)  # fmt: skip
_ARROW: tuple[Point, ...] = ((-0.62, 0.0), (-0.1, 0.46), (-0.1, 0.15), (0.62, 0.15),
                             (0.62, -0.15), (-0.1, -0.15), (-0.1, -0.46))  # fmt: skip


def plate_box(kind: str) -> tuple[float, float, float, float]:
    """v0, u0, v1, u1 of a plate of half height 1."""
    points = {"warning": _UP, "give way": _DOWN}.get(kind)
    if points is None:
        return -1.0, -1.0, 1.0, 1.0
    v, u = zip(*points, strict=True)
    return min(v), min(u), max(v), max(u)


def plate(ink: Ink, v: np.ndarray, u: np.ndarray, r: float, kind: str) -> None:
    """Paint the plate of a sign."""
    if kind in LIMITS:
        _round(ink, v, u, r, _RED)
        ink.fill(disc(v, u, 0.74 * r), _WHITE)
        height = 0.80 * r  # the word covers a small part of a large plate
        ink.fill(text(v, u, kind, height, 0.2), _BLACK)
    elif kind in ("warning", "give way"):
        shape = _scaled(_UP if kind == "warning" else _DOWN, r)
        d = polygon(v, u, shape)
        ink.fill(d, _RED)
        ink.fill(d + 0.17 * r, _YELLOW)
        if kind == "warning":
            ink.fill(rectangle(v + 0.05 * r, u, 0.5 * r, 0.15 * r, 0.05 * r), _BLACK)
            ink.fill(disc(v - 0.36 * r, u, 0.09 * r), _BLACK)
    elif kind == "mandatory":
        _round(ink, v, u, r, _BLUE)
        ink.fill(polygon(v, u, _scaled(_ARROW, r)), _WHITE)
    elif kind == "no entry":
        _round(ink, v, u, r, _RED)
        ink.fill(rectangle(v, u, 0.34 * r, 1.36 * r), _WHITE)
    elif kind == "stop":
        d = polygon(v, u, _scaled(_OCTAGON, r))
        ink.fill(d, _WHITE)
        ink.fill(d + 0.07 * r, _RED)
        ink.fill(text(v, u, "STOP", 0.56 * r, 0.2), _WHITE)
    else:
        d = rectangle(v, u, 2 * r, 2 * r, 0.14 * r)
        ink.fill(d, _WHITE)
        ink.fill(d + 0.07 * r, _BLUE)
        if kind == "parking":
            ink.fill(text(v, u, "P", 1.25 * r, 0.24), _WHITE)
        else:
            ink.fill(polygon(v, u, _scaled(_UP, 0.78 * r)), _WHITE)
            ink.fill(rectangle(v - 0.12 * r, u, 0.5 * r, 0.12 * r), _BLACK)
            ink.fill(disc(v + 0.22 * r, u, 0.09 * r), _BLACK)


def _round(ink: Ink, v: np.ndarray, u: np.ndarray, r: float, colour: tuple[int, int, int]) -> None:
    d = disc(v, u, r)
    ink.fill(d, _WHITE)
    light = 1 + np.float32(0.10) * (-v - 0.5 * u) / np.float32(r)  # the sky lights it from above
    ink.fill(d + 0.05 * r, [np.float32(c) * light for c in colour])


def _scaled(points: tuple[Point, ...], r: float) -> list[Point]:
    return [(v * r, u * r) for v, u in points]

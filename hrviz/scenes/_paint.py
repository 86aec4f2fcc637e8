"""Antialiased drawing on one block of a scene: stamps made of signed distances.

A scene draws an object by `canvas.stamp(at, box, draw)`: `draw(ink)` gets coordinates relative to
`at` (`ink.v` down, `ink.u` right, level-0 px, float32) and lays colours where a signed distance
(negative inside, level-0 px) says so. The same function serves every level of the pyramid. How it
is averaged over a pixel is the canvas's business:

- pixels smaller than the object's details: one sample a pixel, with an edge one pixel soft;
- pixels comparable with its details: several samples a pixel, averaged;
- pixels larger than the object: its mean colour and area, shared among the pixels it touches.

How fine the samples are follows from the object and the pixel alone, never from the block, so
neighbouring blocks fit. Example::

    canvas = Canvas.block(0, 0, 512, pixel=4.0, colour=(210, 220, 230))

    def lamp(ink):
        ink.fill(rectangle(ink.v, ink.u, 80, 6), (60, 60, 65))
        ink.fill(disc(ink.v + 40, ink.u, 9), (255, 240, 190))

    canvas.stamp((300.0, 420.0), (-52, -12, 44, 12), lamp)
    canvas.stamp((90.0, 100.0), (-30, -80, 30, 80),
                 lambda ink: ink.fill(text(ink.v, ink.u, "70", 40), (0, 0, 0)))
    pixels = canvas.pixels()
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

#: Red, green, blue, 0 to 255; each a number or an array of the pixels' shape.
Colour = Sequence[Any] | np.ndarray
Point = tuple[float, float]
_FINEST = 8  # samples a pixel along each side
_SAMPLES = 1_500_000  # of one stamp on one block, at most


def cover(distance: np.ndarray, soft: float) -> np.ndarray:
    """Share of a pixel inside an outline, from the signed distance of its centre.

    Parameters
    ----------
    distance : numpy.ndarray
        Negative inside, px of level 0.
    soft : float
        Width of the edge, px of level 0: the pixel's side, or more for a blurred edge.
    """
    return np.asarray((0.5 - distance / np.float32(soft)).clip(0, 1))


@dataclass
class Ink:
    """What `draw` gets: coordinates, and colours to lay over what is there.

    Attributes
    ----------
    v, u : numpy.ndarray
        Coordinates of the samples relative to the stamp's `at`, float32 (h, 1) and (1, w): down
        and right, level-0 px.
    pixel : float
        Distance of samples, level-0 px: edges are this soft.
    rgb : numpy.ndarray
        float32 (3, h, w), 0 to 255; changed in place.
    """

    v: np.ndarray
    u: np.ndarray
    pixel: float
    rgb: np.ndarray

    def fill(
        self,
        distance: np.ndarray,
        colour: Colour,
        opacity: float | np.ndarray = 1.0,
        soft: float = 0.0,
    ) -> None:
        """Lay a colour, (3,) or (3, h, w), where a signed distance is negative.

        `soft` blurs the edge over that many level-0 px (shadows, glows).
        """
        self.lay(cover(distance, max(soft, self.pixel)) * np.float32(opacity), colour)

    def lay(self, share: np.ndarray, colour: Colour) -> None:
        """Lay a colour, (3,) or (3, h, w), over a share (h, w) of each pixel."""
        for c in range(3):
            value = colour[c] if isinstance(colour[c], np.ndarray) else np.float32(colour[c])
            self.rgb[c] += share * (value - self.rgb[c])


@dataclass
class Canvas:
    """One block, or any window, being drawn.

    Attributes
    ----------
    rgb : numpy.ndarray
        float32 (3, h, w), 0 to 255.
    y, x : float
        Level-0 position of the first pixel's corner.
    pixel : float
        Side of a pixel in level-0 px.
    """

    rgb: np.ndarray
    y: float
    x: float
    pixel: float

    @classmethod
    def block(cls, y: float, x: float, n: int, pixel: float, colour: Colour = (0, 0, 0)) -> Canvas:
        """A canvas of n x n pixels of one colour."""
        rgb = np.empty((3, n, n), np.float32)
        rgb[:] = np.asarray(colour, np.float32).reshape(3, 1, 1)
        return cls(rgb, y, x, pixel)

    def pixels(self) -> np.ndarray:
        """The picture, uint8 (h, w, 3)."""
        out = np.empty((*self.rgb.shape[1:], 3), np.uint8)
        for c in range(3):
            out[..., c] = (self.rgb[c] + 0.5).clip(0, 255)
        return out

    def stamp(
        self,
        at: Point,
        box: tuple[float, float, float, float],
        draw: Callable[[Ink], None],
        detail: float | None = None,
    ) -> None:
        """Draw an object.

        Parameters
        ----------
        at : (float, float)
            Where the object's own coordinates begin, (y, x) level-0 px.
        box : (float, float, float, float)
            What it covers, relative to `at`: v0, u0, v1, u1. Nothing is drawn outside.
        draw : callable
            Lays ink; depends on nothing but the coordinates and pixel size it is given.
        detail : float, optional
            Width of its finest part that matters, level-0 px; default an eighth of its shorter side.
        """
        tall, wide = box[2] - box[0], box[3] - box[1]
        h, w = self.rgb.shape[1:]
        # A pixel of margin: outlines are soft.
        i0 = max(math.floor((at[0] + box[0] - self.y) / self.pixel) - 1, 0)
        j0 = max(math.floor((at[1] + box[1] - self.x) / self.pixel) - 1, 0)
        i1 = min(math.ceil((at[0] + box[2] - self.y) / self.pixel) + 1, h)
        j1 = min(math.ceil((at[1] + box[3] - self.x) / self.pixel) + 1, w)
        if i0 >= i1 or j0 >= j1:
            return
        if max(tall, wide) < self.pixel:
            self._speck(at, box, draw)
            return
        detail = detail or min(tall, wide) / 8
        s = math.ceil(min(self.pixel / detail, _FINEST))
        area = min(tall / self.pixel + 2, h) * min(wide / self.pixel + 2, w)
        s = max(1, min(s, int(math.sqrt(_SAMPLES / area))))
        step = self.pixel / s
        v = self.y - at[0] + i0 * self.pixel + (np.arange((i1 - i0) * s) + 0.5) * step
        u = self.x - at[1] + j0 * self.pixel + (np.arange((j1 - j0) * s) + 0.5) * step
        below = self.rgb[:, i0:i1, j0:j1]
        rgb = below if s == 1 else below.repeat(s, axis=1).repeat(s, axis=2)
        draw(Ink(v.astype(np.float32)[:, None], u.astype(np.float32)[None], step, rgb))
        if s > 1:
            below[:] = rgb.reshape(3, i1 - i0, s, j1 - j0, s).mean(axis=(2, 4))

    def _speck(
        self, at: Point, box: tuple[float, float, float, float], draw: Callable[[Ink], None]
    ) -> None:
        """An object smaller than a pixel: its mean over the pixels its box overlaps."""
        tall, wide = box[2] - box[0], box[3] - box[1]
        step = max(tall, wide) / 32
        m, n = math.ceil(tall / step), math.ceil(wide / step)
        v = (box[0] + (np.arange(m) + 0.5) * tall / m).astype(np.float32)[:, None]
        u = (box[1] + (np.arange(n) + 0.5) * wide / n).astype(np.float32)[None]
        inks = [np.full((3, m, n), level, np.float32) for level in (0.0, 255.0)]
        for rgb in inks:  # over black and over white: what differs shows through
            draw(Ink(v, u, step, rgb))
        mean = [rgb.mean(axis=(1, 2)) for rgb in inks]
        through = (mean[1] - mean[0]) / np.float32(255)
        h, w = self.rgb.shape[1:]
        for i, share_y in _overlaps((at[0] + box[0] - self.y) / self.pixel, tall / self.pixel):
            for j, share_x in _overlaps((at[1] + box[1] - self.x) / self.pixel, wide / self.pixel):
                if 0 <= i < h and 0 <= j < w:
                    share = np.float32(share_y * share_x)
                    under = self.rgb[:, i, j]
                    under += share * (mean[0] + through * under - under)


def _overlaps(start: float, length: float) -> list[tuple[int, float]]:
    """Pixels that an interval shorter than one touches, and how much of each it covers."""
    first = math.floor(start)
    part = min(length, first + 1 - start)
    return [(first, part), (first + 1, length - part)]


# Signed distances of points (v, u) to shapes around the origin; negative inside.


def turned(v: np.ndarray, u: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in an object turned clockwise (as seen) by `angle` radians; full arrays."""
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * v - sin * u, sin * v + cos * u


def disc(v: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a disc."""
    return np.asarray(np.sqrt(v * v + u * u) - np.float32(radius))


def ellipse(v: np.ndarray, u: np.ndarray, tall: float, wide: float) -> np.ndarray:
    """Distance, right near the outline, to an ellipse with half axes `tall` and `wide`."""
    a, b = np.float32(tall), np.float32(wide)
    k = np.sqrt((v / a) ** 2 + (u / b) ** 2)
    slope = np.sqrt((v / a**2) ** 2 + (u / b**2) ** 2)
    return np.asarray(k * (k - 1) / np.maximum(slope, np.float32(1e-6 / max(tall, wide))))


def rectangle(
    v: np.ndarray, u: np.ndarray, height: float, width: float, corner: float = 0.0
) -> np.ndarray:
    """Distance to a rectangle with corners of radius `corner`."""
    dv: np.ndarray = np.abs(v) - np.float32(height / 2 - corner)
    du: np.ndarray = np.abs(u) - np.float32(width / 2 - corner)
    outside = np.sqrt(np.maximum(dv, 0) ** 2 + np.maximum(du, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(dv, du), 0) - np.float32(corner))


def line(v: np.ndarray, u: np.ndarray, points: Sequence[Point], width: float) -> np.ndarray:
    """Distance to a broken line through (v, u) points, `width` px thick with round ends."""
    best: np.ndarray | None = None
    for (v0, u0), (v1, u1) in itertools.pairwise(points):
        square = _to_segment(v, u, v0, u0, v1, u1)
        best = square if best is None else np.minimum(best, square)
    assert best is not None
    return np.asarray(np.sqrt(best) - np.float32(width / 2))


def polygon(v: np.ndarray, u: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """Distance to a polygon (even-odd) with (v, u) corners."""
    inside = np.zeros(np.broadcast_shapes(v.shape, u.shape), bool)
    best = np.full(inside.shape, np.inf, np.float32)
    for (v0, u0), (v1, u1) in zip(points, [*points[1:], points[0]], strict=True):
        np.minimum(best, _to_segment(v, u, v0, u0, v1, u1), out=best)
        if v0 != v1:
            crossing = np.float32(u0) + (v - np.float32(v0)) * np.float32((u1 - u0) / (v1 - v0))
            inside ^= ((v >= min(v0, v1)) & (v < max(v0, v1))) & (u < crossing)
    distance = np.sqrt(best)
    return np.where(inside, -distance, distance)


def _to_segment(
    v: np.ndarray, u: np.ndarray, v0: float, u0: float, v1: float, u1: float
) -> np.ndarray:
    """Squared distance to a segment."""
    dv, du = np.float32(v1 - v0), np.float32(u1 - u0)
    pv: np.ndarray = v - np.float32(v0)
    pu: np.ndarray = u - np.float32(u0)
    length = dv * dv + du * du
    if length > 0:
        t = ((pv * dv + pu * du) / length).clip(0, 1)
        pv, pu = pv - t * dv, pu - t * du
    return np.asarray(pv * pv + pu * pu)


# Letters are strokes on a grid of cap height 1: v from 0 (top) to 1 (baseline), u from 0.


def _arc(v: float, u: float, tall: float, wide: float, start: float, end: float) -> list[Point]:
    """Points of an elliptic arc; degrees counter-clockwise from the right."""
    n = max(3, math.ceil(abs(end - start) / 24))
    angles = [math.radians(start + (end - start) * k / n) for k in range(n + 1)]
    return [(v - tall * math.sin(a), u + wide * math.cos(a)) for a in angles]


_GLYPHS: dict[str, list[list[Point]]] = {
    "0": [[*_arc(0.30, 0.27, 0.30, 0.27, 0, 180), *_arc(0.70, 0.27, 0.30, 0.27, 180, 360),
           (0.30, 0.54)]],
    "1": [[(0.22, 0.06), (0.0, 0.28), (1.0, 0.28)]],
    "2": [[*_arc(0.28, 0.26, 0.28, 0.26, 165, -40), (1.0, 0.0), (1.0, 0.54)]],
    "3": [_arc(0.25, 0.25, 0.25, 0.25, 150, -90), _arc(0.73, 0.25, 0.27, 0.28, 95, -150)],
    "4": [[(1.0, 0.40), (0.0, 0.40), (0.72, 0.0), (0.72, 0.56)]],
    "5": [[(0.0, 0.50), (0.0, 0.07), (0.46, 0.03), *_arc(0.67, 0.25, 0.33, 0.29, 125, -150)]],
    "6": [[(0.0, 0.42), *_arc(0.55, 0.27, 0.45, 0.27, 125, 180)],
          _arc(0.70, 0.27, 0.30, 0.27, 180, 540)],
    "7": [[(0.0, 0.0), (0.0, 0.52), (1.0, 0.16)]],
    "8": [_arc(0.24, 0.27, 0.24, 0.23, -90, 270), _arc(0.74, 0.27, 0.26, 0.28, 90, 450)],
    "9": [[(1.0, 0.12), *_arc(0.45, 0.27, 0.45, 0.27, -55, 0)],
          _arc(0.30, 0.27, 0.30, 0.27, 0, 360)],
    "A": [[(1.0, 0.0), (0.0, 0.32), (1.0, 0.64)], [(0.66, 0.11), (0.66, 0.53)]],
    "E": [[(0.0, 0.48), (0.0, 0.0), (1.0, 0.0), (1.0, 0.48)], [(0.48, 0.0), (0.48, 0.42)]],
    "F": [[(0.0, 0.48), (0.0, 0.0), (1.0, 0.0)], [(0.48, 0.0), (0.48, 0.42)]],
    "H": [[(0.0, 0.0), (1.0, 0.0)], [(0.0, 0.54), (1.0, 0.54)], [(0.48, 0.0), (0.48, 0.54)]],
    "I": [[(0.0, 0.05), (1.0, 0.05)]],
    "K": [[(0.0, 0.0), (1.0, 0.0)], [(0.0, 0.52), (0.52, 0.0)], [(0.38, 0.16), (1.0, 0.54)]],
    "L": [[(0.0, 0.0), (1.0, 0.0), (1.0, 0.46)]],
    "M": [[(1.0, 0.0), (0.0, 0.0), (0.7, 0.36), (0.0, 0.72), (1.0, 0.72)]],
    "N": [[(1.0, 0.0), (0.0, 0.0), (1.0, 0.56), (0.0, 0.56)]],
    "O": [_arc(0.5, 0.34, 0.5, 0.34, 0, 360)],
    "P": [[(1.0, 0.0), (0.0, 0.0), *_arc(0.27, 0.26, 0.27, 0.26, 90, -90), (0.54, 0.0)]],
    "R": [[(1.0, 0.0), (0.0, 0.0), *_arc(0.26, 0.26, 0.26, 0.26, 90, -90), (0.52, 0.0)],
          [(0.52, 0.24), (1.0, 0.52)]],
    "S": [[*_arc(0.25, 0.26, 0.25, 0.25, 35, 260), *_arc(0.74, 0.25, 0.26, 0.28, 80, -145)]],
    "T": [[(0.0, 0.0), (0.0, 0.56)], [(0.0, 0.28), (1.0, 0.28)]],
    "V": [[(0.0, 0.0), (1.0, 0.3), (0.0, 0.6)]],
    " ": [],
}  # fmt: skip
#: Characters that `text` can write.
WRITABLE = "".join(_GLYPHS)


@lru_cache(maxsize=128)
def text_strokes(string: str, weight: float = 0.16) -> tuple[tuple[tuple[Point, ...], ...], float]:
    """Strokes of a text of cap height 1 around its centre, and its width; (v, u) points."""
    strokes: list[list[Point]] = []
    at = 0.0
    for letter in string:
        glyph = _GLYPHS[letter]
        strokes += [[(v - 0.5, u + at) for v, u in stroke] for stroke in glyph]
        at += max((u for stroke in glyph for _, u in stroke), default=0.2) + weight + 0.16
    width = at - weight - 0.16
    return tuple(tuple((v, u - width / 2) for v, u in s) for s in strokes), width + weight


def text(
    v: np.ndarray, u: np.ndarray, string: str, height: float, weight: float = 0.16
) -> np.ndarray:
    """Distance to a text written around the origin, `height` px from top to baseline.

    Parameters
    ----------
    v, u : numpy.ndarray
        Coordinates.
    string : str
        Of `WRITABLE` characters.
    height : float
        Of capitals, with the thickness of their strokes.
    weight : float
        Thickness of strokes as a fraction of the height between their middles.
    """
    strokes, _ = text_strokes(string, weight)
    scale = height / (1 + weight)
    best: np.ndarray | None = None
    for stroke in strokes:
        points = [(a * scale, b * scale) for a, b in stroke]
        distance = line(v, u, points, weight * scale)
        best = distance if best is None else np.minimum(best, distance)
    if best is None:
        return np.full(np.broadcast_shapes(v.shape, u.shape), np.inf, np.float32)
    return best

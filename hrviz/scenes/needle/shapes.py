"""Needles and what resembles them: silhouettes as signed distances, and how each is painted.

A shape is described around the origin for a scale of `s` px, before it is turned. Its area and its
tight box after a turn are found numerically, once, so every shape can be given any area.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from hrviz.scenes._paint import Canvas, Ink, disc, ellipse, line, polygon, rectangle, text

Outline = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
Paint = Callable[[Ink, np.ndarray, np.ndarray, float, np.ndarray], None]


@dataclass(frozen=True)
class Shape:
    """A shape at scale `s`: `outline(v, u, s)` px, and `paint(ink, v, u, s, colour)` over it."""

    name: str
    outline: Outline
    paint: Paint
    upright: bool = False


@lru_cache(maxsize=64)
def measured(shape: Shape) -> tuple[float, np.ndarray]:
    """Area at scale 1, and points (n, 2) of the convex hull of the outline, (v, u)."""
    from scipy.spatial import ConvexHull

    n, reach = 1400, 2.8
    axis = (((np.arange(n) + 0.5) / n - 0.5) * 2 * reach).astype(np.float32)
    d = shape.outline(axis[:, None], axis[None], 1.0)
    step = 2 * reach / n
    share = (0.5 - d / np.float32(step)).clip(0, 1)
    area = float(share.sum(dtype=np.float64)) * step**2
    i, j = np.nonzero(np.abs(d) < step)
    # Each point near the outline is pushed onto it along the gradient of the distance.
    gv, gu = np.gradient(d, step)
    steep = np.maximum(np.hypot(gv[i, j], gu[i, j]), 0.5) ** 2
    edge = np.stack([axis[i] - d[i, j] * gv[i, j] / steep, axis[j] - d[i, j] * gu[i, j] / steep], 1)
    hull = edge[ConvexHull(edge).vertices].astype(np.float64)
    hull.setflags(write=False)
    return area, hull


def scale_for(shape: Shape, area: float) -> float:
    """The scale at which a shape has this area, px."""
    return math.sqrt(area / measured(shape)[0])


def tight_box(shape: Shape, scale: float, angle: float) -> tuple[float, float, float, float]:
    """v0, u0, v1, u1 of a turned shape around its origin, px."""
    hull = measured(shape)[1] * scale
    cos, sin = math.cos(angle), math.sin(angle)
    v, u = cos * hull[:, 0] + sin * hull[:, 1], cos * hull[:, 1] - sin * hull[:, 0]
    return float(v.min()), float(u.min()), float(v.max()), float(u.max())


def _flat(
    outline: Outline, ink: Ink, v: np.ndarray, u: np.ndarray, s: float, colour: np.ndarray
) -> None:
    """One colour, a little lighter above: looks solid."""
    d = outline(v, u, s)
    light = 1 - np.float32(0.16) * (ink.v + 0.4 * ink.u) / np.float32(s)
    ink.fill(d, [colour[c] * light for c in range(3)])
    ink.fill(np.abs(d + 0.05 * s) - 0.05 * s, colour * 0.72, 0.5)


def _plain(name: str, outline: Outline, upright: bool = False) -> Shape:
    return Shape(name, outline, partial(_flat, outline), upright)


def _cross(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    return np.minimum(rectangle(v, u, 2 * s, 0.62 * s), rectangle(v, u, 0.62 * s, 2 * s))


def _ring(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    return np.abs(disc(v, u, s)) - np.float32(0.26 * s)


def _corners(points: tuple[tuple[float, float], ...]) -> Outline:
    return lambda v, u, s: polygon(v, u, [(a * s, b * s) for a, b in points])


def _regular(n: int, inner: float = 1.0) -> Outline:
    """A regular polygon; with `inner` below 1 a star."""
    m = n if inner == 1 else 2 * n
    turn = 2 * math.pi / m
    radius = [1.0 if inner == 1 or k % 2 == 0 else inner for k in range(m)]
    return _corners(
        tuple((-r * math.cos(turn * k), r * math.sin(turn * k)) for k, r in enumerate(radius))
    )


def _digit(digit: str) -> Shape:
    def outline(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
        return text(v, u, digit, 2 * s, 0.22)

    return _plain(digit, outline, upright=True)


def _wobbly(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    angle = np.arctan2(v, u)
    r = 1 + 0.13 * np.cos(2 * angle) + 0.06 * np.cos(3 * angle + 1) + 0.03 * np.cos(5 * angle)
    return np.asarray(np.sqrt(v * v + u * u) - np.float32(s) * r)


def _nucleus(
    outline: Outline,
    pale: bool,
    ink: Ink,
    v: np.ndarray,
    u: np.ndarray,
    s: float,
    colour: np.ndarray,
) -> None:
    d = outline(v, u, s)
    ink.fill(d, colour, 0.96)
    if pale:  # open chromatin, a dark rim and two nucleoli
        ink.fill(
            d + 0.18 * s, colour * 0.55 + 255 * 0.45 * np.array([0.86, 0.74, 0.90]), 0.8, 0.3 * s
        )
        ink.fill(disc(v + 0.25 * s, u - 0.15 * s, 0.19 * s), colour * 0.6, 0.95, 0.06 * s)
        ink.fill(disc(v - 0.3 * s, u + 0.35 * s, 0.13 * s), colour * 0.6, 0.95, 0.06 * s)
    else:
        ink.fill(disc(v + 0.2 * s, u + 0.2 * s, 0.35 * s), colour * 0.8, 0.6, 0.3 * s)


def _cell(name: str, outline: Outline, pale: bool) -> Shape:
    return Shape(name, outline, partial(_nucleus, outline, pale))


def _spindle(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    return ellipse(v, u, 0.5 * s, 1.9 * s)


def _car(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    return rectangle(v, u, 2.1 * s, 0.92 * s, 0.26 * s)


def _lorry(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    return np.minimum(
        rectangle(v - 0.25 * s, u, 2.1 * s, 0.84 * s),
        rectangle(v + 1.05 * s, u, 0.56 * s, 0.78 * s),
    )


def _boat(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    stern = v - np.float32(0.9 * s)
    bulge = np.float32(0.62 * s)
    sides = np.sqrt((v - 0.3 * s) ** 2 + (np.abs(u) + 1.4 * s - bulge) ** 2) - np.float32(1.4 * s)
    return np.maximum(sides, stern)


def _car_paint(ink: Ink, v: np.ndarray, u: np.ndarray, s: float, colour: np.ndarray) -> None:
    ink.fill(_car(v, u, s), colour * 0.78)
    ink.fill(rectangle(v, u, 2.0 * s, 0.72 * s, 0.2 * s), colour, 0.9, 0.1 * s)
    glass = np.array([44, 54, 66])
    ink.fill(rectangle(v + 0.36 * s, u, 0.30 * s, 0.74 * s, 0.1 * s), glass)
    ink.fill(rectangle(v - 0.66 * s, u, 0.22 * s, 0.70 * s, 0.1 * s), glass)
    ink.fill(rectangle(v - 0.14 * s, u, 0.70 * s, 0.66 * s, 0.12 * s), colour * 0.6 + 100, 0.7)
    for side in (-1, 1):
        ink.fill(disc(v + 0.97 * s, u - side * 0.32 * s, 0.07 * s), (255, 250, 220))


def _lorry_paint(ink: Ink, v: np.ndarray, u: np.ndarray, s: float, colour: np.ndarray) -> None:
    ink.fill(_lorry(v, u, s), colour * 0.7)
    ink.fill(rectangle(v - 0.25 * s, u, 1.96 * s, 0.72 * s), colour)
    ink.fill(rectangle(v + 1.12 * s, u, 0.16 * s, 0.66 * s), (44, 54, 66))
    for k in range(4):
        ink.fill(rectangle(v + (0.5 - 0.5 * k) * s, u, 0.03 * s, 0.7 * s), colour * 0.7)


def _boat_paint(ink: Ink, v: np.ndarray, u: np.ndarray, s: float, colour: np.ndarray) -> None:
    d = _boat(v, u, s)
    ink.fill(d, colour)
    ink.fill(d + 0.12 * s, (196, 160, 118))
    ink.fill(rectangle(v - 0.35 * s, u, 0.5 * s, 0.5 * s, 0.1 * s), (240, 240, 240))


def _round(v: np.ndarray, u: np.ndarray, s: float) -> np.ndarray:
    return disc(v, u, s)


def _sign_paint(
    inner: Outline,
    word: str,
    ink: Ink,
    v: np.ndarray,
    u: np.ndarray,
    s: float,
    colour: np.ndarray,
) -> None:
    ink.fill(inner(v, u, s), colour)
    ink.fill(inner(v, u, s) + 0.19 * s, (250, 248, 240))
    if word:
        ink.fill(text(v, u, word, 0.82 * s, 0.2), (20, 20, 24))
    else:
        ink.fill(line(v, u, [(-0.32 * s, 0), (0.1 * s, 0)], 0.17 * s), (20, 20, 24))
        ink.fill(disc(v - 0.32 * s, u, 0.1 * s), (20, 20, 24))


def _sign(word: str) -> Shape:
    return Shape(f"limit {word}", _round, partial(_sign_paint, _round, word), upright=True)


_WARNING = _regular(3)
# Needle and look-alikes, the one that is nearest in shape first.
NEEDLES: dict[str, tuple[Shape, tuple[Shape, ...]]] = {
    "disc": (
        _plain("disc", _round),
        (
            _plain("square", lambda v, u, s: rectangle(v, u, 2 * s, 2 * s)),
            _plain("triangle", _regular(3)),
            _plain("ring", _ring),
        ),
    ),
    "cross": (
        _plain("cross", _cross),
        (
            _plain("T", _corners(((-1, -1), (-1, 1), (-0.4, 1), (-0.4, 0.3), (1, 0.3), (1, -0.3),
                                  (-0.4, -0.3), (-0.4, -1)))),
            _plain("star", _regular(5, 0.5)),
            _plain("L", _corners(((-1, -0.8), (1, -0.8), (1, 0.8), (0.4, 0.8), (0.4, -0.2),
                                  (-1, -0.2)))),
        ),
    ),
    "digit": (_digit("7"), tuple(_digit(d) for d in "1234569")),
    "cell": (
        _cell("tumour cell", _wobbly, True),
        (_cell("lymphocyte", _round, False), _cell("fibroblast", _spindle, False)),
    ),
    "car": (Shape("car", _car, _car_paint), (Shape("lorry", _lorry, _lorry_paint),
                                             Shape("boat", _boat, _boat_paint))),
    "sign": (
        _sign("70"),
        (*(_sign(w) for w in ("50", "80", "30")),
         Shape("warning", _WARNING, partial(_sign_paint, _WARNING, ""), upright=True)),
    ),
}  # fmt: skip
COLOURS: dict[str, tuple[float, float, float]] = {
    "disc": (206, 62, 48),
    "cross": (38, 92, 178),
    "digit": (28, 30, 36),
    "cell": (74, 44, 118),
    "car": (214, 58, 46),
    "sign": (202, 32, 40),
}


def mean_colour(shape: Shape, colour: np.ndarray, area: float = 5000.0) -> np.ndarray:
    """Colour (3,) that a shape of `area` px adds to what it lies on, averaged over its area, 0 to 255."""
    scale = scale_for(shape, area)
    n = 2 * math.ceil(2.8 * scale)
    canvas = Canvas(np.zeros((3, n, n), np.float32), -n / 2, -n / 2, 1.0)
    canvas.stamp(
        (0.0, 0.0), (-n / 2, -n / 2, n / 2, n / 2),
        lambda ink: shape.paint(ink, ink.v, ink.u, scale, colour),
    )  # fmt: skip
    return np.asarray(canvas.rgb.sum((1, 2), dtype=np.float64) / area)


@lru_cache(maxsize=64)
def colours(kind: str, area: float) -> tuple[np.ndarray, ...]:
    """What to paint the needle of a kind and each of its look-alikes with, (3,) each, at an area in px.

    A cell's nucleus is pale inside, its look-alikes' are not: painted with one stain, they would be
    darker, and the mean colour of a shrunken picture would tell whether cells are in it. They are
    stained so that their mean is the cell's; paint is affine in the colour, so two paintings tell how.
    """
    needle, alikes = NEEDLES[kind]
    own = np.array(COLOURS[kind], np.float32)
    if kind != "cell":
        return (own,) * (1 + len(alikes))
    area = min(max(area, 20.0), 5000.0)  # beyond, edges weigh nothing
    wanted, out = mean_colour(needle, own, area), [own]
    for shape in alikes:
        black, grey = (mean_colour(shape, np.full(3, c, np.float32), area) for c in (0.0, 100.0))
        out.append(((wanted - black) / (grey - black) * 100).astype(np.float32))
    return tuple(out)


def stain(kind: str, seed: int, index: int) -> np.ndarray:
    """Factors (3,) of an object's colour: nuclei take up more or less stain, of a varying hue.

    Without it all pictures with as many nuclei lie in a plane of colours, and what little edges add
    to a cell's mean would tell the class to a linear classifier.
    """
    if kind != "cell":
        return np.ones(3, np.float32)
    rng = np.random.default_rng([seed, index, 78])
    return (rng.normal(1, 0.12) * rng.normal(1, 0.08, 3)).clip(0.5, 1.5).astype(np.float32)

"""What stands along the road, painted in metres: trees, houses, poles, cars, boards and signs.

Each painter gets coordinates in metres from where the thing meets the ground (`v` down, so heights
are negative), the finest sample `px` in metres, a way to lay colours, and its key for details.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz.scenes._paint import Canvas, Colour, Ink, disc, ellipse, polygon, rectangle, text
from hrviz.scenes.road.backdrop import HAZE, table
from hrviz.scenes.road.signs import plate
from hrviz.scenes.road.world import CAR_HEIGHT, CAR_WIDTH, PLATE, Thing, Weather


class Brush:
    """An ink in metres whose colours are lit by the day and fade with distance."""

    def __init__(self, ink: Ink, thing: Thing, day: Weather) -> None:
        m = np.float32(thing.metre)
        self.v, self.u, self.px = ink.v / m, ink.u / m, ink.pixel / thing.metre
        self._inner = Ink(self.v, self.u, self.px, ink.rgb)
        self.day = day
        self._fog = 1 - float(np.exp(-thing.away / HAZE))
        self.rng = np.random.default_rng(thing.key)
        self.key = thing.key

    def tone(self, colour: Colour) -> list[Any]:
        """The colour as seen from the camera."""
        fog, day = np.float32(self._fog), self.day
        lit = [colour[c] * np.float32(day.light[c]) for c in range(3)]
        return [part + fog * (np.float32(day.low[c]) - part) for c, part in enumerate(lit)]

    def fill(
        self, d: np.ndarray, colour: Colour, opacity: float | np.ndarray = 1.0, soft: float = 0.0
    ) -> None:
        self._inner.fill(d, self.tone(colour), opacity, soft)

    def leaves(self, waves: tuple[float, ...]) -> np.ndarray:
        """Noise of about unit size, finer parts fading where a sample no longer shows them."""
        t = table()
        out = np.zeros((self.v.shape[0], self.u.shape[1]), np.float32)
        for k, wave in enumerate(waves):
            seen = np.float32(np.exp(-((self.px / wave) ** 2)))
            if seen < 0.03:
                continue
            v = self.v[:, 0] * (2 / wave) + self.key % 251 + 31 * k
            u = self.u[0] * (2 / wave) + self.key % 241 + 17 * k
            i, j = np.floor(v), np.floor(u)
            f, g = (v - i).astype(np.float32)[:, None], (u - j).astype(np.float32)[None]
            i0, j0 = i.astype(np.int64) & 255, j.astype(np.int64) & 255
            rows = t[i0] * (1 - f) + t[(i0 + 1) & 255] * f
            out += seen * (rows[:, j0] * (1 - g) + rows[:, j0 + 1] * g)
        return out / np.float32(len(waves) ** 0.5)


def _crown(b: Brush, blobs: np.ndarray, base: np.ndarray, rough: float) -> None:
    """Foliage made of balls (v, u, r) lit from the upper left."""
    leaf = b.leaves((5 * rough, 2 * rough, 0.8 * rough, 0.3 * rough, 0.1 * rough))
    outline = np.full(leaf.shape, np.inf, np.float32)
    light = np.full(leaf.shape, 0.50, np.float32)
    for v, u, r in blobs:
        ball = disc(b.v - np.float32(v), b.u - np.float32(u), r)
        np.minimum(outline, ball, out=outline)
        glow = disc(b.v - np.float32(v - 0.35 * r), b.u - np.float32(u - 0.3 * r), 0.0)
        light = np.maximum(light, 1.12 - np.float32(0.62 / r) * glow)
    shade = np.maximum(light + 0.16 * leaf, np.float32(0.42))
    b.fill(outline + 0.95 * rough * leaf, [c * shade for c in base], soft=0.25 * rough)


def _tree(b: Brush, tall: float) -> None:
    tall = 0.88 * tall  # leaves reach a little beyond the crown
    b.fill(rectangle(b.v + 0.25 * tall, b.u, 0.5 * tall, 0.035 * tall), (74, 60, 48))
    n = 9
    angle = b.rng.uniform(0, 2 * np.pi, n)
    far = np.sqrt(b.rng.uniform(0, 1, n))
    v = -0.60 * tall + 0.24 * tall * far * np.sin(angle)
    u = 0.24 * tall * far * np.cos(angle)
    r = tall * b.rng.uniform(0.10, 0.17, n)
    order = np.argsort(v)[::-1]
    base = np.array([92, 118, 52]) * b.rng.uniform(0.72, 1.05) + b.rng.uniform(0, 26) * np.eye(3)[0]
    _crown(b, np.stack([v, u, r], 1)[order], base, 0.055 * tall)


def _bush(b: Brush, tall: float) -> None:
    u = b.rng.uniform(-0.55, 0.55, 4) * tall
    r = tall * b.rng.uniform(0.28, 0.42, 4)
    v = -r * b.rng.uniform(0.7, 1.15, 4)
    base = np.array([96, 116, 54]) * b.rng.uniform(0.75, 1.1)
    _crown(b, np.stack([v, u, r], 1), base, 0.11 * tall)


def _spruce(b: Brush, tall: float) -> None:
    b.fill(rectangle(b.v + 0.06 * tall, b.u, 0.14 * tall, 0.03 * tall), (66, 52, 42))
    # Branches hang: what is farther out belongs to a higher tier.
    hanging = b.v - np.float32(0.45) * np.abs(b.u)
    t = ((hanging + np.float32(tall)) / np.float32(tall)).clip(0, 1)
    tiers = float(b.rng.uniform(11, 16))
    needle = b.leaves((0.10 * tall, 0.035 * tall, 0.012 * tall, 0.004 * tall))
    saw = (t * tiers + np.float32(0.30) * needle) % 1
    width = np.float32(0.27 * tall) * t**0.9 * (0.66 + 0.34 * saw)
    d = (np.abs(b.u) - width) * np.float32(0.95) + np.float32(0.014 * tall) * needle
    d = np.maximum(d, b.v + np.float32(0.07 * tall))
    side = (b.u / np.float32(0.2 * tall)).clip(-1, 1)
    shade = 0.98 - 0.30 * side - 0.30 * (1 - saw) ** 2 + 0.15 * needle
    base = np.array([52, 78, 48]) * b.rng.uniform(0.8, 1.1)
    b.fill(d, [c * shade for c in base], soft=0.004 * tall)


def _house(b: Brush, tall: float) -> None:
    red = (146, 50, 40) if b.rng.random() < 0.7 else (214, 186, 122)
    boards = 1 + np.float32(0.05) * np.sin(b.u * np.float32(18)) * np.float32(
        np.exp(-((b.px / 0.2) ** 2))
    )
    b.fill(rectangle(b.v + 1.55, b.u, 3.5, 9.6), [np.float32(c) * boards for c in red])
    b.fill(rectangle(b.v + 0.1, b.u, 0.4, 9.6), (120, 118, 114))
    for u in (-4.75, 4.75):
        b.fill(rectangle(b.v + 1.6, b.u - u, 3.4, 0.2), (236, 234, 228))
    for u in (-3.3, -1.3, 1.3, 3.3):
        b.fill(rectangle(b.v + 1.75, b.u - u, 1.35, 1.1), (238, 236, 230))
        b.fill(rectangle(b.v + 1.75, b.u - u, 1.1, 0.85), (58, 70, 84))
        b.fill(rectangle(b.v + 1.75, b.u - u, 1.1, 0.07), (238, 236, 230))
    b.fill(rectangle(b.v + 1.1, b.u, 2.1, 1.0), (92, 74, 58))
    roof = polygon(b.v, b.u, [(-3.2, -5.3), (-6.4, -4.0), (-6.4, 4.0), (-3.2, 5.3)])
    slope = ((b.v + 6.4) / np.float32(3.2)).clip(0, 1)
    tiles = 1 - np.float32(0.14) * slope + 0.03 * b.leaves((1.2, 0.4))
    b.fill(roof, [np.float32(c) * tiles for c in (112, 74, 62)])
    b.fill(rectangle(b.v + 6.5, b.u - 2.2, 1.2, 0.7), (128, 84, 72))
    b.fill(rectangle(b.v + 3.25, b.u, 0.5, 10.4), (30, 22, 20), 0.28, 0.3)


def _pole(b: Brush, tall: float) -> None:
    round_ = 1 - np.float32(0.3) * (b.u / np.float32(0.14)).clip(-1, 1)
    wood = [np.float32(c) * round_ for c in (112, 94, 76)]
    b.fill(rectangle(b.v + 4.0, b.u, 8.4, 0.24), wood)
    b.fill(rectangle(b.v + 7.4, b.u, 0.16, 1.8), (96, 80, 66))
    for u in (-0.8, 0.8):
        b.fill(rectangle(b.v + 7.6, b.u - u, 0.22, 0.12), (196, 206, 204))


def _delineator(b: Brush, tall: float) -> None:
    b.fill(rectangle(b.v + 0.46, b.u, 0.98, 0.11, 0.03), (228, 228, 222))
    b.fill(rectangle(b.v + 0.76, b.u, 0.22, 0.12), (38, 38, 40))
    b.fill(rectangle(b.v + 0.76, b.u, 0.14, 0.06), (222, 226, 232))


_PAINTS = ((168, 34, 36), (36, 62, 108), (196, 198, 200), (52, 54, 58), (228, 228, 224),
           (62, 84, 70), (122, 96, 66))  # fmt: skip


def _car(b: Brush, front: bool) -> None:
    half = CAR_WIDTH / 2
    b.fill(ellipse(b.v + 0.02, b.u - 0.12, 0.22, half + 0.22), (10, 11, 12), 0.62, 0.22)
    paint = np.array(_PAINTS[int(b.rng.integers(len(_PAINTS)))], np.float32)
    for u in (-half + 0.16, half - 0.16):
        b.fill(rectangle(b.v + 0.22, b.u - u, 0.46, 0.24, 0.08), (20, 20, 22))
    light = np.float32(0.95) - np.float32(0.38) * (b.v + np.float32(0.75))
    body = [c * light for c in paint]
    cabin = [(-0.80, -half + 0.05), (-CAR_HEIGHT + 0.07, -0.62), (-CAR_HEIGHT, -0.50),
             (-CAR_HEIGHT, 0.50), (-CAR_HEIGHT + 0.07, 0.62), (-0.80, half - 0.05)]  # fmt: skip
    b.fill(polygon(b.v, b.u, cabin), body)
    glass = [(-0.86, -half + 0.17), (-CAR_HEIGHT + 0.13, -0.60), (-CAR_HEIGHT + 0.13, 0.60),
             (-0.86, half - 0.17)]  # fmt: skip
    sky = ((b.v + np.float32(CAR_HEIGHT)) / np.float32(0.65)).clip(0, 1)
    b.fill(polygon(b.v, b.u, glass), [np.float32(c) - 46 * sky for c in (96, 112, 126)])
    b.fill(rectangle(b.v + 0.58, b.u, 0.66, CAR_WIDTH, 0.16), body)
    b.fill(rectangle(b.v + 0.28, b.u, 0.18, CAR_WIDTH - 0.1, 0.08), (34, 35, 38))
    b.fill(
        rectangle(b.v + 0.88, b.u, 0.05, CAR_WIDTH - 0.2, 0.02), np.minimum(paint * 1.25, 255), 0.7
    )
    for side in (-1, 1):
        lamp = rectangle(b.v + 0.66, b.u - side * 0.70, 0.17, 0.34, 0.07)
        if front:
            b.fill(disc(b.v + 0.66, b.u - side * 0.70, 0.1), (255, 250, 226), 0.35, 0.5)
            b.fill(lamp, (252, 248, 232))
        else:
            b.fill(lamp, (188, 24, 26))
        b.fill(rectangle(b.v + 0.95, b.u - side * 0.97, 0.16, 0.12, 0.05), paint * 0.7)
    if front:
        b.fill(rectangle(b.v + 0.58, b.u, 0.16, 0.84, 0.05), (28, 29, 32))
    b.fill(rectangle(b.v + (0.38 if front else 0.56), b.u, 0.12, 0.50), (236, 234, 226))


_PLACES = ("KALMAR", "MORA", "SALA", "TROSA", "ARVIKA", "NORA", "MALMO", "KIRVALA", "SKARA")


def _board(b: Brush, tall: float) -> None:
    for u in (-1.1, 1.1):
        b.fill(rectangle(b.v + 1.3, b.u - u, 2.6, 0.09), (128, 130, 132))
    light = np.float32(1.08) + np.float32(0.10) * (-b.v - np.float32(2.9))
    b.fill(rectangle(b.v + 2.9, b.u, 1.0, 3.0, 0.08), (238, 238, 234))
    b.fill(rectangle(b.v + 2.9, b.u, 0.9, 2.9, 0.06), [c * light for c in (24, 84, 156)])
    place = _PLACES[int(b.rng.integers(len(_PLACES)))]
    b.fill(text(b.v + 2.9, b.u, place, 0.42, 0.2), (240, 240, 236))


_STANDING: dict[str, Callable[[Brush, float], None]] = {
    "tree": _tree, "bush": _bush, "spruce": _spruce, "house": _house, "pole": _pole,
    "delineator": _delineator, "board": _board,
}  # fmt: skip
#: Finest part that matters, metres.
DETAIL = {"tree": 0.5, "bush": 0.25, "spruce": 0.5, "house": 0.3, "pole": 0.12, "delineator": 0.06,
          "board": 0.07, "car front": 0.12, "car back": 0.12}  # fmt: skip


def paint(ink: Ink, thing: Thing, day: Weather) -> None:
    """Paint a thing; `ink` has its origin where the thing meets the ground."""
    brush = Brush(ink, thing, day)
    if thing.kind.startswith("car"):
        _car(brush, thing.kind == "car front")
    elif thing.kind.startswith("sign"):
        _sign(ink, brush, thing)
    else:
        _STANDING[thing.kind](brush, -thing.size[0])


def _sign(ink: Ink, b: Brush, thing: Thing) -> None:
    half = thing.size[3]
    up = -thing.size[0] - half
    post = 1 - np.float32(0.35) * (b.u / np.float32(0.05)).clip(-1, 1)
    tall = max(up, 0.05)
    b.fill(
        rectangle(b.v + tall / 2, b.u, tall, 0.075), [np.float32(c) * post for c in (142, 145, 148)]
    )
    r = half * thing.metre
    before = ink.rgb.copy()
    plate(ink, ink.v + np.float32(up * thing.metre), ink.u, r, thing.kind.removeprefix("sign "))
    # The plate's own colours are lit and faded too: what it added is scaled as a whole.
    changed = np.abs(ink.rgb - before).max(axis=0) > 0
    fade = 1 - float(np.exp(-thing.away / (3 * HAZE)))  # signs are made to be seen
    day = b.day
    for c in range(3):
        lit = ink.rgb[c] * np.float32(min(1.0, day.light[c]))
        lit += np.float32(fade) * (np.float32(day.low[c]) - lit)
        ink.rgb[c] = np.where(changed, lit, ink.rgb[c])


#: Width of the shadow of a thing in its own widths, and its strength.
_SHADOWS = {"tree": (0.76, 1.0), "bush": (0.7, 0.7), "spruce": (0.72, 1.0), "house": (0.95, 1.0),
            "pole": (0.8, 0.6), "board": (0.8, 0.6), "delineator": (1.6, 0.6)}  # fmt: skip


def shadow(canvas: Canvas, thing: Thing, day: Weather) -> None:
    """Soft shade on the ground around a thing's foot, towards the right."""
    share, strength = _SHADOWS.get(thing.kind, (1.4, 0.6))
    wide = share * (thing.size[3] - thing.size[1]) * thing.metre

    def draw(ink: Ink) -> None:
        d = ellipse(ink.v, ink.u - np.float32(0.25 * wide), 0.09 * wide, 0.60 * wide)
        ink.fill(d, (16, 20, 18), day.shadow * strength, 0.20 * wide)

    reach = (-0.3 * wide, -0.6 * wide, 0.3 * wide, 1.1 * wide)
    canvas.stamp((thing.y, thing.x), reach, draw, 0.2 * wide)


def detail_of(thing: Thing) -> float:
    """Finest part of a thing that matters, level-0 px."""
    if thing.kind.startswith("sign"):
        return 0.07 * PLATE * thing.metre
    return DETAIL[thing.kind] * thing.metre

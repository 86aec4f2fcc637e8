"""Trees, lamps, market stalls and the fountain, with their shadows.

Each is a few shapes in metres around its foot; `hrviz.scenes._paint` draws them at any level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hrviz.scenes._paint import Canvas, Ink, disc, ellipse, line, polygon, rectangle
from hrviz.scenes.crowd.camera import AIR, Camera, haze
from hrviz.scenes.crowd.figure import SHADOW
from hrviz.scenes.crowd.square import TONES, Square, Thing
from hrviz.scenes.noise import Raster, lattice_hash, octaves, uniform

#: What is left of the light in a shadow: the blue of the sky.
SHADE = (0.52, 0.55, 0.63)
_CLOTH = ((176, 60, 54), (62, 106, 92), (66, 88, 132), (206, 152, 66), (146, 84, 116))
_GOODS = (
    (196, 74, 52),
    (224, 168, 62),
    (108, 142, 66),
    (172, 112, 70),
    (226, 210, 170),
    (150, 60, 90),
)

#: Half width, height over the ground and depth below the foot that a thing is drawn in, metres.
REACH = {
    "tree": (3.4, 8.6, 0.3),
    "lamp": (0.9, 5.3, 0.2),
    "stall": (2.3, 3.4, 0.4),
    "fountain": (5.9, 5.4, 6.0),
}


_TEXELS = 16.0  # a metre, of the pictures of small things


class _Place:
    """Where a thing stands in the picture, and its colours in the air's haze."""

    def __init__(self, at: tuple[float, float], m: float, flat: float, air: float) -> None:
        self.at, self.m, self.flat, self.air = at, m, flat, air

    @classmethod
    def of(cls, camera: Camera, thing: Thing) -> _Place:
        z = np.asarray(thing.z)
        y, x = camera.project(np.asarray(thing.x), z)
        flat = (float(y) - camera.horizon) / camera.focal
        return cls(
            (float(y), float(x)), float(camera.scale(z)) * thing.size, flat, float(haze(z, camera))
        )

    def tint(self, colour: tuple[float, ...] | np.ndarray, tone: float = 1.0) -> np.ndarray:
        c = np.asarray(colour, float) * tone
        return np.asarray(c + self.air * (AIR - c))


@lru_cache(maxsize=8)
def _boxes(plan: Square) -> np.ndarray:
    """Boxes (y0, x0, y1, x1) of level-0 pixels that things are drawn in: (n, 4)."""
    boxes = np.empty((len(plan.things), 4))
    for k, thing in enumerate(plan.things):
        place = _Place.of(plan.camera, thing)
        side, high, low = (place.m * r for r in REACH[thing.kind])
        y, x = place.at
        boxes[k] = y - high, x - side, y + low, x + side
    return boxes


def things_in(plan: Square, canvas: Canvas, shadows: bool = False) -> list[Thing]:
    """Things that are drawn on a block, or throw a shadow there, farthest first."""
    boxes = _boxes(plan)
    if shadows:  # as far aside as the thing is tall, and no farther up or down
        tall = boxes[:, 2:3] - boxes[:, :1]
        boxes = boxes + tall * [-0.2, -1, 0.2, 1]
    n = canvas.rgb.shape[1] + 1
    low, high = (np.array([canvas.y, canvas.x]) + k * canvas.pixel for k in (-1, n))
    touching = (boxes[:, :2] < high).all(1) & (boxes[:, 2:] > low).all(1)
    return [plan.things[k] for k in np.flatnonzero(touching)]


def draw_thing(canvas: Canvas, plan: Square, thing: Thing) -> None:
    """Draw a thing on a block: from a picture of its kind where it is small, else afresh."""
    place = _Place.of(plan.camera, thing)
    if place.m <= _TEXELS * canvas.pixel and thing.kind != "fountain":
        _lay_sprite(canvas, place, _sprite(thing.kind, thing.tone, plan.sun), thing.kind)
    else:
        _DRAW[thing.kind](canvas, place, thing.tone, plan.sun)


@lru_cache(maxsize=64)
def _sprite(kind: str, tone: float, sun: float) -> np.ndarray:
    """Integral (h + 1, w + 1, 4) of a thing's colours (times what they cover) and of its cover."""
    side, high, low = REACH[kind]
    m = 2 * _TEXELS
    n = math.ceil(m * max(2 * side, high + low) / 2) * 2
    pictures = []
    for level in (0.0, 255.0):  # over black and over white: what differs shows through
        canvas = Canvas.block(-high * m, -side * m, n, 1.0, (level, level, level))
        _DRAW[kind](canvas, _Place((0.0, 0.0), m, 0.0, 0.0), tone, sun)
        pictures.append(canvas.rgb.reshape(3, n // 2, 2, n // 2, 2).mean(axis=(2, 4)))
    cover = 1 - (pictures[1] - pictures[0]).mean(axis=0) / 255
    out = np.zeros((n // 2 + 1, n // 2 + 1, 4))
    out[1:, 1:] = np.stack([*pictures[0], cover], axis=-1).cumsum(0).cumsum(1)
    return out


def _lay_sprite(canvas: Canvas, place: _Place, sums: np.ndarray, kind: str) -> None:
    """Lay a small thing on a block: rows, then columns of its integral."""
    side, high, low = REACH[kind]
    n = canvas.rgb.shape[1]
    y, x = (
        (p - corner) / canvas.pixel
        for p, corner in zip(place.at, (canvas.y, canvas.x), strict=True)
    )
    m = place.m / canvas.pixel  # pixels a metre
    i0, i1 = max(math.floor(y - high * m), 0), min(math.ceil(y + low * m), n)
    j0, j1 = max(math.floor(x - side * m), 0), min(math.ceil(x + side * m), n)
    if i0 >= i1 or j0 >= j1:
        return
    rows = (((np.arange(i0, i1 + 1) - y) / m + high) * _TEXELS).clip(0, len(sums) - 1)
    columns = (((np.arange(j0, j1 + 1) - x) / m + side) * _TEXELS).clip(0, len(sums) - 1)
    i, j = (np.minimum(p.astype(np.intp), len(sums) - 2) for p in (rows, columns))
    band = sums[i] + (rows - i)[:, None, None] * (sums[i + 1] - sums[i])
    band = np.diff(band, axis=0)
    part = band[:, j] + (columns - j)[:, None] * (band[:, j + 1] - band[:, j])
    part = np.diff(part, axis=1) * (m / _TEXELS) ** 2
    cover = part[..., 3].clip(0, 1)
    for c in range(3):
        colour = part[..., c] * (1 - place.air) + cover * (place.air * AIR[c])
        below = canvas.rgb[c, i0:i1, j0:j1]
        below *= 1 - cover
        below += colour


def _tree(canvas: Canvas, place: _Place, tone: float, sun: float) -> None:
    m, at = place.m, place.at
    bark = place.tint((92, 76, 62))

    def trunk(ink: Ink) -> None:
        ink.fill(polygon(ink.v, ink.u, [(0, -0.24 * m), (0, 0.24 * m), (-3.6 * m, 0.13 * m), (-3.6 * m, -0.13 * m)]),
                 bark)  # fmt: skip
        side = -sun * 0.1 * m
        ink.fill(line(ink.v, ink.u, [(0, side * 1.6), (-3.6 * m, side)], 0.13 * m), bark * 0.72)
        ink.fill(line(ink.v, ink.u, [(-2.6 * m, 0), (-4.2 * m, 0.9 * m)], 0.14 * m), bark * 0.8)
        ink.fill(line(ink.v, ink.u, [(-2.5 * m, 0), (-4.1 * m, -0.9 * m)], 0.14 * m), bark * 0.9)

    canvas.stamp(at, (-4.6 * m, -1.2 * m, 0.1 * m, 1.2 * m), trunk, 0.1 * m)
    kind = round(tone * TONES)
    green = np.array([90.0, 112.0, 60.0]) + (tone - 0.5) * np.array([46.0, 20.0, -8.0])
    draws = uniform(lattice_hash(np.arange(30)[:, None], np.arange(3)[None, :], 77 + kind))
    for k, (p, q, r) in enumerate(draws.tolist()):
        turn, far = 2 * math.pi * p, math.sqrt(q)
        u, v = 2.15 * far * math.cos(turn), -5.4 + 1.95 * far * math.sin(turn)
        size = (1.25 - 0.32 * far) * (0.75 + 0.4 * r) * (1.15 if k < 10 else 0.75)
        lit = 0.5 + 0.5 * (0.75 * sun * u / 2.15 - 0.85 * (v + 5.4) / 1.95)
        shade = (0.52 if k < 10 else 0.68) + 0.5 * max(0.0, min(1.0, lit)) + 0.12 * (r - 0.5)
        colour = place.tint(green, shade)
        _clump(canvas, place, (at[0] + v * m, at[1] + u * m), size * m, colour, 1000 * kind + 9 * k)


def _clump(
    canvas: Canvas,
    place: _Place,
    at: tuple[float, float],
    radius: float,
    colour: np.ndarray,
    salt: int,
) -> None:
    """Leaves: a disc with a ragged rim and flecks of light and dark."""
    m = place.m

    def leaves(ink: Ink) -> None:
        raster = Raster(float(ink.v[0, 0]), float(ink.u[0, 0]), ink.v.shape[0], ink.u.shape[1],
                        ink.pixel, ink.pixel, ink.pixel)  # fmt: skip
        rough = octaves(
            raster, [(0.5 * m, 0.8, salt), (0.2 * m, 0.7, salt + 1), (0.09 * m, 0.5, salt + 2)]
        )
        fleck = 1 + np.float32(0.13) * rough
        ink.fill(disc(ink.v, ink.u, radius) + np.float32(0.15 * m) * rough,
                 np.stack([np.float32(c) * fleck for c in colour]), soft=0.05 * m)  # fmt: skip

    r = radius + 0.3 * m
    canvas.stamp(at, (-r, -r, r, r), leaves, 0.15 * m)


def _lamp(canvas: Canvas, place: _Place, tone: float, sun: float) -> None:
    m = place.m
    iron, glass = place.tint((52, 56, 58)), place.tint((246, 240, 220))

    def lamp(ink: Ink) -> None:
        v, u = ink.v, ink.u
        ink.fill(rectangle(v + 0.15 * m, u, 0.3 * m, 0.46 * m, 0.05 * m), iron)
        ink.fill(line(v, u, [(0, 0), (-4.4 * m, 0)], 0.13 * m), iron)
        ink.fill(
            line(v, u, [(-4.4 * m, sun * 0.03 * m), (-0.4 * m, sun * 0.03 * m)], 0.03 * m),
            iron * 1.5,
        )
        ink.fill(line(v, u, [(-3.95 * m, -0.5 * m), (-3.95 * m, 0.5 * m)], 0.07 * m), iron)
        for side in (-0.5, 0.0, 0.5):
            top = -4.75 * m if side == 0 else -4.25 * m
            ink.fill(disc(v - top, u - side * m, 0.24 * m), glass * 0.93)
            ink.fill(disc(v - top + 0.06 * m, u - (side + 0.06 * sun) * m, 0.13 * m), glass)
            ink.fill(rectangle(v - top + 0.24 * m, u - side * m, 0.06 * m, 0.2 * m), iron)

    canvas.stamp(place.at, (-5.1 * m, -0.8 * m, 0.1 * m, 0.8 * m), lamp, 0.06 * m)


def _stall(canvas: Canvas, place: _Place, tone: float, sun: float) -> None:
    m = place.m
    cloth = place.tint(_CLOTH[round(tone * TONES) % len(_CLOTH)])
    white, wood = place.tint((236, 230, 216)), place.tint((138, 110, 82))

    def stall(ink: Ink) -> None:
        v, u = ink.v, ink.u
        for side in (-1.75, 1.75):
            ink.fill(rectangle(v + 1.15 * m, u - side * m, 2.3 * m, 0.09 * m), wood * 0.85)
        ink.fill(
            rectangle(v + 1.3 * m, u, 2.2 * m, 3.4 * m), place.tint((66, 60, 58))
        )  # inside: dark
        ink.fill(rectangle(v + 0.5 * m, u, 1.0 * m, 3.7 * m, 0.03 * m), wood)
        ink.fill(rectangle(v + 0.12 * m, u, 0.2 * m, 3.6 * m), wood * 0.78)
        for k in range(9):
            good = place.tint(_GOODS[(round(tone * TONES) * 3 + k * 5) % len(_GOODS)])
            ink.fill(ellipse(v + 1.06 * m, u - (k - 4) * 0.4 * m, 0.17 * m, 0.2 * m), good)
        ink.fill(rectangle(v + 0.95 * m, u, 0.1 * m, 3.8 * m), wood * 1.12)
        roof = [
            (-2.15 * m, -2.15 * m),
            (-2.15 * m, 2.15 * m),
            (-3.15 * m, 1.7 * m),
            (-3.15 * m, -1.7 * m),
        ]
        ink.fill(polygon(v, u, roof), white)
        for k in range(-4, 5, 2):
            a, b = (k - 0.5) * 0.48, (k + 0.5) * 0.48
            stripe = [
                (-2.15 * m, a * m),
                (-2.15 * m, b * m),
                (-3.15 * m, b * 0.79 * m),
                (-3.15 * m, a * 0.79 * m),
            ]
            ink.fill(polygon(v, u, stripe), cloth)
            ink.fill(rectangle(v + 2.05 * m, u - k * 0.48 * m, 0.24 * m, 0.48 * m), cloth * 0.84)
        ink.fill(rectangle(v + 2.15 * m, u, 0.03 * m, 4.3 * m), cloth * 0.6)

    canvas.stamp(place.at, (-3.3 * m, -2.25 * m, 0.1 * m, 2.25 * m), stall, 0.1 * m)


def _fountain(canvas: Canvas, place: _Place, tone: float, sun: float) -> None:
    m, flat = place.m, max(place.flat, 1e-3)
    stone, water = place.tint((196, 190, 178)), place.tint((112, 152, 168))

    def ring(v: np.ndarray, u: np.ndarray, radius: float, up: float) -> np.ndarray:
        """Distance to a level disc at a height over the ground."""
        return ellipse(v + up * m, u, radius * m * flat, radius * m)

    def basin(ink: Ink) -> None:
        v, u = ink.v, ink.u
        for radius, up, tone in ((5.5, 0.12, 0.86), (5.05, 0.0, 0.8)):
            wall = np.minimum(ring(v, u, radius, 0), ring(v, u, radius, up))
            ink.fill(
                np.minimum(wall, rectangle(v + up * m / 2, u, up * m, 2 * radius * m)), stone * tone
            )
        wall = rectangle(v + 0.35 * m, u, 0.7 * m, 10.0 * m)
        ink.fill(np.minimum(ring(v, u, 5.0, 0.0), wall), stone * 0.84)
        ink.fill(ring(v, u, 5.0, 0.7), stone * 1.06)
        ink.fill(ring(v, u, 4.55, 0.62), water * 0.8)
        ink.fill(ring(v, u, 4.5, 0.52), water)
        ripple = np.sin(u * np.float32(9 / m)) * np.sin(v * np.float32(9 / (m * flat)))
        ink.fill(
            ring(v, u, 4.4, 0.52), [np.float32(c) * (1 + np.float32(0.06) * ripple) for c in water]
        )
        ink.fill(ring(v, u, 1.6, 0.55), place.tint((226, 236, 240)), 0.55, 0.8 * m * flat)

    canvas.stamp(
        place.at,
        (-(5.6 * flat + 0.9) * m, -5.7 * m, 5.7 * flat * m, 5.7 * m),
        basin,
        0.2 * m * flat,
    )

    def column(ink: Ink) -> None:
        v, u = ink.v, ink.u
        ink.fill(line(v, u, [(-0.4 * m, 0), (-2.1 * m, 0)], 0.6 * m), stone * 0.86)
        ink.fill(
            line(v, u, [(-0.4 * m, 0.15 * sun * m), (-2.1 * m, 0.15 * sun * m)], 0.2 * m), stone
        )
        ink.fill(ellipse(v + 2.15 * m, u, 0.42 * m, 1.5 * m), stone * 0.8)
        ink.fill(ellipse(v + 2.35 * m, u, max(0.2, 1.5 * flat) * m, 1.55 * m), stone * 1.05)
        ink.fill(ellipse(v + 2.35 * m, u, max(0.14, 1.3 * flat) * m, 1.35 * m), water)
        ink.fill(line(v, u, [(-2.3 * m, 0), (-3.5 * m, 0)], 0.3 * m), stone * 0.92)
        spray = place.tint((240, 245, 248))
        for side in (-1.0, -0.5, 0.5, 1.0):
            arc = [
                (-(3.5 + 2.6 * t - 4.6 * t * t) * m, side * 1.35 * t * m)
                for t in np.linspace(0, 1, 7)
            ]
            ink.fill(line(v, u, arc, 0.1 * m), spray, 0.6, 0.14 * m)
        for side in (-1.4, -0.7, 0.0, 0.7, 1.4):
            ink.fill(
                line(v, u, [(-2.2 * m, side * m), (-0.55 * m, side * 1.18 * m)], 0.09 * m),
                spray,
                0.42,
                0.16 * m,
            )
        ink.fill(line(v, u, [(-3.5 * m, 0), (-4.9 * m, 0)], 0.14 * m), spray, 0.75, 0.2 * m)

    canvas.stamp(place.at, (-5.2 * m, -1.8 * m, 0.2 * m, 1.8 * m), column, 0.14 * m)


_DRAW = {"tree": _tree, "lamp": _lamp, "stall": _stall, "fountain": _fountain}


def draw_shadows(canvas: Canvas, plan: Square, strength: float) -> None:
    """Darken the ground of a block where things stand in the sun's way."""
    sx, sz = -plan.sun * SHADOW[0], SHADOW[1]
    for thing in things_in(plan, canvas, shadows=True):
        place = _Place.of(plan.camera, thing)
        m, flat = place.m, place.flat

        def on_ground(x: float, z: float, m: float = m, flat: float = flat) -> tuple[float, float]:
            return -z * m * flat, x * m

        def dark(distance: Callable[[Ink], np.ndarray], soft: float) -> Callable[[Ink], None]:
            def draw(ink: Ink) -> None:
                shade = [ink.rgb[c] * np.float32(SHADE[c]) for c in range(3)]
                ink.fill(distance(ink), shade, strength, soft)

            return draw

        if thing.kind == "tree":
            v, u = on_ground(5.4 * sx, 5.4 * sz)
            tall, wide = (2.9 + 1.0 * sz) * flat * m, 3.0 * m

            def crown(ink: Ink, v: float = v, u: float = u, m: float = m, tall: float = tall,
                      wide: float = wide) -> np.ndarray:  # fmt: skip
                squeeze = wide / tall
                raster = Raster(float(ink.v[0, 0]) * squeeze, float(ink.u[0, 0]), ink.v.shape[0],
                                ink.u.shape[1], ink.pixel * squeeze, ink.pixel, ink.pixel)  # fmt: skip
                rough = octaves(raster, [(1.3 * m, 0.7, 21), (0.5 * m, 0.5, 22)])
                trunk = line(ink.v, ink.u, [(0.0, 0.0), (v, u)], 0.4 * m * max(0.3, tall / wide))
                return np.minimum(
                    ellipse(ink.v - v, ink.u - u, tall, wide) + 0.2 * np.float32(tall) * rough,
                    trunk,
                )

            box = (v - 1.3 * tall, min(0, u - 1.3 * wide), 0.5 * tall, max(0, u + 1.3 * wide))
            canvas.stamp(place.at, box, dark(crown, 0.35 * m * flat), 0.3 * tall)
        elif thing.kind == "lamp":
            v, u = on_ground(4.5 * sx, 4.5 * sz)

            def post(
                ink: Ink, v: float = v, u: float = u, m: float = m, flat: float = flat
            ) -> np.ndarray:
                return line(ink.v, ink.u, [(0.0, 0.0), (v, u)], 0.16 * m * max(flat, 0.2))

            box = (v - 0.3 * m, min(0, u) - 0.3 * m, 0.3 * m, max(0, u) + 0.3 * m)
            canvas.stamp(place.at, box, dark(post, 0.0), 0.1 * m * max(flat, 0.2))
        else:
            side, high, deep = (1.9, 2.6, 0.6) if thing.kind == "stall" else (5.3, 0.9, 5.0)
            if thing.kind == "stall":
                feet = [
                    (-side, -0.1),
                    (side, -0.1),
                    (side + high * sx, high * sz + deep),
                    (-side + high * sx, high * sz + deep),
                ]
                points = [on_ground(*p) for p in feet]

                def cloth(ink: Ink, points: list[tuple[float, float]] = points) -> np.ndarray:
                    return polygon(ink.v, ink.u, points)

                vs, us = zip(*points, strict=True)
                canvas.stamp(
                    place.at,
                    (min(vs), min(us), max(vs), max(us)),
                    dark(cloth, 0.1 * m * flat),
                    0.5 * m * flat,
                )
            else:
                v, u = on_ground(high * sx, high * sz)

                def pool(
                    ink: Ink, v: float = v, u: float = u, m: float = m, flat: float = flat
                ) -> np.ndarray:
                    return ellipse(ink.v - v, ink.u - u, 5.3 * m * flat, 5.3 * m)

                r = 5.5 * m
                canvas.stamp(
                    place.at,
                    (v - r * flat, u - r, v + r * flat, u + r),
                    dark(pool, 0.15 * m * flat),
                    0.5 * m * flat,
                )

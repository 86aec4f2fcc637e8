"""Lesions on the wall: polyp, ulcer, bleeding, angioectasia, each with an irregular outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrviz.scenes.endoscopy.mucosa import Gut, texture
from hrviz.scenes.noise import Raster

KINDS = {1: "polyp", 2: "ulcer", 3: "bleeding", 4: "angioectasia"}
_ROUGH = {1: 0.05, 2: 0.14, 3: 0.22, 4: 0.16}
_SUN = (-0.55, -0.45)  # direction to the lamp beside the lens, (y, x)


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in radii of the field of view.

    Attributes
    ----------
    kind : int
        Key of `KINDS`.
    y, x, r : float
        Centre and mean radius.
    waves : numpy.ndarray
        complex (5,): harmonics 2 to 6 of the outline, R = r (1 + sum |a| cos(k angle + arg a)).
    number : int
        Tells it from the others.
    """

    kind: int
    y: float
    x: float
    r: float
    waves: np.ndarray
    number: int

    @property
    def area(self) -> float:
        """Enclosed area, exact for the formula."""
        return float(math.pi * self.r**2 * (1 + (np.abs(self.waves) ** 2).sum() / 2))

    @property
    def reach(self) -> float:
        return float(self.r * (1 + np.abs(self.waves).sum()))

    def outline(self, angle: np.ndarray) -> np.ndarray:
        k = np.arange(2, 2 + len(self.waves))
        waves = (np.abs(self.waves) * np.cos(angle[..., None] * k + np.angle(self.waves))).sum(-1)
        return np.asarray(self.r * (1 + waves))

    def inside(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the centre in outline radii (below 1 inside), and the outline's radius."""
        dy, dx = y - self.y, x - self.x
        r = self.outline(np.arctan2(dy, dx)).astype(np.float32)
        return np.hypot(dy, dx) / r, r

    @property
    def box(self) -> tuple[float, float, float, float]:
        angle = np.linspace(0, 2 * np.pi, 361)
        r = self.outline(angle)
        y, x = self.y + r * np.sin(angle), self.x + r * np.cos(angle)
        return float(y.min()), float(x.min()), float(y.max()), float(x.max())


def place(gut: Gut, kind: int, count: int, ratio: float) -> tuple[Lesion, ...]:
    """`count` lesions that each cover `ratio` of the picture, apart from each other if they can."""
    rng = np.random.default_rng([gut.seed, 3])
    area = ratio * gut.height * gut.width / gut.radius**2
    out: list[Lesion] = []
    for number in range(count):
        size = _ROUGH[kind] * rng.uniform(0.3, 1.0, 5) / (1 + 0.5 * np.arange(5))
        waves = size * np.exp(2j * np.pi * rng.random(5))
        r = math.sqrt(area / (math.pi * (1 + (np.abs(waves) ** 2).sum() / 2)))
        best, best_room = (0.0, 0.0), -math.inf
        far = max(0.15, 0.88 - 1.2 * r)
        for _ in range(300):
            rho, angle = far * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
            y, x = rho * math.sin(angle), rho * math.cos(angle)
            room = math.hypot(y - gut.lumen[0], x - gut.lumen[1]) - r - 0.24
            others = [math.hypot(y - o.y, x - o.x) - 1.3 * (r + o.r) for o in out]
            room = min([room, *others])
            if room > best_room:
                best, best_room = (y, x), room
            if room > 0:
                break
        out.append(Lesion(kind, *best, r, waves, number))
    return tuple(out)


def paint(picture: np.ndarray, gut: Gut, lesions: tuple[Lesion, ...], raster: Raster) -> None:
    """Lay lesions over a picture (3, ny, nx) in place; what they change of the wall around them
    (a shadow, a flush) ends at 1.35 times their reach.
    """
    y, x = gut.places(raster)
    soft = raster.step / gut.radius
    for lesion in lesions:
        reach = 1.35 * lesion.reach + 2 * soft
        i0, i1 = np.searchsorted(y[:, 0], [lesion.y - reach, lesion.y + reach])
        j0, j1 = np.searchsorted(x[0], [lesion.x - reach, lesion.x + reach])
        if i0 == i1 or j0 == j1:
            continue
        part = Raster(raster.y + i0 * raster.step, raster.x + j0 * raster.step_x, int(i1 - i0),
                      int(j1 - j0), raster.step, raster.step_x, raster.box)  # fmt: skip
        here = (slice(i0, i1), slice(j0, j1))
        rho, r = lesion.inside(y[i0:i1], x[:, j0:j1])
        cover = np.clip(0.5 - (rho - 1) * r / soft, 0, 1)
        window = picture[(slice(None), *here)]
        draw = (_polyp, _ulcer, _bleeding, _angioectasia)[lesion.kind - 1]
        lamp = np.clip(0.22 + 0.78 * gut.glow(y[i0:i1], x[:, j0:j1]), 0.2, 1.1)
        draw(window, gut, lesion, part, rho, cover, lamp, y[i0:i1], x[:, j0:j1], soft)


def _blend(
    window: np.ndarray, cover: np.ndarray, colour: tuple[float, ...], lamp: np.ndarray
) -> None:
    for k in range(3):
        window[k] += cover * (colour[k] * lamp - window[k])


def _gleam(
    window: np.ndarray, lesion: Lesion, y: np.ndarray, x: np.ndarray, spots: list[tuple[float, ...]],
    soft: float,
) -> None:  # fmt: skip
    """Specular spots: (y, x, half length, half width, turn) in radii of the lesion."""
    for dy, dx, a, b, turn in spots:
        cos, sin = math.cos(turn), math.sin(turn)
        py, px = y - lesion.y - dy * lesion.r, x - lesion.x - dx * lesion.r
        along, across = (
            (px * cos + py * sin) / (a * lesion.r),
            (py * cos - px * sin) / (b * lesion.r),
        )
        d = np.hypot(along, across)
        edge = max(soft / (b * lesion.r), 0.7)
        cover = np.clip(0.5 + (1 - d) / edge, 0, 1) * min(
            1.0, math.pi * a * b * lesion.r**2 / soft**2
        )
        for k in range(3):
            window[k] += 0.85 * cover * (250 - window[k])


def _polyp(
    window: np.ndarray, gut: Gut, lesion: Lesion, part: Raster, rho: np.ndarray, cover: np.ndarray,
    lamp: np.ndarray, y: np.ndarray, x: np.ndarray, soft: float,
) -> None:  # fmt: skip
    # The shadow on the wall, away from the lamp; then the dome.
    away = ((y - lesion.y) * -_SUN[0] + (x - lesion.x) * -_SUN[1]) / lesion.r
    cast = np.clip((1.30 - rho) / 0.30, 0, 1) * np.clip(0.25 + away, 0, 1)
    window *= 1 - 0.52 * cast
    height = np.sqrt(np.clip(1 - rho**2, 0, 1))
    lit = 0.66 + 0.34 * height - 0.36 * away * np.minimum(rho, 1)
    texel = lesion.r / 190
    tile = texture((y - lesion.y) / texel + 0 * x, (x - lesion.x) / texel + 0 * y,
                   np.full(rho.shape, soft / texel, np.float32))  # fmt: skip
    size = lesion.r
    mottle = gut.noise(
        part, (0.7 * size, 0.07, 50), (0.3 * size, 0.06, 51), (0.09 * size, 0.03, 52)
    )
    vein = gut.noise(part, (0.55 * size, 1.0, 53), (0.2 * size, 0.3, 54))
    line = np.clip((0.018 * size - np.abs(vein) * 0.3 * size) / max(soft, 0.012 * size) + 0.5, 0, 1)
    tone = lit * (1 + mottle + 0.26 * tile[..., 0])
    red = tuple(np.array([222.0, 108.0, 92.0]) * (1 + 0.06 * (gut.character[5] - 0.5)))
    for k in range(3):
        colour = red[k] * tone * (1 - line * (0.10, 0.30, 0.26)[k]) * lamp
        window[k] += cover * (colour - window[k])
    _gleam(window, lesion, y, x, [(-0.36, -0.30, 0.17, 0.09, -0.7), (-0.08, -0.47, 0.06, 0.04, 1.2),
                                  (0.14, 0.10, 0.05, 0.035, 0.3)], soft)  # fmt: skip


def _ulcer(
    window: np.ndarray, gut: Gut, lesion: Lesion, part: Raster, rho: np.ndarray, cover: np.ndarray,
    lamp: np.ndarray, y: np.ndarray, x: np.ndarray, soft: float,
) -> None:  # fmt: skip
    size = lesion.r
    rough = gut.noise(
        part, (0.5 * size, 0.09, 60), (0.18 * size, 0.07, 61), (0.06 * size, 0.04, 62)
    )
    flush = np.clip((1.30 - rho) / 0.42, 0, 1)  # the inflamed wall around
    _blend(window, 0.55 * flush * flush, (196, 58, 46), lamp)
    rim = np.exp(-(((rho - 0.86 + 0.5 * rough) / 0.09) ** 2)) * cover
    base = np.clip((0.86 - rho + rough) / 0.14, 0, 1) * cover
    _blend(window, 0.7 * rim, (216, 92, 74), lamp * 1.1)
    _blend(window, base, (232, 214, 160), lamp * (1 + 0.9 * rough))
    slough = np.clip(gut.noise(part, (0.35 * size, 1.0, 63), (0.12 * size, 0.5, 64)) - 0.7, 0, 1)
    _blend(window, base * slough * 0.7, (176, 134, 78), lamp)
    _blend(window, base * np.clip(-0.9 - 9 * rough, 0, 1) * 0.6, (190, 60, 46), lamp)
    _gleam(
        window, lesion, y, x, [(-0.30, -0.35, 0.10, 0.05, -0.5), (0.25, 0.2, 0.06, 0.04, 0.8)], soft
    )


def _bleeding(
    window: np.ndarray, gut: Gut, lesion: Lesion, part: Raster, rho: np.ndarray, cover: np.ndarray,
    lamp: np.ndarray, y: np.ndarray, x: np.ndarray, soft: float,
) -> None:  # fmt: skip
    size = lesion.r
    rough = gut.noise(part, (0.6 * size, 0.10, 70), (0.2 * size, 0.06, 71), (0.07 * size, 0.03, 72))
    stain = np.clip((1.32 - rho + rough) / 0.5, 0, 1)
    _blend(window, 0.35 * stain, (168, 34, 24), lamp)
    pool = np.clip((1.0 - rho) / 0.10, 0, 1) * cover
    _blend(window, 0.92 * np.maximum(pool, 0.55 * cover), (150, 14, 12), lamp * (1 + rough))
    deep = np.clip((0.72 - rho + 1.4 * rough) / 0.3, 0, 1) * cover
    _blend(window, 0.75 * deep, (88, 4, 6), lamp * (1 + rough))
    edge = np.exp(-(((rho - 0.93) / 0.045) ** 2)) * cover
    _blend(window, 0.28 * edge, (206, 60, 44), lamp)
    _gleam(window, lesion, y, x, [(-0.40, -0.25, 0.16, 0.045, -0.4), (-0.15, -0.55, 0.07, 0.03, -1.0),
                                  (0.35, 0.15, 0.08, 0.03, 0.2)], soft)  # fmt: skip


def _angioectasia(
    window: np.ndarray, gut: Gut, lesion: Lesion, part: Raster, rho: np.ndarray, cover: np.ndarray,
    lamp: np.ndarray, y: np.ndarray, x: np.ndarray, soft: float,
) -> None:  # fmt: skip
    size = lesion.r
    flush = np.clip((1.05 - rho) / 0.35, 0, 1) * cover
    _blend(window, 0.45 * flush, (206, 62, 48), lamp)
    rng = np.random.default_rng([gut.seed, 8, lesion.number])
    for wide, wavelength, number in ((0.055, 0.55, 80), (0.032, 0.28, 82)):
        n = gut.noise(
            part, (wavelength * size, 1.0, number), (wavelength * size / 3, 0.35, number + 1)
        )
        slope = 1.9 / (wavelength * size)
        half = wide * size
        line = np.clip((half - np.abs(n) / slope) / soft + 0.5, 0, min(1.0, 2 * half / soft))
        _blend(window, 0.85 * line * np.clip((1 - rho) / 0.12, 0, 1) * cover, (158, 8, 14), lamp)
    for _ in range(9):
        far, angle = 0.55 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        r = rng.uniform(0.07, 0.17) * size
        d = np.hypot(
            y - lesion.y - far * size * math.sin(angle), x - lesion.x - far * size * math.cos(angle)
        )
        dot = np.clip(0.5 + (r - d) / max(soft, 0.4 * r), 0, 1) * min(
            1.0, math.pi * r * r / soft**2
        )
        _blend(window, 0.85 * dot * cover, (176, 10, 18), lamp)
    _gleam(window, lesion, y, x, [(-0.25, -0.2, 0.06, 0.03, -0.4)], soft)

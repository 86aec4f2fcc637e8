"""The wall of the gut as a capsule's camera sees it: folds, villi, wet gloss, capillaries, the lumen.

Places are (y, x) in radii of the field of view from its centre. Around the lumen the wall has tube
coordinates (log r, angle): a conformal map, so that villi shrink toward the lumen but keep shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hrviz.scenes.noise import Raster, octaves

TILES = 17  # villi tiles once around the lumen
_TEXELS, _VILLI = 512, 26
_CREST = np.array([244.0, 172.0, 136.0], np.float32)
_WALL = np.array([222.0, 124.0, 92.0], np.float32)
_GROOVE = np.array([122.0, 40.0, 28.0], np.float32)
_BILE = np.array([196.0, 164.0, 52.0], np.float32)


@lru_cache(maxsize=1)
def villi() -> tuple[np.ndarray, ...]:
    """Mip levels (k, k, 2) of a seamless tile: tone of the villi (mean 0) and sparks of gloss."""
    rng = np.random.default_rng(11)
    n, m = _TEXELS, _VILLI
    pitch = n / m
    height, key = np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    for i in range(m):
        for j in range(m):
            cy = (i + 0.5 + rng.uniform(-0.42, 0.42)) * pitch
            cx = (j + 0.5 * (i % 2) + 0.5 + rng.uniform(-0.42, 0.42)) * pitch
            a, b, turn = (
                rng.uniform(0.62, 0.95) * pitch,
                rng.uniform(0.45, 0.7) * pitch,
                rng.uniform(0, 3.14),
            )
            reach = math.ceil(a)
            rows = math.floor(cy) + np.arange(-reach, reach + 1)
            columns = math.floor(cx) + np.arange(-reach, reach + 1)
            dy, dx = rows[:, None] + 0.5 - cy, columns[None] + 0.5 - cx
            along = (dx * math.cos(turn) + dy * math.sin(turn)) / a
            across = (dy * math.cos(turn) - dx * math.sin(turn)) / b
            dome = np.sqrt(np.clip(1 - along**2 - across**2, 0, 1)) * rng.uniform(0.75, 1.1)
            where = np.ix_(rows % n, columns % n)
            higher = dome > height[where]
            key[where] = np.where(higher, rng.random(), key[where])
            height[where] = np.maximum(height[where], dome)
    tone = height - height.mean()
    spark = np.clip((height - 0.86) * 9, 0, 1) * (key > 0.72)
    level = np.stack([tone, spark], axis=-1).astype(np.float32)
    levels = [level]
    while level.shape[0] > 1:
        level = level.reshape(level.shape[0] // 2, 2, -1, 2, 2).mean(axis=(1, 3))
        levels.append(level)
    return tuple(levels)


def _tile(k: int, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Bilinear values (..., 2) of one mip level at texel coordinates of the finest."""
    mip = villi()[k]
    n = mip.shape[0]
    p, q = v / np.float32(2**k) - np.float32(0.5), u / np.float32(2**k) - np.float32(0.5)
    i, j = np.floor(p), np.floor(q)
    s, t = (p - i)[..., None], (q - j)[..., None]
    i, j = i.astype(np.int32), j.astype(np.int32)
    i0, i1, j0, j1 = i & (n - 1), (i + 1) & (n - 1), j & (n - 1), (j + 1) & (n - 1)
    top = mip[i0, j0] * (1 - t) + mip[i0, j1] * t
    return np.asarray(top * (1 - s) + (mip[i1, j0] * (1 - t) + mip[i1, j1] * t) * s)


def texture(v: np.ndarray, u: np.ndarray, texels: np.ndarray) -> np.ndarray:
    """Villi (..., 2) at texel coordinates where a pixel is `texels` texels wide: trilinear."""
    finest = len(villi()) - 2
    level = np.clip(np.log2(np.maximum(texels, 1e-6)), 0, finest).astype(np.float32)
    out = np.empty((*v.shape, 2), np.float32)
    base = np.floor(level).astype(np.int32)
    for k in np.unique(base):
        here = base == k
        mix = (level[here] - k)[..., None]
        a = _tile(int(k), v[here], u[here])
        out[here] = a if not mix.any() else a + mix * (_tile(int(k) + 1, v[here], u[here]) - a)
    return out


@dataclass(frozen=True)
class Gut:
    """A piece of gut seen in one frame.

    Parameters
    ----------
    height, width : int
        Level-0 pixels.
    seed : int
    bile : float
        0 to 1.
    """

    height: int
    width: int
    seed: int
    bile: float

    @property
    def radius(self) -> float:
        return 0.5 * min(self.height, self.width)

    @cached_property
    def lumen(self) -> tuple[float, float]:
        rng = np.random.default_rng([self.seed, 1])
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.12, 0.42)
        return far * math.sin(angle), far * math.cos(angle)

    @cached_property
    def character(self) -> np.ndarray:
        """Numbers in [0, 1) that make this gut: folds, their sharpness, redness, wetness..."""
        return np.random.default_rng([self.seed, 2]).random(8)

    def salt(self, number: int) -> int:
        return (self.seed * 1_000_003 + number * 7919 + 41) & 0x7FFFFFFF

    def noise(self, raster: Raster, *parts: tuple[float, float, int]) -> np.ndarray:
        """`octaves` with wavelengths in radii; finer ones than two pixels are left out."""
        size = self.radius
        seen = [(w * size, a, self.salt(k)) for w, a, k in parts if w * size >= 2]
        return octaves(raster, seen)

    def places(self, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
        """(y, x) of a raster of level-0 pixels, (ny, 1) and (1, nx) float32."""
        ys, xs = raster.axes()
        return (
            ((ys - self.height / 2) / self.radius).astype(np.float32),
            ((xs - self.width / 2) / self.radius).astype(np.float32),
        )

    def visible(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Distance to the edge of the frame, negative inside: an octagon with round corners."""
        a, b = np.abs(y), np.abs(x)
        corner = (a + b) * np.float32(math.sqrt(0.5))
        p = np.maximum(np.maximum(a, b), corner) - np.float32(0.955)
        return np.maximum(p, np.hypot(a, b) - np.float32(1.0))

    def folds(self, raster: Raster, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """(crest, shadow, r, angle): where folds catch the light and where they hide it, 0 to 1."""
        c = self.character
        dy, dx = y - np.float32(self.lumen[0]), x - np.float32(self.lumen[1])
        r = np.hypot(dy, dx)
        angle = np.arctan2(dy, dx)
        # The course of the folds is drawn at random, and each is strong in places only.
        bend = self.noise(raster, (0.8, 0.34, 1), (0.36, 0.22, 2), (0.15, 0.05, 3))
        phase = np.log(r + 0.10) * np.float32(1.9 + 1.2 * c[0]) + bend + np.float32(c[1])
        wave = phase - np.floor(phase)
        strength = np.clip(0.62 + self.noise(raster, (0.55, 0.32, 4)), 0.12, 1)
        # Outward a fold rises slowly to its crest, then drops into the shadow behind it.
        crest = np.exp(-(((wave - 0.64) / 0.17) ** 2)) * strength
        shadow = np.exp(-(((wave - 0.02) / 0.10) ** 2)) + np.exp(-(((wave - 1.02) / 0.10) ** 2))
        return crest, shadow * strength, r, angle

    def glow(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The capsule's light on a wall without folds: none deep in the lumen, less at the rim."""
        r = np.hypot(y - np.float32(self.lumen[0]), x - np.float32(self.lumen[1]))
        wide = np.float32(0.34 + 0.14 * self.character[3])
        near = 1 - np.exp(-np.square(np.maximum(r - 0.02, 0) / wide))
        return np.asarray(near * (1 - 0.32 * np.clip(np.hypot(y, x) - 0.35, 0, 1)))

    def wall(self, raster: Raster) -> np.ndarray:
        """Colours (3, ny, nx) from 0 to 255."""
        y, x = self.places(raster)
        c = self.character
        soft = raster.step / self.radius
        crest, shadow, r, angle = self.folds(raster, y, x)
        texel = 2 * math.pi / (TILES * _TEXELS)
        bump = self.noise(raster, (0.11, 0.10, 5), (0.05, 0.05, 6))
        ripple = bump * np.float32(22)
        u = angle / np.float32(texel)
        v = np.log(np.maximum(r, 0.004)) / np.float32(texel) + ripple
        tile = texture(v, u + ripple, soft / (np.maximum(r, 0.01) * texel))
        tone, spark = tile[..., 0], tile[..., 1]
        velvet = self.noise(raster, (0.42, 0.22, 7)) + np.float32(0.34 + 0.4 * c[2])
        mottle = self.noise(raster, (0.5, 0.05, 8), (0.2, 0.05, 9), (0.08, 0.035, 10), (0.03, 0.025, 11),
                            (0.012, 0.02, 12), (0.005, 0.018, 13), (0.002, 0.014, 14))  # fmt: skip
        light = self.glow(y, x) * (0.86 + 0.34 * crest) * (1 - 0.62 * shadow) * (1 + bump)
        light = light * np.float32(1.10)
        red = self.noise(raster, (0.6, 0.07, 15), (0.17, 0.05, 16))
        picture = np.empty((3, raster.ny, raster.nx), np.float32)
        deep = np.clip(shadow * 0.9, 0, 1)
        grain = 1 + mottle + np.clip(velvet, 0.04, 0.8) * 0.34 * tone
        for k in range(3):
            colour = _WALL[k] + crest * (_CREST[k] - _WALL[k])
            colour = colour + deep * (_GROOVE[k] - colour)
            colour = colour * (1 + red * (0.2, -0.9, -1.1)[k] * (0.6 + 0.6 * c[4]))
            picture[k] = colour * light * grain
        self._capillaries(picture, raster, soft, velvet)
        gloss = np.clip(0.35 + self.noise(raster, (0.3, 0.3, 17)) + 0.5 * crest, 0, 1) * light
        glitter = spark * gloss * np.clip(0.4 + velvet, 0, 1) * 95
        picture += glitter
        if self.bile > 0:
            self._bile(picture, raster, light)
        return picture

    def _capillaries(
        self, picture: np.ndarray, raster: Raster, soft: float, velvet: np.ndarray
    ) -> None:
        """Fine vessels under smooth mucosa: the zero lines of a noise."""
        for wavelength, half, number, strength in (
            (0.30, 0.0032, 20, 0.34),
            (0.13, 0.0018, 22, 0.26),
        ):
            n = self.noise(raster, (wavelength, 1.0, number), (wavelength / 3.1, 0.28, number + 1))
            slope = 1.9 / wavelength  # what the noise changes in one radius
            cover = np.clip((half - np.abs(n) / slope) / soft + 0.5, 0, min(1.0, 2 * half / soft))
            cover = cover * np.clip(1.0 - 1.2 * velvet, 0, 1) * strength
            for k, share in enumerate((0.45, 1.0, 0.9)):
                picture[k] *= 1 - share * cover

    def _bile(self, picture: np.ndarray, raster: Raster, light: np.ndarray) -> None:
        pool = self.noise(raster, (0.9, 0.5, 30), (0.35, 0.22, 31), (0.1, 0.05, 32))
        depth = np.clip((pool + np.float32(1.5 * self.bile - 1.0)) * 1.1, 0, 0.75)
        for k in range(3):
            through = picture[k] * (0.95, 0.92, 0.5)[k]
            murk = _BILE[k] * light * 0.9
            picture[k] += depth * (through + 0.45 * (murk - through) - picture[k])

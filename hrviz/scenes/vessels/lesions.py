"""Signs of diabetic retinopathy, as soft irregular blobs in radii of the field of view.

Microaneurysms are red dots, haemorrhages dark blots or flames along the nerve fibres, hard exudates
groups of sharp yellow grains, cotton-wool spots pale and blurred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrviz.scenes.noise import Raster
from hrviz.scenes.vessels.tree import DISC, DISC_RADIUS, FOVEA

KINDS = {2: "microaneurysm", 3: "haemorrhage", 4: "exudate", 5: "cotton-wool spot"}
_SHARE = (0.46, 0.24, 0.20, 0.10)
_COLOURS = {2: (112, 20, 16), 3: (92, 16, 12), 4: (236, 204, 112), 5: (226, 196, 150)}


@dataclass(frozen=True)
class Blob:
    """One spot: centre (y, x), mean radius, stretch and direction, outline, edge, opacity."""

    y: float
    x: float
    r: float
    stretch: float
    turn: float
    shape: np.ndarray
    soft: float
    alpha: float
    colour: tuple[int, int, int]

    def outline(self, angle: np.ndarray) -> np.ndarray:
        """Radius in directions of the unstretched blob."""
        waves = sum(
            (a.real * np.cos(k * angle) - a.imag * np.sin(k * angle))
            for k, a in enumerate(self.shape, start=2)
        )
        return np.asarray(self.r * (1 + waves))

    def distance(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """About the distance to the outline, negative inside."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        dy, dx = y - self.y, x - self.x
        along, across = (dx * cos + dy * sin) / self.stretch, dy * cos - dx * sin
        return np.hypot(along, across) - self.outline(np.arctan2(across, along))

    def box(self) -> tuple[float, float, float, float]:
        """Upright box around what is visible."""
        angle = np.linspace(0, 2 * np.pi, 97)
        r = self.outline(angle) + self.soft * 0.3
        along, across = r * np.cos(angle) * self.stretch, r * np.sin(angle)
        y = self.y + along * np.sin(self.turn) + across * np.cos(self.turn)
        x = self.x + along * np.cos(self.turn) - across * np.sin(self.turn)
        return float(y.min()), float(x.min()), float(y.max()), float(x.max())


@dataclass(frozen=True)
class Lesion:
    """A lesion: its kind (key of `KINDS`) and its spots."""

    kind: int
    blobs: tuple[Blob, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        boxes = np.array([b.box() for b in self.blobs])
        return (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))


def scatter(rng: np.random.Generator, count: int) -> tuple[Lesion, ...]:
    """`count` lesions away from the disc and the middle of the fovea."""
    out: list[Lesion] = []
    while len(out) < count:
        rho, angle = 0.9 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        place = np.array([rho * np.sin(angle), rho * np.cos(angle)])
        if np.hypot(*(place - DISC)) < DISC_RADIUS * 1.35 or np.hypot(*(place - FOVEA)) < 0.05:
            continue
        kind = 2 + int(np.searchsorted(np.cumsum(_SHARE), rng.random()))
        out.append(Lesion(min(kind, 5), tuple(_spots(rng, min(kind, 5), *place))))
    return tuple(out)


def _shape(rng: np.random.Generator, rough: float) -> np.ndarray:
    size = rough * rng.uniform(0.3, 1, 5) / (1 + np.arange(5) * 0.6)
    return np.asarray(size * np.exp(2j * np.pi * rng.random(5)))


def _spots(rng: np.random.Generator, kind: int, y: float, x: float) -> list[Blob]:
    colour = _COLOURS[kind]
    if kind == 2:
        r = rng.uniform(0.0035, 0.0075)
        return [Blob(y, x, r, 1.0, 0.0, _shape(rng, 0.08), r * 0.7, 0.72, colour)]
    if kind == 3:
        flame = rng.random() < 0.4
        r = rng.uniform(0.010, 0.024)
        fibres = np.arctan2(y - DISC[0], x - DISC[1])
        stretch = rng.uniform(2.0, 3.4) if flame else rng.uniform(1.0, 1.5)
        turn = fibres if flame else rng.uniform(0, np.pi)
        rough = 0.22 if flame else 0.17
        spots = [Blob(y, x, r, stretch, turn, _shape(rng, rough), r * 0.45, 0.82, colour)]
        for _ in range(int(rng.integers(0, 4))):
            dy, dx = rng.normal(0, 1.1 * r, 2)
            s = r * rng.uniform(0.25, 0.55)
            spots.append(
                Blob(y + dy, x + dx, s, 1.2, turn, _shape(rng, 0.2), s * 0.5, 0.75, colour)
            )
        return spots
    if kind == 4:
        spots = []
        ring = rng.random() < 0.3
        wide = rng.uniform(0.015, 0.045)
        for _ in range(int(rng.integers(6, 26))):
            angle = rng.uniform(0, 2 * np.pi)
            far = wide * (rng.uniform(0.8, 1.0) if ring else abs(rng.normal(0, 0.55)))
            r = rng.uniform(0.0018, 0.0062)
            spots.append(
                Blob(y + far * np.sin(angle), x + far * np.cos(angle), r, rng.uniform(1, 1.7),
                     rng.uniform(0, np.pi), _shape(rng, 0.2), r * 0.35, 0.9, colour)
            )  # fmt: skip
        return spots
    r = rng.uniform(0.016, 0.032)
    spots = [Blob(y, x, r, 1.4, rng.uniform(0, np.pi), _shape(rng, 0.2), r * 1.1, 0.6, colour)]
    for _ in range(3):
        dy, dx = rng.normal(0, 0.5 * r, 2)
        spots.append(Blob(y + dy, x + dx, r * 0.5, 1.2, rng.uniform(0, np.pi), _shape(rng, 0.2),
                          r * 0.7, 0.45, colour))  # fmt: skip
    return spots


def paint(
    picture: np.ndarray, lesions: tuple[Lesion, ...], raster: Raster, tone: np.ndarray
) -> None:
    """Lay lesions over a picture (3, ny, nx) in place.

    Parameters
    ----------
    raster : Raster
        Of the block, in radii of the field of view.
    tone : numpy.ndarray
        (ny, nx) light on the retina, a factor.
    """
    ys, xs = raster.axes()
    soft_pixel = raster.step
    for lesion in lesions:
        for blob in lesion.blobs:
            reach = max(blob.r * blob.stretch * 1.7, blob.r * 1.7) + blob.soft + soft_pixel
            i0, i1 = np.searchsorted(ys[:, 0], [blob.y - reach, blob.y + reach])
            j0, j1 = np.searchsorted(xs[0], [blob.x - reach, blob.x + reach])
            if i0 == i1 or j0 == j1:
                continue
            distance = blob.distance(ys[i0:i1], xs[:, j0:j1])
            cover = np.clip(0.5 - distance / max(blob.soft, soft_pixel), 0, 1)
            cover = cover * cover * (3 - 2 * cover) * blob.alpha
            thin = np.pi * blob.r**2 * blob.stretch / soft_pixel**2
            cover *= min(1.0, thin)
            light = tone[i0:i1, j0:j1]
            for c in range(3):
                part = picture[c, i0:i1, j0:j1]
                part += cover.astype(np.float32) * (blob.colour[c] * light - part)

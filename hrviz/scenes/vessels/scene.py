"""`scene:vessels`: a photograph of the retina, whose vessels are known to the last twig.

Arteries and veins grow from the optic disc until all tissue is supplied; their widths obey Murray's
law, r^3 = r1^3 + r2^3 at every fork. They are kept as lines with radii, so that they are sharp at
any zoom of a picture of any size. Around them: the disc with its cup, the macula, the mottled
choroid, the round field of view, and the signs of diabetic retinopathy if asked for.

What stands in for what: a drawing with known truth, not medical data. Vessels do not dodge each
other beyond what their growth does, and lesions lie where chance puts them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np

from hrviz.geometry import Box
from hrviz.method import Control
from hrviz.scenes.noise import Raster, octaves
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene
from hrviz.scenes.truth import Objects, Truth
from hrviz.scenes.vessels.lesions import KINDS, Lesion, paint, scatter
from hrviz.scenes.vessels.strokes import Strokes
from hrviz.scenes.vessels.tree import DISC, DISC_RADIUS, FOVEA, Tree, grow

FIELD = 0.485  # radius of the field of view in shorter sides of the picture
ARTERY, VEIN = 1, 2
_BASE = np.array([206.0, 98.0, 50.0], np.float32)
_DISC_COLOUR = np.array([244.0, 176.0, 104.0], np.float32)
_CUP_COLOUR = np.array([253.0, 226.0, 172.0], np.float32)
#: What a vessel takes from the light behind it, at its middle.
_ABSORB = {ARTERY: np.array([0.20, 0.50, 0.46]), VEIN: np.array([0.38, 0.66, 0.60])}

Lesions = Annotated[int, Control("Up: more microaneurysms, haemorrhages and exudates.", 0, 300, 1)]


class Eye:
    """Everything that is known of one eye.

    Coordinates of the eye are (y, x) in radii of the field of view, temporal side at positive x; a
    left eye is the mirror image.
    """

    def __init__(self, height: int, width: int, seed: int, lesions: int) -> None:
        self.height, self.width, self.seed, self.count = height, width, seed, lesions
        self.radius = FIELD * min(height, width)
        self.mirror = -1.0 if np.random.default_rng([seed, 9]).random() < 0.5 else 1.0

    @cached_property
    def trees(self) -> dict[int, Tree]:
        return {k: grow(np.random.default_rng([self.seed, k]), k == VEIN) for k in (ARTERY, VEIN)}

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        return scatter(np.random.default_rng([self.seed, 5]), self.count)

    @cached_property
    def strokes(self) -> dict[int, Strokes]:
        out = {}
        for k, tree in self.trees.items():
            start, end, r0, r1 = tree.segments()
            depth, child = tree.depth(), np.flatnonzero(tree.parent >= 0)
            out[k] = Strokes(
                self.pixels(start), self.pixels(end), r0 * self.radius, r1 * self.radius,
                depth[tree.parent[child]], depth[child],
            )  # fmt: skip
        return out

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Level-0 pixels of places in the eye (n, 2)."""
        centre = np.array([self.height / 2, self.width / 2])
        return np.asarray(points * (self.radius, self.radius * self.mirror) + centre)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Level-0 boxes of boxes in the eye (n, 4)."""
        a, b = self.pixels(boxes[:, :2]), self.pixels(boxes[:, 2:])
        return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1)

    def salt(self, number: int) -> int:
        return (self.seed * 1_000_003 + number * 7919 + 29) & 0x7FFFFFFF


@scene("vessels", title="Retina", tasks=("segmentation", "image label", "detection"),
       small={"width": 1024, "height": 1024})  # fmt: skip
class VesselsScene(Scene):
    """A fundus photograph, lazily computed.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000 (checked by `open_scene`).
    seed : int
        Another seed, another eye.
    lesions : int
        How many lesions; 0 is a healthy eye.
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 4096,
        height: Height = 4096,
        seed: SceneSeed = 7,
        lesions: Lesions = 0,
    ) -> None:
        self.setup(
            {"width": width, "height": height, "seed": seed, "lesions": lesions},
            pixel_size=6500.0 / (FIELD * min(width, height)),  # a field of 13 mm
            facts={"scene": "retina (synthetic, not medical data)", "seed": str(seed),
                   "lesions": str(lesions)},
        )  # fmt: skip
        self.eye = Eye(height, width, seed, lesions)
        self.truth = VesselsTruth(self.eye)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        span = BLOCK * downsample
        raster = Raster(row * span + downsample / 2, column * span + downsample / 2, BLOCK, BLOCK,
                        downsample, downsample, downsample)  # fmt: skip
        picture = draw(self.eye, raster)
        out = np.empty((BLOCK, BLOCK, 3), np.uint8)
        for c in range(3):
            out[..., c] = (picture[c] + 0.5).clip(0, 255)
        return out


def draw(eye: Eye, raster: Raster, vessels: bool = True) -> np.ndarray:
    """A raster of level-0 pixels, float32 (3, ny, nx) from 0 to 255."""
    ys, xs = raster.axes()
    size = eye.radius
    y = ((ys - eye.height / 2) / size).astype(np.float32)
    x = ((xs - eye.width / 2) / size * eye.mirror).astype(np.float32)
    rho = np.hypot(y, x)
    soft = raster.step / size
    picture = np.empty((3, raster.ny, raster.nx), np.float32)
    grain = octaves(raster, [(2.0, 1.0, eye.salt(1)), (5.0, 0.9, eye.salt(2))])
    if rho.min() > 1 + 2 * soft + 0.01:
        picture[:] = 5 + 0.5 * np.clip(grain, -4, 4)
        return picture
    light = _light(eye, raster, rho, y, x)
    _retina(picture, eye, raster, y, x, light)
    if vessels:
        _vessels(picture, eye, raster)
    flipped = Raster(float(y[0, 0]), float(x[0, 0]), raster.ny, raster.nx, soft,
                     soft, soft)  # fmt: skip
    if eye.mirror > 0:
        paint(picture, eye.lesions, flipped, light)
    else:
        flipped = Raster(flipped.y, float(x[0, -1]), raster.ny, raster.nx, soft, soft, soft)
        paint(picture[:, :, ::-1], eye.lesions, flipped, light[:, ::-1])
    picture *= 1 + 0.012 * grain
    edge = np.clip(0.5 - (rho - 1) / max(soft, 0.006), 0, 1)
    for c in range(3):
        picture[c] = 5 + 0.5 * np.clip(grain, -4, 4) + edge * (picture[c] - 5)
    return picture


def _light(eye: Eye, raster: Raster, rho: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How bright the retina is lit: a broad spot a little off the middle, dim at the rim."""
    size = eye.radius
    slow = octaves(raster, [(1.3 * size, 0.06, eye.salt(3)), (0.5 * size, 0.035, eye.salt(4))])
    spot = np.exp(-((y + 0.05) ** 2 + (x + 0.15) ** 2) / 0.9)
    return np.asarray(0.62 + 0.50 * spot + slow - 0.16 * np.clip(rho - 0.55, 0, 1) ** 2)


def _retina(
    picture: np.ndarray, eye: Eye, raster: Raster, y: np.ndarray, x: np.ndarray, light: np.ndarray
) -> None:
    size = eye.radius
    course = octaves(raster, [(0.16 * size, 0.7, eye.salt(10)), (0.07 * size, 0.45, eye.salt(11)),
                              (0.035 * size, 0.15, eye.salt(12))])  # fmt: skip
    # Large vessels of the choroid shine through as pale ribbons between darker tissue.
    ribbon = np.exp(-((course / 0.42) ** 2)) - 0.55
    away = np.clip(np.hypot(y - FOVEA[0], x - FOVEA[1]) * 1.6 - 0.3, 0.1, 1)
    fine = [(size * s, 0.011, eye.salt(20 + k)) for k, s in enumerate((0.02, 0.01, 0.005, 0.0025))]
    fine += [(size * s, 0.009, eye.salt(30 + k)) for k, s in enumerate((0.0012, 0.0006, 0.0003))]
    mottle = octaves(raster, [(0.30 * size, 0.03, eye.salt(13)), (0.05 * size, 0.02, eye.salt(14)),
                              *[f for f in fine if f[0] >= 2.0]])  # fmt: skip
    pigment = octaves(raster, [(0.6 * size, 0.05, eye.salt(15))])
    strength = ribbon * away
    dy, dx = y - DISC[0], x - DISC[1]
    from_disc = np.hypot(dy, dx / 0.93)
    fibres = _fibres(eye, dy, dx, from_disc)
    macula = np.exp(-((y - FOVEA[0]) ** 2 + (x - FOVEA[1]) ** 2) / (2 * 0.15**2))
    pit = np.exp(-((y - FOVEA[0]) ** 2 + (x - FOVEA[1]) ** 2) / (2 * 0.028**2))
    glint = np.exp(-((y - FOVEA[0] + 0.006) ** 2 + (x - FOVEA[1] + 0.005) ** 2) / (2 * 0.0045**2))
    for c, (choroid, dark, deep) in enumerate(
        ((0.09, 0.26, 0.18), (0.20, 0.40, 0.30), (0.15, 0.34, 0.3))
    ):
        tone = 1 + choroid * strength + mottle * (1, 1.5, 1.6)[c] + pigment * (0.5, 1.4, 1.8)[c]
        tone = tone + fibres * (0.6, 1.2, 1.4)[c]
        picture[c] = _BASE[c] * light * tone * (1 - dark * macula) * (1 - deep * pit)
        picture[c] += glint * (46, 42, 32)[c]
    _disc(picture, eye, raster, dy, dx, from_disc, light)


def _fibres(eye: Eye, dy: np.ndarray, dx: np.ndarray, from_disc: np.ndarray) -> np.ndarray:
    """Pale streaks of nerve fibres that fan out from the disc."""
    rng = np.random.default_rng([eye.seed, 7])
    angle = np.arctan2(dy, dx + 0 * dy)
    bent = angle + 0.5 * np.sin(2 * angle) * from_disc
    streak = np.zeros_like(bent)
    for k in (23, 37, 58, 91, 140):
        streak += np.sin(k * bent + rng.uniform(0, 6.28)) * np.float32(0.007)
    return np.asarray(streak * np.exp(-((from_disc - 0.26) ** 2) / (2 * 0.13**2)))


def _disc(
    picture: np.ndarray, eye: Eye, raster: Raster, dy: np.ndarray, dx: np.ndarray,
    from_disc: np.ndarray, light: np.ndarray,
) -> None:  # fmt: skip
    rng = np.random.default_rng([eye.seed, 6])
    if from_disc.min() > DISC_RADIUS * 1.6:
        return
    size = eye.radius
    rough = octaves(
        raster, [(0.11 * size, 0.006, eye.salt(40)), (0.03 * size, 0.0025, eye.salt(41))]
    )
    edge = from_disc - DISC_RADIUS + rough
    soft = max(raster.step / size, 0.016)
    halo = np.clip(0.5 - (edge - 0.022) / 0.05, 0, 1) * 0.35
    inside = np.clip(0.5 - edge / soft, 0, 1)
    cy, cx = dy - rng.uniform(-0.01, 0.01), dx - 0.016
    cup = np.hypot(cy, cx) - DISC_RADIUS * rng.uniform(0.34, 0.52) + rough
    within = np.clip(0.5 - cup / 0.045, 0, 1)
    within = within * within * (3 - 2 * within)
    grain = octaves(
        raster, [(0.02 * size, 0.025, eye.salt(42)), (0.007 * size, 0.015, eye.salt(43))]
    )
    shade = (0.86 + 0.10 * np.clip(dx / DISC_RADIUS, -1, 1) + grain) * (0.25 + 0.75 * light)
    for c in range(3):
        part = picture[c]
        part += halo * (1 - inside) * (_DISC_COLOUR[c] * 0.8 - part)
        part += inside * (_DISC_COLOUR[c] * shade - part)
        part += inside * within * (_CUP_COLOUR[c] * (shade + 0.06) - part) * 0.9


def _vessels(picture: np.ndarray, eye: Eye, raster: Raster) -> None:
    """Veins, then arteries over them: columns of blood that take light, with a glint in the middle."""
    pixel = raster.step
    shape = (raster.ny, raster.nx)
    for kind in (VEIN, ARTERY):
        blood = np.zeros(raster.ny * raster.nx, np.float32)
        glint = np.zeros_like(blood)
        large = 0.0042 * eye.radius
        for flat, d, r, seen in eye.strokes[kind].samples(raster):
            cover = np.clip((r - d) / pixel + 0.5, 0, np.minimum(1, 2 * r / pixel))
            chord = np.sqrt(np.clip(1 - (d / np.maximum(r, pixel)) ** 2, 0, 1))
            thin = np.clip(0.55 + 0.45 * r / large, 0, 1)  # twigs hold less blood
            np.maximum.at(blood, flat, cover * (0.55 + 0.45 * chord) * thin * seen)
            wide = r > large
            if wide.any():
                w = r[wide] * (0.30 if kind == ARTERY else 0.22)
                share = np.clip((w - d[wide]) / np.maximum(pixel, w) + 0.5, 0, 1)
                share *= np.clip((r[wide] - large) / large, 0, 1) * seen[wide]
                np.maximum.at(glint, flat[wide], share * np.minimum(1, 2 * w / pixel))
        blood, glint = blood.reshape(shape), glint.reshape(shape)
        strength = 0.17 if kind == ARTERY else 0.07
        for c in range(3):
            picture[c] *= 1 - np.float32(_ABSORB[kind][c]) * blood
            picture[c] *= 1 + np.float32(strength * (1, 1.5, 1.2)[c]) * glint


class VesselsTruth(Truth):
    """Ground truth of `scene:vessels`; everything in level-0 pixels, (y, x)."""

    def __init__(self, eye: Eye) -> None:
        self._eye = eye
        self.label = "lesions" if eye.count else "healthy"
        self.labels = ("healthy", "lesions")
        self.classes = {0: "other", ARTERY: "artery", VEIN: "vein"}
        self.objects = {1: "optic disc", **KINDS}
        self.kinds = {ARTERY: "fork of an artery", VEIN: "fork of a vein"}
        self.knows = frozenset({"label", "mask", "points", "boxes"})

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Vessels at the pixel centres of a regular raster over a box: 1 artery, 2 vein.

        Where they cross the artery lies over the vein; outside the field of view there are none.
        """
        height, width = size
        out = np.zeros((height, width), np.uint8)
        sy, sx = (box[2] - box[0]) / height, (box[3] - box[1]) / width
        for i in range(0, height, BLOCK):
            for j in range(0, width, BLOCK):
                ny, nx = min(BLOCK, height - i), min(BLOCK, width - j)
                y, x = box[0] + (i + 0.5) * sy, box[1] + (j + 0.5) * sx
                out[i : i + ny, j : j + nx] = self._vessels(Raster(y, x, ny, nx, sy, sx, 0.0))
        return out

    def _vessels(self, raster: Raster) -> np.ndarray:
        eye = self._eye
        flat_mask = np.zeros(raster.ny * raster.nx, np.uint8)
        for kind in (VEIN, ARTERY):
            for flat, d, r, _ in eye.strokes[kind].samples(raster):
                flat_mask[flat[d < r]] = kind
        ys, xs = raster.axes()
        seen = np.hypot(ys - eye.height / 2, xs - eye.width / 2) < eye.radius
        seen &= (ys >= 0) & (ys < eye.height) & (xs >= 0) & (xs < eye.width)
        return np.asarray(flat_mask.reshape(raster.ny, raster.nx) * seen)

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Forks of vessels in a box (all without one) and their kinds: 1 artery, 2 vein."""
        eye = self._eye
        full = Box(0.0, 0.0, float(eye.height), float(eye.width))
        box = full if box is None else Box(*box).intersect(full)
        points, kinds = [], []
        for kind, tree in eye.trees.items():
            forks = tree.points[tree.forks]
            forks = eye.pixels(forks[np.hypot(*forks.T) < 1])
            inside = (forks >= box[:2]).all(axis=1) & (forks < box[2:]).all(axis=1)
            points.append(forks[inside])
            kinds.append(np.full(int(inside.sum()), kind, np.int64))
        return np.concatenate(points), np.concatenate(kinds)

    def boxes(self, box: Box | None = None) -> Objects:
        """The optic disc and the lesions that touch a box (all without one), largest first."""
        eye = self._eye
        across = DISC_RADIUS * 0.93
        disc = (DISC[0] - DISC_RADIUS, DISC[1] - across, DISC[0] + DISC_RADIUS, DISC[1] + across)
        rows = np.array([disc, *(lesion.box for lesion in eye.lesions)], float).reshape(-1, 4)
        classes = np.array([1, *(lesion.kind for lesion in eye.lesions)], np.int64)
        boxes = np.clip(eye.boxes(rows), 0, np.array([eye.height, eye.width] * 2, float))
        touch = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if box is not None:
            touch &= (boxes[:, 2:] > box[:2]).all(axis=1) & (boxes[:, :2] < box[2:]).all(axis=1)
        boxes, classes = boxes[touch], classes[touch]
        order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")
        return Objects(boxes[order], classes[order], dict(self.objects))

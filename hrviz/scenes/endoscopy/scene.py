"""`scene:endoscopy`: a frame of capsule endoscopy with a lesion that may be tiny.

A wet wall with folds around a dark lumen, velvety with villi, with gloss, bubbles and bile, seen
through an eight-cornered frame. On it polyps, ulcers, bleedings or angioectasias, each of a given
share of the picture, down to one in two thousand: what a method that looks at a small copy of the
picture will miss.

What stands in for what: a drawing with known truth, not medical data. Folds and villi are noise and
texture in tube coordinates around the lumen, not a body.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Literal

import numpy as np

from hrviz.geometry import Box
from hrviz.method import Control
from hrviz.scenes.endoscopy.lesions import KINDS, Lesion, paint, place
from hrviz.scenes.endoscopy.mucosa import Gut
from hrviz.scenes.noise import Raster, octaves
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene
from hrviz.scenes.truth import Objects, Truth

LesionKind = Annotated[
    Literal["random", "none", "polyp", "ulcer", "bleeding", "angioectasia"],
    Control("What is on the wall; random is one of the others by seed."),
]
Count = Annotated[
    int,
    Control("Up: more lesions of the kind.", 0, 5, 1,
            when=(("lesion", ("random", "polyp", "ulcer", "bleeding", "angioectasia")),)),
]  # fmt: skip
Ratio = Annotated[
    float,
    Control("Up: larger lesions, as a share of the picture.", 0.0005, 0.05, 0.0005, log=True,
            title="Size of a lesion"),
]  # fmt: skip
Bubbles = Annotated[int, Control("Up: more bubbles of air.", 0, 200, 1, basic=False)]
Bile = Annotated[
    float, Control("Up: more yellow fluid over the wall.", 0.0, 1.0, 0.05, basic=False)
]


@scene("endoscopy", title="Capsule endoscopy", tasks=("image label", "detection", "segmentation"),
       small={"width": 1024, "height": 1024})  # fmt: skip
class EndoscopyScene(Scene):
    """A frame of capsule endoscopy, lazily computed.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000 (checked by `open_scene`).
    seed : int
        Another seed, another place of the gut.
    lesion : str
        'random', 'none', 'polyp', 'ulcer', 'bleeding' or 'angioectasia'.
    count : int
        How many lesions, 0 to 5.
    ratio : float
        Area of each lesion as a share of the picture's area, 0.0005 to 0.05.
    bubbles : int
    bile : float
        0 to 1.
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 2048,
        height: Height = 2048,
        seed: SceneSeed = 7,
        lesion: LesionKind = "random",
        count: Count = 1,
        ratio: Ratio = 0.01,
        bubbles: Bubbles = 24,
        bile: Bile = 0.3,
    ) -> None:
        kind: str = lesion
        if lesion == "random":
            names = ("none", *KINDS.values())
            kind = names[int(np.random.default_rng([seed, 0]).integers(len(names)))]
        self.setup(
            {"width": width, "height": height, "seed": seed, "lesion": lesion, "count": count,
             "ratio": ratio, "bubbles": bubbles, "bile": bile},
            facts={"scene": "capsule endoscopy (synthetic, not medical data)", "seed": str(seed)},
        )  # fmt: skip
        self.gut = Gut(height, width, seed, bile)
        number = {name: k for k, name in KINDS.items()}.get(kind)
        self._plan = (number, count if number else 0, ratio, bubbles)
        self.truth = EndoscopyTruth(self, "normal" if not self._plan[1] else kind)

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        kind, count, ratio, _ = self._plan
        return place(self.gut, kind, count, ratio) if kind else ()

    @cached_property
    def bubbles(self) -> np.ndarray:
        """Bubbles (n, 4): y, x, radius in radii of the field of view, and a number in [0, 1)."""
        rng = np.random.default_rng([self.gut.seed, 4])
        n = self._plan[3]
        groups = rng.uniform(-0.75, 0.75, (1 + n // 9, 2))
        near = groups[rng.integers(0, len(groups), n)] + rng.normal(0, 0.12, (n, 2))
        alone = rng.uniform(-0.85, 0.85, (n, 2))
        at = np.where(rng.random((n, 1)) < 0.75, near, alone)
        r = 0.008 + 0.036 * rng.random(n) ** 2.5
        out: list[tuple[float, ...]] = []
        for (y, x), size, draw in zip(at, r, rng.random(n), strict=True):
            if math.hypot(y - self.gut.lumen[0], x - self.gut.lumen[1]) < 0.24 + size:
                continue  # nothing floats in the lumen
            if all(math.hypot(y - b[0], x - b[1]) > 0.9 * (size + b[2]) for b in out):
                out.append((y, x, size, draw))
        return np.array(out, float).reshape(-1, 4)

    @cached_property
    def highlights(self) -> np.ndarray:
        """Gloss of the lamps on crests (n, 5): y, x, half length, half width, turn."""
        rng = np.random.default_rng([self.gut.seed, 5])
        gut, n = self.gut, 420
        step = 2 * gut.radius / 128
        first = (gut.height / 2 - gut.radius + step / 2, gut.width / 2 - gut.radius + step / 2)
        folds = Raster(*first, 128, 128, step, step, 0.0)
        crest, shadow, r, angle = gut.folds(folds, *gut.places(folds))
        at = rng.uniform(-0.92, 0.92, (n, 2))
        i, j = ((at + 1) * 64).astype(int).T
        bright = (crest - shadow)[i, j] > 0.52
        bright &= r[i, j] > 0.22
        out = []
        for (y, x), turn, draw in zip(
            at[bright], angle[i, j][bright], rng.random((n, 3))[bright], strict=True
        ):
            a = 0.004 + 0.022 * draw[0] ** 2
            b = a * (0.25 + 0.35 * draw[1])
            out.append((y, x, a, b, float(turn) + 1.07 + draw[2]))
        return np.array(out, float).reshape(-1, 5)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        span = BLOCK * downsample
        raster = Raster(row * span + downsample / 2, column * span + downsample / 2, BLOCK, BLOCK,
                        downsample, downsample, downsample)  # fmt: skip
        picture = self._draw(raster)
        out = np.empty((BLOCK, BLOCK, 3), np.uint8)
        for c in range(3):
            out[..., c] = (picture[c] + 0.5).clip(0, 255)
        return out

    def _draw(self, raster: Raster) -> np.ndarray:
        gut = self.gut
        y, x = gut.places(raster)
        soft = raster.step / gut.radius
        edge = gut.visible(y, x)
        grain = octaves(raster, [(2.0, 1.0, gut.salt(40)), (4.5, 0.8, gut.salt(41))])
        dark = 4 + 0.5 * np.clip(grain, -4, 4)
        if edge.min() > 0.02 + soft:
            return np.stack([dark] * 3).astype(np.float32)
        picture = gut.wall(raster)
        paint(picture, gut, self.lesions, raster)
        self._glints(picture, y, x, soft)
        self._bubbles(picture, y, x, soft)
        picture *= 1 + 0.016 * grain
        frame = np.clip(0.5 - edge / max(soft, 0.012), 0, 1)
        return np.asarray(dark + frame * (picture - dark))

    def _glints(self, picture: np.ndarray, y: np.ndarray, x: np.ndarray, soft: float) -> None:
        for cy, cx, a, b, turn in self.highlights:
            window = _window(y, x, cy, cx, 1.5 * a + soft)
            if window is None:
                continue
            dy, dx = y[window[0]] - cy, x[:, window[1]] - cx
            cos, sin = math.cos(turn), math.sin(turn)
            along, across = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
            d = np.hypot(along, across)
            cover = np.clip(0.5 + (1 - d) / max(0.6, soft / b), 0, 1)
            cover = cover * 0.9 * min(1.0, math.pi * a * b / soft**2)
            part = picture[(slice(None), *window)]
            part += cover * (np.array([252, 250, 244], np.float32)[:, None, None] - part)

    def _bubbles(self, picture: np.ndarray, y: np.ndarray, x: np.ndarray, soft: float) -> None:
        """A clear disc with a dark and a bright rim and a glint on both sides."""
        for cy, cx, r, draw in self.bubbles:
            window = _window(y, x, cy, cx, 1.1 * r + soft)
            if window is None:
                continue
            dy, dx = (y[window[0]] - cy) / r, (x[:, window[1]] - cx) / r
            d, s = np.hypot(dy, dx), max(soft / r, 0.05)
            inside = np.clip(0.5 + (1 - d) / s, 0, 1) * min(1.0, math.pi * r**2 / soft**2)
            rim = np.clip(1 - np.abs(d - 0.90) / max(0.10, s), 0, 1) * inside
            ring = np.clip(1 - np.abs(d - 0.76) / 0.16, 0, 1) * inside
            toward = np.clip(-(dy * 0.77 + dx * 0.64), -1, 1)
            part = picture[(slice(None), *window)]
            part *= 1 + inside * (0.05 - 0.10 * toward)
            part *= 1 - 0.30 * ring
            part += rim * (26 + 60 * np.clip(np.abs(toward) - 0.2, 0, 1))
            for at, size in ((-0.45, 0.15), (0.58, 0.09)):
                spot = np.hypot(dy - at * 0.77, dx - at * 0.64)
                glint = np.clip(0.5 + (size - spot) / max(0.12, s), 0, 1)
                glint = glint * (0.9 if at < 0 else 0.5 + 0.3 * draw) * inside
                part += glint * (250 - part)


def _window(
    y: np.ndarray, x: np.ndarray, cy: float, cx: float, reach: float
) -> tuple[slice, slice] | None:
    i0, i1 = np.searchsorted(y[:, 0], [cy - reach, cy + reach])
    j0, j1 = np.searchsorted(x[0], [cx - reach, cx + reach])
    return None if i0 == i1 or j0 == j1 else (slice(i0, i1), slice(j0, j1))


class EndoscopyTruth(Truth):
    """Ground truth of `scene:endoscopy`; everything in level-0 pixels, (y, x)."""

    def __init__(self, owner: EndoscopyScene, label: str) -> None:
        self._scene = owner
        self.label = label
        self.labels = ("normal", *KINDS.values())
        self.classes = {0: "other", **KINDS}
        self.objects = dict(KINDS)
        self.knows = frozenset({"label", "mask", "boxes"})

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Lesions at the pixel centres of a regular raster over a box, keys of `classes`."""
        gut = self._scene.gut
        height, width = size
        ys = box[0] + (np.arange(height) + 0.5)[:, None] * ((box[2] - box[0]) / height)
        xs = box[1] + (np.arange(width) + 0.5)[None, :] * ((box[3] - box[1]) / width)
        y, x = (ys - gut.height / 2) / gut.radius, (xs - gut.width / 2) / gut.radius
        out = np.zeros((height, width), np.uint8)
        for lesion in self._scene.lesions:
            window = _window(y, x, lesion.y, lesion.x, lesion.reach)
            if window is None:
                continue
            rho, _ = lesion.inside(y[window[0]], x[:, window[1]])
            out[window][rho < 1] = lesion.kind
        out[~((ys >= 0) & (ys < gut.height) & (xs >= 0) & (xs < gut.width))] = 0
        return out

    def boxes(self, box: Box | None = None) -> Objects:
        """Lesions that touch a box (all without one), largest first."""
        gut = self._scene.gut
        rows = np.array([lesion.box for lesion in self._scene.lesions], float).reshape(-1, 4)
        classes = np.array([lesion.kind for lesion in self._scene.lesions], np.int64)
        centre = np.array([gut.height / 2, gut.width / 2] * 2)
        boxes = np.clip(rows * gut.radius + centre, 0, 2 * centre)
        touch = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if box is not None:
            touch &= (boxes[:, 2:] > box[:2]).all(axis=1) & (boxes[:, :2] < box[2:]).all(axis=1)
        boxes, classes = boxes[touch], classes[touch]
        order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")
        return Objects(boxes[order], classes[order], dict(self.objects))

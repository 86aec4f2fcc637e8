"""Frames of the procedural road with their signs and cars, kept in memory, and pictures cut from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz.methods.detection import DETECTORS, wanted
from hrviz.scenes import dataset

CLASSES = DETECTORS["sign detection"].classes
LIMITS = 3  # the first classes are the speed limits
#: sides of 22 to 86 px, limits in equal turn and few without: what is rare by default is to be learned
SIGN_RATIOS = (0.0004, 0.001, 0.001, 0.002, 0.004, 0.006)
SIGNS = ("50", "70", "80", "50", "70", "80", "none")
CLUTTER = (6, 10, 14)


@dataclass(frozen=True)
class Frame:
    """One picture at full resolution: uint8 (960, 1280, 3), its boxes (n, 4) and classes (n,)."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def images(split: str, count: int, **params: Any) -> list[Any]:
    """Images of a split, lazily: `params` of the scene, else signs of several sizes in turn."""
    if params:
        return list(dataset("road", split, count, **params))  # type: ignore[arg-type]
    kinds: dict[tuple[Any, ...], Any] = {}
    out = []
    for k in range(count):
        chosen = tuple(v[k % len(v)] for v in (SIGN_RATIOS, SIGNS, CLUTTER))
        if chosen not in kinds:
            names = dict(zip(("ratio", "sign", "clutter"), chosen, strict=True))
            kinds[chosen] = dataset("road", split, count, **names)  # type: ignore[arg-type]
        out.append(kinds[chosen][k])
    return out


def frames(split: str, count: int, report: Callable[[str], None]) -> list[Frame]:
    """Rendered frames of a split."""
    out = []
    for k, image in enumerate(images(split, count)):
        boxes, labels, _ = wanted(image.view(), CLASSES)
        out.append(Frame(image.rgb(image.box, (960, 1280)), boxes, labels))
        if (k + 1) % 40 == 0:
            report(f"{split}: {k + 1} of {count} frames")
    return out


def crop(
    frame: Frame, rng: np.random.Generator, side: int, scales: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square picture of `side` px out of a frame, downsampled by a factor drawn from `scales`.

    Most hold a chosen object, half of those a speed limit: to read it takes longest to learn. Rows
    and columns are scaled a little differently, as a warp does. Limits are text: nothing is mirrored.

    Returns
    -------
    pixels : uint8 (side, side, 3)
    boxes : (n, 4), pixels of the picture, of objects more than half inside
    labels : (n,)
    """
    from PIL import Image

    scale = np.exp(rng.uniform(*np.log(scales)) + rng.uniform(-0.15, 0.15, 2))
    span = np.minimum(scale * side, frame.pixels.shape[:2])
    scale = span / side
    room = np.array(frame.pixels.shape[:2]) - span
    corner = rng.random(2) * room
    if len(frame.boxes) and rng.random() < 0.85:
        share = np.where(frame.labels < LIMITS, max(len(frame.labels) - 1, 1), 1.0)
        box = frame.boxes[rng.choice(len(share), p=share / share.sum())]
        middle = (box[:2] + box[2:]) / 2
        corner = np.clip(middle - span * rng.uniform(0.1, 0.9, 2), 0, room)
    # between an area average and the softer filter of a mip-mapped warp
    kind = Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.BILINEAR
    (y0, x0), (y1, x1) = corner, corner + span
    window = int(y0), int(x0), int(np.ceil(y1)), int(np.ceil(x1))
    block = Image.fromarray(frame.pixels[window[0] : window[2], window[1] : window[3]])
    part = (x0 - window[1], y0 - window[0], x1 - window[1], y1 - window[0])
    pixels = np.asarray(block.resize((side, side), kind, box=part))
    return pixels, *kept(frame.boxes, frame.labels, corner, scale, (side, side))


def kept(
    boxes: np.ndarray,
    labels: np.ndarray,
    corner: np.ndarray,
    scale: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in pixels of a part of the picture, cut to it, of objects more than half inside."""
    moved = (boxes - np.tile(corner, 2)) / np.tile(scale, 2)
    cut = moved.clip(0, np.tile(size, 2))
    share = np.prod(cut[:, 2:] - cut[:, :2], 1) / np.prod(moved[:, 2:] - moved[:, :2], 1)
    return cut[share > 0.5], labels[share > 0.5]


def coloured(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 pictures (n, h, w, 3) as float32 (n, 3, h, w) in 0..1, exposure and tint varied."""
    gain = rng.uniform(0.8, 1.2, (len(pixels), 1, 1, 3)) * rng.uniform(0.85, 1.15)
    shift = rng.uniform(-0.06, 0.06, (len(pixels), 1, 1, 1))
    out = pixels.astype(np.float32) / 255 * gain.astype(np.float32) + shift.astype(np.float32)
    return np.ascontiguousarray(np.clip(out, 0, 1).transpose(0, 3, 1, 2))

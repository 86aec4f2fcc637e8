"""Areas of procedural tissue at two or three levels, and windows cut from them: what RAZN learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.training.tissue_data import FIRST_SEED, SIDE, slides

WINDOW = 64
REGION = 1024  # px a side of what is rendered at one go: blocks of the scene, many windows
CUT = 0.2  # share of windows that hang over the region's edge
LEVELS = (32, 16, 8)  # downsamples, coarsest first
FACTORS = (1, 2, 4)  # downsamples of an area, of its finest


@dataclass(frozen=True)
class Region:
    """One area at a downsample, at twice and at four times that.

    Attributes
    ----------
    pixels : dict of int to ndarray uint8 (side, side, 3)
    masks : dict of int to ndarray bool (side, side)
    """

    pixels: dict[int, np.ndarray]
    masks: dict[int, np.ndarray]


def regions(
    name: str,
    split: str,
    first: int,
    count: int,
    report: Callable[[str], None],
    levels: tuple[int, ...] = LEVELS,
) -> dict[int, list[Region]]:
    """`count` areas of each level, most with tumour, of slides from number `first` of a split on.

    Rendered once and kept in the cache folder; always the same.
    """
    return {fine: _kept(name, split, first, count, fine, report) for fine in levels}


def _kept(
    name: str, split: str, first: int, count: int, fine: int, report: Callable[[str], None]
) -> list[Region]:
    import platformdirs

    from hrviz import __version__
    from hrviz.results import write_whole

    folder = platformdirs.user_cache_path("hrviz") / "razn"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{split}-{first}-{count}-{fine}-{__version__}.npz"
    if not file.exists():
        rng = np.random.default_rng(FIRST_SEED[split] + 100 * first + fine)
        found = slides(split, first + min(count, 14))[first:]
        made = [_render(found[k % len(found)], fine, rng) for k in range(count)]
        arrays = {
            f"{what}-{k}-{d}": array
            for k, region in enumerate(made)
            for what, of in (("pixels", region.pixels), ("masks", region.masks))
            for d, array in of.items()
        }
        write_whole(file, lambda handle: np.savez(handle, **arrays))  # type: ignore[arg-type]
        report(f"{name}: {count} areas at downsample {fine}")
    scales = [fine * k for k in FACTORS]
    with np.load(file) as kept:
        return [
            Region({d: kept[f"pixels-{k}-{d}"] for d in scales},
                   {d: kept[f"masks-{k}-{d}"] for d in scales})
            for k in range(count)
        ]  # fmt: skip


def _render(image: Any, fine: int, rng: np.random.Generator) -> Region:
    """One area of a slide, on the scene's own blocks; most lie on a lesion."""
    span = REGION * fine
    boxes, _ = image.truth.lesions(None)
    corner = rng.random(2) * (SIDE - span)
    if len(boxes) and rng.random() < 0.75:
        lesion = boxes[rng.integers(len(boxes))]
        corner = (lesion[:2] + lesion[2:]) / 2 - span * rng.uniform(0.2, 0.8, 2)
    block = span / 2
    corner = np.clip(np.round(corner / block) * block, 0, (SIDE - span) // block * block)
    box = Box(*corner, *(corner + span))
    sizes = {fine * k: (REGION // k, REGION // k) for k in FACTORS}
    return Region(
        {d: image.rgb(box, size) for d, size in sizes.items()},
        {d: image.truth.mask(box, size) > 0 for d, size in sizes.items()},
    )


def hang_over(valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window's valid mask (n, h, w), some hanging over the right or lower edge."""
    n, h, w = valid.shape
    for k in np.flatnonzero(rng.random(n) < CUT):
        valid[k, int(rng.integers(h // 8, h + 1)) :] = False
        valid[k, :, int(rng.integers(w // 8, w + 1)) :] = False
    return valid


def windows(pixels: np.ndarray, valid: np.ndarray) -> Any:
    """What the networks take: float32 tensor (n, 4, h, w) from uint8 (n, h, w, 3) and bool (n, h, w)."""
    import torch

    stacked = np.concatenate([pixels.astype(np.float32) / 255, np.ones_like(pixels[..., :1])], -1)
    stacked *= valid[..., None]
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2), np.float32))


def stained(x: Any, rng: np.random.Generator) -> Any:
    """Stain variation of the valid pixels (each channel's contrast and brightness)."""
    import torch

    n = len(x)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 3, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.05, 0.05, (n, 3, 1, 1)).astype(np.float32))
    colour = (1 - (1 - x[:, :3]) * gain + shift).clamp(0, 1)
    return torch.cat([colour * x[:, 3:], x[:, 3:]], 1)


def turned(x: Any, rng: np.random.Generator, *more: Any) -> tuple[Any, ...]:
    """Flips and quarter turns, the same for all."""
    turns, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
    out = tuple(v.rot90(turns, (-2, -1)) for v in (x, *more))
    return tuple(v.flip(-1) for v in out) if flip else out


def draw(
    pixels: np.ndarray, mask: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop; half of them hold a border of tumour, where there is one."""
    room = pixels.shape[0] - side
    for _ in range(6):
        y, x = rng.integers(0, room + 1, 2)
        part = mask[y : y + side, x : x + side]
        if rng.random() < 0.4 or part.any() != part.all():
            break
    return pixels[y : y + side, x : x + side], part


def cut_at(array: np.ndarray, corners: list[np.ndarray], side: int) -> np.ndarray:
    """Windows of `side` px at corners (y, x), stacked."""
    return np.stack([array[y : y + side, x : x + side] for y, x in corners])


def tiles(x: Any, ratio: int) -> Any:
    """(n, c, r h, r w) cut into (n r r, c, h, w), row by row."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, ratio, h // ratio, ratio, w // ratio)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(n * ratio**2, c, h // ratio, w // ratio)


def joined(x: Any, ratio: int) -> Any:
    """The inverse of `tiles`."""
    n, c, h, w = x.shape
    parts = x.reshape(n // ratio**2, ratio, ratio, c, h, w)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(n // ratio**2, c, ratio * h, ratio * w)

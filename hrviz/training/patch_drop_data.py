"""Boards with one handwritten digit among clutter: what PatchDrop is trained and judged on.

A digit of 24 to 34 px on a board of 224 px is too small to be read surely on the policy's 56 px, but
shows there as a bright spot. Rendered once, then kept in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.nets.patch_reward import FULL
from hrviz.scenes.dataset import Split, dataset

SCENE = {"digits": 1, "smallest": 24, "largest": 0.15, "clutter": 0.4}


@dataclass(frozen=True)
class Boards:
    """Pictures uint8 (n, 224, 224, 3), digits int64 (n,), and their boxes (n, 4), px."""

    pixels: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


@lru_cache(maxsize=4)
def boards(split: Split, count: int, report: Callable[[str], None] = print) -> Boards:
    """The first `count` boards of a split."""
    import platformdirs

    from hrviz.results import write_whole

    images = dataset("digits", split, count, width=FULL, height=FULL, **SCENE)
    folder = platformdirs.user_cache_path("hrviz") / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"digit-{split}-{count}-{_key(images.addresses[0])}.npz"
    if not file.exists():
        pixels = np.empty((count, FULL, FULL, 3), np.uint8)
        labels, boxes = np.empty(count, np.int64), np.empty((count, 4))
        for k, image in enumerate(images):
            pixels[k] = image.rgb(image.box, (FULL, FULL))
            labels[k], boxes[k] = image.truth.label, image.truth.boxes().boxes[0]
            if (k + 1) % 500 == 0:
                report(f"{split}: {k + 1} of {count} boards")
        write_whole(
            file,
            lambda handle: np.savez(handle, pixels=pixels, labels=labels, boxes=boxes),
        )
    with np.load(file) as kept:
        return Boards(kept["pixels"], kept["labels"], kept["boxes"])


def _key(address: str) -> str:
    import hashlib

    from hrviz import __version__

    return hashlib.sha256(f"{__version__} {address}".encode()).hexdigest()[:10]

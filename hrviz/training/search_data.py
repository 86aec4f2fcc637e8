"""Large pictures with a small thing that decides their class: what sampling methods are trained on.

Four sets in the manner of the Zoom-In paper's: `needle` (1024 px, one cross among look-alikes, a
thousandth of the picture or so), `cells` and `colon` (500 px, a few or many cells in tissue, as its
colon images) and `road` (960 x 1280 px, which speed limit). Pictures are rendered once and kept in a cache folder
as one array, which is opened memory-mapped: a second recipe starts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz.scenes import dataset
from hrviz.scenes.dataset import Split


@dataclass(frozen=True)
class Search:
    """One set: which scene with which parameters, its classes, and how many pictures there are.

    `caveat` says what else than the thing sought gives the class away; cards carry it.
    """

    scene: str
    params: dict[str, Any]
    classes: tuple[str, ...]
    counts: dict[str, int]
    size: tuple[int, int]
    caveat: str = ""

    def address(self, split: Split = "unseen", place: int = 0) -> str:
        """Address of one picture, as `hrviz.open` takes it."""
        return dataset(self.scene, split, place + 1, **self.params).addresses[place]


EASY = (
    "the classes differ in mean colour and in the number of objects too: a linear classifier on the mean "
    "colour is right on every picture, so accuracy here does not show that cells are searched for"
)
SETS = {
    "needle": Search(
        "needle",
        {"width": 1024, "height": 1024, "object": "cross", "background": "noise", "ratio": 0.002,
         "distractors": 8, "presence": "half"},
        ("absent", "present"),
        {"train": 600, "held-out": 160, "unseen": 200},
        (1024, 1024),
    ),
    "cells": Search(
        "needle",
        {"width": 500, "height": 500, "object": "cell", "background": "tissue", "ratio": 0.002,
         "count": 4, "distractors": 12, "presence": "half"},
        ("absent", "present"),
        {"train": 600, "held-out": 160, "unseen": 200},
        (500, 500),
        EASY,
    ),
    "colon": Search(
        "needle",
        {"width": 500, "height": 500, "object": "cell", "background": "tissue", "ratio": 0.0016,
         "count": 20, "distractors": 20, "presence": "half"},
        ("absent", "present"),
        {"train": 600, "held-out": 160, "unseen": 200},
        (500, 500),
        EASY,
    ),
    "road": Search(
        "road", {"ratio": 0.002, "clutter": 6}, ("none", "50", "70", "80"),
        {"train": 400, "held-out": 120, "unseen": 160}, (960, 1280),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Pictures uint8 (n, h, w, 3) and their classes int64 (n,)."""

    pixels: np.ndarray
    labels: np.ndarray


def pictures(
    name: str,
    split: Split,
    count: int | None = None,
    report: Callable[[str], None] = print,
) -> Pictures:
    """The first `count` pictures of a set's split; rendered once, then from the cache folder.

    A cached array that is shorter than asked for is rendered further, not anew.
    """
    import platformdirs

    from hrviz.results import write_whole

    asked = SETS[name]
    count = asked.counts[split] if count is None else count
    folder = platformdirs.user_cache_path("hrviz") / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    images = dataset(asked.scene, split, count, **asked.params)
    key = _key(images.addresses[0])
    file = folder / f"{name}-{split}-{key}.npy"
    kept = (
        np.load(file, mmap_mode="r") if file.exists() else np.empty((0, *asked.size, 3), np.uint8)
    )
    if len(kept) < count:
        more = []
        for k in range(len(kept), count):
            image = images[k]
            more.append(image.rgb(image.box, asked.size))
            if (k + 1) % 40 == 0:
                report(f"{name}, {split}: {k + 1} of {count} pictures")
        whole = np.concatenate([kept, np.stack(more)])
        write_whole(file, lambda handle: np.save(handle, whole))
        kept = np.load(file, mmap_mode="r")
    labels = [asked.classes.index(str(image.truth.label)) for image in images]
    return Pictures(kept[:count], np.array(labels, np.int64))


def _key(address: str) -> str:
    import hashlib

    from hrviz import __version__

    return hashlib.sha256(f"{__version__} {address}".encode()).hexdigest()[:10]

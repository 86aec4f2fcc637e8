"""Large pictures with a small thing that decides their class: what sampling methods are trained on.

Sets in the manner of the Zoom-In paper's: `needle` (1024 px, three discs among look-alikes, two
thousandths of the picture each), `cells` and `colon` (500 px, few cells in tissue, as its colon images),
`road` (960 x 1280 px, which speed limit) and `aerial` (768 px, streets with some cars of 22 x 9 px, or
the same streets without). `strewn` and `sown`, `crowded` and `jammed` are `needle`, `colon` and `aerial`
with more of what is sought, `spotted` and `few` hold discs or nothing at all, and `between`, `close`, `nearer` and `beside` are `road`
with less and less around a sign of the same size: to begin trainings with. Where a needle or cell is absent, look-alikes of the same area and mean colour
take its place, so neither counting nor a thumbnail's colours tell the class. Pictures are rendered once
and kept in a cache folder as one array, which is opened memory-mapped: a second recipe starts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrviz.image import Image
from hrviz.image.image import open_image
from hrviz.scenes import SCENES, dataset
from hrviz.scenes.dataset import FIRST_SEED, Split


@dataclass(frozen=True)
class Emptied:
    """A scene that holds some objects of a kind, and the same scene emptied of them, by the seed.

    Seeds whose scene holds fewer than `least` objects of the kind, or more than `most`, are passed over.
    """

    parameter: str
    without: Any
    kind: int
    least: int
    most: int


@dataclass(frozen=True)
class Search:
    """One set: which scene with which parameters, its classes, and how many pictures there are."""

    scene: str
    params: dict[str, Any]
    classes: tuple[str, ...]
    counts: dict[str, int]
    size: tuple[int, int]
    emptied: Emptied | None = None

    def address(self, split: Split = "unseen", place: int = 0) -> str:
        """Address of one picture, as `hrviz.open` takes it."""
        *_, (image, _) = self.images(split, place + 1)
        return image.uri

    def images(self, split: Split, count: int) -> Iterator[tuple[Image, int]]:
        """The first images of a split and their classes."""
        if self.emptied is None:
            for image in dataset(self.scene, split, count, **self.params):
                yield image, self.classes.index(str(image.truth.label))
            return
        rule, found = self.emptied, 0
        candidates = dataset(self.scene, split, 100 * count, **self.params)
        for seed, image in enumerate(candidates, FIRST_SEED[split]):
            held = int((image.truth.boxes(image.box).classes == rule.kind).sum())
            if not rule.least <= held <= rule.most:
                continue
            there = int(np.random.default_rng([seed, 5]).integers(2))
            if not there:
                less = {**self.params, rule.parameter: rule.without, "seed": seed}
                image = open_image(SCENES[self.scene].address(**less))
            yield image, there
            found += 1
            if found == count:
                return


def _planted(side: int, pictures: tuple[int, int, int], **planted: Any) -> Search:
    """A set of `scene:needle`: needles, or look-alikes in their place; pictures of the three splits."""
    counts = dict(zip(("train", "held-out", "unseen"), pictures, strict=True))
    params = {"width": side, "height": side, **planted, "presence": "replaced"}
    return Search("needle", params, ("absent", "present"), counts, (side, side))


def _spotted(count: int) -> Search:
    """A set whose pictures hold discs or nothing: there is no look-alike."""
    found = _planted(1024, (240, 60, 60), **_DISCS | {"distractors": 0}, count=count)
    return replace(found, params=found.params | {"presence": "half"})


def _road(height: int, width: int, ratio: float, clutter: int) -> Search:
    """A set of roads with a sign of some 44 px, smaller than `road`."""
    params = {"width": width, "height": height, "ratio": ratio, "clutter": clutter}
    counts = {"train": 400, "held-out": 120, "unseen": 160}
    return Search("road", params, ("none", "50", "70", "80"), counts, (height, width))


FULL = 600, 160, 200
_DISCS = {"object": "disc", "background": "noise", "ratio": 0.002, "distractors": 6}
_CELLS = {"object": "cell", "background": "tissue", "ratio": 0.0016, "distractors": 14}
_STREETS = {"width": 768, "height": 768, "gsd": 0.2, "city": 0.6, "boats": 0.0, "airport": "no"}
SETS = {
    "needle": _planted(1024, FULL, **_DISCS, count=3),
    "strewn": _planted(1024, (240, 60, 60), **_DISCS, count=18),
    "sown": _planted(1024, (240, 60, 60), **_DISCS, count=36),
    "spotted": _spotted(36),
    "few": _spotted(3),
    "cells": _planted(500, FULL, **_CELLS | {"ratio": 0.002, "distractors": 12}, count=4),
    "colon": _planted(500, FULL, **_CELLS, count=6),
    "crowded": _planted(500, (300, 80, 80), **_CELLS, count=24),
    "road": Search(
        "road", {"ratio": 0.002, "clutter": 6}, ("none", "50", "70", "80"),
        {"train": 400, "held-out": 120, "unseen": 160}, (960, 1280),
    ),
    "between": _road(576, 768, 0.0056, 4),
    "close": _road(384, 512, 0.01, 2),
    "nearer": _road(192, 256, 0.04, 1),
    "beside": _road(96, 128, 0.16, 0),
    "aerial": Search(
        "aerial", _STREETS | {"cars": 0.5}, ("no car", "cars"),
        {"train": 400, "held-out": 100, "unseen": 140},
        (768, 768),
        Emptied("cars", 0.0, kind=1, least=8, most=80),
    ),
    "jammed": Search(
        "aerial", _STREETS | {"cars": 1.0}, ("no car", "cars"),
        {"train": 240, "held-out": 60, "unseen": 60}, (768, 768),
        Emptied("cars", 0.0, kind=1, least=80, most=1000),
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
    first, _ = next(asked.images(split, 1))
    file = folder / f"{name}-{split}-{_key(first)}.npy"
    beside = file.with_suffix(".classes.npy")
    if file.exists() and beside.exists():
        kept, labels = np.load(file, mmap_mode="r"), np.load(beside)
    else:
        kept, labels = np.empty((0, *asked.size, 3), np.uint8), np.empty(0, np.int64)
    if min(len(kept), len(labels)) < count:
        more, classes = list(kept), []
        for k, (image, label) in enumerate(asked.images(split, count)):
            classes.append(label)
            if k >= len(kept):
                more.append(image.rgb(image.box, asked.size))
            if (k + 1) % 40 == 0:
                report(f"{name}, {split}: {k + 1} of {count} pictures")
        whole, labels = np.stack(more), np.array(classes, np.int64)
        write_whole(file, lambda handle: np.save(handle, whole))
        write_whole(beside, lambda handle: np.save(handle, labels))
        kept = np.load(file, mmap_mode="r")
    return Pictures(kept[:count], labels[:count])


def _key(image: Image) -> str:
    """Changes with the scene's parameters and its version."""
    import hashlib

    from hrviz import __version__

    return hashlib.sha256(f"{__version__} {image.identity}".encode()).hexdigest()[:10]

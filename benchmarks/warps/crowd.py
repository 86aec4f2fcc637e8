"""People in films of a crowd that no recipe has seen: SALISA beside its detectors on even frames.

Every film is followed over eight frames, one reset period, three frames of the film apart. SALISA's
numbers are over all eight (as one would run it) and apart over the frames between resets, where the
zoom does the work. Light detectors are compared at SALISA's input size and at its mean FLOPs too: the
same money spent on a larger even frame is the rival that counts.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.image import ImageView
from hrviz.methods.detection import Found, Wanted, detect, judge, wanted
from hrviz.methods.downsampling import salisa
from hrviz.methods.downsampling.sampler import sample
from hrviz.methods.downsampling.warp import output_size
from hrviz.results import WarpGrid
from hrviz.scenes import dataset

FRAMES, HOP, FIRST = 8, 3, 60
SIZE, FULL = 512, 1536
CROWDS = (20, 200)  # few people leave a zoom something to squeeze
SETTINGS = salisa.Settings(
    "previous frame", SIZE, 8, 16, 4.0, 31, 1.0, 0.2, 0.015, 0.06, FULL, "mean edge", "fair", True
)
ARMS = {
    "SALISA, reset 8": SETTINGS,
    "SALISA, reset 4": replace(SETTINGS, reset=4),
    "SALISA, true boxes (oracle)": replace(SETTINGS, saliency="truth"),
    "SALISA, boxes by their outermost points": replace(SETTINGS, carry="outermost"),
}  # fmt: skip


def films(people: int, count: int) -> list[list[Any]]:
    """Frames of `count` films of the split 'unseen'."""
    shown = dataset("crowd", "unseen", count, people=people, frames=250)
    return [[film.at(t=FIRST + HOP * i) for i in range(FRAMES)] for film in shown]


def even(image: Any, network: str, size: int) -> Found:
    """A detector on an evenly downsampled frame, boxes in level-0 pixels."""
    view = image.view()
    grid = WarpGrid.identity(view.box, output_size(view, size))
    return detect(network, sample(view, grid, "fair"), top=salisa.MOST).to_image(grid)


def followed(images: list[Any], s: salisa.Settings) -> tuple[list[Found], list[bool]]:
    """SALISA over a film: what it finds, and which frames the heavy detector answered."""
    found, heavy = [], []
    before = np.zeros((0, 4))
    views = [ImageView(image) for image in images]
    for k, view in enumerate(views):
        looked = salisa.look(view, s) if salisa.is_reset(k, s) else None
        seen = salisa.follow(view, before, s, views[max(k - 1, 0)], looked)
        before = salisa.known_after(seen)
        assert seen.found is not None
        found.append(seen.found)
        heavy.append(seen.heavy)
    return found, heavy


def sized_for(flops: float, frame: Any) -> int:
    """Longer side at which the light detector on an even frame costs `flops`."""
    sides = range(SIZE, FULL + 1, 32)
    return min(
        sides,
        key=lambda side: abs(salisa.network_flops(salisa.LIGHT, output_size(frame.view(), side)) - flops),
    )  # fmt: skip


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row an arm: AP at IoU 0.5 with its 95 % interval over films, small people apart, cost a frame."""
    return [row for people in CROWDS for row in _rows(people, 1 if quick else 4)]


def _rows(people: int, count: int) -> list[dict[str, Any]]:
    shown = films(people, count)
    frame = shown[0][0]
    truth = [[wanted(image.view(), salisa.CLASSES) for image in film] for film in shown]
    for film in shown:  # rendering is not what is measured
        for image in film:
            image.rgb(image.box, (image.height, image.width))
    small, full = output_size(frame.view(), SIZE), output_size(frame.view(), FULL)
    light, heavy = (
        salisa.network_flops(name, size)
        for name, size in ((salisa.LIGHT, small), (salisa.HEAVY, full))
    )
    mean8 = (heavy + 7 * light) / 8
    equal = sized_for(mean8, frame)
    out = []

    def row(arm: str, size: int, found: list[list[Found]], chosen: list[list[bool]], flops: float,
            clock: float, network: str, pixels: float) -> None:  # fmt: skip
        parts = [
            ([f for f, c in zip(fs, cs, strict=True) if c], [w for w, c in zip(ws, cs, strict=True) if c])
            for fs, ws, cs in zip(found, truth, chosen, strict=True)
        ]  # fmt: skip
        each = [judge(f, w)["ap50"] for f, w in parts]
        pooled_found: list[Found] = [f for fs, _ in parts for f in fs]
        pooled_truth: list[Wanted] = [w for _, ws in parts for w in ws]
        told = judge(pooled_found, pooled_truth)
        shape = output_size(frame.view(), size)
        out.append(
            {"task": f"crowd of {people}", "arm": f"{people} people: {arm}", "size": size, "images": len(pooled_found),
             **{k: told[k] for k in ("ap50", "small_ap50", "recall", "small_recall", "false_positives")},
             "spread": 1.96 * float(np.std(each, ddof=1)) / len(each) ** 0.5 if len(each) > 1 else None,
             "flops": flops, "network_memory": nets.predicted_memory(network, (1, 3, *shape)),
             "pixels_read": pixels, "seconds": clock}
        )  # fmt: skip

    every = [[True] * FRAMES for _ in shown]
    for arm, network, size, flops in (
        ("light detector, even frames", salisa.LIGHT, SIZE, light),
        ("light detector, even frames at SALISA's FLOPs", salisa.LIGHT, equal, None),
        ("heavy detector on every frame", salisa.HEAVY, FULL, heavy),
    ):
        reads, clock = _requested(shown), time.perf_counter()
        found = [[even(image, network, size) for image in film] for film in shown]
        seconds = (time.perf_counter() - clock) / (FRAMES * len(shown))
        pixels = (_requested(shown) - reads) / (FRAMES * len(shown))
        cost = flops or salisa.network_flops(network, output_size(frame.view(), size))
        row(arm, size, found, every, cost, seconds, network, pixels)
    for arm, s in ARMS.items():
        current().check()
        reads, clock = _requested(shown), time.perf_counter()
        runs = [followed(film, s) for film in shown]
        seconds = (time.perf_counter() - clock) / (FRAMES * len(shown))
        pixels = (_requested(shown) - reads) / (FRAMES * len(shown))
        found, by_heavy = [f for f, _ in runs], [h for _, h in runs]
        share = float(np.mean([h for hs in by_heavy for h in hs]))
        flops = share * heavy + (1 - share) * light
        network, size = (salisa.HEAVY, FULL) if share else (salisa.LIGHT, SIZE)
        row(arm, size if share else SIZE, found, every, flops, seconds, network, pixels)
        if share:
            between = [[not h for h in hs] for hs in by_heavy]
            row(
                f"{arm}: between resets", SIZE, found, between, light, seconds, salisa.LIGHT, pixels
            )
    return out


def _requested(shown: list[list[Any]]) -> float:
    return float(sum(sum(image.reads.requested.values()) for film in shown for image in film))

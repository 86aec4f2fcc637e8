"""Trains SALISA's two detectors of people (`crowd-detector-light`, `crowd-detector-heavy`).

The heavy one sees parts of frames of two sizes, downsampled by up to 3 or enlarged by up to 2: REMIX
gives it blocks of any size, and windows of houses, as wide as a person there, must be known at all of
them. The light one sees a third of it, 512 px across, half of
its pictures evenly downsampled by a factor of 1.5 to 4, half warped by a thin-plate zoom like SALISA's
around true boxes (jittered, some left out, as its own detections will be; weaker and stronger than
SALISA's own), so that it knows warped people. Frames are those of films of the crowd, split 'train'.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.methods.detection import Found, judge, wanted
from hrviz.training.road_detector import fit

CLASSES = ("person",)
FILMS, FRAMES = 36, (0, 120)
CROWDS = (100, 200, 300)  # people
HEIGHT, WIDTH = 1024, 1536
LARGE = 2160, 3840
LIGHT_SIZE = 512
SCALES = (1.5, 4.0)  # downsamples of the light detector's even pictures
JUDGED = 6  # held-out films, two frames each
RATE = 2e-3
WARP_NODES = 31
SMALL_SHARE = 0.005  # nearly everybody counts as small: stronger warps than SALISA's own
LEAST = 2.0  # px: people of a smaller side (root of the area) are not taught, nobody could see them


@dataclass(frozen=True)
class Recipe:
    """What differs between the two."""

    widths: tuple[int, ...]
    blocks: int
    crop: int
    batch: int
    steps: int
    crowds: tuple[int, ...]
    films: int = FILMS
    large: int = 0  # frames of `LARGE` size besides
    scales: tuple[float, float] | None = None  # downsamples of the parts; None: as the pictures are


RECIPES = {
    "crowd-detector-light": Recipe((12, 24, 32, 48, 64), 1, 256, 8, 1100, (20, *CROWDS)),
    "crowd-detector-heavy": Recipe(
        (16, 32, 48, 64), 2, 288, 4, 1000, CROWDS, films=24, large=12, scales=(0.45, 3.0)
    ),
}


@dataclass(frozen=True)
class Shown:
    """A picture and its people: uint8 (h, w, 3), boxes (n, 4) in its own pixels."""

    pixels: np.ndarray
    boxes: np.ndarray


def frames(
    split: str, films: int, crowds: tuple[int, ...], report: Callable[[str], None]
) -> list[Any]:
    """Images at a few times of films of a split, with few and many people in turn."""
    from hrviz.scenes import dataset

    sets = [dataset("crowd", split, films, people=n, frames=250) for n in crowds]  # type: ignore[arg-type]
    out = [film.at(t=t) for k in range(films) for film in [sets[k % len(sets)][k]] for t in FRAMES]
    report(f"{split}: {len(out)} frames")
    return out


def large_frames(count: int) -> list[Any]:
    """Frames of `LARGE` size at one time of as many films, on which nothing else is trained."""
    from hrviz.scenes import dataset

    size = {"height": LARGE[0], "width": LARGE[1], "frames": 250}
    sets = [dataset("crowd", "train", FILMS + count, people=n, **size) for n in CROWDS]
    return [sets[k % len(sets)][FILMS + k].at(t=FRAMES[k % 2]) for k in range(count)]


def people(view: Any) -> np.ndarray:
    """True boxes of everybody in a view, (n, 4), those mostly cut off left out."""
    truth = wanted(view, CLASSES)
    return truth.boxes[~truth.ignored]


def zoomed(view: Any, rng: np.random.Generator, boxes: np.ndarray) -> Any:
    """SALISA's zoom around jittered true boxes, up to half of them missing."""
    from hrviz.methods.downsampling.sources import adjust
    from hrviz.methods.downsampling.tps_zoom import size_saliency, tps_zoom
    from hrviz.methods.downsampling.warp import node_counts

    kept = boxes[rng.random(len(boxes)) > rng.uniform(0, 0.5)]
    side = np.tile(kept[:, 2:] - kept[:, :2], 2)
    kept = kept + side * rng.normal(0, 0.15, (len(kept), 1))
    saliency = size_saliency(
        kept, view.box, node_counts(view, WARP_NODES), rng.uniform(0.005, 0.03), SMALL_SHARE
    )
    saliency = adjust(saliency, 1.0, float(rng.uniform(0.1, 0.4)))
    points = node_counts(view, int(rng.integers(10, 17)))
    return tps_zoom(saliency, float(rng.uniform(3, 6)), points, view.box, view.fit(LIGHT_SIZE))


def light_pictures(
    views: list[Any], rng: np.random.Generator, report: Callable[[str], None]
) -> list[Shown]:
    """Two pictures of every frame: evenly downsampled, and warped."""
    from hrviz.methods.downsampling.sampler import sample

    out = []
    for k, view in enumerate(views):
        boxes = people(view)
        size = view.fit(round(max(view.height, view.width) / np.exp(rng.uniform(*np.log(SCALES)))))
        scale = np.array(size) / (view.height, view.width)
        pixels = np.rint(view.read(size) * 255).astype(np.uint8)
        out.append(Shown(pixels, boxes * np.tile(scale, 2)))
        zoom = zoomed(view, rng, boxes)
        pixels = np.rint(sample(view, zoom.grid, "fair") * 255).astype(np.uint8)
        at = zoom.boxes_to_output(boxes)
        out.append(Shown(pixels, at[np.isfinite(at).all(1)]))
        if (k + 1) % 20 == 0:
            report(f"{k + 1} of {len(views)} frames")
    return out


def crop(shown: Shown, rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A square part of a picture, mirrored half of the time: where people are, mostly."""
    h, w = shown.pixels.shape[:2]
    span = np.minimum(side, (h, w))
    corner = rng.random(2) * (np.array([h, w]) - span)
    if len(shown.boxes) and rng.random() < 0.8:
        box = shown.boxes[rng.integers(len(shown.boxes))]
        corner = (box[:2] + box[2:]) / 2 - span * rng.uniform(0.1, 0.9, 2)
    y, x = np.clip(corner, 0, np.array([h, w]) - span).astype(int)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[: span[0], : span[1]] = shown.pixels[y : y + span[0], x : x + span[1]]
    seen = np.prod(shown.boxes[:, 2:] - shown.boxes[:, :2], 1) >= LEAST**2
    boxes = shown.boxes[seen] - [y, x, y, x]
    cut = boxes.clip(0, np.tile(span, 2))
    boxes = cut[np.prod(cut[:, 2:] - cut[:, :2], 1) > 0.5 * np.prod(boxes[:, 2:] - boxes[:, :2], 1)]
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
        boxes = np.stack([boxes[:, 0], side - boxes[:, 3], boxes[:, 2], side - boxes[:, 1]], 1)
    return pixels, boxes


def scaled(
    shown: Shown, rng: np.random.Generator, side: int, scales: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """A square part downsampled by a factor out of `scales` (below 1: enlarged), as images are read.

    Half are around a person, the others anywhere, so that houses are learned too; mirrored half of
    the time.
    """
    from hrviz.image.resample import resample

    span = min(side * float(np.exp(rng.uniform(*np.log(scales)))), *shown.pixels.shape[:2])
    room = np.array(shown.pixels.shape[:2]) - span
    corner = rng.random(2) * room
    if len(shown.boxes) and rng.random() < 0.5:
        box = shown.boxes[rng.integers(len(shown.boxes))]
        corner = np.clip((box[:2] + box[2:]) / 2 - span * rng.uniform(0.1, 0.9, 2), 0, room)
    low, high = corner.astype(int), np.ceil(corner + span).astype(int)
    window = shown.pixels[low[0] : high[0], low[1] : high[1]]
    rows, columns = ((float(a), float(a + span)) for a in corner - low)
    part = Shown(
        resample(window, rows, columns, (side, side)),
        (shown.boxes - np.tile(corner, 2)) * (side / span),
    )
    return crop(part, rng, side)


def train(
    name: str, *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train one of the two, judge on held-out films, write weights and card."""
    import torch

    from hrviz.nets.detector import SmallDetector

    recipe = RECIPES[name]
    light = name == "crowd-detector-light"
    steps = steps or recipe.steps
    quick = steps <= 50
    clock = time.perf_counter()
    rng = np.random.default_rng(seed + 1)
    films = 2 if quick else recipe.films
    views = [image.view() for image in frames("train", films, recipe.crowds, report)]
    if light:
        shown = light_pictures(views, rng, report)
    else:
        large = [image.view() for image in large_frames(2 if quick else recipe.large)]
        shown = [
            Shown(v.image.rgb(v.box, (int(v.height), int(v.width))), people(v))
            for v in views + large
        ]
    report(f"{len(shown)} pictures after {time.perf_counter() - clock:.0f} s")
    torch.manual_seed(seed)
    net = SmallDetector(1, recipe.widths, recipe.blocks)

    def batch() -> tuple[np.ndarray, Any]:
        drawn = []
        for _ in range(recipe.batch):
            one = shown[int(rng.integers(len(shown)))]
            drawn.append(
                scaled(one, rng, recipe.crop, recipe.scales)
                if recipe.scales
                else crop(one, rng, recipe.crop)
            )
        targets = [
            net.targets(boxes, np.zeros(len(boxes), int), (recipe.crop,) * 2) for _, boxes in drawn
        ]
        return np.stack([pixels for pixels, _ in drawn]), torch.stack(targets)

    fit(net, batch, steps, RATE, rng, report)
    told = (
        "evenly at downsample 1.5-4, and by SALISA's zoom around true boxes"
        if light
        else f"and {recipe.large} of {LARGE[1]} x {LARGE[0]} px, all at downsample 0.45-3"
    )
    facts = {
        "name": name,
        "architecture": "hrviz.nets.detector.SmallDetector",
        "config": {"classes": 1, "widths": list(recipe.widths), "blocks": recipe.blocks},
        "classes": list(CLASSES),
        "task": "people in procedural pictures of a square (drawn figures: not for people)",
        "data": f"crops of {recipe.crop} px of {len(views)} frames of {WIDTH} x {HEIGHT} px, scene:crowd split train, {told}",
        "training": "AdamW, one-cycle; focal loss of centres, L1 of log sizes and offsets",
        "stands_for": "EfficientDet of SALISA (a compact detector without anchors instead)",
        "seed": seed,
        "steps": steps,
        "batch": recipe.batch,
        "seconds": round(time.perf_counter() - clock),
        "held_out": held_out(net, light, report, quick),
        "command": f"hrviz train {name} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save(name, net, facts)
    return facts


def held_out(net: Any, light: bool, report: Callable[[str], None], quick: bool) -> dict[str, Any]:
    """Average precision on held-out films, small (below 32 px) and medium people apart.

    The light detector on even and on warped pictures of 512 px (boxes of the truth, which SALISA
    does not have), the heavy one at full resolution.
    """
    from hrviz.methods.downsampling.sampler import sample
    from hrviz.results import WarpGrid

    views = [image.view() for image in frames("held-out", 1 if quick else JUDGED, CROWDS, report)]
    truth = [wanted(view, CLASSES) for view in views]
    rng = np.random.default_rng(9)
    arms: dict[str, list[Found]] = {}
    for view in views:
        if light:
            even = WarpGrid.identity(view.box, view.fit(LIGHT_SIZE))
            zoom = zoomed(view, rng, people(view))
            for arm, grid, carry in (
                ("uniform_512_px", even, even.boxes_to_image),
                ("zoomed_512_px", zoom.grid, zoom.boxes_to_image),
            ):
                boxes, scores, labels = people_in(net, sample(view, grid, "fair"))
                arms.setdefault(arm, []).append(Found(carry(boxes), scores, labels))
        else:
            pixels = view.read((HEIGHT, WIDTH))
            arms.setdefault("full", []).append(people_in(net, pixels))
    out: dict[str, Any] = {"frames": len(views)}
    for arm, found in arms.items():
        out |= rounded(judge(found, truth), arm)
    report(str(out))
    return out


def rounded(values: dict[str, float], arm: str) -> dict[str, float]:
    """The card's numbers of one arm."""
    names = ("ap50", "small_ap50", "medium_ap50", "small_recall", "false_positives")
    return {f"{arm}_{n}": round(values[n], 4) for n in names if n in values}


def people_in(net: Any, pixels: np.ndarray) -> Found:
    """What a detector at hand finds in a picture, boxes in its pixels."""
    import torch

    from hrviz.nets.detector import decode

    with torch.no_grad():
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None])
        return Found(*decode(net(batch), top=400)[0])

"""Detection: the networks that methods share, and how boxes are judged against a scene's truth.

Average precision is that of COCO's rules (matching by score, one truth each, objects out of a size
range ignored) with the area under the whole precision envelope (all-point interpolation) instead of
101 samples of it. On one image it is noisy: benchmarks pool images with `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hrviz import nets
from hrviz.boxes import areas, iou
from hrviz.context import current
from hrviz.cost.declared import Call
from hrviz.image import ImageView
from hrviz.results import Boxes, Prediction, Step, WarpGrid

SHOWN = 0.3  # least score of boxes that are shown, and count for recall and false positives
FAINT = 0.05  # least score that average precision still ranks
THRESHOLDS = tuple(np.arange(0.5, 1.0, 0.05).round(2).tolist())
#: side (root of the box's area) in level-0 pixels, as COCO has it for its photographs
SMALL, LARGE = 32.0, 96.0
RANGES = {"small": (0.0, SMALL), "medium": (SMALL, LARGE), "large": (LARGE, np.inf)}
VISIBLE = 0.5  # objects with less of their area in the region are neither wanted nor wrong


@dataclass(frozen=True)
class Detector:
    """A detection task: which network, and the names of its classes as a scene's truth has them."""

    network: str
    classes: tuple[str, ...]
    thing: str

    @property
    def badge(self) -> str:
        return f"trained: {self.network}"


DETECTORS = {
    "sign detection": Detector(
        "road-detector",
        ("speed limit 50", "speed limit 70", "speed limit 80", "other sign", "car"),
        "signs and cars",
    ),
    "person detection": Detector("crowd-detector-light", ("person",), "people"),
}


def calls(
    task: str, size: tuple[int, int], times: float = 1.0, *, network: str = "", trained: bool = True
) -> list[Call]:
    """What detecting in pictures of `size`, one by one, calls, for a cost model.

    Parameters
    ----------
    task : str
        A key of `DETECTORS`; 'automatic' is its first. Others call nothing.
    size : (int, int)
    times : float
    network : str
        In place of the task's own.
    trained : bool
        Whether a training step goes through it.
    """
    aim = next(iter(DETECTORS)) if task == "automatic" else task
    if aim not in DETECTORS:
        return []
    own = network or DETECTORS[aim].network
    return [Call(own, (1, 3, *size), times, task=True, trained=trained)]


class Found(NamedTuple):
    """Objects: boxes float64 (n, 4) as (y0, x0, y1, x1), scores (n,), classes from 0 int64 (n,)."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def at_least(self, score: float) -> Found:
        """Those with at least this score."""
        chosen = self.scores >= score
        return Found(self.boxes[chosen], self.scores[chosen], self.labels[chosen])

    def to_image(self, grid: WarpGrid) -> Found:
        """Found on a warped picture, carried to the image (the map itself: nothing is inverted)."""
        return Found(grid.boxes_to_image(self.boxes), self.scores, self.labels)

    def result(self, classes: tuple[str, ...], source: str) -> Boxes:
        """Those worth showing, as a result; boxes in level-0 pixels of the image."""
        shown = self.at_least(SHOWN)
        return Boxes(shown.boxes, shown.scores, shown.labels, classes, source)


class Wanted(NamedTuple):
    """True objects: boxes (n, 4), classes (n,), and which of them are not judged (mostly cut off)."""

    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray


def detect(network: str, pixels: np.ndarray, threshold: float = FAINT, top: int = 300) -> Found:
    """Objects in a picture, by a trained `hrviz.nets.detector.SmallDetector`.

    Parameters
    ----------
    network : str
        Name of its weights.
    pixels : ndarray float32, (h, w, 3), in 0..1
    threshold : float
        Least score.
    top : int
        At most as many.

    Returns
    -------
    Found
        Boxes in pixels of the picture, cut to it, best first.
    """
    import torch

    from hrviz.nets.detector import decode

    h, w = pixels.shape[:2]
    current().add("network_pixels", h * w)
    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None])
    boxes, scores, labels = decode(nets.run(network, batch), top, threshold)[0]
    return within(Found(boxes, scores, labels), (0, 0, h, w))


def within(found: Found, box: Sequence[float]) -> Found:
    """Boxes cut to `box`; those wholly outside are dropped."""
    cut = found.boxes.clip([box[0], box[1]] * 2, [box[2], box[3]] * 2)
    kept = areas(cut) > 0
    return Found(cut[kept], found.scores[kept], found.labels[kept])


def wanted(view: ImageView, classes: tuple[str, ...]) -> Wanted:
    """The truth's objects of these classes in a view's region, cut to it, level-0 pixels."""
    truth = view.truth.boxes(view.box)
    index = np.array(
        [classes.index(n) if (n := truth.names[int(k)]) in classes else -1 for k in truth.classes],
        np.int64,
    )
    boxes, index = truth.boxes[index >= 0], index[index >= 0]
    low, high = view.box[:2], view.box[2:]
    cut = boxes.clip([*low, *low], [*high, *high])
    return Wanted(cut, index, areas(cut) < VISIBLE * areas(boxes))


def average_precision(
    found: Sequence[Found],
    truth: Sequence[Wanted],
    threshold: float = 0.5,
    sides: tuple[float, float] = (0.0, np.inf),
) -> float:
    """Mean over the classes that occur of the area under the precision-recall envelope.

    Parameters
    ----------
    found, truth : sequences
        One entry an image, boxes in the same coordinates.
    threshold : float
        Least IoU of a hit.
    sides : (float, float)
        Judge only objects whose side (root of the area) is in this half-open range; others are
        ignored, and so are boxes of other sizes that hit nothing.

    Returns
    -------
    float
        0 to 1; NaN when nothing is to be found.
    """
    kinds = sorted({int(k) for t in truth for k in t.labels})
    each = [_precision(found, truth, k, threshold, sides) for k in kinds]
    each = [ap for ap in each if ap == ap]
    return float(np.mean(each)) if each else float("nan")


def _precision(
    found: Sequence[Found],
    truth: Sequence[Wanted],
    kind: int,
    threshold: float,
    sides: tuple[float, float],
) -> float:
    """Average precision of one class."""
    scores, hits, count = [], [], 0
    for one, true in zip(found, truth, strict=True):
        hit, judged, wants = match(one, true, kind, threshold, sides)
        chosen = one.labels == kind
        scores.append(one.scores[chosen][judged])
        hits.append(hit[judged])
        count += int(wants.sum())
    if not count:
        return float("nan")
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order]
    right = np.cumsum(hit)
    precision = right / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hit).sum() / count)


def match(
    found: Found, truth: Wanted, kind: int, threshold: float, sides: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which boxes of one class hit, which count at all, and which true objects were wanted.

    Best score first, each takes the truth it overlaps most, wanted ones before ignored ones.

    Returns
    -------
    hit, judged : ndarray bool, (boxes of the class,)
    wants : ndarray bool, (true objects of the class,)
    """
    boxes, scores = found.boxes[found.labels == kind], found.scores[found.labels == kind]
    mine = truth.labels == kind
    true = truth.boxes[mine]
    inside = _inside(true, sides) & ~truth.ignored[mine]
    hit, judged = np.zeros(len(boxes), bool), np.ones(len(boxes), bool)
    free = np.ones(len(true), bool)
    for k in np.argsort(-scores, kind="stable"):
        common = iou(boxes[k : k + 1], true)[0]  # a row at a time: crowds have 100,000 people
        near = np.flatnonzero(free & (common >= threshold))
        if len(near):
            best = near[np.lexsort((common[near], inside[near]))[-1]]
            free[best] = False
            hit[k] = judged[k] = inside[best]
        else:
            judged[k] = _inside(boxes[k : k + 1], sides)[0]
    return hit, judged, inside


def _inside(boxes: np.ndarray, sides: tuple[float, float]) -> np.ndarray:
    side = np.sqrt(areas(boxes))
    return np.asarray((side >= sides[0]) & (side < sides[1]))


def judge(found: Sequence[Found], truth: Sequence[Wanted]) -> dict[str, float]:
    """All numbers of a detector on a pool of images; those without any object to find are left out.

    Returns
    -------
    dict
        objects; ap50 and ap (mean over IoU 0.5 to 0.95); recall and false_positives (an image) of
        boxes with a score of at least `SHOWN`, at IoU 0.5 and with the right class; small_objects,
        small_ap50, small_recall, and medium_ap50, large_ap50 (`RANGES`, level-0 px).
    """
    values = {"objects": float(sum((~t.ignored).sum() for t in truth))}
    values["ap50"] = average_precision(found, truth)
    values["ap"] = float(np.mean([average_precision(found, truth, t) for t in THRESHOLDS]))
    sure = [one.at_least(SHOWN) for one in found]
    hits, wants, wrong = _counts(sure, truth, (0.0, np.inf))
    values["recall"] = hits / wants if wants else np.nan
    values["false_positives"] = wrong / len(found)
    hits, wants, _ = _counts(sure, truth, RANGES["small"])
    values |= {"small_objects": wants, "small_recall": hits / wants if wants else np.nan}
    for name, sides in RANGES.items():
        values[f"{name}_ap50"] = average_precision(found, truth, sides=sides)
    return {k: float(v) for k, v in values.items() if v == v}


def _counts(
    found: Sequence[Found], truth: Sequence[Wanted], sides: tuple[float, float]
) -> tuple[int, int, int]:
    """Hits, wanted objects, and boxes that hit nothing."""
    out = np.zeros(3, int)
    for one, true in zip(found, truth, strict=True):
        for kind in {*one.labels.tolist(), *true.labels.tolist()}:
            hit, judged, wants = match(one, true, int(kind), 0.5, sides)
            out += hit.sum(), wants.sum(), (judged & ~hit).sum()
    return int(out[0]), int(out[1]), int(out[2])


def score(view: ImageView, found: Found, task: str, source: str = "") -> Iterator[Step]:
    """The 'score' step, where the image has truth: precision and recall, small objects apart.

    Parameters
    ----------
    view : ImageView
    found : Found
        Boxes in level-0 pixels, down to the faintest.
    task : str
        A key of `DETECTORS`.
    source : str
        Badge; default that of the task's network.
    """
    truth: Any = view.truth
    if truth is None:
        return
    asked = DETECTORS[task]
    badge = source or asked.badge
    if not {*asked.classes} & {*truth.objects.values()}:
        values = {"false_positives": float(len(found.at_least(SHOWN).scores))}
        told = f"This scene knows no {asked.thing}, so all that is found is a false alarm: set task to none."
        yield Step("score", Prediction(values, source=badge), told)
        return
    values = judge([found], [wanted(view, asked.classes)])
    note = (
        f"Against the scene's truth at IoU 0.5; recall and false positives at a score of {SHOWN:g}; "
        f"small is below {SMALL:g} px. One image is a noisy sample."
    )
    yield Step("score", Prediction(values, source=badge), note)

"""The tasks that methods serve, and how segmentation is judged against a scene's truth.

Every method ends with the same two steps: what the task network makes of the method's output, in
image coordinates, and how that compares with the scene's truth. So their difference is the method's.
Which task an image is for, its truth tells (`resolve`). Segmentation is here, detection in
`hrviz.methods.detection`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Call
from hrviz.image import ImageView
from hrviz.results import HeatMap, Prediction, Step

RASTER = 1024  # judged on at most this many pixels a side
SMALL_UM = 200.0  # isolated tumour cells and clusters below 0.2 mm count as small lesions
THIN = 1 / 256  # of the picture's shorter side: vessels below 50 um in an eye of 13 mm are thin
SMALLEST_INPUT = 16

#: task -> what an image's truth must know for the task to have a sense: a kind of object, a class of
#: the mask, or a label of the whole image
NEEDS = {
    "tumour segmentation": "tumour nest",
    "vessel segmentation": "artery",
    "lesion classification": "polyp",
    "sign detection": "car",
    "speed limit": "speed-limit sign",
    "person detection": "person",
    "slide label": "tumour nest",
    "cell search": "cell",
    "digit classification": "digit 3",
}


@dataclass(frozen=True)
class Segmentation:
    """A segmentation task: which network, and what its map means."""

    network: str
    label: str
    thing: str

    @property
    def badge(self) -> str:
        return f"trained: {self.network}"


SEGMENTATIONS = {
    "tumour segmentation": Segmentation("tissue-segmenter", "tumour probability", "tumour"),
    "vessel segmentation": Segmentation("vessel-segmenter", "vessel probability", "vessels"),
}
BADGE = SEGMENTATIONS["tumour segmentation"].badge


def fits(task: str, truth: Any) -> bool:
    """Whether a task has a sense on an image: its truth knows the target, or there is no truth."""
    if truth is None:
        return True
    known = (*truth.objects.values(), *truth.classes.values(), *truth.labels)
    return NEEDS[task] in known


def resolve(task: str, truth: Any, among: Sequence[str] = tuple(SEGMENTATIONS)) -> str:
    """The task itself; for 'automatic' the first of `among` that fits the truth, else 'none'."""
    if task != "automatic":
        return task
    return next((name for name in among if fits(name, truth)), "none")


def any_fits(method: Any, truth: Any) -> bool:
    """Whether any of a method's choices of task has a sense on an image."""
    choices = next((p.choices for p in method.params if p.name == "task"), ())
    return any(name in NEEDS and fits(name, truth) for name in choices)


def calls(task: str, size: tuple[int, int], batch: int = 1, times: float = 1.0) -> list[Call]:
    """What segmenting pictures of `size` calls, for a cost model; 'automatic' is tumour segmentation."""
    aim = next(iter(SEGMENTATIONS)) if task == "automatic" else task
    if aim not in SEGMENTATIONS:
        return []
    h, w = (max(SMALLEST_INPUT, n) for n in size)
    return [Call(SEGMENTATIONS[aim].network, (batch, 3, h, w), times, task=True)]


def suits(truth: Any) -> bool:
    """Whether tumour can be looked for: the truth has it, or there is none to know."""
    return fits("tumour segmentation", truth)


def segment(batch: np.ndarray, task: str = "tumour segmentation") -> np.ndarray:
    """Probability of a task's target in pictures, by its trained segmenter.

    Parameters
    ----------
    batch : ndarray float32, (n, h, w, 3), in 0..1

    Returns
    -------
    ndarray float32, (n, ceil(h/2), ceil(w/2)), in 0..1
    """
    import torch

    n, h, w, _ = batch.shape
    current().add("network_pixels", n * h * w)
    short = max(0, SMALLEST_INPUT - h), max(0, SMALLEST_INPUT - w)
    padded = np.pad(batch, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), mode="edge")
    logits = nets.run(
        SEGMENTATIONS[task].network, torch.from_numpy(padded).permute(0, 3, 1, 2).contiguous()
    )
    probability = torch.sigmoid(logits[:, 0]).numpy()
    return np.ascontiguousarray(probability[:, : -(-h // 2), : -(-w // 2)])


def score(
    view: ImageView, probability: HeatMap, task: str = "tumour segmentation"
) -> Iterator[Step]:
    """The 'score' step, where the image has truth: IoU, and what each task asks besides.

    IoU is taken on a raster of the region of at most 1024 px a side. A lesion is found when more
    than half of its own pixels (24 x 24 points over its box) are predicted tumour; lesions cut by
    the region's border count with the part inside. Of vessels (arteries and veins alike) Dice is
    given too, and the recall of thin ones: the share found of the true vessel pixels into which a
    disc of 1/256 of the picture's shorter side does not fit (`thin`). A scene without the target
    has false alarms only.
    """
    truth = view.truth
    if truth is None:
        return
    size = view.fit(min(RASTER, int(max(view.height, view.width, 1))))
    judged, asked = fits(task, truth), SEGMENTATIONS[task]
    mask = truth.mask(view.box, size) > 0 if judged else np.zeros(size, bool)
    y = view.box.y0 + (np.arange(size[0]) + 0.5) * view.height / size[0]
    x = view.box.x0 + (np.arange(size[1]) + 0.5) * view.width / size[1]
    points = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    predicted = probability.at(points).reshape(size) > 0.5
    if not judged:
        share = {"false_positive_share": float(predicted.mean())}
        told = f"This scene has no {asked.thing}, so all that is found is a false alarm: set task to none."
        yield Step("score", Prediction(share, source=asked.badge), told)
        return
    union = (mask | predicted).sum()
    values = {"iou": float((mask & predicted).sum() / union) if union else 1.0}
    if task == "tumour segmentation":
        values |= _lesions(view, probability)
    elif task == "vessel segmentation":
        values |= _vessels(view, mask, predicted)
    values["false_positive_share"] = float((predicted & ~mask).mean())
    note = f"Against the scene's truth, on {size[1]} x {size[0]} points of the region."
    yield Step("score", Prediction(values, source=asked.badge), note)


def _vessels(view: ImageView, mask: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Dice of all vessels and recall of thin ones, on a raster of the region."""
    found = mask & predicted
    total = mask.sum() + predicted.sum()
    values = {"dice": float(2 * found.sum() / total) if total else 1.0}
    pixel = max(view.height / mask.shape[0], view.width / mask.shape[1])
    narrow = thin(mask, min(view.image.height, view.image.width) * THIN / pixel)
    if narrow.any():
        values["thin_share"] = float(narrow.sum() / mask.sum())
        values["thin_recall"] = float(found[narrow].mean())
    return values


def thin(mask: np.ndarray, width: float) -> np.ndarray:
    """Pixels of a mask into which no disc of diameter `width` (in pixels) fits: its thin parts.

    What the morphological opening with that disc takes away. A pixel's outline counts as half a
    pixel from its centre, so a bar of n pixels holds discs of up to n. Beyond the raster the mask
    goes on as at its rim, so that vessels cut by it keep their width.

    Examples
    --------
    >>> thin(np.array([[0, 1, 0, 1, 1, 1, 0]] * 9, bool), 2.5)[4].astype(int).tolist()
    [0, 1, 0, 0, 0, 0, 0]
    """
    from scipy import ndimage

    reach = int(np.ceil(width)) + 1
    padded = np.pad(mask, reach, mode="edge")
    middle = ndimage.distance_transform_edt(padded) >= width / 2 + 0.5 - 1e-9
    if middle.any():
        wide = ndimage.distance_transform_edt(~middle) < width / 2 + 0.5
        padded &= ~wide
    return np.asarray(padded[reach:-reach, reach:-reach])


def _lesions(view: ImageView, probability: HeatMap) -> dict[str, float]:
    """Recall of tumour lesions, and of small ones apart, where there are any."""
    boxes, areas = view.truth.lesions(view.box)
    values: dict[str, float] = {}
    found = np.array([_found(view, probability, box) for box in boxes])
    known = np.array([f is not None for f in found], bool)
    if known.any():
        hit, area = np.array([bool(f) for f in found[known]]), np.asarray(areas)[known]
        small = area < np.pi / 4 * (SMALL_UM / (view.pixel_size or 0.25)) ** 2
        values |= {"lesions": float(hit.size), "lesion_recall": float(hit.mean())}
        if small.any():
            values |= {
                "small_lesions": float(small.sum()),
                "small_lesion_recall": float(hit[small].mean()),
            }
    return values


def _found(view: ImageView, probability: HeatMap, box: np.ndarray) -> bool | None:
    """Whether a lesion is predicted; None when none of it lies in the region."""
    from hrviz.geometry import Box

    inside = Box(*box).intersect(view.box)
    if inside.area <= 0:
        return None
    own = view.truth.mask(inside, (24, 24)) > 0
    if not own.any():
        return None
    y = inside.y0 + (np.arange(24) + 0.5) * inside.height / 24
    x = inside.x0 + (np.arange(24) + 0.5) * inside.width / 24
    at = np.stack(np.meshgrid(y, x, indexing="ij"), -1)[own]
    return bool((probability.at(at) > 0.5).mean() > 0.5)

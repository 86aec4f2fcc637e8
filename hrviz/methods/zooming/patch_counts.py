"""Where GigaDet's counts come from: its network, the scene's truth, or edge energy in their place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.errors import HrvizError
from hrviz.image import ImageView
from hrviz.methods.detection import DETECTORS, wanted
from hrviz.methods.zooming.patch_generation import SCALES, STRATEGIES, Candidates, Strategy

NETWORK = "gigadet-counts"
PERSON = DETECTORS["person detection"].classes


class Counts(NamedTuple):
    """What each candidate holds.

    Attributes
    ----------
    counts : ndarray float64, (scales, rows, columns)
    density : ndarray float64, (rows, columns)
        Objects a cell: the 'IOU' counts of the finest candidates, which tile the thumbnail.
    source : str
        Badge.
    unit : str
    """

    counts: np.ndarray
    density: np.ndarray
    source: str
    unit: str = "objects"


def patch_counts(
    view: ImageView, pixels: np.ndarray, candidates: Candidates, strategy: Strategy, source: str
) -> Counts:
    """Counts of all candidates of a thumbnail.

    Parameters
    ----------
    view : ImageView
    pixels : ndarray float32, (h, w, 3)
        The view's thumbnail, of the candidates' size.
    source : {'trained', 'truth', 'edges'}

    Raises
    ------
    HrvizError
        'truth' where the image has no true boxes or points.
    """
    if source == "trained":
        return _trained(pixels, candidates, strategy)
    if source == "edges":
        return _edges(pixels, candidates)
    boxes = true_boxes(view)
    if boxes is None:
        raise HrvizError(
            f"{view.image.name} has no true objects to count: choose counts from 'trained' or 'edges'"
        )
    scale = np.tile(np.array(candidates.size) / (view.height, view.width), 2)
    local = (boxes - np.tile(view.box[:2], 2)) * scale
    finest = Candidates(candidates.size, (1,))
    return Counts(
        candidates.counts(local, strategy), finest.counts(local, "IOU")[0], "oracle: the scene's truth"
    )  # fmt: skip


def fallback(view: ImageView) -> str:
    """What stands in for the network where none may run: the truth, or edges where it has no objects."""
    return "truth" if _countable(view.truth) else "edges"


def _countable(truth: Any) -> bool:
    return truth is not None and bool({"boxes", "points"} & truth.knows)


def true_boxes(view: ImageView) -> np.ndarray | None:
    """True objects more than half inside the view, level-0 px (n, 4): people where there are any.

    Points count as boxes of one pixel. None where the image knows neither.
    """
    truth = view.truth
    if not _countable(truth):
        return None
    if "boxes" not in truth.knows:
        points, _ = truth.points(view.box)
        return np.concatenate([points - 0.5, points + 0.5], axis=1)
    names = tuple(truth.objects.values())
    true = wanted(view, PERSON if PERSON[0] in names else names)
    return np.asarray(true.boxes[~true.ignored])


def _trained(pixels: np.ndarray, candidates: Candidates, strategy: Strategy) -> Counts:
    import torch

    rows, columns = candidates.cells
    if not rows or not columns:  # smaller than a cell: there is nothing to choose from
        empty = np.zeros((len(candidates.scales), rows, columns))
        return Counts(empty, np.zeros((rows, columns)), f"trained: {NETWORK}", "people")
    current().add("network_pixels", pixels.shape[0] * pixels.shape[1])
    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None])
    told = nets.run(NETWORK, batch)[0].double().clamp(min=0).expm1().numpy()
    own = told[STRATEGIES.index(strategy)][[SCALES.index(k) for k in candidates.scales]]
    return Counts(own, told[STRATEGIES.index("IOU"), 0], f"trained: {NETWORK}", "people")


def _edges(pixels: np.ndarray, candidates: Candidates) -> Counts:
    """Energy of the gradient in each candidate, in units of a mean cell."""
    from scipy import ndimage

    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    energy = ndimage.sobel(grey, 0) ** 2 + ndimage.sobel(grey, 1) ** 2
    sums = np.zeros((energy.shape[0] + 1, energy.shape[1] + 1))
    sums[1:, 1:] = energy.astype(np.float64).cumsum(0).cumsum(1)

    def inside(boxes: np.ndarray) -> np.ndarray:
        y0, x0, y1, x1 = np.moveaxis(boxes.astype(int), -1, 0)
        y0, y1 = (v.clip(0, energy.shape[0]) for v in (y0, y1))
        x0, x1 = (v.clip(0, energy.shape[1]) for v in (x0, x1))
        return np.asarray(sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0])

    density = inside(Candidates(candidates.size, (1,)).boxes)[0]
    mean = max(float(density.mean()) if density.size else 0.0, 1e-9)
    return Counts(
        inside(candidates.boxes) / mean, density / mean, "stand-in: edge energy", "mean cells"
    )

"""The frame before: where a film's detector found something decides where the next picture looks."""

from __future__ import annotations

import numpy as np

from hrviz.image import ImageView
from hrviz.methods.detection import DETECTORS, SHOWN, Found, detect
from hrviz.methods.downsampling.sampler import sample
from hrviz.results import WarpGrid


def previous_view(view: ImageView, back: int = 1) -> ImageView | None:
    """The same region `back` frames earlier; None on a still and before a film's first frame.

    What is read there is counted with `view`'s reads.
    """
    image = view.image
    t = image.index.get("t", 0) - back
    if "t" not in image.axes or t < 0:
        return None
    earlier = image.at(**{**image.index, "t": t}).view(view.box)
    earlier.reads = view.reads
    return earlier


def found_uniformly(view: ImageView, task: str, size: tuple[int, int]) -> Found:
    """What a task's detector is sure of in the uniformly downsampled region, level-0 pixels.

    Parameters
    ----------
    view : ImageView
    task : str
        A key of `hrviz.methods.detection.DETECTORS`.
    size : (int, int)
        Height and width of what the detector receives.
    """
    even = WarpGrid.identity(view.box, size)
    pixels = sample(view, even, "fair")
    return detect(DETECTORS[task].network, pixels).at_least(SHOWN).to_image(even)


def previous_boxes(view: ImageView, task: str, size: tuple[int, int]) -> Found | None:
    """Detections in the frame before, level-0 pixels; None where there is no frame before."""
    earlier = previous_view(view)
    return None if earlier is None else found_uniformly(earlier, task, size)


def nothing() -> Found:
    """No detections."""
    return Found(np.zeros((0, 4)), np.zeros(0, np.float32), np.zeros(0, np.int64))

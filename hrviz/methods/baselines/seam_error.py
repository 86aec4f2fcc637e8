"""What cutting costs a dense answer: the stitched map beside the network's answer to the whole region."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods import task as tasks
from hrviz.methods.baselines.slicing import Plan
from hrviz.results import Curve, HeatMap, Step

MOST = 2**22  # px of a region that go to the network at once
BINS = 16


def whole_size(view: ImageView, downsample: int) -> tuple[int, int]:
    """The whole region in patch pixels, rows and columns.

    Raises
    ------
    HrvizError
        When it is more than 4 Mpx.
    """
    height, width = (max(1, int(np.ceil(n / downsample))) for n in (view.height, view.width))
    if height * width > MOST:
        raise HrvizError(
            f"the seam error needs the whole region at once, {width:,} x {height:,} px, and at most 4 Mpx are "
            "possible: choose a smaller region, a larger downsample, or no seam error"
        )
    return height, width


def whole_answer(view: ImageView, size: tuple[int, int], *, task: str) -> np.ndarray:
    """The network's answer to the whole view in one call, at half of `size`."""
    return tasks.segment(view.read(size)[None], task)[0]


def seam_error(plan: Plan, stitched: HeatMap, whole: np.ndarray) -> Iterator[Step]:
    """The difference of two maps of one region, and how it falls with the distance from a seam.

    Parameters
    ----------
    plan : Plan
    stitched : HeatMap
        Put together from patches.
    whole : ndarray, (h, w)
        The answer to the whole region, of the same size to within a pixel.
    """
    h, w = np.minimum(stitched.values.shape, whole.shape)
    values, whole = np.asarray(stitched.values[:h, :w]), whole[:h, :w]
    pixel = stitched.box.height / stitched.values.shape[0]
    y0, x0 = stitched.box[:2]
    box = Box(y0, x0, y0 + h * pixel, x0 + w * pixel)
    error = np.abs(values - whole)
    yield Step(
        "seam error",
        HeatMap(error, box, label="|patches - whole|", low=0, source=stitched.source),
        f"Where patches answer otherwise than the network on the whole region: {error.mean():.2g} on average; "
        "that second run is part of the cost shown.",
    )
    distance = plan.distance(box, error.shape)
    if not np.isfinite(distance).all():
        return  # a single patch has no seams
    other = (values > 0.5) != (whole > 0.5)
    edges = np.linspace(0, distance.max() + 1e-6, BINS + 1)
    which = np.digitize(distance.ravel(), edges) - 1
    counts = np.bincount(which, minlength=BINS)
    filled = counts > 0
    lines = {
        name: (np.bincount(which, v, BINS)[filled] / counts[filled])
        for name, v in (("mean error", error.ravel()), ("share decided otherwise", other.ravel()))
    }
    curve = Curve(((edges[1:] + edges[:-1]) / 2)[filled], lines, "distance from a seam, patch px",
                  "error")  # fmt: skip
    note = (
        "Near a seam a patch lacks context; as wide as the network sees, the error is raised there."
    )
    yield Step("error by distance", curve, note)

"""Cutting into patches: full detail everywhere, paid for patch by patch.

The region is cut into squares that fit the memory one by one, the network sees each of them at full
detail, and the answers are put together. Memory stays small; time and pixels read grow with the
area, and no patch knows what lies beyond its border unless it is given a halo.

A patch of P x P pixels at downsample d covers dP x dP of level 0; patches start every
P (1 - overlap) pixels (rounded down to whole pixels of the answer), the last ones moved back
inside the region. Each is read with a halo of h pixels around it that the network sees and the
answer drops. Where patches overlap, answers are aggregated: per pixel by mean, maximum or majority
of votes; as a sum of per-patch areas (which counts overlaps twice, as summing counts does); or as
boxes merged by non-maximum suppression.

Paper: the baseline of section III-B; for merging boxes, Akyon et al. (SAHI), ICIP 2022.

Notes
-----
The map of a large region is a Zarr canvas on disk that grows from where the user looks; memory is
bounded by a batch. Boxes are connected components of each patch's tumour above one half, scored by
their mean probability.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from hrviz.context import current, spread
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, Task, method
from hrviz.methods import task as tasks
from hrviz.results import Boxes, HeatMap, Partition, Picture, Prediction, Step

PatchPixels = Annotated[
    int,
    Control("Side of a patch as the network sees it. Up: more context, more memory, fewer patches.",
            64, 1024, 32, unit="px", title="Patch size"),
]  # fmt: skip
Downsample = Annotated[
    Literal[1, 2, 4, 8, 16, 32],
    Control("Level-0 pixels per patch pixel. 1 is full detail; 2 needs a quarter of the patches."),
]
Overlap = Annotated[
    float, Control("Share of a patch that the next one repeats. Up: fewer cut objects, more work.",
                   0.0, 0.75, 0.05),
]  # fmt: skip
Halo = Annotated[
    int,
    Control("Context read around a patch that the answer drops. Up: fewer seams, more pixels read.",
            0, 128, 8, unit="px", basic=False),
]  # fmt: skip
Batch = Annotated[
    int, Control("Patches in one network call. Up: more memory, hardly slower.", 1, 64, 1,
                 unit="patches", basic=False),
]  # fmt: skip
Aggregation = Annotated[
    Literal["mean", "maximum", "majority", "sum", "boxes"],
    Control("How the answers of patches become one answer."),
]
Suppression = Annotated[
    float,
    Control("Intersection over union above which the lower of two boxes is dropped. Up: more boxes stay.",
            0.05, 0.95, 0.05, basic=False, title="NMS threshold", when=(("aggregation", ("boxes",)),)),
]  # fmt: skip

MAX_PATCHES = 200_000
MEMORY_CANVAS = 2**20  # pixels; larger maps go to disk
SHEET = 9  # patches shown on the contact sheet


@method(
    family="baselines",
    section="III-B",
    paper="the baseline throughout the survey; boxes: Akyon et al. (SAHI), ICIP 2022",
    aliases=("cip", "patches", "tiling"),
    equation=r"\begin{aligned} \hat y &= \operatorname{agg}_{k}\; f\!\left(I[\,\mathrm{box}_k \oplus h\,]\right) \\"
    r"K_y &= \left\lceil \frac{H/d - P}{P(1-o)} + 1 \right\rceil, \; K_x \text{ alike} \end{aligned}",
    use_when="Detail decides, time is no concern, and nothing needs to be known beyond a patch.",
    avoid_when="The image is so large that every patch cannot be afforded, or context decides.",
    network=lambda params: params["task"] != "none",
)
@spread
def cutting_into_patches(
    view: ImageView,
    *,
    patch: PatchPixels = 512,
    downsample: Downsample = 2,
    overlap: Overlap = 0.0,
    halo: Halo = 0,
    aggregation: Aggregation = "mean",
    nms: Suppression = 0.5,
    batch: Batch = 4,
    task: Task = "automatic",
) -> Iterator[Step]:
    """Cut `view` into patches, run the task network on each, put the answers together.

    Parameters
    ----------
    view : ImageView
    patch : int, px
        Side of a patch at `downsample`.
    downsample : int
        Level-0 pixels per patch pixel.
    overlap : float
        Share of a patch repeated by the next.
    halo : int, px
        Context around a patch, at `downsample`.
    aggregation : {'mean', 'maximum', 'majority', 'sum', 'boxes'}
    nms : float
        IoU above which the lower-scored of two boxes is suppressed.
    batch : int
    task : str

    Yields
    ------
    partition : Partition
        The patches on the image.
    patches : Picture
        The first of them, as the network sees them.
    prediction : HeatMap
        Grows batch by batch, those nearest to the user's focus first.
    boxes : Boxes
        With aggregation 'boxes'.
    total : Prediction
        With aggregation 'sum': the target's area as the sum over patches.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        More than 200,000 patches.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("cip", "scene:tissue?size=3000x2000", patch=512, downsample=1,
    ...                   task="none")
    >>> run["partition"].summary()["boxes"]
    24
    """
    plan = Plan.of(view, patch, downsample, overlap)
    names = ("patch",)
    partition = Partition(plan.boxes, np.zeros(len(plan.boxes), int), names)
    side = patch + 2 * halo
    note = f"{len(plan.boxes)} patches of {patch} x {patch} px, each read with {side} x {side} px."
    yield Step("partition", partition, note)
    order = _nearest_first(plan.boxes, current().focus or view.box.centre)
    aim = tasks.resolve(task, view.truth)
    # shown only: where the network follows, its batches read them again and are what is counted
    shown = view if aim == "none" else view.image.view(view.box)
    sheet = [_read(shown, box, downsample, halo) for box in plan.boxes[order[:SHEET]]]
    yield Step("patches", _contact_sheet(sheet), "The first patches, as the network receives them.")
    if aim == "none":
        return
    asked = tasks.SEGMENTATIONS[aim]
    canvas = Canvas(view, plan, aggregation, patch, asked)
    detections: list[tuple[np.ndarray, np.ndarray]] = []
    total = 0.0
    batches = [plan.boxes[order[start : start + batch]] for start in range(0, len(order), batch)]
    answer_all = partial(_answers, patch=patch, downsample=downsample, halo=halo, task=aim)
    done = 0
    for boxes, answers in zip(batches, current().map(answer_all, view, batches), strict=True):
        for box, answer in zip(boxes, answers, strict=True):
            canvas.put(box, answer)
            if aggregation == "boxes":
                detections.append(_components(answer, box, 2 * downsample, view.box))
            total += canvas.area(box, answer)
        done += len(boxes)
        yield Step(
            "prediction", canvas.map(), f"{done} of {len(order)} patches done.", done / len(order)
        )
    if aggregation == "boxes":
        boxes = np.concatenate([b for b, _ in detections]) if detections else np.zeros((0, 4))
        scores = np.concatenate([s for _, s in detections]) if detections else np.zeros(0)
        keep = suppress(boxes, scores, nms)
        found = Boxes(boxes[keep], scores[keep], classes=(asked.thing,), source=asked.badge)
        yield Step("boxes", found, f"{len(keep)} of {len(boxes)} boxes are left after suppression.")
    if aggregation == "sum":
        um = view.pixel_size or 1.0
        area = Prediction(
            {f"{asked.thing} area": total * um * um},
            unit="um2" if view.pixel_size else "px",
            source=asked.badge,
        )
        yield Step("total", area, "Summed over patches: what overlaps is counted twice.")
    yield from tasks.score(view, canvas.map(), aim)


@dataclass(frozen=True)
class Plan:
    """Where the patches lie: boxes (n, 4) in level-0 pixels, each `patch` px at `downsample`."""

    boxes: np.ndarray
    patch: int
    downsample: int

    @classmethod
    def of(cls, view: ImageView, patch: int, downsample: int, overlap: float) -> "Plan":
        span, pixel = patch * downsample, 2 * downsample
        # whole pixels of the answer: patches lie on the image's own pixels and are read unblurred
        step = max(1, int(span * (1 - overlap) / pixel + 1e-9)) * pixel if overlap else span
        counts = [
            max(1, int(np.ceil((n - span) / step - 1e-9)) + 1) for n in (view.height, view.width)
        ]
        if counts[0] * counts[1] > MAX_PATCHES:
            raise HrvizError(
                f"patches of {patch} px at downsample {downsample} would be {counts[0] * counts[1]:,}; at "
                f"most {MAX_PATCHES:,} are cut: choose a larger patch or downsample, or a smaller region"
            )
        starts = [
            # the last patch is moved back inside, unless the region is smaller than a patch
            start + np.minimum(np.arange(count) * step, max(0.0, n - span))
            for start, count, n in (
                (view.box.y0, counts[0], view.height), (view.box.x0, counts[1], view.width),
            )
        ]  # fmt: skip
        y, x = (a.ravel() for a in np.meshgrid(*starts, indexing="ij"))
        return cls(np.stack([y, x, y + span, x + span], 1), patch, downsample)


def _nearest_first(boxes: np.ndarray, focus: tuple[float, float]) -> np.ndarray:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.argsort(((centre - np.asarray(focus)) ** 2).sum(1), kind="stable")


def _read(view: ImageView, box: np.ndarray, downsample: int, halo: int) -> np.ndarray:
    """One patch with its halo, float32; beyond the image it is white, as glass is."""
    side = round((box[2] - box[0]) / downsample) + 2 * halo
    return view.read((side, side), Box(*box).grown(halo * downsample))


def _answers(
    view: ImageView,
    boxes: np.ndarray,
    *,
    patch: int,
    downsample: int,
    halo: int,
    task: str = "tumour segmentation",
) -> np.ndarray:
    """The network's answers to one batch of patches, `(n, ceil(patch/2), ceil(patch/2))`."""
    pixels = np.stack([_read(view, box, downsample, halo) for box in boxes])
    inner = slice(halo // 2, halo // 2 + -(-patch // 2))
    return np.ascontiguousarray(tasks.segment(pixels, task)[:, inner, inner])


def _contact_sheet(patches: list[np.ndarray]) -> Picture:
    """Up to nine patches side by side, at most 256 px each."""
    step = max(1, -(-patches[0].shape[0] // 256))
    small = [p[::step, ::step] for p in patches]
    across = int(np.ceil(np.sqrt(len(small))))
    down = -(-len(small) // across)
    side, gap = small[0].shape[0], 4
    out = np.ones((down * (side + gap) - gap, across * (side + gap) - gap, 3), np.float32)
    for i, p in enumerate(small):
        row, column = divmod(i, across)
        y, x = row * (side + gap), column * (side + gap)
        out[y : y + side, x : x + side] = p
    return Picture(out)


class Canvas:
    """The region's map, put together from patches: in memory when small, else Zarr on disk.

    Overlaps are combined by a running mean (with the number of answers so far), a maximum, or the
    mean of votes, whose value above one half is the majority.
    """

    def __init__(
        self,
        view: ImageView,
        plan: Plan,
        aggregation: str,
        patch: int,
        asked: tasks.Segmentation = tasks.SEGMENTATIONS["tumour segmentation"],
    ) -> None:
        self.box, self.aggregation, self.asked = view.box, aggregation, asked
        self.scale = 2 * plan.downsample  # the network answers at half resolution
        shape = (
            max(1, int(np.ceil(view.height / self.scale))), max(1, int(np.ceil(view.width / self.scale))),
        )  # fmt: skip
        folder = current().folder
        self.values: Any
        self.seen: Any
        if shape[0] * shape[1] <= MEMORY_CANVAS or folder is None:
            self.values = np.full(shape, np.nan, np.float32)
            self.seen = np.zeros(shape, np.uint8)
        else:
            import tempfile

            import zarr

            place = tempfile.mkdtemp(prefix="patches-", dir=folder)
            self.values, self.seen = (
                zarr.create_array(f"{place}/{name}", shape=shape, chunks=(256, 256), dtype=dtype,
                                  fill_value=fill)
                for name, dtype, fill in (("values", "float32", np.nan), ("seen", "uint8", 0))
            )  # fmt: skip

    def area(self, box: np.ndarray, answer: np.ndarray) -> float:
        """Level-0 pixels of tumour in one patch's answer, inside the region only."""
        rows, columns = (
            np.clip((end - low) - self.scale * np.arange(n), 0, self.scale)
            for end, low, n in (
                (min(self.box.y1, box[2]), box[0], answer.shape[0]),
                (min(self.box.x1, box[3]), box[1], answer.shape[1]),
            )
        )
        return float(rows @ (answer > 0.5) @ columns)

    def put(self, box: np.ndarray, answer: np.ndarray) -> None:
        """Combine one patch's answer with what is there."""
        row = round((box[0] - self.box.y0) / self.scale)
        column = round((box[1] - self.box.x0) / self.scale)
        h = min(answer.shape[0], self.values.shape[0] - row)
        w = min(answer.shape[1], self.values.shape[1] - column)
        at = (slice(row, row + h), slice(column, column + w))
        answer = answer[:h, :w]
        if self.aggregation == "majority":
            answer = (answer > 0.5).astype(np.float32)
        before, seen = np.asarray(self.values[at]), np.asarray(self.seen[at])
        if self.aggregation in ("maximum", "boxes"):
            now = np.fmax(before, answer)
        else:
            now = np.where(seen > 0, before + (answer - before) / (seen + 1.0), answer)
        self.values[at] = now.astype(np.float32)
        self.seen[at] = np.minimum(seen, 254) + 1

    def map(self) -> HeatMap:
        """What is known so far, as a result that later answers do not change under the viewer."""
        h, w = self.values.shape
        box = Box(
            self.box.y0, self.box.x0, self.box.y0 + h * self.scale, self.box.x0 + w * self.scale
        )
        values = self.values.copy() if isinstance(self.values, np.ndarray) else self.values
        label = "share of votes" if self.aggregation == "majority" else self.asked.label
        return HeatMap(values, box, label=label, low=0, high=1, source=self.asked.badge)


def _components(
    answer: np.ndarray, box: np.ndarray, scale: int, region: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (level-0) and mean probabilities of the connected parts above one half, in the region.

    An answer's pixel is `scale` level-0 pixels wide; a patch larger than the region sees beyond it.
    """
    from scipy import ndimage

    h, w = (
        max(0, int(np.ceil((end - low) / scale)))
        for end, low in ((region.y1, box[0]), (region.x1, box[1]))
    )
    answer = answer[:h, :w]
    labels, count = ndimage.label(answer > 0.5)
    if not count:
        return np.zeros((0, 4)), np.zeros(0)
    found = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(labels)
    ]
    scores = ndimage.mean(answer, labels, np.arange(1, count + 1))
    offset = np.array([box[0], box[1], box[0], box[1]])
    boxes = np.array(found, float) * scale + offset
    ends = np.minimum([region.y1, region.x1], box[2:])
    return np.minimum(boxes, np.tile(ends, 2)), np.asarray(scores, float)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes : ndarray, (n, 4)
        (y0, x0, y1, x1).
    scores : ndarray, (n,)
    threshold : float
        A box goes when its IoU with a kept, higher-scored one is above this.

    Returns
    -------
    ndarray of int
        Kept indices, highest score first.

    Examples
    --------
    >>> b = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [0, 20, 10, 30]], float)
    >>> suppress(b, np.array([0.6, 0.9, 0.5]), 0.5).tolist()
    [1, 2]
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    keep = []
    while left.size:
        best, left = left[0], left[1:]
        keep.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = np.clip(high - low, 0, None).prod(1)
        union = area[best] + area[left] - common
        left = left[common <= threshold * np.maximum(union, 1e-12)]
    return np.array(keep, int)

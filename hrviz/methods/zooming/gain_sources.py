"""Where accuracy gains come from: the trained R-net, true labels, the scene's truth, or edges.

With a detector, proposals are what it finds on the downsampled region, and R-net regresses each one's
gain from its features. Without one, every cell of the map is a proposal, worth its share of a
stand-in's saliency.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hrviz import nets
from hrviz.boxes import areas, iou
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods import detection
from hrviz.methods.detection import FAINT, Found, Wanted
from hrviz.methods.downsampling.sources import saliency_map
from hrviz.methods.zooming.accuracy_gain import gains

NETWORK = "road-detector"
GAIN_NETWORK = "road-gain"
CELLS = 64  # of the AG map along the longer side
TOP = 100  # proposals a picture at most
STAND_IN_TOTAL = 3.0  # gain of a whole region by a stand-in: about that of a road picture
MATCH = 0.5  # least IoU of a proposal with an object, or of a coarse with a fine detection
SOURCES = {
    "trained": f"trained: {GAIN_NETWORK}",
    "truth": "oracle: true labels give the gains",
    "edges": "stand-in: edge energy",
}


class Proposals(NamedTuple):
    """Coarse detections in level-0 pixels, and a feature `(n, features)` each."""

    found: Found
    features: np.ndarray


def cells_of(height: float, width: float) -> tuple[int, int]:
    """Shape of the AG map of a region."""
    scale = CELLS / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def cells(view: ImageView) -> tuple[int, int]:
    """Shape of the AG map of a view."""
    return cells_of(view.height, view.width)


def propose(pixels: np.ndarray, box: Box) -> Proposals:
    """What the detector finds on a picture of `box`, with features for R-net.

    A feature is the network's last joint map at the proposal's centre and its mean over 3 x 3 points
    of the box, the logit of the score, the logarithms of height and width, and the class.
    """
    net = nets.load(NETWORK)
    maps: list[Any] = []

    def keep(module: object, inputs: object, output: object) -> None:
        maps.append(output)

    hook = net.joint.register_forward_hook(keep)  # type: ignore[union-attr]
    try:
        found = detection.detect(NETWORK, pixels, FAINT, TOP)
    finally:
        hook.remove()
    # the first: predicting the memory runs the network again, on tensors without numbers
    features = _features(found, maps[0][0].float().cpu().numpy())
    scale = np.tile([box.height / pixels.shape[0], box.width / pixels.shape[1]], 2)
    boxes = found.boxes * scale + np.tile(box[:2], 2)
    return Proposals(Found(boxes, found.scores, found.labels), features)


def _features(found: Found, joint: np.ndarray) -> np.ndarray:
    """One row a proposal from the detector's joint map (c, h, w), boxes in pixels of its input."""
    from hrviz.nets.detector import STRIDE

    _, h, w = joint.shape
    share = np.array([0.2, 0.5, 0.8])
    size = found.boxes[:, 2:] - found.boxes[:, :2]
    at = found.boxes[:, None, :2] + share[:, None] * size[:, None]
    rows = np.clip(at[..., 0] / STRIDE, 0, h - 1).astype(np.int64)
    columns = np.clip(at[..., 1] / STRIDE, 0, w - 1).astype(np.int64)
    points = joint[:, rows[:, :, None], columns[:, None, :]]  # (c, n, 3, 3)
    score = np.clip(found.scores, 1e-4, 1 - 1e-4)[:, None]
    kinds = len(detection.DETECTORS["sign detection"].classes)
    known = np.eye(kinds)[found.labels]
    return np.concatenate(
        [points[:, :, 1, 1].T, points.mean((2, 3)).T, np.log(score / (1 - score)),
         np.log(np.maximum(size, 0.5)) - 3, known], 1
    ).astype(np.float32)  # fmt: skip


def predicted_gains(features: np.ndarray) -> np.ndarray:
    """R-net's gains of proposals, (n,)."""
    import torch

    if not len(features):
        return np.zeros(0)
    return np.asarray(nets.run(GAIN_NETWORK, torch.from_numpy(features)).double().numpy())


def true_gains(coarse: Found, fine: Found, truth: Wanted) -> np.ndarray:
    """The gain of each coarse detection by the paper's rule, from true labels and a fine detection.

    g is 1 where a true object of the class is met with an IoU of at least 0.5; the fine score is that of
    the best fine detection of the class that overlaps as much, 0 without one.
    """
    right, high = np.zeros(len(coarse.boxes)), np.zeros(len(coarse.boxes))
    if len(truth.boxes):
        same = coarse.labels[:, None] == truth.labels[None]
        right = ((iou(coarse.boxes, truth.boxes) >= MATCH) & same).any(1).astype(float)
    if len(fine.boxes):
        same = coarse.labels[:, None] == fine.labels[None]
        met = (iou(coarse.boxes, fine.boxes) >= MATCH) & same
        high = np.where(met, fine.scores[None], 0.0).max(1)
    return gains(right, coarse.scores, high)


def stand_in(view: ImageView, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Every cell a proposal: boxes (n, 4) and its share of a stand-in's saliency, (n,)."""
    shape = cells(view)
    # nodes of a saliency map lie on the rim: at least two of them, and cells are read between
    values = saliency_map(view, source, (max(2, shape[0]), max(2, shape[1]))).values
    values = values[: shape[0], : shape[1]].ravel()
    total = float(values.sum())
    share = values / total if total > 0 else np.full(values.shape, 1 / values.size)
    edges = [np.linspace(view.box[k], view.box[k + 2], n + 1) for k, n in enumerate(shape)]
    y0, x0 = (g.ravel() for g in np.meshgrid(edges[0][:-1], edges[1][:-1], indexing="ij"))
    y1, x1 = (g.ravel() for g in np.meshgrid(edges[0][1:], edges[1][1:], indexing="ij"))
    return np.stack([y0, x0, y1, x1], 1), STAND_IN_TOTAL * share


class Look(NamedTuple):
    """A closer look: the window, what was read for it (the window with a rim), and what was found."""

    window: Box
    read: Box
    found: Found


def merge(coarse: Found, looks: list[Look], region: Box, margin: float = 2.0) -> Found:
    """Fine detections in the windows, coarse ones elsewhere: the centre of a box decides.

    What the border of a closer look cuts (a box within `margin` level-0 pixels of it, but for the
    region's own border) is left to the coarse look. Where windows overlap, the first one's are kept.
    """
    from hrviz.boxes import suppress

    parts: list[Found] = []
    mine = np.ones(len(coarse.boxes), bool)
    for k, (window, read, found) in enumerate(looks):
        earlier = [look.window for look in looks[:k]]
        kept = within(found.boxes, [window]) & ~within(found.boxes, earlier)
        parts.append(_take(found, kept & _whole(found.boxes, read, region, margin)))
        mine &= ~(within(coarse.boxes, [window]) & _whole(coarse.boxes, read, region, margin))
    parts.append(_take(coarse, mine))
    boxes, scores, labels = (np.concatenate(v) for v in zip(*parts, strict=True))
    kept = np.concatenate(
        [np.flatnonzero(labels == k)[suppress(boxes[labels == k], scores[labels == k])]
         for k in np.unique(labels)] or [np.zeros(0, np.int64)]
    )  # fmt: skip
    kept = kept[np.argsort(-scores[kept], kind="stable")].astype(np.int64)
    return Found(boxes[kept], scores[kept], labels[kept])


def _whole(boxes: np.ndarray, read: Box, region: Box, margin: float) -> np.ndarray:
    """Which boxes keep away from the border of what was read, where it is not the region's."""
    low = [a - margin if a <= r else a + margin for a, r in zip(read[:2], region[:2], strict=True)]
    high = [a + margin if a >= r else a - margin for a, r in zip(read[2:], region[2:], strict=True)]
    return np.asarray((boxes[:, :2] >= low).all(1) & (boxes[:, 2:] <= high).all(1))


def _take(found: Found, chosen: np.ndarray) -> Found:
    return Found(found.boxes[chosen], found.scores[chosen], found.labels[chosen])


def within(boxes: np.ndarray, regions: list[Box]) -> np.ndarray:
    """Which boxes have their centre in any of the regions."""
    y, x = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    out = np.zeros(len(boxes), bool)
    for r in regions:
        out |= (y >= r.y0) & (y < r.y1) & (x >= r.x0) & (x < r.x1)
    return out & (areas(boxes) > 0)

"""What methods that sample patches by attention share: where to look, what is shown of it.

Attention lies on a grid of positions over a small view of the region. It comes from a trained
network, or is a stand-in that is named: edge energy of the view, or the scene's truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control
from hrviz.methods import task as tasks
from hrviz.methods.zooming import draws
from hrviz.methods.zooming.patches import origins
from hrviz.results import HeatMap, Prediction, Step

AttentionSource = Annotated[
    Literal["trained", "edges", "truth"],
    Control("What attends: the trained network, edge energy of the view, or the scene's own truth "
            "(an oracle). Without a task network 'trained' falls back to edges.",
            title="Attention from"),
]  # fmt: skip
SearchTask = Annotated[
    Literal["automatic", "cell search", "none"],
    Control("The network that answers, which attention and patches feed; automatic takes the one that "
            "the image is for.", title="Task network"),
]  # fmt: skip
PatchSide = Annotated[
    int,
    Control("Side of a patch. Up: more is seen around each position and more is read; 0 takes what "
            "the network was trained on, or three positions with a stand-in.", 0, 512, 8, unit="px",
            title="Patch size", zero="as trained"),
]  # fmt: skip
ViewScale = Annotated[
    float,
    Control("View pixels per image pixel and axis. Up: smaller things can attract attention, more is "
            "read. Networks are trained at 0.25; elsewhere edge energy attends in their place.",
            0.05, 0.5, 0.05, title="View scale"),
]  # fmt: skip

EXAMPLE = (
    "scene:needle?size=500x500&seed=3000001&object=cell&background=tissue&ratio=0.0016&count=6"
    "&distractors=14&presence=replaced"
)
STEP = 8  # view pixels a position, along each axis
MOST_VIEW = 1024  # longer side of the view, however large the region
LEAST_PATCH, MOST_PATCH = 32, 512  # px of a stand-in's patches
SMOOTH = 1e-4

#: task -> the set of pictures that its networks are trained on
SETS = {"cell search": "colon"}


@dataclass(frozen=True)
class Asked:
    """Which network answers, if any, and what is to be remarked on that.

    Attributes
    ----------
    task : str
    network : str or None
        Name of its weights.
    remark : str
        '' or a clause for a step's note.
    """

    task: str
    network: str | None
    remark: str = ""

    @property
    def card(self) -> dict[str, Any]:
        assert self.network is not None
        return nets.card(self.network)

    @property
    def badge(self) -> str:
        return f"trained: {self.network}" if self.network else ""


def asked(view: ImageView, task: str, kind: str) -> Asked:
    """The network of a kind ('ats', ...) for a task; for 'automatic' what the image is for."""
    found = tasks.resolve(task, view.truth, tuple(SETS))
    if found == "none":
        return Asked("none", None)
    fit = tasks.fits(found, view.truth)
    remark = "" if fit else f"the scene has no {tasks.NEEDS[found]}"
    return Asked(found, f"{SETS[found]}-{kind}", remark)


@dataclass(frozen=True)
class Attended:
    """Attention over positions, and the patch of each.

    Attributes
    ----------
    attention : ndarray float64 (rows, columns)
        Sums to 1.
    origins : ndarray int64 (rows * columns, 2)
        Upper left corner of each position's patch, level-0 px from the region's corner.
    patch : int
        Side, level-0 px.
    source, remark : str
    """

    attention: np.ndarray
    origins: np.ndarray
    patch: int
    source: str
    remark: str = ""

    @property
    def flat(self) -> np.ndarray:
        return self.attention.ravel()

    def shown(
        self, box: Box, label: str = "attention", values: np.ndarray | None = None
    ) -> HeatMap:
        """As a heat map over the region."""
        v = self.attention if values is None else values
        return HeatMap(v.astype(np.float64), box, label=label, low=0, source=self.source)


def size_of(height: float, width: float, scale: float) -> tuple[int, int]:
    """Height and width of the small view of a region, bounded however large that is."""
    scale = min(scale, MOST_VIEW / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def positions(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of attention over a view: one a `STEP`, the last may be narrower."""
    return -(-size[0] // STEP), -(-size[1] // STEP)


def knows(network: str, scale: float) -> bool:
    """Whether a network's attention was trained at a scale of the view."""
    return bool(abs(scale - nets.card(network)["config"].get("scale", 0.25)) < 1e-6)


def scores_of(
    view: ImageView, seen: np.ndarray, saliency: str, ask: Asked, scale: float, part: str
) -> tuple[np.ndarray, str, str]:
    """Logits (rows, columns) of the positions, their source, and a remark.

    Parameters
    ----------
    seen : ndarray float32 (h, w, 3)
        The small view, read by the caller.
    saliency : str
        As asked for.
    scale : float
        As asked for.
    part : str
        Method of the network that gives logits from views.
    """
    h, w = seen.shape[:2]
    known = ask.network is not None and saliency == "trained"
    if known and knows(str(ask.network), scale):
        import torch

        current().add("network_pixels", h * w)
        x = torch.from_numpy(seen).permute(2, 0, 1)[None].contiguous()
        logits = nets.run(str(ask.network), x, part)[0].double().numpy()
        remark = ask.remark
        coarse = max(view.height / h, view.width / w) * scale
        if coarse > 1.5:
            remark = f"the view is bounded, {coarse:.0f} times coarser than it was trained on"
        return logits.reshape(positions((h, w))), ask.badge, remark
    if saliency == "truth" and view.truth is not None:
        energy, source, remark = _truth(view, positions((h, w))), "oracle: the scene's truth", ""
    else:
        energy, source = _edges(seen), "stand-in: edge energy"
        remark = ""
        if known:
            remark = f"its attention is trained at scale 0.25, not {scale:g}"
        elif saliency == "trained":
            remark = "no task network is in use"
        elif saliency == "truth":
            remark = "the image has no truth"
    top = float(energy.max())
    even = np.ones_like(energy) if top <= 0 else energy / top
    return np.log(np.maximum(even, 1e-9)), source, remark


def attend(
    view: ImageView, logits: np.ndarray, seen: np.ndarray, patch: int, temperature: float,
    source: str, remark: str, ask: Asked,
) -> Attended:  # fmt: skip
    """Attention from logits, and where the patches lie."""
    p = draws.normalised(logits, temperature)
    p = p * (1 - SMOOTH) + SMOOTH / p.size
    side = patch or default_patch(view.height, view.width, logits.shape, ask.network)
    size = (seen.shape[0], seen.shape[1])
    at = origins((logits.shape[0], logits.shape[1]), size, (view.height, view.width), side)
    return Attended(p / p.sum(), at.reshape(-1, 2), side, source, remark)


def default_patch(height: float, width: float, shape: tuple[int, ...], network: str | None) -> int:
    """What the network was trained on; without one, what three positions cover, within bounds."""
    if network is not None:
        return int(nets.card(network)["config"]["patch"])
    own = 3 * min(height / shape[0], width / shape[1])
    return int(np.clip(round(own / 8) * 8, LEAST_PATCH, MOST_PATCH))


def _edges(seen: np.ndarray) -> np.ndarray:
    """Mean gradient energy (Sobel) of the view under each position."""
    from scipy import ndimage

    grey = seen @ np.array([0.299, 0.587, 0.114], np.float32)
    energy = (ndimage.sobel(grey, 0) ** 2 + ndimage.sobel(grey, 1) ** 2).astype(np.float64)
    energy[energy < 1e-8] = 0  # rounding of constant parts is no edge
    rows, columns = positions(grey.shape)
    full = np.zeros((rows * STEP, columns * STEP))
    count = np.zeros_like(full)
    full[: grey.shape[0], : grey.shape[1]], count[: grey.shape[0], : grey.shape[1]] = energy, 1
    total, n = (a.reshape(rows, STEP, columns, STEP).sum((1, 3)) for a in (full, count))
    return np.asarray(total / n)


def _truth(view: ImageView, shape: tuple[int, int]) -> np.ndarray:
    """Share of each position's part that objects cover, look-alikes left out."""
    truth = view.truth
    if "mask" in truth.knows:
        fine = min(4, max(1, 1024 // max(shape)))
        mask = truth.mask(view.box, (shape[0] * fine, shape[1] * fine))
        alike = [k for k, name in truth.classes.items() if name == "look-alike"]
        wanted = (mask > 0) & ~np.isin(mask, alike)
        return np.asarray(wanted.reshape(shape[0], fine, shape[1], fine).mean((1, 3)))
    out = np.zeros(shape)
    if "boxes" in truth.knows:
        centres = truth.boxes(view.box).boxes.reshape(-1, 2, 2).mean(1)
    else:
        centres = truth.points(view.box)[0]
    at = (centres - view.box[:2]) / (view.height, view.width) * shape
    at = np.clip(at.astype(int), 0, np.array(shape) - 1)
    np.add.at(out, (at[:, 0], at[:, 1]), 1.0)
    return out


# --------------------------------------------------------------------------- answers
def answer(view: ImageView, ask: Asked, logits: np.ndarray, remark: str = "") -> tuple[Step, int]:
    """The step 'prediction' from logits (classes,), and the class decided for."""
    classes = tuple(ask.card["classes"])
    z = logits - logits.max()
    p = np.exp(z) / np.exp(z).sum()
    best = int(p.argmax())
    right = {}
    if (label := true_label(view, classes)) is not None:
        right = {name: float(name == label) for name in classes}
    values = dict(zip(classes, p.tolist(), strict=True))
    note = f"{classes[best]}: {p[best]:.1%}{f' ({remark})' if remark else ''}."
    return Step("prediction", Prediction(values, "probability", right, ask.badge), note), best


def true_label(view: ImageView, classes: tuple[str, ...]) -> str | None:
    """The scene's answer, where it is one of the network's classes."""
    label = None if view.truth is None else str(view.truth.label)
    return label if label in classes else None


def score(
    view: ImageView, ask: Asked, probabilities: dict[str, float], boxes: np.ndarray,
    attended: Attended | None = None,
) -> Step | None:  # fmt: skip
    """The step 'score' against the scene's truth, or None where it has no such answer.

    Besides whether the answer is right: which of the sought objects have their centre in a patch
    that was looked at, and the attention there.

    Parameters
    ----------
    boxes : ndarray (n, 4)
        Of the patches looked at, level-0 px.
    """
    classes = tuple(ask.card["classes"])
    label = true_label(view, classes)
    if label is None:
        return None
    best = max(probabilities, key=lambda name: probabilities[name])
    values = {"correct": float(best == label), "probability_of_truth": probabilities[label]}
    truth = view.truth
    sought = [k for k, name in truth.objects.items() if name == tasks.NEEDS[ask.task]]
    known = truth.boxes(view.box)
    targets = known.boxes[np.isin(known.classes, sought)]
    told = f"The scene's answer is {label}."
    if len(targets):
        centres = targets.reshape(-1, 2, 2).mean(1)
        hit = [_inside(c, boxes).any() for c in centres]
        values |= {"objects": float(len(centres)), "objects_seen": float(np.sum(hit))}
        if attended is not None:
            mass, even = _mass(view, attended, targets)
            values |= {"attention_on_objects": mass, "even_on_objects": even}
    return Step("score", Prediction(values, source=ask.badge), told)


def _inside(point: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    b = boxes
    return np.asarray(
        (b[:, 0] <= point[0]) & (point[0] < b[:, 2]) & (b[:, 1] <= point[1]) & (point[1] < b[:, 3])
    )


def _mass(view: ImageView, attended: Attended, targets: np.ndarray) -> tuple[float, float]:
    """Attention, and share, of the positions whose patch holds the centre of a sought object."""
    corner = attended.origins + np.array(view.box[:2])
    patches = np.concatenate([corner, corner + attended.patch], 1).astype(float)
    hit = np.zeros(len(patches), bool)
    for target in targets:
        hit |= _inside(target.reshape(2, 2).mean(0), patches)
    return float(attended.flat[hit].sum()), float(hit.mean())

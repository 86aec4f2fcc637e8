"""RA-CNN's pieces that need no network: boxes of attention, the boxcar mask, stand-ins that propose boxes.

A proposal is `(y, x, half)`: centre and half-side in fractions of the picture's sides. The same
arithmetic on tensors is in `hrviz.nets.recurrent_attention`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods import task as tasks
from hrviz.methods.zooming import stand_ins
from hrviz.nets.patch_reward import MEAN

NETWORK, TASK = "recurrent-attention", "digit classification"
PARTS = ("first", "second", "third")  # the network's scales
SIDE = 32  # px a side of what each scale sees
HALF = 0.25  # a stand-in's box takes at most half the side, as a proposal network begins with
FINE = 4  # points of a mask's map per pixel and axis
UNIFORM = 3**0.5  # half-side over standard deviation, of an even square


@dataclass(frozen=True)
class Proposal:
    """A square within a picture: its centre and half-side in fractions of the picture's sides."""

    y: float
    x: float
    half: float

    def confined(self, smallest: float) -> Proposal:
        """With a half-side of `smallest` times the picture's own (0.5) to all of it, and no part outside.

        Examples
        --------
        >>> Proposal(0.1, 0.5, 0.0).confined(0.4)
        Proposal(y=0.2, x=0.5, half=0.2)
        """
        half = min(max(self.half, smallest / 2), 0.5)
        return Proposal(
            min(max(self.y, half), 1 - half), min(max(self.x, half), 1 - half), half
        )  # fmt: skip

    def box(self, around: Box) -> Box:
        """In level-0 pixels, for the picture of the box `around`."""
        h, w = around.height, around.width
        return Box(
            around.y0 + (self.y - self.half) * h, around.x0 + (self.x - self.half) * w,
            around.y0 + (self.y + self.half) * h, around.x0 + (self.x + self.half) * w,
        )  # fmt: skip


def boxcar(proposal: Proposal, sharpness: float, side: int = SIDE, fine: int = FINE) -> np.ndarray:
    """Equations 5 and 6: the mask on a picture of side x side pixels, `fine` points a pixel and axis."""
    at = (np.arange(side * fine) + 0.5) / fine
    y, x = (
        _sigmoid(sharpness * (at - (c - proposal.half) * side))
        - _sigmoid(sharpness * (at - (c + proposal.half) * side))
        for c in (proposal.y, proposal.x)
    )
    return y[:, None] * x[None]


def rim(proposal: Proposal, sharpness: float, side: int = SIDE) -> np.ndarray:
    """That mask where the pixels of the enlarged box lie, (side, side)."""
    inside = 2 * proposal.half * (np.arange(side) + 0.5)  # px of the scale before, from the rim
    line = _sigmoid(sharpness * inside) - _sigmoid(sharpness * (inside - 2 * proposal.half * side))
    return line[:, None] * line[None]


def masked(pixels: np.ndarray, proposal: Proposal, sharpness: float) -> np.ndarray:
    """What lies in a box, (side, side, 3), under the mask of the scale before; beyond is the mean colour."""
    mask = rim(proposal, sharpness, len(pixels))[..., None].astype(np.float32)
    return np.asarray(MEAN + (pixels - np.float32(MEAN)) * mask, np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))  # exp(-x) would overflow


# ------------------------------------------------------------------ stand-ins
def weights_of(view: ImageView, box: Box, pixels: np.ndarray, source: str) -> np.ndarray:
    """What stands in for attention in a box, (side, side): edge energy above its mean, or the truth."""
    if source == stand_ins.TRUTH:
        return stand_ins.sought(view, box, len(pixels)).astype(np.float64)
    energy = stand_ins.edge_energy(pixels)
    return np.maximum(energy - energy.mean(), 0)


def centred(weights: np.ndarray) -> Proposal | None:
    """Centre of mass of weights (n, n) and a half-side that would hold an even square of their spread.

    At most a quarter of the picture's side; None where nothing has weight.

    Examples
    --------
    >>> spot = np.zeros((8, 8))
    >>> spot[1:3, 4:6] = 1
    >>> p = centred(spot)
    >>> p.y, p.x, round(p.half, 3)
    (0.25, 0.625, 0.125)
    """
    total = weights.sum()
    if total <= 0:
        return None
    places, spreads = [], []
    for axis in (0, 1):
        n = weights.shape[axis]
        part = weights.sum(1 - axis) / total
        at = (np.arange(n) + 0.5) / n
        centre = float(part @ at)
        places.append(centre)
        # a cell is as wide as 1 / n: its own spread counts
        spreads.append(float(part @ (at - centre) ** 2) + 1 / (12 * n * n))
    half = UNIFORM * max(spreads) ** 0.5
    return Proposal(places[0], places[1], min(half, HALF))


def share(weights: np.ndarray, proposal: Proposal) -> float:
    """Share of the weights whose cells have their centre in the box."""
    inside = []
    for n, c in zip(weights.shape, (proposal.y, proposal.x), strict=True):
        at = (np.arange(n) + 0.5) / n
        inside.append(np.abs(at - c) <= proposal.half)
    return float(weights[np.ix_(*inside)].sum() / weights.sum())


# ------------------------------------------------------------------ the network
@dataclass(frozen=True)
class Answer:
    """What the network says of one scale: class probabilities, its next box, its descriptor."""

    p: np.ndarray
    proposal: Proposal
    descriptor: np.ndarray


def ask(scale: int, pixels: np.ndarray) -> Answer:
    """Scale 0, 1 or 2 of the trained network on a picture (side, side, 3)."""
    import torch

    current().add("network_pixels", pixels.shape[0] * pixels.shape[1])
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    row = nets.run(NETWORK, x, PARTS[scale])[0].double().numpy()
    classes = int(nets.card(NETWORK)["config"]["classes"])
    y, x_, half = row[classes : classes + 3].tolist()
    return Answer(softmax(row[:classes]), Proposal(y, x_, half), row[classes + 3 :])


def fused(answers: list[Answer]) -> np.ndarray:
    """Class probabilities of the three descriptors together."""
    import torch

    row = np.concatenate([a.descriptor for a in answers]).astype(np.float32)
    return softmax(nets.run(NETWORK, torch.from_numpy(row)[None], "fuse")[0].double().numpy())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n,), float64."""
    e = np.exp(logits - logits.max())
    return np.asarray(e / e.sum())


def label_of(view: ImageView) -> int | None:
    """The digit on a board with exactly one in view, else None."""
    if view.truth is None or not tasks.fits(TASK, view.truth):
        return None
    classes = view.truth.boxes(view.box).classes
    return int(classes[0]) if len(classes) == 1 else None

"""How the Zoom-In network attends: which network at which scales, and both attentions on a region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control
from hrviz.methods import task as tasks
from hrviz.methods.downsampling.sources import saliency_map
from hrviz.methods.zooming import draws as drawing_of
from hrviz.methods.zooming.stages import MOST_POSITIONS, Stages, paper_tile
from hrviz.methods.zooming.stand_ins import edge_energy
from hrviz.results import HeatMap, Picture

#: task and extractor -> weights whose card tells classes, scales and sizes
NETWORKS = {
    ("cell search", "lenet"): "colon-zoom-in",
    ("cell search", "resnet"): "colon-zoom-in-resnet",
    ("slide label", "lenet"): "slide-zoom-in",
}
#: task -> class of the truth's mask that decides it
TARGETS = {"cell search": "cell", "slide label": "tumour"}
ZoomTask = Annotated[
    Literal["automatic", "cell search", "slide label", "none"],
    Control("What is asked of the image; 'automatic' takes what its truth is about."),
]
EXAMPLE = (
    "scene:needle?size=500x500&seed=3000001&object=cell&background=tissue&ratio=0.0016&count=6"
    "&distractors=14&presence=replaced"
)
STRIP = 2**18  # pixels of the view that the first attention sees at once: bounds its memory
UNTRAINED_VIEW = 96  # px of the longer side, where no network's scale is to be kept
UNTRAINED = {"second": 0.25, "subtile": 32}
FEATURES_AT_ONCE = 64  # sub-tiles in one call


def resolve(task: str, truth: Any) -> str:
    """The task, 'none' where nothing trained fits the image."""
    return tasks.resolve(task, truth, among=tuple(TARGETS))


def network(aim: str, extractor: str) -> str:
    """Name of a task's weights, '' for 'none'; the LeNet where there is no other."""
    return NETWORKS.get((aim, extractor)) or NETWORKS.get((aim, "lenet"), "")


def plan(
    region: Box, name: str, first: float, second: float, tile: int, subtile: int, mapping: str
) -> Stages:
    """Scales and sizes: what was asked for, zeros filled from the network's card."""
    if name:
        setting = nets.card(name)["setting"]
        most = float(np.sqrt(MOST_POSITIONS / region.area))  # of what can be attended to
        s1, s2 = first or min(1 / setting["first"], most), second or 1 / setting["second"]
        sides, small = tuple(setting["tile"]), setting["subtile"]
        if first:  # another view than it was trained with: tiles of the paper's size for it
            sides = paper_tile(region, s1)
    else:
        s1 = first or min(0.5, UNTRAINED_VIEW / max(region.height, region.width))
        s2, small = second or UNTRAINED["second"], UNTRAINED["subtile"]
        sides = paper_tile(region, s1)
    # a tile smaller than what a view's pixel stands for would leave gaps between tiles
    least = min(round(2 / s1), 4096)
    sides = (tile, tile) if tile else (max(sides[0], least), max(sides[1], least))
    return Stages(region, s1, s2, sides, subtile or int(small), mapping)


@dataclass
class Eye:
    """Both attentions on a region.

    Attributes
    ----------
    stages : Stages
    alpha : ndarray (h * w,)
    second : callable
        Tiles' views (n, u, v, 3) to beta (n, u * v).
    encode : callable or None
        Sub-tiles (n, h2, h2, 3) to features (n, d); None without a network.
    classify : callable or None
        Mean features (n, d) to class probabilities (n, classes).
    classes : tuple of str
    source, note : str
    shown : Picture
    asked : float
        Pixels asked of the image for the first view.
    """

    stages: Stages
    alpha: np.ndarray
    second: Callable[[np.ndarray], np.ndarray]
    encode: Callable[[np.ndarray], np.ndarray] | None
    classify: Callable[[np.ndarray], np.ndarray] | None
    classes: tuple[str, ...]
    source: str
    note: str
    shown: Picture
    asked: float

    @property
    def heat(self) -> HeatMap:
        """Alpha as a map over the region, relative to even attention."""
        h, w = self.stages.view
        values = (self.alpha * self.alpha.size).reshape(h, w).astype(np.float32)
        return HeatMap(
            values, self.stages.region, "attention alpha", "x even", low=0, source=self.source
        )

    @property
    def concentration(self) -> str:
        """How concentrated alpha is: its perplexity as a share of all positions."""
        p = self.alpha[self.alpha > 0]
        perplexity = float(np.exp(-(p * np.log(p)).sum()))
        return f"its mass lies on about {perplexity / self.alpha.size:.1%} of them"


def attend(view: ImageView, stages: Stages, name: str, source: str) -> Eye:
    """Look at the region at the first scale; without a network (`name` '') by a stand-in."""
    before = view.reads.pixels_requested
    if not name and source == "trained":
        source = "edges"
    h, w = stages.view
    pixels = view.read((h, w))
    shown = Picture(pixels, view.box)
    said = f"V(x, s1), {w} x {h} px: s1 = {stages.first:.4g}"
    if source == "trained":
        alpha = drawing_of.normalised(_strips(name, pixels))
        badge = f"trained: {name}"
        setting = nets.card(name)["setting"]
        if abs(stages.first * setting["first"] - 1) > 1e-3:
            said += f" (the network was trained at {1 / setting['first']:.4g})"
    else:
        if source == "truth":
            nodes = max(h, 2), max(w, 2)
            values = saliency_map(view, source, nodes).values[:h, :w]
        else:
            values = _by_edges(pixels[None]).reshape(h, w)
        total = float(values.sum())
        alpha = (values / total if total > 0 else np.full((h, w), 1 / (h * w))).astype(np.float64)
        badge = "oracle: the scene's truth" if source == "truth" else "stand-in: edge energy"
    encode, classify, classes = None, None, ()
    if name:
        encode, classify = _encoder(name), _classifier(name)
        classes = tuple(nets.card(name)["classes"])
    second = _second(name) if source == "trained" else _by_edges
    return Eye(
        stages, alpha.ravel(), second, encode, classify, classes, badge, said + ".", shown,
        float(view.reads.pixels_requested - before),
    )  # fmt: skip


def _batch(pixels: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def strips(h: int, w: int) -> list[tuple[int, int, int, int]]:
    """How a view is cut: first and last row of each strip, and of what is seen for it."""
    from hrviz.nets.zoom_in import REACH

    rows = max(1, STRIP // w)
    return [
        (top, min(h, top + rows), max(0, top - REACH), min(h, top + rows + REACH))
        for top in range(0, h, rows)
    ]


def _strips(name: str, pixels: np.ndarray) -> np.ndarray:
    """Scores of the first attention, strip by strip: the same as at once, in bounded memory."""
    h, w = pixels.shape[:2]
    out = np.empty((h, w), np.float64)
    for top, bottom, low, high in strips(h, w):
        current().add("network_pixels", (high - low) * w)
        found = nets.run(name, _batch(pixels[None, low:high]), "first")[0].numpy()
        out[top:bottom] = found[top - low : bottom - low]
    return out


def _second(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def beta(tiles: np.ndarray) -> np.ndarray:
        current().add("network_pixels", tiles.shape[0] * tiles.shape[1] * tiles.shape[2])
        scores = nets.run(name, _batch(tiles), "second").numpy()
        return np.stack([drawing_of.normalised(s).ravel() for s in scores])

    return beta


def _by_edges(tiles: np.ndarray) -> np.ndarray:
    """Beta from the energy of the gradient, even where there is none."""
    flat = np.stack([edge_energy(tile).ravel() for tile in tiles]) + 1e-9
    return np.asarray(flat / flat.sum(1, keepdims=True))


def _encoder(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def encode(subtiles: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(subtiles), FEATURES_AT_ONCE):
            some = subtiles[start : start + FEATURES_AT_ONCE]
            current().add("network_pixels", some.shape[0] * some.shape[1] * some.shape[2])
            parts.append(nets.run(name, _batch(some), "encode").numpy())
        return np.concatenate(parts).astype(np.float64)

    return encode


def _classifier(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def classify(mean: np.ndarray) -> np.ndarray:
        import torch

        logits = nets.run(name, torch.from_numpy(mean.astype(np.float32)), "classify")
        return np.asarray(torch.softmax(logits.double(), 1).numpy())

    return classify

"""Where saliency comes from: a trained network, edges, spectral residual, truth, the user's hand.

All warps of the survey share these sources. Each gives a map over the region and a badge that the
result carries, so that nobody takes an oracle for a network.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call
from hrviz.errors import HrvizError
from hrviz.image import ImageView
from hrviz.method import Control
from hrviz.methods import task as tasks
from hrviz.methods.downsampling.costs import Region
from hrviz.results import HeatMap

SaliencySource = Annotated[
    Literal["trained", "edges", "spectral residual", "truth", "previous frame", "drawn", "file"],
    Control(
        "What decides where to look closely: a trained network, edge energy, unusual spectrum, the "
        "scene's own truth (an oracle), what was found in a film's previous frame, boxes and strokes "
        "you draw, or a map from a file.",
        title="Saliency from",
    ),
]
Strength = Annotated[
    float,
    Control(
        "Exponent on the saliency. Up: peaks win, the rest is squeezed; 0 is uniform.",
        0.0,
        4.0,
        0.1,
    ),
]
Floor = Annotated[
    float,
    Control(
        "Share of even saliency mixed in. Up: milder warp, nothing is lost entirely.",
        0.0,
        1.0,
        0.01,
    ),
]

NETWORK = "tissue-saliency"  # of slides; for vessels the learned deformation's is taken
THUMBNAIL = 128  # side of what saliency is judged on
DETECTED = 512  # longer side of the previous frame, as the detector receives it


def uses_network(params: Mapping[str, Any]) -> bool:
    """Whether a warp with these parameters loads weights: for its saliency or for its task."""
    return params["saliency"] in ("trained", "previous frame") or params["task"] != "none"


def saliency_calls(
    source: str, region: Region, nodes: tuple[int, int], aim: str, trained: bool = True
) -> list[Call]:
    """What `saliency_map` calls, for a cost model; of a still, whose 'previous frame' is none.

    Parameters
    ----------
    source : str
    region : Region
    nodes : (int, int)
    aim : str
        The task, which tells what the image shows.
    trained : bool
        Whether a training step goes through it.
    """
    if source != "trained":
        return []
    name = "vessel-deformation" if aim == "vessel segmentation" else NETWORK
    return [
        Call(name, (1, 3, *look), trained=trained) for look in looks(source, region, nodes, aim)
    ]


def looks(source: str, region: Region, nodes: tuple[int, int], aim: str) -> list[tuple[int, int]]:
    """Sizes at which `saliency_map` sees the whole region, for a cost model."""
    if source == "trained" and aim == "vessel segmentation":
        return [nodes]
    if source == "trained":
        h, w = region.fit(THUMBNAIL)
        return [(max(8, h), max(8, w))]
    return [region.within(THUMBNAIL)] if source in ("edges", "spectral residual") else []


def saliency_map(
    view: ImageView,
    source: str,
    nodes: tuple[int, int],
    boxes: tuple[tuple[float, float, float, float], ...] = (),
    strokes: tuple[tuple[tuple[float, float], ...], ...] = (),
    file: str | None = None,
) -> HeatMap:
    """Saliency at the grid's nodes, not negative, with the badge of its source.

    Parameters
    ----------
    view : ImageView
    source : str
        One of `SaliencySource`.
    nodes : (int, int)
        Rows and columns of nodes.
    boxes, strokes : tuples
        Drawn by the user, (y0, x0, y1, x1) and lists of (y, x), level-0 pixels.
    file : str, optional
        Picture or .npy, stretched over the view.

    Raises
    ------
    HrvizError
        No truth, nothing drawn, no file, or a map with NaN or negative values.
    """
    match source:
        case "trained":
            values, badge = _trained(view, nodes)
        case "edges":
            values, badge = _to_nodes(_edges(_grey(view)), nodes), "stand-in: edge energy"
        case "spectral residual":
            values = _to_nodes(_spectral_residual(_grey(view)), nodes)
            badge = "stand-in: spectral residual (Hou and Zhang, CVPR 2007)"
        case "truth":
            if view.truth is None:
                raise HrvizError(f"{view.image.name} has no truth: choose another saliency source")
            values, badge = _to_nodes(_truth(view), nodes), "oracle: the scene's truth"
        case "previous frame":
            values, badge = _previous_frame(view, nodes)
        case "drawn":
            if not boxes and not strokes:
                raise HrvizError(
                    "nothing is drawn: draw a box or a stroke, or choose another source"
                )
            values, badge = _drawn(view, nodes, boxes, strokes), "drawn by the user"
        case _:
            values, badge = _from_file(file, nodes), f"file: {Path(file or '').name}"
    if not np.isfinite(values).all():
        raise HrvizError(
            "the saliency map holds NaN or infinite values: mend it or choose another source"
        )
    if values.min() < 0:
        raise HrvizError("the saliency map has negative values: shift it so that it starts at 0")
    return HeatMap(values, view.box, label="saliency", unit="relative", low=0, source=badge)


def adjust(values: np.ndarray, strength: float, floor: float) -> np.ndarray:
    """Saliency raised to `strength` and mixed with an even share `floor`; all zeros become even."""
    top = float(values.max())
    if top <= 0:
        return np.ones_like(values, dtype=np.float64)
    shaped = (values.astype(np.float64) / top) ** strength
    return (1 - floor) * shaped + floor * max(float(shaped.mean()), 1e-12)


def _size(view: ImageView) -> tuple[int, int]:
    return view.fit(min(THUMBNAIL, max(1, round(max(view.height, view.width)))))


def _grey(view: ImageView) -> np.ndarray:
    return np.asarray(view.read(_size(view)) @ np.array([0.299, 0.587, 0.114], np.float32))


def _trained(view: ImageView, nodes: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Of the network for what the image shows: vessels, else tissue (said where that is assumed)."""
    import torch

    from hrviz.nets.saliency import saliency_from_logits

    truth = view.truth
    if truth is not None and tasks.fits("vessel segmentation", truth):
        from hrviz.methods.downsampling.learned_deformation import trained_saliency

        learned = trained_saliency(view, nodes)
        return learned.values, learned.source
    h, w = view.fit(THUMBNAIL)
    pixels = view.read((max(8, h), max(8, w)))
    logits = nets.run(NETWORK, torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous())
    known = truth is not None and tasks.suits(truth)
    remark = "" if known else " (trained on slides; nothing tells that this is one)"
    return saliency_from_logits(logits, nodes)[0].double().numpy(), f"trained: {NETWORK}{remark}"


def _previous_frame(view: ImageView, nodes: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Density of what the image's detector found one frame earlier; without a detector, what moved."""
    from hrviz.methods.detection import DETECTORS
    from hrviz.methods.downsampling.kde import region_kde
    from hrviz.methods.downsampling.previous_frame import found_uniformly, previous_view

    earlier = previous_view(view)
    if earlier is None:
        return np.ones(nodes), "even: there is no previous frame"
    task = tasks.resolve("automatic", view.truth, among=tuple(DETECTORS))
    if view.truth is None or task == "none":
        change = np.abs(_grey(view) - _grey(earlier))
        return _to_nodes(change, nodes), "stand-in: change since the previous frame"
    found = found_uniformly(earlier, task, view.fit(DETECTED))
    density = region_kde(found.boxes, view.box, nodes)
    return density, f"trained: {DETECTORS[task].network}, in the previous frame"


def _truth(view: ImageView) -> np.ndarray:
    """Where the scene's objects are: its mask, else the density of its objects.

    Every object has the same weight, spread evenly over its box, as in the density maps that
    counting networks learn.
    """
    size = _size(view)
    if "mask" in view.truth.knows:
        return np.asarray((view.truth.mask(view.box, size) > 0).astype(np.float64))
    if "boxes" in view.truth.knows:
        boxes = view.truth.boxes(view.box).boxes
    else:
        points, _ = view.truth.points(view.box)
        boxes = np.concatenate([points - 0.5, points + 0.5], axis=1)
    origin, scale = np.array(view.box[:2]), np.array(size) / (view.height, view.width)
    low, high = (boxes[:, :2] - origin) * scale, (boxes[:, 2:] - origin) * scale
    rows, columns = (
        np.clip(np.minimum(high[:, k, None], np.arange(n) + 1)
                - np.maximum(low[:, k, None], np.arange(n)), 0, None)
        for k, n in enumerate(size)
    )  # fmt: skip
    return np.asarray(rows.T @ (columns / np.prod(high - low, axis=1)[:, None]))


def _edges(grey: np.ndarray) -> np.ndarray:
    """Energy of the gradient (Sobel)."""
    from scipy import ndimage

    return np.asarray(ndimage.sobel(grey, 0) ** 2 + ndimage.sobel(grey, 1) ** 2)


def _spectral_residual(grey: np.ndarray) -> np.ndarray:
    """Hou and Zhang: what the log spectrum has beyond its own local average, back in the image."""
    from scipy import ndimage
    from skimage.transform import resize

    small = resize(grey.astype(np.float64), (64, 64), anti_aliasing=True)
    spectrum = np.fft.fft2(small)
    log = np.log(np.abs(spectrum) + 1e-9)
    residual = log - ndimage.uniform_filter(log, 3, mode="wrap")
    back = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    # a constant image has no structure, only rounding: it is even, not salient somewhere
    if np.ptp(small) < 1e-6:
        return np.ones_like(small)
    return np.asarray(ndimage.gaussian_filter(back, 2.5))


def _drawn(
    view: ImageView,
    nodes: tuple[int, int],
    boxes: tuple[tuple[float, float, float, float], ...],
    strokes: tuple[tuple[tuple[float, float], ...], ...],
) -> np.ndarray:
    """Share of each node's cell that boxes cover, plus a unit bump of one node along strokes."""
    ny, nx = nodes
    out = np.zeros(nodes)
    for box in boxes:
        y0, y1 = ((v - view.box.y0) / view.height * (ny - 1) for v in (box[0], box[2]))
        x0, x1 = ((v - view.box.x0) / view.width * (nx - 1) for v in (box[1], box[3]))
        rows = np.clip(
            np.minimum(np.arange(ny) + 0.5, y1) - np.maximum(np.arange(ny) - 0.5, y0), 0, 1
        )
        columns = np.clip(
            np.minimum(np.arange(nx) + 0.5, x1) - np.maximum(np.arange(nx) - 0.5, x0), 0, 1
        )
        out = np.maximum(out, rows[:, None] * columns)
    j, i = np.mgrid[:ny, :nx]
    for stroke in strokes:
        at = np.asarray(stroke, float)
        at = (at - (view.box.y0, view.box.x0)) / (view.height, view.width) * (ny - 1, nx - 1)
        dense = [at[:1]]
        for a, b in itertools.pairwise(at):
            n = max(2, int(np.ceil(2 * np.abs(b - a).max())))
            dense.append(a + (b - a) * np.linspace(0, 1, n)[1:, None])
        for y, x in np.concatenate(dense):
            out = np.maximum(out, np.exp(-((j - y) ** 2 + (i - x) ** 2) / 2))
    if not out.any():
        raise HrvizError(
            "what is drawn lies outside the region: draw inside it, or widen the region"
        )
    return out


def _from_file(file: str | None, nodes: tuple[int, int]) -> np.ndarray:
    if not file:
        raise HrvizError("no map file is given: choose a picture or .npy file, or another source")
    path = Path(file).expanduser()
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise ValueError  # an archive of arrays (.npz) under another name
        except (ValueError, OSError, EOFError, MemoryError):
            raise HrvizError(
                f"{path.name} is not a readable .npy array of numbers (pickled objects are refused): "
                "save it with numpy.save"
            ) from None
        if values.ndim != 2 or values.dtype.kind not in "fiub" or values.size == 0:
            raise HrvizError(
                f"{path.name} has shape {values.shape} of {values.dtype}: give a (h, w) array of numbers"
            )
    else:
        from hrviz.image import open_image

        image = open_image(path)
        values = image.rgb(
            image.box, image.view().fit(min(512, max(image.height, image.width)))
        ).mean(2)
    return _to_nodes(values.astype(np.float64), nodes)


def _to_nodes(values: np.ndarray, nodes: tuple[int, int]) -> np.ndarray:
    """Area average onto the nodes: node k of n lies at k / (n - 1) and stands for what is nearest."""
    from hrviz.image.resample import resample

    h, w = values.shape
    # exact areas do not shift peaks; the first and last node stand for half a cell, inside the region
    rows, columns = (
        (-side / (n - 1) / 2, side + side / (n - 1) / 2)
        for side, n in zip((h, w), nodes, strict=True)
    )
    return resample(values.astype(np.float64)[..., None], rows, columns, nodes)[..., 0].astype(
        np.float64
    )

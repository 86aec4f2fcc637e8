"""Where the boxes come from that FOVEA and LZU enlarge, and the saliency they make."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call
from hrviz.errors import HrvizError
from hrviz.image import ImageView
from hrviz.method import Control
from hrviz.methods import detection
from hrviz.methods import task as tasks
from hrviz.methods.detection import DETECTORS, Found, wanted
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.kde import region_kde
from hrviz.methods.downsampling.previous_frame import found_uniformly, nothing, previous_boxes
from hrviz.methods.downsampling.sampler import PaddingMode, saliency_nodes
from hrviz.methods.downsampling.separable import separable_nodes
from hrviz.methods.downsampling.sources import adjust, looks, saliency_map
from hrviz.methods.downsampling.warp import node_counts, output_size
from hrviz.results import Boxes

BoxSource = Annotated[
    Literal["detections", "previous frame", "data set", "truth", "drawn", "edges"],
    Control(
        "Whose boxes are enlarged: the detector's on the uniform picture, its boxes in the film's "
        "previous frame, those of all training pictures, the truth's (an oracle), yours, or none "
        "(edge energy).",
        title="Saliency from",
    ),
]
BoxBandwidth = Annotated[
    float,
    Control(
        "Variance of an object's kernel as a multiple of its side. Up: zoom spreads farther around "
        "each object.",
        1.0, 256.0, 1.0, unit="px of a 1,920 px picture", log=True, title="Kernel of a box (b)",
    ),
]  # fmt: skip
Amplitude = Annotated[
    float,
    Control(
        "Weight of the objects against the even floor. Up: stronger zoom.",
        0.1, 10.0, 0.1, log=True, title="Amplitude (a)",
    ),
]  # fmt: skip
Prior = Annotated[
    float,
    Control(
        "Share of the data set's saliency mixed in (the paper's S_C: 0.5). Up: less trust in the boxes "
        "at hand.",
        0.0, 1.0, 0.05, title="Share of the data set",
    ),
]  # fmt: skip
Structure = Annotated[
    Literal["separable", "non-separable"],
    Control(
        "Separable: rows and columns stay straight, so boxes stay boxes and nothing folds; "
        "non-separable bends them.",
        title="Grid",
        basic=False,
    ),
]
DetectionTask = Annotated[
    Literal["automatic", "sign detection", "person detection", "none"],
    Control(
        "The detector that receives the result, so that its effect can be measured; automatic takes "
        "the one that the image is for.",
        title="Task network",
    ),
]

DATA_SET = "road-saliency"


class BoxSaliency(NamedTuple):
    """Saliency at the nodes, its badge, the boxes behind it (None: there are none), a sentence."""

    values: np.ndarray
    badge: str
    boxes: Boxes | None
    note: str


def uses_network(params: Any) -> bool:
    """Whether a run with these parameters loads weights."""
    asks = params["saliency"] in ("detections", "previous frame", "data set")
    return bool(asks or params["task"] != "none" or params["prior"] > 0)


def zoomed(params: Any, region: costs.Region, seen: list[Call], work: float = 0.0) -> costs.Warp:
    """What a run of FOVEA or LZU does, for a cost model, `seen` being its calls on the warped picture."""
    nodes, out = node_counts(region, params["nodes"]), output_size(region, params["size"])
    source, calls = params["saliency"], list(seen)
    looked = looks(source, region, nodes, "")
    if source in ("detections", "previous frame"):
        task = "automatic" if params["task"] == "none" else params["task"]
        calls += detection.calls(task, out, trained=False)  # training takes the true boxes
        looked = [out]
    if source == "data set" or params["prior"] > 0:
        calls.append(Call(DATA_SET, (nodes[0] * nodes[1], 2), trained=False))
    pulled = nodes if params["structure"] == "non-separable" else None
    return costs.Warp(calls, out, params["sampling"], looked, pulled, work=work)


def resolved(task: str, view: ImageView) -> str:
    """The detection task that is meant, 'none' where no detector fits the image."""
    return tasks.resolve(task, view.truth, among=tuple(DETECTORS))


def box_saliency(
    view: ImageView,
    source: str,
    nodes: tuple[int, int],
    *,
    task: str,
    size: tuple[int, int],
    drawn: tuple[tuple[float, float, float, float], ...] = (),
    bandwidth: float = 64.0,
    amplitude: float = 1.0,
    prior: float = 0.0,
) -> BoxSaliency:
    """Saliency at nodes by kernel density of boxes from `source`, sum 1.

    Parameters
    ----------
    view : ImageView
    source : str
        As `BoxSource`.
    nodes : (int, int)
    task : str
        Whose detector finds boxes; with 'none' the one that fits the image.
    size : (int, int)
        Of the uniform picture that detections are found in.
    drawn : tuple
        Boxes of the user, level-0 pixels.
    bandwidth, amplitude, prior : float
        b, a, and the share of the data set's saliency.

    Raises
    ------
    HrvizError
        Nothing drawn, or no truth.
    """
    found, badge, note = _boxes(view, source, task, size, drawn)
    if source == "edges":
        edges = adjust(saliency_map(view, "edges", nodes).values, 1.0, 0.1)
        values, badge = edges / edges.sum(), "stand-in: edge energy"
    elif source == "data set":
        values, badge = data_set(view, nodes), f"trained: {DATA_SET}"
    else:
        assert found is not None
        values = region_kde(found.boxes, view.box, nodes, bandwidth, amplitude)
    if prior > 0 and source != "data set":
        values = (1 - prior) * values + prior * data_set(view, nodes)
        badge = f"{1 - prior:.0%} {badge}, {prior:.0%} trained: {DATA_SET}"
    shown = None if found is None else Boxes(found.boxes, found.scores, source=badge)
    return BoxSaliency(values, badge, shown, note)


def data_set(view: ImageView, nodes: tuple[int, int]) -> np.ndarray:
    """Density of all training boxes at a region's nodes, by their place in the whole image; sum 1."""
    import torch

    image = view.image
    v = (np.linspace(view.box.y0, view.box.y1, nodes[0]) - image.box.y0) / image.height
    u = (np.linspace(view.box.x0, view.box.x1, nodes[1]) - image.box.x0) / image.width
    places = torch.from_numpy(np.stack(np.meshgrid(v, u, indexing="ij"), -1).reshape(-1, 2))
    values = nets.run(DATA_SET, places).double().numpy().reshape(nodes)
    return np.asarray(values / values.sum())


def zoom_nodes(
    saliency: np.ndarray, fwhm: float, padding: PaddingMode, structure: str
) -> tuple[np.ndarray, np.ndarray]:
    """Where the nodes read, (v, u): along each axis on sum marginals, or the 2-D sampler."""
    if structure == "separable":
        return separable_nodes(saliency, fwhm, padding, "sum")
    return saliency_nodes(saliency, fwhm, padding)


def _boxes(
    view: ImageView,
    source: str,
    task: str,
    size: tuple[int, int],
    drawn: tuple[tuple[float, float, float, float], ...],
) -> tuple[Found | None, str, str]:
    """Boxes that a source gives, its badge, and a sentence; None where it has none."""
    match source:
        case "truth":
            if view.truth is None:
                raise HrvizError(f"{view.image.name} has no truth: choose another saliency source")
            names = tuple(view.truth.objects.values())
            told = wanted(view, DETECTORS[task].classes if task != "none" else names)
            badge = "oracle: the scene's truth"
            return _sure(told.boxes, told.labels), badge, "Every true object is enlarged."
        case "drawn":
            if not drawn:
                raise HrvizError("no box is drawn: draw one or more, or choose another source")
            low, high = view.box[:2] * 2, view.box[2:] * 2
            boxes = np.clip(np.array(drawn, np.float64), low, high)
            boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
            if not len(boxes):
                raise HrvizError(
                    "what is drawn lies outside the region: draw inside it, or widen the region"
                )
            return _sure(boxes), "drawn by the user", "What you drew is enlarged."
        case "detections" | "previous frame":
            task = resolved("automatic", view) if task == "none" else task
            return _detected(view, source, task, size)
        case "data set":
            note = (
                f"Where all training pictures had objects ({DATA_SET}); this one is not looked at."
            )
            return None, "", note
        case _:
            return None, "", "Edge energy: for images without objects to find."


def _detected(
    view: ImageView, source: str, task: str, size: tuple[int, int]
) -> tuple[Found, str, str]:
    if task == "none":
        return nothing(), "even", "No detector is for this image, so saliency is even."
    badge = DETECTORS[task].badge
    if source == "detections":
        note = "Found in the uniform picture of the same size, which costs a second pass."
        return found_uniformly(view, task, size), badge, note
    found = previous_boxes(view, task, size)
    if found is None:
        return nothing(), "even", "There is no frame before this one, so saliency is even."
    return found, f"{badge}, previous frame", "Found in the uniform picture of the frame before."


def _sure(boxes: np.ndarray, labels: np.ndarray | None = None) -> Found:
    n = len(boxes)
    return Found(boxes, np.ones(n, np.float32), np.zeros(n, np.int64) if labels is None else labels)

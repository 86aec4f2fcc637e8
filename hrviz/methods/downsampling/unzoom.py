"""Learning to Zoom and Unzoom: zoom for the eyes, un-zoom for the task.

The image is warped as in FOVEA, the network's trunk sees the warped picture, and then its *features*
are un-zoomed: each level is resampled back to even spacing by the inverse of the grid. Whatever
follows, heads, anchors, losses, labels, works in image space and need not know of the warp. So the
same trick serves detection, segmentation and 3-D detection alike.

The zoom is the separable sampler on sum marginals, x(u) and y(v). Its inverse is exact, by
interpolation of u over x(u). Non-separable grids are inverted cell by cell: a point p of the cell with
corners p00 ... p11 is p00 + s b + t c + s t d, a quadratic in t:

    (c x d) t^2 + (c x b + m x d) t + m x b = 0,   b = p01 - p00, c = p10 - p00,
    d = p00 - p01 - p10 + p11,   m = p00 - p,

and where its first coefficient vanishes t = -(m x b) / (c x b + m x d). Features are 0 where the zoom
does not reach.

Paper: Thavamani, Li, Ferroni, Ramanan, "Learning to Zoom and Unzoom", CVPR 2023, pp. 5086-5095.

Notes
-----
The public code has the sign of that last fraction wrong, which leaves cells of straight grids
unfilled, and tolerances that lose points on cell borders; here the sign is right and the tolerance
1e-5. Each level is un-zoomed with its own stride: a cell of stride s stands for s pixels of the
picture, which the corner-aligned inverse of the paper approximates. The trunk's levels are un-zoomed
before the feature pyramid joins them, where the paper un-zooms after it. The paper's fixed saliency
is that of the data set, the default here; its kernel is 10 of 48 nodes wide. The detector is a compact
one without anchors, on the road trained further through the un-zooming with the data set's saliency
and with jittered true boxes (`hrviz train road-detector-unzoom`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Params
from hrviz.image import ImageView
from hrviz.method import (
    Control,
    DrawnBoxes,
    OutputPixels,
    Padding,
    Sampling,
    method,
)
from hrviz.methods import detection
from hrviz.methods.detection import DETECTORS, FAINT, Found, score, within
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.box_sources import (
    Amplitude,
    BoxBandwidth,
    BoxSource,
    DetectionTask,
    Prior,
    Structure,
    box_saliency,
    resolved,
    uses_network,
    zoom_nodes,
    zoomed,
)
from hrviz.methods.downsampling.sampler import grid_from_nodes
from hrviz.methods.downsampling.unzoom_features import unzoom_features
from hrviz.methods.downsampling.warp import node_counts, output_size, warped
from hrviz.results import HeatMap, Step, WarpGrid

if TYPE_CHECKING:
    import torch

ZoomNodes = Annotated[
    int,
    Control("Nodes of the grid along the longer side. Up: finer warps, more work.", 11, 63, 1,
            unit="nodes", basic=False),
]  # fmt: skip
ZoomWidth = Annotated[
    float,
    Control("Full width at half maximum of the attraction kernel. Up: wider, milder zoom.",
            1.0, 16.0, 0.5, unit="nodes", title="Bandwidth"),
]  # fmt: skip

#: detectors that were trained through the un-zooming; other tasks use their own
UNZOOMED = {"sign detection": "road-detector-unzoom"}


def _told(params: Params, region: costs.Region) -> costs.Warp:
    aim = "sign detection" if params["task"] == "automatic" else params["task"]
    out = output_size(region, params["size"])
    calls = detection.calls(aim, out, network=UNZOOMED.get(aim, ""))
    return zoomed(params, region, calls, sum(_unzooming(c.network, out) for c in calls))


def _unzooming(network: str, size: tuple[int, int]) -> float:
    """FLOPs of carrying the trunk's levels back: four taps a channel and weights a cell."""
    widths = nets.card(network)["config"]["widths"][1:]
    step = 2 ** (len(widths) + 1)  # the trunk pads its input to a multiple
    cells = [-(-n // step) for n in size]
    return sum(
        cells[0] * cells[1] * 4**k * (8 * width + 10) for k, width in enumerate(widths[::-1])
    )


COST = costs.model(
    _told, trained="apart", growth=r"O(b\, n^2 + hw) \text{ with } b \text{ boxes and } n^2 \text{ nodes,}",
    note="Memory is the detector's; the features carried back, up to a fifth more, are not in it. " + costs.NOTE,
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Thavamani et al., CVPR 2023",
    title="Learning to Zoom and Unzoom",
    aliases=("lzu", "learning-to-zoom-and-unzoom"),
    equation=r"\begin{aligned} f &= \text{trunk}(I \circ T), \qquad \hat f = f \circ T^{-1} \\"
    r"T(u, v) &= (x(u),\, y(v)), \qquad T^{-1}(x, y) = (u(x),\, v(y)) \end{aligned}",
    use_when="Heads and labels must stay in image space, or the task is not detection.",
    avoid_when="Warping and un-warping features costs more than the pixels it saves.",
    network=uses_network,
    cost=COST,
    example="scene:road?size=1280x960",
)
def unzoom(
    view: ImageView,
    *,
    saliency: BoxSource = "data set",
    size: OutputPixels = 512,
    kernel: BoxBandwidth = 64.0,
    amplitude: Amplitude = 1.0,
    prior: Prior = 0.0,
    bandwidth: ZoomWidth = 10.0,
    nodes: ZoomNodes = 48,
    boxes: DrawnBoxes = (),
    structure: Structure = "separable",
    padding: Padding = "reflect",
    sampling: Sampling = "fair",
    task: DetectionTask = "automatic",
) -> Iterator[Step]:
    """Warp `view`, take the trunk's features, carry them back, and detect in image space.

    Parameters
    ----------
    view : ImageView
    saliency : str
        Whose boxes; named in the result.
    size : int, px
        Longer side of the output.
    kernel, amplitude : float
        b (px of a 1,920 px picture) and a of the kernel density.
    prior : float
        Share of the data set's saliency.
    bandwidth : float, nodes
        Full width at half maximum of the sampler's kernel.
    nodes : int
        Along the longer side (the paper: 48 x 27).
    boxes : tuple
        With saliency 'drawn': (y0, x0, y1, x1), level-0 pixels.
    structure : {'separable', 'non-separable'}
    padding : {'none', 'replicate', 'reflect'}
    sampling : {'fair', 'as published'}
    task : str

    Yields
    ------
    boxes : Boxes
        Behind the saliency, where there are any.
    saliency : HeatMap
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        See `hrviz.methods.downsampling.warp.warped`.
    features zoomed : HeatMap
        Strength of the trunk's finest features, on the output.
    features unzoomed : HeatMap
        The same features, carried back to the image.
    prediction : Boxes
        Found on the un-zoomed features: in image space from the start.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("lzu", "scene:road", saliency="truth", size=320, task="none")
    >>> run["grid"].summary()["folded_cells"]
    0
    """
    goal, out = resolved(task, view), output_size(view, size)
    asked = box_saliency(
        view, saliency, node_counts(view, nodes), task=goal, size=out, drawn=boxes,
        bandwidth=kernel, amplitude=amplitude, prior=prior,
    )  # fmt: skip
    if asked.boxes is not None:
        yield Step("boxes", asked.boxes, asked.note)
    shown = HeatMap(
        asked.values, view.box, label="saliency", unit="sum 1", low=0, source=asked.badge
    )
    yield Step("saliency", shown, f"Where detail is asked for ({asked.badge}).")
    v, u = zoom_nodes(asked.values, bandwidth, padding, structure)
    grid = grid_from_nodes(v, u, view.box, out)
    remark = "Marginals are sums here; the survey's equations 5 and 6 take maxima."
    remarks = remark if structure == "separable" else ""
    pixels = yield from warped(view, grid, sampling, asked.values, remarks)
    if goal != "none":
        yield from _detected(view, grid, pixels, goal)


def _detected(view: ImageView, grid: WarpGrid, pixels: np.ndarray, task: str) -> Iterator[Step]:
    """Features before and after un-zooming, what the heads find on them, and its score."""
    asked = DETECTORS[task]
    network = UNZOOMED.get(task, asked.network)
    zoomed, even, seen = unzoomed_detections(network, pixels, grid)
    badge = f"trained: {network}"
    label, high = "strength of features", float(max(zoomed.max(), even.max()))
    yield Step(
        "features zoomed",
        HeatMap(zoomed, view.box, label=label, low=0, high=high, source=badge, grid=grid),
        "The trunk's finest features (root mean square over channels), as it saw the picture.",
    )
    yield Step(
        "features unzoomed",
        HeatMap(even, view.box, label=label, low=0, high=high, source=badge),
        "The same features through the exact inverse: even spacing again, 0 where nothing reaches.",
    )
    found = seen.to_image(WarpGrid.identity(view.box, grid.size))
    note = "The heads ran in image space: these boxes were never warped."
    yield Step("prediction", found.result(asked.classes, badge), note)
    yield from score(view, found, task, badge)


def unzoomed_detections(
    network: str, pixels: np.ndarray, grid: WarpGrid
) -> tuple[np.ndarray, np.ndarray, Found]:
    """Detection with un-zoomed features.

    Parameters
    ----------
    network : str
        Name of the weights of a `hrviz.nets.detector.SmallDetector`.
    pixels : ndarray float32, (h, w, 3)
        The picture that `grid` warped.

    Returns
    -------
    zoomed, even : ndarray float32, (ceil(h/4), ceil(w/4))
        Root mean square of the finest features, before and after.
    found : Found
        In pixels of the uniform picture of the same size.
    """
    import torch

    from hrviz.nets.detector import STRIDE, decode

    context = current()
    context.check()
    h, w = pixels.shape[:2]
    rows, columns = -(-h // STRIDE), -(-w // STRIDE)
    net: Any = nets.load(network)
    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None])
    with torch.no_grad():
        levels = net.levels(batch.to(context.device))
        even = [unzoom_features(f, grid, stride=STRIDE << k) for k, f in enumerate(levels)]
        answer = net.answer(even)[..., :rows, :columns].cpu()
    context.add("network_pixels", h * w)
    # the forward pass at its peak, and the second copy of the levels
    memory = nets.predicted_memory(network, tuple(batch.shape)) + sum(f.nbytes for f in even)
    context.counts["network_memory"] = max(context.counts.get("network_memory", 0.0), memory)
    found = within(Found(*decode(answer, threshold=FAINT)[0]), (0, 0, h, w))
    return *(_strength(f[0])[:rows, :columns] for f in (levels[0], even[0])), found  # type: ignore[return-value]


def _strength(features: "torch.Tensor") -> np.ndarray:
    return np.asarray(features.square().mean(0).sqrt().cpu().numpy())

"""FOVEA: enlarge what was there a moment ago.

A detector for films knows where objects were in the frame before. Those boxes become saliency, a
Gaussian each, and the next frame is downsampled so that objects keep more of their pixels: as many
pixels as with uniform downsampling, small objects twice as large. Boxes found in the warped picture
are carried back through the grid.

Saliency is a kernel density of boxes with centre (cx, cy) and sides (w, h),

    s = sum over boxes of  a g / (1e-5 + sum g) + 1 / (2 p + 1)^2,
    g = exp(-((x - cx)^2 / (b w) + (y - cy)^2 / (b h)) / 2),

of this image's boxes (S_I), of all training boxes (S_D), or half of each (S_C). Each axis of the grid
is the sampler of equations 2 and 3 in one dimension, on the *sum* of s along the other axis, with
reflected padding, so that nothing is cropped and nothing can fold.

Paper: Thavamani, Li, Cebron, Ramanan, "FOVEA: Foveated Image Magnification for Autonomous
Navigation", ICCV 2021.

Notes
-----
The survey says that FOVEA 'solely relies on structured grids' and gives those of equations 5 and 6,
whose marginals are maxima; FOVEA's are sums, which is what is computed here. A sum adds up the even
floor as well, so the zoom is mild: 1.6 x 2.0 times for one box of 100 x 60 px in 1920 x 1200. Because
the grid is separable the two corners of a box suffice to carry it back; boxes of the non-separable
grid are carried by points along their rims. The bandwidth b is in pixels of a picture of 1,920 px, as
the paper's are. On a still, 'detections' stands in for the previous frame: the detector first looks
at the uniform picture of the same size, which costs a second pass. The detector is a compact one
without anchors in place of Faster R-CNN with ResNet-50 and a feature pyramid; on the road it was
trained further on such warped pictures, with the true boxes jittered as saliency (`hrviz train
road-detector-fovea`). The two scalars that the paper's learned variant trains are not trained.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

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
from hrviz.methods.detection import DETECTORS, SHOWN, detect, score
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
from hrviz.methods.downsampling.warp import node_counts, output_size, warped
from hrviz.results import HeatMap, Picture, Step, WarpGrid

FoveaNodes = Annotated[
    int,
    Control("Nodes of the grid along the longer side. Up: finer warps, more work.", 11, 63, 2,
            unit="nodes", basic=False),
]  # fmt: skip
FoveaWidth = Annotated[
    float,
    Control("Full width at half maximum of the attraction kernel. Up: wider, milder zoom.",
            1.0, 16.0, 0.5, unit="nodes", title="Bandwidth"),
]  # fmt: skip

#: detectors that were trained further on warped pictures; other tasks use their own
ON_WARPED = {"sign detection": "road-detector-fovea"}


def _told(params: Params, region: costs.Region) -> costs.Warp:
    aim = "sign detection" if params["task"] == "automatic" else params["task"]
    out = output_size(region, params["size"])
    return zoomed(params, region, detection.calls(aim, out, network=ON_WARPED.get(aim, "")))


COST = costs.model(
    _told, trained="apart", growth=r"O(b\, n^2 + hw) \text{ with } b \text{ boxes and } n^2 \text{ nodes,}",
    note="With detections the detector looks twice, first at the uniform picture. " + costs.NOTE,
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Thavamani et al., ICCV 2021",
    title="FOVEA",
    aliases=("foveated-magnifier",),
    equation=r"\begin{aligned} s &= \sum_{\text{boxes}} \frac{a\,g}{\sum g} + \frac{1}{(2p+1)^2},\quad "
    r"g = e^{-\frac12\left(\frac{(x-c_x)^2}{b\,w} + \frac{(y-c_y)^2}{b\,h}\right)} \\"
    r"u(x) &= \frac{\sum_{x'} S(x')\,k\,x'}{\sum_{x'} S(x')\,k},\quad S(x) = \sum_y s \end{aligned}",
    use_when="Objects are small and stay about where they were, as in films.",
    avoid_when="Objects fill the picture, or appear where nobody looked.",
    network=uses_network,
    cost=COST,
    example="scene:road?size=1280x960",
)
def fovea(
    view: ImageView,
    *,
    saliency: BoxSource = "detections",
    size: OutputPixels = 512,
    kernel: BoxBandwidth = 64.0,
    amplitude: Amplitude = 1.0,
    prior: Prior = 0.0,
    bandwidth: FoveaWidth = 4.0,
    nodes: FoveaNodes = 51,
    boxes: DrawnBoxes = (),
    structure: Structure = "separable",
    padding: Padding = "reflect",
    sampling: Sampling = "fair",
    task: DetectionTask = "automatic",
) -> Iterator[Step]:
    """Warp `view` so that boxes are enlarged, detect in the warped picture, carry the boxes back.

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
        Along the longer side (the paper: 51 x 31).
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
    detections : Picture
        The warped picture with what was found in it.
    prediction : Boxes
        The same in image coordinates.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    A drawn box is enlarged and nothing is cropped:

    >>> import hrviz
    >>> run = hrviz.apply("fovea", "scene:road", saliency="drawn", boxes=((400, 600, 440, 640),),
    ...                   size=320, task="none")
    >>> told = run["grid"].summary()
    >>> told["covered"], told["magnification_max"] > 1.5
    (1.0, True)
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
    """What the detector finds in the warped picture, carried back, and its score."""
    asked = DETECTORS[task]
    network = ON_WARPED.get(task, asked.network)
    seen = detect(network, pixels)
    picture = Picture(pixels, grid=grid, boxes=seen.at_least(SHOWN).boxes)
    yield Step("detections", picture, f"{asked.thing.capitalize()} found in the warped picture.")
    found, badge = seen.to_image(grid), f"trained: {network}"
    note = "The same boxes in the image: the grid itself carries them, nothing is inverted."
    yield Step("prediction", found.result(asked.classes, badge), note)
    yield from score(view, found, task, badge)

"""Learned deformation: a zoom for segmentation, taught to look at edges.

A small network looks at a thumbnail and says where detail matters; the image is deformed accordingly,
segmented at low resolution, and the answer is carried back. A second loss pulls saliency to the edges of
labels, because the task's loss alone would rather squeeze what is hard to segment out of sight.

The deformation is that of Learning to Zoom (survey, equations 2 and 3), with one node for each pixel of
the thumbnail. With d the saliency and d_t the edges of the labels on the thumbnail,

    L = L_seg(f(x_d), y_d) + gamma || minmax(d) - minmax(d_t) ||^2 / n,   gamma = 100,

where x_d and y_d are picture and labels under the same grid.

Paper: Jin, Tanno, Mertzanidou, Panagiotaki, Alexander, "Learning to Downsample for Segmentation of
Ultra-High Resolution Images", ICLR 2022 (arXiv 2109.11071).

Notes
-----
The survey leaves out the scaling to 0..1 and gamma. Because both maps are stretched, saliency that is
high everywhere and a little higher on edges costs nothing: trained warps are mild, and 'strength' makes
them bolder. The authors' kernel is a Gaussian whose full width at
half maximum is its radius, so it ends at 1/16 of its peak; for thumbnails that are not square they
stretch it with the picture, while here it is round in nodes, which are as dense in both directions. They
pad by replication, which crops a little; 'reflect' does not. They carry the answer back by scattering it
and filling the holes, most of the picture, from neighbours; here the grid's exact inverse does it. The
trained networks are the paper's with fewer channels (`hrviz.nets.deformation.DeformationNet` has the
paper's size by default), and the segmenter is the bundled one and stays as it is, where the paper trains
both, so that all methods are judged by the same segmenter (`hrviz train tissue-deformation`,
`vessel-deformation`). With saliency 'truth' the edge target itself is the saliency, an oracle.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call, Params
from hrviz.errors import HrvizError
from hrviz.image import ImageView
from hrviz.method import (
    Bandwidth,
    Control,
    DrawnBoxes,
    DrawnStrokes,
    OutputPixels,
    Padding,
    Sampling,
    Task,
    UploadedMap,
    method,
)
from hrviz.methods import task as tasks
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.deformation import edge_loss, edge_target
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.sources import (
    Floor,
    SaliencySource,
    Strength,
    adjust,
    looks,
    saliency_map,
    uses_network,
)
from hrviz.methods.downsampling.warp import node_counts, output_size, segmented, warped
from hrviz.results import HeatMap, Prediction, Step, WarpGrid

ThumbnailPixels = Annotated[
    int,
    Control(
        "Longer side of the thumbnail that saliency is judged on; each of its pixels is a node. Up: "
        "finer warps, more work.",
        16, 96, 8, unit="px", title="Thumbnail",
    ),
]  # fmt: skip
ZeroBorder = Annotated[
    bool,
    Control(
        "Take the outer ring of the edge target away, where the authors' filter leaves labels "
        "unfiltered (they do so for Cityscapes).",
        basic=False,
    ),
]


def _told(params: Params, region: costs.Region) -> costs.Warp:
    nodes, out = node_counts(region, params["thumbnail"]), output_size(region, params["size"])
    source = params["saliency"]
    aim = "vessel segmentation" if params["task"] == "automatic" else params["task"]
    calls = tasks.calls(aim, out)
    seen = [nodes] if source == "trained" else looks(source, region, nodes, aim)
    if source == "trained":
        calls = [Call(_network(aim == "vessel segmentation"), (1, 3, *nodes)), *calls]
    return costs.Warp(calls, out, params["sampling"], seen, pulled=nodes)


COST = costs.model(_told, growth=r"O(t^3 + hw) \text{ with a thumbnail of } t^2 \text{ px,}")


@method(
    family="downsampling",
    section="III-A",
    paper="Jin et al., ICLR 2022",
    aliases=("jin", "deformation-segmentation"),
    equation=r"\mathcal{L} = \mathcal{L}_{seg}(f(x_d), y_d)"
    r" + \gamma \, \tfrac{1}{n} \lVert \operatorname{mm}(d) - \operatorname{mm}(d_t) \rVert^2",
    use_when="A thumbnail shows about where outlines run, and they leave much of the image free.",
    avoid_when="Edges are everywhere, or only full detail shows where they are.",
    network=uses_network,
    cost=COST,
    example="scene:vessels?size=2048x2048",
)
def learned_deformation(
    view: ImageView,
    *,
    saliency: SaliencySource = "trained",
    size: OutputPixels = 512,
    thumbnail: ThumbnailPixels = 64,
    bandwidth: Bandwidth = 15.0,
    strength: Strength = 1.0,
    floor: Floor = 0.0,
    boxes: DrawnBoxes = (),
    strokes: DrawnStrokes = (),
    file: UploadedMap = None,
    zero_border: ZeroBorder = False,
    padding: Padding = "replicate",
    sampling: Sampling = "fair",
    task: Task = "automatic",
) -> Iterator[Step]:
    """Deform `view` to `size` pixels where its labels have edges, segment, carry the answer back.

    Parameters
    ----------
    view : ImageView
    saliency : str
        Source of the saliency; it is named in the result. 'truth' is the edge target itself.
    size : int, px
        Longer side of the output.
    thumbnail : int, px
        Longer side of what saliency is judged on, and of the grid of nodes.
    bandwidth : float, nodes
        Full width at half maximum of the kernel, and its radius (the paper: 15 on 64 x 128).
    strength, floor : float
        Exponent on the saliency, and share of even saliency mixed in.
    boxes, strokes : tuple
        With saliency 'drawn': (y0, x0, y1, x1) and lists of (y, x), level-0 pixels.
    file : str
        With saliency 'file'.
    zero_border : bool
        Take the outer ring of the edge target away.
    padding : {'none', 'replicate', 'reflect'}
    sampling : {'fair', 'as published'}
    task : str

    Yields
    ------
    saliency : HeatMap
    edge target : HeatMap
        Where the image has a true mask: what the saliency is pulled to in training.
    edge loss : Prediction
        Of this saliency, and of an even one.
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        See `hrviz.methods.downsampling.warp.warped`.
    warped labels : HeatMap
        The truth under the same grid, on the output: what the segmenter is compared with in training.
    prediction : HeatMap
        Probability of the task's target, carried back to image coordinates by the exact inverse.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        'truth' of an image without a mask, nothing drawn, no file.

    Examples
    --------
    Even saliency changes nothing (strength 0):

    >>> import hrviz
    >>> run = hrviz.apply("jin", "scene:vessels?size=1024x1024", saliency="edges",
    ...                   strength=0, size=128, task="none")
    >>> run["grid"].summary()["covered"], run["grid"].summary()["folded_cells"]
    (1.0, 0)
    """
    nodes = node_counts(view, thumbnail)
    labelled = view.truth is not None and "mask" in view.truth.knows
    target = edge_target(_labels(view, nodes), zero_border) if labelled else None
    source = _saliency(view, saliency, nodes, target, boxes, strokes, file)
    shaped = adjust(source.values, strength, floor)
    shown = HeatMap(
        shaped, view.box, label="saliency", unit="relative", low=0, source=source.source
    )
    yield Step("saliency", shown, f"Where detail is asked for ({source.source}).")
    if target is not None:
        lies = HeatMap(
            target,
            view.box,
            label="edge of labels",
            low=0,
            high=1,
            source="oracle: the scene's truth",
        )
        note = "What training pulls the saliency to: edges of the labels on the thumbnail, inner side only."
        yield Step("edge target", lies, note)
        losses = {
            "edge_loss": round(float(edge_loss(shaped, target)), 6),
            "edge_loss_of_even_saliency": round(float(edge_loss(np.ones_like(shaped), target)), 6),
        }
        note = (
            "100 x the mean squared difference between saliency and target, each stretched to 0..1."
        )
        yield Step("edge loss", Prediction(losses, source=source.source), note)
    v, u = saliency_nodes(shaped, bandwidth, padding, _cells(nodes, bandwidth, padding))
    grid = grid_from_nodes(v, u, view.box, output_size(view, size))
    pixels = yield from warped(view, grid, sampling, shaped)
    if labelled:
        note = (
            "The true labels under the same grid: what the segmenter is compared with in training."
        )
        yield Step("warped labels", _warped_labels(view, grid), note)
    yield from segmented(view, grid, pixels, task)


def _saliency(
    view: ImageView,
    source: str,
    nodes: tuple[int, int],
    target: np.ndarray | None,
    boxes: tuple[tuple[float, float, float, float], ...],
    strokes: tuple[tuple[tuple[float, float], ...], ...],
    file: str | None,
) -> HeatMap:
    """Saliency at the nodes with its badge; this method's own where it is trained or true."""
    if source == "trained":
        return trained_saliency(view, nodes)
    if source == "truth":
        if target is None:
            raise HrvizError(
                f"{view.image.name} has no true outlines: choose another saliency source"
            )
        return HeatMap(
            target, view.box, label="saliency", source="oracle: edges of the scene's truth"
        )
    return saliency_map(view, source, nodes, boxes, strokes, file)


def _network(vessels: bool) -> str:
    return "vessel-deformation" if vessels else "tissue-deformation"


def trained_saliency(view: ImageView, nodes: tuple[int, int]) -> HeatMap:
    """Saliency of the network for what the image shows (vessels, else tissue), with its badge."""
    import torch

    from hrviz.nets.deformation import saliency

    truth = view.truth
    vessels = truth is not None and tasks.fits("vessel segmentation", truth)
    name = _network(vessels)
    known = vessels or (truth is not None and tasks.suits(truth))
    pixels = torch.from_numpy(view.read(nodes)).permute(2, 0, 1)[None].contiguous()
    values = saliency(nets.run(name, pixels))[0].double().numpy()
    remark = "" if known else " (tissue is assumed, nothing tells what this image is)"
    return HeatMap(values, view.box, label="saliency", source=f"trained: {name}{remark}")


def _labels(view: ImageView, size: tuple[int, int], fine: int = 4) -> np.ndarray:
    """Share of the task's target in each pixel of a raster of the view (several points a pixel)."""
    mask = view.truth.mask(view.box, (size[0] * fine, size[1] * fine)) > 0
    share = mask.reshape(size[0], fine, size[1], fine).mean((1, 3), dtype=np.float32)
    return np.asarray(share)


def _cells(nodes: tuple[int, int], bandwidth: float, padding: str) -> int | None:
    """The published padding, the kernel's radius, unless reflection ends before it."""
    radius = max(1, round(bandwidth))
    return None if padding == "reflect" and radius > min(nodes) - 1 else radius


def _warped_labels(view: ImageView, grid: WarpGrid) -> HeatMap:
    """The labels where each output pixel reads, on at most 256 pixels a side."""
    h, w = view.fit(min(1024, max(1, round(max(view.height, view.width)))))
    mask = view.truth.mask(view.box, (h, w)) > 0
    low = WarpGrid(grid.nodes, grid.box, tuple(min(n, 256) for n in grid.size))  # type: ignore[arg-type]
    at = low.positions()
    rows = np.clip((at[..., 0] - view.box.y0) / view.height * h, 0, h - 1).astype(int)
    columns = np.clip((at[..., 1] - view.box.x0) / view.width * w, 0, w - 1).astype(int)
    values = mask[rows, columns].astype(np.float32)
    return HeatMap(
        values, view.box, label="labels, warped", low=0, high=1, source="oracle: the scene's truth",
        grid=grid,
    )  # fmt: skip

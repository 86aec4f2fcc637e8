"""Boundary sampling: spend samples where classes meet.

What a segmenter gets wrong at low resolution lies along the boundaries of classes; inside a large
object one sample tells as much as a hundred. A small network looks at a thumbnail and places the
samples near boundaries; the segmenter works on the sampled image, and its answer is interpolated back.

The sampling tensor phi is taught by a closed-form optimum (survey, equation 4): pulled to the nearest
boundary point b(u) of each even place u, and held together as by springs,

    E(phi) = sum_u |phi(u) - b(u)|^2 + lambda sum_{u ~ v} |phi(u) - phi(v)|^2,

while it has to cover the image: border nodes slide along their border, corners stay.

Paper: Marin, He, Vajda, Chatterjee, Tsai, Yang, Boykov, "Efficient Segmentation: Learning Downsampling
Near Semantic Boundaries", ICCV 2019, pp. 2131-2141.

Notes
-----
The covering constraint is part of the method, though not every version of the survey writes it; without
it equation 4 would let the image's border go. Each pair of neighbours counts once, and lambda is
equation 4's: the authors' released code has weights that amount to lambda = 0.586. The smoothing reaches
about sqrt(lambda) nodes, so the same lambda bends a fine grid more than a coarse one, and fine grids
fold at small lambda; folded cells are shown. 'trained' uses a network much smaller than the paper's
MobileNetV2 (`hrviz.nets.boundary.PaperBoundaryNet` has the paper's size), trained on the optimum at
lambda 1 and 8 x 8 nodes (`hrviz train boundary-sampler-tissue`, `boundary-sampler-vessels`); 'truth'
solves for the scene's own boundaries and is an oracle; 'edges' solves for strong edges of the picture
and knows no classes. The authors gather the nearest pixel; 'as published' here takes four, and the
default averages each pixel's footprint, so that the method is judged through the same filter as uniform
downsampling. Interpolation back is the paper's: logits over the Delaunay triangles of the samples.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call, Params
from hrviz.errors import HrvizError
from hrviz.image import ImageView
from hrviz.method import Control, OutputPixels, Sampling, Task, method
from hrviz.methods import task as tasks
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.boundary import (
    boundary_map,
    carry_back,
    cover,
    energy,
    even_nodes,
    nearest_boundary,
    solve,
)
from hrviz.methods.downsampling.sampler import grid_from_nodes
from hrviz.methods.downsampling.warp import output_size, segmented, warped
from hrviz.results import Graph, HeatMap, Picture, Prediction, Step, WarpGrid

BoundarySource = Annotated[
    Literal["trained", "truth", "edges"],
    Control(
        "Where boundaries are known from: a network that guesses the grid from a thumbnail, the scene's "
        "own truth (an oracle), or strong edges of the picture (which know no classes).",
        title="Boundaries from",
    ),
]
_SOLVED = (("saliency", ("truth", "edges")),)
Smoothness = Annotated[
    float,
    Control(
        "Lambda: springs between neighbouring nodes. Up: an evener grid; down: nodes crowd on "
        "boundaries until cells fold.",
        0.05, 100.0, 0.05, log=True, when=_SOLVED,
    ),
]  # fmt: skip
Samples = Annotated[
    int,
    Control(
        "Nodes of the sampling tensor a side; the paper's network has 8. Up: nodes reach more "
        "boundaries, and fold sooner.",
        5, 64, 1, unit="nodes", title="Nodes a side", when=_SOLVED,
    ),
]  # fmt: skip
Interpolation = Annotated[
    Literal["triangles", "exact inverse"],
    Control(
        "How the answer goes back to the image: logits over the triangles between samples, as in the "
        "paper, or through the exact inverse of the grid, as with all other warps.",
        basic=False,
    ),
]

RASTER = 256  # longer side, px, on which boundaries are found
STRONG = 0.08  # share of the picture's pixels that 'edges' calls boundary
ARROWS = 32  # nodes a side that are drawn with their boundary point
BACK = 512  # longer side of the map carried back
TAUGHT = 1.0  # lambda of the trained networks' targets


def _told(params: Params, region: costs.Region) -> costs.Warp:
    out = output_size(region, params["size"])
    calls = tasks.calls(params["task"], out)
    seen = [region.within(RASTER)] if params["saliency"] == "edges" else []
    if params["saliency"] == "trained":
        from hrviz.nets.boundary import THUMBNAIL

        seen = [(THUMBNAIL, THUMBNAIL)]
        sampler = Call(_network(params["task"] == "vessel segmentation"), (1, 3, *seen[0]))
        calls = [sampler, *calls]
    return costs.Warp(calls, out, params["sampling"], seen)


COST = costs.model(
    _told, trained="apart",
    growth=r"O(t^2 + n^2 \log n + hw) \text{ with a thumbnail of } t^2 \text{ px and } n^2 \text{ nodes,}",
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Marin et al., ICCV 2019",
    aliases=("marin", "content-adaptive-sampling", "edge-sampling"),
    equation=r"E(\phi) = \sum_u \lVert \phi(u) - b(u) \rVert^2"
    r" + \lambda \sum_{u \sim v} \lVert \phi(u) - \phi(v) \rVert^2",
    use_when="Outlines decide, and objects are large against a sample.",
    avoid_when="Objects are smaller than the spacing of nodes, or boundaries are everywhere.",
    network=lambda params: params["task"] != "none" or params["saliency"] == "trained",
    cost=COST,
)
def boundary_sampling(
    view: ImageView,
    *,
    saliency: BoundarySource = "trained",
    smoothness: Smoothness = 1.0,
    samples: Samples = 8,
    size: OutputPixels = 512,
    sampling: Sampling = "fair",
    interpolation: Interpolation = "triangles",
    task: Task = "automatic",
) -> Iterator[Step]:
    """Warp `view` to `size` pixels with samples drawn to boundaries, segment, interpolate back.

    Parameters
    ----------
    view : ImageView
    saliency : {'trained', 'truth', 'edges'}
        Where boundaries come from; it is named in the result.
    smoothness : float
        lambda of equation 4 (trained networks were taught at 1).
    samples : int
        Nodes a side, whatever the region's aspect, as in the paper (trained: 8).
    size : int, px
        Longer side of the output.
    sampling : {'fair', 'as published'}
    interpolation : {'triangles', 'exact inverse'}
    task : str

    Yields
    ------
    thumbnail : Picture
        With 'trained': all that the network sees.
    boundaries : HeatMap
        Pixels at a change of label; with 'trained' what the network was taught to approach, where
        the image has truth.
    nearest boundary : Graph
        From each even node to its nearest boundary point.
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        See `hrviz.methods.downsampling.warp.warped`.
    energy : Prediction
        Both terms of equation 4, of this grid and of the even one, and folded cells.
    prediction : HeatMap
        Probability of the task's target, carried back to image coordinates.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        'truth' of an image without a mask.

    Examples
    --------
    Stiff springs leave an even grid, whatever the boundaries:

    >>> import hrviz
    >>> run = hrviz.apply("marin", "scene:tissue?size=2048x2048", saliency="edges",
    ...                   smoothness=100, size=128, task="none")
    >>> run["grid"].summary()["folded_cells"], run["grid"].summary()["magnification_max"] < 1.05
    (0, True)
    """
    edge, badge = _boundaries(view, saliency)
    even = even_nodes((samples, samples))
    phi = None
    if saliency == "trained":
        pixels, phi, network, remark = _trained(view)
        note = f"All that the sampling network sees (trained: {network}{remark})."
        yield Step("thumbnail", Picture(pixels, view.box), note)
        even, smoothness = even_nodes((phi.shape[0], phi.shape[1])), TAUGHT
    b = None
    if edge is not None:
        shown = HeatMap(
            edge.astype(np.float32), view.box, label="boundary", low=0, high=1, source=badge
        )
        told = "What the network was taught to approach: it" if phi is not None else "Each node"
        yield Step(
            "boundaries", shown, f"Where labels change ({badge}). {told} {_AIM[phi is None]}"
        )
        b = nearest_boundary(edge, (even.shape[0], even.shape[1]))
    if b is not None:
        note = "From each node of the even grid to the boundary point nearest to it, b(u)."
        yield Step("nearest boundary", _arrows(view, even, b), note)
    best = solve(b, smoothness, (even.shape[0], even.shape[1]))
    if phi is None:
        phi = best
    grid = grid_from_nodes(phi[..., 0], phi[..., 1], view.box, output_size(view, size))
    remarks = "Border nodes slide along their border, so that the whole region stays in view"
    remarks += " (a constraint that equation 4 alone does not state)."
    sampled = yield from warped(view, grid, sampling, remarks=remarks)
    if b is not None:
        yield Step("energy", *_energy(phi, best, even, b, smoothness, grid))
    if interpolation == "exact inverse":
        yield from segmented(view, grid, sampled, task)
    else:
        yield from _segmented(view, grid, sampled, task)


_AIM = {
    True: "is drawn to the nearest of them.",
    False: "saw the thumbnail alone.",
}


def _boundaries(view: ImageView, source: str) -> tuple[np.ndarray | None, str]:
    """Boundary pixels on a raster of the view, and where they are from."""
    size = view.fit(min(RASTER, max(1, round(max(view.height, view.width)))))
    if source == "edges":
        return _strong_edges(view.read(size)), "stand-in: strong edges of the picture"
    if view.truth is None or "mask" not in view.truth.knows:
        if source == "trained":
            return None, ""
        raise HrvizError(
            f"{view.image.name} has no true outlines: choose boundaries from edges or trained"
        )
    # a task's classes count as one: arteries and veins are both vessel
    labels = view.truth.mask(view.box, size)
    if any(tasks.fits(task, view.truth) for task in tasks.SEGMENTATIONS):
        labels = labels > 0
    return boundary_map(labels), "oracle: the scene's truth"


def _strong_edges(pixels: np.ndarray) -> np.ndarray:
    """The share `STRONG` of pixels with the largest gradient (Sobel, after a blur of 1 px)."""
    from scipy import ndimage

    grey = ndimage.gaussian_filter(pixels @ np.array([0.299, 0.587, 0.114], np.float32), 1.0)
    size = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    # below one grey value of 255 a pixel there is no edge, only rounding
    return np.asarray(size >= max(float(np.quantile(size, 1 - STRONG)), 8 / 255))


def _network(vessels: bool) -> str:
    return "boundary-sampler-vessels" if vessels else "boundary-sampler-tissue"


def _trained(view: ImageView) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Thumbnail, sampling tensor, network's name, and a remark where the image does not tell its kind."""
    import torch

    from hrviz.nets.boundary import THUMBNAIL

    truth = view.truth
    vessels = truth is not None and tasks.fits("vessel segmentation", truth)
    name = _network(vessels)
    known = vessels or (truth is not None and tasks.suits(truth))
    pixels = view.read((THUMBNAIL, THUMBNAIL))
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    phi = cover(nets.run(name, batch)[0].numpy())
    return (
        pixels,
        phi,
        name,
        "" if known else "; tissue is assumed, nothing tells what this image is",
    )


def _arrows(view: ImageView, even: np.ndarray, b: np.ndarray) -> Graph:
    step = -(-len(even) // ARROWS)
    ends = [x[::step, ::step].reshape(-1, 2) for x in (even, b)]
    origin, span = np.array(view.box[:2]) + 0.5, np.array([view.height, view.width]) - 1
    n = len(ends[0])
    edges = np.stack([np.arange(n), n + np.arange(n)], -1)
    return Graph(origin + np.concatenate(ends) * np.maximum(span, 0), edges)


def _energy(
    phi: np.ndarray, best: np.ndarray, even: np.ndarray, b: np.ndarray, smoothness: float,
    grid: WarpGrid,
) -> tuple[Prediction, str]:  # fmt: skip
    (data, smooth), (even_data, even_smooth), (best_data, best_smooth) = (
        energy(x, b) for x in (phi, even, best)
    )
    folded = int(grid.folded().sum())
    values = {
        "energy": data + smoothness * smooth,
        "data_term": data,
        "smoothness_term": smoothness * smooth,
        "uniform_energy": even_data + smoothness * even_smooth,
        "least_energy": best_data + smoothness * best_smooth,
        "folded_cells": float(folded),
    }
    note = (
        f"Equation 4 at lambda {smoothness:g}: the even grid has {values['uniform_energy']:.2f}, "
    )
    note += f"this one {values['energy']:.2f}, the best one {values['least_energy']:.2f}."
    return Prediction(values), note


def _segmented(view: ImageView, grid: WarpGrid, pixels: np.ndarray, task: str) -> Iterator[Step]:
    """As `warp.segmented`, interpolated back over the triangles between samples."""
    if (task := tasks.resolve(task, view.truth)) == "none":
        return
    asked = tasks.SEGMENTATIONS[task]
    answer = np.clip(tasks.segment(pixels[None], task)[0].astype(np.float64), 1e-6, 1 - 1e-6)
    # pixel k of the answer stands for the output's pixels 2k and 2k + 1
    lines = [
        np.minimum(2.0 * np.arange(n) + 1, m) for n, m in zip(answer.shape, grid.size, strict=True)
    ]
    places = grid.to_image(np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2))
    h, w = view.fit(min(BACK, max(1, round(max(view.height, view.width)))))
    y, x = ((np.arange(n) + 0.5) / n for n in (h, w))
    at = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    # in shares of the region: triangles of a huge image lose digits in level-0 pixels
    shares = (places - view.box[:2]) / (view.height, view.width)
    logits = carry_back(np.log(answer / (1 - answer)).ravel(), shares, at)
    found = HeatMap(
        (1 / (1 + np.exp(-logits))).reshape(h, w).astype(np.float32), view.box,
        label=asked.label, low=0, high=1, source=asked.badge,
    )  # fmt: skip
    note = f"{asked.thing.capitalize()} found at the samples, interpolated over the triangles between them."
    yield Step("prediction", found, note)
    yield from tasks.score(view, found, task)

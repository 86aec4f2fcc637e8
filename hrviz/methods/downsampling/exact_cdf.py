r"""Exact CDF: spend pixels in proportion to saliency.

Sampling density follows saliency exactly: a part of the picture with ten times the saliency gets ten
times the pixels. Along one axis that is the inverse of the cumulative distribution, nothing more.
The sampler of Learning to Zoom, often described as doing this, does something else, and both are
drawn here over the same saliency.

A warp with output density S has u, v that solve the survey's equation 1,

    int_0^u int_0^v S(x', y') dx' dy' = x y.

In two dimensions that is one equation for two functions, so its solution is not unique. For
separable saliency S(x, y) = a(x) b(y) the pair of inverse cumulative distributions

    u(x) = A^-1(x),  v(y) = B^-1(y),   A(t) = int_0^t a / int_0^1 a,   B alike,

solves it exactly; other saliency is replaced by the product of its marginals. Output density is then
a(x) b(y), everywhere and at any width. The Gaussian sampler of equations 2 and 3 answers to the
curvature of log S instead: with a plateau of high saliency much wider than its kernel it enlarges the
rim and leaves the middle as it was. The step 'density' shows both along x.

Paper: Recasens, Kellnhofer, Stent, Matusik, Torralba, "Learning to Zoom: a Saliency-Based Sampling
Layer for Neural Networks", ECCV 2018, pp. 51-66; its equation 1 is the survey's.

Notes
-----
Saliency is taken as bins, four between each two nodes of the grid. Bins and grid both run from the
first to the last pixel centre of the region, so the half pixel outside them belongs to no bin. Each
column of cells of the grid holds the same share of saliency; within a cell the map is straight, so
density is exact as a mean over each cell. Where saliency is exactly 0 (possible with floor 0 only)
the picture gets no pixel at all: a strip between two cells is skipped, at the border cropped.
Unlike the sampler the map has kinks where saliency jumps and no bandwidth to smooth them, which is
what made the authors prefer equations 2 and 3. There is no network of its own: saliency 'trained'
is the one of Learning to Zoom.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from hrviz.cost.declared import Params
from hrviz.image import ImageView
from hrviz.method import (
    Control,
    DrawnBoxes,
    DrawnStrokes,
    Nodes,
    OutputPixels,
    Sampling,
    Task,
    UploadedMap,
    method,
)
from hrviz.methods import task as tasks
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.sampler import grid_from_nodes
from hrviz.methods.downsampling.separable import cumulative_nodes, line_nodes
from hrviz.methods.downsampling.sources import (
    Floor,
    SaliencySource,
    Strength,
    adjust,
    looks,
    saliency_calls,
    saliency_map,
    uses_network,
)
from hrviz.methods.downsampling.warp import node_counts, output_size, segmented, warped
from hrviz.results import Curve, HeatMap, Step

BINS = 4  # between two nodes

ComparedBandwidth = Annotated[
    float,
    Control(
        "Kernel of the Gaussian sampler that the density is compared with; the grid has none. Up: it "
        "answers more smoothly and reaches farther.",
        1.0, 20.0, 0.5, unit="nodes", title="Bandwidth of the sampler compared with", basic=False,
    ),
]  # fmt: skip


def _fine(nodes: tuple[int, int]) -> tuple[int, int]:
    """Nodes of the saliency, whose bins lie between."""
    return BINS * (nodes[0] - 1) + 1, BINS * (nodes[1] - 1) + 1


def _told(params: Params, region: costs.Region) -> costs.Warp:
    fine = _fine(node_counts(region, params["nodes"]))
    out = output_size(region, params["size"])
    source = params["saliency"], region, fine, params["task"]
    # Learning to Zoom's network as it is: cumulative sums are not trained through here
    calls = [*saliency_calls(*source, trained=False), *tasks.calls(params["task"], out)]
    return costs.Warp(calls, out, params["sampling"], looks(*source))


COST = costs.model(
    _told, trained="apart",
    growth=r"O(t^2 + n^2 + hw) \text{ with a thumbnail of } t^2 \text{ px and } n^2 \text{ nodes,}",
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Recasens et al., ECCV 2018",
    aliases=("inverse-cdf", "equation-1"),
    equation=r"\int_0^{u}\!\!\int_0^{v} S(x', y')\,dx'\,dy' = x\,y"
    r"\;\Rightarrow\; u = A^{-1}(x),\; v = B^{-1}(y)\ \text{for}\ S = a(x)\,b(y)",
    use_when="Density must be proportional to saliency, and saliency lies along rows and columns.",
    avoid_when="Salient places lie apart from each other: where their rows and columns cross, pixels go to waste.",
    network=uses_network,
    cost=COST,
)
def exact_cdf(
    view: ImageView,
    *,
    saliency: SaliencySource = "trained",
    size: OutputPixels = 512,
    nodes: Nodes = 31,
    strength: Strength = 1.0,
    floor: Floor = 0.1,
    boxes: DrawnBoxes = (),
    strokes: DrawnStrokes = (),
    file: UploadedMap = None,
    bandwidth: ComparedBandwidth = 13.0,
    sampling: Sampling = "fair",
    task: Task = "automatic",
) -> Iterator[Step]:
    """Warp `view` to `size` pixels with density proportional to the marginals of saliency.

    Parameters
    ----------
    view : ImageView
    saliency : str
        Source of the saliency; it is named in the result.
    size : int, px
        Longer side of the output.
    nodes : int
        Along the longer side; between two nodes the map is straight.
    strength, floor : float
        Exponent on the saliency, and share of even saliency mixed in.
    boxes, strokes : tuple
        With saliency 'drawn': (y0, x0, y1, x1) and lists of (y, x), level-0 pixels.
    file : str
        With saliency 'file'.
    bandwidth : float, nodes
        Of the sampler that the step 'density' compares with.
    sampling : {'fair', 'as published'}
    task : str

    Yields
    ------
    saliency : HeatMap
    density : Curve
        Along x, mean 1: the saliency, the density of this grid, and that of equations 2 and 3.
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        See `hrviz.methods.downsampling.warp.warped`.
    prediction : HeatMap
        Probability of the task's target, carried back to image coordinates by the exact inverse.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    A column of the picture with a box over all its height gets as many pixels as its saliency says;
    in its middle the sampler gives it no more than uniform downsampling does:

    >>> import hrviz
    >>> run = hrviz.apply("exact-cdf", "scene:tissue?size=1000x1000", saliency="drawn", floor=0.1,
    ...                   boxes=((0, 300, 1000, 700),), size=64, task="none", bandwidth=4.0)
    >>> series = run["density"].series
    >>> [round(float(line[60]), 2) for line in series.values()]
    [2.35, 2.35, 1.01]
    """
    ny, nx = node_counts(view, nodes)
    source = saliency_map(view, saliency, _fine((ny, nx)), boxes, strokes, file)
    shaped = adjust(source.values, strength, floor)
    shown = HeatMap(
        shaped, view.box, label="saliency", unit="relative", low=0, source=source.source
    )
    yield Step("saliency", shown, f"Where detail is asked for ({source.source}).")
    bins = between(shaped)
    v, u = cumulative_nodes(bins, (ny, nx))
    yield Step(
        "density",
        density(bins.sum(0), u[0], bandwidth),
        "Pixels of the output along x: this grid follows saliency, the sampler of equations 2 and 3 "
        "only its curvature (a wide plateau is enlarged at its rim).",
    )
    grid = grid_from_nodes(v, u, view.box, output_size(view, size))
    remarks = "Every column holds the same share of saliency, and so does every row."
    pixels = yield from warped(view, grid, sampling, shaped, remarks)
    yield from segmented(view, grid, pixels, task)


def between(values: np.ndarray) -> np.ndarray:
    """Values at nodes (h, w) as bins (h - 1, w - 1) between them: the mean of each cell's corners."""
    rows = (values[1:] + values[:-1]) / 2
    return np.asarray((rows[:, 1:] + rows[:, :-1]) / 2)


def density(bins: np.ndarray, u: np.ndarray, bandwidth: float) -> Curve:
    """Saliency along a line and the density of output pixels two warps make of it, each of mean 1.

    Parameters
    ----------
    bins : ndarray, (BINS (n - 1),)
        Saliency.
    u : ndarray, (n,)
        Where the nodes of the exact grid read, 0..1.
    bandwidth : float, nodes
        Of the Gaussian sampler (padding 'reflect'), which is given the same saliency at its nodes.
    """
    n = len(u)
    at = (np.arange(len(bins)) + 0.5) / len(bins)
    # a node stands for half a cell on both sides
    rims = np.clip(np.arange(n + 1) * BINS - BINS // 2, 0, len(bins))
    total = np.concatenate([[0.0], np.cumsum(bins)])
    sampled = line_nodes(np.diff(total[rims]) / np.diff(rims), bandwidth, "reflect")
    lines = {
        "saliency": bins / bins.mean(),
        "exact CDF (equation 1)": _density(u, at),
        "Gaussian sampler (equations 2-3)": _density(sampled, at),
    }
    return Curve(at, lines, "place in the image along x, 0 to 1", "relative density", tag="formula")


def _density(nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Output per image length of a piecewise straight map at image positions; 0 where cropped."""
    cell = np.clip(np.searchsorted(nodes, at) - 1, 0, len(nodes) - 2)
    width = np.maximum(np.diff(nodes)[cell], 1e-9)
    inside = (at >= nodes[0]) & (at <= nodes[-1])
    return np.where(inside, 1 / width / (len(nodes) - 1), 0.0)

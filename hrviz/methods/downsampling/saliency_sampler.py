"""Learning to Zoom: sample more where it matters.

A small network looks at a thumbnail and says where detail matters; the image is then resampled to
the same small size with the salient parts enlarged and the rest squeezed. The task network receives
as many pixels as with uniform downsampling, but spends them better.

Saliency S lives on a grid of nodes. Each node of the output reads the image at the mean position of
all nodes, weighted by their saliency and a Gaussian of their distance (survey, equations 2 and 3):

    u(x, y) = sum S(x', y') k((x, y), (x', y')) x' / sum S(x', y') k(...),   v alike,

so every node is pulled towards salient neighbours. Nodes are interpolated bilinearly to the output,
and the image is sampled there. All of it is differentiable, so the saliency network learns from the
task's loss alone.

Paper: Recasens, Kellnhofer, Stent, Matusik, Torralba, "Learning to Zoom: a Saliency-Based Sampling
Layer for Neural Networks", ECCV 2018, pp. 51-66.

Notes
-----
The warp answers to the curvature of log S, not to S: a wide plateau of high saliency is enlarged at
its rim only (the method Exact CDF shows both densities over the same saliency). With padding
'reflect' the whole region stays in the output and even saliency is exactly uniform; 'replicate' (the
authors') crops a little; 'none' is the survey's literal sum, shrinks to the centre, and is not
uniform even for even saliency.

The authors compute the sums by a padded 61 x 61 convolution. Its kernel is a product of a line down
and a line across, and padding copies whole rows and columns, so two one-dimensional passes, written as
small matrices, give the same numbers: 0.69 instead of 10.7 million multiply-accumulates at 31 x 31
nodes (`benchmarks/sampler.py` compares both, and plain summation, in one run).

The authors sample with four taps of full resolution; 'fair' averages over each output pixel's
footprint instead, as uniform downsampling does, and is the default because the two can then be
compared. The trained network is a small stand-in for the paper's ResNet-18
(`hrviz.nets.saliency.PaperSaliencyNet` has the paper's size), trained with the tissue segmenter through
this sampler after a warm start towards the truth's density (`hrviz train tissue-saliency`). The
authors train without a warm start but blur the warped picture at random in the first epochs (the blur
trick), which is to make the network zoom in further; what warm start and blur trick are worth, and where
training by the task's loss alone fails, the Landolt-C experiment shows (`hrviz train landolt`,
`benchmarks/warps/glyphs.py`).
"""

from collections.abc import Iterator

from hrviz.cost.declared import Params
from hrviz.image import ImageView
from hrviz.method import (
    Bandwidth,
    DrawnBoxes,
    DrawnStrokes,
    Nodes,
    OutputPixels,
    Padding,
    Sampling,
    Task,
    UploadedMap,
    method,
)
from hrviz.methods import task as tasks
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
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
from hrviz.results import HeatMap, Step


def _told(params: Params, region: costs.Region) -> costs.Warp:
    nodes, out = node_counts(region, params["nodes"]), output_size(region, params["size"])
    source = params["saliency"], region, nodes, params["task"]
    calls = [*saliency_calls(*source), *tasks.calls(params["task"], out)]
    return costs.Warp(calls, out, params["sampling"], looks(*source), pulled=nodes)


COST = costs.model(
    _told,
    growth=r"O(t^2 + n^3 + hw) \text{ with a thumbnail of } t^2 \text{ px and } n^2 \text{ nodes,}",
)


@method(
    family="downsampling",
    section="III-A",
    paper="Recasens et al., ECCV 2018",
    aliases=("learning-to-zoom",),
    equation=r"\begin{aligned} u &= \frac{\sum S\,k\,x'}{\sum S\,k}, \quad v = \frac{\sum S\,k\,y'}{\sum S\,k} \\"
    r"k(d) &= e^{-4\ln 2\; d^2/\mathrm{FWHM}^2} \end{aligned}",
    use_when="A thumbnail already shows where the small things that decide are.",
    avoid_when="Salient parts fill the image, or a thumbnail cannot show them.",
    network=uses_network,
    cost=COST,
)
def saliency_sampler(
    view: ImageView,
    *,
    saliency: SaliencySource = "trained",
    size: OutputPixels = 512,
    bandwidth: Bandwidth = 13.0,
    nodes: Nodes = 31,
    strength: Strength = 1.0,
    floor: Floor = 0.1,
    boxes: DrawnBoxes = (),
    strokes: DrawnStrokes = (),
    file: UploadedMap = None,
    padding: Padding = "reflect",
    sampling: Sampling = "fair",
    task: Task = "automatic",
) -> Iterator[Step]:
    """Warp `view` to `size` pixels, enlarging what is salient, and see what the task makes of it.

    Parameters
    ----------
    view : ImageView
    saliency : str
        Source of the saliency; it is named in the result.
    size : int, px
        Longer side of the output.
    bandwidth : float, nodes
        Full width at half maximum of the kernel (the paper: 13 of 31 nodes).
    nodes : int
        Along the longer side; the shorter side has as many as its share.
    strength, floor : float
        Exponent on the saliency, and share of even saliency mixed in.
    boxes, strokes : tuple
        With saliency 'drawn': (y0, x0, y1, x1) and lists of (y, x), level-0 pixels.
    file : str
        With saliency 'file'.
    padding : {'none', 'replicate', 'reflect'}
    sampling : {'fair', 'as published'}
    task : str

    Yields
    ------
    saliency : HeatMap
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        See `hrviz.methods.downsampling.warp.warped`.
    prediction : HeatMap
        Probability of the task's target, carried back to image coordinates by the exact inverse.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    Even saliency changes nothing (strength 0):

    >>> import hrviz
    >>> run = hrviz.apply("learning-to-zoom", "scene:tissue?size=2048x2048", saliency="edges",
    ...                   strength=0, size=128, task="none")
    >>> run["grid"].summary()["covered"], run["grid"].summary()["folded_cells"]
    (1.0, 0)
    """
    source = saliency_map(view, saliency, node_counts(view, nodes), boxes, strokes, file)
    shaped = adjust(source.values, strength, floor)
    shown = HeatMap(
        shaped, view.box, label="saliency", unit="relative", low=0, source=source.source
    )
    yield Step("saliency", shown, f"Where detail is asked for ({source.source}).")
    v, u = saliency_nodes(shaped, bandwidth, padding)
    grid = grid_from_nodes(v, u, view.box, output_size(view, size))
    pixels = yield from warped(view, grid, sampling, shaped)
    yield from segmented(view, grid, pixels, task)

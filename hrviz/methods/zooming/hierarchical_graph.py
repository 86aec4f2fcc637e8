r"""Hierarchical zoom graph: regions that were looked at form a graph, and attention on it decides.

As a radiologist does with a mammogram, the whole image is looked at first, then those parts of it
that call for a closer look, and so on. Every region is a node joined to the region it was cut from;
a graph attention network says of each node whether to zoom into it, and a second one, on the finished
graph, what the image shows.

At level i there are the regions looked at so far, resized to D x D px and encoded as features
:math:`H_i`, and the adjacency :math:`A_i` of regions and their sources. Equation 10:

.. math:: P_i = \begin{cases} 1 & i = 1 \\ \operatorname{softmax}(\mathrm{GAT}_{node}(A_i, H_i)) & 1 < i < R
          \end{cases}, \qquad Y = \operatorname{softmax}(\mathrm{GAT}_{graph}(A_R, H_R)\, W)

with two columns of P, leave and zoom. In a graph attention layer, :math:`z = h W`, node i listens to
its neighbours j with weights :math:`\alpha_{ij} = \operatorname{softmax}_j \operatorname{LeakyReLU}_{0.2}(a_1
z_i + a_2 z_j)`. The loss is that of the nodes (zoom labels from lesion masks) plus that of the graph.

Paper: Du, Feng, Feng, "Zoom in to where it matters: a hierarchical graph based model for mammogram analysis", arXiv 1912.07517, 2019.

Notes
-----
Split rule, D, R, pooling and loss weights are not given; chosen here, and named as such: 2 x 2
quadrants, D = 64, R = 4, node threshold 0.5, mean over nodes before W, both losses with weight 1; A
holds self loops and the nodes of all earlier levels, each joined to its source in both directions. Where
no node is zoomed into, the graph ends early and is classified as it is.

Layers are torch_geometric's GATConv (four heads, concatenated, ELU between; the last averages them).
The encoder is small and pretrained on regions of the same pictures, in place of the paper's pretrained
CNN. It is trained on drawn tissue with few tumour cells among look-alikes (`hrviz train needle-graph`),
not on mammograms: these scenes only share their structure, something small that decides among much that
resembles it. With other D or R it still runs, outside what it was trained for. The widths of edges are
alpha of the last graph, mean over heads: how much a region listens to those cut from it.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import task as tasks
from hrviz.methods.zooming import overview, stand_ins
from hrviz.methods.zooming.costs import aim, batched
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.sheets import sheet
from hrviz.methods.zooming.zoom_tree_run import AT_ONCE, BADGE, NETWORK, ZoomRun
from hrviz.results import Graph, Picture, Prediction, Step

TASK = "cell search"
CLASSES = ("absent", "present")
TRAINED_SIDE, TRAINED_LEVELS = 64, 4
SHEET = 64  # regions on the contact sheet

DecidedBy = Annotated[
    Literal["trained", "edges", "truth"],
    Control("What decides where to zoom: the graph attention network, edge energy compared within a "
            "level, or the scene's truth (an oracle).", title="Zooming by"),
]  # fmt: skip
RegionPixels = Annotated[
    int, Control("D, side of every region as it is encoded. Up: more detail at each level, more pixels.",
                 32, 128, 16, unit="px", title="Region size"),
]  # fmt: skip
Levels = Annotated[
    int, Control("R, levels of the tree. Up: closer looks (twice per level), up to four times as many "
                 "regions.", 2, 6, 1, title="Levels"),
]  # fmt: skip
Threshold = Annotated[
    float, Control("Least p(zoom) to zoom into a region. Up: fewer regions are cut.", 0.0, 1.0, 0.01),
]  # fmt: skip
CellTask = Annotated[
    Literal["automatic", "cell search", "none"],
    Control("Whether the graph is classified; automatic does so where tumour cells may be sought.",
            title="Task network"),
]  # fmt: skip


def _regions(params: Params) -> list[float]:
    """Regions looked at, by level: all of the first two, and of the others as on held-out pictures.

    Half of those hold nothing and are left after the second level. Of the others n regions were looked
    at on four levels, so the share p that is zoomed into solves n = 1 + 4 + 16 p + 64 p^2.
    """
    n = 2 * nets.card(NETWORK)["held_out"]["regions_looked_at_of_85"] - 5
    share = (math.sqrt(n - 4) - 1) / 8 if params["threshold"] > 0 else 1.0
    return [4.0**k * share ** max(0, k - 1) for k in range(params["levels"])]


def _calls(params: Params, height: int, width: int) -> list[Call]:
    if aim(params, TASK) == "none":
        return []
    region = (3, params["side"], params["side"])
    return [
        call for count in _regions(params)
        for call in batched(NETWORK, count, AT_ONCE, region, "encode")
    ]  # fmt: skip


def _work(params: Params, height: int, width: int) -> float:
    """The products of graph attention: GAT_node on the graph of every level, GAT_graph twice on the last."""
    if aim(params, TASK) == "none":
        return 0.0
    config, counts = nets.card(NETWORK)["config"], _regions(params)
    features, inner = config["features"], config["heads"] * config["hidden"]
    a_node = 2.0 * inner * (features + 2 * config["heads"])
    graphs = [sum(counts[: k + 1]) for k in range(len(counts))]
    decided = sum(graphs[1:-1]) if params["saliency"] == "trained" else 0.0
    return decided * a_node + graphs[-1] * 4.0 * features * inner


def _pixels(params: Params, height: int, width: int) -> float:
    size, longer = (params["side"], params["side"]), max(height, width)
    return sum(
        count * stored(height / 2**k, width / 2**k, size, longer)
        for k, count in enumerate(_regions(params))
    )


COST = CostModel(
    _calls, _pixels,
    growth=r"O(N D^2),\; N \approx 1 + 4 \sum_{i<R-1} (4p)^i \le \tfrac{4^R - 1}{3}",
    work=_work, certainty="expected",
    note="Regions are zoomed into as often as on held-out pictures that hold what is sought.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Du et al., arXiv 1912.07517, 2019",
    title="Hierarchical zoom graph",
    aliases=("du", "zoom-graph"),
    equation=r"\begin{aligned} P_i &= \begin{cases} 1 & i = 1 \\ \operatorname{softmax}(\mathrm{GAT}_{node}"
    r"(A_i, H_i)) & 1 < i < R \end{cases} \\ Y &= \operatorname{softmax}(\mathrm{GAT}_{graph}(A_R, H_R)\,W)"
    r" \end{aligned}",
    use_when="Few small things decide, and where they may be shows level by level as one comes closer.",
    avoid_when="What decides is everywhere, so all is zoomed into, or cannot be guessed from farther away.",
    network=lambda params: params["task"] != "none",
    example="scene:needle?size=500x500&object=cell&background=tissue&ratio=0.002&count=4&distractors=12&seed=3000003",
    cost=COST,
)
def hierarchical_graph(
    view: ImageView,
    *,
    saliency: DecidedBy = "trained",
    side: RegionPixels = 64,
    levels: Levels = 4,
    threshold: Threshold = 0.5,
    task: CellTask = "automatic",
) -> Iterator[Step]:
    """Zoom into `view` quadrant by quadrant and classify the graph of what was looked at.

    Parameters
    ----------
    view : ImageView
    saliency : {'trained', 'edges', 'truth'}
        What decides where to zoom; it is named in the tree.
    side : int, px
        D, of every region as it is encoded.
    levels : int
        R.
    threshold : float
        Least p(zoom) to zoom into a region.
    task : str

    Yields
    ------
    whole image : Picture
        The root, as it is encoded.
    tree : ZoomTree
        Grows level by level: p(zoom) of each node, and whether it was zoomed into.
    zoomed regions : Picture
        The regions of the finest level reached, with bars for alpha.
    graph : Graph
        On the image: nodes in the middle of their regions, coloured by level, edges as wide as alpha.
    prediction : Prediction
        Probability that there is a cell.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    Zooming by the truth follows the object down to the last level:

    >>> import hrviz
    >>> run = hrviz.apply("zoom-graph", "scene:needle?size=512x512&object=disc&ratio=0.0005&distractors=0",
    ...                   saliency="truth", task="none")
    >>> run["tree"].summary()["depth"]
    3
    """
    networks = tasks.resolve(task, view.truth, among=(TASK,)) != "none"
    source, remark = saliency, ""
    if source == "trained" and not networks:
        source, remark = "edges", ", in place of the network: no task is set"
    badge = {"trained": BADGE, "edges": stand_ins.EDGES, "truth": stand_ins.TRUTH}[source]
    growing = Growing(view, "p(zoom)", badge, exhaustive_calls=4 ** (levels - 1))
    run = ZoomRun(view, side, levels, threshold, source, networks, growing)
    growing.exhaustive_pixels = run.exhaustive_pixels()
    for progress in run.grow():
        if progress == 1 / levels:
            note = f"Level 1: everything in {side} x {side} px, always zoomed into."
            yield Step("whole image", Picture(run.pixels[0], view.box), note)
        zoomed = sum(node.decision == "zoomed" for node in growing.nodes)
        note = f"{len(run.boxes)} regions looked at, {zoomed} zoomed into ({badge}{remark})"
        tree = growing.tree()
        yield Step("tree", tree, f"{note}{overview.remark(tree)}.", progress)

    finest = max(run.levels_of)
    last = [n for n, level in enumerate(run.levels_of) if level == finest]
    logits = alpha = None
    if networks:
        logits, alpha = run.answer()
    shown = sorted(last, key=lambda n: -alpha[n])[:SHEET] if alpha is not None else last[:SHEET]
    bars = ", those that their source listens to most first" if alpha is not None else ""
    yield Step(
        "zoomed regions",
        sheet([run.pixels[n] for n in shown], None if alpha is None else [alpha[n] for n in shown]),
        f"{len(shown)} of {len(last)} regions of level {finest}{bars}.",
    )
    yield _graph(run, alpha)
    if logits is None:
        return
    p = np.exp(logits - logits.max())
    p /= p.sum()
    chosen = int(p.argmax())
    usual = (side, levels) == (TRAINED_SIDE, TRAINED_LEVELS)
    caveat = "" if usual else f", though trained for D = {TRAINED_SIDE} and R = {TRAINED_LEVELS}"
    yield Step(
        "prediction", Prediction(dict(zip(CLASSES, map(float, p), strict=True)), source=BADGE),
        f"A tumour cell is {CLASSES[chosen]} ({p[chosen]:.0%}), from a graph of {len(run.boxes)} regions{caveat}.",
    )  # fmt: skip
    if view.truth is not None:
        yield _score(view, run, p)


def _graph(run: ZoomRun, alpha: np.ndarray | None) -> Step:
    nodes = np.array([box.centre for box in run.boxes])
    children = np.array([n for n, parent in enumerate(run.parents) if parent >= 0])
    edges = np.stack([np.array(run.parents)[children], children], 1)
    graph = Graph(nodes, edges, np.array(run.levels_of, float),
                  None if alpha is None else alpha[children])  # fmt: skip
    widths = "" if alpha is None else \
        "; edges are as wide as a region listens to what was cut from it (alpha)"  # fmt: skip
    return Step(
        "graph",
        graph,
        f"{len(nodes)} regions, each joined to its source, coloured by level{widths}.",
    )


def _score(view: ImageView, run: ZoomRun, p: np.ndarray) -> Step:
    """Whether the answer is right, and how many of the true cells lie in a region of level R."""
    if not tasks.fits(TASK, view.truth):
        told = "This scene has no tumour cells, so any that is found is a false alarm: set task to none."
        wrong = Prediction({"false_alarm": float(p.argmax() == 1)}, source=BADGE)
        return Step("score", wrong, told)
    points, kinds = view.truth.points(view.box)
    names = view.truth.kinds
    cells = points[[names[int(k)] == "cell" for k in kinds]]
    true = int(len(cells) > 0)
    leaves = np.array(
        [b for b, level in zip(run.boxes, run.levels_of, strict=True) if level == run.levels]
    )
    values = {"right": float(p.argmax() == true), "probability of the truth": float(p[true])}
    if true:
        inside = [
            bool(len(leaves)) and bool(((leaves[:, :2] <= at) & (at < leaves[:, 2:])).all(1).any())
            for at in cells
        ]
        values |= {"cells": float(len(cells)), "cells_reached": float(np.mean(inside))}
    return Step("score", Prediction(values, source=BADGE), f"The truth is {CLASSES[true]}; a cell is reached when "
                f"it lies in a region of level {run.levels}.")  # fmt: skip

r"""Zoom-In network: attention on a thumbnail picks tiles, attention on those picks sub-tiles.

A first attention network looks at a view at scale s1 and says which tiles deserve a look; a second
looks at the drawn tiles at scale s2 and says which sub-tiles; only those are read at full
resolution. So a gigapixel slide is classified from two sorts of thumbnails and N small squares.

With view V(x, s1) and tile T(x, c) at position c,

.. math:: \alpha = a(V(x, s_1)), \quad \beta^c = b(V(T(x, c), s_2)), \quad
   \Psi(x) = g\Bigl(\sum_c \alpha_c \sum_{c'} \beta^c_{c'} f(T(T(x, c), c'))\Bigr)

(the paper's equations 1, 4 and 5). N tiles are drawn with replacement from alpha; a tile drawn
n_c times gives n_c sub-tiles, drawn without replacement from its beta, in an order that the
estimate keeps (`draws`):

.. math:: \hat F = \sum_c \frac{n_c}{N} \frac1{n_c} \sum_{i=1}^{n_c} \Bigl[\sum_{j<i} \beta_{I_j} f_{I_j}
   + \bigl(1 - \sum_{j<i} \beta_{I_j}\bigr) f_{I_i}\Bigr]

Paper: Kong and Henao, "Efficient Classification of Very Large Images with Tiny Objects", CVPR 2022.

Notes
-----
The last bracket of the paper's equation 9 holds the feature of an earlier draw, which makes the sum
biased; here it is that of the i-th, which makes it exact in the mean (enumerated in
`tests/methods/test_draws.py` and `test_zoom_in.py`). Gumbel noise is added to log beta, as the paper
says, not to beta. Of a tile drawn more often than it has sub-tiles the surplus is dropped (each of
its sub-tiles is then in the estimate anyway). Tiles are read one by one, so the peak holds one of
their views, not N'. Beyond the image everything is white.

The networks have the paper's sizes. They are trained on procedural scenes, 'cell search' with image
labels only, 'slide label' with annotations (see `hrviz.training.slide_zoom_in`); the classifier was
shown whole pictures, so it answers for pictures of that kind. On the cell pictures the classes differ
in mean colour too, so being right there does not show that cells were found: the score step says how
many sub-tiles lie on cells. With task 'none' the attention is a stand-in and nothing is classified.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, Seed, method
from hrviz.methods.zooming import zoom_in_checks as checks
from hrviz.methods.zooming import zoom_in_eye as eyes
from hrviz.methods.zooming.costs import aim as aim_of
from hrviz.methods.zooming.stages import Stages, memory, paper_tile
from hrviz.methods.zooming.two_stages import Drawing
from hrviz.methods.zooming.zoom_in_eye import ZoomTask
from hrviz.results import Curve, Prediction, Step

Guide = Annotated[
    Literal["trained", "edges", "truth"],
    Control("What attends: the trained networks, the energy of edges, or the scene's own truth (an "
            "oracle).", title="Attention from"),
]  # fmt: skip
FirstScale = Annotated[
    float,
    Control("Scale s1 of the view of the whole region. Up: finds smaller things, holds more memory; 0 "
            "takes what the network was trained with.", 0.0, 0.5, 0.005, title="First scale",
            zero="as trained"),
]  # fmt: skip
SecondScale = Annotated[
    float,
    Control("Scale s2 of the views of tiles. Up: finer choice of sub-tiles, more pixels; 0 takes what "
            "the network was trained with.", 0.0, 1.0, 0.05, title="Second scale",
            zero="as trained"),
]  # fmt: skip
TilePixels = Annotated[
    int,
    Control("Side of a tile. Up: each look covers more; 0 takes s1 times the region's sides, as the "
            "paper does.", 0, 4096, 16, unit="px", title="Tile", basic=False, zero="s1 of the region"),
]  # fmt: skip
SubtilePixels = Annotated[
    int,
    Control("Side of a sub-tile, read at full resolution. Up: more context, more pixels; 0 takes what "
            "the network was trained with.", 0, 256, 1, unit="px", title="Sub-tile",
            zero="as trained"),
]  # fmt: skip
Draws = Annotated[
    int, Control("N, tiles drawn. Up: a steadier answer, more pixels and calls.", 1, 128, 1,
                 title="Draws"),
]  # fmt: skip
Redraws = Annotated[
    int,
    Control("How often everything is drawn again to show the spread. Up: a surer spread, longer.",
            1, 32, 1, basic=False),
]  # fmt: skip
Features = Annotated[
    Literal["lenet", "resnet"],
    Control("What looks at sub-tiles. ResNet: deeper, slower; where it is not trained the LeNet looks.",
            title="Extractor", basic=False),
]  # fmt: skip
Contrastive = Annotated[
    bool,
    Control("Also draws where attention is low, and shows what the classifier says of that.",
            basic=False),
]  # fmt: skip
Exact = Annotated[
    bool,
    Control("Also sums over nearly all positions, to compare with. Takes some ten seconds.",
            basic=False, title="Exact sum"),
]  # fmt: skip
Mapping = Annotated[
    Literal["centres", "paper"],
    Control("How a view's pixel maps to the image: middles to middles, or the paper's corner to corner.",
            basic=False),
]  # fmt: skip


def _stages(params: Params, height: int, width: int) -> tuple[str, Stages]:
    """Name of the weights, and the geometry, of a region."""
    name = eyes.network(aim_of(params, "cell search"), params["extractor"])
    names = ("first", "second", "tile", "subtile", "mapping")
    region = Box(0.0, 0.0, float(height), float(width))
    return name, eyes.plan(region, name, *(params[n] for n in names))


def _tiles(params: Params) -> float:
    """N', different tiles among the N drawn: half of them, as in the paper's memory formula."""
    return max(1.0, float(params["draws"]) / 2)


def _calls(params: Params, height: int, width: int) -> list[Call]:
    name, stages = _stages(params, height, width)
    if not name:
        return []
    from hrviz.nets.zoom_in import WIDTH

    (h, w), (u, v), tiles = stages.view, stages.tile_view, _tiles(params)
    out = []
    if params["saliency"] == "trained":
        seen = Counter(high - low for _, _, low, high in eyes.strips(h, w))
        out = [Call(name, (1, 3, rows, w), float(times), "first") for rows, times in seen.items()]
        out.append(Call(name, (1, 3, u, v), tiles, "second"))
    each = min(math.ceil(params["draws"] / tiles), u * v, eyes.FEATURES_AT_ONCE)
    subtiles = (each, 3, stages.subtile, stages.subtile)
    out.append(Call(name, subtiles, params["draws"] / each, "encode", task=True))
    return [*out, Call(name, (1, WIDTH), part="classify")]


def _pixels(params: Params, height: int, width: int) -> float:
    _, stages = _stages(params, height, width)
    th, tw = min(stages.tile[0], height), min(stages.tile[1], width)
    tile = stored(th, tw, stages.tile_view, max(height, width))
    subtiles = float(params["draws"] * stages.subtile**2)
    return stored(height, width, stages.view) + _tiles(params) * tile + subtiles


COST = CostModel(
    _calls, _pixels,
    growth=r"O(s_1^2 HW + N' s_1^2 s_2^2 HW + N h_2 w_2),\; s_1^2 HW \le 2^{22}",
    certainty="expected", beside=("contrast", "exact", "estimate"),
    holds_from=32_768,  # where views have grown to their bound
    note="Half as many different tiles are drawn as there are draws, as the paper has it; tiles are held one by one.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Kong and Henao, CVPR 2022",
    aliases=("zoom-in", "zoomin"),
    equation=r"\Psi(x) = g\Bigl(\sum_{c} \alpha_c \sum_{c'} \beta^c_{c'}\, f\bigl(T_{s_2}(T_{s_1}(x, c), c')\bigr)\Bigr)",
    use_when="An image is far too large for memory, and small things that stand out decide its class.",
    avoid_when="What decides is spread evenly, or cannot be told from anything else at low resolution.",
    network=lambda params: params["task"] != "none",
    example=eyes.EXAMPLE,
    cost=COST,
)
def zoom_in_network(
    view: ImageView,
    *,
    task: ZoomTask = "automatic",
    saliency: Guide = "trained",
    first: FirstScale = 0.0,
    second: SecondScale = 0.0,
    tile: TilePixels = 0,
    subtile: SubtilePixels = 0,
    draws: Draws = 10,
    extractor: Features = "lenet",
    mapping: Mapping = "centres",
    contrastive: Contrastive = False,
    exact: Exact = False,
    redraws: Redraws = 4,
    seed: Seed = 0,
) -> Iterator[Step]:
    """Classify `view` from sub-tiles that two stages of attention draw.

    Parameters
    ----------
    view : ImageView
    task : str
        What is to be told of the image.
    saliency : {'trained', 'edges', 'truth'}
        What attends.
    first, second : float
        Scales s1 and s2.
    tile, subtile : int, px
        Sides at full resolution.
    draws : int
        N.
    extractor : {'lenet', 'resnet'}
    mapping : {'centres', 'paper'}
    contrastive : bool
        Also draw where attention is low, as the contrastive loss does.
    exact : bool
        Also run over (nearly) all tiles and sub-tiles.
    redraws : int
        Repetitions for the spread of the estimate.
    seed : int

    Yields
    ------
    view : Picture
        V(x, s1), what the first attention sees.
    attention : HeatMap
        Alpha over the region.
    tree : ZoomTree
        Tiles drawn and the sub-tiles in them, in the order drawn.
    tiles : Picture
        The tiles drawn most often with their beta.
    subtiles : Picture
        What is read at full resolution.
    contrast : Prediction
        What the classifier says of sub-tiles with low attention.
    memory : Curve
        Input pixels held, against the side of the image (the paper's formula).
    estimate : Curve
        The answer against the number of draws, with its spread.
    exact : Prediction
        The sums over (nearly) all positions.
    prediction : Prediction
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        A view or an exact sum that is too large, or truth that is not there.
    """
    aim = eyes.resolve(task, view.truth)
    name = eyes.network(aim, extractor)
    stages = eyes.plan(view.box, name, first, second, tile, subtile, mapping)
    eye = eyes.attend(view, stages, name, saliency)
    rng = np.random.default_rng(seed)
    yield Step("view", eye.shown, eye.note)
    yield Step("attention", eye.heat, f"{eye.alpha.size:,} positions; {eye.concentration}.")
    drawing = Drawing(view, eye, draws, rng)
    for tree, done, told in drawing.grow():
        yield Step("tree", tree, told, done)
    yield Step(
        "tiles", drawing.tiles_sheet(), "The tiles drawn most often, their views beside beta."
    )
    yield Step("subtiles", drawing.subtiles_sheet(), drawing.told)
    if aim == "none":
        yield Step(
            "memory", _memory(stages, drawing), "Input pixels held, by the paper's formulas."
        )
        return
    if contrastive:
        low = checks.contrast(view, eye, draws, rng)
        told = (
            "Sub-tiles drawn from 1 - alpha and 1 - beta: the contrastive loss wants them negative."
        )
        yield Step("contrast", low, told)
    yield Step("memory", _memory(stages, drawing), "Input pixels held, by the paper's formulas.")
    truth: Prediction | None = None
    if exact:
        for found, done, told in checks.exact(view, eye):
            truth = found
            yield Step("exact", found, told, done)
    yield Step("estimate", checks.spread(view, eye, drawing, redraws, rng, truth),
               f"One draw, the mean of {redraws} further ones, and their spread.")  # fmt: skip
    answer = drawing.answer()
    yield Step("prediction", answer, f"From {drawing.subtiles} sub-tiles of {stages.subtile} px.")
    yield from checks.score(view, eye, drawing, answer, aim)


def _memory(stages: Stages, drawing: Drawing) -> Curve:
    """The paper's memory formulas against the side of a square image, at these settings."""
    from hrviz.geometry import Box

    sides = 2.0 ** np.arange(9, 18)
    rows = []
    for side in sides:
        region = Box(0, 0, float(side), float(side))
        scale = min(
            stages.first, 2048 / side
        )  # a view of at most 2,048 px a side can be attended to
        at = Stages(region, scale, stages.second, paper_tile(region, scale), stages.subtile)
        rows.append(memory(at, drawing.draws, max(1.0, drawing.unique)))
    names = {"one_stage": "one stage at s2", "all_tiles": "two stages, all tiles at once",
             "tile_by_tile": "two stages, tile by tile"}  # fmt: skip
    series = {told: np.array([row[name] for row in rows]) for name, told in names.items()}
    series["whole image"] = sides**2
    return Curve(
        sides, series, "side of the image (px)", "input pixels held", log=True, tag="formula"
    )

r"""Dynamic zoom-in: look again only where a closer look is worth its pixels.

A detector runs on the downsampled region. A first small network (R-net) regresses, for each thing found
there, how much more right the detector would be at full resolution; a second one (Q-net) picks windows
on the map of these gains, one after another, until the best window is no longer worth its pixels.

The gain of a proposal with label g, coarse score p_l and fine score p_h is |g - p_l| - |g - p_h|,
spread over its box: that is the accuracy-gain (AG) map. A window of b of the B pixels is rewarded with

    R(s, a) = sum of the gains in a - lambda b / B,

and Q(s, a) = R(s, a) + gamma max Q(s', a') is learned by Q-learning. Gain .6 on a thing found and .5 on a
false alarm, in a window of a quarter of the picture: R = 1.1 - 0.25 lambda, chosen while lambda < 4.4.
Nothing is left to gain inside a chosen window; stopping is worth 0.

Paper: Gao, Yu, Li, Morariu, Davis, "Dynamic Zoom-in Network for Fast Object Detection in Large Images",
CVPR 2018, pp. 6926-6935.

Notes
-----
The detector is the small `road-detector` instead of Fast R-CNN, the same one coarsely and finely, and
a proposal is one of its detections, down to a score of 0.05: what it misses coarsely has no gain. The
feature is the detector's own at the proposal; R-net has two layers (`hrviz train road-gain`). A fine
score is that of the best fine detection of the same class with an IoU of at least 0.5, else 0.

A proposal counts for the window that holds its centre: counted by their parts, sums of the AG map and
the reward would disagree. A window is read with a rim of 16 px, and what even that cuts is left to the
coarse look. The Q-network (`hrviz train road-windows`) therefore sees the gains at their centres too,
without which the reward were no function of the state, and lambda as a third map, so that one network
serves the slider. It starts as the greedy choice and learns what to add to it; on held-out pictures its
sequences earn 95 to 102 % of what greedy choice does, depending on lambda (the card). 'greedy' takes
the best reward at once, which is what Q-learning comes to with gamma = 0, and needs no network.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from hrviz import nets
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import task as tasks
from hrviz.methods.detection import DETECTORS
from hrviz.methods.detection import calls as detecting
from hrviz.methods.downsampling.sources import THUMBNAIL
from hrviz.methods.zooming import gain_sources as sources
from hrviz.methods.zooming.costs import aim as aim_of
from hrviz.methods.zooming.dynamic_zoom_run import (
    RIM,
    SIDES,
    TASK,
    WINDOW_NETWORK,
    ZoomIn,
    scales_of,
)
from hrviz.results import Boxes, HeatMap, Picture, Step

GainSource = Annotated[
    Literal["trained", "truth", "edges"],
    Control(
        "Where gains come from: the trained R-net, true labels and the fine detector's scores (an "
        "oracle), or edge energy.",
        title="Gains from",
    ),
]
Policy = Annotated[
    Literal["trained", "greedy"],
    Control("What picks windows: the trained Q-network, or the best reward at once (gamma = 0)."),
]
Price = Annotated[
    float,
    Control("lambda, what looking at all pixels would cost. Up: fewer and smaller windows.",
            0.0, 5.0, 0.1, title="Price of pixels"),
]  # fmt: skip
Windows = Annotated[
    Literal["all", "small", "medium", "large"],
    Control(
        "Sizes to choose from: an eighth, a quarter, three eighths of the longer side, or all."
    ),
]
Steps = Annotated[
    int, Control("Windows at most. Up: more is looked at closely.", 1, 10, 1, unit="windows")
]
Coarse = Annotated[
    int,
    Control("Longer side of the first look. Up: more is found at once, less is left to gain.",
            160, 640, 32, unit="px", title="Coarse size"),
]  # fmt: skip
Detail = Annotated[
    Literal[2, 4, 8],
    Control(
        "Pixels of a closer look per pixel of the first. Up: more detail, more pixels a window."
    ),
]
Compare = Annotated[
    bool,
    Control("Also detect coarsely only and at full detail everywhere, to compare (not counted in the "
            "cost).", basic=False),
]  # fmt: skip
DetectionTask = Annotated[
    Literal["automatic", "sign detection", "none"],
    Control("Whether the detector runs; automatic takes what the image is for.", title="Task network"),
]  # fmt: skip


def _window(params: Params, height: int, width: int) -> tuple[Box, tuple[int, int]]:
    """The largest window that may be read, with its rim, and its size as the detector sees it."""
    finest = scales_of(height, width, params["coarse"], params["detail"]).finest
    cells = max(SIDES.values()) if params["windows"] == "all" else SIDES[params["windows"]]
    h, w = (
        min(n, min(cells, own) * n / own + 2 * RIM * finest)
        for n, own in zip((height, width), sources.cells_of(height, width), strict=True)
    )
    return Box(0, 0, h, w), (max(1, round(h / finest)), max(1, round(w / finest)))


def _calls(params: Params, height: int, width: int) -> list[Call]:
    if aim_of(params, TASK) == "none":
        return []
    steps = params["steps"]
    first = scales_of(height, width, params["coarse"], params["detail"]).size
    out = detecting(TASK, first)
    if params["saliency"] == "trained":
        features = nets.card(sources.GAIN_NETWORK)["config"]["features"]
        out.append(Call(sources.GAIN_NETWORK, (sources.TOP, features)))
    if params["policy"] == "trained":
        cells = sources.cells_of(height, width)
        out.append(Call(WINDOW_NETWORK, (1, 3, *cells), steps + 1.0))
    return out + detecting(TASK, _window(params, height, width)[1], float(steps))


def _pixels(params: Params, height: int, width: int) -> float:
    first = scales_of(height, width, params["coarse"], params["detail"]).size
    box, size = _window(params, height, width)
    windows = params["steps"] * stored(box.height, box.width, size, max(height, width))
    networks = aim_of(params, TASK) != "none"
    if params["saliency"] == "edges" or (params["saliency"] == "trained" and not networks):
        windows += stored(height, width, scales_of(height, width, THUMBNAIL, 1).size)
    return stored(height, width, first) + windows


COST = CostModel(
    _calls, _pixels,
    growth=r"O(h w + T\, (\tfrac{3}{8}\, d\, h)^2) \text{ for } T \text{ windows at } d \text{ times the detail of the first look}",
    certainty="most", trained="apart",
    note="All windows that are allowed are looked at, each of the largest size.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Gao et al., CVPR 2018",
    title="Dynamic zoom-in network",
    aliases=("dzin", "dynamic-zoom-in-network"),
    equation=r"\begin{aligned} \mathrm{gain}_k &= |g_k - p_{l,k}| - |g_k - p_{h,k}| \\"
    r"R(s, a) &= \sum_{k \in a} \mathrm{gain}_k - \lambda\, b / B \end{aligned}",
    use_when="Few small things lie in a large picture, and a coarse look hints at them.",
    avoid_when="The coarse look does not show them at all, or they are everywhere.",
    network=lambda params: params["task"] != "none",
    example="scene:road?ratio=0.001&clutter=10",
    cost=COST,
)
def dynamic_zoom_in(
    view: ImageView,
    *,
    saliency: GainSource = "trained",
    policy: Policy = "trained",
    price: Price = 2.0,
    windows: Windows = "all",
    steps: Steps = 6,
    coarse: Coarse = 320,
    detail: Detail = 4,
    compare: Compare = True,
    task: DetectionTask = "automatic",
) -> Iterator[Step]:
    """Detect on the downsampled view, then again in the windows that are worth their pixels.

    Parameters
    ----------
    view : ImageView
    saliency : {'trained', 'truth', 'edges'}
        Where gains come from; without a detector 'trained' falls back to 'edges'.
    policy : {'trained', 'greedy'}
        Without networks the windows are picked greedily.
    price : float
        lambda.
    windows : {'all', 'small', 'medium', 'large'}
        Sizes to choose from.
    steps : int
        Windows at most.
    coarse : int, px
        Longer side of the first look.
    detail : int
        Pixels of a closer look per pixel of the first, down to the image's own.
    compare : bool
        Whether the score says what the coarse look alone and full detail everywhere come to, where
        that is at most 8 megapixels.
    task : str

    Yields
    ------
    coarse : Picture
        The first look.
    proposals : Boxes
        What the detector found there, with the gains as scores.
    accuracy gain : HeatMap
        The AG map that windows are picked on.
    tree : ZoomTree
        Windows in the order they were picked, under the first look.
    gain and cost : Curve
        Cumulative gain, and the price of the pixels, over the windows.
    prediction : Boxes
        Fine detections inside the windows, coarse ones elsewhere.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        No truth for the oracle, or too many pixels for it.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("dzin", "scene:road", task="none", saliency="edges", price=5)
    >>> run["tree"].nodes[0].decision
    'processed'
    """
    aim = tasks.resolve(task, view.truth, among=(TASK,))
    if saliency == "truth" and view.truth is None:
        raise HrvizError(f"{view.image.name} has no truth: choose gains from another source")
    sides = tuple(SIDES.values()) if windows == "all" else (SIDES[windows],)
    run = ZoomIn(view, coarse, detail, price, sides, aim != "none", policy == "trained")
    run.first_look(saliency)
    yield Step(
        "coarse",
        Picture(run.pixels, view.box),
        "The first look, all that is seen of most of the region.",
    )
    if run.found is not None:
        shown = Boxes(
            run.found.boxes, run.gains, run.found.labels, DETECTORS[TASK].classes, run.source
        )
        yield Step("proposals", shown, "What is found coarsely; the scores are the gains expected.")
    replaced = saliency == "trained" and run.found is None
    fallback = " Without a detector edges stand in." if replaced else ""
    top = run.strong()
    ag = HeatMap(run.state.spread, view.box, label="accuracy gain", unit="per cell",
                 scale="diverging", low=-top, high=top, source=run.source)  # fmt: skip
    yield Step("accuracy gain", ag, f"What a closer look is worth, spread over boxes.{fallback}")
    for done in run.windows(steps):
        yield Step("tree", run.growing.tree(), run.told(), done)
    yield Step(
        "gain and cost",
        run.curve(),
        "Where the price line is steeper than the gains, the run stops.",
    )
    if run.found is None:
        return
    merged = sources.merge(run.found, run.looks, view.box, 2 * run.finest)
    classes, badge = DETECTORS[TASK].classes, DETECTORS[TASK].badge
    note = "Inside the windows the fine look's boxes, elsewhere the coarse look's."
    yield Step("prediction", merged.result(classes, badge), note)
    if view.truth is not None:
        yield from run.score(merged, compare)

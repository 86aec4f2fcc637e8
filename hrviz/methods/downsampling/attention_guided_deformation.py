r"""AGDN: a structured and a free grid from one attention map, mixed.

A first branch classifies a small copy of the picture; where its last features answer is taken for
attention, and the full picture is resampled by it for a second branch, which sees the suspicious part
enlarged. A classifier on both decides. It was made for capsule endoscopy, whose lesions cover a small
part of the frame.

Two grids are made from attention S. The structured one runs the sampler along each axis, on the
marginals S(x) = max_y S(x, y) and S(y) = max_x S(x, y) (survey, equations 5 and 6),

    u_s(x) = sum_x' S(x') k(x, x') x' / sum_x' S(x') k(x, x'),
    v_s(y) = sum_y' S(y') k(y, y') y' / sum_y' S(y') k(y, y'),

so rows and columns stay straight and nothing can fold. The custom one is Learning to Zoom's
(equations 2 and 3) and bends freely. They are mixed with weight lambda (equations 7 and 8):

    u = lambda u_s + (1 - lambda) u_c,   v alike.

Paper: Xing, Yuan, Meng, "Zoom in Lesions for Better Diagnosis: Attention Guided Deformation Network
for WCE Image Classification", IEEE Transactions on Medical Imaging, 2020.

Notes
-----
The survey prints equation 6 with x' in its numerator: a misprint, it must be y' as above. Its lambda
multiplies the structured grid, that of the authors' code the custom grid; here the slider is called
structured share. As published: 31 x 31 nodes, kernel of 9 nodes, padding 'replicate' (crops a little),
128 x 128 pixels out, attention = mean over channels of the first branch's features after ReLU,
stretched to 0..1. The mesh
of the custom grid can fold under sparse saliency (drawn strokes with floor 0, say); mixing in the
structured grid mends that. Not as published: a floor of 0.1 of even saliency by default (0 in the
paper), without which a small drawn or true spot crops all the rest away. The trained network is a
small stand-in (`hrviz.nets.attention_guided.PaperBranch` has the paper's size) without the paper's
TLFA blocks; it takes the largest of each feature, where the paper takes the mean; the features of
branch 1 and its attention were taught by the scene's truth what lies where, not by labels of pictures
alone. Its
branches were trained one after the other, the warped picture being a constant for the training as in
the authors' code: the sampler is not trained through (`hrviz train endoscopy-agdn`). Its card says
what was bought, beside a control: a second branch trained as long on uniform pictures.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Call, Params
from hrviz.image import ImageView
from hrviz.method import (
    Bandwidth,
    Control,
    DrawnBoxes,
    DrawnStrokes,
    Nodes,
    OutputPixels,
    Padding,
    Sampling,
    UploadedMap,
    method,
)
from hrviz.methods import task as tasks
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.separable import mix, separable_nodes
from hrviz.methods.downsampling.sources import (
    Floor,
    SaliencySource,
    Strength,
    adjust,
    looks,
    saliency_map,
    uses_network,
)
from hrviz.methods.downsampling.warp import node_counts, output_size, warped
from hrviz.results import HeatMap, Prediction, Step

if TYPE_CHECKING:
    import torch

NETWORK = "endoscopy-agdn"
BADGE = f"trained: {NETWORK}"
CLASSES = ("normal", "polyp", "ulcer", "bleeding", "angioectasia")
INPUT = 128  # longer side of branch 1's picture
LEAST = 32  # shorter side of what a branch is given: one pixel of features is 16

StructuredShare = Annotated[
    float,
    Control(
        "How much of the structured grid is in the mix (lambda). 1: straight rows and columns; "
        "0: the free grid of Learning to Zoom.",
        0.0, 1.0, 0.05, title="Structured share",
    ),
]  # fmt: skip
LesionTask = Annotated[
    Literal["automatic", "lesion classification", "none"],
    Control(
        "Whether the two branches classify the picture; automatic does so where the image may show "
        "lesions of the gut.",
        title="Task network",
    ),
]


def _told(params: Params, region: costs.Region) -> costs.Warp:
    nodes, out = node_counts(region, params["nodes"]), output_size(region, params["size"])
    classifies = params["task"] != "none"
    seen = looks(params["saliency"], region, nodes, "") if params["saliency"] != "trained" else []
    calls = []
    if classifies or params["saliency"] == "trained":
        seen = [*seen, region.fit(INPUT)]
        calls.append(Call(NETWORK, _given(region.fit(INPUT)), part="first"))
    if classifies:
        calls.append(Call(NETWORK, _given(out), part="second", task=True))
    return costs.Warp(calls, out, params["sampling"], seen, pulled=nodes)


def _given(size: tuple[int, int]) -> tuple[int, ...]:
    return 1, 3, max(LEAST, size[0]), max(LEAST, size[1])


COST = costs.model(
    _told, trained="apart",
    growth=r"O(t^2 + n^3 + hw) \text{ with a thumbnail of } t^2 \text{ px and } n^2 \text{ nodes,}",
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Xing et al., IEEE TMI 2020",
    aliases=("agdn",),
    equation=r"\begin{aligned} u_s(x) &= \frac{\sum_{x'} S(x')\,k(x,x')\,x'}{\sum_{x'} S(x')\,k(x,x')}, \quad"
    r" v_s(y) = \frac{\sum_{y'} S(y')\,k(y,y')\,y'}{\sum_{y'} S(y')\,k(y,y')} \\"
    r" u &= \lambda u_s + (1-\lambda) u_c, \quad v = \lambda v_s + (1-\lambda) v_c \end{aligned}",
    use_when="One label for the whole picture hangs on a small part of it that a thumbnail makes suspicious.",
    avoid_when="The part that decides cannot be told at all from a thumbnail: attention then goes astray.",
    network=uses_network,
    cost=COST,
    example="scene:endoscopy?size=1024x1024&lesion=polyp&ratio=0.004&seed=3000006",
)
def attention_guided_deformation(
    view: ImageView,
    *,
    saliency: SaliencySource = "trained",
    share: StructuredShare = 0.5,
    size: OutputPixels = 128,
    bandwidth: Bandwidth = 9.0,
    nodes: Nodes = 31,
    strength: Strength = 1.0,
    floor: Floor = 0.1,
    boxes: DrawnBoxes = (),
    strokes: DrawnStrokes = (),
    file: UploadedMap = None,
    padding: Padding = "replicate",
    sampling: Sampling = "fair",
    task: LesionTask = "automatic",
) -> Iterator[Step]:
    """Warp `view` by a mix of a structured and a custom grid, and classify what it shows.

    Parameters
    ----------
    view : ImageView
    saliency : str
        Source of the saliency; 'trained' is the attention of branch 1.
    share : float
        Of the structured grid in the mix, lambda of equations 7 and 8.
    size : int, px
        Longer side of the output (the paper, and the trained branches: 128).
    bandwidth : float, nodes
        Full width at half maximum of the kernel.
    nodes : int
        Along the longer side; the shorter side has as many as its share.
    strength, floor : float
        Exponent on the saliency, and share of even saliency mixed in (the paper: 1 and 0).
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
    structured grid, custom grid : WarpGrid
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        Of the mix; see `hrviz.methods.downsampling.warp.warped`.
    prediction : Prediction
        Probability of each class, from both branches together.
    score : Prediction
        Where the image has truth: whether that is right, and the probability that branch 1 (whole
        picture), branch 2 (warped) and both together give to the truth.

    Examples
    --------
    Straight rows and columns with share 1:

    >>> import hrviz
    >>> run = hrviz.apply("agdn", "scene:endoscopy?size=512x512", saliency="truth", share=1.0, task="none")
    >>> run["structured grid"].separable, run["custom grid"].separable, run["grid"].separable
    (True, False, True)
    """
    counts = node_counts(view, nodes)
    asked = tasks.resolve(task, view.truth, among=("lesion classification",))
    features = None
    if saliency == "trained":
        features = branch("first", thumbnail(view))
        source = HeatMap(attention(features, counts), view.box, source=BADGE)
    else:
        source = saliency_map(view, saliency, counts, boxes, strokes, file)
    shaped = adjust(source.values, strength, floor)
    shown = HeatMap(
        shaped, view.box, label="saliency", unit="relative", low=0, source=source.source
    )
    told = "Where branch 1's features answer" if features is not None else "Where to look closely"
    yield Step("saliency", shown, f"{told} ({source.source}).")
    structured = separable_nodes(shaped, bandwidth, padding, "max")
    custom = saliency_nodes(shaped, bandwidth, padding)
    out = output_size(view, size)
    yield Step(
        "structured grid",
        grid_from_nodes(*structured, view.box, out),
        "From the largest saliency of each row and column (equations 5 and 6, whose v is printed with "
        "x' for y'): straight lines.",
    )
    yield Step(
        "custom grid",
        grid_from_nodes(*custom, view.box, out),
        "Free in both directions (equations 2 and 3): closer to the saliency, but it bends what it shows.",
    )
    grid = grid_from_nodes(*mix(structured, custom, share), view.box, out)
    remarks = f"Here {share:.0%} structured and {1 - share:.0%} custom."
    pixels = yield from warped(view, grid, sampling, shaped, remarks)
    if asked != "none":
        yield from classified(view, features, pixels)


def classified(
    view: ImageView, features: "torch.Tensor | None", pixels: np.ndarray
) -> Iterator[Step]:
    """The last two steps; `features` of branch 1 when it has already run."""
    first = branch("first", thumbnail(view)) if features is None else features
    net, device = nets.load(NETWORK), current().device
    logits = net.logits(first.to(device), branch("second", pixels).to(device))  # type: ignore[operator]
    one, two, both = (v[0].softmax(0).double().cpu().numpy() for v in logits)
    chosen = int(both.argmax())
    yield Step(
        "prediction",
        Prediction(dict(zip(CLASSES, map(float, both), strict=True)), source=BADGE),
        f"Most likely: {CLASSES[chosen]} ({both[chosen]:.0%}), from the whole picture and the warped one "
        "together, by small stand-ins for the paper's branches.",
    )
    truth = view.truth
    if truth is None:
        return
    if truth.label not in CLASSES:
        values = {"false_alarm": float(chosen != 0)}
        told = (
            "This scene is not of the gut, so any lesion found is a false alarm: set task to none."
        )
    else:
        true = CLASSES.index(truth.label)
        values = {"right": float(chosen == true)} | {
            f"probability of the truth, {name}": float(p[true])
            for name, p in (("branch 1", one), ("branch 2", two), ("both", both))
        }
        told = f"The truth is {truth.label}: branch 1 saw the whole picture small, branch 2 the warped one."
    yield Step("score", Prediction(values, source=BADGE), told)


def thumbnail(view: ImageView) -> np.ndarray:
    """What branch 1 sees, float32 (h, w, 3): the picture evenly downsampled."""
    return view.read(view.fit(INPUT))


def branch(part: str, pixels: np.ndarray) -> "torch.Tensor":
    """Features (1, c, h/16, w/16) of a branch, 'first' or 'second', on float32 pixels (h, w, 3)."""
    import torch

    context = current()
    context.check()
    h, w = pixels.shape[:2]
    context.add("network_pixels", h * w)
    short = max(0, LEAST - h), max(0, LEAST - w)
    padded = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].contiguous()
    net: Any = getattr(nets.load(NETWORK), part)
    with torch.no_grad():
        found: torch.Tensor = net(x.to(context.device)).cpu()
    predicted = nets.predicted_memory(NETWORK, tuple(x.shape), part)
    context.counts["network_memory"] = max(context.counts.get("network_memory", 0.0), predicted)
    return found


def attention(features: "torch.Tensor", counts: tuple[int, int]) -> np.ndarray:
    """Saliency at the nodes from branch 1's features: their mean over channels, 0 to 1."""
    from hrviz.nets.attention_guided import attention_of

    return attention_of(features, counts)[0].double().numpy()

r"""Recurrent attention: look at the whole, propose one box, look into it closer, and do so again.

Each of three scales has its own classifier, and an attention proposal network (APN) that gives from
its features a square for the next one: centre and half a side. What lies in the square is cut out by
a soft mask, enlarged to the size of the network's input and classified again, from coarse to fine.

With corners :math:`(x_0, y_0)` and :math:`(x_1, y_1)` of the square, the mask is a boxcar that can be differentiated,

.. math:: M = [h(x - x_0) - h(x - x_1)] [h(y - y_0) - h(y - y_1)], \quad h(x) = 1 / (1 + e^{-k x}),

with k = 10 per pixel; what is masked is enlarged bilinearly. No boxes are needed for training: the
classifiers are trained by cross-entropy, the proposals by asking that each scale be surer of the truth
than the one before,

.. math:: L_{rank} = \max(0,\ p_s - p_{s+1} + 0.05),

in turn, the other part being held fixed. A proposal begins as a square of half the side around the
highest response of the last convolution, and its side is never less than a third of the side before.

Paper: Fu, Zheng, Mei, "Look closer to see better: recurrent attention convolutional neural network for
fine-grained image recognition", CVPR 2017.

Notes
-----
The published network (three VGG-19 trunks, 448 px then 224 px; its sizes from the public Caffe network)
exists as a class with its parameter count, `hrviz.nets.recurrent_attention.PaperRaCnn`. The one trained here is
small, sees 32 px at every scale and reads one handwritten digit on a board (`hrviz train recurrent-attention`).
In the paper the third scale enlarges what the second has seen, and the second what the first has: nothing
new is read. Here every scale reads its box from the image, so that zooming brings detail: the first
sees a board of 224 px at 1/7, where a digit has 3 to 5 px. On boards never trained on, the second scale
reads much better than the first; the third about as well as the second, as it loses a digit now and then; and
the fused answer no better than either (its card has the numbers).

Gradients here are those of equations 4 to 7 as they stand, mask and enlargement alike, and the ranking loss
takes the coarser scale as a fixed reference: else scale 2 would gain by being less sure than scale 3. Public codes
differ: a Caffe layer crops without the mask and puts in place of its gradient the one of a mask with k = 0.05,
times the size of the incoming one, plus a constant that shrinks the box; a much used PyTorch version puts fixed
signs by region.

Without a network a stand-in proposes: the centre of mass of edge energy above its mean (or of the scene's
truth) and a side from its spread, at most half. There is one box at a scale: of two things far apart it
sees the middle. A view that is not square is squeezed to one, and its boxes have its shape.
"""

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods import task as tasks
from hrviz.methods.zooming import attention_path as path
from hrviz.methods.zooming import overview, stand_ins
from hrviz.methods.zooming.attention_path import NETWORK, PARTS, SIDE, TASK
from hrviz.methods.zooming.costs import aim
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patch_policy import DIGITS
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import Curve, HeatMap, Prediction, Step

MARGIN = 0.05
EDGE = 160  # px of a picture on the contact sheet

ProposedBy = Annotated[
    Literal["trained", "edges", "truth"],
    Control("What proposes the boxes: the trained proposal networks, edge energy, or the scene's truth "
            "(an oracle).", title="Attention from"),
]  # fmt: skip
Scales = Annotated[
    int, Control("Up: one look closer, each on a smaller box and at finer detail.", 1, 3, 1)
]
Sharpness = Annotated[
    float,
    Control("k of the mask. Up: the box has a harder rim; down: its surroundings are only dimmed, and "
            "so is the box itself.", 0.1, 20.0, 0.1, unit="per px", log=True, title="Mask sharpness"),
]  # fmt: skip
Smallest = Annotated[
    float,
    Control("Least side of a box, as a share of the side before. Up: zooms less at once; at 1 not at all.",
            0.05, 1.0, 0.01, title="Smallest box"),
]  # fmt: skip
AnswerFrom = Annotated[
    Literal["fused", "finest"],
    Control("Fused classifies what all three scales have seen together, as published; finest takes the last "
            "scale alone, as with fewer than three.", title="Answer from", basic=False),
]  # fmt: skip
DigitTask = Annotated[
    Literal["automatic", "digit classification", "none"],
    Control("Whether the network reads the picture; automatic does so on boards with one digit.",
            title="Task network"),
]  # fmt: skip


def _calls(params: Params, height: int, width: int) -> list[Call]:
    if aim(params, TASK) == "none":
        return []
    out = [Call(NETWORK, (1, 3, SIDE, SIDE), part=part) for part in PARTS[: params["scales"]]]
    if params["answer"] == "fused" and params["scales"] == len(PARTS):
        width = nets.card(NETWORK)["config"]["widths"][-1]
        out.append(Call(NETWORK, (1, len(PARTS) * width), part="fuse"))
    return out


def _pixels(params: Params, height: int, width: int) -> float:
    """Each scale's box from the level that suits it; the boxes as large as on held-out boards."""
    known, least = nets.card(NETWORK)["held_out"], params["smallest"]
    sides = [1.0]
    for s in range(2, params["scales"] + 1):
        before = known.get(f"side_of_box_{s - 1}", 1.0)
        sides.append(sides[-1] * max(least, known[f"side_of_box_{s}"] / before))
    return sum(
        stored(side * height, side * width, (SIDE, SIDE), max(height, width)) for side in sides
    )


COST = CostModel(
    _calls, _pixels,
    growth=r"O(S\, h w) \text{ for } S \text{ looks of } h \times w \text{ px}",
    certainty="expected",
    note="Operations are exact; for the pixels, boxes are as large as on held-out boards.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Fu, Zheng and Mei, CVPR 2017",
    title="Recurrent attention (RA-CNN)",
    aliases=("ra-cnn", "racnn"),
    equation=r"\begin{aligned} M &= [h(x - x_0) - h(x - x_1)]\,[h(y - y_0) - h(y - y_1)] \\ L &= \sum_s"
    r" L_{cls}(p_s, y) + \sum_s \max(0,\ p_s - p_{s+1} + 0.05) \end{aligned}",
    use_when="One thing decides the answer, it is small, and only image labels are known.",
    avoid_when="Several places matter, or the first look cannot tell where to go: one box follows another.",
    network=lambda params: params["task"] != "none",
    example="scene:digits?size=1792x1792&digits=1&smallest=192&largest=0.15&clutter=0.4&seed=3000024",
    cost=COST,
)
def recurrent_attention(
    view: ImageView,
    *,
    saliency: ProposedBy = "trained",
    scales: Scales = 3,
    sharpness: Sharpness = 10.0,
    smallest: Smallest = 0.33,
    answer: AnswerFrom = "fused",
    task: DigitTask = "automatic",
) -> Iterator[Step]:
    """Zoom into `view` along one path of boxes, each proposed by what was seen before, and classify.

    Parameters
    ----------
    view : ImageView
    saliency : str
        What proposes boxes; it is named in the tree.
    scales : int
        Looks, the first at all of the view.
    sharpness : float
        k of the mask, per pixel of what a scale sees.
    smallest : float
        Least side of a box over the side of the one before.
    answer : {'fused', 'finest'}
    task : str

    Yields
    ------
    tree : ZoomTree
        The path: each box, and how sure it is of the answer (of a stand-in: its share of what attracted it).
    attention of scale 1, attention of scale 2 : HeatMap
        The boxcar mask over what that scale sees.
    what each scale sees : Picture
        Side by side, with how sure each is of the answer.
    class probabilities : Curve
        Of every scale.
    ranking : Prediction
        Whether each scale is surer than the one before, by the margin.
    prediction : Prediction
        Probability of each class.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    The scene's truth leads to the digit:

    >>> import hrviz
    >>> board = "scene:digits?size=448x448&digits=1&smallest=48&largest=0.15&seed=4"
    >>> run = hrviz.apply("ra-cnn", board, saliency="truth", task="none")
    >>> run["tree"].summary()["depth"], run["tree"].source
    (2, "oracle: the scene's truth")
    """
    networks = tasks.resolve(task, view.truth, among=(TASK,)) != "none"
    label = path.label_of(view)
    if task == "automatic" and view.truth is not None:
        networks = networks and label is not None
    source, remark = _source(view, saliency, networks)
    growing = Growing(view, "probability" if networks else "share of what attracts", source)
    box, proposal, parent, held = view.box, None, None, 1.0
    seen: list[np.ndarray] = []
    answers: list[path.Answer] = []
    boxes = []
    for s in range(scales):
        pixels = growing.look(box, (SIDE, SIDE))
        boxes.append(box)
        seen.append(pixels if proposal is None else path.masked(pixels, proposal, sharpness))
        if networks:
            answers.append(path.ask(s, seen[-1]))
        parent = growing.add(
            parent, box, max(box.height, box.width) / SIDE, "processed", tag=f"scale {s + 1}",
            score=float(answers[-1].p.max()) if networks else held, calls=int(networks),
            reason="The whole view." if s == 0 else "Proposed by the scale before." if networks
            else f"{held:.0%} of what attracts attention lies in it.",
        )  # fmt: skip
        if s + 1 == scales:
            break
        proposal, held = _proposed(view, box, pixels, source, answers, smallest)
        if proposal is None:
            growing.change(parent, reason="Nothing stands out in it, so the path ends here.")
            break
        growing.change(parent, decision="zoomed")
        mask = path.boxcar(proposal, sharpness)
        side = f"{2 * proposal.half:.0%} of this scale's side"
        yield Step(
            f"attention of scale {s + 1}",
            HeatMap(mask, box, "mask", low=0, high=1, source=source),
            f"The next look goes to a box of {side} ({source}{remark}).",
        )
        yield Step("tree", growing.tree(), "Each look proposes the next one.", (s + 1) / scales)
        box = proposal.box(box)

    p = None
    if networks:
        both = answer == "fused" and len(answers) == len(path.PARTS)
        p = path.fused(answers) if both else answers[-1].p
        for node, found in zip(list(growing.nodes), answers, strict=True):
            sure = f"{found.p[p.argmax()]:.0%} sure of {p.argmax()}"
            own = "" if found.p.argmax() == p.argmax() else f", though rather {found.p.argmax()}"
            growing.change(
                node.id,
                score=float(found.p[p.argmax()]),
                reason=f"Scale {node.id + 1} is {sure}{own}.",
            )
        growing.score_label = f"probability of {p.argmax()}"
    _exhaustive(growing, networks)
    tree = growing.tree()
    last = boxes[-1]
    yield Step(
        "tree", tree,
        f"{len(boxes)} looks of {SIDE} x {SIDE} px, the last at {last.height / view.height:.0%} of the view's side"
        f"{overview.remark(tree)}.",
    )  # fmt: skip
    yield Step(
        "what each scale sees", sheet(seen, [float(n.score or 0) for n in tree.nodes], edge=EDGE),
        f"Each box at {SIDE} x {SIDE} px; the bar is its {tree.score_label}.",
    )  # fmt: skip
    if p is None:
        return
    yield from _answered(answers, p, label, answer)
    if view.truth is not None:
        yield _score(view, boxes, answers, p, label)


def _source(view: ImageView, saliency: str, networks: bool) -> tuple[str, str]:
    """Badge of what proposes, and a remark ('' if none)."""
    if saliency == "truth" and view.truth is not None:
        return stand_ins.TRUTH, ""
    if saliency == "trained" and networks:
        return f"trained: {NETWORK}", ""
    why = {"edges": "", "trained": ", in place of 'trained': no task is set",
           "truth": ", in place of 'truth': the image has none"}  # fmt: skip
    return stand_ins.EDGES, why[saliency]


def _proposed(
    view: ImageView, box: Any, pixels: np.ndarray, source: str, answers: list[path.Answer],
    smallest: float,
) -> tuple[path.Proposal | None, float]:  # fmt: skip
    """The next box within this one, and its share of what attracts (1 where a network proposes)."""
    if source.startswith("trained"):
        return answers[-1].proposal.confined(smallest), 1.0
    weights = path.weights_of(view, box, pixels, source)
    found = path.centred(weights)
    if found is None:
        return None, 1.0
    found = found.confined(smallest)
    return found, path.share(weights, found)


def _exhaustive(growing: Growing, networks: bool) -> None:
    """What looking everywhere as closely as the last look would take."""
    view, last = growing.view, growing.nodes[-1]
    level = max(d for d in view.image.downsamples if d <= max(1.0, last.downsample))
    growing.exhaustive_pixels = view.box.area / level**2
    across = [-(-a // max(b, 1e-9)) for a, b in zip((view.height, view.width),
              (last.box.height, last.box.width), strict=True)]  # fmt: skip
    growing.exhaustive_calls = across[0] * across[1] if networks else 0


def _answered(
    answers: list[path.Answer], p: np.ndarray, label: int | None, answer: str
) -> Iterator[Step]:
    """The steps 'class probabilities', 'ranking' and 'prediction'."""
    lines = {f"scale {s + 1}": a.p for s, a in enumerate(answers)}
    own = ", ".join(f"{a.p.argmax()} ({a.p.max():.0%})" for a in answers)
    yield Step(
        "class probabilities",
        Curve(np.arange(len(p), dtype=float), lines, "digit", "probability", bars=True),
        f"From coarse to fine: {own}.",
    )
    of = int(p.argmax()) if label is None else label
    sure = [float(a.p[of]) for a in answers]
    values = {f"scale {s + 1}": v for s, v in enumerate(sure)}
    losses = [max(0.0, a - b + MARGIN) for a, b in itertools.pairwise(sure)]
    values |= {f"loss, {s + 1} to {s + 2}": v for s, v in enumerate(losses)}
    kept = sum(v == 0 for v in losses)
    what = f"the truth, {of}" if label is not None else f"the answer, {of}"
    yield Step(
        "ranking", Prediction(values, source=f"trained: {NETWORK}"),
        f"How sure each scale is of {what}: {kept} of {len(losses)} times by {MARGIN:g} surer than the one "
        "before, as training asks.",
    )  # fmt: skip
    together = answer == "fused" and len(answers) == len(path.PARTS)
    streams = "all scales together" if together else f"scale {len(answers)}"
    yield Step(
        "prediction",
        Prediction(dict(zip(DIGITS, map(float, p), strict=True)), source=f"trained: {NETWORK}"),
        f"Most likely {p.argmax()} ({p.max():.0%}), from {streams}.",
    )


def _score(
    view: ImageView, boxes: list[Any], answers: list[path.Answer], p: np.ndarray, label: int | None
) -> Step:
    values = {"right": float(label is not None and p.argmax() == label)}
    note = "This scene is no board with one digit, so no answer is right: set task to none."
    if label is not None:
        y0, x0, y1, x1 = view.truth.boxes(view.box).boxes[0]
        values["probability of the truth"] = float(p[label])
        for s, a in enumerate(answers):
            values[f"right at scale {s + 1}"] = float(a.p.argmax() == label)
        for s, box in enumerate(boxes[1:], 2):
            inside = box.y0 <= y0 and box.x0 <= x0 and y1 <= box.y1 and x1 <= box.x1
            values[f"digit wholly in box {s}"] = float(inside)
        note = f"The truth is {label}; a scale can only read the digit if its box holds it."
    return Step("score", Prediction(values, source=f"trained: {NETWORK}"), note)

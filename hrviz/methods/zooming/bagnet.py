r"""BagNet: the answer is a sum over small parts, so it says itself which parts it comes from.

A network whose receptive field is 9, 17 or 33 pixels judges every part of the picture alone, and the
mean of the judgements is the answer. Nothing is zoomed into and nothing skipped; what attention and
zooming promise to find, its map shows exactly, at the price of looking everywhere.

With logits z of the parts p, the answer and its map are

.. math:: z = \frac1n \sum_p z_p, \qquad \mathrm{map}_p = \frac{z_p}{n}, \qquad
   \sum_p \mathrm{map}_p = z.

Paper: Brendel and Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly
well on ImageNet", ICLR 2019.

Notes
-----
The paper's network is a ResNet-50 with most 3 x 3 convolutions made 1 x 1 (`PaperBagNet`, 15.7 to 18.3
million parameters); those trained here have the same five strides and fields and 10,686 to 25,022
parameters, see the picture at half its resolution, and learn from class labels alone. Nothing is
padded, so the map ends half a field inside the border. A region whose half resolution is beyond 1,024
px is read coarser than the network was trained for, which is said. Without a task network the parts'
edge energy stands in for their judgement.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control, method
from hrviz.methods.zooming import attended as shared
from hrviz.methods.zooming.attended import SearchTask
from hrviz.methods.zooming.costs import searching
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import Curve, HeatMap, Picture, Step

Field = Annotated[
    Literal[9, 17, 33],
    Control("Pixels that a part spans, at the resolution the network sees. Up: more is told by one part, "
            "and less sharply where.", title="Receptive field"),
]  # fmt: skip
Shown = Annotated[
    int,
    Control("Strongest parts that are shown. Up: more of the answer is accounted for.", 1, 32, 1,
            unit="parts", basic=False),
]  # fmt: skip

SCALE = 0.5  # view pixels per image pixel that the networks are trained at
MOST = 1024  # px, longer side of what the network sees
STRIDE = 8  # px between parts
SHOWN = 48  # px of a part on the contact sheet


def _seen(height: float, width: float, field: int) -> tuple[int, int]:
    """Size of what the network sees."""
    scale = min(SCALE, MOST / max(height, width))
    return max(field, round(height * scale)), max(field, round(width * scale))


def _calls(params: Params, height: int, width: int) -> list[Call]:
    field = params["field"]
    network, size = searching(params, f"bagnet-{field}"), _seen(height, width, field)
    return [Call(network, (1, 3, *size), part="evidence")] if network else []


def _pixels(params: Params, height: int, width: int) -> float:
    return stored(height, width, _seen(height, width, params["field"]))


COST = CostModel(
    _calls, _pixels,
    growth=r"O(s^2 HW),\; s^2 HW \le 1024^2",
    note="The whole region at half resolution, or at 1,024 px where that is less.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Brendel and Bethge, ICLR 2019",
    equation=r"z = \frac1n \sum_p z_p",
    use_when="It must be known which parts an answer comes from, and looking everywhere can be afforded.",
    avoid_when="Parts decide only together, or the image is too large to be looked at everywhere.",
    network=lambda params: params["task"] != "none",
    example=shared.EXAMPLE,
    cost=COST,
)
def bagnet(
    view: ImageView, *, field: Field = 33, parts: Shown = 12, task: SearchTask = "automatic"
) -> Iterator[Step]:
    """Judge every part of `view` alone, and add up.

    Parameters
    ----------
    view : ImageView
    field : {9, 17, 33}, px
        Receptive field.
    parts : int
        Strongest parts that are shown.
    task : str

    Yields
    ------
    picture : Picture
        What the network sees.
    evidence : HeatMap
        What every part adds to the answer; it sums to it exactly.
    tree : ZoomTree
        The picture, and in it the strongest parts.
    parts : Picture
        These, strongest first.
    left out : Curve
        The answer when the strongest parts are left out one after another.
    prediction : Prediction
    score : Prediction
        Where the image has truth.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("bagnet", "scene:tissue?size=600x400", task="none")
    >>> map, curve = run["evidence"].values, run["left out"].series["answer"]
    >>> abs(float(map.sum()) - float(curve[0])) < 1e-9
    True
    """
    ask = shared.asked(view, task, f"bagnet-{field}")
    size = _seen(view.height, view.width, field)
    growing = Growing(view, "evidence", exhaustive_pixels=view.box.area)
    seen = growing.look(view.box, size)
    asked_px = growing.pending()
    coarse = SCALE * max(view.height, view.width) / MOST
    remark = f"read {coarse:.0f} times coarser than trained" if coarse > 1.5 else ask.remark
    yield Step("picture", Picture(seen, view.box), f"{size[1]} x {size[0]} px{f', {remark}' if remark else ''}.")  # fmt: skip

    if ask.network is None:
        logits, best, source, name = _energy(seen, field)[None], 0, "stand-in: edge energy", "share of edge energy"  # fmt: skip
        each = logits[0] / max(float(logits.sum()), 1e-12)
    else:
        logits, source = _evidence(ask.network, seen), ask.badge
        best = int(logits.mean((1, 2)).argmax())
        others = [k for k in range(len(logits)) if k != best]
        each = (logits[best] - logits[others].mean(0)) / logits[best].size
        name = f"logit of {ask.card['classes'][best]!r}"
    growing.source, growing.exhaustive_calls = source, 1.0
    per = view.height / size[0], view.width / size[1]
    box = _covered(view, logits.shape[1:], field, per)
    total = float(each.sum())
    signed = ask.network is not None
    shown = HeatMap(
        each, box, label=name, scale="diverging" if signed else "sequential",
        low=None if signed else 0.0, source=source,
    )  # fmt: skip
    told = (
        f"{each.size:,} parts of {field} px ({field * per[0]:.0f} of the image) sum to {total:.3g}."
    )
    yield Step("evidence", shown, told)

    order = np.argsort(-each, axis=None, kind="stable")
    top = order[: min(parts, each.size)]
    growing.add(
        None, view.box, max(per), "processed", pixels=asked_px, calls=int(signed),
        reason=f"all {each.size:,} parts are judged",
    )  # fmt: skip
    cuts = []
    for place, k in enumerate(top.tolist()):
        r, c = divmod(k, each.shape[1])
        y, x = r * STRIDE, c * STRIDE
        cuts.append(seen[y : y + field, x : x + field])
        where = Box(view.box.y0 + y * per[0], view.box.x0 + x * per[1],
                    view.box.y0 + (y + field) * per[0], view.box.x0 + (x + field) * per[1])  # fmt: skip
        share = each.flat[k] / total if total else 0.0
        growing.add(
            0, where, max(per), "processed", score=each.flat[k], pixels=0.0,
            reason=f"strongest but {place}, {share:.1%} of the answer" if place else f"the strongest, {share:.1%} of the answer",
        )  # fmt: skip
    yield Step("tree", growing.tree(), f"Everything is read once; the {len(top)} strongest parts are drawn.")  # fmt: skip
    weights = each.ravel()[top].tolist()
    strip = sheet(cuts, weights, labels=[f"{w:.2g}" for w in weights])
    yield Step("parts", strip, "The strongest parts; bars are what they add to the answer.")

    count = min(each.size, 200)
    left = total - np.r_[0.0, np.cumsum(each.ravel()[order[: count - 1]])]
    x_axis = np.arange(count, dtype=float)
    told = (
        f"Exact, since parts only add up: {int((each > 0).sum()):,} of {each.size:,} speak for it."
    )
    yield Step("left out", Curve(x_axis, {"answer": left}, "strongest parts left out", name), told)
    if ask.network is None:
        return
    step, _ = shared.answer(view, ask, logits.mean((1, 2)), remark)
    yield step
    boxes = np.array([node.box for node in growing.nodes[1:]])
    judged = shared.score(view, ask, step.result.values, boxes)  # type: ignore[attr-defined]
    if judged is not None:
        yield judged


def _covered(view: ImageView, shape: tuple[int, ...], field: int, per: tuple[float, float]) -> Box:
    """Level-0 box of the map, whose pixel is the middle `STRIDE` px of a part, cut to the view."""
    inset = (field - STRIDE) / 2
    y0, x0 = view.box.y0 + inset * per[0], view.box.x0 + inset * per[1]
    return Box(y0, x0, y0 + shape[0] * STRIDE * per[0], x0 + shape[1] * STRIDE * per[1])


def _energy(seen: np.ndarray, field: int) -> np.ndarray:
    """Mean squared gradient of every part (rows, columns)."""
    grey = seen @ np.array([0.299, 0.587, 0.114], np.float32)
    energy = np.zeros(grey.shape)
    for axis in (0, 1):
        energy += np.gradient(grey, axis=axis).astype(np.float64) ** 2
    windows = np.lib.stride_tricks.sliding_window_view(energy, (field, field))
    return np.asarray(windows[::STRIDE, ::STRIDE].mean((2, 3)))


def _evidence(network: str, seen: np.ndarray) -> np.ndarray:
    """Logits (classes, rows, columns) of every part."""
    import torch

    current().add("network_pixels", seen.shape[0] * seen.shape[1])
    x = torch.from_numpy(seen).permute(2, 0, 1)[None].contiguous()
    return np.asarray(nets.run(network, x, "evidence")[0].double().numpy())

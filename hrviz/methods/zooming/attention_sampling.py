r"""Attention sampling: a thumbnail says where to look, a few patches are drawn, the rest is never read.

An attention network looks at a small view and gives every position a probability; N patches are
drawn from it at full resolution, and only their features are computed. The mean of the features
under the attention, on which the classifier works, is estimated from those N without bias.

With view V, attention a and features f of the patches P, over all positions i,

.. math:: a = \operatorname{softmax}(A(V)), \qquad \Psi = g\Bigl(\sum_i a_i f(P_i)\Bigr)
   \approx g(\hat F).

Positions drawn one after another without replacement as :math:`I_1 ... I_N` give

.. math:: \hat F = \frac1N \sum_{n=1}^N \Bigl[\sum_{j<n} a_{I_j} f_{I_j}
   + \bigl(1 - \sum_{j<n} a_{I_j}\bigr) f_{I_n}\Bigr];

each bracket has the exact sum as its mean. With replacement it is the plain mean of the drawn.
Attention is smoothed, a (1 - s) + s / n, so that no position is impossible.

Paper: Katharopoulos and Fleuret, "Processing Megapixel Images with Deep Attention-Sampling Models",
ICML 2019.

Notes
-----
The paper's networks for traffic signs and digits are in `hrviz.nets.attention_sampling` at their
published sizes (attention 6,321 and 737 parameters). Those trained here are small ones on procedural
pictures, from class labels alone; positions are 32 full-resolution pixels apart. A trained attention
has the scale it was trained at: at another `scale`, or without a task network, edge energy attends
in its place and is named so. Both gradients of the estimate are there for training: the unbiased
one, and the published library's, which without replacement is biased from two draws on
(`hrviz.nets.sampling`). What lies beyond the region is zero for the network, and not read.
"""

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Call, CostModel, Params
from hrviz.image import ImageView
from hrviz.method import Control, Seed, Temperature, method
from hrviz.methods.zooming import attended as shared
from hrviz.methods.zooming import draws
from hrviz.methods.zooming.attended import AttentionSource, PatchSide, SearchTask, ViewScale
from hrviz.methods.zooming.costs import Attending
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patches import box_of, cut_out
from hrviz.methods.zooming.redraws import Redraws, redraw
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import Picture, Step

Samples = Annotated[
    int,
    Control("Patches drawn. Up: a steadier answer, more pixels read and more network calls.", 1, 64,
            1, unit="patches"),
]  # fmt: skip
Replacement = Annotated[
    bool,
    Control("Whether a position may be drawn again. Without, the same number of draws tells more.",
            title="With replacement"),
]  # fmt: skip


def _drawn(params: Params, positions: int) -> int:
    return int(params["samples"]) if params["replacement"] else min(params["samples"], positions)


def _calls(params: Params, height: int, width: int) -> list[Call]:
    look = Attending.of(params, height, width, "ats")
    if look.network is None:
        return []
    patches = (_drawn(params, look.positions), 3, look.patch, look.patch)
    return [
        *look.calls, Call(look.network, patches, part="encode", task=True),
        Call(look.network, (1, nets.card(look.network)["config"].get("width", 32)), part="classify"),
    ]  # fmt: skip


def _pixels(params: Params, height: int, width: int) -> float:
    look = Attending.of(params, height, width, "ats")
    return look.pixels + _drawn(params, look.positions) * look.patch_pixels


COST = CostModel(
    _calls, _pixels,
    growth=r"O(s^2 HW + N h_2 w_2),\; s^2 HW \le 1024^2",
    beside=("estimate",),
    note="Patches are taken to lie inside the image, and with replacement to be all different.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Katharopoulos and Fleuret, ICML 2019",
    aliases=("ats",),
    equation=r"\Psi = g\Bigl(\sum_i a_i f(P_i)\Bigr), \quad \hat F = \frac1N \sum_n \Bigl[\sum_{j<n} a_{I_j}"
    r" f_{I_j} + \bigl(1 - \sum_{j<n} a_{I_j}\bigr) f_{I_n}\Bigr]",
    use_when="Few small parts decide the class of a huge image, and a thumbnail hints at where they are.",
    avoid_when="Everything counts, or nothing in a thumbnail tells the parts that decide.",
    network=lambda params: params["task"] != "none",
    example=shared.EXAMPLE,
    cost=COST,
)
def attention_sampling(
    view: ImageView,
    *,
    samples: Samples = 10,
    saliency: AttentionSource = "trained",
    scale: ViewScale = 0.25,
    patch: PatchSide = 0,
    replacement: Replacement = False,
    temperature: Temperature = 1.0,
    redraws: Redraws = 100,
    seed: Seed = 0,
    task: SearchTask = "automatic",
) -> Iterator[Step]:
    """Draw patches of `view` from attention on a thumbnail, and answer from them alone.

    Parameters
    ----------
    view : ImageView
    samples : int
        N; without replacement at most as many as there are positions.
    saliency : {'trained', 'edges', 'truth'}
    scale : float
        View pixels per image pixel; the view's longer side is at most 1,024 px.
    patch : int, px
        Side, level 0; 0 takes what the network was trained on.
    replacement : bool
    temperature : float
        Divides the attention's logits.
    redraws : int
        Further draws, to see the spread.
    seed : int
    task : str

    Yields
    ------
    view : Picture
        What the attention sees.
    attention : HeatMap
        Probability of every position.
    tree : ZoomTree
        The view, and under it the patches in the order drawn.
    patches : Picture
        What is read at full resolution, with the weight of each in the estimate.
    estimate : Curve
        The estimate as draws come in, its spread over redraws, and the exact sum.
    prediction : Prediction
    score : Prediction
        Where the image has truth.

    Examples
    --------
    Four of the positions are read, not the image:

    >>> import hrviz
    >>> run = hrviz.apply("ats", "scene:needle?size=4096x4096", samples=4, patch=64, task="none")
    >>> run["tree"].summary()["sampled"], run["tree"].nodes[1].pixels
    (4, 4096.0)
    """
    ask = shared.asked(view, task, "ats")
    growing = Growing(view, "times even attention")
    seen = growing.look(view.box, shared.size_of(view.height, view.width, scale))
    coarse = view.height / seen.shape[0]
    yield Step("view", Picture(seen, view.box), f"All that the attention sees: {seen.shape[1]} x {seen.shape[0]} px.")  # fmt: skip
    logits, source, remark = shared.scores_of(view, seen, saliency, ask, scale, "look")
    att = shared.attend(view, logits, seen, patch, temperature, source, remark, ask)
    growing.source = att.source
    growing.exhaustive_pixels, growing.exhaustive_calls = view.box.area, float(att.flat.size)
    effective = np.exp(-(att.flat * np.log(att.flat)).sum())
    told = f"{att.flat.size:,} positions, as even as {effective:,.0f} of them would be"
    yield Step("attention", att.shown(view.box), f"{told} ({source}{f'; {remark}' if remark else ''}).")  # fmt: skip

    order = draws.draw(att.flat, samples, np.random.default_rng(seed), replacement)
    counts = {k: int((order == k).sum()) for k in dict.fromkeys(order.tolist())}
    called = int(ask.network is not None)
    growing.add(
        None, view.box, coarse, "zoomed", calls=int(source == ask.badge),
        reason=f"{att.flat.size:,} positions compete for {samples} draws",
    )  # fmt: skip
    cuts = {}
    for place, (k, count) in enumerate(counts.items()):
        cuts[k], beyond = cut_out(growing, att.origins[k], att.patch)
        reason = f"draw {int(np.flatnonzero(order == k)[0]) + 1}, attention {att.flat[k]:.2g}"
        if beyond > 0.005:
            reason += f", {beyond:.0%} beyond the region"
        growing.add(
            0, box_of(view.box, att.origins[k], att.patch), 1.0, "sampled",
            score=att.flat[k] * att.flat.size,
            draws=count, tag=f"x{count}" if count > 1 else "", calls=called, reason=reason,
        )  # fmt: skip
        if (place + 1) % 8 == 0 or place + 1 == len(counts):
            share = (place + 1) * att.patch**2 / view.box.area
            told = f"{place + 1} patches of {att.patch} px, {share:.2%} of the region at full resolution."
            yield Step("tree", growing.tree(), told, (place + 1) / len(counts))

    drawn = np.stack([cuts[k] for k in counts])
    where = {k: j for j, k in enumerate(counts)}
    at = np.array([where[int(k)] for k in order])
    # before the next step, which compares: this is the method's own work
    features = _features(ask.network, drawn)[at] if ask.network else np.zeros((len(at), 0))
    weights = weights_of(att.flat, order, replacement)
    ranked = sorted(weights, key=lambda k: -weights[k])
    labels = [f"{weights[k]:.2f}{f' x{counts[k]}' if counts[k] > 1 else ''}" for k in ranked]
    strip = sheet([cuts[k] for k in ranked], [weights[k] for k in ranked], labels=labels)
    yield Step("patches", strip, "What is read at full resolution; bars are weights in the estimate.")  # fmt: skip

    if ask.network is None:
        values = _brightness(drawn)[at]
        yield redraw(
            growing, att, order, values, _brightness, replacement=replacement, redraws=redraws,
            seed=seed, quantity="mean brightness",
        )  # fmt: skip
        return
    pooled = draws.estimate(att.flat, order, features, replacement)
    step, best = shared.answer(view, ask, _decided(ask.network, pooled), ask.remark)
    evaluate, quantity = _logit(ask, best)
    direction, bias = head_of(ask.network, best)
    yield redraw(
        growing, att, order, features @ direction + bias, evaluate, replacement=replacement,
        redraws=redraws, seed=seed, quantity=quantity,
    )  # fmt: skip
    yield step
    boxes = np.array([n.box for n in growing.nodes[1:]])
    judged = shared.score(view, ask, step.result.values, boxes, att)  # type: ignore[attr-defined]
    if judged is not None:
        yield judged


def weights_of(p: np.ndarray, order: np.ndarray, replacement: bool = False) -> dict[int, float]:
    """Weight of each drawn position in the estimate; they sum to 1."""
    each = draws.estimate(p, order, np.eye(len(order)), replacement)
    out: dict[int, float] = {}
    for k, weight in zip(order.tolist(), each.tolist(), strict=True):
        out[k] = out.get(k, 0.0) + weight
    return out


def _brightness(patches: np.ndarray) -> np.ndarray:
    """What is averaged where no network is in use: mean brightness of patches (n, p, p, 3)."""
    return np.asarray(patches.mean((1, 2, 3)), np.float64)


def _features(network: str, patches: np.ndarray) -> np.ndarray:
    """Features (n, width) of patches (n, p, p, 3), counted."""
    import torch

    current().add("network_pixels", patches.shape[0] * patches.shape[1] * patches.shape[2])
    x = torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()
    return np.asarray(nets.run(network, x, "encode").double().numpy())


def _decided(network: str, pooled: np.ndarray) -> np.ndarray:
    """Logits (classes,) of a mean feature."""
    import torch

    x = torch.from_numpy(pooled.astype(np.float32))[None]
    return np.asarray(nets.run(network, x, "classify")[0].double().numpy())


def head_of(network: str, best: int) -> tuple[np.ndarray, float]:
    """Weights and bias by which class `best` exceeds the mean of the others."""
    import torch

    head = nets.load(network).head
    assert isinstance(head, torch.nn.Linear)
    w, b = head.weight.double().cpu().numpy(), head.bias.double().cpu().numpy()
    others = [k for k in range(len(w)) if k != best]
    return w[best] - w[others].mean(0), float(b[best] - b[others].mean())


def _logit(ask: shared.Asked, best: int) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """How far patches alone speak for class `best`: a function, and its name."""
    import torch

    assert ask.network is not None
    net = nets.load(ask.network)
    direction, bias = head_of(ask.network, best)

    def evaluate(patches: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous().to(current().device)
        with torch.no_grad():
            found = net.encode(x).double().cpu().numpy()  # type: ignore[operator]
        return np.asarray(found @ direction + bias)

    return evaluate, f"logit of {ask.card['classes'][best]!r}"

r"""Differentiable patch selection: the k best patches, chosen so that training can move the choice.

A scorer looks at a small view and the k best positions are read at full resolution. Choosing is a
step function, which no gradient passes; in training the scores are disturbed by noise many times
and the mean of the choices is used, which changes smoothly with the scores.

Scores s are scaled to 0..1. With noise Z, standard normal, and the indicator of the k best sorted by
position,

.. math:: Y = E[\operatorname{onehot}(\operatorname{top}_k(s + \sigma Z))], \qquad
   \tilde P_j = \sum_i Y_{ji} P_i, \qquad
   \frac{\partial Y_{ji}}{\partial s_d} = \frac1\sigma E[\operatorname{onehot}_{ji} Z_d].

Training sees the *blends* P~ (sums of many patches), a test the k best patches themselves.

Paper: Cordonnier, Mahendran, Dosovitskiy, Weissenborn, Uszkoreit and Unterthiner, "Differentiable
Patch Selection for Image Recognition", CVPR 2021.

Notes
-----
The Jacobian is full: a position's choice falls when another's score rises. The public code multiplies
elementwise in its backward pass and keeps the diagonal only; `jacobian='as published code'` shows
that. Where all scores are equal they are 0 after scaling, and the noise alone decides. The paper's
scorer is that of attention sampling (`hrviz.nets.attention_sampling.TrafficAttention`); the trained
one is small, on procedural pictures, from class labels alone: it is right on 89 % of unseen pictures,
and what it chooses seldom holds the middle of a cell ('score' counts). Its scale is the one it was
trained at; elsewhere, and without a task network, edge energy scores in its place and is named so.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Call, CostModel, Params
from hrviz.image import ImageView
from hrviz.method import Control, Seed, method
from hrviz.methods.zooming import attended as shared
from hrviz.methods.zooming.attended import AttentionSource, PatchSide, SearchTask, ViewScale
from hrviz.methods.zooming.costs import Attending
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patches import box_of, cut_out
from hrviz.methods.zooming.perturbed_choice import Choice, hard, normalised
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import HeatMap, Picture, Step

Best = Annotated[
    int,
    Control("Patches chosen. Up: more is seen, more is read; neighbours may all show the same thing.",
            1, 64, 1, unit="patches", title="k"),
]  # fmt: skip
Sigma = Annotated[
    float,
    Control("Noise on the scores, which lie in 0..1. Up: smoother choice, blends of more patches.",
            0.005, 0.5, 0.005, title="Noise"),
]  # fmt: skip
Samples = Annotated[
    int,
    Control("Noisy copies of the scores. Up: the mean choice is known better.", 20, 1000, 20,
            basic=False, title="Noise samples"),
]  # fmt: skip
Jacobian = Annotated[
    Literal["full", "as published code"],
    Control("What the map of gradients shows: all scores that move the choice, or the diagonal that the "
            "public code keeps.", basic=False),
]  # fmt: skip

MOST_BLENDED = 64  # positions whose patches are read to show the blends
MOST_NOISE = 2**23  # numbers


def _calls(params: Params, height: int, width: int) -> list[Call]:
    look = Attending.of(params, height, width, "patch-selection")
    if look.network is None:
        return []
    patches = (min(params["best"], look.positions), 3, look.patch, look.patch)
    return [*look.calls, Call(look.network, patches, task=True)]


def _pixels(params: Params, height: int, width: int) -> float:
    look = Attending.of(params, height, width, "patch-selection")
    return look.pixels + min(params["best"], look.positions) * look.patch_pixels


COST = CostModel(
    _calls, _pixels,
    growth=r"O(s^2 HW + k p^2),\; s^2 HW \le 1024^2",
    beside=("blends",),
    note="Patches are taken to lie inside the image; the blends that training reads are not counted.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Cordonnier et al., CVPR 2021",
    aliases=("top-k", "differentiable-patch-selection"),
    equation=r"Y = E[\operatorname{onehot}(\operatorname{top}_k(s + \sigma Z))], \quad"
    r" \frac{\partial Y_{ji}}{\partial s_d} = \tfrac1\sigma E[\operatorname{onehot}_{ji} Z_d]",
    use_when="A handful of parts decides, and which ones must be learnt from the class alone.",
    avoid_when="More parts count than k, or many neighbours score alike and crowd out the rest.",
    network=lambda params: params["task"] != "none",
    example=shared.EXAMPLE,
    cost=COST,
)
def patch_selection(
    view: ImageView,
    *,
    best: Best = 10,
    sigma: Sigma = 0.05,
    saliency: AttentionSource = "trained",
    scale: ViewScale = 0.25,
    patch: PatchSide = 0,
    samples: Samples = 500,
    jacobian: Jacobian = "full",
    seed: Seed = 0,
    task: SearchTask = "automatic",
) -> Iterator[Step]:
    """Read the `best` patches of `view` by a scorer on a thumbnail, and answer from them.

    Parameters
    ----------
    view : ImageView
    best : int
        k, at most as many as there are positions.
    sigma : float
        Standard deviation of the noise on the scores.
    saliency : {'trained', 'edges', 'truth'}
    scale : float
        View pixels per image pixel; the view's longer side is at most 1,024 px.
    patch : int, px
        Side, level 0; 0 takes what the network was trained on.
    samples : int
        Noisy copies of the scores.
    jacobian : {'full', 'as published code'}
    seed : int
        Of the noise.
    task : str

    Yields
    ------
    view : Picture
        What the scorer sees.
    scores : HeatMap
        Of every position, 0..1.
    choice : HeatMap
        How often noise lets a position be among the best.
    gradient : HeatMap
        Which scores move the least sure choice.
    tree : ZoomTree
        The view, and under it the best patches without noise.
    patches : Picture
        What is read at full resolution.
    blends : Picture
        What training sees in their place.
    prediction : Prediction
    score : Prediction
        Where the image has truth.

    Examples
    --------
    >>> import hrviz
    >>> run = hrviz.apply("top-k", "scene:needle?size=4096x4096", best=3, task="none")
    >>> run["tree"].summary()["processed"], round(float(run["choice"].values.sum()), 6)
    (3, 3.0)
    """
    ask = shared.asked(view, task, "patch-selection")
    growing = Growing(view, "score")
    seen = growing.look(view.box, shared.size_of(view.height, view.width, scale))
    yield Step("view", Picture(seen, view.box), f"All that the scorer sees: {seen.shape[1]} x {seen.shape[0]} px.")  # fmt: skip
    logits, source, remark = shared.scores_of(view, seen, saliency, ask, scale, "look")
    if source != ask.badge:  # a stand-in's energies, not their logarithm, are its scores
        logits = np.exp(logits)
    att = shared.attend(view, logits, seen, patch, 1.0, source, remark, ask)
    growing.source = source
    s = normalised(logits)
    growing.exhaustive_pixels, growing.exhaustive_calls = view.box.area, float(s.size)
    told = f"{s.size:,} positions ({source}{f'; {remark}' if remark else ''})."
    yield Step("scores", att.shown(view.box, "score", s), told)

    k = min(best, s.size)
    chosen = hard(s.ravel(), k)
    copies = int(np.clip(MOST_NOISE // s.size, 20, samples))
    choice = Choice.of(s.ravel(), k, sigma, copies, np.random.default_rng(seed))
    y = choice.mean
    often = y.sum(0)
    fixed = int((often[chosen] > 0.95).sum())
    told = f"{int((often > 0).sum()):,} positions are ever among the {k} best of {copies} noisy copies; {fixed} nearly always."  # fmt: skip
    yield Step("choice", att.shown(view.box, "share of choices", often.reshape(s.shape)), told)
    pull, own = _gradient(s.ravel(), choice, jacobian, np.random.default_rng([seed, 1]))
    told = f"How the least sure choice moves with each score; the public code keeps {own:+.2g} of its own alone."  # fmt: skip
    if jacobian != "full":
        told = "The public code's gradient of the least sure choice: its own score's, no other."
    shown = HeatMap(
        pull.reshape(s.shape), view.box, label="gradient", scale="diverging", source=source
    )
    yield Step("gradient", shown, told)

    called = int(ask.network is not None)
    growing.add(
        None, view.box, view.height / seen.shape[0], "zoomed", calls=int(source == ask.badge),
        reason=f"{s.size:,} positions are scored",
    )  # fmt: skip
    cuts = []
    for place, c in enumerate(chosen):
        pixels, beyond = cut_out(growing, att.origins[c], att.patch)
        cuts.append(pixels)
        reason = f"score {s.flat[c]:.2f}, among the best in {often[c]:.0%} of noisy copies"
        if beyond > 0.005:
            reason += f", {beyond:.0%} beyond the region"
        growing.add(
            0, box_of(view.box, att.origins[c], att.patch), 1.0, "processed", score=s.flat[c],
            calls=called, reason=reason,
        )  # fmt: skip
        if (place + 1) % 8 == 0 or place + 1 == k:
            told = f"The {k} best, without noise as at test time; patches of {att.patch} px."
            yield Step("tree", growing.tree(), told, (place + 1) / k)
    ranked = sorted(range(k), key=lambda j: -s.flat[chosen[j]])
    weights = [float(s.flat[chosen[j]]) for j in ranked]
    strip = sheet([cuts[j] for j in ranked], weights, labels=[f"{w:.2f}" for w in weights])
    yield Step("patches", strip, "What is read at full resolution; bars are scores.")

    blends, mass = _blends(view, att, y)
    sure = y.max(1)
    strip = sheet(blends, sure.tolist(), labels=[f"max {v:.2f}" for v in sure])
    told = f"Blends, no patches of the image: what training sees ({mass:.0%} of the mass); bars are the surest position's share."  # fmt: skip
    yield Step("blends", strip, told)

    if ask.network is None:
        return
    step, _ = shared.answer(view, ask, _decided(ask.network, np.stack(cuts)), ask.remark)
    yield step
    boxes = np.array([n.box for n in growing.nodes[1:]])
    judged = shared.score(view, ask, step.result.values, boxes)  # type: ignore[attr-defined]
    if judged is not None:
        yield judged


def _gradient(
    scores: np.ndarray, choice: Choice, jacobian: str, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Gradient (m,) of the least sure choice, and its own score's.

    With many samples, over the positions that came up only: that of the others is all but 0, and
    what a few hundred samples make of it is noise (which training has to live with).
    """
    y = choice.mean
    row, position = np.unravel_index(int(np.abs(y - 0.5).argmin()), y.shape)
    known = np.flatnonzero(y.any(0))
    fine = Choice.of(
        scores[known], len(y), choice.sigma, int(min(20_000, MOST_NOISE // len(known))), rng
    )
    place = int(np.searchsorted(known, position))
    out = np.zeros(len(scores))
    out[known] = fine.pull(int(row), place, jacobian)
    return out, float(out[position])


def _blends(view: ImageView, att: shared.Attended, y: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Weighted sums of patches, one a row of Y, from its likeliest positions; and their mass.

    Read through a view of its own: training would read them, a test does not.
    """
    shown = Growing(view.image.view(view.box))
    order = np.argsort(-y.sum(0), kind="stable")
    taken = [int(i) for i in order[:MOST_BLENDED] if y[:, i].any()]
    weights = y[:, taken]
    mass = float(weights.sum() / len(y))
    weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
    out = np.zeros((len(y), att.patch, att.patch, 3), np.float32)
    for place, i in enumerate(taken):
        pixels, _ = cut_out(shown, att.origins[i], att.patch)
        for row in np.flatnonzero(weights[:, place] > 0):
            out[row] += weights[row, place].astype(np.float32) * pixels
    return list(out), mass


def _decided(network: str, patches: np.ndarray) -> np.ndarray:
    """Logits (classes,) from patches (k, p, p, 3), counted."""
    import torch

    current().add("network_pixels", patches.shape[0] * patches.shape[1] * patches.shape[2])
    x = torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()
    return np.asarray(nets.run(network, x)[0].double().numpy())

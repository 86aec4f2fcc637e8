r"""Iterative patch selection: every patch is looked at, but only the best M are ever held.

Patches stream by, I at a time; a small attention compares each group with the M in memory and keeps
the best M of both. All of it runs without gradients; only the M that are left at the end are encoded
again, for the answer and, in training, for the gradient. So memory does not grow with the image.

With embeddings e and learned queries, head h gives patch p the logit :math:`z_{hp}`. Among the
patches P that are present, memory and newcomers,

.. math:: a_p = \frac1H \sum_h \frac{e^{z_{hp}}}{\sum_{q \in P} e^{z_{hq}}}, \qquad
   \mathrm{memory} \leftarrow \operatorname{top}_M \{a_p : p \in P\}.

Peak memory is that of M + I patches, encoder calls are N + M for N patches.

Paper: Bergner, Lippert and Mahendran, "Iterative Patch Selection for High-Resolution Image
Recognition", ICLR 2023.

Notes
-----
With one head the softmax keeps the order of the logits, and the loop ends with the M best of all.
With several it does not: every step normalises each head anew among those present, so what is kept
depends on the order in which patches come; `order` and `seed` change it, and the step 'order' says how
much. The trained network is small, on procedural pictures, from class labels alone. Without a task
network the heads are stand-ins, each one property of a patch: edge energy, saturation, darkness,
contrast. A region with more than `most` patches is read coarser, so that no more are encoded.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from hrviz.context import current
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.image import ImageView
from hrviz.method import Control, Seed, method
from hrviz.methods.zooming import attended as shared
from hrviz.methods.zooming.attended import AttentionSource, PatchSide, SearchTask
from hrviz.methods.zooming.costs import batched, searching
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.memory_loop import AT_ONCE, Grid, Loop, Scorer, grid_of, orders, raster
from hrviz.methods.zooming.sheets import sheet
from hrviz.results import Curve, HeatMap, Prediction, Step

Memory = Annotated[
    int,
    Control("M, patches kept. Up: more reaches the answer, more memory.", 1, 128, 1, unit="patches"),
]  # fmt: skip
Chunk = Annotated[
    int,
    Control("I, patches that join at each step. Up: fewer steps, more memory.", 1, 256, 1,
            unit="patches", title="Newcomers"),
]  # fmt: skip
Heads = Annotated[
    int,
    Control("Heads of a stand-in's attention; a trained network has its own. Up: what is kept depends "
            "more on the order.", 1, 4, 1),
]  # fmt: skip
Order = Annotated[
    Literal["row by row", "shuffled"],
    Control("How patches come: from the upper left, or in an order drawn by the seed."),
]  # fmt: skip
Most = Annotated[
    int,
    Control("Patches at most; a region with more is read coarser. Up: finer detail, more calls.", 16,
            4096, 16, unit="patches", basic=False, log=True, title="Most patches"),
]  # fmt: skip
Shuffles = Annotated[
    int,
    Control("Orders that are tried, to see what depends on them. Up: known better.", 0, 100, 5,
            basic=False),
]  # fmt: skip


def _grid(params: Params, height: int, width: int) -> tuple[str | None, Grid]:
    network = searching(params, "ips")
    return network, grid_of(height, width, params["patch"], params["most"], network)


def _calls(params: Params, height: int, width: int) -> list[Call]:
    network, grid = _grid(params, height, width)
    if network is None:
        return []
    patch, n = (3, grid.pixels, grid.pixels), len(grid.origins)
    m = min(params["memory"], n)
    out = []
    if params["saliency"] == "trained":
        steps, rest = divmod(n - m, params["chunk"])
        for group, times in ((m, 1), (params["chunk"], steps), (rest, 1)):
            found = batched(network, group, AT_ONCE, patch, "attend", trained=False)
            out += [replace(call, times=call.times * times) for call in found if times]
    return [*out, Call(network, (m, *patch), task=True)]


def _pixels(params: Params, height: int, width: int) -> float:
    _, grid = _grid(params, height, width)
    side = min(grid.side, height), min(grid.side, width)
    size = max(1, round(side[0] * grid.pixels / grid.side)), max(1, round(side[1] * grid.pixels / grid.side))  # fmt: skip
    return len(grid.origins) * stored(*side, size, max(height, width))


COST = CostModel(
    _calls, _pixels,
    growth=r"O((N + M)\, p^2),\; N \approx HW / p^2 \le N_{\max};\; \text{memory } O((M + I)\, p^2)",
    trained="apart",
    note="The loop runs without gradients: a training step holds the M patches that are left.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Bergner, Lippert and Mahendran, ICLR 2023",
    aliases=("ips",),
    equation=r"a_p = \frac1H \sum_h \frac{e^{z_{hp}}}{\sum_{q \in P} e^{z_{hq}}}, \quad"
    r" \mathrm{memory} \leftarrow \operatorname{top}_M \{a_p : p \in P\}",
    use_when="Any part may decide and must be seen at full detail, and memory is short.",
    avoid_when="Reading every pixel costs too much, or more than M parts count.",
    network=lambda params: params["task"] != "none",
    example=shared.EXAMPLE,
    cost=COST,
)
def iterative_patch_selection(
    view: ImageView,
    *,
    memory: Memory = 16,
    chunk: Chunk = 32,
    heads: Heads = 4,
    order: Order = "row by row",
    patch: PatchSide = 0,
    most: Most = 1024,
    shuffles: Shuffles = 20,
    seed: Seed = 0,
    saliency: AttentionSource = "trained",
    task: SearchTask = "automatic",
) -> Iterator[Step]:
    """Stream all patches of `view` past a memory of M, and answer from those that are left.

    Parameters
    ----------
    view : ImageView
    memory, chunk : int
        M and I.
    heads : int
        H, of a stand-in.
    order : {'row by row', 'shuffled'}
    patch : int, px
        Side as the network receives it; 0 takes what it was trained on.
    most : int
        Patches at most.
    shuffles : int
        Orders that are compared.
    seed : int
        Of the order.
    saliency : {'trained', 'edges', 'truth'}
        'edges' and 'truth' score patches in the trained network's place.
    task : str

    Yields
    ------
    tree : ZoomTree
        All patches in the order they come; what stays in memory, and when the rest left it.
    memory : Curve
        Newcomers that are kept at each step, and what is already there of the final memory.
    attention : HeatMap
        Attention if all patches were present at once.
    order : Prediction
        What the memory has in common with the best of all, in this order and in others.
    patches : Picture
        The memory at the end, best first.
    held : Curve
        Patches held at once against the number of patches.
    prediction : Prediction
    score : Prediction
        Where the image has truth.

    Examples
    --------
    With one head the order does not matter:

    >>> import hrviz
    >>> run = hrviz.apply("ips", "scene:tissue?size=1024x1024", heads=1, memory=8, task="none")
    >>> run["order"].values["as_the_best_of_all"], run["order"].values["shuffled_least"]
    (1.0, 1.0)
    """
    ask = shared.asked(view, task, "ips")
    grid = grid_of(view.height, view.width, patch, most, ask.network)
    scorer = Scorer.of(view, saliency, ask, heads)
    n, m = len(grid.origins), min(memory, len(grid.origins))
    sequence = np.arange(n)
    if order == "shuffled":
        sequence = np.random.default_rng(seed).permutation(n)
    growing = Growing(view, "attention", scorer.source, view.box.area, float(n))
    loop = Loop(growing, grid, scorer, m, chunk, sequence)
    for done, told in loop.steps():
        yield Step("tree", growing.tree(), told, done)

    history = np.array(loop.history)
    x = np.arange(1, len(history) + 1, dtype=float)
    series = {"newcomers kept": history[:, 0], "of the final memory": history[:, 1]}
    told = (
        f"{len(history)} steps; late ones keep fewer newcomers as the memory fills with the best."
    )
    yield Step("memory", Curve(x, series, "step", "patches", bars=False), told)

    whole = loop.everywhere()
    shown = HeatMap(raster(view, grid, whole), view.box, label="attention", low=0, source=scorer.source)  # fmt: skip
    told = f"{n:,} patches {f'({scorer.remark})' if scorer.remark else ''}".strip()
    yield Step("attention", shown, f"All present at once, which the loop never holds; {told}.")

    best = set(np.argsort(-whole, kind="stable")[:m].tolist())
    common = len(best & set(loop.kept.tolist())) / m
    values = {"as_the_best_of_all": common}
    told = f"{common:.0%} of the memory are among the {m} best of all patches"
    if shuffles:
        found = orders(loop.logits, m, chunk, shuffles, seed)
        shares = [len(best & set(kept.tolist())) / m for kept in found]
        values |= {"shuffled_mean": float(np.mean(shares)), "shuffled_least": float(np.min(shares))}
        distinct = len({tuple(sorted(kept.tolist())) for kept in found})
        values["different_memories"] = float(distinct)
        told += f"; {shuffles} other orders end with {distinct} different memories"
    yield Step("order", Prediction(values, source=scorer.source), f"{told}.")

    weights = loop.attention.tolist()
    strip = sheet(loop.pixels, weights, labels=[f"{w:.3f}" for w in weights])
    yield Step("patches", strip, "The memory at the end, best first; bars are attention at the last step.")  # fmt: skip
    yield Step("held", _held(n, m, chunk), f"{m + min(chunk, n)} patches at once instead of {n:,}; {n + m:,} encoder calls instead of {n:,}.")  # fmt: skip

    if ask.network is None:
        return
    logits = _decided(ask.network, np.stack(loop.pixels))
    growing.change(0, calls=m)
    told = f"The {m} that are left were encoded again for the answer."
    yield Step("tree", growing.tree(), told)
    step, _ = shared.answer(view, ask, logits, ask.remark)
    yield step
    boxes = np.array([growing.nodes[loop.node_of[k]].box for k in loop.kept.tolist()])
    judged = shared.score(view, ask, step.result.values, boxes)  # type: ignore[attr-defined]
    if judged is not None:
        yield judged


def _held(n: int, memory: int, chunk: int) -> Curve:
    """Patches whose activations are held at once, against how many there are."""
    counts = np.unique(np.r_[2.0 ** np.arange(4, 17), n])
    loop = np.minimum(counts, memory + chunk)
    series = {"all at once": counts, "iterative": loop}
    return Curve(counts, series, "patches of the image", "patches held", log=True, tag="formula",
                 marks={"this image": float(n)})  # fmt: skip


def _decided(network: str, patches: np.ndarray) -> np.ndarray:
    """Logits (classes,) from the kept patches (m, p, p, 3), counted."""
    import torch

    from hrviz import nets

    current().add("network_pixels", patches.shape[0] * patches.shape[1] * patches.shape[2])
    x = torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()
    return np.asarray(nets.run(network, x)[0].double().numpy())

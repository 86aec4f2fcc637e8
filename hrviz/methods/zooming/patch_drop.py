r"""PatchDrop: look at a thumbnail, then fetch only those patches that the answer needs.

A small policy network sees the picture at low resolution and says of each of 16 patches how likely it
is worth fetching at full resolution. What is dropped is replaced by the mean colour, and an ordinary
classifier answers from what is left.

The policy is trained by its reward alone: with k of P patches kept,

.. math:: R = 1 - (k / P)^2 \ \text{if the answer is right, else a penalty},

and by REINFORCE with its own thresholded decision as baseline (self-critical), patches being drawn
from :math:`s' = \alpha s + (1-\alpha)(1-s)` so that none is ever sure. At test time a patch is
kept when :math:`s \ge 1/2`. First the classifier is frozen and a wrong answer costs 0.5; then both
are trained together and it costs 10 (CIFAR) or 20 (ImageNet, fMoW). Dropping everything pays as long
as the accuracy p without any patch satisfies :math:`p + (1-p)\,\text{penalty} > 0`: p above 1/3 at
-0.5, above 0.909 at -10.

Paper: Uzkent, Ermon, "Learning when and where to zoom with deep reinforcement learning", CVPR 2020.

Notes
-----
Networks and sizes follow the authors' code: 224 px cut in 4 x 4 patches of 56 px, a policy on 56 px,
loss averaged over patches in pretraining and summed in fine-tuning, and the second stream, a
low-resolution classifier whose logits are added. Their ResNets exist as classes with their parameter
counts (`hrviz.nets.patch_drop.PaperResNet`); the ones trained here are small and read one handwritten
digit on a board (`hrviz train patch-drop`), and the policy ends in a convolution over patches. They are
trained for a grid of 4 x 4; for other grids edge energy stands in for the policy. A view that is not
square is squeezed to one.

Two searches show what a policy could reach at best: they look at everything (which is not counted as
read) and run the classifier on many masks. The exhaustive one is exact for up to 16 patches.

R is flat where few patches are kept (the step from four to three of 16 earns 0.027, from two to one 0.012):
the policy trained here stops dropping at three to four, where one or two would do, as the searches show.

Dropping patches saves acquiring them, not computing: a dense classifier works as long on mean colour as
on detail. Pixels in the tree are what the image's stored levels are asked for, thumbnail included.
"""

from collections.abc import Generator, Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.image import ImageView
from hrviz.method import Control, Seed, method
from hrviz.methods import task as tasks
from hrviz.methods.zooming import overview
from hrviz.methods.zooming import patch_policy as policies
from hrviz.methods.zooming.costs import aim, batched
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patch_policy import DIGITS, HIGH, LOW, Found, Judge, Patches
from hrviz.nets.patch_reward import FULL, GRID, MEAN, SMALL, bounded, reward
from hrviz.results import Curve, HeatMap, Picture, Prediction, Step

TASK = "digit classification"
SEARCHES = {"exhaustive search": policies.exhaustive, "greedy search": policies.greedy}

DecidedBy = Annotated[
    Literal["trained", "edges", "truth", "exhaustive search", "greedy search"],
    Control(
        "What decides which patches to keep: the trained policy, edge energy, the scene's truth, or a "
        "search over masks that runs the classifier on each (oracles).",
        title="Patches chosen by",
    ),
]
Grid = Annotated[
    int, Control("Patches a side. Up: finer choices, less acquired for a small object; trained for 4.",
                 2, 16, 1, unit="patches"),
]  # fmt: skip
Decision = Annotated[
    Literal["threshold", "sample"],
    Control("Threshold, as at test time, keeps sure patches; sample draws each, as in training."),
]
Alpha = Annotated[
    float,
    Control("How far draws follow the policy. Up: closer; 0.5 is a coin for every patch.", 0.5, 1.0,
            0.05, when=(("decision", ("sample",)),)),
]  # fmt: skip
Threshold = Annotated[
    float,
    Control("Least keep probability. Up: fewer patches are kept.", 0.0, 1.0, 0.01,
            when=(("decision", ("threshold",)),)),
]  # fmt: skip
Penalty = Annotated[
    float,
    Control("Reward of a wrong answer. Down: a policy trained with it drops less.", -20.0, 0.0, 0.5,
            basic=False),
]  # fmt: skip
TwoStream = Annotated[
    bool,
    Control("Adds what a classifier of the thumbnail says, so that dropped patches still count.",
            title="Two streams"),
]  # fmt: skip
DigitTask = Annotated[
    Literal["automatic", "digit classification", "none"],
    Control("Whether the classifier reads the picture; automatic does so on boards with one digit.",
            title="Task network"),
]  # fmt: skip


def _calls(params: Params, height: int, width: int) -> list[Call]:
    if aim(params, TASK) == "none":
        return []
    count = params["grid"] ** 2
    full, small = (3, FULL, FULL), (1, 3, SMALL, SMALL)
    out = [Call(LOW, small, task=True)] if params["two_stream"] else []
    if params["saliency"] == "trained" and params["grid"] == GRID:
        out.append(Call(policies.POLICY, small))
    if params["saliency"] in SEARCHES:
        # each patch dropped, or kept, alone; most boards can be read by one patch
        out += batched(HIGH, count, policies.BATCH, full, task=True)
    # a greedy search then drops one after another, an exhaustive one also tries none
    single = {"greedy search": count + 1, "exhaustive search": 1}.get(params["saliency"], 0)
    return [*out, Call(HIGH, (1, *full), single + 1.0, task=True)]


def _pixels(params: Params, height: int, width: int) -> float:
    """The thumbnail, and as large a share of the patches as the policy keeps on held-out boards."""
    share = nets.card(policies.POLICY)["held_out"]["patches_kept_of_16"] / 16
    if params["decision"] == "sample":
        share = bounded(share, params["alpha"])
    if params["saliency"] in SEARCHES:
        share = 1 / params["grid"] ** 2
    whole = stored(height, width, (FULL, FULL))
    return stored(height, width, (SMALL, SMALL)) + share * whole


COST = CostModel(
    _calls, _pixels,
    growth=r"O(h_l w_l + h w) \text{ operations},\; O(h_l w_l + \tfrac{k}{P}\, h w) \text{ pixels}",
    certainty="expected",
    note="As many patches are kept as on held-out boards; what is dropped saves pixels, but no operations.",
)  # fmt: skip


@method(
    family="zooming",
    section="III-B",
    paper="Uzkent and Ermon, CVPR 2020",
    title="PatchDrop",
    aliases=("patchdrop",),
    equation=r"\begin{aligned} R(a) &= \begin{cases} 1 - \left(\frac{1}{P}\sum_p a_p\right)^2 & \hat y = y \\"
    r" \text{penalty} & \text{else} \end{cases} \\ \nabla J &= \mathbb{E}\big[(R(a) - R(\hat a))\, \nabla"
    r" \sum_p \log \pi(a_p)\big] \end{aligned}",
    use_when="Acquiring full resolution is what costs (satellites, microscopes), and a thumbnail shows where to.",
    avoid_when="Computing is what costs: the classifier still runs on the whole picture.",
    network=lambda params: params["task"] != "none",
    example="scene:digits?size=1792x1792&digits=1&smallest=192&largest=0.15&clutter=0.4&seed=3000006",
    cost=COST,
)
def patch_drop(
    view: ImageView,
    *,
    saliency: DecidedBy = "trained",
    grid: Grid = 4,
    decision: Decision = "threshold",
    alpha: Alpha = 0.8,
    threshold: Threshold = 0.5,
    penalty: Penalty = -0.5,
    two_stream: TwoStream = False,
    seed: Seed = 0,
    task: DigitTask = "automatic",
) -> Iterator[Step]:
    """Decide on a thumbnail which patches of `view` to fetch, and classify what is then seen.

    Parameters
    ----------
    view : ImageView
    saliency : str
        What decides; it is named in the tree.
    grid : int
        Patches a side.
    decision : {'threshold', 'sample'}
    alpha : float
        Bound on keep probabilities when sampling: 1 - alpha to alpha.
    threshold : float
        Least keep probability otherwise (a patch at it is kept).
    penalty : float
        Reward of a wrong answer, in the reward curve.
    two_stream : bool
        Add the logits of a low-resolution classifier.
    seed : int
        Of the draw.
    task : str

    Yields
    ------
    low resolution : Picture
        What the policy sees.
    keep probability : HeatMap
        One value a patch; a search shows its best mask so far.
    tree : ZoomTree
        The thumbnail and its patches, kept or skipped.
    agent view : Picture
        What the classifier sees.
    reward : Curve
        R over the number of patches kept, and where this picture stands.
    costs : Prediction
        What dropping saves: pixels acquired, but no computing.
    prediction : Prediction
        Probability of each class.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        Exhaustive search with more than 16 patches.

    Examples
    --------
    A constant board has nothing worth fetching:

    >>> import hrviz
    >>> run = hrviz.apply("patch-drop", "scene:digits?size=512x512&clutter=0", saliency="truth", task="none")
    >>> decided = run["tree"].summary()
    >>> decided["processed"] + decided["skipped by score"]
    16
    """
    networks = tasks.resolve(task, view.truth, among=(TASK,)) != "none"
    if task == "automatic" and view.truth is not None:
        networks = networks and _label(view) is not None
    patches = Patches(view, grid)
    growing = Growing(view, "keep probability", exhaustive_pixels=patches.exhaustive_pixels(),
                      exhaustive_calls=1)  # fmt: skip
    small = growing.look(view.box, (SMALL, SMALL))
    root = growing.add(
        None, view.box, max(view.height, view.width) / SMALL, "zoomed", tag=f"{SMALL} px",
        reason="The thumbnail, on which all is decided.",
        calls=0 if not networks else 1 + two_stream + (saliency == "trained" and grid == GRID),
    )  # fmt: skip
    yield Step(
        "low resolution", Picture(small, view.box), f"What decides sees {SMALL} x {SMALL} px."
    )
    low = policies.run(LOW, small[None])[0] if networks and two_stream else None
    if networks and saliency in SEARCHES:
        s, growing.source, tried = yield from _searched(patches, saliency, low)
        growing.change(root, calls=growing.nodes[root].calls + tried)
        keep = s > 0.5
        told = "found by the search"
    else:
        s, growing.source, remark = policies.keep_probabilities(patches, small, saliency, networks)
        if decision == "sample":
            s = bounded(s, alpha)
            keep = np.random.default_rng(seed).random(len(patches)) < s
            told = f"drawn with probabilities within {1 - alpha:.2g} to {alpha:.2g}"
        else:
            keep = s >= threshold
            told = f"of at least {threshold:g}"
        note = f"How likely each patch is worth fetching ({growing.source}{remark})."
        yield Step("keep probability", _map(patches, s, growing.source), note)

    agent = np.full((FULL, FULL, 3), MEAN, np.float32)
    for k in np.argsort(-s, kind="stable"):
        box = patches.box(int(k))
        if keep[k]:
            rows, columns = patches.span(int(k))
            agent[rows, columns] = growing.look(
                box, (rows.stop - rows.start, columns.stop - columns.start)
            )
        name, reason = (
            ("processed", "fetched at full detail") if keep[k]
            else ("skipped by score", "stays at the mean colour")
        )  # fmt: skip
        growing.add(root, box, patches.downsample, name, score=float(s[k]),
                    reason=f"Keep probability {s[k]:.2f}: {reason}.")  # fmt: skip
    kept, count = int(keep.sum()), len(patches)
    tree = growing.tree()
    yield Step("tree", tree, f"{kept} of {count} patches are kept, {told}{overview.remark(tree)}.")
    yield Step(
        "agent view", Picture(agent, view.box),
        f"What the classifier sees: {FULL} x {FULL} px with dropped patches at the mean colour.",
    )  # fmt: skip

    label = _label(view)
    p = None
    if networks:
        logits = policies.run(HIGH, agent[None])[0]
        p = policies.softmax(logits if low is None else logits + low)
    right = None if p is None or label is None else bool(p.argmax() == label)
    yield _reward(kept, count, penalty, right)
    yield _costs(patches, keep)
    if p is None:
        return
    streams = "both streams" if two_stream else "the kept patches"
    remark = "" if grid == GRID else f"; the classifier was trained on masks of {GRID} x {GRID}"
    badge = f"trained: {HIGH}" + (f" + {LOW}" if two_stream else "")
    yield Step(
        "prediction", Prediction(dict(zip(DIGITS, map(float, p), strict=True)), source=badge),
        f"Most likely a {p.argmax()} ({p.max():.0%}), from {streams}{remark}.",
    )  # fmt: skip
    if view.truth is None:
        return
    values = {"right": float(bool(right)), "kept": float(kept)}
    note = "This scene is no board with one digit, so no answer is right: set task to none."
    if label is not None:
        values |= {"reward": reward(kept / count, float(bool(right)), penalty),
                   "probability of the truth": float(p[label])}  # fmt: skip
        note = f"The truth is {label}; the reward weighs the answer against {kept} patches."
    yield Step("score", Prediction(values, source=badge), note)


def _label(view: ImageView) -> int | None:
    """The digit on a board with exactly one in view, else None."""
    if view.truth is None or not tasks.fits(TASK, view.truth):
        return None
    classes = view.truth.boxes(view.box).classes
    return int(classes[0]) if len(classes) == 1 else None


def _map(patches: Patches, s: np.ndarray, source: str) -> HeatMap:
    # many pixels a patch, so that views which interpolate still show patches
    n = max(1, SMALL // patches.grid)
    values = np.kron(s.reshape(patches.grid, patches.grid), np.ones((n, n)))
    return HeatMap(values, patches.view.box, "keep probability", low=0, high=1, source=source)


def _searched(
    patches: Patches, name: str, low: np.ndarray | None
) -> Generator[Step, None, tuple[np.ndarray, str, int]]:
    """The 'keep probability' step while a search goes on; returns its mask (P,), its badge, masks tried."""
    view = patches.view
    # an oracle knows the whole picture: that is not what the method reads
    full = np.empty((FULL, FULL, 3), np.float32)
    everywhere = view.image.view(view.box)
    for k in range(len(patches)):
        rows, columns = patches.span(k)
        size = rows.stop - rows.start, columns.stop - columns.start
        full[rows, columns] = everywhere.read(size, patches.box(k))
    source = f"oracle: {name} over masks"
    judge = Judge(patches, full, _label(view), low)
    found = Found(np.ones(len(patches), bool), False, 0, 0.0)
    for found in SEARCHES[name](judge):
        told = f"{found.keep.sum()} patches keep the answer right" if found.right else \
            "no mask that leads to the right answer"  # fmt: skip
        yield Step(
            "keep probability", _map(patches, found.keep.astype(float), source),
            f"After {found.tried} masks: {told} ({source}, which looks at everything).", found.progress,
        )  # fmt: skip
    return found.keep.astype(float), source, found.tried


def _reward(kept: int, count: int, penalty: float, right: bool | None) -> Step:
    k, lines = policies.rewards(count, kept, penalty)
    here = np.where(k == kept, lines["if wrong" if right is False else "if right"], np.nan)
    name = "this picture" if right is not None else "this picture, if right"
    told = {True: "it is right", False: "it is wrong", None: "whether it is right is not known"}
    curve = Curve(k, lines | {name: here}, "patches kept", "reward", tag="formula")
    return Step("reward", curve, f"R(k) = 1 - (k/{count})^2 where the answer is right: here {kept} patches, "
                f"and {told[right]}.")  # fmt: skip


def _costs(patches: Patches, keep: np.ndarray) -> Step:
    at_full = patches.masks(keep[None]).sum()
    values = {
        "thumbnail, px": float(SMALL**2),
        "acquired at full detail, px": float(at_full),
        "of, px": float(FULL**2),
        "acquisition saved": float(1 - at_full / FULL**2),
        "computing saved": 0.0,
    }
    return Step("costs", Prediction(values), "Dropped patches are not acquired, but a dense classifier works "
                "as long on them as on others.")  # fmt: skip

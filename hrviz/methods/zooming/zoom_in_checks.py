"""How far the Zoom-In network can be trusted: spread over redraws, contrast, exact sum, score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hrviz.context import current
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.zooming import draws as drawing_of
from hrviz.methods.zooming.two_stages import Drawing, inverted, open_tiles
from hrviz.methods.zooming.zoom_in_eye import TARGETS, Eye
from hrviz.results import Curve, Prediction, Step

MASS = 0.999  # of the attention that an exact sum covers
MOST_EXACT = 30_000  # sub-tiles of an exact sum


def spread(view: ImageView, eye: Eye, drawing: Drawing, redraws: int, rng: np.random.Generator,
           truth: Prediction | None) -> Curve:  # fmt: skip
    """The answer against the number of draws: this drawing, mean and spread of further ones.

    The further ones show how sure the estimate is; their reads are not counted with the method's.
    """
    shown = view.image.view(view.box)
    counts = dict(current().counts)
    asked = -1 if len(eye.classes) == 2 else int(np.argmax(drawing.probabilities()))
    steps = np.unique(np.round(np.geomspace(1, drawing.draws, 12)).astype(int))
    rows = []
    for _ in range(redraws):
        again = Drawing(shown, eye, drawing.draws, rng)
        again.tiles = open_tiles(shown, eye, again.counts, rng)
        rows.append(_answers(again, steps)[:, asked])
    current().counts.clear()
    current().counts.update(counts)
    own = _answers(drawing, steps)[:, asked]
    mean, deviation = np.mean(rows, 0), np.std(rows, 0)
    series = {"this drawing": own, "mean of redraws": mean}
    band = np.clip(np.stack([mean - deviation, mean + deviation], 1), 0, 1)
    name = eye.classes[asked]
    if truth is not None:
        series["exact sum"] = np.full(len(steps), truth.values[name])
    return Curve(steps.astype(float), series, "draws", f"probability of {name!r}",
                 tag="measured", bands={"mean of redraws": band})  # fmt: skip


def _answers(drawing: Drawing, steps: np.ndarray) -> np.ndarray:
    """Class probabilities (n, classes) from the first draws of a drawing, for several numbers."""
    assert drawing.eye.classify is not None
    return drawing.eye.classify(np.stack([drawing.feature(int(n)) for n in steps]))


def contrast(view: ImageView, eye: Eye, draws: int, rng: np.random.Generator) -> Prediction:
    """The answer from sub-tiles drawn where attention is low."""
    assert eye.classify is not None
    rest = inverted(eye.alpha)
    sequence = drawing_of.draw(rest, draws, rng, replacement=True).tolist()
    counts = {position: sequence.count(position) for position in dict.fromkeys(sequence)}
    total: Any = 0.0
    for tile in open_tiles(view, eye, counts, rng, low=True):
        assert tile.features is not None
        mean = drawing_of.estimate(inverted(tile.beta), tile.order, tile.features)
        total = total + counts[tile.position] / draws * mean
    found = eye.classify(np.asarray(total)[None])[0]
    return Prediction(dict(zip(eye.classes, found.tolist(), strict=True)), source=eye.source)


def exact(view: ImageView, eye: Eye) -> Iterator[tuple[Prediction, float, str]]:
    """Equation 5 summed, without drawing, over positions that hold 99.9 % of both attentions.

    Sub-tiles of different tiles that are the same square are read and encoded once. Reads are not
    counted with the method's.

    Raises
    ------
    HrvizError
        More than 30,000 squares.
    """
    assert eye.encode is not None and eye.classify is not None
    shown, stages = view.image.view(view.box), eye.stages
    order = np.argsort(-eye.alpha, kind="stable")
    held = np.cumsum(eye.alpha[order])
    chosen = order[: int(np.searchsorted(held, MASS)) + 1]
    weights: dict[tuple[int, int], float] = {}
    for position in chosen:
        current().check()
        box = stages.tiles(np.array([position]))[0]
        beta = eye.second(shown.read(stages.tile_view, Box(*box))[None])[0]
        squares = stages.subtiles(box, np.arange(beta.size))[:, :2].astype(int)
        for (y, x), b in zip(squares.tolist(), beta, strict=True):
            weights[y, x] = weights.get((y, x), 0.0) + float(eye.alpha[position] * b)
    corners = sorted(weights, key=lambda k: -weights[k])
    mass = np.array([weights[k] for k in corners])
    kept = int(np.searchsorted(np.cumsum(mass), MASS * mass.sum())) + 1
    if kept > MOST_EXACT:
        raise HrvizError(
            f"the exact sum runs over {kept:,} sub-tiles; at most {MOST_EXACT:,} are read: choose "
            "a smaller region, or leave it out"
        )
    total, done, side = 0.0, 0.0, stages.subtile
    for start in range(0, kept, 512):
        current().check()
        some = corners[start : start + 512][: kept - start]
        pixels = np.stack(
            [shown.read((side, side), Box(y, x, y + side, x + side)) for y, x in some]
        )
        part = mass[start : start + len(some)]
        total = total + part @ eye.encode(pixels)
        done += float(part.sum())
        found = eye.classify(np.asarray(total)[None] / done)[0]
        told = f"{start + len(some):,} of {kept:,} different sub-tiles, {done / mass.sum():.1%} of the mass."
        yield (
            Prediction(dict(zip(eye.classes, found.tolist(), strict=True)), source=eye.source),
            (start + len(some)) / kept,
            told,
        )


def score(
    view: ImageView, eye: Eye, drawing: Drawing, answer: Prediction, aim: str
) -> Iterator[Step]:
    """The 'score' step: right or not, and how much of the attention lies where the objects are."""
    truth = view.truth
    if truth is None or truth.label is None:
        return
    label = str(truth.label)
    if label not in answer.values:
        told = f"This scene is not about {aim}, so there is nothing to judge: set task to none."
        yield Step("score", Prediction({"judged": 0.0}, source=answer.source), told)
        return
    values = {"correct": float(max(answer.values, key=answer.values.__getitem__) == label),
              "probability_of_truth": answer.values[label]}  # fmt: skip
    kinds = [k for k, name in truth.classes.items() if name == TARGETS[aim]]
    raster = np.isin(truth.mask(view.box, eye.stages.view), kinds)
    if raster.any():
        near = _widened(raster, eye)
        hit = [_touches(truth, box, kinds) for tile in drawing.tiles for box in tile.boxes]
        values |= {"alpha_near_objects": float(eye.alpha[near.ravel()].sum()),
                   "even_near_objects": float(near.mean()),
                   "subtiles_on_objects": float(np.mean(hit))}  # fmt: skip
    told = f"The truth is {label!r}; sub-tiles on objects touch one with their middle half."
    yield Step("score", Prediction(values, source=answer.source), told)


def _widened(raster: np.ndarray, eye: Eye) -> np.ndarray:
    """Positions whose tile reaches a marked one."""
    from scipy import ndimage

    h, w = raster.shape
    box, (th, tw) = eye.stages.region, eye.stages.tile
    size = max(1, round(th * h / box.height)), max(1, round(tw * w / box.width))
    return np.asarray(ndimage.maximum_filter(raster, size=size, mode="constant"))


def _touches(truth: Any, box: np.ndarray, kinds: list[int]) -> bool:
    """Whether the middle half of a box meets one of these classes."""
    core = Box(*box).grown(-(box[2] - box[0]) / 4)
    return bool(np.isin(truth.mask(core, (8, 8)), kinds).any())

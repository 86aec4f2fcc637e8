"""What the Zoom-In network does: attend, draw tiles, draw sub-tiles, estimate, redraw, sum exactly.

Separate from `zoom_in_network`, which tells the story. Coordinates are level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.method import Control
from hrviz.methods import task as tasks
from hrviz.methods.downsampling.sources import saliency_map
from hrviz.methods.zooming import draws as drawing_of
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.stages import Stages, paper_tile
from hrviz.results import Curve, HeatMap, Picture, Prediction, Step, ZoomTree

#: task -> weights whose card tells classes, scales and sizes
NETWORKS = {
    "cell search": "colon-zoom-in",
}
ZoomTask = Annotated[
    Literal["automatic", "cell search", "none"],
    Control("What is asked of the image; 'automatic' takes what its truth is about."),
]
EXAMPLE = (
    "scene:needle?size=500x500&seed=3000001&object=cell&background=tissue&ratio=0.0016&count=20"
    "&distractors=20&presence=half"
)
STRIP = 2**18  # pixels of the view that the first attention sees at once: bounds its memory
UNTRAINED_VIEW = 96  # px of the longer side, where no network's scale is to be kept
UNTRAINED = {"second": 0.25, "subtile": 32}
MASS = 0.999  # of the attention that an exact sum covers
MOST_EXACT = 30_000  # sub-tiles of an exact sum
FEATURES_AT_ONCE = 64  # sub-tiles in one call
SHOWN_TILES, SHOWN_SUBTILES = 4, 24


def resolve(task: str, truth: Any) -> str:
    """The task, 'none' where nothing trained fits the image."""
    return tasks.resolve(task, truth, among=tuple(NETWORKS))


def plan(
    view: ImageView, aim: str, first: float, second: float, tile: int, subtile: int, mapping: str
) -> Stages:
    """Scales and sizes: what was asked for, zeros filled from the network's card."""
    if aim == "none":
        own = {"first": min(0.5, UNTRAINED_VIEW / max(view.height, view.width)), **UNTRAINED}
    else:
        setting = nets.card(NETWORKS[aim])["setting"]
        own = {"first": 1 / setting["first"], "second": 1 / setting["second"], **setting}
        own |= {"first": 1 / setting["first"], "second": 1 / setting["second"]}
    s1 = first or own["first"]
    sides = (tile, tile) if tile else paper_tile(view.box, s1)
    # a tile smaller than what a view's pixel stands for would leave gaps between tiles
    least = min(round(2 / s1), 4096)
    sides = (max(sides[0], least), max(sides[1], least)) if not tile else sides
    return Stages(
        view.box, s1, second or own["second"], sides, subtile or int(own["subtile"]), mapping
    )


@dataclass
class Eye:
    """Both attentions on a region.

    Attributes
    ----------
    stages : Stages
    alpha : ndarray (h * w,)
    second : callable
        Tiles' views (n, u, v, 3) to beta (n, u * v).
    encode : callable or None
        Sub-tiles (n, h2, h2, 3) to features (n, d); None without a network.
    classify : callable or None
        Mean features (n, d) to class probabilities (n, classes).
    classes : tuple of str
    source, note : str
    shown : Picture
    asked : float
        Pixels asked of the image for the first view.
    """

    stages: Stages
    alpha: np.ndarray
    second: Callable[[np.ndarray], np.ndarray]
    encode: Callable[[np.ndarray], np.ndarray] | None
    classify: Callable[[np.ndarray], np.ndarray] | None
    classes: tuple[str, ...]
    source: str
    note: str
    shown: Picture
    asked: float

    @property
    def heat(self) -> HeatMap:
        """Alpha as a map over the region, relative to even attention."""
        h, w = self.stages.view
        values = (self.alpha * self.alpha.size).reshape(h, w).astype(np.float32)
        return HeatMap(
            values, self.stages.region, "attention alpha", "x even", low=0, source=self.source
        )

    @property
    def concentration(self) -> str:
        """How concentrated alpha is: its perplexity as a share of all positions."""
        p = self.alpha[self.alpha > 0]
        perplexity = float(np.exp(-(p * np.log(p)).sum()))
        return f"its mass lies on about {perplexity / self.alpha.size:.1%} of them"


def attend(view: ImageView, stages: Stages, aim: str, source: str) -> Eye:
    """Look at the region at the first scale."""
    before = view.reads.pixels_requested
    if aim == "none" and source == "trained":
        source = "edges"
    name = NETWORKS.get(aim, "")
    h, w = stages.view
    pixels = view.read((h, w))
    shown = Picture(pixels, view.box)
    said = f"V(x, s1), {w} x {h} px: s1 = {stages.first:.4g}"
    if source == "trained":
        alpha = drawing_of.normalised(_strips(name, pixels))
        badge = f"trained: {name}"
        setting = nets.card(name)["setting"]
        if abs(stages.first * setting["first"] - 1) > 1e-3:
            said += f" (the network was trained at {1 / setting['first']:.4g})"
    else:
        if source == "truth":
            nodes = max(h, 2), max(w, 2)
            values = saliency_map(view, source, nodes).values[:h, :w]
        else:
            values = _by_edges(pixels[None]).reshape(h, w)
        total = float(values.sum())
        alpha = (values / total if total > 0 else np.full((h, w), 1 / (h * w))).astype(np.float64)
        badge = "oracle: the scene's truth" if source == "truth" else "stand-in: edge energy"
    encode, classify, classes = None, None, ()
    if aim != "none":
        encode, classify = _encoder(name), _classifier(name)
        classes = tuple(nets.card(name)["classes"])
    second = _second(name) if source == "trained" else _by_edges
    return Eye(
        stages, alpha.ravel(), second, encode, classify, classes, badge, said + ".", shown,
        float(view.reads.pixels_requested - before),
    )  # fmt: skip


def _batch(pixels: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _strips(name: str, pixels: np.ndarray) -> np.ndarray:
    """Scores of the first attention, strip by strip: the same as at once, in bounded memory."""
    from hrviz.nets.zoom_in import REACH

    h, w = pixels.shape[:2]
    rows = max(1, STRIP // w)
    out = np.empty((h, w), np.float64)
    for top in range(0, h, rows):
        low, high = max(0, top - REACH), min(h, top + rows + REACH)
        strip = pixels[low:high]
        current().add("network_pixels", strip.shape[0] * w)
        found = nets.run(name, _batch(strip[None]), "first")[0].numpy()
        out[top : top + rows] = found[top - low : top - low + rows]
    return out


def _second(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def beta(tiles: np.ndarray) -> np.ndarray:
        current().add("network_pixels", tiles.shape[0] * tiles.shape[1] * tiles.shape[2])
        scores = nets.run(name, _batch(tiles), "second").numpy()
        return np.stack([drawing_of.normalised(s).ravel() for s in scores])

    return beta


def _by_edges(tiles: np.ndarray) -> np.ndarray:
    """Beta from the energy of the gradient, even where there is none."""
    grey = tiles.mean(3)
    energy = np.zeros(grey.shape)
    for axis in (1, 2):
        if grey.shape[axis] > 1:
            energy += np.gradient(grey, axis=axis) ** 2
    flat = energy.reshape(len(tiles), -1) + 1e-9
    return np.asarray(flat / flat.sum(1, keepdims=True))


def _encoder(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def encode(subtiles: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(subtiles), FEATURES_AT_ONCE):
            some = subtiles[start : start + FEATURES_AT_ONCE]
            current().add("network_pixels", some.shape[0] * some.shape[1] * some.shape[2])
            parts.append(nets.run(name, _batch(some), "encode").numpy())
        return np.concatenate(parts).astype(np.float64)

    return encode


def _classifier(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def classify(mean: np.ndarray) -> np.ndarray:
        import torch

        logits = nets.run(name, torch.from_numpy(mean.astype(np.float32)), "classify")
        return np.asarray(torch.softmax(logits.double(), 1).numpy())

    return classify


@dataclass
class Tile:
    """A drawn tile: its box, beta, the sub-tiles drawn from it in order, and their features."""

    position: int
    box: np.ndarray
    view: np.ndarray
    beta: np.ndarray
    order: np.ndarray
    boxes: np.ndarray
    pixels: np.ndarray
    features: np.ndarray | None

    def estimate(self, n: int) -> np.ndarray:
        """Unbiased estimate of the tile's attended feature from its first n sub-tiles."""
        assert self.features is not None
        taken = min(n, len(self.order))
        return drawing_of.estimate(self.beta, self.order[:taken], self.features[:taken])


def open_tiles(
    view: ImageView, eye: Eye, counts: Mapping[int, int], rng: np.random.Generator,
    low: bool = False,
) -> list[Tile]:  # fmt: skip
    """Look at tiles together: their betas, then the sub-tiles drawn from each, read and encoded.

    Parameters
    ----------
    view : ImageView
    eye : Eye
    counts : mapping of position to draws
        As many sub-tiles, at most all there are, are drawn without replacement.
    rng : numpy Generator
    low : bool
        Draw where beta is low.
    """
    stages = eye.stages
    boxes = stages.tiles(np.array(list(counts)))
    seen = np.stack([view.read(stages.tile_view, Box(*box)) for box in boxes])
    betas = eye.second(seen)
    side = (stages.subtile, stages.subtile)
    tiles = []
    for (position, n), box, shown, beta in zip(counts.items(), boxes, seen, betas, strict=True):
        current().check()
        order = drawing_of.draw(_inverted(beta) if low else beta, n, rng)
        squares = stages.subtiles(box, order)
        pixels = np.stack([view.read(side, Box(*square)) for square in squares])
        tiles.append(Tile(position, box, shown, beta, order, squares, pixels, None))
    if eye.encode is not None:
        found = eye.encode(np.concatenate([tile.pixels for tile in tiles]))
        ends = np.cumsum([len(tile.order) for tile in tiles])
        for tile, features in zip(tiles, np.split(found, ends[:-1]), strict=True):
            tile.features = features
    return tiles


def _inverted(p: np.ndarray) -> np.ndarray:
    """1 - p as a distribution; even where there is a single position."""
    rest = np.clip(1 - p, 0, None)
    return rest / rest.sum() if rest.sum() > 0 else np.full_like(p, 1 / p.size)


@dataclass
class Drawing:
    """N draws through both stages, and the tree they make."""

    view: ImageView
    eye: Eye
    draws: int
    rng: np.random.Generator
    tiles: list[Tile] = field(default_factory=list)
    sequence: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        self.sequence = drawing_of.draw(self.eye.alpha, self.draws, self.rng, replacement=True)

    @property
    def unique(self) -> int:
        """N', distinct tiles."""
        return len(np.unique(self.sequence))

    @property
    def subtiles(self) -> int:
        return sum(len(tile.order) for tile in self.tiles)

    @property
    def counts(self) -> dict[int, int]:
        """Draws of each tile, in the order first drawn."""
        out: dict[int, int] = {}
        for position in self.sequence.tolist():
            out[position] = out.get(position, 0) + 1
        return out

    def grow(self) -> Iterator[tuple[ZoomTree, float, str]]:
        """Open the drawn tiles one by one; yields the tree, how much of it is done, a sentence."""
        eye, stages = self.eye, self.eye.stages
        grown = Growing(self.view, "attention", eye.source, stages.region.area, stages.exhaustive)
        grown.pending()
        networks = int(eye.encode is not None)
        root = grown.add(
            None, stages.region, 1 / stages.first, "zoomed", pixels=eye.asked, calls=networks,
            reason=f"{eye.alpha.size:,} positions attended to at scale {stages.first:.3g}",
        )  # fmt: skip
        counts = self.counts
        for place, (position, n) in enumerate(counts.items()):
            current().check()
            (tile,) = open_tiles(self.view, eye, {position: n}, self.rng)
            self.tiles.append(tile)
            each = float(stages.subtile**2)
            asked = grown.pending()
            subtiles = len(tile.order)
            read = asked - _asked(self.view, tile, stages)
            held = float(tile.beta[tile.order].sum())
            parent = grown.add(
                root, Box(*tile.box), 1 / stages.second, "zoomed", score=eye.alpha[position],
                draws=n, tag=f"x{n}" if n > 1 else "", pixels=max(0.0, read), calls=networks,
                reason=f"drawn {n} of {self.draws} times; its {subtiles} sub-tiles hold {held:.0%} of beta",
            )  # fmt: skip
            share = (asked - max(0.0, read)) / subtiles
            for k, box in enumerate(tile.boxes):
                inside = Box(*box).intersect(Box(*tile.box))
                grown.add(
                    parent, inside, 1.0, "sampled", score=tile.beta[tile.order[k]], draws=1,
                    pixels=share, calls=networks,
                    reason=f"draw {k + 1} from this tile, {each:,.0f} px at full resolution",
                )  # fmt: skip
            done = (place + 1) / len(counts)
            told = f"{place + 1} of {len(counts)} tiles opened, {self.subtiles} sub-tiles read"
            if eye.asked >= 0.9 * stages.region.area:
                told += "; the view alone reads everything, since no coarser level is stored"
            told += "."
            yield grown.tree(), done, told

    @property
    def told(self) -> str:
        side = self.eye.stages.subtile
        return f"{self.subtiles} sub-tiles of {side} x {side} px at full resolution, largest weight first."

    def weights(self) -> list[tuple[float, int, int]]:
        """Weight of every sub-tile in the estimate, with its tile's and its own place; largest first."""
        counts, out = self.counts, []
        for t, tile in enumerate(self.tiles):
            share = counts[tile.position] / self.draws
            unit = np.eye(len(tile.order))
            own = drawing_of.terms(tile.beta, tile.order, unit).mean(0)
            out += [(share * float(w), t, k) for k, w in enumerate(own)]
        return sorted(out, key=lambda item: -item[0])

    def feature(self, n: int | None = None) -> np.ndarray:
        """The estimate of equation 5's sum from the first n draws (default all)."""
        sequence = self.sequence[:n]
        found = {tile.position: tile for tile in self.tiles}
        total = 0.0
        for position in np.unique(sequence):
            count = int((sequence == position).sum())
            total = total + count / len(sequence) * found[int(position)].estimate(count)
        return np.asarray(total)

    def probabilities(self, n: int | None = None) -> np.ndarray:
        assert self.eye.classify is not None
        return np.asarray(self.eye.classify(self.feature(n)[None])[0])

    def answer(self) -> Prediction:
        """Class probabilities."""
        found = dict(zip(self.eye.classes, self.probabilities().tolist(), strict=True))
        return Prediction(found, source=f"{self.eye.source}" if "trained" in self.eye.source
                          else f"trained classifier, attention from {self.eye.source}")  # fmt: skip

    def tiles_sheet(self) -> Picture:
        """The tiles drawn most often: view above, beta below."""
        from hrviz.methods.zooming.sheets import pairs

        counts = self.counts
        order = sorted(self.tiles, key=lambda t: -counts[t.position])[:SHOWN_TILES]
        u, v = self.eye.stages.tile_view
        return pairs([t.view for t in order], [t.beta.reshape(u, v) for t in order])

    def subtiles_sheet(self) -> Picture:
        """Sub-tiles by weight."""
        from hrviz.methods.zooming.sheets import sheet

        chosen = self.weights()[:SHOWN_SUBTILES]
        return sheet([self.tiles[t].pixels[k] for _, t, k in chosen], [w for w, _, _ in chosen])


def _asked(view: ImageView, tile: Tile, stages: Stages) -> float:
    """Pixels asked of the image for a tile's sub-tiles: those of them that lie in it."""
    inside = 0.0
    for box in tile.boxes:
        inside += Box(*box).intersect(view.image.box).area
    return inside


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
    rest = _inverted(eye.alpha)
    sequence = drawing_of.draw(rest, draws, rng, replacement=True).tolist()
    counts = {position: sequence.count(position) for position in dict.fromkeys(sequence)}
    total: Any = 0.0
    for tile in open_tiles(view, eye, counts, rng, low=True):
        assert tile.features is not None
        mean = drawing_of.estimate(_inverted(tile.beta), tile.order, tile.features)
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
    boxes = truth.boxes(view.box)
    wanted = [k for k, name in truth.objects.items() if name == tasks.NEEDS[aim]]
    mine = boxes.boxes[np.isin(boxes.classes, wanted)]
    if len(mine):
        hit = [
            bool(_touch(Box(*b), mine)) for tile in drawing.tiles for b in tile.boxes
        ]  # fmt: skip
        centres = eye.stages.tiles(np.arange(eye.alpha.size))
        middle = (centres[:, :2] + centres[:, 2:]) / 2
        reach = np.array(eye.stages.tile) / 2
        near = np.zeros(len(middle), bool)
        for b in mine:
            near |= (middle[:, 0] >= b[0] - reach[0]) & (middle[:, 0] <= b[2] + reach[0]) & (
                middle[:, 1] >= b[1] - reach[1]) & (middle[:, 1] <= b[3] + reach[1])  # fmt: skip
        values |= {"alpha_near_objects": float(eye.alpha[near].sum()),
                   "even_near_objects": float(near.mean()),
                   "subtiles_on_objects": float(np.mean(hit))}  # fmt: skip
    told = f"The truth is {label!r}; sub-tiles on objects touch one with their middle half."
    yield Step("score", Prediction(values, source=answer.source), told)


def _touch(box: Box, objects: np.ndarray) -> bool:
    """Whether the middle half of a box meets an object."""
    core = box.grown(-box.height / 4)
    return any(core.intersect(Box(*b)).area > 0 for b in objects)

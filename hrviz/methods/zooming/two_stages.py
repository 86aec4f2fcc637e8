"""The Zoom-In network's draws: tiles with replacement, sub-tiles without, the tree, the estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.zooming import draws as drawing_of
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.stages import Stages
from hrviz.methods.zooming.zoom_in_eye import Eye
from hrviz.results import Picture, Prediction, ZoomTree

SHOWN_TILES, SHOWN_SUBTILES = 4, 24


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
        order = drawing_of.draw(inverted(beta) if low else beta, n, rng)
        squares = stages.subtiles(box, order)
        pixels = np.stack([view.read(side, Box(*square)) for square in squares])
        tiles.append(Tile(position, box, shown, beta, order, squares, pixels, None))
    if eye.encode is not None:
        found = eye.encode(np.concatenate([tile.pixels for tile in tiles]))
        ends = np.cumsum([len(tile.order) for tile in tiles])
        for tile, features in zip(tiles, np.split(found, ends[:-1]), strict=True):
            tile.features = features
    return tiles


def inverted(p: np.ndarray) -> np.ndarray:
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
        total: Any = 0.0
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

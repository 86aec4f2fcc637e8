"""The loop of iterative patch selection: which patches there are, who scores them, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.zooming.attended import Asked
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patches import box_of, cut_out

STAND_IN = 64  # px of a patch without a network
PROPERTIES = ("edge energy", "saturation", "darkness", "contrast")
SHARP = 1.5  # logits of a stand-in are standard scores times this
RASTER = 256  # px, longer side of the map of patches
AT_ONCE = 32  # patches in one call


@dataclass(frozen=True)
class Grid:
    """All patches of a region, row by row, the last of each line moved back inside.

    Attributes
    ----------
    origins : ndarray float64 (n, 2)
        (y, x), level-0 px from the region's corner.
    shape : (int, int)
        Rows and columns.
    side, pixels : int
        Of a patch: level-0 px, and px as the network receives it.
    """

    origins: np.ndarray
    shape: tuple[int, int]
    side: int
    pixels: int


def starts(length: float, side: float, step: float) -> np.ndarray:
    """Where patches start along an axis: every `step`, the last moved back to end at the border.

    Examples
    --------
    >>> starts(1024, 96, 64)[-3:].tolist(), starts(50, 96, 64).tolist()
    ([832.0, 896.0, 928.0], [0.0])
    """
    count = max(1, int(np.ceil((length - side) / step - 1e-9)) + 1)
    return np.minimum(np.arange(count) * float(step), max(0.0, np.floor(length - side)))


def grid_of(height: float, width: float, patch: int, most: int, network: str | None) -> Grid:
    """The patches of a region: at full resolution, or as much coarser as `most` asks for."""
    pixels, share = patch or STAND_IN, 1.0
    if network is not None:
        config = nets.card(network)["config"]
        pixels, share = patch or config["patch"], config["step"] / config["patch"]
    factor = 1
    while True:
        side = pixels * factor
        y, x = (starts(n, side, max(1.0, side * share)) for n in (height, width))
        if len(y) * len(x) <= most:
            break
        factor += 1 if factor < 8 else factor // 4
    at = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    return Grid(at, (len(y), len(x)), side, pixels)


def raster(view: ImageView, grid: Grid, values: np.ndarray) -> np.ndarray:
    """Values (n,) of patches as a map over the view: where patches overlap, their mean.

    Patches moved back at the border would not fit a map of one pixel a patch.
    """
    size = view.fit(min(RASTER, max(1, round(max(view.height, view.width)))))
    total, count = np.zeros(size), np.zeros(size)
    scale = np.array(size) / (view.height, view.width)
    for (y, x), value in zip(grid.origins, values, strict=True):
        r0, c0 = np.rint(np.array([y, x]) * scale).astype(int)
        r1, c1 = np.maximum(np.rint((np.array([y, x]) + grid.side) * scale).astype(int), (r0 + 1, c0 + 1))  # fmt: skip
        total[r0:r1, c0:c1] += value
        count[r0:r1, c0:c1] += 1
    return np.asarray(total / np.maximum(count, 1))


@dataclass(frozen=True)
class Scorer:
    """Attention logits of patches: the trained network's, or a stand-in's."""

    view: ImageView
    network: str | None
    kind: str
    heads: int
    source: str
    remark: str = ""

    @classmethod
    def of(cls, view: ImageView, saliency: str, ask: Asked, heads: int) -> Scorer:
        """What scores, and how it is to be named."""
        if ask.network is not None and saliency == "trained":
            return cls(view, ask.network, "trained", 0, ask.badge, ask.remark)
        if saliency == "truth" and view.truth is not None:
            return cls(view, None, "truth", 1, "oracle: the scene's truth")
        remark = {"trained": "no task network is in use", "truth": "the image has no truth"}
        named = " + ".join(PROPERTIES[:heads])
        return cls(view, None, "edges", heads, f"stand-in: {named}", remark.get(saliency, ""))

    @property
    def calls(self) -> int:
        return int(self.network is not None)

    def logits(self, patches: np.ndarray, origins: np.ndarray, side: int) -> np.ndarray:
        """Logits (heads, n) of patches (n, p, p, 3); a stand-in's are raw properties (see `Loop`)."""
        if self.network is not None:
            import torch

            parts = []
            for start in range(0, len(patches), AT_ONCE):
                some = patches[start : start + AT_ONCE]
                current().add("network_pixels", some.shape[0] * some.shape[1] * some.shape[2])
                x = torch.from_numpy(some).permute(0, 3, 1, 2).contiguous()
                parts.append(nets.run(self.network, x, "attend").double().numpy())
            return np.concatenate(parts, 1)
        if self.kind == "truth":
            boxes = (box_of(self.view.box, at, side).intersect(self.view.box) for at in origins)
            return np.array([[_covered(self.view, box) for box in boxes]])
        return _properties(patches)[: self.heads]


def _covered(view: ImageView, box: Box) -> float:
    """Share of a box that is sought, from 8 x 8 points; 0 for an empty box."""
    truth = view.truth
    if box.area <= 0:
        return 0.0
    if "mask" in truth.knows:
        mask = truth.mask(box, (8, 8))
        alike = [k for k, name in truth.classes.items() if name == "look-alike"]
        return float(((mask > 0) & ~np.isin(mask, alike)).mean())
    return float(len(truth.points(box)[0]))


def _properties(patches: np.ndarray) -> np.ndarray:
    """(4, n): edge energy, saturation, darkness and contrast, each in 0..1 or so."""
    grey = patches @ np.array([0.299, 0.587, 0.114], np.float32)
    edges = np.zeros(len(patches))
    for axis in (1, 2):
        if grey.shape[axis] > 1:
            edges += (np.diff(grey, axis=axis) ** 2).mean((1, 2))
    colour = patches.max(3) - patches.min(3)
    dark = 1 - grey
    rows = [np.sqrt(edges), colour.mean((1, 2)), dark.mean((1, 2)), grey.std((1, 2))]
    return np.stack(rows).astype(np.float64)


def shares(logits: np.ndarray) -> np.ndarray:
    """Attention among those present: logits (heads, n), softmax of each head, mean over heads."""
    z = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray((z / z.sum(1, keepdims=True)).mean(0))


def best_of(logits: np.ndarray, places: np.ndarray, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `memory` of some places, best first, and their attention among them."""
    a = shares(logits[:, places])
    top = np.argsort(-a, kind="stable")[:memory]
    return places[top], a[top]


def orders(logits: np.ndarray, memory: int, chunk: int, count: int, seed: int) -> list[np.ndarray]:
    """What the loop keeps in `count` shuffled orders, from logits (heads, n) of all patches."""
    rng = np.random.default_rng([seed, 2])
    out = []
    for _ in range(count):
        current().check()
        sequence = rng.permutation(logits.shape[1])
        kept, _ = best_of(logits, sequence[:memory], memory)
        for start in range(memory, len(sequence), chunk):
            kept, _ = best_of(logits, np.r_[kept, sequence[start : start + chunk]], memory)
        out.append(kept)
    return out


@dataclass
class Loop:
    """The loop under way; afterwards `kept`, `attention` and `pixels` are the memory, best first.

    A stand-in's properties become logits as standard scores over the patches seen so far: mean and
    spread are fixed by the first group, so that a patch's logits never change.
    """

    growing: Growing
    grid: Grid
    scorer: Scorer
    memory: int
    chunk: int
    sequence: np.ndarray
    logits: np.ndarray = field(init=False)
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    attention: np.ndarray = field(default_factory=lambda: np.zeros(0))
    history: list[tuple[float, float]] = field(default_factory=list)
    node_of: dict[int, int] = field(default_factory=dict)
    _held: dict[int, np.ndarray] = field(default_factory=dict)
    _since: dict[int, int] = field(default_factory=dict)
    _fixed: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def pixels(self) -> list[np.ndarray]:
        """The patches in memory, best first."""
        return [self._held[k] for k in self.kept.tolist()]

    def steps(self) -> Iterator[tuple[float, str]]:
        """Run; after each step the share done and a sentence. The tree grows by its newcomers."""
        n, view = len(self.sequence), self.growing.view
        self.growing.add(
            None, view.box, self.grid.side / self.grid.pixels, "zoomed", pixels=0.0,
            reason=f"{n:,} patches pass a memory of {self.memory}",
        )  # fmt: skip
        memories = []
        bounds = [(0, self.memory)]
        bounds += [(a, min(a + self.chunk, n)) for a in range(self.memory, n, self.chunk)]
        for step, (start, stop) in enumerate(bounds, 1):
            current().check()
            new = self.sequence[start:stop]
            self._read(new, step)
            before = self.kept
            present = np.r_[before, new].astype(int)
            self.kept, self.attention = best_of(self.logits, present, self.memory)
            stay = set(self.kept.tolist())
            for k in present.tolist():
                if k not in stay:
                    self._drop(k, step, k in set(new.tolist()))
            for k, a in zip(self.kept.tolist(), self.attention.tolist(), strict=True):
                told = f"in memory since step {self._since[k]}"
                self.growing.change(self.node_of[k], decision="processed", score=a, reason=told)
            memories.append(stay)
            told = f"Step {step} of {len(bounds)}: {len(stay & set(new.tolist()))} of {len(new)} newcomers stay."  # fmt: skip
            self.history.append((float(len(stay & set(new.tolist()))), 0.0))
            yield stop / n, told
        final = memories[-1]
        self.history = [
            (new, float(len(stay & final)))
            for (new, _), stay in zip(self.history, memories, strict=True)
        ]

    def everywhere(self) -> np.ndarray:
        """Attention (n,) if all patches were present at once, by place in the grid."""
        return shares(self.logits)

    def _read(self, new: np.ndarray, step: int) -> None:
        """Read and score newcomers, and give each its node."""
        cuts, asked = [], []
        for k in new.tolist():
            pixels, _ = cut_out(
                self.growing, self.grid.origins[k], self.grid.side, self.grid.pixels
            )
            cuts.append(pixels)
            asked.append(self.growing.pending())
        found = self._standard(
            self.scorer.logits(np.stack(cuts), self.grid.origins[new], self.grid.side)
        )
        if step == 1:
            self.logits = np.full((len(found), len(self.sequence)), np.nan)
        self.logits[:, new] = found
        downsample = self.grid.side / self.grid.pixels
        for k, pixels, spent in zip(new.tolist(), cuts, asked, strict=True):
            self._held[k], self._since[k] = pixels, step
            box = box_of(self.growing.view.box, self.grid.origins[k], self.grid.side)
            self.node_of[k] = self.growing.add(
                0, box, downsample, "memory only", pixels=spent, calls=self.scorer.calls
            )

    def _drop(self, k: int, step: int, fresh: bool) -> None:
        del self._held[k]
        if fresh:
            decision, told = "memory only", f"seen in step {step}, not kept"
        else:
            decision = "suppressed"
            told = f"in memory from step {self._since[k]}, pushed out in step {step}"
        self.growing.change(self.node_of[k], decision=decision, score=None, reason=told)

    def _standard(self, found: np.ndarray) -> np.ndarray:
        if self.scorer.network is not None:
            return found
        if self._fixed is None:
            spread = found.std(1, keepdims=True)
            self._fixed = found.mean(1, keepdims=True), np.where(spread > 1e-6, spread, 1.0)
        mean, spread = self._fixed
        # bounded without ties: where the first group is bare glass, all others are far from its mean
        return np.asarray(np.arcsinh(SHARP * (found - mean) / spread))

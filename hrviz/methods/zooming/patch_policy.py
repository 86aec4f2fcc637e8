"""PatchDrop's pieces: patches of a view, keep probabilities and their stand-ins, best masks by search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.zooming import stand_ins
from hrviz.nets.patch_reward import FULL, GRID, MEAN, SMALL, reward

POLICY, HIGH, LOW = "patch-drop-policy", "patch-drop-classifier", "patch-drop-low"
ENUMERATED = 16  # patches of which all masks are tried
BATCH = 64  # masks in one network call
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Patches:
    """A view squeezed to FULL x FULL pixels and cut in grid x grid patches, row by row."""

    view: ImageView
    grid: int

    def __len__(self) -> int:
        return self.grid**2

    def span(self, k: int) -> tuple[slice, slice]:
        """Rows and columns of patch k in the full picture, px."""
        edges = stand_ins.edges_of_cells(self.grid, FULL)
        row, column = divmod(k, self.grid)
        return slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1])

    def box(self, k: int) -> Box:
        """Patch k in level-0 pixels."""
        rows, columns = self.span(k)
        b = self.view.box
        sy, sx = b.height / FULL, b.width / FULL
        return Box(b.y0 + rows.start * sy, b.x0 + columns.start * sx,
                   b.y0 + rows.stop * sy, b.x0 + columns.stop * sx)  # fmt: skip

    @property
    def downsample(self) -> float:
        """Level-0 pixels per pixel of the full picture, along the longer side."""
        return max(self.view.height, self.view.width) / FULL

    def exhaustive_pixels(self) -> float:
        """Pixels of the image that reading all patches asks for."""
        finer = [d for d in self.view.image.downsamples if d <= max(1.0, self.downsample)]
        return self.view.box.area / max(finer) ** 2

    def masks(self, keep: np.ndarray) -> np.ndarray:
        """Masks bool (n, FULL, FULL) of decisions (n, P)."""
        edges = stand_ins.edges_of_cells(self.grid, FULL)
        index = np.repeat(np.arange(self.grid), np.diff(edges))
        return np.asarray(keep.reshape(-1, self.grid, self.grid)[:, index][:, :, index], bool)


def run(network: str, pixels: np.ndarray) -> np.ndarray:
    """Logits (n, k) of a network on pictures (n, h, w, 3), float32 in 0..1."""
    import torch

    n, h, w, _ = pixels.shape
    current().add("network_pixels", n * h * w)
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return nets.run(network, x).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def keep_probabilities(
    patches: Patches, small: np.ndarray, source: str, networks: bool
) -> tuple[np.ndarray, str, str]:
    """Keep probabilities s (P,) of a policy or a stand-in, the badge of what decided, and a remark ('' if none)."""
    if source == "truth":
        there = stand_ins.sought(patches.view, patches.view.box, patches.grid)
        return there.ravel().astype(float), stand_ins.TRUTH, ""
    if source == "trained" and networks and patches.grid == GRID:
        logits = run(POLICY, small[None])[0].astype(np.float64)
        return 1 / (1 + np.exp(-logits)), f"trained: {POLICY}", ""
    remark = ""
    if source != "edges":
        why = f"the policy is trained for {GRID} x {GRID} patches" if networks else \
            "no task is set"  # fmt: skip
        remark = f", in place of '{source}': {why}"
    from hrviz.image.resample import resample

    energy = stand_ins.edge_energy(small)
    cells = (patches.grid, patches.grid)
    mean = resample(energy[..., None], (0, SMALL), (0, SMALL), cells)[..., 0]
    return stand_ins.standing_out(mean).ravel(), stand_ins.EDGES, remark


@dataclass(frozen=True)
class Found:
    """A search so far: the best mask (P,), whether it is right, masks tried, share done."""

    keep: np.ndarray
    right: bool
    tried: int
    progress: float


class Judge:
    """Runs the classifier on masked versions of one full picture, batch by batch."""

    def __init__(
        self, patches: Patches, full: np.ndarray, label: int | None, low: np.ndarray | None
    ) -> None:
        self.patches, self.full, self.low = patches, full, low
        self.tried = 0
        everything = np.ones((1, len(patches)), bool)
        # without truth: what keeps the answer to the whole picture
        self.label = label if label is not None else int(self.logits(everything).argmax())

    def logits(self, keep: np.ndarray) -> np.ndarray:
        """Class logits (n, classes) of decisions (n, P), the low-resolution ones added if given."""
        mask = self.patches.masks(keep)[..., None]
        self.tried += len(keep)
        out = run(HIGH, np.where(mask, self.full, np.float32(MEAN)))
        return out if self.low is None else out + self.low

    def __call__(self, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each decision (n, P) leads to the label, and the label's probability."""
        logits = self.logits(keep)
        return logits.argmax(1) == self.label, softmax(logits)[:, self.label]


def exhaustive(judge: Judge) -> Iterator[Found]:
    """The mask of the highest reward, by trying all of them, fewest patches first.

    R falls with the number kept, so the first number at which a mask is right is the best; of its
    right masks the one that the classifier is surest of is taken. Where none is right, all
    2^P are tried and everything is kept.

    Raises
    ------
    HrvizError
        More than 16 patches.
    """
    count = len(judge.patches)
    if count > ENUMERATED:
        raise HrvizError(
            f"{count} patches have {2.0**count:.2g} masks, too many to try: choose a grid of at most "
            f"{GRID}, or greedy search"
        )
    best = np.ones(count, bool)
    for kept in range(count + 1):
        chances = []
        for chosen in _batches(itertools.combinations(range(count), kept)):
            keep = np.zeros((len(chosen), count), bool)
            for row, places in zip(keep, chosen, strict=True):
                row[list(places)] = True
            right, p = judge(keep)
            chances += [
                (chance, mask) for ok, chance, mask in zip(right, p, keep, strict=True) if ok
            ]
            if chances:
                best = max(chances, key=lambda pair: pair[0])[1]
            if judge.tried % (8 * BATCH) < len(chosen):
                yield Found(best, bool(chances), judge.tried, min(0.99, judge.tried / 2**count))
        if chances:
            break
    yield Found(best, bool(chances), judge.tried, 1.0)


def _batches(items: Iterator[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    while some := list(itertools.islice(items, BATCH)):
        yield some


def greedy(judge: Judge) -> Iterator[Found]:
    """Patches dropped one after another while the answer holds, the most harmless first.

    Harmless is a patch without which alone the label's probability stays high. About 2 P network
    calls; a local optimum, from which no single further patch can be dropped in that order.
    """
    count = len(judge.patches)
    alone = ~np.eye(count, dtype=bool)
    chance = np.concatenate(
        [judge(alone[start : start + BATCH])[1] for start in range(0, count, BATCH)]
    )
    keep = np.ones(count, bool)
    held = bool(judge(keep[None])[0][0])
    for n, k in enumerate(np.argsort(-chance, kind="stable") if held else ()):
        trial = keep.copy()
        trial[k] = False
        if judge(trial[None])[0][0]:
            keep = trial
        if n % 8 == 7 and n + 1 < count:
            yield Found(keep, True, judge.tried, (n + 1) / count)
    yield Found(keep, held, judge.tried, 1.0)


def rewards(count: int, kept: int, penalty: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Numbers of patches (at most 17 of them, `kept` among them) and R(k) if right and if wrong."""
    k = np.unique(np.r_[np.linspace(0, count, min(count, 16) + 1).round(), kept])
    lines = {f"if {name}": reward(k / count, right, penalty) + 0 * k
             for name, right in (("right", 1.0), ("wrong", 0.0))}  # fmt: skip
    return k, lines

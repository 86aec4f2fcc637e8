"""RAZN's windows: reading them, deciding on them, and stitching what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.results import HeatMap, LabelMap

LEVELS = (32, 16, 8)  # downsamples for which there are trained segmenters
ZOOMS = ((32, 2), (16, 2), (32, 4))  # downsample and ratio for which there are trained policies
MEMORY_CANVAS = 2**22  # pixels; larger canvases go to disk
STRIP = 2**20  # pixels of a leaf's answer that are enlarged at a time
EDGE = 0.04  # grey levels a pixel, of 1: mean gradient at which the stand-in says p(zoom) = 1/2
UNSURE = 0.1  # share of a window's pixels, the least certain, whose entropy decides


@dataclass(frozen=True)
class Ladder:
    """The levels of one run.

    Attributes
    ----------
    window : int
        Side of a window in pixels of its level.
    ratio, zooms : int
        r and m.
    finest : int
        Downsample of level m.
    """

    window: int
    ratio: int
    zooms: int
    finest: int

    def downsample(self, level: int) -> int:
        """Level-0 pixels per pixel of a level; level 0 of the ladder is the coarsest."""
        return int(self.finest * self.ratio ** (self.zooms - level))

    def span(self, level: int) -> int:
        """Side of a window in level-0 pixels of the image."""
        return self.window * self.downsample(level)

    def windows(self, height: float, width: float, level: int) -> int:
        """Windows of a level that cover a region."""
        span = self.span(level)
        return int(np.ceil(height / span) * np.ceil(width / span))

    def count(self, view: ImageView, level: int) -> int:
        """Windows of a level that cover the view."""
        return self.windows(view.height, view.width, level)

    def roots(self, view: ImageView) -> list[Box]:
        """Windows of the coarsest level, those nearest to the user's focus first."""
        span = self.span(0)
        y = view.box.y0 + span * np.arange(int(np.ceil(view.height / span)))
        x = view.box.x0 + span * np.arange(int(np.ceil(view.width / span)))
        corners = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
        focus = np.asarray(current().focus or view.box.centre)
        order = np.argsort(((corners + span / 2 - focus) ** 2).sum(1), kind="stable")
        return [Box(*c, *(c + span)) for c in corners[order]]

    def children(self, box: Box, view: ImageView) -> list[Box]:
        """The r x r windows of the next level under a window; those outside the view are left out."""
        side = box.height / self.ratio
        out = [
            Box(y, x, y + side, x + side)
            for y in box.y0 + side * np.arange(self.ratio)
            for x in box.x0 + side * np.arange(self.ratio)
        ]
        return [b for b in out if b.intersect(view.box).area > 0]

    def check_networks(self, policy: bool) -> None:
        """Refuse levels that nothing is trained for, in a sentence that says which are."""
        asked = [self.downsample(k) for k in range(self.zooms + 1)]
        pairs = [(d, self.ratio) for d in asked[:-1]]
        if not set(asked) <= set(LEVELS) or (policy and not set(pairs) <= set(ZOOMS)):
            raise HrvizError(
                f"zooms={self.zooms} by ratio={self.ratio} down to finest={self.finest} needs networks at "
                f"downsample {', '.join(map(str, asked))}, and there are some for "
                f"{', '.join(map(str, LEVELS))}: choose finest 8 with at most 2 zooms by 2 or 1 by 4, "
                "or task none"
            )


def look(view: ImageView, box: Box, ladder: Ladder, level: int) -> np.ndarray:
    """A window float32 `(window, window, 4)`: RGB in 0..1, and 1 where it lies in the view.

    Only what lies in the view is read; the rest is 0 in all four channels.
    """
    current().check()
    d = ladder.downsample(level)
    cut = box.intersect(view.box)
    n, m = (max(1, int(np.ceil(v / d - 1e-9))) for v in (cut.height, cut.width))
    out = np.zeros((ladder.window, ladder.window, 4), np.float32)
    out[:n, :m, :3] = view.read((n, m), Box(box.y0, box.x0, box.y0 + n * d, box.x0 + m * d))
    out[:n, :m, 3] = 1
    return out


def run(name: str, windows: np.ndarray) -> np.ndarray:
    """A trained network's answer to windows (n, h, w, 4), after a sigmoid."""
    import torch

    current().add("network_pixels", windows.shape[0] * windows.shape[1] * windows.shape[2])
    batch = torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 3, 1, 2)))
    return np.asarray(nets.run(name, batch).sigmoid().numpy())


def segmenter(downsample: int) -> str:
    """Name of a level's segmenter."""
    return f"tissue-razn-f{downsample}"


def policy(downsample: int, ratio: int) -> str:
    """Name of a level's policy."""
    return f"tissue-razn-g{downsample}x{ratio}"


def segment(windows: np.ndarray, downsample: int) -> np.ndarray:
    """Probability of tumour in windows of a level, (n, h/2, w/2)."""
    return run(segmenter(downsample), windows)[:, 0]


def decide(windows: np.ndarray, downsample: int, ratio: int) -> np.ndarray:
    """The trained policy's p(zoom) of windows of a level, (n,)."""
    return run(policy(downsample, ratio), windows)


def mixed(view: ImageView, box: Box, side: int) -> float:
    """The oracle's p(zoom): 1 where a window holds both the target and something else, else 0.

    By the truth's mask on `side` x `side` points; where the truth has none, 1 where an object lies.
    """
    cut = box.intersect(view.box)
    if "mask" in view.truth.knows:
        mask = view.truth.mask(cut, (side, side)) > 0
        return float(mask.any() != mask.all())
    if "boxes" in view.truth.knows:
        return float(len(view.truth.boxes(cut)) > 0)
    return float(len(view.truth.points(cut)[0]) > 0)


def edge_energy(window: np.ndarray) -> float:
    """The stand-in's p(zoom): mean gradient e of the grey values in the view, as e / (e + EDGE)."""
    grey = window[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    inside = window[..., 3] > 0
    down = np.abs(np.diff(grey, axis=0))[inside[1:] & inside[:-1]]
    right = np.abs(np.diff(grey, axis=1))[inside[:, 1:] & inside[:, :-1]]
    both = np.concatenate([down, right])
    energy = float(both.mean()) if both.size else 0.0
    return energy / (energy + EDGE)


def entropy(probability: np.ndarray, window: np.ndarray) -> float:
    """Another stand-in's p(zoom): mean entropy in bits of the tenth of a window that is least certain."""
    p = probability[window[::2, ::2, 3] > 0].astype(np.float64).clip(1e-9, 1 - 1e-9)
    bits = np.sort(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))
    return float(bits[-max(1, round(UNSURE * len(bits))) :].mean())


def enlarge(answer: np.ndarray, factor: int, top: int, bottom: int, smooth: bool) -> np.ndarray:
    """Rows `top` to `bottom` of a map enlarged `factor` times.

    Parameters
    ----------
    answer : ndarray (h, w), float
    factor : int
    top, bottom : int
        Rows of the enlarged map, half-open.
    smooth : bool
        Bilinear between pixel centres, the rim repeated; else each pixel repeated.

    Returns
    -------
    ndarray (bottom - top, w factor), float32

    Examples
    --------
    >>> enlarge(np.array([[0.0, 1.0]]), 2, 0, 1, True).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    h, w = answer.shape
    if not smooth:
        rows = np.arange(top, bottom) // factor
        return np.asarray(np.repeat(answer[rows], factor, axis=1), np.float32)

    def taps(at: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = np.clip((at + 0.5) / factor - 0.5, 0, n - 1)
        low = place.astype(np.int64)
        return low, np.minimum(low + 1, n - 1), (place - low).astype(np.float32)

    a, b, t = taps(np.arange(top, bottom), h)
    rows = answer[a] * (1 - t[:, None]) + answer[b] * t[:, None]
    a, b, t = taps(np.arange(w * factor), w)
    return np.asarray(rows[:, a] * (1 - t) + rows[:, b] * t, np.float32)


class Canvas:
    """What the leaves said, in the raster of the finest level's answers: in memory when small, else Zarr.

    Parameters
    ----------
    view : ImageView
    ladder : Ladder
    source : str
        Badge of the probabilities.

    Attributes
    ----------
    levels : array uint8
        1 + the level that segmented a pixel; 0 where no leaf has come yet.
    values : array float32
        Probabilities; NaN where none is known.
    """

    def __init__(self, view: ImageView, ladder: Ladder, source: str) -> None:
        self.view, self.ladder, self.source = view, ladder, source
        self.scale = 2 * ladder.finest  # the segmenters answer at half resolution
        shape = (
            max(1, int(np.ceil(view.height / self.scale))),
            max(1, int(np.ceil(view.width / self.scale))),
        )
        folder = current().folder
        self.values: Any
        self.levels: Any
        if shape[0] * shape[1] <= MEMORY_CANVAS or folder is None:
            self.values = np.full(shape, np.nan, np.float32)
            self.levels = np.zeros(shape, np.uint8)
        else:
            import tempfile

            import zarr

            place = tempfile.mkdtemp(prefix="razn-", dir=folder)
            self.values, self.levels = (
                zarr.create_array(f"{place}/{name}", shape=shape, chunks=(256, 256), dtype=dtype,
                                  fill_value=fill)
                for name, dtype, fill in (("values", "float32", np.nan), ("levels", "uint8", 0))
            )  # fmt: skip

    def put(self, box: Box, level: int, answer: np.ndarray | None, smooth: bool = True) -> None:
        """A leaf's answer (h/2, w/2) into its place; None where no network segments."""
        row = round((box.y0 - self.view.box.y0) / self.scale)
        column = round((box.x0 - self.view.box.x0) / self.scale)
        factor = self.ladder.ratio ** (self.ladder.zooms - level)
        side = self.ladder.window // 2 * factor
        h = min(side, self.values.shape[0] - row)
        w = min(side, self.values.shape[1] - column)
        self.levels[row : row + h, column : column + w] = np.uint8(level + 1)
        if answer is None:
            return
        answer = answer[:, : -(-w // factor) + 1]
        step = max(1, STRIP // max(1, w))
        for top in range(0, h, step):
            bottom = min(h, top + step)
            part = enlarge(answer, factor, top, bottom, smooth)[:, :w]
            self.values[row + top : row + bottom, column : column + w] = part

    @property
    def box(self) -> Box:
        h, w = self.values.shape
        y0, x0 = self.view.box[:2]
        return Box(y0, x0, y0 + h * self.scale, x0 + w * self.scale)

    def map(self) -> HeatMap:
        """Probabilities so far, which later leaves do not change under the viewer."""
        values = self.values.copy() if isinstance(self.values, np.ndarray) else self.values
        return HeatMap(
            values, self.box, label="tumour probability", low=0, high=1, source=self.source
        )

    def segmented_at(self, source: str) -> LabelMap:
        """Which level segmented each pixel."""
        labels = self.levels.copy() if isinstance(self.levels, np.ndarray) else self.levels
        names = [
            f"level {k}, downsample {self.ladder.downsample(k)}"
            for k in range(self.ladder.zooms + 1)
        ]
        return LabelMap(labels, self.box, ("not yet", *names), source)

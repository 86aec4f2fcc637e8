"""Numbers: predictions, curves, reads, costs, and the step that carries any result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrviz.results.base import RECORDS, Result, Tag, require


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """Named numbers that a task came to: class probabilities, a count, scores against truth.

    Parameters
    ----------
    values : dict of str to float
    unit : str
    truth : dict of str to float
        The same names where truth is known.
    source : str
        Badge, e.g. 'trained: tissue-segmenter'.
    """

    values: dict[str, float]
    unit: str = ""
    truth: dict[str, float] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        require(len(self.values) > 0, "a prediction has at least one value")
        require(all(v == v for v in self.values.values()), "a prediction holds NaN")

    def summary(self) -> dict[str, Any]:
        out: dict[str, Any] = dict(self.values)
        out |= {f"true_{k}": v for k, v in self.truth.items()}
        return out | ({"source": self.source} if self.source else {})


@dataclass(frozen=True, eq=False)
class Curve(Result):
    """Lines y(x): `series` maps a name to values (n,) over `x` (n,); each line's tag says its kind.

    `bars`: values of separate things, such as frames, drawn as bars beside each other. `bands`: for
    some of the lines, (n, 2) of a lower and an upper end, such as estimate -+ spread. `marks`: places
    on the x axis with a name; `levels`: such on the y axis, such as the memory of a device.
    """

    x: np.ndarray
    series: dict[str, np.ndarray]
    x_label: str = "x"
    y_label: str = "y"
    log: bool = False
    tag: Tag = "measured"
    bars: bool = False
    bands: dict[str, np.ndarray] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.x.ndim == 1 and len(self.x) > 0, "a curve has x (n,)")
        require(len(self.series) > 0, "a curve has at least one line")
        for name, y in self.series.items():
            require(y.shape == self.x.shape, f"line {name!r} has {y.shape}, x has {self.x.shape}")
        for name, ends in self.bands.items():
            require(name in self.series, f"band {name!r} has no line")
            require(ends.shape == (len(self.x), 2), f"band {name!r} has {ends.shape}, not (n, 2)")

    def summary(self) -> dict[str, Any]:
        return {"points": len(self.x)} | {f"{k}_last": float(v[-1]) for k, v in self.series.items()}


@dataclass(frozen=True, eq=False)
class ReadMap(Result):
    """Which stored tiles were read, and how many pixels.

    Parameters
    ----------
    tiles : ndarray float64, (n, 5)
        y0, x0, y1, x1 in level-0 pixels and the level index.
    pixels_read : int
        Pixels of the distinct tiles (at their level).
    pixels_requested : int
        Pixels asked for, counted each time.
    image_pixels : int
        Pixels of level 0, to compare with.
    """

    tiles: np.ndarray
    pixels_read: int
    pixels_requested: int
    image_pixels: int

    def __post_init__(self) -> None:
        require(self.tiles.ndim == 2 and self.tiles.shape[1] == 5, "tiles are (n, 5)")

    @classmethod
    def from_log(cls, log: Any) -> ReadMap:
        """From a `hrviz.image.ReadLog`."""
        rows = []
        for level, tiles in sorted(log.tiles.items()):
            info = log.levels[level]
            d, (th, tw) = info.downsample, info.tile
            for row, column in sorted(tiles):
                rows.append(
                    (row * th * d, column * tw * d, min((row + 1) * th, info.height) * d,
                     min((column + 1) * tw, info.width) * d, level)
                )  # fmt: skip
        full = log.levels[0]
        return cls(
            np.array(rows, float).reshape(-1, 5), log.pixels_read, log.pixels_requested,
            full.height * full.width,
        )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        levels, counts = np.unique(self.tiles[:, 4].astype(int), return_counts=True)
        return {
            "tiles": len(self.tiles),
            "tiles_by_level": {str(level): int(n) for level, n in zip(levels, counts, strict=True)},
            "pixels_read": self.pixels_read,
            "pixels_requested": self.pixels_requested,
            "share_of_image": self.pixels_read / self.image_pixels,
        }


@dataclass(frozen=True)
class Quantity:
    """One number of a cost: value, unit, and whether it was measured, predicted or is a formula."""

    name: str
    value: float
    unit: str
    tag: Tag
    note: str = ""

    def __post_init__(self) -> None:
        require(self.tag in ("measured", "predicted", "formula"), f"unknown tag {self.tag!r}")


@dataclass(frozen=True, eq=False)
class Cost(Result):
    """What a run cost: quantities, each measured, predicted or from a formula.

    Names used: parameters, flops (1 MAC = 2 FLOPs), peak_memory, pixels_read, pixels_requested,
    tiles_read, network_pixels, seconds.
    """

    quantities: tuple[Quantity, ...]
    device: str = "cpu"

    def __post_init__(self) -> None:
        names = [q.name for q in self.quantities]
        require(len(names) == len(set(names)), "a cost names each quantity once")

    def __getitem__(self, name: str) -> Quantity:
        for quantity in self.quantities:
            if quantity.name == name:
                return quantity
        raise KeyError(name)

    def get(self, name: str) -> float | None:
        return next((q.value for q in self.quantities if q.name == name), None)

    def summary(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            q.name: {"value": q.value, "unit": q.unit, "tag": q.tag}
            | ({"note": q.note} if q.note else {})
            for q in self.quantities
        }
        return out | {"device": self.device}


@dataclass(frozen=True)
class Step:
    """One named stage of a method, in teaching order.

    Parameters
    ----------
    name : str
        Short, unique within the method; the same name again replaces the earlier one (progress).
    result : Result
    note : str
        One sentence: what to see here.
    progress : float
        Share done, 0..1; below 1 the step comes again.
    """

    name: str
    result: Result
    note: str = ""
    progress: float = 1.0

    def __post_init__(self) -> None:
        require(bool(self.name), "a step has a name")
        require(isinstance(self.result, Result), f"step {self.name!r} needs a hrviz.results type")
        require(0 <= self.progress <= 1, f"progress {self.progress} is outside 0..1")


RECORDS["Quantity"] = Quantity

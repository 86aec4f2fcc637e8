"""Pictures and maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hrviz.geometry import Box
from hrviz.results.base import STRIP, Result, check_box, finite, require

if TYPE_CHECKING:
    from hrviz.results.grid import WarpGrid


@dataclass(frozen=True, eq=False)
class Picture(Result):
    """A picture, lying on the image or a method's output beside it.

    Parameters
    ----------
    array : ndarray
        `(h, w, 3)`, uint8, or float in 0..1.
    box : Box or None
        Where it lies in the image; None when it is warped (then `grid` says where each pixel is
        from) or lies nowhere.
    grid : WarpGrid or None
        Output pixel to image position, for linked hover.
    boxes : ndarray float64, (n, 4), or None
        Drawn over it: (y0, x0, y1, x1) in pixels of the picture itself, half-open.
    """

    array: np.ndarray
    box: Box | None = None
    grid: WarpGrid | None = None
    boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        a = self.array
        if self.boxes is not None:
            require(
                self.boxes.ndim == 2 and self.boxes.shape[1] == 4,
                f"boxes of a picture are (n, 4), not {self.boxes.shape}",
            )
            finite(self.boxes, "boxes of a picture")
        require(
            a.ndim == 3 and a.shape[2] == 3 and a.size > 0, f"a picture is (h, w, 3), not {a.shape}"
        )
        if a.dtype != np.uint8:
            require(a.dtype.kind == "f", f"a picture is uint8 or float, not {a.dtype}")
            finite(a, "picture")
            require(a.min() >= -1e-4 and a.max() <= 1 + 1e-4, "a float picture lies in 0..1")
        if self.box is not None:
            check_box(self.box, "picture")

    @property
    def uint8(self) -> np.ndarray:
        """As uint8 `(h, w, 3)`."""
        if self.array.dtype == np.uint8:
            return self.array
        return np.clip(np.rint(self.array * 255), 0, 255).astype(np.uint8)

    def summary(self) -> dict[str, Any]:
        h, w = self.array.shape[:2]
        mean = self.uint8.reshape(-1, 3).mean(0)
        out = {"width": w, "height": h, "mean_rgb": [round(float(v), 1) for v in mean]}
        return out | ({} if self.boxes is None else {"boxes": len(self.boxes)})


@dataclass(frozen=True, eq=False)
class HeatMap(Result):
    """A map of numbers over a box of the image.

    Parameters
    ----------
    values : ndarray or zarr array, (h, w), float
        NaN where nothing is known yet.
    box : Box
        What the map covers, level-0 pixels.
    label, unit : str
    scale : {'sequential', 'diverging'}
        Diverging maps are centred on 0 (log2 magnification, signed values).
    low, high : float or None
        Range of the colour scale; None: that of the values.
    source : str
        Badge: 'trained ...', 'oracle', 'stand-in ...', 'drawn', '' when it does not apply.
    grid : WarpGrid or None
        Given when the values lie on the output of that grid, not on the image: they are then shown
        beside it, linked like a warped `Picture`; `box` is the region that was warped.
    """

    values: np.ndarray
    box: Box
    label: str = "value"
    unit: str = ""
    scale: Literal["sequential", "diverging"] = "sequential"
    low: float | None = None
    high: float | None = None
    source: str = ""
    grid: WarpGrid | None = None

    def __post_init__(self) -> None:
        v = self.values
        require(len(v.shape) == 2 and min(v.shape) > 0, f"a heat map is (h, w), not {v.shape}")
        require(v.dtype.kind == "f", f"a heat map is float, not {v.dtype}")
        require(self.scale in ("sequential", "diverging"), f"unknown scale {self.scale!r}")
        check_box(self.box, "heat map")
        if isinstance(v, np.ndarray):
            require(not np.isinf(v).any(), f"{self.label} holds infinite values")

    @property
    def range(self) -> tuple[float, float]:
        """Colour range: as given, else of the finite values, never empty."""
        low, high = self.low, self.high
        if low is None or high is None:
            v = np.asarray(_thinned(self.values))
            v = v[np.isfinite(v)]
            low = low if low is not None else (float(v.min()) if v.size else 0.0)
            high = high if high is not None else (float(v.max()) if v.size else 1.0)
        if self.scale == "diverging":
            high = max(abs(low), abs(high)) or 1.0
            low = -high
        return (low, high) if high > low else (low, low + 1.0)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Value of the pixel under each image point (n, 2); NaN outside the map.

        Of a Zarr canvas a strip of rows is read at a time, whatever its size.
        """
        h, w = self.values.shape
        row = np.floor((points[:, 0] - self.box.y0) / self.box.height * h).astype(int)
        column = np.floor((points[:, 1] - self.box.x0) / self.box.width * w).astype(int)
        inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
        out = np.full(len(points), np.nan, np.float32)
        if inside.any():
            r, c = row[inside], column[inside]
            found = np.empty(len(r), np.float32)
            strip = r // (h if isinstance(self.values, np.ndarray) else STRIP)
            for k in np.unique(strip):
                at = np.flatnonzero(strip == k)
                top, left = r[at].min(), c[at].min()
                window = np.asarray(self.values[top : r[at].max() + 1, left : c[at].max() + 1])
                found[at] = window[r[at] - top, c[at] - left]
            out[inside] = found
        return out

    def summary(self) -> dict[str, Any]:
        v = np.asarray(_thinned(self.values))
        v = v[np.isfinite(v)]
        h, w = self.values.shape
        out: dict[str, Any] = {"width": w, "height": h, "label": self.label, "unit": self.unit}
        if v.size:
            out |= {"min": float(v.min()), "mean": float(v.mean()), "max": float(v.max())}
        return out | ({"source": self.source} if self.source else {})


def _thinned(values: Any) -> np.ndarray:
    """At most about 4 Mpx of a map (strided), so that summaries of Zarr canvases stay bounded."""
    step = max(1, int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / 2**22))))
    return np.asarray(values[::step, ::step])


@dataclass(frozen=True, eq=False)
class LabelMap(Result):
    """Classes over a box of the image.

    Parameters
    ----------
    labels : ndarray or zarr array, (h, w), integer
    box : Box
    classes : tuple of str
        Name of class k at position k. Class 0 is drawn transparent.
    source : str
        Badge, as in `HeatMap`.
    """

    labels: np.ndarray
    box: Box
    classes: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        v = self.labels
        require(len(v.shape) == 2 and min(v.shape) > 0, f"a label map is (h, w), not {v.shape}")
        require(v.dtype.kind in "iu", f"labels are integers, not {v.dtype}")
        check_box(self.box, "label map")
        if isinstance(v, np.ndarray):
            require(
                v.min() >= 0 and v.max() < len(self.classes),
                f"labels {v.min()}..{v.max()} do not fit {len(self.classes)} classes",
            )

    def summary(self) -> dict[str, Any]:
        share = np.bincount(_thinned(self.labels).ravel(), minlength=len(self.classes))
        share = share / max(1, share.sum())
        h, w = self.labels.shape
        out: dict[str, Any] = {"width": w, "height": h}
        out |= {f"share_{name}": float(s) for name, s in zip(self.classes, share, strict=True)}
        return out | ({"source": self.source} if self.source else {})


@dataclass(frozen=True, eq=False)
class AttentionMap(Result):
    """Attention of layers and heads over a token grid on the image.

    Parameters
    ----------
    weights : ndarray, (layers, heads, h, w), float, not negative
    box : Box
    normalised : bool
        Whether each (layer, head) sums to one (checked when True).
    source : str
    """

    weights: np.ndarray
    box: Box
    normalised: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        w = self.weights
        require(w.ndim == 4 and w.size > 0, f"attention is (layers, heads, h, w), not {w.shape}")
        finite(w, "attention")
        require(float(w.min()) >= 0, "attention weights are not negative")
        check_box(self.box, "attention map")
        if self.normalised:
            require(
                bool(np.allclose(w.sum((2, 3)), 1, atol=1e-3)),
                "attention of each layer and head sums to 1",
            )

    def summary(self) -> dict[str, Any]:
        layers, heads, h, w = self.weights.shape
        p = self.weights.reshape(layers * heads, -1)
        p = p / np.maximum(p.sum(1, keepdims=True), 1e-12)
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(1)
        return {
            "layers": layers, "heads": heads, "height": h, "width": w,
            "entropy_nats": float(entropy.mean()), "max": float(self.weights.max()),
        }  # fmt: skip

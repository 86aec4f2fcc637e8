"""What methods yield: frozen dataclasses that check themselves and speak level-0 pixels.

Points are (y, x), boxes half-open (y0, x0, y1, x1), both in level-0 pixels of the image, whatever
region the method ran on. Views draw these types; front ends know no method. Every result has
`summary()` (numbers for tables and tests) and `save`/`load` (JSON + one npz).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box

Tag = Literal["measured", "predicted", "formula"]
TYPES: dict[str, type[Result]] = {}
STRIP = 256  # rows of a Zarr canvas read at a time


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise HrvizError(message)


def _finite(array: np.ndarray, what: str) -> None:
    _require(bool(np.isfinite(array).all()), f"{what} holds NaN or infinite values")


@dataclass(frozen=True, eq=False)
class Result:
    """Base of all results: registration, summary, saving."""

    def __init_subclass__(cls) -> None:
        TYPES[cls.__name__] = cls

    def summary(self) -> dict[str, Any]:
        """Plain numbers and short strings that describe the result."""
        raise NotImplementedError  # pragma: no cover - every type below has its own

    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able fields and arrays, from which `from_parts` rebuilds the result."""
        plain: dict[str, Any] = {"type": type(self).__name__}
        arrays: dict[str, np.ndarray] = {}
        for f in fields(self):
            _split(f.name, getattr(self, f.name), plain, arrays)
        return plain, arrays

    @staticmethod
    def from_parts(plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Result:
        """Rebuild a result; the inverse of `to_parts`."""
        kind = TYPES[plain["type"]]
        return kind(**{f.name: _join(f.name, plain, arrays) for f in fields(kind)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `path`.json and `path`.npz, each whole or not at all."""
        path = Path(path)
        plain, arrays = self.to_parts()
        for name, value in plain.items():
            if (
                isinstance(value, dict) and "$zarr" in value
            ):  # a canvas lives only as long as its run
                plain[name] = {"$zarr": _keep_canvas(value["$zarr"], path, name)}
        write_whole(path.with_name(path.name + ".npz"), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
        text = json.dumps(plain, indent=1, default=_number)
        write_whole(path.with_name(path.name + ".json"), lambda file: file.write(text.encode()))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Result:
        """Read what `save` wrote (never a pickle)."""
        path = Path(path)
        plain = json.loads(path.with_name(path.name + ".json").read_text())
        for name, value in plain.items():
            if isinstance(value, dict) and "$zarr" in value:
                plain[name] = {"$zarr": str(path.parent / value["$zarr"])}
        with np.load(path.with_name(path.name + ".npz"), allow_pickle=False) as arrays:
            return Result.from_parts(plain, dict(arrays))


def _keep_canvas(address: str, path: Path, name: str) -> str:
    """Copy a Zarr canvas beside the saved result, whole or not at all; returns its file name."""
    target = path.with_name(f"{path.name}.{name}.zarr")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".canvas-") as folder:
        copy = shutil.copytree(address.removeprefix("file://"), Path(folder) / "canvas")
        shutil.rmtree(target, ignore_errors=True)
        copy.replace(target)
    return target.name


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def json_text(value: Any) -> str:
    """Strict JSON of nested plain values: NumPy scalars as numbers, NaN and infinity as null."""

    def clean(v: Any) -> Any:
        if isinstance(v, np.generic):
            v = v.item()
        if isinstance(v, dict):
            return {str(k): clean(item) for k, item in v.items()}
        if isinstance(v, list | tuple):
            return [clean(item) for item in v]
        if isinstance(v, float) and not math.isfinite(v):
            return None
        return v if v is None or isinstance(v, bool | int | float | str) else str(v)

    return json.dumps(clean(value), indent=1, allow_nan=False)


def write_whole(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file under another name and rename it, so that nobody ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        mask = os.umask(0)  # there is no other way to read it
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # mkstemp makes private files
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _split(name: str, value: Any, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    if isinstance(value, np.ndarray):
        arrays[name] = value
    elif hasattr(value, "shape") and hasattr(value, "chunks"):  # a Zarr canvas: by its address
        plain[name] = {"$zarr": str(value.store_path)}
    elif isinstance(value, Result):
        inner, inner_arrays = value.to_parts()
        plain[name] = {"$result": inner}
        arrays.update({f"{name}.{k}": v for k, v in inner_arrays.items()})
    elif isinstance(value, tuple) and value and isinstance(value[0], Node | Quantity):
        plain[name] = {"$records": [vars(v) for v in value], "of": type(value[0]).__name__}
    elif isinstance(value, dict) and any(isinstance(v, np.ndarray) for v in value.values()):
        plain[name] = {"$arrays": list(value)}
        arrays.update({f"{name}.{k}": np.asarray(v) for k, v in value.items()})
    else:
        plain[name] = value


def _join(name: str, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    if name in arrays:
        return arrays[name]
    value = plain.get(name)
    if isinstance(value, dict):
        if "$result" in value:
            inner = {k[len(name) + 1 :]: v for k, v in arrays.items() if k.startswith(name + ".")}
            return Result.from_parts(value["$result"], inner)
        if "$arrays" in value:
            return {k: arrays[f"{name}.{k}"] for k in value["$arrays"]}
        if "$records" in value:
            kind: Any = {"Node": Node, "Quantity": Quantity}[value["of"]]
            return tuple(
                kind(**{k: Box(*v) if k == "box" else v for k, v in record.items()})
                for record in value["$records"]
            )
        if "$zarr" in value:
            import zarr

            return zarr.open_array(value["$zarr"], mode="r")
    if isinstance(value, list):
        return Box(*value) if name == "box" else tuple(value)
    return value


def _box(box: Any, what: str) -> None:
    _require(
        len(box) == 4 and all(np.isfinite(box)) and box[2] > box[0] and box[3] > box[1],
        f"{what} needs a box (y0, x0, y1, x1) with positive sides, not {tuple(box)}",
    )


def _named(index: np.ndarray, names: tuple[str, ...], what: str) -> None:
    inside = index.size == 0 or (index.min() >= 0 and index.max() < len(names))
    _require(bool(inside), f"{what} is the place of one of {len(names)} names")


# --------------------------------------------------------------------------- pictures and maps
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
            _require(
                self.boxes.ndim == 2 and self.boxes.shape[1] == 4,
                f"boxes of a picture are (n, 4), not {self.boxes.shape}",
            )
            _finite(self.boxes, "boxes of a picture")
        _require(
            a.ndim == 3 and a.shape[2] == 3 and a.size > 0, f"a picture is (h, w, 3), not {a.shape}"
        )
        if a.dtype != np.uint8:
            _require(a.dtype.kind == "f", f"a picture is uint8 or float, not {a.dtype}")
            _finite(a, "picture")
            _require(a.min() >= -1e-4 and a.max() <= 1 + 1e-4, "a float picture lies in 0..1")
        if self.box is not None:
            _box(self.box, "picture")

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
        _require(len(v.shape) == 2 and min(v.shape) > 0, f"a heat map is (h, w), not {v.shape}")
        _require(v.dtype.kind == "f", f"a heat map is float, not {v.dtype}")
        _require(self.scale in ("sequential", "diverging"), f"unknown scale {self.scale!r}")
        _box(self.box, "heat map")
        if isinstance(v, np.ndarray):
            _require(not np.isinf(v).any(), f"{self.label} holds infinite values")

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
        _require(len(v.shape) == 2 and min(v.shape) > 0, f"a label map is (h, w), not {v.shape}")
        _require(v.dtype.kind in "iu", f"labels are integers, not {v.dtype}")
        _box(self.box, "label map")
        if isinstance(v, np.ndarray):
            _require(
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
        _require(w.ndim == 4 and w.size > 0, f"attention is (layers, heads, h, w), not {w.shape}")
        _finite(w, "attention")
        _require(float(w.min()) >= 0, "attention weights are not negative")
        _box(self.box, "attention map")
        if self.normalised:
            _require(
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


# --------------------------------------------------------------------------- warps
def interpolation(nodes: int, size: int) -> np.ndarray:
    """Matrix (size, nodes) of linear interpolation from nodes to pixel centres, corner to corner."""
    position = np.linspace(0, 1, size) * (nodes - 1) if size > 1 else np.array([(nodes - 1) / 2])
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(nodes)))


@dataclass(frozen=True, eq=False)
class WarpGrid(Result):
    """A backward map, output to image, piecewise bilinear on nodes.

    Parameters
    ----------
    nodes : ndarray float64, (ny, nx, 2)
        Node (j, i) lies at output position (j/(ny-1), i/(nx-1)) of the corner-to-corner output and
        reads the image at nodes[j, i] = (y, x), level-0 pixels.
    box : Box
        The region that was warped.
    size : (int, int)
        Output height and width in pixels.

    Notes
    -----
    Output pixel centres run from corner to corner (pixel k of n at k/(n-1), 'align corners'); a
    side of one pixel sits in the middle.
    """

    nodes: np.ndarray
    box: Box
    size: tuple[int, int]

    def __post_init__(self) -> None:
        n = self.nodes
        _require(
            n.ndim == 3 and n.shape[2] == 2 and min(n.shape[:2]) >= 2,
            f"grid nodes are (ny, nx, 2) with at least 2 x 2 nodes, not {n.shape}",
        )
        _require(n.dtype == np.float64, f"grid nodes are float64 (huge images), not {n.dtype}")
        _finite(n, "warp grid")
        _box(self.box, "warp grid")
        _require(min(self.size) >= 1, f"output size {self.size} is empty")

    def at(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Image position (..., 2) as (y, x) of output positions (v, u) in 0..1 (down, right)."""
        ny, nx = self.nodes.shape[:2]
        v, u = np.clip(v, 0, 1) * (ny - 1), np.clip(u, 0, 1) * (nx - 1)
        j = np.minimum(v.astype(int), ny - 2)
        i = np.minimum(u.astype(int), nx - 2)
        t, s = (v - j)[..., None], (u - i)[..., None]
        n = self.nodes
        upper = n[j, i] * (1 - s) + n[j, i + 1] * s
        lower = n[j + 1, i] * (1 - s) + n[j + 1, i + 1] * s
        return np.asarray(upper * (1 - t) + lower * t)

    @classmethod
    def identity(cls, box: Box, size: tuple[int, int], nodes: tuple[int, int] = (2, 2)) -> WarpGrid:
        """Uniform downsampling of `box`: evenly spaced nodes between its corner pixel centres."""
        y, x = (
            np.linspace(low + 0.5, max(high - 0.5, low + 0.5), n)
            for low, high, n in ((box.y0, box.y1, nodes[0]), (box.x0, box.x1, nodes[1]))
        )
        return cls(np.stack(np.meshgrid(y, x, indexing="ij"), -1), box, size)

    def blend(self, share: float) -> WarpGrid:
        """Between uniform (0) and this grid (1): the nodes move on straight lines.

        For teaching and animation. Of two maps without folds whose Jacobians are symmetric positive
        definite, as those of the saliency sampler are, the blend has none either.
        """
        _require(0 <= share <= 1, f"a share lies in 0..1, not {share:g}")
        even = WarpGrid.identity(self.box, self.size, self.nodes.shape[:2]).nodes
        return WarpGrid((1 - share) * even + share * self.nodes, self.box, self.size)

    @property
    def separable(self) -> bool:
        """Whether rows stay straight rows and columns straight columns: y(v), x(u)."""
        y, x = self.nodes[..., 0], self.nodes[..., 1]
        small = 1e-9 * max(self.box.height, self.box.width)
        return bool(np.ptp(y, axis=1).max() <= small and np.ptp(x, axis=0).max() <= small)

    def places(self, pixels: np.ndarray) -> np.ndarray:
        """Output positions in 0..1 of output pixel coordinates (..., 2) as (y, x), centres at +0.5."""
        span = np.maximum(np.array(self.size) - 1, 1)
        return np.asarray((np.asarray(pixels, float) - 0.5) / span)

    def to_image(self, pixels: np.ndarray) -> np.ndarray:
        """Image points (..., 2) of output pixel coordinates (..., 2), (y, x): the map itself.

        Beyond the outer pixel centres the border's position is given.
        """
        place = self.places(pixels)
        return self.at(place[..., 0], place[..., 1])

    def to_output(self, points: np.ndarray) -> np.ndarray:
        """Output pixel coordinates (n, 2) of image points (n, 2); NaN where cropped."""
        return np.asarray(self.inverse(points) * (np.array(self.size) - 1) + 0.5)

    def boxes_to_image(self, boxes: np.ndarray, edge: int = 9) -> np.ndarray:
        """Boxes (n, 4) in output pixels as the boxes around them in the image.

        A box becomes a curved quadrilateral: `edge` points on each side are carried over, and their
        least and greatest coordinates taken. Exact for separable grids.
        """
        return _around(self.to_image(_rims(boxes, edge)))

    def boxes_to_output(self, boxes: np.ndarray, edge: int = 9) -> np.ndarray:
        """Boxes (n, 4) of the image as boxes in output pixels; NaN where all of the rim is cropped.

        Rims are first cut to what the output shows, between its corner pixel centres.
        """
        rims = _rims(boxes, edge)
        corners = self.nodes.reshape(-1, 2)
        rims = np.clip(rims, corners.min(0), corners.max(0))
        return _around(self.to_output(rims.reshape(-1, 2)).reshape(rims.shape))

    def positions(self) -> np.ndarray:
        """Image position of every output pixel centre, (h, w, 2) as (y, x)."""
        rows, columns = (
            interpolation(n, m) for n, m in zip(self.nodes.shape[:2], self.size, strict=True)
        )
        return np.stack([rows @ self.nodes[..., k] @ columns.T for k in (0, 1)], -1)

    def cell_areas(self) -> np.ndarray:
        """Signed area of each cell in level-0 pixels, (ny-1, nx-1); shoelace, exact."""
        a, b = self.nodes[:-1, :-1], self.nodes[:-1, 1:]
        c, d = self.nodes[1:, 1:], self.nodes[1:, :-1]
        p, q = c - a, d - b
        return np.asarray((p[..., 1] * q[..., 0] - p[..., 0] * q[..., 1]) / 2)

    def corner_determinants(self) -> np.ndarray:
        """Det of the Jacobian at the four corners of each cell, (ny-1, nx-1, 4).

        The determinant of a bilinear cell is affine in its coordinates, so its minimum is at a
        corner: a cell is free of folds if and only if all four are positive.
        """
        n = self.nodes
        right, down = np.diff(n, axis=1), np.diff(n, axis=0)

        def cross(r: np.ndarray, d: np.ndarray) -> np.ndarray:
            return np.asarray(r[..., 1] * d[..., 0] - r[..., 0] * d[..., 1])

        return np.stack(
            [
                cross(right[:-1], down[:, :-1]), cross(right[:-1], down[:, 1:]),
                cross(right[1:], down[:, :-1]), cross(right[1:], down[:, 1:]),
            ],
            axis=-1,
        )  # fmt: skip

    def folded(self) -> np.ndarray:
        """Cells where the map turns over, (ny-1, nx-1) bool.

        A cell of zero area that border clamping collapsed onto the border is cropped, not folded.
        """
        scale = self.box.area / ((self.nodes.shape[0] - 1) * (self.nodes.shape[1] - 1))
        return np.asarray((self.corner_determinants() < -1e-9 * scale).any(-1))

    @property
    def _extent(self) -> float:
        """Area between the corner pixel centres of the region: what the identity grid covers."""
        return max(self.box.height - 1, 1e-9) * max(self.box.width - 1, 1e-9)

    def covered(self) -> float:
        """Share of the region's area that the output shows: 1 for border-pinned grids."""
        return float(self.cell_areas().sum() / self._extent)

    def cell_magnification(self) -> np.ndarray:
        """Area magnification of each cell against uniform downsampling, (ny-1, nx-1), above 0.

        Uniform cell area over the shoelace area, which is the mean of the four corner determinants.
        Collapsed cells are given 2**16.
        """
        cells = np.abs(self.cell_areas())
        uniform = self._extent / cells.size
        return np.asarray(uniform / np.maximum(cells, uniform * 2.0**-16))

    def determinant(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Image area per output area at output positions in 0..1, 1 as uniform; negative in folds.

        The exact Jacobian determinant of the bilinear cell that each position lies in.
        """
        ny, nx = self.nodes.shape[:2]
        v, u = np.clip(v, 0, 1) * (ny - 1), np.clip(u, 0, 1) * (nx - 1)
        j, i = np.minimum(v.astype(int), ny - 2), np.minimum(u.astype(int), nx - 2)
        t, s, n = (v - j)[..., None], (u - i)[..., None], self.nodes
        a, b, c, d = n[j, i], n[j, i + 1], n[j + 1, i], n[j + 1, i + 1]
        right, down = (b - a) * (1 - t) + (d - c) * t, (c - a) * (1 - s) + (d - b) * s
        det = right[..., 1] * down[..., 0] - right[..., 0] * down[..., 1]
        return np.asarray(det * (ny - 1) * (nx - 1) / self._extent)

    def output_magnification(self, raster: int = 128) -> HeatMap:
        """log2 of the linear magnification at each place of the output; NaN where it is folded."""
        scale = min(1.0, raster / max(self.size))
        h, w = (max(2, round(side * scale)) for side in self.size)
        v, u = (np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w
        det = self.determinant(*np.meshgrid(v, u, indexing="ij"))
        log2 = np.where(det > 0, -0.5 * np.log2(np.maximum(det, 2.0**-32)), np.nan)
        return HeatMap(
            log2, self.box, label="magnification in the output",
            unit="log2 of linear zoom, 0 = uniform", scale="diverging", grid=self,
        )  # fmt: skip

    def magnification(self, raster: int = 96) -> HeatMap:
        """log2 of the linear magnification over the region of the image, 0 = as uniform.

        The output is sampled 2 x `raster` times a side; each pixel of the map is the mean over the
        samples that read it, or its nearest neighbour where none does.
        """
        from scipy import ndimage

        log2 = 0.5 * np.log2(self.cell_magnification())
        n = 2 * raster
        dense = np.linspace(0, 1, n)
        at = self.at(*np.meshgrid(dense, dense, indexing="ij"))
        ny, nx = log2.shape
        rows = np.clip((dense * ny).astype(int), 0, ny - 1)
        columns = np.clip((dense * nx).astype(int), 0, nx - 1)
        values = log2[np.ix_(rows, columns)]
        scale = raster / max(self.box.height, self.box.width)
        h, w = (max(2, round(side * scale)) for side in (self.box.height, self.box.width))
        y = np.clip((at[..., 0] - self.box.y0) / self.box.height * h, 0, h - 1).astype(int)
        x = np.clip((at[..., 1] - self.box.x0) / self.box.width * w, 0, w - 1).astype(int)
        place = (y * w + x).ravel()
        hits = np.bincount(place, minlength=h * w).reshape(h, w)
        total = np.bincount(place, values.ravel(), h * w).reshape(h, w)
        shown = total / np.maximum(hits, 1)
        if (hits == 0).any():
            nearest = ndimage.distance_transform_edt(
                hits == 0, return_distances=False, return_indices=True
            )
            shown = shown[tuple(nearest)]
        return HeatMap(
            shown, self.box, label="magnification", unit="log2 of linear zoom, 0 = uniform",
            scale="diverging",
        )  # fmt: skip

    def inverse(self, points: np.ndarray, eps: float = 1e-5) -> np.ndarray:
        """Output position (n, 2) as (v, u) in 0..1 of image points (n, 2); NaN where cropped.

        Solves the bilinear cell exactly (a quadratic) for every point in a cell's bounding box; of
        several cells (a fold) the first in row order is taken.
        """
        points = np.asarray(points, float).reshape(-1, 2)
        if (
            self.separable
            and np.all(np.diff(self.nodes, axis=0)[..., 0] >= 0)
            and np.all(np.diff(self.nodes, axis=1)[..., 1] >= 0)
        ):
            return np.stack(
                [_invert_line(self.nodes[:, 0, 0], points[:, 0], eps),
                 _invert_line(self.nodes[0, :, 1], points[:, 1], eps)], -1
            )  # fmt: skip
        ny, nx = self.nodes.shape[:2]
        if min(np.ptp(self.nodes[..., 0]), np.ptp(self.nodes[..., 1])) == 0:
            # a region one pixel thick has no cells: its middle line stands for all of it
            rows, columns = (
                self.at(np.linspace(0, 1, ny), np.full(ny, 0.5)),
                self.at(np.full(nx, 0.5), np.linspace(0, 1, nx)),
            )
            return np.stack(
                [_invert_line(rows[:, 0], points[:, 0], eps),
                 _invert_line(columns[:, 1], points[:, 1], eps)], -1
            )  # fmt: skip
        out = np.full((len(points), 2), np.nan)
        if len(points) > 4 * ny * nx and not self.folded().any():
            self._invert_many(points, out, eps)
        left = np.flatnonzero(np.isnan(out[:, 0]))
        order = left[np.argsort(points[left, 0], kind="stable")]
        ys, xs = points[order, 0], points[order, 1]
        todo = np.ones(len(order), bool)
        for j in range(ny - 1):
            for i in range(nx - 1):
                cell = self.nodes[j : j + 2, i : i + 2].reshape(4, 2)
                (y0, x0), (y1, x1) = cell.min(0), cell.max(0)
                sy, sx = eps * (1 + y1 - y0), eps * (1 + x1 - x0)
                a, b = np.searchsorted(ys, y0 - sy, "left"), np.searchsorted(ys, y1 + sy, "right")
                if a == b:
                    continue
                near = a + np.flatnonzero(todo[a:b] & (xs[a:b] >= x0 - sx) & (xs[a:b] <= x1 + sx))
                if not near.size:
                    continue
                t, s = _invert_cell(cell, ys[near], xs[near], eps)
                found = np.isfinite(t)
                hit = near[found]
                out[order[hit], 0] = (j + t[found]) / (ny - 1)
                out[order[hit], 1] = (i + s[found]) / (nx - 1)
                todo[hit] = False
        return out

    def _invert_many(self, points: np.ndarray, out: np.ndarray, eps: float) -> None:
        """Fill `out` for points in the cell that a coarse table names, or in one of its neighbours.

        The same solution of the same cell as cell by cell, for many points at once; what the table
        misses stays NaN. Only without folds, where the cell of a point is the only one.
        """
        from scipy import ndimage

        ny, nx = self.nodes.shape[:2]
        low, high = self.nodes.reshape(-1, 2).min(0), self.nodes.reshape(-1, 2).max(0)
        scale = np.array([6 * ny, 6 * nx]) / np.maximum(high - low, 1e-9)

        def bins(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = ((at - low) * scale).astype(int)
            return found[..., 0].clip(0, 6 * ny - 1), found[..., 1].clip(0, 6 * nx - 1)

        # every cell is entered in the table where a few of its own points lie
        dense = [np.arange(4 * (n - 1)) + 0.5 for n in (ny, nx)]
        v, u = np.meshgrid(*(d / d.size for d in dense), indexing="ij")
        rows, columns = bins(self.at(v, u))
        table = np.full((6 * ny, 6 * nx), -1)
        cells = (dense[0].astype(int) // 4)[:, None] * (nx - 1) + dense[1].astype(int) // 4
        table[rows, columns] = cells
        if (table < 0).any():
            nearest = ndimage.distance_transform_edt(
                table < 0, return_distances=False, return_indices=True
            )
            table = table[tuple(nearest)]
        j, i = np.divmod(table[bins(points)], nx - 1)
        todo = np.arange(len(points))
        for dj, di in [
            (0, 0),
            (-1, 0),
            (1, 0),
            (0, -1),
            (0, 1),
            (-1, -1),
            (-1, 1),
            (1, -1),
            (1, 1),
        ]:
            a, b = (j[todo] + dj).clip(0, ny - 2), (i[todo] + di).clip(0, nx - 2)
            n = self.nodes
            corners = np.stack([n[a, b], n[a, b + 1], n[a + 1, b], n[a + 1, b + 1]]).swapaxes(1, 2)
            t, s = _invert_cell(corners, points[todo, 0], points[todo, 1], eps)
            hit = np.isfinite(t)
            out[todo[hit], 0] = (a[hit] + t[hit]) / (ny - 1)
            out[todo[hit], 1] = (b[hit] + s[hit]) / (nx - 1)
            todo = todo[~hit]
            if not todo.size:
                return

    def summary(self) -> dict[str, Any]:
        m = np.sqrt(self.cell_magnification())
        return {
            "nodes": [int(v) for v in self.nodes.shape[:2]],
            "size": [int(v) for v in self.size],
            "covered": round(self.covered(), 5),
            "cropped": round(max(0.0, 1 - self.covered()), 5),
            "folded_cells": int(self.folded().sum()),
            "magnification_min": float(m.min()),
            "magnification_max": float(m.max()),
        }


def _rims(boxes: np.ndarray, edge: int) -> np.ndarray:
    """Points on the rims of boxes (n, 4), `edge` a side: (n, 4 * edge, 2) as (y, x)."""
    y0, x0, y1, x1 = (np.asarray(boxes, float).reshape(-1, 4)[:, k, None] for k in range(4))
    t = np.linspace(0, 1, max(edge, 2))[None]
    y, x = y0 + (y1 - y0) * t, x0 + (x1 - x0) * t
    sides = [(y0 + 0 * t, x), (y1 + 0 * t, x), (y, x0 + 0 * t), (y, x1 + 0 * t)]
    return np.concatenate([np.stack(side, -1) for side in sides], axis=1)


def _around(points: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) around point sets (n, k, 2); NaN points do not count."""
    low = np.fmin.reduce(points, axis=1)
    high = np.fmax.reduce(points, axis=1)
    return np.concatenate([low, high], axis=1)


def _invert_line(nodes: np.ndarray, at: np.ndarray, eps: float) -> np.ndarray:
    """Position in 0..1 along increasing `nodes` of each value; NaN outside them.

    Clamping makes runs of equal nodes at either end: the innermost of each is the border.
    """
    place = np.linspace(0, 1, len(nodes))
    first = np.searchsorted(nodes, nodes[0], "right") - 1
    last = np.searchsorted(nodes, nodes[-1], "left")
    if first >= last:  # a region one pixel thick: its only place is the middle
        return np.where(np.abs(at - nodes[0]) <= 0.5, 0.5, np.nan)
    inner, where = nodes[first : last + 1], place[first : last + 1]
    slack = eps * (1 + abs(float(inner[-1] - inner[0])) / len(nodes))
    out = np.interp(at, inner, where)
    return np.where((at < inner[0] - slack) | (at > inner[-1] + slack), np.nan, out)


def _invert_cell(
    cell: np.ndarray, y: np.ndarray, x: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """(t, s) in 0..1 of points in the cell with corners p00, p01, p10, p11 (rows t, columns s).

    `cell` is (4, 2), one for all points, or (4, 2, n), one for each.

    p = p00 + s b + t c + s t d; eliminating s leaves a quadratic in t. NaN outside the cell.
    """
    p00, p01, p10, p11 = cell
    b, c, d = p01 - p00, p10 - p00, p00 - p01 - p10 + p11
    my, mx = p00[0] - y, p00[1] - x
    qa = c[0] * d[1] - c[1] * d[0]
    qb = c[0] * b[1] - c[1] * b[0] + my * d[1] - mx * d[0]
    qc = my * b[1] - mx * b[0]
    best_t, best_s = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    with np.errstate(all="ignore"):
        linear = np.abs(qa) < 1e-12 * np.maximum(np.abs(qb), np.abs(qc))
        root = np.sqrt(np.maximum(qb * qb - 4 * qa * qc, 0))
        valid = linear | (qb * qb - 4 * qa * qc >= -1e-12 * qb * qb)
        half = -0.5 * (qb + np.where(qb >= 0, root, -root))  # the numerically stable pair
        for t in (np.where(linear, -qc / qb, qc / half), np.where(linear, np.nan, half / qa)):
            dy, dx = b[0] + t * d[0], b[1] + t * d[1]
            s = np.where(np.abs(dy) > np.abs(dx), -(my + t * c[0]) / dy, -(mx + t * c[1]) / dx)
            good = valid & (t >= -eps) & (t <= 1 + eps) & (s >= -eps) & (s <= 1 + eps)
            use = good & np.isnan(best_t)
            best_t, best_s = np.where(use, t, best_t), np.where(use, s, best_s)
    return np.clip(best_t, 0, 1), np.clip(best_s, 0, 1)


# --------------------------------------------------------------------------- shapes
@dataclass(frozen=True, eq=False)
class Boxes(Result):
    """Boxes on the image with scores and classes.

    Parameters
    ----------
    boxes : ndarray float64, (n, 4)
        (y0, x0, y1, x1), level-0 pixels, half-open.
    scores : ndarray, (n,), or None
    labels : ndarray int, (n,), or None
        Index into `classes`.
    classes : tuple of str
    """

    boxes: np.ndarray
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        b = self.boxes
        _require(b.ndim == 2 and b.shape[1] == 4, f"boxes are (n, 4), not {b.shape}")
        _finite(b, "boxes")
        _require(
            bool((b[:, 2:] >= b[:, :2]).all()), "boxes are (y0, x0, y1, x1) with y1>=y0, x1>=x0"
        )
        for name, v in (("scores", self.scores), ("labels", self.labels)):
            _require(v is None or v.shape == (len(b),), f"{name} has one entry a box")
        if self.labels is not None and self.classes:
            _named(self.labels, self.classes, "label of a box")

    def summary(self) -> dict[str, Any]:
        areas = (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])
        out: dict[str, Any] = {"count": len(self.boxes), "area_px": float(areas.sum())}
        if self.scores is not None and len(self.boxes):
            out["score_max"] = float(self.scores.max())
        return out


@dataclass(frozen=True, eq=False)
class Points(Result):
    """Points on the image: float64 (n, 2) as (y, x), with a value and a class each.

    `label` and `unit` say what the values are.
    """

    points: np.ndarray
    values: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    label: str = "points"
    unit: str = ""

    def __post_init__(self) -> None:
        p = self.points
        _require(p.ndim == 2 and p.shape[1] == 2, f"points are (n, 2), not {p.shape}")
        _finite(p, "points")
        for name, v in (("values", self.values), ("labels", self.labels)):
            _require(v is None or v.shape == (len(p),), f"{name} has one entry a point")
        if self.labels is not None and self.classes:
            _named(self.labels, self.classes, "label of a point")

    def summary(self) -> dict[str, Any]:
        return {"count": len(self.points)}


DECISIONS = (
    "processed", "zoomed", "sampled", "skipped by score", "skipped by budget", "suppressed",
    "memory only",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One node of a zoom tree: a box looked at with one downsample, and what was decided."""

    id: int
    parent: int | None
    box: Box
    downsample: float
    decision: str
    score: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        _require(self.decision in DECISIONS, f"decision {self.decision!r} is none of {DECISIONS}")


@dataclass(frozen=True, eq=False)
class ZoomTree(Result):
    """Boxes looked at, in the order decided, each under its parent."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        seen: set[int] = set()
        for node in self.nodes:
            _require(node.id not in seen, f"node {node.id} appears twice")
            _require(
                node.parent is None or node.parent in seen, f"node {node.id} precedes its parent"
            )
            seen.add(node.id)

    def summary(self) -> dict[str, Any]:
        names = [node.decision for node in self.nodes]
        return {"nodes": len(names)} | {d: names.count(d) for d in DECISIONS if d in names}


@dataclass(frozen=True, eq=False)
class Graph(Result):
    """Nodes on the image joined by edges: nodes (n, 2) as (y, x), edges (m, 2) of node indices."""

    nodes: np.ndarray
    edges: np.ndarray
    values: np.ndarray | None = None

    def __post_init__(self) -> None:
        _require(self.nodes.ndim == 2 and self.nodes.shape[1] == 2, "graph nodes are (n, 2)")
        _finite(self.nodes, "graph")
        e = self.edges
        _require(
            e.ndim == 2 and e.shape[1] == 2 and e.dtype.kind in "iu", "edges are (m, 2) integers"
        )
        _require(
            e.size == 0 or (e.min() >= 0 and e.max() < len(self.nodes)), "edges name real nodes"
        )
        _require(self.values is None or self.values.shape == (len(self.nodes),), "one value a node")

    def summary(self) -> dict[str, Any]:
        return {"nodes": len(self.nodes), "edges": len(self.edges)}


@dataclass(frozen=True, eq=False)
class TokenPattern(Result):
    """Which tokens attend to which: tokens are boxes (n, 4) on the image, mask (n, n) bool."""

    tokens: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.tokens)
        _require(self.tokens.shape == (n, 4) and n > 0, "tokens are boxes (n, 4)")
        _require(self.mask.shape == (n, n) and self.mask.dtype == bool, "mask is (n, n) bool")

    def summary(self) -> dict[str, Any]:
        return {"tokens": len(self.tokens), "pairs": int(self.mask.sum()),
                "share": float(self.mask.mean())}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Partition(Result):
    """The image cut into boxes (n, 4), each assigned to one of `names` (assignment (n,) int)."""

    boxes: np.ndarray
    assignment: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.boxes)
        _require(self.boxes.shape == (n, 4), f"boxes are (n, 4), not {self.boxes.shape}")
        _require(
            self.assignment.shape == (n,) and self.assignment.dtype.kind in "iu", "one name a box"
        )
        _named(self.assignment, self.names, "assignment")

    def summary(self) -> dict[str, Any]:
        counts = np.bincount(self.assignment, minlength=len(self.names))
        return {"boxes": len(self.boxes)} | {
            f"count_{name}": int(c) for name, c in zip(self.names, counts, strict=True)
        }


@dataclass(frozen=True, eq=False)
class Compressed(Result):
    """A compressed representation: array (h, w, c), its size in bytes, and the original's.

    Parameters
    ----------
    representation : ndarray, (h, w, c)
    box : Box
    bytes_before, bytes_after : int
    reconstruction : Picture or None
    """

    representation: np.ndarray
    box: Box
    bytes_before: int
    bytes_after: int
    reconstruction: Picture | None = None

    def __post_init__(self) -> None:
        _require(self.representation.ndim == 3, "a representation is (h, w, c)")
        _finite(self.representation, "representation")
        _require(self.bytes_before > 0 and self.bytes_after > 0, "sizes are positive")
        _box(self.box, "compressed")

    def summary(self) -> dict[str, Any]:
        return {
            "shape": list(self.representation.shape), "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "ratio": round(self.bytes_before / self.bytes_after, 3),
        }  # fmt: skip


# --------------------------------------------------------------------------- numbers
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
        _require(len(self.values) > 0, "a prediction has at least one value")
        _require(all(v == v for v in self.values.values()), "a prediction holds NaN")

    def summary(self) -> dict[str, Any]:
        out: dict[str, Any] = dict(self.values)
        out |= {f"true_{k}": v for k, v in self.truth.items()}
        return out | ({"source": self.source} if self.source else {})


@dataclass(frozen=True, eq=False)
class Curve(Result):
    """Lines y(x): `series` maps a name to values (n,) over `x` (n,); each line's tag says its kind."""

    x: np.ndarray
    series: dict[str, np.ndarray]
    x_label: str = "x"
    y_label: str = "y"
    log: bool = False
    tag: Tag = "measured"

    def __post_init__(self) -> None:
        _require(self.x.ndim == 1 and len(self.x) > 0, "a curve has x (n,)")
        _require(len(self.series) > 0, "a curve has at least one line")
        for name, y in self.series.items():
            _require(y.shape == self.x.shape, f"line {name!r} has {y.shape}, x has {self.x.shape}")

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
        _require(self.tiles.ndim == 2 and self.tiles.shape[1] == 5, "tiles are (n, 5)")

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
        _require(self.tag in ("measured", "predicted", "formula"), f"unknown tag {self.tag!r}")


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
        _require(len(names) == len(set(names)), "a cost names each quantity once")

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
        _require(bool(self.name), "a step has a name")
        _require(isinstance(self.result, Result), f"step {self.name!r} needs a hrviz.results type")
        _require(0 <= self.progress <= 1, f"progress {self.progress} is outside 0..1")

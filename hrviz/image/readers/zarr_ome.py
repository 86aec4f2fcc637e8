"""OME-Zarr's image metadata: resolutions, axes, pixel size and channels (versions 0.1 to 0.5)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.composite import Colour, colours_for
from hrviz.image.readers.base import Channel
from hrviz.image.readers.tiff_header import MAX_CHANNELS
from hrviz.image.readers.zarr_metadata import Node, as_list, safe_path
from hrviz.image.readers.zarr_store import WatchedStore

MAX_LEVELS = 64
_RGB: list[Colour | None] = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]

MICROMETRES: Mapping[str, float] = {
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "decimeter": 1e5,
    "meter": 1e6,
    "inch": 25400.0,
    "foot": 304800.0,
    "nm": 1e-3,
    "um": 1.0,
    "\N{MICRO SIGN}m": 1.0,
    "micron": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
"""Units as the OME-Zarr specification names them (UDUNITS-2), and as people write them."""


@dataclass(frozen=True)
class Multiscale:
    """One image of OME-Zarr: array paths finest first, an axis letter a dimension, scale and units."""

    name: str
    version: str
    paths: tuple[str, ...]
    axes: str
    units: tuple[str | None, ...]
    scale: tuple[float, ...] | None


def parse_multiscale(store: WatchedStore, node: Node) -> Multiscale:
    """The first multiscale image of a node.

    Raises
    ------
    HrvizError
        For axes that make no picture and datasets that lie elsewhere.
    """
    entries = node.ome.get("multiscales")
    first = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(first, dict):
        raise HrvizError(f"{store.address}: its multiscales metadata is no list of images")
    datasets = [d for d in as_list(first.get("datasets")) if isinstance(d, dict)]
    if not 1 <= len(datasets) <= MAX_LEVELS:
        raise HrvizError(
            f"{store.address} lists {len(datasets)} resolutions; an image has 1 to {MAX_LEVELS}"
        )
    prefix = f"{node.path}/" if node.path else ""
    paths = tuple(prefix + safe_path(store, d.get("path"), "dataset") for d in datasets)
    axes, units = _axes(store, first.get("axes", "tczyx"))
    own, common = (_scale(part, len(axes)) for part in (datasets[0], first))
    scale = None
    if own is not None:
        scale = tuple(a * b for a, b in zip(own, common or [1.0] * len(axes), strict=True))
    version = (
        first.get("version") or node.ome.get("version") or ("0.5" if node.version == 3 else "")
    )
    return Multiscale(
        str(first.get("name") or ""), str(version)[:8] or "0.4", paths, axes, units, scale
    )


_BY_TYPE = {"time": "t", "channel": "c"}


def _axes(store: WatchedStore, given: Any) -> tuple[str, tuple[str | None, ...]]:
    """Axis letters and units; version 0.1 and 0.2 (no axes) mean t, c, z, y, x."""
    letters, units = "", []
    for axis in given:
        entry = axis if isinstance(axis, dict) else {"name": axis}
        name = str(entry.get("name")).lower()
        letters += _BY_TYPE.get(str(entry.get("type")), name if len(name) == 1 else "?")
        unit = entry.get("unit")
        units.append(unit if isinstance(unit, str) else None)
    right = re.fullmatch("[a-z]+", letters) and len(set(letters)) == len(letters)
    if not right or not {"y", "x"} <= set(letters):
        names = [str(a.get("name") if isinstance(a, dict) else a)[:20] for a in given][:8]
        raise HrvizError(
            f"{store.address} has the axes {', '.join(names) or 'none'}; an image needs y and x, "
            "and may have t, c and z, each once"
        )
    return letters, tuple(units)


def _scale(part: Mapping[str, Any], count: int) -> list[float] | None:
    """The scale transformation of a dataset or a multiscale, or None."""
    for entry in as_list(part.get("coordinateTransformations")):
        if isinstance(entry, dict) and entry.get("type") == "scale":
            values = as_list(entry.get("scale"))
            good = [v for v in values if isinstance(v, int | float) and 0 < v < 1e12]
            return [float(v) for v in good] if len(good) == len(values) == count else None
    return None


def pixel_size(image: Multiscale) -> tuple[float | None, str | None]:
    """Micrometres a pixel (mean of y and x), and a note where the scale has no known unit."""
    if image.scale is None:
        return None, None
    sizes, unknown = [], None
    for axis in "yx":
        at = image.axes.index(axis)
        unit = image.units[at]
        factor = MICROMETRES.get(unit.lower()) if unit else None
        if factor is None:
            unknown = unit or "no unit"
        else:
            sizes.append(image.scale[at] * factor)
    if unknown is not None:
        value = image.scale[image.axes.index("x")]
        return None, (f"{value:g} ({unknown[:20]}): not taken for a size" if value != 1 else None)
    return sum(sizes) / 2, None


def parse_channels(
    ome: Mapping[str, Any], count: int, dtype: np.dtype[Any]
) -> tuple[Channel, ...] | None:
    """Channels as OMERO's rendering metadata gives them; None for grey, RGB and RGBA.

    8-bit images with 3 or 4 channels are RGB(A) unless the metadata gives them other colours or
    contrast.
    """
    omero: Any = ome.get("omero")
    omero = omero if isinstance(omero, dict) else {}
    entries = [e if isinstance(e, dict) else {} for e in as_list(omero.get("channels"))][:count]
    if count == 1 and not any(entries):
        return None
    entries += [{}] * (count - len(entries))
    colours = [_colour(e.get("color")) for e in entries]
    limits = [_limits(e.get("window")) for e in entries]
    active = [e.get("active") is not False for e in entries]
    names = [str(e.get("label") or f"channel {i + 1}")[:80] for i, e in enumerate(entries)]
    if dtype == np.uint8 and count in (3, 4):
        plain = not any(colours) or (count == 3 and colours == _RGB)
        if plain and all(active) and all(pair in (None, (0.0, 255.0)) for pair in limits):
            return None
    if not any(active):
        active = [True] * count
    if count > 1 and len(set(colours)) == 1:  # the same for all: nobody chose it
        colours = [None] * count
    chosen = [c or default for c, default in zip(colours, colours_for(names), strict=True)]
    return tuple(
        Channel(n, c, pair, on)
        for n, c, pair, on in zip(names, chosen, limits, active, strict=True)
    )


def _colour(text: Any) -> Colour | None:
    found = (
        re.fullmatch(r"#?([0-9A-Fa-f]{6})(?:[0-9A-Fa-f]{2})?", text)
        if isinstance(text, str)
        else None
    )
    if not found:
        return None
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue


def _limits(window: Any) -> tuple[float, float] | None:
    if not isinstance(window, dict):
        return None
    ends = [window.get(end) for end in ("start", "end")]
    numbers = [float(v) for v in ends if isinstance(v, int | float) and math.isfinite(v)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 and numbers[0] < numbers[1] else None


def check_channels(store: WatchedStore, count: int) -> None:
    """Raise for more channels than any microscope has."""
    if count > MAX_CHANNELS:
        raise HrvizError(
            f"{store.address} has {count} channels, at most {MAX_CHANNELS} are read; check which "
            "axis is called c"
        )

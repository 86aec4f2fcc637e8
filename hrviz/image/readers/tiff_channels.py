"""Channels of OME-TIFF and ImageJ hyperstacks: names, colours and contrast."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hrviz.image.composite import WHITE, Colour, Limits, colours_for
from hrviz.image.readers.base import Channel


def channel_info(file: Any, count: int, dtype: np.dtype) -> tuple[Channel, ...] | None:
    """How the planes of a multi-channel TIFF are composited, or None for grey and RGB.

    Parameters
    ----------
    file : tifffile.TiffFile
    count : int
        Planes read as channels, each of its own page (not samples of one).
    dtype : numpy.dtype
        Of the pixels.

    Returns
    -------
    tuple of Channel or None
        Names and colours as OME-XML or ImageJ say; where they do not, colours by dye, else of a
        palette. None where nothing says that three 8-bit planes are not simply RGB.
    """
    if file.is_imagej and count > 1:
        return _imagej(file.imagej_metadata or {}, count)
    if not file.is_ome:
        return None
    image = _first_image(file.ome_metadata)
    entries = list(_entries(image))[:count] if image is not None else []
    colours = [_colour(e.get("Color")) for e in entries]
    names = [e.get("Name") or e.get("Fluor") for e in entries]
    if count == 1:
        if not entries or colours[0] in (None, WHITE):
            return None
    elif dtype == np.uint8 and count in (3, 4) and not any(names) and not any(colours):
        return None
    emissions = [_number(e.get("EmissionWavelength")) for e in entries]
    shown = [name or f"channel {i + 1}" for i, name in enumerate(_padded(names, count))]
    return _channels(
        shown, _padded(colours, count), _levels(image, count), _padded(emissions, count)
    )


def _channels(
    names: Sequence[str],
    colours: Sequence[Colour | None],
    limits: Sequence[Limits | None],
    emissions: Sequence[float | None] | None = None,
) -> tuple[Channel, ...]:
    if len(names) > 1 and len(set(colours)) == 1:  # the same for all: nobody chose it
        colours = [None] * len(names)
    defaults = colours_for(names, emissions)
    return tuple(
        Channel(name[:80], colour or default, pair)
        for name, colour, default, pair in zip(names, colours, defaults, limits, strict=True)
    )


def _padded(values: Sequence[Any], count: int) -> list[Any]:
    return [*values, *[None] * (count - len(values))]


# -- OME-XML ------------------------------------------------------------------------------------
def _first_image(xml: str | None) -> ElementTree.Element | None:
    if not xml or "<!DOCTYPE" in xml:  # OME-XML has none: entities are for mischief
        return None
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    return next((e for e in root.iter() if _local(e) == "Image"), None)


def _local(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _entries(image: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for pixels in image:
        if _local(pixels) == "Pixels":
            yield from (e for e in pixels if _local(e) == "Channel")


def _colour(text: str | None) -> Colour | None:
    """OME's signed 32-bit red, green, blue, alpha."""
    try:
        value = int(text or "") & 0xFFFFFFFF
    except ValueError:
        return None
    return value >> 24, value >> 16 & 255, value >> 8 & 255


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _levels(image: ElementTree.Element | None, count: int) -> list[Limits | None]:
    """Black and white levels of older OME-XML's DisplayOptions, by channel."""
    found: list[Limits | None] = [None] * count
    for element in image.iter() if image is not None else ():
        parts = [_number(element.get(a)) for a in ("ChannelNumber", "BlackLevel", "WhiteLevel")]
        at, low, high = parts
        if at is None or low is None or high is None or low >= high:
            continue
        if at in range(count):
            found[int(at)] = low, high
    return found


# -- ImageJ -------------------------------------------------------------------------------------
def _imagej(metadata: dict[str, Any], count: int) -> tuple[Channel, ...]:
    """ImageJ keeps a lookup table and a display range a channel."""
    tables = metadata.get("LUTs") or []
    colours: list[Colour | None] = [None] * count
    for i, table in enumerate(tables[:count]):
        if np.shape(table) == (3, 256):
            red, green, blue = (int(v) for v in np.asarray(table)[:, -1])
            colours[i] = red, green, blue
    ranges = list(metadata.get("Ranges") or ())
    limits: list[Limits | None] = []
    for i in range(count):
        pair = ranges[2 * i : 2 * i + 2]
        good = len(pair) == 2 and np.isfinite(pair).all() and pair[0] < pair[1]
        limits.append((float(pair[0]), float(pair[1])) if good else None)
    return _channels([f"channel {i + 1}" for i in range(count)], colours, limits)

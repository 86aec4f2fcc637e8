"""Channels of a fluorescence image as one RGB picture, and colours for channels that have none.

Each active channel is scaled to 0..1 between its limits, multiplied by its colour, and the products
are added up: light adds, as on a microscope's screen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Channel

Colour = tuple[int, int, int]
Limits = tuple[float, float]

WHITE: Colour = (255, 255, 255)
PAIR: tuple[Colour, ...] = ((0, 255, 0), (255, 0, 255))
"""Green and magenta: the two that all kinds of colour vision tell apart, white where both are."""

PALETTE: tuple[Colour, ...] = (
    *((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((240, 228, 66), (213, 94, 0), (0, 114, 178)),
)
"""Okabe and Ito's colours for all kinds of colour vision (Color Universal Design, 2008)."""

_BLUE, _CYAN, _GREEN = (0, 96, 255), (0, 255, 255), (0, 255, 0)
_ORANGE, _RED, _MAGENTA = (255, 160, 0), (255, 48, 48), (255, 0, 255)
_DYES: tuple[tuple[str, Colour], ...] = (
    (r"bright.?field|phase|\bdic\b|transmi|\btl\b|\bt?pmt\b", WHITE),
    (r"dapi|hoechst|bfp|pacific.?blue", _BLUE),
    (r"cfp|cerulean|turquoise", _CYAN),
    (r"fitc|gfp|fluorescein|\bcy2\b|neongreen", _GREEN),
    (r"cy5|cy7|far.?red|irfp|draq5", _MAGENTA),
    (r"texas.?red|cherry|rfp|ds.?red|cy3\.5|propidium", _RED),
    (r"yfp|venus|citrine|cy3|tritc|rhodamine|tamra|tomato|orange", _ORANGE),
)
_LASERS: tuple[tuple[int, Colour], ...] = (
    *((440, _BLUE), (480, _CYAN), (530, _GREEN), (575, _ORANGE), (625, _RED), (900, _MAGENTA)),
)
"""Excitation in nm up to which a colour is taken, for names such as 'Alexa 488' and '640'."""

_EMISSIONS: tuple[tuple[int, Colour], ...] = (
    *((470, _BLUE), (500, _CYAN), (550, _GREEN), (590, _ORANGE), (640, _RED), (1000, _MAGENTA)),
)
_BLOCK = 2**15  # pixels composited at a time: their floats stay in the processor's cache


def known_colour(name: str, emission: float | None = None) -> Colour | None:
    """The usual colour of a dye or wavelength, or None.

    Parameters
    ----------
    name : str
        Of the channel: 'DAPI', 'Alexa 488', 'anti-CD3 Cy5'.
    emission : float, optional
        Emission wavelength in nm.

    Examples
    --------
    >>> known_colour("Hoechst 33342"), known_colour("AF488"), known_colour("marker 3")
    ((0, 96, 255), (0, 255, 0), None)
    """
    text = name.lower()
    for pattern, colour in _DYES:
        if re.search(pattern, text):
            return colour
    if emission is not None and emission >= 350:
        return next((c for top, c in _EMISSIONS if emission <= top), None)
    laser = re.search(r"(?<!\d)([3-8]\d\d)(?!\d)", text)
    if laser:
        return next((c for top, c in _LASERS if int(laser[1]) <= top), None)
    return None


def colours_for(
    names: Sequence[str], emissions: Sequence[float | None] | None = None
) -> list[Colour]:
    """A colour a channel: of its dye where its name tells, else the next free one of a palette.

    One channel is white, two are green and magenta, more take `PALETTE` in turn.
    """
    emissions = emissions or [None] * len(names)
    found = [known_colour(n, e) for n, e in zip(names, emissions, strict=True)]
    # a dye's colour goes to the first channel that claims it
    found = [c if c is not None and c not in found[:i] else None for i, c in enumerate(found)]
    if len(names) == 1:
        return [found[0] or WHITE]
    spare = [c for c in (PAIR if len(names) == 2 else PALETTE) if c not in found]
    out: list[Colour] = []
    taken = 0
    for colour in found:
        out.append(colour or spare[taken % len(spare)])
        taken += colour is None
    return out


def default_channels(count: int, dtype: np.dtype) -> tuple[Channel, ...]:
    """Channels of an image that says nothing about them; 8 bit keeps its full range."""
    names = [f"channel {i + 1}" for i in range(count)]
    limits = (0.0, 255.0) if dtype == np.uint8 else None
    return tuple(Channel(n, c, limits) for n, c in zip(names, colours_for(names), strict=True))


def chosen_channels(
    name: str,
    channels: Sequence[Channel],
    active: Sequence[int] | None,
    limits: Mapping[int, Limits],
) -> tuple[Channel, ...]:
    """Channels with other ones shown (None: as they are) and other limits for some.

    Raises
    ------
    HrvizError
        For channels that the image `name` does not have, and limits without a range.
    """
    for channel in (*(active or ()), *limits):
        if channel not in range(len(channels)):
            raise HrvizError(f"{name} has no channel {channel}: choose 0 to {len(channels) - 1}")
    for channel, (low, high) in limits.items():
        if not (np.isfinite([low, high]).all() and low < high):
            raise HrvizError(
                f"limits {low:g} to {high:g} of channel {channel} ({channels[channel].name}) have "
                "no range: give a lower and a higher finite value"
            )
    return tuple(
        replace(
            c,
            active=c.active if active is None else i in active,
            limits=(float(limits[i][0]), float(limits[i][1])) if i in limits else c.limits,
        )
        for i, c in enumerate(channels)
    )


def composite(
    pixels: np.ndarray, colours: Sequence[Colour | None], limits: Sequence[Limits]
) -> np.ndarray:
    """uint8 RGB `(h, w, 3)` of a many-channel window.

    Parameters
    ----------
    pixels : ndarray, (h, w, channels)
        Of any real dtype; NaN is black.
    colours : sequence of (int, int, int) or None
        RGB of full intensity, one a channel; None: not shown.
    limits : sequence of (float, float)
        Values shown as black and as full colour, one pair a channel.

    Returns
    -------
    ndarray uint8, (h, w, 3)
        `sum of colour * clip((value - low) / (high - low), 0, 1)`, clipped to 255 and rounded.
    """
    height, width = pixels.shape[:2]
    shown = [i for i, colour in enumerate(colours) if colour is not None]
    out = np.zeros((height, width, 3), np.uint8)
    if not shown or not height or not width:
        return out
    # float32 holds 24 bit exactly: wider integers and doubles are scaled as doubles
    kind = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    low = np.array([limits[i][0] for i in shown], kind)
    gain = np.array([1 / (limits[i][1] - limits[i][0]) for i in shown], kind)
    table = np.array([colours[i] for i in shown], np.float32)
    every = len(shown) == pixels.shape[2]
    rows = max(1, _BLOCK // width)
    for top in range(0, height, rows):
        part = pixels[top : top + rows]
        part = (part if every else part[:, :, shown]).astype(kind)
        part -= low
        part *= gain
        # maximum and minimum of NaN: fmax takes the number
        np.fmax(part, 0, out=part)
        np.fmin(part, 1, out=part)
        rgb = part.reshape(-1, len(shown)).astype(np.float32, copy=False) @ table
        np.minimum(rgb, 255, out=rgb)
        rgb += 0.5
        out[top : top + rows] = rgb.reshape(-1, width, 3).astype(np.uint8)
    return out


def percentile_limits(pixels: np.ndarray) -> list[Limits]:
    """0.5 and 99.5 percentiles of each channel of `(h, w, channels)`; (v, v + 1) where constant."""
    out: list[Limits] = []
    for channel in np.moveaxis(pixels, -1, 0):
        values = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel.ravel()
        if not values.size:
            out.append((0.0, 1.0))
            continue
        low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
        out.append((low, high) if high > low else (low, low + 1.0))
    return out

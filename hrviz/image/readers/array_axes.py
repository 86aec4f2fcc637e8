"""Which axis of a bare array is which, where nothing but its shape is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 4
"""An axis of at most this many entries may be the channels (grey and opacity, RGB, RGBA)."""


def guess_axes(shape: Sequence[int]) -> str | None:
    """One letter an axis, or None where no rule fits.

    The last axis is the channels where it has at most 4 entries; else the one before (z, y, x)
    where that has; what remains is y and x, before them z, and before that t. A single axis in
    front of a picture is t: frames.

    Examples
    --------
    >>> [guess_axes(s) for s in [(600, 800), (600, 800, 3), (3, 600, 800), (50, 600, 800)]]
    ['yx', 'yxc', 'cyx', 'tyx']
    >>> [guess_axes(s) for s in [(9, 60, 80, 3), (9, 3, 60, 80), (9, 5, 60, 80), (9, 2, 5, 60, 80)]]
    ['tyxc', 'tcyx', 'tzyx', 'tczyx']
    """
    n = len(shape)
    if n == 2:
        return "yx"
    if shape[-1] <= MOST and n <= 5:
        return {3: "yxc", 4: "tyxc", 5: "tzyxc"}.get(n)
    at = {3: 0, 4: 1, 5: 1}.get(n)
    if at is not None and shape[at] <= MOST:
        return {3: "cyx", 4: "tcyx", 5: "tczyx"}[n]
    return {3: "tyx", 4: "tzyx"}.get(n)


def to_picture(pixels: np.ndarray, axes: str) -> np.ndarray:
    """`(y, x, channel)` from an array whose axes beside y, x and c were indexed away.

    Parameters
    ----------
    pixels : ndarray
        Its axes are those of `axes` that are y, x or c, in that order.
    axes : str
        E.g. 'tczyx'.
    """
    left = [a for a in axes if a in "yxc"]
    if "c" not in left:
        pixels, left = pixels[..., None], [*left, "c"]
    return pixels.transpose([left.index(a) for a in "yxc"])


def displayable(pixels: np.ndarray) -> np.ndarray:
    """Native byte order, truth values as 0 and 255."""
    if pixels.dtype.kind == "b":
        return np.where(pixels, np.uint8(255), np.uint8(0))
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))

"""Where the patches of attention positions lie and how they are read.

Position r of n along an axis stands for a patch of p pixels. An attention network that does not
pad sees a part of the view only: its first position has its centre half a receptive field inside.
With view height h, image height H, S = H / h, receptive field f and m rows of attention, the patch
of row r starts at

    round(f/2 S + r d + d/2 - p/2),   d = (h - f) S / m

(Katharopoulos and Fleuret's library). With f = 0 that is the plain middle (r + 1/2) H / m of the
r-th of m equal parts, which networks that pad are trained with. What lies beyond the image is zero
for the network, and is not read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hrviz.geometry import Box
from hrviz.methods.zooming.growing import Growing


def origins(
    attention: tuple[int, int],
    view: tuple[int, int],
    image: tuple[float, float],
    patch: tuple[float, float] | float,
    receptive_field: float = 0.0,
) -> np.ndarray:
    """Upper left corners of the patches of all positions, relative to the image.

    Parameters
    ----------
    attention : (int, int)
        Rows and columns of the attention.
    view : (int, int)
        Height and width of what the attention network saw, px.
    image : (float, float)
        Height and width of the image (or of the region of it), level-0 px.
    patch : float or (float, float)
        Height and width of a patch, level-0 px.
    receptive_field : float
        Of an attention network without padding, in view px; 0: the plain middle of equal parts.

    Returns
    -------
    ndarray int64 (rows, columns, 2)
        (y, x), level-0 px; negative where a patch begins before the image.

    Examples
    --------
    >>> at = origins((35, 47), (288, 384), (960, 1280), 100, 9)
    >>> at[0, 0].tolist(), at[17, 23].tolist(), at[34, 46].tolist()
    ([-22, -22], [430, 590], [882, 1202])
    """
    sides = (patch, patch) if isinstance(patch, int | float) else patch
    lines = []
    for m, low, high, side in zip(attention, view, image, sides, strict=True):
        scale = high / low
        step = (low - receptive_field) * scale / m
        start = receptive_field / 2 * scale + np.arange(m) * step + step / 2 - side / 2
        lines.append(np.rint(start).astype(np.int64))
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1)


def cut_out(
    growing: Growing, origin: Sequence[float], patch: int, pixels: int | None = None
) -> tuple[np.ndarray, float]:
    """One patch as the network receives it, and the share of it that lies beyond the region.

    Parameters
    ----------
    growing : Growing
        Its view is read, only where the patch lies inside it.
    origin : (float, float)
        (y, x) of the upper left corner, level-0 px from the view's own corner.
    patch : int
        Side in level-0 px.
    pixels : int, optional
        Side of the output; default that of the patch.

    Returns
    -------
    ndarray float32 (pixels, pixels, 3)
        In 0..1; zero beyond the region.
    float
    """
    view = growing.view
    side = patch if pixels is None else pixels
    out = np.zeros((side, side, 3), np.float32)
    box = box_of(view.box, origin, patch)
    inside = box.intersect(view.box)
    rows, columns = (
        (round((low - start) / patch * side), round((high - start) / patch * side))
        for low, high, start in (
            (inside.y0, inside.y1, box.y0), (inside.x0, inside.x1, box.x0),
        )
    )  # fmt: skip
    size = rows[1] - rows[0], columns[1] - columns[0]
    if min(size) > 0:
        out[slice(*rows), slice(*columns)] = growing.look(inside, size)
    return out, 1 - inside.area / patch**2


def box_of(region: Box, origin: Sequence[float], patch: float) -> Box:
    """Level-0 box of the patch at `origin`, counted from the region's corner."""
    y, x = region.y0 + float(origin[0]), region.x0 + float(origin[1])
    return Box(y, x, y + patch, x + patch)

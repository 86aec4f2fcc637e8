"""Where the patches of attention positions lie, how they are read, and how they are shown.

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
from hrviz.results import Picture

SHOWN = 16  # patches of a contact sheet
EDGE = 64  # px of a patch on a contact sheet
BAR, GAP = 5, 4  # px: what a weight's bar takes below a patch, and between patches


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


def contact_sheet(
    patches: Sequence[np.ndarray], weights: Sequence[float], labels: Sequence[str]
) -> Picture:
    """The first patches side by side, each above a bar as long as its weight, and a few words.

    Parameters
    ----------
    patches : sequence of ndarray (p, p, 3)
        float in 0..1, at least one.
    weights : sequence of float
        Relative to the largest shown; negative ones are drawn in red.
    labels : sequence of str
        Under each patch.
    """
    from PIL import Image, ImageDraw, ImageFont

    shown = min(len(patches), SHOWN)
    columns = min(shown, 8 if shown > 4 else max(shown, 1))
    rows = -(-shown // columns)
    text = 13
    step_x, step_y = EDGE + GAP, EDGE + BAR + text + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), (244, 244, 244))
    drawing, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    most = max((abs(w) for w in weights[:shown]), default=0.0) or 1.0
    for k in range(shown):
        x, y = GAP + k % columns * step_x, GAP + k // columns * step_y
        pixels = np.clip(np.rint(patches[k] * 255), 0, 255).astype(np.uint8)
        kind = Image.Resampling.BOX if pixels.shape[0] > EDGE else Image.Resampling.NEAREST
        sheet.paste(Image.fromarray(pixels).resize((EDGE, EDGE), kind), (x, y))
        long = max(1, round(EDGE * abs(weights[k]) / most))
        colour = (31, 119, 180) if weights[k] >= 0 else (200, 60, 50)
        drawing.rectangle((x, y + EDGE + 1, x + long - 1, y + EDGE + BAR - 1), fill=colour)
        drawing.text((x, y + EDGE + BAR), labels[k], (60, 60, 60), font)
    return Picture(np.asarray(sheet))

"""What decides where to look when no network does: edge energy, or the scene's truth."""

from __future__ import annotations

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView

EDGES = "stand-in: edge energy"
TRUTH = "oracle: the scene's truth"
RASTER = 128  # px a side on which the truth is asked for


def edge_energy(pixels: np.ndarray) -> np.ndarray:
    """Squared gradient (Sobel) of the brightness of float pictures (h, w, 3); (h, w)."""
    from scipy import ndimage

    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    energy = np.asarray(ndimage.sobel(grey, 0) ** 2 + ndimage.sobel(grey, 1) ** 2, np.float64)
    energy[energy < 1e-6] = 0.0  # below one grey level: rounding, not an edge
    return energy


def standing_out(energies: np.ndarray) -> np.ndarray:
    """Energies e of parts as e / (e + mean), 0..1: one half for an average part, 0 for an empty one.

    Examples
    --------
    >>> standing_out(np.array([0.0, 1.0, 2.0])).round(3).tolist()
    [0.0, 0.5, 0.667]
    """
    e = np.asarray(energies, np.float64)
    total = e + e.mean()
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0)


def edges_of_cells(a: int, n: int) -> np.ndarray:
    """Where each of `a` equal parts of `n` pixels begins and the last ends, int (a + 1,).

    A pixel belongs to the part in which its centre lies.

    Examples
    --------
    >>> edges_of_cells(3, 8).tolist()
    [0, 3, 5, 8]
    """
    return np.asarray(np.ceil(np.arange(a + 1) * n / a - 0.5), int)


def sought(view: ImageView, box: Box, cells: int = 1) -> np.ndarray:
    """Which of cells x cells parts of a box hold something that is sought (no look-alikes), bool.

    Raises
    ------
    HrvizError
        Without truth.
    """
    truth = view.truth
    if truth is None:
        raise HrvizError(f"{view.image.name} has no truth: choose another saliency")
    out = np.zeros((cells, cells), bool)
    if "mask" in truth.knows:
        classes = [k for k, name in truth.classes.items() if k and name != "look-alike"]
        size = RASTER - RASTER % cells
        there = np.isin(truth.mask(box, (size, size)), classes)
        n = size // cells
        return np.asarray(there.reshape(cells, n, cells, n).any((1, 3)))
    for y0, x0, y1, x1 in truth.boxes(box).boxes:
        rows = np.array([y0 - box.y0, y1 - box.y0]) / box.height * cells
        columns = np.array([x0 - box.x0, x1 - box.x0]) / box.width * cells
        (top, bottom), (left, right) = (
            (max(0, int(np.floor(low))), int(np.ceil(high))) for low, high in (rows, columns)
        )
        out[top:bottom, left:right] = True
    return out

"""What is where on a procedural slide: masks, nuclei and lesions, exact and lazy."""

from __future__ import annotations

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.scenes.noise import Raster
from hrviz.scenes.tissue.anatomy import warp_field
from hrviz.scenes.tissue.blobs import field
from hrviz.scenes.tissue.layout import WARP_REACH, Layout
from hrviz.scenes.tissue.population import nuclei_in
from hrviz.scenes.truth import Objects, Truth

MAX_POINTS_AREA = 64_000_000
CLASSES = {0: "background/other", 1: "tumour"}


class TissueTruth(Truth):
    """Ground truth of `scene:tissue`; everything in level-0 pixels, (y, x).

    Parameters
    ----------
    layout : Layout
        The slide's plan.

    Attributes
    ----------
    label : str
        `tumour` or `normal`, for the whole slide.
    classes : dict
        Names of the values of `mask`.
    tissue_area : float
        Square pixels inside the outer edges of the tissue: what `tumour=` is a fraction of.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.label = "tumour" if layout.tumour > 0 else "normal"
        self.labels = ("normal", "tumour")
        self.classes = dict(CLASSES)
        self.objects = {1: "tumour nest"}
        self.kinds = {0: "other cell", 1: "tumour cell", 2: "lymphocyte"}
        self.knows = frozenset({"label", "mask", "points", "boxes"})

    @property
    def tissue_area(self) -> float:
        return self._layout.tissue_area

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Class at the pixel centres of a regular raster over a box.

        Parameters
        ----------
        box : Box
            Any box; outside the slide is background.
        size : (int, int)
            Height and width of the raster.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width): 0 background and everything else, 1 tumour.
        """
        height, width = size
        out = np.zeros((height, width), np.uint8)
        sy, sx = (box[2] - box[0]) / height, (box[3] - box[1]) / width
        rows, columns = max(1, min(height, 512)), max(1, min(width, 512))
        for i in range(0, height, rows):
            for j in range(0, width, columns):
                ny, nx = min(rows, height - i), min(columns, width - j)
                y, x = box[0] + (i + 0.5) * sy, box[1] + (j + 0.5) * sx
                raster = Raster(y, x, ny, nx, sy, sx, 0.0)
                out[i : i + ny, j : j + nx] = self._tumour(raster)
        return out

    def _tumour(self, raster: Raster) -> np.ndarray:
        layout = self._layout
        ys, xs = raster.axes()
        near = layout.nests.near(ys[0, 0], xs[0, 0], ys[-1, 0], xs[0, -1], WARP_REACH)
        inside = np.zeros((raster.ny, raster.nx), bool)
        if len(near):
            distance = field(near, raster, warp_field(layout, raster), 0.0, WARP_REACH)
            if distance is not None:
                on_slide = (ys >= 0) & (ys < layout.height) & (xs >= 0) & (xs < layout.width)
                inside = (distance < 0) & on_slide
        return inside

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Nuclei whose centre is in the box (the whole slide without one).

        Returns
        -------
        points : numpy.ndarray
            float64 (n, 2), (y, x).
        classes : numpy.ndarray
            uint8 (n,): 0 other cells, 1 tumour cells, 2 lymphocytes.

        Raises
        ------
        HrvizError
            When the box is larger than 64 Mpx.
        """
        full = Box(0.0, 0.0, float(self._layout.height), float(self._layout.width))
        box = full if box is None else Box(*box).intersect(full)
        if box.area > MAX_POINTS_AREA:
            raise HrvizError(
                f"the box has {box.area / 1e6:.0f} Mpx and nuclei are listed for at most "
                f"{MAX_POINTS_AREA // 1_000_000} Mpx: ask for a smaller box, e.g. 8000 x 8000 px"
            )
        return nuclei_in(self._layout, box)

    def boxes(self, box: Box | None = None) -> Objects:
        """Tumour nests that touch a box, largest first (see `lesions`)."""
        boxes, _ = self.lesions(box)
        return Objects(boxes, np.ones(len(boxes), np.int64), dict(self.objects))

    def lesions(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Tumour nests that touch a box (all without one), largest first.

        Returns
        -------
        boxes : numpy.ndarray
            float64 (n, 4): y0, x0, y1, x1 around each nest, with room for its rough edge.
        areas : numpy.ndarray
            float64 (n,): px^2 of each outline; the rough edge changes it by a few per cent.
        """
        nests = self._layout.nests
        if box is not None:
            nests = nests.near(*box, 40.0)
        m = nests.reach + 40.0
        boxes = np.stack([nests.y - m, nests.x - m, nests.y + m, nests.x + m], axis=-1)
        high = np.array([self._layout.height, self._layout.width] * 2, float)
        return np.clip(boxes, 0, high).reshape(-1, 4), nests.area

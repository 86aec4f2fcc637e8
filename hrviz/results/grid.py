"""`WarpGrid`: a backward map, output to image, with everything that can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.results.base import Result, check_box, finite, require
from hrviz.results.bilinear import around, interpolation, invert_cell, invert_line, rims
from hrviz.results.pictures import HeatMap


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
        require(
            n.ndim == 3 and n.shape[2] == 2 and min(n.shape[:2]) >= 2,
            f"grid nodes are (ny, nx, 2) with at least 2 x 2 nodes, not {n.shape}",
        )
        require(n.dtype == np.float64, f"grid nodes are float64 (huge images), not {n.dtype}")
        finite(n, "warp grid")
        check_box(self.box, "warp grid")
        require(min(self.size) >= 1, f"output size {self.size} is empty")

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
        require(0 <= share <= 1, f"a share lies in 0..1, not {share:g}")
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
        return around(self.to_image(rims(boxes, edge)))

    def boxes_to_output(self, boxes: np.ndarray, edge: int = 9) -> np.ndarray:
        """Boxes (n, 4) of the image as boxes in output pixels; NaN where all of the rim is cropped.

        Rims are first cut to what the output shows, between its corner pixel centres.
        """
        points = rims(boxes, edge)
        corners = self.nodes.reshape(-1, 2)
        points = np.clip(points, corners.min(0), corners.max(0))
        return around(self.to_output(points.reshape(-1, 2)).reshape(points.shape))

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
        samples that read it, or its nearest neighbour where none does; NaN where it is cropped.
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
        if self.covered() < 0.999:  # what is cropped has no magnification
            cy = self.box.y0 + (np.arange(h) + 0.5) * self.box.height / h
            cx = self.box.x0 + (np.arange(w) + 0.5) * self.box.width / w
            centres = np.stack(np.meshgrid(cy, cx, indexing="ij"), -1).reshape(-1, 2)
            seen = np.isfinite(self.inverse(centres)).all(-1).reshape(h, w) | (hits > 0)
            shown = np.where(seen, shown, np.nan)
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
                [invert_line(self.nodes[:, 0, 0], points[:, 0], eps),
                 invert_line(self.nodes[0, :, 1], points[:, 1], eps)], -1
            )  # fmt: skip
        ny, nx = self.nodes.shape[:2]
        if min(np.ptp(self.nodes[..., 0]), np.ptp(self.nodes[..., 1])) == 0:
            # a region one pixel thick has no cells: its middle line stands for all of it
            rows, columns = (
                self.at(np.linspace(0, 1, ny), np.full(ny, 0.5)),
                self.at(np.full(nx, 0.5), np.linspace(0, 1, nx)),
            )
            return np.stack(
                [invert_line(rows[:, 0], points[:, 0], eps),
                 invert_line(columns[:, 1], points[:, 1], eps)], -1
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
                t, s = invert_cell(cell, ys[near], xs[near], eps)
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
            t, s = invert_cell(corners, points[todo, 0], points[todo, 1], eps)
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

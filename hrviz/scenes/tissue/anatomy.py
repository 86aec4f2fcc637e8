"""The slow fields of a window: distances to every structure, fibre coordinates, densities.

They vary over tens of pixels, so they are sampled on a grid of at least 8 level-0 pixels that is
aligned with the slide, not with the window, and interpolated where pixels are finer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hrviz.scenes.noise import Raster, lattice_hash, octaves, uniform
from hrviz.scenes.tissue import nuclei as cells
from hrviz.scenes.tissue.blobs import FAR, Blobs, field, harmonics
from hrviz.scenes.tissue.layout import WARP_REACH, Layout
from hrviz.scenes.tissue.stain import PERIOD

GRID = 8
EPITHELIUM = 47.0  # px: height of the gland wall
GLAND_PITCH, VESSEL_PITCH, FAT_PITCH = 390.0, 1250.0, 300.0
_WARPS = ((512.0, 27.0), (256.0, 24.0), (128.0, 13.0), (64.0, 6.0))
_GLAND_SHAPE = np.array([0.20, 0.12, 0.08, 0.05])


@dataclass
class Anatomy:
    """Fields on a grid around one block; distances are signed, negative inside, px of level 0.

    A structure that is not near is None.
    """

    raster: Raster
    margin: int
    warp: np.ndarray
    tissue: np.ndarray
    nests: np.ndarray | None
    septa: np.ndarray | None
    aggregates: np.ndarray | None
    lobules: np.ndarray | None
    glands: np.ndarray | None
    gland_list: Blobs
    vessels: np.ndarray | None
    across: np.ndarray
    along: np.ndarray
    tone: np.ndarray
    density: np.ndarray
    looseness: np.ndarray

    def at(self, grid: np.ndarray | None, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Values of a grid at scattered points (nearest node); far away where it is None."""
        if grid is None:
            return np.full(y.shape, FAR, np.float32)
        i, j = self.raster.nearest(y, x)
        return np.asarray(grid[i, j])


def warp_field(layout: Layout, raster: Raster) -> np.ndarray:
    """Displacement (x + iy, px) that roughens outlines, complex64."""
    # What is lost in a pixel is left out.
    seen = [(w, size, k) for k, (w, size) in enumerate(_WARPS) if size >= raster.box / 5]
    out = np.empty((raster.ny, raster.nx), np.complex64)
    out.real = octaves(raster, [(w, size, layout.salt(120 + 2 * k)) for w, size, k in seen])
    out.imag = octaves(raster, [(w, size, layout.salt(121 + 2 * k)) for w, size, k in seen])
    return out


def block_raster(
    y0: float, x0: float, span: float, step: float, reach: float
) -> tuple[Raster, int]:
    """Grid of `step` over a block and at least `reach` px around it; and its margin in nodes."""
    margin = math.ceil(reach / step) + 2
    n = round(span / step) + 2 * margin
    first = (0.5 - margin) * step
    return Raster(y0 + first, x0 + first, n, n, step, step, step), margin


def anatomy(layout: Layout, y0: float, x0: float, span: float, pixel: float) -> Anatomy | None:
    """All fields of the block at (y0, x0) of side `span` level-0 px; None when it is bare glass."""
    step = max(GRID, pixel)
    raster, margin = block_raster(y0, x0, span, step, 72.0)
    tissue = layout.tissue(raster)
    if tissue.min() > pixel + 50:
        return None

    def noise(*parts: tuple[float, float, int]) -> np.ndarray:
        return octaves(raster, [(w, size, layout.salt(number)) for w, size, number in parts])

    warp = warp_field(layout, raster)
    ys, xs = raster.axes()
    box = (float(ys[0, 0]), float(xs[0, 0]), float(ys[-1, 0]), float(xs[0, -1]))
    lobules = layout.lobules(box)
    aggregates = layout.aggregates(box)
    glands = gland_list(layout, box, lobules) if pixel <= 256 else lobules[:0]
    vessels = vessel_list(layout, box) if pixel < 64 else lobules[:0]

    origin = np.zeros(1, np.int64)
    turn = 2 * math.pi * float(uniform(lattice_hash(origin, origin, layout.salt(150)))[0])
    cos, sin = math.cos(turn), math.sin(turn)
    # Fibre coordinates: far from the origin only the remainder of the texture's period counts.
    ys, xs = raster.axes()
    # Tears run along the fibres, in places only.
    u = ((cos * ys + sin * xs) / 4100).astype(np.float32)
    u += noise((8192, 1.2, 140), (1024, 0.2, 142))
    width = 150 * (noise((4096, 1, 141), (1024, 0.5, 143)) - 1.35)
    crack = np.abs(u - np.rint(u)) * 3000 - width
    tissue = np.maximum(tissue, -crack)
    local_y = np.arange(raster.ny, dtype=np.float32)[:, None] * np.float32(step)
    local_x = np.arange(raster.nx, dtype=np.float32)[None, :] * np.float32(step)
    across = np.float32((cos * raster.y + sin * raster.x) % PERIOD[0]) * np.ones_like(local_y)
    across = across + np.float32(cos) * local_y + np.float32(sin) * local_x
    along = np.float32((-sin * raster.y + cos * raster.x) % PERIOD[1]) * np.ones_like(local_y)
    along = along - np.float32(sin) * local_y + np.float32(cos) * local_x
    waves = ((16384, 4200), (4096, 900), (1024, 190), (256, 30), (128, 12), (64, 5))
    seen = [(w, size, 1510 + k) for k, (w, size) in enumerate(waves) if size >= step / 6]
    across = across + noise(*seen)
    along = along + noise((16384, 4200, 156), (4096, 900, 157))
    nests = field(layout.nests, raster, warp, 320.0, WARP_REACH)
    septa = None
    if nests is not None and nests.min() < -150:
        # Strands of stroma divide what is deep inside a large nest; they stay part of the lesion.
        ridge = np.abs(noise((1024, 1, 145), (256, 0.3, 146))) * 430
        septa = np.maximum(ridge - 26 - noise((512, 16, 147)), nests + 90)
    return Anatomy(
        raster,
        margin,
        warp,
        tissue,
        nests,
        septa,
        field(aggregates, raster, warp, 240.0, WARP_REACH),
        field(lobules, raster, warp, 700.0, WARP_REACH),
        field(glands, raster, warp * np.float32(0.45), 60.0, WARP_REACH / 2),
        glands,
        field(vessels, raster, warp * np.float32(0.3), 40.0, WARP_REACH / 2),
        across,
        along,
        noise((2048, 0.6, 160), (512, 0.5, 161)),
        noise((1024, 0.7, 162), (256, 0.5, 163)),
        noise((4096, 0.8, 164), (1024, 0.5, 165)),
    )


def _free(layout: Layout, blobs: Blobs, box: tuple[float, float, float, float]) -> np.ndarray:
    """Which small blobs lie inside tissue, clear of tumour and aggregates (exact, no grid)."""
    y, x = blobs.y, blobs.x
    free = np.asarray(layout.depth_at(y, x) > blobs.r)
    nests = layout.nests.near(*box, 600.0)
    if len(nests):
        free &= nests.distance(y, x) > blobs.r + 70
    aggregates = layout.aggregates(box).near(*box, 500.0)
    if len(aggregates):
        free &= aggregates.distance(y, x) > 0.6 * blobs.r
    return free


def gland_list(layout: Layout, box: tuple[float, float, float, float], lobules: Blobs) -> Blobs:
    """Glands that may reach into the box: crowded in lobules, a lone duct here and there."""
    y0, x0, y1, x1 = box
    wide = (y0 - 420, x0 - 420, y1 + 420, x1 + 420)
    y, x, key = cells.candidates(wide, GLAND_PITCH, 0.20, layout.salt(110))
    near = lobules.near(*wide)
    inside = near.distance(y, x) if len(near) else np.full(y.shape, FAR)
    r = 78 + 100 * uniform(key, 3).astype(np.float64) ** 1.5
    duct = (uniform(key, 4) < 0.008) & (inside > 100)
    r = np.where(duct, 150 + 120 * uniform(key, 5), r)
    keep = ((inside < -0.5 * r) & (uniform(key, 6) < 0.93)) | duct
    y, x, r, key = y[keep], x[keep], r[keep], key[keep]
    blobs = _outlines(y, x, r, key, _GLAND_SHAPE)
    return blobs[_free(layout, blobs, wide)]


def vessel_list(layout: Layout, box: tuple[float, float, float, float]) -> Blobs:
    """Small vessels in the stroma."""
    y0, x0, y1, x1 = box
    wide = (y0 - 250, x0 - 250, y1 + 250, x1 + 250)
    y, x, key = cells.candidates(wide, VESSEL_PITCH, 0.35, layout.salt(111))
    keep = uniform(key, 3) < 0.55
    y, x, key = y[keep], x[keep], key[keep]
    r = 22 + 85 * uniform(key, 4).astype(np.float64) ** 2
    blobs = _outlines(y, x, r, key, _GLAND_SHAPE * 1.3)
    return blobs[_free(layout, blobs, wide)]


def _outlines(
    y: np.ndarray, x: np.ndarray, r: np.ndarray, key: np.ndarray, shape: np.ndarray
) -> Blobs:
    a = np.stack([uniform(key, 10 + k) for k in range(4)], axis=-1).reshape(-1, 4)
    p = np.stack([uniform(key, 20 + k) for k in range(4)], axis=-1).reshape(-1, 4)
    return Blobs(y, x, r, harmonics(a, p, shape))


def fat(layout: Layout, raster: Raster) -> np.ndarray | None:
    """Distance to the wall of the next cell on a raster: positive in fat cells, negative outside.

    Fat cells are the cells of a jittered lattice; each is there or not as a whole. None: no fat.
    """
    ys, xs = raster.axes()
    pitch = FAT_PITCH
    i0, i1 = math.floor(ys[0, 0] / pitch) - 2, math.floor(ys[-1, 0] / pitch) + 3
    j0, j1 = math.floor(xs[0, 0] / pitch) - 2, math.floor(xs[0, -1] / pitch) + 3
    lattice = Raster((i0 + 0.5) * pitch, (j0 + 0.5) * pitch, i1 - i0, j1 - j0, pitch, pitch, 0.0)
    amount = octaves(lattice, [(16384, 1.0, layout.salt(170)), (4096, 0.55, layout.salt(171))])
    iy, ix = np.arange(i0, i1)[:, None], np.arange(j0, j1)[None, :]
    key = lattice_hash(iy, ix, layout.salt(172))
    amount += 0.25 * (uniform(key, 5) - 0.5)
    cy = (iy + 0.5 + (uniform(key, 1) - 0.5) * np.float32(0.72)) * pitch
    cx = (ix + 0.5 + 0.5 * (iy & 1) + (uniform(key, 2) - 0.5) * np.float32(0.72)) * pitch
    # Lobules and lymph nodules sit in stroma, not in fat.
    flat_y, flat_x = cy.ravel(), cx.ravel()
    y0, x0, y1, x1 = (float(v) for v in (ys[0, 0], xs[0, 0], ys[-1, 0], xs[0, -1]))
    box = (y0 - 800, x0 - 800, y1 + 800, x1 + 800)
    present = (amount > 0.45).ravel() & (layout.depth_at(flat_y, flat_x) > 0)
    if not present.any():
        return None
    for blobs, clear in (
        (layout.lobules(box), 330.0),
        (layout.aggregates(box), 120.0),
        (layout.nests, 160.0),
    ):
        near = blobs.near(*box, clear + 400)
        if len(near) and present.any():
            where = np.flatnonzero(present)
            present[where] = near.distance(flat_y[where], flat_x[where]) > clear
    if not present.any():
        return None
    present = present.reshape(amount.shape)
    out = np.full((raster.ny, raster.nx), -200, np.float32)
    # Only samples whose lattice neighbourhood holds a fat cell can be in one or beside one.
    close = ndimage.binary_dilation(present, np.ones((3, 5), bool))
    bi = np.floor(ys[:, 0] / pitch).astype(np.intp) - i0
    bj = np.floor(xs[0] / pitch).astype(np.intp) - j0
    rows, columns = np.nonzero(close[bi][:, bj])
    y = (ys[rows, 0] - i0 * pitch).astype(np.float32)
    x = (xs[0, columns] - j0 * pitch).astype(np.float32)
    cy = (cy - i0 * pitch).astype(np.float32).ravel()
    cx = (cx - j0 * pitch).astype(np.float32).ravel()
    first = np.full(y.shape, FAR, np.float32)
    second = np.full(y.shape, FAR, np.float32)
    there = np.zeros(y.shape, bool)
    width = key.shape[1]
    fat_cell = present.ravel()
    for di in (-1, 0, 1):
        i = np.asarray(bi[rows] + di)
        j = np.floor(x / np.float32(pitch) - 0.5 * ((i + i0) & 1)).astype(np.intp)
        for dj in (-1, 0, 1):
            cell = i * width + (j + dj).clip(0, width - 1)
            d = (cy[cell] - y) ** 2 + (cx[cell] - x) ** 2
            closer = d < first
            second = np.where(closer, first, np.minimum(second, d))
            there = np.where(closer, fat_cell[cell], there)
            first = np.where(closer, d, first)
    near_r = np.sqrt(first)
    gap = (np.sqrt(second) - near_r) / 2
    gap = np.where(there, np.minimum(gap, 182 - near_r), gap)  # full cells have round corners
    out[rows, columns] = np.where(there, gap, -gap)
    return out

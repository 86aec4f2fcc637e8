"""Which nuclei live in a window: stroma, lymphoid aggregates, tumour nests and the walls of glands."""

from __future__ import annotations

import math

import numpy as np

from hrviz.geometry import Box
from hrviz.scenes.noise import Raster, lattice_hash, uniform
from hrviz.scenes.tissue import nuclei as cells
from hrviz.scenes.tissue.anatomy import EPITHELIUM, Anatomy, anatomy, block_raster, fat
from hrviz.scenes.tissue.layout import Layout

SPARSE_UP_TO = 32  # downsample: cells of the stroma are listed up to here, their mean is beyond
_BLOCK = 256  # lists of nuclei are made in blocks of 256 x 256 samples of 8 px


def populations(
    layout: Layout,
    known: Anatomy,
    exact: Raster,
    pixel: float,
    holes: np.ndarray | None,
    hole_raster: Raster,
) -> list[tuple[int, cells.Nuclei]]:
    """Every nucleus whose ellipse may reach into the block, by class of `TissueTruth.points`."""
    reach = 40.0
    y0, x0 = exact.y - pixel / 2 - reach, exact.x - pixel / 2 - reach
    side = exact.ny * pixel + 2 * reach
    box = (y0, x0, y0 + side, x0 + side)
    parts: list[tuple[int, cells.Nuclei]] = [
        (2, _lymphocytes(layout, known, box)),
        (1, _tumour_nuclei(layout, known, box)),
    ]
    if len(known.gland_list):
        parts.append((0, _rings(known)))
    if pixel <= SPARSE_UP_TO:
        parts.append((0, _stroma_cells(layout, known, pixel, box, holes, hole_raster)))
    return parts


def _stroma_cells(
    layout: Layout,
    known: Anatomy,
    pixel: float,
    box: tuple[float, float, float, float],
    holes: np.ndarray | None,
    hole_raster: Raster,
) -> cells.Nuclei:
    y, x, key = cells.candidates(box, 72.0, 0.34, layout.salt(190))
    crowd = 0.42 + 0.16 * known.at(known.density, y, x)
    crowd = crowd + 0.25 * (known.at(known.lobules, y, x) < -60)
    keep = uniform(key, 10) < crowd
    y, x, key = y[keep], x[keep], key[keep]
    keep = (known.at(known.tissue, y, x) < -20) & (known.at(known.glands, y, x) > 12)
    keep &= known.at(known.aggregates, y, x) > 5
    strand = known.at(known.septa, y, x) < -9 if known.septa is not None else False
    keep &= (known.at(known.nests, y, x) > 8) | strand
    keep &= known.at(known.vessels, y, x) > -6
    if holes is not None:
        i, j = hole_raster.nearest(y, x)
        keep &= holes[i, j] < 5
    y, x, key = y[keep], x[keep], key[keep]
    if pixel <= 16:
        i, j = known.raster.nearest(y, x)
        i, j = i.clip(1, known.raster.ny - 2), j.clip(1, known.raster.nx - 2)
        a = known.across
        angle = np.arctan2(a[i, j + 1] - a[i, j - 1], -(a[i + 1, j] - a[i - 1, j]))
    else:
        angle = np.zeros(len(y), np.float32)
    return cells.fibroblasts(y, x, key, angle.astype(np.float32))


def _near(grid: np.ndarray, below: float, raster: Raster) -> tuple[np.ndarray, Raster]:
    """Mask for `candidates`: nodes that may have a lattice cell with a distance below a value."""
    return grid < below + 45 + raster.step, raster


def _empty() -> cells.Nuclei:
    none, key = np.empty(0, np.float32), np.empty(0, np.uint32)
    return cells.Nuclei(np.empty(0), np.empty(0), none, none, none, none, none, key)


def _lymphocytes(
    layout: Layout, known: Anatomy, box: tuple[float, float, float, float]
) -> cells.Nuclei:
    if known.aggregates is None:
        return _empty()
    near = _near(known.aggregates, 160.0, known.raster)
    y, x, key = cells.candidates(box, 29.5, 0.25, layout.salt(191), near)
    s = known.at(known.aggregates, y, x)
    chance = np.where(s < 0, 0.97, 0.45 * np.exp(-np.maximum(s, 0) / 55) - 0.02)
    keep = (uniform(key, 10) < chance) & (known.at(known.tissue, y, x) < -20)
    keep &= (known.at(known.nests, y, x) > 6) & (known.at(known.glands, y, x) > 8)
    return cells.lymphocytes(y[keep], x[keep], key[keep])


def _tumour_nuclei(
    layout: Layout, known: Anatomy, box: tuple[float, float, float, float]
) -> cells.Nuclei:
    """Nuclei of tumour cells in the box."""
    if known.nests is None:
        return _empty()
    near = _near(known.nests, 0.0, known.raster)
    y, x, key = cells.candidates(box, 46.0, 0.24, layout.salt(192), near)
    keep = (known.at(known.nests, y, x) < -9) & (uniform(key, 10) < 0.95)
    keep &= known.at(known.septa, y, x) > 6
    keep &= known.at(known.tissue, y, x) < -20
    return cells.tumour_cells(y[keep], x[keep], key[keep])


def _rings(known: Anatomy) -> cells.Nuclei:
    """Epithelial nuclei around the glands, and flat myoepithelial ones outside."""
    glands = known.gland_list
    most = math.ceil(2 * math.pi * float(glands.r.max()) / 25.0)
    k = np.arange(most, dtype=np.float32)[None, :]
    salt = (glands.y.astype(np.int64) * 7919 + glands.x.astype(np.int64)).astype(np.uint32)
    key = lattice_hash(salt[:, None].astype(np.int64), k.astype(np.int64), 5)
    count = np.floor(2 * np.pi * glands.r / 25.0)[:, None].astype(np.float32)
    theta = (k + 0.55 * (uniform(key, 1) - 0.5)) / count * np.float32(2 * np.pi)
    unit = np.exp(1j * theta).astype(np.complex64)
    outline = glands.radius(unit)
    second = uniform(key, 2) < 0.22
    depth = np.where(second, 31, 17) + 8 * (uniform(key, 3) - 0.5)
    ok = (k < count) & (outline > depth + 8)
    offset = (unit * (outline - depth))[ok]
    of = np.nonzero(ok)[0]
    y, x = glands.y[of] + offset.imag, glands.x[of] + offset.real
    shift = known.at(known.warp, y, x) * np.float32(0.45)
    y, x, key, theta = y - shift.imag, x - shift.real, key[ok], theta[ok]
    s = known.at(known.glands, y, x)
    good = (s < -7) & (known.at(known.tissue, y, x) < -20)  # not inside a neighbour it merges with
    good &= s > -EPITHELIUM + 4
    y, x, key, theta = y[good], x[good], key[good], theta[good]
    a = 13.5 + 4.5 * uniform(key, 4)
    b = 8.8 + 2.6 * uniform(key, 5)
    dark = 0.42 + 0.28 * uniform(key, 6)
    return cells.Nuclei(y, x, a, b, theta, dark, np.full_like(a, 0.4), key)


def nuclei_in(layout: Layout, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Centres and classes of the nuclei of a box (see `TissueTruth.points`), block by block."""
    points, classes = [np.empty((0, 2))], [np.empty(0, np.uint8)]
    y0, x0, y1, x1 = box
    pixel, side = 8.0, _BLOCK * 8.0  # the grid of fields is the same for all pixels up to 8
    rows = range(math.floor(y0 / side), math.ceil(y1 / side)) if y1 > y0 and x1 > x0 else ()
    for row in rows:
        for column in range(math.floor(x0 / side), math.ceil(x1 / side)):
            known = anatomy(layout, row * side, column * side, side, pixel)
            if known is None:
                continue
            top, left = row * side, column * side
            exact = Raster(top + pixel / 2, left + pixel / 2, _BLOCK, _BLOCK, pixel, pixel, pixel)
            fat_raster, _ = block_raster(top, left, side, pixel, 72.0)
            holes = fat(layout, fat_raster)
            for kind, part in populations(layout, known, exact, pixel, holes, fat_raster):
                keep = (part.y >= max(y0, top)) & (part.y < min(y1, top + side))
                keep &= (part.x >= max(x0, left)) & (part.x < min(x1, left + side))
                points.append(np.stack([part.y[keep], part.x[keep]], axis=-1))
                classes.append(np.full(int(keep.sum()), kind, np.uint8))
    return np.concatenate(points), np.concatenate(classes)

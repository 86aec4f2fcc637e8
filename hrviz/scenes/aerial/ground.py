"""The ground of a window, pixel by pixel: fields, streets, lots, shores, water and woods."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrviz.scenes.aerial import lots
from hrviz.scenes.aerial.pictures import (
    LOT_TEXELS,
    ROAD,
    band,
    lay,
    look_up,
    lot_classes,
    lot_colours,
    paint_classes,
    paint_lot,
    road_from_afar,
    wood_tile,
)
from hrviz.scenes.aerial.world import CELL, FIELD, World
from hrviz.scenes.noise import Raster, lattice_hash, octaves, uniform

COARSE = 2.4  # m/px from which lots are small pictures instead of drawings
_CROPS = np.array(
    [(118, 132, 72), (96, 116, 62), (84, 104, 58), (138, 142, 84), (176, 160, 104), (190, 172, 118),
     (150, 126, 92), (128, 104, 80), (162, 148, 96), (108, 126, 66), (142, 118, 88), (124, 138, 80)],
    np.float32,
)  # fmt: skip
_HEDGE = np.array([62, 80, 46], np.float32)
_BANK = np.array([122, 128, 84], np.float32)
_SAND = np.array([188, 176, 142], np.float32)
_SHALLOW = np.array([84, 110, 104], np.float32)
_DEEP = np.array([38, 62, 78], np.float32)
_COUNTRY = np.array([148, 142, 130], np.float32)
_LINE = np.array([210, 208, 198], np.float32)


@dataclass
class Ground:
    """Fields of a window of pixels, all (ny, nx).

    Attributes
    ----------
    v, u : numpy.ndarray
        Lattice coordinates in metres from the first cell's corner.
    i, j : numpy.ndarray
        Rows and columns of the tables below.
    first : (int, int)
        The lattice index of their first cell.
    zone, variant, key : numpy.ndarray
        Tables of cells.
    water, wood : numpy.ndarray
        Distances to shore and wood edge, metres, negative inside.
    """

    v: np.ndarray
    u: np.ndarray
    i: np.ndarray
    j: np.ndarray
    first: tuple[int, int]
    zone: np.ndarray
    variant: np.ndarray
    key: np.ndarray
    water: np.ndarray
    wood: np.ndarray


def survey(world: World, raster: Raster) -> Ground:
    """All fields of a raster in metres."""
    dv, du = world.bend(raster)
    ys, xs = raster.axes()
    i0 = math.floor((ys[0, 0] + float(dv.min())) / CELL) - 1
    j0 = math.floor((xs[0, 0] + float(du.min())) / CELL) - 1
    v = (ys - i0 * CELL).astype(np.float32) + dv
    u = (xs - j0 * CELL).astype(np.float32) + du
    i, j = (v / np.float32(CELL)).astype(np.int32), (u / np.float32(CELL)).astype(np.int32)
    rows, columns = np.arange(i0, i0 + int(i.max()) + 2), np.arange(j0, j0 + int(j.max()) + 2)
    zone, variant, key = world.zones(rows[:, None], columns[None, :])
    return Ground(v, u, i, j, (i0, j0), zone, variant, key, world.water(raster), world.wood(raster))


def streets(world: World, g: Ground) -> tuple[np.ndarray, np.ndarray]:
    """Kinds of street (0 none, 1 country road, 2 wide) on the edges u = 0 and v = 0 of all cells."""
    i0, j0 = g.first
    rows = np.arange(i0, i0 + g.zone.shape[0])[:, None]
    columns = np.arange(j0, j0 + g.zone.shape[1])[None, :]
    zero = np.zeros((1, 1), np.int64)
    up = (uniform(lattice_hash(columns, zero, world.salt(80))) < 0.3).astype(int)
    along = (uniform(lattice_hash(rows, zero, world.salt(81))) < 0.3).astype(int)
    town = g.zone != FIELD
    left = np.where(town | np.roll(town, 1, axis=1), 2, np.broadcast_to(up, town.shape))
    top = np.where(town | np.roll(town, 1, axis=0), 2, np.broadcast_to(along, town.shape))
    return left, top


def paint(world: World, g: Ground, raster: Raster, cars: float) -> np.ndarray:
    """Colours of the ground without streets' markings, water and woods, float32 (3, ny, nx)."""
    soft = raster.box
    town = g.zone[g.i, g.j]
    if (town == FIELD).any():
        picture = _fields(world, g, raster)
    else:
        picture = np.zeros((3, *town.shape), np.float32)
    if soft < COARSE:
        for i, j in sorted({(int(a), int(b)) for a, b in _unique(g)}):
            if g.zone[i, j] == FIELD:
                continue
            here = (g.i == i) & (g.j == j)
            where = (_extent(here.any(axis=1)), _extent(here.any(axis=0)))
            part = picture[(slice(None), *where)]
            drawn = part.copy()
            v, u = g.v[where] - np.float32(i * CELL), g.u[where] - np.float32(j * CELL)
            paint_lot(drawn, v, u, int(g.zone[i, j]), int(g.variant[i, j]), soft)
            part[:, here[where]] = drawn[:, here[where]]
    else:
        here = town != FIELD
        if here.any():
            number = town[here] * 100 + g.variant[g.i, g.j][here]
            local = (
                np.stack([g.v[here], g.u[here]]) % np.float32(CELL) * np.float32(LOT_TEXELS / CELL)
            )
            picture[:, here] = lot_colours(number, local[0], local[1], soft, cars)
    return picture


def _unique(g: Ground) -> np.ndarray:
    width = g.zone.shape[1]
    number = np.unique(g.i * width + g.j)
    return np.stack([number // width, number % width], axis=-1)


def _extent(there: np.ndarray) -> slice:
    k = np.flatnonzero(there)
    return slice(int(k[0]), int(k[-1]) + 1)


def _fields(world: World, g: Ground, raster: Raster) -> np.ndarray:
    """Crops in parcels; four cells in a square may be one field."""
    soft = raster.box
    i0, j0 = g.first
    rows = np.arange(i0, i0 + g.zone.shape[0])[:, None]
    columns = np.arange(j0, j0 + g.zone.shape[1])[None, :]
    quad = lattice_hash(rows >> 1, columns >> 1, world.salt(61))
    merged = uniform(quad, 1) < 0.35
    key = np.where(merged, quad, g.key)
    count = np.where(merged, 1, 1 + (uniform(key, 2) * 3.2).astype(int))
    along_v = uniform(key, 3) < 0.5
    v, u = g.v % np.float32(CELL), g.u % np.float32(CELL)
    here = (g.i, g.j)
    n = count[here]
    cross = np.where(along_v[here], v, u)
    width = np.float32(CELL) / n
    parcel = np.minimum((cross / width).astype(np.int32), n - 1)
    pk = (key[here] + (parcel.astype(np.uint32) * np.uint32(0x9E3779B9))).astype(np.uint32)
    colour = _CROPS[(uniform(pk, 4) * len(_CROPS)).astype(np.int32)]
    picture = np.moveaxis(colour, -1, 0).copy()
    # Rows of crops, and the pale tracks of tractors through some.
    period = 2.5 + 4.5 * uniform(pk, 5)
    rowed = np.where(uniform(pk, 6) < 0.5, v, u)
    fade = np.sinc(soft / period)
    picture *= 1 + 0.06 * fade * np.sin(rowed * (2 * np.pi / period))
    track = np.abs(rowed % np.float32(24) - 12)
    picture *= 1 - 0.16 * band(np.abs(track - 0.9), 0.3, soft) * (uniform(pk, 7) < 0.6)
    patchy = octaves(raster, world.parts(((170.0, 0.045, 62), (60.0, 0.035, 63), (18.0, 0.03, 64))))
    picture *= 1 + patchy
    # Between parcels grass, around cells hedges.
    inner = np.minimum(cross - parcel * width, (parcel + 1) * width - cross)
    at_rim = ((parcel == 0) & (cross < width / 2)) | (
        (parcel == n - 1) & (cross > CELL - width / 2)
    )
    lay(picture, band(np.where(at_rim, 999, inner), 1.2, soft), _BANK)
    odd_v, odd_u = (g.i + i0) & 1, (g.j + j0) & 1
    one = merged[here]
    rim = np.minimum(
        np.where(one & (odd_v == 0), v, np.where(one, CELL - v, np.minimum(v, CELL - v))),
        np.where(one & (odd_u == 0), u, np.where(one, CELL - u, np.minimum(u, CELL - u))),
    )
    hedge = octaves(raster, world.parts(((90.0, 1.3, 65), (16.0, 1.0, 66), (6.0, 0.6, 67))))
    leaf = octaves(raster, world.parts(((2.6, 0.7, 70), (1.1, 0.6, 71))))
    lay(picture, band(rim, 7.0, soft), _BANK)
    thick = np.clip(0.3 + hedge, 0, 3) * (hedge > -0.3)
    off = np.abs(rim - 4.5) + 0.35 * leaf
    cover = np.clip((thick - off) / max(soft, 0.5) + 0.5, 0, 1) * np.minimum(1, thick)
    lay(picture, cover, _HEDGE[:, None, None] * (1 + 0.22 * leaf))
    return picture


def paint_streets(
    picture: np.ndarray, world: World, g: Ground, raster: Raster, cars: float
) -> None:
    """Streets between cells with pavements and lines, in place."""
    soft, cell = raster.box, np.float32(CELL)
    left, top = streets(world, g)
    for position, lines, index in ((g.u, left, 1), (g.v, top, 0)):
        nearest = np.rint(position / cell).astype(np.int32)
        d = np.abs(position - nearest * cell)
        for where in _strips(nearest, d < 13 + soft, soft):
            near, other = nearest[where], (g.i, g.j)[1 - index][where]
            if index == 1:
                kind = lines[other, near.clip(0, lines.shape[1] - 1)]
            else:
                kind = lines[near.clip(0, lines.shape[0] - 1), other]
            if soft >= COARSE:  # the pictures of lots have theirs
                kind = kind * (g.zone[g.i, g.j] == FIELD)
            part = picture[(slice(None), *where)]
            along = (g.v if index == 1 else g.u)[where]
            _street(part, kind, d[where], position[where], along, soft, cars)
    if soft >= COARSE:
        return
    # Crossings are asphalt on both sides.
    du = np.abs(g.u - np.rint(g.u / cell) * cell)
    dv = np.abs(g.v - np.rint(g.v / cell) * cell)
    here = (du < 9) & (dv < 9)
    if not here.any():
        return
    i = np.rint(g.v[here] / cell).astype(np.int32).clip(0, left.shape[0] - 1)
    j = np.rint(g.u[here] / cell).astype(np.int32).clip(0, left.shape[1] - 1)
    both = (left[i, j] == 2) & (top[i, j] == 2)
    cover = band(du[here], 7.0, soft) * band(dv[here], 7.0, soft) * both
    part = picture[:, here]
    lay(part, cover, ROAD)
    picture[:, here] = part


def _strips(nearest: np.ndarray, near: np.ndarray, soft: float) -> list[tuple[slice, slice]]:
    """Windows around the lines of the lattice; everything at once where pixels are large."""
    if soft >= COARSE:
        return [(slice(None), slice(None))]
    out = []
    for k in range(int(nearest.min()), int(nearest.max()) + 1):
        here = (nearest == k) & near
        if here.any():
            out.append((_extent(here.any(axis=1)), _extent(here.any(axis=0))))
    return out


def _street(
    picture: np.ndarray, kind: np.ndarray, d: np.ndarray, position: np.ndarray, along: np.ndarray,
    soft: float, cars: float,
) -> None:  # fmt: skip
    """One street: `d` from its middle, `along` it; `kind` is 0 where there is none."""
    wide = kind == 2
    lay(picture, band(d, 10.0, soft) * wide, np.array(lots.PAVING, np.float32))
    asphalt = road_from_afar(cars) if soft >= COARSE else ROAD
    lay(picture, band(d, 7.0, soft) * wide, asphalt)
    lay(picture, band(d, 3.0, soft) * (kind == 1), _COUNTRY)
    if soft >= COARSE:
        return
    off = np.abs(along % np.float32(CELL) - CELL / 2)  # from the middle between crossings
    clear = wide & (off < CELL / 2 - 12)
    dash = np.clip((2 - np.abs(along % np.float32(10) - 5)) / soft + 0.5, 0, min(1, 4 / soft))
    lay(picture, band(d, 0.12, soft) * clear, _LINE)
    lay(picture, band(np.abs(d - 3.5), 0.07, soft) * clear * dash, _LINE)
    stripe = (0.3 - np.abs(position % np.float32(1.2) - 0.6)) / soft + 0.5
    stripes = 0.8 * (np.clip(stripe, 0, 1) if soft < 0.6 else 0.5)
    stop = band(np.abs(off - (CELL / 2 - 11.5)), 1.5, soft) * (d < 7) * wide
    lay(picture, stop * stripes, _LINE)


def paint_woods(
    picture: np.ndarray, world: World, g: Ground, raster: Raster, leaves: np.ndarray
) -> np.ndarray:
    """Woods in place; returns their cover."""
    soft = raster.box
    cover = np.clip(0.5 - (g.wood + 1.3 * leaves) / max(soft, 1.5), 0, 1)
    if cover.max() <= 0:
        return cover
    ys, xs = raster.axes()
    y, x = np.broadcast_arrays((ys / 0.5) % 512, (xs / 0.5) % 512)
    crowns = look_up(wood_tile(), math.log2(max(soft, 0.25) / 0.5), y, x)
    tone = octaves(raster, world.parts(((420.0, 0.07, 68), (90.0, 0.06, 69))))
    shade = np.clip(0.5 - (g.wood - 4) / max(soft, 4.0), 0, 1) - cover
    lay(picture, 0.5 * np.clip(shade, 0, 1), np.array([40, 52, 40], np.float32))
    leafy = np.float32(0.05) * leaves if soft < 1 else np.float32(0)
    lay(picture, cover, crowns * (np.float32(1.08) + tone + leafy))
    return cover


def paint_water(picture: np.ndarray, world: World, g: Ground, raster: Raster) -> np.ndarray:
    """Banks, shallows and water in place, with bridges where wide streets cross; returns cover."""
    soft = raster.box
    w = g.water
    if w.min() > 60:
        return np.zeros(w.shape, np.float32)
    rough = octaves(raster, world.parts(((40.0, 2.6, 90), (13.0, 1.0, 91))))
    dry = picture.copy()
    lay(picture, np.clip(0.5 - (w - 20 + rough) / max(soft, 6.0), 0, 1), _BANK)
    lay(picture, np.clip(0.5 - (w - 5 + rough) / max(soft, 3.0), 0, 1), _SAND)
    cover = np.clip(0.5 - w / max(soft, 1.0), 0, 1)
    depth = np.clip(-w / 45, 0, 1)
    colour = _SHALLOW[:, None, None] + depth * (_DEEP - _SHALLOW)[:, None, None]
    swell = octaves(raster, world.parts(((26.0, 0.03, 92), (9.0, 0.035, 93), (3.5, 0.035, 94),
                                         (1.6, 0.03, 95), (300.0, 0.05, 96))))  # fmt: skip
    lay(picture, cover, colour * (1 + swell))
    bridge = _bridges(world, g, soft)
    if bridge is not None:
        near = np.clip(0.5 - (w - 24) / 6, 0, 1)
        deck, shadow = bridge
        for c in range(3):
            picture[c] *= 1 - 0.5 * np.clip(shadow - deck, 0, 1) * cover
        lay(picture, deck * near, dry)
        cover = cover * (1 - deck)
    return cover


def _bridges(world: World, g: Ground, soft: float) -> tuple[np.ndarray, np.ndarray] | None:
    left, top = streets(world, g)
    deck = np.zeros(g.v.shape, np.float32)
    shadow = np.zeros(g.v.shape, np.float32)
    zero = np.zeros((1, 1), np.int64)
    for position, lines, index in ((g.u, left, 1), (g.v, top, 0)):
        nearest = np.rint(position / np.float32(CELL)).astype(np.int32)
        number = nearest + g.first[index]
        spans = uniform(lattice_hash(number, zero, world.salt(82 + index))) < 0.34
        other = (g.i, g.j)[1 - index]
        if index == 1:
            kind = lines[other, nearest.clip(0, lines.shape[1] - 1)]
        else:
            kind = lines[nearest.clip(0, lines.shape[0] - 1), other]
        d = position - nearest * np.float32(CELL)
        there = spans & (kind > 0)
        half = np.where(kind == 2, 10.0, 4.0)
        part = np.clip((half - np.abs(d)) / np.float32(soft) + 0.5, 0, 1) * there
        part = part * np.minimum(1, 2 * half / soft)
        np.maximum(deck, part, out=deck)
        cast = np.clip((half - np.abs(d - 5)) / np.float32(max(soft, 1)) + 0.5, 0, 1) * there
        np.maximum(shadow, cast * np.minimum(1, 2 * half / soft), out=shadow)
    return (deck, shadow) if deck.max() > 0 else None


def town_tint(world: World, raster: Raster) -> np.ndarray:
    """Slow changes of tone over the land, a factor around 1."""
    return 1 + octaves(raster, world.parts(((1500.0, 0.022, 97), (350.0, 0.018, 98))))


def class_raster(world: World, raster: Raster) -> np.ndarray:
    """Mask classes of the ground at the points of a raster in metres, uint8; without buildings
    where points are closer than `COARSE`.
    """
    g = survey(world, raster)
    out = np.full(g.v.shape, lots.GREEN, np.uint8)
    near = max(raster.step, raster.step_x) < COARSE
    v, u = g.v % np.float32(CELL), g.u % np.float32(CELL)
    number = g.zone[g.i, g.j] * 100 + g.variant[g.i, g.j]
    for k in np.unique(number[g.zone[g.i, g.j] != FIELD]):
        here = number == k
        if near:
            part = np.zeros((int(here.sum()), 1), np.uint8)
            paint_classes(part, v[here][:, None], u[here][:, None], int(k) // 100, int(k) % 100)
            out[here] = part[:, 0]
        else:
            table = lot_classes(int(k) // 100, int(k) % 100)
            scale = np.float32(len(table) / CELL)
            out[here] = table[(v[here] * scale).astype(int), (u[here] * scale).astype(int)]
    left, top = streets(world, g)
    cell = np.float32(CELL)
    road = np.zeros(out.shape, bool)
    for position, lines, index in ((g.u, left, 1), (g.v, top, 0)):
        nearest = np.rint(position / cell).astype(np.int32)
        d = np.abs(position - nearest * cell)
        if index == 1:
            kind = lines[g.i, nearest.clip(0, lines.shape[1] - 1)]
        else:
            kind = lines[nearest.clip(0, lines.shape[0] - 1), g.j]
        out[(d < 10) & (kind == 2)] = 0
        road |= (d < np.where(kind == 2, 7, 3)) & (kind > 0)
    out[road] = lots.ROAD
    dry = out.copy()
    out[g.wood < 0] = lots.WOOD
    out[g.water < 20] = lots.GREEN
    out[g.water < 0] = lots.WATER
    bridge = _bridges(world, g, 1e-3)
    if bridge is not None:
        deck = (bridge[0] > 0.5) & (g.water < 24)
        out[deck] = np.where(dry[deck] == lots.ROAD, lots.ROAD, 0)
    return out

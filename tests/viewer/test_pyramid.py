"""The pyramid offered to the viewer: the file's own levels, each covered exactly once."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrviz.image.readers.base import Level
from hrviz.viewer.pyramid import GAP, ImagePyramid, TileError, near


def stored(height: int, width: int, factors: tuple[float, ...], tile: int) -> list[Level]:
    return [
        Level(max(1, round(height / f)), max(1, round(width / f)), f, (tile, tile)) for f in factors
    ]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9000),
    width=st.integers(1, 9000),
    factors=st.sampled_from([(1.0,), (1.0, 2.0), (1.0, 4.0003, 16.002), (1.0, 3.0, 32.0)]),
    tile=st.sampled_from([100, 240, 256, 512, 1000]),
    native=st.booleans(),
)
def test_every_level_covers_the_image_exactly_once(height, width, factors, tile, native):
    levels = stored(height, width, factors, tile)
    pyramid = ImagePyramid(height, width, levels, [native] * len(levels))
    assert pyramid.grid(0) == (1, 1)
    assert pyramid.levels[-1].downsample == 1
    for z, level in enumerate(pyramid.levels):
        rows, columns = pyramid.grid(z)
        ys = [pyramid.window(z, 0, y)[:2] for y in range(rows)]
        xs = [pyramid.window(z, x, 0)[2:] for x in range(columns)]
        for ends, whole in ((ys, height), (xs, width)):
            assert ends[0][0] == 0 and ends[-1][1] == whole
            assert all(a[1] == b[0] for a, b in pairwise(ends))
        h, w = pyramid.size(z, columns - 1, rows - 1)
        assert 1 <= h <= level.tile[0] and 1 <= w <= level.tile[1]
    steps = [a.downsample / b.downsample for a, b in pairwise(pyramid.levels)]
    assert all(1 < step <= GAP for step in steps)


def test_the_files_own_levels_and_grids_are_offered():
    levels = stored(30_000, 40_000, (1.0, 4.0, 16.0), 240)
    pyramid = ImagePyramid(30_000, 40_000, levels, [True, True, False])
    own = {
        level.stored: (level.downsample, level.tile)
        for level in pyramid.levels
        if level.stored is not None
    }
    assert own == {0: (1.0, (240, 240)), 1: (4.0, (240, 240))}
    # between them levels that are made, so that a view never asks for 16 times what it shows
    assert [level.downsample for level in pyramid.levels][::-1] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert pyramid.levels[-5].tile == (480, 480)  # of whole stored tiles
    described = pyramid.describe()
    assert described[-1] == [1.0, 240, 240, math.ceil(40_000 / 240), math.ceil(30_000 / 240)]


@pytest.mark.parametrize(
    ("side", "made"),
    [(64, 512), (100, 500), (240, 480), (512, 512), (1024, 1024), (5000, 512), (1, 512)],
)
def test_made_tiles_are_near_512(side, made):
    assert near(side) == made


@pytest.mark.parametrize("at", [(-1, 0, 0), (99, 0, 0), (0, 1, 0), (0, 0, -1)])
def test_outside_is_refused(at):
    with pytest.raises(TileError, match="does not exist"):
        ImagePyramid(3000, 2000, stored(3000, 2000, (1.0, 2.0), 512), [False, False]).window(*at)

"""The painter: coverage against brute force, at every scale, and stamps that fit across blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import polygon2mask

from hrviz.scenes._paint import (
    WRITABLE,
    Canvas,
    disc,
    ellipse,
    line,
    polygon,
    rectangle,
    text,
    text_strokes,
    turned,
)

STAR = [(-40.0, 0.0), (-10.0, 12.0), (-8.0, 44.0), (14.0, 18.0), (38.0, 26.0), (20.0, -6.0),
        (30.0, -40.0), (0.0, -20.0), (-24.0, -34.0), (-16.0, -10.0)]  # fmt: skip


def axes(n=120, step=1.0):
    a = ((np.arange(n) + 0.5) * step - n * step / 2).astype(np.float32)
    return a[:, None], a[None]


def test_polygon_is_inside_where_skimage_says():
    v, u = axes()
    inside = polygon(v, u, STAR) < 0
    corners = np.array(STAR) + 60 - 0.5  # pixel (i, j) has its centre at i + 0.5
    assert np.mean(inside != polygon2mask((120, 120), corners)) < 0.002


@pytest.mark.parametrize(
    "shape",
    [
        lambda v, u: disc(v, u, 31),
        lambda v, u: rectangle(v, u, 50, 70),
        lambda v, u: rectangle(v, u, 50, 70, 12),
        lambda v, u: polygon(v, u, STAR),
        lambda v, u: line(v, u, [(-40, -30), (0, 30), (35, -10)], 9),
        lambda v, u: text(v, u, "70", 60),
    ],
)
def test_distances_are_euclidean(shape):
    """Outside a shape: against the distance transform of its own inside, on a fine raster."""
    v, u = axes(480, 0.25)
    d = shape(v, u)
    expected = ndimage.distance_transform_edt(d > 0) * 0.25
    outside = (d > 1) & (d < 20)
    assert np.abs(d - expected)[outside].max() < 0.4


def test_ellipse_near_its_outline():
    v, u = axes(480, 0.25)
    inside = (v / 20) ** 2 + (u / 45) ** 2 < 1
    d = ellipse(v, u, 20, 45)
    assert np.array_equal(d < 0, inside)
    expected = ndimage.distance_transform_edt(~inside) * 0.25
    near = (d > 0.5) & (d < 3)
    assert np.abs(d - expected)[near].max() < 0.5


def test_turning_is_clockwise():
    v, u = turned(np.float32([[0.0]]), np.float32([[1.0]]), math.pi / 2)
    # What lies to the right is, for an object turned clockwise by 90 degrees, above.
    assert (round(float(v[0, 0])), round(float(u[0, 0]))) == (-1, 0)


def scene(canvas):
    canvas.stamp(
        (61.3, 90.7), (-32, -32, 32, 32), lambda k: k.fill(disc(k.v, k.u, 31), (200, 40, 30))
    )
    canvas.stamp(
        (150.2, 70.1), (-46, -46, 40, 46), lambda k: k.fill(polygon(k.v, k.u, STAR), (20, 80, 160))
    )
    canvas.stamp(
        (180.0, 180.0), (-30, -60, 30, 60), lambda k: k.fill(text(k.v, k.u, "78", 50), (0, 0, 0))
    )
    canvas.stamp(
        (60.4, 190.6), (-3, -3, 3, 3), lambda k: k.fill(rectangle(k.v, k.u, 5, 5), (255, 255, 0))
    )
    return canvas


@pytest.mark.parametrize("pixel", [2, 4, 8, 16, 64, 256])
def test_coarse_pixels_are_area_averages(pixel):
    n = 256
    fine = scene(Canvas.block(0, 0, n, 1, (220, 225, 230))).rgb
    coarse = scene(Canvas.block(0, 0, n // pixel, pixel, (220, 225, 230))).rgb
    mean = fine.reshape(3, n // pixel, pixel, n // pixel, pixel).mean(axis=(2, 4))
    assert np.abs(coarse - mean).mean() < 0.7
    # What overlaps within one pixel is mixed as if it lay there by chance.
    assert np.abs((coarse - mean).mean(axis=(1, 2))).max() < (0.4 if pixel < 256 else 1.0)


def test_a_speck_keeps_its_light_wherever_it_falls():
    """An object much smaller than a pixel adds area times colour, spread over what it touches."""
    for y, x in ((100.0, 100.0), (128.0, 128.0), (127.9, 100.0), (9.0, 246.0)):
        canvas = Canvas.block(0, 0, 4, 64, (0, 0, 0))
        canvas.stamp(
            (y, x), (-6, -6, 6, 6), lambda k: k.fill(rectangle(k.v, k.u, 10, 10), (255, 0, 128))
        )
        expected = 255 * 10 * 10 / 64**2
        assert canvas.rgb[0].sum() == pytest.approx(expected, rel=0.06)
        assert canvas.rgb[2].sum() == pytest.approx(expected * 128 / 255, rel=0.06)


def test_blocks_fit_together():
    whole = scene(Canvas.block(0, 0, 128, 2, (220, 225, 230))).rgb
    for i in (0, 64):
        for j in (0, 64):
            part = scene(Canvas.block(2 * i, 2 * j, 64, 2, (220, 225, 230))).rgb
            assert np.abs(part - whole[:, i : i + 64, j : j + 64]).max() < 1e-2


def test_opacity_soft_edges_and_rounding():
    canvas = Canvas.block(0, 0, 40, 1, (100, 100, 100))
    canvas.stamp(
        (20, 20), (-18, -18, 18, 18), lambda k: k.fill(disc(k.v, k.u, 10), (200, 0, 100), 0.5)
    )
    assert tuple(canvas.pixels()[20, 20]) == (150, 50, 100)
    blurred = Canvas.block(0, 0, 40, 1, (0, 0, 0))
    blurred.stamp(
        (20, 20), (-18, -18, 18, 18), lambda k: k.fill(disc(k.v, k.u, 10), (255,) * 3, soft=8)
    )
    profile = blurred.rgb[0, 20, 20:]
    assert profile[6] > 200 and 90 < profile[9] < 170 and profile[13] < 60
    assert (np.diff(profile) <= 0).all()


def test_every_letter_has_the_height_asked_for():
    v, u = axes(400, 0.25)
    for letter in WRITABLE.strip():
        rows, columns = np.nonzero(text(v, u, letter, 40) < 0)
        assert (rows.max() - rows.min() + 1) * 0.25 == pytest.approx(40, abs=3.5), letter
        _, width = text_strokes(letter)
        assert (columns.max() - columns.min() + 1) * 0.25 <= width * 40 + 0.5

"""Slices of a picture: the published numbers, a pixel-by-pixel oracle, and what tiles share and own."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import image_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.baselines.slicing import Grid, Plan, automatic, count, starts

few = settings(max_examples=60, deadline=None, derandomize=True)


def sliced(height: int, width: int, tile: int, ratio: float) -> list[tuple[int, int, int, int]]:
    """By walking over the picture, as the rule is told: step, and shift back at the border."""
    overlap = int(ratio * tile)

    def line(length: int) -> list[tuple[int, int]]:
        out, at = [], 0
        while True:
            end = at + tile
            if end >= length:
                return [*out, (max(0, length - tile), length)]
            out.append((at, end))
            at = end - overlap

    return [(y0, x0, y1, x1) for y0, y1 in line(height) for x0, x1 in line(width)]


def grid(height: float, width: float, tile: int, ratio: float) -> Grid:
    return Grid.of((height, width), (tile, tile), (int(ratio * tile),) * 2)


@pytest.mark.parametrize(
    ("height", "width", "tile", "ratio", "number", "share"),
    [
        (10, 10, 4, 0.25, 9, 1.44),
        (512, 640, 256, 0.2, 9, 1.80),
        (2160, 3840, 512, 0.2, 60, 1.896),
        (4096, 4096, 512, 0.2, 100, 1.5625),
        (4096, 4096, 512, 0.0, 64, 1.0),
    ],
)
def test_the_published_numbers(
    height: int, width: int, tile: int, ratio: float, number: int, share: float
) -> None:
    found = grid(height, width, tile, ratio)
    assert len(found.boxes) == number
    assert found.ratio == pytest.approx(share, abs=5e-4)
    assert found.boxes.tolist() == [list(map(float, b)) for b in sliced(height, width, tile, ratio)]


def test_where_tiles_start_and_how_often_they_cover() -> None:
    assert starts(10, 4, 1).tolist() == [0, 3, 6]
    assert starts(640, 256, 51).tolist() == [0, 205, 384]
    cover = np.zeros(10, int)
    for at in starts(10, 4, 1).astype(int):
        cover[at : at + 4] += 1
    assert cover.tolist() == [1, 1, 1, 2, 1, 1, 2, 1, 1, 1]
    # tiles need not be square: the survey's table
    assert count(1024, 512, 0) * count(768, 384, 0) == 4
    assert count(1024, 256, 0) * count(768, 192, 0) == 16
    # smaller than a tile: one, clipped
    assert Grid.of((30, 700), (512, 512), (102, 102)).boxes.tolist() == [[0, 0, 30, 512], [0, 188, 30, 700]]  # fmt: skip


@few
@given(st.integers(1, 3000), st.integers(2, 800), st.floats(0, 0.75))
def test_the_count_is_that_of_walking(length: int, tile: int, ratio: float) -> None:
    overlap = int(ratio * tile)
    walked = sliced(1, length, tile, ratio)
    assert count(length, tile, overlap) == len(walked)
    assert starts(length, tile, overlap).tolist() == [x0 for _, x0, _, _ in walked]


def test_automatic_slices() -> None:
    assert automatic(1080, 1920) == ((1080, 960), (864, 768))
    assert automatic(4096, 4096) == ((2048, 2048), (819, 819))
    assert automatic(640, 640) == ((640, 640), (0, 0))  # low: one slice
    assert automatic(1, 2) == ((1, 2), (0, 0))
    assert automatic(1920, 1080) == ((960, 1080), (768, 864))
    assert automatic(6380, 6380) == ((1595, 1595), (638, 638))  # ultra-high
    assert min(automatic(1, 2**25)[0]) == 1  # never thinner than a pixel


@few
@given(st.data())
def test_what_tiles_share_and_own_pixel_by_pixel(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    tile, ratio = data.draw(st.integers(3, 25)), data.draw(st.sampled_from([0, 0.2, 0.5, 0.7]))
    found = grid(height, width, tile, ratio)
    boxes = found.boxes.astype(int)
    cover = np.zeros((height, width), int)
    for y0, x0, y1, x1 in boxes:
        cover[y0:y1, x0:x1] += 1
    assert cover.min() >= 1
    assert found.ratio == pytest.approx(cover.mean())
    shared = [(cover[y0:y1, x0:x1] > 1).mean() for y0, x0, y1, x1 in boxes]
    # a pixel is alone where no other tile reaches it along y and none along x
    if len(found.rows) == 1 or len(found.columns) == 1:
        np.testing.assert_allclose(found.shared, shared, atol=1e-9)
    assert (found.shared >= np.array(shared) - 1e-9).all()
    points = np.argwhere(cover) + 0.5
    owners = found.owners(points)
    inside = boxes[owners]
    assert (points >= inside[:, :2]).all()
    assert (points < inside[:, 2:]).all()
    own = found.own
    assert ((own[:, 2:] - own[:, :2]).prod(1)).sum() == pytest.approx(height * width)
    mine = own[owners]
    assert (points >= mine[:, :2]).all()
    assert (points < mine[:, 2:]).all()


@few
@given(st.integers(0, 10_000), st.sampled_from([0, 0.25, 0.5]))
def test_cut_objects_are_those_that_no_tile_holds(seed: int, ratio: float) -> None:
    found = grid(200, 170, 40, ratio)
    rng = np.random.default_rng(seed)
    corner = rng.random((50, 2)) * (180, 150)
    boxes = np.concatenate([corner, np.minimum(corner + rng.random((50, 2)) * 60, (200, 170))], 1)
    whole = [
        any((b[:2] >= t[:2]).all() and (b[2:] <= t[2:]).all() for t in found.boxes) for b in boxes
    ]
    assert found.cut(boxes).tolist() == [not w for w in whole]


def test_distance_to_a_seam() -> None:
    found = Grid.of((8, 20), (8, 10), (0, 0))  # one border, at x = 10
    distance = found.seam_distance((np.arange(8) + 0.5, np.arange(20) + 0.5))
    np.testing.assert_allclose(distance, np.tile(np.abs(np.arange(20) + 0.5 - 10), (8, 1)))
    alone = Grid.of((8, 8), (8, 8), (0, 0))
    assert np.isinf(alone.seam_distance((np.arange(8), np.arange(8)))).all()


# ------------------------------------------------------------------ on a view
def test_a_plan_by_the_published_rule_and_on_whole_pixels_of_an_answer() -> None:
    view = image_of(np.zeros((640, 768, 1), np.uint8)).view((100, 50, 612, 690))
    plan = Plan.of(view, 256, 1, 0.2, whole=1)
    assert sorted(set(plan.boxes[:, 1])) == [50, 255, 434]
    assert sorted(set(plan.boxes[:, 0])) == [100, 305, 356]
    answers = Plan.of(view, 256, 1, 0.2)
    assert sorted(set(answers.boxes[:, 1])) == [50, 254, 434]
    at_two = Plan.of(view, 128, 2, 0.25, whole=1)
    assert sorted(set(at_two.boxes[:, 1])) == [50, 242, 434]


def test_automatic_slices_of_a_view_follow_its_size_at_the_downsample() -> None:
    view = image_of(np.zeros((1080, 1920, 1), np.uint8)).view()
    plan = Plan.of(view, 64, 1, 0.0, whole=1, slices="automatic")
    assert plan.patch == (1080, 960)
    assert plan.boxes[:, 1].tolist() == [0, 192, 384, 576, 768, 960]
    halved = Plan.of(view, 64, 2, 0.5, whole=1, slices="automatic")
    assert halved.patch == (540, 960)  # 518,400 px: one slice
    assert len(halved.boxes) == 1


def test_automatic_slices_beyond_a_network_are_refused() -> None:
    view = image_of(np.zeros((10, 10, 1), np.uint8)).view()
    view.box = Box(0, 0, 100_000, 100_000)
    with pytest.raises(HrvizError, match=r"at most 4 Mpx.*choose"):
        Plan.of(view, 64, 2, 0.0, slices="automatic")

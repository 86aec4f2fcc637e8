"""Where patches lie, how they are cut at borders, and that nothing beyond the region is read."""

from __future__ import annotations

import numpy as np
import pytest

import hrviz
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patches import box_of, cut_out, origins
from hrviz.methods.zooming.sheets import BAR, GAP, INK, LINE, RED, sheet


def test_origins_are_those_of_the_library() -> None:
    """The traffic network on 960 x 1280 px: without padding, receptive field 9, pool 8."""
    at = origins((35, 47), (288, 384), (960, 1280), 100, 9)
    assert at.shape == (35, 47, 2)
    for (row, column), expected in {
        (0, 0): (-22, -22), (17, 23): (430, 590), (34, 46): (882, 1202)
    }.items():  # fmt: skip
        assert tuple(at[row, column]) == expected


def test_padding_networks_have_their_positions_in_the_middle_of_equal_parts() -> None:
    at = origins((4, 8), (32, 64), (1024, 2048), (64, 32))
    middle = (np.arange(4) + 0.5) * 1024 / 4
    np.testing.assert_array_equal(at[:, 0, 0] + 32, middle)
    np.testing.assert_array_equal(at[0, :, 1] + 16, (np.arange(8) + 0.5) * 2048 / 8)


def test_the_middle_position_of_an_odd_map_is_the_middle_of_the_image() -> None:
    """Whatever the receptive field: both mappings are symmetric."""
    for field in (0, 9, 21):
        at = origins((35, 35), (288, 288), (961, 961), 101, field)
        assert tuple(at[17, 17] + 50.5) == pytest.approx((480.5, 480.5), abs=0.51)


@pytest.mark.parametrize("origin", [(-20, -30), (80, 70), (30, -200), (10, 10)])
def test_a_patch_is_zero_beyond_the_region_and_not_read_there(origin: tuple[int, int]) -> None:
    image = hrviz.open("scene:tissue?size=300x200")
    view = image.view((50, 100, 150, 220))
    growing = Growing(view)
    found, beyond = cut_out(growing, origin, 64)
    whole = np.zeros((100 + 400, 120 + 400, 3), np.float32)
    whole[200:300, 200:320] = image.rgb((50, 100, 150, 220)) / 255
    y, x = origin[0] + 200, origin[1] + 200
    expected = whole[y : y + 64, x : x + 64]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    inside = box_of(view.box, origin, 64).intersect(view.box).area
    assert beyond == pytest.approx(1 - inside / 64**2)
    assert growing.pending() == inside


def test_a_contact_sheet_ranks_bars_by_weight_and_shows_no_more_than_fit() -> None:
    patches = [np.full((20, 20, 3), 0.5, np.float32)] * 30
    shown = sheet(patches, [1.0, 0.5, 0.0, -0.25] + [0.1] * 26, 64, ["w"] * 30).array
    across, step = 6, 64 + GAP
    assert shown.shape == (4 * (64 + BAR + LINE + GAP) - GAP, across * step - GAP, 3)  # MOST = 24
    lengths = {
        name: [int((np.abs(shown[66, step * k : step * k + 64] - ink).max(1) < 1e-3).sum()) for k in range(4)]
        for name, ink in (("blue", INK), ("red", RED))
    }  # fmt: skip
    assert lengths == {"blue": [64, 32, 1, 0], "red": [0, 0, 0, 16]}
    assert sheet(patches[:1], [0.0], 64, ["0"]).array.shape[:2] == (64 + BAR + LINE, 64)

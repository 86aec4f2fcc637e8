"""Table I: the survey's numbers as printed, ours as recorded, and one frame counted now."""

from __future__ import annotations

import numpy as np
import pytest

from hrviz.errors import HrvizError
from hrviz.survey import table_one

RECORD = table_one.record()


def test_the_papers_changes_follow_from_its_errors() -> None:
    original = table_one.PAPER[0].mae
    for row in table_one.PAPER:
        assert row.change == pytest.approx(row.mae / original - 1, abs=0.006)
        assert row.share == row.size[0] * row.size[1] / (768 * 1024)


@pytest.mark.parametrize("kind", ["square", "rings"])
def test_recorded_rows_have_what_a_page_shows(kind: str) -> None:
    rows = table_one.ours(kind)
    assert [row["arm"] for row in rows] == list(table_one.ARMS)
    whole = rows[0]
    for row, paper in zip(rows, table_one.PAPER, strict=True):
        assert row["share"] == paper.share
        assert row["paper_mae"] == paper.mae
        low, high = row["interval"]
        assert low <= row["mae"] <= high
        assert row["change"] == pytest.approx(row["mae"] / whole["mae"] - 1, rel=0.01, abs=0.01)
        assert row["mae"] == pytest.approx(np.mean(row["mae_by_seed"]), abs=0.02)
        assert abs(row["bias"]) <= row["mae"]
        ud = row["arm"].startswith("ud")
        assert row["passes"] == (1 if ud else round(1 / row["share"]))
        # Patches save memory and no operation, downsampling saves both.
        assert row["flops"] / whole["flops"] == pytest.approx(row["share"] if ud else 1, rel=1e-3)
        assert row["memory"] <= whole["memory"] * (row["share"] + 0.03)
    [facts] = [f for f in RECORD["sets"] if f["kind"] == kind]
    assert facts["mean_guess_mae"] > whole["mae"]
    assert facts["seeds"]
    assert RECORD["date"]
    assert RECORD["command"].startswith("python benchmarks/table_one.py")


def test_recorded_patches_with_the_networks_reach_count_as_the_whole() -> None:
    for row in RECORD["halo"]:
        if row["halo"] == 24:
            assert row["from_whole"] < 1e-3
            assert row["mae"] == row["whole_mae"]
        if row["halo"] == 0:
            assert row["from_whole"] > 0.05


def test_the_direction_is_the_surveys() -> None:
    """On the frames of people: downsampling costs more than patches, and the smaller the more."""
    mae = {row["arm"]: row["mae"] for row in table_one.ours()}
    assert mae["original"] < mae["ud-4"] < mae["ud-16"]
    assert mae["cip-4"] < mae["ud-4"]
    assert mae["cip-16"] < mae["ud-16"]


@pytest.mark.parametrize("arm", table_one.ARMS)
def test_a_frame_is_counted_now(arm: str) -> None:
    found = table_one.live(1, arm)
    factor = {"ud-4": 2, "ud-16": 4}.get(arm, 1)
    assert found.density.values.shape == (192 // factor, 256 // factor)
    assert found.density.values.sum() * factor**2 == pytest.approx(found.count)
    assert found.picture.array.shape == (*found.density.values.shape, 3)
    assert found.truth == len(found.heads.points)
    assert abs(found.count - found.truth) < 0.6 * found.truth
    box = found.density.box
    assert ((found.heads.points >= box[:2]) & (found.heads.points < box[2:])).all()
    assert found.passes == {"cip-4": 4, "cip-16": 16}.get(arm, 1)


@pytest.mark.parametrize("arm", ["cip-4", "cip-16"])
def test_with_enough_halo_patches_count_as_the_whole(arm: str) -> None:
    whole = table_one.live(2)
    tiled = table_one.live(2, arm, halo=24)
    np.testing.assert_allclose(tiled.density.values, whole.density.values, atol=1e-6)
    assert tiled.count == pytest.approx(whole.count, abs=1e-3)
    assert abs(table_one.live(2, arm).count - whole.count) > 1e-2


@pytest.mark.parametrize(
    ("arm", "halo", "told"),
    [
        ("cip-9", 0, "arm 'cip-9' is not known: choose original"),
        ("ud-4", 8, "'ud-4' has no patches"),
        ("cip-4", 5, "halo=5"),
    ],
)
def test_what_cannot_be_counted_is_named(arm: str, halo: int, told: str) -> None:
    with pytest.raises(HrvizError, match=told):
        table_one.live(0, arm, halo)

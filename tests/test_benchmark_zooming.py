"""The comparison of zooming methods runs, and its baselines are what they say (accuracy is not judged)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="not in an installed package")


@pytest.fixture
def zooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_rows_have_accuracy_and_costs(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "zooming.py"), "--parts", "colon", "--quick", "--seeds", "1",
         "--rows", "quarter of these;attention sampling", "--paper", "--json", str(out)],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    arms = {row["arm"].split(",")[0]: row for row in found["colon"]}
    assert {"mean colour", "CNN", "attention sampling"} <= set(arms)
    for row in found["colon"]:
        assert 0 <= row["accuracy"] <= 1 and row["spread"] > 0
        if row["arm"].startswith("mean colour"):
            continue
        assert row["flops"] > 0 and row["seconds"] > 0
        assert row["memory"] >= row["memory_one_by_one"] > 0
    # 125 x 125 px of the view and ten patches of 48 px, as the product counts them
    assert arms["attention sampling"]["network_pixels"] == 125**2 + 10 * 48**2
    told = {(row["task"], row["arm"]): row for row in found["paper"]}
    for task in ("colon", "needle", "traffic signs", "fMoW", "Camelyon16"):
        own, one_stage = (
            told[task, a] for a in ("Zoom-In (LeNet)", "attention sampling, Zoom-In's networks")
        )
        assert own["factor_one_by_one"] == 1 and one_stage["factor_one_by_one"] > 2


def test_the_whole_picture_network_has_the_papers_operations(zooms: None) -> None:
    import torch
    from zooms.baselines import WholeNet

    from hrviz.cost.flops import counting

    net = WholeNet(2).eval().to("meta")
    with counting(network=True) as operations, torch.no_grad():
        net(torch.empty(1, 3, 500, 500, device="meta"))
    assert sum(operations.values()) / 2 == pytest.approx(1.83e9, rel=0.02)  # multiply-accumulates


def test_activations_held_are_those_of_a_hand_count(zooms: None) -> None:
    import torch
    from zooms.paper import held

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(inplace=True), torch.nn.Conv2d(8, 1, 1))  # fmt: skip
    pixels, weights = 20 * 30, 8 * 3 * 9 + 8
    # the input, one map of 8 channels (in place), and both layers' weights
    assert held(net, (1, 3, 20, 30)) == 4 * (3 * pixels + 8 * pixels + weights)


def test_votes_are_pooled_by_mean_or_largest(zooms: None) -> None:
    import torch
    from zooms.baselines import PatchVote, grid, smaller

    votes = torch.tensor([[[1.0, 0.0], [3.0, -2.0]]])
    assert PatchVote(2, 2, "mean").pool(votes).tolist() == [[2.0, -1.0]]
    assert PatchVote(2, 2, "max").pool(votes).tolist() == [[3.0, 0.0]]
    at = grid("colon", 48)
    assert len(at) == 121 and at.min() == 0 and at.max() == 452  # the last ends at the border
    covered = np.zeros((500, 500), bool)
    for y, x in at:
        covered[y : y + 48, x : x + 48] = True
    assert covered.all()
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(
        smaller(picture, (2, 3)), np.round(picture.reshape(2, 2, 3, 2, 3).mean((1, 3))).astype(np.uint8)
    )  # fmt: skip


def test_zoom_in_at_a_coarser_level_sees_the_same_pictures(zooms: None) -> None:
    """Discs are told apart at a quarter of the resolution; costs are counted there."""
    from zooms import pipelines

    from hrviz.training.search_data import SETS

    row = pipelines.zoom_in("needle", "lenet")
    assert row.arm.endswith("at a quarter of the resolution")
    assert row.extra["network_pixels"] == 64**2 + 10 * (16**2 + 24**2)
    assert row.calls(False) == [
        ("first", (1, 3, 64, 64)), ("second", (1, 3, 16, 16)), ("encode", (1, 3, 24, 24)),
    ]  # fmt: skip
    coarse, fine = (next(SETS[n].images("unseen", 1))[0] for n in (row.recipe.set, "needle"))
    assert coarse.uri == fine.uri and SETS[row.recipe.set].size == (256, 256)
    seen = coarse.rgb(coarse.box, (256, 256)).astype(float)
    whole = fine.rgb(fine.box, (1024, 1024)).astype(float)
    mean = whole.reshape(256, 4, 256, 4, 3).mean((1, 3))
    assert np.abs(seen - mean).mean() < 3  # scenes draw each level anew


def test_a_training_with_stages_of_its_own_begins_with_no_other(zooms: None) -> None:
    from zooms import pipelines

    assert pipelines.begins_with("colon-zoom-in-resnet") == pipelines.zoom_in("colon", "lenet").recipe  # fmt: skip
    assert pipelines.begins_with("needle-zoom-in-resnet") is None
    assert pipelines.begins_with("road-patch-selection") == pipelines.ats("road").recipe
    assert pipelines.begins_with("") is None

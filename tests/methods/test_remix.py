"""REMIX's plan against the sheet's table and against brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import hrviz
from hrviz.errors import HrvizError
from hrviz.methods.detection import SHOWN, Found, Wanted
from hrviz.methods.zooming.remix_plan import SKIP, Leaf, Plans, values
from hrviz.methods.zooming.remix_profile import INPUTS, SCORES, profile

SMALL = [[0, 0, 1, 0], [0, 0, 2, 1], [0, 0, 0, 0], [4, 1, 0, 0]]
LARGE = [[0, 1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]]
COUNTS = np.stack([SMALL, LARGE], -1)
# [depth][network][class]: blocks of side 4, 2, 1; networks A and B
ACCURACY = np.array([
    [[0.05, 0.40], [0.20, 0.60]], [[0.20, 0.55], [0.45, 0.75]], [[0.40, 0.60], [0.70, 0.80]],
])  # fmt: skip
LATENCY = np.array([2, 5])
PARETO = {0: 0, 2: .1615, 4: .2231, 5: .3231, 7: .35, 9: .3962, 10: .4269, 11: .4423, 12: .4731, 14: .5192,
          16: .5385, 18: .5692, 21: .6, 24: .6231, 25: .6308, 27: .6385, 28: .6538, 31: .6769, 34: .7,
          37: .7154, 40: .7308}  # fmt: skip
A, B = 0, 1


@pytest.fixture(scope="module")
def plans() -> Plans:
    return Plans(values(COUNTS, ACCURACY, 2), LATENCY, 80)


def test_pareto_of_the_sheet(plans: Plans) -> None:
    latency, value = plans.pareto
    assert latency.tolist() == list(PARETO)
    assert value == pytest.approx(list(PARETO.values()), abs=5e-5)


def test_plans_of_the_sheet(plans: Plans) -> None:
    def looked(budget: int) -> dict[tuple[int, int, int], int]:
        value, latency, leaves = plans.best(budget)
        assert latency <= budget
        assert value == pytest.approx(max(v for t, v in PARETO.items() if t <= budget), abs=5e-5)
        return {(x.depth, x.row, x.column): x.network for x in leaves if x.network != SKIP}

    assert looked(5) == {(0, 0, 0): B}
    assert looked(10) == {(1, 0, 1): B, (1, 1, 0): B}
    # where several plans are equally good the sheet names one of them: its value is the best
    worth = values(COUNTS, ACCURACY, 2)
    for budget, named in (
        (12, {(1, 0, 1): B, (1, 1, 0): B, (2, 3, 3): A}),
        (20, {(2, 0, 1): A, (1, 0, 1): B, (2, 2, 0): A, (2, 3, 0): B, (2, 3, 1): A, (2, 3, 3): A}),
    ):
        found = looked(budget)
        for plan in (named, found):
            used = sum(int(LATENCY[k]) for k in plan.values())
            worthy = sum(worth[d][k, r, c] for (d, r, c), k in plan.items())
            assert (used, worthy) == (
                budget - 2 * (budget == 20),
                pytest.approx(PARETO[used], abs=5e-5),
            )
    assert looked(0) == {}


@pytest.mark.parametrize(("depth", "network", "value", "latency"), [
    (0, A, .1577, 2), (1, A, .3077, 8), (2, A, .4615, 32), (0, B, .3231, 5), (1, B, .5423, 20), (2, B, .7308, 80),
])  # fmt: skip
def test_uniform_plans_of_the_sheet(depth, network, value, latency, plans) -> None:
    worth = values(COUNTS, ACCURACY, 2)[depth][network]
    assert worth.sum() == pytest.approx(value, abs=5e-5)
    assert worth.size * LATENCY[network] == latency
    assert plans.best(latency)[0] >= worth.sum() - 1e-9


def every_plan(value: list[np.ndarray], latency: np.ndarray, depth=0, row=0, column=0):
    """(latency, value) of all plans of a block."""
    yield 0, 0.0
    for k, t in enumerate(latency):
        yield int(t), float(value[depth][k, row, column])
    if depth + 1 < len(value):
        quarters = [
            list(every_plan(value, latency, depth + 1, 2 * row + i, 2 * column + j))
            for i in (0, 1) for j in (0, 1)
        ]  # fmt: skip
        for four in itertools.product(*quarters):
            yield sum(t for t, _ in four), sum(v for _, v in four)


@pytest.mark.parametrize("seed", range(6))
def test_against_every_plan(seed: int) -> None:
    """Random tables on a 2 x 2 grid with three networks: 4^4 + 4 plans a table, each budget."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (2, 2, 2))
    latency = rng.integers(1, 9, 3)
    value = values(counts + (counts.sum() == 0), rng.random((2, 3, 2)), 1)
    everything = list(every_plan(value, latency))
    plans = Plans(value, latency, 36)
    for budget in range(37):
        best, used, leaves = plans.best(budget)
        assert best == pytest.approx(max(v for t, v in everything if t <= budget))
        assert used <= budget
        assert sum(value[x.depth][x.network, x.row, x.column] for x in leaves if x.network != SKIP) == pytest.approx(best)  # fmt: skip
        assert sum(4.0**-x.depth for x in leaves) == 1  # they tile the image


def test_empty_history_needs_a_prior() -> None:
    nothing = np.zeros((4, 4, 2))
    assert Plans(values(nothing, ACCURACY, 2), LATENCY, 10).best()[2] == [Leaf(0, 0, 0, SKIP)]
    value, _, leaves = Plans(values(nothing, ACCURACY, 2, prior=1.0), LATENCY, 10).best()
    assert value > 0
    assert any(leaf.network != SKIP for leaf in leaves)


def test_what_cannot_be_planned() -> None:
    worth = values(COUNTS, ACCURACY, 2)
    for budget in (-1, 10**6):
        with pytest.raises(HrvizError, match="choose 0 to"):
            Plans(worth, LATENCY, budget)
    with pytest.raises(HrvizError, match="round them up"):
        Plans(worth, np.array([0, 5]), 10)


# ------------------------------------------------------------------ scores, merged and shown
def test_the_share_of_right_boxes_by_score() -> None:
    """Three of four boxes of each score are right, or none; a fall between them is levelled out."""
    from hrviz.training import crowd_profile

    true = np.array([[0, 20 * k, 10, 20 * k + 10] for k in range(8)], float)
    wrong = true + np.array([100, 0, 100, 0])
    boxes = np.concatenate([wrong[:4], true[:3], wrong[4:5], true[3:4], wrong[5:7], true[4:5]])
    scores = np.repeat([0.2, 0.4, 0.8], 4)
    found = Found(boxes, scores, np.zeros(12, np.int64))
    truth = Wanted(true, np.zeros(8, np.int64), np.zeros(8, bool))
    right = np.array(crowd_profile._by_score([found], [truth]))
    assert right[SCORES <= 0.2] == pytest.approx(0)
    assert right[SCORES >= 0.4] == pytest.approx(5 / 8)  # 3/4 at 0.4, 2/4 at 0.8
    assert (np.diff(right) >= 0).all()
    nobody = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert crowd_profile._by_score([nobody], [truth]) == [0.0] * len(SCORES)


def test_scores_are_replaced_by_the_share_of_right_boxes() -> None:
    table = np.tile(SCORES**2, (len(INPUTS), 1))
    table[3] = 0.1
    known = replace(profile(), right=table)
    found = Found(np.zeros((2, 4)), np.array([0.5, 0.0125]), np.zeros(2, np.int64))
    assert known.sure(0, found).scores == pytest.approx([0.25, 0.0125 * 0.025], rel=1e-6)
    assert known.sure(3, found).scores == pytest.approx([0.1, 0.1])


def test_the_bundled_profile_is_whole() -> None:
    known = profile()
    assert known.accuracy.shape == (len(INPUTS), 12)
    assert known.right.shape == (len(INPUTS), len(SCORES))
    assert (np.diff(known.right, axis=1) >= 0).all()
    assert ((known.right >= 0) & (known.right <= 1)).all()
    assert (known.right[:, 0] < SHOWN).all()
    assert (known.seconds > 0).all()


def test_a_training_part_keeps_people_where_they_are() -> None:
    """Enlarged, downsampled, mirrored: the box of a bright rectangle lies on its bright pixels."""
    from hrviz.training.crowd_detectors import Shown, scaled

    pixels = np.zeros((400, 600, 3), np.uint8)
    pixels[150:250, 280:320] = 255
    shown = Shown(pixels, np.array([[150.0, 280, 250, 320]]))
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(20):
        part, boxes = scaled(shown, rng, 96, (0.5, 3.0))
        assert part.shape == (96, 96, 3)
        bright = np.argwhere(part[..., 0] > 127)
        for box in boxes:
            seen += 1
            edges = np.concatenate([bright.min(0), bright.max(0) + 1])
            assert np.abs(edges - box).max() <= 1
    assert seen > 5


def test_most_boxes_on_an_unseen_frame_are_people() -> None:
    """Houses have windows as high as people: blocks are small, so the detector sees them enlarged."""
    frame = "scene:crowd?size=1920x1080&people=150&frames=250&seed=3000004#t=50"
    run = hrviz.apply("remix", frame, budget=300.0)
    count, score = run["prediction"].values["people"], run["score"].values
    assert score["false_positives"] < 0.25 * count
    assert 0.5 * score["objects"] < count < 1.2 * score["objects"]
    assert score["recall"] > 0.5
    expected = run["latency"].values["expected_accuracy"]
    assert score["ap50"] == pytest.approx(expected, abs=0.15)  # the plan promised as much


def test_few_steps_and_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from hrviz.training import crowd_profile

    monkeypatch.setattr(
        crowd_profile, "write_whole", lambda *args: pytest.fail("wrote the profile")
    )
    monkeypatch.setattr(crowd_profile, "FRAME_SIZES", ((216, 384),))
    monkeypatch.setattr(crowd_profile, "PART", 384)
    facts = crowd_profile.train(steps=2, report=lambda text: None, write=False)
    assert {len(v) for v in facts["accuracy"].values()} == {12}
    assert {len(v) for v in facts["right"].values()} == {len(SCORES)}

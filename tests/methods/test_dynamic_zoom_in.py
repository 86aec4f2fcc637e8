"""Dynamic zooming against the sheet's numbers, brute force, and tabular Q-learning."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz import run as running
from hrviz.context import current
from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.method import METHODS
from hrviz.methods.detection import Found, Wanted
from hrviz.methods.zooming.accuracy_gain import (
    State,
    Window,
    centre_map,
    gain_map,
    gains,
    greedy,
    window_sums,
)
from hrviz.methods.zooming.gain_sources import Look, merge, true_gains

PLAIN = {"task": "none", "saliency": "edges"}


def apply(address: Any = "scene:road", region: Any = None, **params: Any) -> running.Run:
    running.CACHE.clear()
    return hrviz.apply("dzin", address, region, **(PLAIN | params))


# ------------------------------------------------------------------ the sheet's oracle
#: 40 x 40 px, a thing found (10 x 10) and a false alarm beside it, in one quarter of the picture
REGION = Box(0, 0, 40, 40)
BOXES = np.array([[2, 2, 12, 12], [8, 9, 18, 19]], float)
GAINS = gains(np.array([1, 0]), np.array([0.3, 0.7]), np.array([0.9, 0.2]))


def test_the_sheets_gains() -> None:
    np.testing.assert_allclose(GAINS, [0.6, 0.5])


def test_the_sheets_map() -> None:
    found = gain_map(BOXES[:1], GAINS[:1], REGION, (40, 40))
    np.testing.assert_allclose(found[2:12, 2:12], 0.006)
    assert found.sum() == pytest.approx(0.6)
    np.testing.assert_allclose(gain_map(BOXES[:1], GAINS[:1], REGION, (40, 40), 200), 200 * found)


@pytest.mark.parametrize("price", [0.0, 1.0, 4.0, 4.3, 4.5, 5.0])
def test_the_sheets_reward(price: float) -> None:
    state = State.of(BOXES, GAINS, REGION, (40, 40))
    window = Window(0, 0, 20, 20)
    assert state.reward(window, price) == pytest.approx(1.1 - 0.25 * price)
    picked, value = greedy(state, [(20, 20)], price)
    assert value == pytest.approx(1.1 - 0.25 * price)
    assert (value > 0) == (price < 4.4)
    assert state.centred[picked.cells].sum() == pytest.approx(1.1)


def test_inside_a_chosen_window_nothing_is_left() -> None:
    state = State.of(BOXES, GAINS, REGION, (40, 40)).after(Window(0, 0, 20, 20))
    assert state.spread.sum() == pytest.approx(0, abs=1e-12)
    assert state.centred.sum() == 0
    assert greedy(state, [(20, 20)], 0.0)[1] == 0


# ------------------------------------------------------------------ maps and sums
def test_window_sums_by_brute_force() -> None:
    values = np.random.default_rng(0).normal(size=(7, 9))
    for h, w in ((1, 1), (3, 2), (7, 9), (7, 1)):
        expected = [
            [values[i : i + h, j : j + w].sum() for j in range(10 - w)] for i in range(8 - h)
        ]
        np.testing.assert_allclose(window_sums(values, h, w), expected, atol=1e-12)


def test_the_map_by_brute_force_on_a_fine_raster() -> None:
    """Cells that boxes cut: the share of each box in each cell, counted on a raster ten times finer."""
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 200, (6, 2))
    boxes = np.concatenate([corner, corner + rng.integers(5, 90, (6, 2))], 1).astype(float)
    values = rng.normal(size=6)
    fine = np.zeros((300, 300))
    for box, value in zip(boxes.astype(int), values, strict=True):
        area = (box[2] - box[0]) * (box[3] - box[1])
        fine[box[0] : box[2], box[1] : box[3]] += value / area
    expected = fine.reshape(10, 30, 10, 30).mean((1, 3))
    np.testing.assert_allclose(
        gain_map(boxes, values, Box(0, 0, 300, 300), (10, 10)), expected, atol=1e-12
    )


def test_a_proposal_counts_where_its_centre_is() -> None:
    """Windows that tile the picture: the rewards' gains add up to all gains, whatever they cut."""
    rng = np.random.default_rng(2)
    corner = rng.random((30, 2)) * 60
    boxes = np.concatenate([corner, corner + rng.random((30, 2)) * 40], 1)
    values = rng.random(30)
    centred = centre_map(boxes, values, Box(0, 0, 100, 100), (20, 20))
    tiles = window_sums(centred, 5, 5)[::5, ::5]
    assert tiles.sum() == pytest.approx(values.sum())
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for i, j in itertools.product(range(4), range(4)):
        inside = ((centres >= [25 * i, 25 * j]) & (centres < [25 * i + 25, 25 * j + 25])).all(1)
        assert tiles[i, j] == pytest.approx(values[inside].sum())


def test_gains_from_true_labels_by_loops() -> None:
    coarse = Found(np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60.0]]),
                   np.array([0.4, 0.6, 0.7]), np.array([0, 1, 0]))  # fmt: skip
    fine = Found(np.array([[1, 0, 11, 10.0]]), np.array([0.9]), np.array([0]))
    truth = Wanted(np.array([[0, 0, 10, 10.0]]), np.array([0]), np.zeros(1, bool))
    # right and seen better; wrong class, gone in the fine look; false alarm, gone
    np.testing.assert_allclose(true_gains(coarse, fine, truth), [0.6 - 0.1, 0.6, 0.7])
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert true_gains(nothing, fine, truth).shape == (0,)
    none_true = Wanted(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    np.testing.assert_allclose(true_gains(coarse, nothing, none_true), [0.4, 0.6, 0.7])


# ------------------------------------------------------------------ Q-learning
def sequences(state: State, size: tuple[int, int], price: float, steps: int) -> float:
    """Best total reward of any sequence of windows, by trying all of them."""
    best = 0.0
    if steps:
        h, w = state.spread.shape
        for i, j in itertools.product(range(h - size[0] + 1), range(w - size[1] + 1)):
            window = Window(i, j, *size)
            later = sequences(state.after(window), size, price, steps - 1)
            best = max(best, state.reward(window, price) + later)
    return best


def learned(first: State, size: tuple[int, int], price: float, discount: float, seed: int) -> Any:
    """Tabular Q-learning by random play; returns Q of a state as a dict from window to value."""
    h, w = first.spread.shape
    windows = [
        Window(i, j, *size) for i, j in itertools.product(range(h - size[0] + 1), range(w - size[1] + 1))
    ]  # fmt: skip
    table: dict[bytes, np.ndarray] = {}
    rng = np.random.default_rng(seed)

    def q(state: State) -> np.ndarray:
        return table.setdefault(state.centred.tobytes(), np.zeros(len(windows)))

    for _ in range(1500):
        state = first
        for _ in range(3):
            k = int(rng.integers(len(windows)))
            after = state.after(windows[k])
            target = state.reward(windows[k], price) + discount * max(0.0, q(after).max())
            q(state)[k] = target  # nothing is random: the learning rate is 1
            state = after
    return lambda state: dict(zip(windows, q(state), strict=True))


def small_state() -> State:
    rng = np.random.default_rng(5)
    corner = rng.random((6, 2)) * 3
    boxes = np.concatenate([corner, corner + 1], 1)
    return State.of(boxes, rng.uniform(-0.2, 1, 6), Box(0, 0, 4, 4), (4, 4))


@pytest.mark.parametrize("price", [0.3, 2.0])
def test_q_learning_without_discount_is_greedy(price: float) -> None:
    """gamma = 0: the learned values are the rewards, and the windows they pick the greedy ones."""
    state = small_state()
    q = learned(state, (2, 2), price, 0.0, 0)
    for _ in range(2):
        values = q(state)
        for window, value in values.items():
            assert value == pytest.approx(state.reward(window, price), abs=1e-9)
        picked, value = greedy(state, [(2, 2)], price)
        assert max(values.values()) == pytest.approx(value, abs=1e-9)
        assert values[picked] == pytest.approx(max(values.values()), abs=1e-9)
        if value <= 0:
            break
        state = state.after(picked)


def test_q_learning_with_discount_is_the_best_sequence() -> None:
    state = small_state()
    q = learned(state, (2, 2), 0.3, 1.0, 1)
    assert max(q(state).values()) == pytest.approx(sequences(state, (2, 2), 0.3, 3), abs=1e-9)


# ------------------------------------------------------------------ the run
def test_costs_add_up_and_windows_lie_flat_in_time() -> None:
    run = apply(price=0.5)
    tree = run["tree"]
    assert tree.pixels == run.reads.pixels_requested > 0
    assert {n.parent for n in tree.nodes[1:]} == {0}
    looked = [n for n in tree.nodes[1:] if n.decision == "processed"]
    assert [n.tag for n in looked] == [str(k + 1) for k in range(len(looked))]
    values = [n.score for n in looked]
    assert values == sorted(values, reverse=True)
    assert all(v > 0 for v in values)


def test_greedy_windows_are_the_best_by_brute_force() -> None:
    run = apply(price=2.0, steps=4)
    ag = run["accuracy gain"].values
    left = ag.astype(np.float64).copy()
    for node in run["tree"].nodes[1:]:
        if node.decision != "processed":
            continue
        best = max(
            left[i : i + s, j : j + s].sum() - 2.0 * s * s / left.size
            for s in (8, 16, 24) for i in range(48 - s + 1) for j in range(64 - s + 1)
        )  # fmt: skip
        assert node.score == pytest.approx(best, abs=1e-9)
        y0, x0, y1, x1 = (round(v / 20) for v in node.box)
        left[y0:y1, x0:x1] = 0


def test_a_price_that_nothing_is_worth_stops_at_once() -> None:
    run = apply(image_of(np.full((64, 96, 3), 128, np.uint8)), price=5.0)
    nodes = run["tree"].nodes
    assert [n.decision for n in nodes] == ["processed", "skipped by score"]
    assert run["gain and cost"].series["gain expected"].tolist() == [0.0]


def test_steps_run_out() -> None:
    nodes = apply(price=0.0, steps=1)["tree"].nodes
    assert [n.decision for n in nodes] == ["processed", "processed", "skipped by budget"]


def test_window_sizes() -> None:
    for name, side in (("small", 160), ("medium", 320), ("large", 480)):
        for node in apply(windows=name, price=0.2)["tree"].nodes[1:]:
            assert (node.box.height, node.box.width) == pytest.approx((side, side))


def test_fine_boxes_inside_coarse_ones_outside() -> None:
    coarse = Found(
        np.array([[10, 10, 20, 20], [100, 100, 120, 120.0]]), np.array([0.5, 0.6]), np.array([0, 0])
    )
    fine = Found(
        np.array([[11, 11, 21, 21], [96, 96, 106, 106.0]]), np.array([0.9, 0.8]), np.array([1, 1])
    )
    region, window = Box(0, 0, 200, 200), Box(0, 0, 100, 100)
    merged = merge(coarse, [Look(window, window.grown(10).intersect(region), fine)], region)
    # the second fine box has its centre outside the window
    np.testing.assert_array_equal(merged.boxes, [[11, 11, 21, 21], [100, 100, 120, 120]])
    np.testing.assert_array_equal(merged.labels, [1, 0])
    again = Look(Box(0, 0, 50, 50), Box(0, 0, 60, 60), fine)
    twice = merge(coarse, [Look(window, window, fine), again], region)
    np.testing.assert_array_equal(twice.boxes, merged.boxes)
    np.testing.assert_array_equal(merge(coarse, [], region).boxes, coarse.boxes[::-1])


def test_what_a_window_cuts_is_left_to_the_coarse_look() -> None:
    """A box on the border of a closer look; at the region's own border it is as whole as it can be."""
    window, region = Box(0, 50, 100, 150), Box(0, 0, 200, 200)
    coarse = Found(
        np.array([[30, 40, 50, 80], [0, 90, 20, 110.0]]), np.array([0.5, 0.5]), np.zeros(2, int)
    )
    fine = Found(
        np.array([[30, 50, 50, 80], [0, 91, 21, 111.0]]), np.array([0.9, 0.8]), np.zeros(2, int)
    )
    merged = merge(coarse, [Look(window, window, fine)], region)
    np.testing.assert_array_equal(merged.boxes, [[0, 91, 21, 111], [30, 40, 50, 80]])


def test_a_gigapixel_slide_reads_only_windows_at_a_bounded_detail() -> None:
    view = hrviz.open("scene:tissue?size=200000x100000").view()
    seen = [s for s in METHODS["dynamic-zoom-in"](view, **PLAIN, price=0.5) if s.name == "tree"]
    assert len(seen) > 1
    assert [s.progress for s in seen] == sorted(s.progress for s in seen)
    assert view.reads.pixels_requested == seen[-1].result.pixels < 2**24


def test_cancelling_stops_before_the_next_window(monkeypatch: pytest.MonkeyPatch) -> None:
    view = hrviz.open("scene:road").view()
    steps = METHODS["dynamic-zoom-in"](view, **PLAIN)
    while next(steps).name != "tree":
        pass
    monkeypatch.setattr(type(current()), "check", lambda self: (_ for _ in ()).throw(Cancelled))
    with pytest.raises(Cancelled):
        list(steps)


def test_refusals_and_fallbacks() -> None:
    with pytest.raises(HrvizError, match="has no truth: choose"):
        apply(image_of(np.zeros((64, 64, 3), np.uint8)), saliency="truth")
    run = apply(saliency="trained", policy="trained")
    assert (
        run["tree"].source
        == "stand-in: edge energy; windows by greedy choice on the AG map (gamma = 0)"
    )


# ------------------------------------------------------------------ networks
def test_the_papers_r_net_has_16_785_409_weights() -> None:
    pytest.importorskip("torch")
    from hrviz.nets.gain import GainNet

    assert sum(p.numel() for p in GainNet().parameters()) == 4096 * 4096 + 4096 + 4096 + 1


def test_the_q_net_starts_as_the_greedy_choice() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.gain import OUTSIDE, WindowNet

    net = WindowNet((2, 3, 30))
    rng = np.random.default_rng(3)
    spread, centred = rng.normal(size=(2, 5, 8)).astype(np.float32)
    state, price = State(spread, centred), 2.0
    x = torch.from_numpy(np.stack([spread, centred, np.full_like(spread, price / 5)]))[None]
    with torch.no_grad():
        values = net(x)[0].numpy()
    for k, (h, w) in enumerate(state.sizes((2, 3, 30))):
        found = values[k, : 6 - h, : 9 - w]
        np.testing.assert_allclose(found, state.rewards((h, w), price), atol=1e-5)
        assert (values[k, 6 - h :] == OUTSIDE).all()
    with torch.no_grad():
        net.branches[0][2].bias.fill_(0.5)
        assert (net(x)[0, 0, :4, :7] - torch.from_numpy(values[0, :4, :7]) > 0.49).all()


def test_the_example_is_looked_at_in_few_windows() -> None:
    method = METHODS["dynamic-zoom-in"]
    running.CACHE.clear()
    run = hrviz.apply(method, method.example)
    score = run["score"].values
    assert run["tree"].pixels == run.reads.pixels_requested
    assert score["network_share"] < 0.6
    assert score["ap50"] >= score["coarse_ap50"]
    assert run["tree"].source == "trained: road-gain; windows by trained: road-windows"
    whole = Box(0, 0, 960, 1280)
    looks = 320 * 240 + sum(
        n.box.grown(16).intersect(whole).area
        for n in run["tree"].nodes[1:]
        if n.decision == "processed"
    )
    # the detector's pixels and no others: R-net and Q-net see no picture
    assert run.cost["network_pixels"].value == pytest.approx(looks, rel=1e-6)


def test_true_gains_are_an_oracle() -> None:
    running.CACHE.clear()
    run = hrviz.apply("dzin", "scene:road", saliency="truth", policy="greedy", compare=False)
    curve = run["gain and cost"]
    assert run["tree"].source.startswith("oracle: true labels")
    assert curve.series["gain expected"][-1] > 0
    with pytest.raises(HrvizError, match="choose less detail"):
        hrviz.apply("dzin", "scene:road?size=8000x6000", saliency="truth", coarse=640, detail=8)


def test_nothing_found_is_nothing_to_gain() -> None:
    running.CACHE.clear()
    run = hrviz.apply(
        "dzin", image_of(np.full((960, 1280, 3), 250, np.uint8)), task="sign detection"
    )
    assert run["proposals"].summary()["count"] == 0
    assert len(run["prediction"].boxes) == 0


@pytest.mark.parametrize("name", ["road_gain", "road_windows"])
def test_the_recipes(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip("torch")
    from importlib import import_module

    from hrviz.training.road_gain import Looked

    rng = np.random.default_rng(0)

    def looked(split: str, count: int, report: Any) -> list[Looked]:
        corner = rng.random((9, 2)) * [800, 1100]
        boxes = np.concatenate([corner, corner + 60], 1)
        features = rng.normal(size=(9, 72)).astype(np.float32)
        return [Looked(boxes, features, rng.random(9), rng.random(9)) for _ in range(2)]

    recipe = import_module(f"hrviz.training.{name}")
    monkeypatch.setattr(recipe, "looked_at", looked)
    facts = recipe.train(seed=0, steps=3, report=lambda text: None, write=False)
    assert facts["steps"] == 3
    assert facts["held_out"]

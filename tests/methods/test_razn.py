"""RAZN against the sheet's numbers, brute-force recursion, the scene's truth and torch's resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_images import ArrayReader, image_of

import hrviz
from hrviz import nets
from hrviz import run as running
from hrviz.context import current
from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.method import METHODS
from hrviz.methods.zooming import razn_windows
from hrviz.methods.zooming.razn_costs import expected_calls, reward
from hrviz.methods.zooming.razn_windows import Canvas, Ladder, edge_energy, enlarge, look

SCENE = "scene:tissue?size=3000x2200&tumour=0.15"
NAMES = ("f32", "f16", "f8", "g32x2", "g16x2", "g32x4")


def apply(address: str = SCENE, region: Any = None, **params: Any) -> running.Run:
    running.CACHE.clear()
    return hrviz.apply("razn", address, region, **({"task": "none", "saliency": "truth"} | params))


# ------------------------------------------------------------------ formulas
def test_the_sheets_rewards() -> None:
    low, high = np.array([1.0, 0.5, 0.2]), np.array([0.4, 0.6, 0.1])
    np.testing.assert_allclose(reward(low, high), [0.6, -0.2, 0.5], atol=1e-5)
    np.testing.assert_array_equal(reward(low, high) > 0, [True, False, True])
    np.testing.assert_array_equal(reward(low, high, np.array([1, 0, 0]))[1:], 0)


def test_a_perfect_answer_gains_nothing() -> None:
    assert reward(np.array([0.0]), np.array([0.0])) == 0
    assert np.isfinite(reward(np.array([0.0]), np.array([0.3]))).all()


@pytest.mark.parametrize(
    ("ratio", "p", "policy", "segmentation"),
    [(2, 0.1, 1.40, 1.42), (2, 0.3, 2.2, 2.98), (2, 0.5, 3.0, 5.5), (2, 1.0, 5, 16),
     (4, 0.1, 2.6, 4.9), (4, 0.5, 9, 68.5), (4, 1.0, 17, 256)],
)  # fmt: skip
def test_the_sheets_costs(ratio: int, p: float, policy: float, segmentation: float) -> None:
    found = expected_calls(p, ratio, 2)
    assert (float(found[0]), float(found[1])) == pytest.approx((policy, segmentation))
    assert found[2] == ratio**4


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("zooms", [0, 1, 2, 3, 4])
def test_costs_by_recursion(ratio: int, zooms: int) -> None:
    """What one window leads to: a policy's call, then either an answer or r x r windows."""

    def calls(level: int, p: float) -> tuple[float, float]:
        if level == zooms:
            return 0.0, 1.0
        policy, segmentation = calls(level + 1, p)
        n = ratio**2
        return 1 + p * n * policy, (1 - p) + p * n * segmentation

    for p in (0.0, 0.2, 0.7, 1.0):
        policy, segmentation, exhaustive = expected_calls(p, ratio, zooms)
        assert (float(policy), float(segmentation)) == pytest.approx(calls(0, p))
        assert exhaustive == pytest.approx(calls(0, 1.0)[1])


def test_below_the_threshold_the_tree_stays_bounded() -> None:
    deep = [float(expected_calls(0.24, 2, m)[1]) for m in (5, 50, 500)]
    assert deep[2] < 0.76 / (1 - 0.96) + 1
    assert float(expected_calls(0.26, 2, 500)[1]) > 1e6


# ------------------------------------------------------------------ the tree
def test_costs_add_up_to_the_reads_counted() -> None:
    for params in (
        {},
        {"ratio": 4, "zooms": 1, "window": 32},
        {"saliency": "edges", "threshold": 0.05},
    ):
        run = apply(**params)
        assert run["tree"].pixels == run.reads.pixels_requested > 0


def test_the_oracle_zooms_exactly_where_the_truth_is_mixed() -> None:
    run = apply(finest=4, zooms=3)
    truth = hrviz.open(SCENE).truth
    decided = [node for node in run["tree"].nodes if node.score is not None]
    assert {node.decision for node in decided} == {"zoomed", "processed"}
    for node in decided:
        mask = truth.mask(node.box, (64, 64)) > 0
        assert (node.decision == "zoomed") == (0 < mask.mean() < 1), node


def test_leaves_tile_the_region_and_colour_it_by_level() -> None:
    run = apply(region=(100, 200, 2000, 2900), finest=4)
    tree, levels = run["tree"], run["levels"]
    seen = np.zeros(levels.labels.shape, int)
    expected = np.zeros(levels.labels.shape, int)
    depth = tree.depths()
    for node in tree.nodes:
        if node.decision == "processed":
            y0, x0, y1, x1 = ((np.array(node.box) - [100, 200, 100, 200]) / 8).round(6)
            at = np.s_[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
            seen[at] += 1
            expected[at] = depth[node.id] + 1
    assert (seen == 1).all()
    np.testing.assert_array_equal(levels.labels, expected)
    assert sum(n.box.area for n in tree.nodes if n.decision == "processed") == 1900 * 2700


def test_children_are_r_by_r_quarters() -> None:
    for ratio in (2, 4):
        tree = apply("scene:tissue?size=4096x4096&tumour=0.2", ratio=ratio, zooms=1)["tree"]
        for parent, children in tree.children().items():
            if parent is not None:
                assert len(children) == ratio**2
                assert {(c.box.height, c.box.width) for c in children} == {
                    (tree.nodes[parent].box.height / ratio,) * 2
                }


def test_a_slide_without_tumour_stays_at_level_0() -> None:
    run = apply("scene:tissue?size=3000x2200&tumour=0")
    assert run["tree"].summary()["depth"] == 0
    assert run["levels"].summary()["share_level 0, downsample 32"] == 1


def test_limit_zero_never_zooms_and_says_so() -> None:
    run = apply(limit=0)
    nodes = run["tree"].nodes
    assert "limit of opened windows is reached" in run.steps[0].note
    assert all(node.decision == "processed" for node in nodes)
    assert any("limit of 0 opened windows is reached" in node.reason for node in nodes)


def test_a_limit_bounds_the_windows_opened() -> None:
    tree = apply(finest=2, zooms=4, limit=21)["tree"]
    assert 0 < sum(depth > 0 for depth in tree.depths().values()) <= 21


def test_the_measured_point_lies_among_the_formulas() -> None:
    run = apply("scene:tissue?size=4096x4096&tumour=0.1", zooms=1, finest=4, window=32)
    nodes, curve = run["tree"].nodes, run["calls"]
    here = curve.series["leaves of this run"]
    assert np.isfinite(here).sum() == 1
    k = int(np.flatnonzero(np.isfinite(here))[0])
    # with one zoom and no window over the edge, the formula is exact at the run's own p
    assert here[k] == pytest.approx(curve.series["segmentation"][k])
    assert curve.x[k] == pytest.approx(
        np.mean([n.decision == "zoomed" for n in nodes if n.score is not None])
    )


# ------------------------------------------------------------------ windows
def test_levels_whose_ratio_is_not_r() -> None:
    """A pyramid of ratio 3: windows at downsample 2 and 4 are area averages of the finer pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    third = pixels.reshape(64, 3, 64, 3, 3).mean((1, 3)).round().astype(np.uint8)
    view = Image(ArrayReader(pixels, levels=[(3.0, third)])).view()
    ladder = Ladder(32, 2, 1, 1)
    got = look(view, Box(64, 64, 128, 128), ladder, 0)
    expected = pixels[64:128, 64:128].reshape(32, 2, 32, 2, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(got[..., :3], expected, atol=1 / 255)
    assert (got[..., 3] == 1).all()


def test_windows_over_the_edge_are_masked_and_not_read() -> None:
    view = image_of(np.full((50, 70, 3), 200, np.uint8)).view()
    got = look(view, Box(32, 64, 64, 96), Ladder(32, 2, 0, 1), 0)
    inside = np.zeros((32, 32), bool)
    inside[:18, :6] = True
    np.testing.assert_array_equal(got[..., 3] > 0, inside)
    assert (got[~inside] == 0).all()
    np.testing.assert_allclose(got[inside][:, :3], 200 / 255, atol=1e-6)
    assert view.reads.pixels_requested == 18 * 6


def test_a_constant_image_has_no_edges() -> None:
    flat = look(
        image_of(np.full((64, 64, 3), 90, np.uint8)).view(),
        Box(0, 0, 64, 64),
        Ladder(64, 2, 0, 1),
        0,
    )
    assert edge_energy(flat) == 0


@pytest.mark.parametrize("factor", [1, 2, 4, 16])
def test_enlarging_is_torchs(factor: int) -> None:
    torch = pytest.importorskip("torch")
    answer = np.random.default_rng(1).random((5, 7)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(answer)[None, None], scale_factor=factor, mode="bilinear"
    )[0, 0].numpy()
    whole = enlarge(answer, factor, 0, 5 * factor, True)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    np.testing.assert_allclose(
        enlarge(answer, factor, factor, 3 * factor, True), whole[factor : 3 * factor]
    )
    labels = enlarge(answer, factor, 0, 5 * factor, False)
    np.testing.assert_array_equal(labels, np.kron(answer, np.ones((factor, factor), np.float32)))


def test_a_canvas_in_strips_equals_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    view = hrviz.open(SCENE).view((0, 0, 1000, 1500))
    ladder = Ladder(64, 2, 2, 8)
    answer = np.random.default_rng(2).random((32, 32)).astype(np.float32)
    whole, parts = Canvas(view, ladder, ""), Canvas(view, ladder, "")
    whole.put(Box(0, 0, 2048, 2048), 0, answer)
    monkeypatch.setattr(razn_windows, "STRIP", 200)
    parts.put(Box(0, 0, 2048, 2048), 0, answer)
    np.testing.assert_array_equal(whole.values, parts.values)
    assert whole.values.shape == (63, 94)


# ------------------------------------------------------------------ refusals, gigapixels
def test_impossible_work_is_refused_in_one_sentence() -> None:
    with pytest.raises(HrvizError, match="choose more zooms") as caught:
        apply("scene:tissue?size=200000x100000", zooms=0, finest=8, window=32)
    assert "\n" not in str(caught.value)
    with pytest.raises(HrvizError, match="choose finest 8"):
        apply(task="tumour segmentation", zooms=4)
    with pytest.raises(HrvizError, match="has no truth"):
        hrviz.apply(
            "razn", image_of(np.zeros((64, 64, 3), np.uint8)), task="none", saliency="truth"
        )


def test_a_gigapixel_slide_with_progress_and_a_bounded_number_of_windows() -> None:
    big = "scene:tissue?size=200000x100000"
    steps: list[tuple[str, float]] = []
    running.CACHE.clear()
    view = hrviz.open(big).view()
    for step in METHODS["razn"](view, task="none", saliency="truth", ratio=4, zooms=3, finest=16,
                                window=32, limit=300):  # fmt: skip
        if step.name == "tree":
            steps.append((step.name, step.progress))
            tree = step.result
    assert len(steps) > 3
    assert [p for _, p in steps] == sorted(p for _, p in steps)
    assert steps[-1][1] == 1
    assert 0 < sum(depth > 0 for depth in tree.depths().values()) <= 300
    assert view.reads.pixels_requested < 2**24


def test_cancelling_stops_between_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    view = hrviz.open("scene:tissue?size=200000x100000").view()
    steps = METHODS["razn"](
        view, task="none", saliency="truth", ratio=4, zooms=3, finest=16, window=32
    )
    next(steps)
    monkeypatch.setattr(type(current()), "check", lambda self: (_ for _ in ()).throw(Cancelled))
    with pytest.raises(Cancelled):
        list(steps)


# ------------------------------------------------------------------ networks
def test_the_pair_of_a_level_is_small() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.razn import WindowSegmenter, ZoomPolicy

    def count(net: Any) -> int:
        return sum(p.numel() for p in net.parameters())

    segmenter, policy = WindowSegmenter(), ZoomPolicy()
    # convolutions 3 x 3 without bias + 2 a channel of batch normalisation; the head's 1 x 1 and bias
    widths, wide = (8, 16, 32), 9
    down = [(4, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]
    up = [(48, 16), (24, 8)]
    assert count(segmenter) == sum(wide * a * b + 2 * b for a, b in down + up) + widths[0] + 1
    assert count(policy) == sum(wide * a * b + 2 * b for a, b in [(4, 8), (8, 16), (16, 24)]) + (
        48 * 16 + 16 + 16 + 1
    )
    assert segmenter.eval()(torch.rand(2, 4, 33, 64)).shape == (2, 1, 17, 32)


def test_the_policy_pools_only_inside_the_region() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.razn import ZoomPolicy

    torch.manual_seed(0)
    policy = ZoomPolicy().eval()
    x = torch.rand(1, 4, 64, 64)
    x[:, 3] = 1
    x[..., 32:] = 0
    with torch.no_grad():
        features = policy.trunk(2 * x - 1)[..., :4]
        both = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        assert policy(x).item() == pytest.approx(policy.head(both)[0, 0].item(), abs=1e-6)


def test_every_leaf_is_its_networks_answer() -> None:
    import torch

    address = "scene:tissue?size=4096x4096&tumour=0.1"
    run = apply(address, task="automatic", saliency="truth", compare=False)
    values = run["prediction"].values
    assert values.shape == (256, 256)
    view, tree = hrviz.open(address).view(), run["tree"]
    depth, checked = tree.depths(), set()
    ladder = Ladder(64, 2, 2, 8)
    for node in tree.nodes:
        level = depth[node.id]
        if node.decision != "processed" or level in checked:
            continue
        checked.add(level)
        pixels = torch.from_numpy(look(view, node.box, ladder, level)).permute(2, 0, 1)[None]
        with torch.no_grad():
            p = nets.load(f"tissue-razn-f{ladder.downsample(level)}")(pixels).sigmoid()
            p = torch.nn.functional.interpolate(p, scale_factor=2 ** (2 - level), mode="bilinear")
        y0, x0, y1, x1 = (int(v // 16) for v in node.box)
        np.testing.assert_allclose(values[y0:y1, x0:x1], p[0, 0].numpy(), atol=1e-5)
    assert len(checked) >= 2


def test_the_trained_policy_saves_calls_and_the_score_says_what_it_costs() -> None:
    run = apply("scene:tissue?size=8192x8192&tumour=0.1", task="automatic", saliency="trained")
    score = run["score"].values
    assert run["tree"].pixels == run.reads.pixels_requested
    assert run["tree"].calls == score["policy_calls"] + score["segmenter_calls"]
    assert score["segmenter_calls"] < score["finest_calls"] == 256
    assert score["iou"] > score["coarsest_iou"]
    assert run.cost["network_pixels"].value == run["tree"].calls * 64**2


def test_labels_are_stitched_by_repetition() -> None:
    run = apply("scene:tissue?size=2048x2048&tumour=0.2", task="automatic", saliency="edges",
                threshold=0.95, stitching="labels", compare=False)  # fmt: skip
    values = run["prediction"].values
    assert set(np.unique(values)) <= {0.0, 1.0}
    np.testing.assert_array_equal(values, np.kron(values[::4, ::4], np.ones((4, 4))))


def test_without_networks_trained_falls_back_to_edges() -> None:
    run = apply(saliency="trained")
    assert run["tree"].source == "stand-in: edge energy"
    assert "edges decide instead" in run.steps[0].note


# ------------------------------------------------------------------ training
def test_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from hrviz.training import tissue_razn
    from hrviz.training.razn_data import Region

    def areas(name: str, *more: Any) -> dict[int, list[Region]]:
        mask = np.zeros((256, 256), bool)
        mask[40:170, 90:200] = True
        grey = np.where(mask, 120, 220).astype(np.uint8)[..., None].repeat(3, 2)
        return {
            d: [Region({d * k: grey[::k, ::k] for k in (1, 2, 4)}, {d * k: mask[::k, ::k] for k in (1, 2, 4)})]
            for d in (32, 16, 8)
        }  # fmt: skip

    monkeypatch.setattr(tissue_razn, "regions", areas)
    told = tissue_razn.train(seed=0, steps=2, report=lambda text: None, write=False)
    assert set(told["held_out"]) == {f"tissue-razn-{name}" for name in NAMES}


def test_training_areas_show_the_same_place_at_all_levels() -> None:
    from hrviz.training import razn_data
    from hrviz.training.tissue_data import slides

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(razn_data, "REGION", 256)
        area = razn_data._render(slides("train", 1)[0], 8, np.random.default_rng(4))
    assert {d: m.shape for d, m in area.masks.items()} == {
        8: (256, 256),
        16: (128, 128),
        32: (64, 64),
    }
    means = area.pixels[8].reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.corrcoef(means.ravel(), area.pixels[32].ravel())[0, 1] > 0.8


def test_the_reward_is_judged_against_the_finer_truth() -> None:
    """Windows, children and joining: with networks that know the truth there is nothing to gain."""
    torch = pytest.importorskip("torch")
    from hrviz.training.razn_data import Region
    from hrviz.training.tissue_razn import _rewards

    mask = np.zeros((256, 256), bool)
    mask[64:192, 32:160] = True
    grey = np.where(mask, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    half = grey.reshape(128, 2, 128, 2, 3).mean((1, 3)).astype(np.uint8)
    area = Region({16: grey, 32: half}, {16: mask, 32: mask[::2, ::2]})

    def knowing(x: Any) -> Any:
        return 20 * (torch.nn.functional.avg_pool2d(x[:, :1], 2) - 0.5)

    def blind(x: Any) -> Any:
        return torch.zeros(len(x), 1, 32, 32)

    rng = np.random.default_rng(0)
    x, low, high = _rewards(32, 2, {32: blind, 16: knowing}, {}, [area], rng, 1)
    assert x.shape == (4, 4, 64, 64)
    np.testing.assert_allclose(low, np.log(2), atol=1e-5)
    assert (high < 1e-3).all()


def test_the_loss_after_a_zoom_is_that_of_the_tree_below() -> None:
    """Two zooms: the middle level knows nothing, but its policy goes on to one that does."""
    torch = pytest.importorskip("torch")
    from hrviz.training.razn_data import Region
    from hrviz.training.tissue_razn import _rewards

    mask = np.zeros((512, 512), bool)
    mask[100:300, 60:330] = True
    grey = np.where(mask, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    area = Region({d: grey[:: d // 8, :: d // 8] for d in (8, 16, 32)},
                  {d: mask[:: d // 8, :: d // 8] for d in (8, 16, 32)})  # fmt: skip

    def knowing(x: Any) -> Any:
        return 20 * (torch.nn.functional.avg_pool2d(x[:, :1], 2) - 0.5)

    def blind(x: Any) -> Any:
        return torch.zeros(len(x), 1, 32, 32)

    def always(x: Any) -> Any:
        return torch.ones(len(x))

    nets_of = {32: blind, 16: blind, 8: knowing}
    for policies, right in (({}, False), ({(16, 2): always}, True)):
        _, low, high = _rewards(32, 2, nets_of, policies, [area], np.random.default_rng(0), 1)
        np.testing.assert_allclose(low, np.log(2), atol=1e-5)
        assert ((high < 0.02) == right).all()

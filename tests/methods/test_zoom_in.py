"""The Zoom-In network: sizes and estimator against the sheet, reads against what was trained on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import hrviz
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.zooming import draws, two_stages
from hrviz.methods.zooming.stages import Stages, memory, paper_location

ALPHA = np.array([0.6, 0.3, 0.1])
BETA = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
F = np.array([[1.0, 2, 3], [-4, 0, 6], [10, 5, -1]])
TRUTH = 0.76


def drawings(n: int):
    """Every outcome of N draws through both stages, with its probability."""
    for sequence in itertools.product(range(3), repeat=n):
        chance = float(np.prod(ALPHA[list(sequence)]))
        tiles = sorted(set(sequence))
        ways = [list(draws.sequences(BETA[c], min(sequence.count(c), 3))) for c in tiles]
        for combination in itertools.product(*ways):
            p = chance * float(np.prod([q for _, q in combination]))
            yield np.array(sequence), dict(zip(tiles, (o for o, _ in combination), strict=True)), p


def drawing(sequence: np.ndarray, orders: dict[int, tuple[int, ...]]) -> two_stages.Drawing:
    made = object.__new__(two_stages.Drawing)
    made.sequence, made.draws = sequence, len(sequence)
    empty = np.zeros((0, 4))
    made.tiles = [
        two_stages.Tile(c, empty, empty, BETA[c], np.array(o), empty, empty, F[c][list(o)][:, None])
        for c, o in orders.items()
    ]
    return made


@pytest.mark.parametrize(("n", "variance", "unique"), [(1, 7.2924, 1), (2, 3.3158, 1.54), (3, 2.0196, 1.864)])  # fmt: skip
def test_both_stages_are_unbiased(n: int, variance: float, unique: float) -> None:
    found = [(p, float(drawing(s, o).feature()[0]), len(o)) for s, o, p in drawings(n)]
    p, values, tiles = (np.array(v) for v in zip(*found, strict=True))
    assert p.sum() == pytest.approx(1)
    assert p @ values == pytest.approx(TRUTH, abs=1e-12)
    assert p @ (values - TRUTH) ** 2 == pytest.approx(variance, abs=1e-4)
    assert p @ tiles == pytest.approx(unique, abs=1e-12)


def test_weights_are_the_estimate() -> None:
    """The weights shown with sub-tiles, times their features, are the estimate."""
    made = drawing(np.array([0, 1, 0, 1, 0]), {0: (1, 0, 2), 1: (2, 0)})
    total = sum(w * made.tiles[t].features[k, 0] for w, t, k in made.weights())
    assert total == pytest.approx(float(made.feature()[0]))
    assert sum(w for w, _, _ in made.weights()) == pytest.approx(1)


def test_gradient_through_both_stages_is_unbiased() -> None:
    """Expected gradients over every outcome against those of the exact sum; a baseline changes nothing."""
    torch = pytest.importorskip("torch")
    from hrviz.training.zoom_in import pool

    first = torch.tensor(np.log(ALPHA), requires_grad=True)
    second = torch.tensor(np.log(BETA), requires_grad=True)
    sums = (torch.softmax(second, 1) * torch.tensor(F)).sum(1)
    exact = torch.autograd.grad((torch.softmax(first, 0) * sums).sum(), (first, second))
    for baseline in (None, torch.tensor([3.0], dtype=torch.float64)):
        total: list[Any] = [0.0, 0.0]
        for sequence, orders, p in drawings(2):
            tiles = np.array(list(orders))
            most = max(len(o) for o in orders.values())
            order = torch.tensor([[*o, *(k for k in range(3) if k not in o)][:most] for o in orders.values()])  # fmt: skip
            kept = torch.tensor([[k < len(o) for k in range(most)] for o in orders.values()])
            features = torch.tensor(F)[torch.from_numpy(tiles)].gather(1, order)[..., None]
            shares = torch.tensor([float((sequence == c).mean()) for c in tiles])
            out = pool(
                torch.log_softmax(first, 0)[None], torch.log_softmax(second, 1)[torch.from_numpy(tiles)],
                np.zeros(len(tiles), int), tiles, order, kept, shares, features, baseline,
            )  # fmt: skip
            grads = torch.autograd.grad(out.sum(), (first, second))
            total = [t + p * g for t, g in zip(total, grads, strict=True)]
        for found, wanted in zip(total, exact, strict=True):
            np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), atol=1e-7)


def test_networks_have_the_published_sizes() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from hrviz.nets.zoom_in import LeNet, ResNet, ViewAttention

    def size(net: Any) -> int:
        return sum(p.numel() for p in net.parameters())

    assert [size(ViewAttention()), size(LeNet()), size(ResNet())] == [881, 45_984, 133_296]
    for net, side, mega in ((LeNet(), 27, 9.27), (LeNet(), 32, 13.82), (LeNet(), 50, 33.75),
                            (LeNet(), 100, 135.0), (ResNet().eval(), 27, 12.37)):  # fmt: skip
        with FlopCounterMode(display=False) as counter:
            out = net(torch.rand(1, 3, side, side))
        assert counter.get_total_flops() / 2e6 == pytest.approx(mega, abs=0.01)
        assert float(out.detach().norm()) == pytest.approx(1, abs=1e-5)


def test_where_positions_lie() -> None:
    assert paper_location(np.arange(1, 9), 500, 50).tolist() == [1, 11, 21, 31, 41, 51, 62, 72]
    with pytest.raises(HrvizError, match="at least 2 pixels"):
        paper_location(1, 500, 1)
    stages = Stages(Box(0, 0, 500, 500), 0.1, 0.2, (50, 50), 27)
    assert stages.view == (50, 50)
    assert stages.tile_view == (10, 10)
    assert stages.tiles(np.array([51])).tolist() == [[-10, -10, 40, 40]]
    inside = stages.subtiles(stages.tiles(np.array([51]))[0], np.arange(100))
    assert ((inside[:, 2:] - inside[:, :2]) == 27).all()
    middle = (inside[:, :2] + inside[:, 2:]) / 2
    assert np.abs(middle.mean(0) - 15).max() <= 0.5
    corner = Stages(Box(0, 0, 500, 500), 0.1, 0.2, (50, 50), 27, "paper")
    assert np.abs(corner.tiles(np.array([0]))[0] - [-25, -25, 25, 25]).max() <= 1


@pytest.mark.parametrize(
    ("sides", "first", "second", "draws_", "subtile", "one", "two"),
    [((500, 500), 0.1, 0.2, 10, 27, 17_290, 10_290), ((1024, 1024), 0.25, 0.5, 30, 32, 292_864, 342_016),
     ((45_056, 35_840), 0.03125, 0.125, 100, 50, 25_481_360, 3_058_960)],
)  # fmt: skip
def test_memory_formulas(sides, first, second, draws_, subtile, one, two) -> None:
    """The sheet's numbers; for the second set the paper's formula says more than one stage."""
    tile = tuple(round(first * s) for s in sides)
    found = memory(Stages(Box(0, 0, *sides), first, second, tile, subtile), draws_, draws_ / 2)
    assert [found["one_stage"], found["all_tiles"]] == [one, two]
    if subtile == 32:
        assert found["tile_by_tile"] == 112_640


def run(address: str, **params: Any) -> Any:
    return hrviz.apply("zoom-in", address, **params)


def test_costs_add_up_to_the_reads() -> None:
    for params in ({"task": "none"}, {"task": "none", "saliency": "truth", "draws": 30, "mapping": "paper"}):  # fmt: skip
        found = run("scene:tissue?size=3000x2000&tumour=0.2", **params)
        assert found["tree"].pixels == found.reads.pixels_requested
        assert found["tree"].summary()["depth"] == 2


def test_a_huge_slide_within_few_reads() -> None:
    found = run("scene:tissue?size=200000x100000", task="none", draws=20)
    assert found.reads.pixels_requested < 2**25
    assert found["tree"].totals()["share_of_exhaustive"] < 2e-3


def test_strips_are_the_whole() -> None:
    """The first attention strip by strip gives the scores of the whole view at once."""
    torch = pytest.importorskip("torch")
    from hrviz import nets
    from hrviz.methods.zooming import zoom_in_eye

    if not (nets.WEIGHTS / "colon-zoom-in.safetensors").exists():
        pytest.skip("the network is not trained yet")
    pixels = np.random.default_rng(0).random((60, 41, 3)).astype(np.float32)
    batch = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
    whole = nets.run("colon-zoom-in", batch, "first")[0].numpy()
    strip = zoom_in_eye.STRIP
    try:
        zoom_in_eye.STRIP = 41 * 7
        np.testing.assert_allclose(zoom_in_eye._strips("colon-zoom-in", pixels), whole, atol=1e-4)
    finally:
        zoom_in_eye.STRIP = strip


def test_lazy_equals_eager() -> None:
    """What is read through the pyramid is what training cut out of whole pictures."""
    pytest.importorskip("torch")
    from hrviz.training.search_data import SETS
    from hrviz.training.zoom_in import Material, Setting

    image = hrviz.open(SETS["colon"].address())
    setting = Setting(10, 5, (50, 50), 27, 10)
    material = Material(image.rgb(image.box, (500, 500))[None], np.array([1]), setting)
    view = image.view()
    stages = Stages(view.box, 0.1, 0.2, (50, 50), 27)
    eager = material.views[0].permute(1, 2, 0).numpy() / 255
    np.testing.assert_allclose(view.read(stages.view), eager, atol=1 / 255 + 1e-6)
    positions = np.array([0, 1234, 2499])
    tiles = stages.tiles(positions)
    assert (tiles[:, :2] == material.origins(positions)).all()
    inside = np.array([0, 57, 99])
    squares = np.stack(
        [stages.subtiles(t, np.array([k]))[0] for t, k in zip(tiles, inside, strict=True)]
    )
    cut = material.subtiles(np.zeros(3, int), positions, inside).permute(0, 2, 3, 1).numpy()
    for square, wanted in zip(squares, cut, strict=True):
        np.testing.assert_allclose(view.read((27, 27), Box(*square)), wanted, atol=1e-6)
    views = material.tile_views(np.zeros(1, int), positions[1:2])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(
        view.read(stages.tile_view, Box(*tiles[1])), views, atol=1 / 255 + 1e-6
    )


def test_a_box_beyond_the_view_stays_in_its_parent() -> None:
    """A sub-tile of a tile at the rim may lie wholly outside: its node is a line on the rim."""
    from hrviz.methods.zooming.growing import Growing

    grown = Growing(hrviz.open("scene:tissue?size=100x100").view())
    tile = grown.add(None, Box(80, 80, 130, 130), 1, "zoomed", pixels=0)
    grown.add(tile, Box(110, 90, 130, 110), 1, "sampled", pixels=0)
    assert [tuple(n.box) for n in grown.tree().nodes] == [(80, 80, 100, 100), (100, 90, 100, 100)]


def test_constant_and_tiny_regions() -> None:
    for address in ("scene:needle?size=64x64&background=plain&count=0&distractors=0", "scene:tissue?size=3x2"):  # fmt: skip
        found = run(address, task="none")
        assert found["attention"].values.min() >= 0
    with pytest.raises(HrvizError, match="lower first scale"):
        run("scene:tissue?size=200000x100000", task="none", first=0.05)


def test_more_draws_than_subtiles() -> None:
    """One position a tile: drawn many times, it is read once."""
    found = run(
        "scene:tissue?size=300x200", task="none", first=0.005, second=0.01, tile=64, draws=50
    )
    assert found["tree"].summary()["sampled"] == found["tree"].summary()["zoomed"] - 1


def _material(extractor: str) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    from hrviz.nets.zoom_in import ZoomIn
    from hrviz.training.zoom_in import Material, Setting

    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    labels = np.arange(8) % 2
    return ZoomIn(2, extractor), Material(pixels, labels, Setting(8, 4, (16, 16), 16, 3))


def test_settled_statistics_are_those_of_what_attention_draws() -> None:
    """Mean over batches, and no trace of what was there before."""
    import torch

    from hrviz.training.zoom_in import look, settle

    net, data = _material("resnet")
    first = net.features.blocks[0].before[0]
    first.running_mean.fill_(7.0)
    settle(net, data, 4, torch.Generator().manual_seed(3), batches=3)
    settled = first.running_mean.clone()
    seen: list[Any] = []
    first.register_forward_pre_hook(lambda m, x: seen.append(x[0].mean((0, 2, 3))))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _ in range(3):
            images = torch.randperm(8, generator=generator)[:4].numpy()
            look(net, data, images, generator)
    torch.testing.assert_close(settled, torch.stack(seen).mean(0))
    assert first.momentum == pytest.approx(0.1)


def test_held_attentions_stay_and_features_learn() -> None:
    import torch

    from hrviz.training.zoom_in import Plan, fit

    net, data = _material("lenet")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fit(net, data, data, Plan(steps=2, batch=4, contrastive=0.0, held=True), 0, lambda text: None)
    after = net.state_dict()
    changed = {k.split(".")[0] for k in after if not torch.equal(after[k], before[k])}
    assert changed and not changed & {"attention", "attention_on_tiles"}
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(("enough", "kept"), [(0.0, "best"), (1.1, "last")])
def test_the_last_state_is_kept_of_a_training_that_has_not_learnt_enough(
    enough: float, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from hrviz.training import zoom_in

    net, data = _material("lenet")
    found, states = iter([1.0, 0.5, 0.5]), []

    def judged(network: Any, *_: Any, **__: Any) -> tuple[float, float]:
        states.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(found), 0.0

    monkeypatch.setattr(zoom_in, "accuracy", judged)
    plan = zoom_in.Plan(steps=3, batch=4, contrastive=0.0, enough=enough)
    zoom_in.fit(net, data, data, plan, 0, lambda text: None)
    wanted = states[0] if kept == "best" else states[-1]
    assert all(torch.equal(v, wanted[k]) for k, v in net.state_dict().items())


def test_a_stage_is_done_again_until_enough_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from hrviz.training import zoom_in_recipes as recipes

    done: list[tuple[int, float]] = []
    accuracies = iter([0.5, 0.95, 0.3])

    def fit(net: Any, train: Any, held: Any, plan: Any, seed: int, report: Any) -> list[Any]:
        done.append((seed, plan.enough))
        return [{"held_out": next(accuracies)}]

    class Few:
        pixels, labels = np.zeros((2, 500, 500, 3), np.uint8), np.array([0, 1])

    monkeypatch.setattr(recipes, "fit", fit)
    monkeypatch.setattr(recipes, "accuracy", lambda *_: (0.5, 0.0))
    monkeypatch.setattr(recipes, "pictures", lambda *_: Few)
    stage = recipes.Stage("crowded", 60, enough=0.9, tries=3)
    recipe = recipes.replace(recipes.RECIPES["colon-zoom-in"], before=(stage,))
    monkeypatch.setitem(recipes.RECIPES, "tried", recipe)
    recipes.train("tried", seed=7, write=False, report=lambda text: None)
    assert done == [(7, 0.9), (1007, 0.9), (7, 0.0)]


def test_pictures_moved_round_keep_every_pixel() -> None:
    from hrviz.training.zoom_in_recipes import _moved_round

    pixels = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)
    moved = _moved_round(pixels, 1)
    assert (moved == _moved_round(pixels, 1)).all() and not (moved == pixels).all()
    for one, other in zip(pixels, moved, strict=True):
        rows, columns = np.argwhere((other == one[0, 0]).all(-1))[0]
        np.testing.assert_array_equal(np.roll(one, (rows, columns), (0, 1)), other)

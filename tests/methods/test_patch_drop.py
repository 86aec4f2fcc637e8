"""PatchDrop: the published sizes and rewards, gradients by enumeration, searches against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fake_images import image_of

import hrviz
from hrviz import nets
from hrviz.errors import HrvizError
from hrviz.methods.zooming.patch_policy import FULL, Patches, exhaustive, greedy
from hrviz.methods.zooming.stand_ins import edge_energy, sought, standing_out
from hrviz.nets.patch_drop import masked, paper_networks, policy_loss
from hrviz.nets.patch_reward import MEAN, bounded, reward

BOARD = "scene:digits?size=448x448&digits=1&smallest=48&largest=0.15&clutter=0.4&seed=3000006"


# ------------------------------------------------------------------ as published
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("CIFAR policy", 4_906_320), ("CIFAR-10 classifier", 21_282_122),
     ("ImageNet policy", 11_184_720), ("fMoW classifier", 21_316_478)],
)  # fmt: skip
def test_the_published_networks_have_their_size(name: str, parameters: int) -> None:
    with torch.device("meta"):
        net = paper_networks()[name]
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_a_published_policy_has_an_answer_for_every_patch() -> None:
    net = paper_networks()["CIFAR policy"].eval()
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 16)


def test_the_reward_over_the_number_kept() -> None:
    expected = [1, .9961, .9844, .9648, .9375, .9023, .8594, .8086, .75, .6836, .6094, .5273, .4375,
                .3398, .2344, .1211, 0]  # fmt: skip
    k = np.arange(17)
    np.testing.assert_allclose(reward(k / 16, np.ones(17), -0.5), expected, atol=6e-5)
    assert reward(4 / 16, 0, -10) == -10


def test_draws_are_bounded() -> None:
    s = np.array([0, 0.1, 0.5, 0.9, 1])
    np.testing.assert_allclose(bounded(s, 0.8), [0.2, 0.26, 0.5, 0.74, 0.8])
    np.testing.assert_allclose(bounded(s, 0.5), 0.5)


@pytest.mark.parametrize(("penalty", "least"), [(-0.5, 1 / 3), (-10, 0.909), (-20, 0.952)])
def test_when_dropping_everything_pays(penalty: float, least: float) -> None:
    """The mean reward without any patch changes its sign at this accuracy."""
    p = np.array([least - 2e-3, least + 2e-3])
    mean = p * reward(0, 1, penalty) + (1 - p) * reward(0, 0, penalty)
    assert mean[0] < 0 < mean[1]


# ------------------------------------------------------------------ gradients
def two_patches() -> tuple[torch.Tensor, list[tuple[torch.Tensor, float]]]:
    """Logits of s = (.3, .8), and every mask with its reward: right iff patch 2 is kept."""
    s = torch.tensor([0.3, 0.8], dtype=torch.float64)
    logits = torch.log(s / (1 - s)).requires_grad_()
    cases = []
    for a in itertools.product((0.0, 1.0), repeat=2):
        cases.append((torch.tensor(a, dtype=torch.float64), reward(sum(a) / 2, a[1], -0.5)))
    return logits, cases


def chances(logits: torch.Tensor, cases: list[tuple[torch.Tensor, float]]) -> torch.Tensor:
    q = bounded(torch.sigmoid(logits), 0.8)
    return torch.stack([(q * a + (1 - q) * (1 - a)).prod() for a, _ in cases])


def test_the_expected_reward_of_two_patches() -> None:
    logits, cases = two_patches()
    p = chances(logits, cases)
    expected = (p * torch.tensor([r for _, r in cases], dtype=torch.float64)).sum()
    assert expected.item() == pytest.approx(0.1562, abs=1e-9)
    (gradient,) = torch.autograd.grad(expected, logits)
    np.testing.assert_allclose(gradient, [-0.06426, 0.09264], atol=5e-6)


@pytest.mark.parametrize(("mean", "factor"), [(False, 1.0), (True, 0.5)])
def test_reinforce_with_a_baseline_has_the_same_gradient(mean: bool, factor: float) -> None:
    """Enumerated over the four masks; averaging over P patches makes it P times smaller."""
    logits, cases = two_patches()
    p = chances(logits, cases).detach()
    total = torch.zeros(2, dtype=torch.float64)
    for chance, (a, r) in zip(p, cases, strict=True):
        q = bounded(torch.sigmoid(logits), 0.8)
        loss = policy_loss(q[None], a[None], torch.tensor([r - 0.75], dtype=torch.float64), mean)
        total -= chance * torch.autograd.grad(loss, logits)[0]
    np.testing.assert_allclose(total, factor * np.array([-0.06426, 0.09264]), atol=5e-6)


# ------------------------------------------------------------------ masks and patches
@pytest.mark.parametrize("grid", [2, 3, 4, 7, 16])
def test_masks_against_pixel_centres(grid: int) -> None:
    view = hrviz.open("scene:digits?size=300x200").view()
    patches = Patches(view, grid)
    keep = np.random.default_rng(grid).random((2, grid * grid)) < 0.5
    cell = np.floor((np.arange(FULL) + 0.5) * grid / FULL).astype(int)
    expected = keep[:, cell[:, None] * grid + cell[None]]
    np.testing.assert_array_equal(patches.masks(keep), expected)
    x = torch.rand(2, 3, FULL, FULL)
    out = masked(x, torch.from_numpy(keep))
    np.testing.assert_array_equal(out, np.where(expected[:, None], x, np.float32(MEAN)))


@pytest.mark.parametrize("grid", [2, 3, 16])
def test_patches_tile_the_view(grid: int) -> None:
    view = hrviz.open("scene:digits?size=300x200").view((20, 30, 160, 250))
    patches = Patches(view, grid)
    boxes = [patches.box(k) for k in range(len(patches))]
    assert sum(b.area for b in boxes) == pytest.approx(view.box.area)
    assert boxes[0][:2] == view.box[:2]
    assert boxes[-1][2:] == pytest.approx(view.box[2:])
    for a, b in itertools.combinations(boxes, 2):
        assert a.intersect(b).area == pytest.approx(0, abs=1e-9)


# ------------------------------------------------------------------ searches
class Table:
    """Says from a table which masks are right, and how sure it is."""

    def __init__(self, right: np.ndarray, chance: np.ndarray, count: int) -> None:
        self.right, self.chance, self.patches, self.tried = right, chance, range(count), 0

    def __call__(self, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.tried += len(keep)
        index = keep @ (1 << np.arange(keep.shape[1]))
        return self.right[index], self.chance[index]


@pytest.mark.parametrize("seed", range(8))
def test_the_exhaustive_search_finds_the_best_reward(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random(2**6) < 0.04
    chance = rng.random(2**6)
    *_, last = exhaustive(Table(right, chance, 6))  # type: ignore[arg-type]
    kept = np.array([bin(k).count("1") for k in range(2**6)])
    rewards = reward(kept / 6, right.astype(float), -0.5)
    assert last.progress == 1
    assert last.right == right.any()
    if right.any():
        best = rewards == rewards.max()
        assert reward(last.keep.mean(), 1.0, -0.5) == rewards.max()
        assert (last.keep @ (1 << np.arange(6))) == np.argmax(np.where(best, chance, -1))
    else:
        assert last.keep.all()
        assert last.tried == 2**6


def test_the_exhaustive_search_refuses_more_than_sixteen_patches() -> None:
    with pytest.raises(HrvizError, match="choose a grid of at most 4"):
        next(exhaustive(Table(np.ones(1), np.ones(1), 25)))  # type: ignore[arg-type]


def test_the_greedy_search_keeps_what_is_needed() -> None:
    """Right iff patches 1 and 4 are kept: all others go."""
    index = np.arange(2**6)
    needed = (index & 0b10010) == 0b10010
    chance = np.where(needed, 0.9, 0.1)
    *_, last = greedy(Table(needed, chance, 6))  # type: ignore[arg-type]
    assert np.flatnonzero(last.keep).tolist() == [1, 4]
    assert last.right
    *_, none = greedy(Table(np.zeros(2**6, bool), chance, 6))  # type: ignore[arg-type]
    assert none.keep.all()
    assert not none.right


# ------------------------------------------------------------------ stand-ins
def test_a_constant_picture_has_nothing_that_stands_out() -> None:
    assert edge_energy(np.full((8, 8, 3), 0.3, np.float32)).max() == 0
    assert standing_out(np.zeros(4)).tolist() == [0, 0, 0, 0]


def test_what_is_sought_lies_in_every_patch_that_the_object_touches() -> None:
    view = hrviz.open(BOARD).view()
    y0, x0, y1, x1 = view.truth.boxes().boxes[0]
    there = sought(view, view.box, 4)
    rows, columns = np.nonzero(there)
    assert there.any()
    assert rows.min() == y0 // 112
    assert rows.max() == y1 // 112
    assert columns.min() == x0 // 112
    assert columns.max() == x1 // 112


# ------------------------------------------------------------------ the method
@pytest.mark.parametrize("params", [{}, {"threshold": 0.0}, {"decision": "sample", "grid": 7}])
def test_the_tree_costs_what_was_read(params: dict) -> None:
    run = hrviz.apply("patchdrop", BOARD, saliency="edges", task="none", **params)
    tree = run["tree"]
    assert tree.pixels == run.reads.pixels_requested
    assert all(node.pixels == 0 for node in tree.nodes if node.decision == "skipped by score")
    assert all(node.pixels > 0 for node in tree.nodes if node.decision == "processed")


def test_the_agent_sees_kept_patches_and_the_mean_colour() -> None:
    run = hrviz.apply("patchdrop", BOARD, saliency="truth", task="none")
    agent, view = run["agent view"].array, hrviz.open(BOARD).view()
    for k, there in enumerate(sought(view, view.box, 4).ravel()):
        row, column = divmod(k, 4)
        seen = agent[row * 56 : row * 56 + 56, column * 56 : column * 56 + 56]
        box = (row * 112, column * 112, row * 112 + 112, column * 112 + 112)
        expected = view.image.view(box).read((56, 56)) if there else np.float32(MEAN)
        np.testing.assert_allclose(seen, np.broadcast_to(expected, seen.shape), atol=1e-6)
    assert run["costs"].values["computing saved"] == 0


def test_dropping_everything_is_legal() -> None:
    image = image_of(np.full((60, 80, 3), 120, np.uint8))
    run = hrviz.apply("patchdrop", image, saliency="edges", task="none")
    assert "processed" not in run["tree"].summary()
    assert (run["agent view"].array == np.float32(MEAN)).all()
    assert run["costs"].values["acquisition saved"] == 1


def test_a_draw_is_repeated_by_its_seed() -> None:
    kept = [
        [n.decision for n in hrviz.apply("patchdrop", BOARD, saliency="edges", task="none",
                                         decision="sample", alpha=0.5, seed=seed)["tree"].nodes[1:]]
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert sorted(kept[0]) == sorted(kept[1])
    scores = hrviz.apply("patchdrop", BOARD, saliency="edges", task="none", decision="sample",
                         alpha=0.5)["keep probability"].values  # fmt: skip
    np.testing.assert_allclose(scores, 0.5)


def test_a_gigapixel_picture_is_read_in_proportion_to_the_patches() -> None:
    run = hrviz.apply("patchdrop", "scene:tissue?size=200000x100000", saliency="edges", task="none")
    assert run.reads.pixels_read < 2**23
    assert run["tree"].nodes[1].downsample == pytest.approx(200000 / 224)


def test_other_grids_say_that_the_policy_is_not_asked() -> None:
    run = hrviz.apply("patchdrop", BOARD, grid=3, task="none")
    assert run["tree"].source == "stand-in: edge energy"
    (note,) = [s.note for s in run.steps if s.name == "keep probability"]
    assert "in place of 'trained'" in note


def test_the_trained_policy_keeps_few_patches_and_the_answer() -> None:
    """On boards of the unseen split, against as many patches at random."""
    from hrviz.training.patch_drop import judge
    from hrviz.training.patch_drop_data import boards

    found = judge(*(nets.load(f"patch-drop-{part}") for part in ("policy", "classifier", "low")),
                  boards("unseen", 40))  # fmt: skip
    assert found["patches_kept_of_16"] < 6
    assert found["accuracy_patch_drop"] > 0.8
    assert found["accuracy_patch_drop"] > found["accuracy_as_many_at_random"] + 0.2


def test_the_greedy_oracle_keeps_the_right_answer() -> None:
    run = hrviz.apply("patchdrop", BOARD, saliency="greedy search")
    assert run["score"].values["right"] == 1
    assert run["tree"].source == "oracle: greedy search over masks"
    both = hrviz.apply("patchdrop", BOARD, two_stream=True)
    assert "patch-drop-low" in both["prediction"].source


def test_the_recipe_runs() -> None:
    from hrviz.training import train

    card = train("patch-drop", steps=4, report=lambda text: None, write=False)
    assert card["held_out"]["pictures"] == 12
    assert 0 <= card["held_out"]["patches_kept_of_16"] <= 16

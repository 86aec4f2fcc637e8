"""The perturbed top-k against quadrature and enumeration, and what a run shows."""

from __future__ import annotations

from math import erf, exp, pi, sqrt
from pathlib import Path

import numpy as np
import pytest

import hrviz
from hrviz.methods.zooming.perturbed_choice import Choice, hard, normalised

SIGMA = 0.05


def phi(x: float) -> float:
    return 0.5 * (1 + erf(x / sqrt(2)))


def exact_two(s: tuple[float, float]) -> tuple[float, float]:
    """Of two scores: chance that the first is higher, and its derivative in the first score."""
    z = (s[0] - s[1]) / (SIGMA * sqrt(2))
    return phi(z), exp(-(z**2) / 2) / sqrt(2 * pi) / (SIGMA * sqrt(2))


def test_one_of_two_by_quadrature() -> None:
    """The sheet's numbers from the closed form, then the sampled forward and both Jacobians."""
    chance, slope = exact_two((0.6, 0.5))
    assert chance == pytest.approx(0.921350, abs=1e-6)
    assert slope == pytest.approx(2.0755, abs=1e-4)
    torch = pytest.importorskip("torch")
    from hrviz.nets.perturbed import perturbed_top_k

    # mirrored and quantile noise: quadrature over a product grid instead of luck
    u = (np.arange(300) + 0.5) / 300
    z = torch.erfinv(torch.tensor(2 * u - 1, dtype=torch.float64)) * sqrt(2)
    noise = torch.cartesian_prod(z, z)[None]
    for jacobian, expected in (("full", (2.0755, -2.0755)), ("as published code", (2.0755, 0.0))):
        s = torch.tensor([[0.6, 0.5]], dtype=torch.float64, requires_grad=True)
        y = perturbed_top_k(s, 1, SIGMA, jacobian=jacobian, noise=noise)
        assert y[0, 0].tolist() == pytest.approx([chance, 1 - chance], abs=2e-3)
        grad = torch.autograd.grad(y[0, 0, 0], s)[0][0]
        assert grad.tolist() == pytest.approx(expected, abs=0.05)


def test_two_of_four() -> None:
    """The first is always chosen; the second is the better of the middle two: 0.61135 by erf."""
    s = np.array([0.9, 0.5, 0.52, 0.1])
    chance = phi(0.02 / (SIGMA * sqrt(2)))
    assert chance == pytest.approx(0.61135, abs=1e-5)
    choice = Choice.of(s, 2, SIGMA, 40_000, np.random.default_rng(0))
    y = choice.mean
    assert y[0] == pytest.approx([1, 0, 0, 0], abs=1e-3)
    assert y[1] == pytest.approx([0, 1 - chance, chance, 0], abs=5 * 0.5 / 200)


def test_gradients_agree_with_differences_of_the_exact_chance() -> None:
    slope = exact_two((0.52, 0.5))[1]
    s = np.array([0.9, 0.5, 0.52, 0.1])
    choice = Choice.of(s, 2, SIGMA, 200_000, np.random.default_rng(1))
    pull = choice.pull(1, 2)
    assert pull == pytest.approx([0, -slope, slope, 0], abs=0.25)
    diagonal = choice.pull(1, 2, "as published code")
    assert diagonal[2] == pytest.approx(pull[2])
    assert not diagonal[[0, 1, 3]].any()


def test_torch_and_numpy_choose_alike() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.perturbed import hard_top_k, perturbed_top_k
    from hrviz.nets.perturbed import normalised as in_torch

    rng = np.random.default_rng(3)
    s = normalised(rng.random(30))
    choice = Choice.of(s, 4, 0.1, 200, rng)
    noise = torch.from_numpy(choice.noise)[None].double()
    scores = torch.from_numpy(s)[None].requires_grad_()
    y = perturbed_top_k(scores, 4, 0.1, noise=noise)
    np.testing.assert_allclose(y[0].detach().numpy(), choice.mean, atol=1e-12)
    grad = torch.autograd.grad(y[0, 1, 5] * 1.0 + y[0, 2, 9] * -2.0, scores)[0][0].numpy()
    np.testing.assert_allclose(grad, choice.pull(1, 5) - 2 * choice.pull(2, 9), atol=1e-5)
    assert hard_top_k(scores, 4)[0].tolist() == hard(s, 4).tolist()
    np.testing.assert_allclose(in_torch(scores)[0].detach(), normalised(s))


def test_equal_scores_leave_it_to_the_noise() -> None:
    s = normalised(np.full(6, 3.0))
    assert not s.any()
    y = Choice.of(s, 2, SIGMA, 6_000, np.random.default_rng(0)).mean.sum(0)
    assert y == pytest.approx(np.full(6, 1 / 3), abs=0.03)
    assert len(hard(s, 9)) == 6


def test_the_mixer_and_mean_pooling_ignore_the_order_of_patches() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.perturbed import PatchSelection

    torch.manual_seed(0)
    for pooling in ("mean", "transformer"):
        net = PatchSelection(2, pooling=pooling, patch=32).eval()
        patches = torch.rand(1, 5, 3, 32, 32)
        with torch.no_grad():
            a, b = net.decide(patches), net.decide(patches[:, [4, 2, 0, 1, 3]])
        assert torch.allclose(a, b, atol=1e-5)


SCENE = "scene:needle?size=1024x768&object=cross&ratio=0.002&distractors=6&seed=5"


def test_what_is_read_is_in_the_tree() -> None:
    run = hrviz.apply("top-k", SCENE, best=7, saliency="truth", task="none")
    tree = run["tree"]
    assert tree.pixels == run.reads.pixels_requested
    assert tree.source == "oracle: the scene's truth"
    chosen = [n for n in tree.nodes if n.decision == "processed"]
    assert len(chosen) == 7
    best = max(chosen, key=lambda n: n.score or 0)
    truth = hrviz.open(SCENE).truth
    centre = truth.points()[0][truth.points()[1] == 1][0]
    assert best.box.y0 <= centre[0] < best.box.y1
    assert best.box.x0 <= centre[1] < best.box.x1
    assert run["choice"].values.sum() == pytest.approx(7)


def test_k_beyond_the_positions_takes_them_all() -> None:
    run = hrviz.apply("top-k", "scene:tissue?size=90x40", best=64, task="none")
    assert run["tree"].summary()["processed"] == run["scores"].values.size == 3 * 2


def test_a_constant_image_is_answered(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (256, 192), (90, 120, 30)).save(tmp_path / "plain.png")
    run = hrviz.apply("top-k", tmp_path / "plain.png", task="none")
    assert run["scores"].values.max() == 0
    assert run["tree"].summary()["processed"] == 10


def test_recipe() -> None:
    pytest.importorskip("torch")
    from hrviz.training import search_patch_selection

    card = search_patch_selection.train(
        "colon-patch-selection", seed=0, steps=2, report=lambda text: None, write=False
    )
    assert 0 <= card["unseen"]["accuracy"] <= 1
    assert card["unseen"]["pictures"] == 6

"""Attention sampling: its networks' sizes, its gradients, and what a run reads and shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hrviz
from hrviz.methods.zooming import draws
from hrviz.methods.zooming.attention_sampling import weights_of

BETA, F = np.array([0.5, 0.25, 0.15, 0.1]), np.array([1.0, 4.0, 10.0, -20.0])


@pytest.mark.parametrize(
    ("n", "expected"), [(2, (0.089, 0.443, 0.898, -1.430)), (3, (0.092, 0.186, 0.396, -0.674))]
)
def test_the_published_gradient_is_biased_as_the_library_is(
    n: int, expected: tuple[float, ...]
) -> None:
    """Expected gradient over every draw; the true one is (0, .75, 1.35, -2.1)."""
    torch = pytest.importorskip("torch")
    from hrviz.nets.sampling import expectation

    total, value, of_features = np.zeros(4), 0.0, np.zeros(4)
    for order, chance in draws.sequences(BETA, n):
        logits = torch.tensor(np.log(BETA), requires_grad=True)
        values = torch.tensor(F, requires_grad=True)
        index = torch.tensor([order])
        log_p = torch.log_softmax(logits, 0)[None]
        out = expectation(log_p, index, values[index][..., None], "as published")
        grads = torch.autograd.grad(out.sum(), (logits, values))
        value += chance * float(out)
        total += chance * grads[0].numpy()
        of_features += chance * grads[1].numpy()
    assert value == pytest.approx(1.0, abs=1e-12)
    assert total == pytest.approx(expected, abs=6e-4)
    assert of_features == pytest.approx(BETA, abs=1e-12)


def test_networks_have_the_published_sizes() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets import attention_sampling as nets

    def parameters(net: object) -> int:
        return sum(p.numel() for p in net.parameters())  # type: ignore[attr-defined]

    traffic, mnist = nets.TrafficAttention(), nets.MnistAttention()
    assert parameters(traffic) == 6_321
    assert parameters(mnist) == 737
    assert traffic(torch.zeros(1, 3, 288, 384)).shape == (1, 35, 47)
    assert mnist(torch.zeros(1, 1, 20, 30)).shape == (1, 20, 30)
    # by hand: 27 w, then three blocks of w^2 (1 + 9 + 9) and two norms, one norm at the end
    assert parameters(nets.TrafficFeatures()) == 27 * 32 + 3 * (19 * 32**2 + 4 * 32) + 2 * 32
    assert parameters(nets.MnistFeatures()) == 49 * 32 + 32 + 3 * (9 * 32**2 + 32)
    for net, shape in (
        (nets.TrafficFeatures(), (2, 3, 100, 100)),
        (nets.MnistFeatures(), (2, 1, 50, 50)),
    ):
        assert torch.allclose(net.eval()(torch.rand(shape)).norm(dim=1), torch.ones(2), atol=1e-5)


def test_attention_is_smoothed_and_entropy_has_its_sign() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.attention_sampling import attention, entropy_term

    logits = torch.zeros(1, 4, 5)
    logits[0, 1, 2] = 200.0
    p = attention(logits, smooth=1e-4)
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)
    assert float(p.min()) == pytest.approx(1e-4 / 20, rel=1e-3)
    assert float(p[0, 1, 2]) == pytest.approx(1 - 1e-4 + 1e-4 / 20, abs=1e-6)
    even = attention(torch.zeros(1, 4, 5))
    assert float(entropy_term(even)) == pytest.approx(-np.log(20), abs=1e-3)
    assert float(entropy_term(p)) > float(entropy_term(even))  # added to a loss, it evens


def test_the_small_attention_has_a_position_in_eight_pixels() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.methods.zooming.attended import positions
    from hrviz.nets.attention_sampling import ViewAttention

    net = ViewAttention()
    for size in ((125, 125), (256, 256), (1, 1), (3, 40), (8, 9)):
        assert net(torch.zeros(1, 3, *size)).shape[1:] == positions(size)


def test_weights_are_those_of_the_estimate() -> None:
    rng = np.random.default_rng(0)
    for replacement in (False, True):
        order = draws.draw(BETA, 3, rng, replacement)
        weights = weights_of(BETA, order, replacement)
        assert sum(weights.values()) == pytest.approx(1)
        total = sum(w * F[k] for k, w in weights.items())
        assert total == pytest.approx(float(draws.estimate(BETA, order, F[order], replacement)))


SCENE = "scene:needle?size=1024x768&object=cross&ratio=0.002&distractors=6&seed=5"


def test_what_is_read_is_in_the_tree_and_comparisons_are_not() -> None:
    few = hrviz.apply("ats", SCENE, samples=6, redraws=0, task="none")
    many = hrviz.apply("ats", SCENE, samples=6, redraws=50, task="none")
    assert few["tree"].pixels == few.reads.pixels_requested == many.reads.pixels_requested
    tree = few["tree"]
    assert tree.nodes[0].decision == "zoomed"
    assert sum(n.draws for n in tree.nodes) == 6
    assert tree.source == "stand-in: edge energy"
    assert tree.calls == 0


def test_redraws_surround_the_exact_sum() -> None:
    """Mean brightness under attention, from all patches read one by one."""
    run = hrviz.apply("ats", SCENE, samples=4, redraws=400, patch=64, task="none")
    p = run["attention"].values
    image = hrviz.open(SCENE)
    rows, columns = p.shape
    total = 0.0
    for r in range(rows):
        for c in range(columns):
            y, x = round((r + 0.5) * 768 / rows - 32), round((c + 0.5) * 1024 / columns - 32)
            box = max(y, 0), max(x, 0), min(y + 64, 768), min(x + 64, 1024)
            total += p[r, c] * image.rgb(box).sum() / 255 / 3 / 64**2
    curve = run["estimate"]
    exact = curve.series["exact sum"]
    assert exact == pytest.approx(np.full(4, total), abs=1e-5)
    mean, band = curve.series["mean of redraws"], curve.bands["mean of redraws"]
    sd = (band[:, 1] - band[:, 0]) / 2
    assert (np.abs(mean - exact) < 5 * sd / 20).all()
    assert sd[-1] < sd[0]


def test_the_truth_draws_the_needle() -> None:
    run = hrviz.apply("ats", SCENE, samples=3, saliency="truth", task="none")
    truth = hrviz.open(SCENE).truth
    y, x = truth.points()[0][truth.points()[1] == 1][0]
    boxes = [n.box for n in run["tree"].nodes[1:]]
    assert any(b.y0 <= y < b.y1 and b.x0 <= x < b.x1 for b in boxes)
    assert run["tree"].source == "oracle: the scene's truth"


def test_more_samples_than_positions_and_draws_with_replacement() -> None:
    small = hrviz.apply("ats", "scene:tissue?size=90x40", samples=64, task="none")
    assert len(small["tree"].nodes) - 1 == small["attention"].values.size == 6
    again = hrviz.apply("ats", "scene:tissue?size=90x40", samples=64, replacement=True, task="none")
    assert sum(n.draws for n in again["tree"].nodes) == 64
    assert len(again["tree"].nodes) - 1 <= 6


def test_a_constant_image_is_attended_to_evenly(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (256, 192), (90, 120, 30)).save(tmp_path / "plain.png")
    p = hrviz.apply("ats", tmp_path / "plain.png", task="none")["attention"].values
    assert p == pytest.approx(np.full(p.shape, 1 / p.size))


def test_temperature_flattens() -> None:
    cool = hrviz.apply("ats", SCENE, temperature=0.5, task="none")["attention"].values
    warm = hrviz.apply("ats", SCENE, temperature=5.0, task="none")["attention"].values
    assert cool.max() > warm.max()
    assert warm.max() < 3 / warm.size


def test_a_gigapixel_image_is_read_in_few_places() -> None:
    run = hrviz.apply("ats", "scene:needle?size=200000x100000", samples=4, redraws=0, patch=64,
                      task="none")  # fmt: skip
    assert run["view"].array.shape == (512, 1024, 3)
    assert [n.pixels for n in run["tree"].nodes[1:]] == [64.0**2] * 4
    assert run.reads.pixels_read < 2**24


def test_recipe() -> None:
    pytest.importorskip("torch")
    from hrviz.training import search_ats

    card = search_ats.train("colon-ats", seed=0, steps=2, report=lambda text: None, write=False)
    assert card["held_out"]["redraws"] == 5
    assert card["unseen"]["pictures"] == 6

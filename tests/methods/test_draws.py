"""The sampling estimators against enumeration of every draw (the sheet's numbers, float64)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hrviz.errors import HrvizError
from hrviz.methods.zooming import draws

BETA, F = np.array([0.5, 0.25, 0.15, 0.1]), np.array([1.0, 4.0, 10.0, -20.0])
TRUTH = 1.0


def moments(n: int, estimator) -> tuple[float, float]:
    """Mean and variance of an estimator over all ordered draws."""
    found = [(chance, estimator(np.array(order))) for order, chance in draws.sequences(BETA, n)]
    chances, values = map(np.array, zip(*found, strict=True))
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    mean = float(chances @ values)
    return mean, float(chances @ (values - mean) ** 2)


@pytest.mark.parametrize(("n", "variance"), [(2, 22.5056), (3, 11.3081), (4, 6.3608)])
def test_unbiased_without_replacement(n: int, variance: float) -> None:
    mean, found = moments(n, lambda order: draws.estimate(BETA, order, F[order]))
    assert mean == pytest.approx(TRUTH, abs=1e-12)
    assert found == pytest.approx(variance, abs=1e-4)


@pytest.mark.parametrize(("n", "printed"), [(2, 0.5), (3, 0.6667), (4, 0.75)])
def test_the_printed_equation_9_is_biased(n: int, printed: float) -> None:
    """With the feature of the draw before in the last bracket, as the paper prints it."""

    def wrong(order: np.ndarray) -> float:
        out = 0.0
        for i in range(n):
            before = BETA[order[:i]].sum()
            last = F[order[i - 1]] if i else 0.0
            out += (BETA[order[:i]] * F[order[:i]]).sum() + (1 - before) * last
        return out / n

    assert moments(n, wrong)[0] == pytest.approx(printed, abs=1e-4)


@pytest.mark.parametrize(("n", "mean"), [(2, 0.8725), (3, 0.4082), (4, -1.25)])
def test_the_plain_mean_is_biased(n: int, mean: float) -> None:
    assert moments(n, lambda order: float(F[order].mean()))[0] == pytest.approx(mean, abs=1e-4)


def test_the_terms_of_one_sequence() -> None:
    order = np.array([1, 0, 3])
    assert draws.terms(BETA, order, F[order]) == pytest.approx([4, 1.75, -3.5])
    assert draws.estimate(BETA, order, F[order]) == pytest.approx(0.75)


def test_variance_with_replacement() -> None:
    for n, variance in ((2, 29.25), (3, 19.5), (4, 14.625)):
        chances, values = [], []
        for order in itertools.product(range(4), repeat=n):
            chances.append(float(np.prod(BETA[list(order)])))
            values.append(
                float(draws.estimate(BETA, np.array(order), F[list(order)], replacement=True))
            )
        mean = np.dot(chances, values)
        assert mean == pytest.approx(TRUTH)
        assert np.dot(chances, (np.array(values) - mean) ** 2) == pytest.approx(variance)


def test_gumbel_draws_one_after_another() -> None:
    """Frequencies of ordered pairs, and inclusion probabilities, against the enumeration."""
    rng = np.random.default_rng(0)
    drawn = np.array([draws.draw(BETA, 2, rng) for _ in range(40_000)])
    for order, chance in draws.sequences(BETA, 2):
        share = float((drawn == order).all(1).mean())
        assert share == pytest.approx(chance, abs=5 * np.sqrt(chance / 40_000))
    included = [(drawn == k).any(1).mean() for k in range(4)]
    assert included == pytest.approx([0.8105, 0.5719, 0.3667, 0.2510], abs=0.012)


def test_no_more_than_there_are() -> None:
    rng = np.random.default_rng(0)
    assert sorted(draws.draw(BETA, 9, rng)) == [0, 1, 2, 3]
    assert draws.draw(np.array([0.0, 1.0, 0.0]), 3, rng).tolist() == [1]
    assert len(draws.draw(BETA, 9, rng, replacement=True)) == 9
    for bad in (np.array([np.nan, 1.0]), np.zeros(3), np.array([-1.0, 2.0])):
        with pytest.raises(HrvizError, match="no distribution"):
            draws.draw(bad, 1, rng)
    with pytest.raises(HrvizError, match="choose 1 or more"):
        draws.draw(BETA, 0, rng)


def test_gradient_is_unbiased_for_one_two_and_three_draws() -> None:
    """Expected gradient over every draw, weights from the sheet: (0, .75, 1.35, -2.1)."""
    torch = pytest.importorskip("torch")
    from hrviz.nets.sampling import expectation

    truth = BETA * (F - TRUTH)
    assert truth == pytest.approx([0, 0.75, 1.35, -2.1])
    for n in (1, 2, 3):
        total = np.zeros(4)
        value = 0.0
        for order, chance in draws.sequences(BETA, n):
            logits = torch.tensor(np.log(BETA), requires_grad=True)
            log_p = torch.log_softmax(logits, 0)[None]
            index = torch.tensor([order])
            out = expectation(log_p, index, torch.tensor(F)[index][..., None])
            value += chance * float(out)
            total += chance * torch.autograd.grad(out.sum(), logits)[0].numpy()
        assert value == pytest.approx(TRUTH, abs=1e-12)
        assert total == pytest.approx(truth, abs=1e-9)
    total = np.zeros(4)
    for order, chance in draws.sequences(BETA, 2):  # the brackets alone: the sheet's wrong numbers
        logits = torch.tensor(np.log(BETA), requires_grad=True)
        log_p = torch.log_softmax(logits, 0)[None]
        index = torch.tensor([order])
        out = expectation(log_p, index, torch.tensor(F)[index][..., None], gradient="none")
        total += chance * torch.autograd.grad(out.sum(), logits)[0].numpy()
    assert total == pytest.approx([-0.064, 0.093, 0.1, -0.129], abs=1e-3)

"""Targets, frames and the recipe of the counters, and that the bundled ones count as their cards say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hrviz import nets
from hrviz.errors import HrvizError
from hrviz.training import crowd_counter as recipe
from hrviz.training import crowd_counter_data as data


# ------------------------------------------------------------------ targets
def test_the_default_kernel_is_sasnets() -> None:
    k = recipe.kernel()
    assert k.shape == (15, 15)
    assert k.sum() == pytest.approx(1, abs=1e-12)
    assert k[7, 7] == k.max()
    assert k[7, 7] == pytest.approx(0.0112604783, abs=5e-11)
    assert k[7, 8] / k[7, 7] == pytest.approx(np.exp(-1 / 32))


def test_a_head_peaks_on_its_own_pixel() -> None:
    """Not one pixel up and left of it, as in the published preparation."""
    target = recipe.density(np.array([[20.7, 25.3]]), (64, 64))
    assert np.unravel_index(target.argmax(), target.shape) == (20, 25)
    assert target.max() == pytest.approx(0.0112604783, abs=5e-11)


def test_at_a_border_the_kernel_is_cut_and_keeps_its_place() -> None:
    """The published one is made smaller and moved: (2, 3) peaks at (4, 4) there."""
    target = recipe.density(np.array([[2.5, 3.5]]), (64, 64))
    assert np.unravel_index(target.argmax(), target.shape) == (2, 3)
    assert target.sum() == pytest.approx(1, abs=1e-12)
    assert np.argwhere(target > 0).max(0).tolist() == [9, 10]
    seen = recipe.kernel()[5:, 4:]
    np.testing.assert_allclose(target[:10, :11], seen / seen.sum(), rtol=1e-12)


def test_the_integral_is_the_number_of_heads() -> None:
    rng = np.random.default_rng(0)
    heads = rng.random((200, 2)) * [40, 60]
    heads[:4] = [[0, 0], [0, 59.999], [39.999, 0], [39.999, 59.999]]
    for sigma, side in ((4.0, 15), (1.5, 9)):
        assert recipe.density(heads, (40, 60), sigma, side).sum() == pytest.approx(200, abs=1e-9)
    assert recipe.density(np.empty((0, 2)), (40, 60)).sum() == 0


def test_inside_it_is_scipys_gaussian() -> None:
    heads = np.array([[30.2, 40.9], [33.5, 44.5], [50.0, 20.0]])
    dots = np.zeros((96, 96))
    dots[tuple(np.floor(heads).astype(int).T)] = 1
    expected = gaussian_filter(dots, 4.0, mode="constant", radius=7)
    np.testing.assert_allclose(recipe.density(heads, (96, 96)), expected, atol=1e-12)


# ------------------------------------------------------------------ frames
@pytest.fixture(scope="module")
def ring_frame() -> tuple[np.ndarray, np.ndarray]:
    return data.frame("rings", "train", 3)


def test_heads_lie_where_people_are_drawn() -> None:
    pixels, heads = data.frame("square", "train", 0)
    assert pixels.shape == (*data.SIZE, 3)
    assert len(heads) > 5
    assert (heads >= 0).all()
    assert (heads < data.SIZE).all()
    # Paving is grey: at and just below heads colours and tones differ from their surroundings.
    grey = pixels.astype(float).mean(2)
    rough = np.abs(grey - gaussian_filter(grey, 6))
    y, x = np.floor(heads).astype(int).T
    body = rough[(y + 1).clip(max=data.SIZE[0] - 1), x]
    assert body.mean() > 3 * np.median(rough)


def test_a_square_is_the_picture_a_frame_is_cut_from() -> None:
    image = data.square("unseen", 1)
    pixels, heads = data.frame("square", "unseen", 1)
    assert (image.height, image.width) == (data.SQUARE["height"], data.SQUARE["width"])
    assert (data.WINDOW.height, data.WINDOW.width) == tuple(64 * n for n in data.SIZE)
    np.testing.assert_array_equal(image.rgb(data.WINDOW, data.SIZE), pixels)
    assert len(heads) == len(image.truth.points(data.WINDOW)[0])


def test_rings_have_no_low_frequencies(ring_frame: tuple[np.ndarray, np.ndarray]) -> None:
    """A target is dark in its middle, and nothing of it is left in the mean about it."""
    pixels, heads = ring_frame
    grey = pixels[..., 0].astype(float)
    inside = ((heads > 12) & (heads < np.array(data.SIZE) - 12)).all(1)
    apart = [
        np.hypot(*(np.delete(heads, k, 0) - h).T).min() > 12 for k, h in enumerate(heads)
    ]  # other targets; distractors still may be near
    y, x = np.floor(heads[inside & apart]).astype(int).T
    ground = gaussian_filter(grey, 12)
    middle = grey[y, x] - ground[y, x]
    means = [grey[a - 4 : a + 5, b - 4 : b + 5].mean() - ground[a, b] for a, b in zip(y, x, strict=True)]  # fmt: skip
    assert np.median(middle) < -30
    assert abs(np.median(means)) < 1.5


def test_frames_are_kept_and_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path)
    first = data.frames("rings", "held-out", 2)
    made: list[int] = []
    frame = data.frame
    monkeypatch.setattr(
        data, "frame", lambda kind, split, k: (made.append(k), frame(kind, split, k))[1]
    )
    more = data.frames("rings", "held-out", 3)
    assert made == [2]
    np.testing.assert_array_equal(more.pixels[:2], first.pixels)
    np.testing.assert_array_equal(more.heads[1], first.heads[1])
    assert data.frames("rings", "held-out", 1).counts.tolist() == [len(first.heads[0])]
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_unknown_frames_are_named() -> None:
    with pytest.raises(HrvizError, match=r"'rngs'.*square or rings"):
        data.frame("rngs", "train", 0)


# ------------------------------------------------------------------ the recipe
def test_a_short_training_runs_and_is_the_same_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path)
    told: dict[str, Any] = {}
    monkeypatch.setattr(nets, "save", lambda name, net, facts: told.update({name: (net, facts)}))
    card = recipe.train(seed=3, steps=2, report=lambda text: None, write=True)
    assert list(told) == ["crowd-counter", "crowd-counter-half", "crowd-counter-quarter"]
    assert card["name"] == "crowd-counter"
    assert {"mae", "bias", "cip_4_mae", "cip_16_mae"} <= set(card["held_out"])
    first = {name: net.state_dict() for name, (net, _) in told.items()}
    recipe.train(seed=3, steps=2, report=lambda text: None, write=True)
    for name, (net, _) in told.items():
        for key, value in net.state_dict().items():
            assert torch.equal(value, first[name][key]), (name, key)


def test_counting_frames_downsampled_counts_their_area_means() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 16, 24, 3), np.uint8)

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(1, keepdim=True)

    for factor in (1, 2, 4):
        expected = pixels.mean(3).sum((1, 2)) / 255 / factor**2
        np.testing.assert_allclose(recipe.counts(Sum(), pixels, factor), expected, rtol=1e-5)
    np.testing.assert_allclose(recipe.counts(Sum(), pixels, 1, 2), pixels.mean(3).sum((1, 2)) / 255, rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("arm", recipe.ARMS)
def test_bundled_counters_count_what_their_cards_say(arm: str) -> None:
    name, factor = recipe.ARMS[arm]
    card = nets.card(name)
    frames = [data.frame("square", "held-out", k) for k in range(recipe.FIRST)]
    truth = np.array([len(heads) for _, heads in frames])
    found = recipe.counts(nets.load(name), np.stack([pixels for pixels, _ in frames]), factor)
    np.testing.assert_allclose(found, card["held_out"]["first_counts"], atol=0.05)
    assert np.abs(found - truth).mean() < 2.5 * card["held_out"]["mae"]
    assert card["parameters"] == 60_361
    assert (nets.WEIGHTS / f"{name}.safetensors").stat().st_size < 2**20

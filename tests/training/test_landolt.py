"""The Landolt-C task and its recipe: pictures against their truth, and a few steps of every arm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrviz.methods.downsampling.sampler import saliency_nodes
from hrviz.nets.landolt import LandoltClassifier, LandoltSaliency
from hrviz.training import landolt
from hrviz.training.landolt_data import GAP, RING, SIDE, pictures
from hrviz.training.warping import even_nodes, warp


@pytest.fixture(scope="module")
def task() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return pictures(24, 5)


def red_of(picture: np.ndarray) -> np.ndarray:
    """Where red rules by far: the ring alone."""
    r, g, b = picture.astype(int).transpose(2, 0, 1)
    return (r > 190) & (g < 70) & (b < 70)


# ------------------------------------------------------------------ the task
def test_pictures_are_the_same_one_by_one(task: tuple[np.ndarray, ...]) -> None:
    again = pictures(3, 5)
    for one, other in zip(task, again, strict=True):
        np.testing.assert_array_equal(one[:3], other)
    assert task[0].shape == (24, SIDE, SIDE, 3)
    assert set(np.unique(task[1])) == {0, 1, 2, 3}


def test_the_only_red_thing_is_the_ring_at_its_place(task: tuple[np.ndarray, ...]) -> None:
    for picture, centre in zip(task[0], task[2], strict=True):
        y, x = np.nonzero(red_of(picture))
        assert np.hypot(y + 0.5 - centre[0], x + 0.5 - centre[1]).max() < RING / 2 + 1
        middle = (np.array([y.min() + y.max(), x.min() + x.max()]) + 1) / 2
        np.testing.assert_allclose(middle, centre, atol=1.6)
        assert max(np.ptp(y), np.ptp(x)) + 1 == pytest.approx(RING, abs=2)


def test_the_ring_is_open_to_the_side_its_label_says(task: tuple[np.ndarray, ...]) -> None:
    """Looking from the centre to right, down, left, up: only the open side meets no red."""
    for picture, side, (y, x) in zip(*task, strict=True):
        red = red_of(picture)
        at = np.arange(RING / 2 - GAP + 1.5, RING / 2 - 1)
        rays = [(y, x + at), (y + at, x), (y, x - at), (y - at, x)]
        seen = [
            red[np.floor(a + 0 * at).astype(int), np.floor(b + 0 * at).astype(int)].mean()
            for a, b in rays
        ]
        assert np.argmin(seen) == side
        assert min(seen) == 0
        assert np.sort(seen)[1] > 0.5


def test_networks_have_the_fact_sheets_sizes() -> None:
    assert sum(p.numel() for p in LandoltClassifier().parameters()) == 24_068
    assert sum(p.numel() for p in LandoltSaliency().parameters()) == 2_849


# ------------------------------------------------------------------ warping
def test_even_nodes_average_evenly() -> None:
    """A ramp stays the ramp at the output's pixel centres, corner to corner."""
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    out = warp(ramp, even_nodes(1, 31), 9)[0, 0]
    expected = np.linspace(0, 1, 9)
    # the outer pixels average only what lies inside
    np.testing.assert_allclose(out[4, 1:-1], expected[1:-1], atol=1e-5)
    assert out[0, 0] == pytest.approx(1 / 8 * np.mean([0, 0, 1 / 8, 3 / 8]), abs=1e-5)


def test_warping_reads_where_the_nodes_say() -> None:
    saliency = torch.rand(1, 31, 31, generator=torch.Generator().manual_seed(1)).double() + 0.05
    v, u = saliency_nodes(saliency, 9.0, "reflect")
    rows, columns = np.mgrid[:64, :64] / 63
    x = torch.from_numpy(np.stack([rows, columns])[None])
    out = warp(x.float(), (v.float(), u.float()), 31, points=1)[0].numpy()
    np.testing.assert_allclose(out[0], v[0], atol=1e-5)
    np.testing.assert_allclose(out[1], u[0], atol=1e-5)


def test_the_true_heat_map_has_its_spot_on_the_ring() -> None:
    found = landolt.heat_map(torch.tensor([[0.5, 255.5], [128.0, 128.0]]))
    np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-5)
    assert found[0].argmax() == 30
    assert found[1].argmax() == 15 * 31 + 15
    assert found.min() >= landolt.EVEN / 31**2 * 0.999


def test_area_zoom_against_the_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 for even nodes; for the true heat map 1 / det(Cov / sigma^2) of the weights at the ring."""
    centres = np.array([[128.0, 128.0]])  # node (15, 15)
    even = [p.numpy() for p in even_nodes(1, 31)]
    assert landolt.area_zoom(*even, centres)[0] == pytest.approx(1, rel=1e-4)
    monkeypatch.setattr(
        landolt, "EVEN", 0.95
    )  # mild: cells of the mesh are nearly the map's tangents
    heat = landolt.heat_map(torch.from_numpy(centres))
    v, u = saliency_nodes(heat, 13.0, "reflect")
    y, x = np.mgrid[:31, :31]
    weights = heat[0].numpy() * np.exp(-4 * np.log(2) * ((y - 15) ** 2 + (x - 15) ** 2) / 13**2)
    cov = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=weights.ravel(), bias=True)
    expected = (13 / np.sqrt(8 * np.log(2))) ** 4 / np.linalg.det(cov)
    found = landolt.area_zoom(v.double().numpy(), u.double().numpy(), centres)[0]
    assert found == pytest.approx(expected, rel=0.15)


def test_the_blur_trick_loses_detail_and_keeps_the_mean() -> None:
    x = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    for _ in range(5):
        out = landolt.blurred(x, rng)
        assert out.shape == x.shape
        assert out.std() <= x.std() + 1e-6
        assert out.mean() == pytest.approx(float(x.mean()), abs=0.02)


# ------------------------------------------------------------------ the recipe
@pytest.mark.parametrize("name", landolt.ARMS)
def test_every_arm_runs(name: str) -> None:
    told: list[str] = []
    arm, row = landolt.run_arm(name, 20, steps=3, report=told.append)
    assert 0 <= row["accuracy"] <= 1
    assert row["area_zoom_median"] > 0
    assert ("peak_on_ring" in row) == (name != "uniform")
    assert arm.looks == (arm.saliency is not None)
    assert told


def test_the_task_alone_teaches_the_saliency() -> None:
    """End to end: gradients of the classifier's loss reach the saliency network."""
    arm = landolt.Arm("end to end", 20, 0, 10)
    images, sides, centres = landolt._data(96, 1)
    arm.loss(9, images[:4].float() / 255, sides[:4], centres[:4]).backward()
    assert arm.saliency is not None
    assert all(p.grad is not None for p in arm.saliency.parameters())
    assert arm.saliency.head.weight.grad.abs().max() > 0


def test_a_warm_start_is_taught_at_first_only() -> None:
    arm = landolt.Arm("warm start", 20, 0, 100)
    assert [arm.taught(k) for k in (0, 24, 25, 99)] == [True, True, False, False]


def test_nothing_is_written_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landolt, "ARMS", ("uniform", "supervised"))
    monkeypatch.setattr(landolt.nets, "save", lambda *args: pytest.fail("wrote weights"))
    facts = landolt.train(seed=0, steps=2, report=lambda text: None, write=False)
    assert [row["arm"] for row in facts["held_out"]["arms"]] == ["uniform", "supervised"]

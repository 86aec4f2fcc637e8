"""Learned deformation: the edge target against Pillow's published numbers (O8), the loss, the operator."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz.errors import HrvizError
from hrviz.methods.downsampling.deformation import edge_loss, edge_target
from hrviz.methods.downsampling.sampler import grid_from_nodes

from .oracle import brute_nodes, numbers


# ------------------------------------------------------------------ the edge target
def square() -> np.ndarray:
    labels = np.zeros((9, 9), int)
    labels[3:7, 2:6] = 1
    return labels


def test_o8_edge_target_inside() -> None:
    found = edge_target(square()) * 255
    expected = numbers("184 237 237 184 | 240 255 255 240 | 240 255 255 240 | 184 237 237 184")
    np.testing.assert_allclose(found[3:7, 2:6], expected, atol=1e-3)
    rest = found[1:-1, 1:-1].copy()
    rest[2:6, 1:5] = 0
    assert not rest.any()  # nothing outside: an edge answers on its higher side only


def test_o8_the_border_is_left_unfiltered() -> None:
    found = edge_target(square()) * 255
    np.testing.assert_allclose(found[:, 0], [0, 1, 5, 11, 14, 14, 11, 5, 1], atol=1e-3)
    labels = np.zeros((6, 6), int)
    labels[:, 3:] = 1
    leak = edge_target(labels) * 255
    np.testing.assert_allclose(leak[1], [1, 0, 0, 129, 141, 254], atol=1e-3)
    # the label that touches the border beats the true edge
    assert leak[1, -1] > leak[1, 1:-1].max()
    clean = edge_target(labels, zero_border=True)
    assert not clean[[0, -1]].any()
    assert not clean[:, [0, -1]].any()
    np.testing.assert_array_equal(clean[1:-1, 1:-1], edge_target(labels)[1:-1, 1:-1])


def test_the_class_number_sets_the_strength() -> None:
    """Of three classes the step 0 to 2 answers more strongly than 0 to 1; a shift changes nothing."""
    labels = np.zeros((12, 24), int)
    labels[4:8, 4:8], labels[4:8, 16:20] = 1, 2
    found = edge_target(labels)
    assert found[4:8, 16:20].max() > found[4:8, 4:8].max() > 0
    np.testing.assert_array_equal(edge_target(labels + 5), found)


def test_constant_labels_have_no_edge() -> None:
    for value in (0, 1, 7):
        assert not edge_target(np.full((8, 8), value)).any()
    assert edge_target(np.ones((1, 1))).shape == (1, 1)


# ------------------------------------------------------------------ the edge loss
def test_edge_loss_by_hand() -> None:
    saliency, target = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[0.0, 5.0], [0.0, 5.0]])
    # stretched: 0 1 .5 .5 against 0 1 0 1
    assert edge_loss(saliency, target) == pytest.approx(100 * (0.25 + 0.25) / 4)
    assert edge_loss(target * 3 + 1, target) == pytest.approx(0, abs=1e-9)


def test_edge_loss_of_constant_maps() -> None:
    even, target = np.full((4, 4), 0.2), np.eye(4)
    assert edge_loss(even, target) == pytest.approx(100 * 4 / 16)
    assert edge_loss(even, even) == 0
    assert edge_loss(target, even) == pytest.approx(100 * 4 / 16)


def test_edge_loss_stretches_over_the_whole_batch() -> None:
    torch = pytest.importorskip("torch")
    a = torch.tensor([[[0.0, 1.0]], [[0.0, 0.5]]], requires_grad=True)
    b = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])
    loss = edge_loss(a, b)
    assert loss.item() == pytest.approx(100 * 0.25 / 4)
    loss.backward()
    assert torch.isfinite(a.grad).all()
    # a softmax over thousands of pixels has a tiny range, and is still stretched to 0..1
    tiny = torch.tensor([0.0, 1e-7, 2e-7])
    assert edge_loss(tiny, torch.tensor([0.0, 0.5, 1.0])).item() < 1e-6


# ------------------------------------------------------------------ the operator
def test_the_operator_is_the_shared_core_with_replicate_padding() -> None:
    """The method's grid from a given saliency, against the equations by brute force."""
    rng = np.random.default_rng(0)
    image = image_of(rng.integers(0, 255, (96, 64, 3), dtype=np.uint8))
    options = {"saliency": "edges", "thumbnail": 16, "bandwidth": 3.0, "task": "none", "size": 64}
    run = hrviz.apply("jin", image, **options)
    shaped = run["saliency"].values
    assert shaped.shape == (16, 11)
    v, u = brute_nodes(shaped, 3.0, "replicate", 3)
    expected = grid_from_nodes(np.clip(v, 0, 1), np.clip(u, 0, 1), image.box, (64, 43))
    np.testing.assert_allclose(run["grid"].nodes, expected.nodes, atol=1e-6)
    # the kernel ends at its half width: a sixteenth of its peak
    assert np.exp(-4 * np.log(2)) == pytest.approx(1 / 16)


def test_a_long_region_is_warped_with_any_padding() -> None:
    image = image_of(np.random.default_rng(1).integers(0, 255, (6, 300, 3), dtype=np.uint8))
    for padding in ("none", "replicate", "reflect"):
        run = hrviz.apply(
            "jin", image, saliency="edges", padding=padding, bandwidth=20, task="none", size=96
        )
        assert 0 < run["grid"].covered() <= 1 + 1e-9
        assert padding == "replicate" or not run["grid"].folded().any()


def test_truth_is_the_edge_target_itself() -> None:
    run = hrviz.apply(
        "jin", "scene:vessels?size=512x512", saliency="truth", size=96, thumbnail=32, task="none"
    )
    np.testing.assert_allclose(
        run["saliency"].values, run["edge target"].values / run["edge target"].values.max()
    )
    assert run["saliency"].source.startswith("oracle")
    assert run["edge loss"].values["edge_loss"] == pytest.approx(0, abs=1e-6)
    assert run["edge loss"].values["edge_loss_of_even_saliency"] > 0
    labels = run["warped labels"]
    assert labels.grid is run["grid"]
    assert set(np.unique(labels.values)) == {0, 1}
    with pytest.raises(HrvizError, match="choose another"):
        hrviz.apply("jin", image_of(np.zeros((40, 40, 3), np.uint8)), saliency="truth", task="none")


# ------------------------------------------------------------------ networks
def test_the_paper_net_has_the_papers_size() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from hrviz.nets.deformation import DeformationNet, saliency

    net = DeformationNet().eval()
    assert sum(p.numel() for p in net.parameters()) == 379_273
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        logits = net(torch.rand(1, 3, 64, 128))
    assert counter.get_total_flops() / 2 == pytest.approx(3.10e9, rel=2e-3)
    assert logits.shape == (1, 64, 128)
    assert saliency(logits).sum().item() == pytest.approx(1, abs=1e-5)


def test_trained_saliency_lies_nearer_to_edges_than_even_saliency() -> None:
    """On unseen eyes; on tissue, where edges are few, it does not (its card tells)."""
    pytest.importorskip("torch")
    from hrviz.scenes.dataset import dataset

    for eye in dataset("vessels", "unseen", 2):
        run = hrviz.apply("jin", eye, size=64, task="none")
        told = run["edge loss"].values
        assert told["edge_loss"] < 0.5 * told["edge_loss_of_even_saliency"]
        assert run["saliency"].source == "trained: vessel-deformation"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vessel-deformation", "tissue-deformation"])
def test_the_recipe_runs(name: str) -> None:
    pytest.importorskip("torch")
    from hrviz.training import train

    told = train(name, steps=3, report=lambda line: None, write=False)["held_out"]
    assert told["edge_target_edge_loss"] == pytest.approx(0, abs=0.01)
    assert all(0 <= told[f"{arm}_iou"] <= 1 for arm in ("uniform", "trained", "edge_target"))

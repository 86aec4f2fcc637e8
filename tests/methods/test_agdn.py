"""AGDN: networks at the paper's size, attention, and the mixed grid against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_images import image_of

import hrviz
from hrviz import nets
from hrviz.geometry import Box
from hrviz.methods.downsampling.attention_guided_deformation import CLASSES, classified
from hrviz.nets.attention_guided import (
    AttentionGuided,
    Branch,
    DeformableConv,
    LocalFeatureAttention,
    PaperBranch,
    attention_of,
)
from hrviz.run import CACHE

from .oracle import brute_line, brute_nodes


# ------------------------------------------------------------------ networks
def test_a_branch_at_the_papers_size() -> None:
    """381,390 parameters without TLFA, and 128 x 128 becomes 201 x 8 x 8."""
    plain = PaperBranch(attention=False).eval()
    assert sum(p.numel() for p in plain.parameters()) == 381_390
    with torch.no_grad():
        assert plain(torch.rand(1, 3, 128, 128)).shape == (1, 201, 8, 8)
    places = [m for m in PaperBranch().modules() if isinstance(m, LocalFeatureAttention)]
    assert [m.h.in_channels for m in places] == [72, 132, 210]  # after blocks 1, 2 and 3


def test_local_feature_attention_begins_as_the_identity() -> None:
    block = LocalFeatureAttention(8)
    x = torch.randn(2, 8, 5, 6)
    torch.testing.assert_close(block(x), x)


def test_local_feature_attention_by_its_formula() -> None:
    """x + gamma softmax(f Ihat f^T) h with Ihat = (I - 1 1^T / c) / c, all matrices written out."""
    torch.manual_seed(0)
    block = LocalFeatureAttention(12).double()
    block.gamma.data.fill_(0.7)
    x = torch.randn(1, 12, 4, 3, dtype=torch.double)
    f = block.f(x)[0].reshape(3, 12).T
    h = block.h(x)[0].reshape(12, 12).T
    centre = (torch.eye(3, dtype=torch.double) - torch.ones(3, 3, dtype=torch.double) / 3) / 3
    likeness = (f @ centre @ f.T).exp()
    expected = x[0].reshape(12, 12).T + 0.7 * (likeness / likeness.sum(1, keepdim=True)) @ h
    torch.testing.assert_close(block(x)[0].reshape(12, 12).T, expected)


def test_a_deformable_convolution_without_offsets_is_a_convolution() -> None:
    torch.manual_seed(1)
    layer = DeformableConv(3, 4)
    x = torch.randn(2, 3, 6, 5)
    # taps are stacked tap by tap: (9, channels) to (channels, 3, 3)
    weight = layer.taps.weight.detach().reshape(4, 3, 3, 3).permute(0, 3, 1, 2)
    expected = torch.nn.functional.conv2d(x, weight, layer.taps.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_an_offset_of_one_pixel_moves_what_is_read() -> None:
    layer = DeformableConv(1, 1)
    layer.taps.weight.data.zero_()
    layer.taps.weight.data[0, 4] = 1  # the middle tap alone
    layer.taps.bias.data.zero_()
    layer.offsets.bias.data.view(9, 2)[4] = torch.tensor([1.0, -2.0])  # down, left
    x = torch.randn(1, 1, 6, 7)
    torch.testing.assert_close(layer(x)[0, 0, :5, 2:], x[0, 0, 1:, :5], atol=1e-5, rtol=1e-5)


def test_both_branches_and_the_classifier_on_both() -> None:
    net = AttentionGuided(5, 4, (2, 2), 8, 2).eval()
    x = torch.rand(2, 3, 64, 64)
    one, two, both = net(x, x.flip(3))
    assert one.shape == two.shape == both.shape == (2, 5)
    features = net.first(x)
    assert (features >= 0).all()
    expected = features.amax((2, 3)) @ net.first_head.weight.T + net.first_head.bias
    torch.testing.assert_close(one, expected)
    assert not {id(p) for p in net.first.parameters()} & {id(p) for p in net.second.parameters()}


def test_any_picture_from_32_px_a_side() -> None:
    branch = Branch(4, (2, 2, 2), 8, 2).eval()
    for h, w in ((32, 32), (33, 90), (128, 47)):
        assert min(branch(torch.rand(1, 3, h, w)).shape[2:]) >= 1


# ------------------------------------------------------------------ attention
def test_attention_is_the_mean_of_the_features_stretched() -> None:
    features = torch.tensor([[[[-1.0, 2.0], [0.0, 4.0]], [[3.0, 0.0], [1.0, 2.0]]]])
    found = attention_of(features, (2, 2))[0]
    mean = np.array([[1.5, 1.0], [0.5, 3.0]])  # after ReLU
    np.testing.assert_allclose(found, (mean - 0.5) / 2.5 + 1e-8, rtol=1e-6)


def test_attention_lies_where_the_features_do() -> None:
    """Nodes are at k / (n - 1); pixel j of m features is centred at (j + 1/2) / m."""
    features = torch.zeros(1, 1, 8, 8)
    features[0, 0, 2, 5] = 1
    found = attention_of(features, (33, 65))[0].numpy()
    assert np.unravel_index(found.argmax(), found.shape) == (10, 44)
    assert found[10, 44] == pytest.approx(1)


def test_even_features_give_even_attention() -> None:
    found = attention_of(torch.full((1, 3, 4, 4), 0.5), (5, 5))
    np.testing.assert_allclose(found, found.mean(), rtol=1e-6)


# ------------------------------------------------------------------ the method
def test_the_three_grids_against_brute_force() -> None:
    """At the paper's 31 nodes, FWHM 9, replicate: rows with y' where equation 6 prints x'."""
    CACHE.clear()
    run = hrviz.apply(
        "agdn", "scene:endoscopy?size=601x401", saliency="edges", nodes=11, share=0.3, task="none"
    )
    saliency = run["saliency"].values
    assert saliency.shape == (7, 11)
    box = Box(0, 0, 401, 601)
    v = brute_line(saliency.max(1), 9.0, 6, "replicate")
    u = brute_line(saliency.max(0), 9.0, 10, "replicate")
    structured = run["structured grid"].nodes
    np.testing.assert_allclose((structured[..., 0] - 0.5) / (box.height - 1), v[:, None] + 0 * u)
    np.testing.assert_allclose((structured[..., 1] - 0.5) / (box.width - 1), u + 0 * v[:, None])
    custom_v, custom_u = brute_nodes(saliency, 9.0, "replicate", 10)
    custom = run["custom grid"].nodes
    np.testing.assert_allclose((custom[..., 0] - 0.5) / (box.height - 1), custom_v, atol=1e-9)
    np.testing.assert_allclose((custom[..., 1] - 0.5) / (box.width - 1), custom_u, atol=1e-9)
    np.testing.assert_allclose(run["grid"].nodes, 0.3 * structured + 0.7 * custom, atol=1e-9)


def test_the_misprint_is_told_on_the_page() -> None:
    assert "misprint" in hrviz.METHODS["attention-guided-deformation"].doc
    run = hrviz.apply("agdn", "scene:endoscopy?size=128x128", saliency="edges", task="none")
    note = next(m.step.note for m in run.measured if m.step.name == "structured grid")
    assert "x' for y'" in note


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_ends_at_the_custom_and_at_the_structured_grid(share: float) -> None:
    run = hrviz.apply(
        "agdn", "scene:endoscopy?size=128x128", saliency="truth", share=share, task="none"
    )
    same = run["structured grid" if share else "custom grid"]
    np.testing.assert_allclose(run["grid"].nodes, same.nodes, atol=1e-9)


def test_a_picture_without_lesions_to_know_is_not_classified() -> None:
    run = hrviz.apply("agdn", "scene:tissue?size=256x256", saliency="edges")
    assert "prediction" not in [m.step.name for m in run.measured]


# ------------------------------------------------------------------ trained
def test_the_trained_network_classifies_and_is_scored() -> None:
    CACHE.clear()
    run = hrviz.apply("agdn", "scene:endoscopy?size=512x512&lesion=ulcer&ratio=0.01&seed=3000002")
    values = run["prediction"].values
    assert tuple(values) == CLASSES
    assert sum(values.values()) == pytest.approx(1)
    score = run["score"].values
    assert score["probability of the truth, both"] == pytest.approx(values["ulcer"])
    assert score["right"] == float(max(values, key=lambda k: values[k]) == "ulcer")
    assert run["saliency"].source == "trained: endoscopy-agdn"
    # the first branch runs once: its attention and its answer are of one pass
    assert run.cost["network_pixels"].value == 2 * 128 * 128


def test_another_kind_of_image_has_false_alarms_only() -> None:
    run = hrviz.apply("agdn", "scene:tissue?size=256x256", task="lesion classification")
    assert set(run["score"].values) == {"false_alarm"}


def test_without_truth_there_is_no_score() -> None:
    view = image_of(np.full((64, 64, 3), 90, np.uint8)).view()
    steps = list(classified(view, None, np.full((64, 64, 3), 0.4, np.float32)))
    assert [s.name for s in steps] == ["prediction"]


def test_the_card_says_what_was_bought() -> None:
    held_out = nets.card("endoscopy-agdn")["held_out"]
    assert held_out["branch_1"] > 2 * held_out["chance"]
    assert held_out["fused_mix"] >= held_out["branch_1"]

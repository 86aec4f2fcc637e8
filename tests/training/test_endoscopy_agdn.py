"""AGDN's recipe: its grid against the closed form, its labels of places, and a few steps of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrviz.methods.downsampling.sampler import saliency_nodes
from hrviz.methods.downsampling.separable import mix, separable_nodes
from hrviz.methods.downsampling.sources import adjust
from hrviz.training import endoscopy_agdn as recipe


def test_the_grid_is_the_one_the_method_makes_by_default() -> None:
    saliency = np.random.default_rng(0).random((2, 31, 31)) ** 3
    v, u = recipe.nodes_of(torch.from_numpy(saliency), 0.3)
    for k in range(2):
        shaped = adjust(saliency[k], 1.0, 0.1)
        structured = separable_nodes(shaped, 9.0, "replicate", "max")
        expected = mix(structured, saliency_nodes(shaped, 9.0, "replicate"), 0.3)
        # the method pads by 27 nodes, three kernel widths, the paper by 30: no difference
        np.testing.assert_allclose(v[k].numpy(), expected[0], atol=1e-9)
        np.testing.assert_allclose(u[k].numpy(), expected[1], atol=1e-9)


def test_places_of_lesions() -> None:
    boxes = np.array([[np.nan] * 4, [100.0, 200, 110, 212], [0.0, 0, 128, 128]])
    found = recipe.places(np.array([0, 3, 1]), boxes)
    assert found[0].sum() == 0
    assert found[1].nonzero()[0].tolist() == [1]  # 105 / 64
    assert found[1].nonzero()[1].tolist() == [3]  # 206 / 64
    assert (found[2, :2, :2] == 1).all()
    assert found[2].sum() == 4


def test_pictures_hold_what_their_labels_say() -> None:
    images, labels, ratios, boxes = recipe.pictures("train", 20)
    assert images.shape == (20, 512, 512, 3)
    assert set(labels) == set(range(5))
    assert (np.isnan(boxes[:, 0]) == (labels == 0)).all()
    assert (ratios >= recipe.RATIOS[0]).all()
    assert (ratios <= recipe.RATIOS[1]).all()


def test_a_few_steps_and_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe.nets, "save", lambda *args: pytest.fail("wrote weights"))
    facts = recipe.train(seed=0, steps=4, report=lambda text: None, write=False)
    held_out = facts["held_out"]
    for name in ("branch_1", "branch_2_mix", "fused_custom", "fused_structured"):
        assert 0 <= held_out[name] <= 1
    assert facts["steps"] == 4

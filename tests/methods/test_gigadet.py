"""GigaDet: candidates and counts against the published numbers and brute force, the run against itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fake_images import image_of

import hrviz
from hrviz.boxes import iou
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.detection import Found
from hrviz.methods.zooming import gigadet_steps as steps
from hrviz.methods.zooming.patch_generation import (
    STRATEGIES,
    Candidates,
    choose,
    coverage,
    thumbnail_size,
)
from hrviz.nets.patch_generation import PaperPatchGeneration, PatchGenerationNet, smooth_l1
from hrviz.run import CACHE
from hrviz.training import gigadet_counts as recipe

METHOD = hrviz.METHODS["gigadet"]
SMALL = "scene:crowd?size=1500x1000&people=120"
#: the published run: 64 x 64 px, candidates of 16, 32 and 64 px, five boxes (y0, x0, y1, x1)
PUBLISHED = np.array(
    [[2, 2, 10, 10], [4, 18, 12, 26], [20, 4, 30, 12], [40, 40, 56, 60], [14, 14, 18, 18]], float
)
FOUR = ([0, 0, 16, 16], [0, 16, 16, 32], [16, 0, 32, 16], [8, 8, 40, 40])


def published() -> Candidates:
    return Candidates((64, 64), (1, 2, 4))


def values(strategy: str) -> dict[tuple[int, ...], float]:
    """Count of every candidate inside that holds anything."""
    grid = published()
    counts = grid.counts(PUBLISHED, strategy)[grid.inside]  # type: ignore[arg-type]
    boxes = grid.boxes[grid.inside].astype(int)
    return {tuple(b): float(c) for b, c in zip(boxes.tolist(), counts, strict=True) if c}


# ------------------------------------------------------------------ candidates
def test_candidates_of_the_published_picture() -> None:
    assert thumbnail_size(15052, 26753) == (562, 999)
    grid = Candidates((562, 999))
    assert grid.cells == (35, 62)
    assert grid.boxes.size // 4 == 8680
    assert grid.inside.sum() == 7406
    assert grid.boxes[0, 0, 0].tolist() == [0, 0, 16, 16]
    assert grid.boxes[3, 4, 5].tolist() == [8, 24, 136, 152]
    assert [int(16 * k * 26753 / 1000) for k in grid.scales] == [428, 856, 1712, 3424]
    assert round(64 * 320**2 / (26753 * 15052), 4) == 0.0163
    assert thumbnail_size(300, 400) == (300, 400), "never enlarged"
    assert thumbnail_size(1, 100_000) == (1, 1000)
    assert not Candidates((1, 90)).inside.any()


def test_the_published_counts() -> None:
    grid = published()
    assert grid.inside.size == 48
    assert grid.inside.sum() == 20
    assert not grid.inside[2].any()
    four = [tuple(b) for b in FOUR]
    assert values("Include") == dict.fromkeys(four, 1.0)
    soft = values("IOU")
    assert [soft[b] for b in four] == [1.25, 1.25, 1.25, 2.0625]
    assert soft[(24, 24, 56, 56)] == pytest.approx(0.8)
    assert soft[(24, 8, 56, 40)] == pytest.approx(0.3)
    assert values("IncludeIgnoreSmall") == dict.fromkeys(four[:3], 1.0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_counts_are_those_of_brute_force(strategy: Any) -> None:
    rng = np.random.default_rng(1)
    corner = rng.random((40, 2)) * (90, 150)
    boxes = np.concatenate([corner, corner + 1 + rng.random((40, 2)) * 20], 1)
    grid = Candidates((100, 160), (1, 2, 4))
    expected = np.zeros(grid.inside.shape)
    for at in np.ndindex(expected.shape):
        patch = Box(*grid.boxes[at])
        for row in boxes:
            box = Box(*row)
            common = patch.intersect(box).area
            if strategy == "IOU":
                expected[at] += common / box.area
            elif common >= box.area - 1e-9:
                high = box.height / patch.height > 0.2
                expected[at] += high or strategy == "Include"
    np.testing.assert_allclose(grid.counts(boxes, strategy), expected, atol=1e-9)


def test_what_the_published_filter_keeps_and_loses() -> None:
    grid, above_one = published(), float(np.nextafter(1, 2))
    flat = grid.boxes.reshape(-1, 4)

    def kept(strategy: Any, least: float) -> list[list[float]]:
        return flat[choose(grid, grid.counts(PUBLISHED, strategy), least, 0.2, 64).chosen].tolist()

    assert kept("Include", above_one) == []
    assert kept("IncludeIgnoreSmall", above_one) == []
    assert kept("IOU", above_one) == [FOUR[3], *FOUR[:3]]
    # a count of 1 suffices here: single objects are not lost, but b3 fits no candidate at all
    once = kept("Include", 1.0)
    assert sorted(once) == sorted(FOUR)
    whole = [any((b[:2] >= p[:2]).all() and (b[2:] <= p[2:]).all() for p in np.array(once)) for b in PUBLISHED]  # fmt: skip
    assert whole == [True, True, True, False, True]


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_a_choice_keeps_its_own_counts_in_order_apart_and_within_k(most: int) -> None:
    rng = np.random.default_rng(2)
    grid = Candidates((200, 300))
    counts = rng.poisson(1.0, grid.inside.shape) * np.array([1, 3, 9, 30])[:, None, None] * 1.0
    choice = choose(grid, counts, 2, 0.2, most)
    flat, boxes = counts.ravel(), grid.boxes.reshape(-1, 4)
    kept = np.concatenate([choice.chosen, choice.beyond])
    assert len(choice.chosen) == min(most, len(kept))
    assert (np.diff(flat[kept]) <= 0).all()
    apart = iou(boxes[kept], boxes[kept])
    assert (apart[~np.eye(len(kept), dtype=bool)] <= 0.2).all()
    for k in choice.suppressed:
        better = kept[flat[kept] >= flat[k]]
        assert iou(boxes[[k]], boxes[better]).max() > 0.2
    assert (flat[choice.few] < 2).all()
    every = np.concatenate([kept, choice.suppressed, choice.few])
    assert sorted(every) == np.flatnonzero(grid.inside.ravel()).tolist()


def test_coverage_counts_each_half_cell_once() -> None:
    grid = Candidates((64, 64), (1, 2))
    density = np.arange(16.0).reshape(4, 4)
    cell, double = 5, 16 + 5  # of 16 px at (1, 1); of 32 px around the same cell
    told = coverage(grid, density, np.array([cell, double]))
    around = density[1, 1] + (density[[0, 2, 1, 1], [1, 1, 0, 2]]).sum() / 2
    around += density[[0, 0, 2, 2], [0, 2, 0, 2]].sum() / 4
    np.testing.assert_allclose(told, np.array([density[1, 1], around]) / density.sum())
    # 'IOU' counts of the finest candidates are a density: they add up to all objects
    inside = np.array([[3, 3, 20, 20], [40.0, 30, 60, 50]])
    assert Candidates((64, 64), (1,)).counts(inside, "IOU").sum() == pytest.approx(2)


# ------------------------------------------------------------------ networks
def test_the_published_networks_size() -> None:
    net = PaperPatchGeneration()
    assert sum(p.numel() for p in net.head.parameters()) == 2_361_860
    assert sum(p.numel() for p in net.features.parameters()) == 14_714_688  # VGG16's convolutions
    assert len(net.features) == 30
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 50, 70)).shape == (1, 4, 3, 4)


def test_the_small_network_answers_on_the_candidates_grid() -> None:
    net = PatchGenerationNet().eval()
    with torch.no_grad():
        for size in ((16, 16), (100, 163), (562, 999)):
            assert net(torch.zeros(1, 3, *size)).shape[3:] == Candidates(size).cells


def test_smooth_l1_switches_at_a_ninth() -> None:
    error = torch.tensor([0.0, 0.1, -0.1, 1 / 9, 1.0, -2.0])
    expected = [0, 0.045, 0.045, 1 / 18, 1 - 1 / 18, 2 - 1 / 18]
    torch.testing.assert_close(smooth_l1(error), torch.tensor(expected))


def test_a_crop_of_the_training_set_keeps_its_counts() -> None:
    """Also mirrored: counts of the crop are those of the boxes in it."""
    rng = np.random.default_rng(3)
    boxes = np.concatenate([c := rng.random((30, 2)) * (540, 980), c + 12], 1)
    grid = Candidates(recipe.SIZE)
    counts = np.stack([grid.counts(boxes, s) for s in STRATEGIES]).astype(np.float32)
    pixels = np.zeros((*recipe.SIZE, 3), np.uint8)
    pixels[..., 0] = np.arange(recipe.SIZE[1]) // 16  # tells where a crop is from
    pixels[..., 1] = (np.arange(recipe.SIZE[0]) // 16)[:, None]
    shown = recipe.Shown(pixels, counts, np.ones(counts.shape, np.uint8))
    small = Candidates((recipe.CROP,) * 2)
    for _ in range(6):
        part, told, weights = recipe.crop(shown, rng)
        x0, mirrored = 16 * int(part[..., 0].min()), part[0, 0, 0] > part[0, -1, 0]
        local = boxes - np.tile((16 * int(part[0, 0, 1]), x0), 2)
        if mirrored:
            local = np.stack([local[:, 0], 320 - local[:, 3], local[:, 2], 320 - local[:, 1]], 1)
        expected = np.stack([small.counts(local, s) for s in STRATEGIES])
        np.testing.assert_allclose(told[:, small.inside], expected[:, small.inside], atol=1e-4)
        assert (weights > 0).tolist() == np.broadcast_to(small.inside, weights.shape).tolist()


def test_a_few_training_steps_and_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe.nets, "save", lambda *args: pytest.fail("wrote weights"))
    monkeypatch.setattr(recipe, "HEIGHTS", (300,))
    monkeypatch.setattr(recipe, "CROWDS", (60,))
    facts = recipe.train(seed=0, steps=2, report=lambda text: None, write=False)
    assert facts["steps"] == 2
    assert 0 <= facts["held_out"]["people_in_16_patches_of_best"] <= 1.5


# ------------------------------------------------------------------ the method
def run(uri: str, region: Any = None, **params: Any) -> Any:
    CACHE.clear()
    return hrviz.apply("gigadet", uri, region, **params)


@pytest.fixture
def whole_person(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A detector that finds one box in the middle of every patch; keeps the shapes it was shown."""
    seen: list[tuple[int, ...]] = []

    def detect(network: str, pixels: np.ndarray, top: int) -> Found:
        seen.append(pixels.shape)
        return Found(np.array([[10.0, 20, 30, 50]]), np.array([0.9]), np.zeros(1, np.int64))

    monkeypatch.setattr(steps, "detect", detect)
    return seen


def test_costs_add_up_and_nodes_say_what_they_are(whole_person: list) -> None:
    result = run(SMALL, saliency="truth", patches=5, scales="2, 4, 8", task="person detection")
    tree = result["tree"]
    assert tree.pixels == result.reads.pixels_requested
    assert tree.source == "oracle: the scene's truth"
    taken = [n for n in tree.nodes if n.decision == "processed"]
    assert len(taken) == len(whole_person) == 5
    assert set(whole_person) == {(320, 320, 3)}
    assert tree.calls == 5
    groups = {n.id for n in tree.nodes if n.parent == 0}
    assert len(groups) == 3
    assert all(n.parent in groups for n in tree.nodes[4:])
    # each node's score is its own count: objects of the truth inside its own box, within rounding
    people = hrviz.open(SMALL).truth.boxes()
    boxes = people.boxes[people.classes == 1]
    for node in taken:
        b = node.box
        common = np.clip(np.minimum(boxes[:, 2:], b[2:]) - np.maximum(boxes[:, :2], b[:2]), 0, None)
        count = (common.prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)).sum()
        assert node.score == pytest.approx(count, rel=0.05)
        assert node.tag == f"{node.score:.3g}"
    order = [n.score for n in tree.nodes[4:]]
    assert order == sorted(order, reverse=True)


def test_boxes_come_back_to_the_picture_by_each_axis_ratio(whole_person: list) -> None:
    """A long strip: rows and columns of the thumbnail have different ratios, and both are used."""
    uri, region = "scene:crowd?size=3001x1207&people=300", (101, 52, 1187, 2999)
    result = run(uri, region, saliency="truth", patches=3, task="person detection")
    view = ImageView(hrviz.open(uri), region)
    grid = Candidates(thumbnail_size(view.height, view.width))
    assert grid.size[0] / view.height != grid.size[1] / view.width
    taken = [n.box for n in result["tree"].nodes if n.decision == "processed"]
    found = result["prediction"].boxes
    for box in taken:
        h, w = steps.crop_size(box, 320)
        low = (box.y0 + 10 * box.height / h, box.x0 + 20 * box.width / w)
        high = (box.y0 + 30 * box.height / h, box.x0 + 50 * box.width / w)
        assert np.abs(found - (*low, *high)).max(1).min() < 1e-6
    centre = np.array([[56.0, 120, 184, 248]]) / np.tile(grid.size, 2)  # a candidate, as shares
    index = np.flatnonzero((grid.boxes.reshape(-1, 4) == [56, 120, 184, 248]).all(1))
    expected = centre[0] * np.tile((view.height, view.width), 2) + (101, 52, 101, 52)
    assert np.abs(np.array(steps.full_box(view, grid, int(index[0]))) - expected).max() <= 0.5


def test_k_bounds_the_cost_whatever_the_crowd() -> None:
    sparse, dense = (
        run(f"scene:crowd?size=1500x1000&people={n}", saliency="truth", task="none", patches=6)
        for n in (30, 800)
    )
    for result in (sparse, dense):
        tree = result["tree"]
        assert tree.summary()["processed"] <= 6
        root = tree.nodes[0].pixels
        assert tree.pixels - root <= 6 * 4 * 320**2  # read from the level just finer than the input
    curve = dense["coverage"]
    assert (np.diff(curve.series["objects, as counted"]) >= -1e-12).all()
    share = curve.series["pixels of the detector"]
    np.testing.assert_allclose(share, curve.x * 320**2 / 1.5e6)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (image_of(np.full((400, 400, 3), 128, np.uint8)), "constant: no edge"),
        (image_of(np.full((1, 1, 3), 128, np.uint8)), "one pixel: no candidate"),
        (image_of(np.full((9, 900, 3), 128, np.uint8)), "no row of cells"),
    ],
    ids=lambda v: v.split(":")[0] if isinstance(v, str) else "",
)
def test_no_patch_is_selected(image: Any, why: str) -> None:
    found = {s.name: s for s in METHOD.function(image.view(), **METHOD.bind({"task": "none"}))}
    assert "No patch is selected" in found["tree"].note
    assert "crops" not in found
    assert found["tree"].result.summary().get("processed", 0) == 0


def test_nobody_there_with_networks_still_has_a_score() -> None:
    result = run("scene:crowd?size=640x480&people=0", saliency="truth", least=1)
    assert result["tree"].summary().get("processed", 0) == 0
    assert result["prediction"].summary()["count"] == 0
    assert result.steps[-1].name == "score"


def test_more_patches_than_there_are() -> None:
    result = run(SMALL, saliency="truth", task="none", patches=128, least=0, scales="8", overlap=0)
    summary = result["tree"].summary()
    assert 0 < summary["processed"] < 128
    boxes = np.array([n.box for n in result["tree"].nodes if n.decision == "processed"])
    apart = iou(boxes, boxes)
    assert apart[~np.eye(len(boxes), dtype=bool)].max() < 0.01  # rounded to whole pixels


def test_what_stands_in_is_named() -> None:
    edges = run(SMALL, saliency="edges", task="none", patches=2)
    assert edges["tree"].source == "stand-in: edge energy"
    truth = run(SMALL, task="none", patches=2)
    assert truth["tree"].source == "oracle: the scene's truth"
    bare = image_of(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8))
    with pytest.raises(HrvizError, match=r"no true objects.*choose"):
        list(METHOD.function(bare.view(), **METHOD.bind({"saliency": "truth", "task": "none"})))

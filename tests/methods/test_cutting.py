"""Cutting into patches: the plan, the answers put together, suppression; against brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_images import image_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hrviz.boxes import areas
from hrviz.context import Context
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.methods.baselines import canvas, patch_detection
from hrviz.methods.baselines import cutting_into_patches as cutting
from hrviz.methods.baselines.cutting_into_patches import Plan, suppress
from hrviz.methods.detection import Found
from hrviz.results import Step

few = settings(max_examples=40, deadline=None, derandomize=True)


# ------------------------------------------------------------------ suppression
def brute_suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Pair by pair: a box stays unless a kept box before it overlaps it by more."""
    keep: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for j in keep:
            a, b = Box(*boxes[i]), Box(*boxes[j])
            common = a.intersect(b).area
            union = a.area + b.area - common
            if union > 0 and common / union > threshold + 1e-12:
                break
        else:
            keep.append(i)
    return keep


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_the_pairwise_rule(threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, side = rng.random((60, 2)) * 50, 1 + rng.random((60, 2)) * 25
    boxes = np.concatenate([corner, corner + side], 1)
    scores = np.round(rng.random(60), 1)  # ties
    assert suppress(boxes, scores, threshold).tolist() == brute_suppress(boxes, scores, threshold)


def test_suppression_by_hand() -> None:
    one = np.array([[0, 0, 10, 10.0]])
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
    assert suppress(one, np.ones(1), 0.5).tolist() == [0]
    same = np.repeat(one, 3, 0)
    assert suppress(same, np.array([0.1, 0.9, 0.9]), 0.95).tolist() == [1]
    half = np.array([[0, 0, 10, 10], [0, 0, 10, 5.0]])  # IoU is exactly 0.5: not above it
    assert suppress(half, np.array([0.9, 0.8]), 0.5).tolist() == [0, 1]
    assert suppress(half, np.array([0.9, 0.8]), 0.49).tolist() == [0]
    chain = np.array([[0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18.0]])
    assert suppress(chain, np.array([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]  # greedy
    empty = np.array([[3, 3, 3, 3], [3, 3, 3, 3.0]])
    assert suppress(empty, np.array([0.5, 0.6]), 0.5).tolist() == [1, 0]


# ------------------------------------------------------------------ the plan
@few
@given(st.data())
def test_the_plan_covers_every_pixel_and_stays_inside(data: st.DataObject) -> None:
    h, w = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
    patch, down = data.draw(st.integers(64, 200)), data.draw(st.sampled_from([1, 2, 4]))
    overlap = data.draw(st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.75]))
    y0, x0 = data.draw(st.integers(0, 50)), data.draw(st.integers(0, 50))
    view = image_of(np.zeros((h + y0, w + x0, 1), np.uint8)).view((y0, x0, y0 + h, x0 + w))
    plan = Plan.of(view, patch, down, overlap)
    count = np.zeros((h + y0 + 1000, w + x0 + 1000), int)
    for a, b, c, d in plan.boxes:
        assert c - a == d - b == patch * down
        assert a >= y0
        assert b >= x0
        assert a % 1 == b % 1 == 0, "patches lie on whole pixels, or reading them blurs"
        assert c <= y0 + h or a == y0  # beyond the region only when it is smaller than a patch
        assert d <= x0 + w or b == x0
        count[int(a) : int(c), int(b) : int(d)] += 1
    assert count[y0 : y0 + h, x0 : x0 + w].min() >= 1
    if overlap == 0 and h % (patch * down) == 0 and w % (patch * down) == 0:
        assert count[y0 : y0 + h, x0 : x0 + w].max() == 1
    assert len(np.unique(plan.boxes, axis=0)) == len(plan.boxes)


def test_too_many_patches_are_refused_before_anything_is_made() -> None:
    view = Image.view(image_of(np.zeros((10, 10, 1), np.uint8)))
    view.box = Box(0, 0, 200_000, 200_000)
    with pytest.raises(HrvizError, match="at most 200,000"):
        Plan.of(view, 64, 1, 0.0)


# ------------------------------------------------------------------ putting together
def pointwise(batch: np.ndarray) -> np.ndarray:
    """A network that sees 2 x 2 pixels: their mean red is the probability."""
    n, h, w, _ = batch.shape
    padded = np.pad(batch[..., 0], ((0, 0), (0, h % 2), (0, w % 2)), mode="edge")
    return padded.reshape(n, -(-h // 2), 2, -(-w // 2), 2).mean((2, 4)).astype(np.float32)


def steps_of(view: Any, context: Context | None = None, **params: Any) -> dict[str, Step]:
    from hrviz import context as surroundings

    bound = cutting.cutting_into_patches.bind({"downsample": 1} | params)
    token = surroundings._CONTEXT.set(context or Context())
    try:
        return {s.name: s for s in cutting.cutting_into_patches.function(view, **bound)}
    finally:
        surroundings._CONTEXT.reset(token)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The pointwise network in the segmenter's place; remembers the shapes it was given."""
    seen: list[tuple[int, ...]] = []

    def segment(batch: np.ndarray, task: str = "") -> np.ndarray:
        seen.append(batch.shape)
        return pointwise(batch)

    monkeypatch.setattr("hrviz.methods.task.segment", segment)
    return seen


def noise(h: int, w: int, seed: int = 0) -> np.ndarray:
    """uint8, the same over 2 x 2 blocks, so that half resolution loses nothing."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-h // 2), -(-w // 2), 1), np.uint8)
    return small.repeat(2, 0).repeat(2, 1)[:h, :w].repeat(3, 2)


@pytest.mark.parametrize("halo", [0, 8, 17, 64])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("aggregation", ["mean", "maximum", "hann"])
def test_of_a_pointwise_network_the_whole_map_is_the_whole_image_answer(
    fake: list, halo: int, overlap: float, aggregation: str
) -> None:
    array = noise(310, 212)
    view = image_of(array).view()
    steps = steps_of(view, patch=96, overlap=overlap, halo=halo, aggregation=aggregation, batch=5)
    heat = steps["prediction"].result
    assert heat.box == (0, 0, 310, 212)
    whole = pointwise(array[None].astype(np.float32) / 255)[0]
    if halo % 2 == 0:
        np.testing.assert_allclose(heat.values, whole, atol=1e-6)
    else:  # an odd halo is half a pixel of the answer: neighbours mix
        assert heat.values.shape == whole.shape
        assert np.isfinite(heat.values).all()
    assert {shape[1:] for shape in fake} == {(96 + 2 * halo, 96 + 2 * halo, 3)}
    assert max(shape[0] for shape in fake) <= 5


def test_at_a_downsample_the_map_is_the_answer_to_the_averaged_image(fake: list) -> None:
    array = noise(512, 512).repeat(2, 0).repeat(2, 1)
    view = image_of(array, halved=2).view()
    heat = steps_of(view, patch=64, downsample=4, overlap=0.5)["prediction"].result
    exact = array[..., 0].reshape(128, 8, 128, 8).mean((1, 3)) / 255
    np.testing.assert_allclose(heat.values, exact, atol=2 / 255)


def test_a_region_is_judged_in_image_coordinates(fake: list) -> None:
    array = np.zeros((400, 400, 3), np.uint8)
    array[200:240, 260:280] = 255
    view = image_of(array).view((100, 150, 350, 390))
    for aggregation in ("mean", "boxes"):
        steps = steps_of(view, patch=64, overlap=0.25, aggregation=aggregation)
        heat = steps["prediction"].result
        points = np.array([[220.0, 270.0], [195.0, 270.0], [220.0, 255.0]])
        np.testing.assert_allclose(heat.at(points), [1, 0, 0])
    boxes = steps["boxes"].result.boxes
    assert boxes[:, 0].min() == 200
    assert boxes[:, 2].max() == 240
    assert boxes[:, 1].min() == 260
    assert boxes[:, 3].max() == 280


def direct(
    answers: list[tuple[slice, slice, np.ndarray]], shape: tuple[int, int], how: str
) -> np.ndarray:
    """All answers kept apart, combined at the end."""
    stack = np.full((len(answers), *shape), np.nan)
    for k, (rows, columns, answer) in enumerate(answers):
        stack[k, rows, columns] = answer
    if how == "mean":
        return np.nanmean(stack, 0)
    if how == "hann":
        line = np.array([np.sin(np.pi * (k + 0.5) / 32) ** 2 for k in range(32)])
        weights = np.zeros(stack.shape)
        for k, (rows, columns, _) in enumerate(answers):
            weights[k, rows, columns] = np.outer(line, line)
        return np.nansum(weights * stack, 0) / weights.sum(0)
    if how == "maximum":
        return np.nanmax(stack, 0)
    return np.nanmean(np.where(np.isnan(stack), np.nan, stack > 0.5), 0)


@pytest.mark.parametrize("how", ["mean", "maximum", "majority", "hann"])
def test_overlapping_answers_are_aggregated_as_said(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random answers that differ for each patch; against all of them kept apart."""
    rng = np.random.default_rng(0)
    given_answers: list[np.ndarray] = []

    def segment(batch: np.ndarray, task: str = "") -> np.ndarray:
        answers = rng.random((len(batch), 32, 32)).astype(np.float32)
        given_answers.extend(answers)
        return answers

    monkeypatch.setattr("hrviz.methods.task.segment", segment)
    view = image_of(np.zeros((128, 160, 3), np.uint8)).view()
    steps = steps_of(view, patch=64, overlap=0.5, aggregation=how, batch=3)
    plan = Plan.of(view, 64, 1, 0.5)
    order = cutting._nearest_first(plan.boxes, view.box.centre)
    placed = []
    for k, answer in zip(order, given_answers, strict=True):
        y, x = int(plan.boxes[k][0]) // 2, int(plan.boxes[k][1]) // 2
        placed.append((slice(y, y + 32), slice(x, x + 32), answer))
    expected = direct(placed, (64, 80), how)
    np.testing.assert_allclose(steps["prediction"].result.values, expected, atol=1e-6)


def test_the_sum_counts_overlaps_twice_and_nothing_outside_the_region(fake: list) -> None:
    white = np.full((256, 256, 3), 255, np.uint8)
    view = image_of(white).view()
    once = steps_of(view, patch=64, aggregation="sum")["total"].result.values
    assert set(once.values()) == {256 * 256}
    plan = Plan.of(view, 64, 1, 0.5)
    twice = steps_of(view, patch=64, overlap=0.5, aggregation="sum")["total"].result
    assert twice.values["tumour area"] == len(plan.boxes) * 64 * 64
    assert twice.values["tumour area, each pixel once"] == 256 * 256
    assert twice.unit == "px"
    # a region smaller than a patch: the patch sees beyond it, the sum does not count that
    small = image_of(white, pixel_size=0.5).view((10, 10, 40, 61))
    total = steps_of(small, patch=64, aggregation="sum")["total"].result
    assert total.unit == "um2"
    assert total.values["tumour area"] == pytest.approx(30 * 51 * 0.25)
    assert total.values["tumour area, each pixel once"] == pytest.approx(30 * 51 * 0.25)
    boxes = steps_of(small, patch=64, aggregation="boxes")["boxes"].result.boxes
    np.testing.assert_allclose(boxes, [[10, 10, 40, 61]])


def test_a_halo_gives_the_context_that_seams_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that looks 8 px around: with that halo the map has no seams at all."""
    from scipy import ndimage

    def blur(batch: np.ndarray, task: str = "") -> np.ndarray:
        wide = ndimage.uniform_filter(batch[..., 0], (0, 17, 17), mode="nearest")
        return pointwise(wide[..., None])

    monkeypatch.setattr("hrviz.methods.task.segment", blur)
    array = noise(256, 256)
    whole = blur(array[None].astype(np.float32) / 255)[0]
    inner = (slice(8, -8), slice(8, -8))
    for halo, seams in ((0, True), (8, False)):
        heat = steps_of(image_of(array).view(), patch=64, halo=halo)["prediction"].result
        error = np.abs(heat.values - whole)[inner].max()
        assert bool(error > 1e-3) is seams, (halo, error)


@pytest.mark.parametrize("aggregation", ["mean", "hann"])
def test_the_map_on_disk_is_the_map_in_memory(
    fake: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aggregation: str
) -> None:
    array = noise(300, 410)
    runs = []
    for limit in (2**20, 10):
        monkeypatch.setattr(canvas, "MEMORY_CANVAS", limit)
        steps = steps_of(
            image_of(array).view(),
            Context(folder=tmp_path),
            patch=64,
            overlap=0.4,
            aggregation=aggregation,
        )
        runs.append(steps["prediction"].result)
    memory, disk = runs
    assert isinstance(memory.values, np.ndarray)
    assert not isinstance(disk.values, np.ndarray)
    np.testing.assert_array_equal(np.asarray(disk.values[:, :]), memory.values)
    points = np.random.default_rng(0).random((300, 2)) * (320, 430) - 10
    np.testing.assert_array_equal(disk.at(points), memory.at(points))
    assert disk.summary() == memory.summary()


def test_work_starts_where_the_user_looks(fake: list) -> None:
    view = image_of(noise(640, 640)).view()
    from hrviz import context as surroundings

    token = surroundings._CONTEXT.set(Context(focus=(600.0, 40.0)))
    try:
        run = cutting.cutting_into_patches.function(
            view, **cutting.cutting_into_patches.bind({"patch": 64, "batch": 1, "downsample": 1})
        )
        first = next(s for s in run if s.name == "prediction").result
    finally:
        surroundings._CONTEXT.reset(token)
    known = np.argwhere(np.isfinite(first.values)) * 2 + 1
    assert known.min(0).tolist() == [577, 1]
    assert first.values.shape == (320, 320)


def test_earlier_maps_do_not_change_under_the_viewer(fake: list) -> None:
    view = image_of(noise(256, 256)).view()
    bound = cutting.cutting_into_patches.bind({"patch": 64, "batch": 4, "downsample": 1})
    maps = [
        s for s in cutting.cutting_into_patches.function(view, **bound) if s.name == "prediction"
    ]
    known = [int(np.isfinite(s.result.values).sum()) for s in maps]
    assert known == [32 * 32 * 4 * k for k in range(1, 5)]
    assert [s.progress for s in maps] == [0.25, 0.5, 0.75, 1.0]


# ------------------------------------------------------------------ weights, seams, the tree
def test_hann_weights_are_a_partition_of_unity_at_half_overlap_and_never_zero() -> None:
    window = canvas.hann(32, 48)
    assert window.min() > 0
    total = np.zeros((64, 96))
    for y in (0, 16, 32):
        for x in (0, 24, 48):
            total[y : y + 32, x : x + 48] += window
    np.testing.assert_allclose(total[16:48, 24:72], 1, atol=1e-6)


def near(batch: np.ndarray, task: str = "") -> np.ndarray:
    """A network that looks 8 px around."""
    from scipy import ndimage

    return pointwise(ndimage.uniform_filter(batch[..., 0], (0, 17, 17), mode="nearest")[..., None])


def test_the_seam_error_is_the_difference_and_ends_where_the_network_stops_looking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hrviz.methods.task.segment", near)
    array = noise(256, 256)
    view = image_of(array).view()
    steps = steps_of(view, patch=64, seam_map=True)
    error, curve = steps["seam error"].result, steps["error by distance"].result
    whole = near(array[None].astype(np.float32) / 255)[0]
    np.testing.assert_allclose(
        error.values, np.abs(steps["prediction"].result.values - whole), atol=1e-6
    )
    far, close = curve.x > 10, curve.x < 8
    assert curve.series["mean error"][far].max() < 1e-6 < curve.series["mean error"][close].min()
    assert steps["tree"].result.pixels == view.reads.pixels_requested, "comparing is not counted"
    clean = steps_of(image_of(array).view(), patch=64, seam_map=True, halo=8)["seam error"].result
    assert clean.values[8:-8, 8:-8].max() < 1e-6
    alone = steps_of(image_of(noise(50, 40)).view(), patch=64, seam_map=True)
    assert "error by distance" not in alone, "a single patch has no seams"


def test_a_seam_error_that_cannot_be_afforded_is_refused(fake: list) -> None:
    view = image_of(np.zeros((10, 10, 3), np.uint8)).view()
    view.box = Box(0, 0, 3000, 3000)
    with pytest.raises(HrvizError, match=r"at most 4 Mpx.*choose"):
        steps_of(view, patch=1024, seam_map=True)


@pytest.mark.parametrize("task", ["tumour segmentation", "none"])
@pytest.mark.parametrize("halo", [0, 24])
def test_the_trees_costs_are_the_reads(fake: list, task: str, halo: int) -> None:
    view = image_of(noise(300, 410)).view((10, 20, 290, 400))
    steps = steps_of(view, patch=96, overlap=0.25, halo=halo, task=task)
    tree = steps["tree"].result
    assert tree.pixels == view.reads.pixels_requested
    plan = Plan.of(view, 96, 1, 0.25, whole=1 if task == "none" else 2)
    assert len(tree.nodes) == 1 + len(plan.boxes)
    assert tree.calls == (0 if task == "none" else len(plan.boxes))
    assert sum(f"{s:.0%}" in n.reason for s in plan.grid.shared for n in tree.nodes[1:2]) >= 1


def test_two_hundred_thousand_patches_have_a_tree_of_one_node() -> None:
    view = Image.view(image_of(np.zeros((300, 300, 3), np.uint8)))
    view.box = Box(0, 0, 100_000, 125_000)
    steps = steps_of(view, patch=256, task="none", downsample=1)
    tree = steps["tree"].result
    assert len(steps["partition"].result.boxes) > 190_000
    assert len(tree.nodes) == 1
    assert "more than the 2,000" in steps["tree"].note
    assert tree.exhaustive_calls == len(steps["partition"].result.boxes)


# ------------------------------------------------------------------ detection
CROWD = "scene:crowd?size=900x600&people=60"


class Oracle:
    """Knows everybody, and finds in a patch what lies there with the share `least`, cut to it."""

    def __init__(self, view: Any) -> None:
        from hrviz.methods.detection import wanted

        true = wanted(view, ("person",))
        self.boxes = true.boxes[~true.ignored]
        self.seen: list[tuple[int, int]] = []
        self.least = 0.5

    def install(self, monkeypatch: pytest.MonkeyPatch, view: Any) -> None:
        reading = type(view).read
        last: list[Any] = []

        def read(own: Any, size: tuple[int, int], box: Any = None) -> np.ndarray:
            last[:] = [Box(*(own.box if box is None else box)), size]
            return reading(own, size, box)

        def detect(network: str, pixels: np.ndarray) -> Found:
            box, size = last
            self.seen.append(size)
            cut = self.boxes.clip([box.y0, box.x0] * 2, [box.y1, box.x1] * 2)
            share = areas(cut) / areas(self.boxes)
            kept = share >= self.least
            scale = np.tile((size[0] / box.height, size[1] / box.width), 2)
            local = (cut[kept] - np.tile(box[:2], 2)) * scale
            return Found(local, 0.4 + 0.5 * share[kept], np.zeros(int(kept.sum()), np.int64))

        monkeypatch.setattr(type(view), "read", read)
        monkeypatch.setattr(patch_detection, "detect", detect)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Oracle]:
    import hrviz

    view = hrviz.open(CROWD).view()
    oracle = Oracle(view)
    oracle.install(monkeypatch, view)
    return view, oracle


def test_objects_of_overlapping_patches_are_counted_twice_and_the_cures(
    crowd: tuple[Any, Oracle],
) -> None:
    view, oracle = crowd
    steps = steps_of(view, patch=256, overlap=0.5, task="person detection", whole=False)
    told = steps["count"].result.values
    plan = Plan.of(view, 256, 1, 0.5, whole=1)
    twice = 0
    once = 0
    for k, tile in enumerate(plan.boxes):
        cut = oracle.boxes.clip(np.tile(tile[:2], 2), np.tile(np.minimum(tile[2:], (600, 900)), 2))
        found = cut[areas(cut) / areas(oracle.boxes) >= 0.5]
        twice += len(found)
        middle = (found[:, :2] + found[:, 2:]) / 2
        own = plan.grid.own[k]
        once += int(((middle >= own[:2]) & (middle < own[2:])).all(1).sum())
    assert told["summed over patches"] == twice > 1.5 * len(oracle.boxes)
    assert told["by the patch that owns the centre"] == once
    assert once == pytest.approx(len(oracle.boxes), rel=0.05)  # cut boxes have shifted centres
    assert set(steps["count"].result.truth.values()) == {len(oracle.boxes)}
    assert steps["tree"].result.pixels == view.reads.pixels_requested
    assert [n.score for n in steps["tree"].result.nodes[1:]] == [float(n.tag) for n in steps["tree"].result.nodes[1:]]  # fmt: skip
    assert sum(n.score for n in steps["tree"].result.nodes[1:]) == twice


def test_cut_objects_are_found_less_often_than_whole_ones(crowd: tuple[Any, Oracle]) -> None:
    """At a seam no patch sees enough of an object to know it; overlap cures it."""
    view, oracle = crowd
    oracle.least = 0.8
    steps = steps_of(view, patch=128, task="person detection", whole=False, metric="IOU", nms=0.95)
    told = steps["seams"].result.values
    tiles = Plan.of(view, 128, 1, 0.0, whole=1).grid.boxes
    whole = [
        any((b[:2] >= t[:2]).all() and (b[2:] <= t[2:]).all() for t in tiles) for b in oracle.boxes
    ]
    assert told["whole_objects"] == sum(whole)
    assert told["cut_objects"] == len(whole) - sum(whole) > 5
    assert told["whole_recall"] == 1 > told["cut_recall"]
    assert len(steps["cut objects"].result.boxes) == told["cut_objects"]
    assert steps_of(view, patch=256, overlap=0.5, task="person detection", whole=False)[
        "seams"
    ].result.values["cut_objects"] < told["cut_objects"]  # fmt: skip


def test_a_halo_sees_what_lies_beyond_and_leaves_it_to_the_neighbour(
    crowd: tuple[Any, Oracle],
) -> None:
    view, oracle = crowd
    view = view.image.view((88, 132, 600, 900))  # 2 x 3 patches: none is moved back
    steps = steps_of(
        view, patch=256, halo=128, task="person detection", whole=False, metric="IOU", nms=0.95
    )
    found = steps["patch boxes"].result.boxes
    low, high = view.box[:2], view.box[2:]
    inside = ((oracle.boxes[:, :2] >= low) & (oracle.boxes[:, 2:] <= high)).all(1)
    assert inside.sum() > 30
    for box in oracle.boxes[inside]:
        assert (np.abs(found - box).max(1) < 1e-6).sum() == 1, "whole, and once"


def test_one_more_pass_sees_the_whole_region_at_a_patchs_size(crowd: tuple[Any, Oracle]) -> None:
    view, oracle = crowd
    steps = steps_of(view, patch=128, overlap=0.2, task="person detection")
    assert oracle.seen[-1] == (85, 128)
    tree = steps["tree"].result
    assert tree.calls == len(oracle.seen)
    assert tree.nodes[0].calls == 1
    assert tree.pixels == view.reads.pixels_requested
    oracle.seen.clear()
    small = view.image.view((0, 0, 100, 90))
    assert "prediction" in steps_of(small, patch=128, task="person detection")
    assert oracle.seen == [(100, 90)], "one clipped slice, and no second pass"


def test_automatic_slices_and_a_scene_without_people(monkeypatch: pytest.MonkeyPatch) -> None:
    view = image_of(noise(1080, 1920)).view()
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(
        patch_detection, "detect", lambda network, pixels: seen.append(pixels.shape) or nothing
    )
    steps = steps_of(view, slices="automatic", task="person detection")
    assert seen[:-1] == [(1080, 960, 3)] * 6
    assert steps["count"].result.values["after merging"] == 0
    assert "seams" not in steps, "no truth, nothing to be judged"

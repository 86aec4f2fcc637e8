"""Needles in haystacks: where the truth says, as large as asked, the same from every window."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage.measure import label, regionprops

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.scenes import dataset, open_scene

OBJECTS = ("disc", "cross", "digit", "cell", "car", "sign")
GROUNDS = ("noise", "tissue", "field", "plain")


def read(reader, level=0):
    lv = reader.levels[level]
    return reader.read(level, 0, 0, lv.height, lv.width)


def address(**values):
    return "scene:needle?" + "&".join(f"{k}={v}" for k, v in values.items())


@pytest.mark.parametrize("kind", OBJECTS)
def test_boxes_points_and_mask_against_the_pixels(kind):
    """What differs from the empty haystack, as connected components, is what the truth lists."""
    common = {"size": "1000x800", "seed": 4, "object": kind, "background": "plain", "ratio": 2e-3,
              "contrast": 1}  # fmt: skip
    full = open_scene(address(**common, count=4, distractors=9))
    empty = open_scene(address(**common, count=0, distractors=0))
    changed = np.abs(read(full).astype(int) - read(empty)).max(axis=2) > 24
    found = [r for r in regionprops(label(changed, connectivity=2)) if r.area > 20]
    truth = full.truth.boxes()
    assert len(found) == len(truth) == 13
    areas = np.diff(truth.boxes.reshape(-1, 2, 2), axis=1).prod(axis=(1, 2))
    assert (np.diff(areas) <= 0).all()
    for box, cls in zip(truth.boxes, truth.classes, strict=True):
        errors = [np.abs(np.array(r.bbox) - box).max() for r in found]
        best = found[int(np.argmin(errors))]
        assert min(errors) < 1.6, (kind, cls)
        assert best.area == pytest.approx(2e-3 * 800_000, rel=0.12)
    mask = full.truth.mask(Box(0, 0, 800, 1000), (800, 1000))
    assert (mask == 1).sum() == pytest.approx(4 * 1600, rel=0.02)
    assert (mask == 2).sum() == pytest.approx(9 * 1600, rel=0.02)
    assert np.mean((mask > 0) != changed) < 0.004
    points, kinds = full.truth.points()
    assert sorted(kinds) == [1] * 4 + [2] * 9
    for (y, x), k in zip(points, kinds, strict=True):
        inside = [b for b, c in zip(truth.boxes, truth.classes, strict=True)
                  if c == k and b[0] < y < b[2] and b[1] < x < b[3]]  # fmt: skip
        assert len(inside) == 1


def test_contrast_nothing_is_the_empty_haystack():
    common = {"size": "700x600", "background": "field"}
    faint = open_scene(address(**common, contrast=0, ratio=1e-3, count=3))
    empty = open_scene(address(**common, count=0, distractors=0))
    assert np.abs(read(faint).astype(int) - read(empty)).max() <= 1
    half = open_scene(address(**common, contrast=0.5, ratio=1e-3, count=3, distractors=0))
    full = open_scene(address(**common, contrast=1, ratio=1e-3, count=3, distractors=0))
    base = read(empty).astype(float)
    assert np.abs((read(half) - base) - 0.5 * (read(full) - base)).max() <= 1.5


def test_needles_stay_when_look_alikes_are_added():
    a = open_scene(address(size="3000x3000", count=5, distractors=0))
    b = open_scene(address(size="3000x3000", count=5, distractors=60))
    points, kinds = b.truth.points()
    assert np.array_equal(points[kinds == 1], a.truth.points()[0])


def test_window_truth_is_part_of_the_whole():
    reader = open_scene(address(size="6000x5000", count=20, distractors=200, ratio=1e-4))
    window = Box(1000.5, 2000.25, 2600.5, 4100.25)
    everything, part = reader.truth.boxes(), reader.truth.boxes(window)
    b = everything.boxes
    touch = (
        (b[:, 0] < window.y1)
        & (b[:, 2] > window.y0)
        & (b[:, 1] < window.x1)
        & (b[:, 3] > window.x0)
    )
    assert np.array_equal(part.boxes, b[touch]) and np.array_equal(
        part.classes, everything.classes[touch]
    )
    whole = reader.truth.mask(Box(1000, 2000, 2000, 3000), (1000, 1000))
    quarter = reader.truth.mask(Box(1250, 2500, 1750, 3000), (500, 500))
    assert np.array_equal(whole[250:750, 500:], quarter)
    points, _ = reader.truth.points(window)
    every, _ = reader.truth.points()
    inside = ((every >= (window.y0, window.x0)) & (every < (window.y1, window.x1))).all(axis=1)
    assert np.array_equal(points, every[inside])


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_pixel_is_the_same_in_every_window_and_thread(ground):
    uri = address(size="3000x2000", background=ground, object="car", ratio=1e-3)
    whole = read(open_scene(uri), 1)
    fresh = open_scene(uri)
    windows = [(1, 37 * k, 101 * k, 260, 330) for k in range(7)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda w: fresh.read(*w), windows))
    for (_, y, x, h, w), part in zip(windows, parts, strict=True):
        assert np.array_equal(part, whole[y : y + h, x : x + w])


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("kind", OBJECTS)
def test_levels_agree(ground, kind):
    reader = open_scene(
        address(
            size="4096x4096", background=ground, object=kind, ratio=3e-4, count=10, distractors=90
        )
    )
    for level in range(len(reader.levels) - 1):
        n = 512
        fine = reader.read(level, 0, 0, n, n).astype(float).reshape(n // 2, 2, n // 2, 2, 3)
        difference = reader.read(level + 1, 0, 0, n // 2, n // 2) - fine.mean(axis=(1, 3))
        assert np.abs(difference).mean() < 3.5, level
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5, level


def test_no_seams_between_blocks():
    for ground in GROUNDS:
        reader = open_scene(address(background=ground, count=0, distractors=0))
        a = reader.read(0, 9800, 9728, 400, 1024).astype(float)
        step = np.abs(np.diff(a, axis=1)).mean(axis=(0, 2))
        assert step[511] < step.mean() + 5 * step.std() + 0.1, ground


@pytest.mark.quiet
def test_huge_images_stay_quick():
    reader = open_scene(
        address(size="200000x200000", ratio=1e-9, count=100, distractors=1000, background="field")
    )
    assert len(reader.truth.boxes()) == 1100
    y, x = reader.truth.points()[0][0]
    n = len(reader.levels)
    spans = []
    for level in (0, n // 2, n - 1):
        d = int(reader.levels[level].downsample)
        reader.render(float(d), 0, 0)
        start = time.process_time()
        reader.render(float(d), int(y // (512 * d)), int(x // (512 * d)))
        spans.append(time.process_time() - start)
    assert min(spans) < 0.15 and max(spans) < 0.6
    tile = reader.read(0, int(y) - 50, int(x) - 50, 100, 100)
    assert np.abs(tile[50, 50].astype(int) - (206, 62, 48)).max() < 40


def test_presence_is_balanced_and_labels_follow():
    labels = [image.truth.label for image in dataset("needle", n=60)]
    assert 18 <= labels.count("present") <= 42
    assert labels.count("present") + labels.count("absent") == 60
    absent = next(image for image in dataset("needle", n=20) if image.truth.label == "absent")
    assert not (absent.truth.boxes().classes == 1).any()
    assert open_scene(address(size="500x500", ratio=1e-3, count=0)).truth.label == "absent"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": "1000x1000", "ratio": 1e-9}, "less than one"),
        ({"size": "1000x1000", "ratio": 0.1, "count": 100}, "would fill"),
        ({"size": "4000x8", "ratio": 0.1, "distractors": 0}, "does not fit"),
        (
            {"size": "1000x1000", "ratio": 2.4e-3, "count": 100, "distractors": 0},
            "without touching",
        ),
        ({"object": "horse"}, "choose one of"),
        ({"ratio": 0.5}, "out of range"),
    ],
)
def test_impossible_haystacks_are_refused_in_a_sentence(values, said):
    with pytest.raises(HrvizError, match=said) as error:
        open_scene(address(**values))
    assert "choose" in str(error.value) and "\n" not in str(error.value)


def test_replaced_needles_leave_number_area_and_colour_as_they_are():
    """What a shrunken picture shows is the same with and without: only a closer look can tell."""
    common = {"size": "600x600", "object": "cell", "background": "plain", "ratio": 2e-3, "contrast": 1,
              "count": 12, "distractors": 12}  # fmt: skip
    readers = {k: open_scene(address(**common, presence="replaced", seed=k)) for k in range(30)}
    labels = [r.truth.label for r in readers.values()]
    assert 9 <= labels.count("present") <= 21
    seed = next(k for k, r in readers.items() if r.truth.label == "absent")
    replaced, always = readers[seed], open_scene(address(**common, seed=seed))
    assert not (replaced.truth.boxes().classes == 1).any()
    assert len(replaced.truth.points()[0]) == len(always.truth.points()[0]) == 24
    empty = open_scene(address(**common | {"count": 0, "distractors": 0}, seed=seed))
    with_, without, nothing = (
        read(r).astype(float).mean((0, 1)) for r in (always, replaced, empty)
    )
    assert np.abs(with_ - without).max() < 0.03 * np.abs(with_ - nothing).max()

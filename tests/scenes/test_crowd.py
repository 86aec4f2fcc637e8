"""The crowd: same pixels always, levels that agree, and a truth that fits what is drawn."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import open_image
from hrviz.scenes import SCENES, open_scene
from hrviz.scenes.crowd.figure import PARTS, TOP
from hrviz.scenes.crowd.furniture import _boxes as boxes_of_things
from hrviz.scenes.crowd.population import FRAME_RATE, MAX_SPEED, population

SMALL = "scene:crowd?size=1536x1024&people=300&seed=3"
SPARSE = "scene:crowd?size=2400x1600&people={}&seed={}&sun=0"


@pytest.fixture(scope="module")
def small():
    return open_scene(SMALL)


def whole(reader, level=0):
    info = reader.levels[level]
    return reader.read(level, 0, 0, info.height, info.width)


def persons(reader):
    """Boxes of persons from the truth, and whether nothing stands or walks near each."""
    found = reader.truth.boxes()
    boxes = found.boxes[found.classes == 1]
    others = np.concatenate([boxes, boxes_of_things(reader._plan)])
    low = np.maximum(boxes[:, None, :2], others[None, :, :2]) - 4
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) + 4
    touching = (low < high).all(axis=-1)
    return boxes, touching.sum(axis=1) == 1


def test_declared():
    kind = SCENES["crowd"]
    assert {"counting", "detection", "tracking"} == set(kind.tasks)
    assert kind.defaults["people"] == 3000
    assert "raised camera" in kind.idea
    reader = open_scene("scene:crowd")
    assert [level.downsample for level in reader.levels] == [1, 2, 4, 8, 16]
    assert reader.axes == {} and reader.frame_rate is None


def test_same_address_same_bytes(small):
    other, different = open_scene(SMALL), open_scene(SMALL.replace("seed=3", "seed=4"))
    a = small.read(0, 150, 300, 700, 900)
    assert a.dtype == np.uint8 and a.shape == (700, 900, 3)
    assert np.array_equal(a, other.read(0, 150, 300, 700, 900))
    assert not np.array_equal(a, different.read(0, 150, 300, 700, 900))


def test_a_pixel_is_the_same_in_every_window_and_thread(small):
    picture = whole(small)
    rng = np.random.default_rng(0)
    windows = []
    for _ in range(12):
        y, x = rng.integers(0, 900), rng.integers(0, 1400)
        windows.append(
            (0, int(y), int(x), int(rng.integers(1, 1024 - y)), int(rng.integers(1, 1536 - x)))
        )
    fresh = open_scene(SMALL)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda window: fresh.read(*window), windows))
    for (_, y, x, h, w), part in zip(windows, parts, strict=True):
        assert np.array_equal(part, picture[y : y + h, x : x + w])


def test_blocks_of_another_size_draw_the_same():
    """No seams: what is drawn does not depend on where blocks begin."""
    for address in (SMALL, "scene:crowd?size=1500x1000&people=1500&seed=9"):
        reader, other = open_scene(address), open_scene(address)
        other.block = 320
        for level in (0, 1):
            difference = np.abs(whole(reader, level).astype(int) - whole(other, level))
            assert difference.max() <= 1 and difference.mean() < 1e-4


@pytest.mark.parametrize(
    "address",
    [
        "scene:crowd?size=2400x1600&people=1000&seed=5",
        "scene:crowd?size=2000x1500&people=4000&seed=6&sun=1",
        SMALL,
    ],
)
def test_levels_agree(address):
    """A coarse pixel is the mean of the finer ones."""
    reader = open_scene(address)
    for level in range(len(reader.levels) - 1):
        fine = whole(reader, level).astype(float)
        h, w = (n // 2 * 2 for n in fine.shape[:2])
        mean = fine[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3))
        difference = whole(reader, level + 1)[: h // 2, : w // 2] - mean
        assert np.abs(difference).mean() < 2.5
        for i in range(0, h // 2 - 127, 128):
            for j in range(0, w // 2 - 127, 128):
                part = difference[i : i + 128, j : j + 128]
                assert np.abs(part).mean() < 5, (level, i, j)
                assert np.abs(part.mean(axis=(0, 1))).max() < 1.5, (level, i, j)


def test_figures_seen_are_those_of_the_truth():
    """Figures are the pixels that differ from the empty square: counted, and boxed within 2 px."""
    checked = 0
    for seed in range(1, 4):
        empty, reader = (open_scene(SPARSE.format(n, seed)) for n in (0, 40))
        assert empty.truth.label == 0 == len(empty.truth.points()[0])
        changed = np.abs(whole(reader).astype(int) - whole(empty)).max(axis=-1) > 2
        boxes, alone = persons(reader)
        outside = changed.copy()
        for y0, x0, y1, x1 in boxes + np.array([-1, -1, 1, 1]):
            outside[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))] = False
        assert not outside.any()
        # Who stands apart from all others and from all things is one connected patch.
        apart = np.zeros_like(changed)
        for box in boxes[alone]:
            y0, x0 = (max(0, int(v) - 4) for v in box[:2])
            y1, x1 = (int(np.ceil(v)) + 4 for v in box[2:])
            rows, columns = np.nonzero(changed[y0:y1, x0:x1])
            seen = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            assert np.abs(np.array(seen) + np.array([y0, x0, y0, x0]) - box).max() <= 2, (seed, box)
            apart[y0:y1, x0:x1] = changed[y0:y1, x0:x1]
            checked += 1
        _, count = ndimage.label(ndimage.binary_dilation(apart, iterations=1))
        assert count == alone.sum()
    assert checked > 12


def test_heads_lie_on_heads(small):
    found = small.truth.boxes()
    assert found.names == {1: "person", 2: "head"}
    area = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    assert (np.diff(area) <= 0).all()
    crowd = small.crowd()
    tall = crowd.boxes[:, 2] - crowd.boxes[:, 0]
    from_top = crowd.head_centres[:, 0] - crowd.boxes[:, 0]
    assert (from_top > 0.03 * tall).all() and (from_top < 0.13 * tall).all()
    assert (crowd.heads[:, :2] >= crowd.boxes[:, :2] - 1e-6).all()
    assert (crowd.heads[:, 2:] <= crowd.boxes[:, 2:] + 1e-6).all()


def test_perspective_by_the_formula(small):
    """Feet and sizes follow the pinhole, written out here from the docstrings."""
    crowd, h, w = small.crowd(), 1024, 1536
    focal, horizon = 1.15 * h, 0.17 * h
    nearest = 500 * np.sqrt(h / 8000) / 1.75
    up = (h - horizon) / nearest
    assert np.allclose(crowd.feet[:, 0], horizon + focal * up / crowd.z)
    assert np.allclose(crowd.feet[:, 1], w / 2 + focal * crowd.x / crowd.z)
    tall = (crowd.boxes[:, 2] - crowd.boxes[:, 0]) * crowd.z / focal
    assert 1.5 < np.median(tall) < 1.9 and tall.min() > 0.9 and tall.max() < 2.2
    heads = crowd.head_centres
    count = np.count_nonzero((heads >= 0).all(1) & (heads[:, 0] < h) & (heads[:, 1] < w))
    assert small.truth.label == count == len(small.truth.points()[0])
    assert 0.93 * 300 < count <= 300


def covers(boxes, at):
    return ((boxes[:, :2] < at + 2) & (boxes[:, 2:] > at - 2)).all(axis=1).any()


def test_nearer_people_hide_farther_ones():
    """Where the front of a chest is not covered by anyone nearer, its own colour is seen."""
    reader = open_scene("scene:crowd?size=3000x2000&people=4000&seed=8&sun=0")
    crowd, plan = reader.crowd(), reader._plan
    picture = whole(reader).astype(float)
    palette = population(2000, 3000, 8, 4000).palette[crowd.track]
    assert palette.shape[1:] == (PARTS, 3)
    things = boxes_of_things(plan)
    checked = hiding = 0
    for k in range(len(crowd.z) - 1, 0, -1):
        scale = crowd.scale[k]
        if scale < 60 or crowd.key[k] // 88 != 0 or crowd.key[k] // 11 % 8 != 0:
            continue  # the first look, seen from behind: a plain back
        at = crowd.feet[k] - [1.2 * scale, 0]
        if not (2 <= at[0] < 1998 and 2 <= at[1] < 2998):
            continue
        if covers(crowd.boxes[k + 1 :], at) or covers(things, at):
            continue
        seen = picture[int(at[0]), int(at[1])]
        assert np.abs(seen - palette[k, TOP]).max() < 0.1 * palette[k, TOP].max() + 12
        checked += 1
        hiding += covers(crowd.boxes[:k], at)
    assert checked > 5 and hiding > 2


def test_truth_by_window(small):
    every, _ = small.truth.points()
    tracks = small.truth.tracks()
    assert tracks.dtype == np.int64 and len(np.unique(tracks)) == len(every)
    found = []
    for y in (0, 512):
        for x in (0, 512, 1024):
            box = Box(y, x, y + 512, x + 512)
            points, kinds = small.truth.points(box)
            assert len(kinds) == len(points) == len(small.truth.tracks(box))
            assert ((points >= box[:2]) & (points < box[2:])).all()
            found.append(points)
    together = np.concatenate(found)
    assert np.array_equal(together[np.lexsort(together.T)], every[np.lexsort(every.T)])
    box = Box(400, 500, 500, 700)
    some, everything = small.truth.boxes(box).boxes, small.truth.boxes().boxes
    touching = (everything[:, :2] < box[2:]).all(1) & (everything[:, 2:] > box[:2]).all(1)
    assert np.array_equal(some, everything[touching])
    assert everything.min() >= 0 and everything[:, 2].max() <= 1024
    with pytest.raises(HrvizError, match="no mask"):
        small.truth.mask(box, (8, 8))


def test_nobody_jumps():
    people = population(1024, 1536, 3, 2000)
    for start in (0, 77, 9_000):
        frames = [people.at(start + k) for k in range(12)]
        at = np.empty((12, 2000, 2))
        for k, crowd in enumerate(frames):
            at[k, crowd.track] = np.stack([crowd.x, crowd.z], axis=-1)
        steps = np.hypot(*np.diff(at, axis=0).transpose(2, 0, 1))
        assert steps.max() * FRAME_RATE <= MAX_SPEED
        walking = steps.mean(axis=0) * FRAME_RATE > 0.5
        assert 0.2 < walking.mean() < 0.8


def test_somebody_who_walks_strides():
    people = population(1024, 1536, 3, 500)
    poses = np.empty((30, 500), int)
    for k in range(30):
        crowd = people.at(k)
        poses[k, crowd.track] = crowd.key % 11
    changing = (np.diff(poses, axis=0) != 0).sum(axis=0)
    assert (changing[people.walking] >= 5).all() and (changing[~people.walking] == 0).all()


def test_frames():
    address = SMALL + "&frames=100"
    film = open_image(address)
    assert film.axes == {"t": 100} and film.index == {"t": 0} and film.frame_rate == 25
    later = film.at(t=12)
    assert later.uri.endswith("#t=12") and later.index == {"t": 12}
    again = pickle.loads(pickle.dumps(later))
    assert again.identity == later.identity != film.identity
    box = (300, 300, 900, 1200)
    first, then = film.region(box), later.region(box)
    assert np.array_equal(then, open_image(address + "#t=12").region(box))
    assert not np.array_equal(first, then)
    assert (np.abs(first.astype(int) - then).max(axis=-1) == 0).mean() > 0.6  # the square stands
    assert np.array_equal(first, open_image(SMALL).region(box))
    tracks = np.intersect1d(film.truth.tracks(), later.truth.tracks())
    assert len(tracks) > 0.9 * film.truth.label
    with pytest.raises(HrvizError, match="t=100"):
        film.at(t=100)
    with pytest.raises(HrvizError, match="no axis"):
        open_image(SMALL + "#t=1")
    with pytest.raises(HrvizError, match="no axis"):
        open_image("scene:tissue#t=1")


def test_sun_darkens_only():
    bright, dull = (open_scene(SMALL + f"&sun={s}") for s in (1.0, 0.0))
    a, b = whole(bright).astype(int), whole(dull).astype(int)
    assert (a <= b + 1).all() and (a < b - 20).any(axis=-1).mean() > 0.02


@pytest.mark.parametrize("size", ["1x1", "300x7", "7x300", "1025x3", "2x600"])
def test_tiny_pictures(size):
    reader = open_scene(f"scene:crowd?size={size}&people=20")
    for k, level in enumerate(reader.levels):
        assert whole(reader, k).shape == (level.height, level.width, 3)
    assert 0 <= reader.truth.label <= 20
    assert len(reader.truth.boxes().boxes) >= reader.truth.label


@pytest.mark.quiet
@pytest.mark.parametrize("size", ["200000x2000", "20000x200000"])
def test_largest_pictures(size):
    reader = open_scene(f"scene:crowd?size={size}&people=2000")
    box = reader.truth.boxes().boxes[50]
    y, x = int(box[0]), int(box[1])
    start = time.perf_counter()
    assert reader.read(0, y, x, 64, 64).std() > 1
    assert time.perf_counter() - start < 5
    last = len(reader.levels) - 1
    assert whole(reader, last).std() > 10


@pytest.mark.quiet
def test_many_people():
    reader = open_scene("scene:crowd?size=24000x16000&people=100000&seed=2")
    start = time.perf_counter()
    assert 93_000 < reader.truth.label <= 100_000
    assert len(reader.truth.points(Box(8000, 8000, 9000, 9000))[0]) > 50
    assert time.perf_counter() - start < 3


@pytest.mark.quiet
def test_a_block_is_quick():
    reader = open_scene("scene:crowd")
    whole(reader, len(reader.levels) - 1)  # draws the figures that all blocks share
    times = []
    for row, column in ((2, 5), (3, 11), (4, 3), (5, 16), (8, 12), (11, 4), (13, 20), (15, 9)):
        start = time.perf_counter()
        reader.render(1.0, row, column)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.3  # asked: 0.15 s on a free core


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("scene:crowd?people=-1", "0 to 100000"),
        ("scene:crowd?people=100001", "0 to 100000"),
        ("scene:crowd?frames=0", "1 to 10000"),
        ("scene:crowd?sun=2", "0 to 1"),
        ("scene:crowd?peoples=3", "did you mean people"),
    ],
)
def test_bad_addresses(uri, words):
    with pytest.raises(HrvizError, match=words):
        open_scene(uri)

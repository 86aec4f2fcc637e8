"""The frame of capsule endoscopy: lesions of the asked size, and nothing else changed by them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hrviz.geometry import Box
from hrviz.scenes import dataset, open_scene

KINDS = {"polyp": 1, "ulcer": 2, "bleeding": 3, "angioectasia": 4}
FRAME = "scene:endoscopy?size=2048x2048&seed=5&lesion={kind}&count=2&ratio={ratio}"


@pytest.fixture(scope="module")
def frame():
    return open_scene(FRAME.format(kind="polyp", ratio=0.01))


def test_facts_of_the_reader(frame):
    assert (frame.levels[0].height, frame.levels[0].width) == (2048, 2048)
    assert open_scene(frame.uri).identity == frame.identity
    assert frame.truth.label == "polyp"
    assert frame.truth.labels[0] == "normal"


def test_a_pixel_is_the_same_in_every_window_and_thread(frame):
    rng = np.random.default_rng(0)
    fresh = open_scene(frame.uri)
    for level in (0, 1):
        big = frame.read(level, 200, 210, 600, 600)
        windows = [(*np.sort(rng.choice(601, 2, False)), *np.sort(rng.choice(601, 2, False)))
                   for _ in range(3)]  # fmt: skip
        with ThreadPoolExecutor(3) as pool:
            parts = pool.map(
                lambda p: fresh.read(level, 200 + p[0], 210 + p[2], p[1] - p[0], p[3] - p[2]),  # noqa: B023
                windows,
            )
            for (i0, i1, j0, j1), part in zip(windows, parts, strict=True):
                assert np.array_equal(part, big[i0:i1, j0:j1])


def test_no_seams_between_blocks(frame):
    a = frame.read(0, 412, 256, 200, 512).astype(float)
    step = np.abs(np.diff(a, axis=1)).mean(axis=(0, 2))
    assert step[255] < step.mean() + 4 * step.std()
    step = np.abs(np.diff(a, axis=0)).mean(axis=(1, 2))
    assert step[99] < step.mean() + 4 * step.std()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4096, 20_000])
def test_levels_agree(kind, size):
    reader = open_scene(f"scene:endoscopy?size={size}x{size}&seed=6&lesion={kind}&ratio=0.01")
    box = reader.truth.boxes().boxes[0]
    lesion = (box[:2] + box[2:]) / 2 / size
    errors = []
    for level in range(len(reader.levels) - 1):
        side = reader.levels[level].height // 2 * 2
        for share in (lesion, (0.3, 0.3), (0.6, 0.8)):
            y, x = (int(np.clip(s * side - 128, 0, side - 256)) // 2 * 2 for s in share)
            fine = reader.read(level, y, x, 256, 256).astype(float)
            fine = fine.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
            difference = reader.read(level + 1, y // 2, x // 2, 128, 128) - fine
            assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5, (level, share)
            errors.append(np.abs(difference).mean())
            assert errors[-1] < 5, (level, share)
    assert np.mean(errors) < 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_lesions_change_only_what_is_in_and_around_their_boxes(kind):
    sick = open_scene(FRAME.format(kind=kind, ratio=0.004))
    well = open_scene(FRAME.format(kind="none", ratio=0.004))
    assert sick.truth.label == kind and well.truth.label == "normal"
    assert not len(well.truth.boxes()) and not well.truth.mask(Box(0, 0, 99, 99), (9, 9)).any()
    a, b = (r.read(0, 0, 0, 2048, 2048).astype(int) for r in (sick, well))
    changed = np.abs(a - b).max(axis=-1) > 1
    found = sick.truth.boxes()
    assert len(found) == 2 and (found.classes == KINDS[kind]).all()
    allowed = np.zeros_like(changed)
    for y0, x0, y1, x1 in found.boxes:
        my, mx = 0.4 * (y1 - y0), 0.4 * (x1 - x0)  # a polyp's shadow, an ulcer's flush
        allowed[int(max(y0 - my, 0)) : int(y1 + my), int(max(x0 - mx, 0)) : int(x1 + mx)] = True
    assert changed.any() and not (changed & ~allowed).any()
    mask = sick.truth.mask(Box(0, 0, 2048, 2048), (2048, 2048))
    assert set(np.unique(mask)) == {0, KINDS[kind]}
    assert changed[mask > 0].mean() > 0.9
    assert np.abs(a - b)[mask > 0].mean() > 8


@pytest.mark.parametrize("ratio", [0.0005, 0.01, 0.05])
@pytest.mark.parametrize("size", [(2048, 2048), (1500, 2000)])
def test_lesions_have_the_asked_area(ratio, size):
    h, w = size
    reader = open_scene(f"scene:endoscopy?size={w}x{h}&seed=8&lesion=ulcer&ratio={ratio}")
    y0, x0, y1, x1 = reader.truth.boxes().boxes[0]
    n = 800
    mask = reader.truth.mask(Box(y0, x0, y1, x1), (n, n))
    area = (mask > 0).sum() / n**2 * (y1 - y0) * (x1 - x0)
    assert area / (h * w) == pytest.approx(ratio, rel=0.02)
    # The box is tight.
    assert mask[:8].any() and mask[-8:].any() and mask[:, :8].any() and mask[:, -8:].any()


def test_mask_at_two_sizes(frame):
    box = Box(*frame.truth.boxes().boxes[0])
    fine = frame.truth.mask(box, (300, 330))
    assert np.array_equal(frame.truth.mask(box, (100, 110)), fine[1::3, 1::3])
    outside = Box(-300, -300, -10, -10)
    assert not frame.truth.mask(outside, (10, 10)).any()
    assert len(frame.truth.boxes(outside)) == 0


def test_labels_at_random_are_of_all_kinds():
    labels = {open_scene(f"scene:endoscopy?seed={s}").truth.label for s in range(60)}
    assert labels == {"normal", *KINDS}
    assert open_scene("scene:endoscopy?lesion=polyp&count=0").truth.label == "normal"
    many = open_scene("scene:endoscopy?lesion=polyp&count=5&ratio=0.01")
    assert len(many.truth.boxes()) == 5


@pytest.mark.parametrize("size", ["1x1", "300x7", "1500x900"])
def test_small_and_oblong_images(size):
    reader = open_scene(f"scene:endoscopy?size={size}&lesion=bleeding&bubbles=200&bile=1")
    for k, level in enumerate(reader.levels):
        picture = reader.read(k, 0, 0, level.height, level.width)
        assert picture.shape == (level.height, level.width, 3)
    reader.truth.boxes()


@pytest.mark.quiet
def test_the_largest_picture():
    start = time.perf_counter()
    reader = open_scene("scene:endoscopy?size=200000x200000&seed=1&lesion=polyp")
    assert time.perf_counter() - start < 0.5
    assert reader.read(0, 60_000, 60_000, 256, 256).std() > 0.5
    assert reader.read(len(reader.levels) - 1, 0, 0, 500, 500).std() > 20


def test_data_set():
    train = dataset("endoscopy", split="train", n=8)
    assert len({image.truth.label for image in train}) >= 3
    assert not set(train.addresses) & set(dataset("endoscopy", split="unseen", n=8).addresses)


@pytest.mark.quiet
def test_a_block_is_quick():
    reader = open_scene("scene:endoscopy?seed=9&size=4096x4096")
    reader.read(0, 0, 2048, 8, 8)
    took = []
    for k in range(4):
        start = time.process_time()
        reader.read(0, 2048, 512 * (1 + k), 8, 8)
        took.append(time.process_time() - start)
    assert np.median(took) < 0.6  # asked: 0.2 s on a free core

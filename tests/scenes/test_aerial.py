"""The aerial scene: same pixels always, levels that agree, objects where the truth says."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.scenes import dataset, open_scene
from hrviz.scenes.aerial.gather import gather
from hrviz.scenes.aerial.world import CELL, scattered
from hrviz.scenes.noise import Raster, octaves

LAND = "scene:aerial?seed=38&size=30000x30000"
TOWN = "scene:aerial?size=3000x3000&seed=4&city=0.95&airport=no&cars={cars}"


@pytest.fixture(scope="module")
def land():
    return open_scene(LAND)


@pytest.fixture(scope="module")
def town():
    return open_scene(TOWN.format(cars=1))


def around(reader, level, centre, size=256):
    """An even-aligned window of a level around a level-0 point."""
    lv = reader.levels[level]
    h, w = min(size, lv.height) // 2 * 2, min(size, lv.width) // 2 * 2
    y = int(np.clip(centre[0] / lv.downsample - h / 2, 0, lv.height - h)) // 2 * 2
    x = int(np.clip(centre[1] / lv.downsample - w / 2, 0, lv.width - w)) // 2 * 2
    return y, x, h, w


def one_of_each(reader):
    """A level-0 point in each class of the mask, by class: the middle of its largest piece."""
    from scipy import ndimage

    h, w = reader.levels[0].height, reader.levels[0].width
    mask = reader.truth.mask(Box(0, 0, h, w), (300, 300))
    out = {}
    for k in np.unique(mask):
        depth = ndimage.distance_transform_edt(mask == k)
        i, j = np.unravel_index(np.argmax(depth), mask.shape)
        out[int(k)] = ((i + 0.5) * h / 300, (j + 0.5) * w / 300)
    return out


def test_facts_of_the_reader(land):
    assert land.pixel_size == pytest.approx(0.3e6)
    assert (land.levels[0].height, land.levels[0].width) == (30_000, 30_000)
    assert open_scene(land.uri).identity == land.identity
    assert open_scene("scene:aerial?gsd=0.5").pixel_size == pytest.approx(0.5e6)


def test_a_pixel_is_the_same_in_every_window_and_thread():
    rng = np.random.default_rng(0)
    address = "scene:aerial?size=9000x9000&seed=2&city=0.6"
    for level in (0, 3, 4):
        whole = open_scene(address)
        lv = whole.levels[level]
        h, w = min(560, lv.height), min(600, lv.width)
        y, x = (lv.height - h) // 2, (lv.width - w) // 2
        big = whole.read(level, y, x, h, w)
        windows = []
        for _ in range(3):
            i0, i1 = np.sort(rng.choice(h + 1, 2, replace=False))
            j0, j1 = np.sort(rng.choice(w + 1, 2, replace=False))
            windows.append((i0, i1, j0, j1))
        fresh = open_scene(address)
        with ThreadPoolExecutor(3) as pool:
            parts = pool.map(
                lambda p: fresh.read(level, y + p[0], x + p[2], p[1] - p[0], p[3] - p[2]),  # noqa: B023
                windows,
            )
            for (i0, i1, j0, j1), part in zip(windows, parts, strict=True):
                assert np.array_equal(part, big[i0:i1, j0:j1])


def test_no_seams_between_blocks(town):
    for level in (0, 1):
        a = town.read(level, 412, 256, 200, 512).astype(float)
        step = np.abs(np.diff(a, axis=1)).mean(axis=(0, 2))
        assert step[255] < step.mean() + 4 * step.std()
        step = np.abs(np.diff(a, axis=0)).mean(axis=(1, 2))
        assert step[99] < step.mean() + 4 * step.std()


def test_levels_agree(land):
    """A coarse pixel is the mean of the finer ones: in town, fields, woods, water, airport."""
    centres = one_of_each(land)
    assert set(centres) == {0, 1, 2, 3, 4, 5, 6}
    errors, biases = [], []
    for level in range(len(land.levels) - 1):
        for k, centre in centres.items():
            y, x, h, w = around(land, level, centre)
            fine = land.read(level, y, x, h, w).astype(float)
            fine = fine.reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3))
            difference = land.read(level + 1, y // 2, x // 2, h // 2, w // 2) - fine
            biases.append(np.abs(difference.mean(axis=(0, 1))).max())
            errors.append(np.abs(difference).mean())
            assert biases[-1] < 5, (level, k, centre)
            # Where lots become small pictures, single cars give way to their mean.
            assert errors[-1] < (14 if level == 2 else 6), (level, k, centre)
    assert np.mean(errors) < 4
    assert np.mean(biases) < 1.5


def test_scattered_noise_is_the_noise_of_rasters():
    parts = [(700.0, 1.0, 5), (210.0, 0.4, 9)]
    raster = Raster(-350.0, 120.5, 40, 50, 13.0, 13.0, 0.0)
    ys, xs = raster.axes()
    direct = scattered(ys + 0 * xs, xs + 0 * ys, parts)
    assert np.abs(direct - octaves(raster, parts)).max() < 1e-4


def test_the_bend_of_streets_is_undone(land):
    rng = np.random.default_rng(1)
    v, u = rng.uniform(0, 8000, (2, 50))
    y, x = land.world.unbend(v, u)
    for a, b, c, d in zip(y, x, v, u, strict=True):
        dv, du = land.world.bend(Raster(a, b, 1, 1, 1.0, 1.0, 0.0))
        assert abs(a + dv[0, 0] - c) < 0.05 and abs(b + du[0, 0] - d) < 0.05


def test_cars_change_only_pixels_in_and_beside_their_boxes(town):
    empty = open_scene(TOWN.format(cars=0))
    y, x, n = 1024, 1536, 512
    full, bare = (r.read(0, y, x, n, n).astype(int) for r in (town, empty))
    changed = np.abs(full - bare).max(axis=-1) > 1
    found = town.truth.boxes(Box(y - 40, x - 40, y + n + 40, x + n + 40))
    cars = found.boxes[found.classes == 1]
    assert len(cars) > 25
    assert not (empty.truth.boxes(Box(y, x, y + n, x + n)).classes == 1).any()
    allowed = np.zeros((n, n), bool)
    hit = 0
    for y0, x0, y1, x1 in cars - [y, x, y, x]:
        rows, columns = slice(int(max(y0 - 2, 0)), None), slice(int(max(x0 - 2, 0)), None)
        # Shadows of cars fall to the south-east, less than a metre long.
        allowed[rows, columns][: int(y1 - max(y0 - 2, 0) + 6), : int(x1 - max(x0 - 2, 0) + 6)] = (
            True
        )
        inside = changed[int(max(y0, 0)) : int(max(y1, 0)), int(max(x0, 0)) : int(max(x1, 0))]
        hit += bool(inside.size == 0 or inside.mean() > 0.3)
    assert not (changed & ~allowed).any()
    assert hit > 0.8 * len(cars)  # the others stand under trees


def test_points_and_boxes_against_every_cell_of_the_picture(town):
    size = 3000 * 0.3
    # All cells of a region larger than the picture, whatever window is asked.
    every = gather(town.world, (-CELL, -CELL, size + CELL, size + CELL), 1.0).cars[:, :2] / 0.3
    for box in (Box(0, 0, 3000, 3000), Box(700, 900, 1850, 1500), Box(2990, 0, 3000, 3000)):
        inside = ((every >= box[:2]) & (every < box[2:])).all(axis=1)
        points, kinds = town.truth.points(box)
        assert len(points) == inside.sum() == len(kinds)
        order = np.lexsort(points.T), np.lexsort(every[inside].T)
        assert np.allclose(points[order[0]], every[inside][order[1]])
    found = town.truth.boxes()
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    cars = centres[found.classes == 1]
    points, _ = town.truth.points()
    clear = ((points > 20) & (points < 2980)).all(axis=1)
    near = np.abs(points[clear][:, None] - cars[None]).max(axis=-1).min(axis=1)
    assert near.max() < 1e-6
    sides = found.boxes[found.classes == 1][:, 2:] - found.boxes[found.classes == 1][:, :2]
    assert np.median(sides.max(axis=1)) == pytest.approx(4.5 / 0.3, rel=0.25)
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    assert (np.diff(areas) <= 1e-9).all()


def test_buildings_in_boxes_are_buildings_in_the_mask(town):
    found = town.truth.boxes(Box(0, 0, 3000, 3000))
    houses = found.boxes[found.classes == 4]
    inner = houses[((houses[:, :2] > 0) & (houses[:, 2:] < 3000)).all(axis=1)]
    assert len(inner) > 100
    mask = town.truth.mask(Box(0, 0, 3000, 3000), (3000, 3000))
    i, j = ((inner[:, :2] + inner[:, 2:]) / 2).astype(int).T
    assert (mask[i, j] == 2).all()
    # Every building pixel lies in the box of a building.
    within = np.zeros_like(mask, bool)
    for y0, x0, y1, x1 in houses:
        within[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    assert within[mask == 2].all()
    # Roofs stand out from the streets: roads are grey.
    picture = town.read(0, 0, 0, 1024, 1024).astype(float)
    saturation = picture.max(-1) - picture.min(-1)
    m = mask[:1024, :1024]
    assert saturation[m == 1].mean() < 0.6 * saturation[m == 4].mean()


def test_mask_fits_the_picture(land):
    h = 30_000
    mask = land.truth.mask(Box(0, 0, h, h), (938, 938))
    last = len(land.levels) - 1
    picture = land.read(last, 0, 0, 938, 938).astype(float)
    r, g, b = (picture[..., k] for k in range(3))
    if (mask == 3).sum() > 50:
        assert (b - r)[mask == 3].mean() > 10 > (b - r)[mask == 4].mean()
    assert g[mask == 5].mean() < g[mask == 4].mean() - 20
    assert (g - (r + b) / 2)[mask == 4].mean() > 10


def test_mask_at_two_sizes(land):
    y, x = one_of_each(land)[2]
    box = Box(y - 750, x - 750, y + 750, x + 750)
    fine = land.truth.mask(box, (600, 600))
    coarse = land.truth.mask(box, (200, 200))
    assert np.array_equal(coarse, fine[1::3, 1::3])
    wide = Box(y - 3000, x - 3000, y + 3000, x + 3000)
    fine = land.truth.mask(wide, (1200, 1200))
    far = land.truth.mask(
        wide, (240, 240)
    )  # pixels of 7.5 m: streets and houses from small pictures
    assert (far == fine[2::5, 2::5]).mean() > 0.85
    assert land.truth.mask(box, (37, 211)).shape == (37, 211)
    assert not land.truth.mask(Box(-500, -500, -10, -10), (8, 8)).any()


@pytest.mark.parametrize("seed", range(4))
def test_airport_on_demand(seed):
    yes = open_scene(f"scene:aerial?size=20000x20000&seed={seed}&airport=yes")
    no = open_scene(f"scene:aerial?size=20000x20000&seed={seed}&airport=no")
    assert (yes.truth.label, no.truth.label) == ("airport", "no airport")
    found = yes.truth.boxes()
    assert set(found.classes) == {5, 6} and not len(no.truth.boxes())
    runway = found.boxes[found.classes == 6][0]
    diagonal = np.hypot(runway[2] - runway[0], runway[3] - runway[1]) * 0.3
    assert 1000 < diagonal < 3200
    assert (yes.truth.mask(Box(0, 0, 20_000, 20_000), (250, 250)) == 6).sum() > 20


def test_aircraft_stand_on_the_apron(land):
    airport = land.world.airports[0]
    y, x = airport.y / 0.3, airport.x / 0.3
    found = land.truth.boxes(Box(y - 5000, x - 5000, y + 5000, x + 5000))
    planes = found.boxes[found.classes == 3]
    assert len(planes) >= 5
    sides = (planes[:, 2:] - planes[:, :2]).max(axis=1) * 0.3
    assert (sides > 12).all() and (sides < 90).all()
    for y0, x0, y1, x1 in planes:
        around_it = land.truth.mask(Box(y0, x0, y1, x1), (16, 16))
        assert (around_it == 6).mean() > 0.5
        wide, tall = int(x1 - x0), int(y1 - y0)
        if y0 >= 0 and y1 < 30_000 and x0 >= 0 and x1 < 30_000:
            picture = land.read(0, int(y0), int(x0), tall, wide)
            assert picture.max() > 210  # white hulls on grey concrete


def test_small_objects_of_a_huge_box_are_refused():
    reader = open_scene("scene:aerial?size=200000x200000")
    with pytest.raises(HrvizError, match="smaller box"):
        reader.truth.points()
    assert set(reader.truth.boxes().classes) <= {5, 6}


@pytest.mark.quiet
def test_the_largest_picture():
    start = time.perf_counter()
    reader = open_scene("scene:aerial?size=200000x200000&seed=11&gsd=1")
    assert time.perf_counter() - start < 0.5
    assert reader.read(0, 199_500, 199_000, 256, 256).std() > 3
    assert reader.read(0, 199_999, 199_999, 1, 1).shape == (1, 1, 3)
    top = len(reader.levels) - 1
    assert reader.read(top, 0, 0, 200, 200).std() > 5


@pytest.mark.parametrize("extra", ["&gsd=0.1", "&gsd=2", "&city=0", "&city=1&gsd=0.15"])
def test_ends_of_the_ranges(extra):
    reader = open_scene(f"scene:aerial?size=1500x1100&seed=5{extra}")
    for k, level in enumerate(reader.levels):
        assert reader.read(k, 0, 0, level.height, level.width).std() > 2
    assert reader.truth.mask(Box(0, 0, 1100, 1500), (50, 60)).shape == (50, 60)


@pytest.mark.parametrize("size", ["1x1", "300x7", "1025x3"])
def test_tiny_images(size):
    reader = open_scene(f"scene:aerial?size={size}&boats=1")
    for k, level in enumerate(reader.levels):
        assert reader.read(k, 0, 0, level.height, level.width).shape == (
            level.height,
            level.width,
            3,
        )
    assert reader.truth.points()[0].shape[1] == 2
    assert reader.truth.boxes().boxes.shape[1] == 4


def test_boats_float():
    reader = open_scene("scene:aerial?size=30000x30000&seed=7&boats=1&gsd=0.5")
    wet = np.argwhere(reader.truth.mask(Box(0, 0, 30_000, 30_000), (30, 30)) == 3)
    found = [reader.truth.boxes(Box(i * 1000, j * 1000, i * 1000 + 1000, j * 1000 + 1000))
             for i, j in wet[:12]]  # fmt: skip
    boats = np.concatenate([f.boxes[f.classes == 2] for f in found])
    assert len(boats) > 20
    at = (boats[:, :2] + boats[:, 2:]) / 2
    wet = [reader.truth.mask(Box(y - 0.5, x - 0.5, y + 0.5, x + 0.5), (1, 1))[0, 0] for y, x in at]
    assert np.isin(wet, [1, 3, 0]).all()  # 1 and 0: under a bridge
    assert (np.array(wet) == 3).mean() > 0.9


def test_data_set():
    train = dataset("aerial", split="train", n=2)
    seen = dataset("aerial", split="unseen", n=2)
    assert not set(train.addresses) & set(seen.addresses)
    image = train[0]
    assert (image.width, image.height) == (2048, 2048)
    assert image.truth.label == "no airport"


@pytest.mark.quiet
def test_a_block_is_quick():
    reader = open_scene("scene:aerial?seed=4&city=1")
    reader.read(0, 0, 0, 8, 8)  # loads what is kept in memory
    took = []
    for k in range(4):
        start = time.process_time()
        reader.read(0, 15_360, 512 * (20 + k), 8, 8)
        took.append(time.process_time() - start)
    assert np.median(took) < 0.6  # asked: 0.2 s on a free core

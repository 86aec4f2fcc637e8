"""Every source of saliency: what it looks at, where it puts it, how it names itself."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_images import image_of
from PIL import Image as PILImage

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.methods.downsampling.sources import _truth, adjust, saliency_map
from hrviz.scenes.truth import Objects, Truth

NODES = (9, 13)


class Disc(Truth):
    """Truth with one disc."""

    knows = frozenset({"mask"})

    def __init__(self, y: float, x: float, radius: float) -> None:
        self.classes, self.objects = {0: "other", 1: "disc"}, {1: "tumour nest"}
        self.y, self.x, self.radius = y, x, radius

    def mask(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        y = box.y0 + (np.arange(size[0]) + 0.5) * box.height / size[0]
        x = box.x0 + (np.arange(size[1]) + 0.5) * box.width / size[1]
        near = (y[:, None] - self.y) ** 2 + (x[None] - self.x) ** 2
        return (near < self.radius**2).astype(np.uint8)


class Crowd(Truth):
    """Truth without a mask: boxes and points."""

    def __init__(self, *boxes: tuple[float, float, float, float], knows: str = "boxes") -> None:
        self.classes, self.objects = {}, {1: "person"}
        self.known = np.array(boxes, float)
        self.knows = frozenset({knows})

    def boxes(self, box: Box) -> Objects:
        return Objects(self.known, np.ones(len(self.known), np.int64), {1: "person"})

    def points(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        centres = (self.known[:, :2] + self.known[:, 2:]) / 2
        return centres, np.ones(len(centres), np.int64)


def centre(values: np.ndarray, box: Box) -> tuple[float, float]:
    """Centre of mass of node values, node k of n at k / (n - 1) of the region."""
    ny, nx = values.shape
    y, x = np.meshgrid(np.linspace(0, 1, ny), np.linspace(0, 1, nx), indexing="ij")
    total = values.sum()
    return (
        float(box.y0 + (values * y).sum() / total * box.height),
        float(box.x0 + (values * x).sum() / total * box.width),
    )


def dotted(y: int, x: int) -> np.ndarray:
    array = np.random.default_rng(0).integers(25, 35, (200, 300, 3), np.uint8)
    array[y - 6 : y + 6, x - 6 : x + 6] = 250
    return array


@pytest.mark.parametrize("source", ["edges", "spectral residual", "truth"])
@pytest.mark.parametrize("at", [(100, 150), (25, 270), (170, 40)])
def test_maps_peak_where_the_thing_is(source: str, at: tuple[int, int]) -> None:
    """Also near the border, where nodes stand on the rim of the region, not half a cell inside."""
    view = image_of(dotted(*at), truth=Disc(*at, 8)).view()
    heat = saliency_map(view, source, NODES)
    assert heat.values.shape == NODES
    assert heat.box == view.box
    assert heat.values.min() >= 0
    row, column = np.unravel_index(heat.values.argmax(), NODES)
    assert row / 8 * 200 == pytest.approx(at[0], abs=200 / 8 / 2 + 2)
    assert column / 12 * 300 == pytest.approx(at[1], abs=300 / 12 / 2 + 2)
    if source == "truth":  # nothing else in the map: its mass lies at the disc
        assert centre(heat.values, view.box) == pytest.approx(at, abs=10)


def test_a_file_is_registered_with_the_region_also_at_its_rim(tmp_path: Path) -> None:
    """Dots at many places: the centre of mass at nodes is the dot's, to a fraction of a cell."""
    view = image_of(np.zeros((100, 100, 3), np.uint8)).view()
    errors = []
    for at in range(2, 98, 5):
        values = np.zeros((100, 100))
        values[at - 2 : at + 3, 48:53] = 1
        np.save(tmp_path / "map.npy", values)
        heat = saliency_map(view, "file", (11, 11), file=str(tmp_path / "map.npy"))
        errors.append(centre(heat.values, view.box)[0] - (at + 0.5))
    assert np.abs(errors).max() <= 5.01  # half the distance of two nodes: the nearest one
    assert abs(np.mean(errors)) < 1


def test_badges_name_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    view = image_of(dotted(100, 100), truth=Disc(100, 100, 9)).view()
    np.save(tmp_path / "mine.npy", np.ones((4, 4)))

    def net(name: str, batch: Any) -> Any:
        assert name == "tissue-saliency"
        assert batch.shape == (1, 3, 85, 128)
        return torch.zeros(1, 1, 22, 32)

    monkeypatch.setattr("hrviz.nets.run", net)
    badges = {
        "trained": "trained: tissue-saliency", "edges": "stand-in: edge energy", "truth": "oracle",
        "spectral residual": "stand-in: spectral residual", "drawn": "drawn by the user",
        "file": "file: mine.npy", "previous frame": "even: there is no previous frame",
    }  # fmt: skip
    for source, badge in badges.items():
        heat = saliency_map(
            view, source, NODES, boxes=((10, 10, 50, 50),), file=str(tmp_path / "mine.npy")
        )
        assert heat.source.startswith(badge)
        assert heat.summary()["source"] == heat.source
        if source == "trained":
            assert heat.values.sum() == pytest.approx(1)


def test_the_previous_frame_says_where_things_moved_or_were_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A film without truth: what changed. With a detector for it: the density of what it found."""
    import hrviz
    from hrviz.methods.detection import Found
    from hrviz.methods.downsampling.kde import region_kde

    asked = []

    def found(view: Any, task: str, size: tuple[int, int]) -> Found:
        asked.append((view.image.index["t"], task))
        return Found(np.array([[100.0, 200.0, 140.0, 220.0]]), np.ones(1), np.zeros(1, int))

    monkeypatch.setattr("hrviz.methods.downsampling.previous_frame.found_uniformly", found)
    film = hrviz.open("scene:crowd?size=480x320&people=20&frames=9&seed=3#t=5").view()
    heat = saliency_map(film, "previous frame", NODES)
    assert asked == [(4, "person detection")]
    np.testing.assert_allclose(
        heat.values, region_kde(np.array([[100.0, 200, 140, 220]]), film.box, NODES)
    )
    assert heat.source == "trained: crowd-detector-light, in the previous frame"
    monkeypatch.setattr("hrviz.methods.task.resolve", lambda *a, **k: "none")
    moved = saliency_map(film, "previous frame", NODES)
    assert moved.source.startswith("stand-in: change")
    assert moved.values.max() > 0


def test_boxes_cover_the_nodes_inside_them() -> None:
    view = image_of(np.zeros((1200, 1200, 3), np.uint8)).view((100, 100, 1100, 1100))
    heat = saliency_map(view, "drawn", (11, 11), boxes=((300, 500, 500, 800),))
    # nodes are 100 px apart: rows 2..4, columns 4..7; those on the outline are half covered
    expected = np.zeros((11, 11))
    rows, columns = np.zeros(11), np.zeros(11)
    rows[2:5], columns[4:8] = (0.5, 1, 0.5), (0.5, 1, 1, 0.5)
    expected = rows[:, None] * columns
    np.testing.assert_allclose(heat.values, expected)
    two = saliency_map(view, "drawn", (11, 11), boxes=((300, 500, 500, 800), (0, 0, 5000, 5000)))
    np.testing.assert_allclose(two.values, 1)  # overlapping boxes do not add up


def test_strokes_are_bumps_of_one_node_along_a_line() -> None:
    view = image_of(np.zeros((100, 100, 3), np.uint8)).view()
    heat = saliency_map(view, "drawn", (11, 11), strokes=(((50, 20), (50, 80)),))
    # a stroke is dotted every half node or so, hence 4 per cent
    np.testing.assert_allclose(heat.values[5, 2:9], 1, atol=0.04)
    np.testing.assert_allclose(heat.values[4, 3:8], np.exp(-0.5), atol=0.04)
    dot = saliency_map(view, "drawn", (11, 11), strokes=(((20, 70),),)).values
    assert np.unravel_index(dot.argmax(), dot.shape) == (2, 7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing is drawn"),
        ({"boxes": ((500, 500, 600, 600),)}, "outside the region"),
        ({"strokes": (((5000.0, 5000.0),),)}, "outside the region"),
    ],
)
def test_nothing_drawn_in_the_region_is_refused(options: dict[str, Any], words: str) -> None:
    view = image_of(np.zeros((100, 100, 3), np.uint8)).view()
    with pytest.raises(HrvizError, match=words):
        saliency_map(view, "drawn", NODES, **options)


def test_no_truth_and_no_file_are_refused() -> None:
    view = image_of(np.zeros((100, 100, 3), np.uint8)).view()
    with pytest.raises(HrvizError, match="has no truth"):
        saliency_map(view, "truth", NODES)
    with pytest.raises(HrvizError, match="no map file"):
        saliency_map(view, "file", NODES)


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    return buffer.getvalue()


def _npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


BAD_MAPS = {
    "nan": (_npy(np.array([[1, np.nan], [0, 1.0]])), "NaN"),
    "infinite": (_npy(np.array([[1, np.inf], [0, 1.0]])), "infinite"),
    "negative": (_npy(np.full((6, 6), -1.0)), "negative"),
    "pickle": (
        _npy(np.array([{"a": 1}], object), allow_pickle=True),
        "pickled objects are refused",
    ),
    "plain pickle": (pickle.dumps(np.ones((3, 3))), "not a readable .npy"),
    "archive": (_npz(), "not a readable .npy"),
    "empty": (b"", "not a readable .npy"),
    "cut off": (_npy(np.ones((50, 50)))[:900], "not a readable .npy"),
    "three axes": (_npy(np.ones((3, 3, 3))), "shape"),
    "no pixels": (_npy(np.ones((0, 3))), "shape"),
    "text": (_npy(np.array([["a", "b"]])), "shape"),
    "complex": (_npy(np.ones((3, 3), complex)), "shape"),
}


@pytest.mark.parametrize("kind", BAD_MAPS)
def test_unusable_maps_are_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    data, words = BAD_MAPS[kind]
    path = tmp_path / "map.npy"
    path.write_bytes(data)
    view = image_of(np.zeros((50, 50, 3), np.uint8)).view()
    with pytest.raises(HrvizError, match=words) as caught:
        saliency_map(view, "file", NODES, file=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "int64", ">f4"])
def test_numbers_of_any_kind_and_pictures_are_maps(dtype: str, tmp_path: Path) -> None:
    view = image_of(np.zeros((50, 50, 3), np.uint8)).view()
    values = np.zeros((30, 40))
    values[:15] = 1
    np.save(tmp_path / "map.npy", values.astype(dtype))
    heat = saliency_map(view, "file", NODES, file=str(tmp_path / "map.npy"))
    np.testing.assert_allclose(heat.values[0], 1, atol=1e-6)
    np.testing.assert_allclose(heat.values[-1], 0, atol=1e-6)
    PILImage.fromarray((values * 255).astype(np.uint8)).save(tmp_path / "map.png")
    picture = saliency_map(view, "file", NODES, file=str(tmp_path / "map.png"))
    np.testing.assert_allclose(picture.values / 255, heat.values, atol=0.01)


@pytest.mark.parametrize("source", ["edges", "spectral residual"])
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (1, 500), (3, 2)])
def test_a_constant_image_is_even_everywhere(source: str, shape: tuple[int, int]) -> None:
    view = image_of(np.full((*shape, 3), 200, np.uint8)).view()
    values = adjust(saliency_map(view, source, (5, 5)).values, 1.0, 0.0)
    np.testing.assert_allclose(values / values.max(), 1, atol=1e-9)


def test_adjust_shapes_and_mixes() -> None:
    values = np.array([[0.0, 1.0], [2.0, 4.0]])
    np.testing.assert_allclose(adjust(values, 1, 0), values / 4)
    np.testing.assert_allclose(adjust(values, 2, 0), (values / 4) ** 2)
    np.testing.assert_allclose(adjust(values, 0, 0), 1)
    np.testing.assert_allclose(adjust(values, 1, 1), np.full((2, 2), 7 / 16))
    np.testing.assert_allclose(adjust(values, 1, 0.5), values / 8 + 7 / 32)
    np.testing.assert_allclose(adjust(np.zeros((2, 2)), 3, 0), 1)


@pytest.mark.parametrize("knows", ["boxes", "points"])
def test_truth_without_a_mask_is_a_density_of_its_objects(knows: str) -> None:
    """Every object weighs one, spread over its box, counted by hand pixel by pixel."""
    people = [(10.0, 20.0, 50.0, 44.0), (12.5, 21.0, 14.0, 23.5), (60.0, 100.0, 61.0, 101.0)]
    image = image_of(np.zeros((80, 128, 3), np.uint8), truth=Crowd(*people, knows=knows))
    density = _truth(image.view())
    assert density.shape == (80, 128)  # a pixel each
    assert density.sum() == pytest.approx(3)
    if knows == "points":
        return
    expected = np.zeros((80, 128))
    for y0, x0, y1, x1 in people:
        for y in range(80):
            for x in range(128):
                high = max(0.0, min(y + 1, y1) - max(y, y0))
                wide = max(0.0, min(x + 1, x1) - max(x, x0))
                expected[y, x] += high * wide / ((y1 - y0) * (x1 - x0))
    assert np.allclose(density, expected)
    found = saliency_map(image.view(), "truth", NODES)
    assert found.values.max() > 0 and found.source == "oracle: the scene's truth"

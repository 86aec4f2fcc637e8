"""SALISA with a detector that is told the truth: resets, drift, stills, nothing found, cancelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hrviz
from hrviz.context import Context
from hrviz.errors import Cancelled
from hrviz.geometry import Box
from hrviz.image import ImageView
from hrviz.methods.detection import Found, wanted
from hrviz.methods.downsampling import salisa as film
from hrviz.run import CACHE

URI = "scene:crowd?size=384x256&people=20&frames=40#t=30"
METHOD = hrviz.METHODS["salisa"].function


class Detector:
    """Answers with boxes chosen by the test, counts its calls, and keeps the shapes it was shown."""

    def __init__(self, answer: Callable[[str, np.ndarray], np.ndarray]) -> None:
        self.answer, self.calls = answer, []

    def __call__(self, network: str, pixels: np.ndarray, top: int) -> Found:
        self.calls.append((network, pixels.shape[:2]))
        boxes = self.answer(network, pixels)
        return Found(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int64))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Detector]:
    """Put a fake in place of both detectors (and of what they cost)."""

    def install(answer: Callable[[str, np.ndarray], np.ndarray]) -> Detector:
        detector = Detector(answer)
        monkeypatch.setattr(film, "detect", detector)
        monkeypatch.setattr(film, "network_flops", lambda name, size: 9e9 if name == film.HEAVY else 1e9)  # fmt: skip
        return detector

    CACHE.clear()
    return install


def steps(uri: str = URI, region: Any = None, **params: Any) -> dict[str, Any]:
    """The last state of every step, straight from the method."""
    view = ImageView(hrviz.open(uri), region)
    bound = hrviz.METHODS["salisa"].bind({"size": 128, "full": 512, **params})
    return {step.name: step for step in METHOD(view, **bound)}


def one_box(network: str, pixels: np.ndarray) -> np.ndarray:
    h, w = pixels.shape[:2]
    return np.array([[0.4 * h, 0.45 * w, 0.6 * h, 0.55 * w]])


# ------------------------------------------------------------------ resets
@pytest.mark.parametrize(("reset", "heavy"), [(1, 6), (2, 3), (3, 2), (8, 1)])
def test_the_heavy_detector_looks_every_reset_frames(fake: Any, reset: int, heavy: int) -> None:
    detector = fake(one_box)
    found = steps(reset=reset, frames=6)
    names = [name for name, _ in detector.calls]
    assert names.count(film.HEAVY) == heavy
    assert names.count(film.LIGHT) == 6 - heavy
    assert names[0] == film.HEAVY
    assert [k for k, name in enumerate(names) if name == film.HEAVY] == list(range(0, 6, reset))
    assert found["cost"].result.series["SALISA"].tolist() == [
        9.0 if k % reset == 0 else 1.0 for k in range(6)
    ]
    sizes = dict(detector.calls)
    assert sizes[film.HEAVY] == (256, 384)  # never more than the image has
    if heavy < 6:
        assert sizes[film.LIGHT] == (85, 128)


def test_a_reset_frame_is_answered_by_the_heavy_detector(fake: Any) -> None:
    fake(one_box)
    found = steps(reset=5, frames=6)
    assert found["prediction"].result.source == f"trained: {film.HEAVY}"
    np.testing.assert_allclose(
        found["prediction"].result.boxes, [[0.4 * 256, 0.45 * 384, 0.6 * 256, 0.55 * 384]]
    )
    assert "reset" in found["grid"].note


def test_the_film_ends_at_the_frame_shown(fake: Any) -> None:
    fake(one_box)
    view = hrviz.open(URI).view()
    assert film.film(view, 6, 3)[0] == [15, 18, 21, 24, 27, 30]
    times, views = film.film(view, 16, 5)
    assert times == [0, 5, 10, 15, 20, 25, 30]  # no frames before the first
    assert views[-1] is view
    assert [v.image.index["t"] for v in views] == times
    assert all(v.reads is view.reads for v in views)
    assert film.film(hrviz.open(URI.split("#")[0]).view(), 6, 3)[0] == [0]


# ------------------------------------------------------------------ boxes lead on
def test_what_is_found_is_enlarged_in_the_next_frame(fake: Any) -> None:
    fake(one_box)
    found = steps(frames=2)
    assert found["previous boxes"].result.boxes == pytest.approx(
        np.array([[102.4, 172.8, 153.6, 211.2]])
    )
    grid = found["grid"].result
    det = grid.determinant(np.array([0.5, 0.05]), np.array([0.5, 0.05]))
    assert det[0] < 0.8 < det[1]  # less image an output pixel at the box than in a corner


def test_boxes_come_back_by_the_map_of_the_frame(fake: Any) -> None:
    fake(one_box)
    found = steps(frames=2)
    seen, grid = found["seen"].result, found["grid"].result
    inside = one_box("", seen.array)
    np.testing.assert_allclose(seen.boxes, inside, atol=1e-4)
    mesh = grid.boxes_to_image(inside, 99)  # the box around its image on the mesh
    outer = steps(frames=2, carry="outermost")["prediction"].result.boxes
    np.testing.assert_allclose(outer, mesh, atol=0.5)
    mean = found["prediction"].result.boxes
    assert (mean[:, :2] >= mesh[:, :2] - 0.5).all()
    assert (mean[:, 2:] <= mesh[:, 2:] + 0.5).all()


def test_nothing_found_is_uniform_downsampling(fake: Any) -> None:
    detector = fake(lambda network, pixels: np.zeros((0, 4)))
    found = steps(frames=3)
    grid = found["grid"].result
    even = type(grid).identity(grid.box, grid.size, grid.nodes.shape[:2])
    np.testing.assert_allclose(grid.nodes, even.nodes, atol=1e-6)
    assert len(found["prediction"].result.boxes) == 0
    assert len(detector.calls) == 3
    assert found["drift"].result.series["all people"].tolist() == [0, 0, 0]


def test_one_box_alone_is_enlarged_within_bounds_and_never_folds(fake: Any) -> None:
    """The ground keeps its share of the peak, however little of it boxes cover."""
    values = film.above_ground(np.array([[0.0, 0.5, 0.0, 0.0]]), 2.0, 0.2)
    np.testing.assert_allclose(values, [[0.2, 1.0, 0.2, 0.2]])
    np.testing.assert_array_equal(film.above_ground(np.zeros((2, 3)), 1.0, 0.2), np.ones((2, 3)))
    fake(one_box)
    grid = steps(frames=2)["grid"].result
    assert not grid.folded().any()
    assert 1.2 < np.sqrt(grid.cell_magnification()).max() < 4


# ------------------------------------------------------------------ drift
def test_drift_is_the_recall_of_every_frame(fake: Any) -> None:
    """A heavy detector that knows the truth and a light one that finds nothing: 1, then 0."""
    truth = wanted(ImageView(hrviz.open(URI).at(t=24)), film.CLASSES).boxes

    fake(lambda network, pixels: truth if network == film.HEAVY else np.zeros((0, 4)))
    curve = steps(frames=3)["drift"].result
    assert curve.x.tolist() == [24, 27, 30]
    assert curve.series["all people"].tolist() == [1, 0, 0]
    assert curve.series["below 32 px"][0] == 1


def test_without_truth_drift_counts_boxes(fake: Any, tmp_path: Any) -> None:
    from PIL import Image

    fake(one_box)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "still.png")
    found = steps(str(tmp_path / "still.png"))
    assert found["drift"].result.series["boxes"].tolist() == [1]
    assert "score" not in found


# ------------------------------------------------------------------ edges of it
def test_a_still_is_a_film_of_one_frame_seen_twice(fake: Any) -> None:
    detector = fake(one_box)
    found = steps(URI.split("&frames")[0])
    assert [name for name, _ in detector.calls] == [film.HEAVY, film.LIGHT]
    assert "still" in found["strip"].note
    assert found["prediction"].result.source == f"trained: {film.LIGHT}"
    assert list(found)[-1] == "score"


def test_edges_need_no_detector(fake: Any) -> None:
    detector = fake(one_box)
    found = steps(saliency="edges", task="none", frames=3)
    assert not detector.calls
    assert not {"prediction", "cost", "drift", "heavy detections"} & set(found)


def test_true_boxes_are_those_of_the_frame_before(fake: Any) -> None:
    detector = fake(one_box)
    found = steps(saliency="truth", frames=2, hop=7)
    before = wanted(ImageView(hrviz.open(URI).at(t=23)), film.CLASSES).boxes
    np.testing.assert_allclose(found["previous boxes"].result.boxes, before)
    assert [name for name, _ in detector.calls] == [film.LIGHT] * 2


def test_a_region_stays_in_image_coordinates(fake: Any) -> None:
    fake(one_box)
    region = Box(64, 96, 256, 384)
    found = steps(region=region, frames=2)
    boxes = found["heavy detections"].result.boxes
    np.testing.assert_allclose(boxes, [[64 + 0.4 * 192, 96 + 0.45 * 288, 64 + 0.6 * 192, 96 + 0.55 * 288]])  # fmt: skip
    nodes = found["grid"].result.nodes.reshape(-1, 2)
    assert (nodes.min(0) >= region[:2]).all()
    assert (nodes.max(0) <= region[2:]).all()


def test_the_strip_grows_frame_by_frame_and_can_be_cancelled(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(one_box)
    view = hrviz.open(URI).view()
    bound = hrviz.METHODS["salisa"].bind({"size": 128, "frames": 4})
    strips = [s for s in METHOD(view, **bound) if s.name == "strip"]
    assert [s.progress for s in strips] == [0.25, 0.5, 0.75, 1]
    assert len(strips[-1].result.boxes) == 4 + 3  # below, the reset frame has none

    asked = iter([False, True])
    context = Context(cancelled=lambda: next(asked))
    monkeypatch.setattr(film, "current", lambda: context)
    with pytest.raises(Cancelled):
        list(METHOD(view, **bound))


def test_flops_are_those_of_the_layers() -> None:
    """The whole network's count against one by hand from its convolutions."""
    torch = pytest.importorskip("torch")
    from hrviz import nets

    if not (nets.WEIGHTS / f"{film.LIGHT}.safetensors").exists():
        pytest.skip("its weights are not trained yet")
    total = 0

    def hook(module: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        total += 2 * output.numel() * module.in_channels * np.prod(module.kernel_size)

    net = nets.load(film.LIGHT)
    handles = [
        m.register_forward_hook(hook) for m in net.modules() if isinstance(m, torch.nn.Conv2d)
    ]
    net(torch.zeros(1, 3, 96, 160))
    for handle in handles:
        handle.remove()
    assert film.network_flops(film.LIGHT, (96, 160)) == total


@pytest.mark.slow
@pytest.mark.parametrize("name", [film.LIGHT, film.HEAVY])
def test_recipes_run(name: str) -> None:
    pytest.importorskip("torch")
    from hrviz.training import train

    card = train(name, steps=3, write=False, report=lambda text: None)
    assert any(key.endswith("small_ap50") for key in card["held_out"])

"""The panel of procedural scenes, in a real viewer on a virtual screen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import hrviz

pytestmark = pytest.mark.napari
pytest.importorskip("napari")


@pytest.fixture
def panel(qapp: Any) -> Iterator[Any]:
    if not os.environ.get("DISPLAY") or qapp.platformName() == "offscreen":
        pytest.skip("no screen for napari's canvas: install xvfb")
    import napari
    from napari.settings import get_settings

    from hrviz.napari._scene import ScenePanel

    get_settings()._save_on_change = False
    viewer = napari.Viewer(show=False)
    made = ScenePanel(viewer)
    viewer.window.add_dock_widget(made, name="hrviz scene")
    yield made
    viewer.close()
    get_settings()._save_on_change = True


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        QApplication.processEvents()
        time.sleep(0.005)


def add(panel: Any, name: str, **values: Any) -> Any:
    panel.choose(name)
    for key, value in values.items():
        panel.form[key].value = value
    panel.show_scene()
    until(lambda: panel.status.text() != "Working ...")
    return panel.viewer.layers[-1]


def test_a_scene_with_its_parameters_and_truth(panel: Any):
    from hrviz.napari._layers import camera

    layer = add(panel, "road", width=640, height=480, seed=5)
    image = hrviz.open("scene:road?size=640x480&seed=5")
    assert layer.metadata["hrviz"].uri == image.uri == panel.status.text()
    until(lambda: tuple(camera(panel.viewer).center)[1:] != (0, 0))
    (boxes,) = panel.show_truth("boxes")
    known = image.truth.boxes(image.box).boxes
    corners = np.array([[*np.min(d, 0), *np.max(d, 0)] for d in boxes.data]) + 0.5
    assert np.allclose(corners, known, atol=1e-3)
    (labels,) = panel.show_truth("mask")
    assert labels._type_string == "labels"
    assert np.array_equal(labels.data, image.truth.mask(image.box, labels.data.shape))
    panel.tell_answer()
    assert panel.status.text() == f"Answer: {image.truth.label}"


def test_another_seed_takes_the_place_and_the_view_stays(panel: Any):
    from hrviz.napari._layers import camera

    first = add(panel, "road", width=640, height=480, seed=5)
    panel.show_truth("points")
    camera(panel.viewer).zoom = 3.0
    camera(panel.viewer).center = (0, 100, 200)
    panel.form["seed"].value = 6
    panel.show_scene()
    until(lambda: first not in panel.viewer.layers)
    (layer,) = panel.viewer.layers  # the old truth went with the old scene
    assert "seed=6" in layer.metadata["hrviz"].uri
    assert camera(panel.viewer).zoom == pytest.approx(3.0)
    assert tuple(camera(panel.viewer).center)[-2:] == pytest.approx((100, 200))


def test_what_a_scene_does_not_know_is_one_sentence(panel: Any):
    panel.show_truth("boxes")
    assert "no image yet" in panel.status.text()
    add(panel, "crowd", width=600, height=400, people=20)
    assert panel.show_truth("mask") == []
    assert "knows no regions" in panel.status.text()

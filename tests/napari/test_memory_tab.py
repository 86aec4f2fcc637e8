"""The panel's Memory tab, in a real viewer on a virtual screen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hrviz
from hrviz.cost.devices import DEVICES

pytestmark = pytest.mark.napari
pytest.importorskip("napari")
OUTPUT = Path(__file__).parents[1] / "output"
SCENE = "scene:tissue?size=100000x100000&seed=3"
FEW = ["vit-b16-fused", "uniform-downsampling"]


def until(condition: Callable[[], bool], seconds: float = 240) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        QApplication.processEvents()
        time.sleep(0.005)


@pytest.fixture
def panel(qapp: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if not os.environ.get("DISPLAY") or qapp.platformName() == "offscreen":
        pytest.skip("no screen for napari's canvas: install xvfb")
    import napari
    from napari.settings import get_settings

    from hrviz.napari import _memory
    from hrviz.napari._panel import MethodPanel
    from hrviz.views import costs

    get_settings()._save_on_change = False
    monkeypatch.setattr(_memory, "SIDES", (256, 512, 1024))
    monkeypatch.setattr(costs, "SUBJECTS", tuple(FEW))
    viewer = napari.Viewer(show=False)
    viewer.window._qt_window.resize(1280, 800)
    made = MethodPanel(viewer)
    viewer.window.add_dock_widget(made, name="hrviz")
    yield made
    made.close()
    viewer.close()
    get_settings()._save_on_change = True


def opened(panel: Any) -> Any:
    """The tab after its first study."""
    panel.viewer.window._qt_window.show()
    panel.tabs.setCurrentIndex(1)
    view = panel.memory
    until(lambda: view.study is not None and view.job is None)
    return view


def add_slide(panel: Any) -> None:
    from hrviz.napari import _reader

    for data, keywords, _ in _reader.read(SCENE):
        panel.viewer.add_image(data, **keywords)


def test_the_image_on_the_screen(panel: Any):
    """Without a press: curves, what fits, and what this slide needs."""
    add_slide(panel)
    view = opened(panel)
    assert view.names == FEW and view.image == 100_000
    assert view.study.sides[-2:] == (65536, 100_000)
    told = view.said.text()
    assert (
        "Fits to" in told and "in 48 GiB" in told and "This image, 100\u202f000 px, needs" in told
    )
    assert "Memory grows as side\u00b2." in told
    assert not view.picture.isHidden() and not view.parts.isHidden()
    assert view.picture.pixmap().width() >= 280
    assert "pass, in" in view.held.text() and not view.status.text()
    OUTPUT.mkdir(exist_ok=True)
    settled = time.monotonic() + 1.5  # layout, and tiles in the background
    until(lambda: time.monotonic() > settled)
    panel.viewer.screenshot(str(OUTPUT / "napari_memory.png"), canvas_only=False, flash=False)


def test_the_sentence_is_the_search(panel: Any):
    from hrviz.cost import study

    view = opened(panel)
    fit = study.largest("vit-b16-fused", DEVICES["a6000"].bytes)
    assert view.fits["vit-b16-fused", DEVICES["a6000"].bytes] == fit
    assert f"{fit.resolution:,}".replace(",", "\u202f") + " px in 48 GiB" in view.said.text()
    assert "This image" not in view.said.text() and view.parts.isHidden()


def test_controls_become_the_setting(panel: Any):
    view = opened(panel)
    view.use.setCurrentIndex(view.use.findData("training"))
    view.optimiser.setCurrentIndex(view.optimiser.findData("adam"))
    view.batch.setValue(2)
    view.dtype.setCurrentText("bfloat16")
    view.network.setCurrentIndex(view.network.findData("vit-b16-fused"))
    view.reduction.setCurrentIndex(view.reduction.findData(8.0))
    setting = view.setting
    assert (setting.batch, setting.dtype, setting.training) == (2, "bfloat16", True)
    assert (setting.optimiser, setting.network, setting.reduction) == ("adam", "vit-b16-fused", 8.0)
    until(lambda: view.job is not None)  # by itself
    view.cancel()
    view.use.setCurrentIndex(view.use.findData("inference"))
    assert view.setting.optimiser is None and not view.optimiser.isEnabled()
    view.cancel()


def test_quantities_and_devices(panel: Any):
    view = opened(panel)
    before = view.picture.pixmap().cacheKey()
    view.quantity.setCurrentIndex(view.quantity.findData("flops"))
    assert view.picture.pixmap().cacheKey() != before
    assert view.job is None  # drawn from what is known
    view.device.setCurrentIndex(view.device.findData("all"))
    until(lambda: view.job is not None)
    until(lambda: view.job is None)
    assert len(view.fits) == len(FEW) * len(DEVICES)
    assert "px in 4 GiB," in view.said.text()


def test_cancel_and_again(panel: Any):
    view = opened(panel)
    view.go.click()
    job = view.job
    assert view.go.text() == "Cancel" and not view.progress.isHidden()
    view.go.click()
    assert (
        job.cancelled or job.done
    )  # what is kept from before may come sooner than the second click
    assert view.job is None
    assert view.go.text() == "Work out" and view.status.text() == "Cancelled."
    assert view.progress.isHidden() and not view.picture.isHidden()  # what is known stays


def test_nothing_chosen_is_one_sentence(panel: Any):
    view = opened(panel)
    view.choose([])
    until(lambda: "nothing to meter" in view.status.text())
    assert view.job is None
    view.choose(["razn"])
    assert view.names == ["razn"]
    until(lambda: view.job is not None)
    until(lambda: view.job is None)
    assert not view.status.text() and "RAZN" in view.said.text()


def test_another_image_is_asked_about(panel: Any):
    view = opened(panel)
    assert view.image == 0
    add_slide(panel)
    until(lambda: view.image == 100_000)
    until(lambda: view.job is None)
    assert "This image" in view.said.text()
    assert max(hrviz.open(SCENE).box) == 100_000


def test_fits_the_panel_at_its_narrowest(panel: Any):
    from qtpy.QtWidgets import QApplication, QStyle

    view = opened(panel)
    bar = panel.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
    QApplication.processEvents()
    assert view.page.minimumSizeHint().width() + bar <= 320 <= panel.minimumWidth()


def test_nothing_is_looked_up_before_it_is_shown(panel: Any):
    assert panel.memory._known is None and not panel.memory.tree.topLevelItemCount()

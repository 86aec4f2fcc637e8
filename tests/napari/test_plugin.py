"""The napari plugin: manifest, reader, and the real panel in a real viewer on a virtual screen."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import hrviz
from hrviz.image.readers import sniff
from hrviz.napari import _reader, _sample_data
from hrviz.napari._layers import camera
from hrviz.results import Boxes, Picture, Step, WarpGrid
from hrviz.scenes import SCENES

pytestmark = pytest.mark.napari
pytest.importorskip("napari")
SCENE = "scene:tissue?size=2048x3072&seed=3"
YAML = Path(_reader.__file__).with_name("napari.yaml")
OUTPUT = Path(__file__).parents[1] / "output"


# -- manifest ---------------------------------------------------------------------------------
def test_manifest_is_valid_and_names_real_things():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(YAML)
    manifest.validate_imports()
    names = {c.id for c in manifest.contributions.commands}
    used = {c.command for kind in ("readers", "widgets", "sample_data")
            for c in getattr(manifest.contributions, kind)}  # fmt: skip
    assert used == names


def test_manifest_lists_the_samples():
    from npe2 import PluginManifest

    keys = {s.key for s in PluginManifest.from_file(YAML).contributions.sample_data}
    assert keys == {*SCENES, "gigapixel", "retina", "ihc"}


def test_manifest_claims_what_readers_open():
    from npe2 import PluginManifest

    (reader,) = PluginManifest.from_file(YAML).contributions.readers
    assert reader.accepts_directories
    ours = {p.removeprefix("*") for p in reader.filename_patterns}
    assert {*sniff.IMAGE_SUFFIXES, ".npy", ".jp2", ".j2k", ".mp4", ".mov", ".zarr"} <= ours


# -- reader -----------------------------------------------------------------------------------
@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(_reader, "notify", told.append)
    return told


def opened(path: Any) -> tuple[Any, dict[str, Any], str]:
    read = _reader.get_reader(path)
    assert read is not None
    ((data, keywords, kind),) = read(path)
    return data, keywords, kind


def test_reads_a_png(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 2500, 3), np.uint8)
    PILImage.fromarray(pixels).save(tmp_path / "a.png")
    levels, keywords, kind = opened(str(tmp_path / "a.png"))
    assert kind == "image"
    assert keywords["rgb"]
    assert keywords["multiscale"]
    assert levels[0].shape == (1500, 2500, 3)
    assert max(levels[-1].shape) <= 1024
    assert np.array_equal(levels[0][100:110, 200:230], pixels[100:110, 200:230])
    assert np.array_equal(levels[0][7, 9], pixels[7, 9])
    assert np.array_equal(levels[0][..., 1][5:7, 3:9], pixels[5:7, 3:9, 1])
    assert keywords["metadata"]["hrviz"].width == 2500


def test_reads_16_bit_with_limits(tmp_path: Path):
    import tifffile

    pixels = np.linspace(0, 4000, 1200 * 1300).reshape(1200, 1300).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(256, 256))
    levels, keywords, _ = opened(str(tmp_path / "a.tif"))
    assert not keywords["rgb"]
    assert levels[0].shape == (1200, 1300)
    assert np.array_equal(levels[0][10:20, 30:50], pixels[10:20, 30:50])
    assert 0 <= keywords["contrast_limits"][0] < 100 < 3000 < keywords["contrast_limits"][1] < 4100


def stack_of(path: Path) -> np.ndarray:
    """An OME-TIFF of 3 times, 2 channels and 4 planes."""
    import tifffile

    stack = np.random.default_rng(0).integers(0, 4000, (3, 2, 4, 1100, 90)).astype(np.uint16)
    signed = [255 << 16 | 255, (0xFF00FF << 8 | 255) - 2**32]
    meta = {"axes": "TCZYX", "Channel": {"Name": ["GFP", "Cy5"], "Color": signed}}
    tifffile.imwrite(path, stack, metadata=meta, photometric="minisblack", tile=(64, 64))
    return stack


def test_channels_become_layers_with_sliders(tmp_path: Path):
    stack = stack_of(tmp_path / "a.ome.tif")
    layers = _reader.read(str(tmp_path / "a.ome.tif"))
    assert [keywords["name"] for _, keywords, _ in layers] == ["a.ome.tif GFP", "a.ome.tif Cy5"]
    for channel, (levels, keywords, kind) in enumerate(layers):
        assert kind == "image"
        assert not keywords["rgb"]
        assert keywords["blending"] == "additive"
        assert keywords["visible"]
        low, high = keywords["contrast_limits"]
        assert 0 <= low < 1000 < 3000 < high <= 4000
        assert [level.shape for level in levels] == [(3, 4, 1100, 90), (3, 4, 550, 45)]
        for t, z in ((0, 0), (2, 3), (1, 2), (-1, -1)):
            expected = stack[t, channel, z]
            assert np.array_equal(levels[0][t, z, 10:20, 30:50], expected[10:20, 30:50])
            assert np.array_equal(levels[0][(t, z)][7], expected[7])
        assert np.array_equal(levels[0][1:3, 2, 5], stack[1:3, channel, 2, 5])
        assert np.array_equal(levels[0][..., 3, 4], stack[:, channel, :, 3, 4])
        assert levels[0][0:0, 1].shape == (0, 1100, 90)
    full = [keywords["colormap"].map(np.array([0.0, 1.0])) for _, keywords, _ in layers]
    assert np.allclose(full[0][:, :3], [[0, 0, 0], [0, 1, 0]])
    assert np.allclose(full[1][:, :3], [[0, 0, 0], [1, 0, 1]], atol=0.01)


def test_few_pictures_of_a_stack_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stack_of(tmp_path / "a.ome.tif")
    image = hrviz.open(tmp_path / "a.ome.tif")
    frames = _reader.Frames(image)
    opened: list[dict[str, int]] = []
    at = type(image).at
    monkeypatch.setattr(type(image), "at", lambda *a, **k: opened.append(k) or at(*a, **k))
    for index in [(0, 0), (1, 2), (1, 2), (2, 3), (0, 1), (0, 2), (2, 3)]:
        assert tuple(frames(index).index.values()) == index
    assert len(opened) == 4  # none twice while it is among the last few
    assert len(frames._open) == _reader.FRAMES


def test_sliders_move_through_a_stack(tmp_path: Path):
    """As napari itself slices: another time, another plane, other pixels."""
    from napari.components import ViewerModel

    stack = stack_of(tmp_path / "a.ome.tif")
    viewer = ViewerModel()
    for levels, keywords, _ in _reader.read(str(tmp_path / "a.ome.tif")):
        viewer.add_image(levels, **keywords)
    assert viewer.dims.nsteps[:2] == (3, 4)
    layer = viewer.layers[1]
    for t, z in ((0, 0), (2, 1), (1, 3)):
        viewer.dims.set_point((0, 1), (t, z))
        layer.data_level = 0
        layer.corner_pixels = np.array([[t, z, 0, 0], [t, z, 63, 63]])
        layer.refresh()
        until(lambda: layer.loaded)
        shown = np.asarray(layer._slice.image.raw)
        assert np.array_equal(shown, stack[t, 1, z][: len(shown), : shown.shape[1]])


def test_a_small_film_stays_lazy(tmp_path: Path):
    from napari.components import ViewerModel

    film = np.random.default_rng(0).integers(0, 255, (5, 60, 70, 3)).astype(np.uint8)
    np.save(tmp_path / "film.npy", film)
    data, keywords, _ = opened(str(tmp_path / "film.npy"))
    assert keywords["rgb"]
    assert not keywords["multiscale"]
    assert data.shape == film.shape
    assert np.array_equal(data[3], film[3])
    layer = ViewerModel().add_image(data, **keywords)
    assert isinstance(layer.data, _reader.ShownStack)
    assert layer.ndim == 3


def test_addresses_of_zarr_are_ours():
    assert _reader.get_reader("https://example.org/cells.zarr") is not None
    assert _reader.get_reader("https://example.org/photo.png") is None


def test_reads_a_scene_whatever_napari_makes_of_its_name():
    for path in (SCENE, f"/some/where/{SCENE}", SCENE.replace(":", "://")):
        levels, keywords, _ = opened(path)
        assert levels[0].shape == (3072, 2048, 3) or levels[0].shape == (2048, 3072, 3)
        assert keywords["metadata"]["hrviz"].uri.startswith("scene:tissue")


@pytest.mark.parametrize("path", ["", "nothing/here.png", [], 3, None, "x" * 5000, "a\0b"])
def test_refuses_quietly(path: Any):
    assert _reader.get_reader(path) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("cut.png", b"\x89PNG\r\n\x1a\n"),
        ("text.tif", b"hello"),
        ("a.xyz", b"?"),
    ],
)
def test_bad_files_become_one_sentence(
    tmp_path: Path, sentences: list[str], name: str, content: bytes
):
    (tmp_path / name).write_bytes(content)
    read = _reader.get_reader(str(tmp_path / name))
    assert read is not None
    assert read(str(tmp_path / name)) == [(None,)]
    assert len(sentences) == 1
    assert "\n" not in sentences[0]


def test_a_bad_scene_becomes_one_sentence(sentences: list[str]):
    assert _reader.read("scene:nowhere") == [(None,)]
    assert len(sentences) == 1


@pytest.mark.parametrize("sample", [*SCENES, "gigapixel", "retina", "ihc"])
def test_samples(sample: str, sentences: list[str]):
    ((_, keywords, kind),) = getattr(_sample_data, sample)()
    assert kind == "image"
    assert keywords["metadata"]["hrviz"].width >= 512
    assert not sentences


# -- results to layers --------------------------------------------------------------------------
sys.path.append(str(Path(__file__).parents[1] / "views"))
from view_examples import examples  # noqa: E402

EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_step_that_comes_again_keeps_its_layers(name: str):
    """All result types, in a viewer model without Qt."""
    from napari.components import ViewerModel

    from hrviz.napari._layers import ResultLayers

    viewer = ViewerModel()
    shown = ResultLayers(viewer)
    shown.start("some-method")
    first = shown.put(Step("s", EXAMPLES[name], progress=0.5))
    assert (not first) == (name in {"Prediction", "Curve", "Cost"})
    for layer in first:
        layer.opacity = 0.21
    assert shown.put(Step("s", EXAMPLES[name])) == first
    assert list(viewer.layers) == first
    assert all(layer.opacity == 0.21 for layer in first)
    shown.drop("s")
    assert not viewer.layers


def test_fewer_more_and_no_boxes_fit_the_same_layer():
    from napari.components import ViewerModel

    from hrviz.napari._layers import ResultLayers

    viewer = ViewerModel()
    shown = ResultLayers(viewer)
    shown.start("some-method")
    boxes = np.arange(20.0)[:, None] + np.array([0.0, 0, 5, 9])
    labels = np.arange(20) % 2
    (layer,) = shown.put(Step("b", Boxes(boxes, labels=labels)))
    for n in (3, 0, 12, 20):
        assert shown.put(Step("b", Boxes(boxes[:n], labels=labels[:n]))) == [layer]
        assert len(layer.data) == n
    assert np.allclose(layer.edge_color[0], layer.edge_color[2])
    assert not np.allclose(layer.edge_color[0], layer.edge_color[1])
    many = np.repeat(boxes, 50, 0)
    (vectors,) = shown.put(Step("b", Boxes(many)))
    assert vectors._type_string == "vectors"
    assert list(viewer.layers) == [vectors]


# -- panel ------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def screen() -> str:
    """The display that tests/conftest.py found or started."""
    if not os.environ.get("DISPLAY"):
        pytest.skip("no DISPLAY and no Xvfb: install xvfb to test the napari panel")
    return os.environ["DISPLAY"]


@pytest.fixture
def panel(screen: str, qapp: Any) -> Iterator[Any]:
    if qapp.platformName() == "offscreen":
        pytest.skip("Qt was started without a screen earlier in this process: no OpenGL")
    import napari
    from napari.settings import get_settings

    from hrviz.napari._panel import MethodPanel

    get_settings()._save_on_change = False  # the tester's own settings stay as they are
    viewer = napari.Viewer(show=False)
    viewer.window._qt_window.resize(1280, 800)
    for data, keywords, _ in _reader.read(SCENE):
        viewer.add_image(data, **keywords)
    made = MethodPanel(viewer)
    viewer.window.add_dock_widget(made, name="hrviz")
    yield made
    made.cancel()
    viewer.close()
    get_settings()._save_on_change = True


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        QApplication.processEvents()
        time.sleep(0.005)


def ran(panel: Any) -> None:
    panel.apply()
    until(lambda: panel.job is None)
    assert panel.status.text().startswith("Done"), panel.status.text()


def whole(panel: Any) -> None:
    panel.region.setCurrentIndex(panel.region.findData("whole"))


def warp(panel: Any) -> None:
    """Learning to Zoom without any trained network."""
    panel.choose("saliency-sampler")
    panel.form["saliency"].value = "truth"
    panel.form["task"].value = "none"
    panel.form["size"].value = 128
    whole(panel)


def test_uniform_downsampling(panel: Any):
    panel.choose("uniform-downsampling")
    panel.form["task"].value = "none"
    whole(panel)
    ran(panel)
    assert panel.results.layers
    assert panel.report.cost.rowCount() >= 3
    assert panel.report.steps.count() >= 1
    image = hrviz.open(SCENE)
    layer = panel.results.layers[-1]
    (low, high), half = layer.extent.world[:, -2:], np.array(layer.scale) / 2  # of centres
    assert np.allclose(low - half, -0.5)
    assert np.allclose(high + half, (image.height - 0.5, image.width - 0.5))


def test_a_slider_updates_the_same_layers(panel: Any):
    warp(panel)
    ran(panel)
    before = {layer.name: layer for layer in panel.results.layers}
    assert {"saliency", "grid", "magnification", "warped"} <= set(before)
    nodes = before["grid"].data.copy()
    opacity = before["magnification"].opacity = 0.33
    panel.live.setChecked(True)
    panel.form["bandwidth"].value = 5.0  # nothing else: live does the rest
    until(lambda: panel.job is not None)
    until(lambda: panel.job is None)
    after = {layer.name: layer for layer in panel.results.layers}
    assert after == before
    assert len(panel.viewer.layers) == 1 + len(before)
    assert not np.allclose(nodes, after["grid"].data)
    assert after["magnification"].opacity == opacity
    until(lambda: not panel._restroke.isActive())
    OUTPUT.mkdir(exist_ok=True)
    panel.viewer.window._qt_window.show()
    settled = time.monotonic() + 1.5  # tiles are sliced in the background
    until(lambda: time.monotonic() > settled)
    panel.viewer.screenshot(str(OUTPUT / "napari.png"), canvas_only=False, flash=False)
    assert (OUTPUT / "napari.png").stat().st_size > 20_000


def test_outputs_lie_beside_the_image_in_columns(panel: Any):
    """Warped and uniform side by side, the zoom on its picture, nothing over the image unasked."""
    warp(panel)
    ran(panel)
    of = {layer.name: layer for layer in panel.results.layers}
    image = hrviz.open(SCENE)
    low = {n: la.extent.world[0][-2:] - np.array(la.scale[-2:]) / 2 for n, la in of.items()}
    high = {n: la.extent.world[1][-2:] + np.array(la.scale[-2:]) / 2 for n, la in of.items()
            if la._type_string == "image"}  # fmt: skip
    assert low["warped"][1] > image.width
    assert low["uniform"][1] > high["warped"][1]
    assert high["uniform"][1] - low["uniform"][1] == pytest.approx(image.width, rel=0.02)
    assert np.allclose(low["output magnification"], low["warped"])
    assert np.allclose(high["output magnification"], high["warped"])
    hidden = {n for n, layer in of.items() if not layer.visible}
    assert {"round trip", "output magnification", "samples"} <= hidden
    assert not {"grid", "warped", "uniform"} & hidden
    panel.results.show("round trip")
    assert of["round trip"].visible


def test_boxes_of_an_output_are_drawn_in_both_places(panel: Any):
    grid = EXAMPLES["WarpGrid"]
    boxes = np.array([[10.0, 20, 30, 50]])
    pixels = np.zeros((*grid.size, 3), np.uint8)
    panel.results.start("some-method")
    picture, over = panel.results.put(Step("found", Picture(pixels, grid=grid, boxes=boxes)))
    (there,) = panel.results.put(Step("boxes", Boxes(grid.boxes_to_image(boxes))))
    corner = np.asarray(over.data[0]).min(0)
    at = picture.world_to_data(corner)  # napari's pixel centres are whole numbers
    assert np.asarray(at) + 0.5 == pytest.approx([10, 20])
    assert np.asarray(there.data[0]).min(0) + 0.5 == pytest.approx(
        grid.boxes_to_image(boxes)[0, :2]
    )


def test_folded_cells_come_and_go():
    from napari.components import ViewerModel

    from hrviz.napari._layers import ResultLayers

    viewer = ViewerModel()
    shown = ResultLayers(viewer)
    shown.start("some-method")
    grid = EXAMPLES["WarpGrid"]
    nodes = grid.nodes.copy()
    nodes[4, 5] += (60, 90)
    folded = WarpGrid(nodes, grid.box, grid.size)
    lines, red = shown.put(Step("grid", folded))
    assert (lines.name, red.name) == ("grid", f"grid: {folded.folded().sum()} folded cells")
    assert shown.put(Step("grid", grid)) == [lines]
    assert list(viewer.layers) == [lines]


def test_drawing_a_box_runs_the_method_and_removing_it_goes_back(panel: Any):
    warp(panel)
    panel.draw.click()
    layer = panel.viewer.layers["hrviz boxes"]
    layer.add_rectangles(np.array([[500, 600], [500, 900], [800, 900], [800, 600]]) - 0.5)
    assert panel.form["saliency"].value == "drawn"
    until(lambda: panel.status.text().startswith("Done"))
    grid = panel._shown["grid"].result
    inside = grid.to_output(np.array([[650.0, 750.0], [800, 900]]))
    assert np.diff(inside, axis=0).min() > 1.2 * 150 / 3072 * 128  # the box is enlarged
    layer.selected_data = {0}
    layer.remove_selected()
    assert panel.form["saliency"].value == "truth"
    until(lambda: panel._shown["saliency"].result.source.startswith("oracle"))


def test_another_number_of_nodes_keeps_what_the_user_chose(panel: Any):
    def grid() -> Any:
        return next(la for la in panel.results.layers if la.name == "grid")

    warp(panel)
    ran(panel)
    first = grid()
    count, place = len(first.data), panel.viewer.layers.index(first)
    first.opacity = 0.4
    panel.form["nodes"].value = 21
    ran(panel)
    assert 0 < len(grid().data) < count
    assert grid().opacity == 0.4 and panel.viewer.layers.index(grid()) == place
    fewer = grid()
    panel.form["nodes"].value = 41
    ran(panel)
    assert grid() is fewer and len(fewer.data) > count
    assert fewer.edge_width == pytest.approx(1 / camera(panel.viewer).zoom)


def test_another_method_takes_the_old_layers_away(panel: Any):
    warp(panel)
    ran(panel)
    panel.choose("uniform-downsampling")
    panel.form["task"].value = "none"
    ran(panel)
    assert "grid" not in panel.viewer.layers
    assert panel.report.item("grid") is None


def test_cancel(panel: Any, monkeypatch: pytest.MonkeyPatch):
    import threading

    from hrviz import run as running

    held = threading.Event()
    real = running.apply

    def slow(*args: Any, context: Any, **kwargs: Any) -> Any:
        while not context.cancelled():
            held.wait(0.01)
        return real(*args, context=context, **kwargs)

    monkeypatch.setattr(running, "apply", slow)
    warp(panel)
    panel.form["bandwidth"].value = 7.5
    panel.apply()
    job = panel.job
    assert panel.stop.isEnabled()
    panel.stop.click()
    assert job.wait(10)
    assert job.cancelled
    assert panel.job is None
    assert panel.status.text() == "Cancelled."
    assert not panel.results.layers


def test_regions(panel: Any):
    from hrviz.napari import _layers

    image = _layers.image_of(panel.viewer)
    camera(panel.viewer).zoom = 2.0
    camera(panel.viewer).center = (0, 1000, 700)
    box = _layers.visible(panel.viewer, image)
    height, width = _layers.canvas_size(panel.viewer)
    assert box.centre == pytest.approx((1000.5, 700.5))
    assert (box.height, box.width) == pytest.approx((height / 2, width / 2))
    camera(panel.viewer).center = (0, 1e6, 1e6)
    panel.apply()
    assert "not on the screen" in panel.status.text()
    panel.region.setCurrentIndex(panel.region.findData("box"))
    panel.apply()
    assert "no box is drawn" in panel.status.text()
    panel.draw.click()
    layer = panel.viewer.layers["hrviz boxes"]
    layer.add_rectangles(np.array([[99.5, 199.5], [99.5, 499.5], [299.5, 499.5], [299.5, 199.5]]))
    assert tuple(_layers.selected_box(panel.viewer)) == (100, 200, 300, 500)


def test_drawn_boxes_become_the_parameter(panel: Any):
    from hrviz.forms import magicgui as form

    warp(panel)
    panel.draw.click()
    layer = panel.viewer.layers["hrviz boxes"]
    layer.add_rectangles(np.array([[99.5, 199.5], [99.5, 499.5], [299.5, 499.5], [299.5, 199.5]]))
    until(lambda: bool(form.values(panel.form)["boxes"]))
    assert form.values(panel.form)["boxes"] == ((100, 200, 300, 500),)
    panel.strokes.click()
    panel.viewer.layers["hrviz strokes"].add_paths(np.array([[9.5, 19.5], [29.5, 39.5]]))
    until(lambda: bool(form.values(panel.form)["strokes"]))
    assert form.values(panel.form)["strokes"] == (((10, 20), (30, 40)),)


def test_as_a_plugin(panel: Any):
    """Through npe2, as napari itself does it: open, open a sample, dock the panel."""
    from npe2 import PluginManager, PluginManifest

    manager = PluginManager.instance()
    if "hrviz" not in manager:
        manager.register(PluginManifest.from_file(YAML))
    viewer = panel.viewer
    viewer.layers.clear()
    (opened_layer,) = viewer.open(SCENE.replace("scene:", "scene://"), plugin="hrviz")
    assert opened_layer.metadata["hrviz"].uri.startswith("scene:tissue")
    (sample,) = viewer.open_sample("hrviz", "ihc")
    assert sample.metadata["hrviz"].width == 512
    _, widget = viewer.window.add_plugin_dock_widget("hrviz")
    assert type(widget).__name__ == "MethodPanel"
    widget.choose("learning-to-zoom")
    assert widget.method.name == "saliency-sampler"


def test_settings_file_is_left_alone(panel: Any):
    from napari.settings import get_settings

    settings = get_settings()
    assert settings.experimental.async_
    assert "async_" not in settings._save_dict().get("experimental", {})


def test_no_image_is_told(panel: Any):
    panel.viewer.layers.clear()
    panel.apply()
    assert "no image yet" in panel.status.text()


def test_disclaimer_is_there(panel: Any):
    from qtpy.QtWidgets import QLabel

    texts = [label.text() for label in panel.findChildren(QLabel)]
    assert "For research and teaching, not for diagnosis." in texts


def test_cost_against_density(panel: Any):
    """Measured on demand with the panel's settings, off the GUI thread; hidden without a tree."""
    view = panel.density
    panel.choose("saliency-sampler")
    assert view.isHidden()
    panel.choose("razn")
    panel.form["saliency"].value, panel.form["task"].value = "truth", "none"
    assert not view.isHidden() and view.picture.isHidden() and view.job is None
    view.go.click()
    assert view.job.params["saliency"] == "truth" and view.go.text() == "Cancel"
    until(lambda: view.job is None)
    assert view.said.text().startswith("The cost grows from 0%")
    assert view.picture.pixmap().width() >= 250
    view.go.click()
    view.go.click()  # cancelled
    assert view.job is None and view.go.text() == "Cost against density"
    panel.choose("gigadet")
    assert not view.said.text() and view.picture.isHidden()

"""Every result type in all four front ends, and that all of them put things in the same place."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PILImage
from view_examples import BOX, examples

from hrviz import results as r
from hrviz.geometry import Box
from hrviz.views import colour, deepzoom, mpl
from hrviz.views import napari as nap
from hrviz.views.layers import LIMIT, Raster, attention, extent, layers, tokens

EXAMPLES = examples()
CHARTS = {"Prediction", "Curve", "Cost"}
BESIDE = {"HeatMap, output"}  # lies on the output, not on the image
BASE = r.Picture(np.full((20, 30, 3), 200, np.uint8), BOX)
every = pytest.mark.parametrize("name", EXAMPLES)


def test_every_type_has_an_example():
    assert {type(e).__name__ for e in EXAMPLES.values()} == set(r.TYPES)


@every
def test_layers_lie_in_the_region(name):
    parts = layers(EXAMPLES[name])
    assert (not parts) == (name in CHARTS | BESIDE)
    if parts and name != "ReadMap":
        around = extent(parts)
        assert around is not None
        assert np.all(np.subtract(around, BOX)[:2] >= -1e-9)
        assert np.all(np.subtract(around, BOX)[2:] <= 1e-9)


@every
@pytest.mark.parametrize("base", [None, BASE], ids=["plain", "over a picture"])
def test_matplotlib(name, base):
    ax = mpl.draw(EXAMPLES[name], base=base)
    ax.figure.canvas.draw()
    assert ax.has_data() or name == "Cost"


@every
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_plotly(name, theme):
    plotly = pytest.importorskip("hrviz.views.plotly")
    figure = plotly.figure(EXAMPLES[name], theme, BASE)
    assert len(figure.data) > 0
    assert figure.layout.paper_bgcolor == colour.THEMES[theme].background
    json.loads(figure.to_json())


@every
def test_napari(name):
    from napari.layers import Layer as NapariLayer

    made = nap.layer_data(EXAMPLES[name], "step")
    assert (not made) == (name in CHARTS)
    for data, keywords, kind in made:
        layer = NapariLayer.create(data, keywords, kind)
        assert layer.metadata["hrviz"] == "step"
    assert [m[1]["name"] for m in made].count("step") == bool(made)


@every
def test_deepzoom(name):
    made = deepzoom.overlay(EXAMPLES[name], "step", opacity=0.5)
    assert (not made) == (name in CHARTS | BESIDE)
    json.dumps(made, allow_nan=False)
    assert len({o["id"] for o in made}) == len(made)
    for o in made:
        assert {"id", "kind", "visible", "opacity", "label"} <= set(o)
        assert o["kind"] in {"raster", "grid", "boxes", "points", "lines", "tiles", "tree"}


# -- alignment --------------------------------------------------------------------------------
def corner_map() -> r.HeatMap:
    """4 x 5 values over BOX, each its own; corners are easy to tell."""
    return r.HeatMap(np.arange(20, dtype=np.float32).reshape(4, 5), BOX)


def test_napari_raster_and_points_meet():
    """The value under a point is the same through napari's world as through our geometry."""
    from napari.layers import Image

    data, keywords, _ = nap.layer_data(corner_map(), "map")[0]
    layer = Image(data, **keywords)
    rng = np.random.default_rng(0)
    for y, x in rng.uniform(BOX[:2], BOX[2:], (50, 2)):
        row = int((y - BOX.y0) / BOX.height * 4)
        column = int((x - BOX.x0) / BOX.width * 5)
        at = layer.world_to_data((y - 0.5, x - 0.5))  # our point p is napari's p - 0.5
        assert tuple(np.floor(np.asarray(at) + 0.5).astype(int)) == (row, column)


def test_napari_level_0_is_the_identity():
    """A raster with one value a level-0 pixel gets scale 1 and whole translations."""
    place = nap.placed(Box(10, 20, 14, 26), (4, 6))
    assert place == {"scale": (1.0, 1.0), "translate": (10.0, 20.0)}


def test_napari_boxes_surround_their_raster():
    """Shapes around a box coincide with the outer edges of an image layer over the same box."""
    from napari.layers import Image, Shapes

    data, keywords, _ = nap.layer_data(corner_map(), "map")[0]
    image = Image(data, **keywords)
    data, keywords, _ = nap.layer_data(r.Boxes(np.array([BOX], float)), "box")[0]
    shape = Shapes(data, **keywords).data[0]
    first = image.data_to_world((-0.5, -0.5))
    last = image.data_to_world((3.5, 4.5))
    assert np.allclose(shape.min(0), first)
    assert np.allclose(shape.max(0), last)


def test_many_boxes_become_vectors():
    cut = np.arange(2000)[:, None] + np.array([0.0, 0, 1, 1])
    ((data, keywords, kind),) = nap.layer_data(r.Boxes(cut), "many")
    assert kind == "vectors"
    assert data.shape == (8000, 2, 2)
    assert len(keywords["edge_color"]) == 8000
    assert np.allclose(data[0, 0], cut[0, :2] - 0.5)


def test_grid_lines_run_through_the_nodes():
    grid = EXAMPLES["WarpGrid"]
    ((data, _, kind),) = nap.layer_data(grid, "grid")
    assert kind == "vectors"
    assert np.allclose(data[:14, 0], grid.nodes[0, :-1] - 0.5)
    assert np.allclose(data[:14].sum(1), grid.nodes[0, 1:] - 0.5)


def test_warped_picture_lies_beside_its_region():
    ((_, keywords, kind),) = nap.layer_data(EXAMPLES["Picture, warped"], "out")
    assert kind == "image"
    assert keywords["translate"][1] > BOX.x1
    assert keywords["scale"][0] * 40 == pytest.approx(BOX.height)


def test_plotly_heatmap_has_cell_centres():
    plotly = pytest.importorskip("hrviz.views.plotly")
    trace = plotly.figure(corner_map()).data[0]
    assert (trace.x0, trace.dx) == (BOX.x0 + 30, 60)
    assert (trace.y0, trace.dy) == (BOX.y0 + 25, 50)


def test_plotly_shows_a_picture_over_its_base():
    plotly = pytest.importorskip("hrviz.views.plotly")
    base, picture = plotly.figure(EXAMPLES["Picture"], base=BASE).layout.images
    assert (base.layer, picture.layer) == ("below", "above")


def test_matplotlib_axes_are_level_0():
    ax = mpl.draw(corner_map())
    assert ax.get_xlim() == (BOX.x0, BOX.x1)
    assert ax.get_ylim() == (BOX.y1, BOX.y0)
    assert tuple(ax.images[0].get_extent()) == (BOX.x0, BOX.x1, BOX.y1, BOX.y0)


def decoded(overlay: dict) -> np.ndarray:
    data = base64.b64decode(overlay["png"].split(",")[1])
    return np.asarray(PILImage.open(io.BytesIO(data)))


def test_deepzoom_indices():
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    (o,) = deepzoom.overlay(r.HeatMap(values, BOX, low=0, high=1), "m")
    assert decoded(o).tolist() == [[1, 128], [255, 0]]
    assert o["box"] == {"x": BOX.x0, "y": BOX.y0, "w": BOX.width, "h": BOX.height}
    labels = r.LabelMap(np.array([[0, 1], [2, 2]], np.uint8), BOX, ("none", "a", "b"))
    (o,) = deepzoom.overlay(labels, "l")
    assert decoded(o).tolist() == [[1, 2], [3, 3]]
    assert (o["vmin"], o["vmax"], o["lut"]) == (0, 254, "labels")
    assert [c["value"] for c in o["classes"]] == [1, 2]


def test_deepzoom_is_x_before_y():
    (o,) = deepzoom.overlay(r.Boxes(np.array([[1.0, 2, 4, 8]])), "b")
    assert o["boxes"] == [[2, 1, 6, 3]]
    (o,) = deepzoom.overlay(r.Points(np.array([[1.0, 2]])), "p")
    assert o["points"] == [2, 1]
    (o,) = deepzoom.overlay(r.ReadMap(np.array([[0.0, 5, 10, 25, 3]]), 1, 1, 9), "t")
    assert o["rects"] == [[5, 0, 20, 10, 3]]


def test_output_picture():
    out = deepzoom.output(EXAMPLES["Picture, warped"], "warped")
    assert (out["width"], out["height"], out["box"]) == (60, 40, None)
    assert out["grid"]["nodes"][:2] == [BOX.x0, BOX.y0]
    assert len(out["grid"]["nodes"]) == 2 * out["grid"]["nx"] * out["grid"]["ny"]
    json.dumps(out)


# -- canvases ---------------------------------------------------------------------------------
def test_a_canvas_is_thinned_and_stays_in_place(tmp_path):
    import zarr

    canvas = zarr.create_array(tmp_path / "c", shape=(9001, 5000), chunks=(512, 512), dtype="f4")
    canvas[4000:4512, 2000:2512] = 1
    heat = r.HeatMap(canvas, Box(0, 0, 18002, 10000), low=0, high=1)
    (raster,) = layers(heat)
    assert isinstance(raster, Raster)
    small = raster.thinned()
    assert small.values.size <= LIMIT * 1.01
    sy, sx = small.box.height / small.values.shape[0], small.box.width / small.values.shape[1]
    rows, columns = np.nonzero(small.values)
    centre = ((rows.mean() + 0.5) * sy, (columns.mean() + 0.5) * sx)
    assert centre == pytest.approx((8512, 4512), abs=sy)
    ((data, _, _),) = nap.layer_data(heat, "canvas")
    assert data.size <= LIMIT * 1.01
    (o,) = deepzoom.overlay(heat, "canvas", version=3)
    assert o["map"]["version"] == 3
    assert o["map"]["url"].endswith("/3")


# -- the rest ---------------------------------------------------------------------------------
def test_attention_of_one_head():
    result = EXAMPLES["AttentionMap"]
    assert np.array_equal(attention(result, 0, 2).values, result.weights[0, 2])


def test_tokens_of_a_query():
    shown = tokens(EXAMPLES["TokenPattern"], query=0)
    assert shown.kinds.tolist() == [2, 1, 1, 1] + [0] * 20


def test_filmstrip_and_save(tmp_path):
    steps = [r.Step(n, e, "What to see.") for n, e in list(EXAMPLES.items())[:4]]
    figure = mpl.figure(steps, BASE)
    figure.canvas.draw()
    assert [ax.get_title(loc="left") for ax in figure.axes[:4]] == [s.name for s in steps]
    mpl.save(EXAMPLES["WarpGrid"], tmp_path / "grid.png")
    assert PILImage.open(tmp_path / "grid.png").size[0] > 100


def test_empty_results_are_drawn():
    plotly = pytest.importorskip("hrviz.views.plotly")
    none = np.empty((0, 4))
    for empty in (
        r.Boxes(none), r.Points(np.empty((0, 2))), r.ZoomTree(()), r.ReadMap(np.empty((0, 5)), 0, 0, 1),
        r.Partition(none, np.empty(0, int), ("a",)), r.Cost(()),
        r.Graph(np.empty((0, 2)), np.empty((0, 2), int)),
    ):  # fmt: skip
        mpl.draw(empty, base=BASE).figure.canvas.draw()
        plotly.figure(empty)
        deepzoom.overlay(empty, "e")
        nap.layer_data(empty, "e")


def contrast(a: str, b: str) -> float:
    def light(c: str) -> float:
        parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour.rgb(c)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05

    high, low = sorted((light(a), light(b)), reverse=True)
    return high / low


@pytest.mark.parametrize("name", colour.THEMES)
def test_themes_have_aa_contrast(name):
    theme = colour.THEMES[name]
    for ink in (theme.text, theme.muted, theme.accent):
        for paper in (theme.background, theme.panel):
            assert contrast(ink, paper) >= 4.5


def test_decisions_differ_without_colour():
    assert set(colour.DECISIONS) == set(r.DECISIONS)
    assert len({(s.dash, s.hatch) for s in colour.DECISIONS.values()}) == len(r.DECISIONS)


def test_palette_is_the_viewers():
    from pathlib import Path

    import hrviz.viewer

    js = (Path(hrviz.viewer.__file__).parent / "static" / "colour.js").read_text().lower()
    for value in (*colour.CLASSES, *colour.LEVELS, *(c[1:] for c in colour.DIVERGING)):
        assert value.lower() in js


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1536, "B", "1.5 KiB"), (3.2e9, "FLOP", "3.2 GFLOP"), (0.0123, "s", "12.3 ms"),
     (1234567, "px", "1\u2009234\u2009567 px"), (-0.5, "", "\u22120.5")],
)  # fmt: skip
def test_amounts(value, unit, text):
    assert colour.amount(value, unit) == text


def test_views_import_no_gui():
    code = (
        "import sys, hrviz.views, hrviz.views.deepzoom, hrviz.views.napari; "
        "bad = {'matplotlib', 'plotly', 'napari', 'qtpy', 'streamlit', 'torch'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

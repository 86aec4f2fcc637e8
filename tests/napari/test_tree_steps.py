"""A zoom tree in napari: layers with features, the slider over decisions, clicks that say why."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "views"))
from view_examples import BOX, quadtree, sampled

from hrviz.results import HeatMap, Step, ZoomTree
from hrviz.views import tree as trees

pytestmark = pytest.mark.napari
pytest.importorskip("napari")


@pytest.fixture
def shown(qapp: Any) -> Any:
    from napari.components import ViewerModel

    from hrviz.napari._layers import ResultLayers
    from hrviz.napari._tree import TreeSteps

    viewer = ViewerModel()
    results = ResultLayers(viewer)
    results.start("some-method")
    widget = TreeSteps(viewer)

    def put(tree: ZoomTree) -> Any:
        (layer,) = results.put(Step("tree", tree))
        widget.follow(layer)
        return layer

    yield SimpleNamespace(viewer=viewer, widget=widget, results=results, put=put)
    widget.close()


def opacities(layer: Any) -> list[float]:
    """Of the nodes' edges."""
    every = 4 if layer._type_string == "vectors" else 1
    return np.asarray(layer.edge_color)[::every, 3].round(2).tolist()


def click(shown: Any, y: float, x: float) -> None:
    """Press and release at a point of the image."""
    event = SimpleNamespace(type="mouse_press", pos=(5, 5), position=(y - 0.5, x - 0.5))
    run = shown.widget._clicked(shown.viewer, event)
    next(run)
    event.type = "mouse_release"
    assert next(run, "end") == "end"


def test_the_slider_shows_the_nodes_up_to_a_decision(shown: Any) -> None:
    tree = quadtree()
    layer = shown.put(tree)
    n = len(tree.nodes)
    assert layer._type_string == "shapes" and len(layer.data) == n
    assert {"decision", "score", "reason", "pixels", "calls", "tag"} <= set(layer.features)
    assert layer.features["reason"].tolist() == [node.reason for node in tree.nodes]
    assert min(opacities(layer)) > 0
    widget = shown.widget
    widget.slider.setValue(3)
    assert [a > 0 for a in opacities(layer)] == [k < 3 for k in range(n)]
    assert set(layer.features["tag"][3:]) == {""}
    assert widget.count.text() == f"3 of {n}"
    assert widget.said.text() == trees.sentence(tree.nodes[2], "p(zoom)")
    assert widget.totals.text().startswith("196\u2009608 of ")  # three looks of 256 x 256
    widget.slider.setValue(n)
    assert min(opacities(layer)) > 0


def test_a_growing_tree_keeps_the_place(shown: Any) -> None:
    tree = quadtree()
    n = len(tree.nodes)

    def grown(k: int) -> Any:
        return shown.put(ZoomTree(tree.nodes[:k], "p(zoom)"))

    slider = shown.widget.slider
    layer = grown(5)
    assert (slider.value(), slider.maximum()) == (5, 5)
    assert grown(7) is layer
    assert slider.value() == 7  # it was at the end
    slider.setValue(2)
    grown(n)
    assert (slider.value(), slider.maximum()) == (2, n)
    assert [a > 0 for a in opacities(layer)] == [k < 2 for k in range(n)]


def test_a_click_says_why(shown: Any) -> None:
    tree = quadtree()
    shown.put(tree)
    y, x = BOX.y0 + 10, BOX.x0 + 10
    click(shown, y, x)
    deepest = trees.at(tree, y, x)
    assert deepest is not None
    assert shown.widget.said.text() == trees.sentence(deepest, "p(zoom)")
    assert shown.viewer.status == shown.widget.said.text()
    shown.widget.slider.setValue(1)
    click(shown, y, x)
    assert shown.widget.said.text() == trees.sentence(tree.nodes[0], "p(zoom)")


def test_many_nodes_and_none(shown: Any) -> None:
    layer = shown.put(sampled(count=700))
    assert layer._type_string == "vectors" and len(layer.features) == 4 * 701
    shown.widget.slider.setValue(300)
    assert [a > 0 for a in opacities(layer)] == [k < 300 for k in range(701)]
    shown.put(ZoomTree(()))
    assert "nothing was looked at" in shown.widget.said.text()


def test_maps_give_way_to_the_tree(shown: Any) -> None:
    values = np.ones((4, 6), np.float32)
    (before,) = shown.results.put(Step("attention", HeatMap(values, BOX)))
    assert before.visible
    shown.put(quadtree())
    (after,) = shown.results.put(Step("prediction", HeatMap(values, BOX)))
    assert not before.visible and not after.visible
    shown.results.show("prediction")
    assert after.visible

"""What every method keeps: all of `METHODS`, at defaults, at both ends of every range, every choice."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hrviz
from hrviz import nets
from hrviz import run as running
from hrviz.errors import HrvizError
from hrviz.method import FAMILIES, METHODS, Method, Param
from hrviz.results import HeatMap, Result, json_text

SCENE = "scene:tissue?size=600x400&tumour=0.2"
REGION = (20, 30, 380, 560)
EVERY = list(METHODS.values())
#: what makes a method run without a network, where it has such parameters
LIGHT = {"task": "none", "saliency": "edges"}


def light(method: Method, **params: Any) -> dict[str, Any]:
    known = method.defaults
    return {k: v for k, v in LIGHT.items() if k in known} | params


def ends(p: Param) -> list[Any]:
    """Both ends, every choice, a typical drawing."""
    match p.kind:
        case "number" | "integer":
            return [p.control.minimum, p.control.maximum]
        case "flag":
            return [False, True]
        case "choice":
            return list(p.choices)
        case "boxes":
            return [(), ((100.0, 100.0, 150.0, 200.0),)]
        case "strokes":
            return [(), (((100.0, 100.0), (200.0, 300.0)),)]
        case "file":
            return [None]


CASES = [(m.name, p.name, v) for m in EVERY for p in m.params for v in ends(p)]
TRAINED = all((nets.WEIGHTS / f"{name}.safetensors").exists() for name in nets.ARCHITECTURES)


def run(method: Method, **params: Any) -> running.Run:
    running.CACHE.clear()
    return hrviz.apply(method, SCENE, REGION, **params)


def same(a: Result, b: Result) -> None:
    (plain_a, arrays_a), (plain_b, arrays_b) = a.to_parts(), b.to_parts()
    assert json_text(plain_a) == json_text(plain_b)
    assert set(arrays_a) == set(arrays_b)
    for name, array in arrays_a.items():
        np.testing.assert_array_equal(array, arrays_b[name], err_msg=name)


def check(result: running.Run, reads: bool = True) -> None:
    """What holds for every run of every method; without a budget it `reads` nothing."""
    names = [s.name for s in result.steps]
    assert names
    assert len(set(names)) == len(names)
    for m in result.measured:
        assert m.step.progress == 1
        assert m.step.note
        assert "\n" not in m.step.note
        assert m.seconds >= 0
        type(m.step.result)(**vars(m.step.result))  # validates again
        if isinstance(m.step.result, HeatMap):
            assert np.isfinite(np.asarray(m.step.result.values[:, :])).any()
    told = json.loads(json_text(result.describe()))
    assert {"method", "image", "region", "params", "steps", "cost", "reads"} <= set(told)
    assert {q.tag for q in result.cost.quantities} <= {"measured", "predicted", "formula"}
    assert (result.reads.pixels_read > 0) == reads
    assert (result.reads.pixels_requested > 0) == reads


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_defaults_are_deterministic_and_survive_saving(method: Method, tmp_path: Path) -> None:
    one, two = run(method, **light(method)), run(method, **light(method))
    check(one)
    assert not two.cached
    assert [s.name for s in one.steps] == [s.name for s in two.steps]
    for a, b in zip(one.steps, two.steps, strict=True):
        same(a.result, b.result)
        a.result.save(tmp_path / a.name)
        same(a.result, Result.load(tmp_path / a.name))
    same(one.reads, two.reads)


@pytest.mark.parametrize(("name", "param", "value"), CASES)
def test_both_ends_of_every_range(name: str, param: str, value: Any) -> None:
    """Combinations that make no sense are refused, in one sentence that says what to do."""
    method = METHODS[name]
    params = light(method, **{param: value})
    if method.network(method.bind(params)) and not TRAINED:
        pytest.skip("its networks are not trained yet")
    try:
        check(run(method, **params), reads=(param, value) != ("budget", 0.0))
    except HrvizError as error:
        refused = {("saliency", "drawn"), ("saliency", "file")}
        assert (param, value) in refused, error
        assert "\n" not in str(error)
        assert re.search("choose|draw|give|make", str(error))


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
@pytest.mark.parametrize("size", ["1x1", "1x90", "90x1", "17x3"])
def test_tiny_images(method: Method, size: str) -> None:
    running.CACHE.clear()
    check(hrviz.apply(method, f"scene:tissue?size={size}", **light(method)))


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_results_lie_in_the_image(method: Method) -> None:
    """Level-0 pixels whatever the region: boxes and grids stay within a patch of it."""
    result = run(method, **light(method))
    for step in result.steps:
        box = getattr(step.result, "box", None)
        if box is not None:
            assert box.y0 >= REGION[0] - 1
            assert box.x0 >= REGION[1] - 1
        nodes = getattr(step.result, "nodes", None)
        if isinstance(nodes, np.ndarray):
            assert (nodes.reshape(-1, 2).min(0) >= REGION[:2]).all()
            assert (nodes.reshape(-1, 2).max(0) <= REGION[2:]).all()


@pytest.mark.skipif(not TRAINED, reason="the networks are not trained yet")
@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_with_their_networks(method: Method) -> None:
    result = hrviz.apply(method, method.example)
    check(result)
    assert result.steps[-1].name == "score"
    assert result.cost["parameters"].value > 0
    assert result.cost["network_pixels"].value > 0
    assert result.cost["network_memory"].tag == "predicted"
    prediction = result["prediction"]
    assert prediction.source.startswith("trained")
    running.CACHE.clear()
    again = hrviz.apply(method, method.example)
    same(prediction, again["prediction"])


# ------------------------------------------------------------------ words
@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_every_method_says_what_it_is(method: Method) -> None:
    assert method.function.__doc__
    summary, _, rest = method.function.__doc__.partition("\n")
    assert summary.rstrip().endswith(".")
    for part in ("Parameters\n", "Yields\n"):
        assert part in rest
    for p in method.params:  # each is described where it is declared
        assert re.search(rf"^\s*([\w, ]*\b)?{p.name}\b[\w, ]* :", rest, re.M), p.name
        assert p.control.help.endswith(".")
        assert p.default == p.check(p.default)
    assert "Notes\n-----" in method.doc
    assert "Paper:" in method.doc
    assert method.family in FAMILIES
    assert method.family in method.function.__module__
    assert method.function.__module__.rsplit(".", 1)[-1] == method.function.__name__
    for text in (method.title, method.section, method.paper, method.idea, method.equation):
        assert text.strip()
    assert method.use_when.endswith(".")
    assert method.avoid_when.endswith(".")
    assert re.fullmatch(r"[a-z0-9-]+", method.name)


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_steps_are_the_ones_the_docstring_names(method: Method) -> None:
    names = {s.name for s in run(method, **light(method)).steps}
    yields = method.function.__doc__.partition("Yields\n")[2]
    told = set()
    for line in re.findall(r"^ {4}(\w[\w ,]*?)(?: : .*)?$", yields, re.M):
        told |= set(line.split(", "))  # several at once: a reference to `warped`
    assert names <= told


def test_names_and_aliases_are_unique() -> None:
    names = list(itertools.chain.from_iterable((m.name, *m.aliases) for m in EVERY))
    assert len(names) == len(set(names))
    for name in names:
        assert METHODS.find(name) in EVERY


# ------------------------------------------------------------------ views
@pytest.fixture(scope="module")
def examples() -> dict[str, Result]:
    from test_results import EXAMPLES

    return EXAMPLES


def test_every_result_type_has_a_view_in_every_front_end(examples: dict[str, Result]) -> None:
    plotly = pytest.importorskip("plotly")
    assert plotly
    from hrviz.views import deepzoom, mpl
    from hrviz.views import plotly as in_plotly

    for name, result in examples.items():
        assert mpl.draw(result) is not None, name
        assert in_plotly.figure(result) is not None, name
        assert isinstance(deepzoom.overlay(result, "id"), list), name


def test_every_result_type_has_a_view_in_napari(examples: dict[str, Result]) -> None:
    pytest.importorskip("napari")
    from hrviz.views import napari

    for name, result in examples.items():
        for data, options, kind in napari.layer_data(result, name):
            assert data is not None
            assert isinstance(options, dict)
            assert kind in (
                "image",
                "labels",
                "shapes",
                "points",
                "vectors",
                "surface",
                "tracks",
            ), name


WARPS = [m for m in EVERY if m.family == "downsampling"]


@pytest.mark.parametrize("method", WARPS, ids=lambda m: m.name)
def test_a_warp_of_a_gigapixel_image_reads_a_bounded_number_of_tiles(method: Method) -> None:
    """100,000 x 100,000 px: mip-mapped sampling touches pixels in proportion to the output."""
    running.CACHE.clear()
    params = light(method) | ({"size": 256} if "size" in method.defaults else {})
    result = hrviz.apply(method, "scene:tissue?size=100000x100000", **params)
    check(result)
    assert result.reads.pixels_read < 2**25
    assert result["warped"].array.size <= 256 * 256 * 3

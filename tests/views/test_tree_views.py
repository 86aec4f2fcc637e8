"""Zoom trees in the views: the icicle, what is told, and that all front ends draw them."""

from __future__ import annotations

import numpy as np
import pytest
from view_examples import BOX, examples, quadtree, sampled

from hrviz import results as r
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.views import colour, deepzoom, mpl, outputs
from hrviz.views import tree as trees

FOREST = r.ZoomTree(
    tuple(
        r.Node(k, parent, BOX, 1, "processed") for k, parent in enumerate([None, None, 0, 1, 1, 0, 4])
    )
)  # fmt: skip
BASE = r.Picture(np.full((20, 30, 3), 200, np.uint8), BOX)
CASES = {
    "quadtree": quadtree(depth=4), "sampled": sampled(count=400), "forest": FOREST,
    "large": sampled(count=2000), "one": r.ZoomTree((r.Node(0, None, BOX, 1, "processed"),)),
    "none": r.ZoomTree(()),
}  # fmt: skip
every = pytest.mark.parametrize("name", CASES)


def leaves(tree: r.ZoomTree, node: r.Node) -> int:
    """Counted by walking down."""
    below = tree.children().get(node.id, [])
    return sum(leaves(tree, child) for child in below) or 1


@pytest.mark.parametrize("name", ["quadtree", "sampled", "forest", "one", "none"])
def test_the_icicle_divides_each_cell_among_the_children(name):
    tree = CASES[name]
    cells = dict(zip((n.id for n in tree.nodes), trees.icicle(tree).tolist(), strict=True))
    children, depths = tree.children(), tree.depths()
    for node in tree.nodes:
        left, right, depth = cells[node.id]
        assert depth == depths[node.id]
        assert right - left == leaves(tree, node)
        at = left
        for child in children.get(node.id, []):  # in order, without gaps
            assert cells[child.id][0] == at
            at = cells[child.id][1]
        assert at in (left, right)
    at = 0
    for root in children.get(None, []):
        assert cells[root.id][0] == at
        at = cells[root.id][1]


def test_totals_add_up():
    tree = quadtree(depth=3)
    whole = trees.totals(tree)
    pixels, calls = sum(n.pixels for n in tree.nodes), sum(n.calls for n in tree.nodes)
    assert whole[0] == f"{colour.number(float(f'{pixels / 1e6:.3g}'))} Mpx read"
    assert whole[1] == f"{calls} network calls"
    assert whole[2] == f"{round(100 * pixels / (256**2 * 4**3))} % of looking everywhere"
    some = trees.totals(tree, 2)
    assert some[0].startswith("0.131 of ")  # two looks of 256 x 256
    assert some[1].endswith(f" of {calls} network calls")
    one = r.ZoomTree((r.Node(0, None, BOX, 1, "processed", pixels=1234, calls=1),))
    assert trees.totals(one) == ["1\u2009234 px read", "1 network call"]


def test_what_is_told_of_a_node():
    node = r.Node(1, None, BOX, 1, "sampled", 0.000213, "Seen.", "B", 3, 4096, 1)
    said = "Sampled: attention 0.000213 \u00b7 Seen \u00b7 drawn 3 times \u00b7 full detail \u00b7 4\u2009096 px read \u00b7 1 network call"
    assert trees.sentence(node, "attention") == said
    assert trees.name(node) == "B \u00d73"


def test_the_deepest_node_at_a_point():
    tree = quadtree(depth=3)
    for y, x in np.random.default_rng(0).uniform(BOX[:2], BOX[2:], (40, 2)):
        for count in (1, 4, None):
            inside = [
                n
                for n in tree.nodes[:count]
                if n.box.y0 <= y < n.box.y1 and n.box.x0 <= x < n.box.x1
            ]
            deepest = min(inside, key=lambda n: n.box.area)
            assert trees.at(tree, y, x, count) is deepest
    assert trees.at(tree, BOX.y0 - 1, BOX.x0) is None


def test_the_viewer_gets_the_tree_once():
    tree = quadtree(depth=3)
    (full,) = deepzoom.overlay(tree, "step-tree")
    n = len(tree.nodes)
    for key in ("boxes", "colors", "parents", "cells", "why", "pixels", "calls", "scores", "downsamples"):  # fmt: skip
        assert len(full[key]) == n
    assert full["parents"][0] == -1 and all(p < k for k, p in enumerate(full["parents"]))
    assert [full["reasons"][w] for w in full["why"]] == [node.reason for node in tree.nodes]
    assert [full["classes"][c]["name"] for c in full["colors"]] == [n.decision for n in tree.nodes]
    (light,) = deepzoom.overlay(tree, "step-tree", view="tree")
    assert "boxes" not in light and light["classes"] == full["classes"]
    pane = deepzoom.pane({"tree": r.Step("tree", tree)}, "tree")
    assert pane["shown"] == ["tree"] and pane["views"][0]["tree"]["boxes"] == full["boxes"]


def test_the_tree_stays_beside_a_chosen_picture():
    results = examples()
    steps = {
        name: r.Step(name, result)
        for name, result in (
            ("seen", results["Picture, warped"]), ("tree", quadtree()), ("heat", results["HeatMap"]),
        )
    }  # fmt: skip
    assert list(outputs.views(steps)) == ["tree", "seen"]
    assert (
        outputs.shown(steps, "tree")
        == outputs.shown(steps, "heat")
        == outputs.shown(steps)
        == ["tree"]
    )
    assert outputs.shown(steps, "seen") == ["tree", "seen"]


@every
def test_matplotlib_draws_boxes_and_icicle(name):
    tree = CASES[name]
    ax = mpl.draw(tree, base=BASE)
    ax.figure.canvas.draw()
    (below,) = ax.child_axes
    assert below.get_title(loc="left") == " \u00b7 ".join(trees.totals(tree))
    legend = ax.get_legend()
    shown = {t.get_text() for t in legend.get_texts()} if legend else set()
    assert shown == {n.decision for n in tree.nodes}
    assert sum(len(c.get_paths()) for c in below.collections) == len(tree.nodes)


@every
def test_plotly_draws_boxes_and_icicle(name):
    plotly = pytest.importorskip("hrviz.views.plotly")
    tree = CASES[name]
    figure = plotly.figure(tree, base=BASE)
    (icicle,) = (t for t in figure.data if t.type == "icicle")
    roots = sum(n.parent is None for n in tree.nodes)
    assert len(icicle.ids or ()) == len(tree.nodes) + (roots > 1)
    assert sum(not p for p in icicle.parents or ()) == min(roots, 1)  # one root, as it must be
    named = [t.name for t in figure.data if t.type == "scatter" and t.showlegend]
    assert sorted(named) == sorted({n.decision for n in tree.nodes})


# -- curves with bands and marks ------------------------------------------------------------------
def banded() -> r.Curve:
    x = np.arange(1.0, 9)
    return r.Curve(x, {"estimate": 1 / x, "exact": np.zeros(8)}, bands={"estimate": np.c_[0 / x, 2 / x]},
                   marks={"budget": 4.0})  # fmt: skip


def test_bands_and_marks_are_drawn_and_saved(tmp_path):
    curve = banded()
    curve.save(tmp_path / "curve")
    again = r.Result.load(tmp_path / "curve")
    assert np.array_equal(again.bands["estimate"], curve.bands["estimate"])
    assert again.marks == {"budget": 4.0}
    ax = mpl.draw(again)
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 1].max() == 2
    assert "budget" in [t.get_text() for t in ax.texts]
    plotly = pytest.importorskip("hrviz.views.plotly")
    figure = plotly.figure(again)
    assert sum(t.fill == "toself" for t in figure.data) == 1
    assert [a.text for a in figure.layout.annotations] == ["budget"]


@pytest.mark.parametrize("bands", [{"other": np.zeros((8, 2))}, {"estimate": np.zeros(8)}])
def test_a_band_belongs_to_a_line(bands):
    with pytest.raises(HrvizError, match="band"):
        r.Curve(np.arange(8.0), {"estimate": np.zeros(8)}, bands=bands)


def test_parts_by_network_have_their_names():
    parts = r.Partition(
        np.array([[0.0, 0, 4, 4], [0, 4, 4, 8]]), np.array([0, 2]), ("A", "B", "skip")
    )
    ax = mpl.draw(parts)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["A", "skip"]
    (o,) = deepzoom.overlay(parts, "parts")
    assert [c["name"] for c in o["classes"]] == ["A", "B", "skip"]
    assert Box(*o["boxes"][1]) == Box(4, 0, 4, 4)  # x, y, w, h

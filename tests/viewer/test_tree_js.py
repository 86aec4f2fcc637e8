"""A zoom tree in a real browser: boxes and icicle linked, decisions one by one, what is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from viewer_fakes import FakeImage
from viewer_page import Page, data

from hrviz.geometry import Box
from hrviz.results import Step, ZoomTree
from hrviz.views import deepzoom
from hrviz.views import tree as trees

sys.path.append(str(Path(__file__).parents[1] / "views"))
from view_examples import quadtree, sampled

pytestmark = pytest.mark.browser
W, H = 3001, 2003
OUTPUT = Path(__file__).parents[1] / "output"


def shown(image: FakeImage, tree: ZoomTree, **more: Any) -> dict[str, Any]:
    overlays = deepzoom.overlay(tree, "step-tree", view="tree")
    pane = deepzoom.pane({"tree": Step("tree", tree)}, "tree")
    return data(image, overlays=overlays, output=pane, **more)


def state(viewer: Page) -> dict[str, Any]:
    return dict(viewer.js("() => handle.state().tree"))


def said(viewer: Page) -> str:
    return str(viewer.page.locator(".hv-tree-said").inner_text())


def over(viewer: Page, tree: ZoomTree, k: int) -> tuple[float, float]:
    """The middle of a cell in the upper rows of the icicle, on the page."""
    cells = trees.icicle(tree)
    r = viewer.page.locator(".hv-icicle").bounding_box()
    row = min(72, r["height"] / (cells[:, 2].max() + 2))
    left, right, depth = cells[k]
    return r["x"] + (left + right) / 2 / cells[:, 1].max() * r["width"], r["y"] + (
        depth + 0.5
    ) * row


def test_the_tree_is_alive(viewer: Page) -> None:
    image, whole = FakeImage(W, H), Box(0, 0, H, W)
    tree = quadtree(whole, 3, seed=1)
    n = len(tree.nodes)
    viewer.show(shown(image, tree))
    viewer.settle()
    page = viewer.page
    assert state(viewer) == {"step": n, "n": n, "hovered": -1}
    totals = page.locator(".hv-tree-totals").inner_text().replace("\n", " ")
    assert totals.split() == " ".join(trees.totals(tree)).split()
    assert page.locator(".hv-legend .hv-class").count() == len(trees.present(tree))

    # a point of the image marks the deepest node there, and the icicle tells of it
    x, y = 2000.0, 400.0
    page.mouse.move(*viewer.at(x, y))
    viewer.frames()
    deepest = trees.at(tree, y, x)
    assert deepest is not None and state(viewer)["hovered"] == deepest.id
    decision, facts = trees.sentence(deepest, tree.score_label).split(": ", 1)
    assert said(viewer).replace("\n", " ") == f"{decision.lower()} {facts}"
    assert facts in page.locator(".hv-status").inner_text().replace("\n", " ")

    # a cell of the icicle marks its box on the image, and a click flies there
    k = next(node.id for node in tree.nodes if node.parent == 0)
    page.mouse.move(*over(viewer, tree, k))
    viewer.frames()
    assert state(viewer)["hovered"] == k
    box = tree.nodes[k].box
    assert (viewer.overlay(box.centre[1], box.y1)[:, 3] > 0).any()
    page.mouse.click(*over(viewer, tree, k))
    viewer.frames()
    v = viewer.js("() => handle.state().viewport")
    assert (v["x0"] + v["x1"]) / 2 == pytest.approx(box.centre[1], abs=5)
    assert v["x1"] - v["x0"] < W and v["x0"] <= box.x0 and v["x1"] >= box.x1
    page.mouse.move(2, 2)

    # step by step: later nodes are not on the image, and totals say how far
    page.keyboard.press("0")
    slider = page.get_by_role("slider", name="Decisions made")
    slider.focus()
    page.keyboard.press("Home")
    viewer.frames()
    assert state(viewer)["step"] == 0
    viewer.js("b => handle.fly(b)", {"x": 0, "y": 0, "w": W, "h": H})
    viewer.frames()
    corner = tree.nodes[k].box
    assert (viewer.overlay(corner.x1 - 3, corner.y1 - 3)[:, 3] == 0).all()
    page.get_by_role("button", name="Next decision").click()
    page.get_by_role("button", name="Next decision").click()
    viewer.frames()
    assert state(viewer)["step"] == 2
    assert (viewer.overlay(corner.x1 - 1, corner.centre[0])[:, 3] > 0).any()
    assert "1 of" not in said(viewer) and tree.nodes[1].reason in said(viewer)
    totals = page.locator(".hv-tree-totals").inner_text().replace("\n", " ")
    assert totals.split() == " ".join(trees.totals(tree, 2)).split()

    # more of it: who looks at a step stays there, who is at the end stays at the end
    viewer.show(shown(image, ZoomTree(tree.nodes[: n - 3], "p(zoom)", source=tree.source)))
    assert state(viewer)["step"] == 2
    page.get_by_role("button", name="Play the decisions").click()  # no motion is wanted: it jumps
    assert state(viewer)["step"] == n - 3
    viewer.show(shown(image, tree))
    assert state(viewer) == {"step": n, "n": n, "hovered": -1}
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / "viewer_tree_dark.png")

    # many, none, and without a pane
    viewer.show(shown(image, sampled(whole, 3000), theme="light"))
    viewer.settle()
    assert state(viewer)["n"] == 3001
    viewer.show(shown(image, ZoomTree(())))
    assert "nothing was looked at" in page.locator(".hv-tree-empty").inner_text()
    viewer.show(data(image, overlays=deepzoom.overlay(tree, "step-tree")))
    page.mouse.move(*viewer.at(x, y))
    viewer.frames()
    assert deepest.reason in page.locator(".hv-status").inner_text()

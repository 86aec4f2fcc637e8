"""The viewer in a real browser: tiles, overlays that stay aligned, linked output, drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from viewer_fakes import FakeImage
from viewer_page import Page, data, jpeg_url, png_url, warp_nodes

from hrviz.geometry import Box
from hrviz.viewer import routes as vr

pytestmark = pytest.mark.browser
W, H, N = 3001, 2003, 9
DIAGONALS = [(a * 0.71, b * 0.71) for a in (-1, 1) for b in (-1, 1)]
RASTER = {"x": 400.0, "y": 300.0, "w": 800.0, "h": 600.0}

OUTPUT = Path(__file__).parents[1] / "output"


def grid() -> np.ndarray:
    return warp_nodes((0, 0, W, H), N)


def grid_overlay() -> dict[str, Any]:
    return {"id": "g", "kind": "grid", "ny": N, "nx": N, "nodes": grid().ravel().tolist()}


def raster_overlay(values: np.ndarray, **more: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "kind": "raster",
        "png": png_url(values, 0, 1),
        "box": RASTER,
        "vmin": 0,
        "vmax": 1,
        "lut": "viridis",
        "label": "Saliency",
        "opacity": 1,
    } | more


def test_tiles_show_the_image_where_it_is(viewer: Page) -> None:
    viewer.show(data(FakeImage(W, H)))
    viewer.settle()
    picture = viewer.picture()
    for x, y in ((700, 500), (2300, 900), (1500, 1800)):
        sx, sy = viewer.at(x, y)
        red, green, _ = picture[int(sy), int(sx)].astype(int)
        assert abs(red - x / W * 255) < 6 and abs(green - y / H * 255) < 6


def test_overlays_stay_aligned_at_every_zoom(viewer: Page) -> None:
    viewer.show(
        data(FakeImage(W, H), overlays=[raster_overlay(np.full((6, 8), 0.5)), grid_overlay()])
    )
    viewer.settle()
    node = grid()[2, 2]
    for side in (W, 900, 120, 8):
        box = {"x": node[0] - side / 2, "y": node[1] - side / 3, "w": side, "h": side / 1.5}
        viewer.js("b => handle.fly(b)", box)
        viewer.frames()
        assert (viewer.overlay(*node)[:, 3] > 0).all(), f"no grid line on its node at {side} px"
    for side in (W, 900, 60):
        corner = (RASTER["x"], RASTER["y"])
        box = {"x": corner[0] - side / 2, "y": corner[1] - side / 3, "w": side, "h": side / 1.5}
        viewer.js("b => handle.fly(b)", box)
        viewer.frames()
        away = 4 / viewer.js("() => handle.state().viewport.scale")
        inside = viewer.overlay(corner[0] + away, corner[1] + away)
        outside = viewer.overlay(corner[0] - away, corner[1] - away)
        assert (inside[:, 3] == 255).all()
        assert np.abs(inside[4, :3] - [33, 144, 140]).max() < 6  # the middle of viridis
        assert (outside[:, 3] == 0).all()


def test_a_new_layer_never_leaves_a_gap(viewer: Page) -> None:
    first = data(FakeImage(W, H), overlays=[raster_overlay(np.full((300, 400), 0.1))])
    viewer.show(first)
    viewer.settle()
    viewer.page.wait_for_function("() => handle.element.querySelector('.hv-legend')")
    viewer.js(
        """() => { window.alphas = []; const c = handle.element.querySelector('.hv-overlay');
        const look = () => { const p = handle.imageToScreen(800, 600);
          alphas.push([...c.getContext('2d').getImageData(p[0], p[1], 1, 1).data]);
          if (alphas.length < 40) requestAnimationFrame(look); }; look(); }"""
    )
    viewer.show(first | {"overlays": [raster_overlay(np.full((300, 400), 0.9))]})
    viewer.page.wait_for_function("() => alphas.length >= 40")
    seen = np.array(viewer.js("() => alphas"))
    assert (seen[:, 3] == 255).all()
    assert not (seen[0] == seen[-1]).all()


def test_threshold_colours_and_values_need_no_request(viewer: Page) -> None:
    ramp = np.tile(np.linspace(0, 1, 400), (300, 1))
    shown = data(FakeImage(W, H), overlays=[raster_overlay(ramp)])
    viewer.show(shown)
    viewer.settle()
    asked: list[str] = []
    viewer.page.on("request", lambda r: asked.append(r.url))
    left, right = RASTER["x"] + 200, RASTER["x"] + 700
    overlay = raster_overlay(ramp, threshold=0.5, lut="magma", opacity=0.5)
    viewer.show(shown | {"overlays": [overlay]})
    viewer.frames()
    assert (viewer.overlay(left, 600)[:, 3] == 0).all()
    assert np.abs(viewer.overlay(right, 600)[:, 3] - 128).max() <= 1
    assert [u for u in asked if not u.startswith("data:")] == []
    viewer.page.mouse.move(*viewer.at(RASTER["x"] + 600, 600))
    status = viewer.page.locator(".hv-status").inner_text()
    assert "Saliency" in status and "0.75" in status
    assert "For research and teaching only." in status


def test_output_and_image_are_linked(viewer: Page) -> None:
    image, nodes = FakeImage(W, H), grid()
    output = {
        "png": jpeg_url(image.rgb(Box(0, 0, H, W), (200, 300))),
        "width": 300,
        "height": 200,
        "grid": {"ny": N, "nx": N, "nodes": nodes.ravel().tolist()},
        "box": None,
        "title": "Warped",
    }
    viewer.show(data(image, output=output, overlays=[grid_overlay()]))
    viewer.settle()
    # nodes lie on output pixel centres k (N - 1) / (n - 1), exactly
    for j, i in ((0, 0), (3, 5), (8, 8)):
        px, py = 0.5 + i / (N - 1) * 299, 0.5 + j / (N - 1) * 199
        assert viewer.js("p => handle.imageAt(...p)", [px, py]) == pytest.approx(nodes[j, i])
        assert viewer.js("p => handle.outputAt(...p)", nodes[j, i].tolist()) == pytest.approx(
            [px, py], abs=1e-3
        )
    for p in ([10.3, 100.9], [222.2, 33.3], [150.0, 100.0]):  # there and back inside cells
        there = viewer.js("p => handle.imageAt(...p)", p)
        assert viewer.js("p => handle.outputAt(...p)", there) == pytest.approx(p, abs=1e-6)
    box = viewer.page.locator(".hv-output").bounding_box()
    viewer.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.45)
    viewer.frames()
    cross = viewer.js("() => handle.state().cross")
    ring = 7 / viewer.js("() => handle.state().viewport.scale")
    seen = [viewer.overlay(cross[0] + ring * a, cross[1] + ring * b) for a, b in DIAGONALS]
    assert all((pixels[:, 3] > 200).any() for pixels in seen)
    x, y = 1700.0, 1100.0
    viewer.page.mouse.move(*viewer.at(x, y))
    assert viewer.js("() => handle.state().output") == pytest.approx(
        viewer.js("p => handle.outputAt(...p)", [x, y]), abs=1
    )
    viewer.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    viewer.frames()
    v = viewer.js("() => handle.state().viewport")
    assert (v["x0"] + v["x1"]) / 2 == pytest.approx(W / 2, abs=8)
    assert v["x1"] - v["x0"] < W / 2
    viewer.settle()
    OUTPUT.mkdir(exist_ok=True)
    viewer.page.screenshot(path=OUTPUT / "viewer_output_dark.png")


def pane_of(image: FakeImage) -> dict[str, Any]:
    """Warped, even and a zoom map, as a warp's run gives them."""
    warp = {"ny": N, "nx": N, "nodes": grid().ravel().tolist()}
    region = {"x": 0, "y": 0, "w": W, "h": H}
    even = np.stack(np.meshgrid([0.5, W - 0.5], [0.5, H - 0.5]), -1)
    rgb = jpeg_url(image.rgb(Box(0, 0, H, W), (200, 300)))
    size = {"width": 300, "height": 200, "box": None}
    zoom = {"lut": "diverging", "vmin": -1, "vmax": 1, "label": "zoom", "unit": "log2"}
    return {
        "views": [
            {"id": "warped", "title": "Warped", "png": jpeg_url(np.full((200, 300, 3), 200, np.uint8)),
             "grid": warp | {"region": region}, "even": "uniform", "boxes": [[30, 20, 60, 40]]} | size,
            {"id": "uniform", "title": "Uniform", "png": rgb,
             "grid": {"ny": 2, "nx": 2, "nodes": even.ravel().tolist(), "region": region}} | size,
            {"id": "zoom", "title": "Zoom", "png": png_url(np.full((4, 6), 0.5), -1, 1),
             "grid": warp | {"region": region}, "map": zoom} | size,
        ],
        "shown": ["warped", "uniform"],
    }  # fmt: skip


def test_views_of_the_output_are_linked_and_switched(viewer: Page) -> None:
    image = FakeImage(W, H)
    shown = data(image, output=pane_of(image), overlays=[grid_overlay()])
    grey = jpeg_url(np.full((200, 300, 3), 120, np.uint8))  # the cross is found by its colour
    shown["output"]["views"][1]["png"] = grey
    viewer.show(shown)
    viewer.settle()
    tiles = viewer.page.locator(".hv-output")
    boxes = [tiles.nth(k).bounding_box() for k in range(tiles.count())]
    assert len(boxes) == 2 and boxes[0]["width"] == pytest.approx(boxes[1]["width"])  # one scale
    x, y = 1700.0, 1100.0
    viewer.page.mouse.move(*viewer.at(x, y))
    viewer.frames()
    marks = viewer.js(
        """() => [...handle.element.querySelectorAll('.hv-output')].map(c => { const k = c.width / 300;
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0, sx = 0, sy = 0;
        for (let i = 0; i < d.length; i += 4) if (d[i] < 60 && d[i+1] > 190 && d[i+2] > 215) {
          n++; sx += (i / 4) % c.width; sy += Math.floor(i / 4 / c.width); }
        return [sx / n / k, sy / n / k]; })"""
    )
    expected = viewer.js("p => handle.outputAt(...p)", [x, y])
    assert marks[0] == pytest.approx(expected, abs=3)
    even = [(x - 0.5) / (W - 1) * 299 + 0.5, (y - 0.5) / (H - 1) * 199 + 0.5]
    assert marks[1] == pytest.approx(even, abs=3)
    viewer.page.locator(".hv-chip", has_text="Zoom").click()
    viewer.page.mouse.move(*viewer.at(x, y))
    viewer.frames()
    assert viewer.js("() => handle.state().views") == ["warped", "uniform", "zoom"]
    assert "zoom" in viewer.page.locator(".hv-status").inner_text()
    assert viewer.page.locator(".hv-tile-legend .hv-legend").count() == 1
    viewer.show(shown)  # what the user chose stays until the page shows something else
    assert viewer.js("() => handle.state().views") == ["warped", "uniform", "zoom"]
    viewer.show(shown | {"output": shown["output"] | {"shown": ["warped", "zoom"]}})
    assert viewer.js("() => handle.state().views") == ["warped", "zoom"]
    for chip in ("Zoom", "Warped"):  # one always stays
        viewer.page.locator(".hv-chip", has_text=chip).click()
    assert viewer.js("() => handle.state().views") == ["warped"]


def test_the_grid_and_the_output_go_from_even_to_warped(viewer: Page) -> None:
    image = FakeImage(W, H)
    overlay = grid_overlay() | {"region": {"x": 0, "y": 0, "w": W, "h": H}}
    viewer.show(data(image, output=pane_of(image), overlays=[overlay]))
    viewer.settle()
    even = np.stack(np.meshgrid(*(0.5 + np.arange(N) / (N - 1) * (n - 1) for n in (W, H))), -1)

    def drawn(amount: float) -> np.ndarray:
        viewer.js("a => handle.morph(a)", amount)
        viewer.frames()
        return (1 - amount) * even + amount * grid()

    def output(px: float, py: float) -> np.ndarray:
        return np.array(
            viewer.js(
                """([x, y]) => { const c = handle.element.querySelector('.hv-output'), k = c.width / 300;
                return [...c.getContext('2d').getImageData(x * k, y * k, 1, 1).data].slice(0, 3); }""",
                [px, py],
            )
        )

    for amount in (0.0, 0.5, 1.0):
        nodes = drawn(amount)
        for j, i in ((2, 2), (3, 6)):
            assert (viewer.overlay(*nodes[j, i])[:, 3] > 0).all(), (
                f"no line on its node at {amount}"
            )
    # at 0 the output is the even picture; half way it is half of each, read where the grid reads
    drawn(0.0)
    assert np.abs(output(75, 150)[:2] - [75 / 300 * 255, 150 / 200 * 255]).max() < 8
    nodes = drawn(0.5)
    x, y = nodes[2, 6]
    px, py = 0.5 + 6 / 8 * 299, 0.5 + 2 / 8 * 199
    half = (np.array([x / W * 255, y / H * 255]) + 200) / 2
    assert np.abs(output(px, py)[:2] - half).max() < 8
    drawn(1.0)
    assert np.abs(output(px, py) - 200).max() < 4
    assert np.abs(output(30, 40) - 200).max() > 20  # the box's rim
    viewer.page.get_by_role("button", name="From even to warped").click()  # no motion is wanted:
    assert viewer.js("() => handle.state().amount") == 0  # it jumps
    viewer.page.get_by_role("button", name="From even to warped").click()
    assert viewer.js("() => handle.state().amount") == 1


def test_shift_draws_a_box_and_tells_of_it_under_way(viewer: Page) -> None:
    shown = data(FakeImage(W, H), shift="box", live=True, drawings_version=1)
    viewer.show(shown)
    viewer.settle()
    mouse, keys = viewer.page.mouse, viewer.page.keyboard
    keys.down("Shift")
    mouse.move(*viewer.at(500, 500))
    mouse.down()
    mouse.move(*viewer.at(900, 700), steps=4)
    viewer.page.wait_for_function("() => events.some(e => e[0] === 'drawings')")
    first = viewer.js("() => events.at(-1)[1]")
    assert first["drawing"] and len(first["boxes"]) == 1
    # what comes back from the page is older than what is drawn: it changes nothing
    viewer.show(shown | {"drawings": first})
    mouse.move(*viewer.at(1000, 900), steps=4)
    mouse.up()
    keys.up("Shift")
    last = viewer.js("() => events.at(-1)[1]")
    assert "drawing" not in last and len(last["boxes"]) == 1
    assert first["version"] == last["version"] == 1  # what it was drawn upon
    viewer.show(shown | {"drawings": first})
    assert viewer.js("() => handle.state().drawings.boxes") == last["boxes"]
    viewer.show(shown | {"drawings_version": 2})  # the page took them away
    assert viewer.js("() => handle.state().drawings.boxes") == []
    before = viewer.js("() => handle.state().viewport.x0")
    mouse.move(*viewer.at(1500, 900))
    mouse.down()
    mouse.move(*viewer.at(1200, 900), steps=4)
    mouse.up()
    viewer.page.wait_for_function(f"() => handle.state().viewport.x0 > {before} + 50")  # pans


def test_drawing_events_and_keys(viewer: Page) -> None:
    shown = data(FakeImage(W, H), draw="box")
    viewer.show(shown)
    viewer.settle()
    mouse = viewer.page.mouse
    mouse.move(*viewer.at(500, 500))
    mouse.down()
    mouse.move(*viewer.at(900, 700), steps=4)
    mouse.move(*viewer.at(1000, 900), steps=4)
    mouse.up()
    events = dict(viewer.js("() => events"))
    box = events["drawings"]["boxes"][0]
    step = 1 / viewer.js("() => handle.state().viewport.scale")
    assert [box[k] for k in "xywh"] == pytest.approx([500, 500, 500, 400], abs=2 * step + 1)
    mouse.move(*viewer.at(1200, 1200))
    mouse.down()
    mouse.move(*viewer.at(1500, 1500), steps=4)
    viewer.page.keyboard.press("Escape")
    mouse.up()
    assert len(viewer.js("() => handle.state().drawings.boxes")) == 1
    mouse.click(*viewer.at(box["x"] + box["w"], box["y"]))  # its x
    assert viewer.js("() => handle.state().drawings.boxes") == []

    viewer.show(shown | {"draw": "stroke"})
    mouse.move(*viewer.at(500, 500))
    mouse.down()
    for k in range(1, 8):
        mouse.move(*viewer.at(500 + 100 * k, 500 + 40 * (k % 2)))
    mouse.up()
    assert len(viewer.js("() => handle.state().drawings.strokes")[0]) >= 7
    viewer.page.get_by_label("Remove all drawings").click()
    assert viewer.js("() => events.at(-1)") == ["drawings", {"boxes": [], "strokes": []}]

    viewer.show(shown | {"draw": None})
    assert "viewport" not in dict(viewer.js("() => events"))
    mouse.click(*viewer.at(1500, 1000))
    click = dict(viewer.js("() => events"))["click"]
    assert [click["x"], click["y"]] == pytest.approx([1500, 1000], abs=step)
    before = viewer.js("() => handle.state().viewport.scale")
    viewer.page.keyboard.press("+")
    viewer.page.keyboard.press("ArrowRight")
    viewer.page.wait_for_function("() => events.some(e => e[0] === 'viewport')")
    seen = dict(viewer.js("() => events"))["viewport"]
    assert viewer.js("() => handle.state().viewport.scale") > before * 1.5
    assert seen["x"] >= 0 and seen["x"] + seen["w"] <= W and seen["h"] <= H
    viewer.page.keyboard.press("0")
    viewer.frames()
    assert viewer.js("() => handle.state().viewport.scale") == pytest.approx(before)


def test_a_tiled_map_shows_its_values(viewer: Page) -> None:
    array = np.tile(np.linspace(0, 1, 1600), (1000, 1))
    array[:, :400] = np.nan
    address = vr.register_map(array, (0, 0, H, W), 0, 1, version=1)
    layer = {"id": "m", "kind": "raster", "map": address, "lut": "cividis", "label": "Attention"}
    shown = data(FakeImage(W, H))
    viewer.show(shown | {"overlays": [layer]})
    viewer.settle()

    def value(x: float) -> str:
        viewer.page.mouse.move(*viewer.at(x, 1000))
        return str(viewer.page.locator(".hv-status").inner_text())

    viewer.page.wait_for_timeout(500)
    assert (viewer.overlay(2400, 1000)[:, 3] == 255).all()
    assert (viewer.overlay(300, 1000)[:, 3] == 0).all()
    assert "0.80" in value(0.8 * W) and "no data" in value(0.1 * W)
    viewer.js("b => handle.fly(b)", {"x": 2000, "y": 900, "w": 120, "h": 80})
    viewer.page.wait_for_timeout(500)
    assert (viewer.overlay(2060, 940)[:, 3] == 255).all()


def test_labels_boxes_points_lines_and_tiles_are_drawn(viewer: Page) -> None:
    labels = np.zeros((30, 40))
    labels[:, 20:] = 2
    names = [{"name": "background"}, {"name": "stroma"}, {"name": "tumour", "color": "#ff0000"}]
    overlays = [
        raster_overlay(labels, lut="labels", classes=names, png=png_url(labels, 0, 254), vmax=254),
        {"id": "b", "kind": "boxes", "boxes": [[1500, 300, 300, 300]], "colors": ["#00ff00"]},
        {"id": "p", "kind": "points", "points": [2000, 400], "values": [1], "radius": 6},
        {"id": "l", "kind": "lines", "polylines": [[[1500, 1500], [2500, 1500]]]},
        {"id": "t", "kind": "tiles", "rects": [[200, 1200, 512, 512, 1]]},
    ]
    viewer.show(data(FakeImage(W, H), overlays=overlays))
    viewer.settle()
    viewer.page.wait_for_function(
        "() => handle.element.querySelectorAll('.hv-legend').length === 2"
    )
    assert viewer.overlay(1000, 600)[4].tolist() == [255, 0, 0, 255]
    assert (viewer.overlay(500, 600)[:, 3] == 0).all()
    for x, y in ((1500, 450), (2000, 400), (2000, 1500), (450, 1450)):
        assert (viewer.overlay(x, y)[:, 3] > 0).any()
    viewer.page.keyboard.press("Tab")
    viewer.page.locator(".openseadragon-canvas").first.focus()
    viewer.page.keyboard.press("o")
    viewer.frames()
    assert (viewer.overlay(2000, 400)[:, 3] == 0).all()
    viewer.page.keyboard.press("o")
    viewer.frames()
    viewer.page.screenshot(path=OUTPUT / "viewer_overlays.png")


def test_a_page_instead_of_a_tile_is_told_in_one_sentence(viewer: Page) -> None:
    shown = data(FakeImage(W, H))
    shown["image"] = shown["image"] | {"url": "/elsewhere/image", "id": "other"}
    viewer.show(shown)
    viewer.page.wait_for_function("() => handle.state().message !== ''", timeout=20_000)
    assert "without the hrviz routes" in viewer.js("() => handle.state().message")
    viewer.page.goto("about:blank")  # no tile still on its way can fail after this
    viewer.errors.clear()  # OpenSeadragon reports each tile on the console too

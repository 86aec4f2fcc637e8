"""The app as a person drives it."""

from pathlib import Path
from urllib.parse import parse_qs, quote, urlparse

import pytest

pytestmark = pytest.mark.browser
OUTPUT = Path(__file__).parents[1] / "output"
SCENE = quote("scene:tissue?size=20000x20000")
METHOD = "method=learning-to-zoom&p.saliency=edges&p.task=none"
REGION = "x=6000&y=11000&w=2048&h=2048"


def state(page):
    return page.evaluate("window.hrvizViewer() && window.hrvizViewer().state()")


def viewer(page):
    """Wait until a viewer shows its image and has been there, the same one, for a second."""
    page.wait_for_function(
        """() => { const v = window.hrvizViewer();
        if (v !== window.hrvizSame) { window.hrvizSame = v; window.hrvizSince = performance.now(); }
        return v && v.state().viewport && performance.now() - window.hrvizSince > 1000; }"""
    )


def stage_share(page):
    """Share of the window that the viewer with its output takes."""
    return page.evaluate(
        "(() => { const r = window.hrvizViewer().element.getBoundingClientRect();"
        " return r.width * r.height / (innerWidth * innerHeight); })()"
    )


def query(page):
    return {k: v[0] for k, v in parse_qs(urlparse(page.url).query).items()}


def grid_colour(page, x, y):
    """RGBA of the overlay canvas at a level-0 point, 3 x 3 screen pixels summed."""
    return page.evaluate(
        """([x, y]) => { const h = window.hrvizViewer(); const [sx, sy] = h.imageToScreen(x, y);
        const c = h.element.querySelector('.hv-overlay'); const r = c.width / c.clientWidth;
        return [...c.getContext('2d').getImageData(sx * r - 1, sy * r - 1, 3, 3).data]
          .reduce((a, b) => a + b, 0); }""",
        [x, y],
    )


def overlay_print(page):
    """A fingerprint of what the overlay canvas shows."""
    return page.evaluate(
        """() => { const c = window.hrvizViewer().element.querySelector('.hv-overlay');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0, s = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) { n++; s = (s * 31 + i) % 1e9; }
        return [n, s]; }"""
    )


def open_method(page, server):
    page.goto(f"{server}/methods?image={SCENE}&{METHOD}&{REGION}")
    page.get_by_text("2 Grid").wait_for()
    page.get_by_text("4 Warped").wait_for()
    page.wait_for_function(
        "(() => { const v = window.hrvizViewer();"
        " return v && !v.element.querySelector('.hv-pane').hidden; })()"
    )
    viewer(page)


def test_explore_zooms_and_keeps_the_address(page, server):
    page.goto(server)
    viewer(page)
    assert stage_share(page) >= 0.6
    before = state(page)["viewport"]["scale"]
    page.mouse.move(500, 360)
    for _ in range(4):
        page.mouse.wheel(0, -200)
        page.wait_for_timeout(120)
    page.wait_for_function(f"window.hrvizViewer()?.state().viewport?.scale > {before * 1.5}")
    page.wait_for_url("**w=*")
    assert query(page)["image"].startswith("scene:tissue")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=OUTPUT / "explore.png")


def test_method_slider_changes_overlay_and_output_is_linked(page, server):
    open_method(page, server)
    assert stage_share(page) >= 0.55
    page.wait_for_timeout(1500)
    before = overlay_print(page)
    assert before[0] > 1000  # the grid is drawn
    slider = page.get_by_role("slider", name="Bandwidth (nodes)")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        f"(() => {{ const c = window.hrvizViewer().element.querySelector('.hv-overlay');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0, s = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) { n++; s = (s * 31 + i) % 1e9; }"
        f" return n > 1000 && s !== {before[1]}; }})()"
    )
    page.wait_for_url("**p.bandwidth=9**")
    # the output's centre is read from inside the region, and leads back to the same output pixel
    viewer(page)
    x, y = page.evaluate("window.hrvizViewer().imageAt(256, 256)")
    assert 6000 <= x <= 8048 and 11000 <= y <= 13048
    back = page.evaluate("([x, y]) => window.hrvizViewer().outputAt(x, y)", [x, y])
    assert back == pytest.approx([256, 256], abs=0.5)
    # hovering the image puts the crosshair on the same point of the output
    box = page.evaluate(
        "(() => { const r = window.hrvizViewer().element.querySelector('.hv-image')"
        ".getBoundingClientRect(); return [r.x, r.y]; })()"
    )
    sx, sy = page.evaluate("([x, y]) => window.hrvizViewer().imageToScreen(x, y)", [x, y])
    page.mouse.move(box[0] + sx, box[1] + sy)
    page.wait_for_function("window.hrvizViewer()?.state().output")
    assert state(page)["output"] == pytest.approx([256, 256], abs=6)
    page.screenshot(path=OUTPUT / "methods.png")


def film(page, name):
    page.locator(".st-key-film").get_by_text(name, exact=True).click()


def test_views_charts_and_the_way_from_even_to_warped(page, server):
    open_method(page, server)
    page.get_by_text("9 Samples").wait_for()
    assert state(page)["views"] == ["warped", "uniform"] and state(page)["amount"] == 1
    page.wait_for_timeout(800)
    warped = overlay_print(page)
    page.evaluate("window.hrvizViewer().morph(0)")
    page.wait_for_timeout(200)
    assert overlay_print(page) != warped
    page.get_by_role("button", name="From even to warped").click()
    page.wait_for_function("window.hrvizViewer() && window.hrvizViewer().state().amount === 1")
    page.wait_for_timeout(200)
    assert overlay_print(page) == warped
    film(page, "5 Output magnification")
    page.wait_for_function(
        "window.hrvizViewer() && window.hrvizViewer().state().views.join() === 'warped,output magnification'"
    )
    assert overlay_print(page) == warped  # the grid stays over the image
    film(page, "8 Profile")
    page.locator(".st-key-chart .js-plotly-plot").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_drag_a_box_and_the_grid_follows(page, server):
    open_method(page, server)
    page.get_by_text("9 Samples").wait_for()
    page.wait_for_timeout(800)
    before = overlay_print(page)
    page.keyboard.down("Shift")
    page.mouse.move(300, 220)
    page.mouse.down()
    page.mouse.move(400, 320, steps=6)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_url("**p.saliency=drawn**")
    back = page.get_by_role("button", name="Remove drawings, back to edges")
    back.wait_for()
    # the grid's magnification is largest in the box: its middle takes much of the output
    page.wait_for_function(
        """() => { const v = window.hrvizViewer(); const b = v && v.state().drawings.boxes[0];
        if (!b) return false;
        const at = (fx, fy) => v.outputAt(b.x + fx * b.w, b.y + fy * b.h);
        const [p, q] = [at(0.2, 0.2), at(0.8, 0.8)];
        return p && q && (q[0] - p[0]) / 512 > 1.5 * 0.6 * b.w / 2048; }"""
    )
    assert overlay_print(page) != before
    back.click()
    page.wait_for_url("**p.saliency=edges**")
    page.wait_for_function(
        "(() => { const v = window.hrvizViewer(); return v && v.state().drawings.boxes.length === 0; })()"
    )


def test_overlay_follows_the_zoom(page, server):
    """On hold the grid stays where it lies in the image, whatever the zoom."""
    open_method(page, server)
    page.get_by_role("radio", name="Hold").or_(page.get_by_text("Hold", exact=True)).first.click()
    page.wait_for_url("**region=hold**")
    page.wait_for_timeout(800)
    x, y = page.evaluate("window.hrvizViewer().imageAt(0.5, 256)")  # left edge of the grid
    assert x == pytest.approx(6000.5, abs=30)
    assert grid_colour(page, 6001, y) > 0
    page.evaluate("window.hrvizViewer().fly({x: 5500, y: 11500, w: 1200, h: 1200}, true)")
    page.wait_for_timeout(1500)
    assert grid_colour(page, 6001, y) > 0
    assert grid_colour(page, 5700, y) == 0
    assert query(page)["region"] == "hold"


def test_permalink_restores_page(page, server):
    page.goto(
        f"{server}/methods?image={SCENE}&{METHOD}&p.bandwidth=7.5&{REGION}&layer=saliency&theme=light"
    )
    page.get_by_text("4 Warped").wait_for()
    viewer(page)
    assert page.get_by_role("slider", name="Bandwidth (nodes)").input_value() == "7.5"
    page.wait_for_function(
        "(() => { const v = window.hrvizViewer()?.state().viewport;"
        " return v && Math.abs(v.x0 - 6000) < 20 && Math.abs(v.x1 - 8048) < 20; })()"
    )
    found = query(page)
    assert found["layer"] == "saliency" and found["theme"] == "light" and found["x"] == "6000"
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    page.screenshot(path=OUTPUT / "methods-light.png")


def test_bad_address_is_one_sentence(page, server):
    page.goto(f"{server}/?image=%2Fetc%2Fpasswd")
    viewer(page)
    page.get_by_text("lies outside the served folder").wait_for()
    page.get_by_text("Dismiss").click()
    page.locator(".st-key-image-popover button").first.click()
    field = page.get_by_role("textbox", name="Address")
    field.fill("scene:tisue")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    page.get_by_text("did you mean scene:tissue?").wait_for()
    text = page.inner_text("body")
    assert "Traceback" not in text and "Error" not in text
    assert state(page)["viewport"]  # the image shown stays


def test_cost_against_density_when_asked_for(page, server):
    """Behind an expander: measured in the background, then drawn with its sentence."""
    board = quote("scene:digits?size=896x896&digits=1&smallest=96&largest=0.15")
    page.goto(
        f"{server}/methods?image={board}&method=patch-drop&p.saliency=truth&p.task=none&region=whole"
    )
    viewer(page)
    page.get_by_role("tab", name="Cost").click()
    page.get_by_text("Cost against density").wait_for()
    assert not page.get_by_role("button", name="Measure", exact=True).count()
    page.get_by_text("Cost against density").click()
    page.get_by_role("button", name="Measure", exact=True).click()
    page.get_by_role("button", name="Measure again").wait_for()
    page.get_by_text("The cost grows from 1 to 5 digits").wait_for()
    plots = "document.querySelectorAll(\"[class*='st-key-density-chart'] .js-plotly-plot\")"
    page.wait_for_function(f"{plots}.length === 1")


@pytest.mark.timeout(900)
def test_memory_page_answers_and_a_click_opens_the_timeline(page, server):
    """The curves come, the budget's end is marked; a point leads to what is held there."""
    asked = "m.names=efficientnet-b0&m.side=512&m.network=efficientnet-b0"
    page.goto(f"{server}/memory?{asked}")
    # the newest, while an older one may still fade
    chart = page.locator(".st-key-memory-chart .js-plotly-plot").last
    chart.wait_for(timeout=240_000)
    box = chart.bounding_box()
    assert box["width"] * box["height"] >= 0.6 * 1280 * 720
    page.get_by_text("EfficientNet-B0 on the whole image fits to").wait_for(timeout=240_000)
    marks = chart.locator(".scatterlayer .point")
    page.wait_for_function(
        "document.querySelectorAll('.st-key-memory-chart .scatterlayer .point').length > 8",
        timeout=240_000,
    )
    assert "RTX A6000 48 GB" in chart.text_content()
    x, y = (marks.nth(2).bounding_box()[k] + 4 for k in "xy")
    page.mouse.move(x - 8, y - 8)  # plotly's own layer takes the pointer
    page.mouse.move(x, y, steps=4)
    page.mouse.click(x, y)
    page.get_by_text("Largest tensors alive at the peak").wait_for()
    page.wait_for_url("**m.side=2048**")
    assert query(page)["m.panel"] == "Timeline"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=OUTPUT / "memory.png")

"""Films, scenes and channels in the app: changed in place, kept in the address, never blank."""

from io import BytesIO
from urllib.parse import parse_qs, quote, urlparse

import pytest
from PIL import Image

pytestmark = pytest.mark.browser
FILM = "scene:crowd?size=1200x800&seed=3&people=60&frames=20&sun=0.8"
# In every drawn frame: whether some picture is whole, and how many there are.
WATCH = """() => {
  window.whole = []; window.most = 0;
  const look = () => {
    const h = window.hrvizViewer(); const w = h && h.viewer && h.viewer.world;
    if (w && w.getItemCount()) {
      const items = Array.from({ length: w.getItemCount() }, (_, k) => w.getItemAt(k));
      window.whole.push(items.some((i) => i.getFullyLoaded()));
      window.most = Math.max(window.most, items.length);
    } else window.whole.push(false);
    requestAnimationFrame(look);
  };
  look();
}"""


def loaded(page):
    page.wait_for_function(
        "(() => { const h = window.hrvizViewer(); if (!h || !h.state().viewport) return false;"
        " const w = h.viewer.world;"
        " return w.getItemCount() === 1 && w.getItemAt(0).getFullyLoaded(); })()"
    )


def address(page):
    return parse_qs(urlparse(page.url).query)["image"][0]


def viewport(page):
    return page.evaluate(
        "(() => { const v = window.hrvizViewer().state().viewport;"
        " return [v.x0, v.y0, v.x1, v.y1]; })()"
    )


def tile_url(page):
    return page.evaluate(
        "(() => { const w = window.hrvizViewer().viewer.world;"
        " return w.getItemAt(w.getItemCount() - 1).source.getTileUrl(0, 0, 0); })()"
    )


def pixel(page, x, y):
    """RGB on the screen at a level-0 point."""
    left, top = page.evaluate(
        "(() => { const r = window.hrvizViewer().element.querySelector('.hv-image')"
        ".getBoundingClientRect(); return [r.x, r.y]; })()"
    )
    sx, sy = page.evaluate("([x, y]) => window.hrvizViewer().imageToScreen(x, y)", [x, y])
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    return shot.getpixel((round(left + sx), round(top + sy)))


def test_time_moves_in_place_and_is_kept(page, server):
    page.goto(f"{server}/?image={quote(FILM)}&x=300&y=300&w=400&h=300")
    loaded(page)
    page.wait_for_timeout(500)
    before, first = viewport(page), tile_url(page)
    page.evaluate(WATCH)
    slider = page.get_by_role("slider", name="Time")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**t%3D1**")
    page.wait_for_function(
        "(old) => { if (!window.hrvizViewer()) return false; const w = window.hrvizViewer().viewer.world;"
        " return w.getItemAt(w.getItemCount() - 1).source.getTileUrl(0, 0, 0) !== old; }",
        arg=first,
    )
    loaded(page)
    assert all(page.evaluate("window.whole")) and page.evaluate("window.most") == 2
    assert viewport(page) == pytest.approx(before, abs=1)
    assert address(page).endswith("#t=1")
    page.get_by_role("button", name="Play").click()
    page.wait_for_url("**t%3D3**")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for()
    loaded(page)
    assert viewport(page) == pytest.approx(before, abs=1)
    page.get_by_role("button", name="Try a method here").click()
    page.get_by_text("No trained network is for what this image shows").wait_for()
    page.wait_for_url("**/methods?*image=*")
    # a step that was on its way when Pause was pressed may still have come: at least where it was, and
    # the address follows the slider
    time = page.get_by_role("slider", name="Time")
    for _ in range(100):
        frame = time.input_value()
        if address(page).endswith(f"#t={frame}"):
            break
        page.wait_for_timeout(100)
    assert int(frame) >= 3 and address(page).endswith(f"#t={frame}")


def test_scene_parameters_open_another_scene(page, server):
    page.goto(f"{server}/?image={quote('scene:road?size=640x480&seed=5&sign=50')}")
    loaded(page)
    page.get_by_text("Answer", exact=True).click()
    page.locator(".hv-answer", has_text="50 ").wait_for()
    page.get_by_role("spinbutton", name="Seed").fill("6")
    page.keyboard.press("Enter")
    page.wait_for_url("**seed%3D6**")
    loaded(page)
    assert "sign=50" in address(page) and "size=640x480" in address(page)
    page.get_by_role("button", name="road 640").click()
    page.get_by_role("button", name="Needle in a haystack").click()
    page.wait_for_url("**scene%3Aneedle**")
    page.get_by_text("Answer", exact=True).click()  # hidden again: guess first
    page.locator(".hv-answer", has_text="present").wait_for()


def test_channels_switch_without_moving(page, server):
    page.goto(f"{server}/?image=cells.ome.tif")
    loaded(page)
    page.wait_for_timeout(300)
    left, right = pixel(page, 200, 300), pixel(page, 600, 300)
    assert left[2] > 200 and right[1] > 200
    before, old = viewport(page), tile_url(page)
    page.evaluate(WATCH)
    page.get_by_text("DAPI", exact=True).click()
    page.wait_for_function(
        "(old) => { if (!window.hrvizViewer()) return false; const w = window.hrvizViewer().viewer.world;"
        " return w.getItemAt(w.getItemCount() - 1).source.getTileUrl(0, 0, 0) !== old; }",
        arg=old,
    )
    loaded(page)
    page.wait_for_timeout(300)
    assert max(pixel(page, 200, 300)) < 16 and pixel(page, 600, 300) == pytest.approx(right, abs=4)
    assert all(page.evaluate("window.whole"))
    assert viewport(page) == pytest.approx(before, abs=1)

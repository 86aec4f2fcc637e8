"""The notebook widget without a notebook: messages in, buffers out, and the static picture."""

from __future__ import annotations

import base64
import io
import json
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from viewer_fakes import FakeImage
from viewer_page import app, served

pytest.importorskip("anywidget", reason="needs anywidget (pip install hrviz[notebooks])")
from hrviz.viewer.jupyter import DeepZoom


class Channel:
    """Stands in for the comm: collects what the widget sends."""

    def __init__(self, widget: DeepZoom) -> None:
        self.widget = widget
        self.answers: dict[str, tuple[dict[str, Any], list[bytes]]] = {}
        self.arrived = threading.Semaphore(0)
        self._changed = threading.Condition()
        widget.send = self._send  # type: ignore[method-assign]

    def _send(self, content: dict[str, Any], buffers: Any = None) -> None:
        with self._changed:
            self.answers[content["id"]] = (content, buffers or [])
            self._changed.notify_all()
        self.arrived.release()

    def ask(self, **message: Any) -> None:
        self.widget._receive(self.widget, message, [])

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=10)

    def answer(self, name: str, timeout: float = 10) -> tuple[dict[str, Any], list[bytes]] | None:
        """This message's answer; None where none came, as for a tile that was cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: name in self.answers, timeout)
        return self.answers.get(name)


def test_tiles_come_as_buffers() -> None:
    widget = DeepZoom(FakeImage())
    channel = Channel(widget)
    top = widget.image["maxLevel"]
    channel.ask(id="a", z=top, x=5, y=3)
    channel.ask(id="b", z=top, x=99, y=0)
    channel.wait(2)
    content, buffers = channel.answers["a"]
    assert content["mime"] == "image/jpeg"
    assert PILImage.open(io.BytesIO(buffers[0])).size == (3001 - 5 * 512, 2003 - 3 * 512)
    content, buffers = channel.answers["b"]
    assert "does not exist" in content["error"] and buffers == []
    widget.close()


def test_newest_first_and_cancelled_never() -> None:
    image = FakeImage()
    widget = DeepZoom(image)
    channel = Channel(widget)
    first, others = threading.Event(), threading.Event()
    paint = image.rgb

    def slow(box: Any, size: Any) -> np.ndarray:
        if box[0] == 0:  # the row that keeps the workers busy
            (first if box[1] == 0 else others).wait(10)
        return paint(box, size)

    image.rgb = slow  # type: ignore[method-assign]
    top = widget.image["maxLevel"]
    for i in range(4):  # keeps all workers busy
        channel.ask(id=f"busy{i}", z=top, x=i, y=0)
    for i in range(5):
        channel.ask(id=f"late{i}", z=top, x=i, y=1)
    channel.ask(cancel="late2")
    first.set()  # one worker does the rest, one after the other
    channel.wait(5)
    assert list(channel.answers) == ["busy0", "late4", "late3", "late1", "late0"]
    others.set()
    channel.wait(3)
    widget.close()


def test_maps_travel_over_the_channel_too() -> None:
    widget = DeepZoom(FakeImage())
    channel = Channel(widget)
    array = np.linspace(0, 1, 300 * 300).reshape(300, 300)
    first = widget.register_map(array, (0, 0, 300, 300), 0, 1)
    again = widget.register_map(array, (0, 0, 300, 300), 0, 1, version=1)
    assert first["key"] == again["key"] and first["url"] != again["url"]
    channel.ask(id="m", map=first["key"], z=1, x=1, y=1)
    channel.wait(1)
    index = np.asarray(PILImage.open(io.BytesIO(channel.answers["m"][1][0])))
    assert index.shape == (44, 44) and index[-1, -1] == 255
    widget.close()


def test_no_pixels_in_traits_but_a_picture_without_widgets() -> None:
    image = FakeImage()
    widget = DeepZoom(image)
    assert len(str({n: widget.trait_values()[n] for n in ("image", "overlays", "output")})) < 500
    bundle = widget._repr_mimebundle_()[0]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = PILImage.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert max(picture.size) <= 640
    widget.close()


def test_flights_and_clicks() -> None:
    widget = DeepZoom(FakeImage())
    widget.fly((100, 200, 300, 500))
    assert widget.fly_to == {"box": {"x": 200, "y": 100, "w": 300, "h": 200}, "version": 1}
    seen: list[tuple[float, float]] = []
    widget.on_click(lambda x, y: seen.append((x, y)))
    widget._receive(widget, {"click": {"x": 3, "y": 4}}, [])
    assert seen == [(3.0, 4.0)]
    widget.close()


BRIDGE = """<!doctype html><div id="v" style="width:900px;height:500px"></div>
<script type="module">
const widget = (await import("/widget.js")).default;
const traits = %s;
const listeners = {};
const model = {
  get: (name) => traits[name],
  set: (name, value) => { traits[name] = value; },
  save_changes: () => { window.saved = structuredClone(traits); },
  on: (name, f) => (listeners[name] = listeners[name] || []).push(f),
  off: () => {},
  send: async (message) => {
    const answer = await fetch("/channel", { method: "POST", body: JSON.stringify(message) });
    if (answer.status !== 200) return;  // 204: nothing to say, as for a cancelled tile
    const content = JSON.parse(answer.headers.get("x-content"));
    const buffer = new DataView(await answer.arrayBuffer());
    listeners["msg:custom"].forEach((f) => f(content, [buffer]));
  },
};
window.change = (name, value) => { traits[name] = value; listeners[`change:${name}`].forEach((f) => f()); };
window.stop = widget.render({ model, el: document.getElementById("v") });
window.ready = true;
</script>"""


@pytest.mark.browser
def test_the_widget_in_a_browser(browser: Any) -> None:
    image = FakeImage()
    widget = DeepZoom(image, height=460)
    channel = Channel(widget)
    array = np.full((300, 300), 0.5)
    names = [
        "image",
        "overlays",
        "output",
        "drawings",
        "draw",
        "theme",
        "height",
        "disclaimer",
        "fly_to",
    ]
    traits = json.dumps({name: getattr(widget, name) for name in names})

    def answer(message: dict[str, Any]) -> Response:
        channel.ask(**message)
        if "z" not in message:
            return Response(status_code=204)
        reply = channel.answer(message["id"])
        if reply is None:
            return Response(status_code=204)
        content, buffers = reply
        return Response(b"".join(buffers), headers={"x-content": json.dumps(content)})

    async def bridge(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        return await run_in_threadpool(answer, await request.json())

    async def module(_: Request) -> Response:
        return Response(str(DeepZoom._esm), media_type="text/javascript")

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(BRIDGE % traits)

    extra = [
        Route("/channel", bridge, methods=["POST"]),
        Route("/widget.js", module),
        Route("/widget", page),
    ]
    errors: list[str] = []
    with served(app(extra=extra)) as url:
        tab = browser.new_page(reduced_motion="reduce")
        tab.on("pageerror", lambda e: errors.append(str(e)))
        tab.goto(f"{url}/widget")
        tab.wait_for_function("window.ready")
        loaded = """() => { const h = document.getElementById('v').hrviz, w = h.viewer.world;
            return h.state().loading === 0 && w.getItemCount() && w.getItemAt(0).getFullyLoaded(); }"""
        tab.wait_for_function(loaded, timeout=20_000)
        assert len(image.calls) > 1
        layer = {"id": "m", "kind": "raster", "map": widget.register_map(array, image_box(), 0, 1)}
        tab.evaluate("o => change('overlays', [o])", layer | {"lut": "viridis", "label": "Map"})
        tab.wait_for_function(
            """() => { const c = document.querySelector('.hv-overlay');
            return c.getContext('2d').getImageData(c.width >> 1, c.height >> 1, 1, 1).data[3] === 255; }"""
        )
        widget.fly((500, 600, 900, 1200))
        tab.evaluate("f => change('fly_to', f)", widget.fly_to)
        tab.wait_for_function("() => window.saved && window.saved.viewport")
        seen = tab.evaluate("saved.viewport")
        assert seen["x"] <= 600 and seen["x"] + seen["w"] >= 1200
        tab.evaluate("stop()")
        assert tab.locator(".hv").count() == 0
        tab.close()
    assert errors == []
    widget.close()


def image_box() -> tuple[float, float, float, float]:
    return (0, 0, 2003, 3001)

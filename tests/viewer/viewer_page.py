"""A tiny server and page around the viewer, for the browser tests and for looking at it."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from PIL import Image as PILImage
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from hrviz.viewer import routes as vr
from hrviz.viewer.maps import encode_png, to_index
from hrviz.viewer.tiles import encode_jpeg

PAGE = """<!doctype html><meta charset="utf-8"><title>viewer</title>
<style>body{margin:0;background:%s}#v{width:100vw;height:100vh}</style><div id="v"></div>
<script type="module">
import { mount } from "%s";
window.events = [];
const set = (name, value) => window.events.push([name, value]);
window.handle = mount(document.getElementById("v"), { set });
window.ready = true;
</script>"""


def png_url(values: np.ndarray, vmin: float, vmax: float) -> str:
    return (
        "data:image/png;base64,"
        + base64.b64encode(encode_png(to_index(values, vmin, vmax))).decode()
    )


def jpeg_url(rgb: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(rgb)).decode()


def warp_nodes(box: tuple[float, float, float, float], n: int, pull: float = 0.6) -> np.ndarray:
    """A smooth grid (n, n, 2) of (x, y) that reads denser in the middle of box (x, y, w, h)."""
    x, y, w, h = box
    t = np.linspace(-1, 1, n)
    u, v = np.meshgrid(t, t)
    r = np.hypot(u, v) / np.sqrt(2)
    s = (1 - pull) + pull * r
    return np.stack([x + w * (u * s + 1) / 2, y + h * (v * s + 1) / 2], axis=-1)


def sample(image: Any, nodes: np.ndarray, size: int) -> np.ndarray:
    """What the grid reads, `(size, size, 3)`: nearest pixels of a thumbnail, to look at."""
    thumb = image.thumbnail(2048)
    scale = thumb.shape[1] / image.width
    n = len(nodes)
    k = np.arange(size) / (size - 1) * (n - 1)
    i = np.minimum(k.astype(int), n - 2)
    f = k - i
    rows = nodes[i] * (1 - f)[:, None, None] + nodes[i + 1] * f[:, None, None]
    grid = rows[:, i] * (1 - f)[None, :, None] + rows[:, i + 1] * f[None, :, None]
    xs = np.clip((grid[..., 0] * scale).astype(int), 0, thumb.shape[1] - 1)
    ys = np.clip((grid[..., 1] * scale).astype(int), 0, thumb.shape[0] - 1)
    return thumb[ys, xs]


def app(theme: str = "dark", extra: list[Route] | None = None) -> Starlette:
    background = "#17191c" if theme == "dark" else "#ffffff"

    async def page(request: Any) -> HTMLResponse:
        return HTMLResponse(PAGE % (background, vr.module_url()))

    # like Streamlit: whatever is not a route answers a page with status 200
    rest = [Route("/", page), Route("/{path:path}", page)]
    return Starlette(routes=[*vr.routes(), *(extra or []), *rest], lifespan=vr.lifespan)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(application: Any) -> Iterator[str]:
    """Runs the app in a thread on a free port; yields its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    limit = time.monotonic() + 20
    while not server.started and time.monotonic() < limit:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


class Page:
    """The mounted viewer, with what a test asks of it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))

    def js(self, code: str, argument: Any = None) -> Any:
        return self.page.evaluate(code, argument)

    def show(self, data: dict[str, Any]) -> None:
        self.js("data => handle.update(data)", data)

    def settle(self) -> None:
        self.page.wait_for_function(
            """() => { const s = handle.state(), w = handle.viewer.world;
                return s.loading === 0 && w.getItemCount() > 0 && w.getItemAt(0).getFullyLoaded(); }""",
            timeout=30_000,
        )
        self.frames()

    def frames(self) -> None:
        self.js("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Position on the page of a level-0 point."""
        return tuple(
            self.js(
                """([x, y]) => { const p = handle.imageToScreen(x, y);
                const r = handle.element.querySelector('.hv-overlay').getBoundingClientRect();
                return [p[0] + r.left, p[1] + r.top]; }""",
                [x, y],
            )
        )

    def overlay(self, x: float, y: float) -> np.ndarray:
        """RGBA of the overlay canvas, 3 x 3 screen pixels around a level-0 point."""
        pixels = self.js(
            """([x, y]) => { const c = handle.element.querySelector('.hv-overlay');
            const k = c.width / c.clientWidth, p = handle.imageToScreen(x, y);
            return [...c.getContext('2d').getImageData(Math.round(p[0] * k) - 1,
              Math.round(p[1] * k) - 1, 3, 3).data]; }""",
            [x, y],
        )
        return np.array(pixels).reshape(9, 4)

    def picture(self) -> np.ndarray:
        return np.asarray(PILImage.open(io.BytesIO(self.page.screenshot())).convert("RGB"))


def data(image: Any, **more: Any) -> dict[str, Any]:
    return {
        "image": vr.register_image(image),
        "theme": "dark",
        "viewport": None,
        "viewport_version": 0,
        "overlays": [],
        "output": None,
        "draw": None,
        "drawings": {"boxes": [], "strokes": []},
        "disclaimer": "For research and teaching only.",
    } | more

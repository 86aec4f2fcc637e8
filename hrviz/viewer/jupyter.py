"""The viewer as a Jupyter widget (anywidget): tiles over the widget's own channel, no port needed.

Only small JSON goes through traits. Pixels are asked tile by tile in custom messages
``{id, z, x, y}`` (with ``map`` for a raster's tiles) and answered with binary buffers from a thread
pool, newest first, so that scrolling through a slide never waits for tiles no longer on screen.
"""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anywidget
import traitlets

from hrviz.geometry import Box
from hrviz.viewer.assets import _text, viewer_js
from hrviz.viewer.maps import MapTiles, Reduce
from hrviz.viewer.tiles import DisplayImage, ImageTiles

WORKERS = 4
Handler = Callable[[float, float], None]


class DeepZoom(anywidget.AnyWidget):
    """A deep-zoom view of an image, with overlays and an output picture.

    Parameters
    ----------
    image : Image
    overlays : sequence of dict, optional
        Overlay specifications of the viewer's data contract.
    output : dict, optional
        The output picture beside the viewer.
    height : int
        In CSS pixels.
    theme : {'light', 'dark'}
    draw : {'box', 'stroke'}, optional
        What dragging draws; None pans.

    Attributes
    ----------
    viewport : dict
        ``{x, y, w, h}`` of what is visible in level-0 pixels, empty until the user moves.
    drawings : dict
        ``{boxes, strokes}``.

    Notes
    -----
    Viewers that show no widgets (GitHub, nbviewer) get a picture of the whole image.
    """

    _esm = viewer_js() + _text("anywidget.js")
    image = traitlets.Dict().tag(sync=True)
    overlays = traitlets.List().tag(sync=True)
    output = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    viewport = traitlets.Dict().tag(sync=True)
    fly_to = traitlets.Dict().tag(sync=True)
    drawings = traitlets.Dict().tag(sync=True)
    draw = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    theme = traitlets.Unicode("light").tag(sync=True)
    height = traitlets.Int(480).tag(sync=True)
    disclaimer = traitlets.Unicode(None, allow_none=True).tag(sync=True)

    def __init__(
        self,
        image: DisplayImage,
        overlays: Sequence[Mapping[str, Any]] = (),
        output: Mapping[str, Any] | None = None,
        height: int = 480,
        *,
        theme: str = "light",
        draw: str | None = None,
        disclaimer: str | None = None,
    ) -> None:
        self._source = image
        self._tiles = ImageTiles(image)
        self._maps: dict[str, MapTiles] = {}
        self._stack: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="hrviz-tiles")
        self._clicks: list[Handler] = []
        super().__init__(
            image=self._tiles.geometry | {"url": ""},
            overlays=[dict(o) for o in overlays],
            output=None if output is None else dict(output),
            height=height,
            theme=theme,
            draw=draw,
            disclaimer=disclaimer,
            drawings={"boxes": [], "strokes": []},
        )
        self.on_msg(self._receive)

    # -- what notebooks use ---------------------------------------------------------------------
    def fly(self, box: Box | tuple[float, float, float, float]) -> None:
        """Move the view to a box (y0, x0, y1, x1) in level-0 pixels."""
        b = Box(*box)
        version = int(self.fly_to.get("version", 0)) + 1
        self.fly_to = {
            "box": {"x": b.x0, "y": b.y0, "w": b.width, "h": b.height},
            "version": version,
        }

    def register_map(
        self,
        array: Any,
        box: Box | tuple[float, float, float, float],
        vmin: float,
        vmax: float,
        version: int | str = 0,
        *,
        reduce: Reduce = "mean",
    ) -> dict[str, Any]:
        """Like `routes.register_map`, over the widget's channel: a raster overlay's `map`."""
        key = str(len(self._maps))
        for known, tiles in self._maps.items():
            if tiles.array is array and tiles.box == Box(*box):
                key = known
        self._maps[key] = MapTiles(array, box, vmin, vmax, reduce=reduce)
        url = f"map:{key}/{version}"
        return self._maps[key].geometry | {"key": key, "version": version, "url": url}

    def on_click(self, handler: Handler) -> None:
        """Call `handler(x, y)` with level-0 pixels when the user clicks."""
        self._clicks.append(handler)

    def close(self) -> None:
        with self._lock:
            self._stack.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    # -- tiles ----------------------------------------------------------------------------------
    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if "cancel" in message:
            with self._lock:
                self._stack = [m for m in self._stack if m["id"] != message["cancel"]]
        elif "click" in message:
            for handler in self._clicks:
                handler(float(message["click"]["x"]), float(message["click"]["y"]))
        elif "id" in message:
            with self._lock:
                self._stack.append(message)
            self._pool.submit(self._answer)

    def _answer(self) -> None:
        """Makes the newest asked tile; a cancelled one left fewer messages than answers."""
        with self._lock:
            if not self._stack:
                return
            message = self._stack.pop()
        try:
            at = (int(message["z"]), int(message["x"]), int(message["y"]))
            if "map" in message:
                data, mime = self._maps[message["map"]].png(*at), "image/png"
            else:
                data, mime = self._tiles.get(*at)
        except Exception as error:  # told to the viewer, which shows it in place
            text = next(iter(str(error).splitlines()), "") or type(error).__name__
            self.send({"id": message["id"], "error": f"This tile could not be made: {text}"})
            return
        self.send({"id": message["id"], "mime": mime}, buffers=[data])

    # -- without widgets --------------------------------------------------------------------------
    def thumbnail_png(self, side: int = 640) -> bytes:
        """The whole image, at most `side` px long, as PNG."""
        from PIL import Image as PILImage

        scale = min(1.0, side / max(self._source.height, self._source.width))
        h, w = (max(1, round(n * scale)) for n in (self._source.height, self._source.width))
        rgb = self._source.rgb(Box(0, 0, self._source.height, self._source.width), (h, w))
        out = io.BytesIO()
        PILImage.fromarray(rgb).save(out, "PNG")
        return out.getvalue()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        picture = {"image/png": base64.b64encode(self.thumbnail_png()).decode()}
        if isinstance(bundle, tuple):
            return (picture | bundle[0], *bundle[1:])
        return None if bundle is None else picture | bundle

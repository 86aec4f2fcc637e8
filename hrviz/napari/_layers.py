"""Results into a viewer's layers, updated in place; and what the viewer says of regions.

In place means: a step that comes again (with more of it done, or with a slider moved) sets the data
of its layer. Nothing flickers, nothing is doubled, and what the user chose (visible, opacity,
colours, order) stays.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image.image import Image, open_image
from hrviz.results import HeatMap, LabelMap, Picture, Points, Result, Step
from hrviz.views import outputs
from hrviz.views.napari import layer_data

BOXES, STROKES = "hrviz boxes", "hrviz strokes"
DRAWN = {"boxes": BOXES, "strokes": STROKES}


class ResultLayers:
    """The layers of one method's steps in one viewer."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.method = ""
        self._mine: dict[tuple[str, int], Any] = {}
        self._maps: list[Any] = []
        self._beside: dict[str, tuple[Any, int]] = {}  # step -> its grid's nodes, its column

    @property
    def layers(self) -> list[Any]:
        """Those still in the viewer, in the order made."""
        return [layer for layer in self._mine.values() if layer in self.viewer.layers]

    def __contains__(self, name: str) -> bool:
        return any(step == name for step, _ in self._mine)

    def start(self, method: str) -> None:
        """Results of another method follow: the old ones go."""
        if method != self.method:
            for layer in self.layers:
                self.viewer.layers.remove(layer)
            self._mine.clear()
            self._maps.clear()
            self._beside.clear()
        self.method = method

    def put(self, step: Step) -> list[Any]:
        """Show a step: set the data of its layers, or add them. Charts have none."""
        out = []
        active = self.viewer.layers.selection.active
        made = layer_data(step.result, step.name, self._column(step))
        for place in [p for n, p in self._mine if n == step.name and p >= len(made)]:
            gone = self._mine.pop((step.name, place))  # such as folded cells that are no more
            if gone in self.viewer.layers:
                self.viewer.layers.remove(gone)
        for place, (data, keywords, kind) in enumerate(made):
            layer = self._mine.get((step.name, place))
            if layer is not None and layer not in self.viewer.layers:
                layer = None
            if layer is not None and _fits(layer, data, kind):
                update(layer, data, keywords, kind)
            elif layer is not None:
                layer = self._replace(layer, data, keywords, kind, step.result)
                self._mine[step.name, place] = layer
            else:
                if self._covers(step.result):
                    keywords = keywords | {"visible": False}
                layer = self._add(data, keywords, kind, step.result)
                self._mine[step.name, place] = layer
            out.append(layer)
        if active is not None and active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        self.restroke(out)
        return out

    def _column(self, step: Step) -> int:
        """Beside the image, each picture has a column of its own; a map lies on its picture."""
        if not beside(step.result):
            return 0
        nodes: Any = getattr(getattr(step.result, "grid", None), "nodes", None)
        others = {n: v for n, v in self._beside.items() if n != step.name}
        columns = [c for _, c in others.values()]
        column = max(columns, default=-1) + 1
        if step.name in self._beside:
            column = self._beside[step.name][1]
        elif not isinstance(step.result, Picture):
            same = (c for n, c in others.values() if n is not None and np.array_equal(n, nodes))
            column = next(same, column)
        self._beside[step.name] = nodes, column
        return column

    def _covers(self, result: Result) -> bool:
        """Whether a result would hide what is shown already: it then waits until it is chosen.

        That is a picture on the image, a map on an output, a map on a tree, and dots where a grid
        tells as much.
        """
        if not self.layers:
            return False
        if isinstance(result, HeatMap | LabelMap) and any(
            "tree" in la.metadata for la in self.layers
        ):
            return True
        if isinstance(result, Picture):
            return result.box is not None
        return outputs.on_output(result) or (isinstance(result, Points) and self._warped)

    @property
    def _warped(self) -> bool:
        return any(grid is not None for grid, _ in self._beside.values())

    def drop(self, name: str) -> None:
        """Take a step's layers away."""
        for key in [k for k in self._mine if k[0] == name]:
            layer = self._mine.pop(key)
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def show(self, name: str) -> None:
        """Bring a step to the eye: visible and selected, other maps hidden."""
        own = [la for (n, _), la in self._mine.items() if n == name and la in self.viewer.layers]
        if any(la in self._maps for la in own):
            for other in self._maps:
                other.visible = False
        for layer in own:
            layer.visible = True
            self.viewer.layers.selection.active = layer
            self._look_at(layer)
        self.restroke(own)

    def _look_at(self, layer: Any) -> None:
        """Fly to a layer that lies off the screen."""
        (y0, x0), (y1, x1) = layer.extent.world[:, -2:]
        centre, (height, width) = camera(self.viewer).center[-2:], canvas_size(self.viewer)
        zoom = camera(self.viewer).zoom
        away = abs((x0 + x1) / 2 - centre[1]) * zoom > width / 2
        if away or abs((y0 + y1) / 2 - centre[0]) * zoom > height / 2:
            camera(self.viewer).center = (0, (y0 + y1) / 2, (x0 + x1) / 2)
            camera(self.viewer).zoom = 0.9 * min(height / (y1 - y0), width / (x1 - x0))

    def _add(self, data: Any, keywords: dict[str, Any], kind: str, result: Result) -> Any:
        layer = getattr(self.viewer, f"add_{kind}")(data, **keywords)
        if "tree" in layer.metadata:
            for other in self._maps:
                other.visible = False
        lies_on_image = not beside(result) and kind in ("image", "labels")
        if lies_on_image and layer.visible:  # two maps over each other say nothing
            for other in self._maps:
                other.visible = False
            self._maps = [m for m in self._maps if m in self.viewer.layers] + [layer]
        return layer

    def _replace(
        self, layer: Any, data: Any, keywords: dict[str, Any], kind: str, result: Result
    ) -> Any:
        """Another layer in the place of one that the data do not fit; the user's choices stay."""
        place = self.viewer.layers.index(layer)
        kept = {"visible": layer.visible, "opacity": layer.opacity, "blending": layer.blending}
        self.viewer.layers.remove(layer)
        made = self._add(data, keywords | kept, kind, result)
        self.viewer.layers.move(self.viewer.layers.index(made), place)
        return made

    def restroke(self, layers: list[Any] | None = None) -> None:
        """Lines and dots keep their width on the screen (see the function of that name)."""
        restroke(self.viewer, self.layers if layers is None else layers)


def restroke(viewer: Any, layers: list[Any]) -> None:
    """Lines and dots keep their width on the screen: napari counts it in image pixels."""
    zoom = camera(viewer).zoom or 1.0
    for layer in layers:
        pixels = layer.metadata.get("pixels")
        if not pixels or not layer.visible:
            continue
        name = "size" if layer._type_string == "points" else "edge_width"
        now = np.ravel(getattr(layer, name))
        if now.size and not np.isclose(now[0], pixels / zoom):
            setattr(layer, name, pixels / zoom)


def _fits(layer: Any, data: Any, kind: str) -> bool:
    if layer._type_string != kind or getattr(data, "ndim", 0) != getattr(layer.data, "ndim", 0):
        return False
    # napari slices in the background and then looks up what it found in the data there are by now:
    # fewer of them would be too few for a slice that is still on its way
    return kind not in ("vectors", "points") or len(data) >= len(layer.data)


def update(layer: Any, data: Any, keywords: dict[str, Any], kind: str) -> None:
    """New data into a layer; looks that belong to the data follow, the user's choices stay."""
    if kind == "shapes":
        shape = keywords["shape_type"]
        layer.data = [(d, shape) for d in data]
        if isinstance(keywords["edge_color"], np.ndarray) and len(data):
            layer.edge_color, layer.face_color = keywords["edge_color"], keywords["face_color"]
        if "features" in keywords:
            layer.features = keywords["features"]
        layer.metadata.update(keywords["metadata"])
        return
    layer.data = data
    if kind == "vectors" and "features" in keywords:
        layer.features = keywords["features"]
        layer.metadata.update(keywords["metadata"])
    if kind == "vectors" and isinstance(keywords["edge_color"], np.ndarray):
        layer.edge_color = keywords["edge_color"]
    if kind == "points":
        if "features" in keywords:
            layer.features = keywords["features"]
            layer.face_contrast_limits = keywords["face_contrast_limits"]
            layer.refresh_colors()
        else:
            layer.face_color = keywords["face_color"]
    if "scale" in keywords:
        if tuple(layer.scale) != tuple(keywords["scale"]):
            layer.scale = keywords["scale"]
        if tuple(layer.translate) != tuple(keywords["translate"]):
            layer.translate = keywords["translate"]
    if "contrast_limits" in keywords:
        low, high = keywords["contrast_limits"]
        if tuple(layer.contrast_limits) != (low, high):
            layer.contrast_limits_range = low, high
            layer.contrast_limits = low, high


# -- what the viewer says ---------------------------------------------------------------------
def image_of(viewer: Any) -> Image:
    """The image to work on: of the selected layer, else the first that hrviz knows or can open.

    Raises
    ------
    HrvizError
        When there is none.
    """
    active = viewer.layers.selection.active
    for layer in ([active] if active is not None else []) + list(viewer.layers):
        known = layer.metadata.get("hrviz")
        if isinstance(known, Image):
            return known
        path = getattr(layer.source, "path", None)
        if path and layer._type_string == "image":
            with suppress(HrvizError):
                layer.metadata["hrviz"] = open_image(path)
                return layer.metadata["hrviz"]
    raise HrvizError("no image yet: choose File > Open Sample > hrviz, or open a file with hrviz")


def beside(result: Result) -> bool:
    """Whether a result is shown beside the image, not on it."""
    if isinstance(result, Picture):
        return result.box is None and result.grid is not None
    return outputs.on_output(result)


def canvas_size(viewer: Any) -> tuple[int, int]:
    """Height and width of the canvas in screen pixels."""
    try:
        height, width = viewer.window._qt_viewer.canvas.size
    except AttributeError:  # a viewer model without a window
        return 600, 800
    return int(height), int(width)


def camera(viewer: Any) -> Any:
    """The viewer's camera: it moved to `viewer.scene` in napari 0.9."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def visible(viewer: Any, image: Image) -> Box:
    """The part of the image on the screen.

    Raises
    ------
    HrvizError
        When the image is off the screen.
    """
    height, width = canvas_size(viewer)
    y, x = camera(viewer).center[-2:]
    half = height / camera(viewer).zoom / 2, width / camera(viewer).zoom / 2
    # napari's world has pixel centres at whole numbers, ours at + 0.5
    box = Box(y - half[0] + 0.5, x - half[1] + 0.5, y + half[0] + 0.5, x + half[1] + 0.5)
    cut = box.intersect(image.box)
    if cut.area <= 0:
        raise HrvizError("the image is not on the screen: press Home in napari, or take all of it")
    return cut


def drawn(viewer: Any, kind: str) -> list[np.ndarray]:
    """Points (n, 2) as (y, x), level-0 pixels, of what was drawn on the hrviz layer of a kind."""
    layer = next((la for la in viewer.layers if la.name == DRAWN[kind]), None)
    return [] if layer is None else [np.asarray(d)[:, -2:] + 0.5 for d in layer.data]


def as_text(shapes: list[np.ndarray], kind: str) -> str:
    """Drawn shapes as a parameter's text: x,y,w,h;... or x,y x,y ...;..."""
    if kind == "boxes":
        ends = [(*s.min(0), *s.max(0)) for s in shapes]
        return ";".join(Box(*e).format() for e in ends if e[2] > e[0] and e[3] > e[1])
    return ";".join(" ".join(f"{x:.6g},{y:.6g}" for y, x in s) for s in shapes)


def selected_box(viewer: Any) -> Box:
    """The bounding box of the selected shapes (else the last) of the chosen Shapes layer.

    Raises
    ------
    HrvizError
        When nothing is drawn.
    """
    active = viewer.layers.selection.active
    layers = [la for la in viewer.layers if la._type_string == "shapes" and len(la.data)]
    ours = [la for la in layers if la is active] or [la for la in layers if la.name == BOXES]
    if not ours:
        raise HrvizError("no box is drawn: press Draw > Boxes and drag one on the image")
    layer = ours[0]
    chosen = sorted(layer.selected_data) or [len(layer.data) - 1]
    points = np.concatenate([np.asarray(layer.data[k])[:, -2:] for k in chosen]) + 0.5
    return Box(*map(float, points.min(0)), *map(float, points.max(0)))


def drawing_layer(viewer: Any, kind: str) -> Any:
    """The Shapes layer to draw on, made if missing, with the right tool chosen."""
    layer = next((la for la in viewer.layers if la.name == DRAWN[kind]), None)
    if layer is None:
        layer = viewer.add_shapes(
            None, ndim=2, name=DRAWN[kind], edge_color="#E69F00", face_color="#E69F0030",
            edge_width=2 / (camera(viewer).zoom or 1),
        )  # fmt: skip
    layer.current_edge_width = 2 / (camera(viewer).zoom or 1)
    viewer.layers.selection.active = layer
    layer.mode = "add_rectangle" if kind == "boxes" else "add_path"
    return layer


def slice_in_background(viewer: Any) -> None:
    """Let this session's viewer read tiles off the GUI thread: panning never waits for one.

    The setting is marked as one of the environment's, as NAPARI_ASYNC=1 would be: napari does not
    write those to the user's settings file.
    """
    from napari.settings import get_settings

    settings = get_settings()
    if not settings.experimental.async_:
        settings.env_settings.setdefault("experimental", {})["async_"] = True
        settings.experimental.async_ = True
    with suppress(AttributeError):  # private: of a viewer older than the setting
        # plugins get a proxy that warns of private names
        getattr(viewer, "__wrapped__", viewer)._layer_slicer._force_sync = False

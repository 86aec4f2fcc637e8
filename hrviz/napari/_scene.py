"""A panel for procedural scenes: choose one, set its parameters, add it; its truth on request."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from hrviz.errors import HrvizError
from hrviz.forms import magicgui as form
from hrviz.image.image import Image, open_image
from hrviz.napari import _layers as on_screen
from hrviz.napari._reader import image_layers
from hrviz.napari._report import PRIMARY, label
from hrviz.scenes import SCENES, SceneKind
from hrviz.views import truth as known
from hrviz.views.napari import layer_data

TRUTH = "truth"
STROKE = 120  # milliseconds


class ScenePanel(QWidget):  # type: ignore[misc,unused-ignore]
    """Make a procedural scene and see what it knows of itself.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Notes
    -----
    `Add` opens the scene as a layer; moving a control and pressing it again replaces that layer in
    place, so that the view stays. Truth is drawn for what is on the screen.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form: Any = None
        self._added: list[Any] = []
        self._asked = 0
        self._build()
        self._stroke = QTimer(self)
        self._stroke.setInterval(STROKE)
        self._stroke.setSingleShot(True)
        self._stroke.timeout.connect(lambda: on_screen.restroke(self.viewer, self._drawn()))
        on_screen.camera(napari_viewer).events.zoom.connect(self._zoomed)
        on_screen.slice_in_background(napari_viewer)
        self._chosen()

    def _build(self) -> None:
        self.scenes = QComboBox()
        for name, kind in SCENES.items():
            self.scenes.addItem(kind.title, name)
        self.scenes.currentIndexChanged.connect(lambda: self._chosen())
        self.idea = label(small=True)
        self.place = QVBoxLayout()
        self.add = QPushButton("Add to the viewer")
        self.add.setStyleSheet(PRIMARY)
        self.add.clicked.connect(lambda: self.show_scene())
        self.truth = {kind: QPushButton(title) for kind, title in known.TITLES.items()}
        for what, button in self.truth.items():
            button.setToolTip("Draw what the scene knows of what is on the screen.")
            button.clicked.connect(lambda _=False, what=what: self.show_truth(what))
        self.answer = QPushButton("Answer")
        self.answer.clicked.connect(lambda: self.tell_answer())
        self.status = label()
        page = QWidget()
        rows = QVBoxLayout(page)
        rows.setSpacing(8)
        rows.setContentsMargins(8, 8, 8, 8)
        rows.addWidget(self.scenes)
        rows.addWidget(self.idea)
        rows.addLayout(self.place)
        rows.addWidget(self.add)
        rows.addWidget(label("Truth, guess first:", small=True))
        row = QHBoxLayout()
        for button in (*self.truth.values(), self.answer):
            row.addWidget(button)
        rows.addLayout(row)
        rows.addWidget(self.status)
        rows.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(320)

    # -- choosing -----------------------------------------------------------------------------
    @property
    def kind(self) -> SceneKind:
        found: SceneKind = SCENES[self.scenes.currentData()]
        return found

    def choose(self, name: str) -> None:
        """Choose a scene by name."""
        self.scenes.setCurrentIndex(self.scenes.findData(name))

    def _chosen(self) -> None:
        if self.form is not None:
            self.place.removeWidget(self.form.native)
            self.form.native.hide()
            self.form.native.deleteLater()
        self.form = form.container(self.kind)
        self.form.margins = (0, 0, 0, 0)
        self.place.addWidget(self.form.native)
        QTimer.singleShot(0, self._fit)
        self.idea.setText(". ".join(self.kind.idea.split(". ")[:2]).rstrip(".") + ".")
        self._added = []
        self._say("")

    def _fit(self) -> None:
        """Labels of one width."""
        with suppress(AttributeError, RuntimeError):  # private; done by magicgui in its own windows
            self.form._unify_label_widths()

    def sizeHint(self) -> QSize:
        """No wider than the image's neighbour should be."""
        return QSize(340, 600)

    # -- showing ------------------------------------------------------------------------------
    def show_scene(self) -> None:
        """Add the scene as it is set, in place of the one this panel added before.

        Its coarsest level, which napari reads at once, is made off the GUI thread first.
        """
        from napari.qt.threading import create_worker

        self._asked += 1
        self._say("Working ...")
        worker = create_worker(_opened, self.kind.address(**form.values(self.form)), self._asked)
        worker.returned.connect(self._opened)
        worker.start()

    def _opened(self, made: tuple[Image | str, int]) -> None:
        image, number = made
        if number != self._asked:
            return  # a newer one is on its way
        if isinstance(image, str):
            self._say(image, error=True)
            return
        self._put(image)

    def _put(self, image: Image) -> None:
        old = [la for la in self._added if la in self.viewer.layers]
        same = bool(old) and old[0].metadata["hrviz"].box == image.box
        view = tuple(on_screen.camera(self.viewer).center), on_screen.camera(self.viewer).zoom
        place = self.viewer.layers.index(old[0]) if old else len(self.viewer.layers)
        for layer in [*old, *self._drawn()]:
            self.viewer.layers.remove(layer)
        self._added = [
            getattr(self.viewer, f"add_{kind}")(data, **keywords)
            for data, keywords, kind in image_layers(image)
        ]
        for layer in self._added:
            self.viewer.layers.move(self.viewer.layers.index(layer), place)
        self.viewer.layers.selection.active = self._added[-1]
        if same:
            on_screen.camera(self.viewer).center, on_screen.camera(self.viewer).zoom = view
        else:
            self.viewer.reset_view()
        self._say(image.uri)

    def image(self) -> Image:
        """The scene on the screen, at the moment that napari's sliders show.

        Raises
        ------
        HrvizError
            When there is none, or the image is no scene.
        """
        image = on_screen.image_of(self.viewer)
        if image.truth is None:
            raise HrvizError(f"{image.name} has no truth: add a scene, or select its layer")
        steps = self.viewer.dims.current_step
        return image.at(**dict(zip(image.axes, map(int, steps), strict=False)))

    def show_truth(self, kind: str) -> list[Any]:
        """Draw one kind of truth of what is on the screen: 'mask', 'boxes' or 'points'."""
        try:
            image = self.image()
            titles = known.titles(image.truth)
            if kind not in titles:
                has = ", ".join(titles.values()).lower()
                raise HrvizError(
                    f"{image.name} knows no {known.TITLES[kind].lower()}: it has {has}"
                )
            result, hint = known.found(image.truth, on_screen.visible(self.viewer, image), kind)
        except HrvizError as error:
            self._say(str(error), error=True)
            return []
        name = f"{TRUTH}: {known.TITLES[kind].lower()}"
        for old in [la for la in list(self.viewer.layers) if la.name == name]:
            self.viewer.layers.remove(old)
        self._say(hint or name)
        if result is None:
            return []
        active = self.viewer.layers.selection.active
        out = []
        for data, keywords, layer_kind in layer_data(result, name):
            keywords["metadata"] = {**keywords.get("metadata", {}), TRUTH: True}
            out.append(getattr(self.viewer, f"add_{layer_kind}")(data, **keywords))
        self.viewer.layers.selection.active = active
        on_screen.restroke(self.viewer, out)
        return out

    def _drawn(self) -> list[Any]:
        return [layer for layer in self.viewer.layers if layer.metadata.get(TRUTH)]

    def _zoomed(self) -> None:
        self._stroke.start()

    def closeEvent(self, event: Any) -> None:
        """Nothing goes on behind a closed panel."""
        self._asked += 1
        self._stroke.stop()
        with suppress(ValueError, TypeError):
            on_screen.camera(self.viewer).events.zoom.disconnect(self._zoomed)
        super().closeEvent(event)

    def tell_answer(self) -> None:
        """The label of the whole picture."""
        try:
            self._say(f"Answer: {self.image().truth.label}")
        except HrvizError as error:
            self._say(str(error), error=True)

    def _say(self, sentence: str, error: bool = False) -> None:
        self.status.setStyleSheet("color: #E5735C;" if error else "")
        self.status.setText(sentence)


def _opened(address: str, number: int) -> tuple[Image | str, int]:
    """An image whose coarsest level lies in the cache, or one sentence; and what was asked for."""
    try:
        image = open_image(address)
        info = image.levels_info[-1]
        image.window(len(image.levels_info) - 1, 0, 0, info.height, info.width)
    except HrvizError as error:
        return str(error), number
    return image, number

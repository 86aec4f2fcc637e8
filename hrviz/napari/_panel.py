"""One panel for all methods: choose, set, apply; results become layers as they come."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QStyle,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from hrviz.errors import HrvizError
from hrviz.forms import magicgui as form
from hrviz.geometry import Box
from hrviz.method import FAMILIES, METHODS, Method
from hrviz.napari import _layers as on_screen
from hrviz.napari._density import DensityView
from hrviz.napari._memory import MemoryView
from hrviz.napari._report import PRIMARY, Report, label
from hrviz.napari._tree import TreeSteps
from hrviz.results import Step, ZoomTree
from hrviz.views import outputs
from hrviz.views.colour import amount

log = logging.getLogger("hrviz.napari")
POLL, LIVE, STROKE = 30, 200, 120  # milliseconds
DISCLAIMER = "For research and teaching, not for diagnosis."
DRAWN = "drawn"
REGIONS = {"visible": "Visible part", "whole": "Whole image", "box": "Selected box"}


class MethodPanel(QWidget):  # type: ignore[misc,unused-ignore]
    """Apply any method to the image in the viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Notes
    -----
    The work is off the GUI thread (`hrviz.run.submit`); a timer looks for new steps. Slicing of
    this viewer is made asynchronous, for this session only, so that panning never waits for tiles.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.results = on_screen.ResultLayers(napari_viewer)
        self.job: Any = None
        self.form: Any = None
        self._seen = -1
        self._image: Any = None
        self._region: Box | None = None
        self._shown: dict[str, Step] = {}
        self._watched: set[int] = set()
        self._before = ""  # saliency before something was drawn
        self._poll = self._timer(POLL, self._look, single=False)
        self._later = self._timer(LIVE, lambda: self.apply(again=True))
        self._restroke = self._timer(STROKE, self.results.restroke)
        self._build()
        on_screen.camera(napari_viewer).events.zoom.connect(self._zoomed)
        on_screen.slice_in_background(napari_viewer)
        self.choose(next(iter(METHODS)))

    # -- building -----------------------------------------------------------------------------
    def _timer(self, milliseconds: int, call: Any, single: bool = True) -> QTimer:
        timer = QTimer(self)
        timer.setInterval(milliseconds)
        timer.setSingleShot(single)
        timer.timeout.connect(call)
        return timer

    def _build(self) -> None:
        self.methods = QComboBox()
        for family, title in FAMILIES.items():
            members = [m for m in METHODS.values() if m.family == family]
            if members:
                self.methods.addItem(title.upper())
                self.methods.model().item(self.methods.count() - 1).setEnabled(False)
            for m in members:
                self.methods.addItem(m.title, m.name)
        self.methods.currentIndexChanged.connect(lambda: self._set_method())
        self.idea = label(small=True)
        self.place = QVBoxLayout()
        self.region = QComboBox()
        for key, title in REGIONS.items():
            self.region.addItem(title, key)
        self.draw = QPushButton("Boxes")
        self.draw.setToolTip("Drag a box on the image: the warp follows. Delete it to go back.")
        self.draw.clicked.connect(lambda: self._draw("boxes"))
        self.strokes = QPushButton("Strokes")
        self.strokes.clicked.connect(lambda: self._draw("strokes"))
        self.go = QPushButton("Apply")
        self.go.setStyleSheet(PRIMARY)
        self.go.clicked.connect(self.apply)
        self.stop = QPushButton("Cancel")
        self.stop.clicked.connect(self.cancel)
        self.stop.setEnabled(False)
        self.live = QCheckBox("Live")
        self.live.setToolTip("Apply again as soon as a control is moved.")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(4)
        self.progress.setMaximum(1000)
        self.status = label()
        self.report = Report(self.results.show)
        self.tree = TreeSteps(self.viewer)
        self.density = DensityView(lambda: form.values(self.form))
        self.memory = MemoryView(self.viewer)
        self._arrange()

    def _arrange(self) -> None:
        page = QWidget()
        rows = QVBoxLayout(page)
        rows.setSpacing(8)
        rows.setContentsMargins(8, 8, 8, 8)
        rows.addWidget(self.methods)
        rows.addWidget(self.idea)
        rows.addLayout(self.place)
        for buttons in (
            (QLabel("Region"), self.region, QLabel("Draw"), self.draw, self.strokes),
            (self.go, self.stop, self.live),
        ):
            row = QHBoxLayout()
            for button in buttons:
                row.addWidget(button)
            row.addStretch()
            rows.addLayout(row)
        for widget in (self.progress, self.status, self.tree, self.report, self.density):
            rows.addWidget(widget)
        rows.addWidget(label(DISCLAIMER, small=True))
        rows.addStretch()
        self.page = page
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(scroll, "Method")
        self.tabs.addTab(self.memory, "Memory")
        outer.addWidget(self.tabs)

    # -- choosing -----------------------------------------------------------------------------
    @property
    def method(self) -> Method:
        return METHODS[self.methods.currentData()]

    def choose(self, name: str) -> None:
        """Choose a method by name, alias or function name."""
        index = self.methods.findData(METHODS.find(name).name)
        if self.methods.currentIndex() == index:
            self._set_method()
        self.methods.setCurrentIndex(index)

    def _set_method(self) -> None:
        if self.methods.currentData() is None:
            return
        self.cancel()
        if self.form is not None:
            self.place.removeWidget(self.form.native)
            self.form.native.hide()
            self.form.native.deleteLater()
        method = self.method
        self.form = form.container(method)
        self.form.margins = (0, 0, 0, 0)
        self.place.addWidget(self.form.native)
        QTimer.singleShot(0, self._fit)
        self.form.changed.connect(self._changed)
        self.density.choose(method)
        self.idea.setText(f"{method.idea}<br/><i>Survey {method.section}; {method.paper}</i>")
        self.strokes.setVisible(any(p.kind == "strokes" for p in method.params))
        for kind in on_screen.DRAWN:
            self._take(kind)

    def _fit(self) -> None:
        """Labels of one width, and the panel as wide as what it holds."""
        with suppress(AttributeError, RuntimeError):  # private; done by magicgui in its own windows
            self.form._unify_label_widths()
        bar = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
        self.setMinimumWidth(min(420, max(320, self.page.minimumSizeHint().width() + bar)))

    def _changed(self) -> None:
        if self.live.isChecked():
            self._later.start()

    # -- drawing ------------------------------------------------------------------------------
    def _draw(self, kind: str) -> None:
        layer = on_screen.drawing_layer(self.viewer, kind)
        if id(layer) not in self._watched:
            self._watched.add(id(layer))
            layer.events.data.connect(lambda: self._drew(kind))

    def _drew(self, kind: str) -> None:
        """A shape came, moved or went: the saliency is what is drawn, and the warp follows.

        With the last shape gone, the saliency is what it was before.
        """
        if not self._take(kind):
            return
        param = next((p for p in self.method.params if p.name == "saliency"), None)
        if param is None or DRAWN not in param.choices:
            return
        source = self.form["saliency"]
        kinds = {p.kind for p in self.method.params} & set(on_screen.DRAWN)
        if any(on_screen.drawn(self.viewer, k) for k in kinds):
            if source.value != DRAWN:
                self._before, source.value = str(source.value), DRAWN
        elif source.value == DRAWN:
            others = (
                c for c in (self._before, param.default, *param.choices) if c in param.choices
            )
            source.value = next(c for c in others if c != DRAWN)
        self._later.start()

    def _take(self, kind: str) -> bool:
        """What is drawn becomes the value of the parameters of that kind; whether it is another."""
        text = on_screen.as_text(on_screen.drawn(self.viewer, kind), kind)
        changed = False
        for param in self.method.params:
            if param.kind == kind and text != self.form[param.name].value:
                self.form[param.name].value = text
                changed = True
        return changed

    def _where(self, image: Any) -> Box | None:
        match self.region.currentData():
            case "visible":
                return on_screen.visible(self.viewer, image)
            case "box":
                return on_screen.selected_box(self.viewer)
        return None

    # -- running ------------------------------------------------------------------------------
    def apply(self, *_: Any, again: bool = False) -> None:
        """Run the method; a run still going on is cancelled.

        Parameters
        ----------
        again : bool
            On the region of the run before (live), wherever the viewer has moved since.
        """
        from hrviz.run import submit

        self.cancel()
        try:
            image = on_screen.image_of(self.viewer)
            kept = again and self._image is image
            region = self._region if kept else self._where(image)
            focus = (region or image.box).centre
            params = form.values(self.form)
            self.job = submit(self.method.name, image, region, params, focus)
        except HrvizError as error:
            self._say(str(error), error=True)
            return
        self._image, self._region = image, region
        if self.results.method != self.method.name:
            self._shown.clear()
            self.report.clear()
            self.tree.forget()
        self.results.start(self.method.name)
        self._seen = -1
        self.stop.setEnabled(True)
        self._say("Working ...")
        self._poll.start()
        self._look()

    def cancel(self) -> None:
        """Stop the run that is going on, if any."""
        self._later.stop()
        self._poll.stop()
        if self.job is not None and not self.job.done:
            self.job.cancel()
            self._say("Cancelled.")
        self.job = None
        self.stop.setEnabled(False)
        self.progress.setValue(0)

    def _look(self) -> None:
        job = self.job
        if job is None or job.version == self._seen:
            return
        self._seen = job.version
        done = job.done  # before the steps: what comes after is seen next time
        for name, step in dict(job.steps).items():
            if self._shown.get(name) is not step:
                self._shown[name] = step
                self._display(step)
                self.report.note(step)
        self.progress.setValue(round(1000 * job.progress))
        if done:
            self._end(job)

    def _display(self, step: Step) -> None:
        new = step.name not in self.results
        try:
            made = self.results.put(step)
        except Exception as error:  # one step that cannot be drawn must not stop the others
            log.exception("showing %s", step.name)
            self._say(f"{step.name} could not be shown: {error}", error=True)
            return
        self._say(step.name)
        if isinstance(step.result, ZoomTree):
            self.tree.follow(made[0])
        if new and self._region is None and on_screen.beside(step.result):
            self.viewer.reset_view()  # a picture beside the whole image: show both

    def _end(self, job: Any) -> None:
        self._poll.stop()
        self.stop.setEnabled(False)
        self.progress.setValue(0)
        self.job = None
        if job.error:
            self._say(job.error, error=True)
        elif job.cancelled:
            self._say("Cancelled.")
        elif job.run is not None:
            for name in set(self._shown) - set(job.steps):
                self._shown.pop(name)  # other settings, other steps
                self.report.forget(name)
                self.results.drop(name)
            if not outputs.trees(self._shown):
                self.tree.forget()
            seconds = job.run.cost.get("seconds") or 0.0
            again = ", from the cache" if getattr(job.run, "cached", False) else ""
            self._say(f"Done in {amount(seconds, 's')}{again}.")
            self.report.costs(job.run.cost)

    # -- telling ------------------------------------------------------------------------------
    def _say(self, sentence: str, error: bool = False) -> None:
        self.status.setStyleSheet("color: #E5735C;" if error else "")
        self.status.setText(sentence)

    def _zoomed(self) -> None:
        self._restroke.start()

    def closeEvent(self, event: Any) -> None:
        """Nothing goes on behind a closed panel."""
        self.cancel()
        self.density.cancel()
        self.memory.close()
        self.tree.close()
        with suppress(ValueError, TypeError):
            on_screen.camera(self.viewer).events.zoom.disconnect(self._zoomed)
        super().closeEvent(event)

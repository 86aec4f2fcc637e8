"""What resolution costs, as a tab of the panel: which subjects, how they are used, what fits.

Nothing is measured: a worker process meters with fake tensors (`hrviz.cost.study_job`), so that a
slide of ten gigapixels is asked as quickly as a thumbnail.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from hrviz.cost import study_job
from hrviz.cost.devices import DEVICES
from hrviz.cost.study import SIDES, Setting, Study, Subject, subjects
from hrviz.errors import HrvizError
from hrviz.napari import _layers as on_screen
from hrviz.napari._report import label
from hrviz.views import costs, ticks

POLL, SETTLE, RENEW = 100, 500, 700  # milliseconds
NAME = Qt.ItemDataRole.UserRole
CHECK = Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled


class MemoryView(QWidget):  # type: ignore[misc,unused-ignore]
    """Curves of cost against resolution, the largest image that a device holds, and this image.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Its image, if there is one, is asked about too.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.job: study_job.StudyJob | None = None
        self.study: Study | None = None
        self.fits: dict[Any, Any] = {}
        self.image = 0  # its longer side
        self._known: dict[str, Subject] | None = None
        self._problem = ""
        self._seen = -1
        self._shown = False
        self._build()
        self._poll = self._timer(POLL, self.look, single=False)
        self._again = self._timer(SETTLE, self.work_out)
        self._redraw = self._timer(RENEW, self._draw)  # drawing takes a while: not at every point
        for event in self._events():
            event.connect(self._layers_changed)

    # -- building -----------------------------------------------------------------------------
    def _timer(self, milliseconds: int, call: Any, single: bool = True) -> QTimer:
        timer = QTimer(self)
        timer.setInterval(milliseconds)
        timer.setSingleShot(single)
        timer.timeout.connect(call)
        return timer

    def _build(self) -> None:
        self.tree = QTreeWidget()
        self.tree.setHeaderHidden(True)
        self.tree.setIndentation(12)
        self.tree.setFixedHeight(150)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.tree.itemChanged.connect(lambda *_: self._later())
        self.use = self._choice("use", costs.USES)
        self.optimiser = self._choice("optimiser", costs.OPTIMISERS)
        self.batch = QSpinBox()
        self.batch.setRange(1, 1024)
        self.batch.setToolTip(costs.TIPS["batch"])
        self.batch.valueChanged.connect(lambda _: self._later())
        self.dtype = self._choice("dtype", {d: d for d in costs.DTYPES})
        self.network = self._choice("network", {"": "Their own"})
        self.reduction = self._choice("reduction", costs.REDUCTIONS)
        devices = {name: d.title for name, d in DEVICES.items()}
        self.device = self._choice("device", devices | {costs.ALL: "All of them"})
        self.device.setCurrentIndex(self.device.findData(costs.DEVICE))
        self.quantity = self._choice("quantity", costs.QUANTITIES)
        self.quantity.currentIndexChanged.connect(lambda _: self._draw())
        self.go = QPushButton("Work out")
        self.go.clicked.connect(self._pressed)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(4)
        self.progress.setMaximum(1000)
        self.status = label(small=True)
        self.picture, self.parts = _Picture(), _Picture()
        self.said = label()
        self.said.setTextFormat(Qt.TextFormat.RichText)
        self.held = label(small=True)
        self._arrange()

    def _choice(self, name: str, options: dict[Any, str]) -> QComboBox:
        out = QComboBox()
        for value, text in options.items():
            out.addItem(text, value)
        out.setToolTip(costs.TIPS[name])
        if name != "quantity":  # which is drawn from what is known
            out.currentIndexChanged.connect(lambda _: self._later())
        return out

    def _arrange(self) -> None:
        page = QWidget()
        rows = QVBoxLayout(page)
        rows.setSpacing(8)
        rows.setContentsMargins(8, 8, 8, 8)
        rows.addWidget(label("What a network fed the whole image needs, and what methods need instead: predicted, nothing is run.", small=True))  # fmt: skip
        rows.addWidget(self.tree)
        grid = QGridLayout()
        grid.setSpacing(4)
        pairs = (
            ("Use", (self.use,)), ("Optimiser", (self.optimiser,)), ("Batch", (self.batch, self.dtype)),
            ("Task network", (self.network,)), ("Output", (self.reduction,)),
            ("Device", (self.device,)), ("Show", (self.quantity,)),
        )  # fmt: skip
        for row, (text, fields) in enumerate(pairs):
            grid.addWidget(QLabel(text), row, 0)
            for column, entry in enumerate(fields):
                if isinstance(entry, QComboBox):  # a long entry must not widen the panel
                    entry.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)  # fmt: skip
                    entry.setMinimumContentsLength(4)
                entry.setMinimumWidth(80)
                entry.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
                grid.addWidget(entry, row, 1 + column, 1, 2 // len(fields))
        rows.addLayout(grid)
        for widget in (self.go, self.progress, self.status, self.picture, self.said, self.parts, self.held):  # fmt: skip
            rows.addWidget(widget)
        rows.addStretch()
        self.progress.hide()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.page = page

    # -- what can be asked ----------------------------------------------------------------------
    def showEvent(self, event: Any) -> None:
        """The first time: find out, away from the GUI's thread, what cost can be asked of."""
        super().showEvent(event)
        if not self._shown:
            self._shown = True
            self._say("Looking up networks and methods ...")
            threading.Thread(target=self._find, daemon=True).start()
            self._poll.start()
        elif self._side() != self.image:
            self._later()

    def _find(self) -> None:
        try:
            self._known = subjects()
        except Exception as error:
            self._problem = f"Costs cannot be worked out here: {error}"

    def _fill(self, known: dict[str, Subject]) -> None:
        self.tree.blockSignals(True)
        for title, members in costs.groups(known).items():
            head = QTreeWidgetItem(self.tree, [f"{title} ({len(members)})"])
            head.setFlags(Qt.ItemFlag.ItemIsEnabled)
            for s in members:
                entry = QTreeWidgetItem(head, [ticks.title(s.name)])
                entry.setFlags(CHECK)
                entry.setData(0, NAME, s.name)
                chosen = s.name in costs.SUBJECTS
                entry.setCheckState(0, Qt.CheckState.Checked if chosen else Qt.CheckState.Unchecked)
                entry.setToolTip(0, s.note)
                if chosen:
                    head.setExpanded(True)
        self.tree.blockSignals(False)
        self.network.blockSignals(True)
        for s in known.values():
            if s.group == "network":
                self.network.addItem(ticks.title(s.name), s.name)
        self.network.blockSignals(False)

    def _entries(self) -> list[QTreeWidgetItem]:
        heads = [self.tree.topLevelItem(k) for k in range(self.tree.topLevelItemCount())]
        return [h.child(k) for h in heads for k in range(h.childCount())]

    @property
    def names(self) -> list[str]:
        """The chosen subjects."""
        checked = Qt.CheckState.Checked
        return [e.data(0, NAME) for e in self._entries() if e.checkState(0) == checked]

    def choose(self, names: Sequence[str]) -> None:
        """Choose subjects by name."""
        for entry in self._entries():
            on = entry.data(0, NAME) in names
            entry.setCheckState(0, Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    @property
    def setting(self) -> Setting:
        """As the controls say."""
        training = self.use.currentData() == "training"
        return Setting(
            self.batch.value(), self.dtype.currentData(), training,
            self.optimiser.currentData() if training else None,
            self.network.currentData(), self.reduction.currentData(),
        )  # fmt: skip

    # -- this image -----------------------------------------------------------------------------
    def _events(self) -> list[Any]:
        layers = self.viewer.layers
        return [layers.events.inserted, layers.events.removed, layers.selection.events.active]

    def _layers_changed(self, *_: Any) -> None:
        if self.isVisible() and self._known is not None and self._side() != self.image:
            self._later()

    def _side(self) -> int:
        """Longer side of the open image; 0 without one."""
        with suppress(HrvizError):
            image = on_screen.image_of(self.viewer)
            return int(max(image.height, image.width))
        return 0

    # -- working out ----------------------------------------------------------------------------
    def _later(self) -> None:
        self.optimiser.setEnabled(self.use.currentData() == "training")
        if self._known is not None:
            self._again.start()

    def _pressed(self) -> None:
        if self.job is not None:
            self.cancel()
            self._say("Cancelled.")
        else:
            self.work_out()

    def work_out(self) -> None:
        """Ask for what the controls say; what was asked before is cancelled."""
        self.cancel()
        if self._known is None:
            return
        self.image = self._side()
        sides = costs.sides(SIDES, self.image)
        try:
            budgets = costs.budgets(self.device.currentData())
            self.job = study_job.submit(self.names, sides, self.setting, tuple(budgets.values()))
        except HrvizError as error:
            self._say(str(error), error=True)
            return
        self._seen = -1
        self.go.setText("Cancel")
        self.progress.setValue(0)
        self.progress.show()
        self._say("")
        self._poll.start()

    def cancel(self) -> None:
        """Stop what is worked out, if anything; what is known stays."""
        self._again.stop()
        if self.job is not None:
            self.job.cancel()
            self._end()

    def _end(self) -> None:
        self._poll.stop()
        self.job = None
        self.go.setText("Work out")
        self.progress.hide()

    def look(self) -> None:
        """Show what is known by now."""
        if self.job is None:
            if self._problem:
                self._poll.stop()
                self._say(self._problem, error=True)
            elif self._known is not None and not self.tree.topLevelItemCount():
                self._fill(self._known)
                self.work_out()
            return
        job = self.job
        if job.version == self._seen:
            return
        done = job.done  # before the rest: what comes after is seen next time
        self._seen = job.version
        self.study, self.fits = job.study, job.fits
        self.progress.setValue(round(1000 * job.progress))
        left = job.seconds_left
        self._say(f"About {max(1, round(left))} s left" if left and left > 3 else "")
        if not (done or self._redraw.isActive()):
            self._redraw.start()
        if done:
            self._draw()
            if job.error:
                self._say(job.error, error=True)
            self._end()

    def _say(self, sentence: str, error: bool = False) -> None:
        self.status.setStyleSheet(
            "color: #E5735C;" if error else "font-size: 11px; color: #A3A9B1;"
        )
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))

    # -- showing ---------------------------------------------------------------------------------
    def resizeEvent(self, event: Any) -> None:
        """Pictures as wide as the panel."""
        super().resizeEvent(event)
        self._redraw.start()

    def _draw(self) -> None:
        study = self.study
        if study is None:
            return
        from hrviz.views import mpl

        width = max(280, self.page.width() - 16) / 100
        of = self.quantity.currentData()
        found = costs.curve(study, of, costs.budgets(self.device.currentData()), self.image)
        self.picture.setVisible(found is not None)
        if found is not None:
            lines = len(found.series) + 1
            high = 2.5 + 0.15 * lines
            self.picture.put(costs.picture(width, high, lambda ax: mpl.draw(found, ax)))
        self.said.setText("".join(self._told(study, name) for name in study.points))
        here = [p for n in study.points if (p := costs.point(study, n, self.image)) is not None]
        here = [p for p in here if p.peak]
        self.parts.setVisible(bool(here))
        self.held.setVisible(bool(here))
        if not here:
            return
        high = 0.5 + 0.42 * len(here)
        self.parts.put(costs.picture(width, high, lambda ax: costs.breakdown(here, ax)))
        place = max(here, key=lambda p: p.peak)
        top = place.largest
        assert top is not None
        at = top.measure.peak_at
        self.held.setText(
            f"What tensors take at the worst moment, for this image. In "
            f"{ticks.title(place.subject)} that is in the {at.phase} pass, in "
            f"{at.operator}{f' of {at.module}' if at.module else ''}. Needed is more: the "
            "allocator rounds up and leaves gaps."
        )

    def _told(self, study: Study, name: str) -> str:
        text = costs.sentence(study, name, self.fits, self.image)
        if not text:
            return ""
        grows = "" if name in study.problems else costs.growth(study, name)
        words = html.escape(f"{text} {costs.grows(grows)}".strip())
        return f"<p style='margin:0 0 6px 0'><b>{html.escape(ticks.title(name))}</b><br/>{words}</p>".replace(
            "\u2009", "\u202f"
        )

    def closeEvent(self, event: Any) -> None:
        """Nothing goes on behind a closed panel."""
        self.cancel()
        self._poll.stop()
        for event_ in self._events():
            with suppress(ValueError, TypeError):
                event_.disconnect(self._layers_changed)
        super().closeEvent(event)


class _Picture(QLabel):  # type: ignore[misc,unused-ignore]
    """A picture that does not keep its panel from becoming narrower."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.hide()

    def put(self, png: bytes) -> None:
        """Show a PNG."""
        pixmap = QPixmap()
        pixmap.loadFromData(png)
        self.setPixmap(pixmap)
        self.setFixedHeight(pixmap.height())

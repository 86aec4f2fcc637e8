"""Cost against density in the panel: measured when asked for, in the background, drawn as a curve."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from hrviz.cost.density import Density, has_tree
from hrviz.cost.density_job import DensityJob, submit
from hrviz.errors import HrvizError
from hrviz.method import Method
from hrviz.napari._report import label

POLL = 100  # milliseconds
SIZE = 3.0, 2.5  # inches at 100 pixels each: fits the panel at its narrowest
TIP = (
    "Run the method on its example scene, with few objects and with many, with the settings above."
)


class DensityView(QWidget):  # type: ignore[misc,unused-ignore]
    """A button that measures (and cancels), the curve so far, and what it says in a sentence.

    Parameters
    ----------
    values : callable
        The parameters of the chosen method, as set.
    """

    def __init__(self, values: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self.values = values
        self.method: Method | None = None
        self.job: DensityJob | None = None
        self._seen: Density | None = None
        self.go = QPushButton("Cost against density")
        self.go.setToolTip(TIP)
        self.go.clicked.connect(self._pressed)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(4)
        self.progress.setMaximum(1000)
        self.picture = QLabel()
        self.said = label()
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        for widget in (self.go, self.progress, self.picture, self.said):
            rows.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL)
        self._timer.timeout.connect(self.look)

    def choose(self, method: Method) -> None:
        """Another method: what was measured of the one before goes; hidden for those without a tree."""
        self.cancel()
        self.method, self._seen = method, None
        self.said.clear()
        for widget in (self.progress, self.picture):
            widget.hide()
        self.setVisible(has_tree(method))

    def _pressed(self) -> None:
        if self.job is not None:
            self.cancel()
            return
        assert self.method is not None
        try:
            self.job = submit(self.method, params=self.values())
        except HrvizError as error:
            self.said.setText(str(error))
            return
        self._seen = None
        self.go.setText("Cancel")
        self.progress.show()
        self._timer.start()
        self.look()

    def cancel(self) -> None:
        """Stop what is being measured, if anything; the curve so far stays."""
        if self.job is not None:
            self.job.cancel()
            self._end()

    def look(self) -> None:
        """Show what is known by now."""
        job = self.job
        if job is None:
            return
        done = job.done  # before the rest: what comes after is seen next time
        self.progress.setValue(round(1000 * job.progress))
        found = job.density
        if found is not None and found is not self._seen:
            self._seen = found
            pixmap = QPixmap()
            pixmap.loadFromData(_png(found))
            self.picture.setPixmap(pixmap)
            self.picture.show()
            self.said.setText(found.note)
        if done:
            if job.error:
                self.said.setText(job.error)
            self._end()

    def _end(self) -> None:
        self._timer.stop()
        self.job = None
        self.go.setText("Cost against density")
        self.progress.hide()


def _png(found: Density) -> bytes:
    """The curve from 0 upwards, small."""
    from matplotlib.figure import Figure

    from hrviz.views import mpl

    figure = Figure(figsize=SIZE, layout="constrained")
    mpl.draw(found.curve, figure.add_subplot()).set_ylim(bottom=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()

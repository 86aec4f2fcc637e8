"""Zoom trees in the panel: the decisions one by one, what is told of each, and what they cost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from hrviz.napari._report import label
from hrviz.results import Node, ZoomTree
from hrviz.views import tree as trees

LONG, SHORT = 20_000, 1_500  # milliseconds that playing all decisions takes, at most and at least
EACH, FRAME = 300, 50


class TreeSteps(QWidget):  # type: ignore[misc,unused-ignore]
    """A slider over the decisions of the tree last shown; nodes after it are not drawn.

    Parameters
    ----------
    viewer : napari.Viewer
        A click on a node of the tree says why it was decided so.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.layer: Any = None
        self._part = 0.0  # of the next decision, while playing
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip("Decisions in the order they were made.")
        self.slider.valueChanged.connect(lambda _: self._show())
        self.play = QPushButton("Play")
        self.play.setCheckable(True)
        self.play.toggled.connect(self._playing)
        self.count = QLabel()
        self.said = label()
        self.totals = label(small=True)
        self._timer = QTimer(self)
        self._timer.setInterval(FRAME)
        self._timer.timeout.connect(self._next)
        row = QHBoxLayout()
        for widget in (self.play, self.slider, self.count):
            row.addWidget(widget)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(row)
        rows.addWidget(self.said)
        rows.addWidget(self.totals)
        viewer.mouse_drag_callbacks.append(self._clicked)
        self.hide()

    @property
    def tree(self) -> ZoomTree:
        """The tree that is shown; an empty one where there is none."""
        known = self.layer is not None and self.layer in self.viewer.layers
        return self.layer.metadata["tree"] if known else ZoomTree(())

    def follow(self, layer: Any) -> None:
        """A tree came, or more of it: who was at its end stays at the end."""
        ended = self.layer is None or self.slider.value() >= self.slider.maximum()
        self.layer = layer
        n, step = len(self.tree.nodes), self.slider.value()
        self.slider.blockSignals(True)
        self.slider.setRange(0, n)
        self.slider.setValue(n if ended else min(step, n))
        self.slider.blockSignals(False)
        self.setVisible(True)
        self._show(drawn=ended)

    def forget(self) -> None:
        """The tree is no more."""
        self.play.setChecked(False)
        self.layer = None
        self.hide()

    def close(self) -> bool:
        """Clicks on the image are nobody's any more."""
        self.forget()
        with suppress(ValueError):
            self.viewer.mouse_drag_callbacks.remove(self._clicked)
        return bool(super().close())

    # -- the decisions ------------------------------------------------------------------------
    def _show(self, drawn: bool = False) -> None:
        tree, step = self.tree, self.slider.value()
        self.count.setText(f"{step} of {len(tree.nodes)}")
        self.totals.setText(" \u00b7 ".join(trees.totals(tree, step)))
        if not tree.nodes:
            self._say(None, "No decision yet: nothing was looked at.")
        elif step in (0, len(tree.nodes)):
            self._say(None, f"{len(tree.nodes)} decisions. Click a node to see why.")
        else:
            self._say(tree.nodes[step - 1])
        if not drawn and self.layer is not None:
            reveal(self.layer, step)

    def _say(self, node: Node | None, else_: str = "") -> None:
        self.said.setText(trees.sentence(node, self.tree.score_label) if node else else_)

    def _clicked(self, viewer: Any, event: Any) -> Any:
        """Pressed and released in one place: what was decided there."""
        pressed, moved = event.pos, False
        yield
        while event.type == "mouse_move":
            moved = moved or bool(np.abs(np.subtract(event.pos, pressed)).max() > 3)
            yield
        if moved or not self.tree.nodes or not self.layer.visible:
            return
        y, x = (v + 0.5 for v in event.position[-2:])  # napari's pixel centres are whole numbers
        node = trees.at(self.tree, y, x, self.slider.value())
        if node is not None:
            self._say(node)
            viewer.status = trees.sentence(node, self.tree.score_label)

    # -- playing ------------------------------------------------------------------------------
    def _playing(self, on: bool) -> None:
        self.play.setText("Pause" if on else "Play")
        if not on:
            self._timer.stop()
            return
        if self.slider.value() >= self.slider.maximum():
            self.slider.setValue(0)
        self._timer.start()

    def _next(self) -> None:
        n = max(self.slider.maximum(), 1)
        time = float(np.clip(EACH * n, SHORT, LONG))
        self._part += FRAME * n / time
        whole, self._part = divmod(self._part, 1)
        self.slider.setValue(self.slider.value() + int(whole))
        if self.slider.value() >= n:
            self.play.setChecked(False)


def reveal(layer: Any, count: int) -> None:
    """Draw the first `count` nodes of a tree's layer, the others not."""
    inks, faces = layer.metadata["inks"].copy(), layer.metadata["faces"]
    inks[count:, 3] = 0
    if layer._type_string == "vectors":
        layer.edge_color = np.repeat(inks, 4, axis=0)
        return
    layer.edge_color = inks
    inks[:, 3] = np.where(np.arange(len(inks)) < count, faces, 0)
    layer.face_color = inks
    tags = np.array([trees.name(node) for node in layer.metadata["tree"].nodes], object)
    tags[count:] = ""
    if list(layer.features["tag"]) != list(tags):
        layer.features = layer.features.assign(tag=tags)
        layer.refresh_text()

"""What a run told: notes of its steps, the badge of its source, its costs."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHeaderView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from hrviz.results import Cost, Prediction, Step
from hrviz.views.colour import amount, number

RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
QUANTITIES = ("seconds", "flops", "peak_memory", "network_memory", "parameters", "pixels_read")
PRIMARY = "QPushButton {background: #0B61C2; color: white; font-weight: 600; padding: 5px 16px;}"
NAME = Qt.ItemDataRole.UserRole


def label(text: str = "", small: bool = False) -> QLabel:
    """A wrapped text."""
    out = QLabel(text)
    out.setWordWrap(True)
    out.setTextFormat(Qt.TextFormat.AutoText)
    if small:
        out.setStyleSheet("font-size: 11px; color: #A3A9B1;")
    return out


class Report(QWidget):  # type: ignore[misc,unused-ignore]
    """Steps (click one to see it), badge and cost table.

    Parameters
    ----------
    show : callable
        Called with the name of a step that was clicked.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.steps = QListWidget()
        self.steps.setWordWrap(True)
        self.steps.setFixedHeight(112)
        self.steps.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.steps.itemClicked.connect(lambda item: show(item.data(NAME)))
        self.badge = label(small=True)
        self.cost = QTableWidget(0, 3)
        self.cost.setHorizontalHeaderLabels(["cost", "value", "how known"])
        self.cost.verticalHeader().hide()
        self.cost.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.cost.setShowGrid(False)
        self.cost.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.cost.hide()
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        for widget in (self.steps, self.badge, self.cost):
            rows.addWidget(widget)

    def clear(self) -> None:
        """Another method follows."""
        self.steps.clear()
        self.badge.clear()
        self.cost.hide()

    def item(self, name: str) -> QListWidgetItem | None:
        """The entry of a step."""
        items = (self.steps.item(k) for k in range(self.steps.count()))
        return next((i for i in items if i.data(NAME) == name), None)

    def note(self, step: Step) -> None:
        """A step's sentence; numbers of predictions with it, for they have no layer."""
        text = f"{step.name}: {step.note}" if step.note else step.name
        if isinstance(step.result, Prediction):
            unit = f" {step.result.unit}" if step.result.unit else ""
            text += "".join(f"\n    {k}  {number(v)}{unit}" for k, v in step.result.values.items())
        entry = self.item(step.name)
        if entry is None:
            entry = QListWidgetItem()
            entry.setData(NAME, step.name)
            self.steps.addItem(entry)
        entry.setText(text)
        source = getattr(step.result, "source", "")
        if source:
            self.badge.setText(f"Source: {source}")

    def forget(self, name: str) -> None:
        """A step that is no more."""
        entry = self.item(name)
        if entry is not None:
            self.steps.takeItem(self.steps.row(entry))

    def costs(self, cost: Cost) -> None:
        """The run's costs, each with its unit and how it is known."""
        rows = [cost[name] for name in QUANTITIES if cost.get(name) is not None]
        self.cost.setRowCount(len(rows))
        for k, q in enumerate(rows):
            texts = q.name.replace("_", " "), amount(q.value, q.unit), q.tag
            for column, text in enumerate(texts):
                entry = QTableWidgetItem(text)
                entry.setToolTip(q.note)
                if column == 1:
                    entry.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.cost.setItem(k, column, entry)
        self.cost.resizeRowsToContents()
        high = sum(self.cost.rowHeight(k) for k in range(len(rows)))
        self.cost.setFixedHeight(high + self.cost.horizontalHeader().sizeHint().height() + 4)
        self.cost.show()

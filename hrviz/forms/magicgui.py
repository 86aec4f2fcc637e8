"""Parameters as magicgui widgets, built one by one from our `Param` (never from a signature)."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, Container, LogSlider, create_widget

from hrviz.forms import PICTURES, Declared, label, ladder, long, settled, span, split
from hrviz.method import Param
from hrviz.views.colour import number

MORE = "_more"


class RungSlider(LogSlider):  # type: ignore[misc,unused-ignore]
    """A slider over the rungs of a ladder: exact values, told in the label.

    magicgui's own logarithmic slider rounds to its hundred positions (0.3 becomes 0.295) and reads
    out the position instead of the value.
    """

    def __init__(self, param: Param, **options: Any) -> None:
        self._rungs, self._title = ladder(param), label(param)
        low, high = self._rungs[0], self._rungs[-1]
        super().__init__(min=low, max=high, max_pos=len(self._rungs) - 1, **options)
        self._widget._mgui_set_readout_visibility(False)
        self.value = param.default
        self.changed.connect(self._tell)
        self._tell()

    def _tell(self, *_: Any) -> None:
        self.label = f"{self._title}: {number(self.value)}"

    def _value_from_position(self, position: float) -> float:
        return self._rungs[int(position)]

    def _position_from_value(self, value: float) -> float:
        return min(range(len(self._rungs)), key=lambda k: abs(self._rungs[k] - value))


def container(declared: Declared) -> Container[Any]:
    """All controls of a method or scene; `container.changed` fires on every change."""
    widgets = {p.name: _widget(p) for p in declared.params}
    order = sorted(declared.params, key=lambda p: not p.control.basic)
    rows: list[Any] = [widgets[p.name] for p in order if p.control.basic]
    if len(rows) < len(order):
        rows += [CheckBox(value=False, text="More controls", name=MORE, label="")]
        rows += [widgets[p.name] for p in order if not p.control.basic]
    out: Container[Any] = Container(widgets=rows, labels=True)
    out.hrviz_declared = declared
    out.changed.connect(lambda: refresh(out))
    refresh(out)
    return out


def refresh(box: Container[Any]) -> None:
    """Show the controls that matter now."""
    declared: Declared = box.hrviz_declared
    basic, more = split(declared, values(box))
    has_more = any(not p.control.basic for p in declared.params)
    shown = {p.name for p in basic}
    if has_more and box[MORE].value:
        shown |= {p.name for p in more}
    for param in declared.params:
        box[param.name].visible = param.name in shown


def values(box: Container[Any]) -> dict[str, Any]:
    """The parameters as they are set."""
    declared: Declared = box.hrviz_declared
    return {p.name: _value(p, box[p.name].value) for p in declared.params}


def _value(param: Param, value: Any) -> Any:
    if param.kind == "file":
        return None if value in (None, "") or str(value) == "." else param.check(str(value))
    return settled(param, value)


def _widget(param: Param) -> Any:
    kind = "LineEdit"
    options: dict[str, Any] = {}
    value = param.default
    match param.kind:
        case "number" | "integer":
            low, high, step = span(param)
            whole = param.kind == "integer"
            options = {"min": low, "max": high, "step": step}
            if param.control.log and not long(param):
                return RungSlider(param, name=param.name, tooltip=param.control.help)
            if long(param):
                kind = "SpinBox" if whole else "FloatSpinBox"
            else:
                kind = "Slider" if whole else "FloatSlider"
            if whole:
                options = {k: int(v) for k, v in options.items()}
        case "flag":
            kind = "CheckBox"
        case "choice":
            kind, options = "ComboBox", {"choices": list(param.choices)}
        case "boxes" | "strokes":
            value = ""
        case "file":
            pattern = " ".join(f"*.{p}" for p in PICTURES)
            kind, options = "FileEdit", {"filter": pattern, "nullable": True}
    options = {**options, "tooltip": param.control.help}
    made = create_widget(name=param.name, label=label(param), widget_type=kind, options=options)
    made.value = value
    return made

"""Parameters as notebook widgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from hrviz.forms import PICTURES, Declared, label, long, saved, settled, span, split
from hrviz.method import Param

Values = Callable[[], dict[str, Any]]
Observe = Callable[[Callable[[dict[str, Any]], Any]], None]
STYLE = {"description_width": "9.5em"}
LAYOUT = {"width": "30em"}


def controls(declared: Declared) -> tuple[w.VBox, Values, Observe]:
    """Controls of a method or scene.

    Returns
    -------
    box : VBox
        Basic ones first, the rest folded under 'More'.
    values : callable
        The parameters as they are set.
    observe : callable
        `observe(f)`: f is called with the values after every change.
    """
    widgets = {p.name: _widget(p) for p in declared.params}

    def values() -> dict[str, Any]:
        return {p.name: _value(p, widgets[p.name].value) for p in declared.params}

    basic = [widgets[p.name] for p in declared.params if p.control.basic]
    more = [widgets[p.name] for p in declared.params if not p.control.basic]
    rows = basic + ([w.Accordion([w.VBox(more)], titles=("More",))] if more else [])

    def show(*_: Any) -> None:
        shown = {p.name for group in split(declared, values()) for p in group}
        for name, widget in widgets.items():
            widget.layout.display = None if name in shown else "none"

    def observe(callback: Callable[[dict[str, Any]], Any]) -> None:
        for widget in widgets.values():
            widget.observe(lambda _: callback(values()), "value")

    for widget in widgets.values():
        widget.observe(show, "value")
    show()
    return w.VBox(rows), values, observe


def _value(param: Param, value: Any) -> Any:
    if param.kind != "file":
        return settled(param, value)
    if not value:
        return None
    return saved(value[0]["name"], bytes(value[0]["content"]))


def _widget(param: Param) -> Any:
    common: dict[str, Any] = {
        "description": label(param), "tooltip": param.control.help,
        "style": STYLE, "layout": LAYOUT,
    }  # fmt: skip
    match param.kind:
        case "number" | "integer":
            low, high, step = span(param)
            if param.control.log and not long(param):
                ends = {"min": math.log10(low or 1e-6 * high), "max": math.log10(high)}
                return w.FloatLogSlider(
                    value=param.default, step=(ends["max"] - ends["min"]) / 100,
                    readout_format=".3g", continuous_update=False, **ends, **common,
                )  # fmt: skip
            if param.kind == "integer":
                made = w.BoundedIntText if long(param) else w.IntSlider
                low, high, step = int(low), int(high), int(step)
            else:
                made = w.BoundedFloatText if long(param) else w.FloatSlider
            live = {} if long(param) else {"continuous_update": False}
            return made(value=param.default, min=low, max=high, step=step, **live, **common)
        case "flag":
            return w.Checkbox(value=param.default, indent=True, **common)
        case "choice":
            options = [(str(c), c) for c in param.choices]
            return w.Dropdown(options=options, value=param.default, **common)
        case "boxes" | "strokes":
            return w.Text(value="", placeholder=param.allowed, continuous_update=False, **common)
        case "file":
            accept = ",".join(f".{p}" for p in PICTURES)
            return w.FileUpload(accept=accept, **common)

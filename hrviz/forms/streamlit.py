"""Parameters as Streamlit controls."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st

from hrviz.forms import PICTURES, Declared, bound, label, ladder, long, saved, settled, span, split
from hrviz.method import Param


def controls(
    declared: Declared,
    key: str,
    values: Mapping[str, Any] | None = None,
    container: Any = None,
    without: Collection[str] = (),
) -> dict[str, Any]:
    """Draw all controls of a method or scene that matter and return all its values.

    Parameters
    ----------
    declared : Method or SceneKind
    key : str
        Prefix of the widgets' keys: `{key}-{name}-{parameter}`.
    values : mapping, optional
        Starting values (permalink), and the boxes and strokes that were drawn.
    container : optional
        Streamlit container; default the page.
    without : collection of str
        Parameters that have no control here and keep their starting value.

    Returns
    -------
    dict
        Every parameter; those not shown have their starting value.
    """
    place = container if container is not None else st.container()
    start = bound(declared, values or {})
    keys = {p.name: f"{key}-{declared.name}-{p.name}" for p in declared.params}
    set_ = {n: st.session_state[k] for n, k in keys.items() if k in st.session_state}
    now = start | {n: v for n, v in set_.items() if n not in without}
    basic, more = ([p for p in part if p.name not in without] for part in split(declared, now))
    out = dict(start)
    for param in basic:
        out[param.name] = _control(param, place, keys[param.name], start[param.name])
    if more:
        inside = place.expander("More")
        for param in more:
            out[param.name] = _control(param, inside, keys[param.name], start[param.name])
    return out


def _control(param: Param, place: Any, key: str, value: Any) -> Any:
    common = {"label": label(param), "key": key, "help": param.control.help}
    match param.kind:
        case "number" | "integer":
            kind = int if param.kind == "integer" else float
            if param.control.log and not long(param):
                options = ladder(param, value)
                text = (lambda v: f"{v:,}") if kind is int else (lambda v: f"{v:.4g}")
                chosen = place.select_slider(
                    **common, options=options, value=kind(value), format_func=text
                )
            else:
                low, high, step = (kind(v) for v in span(param))
                step = 100 if param.control.log else step  # a size is changed by more than a pixel
                draw = place.number_input if long(param) else place.slider
                digits = max(2, math.ceil(-math.log10(step)))
                chosen = draw(
                    **common,
                    min_value=low,
                    max_value=high,
                    value=kind(value),
                    step=step,
                    format="%d" if kind is int else f"%.{digits}f",
                )
            return settled(param, chosen)
        case "flag":
            return bool(place.toggle(**common, value=value))
        case "choice":
            at = param.choices.index(value)
            return place.selectbox(**common, options=param.choices, index=at, format_func=str)
        case "boxes" | "strokes":
            noun = "box" if param.kind == "boxes" else "stroke"
            many = "boxes" if param.kind == "boxes" else "strokes"
            place.caption(
                f"{param.title}: {len(value)} {noun if len(value) == 1 else many} drawn",
                help=param.control.help,
            )
            return value
        case "file":
            upload = place.file_uploader(**common, type=list(PICTURES))
            return value if upload is None else saved(upload.name, upload.getvalue())

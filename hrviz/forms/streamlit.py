"""Parameters as Streamlit controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from hrviz.forms import PICTURES, label, ladder, long, saved, settled, span, split
from hrviz.method import Method, Param


def controls(
    method: Method, key: str, values: Mapping[str, Any] | None = None, container: Any = None
) -> dict[str, Any]:
    """Draw all controls of a method that matter and return all its values.

    Parameters
    ----------
    method : Method
    key : str
        Prefix of the widgets' keys: `{key}-{method}-{parameter}`.
    values : mapping, optional
        Starting values (permalink), and the boxes and strokes that were drawn.
    container : optional
        Streamlit container; default the page.

    Returns
    -------
    dict
        Every parameter; those not shown have their starting value.
    """
    place = container if container is not None else st.container()
    start = method.bind(values or {})
    keys = {p.name: f"{key}-{method.name}-{p.name}" for p in method.params}
    now = start | {n: st.session_state[k] for n, k in keys.items() if k in st.session_state}
    basic, more = split(method, now)
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
            if param.control.log:
                options = ladder(param, value)
                text = (lambda v: f"{v:,}") if kind is int else (lambda v: f"{v:.4g}")
                chosen = place.select_slider(
                    **common, options=options, value=kind(value), format_func=text
                )
            else:
                low, high, step = (kind(v) for v in span(param))
                draw = place.number_input if long(param) else place.slider
                chosen = draw(**common, min_value=low, max_value=high, value=kind(value), step=step)
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

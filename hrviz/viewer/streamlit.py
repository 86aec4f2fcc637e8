"""The viewer as a Streamlit component (components v2), with two-way state.

Needs the routes in the same server: ``st.App(script, routes=routes(), lifespan=lifespan)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import streamlit as st

from hrviz.viewer.assets import _text
from hrviz.viewer.routes import module_url

DEFAULT_HEIGHT = 560


@cache
def _component() -> Callable[..., Any]:
    # the inline script is the adapter alone (2 kB): inline code travels with every rerun, the
    # viewer (0.4 MB) is imported by the adapter from a route and cached by the browser
    renderer: Callable[..., Any] = st.components.v2.component(
        "hrviz.deepzoom", html='<div class="hv-host"></div>', js=_text("streamlit.js")
    )
    return renderer


def _nothing() -> None:
    """Streamlit keeps only the state that has a callback."""


def deepzoom(
    data: Mapping[str, Any],
    key: str,
    height: int | str = DEFAULT_HEIGHT,
    *,
    on_viewport: Callable[[], None] | None = None,
    on_drawings: Callable[[], None] | None = None,
    on_click: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Show the viewer and return what the user did in it.

    Parameters
    ----------
    data : mapping
        The viewer's data contract (`image`, `overlays`, `output`, ...; see `hrviz.viewer`).
        Calling again with other data changes the mounted viewer in place, without a flash.
    key : str
        Identity of the viewer on the page; without one each change of data would mount it anew.
    height : int or str
        In CSS pixels, or a CSS length such as ``calc(100vh - 96px)``.
    on_viewport, on_drawings, on_click : callable, optional
        Called before the rerun that the event causes.

    Returns
    -------
    dict
        `viewport`: ``{x, y, w, h}`` of what is visible, level-0 pixels, None until the user moves
        (the whole image); `drawings`: ``{boxes, strokes}`` or None; `click`: ``{x, y}`` in the
        rerun caused by the click, else None.
    """
    result = _component()(
        key=key,
        data={"module": module_url(), "viewer": {**data, "height": height}},
        height=height if isinstance(height, int) else "content",
        on_viewport_change=on_viewport or _nothing,
        on_drawings_change=on_drawings or _nothing,
        on_click_change=on_click or _nothing,
    )
    return {name: result.get(name) for name in ("viewport", "drawings", "click")}

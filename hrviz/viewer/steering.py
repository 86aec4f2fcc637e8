"""Drawing on the Methods page: drag a box, and the saliency of the method is what was drawn.

It applies to methods whose `saliency` may be 'drawn'. While something is drawn, that is the source,
and the control for it gives way to the way back: with the last drawing gone, by its own x or by the
button, the source before is chosen again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from hrviz.method import Method, Param
from hrviz.viewer import shell
from hrviz.viewer.shell import Session

DRAWN = "drawn"
DRAG = "methods-drag"
HASTY = 256  # pixels of the output while a box is dragged
HELP = (
    "Draw where to look closely: the warp follows at once. "
    "With the shift key, dragging draws a box in any mode"
)


def source(method: Method) -> Param | None:
    """The parameter that drawing sets to 'drawn'; None where drawing does not steer."""
    return next((p for p in method.params if p.name == "saliency" and DRAWN in p.choices), None)


def under_way(s: Session) -> bool:
    """Whether a box is being dragged at this moment: networks wait for its end."""
    return bool(s.drawings.get("drawing"))


def hasty(method: Method, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a run leaves out while a box is dragged, so that the warp keeps up with the pointer."""
    less: dict[str, Any] = {"task": "none", "size": min(HASTY, params.get("size", HASTY))}
    return {p.name: less[p.name] for p in method.params if p.name in less}


def kinds(method: Method) -> list[str]:
    """What can be drawn for a method: 'box', 'stroke'."""
    known = {p.kind for p in method.params}
    return [mode for mode, kind in (("box", "boxes"), ("stroke", "strokes")) if kind in known]


def control(s: Session, method: Method) -> None:
    """What dragging does, and the way back from what was drawn."""
    modes = [m.capitalize() for m in kinds(method)]
    if not modes:
        return
    help_ = HELP if source(method) is not None else "Draw what the method is to start from"
    st.segmented_control("Drag to", ["Pan", *modes], default="Pan", key=DRAG, required=True, width="stretch",
                         help=help_)  # fmt: skip
    if steered(s, method):
        st.button(f"Remove drawings, back to {before(s, method)}", key="undraw", width="stretch",
                  on_click=_undraw, help="Saliency is from what you drew; take it from where it was before")  # fmt: skip


def steered(s: Session, method: Method) -> bool:
    """Whether the method's saliency is what is drawn now."""
    if source(method) is None:
        return False
    drawable = kinds(method)
    return any(
        s.drawings[name]
        for name, mode in (("boxes", "box"), ("strokes", "stroke"))
        if mode in drawable
    )


def before(s: Session, method: Method) -> str:
    """The source of saliency to go back to."""
    param = source(method)
    assert param is not None
    wanted = (s.before.get(method.name), param.default, *param.choices)
    return next(str(c) for c in wanted if c in param.choices and c != DRAWN)


def remember(s: Session, method: Method, saliency: str) -> None:
    """Keep the source that was chosen by hand."""
    if saliency != DRAWN:
        s.before[method.name] = saliency


def modes(method: Method) -> dict[str, Any]:
    """The viewer's part: what dragging draws now, what with the shift key, and whether to tell of
    boxes under way.
    """
    drag = str(st.session_state.get(DRAG) or "Pan").lower()
    steers = source(method) is not None and "box" in kinds(method)
    return {
        "draw": drag if drag in kinds(method) else None,
        "shift": "box" if steers else None,
        "live": steers,
    }


def _undraw() -> None:
    shell.session().draw([], [])

"""Explore: an image, deep zoom, what is known of it, and the way to the methods."""

import io

import streamlit as st

from hrviz.viewer import overlays, panels, shell
from hrviz.viewer.streamlit import deepzoom

KEY = "explore-viewer"


def view_png() -> bytes:
    from PIL import Image

    view = shell.session().image.view(shell.session().visible())
    out = io.BytesIO()
    side = min(2048, max(1, round(max(view.height, view.width))))
    Image.fromarray(view.image.rgb(view.box, view.fit(side))).save(out, "PNG")
    return out.getvalue()


def body() -> bool:
    s = shell.entered("Explore")
    with st.container(key="desk", horizontal=True, wrap=False, gap=None):
        stage = st.container(key="stage", width="stretch", gap=None)
        side = st.container(key="side", width=256)
    with side:
        if st.button("Try a method here", type="primary", width="stretch",
                     help="Apply a method to what is visible"):  # fmt: skip
            st.switch_page("pages/methods.py")
        drag = st.segmented_control("Drag to", ["Pan", "Box", "Stroke"], default="Pan", key="explore-drag",
                                    required=True, help="Drawn boxes and strokes can steer methods")  # fmt: skip
        shown = []
        if s.image.truth is not None:
            shown = st.pills("Truth", ["Tumour", "Nuclei"], selection_mode="multi", key="explore-truth",
                             help="The scene's own truth; nuclei from about 1 : 4 on") or []  # fmt: skip
        layers, hint = overlays.truth(s, shown)
        if hint:
            st.html(f'<span class="hv-left">{hint}</span>')
        st.html(f'<p class="hv-h">Image</p>{panels.facts(s.image.facts())}')
        st.html(f'<p class="hv-h">Pyramid</p>{panels.levels(s.image)}')
        st.download_button("Export view as PNG", view_png, f"{s.image.name[:40]}-view.png", "image/png",
                           on_click="ignore", width="stretch")  # fmt: skip
    with stage:
        draw = None if drag == "Pan" else str(drag).lower()
        data = shell.viewer_data(s, layers, draw=draw)
        deepzoom(data, KEY, "calc(100vh - 40px)", **shell.watch(KEY))
    return False


shell.polled("explore", body)

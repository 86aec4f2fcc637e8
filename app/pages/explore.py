"""Explore: an image, deep zoom, what is known of it, and the way to the methods."""

import io

import streamlit as st

from hrviz.scenes import Scene
from hrviz.viewer import panels, shell, shown
from hrviz.viewer.streamlit import deepzoom

KEY = "explore-viewer"


def view_png() -> bytes:
    from PIL import Image

    view = shell.session().image.view(shell.session().visible())
    out = io.BytesIO()
    side = min(2048, max(1, round(max(view.height, view.width))))
    Image.fromarray(view.image.rgb(view.box, view.fit(side))).save(out, "PNG")
    return out.getvalue()


def tabs(s: shell.Session) -> None:
    """What can be set of this image, and what is known of it."""
    image = s.image
    titles = ["Scene"] if isinstance(image.reader, Scene) else []
    titles += ["Channels"] if image.channel_info else []
    places = dict(zip([*titles, "Image"], st.tabs([*titles, "Image"]), strict=True))
    if "Scene" in places:
        with places["Scene"]:
            shown.scene(s)
    if "Channels" in places:
        with places["Channels"]:
            shown.channels(s)
    with places["Image"]:
        st.html(panels.facts(image.facts()))
        st.html(f'<p class="hv-h">Pyramid</p>{panels.levels(image)}')
        st.download_button("Export view as PNG", view_png, f"{image.name[:40]}-view.png", "image/png",
                           on_click="ignore", width="stretch")  # fmt: skip


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
        layers = shown.truth(s)
        for note in s.image.notes[:3]:
            st.html(panels.sentence(note, "notice"))
        tabs(s)
    with stage:
        viewer = st.container(key="viewer", gap=None)
        if s.image.axes:
            with st.container(
                key="strip", horizontal=True, vertical_alignment="center", wrap=False
            ):
                shown.axes(s)
        draw = None if drag == "Pan" else str(drag).lower()
        with viewer:
            height = "calc(100vh - 88px)" if s.image.axes else "calc(100vh - 40px)"
            deepzoom(shell.viewer_data(s, layers, draw=draw), KEY, height, **shell.watch(KEY))
    return bool(s.playing)


shell.polled("explore", body)

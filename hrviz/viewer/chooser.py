"""Opening another image: samples, files of the served folder, an upload, or an address."""

from __future__ import annotations

import streamlit as st

from hrviz.errors import HrvizError
from hrviz.viewer import gallery, panels
from hrviz.viewer.shell import session


def _choose(address: str) -> None:
    s = session()
    s.image_error, s.notes = "", []
    try:
        s.open(address)
    except HrvizError as error:
        s.image_error = str(error)


def image_chooser() -> None:
    """Scenes, samples, files of the served folder, an upload, or an address."""
    s = session()
    if s.image_error:
        st.html(panels.sentence(s.image_error))
    st.html('<p class="hv-h">Scenes, computed as you look, and samples</p>')
    choices = [*gallery.scenes(), *gallery.samples()]
    same = [a for a, *_ in choices if a == s.address]
    same += [a for a, *_ in choices if a.partition("?")[0] == s.address.partition("?")[0]]
    with st.container(key="scenes"):
        for address, title, note in choices:
            st.button(title, key=f"open-{address}", help=note, on_click=_choose, args=(address,),
                      width="stretch", type="primary" if address in same[:1] else "secondary")  # fmt: skip
    files = gallery.listed()
    if files:
        picked = st.selectbox("File", files, index=None, placeholder=f"{len(files)} in {gallery.root().name}/",
                              key="file-pick", help=f"Images under {gallery.root()}")  # fmt: skip
        if picked and picked != st.session_state.get("file-opened"):
            st.session_state["file-opened"] = picked
            _choose(picked)
            st.rerun()
    upload = st.file_uploader(
        "Upload",
        key=f"upload-{s.round}",
        help=f"One file: slide, TIFF, picture, NumPy array or video, at most {gallery.upload_limit() / 2**30:.3g} GiB",
    )
    if upload is not None and st.session_state.get("upload-done") != upload.file_id:
        st.session_state["upload-done"] = upload.file_id
        try:
            s.open(gallery.keep_upload(upload.name, upload))
            s.image_error = ""
        except HrvizError as error:
            s.image_error = str(error)
        st.rerun()
    with st.form("address", border=False):
        address = st.text_input("Address", value=s.address, key=f"address-{s.address}",
                                help="scene:crowd?people=500, a path, film.mp4#t=12, or https://host/name.zarr")  # fmt: skip
        if st.form_submit_button("Open", width="stretch"):
            _choose(address)
            st.rerun()

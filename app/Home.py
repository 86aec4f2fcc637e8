"""Entry of the app: the bar, the pages, errors as one sentence."""

import streamlit as st

from hrviz.viewer import shell

st.set_page_config(page_title="hrviz", layout="wide", initial_sidebar_state="collapsed")
page = st.navigation(
    [st.Page(path, title=title, url_path=None if i == 0 else title.lower(), default=i == 0)
     for i, (path, title) in enumerate(shell.PAGES)],
    position="hidden",
)  # fmt: skip
shell.guarded(shell.bar)(page.title)
page.run()

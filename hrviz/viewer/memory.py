"""The way to the Memory page: what it needs takes seconds to import, and no page stays blank for that."""

from __future__ import annotations

import logging
import sys
import threading
from functools import cache

import streamlit as st

from hrviz.viewer import panels

log = logging.getLogger("hrviz.app")
PAGE = "hrviz.viewer.memory_page"
INLINE = 0.3  # seconds waited before a line is shown instead


def draw() -> bool:
    """The page, or a line until it can be drawn; returns whether it is to be drawn again soon."""
    loading = _loading()
    loading.join(INLINE)
    if loading.is_alive():
        with st.container(key="memory-empty"):
            st.html('<p class="hv-idea">Preparing the meter of networks: a few seconds, once.</p>')
        return True
    if PAGE not in sys.modules:
        st.html(panels.sentence("The Memory page could not be loaded and the reason was logged: is torch installed?"))  # fmt: skip
        return False
    from hrviz.viewer import memory_page

    return memory_page.draw()


@cache
def _loading() -> threading.Thread:
    """Imports in the background, once a process."""

    def load() -> None:
        try:
            from hrviz.cost.study import subjects
            from hrviz.viewer import memory_page  # noqa: F401

            subjects()
        except Exception:
            log.exception("the Memory page cannot be loaded")

    thread = threading.Thread(target=load, name="hrviz-memory", daemon=True)
    thread.start()
    return thread

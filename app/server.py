"""The ASGI app: Streamlit's pages and the viewer's tile routes on one port.

`hrviz app` starts it; so do `streamlit run app/server.py` and `uvicorn server:app`.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from hrviz.viewer import gallery, routes
from hrviz.viewer.launch import configure

configure()


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    from hrviz.worker import WorkerProcess, remote

    worker = remote()
    if isinstance(worker, WorkerProcess):
        worker.start()  # importing torch takes seconds: the first network run should not wait
    threading.Thread(target=gallery.prewarm, args=(gallery.initial(),), daemon=True).start()
    async with routes.lifespan(app):
        yield


app = st.App(Path(__file__).with_name("Home.py"), routes=routes.routes(),
             middleware=routes.middleware(), lifespan=lifespan)  # fmt: skip

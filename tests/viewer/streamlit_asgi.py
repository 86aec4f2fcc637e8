"""A minimal Streamlit app around the viewer, run by test_streamlit.py."""

import streamlit as st

from hrviz.viewer import routes

app = st.App("streamlit_page.py", routes=routes.routes(), lifespan=routes.lifespan)

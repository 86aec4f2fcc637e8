"""The page of streamlit_asgi.py: one viewer, a map to switch, the state as text."""

import numpy as np
import streamlit as st
from viewer_fakes import FakeImage
from viewer_page import png_url

from hrviz.viewer.routes import register_image
from hrviz.viewer.streamlit import deepzoom


def main() -> None:
    st.session_state.runs = st.session_state.get("runs", 0) + 1
    image = st.cache_resource(FakeImage)(3001, 2003)
    level = st.radio("map", ["low", "high"])
    layer = {
        "id": "r",
        "kind": "raster",
        "png": png_url(np.full((30, 40), 0.1 if level == "low" else 0.9), 0, 1),
        "box": {"x": 0, "y": 0, "w": 3001, "h": 2003},
        "vmin": 0,
        "vmax": 1,
        "lut": "viridis",
        "label": "Map",
        "opacity": 1,
    }
    state = deepzoom(
        {"image": register_image(image), "theme": "dark", "overlays": [layer]}, "v", 360
    )
    st.text(f"runs {st.session_state.runs} viewport {state['viewport']}")


if __name__ == "__main__":
    main()

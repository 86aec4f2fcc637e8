"""The picture beneath geometric results: a thumbnail of an image or of the view of it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from hrviz.geometry import Box

SIDE = 1024


def thumbnail(base: Any, side: int = SIDE) -> tuple[np.ndarray, Box]:
    """uint8 RGB and its box, from an `Image`, an `ImageView` or a `Picture` with a box.

    Read through the image, so that it does not count as read by the method.
    """
    if hasattr(base, "array"):
        return base.uint8, base.box
    view = base if hasattr(base, "fit") else base.view()
    side = min(side, max(1, round(max(view.height, view.width))))
    return view.image.rgb(view.box, view.fit(side)), view.box


def data_url(pixels: np.ndarray, kind: str = "PNG") -> str:
    """An RGB or grey uint8 picture as a data URL."""
    from PIL import Image as PILImage

    buffer = io.BytesIO()
    options = {"quality": 88} if kind == "JPEG" else {"compress_level": 3}
    PILImage.fromarray(pixels).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"

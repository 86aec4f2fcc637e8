"""Images as lazy pyramids: `open_image`, `Image`, `ImageView`, read accounting, readers."""

from hrviz.image.image import Image, open_image
from hrviz.image.lazy import LevelArray
from hrviz.image.reads import ReadLog
from hrviz.image.view import ImageView

__all__ = ["Image", "ImageView", "LevelArray", "ReadLog", "open_image"]

"""hrviz: a visual laboratory for efficient high-resolution deep learning.

The whole public surface::

    image = hrviz.open("scene:tissue?size=100000x100000")    # or a slide, TIFF, Zarr, film
    run = hrviz.apply("learning-to-zoom", image, region="40000,30000,4096,4096", size=512)
    hrviz.compare(image, ["uniform-downsampling", "cutting-into-patches", "saliency-sampler"])
    hrviz.METHODS                                             # every method by name
    hrviz.density("razn")                                     # cost against how much there is
    hrviz.costs("efficientnet-b7", image=image)               # cost against resolution, and what fits
    hrviz.scenes.dataset("road", split="train", n=1000)       # pictures with truth
    hrviz.convert(image, "slide.ome.zarr")                    # a pyramid, streamed

Importing it is quick: readers, dask, torch and GUI libraries are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "Box",
    "HrvizError",
    "apply",
    "compare",
    "convert",
    "costs",
    "density",
    "open",
    "scenes",
]

if TYPE_CHECKING:
    from hrviz import scenes
    from hrviz.cost.density import density
    from hrviz.errors import HrvizError
    from hrviz.geometry import Box
    from hrviz.image import open_image as open
    from hrviz.image.convert import convert
    from hrviz.method import METHODS
    from hrviz.run import apply, compare
    from hrviz.views.cost_widget import costs

_LAZY = {
    "open": ("hrviz.image", "open_image"),
    "apply": ("hrviz.run", "apply"),
    "compare": ("hrviz.run", "compare"),
    "convert": ("hrviz.image.convert", "convert"),
    "density": ("hrviz.cost.density", "density"),
    "costs": ("hrviz.views.cost_widget", "costs"),
    "METHODS": ("hrviz.method", "METHODS"),
    "HrvizError": ("hrviz.errors", "HrvizError"),
    "Box": ("hrviz.geometry", "Box"),
}


def __getattr__(name: str) -> Any:
    if name == "scenes":
        import importlib

        return importlib.import_module("hrviz.scenes")
    if name not in _LAZY:
        raise AttributeError(f"module 'hrviz' has no attribute {name!r}")
    import importlib

    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])

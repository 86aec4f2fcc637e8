"""File > Open Sample > hrviz: every procedural scene, a gigapixel slide, small real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrviz.napari._reader import read


def _scene(name: str, **values: Any) -> list[Any]:
    from hrviz.scenes import SCENES

    return read(SCENES[name].address(**values))


def tissue() -> list[Any]:
    """A procedural slide of 0.4 gigapixel."""
    return _scene("tissue", width=20_000, height=20_000)


def gigapixel() -> list[Any]:
    """A procedural slide of 10 gigapixels; tiles are made as they are looked at."""
    return _scene("tissue", width=100_000, height=100_000)


def aerial() -> list[Any]:
    """An aerial image with cars, boats and buildings."""
    return _scene("aerial")


def crowd() -> list[Any]:
    """A square full of people."""
    return _scene("crowd")


def road() -> list[Any]:
    """A road with a speed-limit sign."""
    return _scene("road")


def digits() -> list[Any]:
    """Handwritten digits to add up."""
    return _scene("digits")


def endoscopy() -> list[Any]:
    """The inside of a gut with a lesion."""
    return _scene("endoscopy")


def vessels() -> list[Any]:
    """A retina with its vessels."""
    return _scene("vessels")


def needle() -> list[Any]:
    """A small object in a large haystack."""
    return _scene("needle")


def _packaged(name: str) -> list[Any]:
    import skimage

    return read(str(Path(skimage.__file__).parent / "data" / name))


def retina() -> list[Any]:
    """Fundus photograph (CC0), from scikit-image."""
    return _packaged("retina.jpg")


def ihc() -> list[Any]:
    """Immunohistochemistry, from scikit-image."""
    return _packaged("ihc.png")

"""File > Open Sample > hrviz: procedural slides of any size, and small real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrviz.napari._reader import read


def tissue() -> list[Any]:
    """A procedural slide of 0.4 gigapixel."""
    return read("scene:tissue?size=20000x20000&seed=7")


def gigapixel() -> list[Any]:
    """A procedural slide of 10 gigapixels; tiles are made as they are looked at."""
    return read("scene:tissue?size=100000x100000&seed=7")


def _packaged(name: str) -> list[Any]:
    import skimage

    return read(str(Path(skimage.__file__).parent / "data" / name))


def retina() -> list[Any]:
    """Fundus photograph (CC0), from scikit-image."""
    return _packaged("retina.jpg")


def ihc() -> list[Any]:
    """Immunohistochemistry, from scikit-image."""
    return _packaged("ihc.png")

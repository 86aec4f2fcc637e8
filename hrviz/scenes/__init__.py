"""Procedural scenes: images without a file, of any size, with ground truth.

An address names a scene and its parameters: `scene:tissue?size=100000x80000&seed=7&tumour=0.005`.
"""

from __future__ import annotations

import difflib
import math
from urllib.parse import parse_qsl

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Reader
from hrviz.scenes.tissue import TissueScene

MAX_SIDE = 200_000

#: Every scene by name.
SCENES: dict[str, type[TissueScene]] = {TissueScene.scene: TissueScene}
_KEYS = ("size", "seed", "tumour")

__all__ = ["SCENES", "open_scene"]


def open_scene(uri: str) -> Reader:
    """Open a procedural scene.

    Parameters
    ----------
    uri : str
        `scene:NAME?key=value&...`; for tissue `size` (WIDTHxHEIGHT in px, at most 200,000 a side,
        default 100000x100000), `seed` (integer, default 7) and `tumour` (tumour area as a fraction
        of tissue area, 0 to 0.5, default 0.005).

    Returns
    -------
    Reader
        With `truth`.

    Raises
    ------
    HrvizError
        When the address is not one of a scene.

    Examples
    --------
    >>> reader = open_scene("scene:tissue?size=3000x2000&seed=1")
    >>> reader.levels[0].height, len(reader.levels)
    (2000, 3)
    """
    name, _, query = uri.removeprefix("scene:").partition("?")
    if name not in SCENES:
        near = difflib.get_close_matches(name.lower(), SCENES, n=1, cutoff=0.0)[0]
        raise HrvizError(
            f"scene {name!r} is not known: there is {', '.join(SCENES)}; did you mean scene:{near}?"
        )
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _KEYS:
            keys = ", ".join(_KEYS)
            near = (difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0) or ["size"])[0]
            raise HrvizError(
                f"scene parameter {key!r} is not known: there are {keys}; did you mean {near}?"
            )
        values[key] = value
    width, height = _size(values.get("size", "100000x100000"))
    return SCENES[name](
        width, height, _seed(values.get("seed", "7")), _tumour(values.get("tumour", "0.005"))
    )


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise HrvizError(
            f"scene size {text!r} is not WIDTHxHEIGHT: write two whole numbers of pixels, "
            "e.g. size=100000x80000"
        ) from None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise HrvizError(
            f"scene size {width}x{height} is outside 1 to {MAX_SIDE} px a side: "
            f"choose at most size={MAX_SIDE}x{MAX_SIDE}"
        )
    return width, height


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**31:
        raise HrvizError(
            f"scene seed {text!r} is not a whole number from 0 to {2**31 - 1}: write e.g. seed=7"
        )
    return seed


def _tumour(text: str) -> float:
    try:
        tumour = float(text)
    except ValueError:
        tumour = math.nan
    if not 0 <= tumour <= 0.5:
        raise HrvizError(
            f"scene tumour {text!r} is not a fraction from 0 to 0.5 (of the tissue area): "
            "write e.g. tumour=0.005"
        )
    return tumour

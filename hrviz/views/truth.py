"""A scene's truth in a box as a result: what all front ends draw, bounded, with a hint where cut.

Every scene answers the same questions (`hrviz.scenes.truth`), so nothing here knows a scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.results import Boxes, LabelMap, Points, Result
from hrviz.views.colour import number

RASTER = 768  # pixels of the longer side of a mask
MOST = {"boxes": 2000, "points": 5000}  # drawn at a time
TITLES = {"mask": "Regions", "boxes": "Objects", "points": "Points"}


def titles(truth: Any) -> dict[str, str]:
    """What can be drawn of a truth (None has nothing): 'mask', 'boxes', 'points', each titled.

    A kind with one class bears that class's name.
    """
    if truth is None:
        return {}
    names = {
        "mask": [name for value, name in truth.classes.items() if value],
        "boxes": list(truth.objects.values()),
        "points": list(truth.kinds.values()),
    }
    return {
        kind: names[kind][0].capitalize() if len(names[kind]) == 1 else title
        for kind, title in TITLES.items()
        if kind in truth.knows
    }


def found(truth: Any, box: Box, kind: str) -> tuple[Result | None, str]:
    """One kind of truth in a box.

    Parameters
    ----------
    truth : Truth
    box : Box
        Level-0 pixels.
    kind : {'mask', 'boxes', 'points'}
        One of the keys of `titles`.

    Returns
    -------
    result : LabelMap, Boxes, Points or None
        None where there is nothing, or too much to draw.
    hint : str
        One sentence where something is left out, else empty.
    """
    if kind == "mask":
        scale = min(1.0, RASTER / max(box.height, box.width))
        size = max(1, round(box.height * scale)), max(1, round(box.width * scale))
        return LabelMap(truth.mask(box, size), box, named(truth.classes), source="truth"), ""
    what = titles(truth)[kind].lower()
    try:
        if kind == "boxes":
            return _boxes(truth, box, what)
        return _points(truth, box, what)
    except HrvizError:  # a scene lists what is small in small boxes only
        return None, f"Zoom in to see: {what}."


def _boxes(truth: Any, box: Box, what: str) -> tuple[Result | None, str]:
    objects, most = truth.boxes(box), MOST["boxes"]
    if not len(objects):
        return None, f"None here: {what}."
    kinds = objects.classes[:most]
    result = Boxes(objects.boxes[:most], labels=kinds, classes=named(objects.names), source="truth")
    cut = len(objects) > most
    return result, f"Drawn: the largest {number(most)} of {number(len(objects))}." if cut else ""


def _points(truth: Any, box: Box, what: str) -> tuple[Result | None, str]:
    points, kinds = truth.points(box)
    if not len(points):
        return None, f"None here: {what}."
    if len(points) > MOST["points"]:
        return None, f"Zoom in to see: {what}, {number(len(points))} here."
    names = named(truth.kinds, int(kinds.max()))
    return Points(points, labels=kinds.astype(int), classes=names), ""


def named(names: Mapping[int, str], top: int = 0) -> tuple[str, ...]:
    """Name of value k at position k; values without a name have none in the legend."""
    return tuple(names.get(k, "") for k in range(max([top, *names]) + 1))

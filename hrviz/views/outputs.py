"""What of a run is shown beside the image: trees, output pictures, maps that lie on the output."""

from __future__ import annotations

from collections.abc import Mapping

from hrviz.geometry import Box
from hrviz.results import HeatMap, Picture, Result, Step, WarpGrid, ZoomTree

SHORT = {"output magnification": "Magnification"}


def on_output(result: Result) -> bool:
    """Whether a result is shown beside the image: a picture, or a map over a method's output."""
    return isinstance(result, Picture) or (isinstance(result, HeatMap) and result.grid is not None)


def even(result: Result) -> bool:
    """Whether a picture is uniform downsampling: its grid is that of the four corners alone."""
    grid = getattr(result, "grid", None)
    return isinstance(result, Picture) and grid is not None and grid.nodes.shape[:2] == (2, 2)


def _grid(step: Step) -> WarpGrid | None:
    found: WarpGrid | None = getattr(step.result, "grid", None)
    return found


def _box(step: Step) -> Box | None:
    found: Box | None = getattr(step.result, "box", None)
    return found


def trees(steps: Mapping[str, Step]) -> dict[str, Step]:
    """Steps with a tree, which is shown on the image and beside it."""
    return {name: step for name, step in steps.items() if isinstance(step.result, ZoomTree)}


def views(steps: Mapping[str, Step]) -> dict[str, Step]:
    """Steps shown beside the image: trees, then pictures."""
    return trees(steps) | pictures(steps)


def pictures(steps: Mapping[str, Step]) -> dict[str, Step]:
    """Pictures and maps over them: the main one (the first warped picture, else the last), then
    uniform downsampling, then the rest.
    """
    found = {name: step for name, step in steps.items() if on_output(step.result)}
    plain = [n for n, s in found.items() if isinstance(s.result, Picture)]
    warped = [n for n in plain if _grid(found[n]) is not None]
    main = (warped or plain[-1:])[:1]
    rivals = [n for n in warped if even(found[n].result)]
    return {name: found[name] for name in dict.fromkeys([*main, *rivals, *found])}


def shown(steps: Mapping[str, Step], chosen: str = "") -> list[str]:
    """Which views are shown: the main one beside the chosen one, else beside the even picture.

    A chosen picture that is the main one is shown alone, as large as it can be, and so is one that
    lies nowhere on the image, such as a strip of frames. A tree always stays: alone, or above the
    picture that was chosen.
    """
    found = pictures(steps)
    grown = trees(steps)
    if grown:
        tree = chosen if chosen in grown else list(grown)[-1]
        return [name for name in views(steps) if name == tree or (name in found and name == chosen)]
    main = next(iter(found), "")
    if chosen == main:
        return [main] if main else []
    if chosen in found and _grid(found[chosen]) is None and _box(found[chosen]) is None:
        return [chosen]
    beside = chosen if chosen in found else uniform(steps)
    return [name for name in found if name in (main, beside)]


def uniform(steps: Mapping[str, Step]) -> str:
    """The picture by uniform downsampling to as many pixels as the main one; '' if there is none."""
    main, *others = pictures(steps).items() or [("", None)]
    if main[1] is None or not isinstance(main[1].result, Picture):
        return ""
    size = main[1].result.array.shape
    rivals = (n for n, s in others if even(s.result) and s.result.array.shape == size)  # type: ignore[union-attr]
    return next(rivals, "")

"""Overlays that the app's pages show: truth, regions, steps of runs; encoded once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.results import Boxes, HeatMap, Points, Result, Step, WarpGrid
from hrviz.run import Run
from hrviz.viewer import shell
from hrviz.viewer.live import drawable
from hrviz.viewer.shell import Session
from hrviz.views import deepzoom
from hrviz.views import truth as known

NAMED = 200  # boxes up to which each one bears its class
FLOOR = 0.05  # maps are clear below this share of their range
TRUTH, READS = "truth", "read map"
ZOOM = "magnification"  # the step of every warp whose map follows its grid


def truth(
    s: Session, shown: Sequence[str], box: Box | None = None
) -> tuple[list[dict[str, Any]], str]:
    """The scene's truth in what is visible, and a hint where there is more to see.

    Parameters
    ----------
    s : Session
    shown : sequence of str
        Of 'mask', 'boxes', 'points'; what the scene does not know is passed over.
    box : Box, optional
        Default what is visible.
    """
    image, box = s.image, box or s.visible()
    out: list[dict[str, Any]] = []
    hints = []
    for kind, title in known.titles(image.truth).items():
        if kind in shown:
            make = partial(of_truth, image, box, kind, title)
            specs, hint = shell.cached(("truth", kind, image.identity, box), image.truth, make)
            out += specs
            hints += [hint] if hint else []
    return out, " ".join(hints)


def of_truth(image: Image, box: Box, kind: str, title: str) -> tuple[list[dict[str, Any]], str]:
    """Overlays of one kind of truth in a box, and a hint where something is left out."""
    result, hint = known.found(image.truth, box, kind)
    if result is None:
        return [], hint
    name = f"{TRUTH}-{kind}"
    specs = deepzoom.overlay(result, name, opacity=0.5, label=f"Truth: {title.lower()}")
    if isinstance(result, Boxes):
        specs[0]["width"] = 1.5
        assert result.labels is not None
        if len(result.boxes) <= NAMED and len(image.truth.objects) > 1:
            specs[0]["labels"] = [result.classes[k] for k in result.labels]
    elif isinstance(result, Points):
        specs[0]["radius"] = 3
    return specs, hint


def best_truth(image: Image) -> tuple[str, ...]:
    """The kind of truth that says most: regions, else objects, else points."""
    return tuple(known.titles(image.truth))[:1]


def frame(box: Box, whole: Box, label: str = "") -> list[dict[str, Any]]:
    """Outline of the region a method ran on; nothing when that is the whole image."""
    if box == whole:
        return []
    spec: dict[str, Any] = {"id": "region", "kind": "boxes", "label": "Region", "legend": False, "visible": True,
            "boxes": [[box.x0, box.y0, box.width, box.height]], "color": "#22d3ee", "width": 1, "dash": [6, 4]}  # fmt: skip
    if label:
        spec["labels"] = [label]
    return [spec]


def of_steps(
    steps: Mapping[str, Step],
    shown: Sequence[str],
    opacity: float,
    version: str,
    run: Run | None = None,
    floor: float = FLOOR,
    paned: bool = False,
) -> list[dict[str, Any]]:
    """Overlays of the steps named, bottom first: maps below lines.

    `paned`: the views of the same steps (`beside`) go with them; trees then share theirs.
    """
    out: list[dict[str, Any]] = []
    for name, step in steps.items():
        if name not in shown or not drawable(step.result):
            continue
        result = step.result
        lazy = hasattr(getattr(result, "values", None), "store_path")
        stamp = version if lazy and step.progress < 1 else "whole"

        def make(
            name: str = name, result: Any = result, stamp: str = stamp
        ) -> list[dict[str, Any]]:
            label = name if isinstance(result, Points) else None
            view = name if paned else ""
            return deepzoom.overlay(result, f"step-{name}", version=stamp, label=label, view=view)

        specs = shell.cached(("step", name, stamp, paned), result, make)
        mesh = _mesh(result, steps) if name == ZOOM else {}
        out += [spec | _shade(spec, opacity, floor) | mesh for spec in specs]
    if READS in shown and run is not None:
        out += shell.cached(("reads", id(run.reads)), run.reads,
                            lambda: deepzoom.overlay(run.reads, "reads", label="Read map"))  # fmt: skip
    return sorted(out, key=lambda spec: spec["kind"] != "raster")


def _mesh(result: Result, steps: Mapping[str, Step]) -> dict[str, Any]:
    """The grid that a zoom map tells of: the browser draws the map by it while the grid moves."""
    grid = next((s.result for s in steps.values() if isinstance(s.result, WarpGrid)), None)
    if grid is None or not isinstance(result, HeatMap) or grid.box != result.box:
        return {}
    mesh: dict[str, Any] = shell.cached(
        ("mesh",), grid, lambda: deepzoom.nodes(grid.nodes) | {"region": deepzoom.rect(grid.box)}
    )
    return {"mesh": mesh}


def _shade(spec: Mapping[str, Any], opacity: float, floor: float) -> dict[str, Any]:
    """What the browser applies to a map by itself: opacity, and a threshold where zero is 'none'."""
    if spec["kind"] != "raster":
        return {}
    if spec["lut"] in ("diverging", "labels") or floor <= 0:
        return {"opacity": opacity}
    low, high = spec["vmin"], spec["vmax"]
    return {"opacity": opacity, "threshold": low + floor * (high - low)}


def beside(steps: Mapping[str, Step], chosen: str = "") -> dict[str, Any] | None:
    """All views of the linked pane; those of the chosen step are shown."""

    def make(result: Result, title: str, even: str) -> dict[str, Any]:
        made: dict[str, Any] = shell.cached(("output", title, even), result,
                                            lambda: deepzoom.output(result, title, even))  # fmt: skip
        return made

    return deepzoom.pane(steps, chosen, make)


def picture(step: Step | None) -> dict[str, Any] | None:
    """One output picture for the linked pane, without its rivals."""
    if step is None:
        return None
    made: dict[str, Any] = shell.cached(("output", step.name.capitalize(), ""), step.result,
                                        lambda: deepzoom.output(step.result, step.name.capitalize()))  # fmt: skip
    return made

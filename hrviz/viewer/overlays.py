"""Overlays that the app's pages show: truth, regions, steps of runs; encoded once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hrviz.geometry import Box
from hrviz.results import LabelMap, Picture, Points, Step
from hrviz.run import Run
from hrviz.viewer import shell
from hrviz.viewer.live import drawable
from hrviz.viewer.shell import Session
from hrviz.views import deepzoom

TRUTH_SIDE = 768
NUCLEI_AREA = 12e6  # level-0 pixels up to which nuclei are drawn
FLOOR = 0.05  # maps are clear below this share of their range
TRUTH, READS = "truth", "read map"


def truth(
    s: Session, shown: Sequence[str], box: Box | None = None
) -> tuple[list[dict[str, Any]], str]:
    """Tumour mask and nuclei of what is visible, and a hint where there is more to see."""
    image, box = s.image, box or s.visible()
    out: list[dict[str, Any]] = []
    if image.truth is None:
        return out, ""
    if "Tumour" in shown:
        out += shell.cached(("tumour", image.identity, box), image.truth, lambda: _tumour(s, box))
    if "Nuclei" in shown:
        if box.area > NUCLEI_AREA:
            return out, "Zoom in to see nuclei."
        out += shell.cached(("nuclei", image.identity, box), image.truth, lambda: _nuclei(s, box))
    return out, ""


def _tumour(s: Session, box: Box) -> list[dict[str, Any]]:
    scale = min(1.0, TRUTH_SIDE / max(box.height, box.width))
    size = max(1, round(box.height * scale)), max(1, round(box.width * scale))
    mask = s.image.truth.mask(box, size).astype(np.uint8)
    result = LabelMap(mask, box, ("other", "tumour"), source="truth")
    return deepzoom.overlay(result, TRUTH, opacity=0.5, label="Truth")


def _nuclei(s: Session, box: Box) -> list[dict[str, Any]]:
    points, kinds = s.image.truth.points(box)
    if not len(points):
        return []
    result = Points(
        points, labels=kinds.astype(int), classes=("other cell", "tumour cell", "lymphocyte")
    )
    return deepzoom.overlay(result, "nuclei", label="Nuclei")


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
) -> list[dict[str, Any]]:
    """Overlays of the steps named, bottom first: maps below lines."""
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
            return deepzoom.overlay(result, f"step-{name}", version=stamp)

        specs = shell.cached(("step", name, stamp), result, make)
        out += [spec | _shade(spec, opacity, floor) for spec in specs]
    if READS in shown and run is not None:
        out += shell.cached(("reads", id(run.reads)), run.reads,
                            lambda: deepzoom.overlay(run.reads, "reads", label="Read map"))  # fmt: skip
    return sorted(out, key=lambda spec: spec["kind"] != "raster")


def _shade(spec: Mapping[str, Any], opacity: float, floor: float) -> dict[str, Any]:
    """What the browser applies to a map by itself: opacity, and a threshold where zero is 'none'."""
    if spec["kind"] != "raster":
        return {}
    if spec["lut"] in ("diverging", "labels") or floor <= 0:
        return {"opacity": opacity}
    low, high = spec["vmin"], spec["vmax"]
    return {"opacity": opacity, "threshold": low + floor * (high - low)}


def beside(step: Step | None) -> dict[str, Any] | None:
    """The output picture for the linked pane."""
    if step is None or not isinstance(step.result, Picture):
        return None
    picture = step.result
    made: dict[str, Any] = shell.cached(("output", step.name), picture,
                                        lambda: deepzoom.output(picture, step.name.capitalize()))  # fmt: skip
    return made

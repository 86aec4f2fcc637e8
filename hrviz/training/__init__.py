"""Recipes that train the bundled networks: `hrviz train NAME`, deterministic by seed, in minutes.

Each recipe is one file with a `train(seed, steps, report)` that trains on procedural scenes, judges
on held-out ones, and writes weights and card through `hrviz.nets.save`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from hrviz.errors import HrvizError

RECIPES = {
    "tissue-segmenter": "hrviz.training.tissue_segmenter",
    "tissue-saliency": "hrviz.training.tissue_saliency",
    "road-detector": "hrviz.training.road_detector",
    "road-detector-fovea": "hrviz.training.road_detector_fovea",
    "road-detector-unzoom": "hrviz.training.road_detector_unzoom",
    "road-saliency": "hrviz.training.road_saliency",
    "vessel-segmenter": "hrviz.training.vessel_segmenter",
    "boundary-sampler-tissue": "hrviz.training.boundary_sampler_tissue",
    "boundary-sampler-vessels": "hrviz.training.boundary_sampler_vessels",
    "crowd-detector-light": "hrviz.training.crowd_detector_light",
    "crowd-detector-heavy": "hrviz.training.crowd_detector_heavy",
    "road-localiser": "hrviz.training.road_localiser",
    "road-reader": "hrviz.training.road_reader",
    "tissue-deformation": "hrviz.training.tissue_deformation",
    "vessel-deformation": "hrviz.training.vessel_deformation",
    "endoscopy-agdn": "hrviz.training.endoscopy_agdn",
    "gigadet-counts": "hrviz.training.gigadet_counts",
    "landolt": "hrviz.training.landolt",
    "colon-ats": "hrviz.training.colon_ats",
    "colon-patch-selection": "hrviz.training.colon_patch_selection",
    "colon-ips": "hrviz.training.colon_ips",
    "colon-bagnet-9": "hrviz.training.colon_bagnet_9",
    "colon-bagnet-17": "hrviz.training.colon_bagnet_17",
    "colon-bagnet-33": "hrviz.training.colon_bagnet_33",
    "crowd-profile": "hrviz.training.crowd_profile",
    "colon-zoom-in": "hrviz.training.colon_zoom_in",
    "slide-zoom-in": "hrviz.training.slide_zoom_in",
    "colon-zoom-in-resnet": "hrviz.training.colon_zoom_in_resnet",
    "patch-drop": "hrviz.training.patch_drop",
    "recurrent-attention": "hrviz.training.recurrent_attention",
    "needle-graph": "hrviz.training.needle_graph",
    "tissue-razn": "hrviz.training.tissue_razn",
    "road-gain": "hrviz.training.road_gain",
    "road-windows": "hrviz.training.road_windows",
    "crowd-counter": "hrviz.training.crowd_counter",
}


def train(
    name: str,
    *,
    seed: int = 0,
    steps: int | None = None,
    report: Callable[[str], None] = print,
    write: bool = True,
) -> dict[str, Any]:
    """Train one network and write its weights and card; returns the card.

    Raises
    ------
    HrvizError
        Unknown name, with the nearest.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}"
        raise HrvizError(f"there is no recipe {name!r}: {hint}")
    recipe = importlib.import_module(RECIPES[name])
    return recipe.train(seed=seed, steps=steps, report=report, write=write)

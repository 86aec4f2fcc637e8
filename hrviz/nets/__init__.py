"""Task networks and their weights: `load(name)` gives a network ready to run, and says so.

Weights are safetensors with a card (JSON: data, seed, steps, held-out metrics, command) beside
them. Loading records the network in the run's context, so that costs and badges name it. Pickles
are never read.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrviz.context import current
from hrviz.errors import HrvizError

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"

#: name of a weight file -> module and class that it fills
ARCHITECTURES = {
    "tissue-segmenter": ("hrviz.nets.unet", "SmallUNet"),
    "tissue-saliency": ("hrviz.nets.saliency", "SmallSaliencyNet"),
    "road-detector": ("hrviz.nets.detector", "SmallDetector"),
    "road-detector-fovea": ("hrviz.nets.detector", "SmallDetector"),
    "road-detector-unzoom": ("hrviz.nets.detector", "SmallDetector"),
    "road-saliency": ("hrviz.nets.prior", "FixedSaliency"),
    "vessel-segmenter": ("hrviz.nets.unet", "SmallUNet"),
    "boundary-sampler-tissue": ("hrviz.nets.boundary", "SmallBoundaryNet"),
    "boundary-sampler-vessels": ("hrviz.nets.boundary", "SmallBoundaryNet"),
    "crowd-detector-light": ("hrviz.nets.detector", "SmallDetector"),
    "crowd-detector-heavy": ("hrviz.nets.detector", "SmallDetector"),
    "road-localiser": ("hrviz.nets.transformer", "Localiser"),
    "road-reader": ("hrviz.nets.transformer", "SignReader"),
    "tissue-deformation": ("hrviz.nets.deformation", "DeformationNet"),
    "vessel-deformation": ("hrviz.nets.deformation", "DeformationNet"),
    "endoscopy-agdn": ("hrviz.nets.attention_guided", "AttentionGuided"),
    "gigadet-counts": ("hrviz.nets.patch_generation", "PatchGenerationNet"),
    "landolt-saliency": ("hrviz.nets.landolt", "LandoltSaliency"),
    "colon-zoom-in": ("hrviz.nets.zoom_in", "ZoomIn"),
    "slide-zoom-in": ("hrviz.nets.zoom_in", "ZoomIn"),
    "colon-zoom-in-resnet": ("hrviz.nets.zoom_in", "ZoomIn"),
    "landolt-classifier": ("hrviz.nets.landolt", "LandoltClassifier"),
    "patch-drop-policy": ("hrviz.nets.patch_drop", "SmallPolicy"),
    "patch-drop-classifier": ("hrviz.nets.patch_drop", "PatchClassifier"),
    "patch-drop-low": ("hrviz.nets.patch_drop", "PatchClassifier"),
    "recurrent-attention": ("hrviz.nets.recurrent_attention", "SmallRaCnn"),
    "needle-graph": ("hrviz.nets.zoom_graph", "ZoomGraph"),
    "tissue-razn-f32": ("hrviz.nets.razn", "WindowSegmenter"),
    "tissue-razn-f16": ("hrviz.nets.razn", "WindowSegmenter"),
    "tissue-razn-f8": ("hrviz.nets.razn", "WindowSegmenter"),
    "tissue-razn-g32x2": ("hrviz.nets.razn", "ZoomPolicy"),
    "tissue-razn-g16x2": ("hrviz.nets.razn", "ZoomPolicy"),
    "tissue-razn-g32x4": ("hrviz.nets.razn", "ZoomPolicy"),
    "colon-ips": ("hrviz.nets.iterative", "IterativeSelection"),
    "colon-patch-selection": ("hrviz.nets.perturbed", "PatchSelection"),
    "colon-bagnet-9": ("hrviz.nets.bagnet", "BagNet"),
    "colon-bagnet-17": ("hrviz.nets.bagnet", "BagNet"),
    "colon-bagnet-33": ("hrviz.nets.bagnet", "BagNet"),
    "colon-ats": ("hrviz.nets.attention_sampling", "AttentionSampling"),
    "road-gain": ("hrviz.nets.gain", "GainNet"),
    "road-windows": ("hrviz.nets.gain", "WindowNet"),
    "crowd-counter": ("hrviz.nets.sasnet", "CrowdCounter"),
    "crowd-counter-half": ("hrviz.nets.sasnet", "CrowdCounter"),
    "crowd-counter-quarter": ("hrviz.nets.sasnet", "CrowdCounter"),
}


@cache
def fingerprint() -> str:
    """Changes when any bundled weights change: part of every cache key."""
    digest = hashlib.sha256()
    for file in sorted(WEIGHTS.glob("*.safetensors")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def card(name: str) -> dict[str, Any]:
    """What is known of a network's weights: data, seed, steps, metrics, command."""
    file = WEIGHTS / f"{name}.json"
    if not file.exists():
        raise HrvizError(f"there are no weights for {name!r}: make them with 'hrviz train {name}'")
    return dict(json.loads(file.read_text()))


@cache
def _load(name: str) -> tuple[Any, str]:
    from safetensors.torch import load_file

    facts = card(name)
    module, architecture = ARCHITECTURES[name]
    net = getattr(importlib.import_module(module), architecture)(**facts["config"])
    file = WEIGHTS / f"{name}.safetensors"
    net.load_state_dict(load_file(file))
    net.eval().requires_grad_(False)
    return net, hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def digest(name: str) -> str:
    """What a network is for its cost: architecture and configuration, whatever its weights."""
    facts = json.dumps([ARCHITECTURES[name], card(name)["config"]], sort_keys=True)
    module = importlib.import_module(ARCHITECTURES[name][0])
    source = Path(str(module.__file__)).read_bytes()
    return hashlib.sha256(facts.encode() + source).hexdigest()[:12]


def blank(name: str) -> Callable[[], nn.Module]:
    """Builds a bundled network without its weights: for its cost, which depends on shapes alone."""
    facts = card(name)
    module, architecture = ARCHITECTURES[name]
    return lambda: getattr(importlib.import_module(module), architecture)(**facts["config"])


def load(name: str) -> nn.Module:
    """A trained network by name, on the run's device.

    Raises
    ------
    HrvizError
        When its weights are missing, with the command that makes them.
    """
    net, digest = _load(name)
    context = current()
    parameters = sum(p.numel() for p in net.parameters())
    context.networks[name] = (parameters, digest, f"trained: {name}")
    return net.to(context.device)


def run(name: str, batch: torch.Tensor, part: str = "forward") -> torch.Tensor:
    """Run a trained network on a batch `(n, 3, h, w)` in 0..1, counting what it is given.

    `part` is the method of the network that is called, for networks that work in stages.
    """
    import torch

    context = current()
    context.check()
    net = load(name)
    with torch.no_grad():
        call = net if part == "forward" else getattr(net, part)
        out = call(batch.to(context.device)).cpu()
    predicted = predicted_memory(name, tuple(batch.shape), part)
    context.counts["network_memory"] = max(context.counts.get("network_memory", 0.0), predicted)
    return out


@cache
def predicted_memory(name: str, shape: tuple[int, ...], part: str = "forward") -> int:
    """Predicted peak bytes of one inference call of a trained network on a batch of this shape."""
    from hrviz.cost.study import metered

    return metered(name, shape, part).peak


def save(name: str, net: nn.Module, facts: dict[str, Any]) -> None:
    """Write weights and card of a trained network, each whole or not at all."""
    from safetensors.torch import save as serialise

    from hrviz.results import write_whole

    data = serialise({k: v.contiguous() for k, v in net.state_dict().items()})
    write_whole(WEIGHTS / f"{name}.safetensors", lambda file: file.write(data))
    text = json.dumps(facts | {"parameters": sum(p.numel() for p in net.parameters())}, indent=1)
    write_whole(WEIGHTS / f"{name}.json", lambda file: file.write(text.encode() + b"\n"))
    fingerprint.cache_clear()
    _load.cache_clear()

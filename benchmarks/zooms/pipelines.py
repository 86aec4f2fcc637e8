"""Every method that has a recipe as a pipeline: how it is trained, how it answers, what it calls.

A pipeline answers a batch of pictures of a set (`hrviz.training.search_training.Store`), so that
accuracy, FLOPs and time of all of them are measured in the same way, on pixels in memory. `calls` lists the network
calls of one picture, (part, shape): the largest of them is the peak memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrviz import nets
from hrviz.training import (
    search_ats,
    search_bagnet,
    search_ips,
    search_patch_selection,
    zoom_in_recipes,
)
from hrviz.training import search_training as shared
from hrviz.training import zoom_in as zooming
from hrviz.training.search_data import SETS

from . import baselines

Call = tuple[str, tuple[int, ...]]
Report = Callable[[str], None]

# Sets without bundled networks: the sheet's scales where they fit the objects (discs of some 46 px, a sign of
# some 50 px, cars of 22 x 9 px), sides and steps so that a training stays short.
_SIDES = {"needle": (96, 2, 8), "road": (96, 2, 4), "aerial": (64, 2, 4)}  # patch, stride, view
_EASIER = {"needle": "strewn", "road": "close", "aerial": "jammed"}
_ATS = {
    f"{name}-ats": search_ats.Recipe(
        name, patch, stride, draws, steps, downsample=view, easier=_EASIER[name], easier_steps=easier,
    )
    for (name, (patch, stride, view)), draws, steps, easier in zip(
        _SIDES.items(), (10, 5, 10), (300, 400, 300), (500, 700, 300), strict=True
    )
}  # fmt: skip
_TOP = {
    f"{name}-patch-selection": search_patch_selection.Recipe(
        name, patch, stride, best, 200, warm=0, rate=5e-4, downsample=view
    )
    for (name, (patch, stride, view)), best in zip(_SIDES.items(), (10, 5, 10), strict=True)
}
_IPS = {
    f"{name}-ips": search_ips.Recipe(name, patch, step, stride, memory=16, chunk=64, steps=steps)
    for (name, (patch, stride, _)), step, steps in zip(
        _SIDES.items(), (64, 64, 64), (150, 120, 120), strict=True
    )
}
_BAG = {f"{name}-bagnet-33": search_bagnet.Recipe(name, 33, steps=80) for name in _SIDES}
_PLAN = zooming.Plan(steps=400, batch=16, rate=2e-3)


def _reduced(name: str, by: int) -> str:
    """A set at a whole part of its resolution, its pictures the same; returns its name."""
    told = f"{name} at {PARTS[by]}"
    h, w = SETS[name].size
    SETS.setdefault(told, replace(SETS[name], size=(h // by, w // by)))
    return told


# Discs of 46 px and signs of 50 px are larger than what the LeNet sees of a sub-tile (16 px, then a mean):
# there a coarser level of the pyramid is where Zoom-In's sub-tiles are read.
PARTS = {2: "a half", 4: "a quarter"}
_LEVEL = {"needle": {"lenet": 4, "resnet": 2}, "road": {"lenet": 2, "resnet": 2}}


def _on_discs(extractor: str) -> zoom_in_recipes.Recipe:
    by = _LEVEL["needle"][extractor]
    spotted, sown, rate, subtile = {"lenet": (60, 2000, 4e-3, 24), "resnet": (200, 200, 2e-3, 32)}[
        extractor
    ]
    return zoom_in_recipes.Recipe(
        _reduced("needle", by), zooming.Setting(16 // by, 8 // by, (128 // by, 128 // by), subtile, 10),
        replace(_PLAN, contrastive=0.0, rate={"lenet": 2e-3, "resnet": 1e-3}[extractor]), extractor,
        before=(zoom_in_recipes.Stage(_reduced("spotted", by), spotted),
                zoom_in_recipes.Stage(_reduced("few", by), 150, enough=0.9, tries=3),
                zoom_in_recipes.Stage(_reduced("sown", by), sown, rate, held=True, enough=0.9, tries=3)),
    )  # fmt: skip


def _on_signs(extractor: str) -> zoom_in_recipes.Recipe:
    by = _LEVEL["road"][extractor]
    steps, rate, last = {
        "lenet": ((400, 200, 300, 300), 3e-3, 500), "resnet": ((250, 200, 200, 200), 2e-3, 400),
    }[extractor]  # fmt: skip
    return zoom_in_recipes.Recipe(
        _reduced("road", by), zooming.Setting(16 // by, 8 // by, (128 // by, 128 // by), 40, 10),
        replace(_PLAN, contrastive=0.0, steps=last), extractor,
        # moved round, two signs in five of `nearer` are cut
        before=tuple(zoom_in_recipes.Stage(_reduced(name, by), n, rate, enough=enough, tries=3, shifted=name != "beside")
                     for name, n, enough in zip(("beside", "nearer", "close", "between"), steps,
                                                (0.85, 0.7, 0.8, 0.8), strict=True)),
    )  # fmt: skip


_AERIAL = zoom_in_recipes.Recipe(
    "aerial", zooming.Setting(6, 3, (96, 96), 36, 10), _PLAN,
    before=(zoom_in_recipes.Stage("jammed", 500),),
)  # fmt: skip
_ZOOM = {
    "needle-zoom-in": _on_discs("lenet"), "needle-zoom-in-resnet": _on_discs("resnet"),
    "road-zoom-in": _on_signs("lenet"), "road-zoom-in-resnet": _on_signs("resnet"),
    "aerial-zoom-in": _AERIAL, "aerial-zoom-in-resnet": replace(_AERIAL, extractor="resnet", before=()),
}  # fmt: skip
for module, more in (
    (search_ats, _ATS), (search_patch_selection, _TOP), (search_ips, _IPS), (search_bagnet, _BAG),
    (zoom_in_recipes, _ZOOM),
):  # fmt: skip
    for key, recipe in more.items():
        module.RECIPES.setdefault(key, recipe)


@dataclass
class Pipeline:
    """One row of the table.

    Attributes
    ----------
    arm, set, weights : str
        `weights` names a recipe and, where they are bundled, its weights; '' for baselines.
    recipe : Any
        What the training depends on; a change of it makes kept results void.
    train : callable
        Of seed, steps (None: the recipe's) and report: what was found on unseen pictures.
    make : callable
        A network as it is before training.
    answer : callable
        Of the network, a store, a batch, and the redraw: logits (b, classes).
    calls : callable
        Of True or False, whether patches go through the network all at once or one by one.
    draws : bool
        Whether answers differ from draw to draw.
    method, params : str, dict
        What runs it in the product, '' for baselines.
    downsample : int
        Of the store's views.
    size : (int, int) or None
        Of the whole picture as a baseline sees it.
    extra : dict
        Counts that `calls` does not tell.
    """

    arm: str
    set: str
    weights: str
    recipe: Any
    train: Callable[[int, int | None, Report], dict[str, Any]]
    make: Callable[[], Any]
    answer: Callable[[Any, Any, shared.Batch, int], Tensor]
    calls: Callable[[bool], list[Call]]
    draws: bool = False
    method: str = ""
    downsample: int = 4
    size: tuple[int, int] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def bundled(self) -> bool:
        return bool(self.weights) and (nets.WEIGHTS / f"{self.weights}.json").exists()

    def network(self) -> Any:
        """The bundled network, or an untrained one of the same size."""
        if self.bundled:
            return nets.load(self.weights)
        torch.manual_seed(0)
        return self.make().eval()

    def store(self, count: int | None, report: Report) -> Any:
        """Unseen pictures as this pipeline takes them."""
        if self.size is not None:
            return baselines.Even(self.set, "unseen", self.size, count, report)
        return shared.Store(self.set, "unseen", self.downsample, count, report)


# a training that begins with what another found, of the same seed: patch selection with attention sampling's
# scorer and features, Zoom-In's ResNet with its LeNet's attentions
_STARTS = {"-patch-selection": "-ats", "-zoom-in-resnet": "-zoom-in"}
KEPT = Path(__file__).parent.parent / "output"


def _start(name: str) -> str:
    """The training that this one begins with, '' for none: with stages of its own it needs none."""
    for end, other in _STARTS.items():
        if name.endswith(end) and not getattr(_declared(name), "before", ()):
            return name.removesuffix(end) + other
    return ""


def _by_recipe(name: str) -> Callable[[int, int | None, Report], dict[str, Any]]:
    """Train through the product's recipe, nothing written; the card's figures."""

    def train(seed: int, steps: int | None, report: Report) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if first := _start(name):
            more["start"] = _trained(first, seed, steps, report)[1]
        if name.endswith(tuple(_STARTS.values())):
            return _trained(name, seed, steps, report)[0]
        return _figures(_recipe(name)(seed=seed, steps=steps, report=report, write=False, **more))

    return train


def begins_with(name: str) -> Any:
    """Recipe of the training that this one begins with; None where there is none."""
    first = _start(name)
    return _declared(first) if first else None


def _declared(name: str) -> Any:
    known = (search_ats, search_patch_selection, search_ips, search_bagnet, zoom_in_recipes)
    return next((m.RECIPES[name] for m in known if name in m.RECIPES), None)  # type: ignore[attr-defined]


def _recipe(name: str) -> Callable[..., dict[str, Any]]:
    modules = {"-ats": search_ats, "-patch-selection": search_patch_selection, "-ips": search_ips}
    if "-zoom-in" in name:
        return partial(zoom_in_recipes.train, name)
    module = next((m for end, m in modules.items() if name.endswith(end)), search_bagnet)
    return partial(module.train, name)


def _figures(card: dict[str, Any]) -> dict[str, Any]:
    found = card["unseen"]
    redraws = found.get("spread_over_redraws", found.get("sd_of_redraws"))
    return {"accuracy": found["accuracy"], "pictures": found["pictures"], "sd_of_redraws": redraws,
            "seconds": card["seconds"]}  # fmt: skip


def _trained(name: str, seed: int, steps: int | None, report: Report) -> tuple[dict[str, Any], Any]:
    """A network that others begin with, and its figures; kept by recipe and seed."""
    from safetensors.torch import load_file, save_file

    recipe = _declared(name)
    first, _ = next(SETS[recipe.set].images("train", 1))
    digest = hashlib.sha256(repr((recipe, SETS[recipe.set], first.identity, steps)).encode()).hexdigest()  # fmt: skip
    file = KEPT / f"{name}-{digest[:10]}-{seed}.safetensors"
    part = name.split("-")[0]
    pipe = ats(part) if name.endswith("-ats") else zoom_in(part, "lenet")
    net = pipe.make()
    if file.exists():
        net.load_state_dict(load_file(file))
        return json.loads(file.with_suffix(".json").read_text()), net.eval()
    card = _recipe(name)(seed=seed, steps=steps, report=report, write=False,
                         keep=lambda found: net.load_state_dict(found.state_dict()))  # fmt: skip
    KEPT.mkdir(exist_ok=True)
    file.with_suffix(".json").write_text(json.dumps(_figures(card)))
    save_file(net.state_dict(), file)
    return _figures(card), net.eval()


def _generator(redraw: int, batch: shared.Batch) -> torch.Generator:
    return torch.Generator().manual_seed(100_003 * redraw + int(batch.index[0]))


def ats(name: str) -> Pipeline:
    """Attention sampling."""
    recipe = search_ats.RECIPES[f"{name}-ats"]
    from hrviz.nets.attention_sampling import AttentionSampling

    def answer(net: Any, store: Any, batch: shared.Batch, redraw: int) -> Tensor:
        p, index = net.draw(batch.view, recipe.draws, _generator(redraw, batch))
        where = shared.positions(store, recipe.patch)
        patches = store.patches(batch, where[index.numpy()], recipe.patch)
        out: Tensor = net.decide(p, index, patches)
        return out

    return Pipeline(
        f"attention sampling, {recipe.draws} x {recipe.patch} px", name, f"{name}-ats", recipe,
        _by_recipe(f"{name}-ats"),
        lambda: AttentionSampling(len(SETS[name].classes), stride=recipe.stride, patch=recipe.patch),
        answer,
        lambda whole: [("look", _view(name, recipe.downsample)), ("encode", (recipe.draws if whole else 1, 3, recipe.patch, recipe.patch))],
        True, "attention-sampling", recipe.downsample, params={"samples": recipe.draws},
    )  # fmt: skip


def top_k(name: str) -> Pipeline:
    """Differentiable patch selection."""
    recipe = search_patch_selection.RECIPES[f"{name}-patch-selection"]
    from hrviz.nets.perturbed import PatchSelection, hard_top_k

    def make() -> Any:
        return PatchSelection(len(SETS[name].classes), recipe.pooling, stride=recipe.stride, patch=recipe.patch)  # fmt: skip

    def answer(net: Any, store: Any, batch: shared.Batch, redraw: int) -> Tensor:
        index = hard_top_k(net.scores(batch.view), recipe.best)
        where = shared.positions(store, recipe.patch)
        out: Tensor = net.decide(store.patches(batch, where[index.numpy()], recipe.patch))
        return out

    return Pipeline(
        f"patch selection (top-k), {recipe.best} x {recipe.patch} px", name, f"{name}-patch-selection",
        recipe, _by_recipe(f"{name}-patch-selection"), make, answer,
        lambda whole: [("look", _view(name, recipe.downsample)), ("features", (recipe.best if whole else 1, 3, recipe.patch, recipe.patch))],
        False, "patch-selection", recipe.downsample, params={"best": recipe.best},
    )  # fmt: skip


def ips(name: str) -> Pipeline:
    """Iterative patch selection."""
    recipe = search_ips.RECIPES[f"{name}-ips"]
    from hrviz.methods.zooming.memory_loop import starts
    from hrviz.nets.iterative import IterativeSelection, select

    lines = [starts(n, recipe.patch, recipe.step).astype(int) for n in SETS[name].size]
    where = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)
    classes = len(SETS[name].classes)

    def answer(net: Any, store: Any, batch: shared.Batch, redraw: int) -> Tensor:
        order = np.random.default_rng(redraw).permutation(len(where))
        b, n = len(batch.index), len(where)
        patches = store.patches(batch, np.broadcast_to(where[order], (b, n, 2)), recipe.patch)

        def logits(start: int, stop: int) -> Tensor:
            found = net.features(patches[:, start:stop].flatten(0, 1))
            out: Tensor = net.pool.logits(found.view(b, stop - start, -1))
            return out

        *_, (kept, _) = select(n, recipe.memory, recipe.chunk, logits)
        out: Tensor = net.decide(patches[torch.arange(b)[:, None], kept])
        return out

    return Pipeline(
        f"iterative patch selection, {len(where)} x {recipe.patch} px, {recipe.memory} kept", name, f"{name}-ips", recipe,
        _by_recipe(f"{name}-ips"),
        lambda: IterativeSelection(classes, recipe.heads, memory=recipe.memory, chunk=recipe.chunk,
                                   stride=recipe.stride, patch=recipe.patch, step=recipe.step),
        answer,
        lambda whole: [("features", (recipe.chunk if whole else 1, 3, recipe.patch, recipe.patch))],
        True, "iterative-patch-selection", params={"memory": recipe.memory, "chunk": recipe.chunk},
        extra={"network_pixels": float((len(where) + recipe.memory) * recipe.patch**2),
               "pixels_asked": float(len(where) * recipe.patch**2)},
    )  # fmt: skip


def bagnet(name: str, receptive: int) -> Pipeline:
    """BagNet, on the picture at half resolution."""
    key = f"{name}-bagnet-{receptive}"
    from hrviz.nets.bagnet import BagNet

    return Pipeline(
        f"BagNet-{receptive}, half resolution", name, key, search_bagnet.RECIPES[key], _by_recipe(key),
        lambda: BagNet(len(SETS[name].classes), receptive),
        lambda net, store, batch, redraw: net(batch.view),
        lambda whole: [("forward", _view(name, 2))], False, "bagnet", 2,
        params={"field": receptive},
    )  # fmt: skip


class ZoomStore(zooming.Material):
    """Pictures of a set for the Zoom-In network, with batches as the others have them."""

    def __init__(self, name: str, setting: Any, count: int | None, report: Report) -> None:
        from hrviz.training.search_data import pictures

        found = pictures(name, "unseen", count, report)
        super().__init__(found.pixels, found.labels, setting)

    def batch(self, index: np.ndarray) -> shared.Batch:
        """Pictures by index."""
        turns = np.zeros((len(index), 3), bool)
        return shared.Batch(index, turns, self.views[index].float() / 255, self.labels[index])


@dataclass
class ZoomPipeline(Pipeline):
    """The Zoom-In network has its own store."""

    def store(self, count: int | None, report: Report) -> Any:
        return ZoomStore(self.recipe.set, self.recipe.setting, count, report)


def zoom_in(name: str, extractor: str) -> Pipeline:
    """The Zoom-In network with one of its extractors."""
    key = f"{name}-zoom-in" + ("-resnet" if extractor == "resnet" else "")
    from hrviz.nets.zoom_in import ZoomIn

    recipe = zoom_in_recipes.RECIPES[key]
    s = recipe.setting
    tile = (1, 3, s.tile[0] // s.second, s.tile[1] // s.second)

    def answer(net: Any, store: Any, batch: shared.Batch, redraw: int) -> Tensor:
        return zooming.look(net, store, batch.index, _generator(redraw, batch)).logits

    by = SETS[name].size[0] // SETS[recipe.set].size[0]
    level = "" if by == 1 else f" at {PARTS[by]} of the resolution"
    return ZoomPipeline(
        f"Zoom-In ({'ResNet' if extractor == 'resnet' else 'LeNet'}), {s.draws} x {s.subtile} px{level}", name, key,
        recipe, _by_recipe(key), lambda: ZoomIn(len(SETS[name].classes), extractor), answer,  # type: ignore[arg-type]
        lambda whole: [("first", _view(recipe.set, s.first)), ("second", tile),
                       ("encode", (s.draws if whole else 1, 3, s.subtile, s.subtile))],
        True, "zoom-in-network" if extractor == "lenet" and by == 1 else "",
        extra={"network_pixels": zoom_pixels(key), "pixels_asked": float(
            SETS[name].size[0] * SETS[name].size[1]
            + s.draws * (s.tile[0] * s.tile[1] + s.subtile**2) * by**2)},  # at most, N' = N
    )  # fmt: skip


def whole(name: str, size: tuple[int, int], told: str) -> Pipeline:
    """The convolutional network on the picture at some size."""
    return Pipeline(
        f"CNN, {told}", name, "", ("whole", size, baselines.PIXELS, baselines.RATE),
        lambda seed, steps, report: baselines.whole(name, size, seed, steps, report)[1],
        lambda: baselines.WholeNet(len(SETS[name].classes)),
        lambda net, store, batch, redraw: net(batch.view),
        lambda whole: [("forward", (1, 3, *size))], size=size,
    )  # fmt: skip


def voting(name: str, pooling: str) -> Pipeline:
    """All patches, their logits pooled."""
    patch, stride = {"colon": (48, 2), "aerial": (64, 2)}.get(name, (96, 4))
    where = baselines.grid(name, patch)
    return Pipeline(
        f"cutting into {len(where)} patches of {patch} px, {pooling} of logits", name, "",
        ("voting", patch, stride, pooling, baselines.PIXELS, baselines.RATE),
        lambda seed, steps, report: baselines.voting(name, patch, stride, pooling, seed, steps, report)[1],
        lambda: baselines.PatchVote(len(SETS[name].classes), stride, pooling),
        lambda net, store, batch, redraw: baselines.vote(net, store, batch, where, patch),
        lambda whole: [("votes", (len(where) if whole else 1, 3, patch, patch))],
        extra={"network_pixels": float(len(where) * patch**2), "pixels_asked": float(len(where) * patch**2)},
    )  # fmt: skip


def _view(name: str, downsample: int) -> tuple[int, int, int, int]:
    h, w = SETS[name].size
    return 1, 3, h // downsample, w // downsample


def zoom_pixels(key: str) -> float:
    """Pixels that a Zoom-In recipe gives to networks at most, N' = N."""
    recipe = zoom_in_recipes.RECIPES[key]
    s = recipe.setting
    h, w = SETS[recipe.set].size
    tile = s.tile[0] * s.tile[1] / s.second**2
    return h * w / s.first**2 + s.draws * (tile + s.subtile**2)


def of(name: str) -> list[Pipeline]:
    """All rows of a set."""
    h, w = SETS[name].size
    share = zoom_pixels(f"{name}-zoom-in") / (h * w)
    sizes = [(round(h * k), round(w * k)) for k in (share**0.5, share**0.5 / 2)]
    fields = (17, 33) if name == "colon" else (33,)
    return [
        whole(name, (h, w), "whole picture"),
        whole(name, (h // 2, w // 2), f"downsampled to {w // 2} x {h // 2}"),
        whole(name, sizes[0], f"downsampled to Zoom-In's pixels ({sizes[0][1]} x {sizes[0][0]})"),
        whole(name, sizes[1], f"downsampled to a quarter of these ({sizes[1][1]} x {sizes[1][0]})"),
        voting(name, "mean"),
        voting(name, "max"),
        *(bagnet(name, k) for k in fields),
        ips(name),
        top_k(name),
        ats(name),
        zoom_in(name, "lenet"),
        zoom_in(name, "resnet"),
    ]

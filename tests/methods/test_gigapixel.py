"""200,000 x 100,000 pixels by every method that zooms or patches: memory, reads, progress, cancelling.

A method that is added is tested with what makes it run without a network; `PARAMS` says what else it
takes to be quick. Detectors of people run with their networks too, on a crowd.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import hrviz
from hrviz import run as running
from hrviz.context import Context
from hrviz.errors import Cancelled, HrvizError
from hrviz.image.cache import TILES
from hrviz.method import METHODS, Method
from hrviz.results import Step

HUGE = "scene:tissue?size=200000x100000"
PIXELS = 200_000 * 100_000
EVERY = [m for m in METHODS.values() if m.family in ("zooming", "baselines")]
#: what makes a method run without a network, where it has such parameters
LIGHT = {"task": "none", "saliency": "edges"}
#: few draws, patches and levels: enough to see how a method goes about so large a picture
PARAMS: dict[str, dict[str, Any]] = {
    "attention-sampling": {"patch": 64, "redraws": 0},
    "gigadet": {"patches": 4},
    "iterative-patch-selection": {"most": 128, "shuffles": 1},
    "patch-selection": {"patch": 64, "samples": 20},
    "razn": {"saliency": "truth", "ratio": 4, "zooms": 3, "finest": 16, "window": 32, "limit": 100},
    "remix": {"splits": 1, "history": "truth"},
    "zoom-in-network": {"draws": 4, "redraws": 1},
}
#: what a method will not do to so many pixels, what its sentence names, and choices that then work
REFUSED: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "cutting-into-patches": ({"patch": 64, "downsample": 1}, "larger patch", {"patch": 512}),
    "razn": ({"zooms": 0, "finest": 8}, "choose more zooms", {"zooms": 3, "finest": 16}),
    "zoom-in-network": ({"first": 0.05}, "lower first scale", {"first": 0.0}),
}
#: with networks, on a scene that they are trained for
OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "gigadet": ("crowd?size=200000x100000&people=200", {"patches": 2, "saliency": "trained"}),
    "remix": ("crowd?size=200000x100000&people=200", {"splits": 1, "budget": 60.0}),
}
MEMORY = 300 * 2**20  # bytes, the tiles kept included
KEPT = 32 * 2**20  # bytes of tiles kept
SHARE = 1e-3  # of the pixels
AT_ONCE = 16  # tiles between two moments at which a run can be stopped


@dataclass
class Watch:
    """Counts the moments at which a method asks whether it is to stop, and the tiles in between."""

    view: Any
    stop_at: int = 0
    tiles: list[int] = field(default_factory=list)

    def __call__(self) -> bool:
        self.tiles.append(self.view.reads.tiles_read)
        return len(self.tiles) == self.stop_at

    @property
    def most_at_once(self) -> int:
        told = [0, *self.tiles, self.view.reads.tiles_read]
        return max(b - a for a, b in itertools.pairwise(told))


@pytest.fixture(autouse=True)
def few_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiles are kept up to a bound of their own; here a low one."""
    TILES.clear()
    running.CACHE.clear()
    monkeypatch.setattr(TILES, "max_bytes", KEPT)
    yield
    TILES.clear()


def params_of(method: Method, **params: Any) -> dict[str, Any]:
    light = {k: v for k, v in LIGHT.items() if k in method.defaults}
    return light | PARAMS.get(method.name, {}) | params


def run(method: Method, watch: Watch, params: dict[str, Any]) -> list[Step]:
    """All that is told while a method runs."""
    context = Context(cancelled=watch)
    return [m.step for m in running.stream(method, watch.view, params, context)]


def keeps_within_bounds(method: Method, address: str, params: dict[str, Any]) -> None:
    watch = Watch(hrviz.open(address).view())
    tracemalloc.start()
    try:
        told = run(method, watch, params)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told
    assert peak < MEMORY
    assert 0 < watch.view.reads.pixels_requested < SHARE * PIXELS
    assert watch.view.reads.pixels_read < 2 * SHARE * PIXELS
    for tree in [s.result for s in told if s.name == "tree"][-1:]:
        assert tree.pixels == pytest.approx(watch.view.reads.pixels_requested)
    # what reads more than is there in a moment says in between how far it is
    assert watch.view.reads.tiles_read <= AT_ONCE or any(0 <= s.progress < 1 for s in told)
    assert watch.most_at_once <= AT_ONCE
    # told to stop halfway, it does: it does not ask again, and reads nothing more
    half = Watch(hrviz.open(address).view(), stop_at=(len(watch.tiles) + 1) // 2)
    with pytest.raises(Cancelled):
        run(method, half, params)
    assert len(half.tiles) == half.stop_at
    assert half.view.reads.tiles_read == half.tiles[-1] <= watch.view.reads.tiles_read


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_memory_reads_progress_and_cancelling(method: Method) -> None:
    keeps_within_bounds(method, HUGE, params_of(method))


@pytest.mark.parametrize("name", OWN)
def test_the_same_with_networks_on_a_scene_of_their_own(name: str) -> None:
    scene, params = OWN[name]
    keeps_within_bounds(METHODS[name], f"scene:{scene}", params)


@pytest.mark.parametrize("name", REFUSED)
def test_too_much_work_is_refused_by_a_sentence_that_says_what_to_choose(name: str) -> None:
    method = METHODS[name]
    too_much, choose, instead = REFUSED[name]
    with pytest.raises(HrvizError, match=choose) as caught:
        run(method, Watch(hrviz.open(HUGE).view()), params_of(method, **too_much))
    assert "\n" not in str(caught.value)
    params = params_of(method, **too_much | instead)
    assert run(method, Watch(hrviz.open(HUGE).view()), params)

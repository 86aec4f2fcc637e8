"""How full a scene is: which of its parameters says how many objects it holds, and what truth counts.

A `Dial` belongs to a scene; which scene shows a method at little cost, `settings` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image import Image, open_image
from hrviz.image.readers import with_index
from hrviz.method import Method
from hrviz.scenes import Scene

RASTER = 512  # pixels a side on which the share of a class is taken


@dataclass(frozen=True)
class Dial:
    """The parameter of a scene that says how much is to be found in it.

    Parameters
    ----------
    name : str
        The scene's parameter.
    values : tuple of float
        What is tried where nothing else is asked for, rising.
    things : str
        What they are called in a sentence.
    counted : tuple of str
        Classes of the truth's boxes that count; empty: all.
    covers : str
        Class of the truth's mask whose share of the image is taken instead of a number.
    fixed : mapping
        Other parameters of the scene that must have these values for the dial to have its meaning.
    task : str
        Task that methods which have it must be given: left to themselves they would take it for some
        values of the dial only, and decide by something else for others.
    """

    name: str
    values: tuple[float, ...]
    things: str
    counted: tuple[str, ...] = ()
    covers: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""

    @property
    def label(self) -> str:
        """Of the axis."""
        return f"share of the image that is {self.covers}" if self.covers else f"{self.things} in the image"  # fmt: skip

    def present(self, image: Image) -> float:
        """How much there is: the number of true objects, or the share of the image they cover.

        Parameters
        ----------
        image : Image
            With truth.

        Returns
        -------
        float
            Objects (>= 0), or a share in 0..1 taken at RASTER points along the longer side.
        """
        truth = image.truth
        assert truth is not None
        if self.covers:
            step = max(image.height, image.width) / RASTER
            size = max(1, round(image.height / step)), max(1, round(image.width / step))
            classes = [k for k, name in truth.classes.items() if name == self.covers]
            return float(np.isin(truth.mask(image.box, size), classes).mean())
        found = truth.boxes()
        if not self.counted:
            return float(len(found))
        wanted = [k for k, name in found.names.items() if name in self.counted]
        return float(np.isin(found.classes, wanted).sum())


NEEDLES = ("disc", "cross", "digit", "cell", "car", "sign")
DIALS = {
    "needle": Dial("count", (1, 5, 10, 20, 40), "needles", NEEDLES, fixed={"presence": "always"}),
    "crowd": Dial("people", (10, 50, 200, 1000), "people", ("person",)),
    "tissue": Dial("tumour", (0.0, 0.02, 0.1, 0.25, 0.5), "tumour", covers="tumour"),
    "road": Dial("clutter", (0, 5, 10, 20, 40), "signs and cars"),
    "digits": Dial("digits", (1, 2, 3, 4, 5), "digits", task="digit classification"),
    "aerial": Dial("cars", (0.0, 0.1, 0.3, 0.6, 1.0), "cars", ("car",)),
}

#: method -> scene instead of its example: the same at a size that is quickly gone through
SCENES = {"gigadet": "scene:crowd?size=8000x4500&people=500"}
#: method -> the parameter that bounds its cost, whatever the image shows
BOUNDS = {
    "attention-sampling": "samples",
    "dynamic-zoom-in": "steps",
    "gigadet": "patches",
    "patch-selection": "best",
    "recurrent-attention": "scales",
    "remix": "budget",
    "zoom-in-network": "draws",
}
ASIDE = ("redraws", "shuffles")  # parameters of what is only shown; at their least


def settings(method: Method, params: Mapping[str, Any], dial: Dial) -> dict[str, Any]:
    """All parameters of a run whose cost is looked at: without comparisons, else the method's own."""
    quick: dict[str, Any] = {}
    for p in method.params:
        if p.name in ASIDE:
            quick[p.name] = p.control.minimum
        elif p.name == "compare" and p.kind == "flag":
            quick[p.name] = False
        elif p.name == "task" and dial.task in p.choices:
            quick[p.name] = dial.task
    return method.bind(quick | dict(params))


@dataclass(frozen=True)
class Series:
    """A scene at several settings of its dial, with one or more seeds each.

    Parameters
    ----------
    scene : Scene
        What is varied; its other parameters stay, its first seed is its own.
    dial : Dial
    values : tuple of float
        Rising.
    seeds : int
    """

    scene: Scene
    dial: Dial
    values: tuple[Any, ...]
    seeds: int

    def __len__(self) -> int:
        return len(self.values) * self.seeds

    def seed(self, k: int) -> int:
        return int(self.scene.params["seed"]) + k

    def address(self, value: Any, k: int = 0) -> str:
        """Of the scene at one value, with its `k`-th seed."""
        changed = {**self.dial.fixed, self.dial.name: value, "seed": self.seed(k)}
        return with_index(self.scene.kind.address(**self.scene.params | changed), self.scene.at)


def series(method: Method, image: str | None, values: Sequence[Any] | None, seeds: int) -> Series:
    """What a method is tried on.

    Parameters
    ----------
    method : Method
    image : str, optional
        Address of a scene; default the method's example, or the same at a smaller size.
    values : sequence of float, optional
        Default the dial's.
    seeds : int
        >= 1.

    Raises
    ------
    HrvizError
        One sentence: not a scene, no dial, no value, values that the scene does not take.
    """
    address = image or SCENES.get(method.name, method.example)
    scene = open_image(address).reader
    dial = DIALS.get(scene.kind.name) if isinstance(scene, Scene) else None
    if dial is None or not isinstance(scene, Scene):
        raise HrvizError(
            f"{address!r} has no parameter that says how many objects there are: choose a scene of "
            f"{', '.join(DIALS)}"
        )
    if not 1 <= seeds <= 100:
        raise HrvizError(f"seeds={seeds} is out of range: choose 1 to 100")
    param = next(p for p in scene.kind.params if p.name == dial.name)
    if values is not None and len(values) == 0:
        raise HrvizError(f"no value of {dial.name} is given: choose {param.allowed}")
    checked = sorted({param.check(v) for v in (dial.values if values is None else values)})
    return Series(scene, dial, tuple(checked), seeds)

"""Procedural scenes: images without a file, of any size, with ground truth.

An address names a scene and its parameters: `scene:tissue?size=100000x80000&seed=7&tumour=0.005`.
A new scene is one file (or folder) here with a class declared by `@scene`; see `scene.py`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from hrviz.errors import HrvizError
from hrviz.scenes.dataset import SceneDataset, dataset
from hrviz.scenes.scene import MAX_SIDE, REGISTERED, Scene, SceneKind
from hrviz.scenes.truth import Objects, Truth

__all__ = [
    "SCENES",
    "Objects",
    "Scene",
    "SceneDataset",
    "SceneKind",
    "Truth",
    "dataset",
    "open_scene",
]


class _Scenes(Mapping[str, SceneKind]):
    """All scenes by name; each file is imported when its scene is first asked for."""

    _names: tuple[str, ...] | None = None

    def _all(self) -> tuple[str, ...]:
        if self._names is None:
            shared = {"scene", "truth", "dataset", "noise", "film"}
            found = [
                m.name
                for m in pkgutil.iter_modules(__path__)
                if m.name not in shared and not m.name.startswith("_")
            ]
            self._names = tuple(sorted(found, key=lambda n: (n != "tissue", n)))
        return self._names

    def __getitem__(self, name: str) -> SceneKind:
        if name not in self._all():
            raise KeyError(name)
        if name not in REGISTERED:
            package = importlib.import_module(f"{__name__}.{name}")
            if name not in REGISTERED:  # a folder keeps its class in scene.py
                importlib.import_module(f"{package.__name__}.scene")
        return REGISTERED[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


SCENES = _Scenes()


def open_scene(uri: str, at: Mapping[str, int] | None = None) -> Scene:
    """Open a procedural scene.

    Parameters
    ----------
    uri : str
        `scene:NAME?key=value&...` with the scene's parameters; `size=WIDTHxHEIGHT` stands for
        `width` and `height`. What is left out has the scene's default.
    at : dict of str to int, optional
        Index on the scene's `axes`, e.g. `{"t": 12}`; the first picture without one.

    Returns
    -------
    Scene
        A reader with `truth`.

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
            f"scene {name!r} is not known: there are {', '.join(SCENES)}; did you mean scene:{near}?"
        )
    kind = SCENES[name]
    made = kind.make(**_values(kind, query))
    made.move_to(at or {})
    return made


def _values(kind: SceneKind, query: str) -> dict[str, object]:
    params = {p.name: p for p in kind.params}
    keys = ["size", *(k for k in params if k not in ("width", "height"))]
    values: dict[str, object] = dict(kind.defaults)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "size":
            values["width"], values["height"] = _size(value)
        elif key in params:
            try:
                values[key] = params[key].check(value)
            except HrvizError as error:
                raise HrvizError(f"scene {error}") from None
        else:
            near = (difflib.get_close_matches(key, keys, n=1, cutoff=0.0) or ["size"])[0]
            raise HrvizError(
                f"scene parameter {key!r} is not known: scene:{kind.name} has {', '.join(keys)}; "
                f"did you mean {near}?"
            )
    for side in ("width", "height"):
        try:
            values[side] = params[side].check(values[side])
        except HrvizError:
            raise HrvizError(
                f"scene size {values['width']}x{values['height']} is not allowed: scene:{kind.name} "
                f"takes a {side} of {params[side].allowed}"
            ) from None
    return values


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise HrvizError(
            f"scene size {text[:40]!r} is not WIDTHxHEIGHT: write two whole numbers of pixels, "
            "e.g. size=8000x6000"
        ) from None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise HrvizError(
            f"scene size {width}x{height} is outside 1 to {MAX_SIDE} px a side: "
            f"choose at most size={MAX_SIDE}x{MAX_SIDE}"
        )
    return width, height

"""A scene is one class: how to declare it, and what all scenes share.

`@scene(...)` reads the keyword-only parameters of `__init__`, `Annotated` with a `Control` like a
method's: from them come the address (`scene:crowd?size=8000x6000&people=3000`), its checks, and the
controls in the front ends. `Scene` assembles windows of aligned blocks, so a pixel is the same to
the bit whatever window it is asked in, and keeps the last blocks.
"""

from __future__ import annotations

import inspect
import sys
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlencode

import numpy as np

from hrviz.image.readers.base import Level, Reader, check_index
from hrviz.method import Control, Param, parameters_of
from hrviz.scenes.truth import Truth

MAX_SIDE = 200_000
BLOCK = 512
COARSEST = 1024

Width = Annotated[
    int, Control("Up: a wider picture of the same scale.", 1, MAX_SIDE, 1, unit="px", log=True)
]
Height = Annotated[
    int, Control("Up: a higher picture of the same scale.", 1, MAX_SIDE, 1, unit="px", log=True)
]
SceneSeed = Annotated[int, Control("Another seed, another scene.", 0, 2**31 - 1, 1)]
Frame = Annotated[int, Control("Which picture of the moving scene.", 0, 100_000, 1, basic=False)]


@dataclass(frozen=True, eq=False)
class SceneKind:
    """A declared scene.

    Attributes
    ----------
    name, title : str
        `scene:NAME`; title for people.
    idea : str
        First paragraph of the module's docstring.
    tasks : tuple of str
        What it is the laboratory of: 'counting', 'detection', ...
    params : tuple of Param
        As declared; `width` and `height` are written `size=WIDTHxHEIGHT` in addresses.
    small : mapping
        Parameters of a picture to start with and to train on.
    """

    name: str
    title: str
    idea: str
    tasks: tuple[str, ...]
    params: tuple[Param, ...]
    make: Callable[..., Scene]
    small: Mapping[str, Any]

    @property
    def defaults(self) -> dict[str, Any]:
        return {p.name: p.default for p in self.params}

    def address(self, **values: Any) -> str:
        """Canonical address; every value written out, so the same scene has one address."""
        full = self.defaults | values
        size = f"size={full.pop('width')}x{full.pop('height')}"
        rest = urlencode({k: repr(v) if isinstance(v, float) else v for k, v in full.items()})
        return f"scene:{self.name}?{size}" + (f"&{rest}" if rest else "")


REGISTERED: dict[str, SceneKind] = {}
S = TypeVar("S", bound="type[Scene]")


def scene(
    name: str, *, title: str, tasks: tuple[str, ...], small: Mapping[str, Any] | None = None
) -> Callable[[S], S]:
    """Declare a scene class; its `__init__` takes the declared parameters by keyword."""

    def register(cls: S) -> S:
        doc = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
        idea = " ".join(doc.partition("\n\n")[2].split("\n\n")[0].split())
        kind = SceneKind(
            name, title, idea, tasks, parameters_of(cls.__init__, name), cls, dict(small or {})
        )
        if name in REGISTERED:
            raise TypeError(f"two scenes are called {name!r}")
        cls.kind = REGISTERED[name] = kind
        return cls

    return register


class Scene(Reader):
    """An RGB picture computed by blocks.

    A subclass calls `setup` in its `__init__` and implements `render`; it bumps `version` whenever
    its pixels change. Blocks are aligned with their level; `render` returns a whole block (also
    beyond the picture's edge), as a function of nothing but its arguments and the parameters.
    """

    kind: ClassVar[SceneKind]
    version: ClassVar[int] = 1
    block: ClassVar[int] = BLOCK
    cached_blocks: ClassVar[int] = 24
    truth: Truth

    def setup(
        self,
        values: Mapping[str, Any],
        *,
        pixel_size: float | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Fill in what `Reader` promises. `values` are the declared parameters as given."""
        width, height = int(values["width"]), int(values["height"])
        self.params = dict(values)
        self.uri = self.kind.address(**values)
        self.identity = f"{self.uri}&version={self.version}"
        self.name = f"{self.kind.name} {width} x {height}"
        self.channels, self.dtype = 3, np.dtype(np.uint8)
        self.pixel_size = pixel_size
        levels = []
        factor = 1
        while True:
            h, w = -(-height // factor), -(-width // factor)
            levels.append(Level(h, w, float(factor), (self.block, self.block)))
            if max(h, w) <= COARSEST:
                break
            factor *= 2
        self.levels = tuple(levels)
        self.metadata = {"format": "procedural scene", **(facts or {})}
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()

    def move_to(self, at: Mapping[str, int]) -> None:
        """Become the picture at another index of `axes`, before anything is read.

        Raises
        ------
        HrvizError
            For an axis the scene does not have, or an index beyond it.
        """
        self.at = check_index(self.name, self.axes, at)

    @abstractmethod
    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """Block (row, column) of the level with this downsample, uint8 (block, block, 3).

        Pixel (i, j) covers the square of `downsample` level-0 pixels whose first corner is
        `((row * block + i) * downsample, (column * block + j) * downsample)`, and should hold its
        area average: levels are computed directly, never by reducing a finer one.
        """

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Pixels of one window, uint8 (height, width, 3)."""
        n = self.block
        out = np.empty((height, width, 3), np.uint8)
        for row in range(y // n, (y + height - 1) // n + 1):
            for column in range(x // n, (x + width - 1) // n + 1):
                block = self._block(level, row, column)
                top, left = row * n, column * n
                y0, y1 = max(y, top), min(y + height, top + n)
                x0, x1 = max(x, left), min(x + width, left + n)
                part = block[y0 - top : y1 - top, x0 - left : x1 - left]
                out[y0 - y : y1 - y, x0 - x : x1 - x] = part
        return out

    def _block(self, level: int, row: int, column: int) -> np.ndarray:
        key = (level, row, column)
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
                return block
        block = self.render(self.levels[level].downsample, row, column)
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > self.cached_blocks:
                self._blocks.popitem(last=False)
        return block

    def close(self) -> None:
        """Forget the cached blocks."""
        with self._lock:
            self._blocks.clear()

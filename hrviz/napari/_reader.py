"""Anything `hrviz.open` opens, as lazy multiscale layers. A reader never raises."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.image import Image, open_image
from hrviz.image.lazy import Lazy, LevelArray
from hrviz.image.readers import split_address
from hrviz.image.readers.sniff import is_address

LayerData = tuple[Any, dict[str, Any], str]
NOTHING: list[Any] = [(None,)]  # napari's word for 'read, but there is no layer'
FRAMES = 4  # pictures of a film or stack kept open at a time
log = logging.getLogger("hrviz.napari")


class ShownLevel(Lazy):
    """One level as napari shows it: RGB `(y, x, 3)`, or one channel `(y, x)` with its own values.

    Lazy, zarr-like (`chunks`): napari cuts its views at chunk borders and reads no more.
    """

    def __init__(self, image: Image, array: LevelArray, channel: int | None) -> None:
        self._image, self._array, self._channel = image, array, channel
        rgb = channel is None
        self.shape: tuple[int, ...] = (*array.shape[:2], 3) if rgb else array.shape[:2]
        self.chunks = (*array.chunks[:2], 3) if rgb else array.chunks[:2]
        self.dtype = np.dtype(np.uint8) if rgb else array.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = _complete(key, self.ndim)
        if self._channel is not None:
            return np.asarray(self._array[(*key, self._channel)])
        rows, columns, rest = key
        flat = any(not isinstance(k, slice) for k in (rows, columns))
        if flat:  # to_rgb wants two axes before the channels
            rows, columns = (
                k if isinstance(k, slice) else slice(int(k), int(k) + 1) for k in (rows, columns)
            )
        shown = self._image.to_rgb(np.asarray(self._array[rows, columns]))[..., rest]
        if not flat:
            return shown
        return shown[tuple(slice(None) if isinstance(k, slice) else 0 for k in key[:2])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.nbytes > 2**28:
            raise HrvizError("a level this large is never loaded whole: use a coarser one")
        return self[:, :].astype(dtype or self.dtype)


def _complete(key: Any, ndim: int) -> tuple[Any, ...]:
    """A key with one entry an axis."""
    key = key if isinstance(key, tuple) else (key,)
    at = next((i for i, k in enumerate(key) if k is Ellipsis), None)
    if at is not None:
        key = key[:at] + (slice(None),) * (ndim + 1 - len(key)) + key[at + 1 :]
    return key + (slice(None),) * (ndim - len(key))


class Frames:
    """The pictures of a film or stack, opened when first shown; the last few stay open."""

    def __init__(self, image: Image) -> None:
        self.image, self.axes = image, image.axes
        self._open: OrderedDict[tuple[int, ...], Image] = OrderedDict()
        self._open[tuple(image.index.values())] = image
        self._lock = threading.Lock()

    def __call__(self, index: tuple[int, ...]) -> Image:
        """The picture at an index of every axis."""
        with self._lock:
            if index not in self._open:
                # the forgotten are closed when nobody reads from them any more
                while len(self._open) >= FRAMES:
                    self._open.popitem(last=False)
                self._open[index] = self.image.at(**dict(zip(self.axes, index, strict=True)))
            self._open.move_to_end(index)
            return self._open[index]


class ShownStack(Lazy):
    """One level of all pictures of a film or stack: `ShownLevel` with t and z before y and x."""

    def __init__(self, frames: Frames, level: int, channel: int | None) -> None:
        self._frames, self._level, self._channel = frames, level, channel
        inner = ShownLevel(frames.image, frames.image.arrays[level], channel)
        self._lead = tuple(frames.axes.values())
        self.shape: tuple[int, ...] = (*self._lead, *inner.shape)
        self.chunks = (*(1 for _ in self._lead), *inner.chunks)
        self.dtype, self.ndim = inner.dtype, len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = _complete(key, self.ndim)
        lead, inner = key[: len(self._lead)], key[len(self._lead) :]
        spans = [
            range(*k.indices(n)) if isinstance(k, slice) else [range(n)[int(k)]]
            for k, n in zip(lead, self._lead, strict=True)
        ]
        shape = [len(s) for s, k in zip(spans, lead, strict=True) if isinstance(k, slice)]
        parts = [self._frame(index)[inner] for index in itertools.product(*spans)]
        if not parts:
            return np.empty((*shape, *self._frame((0,) * len(spans))[inner].shape), self.dtype)
        return np.stack(parts).reshape(*shape, *parts[0].shape)

    def _frame(self, index: tuple[int, ...]) -> ShownLevel:
        image = self._frames(index)
        return ShownLevel(image, image.arrays[self._level], self._channel)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.nbytes > 2**28:
            raise HrvizError("a film or stack is never loaded whole: slice it")
        return self[:].astype(dtype or self.dtype)


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[Any]] | None:
    """A function that reads `path`, or None when it is certainly not ours.

    Cheap: looks at the name only. What turns out unreadable is told in a notification.
    """
    try:
        paths = [path] if isinstance(path, str | os.PathLike) else list(path)
        ok = bool(paths) and all(
            scene(str(p)) is not None or (str(p).strip() and _exists(str(p))) for p in paths
        )
    except Exception:
        return None
    return read if ok else None


def _exists(text: str) -> bool:
    """Whether it is a path that exists, or the address of a Zarr (which is not asked)."""
    base, _ = split_address(text)
    if is_address(base):
        return ".zarr" in base.lower()
    return Path(text).exists() or Path(base).exists()


def scene(text: str) -> str | None:
    """The scene's address in what napari passes on.

    napari opens no path that does not exist unless it looks like a URL, so `scene://tissue?...` is
    understood too; it may also have made an absolute path of the address.
    """
    at = text.find("scene:")
    if at < 0 or (at > 0 and text[at - 1] not in "/\\"):
        return None
    return "scene:" + text[at + len("scene:") :].removeprefix("//")


def read(path: str | Sequence[str]) -> list[Any]:
    """Layers of one or several images; an error becomes one sentence on the screen."""
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    out: list[Any] = []
    for each in paths:
        try:
            out += image_layers(open_image(scene(str(each)) or each))
        except HrvizError as error:
            notify(str(error))
        except Exception as error:
            log.exception("reading %s", each)
            notify(f"{Path(str(each)).name} could not be opened: {type(error).__name__}: {error}")
    return out or NOTHING


def notify(sentence: str) -> None:
    """One sentence as a napari notification."""
    try:
        from napari.utils.notifications import show_warning

        show_warning(sentence)
    except Exception:
        log.warning("%s", sentence)


def image_layers(image: Image) -> list[LayerData]:
    """An image as multiscale layers in level-0 pixels: one for RGB, else one a channel.

    Films and stacks get their axes before y and x, so that napari's sliders move through them.
    """
    rgb = image.channel_info is None and image.channels in (3, 4)
    meta = {
        "hrviz": image,
        "pixel size (um)": image.pixel_size,
        "facts": image.facts(),
    }
    frames = Frames(image)
    out: list[LayerData] = []
    for channel in [None] if rgb else range(image.channels):
        levels: list[Any] = [
            ShownStack(frames, level, channel) if image.axes else ShownLevel(image, array, channel)
            for level, array in enumerate(image.arrays)
        ]
        keywords: dict[str, Any] = {"name": image.name, "multiscale": True, "rgb": rgb}
        keywords["metadata"] = meta
        if channel is not None:
            keywords |= _channel_look(image, channel)
        # one level: napari wants the array itself
        data: Any = levels
        if len(levels) == 1:
            data = levels[0] if image.axes else np.asarray(levels[0])
            keywords["multiscale"] = False
        out.append((data, keywords, "image"))
    return out


def _channel_look(image: Image, channel: int) -> dict[str, Any]:
    """Name, colours and contrast of one channel's layer."""
    look: dict[str, Any] = {}
    if image.channels > 1:
        look["name"] = f"{image.name} {channel}"
    if image.channel_info is None:
        look |= {"contrast_limits": image.display_range, "colormap": "gray"}
        return look | ({"blending": "additive"} if channel else {})
    from napari.utils import Colormap

    info = image.channel_info[channel]
    if image.channels > 1:
        look["name"] = f"{image.name} {info.name}"
    full = [c / 255 for c in info.colour]
    name = "#{:02x}{:02x}{:02x}".format(*info.colour)
    return look | {
        "colormap": Colormap([[0, 0, 0], full], name=name),
        "contrast_limits": image.channel_limits[channel],
        "blending": "additive",
        "visible": info.active,
    }

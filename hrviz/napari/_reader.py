"""Anything `hrviz.open` opens, as lazy multiscale layers. A reader never raises."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.image import Image, Lazy, LevelArray, open_image

LayerData = tuple[Any, dict[str, Any], str]
NOTHING: list[Any] = [(None,)]  # napari's word for 'read, but there is no layer'
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
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = key[:at] + (slice(None),) * (self.ndim + 1 - len(key)) + key[at + 1 :]
        key = key + (slice(None),) * (self.ndim - len(key))
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


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[Any]] | None:
    """A function that reads `path`, or None when it is certainly not ours.

    Cheap: looks at the name only. What turns out unreadable is told in a notification.
    """
    try:
        paths = [path] if isinstance(path, str | os.PathLike) else list(path)
        ok = bool(paths) and all(
            scene(str(p)) is not None or (str(p).strip() and Path(str(p)).exists()) for p in paths
        )
    except Exception:
        return None
    return read if ok else None


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
    """An image as multiscale layers in level-0 pixels: one for RGB, else one a channel."""
    rgb = image.channels in (3, 4)
    meta = {
        "hrviz": image,
        "pixel size (um)": image.pixel_size,
        "facts": image.facts(),
    }
    out: list[LayerData] = []
    for channel in [None] if rgb else range(image.channels):
        levels = [ShownLevel(image, array, channel) for array in image.arrays]
        title = image.name if channel is None or image.channels == 1 else f"{image.name} {channel}"
        keywords: dict[str, Any] = {"name": title, "multiscale": True, "rgb": rgb, "metadata": meta}
        if not rgb:
            keywords |= {"contrast_limits": image.display_range, "colormap": "gray"}
            if channel:
                keywords |= {"blending": "additive"}
        # one level: napari wants the array itself
        data: Any = levels
        if len(levels) == 1:
            data, keywords["multiscale"] = np.asarray(levels[0]), False
        out.append((data, keywords, "image"))
    return out

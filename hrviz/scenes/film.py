"""Writing an image with a time axis as a film: real H.264, one frame in memory at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from hrviz.errors import Cancelled, HrvizError
from hrviz.results import write_whole

if TYPE_CHECKING:
    from hrviz.image.image import Image

MAX_SIDE = 4096  # what H.264 level 5.2 players take
DEFAULT_SIDE = 1920
QUALITY = 18  # constant rate factor: hardly told from the original
ENCODERS = ("libx264", "h264", "libopenh264")


def write_film(
    image: Image,
    path: str | os.PathLike[str],
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Write an image with a 't' axis as H.264 in an MP4 file.

    Frames are read, encoded and forgotten one by one; the film is made in a temporary file beside
    `path` and takes its name when it is whole.

    Parameters
    ----------
    image : Image
        A video, a stack or a scene with `frames`; it begins at the image's own index.
    path : str or path
        Ends in `.mp4`; its folder exists.
    frames : int, optional
        How many; default all from the image's index to the end.
    size : (int, int), optional
        Height and width in px, made even as the format asks (rounded down), at most 4,096 a side.
        Default: the image's own, or with its longer side 1,920 where that is less.
    progress : callable, optional
        Called with the share done, 0 to 1, after every frame.
    cancelled : callable, optional
        Asked before every frame.

    Returns
    -------
    Path
        Of the film.

    Raises
    ------
    HrvizError
        No 't' axis, a wrong number of frames or size, another suffix, no folder, PyAV or encoder
        missing.
    Cancelled
        When `cancelled` says so; nothing is left behind.
    """
    target = Path(path)
    first, count, (height, width) = _plan(image, target, frames, size)
    try:
        import av
    except ImportError:
        raise HrvizError(
            "films are written with PyAV, which is not installed; pip install 'hrviz[formats]'"
        ) from None
    encoder = _encoder()
    rate = Fraction(image.frame_rate or 25.0).limit_denominator(1001)

    def encode(file: IO[bytes]) -> None:
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream(encoder, rate=rate)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            if encoder == "libx264":
                stream.options = {"crf": str(QUALITY), "preset": "medium"}
            for k in range(count):
                if cancelled is not None and cancelled():
                    raise Cancelled
                pixels = _pixels(image, first + k, (height, width))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
                if progress is not None:
                    progress((k + 1) / count)
            container.mux(stream.encode(None))

    try:
        write_whole(target, encode)
    except OSError as error:
        raise HrvizError(
            f"{target.name} could not be written ({error.strerror or error}): check that there is "
            "room and that the folder may be written to"
        ) from None
    return target


def _plan(
    image: Image, target: Path, frames: int | None, size: tuple[int, int] | None
) -> tuple[int, int, tuple[int, int]]:
    """First frame, number of frames and size, checked."""
    if target.suffix.lower() != ".mp4":
        raise HrvizError(
            f"cannot write {target.suffix or 'a file without suffix'} as a film: use .mp4"
        )
    if not target.parent.is_dir():
        raise HrvizError(f"there is no folder {target.parent}: make it first")
    if "t" not in image.axes:
        raise HrvizError(
            f"{image.name} has no time axis 't' to film: choose a video, or a scene with frames, "
            "e.g. scene:crowd?frames=50"
        )
    first = image.index.get("t", 0)
    left = image.axes["t"] - first
    count = left if frames is None else frames
    if not 1 <= count <= left:
        raise HrvizError(f"frames={count} is out of range: choose 1 to {left} from frame {first}")
    if size is None:
        scale = min(1.0, DEFAULT_SIDE / max(image.height, image.width))
        size = max(2, round(image.height * scale)), max(2, round(image.width * scale))
    if not all(2 <= n <= MAX_SIDE for n in size):
        raise HrvizError(
            f"a film of {size[1]} x {size[0]} px is out of range: choose 2 to {MAX_SIDE} px a side"
        )
    return first, count, (size[0] // 2 * 2, size[1] // 2 * 2)


def _encoder() -> str:
    """The first H.264 encoder that this PyAV has."""
    import av

    for name in ENCODERS:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):
            av.Codec(name, "w")
            return name
    raise HrvizError(
        "this PyAV has no H.264 encoder: install the wheel from the package index, pip install av"
    )


def _pixels(image: Image, t: int, size: tuple[int, int]) -> np.ndarray:
    """One frame as RGB, uint8 (height, width, 3)."""
    picture = image if t == image.index["t"] else image.at(t=t)
    return np.ascontiguousarray(picture.rgb(picture.box, size))

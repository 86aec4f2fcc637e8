"""Which images the app opens: scenes, samples, files under the served folder, uploads, remote Zarr."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image, open_image
from hrviz.image.composite import Limits
from hrviz.image.readers import sniff, split_address, with_index
from hrviz.scenes import SCENES

log = logging.getLogger("hrviz.viewer")

FILMS = (".mp4", ".mov", ".mkv", ".avi", ".webm")
SUFFIXES = (*sniff.IMAGE_SUFFIXES, ".npy", ".jp2", ".j2k", *FILMS)
MAX_LISTED = 200
DEPTH = 3  # folders below the served one that are looked through
OPEN = 32  # pictures that stay open: those of a few films and stacks, too
DEFAULT = "scene:tissue?size=100000x100000"
LARGER = (
    ("scene:tissue?size=20000x20000", "Tissue, 20 000 × 20 000 px", "0.4 gigapixel"),
    ("scene:tissue?size=200000x200000", "Tissue, 200 000 × 200 000 px", "40 gigapixel"),
)
_SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"


def root() -> Path:
    """The folder whose files the page may open: HRVIZ_ROOT, or where the app was started."""
    return Path(os.environ.get("HRVIZ_ROOT") or Path.cwd()).resolve()


def initial() -> str:
    """Address of the image shown first: HRVIZ_IMAGE, or the tissue scene."""
    return os.environ.get("HRVIZ_IMAGE") or DEFAULT


def scenes() -> list[tuple[str, str, str]]:
    """(address, title, note) of all procedural scenes with their default parameters."""
    out = []
    for kind in SCENES.values():
        address = DEFAULT if DEFAULT.startswith(f"scene:{kind.name}?") else kind.address()
        size = f"{kind.defaults['width']} × {kind.defaults['height']} px, made as you look"
        out.append((address, kind.title, f"{', '.join(kind.tasks).capitalize()}: {size}"))
    return out


def samples() -> list[tuple[str, str, str]]:
    """(address, title, note) of other sizes of the slide, and of the files in `sample_data`."""
    found = sorted(p for p in _SAMPLES.glob("*") if p.suffix.lower() in SUFFIXES)
    return [*LARGER, *((str(p), _titled(p), "file") for p in found)]


def _titled(path: Path) -> str:
    words = path.stem.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def listed(folder: Path | None = None) -> list[str]:
    """Images under the served folder, relative to it: files, and folders that are one image.

    Hidden folders, and links that lead out of the served folder, are left out.
    """
    top = folder or root()
    out: list[str] = []
    for path in _images_under(top):
        out.append(str(path.relative_to(top)))
        if len(out) == MAX_LISTED:
            break
    return out


def _images_under(top: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(top):
        place = Path(here)
        deep = len(place.relative_to(top).parts) >= DEPTH
        inner = []
        for name in sorted(folders):
            if name.startswith((".", "_")) or name in ("node_modules", "output"):
                continue
            if name.endswith(".zarr"):
                if _inside(place / name, top):
                    yield place / name
            elif not deep:
                inner.append(name)
        folders[:] = inner
        shown = [f for f in sorted(files) if not f.startswith(".")]
        slide = [f for f in shown if f.lower().endswith(".dcm")]
        if len(slide) > 1 and place != top and sniff.folder_kind(place) == "dicom":
            yield place  # the files of a DICOM slide are one image
            shown = [f for f in shown if f not in slide]
        for name in shown:
            if Path(name).suffix.lower() in SUFFIXES and _inside(place / name, top):
                yield place / name


def _inside(path: Path, home: Path) -> bool:
    try:
        return path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # links in a circle
        return False


def permitted(address: str) -> str:
    """The address, if the page may open it.

    That is: scenes, samples, uploads, files under `root()`, a Zarr at an http(s) address, and the
    image the app was started with, wherever it lies.

    Raises
    ------
    HrvizError
        One sentence that names the folder that is served.
    """
    address = address.strip()
    base, at = split_address(address)
    if not base:
        raise HrvizError("no image is named: choose a sample, a file, or an address scene:tissue")
    if base.startswith("scene:") or base == split_address(initial())[0]:
        return address
    if sniff.is_address(base):
        return _remote(address, base)
    try:
        path = (root() / Path(base).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):
        raise HrvizError(
            f"{base[:60]!r} is not a file name: choose a file under {root()}"
        ) from None
    if not any(path.is_relative_to(home) for home in (root(), uploads(), _SAMPLES)):
        raise HrvizError(
            f"{address!r} lies outside the served folder: choose a file under {root()}, or start "
            "the app there"
        )
    return with_index(str(path), at)


def _remote(address: str, base: str) -> str:
    """An http(s) address of a Zarr; chains of protocols ('zip::...') are refused."""
    parts = urlsplit(base)
    if parts.scheme.lower() in ("http", "https") and ".zarr" in parts.path and "::" not in base:
        return address
    raise HrvizError(
        f"{base[:80]!r} is not served: over the network the app opens OME-Zarr, "
        f"https://host/name.zarr; download other files under {root()}"
    )


@lru_cache(maxsize=OPEN)
def _opened(uri: str, stamp: Any) -> Image:
    return open_image(uri)


def opened(address: str) -> Image:
    """The image behind an address, if the page may open it; the last ones stay open."""
    uri = permitted(address)
    stamp = None
    if not uri.startswith("scene:"):
        try:
            state = Path(split_address(uri)[0]).stat()
            stamp = (state.st_mtime_ns, state.st_size)
        except (OSError, ValueError):  # remote, or told by the reader
            pass
    return _opened(uri, stamp)


@lru_cache(maxsize=OPEN)
def recoloured(
    image: Image, active: tuple[int, ...], limits: tuple[tuple[int, Limits], ...]
) -> Image:
    """An image with other channels shown (see `Image.with_channels`); the last ones stay open."""
    return image.with_channels(active, dict(limits))


@cache
def uploads() -> Path:
    """Folder of this process for uploads, private to its user."""
    return Path(tempfile.mkdtemp(prefix="hrviz-images-")).resolve()


def upload_limit() -> int:
    """Bytes an upload may have."""
    from streamlit import config

    return int(config.get_option("server.maxUploadSize")) * 2**20


def keep_upload(name: str, file: Any) -> str:
    """Save an upload whole, under another name first, and check that it opens.

    Parameters
    ----------
    name : str
        As the user's file is called; only its suffix is used.
    file : binary file
        Read in pieces.

    Returns
    -------
    str
        Address of the image.

    Raises
    ------
    HrvizError
        Empty, too large, or no image; nothing is left behind.
    """
    limit = upload_limit()
    suffix = re.sub(r"[^a-z0-9.]", "", Path(name).suffix.lower())[:8]
    digest, size = hashlib.sha256(), 0
    handle, part = tempfile.mkstemp(dir=uploads(), prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as out:
            while piece := file.read(2**20):
                size += len(piece)
                if size > limit:
                    raise HrvizError(
                        f"{Path(name).name} is larger than {limit / 2**30:.3g} GiB, the most that "
                        f"may be uploaded: put it under {root()} and choose it there"
                    )
                digest.update(piece)
                out.write(piece)
        whole = uploads() / f"{digest.hexdigest()[:24]}{suffix}"
        Path(part).replace(whole)
    except OSError as error:
        Path(part).unlink(missing_ok=True)
        raise HrvizError(
            f"{Path(name).name} could not be kept ({error.strerror}): make room, or put it under "
            f"{root()} and choose it there"
        ) from None
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    try:
        open_image(whole)
    except HrvizError as error:
        whole.unlink(missing_ok=True)
        shown = str(error)
        for hidden in (str(whole), f"{whole.parent.name}/{whole.name}", whole.name):
            shown = shown.replace(hidden, Path(name).name)
        raise HrvizError(shown) from None
    return str(whole)


def prewarm(address: str, levels: int = 3) -> None:
    """Make the coarsest tiles of an image, in the order a viewer asks: the first visitor waits less.

    Whatever is wrong with the image is told by the page that opens it.
    """
    from hrviz.viewer.pyramid import TileError
    from hrviz.viewer.registry import IMAGES, read_token, register_image

    try:
        token = register_image(opened(address))["url"].rsplit("/", 1)[-1]
        tiles = IMAGES.get(read_token(token) or "")
        if tiles is None:
            return
        for z in range(min(levels, tiles.pyramid.top + 1)):
            rows, columns = tiles.pyramid.grid(z)
            for y in range(rows):
                for x in range(columns):
                    tiles.get(z, x, y)
    except (HrvizError, TileError, OSError):
        log.debug("the first tiles were not made in advance", exc_info=True)


def first_region(image: Image) -> Box:
    """What a method is tried on when nobody chose: room around a middling object, else the middle.

    A box of at most 20,480 x 20,480 px (5 mm): there what is looked for has become small, which is
    what the methods are about, and the first result still comes at once. It starts at a multiple
    of 4096 px, so that patches fall on stored tiles.
    """
    cy, cx = image.box.centre
    if image.truth is not None and "boxes" in image.truth.knows:
        boxes = image.truth.boxes().boxes
        if len(boxes):
            cy, cx = Box(*boxes[len(boxes) // 2]).centre
    starts, sides = [], []
    for centre, whole in ((cy, image.height), (cx, image.width)):
        side = min(whole, 20_480)
        start = min(max(0, round((centre - side / 2) / 4096) * 4096), whole - side)
        starts.append(start)
        sides.append(side)
    return Box(starts[0], starts[1], starts[0] + sides[0], starts[1] + sides[1])

"""Which images the app opens: samples, files under the served folder, uploads, scene addresses."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image, open_image

log = logging.getLogger("hrviz.viewer")

SUFFIXES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".bif", ".tif", ".tiff", ".png", ".jpg", ".jpeg",
)  # fmt: skip
MAX_LISTED = 200
DEFAULT = "scene:tissue?size=100000x100000"
SCENES = (
    (DEFAULT, "Tissue, 100 000 × 100 000 px", "10 gigapixel, made as you look"),
    ("scene:tissue?size=20000x20000", "Tissue, 20 000 × 20 000 px", "0.4 gigapixel"),
    ("scene:tissue?size=200000x200000", "Tissue, 200 000 × 200 000 px", "40 gigapixel"),
)


def root() -> Path:
    """The folder whose files the page may open: HRVIZ_ROOT, or where the app was started."""
    return Path(os.environ.get("HRVIZ_ROOT") or Path.cwd()).resolve()


def initial() -> str:
    """Address of the image shown first: HRVIZ_IMAGE, or the tissue scene."""
    return os.environ.get("HRVIZ_IMAGE") or DEFAULT


def samples() -> list[tuple[str, str, str]]:
    """(address, title, note) of the scenes, and of the files in `sample_data`."""
    folder = Path(__file__).resolve().parents[2] / "sample_data"
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    return [*SCENES, *((str(p), p.stem.replace("-", " ").replace("_", " "), "file") for p in found)]


def listed(folder: Path | None = None) -> list[str]:
    """Image files under the served folder, relative to it; hidden folders are left out."""
    top = folder or root()
    out: list[str] = []
    for here, folders, files in os.walk(top):
        depth = len(Path(here).relative_to(top).parts)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "_")) and depth < 3
                            and f not in ("node_modules", "output"))  # fmt: skip
        out += [
            str((Path(here) / f).relative_to(top))
            for f in sorted(files)
            if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")
        ]
        if len(out) >= MAX_LISTED:
            break
    return out[:MAX_LISTED]


def permitted(address: str) -> str:
    """The address, if the page may open it: scenes, samples, uploads, files under `root()`.

    Raises
    ------
    HrvizError
        One sentence that names the folder that is served.
    """
    address = address.strip()
    if not address:
        raise HrvizError("no image is named: choose a sample, a file, or an address scene:tissue")
    if address.startswith("scene:") or address == initial():
        return address
    if re.match(r"^[a-z][a-z0-9+.-]+://", address, re.IGNORECASE):
        raise HrvizError(
            f"{address!r} is not served: download it under {root()} and choose it there"
        )
    path = (root() / Path(address).expanduser()).resolve()
    homes = (root(), uploads(), Path(__file__).resolve().parents[2] / "sample_data")
    if not any(path.is_relative_to(home) for home in homes):
        raise HrvizError(
            f"{address!r} lies outside the served folder: choose a file under {root()}, or start "
            "the app there"
        )
    return str(path)


@lru_cache(maxsize=8)
def _opened(uri: str, stamp: Any) -> Image:
    return open_image(uri)


def opened(address: str) -> Image:
    """The image behind an address, if the page may open it; the last eight stay open."""
    uri = permitted(address)
    path = Path(uri)
    stamp = None
    if not uri.startswith("scene:") and path.exists():
        stamp = (path.stat().st_mtime_ns, path.stat().st_size)
    return _opened(uri, stamp)


@cache
def uploads() -> Path:
    """Folder of this process for uploads, private to its user."""
    return Path(tempfile.mkdtemp(prefix="hrviz-images-")).resolve()


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
        Empty, or no image; nothing is left behind.
    """
    suffix = re.sub(r"[^a-z0-9.]", "", Path(name).suffix.lower())[:8]
    digest = hashlib.sha256()
    handle, part = tempfile.mkstemp(dir=uploads(), prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as out:
            while piece := file.read(2**20):
                digest.update(piece)
                out.write(piece)
        whole = uploads() / f"{digest.hexdigest()[:24]}{suffix}"
        Path(part).replace(whole)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    try:
        open_image(whole)
    except HrvizError as error:
        whole.unlink(missing_ok=True)
        shown = str(error).replace(str(whole), Path(name).name).replace(whole.name, Path(name).name)
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
    """What a method is tried on when nobody chose: room around a middling lesion, else the middle.

    A box of at most 20,480 x 20,480 px (5 mm): there what is looked for has become small, which is
    what the methods are about, and the first result still comes at once. It starts at a multiple
    of 4096 px, so that patches fall on stored tiles.
    """
    cy, cx = image.box.centre
    if image.truth is not None:
        boxes, _ = image.truth.lesions()
        if len(boxes):
            cy, cx = Box(*boxes[len(boxes) // 2]).centre
    starts, sides = [], []
    for centre, whole in ((cy, image.height), (cx, image.width)):
        side = min(whole, 20_480)
        start = min(max(0, round((centre - side / 2) / 4096) * 4096), whole - side)
        starts.append(start)
        sides.append(side)
    return Box(starts[0], starts[1], starts[0] + sides[0], starts[1] + sides[1])

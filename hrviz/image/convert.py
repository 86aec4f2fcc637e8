"""Converting an image to a pyramid that opens quickly: OME-Zarr 0.5, or tiled BigTIFF and OME-TIFF.

The image is streamed block by block (see `convert_pyramid`), so memory does not grow with it; the
result appears under its name when it is whole, and not at all when the work was stopped or failed.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image.convert_pyramid import COARSEST, Pyramid, build, row_by_row, z_order
from hrviz.image.image import Image, open_image
from hrviz.image.readers import split_address

if TYPE_CHECKING:
    from hrviz.image.convert_tiff import TiffSink
    from hrviz.image.convert_zarr import ZarrSink

SUFFIXES = {".zarr": "zarr", ".tif": "tiff", ".tiff": "tiff"}
COMPRESSIONS = {"zarr": ("zstd", "deflate", "none"), "tiff": ("jpeg", "zstd", "deflate", "none")}
MOST_WORKERS = 8
MOST_SHARD = 8192
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def convert(
    image: Image | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    region: Box | tuple[float, float, float, float] | str | None = None,
    level: int = 0,
    tile: int = 512,
    shard: int | None = None,
    compression: str | None = None,
    quality: int = 85,
    all_planes: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Write an image as a pyramid: OME-Zarr 0.5, or BigTIFF with SubIFD levels.

    Coarser levels are 2 x 2 means of the next finer one, taken before compression, down to one tile
    of at most 1,024 px a side. An odd last row or column is averaged over what is there; unsigned
    numbers of 8 and 16 bit round half up, other whole numbers half to even.

    Parameters
    ----------
    image : Image or address
        Of a video or stack the picture at its index is written.
    path : str or path
        Ends in `.zarr` (OME-Zarr), `.ome.tif` (OME-TIFF), `.tif` or `.tiff`; its folder exists.
        A plain TIFF of several fluorescence channels has OME-XML too, for their names and colours.
    region : Box or text, optional
        (y0, x0, y1, x1), or 'x,y,w,h', in level-0 pixels; grown to whole pixels and cut to the
        image. Default the whole image.
    level : int
        The level of the image that becomes the finest of the file.
    tile : int
        Side of tiles or chunks in px: 64 to 4,096, a multiple of 16.
    shard : int, optional
        Zarr only: side of shards in px, a power of two times `tile`, at most 8,192. Default none.
    compression : str, optional
        'jpeg' (TIFF of 8-bit grey or RGB only), 'zstd', 'deflate' or 'none'. Default 'jpeg' for
        8-bit RGB TIFF, else 'zstd'; all but 'jpeg' keep every pixel exactly.
    quality : int
        Of JPEG, 1 to 100.
    all_planes : bool
        OME-Zarr only: write all of the axes 't' and 'z'.
    overwrite : bool
        Replace what is at `path`, once the new one is whole. A folder is replaced only if it is a
        Zarr.
    workers : int, optional
        Threads that read and compress; default the processor's cores, at most 8.
    progress : callable, optional
        Called with the share done, 0 to 1.
    cancelled : callable, optional
        Asked before every block.

    Returns
    -------
    Path
        Of the file or folder.

    Raises
    ------
    HrvizError
        One sentence: a choice out of range, something at `path` already, no room on the disk, a
        part of the image that cannot be read. Nothing is left behind.
    Cancelled
        When `cancelled` says so; nothing is left behind either.

    Notes
    -----
    Pixels, pixel size, channels with colours and contrast, and the frame rate are kept; the place
    on the Earth of georeferenced images is not.

    Examples
    --------
    >>> import tempfile, hrviz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = convert("scene:tissue?size=1500x1000", f"{folder}/a.ome.zarr")
    ...     hrviz.open(path).downsamples
    (1.0, 2.0, 4.0)
    """
    target = Path(path).expanduser()
    kind = _kind(target)
    image = image if isinstance(image, Image) else open_image(image)
    compression = _compression(image, kind, compression)
    _check(kind, image, level, tile, shard, quality, workers, all_planes)
    _check_target(image, target, overwrite)
    y, x, h, w = _window(image, level, region)
    pyramid = Pyramid(h, w, shard or tile, min(tile, COARSEST))
    downsample = image.levels_info[level].downsample
    common: dict[str, Any] = {
        "channels": image.channels, "dtype": image.dtype, "channel_info": image.channel_info,
        "pixel_size": image.pixel_size * downsample if image.pixel_size else None,
        "compression": compression, "name": image.name,
    }  # fmt: skip
    axes = {a: n for a, n in image.axes.items() if all_planes}
    planes = [dict(zip(axes, at, strict=True)) for at in product(*map(range, axes.values()))]
    total, count = len(planes) * pyramid.blocks, 0

    def done() -> None:
        nonlocal count
        count += 1
        if progress is not None:
            progress(count / total)

    with _whole(target) as unfinished:
        sink: TiffSink | ZarrSink
        if kind == "zarr":
            from hrviz.image.convert_zarr import ZarrSink

            sink = ZarrSink(
                unfinished, pyramid, axes=axes, frame_rate=image.frame_rate, tile=tile, **common
            )
        else:
            from hrviz.image.convert_tiff import TiffSink

            ome = target.name.lower().endswith((".ome.tif", ".ome.tiff"))
            sink = TiffSink(unfinished, pyramid, quality=quality, ome=ome, **common)
        with closing(sink):
            for index in planes:
                plane = image.at(**index) if index else image
                if kind == "zarr":
                    sink.index = index  # type: ignore[union-attr]

                build(
                    pyramid, _reading(plane, level, y, x, pyramid.block), sink,
                    order=_order(image, level, pyramid), done=done, cancelled=cancelled,
                    workers=workers or min(MOST_WORKERS, os.cpu_count() or 1),
                )  # fmt: skip
            sink.finish()
    return target


def _reading(
    image: Image, level: int, y: int, x: int, block: int
) -> Callable[[int, int, int, int], np.ndarray]:
    """Reads windows of the region that begins at (y, x).

    Whole stored tiles come from the reader itself: each is wanted once, and the cache is left to
    those who look at images meanwhile.
    """
    th, tw = image.levels_info[level].tile
    aligned = level < image.stored_levels and not (block % th or block % tw or y % th or x % tw)

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        at = level, y + top, x + left, height, width
        return image.reader.read(*at) if aligned else image.window(*at)

    return read


def _order(image: Image, level: int, pyramid: Pyramid) -> Any:
    """Row by row where one stored piece spans many blocks (strips), which are then decoded once."""
    stored = image.levels_info[min(level, image.stored_levels - 1)]
    return row_by_row if stored.tile[1] >= 4 * pyramid.block else z_order


def _kind(target: Path) -> str:
    kind = SUFFIXES.get(target.suffix.lower())
    if kind is None:
        raise HrvizError(
            f"cannot convert to {target.suffix or 'a file without suffix'}: use .zarr or .ome.zarr "
            "(OME-Zarr), .ome.tif (OME-TIFF) or .tif (BigTIFF)"
        )
    return kind


def _compression(image: Image, kind: str, name: str | None) -> str:
    colours = image.dtype == "uint8" and image.channel_info is None
    if name is None:
        return "jpeg" if kind == "tiff" and colours and image.channels == 3 else "zstd"
    if name not in COMPRESSIONS[kind]:
        raise HrvizError(
            f"compression={name!r} is not known for {kind.upper()}: choose "
            f"{', '.join(COMPRESSIONS[kind])}"
        )
    if name == "jpeg" and not (colours and image.channels in (1, 3)):
        raise HrvizError(
            f"{image.name} has {image.channels} channels of {image.dtype}, and JPEG takes 8-bit grey "
            "or RGB: choose compression zstd"
        )
    return name


def _check(
    kind: str, image: Image, level: int, tile: int, shard: int | None, quality: int,
    workers: int | None, all_planes: bool,
) -> None:  # fmt: skip
    if not 0 <= level < len(image.levels_info):
        raise HrvizError(
            f"level={level} is not there: {image.name} has levels 0 to {len(image.levels_info) - 1}"
        )
    if not 64 <= tile <= 4096 or tile % 16:
        raise HrvizError(f"tile={tile} is out of range: choose 64 to 4096 px, a multiple of 16")
    if not 1 <= quality <= 100:
        raise HrvizError(f"quality={quality} is out of range: choose 1 to 100")
    if workers is not None and workers < 1:
        raise HrvizError(f"workers={workers} is out of range: choose at least 1")
    if shard is not None:
        if kind != "zarr":
            raise HrvizError("shards are for Zarr: leave shard out, or write a .zarr")
        times = shard // tile
        if shard % tile or times & (times - 1) or not tile < shard <= MOST_SHARD:
            raise HrvizError(
                f"shard={shard} is out of range: choose 2, 4, 8... times the tile ({tile} px), at "
                f"most {MOST_SHARD} px"
            )
    if all_planes:
        if kind != "zarr":
            raise HrvizError(
                "all pictures of a film or stack go into one OME-Zarr only: write a .zarr, or "
                "leave --all out"
            )
        odd = [a for a in image.axes if a not in "tz"]
        if odd or not image.axes:
            raise HrvizError(
                f"{image.name} has {'the axis ' + odd[0] if odd else 'a single picture'}, and all "
                "pictures are written along t and z: leave --all out"
            )


def _check_target(image: Image, target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise HrvizError(f"there is no folder {target.parent}: make it first")
    if not target.exists():
        return
    source = Path(split_address(image.uri)[0]).expanduser()
    if source.exists() and source.samefile(target):
        raise HrvizError(f"{target.name} is the image itself: choose another name to write to")
    if not overwrite:
        raise HrvizError(f"{target} is there already: choose another name, or --overwrite it")
    is_zarr = any((target / n).is_file() for n in ("zarr.json", ".zgroup", ".zarray"))
    wanted = is_zarr if target.suffix.lower() == ".zarr" else target.is_file()
    if not wanted:
        what = "a folder" if target.is_dir() else "a file"
        raise HrvizError(
            f"{target} is {what} of another kind and is not overwritten: choose another name"
        )


def _window(
    image: Image, level: int, region: Box | tuple[float, float, float, float] | str | None
) -> tuple[int, int, int, int]:
    """(y, x, height, width) of the region in whole pixels of the level."""
    if isinstance(region, str):
        region = Box.parse(region)
    info = image.levels_info[level]
    if region is None:
        return 0, 0, info.height, info.width
    box = image.view(region).box.scaled(1 / info.downsample)
    y0, x0 = (min(math.floor(a + 1e-9), n - 1) for a, n in zip(box[:2], (info.height, info.width), strict=True))  # fmt: skip
    y1, x1 = min(math.ceil(box.y1 - 1e-9), info.height), min(math.ceil(box.x1 - 1e-9), info.width)
    return y0, x0, max(1, y1 - y0), max(1, x1 - x0)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path beside `target` that takes its name when the block ends well, and is removed else.

    Raises
    ------
    HrvizError
        For what the system says when it cannot write.
    """
    mark = uuid.uuid4().hex[:8]
    unfinished = target.with_name(f".{target.name}.{mark}.part")
    try:
        yield unfinished
        _replace(unfinished, target, mark)
    except OSError as error:
        where = target.parent.resolve()
        if error.errno in _FULL:
            raise HrvizError(
                f"{target.name} could not be written: there is no room left in {where}; make room, "
                "or choose another folder or compression jpeg"
            ) from None
        raise HrvizError(
            f"{target.name} could not be written in {where} ({error.strerror or error}): check "
            "that the folder may be written to"
        ) from None
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def _replace(unfinished: Path, target: Path, mark: str) -> None:
    """Rename; a folder that is in the way steps aside first and comes back if that fails."""
    if not target.is_dir():
        unfinished.replace(target)
        return
    aside = target.with_name(f".{target.name}.{mark}.old")
    target.rename(aside)
    try:
        unfinished.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)

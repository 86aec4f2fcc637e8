"""Commands about images: `info`, `convert`, `scene`, `scenes` and `data`; see `hrviz.cli`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrviz.errors import HrvizError
from hrviz.geometry import Box

if TYPE_CHECKING:
    from hrviz.image import Image
    from hrviz.scenes import SceneKind

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
PYRAMIDS = (".zarr", ".tif", ".tiff")
MOST_SIZE = 8192
DEFAULT_SIZE = 2048


def box_argument(text: str) -> Box:
    """`x,y,w,h` as an option's value."""
    try:
        return Box.parse(text)
    except HrvizError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    from hrviz.results import json_text

    print(json_text(value))


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare this module's commands; `command(name, text)` makes a parser."""
    sub = command("info", "What an image is: size, levels, pixel size, axes, channels, extent.")
    sub.add_argument("image", metavar="IMAGE")
    sub = command(
        "convert",
        "Write any image as a pyramid that opens quickly: OME-Zarr (.zarr), OME-TIFF (.ome.tif) or "
        "BigTIFF (.tif). Of a video or stack the picture at its index (IN#t=12) is written, or all "
        "of them with --all.",
    )
    sub.add_argument("image", metavar="IN")
    sub.add_argument("out", metavar="OUT")
    sub.add_argument("--region", metavar="X,Y,W,H", type=box_argument, help="level-0 pixels; default the whole image")  # fmt: skip
    sub.add_argument("--level", type=int, default=0, metavar="N", help="level that becomes the finest (default 0; see 'hrviz info --json')")  # fmt: skip
    sub.add_argument("--tile", type=int, default=512, metavar="PX", help="side of tiles or chunks (default 512)")  # fmt: skip
    sub.add_argument("--shard", type=int, metavar="PX", help="Zarr: put chunks together in files of this side, e.g. 4096")  # fmt: skip
    sub.add_argument("--compression", metavar="NAME", help="jpeg, zstd, deflate or none (default jpeg for RGB TIFF, else zstd)")  # fmt: skip
    sub.add_argument("--quality", type=int, default=85, metavar="1..100", help="of jpeg (default 85)")  # fmt: skip
    sub.add_argument("--all", action="store_true", help="Zarr: all pictures along t and z, not only one")  # fmt: skip
    sub.add_argument("--threads", type=int, metavar="N", help="default the processor's cores, at most 8")  # fmt: skip
    sub.add_argument("--overwrite", action="store_true", help="replace OUT once the new one is whole")  # fmt: skip
    sub = command("scenes", "List the procedural scenes, or describe one.")
    sub.add_argument("scene", nargs="?", metavar="NAME")
    sub = command(
        "scene",
        "Write a procedural scene (or any image) as a picture (.png, .jpg), a film of its frames "
        "(.mp4), or a pyramid at full resolution (.zarr, .tif).",
    )
    sub.add_argument("image", metavar="URI")
    sub.add_argument("--out", metavar="FILE", required=True)
    sub.add_argument("--region", metavar="X,Y,W,H", type=box_argument)
    sub.add_argument("--size", type=int, metavar="PX", help=f"longer side of a picture or film (default {DEFAULT_SIZE} and 1920)")  # fmt: skip
    sub.add_argument("--overwrite", action="store_true", help="replace a pyramid that is there")
    sub = command("data", "List real images to download, or download some; they open as data:NAME.")
    sub.add_argument("action", nargs="?", choices=["fetch"])
    sub.add_argument("names", nargs="*", metavar="NAME")


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: what is half-written goes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        print("hrviz: stopped", file=sys.stderr)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _bar(text: str, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error, where that is a terminal."""
    from tqdm import tqdm

    look = "{desc} {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left"
    with (
        _stoppable(),
        tqdm(total=1.0, desc=text, bar_format=look, leave=False, disable=quiet or None) as bar,
    ):
        yield lambda share: bar.update(share - bar.n) and None


def info(options: argparse.Namespace) -> None:
    """`hrviz info`."""
    from hrviz.image import open_image

    image = open_image(options.image)
    if options.json:
        print_json(_facts(image))
        return
    facts = image.facts()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {value}")
    for note in image.notes:
        print(f"{'note':{width}}  {note}")


def _facts(image: Image) -> dict[str, Any]:
    extent = image.extent
    return {
        "uri": image.uri, "name": image.name, "width": image.width, "height": image.height,
        "channels": image.channels, "dtype": str(image.dtype), "pixel_size_um": image.pixel_size,
        "levels": [
            {"width": level.width, "height": level.height, "downsample": level.downsample,
             "tile": list(level.tile), "stored": i < image.stored_levels}
            for i, level in enumerate(image.levels_info)
        ],
        "axes": image.axes, "index": image.index, "frame_rate": image.frame_rate,
        "channel_info": [vars(c) for c in image.channel_info] if image.channel_info else None,
        "extent": vars(extent) if extent else None,
        "metadata": image.metadata, "notes": image.notes,
    }  # fmt: skip


def convert(options: argparse.Namespace) -> None:
    """`hrviz convert`."""
    from hrviz.image import open_image

    _convert(
        options, open_image(options.image), options.out, level=options.level, tile=options.tile,
        shard=options.shard, compression=options.compression, quality=options.quality,
        all_planes=options.all, workers=options.threads,
    )  # fmt: skip


def _convert(options: argparse.Namespace, image: Image, out: str, **choices: Any) -> None:
    from hrviz.image import open_image
    from hrviz.image.convert import convert as write

    with _bar(Path(out).name, options.json) as progress:
        path = write(
            image, out, region=options.region, overwrite=options.overwrite, progress=progress,
            **choices,
        )  # fmt: skip
    made = open_image(path)
    size = sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else path.stat().st_size
    notes = ["the place on the Earth is not kept"] if image.extent else []
    if options.json:
        print_json(
            {"file": str(path), "width": made.width, "height": made.height, "axes": made.axes,
             "levels": made.stored_levels, "bytes": size, "notes": notes}
        )  # fmt: skip
        return
    print(
        f"{path}: {made.width} x {made.height} px, {made.stored_levels} levels, {size / 1e6:.1f} MB"
    )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def scene(options: argparse.Namespace) -> None:
    """`hrviz scene`."""
    path = Path(options.out)
    suffix = path.suffix.lower()
    if suffix not in (*PICTURES, *PYRAMIDS, ".mp4"):
        raise HrvizError(
            f"cannot write {path.suffix or 'a file without suffix'}: use .png or .jpg (a picture), "
            ".mp4 (a film), .zarr or .tif (a pyramid)"
        )
    if options.size is not None and not 1 <= options.size <= MOST_SIZE:
        raise HrvizError(f"size={options.size} is out of range: choose 1 to {MOST_SIZE} px")
    if not path.parent.is_dir():
        raise HrvizError(f"there is no folder {path.parent}: make it first")
    from hrviz.image import open_image

    image = open_image(options.image)
    if suffix in PYRAMIDS:
        if options.size is not None:
            raise HrvizError(
                "size is for pictures and films: a pyramid is written at full resolution, choose a "
                "region instead"
            )
        _convert(options, image, options.out)
    elif suffix == ".mp4":
        _film(options, image, path)
    else:
        _picture(options, image, path)


def _picture(options: argparse.Namespace, image: Image, path: Path) -> None:
    from PIL import Image as PILImage

    from hrviz.results import write_whole

    view = image.view(options.region)
    pixels = image.rgb(view.box, view.fit(options.size or DEFAULT_SIZE))
    kind = PICTURES[path.suffix.lower()]
    write_whole(path, lambda file: PILImage.fromarray(pixels).save(file, kind))
    if options.json:
        print_json({"file": str(path), "width": pixels.shape[1], "height": pixels.shape[0]})
    else:
        print(f"{path}: {pixels.shape[1]} x {pixels.shape[0]} px")


def _film(options: argparse.Namespace, image: Image, path: Path) -> None:
    from hrviz.image import open_image
    from hrviz.scenes.film import write_film

    if options.region is not None:
        raise HrvizError("a film shows the whole picture: leave the region out, or write a .png")
    size = image.view().fit(options.size) if options.size else None
    with _bar(path.name, options.json) as progress:
        write_film(image, path, size=size, progress=progress)
    made = open_image(path)
    facts = {
        "file": str(path),
        "width": made.width,
        "height": made.height,
        "frames": made.axes["t"],
    }
    if options.json:
        print_json(facts)
    else:
        print(f"{path}: {made.width} x {made.height} px, {facts['frames']} frames")


def scenes(options: argparse.Namespace) -> None:
    """`hrviz scenes`."""
    from hrviz.scenes import SCENES

    if options.scene is not None and options.scene not in SCENES:
        raise HrvizError(f"scene {options.scene!r} is not known: there are {', '.join(SCENES)}")
    kinds = list(SCENES.values()) if options.scene is None else [SCENES[options.scene]]
    if options.json:
        told = [_describe(kind) for kind in kinds]
        print_json(told if options.scene is None else told[0])
        return
    if options.scene is None:
        width = max(map(len, SCENES))
        for kind in kinds:
            print(f"{kind.name:{width}}  {kind.title}; {', '.join(kind.tasks)}")
        return
    (kind,) = kinds
    print(f"{kind.title}\n\n{kind.idea}\n\n{kind.address()}\n")
    width = max(len(p.name) for p in kind.params)
    for p in kind.params:
        print(f"{p.name:{width}}  {p.allowed} (default {p.default}). {p.control.help}")


def _describe(kind: SceneKind) -> dict[str, Any]:
    return {
        "name": kind.name, "title": kind.title, "idea": kind.idea, "tasks": list(kind.tasks),
        "address": kind.address(), "small": dict(kind.small),
        "parameters": [
            {"name": p.name, "kind": p.kind, "default": p.default, "minimum": p.control.minimum,
             "maximum": p.control.maximum, "choices": list(p.choices), "unit": p.control.unit,
             "help": p.control.help}
            for p in kind.params
        ],
    }  # fmt: skip


def data(options: argparse.Namespace) -> None:
    """`hrviz data`."""
    from hrviz import data as downloads

    if options.action == "fetch":
        if not options.names:
            raise HrvizError("nothing to download: name at least one file, as 'hrviz data' lists")
        entries = [downloads.find(name) for name in options.names]
        with _stoppable():
            paths = {
                e.name: str(downloads.fetch(e.name, progress=not options.json)) for e in entries
            }
        if options.json:
            print_json(paths)
            return
        for name, path in paths.items():
            print(f"data:{name}  {path}")
        return
    folder = downloads.data_folder()
    rows = [vars(e) | {"here": (folder / e.name).is_file()} for e in downloads.registry()]
    if options.json:
        print_json({"folder": str(folder), "files": rows})
        return
    width = max(len(r["name"]) for r in rows)
    for r in rows:
        size = f"{r['bytes'] / 1e6:.1f} MB" if r["bytes"] else ""
        here = "here" if r["here"] else ""
        print(f"{r['name']:{width}}  {here:4}  {size:>9}  {r['licence']}; {r['credit']}")
        print(f"{'':{width}}  {r['shows']}")
    print(f"\nKept in {folder}; 'hrviz data fetch NAME' downloads, data:NAME opens.")

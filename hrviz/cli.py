"""The command line: everything the front ends do, scriptable.

With `--json` standard output holds one JSON value and nothing else; progress goes to standard
error. Bad input ends with one line on standard error and exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hrviz import cli_curve, cli_density, cli_images
from hrviz.cli_images import box_argument, print_json
from hrviz.errors import HrvizError

DISCLAIMER = "For research and teaching, not for diagnosis."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"hrviz: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = _Parser(
        prog="hrviz",
        description="Efficient high-resolution deep learning, visible and live.",
        epilog=DISCLAIMER,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, text: str, **options: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, **options)
        sub.add_argument(
            "--json", action="store_true", help="machine-readable output, and nothing else"
        )
        return sub

    sub = command("methods", "List the methods, or describe one.")
    sub.add_argument("method", nargs="?", metavar="METHOD")
    cli_images.add_commands(command)
    sub = command("apply", "Apply a method to an image or a region of it.")
    sub.add_argument("method", metavar="METHOD")
    sub.add_argument("image", metavar="IMAGE")
    _run_options(sub)
    sub.add_argument("--out", metavar="DIR", help="write every step's result and picture there")
    sub = command("compare", "Apply several methods to one region and tabulate scores and costs.")
    sub.add_argument("image", metavar="IMAGE")
    sub.add_argument("methods", nargs="+", metavar="METHOD")
    _run_options(sub)
    _surroundings(_params(cli_density.add_command(command)))
    cli_curve.add_command(command)
    sub = command("train", "Train a bundled network on procedural scenes and write its weights.")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--steps", type=int, help="fewer for a try (default: the recipe's)")
    sub.add_argument("--dry-run", action="store_true", help="train and judge, write nothing")
    sub = command("app", "Open the app in a browser.")
    sub.add_argument("image", nargs="?", metavar="IMAGE")
    sub.add_argument("--port", type=int, default=8501)
    sub.add_argument("--host", default="127.0.0.1")
    sub.add_argument("--no-browser", action="store_true")
    sub = command("napari", "Open napari with the plugin's panel.")
    sub.add_argument("image", nargs="?", metavar="IMAGE")
    return top


def _run_options(sub: argparse.ArgumentParser) -> None:
    _params(sub)
    sub.add_argument(
        "--region",
        metavar="X,Y,W,H",
        type=box_argument,
        help="level-0 pixels; default the whole image",
    )
    _surroundings(sub)


def _params(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("-p", dest="params", action="append", default=[], metavar="NAME=VALUE",
                     help="a parameter of the method (see 'hrviz methods METHOD'); repeat for more")  # fmt: skip
    return sub


def _surroundings(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--device", default=os.environ.get("HRVIZ_DEVICE", "cpu"), help="torch device of networks"
    )
    sub.add_argument(
        "--scheduler", metavar="ADDRESS", default=os.environ.get("HRVIZ_SCHEDULER"),
        help="dask scheduler whose workers run networks, e.g. tcp://host:8786 (default: "
        "HRVIZ_SCHEDULER, else this machine)",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(arguments)
    if options.version:
        from hrviz import __version__

        print(__version__)
        return 0
    if options.command is None:
        parser().print_help()
        return 0
    try:
        return int(COMMANDS[options.command](options) or 0)
    except HrvizError as error:
        print(f"hrviz: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("hrviz: stopped", file=sys.stderr)
        return 130


def _methods(options: argparse.Namespace) -> None:
    from hrviz.forms import docs
    from hrviz.method import METHODS

    if options.method:
        found = METHODS.find(options.method)
        if options.json:
            print_json(found.describe())
        else:
            print(f"{found.name}\n\n{found.doc}\n\n{docs.table(found)}")
        return
    if options.json:
        print_json([m.describe() for m in METHODS.values()])
        return
    width = max(map(len, METHODS))
    for m in METHODS.values():
        aliases = f" (also {', '.join(m.aliases)})" if m.aliases else ""
        print(f"{m.name:{width}}  {m.section:6} {m.title}{aliases}; {m.paper}")


def _progress(quiet: bool) -> Any:
    def show(m: Any) -> None:
        if not quiet:
            percent = "" if m.step.progress >= 1 else f" {m.step.progress:.0%}"
            print(f"{m.step.name}{percent}: {m.step.note}", file=sys.stderr)

    return show


def _apply(options: argparse.Namespace) -> None:
    from hrviz.context import Context
    from hrviz.forms import cli
    from hrviz.method import METHODS
    from hrviz.run import apply

    found = METHODS.find(options.method)
    if options.out and Path(options.out).exists() and not Path(options.out).is_dir():
        raise HrvizError(f"cannot write to {options.out}: it is a file; name a folder")
    run = apply(
        found, options.image, options.region, context=Context(device=_device(options), scheduler=options.scheduler),
        on_step=_progress(options.json), **cli.parse(found, options.params),
    )  # fmt: skip
    if options.out:
        run.save(options.out)
    if options.json:
        print_json(run.describe())
        return
    for quantity in run.cost.quantities:
        print(f"{quantity.name:18} {_amount(quantity.value, quantity.unit):>14}  {quantity.tag}"
              + (f" ({quantity.note})" if quantity.note else ""))  # fmt: skip
    for step in run.steps:
        if step.name == "score":
            print(
                "  ".join(
                    f"{k} {v:.4g}" for k, v in step.result.summary().items() if isinstance(v, float)
                )
            )
    if options.out:
        print(f"written to {options.out}")


def _device(options: argparse.Namespace) -> str:
    name: str = options.device
    if name == "cpu" or options.scheduler:  # a cluster's devices are its workers' own
        return name
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise HrvizError(
            f"device {name!r} is not there: choose cpu, or a machine with that device"
        ) from None
    return name


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    if unit == "FLOP":
        return f"{value / 1e9:.3f} GFLOP"
    if unit == "s":
        return f"{value:.3f} s"
    return f"{value:,.0f} {unit}".replace(",", "\u2009")


def _compare(options: argparse.Namespace) -> None:
    from hrviz.forms import cli
    from hrviz.method import METHODS
    from hrviz.run import compare

    methods = [METHODS.find(m) for m in options.methods]
    params: dict[str, Any] = {}
    for text in options.params:
        owners = [
            m for m in methods if any(p.name == text.partition("=")[0].strip() for p in m.params)
        ]
        for m in owners or methods[:1]:
            params |= cli.parse(m, [text])
    result = compare(
        options.image, methods, options.region, device=_device(options),
        scheduler=options.scheduler, **params,
    )  # fmt: skip
    if options.json:
        print_json(result.describe())
        return
    rows = result.table()
    columns = [
        "method",
        "iou",
        "small_lesion_recall",
        "pixels_read",
        "flops",
        "peak_memory",
        "seconds",
    ]
    units = {"pixels_read": "px", "flops": "FLOP", "peak_memory": "B", "seconds": "s"}
    cells = [columns] + [
        [
            "-" if (v := row.get(c)) is None else v if isinstance(v, str)
            else _amount(v, units[c]) if c in units else f"{v:.3f}"
            for c in columns
        ]
        for row in rows
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print(
            "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w)
                for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def _density(options: argparse.Namespace) -> None:
    cli_density.density(options, _device(options))


def _train(options: argparse.Namespace) -> None:
    from hrviz.training import train

    if options.steps is not None and options.steps < 1:
        raise HrvizError(f"steps={options.steps} is out of range: choose at least 1")
    facts = train(
        options.name, seed=options.seed, steps=options.steps, write=not options.dry_run,
        report=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    print_json(facts)


def _app(options: argparse.Namespace) -> int:
    if options.image:
        from hrviz.image import open_image

        open_image(options.image)  # refuse bad input before a server starts
    try:
        from hrviz.viewer.launch import launch
    except ImportError as error:
        raise HrvizError(f"the app needs {error.name}: pip install 'hrviz[app]'") from None
    return launch(options.image, options.host, options.port, browser=not options.no_browser)


def _napari(options: argparse.Namespace) -> None:
    try:
        import napari
    except ImportError:
        raise HrvizError("napari is not installed: pip install 'hrviz[napari]'") from None
    from hrviz.image import open_image
    from hrviz.napari._reader import image_layers

    layers = image_layers(open_image(options.image)) if options.image else []
    viewer = napari.Viewer(title="hrviz")
    for data, keywords, kind in layers:
        getattr(viewer, f"add_{kind}")(data, **keywords)
    viewer.window.add_plugin_dock_widget("hrviz")
    napari.run()


COMMANDS = {
    "methods": _methods, "info": cli_images.info, "apply": _apply, "compare": _compare,
    "convert": cli_images.convert, "scenes": cli_images.scenes, "scene": cli_images.scene,
    "data": cli_images.data, "density": _density, "curve": cli_curve.curve, "train": _train,
    "app": _app, "napari": _napari,
}  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())

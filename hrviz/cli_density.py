"""The command `density`: cost of zooming methods against how many objects there are; see `hrviz.cli`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hrviz.cli_images import print_json
from hrviz.errors import HrvizError

if TYPE_CHECKING:
    from hrviz.cost.density import Density


def add_command(command: Callable[..., argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command; `command(name, text)` makes a parser."""
    sub = command(
        "density",
        "What a zooming method costs, as a share of looking everywhere, when there are few objects "
        "and when there are many.",
    )
    sub.add_argument("method", nargs="?", metavar="METHOD")
    sub.add_argument("image", nargs="?", metavar="SCENE", help="default an example of the method")
    sub.add_argument("--all", action="store_true", help="all methods with a tree of looks, one line each")  # fmt: skip
    sub.add_argument("--values", metavar="A,B,...", help="of the scene's parameter that says how many objects there are")  # fmt: skip
    sub.add_argument("--seeds", type=int, default=1, metavar="N", help="scenes a value, to average over (default 1)")  # fmt: skip
    sub.add_argument("--out", metavar="FILE.png", help="write the curve as a picture")
    return sub


def density(options: argparse.Namespace, device: str) -> None:
    """`hrviz density`."""
    from hrviz.context import Context
    from hrviz.cost import density as costs
    from hrviz.forms import cli
    from hrviz.method import METHODS

    _check(options)
    names = [m.name for m in costs.methods()] if options.all else [options.method]
    values = options.values.split(",") if options.values else None

    def told(found: Density) -> None:
        if not options.json:
            print(f"{found.method.name} {found.progress:.0%}", file=sys.stderr)

    out = []
    for name in names:
        method = METHODS.find(name)
        context = Context(device=device, scheduler=options.scheduler)
        try:
            found = costs.density(
                method, values, image=options.image, seeds=options.seeds, context=context, on_step=told,
                **cli.parse(method, options.params),
            )  # fmt: skip
        except HrvizError as error:
            if not options.all:
                raise
            print(f"hrviz: {name} is left out: {error}", file=sys.stderr)
            continue
        out.append(found)
    if options.out:
        _picture(out[0], Path(options.out))
    if options.json:
        described = [found.describe() for found in out]
        print_json(described if options.all else described[0])
    elif options.all:
        _table(out)
    else:
        _lines(out[0])
        if options.out:
            print(f"written to {options.out}")


def _check(options: argparse.Namespace) -> None:
    """Refuse what does not go together before anything runs."""
    if options.all == (options.method is not None):
        raise HrvizError("name one method, or give --all for every method with a tree of looks")
    for name in ("values", "params", "out"):
        if options.all and getattr(options, name):
            raise HrvizError(f"--all takes no {name}: name one method to choose them")
    if options.out and Path(options.out).suffix.lower() != ".png":
        raise HrvizError(f"cannot write {options.out}: name a file that ends with .png")
    if options.out and not Path(options.out).absolute().parent.is_dir():
        raise HrvizError(f"there is no folder {Path(options.out).parent}: make it first")


def _picture(found: Density, path: Path) -> None:
    from hrviz.results import write_whole

    data = found.png()
    try:
        write_whole(path, lambda file: file.write(data))
    except OSError as error:
        raise HrvizError(f"cannot write to {path}: {error.strerror}; choose another file") from None


def _lines(found: Density) -> None:
    """One row a value."""
    curve, covers = found.curve, bool(found.series.dial.covers)
    rows = [[found.series.dial.name, curve.x_label, *curve.series]]
    for k, value in enumerate(found.series.values):
        x = _share(curve.x[k]) if covers else f"{curve.x[k]:g}"
        rows.append([f"{value:g}", x, *(_share(y[k]) for y in curve.series.values())])
    _print(rows)
    print(found.note)


def _table(all_found: list[Density]) -> None:
    """One row a method: shares of looking everywhere at the emptiest and at the fullest."""
    from hrviz.cost import density as costs

    kinds = (costs.PIXELS, costs.CALLS, costs.SEEN)
    rows = [["method", "objects", *kinds, "cost"]]
    for found in all_found:
        shares, dial = found.shares, found.series.dial
        a, b = (_share(x) if dial.covers else f"{x:g}" for x in found.curve.x[[0, -1]])
        ends = [
            f"{_share(y[0])} to {_share(y[-1])}" if (y := shares.get(kind)) is not None else "-"
            for kind in kinds
        ]  # fmt: skip
        cost = found.verdict + (f", {found.bound}" if found.bound else "")
        rows.append([found.method.name, f"{a} to {b} {dial.things}", *ends, cost])
    _print(rows)
    print("Shares of looking everywhere, with the fewest and the most objects; '-' where no network ran, "
          "or a single call sees everything.")  # fmt: skip


def _share(x: float) -> str:
    return f"{100 * x:.3g} %"


def _print(rows: list[list[str]]) -> None:
    """Columns under each other: words left, numbers right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                        for i, (c, w) in enumerate(zip(row, widths, strict=True))))  # fmt: skip

"""The command `curve`: what a network costs as its input grows, predicted; see `hrviz.cli`."""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hrviz.cli_images import print_json
from hrviz.cost import curves
from hrviz.cost.devices import DEVICES, GIB
from hrviz.errors import HrvizError

if TYPE_CHECKING:
    from hrviz.cost.curves import Growth

UNITS = {"b": 1, "mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": GIB}
COLUMNS = ("resolution", "parameters", "flops", "peak", "allocated", "needed", "reserved")


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare the command; `command(name, text)` makes a parser."""
    sub = command(
        "curve",
        "What a network costs at growing resolutions, predicted without a GPU: parameters, "
        "operations, memory of inference or of a training step.",
    )
    sub.add_argument("network", metavar="NETWORK", help="such as efficientnet-b7 or vit-b16")
    sub.add_argument("--resolutions", metavar="A,B,...", help="sides in pixels (default 224 to 8192)")  # fmt: skip
    sub.add_argument("--batch", type=int, default=1, metavar="N")
    sub.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    sub.add_argument("--training", action="store_true", help="forward and backward, not inference")
    sub.add_argument("--optimiser", help="and the optimiser's step: sgd, sgd-momentum or adam")
    sub.add_argument("--budget", metavar="DEVICE|SIZE",
                     help=f"also the largest image that fits: {', '.join(DEVICES)}, or a size such as 11GiB")  # fmt: skip
    sub.add_argument("--csv", action="store_true", help="one line a resolution, for a spreadsheet")
    sub.add_argument("--out", metavar="FILE.png", help="write the memory curve as a picture")


def curve(options: argparse.Namespace) -> None:
    """`hrviz curve`."""
    if options.json and options.csv:
        raise HrvizError("choose --json or --csv, not both")
    if options.out and Path(options.out).suffix.lower() != ".png":
        raise HrvizError(f"cannot write {options.out}: name a file that ends with .png")
    sides = _sides(options.resolutions)
    budget = None if options.budget is None else size(options.budget)
    asked = curves.scaling(
        options.network, batch=options.batch, dtype=options.dtype,
        training=options.training or options.optimiser is not None, optimiser=options.optimiser,
    )  # fmt: skip
    plain = not (options.json or options.csv)

    def told(found: Growth) -> None:
        if plain:
            print(f"{found.resolutions[-1]} px", file=sys.stderr)

    found = asked.curve(sides, told)
    fit = None if budget is None else asked.largest(budget)
    if options.out:
        _picture(found, Path(options.out))
    rows = [
        dict(zip(COLUMNS, (side, *(int(getattr(m, c)) for c in COLUMNS[1:])), strict=True))
        for side, m in zip(found.resolutions, found.measures, strict=True)
    ]
    if options.csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        print(text.getvalue(), end="")
        return
    last = found.measures[-1]
    if options.json:
        print_json({
            "network": found.name, "batch": options.batch, "dtype": options.dtype,
            "training": asked.training, "optimiser": options.optimiser, "tag": "predicted",
            "points": rows, "exponent": {k: found.exponent(k) for k in ("flops", "peak")},
            "largest": None if fit is None else {"budget": fit.budget, "resolution": fit.resolution},
            "assumed": list(last.assumed), "excluded": list(last.excluded),
        })  # fmt: skip
        return
    _table(found)
    print(f"At the end FLOPs grow as side^{found.exponent('flops'):.2f}, memory as side^{found.exponent('peak'):.2f}.")  # fmt: skip
    if fit is not None:
        what = f"up to {fit.resolution} x {fit.resolution} px" if fit.resolution else "nothing"
        print(f"{options.budget} holds {what} (predicted, with the allocator's rounding).")
    for sentence in last.excluded:
        print(f"Not included: {sentence}")
    if options.out:
        print(f"written to {options.out}")


def size(text: str) -> int:
    """Bytes of a device by name, or of a size such as '11GiB' or '500 MB'.

    Raises
    ------
    HrvizError
        One sentence, when it is neither, or not above 0.

    Examples
    --------
    >>> size("a6000") == size("48 GiB") == 48 * 2**30
    True
    """
    if text in DEVICES:
        return DEVICES[text].bytes
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-zA-Z]+)\s*", text)
    unit = UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None or found[1].count(".") > 1 or not re.search(r"\d", found[1]):
        raise HrvizError(
            f"{text!r} is neither a device nor a size: choose {', '.join(DEVICES)}, or a size such as 11GiB"
        )
    out = int(float(found[1]) * unit)
    if out < 1:
        raise HrvizError(f"a budget of {text} holds nothing: choose one above 0, such as 11GiB")
    return out


def _sides(text: str | None) -> tuple[int, ...]:
    if text is None:
        return curves.RESOLUTIONS
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HrvizError(f"resolutions {text!r} are not whole numbers: write such as 224,512,1024") from None  # fmt: skip


def _picture(found: Growth, path: Path) -> None:
    from hrviz.results import write_whole
    from hrviz.views import mpl

    data = mpl.png(found.curve())
    try:
        write_whole(path, lambda file: file.write(data))
    except OSError as error:
        raise HrvizError(f"cannot write to {path}: {error.strerror}; choose another file") from None


def _table(found: Growth) -> None:
    rows = [["side", "parameters", "GFLOP", "tensors MiB", "needed MiB", "largest at"]]
    for side, m in zip(found.resolutions, found.measures, strict=True):
        where = f"{m.peak_at.module or 'input'} {m.peak_at.operator}"
        rows.append([f"{side}", f"{m.parameters:,}", f"{m.flops / 1e9:,.2f}", f"{m.peak / 2**20:,.1f}",
                     f"{m.needed / 2**20:,.1f}", where])  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [c.rjust(w) for c, w in zip(row[:-1], widths, strict=False)]
        print("  ".join([*cells, row[-1]]))

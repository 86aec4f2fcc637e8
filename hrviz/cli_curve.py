"""The command `curve`: what networks and methods cost as their input grows; see `hrviz.cli`."""

from __future__ import annotations

import argparse
import csv
import io
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.cli_images import print_json
from hrviz.cost import curves, study
from hrviz.cost.devices import DEVICES, GIB
from hrviz.cost.study import QUANTITIES, Point, Setting, Study
from hrviz.errors import HrvizError

if TYPE_CHECKING:
    from hrviz.cost.curves import Fit
    from hrviz.cost.latency import Latency
    from hrviz.cost.own import Own
    from hrviz.results import Curve

UNITS = {"b": 1, "mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": GIB}
COLUMNS = ("resolution", "parameters", "flops", "peak", "allocated", "needed", "reserved", "pixels", "network_pixels")  # fmt: skip
ALIASES = {"memory": "needed", "operations": "flops"}
#: how numbers of a table are written: divisor, unit and format
WRITTEN = {"B": (2**20, "MiB", ",.1f"), "FLOP": (1e9, "GFLOP", ",.2f"), "px": (1e6, "Mpx", ",.3f"), "": (1, "", ",.0f"), "s": (1e-3, "ms", ",.2f")}  # fmt: skip


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare the command; `command(name, text)` makes a parser."""
    sub = command(
        "curve",
        "What networks and methods cost at growing resolutions, predicted without a GPU: parameters, "
        "operations, memory of inference or of a training step; asked for, also measured time.",
    )
    add, quantities = sub.add_argument, ", ".join(QUANTITIES)
    add("subjects", nargs="+", metavar="METHOD|NETWORK|FILE",
        help="a method, a network such as efficientnet-b7 or vit-b16, or your own: a TorchScript or ONNX "
        "file, or package.module:Class")  # fmt: skip
    add("--resolutions", metavar="A,B,...", help="sides in pixels (default 224 to 8192)")
    add("--batch", type=int, default=1, metavar="N")
    add("--channels", type=int, default=3, metavar="N", help="of the input of your own network")
    add("--dtype", default="float32", help="float32, bfloat16 or float16")
    add("--training", "--train", action="store_true", help="forward and backward, not inference")
    add("--optimiser", help="and the optimiser's step: sgd, sgd-momentum or adam")
    add("--network", default="", metavar="NETWORK", help="in place of the methods' task networks")
    add("--reduction", type=float, default=4.0, metavar="R",
        help="image pixels per output pixel, along a side, of methods that resample (default 4; 0: the size "
        "that their parameters say)")  # fmt: skip
    add("--weights", metavar="FILE.safetensors", help="a checkpoint: does it fit the network?")
    add("-p", dest="params", action="append", default=[], metavar="[METHOD.]NAME=VALUE",
        help="a parameter of the methods; repeat for more")  # fmt: skip
    add("--budget", action="append", default=[], metavar="DEVICE|SIZE",
        help=f"also the largest image that fits: {', '.join(DEVICES)}, or a size such as 11GiB; repeat for more")  # fmt: skip
    add("--quantity", metavar="NAME", help=f"of table and picture: memory, operations, time, {quantities}")  # fmt: skip
    add("--time", action="store_true", help="also measure seconds on the device at hand")
    add("--device", metavar="cpu|cuda", help="measure there: seconds, and on cuda memory")
    add("--csv", action="store_true", help="one line a resolution, for a spreadsheet")
    add("--out", metavar="FILE.png", help="write the curve as a picture")


@dataclass
class _Asked:
    """What the options ask for, checked."""

    known: list[str]  # named networks and methods
    own: dict[str, Own]
    sides: tuple[int, ...]
    setting: Setting
    budgets: dict[str, int]  # as written, and in bytes
    quantity: str
    device: str
    time: bool

    @property
    def names(self) -> list[str]:
        return [*self.known, *self.own]


@dataclass
class _Found:
    """What is known of it."""

    study: Study
    fits: dict[tuple[str, str], Fit] = field(default_factory=dict)
    times: dict[str, list[Latency]] = field(default_factory=dict)
    memory: dict[str, list[dict[str, int]]] = field(default_factory=dict)


def curve(options: argparse.Namespace) -> None:
    """`hrviz curve`."""
    asked = _checked(options)
    found = _metered(asked, told=not (options.json or options.csv))
    if options.out:
        _picture(_drawn(found, asked), Path(options.out))
    if options.csv:
        _csv(found, asked)
    elif options.json:
        print_json(_described(found, asked))
    else:
        if len(asked.names) == 1 and not options.quantity:
            _table(found, asked)
        else:
            _comparison(found, asked)
        _remarks(found, asked)
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
    found = re.fullmatch(r"\s*(-?[\d.]+)\s*([a-zA-Z]+)\s*", text)
    unit = UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None or found[1].count(".") > 1 or not re.search(r"\d", found[1]):
        raise HrvizError(
            f"{text!r} is neither a device nor a size: choose {', '.join(DEVICES)}, or a size such as 11GiB"
        )
    out = int(float(found[1]) * unit)
    if out < 1:
        raise HrvizError(f"a budget of {text} holds nothing: choose one above 0, such as 11GiB")
    return out


# ------------------------------------------------------------------ what is asked
def _checked(options: argparse.Namespace) -> _Asked:
    """Refuse all that can be refused before anything is metered."""
    from hrviz.cost import own as owns

    if options.json and options.csv:
        raise HrvizError("choose --json or --csv, not both")
    _check_out(options.out)
    quantity = ALIASES.get(options.quantity, options.quantity or "needed")
    if quantity not in (*QUANTITIES, "time"):
        raise HrvizError(f"{options.quantity!r} is not a cost: choose memory, operations, time, {', '.join(QUANTITIES)}")  # fmt: skip
    sides, budgets = _sides(options.resolutions), {text: size(text) for text in options.budget}
    texts = [t for t in options.subjects if owns.is_own(t)]
    known = list(dict.fromkeys(study.find(t).name for t in options.subjects if t not in texts))
    setting = Setting(
        batch=options.batch, dtype=options.dtype, network=options.network, reduction=options.reduction,
        training=options.training or options.optimiser is not None, optimiser=options.optimiser,
        params=_params(options.params, known),
    ).checked()  # fmt: skip
    for name in known:
        _check_stride(name, sides, setting)
    time = options.time or quantity == "time" or options.device is not None
    if time and texts:
        raise HrvizError(f"time is measured of methods and named networks: leave out {texts[0]}, or --time and --device")  # fmt: skip
    _check_device(options.device)
    own: dict[str, Own] = {}
    for text in dict.fromkeys(texts):
        made = owns.find(text, options.channels)
        if made.name in own or made.name in known:
            made.name = text
        own[made.name] = made
    asked = _Asked(known, own, sides, setting, budgets, quantity, options.device or "", time)
    if options.weights:
        _check_weights(options.weights, asked)
    return asked


def _sides(text: str | None) -> tuple[int, ...]:
    if text is None:
        return curves.RESOLUTIONS
    try:
        out = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise HrvizError(f"resolutions {text!r} are not whole numbers: write such as 224,512,1024") from None  # fmt: skip
    if out[0] < 1:
        raise HrvizError(f"a resolution of {out[0]} is out of range: choose whole numbers from 1")
    return out


def _params(options: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parameters by method; one without a method's name goes to all that have it."""
    from hrviz.forms import cli
    from hrviz.method import METHODS

    methods = [METHODS[n] for n in names if n in METHODS]
    given: dict[str, list[str]] = {m.name: [] for m in methods}
    for option in options:
        left, equals, value = option.partition("=")
        whose, dot, name = left.rpartition(".")
        if dot:
            asked = METHODS.find(whose).name
            if asked not in given:
                raise HrvizError(f"-p {option} is of {asked}, which is not asked for: choose a parameter of {', '.join(given) or 'a method'}")  # fmt: skip
            given[asked].append(f"{name}{equals}{value}")
            continue
        plain = name.strip().replace("-", "_")
        takers = [m for m in methods if any(p.name == plain for p in m.params)]
        if not takers and len(methods) != 1:
            raise HrvizError(f"no method that is asked for has a parameter {plain!r}: see 'hrviz methods METHOD'")  # fmt: skip
        for m in takers or methods:  # the one method says what it has
            given[m.name].append(option)
    return {m.name: cli.parse(m, given[m.name]) for m in methods if given[m.name]}


def _check_out(out: str | None) -> None:
    if out and Path(out).suffix.lower() != ".png":
        raise HrvizError(f"cannot write {out}: name a file that ends with .png")
    if out and not Path(out).absolute().parent.is_dir():
        raise HrvizError(f"there is no folder {Path(out).parent}: make it first")


def _check_stride(name: str, sides: Sequence[int], setting: Setting) -> None:
    from hrviz.cost.models import MODELS

    if name not in MODELS:
        return
    step = study.step_of(name, setting)
    for side in sides:
        if side % step:
            near = max(step, round(side / step) * step)
            raise HrvizError(f"a resolution of {side} is not a multiple of {step}, the stride of {name}: choose {near}")  # fmt: skip


def _check_device(device: str | None) -> None:
    if device is None or device == "cpu":
        return
    from hrviz.cost import on_gpu

    if device.partition(":")[0] != "cuda":
        raise HrvizError(f"device {device!r} is not known: choose cpu or cuda")
    if not on_gpu.present():
        raise HrvizError("there is no CUDA device here to measure on: leave --device out for predictions, or choose cpu")  # fmt: skip


def _check_weights(path: str, asked: _Asked) -> None:
    """Hold a checkpoint against the one network that it can be of."""
    from hrviz.cost.models import MODELS
    from hrviz.cost.own import check_weights, named_shapes

    own, named = list(asked.own.values()), [n for n in asked.known if n in MODELS]
    if asked.setting.network:
        named.append(asked.setting.network)
    if len(own) + len(named) != 1:
        raise HrvizError("--weights is of one network: name one network or file, or give --network")
    if own:
        check_weights(path, own[0].name, own[0].shapes)
    else:
        check_weights(path, named[0], named_shapes(named[0], asked.sides[0]))


# ------------------------------------------------------------------ the work
def _metered(asked: _Asked, told: bool) -> _Found:
    """All points, then budgets, then what is measured; progress on standard error."""
    seen = set()

    def progress(text: str) -> None:
        if told and text not in seen:
            seen.add(text)
            print(text, file=sys.stderr, flush=True)

    points: dict[str, tuple[Point | None, ...]] = {}
    problems: dict[str, str] = {}
    if asked.known:
        found = study.grow(asked.known, asked.sides, asked.setting, lambda s: progress(_reached(s)))
        points, problems = dict(found.points), dict(found.problems)
    for name, own in asked.own.items():
        row: list[Point | None] = []
        for side in asked.sides:
            progress(f"{name}: {side} px")
            row.append(own.at(side, asked.setting))
        points[name] = tuple(row)
    for name, problem in problems.items():
        if not any(points[name]):
            raise HrvizError(problem)
        print(f"hrviz: {name} is left out at some sides: {problem}", file=sys.stderr)
    out = _Found(Study(asked.setting, asked.sides, {n: points[n] for n in asked.names}, problems))
    for text, budget in asked.budgets.items():
        for name in asked.names:
            progress(f"{name}: the largest image in {text}")
            mine = asked.own.get(name)
            out.fits[name, text] = (
                study.largest(name, budget, asked.setting) if mine is None else mine.largest(budget, asked.setting)
            )  # fmt: skip
    if asked.time:
        _measure(out, asked, progress)
    return out


def _reached(found: Study) -> str:
    done = [
        side for k, side in enumerate(found.sides) if any(row[k] for row in found.points.values())
    ]
    return f"{done[-1]} px" if done else ""


def _measure(out: _Found, asked: _Asked, progress: Callable[[str], None]) -> None:
    from hrviz.cost import on_gpu
    from hrviz.cost.latency import latency
    from hrviz.cost.models import MODELS

    for name in asked.known:
        out.times[name] = latency(
            name, asked.sides, asked.setting, device=asked.device,
            on_point=lambda row: progress(f"{row.subject}: timed at {row.side} px"),
        )  # fmt: skip
        if asked.device.startswith("cuda") and name in MODELS:
            out.memory[name] = []
            for row in out.times[name]:
                if not row.reason:
                    taken = on_gpu.peak(name, row.side, asked.setting, asked.device)
                    out.memory[name].append({"side": row.side, **taken._asdict()})


# ------------------------------------------------------------------ what is told
def _drawn(found: _Found, asked: _Asked) -> Curve:
    """The quantity as a picture's lines; budgets are marked where it is memory."""
    from dataclasses import replace

    from hrviz.cost.latency import curve as timed

    if asked.quantity == "time":
        return timed(asked.sides, [row for rows in found.times.values() for row in rows])
    drawn = found.study.curve(asked.quantity)
    if QUANTITIES[asked.quantity][1] == "B":
        drawn = replace(drawn, levels={text: float(n) for text, n in asked.budgets.items()})
    return drawn


def _picture(drawn: Curve, path: Path) -> None:
    from hrviz.results import write_whole
    from hrviz.views import mpl

    data = mpl.png(drawn)
    try:
        write_whole(path, lambda file: file.write(data))
    except OSError as error:
        raise HrvizError(f"cannot write to {path}: {error.strerror}; choose another file") from None


def _row(point: Point) -> dict[str, int]:
    plain = point.summary() | {"resolution": point.side}
    return {name: round(plain[name]) for name in COLUMNS}


def _csv(found: _Found, asked: _Asked) -> None:
    times = {(r.subject, r.side): r for rows in found.times.values() for r in rows}
    more = ("seconds", "seconds_low", "seconds_high") if asked.time else ()
    text = io.StringIO()
    writer = csv.DictWriter(text, ("subject", *COLUMNS, *more), lineterminator="\n")
    writer.writeheader()
    for name, row in found.study.points.items():
        for point in filter(None, row):
            line: dict[str, Any] = {"subject": name, **_row(point)}
            timed = times.get((name, point.side))
            if timed is not None and not timed.reason:
                line |= dict(zip(more, (timed.median, timed.low, timed.high), strict=True))
            writer.writerow(line)
    print(text.getvalue(), end="")


def _described(found: _Found, asked: _Asked) -> dict[str, Any]:
    """As JSON: what is common, all subjects, and of a single network its own at the top too."""
    setting, subjects = asked.setting, []
    for name, row in found.study.points.items():
        points = [p for p in row if p]
        exponents = {of: found.study.exponent(name, of) for of in ("flops", "peak")}
        top = max(points[-1].parts, key=lambda p: p.measure.peak, default=None)
        fits = [
            {"budget": f.budget, "named": text, "resolution": f.resolution}
            for (whose, text), f in found.fits.items() if whose == name
        ]  # fmt: skip
        group = "own network" if name in asked.own else study.find(name).group
        one: dict[str, Any] = {
            "name": name, "group": group, "tag": points[-1].tag, "points": [_row(p) for p in points],
            "exponent": {k: None if math.isnan(v) else v for k, v in exponents.items()},
            "largest": fits, "problem": found.study.problems.get(name),
            "assumed": list(top.measure.assumed) if top else [],
            "excluded": list(top.measure.excluded) if top else [],
        }  # fmt: skip
        if name in found.times:
            one["time"] = [r.summary() for r in found.times[name]]
        if name in found.memory:
            one["measured_memory"] = found.memory[name]
        subjects.append(one)
    out: dict[str, Any] = {
        "batch": setting.batch, "dtype": setting.dtype, "training": setting.training,
        "optimiser": setting.optimiser, "subjects": subjects,
    }  # fmt: skip
    if len(subjects) == 1 and "network" in subjects[0]["group"]:
        (one,) = subjects
        largest = one["largest"][0] if one["largest"] else None
        out |= {k: one[k] for k in ("tag", "points", "exponent", "assumed", "excluded")}
        out |= {"network": one["name"], "largest": largest}
    return out


def _table(found: _Found, asked: _Asked) -> None:
    """All costs of one subject, a row a side."""
    ((name, row),) = found.study.points.items()
    rows = [["side", "parameters", "GFLOP", "tensors MiB", "needed MiB", "Mpx read"]]
    times = {r.side: r for r in found.times.get(name, ())}
    if asked.time:
        rows[0].append("ms")
    rows[0].append("largest at")
    for point in filter(None, row):
        where = "no network"
        if point.largest is not None:
            at = point.largest.measure.peak_at
            where = f"{at.module or 'input'} {at.operator}"
            if point.largest.call.network != name:
                where = f"{point.largest.call.network}: {where}"
        cells = [f"{point.side}", f"{point.parameters:,.0f}", f"{point.flops / 1e9:,.2f}", f"{point.peak / 2**20:,.1f}",
                 f"{point.needed / 2**20:,.1f}", f"{point.pixels / 1e6:,.3f}"]  # fmt: skip
        if asked.time:
            timed = times.get(point.side)
            cells.append(f"{1e3 * timed.median:,.2f}" if timed and not timed.reason else "-")
        rows.append([*cells, where])
    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    for r in rows:
        print("  ".join([*(c.rjust(w) for c, w in zip(r[:-1], widths, strict=False)), r[-1]]))


def _comparison(found: _Found, asked: _Asked) -> None:
    """One quantity of all subjects, a row a side."""
    unit = "s" if asked.quantity == "time" else QUANTITIES[asked.quantity][1]
    label = "time" if asked.quantity == "time" else QUANTITIES[asked.quantity][0]
    by, written, form = WRITTEN[unit]
    print(
        f"{label}{f' ({written})' if written else ''}, {'measured' if unit == 's' else 'predicted'}"
    )
    columns: dict[str, np.ndarray] = {}
    for name in asked.names:
        if unit == "s":
            columns[name] = np.array([r.median for r in found.times.get(name, ())])
        else:
            columns[name] = found.study.values(name, asked.quantity)
    rows = [["side", *columns]]
    for k, side in enumerate(asked.sides):
        cells = [y[k] for y in columns.values()]
        rows.append([f"{side}", *("-" if np.isnan(v) else format(v / by, form) for v in cells)])
    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    for r in rows:
        print("  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)))


def _remarks(found: _Found, asked: _Asked) -> None:
    """Growth, budgets, why something is missing, and what no number has in it."""
    for name in asked.names:
        flops, memory = (found.study.exponent(name, of) for of in ("flops", "peak"))
        whose = "" if len(asked.names) == 1 else f"{name}: "
        said = f"{whose}at the end FLOPs grow as side^{flops:.2f}, memory as side^{memory:.2f}."
        if not (math.isnan(flops) or math.isnan(memory)):
            print(said[0].upper() + said[1:] if not whose else said)
    for (name, text), fit in found.fits.items():
        whose = "" if len(asked.names) == 1 else f" of {name}"
        what = f"up to {fit.resolution} x {fit.resolution} px" if fit.resolution else "nothing"
        if fit.beyond is None and fit.resolution:
            what = "any image"
        print(f"{text} holds {what}{whose} (predicted, with the allocator's rounding).")
    for rows in found.times.values():
        for row in rows:
            if row.reason:
                print(f"Not timed: {row.subject} at {row.side} px: {row.reason}")
    timed = next((r for rows in found.times.values() for r in rows), None)
    if timed is not None:
        print(f"Time measured on {timed.device}, without trained weights; median of up to {timed.repeats or 5} passes.")  # fmt: skip
    for name, taken in found.memory.items():
        for one in taken:
            print(f"{name} at {one['side']} px took {one['allocated'] / 2**20:,.1f} MiB, reserved {one['reserved'] / 2**20:,.1f} MiB (measured).")  # fmt: skip
    measures = [p.measure for row in found.study.points.values() for q in row if q for p in q.parts]
    if measures:
        for sentence in measures[-1].excluded:
            print(f"Not included: {sentence}")

"""What a cost study says, in words and pictures that all front ends share.

The curve with the memory of devices across it, the largest image that fits as a sentence, what the
memory is made of at one side.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hrviz.cost.curves import LIMIT, MEMORY, Fit
from hrviz.cost.devices import DEVICES, GIB
from hrviz.errors import HrvizError
from hrviz.method import FAMILIES
from hrviz.views import colour, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrviz.cost.study import Point, Study, Subject
    from hrviz.results import Curve

#: what is shown, and its name in a list
QUANTITIES = {
    "needed": "Memory needed",
    "flops": "Operations",
    "parameters": "Parameters",
    "pixels": "Pixels read",
    "network_pixels": "Pixels given to networks",
}
ALL = "all"
DEVICE = "a6000"  # the survey's
SUBJECTS = ("efficientnet-b7", "uniform-downsampling", "cutting-into-patches")
USES = {"inference": "Inference", "training": "Training step"}
OPTIMISERS = {None: "None", "sgd": "SGD", "sgd-momentum": "SGD with momentum", "adam": "Adam"}
DTYPES = ("float32", "bfloat16", "float16")
#: image pixels per output pixel along a side, of methods that resample
REDUCTIONS = {
    4.0: "1/4 of the image", 2.0: "1/2 of the image", 8.0: "1/8 of the image",
    16.0: "1/16 of the image", 0.0: "Its own size",
}  # fmt: skip
#: by control: what happens if it is moved
TIPS = {
    "use": "A training step keeps every activation until the backward pass.",
    "optimiser": "What an optimiser remembers of every weight takes memory too.",
    "batch": "Images at once: activations grow with them, weights do not.",
    "dtype": "Of weights and activations: half the bytes, half the memory.",
    "network": "A network in place of the task's of every method, to compare methods with the network that is fed the whole image.",
    "reduction": "Side of what a method that resamples gives to its network. 'Its own size': what its parameters say, whatever the image.",
    "device": "The memory that curves are held against. The driver takes a little of it.",
    "quantity": "What the curve shows.",
}
#: colour and hatch of what memory holds
KINDS = {
    "weights": ("#0072B2", ""),
    "activations": ("#E69F00", ""),
    "gradients": ("#009E73", "//"),
    "optimiser": ("#CC79A7", "xx"),
    "input": ("#9AA0A8", ""),
    "other": ("#D5D9DE", ".."),
}


def groups(known: Mapping[str, Subject]) -> dict[str, list[Subject]]:
    """Subjects by heading, as lists show them: networks first, the small ones apart."""
    networks = [s for s in known.values() if s.group == "network"]
    small = [s for s in networks if s.name.startswith("efficientnet") and not s.name.endswith("b7")]
    out = {
        "Networks, fed the whole image": [s for s in networks if s not in small],
        "Smaller EfficientNets": small,
    }
    for family, title in FAMILIES.items():
        out[title] = [s for s in known.values() if s.group == family]
    return {title: members for title, members in out.items() if members}


def sides(usual: Sequence[int], image: int = 0) -> tuple[int, ...]:
    """Sides to ask about: the usual ones, and up to an image's each twice the last.

    Examples
    --------
    >>> sides((512, 1024), 5000)
    (512, 1024, 2048, 4096, 5000)
    """
    out = sorted({*usual, *([image] if image else [])})
    last = max(usual, default=image)
    while 2 * last < image:
        last *= 2
        out.append(last)
    return tuple(sorted(out))


def budgets(device: str = DEVICE) -> dict[str, int]:
    """Title to bytes: of a device, of all devices ('all'), or of a size such as '20 GiB'.

    Raises
    ------
    HrvizError
        One sentence with what there is.
    """
    if device == ALL:
        return {d.title: d.bytes for d in DEVICES.values()}
    if device in DEVICES:
        return {DEVICES[device].title: DEVICES[device].bytes}
    try:
        size = float(device.lower().removesuffix("gib").strip())
    except ValueError:
        size = 0.0
    if not 0 < size < 2**20:
        raise HrvizError(f"{device!r} is not a device: choose {', '.join(DEVICES)}, {ALL}, or a size such as '20 GiB'")  # fmt: skip
    return {f"{size:g} GiB": round(size * GIB)}


def curve(
    study: Study, of: str = "needed", against: Mapping[str, int] | None = None, side: int = 0
) -> Curve | None:
    """A study's curve with lines for devices (of memory) and for the image at hand.

    Parameters
    ----------
    study : Study
    of : str
        One of `hrviz.cost.study.QUANTITIES`.
    against : mapping, optional
        Title to bytes, as of `budgets`.
    side : int, px
        Of the image at hand; 0 for none.

    Returns
    -------
    Curve or None
        None before the first point.
    """
    found = study.curve(of)
    series = {name: y for name, y in found.series.items() if (np.nan_to_num(y) > 0).any()}
    if not series:
        return None
    levels = {k: float(v) for k, v in (against or {}).items()} if of in MEMORY else {}
    marks = {"this image": float(side)} if side else {}
    return replace(found, series=series, levels=levels, marks=marks)


def fits(fit: Fit) -> str:
    """What a search found, in words.

    Examples
    --------
    >>> fits(Fit(8704, 51 * 10**9, 52 * 10**9, 48 * 2**30))
    'fits to 8\u2009704 px in 48 GiB'
    """
    budget = ticks.amount(fit.budget, "B")
    if not fit.resolution:
        return f"does not fit in {budget} at any size: it takes {ticks.amount(fit.bytes, 'B')} at least"  # fmt: skip
    if _whatever(fit):
        return f"fits at any size in {budget}"
    if fit.beyond is None:  # it takes no larger ones
        return f"fits to the {colour.number(fit.resolution)} px that it takes at most in {budget}"
    return f"fits to {colour.number(fit.resolution)} px in {budget}"


def short(fit: Fit) -> str:
    """The same for a cell of a table."""
    if not fit.resolution:
        return "does not fit"
    return "any size" if _whatever(fit) else f"{colour.number(fit.resolution)} px"


def _whatever(fit: Fit) -> bool:
    return fit.resolution > LIMIT * 0.99  # strides may not reach the limit itself


def point(study: Study, name: str, side: int) -> Point | None:
    """What a subject costs at one of the study's sides, where that is known by now."""
    if side not in study.sides:
        return None
    return study.points[name][study.sides.index(side)]


def sentence(study: Study, name: str, found: Mapping[tuple[str, int], Fit], side: int = 0) -> str:
    """What fits, and what the image at hand needs; '' before anything is known."""
    mine = [fit for (subject, _), fit in found.items() if subject == name]
    some = [fit for fit in mine if fit.resolution and fit.beyond is not None]
    said = [fits(fit) for fit in mine if not fit.resolution]
    if some:  # one verb for all sizes
        sizes = (f"{colour.number(f.resolution)} px in {ticks.amount(f.budget, 'B')}" for f in some)
        said.append(f"fits to {', '.join(sizes)}")
    always = [fit for fit in mine if fit.resolution and fit.beyond is None]
    if always:
        smallest = min(always, key=lambda fit: fit.budget)
        said.append(fits(smallest) + (" or more" if len(always) > 1 else ""))
    out = [_sentence("; ".join(said))] if said else []
    if name in study.problems:
        out.append(_sentence(study.problems[name]))
    here = point(study, name, side) if side else None
    if here is not None:
        out.append(f"This image, {colour.number(side)} px, needs {ticks.amount(here.needed, 'B')}.")
    return " ".join(out)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def growth(study: Study, name: str, of: str = "needed") -> str:
    """How the last points grow with the side, such as 'side\u00b2'; '' where that is not known."""
    power = study.exponent(name, of)
    if power != power:
        return ""
    if abs(power) < 0.05:
        return "constant"
    whole = round(power)
    if abs(power - whole) < 0.06 and 1 <= whole <= 4:
        return ("side", "side\u00b2", "side\u00b3", "side\u2074")[whole - 1]
    return f"side^{power:.1f}"


def grows(growth: str) -> str:
    """The same as a sentence; '' for ''."""
    if growth == "constant":
        return "Memory does not grow with the image."
    return f"Memory grows as {growth}." if growth else ""


def table(
    study: Study, found: Mapping[tuple[str, int], Fit], against: Mapping[str, int], side: int
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: of each subject the largest image by device, its growth, its cost at a side."""
    head = ["", *(f"fits {t}" for t in against), "memory grows as", f"memory at {colour.number(side)} px",
            "operations", "parameters", "pixels read"]  # fmt: skip
    rows = []
    for name in study.points:
        row = [ticks.title(name)]
        row += [
            short(found[name, size]) if (name, size) in found else "" for size in against.values()
        ]
        here = point(study, name, side)
        row.append(growth(study, name))
        row += ["", "", "", ""] if here is None else [
            ticks.amount(here.needed, "B"), ticks.amount(here.flops, "FLOP"),
            ticks.amount(here.parameters, ""), ticks.amount(here.pixels, "px"),
        ]  # fmt: skip
        rows.append(row)
    return head, rows


def breakdown(points: Sequence[Point], ax: Axes) -> None:
    """What memory holds at the peak, as shares of it, one bar a subject with its sum."""
    shown = [p for p in points if p.peak > 0]
    at = np.arange(len(shown))
    left = np.zeros(len(shown))
    for kind, (ink, hatch) in KINDS.items():
        share = np.array([p.split.get(kind, 0) / p.peak for p in shown])
        if not (share > 0.001).any():
            continue
        ax.barh(at, share, left=left, height=0.36, color=ink, hatch=hatch, edgecolor="white",
                lw=0.8, label=kind)  # fmt: skip
        left += share
    for k, p in enumerate(shown):
        ax.annotate(ticks.title(p.subject), (0, k - 0.24), (0, 2), textcoords="offset points", fontsize=8,
                    color=colour.THEMES["light"].text)  # fmt: skip
        ax.annotate(ticks.amount(p.peak, "B"), (1, k - 0.24), (0, 2), textcoords="offset points",
                    ha="right", fontsize=8, fontweight="bold", color=colour.THEMES["light"].text)  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(len(shown) - 0.7, -0.75), yticks=[], xticks=[])
    ax.spines[:].set_visible(False)


def picture(width: float, height: float, draw: Callable[[Axes], Any], dpi: int = 100) -> bytes:
    """A PNG of what `draw` draws, legend below; inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    ax = figure.add_subplot()
    draw(ax)
    handles, labels = ax.get_legend_handles_labels()
    if old := ax.get_legend():
        old.remove()
    if handles:
        longest = max(map(len, labels))
        columns = max(1, min(len(labels), int(width * 15 / (longest + 5))))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=7.5,
                      frameon=False, handlelength=1.8, columnspacing=1.2)  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()

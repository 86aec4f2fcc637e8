"""The one palette: themes, method colours, decisions of zoom trees, classes, levels, colour maps.

The same values as in the viewer's `colour.js`, so that a class has one colour in all front ends.
Nothing is told by colour alone: decisions also differ in dash and hatch.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Lut = Literal["viridis", "magma", "cividis", "diverging", "labels", "rgb"]
ThemeName = Literal["dark", "light"]


@dataclass(frozen=True)
class Theme:
    """Neutral chrome and one accent; text on background has AA contrast."""

    background: str
    panel: str
    text: str
    muted: str
    line: str
    accent: str


THEMES: dict[str, Theme] = {
    "dark": Theme("#17191C", "#22262B", "#E7E9EC", "#A3A9B1", "#3A4048", "#5AB0FF"),
    "light": Theme("#FFFFFF", "#F4F5F7", "#1B1E22", "#5A626B", "#D5D9DE", "#0B61C2"),
}


@dataclass(frozen=True)
class Style:
    r"""How one kind of shape is drawn.

    Parameters
    ----------
    name : str
        For the legend.
    colour : str
        #rrggbb.
    dash : tuple of float
        On and off lengths in screen pixels; empty for a solid line.
    hatch : str
        One of '', '/', '\\', 'x', '.', '-'.
    """

    name: str
    colour: str
    dash: tuple[float, ...] = ()
    hatch: str = ""


DECISIONS: dict[str, Style] = {
    s.name: s
    for s in (
        Style("processed", "#009E73"),
        Style("zoomed", "#56B4E9", (), "/"),
        Style("sampled", "#E69F00", (8, 3)),
        Style("skipped by score", "#9AA0A8", (2, 3), "-"),
        Style("skipped by budget", "#D55E00", (6, 4), "\\"),
        Style("suppressed", "#CC79A7", (8, 3, 2, 3), "x"),
        Style("memory only", "#F0E442", (1, 3), "."),
    )
}

# Okabe-Ito without black, then lighter and darker ones: told apart under colour blindness.
CLASSES = (
    "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#B2A1FF",
    "#7FD9C4", "#FFB3A7", "#A6761D", "#C0C0C0",
)  # fmt: skip

MARKED = 24  # points of a line above which they are not marked one by one

# Pyramid levels, fine to coarse.
LEVELS = (
    "#FFB000", "#FE6100", "#DC267F", "#8F7BFF", "#5B9DFF", "#3AD0C8", "#8BD450", "#B0B7C0",
)  # fmt: skip

# Blue - neutral grey - orange: the middle says nothing.
DIVERGING = (
    "#1F5A99", "#4C86BD", "#86B1D8", "#BCD0E0", "#D9D9D9", "#ECC9A8", "#E6A266", "#CF7430",
    "#9C4708",
)  # fmt: skip

FAMILY = {
    "baselines": "#9AA0A8",
    "downsampling": "#E69F00",
    "zooming": "#56B4E9",
    "scanning": "#009E73",
    "compression": "#CC79A7",
    "transformers": "#D55E00",
    "general": "#8C7BD8",
}
_SHADES = (0.0, 0.14, -0.14, 0.24, -0.22, 0.07, -0.07, 0.19, -0.18)


def class_colour(index: int) -> str:
    """Colour of class `index`; the cycle repeats after twelve."""
    return CLASSES[index % len(CLASSES)]


def line_style(name: str, place: int, look: Theme) -> Style:
    """How a line of a chart is drawn: of one axis in one colour, the reference dashed and grey.

    Lines named after an axis ('u(x)', 'saliency over x') share its colour; a saliency is dotted and
    filled down to zero (`hatch` is then not empty), 'uniform' is what others are judged by.
    """
    if name == "uniform":
        return Style(name, look.muted, (6, 4))
    axis = next((k for k, a in enumerate("xy") if re.search(rf"\b{a}\b", name)), place)
    if name.startswith("saliency"):
        return Style(name, class_colour(axis), (2, 2), "area")
    return Style(name, class_colour(axis))


def level_colour(level: int) -> str:
    """Colour of a pyramid level."""
    return LEVELS[level % len(LEVELS)]


def method_colour(name: str) -> str:
    """The colour a method keeps in all charts: its family's hue, in a shade of its own.

    A name that is no method gets a class colour from its letters, the same in every session.
    """
    from hrviz.method import METHODS

    if name not in METHODS:
        return class_colour(sum(map(ord, name)))
    family = METHODS[name].family
    place = [m.name for m in METHODS.values() if m.family == family].index(name)
    return shade(FAMILY[family], _SHADES[place % len(_SHADES)])


def shade(colour: str, by: float) -> str:
    """`colour` lighter (`by` > 0) or darker, hue kept."""
    r, g, b = rgb(colour)
    h, lightness, s = colorsys.rgb_to_hls(r, g, b)
    out = colorsys.hls_to_rgb(h, min(0.86, max(0.26, lightness + by)), s)
    return "#" + "".join(f"{round(255 * v):02X}" for v in out)


def rgb(colour: str) -> tuple[float, float, float]:
    """#rrggbb as three numbers in 0..1."""
    value = int(colour[1:7], 16)
    return (value >> 16) / 255, (value >> 8 & 255) / 255, (value & 255) / 255


def number(value: float) -> str:
    """A number for people: three significant digits, thin spaces in thousands."""
    if value != value:
        return "no data"
    if value and not 1e-4 <= abs(value) < 1e12:
        return f"{value:.3g}"
    magnitude = abs(value)
    text = f"{value:,.0f}" if magnitude >= 100 or float(value).is_integer() else f"{value:.3g}"
    return text.replace(",", "\u2009").replace("-", "\u2212")


def amount(value: float, unit: str) -> str:
    """Value and unit for people: bytes as MiB or GiB, operations as MFLOP or GFLOP."""
    if unit in ("bytes", "B"):
        for size, name in ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")):
            if value >= size:
                return f"{number(value / size)} {name}"
        return f"{number(value)} bytes"
    if unit.upper() in ("FLOP", "FLOPS", "OPERATIONS"):
        for size, name in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
            if value >= size:
                return f"{number(value / size)} {name}"
        return f"{number(value)} FLOP"
    if unit == "s" and value < 1:
        return f"{number(value * 1000)} ms"
    return f"{number(value)} {unit}".strip()


def words(names: Iterable[str]) -> dict[str, str]:
    """Names of values as people read them."""
    return {n: n.replace("_", " ").replace("iou", "IoU") for n in names}


def lengths(values: Mapping[str, float]) -> list[float]:
    """How long the bars of named numbers are: counts among shares have none, only their number."""
    found = list(values.values())
    shares = [v for v in found if 0 <= v <= 1]
    if not shares or len(shares) == len(found) or any(v < 0 for v in found):
        return found
    return [v if v <= 1 else 0.0 for v in found]

"""How many pixels devices capture, year by year: the survey's Table V (appendix A) and Figure 3.

The table is kept as printed, with the links that the survey gives; where print lost the underscores
of an address they are put back. Growth is not in the survey: it is a line fitted to the logarithms.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from hrviz.results import Curve

TABLE = Path(__file__).with_name("cameras.csv")
ACCESSED = "26 July 2022"
CAPTION = (
    "Megapixels of the best rear camera of each model, by the year it was sold: two phones, a drone, "
    "a headset and a hobbyist's board."
)


@dataclass(frozen=True)
class Camera:
    """One row of the table.

    Parameters
    ----------
    device : str
        Family, such as 'Apple iPhone'.
    camera : str
        Which of its cameras.
    year : int
    megapixels : float
        The largest picture that it takes, in millions of pixels.
    source : str
        Link, as accessed on `ACCESSED`.
    """

    device: str
    camera: str
    year: int
    megapixels: float
    source: str


@dataclass(frozen=True)
class Growth:
    """A line through the logarithms of a family's resolutions.

    Parameters
    ----------
    device : str
    first, last : int
        Years that it is fitted to.
    doubling : float
        Years until there are twice as many pixels; inf where they do not grow.
    megapixels : float
        Of the line, in `first`.
    """

    device: str
    first: int
    last: int
    doubling: float
    megapixels: float

    def at(self, year: float) -> float:
        """Megapixels of the line in a year."""
        return self.megapixels * 2 ** ((year - self.first) / self.doubling)


@cache
def cameras() -> tuple[Camera, ...]:
    """All rows, in the table's order.

    Examples
    --------
    >>> len(cameras()), cameras()[0].device, cameras()[0].megapixels
    (41, 'Apple iPhone', 2.0)
    """
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(
            Camera(r["device"], r["camera"], int(r["year"]), float(r["megapixels"]), r["source"])
            for r in csv.DictReader(file)
        )


def devices() -> tuple[str, ...]:
    """Families, in the table's order."""
    return tuple(dict.fromkeys(c.device for c in cameras()))


def trend() -> Curve:
    """Figure 3: one line a family over all years; nan in years without a new device."""
    years = np.arange(min(c.year for c in cameras()), max(c.year for c in cameras()) + 1)
    series = {name: np.full(len(years), np.nan) for name in devices()}
    for c in cameras():
        series[c.device][c.year - years[0]] = c.megapixels
    return Curve(years.astype(float), series, "year", "resolution (MP)")


@cache
def growth() -> dict[str, Growth]:
    """How fast each family's resolution grew, by family: least squares of log2(MP) over years.

    Examples
    --------
    >>> round(growth()["Raspberry Pi"].doubling, 2)
    2.83
    """
    out = {}
    for name in devices():
        rows = [c for c in cameras() if c.device == name]
        years = np.array([c.year for c in rows], float)
        slope, start = np.polyfit(years - years[0], np.log2([c.megapixels for c in rows]), 1)
        out[name] = Growth(
            name, rows[0].year, rows[-1].year, float(1 / slope) if slope > 0 else math.inf, float(2**start)
        )  # fmt: skip
    return out

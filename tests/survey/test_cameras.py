"""The survey's table of cameras: every row, links that are links, and a growth worked out by hand."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

import numpy as np
import pytest

from hrviz.survey.cameras import cameras, devices, growth, trend

# rows counted in the printed table, and its first and last entry of each family
ROWS = {
    "Apple iPhone": (16, (2007, 2), (2022, 12)),
    "Samsung Galaxy S": (13, (2010, 5), (2022, 108)),
    "Microsoft HoloLens": (2, (2016, 2.4), (2019, 8)),
    "Raspberry Pi": (3, (2013, 2.1), (2020, 12.3)),
    "DJI Phantom": (7, (2012, 12), (2018, 20)),
}


def test_every_row_of_the_table_is_there() -> None:
    assert devices() == tuple(ROWS)
    assert len(cameras()) == sum(n for n, *_ in ROWS.values()) == 41
    for name, (n, first, last) in ROWS.items():
        rows = [c for c in cameras() if c.device == name]
        assert len(rows) == n
        assert (rows[0].year, rows[0].megapixels) == first
        assert (rows[-1].year, rows[-1].megapixels) == last
        assert [c.year for c in rows] == sorted({c.year for c in rows})
    assert {c.camera for c in cameras()} == {"Rear Camera", "Camera"}
    phones = {c.year: c.megapixels for c in cameras() if c.device == "Apple iPhone"}
    assert list(phones.values()) == [2, 2, 3, 5, 8, 8, 8, 8, 12, 12.2, *[12] * 6]


def test_links_are_links() -> None:
    for c in cameras():
        found = urlsplit(c.source)
        assert found.scheme == "https" and "." in found.netloc and len(found.path) > 1
        assert " " not in c.source
    assert {urlsplit(c.source).netloc for c in cameras()} == {
        "en.wikipedia.org",
        "docs.microsoft.com",
        "www.microsoft.com",
        "www.dji.com",
    }


def test_the_trend_is_the_table() -> None:
    found = trend()
    assert found.x.tolist() == list(range(2007, 2023)) and found.y_label == "resolution (MP)"
    assert tuple(found.series) == devices()
    told = {(n, int(x), y) for n, line in found.series.items() for x, y in zip(found.x, line, strict=True) if not np.isnan(y)}  # fmt: skip
    assert told == {(c.device, c.year, c.megapixels) for c in cameras()}


def test_doubling_times() -> None:
    found = growth()
    assert tuple(found) == devices()
    # two points: three years for a factor of 8 / 2.4
    assert found["Microsoft HoloLens"].doubling == pytest.approx(3 / math.log2(8 / 2.4))
    # three points by hand: years 0, 3, 7 from their mean 10 / 3
    x, y = (-10 / 3, -1 / 3, 11 / 3), [math.log2(m) for m in (2.1, 8, 12.3)]
    slope = sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x)
    assert found["Raspberry Pi"].doubling == pytest.approx(1 / slope)
    assert all(1 < g.doubling < 15 for g in found.values())
    line = found["Samsung Galaxy S"]
    assert line.at(line.first + line.doubling) == pytest.approx(2 * line.at(line.first))

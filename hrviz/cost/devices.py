"""Memory of real devices, as budgets that cost curves are held against."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A GPU that people have.

    Parameters
    ----------
    name : str
    title : str
        With its size, for legends.
    bytes : int
        As its maker states it, in GiB. The driver and CUDA's context take some hundred MB of it, on a
        Jetson the operating system too.
    year : int
        When it was first sold.
    """

    name: str
    title: str
    bytes: int
    year: int


DEVICES = {
    d.name: d
    for d in (
        Device("jetson-nano", "Jetson Nano 4 GB", 4 * GIB, 2019),
        Device("2080-ti", "RTX 2080 Ti 11 GB", 11 * GIB, 2018),
        Device("3090", "RTX 3090 24 GB", 24 * GIB, 2020),
        Device("a6000", "RTX A6000 48 GB", 48 * GIB, 2020),
        Device("h200", "H200 141 GB", 141 * GIB, 2024),
    )
}

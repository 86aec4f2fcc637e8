"""What a warp costs before it runs: sizes from a region's alone, and what is asked of the image.

Calls of networks follow from sizes and are certain. Which levels a grid reads, and how much of them,
follows from the grid, hence from what the image shows: `sampled` is what to expect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.geometry import Box

Size = tuple[int, int]

TILE = 512  # px a side of stored tiles, as scenes and converted images have them
OUTPUT = (
    r"\text{ for a fixed output } h \times w,\; hw = HW/r^2 \text{ at a fixed mean reduction } r"
)
NOTE = (
    "Networks are given the same sizes whatever the image shows; how many pixels are read depends on "
    "the grid, which is taken for one that enlarges half of its output up to twice."
)


@dataclass(frozen=True)
class Region:
    """A whole image of which only the size is known: stands for a view where pixels are not asked.

    Parameters
    ----------
    height, width : int, px
    """

    height: int
    width: int

    @property
    def box(self) -> Box:
        return Box(0, 0, self.height, self.width)

    def fit(self, side: int) -> Size:
        """As `ImageView.fit`."""
        scale = side / max(self.height, self.width)
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    def within(self, side: int) -> Size:
        """The same, never enlarged."""
        return self.fit(min(side, max(self.height, self.width)))


@dataclass(frozen=True)
class Warp:
    """What one run of a warp does to a region.

    Parameters
    ----------
    calls : list of Call
    size : (int, int)
        Of the output.
    sampling : str
    looks : sequence of (int, int)
        Sizes at which the whole region is seen besides.
    pulled : (int, int), optional
        Nodes of the sampler of equations 2 and 3, where it makes the grid.
    times : int
        How often all of these but the calls are done.
    once : sequence of (int, int)
        Sizes at which the whole region is seen besides, however often it is warped.
    zoom : float, optional
        Of a crop: only that much less of the region, along each axis, is read.
    work : float
        Further FLOPs.
    """

    calls: list[Call]
    size: Size
    sampling: str = "fair"
    looks: Sequence[Size] = ()
    pulled: Size | None = None
    times: int = 1
    once: Sequence[Size] = ()
    zoom: float | None = None
    work: float = 0.0


def model(
    told: Callable[[Params, Region], Warp],
    *,
    growth: str,
    trained: Literal["together", "apart", "no"] = "together",
    beside: tuple[str, ...] = ("uniform",),
    note: str = NOTE,
) -> CostModel:
    """The cost model of a warp, from what it does to a region of a given size.

    Parameters
    ----------
    told : callable
        Of bound parameters and a `Region`.
    growth : str
        LaTeX; `OUTPUT` is appended.
    trained, beside, note
        As `CostModel` has them.
    """

    def calls(params: Params, height: int, width: int) -> Sequence[Call]:
        return told(params, Region(height, width)).calls

    def pixels(params: Params, height: int, width: int) -> float:
        region = Region(height, width)
        warp = told(params, region)
        if warp.zoom is None:
            own = sampled(region, warp.size, warp.sampling)
        else:
            own = cropped(region, warp.size, warp.sampling, warp.zoom)
        return warp.times * (own + looked(region, *warp.looks)) + looked(region, *warp.once)

    def work(params: Params, height: int, width: int) -> float:
        warp = told(params, Region(height, width))
        own = resampling(warp.size, warp.sampling) + looking(*warp.looks)
        own += pulling(warp.pulled) if warp.pulled else 0.0
        return warp.times * own + looking(*warp.once) + warp.work

    return CostModel(
        calls, pixels, growth + OUTPUT, work=work, certainty="expected", beside=beside,
        trained=trained, note=note, resized="size",
    )  # fmt: skip


def looked(region: Region, *sizes: Size) -> float:
    """Pixels read to see the whole region once at each size."""
    return sum(stored(region.height, region.width, size) for size in sizes)


def looking(*sizes: Size) -> float:
    """FLOPs of the same, as `ImageView.read` counts them."""
    return float(sum(2 * 4 * 3 * h * w for h, w in sizes))


def sampled(region: Region, size: Size, sampling: str) -> float:
    """Pixels read to sample the region by a grid with `size` output pixels.

    'fair' reads the level just finer than even spacing, and the next finer one where the grid
    enlarges: here half of it. 'as published' takes four pixels of level 0, which come in tiles: all
    of them unless the output's pixels are farther apart than a tile is wide.
    """
    if sampling != "fair":
        return min(float(region.height * region.width), 4.0 * size[0] * size[1] * TILE**2)
    even, twice, most = (looked(region, (k * size[0], k * size[1])) for k in (1, 2, 4))
    # far below the coarsest level all is made from it, which is read once
    return even if most == even else even + twice / 2


def cropped(region: Region, size: Size, sampling: str, zoom: float) -> float:
    """Pixels read to sample a part of the region, `zoom` times smaller along each axis, evenly."""
    part, longer = (region.height / zoom, region.width / zoom), max(region.height, region.width)
    if sampling != "fair":
        return part[0] * part[1]
    half = max(1, size[0] // 2), max(1, size[1] // 2)
    finer, coarser = (stored(*part, s, image=longer) for s in (size, half))
    if min(side / n for side, n in zip(part, size, strict=True)) <= 1:
        return finer  # enlarged: level 0 alone
    # below the coarsest level, that is read whole to be reduced
    return finer + (looked(region, (1, 1)) if coarser == finer else coarser)


def resampling(size: Size, sampling: str) -> float:
    """FLOPs of sampling, as `ImageView.sample` counts them: four taps, of two levels where 'fair'."""
    return float(2 * 4 * 3 * size[0] * size[1] * (2 if sampling == "fair" else 1))


def pulling(nodes: Size) -> float:
    """FLOPs of equations 2 and 3 at nodes, as `saliency_nodes` counts them."""
    ny, nx = nodes
    return float(2 * 2 * 3 * ny * nx * (ny + nx))

"""What every warp of this family shows, in the same order and under the same names.

A method makes a `WarpGrid`; `warped` does the rest: the grid over the image, the magnification, the
output picture, and then what it is to be judged by: uniform downsampling at the same number of
pixels through the same filter, the round trip, the profile along each axis. Methods with a network
go on with `pixels`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

import numpy as np
from scipy import ndimage

from hrviz.image import ImageView
from hrviz.methods import task as tasks
from hrviz.methods.downsampling.sampler import sample
from hrviz.results import Curve, HeatMap, Picture, Points, Step, WarpGrid

ROUND_TRIP = 256  # longer side of the round trip's raster
DOTS = 48  # sample dots along the longer side


class Extent(Protocol):
    """What sizes follow from: a view, or a region whose cost is asked before anything is read."""

    @property
    def height(self) -> float: ...

    @property
    def width(self) -> float: ...

    def fit(self, side: int) -> tuple[int, int]: ...


def output_size(view: Extent, size: int) -> tuple[int, int]:
    """Height and width of the output: longer side `size`, never enlarged beyond the region."""
    return view.fit(min(size, max(1, round(max(view.height, view.width)))))


def node_counts(view: Extent, nodes: int) -> tuple[int, int]:
    """Rows and columns of nodes: `nodes` along the longer side, the other its share, at least 2."""
    longer = max(view.height, view.width)
    return max(2, round(nodes * view.height / longer)), max(2, round(nodes * view.width / longer))


def warped(
    view: ImageView,
    grid: WarpGrid,
    sampling: str,
    saliency: np.ndarray | None = None,
    remarks: str = "",
) -> Generator[Step, None, np.ndarray]:
    """The steps of a warp; the picture comes back from the generator.

    `pixels = yield from warped(view, grid, sampling, saliency)` gives float32 (h, w, 3).

    Parameters
    ----------
    view : ImageView
    grid : WarpGrid
    sampling : {'fair', 'as published'}
    saliency : ndarray, optional
        At the nodes or finer, for the profile.
    remarks : str
        Appended to the grid's note: where the survey's text and what is true differ.

    Yields
    ------
    grid : WarpGrid
    magnification : HeatMap
        log2 of the linear zoom against uniform downsampling, in the image.
    warped : Picture
        With its grid, so that output and image are linked point by point.
    output magnification : HeatMap
        The same, where it lies in the output.
    uniform : Picture
        As many pixels, through the same filter, evenly spread. Only compared with: its reads are
        not counted.
    round trip : Picture
        The output carried back: blurred where pixels were lost, grey where it was cropped.
    profile : Curve
        Along both axes: saliency's marginal, and where the output reads.
    samples : Points
        Centres of some output pixels where they read the image, coloured by log2 magnification.
    """
    told = grid.summary()
    note = "Lines of the output, drawn where they read the image: dense is enlarged."
    if told["cropped"] > 5e-5:
        note += f" {told['cropped']:.1%} of the area is cropped."
    if told["folded_cells"]:
        note += f" {told['folded_cells']} cells fold over (red)."
    yield Step("grid", grid, f"{note} {remarks}".strip())
    low, high = told["magnification_min"], told["magnification_max"]
    yield Step(
        "magnification",
        grid.magnification(),
        f"Above 0 the output shows more detail than uniform downsampling: {low:.2f} to {high:.2f} times.",
    )
    pixels = sample(view, grid, sampling)
    yield Step("warped", Picture(pixels, grid=grid), "What the task network receives.")
    if np.isfinite((log2 := grid.output_magnification()).values).any():
        yield Step("output magnification", log2, "The same zoom, seen in the output itself.")
    even = WarpGrid.identity(view.box, grid.size)
    shown = view.image.view(view.box)  # to compare with only: not what the method reads
    yield Step(
        "uniform",
        Picture(sample(shown, even, sampling), grid=even),
        "Uniform downsampling to as many pixels, through the same filter.",
    )
    yield Step(
        "round trip",
        Picture(unwarp(pixels, grid, view, ROUND_TRIP), view.box),
        "The output carried back to the image: blurred where pixels were lost, grey where cropped.",
    )
    yield Step("profile", profile(grid, saliency), "Where the map is flat, the output lingers.")
    yield Step("samples", samples(grid), "Where some of the output's pixels read the image.")
    return pixels


def segmented(view: ImageView, grid: WarpGrid, pixels: np.ndarray, task: str) -> Iterator[Step]:
    """What the task's segmenter finds in the warped picture, carried back, and its score.

    Yields
    ------
    prediction : HeatMap
        Through the exact inverse of the grid; NaN where the image was cropped.
    score : Prediction
        Where the image has truth.
    """
    if (task := tasks.resolve(task, view.truth)) == "none":
        return
    asked = tasks.SEGMENTATIONS[task]
    answer = tasks.segment(pixels[None], task)[0]
    found = unwarp_map(answer, grid, view, label=asked.label, source=asked.badge)
    note = f"{asked.thing.capitalize()} found in the warped picture, carried back to the image."
    yield Step("prediction", found, note)
    yield from tasks.score(view, found, task)


def unwarp(pixels: np.ndarray, grid: WarpGrid, view: ImageView, raster: int) -> np.ndarray:
    """A picture on the output, (h, w, c) in 0..1, carried back over the region; 0.5 where cropped.

    Through the exact inverse of the node mesh; the longer side has `raster` pixels.
    """
    at = raster_places(grid, view, raster)
    known = np.isfinite(at).all(-1)
    rows, columns = at[known].T
    out = np.full((*at.shape[:2], pixels.shape[2]), 0.5, np.float32)
    for c in range(pixels.shape[2]):
        out[known, c] = ndimage.map_coordinates(
            pixels[..., c], [rows, columns], order=1, mode="nearest"
        )
    return np.clip(out, 0, 1)


def unwarp_map(
    answer: np.ndarray,
    grid: WarpGrid,
    view: ImageView,
    *,
    label: str,
    source: str,
    raster: int = 512,
    low: float | None = 0,
    high: float | None = 1,
) -> HeatMap:
    """A network's answer on the warped picture as a map over the image; NaN where it was cropped.

    Parameters
    ----------
    answer : ndarray, (k, l)
        Over the whole output, at any whole fraction of its resolution (strides 1, 2, 4...).
    raster : int
        Longer side of the map in pixels, at most as fine as the image.
    """
    at = raster_places(grid, view, raster)
    known = np.isfinite(at).all(-1)
    # the answer's pixel k stands for the output's pixels stride k ... stride k + stride - 1
    stride = [max(1, round(n / m)) for n, m in zip(grid.size, answer.shape, strict=True)]
    rows, columns = ((at[known][:, k] + 0.5) / stride[k] - 0.5 for k in (0, 1))
    values = np.full(at.shape[:2], np.nan, np.float32)
    values[known] = ndimage.map_coordinates(answer, [rows, columns], order=1, mode="nearest")
    return HeatMap(values, view.box, label=label, low=low, high=high, source=source)


def raster_places(grid: WarpGrid, view: ImageView, raster: int) -> np.ndarray:
    """Index position in the output (h, w, 2) of each pixel centre of a raster over the region."""
    h, w = view.fit(min(raster, max(1, round(max(view.height, view.width)))))
    y = view.box.y0 + (np.arange(h) + 0.5) * view.height / h
    x = view.box.x0 + (np.arange(w) + 0.5) * view.width / w
    points = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    # raster points lie between the corner pixel centres unless a pixel is cut: keep them inside
    points = np.clip(
        points, (view.box.y0 + 0.5, view.box.x0 + 0.5), (view.box.y1 - 0.5, view.box.x1 - 0.5)
    )
    return (grid.to_output(points) - 0.5).reshape(h, w, 2)


def profile(grid: WarpGrid, saliency: np.ndarray | None = None) -> Curve:
    """1-D strips: the map along the middle of each axis, and the marginals of the saliency.

    Positions are shares of the region; a marginal is scaled to its largest value.
    """
    t = np.linspace(0, 1, 101)
    half = np.full_like(t, 0.5)
    box = grid.box
    lines = {
        "u(x), columns": (grid.at(half, t)[:, 1] - box.x0) / box.width,
        "v(y), rows": (grid.at(t, half)[:, 0] - box.y0) / box.height,
        "uniform": t,
    }
    if saliency is not None:
        for name, axis in (("saliency over x", 0), ("saliency over y", 1)):
            line = saliency.sum(axis)
            lines[name] = np.interp(t, np.linspace(0, 1, len(line)), line / max(line.max(), 1e-30))
    return Curve(
        t, lines, "place in the output, 0 to 1", "place in the image, 0 to 1", tag="formula"
    )


def samples(grid: WarpGrid, most: int = DOTS) -> Points:
    """Some output pixel centres where they read the image, with log2 of the linear magnification."""
    rows, columns = (
        np.unique(np.linspace(0, n - 1, min(n, max(2, round(most * n / max(grid.size))))).round())
        for n in grid.size
    )
    pixel = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2) + 0.5
    place = grid.places(pixel)
    det = grid.determinant(place[:, 0], place[:, 1])
    log2 = -0.5 * np.log2(np.maximum(np.abs(det), 2.0**-32))
    return Points(
        grid.to_image(pixel), log2, label="magnification", unit="log2 of linear zoom, 0 = uniform"
    )

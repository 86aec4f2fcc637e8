"""Uniform downsampling: every part of the image loses the same detail.

The whole region is shrunk until the network's input fits the memory. Whatever is smaller than one
output pixel is averaged away, wherever it lies.

Output pixel (i, j) of h x w is a mean over the source around it: 'area' over exactly the H/h x W/w
pixels it covers, 'antialiased' with a triangle twice as wide, 'bilinear' over the 4 nearest pixels
of full resolution only, as much published code does, which aliases beyond a factor of 2. 'mip-mapped'
blends the two pyramid levels around the factor, as warps do: what a warp is worth, only a comparison
through the same filter tells.

Paper: the baseline of every work in the survey (section III-A; Table III compares with it).

Notes
-----
Averages are taken from the pyramid level just finer than the output, so the pixels read are at most
four times the output, or the coarsest level (at most 1024 px a side), whatever the image's size.
The triangle of 'antialiased' runs over that level reduced to twice the output.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz.cost.declared import Call, CostModel, Params, stored
from hrviz.image import ImageView
from hrviz.method import Control, OutputPixels, Task, method
from hrviz.methods import task as tasks
from hrviz.methods.downsampling.sampler import sample
from hrviz.results import HeatMap, Picture, Step, WarpGrid

Filter = Annotated[
    Literal["area", "antialiased", "mip-mapped", "bilinear"],
    Control(
        "How source pixels are weighed. Mip-mapped is the filter of all warps: compare them with that one. "
        "Bilinear without antialiasing aliases: shown because papers use it.",
    ),
]


def _output(params: Params, height: float, width: float) -> tuple[int, int]:
    longer = max(height, width)
    scale = min(params["size"], max(1, round(longer))) / longer
    return max(1, round(height * scale)), max(1, round(width * scale))


def _calls(params: Params, height: int, width: int) -> list[Call]:
    return tasks.calls(params["task"], _output(params, height, width))


def _pixels(params: Params, height: int, width: int) -> float:
    """Of the level that is read: the stored one just finer than the output."""
    return stored(height, width, _output(params, height, width))


COST = CostModel(
    _calls, _pixels, resized="size",
    growth=r"O(hw) \text{ for a fixed output } h \times w,\; O(HW/r^2) \text{ at a fixed reduction } r",
    note="Reads the stored level just finer than the output: at most four times its pixels.",
)  # fmt: skip


@method(
    family="baselines",
    section="III-A",
    paper="the baseline throughout the survey",
    aliases=("ud", "downsampling"),
    equation=r"\begin{aligned} I'(i,j) &= \frac{1}{|A_{ij}|} \sum_{(y,x) \in A_{ij}} I(y,x) \\"
    r"|A_{ij}| &= \tfrac{H}{h} \cdot \tfrac{W}{w} \end{aligned}",
    use_when="What you look for is still several pixels wide at the size your memory allows.",
    avoid_when="Small objects decide: they fall below one output pixel and are gone.",
    network=lambda params: params["task"] != "none",
    cost=COST,
)
def uniform_downsampling(
    view: ImageView,
    *,
    size: OutputPixels = 512,
    filter: Filter = "area",
    task: Task = "automatic",
) -> Iterator[Step]:
    """Shrink `view` so that its longer side is `size` pixels, and see what the task makes of it.

    Parameters
    ----------
    view : ImageView
        Read at the pyramid level just finer than the output.
    size : int, px
        Longer side of the output; a view smaller than that is not enlarged.
    filter : {'area', 'antialiased', 'mip-mapped', 'bilinear'}
    task : str

    Yields
    ------
    downsampled : Picture
    prediction : HeatMap
        Probability of the task's target, in image coordinates.
    score : Prediction
        Where the image has truth.

    Examples
    --------
    A whole 17-gigapixel slide becomes 64 x 64 after reading less than 0.02 % of it:

    >>> import hrviz
    >>> run = hrviz.apply("ud", "scene:tissue?size=131072x131072", size=64, task="none")
    >>> run["downsampled"].array.shape, run.reads.pixels_read < 2**21
    ((64, 64, 3), True)
    """
    h, w = view.fit(min(size, max(1, round(max(view.height, view.width)))))
    if filter == "area":
        pixels = view.read((h, w))
    elif filter == "antialiased":
        # never enlarged first: that would blur what is only slightly reduced
        finer = max(h, min(2 * h, round(view.height))), max(w, min(2 * w, round(view.width)))
        pixels = _triangle(view.read(finer), (h, w))
    elif filter == "mip-mapped":
        pixels = sample(view, WarpGrid.identity(view.box, (h, w)), "fair")
    else:
        y = view.box.y0 + (np.arange(h) + 0.5) * view.height / h
        x = view.box.x0 + (np.arange(w) + 0.5) * view.width / w
        pixels = view.sample(*np.meshgrid(y, x, indexing="ij"))
    factor = max(view.height / h, view.width / w)
    note = f"What the network receives: one output pixel stands for {factor:.3g} x {factor:.3g} pixels."
    yield Step("downsampled", Picture(pixels, view.box), note)
    if (aim := tasks.resolve(task, view.truth)) == "none":
        return
    asked = tasks.SEGMENTATIONS[aim]
    probability = HeatMap(
        tasks.segment(pixels[None], aim)[0], view.box, label=asked.label, low=0, high=1,
        source=asked.badge,
    )  # fmt: skip
    note = f"{asked.thing.capitalize()} as the task network sees it at this resolution."
    yield Step("prediction", probability, note)
    yield from tasks.score(view, probability, aim)


def _triangle(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bilinear reduction of float pixels (h, w, 3) in 0..1 to `size`."""
    from PIL import Image

    planes = [
        np.asarray(Image.fromarray(pixels[..., c]).resize(size[::-1], Image.Resampling.BILINEAR))
        for c in range(3)
    ]
    return np.clip(np.stack(planes, -1), 0, 1)

"""Spatial transformer: crop, turn, tilt or bend the picture before the task network sees it.

A small network looks at the image and answers with a handful of numbers, theta; a differentiable layer
resamples the image as theta says, and the task network receives the result. Where a zoom keeps
everything, a crop keeps what it points at and discards the rest.

The map goes backward, from output positions in -1..1 to the image (equation 9; Jaderberg et al.):

    crop:        x_s = s x + t_x,  y_s = s y + t_y,   inside if and only if |t| + s <= 1
    affine:      x_s = h1 x + h2 y + h3,  y_s = h4 x + h5 y + h6
    projective:  both over h7 x + h8 y + 1
    piecewise affine, thin-plate spline:  through control points and their targets,
                 T(p) = a0 + A p + sum_k w_k U(|p - c_k|),  U(r) = r^2 ln r

The zoom of a crop is 1 / s along each axis; the Jacobian of an affine map is constant, that of a
projective one det(H) / (h7 x + h8 y + 1)^3. Crops, affine and projective maps are inverted by the
matrix inverse. Thin-plate splines can fold: on a lattice of 3 x 3 points over -1..1 a centre moved by
more than 0.820 does.

Paper: Jaderberg, Simonyan, Zisserman, Kavukcuoglu, "Spatial Transformer Networks", NeurIPS 2015.

Notes
-----
The trained localiser (`hrviz train road-localiser`) crops the speed-limit sign of a road picture for a
small reader; it is warm-started with the sign's place and then trained by the reader's loss alone,
through the crop, because the gradient of four taps is local. With other saliency the crop is that of
the map's mass: its mean, and sqrt(3) times its spread (even saliency gives the whole image); control
points then follow the saliency sampler's grid. These rules are ours. Rotation and shear act in pixels,
so that wide pictures are not skewed. What would read beyond the region is first moved inside; what is
still beyond repeats the rim, which the note then tells. A piecewise affine map has corners along the
diagonals of its cells; they are drawn on nodes between which everything is bilinear.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Call, Params
from hrviz.image import ImageView
from hrviz.method import (  # fmt: skip
    Control,
    DrawnBoxes,
    DrawnStrokes,
    Nodes,
    OutputPixels,
    Sampling,
    UploadedMap,
    method,
)
from hrviz.methods import task as tasks
from hrviz.methods.downsampling import costs, theta
from hrviz.methods.downsampling.sampler import grid_from_nodes, saliency_nodes
from hrviz.methods.downsampling.sources import (
    SaliencySource,
    Strength,
    adjust,
    looks,
    saliency_calls,
    saliency_map,
)
from hrviz.methods.downsampling.tps import ThinPlate, lattice
from hrviz.methods.downsampling.warp import Extent, node_counts, output_size, segmented, warped
from hrviz.results import Boxes, HeatMap, Prediction, Step, WarpGrid, interpolation

LIMITS = ("none", "50", "70", "80")
LOCALISER, READER = "road-localiser", "road-reader"
FWHM = 4.0  # of the zoom that control points follow
FLOOR = 0.05

_MATRIX = ("crop", "affine", "projective")
_SLIDERS = (("localisation", ("sliders",)),)
_TURNED = (("transform", ("affine", "projective")),)
_TILTED = (("transform", ("projective",)),)
_BENT = (("transform", ("piecewise affine", "thin-plate spline")),)

Transform = Annotated[
    Literal["crop", "affine", "projective", "piecewise affine", "thin-plate spline"],
    Control(
        "The family of maps that theta chooses from; each one can do what those before it can."
    ),
]
Localisation = Annotated[
    Literal["saliency", "sliders"],
    Control("Where theta comes from: what the saliency points at, or your own hand."),
]
Zoom = Annotated[
    float, Control("Up: a smaller part of the image, larger; s is its inverse.", 1.0, 32.0, 0.1, log=True, when=_SLIDERS)
]  # fmt: skip
Right = Annotated[
    float, Control("Up: t_x, the crop moves to the right.", -1.0, 1.0, 0.01, when=_SLIDERS)
]
Down = Annotated[float, Control("Up: t_y, the crop moves down.", -1.0, 1.0, 0.01, when=_SLIDERS)]
Rotation = Annotated[
    float, Control("Up: what is read turns clockwise.", -180.0, 180.0, 1.0, unit="degrees", when=_TURNED)
]  # fmt: skip
Shear = Annotated[float, Control("Up: upright lines lean.", -1.0, 1.0, 0.01, when=_TURNED)]
Perspective = Annotated[
    float,
    Control("Up: one end of the output reads less, as if nearer; sizes of both add to less than 1.", -0.7, 0.7, 0.01, when=_TILTED),
]  # fmt: skip
Displacement = Annotated[
    float, Control("Up: control points move farther; a spline may fold.", 0.0, 1.0, 0.05, when=_BENT)
]  # fmt: skip
ControlPoints = Annotated[
    int, Control("Control points along the longer side. Up: the map can bend more.", 2, 16, 1, when=_BENT)
]  # fmt: skip
ReaderTask = Annotated[
    Literal["automatic", "speed limit", "tumour segmentation", "vessel segmentation", "none"],
    Control("The network that receives the result; automatic takes the one that the image is for."),
]


def _uses_network(params: dict[str, object]) -> bool:
    asks = params["saliency"] in ("trained", "previous frame")
    trained = asks and params["localisation"] == "saliency"
    return params["task"] != "none" or trained


def _told(params: Params, region: costs.Region) -> costs.Warp:
    from hrviz.training.road_localiser import INPUT

    out, nodes = output_size(region, params["size"]), node_counts(region, params["nodes"])
    aim = "speed limit" if params["task"] == "automatic" else params["task"]
    calls: list[Call] = []
    seen: list[tuple[int, int]] = []
    pointed = params["localisation"] == "saliency"
    if pointed and params["saliency"] == "trained" and aim == "speed limit":
        h, w = _glance(region)
        seen, nodes = [(h, w)], (-(-h // 4), -(-w // 4))
        calls = [Call(LOCALISER, (1, 3, h, w))]
    elif pointed:
        source = params["saliency"], region, nodes, aim
        seen, calls = looks(*source), saliency_calls(*source)
    if aim == "speed limit":
        calls.append(Call(READER, (1, 3, *INPUT), task=True))
    calls += tasks.calls(aim, out)
    bent = params["transform"] not in _MATRIX
    return costs.Warp(
        calls, out, params["sampling"], seen, nodes if bent and pointed else None,
        zoom=None if bent else params["zoom"],
    )  # fmt: skip


COST = costs.model(
    _told, growth=r"O(t^2 + hw) \text{ with a thumbnail of } t^2 \text{ px,}",
    note="Networks are given the same sizes whatever the image shows; how many pixels are read depends on how "
    "large a part theta points at, which is taken for that of the slider 'zoom'.",
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Jaderberg et al., NeurIPS 2015",
    aliases=("stn",),
    equation=r"\begin{pmatrix} x_s \\ y_s \end{pmatrix} = \begin{pmatrix} s & 0 & t_x \\ 0 & s & t_y \end{pmatrix}"
    r"\begin{pmatrix} x \\ y \\ 1 \end{pmatrix}",
    use_when="One thing decides and a glance tells where it is, or the picture is turned or tilted.",
    avoid_when="What decides is spread over the image, or a glance cannot find it: the rest is discarded.",
    network=lambda params: _uses_network(dict(params)),
    cost=COST,
    example="scene:road?size=1280x960&seed=3000002",
)
def spatial_transformer(
    view: ImageView,
    *,
    saliency: SaliencySource = "trained",
    transform: Transform = "crop",
    localisation: Localisation = "saliency",
    size: OutputPixels = 256,
    strength: Strength = 2.0,
    zoom: Zoom = 4.0,
    right: Right = 0.25,
    down: Down = -0.25,
    rotation: Rotation = 15.0,
    shear: Shear = 0.0,
    across: Perspective = 0.2,
    below: Perspective = 0.1,
    displacement: Displacement = 0.6,
    points: ControlPoints = 5,
    nodes: Nodes = 31,
    boxes: DrawnBoxes = (),
    strokes: DrawnStrokes = (),
    file: UploadedMap = None,
    sampling: Sampling = "fair",
    task: ReaderTask = "automatic",
) -> Iterator[Step]:
    """Resample `view` as theta says, and see what the task makes of it.

    Parameters
    ----------
    view : ImageView
    saliency : str
        Source of the saliency; 'trained' on a road is the trained localiser itself.
    transform : str
    localisation : {'saliency', 'sliders'}
    size : int, px
        Longer side of the output.
    strength : float
        Exponent on the saliency before its mass is taken; not with the localiser.
    zoom, right, down : float
        With 'sliders': 1 / s and t_x, t_y in units of half the region. Control-point maps push
        their middle by (right, down) x displacement.
    rotation, shear : float
        Degrees, and the tangent of the lean; affine and projective.
    across, below : float
        h7 and h8; projective.
    displacement : float
        Share of the control points' way to their targets.
    points : int
        Control points along the longer side.
    nodes : int
        Of the grid along the longer side, where the map is not affine.
    boxes, strokes : tuple
        With saliency 'drawn': (y0, x0, y1, x1) and lists of (y, x), level-0 pixels.
    file : str
        With saliency 'file'.
    sampling : {'fair', 'as published'}
    task : str

    Yields
    ------
    saliency : HeatMap
        With localisation 'saliency': where to look.
    theta : Prediction
        The numbers of the map, whether it reads inside the region, and the share that it shows.
    crop : Boxes
        Around what is read; everything outside is discarded.
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        See `hrviz.methods.downsampling.warp.warped`.
    prediction : Prediction or HeatMap
        Probability of each speed limit; or the segmenter's answer, carried back to the image.
    score : Prediction
        Where the image has truth.

    Raises
    ------
    HrvizError
        Perspective whose denominator changes sign.

    References
    ----------
    Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015; survey, equation 9.

    Examples
    --------
    Half the size, moved to the upper right: an even crop of a quarter of the area.

    >>> import hrviz
    >>> run = hrviz.apply("stn", "scene:tissue?size=2048x2048", localisation="sliders", zoom=2,
    ...                   right=0.25, down=-0.5, size=128, task="none")
    >>> run["theta"].values["s"], round(run["grid"].covered(), 3)
    (0.5, 0.25)
    """
    asked = _task(view, task)
    s, x, y, shaped = 1 / zoom, right, down, None
    if localisation == "saliency":
        if saliency == "trained" and asked == "speed limit":
            shown, (s, x, y) = _localised(view)
            shaped = shown.values
        else:
            found = saliency_map(view, saliency, node_counts(view, nodes), boxes, strokes, file)
            shaped = adjust(found.values, strength, 0.0)
            s, x, y = theta.from_saliency(shaped)
            shown = HeatMap(
                shaped, view.box, label="saliency", unit="relative", low=0, source=found.source
            )
        yield Step("saliency", shown, f"What theta is taken from ({shown.source}).")
    if transform in _MATRIX:
        matrix = theta.crop(s, x, y)
        if transform != "crop":
            matrix = matrix @ theta.turned(rotation, shear, view.width / view.height)
        if transform == "projective":
            matrix = matrix @ theta.tilted(across, below)
            matrix = matrix / matrix[2, 2]
        numbers, grid, told = _by_matrix(view, matrix, transform, node_counts(view, nodes), size)
    else:
        push = None if localisation == "saliency" else (displacement * right, displacement * down)
        numbers, grid, told = _by_points(
            view, transform, shaped, push, displacement, node_counts(view, points),
            node_counts(view, nodes), size,
        )  # fmt: skip
    yield Step("theta", Prediction(numbers), told)
    low, high = grid.nodes.reshape(-1, 2).min(0), grid.nodes.reshape(-1, 2).max(0)
    read = np.concatenate(
        [np.maximum(low - 0.5, view.box[:2]), np.minimum(high + 0.5, view.box[2:])]
    )
    yield Step(
        "crop", Boxes(read[None]), "Around all that is read; what lies outside is discarded."
    )
    pixels = yield from warped(view, grid, sampling, shaped)
    if asked == "speed limit":
        yield from _read(view, pixels)
    else:
        yield from segmented(view, grid, pixels, asked)


def _task(view: ImageView, task: str) -> str:
    """The task itself; for 'automatic' the one that the image is for."""
    return tasks.resolve(task, view.truth, among=(*tasks.SEGMENTATIONS, "speed limit"))


def _glance(view: Extent) -> tuple[int, int]:
    """Size at which the localiser sees the region."""
    from hrviz.training.road_localiser import THUMBNAIL

    h, w = view.fit(THUMBNAIL[1])
    return max(16, h), max(16, w)


def _localised(view: ImageView) -> tuple[HeatMap, tuple[float, float, float]]:
    """The trained localiser's map of the sign, and theta."""
    import torch

    from hrviz.nets.transformer import theta as read_theta

    h, w = _glance(view)
    current().add("network_pixels", h * w)
    x = torch.from_numpy(view.read((h, w))).permute(2, 0, 1)[None].contiguous()
    logits = nets.run(LOCALISER, x)
    s, right, down = (float(v) for v in read_theta(logits)[0])
    where = logits[0, 0].double().flatten().softmax(0).view(logits.shape[-2:]).numpy()
    shown = HeatMap(
        where / where.max(), view.box, label="saliency", unit="relative", low=0,
        source=f"trained: {LOCALISER}",
    )  # fmt: skip
    return shown, (s, right, down)


def _by_matrix(
    view: ImageView, wanted: np.ndarray, transform: str, nodes: tuple[int, int], size: int
) -> tuple[dict[str, float], WarpGrid, str]:
    """Theta, grid and note of a crop, affine or projective map."""
    matrix = theta.moved_inside(wanted)
    inside = theta.inside(matrix)
    # bilinear between corners is exact for an affine map that nothing clamps
    ny, nx = (2, 2) if inside and transform != "projective" else nodes
    line = np.meshgrid(np.linspace(-1, 1, nx), np.linspace(-1, 1, ny))
    at = theta.apply(matrix, np.stack(line, -1))
    beyond = float((np.abs(at) > 1 + 1e-9).any(-1).mean())
    v, u = ((at[..., k].clip(-1, 1) + 1) / 2 for k in (1, 0))
    grid = grid_from_nodes(v, u, view.box, output_size(view, size))
    det = theta.determinant(matrix, theta.CORNERS)
    if transform == "crop":
        numbers = {"s": matrix[0, 0], "t_x": matrix[0, 2], "t_y": matrix[1, 2]}
        note = f"Zoom {1 / matrix[0, 0]:.2f} along each axis."
    else:
        names = ("h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8")
        numbers = dict(zip(names, (matrix / matrix[2, 2]).ravel()[:8], strict=True))
        if transform == "affine":
            numbers = {k: numbers[k] for k in names[:6]}
        note = f"Zoom {abs(det).max() ** -0.5:.2f} to {abs(det).min() ** -0.5:.2f}, linear."
    if not np.allclose(matrix, wanted, atol=1e-9):
        note += " Moved to lie inside the region."
    if beyond:
        note += f" {beyond:.0%} of the output would read beyond the region and repeats its rim."
    share = theta.shown(matrix)
    numbers |= {"inside": float(inside), "shown": share}
    return (
        {k: float(v) for k, v in numbers.items()},
        grid,
        f"{note} {share:.1%} of the region is shown.",
    )


def _by_points(
    view: ImageView,
    transform: str,
    saliency: np.ndarray | None,
    push: tuple[float, float] | None,
    displacement: float,
    points: tuple[int, int],
    nodes: tuple[int, int],
    size: int,
) -> tuple[dict[str, float], WarpGrid, str]:
    """Theta, grid and note of a map through control points."""
    control = lattice(*points)
    if push is not None:
        targets = theta.pushed(control, push)
    else:
        assert saliency is not None
        zoomed = saliency_nodes(
            adjust(saliency, 1.0, FLOOR), FWHM * max(saliency.shape) / 31, "reflect"
        )
        down, across = (interpolation(n, m) for n, m in zip(saliency.shape, points, strict=True))
        aims = np.stack([(down @ node @ across.T).ravel() for node in zoomed], -1)
        targets = (1 - displacement) * control + displacement * aims
    targets = targets.clip(0, 1)
    if transform == "piecewise affine":
        # control points must be nodes, or the bends would be rounded off
        ny, nx = (
            (m - 1) * max(1, round((n - 1) / (m - 1))) + 1
            for n, m in zip(nodes, points, strict=True)
        )
        v, u = np.meshgrid(np.linspace(0, 1, ny), np.linspace(0, 1, nx), indexing="ij")
        at = theta.piecewise_affine(targets.reshape(*points, 2), v, u)
        bending = 0.0
    else:
        plate = ThinPlate(control)
        fitted = plate.fit(targets)
        at = plate.at(fitted, lattice(*nodes)).reshape(*nodes, 2)
        bending = float(np.abs(fitted[: len(control)]).max())
    beyond = float(((at < -1e-9) | (at > 1 + 1e-9)).any(-1).mean())
    at = at.clip(0, 1)
    grid = grid_from_nodes(at[..., 0], at[..., 1], view.box, output_size(view, size))
    moved = 2 * np.linalg.norm(targets - control, axis=1)
    numbers = {
        "control_points": float(len(control)), "greatest_displacement": float(moved.max()),
        "largest_weight": bending, "inside": float(beyond == 0), "shown": grid.covered(),
    }  # fmt: skip
    note = f"{len(control)} control points, moved by up to {moved.max():.2f} half-widths."
    if beyond:
        note += f" Between them the spline wobbles beyond the border at {beyond:.1%} of the nodes: clamped."
    return numbers, grid, note


def _read(view: ImageView, pixels: np.ndarray) -> Iterator[Step]:
    """What the reader makes of the output, and whether that is right."""
    import torch
    from torch.nn import functional as F

    from hrviz.training.road_localiser import INPUT

    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    x = F.interpolate(x, INPUT, mode="bilinear", antialias=True).clamp(0, 1)
    current().add("network_pixels", INPUT[0] * INPUT[1])
    p = nets.run(READER, x)[0].double().softmax(0).numpy()
    badge = f"trained: {READER}"
    values = dict(zip(LIMITS, p.tolist(), strict=True))
    truth = view.truth
    known = truth is not None and str(truth.label) in LIMITS
    right = {name: float(name == str(truth.label)) for name in LIMITS} if known else {}
    yield Step(
        "prediction",
        Prediction(values, "probability", right, badge),
        f"The reader sees the crop at {INPUT[1]} x {INPUT[0]} px: {LIMITS[int(p.argmax())]}.",
    )
    if known:
        correct = float(LIMITS[int(p.argmax())] == str(truth.label))
        score = {"correct": correct, "probability_of_truth": values[str(truth.label)]}
        yield Step(
            "score", Prediction(score, source=badge), f"The scene's answer is {truth.label}."
        )

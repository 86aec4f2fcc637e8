"""SALISA: in a film, zoom on what was found a moment ago.

A heavy detector looks at one frame at full resolution; in the frames that follow, its boxes say where
to enlarge, and a light detector on the small warped frame does the rest, its own boxes leading on to
the next frame. Every few frames the heavy one looks again, because what is missed once is squeezed and
missed again.

Each frame: boxes of the last one -> saliency by size -> grid of the saliency sampler (equations 2
and 3) -> thin-plate spline through it at control points,

    T(p) = a0 + A p + sum_k w_k U(|p - c_k|),   U(r) = r^2 ln r,

-> warped frame of a ninth of the pixels -> light detector -> boxes carried to the image by T itself,
which goes from output to image: no inversion is needed -> saliency of the next frame.

Paper: Bejnordi, Habibian, Porikli, Ghodrati, "SALISA: Saliency-based Input Sampling for Efficient Video
Object Detection", ECCV 2022.

Notes
-----
A TPS-fitted zoom stands in for the paper's learned localisation network and its loss on
magnification: the spline is fitted to the sampler's grid at the control points. Between control
points it wobbles beyond the border by a sliver, where it is clamped. Compact detectors without anchors
stand in for EfficientDet, drawn people for ImageNet-VID and UA-DETRAC (`hrviz train
crowd-detector-light`, `crowd-detector-heavy`). Saliency values by size, margin and the reset period
are ours; the paper says only 'every few frames'. A carried-over box becomes a curved
quadrilateral: nine points a side are mapped. Taking the box around them widens thin upright people by
the lean that the map gives them: with the defaults, true boxes of five held-out crowds of 200 keep a
median IoU of 0.82 with themselves after the way there and back; taking each edge at its mean place
keeps 0.98 and is the default. The floor is a share of the saliency's peak here, not of its mean as
in the other warps: else the zoom on a few boxes has no limit, folds, and loses more than it gains.
On a still, film and reset are one frame: the heavy detector looks at the picture, then the light one
at the same picture warped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import numpy as np

from hrviz import nets
from hrviz.context import current
from hrviz.cost.declared import Params
from hrviz.image import ImageView
from hrviz.method import Bandwidth, Control, Nodes, OutputPixels, Sampling, method
from hrviz.methods import task as tasks
from hrviz.methods.detection import (
    DETECTORS,
    SHOWN,
    Found,
    calls,
    detect,
    match,
    score,
    wanted,
    within,
)
from hrviz.methods.downsampling import costs
from hrviz.methods.downsampling.sampler import sample
from hrviz.methods.downsampling.sources import Floor, Strength, looks, saliency_map
from hrviz.methods.downsampling.tps_zoom import SMALL_SHARE, TpsZoom, size_saliency, tps_zoom
from hrviz.methods.downsampling.warp import node_counts, output_size, warped
from hrviz.results import Boxes, Curve, HeatMap, Picture, Step

LIGHT, HEAVY = "crowd-detector-light", "crowd-detector-heavy"
CLASSES = DETECTORS["person detection"].classes
MOST = 400  # boxes a frame
SHEET, TILE = 2400, 360  # px: widest contact sheet, widest picture in it

Previous = Annotated[
    Literal["previous frame", "truth", "edges"],
    Control(
        "What the zoom follows: boxes found in the previous frame, its true boxes (an oracle), or its "
        "edges (no detector).",
        title="Saliency from",
    ),
]
Reset = Annotated[
    int, Control("Up: the heavy detector looks less often; cheaper, and drift grows.", 1, 16, 1, unit="frames")
]  # fmt: skip
Strip = Annotated[
    int, Control("Frames of the film that are followed, up to the one shown.", 1, 16, 1, unit="frames")
]  # fmt: skip
Hop = Annotated[
    int, Control("Up: more of the film is skipped between two frames, people move farther.", 1, 25, 1, unit="frames")
]  # fmt: skip
Points = Annotated[
    int, Control("Control points of the spline along the longer side. Up: it follows the zoom more closely.", 8, 16, 1)
]  # fmt: skip
Margin = Annotated[
    float, Control("Up: boxes are enlarged with more around them, for motion.", 0.0, 0.1, 0.005, title="Margin around boxes")
]  # fmt: skip
Small = Annotated[
    float,
    Control(
        "Up: larger objects count as small too, and are enlarged as much.",
        0.01, 2.0, 0.01, unit="% of the frame", title="Small is below", log=True, basic=False,
    ),
]  # fmt: skip
Full = Annotated[
    int, Control("Longer side of what the heavy detector sees at a reset.", 512, 3072, 64, unit="px", title="Heavy size", basic=False)
]  # fmt: skip
Carry = Annotated[
    Literal["mean edge", "outermost"],
    Control("How a box under a curved map becomes a box again: edges at their mean place, or around all.", basic=False),
]  # fmt: skip
FilmTask = Annotated[
    Literal["automatic", "person detection", "none"],
    Control(
        "The detector that receives the result; automatic takes the one that the image is for."
    ),
]


@dataclass(frozen=True)
class Settings:
    """How every frame is treated; the parameters of `salisa` of the same names."""

    saliency: str
    size: int
    reset: int
    points: int
    bandwidth: float
    nodes: int
    strength: float
    floor: float
    margin: float
    small: float
    full: int
    carry: str
    sampling: str
    detects: bool


@dataclass(frozen=True)
class Seen:
    """What became of one frame: its warp, what was found in it (None without a detector), and how."""

    view: ImageView
    known: np.ndarray  # boxes that were known before it, level-0 px
    saliency: np.ndarray
    zoom: TpsZoom
    pixels: np.ndarray
    inside: Found | None  # in pixels of the warped frame
    found: Found | None  # in level-0 px
    heavy: bool


def _told(params: Params, region: costs.Region) -> costs.Warp:
    frames, follows = params["frames"], params["saliency"] == "previous frame"
    resets = -(-frames // params["reset"]) if follows else 0
    light = frames - resets if frames > 1 else 1  # a single frame is seen by both
    full, out = (output_size(region, params[name]) for name in ("full", "size"))
    nodes = node_counts(region, params["nodes"])
    detects = follows or params["task"] != "none"
    found = [
        call
        for times, size, network in ((resets, full, HEAVY), (light, out, LIGHT))
        if times and detects
        for call in calls("person detection", size, times, network=network)
    ]
    seen = looks(params["saliency"], region, nodes, "")
    return costs.Warp(found, out, params["sampling"], seen, nodes, frames, [full] * resets)


COST = costs.model(
    _told, trained="apart", beside=("warped", "uniform"),
    growth=r"O(f h w + \lceil f/p \rceil\, h'w') \text{ for } f \text{ frames, a reset every } p \text{ with } h'w' \text{ px,}",
    note="Of all frames that are followed, with as many before the one shown. " + costs.NOTE,
)  # fmt: skip


@method(
    family="downsampling",
    section="III-A",
    paper="Bejnordi et al., ECCV 2022",
    title="SALISA",
    equation=r"T(p) = a_0 + A p + \sum_k w_k\, U(\lVert p - c_k \rVert), \qquad U(r) = r^2 \ln r",
    use_when="A film whose objects move little from frame to frame, and many of them are small.",
    avoid_when="Objects appear or move fast between two looks of the heavy detector, or fill the frame.",
    network=lambda params: params["task"] != "none" or params["saliency"] == "previous frame",
    cost=COST,
    example="scene:crowd?size=1536x1024&people=200&frames=250#t=40",
)
def salisa(
    view: ImageView,
    *,
    saliency: Previous = "previous frame",
    size: OutputPixels = 512,
    reset: Reset = 8,
    frames: Strip = 6,
    hop: Hop = 3,
    points: Points = 16,
    bandwidth: Bandwidth = 4.0,
    nodes: Nodes = 31,
    strength: Strength = 1.0,
    floor: Floor = 0.2,
    margin: Margin = 0.015,
    small: Small = 100 * SMALL_SHARE,
    full: Full = 1536,
    carry: Carry = "mean edge",
    sampling: Sampling = "fair",
    task: FilmTask = "automatic",
) -> Iterator[Step]:
    """Follow a film up to the frame of `view`, zooming on what was found before.

    Parameters
    ----------
    view : ImageView
        Of a frame of a film; a still counts as a film of one frame.
    saliency : {'previous frame', 'truth', 'edges'}
    size : int, px
        Longer side of what the light detector sees.
    reset, frames, hop : int, frames
        Every how many of the followed frames the heavy detector looks (the first always), how many
        are followed, and how far apart in the film they are.
    points : int
        Control points along the longer side.
    bandwidth : float, nodes
        Full width at half maximum of the sampler's kernel.
    nodes : int
        Of the saliency along the longer side.
    strength, floor : float
        Exponent on the saliency, and what empty ground has of its peak's.
    margin : float
        Around boxes, as a share of the longer side.
    small : float, %
        Of the frame's area: boxes below it get saliency 1, others 0.5.
    full : int, px
        Longer side of what the heavy detector sees.
    carry : {'mean edge', 'outermost'}
    sampling : {'fair', 'as published'}
    task : str

    Yields
    ------
    heavy detections : Boxes
        Of the first frame, at full resolution: where it all starts.
    strip : Picture
        Above, the frames with what was found; below, what the light detector saw. Grows frame by frame.
    previous boxes : Boxes
        What was known before the frame shown.
    saliency : HeatMap
    grid, magnification, warped, output magnification, uniform, round trip, profile, samples
        Of the frame shown; see `hrviz.methods.downsampling.warp.warped`.
    seen : Picture
        The warped frame with what the light detector found in it.
    drift : Curve
        Share of the true people found, frame by frame, where truth is known; boxes found, else.
    cost : Curve
        FLOPs of the networks frame by frame, beside the heavy detector on every frame.
    prediction : Boxes
        In the frame shown, level-0 pixels.
    score : Prediction
        Where the image has truth.

    References
    ----------
    Bejnordi et al., "SALISA", ECCV 2022; Bookstein, "Principal Warps", IEEE TPAMI 1989.

    Examples
    --------
    Without detectors, the zoom follows the previous frame's edges:

    >>> import hrviz
    >>> run = hrviz.apply("salisa", "scene:crowd?size=768x512&people=50&frames=9#t=8", saliency="edges",
    ...                   task="none", size=128, frames=2)
    >>> run["warped"].array.shape
    (85, 128, 3)
    """
    asked = tasks.resolve(task, view.truth, ("person detection",))
    s = Settings(
        saliency, size, reset, points, bandwidth, nodes, strength, floor, margin, small, full, carry,
        sampling, asked != "none" or saliency == "previous frame",
    )  # fmt: skip
    times, shown = film(view, frames, hop)
    told = (
        f"Frames {times[0]} to {times[-1]}" if len(times) > 1 else "A still: one frame, seen twice"
    )
    before = np.zeros((0, 4))
    seen: list[Seen] = []
    for k, frame in enumerate(shown):
        current().check()
        heavy = look(frame, s) if is_reset(k, s) else None
        if k == 0 and heavy is not None:
            note = "What the heavy detector finds at full resolution in the first frame; the zoom starts here."
            yield Step("heavy detections", heavy.result(CLASSES, f"trained: {HEAVY}"), note)
            before = heavy.at_least(SHOWN).boxes
            if len(shown) == 1:
                heavy = None  # a still: the light detector looks at the same picture
        seen.append(follow(frame, before, s, shown[max(k - 1, 0)], heavy))
        before = known_after(seen[-1])
        yield Step(
            "strip",
            contact_sheet(seen),
            f"{told}: above, what is found; below, what the light detector saw"
            f" ({sum(one.heavy for one in seen)} by the heavy one at full resolution).",
            progress=(k + 1) / len(shown),
        )
    last = seen[-1]
    if s.saliency != "edges":
        source = f"trained: {HEAVY} or {LIGHT}" if s.saliency == "previous frame" else "oracle: the scene's truth"  # fmt: skip
        note = "What was known before this frame; people have moved since."
        yield Step("previous boxes", Boxes(last.known, source=source), note)
    badge = {"previous frame": "boxes of the previous frame", "truth": "oracle: true boxes of the previous frame",
             "edges": "stand-in: edge energy of the previous frame"}[s.saliency]  # fmt: skip
    yield Step(
        "saliency",
        HeatMap(last.saliency, view.box, label="saliency", unit="relative", low=0, source=badge),
        f"Small objects count 1, large ones 0.5 ({badge})." if s.saliency != "edges" else f"Where to enlarge ({badge}).",
    )  # fmt: skip
    remarks = f"Thin-plate spline through {len(last.zoom.plate.control)} points of the sampler's grid: no learned localisation."
    if last.heavy:
        remarks += " This frame is a reset: the heavy detector answers, the zoom is what the light one would get."
    again = view.image.view(view.box)  # to show with only: the frame was read when it was followed
    yield from warped(again, last.zoom.grid, sampling, last.saliency, remarks)
    if last.found is None:
        return
    inside = last.inside.at_least(SHOWN).boxes if last.inside is not None else None
    picture = Picture(last.pixels, grid=last.zoom.grid, boxes=inside)
    yield Step("seen", picture, "The warped frame with what the light detector finds in it.")
    yield Step("drift", *drift(seen, times))
    yield Step("cost", *cost(seen, times, s))
    if asked == "none":
        return
    name = HEAVY if last.heavy else LIGHT
    note = f"{CLASSES[0].capitalize()}s found in the warped frame, carried to the image by the spline itself."
    if last.heavy:
        note = "A reset: found by the heavy detector at full resolution."
    yield Step("prediction", last.found.result(CLASSES, f"trained: {name}"), note)
    yield from score(view, last.found, asked, f"trained: {name}")


def film(view: ImageView, frames: int, hop: int) -> tuple[list[int], list[ImageView]]:
    """Times of the followed frames, the last that of `view`, and their views; a still is one frame.

    Near the film's beginning there are fewer. All reads count in the log of `view`.
    """
    if "t" not in view.image.axes:
        return [0], [view]
    now = view.image.index["t"]
    times = [t for t in range(now - hop * (frames - 1), now + 1, hop) if t >= 0]
    shown = [ImageView(view.image.at(**{**view.image.index, "t": t}), view.box) for t in times[:-1]]
    for one in shown:
        one.reads = view.reads
    return times, [*shown, view]


def is_reset(k: int, s: Settings) -> bool:
    """Whether the heavy detector looks at the k-th followed frame."""
    return s.saliency == "previous frame" and k % s.reset == 0


def known_after(seen: Seen) -> np.ndarray:
    """Boxes that the next frame starts from: those found with some certainty."""
    return np.zeros((0, 4)) if seen.found is None else seen.found.at_least(SHOWN).boxes


def look(frame: ImageView, s: Settings) -> Found:
    """The heavy detector at full resolution, boxes in level-0 pixels."""
    h, w = output_size(frame, s.full)
    found = detect(HEAVY, frame.read((h, w)), top=MOST)
    scale = np.array([frame.height / h, frame.width / w] * 2)
    origin = np.array([frame.box.y0, frame.box.x0] * 2)
    return Found(found.boxes * scale + origin, found.scores, found.labels)


def follow(
    frame: ImageView, before: np.ndarray, s: Settings, previous: ImageView, heavy: Found | None
) -> Seen:
    """Warp a frame by what is known, and detect in it unless the heavy detector already has.

    Parameters
    ----------
    frame : ImageView
    before : ndarray, (n, 4)
        Boxes found in the frame before, level-0 px.
    s : Settings
    previous : ImageView
        The frame before, for saliency of its truth or edges.
    heavy : Found or None
        At a reset.
    """
    counts = node_counts(frame, s.nodes)
    if s.saliency == "edges":
        raw = saliency_map(previous, "edges", counts).values
    else:
        if s.saliency == "truth":
            before = true_boxes(previous)
        raw = size_saliency(before, frame.box, counts, s.margin, s.small / 100)
    saliency = above_ground(raw, s.strength, s.floor)
    points = node_counts(frame, s.points)
    zoom = tps_zoom(saliency, s.bandwidth, points, frame.box, output_size(frame, s.size))
    pixels = sample(frame, zoom.grid, s.sampling)
    if heavy is not None or not s.detects:
        return Seen(frame, before, saliency, zoom, pixels, None, heavy, heavy is not None)
    inside = detect(LIGHT, pixels, top=MOST)
    boxes = zoom.boxes_to_image(inside.boxes, outermost=s.carry == "outermost")
    found = within(Found(boxes, inside.scores, inside.labels), frame.box)
    return Seen(frame, before, saliency, zoom, pixels, inside, found, False)


def above_ground(raw: np.ndarray, strength: float, floor: float) -> np.ndarray:
    """Saliency raised to `strength`, between `floor` on empty ground and 1 at its peak; even when empty.

    The other warps' floor is a share of the mean saliency. Here that would leave almost no ground
    where few boxes are, and the zoom on a single one would have no limit.
    """
    top = float(raw.max())
    if top <= 0:
        return np.ones(raw.shape)
    return np.asarray((1 - floor) * (raw / top) ** strength + floor)


def true_boxes(view: ImageView) -> np.ndarray:
    """Boxes of the truth's people, or of all its objects where it has none; empty without truth."""
    if view.truth is None or "boxes" not in view.truth.knows:
        return np.zeros((0, 4))
    if CLASSES[0] in view.truth.objects.values():
        return wanted(view, CLASSES).boxes
    low, high = view.box[:2], view.box[2:]
    return np.asarray(view.truth.boxes(view.box).boxes.clip([*low, *low], [*high, *high]))


def contact_sheet(seen: list[Seen]) -> Picture:
    """The frames in a row, what the light detector saw beneath, boxes over both."""
    box = seen[0].view.box
    width = max(8, min(TILE, SHEET // len(seen), round(box.width)))
    height = max(1, round(width * box.height / box.width))
    gap = max(2, width // 60)
    sheet = np.ones((2 * height + gap, len(seen) * (width + gap) - gap, 3), np.float32)
    boxes = [np.zeros((0, 4))]
    origin = np.array([box.y0, box.x0] * 2)
    for k, one in enumerate(seen):
        left = k * (width + gap)
        # past the view: what is read to be shown is not the method's
        picture = one.view.image.rgb(one.view.box, (height, width))
        sheet[:height, left : left + width] = picture.astype(np.float32) / 255
        small = _shrunk(one.pixels, (height, width))
        sheet[height + gap :, left : left + width] = small
        for found, at, scale, top in (
            (one.found, origin, np.array([height / box.height, width / box.width] * 2), 0),
            (one.inside, np.zeros(4), np.array([height, width] * 2) / ([*one.pixels.shape[:2]] * 2), height + gap),
        ):  # fmt: skip
            if found is not None:
                boxes.append((found.at_least(SHOWN).boxes - at) * scale + [top, left] * 2)
    return Picture(sheet, boxes=np.concatenate(boxes))


def _shrunk(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from hrviz.image.resample import resample

    h, w = pixels.shape[:2]
    return np.clip(resample(pixels, (0, h), (0, w), size), 0, 1)


def drift(seen: list[Seen], times: list[int]) -> tuple[Curve, str]:
    """Recall of people frame by frame where truth is known, else how many boxes there are."""
    x = np.array(times, float)
    found = [one.found for one in seen if one.found is not None]
    known = seen[0].view.truth is not None and CLASSES[0] in seen[0].view.truth.objects.values()
    if not known:
        count = np.array([len(f.at_least(SHOWN).scores) for f in found], float)
        return Curve(x, {"boxes": count}, "frame", "boxes"), "Boxes found since the last reset."
    series: dict[str, list[float]] = {"all people": [], "below 32 px": []}
    for one, f in zip(seen, found, strict=True):
        truth = wanted(one.view, CLASSES)
        for name, sides in (("all people", (0.0, np.inf)), ("below 32 px", (0.0, 32.0))):
            hit, _, wants = match(f.at_least(SHOWN), truth, 0, 0.5, sides)
            series[name].append(float(hit.sum() / max(wants.sum(), 1)))
    resets = [str(t) for t, one in zip(times, seen, strict=True) if one.heavy]
    note = f"Share of true people found; the heavy detector looked at frame {', '.join(resets) or 'none'}, the light one at the rest."
    return Curve(x, {k: np.array(v) for k, v in series.items()}, "frame", "recall at IoU 0.5"), note


def cost(seen: list[Seen], times: list[int], s: Settings) -> tuple[Curve, str]:
    """Network FLOPs frame by frame, and those of the heavy detector on every frame."""
    heavy = network_flops(HEAVY, output_size(seen[0].view, s.full)) / 1e9
    light = network_flops(LIGHT, seen[0].zoom.grid.size) / 1e9
    own = np.array([heavy if one.heavy else light for one in seen])
    period = (heavy + (s.reset - 1) * light) / s.reset if s.saliency == "previous frame" else light
    note = (
        f"Heavy {heavy:.2f}, light {light:.2f} GFLOP a frame; with a reset every {s.reset} frames "
        f"{period:.2f} on average, {heavy / period:.1f} times less than the heavy one on every frame."
    )
    series = {"SALISA": own, "heavy on every frame": np.full(len(own), heavy)}
    return Curve(np.array(times, float), series, "frame", "GFLOP", tag="predicted", bars=True), note


@cache
def network_flops(name: str, size: tuple[int, int]) -> float:
    """FLOPs (1 MAC = 2) of a trained network on one picture, on fake tensors: nothing is computed."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import _disable_current_modes
    from torch.utils.flop_counter import FlopCounterMode

    net = nets.load(name)
    # the run's own counter must not see this imaginary pass
    with _disable_current_modes(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        counter = FlopCounterMode(display=False)
        with counter:
            net(torch.empty(1, 3, *size))
    return float(counter.get_total_flops())

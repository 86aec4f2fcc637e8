"""Memory at the paper's sizes, by prediction alone, beside the paper's Tables 1 and 2.

Networks at their published size on views and patches of the published sizes: Zoom-In (a view at s1, one
tile's view at s2, N sub-tiles), and attention sampling with s = s2, as the paper sets it, once with
Zoom-In's own attention and LeNet, once with attention sampling's traffic networks. `at once` sends all N
patches through in one call, `one by one` a patch at a time; the peak is the largest call with its
parameters. `held` is what stays when nothing is freed: the activations of all stages together, as a
training step holds them.

Why the columns differ. At once, both methods send the same N patches through the same network; where that
call is the peak there is no factor (colon, traffic signs, fMoW). The paper's factor is that of the views:
it appears patch by patch, and at once where the view is the larger call (needle; for a slide an order of
magnitude in any count). What the paper measured on a GPU probably includes workspaces and freed blocks
that the libraries keep, and differs between implementations: its Mb are no sum of tensors here.
Camelyon16's 114 MiB are the first view in one call; the product attends strip by strip. fMoW's pictures
differ in size: 724 px is what the FLOPs of its EfficientNet say beside those of traffic signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hrviz.cost.memory import predict_inference

Stages = list[tuple[nn.Module, tuple[int, ...]]]


@dataclass(frozen=True)
class Published:
    """One data set of the paper: size, (s1, s2, N, h2), and its Mb by method."""

    name: str
    size: tuple[int, int]
    first: float
    second: float
    draws: int
    subtile: int
    mb: dict[str, float]


SETTINGS = (
    Published("colon", (500, 500), 0.1, 0.2, 10, 27, {"cnn": 235.68, "ats": 15.83, "lenet": 2.55}),
    Published("needle", (1024, 1024), 0.25, 0.5, 30, 32, {"ats": 37.97, "lenet": 11.78, "resnet": 14.22}),
    Published("traffic signs", (960, 1280), 0.125, 0.3, 10, 100, {"ats": 54.51, "lenet": 12.65, "resnet": 15.83}),
    Published("fMoW", (724, 724), 0.25, 0.5, 30, 50, {"ats": 53.42, "lenet": 10.81, "resnet": 13.53}),
    Published("Camelyon16", (45056, 35840), 0.03125, 0.125, 100, 50, {"lenet": 71.76, "resnet": 71.76}),
)  # fmt: skip


def stages(setting: Published) -> dict[str, tuple[str, Stages]]:
    """Method to its name in the paper's table and its calls: networks and shapes."""
    from hrviz.nets import attention_sampling as sampling
    from hrviz.nets import zoom_in

    from .baselines import WholeNet

    h, w = setting.size
    s1, s2, n, side = setting.first, setting.second, setting.draws, setting.subtile
    fine = (1, 3, int(s2 * h), int(s2 * w))
    coarse = (1, 3, int(s1 * h), int(s1 * w))
    tile = (1, 3, max(1, int(s2 * round(s1 * h))), max(1, int(s2 * round(s1 * w))))
    patches = (n, 3, side, side)
    look = zoom_in.ViewAttention()
    out: dict[str, tuple[str, Stages]] = {
        "attention sampling, Zoom-In's networks": ("ats", [(look, fine), (zoom_in.LeNet(), patches)]),
        "attention sampling, its own networks": (
            "ats", [(sampling.TrafficAttention(), fine), (sampling.TrafficFeatures(), patches)]),
        "Zoom-In (LeNet)": ("lenet", [(look, coarse), (look, tile), (zoom_in.LeNet(), patches)]),
        "Zoom-In (ResNet)": ("resnet", [(look, coarse), (look, tile), (zoom_in.ResNet(), patches)]),
    }  # fmt: skip
    if h * w <= 2e6:
        naive: Stages = [(WholeNet(2), (1, 3, h, w))]
        out = {"CNN (8 layers, 32 channels)": ("cnn", naive), **out}
    return out


def rows() -> list[dict[str, Any]]:
    """One row a data set and method; factors are against Zoom-In (LeNet) of that data set."""
    out = []
    for setting in SETTINGS:
        found: list[dict[str, Any]] = []
        for arm, (key, calls) in stages(setting).items():
            single = [(net, (1, *shape[1:])) for net, shape in calls]
            found.append({
                "task": setting.name, "arm": arm,
                "at_once": float(max(predict_inference(*call) for call in calls)),
                "one_by_one": float(max(predict_inference(*call) for call in single)),
                "held": float(sum(held(*call) for call in calls)), "paper": setting.mb.get(key),
            })  # fmt: skip
        own = next(r for r in found if r["arm"] == "Zoom-In (LeNet)")
        for row in found:
            for column in ("at_once", "one_by_one", "held", "paper"):
                if row[column] is not None:
                    row[f"factor_{column}"] = row[column] / own[column]
        out += found
    return out


def held(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes that autograd keeps for a backward pass, each storage once; nothing is allocated."""
    seen: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage()._cdata] = tensor
        return tensor

    import copy

    imaginary = copy.deepcopy(net).to("meta")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = imaginary(torch.empty(shape, device="meta"))
        del result
    return sum(t.untyped_storage().nbytes() for t in seen.values())


def table(found: list[dict[str, Any]]) -> str:
    """The rows as text: MiB, and in brackets the factor against Zoom-In (LeNet)."""
    columns = ("at_once", "one_by_one", "held", "paper")
    lines = [["", "", "at once", "one by one", "held", "paper (Mb)"]]
    for row in found:
        cells = []
        for column in columns:
            value = row[column]
            if value is None:
                cells.append("-")
                continue
            shown = value if column == "paper" else value / 2**20
            cells.append(f"{shown:.2f} ({row[f'factor_{column}']:.1f}x)")
        lines.append([row["task"], row["arm"], *cells])
    widths = [max(len(line[k]) for line in lines) for k in range(6)]
    return "\n".join(
        "  ".join(c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip

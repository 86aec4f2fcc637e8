"""Capsule endoscopy: which lesion does a picture of 512 px show, from networks that see 128 px?

On scenes that no recipe has seen, by size of the lesion (`small`: below the geometric middle of
1/2000 to 1/100 of the picture; `large`: above; normal pictures in neither). Arms: branch 1 on the
uniformly downsampled picture; `control`, a second branch trained as long as AGDN's but on uniform
pictures; AGDN's branch 2 on the warped one, and both together, by the mixed, custom and structured
grid; and all 128 px patches of the full picture through branch 1, whose most suspicious patch answers.
`spread` is half of a 95 % interval of the accuracy over pictures.

Compare AGDN with the control, not with its own branch 1: most of the lead over that is the second
branch's further training. Where AGDN does not win: large lesions, which 128 px show well enough; the
three grids against each other, which differ by less than the spread; and the classifier on both
branches, which adds nothing to branch 2. A lesion that branch 1's attention misses is not enlarged
either. Patches are seen at four times the scale branch 1 was trained at, where every fold and vessel
looks like a finding: no normal picture is called normal.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

COUNT = 200


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row an arm."""
    import torch

    from hrviz import nets
    from hrviz.cost.flops import counting
    from hrviz.cost.memory import predict_inference
    from hrviz.nets.attention_guided import attention_of
    from hrviz.training import endoscopy_agdn as recipe

    images, labels, ratios, _ = recipe.pictures("unseen", 10 if quick else COUNT)
    net: Any = nets.load("endoscopy-agdn")
    shape = (1, 3, recipe.INPUT, recipe.INPUT)
    with counting(network=True) as operations, torch.no_grad():
        net.first(torch.zeros(shape))
    flops, memory = float(sum(operations.values())), float(predict_inference(net.first, shape))
    out = []

    def row(arm: str, answer: np.ndarray, runs: int, seconds: float) -> None:
        out.append({
            "task": "lesion class", "arm": arm, "size": recipe.INPUT, "images": len(images),
            **metrics(answer, labels, ratios, recipe.RATIOS), "flops": runs * flops,
            "network_memory": memory, "pixels_read": float(recipe.SOURCE**2),
            "seconds": seconds / len(images),
        })  # fmt: skip

    clock = time.perf_counter()
    with torch.no_grad():
        first = recipe._features(net.first, recipe.even(images))
        one = net.first_head(first.amax((2, 3)))
    alone = time.perf_counter() - clock
    row("uniform, branch 1", one.argmax(1).numpy(), 1, alone)
    if not quick:
        other = control(net, recipe)
        with torch.no_grad():
            features = recipe._features(other.second, recipe.even(images))
            answer = other.second_head(features.amax((2, 3))).argmax(1).numpy()
        row("uniform, control", answer, 1, alone)
    saliency = attention_of(first, (recipe.NODES, recipe.NODES))
    for name, share in (("mix", recipe.SHARE), ("custom", 0.0), ("structured", 1.0)):
        clock = time.perf_counter()
        with torch.no_grad():
            second = recipe._features(net.second, recipe.warped(images, saliency, share))
            _, two, both = net.logits(first, second)
        taken = alone + time.perf_counter() - clock
        row(f"agdn {name}, branch 2", two.argmax(1).numpy(), 2, taken)
        row(f"agdn {name}, both", both.argmax(1).numpy(), 2, taken)
    clock = time.perf_counter()
    answer = patches(net, images, recipe.INPUT)
    count = (recipe.SOURCE // recipe.INPUT) ** 2
    row(f"patches, {count} x branch 1", answer, count, time.perf_counter() - clock)
    return out


def control(net: Any, recipe: Any) -> Any:
    """A second branch on uniform pictures, with the training that AGDN's had."""
    import torch

    images, labels, _, _ = recipe.pictures("train", recipe.TRAIN)
    x = recipe.even(images)
    other = copy.deepcopy(net).requires_grad_(True)
    recipe.second_branch(
        other, x, recipe._features(net.first, x), torch.from_numpy(labels), recipe.STEPS // 2,
        np.random.default_rng(2), lambda text: None, "control",
    )  # fmt: skip
    return other


def patches(net: Any, images: np.ndarray, side: int) -> np.ndarray:
    """The class that branch 1 gives to each picture's least normal patch."""
    import torch

    answer = []
    for picture in images:
        n = picture.shape[0] // side
        cut = picture.reshape(n, side, n, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        x = torch.from_numpy(np.ascontiguousarray(cut.transpose(0, 3, 1, 2))).float() / 255
        with torch.no_grad():
            p = net.first_head(net.first(x).amax((2, 3))).softmax(1)
        answer.append(int(p[p[:, 0].argmin()].argmax()))
    return np.array(answer)


def metrics(
    answer: np.ndarray, labels: np.ndarray, ratios: np.ndarray, span: tuple[float, float]
) -> dict[str, float]:
    """Accuracy over all pictures, those with small and large lesions, and normal ones."""
    right = answer == labels
    small = ratios < np.sqrt(span[0] * span[1])
    groups = {"small": (labels > 0) & small, "large": (labels > 0) & ~small, "normal": labels == 0}
    p = float(right.mean())
    return (
        {"accuracy": p}
        | {name: float(right[group].mean()) for name, group in groups.items() if group.any()}
        | {"spread": 1.96 * float(np.sqrt(p * (1 - p) / len(right)))}
    )

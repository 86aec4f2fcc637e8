"""Does saliency pay, and can it be learnt from the task alone? The Landolt-C experiment (`landolt`).

A classifier receives T x T pixels of a 256 x 256 picture and says which side a ring of 22 px is open
to (`hrviz.training.landolt_data`). At T = 32 uniform downsampling leaves half a pixel of the gap, at
T = 20 nothing. Every arm gets the same number of pixels through the same filter (the mean of 4 x 4
points over each output pixel's footprint), so only the grid differs:

- 'uniform': evenly spread.
- 'true position': saliency made from the truth, an oracle.
- 'supervised': a saliency network on the T x T thumbnail, taught by the task's loss and by the
  Kullback-Leibler divergence to the heat map of the true position, in the spirit of Jin et al.
- 'end to end': the same network, taught by the task's loss alone (Recasens et al.).
- 'end to end, blur trick': during the first half the warped picture is averaged to a random lower
  resolution and enlarged again, so that reading the ring needs more zoom: Recasens et al. do so to
  make their sampler zoom.
- 'warm start': supervised for the first quarter, then the task's loss alone.
- 'taught at 32': end to end at T = 32, where that can work, then end to end at T (twice the steps).

The networks of the arm 'supervised' at T = 20 are written, with all arms at T = 20 on their card;
`benchmarks/warps/glyphs.py` runs all arms at both sizes, over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.landolt_data import RING, SIDE, pictures
from hrviz.training.warping import even_nodes, warp

SIZES = (32, 20)
ARMS = ("uniform", "true position", "supervised", "end to end", "end to end, blur trick",
        "warm start", "taught at 32")  # fmt: skip
NODES, FWHM = 31, 13.0
EVEN = 0.25  # share of the true heat map that is spread evenly
SPOT = 1.0  # nodes: standard deviation of its spot
TRAIN, HELD_OUT = 3000, 600
BATCH, STEPS, RATE = 24, 600, 2e-3
WRITTEN = 20


@lru_cache(maxsize=2)
def _data(count: int, seed: int) -> tuple[Any, Any, Any]:
    import torch

    images, sides, centres = pictures(count, seed)
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first), torch.from_numpy(sides), torch.from_numpy(centres)


def heat_map(centres: Any) -> Any:
    """True saliency at the nodes (n, NODES, NODES): a spot on each ring, plus an even share."""
    import torch

    at = torch.arange(NODES, dtype=torch.float32)
    place = (centres.float() - 0.5) / (SIDE - 1) * (NODES - 1)
    rows, columns = (
        torch.exp(-((at - place[:, k, None]) ** 2) / (2 * SPOT**2)).unsqueeze(axis)
        for k, axis in ((0, 2), (1, 1))
    )
    spot = rows * columns
    return (1 - EVEN) * spot / spot.sum((1, 2), keepdim=True) + EVEN / NODES**2


def blurred(x: Any, rng: np.random.Generator) -> Any:
    """The blur trick: averaged to a random side of 2/7 to 7/7 (their 64 to 224 of 224), enlarged."""
    from torch.nn import functional as F

    size = x.shape[-1]
    side = int(rng.integers(round(size * 64 / 224), size + 1))
    low = F.adaptive_avg_pool2d(x, side)
    return F.interpolate(low, (size, size), mode="bilinear", align_corners=False)


class Arm:
    """One way to spend T x T pixels, with its networks.

    Parameters
    ----------
    name : str
        One of `ARMS`.
    size : int
        T.
    seed, steps : int
    """

    def __init__(self, name: str, size: int, seed: int, steps: int) -> None:
        import torch

        from hrviz.nets.landolt import LandoltClassifier, LandoltSaliency

        self.name, self.size, self.steps = name, size, steps
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed + 1)
        self.classifier = LandoltClassifier()
        self.looks = name not in ("uniform", "true position")
        self.saliency = LandoltSaliency() if self.looks else None

    def nodes(self, x: Any, centres: Any) -> tuple[tuple[Any, Any], Any]:
        """Grid nodes of a batch, and the saliency at the nodes (None for 'uniform')."""
        from hrviz.methods.downsampling.sampler import saliency_nodes
        from hrviz.nets.saliency import saliency_from_logits

        even = even_nodes(len(x), NODES)
        if self.name == "uniform":
            return even, None
        if self.saliency is None:
            found = heat_map(centres)
        else:
            found = saliency_from_logits(self.saliency(warp(x, even, self.size)), (NODES, NODES))
        return saliency_nodes(found, FWHM, "reflect"), found

    def taught(self, step: int) -> bool:
        """Whether the saliency is pulled towards the truth at this step."""
        return self.name == "supervised" or (self.name == "warm start" and step < self.steps // 4)

    def loss(self, step: int, x: Any, side: Any, centres: Any) -> Any:
        from torch.nn import functional as F

        nodes, saliency = self.nodes(x, centres)
        seen = warp(x, nodes, self.size)
        if self.name.endswith("blur trick") and step < self.steps // 2:
            seen = blurred(seen, self.rng)
        loss = F.cross_entropy(self.classifier(seen), side)
        if self.taught(step):
            true = heat_map(centres)
            loss = loss + (true * (true / (saliency + 1e-9)).log()).sum((1, 2)).mean()
        return loss

    def train(self, count: int, report: Callable[[str], None]) -> None:
        """Fit to `count` training pictures."""
        import torch

        if self.name == "taught at 32" and self.size != 32:
            first = self.size, self.steps
            self.size = 32
            self._fit(count, report)
            self.size, self.steps = first
        self._fit(count, report)
        self.classifier.eval()
        if self.saliency is not None:
            self.saliency.eval()
        torch.manual_seed(0)

    def _fit(self, count: int, report: Callable[[str], None]) -> None:
        import torch

        images, sides, centres = _data(count, 1)
        parameters = [*self.classifier.parameters()]
        if self.saliency is not None:
            parameters += self.saliency.parameters()
        optimiser = torch.optim.AdamW(parameters, RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, RATE, total_steps=self.steps, pct_start=0.1
        )
        for step in range(self.steps):
            chosen = torch.from_numpy(self.rng.choice(count, BATCH, replace=False))
            x = images[chosen].float() / 255
            loss = self.loss(step, x, sides[chosen], centres[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % 150 == 0:
                report(f"{self.name}, {self.size} px, step {step + 1}: loss {loss.item():.3f}")

    def judge(self, count: int) -> dict[str, Any]:
        """Accuracy, area zoom at the ring and where saliency peaks, on `count` held-out pictures."""
        import torch

        images, sides, centres = _data(count, 2)
        right, zooms, peaks = [], [], []
        for start in range(0, count, 50):
            part = slice(start, start + 50)
            x = images[part].float() / 255
            with torch.no_grad():
                nodes, saliency = self.nodes(x, centres[part])
                answer = self.classifier(warp(x, nodes, self.size)).argmax(1)
            right.append((answer == sides[part]).numpy())
            v, u = nodes
            zooms.append(area_zoom(v.numpy(), u.numpy(), centres[part].numpy()))
            if saliency is not None:
                place = saliency.flatten(1).argmax(1)
                peak = torch.stack([place // NODES, place % NODES], 1) * (SIDE - 1) / (NODES - 1)
                peaks.append((peak + 0.5 - centres[part]).norm(dim=1).numpy() < RING)
        zoom = np.concatenate(zooms)
        out = {
            "accuracy": round(float(np.concatenate(right).mean()), 4),
            "area_zoom_median": round(float(np.median(zoom)), 2),
            "area_zoom_mean": round(float(zoom.mean()), 2),
        }
        if peaks:
            out["peak_on_ring"] = round(float(np.concatenate(peaks).mean()), 4)
        return out


def area_zoom(v: np.ndarray, u: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Area magnification against uniform at places of pictures (n,), from nodes (n, NODES, NODES)."""
    from hrviz.geometry import Box
    from hrviz.methods.downsampling.sampler import grid_from_nodes

    out = np.empty(len(v))
    for i in range(len(v)):
        grid = grid_from_nodes(v[i], u[i], Box(0, 0, SIDE, SIDE), (NODES, NODES))
        at = grid.inverse(centres[i : i + 1])
        out[i] = 1 / grid.determinant(at[:, 0], at[:, 1])[0]
    return out


def run_arm(
    name: str,
    size: int,
    *,
    seed: int = 0,
    steps: int = STEPS,
    report: Callable[[str], None] = print,
) -> tuple[Arm, dict[str, Any]]:
    """Train and judge one arm; `steps` of at most 50 is a quick look on few pictures."""
    quick = steps <= 50
    clock = time.perf_counter()
    arm = Arm(name, size, seed, steps)
    arm.train(96 if quick else TRAIN, report)
    found = arm.judge(50 if quick else HELD_OUT)
    row = {"arm": name, "size": size, "seed": seed} | found
    row["seconds"] = round(time.perf_counter() - clock, 1)
    report(str(row))
    return arm, row


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """All arms at 20 px; writes the networks of 'supervised' with all results on their cards."""
    steps = steps or STEPS
    clock = time.perf_counter()
    results, kept = [], None
    for name in ARMS:
        arm, row = run_arm(name, WRITTEN, seed=seed, steps=steps, report=report)
        results.append(row)
        kept = arm if name == "supervised" else kept
    assert kept is not None
    assert kept.saliency is not None
    facts = {
        "task": f"which side a red ring of 22 px in a cluttered 256 px picture is open to, from {WRITTEN} x {WRITTEN} px",
        "data": f"{TRAIN} pictures of hrviz.training.landolt_data (seed 1), held out {HELD_OUT} (seed 2)",
        "training": f"arm 'supervised': cross-entropy plus divergence to the true heat map, through the sampler "
        f"(nodes {NODES}, FWHM {FWHM:g}, padding reflect), 4 x 4 points an output pixel",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": {"chance": 0.25, "arms": results},
        "command": f"hrviz train landolt --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        for name, net in (("saliency", kept.saliency), ("classifier", kept.classifier)):
            own = {
                "name": f"landolt-{name}",
                "architecture": f"hrviz.nets.landolt.{type(net).__name__}",
                "config": {"width": 16},
            }
            nets.save(f"landolt-{name}", net, own | facts)
    return {"name": "landolt"} | facts

"""Is predicted memory what a device really gives? Predictions beside the allocator's own peaks.

On a GPU: all named networks over eight resolutions, and every network that a method calls on what it
is given for images of those sizes; inference and a training step; float32 and bfloat16; each point in a
process of its own. Writes `hrviz/cost/recorded/<device>.csv` and prints the median error and the share
within 10 %.

On a CPU (`--cpu`) the accounting itself is checked: bytes by fake tensors, by the same tracker on real ones,
and by every allocation that torch's profiler saw, which has what operators take for themselves too.

    python benchmarks/gpu_memory.py             # needs a GPU
    python benchmarks/gpu_memory.py --cpu       # the accounting, here; --quick: smaller; --json: one value
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from hrviz.cost import on_gpu, recorded, study, trace
from hrviz.cost.declared import Call
from hrviz.cost.meter import meter
from hrviz.cost.models import MODELS, EfficientNet, ViT
from hrviz.errors import HrvizError
from hrviz.method import METHODS

SIDES = (224, 512, 1024, 1536, 2048, 3072, 4096, 8192)
USES = ((False, None), (True, None), (True, "adam"))
DTYPES = ("float32", "bfloat16")
WAIT = 600  # seconds for one point


# ------------------------------------------------------------------ on a GPU
def calls() -> list[tuple[str, tuple[int, ...], str, bool]]:
    """Network, shape of its batch, part, and whether it is trained: each once."""
    found = [(name, (1, 3, side, side), "forward", True) for name in MODELS for side in SIDES]
    for method in METHODS.values():
        for side in SIDES:
            if method.cost is None:
                continue
            params = study.bound(method, side, study.Setting())
            for c in method.cost.calls(params, side, side):
                found.append((c.network, tuple(c.shape), c.part, c.trained and method.cost.trained != "no"))  # fmt: skip
    return list(dict.fromkeys(found))


def point(asked: dict[str, Any]) -> dict[str, int]:
    """One point, in this process: predicted and measured bytes."""
    shape = tuple(asked["shape"])
    found = study.metered(
        asked["network"], shape, asked["part"], asked["training"], asked["optimiser"], asked["dtype"]
    )  # fmt: skip
    told = {"tensors": found.peak, "allocated": found.allocated, "reserved": found.reserved}
    try:
        taken = on_gpu.peak_of(study.Part(Call(asked["network"], shape, part=asked["part"]), found))
    except HrvizError:  # too large for the device
        taken = on_gpu.Taken(0, 0)
    return told | {"measured_allocated": taken.allocated, "measured_reserved": taken.reserved}


def record() -> list[recorded.Record]:
    """All points, each in a process of its own; one that fails is told and passed over."""
    out: list[recorded.Record] = []
    about = (torch.cuda.get_device_name(), datetime.date.today().isoformat(), torch.__version__)
    for network, shape, part, trained in calls():
        for dtype in DTYPES:
            for training, optimiser in USES if trained else USES[:1]:
                asked = {
                    "network": network, "shape": shape, "part": part, "training": training,
                    "optimiser": optimiser, "dtype": dtype,
                }  # fmt: skip
                done = subprocess.run(
                    [sys.executable, __file__, "--point", json.dumps(asked)],
                    capture_output=True, text=True, timeout=WAIT,
                )  # fmt: skip
                if done.returncode:
                    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                    print(f"{network} {shape} {dtype}: left out: {last}", file=sys.stderr)
                    continue
                told = json.loads(done.stdout.splitlines()[-1])
                out.append(recorded.Record(
                    *about, network, part, "x".join(map(str, shape)), training, optimiser or "", dtype, **told
                ))  # fmt: skip
                r = out[-1]
                print(f"{network:24} {r.shape:20} {dtype:9} {'train' if training else 'infer'} {r.optimiser:5}"
                      f" predicted {r.allocated / 2**20:10,.1f} measured {r.measured_allocated / 2**20:10,.1f} MiB {r.error:+.1%}", flush=True)  # fmt: skip
    return out


# ------------------------------------------------------------------ on a CPU
class CNN(nn.Module):
    """Five convolutions with norms, then a classifier."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        sizes = ((3, c, 1), (c, c, 1), (c, 2 * c, 2), (2 * c, 2 * c, 1), (2 * c, 4 * c, 2))
        layers: list[nn.Module] = []
        for i, o, stride in sizes:
            layers += [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * c, 10))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


Case = tuple[str, Callable[[], nn.Module], int, bool, str | None]


def cases(quick: bool) -> list[Case]:
    """Name, network, side, training, optimiser."""
    side = 256 if quick else 512

    def vit(fused: bool) -> Callable[[], nn.Module]:
        return lambda: ViT(side, width=192, depth=6, heads=3, fused=fused, classes=10)

    out: list[Case] = []
    for name, build in (("CNN", CNN), ("ViT, explicit attention", vit(False)), ("ViT, fused attention", vit(True))):  # fmt: skip
        out += [(name, build, side, training, optimiser) for training, optimiser in USES]
    if not quick:
        out += [
            ("EfficientNet-B7", EfficientNet, 608, training, None) for training in (False, True)
        ]
    return out


def tracked(
    build: Callable[[], nn.Module], side: int, training: bool, optimiser: str | None
) -> int:
    """By the tracker, on real tensors."""
    torch.manual_seed(0)
    batch = torch.randn(1, 3, side, side)
    return trace.record(build(), batch, training=training, optimiser=optimiser).peak


def profiled(build: Callable[[], nn.Module], side: int, training: bool, optimiser: str | None) -> int:  # fmt: skip
    """By the allocator: every allocation and release that the profiler saw, from a loop as people write it."""
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    net, batch = build().train(training), torch.randn(1, 3, side, side)
    state = sum(t.nbytes for t in (*net.parameters(), *net.buffers(), batch))
    stepper = trace.OPTIMISERS[optimiser](list(net.parameters())) if optimiser else None
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        if not training:
            with torch.no_grad():
                net(batch)
        for _ in range(int(training) + int(stepper is not None)):
            value = trace.loss(net(batch))
            assert value is not None
            value.backward()
            del value
            if stepper is not None:
                stepper.step()
                stepper.zero_grad(set_to_none=True)
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return state + peak


def accounting(quick: bool) -> list[dict[str, Any]]:
    """Bytes of each case, three ways."""
    out = []
    for name, build, side, training, optimiser in cases(quick):
        found = meter(build, (1, 3, side, side), training=training, optimiser=optimiser)
        real = tracked(build, side, training, optimiser)
        taken = profiled(build, side, training, optimiser)
        out.append({
            "network": name, "side": side, "training": training, "optimiser": optimiser,
            "fake": found.peak, "real": real, "allocator": taken, "ratio": found.peak / taken,
        })  # fmt: skip
        use = f"training{f' with {optimiser}' if optimiser else ''}" if training else "inference"
        print(f"{name:24} {side:4} px {use:18} fake {found.peak:14,} real {real:14,} allocator {taken:14,} B  {found.peak / taken:.4f}", file=sys.stderr, flush=True)  # fmt: skip
    return out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", action="store_true", help="check the accounting, without a GPU")
    parser.add_argument("--quick", action="store_true", help="small inputs: does it run?")
    parser.add_argument("--json", action="store_true", help="with --cpu: one JSON value")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cpu:
        rows = accounting(options.quick)
        if options.json:
            print(json.dumps(rows))
        same = sum(r["fake"] == r["real"] for r in rows)
        print(f"{same} of {len(rows)} predictions are the real tensors' bytes", file=sys.stderr)
        return 0 if same == len(rows) else 1
    if not on_gpu.present():
        print("gpu_memory: there is no CUDA device here: run it on a machine with one, or give --cpu", file=sys.stderr)  # fmt: skip
        return 2
    if options.point:
        print(json.dumps(point(json.loads(options.point))))
        return 0
    records = record()
    if not records:
        print("gpu_memory: no point could be measured", file=sys.stderr)
        return 1
    path = recorded.write(records)
    middle, share = recorded.agreement(records)
    print(f"{len(records)} points on {records[0].device}: median error {middle:.1%}, within 10 %: {share:.0%}; {path}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Is the sampler's short cut worth it, and is it the same? Six small matrices against convolution.

Equations 2 and 3 ask every output node for a weighted mean over all nodes in reach. Published code does
it by a padded 61 x 61 convolution of three maps; the kernel is a product of two lines and padding
copies nodes, so that three pairs of small matrix products give the same numbers. Here, in one run, for 31 x 31
to 201 x 201 nodes, FWHM 13, 30 nodes of replicate padding: the matrices (with matrices at hand, and
made anew as when the bandwidth slider moves), the convolution by torch (float64, and float32 as
published) and by scipy (directly, and by FFT), and plain summation; each with its time as a multiple
of ours and its largest difference from ours. Then, from a slider to the warped picture: 512 x 512 px out of
a 2048 x 2048 px region.

    python benchmarks/sampler.py            # a table
    python benchmarks/sampler.py --json     # the same as one JSON value, and nothing else
    python benchmarks/sampler.py --quick    # 31 and 63 nodes, few repeats: does it run?
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one thread for every rival

import numpy as np
import torch
from scipy import signal
from torch.nn import functional as F

from hrviz.geometry import Box
from hrviz.image import open_image
from hrviz.methods.downsampling import sampler
from hrviz.run import CACHE, apply

SIDES = (31, 63, 101, 201)
FWHM, CELLS = 13.0, 30
OURS = "matrices"
TARGETS = {"speed-up over convolution at 31 nodes": 5.0, "slider to picture, s": 0.100}
EXACT = 1e-12  # in float64

Nodes = tuple[np.ndarray, np.ndarray]


def _lines(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The 1-D kernel, and the nodes' positions continued into the padding."""
    at = np.arange(-CELLS, CELLS + 1)
    return np.exp(-4 * np.log(2) * at**2 / FWHM**2), np.arange(-CELLS, n + CELLS) / (n - 1)


def _maps(saliency: np.ndarray) -> np.ndarray:
    """Padded saliency, and it times y and x: (3, n + 60, n + 60)."""
    padded = np.pad(saliency, CELLS, mode="edge")
    _, position = _lines(len(saliency))
    return np.stack([padded, padded * position[:, None], padded * position])


def _quotients(mass: np.ndarray, y: np.ndarray, x: np.ndarray) -> Nodes:
    return np.clip(y / mass, 0, 1), np.clip(x / mass, 0, 1)


def matrices(saliency: np.ndarray) -> Nodes:
    return sampler.saliency_nodes(saliency, FWHM, "replicate", CELLS)


def matrices_anew(saliency: np.ndarray) -> Nodes:
    sampler._operators.cache_clear()
    return matrices(saliency)


def by_torch(dtype: torch.dtype) -> Callable[[np.ndarray], Nodes]:
    """The convolution as published: one 61 x 61 kernel, each map a picture of one channel."""
    line, _ = _lines(2)
    kernel = torch.from_numpy(np.outer(line, line)).to(dtype)[None, None]

    def run(saliency: np.ndarray) -> Nodes:
        maps = torch.from_numpy(_maps(saliency)).to(dtype)
        with torch.no_grad():
            out = F.conv2d(maps[:, None], kernel)[:, 0]
        return _quotients(*out.double().numpy())

    return run


def by_scipy(saliency: np.ndarray) -> Nodes:
    line, _ = _lines(2)
    kernel = np.outer(line, line)
    return _quotients(*(signal.correlate2d(m, kernel, "valid") for m in _maps(saliency)))


def by_fft(saliency: np.ndarray) -> Nodes:
    line, _ = _lines(2)
    return _quotients(*signal.fftconvolve(_maps(saliency), np.outer(line, line)[None], "valid"))


def by_summation(saliency: np.ndarray) -> Nodes:
    """Equations 2 and 3 as they stand: one term of all sums a time, for all nodes together."""
    n, (line, _) = len(saliency), _lines(len(saliency))
    maps, sums = _maps(saliency), np.zeros((3, n, n))
    for j, wy in enumerate(line):
        for i, wx in enumerate(line):
            sums += wy * wx * maps[:, j : j + n, i : i + n]
    return _quotients(*sums)


RIVALS: dict[str, Callable[[np.ndarray], Nodes]] = {
    OURS: matrices,
    "matrices made anew": matrices_anew,
    "torch conv2d 61 x 61, float64": by_torch(torch.float64),
    "torch conv2d 61 x 61, float32": by_torch(torch.float32),
    "scipy correlate2d": by_scipy,
    "scipy fftconvolve": by_fft,
    "summation": by_summation,
}


def seconds(run: Callable[[], Any], repeats: int, budget: float = 2.0) -> float:
    """Median of up to `repeats` runs, fewer when they would take longer than `budget` seconds."""
    run()
    taken: list[float] = []
    while len(taken) < repeats and (len(taken) < 3 or sum(taken) < budget):
        clock = time.perf_counter()
        run()
        taken.append(time.perf_counter() - clock)
    return statistics.median(taken)


def grids(sides: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """One row a rival and number of nodes."""
    rows = []
    for n in sides:
        saliency = np.random.default_rng(n).random((n, n)) ** 3 + 1e-3
        ours = matrices(saliency)
        base = 0.0
        for name, run in RIVALS.items():
            taken = seconds(partial(run, saliency), repeats)
            base = base or taken
            gap = max(float(np.abs(a - b).max()) for a, b in zip(run(saliency), ours, strict=True))
            rows.append(
                {"nodes": n, "rival": name, "seconds": taken, "ratio": taken / base, "difference": gap}
            )  # fmt: skip
    return rows


def slider(moves: int) -> dict[str, float]:
    """From a moved slider to the warped picture, and the first time, when nothing has been read.

    Processor time stands beside it: it is what the work takes on a machine that does nothing else.
    """
    image = open_image("scene:tissue?size=4096x4096&seed=3")
    region = Box(1024, 1024, 3072, 3072)
    taken, worked = [], []
    for k in range(moves + 1):
        CACHE.clear()
        shown: list[float] = []
        clock, processor = time.perf_counter(), time.process_time()

        def on_step(
            measured: Any,
            start: tuple[float, float] = (clock, processor),
            shown: list[float] = shown,
        ) -> None:
            if measured.step.name == "warped":
                shown += [time.perf_counter() - start[0], time.process_time() - start[1]]

        apply("saliency-sampler", image, region, saliency="edges", task="none", size=512,
              bandwidth=8 + 0.5 * (k % 20), on_step=on_step)  # fmt: skip
        taken.append(shown[0])
        worked.append(shown[1])
    return {"first": taken[0], "median": statistics.median(taken[1:]), "best": min(taken[1:]),
            "worst": max(taken[1:]), "processor": statistics.median(worked[1:])}  # fmt: skip


def report(quick: bool = False) -> dict[str, Any]:
    """All figures; what `--json` prints."""
    torch.set_num_threads(1)
    rows = grids(SIDES[:2] if quick else SIDES, 5 if quick else 30)
    shown = slider(3 if quick else 20)
    at_31 = {r["rival"]: r["ratio"] for r in rows if r["nodes"] == 31}
    speed_up = min(at_31["torch conv2d 61 x 61, float64"], at_31["torch conv2d 61 x 61, float32"])
    exact = max(r["difference"] for r in rows if "float32" not in r["rival"])
    return {
        "benchmark": "sampler", "fwhm": FWHM, "padding": CELLS, "grids": rows, "slider": shown,
        "figures": [
            {"name": "speed-up over convolution at 31 nodes", "value": speed_up, "unit": "x",
             "target": TARGETS["speed-up over convolution at 31 nodes"], "met": speed_up >= 5},
            {"name": "slider to picture", "value": shown["median"], "unit": "s",
             "target": TARGETS["slider to picture, s"],
             "met": shown["median"] <= TARGETS["slider to picture, s"]},
            {"name": "largest difference in float64", "value": exact, "unit": "of the region",
             "target": EXACT, "met": exact <= EXACT},
        ],
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON value, nothing else")
    options = parser.parse_args()
    found = report(options.quick)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'nodes':>9}  {'':32} {'ms':>9} {'x ours':>8}  difference")
    for row in found["grids"]:
        print(f"{row['nodes']:4d}x{row['nodes']:<4d}  {row['rival']:32} {row['seconds'] * 1e3:9.3f} "
              f"{row['ratio']:8.1f}  {row['difference']:.1e}")  # fmt: skip
    print()
    for figure in found["figures"]:
        mark = "met" if figure["met"] else "MISSED"
        print(f"{figure['name']:40} {figure['value']:10.3g} {figure['unit']}   "
              f"target {figure['target']:g}: {mark}")  # fmt: skip
    for name, told in (("first", "first time, nothing read yet"), ("best", "best"),
                       ("processor", "median of processor time")):  # fmt: skip
        print(f"{'slider, ' + told:40} {found['slider'][name]:10.3g} s")


if __name__ == "__main__":
    main()

"""How fast is the first look, and does anything grow with the image?

For scenes of 10,000 to 200,000 px a side, each in a fresh process: time and memory to open one and
to show the first view (1280 x 720 px, put together from the tiles that a browser would ask for);
latency of single tiles; and from moving a slider to the picture, for every method, closed form (in
a thread) and with its networks (in the worker process). Each figure stands beside its target, and
the sides are compared with each other as ratios, in the same run.

    python benchmarks/first_look.py            # a table
    python benchmarks/first_look.py --json     # the same as one JSON value, and nothing else
    python benchmarks/first_look.py --quick    # fewer sides, tiles and moves, no networks: does it run?
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIDES = (10_000, 50_000, 100_000, 200_000)
MAIN = 100_000  # the side that the targets are for
VIEW = (720, 1280)
REGION = 2048  # px a side of what methods run on
TARGETS = {  # name: (target, unit), of the main side
    "first view": (1.0, "s"),
    "first view, memory above the import": (300.0, "MiB"),
    "closed form": (0.150, "s"),
    "network": (1.0, "s"),
}
#: label: method, kind of target, fixed parameters, parameter moved and its values, step waited for
SLIDERS: dict[str, tuple[str, str, dict[str, Any], str, list[Any], str]] = {
    "uniform-downsampling": (
        "uniform-downsampling", "closed form", {"task": "none"},
        "size", [512 + 2 * k for k in range(11)], "downsampled",
    ),
    "cutting-into-patches": (
        "cutting-into-patches", "closed form", {"task": "none"},
        "overlap", [0.02 * k for k in range(11)], "patches",
    ),
    "saliency-sampler, edges": (
        "saliency-sampler", "closed form", {"task": "none", "saliency": "edges"},
        "bandwidth", [8 + 0.5 * k for k in range(11)], "warped",
    ),
    "saliency-sampler, edges, as published": (
        "saliency-sampler", "closed form", {"task": "none", "saliency": "edges", "sampling": "as published"},
        "bandwidth", [8 + 0.5 * k for k in range(11)], "warped",
    ),
    "uniform-downsampling + segmenter": (
        "uniform-downsampling", "network", {}, "size", [512 + 2 * k for k in range(11)], "prediction",
    ),
    "cutting-into-patches + segmenter": (
        "cutting-into-patches", "network", {}, "overlap", [0.02 * k for k in range(11)], "prediction",
    ),
    "saliency-sampler + segmenter": (
        "saliency-sampler", "network", {"saliency": "edges"},
        "bandwidth", [8 + 0.5 * k for k in range(11)], "prediction",
    ),
    "saliency-sampler, trained + segmenter": (
        "saliency-sampler", "network", {}, "bandwidth", [8 + 0.5 * k for k in range(11)], "prediction",
    ),
}  # fmt: skip


# --------------------------------------------------------------------------- one side, fresh process
def measure(side: int, tiles: int, moves: int, networks: int) -> dict[str, Any]:
    """All figures of one side, in this process; the first ones need it to be fresh."""
    import imagecodecs
    import numpy as np
    import scipy.sparse
    from PIL import Image as PILImage

    import hrviz.scenes
    import hrviz.viewer.tiles as viewer
    from hrviz.cost import memory

    assert imagecodecs.jpeg_encode is not None
    assert scipy.sparse.csr_matrix is not None
    PILImage.init()
    viewer.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    base = memory.resident_bytes() or 0
    memory.reset_peak()

    clock = time.perf_counter()
    image = hrviz.open(f"scene:tissue?size={side}x{side}&seed=7")
    opened = time.perf_counter() - clock
    served = viewer.ImageTiles(image)
    first_view(served, PILImage)
    shown = time.perf_counter() - clock
    peak = max(0, (memory.peak_bytes() or 0) - base) / 2**20

    # no cache of encoded tiles: of a small image the same ones come again
    served = viewer.ImageTiles(image, cache=viewer.TileLRU(0))
    latencies = tile_latencies(served, tiles)
    p50, p95 = (float(np.percentile(latencies, p)) for p in (50, 95))
    figures = {
        "open": opened, "first view": shown, "first view, memory above the import": peak,
        f"tile p50 of {tiles}": p50, f"tile p95 of {tiles}": p95,
    }  # fmt: skip
    figures |= {f"slider: {k}": v for k, v in sliders(image, moves, bool(networks)).items()}
    return figures


def first_view(served: Any, pillow: Any) -> Any:
    """The whole image in 1280 x 720: the tiles of the coarsest level that is fine enough, decoded."""
    pyramid = served.pyramid
    scale = max(pyramid.height / VIEW[0], pyramid.width / VIEW[1])
    levels = pyramid.levels
    z = max(z for z in range(len(levels)) if z == 0 or levels[z - 1].downsample > scale)
    rows, columns = pyramid.grid(z)
    side = levels[z].tile[0]
    canvas = pillow.new("RGB", (columns * side, rows * side), "white")
    for y in range(rows):
        for x in range(columns):
            data, _ = served.get(z, x, y)
            canvas.paste(pillow.open(io.BytesIO(data)), (x * side, y * side))
    return canvas


def tile_latencies(served: Any, count: int) -> list[float]:
    """Seconds a tile, for tiles at random levels and places (seeded)."""
    import numpy as np

    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        z = int(rng.integers(0, served.pyramid.top + 1))
        rows, columns = served.pyramid.grid(z)
        x, y = int(rng.integers(columns)), int(rng.integers(rows))
        clock = time.perf_counter()
        served.get(z, x, y)
        out.append(time.perf_counter() - clock)
    return out


def sliders(image: Any, moves: int, networks: bool) -> dict[str, float]:
    """Median seconds from submitting a move to the picture waited for; the first move warms up."""
    import numpy as np

    from hrviz import nets
    from hrviz.method import METHODS
    from hrviz.run import submit

    middle = max(0, image.width // 2 - REGION // 2)
    box = (middle, middle, middle + REGION, middle + REGION)
    out = {}
    for label, (name, kind, fixed, moved, values, wanted) in SLIDERS.items():
        if kind == "network" and not networks:
            continue
        bound = METHODS.find(name).bind(fixed)
        needs = ["tissue-segmenter"] * (bound["task"] != "none")
        needs += ["tissue-saliency"] * (bound.get("saliency") == "trained")
        if not all((nets.WEIGHTS / f"{n}.safetensors").exists() for n in needs):
            continue
        seconds = []
        for value in values[: moves + 1]:
            clock = time.perf_counter()
            job = submit(name, image, box, fixed | {moved: value})
            while wanted not in job.steps and not job.done:
                time.sleep(0.001)
            seconds.append(time.perf_counter() - clock)
            job.cancel()  # as the next move of a slider does
            job.wait()
            if job.error:
                raise SystemExit(f"{label}: {job.error}")
        out[label] = float(np.median(seconds[1:]))
    return out


# --------------------------------------------------------------------------- all sides
def target_of(name: str) -> tuple[float, str] | None:
    if name.startswith("slider: "):
        return TARGETS[SLIDERS[name.removeprefix("slider: ")][1]]
    return TARGETS.get(name)


def unit_of(name: str) -> str:
    return "MiB" if "memory" in name else "s"


def gather(sides: tuple[int, ...], tiles: int, moves: int, networks: bool) -> dict[str, Any]:
    by_side: dict[int, dict[str, float]] = {}
    for side in sides:
        # all tiles where the targets are judged, fewer where only the ratio is asked for
        count = tiles if side == MAIN else max(10, tiles // 5)
        many = moves if side == MAIN else min(moves, 4)
        command = [
            sys.executable,
            __file__,
            "--child",
            *map(str, (side, count, many, int(networks))),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        by_side[side] = {k.partition(" of ")[0]: v for k, v in found.items()}
    figures = []
    for name, value in by_side[MAIN].items():
        target = target_of(name)
        figures.append(
            {
                "name": name, "value": value, "unit": unit_of(name),
                "target": target[0] if target else None,
                "met": value <= target[0] if target else None,
                "ratios": {str(s): by_side[s][name] / value if value else None for s in sides},
            }
        )  # fmt: skip
    return {
        "benchmark": "first_look", "side": MAIN, "sides": list(sides), "tiles": tiles, "moves": moves,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(),
                    "system": platform.platform()},
        "figures": figures,
    }  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Figures beside their targets; the sides as ratios to the main one."""
    head = ["", f"{MAIN:,} px", "target", ""] + [f"{s // 1000}k" for s in report["sides"]]
    rows = []
    for f in report["figures"]:
        show = (
            (lambda v: f"{v:.0f} MiB") if f["unit"] == "MiB" else (lambda v: f"{v * 1000:.1f} ms")
        )
        rows.append(
            [f["name"], show(f["value"]), f"< {show(f['target'])}" if f["target"] else "-",
             {True: "met", False: "missed", None: ""}[f["met"]]]
            + [f"x {f['ratios'][str(s)]:.2f}" for s in report["sides"]]
        )  # fmt: skip
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i in (0, 3) else c.rjust(w)
            for i, (c, w) in enumerate(zip(r, widths, strict=True))
        )
        for r in [head, *rows]
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    parser.add_argument("--quick", action="store_true", help="fewer sides, tiles and moves")
    parser.add_argument("--child", nargs=4, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(measure(*options.child)), flush=True)
        return
    report = gather((10_000, MAIN), 20, 1, False) if options.quick else gather(SIDES, 500, 10, True)
    print(json.dumps(report, indent=1) if options.json else table(report))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()

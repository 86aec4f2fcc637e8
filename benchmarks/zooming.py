"""Does zooming pay? The Zoom-In paper's Table 1 on our scenes, with every method trained on the same pictures.

Sets: `colon` (500 px, six cells among look-alikes or none), `needle` (1024 px, three discs or none), `road`
(960 x 1280 px, which speed limit, if any), `aerial` (768 px, streets with some cars or without). Rows: a convolutional network on the whole picture, on uniformly
downsampled ones (as many pixels as Zoom-In gives to networks, and a quarter of them), a classifier of all patches
(mean or largest logit, learnt from the picture's class), BagNet, iterative patch selection (IPS), patch selection (top-k),
attention sampling (ATS), Zoom-In with LeNet and with ResNet; and a control without any network, the mean colour.

`accuracy` is on pictures that no recipe has seen: mean over trainings (a bundled network is one of them,
`--seeds` trains more, nothing is written); `+-` half of its 95 % interval over pictures and trainings, `ci` the t interval
over trainings alone, `draws` the standard deviation over redraws.
Costs are of one picture; `at once` and `one by one` are the predicted memory with all patches of a
stage in one network call, or a patch at a time, `run` what the product's run reports; time is also told relative to the whole-picture
network. `--paper` adds the memory at the paper's sizes, by prediction (`zooms/paper.py`); `--slides` judges
slides of 1.6 gigapixels, the paper's Table 2 (`zooms/slides.py`).

In `colon` and `needle` look-alikes of the same area and mean colour stand where needles are absent, and
pictures of `aerial` without cars are those with cars, emptied: counting tells nothing, and the mean colour nothing or
hardly anything (first row). Patch selection begins with the scorer and features of attention sampling, and Zoom-In's
ResNet on `colon` and `aerial` with the attentions of its LeNet, each of the same seed (colon's bundled ones, seed 0, with
the bundled network). On `needle` and `road` Zoom-In reads its sub-tiles at a half or a quarter of the resolution: one
feature of its LeNet sees 16 px and the mean of all is taken, so discs of 46 px and signs of 50 px do not fit in.

In memory, Zoom-In's factor over ATS is that of the views and of patches sent one tile at a time; with all ten in one
call its LeNet, 36 channels at full resolution, needs more than ATS's features, whose first convolution
strides. Pixels asked are no fewer than the picture's: 500 px have no coarser stored level, so a view
reads everything; that pays on slides only.

PatchDrop and RA-CNN are left out: 16 cells and a classifier of resized pictures, or one path of boxes at 32 px, need
one object that shows at that size (both have their own recipe and set).

Trainings take up to some eight minutes of one thread each (whole pictures the longest), and are kept in
benchmarks/output by recipe and seed: a second run only measures. What was tuned: colon's recipes by their authors on
held-out pictures (draws, patch, entropy, contrastive strength), how long sampling methods begin on easier
pictures, and, by what held-out pictures and first seeds showed, the stages of Zoom-In on `needle` and `road` (which sets, how many
steps, attention held, stages done again, pictures shifted, no contrastive loss); the baselines' rate and their common number of pixels were not.
docs/zooming.md keeps the last tables with what they show and where they do not show what the papers do.

    OMP_NUM_THREADS=1 python benchmarks/zooming.py --parts colon,needle,road --seeds 2 --paper
    python benchmarks/zooming.py --parts colon --seeds 0 --json rows.json    # bundled networks only
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("colon", "needle", "road", "aerial")
OUTPUT = Path(__file__).parent / "output"
KEPT = OUTPUT / "zooming-trainings.json"
REDRAWS = 3
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}  # 97.5 % points of t, by number of trainings
COLUMNS = (
    ("accuracy", 1, ".3f"), ("+-", 1, ".3f"), ("ci", 1, ".3f"), ("trainings", 1, ".0f"), ("draws", 1, ".3f"),
    ("GFLOP", 1e9, ".3f"), ("at once MiB", 2**20, ".2f"), ("one by one", 2**20, ".2f"),
    ("run", 2**20, ".2f"), ("ms", 1e-3, ".1f"), ("time x", 1, ".2f"), ("net kpx", 1e3, ".1f"), ("asked kpx", 1e3, ".0f"),
)  # fmt: skip
FIELDS = ("accuracy", "spread", "interval", "trainings", "sd_of_redraws", "flops", "memory",
          "memory_one_by_one", "memory_run", "seconds", "time_ratio", "network_pixels", "pixels_asked")  # fmt: skip


def rows(part: str, seeds: int, quick: bool, only: list[str]) -> list[dict[str, Any]]:
    """All rows of a set."""
    from zooms import baselines, costs, pipelines

    chosen = [r for r in pipelines.of(part) if not only or any(text in r.arm for text in only)]
    spent = costs.measured(chosen, quick, _say)
    colour = baselines.by_colour(part, quick, _say)
    p = colour["accuracy"]
    out = [{"task": part, "arm": "mean colour, linear", "accuracy": p, "trainings": 1,
            "spread": _half([p], colour["pictures"])[0]}]  # fmt: skip
    judged = [_bundled(r, quick) for r in chosen]
    for row, cost, own in zip(chosen, spent, judged, strict=True):
        found = _trainings(row, seeds, quick)
        if own:
            found = [own, *found]
        out.append({"task": part, "arm": row.arm} | _summary(found) | cost)
    base = next((r["seconds"] for r in out if r["arm"] == "CNN, whole picture"), None)
    for line in out:
        if base and "seconds" in line:
            line["time_ratio"] = line["seconds"] / base
    return out


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _bundled(row: Any, quick: bool) -> dict[str, Any]:
    """A bundled network judged on unseen pictures."""
    from hrviz.training import search_training as shared

    if not row.bundled:
        return {}
    net, count = row.network(), 6 if quick else None

    store = row.store(count, _say)
    redraws = REDRAWS if row.draws else 1
    found = shared.judge(store, lambda b, k: row.answer(net, store, b, k), redraws)
    return {"accuracy": found["accuracy"], "pictures": int(found["pictures"]),
            "sd_of_redraws": found.get("spread_over_redraws")}  # fmt: skip


def _trainings(row: Any, seeds: int, quick: bool) -> list[dict[str, Any]]:
    """Trainings of this recipe that are kept, and as many more as `seeds` asks for."""
    from zooms import pipelines

    from hrviz import nets
    from hrviz.training.search_data import SETS

    pictures = SETS[row.set]
    first, _ = next(pictures.images("train", 1))
    # a change of any makes kept ones void
    known = repr((row.recipe, pipelines.begins_with(row.weights), pictures, first.identity))
    digest = hashlib.sha256(known.encode()).hexdigest()[:10]
    known_seed = nets.card(row.weights)["seed"] if row.bundled else None
    if quick:
        return [row.train(0, 2, lambda text: None)] if seeds else []
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    prefix = f"{row.set}|{row.arm}|{digest}|"
    wanted = [seed for seed in range(seeds + 1) if seed != known_seed][:seeds]
    for seed in wanted:
        if f"{prefix}{seed}" in kept:
            continue
        clock = time.perf_counter()
        found = row.train(seed, None, lambda text: None)
        _say(
            f"{row.arm}, seed {seed}: {found['accuracy']:.3f} ({time.perf_counter() - clock:.0f} s)"
        )
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept[f"{prefix}{seed}"] = found
        OUTPUT.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    return [found for key, found in kept.items() if key.startswith(prefix)]


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One row's trainings together."""
    if not found:
        return {}
    values = [f["accuracy"] for f in found]
    half, interval = _half(values, found[0]["pictures"])
    redraws = [f["sd_of_redraws"] for f in found if f.get("sd_of_redraws") is not None]
    return {
        "accuracy": float(np.mean(values)), "trainings": len(values), "values": values,
        "spread": half, "interval": interval, "pictures": found[0]["pictures"],
        "sd_of_redraws": float(np.mean(redraws)) if redraws else None,
    }  # fmt: skip


def _half(values: list[float], pictures: int) -> tuple[float, float | None]:
    """Halves of 95 % intervals: over pictures (Agresti and Coull) and trainings, and over trainings alone."""
    n = len(values)
    mean = float(np.mean(values))
    p = (mean * pictures + 2) / (pictures + 4)  # pictures are the same for all trainings
    own = float(np.var(values, ddof=1)) / n if n > 1 else 0.0
    both = 1.96 * float(np.sqrt(p * (1 - p) / (pictures + 4) + own))
    return both, T.get(n, 1.96) * float(np.sqrt(own)) if n > 1 else None


def table(found: list[dict[str, Any]]) -> str:
    """Rows as text; empty where nothing is known."""
    lines = [["", *(title for title, _, _ in COLUMNS)]]
    for row in found:
        cells = [
            "" if row.get(key) is None else format(row[key] / scale, form)
            for key, (_, scale, form) in zip(FIELDS, COLUMNS, strict=True)
        ]
        lines.append([row["arm"], *cells])
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(c.rjust(w) if k else c.ljust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="colon", help="colon,needle,road; '' for none")
    parser.add_argument(
        "--seeds", type=int, default=0, help="trainings of every row besides the bundled"
    )
    parser.add_argument(
        "--rows", default="", help="only rows whose name holds one of these texts, by ';'"
    )
    parser.add_argument("--quick", action="store_true", help="few pictures and steps: does it run?")
    parser.add_argument("--paper", action="store_true", help="memory at the paper's sizes too")
    parser.add_argument(
        "--slides", type=int, default=0, help="unseen slides of 1.6 gigapixels to judge (Table 2)"
    )
    parser.add_argument("--large", type=int, default=0, help="and of ten gigapixels")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    wanted = [part for part in options.parts.split(",") if part]
    if unknown := [p for p in wanted if p not in PARTS]:
        sys.exit(f"there is no part {', '.join(unknown)}: choose of {', '.join(PARTS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parent))
    import torch

    torch.set_num_threads(1)
    everything: dict[str, list[dict[str, Any]]] = {}
    only = [text for text in options.rows.split(";") if text]
    for part in wanted:
        clock = time.perf_counter()
        everything[part] = rows(part, options.seeds, options.quick, only)
        print(
            f"\n{part} ({time.perf_counter() - clock:.0f} s)\n{table(everything[part])}", flush=True
        )
    if options.paper:
        from zooms import paper

        everything["paper"] = paper.rows()
        print(
            f"\nMiB at the paper's sizes, predicted\n{paper.table(everything['paper'])}", flush=True
        )
    if options.slides:
        from zooms import slides

        everything["slides"] = slides.rows(options.slides, options.large, options.quick, _say)
        print(f"\nslides\n{slides.table(everything['slides'])}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()

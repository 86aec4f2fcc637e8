"""What does a warp buy? Task results against output size, for every warp beside uniform and patches.

Each part is one task on scenes that no recipe has seen, judged against their truth: outline of tumour
(tissue) and of vessels, signs on a road, the speed limit, people in a film of a crowd, the class of an endoscopy
picture, and the Landolt-C task in which saliency is trained anew. Warps and uniform downsampling go
through the same filter. Every row has its spread (95 % interval over pictures, or over seeds) and what
it cost: FLOPs (1 MAC = 2), the network's predicted peak memory, stored pixels read, seconds.

    python benchmarks/downsampling.py --parts tissue,vessels,road,signs,crowd,endoscopy,glyphs
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PARTS = ("tissue", "vessels", "road", "signs", "crowd", "endoscopy", "glyphs")
KNOWN = ("task", "arm", "size", "images", "seeds", "spread", "flops", "network_memory", "pixels_read", "seconds")  # fmt: skip
UNITS = {"flops": (1e9, "GFLOP"), "network_memory": (2**20, "MiB"), "pixels_read": (1e6, "Mpx"), "seconds": (1, "s")}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of one part as text: metrics as found, costs in handy units."""
    metrics = list(dict.fromkeys(k for r in rows for k in r if k not in KNOWN))
    head = ["size", "arm", *metrics, "+-", *(unit for _, unit in UNITS.values())]
    lines = [head]
    for row in rows:
        costs = [f"{row[k] / scale:.2f}" if row.get(k) else "" for k, (scale, _) in UNITS.items()]
        values = ["" if row.get(m) is None else f"{row[m]:.3g}" for m in metrics]
        spread = f"{row['spread']:.3f}" if row.get("spread") is not None else ""
        lines.append([str(row["size"]), row["arm"], *values, spread, *costs])
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) if k == 1 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a few pictures: does it run?")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := [p for p in wanted if p not in PARTS]:
        sys.exit(f"there is no part {', '.join(unknown)}: choose of {', '.join(PARTS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parent))
    everything: list[dict[str, Any]] = []
    for part in wanted:
        clock = time.perf_counter()
        rows = importlib.import_module(f"warps.{part}").rows(options.quick)
        everything += rows
        print(f"\n{part} ({time.perf_counter() - clock:.0f} s)\n{table(rows)}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()

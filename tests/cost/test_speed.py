"""Cost curves are quick and take no memory, whatever the resolution; each is judged in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

# seconds are those of the processor: what else runs on the machine is not judged
BEGIN = """
import json, time
from torch import nn
from hrviz.cost import study
from hrviz.cost.curves import scaling
from hrviz.cost.memory import load_torch, peak_bytes, resident_bytes
load_torch()
def clocked(work):
    start = time.process_time()
    out = work()
    return out, time.process_time() - start
"""


def fresh(code: str, folder: Path) -> dict[str, Any]:
    """What code prints as JSON, in a new process with a cache of its own."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=280,
        env=os.environ | {"HRVIZ_COSTS": str(folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


B7 = """
from hrviz.cost.study import SIDES
found, took = clocked(lambda: study.grow(["efficientnet-b7"], SIDES))
print(json.dumps({"sides": len(found.sides), "last": found.sides[-1], "seconds": took,
                  "rss": peak_bytes(), "flops": found.values("efficientnet-b7", "flops").tolist()}))
"""


@pytest.mark.quiet
def test_b7_over_eight_resolutions_is_quick_and_the_second_time_at_once(tmp_path: Path) -> None:
    first = fresh(B7, tmp_path)
    assert (first["sides"], first["last"]) == (8, 8192)
    assert first["seconds"] < 20
    assert first["rss"] is None or first["rss"] < 1.5e9
    assert len(list(tmp_path.iterdir())) == 8
    second = fresh(B7, tmp_path)  # from the disk
    assert second["flops"] == first["flops"] and second["seconds"] < min(2, first["seconds"] / 2)


@pytest.mark.quiet
def test_a_small_network_is_quicker(tmp_path: Path) -> None:
    code = """
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
                    nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 1, 1))
found, took = clocked(lambda: scaling(net, training=True).curve((256, 512, 1024, 2048, 3072, 4096, 6144, 8192)))
print(json.dumps({"points": len(found.measures), "seconds": took}))
"""
    found = fresh(code, tmp_path)
    assert found["points"] == 8 and found["seconds"] < 2


@pytest.mark.parametrize(
    ("network", "side"), [("efficientnet-b7", 100_000 // 32 * 32), ("vit-b16-fused", 100_000)]
)
def test_nothing_is_allocated_at_any_resolution(network: str, side: int, tmp_path: Path) -> None:
    """Beside a training step of terabytes: the process as a whole, and what the step added to it."""
    code = f"""
step = study.Setting(training=True, optimiser="adam")
study.at({network!r}, 64, step)  # what is imported and built on first use
before = resident_bytes()
found = study.at({network!r}, {side}, step)
print(json.dumps({{"peak": found.peak, "before": before, "rss": peak_bytes()}}))
"""
    found = fresh(code, tmp_path)
    assert found["peak"] > 10**12
    if found["before"] is not None:
        assert found["rss"] < 1.5e9 and found["rss"] - found["before"] < 0.2e9

"""The benchmark runs and reports what it promises (its figures are not judged here)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "first_look.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed package")
def test_first_look_reports_figures_beside_targets() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"benchmark", "side", "sides", "tiles", "moves", "machine", "figures"} <= set(report)
    figures = {f["name"]: f for f in report["figures"]}
    assert {
        "open", "first view", "first view, memory above the import", "tile p50", "tile p95",
        "slider: uniform-downsampling", "slider: cutting-into-patches", "slider: saliency-sampler, edges",
    } <= set(figures)  # fmt: skip
    for figure in figures.values():
        assert set(figure) == {"name", "value", "unit", "target", "met", "ratios"}
        assert figure["value"] >= 0
        assert set(figure["ratios"]) == {"10000", "100000"}
        assert (figure["met"] is None) == (figure["target"] is None)
    assert figures["first view"]["target"] == 1.0
    assert figures["slider: saliency-sampler, edges"]["target"] == 0.15


def run(script: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT.parent / script), *options],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed package")
def test_the_sampler_is_compared_with_convolution_and_summation() -> None:
    report = json.loads(run("sampler.py", "--quick", "--json"))
    assert {"benchmark", "fwhm", "padding", "grids", "slider", "figures"} <= set(report)
    assert "difference" in json.dumps(report["grids"])


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed package")
def test_warps_are_compared_with_uniform_and_patches(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    run("downsampling.py", "--parts", "tissue", "--quick", "--json", str(out))
    rows = json.loads(out.read_text())
    arms = {row["arm"] for row in rows}
    assert {"uniform", "learning to zoom, trained", "cutting into patches, downsample 8"} <= arms
    for row in rows:
        assert {
            "task",
            "size",
            "iou",
            "gain",
            "spread",
            "flops",
            "network_memory",
            "pixels_read",
        } <= set(row)
        assert 0 <= row["iou"] <= 1 and row["flops"] > 0

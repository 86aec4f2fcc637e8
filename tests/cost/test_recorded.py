"""Recorded tables are read back as they were written; and the accounting, checked without a GPU."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hrviz.cost import recorded
from hrviz.cost.recorded import Record
from hrviz.errors import HrvizError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_memory.py"
ONE = Record(
    "Card 9000", "2026-01-31", "2.13.0", "vit-b16", "forward", "1x3x224x224", True, "adam", "bfloat16",
    1000, 1050, 2000, 1000, 2100,
)  # fmt: skip


def test_tables_are_read_back(tmp_path: Path) -> None:
    rows = [ONE, replace(ONE, network="efficientnet-b7", training=False, optimiser="", measured_allocated=0, measured_reserved=0)]  # fmt: skip
    path = recorded.write(rows, tmp_path / "tables")
    assert path.name == "card-9000.csv"
    recorded.write([replace(ONE, device="Other (TM)")], tmp_path / "tables")
    assert recorded.read(tmp_path / "tables")[:2] == tuple(rows)
    assert len(recorded.of("vit-b16", tmp_path / "tables")) == 2
    assert ONE.source == "recorded on Card 9000, 2026-01-31, torch 2.13.0"
    assert ONE.error == pytest.approx(0.05) and math.isnan(rows[1].error)
    assert recorded.agreement([ONE, replace(ONE, allocated=1300), *rows]) == (pytest.approx(0.05), 2 / 3)  # fmt: skip


def test_no_table_is_no_record(tmp_path: Path) -> None:
    assert recorded.read(tmp_path / "nowhere") == () == recorded.of("vit-b16", tmp_path)
    assert math.isnan(recorded.agreement([])[0])
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(HrvizError, match="no table of recorded memory"):
        recorded.read(tmp_path)
    for row in recorded.read():  # what is in the package, if anything, can be read
        assert row.device and row.date and row.torch


def script(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=280
    )


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed package")
def test_fake_bytes_are_real_bytes_and_those_of_the_allocator() -> None:
    """To the byte by the tracker; by the allocator where operators take nothing for themselves."""
    pytest.importorskip("torch")
    done = script("--cpu", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 9
    for row in rows:
        assert row["fake"] == row["real"]
        if not row["network"].startswith("ViT"):
            assert 0.6 <= row["ratio"] <= 1, (
                row
            )  # workspaces of convolutions, much where little else is
        elif row["training"]:
            assert 0 <= row["allocator"] - row["fake"] <= 64, (
                row
            )  # a few single numbers, of the loss
        else:
            assert row["fake"] == row["allocator"], row


@pytest.mark.skipif(not SCRIPT.exists(), reason="not in an installed package")
def test_without_a_gpu_it_says_so() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = script()
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        "gpu_memory: there is no CUDA device here: run it on a machine with one, or give --cpu"
    ]

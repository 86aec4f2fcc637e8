"""Times of the device at hand: what is measured, what is left out and why, and the same in the background."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from hrviz.cost import latency as clock
from hrviz.cost import latency_job, study
from hrviz.cost.latency import Latency, curve, latency
from hrviz.errors import Cancelled, HrvizError

SMALL = "efficientnet-b0"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRVIZ_COSTS", str(tmp_path / "costs"))


def test_a_network_is_timed_at_each_side() -> None:
    told: list[Latency] = []
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    found = latency(SMALL, (64, 32), repeats=3, warm_up=1, device="cpu", on_point=told.append)
    assert torch.equal(torch.rand(2), wanted)  # nobody's draws are disturbed
    assert found == told and [r.side for r in found] == [32, 64]
    for row in found:
        assert row.subject == SMALL and row.repeats == 3 and row.reason == ""
        assert 0 < row.low <= row.median <= row.high < 10
        assert re.search(r"\d threads?$", row.device)
    assert found[0].summary()["tag"] == "measured"


def test_training_takes_longer_than_inference() -> None:
    step = study.Setting(training=True, optimiser="adam")
    (infer,) = latency("vit-b16", (32,), repeats=2, warm_up=1, device="cpu")
    (train,) = latency("vit-b16", (32,), step, repeats=2, warm_up=1, device="cpu")
    assert train.low > infer.low


def test_a_method_is_the_sum_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    point = study.at("uniform-downsampling", 512)
    (part,) = point.parts
    (row,) = latency("uniform-downsampling", (512,), repeats=2, warm_up=1, device="cpu")
    assert row.repeats == 2 and row.median > 0
    # three and a half times the same call, which is timed once
    asked: list[tuple[int, ...]] = []
    call = clock._Clock._call

    def counted(self, part, *args):
        asked.append(part.measure.shape)
        return call(self, part, *args)

    monkeypatch.setattr(clock._Clock, "_call", counted)
    monkeypatch.setattr(clock._Clock, "_probe", lambda *_: None)
    monkeypatch.setattr(clock, "ready", lambda part, device: lambda: 0.25)
    many = tuple(study.Part(study.replace(part.call, times=t), part.measure) for t in (1.5, 2.0))
    monkeypatch.setattr(study, "at", lambda *_: study.replace(point, parts=many))
    (row,) = latency("uniform-downsampling", (512,), device="cpu")
    assert row.low == row.median == row.high == 0.25 * 3.5 and len(asked) == 1


def test_what_would_take_too_long_is_left_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    ready = clock.ready

    def noted(part, device):
        ran.append(part.measure.shape[-1])
        return ready(part, device)

    monkeypatch.setattr(clock, "ready", noted)
    monkeypatch.setattr(clock, "free_bytes", lambda device: math.inf)
    found = latency(SMALL, (32, 64, 8192, 16384), repeats=1, warm_up=0, seconds=2, device="cpu")
    assert [r.reason == "" for r in found] == [True, True, False, False]
    assert max(ran) == 64
    for row in found[2:]:
        assert math.isnan(row.median) and row.repeats == 0
        assert row.reason.endswith("left out") and "\n" not in row.reason
    assert "judged from 64 px" in found[2].reason
    assert found[2].summary()["median"] is None
    # the first side is judged too, by a small one that no row tells of
    ran.clear()
    (row,) = latency(SMALL, (8192,), repeats=1, warm_up=0, seconds=2, device="cpu")
    assert "judged from 256 px" in row.reason and max(ran) == 256


def test_what_would_not_fit_is_left_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "free_bytes", lambda device: 40e6)
    monkeypatch.setattr(clock, "ready", lambda *_: pytest.fail("it was run"))
    (row,) = latency(SMALL, (1024,), device="cpu")
    assert re.fullmatch(r"1024 px would take .* GB of memory, of which 0.04 GB are free: left out", row.reason)  # fmt: skip


def test_a_device_that_runs_out_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def out(part, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(clock, "ready", out)
    (row,) = latency(SMALL, (32,), device="cpu")
    assert row.reason == f"the device ran out of memory in {SMALL}: left out"


def test_free_memory_is_that_of_the_machine() -> None:
    assert 0 < clock.free_bytes("cpu") < 2**50


def test_a_slow_pass_is_repeated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(part, device):
        def once() -> float:
            time.sleep(0.1)
            return 0.1

        return once

    monkeypatch.setattr(clock, "ready", slow)
    (row,) = latency(SMALL, (32,), repeats=50, warm_up=0, seconds=0.35, device="cpu")
    assert 1 <= row.repeats < 6 and row.median == 0.1


def test_rows_are_a_curve() -> None:
    row = Latency("a", 64, 2.0, 1.0, 3.0, 5, "cpu")
    left = Latency("a", 128, math.nan, math.nan, math.nan, 0, "cpu", "too large")
    found = curve((64, 128, 256), [row, left])
    assert found.x.tolist() == [64, 128, 256] and found.tag == "measured"
    assert np.array_equal(found.series["a on cpu"], [2, np.nan, np.nan], equal_nan=True)
    assert found.bands["a on cpu"][0].tolist() == [1, 3]


def test_bad_input_and_cancelling() -> None:
    for settings, says in (
        ({"repeats": 0}, "repeats=0 is out of range"),
        ({"warm_up": -1}, "warm_up=-1 is out of range"),
        ({"seconds": 0}, "choose more than 0"),
        ({"device": "cuda:99"}, "is not there"),
    ):
        with pytest.raises(HrvizError, match=says):
            latency(SMALL, (32,), **settings)
    with pytest.raises(HrvizError, match="there is no method 'resnet'"):
        latency("resnet", (32,))
    passes = 0

    def stop() -> None:
        nonlocal passes
        passes += 1
        if passes > 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        latency(SMALL, (32, 64), repeats=100, device="cpu", check=stop)


def test_in_the_background() -> None:
    job = latency_job.submit([SMALL, "ud"], (64, 32), repeats=2, warm_up=1, device="cpu")
    assert job.names == (SMALL, "uniform-downsampling") and job.sides == (32, 64)
    assert job.wait(120) and job.error is None and job.done and job.progress == 1
    assert [(r.subject, r.side) for r in job.rows] == [(n, s) for n in job.names for s in (32, 64)]
    assert job.version == 5 and all(r.repeats == 2 or r.reason for r in job.rows)
    with pytest.raises(HrvizError):
        latency_job.submit(["resnet"])
    bad = latency_job.submit([SMALL], (32,), device="cuda:99")
    assert bad.wait(60) and "is not there" in (bad.error or "")
    long = latency_job.submit([SMALL], (64,), repeats=10**6, seconds=600, device="cpu")
    long.cancel()
    assert long.wait(60) and long.cancelled and long.error is None

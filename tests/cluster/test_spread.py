"""Patches of a whole image as many tasks of a real cluster; a worker that is killed changes nothing."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hrviz import run as runs
from hrviz.cli import main
from hrviz.cluster import Cluster, _pickled, connect
from hrviz.context import Context
from hrviz.errors import Cancelled, HrvizError
from hrviz.image import open_image

distributed = pytest.importorskip("distributed")

SCENE = "scene:tissue?size=1500x1100&seed=3&tumour=0.3"
PATCHES: dict[str, Any] = {
    "patch": 96, "downsample": 2, "overlap": 0.3, "halo": 16, "batch": 3, "aggregation": "mean",
}  # fmt: skip


MAIN = sys.modules["__main__"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two worker processes of one thread each.

    A new process first runs what `__main__` was; Streamlit's page tests put a page of the app there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", MAIN)
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local:
            yield local.scheduler_address


@pytest.fixture(scope="module")
def here() -> runs.Run:
    """The same run in this process."""
    runs.CACHE.clear()
    run = runs.apply("cip", SCENE, context=Context(), **PATCHES)
    runs.CACHE.clear()
    return run


def assert_same(run: runs.Run, here: runs.Run) -> None:
    """Results to the bit, and all that is counted."""
    assert [s.name for s in run.steps] == [s.name for s in here.steps]
    for step, other in zip(run.steps, here.steps, strict=True):
        (plain, arrays), (plain_here, arrays_here) = step.result.to_parts(), other.result.to_parts()
        assert plain == plain_here
        assert arrays.keys() == arrays_here.keys()
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], arrays_here[name])
    assert run.reads.summary() == here.reads.summary()
    for name in ("flops", "parameters", "network_pixels", "network_memory", "pixels_requested"):
        assert run.cost[name].value == here.cost[name].value, name
    assert run.cost["worker_memory"].tag == "measured"


def test_a_killed_worker_changes_nothing(address: str, here: runs.Run) -> None:
    runs.CACHE.clear()
    with distributed.Client(address, set_as_default=False) as client:
        before = client.run(os.getpid)
    assert len(before) == 2
    assert os.getpid() not in before.values()
    told: list[float] = []

    def on_step(m: runs.Measured) -> None:
        if m.step.name == "prediction":
            told.append(m.step.progress)
            if len(told) == 5:
                os.kill(next(iter(before.values())), signal.SIGKILL)

    run = runs.apply("cip", SCENE, context=Context(scheduler=address), on_step=on_step, **PATCHES)
    boxes = here["partition"].summary()["boxes"]
    assert told == [min(1.0, 3 * (k + 1) / boxes) for k in range(-(-boxes // 3))]
    assert len(told) > 20
    assert_same(run, here)
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)  # the nanny started another one
        assert set(client.run(os.getpid).values()) != set(before.values())


def test_both_workers_work_and_nothing_stays_there(address: str) -> None:
    runs.CACHE.clear()
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        context = Context(scheduler=address)
        view = open_image(SCENE).view()
        context.elsewhere = connect(address).map
        places = list(context.map(_where, view, range(12)))
        assert [n for n, _ in places] == list(range(12)), "in order"
        assert {pid for _, pid in places} == set(client.run(os.getpid).values())
        for _ in range(50):  # workers forget results a moment after the front end has
            if not any(client.has_what().values()):
                break
            time.sleep(0.1)
        else:
            pytest.fail("results stay on the workers")


def _where(view: Any, item: int) -> tuple[int, int]:
    time.sleep(0.05)
    return item, os.getpid()


def test_cancelling_stops_between_batches(address: str) -> None:
    runs.CACHE.clear()
    stop: list[bool] = []
    context = Context(scheduler=address, cancelled=lambda: bool(stop))

    def on_step(m: runs.Measured) -> None:
        if m.step.name == "prediction":
            stop.append(True)

    with pytest.raises(Cancelled):
        runs.apply("cip", SCENE, context=context, on_step=on_step, **PATCHES)
    assert len(stop) == 1


def test_jobs_of_the_app_go_the_same_way(
    address: str, here: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.CACHE.clear()
    remote = Cluster(address)
    monkeypatch.setattr("hrviz.worker.remote", lambda: remote)
    job = runs.submit("cip", open_image(SCENE), params=PATCHES)
    assert job.wait(60)
    assert job.error is None
    assert job.run is not None
    assert_same(job.run, here)
    remote.client.close()


def test_the_command_line_and_a_relative_path(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs.CACHE.clear()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64))
    monkeypatch.chdir(tmp_path)
    common = ["a.tif", "-p", "patch=96", "-p", "downsample=1", "--json"]
    assert main(["apply", "cip", *common, "--scheduler", address]) == 0
    there = capsys.readouterr()
    runs.CACHE.clear()
    monkeypatch.setenv("HRVIZ_SCHEDULER", address)
    assert main(["apply", "saliency-sampler", "a.tif", "-p", "size=64", "--json"]) == 0
    assert '"warped"' in capsys.readouterr().out
    runs.CACHE.clear()
    monkeypatch.delenv("HRVIZ_SCHEDULER")
    assert main(["apply", "cip", *common]) == 0
    one, two = json.loads(there.out), json.loads(capsys.readouterr().out)
    assert [s["summary"] for s in one["steps"]] == [s["summary"] for s in two["steps"]]
    assert "worker_memory" in one["cost"]
    assert "worker_memory" not in two["cost"]


def test_an_error_on_a_worker_is_its_sentence(address: str, tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    runs.CACHE.clear()
    with pytest.raises(HrvizError, match="cannot be decoded"):
        runs.apply("cip", path, context=Context(scheduler=address), patch=64, downsample=1)


def test_a_scheduler_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrviz.cluster.PATIENCE", 0.5)
    runs.CACHE.clear()
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as local,
        pytest.raises(HrvizError, match="has no workers: start some"),
    ):
        runs.apply("cip", SCENE, context=Context(scheduler=local.scheduler_address), **PATCHES)


def test_a_scheduler_that_goes_away_is_told() -> None:
    code = (
        "import distributed, time\n"
        "c = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False,\n"
        "    dashboard_address=None, protocol='tcp://')\n"
        "print(c.scheduler_address, flush=True)\n"
        "time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    runs.CACHE.clear()

    def on_step(m: runs.Measured) -> None:
        if m.step.name == "prediction":
            process.kill()

    with pytest.raises(HrvizError, match="went away: start it"):
        runs.apply("cip", SCENE, context=Context(scheduler=address), on_step=on_step, **PATCHES)
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize("address", ["", "here", "tcp://here", "ftp://here:21", "tcp://:x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(HrvizError, match="is no address of a dask scheduler"):
        Cluster(address)


def test_an_image_travels_as_its_address_and_channels() -> None:
    identity, _, arguments = pickle.loads(_pickled(open_image(SCENE)))
    assert identity == open_image(SCENE).identity
    assert arguments == (open_image(SCENE).uri,)
    assert len(_pickled(open_image(SCENE))) < 1000

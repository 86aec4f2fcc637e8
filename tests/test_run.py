"""Runs: every step measured, reads apart, cancelled in time, cached, in a thread and in the worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz import run as running
from hrviz.context import Context, current
from hrviz.cost.operations import count
from hrviz.errors import Cancelled, HrvizError
from hrviz.geometry import Box
from hrviz.method import METHODS, Control, Method, Param
from hrviz.results import Picture, Prediction, Step
from hrviz.worker import WorkerProcess, pack, unpack

SCENE = "scene:tissue?size=600x400"
QUICK = {"saliency": "edges", "task": "none", "size": 64}


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    running.CACHE.clear()
    yield
    running.CACHE.clear()


def made(function: Any, **options: Any) -> Method:
    """A method that no registry knows."""
    params = (Param("n", "integer", 3, Control("Up: more.", 0, 1000, 1)),)
    facts = {"title": "", "family": "baselines", "section": "", "paper": "", "idea": ""}
    return Method(
        name="made-" + function.__name__, function=function, params=params, **facts, **options
    )


def numbers(view: Any, *, n: int) -> Iterator[Step]:
    for k in range(n):
        current().check()
        count("made", 10)
        time.sleep(0.01)
        yield Step("number", Prediction({"k": float(k)}), progress=(k + 1) / n)
    count("made", 5)
    yield Step("last", Prediction({"k": -1.0}))


IMAGE = image_of(np.zeros((300, 200, 3), np.uint8), tile=(100, 100))


# ------------------------------------------------------------------ measuring
def test_every_step_is_measured_and_added_up() -> None:
    told = []
    run = running.apply(made(numbers), IMAGE, on_step=told.append, n=4)
    assert [m.step.name for m in told] == ["number"] * 4 + ["last"]
    assert [s.name for s in run.steps] == ["number", "last"]
    assert [m.flops for m in run.measured] == [40, 5]
    assert run.measured[0].seconds == pytest.approx(sum(m.seconds for m in told[:4]))
    assert 0.04 <= run.measured[0].seconds < 1
    assert run["number"].values == {"k": 3.0}
    assert run.cost["flops"].value == 45
    assert run.cost["seconds"].value == pytest.approx(sum(m.seconds for m in told))
    with pytest.raises(KeyError, match="has no step 'nothing'"):
        run["nothing"]


def eaten() -> tuple[float, float | None]:
    """Peak of the first step, and of the run, of a method whose step comes again with less."""

    def hungry(view: Any, *, n: int) -> Iterator[Step]:
        for size in (80_000_000, 1):
            block = np.ones(size, np.uint8)
            yield Step("eat", Prediction({"sum": float(block[:1].sum())}))
            del block

    run = running.apply(made(hungry), IMAGE)
    return run.measured[0].peak_bytes or 0.0, run.cost.get("peak_memory")


def test_the_peak_of_a_step_that_comes_again_is_its_highest() -> None:
    # in a process of its own: in one that has run many tests, what another thread gives back meanwhile
    # hides what the step takes
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; import json, {__name__} as t; "
         "print(json.dumps(t.eaten()))"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, whole = json.loads(done.stdout.splitlines()[-1])
    if whole is None:
        pytest.skip("this system does not tell")
    assert first > 60e6 and whole == first


def test_costs_say_whether_they_are_measured() -> None:
    run = hrviz.apply("learning-to-zoom", SCENE, **QUICK)
    tags = {q.name: q.tag for q in run.cost.quantities}
    assert {"seconds", "flops", "pixels_read", "pixels_requested", "tiles_read"} <= set(tags)
    assert set(tags.values()) == {"measured"}
    assert run.cost["flops"].value > 0
    assert run.cost.device == "cpu"
    assert run.cost["pixels_read"].value == run.reads.pixels_read > 0


def test_the_caller_sees_no_context_between_steps() -> None:
    context = Context(device="cpu")
    for _ in running.stream(made(numbers), IMAGE.view(), {"n": 2}, context):
        assert current() is not context


def test_reads_of_runs_are_apart() -> None:
    def reader(view: Any, *, n: int) -> Iterator[Step]:
        view.image.window(0, 0, 0, 100, n, view.reads)
        yield Step("read", Picture(np.zeros((1, 1, 3))))

    view = IMAGE.view()
    runs = [running.apply(made(reader), view, n=n) for n in (10, 150)]
    assert [r.reads.pixels_requested for r in runs] == [1000, 15000]
    assert [len(r.reads.tiles) for r in runs] == [1, 2]
    assert view.reads.pixels_requested == 0


# ------------------------------------------------------------------ cancelling
def test_a_run_stops_at_the_next_check() -> None:
    seen = []
    context = Context(cancelled=lambda: len(seen) >= 2)
    with pytest.raises(Cancelled):
        running.apply(made(numbers), IMAGE, on_step=seen.append, context=context, n=100)
    assert len(seen) == 2


def test_a_cancelled_method_is_closed() -> None:
    closed = []

    def careful(view: Any, *, n: int) -> Iterator[Step]:
        try:
            yield Step("one", Prediction({"k": 1.0}))
            yield Step("two", Prediction({"k": 2.0}))
        finally:
            closed.append(True)

    stream = running.stream(made(careful), IMAGE.view(), {}, Context())
    next(stream)
    stream.close()
    assert closed == [True]


# ------------------------------------------------------------------ the cache
def test_the_same_again_is_not_run_again() -> None:
    calls = []

    def counted(view: Any, *, n: int) -> Iterator[Step]:
        calls.append(n)
        yield Step("one", Prediction({"k": float(n)}))

    method = made(counted)
    first = running.apply(method, IMAGE, n=1)
    told: list = []
    again = running.apply(method, IMAGE, on_step=told.append, n=1)
    assert calls == [1]
    assert again.cached
    assert not first.cached
    assert [m.step for m in told] == list(first.steps)
    running.apply(method, IMAGE, n=2)
    running.apply(method, IMAGE, (0, 0, 10, 10), n=1)
    running.apply(method, IMAGE, context=Context(device="meta"), n=1)
    other = image_of(np.zeros((300, 200, 3), np.uint8))
    running.apply(method, other, n=1)
    assert calls == [1, 2, 1, 1, 1]
    assert running.submit(method, IMAGE, params={"n": 2}).run.cached


def test_a_changed_file_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "map.npy"
    rows = np.zeros((31, 31))
    rows[5] = 1
    np.save(path, rows)
    options = QUICK | {"saliency": "file", "file": "~/map.npy", "floor": 0.0}
    first = hrviz.apply("learning-to-zoom", SCENE, **options)
    np.save(path, rows[::-1])
    os.utime(path, ns=(1, 1))
    second = hrviz.apply("learning-to-zoom", SCENE, **options)
    assert not second.cached
    assert first["saliency"].values.argmax() != second["saliency"].values.argmax()


def test_the_cache_is_bounded() -> None:
    cache = running._RunCache(count=3, max_bytes=10_000)
    run = running.apply(made(numbers), IMAGE, n=1)
    for k in range(5):
        cache.put(str(k), run)
    assert list(cache._runs) == ["2", "3", "4"]
    step = Step("big", Picture(np.zeros((40, 60, 3), np.uint8)))
    big = replace(run, measured=(replace(run.measured[0], step=step),))
    cache.put("big", big)
    cache.put("bigger", big)
    assert list(cache._runs) == ["bigger"]
    assert cache.get("big") is None


# ------------------------------------------------------------------ comparing and inputs
def test_compare_gives_each_method_what_it_knows() -> None:
    result = hrviz.compare(SCENE, ["ud", "cip"], "0,0,300,300", size=64, patch=128, task="none")
    assert [r.method.name for r in result.runs] == ["uniform-downsampling", "cutting-into-patches"]
    assert result.runs[0].params["size"] == 64
    assert result.runs[1].params["patch"] == 128
    assert [row["method"] for row in result.table()] == [r.method.name for r in result.runs]
    assert all(r.region == (0, 0, 300, 300) for r in result.runs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hrviz.compare(SCENE, []), "nothing to compare"),
        (
            lambda: hrviz.compare(SCENE, ["ud"], sizes=3),
            "none of uniform-downsampling has a parameter",
        ),
        (
            lambda: hrviz.compare(SCENE, ["cip", "ud"], task="none", size=5),
            "size=5 is out of range",
        ),
        (lambda: hrviz.apply("ud", SCENE, "0,0,9"), "not four numbers"),
        (lambda: hrviz.apply("ud", SCENE, "700,0,9,9"), "lies outside"),
        (lambda: hrviz.apply("ud", "missing.png"), "does not exist"),
        (lambda: hrviz.apply("udd", SCENE), "nearest"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(call: Any, words: str) -> None:
    with pytest.raises(HrvizError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert not running.CACHE._runs


# ------------------------------------------------------------------ in the background: threads
def finish(job: running.Job, seconds: float = 60) -> running.Job:
    assert job.wait(seconds), "the job hangs"
    return job


def test_a_job_in_a_thread() -> None:
    job = finish(running.submit(made(numbers), IMAGE, params={"n": 3}))
    assert job.error is None
    assert job.progress == 1
    assert list(job.steps) == ["number", "last"]
    assert job.version >= 5
    assert job.run["last"].values == {"k": -1.0}
    assert running.submit(made(numbers), IMAGE, params={"n": 3}).done  # from the cache


@pytest.mark.quiet
def test_a_job_in_a_thread_is_cancelled_and_reports_errors() -> None:
    job = running.submit(made(numbers), IMAGE, params={"n": 500})
    while not job.steps:
        time.sleep(0.005)
    start = time.monotonic()
    job.cancel()
    finish(job)
    assert time.monotonic() - start < 0.5
    assert job.run is None
    assert job.error is None
    assert job.cancelled

    def wrong(view: Any, *, n: int) -> Iterator[Step]:
        yield Step("one", Prediction({"k": 1.0}))
        raise HrvizError("that cannot be done: do this") if n else RuntimeError("a bug")

    assert finish(running.submit(made(wrong), IMAGE)).error == "that cannot be done: do this"
    job = finish(running.submit(made(wrong), IMAGE, params={"n": 0}))
    assert job.error == "made-wrong failed: RuntimeError: a bug"
    with pytest.raises(HrvizError, match="out of range"):
        running.submit(made(numbers), IMAGE, params={"n": -1})


# ------------------------------------------------------------------ in the background: the worker
@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    process = WorkerProcess()
    yield process
    process.stop()


def send(worker: WorkerProcess, method: str, image: Any = SCENE, **params: Any) -> running.Job:
    """As `submit` does for networks, whatever the method is."""
    found = METHODS.find(method)
    view = hrviz.open(image).view()
    job = running.Job(found, found.bind(params), view.box)
    worker.submit(job, view, None, lambda run: None)
    return job


def test_the_worker_gives_what_a_run_here_gives(worker: WorkerProcess) -> None:
    job = finish(send(worker, "learning-to-zoom", **QUICK))
    assert job.error is None
    here = hrviz.apply("learning-to-zoom", SCENE, **QUICK)
    assert [s.name for s in job.run.steps] == [s.name for s in here.steps]
    np.testing.assert_array_equal(job.run["grid"].nodes, here["grid"].nodes)
    np.testing.assert_array_equal(job.run["warped"].array, here["warped"].array)
    assert job.run.reads.summary() == here.reads.summary()
    assert all(m.seconds > 0 for m in job.run.measured)


def test_errors_in_the_worker_are_one_sentence(worker: WorkerProcess) -> None:
    job = finish(send(worker, "learning-to-zoom", saliency="drawn", task="none"))
    assert job.error.startswith("nothing is drawn")
    assert job.run is None
    assert finish(send(worker, "ud", task="none", size=64)).error is None  # and it lives on


def test_a_file_that_changed_is_opened_again(worker: WorkerProcess, tmp_path: Path) -> None:
    from PIL import Image as PILImage

    path = tmp_path / "a.png"
    for grey in (10, 200):
        PILImage.new("RGB", (64, 64 + grey), (grey,) * 3).save(path)
        job = finish(send(worker, "ud", str(path), task="none", size=64))
        assert job.run["downsampled"].array.mean() * 255 == pytest.approx(grey)


def test_waiting_jobs_can_be_cancelled(worker: WorkerProcess) -> None:
    jobs = [send(worker, "ud", task="none", size=64, filter="bilinear") for _ in range(3)]
    jobs[2].cancel()
    for job in jobs:
        finish(job)
    assert jobs[0].run is not None
    assert jobs[2].run is None or jobs[2].run.method.name == "uniform-downsampling"
    assert jobs[2].error is None


def test_a_killed_worker_is_one_sentence_and_a_fresh_start(worker: WorkerProcess) -> None:
    process = worker.start()
    os.kill(process.pid, signal.SIGSTOP)  # busy, as far as we can see
    first, second = (send(worker, "ud", task="none", size=64) for _ in range(2))
    os.kill(process.pid, signal.SIGKILL)
    for job in (first, second):
        finish(job)
        assert job.run is None
        assert job.error.startswith("the worker process stopped")
        assert "\n" not in job.error
    third = finish(send(worker, "ud", task="none", size=64))
    assert third.error is None
    assert third.run is not None
    assert worker.start().pid != process.pid


def test_the_end_of_an_old_process_does_not_touch_jobs_of_a_new_one() -> None:
    """The old listener may wake up late: only its own process's jobs are lost."""

    class Fake:
        stdin = None

    worker = WorkerProcess()
    old, new = Fake(), Fake()
    jobs = [running.Job(METHODS["uniform-downsampling"], {}, Box(0, 0, 1, 1)) for _ in range(2)]
    view = IMAGE.view()
    from hrviz.worker import Tracker

    for number, (process, job) in enumerate(zip((old, new), jobs, strict=True)):
        worker._jobs[number] = process, Tracker(job, view, lambda run: None)  # type: ignore[assignment]
    worker._process = new  # type: ignore[assignment]
    worker._lose(old)  # type: ignore[arg-type]
    assert jobs[0].error
    assert not jobs[1].done
    assert list(worker._jobs) == [1]
    assert worker._process is new


def test_steps_travel_as_plain_parts() -> None:
    measured: list = []
    running.apply("learning-to-zoom", SCENE, on_step=measured.append, **QUICK)
    for m in measured:
        again = unpack(pack(m))
        assert (again.step.name, again.step.note, again.seconds) == (
            m.step.name,
            m.step.note,
            m.seconds,
        )
        assert again.step.result.summary() == m.step.result.summary()


def test_repeated_steps_of_the_worker_are_added_up() -> None:
    """A run is described alike whether it ran here or there."""
    from hrviz.worker import Tracker

    told: list = []
    here = running.apply(made(numbers), IMAGE, on_step=told.append, n=3)
    job = running.Job(made(numbers), {"n": 3}, IMAGE.box)
    tracker = Tracker(job, IMAGE.view(), lambda run: None)
    for m in told:
        tracker.step(pack(m))
    tracker.end({"kind": "done", "cost": here.cost.to_parts(), "reads": here.reads.to_parts()})
    assert [m.seconds for m in job.run.measured] == pytest.approx(
        [m.seconds for m in here.measured]
    )
    assert [m.flops for m in job.run.measured] == [30, 5]


def test_runs_in_several_threads_do_not_mix() -> None:
    results: dict[int, Any] = {}

    def task(n: int) -> None:
        results[n] = running.apply(made(numbers), IMAGE, n=n)

    threads = [threading.Thread(target=task, args=(n,)) for n in (3, 4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: run.cost["flops"].value for n, run in results.items()} == {
        n: 10 * n + 5 for n in (3, 4, 5)
    }

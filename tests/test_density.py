"""Cost against object density: truth counted otherwise, bounds by construction, sentences by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import hrviz
from hrviz.cli import main
from hrviz.context import Context
from hrviz.cost import density as costs
from hrviz.cost import dials
from hrviz.cost.density import CALLS, PIXELS, SEEN, Density, Point
from hrviz.cost.density_job import submit
from hrviz.errors import Cancelled, HrvizError
from hrviz.method import METHODS

TISSUE = "scene:tissue?size=8192x8192&seed=3000002"
CROWD = "scene:crowd?size=3000x2000&seed=3000001"
ORACLE = {"saliency": "truth", "task": "none"}


# ------------------------------------------------------------------ what is counted
@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("scene:needle?size=900x700&object=cell&ratio=0.001&count=7&distractors=9", 7),
        ("scene:needle?size=900x700&object=digit&ratio=0.001&count=3&distractors=9", 3),
        ("scene:crowd?size=3000x2000&people=40", 40),
        ("scene:digits?size=600x600&digits=4", 4),
    ],
)
def test_objects_are_those_that_were_asked_for(address: str, there: int) -> None:
    """Neither look-alikes nor heads count."""
    image = hrviz.open(address)
    assert dials.DIALS[image.reader.kind.name].present(image) == there


def test_share_of_tumour_is_that_of_all_pixels() -> None:
    image = hrviz.open("scene:tissue?size=1500x1000&tumour=0.3")
    every = image.truth.mask(image.box, (1000, 1500)) == 1
    assert 0.05 < every.mean() < 0.95
    assert dials.DIALS["tissue"].present(image) == pytest.approx(every.mean(), abs=0.005)


def test_every_zooming_method_has_a_tree_a_scene_and_a_dial() -> None:
    with_tree = costs.methods()
    assert {m for m in METHODS.values() if m.family == "zooming"} <= set(with_tree)
    for method in with_tree:
        start = costs.prepare(method)
        assert len(start.series) >= 4 and list(start.series.values) == sorted(start.series.values)
        assert not dials.BOUNDS.get(method.name) or dials.BOUNDS[method.name] in start.params
        first, last = (hrviz.open(start.series.address(v)) for v in start.series.values[:: len(start.series) - 1])  # fmt: skip
        assert start.series.dial.present(first) < start.series.dial.present(last)
        assert first.index == last.index == start.series.scene.at


# ------------------------------------------------------------------ what it costs
def test_an_oracle_that_zooms_into_tumour_reads_more_the_more_there_is() -> None:
    found = hrviz.density("razn", (0.5, 0.0, 0.02, 0.15), image=TISSUE, **ORACLE)
    assert [p.value for p in found.points] == [0.0, 0.02, 0.15, 0.5]
    shares = found.curve.series[PIXELS]
    assert (np.diff(shares) >= 0).all() and shares[-1] > 2 * shares[0]
    assert found.verdict == "grows" and found.progress == 1
    # what each run asked of its image by its own account
    for point in found.points:
        run = hrviz.apply("razn", found.series.address(point.value), **found.params)
        assert point.pixels == run.cost["pixels_requested"].value
    assert set(found.curve.series) == {PIXELS}  # no network ran


def test_gigadet_reads_a_thumbnail_and_at_most_k_patches() -> None:
    found = hrviz.density("gigadet", (0, 5, 150), image=CROWD, patches=3, **ORACLE)
    thumbnail = found.points[0].pixels  # nobody is there: nothing else is looked at
    assert [p.objects for p in found.points][:2] == [0, 5]
    # each of the 3 patches is read from the next finer level, with less than twice the detail a side
    assert all(thumbnail < p.pixels <= thumbnail + 3 * (2 * 320) ** 2 for p in found.points[1:])
    assert found.verdict == "bounded" and found.bound == "patches=3" and "patches=3" in found.note


def test_attention_sampling_calls_its_networks_at_most_n_times() -> None:
    found = hrviz.density("ats", (1, 20, 40), samples=6, seeds=2)
    assert len(found.points) == 6 and len({p.seed for p in found.points}) == 2
    assert all(1 < p.calls <= 6 + 1 for p in found.points)
    share = found.curve.series[CALLS]
    assert (share <= 7 / found.points[0].every_call).all()
    assert found.curve.x.tolist() == [1, 20, 40] and set(found.curve.series) == {PIXELS, CALLS, SEEN}  # fmt: skip


# ------------------------------------------------------------------ what is told
def made(rows: list[tuple[float, float, float, float]], method: str = "razn", **params: Any) -> Density:  # fmt: skip
    """Objects, pixels, calls and network pixels of each run, of 100, 10 and 100 in all."""
    start = costs.prepare(method, params=params)
    points = tuple(Point(k, 0, n, p, c, s, 100, 10) for k, (n, p, c, s) in enumerate(rows))
    return replace(start, points=points)


def test_sentences() -> None:
    grows = made([(0.0, 10, 2, 10), (0.5, 31, 2, 50)])
    assert grows.verdict == "grows"
    assert grows.growth == pytest.approx({PIXELS: 3.1, CALLS: 1.0, SEEN: 5.0})
    assert grows.note == ("The cost grows from 0% to 50% tumour: 3.1 times the pixels read, "
                          "5.0 times the pixels through networks.")  # fmt: skip
    level = made([(0.0, 100, 2, 0), (0.5, 98, 2, 0)])
    assert level.verdict == "bounded" and level.note == "The cost stays within 2% from 0% to 50% tumour."  # fmt: skip
    same = made([(1, 7, 3, 5), (40, 7, 3, 5)], "attention-sampling", samples=6)
    assert same.note == "The cost stays the same from 1 to 40 needles: bounded by samples=6."
    falls = made([(1, 80, 3, 5), (40, 60, 3, 5)], "attention-sampling")
    assert falls.verdict == "bounded" and falls.note.startswith(
        "The cost does not grow from 1 to 40"
    )
    none = made([(0.0, 10, 0, 0), (0.5, 10, 4, 0)])
    assert none.note == "The cost grows from 0% to 50% tumour: network calls from none to 40%."
    assert made([(0.0, 80, 3, 5), (0.5, 60, 3, 5)]).verdict == "varies"


# ------------------------------------------------------------------ cancelling, refusing
def test_cancel_keeps_what_is_known() -> None:
    seen: list[Density] = []
    with pytest.raises(Cancelled):
        hrviz.density("razn", image=TISSUE, context=Context(cancelled=lambda: bool(seen)),
                      on_step=seen.append, **ORACLE)  # fmt: skip
    assert len(seen) == 1 and 0 < seen[0].progress < 1


def test_in_the_background() -> None:
    job = submit("razn", (0.0, 0.3), image=TISSUE, params=ORACLE)
    assert job.wait(60) and job.error is None and job.progress == 1 and job.density is not None
    direct = hrviz.density("razn", (0.0, 0.3), image=TISSUE, **ORACLE)
    assert job.density.points == direct.points
    assert job.steps[costs.STEP].note == direct.note
    many = submit("razn", np.linspace(0.001, 0.5, 60).tolist(), image=TISSUE, params=ORACLE)
    many.cancel()
    assert many.wait(60) and many.cancelled and many.error is None and many.progress < 1


@pytest.mark.parametrize(
    ("method", "more", "told"),
    [
        ("saliency-sampler", {}, "no tree of looks"),
        ("razn", {"image": "scene:vessels"}, "choose a scene of needle, crowd"),
        ("razn", {"values": (0.1, 3)}, "tumour=3 is out of range: choose 0 to 0.5"),
        ("razn", {"values": ()}, "no value of tumour is given"),
        ("razn", {"seeds": 0}, "seeds=0 is out of range"),
        ("razn", {"threshold": 7}, "threshold=7 is out of range"),
        ("ats", {"values": (100,)}, "do not fit"),
    ],
)
def test_refused_in_one_sentence(method: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(HrvizError, match=told) as raised:
        hrviz.density(method, **more)
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------ the command line
def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "curve.png"
    asked = ["density", "gigadet", CROWD, "--values", "40,5", "-p", "task=none", "-p", "patches=2"]
    assert main([*asked, "--out", str(out)]) == 0
    head, *rows, note, written = capsys.readouterr().out.splitlines()
    assert head.split() == ["people", "people", "in", "the", "image", "pixels", "read"]
    assert [row.split()[:2] for row in rows] == [["5", "5"], ["40", "40"]]
    assert note.startswith("The cost") and "patches=2" in note and written == f"written to {out}"
    assert PILImage.open(out).size[0] > 300
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["x"] == [5, 40] and told["params"]["patches"] == 2 and told["note"] == note


def test_table_of_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = "attention-sampling", "patch-selection"
    monkeypatch.setattr(costs, "methods", lambda: [METHODS[n] for n in names])
    assert main(["density", "--all"]) == 0
    head, *rows, told = capsys.readouterr().out.splitlines()
    assert told.startswith("Shares of looking everywhere")
    assert head.split()[:2] == ["method", "objects"]
    assert [row.split()[0] for row in rows] == list(names)
    assert all("1 to 40 needles" in row and "bounded" in row for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [["density"], ["density", "razn", "--all"], ["density", "--all", "--values", "1"],
     ["density", "razn", "--out", "curve.jpg"], ["density", "razn", "--values", "much"],
     ["density", "razn", "--out", "no/such/folder/curve.png"]],
)  # fmt: skip
def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:  # fmt: skip
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("hrviz: ") and err.count("\n") == 1

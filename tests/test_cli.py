"""The command line, called in this process: one JSON value or one line of complaint, nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hrviz import __version__
from hrviz.cli import main

SCENE = "scene:tissue?size=600x400"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status, out, err = run(capsys, *arguments, "--json")
    assert status == 0, err
    return json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


# ------------------------------------------------------------------ what works
def test_methods_as_json_have_all_that_a_program_needs(capsys: pytest.CaptureFixture[str]) -> None:
    methods = as_json(capsys, "methods")
    assert len(methods) >= 3
    for m in methods:
        assert {
            "name",
            "title",
            "family",
            "section",
            "paper",
            "aliases",
            "idea",
            "parameters",
        } <= set(m)
        for p in m["parameters"]:
            assert {
                "name",
                "kind",
                "default",
                "minimum",
                "maximum",
                "choices",
                "unit",
                "help",
            } <= set(p)
            assert p["kind"] in ("number", "integer", "flag", "choice", "boxes", "strokes", "file")
            assert (p["minimum"] is not None) == (p["kind"] in ("number", "integer"))
            assert bool(p["choices"]) == (p["kind"] == "choice")
    assert as_json(capsys, "methods", "learning-to-zoom")["name"] == "saliency-sampler"


def test_methods_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "methods")
    assert "saliency-sampler" in out
    status, out, _ = run(capsys, "methods", "cip")
    assert status == 0
    assert "overlap" in out


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    facts = as_json(capsys, "info", "scene:tissue?size=100000x80000")
    assert (facts["width"], facts["height"], facts["channels"]) == (100_000, 80_000, 3)
    assert facts["levels"][0] == {
        "width": 100_000, "height": 80_000, "downsample": 1, "tile": [512, 512], "stored": True,
    }  # fmt: skip
    assert facts["pixel_size_um"] == 0.25
    _, out, _ = run(capsys, "info", SCENE)
    assert "600 x 400 px" in out


def test_apply_as_json_and_to_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = as_json(
        capsys, "apply", "learning-to-zoom", SCENE, "-p", "task=none", "-p", "saliency=drawn",
        "-p", "boxes=100,100,50,40;300,200,60,60", "-p", "size=64", "--region", "50,50,400,300",
        "--out", str(tmp_path / "deep" / "out"),
    )  # fmt: skip
    assert {"method", "image", "params", "steps", "cost", "reads"} <= set(told)
    assert told["method"] == "saliency-sampler"
    assert told["region"] == "50,50,400,300"
    assert told["params"]["boxes"] == [[100, 100, 140, 150], [200, 300, 260, 360]]
    assert [s["name"] for s in told["steps"]][:4] == ["saliency", "grid", "magnification", "warped"]
    assert all({"name", "type", "summary"} <= set(s) for s in told["steps"])
    assert told["cost"]["flops"]["tag"] == "measured"
    files = {p.name for p in (tmp_path / "deep" / "out").iterdir()}
    assert {"run.json", "01-grid.json", "01-grid.npz", "03-warped.png"} <= files
    assert len(files) == 1 + 3 * len(told["steps"])
    assert (
        json.loads((tmp_path / "deep" / "out" / "run.json").read_text())["steps"] == told["steps"]
    )


def test_apply_for_people_keeps_progress_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "apply", "ud", SCENE, "-p", "task=none", "-p", "size=96")
    assert status == 0
    assert "pixels_read" in out
    assert "downsampled:" in err


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    told = as_json(
        capsys, "compare", SCENE, "ud", "learning-to-zoom", "-p", "task=none", "-p", "saliency=edges",
        "-p", "size=64",
    )  # fmt: skip
    assert [row["method"] for row in told["table"]] == ["uniform-downsampling", "saliency-sampler"]
    assert all(row["flops"] > 0 for row in told["table"])
    status, out, _ = run(capsys, "compare", SCENE, "ud", "cip", "-p", "task=none")
    assert status == 0
    assert len(out.splitlines()) == 3


def test_scene_writes_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    told = as_json(capsys, "scene", SCENE, "--out", str(path), "--size", "300")
    assert told == {"file": str(path), "width": 300, "height": 200}
    assert path.stat().st_size > 1000
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_info_tells_axes_channels_extent_and_notes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stack = np.zeros((3, 2, 40, 50), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TCYX"})
    facts = as_json(capsys, "info", f"{path}#t=2")
    assert facts["axes"] == {"t": 3}
    assert facts["index"] == {"t": 2}
    assert [c["name"] for c in facts["channel_info"]] == ["channel 1", "channel 2"]
    assert facts["channel_info"][0]["colour"] == [0, 255, 0]
    assert facts["extent"] is None
    assert facts["notes"] == []
    _, out, _ = run(capsys, "info", str(path))
    assert "1 of 3" in out
    assert "channel 1, channel 2" in out


def test_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    from hrviz.scenes import SCENES

    told = as_json(capsys, "scenes")
    assert [s["name"] for s in told] == list(SCENES)
    for s in told:
        assert {"title", "idea", "tasks", "address", "small", "parameters"} <= set(s)
        assert {p["name"] for p in s["parameters"]} >= {"width", "height", "seed"}
    assert as_json(capsys, "scenes", "tissue")["address"].startswith("scene:tissue?size=")
    _, out, _ = run(capsys, "scenes")
    assert [line.split()[0] for line in out.splitlines()] == list(SCENES)
    _, out, _ = run(capsys, "scenes", "tissue")
    assert "seed" in out


def test_convert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    told = as_json(
        capsys, "convert", SCENE, str(path), "--region", "10,20,300,200", "--tile", "128", "--shard",
        "256", "--threads", "1",
    )  # fmt: skip
    size = sum(p.stat().st_size for p in path.rglob("*"))
    assert told == {
        "file": str(path), "width": 300, "height": 200, "axes": {}, "levels": 3, "bytes": size,
        "notes": [],
    }  # fmt: skip
    assert run(capsys, "convert", SCENE, str(path))[0] == 2
    status, out, err = run(capsys, "convert", SCENE, str(path), "--overwrite", "--level", "0")
    assert (status, err) == (0, "")
    assert out.startswith(f"{path}: 600 x 400 px, 2 levels, ")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_scene_writes_pyramids_and_films(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    told = as_json(capsys, "scene", SCENE, "--out", str(path), "--region", "0,0,500,300")
    assert (told["width"], told["height"], told["levels"]) == (500, 300, 1)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.shape == (300, 500, 3)
    pytest.importorskip("av")
    film = tmp_path / "a.mp4"
    scene = "scene:crowd?size=200x120&frames=3&people=5"
    told = as_json(capsys, "scene", scene, "--out", str(film), "--size", "100")
    assert told == {"file": str(film), "width": 100, "height": 60, "frames": 3}
    assert as_json(capsys, "info", str(film))["axes"] == {"t": 3}


def test_data_lists_what_can_be_downloaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRVIZ_DATA", str(tmp_path))
    (tmp_path / "skin.jpg").write_bytes(b"x")
    told = as_json(capsys, "data")
    assert told["folder"] == str(tmp_path)
    assert [f["name"] for f in told["files"] if f["here"]] == ["skin.jpg"]
    _, out, _ = run(capsys, "data")
    assert "CMU-1-Small-Region.svs" in out
    assert "CC0-1.0" in out


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version")[:2] == (0, f"{__version__}\n")
    status, out, _ = run(capsys)
    assert status == 0
    assert "not for diagnosis" in out


# ------------------------------------------------------------------ bad input
@pytest.fixture
def bad(tmp_path: Path) -> dict[str, str]:
    """Paths of every kind of bad file, by what is wrong with it."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
    tifffile.imwrite(tmp_path / "whole.tif", pixels, tile=(128, 128), compression="zlib")
    data = (tmp_path / "whole.tif").read_bytes()
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    files = {
        "empty.png": b"", "cut.tif": data[: len(data) // 3], "header.tif": data[:7],
        "text.svs": b"these are words, not a slide\n" * 50, "noise.jpg": bytes(range(256)) * 20,
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    return {p.name: str(p) for p in tmp_path.iterdir()} | {"missing": str(tmp_path / "missing.svs")}


ZOOM = ("apply", "learning-to-zoom", SCENE, "-p", "task=none")
BAD = {
    "missing file": (("info", "{missing}"), "missing.svs"),
    "directory": (("info", "{folder}"), "folder"),
    "zero bytes": (("info", "{empty.png}"), "empty"),
    "truncated tiff": (("apply", "ud", "{cut.tif}", "-p", "task=none"), "cut.tif"),
    "only a header": (("info", "{header.tif}"), "header.tif"),
    "text as a slide": (("info", "{text.svs}"), "text.svs"),
    "noise": (("info", "{noise.jpg}"), "noise.jpg"),
    "no scene": (("info", "scene:tisue"), "did you mean scene:tissue"),
    "scene too large": (("info", "scene:tissue?size=900000x3"), "200000"),
    "number out of range": ((*ZOOM, "-p", "bandwidth=99"), "bandwidth=99 is out of range: choose 1 to 20"),
    "integer out of range": ((*ZOOM, "-p", "size=63"), "size=63"),
    "not a number": ((*ZOOM, "-p", "size=big"), "size='big'"),
    "nan": ((*ZOOM, "-p", "strength=nan"), "strength"),
    "unknown choice": ((*ZOOM, "-p", "padding=reflct"), "did you mean reflect"),
    "unknown parameter": ((*ZOOM, "-p", "bandwith=3"), "did you mean bandwidth"),
    "no value": ((*ZOOM, "-p", "size"), "not name=value"),
    "given twice": ((*ZOOM, "-p", "size=64", "-p", "size=96"), "given twice"),
    "unknown method": (("apply", "learning-to-zom", SCENE), "learning-to-zoom"),
    "unknown method to describe": (("methods", "salience-sampler"), "saliency-sampler"),
    "unknown method to compare": (("compare", SCENE, "ud", "cipp"), "cip"),
    "nothing to compare": (("compare", SCENE), "METHOD"),
    "nan saliency": ((*ZOOM, "-p", "saliency=file", "-p", "file={nan.npy}"), "NaN"),
    "pickled saliency": ((*ZOOM, "-p", "saliency=file", "-p", "file={pickle.npy}"), "pickled objects"),
    "no saliency file": ((*ZOOM, "-p", "saliency=file"), "no map file"),
    "saliency file missing": ((*ZOOM, "-p", "saliency=file", "-p", "file=none.npy"), "none.npy"),
    "nothing drawn": ((*ZOOM, "-p", "saliency=drawn"), "nothing is drawn"),
    "region outside": ((*ZOOM, "--region", "9000,9000,10,10"), "600 x 400 px"),
    "region without area": ((*ZOOM, "--region", "0,0,0,10"), "has no area"),
    "region of words": ((*ZOOM, "--region", "here"), "not four numbers"),
    "device": ((*ZOOM, "-p", "saliency=edges", "--device", "cuda:77"), "cuda:77"),
    "device of compare": (("compare", SCENE, "ud", "-p", "task=none", "--device", "toaster"), "toaster"),
    "out is a file": ((*ZOOM, "-p", "saliency=edges", "--out", "{file}"), "it is a file"),
    "out below a file": ((*ZOOM, "-p", "saliency=edges", "--json", "--out", "{file}/x"), "cannot write"),
    "scene to a strange file": (("scene", SCENE, "--out", "{folder}/a.xyz"), ".xyz"),
    "scene to nowhere": (("scene", SCENE, "--out", "{folder}/b/c.png"), "no folder"),
    "scene size": (("scene", SCENE, "--out", "{folder}/a.png", "--size", "0"), "1 to 8192"),
    "scene of a pyramid with a size": (("scene", SCENE, "--out", "{folder}/a.tif", "--size", "9"), "full resolution"),
    "film of a picture": (("scene", SCENE, "--out", "{folder}/a.mp4"), "no time axis"),
    "region of a film": (("scene", SCENE, "--out", "{folder}/a.mp4", "--region", "0,0,9,9"), "whole picture"),
    "no scene to describe": (("scenes", "tisue"), "tisue"),
    "convert to a strange file": (("convert", SCENE, "{folder}/a.gif"), ".gif"),
    "convert to nowhere": (("convert", SCENE, "{folder}/b/c.zarr"), "no folder"),
    "convert a missing file": (("convert", "{missing}", "{folder}/c.zarr"), "missing.svs"),
    "convert a damaged file": (("convert", "{cut.tif}", "{folder}/c.zarr"), "cut.tif"),
    "convert over a file": (("convert", SCENE, "{whole.tif}"), "--overwrite"),
    "convert with a strange compression": (("convert", SCENE, "{folder}/a.zarr", "--compression", "lzw"), "zstd"),
    "unknown download": (("data", "fetch", "CMU-1.sv"), "did you mean CMU-1.svs"),
    "nothing to download": (("data", "fetch"), "at least one"),
    "not yet downloaded": (("info", "data:CMU-1.svs"), "hrviz data fetch CMU-1.svs"),
    "no scheduler": (("apply", "cip", SCENE, "--scheduler", "nonsense://x"), "nonsense://x"),
    "unknown network": (("train", "nothing", "--steps", "1"), "nothing"),
    "no steps": (("train", "tissue-segmenter", "--steps", "0"), "at least 1"),
    "unknown command": (("aply",), "invalid choice"),
    "unknown option": (("info", SCENE, "--jason"), "--jason"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(
    case: str, bad: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments, words = BAD[case]
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HRVIZ_DATA", str(tmp_path))
    filled = [re.sub(r"\{(.*?)\}", lambda m: bad[m[1]], a) for a in arguments]
    status, out, err = run(capsys, *filled)
    assert status == 2, err
    assert out == ""
    lines = [
        line
        for line in err.splitlines()
        if not re.match(r"(saliency|grid|magnification|warped): ", line)
    ]
    assert len(lines) == 1, err
    if case != "out below a file":
        assert err.count("\n") == 1
    assert lines[0].startswith("hrviz: ")
    assert words in err
    assert "Traceback" not in err
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before, "nothing half-written"

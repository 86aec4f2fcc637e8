"""`hrviz curve`: numbers of the fact sheet on the command line, and one sentence for bad input."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file
from torch import nn

from hrviz.cli import main
from hrviz.cli_curve import size
from hrviz.cost import study
from tests.cost import awkward


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRVIZ_COSTS", str(tmp_path / "costs"))


def test_json_has_the_published_parameters_and_operations(capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert main(["curve", "vit-b16", "--resolutions", "224,384", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [p["parameters"] for p in told["points"]] == [85_648_128 + 3 * r * r for r in (224, 384)]
    # multiply-accumulates of the whole network less its head of 768 x 1000, times 2
    wanted = [2 * (m * 1e9 - 768_000) for m in (17.564, 55.484)]
    assert [p["flops"] for p in told["points"]] == pytest.approx(wanted, rel=1e-3)
    assert told["tag"] == "predicted" and told["excluded"] and told["largest"] is None


def test_csv_is_read_by_a_library_and_the_largest_image_is_told(capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert main(["curve", "efficientnet-b0", "--resolutions", "64,128", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["resolution"] for row in rows] == ["64", "128"]
    assert int(rows[1]["peak"]) > int(rows[0]["peak"])
    assert main(["curve", "efficientnet-b0", "--resolutions", "64", "--budget", "200MiB"]) == 0
    assert "200MiB holds up to" in capsys.readouterr().out


def test_sizes() -> None:
    assert size("1.5GB") == 1_500_000_000
    assert size("11gib") == size("2080-ti") == 11 * 2**30


def test_several_subjects_in_one_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "memory.png"
    arguments = ["ud", "efficientnet-b0", "--resolutions", "512,1024", "--budget", "200MiB"]
    assert main(["curve", *arguments, "--quantity", "operations", "--out", str(picture)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "operations (GFLOP), predicted"
    assert told[1].split() == ["side", "uniform-downsampling", "efficientnet-b0"]
    for line, side in zip(told[2:4], (512, 1024), strict=True):
        cells = line.split()
        assert int(cells[0]) == side
        wanted = [
            study.at(name, side).flops / 1e9 for name in ("uniform-downsampling", "efficientnet-b0")
        ]
        assert [float(c.replace(",", "")) for c in cells[1:]] == pytest.approx(wanted, abs=0.006)
    assert sum("200MiB holds up to" in line for line in told) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_of_several_subjects_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", "ud", "efficientnet-b0", "--resolutions", "64,128", "--train", "--optimiser", "sgd",
                 "--batch", "2", "-p", "size=64", "--network", "efficientnet-b0", "--json"]) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert (told["training"], told["optimiser"], told["batch"]) == (True, "sgd", 2)
    method, network = told["subjects"]
    assert (method["name"], method["group"]) == ("uniform-downsampling", "baselines")
    assert (network["name"], network["group"]) == ("efficientnet-b0", "network")
    setting = study.Setting(
        batch=2, training=True, optimiser="sgd", network="efficientnet-b0",
        params={"uniform-downsampling": {"size": 64}},
    )  # fmt: skip
    for one in told["subjects"]:
        for p in one["points"]:
            point = study.at(one["name"], p["resolution"], setting)
            assert (p["needed"], p["flops"]) == (point.needed, point.flops)
    # always 64 px given to the network
    assert [p["flops"] for p in method["points"]] == [network["points"][0]["flops"]] * 2
    assert "points" not in told  # of one network alone


def test_a_parameter_is_of_the_method_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def flops(*options: str) -> int:
        assert main(["curve", "ud", "--resolutions", "1024", "--json", *options]) == 0
        return int(json.loads(capsys.readouterr().out)["subjects"][0]["points"][0]["flops"])

    assert flops("-p", "ud.size=128") == flops("-p", "size=128") < flops()
    assert flops("--reduction", "8") == flops("-p", "size=128")


def test_time_is_measured_and_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", "efficientnet-b0", "--resolutions", "32,64", "--time", "--device", "cpu", "--json"]) == 0  # fmt: skip
    (one,) = json.loads(capsys.readouterr().out)["subjects"]
    assert [(r["side"], r["tag"], r["reason"]) for r in one["time"]] == [(32, "measured", ""), (64, "measured", "")]  # fmt: skip
    assert all(0 < r["low"] <= r["median"] <= r["high"] for r in one["time"])
    assert main(["curve", "efficientnet-b0", "--resolutions", "32", "--quantity", "time"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("time (ms), measured") and "without trained weights" in told
    assert main(["curve", "efficientnet-b0", "--resolutions", "32", "--time", "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["seconds_low"]) <= float(row["seconds"]) <= float(row["seconds_high"])


def test_a_gpu_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["curve", "vit-b16", "--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("hrviz: there is no CUDA device here to measure on")


def test_ones_own_networks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net).save(str(tmp_path / "mine.pt"))
    save_file(net.state_dict(), tmp_path / "right.safetensors")
    save_file({"0.weight": torch.zeros(9, 3, 3, 3)}, tmp_path / "wrong.safetensors")
    file = str(tmp_path / "mine.pt")
    options = ["--resolutions", "64,100", "--json"]
    assert main(["curve", file, *options, "--weights", str(tmp_path / "right.safetensors")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == "mine" and [p["flops"] for p in told["points"]] == [2 * 216 * s**2 for s in (64, 100)]  # fmt: skip
    assert main(["curve", file, "vit-b16", "--resolutions", "64", "--budget", "1GiB"]) == 0
    assert "1GiB holds up to" in capsys.readouterr().out
    assert main(["curve", file, *options, "--weights", str(tmp_path / "wrong.safetensors")]) == 2
    assert "0.weight is 9 x 3 x 3 x 3, where 8 x 3 x 3 x 3 is needed" in capsys.readouterr().err
    assert main(["curve", "efficientnet-b0", "--weights", str(tmp_path / "right.safetensors")]) == 2
    assert "does not fit efficientnet-b0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Branching", "Custom", "Old", "Numpy", "Picking"])
def test_networks_that_cannot_be_metered_are_one_sentence(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    said = {"Branching": "decides by the values", "Picking": "decides by the values", "Numpy": "out of torch"}  # fmt: skip
    monkeypatch.setattr(awkward, "made", lambda: getattr(awkward, name)(3, 3, 1), raising=False)
    assert main(["curve", f"{awkward.__name__}:made", "--resolutions", "32"]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("hrviz:")]
    assert len(lines) == 1 and said.get(name, "register one with torch.library") in lines[0]
    assert told.out == "" and "Traceback" not in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet"], "or a network: efficientnet-b0"),
        (["vit-b16", "resnet"], "or a network: efficientnet-b0"),
        (["vit-b16", "--resolutions", "225"], "choose 224"),
        (
            ["ud", "efficientnet-b7", "--resolutions", "512,600"],
            "a multiple of 32, the stride of efficientnet-b7: choose 608",
        ),
        (["vit-b16", "--resolutions", "0,224"], "out of range"),
        (["vit-b16", "--resolutions", "-224"], "out of range"),
        (["vit-b16", "--resolutions", "a,b"], "not whole numbers"),
        (["vit-b16", "--budget", "0GB"], "holds nothing"),
        (["vit-b16", "--budget=-5GB"], "holds nothing"),
        (["vit-b16", "--budget", "a6000", "--budget", "0 MiB"], "holds nothing"),
        (["vit-b16", "--budget", "much"], "neither a device nor a size"),
        (["vit-b16", "--budget", "..GB"], "neither a device nor a size"),
        (["vit-b16", "--json", "--csv"], "not both"),
        (["vit-b16", "--dtype", "int8"], "dtype"),
        (["vit-b16", "--batch", "0"], "out of range"),
        (["vit-b16", "--optimiser", "lion"], "optimiser"),
        (["vit-b16", "--out", "a.jpg"], "ends with .png"),
        (["vit-b16", "--out", "nowhere/a.png"], "there is no folder nowhere"),
        (["vit-b16", "--quantity", "beauty"], "'beauty' is not a cost: choose memory"),
        (["ud", "--network", "resnet"], "is not a named network"),
        (["ud", "--reduction", "100"], "reduction=100 is out of range"),
        (["ud", "-p", "size=9999999"], "size=9999999"),
        (["ud", "-p", "colour=red"], "colour"),
        (["vit-b16", "-p", "size=64"], "no method that is asked for has a parameter 'size'"),
        (["ud", "-p", "cutting-into-patches.overlap=3"], "not asked for"),
        (["ud", "--device", "tpu"], "device 'tpu' is not known: choose cpu or cuda"),
        (["nowhere.pt"], "there is no file nowhere.pt"),
        (["torch.nn:Nothing"], "torch.nn has no Nothing"),
        (["torch.nn:ReLU", "--time"], "leave out torch.nn:ReLU"),
        (["torch.nn:Linear"], "cannot be built"),
        (["torch.nn:ReLU", "--training"], "can be learned"),
        (["ud", "--weights", "nowhere.safetensors"], "--weights is of one network"),
        (["efficientnet-b0", "--weights", "nowhere.safetensors"], "there is no file"),
        (
            ["ud", "--network", "efficientnet-b0", "--weights", "nowhere.safetensors"],
            "there is no file",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curve", *arguments]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("hrviz:")]
    assert len(lines) == 1 and said in lines[0] and told.out == ""

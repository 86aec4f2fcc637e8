"""`hrviz curve`: numbers of the fact sheet on the command line, and one sentence for bad input."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from hrviz.cli import main
from hrviz.cli_curve import size


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet"], "choose efficientnet-b0"),
        (["vit-b16", "--resolutions", "225"], "choose 224"),
        (["vit-b16", "--resolutions", "a,b"], "not whole numbers"),
        (["vit-b16", "--budget", "0GB"], "holds nothing"),
        (["vit-b16", "--budget", "much"], "neither a device nor a size"),
        (["vit-b16", "--budget", "..GB"], "neither a device nor a size"),
        (["vit-b16", "--json", "--csv"], "not both"),
        (["vit-b16", "--dtype", "int8"], "dtype"),
        (["vit-b16", "--batch", "0"], "out of range"),
        (["vit-b16", "--optimiser", "lion"], "optimiser"),
        (["vit-b16", "--out", "a.jpg"], "ends with .png"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curve", *arguments]) != 0
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("hrviz:")]
    assert len(lines) == 1 and said in lines[0] and told.out == ""

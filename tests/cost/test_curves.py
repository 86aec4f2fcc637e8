"""Cost against resolution: exponents, budgets, the cache, and bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from torch import nn

from hrviz.cost import kept
from hrviz.cost.curves import RESOLUTIONS, Growth, Scaling, scaling
from hrviz.cost.devices import DEVICES
from hrviz.cost.memory import resident_bytes
from hrviz.cost.meter import meter
from hrviz.cost.models import ViT
from hrviz.errors import HrvizError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HRVIZ_COSTS", str(tmp_path))
    return tmp_path


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1))


def tokens(fused: bool) -> Scaling:
    return scaling(lambda r: ViT(r, width=96, depth=2, heads=2, fused=fused), stride=16, name="small ViT")  # fmt: skip


# ------------------------------------------------------------------ curves
def test_each_point_is_the_meters() -> None:
    seen: list[Growth] = []
    found = scaling(conv(), training=True, optimiser="adam", batch=2).curve((256, 64, 128, 64), seen.append)  # fmt: skip
    assert found.resolutions == (64, 128, 256)
    for side, measure in zip(found.resolutions, found.measures, strict=True):
        assert measure == meter(conv, (2, 3, side, side), training=True, optimiser="adam")
    assert [len(g.resolutions) for g in seen] == [1, 2, 3] and seen[-1] == found


def test_exponents_are_those_of_the_theory() -> None:
    grown = scaling(conv()).curve()
    assert grown.resolutions == RESOLUTIONS and len(RESOLUTIONS) == 8
    assert grown.exponent("flops") == pytest.approx(2, abs=1e-9)
    assert grown.exponent() == pytest.approx(2, abs=1e-3)
    assert grown.exponent("parameters") == pytest.approx(0, abs=1e-9)
    sides = (2048, 4096, 8192)
    explicit, fused = tokens(False).curve(sides), tokens(True).curve(sides)
    assert explicit.exponent() == pytest.approx(4, abs=0.05)
    assert fused.exponent() == pytest.approx(2, abs=0.05)
    assert fused.exponent("flops") == pytest.approx(explicit.exponent("flops"))
    assert 3.8 < fused.exponent("flops") < 4
    assert math.isnan(scaling(conv()).curve((64,)).exponent())


def test_a_curve_is_a_result_that_front_ends_draw() -> None:
    found = scaling(conv(), name="two layers").curve((64, 128))
    drawn = found.curve("flops")
    assert drawn.x.tolist() == [64, 128] and drawn.log and drawn.tag == "predicted"
    assert drawn.series["two layers"].tolist() == [m.flops for m in found.measures]
    with pytest.raises(
        HrvizError, match="choose peak, allocated, needed, reserved, flops, parameters"
    ):
        found.values("seconds")


def test_b7_over_eight_resolutions() -> None:
    before = resident_bytes()
    found = scaling("efficientnet-b7").curve()
    assert found.exponent("flops") == pytest.approx(2, abs=1e-3)
    assert found.measures[-1].peak / 2**20 == pytest.approx(244 + 540 / 2**20 * 8192**2, rel=0.09)
    assert before is None or resident_bytes() - before < 300e6


# ------------------------------------------------------------------ budgets
@pytest.mark.parametrize("of", ["peak", "allocated", "needed", "reserved"])
@pytest.mark.parametrize("network", ["conv", "explicit", "fused"])
@pytest.mark.parametrize("budget", [5_000_000, 48 * 2**30])
def test_the_largest_that_fits_is_the_largest(network: str, of: str, budget: int) -> None:
    asked = scaling(conv(), stride=4) if network == "conv" else tokens(network == "fused")
    found = asked.largest(budget, of)
    assert found.resolution % asked.stride == 0
    assert getattr(asked.at(found.resolution), of) == found.bytes <= budget
    assert getattr(asked.at(found.resolution + asked.stride), of) == found.beyond > budget
    assert len(asked._known) < 25  # looks where it must be, not everywhere


@pytest.mark.parametrize(
    ("network", "training", "side"),
    [
        ("efficientnet-b7", True, 2176),
        ("vit-b16", False, 2416),
        ("vit-b16", True, 1456),
        ("vit-b16-fused", True, 4624),
    ],
)
def test_sizes_worked_out_elsewhere(network: str, training: bool, side: int) -> None:
    """Under 48 GiB of tensors."""
    asked, budget = scaling(network, training=training), DEVICES["a6000"].bytes
    assert asked.at(side).peak <= budget < asked.at(side + asked.stride).peak


def test_b7_in_inference_under_48_gib() -> None:
    """A tenth more memory, by copies for padding, gave 9728 elsewhere."""
    asked, budget = scaling("efficientnet-b7"), DEVICES["a6000"].bytes
    assert asked.at(9728).peak <= budget < asked.at(10_304).peak


def test_a_budget_by_hand() -> None:
    net = nn.Conv2d(3, 1, 1, bias=False)  # 12 bytes of weights, 16 a pixel
    assert scaling(net).largest(12 + 16 * 1000**2, "peak").resolution == 1000
    assert scaling(net).largest(12 + 16 * 1000**2 - 1, "peak").resolution == 999


def test_more_memory_never_takes_less() -> None:
    asked = tokens(False)
    sides = [asked.largest(d.bytes).resolution for d in sorted(DEVICES.values(), key=lambda d: d.bytes)]  # fmt: skip
    assert sides == sorted(sides) and sides[0] > 0


def test_what_does_not_fit_at_all_and_what_always_does() -> None:
    none = scaling("vit-b16-fused").largest(10**8)
    assert none.resolution == 0 and none.bytes > 10**8

    class Corner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, :4, :4] * 2

    always = scaling(Corner(), stride=1024).largest(2**60)
    assert always.resolution == 2**20 and always.beyond is None


# ------------------------------------------------------------------ the cache
def test_what_was_metered_is_read_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scaling("vit-b16").curve((224, 512))
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(Scaling, "_meter", lambda self, side: pytest.fail("metered again"))
    assert scaling("vit-b16").curve((224, 512)) == first
    monkeypatch.undo()


def test_the_cache_knows_what_differs(folder: Path) -> None:
    def files(network: object, **settings: object) -> int:
        before = len(list(folder.iterdir()))
        scaling(network, **settings).curve((64,))  # type: ignore[arg-type]
        return len(list(folder.iterdir())) - before

    assert files("vit-b16") == 1
    assert files("vit-b16") == 0
    for settings in ({"training": True}, {"batch": 2}, {"dtype": "bfloat16"}, {"training": True, "optimiser": "sgd"}):  # fmt: skip
        assert files("vit-b16", **settings) == 1
    assert files("vit-b16-fused") == 1
    assert files(conv()) == 1
    assert files(conv()) == 0  # other weights, same content
    assert files(nn.Sequential(nn.Conv2d(3, 8, 3, padding=2))) == 1
    assert files(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))) == 1  # same weights, other settings
    hooked = conv()
    hooked.register_forward_hook(lambda *_: None)
    assert files(hooked) == 0  # unknown: nothing is kept
    assert files(lambda r: conv()) == 0
    assert files(lambda r: conv(), content="two layers") == 1


def test_a_damaged_file_and_a_folder_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scaling(conv()).at(64)
    (file,) = folder.iterdir()
    for damage in ("", "{", "[]", json.dumps({"shape": [1]})):
        file.write_text(damage)
        assert scaling(conv()).at(64) == first
    assert json.loads(file.read_text())["peak"] == first.peak
    monkeypatch.setenv("HRVIZ_COSTS", str(file / "below a file"))
    assert scaling(conv()).at(64) == first


def test_the_folder_is_the_users_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HRVIZ_COSTS")
    assert kept.folder().parts[-1] == "costs" and "hrviz" in kept.folder().parts[-2]


# ------------------------------------------------------------------ bad input
@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_of_nothing(budget: int) -> None:
    with pytest.raises(HrvizError, match="holds nothing: choose one above 0"):
        scaling("vit-b16").largest(budget)


@pytest.mark.parametrize(("side", "near"), [(100, 96), (1, 16), (0, 16), (-16, 16)])
def test_a_resolution_that_the_stride_does_not_divide(side: int, near: int) -> None:
    for ask in (scaling("vit-b16").at, lambda r: scaling("vit-b16").curve((224, r))):
        with pytest.raises(HrvizError, match=f"multiple of 16, the stride of vit-b16: choose {near}$"):  # fmt: skip
            ask(side)


def test_what_cannot_be_asked() -> None:
    with pytest.raises(HrvizError, match="not a named network: choose efficientnet-b0"):
        scaling("resnet")
    with pytest.raises(HrvizError, match="not a network"):
        scaling(5)  # type: ignore[arg-type]
    for bad in ({"stride": 0}, {"batch": 0}, {"channels": -1}):
        with pytest.raises(HrvizError, match="out of range: choose 1 or more"):
            scaling(conv(), **bad)
    with pytest.raises(HrvizError, match="no resolution is given"):
        scaling(conv()).curve(())
    with pytest.raises(HrvizError, match="is not memory: choose peak"):
        scaling(conv()).largest(10**9, "flops")
    with pytest.raises(HrvizError, match="does not run on an input"):
        scaling(nn.Linear(7, 7)).largest(10**9)
    with pytest.raises(HrvizError, match="dtype='int4' is not known"):
        scaling(conv(), dtype="int4").at(64)


def test_a_network_that_refuses_single_pixels_is_metered_from_where_it_works() -> None:
    asked = scaling("efficientnet-b0", training=True)
    with pytest.raises(HrvizError, match="more than 1 value per channel"):
        asked.at(32)
    assert asked.largest(2 * 2**30, "peak").resolution > 512

"""The survey's Figure 2 against closed forms: every point's parameters and operations, to the last one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from hrviz.cost import study
from hrviz.errors import Cancelled, HrvizError
from hrviz.results import Curve
from hrviz.survey.figure_two import CONVOLUTIONS, SIDES, TOKENS, figure_two, time


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRVIZ_COSTS", str(tmp_path / "costs"))


def b7(side: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates of B7 without its classifier, layer by layer from the paper."""
    stages = ((1, 3, 1, 32, 4), (6, 3, 2, 48, 7), (6, 5, 2, 80, 7), (6, 3, 2, 160, 10),
              (6, 5, 1, 224, 10), (6, 5, 2, 384, 13), (6, 3, 1, 640, 4))  # fmt: skip
    r, i = side // 2, 64
    parameters = 3 * 9 * 64 + 2 * 64
    macs = 3 * 9 * 64 * r * r
    for expansion, kernel, stride, o, repeats in stages:
        for k in range(repeats):
            wide, inner = expansion * i, max(1, i // 4)
            if expansion > 1:
                parameters += i * wide + 2 * wide
                macs += i * wide * r * r
            r //= stride if k == 0 else 1
            parameters += kernel**2 * wide + 2 * wide + 2 * wide * inner + inner + wide
            macs += kernel**2 * wide * r * r + 2 * wide * inner
            parameters += wide * o + 2 * o
            macs += wide * o * r * r
            i = o
    return parameters + 640 * 2560 + 2 * 2560, macs + 640 * 2560 * r * r


GMAC = {224: 5.167, 1024: 107.749, 2048: 430.962, 4096: 1723.811}


def test_every_point_is_the_closed_form() -> None:
    told: list[dict[str, Curve]] = []
    found = figure_two(on_point=told.append)
    assert set(found) == {"operations", "memory", "parameters"}
    assert all(c.x.tolist() == list(SIDES) and c.tag == "predicted" for c in found.values())
    flops = found["operations"].series[CONVOLUTIONS]
    for side, value in zip(SIDES, flops, strict=True):
        parameters, macs = b7(side)
        assert value == 2 * macs and parameters == 63_786_960
        assert study.at(CONVOLUTIONS, side).parameters == parameters
        assert side not in GMAC or round(value / 2e9, 3) == GMAC[side]
    assert set(GMAC) <= set(SIDES)
    # 224 px: 3 x 224 x 224 of the position table beside what every size shares
    wanted = [85_648_128 + 3 * r * r for r in SIDES]
    assert found["parameters"].series[TOKENS].tolist() == wanted
    # what was told grows by a side a time, and what was told before stays as it was
    assert [int(np.isfinite(t["operations"].series[CONVOLUTIONS]).sum()) for t in told] == [*range(1, 8)]  # fmt: skip


def test_memory_grows_with_the_pixels_and_the_surveys_card_is_marked() -> None:
    found = figure_two((1024, 2048, 4096))["memory"]
    tensors, needed = found.series.values()
    assert (needed >= tensors).all()
    assert tensors[2] / 2**20 == pytest.approx(8887.5, rel=0.09)  # a tenth less without padding
    grown = (tensors[2] - tensors[1]) / (tensors[1] - tensors[0])
    assert grown == pytest.approx(4, rel=0.01)
    assert found.levels == {"RTX A6000 48 GB": 48 * 2**30}


def test_time_is_measured() -> None:
    told: list[Curve] = []
    found = time((64, 32), told.append)
    assert found.tag == "measured" and found.x.tolist() == [32, 64] and len(told) == 2
    ((line, y),) = found.series.items()
    assert line.startswith(f"{CONVOLUTIONS} on ") and (y > 0).all()
    assert (found.bands[line][:, 0] <= y).all() and (y <= found.bands[line][:, 1]).all()
    assert math.isnan(told[0].series[line][1])


def test_bad_sides_and_cancelling() -> None:
    with pytest.raises(HrvizError, match="600 px is not a multiple of 32: choose 608"):
        figure_two((224, 600))
    with pytest.raises(HrvizError, match="no resolution"):
        time(())

    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        figure_two((224,), check=stop)
    with pytest.raises(Cancelled):
        time((32,), check=stop)

"""Curves of cost: axes in units, levels with rings where they are met, lines without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from hrviz.cost.curves import LIMIT, Fit
from hrviz.results import Curve
from hrviz.views import colour, costs, mpl, plotly, ticks

GIB = 2.0**30
X = np.array([512.0, 1024, 2048, 4096])


def axes(curve: Curve, size: tuple[float, float] = (6, 4)) -> Figure:
    return mpl.draw(curve, Figure(figsize=size, layout="constrained").add_subplot())


def memory(y: np.ndarray, **more: object) -> Curve:
    return Curve(X, {"vit-b16": y}, "side of the image (px)", "memory needed (B)", log=True,
                 tag="predicted", **more)  # fmt: skip


def test_log_axes_have_units():
    ax = axes(memory(GIB * X**2 / 1024**2))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["512", "1k", "2k", "4k"]
    assert {t.get_text() for t in ax.get_yticklabels()} <= {
        "256 MiB", "512 MiB", "1 GiB", "2 GiB", "4 GiB", "8 GiB", "16 GiB"
    }  # fmt: skip
    assert ax.get_ylabel() == "memory needed" and ax.get_xlabel() == "side of the image (px)"


def test_levels_are_named_and_rings_lie_where_they_are_met():
    ax = axes(memory(GIB * X**2 / 1024**2, levels={"a card of 4 GiB": 4 * GIB}))
    assert "a card of 4 GiB" in [t.get_text() for t in ax.texts]
    rings = [line for line in ax.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]  # fmt: skip
    assert len(rings) == 1
    assert rings[0].get_xdata()[0] == pytest.approx(2048)
    assert rings[0].get_ydata()[0] == 4 * GIB
    assert "limit reached" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_far_beyond_a_level_is_left_out():
    ax = axes(memory(GIB * X**4 / 512**4, levels={"4 GiB": 4 * GIB, "small": GIB / 64}))
    assert ax.get_ylim()[1] <= 256 * 4 * GIB * 1.1 or ax.get_ylim()[1] < GIB * 8**4 * 2


def test_a_point_that_lacks_leaves_no_gap():
    ax = axes(memory(np.array([GIB, np.nan, 4 * GIB, 16 * GIB])))
    assert list(ax.lines[0].get_xdata()) == [512, 2048, 4096]


def test_lines_are_called_by_their_titles():
    y = np.ones(4)
    curve = Curve(X, {"vit-b16-fused": y, "saliency-sampler": y, "vit-b16: tensors": y, "mine": y})
    names = [t.get_text() for t in axes(curve).get_legend().get_texts()]
    assert names == ["ViT-B/16, fused attention", ticks.title("saliency-sampler"),
                     "ViT-B/16, attention as published: tensors", "mine"]  # fmt: skip
    assert names[1] != "saliency-sampler"


@pytest.mark.parametrize("look", colour.THEMES.values())
def test_networks_are_told_apart(look: colour.Theme):
    names = [*(f"efficientnet-b{k}" for k in range(8)), "vit-b16", "vit-b16-fused"]
    styles = [ticks.line_style(n, k, look) for k, n in enumerate(names)]
    assert len({(s.colour, s.dash) for s in styles}) == len(names)


@pytest.mark.parametrize(
    ("label", "low", "high", "log"),
    [
        ("memory (B)", 3e5, 8e15, True), ("memory (B)", 3e8, 5e8, True), ("operations (FLOP)", 1e9, 1e16, True),
        ("parameters", 8.5e7, 1.4e8, True), ("time (s)", 0.1, 80, True), ("pixels read (px)", 1e4, 1e10, True),
        ("side (px)", 300, 400, True), ("side (px)", 1, 2**20, True), ("memory (B)", 0, 6e9, False),
        ("operations (FLOP)", 0, 7e13, False),
    ],
)  # fmt: skip
def test_two_to_seven_round_numbers_within_the_axis(label, low, high, log):
    found = ticks.axis(label, low, high, log)
    assert 2 <= len(found.at) <= ticks.MOST + 1
    assert low * 0.999 <= min(found.at) and max(found.at) <= high * 1.001
    assert len(set(found.texts)) == len(found.texts)


def test_other_axes_are_left_alone():
    assert ticks.axis("share of everywhere", 0, 1, False) is None
    assert ticks.axis("memory (B)", 0, 5, True) is None
    assert ticks.axis("memory (B)", 5, float("nan"), True) is None


@pytest.mark.parametrize(
    ("fit", "text"),
    [
        (Fit(0, 5 * 2**30, 5 * 2**30, 4 * 2**30), "does not fit in 4 GiB at any size: it takes 5 GiB at least"),
        (Fit(LIMIT, 10, None, 2**30), "fits at any size in 1 GiB"),
        (Fit(LIMIT - LIMIT % 48, 10, None, 2**30), "fits at any size in 1 GiB"),
        (Fit(4096, 10, None, 2**30), "fits to the 4\u2009096 px that it takes at most in 1 GiB"),
    ],
)  # fmt: skip
def test_what_fits_in_words(fit: Fit, text: str):
    assert costs.fits(fit) == text


def test_a_subject_that_takes_no_larger_image(monkeypatch: pytest.MonkeyPatch):
    """Refusing a size ends the search; it is no error."""
    from types import SimpleNamespace

    from hrviz.cost import study
    from hrviz.errors import HrvizError

    def at(name: str, side: int, setting: study.Setting) -> SimpleNamespace:
        if side > 10_000:
            raise HrvizError("too many patches")
        return SimpleNamespace(needed=100)

    monkeypatch.setattr(study, "at", at)
    step = study.step_of("razn", study.Setting())
    found = study.largest("razn", 1000)
    assert found.resolution == 10_000 // step * step and found.beyond is None
    monkeypatch.setattr(study, "at", lambda *_: at("razn", 20_000, study.Setting()))
    with pytest.raises(HrvizError, match="too many patches"):
        study.largest("razn", 1000)


@pytest.mark.parametrize("log", [True, False])
def test_names_of_levels_and_marks_stand_at_their_lines_in_plotly_too(log):
    """Plotly reads a place on a log axis as a power of ten."""
    curve = Curve(np.array([1.0, 10.0, 100.0]), {"a": np.array([1.0, 10.0, 100.0])}, log=log,
                  levels={"level": 50.0}, marks={"mark": 20.0})  # fmt: skip
    told = {n.text: n for n in plotly.figure(curve).layout.annotations}
    assert told["level"].y == pytest.approx(np.log10(50) if log else 50)
    assert told["mark"].x == pytest.approx(np.log10(20) if log else 20)


@pytest.mark.parametrize("rising", [True, False])
def test_names_of_levels_stand_at_the_end_that_curves_are_farther_from(rising):
    y = np.array([1.0, 10.0, 90.0])
    found = Curve(np.array([1.0, 10.0, 100.0]), {"a": y if rising else y[::-1]}, log=True,
                    levels={"level": 100.0})  # fmt: skip
    (name,) = [a for a in plotly.figure(found).layout.annotations if a.text == "level"]
    assert (name.x, name.xanchor) == ((0, "left") if rising else (1, "right"))

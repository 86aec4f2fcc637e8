"""The Memory page without a browser: what it is asked, what it says, its charts."""

import math
from pathlib import Path

import numpy as np
import pytest

from hrviz.cost import study
from hrviz.cost.curves import LIMIT, Fit
from hrviz.cost.devices import DEVICES, GIB
from hrviz.cost.latency import Latency
from hrviz.cost.study import Setting
from hrviz.results import Curve
from hrviz.viewer import memory, memory_charts, memory_jobs, memory_panels, memory_state, permalink
from hrviz.viewer.memory_state import SIDES, Asked, parse
from hrviz.views import colour, plotly

APP = Path(__file__).parents[2] / "app"
NAMES = ("efficientnet-b0", "uniform-downsampling")
BUDGET = DEVICES["jetson-nano"].bytes
DARK = colour.THEMES["dark"]


@pytest.fixture(scope="module")
def grown():
    return study.grow(NAMES, SIDES[:4], Setting(network="efficientnet-b0"))


def _page(monkeypatch, **query):
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setattr("hrviz.viewer.memory_page.SIDES", (512, 1024, 4096))  # soon metered
    monkeypatch.setenv("HRVIZ_IMAGE", "scene:road?size=320x240")
    memory._loading().join()
    app = testing.AppTest.from_file(str(APP / "Home.py"), default_timeout=120)
    asked = {"names": "efficientnet-b0,cutting-into-patches", "network": "efficientnet-b0", **query}
    app.query_params.update({f"m.{k}": v for k, v in asked.items()})
    app.run()
    return app.switch_page("pages/memory.py").run()


def _text(app):
    return " ".join(m.proto.body for m in app.get("html"))


def _settled(app):
    page = app.session_state["memory-page"]
    assert page.job.wait(240)
    app.run()
    return page


def test_from_controls_to_the_answer(monkeypatch):
    app = _page(monkeypatch)
    page = _settled(app)
    assert not app.exception and not page.error
    assert len(app.get("plotly_chart")) == 1
    fit = page.job.fits["efficientnet-b0", page.asked.budget].resolution
    assert f"<b>{colour.number(fit)} px</b>".replace("\u2009", "\u202f") in _text(app)
    assert "predicted, without a GPU; 1 MAC = 2 FLOP" in _text(app)

    # another device: the points stay, the largest image is another
    next(box for box in app.selectbox if box.label == "GPU").set_value("jetson-nano").run()
    assert 0 < memory_charts.ends(page.study, {}, BUDGET)["efficientnet-b0"][0] < fit
    assert app.session_state["hrviz"].memory["device"] == "jetson-nano" and not app.exception

    for panel in memory_state.PANELS:
        next(g for g in app.get("button_group") if g.label == "Panel").set_value(panel).run()
        assert not app.exception, panel
    assert "Not in the numbers" in _text(app)
    next(b for b in app.button if b.key == "memory-pick-cutting-into-patches").click().run()
    assert page.asked.panel == "Timeline" and page.name == "cutting-into-patches"
    assert "Largest tensors alive at the peak" in _text(app) and not app.exception


def test_time_is_measured_only_when_asked_for(monkeypatch):
    app = _page(monkeypatch, of="time")
    assert not app.exception and not app.get("plotly_chart")
    assert [b.label for b in app.button if b.key == "memory-measure"] == ["Measure time"]
    app.session_state["memory-page"].cancel()


@pytest.mark.parametrize("figure", ["cameras", "table", "time"])
def test_figures_of_the_survey(monkeypatch, figure):
    app = _page(monkeypatch, view="Figures of the survey", figure=figure)
    assert not app.exception
    assert len(app.get("plotly_chart")) == (figure == "cameras")
    if figure == "time":
        assert [b.label for b in app.button if b.key == "memory-measure"] == ["Measure time"]
    if figure == "table":
        assert "16.06" in _text(app) and "+155%" in _text(app)


def test_what_is_asked_survives_its_address():
    asked = Asked(("vit-b16",), "efficientnet-b3", 8.0, True, "sgd", 4, "bfloat16", "mine", 20.5,
                  "flops", 1024, "vit-b16", "Table", "Growth", "memory")  # fmt: skip
    link = permalink.Link(memory=asked.query())
    back = permalink.parse(permalink.to_query(link)).memory
    assert parse(back, lambda name: True) == (asked, [])
    assert Asked().query() == {} and not permalink.parse({}).memory


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch", "0"), ("batch", "x"), ("dtype", "int3"), ("reduction", "0.5"), ("names", "nonsense"),
     ("side", "77"), ("device", "moon"), ("mine", "-1"), ("training", "perhaps"), ("panel", "?"),
     ("optimiser", "none"), ("network", "resnet"), ("mine", "nan"), ("figure", "9")],
)  # fmt: skip
def test_a_bad_address_is_told_and_ignored(name, value):
    asked, problems = parse({name: value}, lambda n: n != "nonsense")
    assert asked == Asked() and len(problems) == 1
    assert name in problems[0] and "\n" not in problems[0]


def test_budgets_are_met_where_the_search_finds_them(grown):
    read_off = memory_charts.ends(grown, {}, BUDGET)
    at, exact = read_off["efficientnet-b0"]
    fit = study.largest("efficientnet-b0", BUDGET)
    assert not exact and at == pytest.approx(fit.resolution, rel=0.05)
    found = {("efficientnet-b0", BUDGET): fit}
    assert memory_charts.ends(grown, found, BUDGET)["efficientnet-b0"] == (fit.resolution, True)
    assert memory_charts.ends(grown, {}, 2**20)["efficientnet-b0"] == (0.0, False)
    assert memory_charts.ends(grown, {}, 2**50)["efficientnet-b0"] == (math.inf, False)
    assert memory_charts.cell((math.inf, True)) == "any size"
    assert memory_charts.cell((0.0, False)) == "does not fit"
    whole = {("efficientnet-b0", BUDGET): Fit(LIMIT, 5, None, BUDGET)}
    assert memory_charts.ends(grown, whole, BUDGET)["efficientnet-b0"] == (math.inf, True)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("of", ["needed", "flops", "parameters", "pixels"])
def test_the_chart_marks_where_the_budget_ends(grown, of, theme):
    met = memory_charts.ends(grown, {}, BUDGET)
    made = memory_charts.growth(grown, of, BUDGET, "4 GiB", met, 1024, "efficientnet-b0", theme)
    lines = [t for t in made.data if t.mode == "lines+markers"]
    rings = [t for t in made.data if t.mode == "markers"]
    assert [t.customdata[1][0] for t in lines] == list(NAMES)
    assert [t.customdata[0][0] for t in rings][:1] == ["efficientnet-b0"]
    if of == "needed":
        assert rings[0].y[0] == BUDGET
        assert "Jetson Nano 4 GB" not in [
            a.text for a in made.layout.annotations
        ]  # it is the budget
        assert "RTX 3090 24 GB" in [a.text for a in made.layout.annotations]
    else:
        k = np.searchsorted(SIDES, rings[0].x[0])
        values = grown.values("efficientnet-b0", of)
        assert values[k - 1] * 0.999 <= rings[0].y[0] <= values[k] * 1.001


def test_parts_add_up_and_the_peak_is_named(grown):
    points = [row[2] for row in grown.points.values()]
    made = memory_charts.breakdown(points, NAMES, BUDGET, "4 GiB", "dark")
    for k, p in enumerate(points):
        assert sum(bar.x[k] for bar in made.data) == p.peak
    part = points[0].largest
    line = memory_charts.timeline(part.measure, "#E69F00", "dark")
    assert max(line.data[0].y) == line.data[1].y[0] == part.measure.peak
    told = memory_panels.step(points[0], part) + memory_panels.held(part.measure)
    assert part.measure.peak_at.operator in told and part.measure.held[0].kind in told


def test_the_table_says_what_is_fitted_and_what_the_formula_says(grown):
    asked = Asked(NAMES, "efficientnet-b0", side=2048)
    points = {n: row[2] for n, row in grown.points.items()}
    lines = memory_panels.table(asked, grown, memory_charts.ends(grown, {}, BUDGET), points).split(
        "\n"
    )
    assert len(lines) == 2 + len(NAMES) and len({line.count(" | ") for line in lines[2:]}) == 1
    assert "(side<sup>2</sup>)" in lines[2] and "$O(HW)$" in lines[2]
    assert "(constant)" not in lines[3]  # its output grows with the image: another formula


def test_times_have_their_spread():
    rows = [Latency("efficientnet-b0", s, s / 1e4, s / 2e4, s / 5e3, 5, "a device") for s in (256, 512)]  # fmt: skip
    rows.append(Latency("efficientnet-b0", 1024, math.nan, math.nan, math.nan, 0, "a device", "It would take too long"))  # fmt: skip
    made = memory_charts.times(rows, NAMES, (256, 512, 1024), "dark")
    assert [t.mode for t in made.data if t.showlegend is not False] == ["lines+markers"]
    said = memory_panels.measured(rows, True)
    assert "a device" in said and "too long" in said


class _Job:
    def __init__(self):
        self.done, self.cancelled, self.error = False, False, None

    def cancel(self):
        self.cancelled = True


def test_a_study_is_shared_and_stops_when_nobody_looks():
    shared = memory_jobs.Shared(most=2)
    first = shared.get("a", 1, _Job)
    assert shared.get("a", 2, _Job) is first
    shared.leave("a", 1)
    assert not first.cancelled
    shared.leave("a", 2)
    assert first.cancelled and shared.get("a", 1, _Job) is not first
    kept = [shared.get(name, 1, _Job) for name in "bcd"]
    assert [job.cancelled for job in kept] == [True, False, False]  # no more than two


def test_a_curve_draws_its_levels_with_names_and_units():
    x = np.array([512.0, 1024.0, 2048.0])
    curve = Curve(x, {"saliency-sampler": np.array([1.0, np.nan, 16.0]) * GIB}, "side of the image (px)",
                  "memory needed (B)", log=True, levels={"RTX 2080 Ti 11 GB": 4.0 * GIB})  # fmt: skip
    made = plotly.figure(curve, "light")
    line, ring = made.data
    assert (
        line.connectgaps
        and line.fill is None
        and line.name == "Learning to Zoom"
        and "16 GiB" in line.text[2]
    )
    assert ring.x[0] == pytest.approx(1024) and ring.y[0] == 4 * GIB
    assert "RTX 2080 Ti 11 GB" in [a.text for a in made.layout.annotations]
    assert made.layout.xaxis.ticktext == ("512", "1k", "2k")
    assert {"1 GiB", "16 GiB"} <= set(made.layout.yaxis.ticktext)


@pytest.mark.parametrize("theme", list(colour.THEMES.values()))
def test_lines_are_seen_on_their_background(theme):
    for name in ("efficientnet-b7", "vit-b16", "uniform-downsampling", "zoom-in-network"):
        tone = memory_charts.ink(name, 0, theme, text=True)
        assert plotly._contrast(tone, theme.background) >= 4.5
    assert plotly.legible(DARK.text, DARK) == DARK.text

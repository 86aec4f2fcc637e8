"""The Memory page itself: controls, the chart of growth, the panel below it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import streamlit as st

from hrviz.cost import latency_job, study_job
from hrviz.cost.devices import DEVICES, GIB
from hrviz.cost.latency_job import LatencyJob
from hrviz.cost.meter import DTYPES
from hrviz.cost.models import MODELS
from hrviz.cost.study import Point, Setting, Study, find, subjects
from hrviz.cost.study_job import StudyJob
from hrviz.cost.trace import OPTIMISERS
from hrviz.errors import HrvizError
from hrviz.method import METHODS
from hrviz.viewer import memory_charts as charts
from hrviz.viewer import memory_panels, memory_survey, panels, shell
from hrviz.viewer.memory_jobs import CLOCKS, STUDIES
from hrviz.viewer.memory_state import MINE, MOST, OF, PANELS, SIDES, VIEWS, Asked, parse
from hrviz.viewer.shell import Session
from hrviz.views import colour, costs, ticks

SIDE_WIDTH = 240
INLINE = 0.4  # seconds a page waits before it polls: what is kept on disk comes sooner
SHOWN_AFTER = 0.8  # seconds before progress is shown: no flash of it
LOW, HIGH = "104px", "max(272px, 42vh)"  # the panel below the chart
TIMED = (256, 512, 1024, 2048)
MANY = {"batch": (1, 2, 4, 8, 16, 32, 64, 128), "reduction": (0, 1, 2, 4, 8, 16, 32)}
KEEP = {"displayModeBar": False, "scrollZoom": True}


@dataclass
class Page:
    """One tab's: what is asked, what runs, what is known.

    Attributes
    ----------
    asked : Asked
    job : StudyJob or None
        The newest study.
    signature : str
        What it was started for.
    before : Study or None
        The last one with points, shown until the newest has some.
    clock : LatencyJob or None
        Times, measured when asked for.
    clocked : str
        What they were measured for.
    error : str
        One sentence about the newest.
    since : float
        When the newest was asked for, on the monotonic clock.
    """

    asked: Asked = field(default_factory=Asked)
    job: StudyJob | None = None
    signature: str = ""
    before: Study | None = None
    clock: LatencyJob | None = None
    clocked: str = ""
    error: str = ""
    since: float = 0.0

    @property
    def setting(self) -> Setting:
        a = self.asked
        optimiser = a.optimiser if a.training else ""
        return Setting(a.batch, a.dtype, a.training, optimiser or None, a.network, a.reduction)

    @property
    def busy(self) -> bool:
        jobs = (self.job, self.clock)
        return any(job is not None and not job.done and not job.cancelled for job in jobs)

    @property
    def study(self) -> Study | None:
        """The newest with points."""
        if self.job is None:
            return self.before
        empty = not any(p for row in self.job.study.points.values() for p in row)
        old = self.before is not None and list(self.before.points) == list(self.job.study.points)
        return self.before if empty and old and not self.job.done else self.job.study

    @property
    def name(self) -> str:
        """The subject looked at."""
        names = list(self.study.points) if self.study is not None else []
        return self.asked.subject if self.asked.subject in names else next(iter(names), "")

    def follow(self) -> None:
        """Start a study unless it is what runs already; an older one is cancelled."""
        a = self.asked
        wanted = repr((a.names, self.setting, a.budget))
        if wanted != self.signature:
            self.stop()
            if self.study is not None:
                self.before = self.study
            self.signature, self.error, self.job = wanted, "", None
            try:
                self.job = STUDIES.get(wanted, id(self), lambda: study_job.submit(
                    a.names, SIDES, self.setting, (a.budget,)))  # fmt: skip
            except HrvizError as error:
                self.error = str(error)
                return
            self.since = time.monotonic()
            self.job.wait(INLINE)
        STUDIES.touch(wanted, id(self))
        CLOCKS.touch(self.clocked, id(self))
        for job in (self.job, self.clock):
            if job is not None and job.error:
                self.error = job.error

    def cancel(self) -> None:
        """The user's: what is there stays, and nothing starts again by itself."""
        for job in (self.job, self.clock):
            if job is not None:
                job.cancel()

    def stop(self) -> None:
        """Nothing of this is waited for any more."""
        STUDIES.leave(self.signature, id(self))
        CLOCKS.leave(self.clocked, id(self))

    def measure(self) -> None:
        """Start timing on this machine."""
        if self.clock is not None:
            self.clock.cancel()
        self.error, self.clocked = "", repr((self.asked.names, self.setting))
        try:
            self.clock = CLOCKS.get(self.clocked, id(self), lambda: latency_job.submit(
                self.asked.names, TIMED, self.setting))  # fmt: skip
        except HrvizError as error:
            self.clock, self.error = None, str(error)


def draw() -> bool:
    """The whole page; returns whether anything still runs."""
    s = shell.entered("Memory")
    page = _page(s)
    with st.container(key="desk", horizontal=True, wrap=False, gap=None):
        side = st.container(key="memory-side", width=SIDE_WIDTH)
        stage = st.container(key="memory-stage", width="stretch", gap=None)
    with stage:
        strip = st.container(key="memory-strip", horizontal=True, vertical_alignment="center", wrap=False, gap="small")  # fmt: skip
    with strip:
        _strip(s, page)
    if page.asked.view != VIEWS[0]:
        s.memory = page.asked.query()
        return memory_survey.draw(s, page.asked, side, stage)
    with side:
        legend = st.container(key="memory-legend", gap=None)
        _choose(s, page)
        _controls(s, page)
    page.follow()
    with legend:
        _legend(s, page)
    with stage:
        with st.container(key="memory-chart", gap=None):
            _chart(s, page)
        with st.container(key="memory-panel", gap=None):
            _panel(s, page)
        _progress(
            page
        )  # last: what comes and goes must not push the chart, which would be made anew
    s.memory = page.asked.query()
    return page.busy


def _page(s: Session) -> Page:
    """The tab's; made from the address when the page is first seen."""
    found: Page | None = st.session_state.get("memory-page")
    if found is None:
        there = subjects()
        asked, problems = parse(s.memory, there.__contains__)
        own = own_gpu()
        if own and "mine" not in s.memory:
            asked.mine = own
            if "device" not in s.memory:
                asked.device = MINE
        s.notes += problems
        found = st.session_state["memory-page"] = Page(asked)
    return found


@cache
def own_gpu() -> float:
    """GiB of the GPU that torch sees here; 0 where there is none."""
    import torch

    try:
        if torch.cuda.is_available():
            return round(torch.cuda.get_device_properties(0).total_memory / GIB, 1)
    except RuntimeError:
        pass
    return 0.0


# -- what is asked -------------------------------------------------------------------------------
def _key(s: Session, name: str) -> str:
    """Widgets are made anew on each visit, with what the page remembers."""
    return f"memory-{name}-{s.visit}"


def _strip(s: Session, page: Page) -> None:
    a = page.asked
    growth = a.view == VIEWS[0]
    if growth:
        key = _key(s, "of")
        a.of = st.segmented_control("Quantity", list(OF), format_func=OF.__getitem__, default=s.settled(key, a.of), key=key,
                                    required=True, label_visibility="collapsed")  # fmt: skip
    else:
        memory_survey.strip(s, a)
    st.space("stretch")
    key = _key(s, "view")
    a.view = st.segmented_control("View", VIEWS, default=s.settled(key, a.view), key=key, required=True,
                                  label_visibility="collapsed", on_change=_turn)  # fmt: skip


def _turn() -> None:
    """The other view has widgets of its own in the strip: it must be known before they are drawn."""
    s = shell.session()
    page: Page = st.session_state["memory-page"]
    page.asked.view = st.session_state[_key(s, "view")] or VIEWS[0]


def _choose(s: Session, page: Page) -> None:
    a = page.asked
    with st.popover("Choose methods and networks", width="stretch", key="memory-choose"):
        picked: list[str] = []
        for title, members in costs.groups(subjects()).items():
            options = [m.name for m in members]
            key = _key(s, f"group-{title}")
            chosen = st.pills(title, options, selection_mode="multi", default=s.settled(key, [n for n in options if n in a.names]),
                              format_func=ticks.title, key=key)  # fmt: skip
            picked += chosen or []
        if len(picked) > MOST:
            st.html(panels.sentence(f"Of the {len(picked)} chosen the first {MOST} are shown", "notice"))  # fmt: skip
    if picked:
        a.names = tuple(picked[:MOST])


def _controls(s: Session, page: Page) -> None:
    a = page.asked

    def key(name: str) -> dict[str, Any]:
        return {"key": _key(s, name)}

    def start(name: str, options: Sequence[Any]) -> int:
        value = s.settled(_key(s, name), getattr(a, name))
        return list(options).index(value) if value in options else 0

    with _pair("budget"):
        devices = [*DEVICES, MINE]
        a.device = st.selectbox("GPU", devices, index=start("device", devices), format_func=_device, **key("device"),
                                help="Its memory is the budget: the largest image that each method takes in it is marked")  # fmt: skip
        if a.device == MINE:
            a.mine = st.number_input("GiB", 0.1, 10_000.0, s.settled(_key(s, "mine"), a.mine), step=1.0, format="%.4g", width=88,
                                     **key("mine"), help="More memory: larger images fit")  # fmt: skip
    mode = st.segmented_control("Pass", ["Training", "Inference"], default=s.settled(_key(s, "mode"), "Training" if a.training else "Inference"),
                                required=True, width="stretch", **key("mode"),
                                help="Training holds what the forward pass made until the backward pass has used it")  # fmt: skip
    a.training = mode == "Training"
    with _pair("step"):
        optimisers = ["", *OPTIMISERS]
        a.optimiser = st.selectbox("Optimiser", optimisers, index=start("optimiser", optimisers), format_func=lambda n: memory_panels.OPTIMISERS.get(n, n),
                                   disabled=not a.training, **key("optimiser"),
                                   help="Adam keeps two numbers for each weight, SGD with momentum one")  # fmt: skip
        a.dtype = st.selectbox("Numbers", list(DTYPES), index=start("dtype", list(DTYPES)), **key("dtype"),
                               help="Half as many bytes each with bfloat16 or float16")  # fmt: skip
    network = ["", *MODELS]
    a.network = st.selectbox("Task network inside methods", network, index=start("network", network),
                             format_func=lambda n: ticks.title(n) if n else "their own", **key("network"),
                             help="The same network everywhere shows what the method alone saves")  # fmt: skip
    with _pair("size"):
        batch = sorted({*MANY["batch"], s.settled(_key(s, "batch"), a.batch)})
        a.batch = st.selectbox("Batch", batch, index=start("batch", batch), **key("batch"),
                               help="Images at once: activations grow with it, weights do not")  # fmt: skip
        reductions = sorted({*MANY["reduction"], s.settled(_key(s, "reduction"), a.reduction)})
        a.reduction = float(st.selectbox("Reduction", reductions, index=start("reduction", reductions), format_func=_reduction, **key("reduction"),
                                         help="Image px per output px along a side, of methods that resample: larger, and larger images fit"))  # fmt: skip


def _pair(name: str) -> Any:
    return st.container(key=f"memory-pair-{name}", horizontal=True, wrap=False, gap="small",
                        vertical_alignment="bottom")  # fmt: skip


def _device(name: str) -> str:
    return "Mine" if name == MINE else DEVICES[name].title.removeprefix("RTX ")


def _reduction(value: float) -> str:
    return f"{value:g} px to 1" if value else "fixed size"


def _legend(s: Session, page: Page) -> None:
    """One row a subject: symbol, name, largest image; pressed, its parts are looked at."""
    found, a = page.study, page.asked
    if found is None:
        return
    met = _ends(page)
    rules = []
    for place, name in enumerate(found.points):
        tone = charts.ink(name, place, s.look)
        rules.append(f".st-key-memory-pick-{name} button{{border-left-color:{tone} !important}}")
        rules.append(
            f".st-key-memory-pick-{name} button p strong{{color:{charts.ink(name, place, s.look, True)}}}"
        )
    st.html(f"<style>{''.join(rules)}</style>")
    for place, name in enumerate(found.points):
        answer = "cannot be metered" if name in found.problems and name not in met else charts.cell(met.get(name), "…")  # fmt: skip
        st.button(f"**{charts.GLYPHS[place % len(charts.GLYPHS)]}** {ticks.title(name)} :small[{answer}]", key=f"memory-pick-{name}",
                  type="primary" if name == page.name else "secondary", width="stretch", on_click=_pick, args=(name,),
                  help=found.problems.get(name) or f"{_whole(name)}: largest square image in {a.budget_title}. Press for its timeline")  # fmt: skip


def _whole(name: str) -> str:
    return ticks.title(name) if name in METHODS else f"{ticks.title(name)} on the whole image"


def _pick(name: str) -> None:
    page: Page = st.session_state["memory-page"]
    page.asked.subject = name
    _show("Timeline")


def _show(panel: str) -> None:
    """Turn the panel to this; its widget, if there is one, too."""
    s = shell.session()
    page: Page = st.session_state["memory-page"]
    page.asked.panel = panel
    st.session_state[_key(s, "panel")] = panel


# -- the chart -----------------------------------------------------------------------------------
def _ends(page: Page) -> dict[str, tuple[float, bool]]:
    found = page.study
    if found is None:
        return {}
    fits = page.job.fits if page.job is not None and found is page.job.study else {}
    return charts.ends(found, fits, page.asked.budget)


def _progress(page: Page) -> None:
    """Over the chart, so that nothing moves; not before it is worth it."""
    jobs = [j for j in (page.job, page.clock) if j is not None and not j.done and not j.cancelled]
    if jobs and time.monotonic() - max(jobs[0].started, page.since) > SHOWN_AFTER:
        job = jobs[0]
        left = getattr(job, "seconds_left", None)
        with st.container(key="memory-progress", horizontal=True, vertical_alignment="center", wrap=False, gap="small"):  # fmt: skip
            st.html(panels.progress(job.progress, panels.time_left(left)), width="stretch")
            st.button("Cancel", key="memory-stop", on_click=page.cancel)


def _chart(s: Session, page: Page) -> None:
    a, found = page.asked, page.study
    if found is not None and a.of == "time":
        _times(s, page)
    elif found is not None:
        _growth(s, page, found)
    said = panels.sentence(page.error) if page.error else ""
    if page.job is not None and page.job.cancelled:
        said += panels.sentence("Cancelled: what was metered stays; change a control to go on", "notice")  # fmt: skip
    if said:
        st.html(f'<div class="hv-over">{said}</div>')


def _growth(s: Session, page: Page, found: Study) -> None:
    a = page.asked
    theme: colour.ThemeName = "light" if s.theme == "light" else "dark"
    job = page.job
    seen = (job.version if job is not None else 0, a.of, a.budget, a.side, page.name, theme)
    figure = shell.cached(("memory", *seen), found, lambda: charts.growth(
        found, a.of, a.budget, a.budget_title, _ends(page), a.side, page.name, theme))  # fmt: skip
    st.plotly_chart(figure, key="memory-growth", theme=None, config=KEEP, height="stretch", on_select=_clicked,
                    selection_mode="points")  # fmt: skip


def _clicked() -> None:
    """A point or a ring: its subject and side are looked at."""
    page: Page = st.session_state["memory-page"]
    state = st.session_state.get("memory-growth") or {}
    points = (state.get("selection") or {}).get("points") or []
    told = next((p.get("customdata") for p in points if p.get("customdata")), None)
    if not told:
        return
    name, side = told[0], int(told[1])
    page.asked.subject = str(name)
    if side in SIDES:
        page.asked.side = side
        s = shell.session()
        s.settled(_key(s, "side"), side)  # the slider may not have been drawn yet
        st.session_state[_key(s, "side")] = side
    _show("Timeline")


def _times(s: Session, page: Page) -> None:
    """Measured on this machine, when asked for."""
    a, clock = page.asked, page.clock
    stale = page.clocked != repr((a.names, page.setting))
    running = clock is not None and not clock.done and not clock.cancelled
    rows = () if clock is None or stale else clock.rows
    there = [r for r in rows if r.repeats]
    if not there:
        with st.container(key="memory-empty", gap="small", horizontal_alignment="center", vertical_alignment="center"):  # fmt: skip
            if running and not stale:
                st.html('<p class="hv-idea">Measuring: the first time comes soon.</p>')
            else:
                st.html('<p class="hv-idea">Time depends on the machine and is never predicted: it is measured here, '
                        f"at {TIMED[0]} to {colour.number(TIMED[-1])} px.</p>")  # fmt: skip
                st.button(
                    "Measure time", type="primary", key="memory-measure", on_click=page.measure
                )
            _left_out(rows)
        return
    theme: colour.ThemeName = "light" if s.theme == "light" else "dark"
    assert clock is not None
    figure = shell.cached(("memory-time", clock.version, theme), clock, lambda: charts.times(there, a.names, TIMED, theme))  # fmt: skip
    st.plotly_chart(figure, key="memory-time", theme=None, config=KEEP, height="stretch")


def _left_out(rows: Sequence[Any]) -> None:
    said = dict.fromkeys(r.reason for r in rows if r.reason)
    for reason in list(said)[:2]:
        st.html(panels.sentence(reason, "notice"))


# -- the panel below -----------------------------------------------------------------------------
def _panel(s: Session, page: Page) -> None:
    a, found = page.asked, page.study
    with st.container(key="memory-tabs", horizontal=True, vertical_alignment="center", wrap=False, gap="small"):  # fmt: skip
        timed = a.of == "time"
        if not timed:
            key = _key(s, "panel")
            a.panel = st.segmented_control("Panel", PANELS, default=s.settled(key, a.panel), key=key, required=True,
                                           label_visibility="collapsed")  # fmt: skip
        if a.panel in ("Table", "Breakdown", "Timeline") and not timed:
            key = _key(s, "side")
            place = st.empty()  # what the slider says stands before it
            a.side = st.select_slider("At a side of", SIDES, value=s.settled(key, a.side), key=key, format_func=lambda v: f"{colour.number(v)} px", width=240,
                                      label_visibility="collapsed", help="A larger side: more activations; the dotted line above moves")  # fmt: skip
            place.html(f'<span class="hv-at" style="float:right">at <b>{colour.number(a.side)} px</b></span>', width="stretch")  # fmt: skip
        elif timed and page.clock is not None and (page.clock.done or page.clock.cancelled):
            st.space("stretch")
            st.button("Measure again", key="memory-again", on_click=page.measure)
        else:
            st.html('<span class="hv-left">predicted, without a GPU; 1 MAC = 2 FLOP</span>' if a.of != "time" else
                    '<span class="hv-left">measured on this machine</span>', width="stretch")  # fmt: skip
    low = a.panel == PANELS[0] or a.of == "time"
    st.html(f"<style>:root{{--memory-panel:{LOW if low else HIGH}}}</style>")
    if found is None:
        return
    with st.container(key="memory-inside", gap="small"):
        _inside(s, page, found)


def _inside(s: Session, page: Page, found: Study) -> None:
    a = page.asked
    theme: colour.ThemeName = "light" if s.theme == "light" else "dark"
    k = SIDES.index(a.side)
    points: dict[str, Point] = {n: p for n, row in found.points.items() if (p := row[k]) is not None}  # fmt: skip
    met = _ends(page)
    if a.of == "time":
        rows = page.clock.rows if page.clock is not None else ()
        st.html(memory_panels.measured(rows, page.clocked == repr((a.names, page.setting))))
    elif a.panel == "Answer":
        fits = page.job.fits if page.job is not None else {}
        most = [n for (n, _), fit in fits.items() if fit.resolution and fit.beyond is None]
        st.html(memory_panels.answer(a, found, met, most))
    elif a.panel == "Table":
        st.markdown(memory_panels.table(a, found, met, points), unsafe_allow_html=True)
    elif a.panel == "Devices":
        fits = page.job.fits if page.job is not None else {}
        st.html(memory_panels.devices(a, found, fits, s.look))
    elif a.panel == "Breakdown":
        shown = [p for p in points.values() if p.peak]
        if shown:
            figure = charts.breakdown(shown, list(found.points), a.budget, a.budget_title, theme)
            st.plotly_chart(figure, key="memory-breakdown", theme=None, config={"displayModeBar": False}, height="stretch",
                            on_select=_cut, selection_mode="points")  # fmt: skip
        else:
            st.html('<span class="hv-left">Not metered yet at this side.</span>')
    elif a.panel == "Timeline":
        _timeline(s, page, points.get(page.name), theme)
    else:
        st.html(memory_panels.assumptions(list(points.values()), find))


def _cut() -> None:
    """A bar: the timeline of its subject."""
    state = st.session_state.get("memory-breakdown") or {}
    points = (state.get("selection") or {}).get("points") or []
    told = next((p.get("customdata") for p in points if p.get("customdata")), None)
    if told:
        _pick(str(told[0]))


def _timeline(s: Session, page: Page, point: Point | None, theme: colour.ThemeName) -> None:
    if point is None:
        st.html('<span class="hv-left">Not metered yet at this side.</span>')
        return
    part = point.largest
    if part is None:
        st.html(f'<span class="hv-left">{ticks.title(point.subject)} calls no network: nothing is held but what is read.</span>')  # fmt: skip
        return
    assert page.study is not None
    tone = charts.ink(point.subject, charts.place_of(list(page.study.points), point.subject), s.look)  # fmt: skip
    with st.container(key="memory-step", horizontal=True, wrap=False, gap="small"):
        with st.container(key="memory-line", width="stretch", gap=None):
            st.html(memory_panels.step(point, part))
            figure = charts.timeline(part.measure, tone, theme)
            st.plotly_chart(figure, key="memory-timeline", theme=None, config={"displayModeBar": False}, height="stretch")  # fmt: skip
        with st.container(key="memory-held", width=336, gap=None):
            st.html(memory_panels.held(part.measure))

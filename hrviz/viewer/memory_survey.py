"""The survey's own figures of cost on the Memory page, computed anew: Figures 2 and 3, Table I."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from hrviz.cost import latency_job, study_job
from hrviz.cost.latency import curve as timed
from hrviz.cost.latency_job import LatencyJob
from hrviz.cost.study import Study
from hrviz.cost.study_job import StudyJob
from hrviz.results import Curve
from hrviz.survey import cameras, figure_two, table_one
from hrviz.viewer import panels, shell
from hrviz.viewer.memory_jobs import CLOCKS, STUDIES
from hrviz.viewer.memory_state import FIGURES, Asked
from hrviz.viewer.shell import Session
from hrviz.views import colour, plotly, ticks

ARMS = {
    "original": "the whole frame", "ud-4": "downsampled to 1/4", "cip-4": "cut into 4 patches",
    "ud-16": "downsampled to 1/16", "cip-16": "cut into 16 patches",
}  # fmt: skip
INLINE = 0.4
SHOWN_AFTER = 0.8


@dataclass
class _Jobs:
    """What runs for the figures in this tab."""

    study: StudyJob | None = None
    clock: LatencyJob | None = None
    since: float = 0.0

    @property
    def busy(self) -> bool:
        return any(j is not None and not j.done and not j.cancelled for j in (self.study, self.clock))  # fmt: skip

    def stop(self) -> None:
        for job in (self.study, self.clock):
            if job is not None:
                job.cancel()

    def meter(self) -> None:
        self.study = STUDIES.get("figure two", id(self), lambda: study_job.submit(
            (figure_two.CONVOLUTIONS, figure_two.TOKENS), figure_two.SIDES))  # fmt: skip
        self.since = time.monotonic()
        self.study.wait(INLINE)

    def time(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
        self.clock = CLOCKS.get("figure two", id(self), lambda: latency_job.submit(
            (figure_two.CONVOLUTIONS,), figure_two.TIMED))  # fmt: skip


def _jobs() -> _Jobs:
    found: _Jobs = st.session_state.setdefault("memory-survey", _Jobs())
    return found


def strip(s: Session, asked: Asked) -> None:
    """Which figure."""
    key = f"memory-figure-{s.visit}"
    asked.figure = st.segmented_control("Figure", list(FIGURES), format_func=FIGURES.__getitem__, default=s.settled(key, asked.figure), key=key,
                                        required=True, label_visibility="collapsed")  # fmt: skip


def draw(s: Session, asked: Asked, side: Any, stage: Any) -> bool:
    """Caption to the left, the figure in the middle; returns whether anything still runs."""
    jobs = _jobs()
    for shared in (STUDIES, CLOCKS):
        shared.touch("figure two", id(jobs))
    st.html("<style>:root{--memory-panel:0px}</style>")
    with stage:
        with st.container(key="memory-chart", gap=None):
            said = _figure(s, asked.figure, jobs)
        if asked.figure not in ("cameras", "table"):  # what runs is not for those
            _progress(jobs)
    with side:
        title, caption = ("Figure 3", cameras.CAPTION) if asked.figure == "cameras" else (
            ("Table I", "Counting people: uniform downsampling against cutting into patches.") if asked.figure == "table"
            else ("Figure 2", figure_two.CAPTION))  # fmt: skip
        notes = "".join(f'<p class="hv-idea" style="margin-top:8px">{text}</p>' for text in said)
        st.html(
            f'<p class="hv-title">{title} of the survey</p><p class="hv-idea">{panels._e(caption)}</p>{notes}'
        )
    return jobs.busy


def _progress(jobs: _Jobs) -> None:
    for job in (jobs.study, jobs.clock):
        if (
            job is None
            or job.done
            or job.cancelled
            or time.monotonic() - max(job.started, jobs.since) < SHOWN_AFTER
        ):
            continue
        with st.container(key="memory-progress", horizontal=True, vertical_alignment="center", wrap=False, gap="small"):  # fmt: skip
            st.html(panels.progress(job.progress, panels.time_left(getattr(job, "seconds_left", None))), width="stretch")  # fmt: skip
            st.button("Cancel", key="memory-stop", on_click=jobs.stop)
        return


def _figure(s: Session, name: str, jobs: _Jobs) -> list[str]:
    """Draw it; what is to be said of it."""
    if name == "cameras":
        figure = shell.cached(("memory-cameras", s.theme), cameras, lambda: _cameras(s))
        _show(figure, name)
        return [_pace(), f"Megapixels as the makers state them, accessed {cameras.ACCESSED}."]
    if name == "table":
        return _table()
    if name == "time":
        return _time(s, jobs)
    return _predicted(s, name, jobs)


def _predicted(s: Session, name: str, jobs: _Jobs) -> list[str]:
    if jobs.study is None:
        jobs.meter()
    job = jobs.study
    assert job is not None
    if job.error:
        st.html(panels.sentence(job.error))
        return []
    if job.cancelled:
        st.button("Go on", key="memory-again", type="primary", on_click=jobs.meter)
    sides = _reached(job.study)
    if not sides:
        with st.container(key="memory-empty"):
            st.html('<p class="hv-idea">Metering: the first point comes soon.</p>')
        return []

    def make() -> Any:
        curve: Curve = figure_two.figure_two(sides)[name]
        return _dress(s, plotly.figure(curve, _theme(s)), curve)

    _show(shell.cached(("memory-figure", name, sides, s.theme), job, make), name)
    said = ["Predicted, without a GPU; 1 MAC = 2 FLOP. Inference, batch 1, float32."]
    if name == "parameters":
        said.append("Of ViT-B/16 only the learned positions grow, by 3 parameters a pixel of the image; EfficientNet-B7 has as many at any resolution.")  # fmt: skip
    if name == "memory":
        said.append("The survey drew its curves on an RTX A6000, which is marked.")
    return said


def _reached(study: Study) -> tuple[int, ...]:
    """Sides whose points are all there: they are read from disk."""
    rows = list(study.points.values())
    return tuple(side for k, side in enumerate(study.sides) if all(row[k] is not None for row in rows))  # fmt: skip


def _time(s: Session, jobs: _Jobs) -> list[str]:
    clock = jobs.clock
    there = [r for r in clock.rows if r.repeats] if clock is not None else []
    if clock is not None and clock.error:
        st.html(panels.sentence(clock.error))
    if not there:
        with st.container(key="memory-empty", gap="small", horizontal_alignment="center", vertical_alignment="center"):  # fmt: skip
            if jobs.busy:
                st.html('<p class="hv-idea">Measuring: the first time comes soon.</p>')
            else:
                sides = figure_two.TIMED
                st.html(f'<p class="hv-idea">Time is measured on this machine, at {sides[0]} to {colour.number(sides[-1])} px.</p>')  # fmt: skip
                st.button("Measure time", key="memory-measure", type="primary", on_click=jobs.time)
        return ["Seconds of a forward pass of EfficientNet-B7 without its last layer."]
    assert clock is not None

    def make() -> Any:
        curve = timed(figure_two.TIMED, there)
        return _dress(s, plotly.figure(curve, _theme(s)), curve)

    _show(shell.cached(("memory-figure-time", clock.version, s.theme), clock, make), "time")
    left = dict.fromkeys(r.reason for r in clock.rows if r.reason)
    return [
        f"Median of {max(r.repeats for r in there)} passes on {panels._e(there[0].device)}; the band goes from the fastest to the slowest.",
        *(panels._e(reason) for reason in left),
    ]  # fmt: skip


def _theme(s: Session) -> colour.ThemeName:
    return "light" if s.theme == "light" else "dark"


def _show(figure: Any, name: str) -> None:
    st.plotly_chart(figure, key=f"memory-survey-{name}", theme=None, height="stretch",
                    config={"displayModeBar": False, "scrollZoom": True})  # fmt: skip


def _dress(s: Session, figure: Any, curve: Curve) -> Any:
    legend = {"orientation": "v", "x": 0.02, "y": 0.98, "yanchor": "top", "xanchor": "left", "bgcolor": s.look.background, "title": {"text": ""}, "font": {"size": 12}}  # fmt: skip
    figure.update_layout(margin={"l": 8, "r": 16, "t": 16, "b": 8}, legend=legend, dragmode="pan", uirevision="kept",
                         font={"family": "system-ui, sans-serif"})  # fmt: skip
    figure.update_xaxes(
        automargin=True, title={"standoff": 8, "font": {"size": 12}}, zeroline=False
    )
    figure.update_yaxes(automargin=True, title={"standoff": 8, "font": {"size": 12}}, zeroline=False)  # fmt: skip
    figure.update_traces(line={"width": 2.5}, selector={"mode": "lines+markers"})
    return figure


def _cameras(s: Session) -> Any:
    curve = cameras.trend()
    figure = _dress(s, plotly.figure(curve, _theme(s)), curve)
    by_place = {(c.device, c.year): c for c in cameras.cameras()}
    for trace in figure.data:
        found = [by_place.get((str(trace.name), int(year))) for year in curve.x]
        trace.update(mode="lines+markers", text=["" if c is None else f"<b>{panels._e(c.camera)}</b>, {c.year}<br>{c.megapixels:g} MP" for c in found],
                     hovertemplate="%{text}<extra>%{fullData.name}</extra>", marker={"size": 8}, line={"width": 2})  # fmt: skip
    return figure


def _pace() -> str:
    found = [f"{name}: doubled every {g.doubling:.1f} years" for name, g in cameras.growth().items()]  # fmt: skip
    return "; ".join(map(panels._e, found)) + "."


def _table() -> list[str]:
    """The survey's rows, and ours beside them."""
    kinds = {kind: {row["arm"]: row for row in table_one.ours(kind)} for kind in ("square", "rings")}  # fmt: skip
    own = {kind: rows for kind, rows in kinds.items() if rows}
    named = {"square": "here: frames of the crowd scene", "rings": "here: without low frequencies"}
    head = "<th>Network's input</th><th>share of the pixels</th><th>the survey: error, heads</th>" + "".join(f"<th>{named[k]}</th>" for k in own)  # fmt: skip
    rows = []
    for paper in table_one.PAPER:
        cells = [
            f"<th>{ARMS[paper.arm]}<small>{paper.size[1]} \u00d7 {paper.size[0]} px</small></th>",
            f"<td>{'1' if paper.share == 1 else f'1/{round(1 / paper.share)}'}</td>",
            f"<td>{paper.mae:.2f}<small>{f'+{paper.change:.0%}' if paper.change else 'reference'}</small></td>",
        ]
        cells += [f"<td>{_ours(rows_of.get(paper.arm), rows_of.get('original'))}</td>" for rows_of in own.values()]  # fmt: skip
        rows.append(f"<tr>{''.join(cells)}</tr>")
    st.html(
        f'<div class="hv-scroll" style="padding:16px"><table class="hv-table hv-large"><tr>{head}</tr>{"".join(rows)}</table></div>'
    )
    if not own:
        st.html(panels.sentence("Our own rows are not recorded yet: benchmarks/table_one.py makes them", "notice"))  # fmt: skip
    notes = ["Mean absolute error of the count: lower is better. The survey: Shanghai Tech Part B, SASNet. Same peak memory in each pair, not the same operations: patches together cost what the whole frame costs."]  # fmt: skip
    record = table_one.record()
    for made in record.get("sets", []):
        trained = f"{len(made['seeds'])} trainings" if len(made["seeds"]) > 1 else "one training"
        notes.append(
            f"{named[made['kind']].capitalize()}: {made['frames']} unseen frames of {made['people']:.0f} heads, {trained}; "
            f"guessing the mean errs by {made['mean_guess_mae']:.0f}. Ranges are 95 % intervals."
        )
    if record:
        notes.append(f"Measured on {record['date']} by {record['network']}: {record['command']}")
    return notes


def _ours(row: Mapping[str, Any] | None, reference: Mapping[str, Any] | None) -> str:
    if row is None:
        return '<span class="hv-soft">–</span>'
    change = f"{row['mae'] / reference['mae'] - 1:+.0%}" if reference and row is not reference and reference["mae"] else "reference"  # fmt: skip
    memory = f", {ticks.amount(row['memory'], 'B')}" if row.get("memory") else ""
    error = colour.number(float(f"{row['mae']:.3g}"))
    low, high = (colour.number(float(f"{v:.3g}")) for v in row["interval"])
    return f"{error} <span class='hv-soft'>({low} to {high})</span><small>{change}{memory}</small>"

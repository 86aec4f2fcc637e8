"""Cost against density on the Methods page: measured when asked for, in the background."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hrviz.cost.density import has_tree
from hrviz.cost.density_job import DensityJob, submit
from hrviz.errors import HrvizError
from hrviz.method import Method
from hrviz.methods import task
from hrviz.viewer import panels, shell
from hrviz.viewer.shell import Session

TITLE = "Cost against density"
IDEA = "The method on its example scene, with few objects and with many: where there is something " \
       "everywhere, zooming saves nothing unless its looks are bounded."  # fmt: skip
HEIGHT = 248


def _jobs() -> dict[str, DensityJob]:
    """The last of each method, in this tab."""
    found: dict[str, DensityJob] = st.session_state.setdefault("density-jobs", {})
    return found


def busy(method: Method) -> bool:
    """Whether this method's is under way."""
    job = _jobs().get(method.name)
    return job is not None and not job.done and not job.cancelled


def panel(s: Session, method: Method) -> None:
    """An expander for methods with a tree of looks; nothing is drawn while it is closed."""
    if not has_tree(method):
        return
    box = st.expander(TITLE, key=f"density-{method.name}", on_change="rerun")
    if not box.open:
        return
    with box:
        _inside(s, method)


def _params(s: Session, method: Method) -> dict[str, Any]:
    """The controls that were moved; not a task that only the image shown does not have."""
    chosen = dict(s.params.get(method.name, {}))
    if not task.any_fits(method, s.image.truth):
        chosen.pop("task", None)
    return chosen


def _inside(s: Session, method: Method) -> None:
    job, params = _jobs().get(method.name), _params(s, method)
    st.html(f'<p class="hv-idea">{IDEA}</p>')
    above, below = st.container(), st.container()  # so that the chart keeps its place
    with above:
        if job is not None and busy(method):
            st.html(panels.progress(job.progress, panels.time_left(job.seconds_left)))
            st.button("Cancel", key="density-stop", on_click=job.cancel, width="stretch")
        else:
            label = "Measure" if job is None else "Measure again"
            st.button(label, key="density-go", on_click=_start, args=(s, method, params), width="stretch",
                      help="Several runs, with the controls as they are under Tune")  # fmt: skip
        if job is not None and job.error:
            st.html(panels.sentence(job.error))
        elif job is not None and job.cancelled:
            st.html(panels.sentence("Cancelled: what was measured stays", "notice"))
    if job is not None and job.density is not None:
        with below:
            _chart(s, job)


def _start(s: Session, method: Method, params: dict[str, Any]) -> None:
    try:
        _jobs()[method.name] = submit(method, params=params)
    except HrvizError as error:
        s.notes[:] = [str(error)]


def _chart(s: Session, job: DensityJob) -> None:
    from hrviz.views import plotly

    found = job.density
    assert found is not None

    def make() -> Any:
        figure = plotly.figure(found.curve, "light" if s.theme == "light" else "dark")
        legend = {"x": 0, "y": -0.3, "yanchor": "top", "font": {"size": 11}, "title": {"text": ""}}
        figure.update_layout(height=HEIGHT, legend=legend, margin={"l": 0, "r": 8, "t": 8, "b": 0})
        small = {"automargin": True, "title": {"standoff": 12, "font": {"size": 11}}}
        figure.update_yaxes(rangemode="tozero", tickformat=".0%", **small)
        figure.update_xaxes(tickformat=".0%" if found.series.dial.covers else "", **small)
        return figure

    st.plotly_chart(shell.cached(("density", job.method.name, s.theme), found, make), theme=None,
                    key=f"density-chart-{job.method.name}", config={"displayModeBar": False})  # fmt: skip
    st.html(f'<p class="hv-idea">{panels._e(found.note)}</p>'
            f'<span class="hv-left" style="overflow-wrap:anywhere">{panels._e(found.series.scene.uri)}</span>')  # fmt: skip

"""The Compare page: linked viewers, a table, and score against pixels read."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from hrviz.geometry import Box
from hrviz.method import METHODS, Method
from hrviz.methods import task
from hrviz.results import HeatMap
from hrviz.run import Run
from hrviz.viewer import gallery, overlays, panels, shell
from hrviz.viewer.live import Live, affordable, drawable, pictured, telling
from hrviz.viewer.shell import Session
from hrviz.viewer.streamlit import deepzoom
from hrviz.views import colour

MOST, FEWEST = 4, 2
SHARED = ("size", "task", "saliency")
EAGER = 26e6  # network pixels up to which all run unasked


def draw() -> bool:
    """The whole page; returns whether anything still runs."""
    s = shell.entered("Compare")
    if s.view is None:
        s.go(gallery.first_region(s.image))
    with st.container(key="choice", horizontal=True, vertical_alignment="bottom", gap="medium"):
        names = _methods(s)
        params, truth = _common(s, names)
    area = s.visible()
    runs: dict[str, Run | None] = {}
    waiting: dict[str, str] = {}
    ahead = False
    for name in [n for n in s.compared if n not in names]:
        s.compared.pop(name).cancel()
    # those with a budget first: a worker does one after the other, and patches take long
    for name in sorted(names, key=lambda n: all(p.name != "size" for p in METHODS[n].params)):
        slot = s.compared.setdefault(name, Live())
        ahead = _run(s, METHODS[name], slot, area, params, ahead) or ahead
        fresh = slot.job is not None and slot.job.run is slot.run
        runs[name] = slot.run if fresh else None
        waiting[name] = _waiting(slot)
    runs = {name: runs[name] for name in names}
    columns = st.columns(len(names), gap="xxsmall") if names else []
    for name, place in zip(names, columns, strict=True):
        with place:
            _panel(s, METHODS[name], area, truth)
    with st.container(key="below"):
        _below(s, runs, waiting)
    return any(slot.busy for slot in s.compared.values())


def _methods(s: Session) -> list[str]:
    default = [n for n in METHODS if METHODS[n].family == "baselines"][:2]
    default = [
        *dict.fromkeys([*default, s.method if s.method not in default else shell.FIRST_METHOD])
    ]
    picked = st.pills("Methods, two to four", list(METHODS), selection_mode="multi", default=default,
                      format_func=lambda n: METHODS[n].title, key="compare-methods")  # fmt: skip
    names = list(picked)[:MOST]
    if len(names) < FEWEST:
        st.html(panels.sentence("Choose at least two methods to compare", "notice"))
    return names


def _common(s: Session, names: list[str]) -> tuple[dict[str, Any], bool]:
    """Parameters that methods share are set once, so that the budget is the same.

    Methods may offer other choices for one of a name (whose boxes, whose task): all are offered, and
    a method that does not know the chosen one keeps its default.
    """
    found: dict[str, Any] = {}
    choices: dict[str, list[Any]] = {}
    for name in names:
        for param in METHODS[name].params:
            if param.name in SHARED:
                found.setdefault(param.name, param)
                known = choices.setdefault(param.name, [])
                known += [c for c in param.choices if c not in known]
    out = {}
    tuned = s.params.get(s.method, {})
    for name in (n for n in SHARED if n in found):
        param = found[name]
        if name == "task" and not any(task.any_fits(METHODS[n], s.image.truth) for n in names):
            out[name] = "none"
            continue
        start = tuned.get(name, param.default)
        key = f"compare-{name}"
        if param.kind == "choice":
            options = choices[name]
            start = start if start in options else param.default
            out[name] = st.selectbox(param.title, options, index=options.index(start), width=144,
                                     key=f"{key}-{'-'.join(options)}", help=param.control.help)  # fmt: skip
        else:
            sizes = [128, 256, 384, 512, 768, 1024, 2048]
            near = min(sizes, key=lambda v: abs(v - start))
            out[name] = st.select_slider(f"{param.title} ({param.control.unit})", sizes, near, key=key,
                                         help="The same input budget for every method that has one", width=144)  # fmt: skip
    truth = bool(overlays.best_truth(s.image)) and st.toggle("Truth", key="compare-truth")
    return out, truth


def _run(
    s: Session, method: Method, slot: Live, area: Box, shared: dict[str, Any], ahead: bool
) -> bool:
    """Start or follow one method; heavy ones wait for a click. Returns whether it is busy."""
    params = {
        p.name: shared[p.name]
        for p in method.params
        if p.name in shared and (p.kind != "choice" or shared[p.name] in p.choices)
    }
    params = affordable(method, area, EAGER) | params
    if method.name == s.method:
        tuned = s.params.get(method.name, {})
        params = {**tuned, **params}
    if "drawn" in params.values():
        params |= {k: v for k, v in shell.drawn_params(s).items() if v}
    names = {p.name for p in method.params}
    bounded = "size" in names or "downsample" not in names  # it looks only where it chooses to
    asked = st.session_state.get(f"compare-ask-{method.name}") == (s.address, tuple(area))
    if bounded or area.area / params.get("downsample", 1) ** 2 <= EAGER or asked:
        slot.apply(method, s.image, area, params, wait=0.0 if ahead else None)
    else:
        slot.cancel()
        slot.job, slot.run, slot.signature, slot.error = None, None, "", None
    return slot.busy


def _waiting(slot: Live) -> str:
    if slot.error:
        return slot.error
    if slot.busy and slot.job is not None:
        if not slot.job.steps:
            return "waiting for its turn"
        return f"running, {slot.job.progress:.0%}, {panels.time_left(slot.job.seconds_left)}"
    return "cancelled" if slot.stopped else "not run yet"


def _panel(s: Session, method: Method, area: Box, truth: bool) -> None:
    slot = s.compared[method.name]
    steps = slot.steps
    answers = [
        n for n, step in steps.items() if n == "prediction" and isinstance(step.result, HeatMap)
    ]
    shown = answers or [n for n in (telling(steps),) if n in steps and drawable(steps[n].result)]
    stack = overlays.truth(s, overlays.best_truth(s.image), area)[0] if truth else []
    stack += overlays.of_steps(steps, shown, 0.55, slot.version)
    stack += overlays.frame(area, s.image.box)
    badge = panels.badge(None, slot.run.steps if slot.run else ())
    used = slot.job.params if slot.job is not None else {}
    detail = (
        f' <span class="hv-soft">downsample {used["downsample"]}</span>'
        if "downsample" in used
        else ""
    )
    dot = f'<i class="hv-dot" style="background:{colour.method_colour(method.name)}"></i>'
    st.html(f'<div class="hv-head">{dot}<b>{method.title}</b>{detail}{badge}</div>')
    key = f"compare-{method.name}"
    data = shell.viewer_data(s, stack, disclaimer="", output=overlays.picture(pictured(steps)))
    deepzoom(data, f"{key}-viewer", "max(480px, calc(100vh - 300px))", **_linked(f"{key}-viewer"))
    if slot.error:
        st.html(panels.sentence(slot.error))
    elif slot.busy and slot.job is not None:
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.html(panels.progress(slot.job.progress, panels.time_left(slot.job.seconds_left)))
        right.button("Cancel", key=f"{key}-stop", on_click=slot.stop, width="stretch")
    elif slot.job is None:
        st.button(f"Run on {area.area / 1e6:,.0f} Mpx".replace(",", "\u2009"), key=f"{key}-go", width="stretch",
                  on_click=_ask, args=(method.name,), help="Full detail of this region takes a while")  # fmt: skip


def _ask(name: str) -> None:
    s = shell.session()
    st.session_state[f"compare-ask-{name}"] = (s.address, tuple(s.visible()))


def _linked(key: str) -> dict[str, Any]:
    """A viewer that came to rest takes the others with it."""

    def moved() -> None:
        s = shell.session()
        box = st.session_state[key].get("viewport")
        if not box:
            return
        before = s.view
        s.saw(Box(box["y"], box["x"], box["y"] + box["h"], box["x"] + box["w"]))
        if s.view != before:
            s.go(s.view)

    return {"on_viewport": moved}


def _below(s: Session, runs: dict[str, Run | None], waiting: dict[str, str]) -> None:
    st.html(panels.table(runs, waiting))
    known = {n: r for n, r in runs.items() if r is not None}
    scored = [k for k, _ in panels.SCORES if any(k in panels.score_of(r) for r in known.values())]
    if not scored:
        said = "Scores need a task network and an image with truth." if known else "No result yet."
        st.html(f'<span class="hv-left">{said}</span>')
        return
    st.plotly_chart(_scatter(s, known, scored[:2]), key="compare-scatter", theme=None,
                    config={"displayModeBar": False})  # fmt: skip


def _scatter(s: Session, runs: dict[str, Run], scored: list[str]) -> go.Figure:
    """Scores against pixels read: upper left is better."""
    titles = dict(panels.SCORES)
    figure = go.Figure()
    reads = [run.cost["pixels_read"].value / 1e6 for run in runs.values()]
    for key, symbol in zip(scored, ("circle", "diamond-open"), strict=False):
        named = [n for n, run in runs.items() if key in panels.score_of(run)]
        figure.add_scatter(
            x=[runs[n].cost["pixels_read"].value / 1e6 for n in named],
            y=[panels.score_of(runs[n])[key] for n in named],
            mode="markers+text" if key == scored[0] else "markers",
            text=[METHODS[n].title for n in named], textposition="bottom center", cliponaxis=False,
            name=titles[key], hovertemplate="%{text}<br>" + titles[key] + " %{y:.2f}<br>%{x:.3g} Mpx read<extra></extra>",
            marker={"size": 12, "symbol": symbol, "color": [colour.method_colour(n) for n in named],
                    "line": {"width": 2, "color": [colour.method_colour(n) for n in named]}},
        )  # fmt: skip
    figure.update_layout(
        height=320, margin={"l": 56, "r": 16, "t": 32, "b": 48}, showlegend=True,
        paper_bgcolor=s.look.background, plot_bgcolor=s.look.background,
        font={"color": s.look.text, "size": 12}, legend={"orientation": "h", "y": 1.12, "x": 0},
    )  # fmt: skip
    span = [math.log10(min(reads) / 3), math.log10(max(reads) * 3)]
    figure.update_xaxes(title="Pixels read (Mpx, measured); upper left is better", type="log", range=span,
                        dtick=math.log10(2), tickformat=".3~g", gridcolor=s.look.line)  # fmt: skip
    figure.update_yaxes(title="Score (measured)", range=[-0.05, 1.08], gridcolor=s.look.line)
    return figure

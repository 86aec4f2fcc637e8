"""The Methods page: rail, viewer with steps as overlays and output beside, inspector."""

from __future__ import annotations

import io
import json
from typing import Any

import streamlit as st

from hrviz.errors import HrvizError
from hrviz.forms.streamlit import controls
from hrviz.method import FAMILIES, METHODS, Method
from hrviz.methods import task
from hrviz.results import ZoomTree
from hrviz.viewer import density, gallery, overlays, panels, shell, shown, steering
from hrviz.viewer.live import charted, drawable, telling, without_networks
from hrviz.viewer.shell import Session
from hrviz.viewer.streamlit import deepzoom
from hrviz.views import colour, outputs
from hrviz.views import tree as trees

KEY = "methods-viewer"
ROW = 11  # steps that fit into one row of the filmstrip
CHART = 216  # pixels of a chart under the viewer
HEIGHT = "calc(100vh - 40px - var(--film))"
LOW = f"calc(100vh - {40 + CHART}px - var(--film))"
MODES = {"view": "Visible", "hold": "Hold", "whole": "Whole"}


def draw() -> bool:
    """The whole page; returns whether anything still runs."""
    s = shell.entered("Methods")
    if s.view is None and s.region == "view":
        s.go(gallery.first_region(s.image))
    method = METHODS.find(s.method)
    with st.container(key="desk", horizontal=True, wrap=False, gap=None):
        rail = st.container(key="rail", width=128)
        stage = st.container(key="stage", width="stretch", gap=None)
        inspector = st.container(key="inspector", width=256)
    with rail:
        _rail(s)
    with inspector:
        head = st.container(key="head", gap="xsmall")
        tune, layer, cost, about = st.tabs(["Tune", "Layers", "Cost", "About"])
    with tune:
        params = _tune(s, method)
    area = s.area()
    if s.live.wants(method, s.image, area, params):
        s.baselines.pause()
    s.live.apply(method, s.image, area, params, wait=0.15 if steering.under_way(s) else None)
    idle = not s.live.busy and not s.live.error and not steering.under_way(s)
    s.baselines.apply(method, s.image, area, params, idle=idle)
    with head:
        _head(s, method)
    with stage:
        chosen = _chosen(s, method)
        with layer:
            opacity, floor = _layers(s, method, chosen)
        _viewer(s, method, chosen, opacity, floor)
        _chart(s, chosen)
        _film(s, method, chosen)
    with cost:
        _costs(s, method)
    with about:
        _about(s, method)
    return s.live.busy or s.baselines.busy or density.busy(method)


def _rail(s: Session) -> None:
    for family, title in FAMILIES.items():
        members = [m for m in METHODS.values() if m.family == family]
        if members:
            st.html(f"<h6>{title}</h6>")
        for m in members:
            ink = colour.method_colour(m.name)
            st.html(
                f"<style>.st-key-pick-{m.name} button{{border-left-color:{ink} !important}}</style>"
            )
            st.button(m.title, key=f"pick-{m.name}", on_click=shell.pick_method, args=(m.name,),
                      type="primary" if m.name == s.method else "secondary", width="stretch",
                      help=f"{m.paper} (survey {m.section})")  # fmt: skip


def _head(s: Session, method: Method) -> None:
    live = s.live
    steps = live.steps
    mark = panels.badge(steps.get(_chosen(s, method)), () if live.error else steps.values())
    st.html(
        f'<p class="hv-title">{method.title}</p><p class="hv-idea">{panels.sentences(method.idea)}</p>{mark}'
    )
    if live.error:
        st.html(panels.sentence(live.error))
        way = without_networks(method, s.params.get(method.name, {}))
        if way:
            st.button("Run without networks", on_click=_retune, args=(method.name, way), width="stretch",
                      help="Saliency and task that need no trained weights")  # fmt: skip
        st.button("Back to the defaults", on_click=_retune, args=(method.name, {}), width="stretch")
    elif live.busy and live.job is not None:
        left, right = st.columns([3, 2], vertical_alignment="center", gap="small")
        text = panels.time_left(live.job.seconds_left)
        left.html(panels.progress(live.job.progress, text))
        right.button("Cancel", on_click=live.stop, width="stretch", key="cancel")
    elif live.stopped:
        st.html(
            panels.sentence(
                "Cancelled: what was done stays; change a control to run again", "notice"
            )
        )


def _retune(name: str, params: dict[str, Any]) -> None:
    """Set all controls of a method: their widgets are made anew with these values."""
    s = shell.session()
    for key in [k for k in st.session_state if str(k).startswith(f"p-{name}-")]:
        del st.session_state[key]
    s.start = {k: v for k, v in params.items() if k not in ("boxes", "strokes")}
    s.params[name] = dict(s.start)
    s.before.pop(name, None)
    s.live.signature = ""


def _tune(s: Session, method: Method) -> dict[str, Any]:
    """Moment, region, what dragging does, and the method's own controls."""
    shown.axes(s, play=False)
    mode = st.segmented_control("Region", list(MODES), format_func=MODES.__getitem__, default=s.settled(f"region-{s.round}-{s.visit}", s.region),
                                key=f"region-{s.round}-{s.visit}", required=True, width="stretch",
                                help="Visible follows the view; Hold keeps this region while you zoom; Whole takes the image")  # fmt: skip
    if mode != s.region:
        s.held = s.visible() if mode == "hold" else None
        s.region = mode
    steering.control(s, method)
    drawn = shell.drawn_params(s)
    names = {p.name for p in method.params}
    start = s.start | {k: v for k, v in drawn.items() if k in names and v}
    fixed = []  # set by what is drawn or shown, not by a control
    if steered := steering.steered(s, method):
        s.before.setdefault(method.name, steering.before(s, method))
        start["saliency"] = steering.DRAWN
        fixed.append("saliency")
    elif method.name in s.before:
        start["saliency"] = steering.before(s, method)
    if "task" in names and not task.any_fits(method, s.image.truth):
        start["task"] = "none"
        fixed.append("task")
        _offer(s, method)
    params = controls(method, "p", start, without=fixed)
    if steering.source(method) is not None and not steered:
        steering.remember(s, method, params["saliency"])
    if "drawn" not in params.values():
        params |= {k: method.defaults[k] for k in drawn if k in names}
    s.params[method.name] = {k: v for k, v in params.items() if v != method.defaults[k]}
    return params | (steering.hasty(method, params) if steering.under_way(s) else {})


def _offer(s: Session, method: Method) -> None:
    """One line where the image is not for the method's task: open one that is."""
    st.html('<span class="hv-left">No trained network is for what this image shows.</span>')
    if method.example != s.address:
        st.button("Open its example", key="example", on_click=_open, args=(method.example,), width="stretch",
                  help=f"An image that shows the method with its task: {method.example}")  # fmt: skip


def _open(address: str) -> None:
    s = shell.session()
    try:
        s.open(address)
    except HrvizError as error:
        s.notes[:] = [str(error)]


def _chosen(s: Session, method: Method) -> str:
    """The step chosen in the filmstrip; the most telling one until somebody chooses."""
    steps = s.live.steps
    chosen = s.step.get(method.name, "")
    return chosen if chosen in steps else telling(steps)


def _shown(s: Session, method: Method, chosen: str) -> tuple[str, ...]:
    """Names of the layers over the image: what was toggled, else the chosen step.

    While a step is chosen that lies elsewhere (beside, or in a chart), the most telling one stays.
    """
    step = s.live.steps.get(chosen)
    default = chosen if step is None or drawable(step.result) else telling(s.live.steps)
    return s.layers.get(method.name, (default,))


def _step_picked(name: str, key: str) -> None:
    s = shell.session()
    chosen = st.session_state[key]
    if not s.changed(key, chosen):
        return
    s.step[name] = chosen
    s.asked += 1
    step = s.live.steps.get(chosen)
    if step is not None and drawable(step.result):
        kept = (v for v in s.layers.get(name, ()) if v in (overlays.TRUTH, overlays.READS))
        s.layers[name] = (chosen, *kept)


def _layers_picked(name: str, key: str) -> None:
    if shell.session().changed(key, st.session_state[key]):
        shell.session().layers[name] = tuple(st.session_state[key])


def _layers(s: Session, method: Method, chosen: str) -> tuple[float, float]:
    """Layer toggles; opacity of maps, and the share of their range below which they are clear."""
    options = [n for n, step in s.live.steps.items() if drawable(step.result)]
    options += [overlays.TRUTH] if overlays.best_truth(s.image) else []
    options += [overlays.READS]
    # a choice made elsewhere (the filmstrip, a new step) makes the widget anew
    key = f"layers-{method.name}-{'-'.join(options)}-{s.asked}-{chosen if method.name not in s.layers else ''}"
    default = s.settled(key, [n for n in options if n in _shown(s, method, chosen)])
    st.pills("Over the image", options, selection_mode="multi", key=key, format_func=str.capitalize,
             default=default, on_change=_layers_picked, args=(method.name, key))  # fmt: skip
    opacity = st.slider("Opacity of maps", 0.0, 1.0, 0.65, 0.05, key="opacity")
    floor = st.slider("Clear below (share of range)", 0.0, 0.95, overlays.FLOOR, 0.05, key="floor",
                      help="Up: only the highest values of a map stay over the image")  # fmt: skip
    st.html('<span class="hv-left">Key O hides all layers for a moment.</span>')
    return float(opacity), float(floor)


def _viewer(s: Session, method: Method, chosen: str, opacity: float, floor: float) -> None:
    live, steps = s.live, s.live.steps
    shown = _shown(s, method, chosen)
    stack: list[dict[str, Any]] = []
    if overlays.TRUTH in shown:
        stack += overlays.truth(s, overlays.best_truth(s.image), s.area())[0]
    stack += overlays.of_steps(steps, shown, opacity, live.version, live.run, floor, paned=True)
    if s.region == "hold" or (s.view is not None and s.region == "view"):
        stack += overlays.frame(s.area(), s.image.box)
    step = steps.get(chosen)
    data = shell.viewer_data(
        s, stack, output=overlays.beside(steps, chosen), **steering.modes(method)
    )
    height = LOW if step is not None and charted(step.result) else HEIGHT
    deepzoom(data, KEY, height, **shell.watch(KEY))


def _chart(s: Session, chosen: str) -> None:
    """The chosen step, where it is a chart: under the picture it tells of."""
    step = s.live.steps.get(chosen)
    if step is None or not charted(step.result):
        return
    from hrviz.views import plotly

    def make() -> Any:
        figure = plotly.figure(step.result, "light" if s.theme == "light" else "dark")
        return plotly.low(figure, CHART - 16)

    with st.container(key="chart"):
        st.plotly_chart(shell.cached(("chart", chosen, s.theme), step.result, make), key=f"chart-{chosen}",
                        theme=None, config={"displayModeBar": False})  # fmt: skip


def _film(s: Session, method: Method, chosen: str) -> None:
    """The steps to click through, and what to see in the chosen one."""
    steps = s.live.steps
    with st.container(key="film", gap=None):
        if not steps:
            said = "No result yet." if s.live.error else "The first result is on its way."
            st.html(f'<span class="hv-noted">{said}</span>')
            return
        names = list(steps)
        if len(names) > ROW:
            st.html("<style>:root { --film: 104px; }</style>")
        key = f"step-{method.name}-{'-'.join(names)}"
        labels = dict(zip(names, panels.titles(names), strict=True))
        st.segmented_control("Steps", names, key=key, format_func=labels.__getitem__, required=True, wrap=True,
                             label_visibility="collapsed", on_change=_step_picked, args=(method.name, key),
                             default=s.settled(key, chosen if chosen in names else names[-1]))  # fmt: skip
        note = steps[chosen].note if chosen in steps else ""
        st.html(f'<span class="hv-noted" title="{panels._e(note)}">{panels._e(note)}</span>')


def _runs(s: Session, method: Method) -> tuple[dict[str, Any], dict[str, str]]:
    live = s.live
    fresh = live.run if live.job is None or live.job.run is live.run else None
    runs: dict[str, Any] = {method.name: fresh}
    waiting = {method.name: "running" if live.busy else "not run yet"}
    for other in s.baselines.names(method):
        slot = s.baselines.slots.get(other.name)
        runs[other.name] = slot.run if slot else None
        if slot and slot.busy and slot.job is not None:
            waiting[other.name] = f"running, {slot.job.progress:.0%}"
        elif slot and slot.error:
            waiting[other.name] = "failed"
    return runs, waiting


def _costs(s: Session, method: Method) -> None:
    runs, waiting = _runs(s, method)
    st.html(panels.scores(runs) + panels.costs(runs, waiting))
    for name, run in runs.items():
        slot = s.baselines.slots.get(name)
        if run is None and slot is not None and not slot.busy and name not in s.baselines.asked:
            st.button(f"Run {METHODS[name].title.lower()}", key=f"ask-{name}", width="stretch",
                      on_click=s.baselines.asked.add, args=(name,))  # fmt: skip
        if slot is not None and slot.error:
            st.html(panels.sentence(f"{METHODS[name].title}: {slot.error}"))
        if slot is not None and slot.busy and name in s.baselines.asked:
            st.button(
                f"Cancel {METHODS[name].title.lower()}",
                key=f"stop-{name}",
                on_click=slot.stop,
                width="stretch",
            )
    for step in outputs.trees(s.live.steps).values():
        assert isinstance(step.result, ZoomTree)
        told = " \u00b7 ".join(trees.totals(step.result))
        st.html(f'<span class="hv-left">{panels._e(step.name.capitalize())}: {told}.</span>')
    if s.live.run is not None:
        share = s.live.run.reads.summary()["share_of_image"]
        st.html(f'<span class="hv-left">It read {share:.2%} of the image’s pixels.</span>')
    density.panel(s, method)


def _about(s: Session, method: Method) -> None:
    if method.equation:
        st.latex(method.equation)
    st.html(
        f'<p class="hv-h">Use when</p><p class="hv-idea">{panels._e(method.use_when)}</p>'
        f'<p class="hv-h">Avoid when</p><p class="hv-idea">{panels._e(method.avoid_when)}</p>'
        f'<p class="hv-h">Paper</p><p class="hv-idea">{panels._e(method.paper)} (survey {panels._e(method.section)})</p>'
    )
    run = s.live.run
    if run is not None:
        st.download_button("Export run as JSON", lambda: json.dumps(run.describe(), indent=1, default=str),
                           f"{method.name}.json", "application/json", on_click="ignore", width="stretch")  # fmt: skip
        step = s.live.steps.get(_chosen(s, method))
        if step is not None:
            st.download_button("Export step as PNG", lambda: _png(step), f"{method.name}-{step.name}.png", "image/png",
                               on_click="ignore", width="stretch")  # fmt: skip


def _png(step: Any) -> bytes:
    import tempfile
    from pathlib import Path

    from hrviz.views import mpl

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.png"
        mpl.save(step.result, path)
        return io.BytesIO(path.read_bytes()).getvalue()

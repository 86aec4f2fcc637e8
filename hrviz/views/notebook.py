"""What the notebooks share: a method to play with (sliders, viewer, output), and a few pictures.

In `live`, every change of a control or of a drawn box runs the method again in the background
(`hrviz.run.submit`), so the kernel stays free; the newest change wins and cancels the one before.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.method import METHODS, Method
from hrviz.results import Picture, Step
from hrviz.run import Job, submit
from hrviz.views import colour, deepzoom, outputs
from hrviz.views.layers import layers

POLL = 0.1  # seconds between looks at a running job


def live(
    method: str | Method, image: Any, region: Any = None, *, show: str = "", height: int = 440,
    **params: Any,
) -> Any:  # fmt: skip
    """Sliders beside the deep-zoom viewer; what they do is seen in both pictures.

    Parameters
    ----------
    method : str
        Name or alias.
    image : Image
    region : Box, optional
        (y0, x0, y1, x1) in level-0 pixels; the viewer flies there. Default the whole image.
    show : str
        Step laid over the image at first; default the first that lies on it.
    height : int
        Of the viewer, CSS pixels.
    **params
        Where the controls start; default the method's own.

    Returns
    -------
    ipywidgets.VBox
        Shown by Jupyter when it is a cell's last value; `.live` is the state behind it.
    """
    return Live(METHODS.find(method), image, image.view(region).box, show, height, params).panel


class Live:
    """The state behind one panel: the newest job, its steps, and the widgets that show them."""

    def __init__(
        self,
        method: Method,
        image: Any,
        region: Box,
        show: str,
        height: int,
        params: dict[str, Any],
    ) -> None:
        import ipywidgets as w

        from hrviz.forms.ipywidgets import controls
        from hrviz.viewer.jupyter import DeepZoom

        self.method, self.image, self.region, self.show = method, image, region, show
        self.job: Job | None = None
        self.steps: dict[str, Step] = {}
        self._lock = threading.RLock()
        form, self.values, observe = controls(method)
        self.fields = _by_name(method, form)
        self.viewer, self.status = DeepZoom(image, height=height), w.HTML()
        self.viewer.fly(region)
        self.layer = w.Dropdown(description="Show", layout={"width": "18em"})
        bar = [self.layer]
        for name, value in method.bind(params).items():
            if name in params:
                self.fields[name].value = _text(value) if name == "boxes" else value
        if "boxes" in self.fields:
            draw = w.ToggleButton(description="Draw boxes", tooltip="Dragging draws a box")
            draw.observe(lambda c: setattr(self.viewer, "draw", "box" if c.new else None), "value")
            boxes = [deepzoom.rect(Box(*b)) for b in self.values()["boxes"]]
            self.viewer.drawings = {"boxes": boxes, "strokes": []}
            self.viewer.observe(self._drawn, "drawings")
            bar.append(draw)
        self.layer.observe(lambda _: self._overlay(), "value")
        observe(self.apply)
        self.viewer.layout = w.Layout(flex="1 1 60%", width="auto", min_width="20em")
        top = w.HBox([*bar, self.status], layout={"align_items": "center"})
        self.panel = w.VBox([top, w.HBox([self.viewer, form])])
        self.panel.live = self
        self.apply(self.values())

    def apply(self, params: dict[str, Any]) -> None:
        """Run with `params`; what was running before is cancelled."""
        if self.job is not None:
            self.job.cancel()
        try:
            self.job = submit(self.method, self.image, self.region, params)
        except HrvizError as error:
            self.job = None
            self._say(str(error), error=True)
            return
        threading.Thread(target=self._follow, args=(self.job,), daemon=True).start()

    def _follow(self, job: Job) -> None:
        seen, done = -1, False
        while not done and job is self.job:
            done = job.wait(POLL)
            if job.version != seen:
                seen = job.version
                with self._lock:
                    self._take(job)

    def _take(self, job: Job) -> None:
        """Show what a job has come to, unless a newer one took its place."""
        if job is not self.job:
            return
        self.steps = dict(job.steps)
        names = [n for n, s in self.steps.items() if layers(s.result)]
        names = [n for n in names if not isinstance(self.steps[n].result, Picture)]
        if names and tuple(names) != self.layer.options:
            chosen = self.layer.value or self.show
            grown = [n for n in outputs.trees(self.steps) if n not in self.layer.options]
            chosen = grown[-1] if grown and not self.show else chosen
            self.layer.options = names
            self.layer.value = chosen if chosen in names else names[0]
        with self.viewer.hold_sync():  # a tree's boxes and its pane are one
            self.viewer.output = deepzoom.pane(self.steps, self.layer.value or "")
            self._overlay()
        if job.run is None:
            self._say(job.error or f"{job.progress:.0%} done", error=bool(job.error))
        else:
            self._say(_told(job.run))

    def _overlay(self) -> None:
        step = self.steps.get(self.layer.value or "")
        if step is not None:  # inline: the viewer's tile routes are not served in a notebook
            self.viewer.overlays = deepzoom.overlay(
                step.result, step.name, tiled=False, view=step.name
            )

    def _drawn(self, change: Any) -> None:
        boxes = [(b["y"], b["x"], b["y"] + b["h"], b["x"] + b["w"]) for b in change.new["boxes"]]
        self.fields["boxes"].value = _text(boxes)
        if boxes and "saliency" in self.fields:
            self.fields["saliency"].value = "drawn"

    def _say(self, text: str, error: bool = False) -> None:
        theme = colour.THEMES["light"]
        ink = colour.DECISIONS["skipped by budget"].colour if error else theme.muted
        self.status.value = f'<span style="color:{ink}">{html.escape(text)}</span>'


def _told(run: Any) -> str:
    """Scores and costs of a finished run in one line."""
    parts = []
    for step in run.steps:
        if step.name == "score":
            parts = [f"{k.replace('_', ' ')} {v:.2f}" for k, v in step.result.values.items()
                     if k in ("iou", "small_lesion_recall")]  # fmt: skip
    for name, verb in (("seconds", ""), ("pixels_read", " read"), ("flops", "")):
        quantity = run.cost[name]
        parts.append(colour.amount(quantity.value, quantity.unit) + verb)
    return " \u00b7 ".join(parts)


def _by_name(method: Method, form: Any) -> dict[str, Any]:
    """The controls of a form by parameter name: basic ones first, the rest folded under 'More'."""
    basic = [p.name for p in method.params if p.control.basic]
    more = [p.name for p in method.params if not p.control.basic]
    folded = form.children[-1].children[0].children if more else ()
    return dict(zip([*basic, *more], [*form.children[: len(basic)], *folded], strict=True))


def _text(boxes: Any) -> str:
    """Boxes (y0, x0, y1, x1) as their control holds them: x,y,w,h;..."""
    return "; ".join(f"{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f}" for y0, x0, y1, x1 in boxes)


# -- pictures that notebooks draw again and again ---------------------------------------------------
VERDICTS = (
    ("found", "#009E73", ""),
    ("missed", "#E69F00", "////"),
    ("false alarm", "#0072B2", "xxxx"),
)
QUANTITIES = {
    "iou": "IoU", "small_lesion_recall": "small-lesion recall", "pixels_read": "pixels read",
    "flops": "operations", "seconds": "time, this machine",
}  # fmt: skip


def place(ax: Any, image: Any, box: Box, title: str = "", side: int = 512) -> None:
    """A box of an image, `side` pixels long, in level-0 coordinates."""
    ax.imshow(image.rgb(box, image.view(box).fit(side)), extent=(box.x0, box.x1, box.y1, box.y0))
    _bare(ax, box, title)


def frame(ax: Any, box: Box, ink: str, width: float = 2.2) -> None:
    """The outline of a box, with a white rim so that it is seen on anything."""
    from matplotlib.patches import Rectangle

    for colour_, lw in (("white", width + 1.6), (ink, width)):
        ax.add_patch(
            Rectangle((box.x0, box.y0), box.width, box.height, fill=False, ec=colour_, lw=lw)
        )


def verdict(ax: Any, image: Any, run: Any, title: str = "") -> None:
    """A run's prediction against the truth, over a grey picture: found, missed, false alarm."""
    box, n = run.region, 384
    grey = image.rgb(box, image.view(box).fit(n)).mean(2)
    y, x = (
        a + (np.arange(n) + 0.5) * d / n for a, d in ((box.y0, box.height), (box.x0, box.width))
    )
    known = image.truth is not None and "mask" in image.truth.knows
    truth = image.truth.mask(box, (n, n)) > 0 if known else np.zeros((n, n), bool)
    points = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    said = run["prediction"].at(points).reshape(n, n) > 0.5
    extent = (box.x0, box.x1, box.y1, box.y0)
    ax.imshow(150 + grey * 0.41, cmap="gray", vmin=0, vmax=255, extent=extent)
    areas = (truth & said, truth & ~said, ~truth & said)
    for (_, ink, hatch), area in zip(VERDICTS, areas, strict=True):
        if area.any():
            ax.contourf(x, y, area, levels=[0.5, 1.5], colors=[ink], alpha=0.85, hatches=[hatch])
    _bare(ax, box, title)


def verdict_legend(figure: Any) -> None:
    """What the three areas of `verdict` mean, below the figure."""
    from matplotlib.patches import Patch

    handles = [Patch(fc=ink, hatch=hatch, label=name) for name, ink, hatch in VERDICTS]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))


def scores(run: Any) -> str:
    """IoU and small lesions found, in words."""
    s = run["score"].values
    small = s.get("small_lesions", 0.0)
    return f"IoU {s['iou']:.2f}, small lesions {s.get('small_lesion_recall', 0) * small:.0f} of {small:.0f}"


def bars(axes: Any, runs: dict[str, Any], names: Sequence[str] = tuple(QUANTITIES)) -> None:
    """One row a run, one column a quantity: scores from 0 to 1, costs on a logarithmic axis."""
    inks = [colour.method_colour(r.method.name) for r in runs.values()]
    for ax, name in zip(axes, names, strict=True):
        score = name in ("iou", "small_lesion_recall")
        values = [r["score"].values[name] if score else r.cost[name].value for r in runs.values()]
        ax.barh(list(runs), values, color=inks, height=0.62)
        for row, (value, run) in enumerate(zip(values, runs.values(), strict=True)):
            if score:
                text = f"{value:.2f}"
            elif name == "pixels_read":
                text = f"{value / 1e6:.2g} Mpx"
            else:
                text = colour.amount(float(f"{value:.2g}"), run.cost[name].unit)
            ax.annotate(text, (value, row), (4, 0), textcoords="offset points", va="center", size=9)
        if score:
            ax.set_xlim(0, 1.35)
        else:
            ax.set(xscale="log", xlim=(min(values) / 3, max(values) * 60))
        ax.set(title=QUANTITIES[name], xticks=[])
        ax.minorticks_off()
        ax.spines[["bottom", "left"]].set_visible(False)
        ax.tick_params(length=0)
    axes[0].invert_yaxis()


def _bare(ax: Any, box: Box, title: str) -> None:
    ax.set(xticks=[], yticks=[], xlim=(box.x0, box.x1), ylim=(box.y1, box.y0), aspect="equal")
    ax.set_title(title)
    ax.spines[:].set_visible(True)

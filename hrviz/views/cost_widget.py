"""What resolution costs, in a notebook: controls beside the curve, and what fits as a table.

Where there are no widgets, the same as a picture.
"""

from __future__ import annotations

import base64
import html
import threading
import time
from collections.abc import Sequence
from typing import Any

from hrviz.cost import study, study_job
from hrviz.cost.devices import DEVICES
from hrviz.errors import HrvizError
from hrviz.views import colour, ticks
from hrviz.views import costs as words
from hrviz.views.html import table

POLL, RENEW = 0.1, 0.7  # seconds between looks at the job, and between pictures
SIDE = 1024  # px that the table tells costs at without an image
LAYOUT = {"width": "21em"}
STYLE = {"description_width": "7em"}


def costs(
    *names: str,
    image: Any = None,
    device: str = words.DEVICE,
    of: str = "needed",
    sides: Sequence[int] = study.SIDES,
    widgets: bool | None = None,
    **setting: Any,
) -> Any:
    """What resolution costs networks and methods, and what fits a device; nothing is run.

    Parameters
    ----------
    *names : str
        Networks such as 'efficientnet-b7' or 'vit-b16', and methods; default one network and the two
        baselines.
    image : Image or int, optional
        Asked about too: its longer side, or that many pixels.
    device : str
        A name of `hrviz.cost.devices.DEVICES`, 'all', or a size such as '20 GiB'.
    of : str
        What the curve shows: 'needed' (memory), 'flops', 'parameters', 'pixels', 'network_pixels'.
    sides : sequence of int, px
        Of the square images that the curve is drawn through.
    widgets : bool, optional
        False for a picture without controls; default controls where ipywidgets is installed.
    **setting
        As of `hrviz.cost.study.Setting`: batch, dtype, training, optimiser, network, reduction.

    Returns
    -------
    ipywidgets.VBox or matplotlib Figure
        The former's `.live` is the state behind it.

    Raises
    ------
    HrvizError
        One sentence: an unknown subject, device, quantity or setting.
    """
    fields = study.Setting.__dataclass_fields__
    for name in setting:
        if name not in fields:
            raise HrvizError(f"{name!r} is not a setting: choose {', '.join(fields)}")
    if of not in study.QUANTITIES:
        raise HrvizError(f"{of!r} is not a cost: choose {', '.join(study.QUANTITIES)}")
    against = words.budgets(device)
    chosen = names or words.SUBJECTS
    side = _side(image)
    asked = words.sides(sides, side)
    start = study.prepared(chosen, asked, study.Setting(**setting))
    if widgets is None:
        widgets = _available()
    if not widgets:
        return _picture(
            study.grow(list(start.points), start.sides, start.setting), of, against, side
        )
    return Explorer(start, of, device, side).panel


def _side(image: Any) -> int:
    if image is None:
        return 0
    return image if isinstance(image, int) else int(max(image.height, image.width))


def _available() -> bool:
    try:
        import anywidget  # noqa: F401  # plotly's figures are of it
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True


def _picture(found: study.Study, of: str, against: dict[str, int], side: int) -> Any:
    """The curve as a matplotlib figure."""
    from matplotlib.figure import Figure

    from hrviz.views import mpl

    curve = words.curve(found, of, against, side)
    if curve is None:
        raise HrvizError(next(iter(found.problems.values()), "nothing is known yet"))
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    mpl.draw(curve, figure.add_subplot())
    return figure


class Explorer:
    """The state behind one panel: the newest job, what is known of it, and the widgets.

    Parameters
    ----------
    start : Study
        Subjects, sides and setting to begin with.
    of, device : str
    side : int, px
        Of the image at hand; 0 for none.
    """

    def __init__(self, start: study.Study, of: str, device: str, side: int) -> None:
        import ipywidgets as w
        import plotly.graph_objects as go

        self.sides, self.side, self.start = start.sides, side, start
        self.study: study.Study = start
        self.fits: dict[Any, Any] = {}
        self.job: study_job.StudyJob | None = None
        self._lock = threading.RLock()
        self._against = words.budgets(device)

        known = study.subjects()
        self.boxes = {
            name: w.Checkbox(name in start.points, description=ticks.title(name), indent=False,
                             tooltip=s.note, layout={"width": "auto", "height": "22px"})
            for name, s in known.items()
        }  # fmt: skip
        listed: list[Any] = []
        for title, members in words.groups(known).items():
            listed += [
                w.HTML(f"<b>{html.escape(title)}</b>"),
                *(self.boxes[m.name] for m in members),
            ]
        networks = {ticks.title(n): n for n, s in known.items() if s.group == "network"}
        given = start.setting
        reductions = {text: v for v, text in words.REDUCTIONS.items()}
        if given.reduction not in words.REDUCTIONS:
            reductions[f"1/{given.reduction:g} of the image"] = given.reduction
        devices = {d.title: name for name, d in DEVICES.items()} | {"All of them": words.ALL}
        if device not in devices.values():
            devices[next(iter(self._against))] = device
        quantities = {words.QUANTITIES.get(q, label): q for q, (label, _) in study.QUANTITIES.items()
                      if q in words.QUANTITIES or q == of}  # fmt: skip
        choices: dict[str, tuple[str, Any, Any]] = {
            "use": ("Use", {t: v for v, t in words.USES.items()}, "training" if given.training else "inference"),
            "optimiser": ("Optimiser", {t: v for v, t in words.OPTIMISERS.items()}, given.optimiser),
            "dtype": ("Numbers", words.DTYPES, given.dtype),
            "network": ("Task network", {"Their own": ""} | networks, given.network),
            "reduction": ("Output", reductions, given.reduction),
            "device": ("Device", devices, device),
            "quantity": ("Show", quantities, of),
        }  # fmt: skip
        self.fields: dict[str, Any] = {
            name: w.Dropdown(options=list(o.items()) if isinstance(o, dict) else o, value=value, description=text,
                             tooltip=words.TIPS[name], layout=LAYOUT, style=STYLE)
            for name, (text, o, value) in choices.items()
        }  # fmt: skip
        self.fields["batch"] = w.BoundedIntText(
            given.batch, min=1, max=1024, description="Batch", tooltip=words.TIPS["batch"], layout=LAYOUT, style=STYLE
        )  # fmt: skip
        order = ("quantity", "device", "use", "optimiser", "batch", "dtype", "network", "reduction")
        self.stop = w.Button(description="Cancel", layout={"width": "7em"})
        self.progress = w.FloatProgress(
            value=0, min=0, max=1, layout={"width": "10em", "height": "8px"}
        )
        self.status, self.table = w.HTML(), w.HTML()
        self.figure = go.FigureWidget(layout={"height": 420})
        self.chart = w.VBox([self.figure])
        subjects = w.VBox(listed, layout={"height": "190px", "overflow": "auto", "width": "21em", "display": "block"})  # fmt: skip
        left = w.VBox([subjects, *(self.fields[n] for n in order)])
        left.layout.flex = "0 0 auto"
        line = w.HBox([self.stop, self.progress, self.status], layout={"align_items": "center"})
        right = w.VBox([self.chart, line], layout={"flex": "1 1 auto", "min_width": "24em"})
        self.panel = _panel()([w.HBox([left, right]), self.table])
        self.panel.live = self

        self.stop.on_click(lambda _: self.cancel())
        self.fields["quantity"].observe(lambda _: self._draw(), "value")
        for name, field in self.fields.items():
            if name != "quantity":
                field.observe(lambda _: self.work_out(), "value")
        for box in self.boxes.values():
            box.observe(lambda _: self.work_out(), "value")
        self.work_out()

    # -- asking -----------------------------------------------------------------------------------
    @property
    def names(self) -> list[str]:
        """The chosen subjects."""
        return [name for name, box in self.boxes.items() if box.value]

    @property
    def setting(self) -> study.Setting:
        """As the controls say."""
        f = {name: field.value for name, field in self.fields.items()}
        training = f["use"] == "training"
        return study.Setting(
            f["batch"], f["dtype"], training, f["optimiser"] if training else None, f["network"],
            f["reduction"], self.start.setting.params,
        )  # fmt: skip

    def work_out(self) -> None:
        """Ask for what the controls say; what was asked before is cancelled."""
        if self.job is not None:
            self.job.cancel()
        self.fields["optimiser"].disabled = self.fields["use"].value != "training"
        self._against = words.budgets(self.fields["device"].value)
        try:
            self.job = study_job.submit(
                self.names, self.sides, self.setting, tuple(self._against.values())
            )
        except HrvizError as error:
            self.job = None
            self._say(str(error), error=True)
            return
        threading.Thread(target=self._follow, args=(self.job,), daemon=True).start()

    def cancel(self) -> None:
        """Stop what is worked out; what is known stays."""
        if self.job is not None and not self.job.done:
            self.job.cancel()
            self._say("Cancelled.")

    def _follow(self, job: study_job.StudyJob) -> None:
        """In a thread of its own until the job ends or another takes its place."""
        seen, drawn, done = -1, 0.0, False
        while not done and job is self.job:
            done = job.wait(POLL) or job.cancelled
            if job.version == seen and not done:
                continue
            seen = job.version
            with self._lock:
                if job is self.job:
                    self._take(job, done or time.monotonic() - drawn > RENEW)
            drawn = time.monotonic() if time.monotonic() - drawn > RENEW else drawn

    def _take(self, job: study_job.StudyJob, draw: bool) -> None:
        running = not (
            job.done or job.cancelled
        )  # before the rest: what comes after is seen next time
        self.study, self.fits = job.study, job.fits
        if draw or not running:
            self._draw()
        self.progress.value = job.progress
        self.stop.disabled = not running
        self.progress.layout.visibility = "visible" if running else "hidden"
        left = job.seconds_left
        if job.error:
            self._say(job.error, error=True)
        elif running:
            self._say(f"about {max(1, round(left))} s left" if left and left > 3 else "")
        elif job.cancelled:
            self._say("Cancelled.")
        else:
            problems = [f"{ticks.title(n)}: {text}" for n, text in job.study.problems.items()]
            self._say("; ".join(problems) or "Predicted; nothing was run.", error=bool(problems))

    # -- showing ----------------------------------------------------------------------------------
    def curve(self) -> Any:
        """What is known by now, as a `Curve`; None before the first point."""
        return words.curve(self.study, self.fields["quantity"].value, self._against, self.side)

    def _draw(self) -> None:
        import plotly.graph_objects as go

        from hrviz.views import plotly

        with self._lock:
            curve = self.curve()
            if curve is None:
                return
            made = plotly.figure(curve, "light")
            made.update_layout(height=420)
            # a new figure each time: lines and marks of another quantity would stay in an old one
            old, self.figure = self.figure, go.FigureWidget(made)
            self.chart.children = (self.figure,)
            old.close()
            at = self.side or min(self.sides, key=lambda s: abs(s - SIDE))
            self.table.value = table(*words.table(self.study, self.fits, self._against, at))

    def _say(self, text: str, error: bool = False) -> None:
        ink = (
            colour.DECISIONS["skipped by budget"].colour if error else colour.THEMES["light"].muted
        )
        self.status.value = f'<span style="color:{ink}">{html.escape(text)}</span>'

    def png(self) -> bytes | None:
        """What is known by now as a picture; None before the first point."""
        curve = self.curve()
        if curve is None:
            return None
        from hrviz.views import mpl

        return words.picture(7, 4.4, lambda ax: mpl.draw(curve, ax))


def _panel() -> Any:
    """A box whose picture viewers without widgets (GitHub, nbviewer) show."""
    import ipywidgets as w

    class CostPanel(w.VBox):  # type: ignore[misc,unused-ignore]
        live: Explorer

        def _repr_mimebundle_(self, **kwargs: Any) -> Any:
            bundle = super()._repr_mimebundle_(**kwargs)
            png = self.live.png()
            if png is None or not isinstance(bundle, dict):
                return bundle
            return {"image/png": base64.b64encode(png).decode()} | bundle

    return CostPanel

"""Small pieces of HTML for the app's panels: facts, tables, cost bars, badges. All text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hrviz.image import Image
from hrviz.method import METHODS
from hrviz.results import Prediction, Step
from hrviz.run import Run
from hrviz.views import colour

QUANTITIES = (
    ("pixels_read", "Pixels read"), ("flops", "Operations"), ("peak_memory", "Peak memory"),
    ("seconds", "Time"),
)  # fmt: skip
SCORES = (
    ("iou", "IoU"),
    ("small_lesion_recall", "Small-lesion recall"),
    ("lesion_recall", "Lesion recall"),
)


def _e(text: Any) -> str:
    return html.escape(str(text))


def nice(text: str) -> str:
    """Typography of facts: thin spaces, multiplication signs, micrometres."""
    out = text.replace(" x ", " \u00d7 ").replace(" um", " \u00b5m")
    words = []
    for word in out.split(" "):
        bare = word.rstrip(",;)")
        if bare.isdigit() and len(bare) > 4:
            word = f"{int(bare):,}".replace(",", "\u2009") + word[len(bare) :]
        words.append(word)
    return " ".join(words)


def facts(values: Mapping[str, str]) -> str:
    """What is known of an image, as a table of two columns."""
    rows = "".join(
        f"<tr><th>{_e(k.capitalize())}</th><td>{_e(nice(v))}</td></tr>" for k, v in values.items()
    )
    return f'<table class="hv-facts">{rows}</table>'


def levels(image: Image) -> str:
    """Pyramid levels: number, size, downsample; virtual ones are told apart by words."""
    rows = []
    for i, info in enumerate(image.levels_info):
        size = f"{colour.number(info.width)} \u00d7 {colour.number(info.height)}"
        kind = (
            "" if i < image.stored_levels else ' class="hv-soft" title="made from the level above"'
        )
        rows.append(f"<tr{kind}><td>{i}</td><td>{size}</td><td>{info.downsample:g}\u00d7</td></tr>")
    head = "<tr><th>Level</th><th>Pixels</th><th>Down</th></tr>"
    return f'<table class="hv-levels">{head}{"".join(rows)}</table>'


def badge(step: Step | None, steps: Iterable[Step] = ()) -> str:
    """Where a result is from: trained, oracle, stand-in, drawn; else where the first step that
    tells is from; nothing where none does.
    """
    told = (getattr(s.result, "source", "") for s in (*([step] if step else []), *steps))
    source = next((t for t in told if t), "")
    if not source:
        return ""
    kind = source.split(":")[0].split(" ")[0].split(",")[0]
    return f'<span class="hv-badge hv-{_e(kind)}" title="Where this result is from">{_e(source)}</span>'


def score_of(run: Run | None) -> dict[str, float]:
    """The scores a run came to, empty without truth or task."""
    if run is not None:
        for step in run.steps:
            if step.name == "score" and isinstance(step.result, Prediction):
                return step.result.values
    return {}


def amount(name: str, value: float, unit: str) -> str:
    """A cost with no more digits than it deserves."""
    if name == "peak_memory" and value < 2**20:
        return "< 1 MiB"
    for size, short in ((1e9, "Gpx"), (1e6, "Mpx")):
        if unit == "px" and value >= size:
            return f"{colour.number(value / size)} {short}"
    return colour.amount(value, unit)


def _bar(name: str, value: float | None, top: float, text: str, tag: str, note: str = "") -> str:
    title = METHODS[name].title if name in METHODS else name
    share = 0.0 if not value or top <= 0 else max(0.01, value / top)
    ink = colour.method_colour(name)
    return (
        f'<div class="hv-row" title="{_e(note)}"><span class="hv-name">{_e(title)}</span>'
        f'<span class="hv-track"><i style="width:{share:.1%};background:{ink}"></i></span>'
        f'<span class="hv-num">{_e(text)}</span><span class="hv-tag">{_e(tag)}</span></div>'
    )


def costs(runs: Mapping[str, Run | None], waiting: Mapping[str, str] | None = None) -> str:
    """Bars of each cost, one a method; those without a run say so.

    Parameters
    ----------
    runs : dict of method name to Run or None
    waiting : dict of method name to words
        What to say of those without a run.
    """
    waiting = waiting or {}
    parts = []
    for quantity, title in QUANTITIES:
        known = {
            n: q for n, r in runs.items() if r for q in r.cost.quantities if q.name == quantity
        }
        top = max((q.value for q in known.values()), default=0.0)
        rows = []
        for name in runs:
            if name in known:
                q = known[name]
                rows.append(
                    _bar(name, q.value, top, amount(q.name, q.value, q.unit), q.tag, q.note)
                )
            else:
                said = "not known here" if runs[name] else waiting.get(name, "not run yet")
                rows.append(_bar(name, None, 0, said, ""))
        parts.append(f'<div class="hv-cost"><h6>{title}</h6>{"".join(rows)}</div>')
    for name, run in runs.items():
        if run is not None and "downsample" in run.params:
            said = f"{METHODS[name].title}: read at downsample {run.params['downsample']}."
            parts.append(f'<p class="hv-soft">{_e(said)}</p>')
    return "".join(parts)


def scores(runs: Mapping[str, Run | None]) -> str:
    """Bars of the scores against truth, where there are any."""
    parts = []
    for key, title in SCORES:
        known = {n: score_of(r)[key] for n, r in runs.items() if key in score_of(r)}
        if not known:
            continue
        rows = [_bar(n, v, 1.0, f"{v:.2f}", "measured") for n, v in known.items()]
        parts.append(f'<div class="hv-cost"><h6>{title}</h6>{"".join(rows)}</div>')
    return "".join(parts)


def table(runs: Mapping[str, Run | None], waiting: Mapping[str, str]) -> str:
    """Compare's table: one row a method; units and tags in the cells."""
    head = ["Method", *(t for _, t in SCORES[:2]), *(t for _, t in QUANTITIES)]
    rows = []
    for name, run in runs.items():
        dot = f'<i class="hv-dot" style="background:{colour.method_colour(name)}"></i>'
        used = run.params if run is not None else {}
        more = f" at downsample {used['downsample']}" if "downsample" in used else ""
        cells = [f"<th>{dot}{_e(METHODS[name].title)}<small>{more}</small></th>"]
        if run is None:
            cells.append(
                f'<td colspan="{len(head) - 1}" class="hv-soft">{_e(waiting.get(name, "not run yet"))}</td>'
            )
        else:
            found = score_of(run)
            for key, _ in SCORES[:2]:
                cells.append(
                    f"<td>{found[key]:.2f}</td>" if key in found else '<td class="hv-soft">–</td>'
                )
            by_name = {q.name: q for q in run.cost.quantities}
            for key, _ in QUANTITIES:
                q = by_name.get(key)
                cells.append(
                    f'<td title="{_e(q.note)}">{_e(amount(q.name, q.value, q.unit))}<small>{q.tag}</small></td>'
                    if q else '<td class="hv-soft">–</td>'
                )  # fmt: skip
        rows.append(f"<tr>{''.join(cells)}</tr>")
    titles = "".join(f"<th>{t}</th>" for t in head)
    return f'<div class="hv-scroll"><table class="hv-table"><tr>{titles}</tr>{"".join(rows)}</table></div>'


def progress(share: float, text: str) -> str:
    """A thin line with words under it."""
    return (
        f'<div class="hv-line"><i style="width:{100 * min(1, max(0.02, share)):.0f}%"></i></div>'
        f'<span class="hv-left">{_e(text)}</span>'
    )


def time_left(seconds: float | None) -> str:
    """An estimate in words."""
    if seconds is None:
        return "working"
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"


def sentence(text: str, kind: str = "problem") -> str:
    """One sentence in place: a problem or a notice."""
    # a file's name at the start stays as it is written
    first = text.split(" ", 1)[0]
    shown = text[:1].upper() + text[1:] if first.isalpha() else text
    return f'<div class="hv-sentence hv-{_e(kind)}" role="alert">{_e(shown.rstrip("."))}.</div>'


def sentences(text: str, most: int = 2) -> str:
    """The first sentences of a text, escaped."""
    parts = _e(text).split(". ")
    out = ". ".join(parts[:most])
    return out if out.endswith(".") else out + "."


def titles(names: Sequence[str]) -> list[str]:
    """Step names as people read them, numbered in teaching order."""
    return [f"{i} {n.capitalize()}" for i, n in enumerate(names, 1)]

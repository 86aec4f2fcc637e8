"""Words and tables under the Memory page's chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from hrviz.cost.curves import Fit
from hrviz.cost.devices import DEVICES
from hrviz.cost.latency import Latency
from hrviz.cost.measure import Measure
from hrviz.cost.study import Part, Point, Study, Subject, find
from hrviz.method import METHODS
from hrviz.viewer import memory_charts as charts
from hrviz.viewer import panels
from hrviz.viewer.memory_state import MINE, Asked
from hrviz.views import colour, costs, ticks

HELD = 8  # tensors listed
OPTIMISERS = {"": "none", "adam": "Adam", "sgd": "SGD", "sgd-momentum": "SGD with momentum"}
_e = panels._e


def _px(side: float, exact: bool = True) -> str:
    return f"{colour.number(side if exact else float(f'{side:.2g}'))} px"


def _whole(text: str) -> str:
    """Without a break inside numbers."""
    return text.replace("\u2009", "\u202f")


def pass_of(asked: Asked) -> str:
    """'a training step with Adam, batch 1, float32'."""
    how = OPTIMISERS.get(asked.optimiser, asked.optimiser) if asked.optimiser else ""
    step = "a training step" + (f" with {how}" if how else "") if asked.training else "inference"
    return f"{step}, batch {asked.batch}, {asked.dtype}"


def answer(
    asked: Asked, study: Study, met: Mapping[str, tuple[float, bool]], most: Collection[str] = ()
) -> str:
    """What fits, in two or three sentences; `most`: subjects that take nothing larger."""
    if not met:
        return '<p class="hv-said">The first points come in a moment.</p>'
    sure = all(exact for _, exact in met.values())
    whole = [n for n in met if n not in METHODS]
    methods = [n for n in met if n in METHODS]
    sized = [n for n in met if 0 < met[n][0] < math.inf]
    least = min((met[n][0] for n in whole if n in sized), default=0.0)
    parts = []
    for name in (*whole, *methods):
        at, exact = met[name]
        title = f"<b>{_e(ticks.title(name))}</b>"
        who = f"{title} on the whole image" if name in whole else title
        if not at:
            said = "does not fit at any size"
        elif math.isinf(at):
            said = "fits at any size"
        else:
            said = f"fits to {'' if exact else 'about '}<b>{_px(at, exact)}</b>"
            if name in most:
                said += ", the largest it takes"
            if name in methods and least and 1.15 <= at / least <= 32:
                said += f" ({colour.number(float(f'{(at / least) ** 2:.2g}'))} times the pixels)"
        parts.append(f"{who} {said}")
    lead = f'<span class="hv-soft">{_e(asked.budget_title)}, {_e(pass_of(asked))}: </span>'
    more = "" if sure else ' <span class="hv-soft">Read off the lines; searched for exactly as it goes on.</span>'  # fmt: skip
    told = "".join(f" {panels.sentence(f'{ticks.title(n)}: {t}', 'notice')}" for n, t in study.problems.items())  # fmt: skip
    return _whole(f'<p class="hv-said">{lead}{"; ".join(parts)}.{more}</p>{told}')


def table(
    asked: Asked,
    study: Study,
    met: Mapping[str, tuple[float, bool]],
    points: Mapping[str, Point],
) -> str:
    """A row a subject, as Markdown with HTML in it: growth is set as a formula."""
    head = ["", "largest image", "memory", "operations", "parameters", "pixels read", "memory grows as",
            "operations grow as", "formula"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|:--" + "|--:" * (len(head) - 2) + "|:--|"]
    for place, name in enumerate(study.points):
        subject, p = find(name), points.get(name)
        glyph = charts.GLYPHS[place % len(charts.GLYPHS)]
        tag = f" <small>{p.tag}</small>" if p is not None and p.tag != "predicted" else ""
        cells = [f"{glyph} {ticks.title(name)}{tag}", charts.cell(met.get(name))]
        if p is None:
            cells += ["–"] * 4
        else:
            cells += [ticks.amount(p.needed, "B"), ticks.amount(p.flops, "FLOP"), ticks.amount(p.parameters, ""), ticks.amount(p.pixels, "px")]  # fmt: skip
        cells += [_power(study, name, "needed", subject, "peak"), _power(study, name, "flops", subject, "flops")]  # fmt: skip
        formula = subject.growth.replace("|", r"\vert ")
        cells += [f"${formula}$" if formula else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return _whole("\n".join(lines))


def _power(study: Study, name: str, of: str, subject: Subject, formula: str) -> str:
    """Fitted to the last points; in brackets what the formula says, where it is of the same thing.

    Formulas take all parameters as fixed: not those of methods whose output grows with the image.
    """
    fitted = study.exponent(name, of)
    said = subject.exponents.get(formula)
    words = "–" if fitted != fitted else "constant" if abs(fitted) < 0.05 else f"side<sup>{fitted:.2f}</sup>"  # fmt: skip
    grows = study.setting.reduction and name in METHODS and any(p.name == "size" for p in METHODS[name].params)  # fmt: skip
    if said is None or grows:
        return words
    return f"{words} ({f'side<sup>{said:g}</sup>' if said else 'constant'})"


def devices(
    asked: Asked, study: Study, fits: Mapping[tuple[str, int], Fit], look: colour.Theme
) -> str:
    """The largest image by device: read off the lines, searched for where it is the budget."""
    sizes = {d.title: d.bytes for d in DEVICES.values()}
    if asked.device == MINE:
        sizes["Mine " + asked.budget_title] = asked.budget
    head = "".join(f"<th{' class=hv-now' if size == asked.budget else ''}>{_e(t)}</th>" for t, size in sizes.items())  # fmt: skip
    rows = []
    columns = {size: charts.ends(study, fits, size) for size in sizes.values()}
    for place, name in enumerate(study.points):
        tone = charts.ink(name, place, look)
        glyph = f'<i class="hv-glyph" style="color:{tone}">{charts.GLYPHS[place % len(charts.GLYPHS)]}</i>'  # fmt: skip
        cells = "".join(f"<td>{charts.cell(columns[size].get(name))}</td>" for size in sizes.values())  # fmt: skip
        rows.append(f"<tr><th>{glyph}{_e(ticks.title(name))}</th>{cells}</tr>")
    return (
        f'<div class="hv-scroll"><table class="hv-table"><tr><th>Largest square image</th>{head}</tr>{"".join(rows)}</table></div>'
        f'<p class="hv-left">Side in px, {_e(pass_of(asked))}. With ≈: read off the lines between points; the chosen GPU is searched for exactly.</p>'
    )


def step(point: Point, part: Part) -> str:
    """What the timeline is of, and where its peak is."""
    m, call = part.measure, part.call
    shape = " \u00d7 ".join(str(n) for n in m.shape)
    times = (
        "" if call.times == 1 else f", {colour.number(float(f'{call.times:.3g}'))} times an image"
    )
    of = f"{ticks.title(point.subject)} at {_px(point.side)}"
    what = "training step" if m.training else "inference"
    network = "" if call.network == point.subject else f": {ticks.title(call.network)}"
    place = m.peak_at
    where = f"{place.phase}, {place.operator}" + (f" in {place.module}" if place.module else "")
    source = f' <span class="hv-soft">{_e(place.source)}</span>' if place.source else ""
    return _whole(
        f'<p class="hv-step"><b>{_e(of)}</b>{_e(network)}, {what} on {shape}{_e(times)}. '
        f"Peak of tensors <b>{ticks.amount(m.peak, 'B')}</b> at operator {colour.number(m.peak_operator)} of "
        f"{colour.number(m.operators)}: {_e(where)}{source}</p>"
    )


def held(measure: Measure) -> str:
    """The largest tensors alive at the peak."""
    rows = []
    for tensor in measure.held[:HELD]:
        ink, _ = costs.KINDS.get(tensor.kind, ("#9AA0A8", ""))
        place = tensor.place
        where = (place.module or place.operator) if place else ""
        more = f"{place.operator}, {place.phase}, {place.source}" if place else ""
        rows.append(
            f'<tr title="{_e(more)}"><th>{ticks.amount(tensor.bytes, "B")}</th>'
            f'<td><i class="hv-dot" style="background:{ink}"></i>{_e(tensor.kind)}</td><td>{_e(where)}</td></tr>'
        )
    return f'<p class="hv-h" style="margin-top:0">Largest tensors alive at the peak</p><table class="hv-held">{"".join(rows)}</table>'


def assumptions(points: Sequence[Point], subject: Callable[[str], Subject]) -> str:
    """What is taken for granted, and what the numbers leave out."""
    assumed: dict[str, None] = {}
    excluded: dict[str, None] = {}
    for p in points:
        for part in p.parts:
            assumed |= dict.fromkeys(part.measure.assumed)
            excluded |= dict.fromkeys(part.measure.excluded)
    notes = [f"{ticks.title(p.subject)}: {subject(p.subject).note}" for p in points if subject(p.subject).note]  # fmt: skip
    columns = (
        ("Predicted", ["Networks are traced with tensors that hold no numbers, without a GPU.",
                       "1 multiply-accumulate (MAC) = 2 FLOP.", *notes]),
        ("Assumed", list(assumed)), ("Not in the numbers", list(excluded)),
    )  # fmt: skip
    parts = []
    for title, said in columns:
        items = (
            "".join(f"<li>{_e(text[:1].upper() + text[1:].rstrip('.'))}.</li>" for text in said)
            or "<li>Nothing.</li>"
        )
        parts.append(f'<div><p class="hv-h" style="margin-top:0">{title}</p><ul>{items}</ul></div>')
    return f'<div class="hv-columns">{"".join(parts)}</div>'


def measured(rows: Sequence[Latency], fresh: bool) -> str:
    """On what it was measured, and what was left out."""
    there = [r for r in rows if r.repeats]
    if not there or not fresh:
        return '<p class="hv-said">Press the button to measure what is chosen on the left.</p>'
    reasons = list(dict.fromkeys(f"{ticks.title(r.subject)}, {_px(r.side)}: {r.reason.rstrip('.')}" for r in rows if r.reason))  # fmt: skip
    out = f" Left out: {_e('; '.join(reasons[:3]))}{' …' if len(reasons) > 3 else '.'}" if reasons else ""  # fmt: skip
    return _whole(
        f'<p class="hv-said">Median of {max(r.repeats for r in there)} passes on <b>{_e(there[0].device)}</b>; '
        f"the bands go from the fastest to the slowest. Reading the image is not in it.{out}</p>"
    )

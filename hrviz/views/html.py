"""What notebooks show for runs and comparisons: a filmstrip, and tables with units and sources."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

from hrviz.views import colour

if TYPE_CHECKING:
    from hrviz.run import Comparison, Run

CELL = 'style="padding:2px 12px;text-align:{};font-variant-numeric:tabular-nums"'


def table(head: list[str], rows: list[list[str]]) -> str:
    """An HTML table; the first column to the left, numbers to the right. Texts are escaped."""

    def row(cells: list[str], tag: str) -> str:
        parts = (
            f"<{tag} {CELL.format('left' if k == 0 else 'right')}>{html.escape(c)}</{tag}>"
            for k, c in enumerate(cells)
        )
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(row(r, "td") for r in rows)
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"


def cost_rows(cost: Any) -> list[list[str]]:
    """Name, value with unit, and how it is known, of every quantity."""
    return [
        [q.name.replace("_", " "), colour.amount(q.value, q.unit), q.tag] for q in cost.quantities
    ]


def run_html(run: Run) -> str:
    """A run for notebooks: its steps as a filmstrip and what it cost."""
    from hrviz.image import open_image
    from hrviz.views import mpl

    buffer = io.BytesIO()
    mpl.figure(run, open_image(run.image)).savefig(buffer, format="png", dpi=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    title = html.escape(f"{run.method.title} on {run.region.format()}")
    return (
        f"<b>{title}</b><br/>"
        f'<img style="max-width:100%" alt="steps of {title}" src="data:image/png;base64,{data}"/>'
        + table(["cost", "value", "how known"], cost_rows(run.cost))
    )


def comparison_html(comparison: Comparison) -> str:
    """One row a method: scores against truth where known, and costs with units."""
    rows = comparison.table()
    units = {q.name: q.unit for run in comparison.runs for q in run.cost.quantities}
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = [name.replace("_", " ") for name in names]
    return table(head, [[_cell(row.get(n), units.get(n, "")) for n in names] for row in rows])


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else colour.amount(float(value), unit)

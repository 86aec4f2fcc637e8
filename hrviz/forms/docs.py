"""Parameters as a Markdown table."""

from __future__ import annotations

from hrviz.method import Method, Param


def table(method: Method) -> str:
    """All parameters with default, allowed values and what moving them up does."""
    head = ["| parameter | default | allowed | what it does |", "|---|---|---|---|"]
    return "\n".join(head + [_row(p) for p in method.params])


def _row(param: Param) -> str:
    default = f"`{param.default:g}`" if param.kind == "number" else f"`{param.default}`"
    if param.kind in ("boxes", "strokes", "file") and not param.default:
        default = "none"
    told = param.control.help
    if param.control.when:
        conditions = (f"{n} is {' or '.join(map(str, v))}" for n, v in param.control.when)
        told += f" Only while {' and '.join(conditions)}."
    cells = [f"`{param.name}`", default, param.allowed, told]
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

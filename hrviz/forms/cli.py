"""Parameters as `-p name=value` options of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hrviz.errors import HrvizError
from hrviz.method import Method


def parse(method: Method, options: Sequence[str]) -> dict[str, Any]:
    """Options as checked values; parameters not named are left out.

    Raises
    ------
    HrvizError
        Names the option and what is allowed.
    """
    given: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not name:
            known = ", ".join(p.name for p in method.params)
            raise HrvizError(f"option {option!r} is not name=value: {method.name} has {known}")
        if name in given:
            raise HrvizError(f"option {name} is given twice: give it once")
        given[name] = value.strip()
    bound = method.bind(given)
    return {name: bound[name] for name in given}


def help(method: Method) -> str:
    """What `hrviz apply METHOD --help` prints about the parameters."""
    lines = []
    for p in method.params:
        default = "none" if p.default in (None, ()) else p.default
        lines.append(f"  -p {p.name}=...  {p.allowed} (default {default})\n      {p.control.help}")
    return "\n".join(lines)

"""Addresses that restore a page: image, viewport, region, method, parameters, layers, theme.

`?image=scene:tissue&x=100&y=200&w=4096&h=2560&method=saliency-sampler&p.bandwidth=9&layer=grid`.
What cannot be used is told in one sentence, and the default stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.method import METHODS, Method

REGIONS = ("view", "hold", "whole")
THEMES = ("dark", "light")


@dataclass
class Link:
    """What an address says.

    Attributes
    ----------
    image : str or None
        Address of the image.
    view : Box or None
        What is visible; None is the page's default.
    region : {'view', 'hold', 'whole'}
        What methods run on: what is visible, `view` whatever is visible later, the whole image.
    method : str or None
    params : dict
        Of that method, only those named in the address.
    layers : tuple of str or None
        Steps shown as overlays.
    theme : {'dark', 'light'} or None
    memory : dict of str to str
        What the Memory page is asked, as it was given: the page knows what it may be.
    problems : list of str
        One sentence each for what could not be used.
    """

    image: str | None = None
    view: Box | None = None
    region: str = "view"
    method: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] | None = None
    theme: str | None = None
    memory: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def parse(query: Mapping[str, str]) -> Link:
    """Read an address; never raises.

    Examples
    --------
    >>> link = parse({"x": "1", "y": "2", "w": "30", "h": "40", "method": "cip"})
    >>> link.view, link.method
    (Box(y0=2.0, x0=1.0, y1=42.0, x1=31.0), 'cutting-into-patches')
    >>> parse({"theme": "pink"}).problems
    ["The link's theme was not used: 'pink' is none of dark, light."]
    """
    link = Link(image=query.get("image") or None)
    link.memory = {key[2:]: value for key, value in query.items() if key.startswith("m.")}

    def attempt(what: str, read: Any) -> Any:
        try:
            return read()
        except HrvizError as error:
            link.problems.append(f"The link's {what} was not used: {str(error).rstrip('.')}.")
            return None

    sides = [query.get(name) for name in "xywh"]
    if any(sides):
        text = ",".join(s or "" for s in sides)
        link.view = attempt("viewport", lambda: Box.parse(text))
    link.region = _one_of(link, "region", query.get("region"), REGIONS) or "view"
    link.theme = _one_of(link, "theme", query.get("theme"), THEMES)
    if query.get("layer"):
        link.layers = tuple(name for name in query["layer"].split(",") if name)
    if query.get("method"):
        found: Method | None = attempt("method", lambda: METHODS.find(query["method"]))
        if found is not None:
            link.method = found.name
            for key, value in query.items():
                if key.startswith("p."):
                    name = key[2:]
                    bound = attempt(name, lambda n=name, v=value: found.bind({n: v}))
                    if bound is not None:
                        link.params[name] = bound[name]
    return link


def _one_of(link: Link, what: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if not value or value in allowed:
        return value or None
    link.problems.append(
        f"The link's {what} was not used: {value!r} is none of {', '.join(allowed)}."
    )
    return None


def to_query(link: Link) -> dict[str, str]:
    """The inverse of `parse`: what an address must hold, defaults left out."""
    out: dict[str, str] = {}
    if link.image:
        out["image"] = link.image
    if link.view is not None:
        parts = link.view.format().split(",")
        out |= dict(zip("xywh", parts, strict=True))
    if link.region != "view":
        out["region"] = link.region
    if link.method:
        out["method"] = link.method
        method = METHODS[link.method]
        for param in method.params:
            value = link.params.get(param.name, param.default)
            if value != param.default and param.kind != "file":
                out[f"p.{param.name}"] = _text(param.kind, value)
    if link.layers is not None:
        out["layer"] = ",".join(link.layers)
    out |= {f"m.{name}": value for name, value in link.memory.items()}
    if link.theme and link.theme != THEMES[0]:
        out["theme"] = link.theme
    return out


def rect(box: tuple[float, float, float, float]) -> dict[str, float]:
    """A box (y0, x0, y1, x1) as the viewer draws it."""
    y0, x0, y1, x1 = box
    return {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}


def _text(kind: str, value: Any) -> str:
    if kind == "boxes":
        return ";".join(Box(*box).format() for box in value)
    if kind == "strokes":
        return ";".join(" ".join(f"{x:g},{y:g}" for y, x in stroke) for stroke in value)
    if kind == "flag":
        return "true" if value else "false"
    return f"{value:.9g}" if kind == "number" else str(value)

"""The viewer's JavaScript as one ES module, joined from `static/` without a build step."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

PARTS = (
    "colour.js",
    "geometry.js",
    "raster.js",
    "shapes.js",
    "overlays.js",
    "legend.js",
    "source.js",
    "scrub.js",
    "morph.js",
    "tree.js",
    "icicle.js",
    "tile.js",
    "pane.js",
    "draw.js",
    "chrome.js",
    "viewer.js",
)


def _text(name: str) -> str:
    return (files("hrviz.viewer") / "static" / name).read_text(encoding="utf-8")


@cache
def viewer_js() -> str:
    """One self-contained ES module that exports `mount(element, model)`: no CDN, works offline.

    OpenSeadragon is a UMD script: it runs inside a function scope of its own, so that a page's
    `define`, `module` or another OpenSeadragon neither see it nor disturb it.
    """
    css = _text("viewer.css").replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")
    return "\n".join(
        [
            "/*! OpenSeadragon 6.1.1, BSD-3-Clause: see openseadragon.LICENSE.txt */",
            "const OSD = (function () { let define, module, exports;",
            _text("openseadragon.min.js").split("//# sourceMappingURL")[0],
            "; return OpenSeadragon; }).call({});",
            f"const CSS = `{css}`;",
            *(f"// ---- {name}\n{_text(name)}" for name in PARTS),
        ]
    )


@cache
def viewer_hash() -> str:
    """Changes with the module: part of its address, so that it is cached for ever."""
    return hashlib.sha256(viewer_js().encode()).hexdigest()[:16]

"""What the first look costs: an overview is only cheap where coarse levels are stored."""

from __future__ import annotations

from hrviz.results import ZoomTree

DEAR = 0.5  # share of looking everywhere from which it is said


def remark(tree: ZoomTree) -> str:
    """Words for a note, '' where the root costs little: it may take as many pixels as everything."""
    root = tree.nodes[0]
    if not tree.exhaustive_pixels or root.pixels < DEAR * tree.exhaustive_pixels:
        return ""
    return (
        f"; the overview alone takes {root.pixels / tree.exhaustive_pixels:.0%} of looking everywhere, since "
        "no coarser level is stored"
    )

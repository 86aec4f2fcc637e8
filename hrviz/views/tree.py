"""A zoom tree for people: its icicle, what was decided at a node, and what it all cost.

All front ends draw the tree from here: `icicle` says where each node's cell lies, `sentence` what is
told of it, `totals` what stands always beside it. (The deep-zoom viewer makes the two texts itself,
in `tree.js`, from the same numbers.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hrviz.results import Node, ZoomTree
from hrviz.views import colour

UNITS = ((1e9, "Gpx"), (1e6, "Mpx"))
LARGE = 400  # nodes above which their lines are thin and not named one by one


def icicle(tree: ZoomTree) -> np.ndarray:
    """Cells of the nodes: int64 `(n, 3)` of left, right and depth, in the nodes' order.

    A cell is as wide as its subtree has leaves; children lie below their parent in the order decided,
    roots beside each other.

    Examples
    --------
    >>> from hrviz.geometry import Box
    >>> box = Box(0, 0, 8, 8)
    >>> a, b = Node(0, None, box, 2, "zoomed"), Node(1, 0, box, 1, "processed")
    >>> c = Node(2, 0, box, 1, "processed")
    >>> icicle(ZoomTree((a, b, c))).tolist()
    [[0, 2, 0], [0, 1, 1], [1, 2, 1]]
    """
    place = {node.id: k for k, node in enumerate(tree.nodes)}
    leaves: Counter[int | None] = Counter()
    for node in reversed(tree.nodes):  # children before parents
        leaves[node.parent] += max(1, leaves[node.id])
    cells = np.zeros((len(tree.nodes), 3), np.int64)
    taken: dict[int | None, int] = {None: 0}  # how far each parent's children reach
    for k, node in enumerate(tree.nodes):
        left = taken[node.parent]
        right = left + max(1, leaves[node.id])
        depth = 0 if node.parent is None else cells[place[node.parent], 2] + 1
        cells[k] = left, right, depth
        taken[node.parent], taken[node.id] = right, left
    return cells


def inner(tree: ZoomTree) -> np.ndarray:
    """Which nodes have children: bool `(n,)`."""
    parents = {node.parent for node in tree.nodes}
    return np.array([node.id in parents for node in tree.nodes], bool)


def name(node: Node) -> str:
    """What stands on a node's box: its tag, and how often it was drawn."""
    times = f"\u00d7{node.draws}" if node.draws > 1 else ""
    return f"{node.tag} {times}".strip()


def facts(node: Node, label: str = "score") -> list[str]:
    """What is known of a decision besides its name: score, reason, reads, calls."""
    out = [f"{label} {colour.number(node.score)}"] if node.score is not None else []
    out += [node.reason.rstrip(".")] if node.reason else []
    out += [f"drawn {node.draws} times"] if node.draws > 1 else []
    out += [f"1\u00a0:\u00a0{node.downsample:.3g}"] if node.downsample > 1 else ["full detail"]
    if node.pixels:
        out.append(f"{colour.number(round(node.pixels))} px read")
    if node.calls:
        out.append(f"{node.calls} network call{'s' * (node.calls > 1)}")
    return out


def sentence(node: Node, label: str = "score") -> str:
    r"""A decision in one line.

    Examples
    --------
    >>> from hrviz.geometry import Box
    >>> sentence(Node(3, None, Box(0, 0, 8, 8), 4, "zoomed", 0.8, "Likely tumour.", pixels=4, calls=1))
    'Zoomed: score 0.8 · Likely tumour · 1\xa0:\xa04 · 4 px read · 1 network call'
    """
    return f"{node.decision.capitalize()}: " + " \u00b7 ".join(facts(node, label))


def totals(tree: ZoomTree, count: int | None = None) -> list[str]:
    """Pixels read, network calls and their share of looking everywhere, each with its unit.

    Parameters
    ----------
    tree : ZoomTree
    count : int, optional
        Decisions that were made so far; then each total is told 'of' the whole.

    Examples
    --------
    >>> totals(ZoomTree((), exhaustive_pixels=100.0))
    ['0 px read', '0 network calls', '0 % of looking everywhere']
    """
    whole = count is None or count >= len(tree.nodes)
    known = tree.nodes if whole else tree.nodes[:count]
    pixels, calls = sum(n.pixels for n in known), sum(n.calls for n in known)
    size, unit = next((u for u in UNITS if tree.pixels >= u[0]), (1.0, "px"))

    def told(now: float, end: float) -> str:
        of = "" if whole or now == end else f" of {colour.number(end)}"
        return colour.number(now) + of

    out = [
        f"{told(_some(pixels / size), _some(tree.pixels / size))} {unit} read",
        f"{told(calls, tree.calls)} network call{'s' * (tree.calls != 1)}",
    ]
    if tree.exhaustive_pixels:
        shares = (_some(100 * v / tree.exhaustive_pixels, 2) for v in (pixels, tree.pixels))
        out.append(f"{told(*shares)} % of looking everywhere")
    return out


def at(tree: ZoomTree, y: float, x: float, count: int | None = None) -> Node | None:
    """The deepest node at a point among the first `count`, the newest of equals; None beside all."""
    depths = tree.depths()
    found = [n for n in tree.nodes[:count] if _holds(n, y, x)]
    best: Node | None = None
    for node in found:
        if best is None or depths[node.id] >= depths[best.id]:
            best = node
    return best


def present(tree: ZoomTree) -> list[colour.Style]:
    """Styles of the decisions that occur, in the palette's order."""
    found = {node.decision for node in tree.nodes}
    return [style for decision, style in colour.DECISIONS.items() if decision in found]


def texts(tree: ZoomTree) -> Sequence[str]:
    """`name` of each node, else its score, else nothing."""
    return [name(n) or ("" if n.score is None else f"{n.score:.2g}") for n in tree.nodes]


def _holds(node: Node, y: float, x: float) -> bool:
    b = node.box
    return b.y0 <= y < b.y1 and b.x0 <= x < b.x1


def _some(value: float, digits: int = 3) -> float:
    """A whole number, or as few digits as it deserves below ten or a hundred."""
    return float(f"{value:.{digits}g}") if value < 10 ** (digits - 1) else round(value)

"""One small example of every result type, all on the same 200 x 300 region."""

from __future__ import annotations

import numpy as np

from hrviz import results as r
from hrviz.geometry import Box

BOX = Box(100, 200, 300, 500)


def warp(ny: int = 11, nx: int = 15) -> r.WarpGrid:
    """A grid that bulges towards the middle, pinned at the border."""
    v, u = np.meshgrid(np.linspace(0, 1, ny), np.linspace(0, 1, nx), indexing="ij")
    v, u = (a - 0.08 * np.sin(2 * np.pi * a) * np.sin(np.pi * b) for a, b in ((v, u), (u, v)))
    nodes = np.stack([BOX.y0 + v * BOX.height, BOX.x0 + u * BOX.width], -1)
    return r.WarpGrid(nodes, BOX, (64, 96))


def tiles(n: int, m: int) -> np.ndarray:
    """The region cut into n x m boxes."""
    y, x = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    y, x = y.ravel() * BOX.height / n + BOX.y0, x.ravel() * BOX.width / m + BOX.x0
    return np.stack([y, x, y + BOX.height / n, x + BOX.width / m], 1)


def quadtree(box: Box = BOX, depth: int = 2, seed: int = 0) -> r.ZoomTree:
    """Every window is looked at: some are zoomed into, the others end in one decision or another."""
    rng = np.random.default_rng(seed)
    nodes: list[r.Node] = []
    waiting: list[tuple[int | None, Box, int]] = [(None, box, 0)]
    ends = [d for d in r.DECISIONS if d not in ("zoomed", "sampled")]
    while waiting:
        parent, at, level = waiting.pop(0)
        score = float(rng.random())
        zoomed = level == 0 or (level < depth and score > 0.45)
        decision = "zoomed" if zoomed else ends[min(int(score * 2 * len(ends)), 99) % len(ends)]
        nodes.append(
            r.Node(
                len(nodes), parent, at, 2.0 ** (depth - level), decision, score,
                f"{'more' if zoomed else 'less'} than 45 % of it may be tumour",
                tag="" if zoomed or level < depth else "AB"[len(nodes) % 2],
                pixels=256.0 * 256, calls=1 + (decision == "processed"),
            )
        )  # fmt: skip
        if zoomed:
            (y0, x0, y1, x1), (y, x) = at, at.centre
            quarters = (Box(y0, x0, y, x), Box(y0, x, y, x1), Box(y, x0, y1, x), Box(y, x, y1, x1))
            waiting += [(len(nodes) - 1, quarter, level + 1) for quarter in quarters]
    return r.ZoomTree(tuple(nodes), "p(zoom)", 256.0**2 * 4**depth, 4.0**depth, "stand-in: chance")


def sampled(box: Box = BOX, count: int = 400, side: float = 0.02, seed: int = 0) -> r.ZoomTree:
    """A root and `count` patches drawn from it, some more than once."""
    rng = np.random.default_rng(seed)
    size = side * max(box.height, box.width)
    nodes = [
        r.Node(
            0, None, box, 32, "zoomed", None, "the whole, seen from afar", pixels=512.0**2, calls=1
        )
    ]
    for k in range(count):
        y = box.y0 + rng.beta(2, 4) * (box.height - size)
        x = box.x0 + rng.beta(3, 3) * (box.width - size)
        times = int(rng.integers(1, 4)) if k % 5 == 0 else 1
        at = Box(y, x, y + size, x + size)
        nodes.append(r.Node(k + 1, 0, at, 1, "sampled", float(rng.random() / count), "drawn by its attention",
                            draws=times, pixels=64.0**2, calls=1))  # fmt: skip
    whole = box.area
    return r.ZoomTree(tuple(nodes), "attention", whole, whole / 64**2, "trained: example")


def examples() -> dict[str, r.Result]:
    """Name to result; every type of `hrviz.results.TYPES` once, some in two guises."""
    rng = np.random.default_rng(0)
    v, u = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 60), indexing="ij")
    bump = np.exp(-3 * (v**2 + u**2)).astype(np.float32)
    picture = np.stack([bump, 1 - bump, np.full_like(bump, 0.5)], -1)
    points = np.stack([rng.uniform(110, 290, 30), rng.uniform(210, 490, 30)], 1)
    attention = rng.random((2, 3, 6, 9)).astype(np.float32)
    attention /= attention.sum((2, 3), keepdims=True)
    grid = warp()
    tree = [r.Node(0, None, BOX, 16, "zoomed", 1.0)] + [
        r.Node(k + 1, 0, Box(*box), 4, r.DECISIONS[k], k / 7, "because")
        for k, box in enumerate(tiles(2, 4)[:7])
    ]
    near = np.abs(np.subtract.outer(np.arange(24), np.arange(24)))
    edges = np.array([(k, (k + 1) % 30) for k in range(30)])
    seven = np.add(tiles(2, 4)[:7], [8, 8, -8, -8])
    return {
        "Picture": r.Picture(picture, BOX),
        "Picture, warped": r.Picture(picture, grid=grid),
        "Picture, boxes": r.Picture(picture, grid=grid, boxes=np.array([[4.0, 6, 12, 30]])),
        "HeatMap, output": grid.output_magnification(32),
        "HeatMap": r.HeatMap(bump, BOX, "saliency", "probability", source="trained: toy"),
        "HeatMap, diverging": grid.magnification(),
        "LabelMap": r.LabelMap((bump * 2.9).astype(np.uint8), BOX, ("background", "a", "b")),
        "AttentionMap": r.AttentionMap(attention, BOX),
        "WarpGrid": grid,
        "Boxes": r.Boxes(seven, np.linspace(0, 1, 7), np.arange(7) % 2, ("cell", "gap")),
        "Points": r.Points(points, labels=np.arange(30) % 3, classes=("x", "y", "z")),
        "Points, valued": r.Points(points, values=rng.random(30)),
        "Points, signed": r.Points(points, values=np.linspace(-1, 2, 30)),
        "ZoomTree": r.ZoomTree(tuple(tree)),
        "Graph": r.Graph(points, edges, rng.random(30)),
        "TokenPattern": r.TokenPattern(tiles(4, 6), near <= 3),
        "Partition": r.Partition(tiles(4, 6), np.arange(24) % 3, ("GPU 0", "GPU 1", "GPU 2")),
        "Compressed": r.Compressed(rng.random((20, 30, 4)), BOX, 4000, 250, r.Picture(picture, BOX)),
        "Prediction": r.Prediction({"tumour": 0.31, "stroma": 0.52}, "share", {"tumour": 0.28}),
        "Curve": r.Curve(
            np.array([256, 512, 1024]),
            {"full": np.array([1.0, 4, 16]), "warped": np.array([1.0, 1, 1])},
            "pixels a side", "GiB", True, "formula",
        ),
        "ReadMap": r.ReadMap(
            np.concatenate([np.c_[tiles(2, 3), np.full(6, 2)], np.c_[tiles(8, 12)[30:40], np.zeros(10)]]),
            123456, 234567, 6_000_000,
        ),
        "Cost": r.Cost(
            (
                r.Quantity("flops", 3.2e9, "FLOP", "formula"),
                r.Quantity("peak_memory", 1.5 * 2**30, "bytes", "predicted"),
                r.Quantity("seconds", 0.0123, "s", "measured"),
            )
        ),
    }  # fmt: skip

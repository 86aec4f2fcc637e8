"""Trains the hierarchical zoom graph on tissue with few tumour cells among look-alikes (`needle-graph`).

First the encoder learns to tell regions with a tumour cell from others (it stands for the paper's
pretrained CNN). Then all is trained together: the sum of the node losses (zoom or leave, at levels 2
and 3, labels from the truth's mask) and the loss of the image's class. While training, trees follow
the labels, with some nodes zoomed or left at random, so that the class cannot be told from a tree's
size and mistakes on the way have been seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.training.search_data import SETS, pictures

NAME = "needle-graph"
SET = "cells"
SIDE, LEVELS = 64, 4  # D and R
TRAIN, HELD_OUT = 600, 160
STEPS, BATCH, RATE = 260, 16, 2e-3
WANTED = 0.25  # of a cell's area must lie in a region for it to be zoomed
ASTRAY, LOST = 0.15, 0.05  # zoomed though empty, left though not, while training
CONFIG = {"features": 64, "heads": 4, "hidden": 16, "classes": 2}


class Pyramids:
    """Pictures at every level's size, and which regions hold a cell.

    Attributes
    ----------
    levels : list of ndarray uint8 (n, s, s, 3)
        s = 64, 128, 256, 512: level i is cut in 2^i x 2^i regions of 64 px.
    wanted : list of ndarray bool (n, 2^i, 2^i)
    labels : ndarray int64 (n,)
    """

    def __init__(self, split: Any, count: int, report: Callable[[str], None]) -> None:
        from hrviz.image.resample import resample
        from hrviz.scenes.dataset import dataset

        data, chosen = pictures(SET, split, count, report), SETS[SET]
        side = chosen.size[0]
        self.labels = data.labels
        self.levels = [
            np.empty((count, SIDE * 2**i, SIDE * 2**i, 3), np.uint8) for i in range(LEVELS)
        ]
        self.wanted = [np.zeros((count, 2**i, 2**i), bool) for i in range(LEVELS)]
        images = dataset(chosen.scene, split, count, **chosen.params)
        finest = SIDE * 2 ** (LEVELS - 1)
        least = WANTED * chosen.params["ratio"] * finest**2
        for k, image in enumerate(images):
            for level in self.levels:
                size = level.shape[1]
                level[k] = resample(data.pixels[k], (0, side), (0, side), (size, size))
            mask = image.truth.mask(image.box, (finest, finest)) == 1
            for i, wanted in enumerate(self.wanted):
                n = finest >> i
                wanted[k] = mask.reshape(2**i, n, 2**i, n).sum((1, 3)) >= least


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight flips and turns of a square (h, w, ...)."""
    return np.rot90(array[:, ::-1] if turn & 4 else array, turn & 3)


def grow(
    wanted: list[np.ndarray], rng: np.random.Generator
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """A training tree: nodes (level, row, column) in order, and each node's parent (-1: the root's)."""
    nodes, parents = [(0, 0, 0)], [-1]
    for k, (level, row, column) in enumerate(nodes):
        if level == LEVELS - 1:
            break
        there = wanted[level][row, column]
        if level and not (rng.random() > LOST if there else rng.random() < ASTRAY):
            continue
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            nodes.append((level + 1, 2 * row + dy, 2 * column + dx))
            parents.append(k)
    return nodes, parents


def _regions(data: Pyramids, picks: list[tuple[int, int, int, int, int]]) -> Any:
    """Regions (picture, turn, level, row, column) as a tensor (n, 3, 64, 64)."""
    import torch

    out = np.empty((len(picks), SIDE, SIDE, 3), np.uint8)
    for n, (k, turn, level, row, column) in enumerate(picks):
        y, x = row * SIDE, column * SIDE
        out[n] = turned(data.levels[level][k], turn)[y : y + SIDE, x : x + SIDE]
    return torch.from_numpy(np.ascontiguousarray(out.transpose(0, 3, 1, 2))).float() / 255


def _pretrain(
    net: Any, data: Pyramids, steps: int, rng: np.random.Generator, report: Callable[[str], None]
) -> None:
    """The encoder tells regions with a cell from others, half of each, of levels 2 to R."""
    import torch
    from torch.nn import functional as F

    head = torch.nn.Linear(CONFIG["features"], 1)
    optimiser = torch.optim.AdamW([*net.encoder.parameters(), *head.parameters()], RATE)
    places = []
    for level in range(1, LEVELS):
        w = data.wanted[level]
        places += [(level, np.argwhere(w)), (level, np.argwhere(~w))]
    net.train()
    for step in range(steps):
        picks, y = [], []
        for n, (level, at) in enumerate(places):
            for k, row, column in at[rng.integers(0, len(at), 20)]:
                picks.append((int(k), 0, level, int(row), int(column)))
                y.append(1.0 - n % 2)
        logits = head(net.encode(_regions(data, picks)))[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, torch.tensor(y))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (step + 1) % 50 == 0:
            report(f"encoder, step {step + 1} of {steps}: loss {loss.item():.3f}")


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train encoder and both graph networks, judge on held-out pictures, write them."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.zoom_graph import ZoomGraph, adjacency

    steps = steps or STEPS
    quick = steps <= 50
    data = Pyramids("train", 16 if quick else TRAIN, report)
    clock = time.perf_counter()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = ZoomGraph(**CONFIG)
    _pretrain(net, data, steps // 2, rng, report)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    net.train()
    for step in range(steps):
        picks: list[tuple[int, int, int, int, int]] = []
        parents: list[int] = []
        tree: list[int] = []
        true: list[bool] = []
        chosen = rng.choice(len(data.labels), min(BATCH, len(data.labels)), replace=False)
        for t, k in enumerate(chosen):
            turn = int(rng.integers(8))
            wanted = [turned(w[k], turn) for w in data.wanted]
            nodes, above = grow(wanted, rng)
            parents += [p + len(tree) if p >= 0 else -1 for p in above]
            tree += [t] * len(nodes)
            picks += [(int(k), turn, *node) for node in nodes]
            true += [bool(wanted[level][row, column]) for level, row, column in nodes]
        level = torch.tensor([p[2] for p in picks])
        edges = adjacency(torch.tensor(parents))
        h = net.encode(_regions(data, picks))
        loss = F.cross_entropy(
            net.whole(h, edges, torch.tensor(tree)), torch.from_numpy(data.labels[chosen])
        )
        zoom = torch.tensor(true).long()
        for i in range(1, LEVELS - 1):  # P_i sees the graph as far as level i
            far = level <= i
            at = level == i
            logits = net.node(h, edges[:, far[edges].all(0)])
            loss = loss + F.cross_entropy(logits[at], zoom[at])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 20 == 0:
            report(f"step {step + 1} of {steps}: {len(picks)} regions, loss {loss.item():.3f}")
    net.eval()
    held = Pyramids("held-out", 8 if quick else HELD_OUT, report)
    metrics = judge(net, held)
    report(str(metrics))
    facts = {
        "name": NAME,
        "architecture": "hrviz.nets.zoom_graph.ZoomGraph",
        "config": CONFIG,
        "task": "whether tissue holds tumour cells among look-alikes, and which regions to look at closely (not for diagnosis)",
        "data": f"{len(data.labels)} pictures of the set '{SET}' (hrviz.training.search_data), turned and flipped",
        "training": f"regions of {SIDE} px, {LEVELS} levels of 2 x 2 quadrants; encoder pretrained on regions, then cross-entropy "
        f"of nodes at levels 2 to {LEVELS - 1} plus that of the image; trees follow the labels, {ASTRAY:.0%} of empty nodes zoomed "
        f"and {LOST:.0%} of others left at random",
        "stands_for": "the pretrained CNN and graph attention networks of Du et al., whose sizes are not published in the survey",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": metrics,
        "command": f"hrviz train {NAME} --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save(NAME, net, facts)
    return facts


def judge(net: Any, data: Pyramids) -> dict[str, float]:
    """Trees grown by the network itself: accuracy, what was reached, and what it took."""
    import torch

    from hrviz.nets.zoom_graph import adjacency

    right, looked = [], []
    reached = hit = wrong = 0
    for k, label in enumerate(data.labels):
        nodes, parents = [(0, 0, 0)], [-1]
        with torch.no_grad():
            h = net.encode(_regions(data, [(k, 0, 0, 0, 0)]))
            fresh = [0]
            for level in range(LEVELS - 1):
                zoomed = fresh
                if level:
                    p = net.node(h, adjacency(torch.tensor(parents))).softmax(1)[:, 1]
                    zoomed = [n for n in fresh if p[n] > 0.5]
                    wrong += sum(
                        not data.wanted[level][k, nodes[n][1], nodes[n][2]] for n in zoomed
                    )
                fresh = []
                for n in zoomed:
                    _, row, column = nodes[n]
                    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                        fresh.append(len(nodes))
                        nodes.append((level + 1, 2 * row + dy, 2 * column + dx))
                        parents.append(n)
                if fresh:
                    picks = [(k, 0, *nodes[n]) for n in fresh]
                    h = torch.cat([h, net.encode(_regions(data, picks))])
            answer = int(net.whole(h, adjacency(torch.tensor(parents))).argmax())
        right.append(answer == label)
        looked.append(len(nodes))
        leaves = {(row, column) for level, row, column in nodes if level == LEVELS - 1}
        cells = [tuple(at) for at in np.argwhere(data.wanted[-1][k])]
        reached += len(cells)
        hit += sum(at in leaves for at in cells)
    return {
        "pictures": len(right),
        "accuracy": round(float(np.mean(right)), 4),
        "share_of_regions_with_a_cell_reached": round(hit / max(1, reached), 4),
        "empty_regions_zoomed_per_picture": round(wrong / len(right), 3),
        "regions_looked_at_of_85": round(float(np.mean(looked)), 2),
    }

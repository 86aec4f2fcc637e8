"""A tree of vessels that fills the retina: grown point by point, widths by Murray's law.

Trunks leave the optic disc in pairs along arcades around the macula. From them branches grow to
evenly scattered points of tissue, one after the other, each from where the tree so far suits it
best (a plain form of constrained constructive optimisation). Where branches end, radii begin: every end has one radius r0, and upstream
r^3 = r1^3 + r2^3 (Murray), so that a vessel that feeds n ends has r = r0 n^(1/3).

Coordinates are (y, x) in radii of the field of view from its centre, temporal side at positive x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

DISC = np.array([-0.02, -0.52])
FOVEA = np.array([0.04, 0.10])
DISC_RADIUS = 0.165
_STEP = 0.010
#: Courses of the arcades: control points (y, x) after the disc, for the upper temporal one.
_TEMPORAL = ((-0.17, -0.46), (-0.40, -0.28), (-0.50, 0.04), (-0.44, 0.36), (-0.28, 0.62))
_NASAL = ((-0.20, -0.60), (-0.42, -0.74), (-0.60, -0.80))


@dataclass(frozen=True)
class Tree:
    """All vessels of one kind as nodes with parents.

    Attributes
    ----------
    points : numpy.ndarray
        float64 (n, 2), (y, x).
    parent : numpy.ndarray
        int (n,): index of the node upstream, -1 at the disc; always smaller than the node's own.
    ends : numpy.ndarray
        int (n,): how many ends a node feeds, at least 1.
    radius : numpy.ndarray
        float64 (n,): of the vessel that arrives at the node.
    """

    points: np.ndarray
    parent: np.ndarray
    ends: np.ndarray
    radius: np.ndarray

    @property
    def forks(self) -> np.ndarray:
        """Nodes with two or more children, the bifurcations."""
        count = np.bincount(self.parent[self.parent >= 0], minlength=len(self.parent))
        return np.flatnonzero((count >= 2) & (self.parent >= 0))

    def depth(self) -> np.ndarray:
        """How visible the vessel is at each node, 0 to 1: it emerges at the disc, dives at ends."""
        n = len(self.parent)
        below, above = np.zeros(n), np.zeros(n)
        for k in range(n - 1, 0, -1):
            up = self.parent[k]
            if up >= 0:
                below[up] = max(below[up], below[k] + 1)
        for k in range(n):
            if self.parent[k] >= 0:
                above[k] = above[self.parent[k]] + 1
        return np.asarray(np.clip(0.30 + below / 9, 0, 1) * np.clip(0.15 + above / 6, 0, 1))

    def segments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pieces from parent to child: starts, ends (m, 2) and the radii at both (m,)."""
        child = np.flatnonzero(self.parent >= 0)
        up = self.parent[child]
        # A branch keeps its own width from the fork on; along a vessel the width changes smoothly.
        continues = self.radius[up] < 1.3 * self.radius[child]
        start = np.where(continues, self.radius[up], self.radius[child])
        return self.points[up], self.points[child], start, self.radius[child]


def grow(rng: np.random.Generator, vein: bool, ends_wanted: int = 900) -> Tree:
    """Grow the tree of arteries or veins."""
    points, parent = _trunks(rng, vein)
    goals = _goals(rng, ends_wanted)
    points, parent = _supply(points, parent, goals, rng)
    points = _smooth(points, parent)
    ends = np.zeros(len(parent), np.int64)
    has_child = np.zeros(len(parent), bool)
    has_child[parent[parent >= 0]] = True
    ends[~has_child] = 1
    for k in range(len(parent) - 1, -1, -1):
        if parent[k] >= 0:
            ends[parent[k]] += ends[k]
    thinnest = 0.0021 if vein else 0.0017
    return Tree(points, parent, ends, thinnest * np.cbrt(ends))


def _trunks(rng: np.random.Generator, vein: bool) -> tuple[np.ndarray, np.ndarray]:
    points: list[np.ndarray] = []
    parents: list[np.ndarray] = []
    for up in (1.0, -1.0):
        for course in (_TEMPORAL, _NASAL):
            control = np.array(course) * (up, 1.0)
            control = control + rng.normal(0, 0.022, control.shape)
            # Arteries and veins run side by side and change sides now and then.
            side = np.cumsum(rng.normal(0, 0.014, len(control))) + (0.030 if vein else -0.012)
            control[:, 0] += up * side
            origin = DISC + rng.uniform(-0.015, 0.015, 2) + (0.0, 0.012 if vein else -0.01)
            nodes = np.vstack([origin, control])
            t = np.r_[0, np.cumsum(np.hypot(*np.diff(nodes, axis=0).T))]
            course_at = CubicSpline(t, nodes)
            path = course_at(np.linspace(0, t[-1], max(4, round(t[-1] / _STEP))))
            start = sum(map(len, points))
            points.append(path)
            parents.append(np.r_[-1, np.arange(start, start + len(path) - 1)])
    return np.concatenate(points), np.concatenate(parents).astype(np.int64)


def _goals(rng: np.random.Generator, wanted: int) -> np.ndarray:
    """Points of tissue, spread evenly; none in the disc, none in the fovea."""
    spacing = 0.86 * math.sqrt(math.pi * 1.16**2 / wanted)
    new = rng.uniform(-1.16, 1.16, (wanted * 4, 2))
    new = new[np.hypot(*new.T) < 1.16]
    new = new[np.hypot(*(new - DISC).T) > DISC_RADIUS * 1.15]
    new = new[np.hypot(*(new - FOVEA).T) > 0.085]
    kept: list[np.ndarray] = []
    grid: dict[tuple[int, int], list[np.ndarray]] = {}
    for p in new:
        i, j = math.floor(p[0] / spacing), math.floor(p[1] / spacing)
        near = (q for a in (-1, 0, 1) for b in (-1, 0, 1) for q in grid.get((i + a, j + b), ()))
        if all((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 > spacing**2 * 0.5 for q in near):
            kept.append(p)
            grid.setdefault((i, j), []).append(p)
    return np.array(kept)


def _supply(
    points: np.ndarray, parent: np.ndarray, goals: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One goal after the other gets a branch from the place of the tree that suits it best.

    Early branches are long and are branched from in turn, which gives the hierarchy. Near places
    suit, and places whose vessel already runs toward the goal; a node forks once.
    """
    room = len(points) + 120 * len(goals)
    y, x = np.full(room, 1e9), np.full(room, 1e9)
    ty, tx = np.zeros(room), np.zeros(room)
    up, degree = np.full(room, -1), np.zeros(room, np.int64)
    n = len(points)
    y[:n], x[:n], up[:n] = points[:, 0], points[:, 1], parent
    inner = parent >= 0
    step = points[inner] - points[parent[inner]]
    step /= np.hypot(*step.T)[:, None]
    ty[:n][inner], tx[:n][inner] = step.T
    degree[:n] = np.bincount(parent[inner], minlength=n)
    degree[:n][~inner] = 2
    degree[:n][np.hypot(*(points - DISC).T) < DISC_RADIUS * 0.8] = 2
    wobble = rng.normal(0, 1, (len(goals), 3))
    for goal, bend in zip(goals, wobble, strict=True):
        dy, dx = goal[0] - y[:n], goal[1] - x[:n]
        d = np.sqrt(dy * dy + dx * dx) + 1e-9
        forward = (dy * ty[:n] + dx * tx[:n]) / d
        cost = d * (1.75 - 0.75 * forward) + (degree[:n] >= 2) * 1e3
        k = int(np.argmin(cost))
        if d[k] < 1.5 * _STEP or cost[k] > 100:
            continue
        start, length = np.array([y[k], x[k]]), d[k]
        tangent = np.array([ty[k], tx[k]])
        # A cubic from the vessel's direction, turned toward the goal, to the goal.
        toward = (goal - start) / length
        leave = tangent * 0.75 + toward * 0.6
        leave /= np.hypot(*leave)
        side = np.array([-toward[1], toward[0]])
        first = start + leave * length * 0.35
        second = goal - toward * length * 0.30 + side * length * 0.10 * bend[0]
        t = np.linspace(0, 1, max(3, round(length / _STEP) + 1))[1:, None]
        path = (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * first
        path = path + 3 * (1 - t) * t**2 * second + t**3 * goal
        wave = np.sin(t * length * 42 + bend[1] * 3) * np.sin(np.pi * t) * 0.0045 * bend[2]
        path = path + side * wave
        if np.hypot(*(path - FOVEA).T).min() < 0.075:
            continue
        m = len(path)
        y[n : n + m], x[n : n + m] = path.T
        up[n : n + m] = np.r_[k, np.arange(n, n + m - 1)]
        step = np.diff(np.vstack([start, path]), axis=0)
        step /= np.hypot(*step.T)[:, None]
        ty[n : n + m], tx[n : n + m] = step.T
        degree[k] += 1
        degree[n : n + m - 1] = 1
        n += m
    return np.stack([y[:n], x[:n]], axis=-1), up[:n]


def _smooth(points: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Round off kinks along vessels; forks move with them, roots stay."""
    child = np.flatnonzero(parent >= 0)
    for _ in range(2):
        total, count = np.zeros_like(points), np.zeros(len(points))
        np.add.at(total, parent[child], points[child])
        np.add.at(count, parent[child], 1)
        inner = (parent >= 0) & (count == 1)
        mean = (total[inner] + points[parent[inner]]) / 2
        points = points.copy()
        points[inner] += 0.5 * (mean - points[inner])
    return points

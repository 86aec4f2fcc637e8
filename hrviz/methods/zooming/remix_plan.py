"""REMIX's plan: which network looks at which block of the image, exactly, under a latency budget.

A quadtree over 2^D x 2^D cells. A block is skipped, given whole to one network, or split into four.
Values (expected accuracy) and latencies add up over blocks, so the best plan of a block for every
latency up to the budget follows from those of its quarters: Pareto fronts are merged child by child,
and what exceeds the budget is dropped. That is exact for whole latencies (the paper prunes plans
closer than 1 ms and gives up after 10 s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrviz.context import current
from hrviz.cost.operations import count
from hrviz.errors import HrvizError

SKIP = -1
DEEPEST = 5
MOST_BUDGET = 2000  # latency units
_EPSILON = 1e-12


@dataclass(frozen=True)
class Leaf:
    """A block of the plan: depth and place in the grid of that depth, and its network or `SKIP`."""

    depth: int
    row: int
    column: int
    network: int


@dataclass
class _Front:
    """Best value for every latency up to the budget (not decreasing), and how it is reached."""

    value: np.ndarray
    network: np.ndarray  # SKIP, a network, or len(latency): split
    splits: list[np.ndarray]  # latency given to each child but the first, at each merge
    children: list[_Front]


class Plans:
    """All best plans up to a budget.

    Parameters
    ----------
    value : list of ndarray, (networks, 2^k, 2^k), for depth k = 0..D
        Value of giving a block of that depth to a network.
    latency : ndarray of int, (networks,)
        Whole units, positive.
    budget : int
        Largest latency of interest.

    Raises
    ------
    HrvizError
        A budget below zero or too large, more levels than `DEEPEST`, latencies that are not whole
        and positive.
    """

    def __init__(self, value: list[np.ndarray], latency: np.ndarray, budget: int) -> None:
        latency = np.asarray(latency)
        if not 0 <= budget <= MOST_BUDGET:
            raise HrvizError(f"a budget of {budget} is not planned for: choose 0 to {MOST_BUDGET}")
        if len(value) > DEEPEST + 1:
            raise HrvizError(f"{len(value) - 1} splits are too many: choose at most {DEEPEST}")
        if latency.dtype.kind not in "iu" or (latency < 1).any():
            raise HrvizError("latencies are whole numbers of units, at least 1: round them up")
        self.latency, self.budget = latency, budget
        self._value = value
        self._root = self._front(0, 0, 0)

    def _front(self, depth: int, row: int, column: int) -> _Front:
        budget, n = self.budget, len(self.latency)
        value = np.zeros(budget + 1)
        network = np.full(budget + 1, SKIP)
        for k in np.argsort(self.latency, kind="stable"):
            worth = float(self._value[depth][k, row, column])
            start = int(self.latency[k])
            if start > budget or worth <= 0:
                continue
            better = value[start:] < worth - _EPSILON
            value[start:][better] = worth
            network[start:][better] = k
        splits: list[np.ndarray] = []
        children: list[_Front] = []
        if depth + 1 < len(self._value):
            if depth < 2:
                current().check()
            children = [
                self._front(depth + 1, 2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)
            ]
            joint = children[0].value
            for child in children[1:]:
                joint, given = _merge(joint, child.value)
                splits.append(given)
            better = joint > value + _EPSILON
            value = np.where(better, joint, value)
            network = np.where(better, n, network)
        return _Front(value, network, splits, children)

    @property
    def pareto(self) -> tuple[np.ndarray, np.ndarray]:
        """Latencies at which the best value rises, with those values."""
        value = self._root.value
        rises = np.r_[True, np.diff(value) > _EPSILON]
        return np.flatnonzero(rises), value[rises]

    def best(self, budget: int | None = None) -> tuple[float, int, list[Leaf]]:
        """Value, latency and leaves (row by row of quarters) of the best plan within a budget."""
        within = self.budget if budget is None else min(budget, self.budget)
        leaves: list[Leaf] = []
        latency = self._collect(self._root, within, 0, 0, 0, leaves)
        return float(self._root.value[within]), latency, leaves

    def _collect(
        self, front: _Front, within: int, depth: int, row: int, column: int, out: list[Leaf]
    ) -> int:
        # no more latency than the value needs: equally good plans may take longer
        within = int(np.searchsorted(front.value, front.value[within] - _EPSILON))
        chosen = int(front.network[within])
        if chosen < len(self.latency):
            out.append(Leaf(depth, row, column, chosen))
            return 0 if chosen == SKIP else int(self.latency[chosen])
        left, given = within, []
        for split in reversed(front.splits):  # the last child's share first
            share = int(split[left])
            given.append(share)
            left -= share
        total = 0
        for k, share in enumerate([left, *reversed(given)]):
            i, j = divmod(k, 2)
            total += self._collect(
                front.children[k], share, depth + 1, 2 * row + i, 2 * column + j, out
            )
        return total


def _merge(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best sum for every latency: max over s of a[t - s] + b[s], and the smallest s that gives it."""
    n = len(a)
    out, given = a + b[0], np.zeros(n, int)
    shares = np.flatnonzero(np.r_[False, np.diff(b) > _EPSILON])
    count("plan", 2.0 * float((n - shares).sum()))  # an addition and a comparison a pair
    for s in shares:
        trial = a[: n - s] + b[s]
        better = trial > out[s:] + _EPSILON
        out[s:][better] = trial[better]
        given[s:][better] = s
    return out, given


def values(
    counts: np.ndarray, accuracy: np.ndarray, depth: int, prior: float = 0.0
) -> list[np.ndarray]:
    """Value of every block and network: expected accuracy times the share of objects.

    Parameters
    ----------
    counts : ndarray (2^D, 2^D, classes)
        Objects of each cell by class of size.
    accuracy : ndarray (D + 1, networks, classes)
        Average precision of a network on objects of a class in a block of depth k.
    depth : int
        D.
    prior : float
        Objects added, spread evenly over cells and classes, so that what has no history is not
        worth nothing.

    Returns
    -------
    list of ndarray (networks, 2^k, 2^k), k = 0..D
        Their sums over a plan's blocks are its expected accuracy (eAP).
    """
    counts = np.asarray(counts, float) + prior / counts.size
    total = max(float(counts.sum()), 1e-12)
    out = []
    for k in range(depth + 1):
        n, side = 2**k, 2 ** (depth - k)
        blocks = counts.reshape(n, side, n, side, -1).sum((1, 3))
        out.append(np.einsum("nc,yxc->nyx", accuracy[k], blocks) / total)
    return out

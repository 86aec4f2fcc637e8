"""What one picture costs each pipeline: FLOPs, memory, network pixels, pixels asked, time.

FLOPs are counted while a picture is answered (1 MAC = 2 FLOPs). Memory is predicted, of the largest network call:
with all patches of a stage in one call, with one at a time, and, for methods of the product, as a
run of theirs reports it. Time is the median over pictures of answering one of them from memory, methods in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hrviz.cost.flops import counting
from hrviz.cost.memory import predict_inference
from hrviz.training.search_data import SETS

from .pipelines import Pipeline

ROUNDS = 7
RUNS = 3
STORED = 24  # pictures that are loaded to be timed


def peak(net: Any, calls: list[Any]) -> float:
    """Predicted bytes of the largest network call."""
    return float(max(predict_inference(net, shape, part) for part, shape in calls))


def measured(rows: list[Pipeline], quick: bool, report: Callable[[str], None]) -> list[dict[str, Any]]:  # fmt: skip
    """Costs of each row; time is taken in turn, so that a busy moment meets all of them."""
    rounds = 2 if quick else ROUNDS
    ready = [(r, r.network(), r.store(6 if quick else STORED, report)) for r in rows]
    seconds = np.zeros((len(rows), rounds))
    flops = np.zeros(len(rows))
    with torch.no_grad():
        for k, (row, net, store) in enumerate(ready):
            row.answer(net, store, store.batch(np.array([0])), 0)
            with counting(network=True) as operations:
                for i in range(2):
                    row.answer(net, store, store.batch(np.array([i])), i)
            flops[k] = sum(operations.values()) / 2
        for i in range(rounds):
            for k, (row, net, store) in enumerate(ready):
                some = store.batch(np.array([i % len(store)]))
                clock = time.perf_counter()
                row.answer(net, store, some, i)
                seconds[k, i] = time.perf_counter() - clock
    out = []
    for k, (row, net, _) in enumerate(ready):
        h, w = SETS[row.set].size
        calls = row.calls(True)
        fed = row.extra.get("network_pixels", sum(s[0] * s[2] * s[3] for _, s in calls))
        asked = row.extra.get("pixels_asked", h * w + sum(s[0] * s[2] * s[3] for _, s in calls[1:]))
        one = {
            "flops": flops[k], "memory": peak(net, calls), "memory_one_by_one": peak(net, row.calls(False)),
            "network_pixels": float(fed), "pixels_asked": float(asked), "seconds": float(np.median(seconds[k])),
        }  # fmt: skip
        out.append(one | (_as_run(row, quick) if row.method and row.bundled else {}))
    return out


def _as_run(row: Pipeline, quick: bool) -> dict[str, float]:
    """What the product's own runs report, mean over unseen pictures."""
    import hrviz

    found = [
        hrviz.apply(row.method, SETS[row.set].address("unseen", k), **row.params).cost
        for k in range(1 if quick else RUNS)
    ]
    names = {"memory_run": "network_memory", "network_pixels": "network_pixels",
             "pixels_asked": "pixels_requested", "pixels_read": "pixels_read"}  # fmt: skip
    return {key: float(np.mean([cost.get(name) or 0 for cost in found])) for key, name in names.items()}  # fmt: skip

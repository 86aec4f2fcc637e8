"""How sure a sampled sum is: one draw as it grows, its spread over redraws, the exact sum.

What is read and computed here is for comparison only: it goes through a view of its own, so that it
is in no cost of the method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

from hrviz.context import current
from hrviz.method import Control
from hrviz.methods.zooming import draws
from hrviz.methods.zooming.attended import Attended
from hrviz.methods.zooming.growing import Growing
from hrviz.methods.zooming.patches import cut_out
from hrviz.results import Curve, Step

Redraws = Annotated[
    int,
    Control("Draws that are repeated to see the spread of the estimate. Up: the spread is known "
            "better.", 0, 500, 10, basic=False),
]  # fmt: skip

AFFORDABLE = 2_000  # patches up to which the exact sum is taken
MOST_REGION = 2**23  # level-0 px up to which the exact sum reads the region
EXTRA = 48  # patches that redraws may read where the exact sum is not affordable


def redraw(
    growing: Growing,
    attended: Attended,
    order: np.ndarray,
    values: np.ndarray,
    evaluate: Callable[[np.ndarray], np.ndarray],
    *,
    replacement: bool,
    redraws: int,
    seed: int,
    quantity: str,
) -> Step:
    """The step 'estimate': one draw as it grows, the spread over redraws, and the exact sum.

    What is read for comparison only is not in the run's read accounting.

    Parameters
    ----------
    order, values : ndarray (n,)
        What was drawn, in order, and its values.
    evaluate : callable
        Values (k,) of patches (k, p, p, 3).
    quantity : str
        What is summed, for the axis.
    """
    p = attended.flat
    n = len(order)
    shown = Growing(growing.view.image.view(growing.view.box))
    rng = np.random.default_rng([seed, 1])
    known: dict[int, float] = dict(zip(order.tolist(), values.tolist(), strict=True))
    area = growing.view.height * growing.view.width
    every = len(p) <= AFFORDABLE and area <= MOST_REGION and redraws > 0
    if every:
        found = _values_everywhere(shown, attended, evaluate)
        count = redraws
    else:
        count = min(redraws, EXTRA // n)
        found = np.full(len(p), np.nan)
        found[order] = values
    sequences = [draws.draw(p, n, rng, replacement) for _ in range(count)]
    if not every and sequences:
        wanted = sorted(set(np.concatenate(sequences).tolist()) - set(known))
        for start in range(0, len(wanted), 32):
            part = wanted[start : start + 32]
            cuts = [cut_out(shown, attended.origins[k], attended.patch)[0] for k in part]
            found[part] = evaluate(np.stack(cuts))
    n = min([n, *map(len, sequences)])
    x = np.arange(1, n + 1, dtype=float)

    def growing_mean(drawn: np.ndarray) -> np.ndarray:
        own = found[drawn][:n]
        each = own if replacement else draws.terms(p, drawn[:n], own)
        return np.asarray(np.cumsum(each) / x)

    series = {"this draw": growing_mean(order)}
    bands: dict[str, np.ndarray] = {}
    told = "No redraws were asked for."
    if count > 1:
        runs = np.stack([growing_mean(s) for s in sequences])
        mean, sd = runs.mean(0), runs.std(0)
        series["mean of redraws"] = mean
        bands["mean of redraws"] = np.stack([mean - sd, mean + sd], 1)
        told = f"Over {count} redraws {mean[-1]:.3g} +- {sd[-1]:.2g}"
        if every:
            exact = float(p @ found)
            series["exact sum"] = np.full(n, exact)
            told += f"; the sum over all {len(p):,} positions is {exact:.3g}."
        else:
            told += f" (bounded); the exact sum would need {len(p):,} patches."
    return Step("estimate", Curve(x, series, "patches drawn", quantity, bands=bands), told)


def _values_everywhere(
    shown: Growing, attended: Attended, evaluate: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Values of all positions, from one read of the region."""
    view, side = shown.view, attended.patch
    h, w = max(1, round(view.height)), max(1, round(view.width))
    padded = np.zeros((h + 2 * side, w + 2 * side, 3), np.float32)
    padded[side : side + h, side : side + w] = shown.look(view.box, (h, w))
    corner = np.clip(attended.origins + side, 0, (h + side, w + side))
    out = []
    for start in range(0, len(corner), 64):
        current().check()
        cuts = [padded[y : y + side, x : x + side] for y, x in corner[start : start + 64]]
        out.append(evaluate(np.stack(cuts)))
    return np.concatenate(out)

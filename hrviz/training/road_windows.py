"""Trains the Q-network that picks windows on accuracy-gain maps (`road-windows`).

Q-learning on the gains that R-net predicts for road pictures (`road-gain`): a state is an AG map and a
price lambda, drawn anew for each sequence; an action is a window of one of three sizes; its reward is
the paper's, R = sum of the gains whose centres it holds - lambda b / B, and nothing is left to gain
inside it afterwards. Stopping is always allowed and worth 0. Of a next state the network chooses the
window and a slowly following copy values it (double Q-learning).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hrviz import nets
from hrviz.geometry import Box
from hrviz.methods.zooming.accuracy_gain import State, Window, greedy
from hrviz.training.road_gain import FRAMES, Looked, looked_at

SIDES = (8, 16, 24)  # cells of 20 px: windows of 160, 320 and 480 px
WIDTH = 16
SHAPE = (48, 64)
BOX = Box(0, 0, 960, 1280)
DISCOUNT = 0.8
EXPLORE = 0.3
HORIZON = 10
MOST_PRICE = 5.0
PLAYS, BATCH, KEPT = 12, 24, 4000
STEPS, RATE = 700, 1e-3
FOLLOW = 0.02  # share of the network that the target network takes over each step
PRICES = (0.5, 1.0, 2.0, 4.0)


def train(
    *, seed: int, steps: int | None, report: Callable[[str], None], write: bool
) -> dict[str, Any]:
    """Train, judge against greedy choice on held-out pictures, write weights and card."""
    import torch
    from torch.nn import functional as F

    from hrviz.nets.gain import WindowNet

    steps = steps or STEPS
    quick = steps <= 50
    clock = time.perf_counter()
    known, judged = (
        _states(looked_at(split, 2 if quick else n, report)) for split, n in FRAMES.items()
    )
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    net = WindowNet(SIDES, WIDTH)
    target = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    plays = [_start(known, rng) for _ in range(PLAYS)]
    kept: list[tuple[Any, ...]] = []
    for step in range(steps):
        with torch.no_grad():
            values = net(_inputs([(s, price) for s, price, _ in plays]))
        for k, (state, price, left) in enumerate(plays):
            window, branch, value = _choose(values[k].numpy(), state, rng)
            after = state.after(window)
            kept.append((state, price, branch, window, state.reward(window, price), after))
            over = left == 0 or value <= 0
            plays[k] = _start(known, rng) if over else (after, price, left - 1)
        kept = kept[-KEPT:]
        drawn = [kept[int(k)] for k in rng.integers(len(kept), size=BATCH)]
        with torch.no_grad():
            following = _inputs([(d[5], d[1]) for d in drawn])
            # the net chooses and the target network values: the best of thousands of noisy values is
            # too high; and stopping is worth 0, so no state is worth less
            choice = net(following).flatten(1).argmax(1, keepdim=True)
            later = target(following).flatten(1).gather(1, choice)[:, 0].clamp_min(0)
            aim = torch.tensor([d[4] for d in drawn]).float() + DISCOUNT * later
        told = net(_inputs([(d[0], d[1]) for d in drawn]))
        at = [(d[2], d[3].row, d[3].column) for d in drawn]
        q = told[torch.arange(BATCH), *(torch.tensor(v) for v in zip(*at, strict=True))]
        loss = F.smooth_l1_loss(q, aim, beta=0.2)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, FOLLOW)
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {steps}: loss {loss.item():.5f}")
    net.eval()
    facts = {
        "name": "road-windows",
        "architecture": "hrviz.nets.gain.WindowNet",
        "config": {"sides": list(SIDES), "width": WIDTH},
        "task": "which windows of a road picture to look at closely (synthetic: not for driving)",
        "data": f"AG maps of {len(known)} looks at scene:road split train, gains by road-gain",
        "training": f"double Q-learning, discount {DISCOUNT}, lambda 0-{MOST_PRICE:g} drawn a sequence, "
        f"random windows {EXPLORE:g} of the time",
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "seconds": round(time.perf_counter() - clock),
        "held_out": _judge(net, judged[: 2 if quick else None], report),
        "command": f"hrviz train road-windows --seed {seed} --steps {steps}",
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    if write:
        nets.save("road-windows", net, facts)
    return facts


def _states(looks: list[Looked]) -> list[State]:
    """AG maps with the gains that R-net predicts, as the method has them."""
    import torch

    net = nets.load("road-gain")
    out = []
    for look in looks:
        with torch.no_grad():
            told = net(torch.from_numpy(look.features)).double().numpy()
        out.append(State.of(look.boxes, told, BOX, SHAPE))
    return out


def _start(states: list[State], rng: np.random.Generator) -> tuple[State, float, int]:
    """A new sequence: a state, mirrored half the time, a price and the steps that are left."""
    state = states[int(rng.integers(len(states)))]
    if rng.random() < 0.5:
        state = State(state.spread[:, ::-1].copy(), state.centred[:, ::-1].copy())
    return state, float(rng.uniform(0, MOST_PRICE)), HORIZON - 1


def _inputs(states: list[tuple[State, float]]) -> Any:
    """What the network takes of states and prices, float32 (n, 3, h, w)."""
    import torch

    x = np.empty((len(states), 3, *SHAPE), np.float32)
    for k, (state, price) in enumerate(states):
        x[k, 0], x[k, 1], x[k, 2] = state.spread, state.centred, price / MOST_PRICE
    return torch.from_numpy(x)


def _choose(
    values: np.ndarray, state: State, rng: np.random.Generator
) -> tuple[Window, int, float]:
    """The best window, or now and then a random one; its branch, and the best value there is."""
    sizes = state.sizes(SIDES)
    top = float(values.max())
    branch, row, column = (int(k) for k in np.unravel_index(int(values.argmax()), values.shape))
    if rng.random() < EXPLORE:
        branch = int(rng.integers(len(sizes)))
        h, w = sizes[branch]
        row, column = int(rng.integers(SHAPE[0] - h + 1)), int(rng.integers(SHAPE[1] - w + 1))
    return Window(row, column, *sizes[branch]), branch, top


def _judge(net: Any, states: list[State], report: Callable[[str], None]) -> dict[str, float]:
    """Sum of rewards of whole sequences, by the network and by greedy choice at the same prices."""
    import torch

    out: dict[str, float] = {"pictures": len(states)}
    for price in PRICES:
        sums = {"q": 0.0, "greedy": 0.0}
        for first in states:
            for name in sums:
                state = first
                for _ in range(HORIZON):
                    sizes = state.sizes(SIDES)
                    if name == "q":
                        with torch.no_grad():
                            values = net(_inputs([(state, price)]))[0].numpy()
                        branch, row, column = map(
                            int, np.unravel_index(int(values.argmax()), values.shape)
                        )
                        window = Window(int(row), int(column), *sizes[int(branch)])
                        value = float(values.max())
                    else:
                        window, value = greedy(state, sizes, price)
                    if value <= 0:
                        break
                    sums[name] += state.reward(window, price)
                    state = state.after(window)
        out |= {f"{k}_lambda_{price:g}": round(v / len(states), 4) for k, v in sums.items()}
    report(str(out))
    return out

"""`latency` in the background, as front ends want it: progress, rows as they come, cancelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hrviz.cost import background, study
from hrviz.cost.latency import DEFAULT, REPEATS, SECONDS, WARM_UP, Latency, latency


@dataclass(eq=False)
class LatencyJob(background.Background):
    """What is known so far of times that are measured elsewhere.

    Attributes
    ----------
    names : tuple of str
        Subjects.
    sides : tuple of int, px
        The smallest first.
    rows : tuple of Latency
        As they came: all sides of a subject, then the next subject's.
    """

    names: tuple[str, ...]
    sides: tuple[int, ...]
    rows: tuple[Latency, ...] = ()

    def told(self, parts: dict[str, Any]) -> None:
        """A row."""
        self.rows = (*self.rows, parts["row"])


def submit(
    names: Sequence[str],
    sides: Sequence[int] = study.SIDES,
    setting: study.Setting = DEFAULT,
    *,
    repeats: int = REPEATS,
    warm_up: int = WARM_UP,
    seconds: float = SECONDS,
    device: str = "",
) -> LatencyJob:
    """Start timing in the background; bad input is refused at once with `HrvizError`.

    Parameters
    ----------
    names : sequence of str
        Networks, methods or aliases.
    sides, setting, repeats, warm_up, seconds, device
        As in `hrviz.cost.latency.latency`.
    """
    start = study.prepared(names, sides, setting)
    job = LatencyJob(tuple(start.points), start.sides)
    spec = {
        "names": job.names, "sides": job.sides, "setting": setting,
        "options": {"repeats": repeats, "warm_up": warm_up, "seconds": seconds, "device": device},
    }  # fmt: skip
    background.start(job, {"latency": spec})
    return job


def perform(
    spec: dict[str, Any], tell: Callable[[dict[str, Any]], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """The worker's side: every row is told as it is known."""
    names, sides = spec["names"], spec["sides"]
    done, total = 0, len(names) * len(sides)

    def told(row: Latency) -> None:
        nonlocal done
        done += 1
        tell({"row": row, "progress": done / total})

    def work(check: Callable[[], None]) -> None:
        for name in names:
            latency(name, sides, spec["setting"], on_point=told, check=check, **spec["options"])

    return background.answer(work, "timing", cancelled)

"""A study in the background, as front ends want it: progress, points as they come, budgets, cancelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hrviz.cost import background, study
from hrviz.cost.curves import Fit
from hrviz.errors import HrvizError

NORMAL = study.Setting()


@dataclass(eq=False)
class StudyJob(background.Background):
    """What is known so far of a study that runs elsewhere.

    Attributes
    ----------
    study : Study
        With None where a point is not there yet.
    budgets : tuple of int, bytes
    fits : dict of (str, int) to Fit
        Subject's name and budget in bytes to the largest image; after all points.
    """

    study: study.Study
    budgets: tuple[int, ...]
    fits: dict[tuple[str, int], Fit] = field(default_factory=dict)

    def told(self, parts: dict[str, Any]) -> None:
        """A point, or a fit."""
        name = parts["name"]
        if "point" in parts:
            row = list(self.study.points[name])
            row[parts["index"]] = parts["point"]
            points = {**self.study.points, name: tuple(row)}
            self.study = replace(self.study, points=points, problems=parts["problems"])
        else:
            self.fits = {**self.fits, (name, parts["budget"]): parts["fit"]}


def submit(
    names: Sequence[str],
    sides: Sequence[int] = study.SIDES,
    setting: study.Setting = NORMAL,
    budgets: Sequence[int] = (),
) -> StudyJob:
    """Start a study in the background; bad input is refused at once with `HrvizError`.

    Parameters
    ----------
    names, sides, setting
        As in `hrviz.cost.study.grow`.
    budgets : sequence of int, bytes
        For each of them and each subject the largest image, after the points.
    """
    known = list(dict.fromkeys(study.find(n).name for n in names))
    if any(not b > 0 for b in budgets):
        raise HrvizError("a budget of 0 bytes or less holds nothing: choose one above 0, such as 11 GB")  # fmt: skip
    start = study.prepared(known, sides, setting)
    job = StudyJob(start, tuple(budgets))
    spec = {"study": {"names": known, "sides": start.sides, "setting": setting, "budgets": job.budgets}}  # fmt: skip
    background.start(job, spec)
    return job


def perform(
    spec: dict[str, Any], tell: Callable[[dict[str, Any]], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """The worker's side: every point and fit is told as it is known."""
    names, sides, budgets = spec["names"], spec["sides"], spec["budgets"]
    setting = spec["setting"]
    total = len(names) * (len(sides) + len(budgets))
    done = 0

    def point(found: study.Study) -> None:
        nonlocal done
        k, n = divmod(done, len(names))
        name = names[n]
        done += 1
        tell({"name": name, "index": k, "point": found.points[name][k],
              "problems": found.problems, "progress": done / total})  # fmt: skip

    def work(check: Callable[[], None]) -> None:
        nonlocal done
        found = study.grow(names, sides, setting, point, check)
        for budget in budgets:
            for name in names:
                done += 1
                if not any(found.points[name]):  # refused at every side
                    continue
                try:
                    fit = study.largest(name, budget, setting, check=check)
                except HrvizError:  # no small size that it takes
                    continue
                tell({"name": name, "budget": budget, "fit": fit, "progress": done / total})

    return background.answer(work, "metering", cancelled)

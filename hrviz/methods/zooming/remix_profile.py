"""REMIX's profile of the bundled detectors of people: accuracy by size, latency, right boxes by score.

Measured by `hrviz train crowd-profile` and kept as a table with the device's name and date; never
presented as measured now.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from hrviz.errors import HrvizError
from hrviz.methods.detection import Found

FILE = Path(__file__).parent / "remix_profile.json"
#: sides (root of the area) in network px that part the ranges of size, twelve as in the paper
EDGES = (0.0, 3.0, 4.5, 6.0, 8.0, 11.0, 16.0, 22.0, 32.0, 45.0, 64.0, 91.0, float("inf"))
#: at which the share of right boxes is told
SCORES = np.linspace(0, 1, 41).round(3)
#: detector and longer side of its input, cheap to dear
INPUTS = (
    ("crowd-detector-light", 256), ("crowd-detector-light", 512), ("crowd-detector-light", 1024),
    ("crowd-detector-heavy", 512), ("crowd-detector-heavy", 1024), ("crowd-detector-heavy", 1536),
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """What is known of each detector and input size.

    Attributes
    ----------
    names : tuple of str
        As 'light 512'.
    detectors : tuple of str
        Name of the weights.
    sides : ndarray of int (n,)
        Longer side of the input, px.
    accuracy : ndarray (n, 12)
        By range of side in network px (`EDGES`).
    seconds : ndarray (n,)
    right : ndarray (n, 41)
        Share of right boxes among those of a score (`SCORES`).
    device, date : str
    """

    names: tuple[str, ...]
    detectors: tuple[str, ...]
    sides: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray
    right: np.ndarray
    device: str
    date: str

    @property
    def badge(self) -> str:
        return f"recorded profile, {self.device}, {self.date}"

    def at(self, native: np.ndarray, block: float) -> np.ndarray:
        """Accuracy (n, k) on objects of sides `native` (k,) in blocks `block` px long, both level 0.

        The side in the network's input is native times input side over block side.
        """
        seen = native[None] * self.sides[:, None] / block
        place = np.clip(
            np.searchsorted(EDGES, seen, side="right") - 1, 0, self.accuracy.shape[1] - 1
        )
        return np.asarray(np.take_along_axis(self.accuracy, place, axis=1))

    def sure(self, network: int, found: Found) -> Found:
        """Boxes with the share of right ones at their score in its place.

        Two detectors' scores mean different things; these can be merged, and shown from the same
        least score on.
        """
        return found._replace(scores=np.interp(found.scores, SCORES, self.right[network]))


@cache
def profile() -> Profile:
    """The bundled profile.

    Raises
    ------
    HrvizError
        When it is missing, with the command that makes it.
    """
    if not FILE.exists():
        raise HrvizError(
            "there is no profile of detectors: make it with 'hrviz train crowd-profile'"
        )
    facts = json.loads(FILE.read_text())
    names = tuple(
        f"{name.removeprefix('crowd-detector-')} {side}" for name, side in facts["inputs"]
    )
    accuracy = []
    for name, _ in facts["inputs"]:
        row = np.array([np.nan if v is None else v for v in facts["accuracy"][name]], float)
        known = np.flatnonzero(np.isfinite(row))
        # a size that was never shown is worth what the nearest known one is
        accuracy.append(np.interp(np.arange(len(row)), known, row[known]))
    return Profile(
        names, tuple(name for name, _ in facts["inputs"]),
        np.array([side for _, side in facts["inputs"]]), np.array(accuracy),
        np.array(facts["seconds"]), np.array([facts["right"][name] for name, _ in facts["inputs"]]),
        facts["device"], facts["date"],
    )  # fmt: skip

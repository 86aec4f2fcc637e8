"""Who is in the picture: the count, heads, boxes and tracks, exact and asked for by window."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from hrviz.geometry import Box
from hrviz.scenes.crowd.population import Crowd
from hrviz.scenes.truth import Objects, Truth

PERSON, HEAD = 1, 2


class CrowdTruth(Truth):
    """Ground truth of `scene:crowd` at one frame; everything in level-0 pixels, (y, x).

    A person counts when the centre of its head lies in the picture, hidden or not.

    Parameters
    ----------
    height, width : int
        Of the picture.
    crowd : callable
        Gives everybody at this frame; called when something is first asked.

    Attributes
    ----------
    label : int
        People in the picture.
    objects : dict
        1 'person', 2 'head'.
    """

    def __init__(self, height: int, width: int, crowd: Callable[[], Crowd]) -> None:
        self._picture = Box(0.0, 0.0, float(height), float(width))
        self._crowd = crowd
        self.classes = {}
        self.objects = {PERSON: "person", HEAD: "head"}
        self.kinds, self.unit = {PERSON: "head"}, "people"
        self.knows = frozenset({"label", "points", "boxes"})

    @cached_property
    def _counted(self) -> np.ndarray:
        return _within(self._crowd().head_centres, self._picture)

    @property
    def label(self) -> int:  # type: ignore[override]
        return int(self._counted.sum())

    def points(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Heads whose centre is in a box (all in the picture without one), farthest person first.

        Returns
        -------
        points : numpy.ndarray
            float64 (n, 2), (y, x).
        kinds : numpy.ndarray
            int64 (n,): 1 for all.
        """
        points = self._crowd().head_centres[self._inside(box)]
        return points, np.full(len(points), PERSON, np.int64)

    def tracks(self, box: Box | None = None) -> np.ndarray:
        """Who the points of a box are: int64 (n,), the same number for a person in all frames."""
        return np.asarray(self._crowd().track[self._inside(box)], np.int64)

    def boxes(self, box: Box | None = None) -> Objects:
        """Persons and heads that touch a box (all in the picture without one), largest first.

        A person's box is tight around the drawn figure without its shadow, hidden parts included,
        and cut to the picture.
        """
        crowd, window = self._crowd(), self._window(box)
        found, classes = [], []
        for value, boxes in ((PERSON, crowd.boxes), (HEAD, crowd.heads)):
            touching = (boxes[:, :2] < window[2:]).all(1) & (boxes[:, 2:] > window[:2]).all(1)
            cut = boxes[touching].clip([0, 0, 0, 0], [*self._picture[2:]] * 2)
            found.append(cut)
            classes.append(np.full(len(cut), value, np.int64))
        every, kinds = np.concatenate(found), np.concatenate(classes)
        area = (every[:, 2] - every[:, 0]) * (every[:, 3] - every[:, 1])
        order = np.argsort(-area, kind="stable")
        return Objects(every[order], kinds[order], dict(self.objects))

    def _window(self, box: Box | None) -> Box:
        return self._picture if box is None else Box(*box).intersect(self._picture)

    def _inside(self, box: Box | None) -> np.ndarray:
        if box is None:
            return self._counted
        return self._counted & _within(self._crowd().head_centres, Box(*box))


def _within(points: np.ndarray, box: Box) -> np.ndarray:
    return np.asarray((points >= box[:2]).all(axis=1) & (points < box[2:]).all(axis=1))

"""Truth as results: the same numbers as the scene's own answers, bounded, for every scene."""

import numpy as np
import pytest

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import open_image
from hrviz.results import Boxes, LabelMap, Points
from hrviz.scenes import SCENES
from hrviz.scenes.truth import Objects, Truth
from hrviz.views import truth
from hrviz.views.deepzoom import overlay


@pytest.mark.parametrize("name", SCENES)
def test_all_scenes_can_be_drawn(name):
    image = open_image(SCENES[name].address(**SCENES[name].small))
    known = image.truth
    assert set(truth.titles(known)) == known.knows - {"label"}
    for kind in truth.titles(known):
        result, hint = truth.found(known, image.box, kind)
        assert result is not None or hint
        if isinstance(result, LabelMap):
            assert np.array_equal(result.labels, known.mask(image.box, result.labels.shape))
            assert all(result.classes[k] == v for k, v in known.classes.items())
        elif isinstance(result, Boxes):
            listed = known.boxes(image.box)
            assert np.array_equal(result.boxes, listed.boxes[: len(result.boxes)])
            shown = [result.classes[k] for k in result.labels]
            assert shown == [listed.names[k] for k in listed.classes[: len(shown)]]
        elif isinstance(result, Points):
            assert np.array_equal(result.points, known.points(image.box)[0])
        if result is not None:
            assert overlay(result, "truth")


class Crowded(Truth):
    """More than can be drawn: boxes by size, points only in small boxes."""

    def __init__(self):
        self.objects, self.classes = {1: "ant"}, {}
        self.knows = frozenset({"boxes", "points"})

    def boxes(self, box=None):
        """As many as can be drawn, and one."""
        n = truth.MOST["boxes"] + 1
        side = np.arange(n, 0, -1.0)
        corner = np.zeros((n, 2))
        boxes = np.concatenate([corner, corner + side[:, None]], axis=1)
        return Objects(boxes, np.ones(n, np.int64), dict(self.objects))

    def points(self, box=None):
        """Refused in large boxes."""
        if box.area > 100:
            raise HrvizError("too large")
        n = truth.MOST["points"] + (box.area > 50)
        return np.zeros((n, 2)), np.ones(n, np.int64)


def test_too_much_is_cut_and_told():
    known = Crowded()
    assert truth.titles(known)["boxes"] == "Ant"
    result, hint = truth.found(known, Box(0, 0, 50, 50), "boxes")
    assert len(result.boxes) == truth.MOST["boxes"] and "largest" in hint
    assert result.boxes[0, 2] == truth.MOST["boxes"] + 1  # the smallest one is left out
    assert truth.found(known, Box(0, 0, 50, 50), "points") == (None, "Zoom in to see: points.")
    assert truth.found(known, Box(0, 0, 8, 8), "points")[0] is None
    assert len(truth.found(known, Box(0, 0, 5, 5), "points")[0].points) == truth.MOST["points"]
    assert truth.titles(None) == {}

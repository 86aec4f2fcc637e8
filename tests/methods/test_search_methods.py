"""Trained search methods, end to end on pictures that no training saw: read, chosen, judged."""

from __future__ import annotations

import pytest

import hrviz
from hrviz import nets
from hrviz.training.search_data import SETS

METHODS = {
    "attention-sampling": "colon-ats",
    "patch-selection": "colon-patch-selection",
    "iterative-patch-selection": "colon-ips",
    "bagnet": "colon-bagnet-33",
}
PICTURES = 8


@pytest.mark.parametrize("method", METHODS)
def test_most_unseen_pictures_are_told_right(method: str) -> None:
    """As the card says; and every pixel asked for is in the tree."""
    pytest.importorskip("torch")
    card = nets.card(METHODS[method])
    right = 0.0
    for place in range(100, 100 + PICTURES):
        run = hrviz.apply(method, SETS["colon"].address("unseen", place))
        assert run["tree"].pixels == run.reads.pixels_requested
        assert run["tree"].calls > 0
        assert run["tree"].source == f"trained: {card['name']}"
        right += run["score"].values["correct"]
    assert right / PICTURES >= card["unseen"]["accuracy"] - 0.25
    assert card["unseen"]["pictures"] == 200


def test_trained_attention_lies_on_cells() -> None:
    pytest.importorskip("torch")
    found = []
    for place in range(105, 116):
        address = SETS["colon"].address("unseen", place)
        if hrviz.open(address).truth.label == "present":
            score = hrviz.apply("ats", address, redraws=0)["score"].values
            found.append(score["attention_on_objects"] / score["even_on_objects"])
    assert len(found) > 2
    assert sum(found) / len(found) > 1.2

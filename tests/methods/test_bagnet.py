"""BagNets: what a part sees, and that parts add up to the answer."""

from __future__ import annotations

import numpy as np
import pytest

import hrviz


@pytest.mark.parametrize(("field", "published"), [(9, 15.7), (17, 16.2), (33, 18.3)])
def test_receptive_fields(field: int, published: float) -> None:
    """By the gradient of one part, of the small network and of the paper's (millions of weights)."""
    torch = pytest.importorskip("torch")
    from hrviz.nets.bagnet import BagNet, PaperBagNet, field_of

    torch.manual_seed(0)
    small, paper = BagNet(2, field).eval(), PaperBagNet(1000, field).eval()
    assert field_of(small.body) == field_of(paper.body) == field
    assert sum(p.numel() for p in paper.parameters()) / 1e6 == pytest.approx(published, abs=0.05)


def test_parts_are_judged_alone_and_add_up() -> None:
    torch = pytest.importorskip("torch")
    from hrviz.nets.bagnet import STAGES, BagNet

    torch.manual_seed(1)
    for field in STAGES:
        net = BagNet(3, field).eval()
        picture = torch.rand(1, 3, 80, 72)
        with torch.no_grad():
            parts = net.evidence(picture)
            alone = net.evidence(picture[..., 16 : 16 + field, 24 : 24 + field])
            assert torch.allclose(parts[0, :, 2, 3], alone[0, :, 0, 0], atol=1e-5)
            assert torch.allclose(net(picture), parts.mean((2, 3)), atol=1e-6)


def test_the_map_lies_where_the_parts_are() -> None:
    """One bright square on black: the strongest part lies on its outline, the map's peak too."""
    run = hrviz.apply(
        "bagnet",
        "scene:needle?size=400x300&object=disc&background=plain&ratio=0.01&distractors=0&seed=3",
        field=17, task="none",
    )  # fmt: skip
    truth = hrviz.open(run.image).truth
    box = truth.boxes().boxes[0]
    strongest = run["tree"].nodes[1].box
    assert strongest.y0 < box[2] and strongest.y1 > box[0]
    assert strongest.x0 < box[3] and strongest.x1 > box[1]
    heat = run["evidence"]
    r, c = np.unravel_index(int(heat.values.argmax()), heat.values.shape)
    y = heat.box.y0 + (r + 0.5) * heat.box.height / heat.values.shape[0]
    x = heat.box.x0 + (c + 0.5) * heat.box.width / heat.values.shape[1]
    assert (y, x) == pytest.approx(strongest.centre, abs=0.01)
    left = run["left out"].series["answer"]
    assert left[0] == pytest.approx(float(heat.values.sum()))
    assert left[0] - left[1] == pytest.approx(float(heat.values.max()))
    assert run["tree"].pixels == run.reads.pixels_requested


def test_recipe() -> None:
    pytest.importorskip("torch")
    from hrviz.training import search_bagnet

    card = search_bagnet.train(
        "colon-bagnet-17", seed=0, steps=1, report=lambda text: None, write=False
    )
    assert card["unseen"]["pictures"] == 6

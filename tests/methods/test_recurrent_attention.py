"""RA-CNN: mask, zoom and loss against loops, the published sizes, stand-ins, and what its path reads."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from fake_images import image_of

import hrviz
from hrviz import nets
from hrviz.geometry import Box
from hrviz.image.resample import resample
from hrviz.methods.zooming import attention_path as path
from hrviz.methods.zooming.attention_path import SIDE, Proposal
from hrviz.nets import recurrent_attention as ra

BOARD = "scene:digits?size=448x448&digits=1&smallest=48&largest=0.15&clutter=0.4&seed=3000006"


# ------------------------------------------------------------------ as published
def test_the_published_network_has_its_size() -> None:
    """VGG-19's convolutions, one layer a scale, two proposal networks, the fusing layer: by hand."""
    channels = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    convolutions = sum((9 * a + 1) * b for a, b in itertools.pairwise(channels))
    assert convolutions == 20_024_384  # VGG-19's 143,667,240 without its fully connected layers
    assert convolutions == 143_667_240 - (25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4_097_000)
    proposal = 512 * 14 * 14 * 1024 + 1024 + 1024 * 3 + 3
    expected = 3 * (convolutions + 513 * 200) + 2 * proposal + 1537 * 200
    with torch.device("meta"):
        net = ra.PaperRaCnn(200)
    assert sum(p.numel() for p in net.parameters()) == expected == 266_217_446


def test_the_published_network_at_448_px_gives_three_answers_and_two_boxes() -> None:
    with torch.device("meta"):
        net = ra.PaperRaCnn(200)
        logits, boxes, fused = net(torch.empty(2, 3, 448, 448))
    assert logits.shape == (2, 3, 200)
    assert boxes.shape == (2, 2, 3)
    assert fused.shape == (2, 200)


def test_a_ranking_loss_reaches_every_proposal_of_the_published_network() -> None:
    torch.manual_seed(0)
    net = ra.PaperRaCnn(3, side=64)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):  # without it nothing is left after 16 convolutions
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    for (
        proposal
    ) in net.proposals:  # at half the side, as training begins: no gradient passes a limit
        torch.nn.init.constant_(proposal[2].bias, math.log(ra.FIRST_HALF / (1 - ra.FIRST_HALF)))
    logits, boxes, _ = net(torch.rand(2, 3, 64, 64))
    assert (boxes[..., 2] >= 1 / 6 - 1e-6).all()
    ra.ranking_loss(torch.softmax(logits, 2)[:, :, 0], margin=1.0, reference=True).sum().backward()
    for proposal in net.proposals:
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in proposal.parameters())


# ------------------------------------------------------------------ equations
@pytest.mark.parametrize("k", [0.3, 1.0, 10.0])
def test_the_boxcar_pixel_by_pixel(k: float) -> None:
    h, w, box = 9, 12, (0.4, 0.55, 0.2)
    expected = np.empty((h, w))
    for i in range(h):
        for j in range(w):
            one = 1.0
            for at, c, n in ((i + 0.5, box[0], h), (j + 0.5, box[1], w)):
                low, high = (c - box[2]) * n, (c + box[2]) * n
                one *= 1 / (1 + math.exp(-k * (at - low))) - 1 / (1 + math.exp(-k * (at - high)))
            expected[i, j] = one
    found = ra.boxcar(torch.tensor([box]), (h, w), k)[0]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_hard_mask_is_the_indicator_of_the_box_and_a_soft_one_is_not() -> None:
    box = torch.tensor([[0.5, 0.25, 0.25]])
    expected = np.zeros((8, 8))
    expected[2:6, 0:4] = 1
    np.testing.assert_allclose(ra.boxcar(box, (8, 8), 60.0)[0], expected, atol=1e-6)
    assert ra.boxcar(box, (8, 8), 0.1).max() < 0.3


@pytest.mark.parametrize("box", [(0.5, 0.5, 0.25), (0.43, 0.61, 0.17), (0.2, 0.8, 0.2)])
def test_the_enlargement_is_the_double_sum_of_equation_7(box: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    x, side = rng.random((12, 12)), 7
    step = 2 * box[2] * 12 / side  # 1 / lambda
    low = [(c - box[2]) * 12 for c in box[:2]]
    expected = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            v, u = low[0] + i * step, low[1] + j * step
            for a in (0, 1):
                for b in (0, 1):
                    m, n = math.floor(v) + a, math.floor(u) + b
                    weight = abs(1 - a - (v - math.floor(v))) * abs(1 - b - (u - math.floor(u)))
                    expected[i, j] += weight * x[min(m, 11), min(n, 11)]
    found = ra.amplified(
        torch.tensor(x)[None, None].float(), torch.tensor([box]), side
    )[0, 0]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("side", [5, 16])  # shrinking, and enlarging
@pytest.mark.parametrize("box", [(0.5, 0.5, 0.5), (0.41, 0.63, 0.21), (0.3, 0.7, 0.3)])
def test_training_sees_what_the_image_gives(box: tuple[float, float, float], side: int) -> None:
    pixels = np.random.default_rng(1).random((24, 24, 3)).astype(np.float32)
    ends = [((c - box[2]) * 24, (c + box[2]) * 24) for c in box[:2]]
    expected = resample(pixels, ends[0], ends[1], (side, side))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    found = ra.seen(x, torch.tensor([box]), side)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("look", [ra.amplified, ra.seen])
def test_gradients_of_a_look_against_finite_differences(look) -> None:
    x = torch.rand(1, 1, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    box = torch.tensor([[0.47, 0.53, 0.231]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: look(x, b, 4), (box,), eps=1e-7, atol=1e-5)


def test_the_mask_of_an_enlarged_box_is_the_mask_of_the_scale_before() -> None:
    """A white picture under equation 5, then enlarged by many points, against `masked`."""
    own, k, side = torch.tensor([[0.45, 0.6, 0.3]]), 2.0, 8
    white = torch.full((1, 1, side, side), 1.0)
    found = (ra.masked(white, own, k) - ra.MEAN) / (1 - ra.MEAN)
    h = [1 / (1 + np.exp(-k * (2 * 0.3 * (np.arange(side) + 0.5) + d))) for d in (0, -4.8)]
    line = h[0] - h[1]
    np.testing.assert_allclose(found[0, 0], line[:, None] * line[None], atol=1e-6)


def test_the_ranking_loss_and_where_its_gradient_goes() -> None:
    p = torch.tensor([[0.5, 0.7, 0.6], [0.5, 0.3, 0.33], [0.2, 0.25, 0.9]], requires_grad=True)
    loss = ra.ranking_loss(p)
    np.testing.assert_allclose(loss.detach(), [[0, 0.15], [0.25, 0.02], [0, 0]], atol=1e-6)
    (both,) = torch.autograd.grad(loss.sum(), p)
    assert both[:2].tolist() == [[0, 1, -1], [1, 0, -1]]
    (last,) = torch.autograd.grad(ra.ranking_loss(p, reference=True).sum(), p)
    assert last[:2].tolist() == [[0, 0, -1], [0, -1, -1]]


def test_proposals_stay_inside_and_above_the_smallest() -> None:
    rng = np.random.default_rng(5)
    proposals = rng.random((200, 3)).astype(np.float32)
    found = ra.confined(torch.from_numpy(proposals), 1 / 3).numpy()
    assert (found[:, :2] - found[:, 2:] >= -1e-6).all()
    assert (found[:, :2] + found[:, 2:] <= 1 + 1e-6).all()
    assert found[:, 2].min() == pytest.approx(1 / 6)
    assert found[:, 2].max() == pytest.approx(0.5)
    for given, out in zip(proposals.tolist(), found.tolist(), strict=True):
        same = Proposal(*given).confined(1 / 3)
        assert (same.y, same.x, same.half) == pytest.approx(tuple(out), abs=1e-6)


def test_a_box_in_a_box() -> None:
    outer, inner = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.75, 0.5, 0.25]])
    assert ra.within(outer, inner).tolist() == [[0.625, 0.25, 0.125]]
    box = Proposal(0.5, 0.25, 0.25).box(Box(100, 0, 300, 400))
    assert box == (150, 0, 250, 200)
    assert Proposal(0.75, 0.5, 0.25).box(box) == (200, 50, 250, 150)


def test_proposals_begin_at_the_highest_response() -> None:
    features = torch.zeros(2, 3, 8, 8)
    features[0, :, 2, 5] = 1.0
    features[1, 0, 0, 7] = 9.0
    found = ra.responding(features)
    np.testing.assert_allclose(found[0], [2.5 / 8, 5.5 / 8, 0.25])
    np.testing.assert_allclose(found[1], [0.25, 0.75, 0.25])  # in the corner, moved inside


def test_the_two_masks_agree() -> None:
    """The method's arithmetic on arrays and training's on tensors."""
    given, k = Proposal(0.4, 0.62, 0.21), 3.0
    box = torch.tensor([[given.y, given.x, given.half]])
    np.testing.assert_allclose(
        path.boxcar(given, k, SIDE, 1), ra.boxcar(box, (SIDE, SIDE), k)[0], atol=1e-5
    )
    pixels = np.random.default_rng(2).random((SIDE, SIDE, 3)).astype(np.float32)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    np.testing.assert_allclose(
        path.masked(pixels, given, k), ra.masked(x, box, k)[0].permute(1, 2, 0), atol=1e-5
    )
    assert np.isfinite(path.boxcar(given, 1e4)).all()


# ------------------------------------------------------------------ stand-ins
@pytest.mark.parametrize("a", [2, 4, 8])
def test_an_even_square_is_enclosed_exactly(a: int) -> None:
    weights = np.zeros((32, 32))
    weights[6 : 6 + a, 20 - a : 20] = 3.0
    found = path.centred(weights)
    assert found is not None
    assert (found.y, found.x, found.half) == pytest.approx(
        ((6 + a / 2) / 32, (20 - a / 2) / 32, a / 64)
    )
    assert path.share(weights, found) == 1


def test_two_things_far_apart_are_seen_in_the_middle() -> None:
    """A limit of one box a scale, told in the Notes."""
    weights = np.zeros((16, 16))
    weights[2, 2] = weights[13, 13] = 1
    found = path.centred(weights)
    assert found is not None
    assert (found.y, found.x, found.half) == pytest.approx((0.5, 0.5, path.HALF))
    assert path.share(weights, found) == 0


def test_a_constant_picture_ends_the_path() -> None:
    image = image_of(np.full((60, 80, 3), 120, np.uint8))
    run = hrviz.apply("racnn", image, saliency="edges", task="none")
    assert run["tree"].summary()["nodes"] == 1
    assert run["tree"].nodes[0].decision == "processed"
    assert path.centred(np.zeros((4, 4))) is None


# ------------------------------------------------------------------ the method
@pytest.mark.parametrize("saliency", ["edges", "truth"])
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_the_tree_is_a_path_that_costs_what_was_read(saliency: str, scales: int) -> None:
    run = hrviz.apply("ra-cnn", BOARD, saliency=saliency, scales=scales, task="none")
    tree = run["tree"]
    assert [n.parent for n in tree.nodes] == [None, 0, 1][:scales]
    assert [n.decision for n in tree.nodes] == ["zoomed"] * (scales - 1) + ["processed"]
    assert tree.pixels == run.reads.pixels_requested
    for outer, inner in itertools.pairwise(tree.nodes):
        assert inner.downsample < outer.downsample
        assert inner.box.area <= outer.box.area / 4 + 1e-6


def test_the_truth_leads_to_the_digit() -> None:
    run = hrviz.apply("ra-cnn", BOARD, saliency="truth", task="none", smallest=0.05)
    y0, x0, y1, x1 = hrviz.open(BOARD).truth.boxes().boxes[0]
    box = run["tree"].nodes[1].box
    assert abs((box.y0 + box.y1) / 2 - (y0 + y1) / 2) < 448 / SIDE
    assert abs((box.x0 + box.x1) / 2 - (x0 + x1) / 2) < 448 / SIDE


@pytest.mark.parametrize("smallest", [0.5, 0.8, 1.0])
def test_boxes_shrink_by_no_more_than_asked(smallest: float) -> None:
    run = hrviz.apply("ra-cnn", BOARD, saliency="truth", task="none", smallest=smallest)
    sides = [n.box.height for n in run["tree"].nodes]
    assert sides == pytest.approx([448, 448 * smallest, 448 * smallest**2])


def test_a_region_is_not_left() -> None:
    image = hrviz.open(BOARD)
    region = Box(100, 50, 300, 430)
    run = hrviz.apply("ra-cnn", image, region, saliency="edges", task="none")
    for node in run["tree"].nodes:
        assert node.box.intersect(region).area == pytest.approx(node.box.area)
        assert node.box.width / node.box.height == pytest.approx(region.width / region.height)


def test_a_gigapixel_picture_is_read_in_bounded_pieces() -> None:
    run = hrviz.apply("ra-cnn", "scene:tissue?size=200000x100000", saliency="edges", task="none")
    assert run.reads.pixels_read < 2**21
    assert len(run["tree"].nodes) == 3


def test_without_a_task_trained_attention_falls_back_and_says_so() -> None:
    run = hrviz.apply("ra-cnn", BOARD, task="none")
    assert run["tree"].source == "stand-in: edge energy"
    (note,) = [s.note for s in run.steps if s.name == "attention of scale 1"]
    assert "in place of 'trained'" in note


def test_the_run_is_the_training_graph() -> None:
    """Box by box from the image, against all scales at once on the board's pixels."""
    address = "scene:digits?size=224x224&digits=1&smallest=24&largest=0.15&clutter=0.4&seed=3000011"
    run = hrviz.apply("ra-cnn", address, smallest=1 / 3)
    x = torch.from_numpy(hrviz.open(address).view().read((224, 224))).permute(2, 0, 1)[None]
    net = nets.load(path.NETWORK)
    logits, boxes, descriptors = net(x)
    fused = torch.softmax(net.fuse(descriptors), 1)[0]
    assert list(run["prediction"].values.values()) == pytest.approx(fused.tolist(), abs=0.02)
    for node, (y, x_, half), p in zip(run["tree"].nodes, boxes[0].tolist(), logits[0], strict=True):
        expected = (y - half, x_ - half, y + half, x_ + half)
        assert [v / 224 for v in node.box] == pytest.approx(expected, abs=5e-3)
        assert node.score == pytest.approx(float(torch.softmax(p, 0)[fused.argmax()]), abs=0.03)
    assert run.cost["network_pixels"].value == 3 * SIDE**2


def test_looking_closer_reads_better_on_unseen_boards() -> None:
    from hrviz.training.patch_drop_data import boards
    from hrviz.training.recurrent_attention import judge

    found = judge(nets.load(path.NETWORK), boards("unseen", 40))
    assert found["accuracy_scale_2"] > found["accuracy_scale_1"]
    assert found["accuracy_scale_3"] > found["accuracy_scale_1"]
    assert found["accuracy_fused"] > 0.8
    assert found["digit_in_box_2"] > 0.85
    assert found["digit_in_box_3"] > 0.7


def test_fewer_scales_answer_from_the_finest() -> None:
    one = hrviz.apply("ra-cnn", BOARD, scales=1)
    assert "ranking" in [s.name for s in one.steps]
    assert "from scale 1" in next(s.note for s in one.steps if s.name == "prediction")
    finest = hrviz.apply("ra-cnn", BOARD, answer="finest")
    assert "from scale 3" in next(s.note for s in finest.steps if s.name == "prediction")
    wrong = hrviz.apply("ra-cnn", "scene:tissue?size=300x200", task="digit classification")
    assert wrong["score"].values["right"] == 0


def test_the_recipe_runs() -> None:
    from hrviz.training import train

    card = train("recurrent-attention", steps=4, report=lambda text: None, write=False)
    assert card["held_out"]["pictures"] == 12
    assert 0 <= card["held_out"]["accuracy_fused"] <= 1

"""SASNet at its published size, against the counts taken from its code, and the weights of its levels."""

from __future__ import annotations

import math

import pytest
import torch

from hrviz.cost.measure import Measure
from hrviz.cost.meter import Subject, meter
from hrviz.errors import HrvizError
from hrviz.nets.sasnet import SCALE, CrowdCounter, SASNet, fused, in_patches

PARTS = {
    "encoder": (1_792 + 36_928 + 256, 221_952, 1_476_864, 5_902_848, 7_082_496),
    "decoder": (110_720, 368_832, 1_474_944, 5_899_008, 9_438_720),
    "density": (78_657, 78_657, 312_961, 1_248_513, 4_987_393),
    "confidence": (2_113, 2_113, 8_321, 33_025, 131_585),
}


SIZES = ((768, 1024), (384, 512), (192, 256))


@pytest.fixture(scope="module")
def measures() -> list[Measure]:
    net = Subject(SASNet)
    return [net.measure((1, 3, *size)) for size in SIZES]


def test_sasnet_costs_what_was_published(measures: list[Measure]) -> None:
    for found, (h, w), gmac in zip(measures, SIZES, (696.770, 174.192, 43.548), strict=True):
        assert found.parameters == 38_898_698
        assert found.flops / 2e9 == pytest.approx(gmac, abs=5e-4)
        # The finest level's features, four times: 256 channels at full resolution.
        assert found.held[0].bytes == 256 * h * w * 4


def test_patches_cost_what_the_whole_costs_and_a_pass_a_share_of_its_memory(
    measures: list[Measure],
) -> None:
    whole, *parts = measures
    weights = whole.split["weights"]
    for part, share in zip(parts, (4, 16), strict=True):
        assert share * part.flops == pytest.approx(whole.flops, rel=1e-5)
        assert part.peak - weights == pytest.approx((whole.peak - weights) / share, rel=1e-3)


@pytest.mark.parametrize("part", PARTS)
def test_parameters_of_each_part(part: str) -> None:
    with torch.device("meta"):
        levels = getattr(SASNet(), part)
    found = tuple(sum(p.numel() for p in level.parameters()) for level in levels)
    assert found == PARTS[part]
    if part == "encoder":
        assert sum(found) == 14_723_136


def test_no_level_is_ever_chosen_alone() -> None:
    """A sigmoid before the softmax bounds the weights, however sure one level is."""
    sure = [torch.full((1, 1, 2, 2), v) for v in (1.0, 0.0, 0.0, 0.0, 0.0)]
    unsure = [torch.full((1, 1, 2, 2), v) for v in (0.0, 1.0, 1.0, 1.0, 1.0)]
    assert fused(sure)[0, 0, 0, 0].item() == pytest.approx(math.e / (math.e + 4))
    assert fused(unsure)[0, 0, 0, 0].item() == pytest.approx(1 / (1 + 4 * math.e))
    assert fused(sure).sum(1).allclose(torch.ones(1, 2, 2))


def test_the_count_is_the_densitys_sum_over_a_thousand() -> None:
    torch.manual_seed(0)
    net = SASNet().eval()
    with torch.no_grad():
        image = torch.rand(2, 3, 64, 96)
        out = net(image)
        levels, confidences = net.levels(image)
    assert out.shape == (2, 1, 64, 96)
    assert [tuple(c.shape[2:]) for c in confidences] == [(2, 3)] * 5
    assert [tuple(d.shape[2:]) for d in levels] == [
        (4, 6), (8, 12), (16, 24), (32, 48), (64, 96),
    ]  # fmt: skip
    assert (out >= 0).all()
    torch.testing.assert_close(SASNet.count(out), out.flatten(1).sum(1) / SCALE)


# ------------------------------------------------------------------ the small counter
def test_the_small_counter_has_sixty_thousand_parameters() -> None:
    assert meter(CrowdCounter, (1, 3, 192, 256)).parameters == 60_361


def stirred() -> CrowdCounter:
    """A counter whose batch normalisation does something."""
    torch.manual_seed(1)
    net = CrowdCounter().train()
    with torch.no_grad():
        net(torch.rand(2, 3, 64, 64))
    return net.double().eval().requires_grad_(False)


@pytest.mark.parametrize("cut", [2, 4])
def test_patches_with_enough_halo_are_the_whole_image(cut: int) -> None:
    net, x = stirred(), torch.rand(1, 3, 192, 256).double()
    whole = net(x)
    torch.testing.assert_close(
        in_patches(net, x, cut, CrowdCounter.HALO), whole, atol=1e-12, rtol=0
    )
    assert (in_patches(net, x, cut, 8) - whole).abs().max() > 1e-8
    off = (in_patches(net, x, cut) - whole).abs()[0, 0]
    assert off.max() > 1e-5
    # A cut is felt near it only.
    rows = torch.arange(192) + 0.5
    near = ((rows[:, None] - torch.arange(192 // cut, 192, 192 // cut)).abs() <= 24).any(1)
    columns = torch.arange(256) + 0.5
    beside = ((columns[:, None] - torch.arange(256 // cut, 256, 256 // cut)).abs() <= 24).any(1)
    assert off[~near][:, ~beside].numel() == 0 or off[~near][:, ~beside].max() < 1e-12


def test_a_pixel_sees_no_farther_than_the_halo() -> None:
    net = stirred()
    x = torch.rand(1, 3, 128, 128).double()
    y = x.clone()
    y[..., 64, 64] += 1
    changed = (net(y) - net(x)).abs()[0, 0].nonzero()
    reach = (changed - 64).abs().max()
    assert 12 < reach <= CrowdCounter.HALO


@pytest.mark.parametrize(
    ("cut", "halo", "told"), [(2, 3, "halo=3"), (2, -4, "halo=-4"), (5, 0, "5 x 5 patches")]
)
def test_patches_off_the_grid_are_refused(cut: int, halo: int, told: str) -> None:
    with pytest.raises(HrvizError, match=told):
        in_patches(CrowdCounter(), torch.zeros(1, 3, 64, 64), cut, halo)

"""The named networks against published and independently computed sizes."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
import torch
from torch import nn

from hrviz.cost.measure import Measure
from hrviz.cost.meter import Subject, meter
from hrviz.cost.models import MODELS, EfficientNet, ViT

MIB = 2**20
# with the classifier of 1000 classes
PARAMETERS = {
    "b0": 5_288_548, "b1": 7_794_184, "b2": 9_109_994, "b3": 12_233_232, "b4": 19_341_616,
    "b5": 30_389_784, "b6": 43_040_704, "b7": 66_347_960,
}  # fmt: skip


@pytest.mark.parametrize("variant", PARAMETERS)
def test_parameters_of_efficientnet(variant: str) -> None:
    with torch.device("meta"):
        net = EfficientNet(variant, classes=1000)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[variant]


@pytest.fixture(scope="module")
def b7() -> Subject:
    return Subject(lambda: EfficientNet("b7"))


@pytest.mark.parametrize(
    ("side", "gmacs"),
    [(224, 5.167), (600, 37.743), (1024, 107.749), (2048, 430.962), (4096, 1723.811)],
)
def test_operations_of_b7_without_its_classifier(b7: Subject, side: int, gmacs: float) -> None:
    found = b7.measure((1, 3, side, side))
    assert found.parameters == 63_786_960
    assert round(found.flops / 2e9, 3) == gmacs


def test_b7_has_the_published_output() -> None:
    with torch.device("meta"):
        net = EfficientNet("b7").eval()
        assert net(torch.empty(1, 3, 600, 600)).shape == (1, 2560, 19, 19)
        assert net(torch.empty(1, 3, 1024, 512)).shape == (1, 2560, 32, 16)


# MiB of an implementation that pads in layers of their own; fewer copies here, so less, but not by much
PADDED = {
    False: {224: 270.5, 512: 379.9, 1024: 785.3, 2048: 2406.0, 4096: 8887.5},
    True: {224: 904.3, 1024: 10990.7, 4096: 171002.6},
}


@pytest.mark.parametrize(("training", "less"), [(False, 0.09), (True, 0.02)])
def test_memory_of_b7(b7: Subject, training: bool, less: float) -> None:
    for side, mib in PADDED[training].items():
        found = b7.measure((1, 3, side, side), training=training).peak / MIB
        assert mib * (1 - less) < found <= mib, side


def test_memory_of_b7_in_inference_by_hand(b7: Subject) -> None:
    """At the first norm after widening: 32 channels to 192 at half the side, twice; what went in;
    the 64 channels of the stem, which its caller still holds; the image.
    """
    state = 4 * sum(t.numel() for t in b7.module.parameters())
    for side in (1024, 4096):
        found = b7.measure((1, 3, side, side))
        places = (side // 2) ** 2
        numbers = (2 * 192 + 32 + 64) * places + 3 * side * side
        statistics = found.split["weights"] - state
        assert found.peak_at.module == "blocks.4.widen.1"
        assert found.peak == pytest.approx(state + statistics + 4 * numbers, abs=20_000)
        assert 0 < statistics < 4 * 10**6  # running means and variances


def test_parameters_and_operations_of_vit() -> None:
    for side, gmacs in ((224, 17.564), (384, 55.484), (512, 107.028), (1024, 659.783), (2048, 6349.7)):  # fmt: skip
        headless = meter(lambda r=side: ViT(r), (1, 3, side, side))
        n0 = (side // 16) ** 2
        n = n0 + 1
        macs = n0 * 768 * 768 + 12 * (12 * n * 768**2 + 2 * n**2 * 768)
        assert headless.parameters == 85_648_128 + 3 * side**2
        assert headless.flops == 2 * macs
        with torch.device("meta"):
            whole = ViT(side, classes=1000)
        assert sum(p.numel() for p in whole.parameters()) == 86_417_128 + 3 * side**2
        assert (macs + 768_000) / 1e9 == pytest.approx(gmacs, abs=0.06 if gmacs > 1000 else 6e-4)


# MiB with the classifier of 1000 classes
TRAINING = {
    False: {224: 662.2, 512: 1617.9, 1024: 13475.4, 2048: 181865},
    True: {224: 662.2, 512: 939.9, 1024: 2733.2, 2048: 9906.2, 4096: 38598},
}


@pytest.mark.parametrize("fused", [False, True])
def test_training_memory_of_vit(fused: bool) -> None:
    for side, mib in TRAINING[fused].items():
        found = meter(lambda r=side: ViT(r, fused=fused, classes=1000), (1, 3, side, side), training=True)  # fmt: skip
        assert found.peak / MIB == pytest.approx(mib, rel=5e-4, abs=0.3), side


def test_inference_memory_of_vit_by_hand() -> None:
    def fixed(found: Measure) -> int:
        return found.split["weights"] + found.split["input"]

    for side in (1024, 2048):
        n = (side // 16) ** 2 + 1
        row = 4 * n * 768
        fused = meter(lambda r=side: ViT(r, fused=True), (1, 3, side, side))
        # first tokens (held by the caller), the block's, their sum with attention, its norm, 4 + 4
        assert fused.peak - fixed(fused) == 12 * row
        explicit = meter(lambda r=side: ViT(r), (1, 3, side, side))
        # scores and softmax, 12 heads each; q, k, v; first tokens, the block's, its norm, and q again
        assert explicit.peak - fixed(explicit) == pytest.approx(2 * 12 * 4 * n * n + 7 * row, abs=row)  # fmt: skip
        assert any("explicit" in line for line in explicit.assumed)
        assert any("fused" in line for line in fused.assumed)


def test_every_named_network_is_built_and_metered() -> None:
    assert set(MODELS) == {f"efficientnet-{v}" for v in PARAMETERS} | {"vit-b16", "vit-b16-fused"}
    for name in ("efficientnet-b0", "vit-b16", "vit-b16-fused"):
        model = MODELS[name]
        side = 2 * model.stride
        found = meter(lambda m=model, r=side: m.build(r), (1, 3, side, side))
        assert found.flops > 0 and found.peak > 4 * found.parameters


def test_as_monai_has_it() -> None:
    nets = pytest.importorskip("monai.networks.nets")
    for variant in ("b0", "b7"):
        theirs: nn.Module = nets.EfficientNetBN(
            f"efficientnet-{variant}", pretrained=False, num_classes=1000
        )
        ours = meter(lambda v=variant: EfficientNet(v, classes=1000), (1, 3, 256, 256))
        found = meter(theirs, (1, 3, 256, 256))
        assert (ours.parameters, ours.flops) == (found.parameters, found.flops)

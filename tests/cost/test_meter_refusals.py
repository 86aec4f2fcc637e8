"""What the meter cannot do, it says in one sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")
from torch import nn

from hrviz.cost.meter import meter
from hrviz.errors import HrvizError
from tests.cost.awkward import Branching, Custom, Detached, Numpy, Old, Picking, misfit


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (lambda: Branching(3, 3, 1), "Branching decides by the values in its data"),
        (lambda: Picking(3, 3, 1), "by aten::nonzero: meter its parts"),
        (lambda: Numpy(3, 3, 1), "takes its values out of torch"),
        (lambda: Custom(3, 3, 1), "uses hrviz_test::twice .*torch.library.register_fake"),
        (lambda: Old(3, 3, 1), "uses hrviz_test::thrice .*torch.library.register_fake"),
        (
            lambda: nn.Linear(10, 10),
            "does not run on an input of 1 x 3 x 32 x 32 .*choose an input",
        ),
        (lambda: nn.Conv2d(4, 4, 3), "does not run on an input"),
        (lambda: nn.Conv2d(3, 4, 99), "does not run on an input"),
        (lambda: nn.LazyLinear(3), "layers without a size"),
        (misfit, "cannot be built: Error.*size mismatch for 0.weight"),
        (lambda: nn.Module(), "does not run on an input .*missing the required .forward."),
        (lambda: 3, "3 is not a network"),
    ],
)
def test_networks_that_cannot_be_metered(network: Callable[[], nn.Module], says: str, capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(HrvizError, match=says) as found:
        meter(network, (1, 3, 32, 32))
    assert "\n" not in str(found.value) and "Traceback" not in str(found.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dtype": "int8"}, "dtype='int8' is not known: choose float32, bfloat16, float16"),
        ({"optimiser": "adam"}, "choose training=True"),
        ({"optimiser": "lion", "training": True}, "choose sgd, sgd-momentum, adam"),
        ({"part": "trunk"}, "no method 'trunk'"),
    ],
)
def test_settings_that_are_not_known(settings: dict[str, object], says: str) -> None:
    with pytest.raises(HrvizError, match=says):
        meter(nn.Conv2d(3, 4, 1), (1, 3, 8, 8), **settings)


@pytest.mark.parametrize(
    "shape", [(), (0, 3, 8, 8), (1, 3, -8, 8), (1, 3, 8.5, 8), (True, 3, 8, 8)]
)
def test_shapes_that_are_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(HrvizError, match="not the shape of a batch"):
        meter(nn.Conv2d(3, 4, 1), shape)


def test_nothing_to_train() -> None:
    for net in (Detached(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1).requires_grad_(False)):
        with pytest.raises(HrvizError, match="depends on a parameter that can be learned"):
            meter(net, (1, 3, 8, 8), training=True)
    assert meter(nn.ReLU(), (1, 3, 8, 8)).peak == 2 * 4 * 3 * 64
    with pytest.raises(HrvizError, match="does nothing with its input"):
        meter(nn.Identity(), (1, 3, 8, 8))

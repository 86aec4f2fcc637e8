"""What resolution costs, in notebooks: controls, curve and table; a picture without widgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import hrviz
from hrviz.cost import study
from hrviz.cost.devices import DEVICES
from hrviz.errors import HrvizError

pytest.importorskip("ipywidgets")
pytest.importorskip("anywidget")
FEW = ("vit-b16-fused", "uniform-downsampling")
SIDES = (256, 512, 1024)


def until(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def shown(**more: Any) -> Any:
    state = hrviz.costs(*FEW, sides=SIDES, **more).live
    until(lambda: "Predicted" in state.status.value)
    return state


def test_curve_table_and_budget():
    state = shown(image=4096)
    assert [trace.name for trace in state.figure.data][:2] == [
        "ViT-B/16, fused attention", "Uniform downsampling",
    ]  # fmt: skip
    y = [p.needed for p in state.study.points["vit-b16-fused"]]
    assert list(state.figure.data[0].y) == y and state.study.sides == (256, 512, 1024, 2048, 4096)
    fit = study.largest("vit-b16-fused", DEVICES["a6000"].bytes)
    assert f"{fit.resolution:,}".replace(",", "\u2009") + " px" in state.table.value
    assert (
        "fits RTX A6000 48 GB" in state.table.value
        and "memory at 4\u2009096 px" in state.table.value
    )
    assert state.stop.disabled and state.progress.layout.visibility == "hidden"


def test_another_setting_is_worked_out_by_itself():
    state = shown()
    first, needed = state.job, state.study.points["vit-b16-fused"][-1].needed
    state.fields["batch"].value = 4
    assert state.job is not first and state.setting.batch == 4
    job = state.job
    until(lambda: job.done and state.study.setting.batch == 4 and state.study.points["vit-b16-fused"][-1] is not None)  # fmt: skip
    assert needed < state.study.points["vit-b16-fused"][-1].needed < 4 * needed


def test_training_has_an_optimiser():
    state = shown()
    assert state.fields["optimiser"].disabled
    state.fields["use"].value = "training"
    state.fields["optimiser"].value = "adam"
    assert not state.fields["optimiser"].disabled
    assert (state.setting.training, state.setting.optimiser) == (True, "adam")
    state.cancel()
    assert "Cancelled" in state.status.value and state.job.cancelled


def test_quantity_is_drawn_from_what_is_known():
    state = shown()
    job = state.job
    state.fields["quantity"].value = "flops"
    assert state.job is job
    assert list(state.figure.data[0].y) == [p.flops for p in state.study.points["vit-b16-fused"]]


def test_nothing_chosen_is_one_sentence():
    state = shown()
    for box in state.boxes.values():
        box.value = False
    assert state.job is None and "nothing to meter" in state.status.value


def test_viewers_without_widgets_get_a_picture():
    state = shown()
    bundle = state.panel._repr_mimebundle_()
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(bundle)


def test_without_widgets():
    figure = hrviz.costs(*FEW, sides=SIDES, image=2048, widgets=False)
    (ax,) = figure.axes
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["ViT-B/16, fused attention", "Uniform downsampling"]
    texts = [text.get_text() for text in ax.texts]
    assert {"this image", "RTX A6000 48 GB"} <= set(texts)


def test_an_image_is_its_longer_side():
    figure = hrviz.costs("vit-b16-fused", sides=(256,), widgets=False,
                         image=hrviz.open("scene:tissue?size=512x640"))  # fmt: skip
    assert 640 in figure.axes[0].lines[0].get_xdata()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": "abacus"}, "not a device"),
        ({"of": "beauty"}, "not a cost"),
        ({"colour": 3}, "not a setting"),
        ({"batch": 0}, "batch=0"),
        ({"names": ("resnet",)}, "or a network"),
        ({"device": "-3 GiB"}, "not a device"),
    ],
)
def test_refusals(given: dict[str, Any], said: str):
    names = given.pop("names", FEW)
    with pytest.raises(HrvizError, match=said) as caught:
        hrviz.costs(*names, **given)
    assert "\n" not in str(caught.value)


def test_a_size_of_ones_own():
    assert shown(device="20 GiB").fits.keys() == {(n, 20 * 2**30) for n in FEW}

"""Every method's cost model against what a run of it really did: operations, calls, pixels asked."""

from __future__ import annotations

import math

import pytest

import hrviz
from hrviz.cost import study
from hrviz.method import METHODS

NAMES = sorted(METHODS)
#: how far a run may lie from its model: operations, largest call, pixels through networks, pixels asked
EXACT, LOOSE = 0.02, 0.6


def ran(name: str) -> tuple[hrviz.run.Run, study.Point]:
    """A run on the method's example and the model at its size and parameters."""
    method = METHODS[name]
    run = hrviz.apply(method, method.example)
    box = run.region
    return run, study.of_region(method, round(box.height), round(box.width), run.params)


def operations(run: hrviz.run.Run, beside: tuple[str, ...]) -> float:
    """FLOPs counted in the steps that are the method's own."""
    return sum(m.flops for m in run.measured if m.step.name not in beside)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_declares_its_cost(name):
    model = METHODS[name].cost
    assert model is not None, f"{name} declares no cost: give @method(cost=CostModel(...))"
    assert model.growth
    steps = study.bound(METHODS[name], 4096, study.Setting(reduction=0))
    assert model.pixels(steps, 4096, 4096) > 0
    assert model.calls(steps, 4096, 4096) or model.work is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_run_costs_what_its_method_declares(name):
    model = METHODS[name].cost
    run, told = ran(name)
    assert model is not None
    counted = operations(run, model.beside)
    largest = run.cost["network_memory"].value if told.parts else 0.0
    pixels = float(run.reads.pixels_requested)
    pairs = {"operations": (counted, told.flops), "pixels": (pixels, told.pixels)}
    if told.parts:
        pairs["largest call"] = (largest, max(p.measure.peak for p in told.parts))
    for what, (measured, declared) in pairs.items():
        if model.certainty == "exact":
            # resampling and small arithmetic beside the networks
            assert math.isclose(measured, declared, rel_tol=EXACT), (what, measured, declared)
        elif model.certainty == "most":
            assert measured <= declared * (1 + EXACT), (what, measured, declared)
        else:
            assert math.isclose(measured, declared, rel_tol=LOOSE), (what, measured, declared)


@pytest.mark.parametrize("name", NAMES)
def test_the_exponents_said_are_those_of_the_numbers(name):
    """The growth that a formula promises, against a line through the largest sides, within 0.15."""
    model = METHODS[name].cost
    assert model is not None
    sides = (8192, 16384, 32768)
    fixed = study.Setting(reduction=0)
    found = study.grow([name], sides, fixed)
    assert not found.problems, found.problems
    told = {"flops": model.exponent, "peak": model.memory_exponent}
    for of, exponent in told.items():
        values = found.values(name, of)
        if (values > 0).all():
            assert abs(found.exponent(name, of) - exponent) < 0.15, (of, values)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_takes_no_less_than_inference(name):
    apart = study.at(name, 2048)
    step = study.at(name, 2048, study.Setting(training=True))
    assert step.peak >= apart.peak and step.flops >= apart.flops
    assert sum(step.split.values()) == step.peak or not step.parts

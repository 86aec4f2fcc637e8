"""Declaring and binding parameters: every kind, every way they may be wrong."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from hrviz import method as declaring
from hrviz.errors import HrvizError
from hrviz.method import METHODS, Control, Method, Param, method
from hrviz.results import Step

NUMBER = Param("sigma", "number", 1.0, Control("Up: wider.", 0.5, 2.0, 0.1, unit="px"))
INTEGER = Param("count", "integer", 3, Control("Up: more.", 1, 10, 1))
FLAG = Param("on", "flag", False, Control("Whether."))
CHOICE = Param("how", "choice", "mean", Control("How."), ("mean", "maximum", 4))
BOXES = Param("boxes", "boxes", (), Control("Where.", kind="boxes"))
STROKES = Param("strokes", "strokes", (), Control("Where.", kind="strokes"))
FILE = Param("map_file", "file", None, Control("Which.", kind="file"))


@pytest.mark.parametrize(
    ("param", "given", "expected"),
    [
        (NUMBER, "1.5", 1.5), (NUMBER, 0.5, 0.5), (NUMBER, 2, 2.0), (NUMBER, " 1e0 ", 1.0),
        (NUMBER, np.float32(1.5), 1.5), (INTEGER, "7", 7), (INTEGER, 7.0, 7), (INTEGER, "1e1", 10),
        (INTEGER, np.int64(1), 1), (FLAG, True, True), (FLAG, "Yes", True), (FLAG, "0", False),
        (FLAG, "false", False), (CHOICE, "maximum", "maximum"), (CHOICE, "4", 4), (CHOICE, 4, 4),
        (BOXES, None, ()), (BOXES, "", ()), (BOXES, "10,20,30,40", ((20, 10, 60, 40),)),
        (BOXES, "1,2,3,4; 5,6,7,8;", ((2, 1, 6, 4), (6, 5, 14, 12))),
        (BOXES, [[0, 1, 2, 3]], ((0, 1, 2, 3),)), (BOXES, np.array([[0, 1, 2, 3]]), ((0, 1, 2, 3),)),
        (STROKES, "1,2 3,4;5,6", (((2, 1), (4, 3)), ((6, 5),))), (STROKES, None, ()),
        (STROKES, [[(1, 2), (3, 4)]], (((1, 2), (3, 4)),)), (FILE, None, None), (FILE, "", None),
    ],
)  # fmt: skip
def test_values_and_text_come_out_in_their_own_type(
    param: Param, given: Any, expected: Any
) -> None:
    value = param.check(given)
    assert value == expected
    assert type(value) is type(expected)
    assert param.check(value) == value


@pytest.mark.parametrize(
    ("param", "given"),
    [
        (NUMBER, "0.49"), (NUMBER, 2.01), (NUMBER, "nan"), (NUMBER, math.inf), (NUMBER, -math.inf),
        (NUMBER, "wide"), (NUMBER, ""), (NUMBER, None), (NUMBER, True), (NUMBER, [1.0]), (NUMBER, 1j),
        (INTEGER, 0), (INTEGER, 11), (INTEGER, 2.5), (INTEGER, "2.5"), (INTEGER, math.inf),
        (INTEGER, math.nan), (INTEGER, "x"), (INTEGER, True), (INTEGER, 10**400), (INTEGER, {}),
        (FLAG, 1), (FLAG, "maybe"), (FLAG, None), (CHOICE, "median"), (CHOICE, None), (CHOICE, 5),
        (CHOICE, "Mean"), (BOXES, "1,2,3"), (BOXES, "1,2,0,4"), (BOXES, "a,b,c,d"), (BOXES, 7),
        (BOXES, "nan,0,1,1"), (BOXES, "1e300,0,1,1"), (BOXES, [[0, 0, 1]]), (BOXES, [[0, 0, math.nan, 1]]),
        (BOXES, [[5, 0, 1, 1]]), (STROKES, "1"), (STROKES, "1,2,3"), (STROKES, [[(1, math.inf)]]),
        (STROKES, [[]]), (STROKES, 3), (FILE, "/nowhere/map.npy"), (FILE, 3), (FILE, "/tmp"),
    ],
)  # fmt: skip
def test_bad_values_are_told_in_one_sentence(param: Param, given: Any) -> None:
    with pytest.raises(HrvizError) as caught:
        param.check(given)
    text = str(caught.value)
    assert "\n" not in text
    assert param.name in text or "region" in text  # a box of text names itself a region
    assert any(word in text for word in ("choose", "give", "write", "must be"))


def test_a_near_choice_is_suggested() -> None:
    with pytest.raises(HrvizError, match=r"did you mean maximum\?.*choose one of mean, maximum, 4"):
        CHOICE.check("maximun")


def test_files_are_given_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "map.npy").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FILE.check("~/map.npy") == "~/map.npy"
    assert FILE.check(tmp_path / "map.npy") == str(tmp_path / "map.npy")


def test_what_a_parameter_says_about_itself() -> None:
    assert NUMBER.allowed == "0.5 to 2 px"
    assert FLAG.allowed == "true or false"
    assert CHOICE.allowed == "mean, maximum, 4"
    assert FILE.title == "Map file"
    shown = Param("nms", "number", 0.5, Control("x", 0, 1, when=(("how", ("boxes",)),)))
    assert shown.relevant({"how": "boxes"})
    assert not shown.relevant({"how": "mean"})


# ------------------------------------------------------------------ declaring
@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Method]:
    fresh: dict[str, Method] = {}
    monkeypatch.setattr(declaring, "_REGISTERED", fresh)
    return fresh


Number = Annotated[float, Control("Up: more.", 0.0, 1.0)]


def test_a_signature_is_the_declaration(registry: dict[str, Method]) -> None:
    @method(family="baselines", section="III", paper="we", aliases=("other",), network=True)
    def some_method(
        view: Any, *, share: Number = 0.5, how: Annotated[Literal["a", "b"], Control("How.")] = "a",
        on: Annotated[bool, Control("On.")] = True,
    ) -> Iterator[Step]:  # fmt: skip
        yield from ()

    assert registry == {"some-method": some_method}
    assert [(p.name, p.kind, p.default) for p in some_method.params] == [
        ("share", "number", 0.5), ("how", "choice", "a"), ("on", "flag", True),
    ]  # fmt: skip
    assert some_method.bind({"how": "b"}) == {"share": 0.5, "how": "b", "on": True}
    assert some_method.network({})
    with pytest.raises(HrvizError, match=r"no parameter 'shaer': did you mean share\?"):
        some_method.bind({"shaer": 1})
    with pytest.raises(HrvizError, match="it has share, how, on"):
        some_method.bind({"zzz": 1})
    with pytest.raises(TypeError, match="two methods are called 'other'"):

        @method(family="baselines", section="III", paper="we")
        def other(view: Any) -> Iterator[Step]:
            yield from ()


@pytest.mark.parametrize("case", ["no control", "no default", "no range", "bad default", "family"])
def test_wrong_declarations_are_our_own_errors(case: str, registry: dict[str, Method]) -> None:
    def no_control(view: Any, *, x: int = 3) -> Iterator[Step]:
        yield from ()

    def no_default(view: Any, *, x: Number) -> Iterator[Step]:
        yield from ()

    def no_range(view: Any, *, x: Annotated[int, Control("Up.")] = 3) -> Iterator[Step]:
        yield from ()

    def bad_default(view: Any, *, x: Number = 3.0) -> Iterator[Step]:
        yield from ()

    bodies = {
        f.__name__.replace("_", " "): f for f in (no_control, no_default, no_range, bad_default)
    }
    with pytest.raises((TypeError, HrvizError)):
        method(family="nothing" if case == "family" else "baselines", section="", paper="")(
            bodies.get(case, no_control)
        )
    assert not registry


# ------------------------------------------------------------------ the registry
def test_methods_are_found_by_name_alias_and_function_name() -> None:
    for wanted in (
        "saliency-sampler",
        "learning-to-zoom",
        "saliency_sampler",
        "Learning to Zoom",
        " ud ",
    ):
        assert METHODS.find(wanted).name in ("saliency-sampler", "uniform-downsampling")
    found = METHODS["saliency-sampler"]
    assert METHODS.find(found) is found
    assert len(METHODS) == len(list(METHODS))
    with pytest.raises(
        HrvizError, match=r"no method 'learnin-to-zom': nearest are learning-to-zoom"
    ):
        METHODS.find("learnin-to-zom")
    with pytest.raises(HrvizError, match=r"there are uniform-downsampling|nearest are"):
        METHODS.find("q")


def test_threads_may_look_at_the_methods_at_once() -> None:
    """Nobody sees the registry half filled."""
    for _ in range(5):
        fresh, failed = type(METHODS)(), []

        def look(fresh: Any = fresh, failed: list = failed) -> None:
            try:
                assert len(fresh) == len(METHODS)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed

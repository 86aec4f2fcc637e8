"""Every form gives back defaults and both ends of every range, for every method and kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest

from hrviz import forms, method
from hrviz.errors import HrvizError
from hrviz.forms import cli, docs
from hrviz.method import METHODS, Control, Method
from hrviz.results import Step
from hrviz.scenes import SCENES


def every_kind(
    view: Any,
    *,
    amount: Annotated[float, Control("More of it.", -1.0, 2.0, 0.25, unit="um")] = 0.5,
    count: Annotated[int, Control("More of them.", 1, 9, 2, unit="nodes")] = 3,
    heat: Annotated[float, Control("Hotter.", 0.01, 10.0, 0.01, log=True)] = 0.3,
    big: Annotated[int, Control("Bigger.", 1, 100_000, log=True, basic=False)] = 1000,
    seed: method.Seed = 7,
    plain: Annotated[float, Control("No step given.", 0.0, 1.0)] = 0.25,
    loud: Annotated[bool, Control("Louder.")] = True,
    way: Annotated[Literal["this", "that"], Control("Which | way.")] = "that",
    only: Annotated[int, Control("Only this way.", 0, 5, 1, when=(("way", ("this",)),))] = 2,
    boxes: method.DrawnBoxes = (),
    strokes: method.DrawnStrokes = (),
    file: method.UploadedMap = None,
) -> Iterator[Step]:
    """A method with every kind of parameter."""
    yield from ()


SYNTHETIC = Method(
    "every-kind", every_kind, "Every kind", "baselines", "I", "nobody", "An idea.",
    method.parameters_of(every_kind, "every-kind"),
)  # fmt: skip
ALL = [SYNTHETIC, *METHODS.values(), *SCENES.values()]
methods = pytest.mark.parametrize("made", ALL, ids=lambda m: m.name)


def settings(made: Method) -> Iterator[dict[str, Any]]:
    """Defaults, lower ends, upper ends; last choice and flipped flags with the upper ones."""
    for end in ("default", "minimum", "maximum"):
        out = dict(made.defaults)
        for p in made.params:
            if end == "default" or p.kind in ("boxes", "strokes", "file"):
                continue
            if p.kind in ("number", "integer"):
                out[p.name] = p.check(getattr(p.control, end))
            elif p.kind == "choice":
                out[p.name] = p.choices[0 if end == "minimum" else -1]
            else:
                out[p.name] = end == "maximum"
        yield out


# -- Streamlit --------------------------------------------------------------------------------
def page(name: str) -> None:
    import streamlit as st
    from test_forms import ALL

    from hrviz.forms.streamlit import controls

    made = next(m for m in ALL if m.name == name)
    drawn = {"boxes": [(0, 1, 2, 3)]} if name == "every-kind" else {}
    st.session_state.out = controls(made, "k", drawn)


@methods
def test_streamlit(made: Method):
    testing = pytest.importorskip("streamlit.testing.v1")
    app = testing.AppTest.from_function(page, args=(made.name,), default_timeout=30).run()
    assert not app.exception
    for wanted in settings(made):
        # gates first, so that what they show can be set
        for p in sorted(made.params, key=lambda p: p.kind != "choice"):
            if p.kind not in ("boxes", "strokes", "file") and p.relevant(wanted):
                widget = next(w for w in app if getattr(w, "key", "") == f"k-{made.name}-{p.name}")
                widget.set_value(wanted[p.name])
                if p.kind == "choice":
                    app.run()
        app.run()
        assert not app.exception
        for p in made.params:
            if p.kind not in ("boxes", "strokes", "file") and p.relevant(wanted):
                assert app.session_state.out[p.name] == wanted[p.name]
        assert forms.bound(made, app.session_state.out) == app.session_state.out
    if made is SYNTHETIC:
        assert app.session_state.out["boxes"] == ((0, 1, 2, 3),)
        assert any("1 box drawn" in c.value for c in app.caption)
        assert [e.label for e in app.expander] == ["More"]


def test_streamlit_shows_only_what_matters():
    testing = pytest.importorskip("streamlit.testing.v1")
    app = testing.AppTest.from_function(page, args=("every-kind",), default_timeout=30).run()
    assert not any(w.key == "k-every-kind-only" for w in app.slider)
    app.selectbox(key="k-every-kind-way").set_value("this").run()
    assert app.slider(key="k-every-kind-only").value == 2
    assert app.slider(key="k-every-kind-amount").label == "Amount (um)"


# -- magicgui ---------------------------------------------------------------------------------
@pytest.mark.napari
@methods
def test_magicgui(made: Method, qapp: Any):
    from hrviz.forms import magicgui as form

    box = form.container(made)
    assert form.values(box) == made.defaults
    for wanted in settings(made):
        for name, value in wanted.items():
            if value not in (None, ()):
                box[name].value = value
        assert form.values(box) == wanted


@pytest.mark.napari
def test_magicgui_boxes_and_relevance(qapp: Any):
    from hrviz.forms import magicgui as form

    box = form.container(SYNTHETIC)
    box.show()
    assert box["amount"].visible
    assert not box["only"].visible
    assert not box["seed"].visible
    box["way"].value = "this"
    box["_more"].value = True
    assert box["only"].visible
    assert box["seed"].visible
    box["boxes"].value = "1,0,2,2;5,5,1,1"
    assert form.values(box)["boxes"] == ((0, 1, 2, 3), (5, 5, 6, 6))
    box.close()


# -- notebooks --------------------------------------------------------------------------------
@methods
def test_ipywidgets(made: Method):
    form = pytest.importorskip("hrviz.forms.ipywidgets")
    box, values, observe = form.controls(made)
    assert values() == made.defaults
    told: list[dict[str, Any]] = []
    observe(told.append)
    found = {w.description: w for w in leaves(box)}
    for wanted in settings(made):
        for p in made.params:
            if p.kind not in ("boxes", "strokes", "file"):
                found[forms.label(p)].value = wanted[p.name]
        assert values() == wanted
    assert told[-1] == values()


def leaves(box: Any) -> Iterator[Any]:
    for child in box.children:
        yield from leaves(child) if hasattr(child, "children") else [child]


# -- command line and documents ---------------------------------------------------------------
@pytest.mark.parametrize("made", [SYNTHETIC, *METHODS.values()], ids=lambda m: m.name)
def test_cli(made: Method):
    for wanted in settings(made):
        words = [f"{k}={v}" for k, v in wanted.items() if v not in (None, ())]
        assert cli.parse(made, words) == {k: v for k, v in wanted.items() if v not in (None, ())}
    assert all(p.name in cli.help(made) for p in made.params)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["count"], "is not name=value"),
        (["count=3", "count=5"], "given twice"),
        (["count=99"], "choose a whole number, 1 to 9 nodes"),
        (["cuont=3"], "did you mean count?"),
        (["way=thit"], "choose one of this, that"),
    ],
)
def test_cli_refuses_in_one_sentence(words: list[str], sentence: str):
    with pytest.raises(HrvizError) as caught:
        cli.parse(SYNTHETIC, words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@methods
def test_docs(made: Method):
    lines = docs.table(made).splitlines()
    assert len(lines) == 2 + len(made.params)
    assert all(line.replace("\\|", "").count("|") == 5 for line in lines)


def test_ladder_has_ends_default_and_given():
    big = next(p for p in SYNTHETIC.params if p.name == "big")
    rungs = forms.ladder(big, 1234)
    assert rungs[0] == 1
    assert rungs[-1] == 100_000
    assert {1000, 1234} <= set(rungs)
    assert all(isinstance(v, int) for v in rungs)


def test_labels_tell_units_and_what_zero_stands_for():
    params = {p.name: p for p in METHODS["zoom-in-network"].params}
    assert forms.label(params["first"]) == "First scale (0: as trained)"
    assert forms.label(params["subtile"]) == "Sub-tile (px; 0: as trained)"
    assert forms.label(params["draws"]) == "Draws"
    for made in ALL:  # where 0 is such a value, it can be chosen
        for p in made.params:
            assert not p.control.zero or p.control.minimum == 0

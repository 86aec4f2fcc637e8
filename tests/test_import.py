"""Importing is quick and drags in nothing that is not needed yet (fresh interpreters)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "streamlit",
    "napari",
    "qtpy",
    "dask",
    "matplotlib",
    "scipy",
    "skimage",
    "zarr",
    "PIL",
)
GUI = (
    "streamlit",
    "napari",
    "qtpy",
    "PyQt6",
    "magicgui",
    "ipywidgets",
    "anywidget",
    "plotly",
    "matplotlib",
)


def fresh(code: str) -> dict:
    report = (
        "import sys, json, time\nstart = time.perf_counter()\n"
        + code
        + "\nseconds = time.perf_counter() - start\n"
        "print(json.dumps({'seconds': seconds, 'modules': sorted({m.split('.')[0] for m in sys.modules}), "
        "'own': sorted(m for m in sys.modules if m.startswith('hrviz'))}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.quiet
def test_import_is_quick_and_light() -> None:
    best = min((fresh("import hrviz") for _ in range(3)), key=lambda r: r["seconds"])
    assert best["seconds"] < 0.3
    assert not set(HEAVY) & set(best["modules"])


def test_methods_import_no_gui_library_and_no_torch() -> None:
    found = fresh(
        "import hrviz; assert len(hrviz.METHODS) >= 3; [m.describe() for m in hrviz.METHODS.values()]"
    )
    assert not {"torch", *GUI} & set(found["modules"])
    assert not [
        m for m in found["own"] if m.startswith(("hrviz.views", "hrviz.viewer", "hrviz.forms"))
    ]


def test_a_closed_form_run_needs_no_torch_and_no_gui_library() -> None:
    found = fresh(
        "import hrviz\nrun = hrviz.apply('learning-to-zoom', 'scene:tissue?size=600x400', saliency='edges', "
        "task='none', size=64)\nassert len(run.steps) == 9"
    )
    assert not {"torch", *GUI} & set(found["modules"])


@pytest.mark.parametrize("name", ["open", "apply", "compare", "METHODS", "HrvizError", "Box"])
def test_the_public_surface(name: str) -> None:
    import hrviz

    assert getattr(hrviz, name) is not None
    assert name in hrviz.__all__
    assert name in dir(hrviz)
    with pytest.raises(AttributeError):
        hrviz.nothing  # noqa: B018


def test_a_notebook_shows_the_sentence_not_a_trace(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.instance().run_cell("import hrviz; hrviz.open('nowhere.svs')")
    shown = capsys.readouterr()
    assert "nowhere.svs" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err
    InteractiveShell.clear_instance()

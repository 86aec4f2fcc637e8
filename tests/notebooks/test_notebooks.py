"""Every notebook runs top to bottom in a fresh kernel, draws, warns of nothing, and is committed bare."""

from __future__ import annotations

import ast
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat (pip install hrviz[dev])")
pytest.importorskip("nbclient", reason="needs nbclient (pip install hrviz[dev])")
pytest.importorskip("ipykernel", reason="needs ipykernel (pip install hrviz[notebooks])")
pytest.importorskip("anywidget", reason="needs anywidget (pip install hrviz[notebooks])")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 300

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(book: Any, kind: str) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == kind]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of the running interpreter, whatever kernels are installed on the machine."""
    import json

    folder = tmp_path / "kernels" / "hrviz-tests"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "hrviz tests", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    )
    return "hrviz-tests"


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@each
def test_committed_bare(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in cells(book, "code"):
        assert cell.outputs == [] and cell.execution_count is None, (
            f"outputs in {cell.source[:60]!r}"
        )
    assert "widgets" not in book.metadata


@each
def test_text(path: Path) -> None:
    """Every code cell is led in by text and is plain Python; the disclaimer is there."""
    book = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in cells(book, "markdown"))
    assert re.search(r"research and teaching, not for diagnosis", text)
    assert "## Exercises" in text and "## References" in text
    for cell in cells(book, "code"):
        ast.parse(re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE))


@each
@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_runs_top_to_bottom(path: Path, kernel: str) -> None:
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(book, timeout=SECONDS, kernel_name=kernel, resources=resources)
    client.execute()
    pictures = 0
    for cell in cells(book, "code"):
        for output in cell.outputs:
            assert output.output_type != "error", output
            said = output.get("text", "") if output.get("name") == "stderr" else ""
            assert "hrviz" not in said and "Warning" not in said, said
            pictures += "image/png" in output.get("data", {})
    drawing = sum("plt.subplots" in cell.source for cell in cells(book, "code"))
    assert drawing and pictures >= drawing


def test_live() -> None:
    """A slider runs the method again in the background; a drawn box becomes the saliency."""
    import hrviz
    from hrviz.views.notebook import live

    image = hrviz.open("scene:tissue?size=4096x4096&seed=7")
    panel = live("learning-to-zoom", image, size=128, saliency="edges", task="none", show="grid")
    state = panel.live

    def settle() -> Any:
        assert state.job is not None and state.job.wait(60)
        end = time.monotonic() + 10
        while "read" not in state.status.value and time.monotonic() < end:
            time.sleep(0.02)
        return state.job.run

    first = settle()
    assert state.layer.value == "grid" and state.viewer.overlays[0]["kind"] == "grid"
    views = {v["id"]: v for v in state.viewer.output["views"]}
    assert (views["warped"]["width"], views["warped"]["height"]) == (128, 128)
    assert state.viewer.output["shown"] == ["warped", "uniform"]
    state.status.value = ""
    state.fields["bandwidth"].value = 4.0
    assert settle().params["bandwidth"] == 4.0 != first.params["bandwidth"]
    state.status.value = ""
    state.viewer.drawings = {"boxes": [{"x": 1000, "y": 2000, "w": 300, "h": 200}], "strokes": []}
    run = settle()
    assert run.params["saliency"] == "drawn" and run.params["boxes"] == ((2000, 1000, 2200, 1300),)
    state.viewer.drawings = {"boxes": [], "strokes": []}
    end = time.monotonic() + 10
    while "nothing is drawn" not in state.status.value and time.monotonic() < end:
        time.sleep(0.02)
    assert "nothing is drawn" in state.status.value
    state.viewer.close()

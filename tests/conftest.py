"""Shared by all tests: one thread a library, and the real files where they are."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before numpy or torch are imported anywhere: tests run side by side, thread pools only get in
# each other's way, and sums in one order are the same sums every time.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path(os.environ.get("HRVIZ_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure(config: pytest.Config) -> None:
    """A screen for Qt before anything starts it: the one there is, else a virtual one of our own.

    Qt aborts the whole process where it finds none. Without Xvfb it gets its 'offscreen' platform,
    which has no OpenGL: the tests that need napari's canvas then skip by name.
    """
    if os.environ.get("DISPLAY"):
        return
    binary = shutil.which("Xvfb")
    number = ""
    if binary is not None:
        read_end, write_end = os.pipe()
        size = ["-screen", "0", "1280x800x24"]
        server = subprocess.Popen(
            [binary, "-displayfd", str(write_end), *size, "-nolisten", "tcp"],
            pass_fds=[write_end],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write_end)
        number = os.read(read_end, 16).decode().strip()
        config.add_cleanup(server.terminate)
    if number:
        os.environ["DISPLAY"] = f":{number}"
        os.environ["QT_QPA_PLATFORM"] = "xcb"
    else:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"


# -- tests side by side -------------------------------------------------------------------------
#: files whose tests share nothing dear: each test may go to any process
APART = ("tests/test_contract.py", "tests/notebooks/test_notebooks.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand a file's tests to one process, and all that share the app's server.

    So what a module or the app prepares once is prepared once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = str(nodeid).partition("::")[0]
            if file.startswith("tests/app/"):
                return "tests/app"
            return str(nodeid) if file in APART else file

    return Together(config, log)


@contextlib.contextmanager
def _place_beside_others(folder: Path, alone: bool) -> Iterator[None]:
    """Wait for a place: with the others, or, for a test marked `quiet`, for the machine alone."""
    with (folder / "queue").open("w") as queue, (folder / "machine").open("w") as machine:
        # who waits for the machine alone holds the queue meanwhile: else it would wait for ever
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield  # closing the files gives the place up


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let tests that judge by the clock run while no other process runs a test."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    folder = Path(tempfile.gettempdir()) / f"hrviz-tests-{run}"
    folder.mkdir(exist_ok=True)
    with _place_beside_others(folder, item.get_closest_marker("quiet") is not None):
        return (yield)


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Name of a real file to its path; skips where the file is not at hand.

    Looked for in the folder `HRVIZ_TEST_DATA`, else in `../shared/data` beside the repository.
    """
    folder = Path(os.environ.get("HRVIZ_TEST_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"no {name} in {folder}; set HRVIZ_TEST_DATA to the folder that has it")
        return path

    return find


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One chromium for all browser tests (Playwright allows one a process)."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no chromium at {CHROMIUM}: install it, or set HRVIZ_CHROMIUM")
    with api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()

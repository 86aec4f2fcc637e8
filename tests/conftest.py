"""Shared by all tests: one thread a library, and the real files where they are."""

from __future__ import annotations

import os
import shutil
import subprocess
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

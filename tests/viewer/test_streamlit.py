"""The component in a real Streamlit server: state both ways, no remount, fast tiles."""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="needs streamlit (pip install hrviz[app])")
from viewer_page import free_port

HERE = Path(__file__).parent
FIND = """() => { for (const e of document.querySelectorAll('*'))
  if (e.shadowRoot && e.shadowRoot.hrviz) {
    window.root = e.shadowRoot; window.handle = root.hrviz; return true; }
  return false; }"""


@pytest.fixture
def server() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_asgi.py"]
    options = {
        "server.port": port,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "server.fileWatcherType": "none",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command + flags, cwd=HERE, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL
    )
    try:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                connection = http.client.HTTPConnection("localhost", port, timeout=2)
                connection.request("GET", "/hrviz/v1/health")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.quiet
@pytest.mark.browser
@pytest.mark.slow
def test_the_component_in_streamlit(server: int, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(f"http://localhost:{server}/")
    page.wait_for_function(FIND, timeout=60_000)
    page.wait_for_function(
        "() => handle.state().loading === 0 && root.querySelector('.hv-legend')", timeout=30_000
    )
    page.get_by_text("runs 1 viewport None").wait_for()  # showing it caused no rerun

    # to Python: one rerun for one flight
    page.evaluate("handle.fly({x: 1000, y: 500, w: 600, h: 400})")
    page.get_by_text("runs 2 viewport {").wait_for(timeout=15_000)

    # from Python: another map in the same viewer, at the same place, never blank
    page.evaluate(
        """() => { root.querySelector('.hv').dataset.mark = 'same'; window.seen = [];
        const c = root.querySelector('.hv-overlay');
        const look = () => { seen.push([...c.getContext('2d').getImageData(
          c.width >> 1, c.height >> 1, 1, 1).data]); requestAnimationFrame(look); }; look(); }"""
    )
    before = page.evaluate("JSON.stringify(handle.state().viewport)")
    page.get_by_text("high", exact=True).click()
    page.get_by_text("runs 3").wait_for(timeout=15_000)
    page.wait_for_function("() => seen[0].join() !== seen.at(-1).join()", timeout=15_000)
    assert (np.array(page.evaluate("seen"))[:, 3] == 255).all()
    assert page.evaluate("root.querySelector('.hv').dataset.mark") == "same"
    assert page.evaluate("root.querySelectorAll('.hv').length") == 1
    assert page.evaluate("JSON.stringify(handle.state().viewport)") == before
    assert len([u for u in asked if u.endswith("/viewer.js")]) == 1
    assert errors == []

    page.close()

    # tiles over one kept connection are not held back by Nagle's algorithm (44 ms each)
    tile = next(u for u in asked if "/image/" in u).split(str(server), 1)[1]
    connection = http.client.HTTPConnection("localhost", server, timeout=10)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        connection.request("GET", tile)
        answer = connection.getresponse()
        answer.read()
        times.append(time.perf_counter() - start)
        assert answer.status == 200
    assert statistics.median(times) < 0.02

"""One server for all browser tests."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import tifffile

FIND = """window.hrvizViewer = () => {
  const walk = (node) => {
    if (node.hrviz) return node.hrviz;
    for (const child of node.children || []) {
      const found = walk(child) || (child.shadowRoot && walk(child.shadowRoot));
      if (found) return found;
    }
    return null;
  };
  return walk(document.body);
};"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cells(path):
    """Two channels: 'DAPI' bright on the left half, 'FITC' on the right half."""
    pixels = np.zeros((2, 600, 800), np.uint16)
    pixels[0, :, :400], pixels[1, :, 400:] = 3000, 2000
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC"]}})


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """`hrviz app` in a process of its own; yields its address."""
    port = _free_port()
    log = tmp_path_factory.mktemp("app") / "server.log"
    served = tmp_path_factory.mktemp("served")
    _cells(served / "cells.ome.tif")
    environment = {**os.environ, "HRVIZ_ROOT": str(served)}
    command = [
        sys.executable, "-m", "hrviz.cli", "app", "scene:tissue?size=20000x20000",
        "--port", str(port), "--no-browser",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(480):  # two minutes: the machine may be busy with other things
            if process.poll() is not None:
                pytest.fail(f"the app ended: {log.read_text()}")
            try:
                urllib.request.urlopen(f"{address}/hrviz/v1/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail(f"the app did not answer: {log.read_text()}")
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        text = log.read_text()
    assert "Traceback" not in text, text


def patient(ask):
    """Ask again where the viewer was just being made anew: on a busy machine there is none for a moment."""

    def again(*args, **keywords):
        from playwright.sync_api import Error

        for tried in range(20):
            try:
                return ask(*args, **keywords)
            except Error as error:
                if "of null" not in str(error) or tried == 19:
                    raise
                time.sleep(0.25)

    return again


@pytest.fixture
def page(browser):
    """A tab of 1280 x 720."""
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    tab.set_default_timeout(40_000)
    tab.add_init_script(FIND)
    tab.evaluate, tab.wait_for_function = map(patient, (tab.evaluate, tab.wait_for_function))
    yield tab
    tab.close()

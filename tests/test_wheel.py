"""The wheel, installed in a clean environment outside any checkout, opens the app."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_wheel_holds_app_viewer_weights_and_manifest(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "hrviz/app/server.py",
        "hrviz/app/Home.py",
        "hrviz/viewer/static/openseadragon.min.js",
        "hrviz/viewer/static/openseadragon.LICENSE.txt",
        "hrviz/napari/napari.yaml",
        "hrviz/sample_data/registry.csv",
        "hrviz/nets/weights/tissue-segmenter.safetensors",
        "hrviz/nets/weights/tissue-saliency.safetensors",
    ):
        assert part in names
    assert not [n for n in names if n.startswith(("tests/", "app/", "benchmarks/"))]


def test_app_opens_from_the_wheel(wheel, tmp_path, browser):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    install = [
        str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
        "-c", str(ROOT / "requirements.lock"), f"{wheel}[app]",
    ]  # fmt: skip
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and ("Connection" in done.stderr or "resolve" in done.stderr):
        pytest.skip("no package registry can be reached to fill a clean environment")
    assert done.returncode == 0, done.stderr[-2000:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    server = subprocess.Popen(
        [str(tmp_path / "env/bin/hrviz"), "app", "scene:tissue?size=2048x2048", "--port", str(port), "--no-browser"],
        cwd=tmp_path, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                health = urllib.request.urlopen(f"{address}/hrviz/v1/health", timeout=2)
                break
            except OSError:
                assert server.poll() is None, server.stdout.read()
                time.sleep(0.5)
        else:
            pytest.fail("the server did not answer within a minute")
        assert health.headers["Content-Type"].startswith("application/json")
        _open_in_browser(address, browser)
    finally:
        server.terminate()
        server.wait(20)


def _open_in_browser(address, browser):
    """The viewer shows a slide."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    with page.expect_response(
        lambda r: "/hrviz/v1/image/" in r.url and r.status == 200, timeout=60_000
    ):
        page.goto(address)
    page.wait_for_selector("canvas", timeout=30_000)
    page.close()

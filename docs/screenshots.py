"""Renews the README's pictures: `make screenshots` (needs chromium; napari's also Xvfb or a display)."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent
CHROMIUM = os.environ.get("HRVIZ_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SLIDE = "scene%3Atissue%3Fsize%3D100000x100000"
FILM = "scene%3Acrowd%3Fsize%3D3000x2000%26people%3D300%26frames%3D50%23t%3D12"
ROAD = "scene%3Aroad%3Fsize%3D1280x960%26seed%3D3000004"
COLON = (
    "scene%3Aneedle%3Fsize%3D500x500%26seed%3D3000001%26object%3Dcell%26background%3Dtissue"
    "%26ratio%3D0.0016%26count%3D6%26distractors%3D14%26presence%3Dreplaced"
)
PICTURES = {
    "explore_light": f"?image={SLIDE}&theme=light",
    "methods_dark": f"methods?image={SLIDE}&theme=dark",
    "fovea_light": f"methods?image={ROAD}&method=fovea&theme=light",
    "zoom_dark": f"methods?image={COLON}&method=zoom-in-network&theme=dark&region=whole",
    "compare_dark": f"compare?image={SLIDE}&theme=dark",
    "film_dark": f"?image={FILM}&theme=dark",
    "memory_light": f"memory?image={SLIDE}&theme=light",
}
TRUTH = {"film_dark": ("Objects", "Answer")}  # pressed before the picture is taken


def _settle(page: Page, seconds: float) -> None:
    """Wait until no network request has come for a while, at most `seconds`."""
    last = [time.monotonic()]
    page.on("request", lambda _: last.__setitem__(0, time.monotonic()))
    end = time.monotonic() + seconds
    while time.monotonic() < end and time.monotonic() - last[0] < 6:
        page.wait_for_timeout(250)


def main() -> None:
    """Start the app, photograph its pages, then napari."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "hrviz.cli", "app", "--port", str(port), "--no-browser"], cwd=ROOT
    )
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/hrviz/v1/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name, link in PICTURES.items():
                page = browser.new_page(viewport={"width": 1280, "height": 720})
                page.goto(f"http://127.0.0.1:{port}/{link}")
                _settle(page, 60)
                cancel = page.get_by_role("button", name="Cancel")
                while cancel.count():  # a run is under way
                    page.wait_for_timeout(500)
                _settle(page, 20)
                for button in TRUTH.get(name, ()):
                    page.get_by_role("button", name=button, exact=True).click()
                    _settle(page, 20)
                page.screenshot(path=OUT / f"{name}.png")
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()
    subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/napari"], cwd=ROOT, check=True)
    shutil.copy(ROOT / "tests/output/napari.png", OUT / "napari.png")


if __name__ == "__main__":
    main()

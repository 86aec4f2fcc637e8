"""How smooth is panning a 100,000 x 100,000 scene in napari?

Opens the scene through the plugin's reader, with tiles read off the GUI thread, and moves the camera
by eight screen pixels an event, at three zooms, over tiles that nothing has made before. Printed are
the gaps between frames that were really drawn, and the longest time the event loop stood still. On a
machine without a screen it starts Xvfb.

    python benchmarks/napari_pan.py [--seconds 6] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from typing import Any

SCENE = "scene:tissue?size=100000x100000&seed=7"
ZOOMS = {"whole slide": 0.02, "1 : 4": 0.25, "level 0": 1.0}
STEP = 8  # screen pixels an event


def pan(seconds: float) -> dict[str, dict[str, float]]:
    """Gaps between drawn frames in milliseconds, for each zoom."""
    import napari
    import numpy as np
    from napari.settings import get_settings
    from qtpy.QtWidgets import QApplication

    from hrviz.napari._layers import camera, slice_in_background
    from hrviz.napari._reader import read

    get_settings()._save_on_change = False

    def spin(duration: float) -> None:
        end = time.monotonic() + duration
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    slice_in_background(viewer)
    for data, keywords, _ in read(SCENE):
        viewer.add_image(data, **keywords)
    out = {}
    for name, zoom in ZOOMS.items():
        camera(viewer).center, camera(viewer).zoom = (0, 50_000, 30_000), zoom
        spin(3)
        drawn: list[float] = []
        loops: list[float] = []
        events = viewer.window._qt_viewer.canvas._scene_canvas.events
        note = events.draw.connect(lambda _, drawn=drawn: drawn.append(time.monotonic()))
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            loops.append(now)
            centre = camera(viewer).center
            camera(viewer).center = (0, centre[1], centre[2] + STEP / zoom)
            QApplication.processEvents()
            time.sleep(0.001)
        events.draw.disconnect(note)
        gaps = np.diff(drawn) * 1e3
        out[name] = {
            "median": float(np.median(gaps)), "p95": float(np.percentile(gaps, 95)),
            "max": float(gaps.max()), "loop max": float(np.diff(loops).max() * 1e3),
        }  # fmt: skip
    viewer.close()
    return out


def main() -> None:
    """Parse the command line; print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    screen: Any = None
    if not os.environ.get("DISPLAY") and (xvfb := shutil.which("Xvfb")):
        read_end, write_end = os.pipe()
        screen = subprocess.Popen(
            [xvfb, "-displayfd", str(write_end), "-screen", "0", "1280x800x24"],
            pass_fds=[write_end], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.environ["DISPLAY"] = ":" + os.read(read_end, 16).decode().strip()
        os.environ["QT_QPA_PLATFORM"] = "xcb"
    try:
        found = pan(options.seconds)
    finally:
        if screen is not None:
            screen.terminate()
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'gap between drawn frames, ms':30}{'median':>8}{'p95':>8}{'max':>8}{'loop max':>10}")
    for name, r in found.items():
        print(f"{name:30}{r['median']:8.1f}{r['p95']:8.1f}{r['max']:8.0f}{r['loop max']:10.0f}")


if __name__ == "__main__":
    main()

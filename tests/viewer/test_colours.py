"""Stored JPEG tiles handed to a real browser have the colours that OpenSlide decodes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from viewer_page import app, served

import hrviz
from hrviz.viewer import routes as vr
from hrviz.viewer.registry import IMAGES, read_token

pytestmark = pytest.mark.browser
PIXELS = """async (url) => {
  const answer = await fetch(url);
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: 'none' });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const bytes = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return [bitmap.width, bitmap.height, btoa(text)];
}"""


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    with served(app()) as url:
        tab = browser.new_page()
        tab.goto(url)
        yield tab
        tab.close()


def shown(page: Any, url: str) -> np.ndarray:
    width, height, values = page.evaluate(PIXELS, url)
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)[..., :3]


def check(page: Any, path: Path, expected: Any, tiles: int) -> None:
    """`tiles` passed-through tiles of level 0, in the browser, against `expected(y, x, h, w)`."""
    address = vr.register_image(hrviz.open(path))
    held = IMAGES.get(read_token(address["url"].rsplit("/", 1)[1]) or "")
    assert held is not None and held.pyramid.levels[-1].stored == 0
    top, side = address["maxLevel"], held.pyramid.levels[-1].tile[0]
    for k in range(tiles):
        x, y = 1 + k % 3, 1 + k // 3
        assert held.now(top, x, y) is not None
        got = shown(page, f"{address['url']}/{top}/{x}_{y}.jpg").astype(int)
        want = expected(y * side, x * side, side, side).astype(int)
        assert got.shape == want.shape
        assert np.abs(got - want).mean() < 2
        assert np.abs((got - want).mean(axis=(0, 1))).max() < 1.5  # no channel is off


def test_an_aperio_slide_stored_as_rgb(page: Any, real_data: Any) -> None:
    openslide = pytest.importorskip("openslide")
    path = real_data("CMU-1-Small-Region.svs")
    slide = openslide.OpenSlide(str(path))

    def read(y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.asarray(slide.read_region((x, y), 0, (w, h)).convert("RGB"))

    check(page, path, read, 6)


@pytest.mark.parametrize(
    ("photometric", "subsampling"), [("rgb", (1, 1)), ("ycbcr", (1, 1)), ("ycbcr", (2, 2))]
)
def test_generated_slides(page: Any, tmp_path: Path, photometric: str, subsampling: Any) -> None:
    """Written with shared tables by tifffile; OpenSlide's own decode is the oracle."""
    openslide = pytest.importorskip("openslide")
    y, x = np.mgrid[0:1024, 0:1280]
    picture = np.stack(
        [x * 255 // 1280, y * 255 // 1024, 128 + 100 * np.sin(x / 60) * np.cos(y / 45)], axis=-1
    ).astype(np.uint8)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path, picture, tile=(256, 256), photometric=photometric, compression="jpeg",
        subsampling=subsampling, compressionargs={"level": 92},
    )  # fmt: skip
    slide = openslide.OpenSlide(str(path))

    def read(y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.asarray(slide.read_region((x, y), 0, (w, h)).convert("RGB"))

    check(page, path, read, 4)

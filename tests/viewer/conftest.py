"""Fixtures of the viewer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from viewer_page import Page, app, served

from hrviz.viewer import routes as vr


@pytest.fixture(autouse=True)
def empty_registries() -> Iterator[None]:
    vr.IMAGES.clear()
    vr.MAPS.clear()
    yield


@pytest.fixture
def viewer(browser: Any) -> Iterator[Page]:
    with served(app()) as url:
        tab = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
        page = Page(tab)
        tab.goto(url)
        tab.wait_for_function("window.ready", timeout=20_000)
        yield page
        tab.close()  # pages that stay open go on drawing
        assert page.errors == []

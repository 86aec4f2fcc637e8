"""Fixtures of the viewer's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hrviz.viewer import routes as vr


@pytest.fixture(autouse=True)
def empty_registries() -> Iterator[None]:
    vr.IMAGES.clear()
    vr.MAPS.clear()
    yield

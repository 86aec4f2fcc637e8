"""Routes: who may have a tile, and what answers look like."""

from __future__ import annotations

import io
import socket
import statistics
import time

import numpy as np
import pytest
from PIL import Image as PILImage
from starlette.applications import Starlette
from starlette.testclient import TestClient
from viewer_fakes import FakeImage

from hrviz.viewer import routes as vr


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=vr.routes()), base_url="http://localhost:8501")


def test_a_tile(client: TestClient) -> None:
    address = vr.register_image(FakeImage())
    answer = client.get(f"{address['url']}/{address['maxLevel']}/5_3.jpg")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert PILImage.open(io.BytesIO(answer.content)).size == (3001 - 5 * 512, 2003 - 3 * 512)


def test_the_same_image_keeps_its_address() -> None:
    image = FakeImage()
    assert vr.register_image(image) == vr.register_image(image)


def test_a_forged_or_missing_token_is_refused(client: TestClient) -> None:
    url = vr.register_image(FakeImage())["url"]
    for bad in (
        url[:-1] + ("A" if url[-1] != "A" else "B"),
        "/hrviz/v1/image/x",
        url.replace(".", ""),
    ):
        answer = client.get(f"{bad}/0/0_0.jpg")
        assert answer.status_code == 403
        assert answer.text.count(".") == 1 and "reload the page" in answer.text


def test_an_expired_token_is_refused(client: TestClient) -> None:
    identifier = vr.read_token(vr.register_image(FakeImage())["url"].rsplit("/", 1)[1])
    assert identifier is not None
    old = vr.make_token(identifier, time.time() - 1)
    assert client.get(f"/hrviz/v1/image/{old}/0/0_0.jpg").status_code == 403
    # moving the expiry breaks the signature
    parts = old.split(".")
    parts[1] = f"{int(time.time()) + 1000:x}"
    assert vr.read_token(".".join(parts)) is None


def test_a_forgotten_image_is_404_with_the_way_out(client: TestClient) -> None:
    url = vr.register_image(FakeImage())["url"]
    vr.IMAGES.clear()
    answer = client.get(f"{url}/0/0_0.jpg")
    assert answer.status_code == 404 and "reload the page" in answer.text


@pytest.mark.parametrize("tile", ["0/1_0", "9/0_0", "3/6_0", "3/0_4"])
def test_a_tile_outside_is_404(client: TestClient, tile: str) -> None:
    url = vr.register_image(FakeImage())["url"]
    answer = client.get(f"{url}/{tile}.jpg")
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "ok"),
    [
        ("localhost:8501", True),
        ("127.0.0.1", True),
        ("[::1]:8501", True),
        ("LOCALHOST", True),
        ("evil.example", False),
        ("localhost.evil.example:8501", False),
        ("", False),
    ],
)
def test_the_host_is_checked(client: TestClient, host: str, ok: bool) -> None:
    url = vr.register_image(FakeImage())["url"]
    for path in (f"{url}/0/0_0.jpg", "/hrviz/v1/health", vr.module_url()):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == (200 if ok else 403)


def test_more_hosts_by_environment(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRVIZ_ALLOWED_HOSTS", "slides.clinic.org, other")
    health = "/hrviz/v1/health"
    assert client.get(health, headers={"host": "slides.clinic.org:80"}).status_code == 200
    assert client.get(health, headers={"host": "evil.example"}).status_code == 403
    monkeypatch.setenv("HRVIZ_ALLOWED_HOSTS", "*")
    assert client.get(health, headers={"host": "evil.example"}).status_code == 200


def test_only_get_and_head(client: TestClient) -> None:
    url = vr.register_image(FakeImage())["url"] + "/0/0_0.jpg"
    assert client.head(url).status_code == 200
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, url).status_code == 405


def test_an_error_while_rendering_is_one_sentence(client: TestClient) -> None:
    image = FakeImage()

    def broken(*_: object) -> np.ndarray:
        raise OSError("truncated file\nTraceback line")

    image.rgb = broken  # type: ignore[method-assign]
    answer = client.get(f"{vr.register_image(image)['url']}/0/0_0.jpg")
    assert answer.status_code == 500
    assert answer.text == "This tile could not be made: truncated file."


def test_map_tiles_and_versions(client: TestClient) -> None:
    array = np.linspace(0, 1, 300 * 400).reshape(300, 400)
    address = vr.register_map(array, (0, 0, 3000, 4000), 0, 1, version=1)
    answer = client.get(f"{address['url']}/1/1_1.png")
    assert answer.headers["content-type"] == "image/png"
    index = np.asarray(PILImage.open(io.BytesIO(answer.content)))
    assert index.shape == (300 - 256, 400 - 256) and index[-1, -1] == 255
    array[-1, -1] = np.nan  # the map has grown: the old address is immutable, the new one differs
    newer = vr.register_map(array, (0, 0, 3000, 4000), 0, 1, version=2)
    assert newer["url"] != address["url"]
    fresh = np.asarray(PILImage.open(io.BytesIO(client.get(f"{newer['url']}/1/1_1.png").content)))
    assert fresh[-1, -1] == 0 and fresh[-1, -2] == index[-1, -2]
    assert client.get(f"{newer['url']}/5/0_0.png").status_code == 404


def test_the_registries_are_bounded() -> None:
    for i in range(vr.MAX_IMAGES + 5):
        vr.register_image(FakeImage(name=str(i)))
    assert len(vr.IMAGES) == vr.MAX_IMAGES
    arrays = [np.zeros((2, 2)) for _ in range(vr.MAX_MAPS + 5)]
    for array in arrays:
        vr.register_map(array, (0, 0, 2, 2), 0, 1)
    assert len(vr.MAPS) == vr.MAX_MAPS


def test_the_viewer_module_is_served_under_its_hash(client: TestClient) -> None:
    answer = client.get(vr.module_url())
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(
        "text/javascript"
    )
    assert "immutable" in answer.headers["cache-control"]
    assert "export function mount" in answer.text
    assert client.get("/hrviz/v1/static/0000/viewer.js").status_code == 404


def test_nodelay_reaches_listening_sockets() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert vr.tcp_nodelay_on_listening_sockets() >= 1
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.quiet
def test_cached_tiles_are_fast(client: TestClient) -> None:
    url = vr.register_image(FakeImage())["url"] + "/0/0_0.jpg"
    client.get(url)
    times = []
    for _ in range(40):
        start = time.perf_counter()
        client.get(url)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.025  # far below Nagle's 44 ms, far above the usual 3 ms

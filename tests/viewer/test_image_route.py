"""The lane of image tiles over real HTTP: not modified, shared, and dropped when the browser goes."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from starlette.applications import Starlette
from viewer_fakes import FakeImage
from viewer_page import served

from hrviz.geometry import Box
from hrviz.viewer import routes as vr
from hrviz.viewer.work import WORK


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    async def rest(scope, receive, send):
        raise AssertionError("tiles do not come here")

    with served(Starlette(routes=vr.routes(), middleware=vr.middleware())) as address:
        yield address


def get(url: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body


class Slow(FakeImage):
    """Holds every rendering until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.go, self.entered = threading.Event(), threading.Semaphore(0)

    def rgb(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        self.entered.release()
        self.go.wait(10)
        return super().rgb(box, size)


def test_not_modified(url: str) -> None:
    address = vr.register_image(FakeImage(name="etag"))
    path = f"{address['url']}/0/0_0.jpg"
    status, headers, body = get(url, path)
    assert status == 200 and headers["etag"] and len(body) == int(headers["content-length"])
    status, again, body = get(url, path, **{"If-None-Match": headers["etag"]})
    assert (status, body, again["etag"]) == (304, b"", headers["etag"])
    assert get(url, path, **{"If-None-Match": '"other"'})[0] == 200
    other = f"{address['url']}/{address['maxLevel']}/1_1.jpg"
    assert get(url, other)[1]["etag"] != headers["etag"]


def test_stored_tiles_pass_without_a_thread(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(WORK, "submit", lambda key, make: asked.append(key))
    address = vr.register_image(FakeImage(stored=512, name="pass"))
    for x in range(4):
        answer = get(url, f"{address['url']}/{address['maxLevel']}/{x}_0.jpg")
        assert answer[2] == f"stored 0 0 {x}".encode()
    assert not asked


def test_ten_viewers_one_rendering(url: str) -> None:
    image = Slow("ten")
    path = f"{vr.register_image(image)['url']}/3/2_1.jpg"
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(get, url, path) for _ in range(10)]
        assert image.entered.acquire(timeout=10)
        time.sleep(0.3)  # all ten have asked
        image.go.set()
        bodies = {answer.result(20)[2] for answer in answers}
    assert len(bodies) == 1
    box = Box(512, 1024, 1024, 1536)
    assert sum(asked == box for asked, _ in image.calls) == 1


def test_a_closed_request_is_not_made(url: str) -> None:
    image = Slow("gone")
    address = vr.register_image(image)
    place = urlsplit(url)
    busy = []
    top = address["maxLevel"]

    def ask(x: int, y: int) -> socket.socket:
        connection = socket.create_connection((place.hostname, place.port))
        line = f"GET {address['url']}/{top}/{x}_{y}.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(line.encode())
        return connection

    for x in range(WORK.threads):  # every thread is held
        busy.append(ask(x % 6, x // 6))
        assert image.entered.acquire(timeout=10)
    dropped = WORK.dropped
    gone = ask(5, 3)
    end = time.monotonic() + 10
    while WORK.waiting == 0 and time.monotonic() < end:
        time.sleep(0.01)
    gone.close()
    while WORK.dropped == dropped and time.monotonic() < end:
        time.sleep(0.01)
    assert WORK.dropped == dropped + 1
    image.go.set()
    for connection in busy:
        assert connection.recv(12).startswith(b"HTTP/1.1 200")
        connection.close()


def test_the_ring_is_made_ahead(url: str) -> None:
    image = FakeImage(width=6000, height=6000, name="ring")
    address = vr.register_image(image)
    top = address["maxLevel"]
    assert get(url, f"{address['url']}/{top}/5_5.jpg")[0] == 200
    want = {(y, x) for y in range(4, 7) for x in range(4, 7)}
    end = time.monotonic() + 10
    while time.monotonic() < end:
        got = {
            (int(b.y0) // 512, int(b.x0) // 512) for b, size in image.calls if size == (512, 512)
        }
        if want <= got:
            break
        time.sleep(0.02)
    assert got == want  # the ring, and not the ring's ring


@pytest.mark.parametrize(
    "place",
    [
        "0/0_0.png",
        "0/0.jpg",
        "a/0_0.jpg",
        "0/-1_0.jpg",
        "0/٣_0.jpg",
        f"0/{'9' * 40}_0.jpg",
        "",
        "../../health",
    ],
)
def test_odd_addresses_are_404(url: str, place: str) -> None:
    address = vr.register_image(FakeImage(name="odd"))
    status, headers, _ = get(url, f"{address['url']}/{quote(place, safe='/.')}")
    assert status == 404 and headers["cache-control"] == "no-store"

"""Requests made to harm: over a raw socket, since clients tidy addresses up before they send them."""

from __future__ import annotations

import ast
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tifffile
from starlette.applications import Starlette
from viewer_page import served

import hrviz
from hrviz.viewer import launch
from hrviz.viewer import routes as vr

SOURCE = Path(hrviz.__file__).parent


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(Starlette(routes=vr.routes(), middleware=vr.middleware())) as address:
        yield address


@pytest.fixture
def image(tmp_path: Path) -> dict[str, Any]:
    """A registered image, beside a file that nobody may have."""
    (tmp_path / "secret.txt").write_text("the secret")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((700, 900, 3), 99, np.uint8), tile=(256, 256))
    return vr.register_image(hrviz.open(str(path)))


def ask(url: str, head: bytes) -> bytes:
    """The whole answer to a raw request."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(head)
        parts = []
        while data := connection.recv(1 << 16):
            parts.append(data)
    return b"".join(parts)


def get(url: str, path: str | bytes, host: str = "localhost", method: str = "GET") -> bytes:
    raw = path.encode("latin-1") if isinstance(path, str) else path
    line = method.encode() + b" " + raw + b" HTTP/1.1\r\nHost: " + host.encode()
    return ask(url, line + b"\r\nConnection: close\r\n\r\n")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def refused(answer: bytes, *allowed: int) -> None:
    """One of the statuses, nothing of the file system, no trace."""
    assert status(answer) in allowed, answer[:300]
    body = answer.partition(b"\r\n\r\n")[2]
    assert len(body) < 400
    for leak in (b"Traceback", b"secret", b"root:", b"/home", b".py", str(SOURCE).encode()):
        assert leak not in body, body


@pytest.mark.parametrize(
    "tile",
    [
        "0/0_0.jpg/../../../../a.tif",
        f"{'9' * 5000}/0_0.jpg",
        f"0/{'9' * 5000}_0.jpg",
        f"{2**63}/0_0.jpg",
        "%2d1/0_0.jpg",
        "0/+0_0.jpg",
        "0/0x1_0.jpg",
        "0/1e3_0.jpg",
        "0/%00_0.jpg",
        "0/0_0%0d%0aSet-Cookie:a=b.jpg",
        "0/%d9%a3_0.jpg",
        "0/%ff%fe_0.jpg",
        "0/0_0.jpg%00.png",
        "0/" + "a" * 10_000,
        "0/" + "../" * 3000,
        "%2e%2e/%2e%2e/%2e%2e/secret.txt",
    ],
    ids=lambda text: text[:24],
)
def test_tile_addresses(url: str, image: dict[str, Any], tile: str) -> None:
    refused(get(url, f"{image['url']}/{tile}"), 404)
    assert status(get(url, f"{image['url']}/0/0_0.jpg")) == 200


@pytest.mark.parametrize(
    "tile",
    [
        f"{'9' * 40}/0_0",
        f"0/{'9' * 40}_0",
        f"{'9' * 5000}/0_0",
        f"0/{'9' * 5000}_0",
        "-1/0_0",
        "0/%d9%a3_0",
    ],
    ids=lambda text: text[:24],
)
def test_map_addresses(url: str, tile: str) -> None:
    address = vr.register_map(np.zeros((300, 400)), (0, 0, 300, 400), 0, 1)["url"]
    refused(get(url, f"{address}/{tile}.png"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/hrviz/v1/static/../../../../../../etc/passwd",
        "/hrviz/v1/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/hrviz/v1/static/..%2f..%2f..%2fetc%2fpasswd/viewer.js",
        "/hrviz/v1/image//etc/passwd",
        "/hrviz/v1/image/../../../secret.txt",
        "/hrviz/v1/image/%2fetc%2fpasswd/0/0_0.jpg",
        "//etc/passwd",
        "/..\\..\\secret.txt",
        "/hrviz/v1/" + "a" * 10_000,
    ],
)
def test_paths_lead_nowhere(url: str, image: dict[str, Any], path: str) -> None:
    refused(get(url, path), 403, 404)


def test_addresses_longer_than_any(url: str) -> None:
    answer = get(url, "/hrviz/v1/image/" + "a" * 100_000)
    assert not answer or status(answer) in (400, 403, 404, 414, 431)
    answer = get(url, b"/hrviz/v1/image/\xff\xfe\x80/0/0_0.jpg")
    assert not answer or status(answer) in (400, 403, 404)
    assert status(get(url, "/hrviz/v1/health")) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        b"Host: evil.example\r\n",
        b"Host: localhost.evil.example\r\n",
        b"Host: localhost@evil.example\r\n",
        b"Host: localhost:80:evil\r\n",
        b"Host: \r\n",
        b"",
        b"Host: evil.example\r\nX-Forwarded-Host: localhost\r\n",
    ],
)
def test_other_hosts(url: str, image: dict[str, Any], hosts: bytes) -> None:
    for path in (f"{image['url']}/0/0_0.jpg", "/hrviz/v1/health"):
        line = f"GET {path} HTTP/1.1\r\n".encode()
        refused(ask(url, line + hosts + b"Connection: close\r\n\r\n"), 400, 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods(url: str, image: dict[str, Any], method: str) -> None:
    for path in (f"{image['url']}/0/0_0.jpg", "/hrviz/v1/health"):
        refused(get(url, path, method=method), 400, 405)


def test_no_other_site_may_read_the_answers(url: str, image: dict[str, Any]) -> None:
    head = get(url, f"{image['url']}/0/0_0.jpg").partition(b"\r\n\r\n")[0].lower()
    assert b"access-control-allow" not in head
    assert b"x-content-type-options: nosniff" in head


# -- where the server listens -------------------------------------------------------------------
@pytest.mark.parametrize(("given", "expected"), [([], "127.0.0.1"), (["--host", "::1"], "::1")])
def test_it_listens_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, given: list[str], expected: str
) -> None:
    """`hrviz app` as typed, up to the point where uvicorn would listen."""
    from hrviz.cli import main

    listened: list[str] = []

    class Server:
        def __init__(self, config: dict[str, Any]) -> None:
            listened.append(config["host"])

        def run(self) -> None: ...

    fake = types.SimpleNamespace(Server=Server, Config=lambda app, **options: options)
    monkeypatch.setitem(sys.modules, "uvicorn", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "load_app", lambda: None)
    monkeypatch.setattr(launch, "configure", lambda port: None)
    monkeypatch.setenv("HRVIZ_ALLOWED_HOSTS", "")
    assert main(["app", "--no-browser", *given]) == 0
    assert listened == [expected]


# -- what is never called -----------------------------------------------------------------------
UNPICKLE = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle")
OURS = {
    "worker.py": "between this program and its own child process",
    "cluster.py": "dask's own messages, and an image that this program has pickled",
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Dotted names that are called, with the calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def hazards(source: str) -> list[str]:
    """Calls that run what a file says."""
    found = []
    for name, call in calls(ast.parse(source)):
        module, _, function = name.rpartition(".")
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        unsafe = (
            (
                module.split(".")[0] in UNPICKLE
                and function in ("load", "loads", "Unpickler", "open")
            ),
            name in ("torch.load", "th.load") and keywords.get("weights_only") != "True",
            function == "load" and keywords.get("allow_pickle", "False") != "False",
            name in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"),
            keywords.get("shell", "False") != "False",
        )
        found += [name] if any(unsafe) else []
    return found


def test_the_search_finds_them() -> None:
    for text in (
        "pickle.loads(a)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "numpy.load(p, allow_pickle=flag)",
        "joblib.load(p)",
        "eval(a)",
        "subprocess.run(a, shell=True)",
    ):
        assert hazards(text), text
    for text in ("np.load(p)", "json.loads(a)", "torch.load(p, weights_only=True)", "net.eval()"):
        assert not hazards(text), text


def test_nothing_is_unpickled_or_evaluated() -> None:
    files = [*SOURCE.rglob("*.py"), *(SOURCE.parent / "app").rglob("*.py")]
    assert len(files) > 100
    for path in files:
        source = path.read_text()
        assert path.name in OURS or not hazards(source), f"{path}: {hazards(source)}"
        for line in source.splitlines():
            if path.name not in OURS:
                assert not line.strip().startswith(("from pickle import", "import pickle")), path

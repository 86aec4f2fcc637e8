"""Downloads: from a server of our own on this machine, never from the internet."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tifffile

from hrviz import data
from hrviz.errors import HrvizError
from hrviz.image import open_image

CONTENT = os.urandom(300_000)


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, list[str]]]:
    """Address, folder and log of requests of a local server."""
    folder = tmp_path_factory.mktemp("served")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, text: str, *args: object) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder, asked
        running.shutdown()


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str, bytes], Path]:
    """Puts one file on the list; returns where it will be kept."""
    monkeypatch.setenv("HRVIZ_DATA", str(tmp_path / "kept"))
    monkeypatch.setattr(data, "RETRIES", 0)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def put(name: str, url: str, content: bytes) -> Path:
        entry = dataclasses.replace(
            data.registry()[0], name=name, url=url, bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip
        monkeypatch.setattr(data, "registry", lambda: (entry,))
        return tmp_path / "kept" / name

    return put


def test_fetch_shows_progress_and_fetches_once(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    address, folder, asked = server
    (folder / "a.bin").write_bytes(CONTENT)
    kept = listed("slide.bin", f"{address}/a.bin", CONTENT)
    assert data.fetch("slide.bin") == kept
    assert kept.read_bytes() == CONTENT
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err
    assert data.fetch("slide.bin") == kept
    assert asked == ["/a.bin"]
    assert capsys.readouterr().err == ""
    assert [p.name for p in kept.parent.iterdir()] == ["slide.bin"]


def test_quietly_and_to_another_folder(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    address, folder, _ = server
    (folder / "a.bin").write_bytes(CONTENT)
    listed("slide.bin", f"{address}/a.bin", CONTENT)
    there = tmp_path / "elsewhere"
    assert data.fetch("slide.bin", progress=False, folder=there) == there / "slide.bin"
    assert capsys.readouterr() == ("", "")


def test_another_content_is_deleted_and_told(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path]
) -> None:
    address, folder, _ = server
    (folder / "a.bin").write_bytes(CONTENT[:-1])
    kept = listed("slide.bin", f"{address}/a.bin", CONTENT)
    with pytest.raises(HrvizError, match="SHA-256") as caught:
        data.fetch("slide.bin", progress=False)
    assert f"{address}/a.bin" in str(caught.value)
    assert str(kept) in str(caught.value)
    assert list(kept.parent.iterdir()) == []


def test_a_failure_is_tried_again(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    address, folder, asked = server
    listed("slide.bin", f"{address}/a.bin", CONTENT)
    monkeypatch.setattr(data, "RETRIES", 2)

    def appear(seconds: float) -> None:
        (folder / "a.bin").write_bytes(CONTENT)

    monkeypatch.setattr("pooch.core.time.sleep", appear)
    assert data.fetch("slide.bin", progress=False).read_bytes() == CONTENT
    assert asked.count("/a.bin") >= 2


def test_no_network_tells_what_to_do_by_hand(listed: Callable[..., Path]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
        kept = listed("slide.bin", url, CONTENT)
        with pytest.raises(HrvizError, match="cannot be reached") as caught:
            data.fetch("slide.bin", progress=False)
    assert f"download {url} by hand and put it at {kept}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_tells_the_servers_answer(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path]
) -> None:
    listed("slide.bin", f"{server[0]}/gone.bin", CONTENT)
    with pytest.raises(HrvizError, match="answered 404"):
        data.fetch("slide.bin", progress=False)


def test_a_folder_that_cannot_be_written_to(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path], tmp_path: Path
) -> None:
    address, folder, _ = server
    (folder / "a.bin").write_bytes(CONTENT)
    listed("slide.bin", f"{address}/a.bin", CONTENT)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HrvizError, match="set HRVIZ_DATA"):
        data.fetch("slide.bin", progress=False, folder=tmp_path / "file" / "below")


def test_what_was_fetched_opens_by_its_name(
    server: tuple[str, Path, list[str]], listed: Callable[..., Path]
) -> None:
    address, folder, asked = server
    tifffile.imwrite(folder / "a.tif", shape=(50, 70), dtype="u1")
    listed("grey.tif", f"{address}/a.tif", (folder / "a.tif").read_bytes())
    with pytest.raises(HrvizError, match=r"'hrviz data fetch grey\.tif'"):
        open_image("data:grey.tif")
    assert asked == [], "opening never downloads"
    data.fetch("grey.tif", progress=False)
    image = open_image("data:grey.tif")
    assert (image.width, image.height, image.uri) == (70, 50, "data:grey.tif")
    with pytest.raises(HrvizError, match=r"did you mean grey\.tif"):
        open_image("data:gray.tif")


def test_the_list_is_complete() -> None:
    entries = data.registry()
    assert len({e.name for e in entries}) == len(entries) >= 10
    for e in entries:
        assert re.fullmatch(r"[0-9a-f]{64}", e.sha256), e.name
        assert e.url.startswith("https://")
        assert re.fullmatch(r"[\w.-]+", e.name)
        assert all((e.licence, e.credit, e.shows))
        assert e.bytes is None or e.bytes > 0


def test_a_known_file_has_the_listed_checksum(real_data: Callable[[str], Path]) -> None:
    path = real_data("CMU-1-Small-Region.svs")
    entry = data.find(path.name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert path.stat().st_size == entry.bytes

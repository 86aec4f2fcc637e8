"""Is this the fastest tile server there is, and does it hold?

One server process, the real app (`app/server.py`) under uvicorn, answers everything; in front of it
stand lanes that answer the same requests with a constant body, with OpenSlide's DeepZoomGenerator
and with large_image, in threads, so that nothing but the making of tiles differs ('constant' is the
same body as an ordinary async route of the app, behind its middlewares). A client in its
own process asks over 16 kept-alive connections for the same tiles in the same random order, each
once (of the small slide: each thirty times). All tiles are JPEG of quality 85 with the same side.

- SLIDE: a real SVS, where given with --svs; with the peer's cache of finished tiles switched off,
  since its few tiles are asked many times (ours passes them through and keeps none)
- JPEG: a generated 16,384 x 16,384 pyramid of 256 px JPEG tiles: they pass through
- DEFLATE: the same pixels, compressed without loss: everyone must decode and encode
- SCENE: 100,000 x 100,000 px computed as it is looked at (no peer can open it)

Then memory: a random walk of 3,000 tiles over the scene, and 50 users at once for a minute.

    pip install large-image large-image-source-tiff large-image-source-openslide   # the peer
    python benchmarks/tiles.py [--svs FILE] [--json] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import platform
import random
import re
import selectors
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "output"
SIDE = 16_384
TILE = 256
QUALITY = 85
CLIENTS = 16
SCENE = "scene:tissue?size=100000x100000&seed=7"


# ------------------------------------------------------------------------------------- the files
def make_pyramid(path: Path, compression: str) -> Path:
    """A 16k pyramid of TILE px tiles, from a scene, streamed; kept between runs."""
    import numpy as np
    import tifffile

    import hrviz

    if path.exists():
        return path
    path.parent.mkdir(exist_ok=True, parents=True)
    image = hrviz.open(f"scene:tissue?size={SIDE}x{SIDE}&seed=3&tumour=0.05")
    part = path.with_suffix(".part")
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "dtype": np.uint8,
                               "compression": compression, "resolution": (40000, 40000),
                               "resolutionunit": "CENTIMETER"}  # fmt: skip
    if compression == "jpeg":
        options |= {"compressionargs": {"level": QUALITY}, "photometric": "ycbcr",
                    "subsampling": (2, 2)}  # fmt: skip
    levels = [i for i, level in enumerate(image.levels_info) if level.height >= 512]
    with tifffile.TiffWriter(part, bigtiff=True) as writer:
        for number in levels:
            info = image.levels_info[number]
            tiles = (
                image.window(number, y, x, min(TILE, info.height - y), min(TILE, info.width - x))
                for y in range(0, info.height, TILE)
                for x in range(0, info.width, TILE)
            )
            writer.write(
                tiles, shape=(info.height, info.width, 3), subifds=len(levels) - 1 if not number else 0,
                subfiletype=1 if number else 0, **options,
            )  # fmt: skip
    part.replace(path)
    return path


# ------------------------------------------------------------------------------------- the server
class Lanes:
    """`/peer/KIND/z/x_y` before the app: a bare constant body, DeepZoomGenerator, large_image."""

    def __init__(self, app: Any, path: str, body: bytes) -> None:
        self.app, self.path, self.body = app, path, body
        self.tile, self.fresh = TILE, False
        self.pool = ThreadPoolExecutor(max(2, os.cpu_count() or 2))
        self.peers: dict[str, Any] = {}

    def _make(self, kind: str, z: int, x: int, y: int) -> bytes:
        if kind == "openslide":
            out = io.BytesIO()
            self._peer(kind).get_tile(z, (x, y)).save(out, "JPEG", quality=QUALITY)
            return out.getvalue()
        return bytes(self._peer(kind).getTile(x, y, z))

    def _peer(self, kind: str) -> Any:
        if kind not in self.peers:
            if kind == "openslide":
                import openslide
                from openslide.deepzoom import DeepZoomGenerator

                slide = openslide.OpenSlide(self.path)
                self.peers[kind] = DeepZoomGenerator(slide, self.tile, 0, limit_bounds=False)
            else:
                import large_image
                from cachetools import LRUCache

                source = large_image.open(
                    self.path, encoding="JPEG", jpegQuality=QUALITY, jpegSubsampling=0
                )
                if self.fresh:
                    source.cache = LRUCache(2)
                self.peers[kind] = source
        return self.peers[kind]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/peer/"):
            await self.app(scope, receive, send)
            return
        _, _, kind, *place = scope["path"].split("/")
        status, body = 200, self.body
        if kind != "lane":
            try:
                z = int(place[0])
                x, y = (int(n) for n in place[1].removesuffix(".jpg").split("_"))
                loop = asyncio.get_running_loop()
                body = await loop.run_in_executor(self.pool, self._make, kind, z, x, y)
            except Exception as error:
                status, body = 500, repr(error).encode()
        headers = [(b"content-type", b"image/jpeg"), (b"content-length", str(len(body)).encode()),
                   (b"cache-control", b"private, max-age=31536000, immutable"),
                   (b"x-content-type-options", b"nosniff"), (b"etag", b'"x"')]  # fmt: skip
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def serve(path: str, port: int, constant: int, passing: bool, side: int) -> None:
    """The real app on `port`, its image registered; prints the image's address as JSON."""
    import logging

    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    import hrviz
    from hrviz.viewer import registry
    from hrviz.viewer import routes as vr
    from hrviz.viewer.launch import configure, load_app
    from hrviz.viewer.tiles import ImageTiles

    os.environ["HRVIZ_IMAGE"] = path
    configure(port)
    logging.getLogger("streamlit").setLevel(logging.ERROR)
    body = os.urandom(constant)

    async def same(request: Request) -> Response:
        return Response(body, media_type="image/jpeg", headers=vr.IMMUTABLE | {"etag": '"x"'})

    own = vr.routes()
    vr.routes = lambda: [*own, Route("/constant/{z:int}/{x:int}_{y:int}.jpg", same)]
    app = Lanes(load_app(), path, body)
    image = hrviz.open(path)
    tiles, token = registry.IMAGES.add(
        "benchmark", lambda: ImageTiles(image, passing=passing, side=side)
    )
    app.tile = int(tiles.pyramid.levels[-1].tile[1])
    app.fresh = image.width < SIDE  # a small file's tiles are asked again and again
    print(json.dumps(tiles.geometry | {"url": f"{registry.PREFIX}/image/{token}"}), flush=True)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False)
    uvicorn.Server(config).run()


class Server:
    """The server's process, ready to be asked."""

    def __init__(
        self, path: str, *, constant: int = 0, passing: bool = True, side: int = 512
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, __file__, "--serve", path, str(self.port), str(constant),
                   str(int(passing)), str(side)]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.image: dict[str, Any] = json.loads(self.process.stdout.readline())
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            time.sleep(0.1)
        time.sleep(4)  # the worker's start and the first tiles made ahead are over

    def resident(self) -> float:
        """MiB of the server process alone."""
        return resident(self.process.pid)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()
        self.process.wait(20)


def resident(pid: int | str = "self") -> float:
    """Resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


# ------------------------------------------------------------------------------------- the client
def ask(port: int, paths: list[str], clients: int = CLIENTS) -> dict[str, Any]:
    """Ask for all paths over kept-alive connections: rate, latencies, sizes, errors.

    Bare sockets and one selector: the client must cost less than what it measures.
    """
    waiting = iter(paths)
    selector = selectors.DefaultSelector()
    times: list[float] = []
    size = errors = open_ = 0

    class Connection:
        def __init__(self) -> None:
            self.socket = socket.create_connection(("127.0.0.1", port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.need, self.got, self.start = -1, b"", 0.0

        def next(self) -> bool:
            path = next(waiting, None)
            if path is None:
                return False
            self.need, self.got = -1, b""
            self.start = time.perf_counter()
            self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            return True

    connections = [Connection() for _ in range(clients)]
    begin = time.perf_counter()
    for c in connections:
        if c.next():
            selector.register(c.socket, selectors.EVENT_READ, c)
            open_ += 1
    while open_:
        for key, _ in selector.select():
            c = key.data
            data = c.socket.recv(262_144)
            if not data:
                raise ConnectionError("the server closed a connection")
            c.got += data
            if c.need < 0:
                end = c.got.find(b"\r\n\r\n")
                if end < 0:
                    continue
                head = c.got[:end].lower()
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r", 1)[0])
                errors += not head.startswith(b"http/1.1 200")
                size += length
                c.need = end + 4 + length
            if len(c.got) >= c.need:
                times.append(time.perf_counter() - c.start)
                if not c.next():
                    selector.unregister(c.socket)
                    c.socket.close()
                    open_ -= 1
    seconds = time.perf_counter() - begin
    times.sort()
    return {"rate": len(times) / seconds, "p50": times[len(times) // 2],
            "p95": times[int(0.95 * (len(times) - 1))], "errors": errors,
            "bytes": size / max(1, len(times)), "tiles": len(times)}  # fmt: skip


def users(port: int, image: dict[str, Any], seconds: float, n: int = 50) -> dict[str, Any]:
    """`n` users who walk and zoom over the image, four tiles a step: errors, steps, latencies."""
    rng = random.Random(5)
    end = time.perf_counter() + seconds

    def user(seed: int) -> tuple[int, int, list[float]]:
        mine = random.Random(seed)
        z = mine.randrange(len(image["levels"]))
        x = y = 0.5
        errors, times = 0, []
        connection = socket.create_connection(("127.0.0.1", port))
        file = connection.makefile("rb")
        while time.perf_counter() < end:
            z = min(max(0, z + mine.choice((-1, 0, 0, 0, 1))), len(image["levels"]) - 1)
            _, _, _, columns, rows = image["levels"][z]
            x, y = (min(max(0.0, v + mine.gauss(0, 2 / columns)), 0.999) for v in (x, y))
            for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
                column, row = (
                    min(int(x * columns) + dx, columns - 1),
                    min(int(y * rows) + dy, rows - 1),
                )
                start = time.perf_counter()
                path = f"{image['url']}/{z}/{column}_{row}.jpg"
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                status = file.readline()
                length = 0
                while (line := file.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                file.read(length)
                errors += b" 200 " not in status
                times.append(time.perf_counter() - start)
        connection.close()
        return errors, len(times), times

    with ThreadPoolExecutor(n) as pool:
        done = list(pool.map(user, [rng.randrange(2**30) for _ in range(n)]))
    times = sorted(t for _, _, ts in done for t in ts)
    return {"users": n, "seconds": seconds, "tiles": len(times),
            "errors": sum(e for e, _, _ in done), "p50": times[len(times) // 2],
            "p95": times[int(0.95 * (len(times) - 1))]}  # fmt: skip


def walk(steps: int) -> dict[str, float]:
    """A random walk over the scene in this process: memory above the import, halfway and after."""
    import hrviz
    from hrviz.viewer.tiles import ImageTiles

    hrviz.open("scene:tissue?size=600x600").thumbnail(64)
    base = resident()
    tiles = ImageTiles(hrviz.open(SCENE))
    rng = random.Random(3)
    z = tiles.pyramid.top
    x = y = 0.5
    peak = middle = 0.0
    for step in range(steps):
        z = min(max(0, z + rng.choice((-1, 0, 0, 0, 0, 1))), tiles.pyramid.top)
        rows, columns = tiles.pyramid.grid(z)
        x, y = (min(max(0.0, v + rng.gauss(0, 3 / columns)), 0.999) for v in (x, y))
        tiles.get(z, int(x * columns), int(y * rows))
        if step % 25 == 0:
            peak = max(peak, resident() - base)
        if step == steps // 2:
            middle = peak
    return {"steps": steps, "peak": peak, "peak_first_half": middle, "end": resident() - base}


# ------------------------------------------------------------------------------------- the questions
def addresses(image: dict[str, Any], kind: str, n: int, top: int, repeat: int = 1) -> list[str]:
    """The same places for everyone: finest level mostly, in the order of one seed, each once."""
    rng = random.Random(11)
    levels = image["levels"]
    _, tw, th, _, _ = levels[-1]
    full = int(image["width"] // tw), int(image["height"] // th)  # tiles that lie inside whole
    places = [(x, y) for y in range(full[1]) for x in range(full[0])]
    rng.shuffle(places)
    places = places[:n] * repeat
    prefix = {"hrviz": f"{image['url']}/{len(levels) - 1}", "constant": "/constant/0"}.get(
        kind, f"/peer/{kind}/{top}"
    )
    return [f"{prefix}/{x}_{y}.jpg" for x, y in places]


def compare(path: str, passing: bool, n: int, repeat: int = 1) -> dict[str, Any]:
    """Everyone on one file, in one server process: the constant body of the same mean size first."""
    results: dict[str, Any] = {}
    with Server(path, passing=passing, side=TILE) as server:  # how large are the tiles?
        size = ask(server.port, addresses(server.image, "hrviz", 64, 0))["bytes"]
    side = max(server.image["width"], server.image["height"])
    deepzoom = (side - 1).bit_length()
    with Server(path, constant=int(size), passing=passing, side=TILE) as server:
        tile = int(server.image["levels"][-1][1])
        large = max(0, -(-side // tile) - 1).bit_length()
        tops = {"constant": 0, "lane": 0, "openslide": deepzoom, "large_image": large, "hrviz": 0}
        for kind, top in tops.items():
            few = addresses(server.image, kind, max(8, n // 8), top)
            with contextlib.suppress(ConnectionError):
                ask(server.port, few)  # opens the file, warms the code
        for kind, top in tops.items():
            count = n if kind in ("constant", "lane", "hrviz") or not passing else max(64, n // 2)
            asked = addresses(server.image, kind, count, top, repeat)
            results[kind] = ask(server.port, asked)
        again = ask(server.port, addresses(server.image, "constant", n, 0, repeat))
        results["constant"]["rate"] = (results["constant"]["rate"] + again["rate"]) / 2
    mine = results["hrviz"]
    peers = [r for k, r in results.items() if k in ("openslide", "large_image") and not r["errors"]]
    results["ratios"] = {
        "of a constant body": mine["rate"] / results["constant"]["rate"],
        "of a bare constant": mine["rate"] / results["lane"]["rate"],
        **{f"x {k}": mine["rate"] / r["rate"] for k, r in results.items()
           if k in ("openslide", "large_image")},
        **({"p95 / best peer's": mine["p95"] / min(p["p95"] for p in peers)} if peers else {}),
    }  # fmt: skip
    return results


def main() -> None:
    """Parse the command line; print the tables, or JSON."""
    if len(sys.argv) > 2 and sys.argv[1] == "--serve":
        path, port, constant, passing, side = sys.argv[2:7]
        serve(path, int(port), int(constant), passing == "1", int(side))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--svs", help="a real slide with JPEG tiles")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few tiles: does it run?")
    parser.add_argument("--only", help="jpeg, deflate, slide, scene, walk or users")
    parser.add_argument("--walk", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps = 200 if options.quick else 3000
    if options.walk:
        print(json.dumps(walk(steps)))
        return
    n = 200 if options.quick else 4000
    out: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
                                      f"{platform.python_version()}"}  # fmt: skip

    def wanted(name: str) -> bool:
        return options.only in (None, name)

    if wanted("jpeg"):
        file = make_pyramid(OUTPUT / "pyramid-16k-jpeg.tif", "jpeg")
        out["jpeg"] = compare(str(file), True, n)
    if wanted("deflate"):
        file = make_pyramid(OUTPUT / "pyramid-16k-deflate.tif", "deflate")
        out["deflate"] = compare(str(file), False, n // 4)
    if wanted("slide") and options.svs:
        out["slide"] = compare(
            str(Path(options.svs).resolve()), True, 500, 3 if options.quick else 30
        )
    if wanted("scene"):
        with Server(SCENE) as server:
            rng = random.Random(2)
            places = [(z, rng.randrange(c), rng.randrange(r)) for z, (_, _, _, c, r) in
                      enumerate(server.image["levels"]) for _ in range(n // 40)]  # fmt: skip
            rng.shuffle(places)
            paths = [f"{server.image['url']}/{z}/{x}_{y}.jpg" for z, x, y in places]
            out["scene"] = {"hrviz": ask(server.port, paths), "again": ask(server.port, paths)}
    if wanted("walk"):
        command = [sys.executable, __file__, "--walk", *(["--quick"] if options.quick else [])]
        out["walk"] = json.loads(subprocess.check_output(command, text=True))
    if wanted("users"):
        with Server(SCENE) as server:
            half = 3.0 if options.quick else 30.0
            before = server.resident()
            first = users(server.port, server.image, half)
            middle = server.resident()
            second = users(server.port, server.image, half)
            out["users"] = {"first": first, "second": second, "before": before,
                            "middle": middle, "end": server.resident()}  # fmt: skip
    if options.json:
        print(json.dumps(out))
    else:
        show(out)


def show(out: dict[str, Any]) -> None:
    """Tables for people, with the targets beside the figures."""
    print(out["machine"])
    titles = {"jpeg": "JPEG pyramid 16k, tiles pass through", "deflate": "deflate pyramid 16k, decoded",
              "slide": "real slide", "scene": "scene 100k x 100k"}  # fmt: skip
    for name, title in titles.items():
        if name not in out:
            continue
        print(f"\n{title}\n{'':14}{'tiles/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'kB':>7}{'errors':>8}")
        for kind, r in out[name].items():
            if kind != "ratios":
                print(f"{kind:14}{r['rate']:9.0f}{1e3 * r['p50']:9.2f}{1e3 * r['p95']:9.2f}"
                      f"{r['bytes'] / 1e3:7.1f}{r['errors']:8}")  # fmt: skip
        targets = {"of a constant body": ">= 0.85", "x large_image": ">= 3", "x openslide": ">= 5",
                   "p95 / best peer's": "<= 0.33"} if name != "deflate" else {
                   "x large_image": ">= 1", "x openslide": ">= 1"}  # fmt: skip
        for ratio, value in out[name].get("ratios", {}).items():
            print(f"  {ratio:22}{value:8.2f}   {targets.get(ratio, '')}")
    if "walk" in out:
        w = out["walk"]
        print(f"\nrandom walk of {w['steps']} tiles: {w['peak']:.0f} MiB above the import at most "
              f"(target 400), {w['peak_first_half']:.0f} in the first half, {w['end']:.0f} at the end")  # fmt: skip
    if "users" in out:
        u = out["users"]
        print(f"\n{u['first']['users']} users, twice {u['first']['seconds']:.0f} s: "
              f"{u['first']['tiles'] + u['second']['tiles']} tiles, "
              f"{u['first']['errors'] + u['second']['errors']} errors, p50 {1e3 * u['second']['p50']:.0f} ms, "
              f"p95 {1e3 * u['second']['p95']:.0f} ms; server {u['before']:.0f} MiB before, "
              f"{u['middle']:.0f} halfway, {u['end']:.0f} after")  # fmt: skip


if __name__ == "__main__":
    main()

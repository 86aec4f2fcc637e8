"""Damaged files of every format: hundreds of seeded mutations, each opened in a watched process.

A mutant passes when it gives a picture or one sentence. It fails with any other exception, when the
process dies (a native library crashed), after 10 seconds of processor time (30 of waiting), or above
1 GiB of memory. A failure is replayed, without the watching, by `python tests/image/fuzz.py FORMAT
SEED`; `--keep FOLDER` leaves the damaged file there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest does

from image.fuzz_mutations import mutate
from image.fuzz_seeds import FORMATS

CPU_SECONDS, WALL_SECONDS = 10.0, 30.0
PEAK_BYTES = 1 << 30
GUARD_BYTES = 6 << 30  # of data a mutant may ask for before the system refuses


# -- what is asked of a mutant ------------------------------------------------------------------
def exercise(path: Path | str) -> str:
    """Open and look at an image; 'picture' or its first sentence.

    Raises
    ------
    Exception
        Whatever is neither a picture nor a sentence.
    """
    import numpy as np

    import hrviz
    from hrviz.errors import HrvizError

    said: list[str] = []

    def attempt(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except HrvizError as error:
            text = str(error)
            assert text and "\n" not in text and "Traceback" not in text, text
            assert len(text) < 700 + len(str(path)), text
            assert " at 0x" not in text, text
            said.append(text)
            return None

    image = attempt(lambda: hrviz.open(str(path)))
    if image is None:
        return said[0]
    thumb = attempt(lambda: image.thumbnail(64))
    if thumb is not None:
        assert thumb.dtype == np.uint8 and thumb.ndim == 3 and thumb.shape[2] == 3, thumb.shape
        assert max(thumb.shape[:2]) == 64, thumb.shape
    for level in (0, len(image.levels_info) - 1):
        info = image.levels_info[level]
        h, w = min(info.height, 300), min(info.width, 300)
        y, x = (info.height - h) // 2, (info.width - w) // 2
        window = attempt(lambda a=(level, y, x, h, w): image.window(*a))
        if window is not None:
            assert window.shape == (h, w, image.channels), window.shape
            assert window.dtype == image.dtype, window.dtype
            shown = attempt(lambda p=window: image.to_rgb(p))
            assert shown is None or (shown.dtype, shown.shape) == (np.uint8, (h, w, 3))
        tile = attempt(lambda n=level: image.compressed_tile(n, 0, 0))
        assert tile is None or (isinstance(tile[0], bytes) and isinstance(tile[1], str))
    facts = image.facts()
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in facts.items()), facts
    assert all(isinstance(note, str) for note in image.notes)
    image.close()
    return said[0] if said else "picture"


def misbehave(address: str) -> None:
    """What the watching process must notice, for its own test."""
    if address == "crash:":
        os.abort()
    if address == "hang:":
        while True:
            pass
    if address == "memory:":
        b"x" * int(1.2 * PEAK_BYTES)
    if address == "trace:":
        raise ZeroDivisionError


class Mutants:
    """Makes mutant `seed` of a format again and again the same, from one seed file a format."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def mutant(self, name: str, seed: int) -> Iterator[Path]:
        """Path of the damaged image; the folder goes afterwards."""
        original = self._folder / name
        if not original.exists():
            original.mkdir(parents=True)
            entry = FORMATS[name](original)
            (self._folder / f"{name}.entry").write_text(str(entry.relative_to(original)))
        entry_name = (self._folder / f"{name}.entry").read_text()
        copy = self._folder / f"{name}-{seed}"
        shutil.copytree(original, copy)
        mutate(copy, random.Random(f"{name}:{seed}"))
        try:
            yield copy / entry_name
        finally:
            shutil.rmtree(copy)


# -- the watched process ------------------------------------------------------------------------
def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Highest resident memory since `_reset_peak`, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def work(folder: Path) -> None:
    """Take `[format, seed]` or `[address]`, one a line, from stdin; answer each with a line of JSON."""
    import resource

    from hrviz.image.cache import TILES as CACHE

    resource.setrlimit(resource.RLIMIT_DATA, (GUARD_BYTES, GUARD_BYTES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        mutants = Mutants(Path(temporary))
        for line in sys.stdin:
            asked = json.loads(line)
            made = mutants.mutant(*asked) if len(asked) > 1 else contextlib.nullcontext(asked[0])
            with made as path:
                answers.write('"started"\n')
                answers.flush()
                _reset_peak()
                said, failed = "", ""
                try:
                    misbehave(str(path))
                    said = exercise(path)
                except Exception:
                    failed = traceback.format_exc()
                peak = _peak()
                CACHE.clear()
            answers.write(json.dumps({"said": said, "failed": failed, "peak": peak}) + "\n")
            answers.flush()


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; `failed` is empty where it gave a picture or a sentence."""

    name: str
    seed: int
    said: str
    failed: str
    peak: int
    seconds: float


class Watched:
    """A process that opens mutants, started again when it dies.

    Parameters
    ----------
    errors : Path
        File that gets what the process and its libraries print.
    cpu_seconds : float
        Of processor time, after which an image counts as hanging; may be set between images.
    """

    def __init__(self, errors: Path, cpu_seconds: float = CPU_SECONDS) -> None:
        self._errors, self.cpu_seconds, self._cpu_limit = errors, cpu_seconds, float("inf")
        self._process: subprocess.Popen[str] | None = None
        self._unread = b""
        # of this process: the other one may be killed before it has tidied up
        self._folder = tempfile.TemporaryDirectory(prefix="hrviz-fuzz-")

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._unread = b""
            with self._errors.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-X", "faulthandler", __file__, "--work", self._folder.name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                )
        return self._process

    def _line(self, seconds: float) -> Any:
        """The next answer; None where it does not come in time, or the process has died."""
        assert self._process is not None and self._process.stdout is not None
        out = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], min(left, 0.5))[0]:
                if left <= 0 or self._cpu() > self._cpu_limit:
                    return None
                continue
            data = os.read(out, 1 << 16)
            if not data:
                return None
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def _cpu(self) -> float:
        """Seconds of processor time so far."""
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open(self, address: str | Path) -> Outcome:
        """Open an image as it is."""
        return self._run(str(address), 0, [str(address)])

    def said(self, address: str | Path) -> str:
        """'picture', or the first sentence; fails where it is neither."""
        outcome = self.open(address)
        assert not outcome.failed, outcome.failed
        return outcome.said

    def run(self, name: str, seed: int) -> Outcome:
        """Open one mutant."""
        return self._run(name, seed, [name, seed])

    def _run(self, name: str, seed: int, asked: list[Any]) -> Outcome:
        process = self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        self._cpu_limit = float("inf")
        if self._line(120) is None:  # imports, and the seed file
            self.close()
            return Outcome(name, seed, "", f"the seed cannot be made; see {self._errors}", 0, 0)
        start, self._cpu_limit = time.monotonic(), self._cpu() + self.cpu_seconds
        answer = self._line(WALL_SECONDS)
        seconds = time.monotonic() - start
        if answer is None:
            try:
                code = process.wait(0.5)
            except subprocess.TimeoutExpired:
                code = None
            self.close()
            failed = (
                f"hangs ({seconds:.0f} s)" if code is None else f"the process died (status {code})"
            )
            return Outcome(name, seed, "", failed, 0, seconds)
        failed = answer["failed"]
        if answer["peak"] > PEAK_BYTES:
            failed = failed or f"took {answer['peak'] / 2**20:.0f} MiB"
            self.close()
        return Outcome(name, seed, answer["said"], failed, answer["peak"], seconds)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None


def main() -> int:
    """`fuzz.py FORMAT SEED`: one mutant here; `fuzz.py --count N [FORMAT...]`: many, watched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="a format and a seed, or formats")
    parser.add_argument("--count", type=int, help="so many seeds of the formats (or of all)")
    parser.add_argument("--first", type=int, default=0, help="the first of them, default 0")
    parser.add_argument("--keep", type=Path, help="leave the damaged file in this folder")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work)
        return 0
    if given.count is None:
        name, seed = given.what
        with (
            tempfile.TemporaryDirectory() as temporary,
            Mutants(Path(temporary)).mutant(name, int(seed)) as path,
        ):
            if given.keep:
                shutil.copytree(Path(temporary) / f"{name}-{seed}", given.keep)
            print(exercise(path))
        return 0
    watched, bad = Watched(Path(tempfile.gettempdir()) / "hrviz-fuzz.log"), 0
    for name in given.what or FORMATS:
        done = [watched.run(name, seed) for seed in range(given.first, given.first + given.count)]
        failed = [o for o in done if o.failed]
        bad += len(failed)
        pictures = sum(o.said == "picture" for o in done)
        print(
            f"{name}: {pictures} pictures, {len(done) - pictures - len(failed)} sentences, "
            f"{len(failed)} failures; at most {max(o.peak for o in done) / 2**20:.0f} MiB, "
            f"{max(o.seconds for o in done):.1f} s, mean {sum(o.seconds for o in done) / len(done):.3f} s",
            flush=True,
        )
        for o in failed:
            print(f"  {o.name} {o.seed}: {o.failed}", flush=True)
    watched.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Seeded damage to a file: bytes anywhere, numbers in headers, entries of TIFF directories, text."""

from __future__ import annotations

import random
import re
import struct
import zlib
from pathlib import Path


def _place(data: bytearray, rng: random.Random) -> int:
    """Most damage goes where the headers are: near the start, then the end."""
    size, draw = max(1, len(data)), rng.random()
    if draw < 0.45:
        return rng.randrange(min(size, 600))
    if draw < 0.65:
        return min(size - 1, int(size ** rng.random()))
    if draw < 0.8:
        return size - 1 - min(size - 1, int(size ** rng.random()))
    return rng.randrange(size)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(1, max(2, len(data))) :]


def _bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _number(data: bytearray, rng: random.Random) -> None:
    """A number of 1 to 8 bytes becomes none, huge, negative or any."""
    at, bits = _place(data, rng), rng.choice((8, 16, 16, 32, 32, 64))
    value = rng.choice(
        (
            *(0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 10**9, 65535, 4096),
            *(rng.getrandbits(bits), rng.getrandbits(bits // 2)),
        )
    )
    raw = (value % 2**bits).to_bytes(bits // 8, rng.choice(("little", "big")))
    data[at : at + len(raw)] = raw[: len(data) - at]


def _fill(data: bytearray, rng: random.Random) -> None:
    at, n = _place(data, rng), rng.choice((4, 16, 64, 1024))
    kind = rng.choice((b"\0", b"\xff", None))
    data[at : at + n] = rng.randbytes(n) if kind is None else kind * n


def _splice(data: bytearray, rng: random.Random) -> None:
    n = rng.choice((4, 12, 64, 500))
    a, b = _place(data, rng), _place(data, rng)
    data[a : a + n] = data[b : b + n]


def _duplicate(data: bytearray, rng: random.Random) -> None:
    n, a = rng.choice((1, 4, 64, 500)), _place(data, rng)
    data[a:a] = data[a : a + n]


def _remove(data: bytearray, rng: random.Random) -> None:
    n, a = rng.choice((1, 4, 64, 500)), _place(data, rng)
    del data[a : a + n]


def _tag(data: bytearray, rng: random.Random) -> None:
    """One entry of a TIFF directory gets another type, count or value; or a next directory."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        return _number(data, rng)
    big = data[2:4] in (b"+\0", b"\0+")
    word, head, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    at, found = struct.unpack_from(order + word, data, 8 if big else 4)[0], []
    while 0 < at < len(data) - 8 and at not in found and len(found) < 8:
        found.append(at)
        (count,) = struct.unpack_from(order + head, data, at)
        end = at + struct.calcsize(head) + count * size
        if end + 8 > len(data):
            break
        (at,) = struct.unpack_from(order + word, data, end)
    at = rng.choice(found or [8])
    (count,) = struct.unpack_from(order + head, data, at)
    entry = at + struct.calcsize(head) + size * rng.randrange(min(count, 99) + 1)
    place, width = rng.choice(((0, 2), (2, 2), (4, 4), (size - 4, 4), (size - 4, 4)))
    values = (0, 1, 2, 65535, 2**31, 2**32 - 1, 10**9, at, len(data), rng.getrandbits(16))
    raw = (rng.choice(values) % 256**width).to_bytes(width, "little" if order == "<" else "big")
    if entry + size <= len(data):
        data[entry + place : entry + place + width] = raw
    return None


def _text(data: bytearray, rng: random.Random) -> None:
    """One number or word of a text (JSON, XML, a NumPy header) becomes another."""
    found = list(re.finditer(rb'-?\b\d+(?:\.\d+)?\b|"[^"\n]{0,80}"|\btrue\b|\bnull\b', data))
    if not found:
        return _number(data, rng)
    match = rng.choice(found)
    other = rng.choice(found)[0]
    values = (b"0", b"-1", b"1e999", b"1000000000", b"18446744073709551616", b"null", b"[]", b"{}")
    data[match.start() : match.end()] = rng.choice((*values, b'""', b'"../x"', b"0.5", other))
    return None


MUTATIONS = (_truncate, _bits, _bits, _number, _number, _fill, _splice, _duplicate, _remove)


def mutate(folder: Path, rng: random.Random) -> None:
    """Damage one file below `folder` (small ones, the headers of a Zarr, as often as large ones)."""
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    if rng.random() < 0.03 and sum(1 for p in folder.rglob("*") if p.is_file()) > 1:
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    special = _tag if data[:2] in (b"II", b"MM") else _text
    is_text = path.suffix in (".json", ".vms", ".npy") or path.name.startswith(".z")
    share = 0.5 if special is _tag or is_text else 0.05
    for _ in range(rng.choice((1, 1, 2, 3))):
        if data:
            (special if rng.random() < share else rng.choice(MUTATIONS))(data, rng)
    if data[:4] == b"\x89PNG" and rng.random() < 0.7:
        _repair_png(data)
    path.write_bytes(data)


def _repair_png(data: bytearray) -> None:
    """Right check sums, so that damage gets further than the first chunk."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        body = data[at + 4 : at + 8 + length]
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(body))
        at += 12 + length

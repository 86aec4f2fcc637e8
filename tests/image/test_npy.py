"""NumPy files: windows of a memory map against the array that was saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrviz.errors import HrvizError
from hrviz.image import open_image
from hrviz.image.readers import open_reader
from hrviz.image.readers.array_axes import guess_axes

from .conftest import assert_reads, picture

RNG = np.random.default_rng(0)
DTYPES = ["bool", *(f"{k}{n}" for k in "iu" for n in (1, 2, 4, 8)), "f2", "f4", "f8", ">i4", ">f8"]


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def refusal(path: Path, index: str = "") -> str:
    with pytest.raises(HrvizError) as caught:
        open_reader(f"{path}{index}")
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_types_and_orders(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray(RNG.random((90, 130)) * 200 - 50, order=order).astype(dtype, order=order)
    reader = open_reader(saved(tmp_path / "a.npy", array))
    expected = array.astype(np.uint8) * 255 if dtype == "bool" else array
    assert reader.dtype == expected.dtype.newbyteorder("=")
    assert_reads(reader, (expected[..., None],))
    assert ("Fortran" in reader.metadata["format"]) == (order == "F")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((60, 70), "yx"),
        ((60, 70, 1), "yxc"),
        ((60, 70, 3), "yxc"),
        ((60, 70, 4), "yxc"),
        ((2, 60, 70), "cyx"),
        ((9, 60, 70), "tyx"),
        ((9, 60, 70, 3), "tyxc"),
        ((9, 3, 60, 70), "tcyx"),
        ((9, 8, 60, 70), "tzyx"),
        ((9, 8, 20, 30, 3), "tzyxc"),
        ((9, 3, 8, 20, 30), "tczyx"),
        ((1, 1), "yx"),
        ((3, 5, 4), "yxc"),
    ],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    """Every rule, against plain indexing; films and stacks at two places."""
    assert guess_axes(shape) == axes
    array = RNG.integers(0, 60000, shape).astype(np.uint16)
    path = saved(tmp_path / "a.npy", array)
    lead = [a for a in axes if a in "tz"]
    for at in (dict.fromkeys(lead, 0), {a: shape[axes.index(a)] - 1 for a in lead}):
        address = str(path) + ("#" + "&".join(f"{a}={n}" for a, n in at.items()) if at else "")
        reader = open_reader(address)
        assert reader.axes == {a: shape[axes.index(a)] for a in lead}
        assert reader.at == at
        plane = array[tuple(at.get(a, slice(None)) for a in axes)]
        left = [a for a in axes if a in "yxc"]
        plane = np.moveaxis(plane, left.index("c"), -1) if "c" in left else plane[..., None]
        assert_reads(reader, (plane,))


def test_frames_have_their_own_identity(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", RNG.integers(0, 255, (5, 60, 70)).astype(np.uint8))
    image = open_image(path)
    other = image.at(t=3)
    assert other.identity != image.identity
    assert (other.window(0, 0, 0, 60, 70) != image.window(0, 0, 0, 60, 70)).any()
    assert "choose 0 to 4" in refusal(path, "#t=5")


def test_nothing_is_loaded_on_opening(tmp_path: Path) -> None:
    """A file of 3 GB that takes no place on disk opens and reads at once."""
    path = tmp_path / "sparse.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(20_000, 20_000)).flush()
    image = open_image(path)
    assert image.window(0, 19_900, 19_900, 100, 100).max() == 0
    assert image.levels_info[0].tile == (512, 512)


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    assert "never loads" in refusal(tmp_path / "a.npy")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((4, 4), complex), "complex128"),
        (np.zeros((4, 4), [("a", "u1"), ("b", "f4")]), "record"),
        (np.zeros((4, 4), "U3"), "<U3"),
        (np.zeros((4, 4), "M8[s]"), "datetime64"),
        (np.zeros((4, 4), np.longdouble), "float128"),
        (np.zeros(7), "no picture (shape (7,))"),
        (np.zeros(()), "no picture (shape ())"),
        (np.zeros((0, 5)), "no picture (shape (0, 5))"),
        (np.zeros((9, 8, 7, 6, 9)), "5 axes (9 x 8 x 7 x 6 x 9)"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, array: np.ndarray, expected: str) -> None:
    assert expected in refusal(saved(tmp_path / "a.npy", array))


@pytest.mark.parametrize("size", [7, 20, 100, 130, 5000])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path / "a.npy", picture(60, 70))
    path.write_bytes(path.read_bytes()[:size])
    text = refusal(path)
    assert "truncated" in text
    assert size < 128 or f"has {size:,}" in text


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 4), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999), }",
        "{'descr': __import__('os').mkdir('x'), 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': '<f8'}",
        "[" * 5000,
    ],
)
def test_hostile_headers(tmp_path: Path, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = header.encode().ljust(118 if len(header) < 118 else len(header)) + b"\n"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (tmp_path / "a.npy").write_bytes(head + bytes(1000))
    refusal(tmp_path / "a.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_closed(tmp_path: Path) -> None:
    reader = open_reader(saved(tmp_path / "a.npy", picture(60, 70)))
    reader.close()
    with pytest.raises(HrvizError, match="closed"):
        reader.read(0, 0, 0, 4, 4)

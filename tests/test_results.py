"""Results check themselves, survive saving, and give plain numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrviz import results as r
from hrviz.errors import HrvizError
from hrviz.geometry import Box

BOX = Box(10, 20, 110, 220)
NODES = np.stack(
    np.meshgrid(np.linspace(10.5, 109.5, 4), np.linspace(20.5, 219.5, 5), indexing="ij"), -1
)
GRID = r.WarpGrid(NODES, BOX, (8, 16))
RGB = np.random.default_rng(0).random((4, 6, 3)).astype(np.float32)
ATTENTION = np.full((2, 3, 4, 5), 1 / 20)


def all_results() -> dict[str, r.Result]:
    """At least one of every type, with every optional field used somewhere."""
    return {
        "Picture": r.Picture(RGB, BOX),
        "Picture warped": r.Picture((RGB * 255).astype(np.uint8), grid=GRID),
        "HeatMap": r.HeatMap(RGB[..., 0], BOX, "x", "um", "diverging", -1.0, np.float32(2), "oracle"),
        "HeatMap unknown": r.HeatMap(np.full((2, 2), np.nan, np.float32), BOX),
        "LabelMap": r.LabelMap(np.array([[0, 1], [1, 2]]), BOX, ("a", "b", "c"), "truth"),
        "AttentionMap": r.AttentionMap(ATTENTION, BOX),
        "WarpGrid": r.WarpGrid(NODES, BOX, (np.int64(8), np.int64(16))),
        "Boxes": r.Boxes(np.array([[0, 1, 2, 3.0]]), np.array([0.5]), np.array([1]), ("a", "b"), "net"),
        "Boxes none": r.Boxes(np.zeros((0, 4)), np.zeros(0)),
        "Points": r.Points(np.array([[1.0, 2.0], [9.0, 4.0]]), np.array([3.0, 4.0]), np.array([0, 0]), ("cell",)),
        "ZoomTree": r.ZoomTree(
            (r.Node(0, None, BOX, 16, "zoomed", 0.5, "why"), r.Node(3, 0, BOX, 4, "skipped by budget"))
        ),
        "ZoomTree empty": r.ZoomTree(()),
        "Graph": r.Graph(np.array([[1.0, 2], [3, 4]]), np.array([[0, 1]]), np.array([1.0, 2.0])),
        "TokenPattern": r.TokenPattern(np.array([BOX, BOX], float), np.eye(2, dtype=bool)),
        "Partition": r.Partition(np.array([BOX], float), np.array([1]), ("left", "right")),
        "Compressed": r.Compressed(np.ones((2, 3, 4)), BOX, 100, 7, r.Picture(RGB, BOX)),
        "Prediction": r.Prediction({"result": 0.5, "arrays": 1.0, "zarr": 2.0}, "um2", {"result": 1.0}, "net"),
        "Prediction numpy": r.Prediction({"iou": np.float32(0.5), "n": np.int64(3)}),
        "Curve": r.Curve(np.arange(3.0), {"a.b": np.ones(3), "c": np.zeros(3)}, "px", "B", True, "formula", True),
        "ReadMap": r.ReadMap(np.array([[0, 0, 10, 10, 0.0], [0, 0, 40, 40, 2]]), 200, 500, 10_000),
        "Cost": r.Cost((r.Quantity("flops", 1e9, "FLOP", "formula", "note"), r.Quantity("seconds", 0.1, "s", "measured"))),
    }  # fmt: skip


EXAMPLES = all_results()


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, r.Result):
        return type(a) is type(b) and all(equal(v, getattr(b, k)) for k, v in vars(a).items())
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, Box) or isinstance(b, Box):
        return isinstance(a, Box) and isinstance(b, Box) and a == b
    kind = int | float | np.generic if isinstance(a, np.generic) else type(a)
    return bool(a == b) and isinstance(b, kind)


def plain(value: Any) -> bool:
    """Whether JSON takes it as it is, and tells it as the number that it is."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def test_every_type_is_here() -> None:
    assert {type(v).__name__ for v in EXAMPLES.values()} == set(r.TYPES) - {"Result"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_saving_and_loading_gives_the_same(name: str, tmp_path: Path) -> None:
    result = EXAMPLES[name]
    result.save(tmp_path / "step 1.2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step 1.2.json", "step 1.2.npz"]
    assert equal(result, r.Result.load(tmp_path / "step 1.2"))
    assert equal(result, r.Result.from_parts(*result.to_parts()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_summaries_are_plain_numbers(name: str) -> None:
    summary = EXAMPLES[name].summary()
    assert plain(json.loads(r.json_text(summary)))
    if name != "Prediction numpy":
        assert plain(summary), summary
    json.loads(r.json_text(summary), parse_constant=lambda text: pytest.fail(text))


@pytest.mark.parametrize("name", EXAMPLES)
def test_results_are_frozen(name: str) -> None:
    with pytest.raises(AttributeError):
        EXAMPLES[name].source = "mine"  # type: ignore[attr-defined]


def test_a_canvas_on_disk_is_copied_when_saved(tmp_path: Path) -> None:
    """The canvas of a run lives in a temporary folder: what is saved must outlive it."""
    import shutil

    import zarr

    place = tmp_path / "run" / "values"
    canvas = zarr.create_array(
        str(place), shape=(70, 90), chunks=(32, 32), dtype="float32", fill_value=np.nan
    )
    canvas[:40, :50] = 0.25
    heat = r.HeatMap(canvas, BOX)
    again = r.Result.from_parts(*heat.to_parts())  # to another process, by address
    np.testing.assert_array_equal(again.values[:, :], canvas[:, :])
    out = tmp_path / "out"
    out.mkdir()
    heat.save(out / "map")
    heat.save(out / "map")  # again, over the first
    shutil.rmtree(tmp_path / "run")
    shutil.move(out, tmp_path / "moved")
    loaded = r.Result.load(tmp_path / "moved" / "map")
    values = np.asarray(loaded.values[:, :])
    assert np.isfinite(values).sum() == 40 * 50
    assert loaded.summary()["max"] == 0.25
    assert sorted(p.name for p in (tmp_path / "moved").iterdir()) == [
        "map.json",
        "map.npz",
        "map.values.zarr",
    ]


def test_nothing_half_written(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        r.write_whole(tmp_path / "a.json", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_json_has_no_nan() -> None:
    text = r.json_text(
        {"a": np.float32("nan"), "b": [np.inf, np.int8(3), True, None], 4: Path("x")}
    )
    assert json.loads(text) == {"a": None, "b": [None, 3, True, None], "4": "x"}


BAD = {
    "grey picture": lambda: r.Picture(np.zeros((3, 3))),
    "empty picture": lambda: r.Picture(np.zeros((0, 3, 3))),
    "integer picture": lambda: r.Picture(np.zeros((3, 3, 3), int)),
    "bright picture": lambda: r.Picture(np.full((3, 3, 3), 2.0)),
    "nan picture": lambda: r.Picture(np.full((3, 3, 3), np.nan)),
    "picture on nothing": lambda: r.Picture(RGB, Box(0, 0, 0, 5)),
    "heat map of integers": lambda: r.HeatMap(np.zeros((2, 2), int), BOX),
    "heat map with axes": lambda: r.HeatMap(np.zeros((2, 2, 1)), BOX),
    "infinite heat map": lambda: r.HeatMap(np.full((2, 2), np.inf), BOX),
    "scale": lambda: r.HeatMap(np.zeros((2, 2)), BOX, scale="log"),  # type: ignore[arg-type]
    "box with nan": lambda: r.HeatMap(np.zeros((2, 2)), Box(0, 0, np.nan, 1)),
    "label without class": lambda: r.LabelMap(np.array([[3]]), BOX, ("a",)),
    "negative label": lambda: r.LabelMap(np.array([[-1]]), BOX, ("a",)),
    "attention sums to 2": lambda: r.AttentionMap(ATTENTION * 2, BOX),
    "negative attention": lambda: r.AttentionMap(-ATTENTION, BOX, normalised=False),
    "one node": lambda: r.WarpGrid(NODES[:1], BOX, (3, 3)),
    "float32 nodes": lambda: r.WarpGrid(NODES.astype(np.float32), BOX, (3, 3)),
    "nan nodes": lambda: r.WarpGrid(NODES * np.nan, BOX, (3, 3)),
    "no output": lambda: r.WarpGrid(NODES, BOX, (0, 3)),
    "turned box": lambda: r.Boxes(np.array([[5, 5, 1, 9.0]])),
    "scores": lambda: r.Boxes(np.array([[0, 0, 1, 1.0]]), np.zeros(2)),
    "points": lambda: r.Points(np.zeros((3, 3))),
    "orphan": lambda: r.ZoomTree((r.Node(1, 0, BOX, 1, "zoomed"),)),
    "twin": lambda: r.ZoomTree((r.Node(1, None, BOX, 1, "zoomed"),) * 2),
    "decision": lambda: r.Node(1, None, BOX, 1, "eaten"),
    "edge to nowhere": lambda: r.Graph(np.zeros((2, 2)), np.array([[0, 2]])),
    "mask": lambda: r.TokenPattern(np.zeros((2, 4)), np.zeros((2, 2))),
    "part": lambda: r.Partition(np.zeros((1, 4)), np.array([1]), ("a",)),
    "negative part": lambda: r.Partition(np.zeros((1, 4)), np.array([-1]), ("a",)),
    "negative label of a box": lambda: r.Boxes(
        np.zeros((1, 4)), labels=np.array([2]), classes=("a",)
    ),
    "free lunch": lambda: r.Compressed(np.zeros((1, 1, 1)), BOX, 5, 0),
    "no number": lambda: r.Prediction({}),
    "nan number": lambda: r.Prediction({"a": float("nan")}),
    "ragged curve": lambda: r.Curve(np.zeros(3), {"a": np.zeros(2)}),
    "tag": lambda: r.Quantity("a", 1, "s", "guessed"),  # type: ignore[arg-type]
    "twice": lambda: r.Cost((r.Quantity("a", 1, "s", "measured"),) * 2),
    "nameless step": lambda: r.Step("", EXAMPLES["Picture"]),
    "step of an array": lambda: r.Step("a", RGB),  # type: ignore[arg-type]
    "progress": lambda: r.Step("a", EXAMPLES["Picture"], progress=1.2),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(HrvizError):
        BAD[name]()


def test_heat_map_values_under_points() -> None:
    heat = r.HeatMap(np.arange(6, dtype=np.float32).reshape(2, 3), Box(100, 0, 120, 30))
    points = np.array(
        [[100, 0], [109.9, 9.9], [110, 10], [119.9, 29.9], [120, 0], [99.9, 0], [105, 30]]
    )
    np.testing.assert_array_equal(heat.at(points), [0, 0, 4, 5, np.nan, np.nan, np.nan])
    assert heat.at(np.zeros((0, 2))).shape == (0,)


def test_colour_ranges_are_never_empty() -> None:
    def of(values: list, **options: Any) -> tuple[float, float]:
        return r.HeatMap(np.array([values]), BOX, **options).range

    assert of([1.0, 3.0]) == (1, 3)
    assert of([2.0, 2.0]) == (2, 3)
    assert of([np.nan]) == (0, 1)
    assert of([-1.0, 3.0], scale="diverging") == (-3, 3)
    assert of([0.0], scale="diverging") == (-1, 1)
    assert of([0.2, 0.9], low=0, high=1) == (0, 1)


def test_read_maps_lie_on_the_image() -> None:
    from fake_images import image_of

    view = image_of(np.zeros((250, 330, 3), np.uint8), halved=1, tile=(100, 100)).view()
    view.image.window(1, 0, 100, 125, 65, view.reads)
    reads = r.ReadMap.from_log(view.reads)
    np.testing.assert_array_equal(reads.tiles, [[0, 200, 200, 330, 1], [200, 200, 250, 330, 1]])
    assert reads.summary()["pixels_read"] == 125 * 65
    assert reads.summary()["share_of_image"] == pytest.approx(125 * 65 / (250 * 330))
    assert reads.summary()["tiles_by_level"] == {"1": 2}

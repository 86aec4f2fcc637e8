"""What all results share: checking themselves, summaries, saving whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box

Tag = Literal["measured", "predicted", "formula"]
TYPES: dict[str, type[Result]] = {}
#: Small records that results hold in tuples, by name: they are saved with the result.
RECORDS: dict[str, Any] = {}
STRIP = 256  # rows of a Zarr canvas read at a time


def require(condition: bool, message: str) -> None:
    """Raise an `HrvizError` unless the condition holds."""
    if not condition:
        raise HrvizError(message)


def finite(array: np.ndarray, what: str) -> None:
    """Refuse NaN and infinite values."""
    require(bool(np.isfinite(array).all()), f"{what} holds NaN or infinite values")


@dataclass(frozen=True, eq=False)
class Result:
    """Base of all results: registration, summary, saving."""

    def __init_subclass__(cls) -> None:
        TYPES[cls.__name__] = cls

    def summary(self) -> dict[str, Any]:
        """Plain numbers and short strings that describe the result."""
        raise NotImplementedError  # pragma: no cover - every type below has its own

    def to_parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able fields and arrays, from which `from_parts` rebuilds the result."""
        plain: dict[str, Any] = {"type": type(self).__name__}
        arrays: dict[str, np.ndarray] = {}
        for f in fields(self):
            _split(f.name, getattr(self, f.name), plain, arrays)
        return plain, arrays

    @staticmethod
    def from_parts(plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Result:
        """Rebuild a result; the inverse of `to_parts`."""
        kind = TYPES[plain["type"]]
        # a field that was not saved is newer than the file: its default stands
        known = (f.name for f in fields(kind) if f.name in plain or f.name in arrays)
        return kind(**{name: _join(name, plain, arrays) for name in known})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `path`.json and `path`.npz, each whole or not at all."""
        path = Path(path)
        plain, arrays = self.to_parts()
        for name, value in plain.items():
            if (
                isinstance(value, dict) and "$zarr" in value
            ):  # a canvas lives only as long as its run
                plain[name] = {"$zarr": _keep_canvas(value["$zarr"], path, name)}
        write_whole(path.with_name(path.name + ".npz"), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
        text = json.dumps(plain, indent=1, default=_number)
        write_whole(path.with_name(path.name + ".json"), lambda file: file.write(text.encode()))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Result:
        """Read what `save` wrote (never a pickle)."""
        path = Path(path)
        plain = json.loads(path.with_name(path.name + ".json").read_text())
        for name, value in plain.items():
            if isinstance(value, dict) and "$zarr" in value:
                plain[name] = {"$zarr": str(path.parent / value["$zarr"])}
        with np.load(path.with_name(path.name + ".npz"), allow_pickle=False) as arrays:
            return Result.from_parts(plain, dict(arrays))


def _keep_canvas(address: str, path: Path, name: str) -> str:
    """Copy a Zarr canvas beside the saved result, whole or not at all; returns its file name."""
    target = path.with_name(f"{path.name}.{name}.zarr")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".canvas-") as folder:
        copy = shutil.copytree(address.removeprefix("file://"), Path(folder) / "canvas")
        shutil.rmtree(target, ignore_errors=True)
        copy.replace(target)
    return target.name


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def json_text(value: Any) -> str:
    """Strict JSON of nested plain values: NumPy scalars as numbers, NaN and infinity as null."""

    def clean(v: Any) -> Any:
        if isinstance(v, np.generic):
            v = v.item()
        if isinstance(v, dict):
            return {str(k): clean(item) for k, item in v.items()}
        if isinstance(v, list | tuple):
            return [clean(item) for item in v]
        if isinstance(v, float) and not math.isfinite(v):
            return None
        return v if v is None or isinstance(v, bool | int | float | str) else str(v)

    return json.dumps(clean(value), indent=1, allow_nan=False)


def write_whole(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file under another name and rename it, so that nobody ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        mask = os.umask(0)  # there is no other way to read it
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # mkstemp makes private files
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _split(name: str, value: Any, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    if isinstance(value, np.ndarray):
        arrays[name] = value
    elif hasattr(value, "shape") and hasattr(value, "chunks"):  # a Zarr canvas: by its address
        plain[name] = {"$zarr": str(value.store_path)}
    elif isinstance(value, Result):
        inner, inner_arrays = value.to_parts()
        plain[name] = {"$result": inner}
        arrays.update({f"{name}.{k}": v for k, v in inner_arrays.items()})
    elif isinstance(value, tuple) and value and type(value[0]).__name__ in RECORDS:
        plain[name] = {"$records": [vars(v) for v in value], "of": type(value[0]).__name__}
    elif isinstance(value, dict) and any(isinstance(v, np.ndarray) for v in value.values()):
        plain[name] = {"$arrays": list(value)}
        arrays.update({f"{name}.{k}": np.asarray(v) for k, v in value.items()})
    else:
        plain[name] = value


def _join(name: str, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    if name in arrays:
        return arrays[name]
    value = plain.get(name)
    if isinstance(value, dict):
        if "$result" in value:
            inner = {k[len(name) + 1 :]: v for k, v in arrays.items() if k.startswith(name + ".")}
            return Result.from_parts(value["$result"], inner)
        if "$arrays" in value:
            return {k: arrays[f"{name}.{k}"] for k in value["$arrays"]}
        if "$records" in value:
            kind = RECORDS[value["of"]]
            return tuple(
                kind(**{k: Box(*v) if k == "box" else v for k, v in record.items()})
                for record in value["$records"]
            )
        if "$zarr" in value:
            import zarr

            return zarr.open_array(value["$zarr"], mode="r")
    if isinstance(value, list):
        return Box(*value) if name == "box" else tuple(value)
    return value


def check_box(box: Any, what: str) -> None:
    """Refuse what is no box with positive sides."""
    require(
        len(box) == 4 and all(np.isfinite(box)) and box[2] > box[0] and box[3] > box[1],
        f"{what} needs a box (y0, x0, y1, x1) with positive sides, not {tuple(box)}",
    )


def check_named(index: np.ndarray, names: tuple[str, ...], what: str) -> None:
    """Refuse indices that name nothing."""
    inside = index.size == 0 or (index.min() >= 0 and index.max() < len(names))
    require(bool(inside), f"{what} is the place of one of {len(names)} names")

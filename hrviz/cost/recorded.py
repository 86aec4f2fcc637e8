"""Memory that was measured on real GPUs, beside what was predicted: tables that `benchmarks/gpu_memory.py` wrote.

They are records of a day and a device, to be shown as such and never as measured now. There may be none.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hrviz.errors import HrvizError
from hrviz.results.base import write_whole

FOLDER = Path(__file__).with_name("recorded")
CLOSE = 0.1  # a prediction within a tenth of what was measured


@dataclass(frozen=True)
class Record:
    """One network at one input on one device.

    Parameters
    ----------
    device : str
        As CUDA names it.
    date : str
        ISO.
    torch : str
        Version.
    network, part : str
        As in `hrviz.cost.declared.Call`.
    shape : str
        Of the batch, such as '1x3x512x512'.
    training : bool
    optimiser : str
        '' for none.
    dtype : str
    tensors, allocated, reserved : int, bytes
        Predicted: `peak`, `allocated` and `reserved` of a `Measure`.
    measured_allocated, measured_reserved : int, bytes
        `torch.cuda.max_memory_allocated` and `max_memory_reserved` in a process of its own; 0 where
        the device was too small.
    """

    device: str
    date: str
    torch: str
    network: str
    part: str
    shape: str
    training: bool
    optimiser: str
    dtype: str
    tensors: int
    allocated: int
    reserved: int
    measured_allocated: int
    measured_reserved: int

    @property
    def fitted(self) -> bool:
        """Whether the device was large enough."""
        return self.measured_allocated > 0

    @property
    def error(self) -> float:
        """Predicted over measured, less 1, of allocated memory; nan where it did not fit."""
        return self.allocated / self.measured_allocated - 1 if self.fitted else float("nan")

    @property
    def source(self) -> str:
        """What front ends write beside it."""
        return f"recorded on {self.device}, {self.date}, torch {self.torch}"


def read(folder: Path = FOLDER) -> tuple[Record, ...]:
    """All records, device by device; none where no table was recorded yet.

    Raises
    ------
    HrvizError
        One sentence: a table that is damaged.
    """
    out: list[Record] = []
    for path in sorted(folder.glob("*.csv")):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                out += [_record(row) for row in csv.DictReader(file)]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise HrvizError(f"{path} is no table of recorded memory ({error}): record it again with benchmarks/gpu_memory.py") from None  # fmt: skip
    return tuple(out)


def of(network: str, folder: Path = FOLDER) -> tuple[Record, ...]:
    """Records of one network."""
    return tuple(r for r in read(folder) if r.network == network)


def write(records: Sequence[Record], folder: Path = FOLDER) -> Path:
    """Write the table of one device, in place of the one that there was.

    Parameters
    ----------
    records : sequence of Record
        All of one device.
    folder : Path

    Returns
    -------
    Path
    """
    import io

    (device,) = {r.device for r in records}
    name = "-".join("".join(c if c.isalnum() else " " for c in device.lower()).split())
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Record)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: int(v) if isinstance(v, bool) else v for k, v in asdict(r).items()} for r in records)  # fmt: skip
    path = folder / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))
    return path


def agreement(records: Iterable[Record]) -> tuple[float, float]:
    """Median of the absolute error, and the share within `CLOSE`, of what fitted; nan of nothing."""
    errors = [abs(r.error) for r in records if r.fitted]
    if not errors:
        return float("nan"), float("nan")
    return statistics.median(errors), sum(e <= CLOSE for e in errors) / len(errors)


def _record(row: dict[str, str]) -> Record:
    plain = {f.name: row[f.name] for f in fields(Record)}
    numbers = ("tensors", "allocated", "reserved", "measured_allocated", "measured_reserved")
    return Record(**plain | {n: int(plain[n]) for n in numbers} | {"training": bool(int(plain["training"]))})  # type: ignore[arg-type]  # fmt: skip

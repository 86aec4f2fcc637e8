"""Metered costs on disk, named by their content: network, settings, torch, and the meter's source."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrviz.cost.measure import Measure
from hrviz.results.base import write_whole

if TYPE_CHECKING:
    from torch import nn


def fingerprint(module: nn.Module) -> str | None:
    """What a module is: its classes' files, settings and the shapes of its weights.

    None where that cannot be told: classes typed into a notebook, hooks, settings that are objects.
    Code that its files import from elsewhere is not looked at.
    """
    from torch import nn

    ordinary = vars(nn.Module()).keys()
    parts: list[Any] = []
    for name, m in module.named_modules():
        files = [_file(cls) for cls in type(m).__mro__ if cls.__module__.partition(".")[0] not in ("torch", "builtins")]  # fmt: skip
        own = {k: v for k, v in vars(m).items() if k not in ordinary}
        hooked = any(vars(m)[k] for k in ordinary if k.endswith("_hooks"))
        if hooked or None in files or not all(_plain(v) for v in own.values()):
            return None
        parts.append([name, type(m).__qualname__, files, sorted((k, repr(v)) for k, v in own.items())])  # fmt: skip
    for name, t in (*module.named_parameters(), *module.named_buffers()):
        parts.append([name, list(t.shape), list(t.stride()), str(t.dtype), t.requires_grad])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(v) for v in value)
    return value is None or isinstance(value, bool | int | float | str)


@cache
def _file(cls: type) -> str | None:
    """Hash of the file that a class is written in; None where there is none."""
    try:
        path = Path(inspect.getsourcefile(cls) or "")
        if cls.__module__ == "__main__" or "ipykernel" in path.name:
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None


@cache
def _source() -> str:
    """Hash of what meters: what was kept by another meter is not used."""
    here = Path(__file__).parent
    names = ("allocator", "backward", "flops", "measure", "meter", "models", "trace")
    return hashlib.sha256(b"".join((here / f"{n}.py").read_bytes() for n in names)).hexdigest()


def folder() -> Path:
    """Where metered costs are kept: `HRVIZ_COSTS`, else in the user's cache folder."""
    given = os.environ.get("HRVIZ_COSTS")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("hrviz") / "costs"


def path(content: str | None, asked: tuple[Any, ...]) -> Path | None:
    """File of one metering; None where the network is not known by its content.

    Parameters
    ----------
    content : str or None
        What the network is.
    asked : tuple
        Input and settings.
    """
    if content is None:
        return None
    import torch

    name = json.dumps([content, _source(), torch.__version__, *asked])
    return folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def read(path: Path | None) -> Measure | None:
    """What was kept; None where there is nothing, or nothing that can be read."""
    try:
        return Measure.from_json(json.loads(path.read_text())) if path is not None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path | None, found: Measure) -> None:
    """Keep it; a folder that cannot be written is told and passed over."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found.to_json())
        write_whole(path, lambda file: file.write(text.encode()))
    except OSError as error:  # a cache that cannot be written is no cache
        logging.getLogger(__name__).warning("cannot keep metered costs: %s", error)

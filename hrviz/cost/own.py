"""Networks of the user's own, for their cost: TorchScript and ONNX files, and classes by import path.

A pickle is never read: not a pickled module, not a checkpoint, not an exported program, which may
hold pickles. Weights change no cost, so a checkpoint (safetensors) is only held against the network:
does it fit?
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrviz.cost import kept
from hrviz.cost.curves import Fit, Scaling, scaling, search, smallest
from hrviz.cost.declared import Call
from hrviz.cost.measure import Measure
from hrviz.cost.study import Part, Point, Setting
from hrviz.errors import HrvizError

if TYPE_CHECKING:
    from torch import nn

    from hrviz.cost.onnx_graph import OnnxNetwork

CHANNELS = 3
FILES = {".pt", ".pt2", ".pth", ".ts", ".torchscript", ".jit", ".onnx", ".ckpt", ".pkl", ".pickle", ".bin", ".safetensors", ".h5", ".pb", ".tflite"}  # fmt: skip
ALLOWED = "TorchScript (.pt), ONNX (.onnx) or package.module:Class"
#: sizes added to `BASE` to find out what sides must be a multiple of
BASE, STEPS = 256, (1, 2, 4, 8, 16, 32, 64)
Shapes = dict[str, tuple[int, ...]]


def is_own(text: str) -> bool:
    """Whether a name on the command line is a file or an import path, not a method or named network."""
    return ":" in text or os.sep in text or Path(text).suffix.lower() in FILES


@dataclass
class Own:
    """A network of the user's own.

    Attributes
    ----------
    name : str
        Of its file or class.
    content : str or None
        What it is, for the disk.
    build : torch.nn.Module or callable or None
        The module, or what makes it; None of an ONNX file.
    graph : OnnxNetwork or None
    channels : int
        Of its input.
    """

    name: str
    content: str | None
    build: nn.Module | Callable[[], nn.Module] | None = None
    graph: OnnxNetwork | None = None
    channels: int = CHANNELS
    _asked: dict[Setting, Scaling] = field(default_factory=dict, repr=False)

    def measure(self, side: int, setting: Setting) -> Measure:
        """Cost at one side of a square input.

        Raises
        ------
        HrvizError
            One sentence: what the meter refuses.
        """
        if self.graph is None:
            try:
                return self._scaling(setting).at(side)
            except HrvizError as error:
                raise _scripted(self.name, error) from None
        if setting.training:
            raise HrvizError(
                f"{self.name} is an ONNX file, which holds inference alone: meter training from its "
                "torch module, as package.module:Class or TorchScript"
            )
        shape = (setting.batch, self.channels, side, side)
        path = kept.path(self.content, (list(shape), setting.dtype))
        found = kept.read(path)
        if found is None:
            found = self.graph.measure(shape, setting.dtype)
            kept.write(path, found)
        return found

    def _scaling(self, setting: Setting) -> Scaling:
        if setting not in self._asked:
            from torch import nn

            options: dict[str, Any] = {
                "name": self.name, "content": self.content, "channels": self.channels,
                "batch": setting.batch, "dtype": setting.dtype, "training": setting.training,
                "optimiser": setting.optimiser,
            }  # fmt: skip
            build = self.build
            if isinstance(build, nn.Module):
                self._asked[setting] = scaling(build, **options)
            else:
                assert build is not None
                made = scaling(lambda _: build(), **options)
                made.fixed = True
                self._asked[setting] = made
        return self._asked[setting]

    def at(self, side: int, setting: Setting) -> Point:
        """`measure` as studies have it."""
        m = self.measure(side, setting)
        pixels = float(side) ** 2 * setting.batch
        call = Call(self.name, (1, self.channels, side, side), task=True)
        return Point(
            subject=self.name, side=side, parameters=float(m.parameters), flops=float(m.flops),
            peak=m.peak, allocated=m.allocated, needed=m.needed, reserved=m.reserved, pixels=pixels,
            network_pixels=pixels, split=dict(m.split), parts=(Part(call, m),), tag="predicted",
        )  # fmt: skip

    def largest(self, budget: int, setting: Setting, of: str = "needed") -> Fit:
        """The largest square image that a budget holds, in steps of what the network takes."""
        step = self.step(setting)

        def takes(k: int) -> int:
            return int(getattr(self.measure(k * step, setting), of))

        return search(takes, step, budget, smallest(takes))

    def step(self, setting: Setting) -> int:
        """What sides must be a multiple of, found by trying."""
        for step in STEPS:
            try:
                self.measure(BASE + step, setting)
            except HrvizError as error:
                why = error
            else:
                return step
        raise why

    @cached_property
    def shapes(self) -> Shapes:
        """Of the state dict, without the weights themselves."""
        import torch
        from torch import nn

        if self.build is None:
            raise HrvizError(f"{self.name} is an ONNX file, which has its weights: leave --weights out")  # fmt: skip
        if isinstance(self.build, nn.Module):
            return _shapes(self.build)
        try:
            with torch.device("meta"):
                return _shapes(self.build())
        except Exception:  # numbers taken from a tensor
            return _shapes(self.build())


def find(text: str, channels: int = CHANNELS) -> Own:
    """A network by file or import path.

    Parameters
    ----------
    text : str
        A TorchScript or ONNX file, or 'package.module:Class' whose call without arguments gives a
        torch.nn.Module.
    channels : int
        Of its input.

    Raises
    ------
    HrvizError
        One sentence: no such file or class, a pickle, what is no network.
    """
    if channels < 1:
        raise HrvizError(f"channels={channels} is out of range: choose 1 or more")
    path = Path(text).expanduser()
    if ":" in text and not path.exists():
        return _imported(text, channels)
    if not path.is_file():
        raise HrvizError(f"there is no file {text}: name {ALLOWED}")
    if path.suffix.lower() == ".onnx":
        from hrviz.cost.onnx_graph import OnnxNetwork

        graph = OnnxNetwork(path)
        return Own(graph.name, graph.content, graph=graph, channels=channels)
    return Own(path.stem, f"file {_hash(path)}", build=_script(path), channels=channels)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _script(path: Path) -> nn.Module:
    """A TorchScript file; what is anything else is not even opened by torch."""
    import torch

    if path.suffix.lower() == ".safetensors":
        raise HrvizError(
            f"{path} holds weights without their network: name the network and give --weights {path}"
        )
    names: list[str] = []
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inside = {name.partition("/")[2] for name in names}
    if not any(name.startswith("code/") for name in inside) or "constants.pkl" not in inside:
        with path.open("rb") as file:
            first = file.read(1)
        if "data.pkl" in inside or first == b"\x80":
            what = "is a pickle, which is never read"
        elif any("models/" in name or "archive_format" in name for name in names):
            what = "is an exported program, which may hold pickles and is not read"
        else:
            what = "is not TorchScript"
        raise HrvizError(f"{path} {what}: name {ALLOWED}; torch.jit.script(net).save(...) writes TorchScript")  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, that TorchScript is old
            return torch.jit.load(path, "cpu")
    except RuntimeError as error:
        line = str(error).strip().partition("\n")[0][:200].rstrip(". ")
        raise HrvizError(f"{path} cannot be read ({line}): save it again with torch.jit.script(net).save(...)") from None  # fmt: skip


def _scripted(name: str, error: HrvizError) -> HrvizError:
    """TorchScript's interpreter hides that a network asked a tensor for its values; say so."""
    found = re.search(r"(\(in [^()]*(_local_scalar_dense|nonzero|masked_select)\)): The following operation failed in the TorchScript", str(error))  # fmt: skip
    if found is None:
        return error
    return HrvizError(
        f"{name} decides by the values in its data {found[1]}: meter its parts one by one, or a copy in "
        "which the branch is fixed"
    )


def _imported(text: str, channels: int) -> Own:
    """What an import path names, as Python started here would import it."""
    import torch
    from torch import nn

    where, _, name = text.partition(":")
    if not name or not where or not all(p.isidentifier() for p in (*where.split("."), *name.split("."))):  # fmt: skip
        raise HrvizError(f"{text!r} is not a file or an import path: name {ALLOWED}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(where)
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise HrvizError(f"{where} has no {name}: name a class or function that makes a torch.nn.Module") from None  # fmt: skip
    except ModuleNotFoundError as error:
        raise HrvizError(f"there is no module {error.name}: run hrviz where Python can import it, or name {ALLOWED}") from None  # fmt: skip
    except Exception as error:
        raise HrvizError(f"{where} cannot be imported ({type(error).__name__}: {error}): mend it first") from error  # fmt: skip
    if not (isinstance(found, nn.Module) or callable(found)):
        raise HrvizError(f"{text} is not a network: name a class or function that makes a torch.nn.Module")  # fmt: skip
    content = None
    if not isinstance(found, nn.Module):
        # a class that cannot be built so is told when it is metered
        with contextlib.suppress(Exception), torch.device("meta"):
            content = kept.fingerprint(found())
    return Own(name, content, build=found, channels=channels)


def _shapes(module: nn.Module) -> Shapes:
    return {name: tuple(t.shape) for name, t in module.state_dict().items()}


def check_weights(path: str | os.PathLike[str], name: str, wanted: Mapping[str, tuple[int, ...]]) -> None:  # fmt: skip
    """Refuse a checkpoint that does not fit a network; only its header is read.

    Parameters
    ----------
    path : path
        safetensors.
    name : str
        Of the network.
    wanted : mapping of str to tuple of int
        Its state dict's shapes.

    Raises
    ------
    HrvizError
        One sentence: no such file, not safetensors, the first tensor that differs.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise HrvizError(f"there is no file {path}: name a safetensors checkpoint")
    try:
        with safe_open(path, "np") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        raise HrvizError(
            f"{path} is not a safetensors file, and a pickle is never read: write one with "
            "safetensors.torch.save_file(net.state_dict(), ...)"
        ) from None
    for key, shape in wanted.items():
        if key not in found:
            # a count that older checkpoints lack and that no cost depends on
            if key.endswith("num_batches_tracked"):
                continue
            raise HrvizError(f"{path} does not fit {name}: it has no {key} of {_size(shape)}; choose the checkpoint of that network")  # fmt: skip
        if found[key] != shape:
            raise HrvizError(f"{path} does not fit {name}: {key} is {_size(found[key])}, where {_size(shape)} is needed; choose the checkpoint of that network")  # fmt: skip
    extra = sorted(found.keys() - wanted.keys())
    if extra:
        raise HrvizError(f"{path} does not fit {name}, which has no {extra[0]}: choose the checkpoint of that network")  # fmt: skip


def named_shapes(network: str, side: int) -> Shapes:
    """Of the state dict of a network of `hrviz.cost.models.MODELS` for inputs of one side."""
    import torch

    from hrviz.cost.models import MODELS

    with torch.device("meta"):
        return _shapes(MODELS[network].build(side))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1 number"

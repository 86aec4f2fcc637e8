"""The cost of an ONNX file at any input: read from its graph, without running it.

Shapes come from ONNX's own shape inference for an input of the size asked for; what is computed from
shapes alone is worked out on the way. Memory is that of the tensors between the nodes: each is taken
by the node that makes it and given back after the last node that reads it, in the order of the file.

Notes
-----
Taken for granted: a runtime that neither works in place nor fuses nodes; `Reshape` and its like share
their input's memory. Operations are counted of convolutions and matrix products, as in `meter`. The
weights are not looked at, apart from whole numbers that shapes are computed from.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.cost.allocator import needed, replay
from hrviz.cost.measure import KINDS, Held, Measure, Place, Timeline
from hrviz.cost.meter import DTYPES, EXCLUDED, HELD, _thinned
from hrviz.errors import HrvizError

SMALL = 4096  # numbers in a constant that a shape may follow from
SHARING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
#: domains whose operators ONNX knows the shapes of
KNOWN = {"", "ai.onnx", "ai.onnx.ml"}
BRANCHING = {"If", "Loop", "Scan"}
BY_VALUE = {"NonZero", "Unique", "NonMaxSuppression", "Compress", "StringSplit"}
#: multiply, but are not counted
UNCOUNTED = {
    "Attention", "ConvInteger", "DeformConv", "DFT", "GRU", "GridSample", "LSTM", "MatMulInteger",
    "QLinearConv", "QLinearMatMul", "RNN", "STFT",
}  # fmt: skip
WEIGHTS, ACTIVATIONS, INPUT = (KINDS.index(k) for k in ("weights", "activations", "input"))
Shape = tuple[int, ...]


class OnnxNetwork:
    """A network in an ONNX file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    HrvizError
        One sentence: the package `onnx` is missing, a file that is no ONNX model, one that does not take
        one picture.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            from onnx import inliner
        except ImportError:
            raise HrvizError(
                "ONNX files need the package onnx: pip install 'hrviz[onnx]'"
            ) from None
        self.name = path.stem
        try:
            data = path.read_bytes()
            model = onnx.load_model_from_string(data)
            if not (model.ir_version and model.opset_import and model.graph.node):
                raise ValueError("there is no graph in it")
        except OSError as error:
            raise HrvizError(f"cannot read {path}: {error.strerror}; choose an ONNX file") from None
        except Exception as error:  # protobuf's and onnx's own
            raise HrvizError(
                f"{path} is not an ONNX model ({_first(error)}): choose a file that torch.onnx.export wrote"
            ) from None
        #: what the network is, for the disk
        source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        self.content = f"onnx {hashlib.sha256(data).hexdigest()} {source}"
        self._model = inliner.inline_local_functions(model) if model.functions else model
        weights = {t.name for t in self._model.graph.initializer}
        inputs = [i for i in self._model.graph.input if i.name not in weights]
        if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
            raise HrvizError(
                f"{self.name} does not take one batch of pictures (n, channels, height, width): "
                "meter a file with that input alone"
            )
        self.input = inputs[0].name
        self.parameters, self.weights = self._weigh()

    def _weigh(self) -> tuple[int, list[tuple[str, Shape, bool, int]]]:
        """How many numbers are learned; name, shape, whether floating, and bytes of each weight."""
        from onnx import TensorProto, helper

        graph = self._model.graph
        statistics = {name for n in graph.node if n.op_type == "BatchNormalization" for name in n.input[3:]}  # fmt: skip
        found = [*graph.initializer]
        for node in graph.node:
            if node.op_type == "Constant":
                for a in node.attribute:
                    if a.name == "value":
                        a.t.name = node.output[0]
                        found.append(a.t)
        floats = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
        weights = [
            (t.name, tuple(t.dims), t.data_type in floats,
             math.prod(t.dims) * helper.tensor_dtype_to_np_dtype(t.data_type).itemsize)
            for t in found
        ]  # fmt: skip
        own = {t.name for t in graph.initializer} - statistics
        learned = sum(math.prod(s) for name, s, is_float, _ in weights if is_float and name in own)
        return learned, weights

    def measure(self, shape: Sequence[int], dtype: str = "float32") -> Measure:
        """Cost of a forward pass on one input.

        Parameters
        ----------
        shape : sequence of int
            (n, channels, height, width).
        dtype : str
            Of all floating numbers, whatever the file has.

        Raises
        ------
        HrvizError
            One sentence: an input that the network does not take, shapes that follow from values, an
            operator that ONNX does not know, control flow.
        """
        if dtype not in DTYPES:
            raise HrvizError(f"dtype={dtype!r} is not known: choose {', '.join(DTYPES)}")
        shape = tuple(shape)
        nodes, known = self._inferred(shape)
        nodes = [node for node in nodes if node.op_type != "Constant"]  # a weight
        itemsize = DTYPES[dtype].itemsize
        sizes: list[int] = []
        kinds: list[int] = []
        places: list[Place | None] = []
        events: list[int] = []
        alive: dict[int, None] = {}

        def hold(n: int, kind: int, place: Place | None) -> int:
            number = len(sizes)
            sizes.append(n)
            kinds.append(kind)
            places.append(place)
            events.append(number)
            alive[number] = None
            return number

        for _, dims, is_float, n in self.weights:
            hold(math.prod(dims) * itemsize if is_float else n, WEIGHTS, None)
        number = {self.input: hold(math.prod(shape) * itemsize, INPUT, None)}
        last = {name: k for k, node in enumerate(nodes) for name in node.input if name}
        last |= dict.fromkeys((o.name for o in self._model.graph.output), len(nodes))
        users: Counter[int] = Counter()  # names that a storage goes by
        flops: Counter[str] = Counter()
        levels: list[int] = []
        operators: list[Place] = []
        peak, peak_alive, peak_operator = 0, list(alive), 0
        for k, node in enumerate(nodes):
            place = Place(node.op_type, node.name or node.output[0], "", "forward")
            flops[node.op_type] += _flops(node, known)
            for j, name in enumerate(filter(None, node.output)):
                dims, is_float, each = known[name]
                if j == 0 and node.op_type in SHARING and node.input[0] in number:
                    number[name] = number[node.input[0]]
                else:
                    n = math.prod(dims) * (itemsize if is_float else each)
                    number[name] = hold(n, ACTIVATIONS, place)
                users[number[name]] += 1
            now = sum(sizes[i] for i in alive)
            levels.append(now)
            operators.append(place)
            if now > peak:
                peak, peak_alive, peak_operator = now, list(alive), k
            for name in dict.fromkeys((*node.input, *node.output)):
                which = number.get(name)
                if which is None or last.get(name, k) > k:
                    continue
                del number[name]
                users[which] -= 1
                if users[which] == 0 and kinds[which] == ACTIVATIONS:
                    del alive[which]
                    events.append(~which)
        if not nodes:
            raise HrvizError(f"{self.name} does nothing with its input: there is no cost to meter")
        split = np.bincount([kinds[i] for i in peak_alive], [sizes[i] for i in peak_alive], len(KINDS))  # fmt: skip
        peaks = replay(events, sizes)
        assert peaks is not None  # a device without an end
        largest = sorted(peak_alive, key=lambda i: (-sizes[i], i))[:HELD]
        timeline = _thinned(levels, {"forward": 0}) if levels else Timeline((), (), {})
        return Measure(
            shape=shape, dtype=dtype, training=False, optimiser=None,
            parameters=self.parameters, flops=sum(flops.values()),
            flops_by_operator={name: n for name, n in flops.items() if n},
            peak=peak, split={kind: int(n) for kind, n in zip(KINDS, split, strict=True)},
            allocated=peaks.allocated, reserved=peaks.reserved, needed=needed(events, sizes, peaks),
            operators=len(nodes), peak_at=operators[peak_operator], peak_operator=peak_operator,
            held=tuple(Held(sizes[i], KINDS[kinds[i]], places[i]) for i in largest),
            timeline=timeline, assumed=_assumed(nodes, dtype), excluded=EXCLUDED,
        )  # fmt: skip

    def _inferred(self, shape: Shape) -> tuple[list[Any], dict[str, tuple[Shape, bool, int]]]:
        """Nodes that run, and of each tensor its shape, whether it is floating, and bytes a number."""
        import onnx

        model = _bare(self._model)
        graph = model.graph
        del graph.value_info[:]  # those of the size that it was exported at
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
        (entry,) = (i for i in graph.input if i.name == self.input)
        for dim, n in zip(entry.type.tensor_type.shape.dim, shape, strict=True):
            if dim.HasField("dim_value") and dim.dim_value not in (0, n):
                raise HrvizError(
                    f"{self.name} takes an input of {_told(entry)}, not of {' x '.join(map(str, shape))}: "
                    "choose that, or export it with dynamic axes"
                )
            dim.dim_value = n
        for node in graph.node:
            if node.op_type in BRANCHING:
                raise HrvizError(
                    f"{self.name} decides by the values in its data, by {node.op_type}: export a copy "
                    "in which the branch is fixed"
                )
        while True:
            del model.graph.value_info[:]  # what was not known before may be known now
            try:
                model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            except Exception as error:
                if unknown := next((n for n in graph.node if n.domain not in KNOWN), None):
                    raise self._unknown(unknown) from None
                raise HrvizError(
                    f"{self.name} does not run on an input of {' x '.join(map(str, shape))}: "
                    f"{_first(error)}; choose an input that it takes"
                ) from None
            known = _shapes(model)
            if not _fold(model.graph, known):
                break
        for node in model.graph.node:
            for name in filter(None, node.output):
                if name not in known:
                    raise self._unknown(node)
        return list(model.graph.node), known

    def _unknown(self, node: Any) -> HrvizError:
        where = f" (in {node.name})" if node.name else ""
        if node.domain not in KNOWN:
            return HrvizError(
                f"{self.name} uses {node.domain}::{node.op_type}{where}, whose output's shape ONNX does "
                "not know: export a copy without it"
            )
        if node.op_type in BY_VALUE:
            return HrvizError(
                f"{self.name} decides by the values in its data, by {node.op_type}{where}: export a part "
                "of it in which sizes do not depend on values"
            )
        return HrvizError(
            f"the shape of what {node.op_type} makes{where} does not follow from the input's in "
            f"{self.name}: export a copy with dynamic axes"
        )


def _bare(model: Any) -> Any:
    """A copy whose large weights are inputs, so that nothing handles their numbers."""
    import onnx

    out = onnx.ModelProto()
    for name in ("ir_version", "producer_name"):
        setattr(out, name, getattr(model, name))
    out.opset_import.extend(model.opset_import)
    out.functions.extend(model.functions)
    graph, old = out.graph, model.graph
    graph.name = old.name or "graph"
    graph.node.extend(old.node)
    graph.input.extend(old.input)
    graph.output.extend(old.output)
    given = {i.name for i in old.input}
    for t in old.initializer:
        if math.prod(t.dims) <= SMALL and t.data_location != onnx.TensorProto.EXTERNAL:
            graph.initializer.append(t)
        elif t.name not in given:
            graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))  # fmt: skip
    return out


def _shapes(model: Any) -> dict[str, tuple[Shape, bool, int]]:
    """Of every tensor whose shape is known."""
    from onnx import TensorProto, helper

    graph = model.graph
    out = {}
    floats = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}

    def add(name: str, kind: int, dims: Shape) -> None:
        each = helper.tensor_dtype_to_np_dtype(kind).itemsize if kind else 4
        out[name] = dims, kind in floats, each

    for t in graph.initializer:
        add(t.name, t.data_type, tuple(t.dims))
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            continue
        if all(d.HasField("dim_value") for d in kind.shape.dim):
            add(value.name, kind.elem_type, tuple(d.dim_value for d in kind.shape.dim))
    return out


def _fold(graph: Any, known: dict[str, tuple[Shape, bool, int]]) -> bool:
    """Put numbers in the place of nodes that compute them from shapes and constants alone."""
    from onnx import numpy_helper

    given = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    values = {name: array for name, array in given.items() if _counts(array)}
    kept, folded = [], []
    for node in graph.node:
        made: np.ndarray | None = None
        if node.op_type == "Constant":
            made = _evaluate(node, {})
        elif node.op_type == "Shape" and node.input[0] in known:
            dims = known[node.input[0]][0]
            of = {a.name: a.i for a in node.attribute}
            made = np.array(dims[of.get("start", 0) : of.get("end", len(dims))], np.int64)
        elif len(node.output) == 1 and node.domain in KNOWN and all(n in values for n in node.input if n) and node.input:  # fmt: skip
            small = known.get(node.output[0])
            if small is None or math.prod(small[0]) <= SMALL:
                made = _evaluate(node, values)
        if made is None or not _counts(made):
            kept.append(node)
            continue
        values[node.output[0]] = made
        folded.append(numpy_helper.from_array(made, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(folded)
    return bool(folded)


def _counts(made: np.ndarray) -> bool:
    """Whether shapes may follow from it: whole numbers, truth values, or a single number."""
    return bool(made.size <= SMALL and (made.dtype.kind in "iub" or made.size == 1))


def _evaluate(node: Any, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """What a node makes of numbers; None where that cannot be told."""
    from onnx.reference import ReferenceEvaluator

    if node.op_type.startswith("Random"):
        return None
    try:
        (made,) = ReferenceEvaluator(node).run(None, {n: values[n] for n in node.input if n})
        return np.asarray(made)
    except Exception:  # not every operator has an implementation
        return None


def _flops(node: Any, known: dict[str, tuple[Shape, bool, int]]) -> int:
    """Of one node, 1 multiply-accumulate = 2."""
    kind = node.op_type
    if kind not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"):
        return 0
    first, second = (known[name][0] for name in node.input[:2]) if len(node.input) > 1 else ((), ())
    out = known[node.output[0]][0]
    if kind == "Conv":  # weights (o, i / groups, kernel)
        return 2 * math.prod(out) * math.prod(second[1:])
    if kind == "ConvTranspose":  # weights (i, o / groups, kernel)
        return 2 * math.prod(first) * math.prod(second[1:])
    if kind == "Gemm":
        turned = next((a.i for a in node.attribute if a.name == "transA"), 0)
        return 2 * math.prod(out) * first[0 if turned else 1]
    if kind == "MatMul":
        return 2 * math.prod(out) * first[-1]
    text = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    if "..." in text:
        return 0
    size: dict[str, int] = {}
    for letters, name in zip(text.partition("->")[0].split(","), node.input, strict=True):
        size |= dict(zip(letters, known[name][0], strict=True))
    return 2 * math.prod(size.values()) if len(node.input) > 1 else 0


def _assumed(nodes: Sequence[Any], dtype: str) -> tuple[str, ...]:
    out = ["tensors of the ONNX graph in the order of its nodes: nothing in place, nothing fused"]
    if dtype != "float32":
        out.append(f"{dtype}: weights, input and all that follows")
    left = sorted({n.op_type for n in nodes} & UNCOUNTED)
    if left:
        out.append(f"operations of {', '.join(left)} are not counted")
    return tuple(out)


def _told(entry: Any) -> str:
    dims = entry.type.tensor_type.shape.dim
    return " x ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims)  # fmt: skip


def _first(error: Exception) -> str:
    """First line of somebody else's message."""
    line = str(error).strip().partition("\n")[0]
    return (line or type(error).__name__)[:200].rstrip(". ")

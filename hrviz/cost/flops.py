"""Counts floating-point operations of a run: torch's own counter, completed where it counts 0.

1 multiply-accumulate = 2 FLOPs everywhere. On the CPU `FlopCounterMode` counts fused attention,
`grid_sample` and FFT as nothing; formulas are added here and tested against known values. Parts in
numpy are counted by the shared primitives through `hrviz.cost.operations`.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

from hrviz.cost.operations import METER


def grid_sample(
    input_shape: Any, grid_shape: Any, *args: Any, out_shape: Any, **kwargs: Any
) -> int:
    """FLOPs of bilinear sampling of shape `out_shape`."""
    # bilinear: 4 taps a channel, a multiply-accumulate each; weights (about 10 a point) once
    n, c, *space = out_shape
    return int(n * math.prod(space) * (8 * c + 10))


def _attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    b, h, q, d = query
    return int(2 * b * h * q * key[2] * d + 2 * b * h * q * key[2] * value[3])


def _fft(input_shape: Any, dims: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    size = math.prod(input_shape)
    length = math.prod(input_shape[d] for d in dims)
    return int(5 * size * math.log2(max(2, length)))


def _real_fft(input_shape: Any, dims: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    # to or from real values: half a complex transform of the real side's size
    real = max(input_shape, out_shape, key=math.prod)
    return _fft(real, dims, out_shape=out_shape) // 2


def mapping() -> dict[Any, Any]:
    """Operators that torch's counter gives nothing for, and how to count them."""
    import torch

    aten = torch.ops.aten
    return {
        aten.grid_sampler_2d: grid_sample,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._fft_r2c: _real_fft,
        aten._fft_c2r: _real_fft,
        aten._fft_c2c: _fft,
    }


@contextlib.contextmanager
def counting(network: bool) -> Iterator[dict[str, float]]:
    """Count everything inside: yields a dict of operator to FLOPs, filled when the block ends.

    Parameters
    ----------
    network : bool
        Also count torch operators (imports torch unless it is loaded anyway).
    """
    operations: dict[str, float] = {}
    token = METER.set(operations)
    try:
        if network or "torch" in sys.modules:
            from torch.utils.flop_counter import FlopCounterMode

            counter = FlopCounterMode(display=False, custom_mapping=mapping())
            with counter:
                yield operations
            for operator, flops in counter.get_flop_counts().get("Global", {}).items():
                name = str(operator).rsplit(".", 1)[-1]
                operations[name] = operations.get(name, 0.0) + float(flops)
        else:
            yield operations
    finally:
        METER.reset(token)

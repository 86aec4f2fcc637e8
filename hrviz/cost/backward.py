"""FLOPs of every operator the meter counts: torch's formulas, ours for what the CPU hides, and
those of the backward pass that torch lacks or has wrong.

torch takes the gradient of a convolution in groups (a depth-wise one above all) as if it had none,
up to a thousand times too much; here both gradients cost what the forward pass cost, as they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, shape_wrapper

from hrviz.cost.flops import grid_sample, mapping


def _convolution(
    grad: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, wanted: Any, out_shape: Any = None,
) -> int:  # fmt: skip
    places = (x if transposed else grad)[2:]  # where the kernel is put
    once = 2 * grad[0] * math.prod(places) * math.prod(weight)
    return int(once * (wanted[0] + wanted[1]))


def _attention(grad: Any, q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **_: Any) -> int:  # fmt: skip
    return int(sdpa_backward_flop_count(grad, q, k, v))


def _sample(grad: Any, x: Any, grid: Any, *args: Any, out_shape: Any = None, **_: Any) -> int:
    # to the image and to the grid, each as the forward pass
    return 2 * grid_sample(x, grid, out_shape=grad)


def _lstm(x: Any, w: Any, u: Any, *args: Any, out_shape: Any = None, **_: Any) -> int:
    # each step of each sequence: its input and its state, each by a matrix
    return int(2 * x[0] * x[1] * (math.prod(w) + math.prod(u)))


def _lstm_backward(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * _lstm(*args, **kwargs)


def formulas() -> dict[Any, Callable[..., int]]:
    """Operator to a function of its arguments, and its result as `out_val`, that gives FLOPs."""
    aten = torch.ops.aten
    ours = mapping() | {
        aten.convolution_backward: _convolution,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention,
        aten.grid_sampler_2d_backward: _sample,
        aten.mkldnn_rnn_layer: _lstm,
        aten.mkldnn_rnn_layer_backward: _lstm_backward,
    }
    return {**flop_registry, **{operator: shape_wrapper(f) for operator, f in ours.items()}}

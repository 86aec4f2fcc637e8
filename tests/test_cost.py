"""Operations and memory against numbers worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hrviz.cost import memory
from hrviz.cost.flops import counting
from hrviz.cost.operations import METER, count

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def flops(work: object) -> float:
    with counting(network=True) as operations:
        work()  # type: ignore[operator]
    return sum(operations.values())


def test_fused_attention() -> None:
    """1 x 12 x 64 x 64: Q K^T and A V, 64 x 64 x 64 MAC a head each, 2 FLOP a MAC."""
    parts = [torch.zeros(1, 12, 64, 64)] * 3
    assert flops(lambda: F.scaled_dot_product_attention(*parts)) == 12_582_912
    # other lengths of queries, keys and values
    q, k, v = torch.zeros(2, 3, 10, 8), torch.zeros(2, 3, 20, 8), torch.zeros(2, 3, 20, 8)
    assert flops(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * 2 * 3 * 10 * 20 * (8 + 8)


def test_convolutions_and_products_are_two_a_multiply_accumulate() -> None:
    x, w = torch.zeros(2, 3, 20, 30), torch.zeros(8, 3, 3, 3)
    assert flops(lambda: F.conv2d(x, w, padding=1)) == 2 * (2 * 20 * 30) * 8 * 3 * 9
    assert flops(lambda: F.conv2d(x, w, stride=2)) == 2 * (2 * 9 * 14) * 8 * 3 * 9
    assert flops(lambda: torch.zeros(5, 7) @ torch.zeros(7, 11)) == 2 * 5 * 7 * 11


def test_sampling_and_fourier_transforms_are_not_free() -> None:
    image, grid = torch.zeros(1, 3, 32, 32), torch.zeros(1, 16, 20, 2)
    assert flops(lambda: F.grid_sample(image, grid, align_corners=True)) == 16 * 20 * (8 * 3 + 10)
    z = torch.zeros(32, 32, dtype=torch.complex64)
    assert flops(lambda: torch.fft.fft2(z)) == 5 * 1024 * 10
    assert flops(lambda: torch.fft.rfft2(torch.zeros(32, 32))) == 5 * 1024 * 10 / 2
    assert flops(lambda: torch.fft.irfft2(z[:, :17])) == 5 * 1024 * 10 / 2
    assert flops(lambda: torch.fft.fft(torch.zeros(4, 64, dtype=torch.complex64))) == 5 * 256 * 6


def test_numpy_parts_count_only_inside_a_meter() -> None:
    count("nothing", 5)
    with counting(network=False) as operations:
        count("a", 5)
        count("a", 6)
        count("b", 1)
    assert {k: operations[k] for k in "ab"} == {"a": 11, "b": 1}
    assert METER.get() is None
    with pytest.raises(ZeroDivisionError), counting(network=True):
        1 / 0  # noqa: B018
    assert METER.get() is None


def test_the_papers_saliency_network_has_the_papers_size() -> None:
    from hrviz.nets.saliency import PaperSaliencyNet

    net = PaperSaliencyNet().eval()
    assert sum(p.numel() for p in net.trunk.parameters()) == 2_782_784
    assert sum(p.numel() for p in net.head.parameters()) == 257
    with counting(network=True) as operations, torch.no_grad():
        out = net(torch.zeros(1, 3, 300, 400))
    macs = operations["convolution"] / 2
    assert macs == pytest.approx(1.4025e9 + 0.05e6, rel=1e-4)
    assert out.shape == (1, 31, 31)
    assert out.sum().item() == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------------ memory
def conv_bytes(*layers: nn.Module) -> int:
    return sum(p.nbytes for layer in layers for p in (*layer.parameters(), *layer.buffers()))


def test_predicted_memory_of_a_chain_is_the_largest_pair_of_neighbours() -> None:
    a, b, c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 4, 1)
    net = nn.Sequential(a, b, c).eval()
    floats = 2 * (3 * 64 * 64 + 8 * 64 * 64 + 16 * 32 * 32)  # the batch, a's output, b's output
    assert memory.predict_inference(net, (2, 3, 64, 64)) == conv_bytes(a, b, c) + 4 * floats


def test_predicted_memory_holds_what_a_skip_connection_holds() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return y + self.b(y)

    net = Skip().eval()
    tensor = 4 * 4 * 32 * 32
    assert memory.predict_inference(net, (1, 4, 32, 32)) == conv_bytes(net) + 4 * tensor


def test_predicted_memory_counts_views_of_weights_and_work_in_place_once() -> None:
    net = nn.Sequential(
        nn.Linear(100, 200), nn.ReLU(inplace=True), nn.Linear(200, 50), nn.Flatten(0)
    ).eval()
    assert memory.predict_inference(net, (7, 100)) == conv_bytes(net) + 4 * 7 * (100 + 200 + 50)


def test_prediction_allocates_nothing() -> None:
    net = nn.Conv2d(3, 64, 3, padding=1).eval()
    before = memory.resident_bytes()
    predicted = memory.predict_inference(net, (1, 3, 50_000, 50_000))
    assert predicted > 600e9
    assert before is None or memory.resident_bytes() - before < 200e6


def test_peak_is_measured_where_the_system_tells() -> None:
    """In a process of its own: this one may give memory back to the system at any moment."""
    if not memory.reset_peak():
        pytest.skip("this system does not tell")
    code = """
import numpy as np
from hrviz.cost import memory
memory.reset_peak()
before = memory.peak_bytes()
block = np.ones(60_000_000, np.uint8)
del block
print(memory.peak_bytes() - before)
memory.reset_peak()
print(memory.peak_bytes() - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    risen, after = (float(line) for line in out.stdout.split())
    assert 50e6 < risen < 90e6
    assert after < 30e6

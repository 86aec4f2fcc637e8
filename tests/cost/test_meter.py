"""The meter against real tensors, torch's own counters, and numbers worked out by hand."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable

import pytest

pytest.importorskip("torch")
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hrviz.cost import trace
from hrviz.cost.allocator import replay
from hrviz.cost.measure import Measure
from hrviz.cost.memory import predict_inference, resident_bytes
from hrviz.cost.meter import Subject, meter
from hrviz.cost.models import EfficientNet, ViT


class CNN(nn.Module):
    """Convolutions, norms, work in place, a skip, groups, dropout."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, c, 3, 1, 1), nn.BatchNorm2d(c), nn.ReLU(inplace=True))
        self.b = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, groups=c), nn.SiLU(), nn.Dropout(0.2))
        self.c = nn.Sequential(nn.Conv2d(c, 2 * c, 5, 2, 2), nn.MaxPool2d(2), nn.Flatten(1))
        self.d = nn.AdaptiveAvgPool1d(40)
        self.e = nn.Linear(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        y = self.c(y + self.b(y))
        return self.e(self.d(y))


class Checkpointed(nn.Module):
    """Blocks whose insides are computed again in the backward pass, or not."""

    def __init__(self, again: bool = True) -> None:
        super().__init__()
        self.again = again
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 24, 3, 1, 1), nn.GELU(), nn.Conv2d(24, 3, 3, 1, 1)) for _ in range(3)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
        return x


def vit(fused: bool, side: int = 512) -> Callable[[], nn.Module]:
    return lambda: ViT(side, width=96, depth=2, heads=2, fused=fused, classes=10)


NETWORKS = {"cnn": CNN, "vit": vit(False), "fused vit": vit(True), "checkpointed": Checkpointed}
USES = [(False, None), (True, None), (True, "sgd"), (True, "sgd-momentum"), (True, "adam")]


# ------------------------------------------------------------------ fake is real
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("training", "optimiser"), USES)
def test_fake_tensors_tell_what_real_ones_take(name: str, training: bool, optimiser: str | None) -> None:  # fmt: skip
    torch.manual_seed(0)
    shape = (1, 3, 512, 512)
    real = trace.record(NETWORKS[name](), torch.randn(shape), training=training, optimiser=optimiser)  # fmt: skip
    fake = meter(NETWORKS[name], shape, training=training, optimiser=optimiser)
    assert fake.peak == real.peak
    assert fake.peak_at == real.operators[real.peak_operator]
    assert fake.operators == len(real.operators)
    assert sum(fake.split.values()) == fake.peak
    assert fake.flops == sum(real.flops.values())


def allocated(net: nn.Module, batch: torch.Tensor, steps: int, optimiser: torch.optim.Optimizer) -> int:  # fmt: skip
    """Most bytes that the C++ allocator gave at a time, in real training steps."""
    from torch.profiler import ProfilerActivity, profile

    state = sum(t.nbytes for t in (*net.parameters(), *net.buffers(), batch))
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        for _ in range(steps):
            net(batch).float().mean().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return state + peak


@pytest.mark.parametrize("fused", [False, True])
def test_a_transformer_takes_from_the_allocator_what_is_predicted(fused: bool) -> None:
    """Its operators take nothing for themselves, so the allocator's own record must agree."""
    torch.manual_seed(0)
    net, batch = vit(fused, 256)(), torch.randn(1, 3, 256, 256)
    real = allocated(net, batch, 2, torch.optim.Adam(net.parameters(), foreach=True))
    found = meter(vit(fused, 256), (1, 3, 256, 256), training=True, optimiser="adam")
    assert found.peak == pytest.approx(real, abs=64)  # of nearly 10 MB


@pytest.mark.parametrize("name", ["cnn", "vit", "fused vit"])
@pytest.mark.parametrize("optimiser", ["sgd", "sgd-momentum", "adam"])
def test_the_allocator_sees_what_two_steps_would_do(name: str, optimiser: str) -> None:
    """The meter runs one step and makes up the first; here both are run."""
    shape = (1, 3, 128, 128)
    build = NETWORKS[name] if name == "cnn" else vit("fused" in name, 128)
    net, batch, tracker = build().train(), torch.randn(shape), trace.Tracker()
    for tensor in (*net.parameters(), *net.buffers(), batch):
        tracker.hold(tensor, trace.WEIGHTS)
    trained = list(net.parameters())
    stepper = trace.OPTIMISERS[optimiser](trained)
    with tracker:
        for _ in range(2):
            tracker.recording = True
            trace._step(tracker, net, batch, trained, stepper)
    peaks = replay(tracker.out.events, tracker.out.nbytes)
    found = meter(build, shape, training=True, optimiser=optimiser)
    assert peaks == (found.allocated, found.reserved)


# ------------------------------------------------------------------ by hand
def test_inference_of_a_chain_is_the_largest_pair_of_neighbours() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 4, 1))  # fmt: skip
    found = meter(net, (2, 3, 64, 64))
    weights = 4 * sum(p.numel() for p in net.parameters())
    assert found.split["weights"] == weights
    assert found.split["input"] == 4 * 2 * 3 * 64 * 64
    assert found.split["activations"] == 4 * 2 * (8 * 64 * 64 + 16 * 32 * 32)
    assert found.peak == sum(found.split.values()) == predict_inference(net.eval(), (2, 3, 64, 64))
    assert found.peak_at.module == "1" and found.peak_at.operator == "convolution"


def test_training_of_one_large_matrix() -> None:
    """Weights and their gradient, what the optimiser keeps, and its temporaries, 4 MB each."""
    n = 1000
    found = {o: meter(nn.Linear(n, n, bias=False), (1, n), training=True, optimiser=o) for o in (None, "sgd", "sgd-momentum", "adam")}  # fmt: skip
    matrix = 4 * n * n
    kept = {None: 0, "sgd": 0, "sgd-momentum": matrix, "adam": 2 * matrix + 4}
    for optimiser, measure in found.items():
        split = measure.split
        assert split["weights"] == matrix and split["input"] == 4 * n
        assert split["optimiser"] == kept[optimiser]
        assert matrix <= split["gradients"] < matrix + 50 * n
    # square root of the second moments, as large as the weights
    assert found["adam"].peak_at.phase == "optimiser"
    assert matrix <= found["adam"].split["other"] < matrix + 100
    assert found["adam"].peak == pytest.approx(5 * matrix, rel=0.01)


def test_half_precision_takes_half() -> None:
    whole = meter(CNN, (1, 3, 256, 256), training=True)
    for dtype in ("bfloat16", "float16"):
        half = meter(CNN(), (1, 3, 256, 256), training=True, dtype=dtype)
        assert half.flops == whole.flops and half.parameters == whole.parameters
        # masks, places of maxima and counters do not shrink
        assert 0.5 < half.peak / whole.peak < 0.56
        assert any(dtype in line for line in half.assumed)


def test_dropout_keeps_a_mask_of_a_byte() -> None:
    def kept(net: nn.Module) -> int:
        return meter(net, (1, 3, 64, 64), training=True).split["activations"]

    conv = nn.Conv2d(3, 4, 1)
    assert kept(nn.Sequential(conv, nn.Dropout(0.5), nn.Sigmoid())) - kept(nn.Sequential(conv, nn.Sigmoid())) == 4 * 64 * 64  # fmt: skip


def test_what_is_computed_again_is_not_kept() -> None:
    kept, again = (meter(lambda a=a: Checkpointed(a), (1, 3, 256, 256), training=True) for a in (False, True))  # fmt: skip
    assert again.peak < 0.6 * kept.peak
    assert again.flops > kept.flops


def test_weights_that_are_shared_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(100, 100), nn.Linear(100, 100)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)) @ self.a.weight.t()

    found = meter(Tied(), (5, 100))
    assert found.parameters == 10_000 + 200
    assert found.split["weights"] == 4 * found.parameters


# ------------------------------------------------------------------ operations
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_gradient_of_a_convolution_costs_what_the_convolution_costs(groups: int) -> None:
    net = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, groups=groups), nn.Conv2d(16, 8, 3, 1, 1, groups=groups))  # fmt: skip
    first = 2 * 16 * 16 * 16 * (8 // groups) * 9
    second = 2 * 16 * 16 * 8 * (16 // groups) * 9
    assert meter(net, (1, 8, 32, 32)).flops == first + second
    # the image needs no gradient
    assert meter(net, (1, 8, 32, 32), training=True).flops == 2 * first + 3 * second


def test_operations_agree_with_torch_where_torch_counts() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.Flatten(2), nn.Linear(256, 5)
    )  # fmt: skip
    x = torch.randn(2, 3, 16, 16)
    with FlopCounterMode(display=False) as counter:
        net(x).mean().backward()
    assert meter(net, (2, 3, 16, 16), training=True).flops == counter.get_total_flops()


def test_fused_attention_forward_and_backward() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = nn.Parameter(torch.zeros(1, 12, 64, 64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = self.q * x
            return F.scaled_dot_product_attention(q, q, q)

    assert meter(Attend, (1, 12, 64, 64)).flops == 12_582_912
    # five products for two: the scores are computed again
    assert meter(Attend, (1, 12, 64, 64), training=True).flops == 12_582_912 * 7 // 2


def test_transformer_layers_show_their_attention() -> None:
    """Eight heads of 16 over 1000 tokens: fused, with dropout in training and without."""
    n, d = 1000, 128
    forward = 2 * n * (4 * d * d + 2 * d * 4 * d) + 4 * n * n * d
    net = nn.TransformerEncoderLayer(d, 8, 4 * d, dropout=0.1, batch_first=True)
    found = meter(net, (1, n, d))
    assert found.flops == forward
    trained = meter(net, (1, n, d), training=True)
    assert found.peak < trained.peak < 4 * 8 * n * n  # less than one matrix of tokens by tokens
    assert trained.flops == 3 * forward + 2 * n * n * d - 2 * n * 3 * d * d  # input: no gradient
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_recurrent_layer() -> None:
    once = 2 * 2 * 50 * 4 * 32 * (64 + 32)
    net = nn.LSTM(64, 32, batch_first=True)
    assert meter(net, (2, 50, 64)).flops == once
    assert meter(net, (2, 50, 64), training=True).flops == 3 * once


def test_a_counter_outside_does_not_see_the_imagined_run() -> None:
    with FlopCounterMode(display=False) as counter:
        meter(CNN, (1, 3, 64, 64), training=True)
    assert counter.get_total_flops() == 0


# ------------------------------------------------------------------ the peak and the timeline
class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(64, 4, 1)
        self.wide = nn.Sequential(nn.Conv2d(4, 64, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        y = self.wide(y)  # the peak
        return self.last(y)


def test_the_peak_has_a_name_and_a_line() -> None:
    lines, start = inspect.getsourcelines(Named)
    line = start + next(k for k, text in enumerate(lines) if "# the peak" in text)
    found = meter(Named, (1, 3, 64, 64))
    assert found.peak_at == ("sigmoid", "wide.1", f"{__name__}:{line}", "forward")
    back = meter(Named, (1, 3, 64, 64), training=True)
    assert back.peak_at == ("sigmoid_backward", "wide.1", f"{__name__}:{line}", "backward")
    assert [h.bytes for h in found.held[:2]] == [4 * 64 * 64 * 64] * 2
    assert {h.place.operator for h in found.held[:2] if h.place} == {"convolution", "sigmoid"}


def test_the_timeline_shows_the_step_and_its_peak() -> None:
    found = meter(lambda: EfficientNet("b0"), (1, 3, 64, 64), training=True, optimiser="adam")
    line = found.timeline
    assert len(line.bytes) == len(line.operators) <= 402 < found.operators
    assert list(line.operators) == sorted(set(line.operators))
    assert line.operators[0] == 0 and line.operators[-1] == found.operators - 1
    assert max(line.bytes) == found.peak
    assert line.operators[line.bytes.index(found.peak)] == found.peak_operator
    assert 0 == line.phases["forward"] < line.phases["backward"] < line.phases["optimiser"]
    assert Measure.from_json(found.to_json()) == found
    assert found.allocated >= found.peak and found.reserved >= found.allocated


# ------------------------------------------------------------------ nothing is taken, nothing is changed
def test_a_hundred_thousand_pixels_take_no_memory() -> None:
    net = EfficientNet("b0")
    meter(
        net, (1, 3, 64, 64), training=True, optimiser="adam"
    )  # what is imported and cached on first use
    before = resident_bytes()
    found = meter(net, (1, 3, 100_000, 100_000))
    trained = meter(net, (1, 3, 100_000, 100_000), training=True, optimiser="adam")
    assert found.peak > 10**12 and trained.peak > 10**13
    assert before is None or resident_bytes() - before < 200e6
    conv = meter(nn.Conv2d(3, 64, 3, padding=1), (1, 3, 100_000, 100_000))
    assert conv.peak == 4 * 67 * 10**10 + 4 * (64 * 27 + 64)


def test_the_network_stays_as_it_is() -> None:
    net = CNN().eval()
    net.e.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = [meter(net, (1, 3, 64, 64), training=True, optimiser="adam", dtype="bfloat16") for _ in range(2)]  # fmt: skip
    assert found[0] == found[1]
    assert not net.training and all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.get_default_dtype() == torch.float32


def test_one_subject_serves_many_inputs() -> None:
    subject = Subject(CNN)
    for side in (64, 128):
        for training, optimiser in USES:
            once = meter(CNN, (1, 3, side, side), training=training, optimiser=optimiser)
            assert subject.measure((1, 3, side, side), training=training, optimiser=optimiser) == once  # fmt: skip


def test_torchscript_is_metered_as_the_module_it_was_made_from() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(2), nn.Linear(900, 4))  # fmt: skip
    script = torch.jit.script(net)
    for training, optimiser in USES:
        ours = meter(net, (2, 3, 32, 32), training=training, optimiser=optimiser)
        theirs = meter(script, (2, 3, 32, 32), training=training, optimiser=optimiser)
        for name in ("parameters", "flops", "peak", "split", "operators"):
            assert getattr(ours, name) == getattr(theirs, name)


def test_another_method_and_several_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.scale = torch.ones(4, 1, 1)  # neither parameter nor buffer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

        def parts(self, x: torch.Tensor) -> dict[str, object]:
            return {"features": self.conv(x) * self.scale, "input": [x]}

    for network in (Two, Two()):
        found = meter(network, (1, 3, 8, 8), part="parts", training=True)
        assert found.flops == 2 * 2 * 64 * 12
        assert found.split["weights"] == 4 * (12 + 4 + 4)


def test_a_schedule_taken_from_a_tensor_is_no_obstacle() -> None:
    class Scheduled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rates = [r.item() for r in torch.linspace(0, 1, 3)]
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) * self.rates[1]

    assert meter(Scheduled, (1, 3, 8, 8)).parameters == 16

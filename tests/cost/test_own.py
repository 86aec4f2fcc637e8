"""Networks of the user's own: files and import paths, against the module they were made from."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from safetensors.torch import save_file
from torch import nn

from hrviz.cost import own
from hrviz.cost.meter import meter
from hrviz.cost.models import EfficientNet, ViT
from hrviz.cost.study import Setting
from hrviz.errors import HrvizError

INFER, TRAIN = Setting(), Setting(training=True, optimiser="adam")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HRVIZ_COSTS", str(tmp_path / "costs"))
    return tmp_path


class Net(nn.Module):
    """Convolutions with a norm and a skip; sides must be even."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, 8, 3, padding=1)
        self.n = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.n(self.a(x)))
        return y + self.up(self.b(y))


def script(path: Path, net: nn.Module | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net or Net()).save(str(path))
    return path


# ------------------------------------------------------------------ torch
def test_a_script_costs_what_its_module_costs(folder: Path) -> None:
    found = own.find(str(script(folder / "mine.pt")))
    assert found.name == "mine"
    for setting in (INFER, TRAIN):
        options = {"training": setting.training, "optimiser": setting.optimiser}
        wanted = meter(Net, (1, 3, 128, 128), **options)
        point = found.at(128, setting)
        assert (point.peak, point.needed, point.flops) == (wanted.peak, wanted.needed, wanted.flops)
        assert point.parameters == wanted.parameters and point.tag == "predicted"
    files = len(list((folder / "costs").iterdir()))
    assert own.find(str(folder / "mine.pt")).at(128, INFER).peak == found.at(128, INFER).peak
    assert len(list((folder / "costs").iterdir())) == files  # known by its content


def test_a_class_is_imported_and_the_largest_fits(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:  # fmt: skip
    (folder / "their_nets.py").write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())\n"
        "class Outer:\n    Inner = nn.Identity\n"
        "READY = nn.Conv2d(3, 1, 1)\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    found = own.find("their_nets:small")
    assert found.at(64, INFER).flops == 2 * 8 * 27 * 64**2
    fit = found.largest(10**8, INFER, "peak")
    assert found.at(fit.resolution, INFER).peak <= 10**8 < found.at(fit.resolution + 1, INFER).peak
    assert own.find("their_nets:READY").at(8, INFER).parameters == 4
    assert own.find("their_nets:Outer.Inner").name == "Outer.Inner"


def test_sides_that_the_network_takes_are_found(folder: Path) -> None:
    found = own.find(str(script(folder / "even.pt")))
    assert found.step(INFER) == 2
    assert found.largest(20_000_000, INFER).resolution % 2 == 0


# ------------------------------------------------------------------ ONNX
def export(path: Path, net: nn.Module, side: int = 64, channels: int = 3, fixed: bool = False) -> Path:  # fmt: skip
    pytest.importorskip("onnx")
    for t in net.state_dict().values():  # equal weights would be written once
        if t.is_floating_point():
            t.uniform_()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (torch.rand(1, channels, side, side),), file, dynamo=False, input_names=["x"],
            dynamic_axes={} if fixed else {"x": {0: "n", 2: "h", 3: "w"}}, training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )  # fmt: skip
    path.write_bytes(file.getvalue())
    return path


def test_an_onnx_file_costs_what_its_module_costs(folder: Path) -> None:
    found = own.find(str(export(folder / "net.onnx", Net())))
    for side, batch in ((64, 1), (130, 1), (128, 3)):
        wanted = meter(Net, (batch, 3, side, side))
        point = found.at(side, Setting(batch=batch))
        assert (point.parameters, point.flops) == (wanted.parameters, wanted.flops)
        assert point.peak == wanted.peak - 8  # the count of batches is not in the file
        assert sum(point.split.values()) == point.peak
    assert found.at(64, Setting(dtype="float16")).split["weights"] == sum(
        2 * t.numel() for t in Net().state_dict().values() if t.is_floating_point()
    )
    assert own.find(str(folder / "net.onnx")).step(INFER) == 2


@pytest.mark.parametrize("build", [lambda: EfficientNet("b0"), lambda: ViT(64, width=96, depth=2, heads=2)])  # fmt: skip
def test_larger_onnx_files(folder: Path, build: Callable[[], nn.Module]) -> None:
    found = own.find(str(export(folder / "net.onnx", build())))
    wanted = meter(build, (1, 3, 64, 64))
    point = found.at(64, INFER)
    assert (point.parameters, point.flops) == (wanted.parameters, wanted.flops)
    assert point.peak == pytest.approx(wanted.peak, rel=0.1)  # some operators are several nodes


def test_an_onnx_graph_by_hand(folder: Path) -> None:
    """A convolution of 2 x 3 x 4 x 4 to 5 channels, its view as a matrix, and a product with 80 x 7."""
    onnx = pytest.importorskip("onnx")
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT

    def weight(name: str, *dims: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(torch.rand(dims).numpy(), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Flatten", ["y"], ["z"], name="flat"),
            helper.make_node("Gemm", ["z", "m", "b"], ["out"], name="head"),
        ],
        "two layers",
        [helper.make_tensor_value_info("x", float_, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", float_, None)],
        [weight("w", 5, 3, 3, 3), weight("m", 80, 7), weight("b", 7)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "two.onnx")  # fmt: skip
    found = own.find(str(folder / "two.onnx")).measure(4, Setting(batch=2))
    assert found.parameters == 135 + 560 + 7
    assert found.flops_by_operator == {"Conv": 2 * 160 * 27, "Gemm": 2 * 14 * 80}
    assert found.split["input"] == 4 * 96 and found.split["weights"] == 4 * 702
    assert found.split["activations"] == 4 * (160 + 14)  # the view takes nothing
    assert found.peak_at == ("Gemm", "head", "", "forward")


# ------------------------------------------------------------------ what is refused
class Branching(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return y * 2 if bool(y.mean() > 0) else y


def refused(text: object, says: str, side: int = 64, setting: Setting = INFER) -> None:
    with pytest.raises(HrvizError, match=says) as found:
        own.find(str(text)).at(side, setting)
    assert "\n" not in str(found.value)


def test_pickles_are_never_read(folder: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was read",))

    torch.save(Evil(), folder / "evil.pt")
    torch.save(Evil(), folder / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("evil.pt", "old.pth"):
        refused(folder / name, "is a pickle, which is never read: name TorchScript")
    torch.save(Net().state_dict(), folder / "checkpoint.ckpt")
    refused(folder / "checkpoint.ckpt", "is a pickle")
    torch.export.save(torch.export.export(Net().eval(), (torch.rand(1, 3, 8, 8),)), folder / "net.pt2")  # fmt: skip
    refused(folder / "net.pt2", "exported program, which may hold pickles")
    with pytest.raises(HrvizError, match="not a safetensors file, and a pickle is never read"):
        own.check_weights(folder / "evil.pt", "net", {})


def test_files_that_are_no_network(folder: Path) -> None:
    refused(folder / "nowhere.pt", "there is no file")
    (folder / "text.pt").write_text("hello")
    refused(folder / "text.pt", "is not TorchScript")
    save_file({"a": torch.zeros(2)}, folder / "weights.safetensors")
    refused(folder / "weights.safetensors", "holds weights without their network")
    pytest.importorskip("onnx")
    (folder / "text.onnx").write_text("hello")
    refused(folder / "text.onnx", "is not an ONNX model")
    whole = script(folder / "cut.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    refused(folder / "cut.pt", "is not TorchScript")


def test_import_paths_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "broken_nets.py").write_text("1 / 0\n")
    (folder / "odd_nets.py").write_text("N = 3\ndef needs(x): pass\ndef three(): return 3\n")
    monkeypatch.syspath_prepend(str(folder))
    refused("nowhere_nets:Net", "there is no module nowhere_nets")
    refused("torch.nn:Net", "torch.nn has no Net")
    refused("broken_nets:Net", r"cannot be imported \(ZeroDivisionError: division by zero\)")
    refused("odd_nets:N", "is not a network")
    refused("odd_nets:needs", "cannot be built: needs.. missing 1 required")
    refused("odd_nets:three", "3 is not a network")
    refused("a b:c", "not a file or an import path")
    with pytest.raises(HrvizError, match="channels=0"):
        own.find("torch.nn:ReLU", channels=0)


def test_networks_that_cannot_be_metered(folder: Path) -> None:
    refused(script(folder / "branch.pt", Branching()), "decides by the values in its data")
    refused(script(folder / "four.pt", Net(4)), "does not run on an input of 1 x 3 x 64 x 64")
    assert own.find(str(folder / "four.pt"), channels=4).at(64, INFER).flops > 0
    refused(script(folder / "net.pt"), "does not run on an input", side=65)
    net = export(folder / "net.onnx", Net())
    refused(net, "does not run on an input of 1 x 3 x 65 x 65", side=65)
    refused(net, "holds inference alone", setting=Setting(training=True))
    refused(export(folder / "fixed.onnx", Net(), fixed=True), "takes an input of 1 x 3 x 64 x 64, not of 1 x 3 x 96 x 96", side=96)  # fmt: skip
    refused(export(folder / "four.onnx", Net(4), channels=4), "choose that, or export it")


def test_onnx_that_follows_from_values(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT

    def graph(*nodes: onnx.NodeProto, inputs: int = 1, functions: bool = False) -> Path:
        names = [f"x{k}" for k in range(inputs)]
        made = helper.make_graph(
            list(nodes), "g", [helper.make_tensor_value_info(n, float_, ["n", 3, "h", "w"]) for n in names],
            [helper.make_tensor_value_info("out", onnx.TensorProto.INT64 if nodes[0].op_type == "NonZero" else float_, None)],
        )  # fmt: skip
        sets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
        (folder / "g.onnx").write_bytes(helper.make_model(made, opset_imports=sets, ir_version=9).SerializeToString())  # fmt: skip
        return folder / "g.onnx"

    refused(graph(helper.make_node("NonZero", ["x0"], ["out"])), "decides by the values in its data, by NonZero")  # fmt: skip
    refused(graph(helper.make_node("Twice", ["x0"], ["out"], domain="mine")), "uses mine::Twice, whose output's shape ONNX does not know")  # fmt: skip
    refused(graph(helper.make_node("Add", ["x0", "x1"], ["out"]), inputs=2), "does not take one batch of pictures")  # fmt: skip


# ------------------------------------------------------------------ checkpoints
def test_checkpoints_are_held_against_the_network(folder: Path) -> None:
    found = own.find(str(script(folder / "net.pt")))
    state = Net().state_dict()
    save_file(state, folder / "right.safetensors")
    own.check_weights(folder / "right.safetensors", "net", found.shapes)
    for name, changed, says in (
        ("other", state | {"a.weight": torch.zeros(8, 4, 3, 3)}, "a.weight is 8 x 4 x 3 x 3, where 8 x 3 x 3 x 3 is needed"),
        ("less", {k: v for k, v in state.items() if k != "b.bias"}, "it has no b.bias of 8"),
        ("more", state | {"head.weight": torch.zeros(2)}, "which has no head.weight"),
    ):  # fmt: skip
        save_file(changed, folder / f"{name}.safetensors")
        with pytest.raises(HrvizError, match=f"does not fit net.*{says}"):
            own.check_weights(folder / f"{name}.safetensors", "net", found.shapes)
    with pytest.raises(HrvizError, match="there is no file"):
        own.check_weights(folder / "nowhere.safetensors", "net", {})
    named = own.named_shapes("vit-b16", 224)
    assert named["position"] == (1, 197, 768)
    assert own.find("hrviz.cost.models:EfficientNet").shapes == own.named_shapes("efficientnet-b7", 224)  # fmt: skip

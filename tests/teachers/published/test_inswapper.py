import hashlib
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from idn.errors import DamagedFile, EncoderMismatch, ForeignFile, MissingFile, OptionError
from idn.types import IdentityFeatures
from teachers.onnx.layers import ConvPlan
from teachers.published.inswapper import InswapperNet, InswapperTeacher
from teachers.published.inswapper_graph import InswapperPlan, StylePlan, read_inswapper
from tests.raising import raises
from tests.teachers.conftest import GridRecogniser, swaps

WIDTHS, BLOCKS, DIM = (4, 6, 7, 10), 6, 512


class Norm(nn.Module):
    def __init__(self, divides: bool) -> None:
        super().__init__()
        self.divides = divides

    def forward(self, x: Tensor) -> Tensor:
        x = x - torch.mean(x, (2, 3), True)
        if self.divides:
            return 1.0 / torch.sqrt(torch.mean(x**2, (2, 3), True) + 1e-8) * x
        return x * torch.rsqrt(torch.mean(x * x, (2, 3), True) + 1e-8)


class Block(nn.Module):
    """What the published graph computes, written down once more: reflect padding, instance norm by hand, slices."""

    def __init__(self, c: int, swapped: bool) -> None:
        super().__init__()
        for i in (1, 2):
            self.add_module(f"conv{i}", nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), Norm(swapped)))
            self.add_module(f"style{i}", nn.ModuleDict({"linear": nn.Linear(DIM, 2 * c)}))
        self.swapped = swapped

    def styled(self, x: Tensor, identity: Tensor, style: nn.ModuleDict) -> Tensor:
        c = x.shape[1]
        numbers = style["linear"](identity).unsqueeze(2).unsqueeze(3)
        gamma, beta = numbers[:, :c], numbers[:, c:]
        if self.swapped:
            gamma, beta = numbers[:, c:], numbers[:, :c]
        return gamma * x + beta

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        y = F.relu(self.styled(self.conv1(x), identity, self.style1))
        return x + self.styled(self.conv2(y), identity, self.style2)


class Reference(nn.Module):
    def __init__(self, slope: float = 0.2, corners: bool = False, swapped: bool = False, gain: float = 1.5) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.first = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, a, 7), nn.LeakyReLU(slope))
        self.down = nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1),
            nn.LeakyReLU(slope),
            nn.Conv2d(b, c, 3, 2, 1),
            nn.LeakyReLU(slope),
            nn.Conv2d(c, d, 3, 2, 1),
            nn.LeakyReLU(slope),
        )
        self.styles = nn.ModuleList(Block(d, swapped) for _ in range(BLOCKS))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=corners),
            nn.Conv2d(d, c, 3, padding=1),
            nn.LeakyReLU(slope),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=corners),
            nn.Conv2d(c, b, 3, padding=1),
            nn.LeakyReLU(slope),
            nn.Conv2d(b, a, 3, padding=1),
            nn.LeakyReLU(slope),
        )
        self.up0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(a, 3, 7))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=gain * module.weight[0].numel() ** -0.5)
                nn.init.normal_(module.bias, std=0.1)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        x = self.down(self.first(target))
        for block in self.styles:
            x = block(x, source)
        return (torch.tanh(self.up0(self.up(x))) + 1) / 2


class Affine(nn.Module):
    """The same layers with zero padding, another epsilon and chunks, as retrained copies have them."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(c, c, 3, padding=1), nn.InstanceNorm2d(c, eps=1e-2)
        self.linear = nn.Linear(DIM, 2 * c)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        gamma, beta = self.linear(identity).unsqueeze(-1).unsqueeze(-1).chunk(2, dim=1)
        return gamma * self.norm(self.conv(x)) + beta


class Retrained(Reference):
    def __init__(self) -> None:
        super().__init__()
        self.styles = nn.ModuleList(nn.ModuleList([Affine(WIDTHS[-1]), Affine(WIDTHS[-1])]) for _ in range(BLOCKS))

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        x = self.down(self.first(target))
        for first, second in self.styles:
            x = second(F.relu(first(x, source)), source) + x
        return 0.5 * torch.tanh(self.up0(self.up(x))) + 0.5


class OtherScale(Block):
    """SimSwap's way: gamma + 1."""

    def styled(self, x: Tensor, identity: Tensor, style: nn.ModuleDict) -> Tensor:
        gamma, beta = style["linear"](identity).unsqueeze(2).unsqueeze(3).chunk(2, 1)
        return (gamma + 1) * x + beta


def example(n: int = 1) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    return torch.rand(n, 3, 128, 128, generator=g), F.normalize(torch.randn(n, DIM, generator=g))


def export(net: nn.Module, path: Path, opset: int = 11, folded: bool = True) -> Path:
    """Write a network the way the published file was written: batch 1, the embedding map behind all weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), example(), path, dynamo=False, opset_version=opset, do_constant_folding=folded,
            input_names=["target", "source"], output_names=["output"],
        )  # fmt: skip
    return change(path, lambda graph: graph.initializer.append(numpy_helper.from_array(emap(), "buff2fs")))


def emap() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(DIM, DIM)).astype(np.float32)


def change(path: Path, edit) -> Path:
    model = onnx.load(path)
    edit(model.graph)
    onnx.save(model, path)
    return path


def runtime(path: Path, target: Tensor, identity: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    pairs = zip(target.split(1), identity.split(1), strict=True)
    return torch.cat(
        [torch.from_numpy(session.run(None, {"target": t.numpy(), "source": s.numpy()})[0]) for t, s in pairs]
    )


def rebuilt(path: Path) -> InswapperNet:
    plan, tensors, _ = read_inswapper(path, 128, DIM)
    net = InswapperNet(plan)
    net.load_state_dict(tensors)
    return net.eval()


@pytest.fixture
def file(tmp_path) -> Path:
    torch.manual_seed(0)
    return export(Reference(), tmp_path / "inswapper_128.onnx")


def numbered(graph: onnx.GraphProto) -> None:
    """Names that say nothing, and linear layers stored the other way round."""
    names = {tensor.name: str(900 + i) for i, tensor in enumerate(graph.initializer)}
    for node in graph.node:
        if node.op_type == "Gemm":
            tensor = next(t for t in graph.initializer if t.name == node.input[1])
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).T.copy(), tensor.name))
            kept = [a for a in node.attribute if a.name != "transB"]
            del node.attribute[:]
            node.attribute.extend(kept)
        node.input[:] = [names.get(name, name) for name in node.input]
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]


def multiplied(graph: onnx.GraphProto) -> None:
    """Gemm as MatMul and Add."""
    for i, node in enumerate(list(graph.node)):
        if node.op_type == "Gemm":
            entry, weight, bias = node.input
            flip = helper.make_node("Transpose", [weight], [f"flip{i}"], perm=[1, 0])
            product = helper.make_node("MatMul", [entry, f"flip{i}"], [f"product{i}"])
            add = helper.make_node("Add", [bias, f"product{i}"], list(node.output))
            at = list(graph.node).index(node)
            graph.node.remove(node)
            for new in (add, product, flip):
                graph.node.insert(at, new)


def halved(graph: onnx.GraphProto) -> None:
    """Half precision throughout, with casts at the inputs and the output."""
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
                value = np.maximum(numpy_helper.to_array(attribute.t), np.float32(1e-7)).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(value))
        floats = node.op_type != "Resize"
        node.input[:] = [f"{n}_half" if n in ("target", "source") and floats else n for n in node.input]
        node.output[:] = ["output_half" if n == "output" else n for n in node.output]
    for name in ("target", "source"):
        graph.node.insert(0, helper.make_node("Cast", [name], [f"{name}_half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["output_half"], ["output"], to=TensorProto.FLOAT))


@pytest.mark.parametrize(
    ("edit", "folded", "options"),
    [
        (None, True, {}),
        (None, False, {}),
        (numbered, True, {}),
        (multiplied, False, {}),
        (None, True, {"slope": 0.3, "corners": True, "swapped": True}),
    ],
    ids=["plain", "computed pads", "numbered and transposed", "matmul and add", "other details"],
)
def test_what_the_graph_says_is_what_is_built(tmp_path, edit, folded, options):
    torch.manual_seed(1)
    path = export(Reference(**options), tmp_path / "net.onnx", folded=folded)
    if edit is not None:
        change(path, edit)
    target, identity = example(3)
    wanted = runtime(path, target, identity)
    assert wanted.std() > 0.05
    net = rebuilt(path)
    with torch.no_grad():
        found = net(target, identity)
        alone = torch.cat([net(target[i : i + 1], identity[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().mean() > 1e-3


def test_retrained_copies_keep_their_padding_and_epsilon(tmp_path):
    torch.manual_seed(2)
    path = export(Retrained(), tmp_path / "net.onnx", opset=17)
    assert "InstanceNormalization" in {node.op_type for node in onnx.load(path).graph.node}
    target, identity = example(2)
    net = rebuilt(path)
    assert {style.eps for pair in net.styles for style in pair} == {np.float32(1e-2)}
    torch.testing.assert_close(net(target, identity), runtime(path, target, identity), rtol=0, atol=1e-4)


def test_half_precision_becomes_single(file):
    target, identity = example(2)
    wanted = runtime(file, target, identity)
    change(file, halved)
    plan, tensors, matrix = read_inswapper(file, 128, DIM)
    assert {tensor.dtype for tensor in [*tensors.values(), matrix]} == {torch.float32}
    assert {style.eps for pair in plan.styles for style in pair} == {float(np.float16(1e-7))}
    difference = (rebuilt(file)(target, identity) - wanted).abs()
    assert 0 < difference.mean() < 2e-3


def drop(name: str):
    def edit(graph: onnx.GraphProto) -> None:
        graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == name))

    return edit


def reshape(name: str, shape: tuple[int, ...]):
    def edit(graph: onnx.GraphProto) -> None:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), name))

    return edit


def add(name: str, shape: tuple[int, ...]):
    return lambda graph: graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))


def attribute(kind: str, name: str, value: object, which: int = 0):
    def edit(graph: onnx.GraphProto) -> None:
        node = [node for node in graph.node if node.op_type == kind][which]
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return edit


def operation(kind: str, other: str, which: int = 0):
    def edit(graph: onnx.GraphProto) -> None:
        [node for node in graph.node if node.op_type == kind][which].op_type = other

    return edit


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (drop("styles.0.conv1.1.weight"), "styles.0.conv1.1.weight"),
        (drop("down.2.bias"), "down.2.bias"),
        (drop("buff2fs"), "last weight"),
        (add("extra.weight", (DIM, 3)), "extra.weight"),
        (reshape("styles.1.conv2.1.weight", (10, 9, 3, 3)), "styles.1.conv2.1.weight"),
        (reshape("down.0.weight", (6, 4, 3, 5)), "down.0.weight, 3 x 5"),
        (reshape("styles.1.style1.linear.weight", (20, 256)), "styles.1.style1.linear.weight"),
        (reshape("styles.1.style1.linear.bias", (18,)), "styles.1.style1.linear.bias"),
        (reshape("up.6.bias", (5,)), "up.6.bias"),
        (attribute("Conv", "strides", [2, 2], 1), "down.0.weight has stride 2"),
        (attribute("Conv", "group", 2, 1), "down.0.weight is grouped"),
        (attribute("Conv", "dilations", [2, 2], 3), "down.4.weight"),
        (attribute("Conv", "pads", [0, 0, 0, 0], 1), "down.0.weight, 3 x 3"),
        (attribute("Pad", "mode", "edge", 2), "mode edge"),
        (attribute("Resize", "mode", "nearest"), "mode nearest"),
        (attribute("Resize", "coordinate_transformation_mode", "align_corners"), "doublings differ"),
        (attribute("Resize", "coordinate_transformation_mode", "asymmetric"), "asymmetric"),
        (attribute("ReduceMean", "axes", [1, 2, 3], 2), "mean over height and width"),
        (attribute("Gemm", "alpha", 0.5, 1), "scales or transposes"),
        (operation("Tanh", "Sigmoid"), "Sigmoid"),
        (operation("Relu", "Sigmoid", 1), "Sigmoid"),
        (operation("Sqrt", "Exp", 3), "Exp"),
        (operation("Gemm", "Einsum", 3), "styled"),
    ],
)  # fmt: skip
def test_refused_with_one_sentence_that_says_what_does_not_fit(file, edit, named):
    change(file, edit)
    with raises(ForeignFile, named, path=file) as caught:
        InswapperTeacher(file, "ffhq")
    assert "\n" not in str(caught.value)


def test_another_scale_is_refused(tmp_path):
    net = Reference()
    net.styles[1] = OtherScale(WIDTHS[-1], False)
    with raises(ForeignFile, "gamma"):
        InswapperTeacher(export(net, tmp_path / "net.onnx"), "ffhq")


def test_other_files_are_named(tmp_path, file):
    simswap = tmp_path / "latest_net_G.pth"
    torch.save({"BottleNeck.0.style1.linear.weight": torch.zeros(2, 2)}, simswap)
    with raises(ForeignFile, path=simswap, found="SimSwap 224"):
        InswapperTeacher(simswap, "ffhq")
    with raises(OptionError, argument="weights"):
        InswapperTeacher(None, "ffhq")
    with raises(MissingFile, path=tmp_path / "absent.onnx"):
        InswapperTeacher(tmp_path / "absent.onnx", "ffhq")
    (tmp_path / "broken.onnx").write_bytes(file.read_bytes()[:5000])
    with raises(DamagedFile, path=tmp_path / "broken.onnx"):
        InswapperTeacher(tmp_path / "broken.onnx", "ffhq")
    change(file, numbered)
    change(file, lambda graph: [add(name, (1,))(graph) for name in ("layer1.0.bn3.weight", "features.weight")])
    with raises(ForeignFile, path=file, found="an insightface iResNet"):
        InswapperTeacher(file, "ffhq")


def test_the_declared_file_is_demanded(file):
    good = hashlib.sha256(file.read_bytes()).hexdigest()
    teacher = InswapperTeacher(file, "ffhq", sha256=good, file_bytes=file.stat().st_size)
    assert (teacher.record.sha256, teacher.record.file_bytes) == (good, file.stat().st_size)
    with raises(ForeignFile, path=file, found=good):
        InswapperTeacher(file, "ffhq", sha256="0" * 64)
    with raises(DamagedFile, "277680829", path=file):
        InswapperTeacher(file, "ffhq", file_bytes=277_680_829)
    with raises(OptionError, argument="convention", value="raw"):
        InswapperTeacher(file, "ffhq", convention="raw")


def test_record(file):
    record = InswapperTeacher(file, "ffhq").record
    assert (record.target.size, record.target.template) == (128, "arcface_128")
    assert (record.target.mean, record.target.std) == ((0, 0, 0), (1, 1, 1))
    assert (record.source.kind, record.source.encoder, record.source.dim) == ("shared_embedding", "w600k_r50", 512)
    assert (record.licence, record.commercial) == ("insightface: non-commercial research", False)
    assert record.batchable


def test_both_conventions_map_the_embedding(file):
    raw = 7 * example(3)[1]
    unit = raw / raw.norm(dim=1, keepdim=True)
    matrix = torch.from_numpy(emap())
    latent = unit @ matrix
    insightface, facefusion = (InswapperTeacher(file, "ffhq", convention=n) for n in ("insightface", "facefusion"))
    torch.testing.assert_close(insightface.embedding_map(unit), latent / latent.norm(dim=1, keepdim=True))
    torch.testing.assert_close(facefusion.embedding_map(unit), raw @ matrix / raw.norm(dim=1, keepdim=True))
    assert not torch.allclose(facefusion.embedding_map(unit).norm(dim=1), torch.ones(3), atol=0.1)


class Recogniser(GridRecogniser):
    name = "w600k_r50"


def test_swaps_faces_in_the_students_crop_with_either_source(file):
    torch.manual_seed(4)
    encoder = Recogniser()
    own, shared = InswapperTeacher(file, "ffhq", encoder), InswapperTeacher(file, "ffhq")
    shared.attach(None, encoder)
    batch = swaps(3, 96)
    seen = encoder(batch.source)
    out = own(batch, seen._replace(embedding=torch.zeros(3, 8)))
    assert out.shape == batch.target.shape
    assert out.min() >= 0
    assert out.max() <= 1
    torch.testing.assert_close(out, shared(batch, seen))
    alone = own(
        batch.take(slice(1, 2)),
        IdentityFeatures(seen.embedding[1:2], seen.features[1:2]),
    )
    torch.testing.assert_close(alone, out[1:2], rtol=0, atol=1e-4)
    moved = own(batch._replace(source=batch.source.flip(0)), seen)
    assert (moved - out).abs().max() > 1e-3
    with raises(EncoderMismatch, wanted="w600k_r50", given="other"):
        shared.attach(None, type("Other", (Recogniser,), {"name": "other"})())


def test_frozen(file):
    teacher = InswapperTeacher(file, "ffhq")
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def published() -> InswapperPlan:
    def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, slope: float | None = 0.2) -> ConvPlan:
        return ConvPlan(c_in, c_out, kernel, stride, kernel == 7, slope)

    style = StylePlan(ConvPlan(1024, 1024, 3, 1, True, 0.0), 1e-8)
    return InswapperPlan(
        (conv(3, 128, 7), conv(128, 256, 3), conv(256, 512, 3, 2), conv(512, 1024, 3, 2)),
        ((style, style._replace(conv=style.conv._replace(slope=None))),) * 6,
        (conv(1024, 512, 3), conv(512, 256, 3), conv(256, 128, 3), conv(128, 3, 7, slope=None)),
        512,
        False,
    )


def test_published_size():
    with torch.device("meta"):
        net = InswapperNet(published())
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == 138_292_739
    graph_and_names = 554_253_681 - 4 * (count + 512 * 512)
    assert 0 < graph_and_names < 50_000


@pytest.mark.slow
def test_full_size_runs():
    with torch.device("meta"):
        net = InswapperNet(published())
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.02)
    with torch.no_grad():
        out = net(*example(1))
    assert out.shape == (1, 3, 128, 128)
    assert 0 <= out.min() < out.max() <= 1

"""SFace with random weights of the file's layout, plain and with eight bits in blocks, against ONNX Runtime."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from idn.encoders.input_crop import face_crop
from idn.encoders.sface import SFaceEncoder
from idn.errors import DamagedFile, ForeignFile, MissingExtra, MissingFile, OptionError, UnfitTensors
from tests.raising import raises

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

REAL = sorted((Path(__file__).parents[2] / "../shared/weights").glob("face_recognition_sface_2021dec*.onnx"))
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
HALVING = (3, 5, 7, 13)


class Written:
    """Writes down the nodes and the weights of the file, under its names."""

    def __init__(self, eight_bits):
        self.eight_bits, self.draw = eight_bits, np.random.default_rng(0)
        self.nodes, self.initial, self.unread = [], [], []

    def model(self):
        x = self.op("Sub", "data", "sub", self.keep("scalar_op1", np.full(1, 127.5)))
        x = self.op("Mul", x, "mul", self.keep("scalar_op2", np.full(1, 0.0078125)))
        x = self.conv(x, "conv_1", 3, 32, 3, 1)
        c_in = 32
        for number, c_out in enumerate(WIDTHS, 2):
            x = self.conv(x, f"conv_{number}_dw", c_in, c_in, 3, 2 if number in HALVING else 1, c_in)
            x, c_in = self.conv(x, f"conv_{number}", c_in, c_out, 1, 1), c_out
        x = self.norm(x, "bn1", c_in, 2e-5)
        x = self.dropout(x)
        x = self.op("Flatten", x, "flatten")
        weight = self.weight("pre_fc1_weight", self.draw.normal(0, 0.01, (128, 50176)))
        x = self.op("Gemm", x, "pre_fc1", weight, self.weight("pre_fc1_bias", self.draw.normal(0, 1, 128)), transB=1)
        return self.saved(self.norm(x, "fc1", 128, 2e-5))

    def saved(self, x):
        shapes = {"data": (1, 3, 112, 112), **dict(self.unread)}
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        output = helper.make_tensor_value_info(x, TensorProto.FLOAT, (1, 128))
        graph = helper.make_graph(self.nodes, "sface", inputs, [output], self.initial)
        opsets = [helper.make_opsetid("", 21 if self.eight_bits else 11)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def op(self, kind, x, name, *weights, **attributes):
        self.nodes.append(helper.make_node(kind, [x, *weights], [name], name, **attributes))
        return name

    def keep(self, name, values):
        values = np.asarray(values)
        array = values.astype(np.float32) if values.dtype == np.float64 else values
        self.initial.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x, name, c_in, c_out, kernel, stride, groups=1):
        values = self.draw.normal(0, 1, (c_out, c_in // groups, kernel, kernel))
        weight = self.weight(f"{name}_conv2d_weight", values * (2 / values[0].size) ** 0.5)
        geometry = {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups, "kernel_shape": [kernel] * 2}
        x = self.op("Conv", x, f"{name}_conv2d", weight, **geometry)
        x = self.norm(x, f"{name}_batchnorm", c_out, 1e-3)
        return self.op("PRelu", x, f"{name}_relu", self.keep(f"{name}_slope", self.draw.uniform(0, 0.5, (c_out, 1, 1))))

    def norm(self, x, name, count, eps):
        mean, bias = self.draw.normal(0, 0.2, (2, count))
        gain, var = self.draw.uniform(0.5, 1.5, (2, count))
        named = {"gamma": gain, "beta": bias, "moving_mean": mean, "moving_var": var}
        kept = [self.keep(f"{name}_{key}", values) for key, values in named.items()]
        return self.op("BatchNormalization", x, name, *kept, epsilon=eps, momentum=0.9)

    def dropout(self, x):
        if not self.eight_bits:
            return self.op("Dropout", x, "dropout", ratio=0.4)
        value = numpy_helper.from_array(np.array(0.4, np.float32))
        self.nodes.append(helper.make_node("Constant", [], ["ratio"], value=value))
        return self.op("Dropout", x, "dropout", "ratio")

    def weight(self, name, values):
        """Its name; with eight bits as OpenCV Zoo's tool leaves it, which lists the plain one as an input that nobody
        reads."""
        if not self.eight_bits:
            return self.keep(name, values)
        flat = values.reshape(len(values), -1) if values.ndim > 1 else values
        axis = flat.ndim - 1
        block = min(64, flat.shape[axis])
        blocks = flat.reshape(*flat.shape[:axis], -1, block)
        low, high = blocks.min(-1), blocks.max(-1)
        scale = (high - low) / 255
        zero = np.round(-128 - low / scale)
        bits = np.clip(np.round(blocks / scale[..., None] + zero[..., None]), -128, 127).reshape(flat.shape)
        arrays = {"quantized": bits.astype(np.int8), "scales": scale, "zero_point": zero.astype(np.int8)}
        kept = [self.keep(f"{name}_{key}", array) for key, array in arrays.items()]
        made = helper.make_node("DequantizeLinear", kept, [f"{name}_dequantized"], axis=axis, block_size=block)
        self.nodes.append(made)
        self.unread.append((name, values.shape))
        if values.ndim < 4:
            return made.output[0]
        shape = self.keep(f"{name}_shape", np.array(values.shape, np.int64))
        return self.op("Reshape", made.output[0], f"{name}_reshaped", shape)


@pytest.fixture(scope="module")
def plain():
    return Written(eight_bits=False).model()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "eight bits"])
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("sface") / "net.onnx"
    onnx.save(Written(request.param).model(), path)
    return path


@pytest.fixture(scope="module")
def encoder(file):
    return SFaceEncoder(file, "arcface_112_v2")


def expected(path, crops):
    """What ONNX Runtime makes of crops in [0, 1] with the colours from 0 to 255 that OpenCV hands over, (N, 128)."""
    runtime = pytest.importorskip("onnxruntime")
    model = onnx.load(path)
    read = {name for node in model.graph.node for name in node.input}
    unread = [value for value in model.graph.input if value.name not in read]
    for value in unread:  # ONNX Runtime would ask for them
        model.graph.input.remove(value)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return torch.cat([torch.from_numpy(session.run(None, {"data": crop[None].numpy() * 255})[0]) for crop in crops])


def pictures(side, count=2, seed=1):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_it_sees_what_onnx_runtime_computes_from_the_same_file(file, encoder):
    seen, raw = encoder(pictures(112)), expected(file, pictures(112))
    length = raw.norm(dim=1)
    torch.testing.assert_close(seen.embedding, raw / length[:, None], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.length, length, atol=1e-3, rtol=1e-4)
    assert (seen.embedding[0] @ seen.embedding[1]).abs() < 0.999
    swapped = encoder(pictures(112).flip(1)).embedding
    assert (swapped - seen.embedding).abs().max() > 1e-3, "the order of colours is told apart"


def test_other_framings_are_cut_to_the_crop_of_its_training(file, encoder):
    images = pictures(160)
    raw = expected(file, face_crop(images, "ffhq", "arcface_112_v2", 112))
    seen = SFaceEncoder(file, "ffhq")(images)
    torch.testing.assert_close(seen.embedding, raw / raw.norm(dim=1, keepdim=True), atol=1e-4, rtol=0)


def test_maps_have_the_declared_shapes_and_features_are_what_the_last_layer_reads(encoder):
    seen = encoder(pictures(112))
    assert seen.features.shape == (2, encoder.feature_channels, encoder.feature_size, encoder.feature_size)
    assert [tuple(level.shape[1:]) for level in seen.shallow] == [(128, 56, 56), (256, 28, 28), (512, 14, 14)]
    torch.testing.assert_close(encoder.net.fc(seen.features.flatten(1)), seen.embedding * seen.length[:, None])


def test_gradients_reach_the_picture_and_no_weight(encoder):
    images = pictures(128).requires_grad_()
    encoder.train()(images).embedding[:, 0].sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().amax((1, 2, 3)).min() > 0
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad or p.grad is not None for p in encoder.parameters())


def changed(model, path, change):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy.graph, {node.name: node for node in copy.graph.node if node.name})
    onnx.save(copy, path)
    return path


def put(node, **attributes):
    """Give a node these attributes in place of those of their names."""
    kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])


def drop(graph, name):
    graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == name))


def replace(graph, name, array):
    drop(graph, name)
    graph.initializer.append(numpy_helper.from_array(np.asarray(array, np.float32), name))


def leave_out(graph, nodes, name):
    """Take a node out of the chain."""
    reader = next(node for node in graph.node if nodes[name].output[0] in node.input)
    reader.input[0] = nodes[name].input[0]
    graph.node.remove(nodes[name])


def add(graph, kind, inputs, output):
    graph.node.append(helper.make_node(kind, inputs, [output]))


def kind_of(node, kind):
    node.op_type = kind


CHANGES = {
    "stride": lambda graph, nodes: put(nodes["conv_5_dw_conv2d"], strides=[1, 1]),
    "no stride given": lambda graph, nodes: nodes["conv_7_dw_conv2d"].ClearField("attribute"),
    "pads": lambda graph, nodes: put(nodes["conv_9_dw_conv2d"], pads=[0, 0, 2, 2]),
    "pads by rule": lambda graph, nodes: put(nodes["conv_9_dw_conv2d"], auto_pad="SAME_UPPER"),
    "dilations": lambda graph, nodes: put(nodes["conv_9_dw_conv2d"], dilations=[2, 2]),
    "group": lambda graph, nodes: put(nodes["conv_4_dw_conv2d"], group=1),
    "epsilon": lambda graph, nodes: put(nodes["conv_8_batchnorm"], epsilon=1e-5),
    "epsilon at the end": lambda graph, nodes: put(nodes["fc1"], epsilon=1e-3),
    "training": lambda graph, nodes: put(nodes["bn1"], training_mode=1),
    "an attribute nobody knows": lambda graph, nodes: put(nodes["conv_2_relu"], slope=0.1),
    "transposed": lambda graph, nodes: put(nodes["pre_fc1"], transB=0),
    "alpha": lambda graph, nodes: put(nodes["pre_fc1"], alpha=2.0),
    "axis": lambda graph, nodes: put(nodes["flatten"], axis=2),
    "middle": lambda graph, nodes: replace(graph, "scalar_op1", [128.0]),
    "factor": lambda graph, nodes: replace(graph, "scalar_op2", [1 / 127.5]),
    "the other way round": lambda graph, nodes: nodes["sub"].input.reverse(),
    "activation": lambda graph, nodes: kind_of(nodes["conv_3_relu"], "LeakyRelu"),
    "slopes": lambda graph, nodes: replace(graph, "conv_3_slope", np.ones(128)),
    "weight that is not there": lambda graph, nodes: drop(graph, "conv_6_conv2d_weight"),
    "statistics that are not there": lambda graph, nodes: drop(graph, "bn1_moving_var"),
    "a layer less": lambda graph, nodes: leave_out(graph, nodes, "conv_10_batchnorm"),
    "two readers": lambda graph, nodes: add(graph, "Relu", ["conv_4_relu"], "beside"),
    "goes on": lambda graph, nodes: add(graph, "Relu", ["fc1"], "after"),
    "something beside": lambda graph, nodes: add(graph, "Relu", ["data2"], "beside"),
    "another size": lambda graph, nodes: setattr(graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 160),
    "another output": lambda graph, nodes: setattr(graph.output[0], "name", "pre_fc1"),
    "another graph": lambda graph, nodes: graph.ClearField("node") or add(graph, "Relu", ["data"], "fc1"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_graph_is_refused_in_one_sentence(plain, tmp_path, change):
    path = changed(plain, tmp_path / "net.onnx", change)
    with raises(ForeignFile, "face_recognition_sface_2021dec.onnx", path=path) as error:
        SFaceEncoder(path, "ffhq")
    assert len(str(error.value).splitlines()) == 1


def test_weights_of_another_shape_are_named(plain, tmp_path):
    narrow = np.zeros((512, 256, 1, 1))
    path = changed(plain, tmp_path / "net.onnx", lambda graph, _: replace(graph, "conv_9_conv2d_weight", narrow))
    with raises(UnfitTensors, "net.onnx", misshaped=["stages.3.5.conv.weight"]):
        SFaceEncoder(path, "ffhq")


def test_files_that_cannot_be_read_are_one_sentence(plain, tmp_path):
    whole = plain.SerializeToString()
    contents = {"cut": whole[: len(whole) // 2], "short": whole[:-1], "text": b"no network", "empty": b""}
    for name, content in contents.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with raises(DamagedFile, path=tmp_path / f"{name}.onnx"):
            SFaceEncoder(tmp_path / f"{name}.onnx", "ffhq")
    for path in (tmp_path, tmp_path / "gone.onnx"):
        with raises(MissingFile, path=path):
            SFaceEncoder(path, "ffhq")


def test_a_url_is_fetched(plain, memory):
    memory.pipe("/net.onnx", plain.SerializeToString())
    assert SFaceEncoder("memory://net.onnx", "ffhq").embedding_dim == 128
    with raises(MissingFile, "memory://gone.onnx"):
        SFaceEncoder("memory://gone.onnx", "ffhq")


@pytest.mark.parametrize(("argument", "options"), [("weights", (None, "ffhq")), ("crop_template", ("x.onnx", "dlib"))])
def test_it_needs_its_file_and_a_known_template(argument, options):
    with raises(OptionError, argument=argument):
        SFaceEncoder(*options)


def test_without_onnx_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with raises(MissingExtra, extra="onnx"):
        SFaceEncoder(tmp_path / "net.onnx", "ffhq")


@pytest.mark.skipif(not REAL, reason="no ../shared file of SFace")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_the_published_file_gives_what_onnx_runtime_computes(path):
    seen, raw = SFaceEncoder(path, "arcface_112_v2")(pictures(112)), expected(path, pictures(112))
    torch.testing.assert_close(seen.embedding, raw / raw.norm(dim=1, keepdim=True), atol=1e-4, rtol=0)

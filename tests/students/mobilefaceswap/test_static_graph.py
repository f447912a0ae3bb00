import copy
import io
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from idn.students.count import conv_macs
from idn.students.mobilefaceswap.static import StaticIDN
from idn.students.mobilefaceswap.static_graph import baked, blocks_to_blocks, example, pixels_to_blocks, rewrite
from tests.export.conftest import restless_student


def any_static(width: float = 0.25) -> StaticIDN:
    """A static network in which every bias and every statistic matters."""
    return restless_student(width).bake(F.normalize(torch.randn(1, 16)), torch.rand(1, 32, 7, 7))


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_rewritten_network_gives_the_same_numbers(blocks: bool, dtype: torch.dtype, tolerance: float) -> None:
    static = any_static().to(dtype)
    torch.manual_seed(4)
    target = torch.rand(2, 3, 96, 64, dtype=dtype)
    image, mask = static(target)
    assert image.std() > 0.02
    assert mask.std() > 0.02
    rewritten = rewrite(static, blocks)(target)
    torch.testing.assert_close(rewritten, (image, mask), atol=tolerance, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_border_is_exact(value: float) -> None:
    """Padding stands for grey: a plain black or white target shows it if it stood for anything else."""
    static = any_static().double()
    target = torch.full((1, 3, 64, 64), value, dtype=torch.float64)
    torch.testing.assert_close(rewrite(static)(target), static(target), atol=1e-12, rtol=0)


def test_convolutions_by_blocks_are_convolutions() -> None:
    x = torch.randn(2, 5, 8, 12)
    first, second = nn.Conv2d(5, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
    between = pixels_to_blocks(first.weight, first.bias)(x)
    assert between.shape == (2, 16, 4, 6)
    torch.testing.assert_close(F.pixel_shuffle(between, 2), first(x))
    by_blocks = blocks_to_blocks(second.weight, second.bias)(between)
    torch.testing.assert_close(F.pixel_shuffle(by_blocks, 2), second(first(x)), atol=1e-5, rtol=1e-5)


def test_rewriting_leaves_the_original_alone() -> None:
    static = any_static()
    before = copy.deepcopy(static.state_dict())
    rewritten = rewrite(static)
    for parameter in rewritten.parameters():
        assert not parameter.requires_grad
        parameter.data.zero_()
    for name, value in static.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_multiplications() -> None:
    """Per 224 px frame. The head's 1x1 convolution at a quarter of the pixels saves, blocks cost."""
    static, target = any_static(width=1.0), torch.zeros(1, 3, 224, 224)
    published, plain, by_blocks = (
        conv_macs(module, target) for module in (static, rewrite(static, blocks=False), rewrite(static, blocks=True))
    )
    assert published == 305_722_368
    assert plain == published - 3 * 112 * 112 * 32 * 8
    assert by_blocks == 327_849_984


@pytest.mark.parametrize("blocks", [False, True])
def test_tracers_read_it(blocks: bool) -> None:
    network = baked(any_static(), size=64, blocks=blocks)
    inputs = tuple(network.inputs.values())
    expected = network.module(*inputs)
    assert len(expected) == len(network.outputs)
    exported = torch.export.export(network.module, inputs).module()
    torch.testing.assert_close(exported(*inputs), expected, atol=1e-6, rtol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.module, inputs)
    torch.testing.assert_close(traced(*inputs), expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_onnx_exporter_reads_it() -> None:
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    network = baked(any_static(), size=64)
    inputs = tuple(network.inputs.values())
    file = io.BytesIO()
    torch.onnx.export(network.module, inputs, dynamo=True, verbose=False).save(file)
    session = ort.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: inputs[0].numpy()})
    for one, wanted in zip(found, network.module(*inputs), strict=True):
        torch.testing.assert_close(torch.from_numpy(one), wanted, atol=5e-5, rtol=0)


def test_examples_are_repeatable() -> None:
    assert torch.equal(example(2, 3), example(2, 3))
    assert example(1000).min() < 0.01
    assert example(1000).max() > 0.99

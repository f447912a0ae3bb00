import copy
import warnings
from operator import itemgetter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

from idn.students.mobilefaceswap.dynamic import fold
from idn.students.mobilefaceswap.dynamic_graph import DynamicGraph, InjectionGraph, dynamic, identity_shapes, pack
from idn.students.mobilefaceswap.layout import Layout
from idn.types import IdentityFeatures, Network
from tests.export.conftest import restless_student


def people(n: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return F.normalize(torch.randn(n, 16, dtype=dtype)), torch.rand(n, 32, 7, 7, dtype=dtype)


def identity_length(layout: Layout) -> int:
    return sum(torch.Size(shape).numel() for shape in identity_shapes(layout))


def test_length_of_an_identity() -> None:
    assert identity_length(Layout.of(1.0)) == 20_944
    for width in (0.25, 0.5, 2.0):
        layout = Layout.of(width)
        encoder = 16 * sum(layout.encoder[:-1])
        decoder = 9 * sum(layout.decoder_in)
        assert identity_length(layout) == encoder + decoder + layout.encoder[-1] + layout.decoder[-1]


def test_order_of_an_identity() -> None:
    weights = restless_student().inject(*people(3))
    vectors = pack(weights)
    shapes = identity_shapes(Layout.of(0.25))
    *kernels, encoded, decoded = vectors.split([torch.Size(shape).numel() for shape in shapes], 1)
    for found, kernel in zip(kernels, fold(weights), strict=True):
        assert torch.equal(found.reshape(kernel.shape), kernel)
    assert torch.equal(encoded, weights.demodulation[4])
    assert torch.equal(decoded, weights.demodulation[8])


def test_injection_of_several_is_that_of_each() -> None:
    student = restless_student()
    embedding, features = people(3)
    injection = InjectionGraph(student)
    together = injection(embedding, features)[0]
    assert together.shape == (3, identity_length(Layout.of(0.25)))
    assert not torch.allclose(together[0], together[1])
    for n in range(3):
        alone = injection(embedding[n : n + 1], features[n : n + 1])[0]
        torch.testing.assert_close(alone, together[n : n + 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("runtime_kernels", [False, True])
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_both_networks_together_are_the_student(
    runtime_kernels: bool, blocks: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """In single precision to what the student's own rounding allows, in double exactly."""
    student = restless_student().to(dtype)
    exact = copy.deepcopy(student).double()
    injection, swap = InjectionGraph(student), DynamicGraph(student, runtime_kernels, blocks)
    target = torch.rand(1, 3, 96, 64, dtype=dtype)
    images = []
    for _ in range(2):
        who = people(1, dtype)
        expected = student(target, IdentityFeatures(*who))
        assert expected.image.std() > 0.02
        assert expected.mask.std() > 0.02
        truth = exact(target.double(), IdentityFeatures(*(part.double() for part in who)))
        rounding = float((truth.image - expected.image).abs().max().detach())
        found = swap(target, *injection(*who))
        torch.testing.assert_close(found, expected[:2], atol=max(tolerance, 4 * rounding), rtol=0)
        images.append(expected.image)
    assert (images[0] - images[1]).abs().max() > 0.01


def test_making_networks_leaves_the_student_alone() -> None:
    student = restless_student().train()
    before = copy.deepcopy(student.state_dict())
    for network in dynamic(student, size=64, runtime_kernels=True):
        assert not network.module.training
        for tensor in (*network.module.parameters(), *network.module.buffers()):
            assert not tensor.requires_grad
            tensor.zero_()
    assert all(module.training for module in student.modules())
    assert all(parameter.requires_grad for parameter in student.parameters())
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.fixture(scope="module", params=[False, True], ids=["constant_kernels", "runtime_kernels"])
def read(request: pytest.FixtureRequest) -> tuple[bool, list[tuple[Network, ExportedProgram]]]:
    """Whether kernels are inputs of the convolutions; and the two networks, with what torch.export reads of each."""
    networks = dynamic(restless_student(), size=64, runtime_kernels=request.param)
    return request.param, [
        (network, torch.export.export(network.module, tuple(network.inputs.values()))) for network in networks
    ]


def test_tracers_read_them(read: tuple[bool, list[tuple[Network, ExportedProgram]]]) -> None:
    assert [network.name for network, _ in read[1]] == ["injection", "swap"]
    for network, program in read[1]:
        inputs = tuple(network.inputs.values())
        expected = network.module(*inputs)
        assert len(expected) == len(network.outputs)
        torch.testing.assert_close(program.module()(*inputs), expected, atol=1e-6, rtol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network.module, inputs)
        torch.testing.assert_close(traced(*inputs), expected, atol=1e-6, rtol=1e-6)


def test_convolutions_whose_kernels_are_inputs(read: tuple[bool, list[tuple[Network, ExportedProgram]]]) -> None:
    program = read[1][1][1]
    constant = set(program.graph_signature.inputs_to_parameters)
    convolutions = [node for node in program.graph.nodes if str(node.target).startswith("aten.conv2d")]
    kernels = map(itemgetter(1), (node.args for node in convolutions))
    assert sum(kernel.name not in constant for kernel in kernels) == (9 if read[0] else 0)


def test_inputs_of_the_second_are_outputs_of_the_first() -> None:
    injection, swap = dynamic(restless_student(), size=64, runtime_kernels=True)
    assert tuple(swap.inputs) == ("target", "identity")
    assert torch.equal(swap.inputs["identity"], injection.module(*injection.inputs.values())[0])

"""MobileFSGAN outside PyTorch: every runtime answers as the student does, for one person and for any."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from idn.errors import UserError
from idn.export.contract import Format
from idn.export.formats import format_named
from idn.export.parity import compare, reference
from idn.students.mobilefsgan.layers import reflected
from idn.students.mobilefsgan.student import Student
from idn.students.student_file import build_network, load_student, save_student
from idn.types import EncoderDescription, IdentityFeatures
from tests.students.mobilefsgan.published_network import published_weights

RUNTIMES = ("onnx", "openvino", "executorch", "safetensors", "pt2")
FAST = ("onnx", "safetensors")


def chosen(name: str) -> Format:
    try:
        return format_named(name)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def student() -> Student:
    made = Student(EncoderDescription(16, 32), width=8)
    made.load_state_dict(published_weights(8, 16))
    return made.eval()


def who() -> IdentityFeatures:
    return IdentityFeatures(F.normalize(torch.randn(1, 16, generator=torch.Generator().manual_seed(3))), torch.zeros(0))


def pictures(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).random((1, 3, 64, 64), np.float32) for seed in range(count)]


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in RUNTIMES]
)
def test_one_person_runs_in_every_runtime(name: str, student: Student, tmp_path: Path) -> None:
    form, network = chosen(name), student.deployment().baked(who(), 64)
    path, examples = tmp_path / f"swap{form.suffix}", [(target,) for target in pictures(2)]
    form.write(network, path, "fp32", [])
    parity = compare(network, form.open(path, 1), examples, reference(network, examples))
    assert parity.psnr > 90
    with torch.no_grad():
        expected = student(torch.from_numpy(examples[0][0]), who()).image.numpy()
    assert expected.std() > 0.05 and np.abs(form.open(path, 1)(*examples[0])[0] - expected).max() < 1e-4


def test_borders_are_reflected_by_what_every_runtime_knows(student: Student) -> None:
    pixels = torch.rand(2, 3, 5, 4)
    assert torch.equal(reflected(pixels), F.pad(pixels, (1, 1, 1, 1), mode="reflect"))
    network = student.deployment().baked(who(), 64)
    program = torch.export.export(network.module, tuple(network.inputs.values())).run_decompositions()
    operators = {str(node.target) for node in program.graph.nodes}
    assert not [name for name in operators if "reflection_pad" in name or "aten.index" in name], operators


@pytest.mark.parametrize("name", ["onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in RUNTIMES[1:3])])
def test_any_person_runs_with_the_embedding_as_an_input(name: str, student: Student, tmp_path: Path) -> None:
    form, (network,) = chosen(name), student.deployment().dynamic(64)
    path = tmp_path / f"swap{form.suffix}"
    examples = [(target, who().embedding.numpy()) for target in pictures(2)]
    form.write(network, path, "fp32", [])
    assert compare(network, form.open(path, 1), examples, reference(network, examples)).psnr > 90


def test_a_network_is_made_again_from_its_recipe(student: Student, tmp_path: Path) -> None:
    save_student(student, tmp_path / "student.safetensors")
    deployment, target = load_student(tmp_path / "student.safetensors").eval().deployment(), torch.rand(1, 3, 64, 64)
    for network in (deployment.baked(who(), 64), *deployment.dynamic(64)):
        again = build_network(network.name, network.recipe)
        again.load_state_dict(network.module.state_dict())
        inputs = (target, who().embedding)[: len(network.inputs)]
        torch.testing.assert_close(again(*inputs), network.module(*inputs))
    whole = Student(EncoderDescription(512, 512))
    assert sum(p.numel() for p in whole.state_dict().values()) * 4 / 1e6 == pytest.approx(10.1, abs=0.05)

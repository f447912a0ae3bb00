"""What tells the weights of a teacher apart that is run from a file instead of from tensors."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idn.files.digests import weights_digest
from idn.frozen import Frozen
from teachers.base import FrozenTeacher
from teachers.ensemble import EnsembleTeacher
from teachers.onnx.embedding_map import CrossFaceMap
from teachers.onnx.teacher import OnnxTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.torch_program import TorchProgramTeacher
from teachers.without_weights.target_itself import TargetItselfTeacher

SIZE, DIM = 16, 4
RECORD = TeacherRecord(
    "x", "CC0", True, FaceInput(SIZE, "ffhq"), SourceInput("shared_embedding", encoder="tiny", dim=DIM)
)


class Scaled(nn.Module):
    """Its number becomes a part of the program, as weights do where a program is frozen before it is saved."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, target: Tensor, identity: Tensor) -> Tensor:
        return self.scale * target + identity.mean(1)[:, None, None, None]


def script(path: Path, scale: float) -> TorchProgramTeacher:
    example = (torch.rand(2, 3, SIZE, SIZE), torch.rand(2, DIM))
    torch.jit.save(torch.jit.trace(Scaled(scale).eval(), example), path)
    return TorchProgramTeacher(path, RECORD, "ffhq", source_first=False)


def onnx_file(path: Path, text: str) -> Path:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    onnx.save(onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> {text}'), path)
    return path


def graph(path: Path, scale: float) -> OnnxTeacher:
    onnx_file(
        path,
        f"""swapper (float[N, 3, {SIZE}, {SIZE}] target, float[N, {DIM}] source) => (float[N, 3, {SIZE}, {SIZE}] output)
        <float scale = {{{scale}}}, int64[2] axes = {{2, 3}}>
        {{
            mean = ReduceMean<axes = [1]>(source)
            shift = Unsqueeze(mean, axes)
            drawn = Mul(target, scale)
            output = Add(drawn, shift)
        }}""",
    )
    return OnnxTeacher(path, "ffhq", RECORD, "target", "source")


def converter(path: Path, scale: float) -> CrossFaceMap:
    onnx_file(
        path,
        f"map (float[1, {DIM}] input) => (float[1, {DIM}] output) <float s = {{{scale}}}> {{ output = Mul(input, s) }}",
    )
    return CrossFaceMap(path, unit_length=False)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize(("make", "suffix"), [(script, "pt"), (graph, "onnx"), (converter, "onnx")])
def test_another_program_of_the_same_kind_is_told_apart(make, suffix: str, tmp_path: Path) -> None:
    networks: list[Frozen] = [make(tmp_path / f"{k}.{suffix}", scale) for k, scale in enumerate((0.5, 0.25))]
    assert all(len(network.state_dict()) == 0 for network in networks), "their tensors tell nothing"
    digests = [weights_digest(network) for network in networks]
    assert digests[0] != digests[1]
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / f"another_name.{suffix}"
    moved.write_bytes((tmp_path / f"0.{suffix}").read_bytes())
    networks[0].weights_file = moved
    assert weights_digest(networks[0]) == digests[0], "the content counts, not the place"


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_an_ensemble_is_known_by_its_members(tmp_path: Path) -> None:
    def ensemble(member: FrozenTeacher, name: str = "b") -> EnsembleTeacher:
        return EnsembleTeacher({"a": TargetItselfTeacher(), name: member}, "weight", seed=0)

    first, second = (script(tmp_path / f"{k}.pt", scale) for k, scale in enumerate((0.5, 0.25)))
    assert weights_digest(ensemble(first)) == weights_digest(ensemble(first)) != weights_digest(ensemble(second))

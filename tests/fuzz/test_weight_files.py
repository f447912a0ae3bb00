"""Mutated files of weights for every reader: opened, or refused in one sentence; no code in them is run."""

import io
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from idn.encoders.mobilefacenet import MobileFaceNet
from idn.encoders.trained import TrainedMobileFaceNet, save_trained
from idn.errors import UserError
from idn.files.onnx_graph import read_onnx
from idn.files.tensors import read_metadata, read_tensors
from idn.reweighting.graded.sources import Snapshots
from idn.reweighting.scorer import QualityScorer, ScorerNetwork, ScorerNotes, save_scorer
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import load_student, read_student_file, save_student
from idn.training.resume import read_checkpoint
from idn.types import EncoderDescription
from teachers.trainable import SimSwapSwapper
from teachers.trained_here import TrainedHereTeacher
from tests.fuzz.conftest import Shell
from tests.fuzz.damage import damaged, rewrite_safetensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.5, -2])}


def _plain(path: Path) -> None:
    save_file(TENSORS, path, {"format": "idn.student", "config": "{}"})


def _zip(path: Path) -> None:
    torch.save({"state_dict": TENSORS, "epoch": 3}, path)


def _legacy(path: Path) -> None:
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)


def _checkpoint(path: Path) -> None:
    torch.save({"state_dict": TENSORS, "global_step": 3, "pytorch-lightning_version": "2.6.0"}, path)


def _module(path: Path) -> None:
    torch.save({"net": nn.Linear(3, 2)}, path)


def _paddle(path: Path) -> None:
    path.write_bytes(pickle.dumps(OrderedDict(w=np.arange(6.0).reshape(2, 3)), protocol=4))


def _student(path: Path) -> None:
    torch.manual_seed(0)
    save_student(
        Student(EncoderDescription(8, 16, 7), width=0.25), path, {"template": "ffhq", "size": "64", "encoder": "tiny"}
    )


def _encoder(path: Path) -> None:
    torch.manual_seed(0)
    save_trained(MobileFaceNet(0.25, 24, 56, "arcface_112_v2", "ffhq").eval(), path, "CC0", "idn", {})


def _scorer(path: Path) -> None:
    torch.manual_seed(0)
    save_scorer(
        ScorerNetwork(32).eval(), path, ScorerNotes("snapshots", "t", "CC0", "allowed", "idn", {"val/loss": 0.1})
    )


def _teacher(path: Path) -> None:
    notes = {"size": "32", "template": "ffhq", "encoder": "tiny", "encoder_dim": "8", "encoder_licence": "CC0"}
    torch.manual_seed(0)
    SimSwapSwapper(4, 2, 1, 8).save(path, {**notes, "licence": "CC0", "steps": "9", "fraction": "0.5"})


def _graph(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", 1, [1, 3])
    out = onnx.helper.make_tensor_value_info("y", 1, [1, 2])
    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [out], [weight])), path)


def _snapshots(path: Path) -> object:
    return Snapshots(path.parent, lambda weights: TrainedHereTeacher(weights, "ffhq"))


def _names(path: Path) -> object:
    return read_metadata(path), read_tensors(path)


Read = Callable[[Path], object]
READERS: dict[str, tuple[Callable[[Path], None], Read]] = {
    "safetensors": (_plain, _names),
    "zip": (_zip, read_tensors),
    "legacy": (_legacy, read_tensors),
    "module": (_module, read_tensors),
    "paddle": (_paddle, read_tensors),
    "student": (_student, load_student),
    "student file": (_student, read_student_file),
    "encoder": (_encoder, lambda path: TrainedMobileFaceNet(path, "ffhq")),
    "scorer": (_scorer, QualityScorer),
    "teacher": (_teacher, lambda path: TrainedHereTeacher(path, "ffhq")),
    "snapshots": (_teacher, _snapshots),
    "checkpoint": (_checkpoint, read_checkpoint),
    "onnx": (_graph, read_onnx),
}


def attempt(read: Read, path: Path) -> str:
    """Whether a file was read or refused. Anything but one sentence about it is an error."""
    try:
        read(path)
    except UserError as error:
        said = str(error)
        assert said and len(said.splitlines()) == 1 and "Traceback" not in said, said
        return "refused"
    return "read"


def try_files(name: str, draw: random.Random, tmp_path: Path, count: int) -> None:
    write, read = READERS[name]
    path = tmp_path / ("last.ckpt" if name == "checkpoint" else "file.safetensors")
    write(path)
    whole, outcomes = path.read_bytes(), []
    assert attempt(read, path) == ("read" if name != "snapshots" else "refused")
    if name == "snapshots":
        (tmp_path / "other.safetensors").write_bytes(whole.replace(b'"fraction":"0.5"', b'"fraction":"1.0"'))
        assert attempt(read, path) == "read"
    for _ in range(count):
        path.write_bytes(whole)
        if whole[8:9] == b"{" and draw.random() < 0.6:
            rewrite_safetensors(draw, path)
        else:
            path.write_bytes(damaged(draw, whole))
        outcomes.append(attempt(read, path))
    assert "refused" in outcomes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_a_sentence(
    name: str, draw: random.Random, canary: Path, tmp_path: Path
) -> None:
    try_files(name, draw, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_many_mutated_files(name: str, draw: random.Random, canary: Path, tmp_path: Path) -> None:
    try_files(name, draw, tmp_path, 400)


def _bare(path: Path, shell: Shell) -> None:
    path.write_bytes(pickle.dumps({"w": shell}, protocol=2))


def _saved(path: Path, shell: Shell) -> None:
    torch.save({"state_dict": {**TENSORS, "x": shell}}, path)


def _old(path: Path, shell: Shell) -> None:
    torch.save({"x": shell}, path, _use_new_zipfile_serialization=False)


def _hidden(path: Path, shell: Shell) -> None:
    """In an archive that begins as one of weights."""
    content = io.BytesIO()
    torch.save(TENSORS, content)
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for entry in old.namelist():
            new.writestr(entry, pickle.dumps(shell, 2) if entry.endswith("data.pkl") else old.read(entry))


@pytest.mark.parametrize("write", [_bare, _saved, _old, _hidden])
@pytest.mark.parametrize("name", READERS)
def test_code_in_a_file_is_refused_and_not_run(
    name: str, write: Callable[[Path, Shell], None], canary: Path, tmp_path: Path
) -> None:
    path = tmp_path / "file.safetensors"
    write(path, Shell(canary))
    assert attempt(READERS[name][1], path) == "refused"
    assert not canary.exists()

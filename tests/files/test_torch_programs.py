"""What a stranger's program may hold. The refusals of every kind are tested with the format that writes programs."""

import contextlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.files.torch_programs import load_program, without_notes


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)


class Spy:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As anybody would save it: with example inputs, and lines of source."""
    path = tmp_path / "small.pt2"
    torch.export.save(torch.export.export(Small().eval(), (torch.rand(1, 3, 8, 8),)), path)
    return path


def test_a_plain_file_is_loaded_without_its_notes(file: Path) -> None:
    x = torch.rand(1, 3, 8, 8)
    expected = torch.export.load(file).module()(x)
    copy = without_notes(file)
    assert __file__.encode() in zipfile.ZipFile(file).read("small/models/model.json")
    assert __file__.encode() not in zipfile.ZipFile(io.BytesIO(copy)).read("small/models/model.json")
    torch.testing.assert_close(load_program(copy, "it").module()(x), expected)
    with pytest.raises(UserError, match=r"small\.pt2 holds more than a network"):
        load_program(file, str(file))


def test_a_pickle_among_the_notes_is_never_read(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["small/data/sample_inputs/model.pt"] = pickle.dumps(Spy(trace))
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    load_program(without_notes(file), "it")
    assert not trace.exists()
    with contextlib.suppress(RuntimeError):  # what the trace returns are no example inputs
        torch.export.load(file)
    assert trace.exists(), "PyTorch itself has become careful"


def test_notes_are_removed_wherever_they_stand(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr("x/models/model.json", json.dumps({"a": [{"metadata": {"stack_trace": "1"}, "b": 2}]}))
    with zipfile.ZipFile(io.BytesIO(without_notes(tmp_path / "x.pt2"))) as archive:
        assert json.loads(archive.read("x/models/model.json")) == {"a": [{"metadata": {}, "b": 2}]}


def test_what_is_no_archive_is_no_program() -> None:
    with pytest.raises(RuntimeError):
        load_program(b"nothing of the kind", "it")

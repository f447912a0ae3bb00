"""What `idn bench` measures, and what it says of folders and options that cannot be measured."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from idn.errors import OptionError, UserError
from idn.export.bench import bench as benching
from idn.export.bench import worker
from idn.export.bench.bench import bench, measured
from idn.export.bench.worker import Outcome, Request
from idn.students.student_file import describe_student
from tests.export.conftest import student

CARD = {
    "size": 64,
    "networks": {"swap": {"inputs": [{"name": "target", "shape": [1, 3, 64, 64]}]}},
    "files": [
        {"path": "swap.onnx", "network": "swap", "format": "onnx", "precision": "fp32", "bytes": 2e6, "runtime": "x"},
        {
            "path": "swap.int8.onnx",
            "network": "swap",
            "format": "onnx",
            "precision": "int8",
            "bytes": 5e5,
            "runtime": "x",
        },
        {
            "path": "swap.mlpackage",
            "network": "swap",
            "format": "coreml",
            "precision": "fp32",
            "bytes": 1,
            "runtime": None,
        },
    ],
}
STUDENT = describe_student(student())
SUBJECTS = {"torch eager", "torch rewritten", "torch compiled", "inject identity", "inject and bake"}
OPTIONS = {"student": STUDENT, "size": None, "threads": [1, 2], "seconds": 1.0, "rounds": 2, "precision": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    for record in CARD["files"]:
        (tmp_path / record["path"]).touch()
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Requests in their order; the second round is faster."""
    seen: list[Request] = []

    def answer(request: Request) -> Outcome:
        seen.append(request)
        return Outcome(10.0 - seen.count(request), 12.0, 100, 50.0)

    monkeypatch.setattr(benching, "measured", answer)
    return seen


def test_every_runnable_file_and_pytorch_take_turns(folder: Path, asked: list[Request], tmp_path: Path) -> None:
    rows = bench(folder, csv_path=tmp_path / "b.csv", machine="a machine", **OPTIONS)
    names = {*SUBJECTS, "swap.onnx", "swap.int8.onnx"}
    assert {row.name for row in rows} == names and len(rows) == 2 * len(names)
    assert len(asked) == 2 * len(rows) and asked[: len(rows)] == asked[len(rows) :]
    by_name = {(row.name, row.threads): row for row in rows}
    row = by_name["swap.int8.onnx", 2]
    assert (row.precision, row.median_ms, row.per_second, row.file_mb) == ("int8", 8.0, 125.0, 0.5)
    assert by_name["torch eager", 1].file_mb is None
    file = next(request for request in asked if request.format == "onnx")
    assert list(file.shapes) == [[1, 3, 64, 64]] and file.size == 64
    with (tmp_path / "b.csv").open() as table:
        assert len(list(csv.DictReader(table))) == len(rows)


def test_what_cannot_be_measured_does_not_cost_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(request: Request) -> Outcome:
        if request.subject == "torch compiled":
            raise UserError("torch compiled could not be measured (SIGSEGV)")
        return Outcome(10.0, 12.0, 100, 50.0)

    monkeypatch.setattr(benching, "measured", answer)
    with pytest.raises(UserError, match=r"^torch compiled could not be measured \(SIGSEGV\)$"):
        bench(folder, csv_path=tmp_path / "b.csv", machine="", **OPTIONS)
    with (tmp_path / "b.csv").open() as table:
        assert {row["name"] for row in csv.DictReader(table)} == SUBJECTS - {"torch compiled"} | {
            "swap.onnx",
            "swap.int8.onnx",
        }


def test_a_choice_of_precision_leaves_the_other_files_out(folder: Path, asked: list[Request]) -> None:
    rows = bench(folder, csv_path=None, machine="", **{**OPTIONS, "precision": ["int8"]})
    assert {row.name for row in rows} - SUBJECTS == {"swap.int8.onnx"}


def test_bad_input(folder: Path, asked: list[Request], tmp_path: Path) -> None:
    def call(at: Path | None, **changed: object) -> None:
        bench(at, csv_path=None, machine="", **{**OPTIONS, **changed})

    with pytest.raises(UserError, match=r"holds no card\.json"):
        call(tmp_path / "nowhere")
    with pytest.raises(UserError, match="take 96"):
        call(None, size=100)
    for argument, value in (("threads", [0]), ("rounds", 0), ("seconds", 0)):
        with pytest.raises(OptionError) as error:
            call(None, **{argument: value})
        assert (error.value.argument, error.value.value) == (argument, value)
    (folder / "swap.onnx").unlink()
    with pytest.raises(UserError, match=r"swap\.onnx is named in the card and missing"):
        call(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        call(folder)
    assert not asked


@pytest.mark.parametrize("has_resource", [True, False])
def test_memory_is_left_out_where_no_system_tells_it(
    has_resource: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STATUS", tmp_path / "proc/status")
    monkeypatch.setattr(worker, "FORGET", tmp_path / "proc/clear_refs")
    if not has_resource:
        monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(worker, "keep_large_buffers", lambda: False)
    outcome = worker.run(Request("torch rewritten", torch.get_num_threads(), 0.01, 32, STUDENT))
    assert outcome.peak_mb is not None if has_resource else outcome.peak_mb is None
    monkeypatch.setattr(benching, "measured", lambda request: outcome)
    rows = bench(folder, csv_path=tmp_path / "b.csv", machine="", **OPTIONS)
    assert {row.peak_mb is None for row in rows} == {not has_resource}


def test_a_peak_that_may_not_be_reset_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FORGET", tmp_path)  # a folder cannot be written to
    assert worker._forget_peak() is not None


def test_a_measurement_happens_in_a_process_of_its_own(tmp_path: Path) -> None:
    outcome = measured(Request("inject and bake", 1, 0.01, 32, STUDENT))
    assert outcome.calls >= 10 and 0 < outcome.median_ms <= outcome.p95_ms and outcome.peak_mb > 0
    with pytest.raises(UserError, match="could not be measured"):
        measured(Request("torch eager", 1, 0.01, 32, student=str(tmp_path / "missing.safetensors")))

"""What `idn bench` measures, which files it will not open, and what it says of folders and options without sense."""

import csv
import hashlib
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from idn.errors import DamagedFile, ForeignFile, MissingFile, OptionError, UserError
from idn.export.bench import bench as benching
from idn.export.bench import worker
from idn.export.bench.bench import bench, measured
from idn.export.bench.worker import Outcome, Request
from idn.export.formats.pt2 import TorchExportFormat
from idn.students.student_file import describe_student
from tests.bars import open_bars
from tests.export.conftest import student
from tests.raising import raises

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
REST = dict.fromkeys(("psnr", "max_abs", "output", "latency_ms")) | {"computed_in": "fp32", "layout": "NCHW"}
STUDENT = describe_student(student())
SUBJECTS = {"torch eager", "torch rewritten", "torch compiled", "inject identity", "inject and bake"}
OPTIONS = {
    "student": STUDENT,
    "size": None,
    "threads": [1, 2],
    "seconds": 1.0,
    "rounds": 2,
    "precision": None,
    "run_programs": False,
}


def write_folder(folder: Path, files: list[dict[str, object]]) -> None:
    """An export of these files, each of bytes of its own."""
    for record in files:
        record.update(REST)
        content = f"the bytes of {record['path']}".encode()
        (folder / record["path"]).write_bytes(content)
        record["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "card.json").write_text(json.dumps({**CARD, "files": files}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path, [dict(record) for record in CARD["files"]])
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with files whose opening runs code: one that is named as data, and one without any bytes to run."""
    onnx, *_ = CARD["files"]
    named = {"swap.pt2": "pt2", "swap.aoti.pt2": "aotinductor", "other.onnx": "pt2"}
    write_folder(tmp_path, [dict(onnx)] + [{**onnx, "path": path, "format": kind} for path, kind in named.items()])
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


def test_a_stop_closes_the_bar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: Request) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(benching, "measured", answer)
    with pytest.raises(KeyboardInterrupt) as stop:
        bench(folder, csv_path=None, machine="", **OPTIONS)
    assert stop.tb and open_bars() == 0


def test_a_choice_of_precision_leaves_the_other_files_out(folder: Path, asked: list[Request]) -> None:
    rows = bench(folder, csv_path=None, machine="", **{**OPTIONS, "precision": ["int8"]})
    assert {row.name for row in rows} - SUBJECTS == {"swap.int8.onnx"}


def test_programs_of_a_folder_are_opened_only_if_the_user_says_so(
    programs: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the card that says as what a file is opened, so its name protects nobody."""
    rows = bench(programs, csv_path=None, machine="", **OPTIONS)
    assert {row.name for row in rows} - SUBJECTS == {"swap.onnx"} == {r.subject for r in asked if r.file is not None}
    said = capsys.readouterr().out
    assert "left out   swap.pt2, swap.aoti.pt2, other.onnx: " in said and "add run_programs=true" in said
    rows = bench(programs, csv_path=None, machine="", **{**OPTIONS, "run_programs": True})
    assert {row.name for row in rows} - SUBJECTS == {"swap.onnx", "swap.pt2", "swap.aoti.pt2", "other.onnx"}
    assert "left out" not in capsys.readouterr().out


def test_a_program_runs_nothing_before_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real file that makes a folder as soon as somebody opens it."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    record = {**CARD["files"][0], "path": "swap.pt2", "format": "pt2"}
    write_folder(tmp_path, [record])
    torch.export.save(torch.export.export(torch.nn.Identity(), (torch.zeros(1),)), tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "swap.pt2", "w") as bad:
        for entry in good.infolist():
            inputs = "sample_inputs" in entry.filename
            bad.writestr(entry, pickle.dumps(Bomb()) if inputs else good.read(entry))
    with raises(DamagedFile, path=tmp_path / "swap.pt2"):
        TorchExportFormat().open(tmp_path / "swap.pt2", 1)
    (tmp_path / "ran").rmdir()
    record["sha256"] = hashlib.sha256((tmp_path / "swap.pt2").read_bytes()).hexdigest()
    (tmp_path / "card.json").write_text(json.dumps({**CARD, "files": [record]}))

    def answer(request: Request) -> Outcome:
        return Outcome(1.0, 1.0, 10, None) if request.file is None else measured(request)

    monkeypatch.setattr(benching, "measured", answer)
    bench(tmp_path, csv_path=None, machine="", **{**OPTIONS, "threads": [1], "seconds": 0.01, "rounds": 1})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("run_programs", [False, True])
@pytest.mark.parametrize("path", ["swap.onnx", "swap.int8.onnx"])
def test_a_file_that_is_not_the_one_of_the_card_is_never_opened(
    path: str, run_programs: bool, folder: Path, asked: list[Request]
) -> None:
    (folder / path).write_bytes(b"somebody else's bytes")
    with raises(ForeignFile, path=folder / path):
        bench(folder, csv_path=None, machine="", **{**OPTIONS, "run_programs": run_programs})
    assert not asked


def test_the_weights_beside_a_graph_count_as_the_file(folder: Path, asked: list[Request]) -> None:
    files = [{**CARD["files"][0], "path": "swap.param", "format": "ncnn"}]
    write_folder(folder, files)
    bench(folder, csv_path=None, machine="", **OPTIONS)
    (folder / "swap.bin").write_bytes(b"other weights")
    asked.clear()
    with raises(ForeignFile, path=folder / "swap.param"):
        bench(folder, csv_path=None, machine="", **OPTIONS)
    assert not asked


@pytest.mark.parametrize("changed", [{"path": "../outside.onnx"}, {"path": "/dev/zero"}, {"format": "tensorrt"}])
def test_a_card_that_misleads_is_refused(changed: dict[str, str], folder: Path, asked: list[Request]) -> None:
    record = json.loads((folder / "card.json").read_text())["files"][0]
    (folder / "card.json").write_text(json.dumps({**CARD, "files": [{**record, **changed}]}))
    with pytest.raises(UserError) as error:
        bench(folder, csv_path=None, machine="", **OPTIONS)
    assert all(value in str(error.value) for value in changed.values())
    assert not asked


def test_bad_input(folder: Path, asked: list[Request], tmp_path: Path) -> None:
    def call(at: Path | None, **changed: object) -> None:
        bench(at, csv_path=None, machine="", **{**OPTIONS, **changed})

    with raises(MissingFile, path=tmp_path / "nowhere/card.json"):
        call(tmp_path / "nowhere")
    with raises(OptionError, "96", argument="size", value=100):
        call(None, size=100)
    for argument, value in (
        ("threads", [0]),
        ("threads", [10**20]),
        ("rounds", 0),
        ("seconds", 0),
        ("seconds", None),
        ("run_programs", "no"),
    ):
        with raises(OptionError, argument=argument, value=value):
            call(None, **{argument: value})
    (folder / "swap.onnx").unlink()
    with raises(MissingFile, path=folder / "swap.onnx"):
        call(folder)
    (folder / "card.json").write_text("{")
    with raises(DamagedFile, path=folder / "card.json"):
        call(folder)
    assert not asked


def test_a_card_that_is_none_is_one_sentence(folder: Path, asked: list[Request]) -> None:
    whole = json.loads((folder / "card.json").read_text())
    first, *rest = whole["files"]
    cards = [
        [],
        {"files": []},
        *({key: value for key, value in whole.items() if key != gone} for gone in ("size", "files", "networks")),
        *(whole | {"files": [{k: v for k, v in first.items() if k != gone}, *rest]} for gone in first),
        *(
            whole | {"files": [first | {name: [3]}, *rest]}
            for name in ("path", "network", "format", "bytes", "runtime")
        ),
        whole | {"size": "large"},
        whole | {"networks": {name: {"inputs": [{}]} for name in whole["networks"]}},
    ]
    for card in cards:
        (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(UserError, match=r"card\.json is no card of this version of idn .*: export again$"):
            bench(folder, csv_path=None, machine="", **OPTIONS)
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


def test_a_measurement_happens_in_a_process_of_its_own() -> None:
    outcome = measured(Request("inject and bake", 1, 0.01, 32, STUDENT))
    assert outcome.calls >= 10 and 0 < outcome.median_ms <= outcome.p95_ms and outcome.peak_mb > 0


@pytest.mark.slow
def test_a_measurement_that_fails_there_says_so_here(tmp_path: Path) -> None:
    with raises(UserError, "torch eager", "missing.safetensors"):
        measured(Request("torch eager", 1, 0.01, 32, student=str(tmp_path / "missing.safetensors")))

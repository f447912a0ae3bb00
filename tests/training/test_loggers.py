"""The table of metrics: rows, columns, and what a run that goes on leaves of it."""

import csv
from pathlib import Path

from idn.training.loggers import ResumableCsvLogger


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, *steps: int) -> ResumableCsvLogger:
    logger = ResumableCsvLogger(folder)
    for step in steps:
        logger.log_metrics({"train/loss": 1 / (1 + step)}, step)
    return logger


def test_every_call_is_a_row_and_every_metric_a_column(tmp_path: Path) -> None:
    logger = write(tmp_path, 0, 10)
    logger.log_metrics({"val/loss": 0.25, "epoch": 0}, 10)
    logger.log_metrics({"train/loss": 0.5}, 20)
    assert [row["step"] for row in rows(tmp_path)] == ["0", "10", "10", "20"] and "epoch" not in rows(tmp_path)[0]
    assert [row["val/loss"] for row in rows(tmp_path)] == ["", "", "0.25", ""]
    assert [row["train/loss"] for row in rows(tmp_path)] == ["1.0", str(1 / 11), "", "0.5"]


def test_a_logger_alone_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, 0, 10)
    before = (tmp_path / "metrics.csv").read_bytes()
    ResumableCsvLogger(tmp_path).log_hyperparams({"seed": 0})
    assert (tmp_path / "metrics.csv").read_bytes() == before
    assert not (tmp_path / "new").exists() and ResumableCsvLogger(tmp_path / "new") and not (tmp_path / "new").exists()


def test_a_run_that_goes_on_continues_the_table(tmp_path: Path) -> None:
    write(tmp_path, 0, 10, 20, 30)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.1")  # killed while it wrote
    logger = ResumableCsvLogger(tmp_path)
    logger.cut(20)
    logger.log_metrics({"val/loss": 0.5}, 20)
    assert [(row["step"], row["val/loss"]) for row in rows(tmp_path)] == [("0", ""), ("10", ""), ("20", "0.5")]
    assert [row["train/loss"] for row in rows(tmp_path)][:2] == ["1.0", str(1 / 11)]
    logger.cut(21, validated=False)
    assert [row["step"] for row in rows(tmp_path)] == ["0", "10"], "a validation that is held once more"


def test_without_a_step_to_go_on_from_rows_are_added(tmp_path: Path) -> None:
    write(tmp_path, 0, 10)
    write(tmp_path, 10)
    assert [row["step"] for row in rows(tmp_path)] == ["0", "10", "10"]


def test_damaged_rows_are_left_out_and_the_others_kept(tmp_path: Path) -> None:
    write(tmp_path, 0, 10, 20)
    whole = (tmp_path / "metrics.csv").read_bytes()
    for broken in (b'"0.5', b"1,2,3", b"\xff\xfe,\xff", b"\0\0"):
        (tmp_path / "metrics.csv").write_bytes(whole + broken + b"\n30,0.25\n")
        ResumableCsvLogger(tmp_path).cut(31)
        assert [row["step"] for row in rows(tmp_path)] == ["0", "10", "20", "30"], broken

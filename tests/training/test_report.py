"""The report at the end of a run."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from idn.metrics.swaps import SWAP_METRICS
from idn.training.report import print_student_report

GOOD = {"val/swap_gain": 1.5, "val/identity_swap": 0.6, "val/identity_target": 0.1, "val/loss": 0.5}


def report(metrics: dict[str, float], out: Path) -> None:
    trainer = SimpleNamespace(global_step=4, max_steps=4)
    print_student_report(metrics, out, out / "student.safetensors", trainer)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"val/swap_gain": -0.25}, "its swap gain is -0.25 dB, below 0."),
        ({"val/identity_swap": 0.1}, "its pictures are no more like the sources (0.100) than the targets (0.100)."),
        ({"val/swap_gain": -1.0, "val/identity_swap": -0.2}, "below 0 and its pictures are no more like"),
    ],
)
def test_a_student_that_does_not_swap_is_said_loudly(
    change: dict[str, float], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(GOOD | change, tmp_path)
    err = capsys.readouterr().err
    assert err.startswith("WARNING: this student does not swap yet: ") and said in err and err.count("\n") == 1


@pytest.mark.parametrize("left", [GOOD, {"val/loss": 1.0}, {"val/identity_swap": 0.6, "val/identity_target": 0.1}])
def test_nothing_is_said_of_one_that_swaps_or_of_what_is_not_known(
    left: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(left, tmp_path)
    out, err = capsys.readouterr()
    assert err == "" and all(key.removeprefix("val/") in out for key in left)


def test_every_metric_has_a_name_of_its_own_and_a_meaning() -> None:
    names = [metric.name for metric in SWAP_METRICS]
    assert len(set(names)) == len(names) and all(metric.meaning for metric in SWAP_METRICS)
    assert {metric.column for metric in SWAP_METRICS if metric.column} >= {"swap gain, dB", "identity"}


def test_every_metric_of_swaps_is_explained() -> None:
    explained = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    assert [metric.name for metric in SWAP_METRICS if f"`{metric.name}`" not in explained] == []

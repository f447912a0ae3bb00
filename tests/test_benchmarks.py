"""Every benchmark can be started: what it imports is there, and it says what it takes."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
ELSEWHERE = {
    "turns": "is imported by the others",
    "equal_time": "is imported by the others",
    "original_network": "runs in a Python with PaddlePaddle",
}


@pytest.mark.parametrize("name", sorted({path.stem for path in FOLDER.glob("*.py")} - ELSEWHERE.keys()))
def test_a_benchmark_says_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        import_module(name).main()
    assert stop.value.code == 0 and f"usage: {name}.py" in capsys.readouterr().out


def test_a_whole_step_can_be_taken_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    words = ["--steps", "1", "data.size=32", "data.batch=2", "student.width=0.25", "trainer.accelerator=cpu"]
    monkeypatch.setattr(sys, "argv", ["whole_step.py", *words])
    module = import_module("whole_step")
    module.main()
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    times = {name.strip(): float(ms.strip(" *")) for name, ms in rows}
    assert times.keys() - {"**whole step**"} >= set(module.ONCE)
    assert times.pop("**whole step**") == pytest.approx(sum(times.values()), abs=1)

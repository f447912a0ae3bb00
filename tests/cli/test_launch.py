"""What becomes of errors in a run, and in the runs of a sweep."""

import contextlib
import math
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from idn.cli import launch
from idn.cli.sweeps import sweep
from idn.cli.verbs.table import VERBS, Verb
from idn.errors import OptionError, UserError

SWEEP = ["bench", "-m", "rounds=1,2,3", "seconds=0.5", "hydra.sweep.dir=sweep"]


@pytest.fixture
def as_bench(monkeypatch: pytest.MonkeyPatch):
    """Put a function in the place of what `idn bench` does."""

    def put(task) -> None:
        monkeypatch.setattr(Verb, "task", lambda verb: task)

    return put


def test_one_failed_run_of_a_sweep_is_reported_at_its_end_and_stops_nobody(as_bench, idn_cli) -> None:
    done = []

    def task(cfg: DictConfig) -> float:
        if cfg.rounds == 2:
            raise OptionError("rounds", 2, "is even: give an odd one")
        done.append(cfg.rounds)
        return 1.0

    as_bench(task)
    status, _, err = idn_cli(*SWEEP)
    assert status == 2 and done == [1, 3]
    lines = err.strip().splitlines()
    assert lines[-2] == "idn: 1 of 3 runs failed:"
    assert lines[-1].split() == [
        "rounds=2",
        "in",
        *f"{Path('sweep/1').resolve()}: rounds=2 is even: give an odd one".split(),
    ]


def test_sweepers_are_told_of_a_failure_by_nan_and_other_processes_tell_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As launchers of plugins do it, which send the sweep there and get nothing back but the result."""
    overrides = SimpleNamespace(overrides=SimpleNamespace(task=["rounds=2", "seed=1"]))
    monkeypatch.setattr(sweep, "HydraConfig", SimpleNamespace(get=lambda: overrides))
    monkeypatch.setattr(sweep, "run_dir", lambda: tmp_path / "0")
    runs = sweep.Sweep("bench", ["rounds"], tmp_path / "notes", launch.explain)
    with pytest.raises(UserError, match="no run has told how it ended"):
        runs.finish()

    def fails() -> None:
        raise UserError("no")

    assert pickle.loads(pickle.dumps(runs)).tried(lambda: 3) == 3
    runs.finish()
    assert math.isnan(pickle.loads(pickle.dumps(runs)).tried(fails))
    with pytest.raises(UserError, match=rf"^1 of 1 runs failed:\n  rounds=2 in {tmp_path}/0: no$"):
        runs.finish()


def test_a_defect_in_one_run_of_a_sweep_keeps_its_traceback_and_stops_nobody(as_bench, idn_cli) -> None:
    done = []

    def task(cfg: DictConfig) -> None:
        if cfg.rounds == 1:
            raise KeyError("colour")
        done.append(cfg.rounds)

    as_bench(task)
    status, _, err = idn_cli(*SWEEP)
    assert status == 2 and done == [2, 3]
    assert "Traceback" in err and "KeyError: 'colour'" in err.strip().splitlines()[-1]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_stops_the_whole_sweep(stop: type[BaseException], as_bench, idn_cli) -> None:
    done = []

    def task(cfg: DictConfig) -> None:
        done.append(cfg.rounds)
        raise stop(143)

    as_bench(task)
    with contextlib.suppress(KeyboardInterrupt):
        assert idn_cli(*SWEEP)[0] not in (0, 2)
    assert done == [1]


def test_a_sweep_without_failures_ends_well(as_bench, idn_cli) -> None:
    as_bench(lambda cfg: 0.0)
    assert idn_cli(*SWEEP)[0] == 0


def test_a_value_that_hangs_on_nothing_is_one_sentence() -> None:
    config = OmegaConf.create({"lr": "${oc.env:IDN_NOT_SET}"})
    with pytest.raises(OmegaConfBaseException) as error:
        _ = config.lr
    said = launch.explain(error.value)
    assert "IDN_NOT_SET" in said and said.startswith("lr: ") and "\n" not in said


def test_every_verb_has_a_function() -> None:
    assert all(callable(verb.task()) for verb in VERBS.values())

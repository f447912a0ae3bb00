"""Searching with Optuna: spaces in Hydra's words, failures, early ends, and a killed search that goes on."""

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from idn.cli.options.near_misses import check
from idn.cli.options.overrides import combinations, searched
from idn.cli.sweeps.search import current_trial, directions, search_space
from idn.cli.verbs.table import Verb
from idn.errors import OptionError, UserError
from idn.sweeps.outcomes import Reached, read_outcomes

optuna = pytest.importorskip("optuna")

WORDS = ["train", "hydra.sweep.dir=sweep", "hydra/sweeper=optuna", "hydra.sweeper.trials=5"]
SPACE = ["optim.lr=tag(log,interval(0.001,0.1))", "reweight=none,identity"]
QUICK = ["hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.sampler.n_startup_trials=3"]


def training(stop_at: int | None = None, begun: list[str] | None = None):
    """What stands for a training: gains fall with the rate, one trial fails, one is stopped if asked."""

    def task(cfg: DictConfig) -> Reached:
        from hydra.core.hydra_config import HydraConfig

        number = int(HydraConfig.get().sweep.subdir)
        if begun is not None:
            begun.append(f"{number} {cfg.optim.lr:g} {cfg.resume}")
        if number == 1:
            raise UserError("on purpose")
        if (trial := current_trial()) is not None:
            trial.report(1, -cfg.optim.lr - (number == 4), end=False)
        if number == stop_at:
            checkpoint = Path("sweep", str(number), "checkpoints/last.ckpt")
            checkpoint.parent.mkdir(parents=True)
            checkpoint.touch()
            raise SystemExit(137)
        return Reached({"val/swap_gain": -cfg.optim.lr, "deployed/macs": 1e6 * number}, ["val/swap_gain"])

    return task


def test_spaces_are_written_in_hydras_words() -> None:
    space, fixed = search_space(
        ["seed=3", "a=choice(x,y)", "b=interval(0,2)", "c=tag(log,int(interval(1,9)))", "d=range(1,7,2)", "b=1,2"]
    )
    assert fixed == ["seed=3"] and list(space) == ["a", "c", "d", "b"]
    assert space["a"].choices == ("x", "y") and space["b"].choices == ("1", "2")
    assert isinstance(space["c"], optuna.distributions.IntDistribution) and space["c"].log
    assert (space["d"].low, space["d"].high, space["d"].step) == (1, 5, 2)


@pytest.mark.parametrize("options", [["a=1"], ["a=tag(log,interval(0,1))"], ["a=interval(2,1)"]])
def test_what_cannot_be_searched_is_refused(options: list[str]) -> None:
    with pytest.raises(UserError):
        search_space(options)


def test_metrics_know_their_directions() -> None:
    assert directions(None) == ["maximize"] and directions("val/loss") == ["minimize"]
    assert directions(OmegaConf.create(["val/identity_recogniser", "deployed/macs"])) == ["maximize", "minimize"]
    with pytest.raises(OptionError):
        directions("val/trust")


def test_a_search_survives_a_failure_an_early_end_and_a_kill(
    idn_cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Verb, "task", lambda verb: training(stop_at=3))
    assert idn_cli(*WORDS, "-m", *SPACE, *QUICK)[0] == 137
    assert [one.state for one in read_outcomes(tmp_path / "sweep")][1:] == ["failed", "finished", "unfinished"]

    begun: list[str] = []
    monkeypatch.setattr(Verb, "task", lambda verb: training(begun=begun))
    status, _, err = idn_cli(*WORDS, "-m", *SPACE, *QUICK, "keep_losers=false")
    assert status == 2 and "on purpose" in err
    outcomes = {one.folder: one for one in read_outcomes(tmp_path / "sweep")}
    assert len(outcomes) == 6 and outcomes["4"].state == "hopeless" and outcomes["1"].reason == "on purpose"
    assert outcomes["4"].choices == outcomes["3"].choices, "what was killed is tried again"
    assert outcomes["3"].reason == "was killed, and went on as run 4" and not Path("sweep/3/checkpoints").exists()
    assert begun[0].endswith("sweep/3/checkpoints/last.ckpt") and begun[1].endswith("None")
    assert outcomes["5"].choices != outcomes["0"].choices, "the sampler does not begin once more"
    study = optuna.load_study(study_name="idn", storage=f"sqlite:///{tmp_path}/sweep/optuna.db")
    assert [trial.state.name for trial in study.trials[1:5]] == ["FAIL", "COMPLETE", "FAIL", "PRUNED"]
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert study.best_trial.params["optim.lr"] == min(trial.params["optim.lr"] for trial in complete)

    status, _, err = idn_cli(*WORDS, "-m", "seed=0,1", "optim.lr=0.1,0.2")
    assert status == 2 and "begun with other options" in err


def test_several_metrics_and_a_space_of_its_own(idn_cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> Reached:
        values = {"val/identity_recogniser": cfg.student.width, "deployed/macs": cfg.student.width}
        return Reached(values, list(cfg.metric))

    monkeypatch.setattr(Verb, "task", lambda verb: task)
    given = ["student.width=0.25,0.5", "student.rates.modulation=3", "optim.lr=0.005", "hydra.sweeper.trials=2"]
    status, out, err = idn_cli("train", "sweep=student", *given, "hydra.sweep.dir=sweep")
    assert status == 0, err
    command = out.partition("the best once more: ")[2].splitlines()[0]
    assert command.startswith("idn train ") and "student.width=0.5" in command and "sweep=" not in command
    lines = [json.loads(line) for line in (tmp_path / "sweep/sweep.jsonl").read_text().splitlines()]
    assert {tuple(line["objectives"]) for line in lines} == {(), ("val/identity_recogniser", "deployed/macs")}
    status, _, err = idn_cli(*WORDS, "-m", *SPACE, "metric=[val/loss,deployed/macs]", "hydra.sweep.dir=other")
    assert status == 2 and "add hydra.sweeper.pruner=null" in err


@pytest.mark.parametrize("name", ["losses", "student"])
def test_a_space_of_the_project_is_one_of_options_that_are_there(name: str) -> None:
    asked = searched("train", [f"sweep={name}"])
    space, fixed = search_space(asked)
    assert fixed == [f"sweep={name}"] and len(space) >= 3
    check("train", combinations("train", asked)[0])


def test_a_metric_without_a_direction_is_refused_before_any_run(idn_cli, tmp_path: Path) -> None:
    status, _, err = idn_cli("train", "-m", "seed=0,1", "metric=val/trust", "hydra.sweep.dir=sweep")
    assert status == 2 and "metric=val/trust has no better direction" in err
    assert not (tmp_path / "sweep/0").exists()


def test_without_optuna_the_extra_is_named(idn_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else real(name, *rest)
    )
    status, _, err = idn_cli("train", "-m", "hydra/sweeper=optuna", "seed=0,1")
    assert status == 2 and "pip install '.[sweep]'" in err

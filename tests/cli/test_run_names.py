"""Names of runs: what was chosen, in few words."""

import pytest
from hydra.types import RunMode

from idn.cli.options.overrides import overrides
from idn.cli.run_names import run_name, run_tags, sweep_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "default"),
        (["hydra.run.dir=x", "resume=y", "logger=[csv,wandb]", "trainer.accelerator=cpu", "sweep=losses"], "default"),
        (["teacher=blend", "optim.lr=0.0050000001"], "teacher=blend lr=0.005"),
        (["loss.weights.face=2", "student.weights.face=3"], "loss.weights.face=2 student.weights.face=3"),
        (["optim.lr=0.1", "optim.lr=0.2"], "lr=0.2"),
        (["data.root=/a/b/crops", "~recogniser"], "root=crops"),
    ],
)
def test_what_was_chosen_is_the_name(words: list[str], name: str) -> None:
    assert run_name(words) == name


def test_a_sweep_is_a_group_and_choices_are_tags() -> None:
    assert sweep_name(RunMode.MULTIRUN, "/a/multirun_1") == "multirun_1" and sweep_name(RunMode.RUN, "/a/b") is None
    assert run_tags({"teacher": "blend", "data": None, "optim": "adam"}) == ["teacher:blend"]


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("logger=wandb", "logger=[csv,wandb]"),
        ("logger=[wandb,tensorboard,mlflow]", "logger=[csv,wandb,tensorboard,mlflow]"),
        ("logger=csv", "logger=csv"),
        ("logger=null", "~logger"),
        ("logger.wandb.offline=true", "logger.wandb.offline=true"),
    ],
)
def test_dashboards_stand_beside_the_table(word: str, read: str) -> None:
    assert overrides([word], several=False) == [read]

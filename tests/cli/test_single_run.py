"""A run from a config that is composed already: it is the one that Hydra would have composed itself."""

import os
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli.config_tree import conf_dir
from idn.cli.instantiate import register_resolvers
from idn.cli.options.composition import composed, forget
from idn.cli.single_run import NAME, run_once

OPTIONS = ["data.size=64", "+data.mine=[1,{a:b}]", "~callbacks.picture", "teacher=blend", "experiment=procedural_full"]


def plain(cfg: DictConfig) -> tuple[Any, Any]:
    """What a task was given, and what it can ask Hydra for."""
    own = OmegaConf.create({"hydra": HydraConfig.get()})
    return OmegaConf.to_container(cfg), OmegaConf.to_container(own)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_resolvers()
    forget()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (OPTIONS, ['hydra.run.dir="a folder"', "hydra.output_subdir=null"]),
        (["hydra.run.dir=mine", "+hydra.job.env_set.A=b"], []),
    ],
)
def test_it_is_the_config_of_hydra(options: list[str], folder: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs, told = [], [], []
    (Path.cwd() / "there").mkdir()
    composed("train", options)  # in another folder than that of the run
    monkeypatch.chdir("there")
    run_once("train", options, folder, lambda cfg: (ours.append(plain(cfg)), told.append(os.environ.get("A"))))
    monkeypatch.setattr("sys.argv", ["idn", *options, *folder])
    start = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
    start(lambda cfg: theirs.append(plain(cfg)))()
    their_own = theirs[0][1]["hydra"]
    their_own["overrides"]["hydra"].remove("hydra.mode=RUN")  # which Hydra adds to what was typed
    their_own["job"]["name"] = NAME
    assert ours == theirs and told == ["b" if "+hydra.job.env_set.A=b" in options else None]
    assert Path.cwd() / ("mine" if "hydra.run.dir=mine" in options else "a folder") in Path.cwd().iterdir()


def test_every_run_begins_with_the_config_as_it_was_checked() -> None:
    seen: list[int] = []

    def task(cfg: DictConfig) -> None:
        seen.append(cfg.data.size)
        cfg.data.size = 7

    for _ in range(2):
        run_once("train", ["data.size=32"], ["hydra.run.dir=here"], task)
    assert seen == [32, 32] and composed("train", ["data.size=32"])[0].data.size == 32

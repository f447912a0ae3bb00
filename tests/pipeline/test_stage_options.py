"""Options of stages, as the command line and the experiments give them."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from idn.pipeline.pipeline import Pipeline

EXPERIMENTS = Path(__file__).parents[2] / "conf/experiment"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_stages_name_the_stages_whose_folders_they_read(path: Path) -> None:
    stages = OmegaConf.to_container(OmegaConf.load(path)).get("stages", {})
    for stage in filter(None, stages.values()):
        read = set(re.findall(r"\$\{out\}/(\w+)", " ".join(stage.get("options", []))))
        assert read == set(stage.get("needs", []))


VERBS = ("train-teacher", "train-scorer", "train")


def test_more_options_of_a_verb_reach_its_stages_and_no_others(idn_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(Pipeline, "run", lambda pipeline: ran.append(pipeline))
    more = [f"more.{verb}=optim.lr=0.{number}5" for number, verb in enumerate(VERBS)]
    status, _, err = idn_cli("pipeline", "experiment=pipeline_small", "out=all", *more)
    assert status == 0, err
    for number, verb in enumerate(VERBS):
        runs = [run for runs in ran[0].runs.values() for run in runs]
        assert {run.verb for run in runs if f"optim.lr=0.{number}5" in run.options} == {verb}


@pytest.mark.parametrize("verb", VERBS)
def test_more_options_of_a_verb_are_checked(verb: str, idn_cli) -> None:
    status, _, err = idn_cli("pipeline", "experiment=pipeline_small", "out=all", f"more.{verb}=optim.rl=0.5")
    assert status == 2 and f"in a stage of idn {verb}" in err and "optim.lr" in err


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("x", "stages.a=x must be a group of options"),
        ("[train]", "must be a group of options"),
        ("{verb:train,options:[data.size=32]}", "words that hold = want quotes"),
        ("{}", "stages.a.verb=null is unknown: choose one of align"),
        ("{verb:trian}", "stages.a.verb=trian is unknown: choose one of align"),
        ("{verb:[train]}", "stages.a.verb=[train] is unknown"),
        ("{verb:train,options:seed}", "stages.a.options=seed must be a list of words"),
        ("{verb:train,options:[1]}", "stages.a.options=[1] must be a list of words"),
        ("{verb:train,needs:3}", "stages.a.needs=3 must be a list of words"),
        ("{verb:train,folder:[x]}", "stages.a.folder=[x] must be one word"),
        ("{verb:train,shown:3}", "stages.a.shown=3 must be true or false"),
        ("{verb:train,seeds:[0,0]}", "stages.a.seeds=[0,0] must be a list of different whole numbers"),
        ("{verb:train,sown:true}", "stages.a has no option sown: choose one of verb"),
    ],
)
def test_a_stage_of_other_values_gets_one_sentence(stage: str, said: str, idn_cli) -> None:
    status, _, err = idn_cli("pipeline", "out=all", f"+stages.a={stage}")
    assert status == 2 and said in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("words", ["1e400", "true", "-1", "[1]", "{a:1}"])
def test_more_options_that_are_no_words_get_one_sentence(words: str, idn_cli) -> None:
    status, _, err = idn_cli("pipeline", "experiment=pipeline_small", "out=all", f"more.cache={words}")
    assert status == 2 and "more.cache=" in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize(
    "words", ["shared=null", "shared=1.5", "shared={a:1}", "rehearsal=null", "stages=null", "more=null", "few=[a]"]
)
def test_shared_options_that_are_no_list_get_one_sentence(words: str, idn_cli) -> None:
    status, _, err = idn_cli("pipeline", "experiment=pipeline_small", "out=all", words)
    assert status == 2 and words.partition("=")[0] in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("words", ["few.train=null", "few.train=x", "few.train=[1]"])
def test_options_of_a_rehearsal_that_are_no_list_get_one_sentence(words: str, idn_cli) -> None:
    status, _, err = idn_cli("pipeline", "experiment=pipeline_small", "out=all", "rehearsal=true", words)
    assert status == 2 and "few.train=" in err and len(err.splitlines()) == 1, err

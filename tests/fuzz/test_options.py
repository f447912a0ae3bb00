"""Options drawn from the real option tree with values that hardly fit: every run begins, or is refused in one sentence.

The work itself is left out: a verb that gets as far is stopped by a sentence of its own.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir

from idn.cli.config_tree import conf_dir
from idn.cli.options.types import leaves
from idn.cli.verbs.table import VERBS
from idn.errors import UserError
from idn.pipeline.pipeline import Pipeline
from idn.teacher_cache.write import TeacherCache

SMALL = {
    "train": ["data.size=32", "data.batch=2", "student.width=0.25", "data.val_batches=1", "trainer.accelerator=cpu"],
    "train-teacher": ["data.size=32", "data.batch=2", "data.val_batches=1", "trainer.accelerator=cpu"],
    "cache": ["out=kept", "pairs=4", "data.size=32", "data.batch=2", "data.val_batches=1"],
    "train-encoder": [
        "encoder_data.size=32",
        "encoder_data.batch=4",
        "encoder_data.identities=12",
        "encoder_data.pairs=12",
        "encoder_training.folds=2",
    ],
    "pipeline": ["experiment=pipeline_small"],
}
"""What makes a verb start in a second; those without an entry begin with what they have."""
VALUES = (
    "null",
    "-1",
    "0",
    "1",
    "1.5",
    "1e400",
    "nan",
    "true",
    "x",
    "''",
    "[]",
    "[1,x]",
    "{}",
    "{a:1}",
    "../..",
    "ä",
    "/",
)
REACHED = "it was reached"


def _reached(*_: object, **__: object) -> None:
    raise UserError(REACHED)


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, asking a teacher, measuring, stages of a pipeline and downloads are not done."""
    monkeypatch.setattr("idn.export.bench.bench.measured", _reached)
    monkeypatch.setattr(pl.Trainer, "fit", _reached)
    monkeypatch.setattr(TeacherCache, "ask", _reached)
    monkeypatch.setattr(Pipeline, "run", _reached)
    monkeypatch.setattr("idn.export.converters.environment.create", _reached)
    monkeypatch.setattr("idn.reweighting.graded.pictures.collect", _reached)


def options_of(verb: str) -> list[str]:
    """The names of all its options."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return [name for name, _ in leaves(compose(verb))]


def try_options(verb: str, draw: random.Random, idn_cli: Callable[..., tuple[int, str, str]], count: int) -> None:
    names = [name for name in options_of(verb) if "_target_" not in name and "_partial_" not in name]
    for _ in range(count):
        drawn = [f"{draw.choice(names)}={draw.choice(VALUES)}" for _ in range(draw.choice((1, 1, 2)))]
        if draw.random() < 0.2:
            drawn.append(draw.choice(("nothing=1", "+x.y=2", "~seed", "data=nothing", "a b", "=", "x==", "--help")))
        words = [*SMALL.get(verb, []), *drawn]
        try:
            status, _, err = idn_cli(verb, *words)
        except Exception as error:
            pytest.fail(f"idn {verb} {' '.join(words)}: {type(error).__name__}: {error}")
        said = err.splitlines()
        assert "Traceback" not in err, f"idn {verb} {' '.join(words)}: {said[-1]}"
        assert status in (0, 2), (words, status)
        assert status == 0 or any(line.startswith("idn: ") for line in said), (words, err)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("verb", VERBS)
def test_odd_values_of_options_are_taken_or_refused(
    verb: str, stubbed: None, draw: random.Random, idn_cli, canary: Path
) -> None:
    try_options(verb, draw, idn_cli, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("verb", VERBS)
def test_many_odd_values(verb: str, turn: int, stubbed: None, draw: random.Random, idn_cli, canary: Path) -> None:
    try_options(verb, draw, idn_cli, 25)

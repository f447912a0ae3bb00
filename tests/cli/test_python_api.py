"""The Python API: what `import idn` costs, and that it builds and trains as the command line does."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import idn
from idn.cli.config_tree import conf_dir
from idn.errors import OptionError, UserError
from idn.students.student_file import load_student
from tests.raising import raises

SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
ENCODER = ["encoder_data.size=32", "encoder_data.batch=8", "encoder_data.identities=12", "encoder_data.pairs=20"]
ENCODER += ["encoder_network.width=0.25"]


def test_import_idn_imports_nothing_heavy() -> None:
    code = "import sys, idn; assert not {'torch', 'hydra', 'omegaconf', 'pytorch_lightning', 'numpy'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_it_offers_is_there_and_documented() -> None:
    for name in idn.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(idn, name))
    assert (Path(idn.__file__).parent / "py.typed").is_file()


def test_a_training_is_built_as_the_command_line_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module, data = idn.build("train", [*SMALL, "distillation.ema_decay=0.5", "seed=3"])
    again, _ = idn.build("train", [*SMALL, "seed=3"])
    assert isinstance(module, pl.LightningModule) and data.size == 32 and module.ema.decay == 0.5
    for key, value in module.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key
    assert not any(tmp_path.iterdir()) and not HydraConfig.initialized()


@pytest.mark.parametrize(("verb", "words"), [("train-teacher", []), ("train-encoder", ENCODER)])
def test_every_kind_of_training_is_built(verb: str, words: list[str]) -> None:
    module, data = idn.build(verb, words)
    assert isinstance(module, pl.LightningModule) and isinstance(data, pl.LightningDataModule)


def test_a_training_leaves_what_the_command_line_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    result = idn.train([*SMALL, "trainer.max_steps=1", "trainer.val_check_interval=1", f"hydra.run.dir={out}"])
    assert result.path == out / "student.safetensors" and result.path.is_file()
    assert {"val/loss", "val/swap_gain"} <= result.metrics.keys() and (out / "checkpoints/last.ckpt").is_file()
    assert "seed=0" not in capsys.readouterr().err
    load_student(result.path)


def test_bad_options_are_refused_as_on_the_command_line() -> None:
    with raises(OptionError, argument="verb"):
        idn.build("align")
    with raises(UserError, "data.sise", "data.size"):
        idn.train(["data.sise=64"])
    with raises(OptionError, argument="student.width", value=9):
        idn.build("train", [*SMALL, "student.width=9"])


def test_the_snippet_of_the_readme_takes_the_crops_of_its_commands() -> None:
    readme = (conf_dir().parent / "README.md").read_text(encoding="utf-8")
    named = re.findall(r'crop_template="(\w+)"', readme)
    assert named == [OmegaConf.load(conf_dir() / "data/faces.yaml").template]

"""What a command needs is imported when it is needed: help, wrong words and lists come without PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from idn.cli import entry

TORCH = {"torch", "pytorch_lightning", "torchmetrics", "torchvision", "kornia", "timm", "scipy", "wandb", "tensorboard"}
HYDRA = {"hydra", "omegaconf", "yaml"}
CODE = """
import json, sys
from idn.cli import main
for words in json.loads(sys.argv.pop()):
    sys.argv = ["idn", *words]
    try:
        main()
    except SystemExit:
        pass
    print("\\nloaded", *{name.partition(".")[0] for name in sys.modules})
"""
NO_VERB = [["--help"], [], ["--version"], ["trian"]]
NO_TORCH = [
    ["train", "--help"],
    ["train", "trainer.max_stepz=3"],
    ["train", "optim.lr=little"],
    ["train", "teacher=procedual"],
    ["train", "data=faces"],
    ["train", "--max_steps=5"],
    ["export", "--help"],
    ["teachers"],
    ["teachers", "check=nobody"],
    ["train", "--cfg", "job"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def loaded(commands: list[list[str]], folder: Path) -> list[set[str]]:
    """The packages that a process of its own has imported after each of several commands."""
    words = [sys.executable, "-c", CODE, json.dumps(commands)]
    run = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=True)
    return [set(line.split()[1:]) for line in run.stdout.splitlines() if line.startswith("loaded ")]


@pytest.fixture(scope="module")
def without_verb(folder: Path) -> list[set[str]]:
    return loaded(NO_VERB, folder)


@pytest.fixture(scope="module")
def without_work(folder: Path) -> list[set[str]]:
    return loaded(NO_TORCH, folder)


@pytest.mark.parametrize("number", range(len(NO_VERB)), ids=lambda number: " ".join(NO_VERB[number]))
def test_what_concerns_no_verb_needs_no_hydra(number: int, without_verb: list[set[str]]) -> None:
    assert not without_verb[number] & (TORCH | HYDRA | {"rich"})


@pytest.mark.parametrize("number", range(len(NO_TORCH)), ids=lambda number: " ".join(NO_TORCH[number]))
def test_help_lists_and_mistyped_options_need_no_torch(number: int, without_work: list[set[str]], folder: Path) -> None:
    assert without_work[number] >= HYDRA and not without_work[number] & TORCH
    assert list(folder.iterdir()) == []


def test_verbs_are_known_without_what_they_do() -> None:
    verbs = ", ".join(f"idn.cli.verbs.{name}" for name in ("training", "teachers", "students", "data"))
    code = f"import sys, {verbs}; sys.exit(bool({TORCH!r} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_training_on_drawn_faces_needs_no_model_zoo_no_hydra_and_no_dashboard() -> None:
    code = (
        "import sys, idn.training.fit, idn.training.build, idn.training.modules.swap_training\n"
        "import idn.encoders.trained, idn.data.procedural, teachers.without_weights.procedural\n"
        "sys.exit(bool({'timm', 'kornia', 'wandb', 'tensorboard', 'onnx', 'hydra'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_obey", stop)
    with pytest.raises(SystemExit) as status:
        entry.main()
    assert status.value.code == 130

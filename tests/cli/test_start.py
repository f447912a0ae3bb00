"""What a command needs is imported when it is needed: help, wrong words and lists come without PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

from idn.cli import entry

TORCH = {"torch", "pytorch_lightning", "torchmetrics", "torchvision", "kornia", "timm", "scipy", "wandb", "tensorboard"}
HYDRA = {"hydra", "omegaconf", "yaml"}
CODE = """
import sys
from idn.cli import main
sys.argv = ["idn", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print("\\nloaded", *{name.partition(".")[0] for name in sys.modules})
"""


def loaded(words: list[str], folder: Path) -> set[str]:
    """The packages that a command of its own process has imported at its end."""
    run = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, cwd=folder, check=True)
    return set(run.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], ["trian"]], ids=" ".join)
def test_what_concerns_no_verb_needs_no_hydra(words: list[str], tmp_path: Path) -> None:
    assert not loaded(words, tmp_path) & (TORCH | HYDRA | {"rich"})


@pytest.mark.parametrize(
    "words",
    [
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
    ],
    ids=" ".join,
)
def test_help_lists_and_mistyped_options_need_no_torch(words: list[str], tmp_path: Path) -> None:
    assert not loaded(words, tmp_path) & TORCH
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "module", ["idn.cli.verbs.training", "idn.cli.verbs.teachers", "idn.cli.verbs.students", "idn.cli.verbs.data"]
)
def test_verbs_are_known_without_what_they_do(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({TORCH!r} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_training_on_drawn_faces_needs_no_model_zoo() -> None:
    code = (
        "import sys, idn.training.fit, idn.training.build, idn.encoders.trained, idn.data.procedural\n"
        "import teachers.without_weights.procedural\n"
        "sys.exit(bool({'timm', 'kornia', 'wandb', 'tensorboard', 'onnx'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_obey", stop)
    with pytest.raises(SystemExit) as status:
        entry.main()
    assert status.value.code == 130

"""Damaged files given to every verb as users give them: it works with what is left, or refuses in one sentence."""

import io
import json
import pickle
import random
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from safetensors.torch import save_file

from idn import cli
from idn.data.alignment import detector
from idn.data.alignment.detector import Face
from idn.errors import UserError
from idn.export.bench import bench
from idn.geometry.templates import template_points
from idn.pipeline.subprocesses import Children
from tests.fuzz.damage import damaged, rewrite_checkpoint, rewrite_json, rewrite_safetensors
from tests.fuzz.test_photographs import FORMATS, photograph

SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1"]
STUDENT = [*SMALL, "student.width=0.25", "trainer.accelerator=cpu", "trainer.max_steps=1", "callbacks.picture=null"]
TEACHER = [*SMALL, "trainer.accelerator=cpu", "trainer.max_steps=1", "callbacks.snapshots.fractions=[0.5,1]"]
TEACHER += ["teacher_network.width=4", "teacher_network.blocks=1"]
SCORER = [*SMALL, "graded.folder=teacher/snapshots", "pairs=2", "val_pairs=2", "batch=2", "scorer.size=32"]
ENCODER = ["encoder_data.size=32", "encoder_data.batch=4", "encoder_data.identities=12", "encoder_data.pairs=12"]
ENCODER += ["encoder_data.workers=0", "encoder_training.folds=2", "encoder_network.width=0.25"]
ENCODER += ["encoder_network.input_size=32", "trainer.accelerator=cpu", "trainer.max_steps=1"]
ALIGN = ["src=photos", "workers=0", "size=64", "min_face=8", "picture_format=png"]
CACHE = ["out=cache", "pairs=2", *SMALL]
CROPS = ["data=faces", "data.root=crops", "data.stored_template=ffhq", "data.workers=0", "encoder.photographs=true"]
PIPELINE = ["out=pipeline", "+stages.student={verb:train,shown:true}"]
PERSON = ["weights=run/student.safetensors", "aligned=true", "crops=1", "out=new", "format=[safetensors]"]


class Case(NamedTuple):
    """One way to read a file."""

    files: str
    """Which of them are damaged, one at a time, as a pattern."""
    words: list[str]
    """The command."""
    real: bool = False
    """Whether the training is run, not only its data read."""


MAKING = {
    "crops": ["align", *ALIGN, "dst=crops"],
    "run": ["train", *STUDENT, "hydra.run.dir=run"],
    "teacher": ["train-teacher", *TEACHER, "trainer.max_steps=2", "hydra.run.dir=teacher"],
    "encoder_run": ["train-encoder", *ENCODER, "hydra.run.dir=encoder_run"],
    "scorer": ["train-scorer", *SCORER, "trainer.max_steps=1", "trainer.accelerator=cpu", "hydra.run.dir=scorer"],
    "cache": ["cache", *CACHE],
    "export": [
        *("export", *PERSON, "source=crop.png", "keep_identity=true", "out=export"),
        "format=[safetensors,onnx]",
    ],
    "pipeline": ["pipeline", *PIPELINE],
}
"""What makes the files, by their folder; a folder that another one is made from comes before."""
CASES = {
    "align a photograph": Case("photos/*/*", ["align", *ALIGN, "dst=new"]),
    "align once more": Case("crops/**/*", ["align", *ALIGN, "dst=crops"]),
    "train on crops": Case("crops/**/*", ["train", *CROPS, *STUDENT, "teacher=blend"]),
    "train with an encoder": Case(
        "encoder_run/encoder.safetensors", ["train", *STUDENT, "encoder.weights=encoder_run/encoder.safetensors"]
    ),
    "train from a teacher": Case(
        "teacher/teacher.safetensors",
        ["train", *STUDENT, "teacher=trained_here", "teacher.weights=teacher/teacher.safetensors"],
    ),
    "train from a cache": Case("cache/*", ["train", *STUDENT, "teacher=cached", "teacher.path=cache"]),
    "train with a scorer": Case(
        "scorer/scorer.safetensors",
        ["train", *STUDENT, "reweight=identity_quality", "reweight.scorer=scorer/scorer.safetensors"],
    ),
    "go on": Case("run/checkpoints/last.ckpt", ["train", *STUDENT, "resume=run", "hydra.run.dir=new"], real=True),
    "train a teacher on crops": Case("crops/**/*", ["train-teacher", *CROPS, *TEACHER]),
    "train a scorer": Case("teacher/snapshots/*", ["train-scorer", *SCORER]),
    "train an encoder on crops": Case(
        "crops/**/*", ["train-encoder", *ENCODER[4:], "encoder_data=folder", "encoder_data.root=crops"]
    ),
    "go on with an encoder": Case(
        "encoder_run/checkpoints/last.ckpt",
        ["train-encoder", *ENCODER, "resume=encoder_run", "hydra.run.dir=new"],
        real=True,
    ),
    "keep answers": Case("cache/*", ["cache", *CACHE]),
    "go on with a pipeline": Case("pipeline/*/*", ["pipeline", *PIPELINE]),
    "export a student": Case("run/student.safetensors", ["export", *PERSON, "source=crop.png"]),
    "export a person": Case("crop.png", ["export", *PERSON, "source=crop.png"]),
    "export a kept person": Case(
        "export/identity.safetensors", ["export", *PERSON, "source=export/identity.safetensors"]
    ),
    "export in place of another": Case(
        "export/swap.onnx", ["export", *PERSON[:-1], "source=crop.png", "prepared=export/swap.onnx"]
    ),
    "time an export": Case("export/*", ["bench", "folder=export", "threads=1"]),
    "import": Case("MobileFaceSwap_224.pdparams", ["import", "in=MobileFaceSwap_224.pdparams", "out=new"]),
    "examine a teacher": Case(
        "teacher/teacher.safetensors",
        ["teachers", *SMALL, "check=trained_here", "weights=teacher/teacher.safetensors", "rounds=1"],
    ),
}
"""By what is done with them."""
FAST = (
    "align a photograph",
    "train on crops",
    "train a teacher on crops",
    "train an encoder on crops",
    "train from a cache",
    "go on",
    "keep answers",
    "go on with a pipeline",
    "export a student",
    "import",
)
"""Those that are tried in every run of the tests; the others, and these much longer, in the slow one."""


def command(folder: Path, *words: str) -> tuple[int, str]:
    """Run `idn ...` in this process, in a folder: its exit status, and what it said to stderr."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()), redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["idn", *words])
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1, said.getvalue()
    return 0, said.getvalue()


class OneFace:
    """A detector that finds one large face, upright, on any photograph."""

    def __init__(self, **options: object) -> None:
        pass

    def __call__(self, photo: torch.Tensor) -> list[Face]:
        side = min(photo.shape[-2:])
        corners = torch.tensor([0, 0, side, side], dtype=torch.float64)
        return [Face(corners, template_points("ffhq").double() * side, 1.0)]


def finished(children: Children, words: Sequence[str], log: Path, environment: object) -> int:
    """A stage of a pipeline that takes no time."""
    save_file({"a": torch.zeros(1)}, log.parent / "student.safetensors")
    (log.parent / "summary.json").write_text(json.dumps({"val/swap_gain": 1.5}))
    return 0


def look_at(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, **_: object) -> None:
    """In place of training."""
    data.trainer = trainer
    for loader in (data.train_dataloader(), data.val_dataloader()):
        next(iter(loader))
    raise UserError("there is nothing wrong with it")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs; `make` adds what others make for users."""
    folder, draw = tmp_path_factory.mktemp("whole"), random.Random(0)
    for number in range(10):
        suffix = FORMATS[number % len(FORMATS)]
        path = folder / f"photos/{number // 2}/{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(draw, suffix))
    Image.fromarray(np.frombuffer(draw.randbytes(3 * 64**2), np.uint8).reshape(64, 64, 3)).save(folder / "crop.png")
    (folder / "MobileFaceSwap_224.pdparams").write_bytes(pickle.dumps({"predictor.first.weight": np.zeros(3)}, 4))
    return folder


def mentioned(*words: str) -> list[str]:
    """The folders of MAKING that some words name."""
    return [name for name in MAKING if any(re.search(rf"(?:^|=){name}(?:/|$)", word) for word in words)]


def make(whole: Path, names: Sequence[str]) -> None:
    """Make folders of MAKING that are not there yet, and before them those that they are made of."""
    for name in names:
        if (whole / name).exists():
            continue
        verb, *words = MAKING[name]
        make(whole, [other for other in mentioned(*words) if other != name])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detector, "YuNetDetector", OneFace)
            patch.setattr(Children, "run", finished)
            status, said = command(whole, verb, *words)
        assert status == 0, (verb, words, said)


def harm(draw: random.Random, path: Path) -> None:
    """Change a file in a way that fits its kind, or lose it."""
    way = draw.random()
    if way < 0.05:
        path.unlink()
    elif way < 0.6 and path.suffix == ".json":
        rewrite_json(draw, path)
    elif way < 0.6 and path.suffix == ".safetensors":
        rewrite_safetensors(draw, path)
    elif way < 0.8 and path.suffix == ".ckpt":
        rewrite_checkpoint(draw, path)
    else:
        path.write_bytes(damaged(draw, path.read_bytes()))


def try_case(name: str, whole: Path, draw: random.Random, patch: pytest.MonkeyPatch, count: int) -> None:
    """Damage one file after the other, and run the command on each."""
    case = CASES[name]
    make(whole, mentioned(case.files, *case.words[1:]))
    files = sorted(path for path in whole.glob(case.files) if path.is_file())
    assert files, case.files
    patch.setattr(detector, "YuNetDetector", OneFace)
    patch.setattr(Children, "run", finished)
    patch.setattr(bench, "measured", lambda request: bench.Outcome(1.0, 1.0, 1, None))
    if not case.real:
        patch.setattr(pl.Trainer, "fit", look_at)
    for number in range(count):
        folder = whole.parent / f"{whole.name}_{name.replace(' ', '_')}_{number}"
        shutil.copytree(whole, folder)
        path = folder / draw.choice(files).relative_to(whole)
        harm(draw, path)
        try:
            status, said = command(folder, *case.words)
        except Exception as error:
            pytest.fail(f"{path}, idn {' '.join(case.words)}: {type(error).__name__}: {error}")
        assert "Traceback" not in said, f"{path}: {said}"
        assert status in (0, 2) and (status == 0 or "idn: " in said), f"{path}: {status} {said}"
        shutil.rmtree(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_verb_given_a_damaged_file_works_or_refuses(
    name: str, whole: Path, draw: random.Random, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_case(name, whole, draw, monkeypatch, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_every_verb_given_many_damaged_files(
    name: str, whole: Path, draw: random.Random, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_case(name, whole, draw, monkeypatch, 15)

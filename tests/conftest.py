"""Small stand-ins that make a training run take seconds."""

import gc
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from idn import cli
from idn.data.loaders import SwapData
from idn.export import export
from idn.frozen import Frozen
from idn.losses.distillation import (
    FaceDistillation,
    IdentityLoss,
    MaskSegmentation,
    PerceptualDistillation,
    PixelDistillation,
)
from idn.losses.objective import Objective
from idn.losses.perceptual_features import IdentityShallow
from idn.reweighting.trust import Trust
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student
from idn.teacher_cache.shards import PictureFormat
from idn.teacher_cache.write import CacheReport, write_cache
from idn.training.modules.supervision import TeacherSupervision
from idn.training.modules.swap_training import SwapTraining
from idn.training.optimization.schedules import warmup_cosine
from idn.types import EncoderDescription, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.without_weights.procedural import ProceduralTeacher
from tests.bars import open_bars

gc.disable()  # while modules are imported and tests collected: see pytest_collection_finish

SIZE = 32
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side: more threads than cores would wait for each other
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


if importlib.util.find_spec("absl") is not None:
    # Its handler closes its stream when Hydra sets up logging, unless that is one of the system's. Made during a test,
    # by OpenVINO, it would hold pytest's capture.
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through all modules and tests again and again, which live to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # what traces and composes makes many objects, most of which stay
    gc.enable()


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export says how long a call takes; tests look at whether it does."""
    monkeypatch.setattr(export, "SECONDS", 0.01)


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """Name the test that leaves a handler of a signal behind: later ones of its process would not be stopped by it."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    left = {number: signal.getsignal(number) for number in HANDLED if signal.getsignal(number) != before[number]}
    for number in left:
        signal.signal(number, before[number])
    assert not left, f"handlers that were left behind: {left}"


@pytest.fixture(autouse=True)
def bars_are_closed() -> Iterator[None]:
    """Name the test that leaves a progress bar behind: it would draw itself once more into what a later one reads."""
    yield
    assert open_bars() == 0, "a progress bar was left open"


class TinyEncoder(Frozen):
    """A random recogniser with BatchNorm, so that frozen statistics can be watched."""

    name, licence = "tiny", "Apache-2.0"
    embedding_dim, feature_channels, feature_size = 8, 16, 7

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16))
        self.embed = nn.Linear(16, 8)
        self.freeze()

    def forward(self, images: torch.Tensor) -> IdentityFeatures:
        early = self.early(images)
        features = F.adaptive_avg_pool2d(self.late(early), 7)
        return IdentityFeatures(F.normalize(self.embed(features.mean((2, 3)))), features, (early,))


class Colours(Dataset):
    """Flat coloured pictures: the exact swap is the target with the colour of the source in its middle."""

    def __init__(self, seed: int, batch: int = 4, spoil: int | None = None) -> None:
        self.seed, self.batch, self.spoil = seed, batch, spoil

    def __getitem__(self, index: int) -> SwapBatch:
        g = torch.Generator().manual_seed(self.seed * 100_003 + index)
        source, target = torch.rand(2, self.batch, 3, 1, 1, generator=g).expand(-1, -1, -1, SIZE, SIZE).clone()
        source, target = (x + 0.02 * torch.rand(x.shape, generator=g) for x in (source, target))
        face = torch.zeros(self.batch, 1, SIZE, SIZE)
        face[..., 8:24, 8:24] = 1
        truth = torch.where(face > 0, source, target).clamp(0, 1)
        if self.spoil == index:
            target = target * float("nan")
        return SwapBatch(source.clamp(0, 1), target.clamp(0, 1), face, torch.zeros(self.batch, dtype=torch.bool), truth)


class TruthTeacher(FrozenTeacher):
    """Answers with the exact swap; has a BatchNorm to watch."""

    def __init__(self) -> None:
        super().__init__(ProceduralTeacher(None, 0.0, 0.0, 0).record, crop_template=None)
        self.norm = nn.BatchNorm2d(3)
        self.freeze()

    def swap(self, target: torch.Tensor, batch: SwapBatch, source: IdentityFeatures) -> torch.Tensor:
        self.norm(batch.truth)
        return batch.truth


@pytest.fixture
def make_module() -> Callable[..., SwapTraining]:
    """A distillation of tiny parts, always with the same random weights; options replace parts of it."""

    def make(
        total_steps: int = 6,
        variant: str = "identity",
        teacher: FrozenTeacher | None = None,
        perceptual: nn.Module | None = None,
        **options: Any,
    ) -> SwapTraining:
        torch.manual_seed(0)
        encoder = TinyEncoder()
        parts: dict[str, Any] = {
            "network": Student(EncoderDescription(8, 16), width=0.25),
            "supervisor": TeacherSupervision(TruthTeacher() if teacher is None else teacher, Trust(variant)),
            "encoder": encoder,
            "perceptual": IdentityShallow() if perceptual is None else perceptual,
            "objective": Objective(
                {
                    "face": FaceDistillation(),
                    "pixel": PixelDistillation(),
                    "perceptual": PerceptualDistillation("pasted"),
                    "identity": IdentityLoss("pasted"),
                    "mask": MaskSegmentation(),
                },
                {"face": 10.0, "pixel": 2.0, "perceptual": 1.0, "identity": 1.0, "mask": 1.0},
                ["face", "pixel", "perceptual"],
            ),
            "optimizer": partial(torch.optim.AdamW, lr=5e-3),
            "schedule": partial(warmup_cosine, total_steps=total_steps, warmup_steps=1),
            "write": save_student,
            "ema_decay": 0.999,
        }
        return SwapTraining(**parts | options)

    return make


@pytest.fixture
def make_data() -> Callable[..., SwapData]:
    """Endless coloured pictures."""

    def make(spoil: int | None = None) -> SwapData:
        return SwapData(Colours(0, spoil=spoil), Colours(1), val_items=2, size=SIZE, template="ffhq")

    return make


@pytest.fixture
def make_cache(make_module: Callable[..., SwapTraining], make_data: Callable[..., SwapData]) -> Callable[..., Any]:
    """Kept answers to coloured pictures: 5 items of 4 pairs to train with in 3 files, 2 held-out items in one."""

    def make(
        out: Path,
        kind: str = "png",
        quality: int | None = None,
        pairs: int = 20,
        teacher: FrozenTeacher | None = None,
        encoder: nn.Module | None = None,
        scorer: nn.Module | None = None,
        data: SwapData | None = None,
        options: dict[str, Any] | None = None,
        device: str = "cpu",
    ) -> CacheReport:
        module = make_module()
        return write_cache(
            out=out,
            data=make_data() if data is None else data,
            teacher=module.supervisor.teacher if teacher is None else teacher,
            encoder=module.encoder if encoder is None else encoder,
            scorer=scorer,
            pairs=pairs,
            pictures=PictureFormat(kind, quality),
            shard=8,
            seed=0,
            options={"data": {"batch": 4}} if options is None else options,
            device=device,
        )

    return make


def quiet_trainer(path: Path, steps: int, **options: Any) -> pl.Trainer:
    """One on the CPU that tells and draws nothing, and validates once, at the end; options as pl.Trainer has them."""
    usual: dict[str, Any] = {
        "accelerator": "cpu",
        "val_check_interval": steps,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "use_distributed_sampler": False,
        "log_every_n_steps": 1,
        "logger": False,
    }
    return pl.Trainer(default_root_dir=path, max_steps=steps, **usual | options)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """A store in memory, memory://..., empty before and after; copies of it are kept in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def idn_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `idn ...` in this process, in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["idn", *words])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        return status, *capsys.readouterr()

    return call

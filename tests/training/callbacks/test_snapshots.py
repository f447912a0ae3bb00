"""Snapshots of a training: those of one plan alone, wherever the run goes on."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import Dataset

from idn.data.loaders import StreamData
from idn.files.run_folder import LAST
from idn.files.tensors import read_metadata, write_tensors
from idn.training.callbacks.save_checkpoints import SaveLast
from idn.training.callbacks.snapshots import Snapshots
from idn.training.resume import start


class Numbers(Dataset):
    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(4, 2, generator=torch.Generator().manual_seed(index))


class Learner(pl.LightningModule):
    """Writes what a swapper writes into its snapshots."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(2, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.net(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), lr=0.1)

    def save(self, path: Path, fraction: float) -> None:
        steps = {"steps": str(self.global_step), "max_steps": str(self.trainer.max_steps)}
        write_tensors(path, self.net.state_dict(), {"fraction": f"{fraction:g}", **steps})


def run(path: Path, steps: int, resume: Path | None = None, fractions: tuple[float, ...] = (0.25, 0.5, 1.0)) -> None:
    trainer = pl.Trainer(
        default_root_dir=path,
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        callbacks=[SaveLast(path, 4), Snapshots(path / "snapshots", fractions)],
    )
    start(trainer, Learner(), StreamData(Numbers(), Numbers(), 1), resume)


def kept(path: Path) -> dict[str, tuple[str, str]]:
    files = sorted((path / "snapshots").glob("*.safetensors"))
    notes = {file.stem: read_metadata(file) for file in files}
    return {stem: (note.get("steps"), note.get("max_steps")) for stem, note in notes.items()}


def test_a_run_that_goes_on_with_another_end_leaves_no_snapshot_of_the_old_plan(tmp_path: Path) -> None:
    run(tmp_path, 8, fractions=(0.25, 0.5, 0.75, 1.0))
    assert kept(tmp_path) == {"0.250": ("2", "8"), "0.500": ("4", "8"), "0.750": ("6", "8"), "1.000": ("8", "8")}
    own = tmp_path / "snapshots" / "own.safetensors"
    write_tensors(own, {"x": torch.zeros(1)}, {"fraction": "0.1", "steps": "1"})
    write_tensors(own.with_name("0.100.safetensors"), {"x": torch.zeros(1)}, {"made": "by somebody"})
    run(tmp_path, 16, tmp_path / LAST)
    others = {"own": ("1", None), "0.100": (None, None)}
    assert kept(tmp_path) == others | {"0.500": ("8", "16"), "1.000": ("16", "16")}


def test_a_run_that_goes_on_in_its_folder_keeps_what_it_had(tmp_path: Path) -> None:
    run(tmp_path, 8)
    before = (tmp_path / "snapshots/0.250.safetensors").stat().st_mtime_ns
    run(tmp_path, 8, tmp_path / LAST)
    assert kept(tmp_path) == {"0.250": ("2", "8"), "0.500": ("4", "8"), "1.000": ("8", "8")}
    assert (tmp_path / "snapshots/0.250.safetensors").stat().st_mtime_ns == before


def test_what_came_after_the_checkpoint_of_a_lost_attempt_is_not_taken_over(tmp_path: Path) -> None:
    run(tmp_path / "a", 8)
    early = tmp_path / "early.ckpt"
    saved = torch.load(tmp_path / "a" / LAST, weights_only=True)
    run(tmp_path / "b", 4)
    at_four = torch.load(tmp_path / "b" / LAST, weights_only=True)
    torch.save(at_four | {"callbacks": saved["callbacks"]}, early)
    run(tmp_path / "c", 6, early)
    assert kept(tmp_path / "c") == {"1.000": ("6", "6")}, "another plan"
    run(tmp_path / "d", 8, early, (0.25, 0.5, 0.75))
    assert kept(tmp_path / "d") == {"0.250": ("2", "8"), "0.500": ("4", "8"), "0.750": ("6", "8")}
    run(tmp_path / "a", 8, early, (0.25, 0.75))
    assert kept(tmp_path / "a") == {"0.250": ("2", "8"), "0.500": ("4", "8"), "0.750": ("6", "8")}


def test_a_run_that_had_come_to_its_end_fetches_all_of_them(tmp_path: Path) -> None:
    run(tmp_path / "a", 8)
    run(tmp_path / "b", 8, tmp_path / "a" / LAST)
    assert kept(tmp_path / "b") == kept(tmp_path / "a") and len(kept(tmp_path / "a")) == 3


def test_a_fresh_run_in_an_old_folder_begins_with_an_empty_one(tmp_path: Path) -> None:
    run(tmp_path, 8)
    run(tmp_path, 8, fractions=(0.5,))
    assert kept(tmp_path) == {"0.500": ("4", "8")}

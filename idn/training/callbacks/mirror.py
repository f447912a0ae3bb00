"""Mirror callback: a copy of a run's folder in a store (fsspec) or on another disk, for machines that may go away."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from idn.errors import FileError, OptionError
from idn.files.remote import exists, is_url, remote, remove, send
from idn.files.run_folder import CHECKPOINTS, LAST


class Mirror(pl.callbacks.Checkpoint):
    """Copies what is new in a run's folder, after every saved state and at the run's end. Training waits for it.

    What cannot be copied is one sentence; the run goes on, and tries again when it saves next.
    directory: of the run.
    url: where to, such as s3://bucket/run, or a path; None for no copy.
    Raises FileError for an unknown protocol, MissingExtra for one whose package is missing, OptionError for a path that
    is a file, or lies in the run's own folder, where every copy would be copied again.
    """

    def __init__(self, directory: str | Path, url: str | None = None) -> None:
        self.directory, self.url = Path(directory), None if url is None else str(url).rstrip("/")
        self.sent: dict[str, tuple[int, int]] = {}
        self.saved: dict[str, tuple[int, int]] = {}
        if self.url is not None and is_url(self.url):
            remote(self.url)
        elif self.url is not None:
            self._check_path(Path(self.url))

    def _check_path(self, place: Path) -> None:
        if place.is_file():
            raise OptionError("url", place, "is a file: give a folder")
        if place.resolve().is_relative_to(self.directory.resolve()):
            raise OptionError("url", place, "lies in the folder of the run itself: give a place outside of it")

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Raise OptionError if there is a run which this one, from its beginning, would overwrite."""
        if self.url is None or not trainer.is_global_zero:
            return
        self.saved = self._states()
        try:
            held = trainer.global_step == 0 and exists(f"{self.url}/{CHECKPOINTS}/{LAST}")
        except FileError as error:
            self._complain(error)
            return
        if held:
            raise OptionError("url", self.url, "holds a run: go on from there, or give another place")

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Copy, if a state was saved. Lightning asks callbacks that are a `Checkpoint` last, in their order."""
        self._follow(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Copy, if a state was saved."""
        self._follow(trainer)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Copy what was saved because the run breaks off."""
        self._follow(trainer)

    def _follow(self, trainer: pl.Trainer) -> None:
        if self.url is None or not trainer.is_global_zero:
            return
        if (states := self._states()) != self.saved:
            self.saved = states
            self.send()

    def send(self) -> None:
        """Copy what has changed since it was copied, checkpoints last, the newest of them at the end; remove there what
        is gone here."""
        if self.url is None:
            return
        here = dict(self._files())
        try:
            for name in sorted(here, key=lambda name: (name.startswith(CHECKPOINTS), here[name])):
                if self.sent.get(name) != here[name]:
                    send(self.directory / name, f"{self.url}/{name}")
                    self.sent[name] = here[name]
            for name in [*self.sent.keys() - here.keys()]:
                remove(f"{self.url}/{name}")
                del self.sent[name]
        except FileError as error:
            self._complain(error)
        except OSError as error:
            self._complain(FileError(self.url, f"takes no copy of the run ({error.strerror or error})"))

    def _complain(self, error: FileError) -> None:
        print(f"idn: {error}; the run goes on, and copies again when it saves next", file=sys.stderr)

    def _states(self) -> dict[str, tuple[int, int]]:
        return {path.name: _mark(path) for path in (self.directory / CHECKPOINTS).glob("*.ckpt")}

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Names and marks of all files but drafts and locks, which are hidden."""
        for folder, folders, names in os.walk(self.directory):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if not name.startswith(".") and not path.is_symlink():
                    yield path.relative_to(self.directory).as_posix(), _mark(path)


def _mark(path: Path) -> tuple[int, int]:
    """What changes with a file's content: time and size."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size

"""Where pictures of known quality come from: a teacher's own youth, or damage to what a grown one shows."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from idn.data.module import SwapData
from idn.errors import UserError
from idn.rated.degrade import Scene, check_kinds, degrade
from idn.rated.pictures import Made, Part
from idn.types import IdentityEncoder, SwapBatch
from idn.weights import read_metadata

_SAME = ("family", "config", "size", "template", "encoder")
"""What all snapshots of one training must agree on."""


class Snapshots:
    """One teacher at several stages of its training; the label of a picture is the completed share (arXiv:2201.03808).

    folder: holds the safetensors files of one training; each says its share as "fraction" in its metadata. teacher:
    makes a teacher, given `weights`, the path of a file. One stage is in memory at a time, and all swap the same pairs.
    Raises UserError for fewer than two stages, files without a share or with the same one, and mixed trainings.
    """

    kind = "snapshots"

    def __init__(self, folder: str | Path, teacher: Callable[..., nn.Module]) -> None:
        self.teacher = teacher
        self.stages = _stages(Path(folder))
        self.levels = len(self.stages)

    def meet(self, data: SwapData, encoder: IdentityEncoder, device: torch.device) -> None:
        """Take the encoder that serves the student, and go to a device.

        Reads the last stage, whose `record` speaks for all. Raises UserError if it was trained with another encoder.
        """
        self.device, self.encoder = device, encoder.to(device)
        self.record = self._open(max(self.stages, key=self.stages.get)).record

    @torch.no_grad()
    def rate(self, pairs: Iterable[SwapBatch], part: Part) -> Iterator[Made]:
        """Every stage swaps all pairs in turn. See `Source.rate`."""
        for path, fraction in self.stages.items():
            teacher = self._open(path).to(self.device)
            for number, batch in enumerate(pairs):
                here = _to(batch, self.device)
                yield Made(number, here, teacher(here, self.encoder(here.source)), fraction)

    def _open(self, path: Path) -> nn.Module:
        teacher = self.teacher(weights=path)
        teacher.share(self.encoder)
        return teacher


class Degradations:
    """What a grown teacher shows, and the same made worse; the label is 1 - strength, 1 for the untouched picture.

    A stand-in for snapshots where nobody kept any. teacher: answers the pairs. kinds: names of ways to spoil a picture,
    see `degrade`; each spoiled picture gets one of them. levels: pictures per pair, at strengths 0, 1 / (levels - 1),
    ..., 1. seed: of all draws. Raises UserError for unknown kinds and fewer than two levels.
    """

    kind = "degradations"

    def __init__(self, teacher: nn.Module, kinds: Sequence[str], levels: int, seed: int) -> None:
        check_kinds(kinds)
        if not isinstance(levels, int) or levels < 2:
            raise UserError(f"source.levels={levels} must be a whole number, at least 2")
        self.teacher, self.kinds, self.levels, self.seed = teacher, list(kinds), levels, seed
        self.record = teacher.record

    def meet(self, data: SwapData, encoder: IdentityEncoder, device: torch.device) -> None:
        """Introduce the teacher to the data and to the encoder that serves the student, and go to a device.

        Raises UserError if the teacher was trained with another encoder.
        """
        self.teacher.share(encoder)
        data.train, data.val = self.teacher.bind(data.train, "train"), self.teacher.bind(data.val, "val")
        self.device, self.encoder = device, encoder.to(device)
        self.teacher.to(device)

    @torch.no_grad()
    def rate(self, pairs: Iterable[SwapBatch], part: Part) -> Iterator[Made]:
        """Every batch at all strengths in turn. See `Source.rate`."""
        draw = torch.Generator().manual_seed(2 * self.seed + (part == "val"))
        for number, batch in enumerate(pairs):
            here = _to(batch, self.device)
            scene = self._scene(here)
            for level in range(self.levels):
                strength = level / (self.levels - 1)
                yield Made(number, here, degrade(scene, self.kinds, strength, draw), 1 - strength)

    def _scene(self, batch: SwapBatch) -> Scene:
        """Ask the teacher, twice if strangers are wanted."""
        source = self.encoder(batch.source)
        answer = self.teacher(batch, source)
        if "stranger" not in self.kinds:
            return Scene(answer, batch.target, batch.face)
        if batch.taught is not None or len(answer) < 2:
            why = "a cached teacher knows no other pairs" if batch.taught is not None else "data.batch is 1"
            raise UserError(f"source.kinds has stranger, but {why}: leave it out of source.kinds")
        other = batch._replace(
            source=batch.source.roll(1, 0),
            same=torch.zeros_like(batch.same),
            truth=None,
            source_identity=None if batch.source_identity is None else batch.source_identity.roll(1, 0),
        )
        return Scene(answer, batch.target, batch.face, self.teacher(other, self.encoder(other.source)))


def _stages(folder: Path) -> dict[Path, float]:
    """The files of a folder by growing share of the training."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) < 2:
        raise UserError(
            f"source.folder={folder} holds {len(files)} snapshots, two are the least: give the folder `snapshots` of "
            "an `idn teacher` run"
        )
    notes = {path: read_metadata(path) for path in files}
    first = notes[files[0]]
    for path in files:
        if odd := [name for name in _SAME if notes[path].get(name) != first.get(name)]:
            raise UserError(
                f"{path} has another {odd[0]} than {files[0].name}: keep the snapshots of one training in a folder"
            )
    stages = {path: _fraction(path, notes[path]) for path in files}
    if len(set(stages.values())) < len(stages):
        raise UserError(f"source.folder={folder} holds two snapshots of the same fraction: remove one")
    return dict(sorted(stages.items(), key=lambda stage: stage[1]))


def _fraction(path: Path, notes: dict[str, str]) -> float:
    try:
        fraction = float(notes["fraction"])
    except (KeyError, ValueError):
        fraction = math.nan
    if not 0 <= fraction <= 1:
        raise UserError(f"{path} does not say a fraction between 0 and 1: keep only snapshots of `idn teacher` there")
    return fraction


def _to(batch: SwapBatch, device: torch.device) -> SwapBatch:
    return SwapBatch(*(None if field is None else field.to(device) for field in batch))

"""Where pictures of known quality come from: a teacher's own youth, or damage to what a grown one shows."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from idn.data.first_pairs import Part
from idn.data.loaders import SwapData
from idn.errors import ForeignFile, OptionError
from idn.files.option_checks import require_int, require_number, require_one_of
from idn.files.tensors import read_metadata
from idn.metrics.images import absolute_error
from idn.reweighting.graded.degradations import Scene, check_kinds, degrade
from idn.reweighting.graded.pictures import GradedSwaps
from idn.types import IdentityEncoder, SwapBatch

_SAME = ("family", "config", "size", "template", "encoder", "max_steps")
"""What all snapshots of one training must agree on; what none of them says, they agree on."""


Labels = Literal["share", "nearness"]
"""What a scorer learns of a stage's picture."""


class Snapshots:
    """One teacher at several stages of its training, which all swap the same pairs; the grade is the completed share.

    folder: holds the safetensors files of one training; each says its share as "fraction" in its metadata. teacher:
    makes a teacher, given `weights`, the path of a file. All stages are in memory at a time, so that every pair is made
    once.
    labels: "share", the label of a picture is the grade (arXiv:2201.03808): one for easy and hard pairs. "nearness",
    ours: it is 1 where the picture is what the last stage shows of the same pair, and falls to 0 where it is `reach`
    away, as mean absolute difference inside the face. That needs no truth, so photographs have it too.
    Raises UserError for fewer than two stages, files without a share or with the same one, mixed trainings, and unknown
    labels or a reach that is not above 0.
    """

    kind = "snapshots"

    def __init__(
        self, folder: str | Path, teacher: Callable[..., nn.Module], labels: Labels = "share", reach: float = 0.25
    ) -> None:
        require_one_of("labels", labels, get_args(Labels))
        require_number("reach", reach, 0)
        if reach == 0:
            raise OptionError("reach", reach, "must be above 0")
        self.teacher, self.labels, self.reach = teacher, labels, reach
        self.stages = _stages(Path(folder))
        self.levels = len(self.stages)

    def attach(self, data: SwapData, encoder: IdentityEncoder, device: torch.device) -> SwapData:
        """Open the teachers and introduce them, see `Source.attach`. The `record` of the last stage speaks for all."""
        self.teachers = []
        for path in self.stages:
            teacher = self.teacher(weights=path)
            data = teacher.attach(data, encoder)
            self.teachers.append(teacher.to(device))
        self.device, self.encoder, self.record = device, encoder.to(device), self.teachers[-1].record
        return data

    @torch.no_grad()
    def make(self, pairs: Iterable[SwapBatch], part: Part) -> Iterator[GradedSwaps]:
        """All stages swap a batch, then the next one. See `Source.make`."""
        for number, batch in enumerate(pairs):
            here = batch.to(self.device)
            source = self.encoder(here.sources).repeated(here.targets_per_identity)
            answers = [teacher(here, source) for teacher in self.teachers]
            for fraction, images in zip(self.stages.values(), answers, strict=True):
                labels = self._nearness(images, answers[-1], here.face) if self.labels == "nearness" else None
                yield GradedSwaps(number, here, images, fraction, labels)

    def _nearness(self, images: Tensor, final: Tensor, face: Tensor) -> Tensor:
        if not face.flatten(1).sum(1).all():
            raise OptionError(
                "labels", self.labels, "looks at the face, and a crop has no face region: use share", self
            )
        return (1 - absolute_error(images, final, face) / self.reach).clamp(0, 1)


class Degradations:
    """What a grown teacher shows, and the same made worse; label and grade are 1 - strength.

    A stand-in for snapshots where nobody kept any. teacher: answers the pairs. kinds: names of ways to spoil a picture,
    see `degrade`; each spoiled picture gets one of them. levels: pictures per pair, at strengths 0, 1 / (levels - 1),
    ..., 1. seed: of all draws. Raises UserError for unknown kinds and fewer than two levels.
    """

    kind = "degradations"

    def __init__(self, teacher: nn.Module, kinds: Sequence[str], levels: int, seed: int) -> None:
        check_kinds(kinds)
        require_int("levels", levels, 2)
        self.teacher, self.kinds, self.levels, self.seed = teacher, list(kinds), levels, seed
        self.record = teacher.record

    def attach(self, data: SwapData, encoder: IdentityEncoder, device: torch.device) -> SwapData:
        """See `Source.attach`."""
        data = self.teacher.attach(data, encoder)
        self.device, self.encoder = device, encoder.to(device)
        self.teacher.to(device)
        return data

    @torch.no_grad()
    def make(self, pairs: Iterable[SwapBatch], part: Part) -> Iterator[GradedSwaps]:
        """Every batch at all strengths in turn. See `Source.make`."""
        draw = torch.Generator().manual_seed(2 * self.seed + (part == "val"))
        for number, batch in enumerate(pairs):
            here = batch.to(self.device)
            scene = self._scene(here)
            for level in range(self.levels):
                strength = level / (self.levels - 1)
                yield GradedSwaps(number, here, degrade(scene, self.kinds, strength, draw), 1 - strength)

    def _scene(self, batch: SwapBatch) -> Scene:
        """Ask the teacher, twice if strangers are wanted."""
        targets = batch.targets_per_identity
        source = self.encoder(batch.sources).repeated(targets)
        answer = self.teacher(batch, source)
        if "stranger" not in self.kinds:
            return Scene(answer, batch.target, batch.face)
        if batch.cached_answer is not None or len(answer) < 2 * targets:
            cached = batch.cached_answer is not None
            why = "a cached teacher knows no other pairs" if cached else "the batches show a single source"
            raise OptionError("kinds", ", ".join(self.kinds), f"has stranger, but {why}: leave it out", self)
        other = batch._replace(
            source=batch.source.roll(targets, 0),
            same=torch.zeros_like(batch.same),
            truth=None,
            source_identity=None if batch.source_identity is None else batch.source_identity.roll(targets, 0),
        )
        seen = self.encoder(other.sources).repeated(targets)
        return Scene(answer, batch.target, batch.face, self.teacher(other, seen))


def _stages(folder: Path) -> dict[Path, float]:
    """The files of a folder by growing share of the training."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) < 2:
        raise OptionError(
            "folder",
            folder,
            f"holds {len(files)} snapshots, two are the least: give the folder `snapshots` of an `idn train-teacher` "
            "run",
        )
    notes = {path: read_metadata(path) for path in files}
    first = notes[files[0]]
    for path in files:
        if odd := [name for name in _SAME if notes[path].get(name) != first.get(name)]:
            raise ForeignFile(
                path, f"has another {odd[0]} than {files[0].name}: keep the snapshots of one training in a folder"
            )
    stages = {path: _fraction(path, notes[path]) for path in files}
    if len(set(stages.values())) < len(stages):
        raise OptionError("folder", folder, "holds two snapshots of the same fraction: remove one")
    return dict(sorted(stages.items(), key=lambda stage: stage[1]))


def _fraction(path: Path, notes: dict[str, str]) -> float:
    try:
        fraction = float(notes["fraction"])
    except (KeyError, ValueError):
        fraction = math.nan
    if not 0 <= fraction <= 1:
        raise ForeignFile(
            path, "does not say a fraction between 0 and 1: keep only snapshots of `idn train-teacher` there"
        )
    return fraction

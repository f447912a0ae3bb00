"""The quality scorer Q: a network that says how good a teacher's picture is, and the file that keeps it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from idn.errors import ForeignFile, OptionError
from idn.files.option_checks import require_int
from idn.files.tensors import load_strict, read_metadata, read_tensors, strip_prefix, write_tensors
from idn.files.timm_backbones import build_model
from idn.frozen import Frozen, build_uninitialised
from idn.images import normalize, resize
from idn.reweighting.trust import Trust

Kind = Literal["snapshots", "degradations"]
"""What a scorer's labels were: shares of a teacher's training, or strengths of damage to its pictures."""

SCORER_BACKBONE = "resnet18"
HUB = "hub"
"""Stands for the weights that timm publishes."""
_FORMAT = "idn-scorer-1"
_SMALLEST = 32


class ScorerNetwork(nn.Module):
    """ResNet-18 with one output, whose sigmoid is the score (arXiv:2201.03808, loss reweighting).

    size: pixels at which it works; pictures of other sizes are resized. backbone: where training starts: a file with
    the tensors of timm's resnet18, "hub" for those that timm publishes, None for random weights; the classifier of
    either is left out. Raises UserError for a size below 32 and weights that cannot be had or do not fit.
    """

    def __init__(self, size: int = 224, backbone: str | Path | None = None) -> None:
        super().__init__()
        require_int("size", size, _SMALLEST)
        self.size = size
        self.net = build_model(
            SCORER_BACKBONE,
            backbone == HUB,
            OptionError("backbone", backbone, f"give a file with timm's {SCORER_BACKBONE}, or null"),
            {"num_classes": 1},
        )
        if backbone not in (None, HUB):
            found = strip_prefix(read_tensors(backbone), self.net.state_dict())
            tensors = {key: value for key, value in found.items() if not key.startswith("fc.")}
            head = {f"fc.{key}": value for key, value in self.net.fc.state_dict().items()}
            load_strict(self.net, tensors | head, f"{SCORER_BACKBONE} {backbone}")

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1] -> (N,) in [0, 1], 1 for the best."""
        return self.net(normalize(resize(images, self.size))).squeeze(1).sigmoid()


@dataclass(frozen=True)
class ScorerNotes:
    """What a scorer's file says about how it came to be.

    kind: see Kind. teacher, teacher_licence, teacher_commercial_use: whose pictures it was shown, and the terms of that
    teacher. command: the line that trained it. metrics: what it reached on held-out people.
    """

    kind: Kind
    teacher: str
    teacher_licence: str
    teacher_commercial_use: str
    command: str
    metrics: dict[str, float]


def save_scorer(network: ScorerNetwork, path: str | Path, notes: ScorerNotes) -> None:
    """Write a trained network and everything that is known about it as one safetensors file."""
    config = {"backbone": SCORER_BACKBONE, "size": network.size}
    metadata = {"format": _FORMAT, "config": json.dumps(config), **vars(notes), "metrics": json.dumps(notes.metrics)}
    write_tensors(path, network.net.state_dict(), metadata)


class QualityScorer(Frozen):
    """A frozen ScorerNetwork from a file of `save_scorer`, which also tells its size.

    `notes` hold the rest of what the file says; `kind` is what its labels were; `origin` says both in words.
    Making one draws no random numbers, so a student begins the same with and without it.
    Raises UserError when the file is missing, of another format, or does not say everything.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        size, self.notes = _read_notes(Path(weights))
        self.kind: Kind = self.notes.kind
        self.origin = f"trained on {self.kind} of {self.notes.teacher} (licence: {self.notes.teacher_licence})"
        self.weights_file = Path(weights)
        self.network = build_uninitialised(lambda: ScorerNetwork(size))
        load_strict(self.network.net, read_tensors(weights), f"quality scorer {weights}")
        self.to(memory_format=torch.channels_last).freeze()

    @property
    def size(self) -> int:
        """Pixels at which it works."""
        return self.network.size

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1] -> (N,) in [0, 1], 1 for the best."""
        return self.network(images)


def open_scorer(path: str | Path) -> QualityScorer:
    """Read a scorer's file and say on the terminal what it was trained on. Raises UserError as `QualityScorer` does."""
    scorer = QualityScorer(path)
    print(f"quality scorer {path}: {scorer.origin}", file=sys.stderr)
    return scorer


def quality_trust(scorer: str | Path | None) -> Trust:
    """alpha = cos(z(teacher), z(source))^2 * Q(teacher) with the scorer of a file.

    scorer: the file that `idn train-scorer` wrote.
    Raises OptionError if there is none, UserError if it is of another kind.
    """
    if scorer is None:
        raise OptionError("scorer", None, "must be the file of a quality scorer: train one with `idn train-scorer`")
    return Trust("identity_quality", open_scorer(scorer))


def _read_notes(path: Path) -> tuple[int, ScorerNotes]:
    """Size and notes of a scorer's file."""
    metadata = read_metadata(path)
    if metadata.get("format") != _FORMAT:
        raise ForeignFile(path, "is no quality scorer of this package: train one with `idn train-scorer`")
    try:
        texts = {name: metadata[name] for name in ScorerNotes.__annotations__ if name != "metrics"}
        config, metrics = json.loads(metadata["config"]), json.loads(metadata["metrics"])
        size, backbone = config["size"], config["backbone"]
    except (KeyError, ValueError, TypeError) as error:
        raise ForeignFile(path, f"does not say everything about its scorer ({error}): train it again") from error
    if texts["kind"] not in get_args(Kind) or backbone != SCORER_BACKBONE or type(size) is not int:
        raise ForeignFile(path, "holds a scorer of another version: train it again with `idn train-scorer`")
    return size, ScorerNotes(**texts, metrics=metrics)
